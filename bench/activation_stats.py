"""What ActivationStats costs beside fastai's own: in one training every second batch is measured, and each such batch is set against its neighbours.

    python bench/activation_stats.py [--repeats 3] [--batches 60] [--seed 2026]     writes bench/results/activation_stats.json

Three networks: `conv_stack` on 64 and 128 pixels, `custom_cnn` on 32, batches of 64 random images that lie in memory, so that the
network's own work is all there is to compare with. Processor time of a batch that is measured, over that of the batches before and behind it, which are
not: what else the machine does meets both alike. `a_measured_batch` is the median of these ratios in each repeat; `by_default` what a fit of 50 and of
500 batches then takes in all, of which the default measures fewer than all.
"""
import argparse, json, os, random, statistics, sys, time
from pathlib import Path

os.environ.setdefault('OMP_NUM_THREADS', '1')
HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent/'tools'))
from machine import machine, spread

NETWORKS = dict(conv_stack_64=('conv_stack', 64), conv_stack_128=('conv_stack', 128), custom_cnn_32=('custom_cnn', 32))
TOOLS = ('fastcnn', 'fastai')


def fit(stats, name, size, batches):
    "Processor time at which each batch of a fit with the callback `stats` began"
    import torch
    import fastai.callback.progress # adds no_bar to Learner
    from fastai.callback.core import Callback
    from fastai.data.core import DataLoaders
    from fastai.data.load import DataLoader
    from fastai.learner import Learner
    from fastai.losses import CrossEntropyLossFlat
    from fastai.torch_core import set_seed
    from fastcnn.models import build_model

    class Clock(Callback):
        order = -100 # before all others
        def before_fit(self): self.ticks = []
        def before_batch(self):
            if self.training: self.ticks.append(time.process_time())

    set_seed(0)
    x, y = torch.randn(64, 3, size, size), torch.randint(10, (64,))
    dls = DataLoaders(*[DataLoader([(x, y)]*n, bs=None) for n in (batches, 1)])
    learn, clock = Learner(dls, build_model(name, 10, size=size), loss_func=CrossEntropyLossFlat(), cbs=stats), Clock()
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3, cbs=clock)
    return clock.ticks


def times(tool, name, size, batches):
    "Processor time of a measured batch over that of its neighbours, for each measured batch of one fit but the first two"
    from fastai.callback.hook import ActivationStats as Fastais
    from fastcnn.diagnosis import ActivationStats
    ticks = fit(dict(fastcnn=ActivationStats, fastai=Fastais)[tool](with_hist=True, every=2), name, size, batches)
    took = [b - a for a, b in zip(ticks, ticks[1:])]
    return [2*took[i]/(took[i - 1] + took[i + 1]) for i in range(4, len(took) - 1, 2)]


def measured(batches):
    "How many of a fit's batches the default measures"
    from fastcnn.diagnosis import ActivationStats
    stats = ActivationStats()
    fit(stats, 'mlp', 8, batches)
    return len(stats.rows)


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--repeats', type=int, default=3)
    parser.add_argument('--batches', type=int, default=60)
    parser.add_argument('--seed', type=int, default=2026, help='in which order the tools run')
    args = parser.parse_args()
    rng, kept = random.Random(args.seed), {}
    for network, (name, size) in NETWORKS.items():
        found = {tool: [] for tool in TOOLS}
        for number in range(args.repeats):
            for tool in rng.sample(TOOLS, len(TOOLS)):
                found[tool].append(statistics.median(times(tool, name, size, args.batches)))
                print(f'{network}, repeat {number + 1}, {tool}: {found[tool][-1]:.3f}', file=sys.stderr, flush=True)
        cost = statistics.median(found['fastcnn']) - 1
        kept[network] = dict(a_measured_batch={tool: spread(ratios) for tool, ratios in found.items()},
                             by_default={n: round(1 + cost*measured(n)/n, 4) for n in (50, 500)})
    result = dict(about=machine('fastcnn', 'fastai', 'torch'), seed=args.seed, repeats=args.repeats, batches=args.batches,
                  threads=int(os.environ['OMP_NUM_THREADS']), networks=kept)
    print(json.dumps(result, indent=1))
    (HERE/'results'/'activation_stats.json').write_text(json.dumps(result, indent=1) + '\n')
