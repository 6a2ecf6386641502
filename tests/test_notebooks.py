"Every notebook runs, in a process of its own: nothing that one does reaches another."
import os, subprocess, sys

import pytest

from notebooks import ROOT, notebooks
from web import needs_lesson_images

COMMAND = [sys.executable, str(ROOT/'tools/notebooks.py'), 'test']


@pytest.mark.parametrize('path', notebooks(), ids=lambda p: p.stem)
def test_notebook_runs(path):
    "To its end, or for ten minutes"
    needs_lesson_images(path)
    done = subprocess.run([*COMMAND, str(path)], env=os.environ | dict(MPLBACKEND='Agg'), timeout=600, text=True, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode: pytest.fail(done.stdout, pytrace=False)
