"""Run the notebooks and keep their outputs true to their source.

    python tools/notebooks.py test [NOTEBOOK…]   run every cell that is a test; exit 1 on an error or a file left behind
    python tools/notebooks.py save [NOTEBOOK…]   run in a fresh kernel, store the outputs, clean, stamp
"""
import argparse, ast, hashlib, os, re, subprocess, sys, tempfile, time
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
NBS = ROOT / 'nbs'
QUIET = dict(TQDM_DISABLE='1', FASTCNN_PROVIDER='planets', PYTHONWARNINGS='ignore',
             FASTCNN_PIXELS=os.path.join(tempfile.gettempdir(), 'fastcnn-pixels'), # not the user's own cache
             FASTCNN_PIXELS_GB='2',
             FASTCNN_PROGRESS=os.path.join(tempfile.gettempdir(), 'fastcnn-nobody.json')) # nor what the user has solved
EXAMPLES = dict(HYPOTHESIS_STORAGE_DIRECTORY=os.path.join(tempfile.gettempdir(), 'fastcnn-hypothesis')) # not beside the notebooks


def notebooks(names=()):
    "The notebooks named, or all of them in order of their numbers"
    if names: return [Path(n).resolve() for n in names]
    return [p for p in sorted(NBS.glob('*.ipynb')) + sorted(NBS.glob('tutorials/*.ipynb')) if p.name[0] not in '._']


def commit_number():
    "A number that follows from the committed files, the same in every clone on any day; without git, from the files"
    done = subprocess.run(['git', 'rev-parse', 'HEAD^{tree}'], cwd=ROOT, capture_output=True, text=True)
    if not done.returncode: return int(done.stdout, 16)
    files = sorted([*ROOT.glob('fastcnn/*.py'), *ROOT.glob('tests/*.py')])
    return int(hashlib.sha256(b''.join(file.read_bytes() for file in files)).hexdigest(), 16)


def source_hash(nb):
    "A hash over the code cells: what the outputs depend on"
    return hashlib.sha256('\0'.join(c.source for c in nb.cells if c.cell_type == 'code').encode()).hexdigest()[:16]


def drop_widgets(nb):
    "Progress bars drawn as widgets: their state is large, and dead without a kernel"
    nb.metadata.pop('widgets', None)
    for cell in nb.cells:
        if 'outputs' not in cell: continue
        cell.outputs = [o for o in cell.outputs if 'application/vnd.jupyter.widget-view+json' not in o.get('data', {})]


CHECKS = 'test_eq', 'test_fail', 'assert_close', 'torch.testing.assert_close' # calls

def is_check(source):
    "Whether a cell only asserts"
    try: body = ast.parse(source).body
    except SyntaxError: return False # a magic
    is_call = lambda node: isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    said = lambda node: isinstance(node, ast.Assert) or is_call(node) and ast.unparse(node.value.func) in CHECKS
    return bool(body) and all(map(said, body))


DRAWING = re.compile(r'\bplt\.(subplots|figure)\(')

def fold(nb):
    "Fold what a reader of a lesson need not read: the set-up, how pictures are drawn, checks, and what asks for it by `#| code-fold: true`"
    first = next((at for at, cell in enumerate(nb.cells) if cell.cell_type == 'markdown' and re.search('^## ', cell.source, re.M)), 0)
    for at, cell in enumerate(nb.cells):
        if cell.cell_type != 'code': continue
        drawing = '#| fig-alt' in cell.source and DRAWING.search(cell.source) and '# what if: ' not in cell.source
        drawing = drawing or cell.source.startswith('def draw_')
        cell.metadata.pop('jupyter', None)
        if at < first or drawing or is_check(cell.source) or '#| code-fold: true' in cell.source: cell.metadata.jupyter = {'source_hidden': True}


def save(path):
    "Run `path` in a fresh kernel, store outputs, the hash of the code that made them and how long it took"
    from nbclient import NotebookClient
    from nbdev.clean import nbdev_clean
    nb, start = nbformat.read(path, 4), time.time()
    NotebookClient(nb, timeout=900, resources={'metadata': {'path': str(path.parent)}}).execute()
    drop_widgets(nb)
    if path.parent.name == 'tutorials': fold(nb)
    nb.metadata['fastcnn'] = {'seconds': round(time.time() - start), 'source_hash': source_hash(nb)}
    nbformat.write(nb, path)
    nbdev_clean(str(path))


# temporary folders, ports, how long fastai says that an epoch took, and what says itself that it is a time
BY_CHANCE = re.compile(r'(?<=/)tmp\w{8}\b|(?<=127\.0\.0\.1:)\d+|\b\d\d:\d\d\b|(?<= )[\d.]+(?= seconds\b)')

def is_text(output):
    return output.get('name') != 'stderr' and not any(kind.startswith('image/') for kind in output.get('data', {}))


def words(output):
    "What an output shows in words"
    data = output.get('data', {})
    return output.get('text') or data.get('text/html') or data.get('text/plain', '')

def texts(nb):
    "What a notebook shows in words, cell by cell; pictures, widgets and what differs by chance left out"
    for cell in nb.cells:
        shown = [output for output in cell.get('outputs', []) if is_text(output)]
        said = ''.join(map(words, shown)) # what is printed comes in pieces, of any size
        if shown: yield cell.source, BY_CHANCE.sub('…', said)


def test(path):
    "Run the cells of `path` as nbdev-test does, in this process; what went wrong, or nothing"
    from nbdev.config import get_config
    from nbdev.test import test_nb
    files = lambda: {p.name for p in path.parent.iterdir() if p.suffix != '.ipynb'}
    before = files()
    passed, _ = test_nb(path, skip_flags=get_config(ROOT).tst_flags, basepath=ROOT)
    left = ', '.join(sorted(files() - before))
    return 'failed' if not passed else f'left behind in {path.parent.name}/: {left}' if left else ''


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('verb', choices=['test', 'save'])
    parser.add_argument('notebook', nargs='*')
    args = parser.parse_args()
    os.environ.update(QUIET | EXAMPLES)
    wrong = 0
    for path in notebooks(args.notebook):
        start = time.time()
        error = {'save': save, 'test': test}[args.verb](path)
        print(f'{path.relative_to(ROOT)}  {time.time() - start:.1f} s  {error or ""}'.rstrip(), flush=True)
        wrong += bool(error)
    sys.exit(wrong > 0)
