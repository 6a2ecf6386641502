"What a notebook shows of a value: hostile names stay text, nothing is fetched, a few small pictures, light and dark, and no figure twice."
import subprocess, sys
from html.parser import HTMLParser

import nbformat
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fastcnn.clean import clean_images, plot_cleaning
from fastcnn.core import ImageResult, Manifest
from fastcnn.displays import small_picture
from fastcnn.evaluation import evaluate
from fastcnn.findings import Finding, Findings
from fastcnn.search import ImageResults
from notebooks import notebooks
from web import axe, browser, violations # noqa: F401 fixtures

HOSTILE = '<script>alert(1)</script>"\'><img src=//a/b onerror=alert(2)> $x^2$ \\(y\\) \u202e \u05d0\u05d1'
FOLDER = '<b onclick=a>&quot;$x$ \u05d0'
TAGS = set('div style p strong span bdi br table caption thead tbody tr th td details summary figure figcaption img svg polyline a'.split())


@pytest.fixture(scope='module')
def displays(tmp_path_factory):
    "Of each kind one, with everything that somebody else can name"
    root = tmp_path_factory.mktemp('shown')/'sky'
    rng = np.random.default_rng(0)
    for i in range(12):
        file = root/(FOLDER if i % 2 else 'mars')/f'{i}.png'
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)).resize((120, 90)).save(file)
        Manifest(root).append(dict(url=f'http://a/{i}', label=file.parent.name, status='kept', file=f'{file.parent.name}/{file.name}', title=HOSTILE,
                                   creator=HOSTILE, license=HOSTILE))
    (root/'mars'/'cut.png').write_bytes(file.read_bytes()[:300])
    (root/'mars'/'copy.png').write_bytes((root/'mars'/'0.png').read_bytes())
    result = ImageResult('http://a/1.jpg', title=HOSTILE, creator=HOSTILE, license=HOSTILE, landing_url='javascript:alert(1)')
    mistaken = evaluate([[.9, .1], [.2, .8], [.6, .4]], [0, 1, 1], [HOSTILE, 'mars'])
    object.__setattr__(mistaken, 'worst', pd.DataFrame(dict(image=[str(file), b'no picture'], label=HOSTILE, predicted='mars', probability=.6)))
    return dict(cleaning=clean_images(root, dry_run=True), manifest=Manifest(root), results=ImageResults([result]*60), evaluation=mistaken,
                findings=Findings([Finding('dead_relu', 'error', HOSTILE, HOSTILE, 'stop'), Finding('overfitting', 'warning', '', '', HOSTILE)]))

KINDS = ['cleaning', 'manifest', 'results', 'evaluation', 'findings']


class Page(HTMLParser):
    "The elements of a display, and its text"
    def __init__(self, page):
        super().__init__()
        self.elements, self.texts = [], []
        self.feed(page)
    def handle_starttag(self, tag, attrs): self.elements.append((tag, dict(attrs)))
    def handle_data(self, data): self.texts.append(data)


@pytest.mark.parametrize('kind', KINDS)
def test_what_others_have_named_stays_text(displays, kind):
    page = Page(displays[kind]._repr_html_())
    assert {tag for tag, _ in page.elements} <= TAGS
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith('on')], (tag, attributes)
        assert attributes.get('href', 'https:').startswith(('http:', 'https:')) and attributes.get('src', 'data:image/jpeg').startswith('data:image/jpeg')
        assert tag != 'img' or attributes['alt']
    assert not [text for text in page.texts if text.count('$') + text.count('\\') and len(text) > 1 and 'fastcnn-display' not in text] # no formula
    assert any('alert(1)' in text or 'onclick' in text for text in page.texts) and '\u202e' not in ''.join(page.texts)


@pytest.mark.parametrize('kind', KINDS)
def test_a_terminal_shows_readable_lines(displays, kind):
    shown = repr(displays[kind])
    assert str(displays[kind]) == shown and '\u202e' not in shown and ' at 0x' not in shown and '<bdi>' not in shown
    assert all(line.isprintable() for line in shown.splitlines()) and len(shown) < 9000


def test_a_notebook_stays_small(displays, tmp_path):
    for kind in KINDS: assert len(displays[kind]._repr_html_()) < 120_000, kind
    noise = np.random.default_rng(0).integers(0, 255, (900, 900, 3), dtype=np.uint8) # the worst for a JPEG
    assert len(small_picture(noise, 'noise')) < 10_000


INHERITED = """() => [...document.querySelectorAll('.fastcnn-display p, .fastcnn-display td, .fastcnn-display figcaption')]
  .every(e => getComputedStyle(e).color == getComputedStyle(document.body).color)"""


def test_everybody_can_read_it_in_light_and_dark(browser, axe, displays):
    "On a page of any colour, narrow or wide; nothing is asked for"
    page, asked = browser.new_page(), []
    page.on('request', lambda request: request.url.startswith('data:') or asked.append(request.url))
    shown = ''.join(displays[kind]._repr_html_() for kind in KINDS)
    for ground, ink in (('#fff', '#111'), ('#111', '#eee')):
        for width in (390, 1280):
            page.set_viewport_size(dict(width=width, height=900))
            style = f'body {{ background: {ground}; color: {ink} }} a {{ color: inherit }}'
            page.set_content(f'<html lang=en><title>Notebook</title><style>{style}</style><body><main>{shown}</main>')
            page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
            assert violations(page, axe) == [], (ground, width)
            assert page.evaluate('document.documentElement.scrollWidth') <= width
            assert page.evaluate(INHERITED)
    assert page.evaluate('[...document.images].every(i => i.naturalWidth)') and not asked
    page.close()


def test_nothing_found_is_no_empty_figure(tmp_path):
    (tmp_path/'sky'/'mars').mkdir(parents=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 120, 3), dtype=np.uint8)).save(tmp_path/'sky'/'mars'/'0.png')
    report = clean_images(tmp_path/'sky', dry_run=True)
    assert '<img' not in report._repr_html_() and '1 kept' in repr(report)
    figure = plot_cleaning(report)
    assert figure.get_size_inches()[1] < 1 and [text.get_text() for text in figure.texts] == ['nothing was found']


def test_no_figure_is_shown_twice():
    "In no cell of a notebook: what a call returns, and again at its end"
    twice = []
    for path in notebooks():
        for cell in nbformat.read(path, 4).cells:
            pictures = [data for output in cell.get('outputs', ()) for kind, data in output.get('data', {}).items() if kind.startswith('image/')]
            if len(pictures) != len(set(pictures)): twice.append((path.name, cell.id))
    assert not twice


STAR = """import warnings
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter('always', FutureWarning)
    from fastcnn.all import *
assert not [w for w in told if w.category is FutureWarning], told[0].message
import fastai.vision.all as vision
ours = {name for name, value in vars(vision).items() if name[0] != '_' and globals()[name] is not value}
assert ours == {'ActivationStats', 'AlexNet', 'ResNet', 'VGG'}, ours
assert ImageDataLoaders is vision.ImageDataLoaders and diagnose.__module__ == 'fastcnn.diagnosis'"""


def test_star_import_brings_fastais_names_and_no_warning(tmp_path):
    "In a fresh kernel"
    done = subprocess.run([sys.executable, '-c', STAR], capture_output=True, text=True, cwd=tmp_path)
    assert not done.returncode and not done.stderr, done.stderr
