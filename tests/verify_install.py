"`pip install fastcnn` and nothing else, in a fresh environment, at the oldest and at the newest versions allowed: all the way from words to an answer"
import json, os, shutil, subprocess, sys
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name
from packaging.version import Version

from notebooks import ROOT
from test_package import extras, requirements
from web import missing

pytestmark = pytest.mark.verify
UV = shutil.which('uv', path=os.pathsep.join([str(Path(sys.executable).parent), os.environ['PATH']]))
TOLD = 'torch', 'torchvision', 'fastai', 'fastcore', 'numpy', 'pandas', 'pillow', 'scikit-learn', 'onnxruntime', 'ipython', 'ipywidgets', 'anywidget'


def run(*command, env=None, cwd=None):
    "What a command prints; if it fails, so does the test, with all that it has said"
    done = subprocess.run([*map(str, command)], env=env, cwd=cwd, capture_output=True, text=True)
    if done.returncode: pytest.fail(f'{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}', pytrace=False)
    return done.stdout


def plain_environment():
    "What the shell says, without what leads to this repository or to what belongs to the user"
    return {name: value for name, value in os.environ.items() if not name.startswith(('PYTHON', 'FASTCNN', 'VIRTUAL_ENV'))}


@pytest.fixture(scope='module')
def wheel(tmp_path_factory, request):
    if not request.config.option.verify: pytest.skip('it installs 6 GB from the package index: make verify does') # never in passing
    if not UV: missing('no uv: pip install uv')
    folder = tmp_path_factory.mktemp('wheel')
    run(UV, 'build', '--quiet', '--out-dir', folder, ROOT)
    return next(folder.glob('*.whl'))


@pytest.fixture(scope='module', params=['lowest-direct', 'highest'])
def fresh(request, wheel, tmp_path_factory):
    "(Python of a new environment, its packages: name → version)"
    folder = tmp_path_factory.mktemp(request.param)
    env = plain_environment()
    run(UV, 'venv', '--quiet', '--python', sys.executable, folder/'venv', env=env)
    python = folder/'venv'/'bin'/'python'
    direct = [f'{package}{versions}' for package, versions in requirements('')] # of a wheel's own requirements uv takes the newest
    run(UV, 'pip', 'install', '--quiet', '--python', python, '--resolution', request.param, wheel, *direct, env=env)
    listed = json.loads(run(UV, 'pip', 'list', '--python', python, '--format', 'json', env=env))
    yield python, {canonicalize_name(package['name']): package['version'] for package in listed}
    shutil.rmtree(folder) # some 6 GB


def megabytes(folder): return sum(file.stat().st_size for file in folder.rglob('*') if file.is_file() and not file.is_symlink())//10**6


def too_much(packages):
    "What has come along of the extras, which only some need, and of the tools of who works on fastcnn"
    needed = {package for package, _ in requirements('')} | {'setuptools'} # torch asks for it
    return ({package for extra in extras() for package, _ in requirements(extra)} - needed) & set(packages)


def oldest(version, versions): return Version(version) == min(Version(bound.version) for bound in versions if bound.operator == '>=')


def all_start(python, env, cwd):
    "Each module is imported, from where it was installed to"
    modules = sorted(path.stem for path in (ROOT/'fastcnn').glob('*.py') if path.stem not in ('__init__', '__main__', '_modidx'))
    code = f'import importlib, fastcnn\nfor name in {modules}: importlib.import_module("fastcnn." + name)\nprint(fastcnn.__file__)'
    return str(python.parent.parent) in run(python, '-W', 'ignore', '-c', code, env=env, cwd=cwd)


def test_the_whole_way(fresh, tmp_path, record_property):
    "The verbs one after the other, on the built-in source; the last one's answer is a class that was searched for"
    python, packages = fresh
    own = plain_environment()
    record_property('megabytes', megabytes(python.parent.parent))
    record_property('versions', {name: packages[name] for name in TOLD})
    if 'lowest' in str(python): assert not {name for name, versions in requirements('') if not oldest(packages[name], versions)}
    assert not too_much(packages) and all_start(python, own, tmp_path)
    env = own | dict(FASTCNN_PROVIDER='planets', FASTCNN_PIXELS=str(tmp_path/'pixels'))
    fastcnn = lambda *words: run(python.with_name('fastcnn'), *words, env=env, cwd=tmp_path)
    assert 'VERB' in fastcnn('--help')
    for planet in ('jupiter', 'saturn'): fastcnn('search', f'planet {planet}', '--label', planet, '--out', 'planets', '-n', 40)
    fastcnn('clean', 'planets')
    trained = json.loads(fastcnn('train', 'planets', '--out', 'model', '--minutes', 2, '--json').splitlines()[-1])
    picture = min((tmp_path/'planets'/'saturn').glob('*.jpg'))
    answer, = json.loads(fastcnn('predict', 'model', picture, '--json').splitlines()[-1])['predictions']
    record_property('accuracy', trained['accuracy'])
    assert trained['accuracy'] > .7 and answer['label'] in ('saturn', None)
