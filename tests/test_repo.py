"What keeps the repository true to itself: exports, notebooks, README, imports, names, pictures, packaging."
import ast, functools, importlib.resources, inspect, re, shutil, subprocess, sys
from collections import Counter
from pathlib import Path

import nbformat
import pytest

import export
import readme
import rooms
from notebooks import NBS, ROOT, notebooks, source_hash

BIN = Path(sys.executable).parent
LIBRARY = sorted(p for p in (ROOT/'fastcnn').glob('*.py') if p.name[0] != '_')
LIGHT = ['core', 'images', 'search', 'download', 'collect', 'clean', 'exchange', 'duplicates', 'quarantine']
MOST_LINES = 750 # of a room, as a guide; more with a reason
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
    for command in [[sys.executable, ROOT/'tools'/'export.py', copy], [BIN/'nbdev-clean']]:
        subprocess.run(command, cwd=copy, check=True, capture_output=True)
    return copy


def test_export_is_what_the_notebooks_say(remade):
    files = lambda root: {p.name: p.read_text() for p in (root/'fastcnn').glob('*.py')}
    here, there = files(ROOT), files(remade)
    changed = sorted(name for name in here | there if here.get(name) != there.get(name))
    assert not changed, f'run tools/export.py: {changed} differ from what the notebooks export'


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


def test_the_rooms_are_those_of_the_design():
    assert set(rooms.library()) == {*rooms.ROOMS, *rooms.COMPOSERS}


@each_module
def test_imports_follow_the_design(path):
    if path.stem in rooms.COMPOSERS: return
    allowed = {*rooms.BASE, *rooms.ROOMS[path.stem].split()}
    wrong = {other for room, other in rooms.arrows() if room == path.stem} - allowed
    assert not wrong, f'{path.stem} may import {sorted(allowed)} only: {sorted(wrong)} must cross as a value'


def test_arrows_lead_to_rooms_that_come_first():
    "In the design too: no circle, and nothing that only composers may import"
    order = list(rooms.ROOMS)
    for room, allowed in rooms.ROOMS.items():
        assert not set(allowed.split()) & set(rooms.FOR_COMPOSERS) or room in rooms.FOR_COMPOSERS, room
        assert all(order.index(other) < order.index(room) for other in allowed.split()), room


def test_the_picture_of_the_rooms_is_what_the_code_imports():
    assert rooms.in_picture() == (set(rooms.library()), rooms.drawn(rooms.arrows())), 'run python tools/rooms.py'


@functools.cache
def notebook_code(path):
    "The code of a notebook's cells, without magics"
    cells = [cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == 'code']
    return [re.sub(r'^(\s*)[%!].*', r'\1pass', source, flags=re.M) for source in cells]


@functools.cache
def exported_from():
    "The modules that a notebook exports: its file → their names"
    found = {path: {name} for name, path in MODULE_NOTEBOOKS.items()}
    for name, (path, _) in export.named_modules(NBS).items(): found[path].add(name)
    return found


def private(name): return name.startswith('_') and not name.endswith('_') # `_repr_html_` is a protocol, `__len__` too


def private_names(tree):
    "The private names that a module defines: functions, classes, variables, attributes"
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)): yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store): yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store): yield node.attr


def borrowed(tree, own, private_to):
    "The private names of other modules that a piece of code imports, reaches for, or names in a string to replace"
    defined = set(private_names(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.level or (node.module or '').startswith('fastcnn')):
            if (node.module or '').split('.')[-1] not in own: yield from (alias.name for alias in node.names if private(alias.name))
        elif isinstance(node, ast.Attribute) and private(node.attr):
            theirs = private_to.get(node.attr, set())
            mine = getattr(node.value, 'id', '') in ('self', 'cls') or node.attr in defined
            if theirs and not theirs & own and not mine: yield node.attr
        elif isinstance(node, ast.Call) and re.search(r'attr$|object$', ast.unparse(node.func)): # getattr, monkeypatch.setattr, patch.object
            texts = [part.value for part in node.args if isinstance(part, ast.Constant) and isinstance(part.value, str)]
            names = {text.split('.')[-1] for text in texts if '.' not in text or text.startswith('fastcnn.')}
            yield from (name for name in names if private_to.get(name) and not private_to[name] & own and name not in defined)


MODULE_NOTEBOOKS = {path.stem[3:]: path for path in NBS.glob('[0-9][0-9]_*.ipynb')}
OTHERS = sorted(path for folder in ('tests', 'tools', 'bench') for path in (ROOT/folder).glob('*.py'))


@pytest.fixture(scope='module')
def private_to():
    "Private name → the modules that define it"
    found = {}
    for path in LIBRARY:
        for name in filter(private, private_names(ast.parse(path.read_text()))): found.setdefault(name, set()).add(path.stem)
    return found


@pytest.mark.parametrize('path', [*LIBRARY, *OTHERS], ids=lambda p: f'{p.parent.name}/{p.stem}')
def test_private_names_stay_in_their_module(path, private_to):
    own = {path.stem} if path.parent.name == 'fastcnn' else set()
    assert not set(borrowed(ast.parse(path.read_text()), own, private_to))


@each_notebook
def test_private_names_stay_in_their_notebook(path, private_to):
    own = exported_from().get(path, set())
    found = {name for source in notebook_code(path) for name in borrowed(ast.parse(source), own, private_to)}
    assert not found


def test_a_borrowed_private_name_is_found():
    borrow = lambda code: set(borrowed(ast.parse(code), {'here'}, {'_cut': {'there'}}))
    for code in ('from fastcnn.there import _cut', 'from fastcnn import there\nthere._cut()', 'made_there()._cut',
                 "monkeypatch.setattr(there, '_cut', 1)", "monkeypatch.setattr('fastcnn.there._cut', 1)"):
        assert borrow(code) == {'_cut'}, code
    for code in ('self._cut()', 'from fastcnn.here import _mine', 'there.__name__', 'def _cut(): pass\n_cut()', "out = '_cut'"):
        assert not borrow(code), code


def test_the_oldest_versions_are_those_that_security_md_gives_reasons_for():
    asked = dict(re.findall(r'^    ([\w-]+)>=([\d.]+)$', (ROOT/'settings.ini').read_text(), re.M))
    told = dict(re.findall(r'^\| ([\w-]+) \| ([\d.]+) \|', (ROOT/'SECURITY.md').read_text(), re.M))
    assert told and {name: asked.get(name) for name in told} == told


IN_SIDECAR = {'quarantine', 'manifest.jsonl', 'CREDITS.md', 'cleaned.json', 'cleaner.json', 'cleaning.html', 'forgotten.txt'}


@each_module
def test_only_core_spells_the_names_beside_the_images(path):
    if path.stem == 'core': return
    texts = [node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    spelled = {part for text in texts if ' ' not in text for part in text.strip('/').split('/')} & IN_SIDECAR
    assert not spelled, f'use SidecarFile: {spelled}'


# No figures: marks, progress, drawings, counts, searches. The pipeline puts None in place of NaN itself
WITHOUT_FIGURES = {'core', 'lessons', 'marks', 'planets', 'quarantine', 'search'}

@each_module
def test_figures_are_written_as_strict_json(path):
    "`core.to_json` has null for what is no number; json.dumps has NaN, which others cannot read"
    if path.stem in WITHOUT_FIGURES: return
    found = {ast.unparse(node) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
    assert not found & {'json.dumps', 'json.dump', 'json.JSONEncoder'}, 'write figures with core.to_json'


@each_module
def test_a_room_is_no_larger_than_a_reader_can_hold(path):
    lines = len(path.read_text().splitlines())
    notebook = next(page for page, names in exported_from().items() if path.stem in names)
    opening = next(cell.source for cell in nbformat.read(notebook, 4).cells if cell.cell_type == 'markdown')
    reason = re.search(rf'`{path.stem}` has more than 700 lines because ', opening)
    assert lines <= MOST_LINES or reason, f'{lines} lines: split it, or say in the first cell "`{path.stem}` has more than 700 lines because …"'


@each_notebook
def test_cells_import_earlier_modules_only(path):
    if not path.stem[:2].isdigit() or path.parent != NBS: return
    number = {name: page.stem[:2] for page, names in exported_from().items() for name in names}
    later = {name for cell in notebook_code(path) for name in rooms.imported_modules(ast.parse(cell)) if number.get(name, '') > path.stem[:2]}
    assert not later, f'{path.stem} uses {sorted(later)}, which the reader meets later'


def run_light(code):
    "Number of modules, and which heavy ones, that `code` imports in a fresh process"
    code += '\nimport sys; print("imported", len(sys.modules), *{"torch", "torchvision", "fastai", "pandas"} & set(sys.modules))'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    if done.returncode: pytest.fail(done.stderr, pytrace=False)
    modules, *heavy = done.stdout.split('imported')[-1].split()
    return int(modules), heavy


HELP = 'import sys; sys.argv = ["fastcnn", "--help"]\nfrom fastcnn.cli import main\ntry: main()\nexcept SystemExit: pass'

@pytest.mark.parametrize('code', [f'import fastcnn.{m}' for m in LIGHT] + [HELP], ids=[*LIGHT, 'help'])
def test_light_modules_stay_light(code):
    "Counted, not timed: 700 modules take a second of a slow processor, and torch alone brings 1,200"
    modules, heavy = run_light(code)
    assert not heavy, f'imports {heavy}'
    assert modules < 700, f'{modules} modules'


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
    page = next(page for page, names in exported_from().items() if path.stem in names)
    cells = [source for source in notebook_code(page) if not source.lstrip().startswith('#| export')]
    unused = [n for n in exported(path) if not any(re.search(rf'\b{n}\b', cell) for cell in cells)]
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


@pytest.mark.parametrize('path', sorted(MODULE_NOTEBOOKS.values()), ids=lambda p: p.stem)
def test_a_library_notebook_shows_a_picture(path):
    shown = [kind for cell in nbformat.read(path, 4).cells for output in cell.get('outputs', ()) for kind in output.get('data', {})]
    assert any(kind.startswith('image/') for kind in shown)


def is_data(source):
    "Whether a cell only names literals"
    body = ast.parse(source).body
    return all(isinstance(node, (ast.Assign, ast.AnnAssign)) for node in body)


@pytest.mark.parametrize('path', sorted(MODULE_NOTEBOOKS.values()), ids=lambda p: p.stem)
def test_cells_are_short(path):
    long = {source.splitlines()[1]: len(source.splitlines()) for source in notebook_code(path) if len(source.splitlines()) > 40 and not is_data(source)}
    assert not long


def test_lines_are_calm():
    "At most 3 in 100 of the package are longer than 120 characters; none is longer than ruff allows"
    lines = [line for path in LIBRARY for line in path.read_text().splitlines()]
    assert sum(len(line) > 120 for line in lines) <= .03*len(lines)


@each_module
def test_functions_are_short(path):
    functions = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
    long = {node.name: node.end_lineno - node.body[0].lineno + 1 for node in functions if node.end_lineno - node.body[0].lineno >= 30}
    assert not long


@each_module
def test_public_parameters_are_typed_and_told(path):
    "Each parameter of an exported function has a type and a docment"
    from fastcore.docments import docments
    module = importlib.import_module(f'fastcnn.{path.stem}')
    functions = {name: getattr(module, name) for name in exported(path) if inspect.isfunction(getattr(module, name))}
    missing = []
    for name, function in functions.items():
        comments = docments(function)
        for parameter in inspect.signature(function).parameters.values():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD): continue
            if not comments.get(parameter.name) or parameter.annotation is parameter.empty: missing.append(f'{name}({parameter.name})')
    assert not missing


def test_the_package_brings_its_pages_and_its_types():
    "What is not Python lies where importlib.resources finds it, and goes into the wheel, tests of JavaScript excepted"
    package = importlib.resources.files('fastcnn')
    assert package.joinpath('py.typed').is_file()
    pages = [path for path in (ROOT/'fastcnn'/'web').rglob('*') if path.is_file()]
    assert {'.js', '.css', '.html'} <= {path.suffix for path in pages}
    for path in pages: assert package.joinpath(path.relative_to(ROOT/'fastcnn').as_posix()).read_bytes()
