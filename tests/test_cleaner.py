"The cleaner as its user meets it: in a real JupyterLab, in a real browser, with a real kernel, on the loopback address."
import io, json, os, shutil, subprocess, sys
from pathlib import Path

import pytest

from fastcnn.core import Manifest, SidecarFile, sidecar
from fastcnn.images import files_on_disk
from fastcnn.marks import Marks
from fastcnn.planets import planet_collection
from faults import jpeg
from notebooks import ROOT
from web import TOKEN, axe, jupyterlab, open_notebook, violations, wait_for, write_notebook # axe is a fixture

HOSTILE = 'earth/<img src=x onerror=alert(1)>&quot;.jpg'
CODE = """from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
import numpy as np, pandas as pd
from PIL import Image
from fastcnn.clean import clean_images
from fastcnn.duplicates import read_images
from fastcnn.cleaner import ImageCleaner
report = clean_images('sky', dry_run=True)
facts = [f for f in read_images('sky') if not f.problem]
small = np.stack([f.thumb.reshape(16, 4, 16, 4).mean((1, 3)).ravel()/255 for f in facts])
labels = [f.file.partition('/')[0] for f in facts]
model = LogisticRegression(C=.1, max_iter=300).fit(small, labels)
chances = cross_val_predict(model, small, labels, cv=4, method='predict_proba')
table = pd.DataFrame(chances, columns=[f'p_{c}' for c in model.classes_]).assign(
    file=[f.file for f in facts], label=model.classes_[chances.argmax(1)], probability=chances.max(1))
cleaner = ImageCleaner('sky', table, report, page_size=24)
cleaner"""


@pytest.fixture(scope='module')
def lab(tmp_path_factory):
    "A JupyterLab of this test's own: its address and its folder, with a collection and a notebook"
    home = tmp_path_factory.mktemp('lab')
    (home/'work').mkdir()
    make_work(home/'work')
    with jupyterlab(home) as url: yield url, home/'work'


def make_work(folder):
    "A collection with everything that can be wrong, a title from the web, a hostile name, and a notebook"
    root = folder/'original'/'sky'
    truth = planet_collection(root, 12, seed=1, nuisances=.25, duplicates=.4, broken=.1)
    (folder/'nuisances.json').write_text(json.dumps([t['file'] for t in truth if t['kind'] in ('god', 'watch', 'car')]))
    first = files_on_disk(root)[0]
    shutil.copy(root/first, root/HOSTILE)
    Manifest(root).append(dict(url='https://example.org/1.jpg', label='earth', file=first, status='kept', title='<script>alert(1)</script><b>Earth</b>'))
    write_notebook(folder/'clean.ipynb', CODE)


@pytest.fixture(scope='module')
def page(browser, lab):
    "The notebook in JupyterLab; what it asks from elsewhere, and any alert, fails the test"
    url, _ = lab
    page, trouble = browser.new_page(viewport=dict(width=1330, height=1500)), []
    page.on('request', lambda r: r.url.startswith((url, url.replace('http', 'ws'), 'data:', 'blob:')) or trouble.append(f'asked for {r.url}'))
    page.on('dialog', lambda d: d.accept() if d.type == 'beforeunload' else (trouble.append(f'alert: {d.message}'), d.dismiss()))
    page.on('pageerror', lambda e: trouble.append(str(e)))
    open_notebook(page, url, 'clean.ipynb')
    yield page
    page.close()
    assert not trouble


def run_cell(page):
    "Run the notebook's cell, as its reader does"
    from playwright.sync_api import TimeoutError
    page.evaluate("document.querySelectorAll('.fastcnn-cleaner').forEach(old => old.classList.remove('fastcnn-cleaner'))")
    for last in (False, False, True): # a page may take the keys before its kernel does, and forget them
        page.locator('.jp-CodeCell .cm-content').first.click()
        page.keyboard.press('Control+Enter')
        try: return page.locator('.fastcnn-cleaner img').first.wait_for(timeout=40_000)
        except TimeoutError:
            if last: raise


@pytest.fixture
def cleaner(page, lab):
    "The widget on the collection as it was, without marks"
    sky = lab[1]/'sky'
    for path in (sky, sidecar(sky)): shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(lab[1]/'original'/'sky', sky)
    shutil.copytree(lab[1]/'original'/'sky.fastcnn', sidecar(sky))
    run_cell(page)
    page.locator('.tile').first.click()
    return page.locator('.fastcnn-cleaner')


def marks(lab): return Marks(sidecar(lab[1]/'sky')/SidecarFile.CLEANER)

def names(page): return page.locator('.tile').evaluate_all('tiles => tiles.map(tile => tile.title.split("\\n").at(-1))')

def press(page, *keys):
    for key in keys: page.keyboard.press(key)

def show(page, name, value):
    "Choose in the first, second or third menu, and wait until it is shown"
    before = names(page)
    page.locator('.fastcnn-cleaner select').nth(['label', 'problem', 'order'].index(name)).select_option(value)
    wait_for(lambda: names(page) != before)


def test_keys(page, lab, cleaner):
    first = names(page)
    press(page, 'x', 'ArrowRight', '4', 'ArrowDown', 'Shift+ArrowRight', ' ')
    line = page.locator('.tile').evaluate_all('tiles => tiles.findIndex(tile => tile.offsetTop > tiles[0].offsetTop)')
    wanted = {first[0]: '', first[1]: 'saturn', first[line + 1]: '', first[line + 2]: ''}
    if first[1].startswith('saturn'): del wanted[first[1]]
    wait_for(lambda: marks(lab).to == wanted)
    press(page, 'u')
    wait_for(lambda: len(marks(lab).to) == len(wanted) - 2)
    press(page, 'Control+z', 'y', 'Control+y')
    wait_for(lambda: marks(lab).to == wanted)
    press(page, 'PageDown')
    wait_for(lambda: names(page) != first)
    assert page.evaluate('document.activeElement.title.split("\\n").at(-1)') == names(page)[0] # the focus is not lost
    claimed = "document.querySelector('.fastcnn-cleaner').hasAttribute('data-lm-suppress-shortcuts')"
    press(page, 'c', 'v', 'm') # in JupyterLab: copy and paste the cell, make it text
    assert page.evaluate(claimed)
    cleaner.locator('select').first.focus()
    press(page, 'm', 'Control+s')
    assert not page.evaluate(claimed)
    assert page.locator('.jp-Cell').count() == 1 and page.locator('.jp-MarkdownCell').count() == 0
    assert contents(lab) == original(lab)


def contents(lab, folder=''): return {f: (lab[1]/folder/'sky'/f).read_bytes() for f in files_on_disk(lab[1]/folder/'sky')}
def original(lab): return contents(lab, 'original')


def test_marks_survive_a_class_switch_a_reload_and_a_restart(page, lab, cleaner):
    first = names(page)[0]
    press(page, 'x')
    page.locator('.tile [class=fate]').first.wait_for()
    show(page, 'label', 'jupiter' if first.startswith('earth') else 'earth')
    show(page, 'label', '')
    assert page.locator('.tile').first.get_attribute('data-fate') == 'aside'
    page.keyboard.press('Control+s') # not one of ours: JupyterLab gets it
    wait_for(lambda: 'widget-view' in (lab[1]/'clean.ipynb').read_text())
    page.reload()
    page.locator('.fastcnn-cleaner img').first.wait_for(timeout=60_000) # the kernel still has the widget, and its marks come with the next message
    wait_for(lambda: page.locator('.tile').first.get_attribute('data-fate') == 'aside')
    restart(page)
    run_cell(page)
    wait_for(lambda: page.locator('.tile').first.get_attribute('data-fate') == 'aside')
    page.locator('.tile').first.click()
    press(page, 'u')
    wait_for(lambda: not marks(lab).to)


def restart(page):
    "Kernel → Restart, as its user does it"
    page.locator('[data-command="notebook:restart-kernel"]').first.click()
    page.get_by_role('dialog').get_by_role('button', name='Confirm Kernel Restart').click()
    page.get_by_text('Python 3 (ipykernel) | Idle').wait_for(timeout=30_000)


def test_apply_and_undo_apply(page, lab, cleaner):
    away, moved, gone = names(page)[:3]
    other = 'earth' if not moved.startswith('earth') else 'saturn'
    press(page, 'x', 'ArrowRight')
    cleaner.locator('input').fill(other)
    cleaner.locator('input').press('Enter')
    wait_for(lambda: len(marks(lab).to) == 2)
    assert contents(lab) == original(lab) # nothing before apply
    (lab[1]/'sky'/gone).unlink()
    page.get_by_role('button', name='apply 2 marks').click()
    wait_for(lambda: not marks(lab).to)
    new = f"{other}/{moved.partition('/')[2]}"
    assert contents(lab).keys() == original(lab).keys() - {away, moved, gone} | {new}
    rows = {r['file']: r for r in Manifest(lab[1]/'sky') if r.get('file')}
    assert (rows[away]['status'], rows[away]['reason'], rows[new]['status']) == ('quarantined', 'by_hand', 'relabelled')
    cleaner.get_by_role('status').filter(has_text='applied: 1 set aside, 1 relabelled').wait_for()
    page.get_by_role('button', name='undo apply').click()
    wait_for(lambda: contents(lab).keys() == original(lab).keys() - {gone})
    wait_for(lambda: marks(lab).to == {away: '', moved: other})


def test_what_is_marked_is_seen_before_apply(page, lab, cleaner):
    first, second, third = names(page)[:3]
    other = next(c for c in ('earth', 'saturn') if not second.startswith(c))
    press(page, 'x', 'ArrowRight', str(['earth', 'jupiter', 'neptune', 'saturn'].index(other) + 1), 'ArrowRight', 'x')
    wait_for(lambda: marks(lab).to == {first: '', second: other, third: ''})
    before = cleaner.locator('.pager').inner_text()
    press(page, 'r')
    wait_for(lambda: names(page) == [*sorted([first, third]), second])
    assert cleaner.locator('.heading').all_inner_texts() == ['to be set aside: 2', f'to go to {other}: 1']
    assert cleaner.locator('.plan button').all_inner_texts() == ['marked 3', 'set aside 2', 'to another class 1']
    assert cleaner.locator('.tile').nth(2).locator('.other').inner_text() == f'nearest in {other}'
    cleaner.locator('.tile').nth(2).locator('.other img').wait_for()
    cleaner.get_by_role('button', name='to another class 1').click()
    wait_for(lambda: names(page) == [second])
    cleaner.get_by_role('button', name='take these marks away').click()
    wait_for(lambda: marks(lab).to == {first: '', third: ''} and page.evaluate("document.activeElement.className") != '')
    cleaner.get_by_role('button', name='undo: u').click()
    wait_for(lambda: marks(lab).to.get(second) == other)
    cleaner.get_by_role('button', name='to another class 1').click() # it was pressed: back to where one was
    wait_for(lambda: names(page)[:3] == [first, second, third])
    assert cleaner.locator('.pager').inner_text() == before and contents(lab) == original(lab)


def test_a_copy_stands_beside_its_original_and_a_suspect_beside_what_it_is_like(page, lab, cleaner):
    show(page, 'problem', 'odd')
    cleaner.locator('.other img').nth(len(names(page)) - 1).wait_for()
    page.locator('.tile').first.click()
    label = page.locator('.tile .other').first.inner_text()
    assert label.startswith('nearest in ')
    press(page, 'Enter')
    page.locator('figure .shot', has_text=label).locator('img').wait_for()
    assert page.locator('figure img').count() == 2
    press(page, 'Escape')
    show(page, 'problem', 'duplicates')
    page.locator('.tile').nth(1).click()
    press(page, 'Enter')
    page.locator('figure .shot', has_text=f'original: {names(page)[0]}').locator('img').wait_for()
    press(page, 'Escape')


TOO_WIDE = """() => { const box = document.querySelector('.fastcnn-cleaner'), edge = box.getBoundingClientRect().right
  const inside = node => node.closest('.chips, .side, .choice') === null // these cut what is too long, or scroll
  return [...box.querySelectorAll('*')].filter(e => inside(e) && e.getBoundingClientRect().right > edge).map(e => e.outerHTML) }"""

@pytest.mark.parametrize('width', [340, 700])
def test_a_narrow_cell(page, lab, cleaner, axe, width):
    cleaner.evaluate('(box, width) => { box.parentElement.style.width = width + "px" }', width)
    try:
        press(page, 'x', 'r')
        cleaner.locator('.heading').wait_for()
        for problem in ('marked', 'odd', 'duplicates', ''):
            cleaner.locator('select').nth(1).select_option(problem)
            wait_for(lambda: cleaner.locator('select').nth(1).input_value() == problem and cleaner.locator('.tile').count())
            assert page.evaluate(TOO_WIDE) == []
        assert not [found for found in violations(page, axe) if 'fastcnn-cleaner' in str(found)]
        columns = cleaner.locator('.tile').evaluate_all('tiles => new Set(tiles.map(tile => tile.offsetLeft)).size')
        assert columns == {340: 3, 700: 4}[width]
    finally: cleaner.evaluate('box => { box.parentElement.style.width = "" }')


def test_mouse(page, lab, cleaner):
    files = names(page)
    page.locator('.tile').nth(1).click()
    page.locator('.tile').nth(3).click(modifiers=['Shift'])
    page.get_by_role('button', name='set aside').click()
    wait_for(lambda: marks(lab).to == dict.fromkeys(files[1:4], ''))
    page.locator('.tile').nth(2).hover()
    page.locator('.tile').nth(2).locator('.corner').click()
    wait_for(lambda: marks(lab).to == dict.fromkeys([files[1], files[3]], ''))
    page.locator('.tile').nth(5).dblclick()
    page.locator('figure img').first.wait_for()
    press(page, 'Escape')
    page.locator('figure').wait_for(state='hidden')


def test_text_stays_text(page, lab, cleaner):
    show(page, 'order', 'file')
    assert HOSTILE in names(page)
    titled = page.locator('.tile[title^="<script>alert(1)</script>"]')
    assert titled.count() == 1 and '<b>Earth</b>' in titled.get_attribute('aria-label')
    titled.click()
    press(page, 'Enter')
    page.locator('figcaption', has_text='<b>Earth</b>').wait_for()
    assert page.locator('.fastcnn-cleaner :is(script, img[src=x], b b)').count() == 0
    press(page, 'Escape')


def test_broken_files_are_crossed_out(page, lab, cleaner):
    show(page, 'problem', 'broken')
    wait_for(lambda: page.locator('.tile .crossed').count() == len(names(page)) > 0)
    show(page, 'label', 'earth')
    press(page, 'PageDown')


CONTRAST = """e => { // as drawn: the colours may be mixed ones, which only a canvas turns into numbers
  const pen = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true})
  const light = c => { pen.clearRect(0, 0, 1, 1); pen.fillStyle = c; pen.fillRect(0, 0, 1, 1)
    const [r, g, b, a] = pen.getImageData(0, 0, 1, 1).data, part = v => v / 255 <= .03928 ? v / 255 / 12.92 : ((v / 255 + .055) / 1.055) ** 2.4
    return a ? .2126 * part(r) + .7152 * part(g) + .0722 * part(b) : null }
  let box = e; while (light(getComputedStyle(box).backgroundColor) === null) box = box.parentElement
  const [a, b] = [light(getComputedStyle(e).color), light(getComputedStyle(box).backgroundColor)].sort((x, y) => x - y)
  return (b + .05) / (a + .05) }"""
TEXTS = '.fastcnn-cleaner :is(.tile b, .tile i, .fate, .help span, .status, .pager, .choice span, kbd, button:not(:disabled), select)'
NAMELESS = """() => [...document.querySelectorAll('.fastcnn-cleaner :is(button, select, input, [role=option])')]
  .filter(e => !(e.innerText || e.ariaLabel || e.labels?.length)).map(e => e.outerHTML)"""

@pytest.mark.parametrize('theme', ['JupyterLab Light', 'JupyterLab Dark'])
def test_looks(page, lab, cleaner, theme):
    page.get_by_text('Settings', exact=True).click()
    page.get_by_text('Theme', exact=True).hover()
    page.get_by_text(theme, exact=True).first.click()
    wait_for(lambda: page.evaluate('document.body.dataset.jpThemeName') == theme)
    page.locator('.tile').first.click()
    nuisances = json.loads((lab[1]/'nuisances.json').read_text())
    for file in names(page): press(page, *(['x', 'ArrowRight'] if file in nuisances else ['ArrowRight'])) # the last step turns the page
    wait_for(lambda: 'page 2' in cleaner.locator('.pager').inner_text())
    press(page, 'PageUp', 'ArrowRight', '3')
    wait_for(lambda: 'neptune' in marks(lab).to.values() or names(page)[1].startswith('neptune'))
    page.wait_for_timeout(500)
    texts = page.locator(TEXTS)
    faint = [texts.nth(i).inner_text() for i in range(texts.count()) if texts.nth(i).is_visible() and texts.nth(i).evaluate(CONTRAST) < 4.5]
    assert not faint and texts.count() > 50
    assert page.evaluate(NAMELESS) == []
    assert page.evaluate('parseFloat(getComputedStyle(document.activeElement).outlineWidth)') >= 2 # where the focus is can be seen
    page.mouse.move(0, 0)
    picture(cleaner, 'cleaner-1.png', theme.endswith('Light'))
    show(page, 'problem', 'duplicates')
    page.locator('.tile').first.click()
    press(page, 'a', 'b', 'Home')
    page.wait_for_timeout(700)
    page.mouse.move(0, 0)
    picture(cleaner, 'cleaner-2.png', theme.endswith('Dark'))


def picture(cleaner, name, wanted):
    "Keep a screenshot in images/ if FASTCNN_PICTURES is set: python -m pytest tests/test_cleaner.py -k looks"
    from PIL import Image
    if not wanted: return
    folder = ROOT/'images' if os.environ.get('FASTCNN_PICTURES') else Path(os.environ.get('TMPDIR', '/tmp'))
    shot = Image.open(io.BytesIO(cleaner.screenshot())).convert('RGB')
    assert shot.width > 700 and shot.height > 500
    shot.quantize(256, dither=Image.Dither.NONE).save(folder/name, optimize=True)


def test_notebook_7(browser, page, lab, cleaner):
    "The same server also shows the notebook in Jupyter Notebook 7, which has other keys of its own"
    pytest.importorskip('notebook') if not os.environ.get('CI') else __import__('notebook')
    other = browser.new_page(viewport=dict(width=1330, height=1500))
    other.goto(f'{lab[0]}notebooks/clean.ipynb?token={TOKEN}')
    other.locator('.jp-Notebook-ExecutionIndicator[data-status=idle]').wait_for(timeout=60_000)
    run_cell(other)
    other.locator('.tile').first.click()
    first = names(other)[0]
    press(other, 'x', 'ArrowRight', 'm')
    wait_for(lambda: marks(lab).to == {first: ''})
    assert other.locator('.jp-MarkdownCell').count() == 0 and contents(lab) == original(lab)
    other.close()


HOT = '''
import sys, time
from pathlib import Path
here = Path(sys.argv[1])
sys.path.insert(0, str(here))
from fastcnn.cleaner import ImageCleaner
cleaner, seen = ImageCleaner(here/'mine'), []
cleaner.observe(lambda change: seen.append(change.new), '_css')
style = here/'fastcnn'/'web'/'cleaner'/'cleaner.css'
for _ in range(100): # who watches the file begins when it likes
    style.write_text(style.read_text() + '/* new */')
    time.sleep(.2)
    if seen: break
assert seen[-1].endswith('/* new */')
'''


def test_a_changed_style_is_shown_at_once(tmp_path):
    "With anywidget's own switch, as CONTRIBUTING says"
    shutil.copytree(ROOT/'fastcnn', tmp_path/'fastcnn')
    (tmp_path/'mine'/'a').mkdir(parents=True)
    (tmp_path/'mine'/'a'/'1.jpg').write_bytes(jpeg(1))
    subprocess.run([sys.executable, '-c', HOT, tmp_path], env=os.environ | dict(ANYWIDGET_HMR='1'), check=True, timeout=60)
