"The operations from scratch against torch and SciPy on random settings, and proof that these tests would see a mistake"
import random, types

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from torch.testing import assert_close

import fastcnn.convolution as convolution
from fastcnn.core import InputError

EXACT = dict(rtol=0, atol=1e-10)
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths") # torch on its own speed


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
    double = lambda *shape: torch.randn(*shape, generator=make, dtype=torch.float64).requires_grad_()
    return [double(n, c, *size), double(o, c//groups, *kernel), double(o)]


def torch_conv2d(x, weight, bias, stride, padding, dilation, groups, padding_mode):
    "torch's own layer with these weights"
    layer = torch.nn.Conv2d(x.shape[1], weight.shape[0], tuple(weight.shape[2:]), stride, padding, dilation, groups,
                            padding_mode=padding_mode, dtype=x.dtype)
    return torch.func.functional_call(layer, dict(weight=weight, bias=bias), (x,))


def check(module, shapes, setting, seed=0):
    "Output and all three gradients of `module`'s two functions are torch's, within 1e-10"
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
    assert {s['padding_mode'] for s in used} == set(convolution.PADDING_MODES)
    assert {'same', 'valid'} < {s['padding'] for s in used}
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


def flipped(weight): return weight.flip(-2, -1)


def changed_inputs(change):
    "`conv2d` with other images, kernels and biases than it was given"
    return lambda x, weight, bias, **setting: convolution.conv2d(*change(x, weight, bias), **setting)


def swapped_strides(*args, stride, **setting): return convolution.conv2d(*args, stride=stride[::-1], **setting)


def rounded_up(x, weight, bias=None, **setting):
    "As if a last window could hang over the edge"
    down, right = setting['stride']
    return convolution.conv2d(F.pad(x, (0, right - 1, 0, down - 1)), weight, bias, **setting)


def mirrored(x, weight, bias=None, **setting):
    "The odd pixel of padding='same' comes first, and strides are counted from the far end"
    return flipped(convolution.conv2d(flipped(x), flipped(weight), bias, **setting))


def other_gradients(change):
    "`conv2d_backward` with its three gradients changed"
    return lambda *args, **setting: change(*convolution.conv2d_backward(*args, **setting))


def of_the_last_image(grad_output, x, weight, **setting):
    last = convolution.conv2d_backward(grad_output[-1:], x[-1:], weight, **setting)[1]
    grad_x, _, grad_bias = convolution.conv2d_backward(grad_output, x, weight, **setting)
    return grad_x, last, grad_bias


MISTAKES = dict(
    flipped_kernel=dict(conv2d=changed_inputs(lambda x, weight, bias: (x, flipped(weight), bias))),
    off_by_one=dict(conv2d=changed_inputs(lambda x, weight, bias: (x.roll(1, -1), weight, bias))),
    swapped_strides=dict(conv2d=swapped_strides),
    no_bias=dict(conv2d=changed_inputs(lambda x, weight, bias: (x, weight, None))),
    wrong_floor=dict(conv2d=rounded_up),
    same_pads_before=dict(conv2d=mirrored),
    no_bias_gradient=dict(conv2d_backward=other_gradients(lambda x, weight, bias: (x, weight, torch.zeros_like(bias)))),
    flipped_weight_gradient=dict(conv2d_backward=other_gradients(lambda x, weight, bias: (x, flipped(weight), bias))),
    flipped_kernel_backwards=dict(
        conv2d_backward=lambda g, x, weight, **setting: convolution.conv2d_backward(g, x, flipped(weight), **setting)),
    weight_gradient_of_the_last_image=dict(conv2d_backward=of_the_last_image),
    margins_pass_nothing_on=dict(
        conv2d_backward=lambda *args, padding_mode, **setting: convolution.conv2d_backward(*args, **setting)))


def with_mistake(**functions):
    "The two functions that `check` compares with torch, one of them wrong"
    right = dict(conv2d=convolution.conv2d, conv2d_backward=convolution.conv2d_backward)
    return types.SimpleNamespace(**right | functions)


@pytest.mark.parametrize('name', MISTAKES)
def test_a_mistake_would_be_seen(name):
    "Each mistake makes the comparison fail: by a wrong number, or a shape that no longer fits"
    wrong = with_mistake(**MISTAKES[name])
    with pytest.raises((AssertionError, RuntimeError, ValueError)):
        for seed, (shapes, setting) in enumerate(random_settings(500, seed=0)): check(wrong, shapes, setting, seed)


def test_without_a_mistake_nothing_is_seen():
    for shapes, setting in random_settings(40, seed=2): check(with_mistake(), shapes, setting)


@st.composite
def poolings(draw):
    "Maps and a setting that torch allows"
    pair = lambda least, most: (draw(st.integers(least, most)), draw(st.integers(least, most)))
    kernel, stride, size = pair(1, 4), pair(1, 4), pair(4, 11)
    setting = dict(kernel_size=kernel, stride=draw(st.sampled_from([None, stride])),
                   padding=tuple(draw(st.integers(0, k//2)) for k in kernel), ceil_mode=draw(st.booleans()))
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
    fits = all(d*(k - 1) < n for d, k, n in zip((down, right), setting['kernel_size'], x.shape[2:]))
    setting['dilation'] = (down, right) if fits else 1
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
    options = dict(stride=setting['stride'], padding=setting['padding'], groups=3)
    convolve = lambda x: F.conv2d(x, weight.expand(3, 1, *weight.shape), **options)
    same_way_back(convolution.weighted_pool2d(x, weight, **setting), convolve(x)/convolve(torch.ones_like(x)), x)


@given(poolings())
@settings(max_examples=20, deadline=None)
def test_even_weights_are_the_average(case):
    x, setting = case
    weight = torch.full(setting['kernel_size'], 3., dtype=torch.float64)
    expected = F.avg_pool2d(x, **setting, count_include_pad=False)
    found = convolution.weighted_pool2d(x, weight, setting['stride'], setting['padding'], setting['ceil_mode'])
    assert_close(found, expected, **EXACT)


@pytest.mark.parametrize('shapes, setting', random_settings(25, seed=3))
def test_matrix_does_what_the_layer_does(shapes, setting):
    x, weight, _ = tensors(shapes, setting['groups'], seed=3)
    matrix = convolution.conv_matrix(weight, tuple(x.shape[2:]), **setting)
    assert_close(x.flatten(1) @ matrix.T, convolution.conv2d(x, weight, **setting).flatten(1), **EXACT)


def test_float32_is_close_enough_to_train_with():
    shapes = (4, 6, 17, 12), (8, 0, 3, 5)
    setting = dict(stride=(2, 1), padding=(1, 2), dilation=1, groups=2, padding_mode='zeros')
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
    (lambda: convolution.conv2d(x, weight, groups=3), 'cannot be divided into 3 groups'),
    (lambda: convolution.conv2d(x, weight, groups=2), 'need 8 channels: the images have 4'),
    (lambda: convolution.max_pool2d(x, 8), 'a window of 8 pixels does not fit into 6'),
    (lambda: convolution.avg_pool2d(x, 2, padding=2), 'more than half of the window'),
    (lambda: convolution.lp_pool2d(x, 0, 2), 'norm_type=0'),
    (lambda: convolution.correlate2d(x[0, 0], torch.zeros(3, 8)), 'a kernel of 8 does not fit into 7')])
def test_what_cannot_work_is_refused(call, words):
    with pytest.raises(InputError) as error: call()
    assert words in str(error.value) and '\n' not in str(error.value)
