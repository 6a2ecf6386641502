"""Article A's whole ladder on the built-in planets: plain fastai as the article writes it beside fastcnn, the same networks, epochs and rates.

    python bench/ladder.py [--seeds 5] [--images 125]     writes bench/results/ladder_time.json

A ladder is ten epochs: six steps, a fresh network in each. The peer is fastai's own: DataBlock, `Resize(460)`,
`aug_transforms(size=200, max_rotate=20, max_zoom=1.2)`, the DataLoaders' own number of workers, Learner. Ours is
`image_dataloaders` and `fit_ladder`, first with an empty cache and then with a full one. The three take turns, each in
a process of its own, in another order for each seed; imports are not counted, making the DataLoaders is. The accuracy
is that of the last step, on each tool's own fifth of the images.
"""
import argparse, json, random, sys, tempfile, time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent/'tools'))
from machine import machine, own_process, spread

SIZE, BATCH, LR = 200, 64, 3e-3


def fastai(root, seed):
    from fastai.vision.all import (CategoryBlock, CrossEntropyLossFlat, DataBlock, ImageBlock, Learner, RandomSplitter,
                                   Resize, accuracy, aug_transforms, get_image_files, parent_label, set_seed)
    from fastcnn.models import conv_stack
    from fastcnn.training import LADDER
    start = time.perf_counter()
    block = DataBlock(blocks=(ImageBlock, CategoryBlock), get_items=get_image_files, get_y=parent_label,
                      splitter=RandomSplitter(seed=seed, valid_pct=0.2), item_tfms=Resize(460),
                      batch_tfms=aug_transforms(size=SIZE, max_rotate=20, max_zoom=1.2))
    for step in LADDER.itertuples():
        set_seed(seed)
        dls = block.dataloaders(root, bs=BATCH*step.batch_factor)
        learn = Learner(dls, conv_stack(len(dls.vocab), SIZE, step.stage), loss_func=CrossEntropyLossFlat(), metrics=accuracy)
        getattr(learn, step.schedule)(step.epochs, LR)
    return time.perf_counter() - start, learn.recorder.values[-1][-1]


def fastcnn(root, seed):
    from fastcnn.data import image_dataloaders
    from fastcnn.training import fit_ladder
    start = time.perf_counter()
    table = fit_ladder(image_dataloaders(root, size=SIZE, batch_size=BATCH, seed=seed), lr=LR, seed=seed)
    return time.perf_counter() - start, table.accuracy.iloc[-1]


def job(tool, root, seed):
    "Seconds and the last step's accuracy"
    import fastai.vision.all, fastcnn.data, fastcnn.training
    return globals()[tool](root, seed)


def main(args):
    from fastcnn.core import atomic_write
    from fastcnn.planets import planet_collection
    rng, runs = random.Random(2026), []
    with tempfile.TemporaryDirectory() as tmp:
        work = Path(tmp)
        planet_collection(work/'planets', n=args.images, seed=1, nuisances=0, duplicates=0, broken=0)
        for seed in range(args.seeds):
            caches = dict(fastai=work, filling=work/f'pixels-{seed}', filled=work/'pixels-full')
            run = lambda name: own_process(__file__, caches[name], 'fastai' if name == 'fastai' else 'fastcnn', str(work/'planets'), seed)
            if not seed: run('filled') # which fills it
            found = {name: run(name) for name in rng.sample(list(caches), len(caches))}
            runs.append(dict(seed=seed) | {f'{name}_{what}': round(value, 4) for name, pair in found.items()
                                           for what, value in zip(('seconds', 'accuracy'), pair)})
            print(runs[-1], file=sys.stderr, flush=True)
        number = len(list((work/'planets').glob('*/*.jpg')))
    parts = {f'part_{name}': spread([run[f'{name}_seconds']/run['fastai_seconds'] for run in runs], 3) for name in ('filling', 'filled')}
    result = machine('fastcnn', 'fastai', 'torch') | dict(images=number, size=SIZE, batch_size=BATCH, runs=runs) | parts
    atomic_write(args.out, json.dumps(result, indent=1) + '\n')
    print(json.dumps(parts))


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--seeds', type=int, default=5)
    parser.add_argument('--images', type=int, default=125, help='of each of the four planets')
    parser.add_argument('--out', type=Path, default=HERE/'results'/'ladder_time.json')
    parser.add_argument('--job', help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.job: print(json.dumps(job(*json.loads(args.job))))
    else: main(args)
