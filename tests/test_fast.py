"Small images in memory, Muon, fit_fast: the same images as elsewhere, mirrored by a coin, equal figures for equal seeds, and the way out"
import numpy as np
import pytest
import torch
from fastai.callback.core import Callback
from fastai.data.core import DataLoaders
from fastai.torch_core import Tensor, set_seed
from hypothesis import given, settings, strategies as st
from PIL import Image
from torch.testing import assert_close

from fastcnn.core import InputError
from fastcnn.data import InMemoryDL, image_dataloaders, resident_dataloaders
from fastcnn.deploy import export_model
from fastcnn.exported import load_exported, predict
from fastcnn.fast import Muon, fit_fast, flip_shift_tta, newton_schulz
from fastcnn.models import Whitening, whitened_stack

SIZE = 16


@pytest.fixture(scope='module')
def dls(tmp_path_factory):
    "48 small noisy images, brighter at the left or at the top"
    root, rng = tmp_path_factory.mktemp('images'), np.random.default_rng(0)
    for label, slope in dict(left=(0, 1), top=(1, 0)).items():
        (root/label).mkdir()
        ramp = 160 - 8*np.add(*(k*np.arange(SIZE).reshape(s) for k, s in zip(slope, ((-1, 1), (1, -1)))))
        for i in range(24):
            noisy = ramp[..., None] + rng.integers(-30, 30, (SIZE, SIZE, 3))
            Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(root/label/f'{i}.png')
    with pytest.warns(UserWarning, match='not cleaned'): return image_dataloaders(root, size=SIZE, batch_size=8, num_workers=0)


def quick(dls, **options):
    return fit_fast(resident_dataloaders(dls, flip=False), **dict(epochs=4, batch_size=8, channels=(8, 8), whitened=16) | options)


def test_images_in_memory_are_those_of_the_other_dataloaders(dls):
    resident = resident_dataloaders(dls)
    for ours, theirs in zip(resident.valid, dls.valid, strict=True):
        assert_close(Tensor(ours[0]), Tensor(theirs[0]), rtol=0, atol=1e-5)
        assert torch.equal(Tensor(ours[1]), Tensor(theirs[1]))
    assert resident.train.resident().dtype == torch.uint8 and resident.vocab == dls.vocab and len(resident.train) == len(dls.train)


def test_a_coin_says_which_images_are_mirrored(dls):
    set_seed(1)
    train = resident_dataloaders(dls).train.new(shuffle=False, drop_last=False)
    plain = torch.cat([Tensor(x) for x, _ in train.new(flip=False)])
    turned = []
    for _ in range(20):
        shown = torch.cat([Tensor(x) for x, _ in train])
        as_it_is = (shown == plain).flatten(1).all(1)
        assert torch.equal(shown[~as_it_is], plain.flip(-1)[~as_it_is])
        turned.append(~as_it_is)
    turned = torch.stack(turned).float()
    assert .35 < turned.mean() < .65 and .1 < turned.mean(0).min() < turned.mean(0).max() < .9 # each image is a coin of its own


@settings(max_examples=20, deadline=None)
@given(shift=st.integers(1, 3), seed=st.integers(0, 99))
def test_shifted_images_are_windows_of_the_reflected_one(dls, shift, seed):
    def first_batch(**options):
        torch.manual_seed(seed)
        train = resident_dataloaders(dls, flip=False, **options).train.new(shuffle=False, drop_last=False)
        return Tensor(next(iter(train))[0]).numpy()
    edge = np.pad(first_batch(), [(0, 0), (0, 0), (shift, shift), (shift, shift)], mode='reflect')
    for image, large in zip(first_batch(shift=shift), edge, strict=True):
        windows = [large[:, y:y + SIZE, x:x + SIZE] for y in range(2*shift + 1) for x in range(2*shift + 1)]
        assert any(np.allclose(image, w, atol=1e-5) for w in windows)


def test_chosen_images_come_alone_and_each_batch_says_which_they_are(dls):
    train = resident_dataloaders(dls, flip=False).train.new(drop_last=False)
    every, labels = (torch.cat([Tensor(part) for part in parts]) for parts in zip(*train.new(shuffle=False)))
    chosen = [3, 1, 8, 30, 22, 7, 11, 12, 20]
    train.choose(chosen)
    seen, shown = [], 0
    for x, y in train:
        seen += train.latest.tolist(); shown += len(x)
        assert torch.equal(Tensor(x), every[train.latest]) and torch.equal(Tensor(y), labels[train.latest])
    assert sorted(seen) == sorted(chosen) and shown == len(chosen) and len(train) == 2
    train.choose()
    assert sorted(i for x, _ in train for i in train.latest.tolist()) == list(range(len(train.dataset)))


def test_later_epochs_go_through_the_hardest_images_and_all_come_back(dls):
    seen, losses = [], {}
    class Watch(Callback):
        order = 90
        def before_train(self): seen.append([])
        def after_loss(self):
            if not self.training: return
            which = self.dl.latest.tolist()
            if self.epoch < self.n_epoch - 1:
                loss = torch.nn.functional.cross_entropy(self.pred.detach(), self.y, reduction='none')
                losses.update(zip(which, loss.tolist()))
            seen[-1].extend(which)
    learn = quick(dls, hard=.5, seed=1, cbs=[Watch()])
    n = len(dls.train_ds)
    never = set(range(n)) - set(losses) # what a short last batch has left out each time
    hardest = sorted(losses, key=losses.get, reverse=True)[:round(.5*n) - len(never)]
    assert [len(part) for part in seen] == [round(share*n)//8*8 for share in (1, 5/6, 4/6, .5)] and set(seen[-1]) <= never | set(hardest)
    assert learn.dls.train.chosen is None and len(learn.dls.train) == n//8
    assert len(quick(dls, epochs=1).recorder.losses) == n//8
    assert len(quick(dls, epochs=2, batch_size=n, hard=.1).recorder.losses) == 2 # at least a batch


def test_more_looks_are_the_mean_of_single_ones(dls):
    learn = quick(dls, seed=1)
    model = learn.model.eval()
    x, y = (torch.cat([Tensor(part) for part in parts]) for parts in zip(*learn.dls.valid))
    with torch.no_grad():
        moved = np.pad(x.numpy(), [(0, 0), (0, 0), (1, 1), (1, 1)], mode='reflect')
        looks = [x, x, torch.from_numpy(moved[:, :, :-2, :-2]), torch.from_numpy(moved[:, :, 2:, 2:])]
        wanted = torch.stack([model(each) for look in looks for each in (look, look.flip(-1))]).mean(0).softmax(1)
        found, targets = flip_shift_tta(learn)
        assert_close(found, wanted, rtol=1e-4, atol=1e-5)
        assert_close(flip_shift_tta(learn, flip=False, shift=0)[0], model(x).softmax(1), rtol=1e-4, atol=1e-5)
    assert torch.equal(targets, y)
    assert flip_shift_tta(learn, dl=learn.dls.test_dl(dls.valid_ds.items.image.tolist()))[1] is None


def test_only_our_dataloaders_can_be_kept(dls):
    with pytest.raises(InputError, match='image_dataloaders'): resident_dataloaders(DataLoaders([1], [2]))
    with pytest.raises(InputError, match='at least 1 epoch'): fit_fast(dls, epochs=0)
    with pytest.raises(InputError, match='hard=0'): fit_fast(dls, hard=0)
    with pytest.raises(InputError, match='8 pixels'): whitened_stack(size=4)
    with pytest.raises(InputError, match='takes no widths'): fit_fast(dls, widths=3)


@settings(max_examples=30, deadline=None)
@given(m=st.integers(2, 24), n=st.integers(2, 24), seed=st.integers(0, 999))
def test_newton_schulz_keeps_directions_and_evens_lengths(m, n, seed):
    torch.manual_seed(seed)
    k = min(m, n)
    u, v = torch.linalg.qr(torch.randn(m, k))[0].double(), torch.linalg.qr(torch.randn(n, k))[0].double()
    found = u.T @ newton_schulz(u @ torch.logspace(0, -1, k).double().diag() @ v.T, 5) @ v
    assert_close(found, found.diag().diag(), rtol=0, atol=1e-6)
    assert .6 < found.diag().min() and found.diag().max() < 1.3


def test_muon_is_torchs_sgd_for_what_is_no_filter():
    torch.manual_seed(0)
    ours, theirs = (torch.nn.Linear(3, 2) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    steps = Muon(ours.parameters(), lr=.1, momentum=.6), torch.optim.SGD(theirs.parameters(), lr=.1, momentum=.6, nesterov=True)
    for _ in range(5):
        x = torch.randn(4, 3)
        for model, step in zip((ours, theirs), steps):
            step.zero_grad(); model(x).square().mean().backward(); step.step()
    assert_close(ours.state_dict(), theirs.state_dict())


def test_filters_keep_their_length():
    torch.manual_seed(0)
    conv = torch.nn.Conv2d(3, 8, 3, bias=False)
    step = Muon(conv.parameters(), lr=1e-3)
    conv(torch.randn(2, 3, 9, 9)).square().mean().backward(); step.step()
    assert_close(conv.weight.norm(), torch.tensor(8.)**.5, rtol=1e-2, atol=0)


def test_it_learns_and_the_same_seed_gives_the_same_figures(dls):
    one, two, other = (quick(dls, seed=seed) for seed in (1, 1, 2))
    assert one.recorder.losses == two.recorder.losses != other.recorder.losses
    assert one.validate()[1] > .9
    assert isinstance(one.dls.train, InMemoryDL)
    rates = quick(dls, seed=1, hard=1.).recorder.hps['lr'] # with all images in each epoch; else the last one is a single step here, which begins far above 0
    assert 0 < rates[-1] < .1*max(rates)


def test_the_whitened_layer_is_taken_from_the_images_and_stays(dls):
    seen = []
    class Watch(Callback):
        def after_step(self): seen.append(self.model[0].weight.clone())
    learn = quick(dls, epochs=1, seed=1, cbs=[Watch()])
    fresh = Whitening(3, 16)
    assert torch.equal(seen[0], seen[-1]) and not torch.equal(seen[0], fresh.weight) and torch.equal(seen[0][8:], -seen[0][:8])
    assert not learn.model[0].weight.requires_grad


def test_out_and_back(dls, tmp_path):
    learn = quick(dls, seed=1)
    export_model(learn, tmp_path/'model')
    x = torch.cat([Tensor(x) for x, _ in dls.valid])
    with torch.no_grad(): assert_close(load_exported(tmp_path/'model')(x), learn.model.eval()(x), rtol=1e-4, atol=1e-4)
    files = dls.valid_ds.items.image.tolist()
    told, probabilities = predict(tmp_path/'model', files), learn.get_preds(dl=learn.dls.valid)[0]
    assert (told.label == [learn.dls.vocab[i] for i in probabilities.argmax(1)]).all()
