"""What ActivationStats costs: a training with it, one without and one with fastai's own, in the same run, in random order, repeated.

    python bench/activation_stats.py [--repeats 5] [--batches 50] [--seed 2026]     writes bench/results/activation_stats.json

Three networks: `conv_stack` on 64 and 128 pixels, `custom_cnn` on 32, batches of 64 random images that lie in memory, so that the
network's own work is all there is to compare with. Ratios are taken within a round; processor time, not the clock, so that what else
the machine does weighs less. `fastcnn` is the default, which measures each of a fit's first 20 batches and then every fifth: 26 of 50
batches, and fewer of a longer fit. `fastcnn_every_1` measures them all, as fastai's does.
"""
import argparse, json, os, random, statistics, sys, time
from pathlib import Path

os.environ.setdefault('OMP_NUM_THREADS', '1')
HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent/'tools'))
from machine import machine

NETWORKS = dict(conv_stack_64=('conv_stack', 64), conv_stack_128=('conv_stack', 128), custom_cnn_32=('custom_cnn', 32))


def callbacks(tool):
    from fastai.callback.hook import ActivationStats as Fastais
    from fastcnn.diagnosis import ActivationStats
    return dict(none=lambda: [], fastcnn=lambda: [ActivationStats()], fastcnn_every_1=lambda: [ActivationStats(every=1)], fastai=lambda: [Fastais(with_hist=True)])[tool]()


TOOLS = ('none', 'fastcnn', 'fastcnn_every_1', 'fastai')


def seconds(tool, name, size, batches):
    "Processor time of one fit"
    import torch
    import fastai.callback.schedule
    from fastai.data.core import DataLoaders
    from fastai.data.load import DataLoader
    from fastai.learner import Learner
    from fastai.losses import CrossEntropyLossFlat
    from fastai.torch_core import set_seed
    from fastcnn.models import build_model
    set_seed(0)
    x, y = torch.randn(64, 3, size, size), torch.randint(10, (64,))
    dls = DataLoaders(*[DataLoader([(x, y)]*n, bs=None) for n in (batches, 1)])
    learn = Learner(dls, build_model(name, 10, size=size), loss_func=CrossEntropyLossFlat(), cbs=callbacks(tool))
    start = time.process_time()
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)
    return time.process_time() - start


def spread(values): return dict(min=round(min(values), 4), median=round(statistics.median(values), 4), max=round(max(values), 4))


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--batches', type=int, default=50)
    parser.add_argument('--seed', type=int, default=2026, help='in which order the tools run')
    args = parser.parse_args()
    rng, kept = random.Random(args.seed), {}
    for network, (name, size) in NETWORKS.items():
        for tool in TOOLS: seconds(tool, name, size, 2) # the first run pays for imports and memory
        rounds = []
        for number in range(args.repeats):
            rounds.append({tool: seconds(tool, name, size, args.batches) for tool in rng.sample(TOOLS, len(TOOLS))})
            print(f'{network}, round {number + 1}:', {tool: round(s, 2) for tool, s in rounds[-1].items()}, file=sys.stderr, flush=True)
        kept[network] = dict(seconds_without=spread([r['none'] for r in rounds]), times_without={tool: spread([r[tool]/r['none'] for r in rounds]) for tool in TOOLS[1:]})
    found = dict(about=machine('fastcnn', 'fastai', 'torch'), seed=args.seed, repeats=args.repeats, batches=args.batches, threads=int(os.environ['OMP_NUM_THREADS']), networks=kept)
    print(json.dumps(found, indent=1))
    (HERE/'results'/'activation_stats.json').write_text(json.dumps(found, indent=1) + '\n')
