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

from fastcnn import training
from fastcnn.core import InputError
from fastcnn.data import image_dataloaders
from fastcnn.deploy import export_model
from fastcnn.exported import load_exported, predict, read_config
from fastcnn.models import ARCHITECTURES, backbone_preprocessing, build_model, find_head
from fastcnn.training import has_bfloat16, in_bfloat16, scratch_learner
from fastcnn.transfer import (fit_head, image_features, mirror_told, parameter_groups, set_head, transfer_learner,
                              with_normalization)

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
    assert layers[0] == max(1, (layers[0] + layers[1])//3) and layers[2] == 1 # a third of the body


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
                                'whose weights come with fastcnn')


def test_scratch_learner_is_as_it_was(dls):
    learn = scratch_learner(dls)
    assert learn.dls is dls and learn.model.architecture['name'] == 'conv_stack' and all(p.requires_grad for p in learn.model.parameters())


def test_bfloat16_where_there_is_such_a_processor(monkeypatch):
    torch.manual_seed(0)
    model, x = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Flatten(), torch.nn.Linear(8*49, 2)), torch.randn(4, 3, 9, 9)
    kinds = []
    model[0].register_forward_hook(lambda layer, inputs, out: kinds.append(out.dtype))
    exact = model(x)
    for has, kind in ((False, torch.float32), (True, torch.bfloat16)):
        monkeypatch.setattr(training, 'has_bfloat16', lambda device: has)
        model.zero_grad()
        with in_bfloat16(model):
            out = model(x)
            out.sum().backward()
        assert set(kinds[1:]) == {kind} and model[0].weight.grad.dtype == torch.float32 and not torch.is_autocast_enabled('cpu')
        assert out.dtype == torch.float32 and torch.equal(out, exact) != has
        assert_close(out, exact, rtol=.1, atol=.1)
        del kinds[1:]
    with pytest.raises(ZeroDivisionError), in_bfloat16(model): raise ZeroDivisionError
    assert 'forward' not in vars(model)


def test_what_a_processor_can_do_is_looked_up(monkeypatch):
    monkeypatch.setattr(torch.cpu, 'get_capabilities', lambda: dict(avx512_bf16=False, amx_bf16=True))
    assert has_bfloat16(torch.device('cpu')) and not has_bfloat16(torch.device('mps'))
    monkeypatch.setattr(torch.cpu, 'get_capabilities', lambda: dict(architecture='aarch64'))
    assert not has_bfloat16(torch.device('cpu'))
    monkeypatch.delattr(torch.cpu, 'get_capabilities') # as in torch 2.10
    assert not has_bfloat16(torch.device('cpu'))


# Features, and a head on them

def blobs(classes=3, n=40, spread=1., features=16):
    "(features, labels) of classes that lie around points of their own"
    draw, labels = np.random.default_rng(0), np.arange(classes*n) % classes
    return draw.normal(size=(classes, features))[labels] + spread*draw.normal(size=(classes*n, features)), labels


def test_features_are_what_stands_in_front_of_the_head(dls):
    learn = transfer_learner(dls, LITE)
    items, model = learn.dls.valid.items, learn.model
    found = image_features(learn, items)
    layer, seen = model.get_submodule(find_head(model)), []
    with layer.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0].clone())), torch.no_grad():
        for x, *_ in learn.dls.test_dl(items): model.eval()(x)
    bound = .1 if has_bfloat16(torch.device('cpu')) else 1e-4
    expected = torch.cat(seen).numpy()
    assert found.shape == expected.shape and np.abs(found - expected).mean() < bound*np.abs(expected).mean() + 1e-6
    assert find_head(model) and model.get_submodule(find_head(model)) is layer
    assert np.abs(image_features(learn, items, mirrored=True) - found).max() > 0


def test_a_network_answers_as_the_head_that_it_was_given(dls, monkeypatch):
    monkeypatch.setattr(training, 'has_bfloat16', lambda device: False)
    learn = transfer_learner(dls, LITE)
    items = learn.dls.train.items
    labels = np.array([learn.dls.vocab.o2i[label] for label in items.label])
    features = image_features(learn, items)
    head = fit_head(features, labels)
    expected = torch.tensor(features @ head.weight.T + head.bias).softmax(1)
    answers = set_head(learn, head).get_preds(dl=learn.dls.test_dl(items))[0]
    assert_close(answers.double(), expected.double(), atol=1e-3, rtol=0)


@pytest.mark.parametrize('classes', [2, 3, 5])
def test_nobody_has_seen_the_image_that_is_judged(classes):
    "With labels by lot the probabilities are worth nothing; a head that had seen the images would know them all"
    features, labels = blobs(classes, spread=3)
    by_lot = np.random.default_rng(1).permutation(labels)
    head = fit_head(features, by_lot)
    assert (head.probabilities.argmax(1) == by_lot).mean() < 1/classes + .25
    assert_close(torch.tensor(head.probabilities.sum(1)), torch.ones(len(labels), dtype=torch.double))
    assert head.weight.shape == (classes, 16) and (fit_head(*blobs(classes)).probabilities.argmax(1) == labels).mean() > .8


def test_groups_stay_on_one_side_of_a_cut():
    "Twenty copies of each picture: whoever learns from one of them knows the others"
    features, labels = blobs(2, n=10, spread=5, features=100)
    labels = np.random.default_rng(2).permutation(labels)
    copies, of = np.repeat(features, 20, axis=0), np.repeat(labels, 20)
    def right(groups): return (fit_head(copies, of, groups).probabilities.argmax(1) == of).mean()
    assert right(None) > .95 and right(np.repeat(np.arange(20), 20).tolist()) < .85


def test_a_class_with_one_image_is_no_obstacle():
    features, labels = blobs(3)
    labels[0] = 3
    assert fit_head(features, labels).probabilities[0, 3] == 0 and fit_head(features, labels).weight.shape == (4, 16)


def test_a_mirror_is_told_only_where_it_changes_something():
    draw = np.random.default_rng(0)
    labels, natural = np.arange(200) % 4, draw.normal(size=(200, 32))
    either = draw.choice([-1, 1], 200)[:, None]*draw.normal(size=32) # each image as often one way as the other
    assert .3 < mirror_told(natural + either, natural - either, labels) < .7
    handed = draw.normal(size=(4, 32))[labels] # each class has its own direction, as left and right hands have
    assert mirror_told(natural + handed, natural - handed, labels) > .9
    assert mirror_told(natural, natural, labels) == 0 # not one can be told
