"""Article E's transfer learning on few real photographs: a frozen pretrained backbone with a new head
beside our networks from scratch, in equal time.

    python tools/transfer.py                            EfficientNet-Lite0, whose weights come in a package;
                                                        writes bench/results/transfer.json
    python tools/transfer.py --arch resnet50 --size 224 the article's own network, where the web is at hand

50 images per class of CIFAR-10's training file (others with each seed), judged on the same 1,000 of its test file. The
backbone sees the images enlarged, and everything it needs is on its clock: decoding, enlarging, loading the weights,
every pass. A network from scratch then trains for exactly that long, on images that lie decoded in memory, with flips
and shifts, its learning rate following one cycle over the time. All runs on one thread, and the clock counts the
seconds of processor time of this process: on an idle machine the same as the seconds of a wall clock, which are written
down too, and on a busy one fair to both sides.
"""
import argparse, json, os, sys, time
from pathlib import Path

os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')

import numpy as np
import pandas as pd
import torch
from fastai.callback.schedule import combined_cos
from fastai.torch_core import set_seed
from torch.nn import functional as F

from fastcnn.core import atomic_write
from fastcnn.data import channel_stats, image_dataloaders
from fastcnn.evaluation import evaluate, mean_interval, predict_items
from fastcnn.images import read_image
from fastcnn.models import build_model
from fastcnn.tables import image_table
from fastcnn.transfer import transfer_learner
from machine import machine

RESULTS = Path(__file__).resolve().parent.parent/'bench'/'results'
SEEDS, PER_CLASS, TESTED, BATCH = (42, 43, 44), 50, 100, 25
EPOCHS, HEAD_RATE = 3, 1e-2
# Network → highest learning rate: article E's, and the library's default
SCRATCH = dict(custom_cnn=1e-3, resnet20=3e-3, conv_stack=3e-3)


def sample(data, part, per_class, seed):
    "`per_class` images of each class of a CIFAR-10 file"
    table = image_table(data/f'{part}.parquet')
    drawn = [rows.sample(per_class, random_state=seed) for _, rows in table.groupby('label')]
    return pd.concat(drawn, ignore_index=True)


def transferred(arch, size, train, test, seed):
    "Accuracy on `test` and seconds of training of the frozen backbone with a new head"
    start, wall = time.process_time(), time.time()
    set_seed(seed)
    dls = image_dataloaders(train, size=size, batch_size=BATCH, valid_pct=.1, seed=seed, batch_tfms=[], num_workers=0)
    learn = transfer_learner(dls, arch)
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(EPOCHS, HEAD_RATE)
    spent = dict(seconds=time.process_time() - start, wall_seconds=time.time() - wall, epochs=EPOCHS,
                 training_images=len(dls.train.dataset))
    return dict(accuracy=evaluate(*predict_items(learn, test), learn.dls.vocab).accuracy, **spent)


def tensors(table, vocab, mean, std):
    "(images (N, 3, 32, 32), normalised; labels (N,))"
    pixels = np.stack([read_image(image) for image in table.image])
    x = torch.tensor(pixels).permute(0, 3, 1, 2)/255
    labels = torch.tensor([vocab.index(label) for label in table.label])
    return (x - torch.tensor(mean).view(3, 1, 1))/torch.tensor(std).view(3, 1, 1), labels


def jittered(x):
    "Half of the images mirrored, all of them shifted together by up to 4 pixels"
    x = torch.where(torch.rand(len(x), 1, 1, 1) < .5, x.flip(3), x)
    down, right = torch.randint(9, (2,)).tolist()
    return F.pad(x, [4]*4, mode='reflect')[:, :, down:down + 32, right:right + 32]


def from_scratch(name, lr, seconds, train, test, seed):
    "Accuracy on `test` of a fresh network that has learnt for so many seconds"
    start, wall, steps = time.process_time(), time.time(), 0
    set_seed(seed)
    vocab, (mean, std) = sorted(train.label.unique()), channel_stats(train.image.tolist())
    images, labels = tensors(train, vocab, [float(m) for m in mean], [float(s) for s in std])
    rate = combined_cos(.25, lr/25, lr, lr/1e5)
    model = build_model(name, len(vocab), size=32).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=.01)
    while (gone := (time.process_time() - start)/seconds) < 1:
        for group in optimizer.param_groups: group['lr'] = rate(gone)
        batch = torch.randperm(len(images))[:BATCH]
        optimizer.zero_grad()
        F.cross_entropy(model(jittered(images[batch])), labels[batch]).backward()
        optimizer.step()
        steps += 1
    spent = dict(seconds=time.process_time() - start, wall_seconds=time.time() - wall,
                 epochs=round(steps*BATCH/len(images), 1), training_images=len(images))
    x, y = tensors(test, vocab, mean, std)
    with torch.no_grad(): answers = torch.cat([model.eval()(part) for part in x.float().split(250)])
    return dict(accuracy=float((answers.argmax(1) == y).float().mean()), **spent)


def summary(runs):
    "Mean and interval of the accuracies, and the runs"
    mean, half = mean_interval([run['accuracy'] for run in runs])
    return dict(mean=round(mean, 4), half_width=round(half, 4),
                runs=[{k: round(v, 4) for k, v in run.items()} for run in runs])


def transfer(arch='lite/efficientnet_lite0', size=96, seeds=SEEDS):
    "All networks with each seed, the backbone's time for each"
    if 'FASTCNN_DATA' not in os.environ:
        sys.exit('transfer: set FASTCNN_DATA to the folder that holds cifar10/train.parquet and cifar10/test.parquet')
    torch.set_num_threads(1)
    data, runs = Path(os.environ['FASTCNN_DATA'])/'cifar10', {}
    test = sample(data, 'test', TESTED, 0)
    for seed in seeds:
        train = sample(data, 'train', PER_CLASS, seed)
        first = dict(seed=seed, **transferred(arch, size, train, test, seed))
        runs.setdefault(arch, []).append(first)
        for name, lr in SCRATCH.items():
            scratch = from_scratch(name, lr, first['seconds'], train, test, seed)
            runs.setdefault(name, []).append(dict(seed=seed, **scratch))
        print(*((name, found[-1]) for name, found in runs.items()), sep='\n', file=sys.stderr, flush=True)
    networks = {name: summary(found) for name, found in runs.items()}
    best = max(SCRATCH, key=lambda name: networks[name]['mean'])
    ahead, half = mean_interval([ours['accuracy'] - theirs['accuracy'] for ours, theirs in zip(runs[arch], runs[best])])
    reported = 'ResNet-50, frozen, new head, 40,000 images: .8186 on the validation part'
    return dict(article='E', reported=reported, arch=arch, size=size, head='dropout .2, linear', data='CIFAR-10',
                images_per_class=PER_CLASS, test_images=len(test), threads=torch.get_num_threads(), networks=networks,
                best_from_scratch=best,
                ahead=dict(mean=round(ahead, 4), half_width=round(half, 4)))


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--arch', default='lite/efficientnet_lite0')
    parser.add_argument('--size', type=int, default=96,
                        help='side to which the backbone sees the images enlarged, pixels')
    args = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    result = machine('fastcnn', 'torch', 'fastai') | transfer(args.arch, args.size)
    atomic_write(RESULTS/'transfer.json', json.dumps(result, indent=1) + '\n')
    print(RESULTS/'transfer.json', file=sys.stderr)
