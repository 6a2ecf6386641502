"Cleaning at full size, and killed at random moments: `make verify`."
import json, random, shutil, signal, subprocess, sys, time

import pytest

from fastcnn.clean import clean_images
from fastcnn.core import Manifest, SidecarFile, sidecar
from fastcnn.quarantine import restore_images
from test_clean import ALTERATIONS, contents, everything, picture

pytestmark = pytest.mark.verify

# All that moves files, over and over, until it is killed; each move is announced
AT_WORK = '''
import os, sys
from pathlib import Path
from fastcnn.clean import clean_images
from fastcnn.images import files_on_disk
from fastcnn.quarantine import relabel_images, restore_images, set_aside
root = sys.argv[1]
import pandas, scipy.sparse.csgraph # imports are not what is tested
move = os.replace
def announced(source, target, **options):
    if not Path(source).name.startswith('.tmp-'): print('.', flush=True) # not an atomic write of a small file
    move(source, target, **options)
os.replace = announced
print('ready', flush=True)
while True:
    clean_images(root)
    restore_images(root)
    names = files_on_disk(root)
    set_aside(root, names[::2])
    restore_images(root)
    moved = relabel_images(root, {name: 'other' for name in names[::3]})
    relabel_images(root, {new: old for old, new in moved.items()})
'''


@pytest.fixture(scope='module')
def messy(tmp_path_factory):
    "A folder with 40 pictures, 30 exact and 20 near copies, 10 broken files, in two classes"
    root, rng = tmp_path_factory.mktemp('messy')/'set', random.Random(0)
    for label in 'ab':
        (root/label).mkdir(parents=True)
        for i in range(20):
            image = picture(i + 100*(label == 'b'))
            image.save(root/label/f'{i}.jpg', quality=92)
            if i < 15: shutil.copy(root/label/f'{i}.jpg', root/label/f'{i} again.jpg')
            if i < 10: ALTERATIONS['resize'](image, rng).save(root/label/f'{i} small.jpg')
            if i < 5: (root/label/f'{i} cut.jpg').write_bytes((root/label/f'{i}.jpg').read_bytes()[:2000])
    return root


def check_settled(root):
    "Every image lies where the manifest says, and nothing is left half done"
    manifest = Manifest(root)
    assert not [row for row in manifest if row.get('moved_from')]
    for row in manifest:
        is_away = row['status'] == 'quarantined'
        assert (root/row['file']).exists() != is_away and (sidecar(root)/SidecarFile.QUARANTINE/row['file']).exists() == is_away


@pytest.mark.parametrize('seed', range(20))
def test_killed_at_a_random_moment(messy, tmp_path, seed, record_property):
    root = shutil.copytree(messy, tmp_path/'set')
    before, names, rng = everything(root), contents(root), random.Random(seed)
    for _ in range(3): # killed three times in a row
        work = subprocess.Popen([sys.executable, '-c', AT_WORK, str(root)], stdout=subprocess.PIPE, text=True)
        assert work.stdout.readline() == 'ready\n'
        if seed % 2: time.sleep(rng.uniform(0, 1.5)) # at any moment
        else: [work.stdout.readline() for _ in range(rng.randrange(300))] # or between two moves, of which a round has some 400
        work.send_signal(signal.SIGKILL)
        work.wait()
        assert everything(root) == before, 'an image was lost'
    record_property('kept_when_killed', len(contents(root)))
    report = clean_images(root)
    check_settled(root)
    assert everything(root) == before and report.kept == len(contents(root))
    log = Manifest(root).path.read_bytes()
    clean_images(root)
    assert Manifest(root).path.read_bytes() == log, 'a second run changes nothing'
    restore_images(root)
    assert sorted(contents(root).values()) == sorted(names.values())


def test_ten_thousand_images(tmp_path, record_property):
    rng, folder = random.Random(1), tmp_path/'set'/'a'
    folder.mkdir(parents=True)
    for i in range(2500):
        image = picture(i, (480, 360))
        image.save(folder/f'{i}.jpg', quality=92)
        for kind in ('recode', 'crop', 'recolour'): ALTERATIONS[kind](image, rng).save(folder/f'{i} {kind}.jpg', quality=75)
    start = time.perf_counter()
    report = clean_images(tmp_path/'set', max_share=1)
    seconds = time.perf_counter() - start
    record_property('seconds_in_all', round(seconds, 1))
    record_property('kept', report.kept)
    assert seconds < 60
    assert report.kept == pytest.approx(2500, abs=25) and report.counts['broken'] == 0


HASHES = '''
import json, time
import numpy as np
from fastcnn.duplicates import ImageFacts, find_duplicates
rng, facts = np.random.default_rng(0), []
for i in range(100_000): # every hundredth is a copy of the one before, a little noisy
    if i % 100 != 99: clear = rng.integers(0, 256, (16, 16), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
    thumb = clear if i % 100 != 99 else np.clip(clear + rng.normal(0, 2, (64, 64)), 0, 255).astype(np.uint8)
    colour = thumb[::2, ::2, None].repeat(3, 2)
    facts.append(ImageFacts(f'a/{i}.jpg', '', 'JPEG', 640, 480 + i % 2, 5000, 255, 255, thumb, colour, 20))
peak = lambda: int(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM'))) # KB; getrusage would count the parent's memory too
start = time.perf_counter()
found = find_duplicates('nowhere', facts)
print(json.dumps(dict(seconds_to_compare=time.perf_counter() - start, groups=int(found.group.nunique()), rows=len(found),
                      gigabytes=peak()/1e6)))
'''


def test_a_hundred_thousand_hashes(record_property):
    done = subprocess.run([sys.executable, '-c', HASHES], capture_output=True, text=True, check=True)
    said = json.loads(done.stdout)
    for name, value in said.items(): record_property(name, round(value, 2))
    assert (said['groups'], said['rows']) == (1000, 2000)
    assert said['seconds_to_compare'] < 60 and said['gigabytes'] < 2
