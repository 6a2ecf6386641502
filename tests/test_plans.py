"A plan that fits the data: what is tried, what is kept, and what is said of it"
import json, re, shutil, warnings

import numpy as np
import pytest
from hypothesis import given, strategies as st
from PIL import Image, ImageDraw, ImageOps
from sklearn.linear_model import LogisticRegression

import fastcnn.plans
import fastcnn.transfer
from fastcnn.clean import kept_label_errors
from fastcnn.core import InputError, SidecarFile, sidecar
from fastcnn.evaluation import predict_items
from fastcnn.pipeline import train_classifier
from fastcnn.planets import planet_collection
from fastcnn.plans import Asked, Plan, batches_for, fit_temperature
from fastcnn.tables import image_table
from fastcnn.transfer import fit_head

LITE = 'lite/efficientnet_lite0'


@pytest.fixture(autouse=True)
def quiet(tmp_path, monkeypatch):
    monkeypatch.setenv('FASTCNN_PIXELS', str(tmp_path/'pixels'))
    monkeypatch.setattr('fastcnn.diagnosis.diagnose', lambda learn: []) # it has tests of its own, and takes its time
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        yield


@given(st.integers(1, 10**6), st.integers(100, 1000), st.integers(3, 60), st.sampled_from([32, 64, 256]))
def test_small_sets_get_small_batches_and_enough_steps(images, steps, most_epochs, largest):
    batch_size, epochs = batches_for(images, steps, most_epochs, largest)
    per_epoch = max(images//batch_size, 1)
    assert 8 <= batch_size <= largest and 3 <= epochs <= most_epochs
    assert epochs*per_epoch >= steps or epochs == most_epochs
    if images >= 40: assert per_epoch >= 4 # never one step an epoch


@pytest.fixture(scope='module')
def features():
    "Of 90 images in three classes that a line can nearly part, some axes near copies of others"
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 3
    seen = rng.normal(size=(90, 60)) + 1.2*np.eye(3)[labels] @ rng.normal(size=(3, 60))
    return np.hstack([seen, seen + 1e-4*rng.normal(size=seen.shape)]).astype(np.float32), labels


def test_a_head_is_what_scikit_learn_would_have(features):
    x, labels = features
    head = fit_head(x, labels)
    scaled = (x - x.mean(0))/(x.std(0) + 1e-6)
    theirs = LogisticRegression(C=1/head.strength, tol=1e-8, max_iter=10_000).fit(scaled, labels).decision_function(scaled)
    ours = x @ head.weight.T + head.bias
    np.testing.assert_allclose(ours - ours.mean(1, keepdims=True), theirs - theirs.mean(1, keepdims=True), atol=.05)


def test_nobody_is_judged_by_a_head_that_has_learnt_from_him(features):
    "Each group has a mark of its own: whoever has seen a member knows the label of the others"
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 40).repeat(3)
    groups = np.arange(40).repeat(3)
    marks = np.eye(40)[groups].astype(np.float32) + .01*rng.normal(size=(120, 40)).astype(np.float32)
    apart = fit_head(marks, labels, groups.tolist()).probabilities
    together = fit_head(marks, labels).probabilities
    assert (together.argmax(1) == labels).mean() > .9 > .75 > (apart.argmax(1) == labels).mean()


def test_a_class_without_images_to_learn_from_is_no_obstacle(features):
    x, labels = features
    head = fit_head(x, labels, n_classes=5)
    assert head.weight.shape == (5, 120) and head.probabilities.shape == (90, 5)
    assert set((x @ head.weight.T + head.bias).argmax(1)) == {0, 1, 2}
    for wrong, words in [(labels[1:], 'one label'), (labels*0, 'one class'), (labels - 1, 'from 0 on'), (labels.astype(str), 'numbers')]:
        with pytest.raises(InputError, match=words): fit_head(x, wrong)


def write_shapes(folder, lopsided, n=24):
    "Two classes of drawings: an L and a Z, or a ring and a cross"
    rng = np.random.default_rng(3)
    for label in 'ab':
        (folder/label).mkdir(parents=True)
        for i in range(n):
            image = Image.new('RGB', (64, 64), tuple(int(v) for v in rng.integers(190, 255, 3)))
            pen, (x, y), size = ImageDraw.Draw(image), rng.integers(6, 16, 2), int(rng.integers(34, 44))
            left, right, top, bottom = int(x), int(x) + size, int(y), int(y) + size
            lines = dict(a=[(left, top, left, bottom), (left, bottom, right, bottom)],
                         b=[(left, top, right, top), (right, top, left, bottom), (left, bottom, right, bottom)])
            if lopsided:
                for line in lines[label]: pen.line(line, fill=(20, 20, 60), width=6)
            elif label == 'a': pen.ellipse((left, top, right, bottom), outline=(20, 20, 60), width=6)
            else:
                for line in ((left, top, right, bottom), (right, top, left, bottom)): pen.line(line, fill=(20, 20, 60), width=6)
            (ImageOps.mirror(image) if not lopsided and i % 2 else image).save(folder/label/f'{i}.png')


@pytest.mark.parametrize('lopsided', [True, False])
def test_images_are_mirrored_where_that_does_no_harm(lopsided, tmp_path):
    write_shapes(tmp_path/'set', lopsided)
    plan = Plan(image_table(tmp_path/'set'), Asked('conv_stack', size=64))
    plan.load(64, batch_tfms=[])
    assert plan.flips() == (not lopsided), plan.reasons
    assert any('no image is mirrored' in reason for reason in plan.reasons) == lopsided
    for said in ('yes', 'no'): assert Plan(plan.table, Asked('conv_stack', mirror=said)).flips() == (said == 'yes')


@pytest.fixture(scope='module')
def planets(tmp_path_factory):
    root = tmp_path_factory.mktemp('plans')/'planets'
    planet_collection(root, n=12, seed=8, nuisances=0, duplicates=0, broken=0)
    return root


def test_few_photographs_get_a_head_and_no_hour_of_training(planets, tmp_path, monkeypatch):
    trained = train_classifier(planets, tmp_path/'model', size=96)
    found = trained.summary()
    assert (found['plan'], found['size'], found['tried'][0]['name']) == ('transfer', 96, 'head')
    assert found['accuracy'] >= .5 # by luck: .25
    json.dumps(found, allow_nan=False)
    again = Plan(image_table(planets), Asked(LITE, size=96))
    monkeypatch.setattr(fastcnn.transfer, 'in_bfloat16', lambda body: pytest.fail('features were computed again'))
    again.try_head()
    assert again.trials[0].accuracy == found['tried'][0]['accuracy']


def test_what_takes_too_long_is_not_begun(planets):
    plan = Plan(image_table(planets), Asked(LITE, size=64, minutes=.001))
    assert plan.carry_out('transfer').name == 'head'
    assert any('give it time with `minutes`' in reason for reason in plan.reasons), plan.reasons
    with pytest.raises(InputError, match='minutes'): train_classifier(planets, minutes=0)
    with pytest.raises(InputError, match='mirror'): train_classifier(planets, mirror='maybe')


def test_an_interrupted_fine_tuning_goes_on_where_it_was_and_the_best_is_kept(planets, tmp_path, monkeypatch):
    from fastcnn.diagnosis import ActivationStats
    def stop(callback):
        if callback.epoch == 1: raise KeyboardInterrupt
    def plan(**options): return Plan(image_table(planets), Asked(LITE, size=32, epochs=3, **options))
    def reached(plan): return [(trial.name, trial.accuracy, trial.epochs) for trial in plan.trials]
    whole, stopped, resumed = plan(), plan(checkpoint=tmp_path/'kept'), plan(checkpoint=tmp_path/'kept')
    best = whole.carry_out('transfer')
    assert [trial.name for trial in whole.trials] == ['head', 'fine_tuned'] and best.accuracy == max(trial.accuracy for trial in whole.trials)
    assert best.learn.dls.valid.size == 32
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(ActivationStats, 'after_epoch', stop, raising=False)
        stopped.carry_out('transfer')
    assert [file.name for file in (tmp_path/'kept').iterdir()] == ['fine_tuned-3.pt']
    resumed.carry_out('transfer')
    assert reached(resumed) == reached(whole)


def test_short_of_time_the_head_looks_at_smaller_images(planets, monkeypatch):
    plan, clock = Plan(image_table(planets), Asked(LITE, minutes=1)), [0.]
    monkeypatch.setattr('fastcnn.plans.time.monotonic', lambda: plan.end - 60 + clock[0])
    features = fastcnn.plans.image_features
    def slow(learn, items, mirrored=False):
        clock[0] += len(items)*(learn.dls.valid.size/288)**2*2 # seconds
        return features(learn, items, mirrored)
    monkeypatch.setattr('fastcnn.plans.image_features', slow)
    plan.try_head()
    assert plan.trials[0].learn.dls.valid.size == 96
    assert any('96 px instead of 288' in reason for reason in plan.reasons), plan.reasons


def test_a_network_of_our_own_begins_fresh_and_says_so(planets):
    found = train_classifier(planets, arch='resnet20', size=32, epochs=1).summary()
    assert found['plan'] == 'scratch' and any('resnet20 begins fresh' in reason for reason in found['reasons'])


def test_a_class_that_only_validation_has_stops_nothing(planets):
    table = image_table(planets)
    table['part'] = np.where(table.label == 'saturn', 'valid', np.array(['test', 'valid', 'train', 'train'])[np.arange(len(table)) % 4])
    found = train_classifier(table, plan='transfer', size=64, epochs=1).summary()
    assert [trial['name'] for trial in found['tried']] == ['head', 'fine_tuned'] and np.isfinite(found['accuracy'])


def test_fast_is_bounded_too(planets):
    plan = Plan(image_table(planets), Asked('conv_stack', size=32, minutes=.02))
    trial = plan.carry_out('fast')
    assert trial.epochs < 60 and any('more with `minutes`' in reason for reason in plan.reasons), plan.reasons


def test_features_push_no_pixels_out(planets, tmp_path, monkeypatch):
    from fastcnn.data import PixelCache
    plan = Plan(image_table(planets), Asked(LITE, size=96))
    dls = plan.load(96, augment=False)
    cache = dls.valid.pixels
    before, cache.limit = cache.bytes, cache.bytes
    with warnings.catch_warnings(record=True): cache.keep_features({f'{i}'.encode(): np.ones(1280, np.float32) for i in range(99)})
    assert cache.bytes == before and cache.kept_features([b'0']) == [None]
    with PixelCache.reader(cache) as read: read(dls.valid.items.content.iloc[0], dls.valid.items.image.iloc[0])


def test_a_fit_that_becomes_worse_gives_back_its_best_epoch(planets, tmp_path):
    from fastai.callback.core import Callback
    from fastcnn.plans import StopEarly
    from fastcnn.training import Checkpoint, scratch_learner
    class Spoil(Callback):
        order = 50 # after the second epoch the weights are worth nothing
        def after_train(self):
            if self.epoch >= 2:
                for p in self.model.parameters(): p.data.mul_(0)
    class Interrupt(Callback):
        order = 70
        def after_epoch(self):
            if self.epoch == 2: raise KeyboardInterrupt
    dls = Plan(image_table(planets), Asked('conv_stack')).load(32, 8, batch_tfms=[])
    def fitted(folder, *cbs):
        fastcnn.plans.set_seed(1)
        learn, checkpoint = scratch_learner(dls, cbs=Spoil()), Checkpoint(folder/'fit.pt')
        folder.mkdir(exist_ok=True)
        with learn.no_bar(), learn.no_logging(): learn.fit(9, 1e-3, cbs=[checkpoint, StopEarly(2, checkpoint), *cbs])
        return learn
    with pytest.raises(KeyboardInterrupt): fitted(tmp_path/'stopped', Interrupt())
    for learn in (fitted(tmp_path/'whole'), fitted(tmp_path/'stopped')):
        losses = [row[1] for row in learn.recorder.values]
        assert len(losses) < 9 and learn.validate()[0] == pytest.approx(min(losses), abs=1e-4)


def test_a_class_that_is_never_recognised_is_told(planets, monkeypatch):
    import fastcnn.exported
    def blind(model, images):
        found = predict(model, images)
        found['p_earth'] += found.p_saturn
        found['p_saturn'] = 0.
        return found
    predict = fastcnn.exported.predict
    monkeypatch.setattr('fastcnn.exported.predict', blind)
    reasons = train_classifier(planets, size=64).reasons
    assert any(reason.startswith('no test image is recognised of') and 'saturn' in reason for reason in reasons), reasons


def test_one_class_is_refused_before_images_are_read(planets, tmp_path, monkeypatch):
    shutil.copytree(planets/'saturn', tmp_path/'one'/'saturn')
    monkeypatch.setattr('fastcnn.plans.Plan.load', lambda *args, **options: pytest.fail('images were read'))
    with pytest.raises(InputError, match="one holds images of one class, 'saturn': a classifier needs at least 2 classes"): train_classifier(tmp_path/'one')


class PoorHead(Plan):
    "What is trained is better than the head"
    def try_head(self):
        super().try_head()
        self.trials[0].accuracy = -1


@pytest.mark.parametrize('plan', ['scratch', 'fast', 'transfer'])
def test_a_trained_network_is_as_sure_as_it_may_be(plan, planets):
    "Its logits are divided by the number that is told, which is the best for the logits before"
    carried = PoorHead(image_table(planets), Asked(LITE if plan == 'transfer' else 'conv_stack', size=32, epochs=2))
    learn = carried.carry_out(plan).learn
    probabilities, targets = predict_items(learn, learn.dls.valid.items)
    told = float(re.search(r'logits are divided by ([\d.]+)$', carried.reasons[-1])[1])
    assert fit_temperature((probabilities.log()*told).softmax(1), targets) == pytest.approx(told, rel=.02)


@pytest.mark.parametrize('plan', ['scratch', 'fast'])
def test_a_fresh_network_is_one_word_away(plan, planets):
    found = train_classifier(planets, plan=plan, size=32, epochs=2, mirror='yes').summary()
    assert (found['plan'], found['kept'], found['size'], found['label_errors']) == (plan, plan, 32, None)


def test_wrong_labels_are_told_and_kept_for_the_cleaner(tmp_path):
    root = tmp_path/'planets'
    planet_collection(root, n=30, seed=9, nuisances=0, duplicates=0, broken=0)
    table = image_table(root)
    wrong = table[table.label == 'saturn'].sample(3, random_state=1)
    moved = {f'neptune/{name.split("/")[1]}' for name in wrong.name}
    for name in wrong.name: shutil.move(root/name, root/'neptune'/name.split('/')[1])
    trained = train_classifier(root, size=128, seed=3)
    seen = {name for name in trained.learn.dls[2].items.name}
    found = trained.label_errors
    assert moved - seen <= set(found.image) and len(found) <= 15
    assert set(found.suggested[found.image.isin(moved)]) == {'saturn'}
    kept = kept_label_errors(root)
    place = sidecar(root)/SidecarFile.LABEL_ERRORS
    place.write_text(json.dumps([dict(row, image=name) for row, name in zip(json.loads(place.read_text()), ['../secret.png', '/etc/passwd', 7])]))
    assert kept_label_errors(root) is None # a stranger's list names no place outside
    assert kept.file.tolist() == found.image.tolist() and kept.predicted.tolist() == found.suggested.tolist()
    assert not set(kept.file) & seen # the test part stays as it is
