"What keeps the repository true to itself: exports, notebooks, README, imports, pictures."
import ast, re, resource, shutil, subprocess, sys
from collections import Counter
from pathlib import Path

import nbformat
import pytest

import readme
from notebooks import NBS, ROOT, notebooks, source_hash

BIN = Path(sys.executable).parent
LIBRARY = sorted(p for p in (ROOT/'fastcnn').glob('*.py') if p.name[0] != '_')
COMPOSERS = {'report', 'lessons', 'cli', 'all', '__main__'}
ARROWS = dict(collect={'search', 'download'}, cleaner={'clean'}, models={'convolution'}, training={'models'}, deploy={'models'})
LIGHT = ['core', 'search', 'download', 'collect', 'clean']
each_notebook = pytest.mark.parametrize('path', notebooks(), ids=lambda p: p.stem)
each_module = pytest.mark.parametrize('path', LIBRARY, ids=lambda p: p.stem)


@pytest.fixture(scope='module')
def remade(tmp_path_factory):
    "A copy of the repository in which everything has been cleaned and exported anew"
    copy = tmp_path_factory.mktemp('remade')
    for name in ['pyproject.toml', 'settings.ini', 'README.md', 'fastcnn/__init__.py']:
        (copy/name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT/name, copy/name)
    shutil.copytree(NBS, copy/'nbs', ignore=shutil.ignore_patterns('.*'))
    for command in ['nbdev-export', 'nbdev-clean']: subprocess.run([BIN/command], cwd=copy, check=True, capture_output=True)
    return copy


def test_export_is_what_the_notebooks_say(remade):
    files = lambda root: {p.name: p.read_text() for p in (root/'fastcnn').glob('*.py')}
    here, there = files(ROOT), files(remade)
    changed = sorted(name for name in here | there if here.get(name) != there.get(name))
    assert not changed, f'run nbdev-export: {changed} differ from what the notebooks export'


@each_notebook
def test_notebook_is_clean(path, remade):
    unclean = path.read_text() != (remade/path.relative_to(ROOT)).read_text()
    assert not unclean, f'run nbdev-clean or tools/notebooks.py save {path.name}'


@each_notebook
def test_outputs_are_those_of_the_source(path):
    nb = nbformat.read(path, 4)
    stale = nb.metadata.get('fastcnn', {}).get('source_hash') != source_hash(nb)
    assert not stale, f'the code has changed since the outputs were made: tools/notebooks.py save {path.name}'


def test_readme_is_the_index():
    assert not readme.changed(), f'run python tools/readme.py: {readme.changed()} out of step with nbs/index.ipynb'


def imported(tree):
    "The fastcnn modules that a piece of code imports, anywhere in it"
    for node in ast.walk(tree):
        if isinstance(node, ast.Import): names = [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = 'fastcnn.' * bool(node.level) + (node.module or '')
            names = [f'{base.rstrip(".")}.{a.name}' for a in node.names] if base.strip('.') == 'fastcnn' else [base]
        else: continue
        yield from (name.split('.')[1] for name in names if name.startswith('fastcnn.'))


@each_module
def test_imports_follow_the_design(path):
    if path.stem in COMPOSERS: return
    allowed = {'core'} | ARROWS.get(path.stem, set())
    wrong = {m for m in imported(ast.parse(path.read_text())) if m[0] != '_'} - allowed
    assert not wrong, f'{path.stem} may import {sorted(allowed)} only: {sorted(wrong)} must cross as a value'


@each_notebook
def test_cells_import_earlier_modules_only(path):
    if not path.stem[:2].isdigit() or path.parent != NBS: return
    number = {p.stem[3:]: p.stem[:2] for p in NBS.glob('[0-9][0-9]_*.ipynb')}
    cells = [re.sub(r'^(\s*)[%!].*', r'\1pass', c.source, flags=re.M) for c in nbformat.read(path, 4).cells if c.cell_type == 'code']
    later = {m for cell in cells for m in imported(ast.parse(cell)) if number.get(m, '') > path.stem[:2]}
    assert not later, f'{path.stem} uses {sorted(later)}, which the reader meets later'


def run_light(code):
    "CPU seconds and heavy modules of `code` in a fresh process"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    code += '\nimport sys; print("heavy", *{"torch", "torchvision", "fastai", "pandas"} & set(sys.modules))'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    if done.returncode: pytest.fail(done.stderr, pytrace=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout.split('heavy')[-1].split()


HELP = 'import sys; sys.argv = ["fastcnn", "--help"]\nfrom fastcnn.cli import main\ntry: main()\nexcept SystemExit: pass'

@pytest.mark.parametrize('code', [f'import fastcnn.{m}' for m in LIGHT] + [HELP], ids=[*LIGHT, 'help'])
def test_light_modules_stay_light(code):
    seconds, heavy = run_light(code)
    assert not heavy, f'imports {heavy}'
    assert seconds < 1, f'{seconds:.2f} s of processor time'


def test_no_name_is_exported_twice():
    names = [n for p in LIBRARY if p.stem != 'all' for n in exported(p)]
    twice = [n for n, count in Counter(names).items() if count > 1]
    assert names and not twice, f'exported by two modules: {twice}'


def exported(path):
    "The names in a module's `__all__`"
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], 'id', '') == '__all__': return ast.literal_eval(node.value)
    return []


@each_module
def test_public_names_are_seen_in_use(path):
    "Each exported name stands in a cell of its notebook that is an example or a test"
    pages = [p for p in NBS.glob('[0-9]*.ipynb') if p.stem[3:] == path.stem and path.stem != 'all']
    cells = [c.source for p in pages for c in nbformat.read(p, 4).cells if c.cell_type == 'code' and not c.source.lstrip().startswith('#| export')]
    unused = [n for n in exported(path) if pages and not any(re.search(rf'\b{n}\b', cell) for cell in cells)]
    assert not unused, f'no example shows {unused}'


@each_module
def test_no_public_name_is_defined_twice(path):
    found = Counter(n.name for n in ast.parse(path.read_text()).body if isinstance(n, (ast.FunctionDef, ast.ClassDef)) and not n.decorator_list)
    assert not [n for n, count in found.items() if count > 1]


def bad_pictures(nb):
    "What is wrong with the pictures of a notebook: no alt text, attached, or taken from the web"
    for cell in nb.cells:
        if cell.get('attachments'): yield f'attached picture in cell {cell.id}'
        outputs = [o.get('data', {}) for o in cell.get('outputs', [])]
        html = [cell.source] if cell.cell_type == 'markdown' else [''.join(d.get('text/html', '')) for d in outputs]
        for text in html:
            for alt, target in re.findall(r'!\[(.*?)\]\(\s*(\S+)', text):
                if not alt.strip() or '://' in target: yield f'picture {target[:60]} without alt text, or from the web'
            for tag in re.findall(r'<img\b[^>]*>', text, re.I):
                if not re.search(r'\balt="[^"]+', tag) or re.search(r'src="?(https?:)?//', tag): yield f'picture {tag[:60]} without alt text, or from the web'
        if any(k.startswith('image/') for d in outputs for k in d) and not re.search(r'^#\|\s*(fig-alt:\s*\S|hide\b)', cell.source, re.M):
            yield f'picture without "#| fig-alt: …" in cell {cell.id}: {cell.source[:60]!r}'


@each_notebook
def test_pictures_have_alt_text_and_are_inside(path):
    assert not list(bad_pictures(nbformat.read(path, 4)))


@each_notebook
def test_notebook_is_small(path):
    size = path.stat().st_size
    assert size < 300_000, 'make the pictures smaller, or fewer'
