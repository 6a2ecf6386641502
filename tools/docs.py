"""The documentation site: nbdev processes the notebooks, smalldocs renders them, and nothing in it asks the network.

    python tools/docs.py [FOLDER]   default: _docs
"""
import base64, html, io, json, logging, os, re, shutil, sys, tempfile, warnings
from functools import cache
from pathlib import Path

import yaml
from fastcore.foundation import L
from fastcore.nbio import mk_cell, new_nb, read_nb, write_nb
from fontTools import subset
from PIL import Image
from smalldocs.config import BuildError
from smalldocs.layout import KATEX as KATEX_CDN
from smalldocs.site import build

import npm, reference
from apipages import SiteFilter
from fastcnn import __version__
from glossary import entries, link_terms
from notebooks import NBS, QUIET, ROOT, is_check, notebooks
from readme import option
from reference import CONFIG, page_name

SITE = f'{CONFIG.doc_host}{CONFIG.doc_baseurl}/'
REMOTE = re.compile(r'<(?:script|img|iframe|source|video)\b[^>]*\bsrc="?(?:https?:)?//[^>]*'
                    r'|<link\b[^>]*rel="?(?:stylesheet|preload|icon)[^>]*href="?(?:https?:)?//[^>]*'
                    r'|@import\s+url\(["\']?(?:https?:)?//[^;]*;?|url\(["\']?(?:https?:)?//[^)]*')


WAYS = [ # of the home page: title, what it is, where it leads, its icon
    ('Ten minutes', 'Meet a trained network, play with it, catch it out. Nothing to install.', 'tutorials/start.ipynb', 'stopwatch'),
    ('Your own words', 'From “planet jupiter” to a classifier that knows what it cannot tell.', 'tutorials/planets.ipynb', 'search'),
    ('Your own pictures', 'Photographs in, a model and a web page out.', 'tutorials/collection.ipynb', 'images'),
    ('Lessons', 'How a network learns, from one number to CIFAR-10, with exercises that answer.', 'tutorials/learning.ipynb', 'book'),
    ('API', 'Every function: what it takes, gives and raises, with an example.', 'api/index.ipynb', 'code-square'),
    ('Command', 'The same steps in the terminal, with every option.', 'api/command.ipynb', 'terminal'),
]
KEYWORDS = { # what people call it, where the page says it otherwise
    'publish.html': 'webcam camera Teachable Machine Gradio Streamlit deploy web app', 'coming_from.html': 'Teachable Machine Roboflow migrate',
    'troubleshooting.html': 'Windows macOS Linux install GPU CUDA error', 'tables.html': 'CSV TSV spreadsheet Excel parquet',
    'api/tables.html': 'CSV TSV spreadsheet Excel parquet', 'transfer.html': 'pretrained fine-tuning backbone finetune',
    'tutorials/collection.html': 'own photos dataset', 'evaluation.html': 'metrics F1 precision recall confusion matrix',
    'deploy.html': 'ONNX safetensors save model Hugging Face',
}
MOST_TEXT = 1200 # characters of a section that the search reads


def relative_links(text, up):
    "Links between notebooks, nbdev's absolute ones too, as links between pages; its pictures as the site's"
    text = re.sub(rf'{SITE}(\w+\.html#[\w.]+)', lambda m: SITE + reference.addresses().get(m[1], m[1]), text)
    text = re.sub(rf'({SITE}\w+\.html#\w+)\.[\w.]+', r'\1', text) # a method stands with its class
    text = re.sub(rf'({SITE}\w+\.html)#_\w+', r'\1', text) # a private name has no entry
    text = re.sub(r'(\]\([^)\s]*?)\b\d\d_(\w+\.ipynb)', r'\1\2', text.replace(SITE, up))
    return re.sub(r'(\]\()(\.\./)+images/', rf'\1{up}images/', text)


def open_in(path):
    "The cell that opens a lesson elsewhere: its first code cell installs what it needs there"
    repository = CONFIG.git_url.removeprefix("https://github.com/")
    where = f'{repository}/blob/{CONFIG.branch}/{path.relative_to(ROOT).as_posix()}'
    links = {'Open in Colab': f'https://colab.research.google.com/github/{where}',
             'Open in Kaggle': f'https://kaggle.com/kernels/welcome?src=https://github.com/{where}',
             'See the notebook': f'https://github.com/{where}'}
    row = ' '.join(f'[{text}]({url}){{.badge-link}}' for text, url in links.items())
    return mk_cell(f'::: {{.open-in}}\n{row}\n:::', 'markdown')


def fold(nb):
    "What is folded in the notebook is folded on the page: the cells of the set-up together"
    is_folded = lambda cell: cell.metadata.get('jupyter', {}).get('source_hidden')
    cells, named = [], 'Set-up'
    for cell in nb.cells:
        if cell.cell_type == 'markdown' and re.search('^## ', cell.source, re.M): named = 'Code'
        source = re.sub(r'^#\| code-fold: true\n', '', cell.source, flags=re.M)
        if is_folded(cell) and cells and is_folded(cells[-1]) and not (cell.outputs or cells[-1].outputs):
            cells[-1].source += f'\n\n{source}'
            continue
        if is_folded(cell):
            summary = 'How this picture is drawn' if '#| fig-alt' in source else 'Checked' if is_check(source) else named
            cell.source = f'#| code-fold: true\n#| code-summary: {summary}\n{source}'
        cells.append(cell)
    nb.cells = cells


def figure(output, alt, file, folder):
    "A picture of a cell as a file of the site, with its size, so that nothing jumps when it comes: its HTML, or nothing"
    kind = next((k for k in ('image/png', 'image/jpeg') if k in output.get('data', {})), None)
    if not kind or 'text/html' in output['data']: return None
    content = base64.b64decode(''.join(output['data'][kind]))
    width, height = Image.open(io.BytesIO(content)).size
    drawn = output.get('metadata', {}).get(kind, {}) # a figure drawn at twice its size says so
    file = file.with_suffix('.' + kind.removeprefix('image/'))
    (folder/file).parent.mkdir(parents=True, exist_ok=True)
    (folder/file).write_bytes(content)
    size = f'width="{drawn.get("width", width)}" height="{drawn.get("height", height)}"'
    return file, f'<img src="{{up}}{file}" alt="{html.escape(alt)}" {size} loading="lazy" decoding="async" class="img-fluid">'


def alt_text(source):
    "A cell's alt text; `polish` has put it in quotes"
    alt = option(source, 'fig-alt')
    return json.loads(alt) if alt.startswith('"') else alt


def extract_figures(nb, name, folder):
    "Pictures out of a page into files: [(file, alt text, id of its cell)]"
    found, up = [], '../' * name.count('/')
    for at, cell in enumerate(nb.cells):
        if 'outputs' not in cell: continue
        alt = alt_text(cell.source)
        for n, output in enumerate(cell.outputs):
            made = figure(output, alt, Path('figures')/f'{name.removesuffix(".ipynb").replace("/", "-")}-{at}-{n}', folder)
            if not made: continue
            found.append((made[0], alt, option(cell.source, 'label') or f'cell-{at}'))
            image = made[1].replace('{up}', up)
            output['data'] = {'text/html': f'<figure class="figure"><p>{image}</p></figure>'}
    return found


def gallery(pages, folder, most=6):
    "A page with the first pictures of each notebook, each with its alt text and the way to the code that makes it"
    told = 'What you get to see on the way. Each picture leads to the code that makes it.'
    cells = [mk_cell(f'---\ntitle: Gallery\ndescription: {told}\ntoc: false\npage-layout: full\n---', 'raw')]
    for name, (title, pictures) in pages.items():
        page, shown = name.replace('.ipynb', '.html'), []
        for file, alt, cell in [picture for picture in pictures if picture[1]][:most]:
            size = 'width="{}" height="{}"'.format(*Image.open(folder/file).size)
            image = f'<img src="{file}" alt="{html.escape(alt)}" {size} loading="lazy" decoding="async">'
            shown.append(f'<a href="{page}#{cell}">{image}<span aria-hidden="true">{html.escape(alt)}</span></a>')
        row = '\n'.join(shown)
        if shown: cells.append(mk_cell(f'## [{title}]({name})\n\n```{{=html}}\n<div class="gallery">\n{row}\n</div>\n```', 'markdown'))
    write_nb(new_nb(cells), folder/'gallery.ipynb')


def home():
    "The ways in, as cards, for the page that is the README"
    card = '<a class="way" href="{}"><i class="bi bi-{}" aria-hidden="true"></i><strong>{}</strong><span>{}</span></a>'
    cards = '\n'.join(card.format(to.replace('.ipynb', '.html'), icon, title, told) for title, told, to, icon in WAYS)
    return mk_cell(f'```{{=html}}\n<nav class="ways" aria-label="Ways in">\n{cards}\n</nav>\n```', 'markdown')


def process(path, words, folder):
    "A notebook as its page shows it, written to `folder`: its title, and its pictures"
    nb, name = read_nb(path), page_name(path)
    title = re.search(r'^# (.+)$', nb.cells[0].source, re.M)[1]
    SiteFilter()(nb)
    fold(nb)
    if path.parent.name == 'tutorials':
        link_terms(nb, '../', words)
        nb.cells.insert(1, open_in(path))
    if name == 'index.ipynb': nb.cells.insert(1, home())
    pictures = extract_figures(nb, name, folder)
    save_page(nb, folder/name, folder)
    return title, pictures


def save_page(nb, target, folder):
    "A page with its links as the site has them"
    target.parent.mkdir(parents=True, exist_ok=True)
    write_nb(nb, target)
    target.write_text(relative_links(target.read_text(), '../' * (len(target.relative_to(folder).parts) - 1)))


def stage(folder):
    "Write the processed notebooks and the settings of the site to `folder`"
    shutil.copytree(NBS, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns('*.ipynb', '.*', 'nbdev.yml'))
    if (ROOT/'images').exists(): shutil.copytree(ROOT/'images', folder/'images')
    words = entries()
    pages = {page_name(path): process(path, words, folder) for path in notebooks()}
    for name, nb in reference.pages().items():
        extract_figures(nb, f'api/{name}.ipynb', folder)
        save_page(nb, folder/f'api/{name}.ipynb', folder)
    site = settings()
    gallery({name: pages[name] for name in page_order(site['website']['sidebar']['contents']) if name in pages and name != 'index.ipynb'}, folder)
    (folder/'_quarto.yml').write_text(yaml.safe_dump(site, sort_keys=False))


def page_order(contents):
    "The pages of the sidebar in its order"
    for entry in contents:
        if isinstance(entry, str): yield entry
        elif 'section' in entry: yield from page_order(entry['contents'])
        else: yield entry['href']


def expanded(contents):
    "What the sidebar lists, patterns as pages by their names on the site"
    for entry in L(contents):
        if isinstance(entry, str) and entry.startswith('api/'):
            yield from [entry] if '*' not in entry else [f'api/{m.name}.ipynb' for m in reference.modules()]
        elif isinstance(entry, str): yield from (page_name(p) for p in sorted(NBS.glob(entry)))
        elif 'section' in entry: yield entry | {'contents': list(expanded(entry['contents']))}
        else: yield entry


def settings():
    "The settings of nbs/_quarto.yml, with what pyproject.toml knows"
    site = yaml.safe_load((NBS/'_quarto.yml').read_text())
    web = site['website']
    web |= {'title': CONFIG.title, 'description': CONFIG.description, 'site-url': SITE, 'repo-url': CONFIG.git_url}
    web['sidebar']['contents'] = list(expanded(web['sidebar']['contents']))
    bar = web['navbar']
    news = f'{CONFIG.git_url}/blob/{CONFIG.branch}/CHANGELOG.md'
    bar['right'] = [{'text': f'v{__version__}', 'href': news, 'aria-label': f'v{__version__}: what is new'}]
    bar['tools'] = [{'icon': 'github', 'href': CONFIG.git_url, 'text': 'Repository'}]
    if search_files(): # in place of smalldocs' own search
        web['search'] = False
        bar['tools'].insert(0, {'icon': 'search', 'href': '#search', 'text': 'Search', 'id': 'open-search'})
        site['format']['html']['include-after-body'] = ['scroll.html', {'text': '<script src="%UP%site_libs/search.js" defer></script>'}]
    return site


@cache
def search_files():
    "MiniSearch's folder, or nothing, and one line why not"
    try: return npm.minisearch()
    except npm.Unavailable as why: print(f'docs: the search is a simple one: {why}', file=sys.stderr)


def kind_of(href):
    "What a search result is"
    if href.startswith('api/command'): return 'Command'
    if href.startswith('api/'): return 'API'
    if href.startswith('tutorials/'): return 'Lesson'
    return 'Book' if (href.partition('.html')[0] + '.ipynb') in map(page_name, NBS.glob('[0-9]*.ipynb')) else 'Guide'


def write_search(site):
    "What the search reads, as a script, since a page that is opened as a file may read no other"
    found, listed = search_files(), site/'search.json'
    if not found: return
    rows = []
    for entry in json.loads(listed.read_text()):
        href = entry['href']
        if href.startswith(('gallery.html', 'api/index.html#')): continue
        words = KEYWORDS.get(href, '')
        rows.append([kind_of(href), href, entry['title'], entry['section'], entry['text'].removeprefix('in the book source ')[:MOST_TEXT], words])
    (site/'search-index.js').write_text(f'globalThis.SITE_SEARCH = {json.dumps(rows, ensure_ascii=False, separators=(",", ":"))};\n')
    listed.unlink()
    shutil.copy(found/'dist/umd/index.js', site/'site_libs/minisearch.js')
    shutil.copy(found/'LICENSE.txt', site/'site_libs/minisearch.LICENSE.txt')
    shutil.copy(NBS/'search.js', site/'site_libs/search.js')


def keep_used_icons(site):
    "The icons that the site shows, of two thousand"
    logging.getLogger('fontTools').setLevel(logging.ERROR) # it says that the font has two bytes too many
    sheet, own = site/'site_libs/bootstrap-icons/bootstrap-icons.min.css', site/'site_libs/smalldocs.css'
    used = set(re.findall(r'\bbi-([\w-]+)', ' '.join(p.read_text() for p in site.rglob('*.html')) + (site/'site_libs/smalldocs.js').read_text()))
    text = sheet.read_text()
    rules = {name: code for name, code in re.findall(r'\.bi-([\w-]+)::before\{content:"\\(\w+)"\}', text) if name in used}
    codes = {int(code, 16) for code in [*rules.values(), *re.findall(r'content:\s*"\\(f\w{3})"', own.read_text())]}
    font = subset.load_font(sheet.parent/'fonts/bootstrap-icons.woff', subset.Options(flavor='woff'))
    picked = subset.Subsetter(subset.Options())
    picked.populate(unicodes=codes)
    picked.subset(font)
    subset.save_font(font, sheet.parent/'fonts/bootstrap-icons.woff', subset.Options(flavor='woff'))
    (sheet.parent/'fonts/bootstrap-icons.woff2').unlink()
    head = re.sub(r'src:[^;}]*', 'src:url("fonts/bootstrap-icons.woff") format("woff")', text[:text.index('.bi-')], count=1)
    sheet.write_text(head + ''.join(f'.bi-{name}::before{{content:"\\{code}"}}' for name, code in rules.items()))


def copy_katex(site):
    "KaTeX's files into the site; whether they could be had, and one line why not"
    try: dist = npm.katex()/'dist'
    except npm.Unavailable as why:
        print(f'docs: formulas stay plain TeX: {why}', file=sys.stderr)
        return False
    fonts = [f'fonts/{path.name}' for path in dist.glob('fonts/*.woff2')]
    for name in ['katex.min.css', 'katex.min.js', 'contrib/auto-render.min.js', *fonts]:
        target = site/'site_libs/katex'/name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(dist/name, target)
    shutil.copy(dist.parent/'LICENSE', site/'site_libs/katex/LICENSE')
    return True


def mend_anchors(site):
    "Links to an entry that a page does not have, since the name is internal, lead to the page"
    pages = {path: path.read_text() for path in site.rglob('*.html')}
    ids = {path: set(re.findall(r'\bid="([^"]+)"', text)) for path, text in pages.items()}
    for path, text in pages.items():
        def mended(match, path=path):
            target = (path.parent/match[1]).resolve() if match[1] else path
            there = target not in ids or match[2] in ids[target]
            return match[0] if there else f'href="{match[1] or path.name}"'
        path.write_text(re.sub(r'href="([^"#:]*)#([^"]+)"', mended, text))


def make_local(site):
    "KaTeX from the site itself, and no web fonts; what would still be asked from elsewhere"
    found = copy_katex(site)
    for page in site.rglob('*.html'):
        up, text = '../' * (len(page.relative_to(site).parts) - 1), page.read_text()
        if found: text = text.replace(KATEX_CDN, f'{up}site_libs/katex')
        text = re.sub(r'(<i class="bi [^>]*)role="img"', r'\1aria-hidden="true"', text) # the link that holds it has the name
        text = re.sub(r'<img (?=[^>]*\.svg")', '<img loading="lazy" ', text) # a drawing with many parts is laid out when it is near (styles.css)
        text = text.replace('%UP%', up).replace('bootstrap.bundle.min.js"></script>', 'bootstrap.bundle.min.js" defer></script>')
        page.write_text(re.sub(rf'<(link|script)[^>]*{re.escape(KATEX_CDN)}[^>]*>(</script>)?', '', text))
    for sheet in site.rglob('*.css'):
        sheet.write_text(re.sub(r'@import\s+url\(https?:[^)]*\);?', '', sheet.read_text()))
    pages = [p for p in site.rglob('*') if p.suffix in ('.html', '.css')]
    return [f'{p.relative_to(site)}: {m[0][:120]}' for p in pages for m in REMOTE.finditer(p.read_text())]


def main(site):
    "Build the site in the folder `site`; the problems found"
    os.environ.update(QUIET)
    warnings.simplefilter('ignore')
    with tempfile.TemporaryDirectory() as tmp:
        folder = Path(tmp).resolve()/'nbs'
        stage(folder)
        built = build_into(folder, site)
        shutil.copytree(folder/'figures', site/'figures', dirs_exist_ok=True)
    write_search(site)
    keep_used_icons(site)
    mend_anchors(site.resolve())
    return [w for w in built.warnings if 'broken link' in w] + make_local(site)


def build_into(folder, site):
    "smalldocs on `folder`, its output in `site`"
    config = yaml.safe_load((folder/'_quarto.yml').read_text())
    config['project']['output-dir'] = str(site)
    (folder/'_quarto.yml').write_text(yaml.safe_dump(config, sort_keys=False))
    try: return build(folder, quiet=True)
    except BuildError as e: sys.exit(f'docs: {e}')


if __name__ == '__main__':
    site = Path(sys.argv[1] if sys.argv[1:] else ROOT/'_docs').resolve()
    problems = main(site)
    for problem in problems: print(f'docs: {problem}', file=sys.stderr)
    sys.exit(bool(problems))
