"Every notebook runs, in a process of its own: nothing that one does reaches another."
import os, subprocess, sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from notebooks import ROOT, notebooks

COMMAND = [sys.executable, str(ROOT/'tools/notebooks.py'), 'test']
ONE_THREAD = dict(MPLBACKEND='Agg', OMP_NUM_THREADS='1') # two at a time on two cores: more threads would fight


def run(path):
    "Run the notebook `path` to its end, or for ten minutes"
    return subprocess.run([*COMMAND, str(path)], env=os.environ | ONE_THREAD, timeout=600, text=True, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


@pytest.fixture(scope='module')
def runs(request):
    "The runs of the notebooks that were asked for, begun two at a time"
    wanted = [i.callspec.params['path'] for i in request.session.items if getattr(i, 'originalname', '') == 'test_notebook_runs']
    pool = ThreadPoolExecutor(2)
    yield {path: pool.submit(run, path) for path in wanted}
    pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize('path', notebooks(), ids=lambda p: p.stem)
def test_notebook_runs(path, runs):
    done = runs[path].result()
    if done.returncode: pytest.fail(done.stdout, pytrace=False)
