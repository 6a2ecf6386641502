"""What each part of `fit_fast` is worth: without it, or with another in its place, on the CIFAR-10 training file.

    python bench/ablation.py [--seeds 3] [--images 10000] [--only NAME …]     writes bench/results/ablation.json

Trained on `--images` of the training file and judged on 10,000 others of the same file; the test file is not opened. `train` is `fit_fast` with a switch for each part; with all switches as
they are it must give what `fit_fast` gives, and the script checks that. Seconds are this process's processor time of the training alone.
"""
import argparse, json, sys, tempfile, time, os
from functools import partial
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent/'tools')]
from machine import machine

EPOCHS, BATCH, JUDGED = 4, 256, 10_000
LOOKS = ('plain', False, 0), ('flip', True, 0), ('flip_shift', True, 1)
VARIANTS = { # name: (what it says on the page, switches)
    'base': ('as it is', {}),
    'learnt_first_layer': ('first layer learnt, not whitened', dict(whitened=False)),
    'random_filters': ('filters begin at random', dict(identity=False)),
    'learnt_scales': ("BatchNorm's scales learnt too", dict(scales=True)),
    'shift_rate': ("BatchNorm's shifts at the filters' rate", dict(shift_rate=1.)),
    'coin_flips': ('a coin for each mirroring', dict(flip='coin')),
    'no_flips': ('no mirroring', dict(flip='none')),
    'no_smoothing': ('no label smoothing', dict(label_smoothing=0.)),
    'nesterov': ('Nesterov SGD instead of Muon', dict(muon=False)),
    'adam': ('Adam instead of Muon', dict(muon='adam')),
    'all_images': ('all images in each epoch', dict(hard=1.)),
    'any_images': ('as many images, but any', dict(kept='any')),
    'averaged': ('and the weights averaged', dict(averaged=True)),
    'full_size': ('32 pixels in the first epoch too', dict(small_epochs=0)),
}


def train(dls, seed, whitened=True, identity=True, scales=False, shift_rate=2., flip='alternating', label_smoothing=.1, muon=True, hard=.5, kept='hardest', averaged=False, small_epochs=1, lr=.1):
    "`fit_fast`, part by part"
    import numpy as np, torch
    from fastai.callback.core import Callback
    from fastai.callback.schedule import ParamScheduler, SchedLin, combine_scheds
    from fastai.losses import CrossEntropyLossFlat
    from fastai.learner import Learner
    from fastai.optimizer import OptimWrapper
    from fastai.torch_core import Tensor, set_seed
    from fastcnn.models import build_model
    from fastcnn.training import HardImages, Muon, ProgressiveResizing, _fast_groups, _in_threads, with_batch_size
    set_seed(seed)
    some = Tensor.as_subclass(dls.train.new(bs=min(2000, len(dls.train_ds))).one_batch()[0], Tensor)
    dls = with_batch_size(dls, BATCH)
    model = build_model('whitened_stack', n_classes=len(dls.vocab), size=some.shape[-1], in_channels=some.shape[1])
    model[0].fit(some)
    if not whitened:
        torch.nn.init.kaiming_normal_(model[0].weight)
        model[0].weight.requires_grad_(True)
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm2d) and scales: layer.weight.requires_grad_(True)
        if isinstance(layer, torch.nn.Conv2d) and layer is not model[0] and not identity: torch.nn.init.kaiming_normal_(layer.weight)

    class AnyImages(HardImages):
        def after_loss(self):
            if self.training: self.losses[self.dl.latest] = torch.rand(len(self.x))

    class Options(Callback):
        "What happens while it trains"
        def before_fit(self):
            if averaged: self.mean = torch.optim.swa_utils.AveragedModel(self.model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(.98), use_buffers=True)
        def before_batch(self):
            if not self.training: return
            x = Tensor.as_subclass(self.x, Tensor)
            if flip == 'coin': x = torch.where((torch.rand(len(x)) < .5).view(-1, 1, 1, 1), x.flip(-1), x)
            self.learn.xb = x.contiguous(memory_format=torch.channels_last),
        def after_step(self):
            if averaged: self.mean.update_parameters(self.model)
        def after_fit(self):
            if averaged: self.model.load_state_dict(self.mean.module.state_dict())

    rates = lr*np.array([1., shift_rate, .27])
    optimizers = {True: Muon, False: partial(torch.optim.SGD, momentum=.9, nesterov=True), 'adam': torch.optim.Adam}
    if muon is False: rates = .2*np.array([1., shift_rate, .27])
    if muon == 'adam': rates = .01*np.array([1., shift_rate, .27])
    learn = Learner(dls, model.to(memory_format=torch.channels_last), loss_func=CrossEntropyLossFlat(label_smoothing=label_smoothing), splitter=_fast_groups, opt_func=partial(OptimWrapper, opt=optimizers[muon]))
    schedule = ParamScheduler({'lr': combine_scheds([.1, .9], [SchedLin(rates*0, rates), SchedLin(rates, rates*0)])})
    with _in_threads(model, min(torch.get_num_threads(), BATCH//64)): learn.fit(EPOCHS, cbs=[schedule, Options(), ProgressiveResizing(epochs=small_epochs), dict(hardest=HardImages, any=AnyImages)[kept](hard)])
    return learn


def main(args):
    import fit_fast as bench
    import torch
    from fastai.metrics import accuracy
    from fastai.torch_core import Tensor
    from tqdm import tqdm
    from fastcnn.core import atomic_write
    from fastcnn.data import image_dataloaders, resident_dataloaders
    from fastcnn.training import fit_fast, flip_shift_tta
    table = bench.read('cifar10', 'train').sample(frac=1, random_state=7).reset_index(drop=True)
    judged, table = table[:JUDGED], table[JUDGED:JUDGED + args.images + 400]
    with tempfile.TemporaryDirectory() as os.environ['FASTCNN_PIXELS']:
        dls = image_dataloaders(table, size=32, valid_pct=400/len(table), seed=0)
        flips = {kind: resident_dataloaders(dls, flip=kind == 'alternating') for kind in ('alternating', 'coin', 'none')}
        dl = flips['none'].test_dl(judged.reset_index(drop=True), with_labels=True)
        runs = []
        for seed, name in tqdm([(seed, name) for seed in range(args.seeds) for name in args.only]):
            start = time.process_time()
            learn = train(flips[VARIANTS[name][1].get('flip', 'alternating')], seed, **VARIANTS[name][1])
            took = time.process_time() - start
            looks = {f'{way}': round(float(accuracy(*flip_shift_tta(learn, dl, flip=flip, shift=shift))), 4) for way, flip, shift in LOOKS[0 if name == 'base' else 2:]}
            runs.append(dict(variant=name, seed=seed, cpu_seconds=round(took, 1)) | looks)
            print(runs[-1], file=sys.stderr, flush=True)
            if name == 'base' and not seed:
                same = float(accuracy(*flip_shift_tta(fit_fast(flips['alternating'], EPOCHS, BATCH, seed=seed), dl)))
                if abs(same - looks['flip_shift']) > 1e-3: sys.exit(f"ablation: fit_fast reaches {same}, and what should be the same {looks['flip_shift']}: bring `train` up to date")
    about = machine('fastcnn', 'torch', 'fastai') | dict(images=len(dls.train_ds), judged=len(judged), epochs=EPOCHS, batch_size=BATCH)
    atomic_write(args.out, json.dumps(about | dict(variants={name: what for name, (what, _) in VARIANTS.items() if name in args.only}, runs=runs), indent=1) + '\n')


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--seeds', type=int, default=3)
    parser.add_argument('--images', type=int, default=10_000)
    parser.add_argument('--only', nargs='*', default=list(VARIANTS), choices=list(VARIANTS), metavar='NAME', help=', '.join(VARIANTS))
    parser.add_argument('--out', type=Path, default=HERE/'results'/'ablation.json')
    args = parser.parse_args()
    if 'FASTCNN_DATA' not in os.environ: sys.exit('ablation: set FASTCNN_DATA to the folder that holds cifar10/')
    main(args)
