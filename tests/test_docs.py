"The documentation as a reader meets it: in a real browser, with no network."
import itertools, re, subprocess, sys
from html.parser import HTMLParser
from urllib.parse import unquote, urldefrag

import pytest

import reference
from fastcnn import __version__
from fastcnn.lessons import LESSONS
from notebooks import ROOT, commit_number
from web import axe, missing, served, violations

CONTRAST = """e => {
  const light = c => c.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
                      .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  let box = e; while (/, 0\\)$|transparent/.test(getComputedStyle(box).backgroundColor)) box = box.parentElement;
  const [a, b] = [getComputedStyle(e).color, getComputedStyle(box).backgroundColor].map(light).sort();
  return (b + .05) / (a + .05) }"""

TOO_WIDE = """() => [...document.querySelectorAll('main *')].filter(e => {
  if (e.getBoundingClientRect().right <= innerWidth + 1) return false;
  for (let box = e; box.tagName != 'MAIN'; box = box.parentElement) { // what scrolls by itself may be wider
    const style = getComputedStyle(box);
    if (/auto|scroll|hidden/.test(style.overflowX) || style.position == 'absolute') return false }
  return true }).map(e => e.outerHTML.slice(0, 80))"""
CROWDED = """() => { // texts of neighbouring cells with less than 8 pixels between them
  const text = cell => { const range = document.createRange(); range.selectNodeContents(cell); return range.getBoundingClientRect() };
  return [...document.querySelectorAll('main tr')].filter(row => [...row.cells].some((cell, i, all) => {
    if (!i) return false;
    const [before, after] = [text(all[i - 1]), text(cell)];
    return before.width && after.width && after.left - before.right < 8 })).map(row => row.innerText) }"""
BAD_TEX = """() => [...document.querySelectorAll('.math')]
  .filter(e => !e.querySelector('.katex') || e.querySelector('.katex-error, [mathcolor="#cc0000"]')).map(e => e.textContent)"""


@pytest.fixture(scope='module')
def built(tmp_path_factory):
    "A site built now: its folder and what the build has said"
    folder = tmp_path_factory.mktemp('docs')/'_docs'
    done = subprocess.run([sys.executable, ROOT/'tools/docs.py', folder], capture_output=True, text=True)
    if not (folder/'index.html').exists(): pytest.fail(done.stderr, pytrace=False)
    return folder, done


@pytest.fixture(scope='module')
def site(built): return built[0]


@pytest.fixture(scope='module')
def address(site):
    "The site's address on this machine"
    with served(site) as address: yield address


@pytest.fixture
def page(browser, address):
    "A page whose requests to other machines are refused and, like errors in the console, fail the test"
    page, trouble = browser.new_page(viewport=dict(width=1280, height=900)), []
    def guard(route):
        if route.request.url.startswith((address, 'data:')): return route.continue_()
        trouble.append(f'asked for {route.request.url}')
        route.abort()
    page.route('**/*', guard)
    page.on('console', lambda m: m.type in ('error', 'warning') and trouble.append(m.text))
    page.on('pageerror', lambda e: trouble.append(str(e)))
    yield page
    page.close()
    assert not trouble


def test_build_has_nothing_to_say(built):
    done = built[1]
    if done.returncode or done.stderr: pytest.fail(done.stderr, pytrace=False)


def test_landing_page(page, address):
    page.goto(address)
    assert page.locator('h1').inner_text() == 'fastcnn'
    menu = page.locator('#quarto-sidebar .menu-text')
    assert {'Home', 'Lessons', 'Reference', 'API', 'Command'} <= set(menu.all_inner_texts())
    assert menu.get_by_text('The book').is_visible() and not menu.get_by_text('convolution', exact=True).first.is_visible()
    assert page.get_by_role('link', name=f'v{__version__}').get_attribute('href').endswith('/CHANGELOG.md')
    assert page.get_by_label('Repository').get_attribute('href') == 'https://github.com/fastcnn/fastcnn'
    assert page.locator('.way').count() == 6
    page.locator('.way', has_text='Command').click()
    page.wait_for_url('**/api/command.html')


def test_every_public_name_has_an_entry(site):
    listed = Links(site/'api/index.html').hrefs
    for module in reference.modules():
        ids = Links(site/f'api/{module.name}.html').ids
        missed = [name for name in module.names if name not in ids or f'{module.name}.html#{name}' not in listed]
        assert not missed, module.name


def test_an_entry_tells_all(page, address):
    page.goto(address + 'api/images.html#read_image')
    entry = page.locator('#read_image')
    text = entry.inner_text()
    for told in ('read_image(source, side=None', 'a JPEG may come smaller, its shorter side not below this', 'upright, transparency on white',
                 'Parameters', 'Returns', 'Raises', 'UnreadableImage', 'Example'): assert told in text
    assert entry.get_by_role('link', name='source').get_attribute('href').startswith('https://github.com/fastcnn/fastcnn/blob/main/fastcnn/images.py#L')
    entry.get_by_role('link', name='in the book').click()
    page.wait_for_url('**/images.html#read_image')
    page.locator('#read_image').get_by_role('link', name='reference').click()
    page.wait_for_url('**/api/images.html#read_image')


def test_command_page_follows_the_parser(page, address):
    page.goto(address + 'api/command.html')
    assert {'search', 'train', 'publish'} <= set(page.locator('h2').all_inner_texts())
    row = page.locator('#search tr', has_text='-n').first
    assert 'images wanted' in row.inner_text() and row.locator('td').nth(2).inner_text() == '100'


def test_formulas_are_set(page, address, site):
    if not (site/'site_libs/katex').exists(): missing('KaTeX (npm fetches it)')
    page.goto(address + 'convolution.html')
    page.locator('.katex-display').first.wait_for(timeout=5000)
    assert page.evaluate('document.fonts.ready.then(() => [...document.fonts].some(f => f.family.startsWith("KaTeX") && f.status == "loaded"))')


SEARCHES = { # what is typed → pages of which one is among the first three
    'Manifest': 'api/core.html#Manifest', 'read_image': 'api/images.html#read_image', 'ImageCleaner': 'api/cleaner.html#ImageCleaner',
    'fit_fast': 'api/fast.html#fit_fast', 'conv2d': 'api/convolution.html#conv2d', 'train_classifier()': 'api/pipeline.html#train_classifier',
    'fastcnn publish': 'api/publish.html#publish api/command.html#publish', 'train': 'api/command.html#train', 'grad_cam': 'api/evaluation.html#grad_cam',
    'ActivationStats': 'api/activations.html#ActivationStats', 'glossary': 'glossary.html', 'troubleshooting': 'troubleshooting.html',
    'transfer': 'tutorials/transfer.html transfer.html', 'edges': 'tutorials/edges.html',
    'cheat sheet': 'cheatsheet.html', 'cifar-10': 'tutorials/cifar10.html',
    'webcam': 'publish.html', 'windows': 'troubleshooting.html', 'teachable machine': 'publish.html coming_from.html', 'csv': 'tables.html api/tables.html',
    'duplicats': 'duplicates.html', 'confusion matrix': 'evaluation.html', 'receptive field': 'receptive_field', 'learning rate': 'diagnosis.html tutorials/',
    'licence': 'sharing_safely.html where_images_come_from.html search.html services.html', 'augmentation': 'tutorials/ data.html fast.html',
    'keras': 'coming_from.html', 'onnx': 'deploy.html', 'batchnorm': 'tutorials/ models.html',
}


def look_for(page, text):
    page.keyboard.press('/')
    page.locator('#search-dialog[open] input').fill(text)
    page.wait_for_function('text => document.querySelector("#search-hits").dataset.query === text', arg=text, timeout=20_000)
    return page.locator('.hit').evaluate_all('hits => hits.map(hit => hit.getAttribute("href"))')


def test_search_finds(page, address, site):
    if not (site/'search-index.js').exists(): missing('MiniSearch (npm fetches it)')
    page.goto(address)
    lost = {}
    for text, wanted in SEARCHES.items():
        found = look_for(page, text)[:3]
        if not any(part in href for part in wanted.split() for href in found): lost[text] = found
        page.keyboard.press('Escape')
        assert not page.locator('#search-dialog').is_visible()
    assert not lost


def test_search_by_keyboard_and_on_a_telephone(page, address, axe):
    page.goto(address + 'tutorials/start.html')
    assert look_for(page, 'read_image')[0] == '../api/images.html#read_image'
    parts = page.locator('.hit-name, .hit-kind, .hit-page, .hit-text, .hit-text mark')
    assert min(parts.nth(i).evaluate(CONTRAST) for i in range(parts.count())) > 4.5
    assert page.locator('.hit-text mark').count() and violations(page, axe) == []
    page.keyboard.press('ArrowDown')
    assert page.locator('.hit').nth(1).get_attribute('aria-selected') == 'true'
    page.keyboard.press('ArrowUp')
    page.keyboard.press('Enter')
    page.wait_for_url('**/api/images.html#read_image')
    page.set_viewport_size(dict(width=390, height=700))
    page.get_by_role('button', name='Search').click()
    box = page.locator('#search-dialog').bounding_box()
    assert box['x'] >= 0 and box['x'] + box['width'] <= 390


def test_search_works_from_a_file(browser, site):
    page = browser.new_page()
    page.goto((site/'gallery.html').as_uri())
    assert look_for(page, 'Manifest')[0] == './api/core.html#Manifest'
    page.close()


PICTURES = '''Promise.all([...document.images].map(image => {
    image.loading = 'eager' // it would wait until somebody scrolls there
    return image.decode().then(() => image.naturalWidth > 0, () => false)
})).then(seen => seen.every(Boolean))'''


def fits_and_loads(page, address, site, files):
    formulas = (site/'site_libs/katex').exists() # see above
    for file in files:
        page.set_viewport_size(dict(width=390, height=800))
        page.goto(address + file.relative_to(site).as_posix())
        assert page.evaluate(PICTURES), f'broken picture in {file.name}'
        assert page.evaluate('[...document.images].every(i => i.alt)'), f'picture without alt text in {file.name}'
        if formulas: assert page.evaluate(BAD_TEX) == [], file.name
        for width in (390, 1280):
            page.set_viewport_size(dict(width=width, height=800))
            assert page.evaluate('document.documentElement.scrollWidth') <= width, file.name
            assert page.evaluate(TOO_WIDE) == [], file.name
            assert page.evaluate(CROWDED) == [], file.name


def test_pages_fit_and_load(page, address, site):
    "On a telephone and on a desk, with their pictures and formulas: a third of them, which one the commit says; `make verify` takes all"
    fits_and_loads(page, address, site, [site/'index.html', *sorted(site.rglob('*.html'))[commit_number() % 3::3]])


@pytest.mark.verify
def test_every_page_fits_and_loads(page, address, site): fits_and_loads(page, address, site, sorted(site.rglob('*.html')))


def looks(page, address, axe, files, ways):
    "What axe finds, what is too wide, in light or dark at a width"
    for scheme, width in ways:
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size(dict(width=width, height=800))
        for file in files:
            page.goto(address + file)
            assert page.evaluate('document.documentElement.classList.contains("quarto-dark")') == (scheme == 'dark')
            found = [*violations(page, axe), *page.evaluate(TOO_WIDE)]
            if found: yield file, scheme, width, found


@pytest.mark.verify(share=1/4)
def test_everybody_can_read_it(page, address, axe):
    "Three pages, one for each kind; `make verify` takes all, in each way"
    files = ['index.html', 'tutorials/shapes.html', 'api/images.html']
    assert list(looks(page, address, axe, files, [('light', 390), ('dark', 1280)])) == []


@pytest.mark.verify
def test_everybody_can_read_every_page(page, address, site, axe):
    ways = itertools.product(('light', 'dark'), (390, 1280))
    assert list(looks(page, address, axe, [file.relative_to(site).as_posix() for file in sorted(site.rglob('*.html'))], ways)) == []


def test_dark_and_light_by_hand(page, address):
    page.goto(address)
    ground = lambda: page.evaluate('getComputedStyle(document.body).backgroundColor')
    light = ground()
    page.locator('.quarto-color-scheme-toggle:visible').first.click()
    assert ground() != light


def test_cheat_sheet_fits_on_two_sides(page, address):
    page.goto(address + 'cheatsheet.html')
    assert len(re.findall(rb'/Type\s*/Page\b', page.pdf(prefer_css_page_size=True))) == 2


def test_gallery_shows_each_lesson(page, address):
    page.goto(address + 'gallery.html')
    assert page.locator('.gallery').count() >= len(LESSONS)
    picture = page.locator('.gallery a').first
    cell = picture.get_attribute('href').partition('#')[2]
    shown = picture.locator('img').get_attribute('src')
    picture.click()
    page.wait_for_url(f'**/tutorials/start.html#{cell}')
    assert page.locator(f'#{cell} img').first.get_attribute('src') == f'../{shown}' and page.locator('main img[src^="data:image/png"]').count() == 0


@pytest.mark.parametrize('name', LESSONS)
def test_a_word_shows_its_sentence_and_code_its_lines(page, address, site, name):
    "By pointer and by key; the word leads to its entry, and what is folded opens"
    page.goto(f'{address}tutorials/{name}.html')
    word = page.locator('a.term').first
    shown = lambda: word.evaluate("e => getComputedStyle(e, '::after').content").strip('"').replace('\\"', '"')
    assert shown() == 'none'
    word.hover()
    assert shown() == word.get_attribute('data-told')
    file, anchor = urldefrag(word.get_attribute('href'))
    assert anchor in Links(site/'tutorials'/file).ids
    folded = page.locator('details.code-fold').first
    assert folded.locator('summary').inner_text() == 'Set-up' and not folded.locator('pre').is_visible()
    folded.locator('summary').press('Enter')
    assert folded.locator('pre').is_visible()


@pytest.mark.parametrize('name', LESSONS)
def test_lesson_opens_elsewhere(site, name):
    hrefs = Links(site/f'tutorials/{name}.html').hrefs
    for host in ('https://colab.research.google.com/github/', 'https://kaggle.com/kernels/welcome?src=https://github.com/'):
        assert any(href.startswith(host) and href.endswith(f'/nbs/tutorials/{name}.ipynb') for href in hrefs), host


class Links(HTMLParser):
    "The links and the targets of a page"
    def __init__(self, file):
        super().__init__()
        self.hrefs, self.ids = set(), {''}
        self.feed(file.read_text())

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.ids.add(attrs.get('id'))
        if tag == 'a' and attrs.get('href'): self.hrefs.add(attrs['href'])


def test_no_link_is_broken(site):
    pages = {file: Links(file) for file in site.rglob('*.html')}
    broken = []
    for file, links in pages.items():
        for href in links.hrefs:
            if re.match(r'[a-z]+:', href): continue
            path, fragment = urldefrag(unquote(href))
            target = (file.parent/path).resolve() if path else file
            if target.is_dir(): target /= 'index.html'
            if not target.exists() or target in pages and fragment not in pages[target].ids: broken.append(f'{file.name} → {href}')
    assert not broken
