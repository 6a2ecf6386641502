"Every notebook runs, in a process of its own: nothing that one does reaches another."
import matplotlib
import pytest

import forked, notebooks
from web import needs_lesson_images


def run(path):
    "In the new process"
    matplotlib.use('Agg')
    if error := notebooks.test(path): print(error)
    return bool(error)


def in_turn(path):
    "Most lessons train for long: at each commit a third of them runs, besides the first"
    return pytest.param(path, marks=[pytest.mark.verify(share=1/3)]*(path.parent.name == 'tutorials' and path.stem != 'start'), id=path.stem)


@pytest.mark.parametrize('path', map(in_turn, notebooks.notebooks()))
def test_notebook_runs(path):
    "To its end, or for ten minutes"
    needs_lesson_images(path)
    status, said = forked.run(run, path, MPLBACKEND='Agg', **notebooks.EXAMPLES)
    if status: pytest.fail(said, pytrace=False)
