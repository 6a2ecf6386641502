"""What a second process brings: 2 processes with 1 thread each against 1 process with 2 threads, on the CPU.

    python bench/distributed.py [--seeds 5] [--epochs 8] [--images 320] [--size 64] [--batch-size 64] [--out FILE]     writes bench/results/distributed.json

The same images (planets drawn by `planet_collection`, those of each class in equal number), the same split and batch
size in all, the same network and schedule. Each training is a program of its own, started by torchrun with 1 or 2
processes; the two ways take turns, in an order drawn for each seed. `seconds` is what the fit took, without imports,
reading the folder, or a first epoch that fills the caches. `ratio` is the time of two processes over that of one with
the same seed: below 1, two are faster. `accuracy` is that of the validation part after the last epoch: the mean over
the seeds with Student's interval, as `mean_interval` has it. Speed is reported as it is.
"""
import argparse, json, os, random, subprocess, sys, tempfile, time
from copy import deepcopy
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent/'tools'))
from machine import machine, spread

THREADS = {1: 2, 2: 1} # processes → threads in each
NAMES = {1: '1 process of 2 threads', 2: '2 processes of 1 thread'}


def prepare(root, images, side):
    "Clean planets, no larger than they need be"
    from PIL import Image
    from fastcnn.images import image_files, read_image
    from fastcnn.planets import planet_collection
    planet_collection(root, n=images, seed=2, nuisances=0, duplicates=0, broken=0)
    for file in image_files(root):
        Image.fromarray(read_image(file)).resize((side, side)).save(file)


def train(root, seed, args):
    "One training, in each of the processes; the first prints what came out"
    import warnings
    warnings.filterwarnings('ignore')
    import torch
    from fastai.torch_core import rank_distrib, set_seed
    from fastcnn.data import image_dataloaders
    from fastcnn.distributed import distributed_fit
    from fastcnn.training import scratch_learner
    threads = int(os.environ['OMP_NUM_THREADS']) # for the network, and as many that read images
    torch.set_num_threads(threads)
    set_seed(seed)
    dls = image_dataloaders(root, size=args.size, batch_size=args.batch_size, num_workers=threads).cpu()
    learn = scratch_learner(dls)
    with learn.no_bar(), learn.no_logging():
        state = deepcopy(learn.model.state_dict())
        distributed_fit(learn, 1, 1e-6) # reads each image once, meets the other process
        learn.model.load_state_dict(state)
        learn.opt, start = None, time.perf_counter()
        distributed_fit(learn, args.epochs, 3e-3)
    if rank_distrib() == 0: print(json.dumps(dict(seconds=time.perf_counter() - start, accuracy=learn.recorder.values[-1][-1])))


def run(processes, root, seed, args):
    "Figures of a training in `processes` processes"
    options = ['--epochs', args.epochs, '--size', args.size, '--batch-size', args.batch_size, '--train', root, '--seed', seed]
    command = [sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node', processes, '--rdzv_backend', 'c10d',
               '--rdzv_endpoint', '127.0.0.1:0', __file__, *options]
    env = os.environ | dict(OMP_NUM_THREADS=str(THREADS[processes]), PYTHONWARNINGS='ignore')
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=env)
    if done.returncode: sys.exit(done.stderr[-3000:])
    return json.loads(done.stdout.strip().splitlines()[-1])


def summary(runs):
    "Accuracies and seconds of one way to train"
    from fastcnn.evaluation import mean_interval
    reached = [r['accuracy'] for r in runs]
    mean, half = mean_interval(reached)
    return dict(accuracies=[round(a, 4) for a in reached], accuracy=round(mean, 4),
                interval=[round(mean - half, 4), round(mean + half, 4)], seconds=spread([r['seconds'] for r in runs]))


def compare(args):
    "Both ways for each seed, in an order of its own"
    found = {processes: [] for processes in THREADS}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)/'planets'
        prepare(root, args.images, round(1.25*args.size))
        for seed in range(args.seeds):
            for processes in random.Random(seed).sample(list(THREADS), len(THREADS)):
                found[processes].append(run(processes, root, seed, args))
                print(f'seed {seed}, {NAMES[processes]}: {found[processes][-1]}', file=sys.stderr, flush=True)
    ratios = [two['seconds']/one['seconds'] for one, two in zip(found[1], found[2])]
    ways = {NAMES[processes]: summary(found[processes]) for processes in THREADS}
    return dict(about=machine('fastcnn', 'fastai', 'torch', 'accelerate'), seeds=args.seeds, epochs=args.epochs,
                images=args.images, size=args.size, batch_size=args.batch_size,
                ways=ways, ratio=spread(ratios))


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default, told in (('seeds', 5, 'trainings of each kind, at least 2'), ('epochs', 8, 'of each training'),
                                ('images', 320, 'of each planet'), ('size', 64, 'pixels'), ('batch-size', 64, 'in all')):
        parser.add_argument(f'--{name}', type=int, default=default, help=told)
    parser.add_argument('--out', type=Path, default=HERE/'results'/'distributed.json')
    parser.add_argument('--train', type=Path, help=argparse.SUPPRESS) # one of the programs that are compared
    parser.add_argument('--seed', type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.train: train(args.train, args.seed, args)
    else:
        result = compare(args)
        print(json.dumps(result, indent=1))
        args.out.write_text(json.dumps(result, indent=1) + '\n')
