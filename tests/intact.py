"""Forty trainings with nothing wrong: real images, 5 to 5,000 of them, 2 to 100 classes, scratch and transfer.

They are what people do without much thought: a rate that the optimizer takes, batches of 2 to 64, a few epochs; one step an epoch among them.
Nothing about them is tuned. `pairs` are two handwritten digits side by side (100 classes), `tiles` the 12 parts of a photograph (up to 100 classes).
"""
import io, os, random, zipfile
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import fastai.callback.schedule # adds fit_one_cycle and fine_tune to Learner
from fastai.callback.mixup import MixUp
from fastai.data.transforms import Normalize, get_image_files
from fastai.losses import LabelSmoothingCrossEntropyFlat
from fastai.optimizer import SGD
from fastai.torch_core import set_seed
from fastai.vision.augment import Resize, aug_transforms
from fastai.vision.core import imagenet_stats
from fastai.vision.data import ImageDataLoaders
from PIL import Image

from fastcnn.data import image_dataloaders, resident_dataloaders
from fastcnn.models import build_model
from fastcnn.training import image_learner
from fastcnn.transfer import transfer_learner

DATA = Path(os.environ.get('FASTCNN_DATA', '-'))


# Images: a list of (label, encoded image)

@cache
def table(name):
    column = 'img' if name == 'cifar10' else 'image'
    rows = pd.read_parquet(DATA/name/'test.parquet').sample(frac=1, random_state=1)
    return [(f'c{label}', cell['bytes']) for label, cell in zip(rows.label, rows[column])]


def encoded(image, **options):
    image.save(file := io.BytesIO(), **dict(format='PNG') | options)
    return file.getvalue()


def opened(data): return Image.open(io.BytesIO(data)).convert('RGB')


@cache
def zipped(name):
    with zipfile.ZipFile(DATA/f'{name}.zip') as file:
        images = [(path, file.read(path)) for path in file.namelist() if path.endswith('.jpg')]
    return random.Random(0).sample(images, len(images))


def ants_bees(): return [(path.split('/')[-2], data) for path, data in zipped('ants_bees')]
def photos(): return [(Path(path).stem, data) for path, data in zipped('photos')]


@cache
def pairs(n=5000):
    "Two digits of MNIST side by side: 00 to 99"
    images = table('mnist')[:2*n]
    both = [Image.new('RGB', (56, 56)) for _ in range(n)]
    for i, image in enumerate(both):
        for j in (0, 1): image.paste(opened(images[2*i + j][1]), (28*j, 14))
    return [(images[2*i][0] + images[2*i + 1][0], encoded(image)) for i, image in enumerate(both)]


@cache
def tiles():
    "Twelve parts of each photograph, which do not overlap: the photograph is the class"
    def parts(data):
        image = opened(data).resize((256, 192))
        return [encoded(image.crop((x, y, x + 64, y + 64))) for y in (0, 64, 128) for x in (0, 64, 128, 192)]
    return [(name, part) for name, data in photos()[:100] for part in parts(data)]


SOURCES = dict(ants_bees=ants_bees, photos=photos, pairs=pairs, tiles=tiles, cifar10=partial(table, 'cifar10'), mnist=partial(table, 'mnist'))


def chosen(source, n, classes, shares=None):
    "`n` images of the first classes in alphabetical order; `shares`: how many of each, where that is uneven"
    rows = SOURCES[source]()
    names = sorted({label for label, _ in rows})[:classes]
    if shares: return [row for name, share in zip(names, shares) for row in [r for r in rows if r[0] == name][:share]]
    return [row for row in rows if row[0] in names][:n]


def write(root, rows):
    "One folder per class, and a list"
    lines = []
    for i, (label, data) in enumerate(rows):
        name = f'{label}/{label}_{i}.{"jpg" if data[:2] == bytes([255, 216]) else "png"}'
        (root/label).mkdir(parents=True, exist_ok=True)
        (root/name).write_bytes(data)
        lines.append(f'{name},{label}')
    (root/'labels.csv').write_text('\n'.join(['name,label', *lines]) + '\n')
    return root


# DataLoaders

def fastais(make):
    def loaders(root, size, bs, **options):
        tfms = dict(item_tfms=Resize(size), batch_tfms=[*aug_transforms(size=size), Normalize.from_stats(*imagenet_stats)])
        return make(root, **dict(valid_pct=0.2, seed=3, bs=bs, num_workers=0) | tfms | options)
    return loaders


def folders(root): return sorted(path.name for path in root.iterdir() if path.is_dir())


LOADERS = dict(
    ours=lambda root, size, bs, **options: image_dataloaders(root, size, bs, num_workers=0, **options),
    resident=lambda root, size, bs: resident_dataloaders(image_dataloaders(root, size, bs, num_workers=0)),
    folder=fastais(ImageDataLoaders.from_folder),
    unknown=fastais(lambda root, **options: ImageDataLoaders.from_folder(root, vocab=folders(root), **options)), # classes in one part only
    all=fastais(lambda root, **options: ImageDataLoaders.from_folder(root, vocab=folders(root), **options | dict(valid_pct=0.01))),
    csv=fastais(ImageDataLoaders.from_csv),
    name_re=fastais(lambda root, **options: ImageDataLoaders.from_name_re(root, get_image_files(root), r'([^/]+)_\d+\.', **options)),
    bare=fastais(lambda root, **options: ImageDataLoaders.from_folder(root, **options | dict(batch_tfms=None)))) # no Normalize, no augmentation


# Trainings

def case(source, n, classes, arch='conv_stack', size=32, bs=64, epochs=5, lr=3e-3, dls='ours', fit='fit_one_cycle', shares=None, **options):
    return SimpleNamespace(**locals())


SMALL = dict(size=64, bs=8)
INTACT = [
    case('ants_bees', 5, 2, **SMALL, epochs=6), case('ants_bees', 10, 2, size=64, bs=4, epochs=8, dls='folder'),
    case('ants_bees', 20, 2, size=64, epochs=5), case('ants_bees', 60, 2, size=64, epochs=5, lr=1e-3),
    case('ants_bees', 120, 2, size=64, bs=16, epochs=5), case('ants_bees', 397, 2, size=64, bs=32, epochs=4, dls='csv'),
    case('ants_bees', 397, 2, size=64, epochs=4), case('ants_bees', 0, 2, size=64, bs=16, epochs=5, shares=(20, 140)),
    case('ants_bees', 244, 2, 'resnet20', size=48, bs=32, epochs=5, lr=1e-3, dls='name_re'),
    case('ants_bees', 5, 2, 'transfer', size=96, bs=4, epochs=3, fit='fine_tune'),
    case('ants_bees', 40, 2, 'transfer', size=96, bs=64, epochs=3, fit='fine_tune'),
    case('ants_bees', 160, 2, 'transfer', size=96, bs=16, epochs=2, fit='fine_tune', dls='csv'),
    case('ants_bees', 397, 2, 'transfer', size=96, bs=32, epochs=1, fit='fine_tune', lr=1e-3),
    case('ants_bees', 0, 2, 'transfer', size=96, bs=16, epochs=1, fit='fine_tune', shares=(15, 150)),
    case('ants_bees', 100, 2, 'transfer', size=96, bs=64, epochs=2, fit='fit_one_cycle'), # its head alone
    case('photos', 100, 100, size=64, bs=16, epochs=5, dls='all'), # one image a class, all but one of them to learn from
    case('photos', 100, 100, 'transfer', size=96, bs=16, epochs=2, fit='fine_tune', dls='unknown'),
    case('tiles', 0, 50, size=64, bs=8, epochs=8, shares=(2,)*50),
    case('tiles', 1200, 100, size=32, epochs=4), case('tiles', 240, 20, size=32, bs=16, epochs=6, dls='name_re'),
    case('tiles', 480, 40, 'transfer', size=64, bs=32, epochs=2, fit='fine_tune'),
    case('tiles', 96, 8, 'resnet20', size=32, bs=16, epochs=10, lr=1e-3),
    case('pairs', 1000, 100, size=56, epochs=4), case('pairs', 5000, 100, size=28, epochs=2, dls='resident'),
    case('pairs', 2000, 100, 'lenet', size=28, bs=32, epochs=4, lr=1e-3, dls='resident'),
    case('pairs', 600, 100, 'transfer', size=56, bs=32, epochs=2, fit='fine_tune'),
    case('mnist', 30, 10, size=28, bs=8, epochs=10), case('mnist', 100, 10, size=28, epochs=5),
    case('mnist', 1000, 10, 'lenet', size=28, epochs=3, dls='resident'), case('mnist', 5000, 10, size=28, epochs=1, dls='resident'),
    case('mnist', 0, 2, size=28, bs=32, epochs=5, shares=(280, 20)), case('mnist', 400, 2, 'mlp', size=28, epochs=3, lr=1e-3, dls='bare'),
    case('mnist', 300, 10, size=28, bs=16, epochs=3, lr=.05, opt_func=SGD),
    case('cifar10', 50, 2, size=32, bs=8, epochs=8), case('cifar10', 200, 10, size=32, epochs=5),
    case('cifar10', 500, 2, 'resnet20', size=32, bs=64, epochs=4, dls='resident'),
    case('cifar10', 2000, 10, size=32, epochs=3, dls='resident'), case('cifar10', 5000, 10, size=32, epochs=2, dls='resident', lr=1e-2),
    case('cifar10', 1000, 10, size=32, bs=32, epochs=4, dls='folder', cbs=[MixUp]),
    case('cifar10', 0, 4, size=32, bs=32, epochs=5, shares=(300, 100, 50, 20), loss_func=LabelSmoothingCrossEntropyFlat())]


def dataloaders(case, root):
    return LOADERS[case.dls](write(root, chosen(case.source, case.n, case.classes, case.shares)), case.size, case.bs)


def train(case, root, seed=0):
    "The Learner of a case, trained; `root` is where its images are written"
    set_seed(seed)
    dls = dataloaders(case, root)
    options = dict(case.options, cbs=[make() for make in case.options.get('cbs', ())])
    if case.arch == 'transfer': learn = transfer_learner(dls, **{k: v for k, v in options.items() if k == 'cbs'})
    else: learn = image_learner(dls, build_model(case.arch, len(dls.vocab), case.size), **options)
    with learn.no_bar(), learn.no_logging(): getattr(learn, case.fit)(case.epochs, case.lr)
    return learn
