"Figures against scikit-learn and scipy over made-up predictions; Grad-CAM against slopes, captum and the formula on all networks; the page in a browser"
import html.parser, json, math, os
from contextlib import nullcontext

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import example, given, settings, strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from scipy.stats import binomtest, ttest_1samp
from sklearn import metrics
from sklearn.calibration import calibration_curve
from torch import nn

from fastcnn.core import InputError, to_json
from fastcnn.data import image_dataloaders
from fastcnn.evaluation import (USEFUL_SIDE, accuracy_interval, calibration_table, effective_images, evaluate, grad_cam, mean_interval,
                                plot_calibration, plot_confusion_matrix, plot_loss_curves, plot_per_class, predict_items,
                                predictions_for_cleaning, show_feature_maps, show_grad_cam, show_kernels, top_losses)
from fastcnn.models import ARCHITECTURES, build_model, conv_stack
from fastcnn.report import contact_sheet, evaluation_report
from fastcnn.training import scratch_learner
from notebooks import ROOT
from web import axe, violations

SMALL = {name: dict(hidden=32, pooled=1) for name in ARCHITECTURES if name.startswith('vgg')}
WITH_MAPS = sorted(set(ARCHITECTURES) - {'mlp'})
OTHERS = ['torchvision/mobilenet_v3_small', 'torchvision/shufflenet_v2_x0_5', 'timm/regnetx_002', 'timm/vit_tiny_patch16_224']


@pytest.fixture(autouse=True)
def seeded():
    import matplotlib.pyplot as plt
    torch.manual_seed(0)
    yield
    plt.close('all')


# Figures

@st.composite
def judged(draw):
    "(probabilities, targets): up to 40 images, 2 to 5 classes, some without images, ties and certain answers among them"
    n, classes = draw(st.integers(1, 40)), draw(st.integers(2, 5))
    weights = draw(arrays(float, (n, classes), elements=st.sampled_from([0, 1, 1, 2, 5, 30]))) + 1e-3
    return weights/weights.sum(1, keepdims=True), draw(arrays(int, n, elements=st.integers(0, classes - 1)))


@settings(deadline=None, max_examples=30)
@given(judged())
def test_figures_are_sklearns(case):
    probabilities, targets = case
    vocab, predicted, seen = list('abcde')[:probabilities.shape[1]], probabilities.argmax(1), np.unique(targets)
    found = evaluate(probabilities, targets, vocab)
    macro = dict(labels=seen, average='macro', zero_division=0)
    assert found.accuracy == pytest.approx(metrics.accuracy_score(targets, predicted))
    assert (found.f1, found.precision, found.recall) == pytest.approx((
        metrics.f1_score(targets, predicted, **macro), metrics.precision_score(targets, predicted, **macro),
        metrics.recall_score(targets, predicted, **macro)))
    assert found.log_loss == pytest.approx(metrics.log_loss(targets, probabilities, labels=range(len(vocab))))
    each = dict(labels=range(len(vocab)), average=None, zero_division=np.nan)
    table = found.per_class
    np.testing.assert_allclose(table.recall, metrics.recall_score(targets, predicted, **each))
    np.testing.assert_allclose(table.precision, metrics.precision_score(targets, predicted, **each | dict(zero_division=0)))
    np.testing.assert_array_equal(found.confusion, metrics.confusion_matrix(targets, predicted, labels=range(len(vocab))))
    for i in range(len(vocab)): # the share's own count stands below each interval
        for name, answers in (('precision', predicted == i), ('recall', targets == i)):
            ends = table.iloc[i][[f'{name}_low', f'{name}_high']].tolist()
            expected = wilson(int(((predicted == targets) & answers).sum()), int(answers.sum())) if answers.any() else (math.nan, math.nan)
            assert ends == pytest.approx(expected, nan_ok=True)


def wilson(correct, total, z=1.959963984540054):
    "The formula of 1927, by hand"
    p = correct/total
    middle, half = (p + z*z/(2*total))/(1 + z*z/total), z*math.sqrt(p*(1 - p)/total + z*z/(4*total*total))/(1 + z*z/total)
    return max(0, middle - half), min(1, middle + half)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_interval_is_wilsons(counts):
    assert accuracy_interval(*counts) == pytest.approx(wilson(*counts), abs=1e-9)
    assert accuracy_interval(*counts, .9) == pytest.approx(tuple(binomtest(*counts).proportion_ci(.9, method='wilson')), abs=1e-12)


@pytest.mark.parametrize('counts', [(0, 0), (3, 2), (-1, 2)])
def test_what_is_no_share_has_no_interval(counts):
    with pytest.raises(InputError, match='no such share'): accuracy_interval(*counts)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=12).filter(lambda v: np.std(v) > 1e-6), st.sampled_from([.8, .95, .99]))
def test_interval_over_seeds_is_scipys(values, confidence):
    mean, half = mean_interval(values, confidence)
    assert (mean - half, mean + half) == pytest.approx(tuple(ttest_1samp(values, 0).confidence_interval(confidence)))


def test_equal_runs_have_no_width(): assert mean_interval([.5, .5, .5]) == (.5, 0)


@pytest.mark.parametrize('values', [[], [.9], [.9, math.nan], [[.9, .8]]])
def test_interval_needs_two_runs(values):
    with pytest.raises(InputError, match='at least two finite figures'): mean_interval(values)


EDGES = st.sampled_from([*np.linspace(0, 1, 11), .3, .6, .7]) # where a float is on one side or the other

@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.one_of(EDGES, st.floats(0, 1)), st.booleans()), min_size=1, max_size=60), st.sampled_from([5, 10, 15]))
@example([(.6, True), (.6, False), (1., True), (0., False)], 10)
def test_calibration_is_sklearns(answers, bins):
    confidence, correct = map(np.array, zip(*answers))
    table = calibration_table(confidence, correct, bins)
    shares, means = calibration_curve(correct, confidence, n_bins=bins)
    np.testing.assert_allclose(table.accuracy, shares)
    np.testing.assert_allclose(table.confidence, means)
    assert table.images.sum() == len(answers) and (table.low <= table.accuracy + 1e-9).all() and (table.accuracy <= table.high + 1e-9).all()
    assert ((table.confidence <= table.index + 1e-6) & (table.confidence >= table.index - 1/bins - 1e-6)).all()


# Groups: copies are not evidence

@st.composite
def grouped(draw):
    "(probabilities, targets, groups, related): as `judged`, some images in groups, some with relatives in the training part"
    probabilities, targets = draw(judged())
    values = st.sampled_from([None, '', math.nan, 'a', 'b', 7, ('film', 1)])
    def many(of): return draw(st.lists(of, min_size=len(targets), max_size=len(targets)))
    return probabilities, targets, many(values), many(st.booleans())


def alone(group): return group in (None, '') or group != group
def width(interval): return interval[1] - interval[0]
def intervals(found):
    "Each accuracy and interval of an evaluation; floats, compared to the last bit"
    ends = [f'{name}_{end}' for name in ('precision', 'recall') for end in ('low', 'high')]
    unrelated = found.accuracy_unrelated, *(found.accuracy_unrelated_interval or ())
    return [found.accuracy, *found.accuracy_interval, *(math.nan if v is None else v for v in unrelated), found.effective_images,
            *found.per_class[ends].to_numpy().ravel(), *found.calibration[['accuracy', 'low', 'high']].to_numpy().ravel()]


@settings(deadline=None, max_examples=40)
@given(grouped(), st.integers(2, 10))
@example((np.array([[.7, .3], [.2, .8], [.6, .4]]), np.array([0, 1, 1]), ['a', 'a', None], [True, False, False]), 10)
def test_copies_change_no_interval(case, times):
    "Each image written several times, in the group that it was in or in one with its copies"
    probabilities, targets, groups, related = case
    vocab, n = list('abcde')[:probabilities.shape[1]], len(targets)
    once = evaluate(probabilities, targets, vocab, groups=groups, related=related)
    named = [f'alone {i}' if alone(group) else group for i, group in enumerate(groups)]
    copied = evaluate(np.tile(probabilities, (times, 1)), np.tile(targets, times), vocab, groups=named*times, related=related*times)
    np.testing.assert_array_equal(intervals(copied), intervals(once))
    plain = evaluate(probabilities, targets, vocab)
    in_groups = evaluate(np.repeat(probabilities, times, 0), np.repeat(targets, times), vocab, groups=np.repeat(np.arange(n), times))
    np.testing.assert_array_equal(intervals(in_groups), intervals(plain))


@settings(deadline=None, max_examples=100)
@given(grouped())
def test_an_interval_is_as_wide_as_that_of_its_groups(case):
    "At the same accuracy it is never narrower than with one image of each group, nor than without groups"
    probabilities, targets, groups, _ = case
    vocab, n = list('abcde')[:probabilities.shape[1]], len(targets)
    found, plain = evaluate(probabilities, targets, vocab, groups=groups), evaluate(probabilities, targets, vocab)
    named = [i if alone(group) else repr(group) for i, group in enumerate(groups)]
    sizes = pd.Series(named).value_counts()
    assert found.effective_images == n**2/sum(int(m)**2 for m in sizes) <= len(sizes)
    right = round(found.accuracy*n)
    assert width(found.accuracy_interval) >= width(accuracy_interval(right, n, effective=len(sizes))) - 1e-12
    assert width(found.accuracy_interval) >= width(plain.accuracy_interval) - 1e-12
    for name in ('precision', 'recall'):
        wide, narrow = (table.per_class[f'{name}_high'] - table.per_class[f'{name}_low'] for table in (found, plain))
        assert ((wide >= narrow - 1e-12) | wide.isna()).all()
    assert found.accuracy == plain.accuracy and found.accuracy_interval[0] <= found.accuracy <= found.accuracy_interval[1] + 1e-12


def test_relatives_in_the_training_part():
    probabilities, targets = np.array([[.9, .1], [.2, .8], [.6, .4], [.7, .3]]), [0, 1, 1, 1]
    def found(related, **options): return evaluate(probabilities, targets, ['a', 'b'], related=related, **options)
    half = found([True, True, False, False])
    assert (half.related_images, half.accuracy, half.accuracy_unrelated) == (2, .5, 0)
    assert half.accuracy_unrelated_interval == accuracy_interval(0, 2)
    film = found([True, True, False, False], groups=[None, None, 'film', 'film'])
    assert film.accuracy_unrelated_interval == accuracy_interval(0, 1) and film.effective_images == 16/6
    refused = found([True, True, False, False], refused=[True, False, False, False])
    assert (refused.related_images, refused.accuracy_unrelated) == (1, 0)
    names = ['related_images', 'accuracy_unrelated', 'accuracy_unrelated_interval']
    assert [found([True]*4).summary()[name] for name in names] == [4, None, None]
    assert [found(None).summary()[name] for name in names] == [None]*3
    assert [found([False]*4).summary()[name] for name in names] == [0, .5, list(accuracy_interval(2, 4))]


def test_columns_of_a_table_are_taken():
    "Series with an index of their own, categories, pandas' missing values, tensors"
    probabilities, targets, names = torch.rand(6, 2).softmax(1), ['a', 'b', 'a', 'b', 'a', 'a'], list('uvwxyz')
    groups, related = ['f', 'f', None, 'g', 'g', None], [True, True, False, False, True, False]
    frame, vocab = pd.DataFrame(dict(label=targets, group=groups, related=related), index=names), pd.Index(['a', 'b'])
    plain = evaluate(probabilities, targets, ['a', 'b'], groups=groups, related=related, refused=[False]*6).summary()
    for group in (frame.group, frame.group.astype('category'), frame.group.astype('string'), frame.group.fillna('')):
        for flags in (frame.related, frame.related.astype('boolean'), torch.tensor(related)):
            for label in (frame.label, frame.label.astype('category')):
                found = evaluate(pd.DataFrame(probabilities.numpy(), names), label, vocab, flags & False, group, flags)
                assert found.summary() == plain
    numbers = torch.tensor([0, 0, 1, 2, 2, 3])
    assert evaluate(probabilities, targets, ['a', 'b'], groups=numbers).effective_images == effective_images(groups) == 36/10
    assert top_losses(probabilities, frame.label, ['a', 'b'], frame.group, k=6).image.isna().sum() == 2
    for wrong, words in ((dict(groups=groups[1:]), '5 groups for 6 images'), (dict(related=related[1:]), '`related` needs one True or False')):
        with pytest.raises(InputError, match=words): evaluate(probabilities, targets, ['a', 'b'], **wrong)


@settings(deadline=None, max_examples=100)
@given(grouped())
def test_a_summary_is_strict_json(case):
    "Classes without images, groups, images with relatives: what is missing is None, never NaN"
    probabilities, targets, groups, related = case
    found = evaluate(probabilities, targets, list('abcde')[:probabilities.shape[1]], groups=groups, related=related)
    summary = found.summary()
    assert json.loads(json.dumps(summary, allow_nan=False)) == json.loads(to_json(summary)) == summary
    assert {name for name, f1 in summary['per_class_f1'].items() if f1 is None} == set(found.per_class.index[found.per_class.images == 0])


def test_calibration_error_by_hand():
    "Four answers at .9, of which two are right; four at .6, of which three are"
    probabilities, targets = [[.9, .1]]*4 + [[.4, .6]]*4, [0, 0, 1, 1, 1, 1, 1, 0]
    found = evaluate(probabilities, targets, ['a', 'b'])
    assert found.expected_calibration_error == pytest.approx(.5*abs(.5 - .9) + .5*abs(.75 - .6))
    assert found.calibration.images.tolist() == [4, 4]


def test_refused_images_are_no_answers():
    probabilities, targets = np.array([[.9, .1], [.2, .8], [.6, .4], [.7, .3]]), [0, 1, 1, 1]
    found = evaluate(probabilities, targets, ['a', 'b'], refused=[False, False, True, False])
    plain = evaluate(probabilities[[0, 1, 3]], [0, 1, 1], ['a', 'b'])
    assert (found.coverage, plain.coverage) == (.75, 1)
    assert {k: v for k, v in found.summary().items() if k != 'coverage'} == {k: v for k, v in plain.summary().items() if k != 'coverage'}
    assert found.per_class.refused.tolist() == [0, 1] and 'refused' not in plain.per_class
    assert evaluate(probabilities, targets, ['a', 'b'], refused=[False]*4).summary() == evaluate(probabilities, targets, ['a', 'b']).summary()


def test_a_class_without_images_and_a_single_image():
    found = evaluate([[.2, .7, .1]], ['b'], ['a', 'b', 'c'])
    assert (found.accuracy, found.f1, found.recall, found.confusion.to_numpy().sum()) == (1, 1, 1, 1)
    assert found.per_class.loc['a', ['recall', 'f1', 'recall_low', 'precision_low']].isna().all() and found.per_class.loc['a', 'images'] == 0
    for plot in (plot_confusion_matrix, plot_per_class, plot_calibration): plot(found).canvas.draw()


EVEN = np.full((3, 2), .5)

@pytest.mark.parametrize('args, words', [
    ((EVEN, [0, 1, 2], ['a', 'b']), 'target 2 is none of the 2 classes'), ((EVEN, [0, 1, -1], ['a', 'b']), 'target -1 is none'),
    ((EVEN, ['a', 'b', 'x'], ['a', 'b']), "label 'x' is none of the classes a, b"), ((EVEN, ['a', 'b', None], ['a', 'b']), 'is a label missing'),
    ((EVEN, [0, 1, .5], ['a', 'b']), 'is a label missing'), ((EVEN, [0, 1, math.nan], ['a', 'b']), 'is a label missing'),
    ((EVEN, [0, 1], ['a', 'b']), '3 rows of probabilities for 2 targets'), ((EVEN, [0, 1, 1], ['a', 'b', 'c']), '3 classes need as many columns'),
    ((EVEN[0], [0, 1], ['a', 'b']), r'shape \(2,\)'), (([[.5, .5], [1]], [0, 1], ['a', 'b']), 'not a table of numbers'),
    ((EVEN, [0, 1, 1], ['a', 'a']), 'named twice'),
    ((np.array([[.5, .5], [math.nan, 1], [1, 0]]), [0, 1, 1], ['a', 'b']), 'row 1 of the probabilities is not finite'),
    (([[.5, .5], [2, -1]], [0, 1], ['a', 'b']), 'row 1 sums to 1, its smallest value is -1'), (([[.5, .4]], [0], ['a', 'b']), 'row 0 sums to 0.9'),
    (([], [], ['a', 'b']), 'no images to evaluate on'), ((EVEN, [0, 1, 1], ['a', 'b'], [True]*3), 'all 3 images were refused'),
    ((EVEN, [0, 1, 1], ['a', 'b'], [True]), 'one True or False for each of the 3'), ((EVEN, [0, 1, 1], ['a', 'b'], [0, 1, 0]), 'one True or False')])
def test_what_cannot_be_judged_is_told_in_one_line(args, words):
    with pytest.raises(InputError, match=words) as error: evaluate(*args)
    assert '\n' not in str(error.value)


def test_tensors_tables_and_rounded_probabilities():
    probabilities, targets = torch.rand(30, 3).softmax(1), torch.randint(3, (30,))
    plain = evaluate(probabilities.numpy(), targets.numpy(), list('abc'))
    values = lambda found: pd.Series(found.summary()).explode().tolist()
    assert values(evaluate(probabilities.requires_grad_(), targets, list('abc'))) == pytest.approx(values(plain))
    assert evaluate(pd.DataFrame(probabilities.detach().numpy().round(3)), list(targets), list('abc')).accuracy == plain.accuracy
    evaluate(probabilities.detach().bfloat16(), targets, list('abc'))


def test_many_classes_are_drawn():
    figure = plot_confusion_matrix(evaluate(np.eye(100), range(100), [f'class {i}' for i in range(100)]))
    assert max(figure.get_size_inches()) < 16 and not figure.axes[0].texts


# Grad-CAM

def asymmetric_images(n=2, size=64, channels=1):
    "Images of which no two parts are alike"
    return torch.rand(n, channels, size, size)*torch.linspace(.1, 1, size)[:, None]*torch.linspace(1, .3, size)**2


def named_network(name, seed=0):
    torch.manual_seed(seed)
    size, channels = (224, 3) if name in ('torchvision/swin_t', 'timm/vit_tiny_patch16_224') else (64, 3 if '/' in name else 1)
    return build_model(name, 4, size=size, in_channels=channels, **SMALL.get(name, {})).eval(), asymmetric_images(2, size, channels)


def explained(name):
    "An untrained network, two images, and their heat for classes 1 and 3, for one of which something spoke"
    for seed in range(50):
        model, images = named_network(name, seed)
        found = grad_cam(model, images, targets=[1, 3])
        if found.maps.any(): return model, images, found
    pytest.fail(f'nothing speaks for any class in 50 networks {name}')


def brought_to(images, heat):
    "Maps (N, h, w) in the size of the images, the largest value 1"
    heat = nn.functional.interpolate(heat[:, None].float(), size=images.shape[2:], mode='bilinear')[:, 0]
    return heat/heat.amax((1, 2), keepdim=True).clamp(min=1e-30)


def by_formula(model, images, targets, layer):
    "α and A of a layer by retain_grad and backward; channels last and tokens as torchvision's Swin and timm's ViT have them"
    kept = []
    def keep(module, args, out): out.retain_grad(); kept.append(out)
    handle = model.get_submodule(layer).register_forward_hook(keep)
    model(images)[range(len(images)), targets].sum().backward()
    handle.remove()
    as_maps = lambda t: t if t.ndim == 4 else t[:, 1:].transpose(1, 2).reshape(len(t), -1, 14, 14)
    maps, slopes = as_maps(kept[-1].detach()), as_maps(kept[-1].grad)
    return torch.einsum('nk,nkhw->nhw', slopes.mean((2, 3)), maps).clamp(min=0)


@pytest.mark.parametrize('name', WITH_MAPS + OTHERS)
def test_grad_cam_is_the_papers_formula(name):
    model, images, found = explained(name)
    expected = by_formula(model, images, [1, 3], found.layer)
    assert found.maps.shape == images[:, 0].shape
    torch.testing.assert_close(found.maps, brought_to(images, expected), atol=1e-4, rtol=0)
    assert min(expected.shape[1:]) >= USEFUL_SIDE


@pytest.mark.parametrize('name', ['lenet', 'mnist_cnn', 'conv_stack', 'resnet20', 'course_cnn', 'simple_cnn', 'custom_cnn'])
def test_grad_cam_is_what_the_slopes_say(name):
    "No gradient is asked: each map is made a little brighter everywhere, and the answer measured"
    model, images, found = explained(name)
    which, target = next((i, target) for i, target in enumerate([1, 3]) if found.maps[i].any())
    model, images, step = model.double(), images.double()[which:which + 1], 1e-6
    found = grad_cam(model, images, target)
    def brighter(module, args, out):
        maps.append(out[0])
        change = torch.eye(out.shape[1], dtype=out.dtype)[:, :, None, None]*step
        return torch.cat([out[:1] + change, out[:1] - change])
    maps = []
    handle = model.get_submodule(found.layer).register_forward_hook(brighter)
    with torch.no_grad(): up, down = model(images)[:, target].chunk(2)
    handle.remove()
    alpha = (up - down)/(2*step)/maps[0][0].numel()
    expected = torch.einsum('k,khw->hw', alpha, maps[0]).clamp(min=0)
    torch.testing.assert_close(found.maps, brought_to(images, expected[None]), atol=1e-3, rtol=0)


@pytest.mark.verify
def test_grad_cam_is_captums(record_property):
    captum, names = pytest.importorskip('captum.attr'), [*WITH_MAPS, *OTHERS[:3], 'torchvision/swin_t']
    worst = 0
    for name in names:
        model, images, found = explained(name)
        theirs = captum.LayerGradCam(model, model.get_submodule(found.layer)).attribute(images, target=torch.tensor([1, 3]), relu_attributions=True)
        assert name != 'torchvision/swin_t' or found.layer == 'permute'
        worst = max(worst, (found.maps - brought_to(images, theirs[:, 0].detach())).abs().max().item())
    record_property('networks', len(names)), record_property('largest_difference', worst)
    assert worst < 1e-4


def test_layers_that_are_chosen():
    "As the paper's successors choose them by hand; in a vision transformer the last that the class token still reads"
    layer = lambda name, size: grad_cam(build_model(name, 4, size=size).eval(), asymmetric_images(1, size, 3)).layer
    assert layer('resnet18', 224) == 'layer4' and layer('timm/vit_tiny_patch16_224', 224) == 'blocks.11.norm1'
    assert layer('conv_stack', 200) == '4'
    assert layer('torchvision/alexnet', 64) == 'features.4' # the adaptive pooling blows 1 place up to 6: that is no map


def everything(model):
    "All that may not change"
    return (dict(model.state_dict()), [m.training for m in model.modules()],
            [p.requires_grad for p in model.parameters()], [p.grad for p in model.parameters()],
            [len(m._forward_hooks) for m in model.modules()], torch.get_rng_state())


@pytest.mark.parametrize('ask', [grad_cam, lambda model, images: show_feature_maps(model, images[0])], ids=['grad_cam', 'feature_maps'])
@pytest.mark.parametrize('broken', [False, True], ids=['works', 'raises'])
def test_network_is_left_as_it_was(ask, broken):
    model = build_model('custom_cnn', 4, size=64).train()
    for part in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)): part.eval() # as in fine-tuning
    list(model.children())[0].requires_grad_(False)
    next(reversed(list(model.parameters()))).grad = torch.ones(4)
    model.register_forward_hook(lambda *args: None)
    images = asymmetric_images(2, 64, 1 if broken else 3)
    before, seen = everything(model), images.clone()
    with pytest.raises(RuntimeError) if broken else nullcontext(): ask(model, images)
    state, *rest, rng = everything(model)
    torch.testing.assert_close(state, before[0], rtol=0, atol=0)
    assert rest[:2] + rest[3:] == list(before[1:3]) + [before[4]] and torch.equal(rng, before[5])
    assert all(a is b for a, b in zip(rest[2], before[3])) and torch.equal(images, seen) and not images.requires_grad


def test_each_image_is_explained_by_itself():
    model, images = named_network('resnet20')
    together = grad_cam(model.train(), images, targets=[0, 3])
    for i, target in enumerate([0, 3]): torch.testing.assert_close(grad_cam(model, images[i:i + 1], target).maps[0], together.maps[i], atol=1e-5, rtol=0)
    assert not torch.allclose(grad_cam(model, images, 1).maps, grad_cam(model, images, 2).maps)
    torch.testing.assert_close(grad_cam(model, images).targets, model.eval()(images).argmax(1))


def test_frozen_networks_and_no_grad():
    model, images = named_network('conv_stack')
    plain = grad_cam(model, images).maps
    with torch.no_grad(): torch.testing.assert_close(grad_cam(model.requires_grad_(False), images).maps, plain)


def test_nothing_spoke_for_it():
    "A class that every map speaks against has no heat, and no NaN"
    model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2))
    nn.init.ones_(model[0].weight)
    with torch.no_grad(): model[4].weight.copy_(torch.tensor([[-1., -1], [1, 1]]))
    assert not grad_cam(model, asymmetric_images(1, 12), 0).maps.any() and grad_cam(model, asymmetric_images(1, 12), 1).maps.max() == 1


def test_it_points_at_what_decides():
    "Brightness in the upper left corner decides, and nothing else"
    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 2))
    for p in model.parameters(): nn.init.ones_(p)
    image = torch.full((1, 1, 20, 30), -1.)
    image[..., 2:6, 20:26] = 1
    heat = grad_cam(model, image, 1).maps[0]
    torch.testing.assert_close(heat, (image[0, 0] > 0).float())


@pytest.mark.parametrize('options, words', [
    (dict(targets=7), r'numbered from 0 to 3'), (dict(targets=[0, -1]), 'numbered from 0'),
    (dict(layer='nowhere'), "'nowhere' is no layer that makes maps: choose one of 0.0"),
    (dict(layer='5'), 'is no layer that makes maps')])
def test_what_grad_cam_cannot_explain(options, words):
    with pytest.raises(InputError, match=words): grad_cam(conv_stack(4, 32), asymmetric_images(2, 32, 3), **options)


def test_other_mistakes_are_told():
    images = asymmetric_images(2, 32, 3)
    diverged = conv_stack(4, 32)
    nn.init.constant_(diverged[0][0].weight, math.nan)
    for model, x, words in [(build_model('mlp', 4, 32), images, 'Grad-CAM needs a network with convolutions'),
                            (conv_stack(4, 32), images[0], r'give a batch \(N, C, H, W\)'),
                            (diverged, images, 'not finite'), (nn.Conv2d(3, 2, 3), images, 'not with .images, classes.')]:
        with pytest.raises(InputError, match=words): grad_cam(model, x)


@pytest.mark.verify
def test_heat_lies_on_the_digit(record_property):
    "A digit somewhere in noise: the hottest place lies in its box, which is a seventh of the picture, on most of the images"
    from sklearn.datasets import load_digits
    digits = load_digits()
    large = nn.functional.interpolate(torch.tensor(digits.images/16, dtype=torch.float32)[:, None], size=24, mode='bilinear')
    def canvases(rows, rng):
        x, boxes = torch.tensor(rng.uniform(0, .35, (len(rows), 1, 64, 64)), dtype=torch.float32), torch.zeros(len(rows), 64, 64, dtype=bool)
        for k, row in enumerate(rows):
            top, left = rng.integers(0, 41, 2)
            part = np.s_[top:top + 24, left:left + 24]
            x[k, 0][part], boxes[k][part] = torch.maximum(x[k, 0][part], large[row, 0]), True
        return (x - .2)/.25, boxes
    model, rng = conv_stack(10, 64, in_channels=1), np.random.default_rng(1)
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    for _ in range(250):
        rows = rng.integers(0, 1400, 64)
        loss = nn.functional.cross_entropy(model(canvases(rows, rng)[0]), torch.tensor(digits.target[rows]))
        optimizer.zero_grad(), loss.backward(), optimizer.step()
    x, boxes = canvases(range(1400, 1600), np.random.default_rng(5))
    heat = grad_cam(model, x, digits.target[1400:1600])
    hits = boxes.flatten(1)[torch.arange(200), heat.maps.flatten(1).argmax(1)].float().mean().item()
    chance = boxes.float().mean().item()
    record_property('hits', round(hits, 3)), record_property('chance', round(chance, 3)), record_property('layer', heat.layer)
    assert hits > .6 and chance < .15


# Kernels and maps as pictures

def test_kernels_are_the_weights():
    model = conv_stack(4, 32)
    weight = model[0][0].weight.detach().numpy()
    drawn = show_kernels(model, most=8).axes[0].images[0].get_array() # rows of 8 kernels, 5×5 at 4 pixels each, 3 pixels between them
    kernel = 9
    top, left = 1*23, 1*23
    np.testing.assert_allclose(drawn[top:top + 20:4, left:left + 20:4], .5 + weight[kernel].transpose(1, 2, 0)/(2*abs(weight).max()), atol=1e-6)
    assert (drawn[:, 20:23] == 1).all() and drawn.min() >= 0 and drawn.max() <= 1
    deeper, weight = show_kernels(model, '1.0', most=4).axes[0].images[0].get_array(), model[1][0].weight.detach().numpy()
    np.testing.assert_allclose(deeper[23:43:4, 46:66:4], weight[1, 2], atol=1e-6) # kernel 1 for map 2


@pytest.mark.parametrize('name', ['alexnet', 'conv_stack', 'lenet', 'resnet50', 'vgg11', 'simple_cnn', 'timm/vit_tiny_patch16_224'])
def test_pictures_of_networks(name):
    model, images = named_network(name)
    show_kernels(model).canvas.draw()
    show_feature_maps(model, images[0]).canvas.draw()
    show_grad_cam(images, grad_cam(model, images), ['one', 'two'], columns=1).canvas.draw()


def test_feature_maps_are_what_the_layer_makes():
    "Also where the next layer works in place"
    model = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(5, 2, 3, 2))
    image = asymmetric_images(1, 24, 3)
    figure = show_feature_maps(model, image[0], layers=['0', '1'], most=5)
    for axis, maps in zip(figure.axes, [model[0](image)[0].detach(), model[:2](image)[0].detach()]):
        for k, strongest in enumerate(maps.flatten(1).std(1, correction=0).argsort(descending=True, stable=True)):
            np.testing.assert_allclose(axis.images[0].get_array()[::2, k*51:k*51 + 48:2], maps[strongest], atol=1e-6)


# From a Learner

class ByColour(nn.Module):
    "Answers by the strongest colour, surely"
    def __init__(self): super().__init__(); self.scale = nn.Parameter(torch.ones(()))
    def forward(self, x): return 5*self.scale*x.mean((2, 3)).flip(1) # the classes are blue, green, red


@pytest.fixture(scope='module')
def colours(tmp_path_factory):
    "60 pictures in one colour each, whose names say which; three of them lie in a wrong folder; DataLoaders with augmentation"
    root = tmp_path_factory.mktemp('colours')
    for i in range(60):
        colour = 'blue green red'.split()[i % 3]
        label = 'red' if i in (1, 4, 7) else colour
        (root/label).mkdir(exist_ok=True)
        pixels = np.zeros((16, 16, 3), dtype=np.uint8)
        pixels[..., ['red', 'green', 'blue'].index(colour)] = 130 + 2*i
        Image.fromarray(pixels).save(root/label/f'{colour}-{i}.png')
    with pytest.warns(UserWarning, match='not cleaned'): dls = image_dataloaders(root, 16, 8, test_pct=.2, num_workers=0)
    return dls


def test_predictions_for_cleaning_belong_to_their_files(colours):
    table = predictions_for_cleaning(scratch_learner(colours, ByColour()))
    assert len(table) == len(colours.train.dataset) + len(colours.valid.dataset) and table.image.is_unique
    assert (table.predicted == table.image.str.extract('/([a-z]+)-')[0]).all() and (table.label == table.image.str.split('/').str[0]).all()
    wrong = table.label != table.predicted
    assert wrong.any() and wrong[:wrong.sum()].all() # the worst come first
    assert not set(table.image) & set(colours[2].items.name)


def test_the_cleaner_takes_them(colours):
    from fastcnn.cleaner import read_predictions
    table = predictions_for_cleaning(scratch_learner(colours, ByColour()), parts=(1,))
    found = read_predictions(table)
    assert len(found) == len(colours.valid.dataset) and set(table.part) == {1}
    for row in table.itertuples(): assert found[row.image].loss(row.label) == pytest.approx(row.loss) and found[row.image].predicted == row.predicted


@pytest.mark.parametrize('parts', [(0, 1, 2), (2,), (), (3,)])
def test_the_test_part_is_not_cleaned_by_loss(colours, parts):
    with pytest.raises(InputError, match='clean by loss in parts 0 .training. and 1 .validation. only'):
        predictions_for_cleaning(scratch_learner(colours, ByColour()), parts)


def test_predicting_leaves_the_history(colours):
    learn = scratch_learner(colours)
    with learn.no_bar(), learn.no_logging(): learn.fit(2, 1e-3)
    values, callbacks = [list(v) for v in learn.recorder.values], sorted(map(repr, learn.cbs))
    probabilities, targets = predict_items(learn, colours[1].items)
    assert [list(v) for v in learn.recorder.values] == values and sorted(map(repr, learn.cbs)) == callbacks
    assert (probabilities.argmax(1) == targets).float().mean().item() == pytest.approx(values[-1][-1])
    plot_loss_curves(learn)
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3) # and it trains on
    assert len(learn.recorder.values) == 1


@pytest.mark.parametrize('loss', [None, nn.CrossEntropyLoss()], ids=['of fastai', 'of torch'])
def test_a_learner_is_judged_on_the_part_asked_for(colours, loss):
    "As its predictions are; a loss that knows no probabilities changes nothing"
    learn = scratch_learner(colours, ByColour())
    plain = {part: evaluate(*predict_items(learn, colours[place].items), list(colours.vocab)) for part, place in (('valid', 1), ('test', 2))}
    if loss: learn.loss_func = loss
    assert evaluate(learn).part == 'test'
    for part, place in (('valid', 1), ('test', 2)):
        found, items = evaluate(learn, part=part), colours[place].items
        assert (found.part, found.accuracy, found.confusion.to_numpy().tolist()) == (part, plain[part].accuracy, plain[part].confusion.to_numpy().tolist())
        assert found.log_loss == pytest.approx(plain[part].log_loss)
        wrong = {str(row.image) for row in items.itertuples() if f'{row.label}-' not in str(row.image).split('/')[-1]}
        assert set(map(str, found.worst.image)) == wrong and found._repr_html_().count('<img') == len(wrong)


def test_relatives_of_a_learner_are_told(colours, monkeypatch):
    for part, group in ((0, 'film'), (2, 'film')): monkeypatch.setitem(colours[part].items, 'group', [group]*2 + [None]*(len(colours[part].items) - 2))
    found = evaluate(scratch_learner(colours, ByColour()))
    assert found.related_images == 2 and found.effective_images < len(colours[2].dataset) and 'with relatives in training' in repr(found)


def test_a_learner_without_a_test_part(colours):
    from fastai.data.core import DataLoaders
    learn = scratch_learner(DataLoaders(colours[0], colours[1]), ByColour())
    assert evaluate(learn).part == 'valid' and 'the validation part' in evaluate(learn)._repr_html_()
    with pytest.raises(InputError, match='has no test part'): evaluate(learn, part='test')
    with pytest.raises(InputError, match='choose valid or test'): evaluate(learn, part='train')
    with pytest.raises(InputError, match='knows its own images and classes'): evaluate(learn, [0], ['a'])
    with pytest.raises(InputError, match='have no part'): evaluate([[.5, .5]], [0], ['a', 'b'], part='test')


# The page

class Addresses(html.parser.HTMLParser):
    "Whatever a page could load or run"
    def __init__(self, text):
        super().__init__()
        self.found, self.images, self.figures = [], [], 0
        self.feed(text)
    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag in ('script', 'link', 'iframe', 'object', 'embed', 'base', 'form'): self.found.append(tag)
        self.found += [v for k, v in attributes.items() if k in ('src', 'href', 'srcset', 'style', 'background') and not v.startswith(('data:image/', '#'))]
        self.found += [k for k in attributes if k.startswith('on')]
        if tag == 'img': self.images.append(attributes.get('alt'))
        if tag == 'figure': self.figures += 1


@pytest.fixture(scope='module')
def page_file(colours, tmp_path_factory):
    torch.manual_seed(0)
    learn = scratch_learner(colours)
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(2, 3e-3)
    vocab, (probabilities, targets) = list(colours.vocab), predict_items(learn, colours[2].items)
    worst = top_losses(probabilities, targets, vocab, colours[2].items.image.tolist(), k=6)
    refused = np.zeros(len(targets), dtype=bool)
    refused[0] = True
    found = evaluate(probabilities, targets, vocab, refused)
    return evaluation_report(tmp_path_factory.mktemp('page')/'evaluation.html', found, learn, worst, subtitle='Three colours: 12 images that were held back')


@pytest.fixture(scope='module')
def hostile_file(tmp_path_factory):
    "Forty classes, names as strangers write them, a file that is broken, and all that a page can show beside its result"
    rng, vocab = np.random.default_rng(0), ['<b>x</b> $y$', 'a name ' + 'of many words '*9, 'w'*90, '土星', 'two\nlines', *map(str, range(35))]
    targets = rng.integers(0, 40, 90)
    weights = rng.random((90, 40)) + np.eye(40)[targets]
    probabilities = weights/weights.sum(1, keepdims=True)
    images = [Image.new('RGB', (60 + i, 40), (i, 90, 120)) for i in range(89)] + [b'broken']
    worst = top_losses(probabilities, targets, vocab, images, k=89)
    return evaluation_report(tmp_path_factory.mktemp('page')/'hostile.html', evaluate(probabilities, targets, vocab), None, worst, refused=.25)


def test_page_needs_nothing_else(page_file):
    text = page_file.read_text()
    parts = Addresses(text)
    assert parts.found == [] and parts.figures == 6 and len([alt for alt in parts.images if alt]) == 6
    assert 'http' not in text.replace('http-equiv', '') and '@import' not in text and 'url(' not in text
    assert '8.3% of the images were refused' in text and 'Not shown' not in text
    assert text.index('class="value">') < text.index('Hardest to tell apart') < text.index('<main')


@pytest.mark.parametrize('width', [1280, 768, 390])
@pytest.mark.parametrize('theme', ['light', 'dark'])
def test_page_in_a_browser(browser, axe, page_file, hostile_file, width, theme, tmp_path):
    page, trouble = browser.new_page(viewport=dict(width=width, height=900), color_scheme=theme), []
    def answer(route):
        if route.request.url.startswith(('file:', 'data:')): return route.continue_()
        trouble.append(route.request.url)
        route.abort()
    page.route('**/*', answer)
    page.on('console', lambda message: trouble.append(message.text))
    for file in (hostile_file, page_file):
        page.goto(file.as_uri())
        assert page.evaluate('document.documentElement.scrollWidth') <= width
        assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth && (i.alt || i.closest('li').innerText.trim()))")
        row = page.evaluate("[...document.querySelectorAll('.gallery li')].filter((li, _, all) => li.offsetTop === all[0].offsetTop).length")
        assert row == {390: 3, 768: 6, 1280: 8}[width] or file == page_file # pictures reflow
        assert trouble == []
    assert page.locator('main section').count() == 8 and page.locator('nav a').all_inner_texts()[0] == 'Class by class'
    page.screenshot(path=tmp_path/'page.png')
    for file in (hostile_file, page_file):
        page.goto(file.as_uri())
        assert violations(page, axe) == []
    page.close()
    folder = ROOT/'images' if os.environ.get('FASTCNN_PICTURES') else None # python -m pytest tests/test_evaluation.py -k browser
    if folder and width > 1000 and theme == 'light':
        shot = Image.open(tmp_path/'page.png').convert('RGB')
        shot.quantize(128, dither=Image.Dither.NONE).save(folder/'evaluation.png', optimize=True)


def test_names_of_strangers_stay_text(hostile_file):
    text = hostile_file.read_text()
    for shown in ('&lt;b&gt;x&lt;/b&gt; $y$', '土星', 'two\\nlines', 'cannot be read', '25.0%'): assert shown in text, shown
    assert '<b>' not in text and 'w'*90 in text


def test_contact_sheet_takes_bytes_and_crosses_out_what_is_broken(tmp_path):
    Image.new('RGB', (40, 30), 'blue').save(tmp_path/'good.png')
    content = (tmp_path/'good.png').read_bytes()
    sheet = np.asarray(contact_sheet([tmp_path/'good.png', content, content[:40], tmp_path/'nowhere.png', b''], columns=5, size=40))
    cells = [sheet[6:46, 6 + i*46:46 + i*46] for i in range(5)]
    blue = [bool((cell == (0, 0, 255)).all(-1).sum() > 1000) for cell in cells]
    red = [bool((cell == (0xb0, 0x20, 0x20)).all(-1).sum() > 100) for cell in cells]
    assert (blue, red) == ([True, True, False, False, False], [False, False, True, True, True])
