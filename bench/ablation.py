"""What each part of `fit_fast` is worth: without it, or with another in its place, on the CIFAR-10 training file.

    python bench/ablation.py [--seeds 3] [--images 10000] [--only NAME …]     writes bench/results/ablation.json

Trained on `--images` of the training file and judged on 10,000 others of the same file; the test file is not opened. Each variant is `fit_fast` itself with other options,
or with a callback that takes the part out. Seconds are this process's processor time of the training alone.
"""
import argparse, json, sys, tempfile, time, os
from functools import partial
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent/'tools')]
from machine import machine

EPOCHS, BATCH, JUDGED = 4, 256, 10_000
LOOKS = ('plain', False, 0), ('flip', True, 0), ('flip_shift', True, 1)


def variants():
    "name: (what it says on the page, options of `fit_fast`, its callbacks, flips of the DataLoaders)"
    import torch
    from fastai.callback.core import Callback
    from fastai.callback.schedule import ParamScheduler
    from fastai.optimizer import OptimWrapper
    from fastai.torch_core import Tensor
    from fastcnn.models import Whitening
    from fastcnn.fast import HardExampleMining

    def before(change):
        "A callback that changes the Learner before it has an optimizer"
        return type('Change', (Callback,), dict(after_create=lambda self: change(self.learn)))()

    def learnt_first_layer(learn):
        torch.nn.init.kaiming_normal_(learn.model[0].weight).requires_grad_(True)

    def random_filters(learn):
        for layer in learn.model.modules():
            if isinstance(layer, torch.nn.Conv2d) and not isinstance(layer, Whitening): torch.nn.init.kaiming_normal_(layer.weight)

    def learnt_scales(learn):
        for layer in learn.model.modules():
            if isinstance(layer, torch.nn.BatchNorm2d): layer.weight.requires_grad_(True)

    def optimizer(opt, **options):
        return before(lambda learn: setattr(learn, 'opt_func', partial(OptimWrapper, opt=partial(opt, **options))))

    class ShiftRate(Callback):
        order = ParamScheduler.order + 1
        def before_batch(self):
            if not self.training: return
            filters, shifts, _ = self.opt.opt.param_groups
            shifts['lr'] = filters['lr']

    class CoinFlips(Callback):
        def before_batch(self):
            x = Tensor.as_subclass(self.x, Tensor)
            if self.training: self.learn.xb = torch.where((torch.rand(len(x)) < .5).view(-1, 1, 1, 1), x.flip(-1), x).contiguous(memory_format=torch.channels_last),

    class AnyImages(Callback):
        order = HardExampleMining.order + 1
        def after_loss(self):
            if self.training: self.learn.hard_example_mining.losses[self.dl.latest] = torch.rand(len(self.x))

    class Averaged(Callback):
        def before_fit(self): self.mean = torch.optim.swa_utils.AveragedModel(self.model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(.98), use_buffers=True)
        def after_step(self): self.mean.update_parameters(self.model)
        def after_fit(self): self.model.load_state_dict(self.mean.module.state_dict())

    return {
        'base': ('as it is', {}, [], True),
        'learnt_first_layer': ('first layer learnt, not whitened', {}, [before(learnt_first_layer)], True),
        'random_filters': ('filters begin at random', {}, [before(random_filters)], True),
        'learnt_scales': ("BatchNorm's scales learnt too", {}, [before(learnt_scales)], True),
        'shift_rate': ("BatchNorm's shifts at the filters' rate", {}, [ShiftRate()], True),
        'coin_flips': ('a coin for each mirroring', {}, [CoinFlips()], False),
        'no_flips': ('no mirroring', {}, [], False),
        'no_smoothing': ('no label smoothing', dict(label_smoothing=0.), [], True),
        'nesterov': ('Nesterov SGD instead of Muon', dict(lr=.2), [optimizer(torch.optim.SGD, momentum=.9, nesterov=True)], True),
        'adam': ('Adam instead of Muon', dict(lr=.01), [optimizer(torch.optim.Adam)], True),
        'all_images': ('all images in each epoch', dict(hard=1.), [], True),
        'any_images': ('as many images, but any', {}, [AnyImages()], True),
        'averaged': ('and the weights averaged', {}, [Averaged()], True),
        'full_size': ('32 pixels in the first epoch too', dict(small_epochs=0), [], True),
    }


def main(args):
    import fit_fast as bench
    from fastai.metrics import accuracy
    from tqdm import tqdm
    from fastcnn.core import atomic_write
    from fastcnn.data import image_dataloaders, resident_dataloaders
    from fastcnn.fast import fit_fast, flip_shift_tta
    known = variants()
    if unknown := set(args.only) - set(known): sys.exit(f'ablation: no variant {", ".join(unknown)}; there are {", ".join(known)}')
    names = args.only or list(known)
    table = bench.read('cifar10', 'train').sample(frac=1, random_state=7).reset_index(drop=True)
    judged, table = table[:JUDGED], table[JUDGED:JUDGED + args.images + 400]
    with tempfile.TemporaryDirectory() as os.environ['FASTCNN_PIXELS']:
        dls = image_dataloaders(table, size=32, valid_pct=400/len(table), seed=0)
        flips = {flip: resident_dataloaders(dls, flip=flip) for flip in (True, False)}
        dl = flips[False].test_dl(judged.reset_index(drop=True), with_labels=True)
        runs = []
        for seed, name in tqdm([(seed, name) for seed in range(args.seeds) for name in names]):
            words, options, callbacks, flip = variants()[name]
            start = time.process_time()
            learn = fit_fast(flips[flip], EPOCHS, BATCH, seed=seed, cbs=callbacks, **options)
            took = time.process_time() - start
            looks = {way: round(float(accuracy(*flip_shift_tta(learn, dl, flip=flip, shift=shift))), 4) for way, flip, shift in LOOKS[0 if name == 'base' else 2:]}
            runs.append(dict(variant=name, seed=seed, cpu_seconds=round(took, 1)) | looks)
            print(runs[-1], file=sys.stderr, flush=True)
    about = machine('fastcnn', 'torch', 'fastai') | dict(images=len(dls.train_ds), judged=len(judged), epochs=EPOCHS, batch_size=BATCH)
    atomic_write(args.out, json.dumps(about | dict(variants={name: known[name][0] for name in names}, runs=runs), indent=1) + '\n')


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--seeds', type=int, default=3)
    parser.add_argument('--images', type=int, default=10_000)
    parser.add_argument('--only', nargs='*', default=[], metavar='NAME', help='these variants alone')
    parser.add_argument('--out', type=Path, default=HERE/'results'/'ablation.json')
    args = parser.parse_args()
    if 'FASTCNN_DATA' not in os.environ: sys.exit('ablation: set FASTCNN_DATA to the folder that holds cifar10/')
    main(args)
