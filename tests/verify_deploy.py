"None of these, at the size of the demo: how many planets are sent away, and how many other pictures are not let in"
import os
from pathlib import Path
from zipfile import ZipFile

import pytest
from PIL import Image

from fastcnn.data import image_dataloaders
from fastcnn.deploy import export_model, predict, read_config
from fastcnn.evaluation import accuracy_interval
from fastcnn.models import build_model
from fastcnn.planets import planet_collection
from fastcnn.training import scratch_learner

pytestmark = pytest.mark.verify


@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
    "Planets to train on; others, drawn from another seed, with gods, watches and cars; and photographs"
    archive, root = Path(os.environ.get('FASTCNN_DATA', 'nowhere'))/'photos.zip', tmp_path_factory.mktemp('planets')
    if not archive.exists(): pytest.skip('no photos.zip in the folder that FASTCNN_DATA names')
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
