"Drawings show what the networks do: shapes, parameters and ways around; and their texts can be read"
import re

import matplotlib.pyplot as plt
import nbformat
import pytest
import torch
import torchvision
from matplotlib import patches
from torch import nn

from fastcnn.core import InputError
from fastcnn.drawings import block_parts, describe_block, describe_network, draw_block, draw_network, network_steps
from fastcnn.models import VGG, AlexNet, Bottleneck, LeNet, ResidualBlock, build_model, layer_table
from notebooks import NBS

CLASSICS = ['alexnet', 'vgg11', 'vgg16', 'vgg19', 'resnet18', 'resnet34', 'resnet50']
SMALL = ['conv_stack', 'conv_neural_net', 'mnist_cnn', 'course_cnn', 'simple_cnn', 'custom_cnn', 'mlp', 'resnet20']


@pytest.fixture(autouse=True)
def closed():
    "Figures do not pile up"
    yield
    plt.close('all')


def on_meta(name, **options):
    "A network that has shapes and no numbers"
    with torch.device('meta'): return build_model(name, 1000, **dict(size=224) | options)


@pytest.mark.parametrize('name', CLASSICS + SMALL)
def test_every_parameter_is_in_a_box(name):
    model = on_meta(name) if name in CLASSICS else build_model(name, 10, 32)
    assert network_steps(model).parameters.sum() == layer_table(model).parameters.sum()


@pytest.mark.parametrize('name', CLASSICS)
def test_the_boxes_count_to_the_depth_in_the_name(name):
    steps = network_steps(on_meta(name))
    weighed = steps[steps.kind.isin(['conv', 'linear', 'block'])]
    layers = sum(step.times*(len(step.window) if step.kind == 'block' else 1) for step in weighed.itertuples())
    assert layers == (8 if name == 'alexnet' else int(re.sub(r'\D', '', name)))


def test_shapes_are_those_of_the_pass():
    model, found = on_meta('vgg16'), []
    x = torch.zeros(1, 3, 224, 224, device='meta')
    for layer in model.features:
        x = layer(x)
        if not isinstance(layer, nn.ReLU): found.append(tuple(x.shape[1:]))
    steps = network_steps(model)
    drawn = [step.output for step in steps.itertuples() for _ in range(step.times) if len(step.output) == 3]
    assert drawn[1:] == found and steps.output.tolist()[-3:] == [(512*7*7,), (4096,), (1000,)]


def test_only_what_repeats_without_a_stride_is_one_box():
    conv = lambda stride: nn.Conv2d(4, 4, 3, stride, padding=1)
    times = lambda *strides: network_steps(nn.Sequential(*map(conv, strides)), size=1).times.tolist()[1:]
    assert (times(2, 1, 1), times(2, 2, 1), times(1, 2, 2)) == ([3], [1, 2], [1, 1, 1])


def test_what_a_network_is_asked_for_is_what_it_was_built_for():
    assert network_steps(LeNet(), size=32).output[0] == (1, 32, 32)
    assert network_steps(build_model('resnet20', 10, 40)).output[0] == (3, 40, 40)
    assert network_steps(build_model('resnet20', 4, 64), size=100).output[0] == (3, 100, 100)


def test_a_network_is_left_as_it_was():
    "Its modes, module by module, its numbers, and no hooks; after an error too"
    model = build_model('resnet20', 10, 32).train()
    model.layer1.eval()
    modes, numbers = [m.training for m in model.modules()], {k: v.clone() for k, v in model.state_dict().items()}
    draw_network(model)
    with pytest.raises(InputError, match='does not take images'): network_steps(model, in_channels=5)
    assert modes == [m.training for m in model.modules()] and not any(
        m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert all(torch.equal(v, numbers[k]) for k, v in model.state_dict().items())


def test_drawing_does_not_touch_the_random_numbers():
    model, block = build_model('resnet20', 10, 32), ResidualBlock(4, 4)
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    describe_block(block)
    describe_network(model)
    assert torch.equal(torch.rand(3), expected)


class Plain(ResidualBlock):
    "Forgets what came in"
    def forward(self, x): return self.relu2(self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x))))))


class PreActivation(nn.Module):
    "He and others (2016): the sum comes last"
    def __init__(self):
        super().__init__()
        self.bn, self.relu, self.conv = nn.BatchNorm2d(4), nn.ReLU(inplace=False), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x): return x + self.conv(self.relu(self.bn(x)))


class Dense(nn.Module):
    "DenseNet's block: what came in is laid beside what was made of it, not added"
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(8, 4, 3, padding=1)

    def forward(self, x): return self.conv2(torch.cat([x, self.conv1(x)], 1))


@pytest.mark.parametrize('block,plus,around', [
    (ResidualBlock(8, 8), 5, 0), (ResidualBlock(8, 16, stride=2), 5, 2), (ResidualBlock(8, 16, 2, 'pad'), 5, 1),
    (Bottleneck(16, 4), 8, 0), (Bottleneck(8, 4), 8, 2), (Plain(8, 8), None, 0), (PreActivation(), 3, 0),
    (torchvision.models.resnet18().layer1[0], 5, 0), (torchvision.models.resnet18().layer2[0], 5, 2),
    (torchvision.models.resnet50().layer1[0], 8, 2), (VGG(size=32, hidden=8, pooled=1).features[5:10], None, 0)])
def test_a_way_around_is_found_by_what_it_does(block, plus, around):
    "Whatever the weights are: fresh, or nothing learnt yet"
    for zero in (False, True):
        if zero and hasattr(block, 'bn2'): nn.init.zeros_(block.bn2.weight)
        parts = block_parts(block)
        assert (parts.plus, len(parts.around)) == (plus, around)
    circles = [p for p in draw_block(block).axes[0].patches if isinstance(p, patches.Circle)]
    assert len(circles) == (plus is not None) and ('a plus' in describe_block(block)) == (plus is not None)


def test_a_block_that_goes_other_ways_is_refused():
    with pytest.raises(InputError, match='conv2 takes neither'): draw_block(Dense())


def test_an_arc_is_drawn_where_something_is_added():
    "Not where a block only has the modules for it"
    model = build_model('resnet20', 10, 32)
    assert network_steps(model).around.sum() == 3
    for block in model.modules():
        if isinstance(block, ResidualBlock): block.__class__ = Plain
    steps = network_steps(model)
    assert (steps.kind == 'block').sum() == 3 and not steps.around.any()


def boxes(figure, axis):
    figure.canvas.draw()
    return [text.get_window_extent() for text in axis.texts if text.get_text()]


@pytest.mark.parametrize('draw', [
    *[lambda name=name: draw_network(on_meta(name)) for name in CLASSICS],
    *[lambda name=name: draw_network(build_model(name, 10, 32)) for name in SMALL],
    lambda: draw_network(LeNet(), size=32), lambda: draw_block(Bottleneck(256, 64)),
    lambda: draw_block(ResidualBlock(256, 512, stride=2))])
def test_texts_lie_in_the_picture_and_not_on_one_another(draw):
    figure = draw()
    width, height = figure.canvas.get_width_height()
    assert width == 700
    for axis in figure.axes:
        found = boxes(figure, axis)
        assert found and all(0 <= b.x0 and b.x1 <= width and 0 <= b.y0 and b.y1 <= height for b in found)
        assert not [(a, b) for i, a in enumerate(found) for b in found[:i] if a.shrunk(.9, .6).overlaps(b.shrunk(.9, .6))]
        assert min(text.get_fontsize() for text in axis.texts)*figure.dpi/72 > 10 # pixels


def test_kinds_are_told_apart_without_colour():
    figure = draw_network(on_meta('resnet18'))
    fronts = {(p.get_hatch() or '') for p in figure.axes[0].patches if isinstance(p, patches.Polygon)}
    assert {'....', '////', '----', ''} <= fronts
    words = {text.get_text() for text in figure.axes[0].texts}
    assert set(network_steps(on_meta('resnet18')).kind) <= words


def alt_texts(path):
    return re.findall(r'^#\| fig-alt: (.+)$', '\n'.join(c.source for c in nbformat.read(path, 4).cells), re.M)


@pytest.mark.parametrize('words', [
    lambda: describe_network(LeNet(), size=32), lambda: describe_network(on_meta('alexnet')), lambda: describe_network(on_meta('vgg16')),
    lambda: describe_network(on_meta('resnet18')), lambda: describe_block(ResidualBlock(64, 64)),
    lambda: describe_block(ResidualBlock(64, 128, stride=2)), lambda: describe_block(Bottleneck(256, 64)),
    lambda: describe_block(VGG(size=32, hidden=8, pooled=1).features[5:10])])
def test_alt_texts_of_the_lesson_are_those_of_the_networks(words):
    assert words() in alt_texts(NBS/'tutorials'/'architectures.ipynb')


def test_a_description_has_every_shape():
    text = describe_network(AlexNet(), size=224)
    for maps, down, across in (o for o in network_steps(AlexNet(), size=224).output if len(o) == 3):
        assert f'{maps} maps of {down} × {across}' in text or f'{maps} × {down} × {across}' in text
