"Predictions and features on Spark, as the page Beyond one machine writes them: the answers are those of one machine"
import importlib.util, os, re, subprocess, sys, time

import nbformat
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import notebooks
from fastcnn.data import image_dataloaders
from fastcnn.deploy import export_model
from fastcnn.exported import predict
from fastcnn.models import build_model
from fastcnn.planets import planet_collection
from fastcnn.training import scratch_learner
from fastcnn.transfer import image_features, transfer_learner

pytestmark = pytest.mark.verify
PEERS = notebooks.ROOT/'.venv-peers'/'lib'/f'python{sys.version_info[0]}.{sys.version_info[1]}'/'site-packages'


def recipe():
    "The script that the page gives, all its parts"
    cells = nbformat.read(notebooks.NBS/'beyond_one_machine.ipynb', 4).cells
    return '\n'.join(re.findall(r'```python\n(.*?)```', '\n'.join(c.source for c in cells if c.cell_type == 'markdown'), re.S))


def where_pyspark_is(folder):
    "What PYTHONPATH needs: nothing, or links to the peers' pyspark, whose pandas is another"
    if importlib.util.find_spec('pyspark'): return []
    if not (PEERS/'pyspark').is_dir(): pytest.skip('no pyspark: pip install pyspark, or make bench, which builds .venv-peers')
    folder.mkdir()
    for name in ('pyspark', 'py4j'): (folder/name).symlink_to(PEERS/name)
    return [str(folder)]


@pytest.fixture
def data(tmp_path):
    "Planets in two places, an exported network, and what cannot be read"
    for name, n, seed in (('images', 12, 1), ('sample', 4, 2)): planet_collection(tmp_path/name, n=n, seed=seed, nuisances=0, duplicates=0, broken=0)
    dls = image_dataloaders(tmp_path/'sample', 64, 8, valid_pct=.3, num_workers=0)
    export_model(scratch_learner(dls, build_model('conv_stack', n_classes=4, size=64)), tmp_path/'model')
    whole = sorted((tmp_path/'images').rglob('*.jpg'))
    (tmp_path/'images'/'mars half.jpg').write_bytes(whole[0].read_bytes()[:900])
    (tmp_path/'images'/'text.jpg').write_text('no picture')
    return tmp_path


@pytest.mark.parametrize('images_at_a_time', [256, 1]) # alone, a broken image is all that there is
def test_spark_says_what_one_machine_says(data, images_at_a_time, record_property):
    script, path = recipe(), os.pathsep.join([str(notebooks.ROOT), *where_pyspark_is(data/'path')])
    assert script.count('mapInPandas') == 2 and ', 256)' in script
    script = script.replace('/data/', f'{data}/').replace(', 256)', f', {images_at_a_time})')
    (data/'on_spark.py').write_text(script)
    env = os.environ | dict(PYTHONPATH=path, PYSPARK_PYTHON=sys.executable, SPARK_LOCAL_IP='127.0.0.1', PYSPARK_SUBMIT_ARGS='--master local[2] pyspark-shell')
    start = time.perf_counter()
    done = subprocess.run([sys.executable, data/'on_spark.py'], cwd=data, env=env, capture_output=True, text=True, timeout=600)
    assert not done.returncode, done.stderr[-3000:]
    record_property('seconds_of_the_script', round(time.perf_counter() - start, 1))
    answers, features = (pd.read_parquet(data/name).sort_values('file', ignore_index=True) for name in ('answers', 'features'))
    for table in (answers, features): table['file'] = table.file.str.removeprefix('file:').str.replace('%20', ' ')
    expected = predict(data/'model', data/'images').sort_values('file', ignore_index=True)
    assert len(answers) == 50 and list(answers.columns) == list(expected.columns)
    assert answers.file.tolist() == expected.file.tolist() and (answers.error != '').tolist() == (expected.error != '').tolist()
    assert answers.label.fillna('').tolist() == expected.label.fillna('').tolist()
    numbers = ['probability', 'novelty', *(name for name in expected if name.startswith('p_'))]
    assert_allclose(answers[numbers].astype(float), expected[numbers].astype(float), atol=1e-5)
    assert features.file.tolist() == expected.file[expected.error == ''].tolist()
    learn = transfer_learner(image_dataloaders(data/'sample', size=96, augment=False))
    wanted = image_features(learn, pd.DataFrame(dict(image=features.file)))
    assert_allclose(np.stack(features.features), wanted, atol=.02*np.abs(wanted).max()) # in bfloat16 a batch of another length may round otherwise
