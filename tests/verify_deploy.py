"None of these, at the size of the demo: how many planets are sent away, and how many other pictures are not let in. And a hundred thousand pictures."
import csv, json, os, subprocess, sys, time
from pathlib import Path
from zipfile import ZipFile

import pytest

from fastcnn.data import image_dataloaders
from fastcnn.deploy import export_model
from fastcnn.evaluation import accuracy_interval
from fastcnn.exported import predict, read_config
from fastcnn.models import build_model
from fastcnn.planets import planet_collection
from fastcnn.training import scratch_learner

pytestmark = pytest.mark.verify


@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
    "Planets to train on; others, drawn from another seed, with gods, watches and cars; and photographs"
    archive, root = Path(os.environ.get('FASTCNN_DATA', 'nowhere'))/'photos.zip', tmp_path_factory.mktemp('planets')
    if not archive.exists(): pytest.skip('no photographs: let FASTCNN_DATA name a folder that holds photos.zip')
    planet_collection(root/'train', n=450, seed=42, nuisances=0, duplicates=0, broken=0)
    truth = planet_collection(root/'test', n=200, seed=4242, nuisances=.3, duplicates=0, broken=0)
    kinds = {kind: [root/'test'/t['file'] for t in truth if t['kind'] == kind] for kind in ('planet', 'god', 'watch', 'car')}
    with ZipFile(archive) as photos: kinds['photograph'] = [photos.read(name) for name in photos.namelist()]
    return root/'train', kinds


@pytest.mark.parametrize('size, name', [(64, 'conv_stack'), (128, 'conv_stack'), (64, 'resnet20')])
def test_none_of_these(pictures, tmp_path, size, name, record_property):
    "The score does not look at the network's weights: it need not be trained"
    root, kinds = pictures
    dls = image_dataloaders(root, size, 64, valid_pct=.15, test_pct=.1, seed=size, num_workers=0)
    path = export_model(scratch_learner(dls, build_model(name, n_classes=4, size=size)), tmp_path/'model')
    refused = {kind: float(predict(path, images).label.isna().mean()) for kind, images in kinds.items()}
    n = len(kinds['planet'])
    low, _ = accuracy_interval(round(refused['planet']*n), n)
    record_property('refused', refused)
    record_property('held_out', read_config(path)['none_of_these'])
    assert low <= .05 and refused['photograph'] >= .9


COMMAND = '''
import sys
from fastcnn.cli import main
def peak(): return int(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])//1024
assert main(['predict', *sys.argv[1:], '--json']) == 0
print(peak())
'''


def test_a_hundred_thousand_images(tmp_path, record_property):
    "Hard links to 400 planets, every thousandth one broken: each has its row, and memory is that of a thousand"
    n = int(os.environ.get('FASTCNN_MANY', 100_000))
    planet_collection(tmp_path/'planets', n=100, seed=42, nuisances=0, duplicates=0, broken=0)
    files, found = sorted((tmp_path/'planets').rglob('*.jpg')), {}
    dls = image_dataloaders(tmp_path/'planets', 64, 64, valid_pct=.2, num_workers=0)
    path = export_model(scratch_learner(dls, build_model('conv_stack', n_classes=4, size=64)), tmp_path/'model')
    (tmp_path/'half.jpg').write_bytes(files[0].read_bytes()[:900])
    for count in (1000, n):
        root, table = tmp_path/f'{count}', tmp_path/f'{count}.csv'
        for i in range(count):
            if not i % 1000: (root/f'{i//1000:03}').mkdir(parents=True)
            os.link(tmp_path/'half.jpg' if i % 1000 == 999 else files[i % len(files)], root/f'{i//1000:03}'/f'{i:06}.jpg')
        start = time.time()
        done = subprocess.run([sys.executable, '-c', COMMAND, path, root, '--out', table], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        said, peak = done.stdout.splitlines()
        with open(table, newline='') as rows: names = [(r['file'], bool(r['error'])) for r in csv.DictReader(rows)]
        assert names == [(str(root/f'{i//1000:03}'/f'{i:06}.jpg'), i % 1000 == 999) for i in range(count)]
        assert (json.loads(said)['images'], json.loads(said)['unreadable']) == (count, count//1000)
        found[count] = dict(peak_mb=int(peak), images_per_second=round(count/(time.time() - start), 1))
    record_property('images', found)
    assert found[n]['peak_mb'] - found[1000]['peak_mb'] < 30
