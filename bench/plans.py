"""What `fastcnn train` reaches by itself on real images: one command, nothing chosen by hand.

    python bench/plans.py [--seeds 42 43 44] [--only ants few cifar10 mnist]     writes bench/results/plans.json

`ants`: PyTorch's ants and bees, `train/` to learn from, judged on `valid/`, beside fastai's own `fine_tune(4)` of the same body (its two-layer head,
its augmentation, 224 px, batches of 32, in the same process and on the same threads). `few`: 20 images a class of it. `cifar10`: 2,000 images, judged
on 2,000 others of the test file. `mnist`: 1,000 images, judged on 2,000 others. With each seed other images are drawn, and another validation part;
the images to judge by are the test part, which no plan looks at. `seconds` is the whole call, from the table to the exported and evaluated model, with an
empty cache; `again` the same once more, with what the cache has kept (of the photographs: small images are tuned and trained anew); `features` the time of the
features alone, both times.
"""
import argparse, json, os, sys, tempfile, time
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent/'tools'))
from machine import machine, own_process, spread
from realdata import found, need

RESULTS = HERE/'results'/'plans.json'
SETS = ('ants', 'few', 'cifar10', 'mnist')


def has(which):
    "Whether the files of a set are there; where not, a line says so"
    files = [f'{which}/{part}.parquet' for part in ('train', 'test')] if which in ('cifar10', 'mnist') else ['ants_bees.zip']
    missing = [name for name in files if not found(name)]
    if missing: print(f'{which}: left out, {" and ".join(missing)} missing: let FASTCNN_DATA name a folder that holds them', file=sys.stderr)
    return not missing


def table_of(which, seed):
    "The images to learn from, and the test part"
    from fastcnn.tables import image_table
    from transfer import sample
    if which in ('cifar10', 'mnist'):
        n = dict(cifar10=200, mnist=100)[which]
        parts = [sample(need(f'{which}/{part}.parquet').parent, part, number, seed).assign(part=part) for part, number in (('train', n), ('test', 200))]
        return pd.concat(parts, ignore_index=True)
    table = image_table(need('ants_bees.zip'))
    train, test = table[table.part == 'train'], table[table.part == 'valid'].assign(part='test')
    if which == 'few': train = pd.concat([rows.sample(20, random_state=seed) for _, rows in train.groupby('label')])
    return pd.concat([train, test], ignore_index=True)


def ours(which, seed):
    "What the plan reaches"
    from fastcnn.pipeline import train_classifier
    table, start = table_of(which, seed), time.perf_counter()
    found = train_classifier(table, seed=seed).summary()
    head = next(trial for trial in found['tried'] if trial['name'] == 'head')
    return dict(accuracy=found['accuracy'], kept=found['kept'], epochs=found['epochs'], size=found['size'], tried=found['tried'],
                head_seconds=head['seconds'], seconds=round(time.perf_counter() - start, 1))


def features_only(which, seed):
    "Seconds until the features of the images to learn from are there"
    from fastcnn.plans import frozen_learner
    from fastcnn.transfer import image_features
    learn = frozen_learner(table_of(which, seed), 'lite/efficientnet_lite0')
    start = time.perf_counter()
    found = image_features(learn, learn.dls.train.items)
    return dict(features=len(found), seconds=round(time.perf_counter() - start, 3))


def fastai_fine_tune(which, seed):
    "fastai's own way with the same body"
    import torch
    from fastai.vision.all import (CrossEntropyLossFlat, DataBlock, CategoryBlock, ColReader, ImageBlock, IndexSplitter, Learner, Normalize, PILImage, Resize,
                                   accuracy, aug_transforms, create_head, params, set_seed)
    from fastcnn.images import read_image
    from fastcnn.models import backbone_preprocessing, build_model, load_pretrained
    from fastcnn.tables import image_table
    table, start = table_of(which, seed), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for i, image in enumerate(table.image):
            files.append(Path(folder)/f'{i}.jpg')
            if isinstance(image, bytes): files[-1].write_bytes(image)
            else: files[-1] = Path(image)
        table = table.assign(file=files)
        set_seed(seed)
        its = backbone_preprocessing('lite/efficientnet_lite0')
        block = DataBlock((ImageBlock, CategoryBlock), get_x=ColReader('file'), get_y=ColReader('label'),
                          splitter=IndexSplitter(np.flatnonzero(table.part == 'test')), item_tfms=Resize(256),
                          batch_tfms=[*aug_transforms(size=224), Normalize.from_stats(its['mean'], its['std'])])
        dls = block.dataloaders(table, bs=32, num_workers=0)
        lite = build_model('lite/efficientnet_lite0', 1000, size=224)
        load_pretrained(lite)
        body = torch.nn.Module()
        body.lite, body.forward = lite, lite.extract_features
        for p in lite._fc.parameters(): p.requires_grad_(False)
        head = create_head(1280, len(dls.vocab))
        learn = Learner(dls, torch.nn.Sequential(body, head), loss_func=CrossEntropyLossFlat(), metrics=accuracy,
                        splitter=lambda m: [[p for name, p in m[0].named_parameters() if '_fc' not in name], params(m[1])])
        with learn.no_bar(), learn.no_logging(): learn.fine_tune(4)
        return dict(accuracy=float(learn.recorder.values[-1][2]), seconds=round(time.perf_counter() - start, 1))


JOBS = dict(ours=ours, fastai=fastai_fine_tune, features=features_only)


def measure(which, seeds):
    "The rows of one set"
    rows = []
    for seed in seeds:
        with tempfile.TemporaryDirectory() as pixels:
            row = dict(seed=seed, first=own_process(__file__, pixels, 'ours', which, seed))
            if which in ('ants', 'few'): row['again'] = own_process(__file__, pixels, 'ours', which, seed)
        with tempfile.TemporaryDirectory() as pixels:
            row['features'] = [own_process(__file__, pixels, 'features', which, seed)['seconds'] for _ in range(2)]
        if which == 'ants': row['fastai'] = own_process(__file__, pixels, 'fastai', which, seed)
        rows.append(row)
        print(which, json.dumps({key: row[key] for key in ('seed', 'first', 'features')} | {'fastai': row.get('fastai')}), flush=True)
    found = dict(accuracy=spread([row['first']['accuracy'] for row in rows]), seconds=spread([row['first']['seconds'] for row in rows], 1),
                 kept_features_to_first=spread([row['features'][1]/row['features'][0] for row in rows]), runs=rows)
    if 'again' in rows[0]: found['again_to_first'] = spread([row['again']['seconds']/row['first']['seconds'] for row in rows])
    if which == 'ants':
        found |= dict(fastai_accuracy=spread([row['fastai']['accuracy'] for row in rows]),
                      seconds_to_fastai=spread([row['first']['seconds']/row['fastai']['seconds'] for row in rows]))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--seeds', nargs='+', type=int, default=[42, 43, 44])
    parser.add_argument('--only', nargs='+', choices=SETS, default=SETS)
    parser.add_argument('--job')
    args = parser.parse_args()
    if args.job:
        name, *job = json.loads(args.job)
        print(json.dumps(JOBS[name](*job)))
        return
    from fastcnn.core import atomic_write
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for which in filter(has, args.only):
        found[which] = measure(which, args.seeds)
        found['machine'] = machine('torch', 'fastai', 'scikit-learn')
        atomic_write(RESULTS, json.dumps(found, indent=1))


if __name__ == '__main__': main()
