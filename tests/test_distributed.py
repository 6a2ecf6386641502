"More than one process: two, started by torchrun, make the training of one. And: weights for rare classes, training that resumes"
import os, re, signal, subprocess, sys
from pathlib import Path

import pytest
import torch
from fastai.callback.core import Callback
from fastai.callback.tracker import EarlyStoppingCallback, SaveModelCallback
from fastai.data.core import Datasets
from fastai.data.transforms import Categorize
from torch.testing import assert_close

import forked
import together
from fastcnn.core import InputError
from fastcnn.distributed import distributed_fit
from fastcnn.training import Checkpoint, class_weights

HERE = Path(__file__).parent
QUIET = dict(os.environ, OMP_NUM_THREADS='1', PYTHONWARNINGS='ignore', TOKENIZERS_PARALLELISM='false')


@pytest.fixture(scope='module')
def two(tmp_path_factory):
    "What each of two processes on this machine found, what they printed, and how it ended"
    out = tmp_path_factory.mktemp('two')
    torchrun = [sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node', '2', '--rdzv_backend', 'c10d', '--rdzv_endpoint', '127.0.0.1:0']
    command = [*torchrun, str(HERE/'together.py'), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=QUIET)
    found = [out/f'process-{rank}.pt' for rank in (0, 1)]
    if not all(f.exists() for f in found): pytest.fail(done.stderr[-3000:], pytrace=False)
    return [torch.load(f, weights_only=True) for f in found], done.stdout, done


@pytest.fixture(scope='module')
def one(tmp_path_factory):
    "The same in this process"
    out = tmp_path_factory.mktemp('one')
    return {f.__name__: f(out) for f in (together.fits, together.resumed, together.batchnorm, together.tuned, together.body)}


@pytest.mark.parametrize('name', ['fits', 'resumed', 'tuned'])
def test_two_make_the_steps_of_one(one, two, name):
    "Weights, losses, learning rates and metrics; the second process had other weights and another order of its own"
    for found in two[0]:
        assert_close(found[name]['weights'], one[name]['weights'], rtol=1e-4, atol=1e-5)
        for what in ('values', 'losses', 'lrs'): assert_close(torch.tensor(found[name][what]), torch.tensor(one[name][what]), rtol=1e-4, atol=1e-5)


def test_the_second_call_went_on(two):
    assert [(found['resumed']['first'], len(found['resumed']['values'])) for found in two[0]] == [(1, 3), (1, 3)]


def test_what_is_frozen_stands_still_at_first(two):
    found = two[0][0]['tuned']
    assert not torch.equal(found['weights']['0.weight'], found['before']['0.weight']) # tuned in the second part


def test_two_tune_a_body_as_one_does(one, two):
    "The first group, BatchNorm's averages and depthwise convolutions stay as they are; the others learn at rates of their own"
    first, other = two[0][0]['body'], one['body']
    moved = {name for name, weights in first['weights'].items() if not torch.equal(weights, first['before'][name])}
    assert moved == {'1.2.weight', '1.2.bias', '2.1.weight', '2.1.bias'}
    for found in two[0]:
        mine = found['body']
        assert mine['own_loss'] and mine['learning'] == other['learning'] == [False]*4 + [True]*6
        assert_close(mine['weights'], other['weights'], rtol=1e-3, atol=1e-3) # in bfloat16, where the processor has it
        for what in ('values', 'losses'): assert_close(torch.tensor(mine[what]), torch.tensor(other[what]), rtol=1e-2, atol=1e-2)
        assert_close(torch.tensor(mine['lrs']), torch.tensor(other['lrs']))


@pytest.mark.parametrize('name', ['fits', 'resumed', 'batchnorm', 'tuned', 'body'])
def test_each_process_ends_with_the_same_plain_learner(one, two, name):
    first, second = (found[name] for found in two[0])
    assert_close(first['weights'], second['weights'], rtol=0, atol=0)
    for found in (first, second):
        for what in ('kind', 'layers', 'loader', 'bs', 'bar', 'logs'): assert found[what] == one[name][what]
        assert found['world'] == 0 # fastai takes itself for alone again


def test_the_first_may_go_on_alone(two):
    "To validate or to export; it finds what the fit has found"
    found = two[0][0]['batchnorm']
    assert_close(torch.tensor(found['alone']), torch.tensor(found['values'][-1][1:]), rtol=1e-4, atol=1e-5)


def test_each_takes_its_share_and_rolls_its_own_dice(one, two):
    first, second = (found['batchnorm'] for found in two[0])
    assert one['batchnorm']['images'] == [8]*5 + [8, 5]
    assert first['images'] == second['images'] == [4]*5 + [4, 3] # one of the last 3 only fills up
    assert not set(first['rolled']) & set(second['rolled'])


def test_progress_is_shown_once(two):
    "A headline for each fit of the first process, of which fine_tune and the last one make two and one"
    assert len(re.findall('train_loss', two[1])) == 1 + 2 + 1 + 2 + 1 + 1


def test_what_cannot_work_is_told_to_all(two):
    for found in two[0]:
        assert found['refused']['uneven'] == '7 images per batch cannot be shared out evenly among 2 processes: use a multiple of 2, with_batch_size(dls, 6)'
        assert found['refused']['different'].startswith('the processes have different images, parts, classes or batch sizes')


def test_an_error_in_one_ends_all(two):
    "With one line that says where it happened, though the other process notices only that it is alone"
    done = two[2]
    assert done.returncode and 'went on' not in done.stdout
    assert re.findall(r'^\[rank.\]: Traceback', done.stderr, re.M) == ['[rank1]: Traceback'] # torchrun adds one of its own
    assert len(re.findall(r'^(?:\[rank1\]: )?ValueError: .*', done.stderr, re.M)) == 1 and 'a broken image' in done.stderr
    notes = re.findall(r'^(?:\[rank.\]: )?(distributed_fit: .*)', done.stderr, re.M)
    assert notes == ['distributed_fit: this was process 1 of 2 (counted from 0); all of them end']
    assert re.search(r'Root Cause[^\n]*\n\[0\]:(\n[^\n]*){2}\n\s*rank\s*: 1 ', done.stderr)


def test_without_accelerate_it_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, 'accelerate', None)
    monkeypatch.setenv('WORLD_SIZE', '2')
    with pytest.raises(InputError, match=r"needs Accelerate: pip install accelerate"): distributed_fit(together.learner(), 1)


class Kill(Callback):
    "As a power cut would"
    def __init__(self, epoch): self.at = epoch
    def before_step(self):
        if self.epoch == self.at and self.learn.train_iter % 5 == 2: os.kill(os.getpid(), signal.SIGKILL)


def killed(path, epoch):
    "In another process: a training that ends in the midst of an epoch"
    quiet(together.learner()).fit_one_cycle(4, 1e-2, cbs=[Checkpoint(str(path)), Kill(epoch)])


def in_a_process_of_its_own(path, epoch): assert forked.run(killed, path, epoch, **QUIET)[0] == -signal.SIGKILL


def quiet(learn):
    if hasattr(learn, 'progress'): learn.remove_cb(learn.progress)
    learn.logger = lambda _: None
    return learn


def trained(cbs=None, epochs=4):
    learn = quiet(together.learner())
    learn.fit_one_cycle(epochs, 1e-2, cbs=cbs)
    return learn


def assert_same(a, b):
    "To the last bit"
    assert_close(a.model.state_dict(), b.model.state_dict(), rtol=0, atol=0)
    assert a.recorder.values == b.recorder.values and a.recorder.iters == b.recorder.iters
    for what in ('losses', 'lrs'): assert list(map(float, getattr(a.recorder, what))) == list(map(float, getattr(b.recorder, what)))


def test_killed_and_resumed_it_is_the_same_training(tmp_path):
    in_a_process_of_its_own(tmp_path/'kept.pt', 2)
    assert torch.load(tmp_path/'kept.pt', weights_only=True)['epoch'] == 1
    assert [f.name for f in tmp_path.iterdir()] == ['kept.pt']
    resumed = trained(Checkpoint(tmp_path/'kept.pt'))
    assert_same(resumed, trained())
    assert_same(trained(Checkpoint(tmp_path/'kept.pt')), resumed) # nothing left to do


class Stop(Callback):
    def __init__(self, fit, epoch): self.fit_at, self.at, self.fits = fit, epoch, 0
    def before_train(self): self.fits += self.epoch == 0
    def before_step(self):
        if (self.fits, self.epoch) == (self.fit_at, self.at): raise KeyboardInterrupt


@pytest.mark.parametrize('fit, epoch', [(1, 0), (1, 1), (2, 0), (2, 2)])
def test_fine_tune_goes_on_in_either_part(tmp_path, fit, epoch):
    def tuned(cbs=None):
        learn = quiet(together.learner(splitter=lambda m: [list(m[0].parameters()), list(m[1:].parameters())]))
        learn.fine_tune(3, 1e-2, freeze_epochs=2, cbs=cbs)
        return learn
    with pytest.raises(KeyboardInterrupt): tuned([Checkpoint(tmp_path/'kept.pt'), Stop(fit, epoch)])
    assert_same(tuned(Checkpoint(tmp_path/'kept.pt')), tuned())


def test_early_stopping_counts_on(tmp_path):
    "Never better by 9: it stops after 3 epochs, with a break or without"
    patience = lambda: EarlyStoppingCallback(min_delta=9, patience=2)
    whole = trained(patience())
    with pytest.raises(KeyboardInterrupt): trained([Checkpoint(tmp_path/'kept.pt'), patience(), Stop(1, 2)])
    assert_same(trained([Checkpoint(tmp_path/'kept.pt'), patience()]), whole)
    assert len(whole.recorder.values) == 3


def test_looking_at_a_learner_leaves_its_checkpoint_alone(tmp_path):
    "lr_find, validate and get_preds are no training"
    learn = quiet(together.learner(cbs=Checkpoint(tmp_path/'kept.pt')))
    learn.path = tmp_path/'models'
    learn.lr_find(num_it=6, show_plot=False)
    learn.validate(), learn.get_preds()
    assert not (tmp_path/'kept.pt').exists()
    learn.fit_one_cycle(2, 1e-2)
    before = (tmp_path/'kept.pt').read_bytes()
    learn.lr_find(num_it=6, show_plot=False)
    learn.validate(), learn.get_preds()
    assert (tmp_path/'kept.pt').read_bytes() == before


def test_what_is_no_checkpoint_of_this_training_is_refused(tmp_path):
    kept = tmp_path/'kept.pt'
    trained(Checkpoint(kept))
    with pytest.raises(InputError, match='belongs to a training of 4 epochs, not 5'): trained(Checkpoint(kept), epochs=5)
    with pytest.raises(InputError, match='belongs to the training of another network'):
        quiet(together.learner(lambda: torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(432, 3)))).fit_one_cycle(4, cbs=Checkpoint(kept))
    with pytest.raises(InputError, match='do not go together'): trained([Checkpoint(kept), SaveModelCallback()])
    for bad in (b'', b'no checkpoint', kept.read_bytes()[:2000]):
        kept.write_bytes(bad)
        with pytest.raises(InputError, match='is not a Checkpoint file'): trained(Checkpoint(kept))


def test_reading_a_checkpoint_runs_no_code(tmp_path):
    class Evil:
        def __reduce__(self): return Path.touch, (tmp_path/'ran',)
    torch.save(dict(n_epoch=4, evil=Evil()), tmp_path/'kept.pt')
    with pytest.raises(InputError, match='is not a Checkpoint file'): trained(Checkpoint(tmp_path/'kept.pt'))
    assert not (tmp_path/'ran').exists()


def unequal(labels, bs=2):
    "Images to train on with these labels, and one of each class to validate on"
    every = labels + [0, 1, 2]
    return Datasets(range(len(every)), [[lambda i: torch.zeros(1)], [lambda i: every[i], Categorize(vocab=[0, 1, 2])]],
                    splits=[range(len(labels)), range(len(labels), len(every))]).dataloaders(bs=bs, num_workers=0, device='cpu')


def test_rare_classes_weigh_more():
    "The weights times the images of each class are the same; the average image weighs 1; those to validate on do not count"
    weights = class_weights(unequal([0]*15 + [1]*3 + [2]*12))
    assert_close(weights, torch.tensor([30/(3*15), 30/(3*3), 30/(3*12)]))
    assert_close(weights*torch.tensor([15, 3, 12]), torch.full((3,), 10.))


def test_rare_classes_are_learnt():
    "Of images that tell nothing the network makes the most of the loss: the share of each class as it is, or all alike with weights"
    dls, shares = unequal([0]*24 + [1]*6 + [2]*2, bs=32), []
    for weight in (None, class_weights(dls)):
        together.set_seed(0)
        learn = quiet(together.Learner(dls, torch.nn.Linear(1, 3), loss_func=together.CrossEntropyLossFlat(weight=weight)))
        learn.fit(40, .1)
        shares.append(learn.model(torch.zeros(1)).softmax(0).detach())
    assert_close(shares[0], torch.tensor([24/32, 6/32, 2/32]), atol=.05, rtol=0)
    assert_close(shares[1], torch.full((3,), 1/3), atol=.1, rtol=0)


def test_a_class_without_images_has_no_weight():
    with pytest.raises(InputError, match='no image to train on in 1, 2: a class without images has no weight'): class_weights(unequal([0, 0, 0]))
