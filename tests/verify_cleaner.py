"The cleaner at size, and killed at random moments."
import json, os, signal, subprocess, sys, time

import pytest
from PIL import Image

from fastcnn.core import SidecarFile, sidecar
from fastcnn.marks import Marks

SIZE = """import sys, time, re, json
from fastcnn.cleaner import ImageCleaner
peak = lambda: int(re.search('VmHWM:\\\\s+(\\\\d+)', open('/proc/self/status').read())[1]) / 1024
before, start = peak(), time.perf_counter()
cleaner = ImageCleaner(sys.argv[1])
pictures = cleaner.review.thumbnails([row['file'] for row in cleaner.view['rows']])
first = time.perf_counter() - start
start = time.perf_counter()
for page in range(20): cleaner.answer(dict(action='show', page=page * 20))
turn = (time.perf_counter() - start) / 20
start = time.perf_counter()
for row in cleaner.view['rows'][:20]: cleaner.answer(dict(action='toggle', files=[row['file']]))
mark = (time.perf_counter() - start) / 20
print(json.dumps(dict(files=len(cleaner.review.state), pages=cleaner.view['pages'], pictures=sum(map(bool, pictures.values())),
    first_page_seconds=round(first, 2), page_turn_seconds=round(turn, 3), mark_seconds=round(mark, 3), memory_mb=round(peak() - before), peak_mb=round(peak()),
    view_kb=round(len(json.dumps(cleaner.view)) / 1000), pictures_kb=round(sum(map(len, pictures.values())) / 1000))))"""

MARK = """import sys, itertools
from fastcnn.marks import Marks
marks = Marks(sys.argv[1])
print('ready', flush=True)
for n in itertools.count(len(marks)): marks.put({f'earth/{n}.jpg': ''}); print(n, flush=True)"""


@pytest.mark.verify
def test_ten_thousand_images(tmp_path, record_property):
    "Each of 640×480 pixels: the first page is there at once, and no other is read"
    for label in ('earth', 'mars'): (tmp_path/'sky'/label).mkdir(parents=True)
    original = tmp_path/'original.jpg'
    Image.effect_noise((640, 480), 60).convert('RGB').save(original, quality=80)
    for i in range(10_000): os.link(original, tmp_path/'sky'/('earth', 'mars')[i % 2]/f'{i:05}.jpg')
    done = subprocess.run([sys.executable, '-c', SIZE, tmp_path/'sky'], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    for name, value in found.items(): record_property(name, value)
    assert (found['files'], found['pages'], found['pictures']) == (10_000, 417, 24)
    assert found['first_page_seconds'] < 3 and found['page_turn_seconds'] < .5 and found['mark_seconds'] < .5
    assert found['memory_mb'] < 200


@pytest.mark.verify
def test_killed_while_marking(tmp_path, record_property):
    "Whatever was told as marked is there after SIGKILL, and the file is whole"
    path = sidecar(tmp_path/'sky')/SidecarFile.CLEANER
    for kill in range(20):
        process = subprocess.Popen([sys.executable, '-c', MARK, path], stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == 'ready\n'
        time.sleep(.01 * kill)
        process.send_signal(signal.SIGKILL)
        told = [int(line) for line in process.stdout.read().split('\n')[:-1]]
        process.wait()
        json.loads(path.read_text() if path.exists() else '{}')
        assert {f'earth/{n}.jpg' for n in range(max(told, default=-1) + 1)} <= Marks(path).to.keys()
    record_property('kills', 20)
    record_property('marks', len(Marks(path)))
    assert not path.with_suffix('.json.unreadable').exists() and len(Marks(path)) > 20
