"""Augmented batches of images beside fastai's own DataLoaders and a tuned torchvision-v2 DataLoader: images a second.

    python bench/batches.py [--repeats 3]

Article A's recipe at 200 pixels. Two data sets: 200 web photographs five times (each file with a tail of its own, so
that no content is the same twice) and the built-in planets. An epoch is all batches of the training and of the
validation part; the first one begins when the DataLoaders are made, and for fastcnn with an empty cache. fastai is run
with 0, 1 and 2 workers, torchvision with 1 and 2: the best counts. Each run is a process of its own, in random order
within each repeat.
"""
import argparse, json, random, shutil, statistics, sys, tempfile, time, zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent/'tools'))
from machine import machine, own_process, spread
from realdata import need

SIZE, BATCH = 200, 64
RUNS = [('fastcnn', 0), ('fastai', 0), ('fastai', 1), ('fastai', 2), ('torchvision', 1), ('torchvision', 2)]


def photographs(folder, copies):
    "The photographs of FASTCNN_DATA in two classes"
    with zipfile.ZipFile(need('photos.zip')) as archive:
        for i, name in enumerate(n for n in archive.namelist() if n.endswith('.jpg')):
            for copy in range(copies):
                file = folder/f'{i % 2}'/f'{i}-{copy}.jpg'
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(archive.read(name) + copy.to_bytes(2, 'big')) # decoders stop in front of the tail


def planets(folder):
    from fastcnn.planets import planet_collection
    planet_collection(folder, n=125, seed=1, nuisances=0, duplicates=0, broken=0)


def fastcnn(root, workers):
    from fastcnn.data import image_dataloaders
    return image_dataloaders(root, size=SIZE, batch_size=BATCH)


def fastai(root, workers):
    from fastai.vision.all import (CategoryBlock, DataBlock, ImageBlock, Normalize, RandomSplitter, Resize,
                                   aug_transforms, get_image_files, imagenet_stats, parent_label)
    augmented = [*aug_transforms(size=SIZE, max_rotate=20, max_zoom=1.2), Normalize.from_stats(*imagenet_stats)]
    block = DataBlock(blocks=(ImageBlock, CategoryBlock), get_items=get_image_files, get_y=parent_label,
                      splitter=RandomSplitter(seed=42, valid_pct=0.2), item_tfms=Resize(460), batch_tfms=augmented)
    return block.dataloaders(root, bs=BATCH, num_workers=workers)


def torchvision(root, workers):
    "Decoded to bytes, cropped straight to the size, everything else on 200 pixels, workers that stay and read ahead"
    import torch
    from torch.utils.data import DataLoader, Subset
    from torchvision.datasets import ImageFolder
    from torchvision.io import ImageReadMode, decode_image, read_file
    from torchvision.transforms import InterpolationMode, v2
    torch.set_num_threads(1)
    last = [v2.ToDtype(torch.float32, scale=True), v2.Normalize([.485, .456, .406], [.229, .224, .225])]
    train = v2.Compose([v2.RandomResizedCrop(SIZE, scale=(1/1.44, 1), ratio=(1, 1), antialias=True),
                        v2.RandomHorizontalFlip(), v2.RandomRotation(20, InterpolationMode.BILINEAR),
                        v2.RandomPerspective(.2, .75), v2.ColorJitter(.2, .2), *last])
    valid = v2.Compose([v2.Resize(SIZE, antialias=True), v2.CenterCrop(SIZE), *last])
    load = lambda path: decode_image(read_file(path), ImageReadMode.RGB)
    sets = [ImageFolder(root, transform=transform, loader=load) for transform in (train, valid)]
    order = torch.randperm(len(sets[0])).tolist()
    parts = order[len(order)//5:], order[:len(order)//5]
    return [DataLoader(Subset(data, part), BATCH, shuffle=data is sets[0], drop_last=data is sets[0],
                       num_workers=workers, persistent_workers=True, prefetch_factor=4)
            for data, part in zip(sets, parts)]


def job(tool, workers, root, epochs):
    "Images a second in each epoch, imports not counted"
    import fastai.vision.all, torch, torchvision.transforms.v2
    from fastcnn.data import image_dataloaders
    torch.manual_seed(0), random.seed(0)
    rates, start = [], time.perf_counter()
    dls = globals()[tool](root, workers)
    for _ in range(epochs):
        images = sum(len(x) for dl in dls for x, _ in dl)
        rates.append(images/(time.perf_counter() - start))
        start = time.perf_counter()
    return rates


def compare(root, repeats, work, rng):
    "Images a second of each tool, and the ratios within each repeat"
    rates = {tool: [] for tool, _ in RUNS}
    for number in range(repeats):
        found = {}
        for tool, workers in rng.sample(RUNS, len(RUNS)):
            first, *later = own_process(__file__, work/'pixels', tool, workers, str(root), 6 if tool == 'fastcnn' else 2)
            shutil.rmtree(work/'pixels', ignore_errors=True)
            found.setdefault(tool, []).append((first, statistics.median(later)))
            print(f'repeat {number + 1}, {tool} with {workers} workers: {first:.0f}, then {found[tool][-1][1]:.0f} images/s', file=sys.stderr, flush=True)
        for tool, pairs in found.items(): rates[tool].append([max(values) for values in zip(*pairs)])
    result = {tool: {epoch: spread([pair[i] for pair in pairs], 2) for i, epoch in enumerate(('first', 'later'))} for tool, pairs in rates.items()}
    for tool in ('fastai', 'torchvision'):
        for i, epoch in enumerate(('first', 'later')):
            times = [a[i]/b[i] for a, b in zip(rates['fastcnn'], rates[tool])]
            result[tool][f'fastcnn_times_{epoch}'] = spread(times, 2)
    return result


def stages(root):
    "Milliseconds of one core for each step of one image, the median over the images: where the time goes, and what bounds it"
    import hashlib
    from fastcnn.data import PixelCache, image_dataloaders
    took = {}
    def timed(step, function, count=1):
        start = time.process_time()
        value = function()
        took.setdefault(step, []).append(1e3*(time.process_time() - start)/count)
        return value
    cache, files = PixelCache(SIZE), sorted(Path(root).glob('*/*.jpg'))[:300]
    for file in files:
        data = timed('read the file', file.read_bytes)
        content = timed('hash it', lambda: hashlib.sha256(data).hexdigest())
        with cache.reader() as read:
            timed('decode and make smaller', lambda: read(None, data, margin=True))
            timed('the same for validation', lambda: read(None, data))
        timed('write to the cache', lambda: cache.fill([content], [data], margin=True))
        took['write to the cache'][-1] -= took['decode and make smaller'][-1] # it decodes, too
        with cache.reader() as read: timed('look up', lambda: read(content, None, margin=True))
    train, valid = image_dataloaders(root, size=SIZE, batch_size=BATCH, num_workers=1)
    for dl, step in ((train, 'a training batch'), (valid, 'a validation batch')):
        for which in [list(range(start, start + BATCH)) for start in range(0, len(dl.dataset) - BATCH, BATCH)]:
            timed(step, lambda: next(dl.create_batches(which)), BATCH)
    return {step: round(statistics.median(values), 3) for step, values in took.items()}


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--repeats', type=int, default=3)
    parser.add_argument('--seed', type=int, default=2026, help='in which order the tools run')
    parser.add_argument('--job', help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.job:
        name, *rest = json.loads(args.job)
        print(json.dumps(stages(*rest) if name == 'stages' else job(name, *rest)))
        sys.exit()
    rng, kept = random.Random(args.seed), {}
    with tempfile.TemporaryDirectory() as tmp:
        work = Path(tmp)
        photographs(work/'photographs', 5), planets(work/'planets')
        for name in ('photographs', 'planets'):
            kept[name] = dict(images=len(list((work/name).glob('*/*.jpg'))),
                              tools=compare(work/name, args.repeats, work, rng),
                              milliseconds=own_process(__file__, work/'pixels', 'stages', str(work/name)))
            shutil.rmtree(work/'pixels', ignore_errors=True)
    about = machine('fastcnn', 'fastai', 'torch', 'torchvision', 'opencv-python-headless', 'lmdb', 'Pillow')
    result = dict(about=about, seed=args.seed, repeats=args.repeats, size=SIZE, batch_size=BATCH, data=kept)
    print(json.dumps(result, indent=1))
    (HERE/'results'/'batches.json').write_text(json.dumps(result, indent=1) + '\n')
