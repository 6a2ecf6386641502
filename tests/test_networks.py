"The network explorer: its arithmetic against torch's, and the page in a real browser, by hand and by keys."
import itertools, json, re

import numpy as np
import pytest
import torch
from fastai.layers import ConvLayer, Flatten
from PIL import Image
from torch import nn

from fastcnn.core import InputError
from fastcnn.models import build_model, conv_block, conv_stack, mnist_cnn
from fastcnn.networks import explore_network
from web import axe, browser, run_in_jupyterlab, served, violations, wait_for

DIGITS = list('0123456789')


def digit(seed=0, side=28, channels=1):
    "A picture that is mostly ground, with a few bright strokes"
    rng, picture = np.random.default_rng(seed), np.zeros((side, side, channels), np.uint8)
    for _ in range(4):
        top, left = rng.integers(2, side//2, 2)
        picture[top:top + rng.integers(2, side//2), left:left + rng.integers(2, side//2)] = rng.integers(60, 256, channels)
    return picture


def settled(model, channels=1, side=28, seed=0):
    "The network with BatchNorms that have seen some pictures, and not the ones of the page"
    torch.manual_seed(seed)
    for layer in model.modules():
        if hasattr(layer, 'reset_parameters'): layer.reset_parameters()
    pictures = torch.stack([torch.from_numpy(digit(n, side, channels)) for n in range(100, 120)]).permute(0, 3, 1, 2)/255
    with torch.no_grad():
        for _ in range(20): model.train()(pictures)
    return model.eval()


def small(): return settled(nn.Sequential(*conv_block(1, 4, 5, 1), nn.MaxPool2d(2), conv_block(4, 6, 3, 1), nn.MaxPool2d(2),
                                          nn.Flatten(), nn.Linear(6*7*7, 10)))


def with_halves(model):
    "The weights that the page has: 16 bits each"
    for layer in model.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)): layer.weight.data = layer.weight.data.half().float()
    return model


def like_article_c(): return mnist_cnn(channels=(4, 6))
def strided(): return conv_stack(10, size=28, in_channels=1, channels=[4, 8, 8, 8], kernel_sizes=[5, 5, 3, 3, 3], order='bn_relu')
def colours(): return nn.Sequential(conv_block(3, 6), conv_block(6, 8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(.5), nn.Linear(8, 10))
def fastai_layers(): return nn.Sequential(ConvLayer(1, 4, stride=2), ConvLayer(4, 8), nn.AdaptiveAvgPool2d(1), Flatten(), nn.Linear(8, 10, bias=False))
def odd_windows(): return nn.Sequential(
    nn.Conv2d(1, 6, (3, 5), stride=(2, 1), padding=(0, 2), bias=False), nn.ReLU(), nn.Conv2d(6, 6, 3, dilation=2, groups=3, padding='same'),
    nn.AvgPool2d(3, 2, 1), nn.MaxPool2d((2, 3), padding=(1, 0)), nn.AvgPool2d(2, 1, 1, count_include_pad=False), nn.Flatten(), nn.LazyLinear(10))
def dense(): return nn.Sequential(nn.Flatten(), nn.Linear(784, 20), nn.BatchNorm1d(20, affine=False), nn.ReLU(), nn.Linear(20, 10))
def class_maps(): return nn.Sequential(conv_block(1, 6, stage='relu'), nn.Conv2d(6, 10, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
def grey_in_three(): return nn.Sequential(conv_block(3, 6), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 10))

NETWORKS = {make.__name__: make for make in (small, like_article_c, strided, colours, fastai_layers, odd_windows, dense, class_maps, grey_in_three)}
CHANNELS = dict(colours=3, grey_in_three=3)


@pytest.fixture(scope='module')
def show(browser, tmp_path_factory):
    "Opens an explorer as a file; an error in its console, or a request, fails whatever is being tested"
    trouble, folder, pages = [], tmp_path_factory.mktemp('networks'), []
    def opened(explorer, address='', width=1280, **options):
        file = folder/f'{len(pages)}.html'
        file.write_text(explorer.html)
        page = browser.new_page(viewport=dict(width=width, height=900), **options)
        page.on('console', lambda message: trouble.append(message.text) if message.type in ('error', 'warning') else None)
        page.on('pageerror', lambda error: trouble.append(str(error)))
        page.on('request', lambda r: trouble.append(r.url) if not r.url.startswith((file.as_uri(), 'data:', 'blob:')) else None)
        page.goto(file.as_uri() + address)
        page.wait_for_function("typeof state !== 'undefined' && state.signals")
        pages.append(page)
        return page
    yield opened
    for page in pages: page.close()
    assert trouble == []


def said(page, code): return page.evaluate(code)
def chances(page): return said(page, 'softmax(state.signals.at(-1).values)')
def settle(page): page.evaluate('new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))')


@pytest.mark.parametrize('name', NETWORKS)
def test_the_page_reckons_as_torch_does(show, name):
    "Logits, and every signal on the way, for several pictures"
    channels = CHANNELS.get(name, 1)
    model = with_halves(settled(NETWORKS[name](), channels))
    pictures = [digit(n, channels=1 if name == 'grey_in_three' else channels) for n in range(4)]
    page = show(explore_network(model, pictures, DIGITS, mean=.2, std=.5))
    for n, picture in enumerate(pictures):
        x = (torch.from_numpy(picture).permute(2, 0, 1)[None].float()/255 - .2)/.5
        with torch.no_grad(): wanted = model(x.expand(-1, channels, -1, -1))[0]
        page.evaluate(f'choose({n})')
        settle(page)
        found = torch.tensor(said(page, 'Array.from(state.signals.at(-1).values)'))
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3 if name == 'grey_in_three' else 1e-4)
        torch.testing.assert_close(torch.tensor(chances(page)), wanted.softmax(0), rtol=0, atol=1e-3)


def test_halves_of_weights_of_32_bits_lose_less_than_a_thousandth(show):
    model, picture = small(), digit(3)
    page = show(explore_network(model, [picture], DIGITS))
    with torch.no_grad(): wanted = model(torch.from_numpy(picture).permute(2, 0, 1)[None]/255)[0].softmax(0)
    torch.testing.assert_close(torch.tensor(chances(page)), wanted, rtol=0, atol=1e-3)


def test_each_signal_is_that_of_its_layer(show):
    model, picture = with_halves(small()), digit(1)
    page = show(explore_network(model, [picture], DIGITS))
    x = torch.from_numpy(picture).permute(2, 0, 1)[None]/255
    layers = [layer for layer in model.modules() if not isinstance(layer, nn.Sequential)]
    for i, layer in enumerate(layers, 1):
        with torch.no_grad(): x = layer(x)
        found = torch.tensor(said(page, f'Array.from(state.signals[{i}].values)'))
        torch.testing.assert_close(found, x.flatten(), rtol=1e-3, atol=1e-4)


def test_it_is_quick_and_small(show):
    "Colour pictures of 64 × 64: less than 50 ms for a pass; a page of 10,000 weights below 100 KB"
    model = settled(nn.Sequential(conv_block(3, 8, 5), conv_block(8, 16, 5), conv_block(16, 32, 3), conv_block(32, 32, 3),
                                  nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10)), 3, 64)
    page = show(explore_network(model, [digit(side=64, channels=3)], DIGITS))
    times = said(page, '''Array.from({length: 20}, () => {
        const begin = performance.now(); run(layers, state.signals[0]); return performance.now() - begin })''')
    assert np.median(times) < 50
    ten_thousand = nn.Sequential(nn.Flatten(), nn.Linear(28*28, 12), nn.ReLU(), nn.Linear(12, 10))
    assert len(explore_network(ten_thousand, [digit(n) for n in range(10)], DIGITS).html) < 100_000


@pytest.fixture(scope='module')
def page(show): return show(explore_network(small(), [digit(n) for n in range(5)], DIGITS, labels=list('abcde')))


@pytest.fixture(autouse=True)
def as_it_was(request):
    if 'page' not in request.fixturenames: return
    page = request.getfixturevalue('page')
    page.set_viewport_size(dict(width=1280, height=900))
    page.evaluate("emptyPad(); drawn = null; choose(0); $('reset').click(); closeMap(); if (chosen.logit !== null) toggleLogit(chosen.logit)")
    settle(page)


def test_sliders_change_the_answer_at_once(page):
    before = chances(page)
    for name, value, shown in (('right', 5, '5 px'), ('down', -3, '−3 px'), ('turn', 45, '45°'), ('size', 70, '70%'), ('hide', 6, '6 px')):
        page.locator(f'#{name}').fill(str(value))
        settle(page)
        assert page.locator(f'#{name}_value').inner_text() == shown
        assert chances(page) != before
        before = chances(page)
    bars = [float(re.sub(r'[>% ]', '', text)) for text in page.locator('.bar .share').all_inner_texts()]
    assert abs(sum(bars) - 100) < 1
    leader = DIGITS[int(np.argmax(before))]
    assert page.locator('.bar.lead .name').inner_text() == leader and leader in page.locator('#said').inner_text()
    page.locator('#reset').click()
    settle(page)
    assert said(page, '[state.right, state.down, state.turn, state.size, state.hide]') == [0, 0, 0, 100, 0]


def test_the_picture_moves_as_numpy_rolls_it(page):
    page.evaluate('Object.assign(state, {right: 2, down: -1}); update()')
    settle(page)
    found = np.array(said(page, 'Array.from(seenPicture().values)')).reshape(28, 28)
    np.testing.assert_allclose(found, np.roll(digit(0)[..., 0]/255, (-1, 2), (0, 1)), atol=1e-6)


def test_drag_and_arrows_move_picture_and_square(page):
    seen = page.locator('#seen')
    seen.focus()
    for key in ('ArrowRight', 'ArrowRight', 'ArrowDown'): page.keyboard.press(key)
    assert said(page, '[state.right, state.down]') == [2, 1]
    box = seen.bounding_box()
    pixel = box['width']/28
    page.mouse.move(box['x'] + 10*pixel, box['y'] + 10*pixel)
    page.mouse.down(); page.mouse.move(box['x'] + 13.2*pixel, box['y'] + 10*pixel, steps=6); page.mouse.up()
    assert said(page, '[state.right, state.down]') == [5, 1]
    page.locator('#hide').fill('4')
    seen.focus()
    page.keyboard.press('ArrowUp')
    assert said(page, '[state.row, state.column]') == [13, 14]
    settle(page)
    hidden = np.array(said(page, 'Array.from(seenPicture().values)')).reshape(28, 28)
    np.testing.assert_allclose(hidden[11:15, 12:16], 0)


def test_drawing_by_hand_and_by_keys(page):
    "A stroke is centred and scaled as MNIST does it; undo takes it back"
    page.get_by_label('Draw', exact=False).first.check()
    assert page.locator('#pad').is_visible() and page.locator('#paint').is_hidden()
    box = page.locator('#pad').bounding_box()
    page.mouse.move(box['x'] + 20, box['y'] + 20)
    page.mouse.down(); page.mouse.move(box['x'] + 20, box['y'] + 100, steps=5); page.mouse.up()
    settle(page)
    ink = said(page, 'inkOf(seenPicture())')
    assert 20 <= ink['bottom'] - ink['top'] + 1 <= 22 and abs(ink['y'] - 13.5) < .3 and abs(ink['x'] - 13.5) < .3
    page.locator('#centre').uncheck()
    settle(page)
    assert said(page, 'inkOf(seenPicture())')['x'] < 5
    page.locator('#undo').click()
    settle(page)
    assert said(page, 'inkOf(seenPicture())') is None
    page.locator('#pad').focus()
    for key in (' ', 'ArrowRight', 'ArrowRight', ' '): page.keyboard.press(key)
    settle(page)
    assert 'up' in page.locator('#pen').text_content() and said(page, 'inkOf(seenPicture())')['x'] > 13
    page.locator('#clear').click()
    assert page.locator('#centre').is_checked()


def test_paint_over_an_example(page):
    page.get_by_role('radio').nth(2).check()
    page.locator('#paint').click()
    settle(page)
    found = np.array(said(page, 'Array.from(seenPicture().values)')).reshape(28, 28)
    np.testing.assert_allclose(found, digit(2)[..., 0]/255, atol=.02)
    page.locator('#clear').click()


def test_a_number_of_a_convolution_is_explained(page):
    "The products of the window shown add up to the number of the map"
    button = page.locator('.map[data-layer="5"][data-map="2"]')
    button.click()
    assert button.get_attribute('aria-expanded') == 'true'
    out = page.locator('.detail:not([hidden]) canvas[tabindex]')
    out.focus()
    for key in ('Home', 'ArrowRight', 'ArrowDown'): page.keyboard.press(key)
    place = said(page, 'chosen.place')
    words = page.locator('.detail:not([hidden]) .words').inner_text()
    assert words.startswith(f'Row {place//14}, column {place % 14}. The products add up to ')
    number = lambda text: float(text.replace('−', '-'))
    wanted = said(page, f'mapOf(state.signals[5], 2)[{place}]')
    assert abs(number(words.split(' = ')[-1]) - wanted) <= .051*max(1, abs(wanted))
    terms = re.findall(r'([−+]? ?[\d.]+) \((?:map|bias|the)', words)
    assert abs(sum(number(term.replace(' ', '')) for term in terms) - wanted) < .05
    before = page.locator('.detail:not([hidden]) .numbers').first.get_attribute('aria-label')
    page.locator('.part').nth(3).click()
    assert page.locator('.detail:not([hidden]) .numbers').first.get_attribute('aria-label') != before
    page.keyboard.press('Escape')
    assert page.locator('.detail:not([hidden])').count() == 0 and said(page, 'document.activeElement.dataset.layer') == '5'


@pytest.mark.parametrize('layer', [0, 2, 3, 4])
def test_other_layers_are_explained_too(page, layer):
    page.locator(f'.map[data-layer="{layer}"][data-map="0"]').click()
    words = page.locator('.detail:not([hidden]) .words').inner_text()
    value = said(page, f'shortNumber(mapOf(state.signals[{layer}], 0)[chosen.place])')
    assert words.startswith('Row ') and words.endswith(value)


def test_a_logit_is_explained(page):
    page.locator('#class_3').click()
    story = page.locator('#why').inner_text()
    logit = said(page, 'shortNumber(state.signals.at(-1).values[3])')
    assert story.startswith(f'Why 3? Its logit is {logit}') and f'= {logit}' in story
    assert page.locator('#why tbody tr').count() == 10 and page.locator('#why .chosen th').inner_text() == '3'
    page.locator('#class_3').click()
    assert page.locator('#why').is_hidden()


def test_keys_go_along_and_between_layers(page):
    "One stop for the tab key in each layer; every control can be reached"
    first = page.locator('.map[data-layer="1"][data-map="0"]')
    first.focus()
    at = lambda: said(page, '[document.activeElement.dataset.layer, document.activeElement.dataset.map].map(Number)')
    for key, place in (('ArrowRight', [1, 1]), ('End', [1, 3]), ('ArrowDown', [2, 3]), ('Home', [2, 0]), ('ArrowUp', [1, 0]), ('ArrowUp', [0, 0])):
        page.keyboard.press(key)
        assert at() == place
    stops = said(page, "[...document.querySelectorAll('.strip')].map(s => s.querySelectorAll('[tabindex=\"0\"]').length)")
    assert set(stops) == {1}
    page.keyboard.press('Enter')
    assert page.locator('.detail:not([hidden])').count() == 1
    page.keyboard.press('Escape')
    page.evaluate('document.activeElement.blur()')
    reached = set()
    for _ in range(50):
        page.keyboard.press('Tab')
        reached.add(said(page, 'document.activeElement.id || document.activeElement.className || document.activeElement.type'))
    assert {'seen', 'paint', 'right', 'turn', 'hide', 'class_0', 'class_9', 'radio', 'map', 'map number'} <= reached


def silent_network():
    "Map 0 never answers, map 1 only where there is ink, map 2 always"
    conv = nn.Conv2d(1, 3, 1)
    conv.weight.data, conv.bias.data = torch.tensor([0., 1, 0]).view(3, 1, 1, 1), torch.tensor([-1., 0, 1])
    return nn.Sequential(conv, nn.ReLU(), nn.BatchNorm2d(3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 10)).eval()


def test_silent_and_dead_maps_are_marked_and_counted(show):
    page = show(explore_network(silent_network(), [np.zeros((28, 28), np.uint8), digit()], DIGITS))
    marks = lambda: [button.get_attribute('class') for button in page.locator('.map[data-layer="2"]').all()]
    assert marks() == ['map silent always', 'map silent', 'map']
    assert '2 of 3 are silent for this picture' in page.locator('.dead:visible').first.inner_text()
    assert 'dead' in page.locator('.map[data-layer="2"]').first.get_attribute('aria-label')
    page.get_by_role('radio').nth(1).check()
    settle(page)
    assert marks() == ['map silent always', 'map', 'map']
    content = "getComputedStyle(document.querySelector('.map.always'), '::after').content"
    assert '✕' in said(page, content) # a mark, not the colour alone


def test_the_address_keeps_what_is_chosen(show):
    explorer = explore_network(small(), [digit(n) for n in range(3)], DIGITS, turn=10)
    page = show(explorer)
    page.get_by_role('radio').nth(2).check()
    page.locator('#right').fill('4')
    page.locator('.map[data-layer="1"][data-map="3"]').click()
    page.wait_for_function("location.hash.includes('layer=1')")
    address = page.evaluate('location.hash')
    again = show(explorer, address)
    assert said(again, '[state.picture, state.right, state.turn, chosen.layer, chosen.map]') == [2, 4, 10, 1, 3]
    odd = show(explorer, '#picture=99&right=1e9&turn=x&layer=70&map=-1')
    assert said(odd, '[state.picture, state.right, state.turn, chosen.layer]') == [0, 14, 10, None]


LOOKS = list(itertools.product(['answer', 'layers'], [390, 1280], ['light', 'dark']))

@pytest.mark.parametrize('kind,width,scheme', LOOKS)
def test_looks(show, axe, kind, width, scheme):
    channels = 3 if kind == 'answer' else 1
    model = settled(colours(), 3) if channels == 3 else small()
    page = show(explore_network(model, [digit(n, channels=channels) for n in range(9)], DIGITS, show=kind), width=width,
                color_scheme=scheme, reduced_motion='reduce')
    if kind == 'layers':
        page.locator('.map[data-layer="5"][data-map="1"]').click()
        page.locator('#class_1').click()
    assert violations(page, axe) == []
    page.get_by_role('radio').last.check()
    settle(page)
    assert violations(page, axe) == []
    assert page.evaluate('document.documentElement.scrollWidth') <= width
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert (max(paper) < 60) == (scheme == 'dark')
    assert page.evaluate("getComputedStyle(document.querySelector('.fill')).transitionDuration") == '0s'


def test_in_a_frame_without_an_address(browser):
    "As a notebook shows it: nothing is kept, nothing fails, and the frame is as high as the page"
    page, trouble = browser.new_page(), []
    page.on('pageerror', lambda error: trouble.append(str(error)))
    page.set_content(explore_network(small(), [digit()], DIGITS)._repr_html_())
    frame = page.frame_locator('iframe')
    frame.locator('#class_0 .share').filter(has_text='%').wait_for()
    frame.locator('#right').fill('3')
    wait_for(lambda: frame.locator('#right_value').inner_text() == '3 px')
    height = lambda: page.locator('iframe').bounding_box()['height']
    wait_for(lambda: height() > 1000)
    before = height()
    frame.locator('#class_1').click()
    wait_for(lambda: height() > before)
    frame.locator('#class_1').click()
    wait_for(lambda: height() == before)
    page.close()
    assert trouble == []


def test_in_jupyterlab(browser, tmp_path):
    "The program unpacks and answers in a notebook of a real JupyterLab, and asks nobody else"
    network = 'nn.Sequential(nn.Conv2d(1, 4, 5), nn.ReLU(), nn.Flatten(), nn.Linear(4*24*24, 2))'
    cells = 'import numpy as np\nfrom torch import nn\nfrom fastcnn.networks import *', f"explore_network({network}, [np.eye(28)], ['a', 'b'])"
    with run_in_jupyterlab(browser, tmp_path, *cells) as page:
        explorer = page.frame_locator('.jp-OutputArea iframe')
        explorer.locator('#class_1 .share').filter(has_text='%').wait_for(timeout=60_000)
        before = explorer.locator('#class_1 .share').inner_text()
        explorer.locator('#turn').fill('60')
        wait_for(lambda: explorer.locator('#class_1 .share').inner_text() != before)


def test_names_are_text_and_not_html(show):
    names = ['<b>0</b>', '</script><script>alert(1)</script>', '"', "'", '&amp;', *'56789']
    page = show(explore_network(small(), [digit()], names, labels=['<i>']))
    assert page.locator('.bar .name').all_inner_texts() == names


@pytest.mark.parametrize('model', [
    build_model('lenet', n_classes=10), nn.Sequential(nn.Conv2d(1, 4, 3), nn.GELU()), nn.Sequential(nn.Conv2d(1, 2, 3, padding_mode='circular')),
    nn.Sequential(nn.Flatten(0)), nn.Sequential(nn.Conv2d(1, 2, 2, padding='same')), nn.Sequential(nn.ReLU())], ids=repr)
def test_what_it_cannot_show_is_told_in_one_line(model):
    with pytest.raises(InputError) as error: explore_network(model, [digit()], DIGITS)
    assert '\n' not in str(error.value).partition(', it knows')[0][:60]


def test_a_diverged_network_is_refused():
    model = small()
    model[0].weight.data[0] = float('nan')
    with pytest.raises(InputError, match="layer '0', Conv2d.*too large, or no numbers"): explore_network(model, [digit()], DIGITS)


def test_pictures_of_every_kind_are_the_same_picture():
    grey = digit()
    kinds = [grey, grey[..., 0], np.repeat(grey, 3, 2), Image.fromarray(grey[..., 0]), torch.from_numpy(grey).permute(2, 0, 1)/255]
    pages = {explore_network(small(), [kind], DIGITS).html for kind in kinds}
    assert len(pages) == 1
    assert json.loads(re.search(r'"sides":(\[.*?\])', pages.pop())[1]) == [28, 28]
