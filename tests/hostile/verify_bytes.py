"Two thousand mutations each of archives, lists, tables and the replies of search services: no traceback, little memory, no long run"
import json, os, subprocess, sys
from pathlib import Path

import pytest

from fuzz_bytes import FUZZ

HERE, MUTATIONS, AT_ONCE = Path(__file__).parent, 2000, 500
pytestmark = pytest.mark.verify


@pytest.mark.parametrize('what', FUZZ)
def test_two_thousand_mutations(what, outside, tmp_path, record_property):
    "In processes of a few hundred, whose end is seen even where a library takes the process with it"
    most = 0
    for first in range(0, MUTATIONS, AT_ONCE):
        folder = tmp_path/'sandbox'/str(first)
        folder.mkdir(parents=True)
        command = [sys.executable, HERE/'fuzz_bytes.py', what, str(first), str(first + AT_ONCE), folder]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=HERE)
        *wrong, last = done.stdout.splitlines() or ['']
        assert not done.returncode and not wrong, (wrong[:3], done.stderr[-500:])
        most = max(most, json.loads(last)['mb'])
        assert set(os.listdir(folder)) <= {f'a.{what}'}
    assert set(os.listdir(tmp_path)) == {'outside', 'sandbox'}
    record_property('megabytes', most)
    assert most < 2000


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='measured in /proc')
def test_a_zip_of_a_million_empty_files(tmp_path):
    "A hundred megabytes of names"
    from bombs import zip_million
    from test_bytes import called
    zip_million(tmp_path/'a.zip')
    end, = called([['info', str(tmp_path/'a.zip')]], 300)
    assert end['status'] in (0, 2) and end['mb'] < 2000, end
