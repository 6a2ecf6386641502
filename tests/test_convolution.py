"The operations from scratch against torch and SciPy on random settings, and proof that these tests would see a mistake"
import inspect, random, types

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from torch.testing import assert_close

import fastcnn.convolution as convolution
from fastcnn.core import InputError

EXACT = dict(rtol=0, atol=1e-10)
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths") # torch's remark on its own speed


def pick_setting(draw):
    "A setting that fits: shapes (images, kernels), and stride, padding, dilation, groups, padding_mode"
    pair = lambda least, most: (draw(least, most), draw(least, most))
    kernel, stride, dilation, groups = pair(1, 4), pair(1, 3), pair(1, 3), draw(1, 3)
    covers = [d*(k - 1) + 1 for k, d in zip(kernel, dilation)]
    size = [c + draw(0, 7) for c in covers]
    mode = convolution.PADDING_MODES[draw(0, 3)]
    padding = tuple(draw(0, min(4, n - 1)) for n in size)
    if draw(0, 5) == 0: padding = 'valid'
    elif draw(0, 4) == 0 and min(n - c for n, c in zip(size, covers)) >= 0: padding, stride = 'same', (1, 1)
    shapes = (draw(1, 2), groups*draw(1, 2), *size), (groups*draw(1, 2), 0, *kernel)
    return shapes, dict(stride=stride, padding=padding, dilation=dilation, groups=groups, padding_mode=mode)


def tensors(shapes, groups, seed):
    "Random images, kernels and bias in double precision that ask for gradients"
    (n, c, *size), (o, _, *kernel) = shapes
    make = torch.Generator().manual_seed(seed)
    return [torch.randn(*shape, generator=make, dtype=torch.float64).requires_grad_() for shape in ((n, c, *size), (o, c//groups, *kernel), (o,))]


def torch_conv2d(x, weight, bias, stride, padding, dilation, groups, padding_mode):
    "torch's own layer with these weights"
    layer = torch.nn.Conv2d(x.shape[1], weight.shape[0], tuple(weight.shape[2:]), stride, padding, dilation, groups, padding_mode=padding_mode, dtype=x.dtype)
    return torch.func.functional_call(layer, dict(weight=weight, bias=bias), (x,))


def check(module, shapes, setting, seed=0):
    "Output and all three gradients of `module` are torch's, within 1e-10"
    x, weight, bias = inputs = tensors(shapes, setting['groups'], seed)
    expected = torch_conv2d(*inputs, **setting)
    grad_output = torch.randn_like(expected)
    assert_close(module.conv2d(*inputs, **setting), expected, **EXACT)
    with torch.no_grad(): found = module.conv2d_backward(grad_output, x, weight, **setting)
    assert_close(found, torch.autograd.grad(expected, inputs, grad_output), **EXACT)


def random_settings(n, seed):
    "n random settings, the same for the same seed"
    draw = random.Random(seed).randint
    return [pick_setting(draw) for _ in range(n)]


def test_500_random_layers_are_torchs():
    cases = random_settings(500, seed=0)
    for seed, (shapes, setting) in enumerate(cases): check(convolution, shapes, setting, seed)
    used = [setting for _, setting in cases]
    assert {s['padding_mode'] for s in used} == set(convolution.PADDING_MODES) and {'same', 'valid'} < {s['padding'] for s in used}
    assert sum(s['stride'][0] != s['stride'][1] for s in used) > 100 and sum(s['groups'] > 1 for s in used) > 100


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_layer_is_torchs(data):
    shapes, setting = pick_setting(lambda least, most: data.draw(st.integers(least, most)))
    check(convolution, shapes, setting)


@pytest.mark.parametrize('shapes, setting', random_settings(6, seed=1))
def test_gradients_are_slopes(shapes, setting):
    "autograd of our forward against finite differences in double precision"
    inputs = tensors(shapes, setting['groups'], seed=1)
    assert torch.autograd.gradcheck(lambda *inputs: convolution.conv2d(*inputs, **setting), inputs)


MUTANTS = dict(
    flipped_kernel=("_under(windows, padded, cell), kernels[..., *cell]) for cell", "_under(windows, padded, cell), kernels.flip(-2, -1)[..., *cell]) for cell"),
    padding_off_by_one=("at = torch.arange(-before, size + after)", "at = torch.arange(-before, size + after) + (before > 0)"),
    swapped_strides=("return padded[..., top:", "down, right = right, down; return padded[..., top:"),
    no_bias_gradient=("grad_output.sum((0, 2, 3))", "torch.zeros_like(grad_output.sum((0, 2, 3)))"),
    wrong_floor=("- dilation*(kernel_size - 1) - 1)//stride + 1", "- dilation*(kernel_size - 1) - 1 + stride - 1)//stride + 1"),
    flipped_kernel_backwards=("grad, kernels[..., *cell])", "grad, kernels.flip(-2, -1)[..., *cell])"),
    weight_gradient_of_the_last_image=("'ngoyx,ngcyx->goc', grad,", "'ngoyx,ngcyx->goc', grad*(torch.arange(len(grad)) == len(grad) - 1)[:, None, None, None, None],"),
    same_pads_before=("(total//2, total - total//2)", "(total - total//2, total//2)"),
    margins_keep_their_gradient=("index_add(axis,", "index_copy(axis,"))


def mutated(old, new):
    "The module with one piece of its text changed"
    source = inspect.getsource(convolution)
    assert source.count(old) == 1, f'{old!r} stands {source.count(old)} times in the module'
    module = types.ModuleType('fastcnn.mutant')
    module.__package__ = 'fastcnn' # for its relative import
    exec(compile(source.replace(old, new), 'mutant', 'exec'), module.__dict__)
    return module


@pytest.mark.parametrize('name', MUTANTS)
def test_a_mistake_would_be_seen(name):
    "Each planted mistake makes the comparison fail: by a wrong number, or a shape that no longer fits"
    module = mutated(*MUTANTS[name])
    with pytest.raises((AssertionError, RuntimeError, ValueError)):
        for seed, (shapes, setting) in enumerate(random_settings(500, seed=0)): check(module, shapes, setting, seed)


def test_the_unchanged_text_is_no_mutant():
    module = mutated('at = torch.arange(-before, size + after)', 'at = torch.arange(-before, size + after) + 0')
    for shapes, setting in random_settings(40, seed=2): check(module, shapes, setting)


@st.composite
def poolings(draw):
    "Maps and a setting that torch allows"
    pair = lambda least, most: (draw(st.integers(least, most)), draw(st.integers(least, most)))
    kernel, stride, size = pair(1, 4), pair(1, 4), pair(4, 11)
    setting = dict(kernel_size=kernel, stride=draw(st.sampled_from([None, stride])), padding=tuple(draw(st.integers(0, k//2)) for k in kernel), ceil_mode=draw(st.booleans()))
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(draw(st.integers(0, 99))), dtype=torch.float64)
    return x.requires_grad_(), setting


def same_way_back(ours, theirs, x):
    "Equal outputs and equal gradients"
    assert_close(ours, theirs, **EXACT)
    grad_output = torch.randn_like(theirs)
    assert_close(torch.autograd.grad(ours, x, grad_output), torch.autograd.grad(theirs, x, grad_output), **EXACT)


@given(poolings(), st.integers(1, 2), st.integers(1, 2))
@settings(max_examples=100, deadline=None)
def test_max_pool(case, down, right):
    x, setting = case
    setting['dilation'] = (down, right) if all(d*(k - 1) < n for d, k, n in zip((down, right), setting['kernel_size'], x.shape[2:])) else 1
    ours, theirs = [pool(x, **setting, return_indices=True) for pool in (convolution.max_pool2d, F.max_pool2d)]
    assert_close(ours[1], theirs[1])
    same_way_back(ours[0], theirs[0], x)


@given(poolings(), st.booleans(), st.sampled_from([None, 1, 5]))
@settings(max_examples=100, deadline=None)
def test_avg_pool(case, count_include_pad, divisor_override):
    x, setting = case
    setting |= dict(count_include_pad=count_include_pad, divisor_override=divisor_override)
    same_way_back(convolution.avg_pool2d(x, **setting), F.avg_pool2d(x, **setting), x)


@given(poolings(), st.sampled_from([2, 1, 3, 4, float('inf')]))
@settings(max_examples=60, deadline=None)
def test_lp_pool(case, norm_type):
    x, setting = case
    setting.pop('padding')
    x = x if norm_type == 2 else x.abs() + .1
    same_way_back(convolution.lp_pool2d(x, norm_type, **setting), F.lp_pool2d(x, norm_type, **setting), x)


@given(poolings())
@settings(max_examples=60, deadline=None)
def test_weighted_pool_is_a_depthwise_convolution(case):
    x, setting = case
    weight = torch.rand(setting.pop('kernel_size'), dtype=torch.float64) + .1
    setting |= dict(ceil_mode=False, stride=setting['stride'] or tuple(weight.shape))
    convolve = lambda x: F.conv2d(x, weight.expand(3, 1, *weight.shape), stride=setting['stride'], padding=setting['padding'], groups=3)
    same_way_back(convolution.weighted_pool2d(x, weight, **setting), convolve(x)/convolve(torch.ones_like(x)), x)


@given(poolings())
@settings(max_examples=20, deadline=None)
def test_even_weights_are_the_average(case):
    x, setting = case
    weight = torch.full(setting['kernel_size'], 3., dtype=torch.float64)
    expected = F.avg_pool2d(x, **setting, count_include_pad=False)
    assert_close(convolution.weighted_pool2d(x, weight, setting['stride'], setting['padding'], setting['ceil_mode']), expected, **EXACT)


@pytest.mark.parametrize('shapes, setting', random_settings(25, seed=3))
def test_matrix_does_what_the_layer_does(shapes, setting):
    x, weight, _ = tensors(shapes, setting['groups'], seed=3)
    matrix = convolution.conv_matrix(weight, tuple(x.shape[2:]), **setting)
    assert_close(x.flatten(1) @ matrix.T, convolution.conv2d(x, weight, **setting).flatten(1), **EXACT)


def test_float32_is_close_enough_to_train_with():
    shapes, setting = ((4, 6, 17, 12), (8, 0, 3, 5)), dict(stride=(2, 1), padding=(1, 2), dilation=1, groups=2, padding_mode='zeros')
    x, weight, bias = [t.float() for t in tensors(shapes, 2, seed=4)]
    assert_close(convolution.conv2d(x, weight, bias, **setting), torch_conv2d(x, weight, bias, **setting))


x, weight = torch.zeros(1, 4, 6, 7), torch.zeros(2, 4, 3, 3)

@pytest.mark.parametrize('call, words', [
    (lambda: convolution.conv2d(x, weight, stride=0), 'stride=0: give a whole number from 1 up'),
    (lambda: convolution.conv2d(x, weight, stride=1.5), 'stride=1.5: give a whole number'),
    (lambda: convolution.conv2d(x, weight, padding=-1), 'padding=-1: give a whole number from 0 up'),
    (lambda: convolution.conv2d(x, weight, padding='full'), "give 'same', 'valid' or numbers"),
    (lambda: convolution.conv2d(x, weight, stride=2, padding='same'), 'give numbers'),
    (lambda: convolution.conv2d(x, weight, padding_mode='mirror'), 'choose one of zeros, reflect'),
    (lambda: convolution.conv2d(x, weight, padding=6, padding_mode='reflect'), 'can pad a side of 6 by at most 5'),
    (lambda: convolution.conv2d(x, weight, dilation=3), 'a window of 7 pixels does not fit into 6'),
    (lambda: convolution.conv2d(x, weight, groups=3), 'cannot be dealt into 3 groups'),
    (lambda: convolution.conv2d(x, weight, groups=2), 'need 8 channels: the images have 4'),
    (lambda: convolution.max_pool2d(x, 8), 'a window of 8 pixels does not fit into 6'),
    (lambda: convolution.avg_pool2d(x, 2, padding=2), 'more than half of the window'),
    (lambda: convolution.lp_pool2d(x, 0, 2), 'norm_type=0'),
    (lambda: convolution.correlate2d(x[0, 0], torch.zeros(3, 8)), 'a kernel of 8 does not fit into 7')])
def test_what_cannot_work_is_refused(call, words):
    with pytest.raises(InputError) as error: call()
    assert words in str(error.value) and '\n' not in str(error.value)
