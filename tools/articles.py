"""The networks of articles B, C, D and E, trained at their articles' settings, beside what the articles report:
bench/results/articles.json

    python tools/articles.py                 every row of ROWS, each with its seeds (some hours on 2 idle cores)
    python tools/articles.py simple_cnn …    these rows; the others in the file stay
    python tools/articles.py custom_cnn --seeds 43 44 --threads 1    these seeds only, beside the ones in the file

The images come from the CIFAR-10 and MNIST files of FASTCNN_DATA. They are decoded once and kept as tensors, where the
articles decode them again in every epoch, and the network keeps its numbers channels-last, which is faster on a CPU:
the batches and the arithmetic are the articles', only the waiting is less.
"""
import argparse, json, os, sys, tempfile, time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')

import numpy as np
import torch
from filelock import FileLock
from tqdm import tqdm

from fastcnn.core import atomic_write
from fastcnn.evaluation import evaluate
from fastcnn.images import read_image
from fastcnn.models import build_model
from fastcnn.tables import image_table
from machine import machine

RESULTS = Path(__file__).resolve().parent.parent/'bench'/'results'/'articles.json'
ADAM, SGD = torch.optim.Adam, torch.optim.SGD


@dataclass(frozen=True)
class Row:
    "What an article trains, and what it reports"
    article:str
    data:str # Folder of FASTCNN_DATA
    size:int # Pixels
    batch_size:int
    optimizer:type
    lr:float
    article_epochs:int
    reported:dict # The article's figures
    normalize:tuple = None # Mean and standard deviation of the channels, as the article gives them
    train_images:int = None # None: all of the training file
    epochs:int = None # Where the article's are too many for 2 cores; None: the article's
    seeds:tuple = (42, 43, 44)


CIFAR_B = [.4670, .4735, .4662], [.2496, .2489, .2521] # the article's own; they are not those of CIFAR-10
ROWS = dict(
    simple_cnn=Row('E', 'cifar10', 32, 32, ADAM, .001, 10, train_images=40_000,
                   reported=dict(accuracy=.6119, f1=.6144, precision=.6214, recall=.6122)),
    # five seeds, set after the first three gave .979: at this rate the last epoch's figure jumps
    mnist_cnn=Row('C', 'mnist', 28, 100, ADAM, .01, 10, dict(accuracy=.9806), seeds=(42, 43, 44, 45, 46)),
    custom_cnn=Row('E', 'cifar10', 32, 32, ADAM, .001, 10, train_images=40_000,
                   reported=dict(accuracy=.8297, f1=.8286, precision=.8292, recall=.8298)),
    mlp=Row('E', 'cifar10', 32, 32, ADAM, .001, 10, {}, train_images=40_000), # the baseline: the article has no figure
    course_cnn=Row('D', 'mnist', 28, 100, ADAM, .001, 3, dict(parameters=34_826)),
    conv_neural_net=Row('B', 'cifar10', 32, 64, SGD, .008, 50, dict(accuracy=.80), CIFAR_B, epochs=8, seeds=(42,)))


@cache
def read(data, part, channels):
    "(images (N, C, H, W) uint8, labels (N,), names of the classes) of a parquet file"
    path = Path(os.environ['FASTCNN_DATA'])/data/f'{part}.parquet'
    table = image_table(path)
    images = tqdm(table.image, desc=f'decoding {path.name}', leave=False)
    pixels = np.stack([read_image(image)[..., :channels] for image in images]) # the three of a grey image are the same
    vocab = sorted(table.label.unique())
    return torch.tensor(pixels).permute(0, 3, 1, 2), torch.tensor([vocab.index(l) for l in table.label]), vocab


def scale(images, normalize):
    "uint8 → float in [0, 1], or normalised"
    x = images.float()/255
    if normalize is None: return x
    mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in normalize)
    return (x - mean)/std


def train(row, model, images, labels, seed):
    "The article's loop: shuffled batches, one optimizer step each; mean loss of each epoch"
    generator, loss_func = torch.Generator().manual_seed(seed), torch.nn.CrossEntropyLoss()
    optimizer, losses = row.optimizer(model.parameters(), lr=row.lr), []
    for epoch in range(row.epochs or row.article_epochs):
        total = 0.
        batches = torch.randperm(len(images), generator=generator).split(row.batch_size)
        for batch in tqdm(batches, desc=f'epoch {epoch + 1}', leave=False, mininterval=5):
            if len(batch) == 1: continue # BatchNorm has nothing to average over
            loss = loss_func(model(scale(images[batch], row.normalize)), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.detach()*len(batch)
        losses.append(float(total)/len(images))
    return losses


@torch.no_grad()
def judge(row, model, images, labels, vocab):
    "What the trained network does with the test file"
    model.eval()
    probabilities = torch.cat([model(scale(x, row.normalize)).softmax(1) for x in images.split(500)])
    judged = evaluate(probabilities.numpy(), labels.numpy(), vocab).summary()
    return {key: judged[key] for key in ('accuracy', 'f1', 'precision', 'recall')}


def run(name, row, seed, data):
    "One training, one judgement"
    (images, labels, vocab), test = data
    if row.train_images: # the article's split; what it validates on is left aside, since nothing is chosen by it
        kept = torch.randperm(len(images), generator=torch.Generator().manual_seed(42))[:row.train_images]
        images, labels = images[kept], labels[kept]
    torch.manual_seed(seed)
    model = build_model(name, len(vocab), row.size, images.shape[1]).to(memory_format=torch.channels_last)
    start, cpu = time.time(), time.process_time()
    losses = train(row, model.train(), images, labels, seed)
    spent = dict(seconds=round(time.time() - start), cpu_seconds=round(time.process_time() - cpu))
    losses = [round(loss, 4) for loss in losses]
    found = dict(seed=seed, threads=torch.get_num_threads(), **spent, losses=losses, **judge(row, model, *test))
    print(name, found, file=sys.stderr, flush=True)
    return found, sum(p.numel() for p in model.parameters())


def keep(name, found, **about):
    "One more run of the row into the file; a run of the same seed is replaced, all else stays"
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(Path(tempfile.gettempdir())/'fastcnn-articles.lock'): # two processes may train
        rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        runs = {run['seed']: run for run in rows.get(name, {}).get('runs', [])} | {found['seed']: found}
        rows[name] = about | dict(runs=[runs[seed] for seed in sorted(runs)])
        atomic_write(RESULTS, json.dumps({n: rows[n] for n in ROWS if n in rows}, indent=1) + '\n')


def reproduce(name, seeds=None):
    "Train the row with each seed; the file has what is known after each"
    row, channels = ROWS[name], 1 if ROWS[name].data == 'mnist' else 3
    data = read(row.data, 'train', channels), read(row.data, 'test', channels)
    for seed in seeds or row.seeds:
        found, parameters = run(name, row, seed, data)
        keep(name, found | machine('fastcnn', 'torch'), article=row.article, data=row.data, reported=row.reported,
             optimizer=row.optimizer.__name__, lr=row.lr, batch_size=row.batch_size, article_epochs=row.article_epochs,
             epochs=row.epochs or row.article_epochs, training_images=row.train_images or len(data[0][0]),
             parameters=parameters)


def main(names=(), seeds=None):
    if 'FASTCNN_DATA' not in os.environ:
        sys.exit('articles: set FASTCNN_DATA to the folder that holds cifar10/ and mnist/, '
                 'each with train.parquet and test.parquet')
    for name in names or ROWS: reproduce(name, seeds)


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('rows', nargs='*', metavar='ROW', help=', '.join(ROWS), choices=[*ROWS, []])
    parser.add_argument('--seeds', nargs='+', type=int)
    parser.add_argument('--threads', type=int)
    args = parser.parse_args()
    if args.threads: torch.set_num_threads(args.threads)
    main(args.rows, args.seeds)
