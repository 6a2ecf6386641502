"""What each part of `fit_fast` is worth: without it, or with another in its place, on the CIFAR-10 training file.

    python bench/ablation.py [--seeds 5] [--images N] [--only NAME …]     writes bench/results/ablation.json
    python bench/ablation.py --only base plain --out bench/results/ablation_whitening.json

Trained on the whole training file (or on `--images` of it) but for 10,000 images, on which it is judged; the test file is not opened. Each variant
is `fit_fast` itself with other options, or with a callback that takes the part out. `cpu_seconds` is this process's processor time of the training
alone, `seconds` is what the clock says. The full size takes hours: each run is kept when it ends, in ablation.partial.json, and the same command
goes on from there; ablation.json is replaced when all runs are done.
"""
import argparse, json, os, sys, tempfile, time
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from unittest import mock

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent/'tools')]
from machine import machine
from realdata import need

EPOCHS, BATCH, JUDGED, VALID = 4, 256, 10_000, 400
LOOKS = ('plain', False, 0), ('flip', True, 0), ('flip_shift', True, 1)


@dataclass
class Variant:
    words:str # what it says on the page
    options:dict = field(default_factory=dict) # of `fit_fast`
    callbacks:list = field(default_factory=list)
    flip:bool = True # of the DataLoaders
    context:object = nullcontext # called: what holds while it trains


def before(change):
    "A callback that changes the Learner before it has an optimizer"
    from fastai.callback.core import Callback
    return type('Change', (Callback,), dict(after_create=lambda self: change(self.learn)))()


def network_variants():
    "Another network, or other weights at the start"
    import torch
    from fastcnn.models import Whitening

    def learnt_first_layer(learn):
        torch.nn.init.kaiming_normal_(learn.model[0].weight).requires_grad_(True)

    def random_filters(learn):
        for layer in learn.model.modules():
            if isinstance(layer, torch.nn.Conv2d) and not isinstance(layer, Whitening): torch.nn.init.kaiming_normal_(layer.weight)

    def plain(learn):
        learnt_first_layer(learn)
        random_filters(learn)

    return dict(
        learnt_first_layer=Variant('first layer learnt, not whitened', callbacks=[before(learnt_first_layer)]),
        random_filters=Variant('filters begin at random', callbacks=[before(random_filters)]),
        plain=Variant('first layer learnt, not whitened, and filters begin at random', callbacks=[before(plain)]))


def step_variants():
    "Other steps, other averages"
    import torch
    from fastai.callback.core import Callback
    from fastai.optimizer import OptimWrapper

    class Averaged(Callback):
        def before_fit(self):
            average = torch.optim.swa_utils.get_ema_multi_avg_fn(.98)
            self.mean = torch.optim.swa_utils.AveragedModel(self.model, multi_avg_fn=average, use_buffers=True)
        def after_step(self): self.mean.update_parameters(self.model)
        def after_fit(self): self.model.load_state_dict(self.mean.module.state_dict())

    def optimizer(opt, **options):
        return before(lambda learn: setattr(learn, 'opt_func', partial(OptimWrapper, opt=partial(opt, **options))))

    nesterov = optimizer(torch.optim.SGD, momentum=.9, nesterov=True)
    return dict(
        nesterov=Variant('Nesterov SGD instead of Muon', dict(lr=.2), [nesterov]),
        adam=Variant('Adam instead of Muon', dict(lr=.01), [optimizer(torch.optim.Adam)]),
        averaged=Variant('and the weights averaged', callbacks=[Averaged()]))


def image_variants():
    "Other images, or more of them"
    import torch
    from fastai.callback.core import Callback
    from fastai.torch_core import Tensor
    from fastcnn.fast import HardExampleMining

    class AnyImages(Callback):
        order = HardExampleMining.order + 1
        def after_loss(self):
            if self.training: self.learn.hard_example_mining.losses[self.dl.latest] = torch.rand(len(self.x))

    return dict(
        no_flips=Variant('no mirroring', flip=False),
        all_images=Variant('all images in each epoch', dict(hard=1.)),
        any_images=Variant('as many images, but any', callbacks=[AnyImages()]))


def machine_variants():
    "The same arithmetic, done in another way"
    float32 = partial(mock.patch, 'fastcnn.training.has_bfloat16', lambda device: False)
    return dict(float32=Variant('no bfloat16', context=float32))


def variants():
    "Name → variant; made anew for each run, because callbacks keep a state"
    return dict(base=Variant('as it is')) | network_variants() | step_variants() | image_variants() | machine_variants()


def run(name, seed, loaders, judged):
    "One training: its times and accuracies"
    from fastai.metrics import accuracy
    from fastcnn.fast import fit_fast, flip_shift_tta
    variant = variants()[name]
    started, cpu = time.perf_counter(), time.process_time()
    with variant.context(): learn = fit_fast(loaders[variant.flip], EPOCHS, BATCH, seed=seed, cbs=variant.callbacks, **variant.options)
    cpu, seconds = time.process_time() - cpu, time.perf_counter() - started
    found = dict(variant=name, seed=seed, cpu_seconds=round(cpu, 1), seconds=round(seconds, 1))
    for way, flip, shift in LOOKS[0 if name == 'base' else 2:]:
        found[way] = round(float(accuracy(*flip_shift_tta(learn, judged, flip=flip, shift=shift))), 4)
    return found


def data(images):
    "DataLoaders with and without mirroring, and the table of the images to judge by"
    import fit_fast as bench
    from fastcnn.data import image_dataloaders, resident_dataloaders
    table = bench.read('cifar10', 'train').sample(frac=1, random_state=7).reset_index(drop=True)
    judged, rest = table[:JUDGED], table[JUDGED:]
    rest = rest[:images + VALID] if images else rest
    dls = image_dataloaders(rest, size=32, valid_pct=VALID/len(rest), seed=0)
    return {flip: resident_dataloaders(dls, flip=flip) for flip in (True, False)}, judged.reset_index(drop=True)


def kept_runs(path, about):
    "The runs of an earlier call with the same settings on the same machine"
    if not path.exists(): return []
    kept = json.loads(path.read_text())
    return kept['runs'] if {name: kept.get(name) for name in about if name != 'date'} == {name: about[name] for name in about if name != 'date'} else []


def summary(runs):
    "A line for each variant: difference to the run with the same seed in points, with Student's interval, and time over its time"
    from fastcnn.evaluation import mean_interval
    base = {run['seed']: run for run in runs if run['variant'] == 'base'}
    for name in dict.fromkeys(run['variant'] for run in runs):
        pairs = [(run, base[run['seed']]) for run in runs if run['variant'] == name and run['seed'] in base]
        if name == 'base' or len(pairs) < 2: continue
        points, half = mean_interval([100*(run['flip_shift'] - other['flip_shift']) for run, other in pairs])
        times = {what: sum(run[what]/other[what] for run, other in pairs)/len(pairs) for what in ('cpu_seconds', 'seconds')}
        yield f'{name:20} {points:+.2f} ± {half:.2f} points, processor time × {times["cpu_seconds"]:.2f}, time × {times["seconds"]:.2f}, n={len(pairs)}'


def main(args):
    from fastcnn.core import atomic_write
    from tqdm import tqdm
    known = variants()
    if unknown := set(args.only) - set(known): sys.exit(f'ablation: no variant {", ".join(unknown)}; there are {", ".join(known)}')
    names, partial_file = args.only or list(known), args.out.with_suffix('.partial.json')
    with tempfile.TemporaryDirectory() as os.environ['FASTCNN_PIXELS']:
        loaders, table = data(args.images)
        judged = loaders[False].test_dl(table, with_labels=True)
        about = machine('fastcnn', 'torch', 'fastai') | dict(images=len(loaders[True].train_ds), judged=len(table), epochs=EPOCHS, batch_size=BATCH)
        runs = kept_runs(partial_file, about)
        keep = lambda path: atomic_write(path, json.dumps(about | dict(variants={name: known[name].words for name in names}, runs=runs), indent=1) + '\n')
        done = {(run['variant'], run['seed']) for run in runs}
        for seed, name in tqdm([(seed, name) for seed in range(args.seeds) for name in names if (name, seed) not in done]):
            runs.append(run(name, seed, loaders, judged))
            keep(partial_file)
            print(runs[-1], file=sys.stderr, flush=True)
    runs = [run for run in runs if run['variant'] in names and run['seed'] < args.seeds]
    keep(args.out)
    partial_file.unlink(missing_ok=True)
    print(*summary(runs), sep='\n')


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--seeds', type=int, default=5)
    parser.add_argument('--images', type=int, help='train on so many images only')
    parser.add_argument('--only', nargs='*', default=[], metavar='NAME', help='these variants alone')
    parser.add_argument('--out', type=Path, default=HERE/'results'/'ablation.json')
    args = parser.parse_args()
    need('cifar10/train.parquet')
    main(args)
