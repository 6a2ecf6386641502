"Small images in memory, Muon, fit_fast: the same images as elsewhere, each mirrored every second epoch, equal figures for equal seeds, and the way out"
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
from fastcnn.data import ResidentDL, image_dataloaders, resident_dataloaders
from fastcnn.deploy import export_model, load_exported, predict
from fastcnn.models import Whitening, whitened_stack
from fastcnn.training import Muon, fit_fast, orthogonalized

SIZE = 16


@pytest.fixture(scope='module')
def dls(tmp_path_factory):
    "48 small noisy images, brighter at the left or at the top"
    root, rng = tmp_path_factory.mktemp('images'), np.random.default_rng(0)
    for label, slope in dict(left=(0, 1), top=(1, 0)).items():
        (root/label).mkdir()
        ramp = 160 - 8*np.add(*(k*np.arange(SIZE).reshape(s) for k, s in zip(slope, ((-1, 1), (1, -1)))))
        for i in range(24): Image.fromarray(np.clip(ramp[..., None] + rng.integers(-30, 30, (SIZE, SIZE, 3)), 0, 255).astype(np.uint8)).save(root/label/f'{i}.png')
    with pytest.warns(UserWarning, match='not cleaned'): return image_dataloaders(root, size=SIZE, batch_size=8, num_workers=0)


def quick(dls, **options):
    return fit_fast(resident_dataloaders(dls, flip=False), **dict(epochs=4, batch_size=8, channels=(8, 8), whitened=16) | options)


def test_images_in_memory_are_those_of_the_other_dataloaders(dls):
    resident = resident_dataloaders(dls)
    for ours, theirs in zip(resident.valid, dls.valid, strict=True):
        assert_close(Tensor(ours[0]), Tensor(theirs[0]), rtol=0, atol=1e-5)
        assert torch.equal(Tensor(ours[1]), Tensor(theirs[1]))
    assert resident.train.resident().dtype == torch.uint8 and resident.vocab == dls.vocab and len(resident.train) == len(dls.train)


def test_two_epochs_show_each_image_both_ways(dls):
    set_seed(1)
    train = resident_dataloaders(dls).train.new(shuffle=False, drop_last=False)
    first, second, third = (torch.cat([Tensor(x) for x, _ in train]) for _ in range(3))
    assert torch.equal(first, second.flip(-1)) and torch.equal(first, third)
    plain = torch.cat([Tensor(x) for x, _ in train.new(flip=False)])
    as_it_is = (first == plain).flatten(1).all(1)
    assert 5 < as_it_is.sum() < len(plain) - 5 and torch.equal(first[~as_it_is], plain.flip(-1)[~as_it_is])


@settings(max_examples=20, deadline=None)
@given(shift=st.integers(1, 3), seed=st.integers(0, 99))
def test_shifted_images_are_windows_of_the_reflected_one(dls, shift, seed):
    train = resident_dataloaders(dls, flip=False, shift=shift).train
    torch.manual_seed(seed)
    which = torch.arange(6)
    edge = np.pad(train.resident()[which].permute(0, 2, 3, 1).numpy(), [(0, 0), (shift, shift), (shift, shift), (0, 0)], mode='reflect')
    for image, large in zip(train._augmented(train.resident()[which], which), edge):
        windows = [large[y:y + SIZE, x:x + SIZE] for y in range(2*shift + 1) for x in range(2*shift + 1)]
        assert any(np.array_equal(image.permute(1, 2, 0), w) for w in windows)


def test_only_our_dataloaders_can_be_kept(dls):
    with pytest.raises(InputError, match='image_dataloaders'): resident_dataloaders(DataLoaders([1], [2]))
    with pytest.raises(InputError, match='at least 1 epoch'): fit_fast(dls, epochs=0)
    with pytest.raises(InputError, match='8 pixels'): whitened_stack(size=4)
    with pytest.raises(InputError, match='takes no widths'): fit_fast(dls, widths=3)


@settings(max_examples=30, deadline=None)
@given(m=st.integers(2, 24), n=st.integers(2, 24), seed=st.integers(0, 999))
def test_orthogonalized_keeps_directions_and_evens_lengths(m, n, seed):
    torch.manual_seed(seed)
    k = min(m, n)
    u, v = torch.linalg.qr(torch.randn(m, k))[0].double(), torch.linalg.qr(torch.randn(n, k))[0].double()
    found = u.T @ orthogonalized(u @ torch.logspace(0, -1, k).double().diag() @ v.T, 5) @ v
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
    assert isinstance(one.dls.train, ResidentDL) and 0 < (rates := [lr.item() if hasattr(lr, 'item') else lr for lr in one.recorder.hps['lr']])[-1] < .1*max(rates)


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
