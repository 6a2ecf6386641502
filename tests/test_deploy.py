"An exported model in other hands: other networks, other processes, the Hub, and folders that mean harm"
import io, json, os, random, shutil, subprocess, sys, threading, time, warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

from fastcnn.core import InputError
from fastcnn.data import image_dataloaders
from fastcnn.deploy import export_model, write_config
from fastcnn.exported import load_exported, open_exported, predict, predict_each, read_config
from fastcnn.training import scratch_learner
from fastcnn.transfer import fit_head, image_features, set_head, transfer_learner

SIZE = 32


def stripes(rng, across):
    "Dark stripes, across or down"
    wave = np.sin(np.arange(48)*rng.uniform(.3, .9) + rng.uniform(0, 6))[:, None]*rng.uniform(30, 60)
    picture = rng.uniform(40, 90, 3) + (wave if across else wave.T)[..., None] + rng.normal(size=(48, 48, 3))*4
    return Image.fromarray(picture.clip(0, 255).astype(np.uint8))


@pytest.fixture(scope='module')
def dls(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp('stripes'), np.random.default_rng(0)
    for label in ('across', 'down'):
        (root/label).mkdir()
        for i in range(110): stripes(rng, label == 'across').save(root/label/f'{i}.png')
    return image_dataloaders(root, SIZE, 32, valid_pct=.4, num_workers=0)


@pytest.fixture(scope='module')
def exported(dls, tmp_path_factory):
    learn = scratch_learner(dls)
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 3e-3)
    learn.model.train()
    before = {k: v.clone() for k, v in learn.model.state_dict().items()}
    path = export_model(learn, tmp_path_factory.mktemp('exported')/'model', data='Stripes, made here.', license='cc0-1.0')
    assert learn.model.training and all(torch.equal(v, before[k]) for k, v in learn.model.state_dict().items()) # left as it was
    return path, learn


@pytest.fixture
def folder(exported, tmp_path):
    return Path(shutil.copytree(exported[0], tmp_path/'model'))


@pytest.fixture(scope='module')
def picture(): return stripes(np.random.default_rng(7), True)


def seal(folder, **changes):
    "The checksums of one who means harm: they fit"
    config = json.loads((folder/'config.json').read_text()) | changes
    write_config(folder, config)


def agree(path, model, mean, std, size=SIZE):
    "Largest difference between torch and ONNX Runtime on the same 100 tensors"
    images = np.random.default_rng(1).integers(0, 256, (100, size, size, 3), dtype=np.uint8)
    x = (torch.tensor(images).permute(0, 3, 1, 2)/255 - torch.tensor(mean).view(3, 1, 1))/torch.tensor(std).view(3, 1, 1)
    with torch.no_grad(): expected = model(x).softmax(1).numpy()
    return np.abs(predict(path, [Image.fromarray(i) for i in images]).filter(regex='^p_').to_numpy() - expected).max()


def test_torch_and_onnx_runtime_agree_on_100_tensors(exported):
    path, learn = exported
    config = read_config(path)
    model = load_exported(path)
    assert agree(path, model, config['mean'], config['std']) < 1e-4
    torch.testing.assert_close(model.state_dict(), learn.model.state_dict())


class Own(nn.Module):
    "A network of the user's own, with a functional convolution and a branch"
    def __init__(self):
        super().__init__()
        self.kernel, self.head = nn.Parameter(torch.randn(6, 3, 3, 3)), nn.Linear(12, 2)

    def forward(self, x):
        maps = torch.nn.functional.conv2d(x, self.kernel).tanh()
        return self.head(torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], 1))


def test_any_network_is_exported_with_novelty(dls, tmp_path):
    learn = scratch_learner(dls, Own())
    path = export_model(learn, tmp_path/'own')
    config = read_config(path)
    told = config['none_of_these'] # it could have learnt from the training images, but for their colours
    assert config['architecture'] is None and told['images'] == len(dls.valid_ds) + (told['looks_at'] == 'pixels')*len(dls.train_ds)
    assert agree(path, learn.model.eval().cpu(), config['mean'], config['std']) < 1e-4
    with pytest.raises(InputError, match="network of its maker's own"): load_exported(path)


class TwoFaced(nn.Module):
    "Another network while it is exported, by so much"
    def __init__(self, by): super().__init__(); self.network, self.by = Own(), by
    def forward(self, x): return self.network(x) + torch.tensor([0., self.by])*torch.compiler.is_exporting()


@pytest.mark.parametrize('by', [1e-2, 5.])
def test_a_graph_that_differs_is_refused(dls, folder, tmp_path, by):
    "And the model that was there before stays"
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    with pytest.raises(RuntimeError, match='differs from the network'): export_model(scratch_learner(dls, TwoFaced(by)), folder)
    assert [p.name for p in tmp_path.iterdir()] == ['model'] and {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_strange_pictures_are_none_of_these(exported):
    rng = np.random.default_rng(3)
    own = predict(exported[0], [stripes(rng, i % 2) for i in range(200)])
    noise = [Image.fromarray(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)) for _ in range(20)]
    strange = predict(exported[0], noise + [Image.new('RGB', (50, 50), c) for c in ('red', 'white', 'lime')])
    assert own.label.isna().mean() <= .1 and strange.label.isna().all() and strange.probability.notna().all()
    assert strange.label.tolist() == [None]*23 and list(own.columns) == ['file', 'label', 'probability', 'novelty', 'error', 'p_across', 'p_down']


def some(dls, n, **columns):
    "A table of a few of the images"
    return pd.concat([dls.train.items, dls.valid.items]).sample(n, random_state=0).assign(**dict(group=None) | columns)


def test_too_few_images_to_tell(tmp_path, dls):
    learn = scratch_learner(image_dataloaders(some(dls, 19), SIZE, 16, valid_pct=.2, num_workers=0))
    with pytest.warns(UserWarning, match='19 images that show different things are too few'): path = export_model(learn, tmp_path/'few')
    assert read_config(path)['none_of_these'] is None
    found = predict(path, [Image.new('RGB', (40, 40), 'red')])
    assert found.label.notna().all() and found.novelty.isna().all()


def test_few_images_are_enough_and_say_how_sure_they_are(tmp_path, dls):
    "No validation part of 30 could tell; and what belongs together counts once"
    films = [f'film {i//3}' for i in range(90)]
    for table, groups in ((some(dls, 30), 30), (some(dls, 90, group=films), 30)):
        learn = scratch_learner(image_dataloaders(table, SIZE, 16, valid_pct=.2, num_workers=0))
        told = read_config(export_model(learn, tmp_path/'few'))['none_of_these']
        assert (told['images'], told['groups']) == (len(table), groups) and told['sure'] == pytest.approx(1 - .95**30)
    text = (tmp_path/'few'/'README.md').read_text()
    assert 'with 79% certainty at most 5% of true images' in text and 'Not known' in text
    assert predict(tmp_path/'few', [Image.new('RGB', (40, 40), 'red')]).label.isna().all()


def encoded(image):
    file = io.BytesIO()
    image.save(file, 'PNG')
    return file.getvalue()


@pytest.fixture(scope='module')
def frozen(dls):
    "A pretrained body for pictures four times as large as they are, and a head of its features"
    table = some(dls, 120)
    table['image'] = [encoded(Image.open(file).resize((24, 24), Image.Resampling.BOX)) for file in table.image]
    learn = transfer_learner(image_dataloaders(table.drop(columns='content'), 96, 16, valid_pct=.2, num_workers=0))
    features = [image_features(learn, part.items) for part in (learn.dls.train, learn.dls.valid)]
    labels = [learn.dls.vocab.o2i[label] for label in learn.dls.train.items.label]
    return set_head(learn, fit_head(features[0], labels)), features


def test_a_frozen_body_judges_by_its_features(frozen, tmp_path):
    "Also where they are known already; all images set the threshold; and sharpness is no content"
    learn, features = frozen
    told = [read_config(export_model(learn, tmp_path/name, features=known))['none_of_these'] for name, known in (('a', None), ('b', features))]
    assert [(t['looks_at'], t['images'], t['detail']) for t in told] == [('features', 120, 18)]*2
    assert told[1]['threshold'] == pytest.approx(told[0]['threshold'], rel=1e-3) # what is known is of pictures with all their detail
    own = predict(tmp_path/'b', [Image.open(io.BytesIO(image)) for image in learn.dls.train.items.image])
    assert own.label.isna().mean() <= .1
    rng, path = np.random.default_rng(11), tmp_path/'a'
    pictures = [stripes(rng, i % 2) for i in range(40)]
    small = [picture.resize((24, 24), Image.Resampling.BOX) for picture in pictures]
    sharp = [Image.fromarray(np.asarray(picture).repeat(6, 0).repeat(6, 1)) for picture in pictures] # 288 pixels, in steps
    noise = [Image.fromarray(rng.integers(0, 256, (60, 60, 3), dtype=np.uint8)) for _ in range(20)]
    own, same, strange = (predict(path, images) for images in (small, sharp, noise))
    assert own.label.isna().mean() <= .15 and same.label.isna().mean() <= .15 and strange.label.isna().all()
    assert same.novelty.median() < 2*own.novelty.median() # more than four times it, if sharpness counted
    assert (path/'model.onnx').stat().st_size < (path/'model.safetensors').stat().st_size + 2_000_000
    assert 'by what the network sees' in (path/'README.md').read_text()


def test_what_the_network_has_learnt_from_is_not_judged(dls, tmp_path):
    "A body that could change: the validation part alone, if it is large enough; else colours and textures"
    for n, images, looks_at in ((150, 60, 'features'), (40, 40, 'pixels')):
        learn = transfer_learner(image_dataloaders(some(dls, n), 64, 16, valid_pct=.4, num_workers=0))
        learn.unfreeze()
        told = read_config(export_model(learn, tmp_path/'model'))['none_of_these']
        assert (told['images'], told['looks_at']) == (images, looks_at)


def test_models_of_format_1_still_predict(exported, folder, picture):
    "No checksums, no novelty: as the first release wrote them"
    config = {k: v for k, v in read_config(folder).items() if k not in ('files', 'sha256', 'format', 'none_of_these')}
    graph = onnx.load(folder/'model.onnx')
    del graph.graph.output[1]
    onnx.save(graph, folder/'model.onnx')
    (folder/'config.json').write_text(json.dumps(config))
    with pytest.warns(UserWarning, match='has no checksums') as told: old = predict(folder, [picture])
    with warnings.catch_warnings(action='error'): predict(folder, [picture]), load_exported(folder) # it is said once
    assert len(told) == 1
    new = predict(exported[0], [picture])
    assert old.novelty.isna().all() and np.allclose(old[['p_across', 'p_down']], new[['p_across', 'p_down']])


@pytest.mark.parametrize('program, blocked', [
    ('predict(sys.argv[1], sys.argv[2:])', ['torch', 'fastai', 'onnx']),
    ('next(predict_each(sys.argv[1], sys.argv[2:]))', ['torch', 'pandas', 'scipy', 'urllib3', 'tqdm', 'onnx']),
    ('load_exported(sys.argv[1])', ['fastai'])])
def test_used_where_these_are_not_installed(exported, folder, picture, program, blocked):
    picture.save(folder.parent/'picture.png')
    start = f'import sys\nfor name in {blocked}: sys.modules[name] = None\nfrom fastcnn.exported import predict, predict_each, load_exported\n'
    subprocess.run([sys.executable, '-c', start + program, folder, folder.parent/'picture.png'], check=True, timeout=120)


def test_card_is_one_for_the_hub(dls, exported, tmp_path):
    card = pytest.importorskip('huggingface_hub').ModelCard
    figures = dict(accuracy=.9, accuracy_interval=[.8, .95], f1=.89, images=70, per_class_f1=dict(across=.91, down=.87))
    path = export_model(exported[1], tmp_path/'measured', measure=lambda folder: figures, license='cc0-1.0')
    found = card.load(path/'README.md').data
    assert (found.license, found.library_name, found.pipeline_tag) == ('cc0-1.0', 'fastcnn', 'image-classification')
    assert {r.metric_type: r.metric_value for r in found.eval_results} == dict(accuracy=.9, f1=.89)
    text = (path/'README.md').read_text()
    assert '| down | 0.870 |' in text and 'Stripes, made here.' in (exported[0]/'README.md').read_text()
    assert 'never' not in card.load(exported[0]/'README.md').data.to_yaml()
    assert read_config(path)['per_class_f1'] == figures['per_class_f1']


def test_sixteen_bits_of_grey_are_scaled_not_cut(exported, tmp_path):
    ramp = np.tile(np.linspace(0, 65535, 48), (48, 1))
    Image.fromarray(ramp.astype(np.uint16)).save(tmp_path/'deep.png')
    Image.fromarray((ramp/257 + .5).astype(np.uint8)).save(tmp_path/'flat.png')
    deep, flat = predict(exported[0], [tmp_path/'deep.png', tmp_path/'flat.png']).filter(regex='p_').to_numpy()
    assert np.abs(deep - flat).max() < .02


# Many images

def test_a_folder_is_all_images_in_it(exported, tmp_path):
    "In order, however deep and oddly named; nothing hidden, nothing that is no file, nothing twice"
    rng, names = np.random.default_rng(4), ['b.png', 'ä/木星.PNG', 'ä/a, "b"\n.png', 'ä/z/deep.jpg', '.x.png', '.hidden/y.png', os.fsdecode(b'latin\xe9.png')]
    for name in names:
        (tmp_path/name).parent.mkdir(exist_ok=True)
        stripes(rng, True).save(tmp_path/name)
    (tmp_path/'notes.txt').write_text('mine')
    os.mkfifo(tmp_path/'pipe.jpg')
    found = predict(exported[0], tmp_path)
    assert found.file.tolist() == [str(tmp_path/names[i]) for i in (0, 6, 2, 1, 3)]
    again = predict(exported[0], [tmp_path/'ä', tmp_path/'b.png'])
    assert again.file.tolist() == [str(tmp_path/names[i]) for i in (2, 1, 3, 0)] and again.probability[3] == found.probability[0]
    (tmp_path/'empty').mkdir()
    with pytest.raises(InputError, match='empty.* holds no images'): predict(exported[0], tmp_path/'empty')


def test_each_image_has_its_own_answer(exported):
    "Of whatever shape its neighbours are, and in which thread it was: the same as alone, in order"
    rng = np.random.default_rng(5)
    images = [stripes(rng, i % 2).resize([(48, 48), (60, 40), (48, 48), (300, 50)][i % 4 if i < 60 else 0]) for i in range(100)]
    together, alone = predict(exported[0], images), pd.concat([predict(exported[0], image) for image in images], ignore_index=True)
    numbers = ['p_across', 'p_down', 'novelty']
    assert (together.label.fillna('') == alone.label.fillna('')).mean() >= .99 and np.allclose(together[numbers], alone[numbers], atol=1e-4)
    assert together.p_across.nunique() > 90
    each = pd.DataFrame(predict_each(exported[0], iter(images)))
    assert list(each.columns) == list(together.columns) and each.label.fillna('').tolist() == together.label.fillna('').tolist()
    assert np.allclose(each.novelty, together.novelty, atol=1e-4)


def test_broken_images_are_reported_in_their_place(exported, picture, tmp_path):
    for i in range(40): picture.save(tmp_path/f'{i:02}.png')
    for i in (0, 17, 39): (tmp_path/f'{i:02}.png').write_bytes((tmp_path/f'{i:02}.png').read_bytes()[:500])
    with pytest.warns(UserWarning, match="3 of 41 images have no answer, the first one: '.*00.png' cannot be read"):
        found = predict(exported[0], [tmp_path, tmp_path/'none.png'][:1] + [picture])
    bad = found.error != ''
    assert np.flatnonzero(bad).tolist() == [0, 17, 39] and found[bad].error.str.contains('cannot be read as an image').all()
    broken, whole = (found[part].filter(regex='^p|novelty') for part in (bad, ~bad))
    assert found[bad].label.isna().all() and broken.isna().all(axis=None) and whole.notna().all(axis=None)
    assert found[~bad].p_across.nunique() == 1
    for wrong in ([tmp_path/'00.png'], [tmp_path/'00.png', tmp_path/'none.png']):
        with pytest.raises(InputError, match='00.png.* cannot be read as an image'): predict(exported[0], wrong)


def test_nothing_is_read_long_before_it_is_needed(exported, picture):
    "Two hundred images at most, of an endless stream, on any machine; and threads stop when nobody asks"
    read, ahead = [], []
    def endless():
        while True: read.append(1); yield picture
    stream = predict_each(exported[0], endless())
    for answered in range(1, 401):
        next(stream)
        ahead.append(len(read) - answered)
    assert 0 <= min(ahead) and max(ahead) <= 200
    stream.close()
    time.sleep(.5)
    assert not [t for t in threading.enumerate() if 'ThreadPoolExecutor' in t.name]


MEMORY = '''
import sys
from fastcnn.exported import predict_each
def peak(): return int(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])/1024
for i, row in enumerate(predict_each(sys.argv[1], sys.argv[2])):
    if i == 1000: before = peak()
print(i + 1, peak() - before)
'''

@pytest.mark.skipif(not Path('/proc/self/status').exists(), reason='peak memory is read from /proc')
def test_memory_does_not_grow_with_the_images(exported, tmp_path):
    "4,000 images of 150 different shapes: their pixels alone are 75 MB"
    count, mb = many(exported[0], tmp_path, 4000)
    assert count == 4000 and mb < 25, f'{mb:.0f} MB'


def many(model, folder, n):
    "Images, and MB by which the peak grows after the first 1,000 of `n` hard links to 150 pictures"
    rng = np.random.default_rng(6)
    (folder/'pictures').mkdir()
    for i in range(150): stripes(rng, i % 2).resize((60 + i, 60)).save(folder/'pictures'/f'{i}.png')
    for i in range(n):
        if not i % 1000: (folder/'all'/f'{i//1000:03}').mkdir(parents=True)
        os.link(folder/'pictures'/f'{i % 150}.png', folder/'all'/f'{i//1000:03}'/f'{i}.png')
    done = subprocess.run([sys.executable, '-c', MEMORY, model, folder/'all'], capture_output=True, text=True, check=True)
    return map(float, done.stdout.split())


# Folders that mean harm

OUTPUTS = dict(probabilities=['N', 2], novelty=['N'])


def graph(nodes, *constants, outputs=OUTPUTS):
    "The bytes of a graph with the right input and, unless told otherwise, the right outputs"
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()]
    made = helper.make_graph(nodes, 'g', [helper.make_tensor_value_info('image', TensorProto.UINT8, ['N', 'H', 'W', 3])], values, list(constants))
    return helper.make_model(made, opset_imports=[helper.make_opsetid('', 18)], ir_version=10).SerializeToString()


def constant(name, *values, kind=np.float32): return numpy_helper.from_array(np.array(values, kind), name)
def give(name, value): return helper.make_node('Identity', [value], [name])
FAIR, FAR = constant('p', [.5, .5]), constant('n', 0.)


def forever():
    kinds = dict(i=TensorProto.INT64, c=TensorProto.BOOL, v=TensorProto.FLOAT, c2=TensorProto.BOOL, v2=TensorProto.FLOAT)
    value = lambda name, shape: helper.make_tensor_value_info(name, kinds[name], shape)
    body = helper.make_graph([give('c2', 'c'), give('v2', 'v')], 'body', [value('i', []), value('c', []), value('v', [1, 2])],
                             [value('c2', []), value('v2', [1, 2])])
    return graph([helper.make_node('Loop', ['often', 'yes', 'p'], ['probabilities'], body=body), give('novelty', 'n')], FAIR, FAR,
                 numpy_helper.from_array(np.array(10**15), 'often'), numpy_helper.from_array(np.array(True), 'yes'))


def outside(location):
    stored = TensorProto(name='p', data_type=TensorProto.FLOAT, dims=[1, 2], data_location=TensorProto.EXTERNAL)
    for key, value in dict(location=location, offset='0', length='8').items(): stored.external_data.add(key=key, value=value)
    return graph([give('probabilities', 'p'), give('novelty', 'n')], stored, FAR)


GRAPHS = dict(
    other_output=lambda: graph([give('y', 'p')], FAIR, outputs=dict(y=[1, 2])),
    no_probabilities=lambda: graph([give('probabilities', 'p'), give('novelty', 'n')], constant('p', [5., -4.]), FAR),
    no_numbers=lambda: graph([give('probabilities', 'p'), give('novelty', 'n')], constant('p', [np.nan, .5]), FAR),
    novelty_no_number=lambda: graph([give('probabilities', 'p'), give('novelty', 'n')], FAIR, constant('n', np.nan)),
    other_shape=lambda: graph([give('probabilities', 'p'), give('novelty', 'n')], constant('p', [.5, .5], [.5, .5]), FAR),
    three_classes=lambda: graph([give('probabilities', 'p'), give('novelty', 'n')], constant('p', [.5, .25, .25]), FAR,
                                outputs=dict(probabilities=['N', 3], novelty=['N'])),
    own_operator=lambda: graph([helper.make_node('Evil', ['image'], ['probabilities'], domain='evil'), give('novelty', 'n')], FAR),
    huge=lambda: graph([helper.make_node('ConstantOfShape', ['s'], ['b']), helper.make_node('ReduceMean', ['b'], ['m']),
                        helper.make_node('Mul', ['p', 'm'], ['probabilities']), give('novelty', 'n')],
                       numpy_helper.from_array(np.array([10**5, 10**6]), 's'), FAIR, FAR),
    forever=forever, passwords=lambda: outside('/etc/passwd'), upwards=lambda: outside('../secret'), garbage=lambda: b'\x08'*1000, empty=lambda: b'')


@pytest.mark.parametrize('name', GRAPHS)
def test_hostile_graph_is_refused(folder, picture, name):
    (folder.parent/'secret').write_bytes(bytes(8))
    (folder/'model.onnx').write_bytes(GRAPHS[name]())
    seal(folder)
    start = time.time()
    with pytest.raises(InputError) as refused: predict(open_exported(folder, seconds=1), [picture])
    assert '\n' not in str(refused.value) and time.time() - start < 10


class Evil:
    def __reduce__(self): return os.system, ('touch pickled',)


def pickled(file): torch.save(Evil(), file)
def linked(file): # the right file, but elsewhere
    elsewhere = file.rename(file.parent.parent/file.name)
    file.symlink_to(elsewhere)
def piped(file): file.unlink(); os.mkfifo(file)
def sparse(file): os.truncate(file, 1 << 40)
def lying(file): file.write_bytes((1 << 60).to_bytes(8, 'little') + file.read_bytes()[8:])
def is_a_folder(file): file.unlink(); file.mkdir()


@pytest.mark.parametrize('do', [pickled, linked, piped, sparse, lying, is_a_folder])
@pytest.mark.parametrize('name', ['config.json', 'model.onnx', 'model.safetensors'])
def test_hostile_file_is_refused(folder, picture, do, name, monkeypatch):
    monkeypatch.chdir(folder.parent)
    do(folder/name)
    if name != 'config.json' and do in (pickled, lying): seal(folder)
    with pytest.raises(InputError) as refused:
        predict(folder, [picture])
        load_exported(folder)
    assert '\n' not in str(refused.value) and not (folder.parent/'pickled').exists()


CONFIGS = dict(size=[10**6, 0, -3, 48.5, '48', None, True, 10**400],
               classes=[[], ['a'], ['a', 'a'], 'ab', [1, 2], {}, None, ['a', 'b'*1000]],
               mean=[[1, 2], [1e30]*3, 'abc', [None]*3], std=[[0, 1, 1], [-1]*3], format=[99, '2'],
               none_of_these=[1, dict(threshold='low'), {}], architecture=['conv_stack', [], dict(n_classes=2)],
               accuracy=[7, 'good'])


@pytest.mark.parametrize('key, value', [(k, v) for k, values in CONFIGS.items() for v in values], ids=lambda v: str(v)[:20])
def test_hostile_value_is_refused(folder, picture, key, value):
    seal(folder, **{key: value})
    with pytest.raises(InputError): predict(folder, [picture])


@pytest.mark.parametrize('text', [b'[' * 10**6, b'{"a":' * 10**5, b'\xff\xfe{}', b'{"size": NaN}', b'[]', b'null',
                                  b'{"size": ' + b'9'*10**5 + b'}', b' ' * (2 << 20)], ids=range(8))
def test_hostile_json_is_refused(folder, picture, text):
    (folder/'config.json').write_bytes(text)
    with pytest.raises(InputError): predict(folder, [picture])


ARCHITECTURES = [dict(channels=[99_999]*4), dict(channels=[10**9]*4), dict(channels=[8]*10**4), dict(channels=['8']*4),
                 dict(kernel_sizes=[99_999]*5), dict(stride=0), dict(stage='evil'), dict(size=10**6),
                 dict(n_classes=10**9), dict(in_channels=10**9), dict(name='os.system'),
                 dict(name='mlp', hidden=[99_999]*60), dict(name='../evil'), dict(name='torchvision/vgg19'),
                 dict(name='torchvision/mobilenet_v2', width_mult=10**5), dict(name='torchvision/resnet18', weights='x'),
                 dict(name='timm/resnet18', checkpoint_path='/etc/passwd')]


@pytest.mark.parametrize('change', ARCHITECTURES, ids=lambda v: str(v)[:40])
def test_hostile_architecture_is_refused(folder, change):
    told = read_config(folder)['architecture']
    seal(folder, architecture=(dict(n_classes=2, size=SIZE) if 'name' in change else told) | change)
    start = time.time()
    with pytest.raises(InputError) as refused: load_exported(folder)
    assert '\n' not in str(refused.value) and time.time() - start < 20


@pytest.mark.parametrize('change', [lambda w: {k: v*torch.nan for k, v in w.items()}, lambda w: {k: v[:1] for k, v in w.items() if v.ndim},
                                    lambda w: {}, lambda w: w | dict(more=torch.zeros(3))])
def test_hostile_weights_are_refused(folder, change):
    save_file(change({k: v for k, v in load_file(folder/'model.safetensors').items()}) or dict(other=torch.zeros(1)), folder/'model.safetensors')
    seal(folder)
    with pytest.raises(InputError): load_exported(folder)


HOSTILE = '''
import resource, sys, time
from fastcnn.core import InputError
from fastcnn.exported import predict, load_exported
from PIL import Image
predict(sys.argv[1], [Image.new('RGB', (40, 40))])
load_exported(sys.argv[1])
before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.time()
for path in sys.argv[2:]:
    for use in (lambda: predict(path, [Image.new('RGB', (40, 40))]), lambda: load_exported(path)):
        try: use()
        except InputError: pass
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, time.time() - start)
'''


def test_refusing_costs_little(exported, tmp_path):
    "Less than 300 MB and half a minute for all that ask for terabytes"
    def hostile(name, **changes):
        made = Path(shutil.copytree(exported[0], tmp_path/name))
        if name in GRAPHS: (made/'model.onnx').write_bytes(GRAPHS[name]())
        seal(made, **changes)
        return made
    told = read_config(exported[0])['architecture']
    changes = [(dict(n_classes=2, size=SIZE) if 'name' in c else told) | c for c in ARCHITECTURES[:1] + ARCHITECTURES[11:12]]
    folders = [hostile('huge'), *(hostile(f'{i}', architecture=changed) for i, changed in enumerate(changes))]
    done = subprocess.run([sys.executable, '-c', HOSTILE, exported[0], *folders], capture_output=True, text=True, check=True, timeout=300)
    kilobytes, seconds = map(float, done.stdout.split())
    assert kilobytes < 300_000 and seconds < 30


def damage(rng, data):
    "A copy with some bytes changed, or cut off, or something in between"
    data, kind = bytearray(data), rng.random()
    if kind < .3: return bytes(data[:rng.randrange(len(data))])
    for _ in range(rng.choice([1, 1, 3, 50])): data[rng.randrange(len(data) if kind < .7 else min(len(data), 2000))] = rng.randrange(256)
    if kind > .9: data[rng.randrange(len(data)):0] = rng.randbytes(rng.randrange(1, 100))
    return bytes(data)


@pytest.mark.parametrize('sealed', [False, True])
def test_damaged_files_give_the_right_answer_or_are_refused(exported, folder, picture, sealed):
    "Unsealed: each damage is noticed. Sealed, with checksums that fit: an answer in form, or refused"
    rng, right, refused, tries = random.Random(5), predict(exported[0], [picture]), 0, 90
    for i in range(tries):
        name = ['config.json', 'model.onnx', 'model.safetensors'][i % 3]
        original = (exported[0]/name).read_bytes()
        (folder/name).write_bytes(damage(rng, original))
        try:
            if sealed and name != 'config.json': seal(folder)
            found = predict(folder, [picture])
            load_exported(folder)
            assert list(found.columns) == list(right.columns) and np.isfinite(found.probability).all()
            if not sealed: pd.testing.assert_frame_equal(found, right)
        except InputError as error:
            refused += 1
            assert '\n' not in str(error)
        (folder/name).write_bytes(original)
        shutil.copy(exported[0]/'config.json', folder)
    assert refused > tries*.3 if sealed else refused >= tries - 2 # a byte may be changed into itself


# The Hub

class Hub(BaseHTTPRequestHandler):
    "What of the Hub's interface an upload needs"
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get('Content-Length') or 0))
        hub, path = self.server, self.path
        if hub.status: return self.reply(dict(error='no'), hub.status)
        if self.headers.get('Authorization') != 'Bearer hf_good': return self.reply(dict(error='Invalid credentials'), 401)
        if path == '/api/repos/create':
            hub.created = json.loads(body)
            return self.reply(dict(url=f'{hub.url}/me/planets', id='me/planets'))
        if path.endswith('/preupload/main'):
            kind = lambda name: 'lfs' if name.startswith('model.') else 'regular'
            return self.reply(dict(files=[dict(path=f['path'], uploadMode=kind(f['path']), shouldIgnore=False)
                                          for f in json.loads(body)['files']]))
        if path.endswith('/objects/batch'):
            upload = lambda o: dict(upload=dict(href=f'{hub.url}/put/{o["oid"]}'))
            return self.reply(dict(transfer='basic', objects=[dict(o, actions=upload(o)) for o in json.loads(body)['objects']]))
        if '/commit/main' in path:
            hub.commit = [json.loads(line) for line in body.splitlines()]
            return self.reply(dict(commitUrl=f'{hub.url}/me/planets/commit/1', commitOid='1', success=True))
        self.reply(dict(), 200)

    def do_GET(self): self.reply(dict(id='me/planets', sha='0', siblings=[], private=True), self.server.status or 200)

    def do_PUT(self):
        self.server.stored[self.path.rpartition('/')[2]] = self.rfile.read(int(self.headers['Content-Length']))
        self.reply({})

    def reply(self, value, status=200):
        data = json.dumps(value).encode()
        self.send_response(status)
        for header in [('Content-Type', 'application/json'), ('Content-Length', str(len(data)))]: self.send_header(*header)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args): pass


@pytest.fixture
def hub():
    server = ThreadingHTTPServer(('127.0.0.1', 0), Hub)
    server.url, server.stored, server.status, server.commit = f'http://127.0.0.1:{server.server_port}', {}, None, None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


def pushed(hub, folder, token, tmp_path):
    "push_to_hub in a process of its own, which reads the Hub's address when it starts"
    program = ('import sys\nfrom fastcnn.deploy import push_to_hub\n'
               'try: print(push_to_hub(sys.argv[1], sys.argv[2], token=sys.argv[3] or None))\n'
               'except Exception as e: print(type(e).__name__, e)')
    env = {k: v for k, v in os.environ.items() if not k.startswith(('HF_', 'HUGGING'))}
    env |= dict(HF_ENDPOINT=hub.url if hub else 'http://127.0.0.1:9', HF_HOME=str(tmp_path/'hf'), HF_HUB_DISABLE_XET='1',
                HF_HUB_DISABLE_PROGRESS_BARS='1')
    done = subprocess.run([sys.executable, '-c', program, folder, 'me/planets', token], env=env, capture_output=True, text=True, timeout=120)
    return done.stdout.strip() or done.stderr


def test_upload_holds_the_four_files_and_no_more(hub, folder, tmp_path):
    (folder/'notes.txt').write_text('mine')
    assert pushed(hub, folder, 'hf_good', tmp_path) == f'{hub.url}/me/planets'
    assert 'private' in (hub.created.get('visibility'), hub.created.get('private') and 'private') and hub.created['name'] == 'planets'
    named = {line['value']['path'] for line in hub.commit if 'path' in line['value']}
    assert named == {'README.md', 'config.json', 'model.onnx', 'model.safetensors'}
    assert sorted(hub.stored.values(), key=len) == sorted([(folder/name).read_bytes() for name in ('model.onnx', 'model.safetensors')], key=len)


@pytest.mark.parametrize('token, status, words', [
    ('', None, 'hf auth login'), ('hf_wrong', None, 'hf auth login'), ('hf_good', 404, 'no such account'),
    ('hf_good', 403, 'may not write'), ('hf_good', 500, 'RuntimeError')])
def test_refused_upload_is_one_line(hub, folder, tmp_path, token, status, words):
    hub.status = status
    said = pushed(hub, folder, token, tmp_path)
    assert words in said and '\n' not in said and ('InputError' in said or status == 500)


def test_no_hub_is_one_line(folder, tmp_path):
    said = pushed(None, folder, 'hf_good', tmp_path)
    assert said.startswith('RuntimeError the Hub cannot be reached') and '\n' not in said


# The app

def test_demo_app_answers(exported, picture, tmp_path):
    pytest.importorskip('gradio')
    from gradio_client import Client, handle_file
    picture.save(tmp_path/'stripes.png')
    Image.new('RGB', (60, 60), 'red').save(tmp_path/'red.png')
    program = ('import sys, time\nfrom fastcnn.publish import demo_app\napp = demo_app(sys.argv[1], launch=False)\n'
               'app.launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True)\n'
               'print(app.local_url, flush=True)\ntime.sleep(120)')
    server = subprocess.Popen([sys.executable, '-c', program, exported[0]], stdout=subprocess.PIPE, text=True)
    try:
        client = Client(server.stdout.readline().strip(), verbose=False)
        found = client.predict(handle_file(tmp_path/'stripes.png'), api_name='/predict')
        assert {c['label'] for c in found['confidences']} == {'across', 'down'} and found['label'] == predict(exported[0], [picture]).label[0]
        assert client.predict(handle_file(tmp_path/'red.png'), api_name='/predict')['label'] == 'none of these'
    finally: server.kill()
