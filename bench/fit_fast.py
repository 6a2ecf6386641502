"""`fit_fast` beside the loops of articles C and E: their test accuracy, and how long it takes from the files.

    python bench/fit_fast.py [--seeds 5] [--images N]     writes bench/results/fit_fast.json

The peer is the article's loop as written: PIL images and ToTensor in a DataLoader of 2 workers, its batch size, Adam.
Before each of our seeds, `--peer` of its batches are timed (after 20 to warm up), and ten epochs are worked out from
them; the accuracy that ten epochs reach stands in articles.json, from `tools/articles.py`. The peer's images are
decoded beforehand and that is not counted. Ours are counted from the bytes of the files: hashing, splitting, decoding,
the cache (empty at each seed), whitening, all steps. Of 40,000 images for CIFAR-10, 59,600 for MNIST and 11,600 for
`mnist_soon`; the 400 that fastai validates on after each epoch are counted too. The test file is used for the accuracy
alone.
"""
import argparse, json, os, sys, tempfile, time
from itertools import islice
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent/'tools'))
from machine import machine, spread
from realdata import need

FAST = dict(cifar10=('cifar10', 40_400, dict(epochs=4, resident={})), # what is trained on what, and how
            mnist_soon=('mnist', 12_000, dict(epochs=1, resident=dict(flip=False))),
            mnist=('mnist', 60_000, dict(epochs=3, resident=dict(flip=False, shift=2))))
PEER = dict(cifar10='custom_cnn', mnist='mnist_cnn') # the articles' settings stand in tools/articles.py


def read(data, part):
    from fastcnn.tables import image_table
    return image_table(need(f'{data}/{part}.parquet'))


class Pictures:
    "As the article's DataLoader sees them"
    def __init__(self, table, mode):
        from PIL import Image
        from torchvision.transforms import ToTensor
        from fastcnn.images import read_image
        vocab = sorted(table.label.unique())
        self.images = [Image.fromarray(read_image(content)).convert(mode) for content in table.image]
        self.labels, self.to_tensor = [vocab.index(label) for label in table.label], ToTensor()

    def __len__(self): return len(self.images)
    def __getitem__(self, i): return self.to_tensor(self.images[i]), self.labels[i]


def peer_epoch(pictures, name, row, batches, warm=20):
    "Seconds of one epoch, worked out from so many batches"
    import torch
    from torch.utils.data import DataLoader
    from fastcnn.models import build_model
    x = pictures[0][0]
    model, loss_func = build_model(name, 10, row.size, len(x)), torch.nn.CrossEntropyLoss()
    optimizer = row.optimizer(model.parameters(), lr=row.lr)
    for i, (x, y) in enumerate(islice(DataLoader(pictures, row.batch_size, shuffle=True, num_workers=2), warm + batches)):
        if i == warm: start = time.perf_counter()
        optimizer.zero_grad(); loss_func(model(x), y).backward(); optimizer.step()
    return (time.perf_counter() - start)/batches*(row.train_images or len(pictures))/row.batch_size


def ours(table, test, size, seed, resident, **options):
    "Seconds by part, and accuracy"
    from fastai.metrics import accuracy
    from fastcnn.data import image_dataloaders, resident_dataloaders
    from fastcnn.fast import fit_fast, flip_shift_tta
    start = time.perf_counter()
    dls = image_dataloaders(table, size=size, valid_pct=400/len(table), seed=seed)
    data = time.perf_counter() - start
    learn = fit_fast(resident_dataloaders(dls, **resident), seed=seed, **options)
    seconds = time.perf_counter() - start
    dl = learn.dls.test_dl(test, with_labels=True)
    plain = float(learn.validate(dl=dl)[1])
    looks = float(accuracy(*flip_shift_tta(learn, dl, flip=resident.get('flip', True))))
    return dict(seed=seed, seconds=round(seconds, 1), data_seconds=round(data, 1), plain=round(plain, 4),
                accuracy=round(looks, 4), training_images=len(dls.train_ds))


def compare(row, seeds, images, batches):
    "One row of FAST: the peer's epoch and our training, in turns"
    import torch # before tools/articles.py, which would change how OpenMP's threads wait
    from articles import ROWS
    from tqdm import tqdm
    data, number, options = FAST[row]
    table, test = read(data, 'train'), read(data, 'test')
    name = PEER[data]
    pictures = Pictures(table, 'L' if data == 'mnist' else 'RGB')
    table = table.sample(images or number, random_state=42).reset_index(drop=True)
    runs = []
    for seed in tqdm(range(seeds), desc=row):
        peer = peer_epoch(pictures, name, ROWS[name], batches)
        with tempfile.TemporaryDirectory() as os.environ['FASTCNN_PIXELS']: found = ours(table, test, ROWS[name].size, seed, **options)
        runs.append(found | dict(peer_epoch_seconds=round(peer, 1)))
        runs[-1]['part'] = round(runs[-1]['seconds']/(10*peer), 4)
        print(row, runs[-1], file=sys.stderr, flush=True)
    return dict(peer=name, data=data, options=options, runs=runs, accuracy=spread([run['accuracy'] for run in runs]),
                part=spread([run['part'] for run in runs]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--seeds', type=int, default=5)
    parser.add_argument('--images', type=int, help='train on so many images only: to try the script out')
    parser.add_argument('--peer', type=int, default=150, help='batches of the peer that are timed before each seed')
    parser.add_argument('--out', type=Path, default=HERE/'results'/'fit_fast.json')
    args = parser.parse_args()
    for file in ('cifar10/train', 'cifar10/test', 'mnist/train', 'mnist/test'): need(f'{file}.parquet')
    from fastcnn.core import atomic_write
    found = {row: compare(row, args.seeds, args.images, args.peer) for row in FAST}
    atomic_write(args.out, json.dumps(machine('torch', 'fastai', 'torchvision', 'fastcnn') | found, indent=1) + '\n')


if __name__ == '__main__': main()
