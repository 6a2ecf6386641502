"Small trainings that tests/test_distributed.py runs in one process and, through torchrun, in two: `torchrun --nproc_per_node 2 tests/together.py OUT`"
import os, sys
from pathlib import Path

import fastai.callback.progress # adds the progress bar, as `from fastai.vision.all import *` does
import torch
from fastai.callback.core import Callback, CancelFitException
from fastai.data.core import Datasets
from fastai.data.transforms import Categorize
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from fastai.metrics import F1Score, accuracy
from fastai.torch_core import num_distrib, rank_distrib, set_seed
from torch import nn

from fastcnn.core import InputError
from fastcnn.distributed import distributed_fit
from fastcnn.models import build_model
from fastcnn.training import Checkpoint
from fastcnn.transfer import FreezeBatchNorm, fine_tune_body

N, TRAIN = 58, 45 # 5 batches of 8 and 5 images left out; 13 to validate on, an odd number


def loaders(bs=8, shift=0):
    "Images of noise, a little brighter in each class"
    noise = torch.randn(N, 3, 12, 12, generator=torch.Generator().manual_seed(3))
    names = [f'{i + shift:02}' for i in range(N)]
    tfms = [[lambda i: noise[int(i) % N] + int(i) % 3*.3], [lambda i: int(i) % 3, Categorize()]]
    sets = Datasets(names, tfms, splits=[range(TRAIN), range(TRAIN, N)])
    return sets.dataloaders(bs=bs, num_workers=0, device=torch.device('cpu'))


def plain(): return nn.Sequential(nn.Conv2d(3, 6, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(6*5*5, 3))


def learner(model=plain, bs=8, shift=0, alike=False, **options):
    "Each process begins with random numbers of its own, unless `alike`: the weights and the order of the first process must win"
    set_seed(5 if alike else 5 + rank_distrib())
    return Learner(loaders(bs, shift), model(), loss_func=CrossEntropyLossFlat(), metrics=[accuracy, F1Score(average='macro')], **options)


def told(learn):
    "What a fit has left behind, as tensors, numbers and names"
    record = learn.recorder
    history = dict(values=[list(map(float, v)) for v in record.values], losses=list(map(float, record.losses)), lrs=list(map(float, record.lrs)))
    return history | dict(weights=learn.model.state_dict(), kind=type(learn.model).__name__, layers=[type(m).__name__ for m in learn.model.modules()],
                loader=type(learn.dls.train).__name__, bs=learn.dls.bs, bar=hasattr(learn, 'progress'), logs=learn.logger is print, world=num_distrib())


class Stop(Callback):
    "After the first epoch, when it is kept"
    order = 99
    def after_epoch(self):
        if self.epoch == 0: raise CancelFitException


class Dice(Callback):
    "What this process's random numbers are, and which images it gets"
    def before_fit(self): self.rolled, self.images = [], []
    def before_batch(self): self.rolled.append(float(torch.rand(1))); self.images.append(len(self.xb[0]))


def fits(out):
    learn = learner()
    distributed_fit(learn, 3, 1e-2)
    return told(learn)


def resumed(out):
    learn = learner()
    distributed_fit(learn, 3, 1e-2, cbs=[Checkpoint(out/'kept.pt'), Stop()])
    first, learn = len(learn.recorder.values), learner()
    distributed_fit(learn, 3, 1e-2, cbs=Checkpoint(out/'kept.pt'))
    return told(learn) | dict(first=first)


def batchnorm(out):
    learn, dice = learner(lambda: build_model('conv_stack', 3, size=12), alike=True), Dice()
    distributed_fit(learn, 1, 1e-2, schedule='fit', cbs=dice)
    found = told(learn) | dict(rolled=dice.rolled, images=dice.images)
    with learn.no_bar(): alone = [float(v) for v in learn.validate()] if rank_distrib() == 0 else None # without the others
    return found | dict(alone=alone)


def tuned(out):
    "The first layer frozen, then both; with an optimizer that goes on"
    learn = learner(splitter=lambda m: [list(m[0].parameters()), list(m[1:].parameters())])
    before = {name: p.clone() for name, p in learn.model.state_dict().items()}
    distributed_fit(learn, 1, 1e-2, schedule='fine_tune')
    return told(learn) | dict(before=before)


def three_groups():
    layers = nn.Conv2d(3, 6, 3, stride=2), nn.BatchNorm2d(6), nn.Conv2d(6, 6, 3, groups=6), nn.ReLU(), nn.Conv2d(6, 6, 1)
    return nn.Sequential(nn.Sequential(*layers[:2]), nn.Sequential(*layers[2:]), nn.Sequential(nn.Flatten(), nn.Linear(6*3*3, 3)))


def body(out):
    "transfer's fine-tuning: what is frozen, BatchNorm, depthwise convolutions and a loss of its own, in bfloat16 where there is such"
    groups = lambda model: [list(part.parameters()) for part in model]
    learn = learner(three_groups, splitter=groups, train_bn=False, cbs=FreezeBatchNorm())
    before = {name: p.clone() for name, p in learn.model.state_dict().items()}
    loss = learn.loss_func
    distributed_fit(learn, 2, 1e-2, schedule=fine_tune_body)
    return told(learn) | dict(before=before, own_loss=learn.loss_func is loss, learning=[p.requires_grad for p in learn.model.parameters()])


def refused(out):
    "What the processes are told of inputs that cannot work"
    found = {}
    for name, options in dict(uneven=dict(bs=7), different=dict(shift=rank_distrib())).items():
        try: distributed_fit(learner(**options), 1)
        except InputError as error: found[name] = str(error)
    return found


def fail():
    "Process 1 meets a broken image in its second epoch"
    class Fail(Callback):
        def before_batch(self):
            if self.epoch == 1 and rank_distrib() == 1: raise ValueError('a broken image')
    distributed_fit(learner(), 3, 1e-2, cbs=Fail())
    print('went on as if nothing had happened')


if __name__ == '__main__':
    out = Path(sys.argv[1])
    torch.save({f.__name__: f(out) for f in (fits, resumed, batchnorm, tuned, body, refused)}, out/f'process-{os.environ["RANK"]}.pt')
    fail()
