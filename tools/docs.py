"""The documentation site: nbdev processes the notebooks, smalldocs renders them, and nothing in it asks the network.

    python tools/docs.py [FOLDER]   default: _docs
"""
import base64, os, re, shutil, sys, tempfile, warnings
from pathlib import Path

import yaml
from fastcore.foundation import L
from fastcore.nbio import mk_cell, new_nb, read_nb, write_nb
from smalldocs.config import BuildError
from smalldocs.layout import KATEX as KATEX_CDN
from smalldocs.site import build

import npm
from apipages import CONFIG, SiteFilter
from glossary import entries, link_terms
from notebooks import NBS, QUIET, ROOT, is_check, notebooks
from readme import option

SITE = f'{CONFIG.doc_host}{CONFIG.doc_baseurl}/'
REMOTE = re.compile(r'<(?:script|img|iframe|source|video)\b[^>]*\bsrc="?(?:https?:)?//[^>]*'
                    r'|<link\b[^>]*rel="?(?:stylesheet|preload|icon)[^>]*href="?(?:https?:)?//[^>]*'
                    r'|@import\s+url\(["\']?(?:https?:)?//[^;]*;?|url\(["\']?(?:https?:)?//[^)]*')


SPECIAL, ESCAPED = re.compile(r'[][*_`$<]'), r'\\\g<0>' # what Markdown would read as its own


def page_name(path):
    "`nbs/00_core.ipynb` → `core.ipynb`, the name that nbdev gives its page"
    return re.sub(r'\b\d\d_(\w+\.ipynb)', r'\1', str(path.relative_to(NBS)))


def relative_links(text, up):
    "Links between notebooks, nbdev's absolute ones too, as links between pages; its pictures as the site's"
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
    row = ' '.join(f'[{text}]({url})' for text, url in links.items())
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


def gallery(pages, folder, most=4):
    "A page with the first pictures of each notebook, each with its alt text and the way to where it is made"
    told = 'What you get to see on the way. Each picture leads to the code that makes it.'
    cells = [mk_cell(f'---\ntitle: Gallery\ndescription: {told}\n---', 'raw')]
    for name, nb in pages.items():
        shown = []
        for cell in nb.cells:
            alt = option(cell.source, 'fig-alt')
            for output in cell.get('outputs', []) if alt else []:
                for kind in ('png', 'jpeg'):
                    if f'image/{kind}' not in output.get('data', {}) or len(shown) == most: continue
                    file = f'images/gallery/{Path(name).stem}-{len(shown)}.{kind}'
                    (folder/file).parent.mkdir(parents=True, exist_ok=True)
                    (folder/file).write_bytes(base64.b64decode(''.join(output['data'][f'image/{kind}'])))
                    shown.append(f'[![{SPECIAL.sub(ESCAPED, alt)}]({file})]({name})')
        title = re.search(r'^# (.+)$', nb.cells[0].source, re.M)[1]
        row = '\n\n'.join(shown)
        if shown: cells.append(mk_cell(f'## [{title}]({name})\n\n::: {{.gallery}}\n{row}\n:::', 'markdown'))
    write_nb(new_nb(cells), folder/'gallery.ipynb')


def stage(folder):
    "Write the processed notebooks and the settings of the site to `folder`"
    shutil.copytree(NBS, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns('*.ipynb', '.*', 'nbdev.yml'))
    if (ROOT/'images').exists(): shutil.copytree(ROOT/'images', folder/'images')
    pages = {page_name(path): read_nb(path) for path in notebooks()}
    words = entries()
    sections = settings()['website']['sidebar']['contents']
    gallery({name: pages[name] for section in sections for name in section.get('contents', ())}, folder)
    for path in notebooks():
        nb, target = pages[page_name(path)], folder/page_name(path)
        SiteFilter()(nb)
        fold(nb)
        if path.parent.name == 'tutorials':
            link_terms(nb, '../', words)
            nb.cells.insert(1, open_in(path))
        write_nb(nb, target)
        target.write_text(relative_links(target.read_text(), '../' * (len(target.relative_to(folder).parts) - 1)))
    (folder/'_quarto.yml').write_text(yaml.safe_dump(settings(), sort_keys=False))


def settings():
    "The settings of nbs/_quarto.yml, with what pyproject.toml knows"
    site = yaml.safe_load((NBS/'_quarto.yml').read_text())
    site['website'] |= {'title': CONFIG.title, 'description': CONFIG.description, 'site-url': SITE,
                        'repo-url': CONFIG.git_url}
    for entry in site['website']['sidebar']['contents']:
        if 'section' not in entry: continue
        entry['contents'] = [page_name(p) for pattern in L(entry['contents']) for p in sorted(NBS.glob(pattern))]
    return site


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
