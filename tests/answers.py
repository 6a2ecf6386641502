"Answers to the exercises as people write them: name → (right ones, wrong ones); the wrong ones are near misses"
import collections, copy, itertools, math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


# What the answers share

def loop_slide(x, kernel):
    out = []
    for i in range(len(x) - len(kernel) + 1):
        total = 0
        for j in range(len(kernel)): total += x[i + j]*kernel[j]
        out.append(total)
    return out

def output_size_by_steps(n, k, stride, padding, dilation):
    covered, places, at = dilation*(k - 1) + 1, 0, 0
    while at + covered <= n + 2*padding: places, at = places + 1, at + stride
    return places

def output_size_by_torch(n, k, stride, padding, dilation):
    return F.conv1d(torch.zeros(1, 1, n), torch.zeros(1, 1, k), None, stride, padding, dilation).shape[-1]

def softmax_in_place(x):
    top = max(x)
    for i in range(len(x)): x[i] = math.exp(x[i] - top)
    total = sum(x)
    return [v/total for v in x]

def gradient_by_torch(of):
    def gradient(x, kernel, upstream):
        tensors = dict(x=torch.tensor(x, requires_grad=True), kernel=torch.tensor(kernel, requires_grad=True))
        out = F.conv1d(tensors['x'].view(1, 1, -1), tensors['kernel'].view(1, 1, -1)).view(-1)
        return torch.autograd.grad(out, tensors[of], torch.tensor(upstream))[0]
    return gradient

def split_with_counter(groups, at_least):
    sizes, taken, n = collections.Counter(groups), set(), 0
    for group in groups:
        if n >= at_least: break
        if group not in taken: taken, n = taken | {group}, n + sizes[group]
    return [i for i, group in enumerate(groups) if group in taken]

def needed_by_search(width, accuracy):
    n = 1
    while 2*1.96*math.sqrt(accuracy*(1 - accuracy)/n) > width: n += 1
    return n

def descend_with_torch(w, lr, steps):
    weight = torch.tensor(float(w), requires_grad=True)
    optimizer, seen = torch.optim.SGD([weight], lr=float(lr)), [weight.item()]
    for _ in range(steps):
        optimizer.zero_grad()
        (weight - 3).square().backward()
        optimizer.step()
        seen.append(weight.item())
    return seen

def descend_by_hand(w, lr, steps):
    seen = [w]
    for _ in range(steps):
        w -= lr*2*(w - 3)
        seen.append(w)
    return seen

def rolling_with_accumulate(slopes, beta):
    return list(itertools.accumulate(slopes, lambda mean, slope: beta*mean + (1 - beta)*slope, initial=0))[1:]

def rolling_with_torch(slopes, beta):
    "What the optimiser keeps, brought from a sum to a mean"
    weight, means = torch.zeros(1, requires_grad=True), []
    optimizer = torch.optim.SGD([weight], lr=1., momentum=float(beta))
    for slope in slopes:
        weight.grad = torch.tensor([float(slope)])
        optimizer.step()
        means.append((1 - float(beta))*optimizer.state[weight]['momentum_buffer'].item())
    return means

def cross_entropy_in_steps(scores, right):
    top = max(scores)
    powers = [math.exp(s - top) for s in scores]
    return -math.log(powers[right]/sum(powers))


# Networks

def digits(n, first=(), conv=(), second=(), pool=None):
    "The network for digits, with other options for its layers"
    make_pool = pool or (lambda: nn.MaxPool2d(2))
    options = dict(padding=2) | dict(conv)
    return nn.Sequential(nn.Conv2d(1, 16, 5, **options), nn.ReLU(), make_pool(), nn.Conv2d(16, 32, 5, **options | dict(second)),
                         nn.ReLU(), make_pool(), nn.Flatten(), nn.Linear(32*7*7, n))

def digits_in_a_loop(n):
    layers, i = [], 1
    for o in (16, 32): layers, i = layers + [nn.Conv2d(i, o, (5, 5), padding='same'), nn.ReLU(inplace=True), nn.MaxPool2d(2, 2)], o
    return nn.Sequential(*layers, nn.Flatten(1), nn.LazyLinear(n))

class Residual(nn.Module):
    def __init__(self, channels, **options):
        super().__init__()
        self.second = nn.Conv2d(channels, channels, 3, padding=1, **options) # defined before the first
        self.first = nn.Conv2d(channels, channels, 3, padding=1, **options)
        self.relu = nn.ReLU()
    def forward(self, x): return self.relu(x + self.second(self.relu(self.first(x))))

class ResidualOfSequential(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.f = nn.Sequential(nn.Conv2d(c, c, 3, padding=1), nn.ReLU(), nn.Conv2d(c, c, 3, padding=1))
    def forward(self, x): return F.relu(self.f(x) + x)

class ResidualTwice(Residual):
    def forward(self, x): return self.relu(x + self.first(self.relu(self.first(x))))

class ResidualTwiceInList(nn.Module):
    def __init__(self, c):
        super().__init__()
        conv = nn.Conv2d(c, c, 3, padding=1)
        self.f = nn.Sequential(conv, nn.ReLU(), conv)
    def forward(self, x): return F.relu(self.f(x) + x)

class ResidualMinus(Residual):
    def forward(self, x): return self.relu(x - self.second(self.relu(self.first(x))))

class ResidualWithNorm(Residual):
    def __init__(self, c):
        super().__init__(c)
        self.norm = nn.BatchNorm2d(c)
    def forward(self, x): return self.relu(x + self.norm(self.second(self.relu(self.first(x)))))

class ResidualByHand(Residual):
    def forward(self, x):
        out = F.relu(self.second(x))
        out = self.first(out)
        out += x
        return F.relu(out)

class ResidualLeaky(Residual):
    def forward(self, x): return F.leaky_relu(x + self.second(F.relu(self.first(x))))

class ResidualHalf(Residual):
    def forward(self, x): return F.relu(.5*x + self.second(F.relu(self.first(x))))

class ResidualRepeated(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv2d(c, c, 3, padding=1)]*2)
    def forward(self, x): return F.relu(x + self.convs[1](F.relu(self.convs[0](x))))

def residual_of_copies(c):
    block = Residual(c)
    block.second = copy.deepcopy(block.first)
    return block

def custom(i, o, p=.25, norm=nn.BatchNorm2d, pool=lambda: nn.MaxPool2d(2), **options):
    options = dict(padding=1) | options
    return nn.Sequential(nn.Conv2d(i, o, 3, **options), nn.ReLU(), norm(o), nn.Conv2d(o, o, 3, **options), nn.ReLU(), norm(o),
                         pool(), nn.Dropout(p))

def halving(i, o, kernel=5, norm=nn.BatchNorm2d, **options):
    return nn.Sequential(nn.Conv2d(i, o, kernel, **dict(stride=2, padding=kernel//2) | options), nn.ReLU(), norm(o))

def new_head(c, n, frozen=True, **options):
    layers = [nn.Conv2d(3, c, 3, **options), nn.ReLU(), nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten()]
    for layer in layers:
        for p in layer.parameters(): p.requires_grad = not frozen
    return nn.Sequential(*layers, nn.Linear(c, n))

def head_half_frozen(c, n):
    network = new_head(c, n)
    network[-1].bias.requires_grad = False
    return network


# name → (right, wrong)

ANSWERS = {
    'start/guessing': (
        [.25, '25%', '1/4', 1/4, Fraction(1, 4), '0.25', '.25', torch.tensor(.25), np.float32(.25), 1 - .75],
        [.5, 25, '25', .2, .75, 4, 1, 0, 'a quarter of', None, .33, .26, -.25]),
    'start/share': (
        [.92, 184/200, '92%', '92 percent', '= 0.92', '184 / 200', '184/200', '.92', '0.920',
         Fraction(184, 200), np.float64(.92), torch.tensor(.92), 1 - 16/200],
        [92, 184, .08, 16, 1.087, .924, .916, .9, .91, .93, '92', '8%', None, 200/184]),
    'start/numbers': (
        [64*64*3, 12288, '12,288', '12288', '12_288', '12 288', "12'288", '12288 numbers', '12288 numbers in all',
         12_288, 12288., torch.zeros(3, 64, 64).numel(), np.prod([64, 64, 3])],
        [64*64, 64*3, '12288 or 4096', 128, 64, 16384, 12287, 12289, 3, '64x64x3', None, 2*64*3, 4096*2]),
    'start/sum': (
        [.65, 1 - .1 - .2 - .05, '65%', '0.65', '.65', 13/20, '13/20', torch.tensor(.65), np.float32(.65)],
        [.35, 0, .25, 65, '65', 1, .6, .7, .75, None, -.65]),
    'start/stranger': (
        ['none of these', 'None of these', '"none of these"', 'none', 'NONE', 'none of them', 'none of the above', 'none of the four', 'no planet', 'neither'],
        ['saturn', 'neptune', 'Saturn', 'all', 'these', None, 0, 'none or saturn', 'jupiter', 'any of these', 'a watch']),
    'start/hidden': (
        ['left', 'Left', 'left half', 'the left half', 'LEFT', 'left one', 'the left one', 'left side', 'the left side', "'left'"],
        ['right', 'right half', 'both', 'neither', None, .35, 'the right half', 'left or right', '', 'leftover']),
    'learning/loss': (
        [.4, .40, '.4', '0.4', 2/5, '2/5', Fraction(2, 5), '40%', torch.tensor(.4), np.float32(.4), 1.2/3,
         np.mean(np.square([.2, .4, 1])), F.mse_loss(torch.tensor([2., 4, 10]), torch.tensor([1.8, 3.6, 9]))],
        [1.2, .533, .53, .632, .284, .6, 1.6, 4, 40, -.4, .5, .04, '4', None, .3, 1, .16, 1.36]),
    'learning/descend': (
        [descend_with_torch, descend_by_hand, lambda w, lr, steps: [3 + (w - 3)*(1 - 2*lr)**i for i in range(steps + 1)],
         lambda w, lr, n: np.array(descend_by_hand(w, lr, n)), lambda w, lr, n: torch.tensor(descend_by_hand(w, lr, n)),
         lambda w, lr, n: tuple(descend_by_hand(w, lr, n)),
         lambda w, lr, n: 3 + (w - 3)*(1 - 2*lr)**np.arange(n + 1),
         lambda w, lr, n: list(itertools.accumulate(range(n), lambda v, _: v - lr*(2*v - 6), initial=w))],
        [lambda w, lr, n: descend_by_hand(w, lr, n)[-1], lambda w, lr, n: descend_by_hand(w, lr, n)[1:],
         lambda w, lr, n: descend_by_hand(w, lr, n)[:-1], lambda w, lr, n: descend_by_hand(w, lr, n)[::-1],
         lambda w, lr, n: descend_by_hand(w, lr/2, n), lambda w, lr, n: descend_by_hand(w, -lr, n),
         lambda w, lr, n: descend_by_hand(w, lr, n + 1), lambda w, lr, n: descend_by_hand(w, 2*lr, n),
         lambda w, lr, n: [w - 2*lr*i*(w - 3) for i in range(n + 1)], lambda w, lr, n: descend_by_hand(0, lr, n),
         lambda w, lr, n: [(v - 3)**2 for v in descend_by_hand(w, lr, n)], lambda w, lr, n: [w]*(n + 1),
         lambda w, lr, n: [max(v, 0) for v in descend_by_hand(w, lr, n)], lambda w, lr: [w],
         lambda w, lr, n: [w - i*lr for i in range(n + 1)], lambda w, lr, n: [3 + (w - 3)*(-1)**i for i in range(n + 1)],
         lambda w, lr, n: print(descend_by_hand(w, lr, n)), [0, .6, 1.08, 1.464],
         lambda w, lr, n: [3 - abs(v - 3) for v in descend_by_hand(w, lr, n)]]),
    'learning/chain': (
        [12, 12., '12', 2*2*3, 2*(3*2 + 1 - 5)*3, torch.tensor([12.]), np.int64(12), (12,), Fraction(24, 2),
         torch.autograd.grad((3*(w := torch.tensor(2., requires_grad=True)) + 1 - 5)**2, w)[0]],
        [4, 8, 6, -12, 24, 3, 36, 2, 11.99, 12.001, 'twelve', None, True, 7, '2·2·3', 16]),
    'learning/momentum': (
        [rolling_with_accumulate, rolling_with_torch, lambda s, b: torch.tensor(rolling_with_accumulate(s, b)),
         lambda s, b: np.array(rolling_with_accumulate(s, b)), lambda s, b: tuple(rolling_with_accumulate(s, b)),
         lambda slopes, beta: [sum((1 - beta)*beta**(i - j)*slopes[j] for j in range(i + 1)) for i in range(len(slopes))],
         lambda slopes, beta: (1 - beta)*np.convolve(slopes, beta**np.arange(len(slopes)))[:len(slopes)]],
        [lambda s, b: rolling_with_accumulate(s, 1 - b), lambda s, b: rolling_with_accumulate(s, b)[-1],
         lambda s, b: [m/(1 - b) for m in rolling_with_accumulate(s, b)], lambda s, b: rolling_with_accumulate(s, .9),
         lambda s, b: [0, *rolling_with_accumulate(s, b)], lambda s, b: np.cumsum(s)/np.arange(1, len(s) + 1),
         lambda s, b: list(itertools.accumulate(s, lambda m, v: b*m + (1 - b)*v)), lambda s, b: [(1 - b)*v for v in s],
         lambda s, b: [m/(1 - b**(i + 1)) for i, m in enumerate(rolling_with_accumulate(s, b))],
         lambda s, b: [sum(s)/len(s)]*len(s), lambda s, b: list(s), lambda s, b: [abs(m) for m in rolling_with_accumulate(s, b)],
         lambda s, b: [-m for m in rolling_with_accumulate(s, b)], lambda s, b: [0, *rolling_with_accumulate(s, b)][:-1],
         lambda s, b: rolling_with_accumulate(s, b)[::-1], lambda s: s, lambda s, b: [b*v for v in s]]),
    'learning/steps': (
        [2346, 2346., '2346', '2,346', 3*782, 3*math.ceil(50_000/64), 3*-(-50_000//64), np.ceil(50_000/64)*3,
         len(torch.arange(50_000).split(64))*3, torch.tensor(2346)],
        [2343, 2344, 2343.75, 782, 781, 150_000, 192, 3, 2345, 2347, 781.25*3, 2346.5, '2.346', 64, 2304, '781 r 16']),
    'learning/rate': (
        ['too large', 'Too large.', 'too big', 'too_large', 'TOO-LARGE', 'it is too large', 'too high', 'large', 'much too large',
         ['too large']],
        ['too small', 'right', 'small', 'too low', 'just right', 'not too large', 'growing', 35, None, 'diverges?', 2,
         'too large or too small', 'largest']),
    'learning/cross_entropy': (
        [cross_entropy_in_steps, lambda s, i: math.log(sum(map(math.exp, s))) - s[i],
         lambda s, i: F.cross_entropy(torch.tensor(s)[None], torch.tensor([i])), lambda s, i: -torch.log_softmax(s, 0)[i],
         lambda s, i: -np.log(np.exp(s)/np.exp(s).sum())[i], lambda s, i: np.logaddexp.reduce(s) - s[i],
         lambda s, i: -torch.softmax(s, 0).log()[i], lambda scores, right: torch.logsumexp(scores, 0) - scores[right],
         lambda s, i: F.cross_entropy(torch.tensor(s), torch.tensor(i)).item(),
         lambda s, i: F.nll_loss(F.log_softmax(torch.tensor(s)[None], 1), torch.tensor([i]))],
        [lambda s, i: -cross_entropy_in_steps(s, i), lambda s, i: math.exp(-cross_entropy_in_steps(s, i)),
         lambda s, i: cross_entropy_in_steps(s, i)/math.log(2), lambda s, i: cross_entropy_in_steps(s, i)/math.log(10),
         lambda s, i: cross_entropy_in_steps(s, 0), lambda s, i: -s[i], lambda s, i: cross_entropy_in_steps(s, i)/len(s),
         lambda s, i: 1 - math.exp(-cross_entropy_in_steps(s, i)), lambda s, i: -torch.log_softmax(s, 0),
         lambda s, i: cross_entropy_in_steps(s, i - 1), lambda s, i: -np.log(np.exp(s)/np.exp(s).sum()),
         lambda s, i: -math.log(s[i]), lambda s, i: cross_entropy_in_steps(s, int(np.argmax(s))),
         lambda s, i: (1 - math.exp(-cross_entropy_in_steps(s, i)))**2, lambda s, i: max(s) - s[i],
         lambda s, i: F.cross_entropy(torch.softmax(torch.tensor(s), 0), torch.tensor(i)), lambda s: 0,
         lambda s, i: np.mean([cross_entropy_in_steps(s, j) for j in range(len(s))])]),

    'edges/derivative': (
        [(0, 3, 0, -4), np.diff([2, 2, 5, 5, 1]), torch.tensor([0., 3, 0, -4]), [0., 3., 0., -4.],
         ['0', '3', '0', '-4'], '0, 3, 0, -4', '0, 3, 0, −4', ['0', '3', '0', '−4'], '[0, 3, 0, -4]', '0 3 0 −4', '0, 3, 0 and -4'],
        [[0, 3, 0], [0, 3, 0, 4], [-4, 0, 3, 0], [0, 6, 0, -8], 3, [0, 3.1, 0, -4], [0, 0, 3, 0, -4], 'zero',
         [[0], [3], [0], [-4]], [[0, 3, 0, -4]], [2, 5, 0, 4]]),
    'edges/slide': (
        [loop_slide, lambda x, k: np.correlate(x, k, 'valid'), lambda x, k: x.unfold(0, len(k), 1) @ k,
         lambda x, k: F.conv1d(x[None, None], k[None, None])[0, 0], lambda x, k: tuple(loop_slide(x, k)),
         lambda x, k: np.lib.stride_tricks.sliding_window_view(x, len(k)) @ np.array(k), np.correlate,
         lambda x, k: np.convolve(x, k[::-1], 'valid')],
        [lambda x, k: [a*b for a, b in zip(x, k)], lambda x, k: np.correlate(x, k, 'same'),
         lambda x, k: loop_slide(x, k)[::-1], lambda x, k: [x[i]*k[0] + x[i + 1]*k[1] for i in range(len(x) - 1)],
         lambda x, k: F.conv1d(x[None, None], k[None, None]), lambda x, k: [max(v, 0) for v in loop_slide(x, k)],
         lambda x, k: print(loop_slide(x, k)), lambda x: x, lambda x, k: [v/len(k) for v in loop_slide(x, k)],
         lambda x, k: (v for v in loop_slide(x, k)),
         lambda x, k: [x[i]*k[0] + x[i + 1 - len(k)]*k[-1] for i in range(len(x) - len(k) + 1)]]),
    'edges/orientation': (
        ['Vertical', ' vertical.', 'vertical edges', 'the vertical', 'VERTICAL', ['vertical'], 'it is vertical',
         'Verticals'],
        ['horizontal edges', 'none', 'not vertical', 'diagonal', 90, 'vertical and horizontal', True, None,
         ['vertical', 'horizontal'], 'verticle']),
    'edges/sobel': (
        [np.array([[-1, -2, -1], [0, 0, 0], [1, 2, 1]]),
         torch.tensor([[-1., -2, -1], [0, 0, 0], [1, 2, 1]])[None, None], ((-1, -2, -1), (0, 0, 0), (1, 2, 1)),
         np.outer([-1, 0, 1], [1, 2, 1])],
        [[[-1, -2, -1, 0, 0, 0, 1, 2, 1]], [-1, -2, -1, 0, 0, 0, 1, 2, 1], [[-1, -2, -1], [0, 0, 0], [1, 2, 2]],
         [[1, 0, -1], [2, 0, -2], [1, 0, -1]], [[-2, -4, -2], [0, 0, 0], [2, 4, 2]],
         [[-1, -1.9, -1], [0, 0, 0], [1, 1.9, 1]], [[-1, -2, -1], [1, 2, 1]], 'sobel']),
    'edges/turn': (
        [lambda k: k.flip(0, 1), lambda k: np.flip(k), lambda k: np.rot90(k, 2),
         lambda k: [row[::-1] for row in k[::-1]], lambda k: torch.flip(k, (0, 1)), lambda k: np.rot90(np.rot90(k)),
         lambda kernel: torch.rot90(kernel, 2), lambda k: np.flip(k, axis=(0, 1)).copy()],
        [lambda k: k.flip(0), lambda k: np.fliplr(k), lambda k: np.rot90(k), lambda k: k.T[::-1, ::-1],
         lambda k: k[::-1], lambda k: np.sort(k.ravel())[::-1].reshape(k.shape), lambda k: k.ravel()[::-1],
         lambda k: k[::-1, ::-1][None], np.flipud, lambda k: k.T.flip(0, 1)]),
    'edges/flat': (
        [0, 0., -0., torch.zeros(1), np.float32(0), '0', 7*0],
        [7, 56, .1, None, False, 'silence', 28, -56, [0, 0, 0], 14, np.zeros((3, 3))]),

    'edges/second': (
        [(2, 2, 2), np.diff([1, 4, 9, 16, 25], 2), torch.tensor([2., 2, 2]), np.correlate([1, 4, 9, 16, 25], [1, -2, 1]),
         '2, 2, 2'],
        [[3, 5, 7, 9], 2, [2, 2], [2, 2, 2, 2], [2, 2, 2.1], [1, 1, 1], [-2, -2, -2], [2, 2, 2, 2, -34], [[2, 2, 2]],
         [18, 38, 66]]),
    'edges/corner': (
        [((1, 0), (0, 0)), np.array([[1, 0], [0, 0]]), [[1., 0.], [0., 0.]], torch.tensor([[1, 0], [0, 0]])[None, None],
         F.conv2d(torch.tensor([[[[0., 0, 0], [0, 1, 1], [0, 1, 1]]]]), torch.tensor([[[[1., -1], [-1, 1]]]]))],
        [[[1, 2], [2, 4]], [[-1, 0], [0, 0]], [1, 0, 0, 0], 1, [[0, 0], [0, 1]], [[1, 0, -1], [0, 0, 0], [-1, 0, 1]],
         [[1, 1], [1, 0]], [[1, 0], [2, 0]], [[1, 0], [0, .1]], 'a corner']),
    'edges/length': (
        [5, 5., math.hypot(3, -4), '5', torch.tensor([3., -4]).norm(), np.linalg.norm([3, -4])],
        [-5, 7, -1, 25, 1, 3.5, 5.001, (3, -4), -7, 12, 'strong']),
    'edges/offsets': (
        [19, 19., '19', 2*10 - 1, len(range(-9, 10))],
        [20, 18, 10, 100, 9, 3, 19.5, 21, 81, 'offset']),
    'edges/twin': (
        [np.rot90([[0, 1], [2, 3]], 2), torch.tensor([[0., 1], [2, 3]]).flip(0, 1), ((3, 2), (1, 0)),
         torch.tensor([[3, 2], [1, 0]])[None, None]],
        [[[0, 1], [2, 3]], np.rot90([[0, 1], [2, 3]]), np.fliplr([[0, 1], [2, 3]]), np.flipud([[0, 1], [2, 3]]),
         np.transpose([[0, 1], [2, 3]]), [3, 2, 1, 0], -np.rot90([[0, 1], [2, 3]], 2), [[-3, -2], [-1, 0]],
         np.rot90([[3, 2], [1, 0]]).T]),

    'shapes/output_size': (
        [output_size_by_steps, output_size_by_torch, lambda n, k, s, p, d: math.floor((n + 2*p - d*(k - 1) - 1)/s + 1),
         lambda n, k, s, p, d: int((n + 2*p - (k + (k - 1)*(d - 1)))/s) + 1,
         lambda n, k, s, p, d: (n + 2*p - d*(k - 1) - 1 + s)//s,
         lambda n, k, stride=1, padding=0, dilation=1: int(np.floor((n + 2*padding - dilation*(k - 1) - 1)/stride + 1))],
        [lambda n, k, s, p, d: (n + 2*p - d*k)//s + 1, lambda n, k, s, p, d: (n + 2*p - k*d + 1)//s + 1,
         lambda n, k, s, p, d: (n + 2*p - k)//s + 1, lambda n, k, s, p, d: (n + 2*p - d*(k - 1))//s,
         lambda n, k, s, p, d: (n + 2*p*d - d*(k - 1) - 1)//s + 1, lambda n, k, s, p, d: n//s, lambda n, k: n - k + 1,
         lambda n, k, s, p, d: round((n + 2*p - d*(k - 1) - 1)/s + 1),
         lambda n, k, s, p, d: (n + p - d*(k - 1) - 1)//s + 1,
         lambda n, k, s, p, d: math.ceil((n + 2*p - d*(k - 1) - 1)/s) + 1,
         lambda n, k, s, p, d: (n + 2*p - d*(k - 1) - 1)//s + 1.001,
         lambda n, k, padding, stride, dilation: (n + 2*padding - dilation*(k - 1) - 1)//stride + 1,
         lambda n, k, s, p, d: (n - k*d + 2*p)//s + 1 if d > 1 else (n - k + 2*p)//s + 1]),
    'shapes/same': (
        [3, 3., '3', np.int64(3), Fraction(6, 2), [3]],
        [7//2 + 1, 3.0005, 3.5, 6, (3, 3), 'same', 2, True, -3]),
    'shapes/reflect': (
        [np.pad([1, 2, 3, 4], 2, 'reflect'), F.pad(torch.tensor([[1., 2, 3, 4]]), (2, 2), 'reflect'),
         (3, 2, 1, 2, 3, 4, 3, 2)],
        [np.pad([1, 2, 3, 4], 2, 'symmetric'), np.pad([1, 2, 3, 4], 2, 'wrap'), [3, 2, 1, 2, 3, 4],
         [2, 3, 1, 2, 3, 4, 3, 2], [3, 2, 1, 1, 2, 3, 4, 4, 3, 2], np.pad([1, 2, 3, 4], 1, 'reflect'),
         [3, 2, 1, 2, 3, 4, 3, 3], 'reflect']),
    'shapes/max_pool': (
        [((4, 2), (5, 6)), F.max_pool2d(torch.tensor([[[[1., 3, 2, 0], [4, 2, 1, 1], [0, 5, 6, 2], [1, 2, 3, 4]]]]), 2),
         np.array([[4, 2], [5, 6]], dtype=np.uint8), [[4., 2.], [5., 6.]]],
        [[4, 2, 5, 6], [[4, 5], [2, 6]], [[4, 2], [5, 5]], [[4, 3, 2], [5, 6, 6], [5, 6, 6]], 6, [[4, 2], [2, 4]],
         [[1, 0], [0, 2]]]),
    'shapes/receptive_field': (
        [7, 7., '7', torch.tensor(7), (7,)],
        [5, 9, 7.001, (7, 7), 49, 8, 6, -7, 'seven']),
    'shapes/softmax': (
        [softmax_in_place, lambda x: torch.softmax(x, 0), lambda x: F.softmax(torch.tensor(x), dim=0).tolist(),
         lambda x: np.exp(x - np.logaddexp.reduce(x)), lambda x: (e := torch.exp(x - x.max()))/e.sum(),
         lambda x: (lambda e: e/e.sum())(np.exp(x - x.max())), nn.Softmax(dim=0),
         lambda x: np.exp(np.longdouble(x))/np.exp(np.longdouble(x)).sum()],
        [lambda x: np.exp(x)/np.exp(x).sum(), lambda x: torch.exp(x)/torch.exp(x).sum(),
         lambda x: [math.exp(v)/sum(math.exp(w) for w in x) for v in x], lambda x: torch.log_softmax(x, 0),
         lambda x: np.exp(np.array(x) - np.mean(x))/np.exp(np.array(x) - np.mean(x)).sum(),
         lambda x: 1/(1 + np.exp(-x)), lambda x: np.exp(x/np.linalg.norm(x))/np.exp(x/np.linalg.norm(x)).sum(),
         lambda x: np.exp(x - min(x))/np.exp(x - min(x)).sum(),
         lambda x: np.exp(np.clip(x, -700, 700))/np.exp(np.clip(x, -700, 700)).sum(),
         lambda x: max(softmax_in_place(x)), lambda x: np.nan_to_num(np.exp(x)/np.exp(x).sum()), torch.softmax,
         lambda x: np.exp(x - max(map(abs, x)))/np.exp(x - max(map(abs, x))).sum()]),
    'shapes/sigmoid': (
        [1/256, .0039, .00391, '1/256', Fraction(1, 256), Decimal('0.00390625'), np.float16(.0039), '0.39%'],
        [.004, .39, 256, 1/64, .0625, 1, .25, .00039, '1/64', 4, (1, 256), .0038]),

    'shapes/stride': (
        [1/9, .11, '1/9', Fraction(1, 9), .111, '11%', (1/3)**2],
        [1/3, .33, 1/6, 9, 3, .1, 8/9, .5, 0, '1/3', -1/9, 1/27, .12]),
    'shapes/vanish': (
        [12, 12., '12', len(range(50, 4, -4)), np.int64(12)],
        [12.5, 11, 13, 10, 25, 24, 12.25, 46, 2, 50/4, 'twelve layers', -12]),
    'shapes/batch_norm': (
        [lambda x, g, b, e: g*(x - x.mean())/(x.var(correction=0) + e)**.5 + b,
         lambda x, g, b, e: g*(np.array(x) - np.mean(x))/(np.std(x)**2 + e)**.5 + b,
         lambda x, g, b, e: [g*(v - sum(x)/len(x))/math.sqrt(sum((w - sum(x)/len(x))**2 for w in x)/len(x) + e) + b for v in x],
         lambda x, gamma, beta, eps: F.batch_norm(x[:, None], None, None, torch.tensor([gamma]), torch.tensor([beta]), True, .1, eps)[:, 0],
         lambda x, g, b, e: F.layer_norm(x, x.shape, eps=e)*g + b],
        [lambda x, g, b, e: g*(x - x.mean())/(x.var() + e)**.5 + b if hasattr(x, 'softmax') else None,
         lambda x, g, b, e: g*(np.array(x) - np.mean(x))/(np.std(x) + e) + b,
         lambda x, g, b, e: (np.array(x) - np.mean(x))/(np.std(x)**2 + e)**.5,
         lambda x, g, b, e: g*(np.array(x) - np.mean(x))/np.std(x) + b,
         lambda x, g, b, e: g*(np.array(x) - np.median(x))/(np.var(x) + e)**.5 + b,
         lambda x, g, b, e: g*((np.array(x) - np.mean(x))/(np.var(x) + e)**.5 + b),
         lambda x, g, b, e: g*(np.array(x) - np.mean(x))/(np.var(x) + e) + b,
         lambda x, g, b, e: g*np.array(x) + b, lambda x, g, b, e: sum(x)/len(x), lambda x, g, b: x,
         lambda x, g, b, e: g*(np.array(x) - np.mean(x))/(np.var(x)**.5 + e**.5) + b,
         lambda x, b, g, e: g*(np.array(x) - np.mean(x))/(np.var(x) + e)**.5 + b]),
    'shapes/running': (
        [1.9, '1.9', 10*.19, 10 - 8.1, torch.tensor(1.9), Fraction(19, 10), .9*1 + .1*10],
        [2, 1, 10, 8.1, 9.9, .1, 1.8, 2.71, -1.9, 19, (1, 1.9), '2']),
    'shapes/flatten': (
        [31370, '31,370', 31_370., sum(p.numel() for p in nn.Linear(64*7*7, 10).parameters()), np.int64(31370)],
        [31360, 31371, 650, 3146, 4490, 34496, 3136, 31370.5, (31, 370), 313700, 640]),

    'sharing/flat_weights': (
        [491520, 491520., 49152*10, '491,520', np.int64(491_520), torch.tensor(491520)],
        [491_520.3, 491_521, (491, 520), 491_530, 495_120, 491_029, 49_152, 163_840, 4_915_200, 4.9e5, 491.520]),
    'sharing/conv_parameters': (
        [4864, 4864., '4864', sum(p.numel() for p in nn.Conv2d(3, 64, 5).parameters())],
        [4800, 4865, 4864.4, 1664, (4800, 64), 4803, 4992, 139, 4860, 1024]),
    'sharing/matrix': (
        [[4, 16], torch.Size([4, 16]), np.array([4, 16]), (4., 16.), np.zeros((4, 16)).shape, '(4, 16)', '4 × 16'],
        [(16, 4), 64, (9, 16), (4, 9), (2, 2, 4, 4), '4 x 16', (4, 15), [[4], [16]], (2*2, 4, 4),
         dict(rows=4, columns=16)]),
    'sharing/weight_gradient': (
        [lambda x, k, u: np.correlate(x, u, 'valid'), gradient_by_torch('kernel'),
         lambda x, k, u: x.unfold(0, len(u), 1) @ u,
         lambda x, k, u: [np.dot(x[j:j + len(u)], u) for j in range(len(k))],
         lambda x, kernel, upstream: loop_slide(x, upstream)],
        [lambda x, k, u: np.convolve(x, u, 'valid'), lambda x, k, u: np.correlate(x, u, 'valid')/len(u),
         gradient_by_torch('x'), lambda x, k, u: loop_slide(x, u)[::-1], lambda x, k, u: [sum(u)*v for v in x[:len(k)]],
         lambda x, k, u: loop_slide(x, k), lambda x, k, u: sum(loop_slide(x, u)),
         lambda x, k, u: np.abs(loop_slide(x, u)), lambda x, k, u: -np.array(loop_slide(x, u))]),
    'sharing/input_gradient': (
        [lambda x, k, u: np.convolve(u, k), gradient_by_torch('x'), lambda x, k, u: np.convolve(k, u, 'full').tolist(),
         lambda x, k, u: F.conv_transpose1d(u[None, None], k[None, None])[0, 0]],
        [lambda x, k, u: np.correlate(u, k, 'full'), lambda x, k, u: np.convolve(u, k, 'valid'),
         gradient_by_torch('kernel'), lambda x, k, u: np.convolve(u, k, 'same'),
         lambda x, k, u: np.convolve(u, k)[::-1], lambda x, k, u: np.convolve(u, np.abs(k)),
         lambda x, k, u: F.conv_transpose1d(u[None, None], k[None, None]), lambda x, k, u: np.convolve(u, k)/len(k)]),
    'sharing/update': (
        [lambda w, g, lr: w - g*lr, lambda w, g, lr: w + -1*lr*g, lambda w, g, lr: torch.tensor(w).sub(g, alpha=lr),
         lambda weight, gradient, lr: np.float64(weight) - lr*gradient, lambda w, g, lr: w.sub(lr*g)],
        [lambda w, g, lr: w - lr*abs(g), lambda w, g, lr: w + lr*g, lambda w, g, lr: (w - g)*lr,
         lambda w, g, lr: w - lr*g**2, lambda w, g, lr: abs(w) - lr*g, lambda w, g, lr: max(w - lr*g, 0),
         lambda w, g, lr: w - lr*np.sign(g), lambda w, g, lr: w*(1 - lr*g), lambda w, g, lr: w - min(lr*g, 1),
         lambda w, g, lr: w - lr, lambda w, g: w - g, lambda w, g, lr: None,
         lambda w, g, lr: w - lr*(g if g > 0 else -g)]),
    'sharing/shift': (
        ['Moves', 'it moves'.split()[1], 'move', 'moves.', 'shifts', 'equivariant', '"moves"', 'It moves',
         'it moves with the image'],
        ['stays', 'invariant', "doesn't move", 'changes', 4, 'not moves', 'grows']),

    'sharing/dice': (
        [1/6, .167, '1/6', '6/36', Fraction(1, 6), .1667, np.convolve([1/6]*6, [1/6]*6)[5], '16.7%'],
        [.17, 1/36, 1/11, 7/36, 1/12, 5/36, 6, .5, .166, '1/7', 7, 1.67]),
    'sharing/overfits': (
        ['first', 'The first', 'the first one', 'first network', 'The first network.', 'FIRST', 'the_first'],
        ['second', 'the second one', 'both', 'none', 'neither', 2, .99, '99%', 'the third', None]),
    'sharing/share_lost': (
        [lambda b, a: (b - a)/b, lambda before, after: 1 - after/before, lambda b, a: -(a - b)/b, lambda b, a: -(a/b - 1),
         lambda b, a: np.subtract(b, a)/b],
        [lambda b, a: b - a, lambda b, a: a/b, lambda b, a: (b - a)/a, lambda b, a: (a - b)/b, lambda b, a: 100*(b - a)/b,
         lambda b, a: abs(b - a)/b, lambda b, a: max(0, (b - a)/b), lambda a, b: (b - a)/b, lambda b, a: 1 - a,
         lambda b, a: None, lambda b, a: f'{(b - a)/b:.0%}', lambda b: b]),

    'mnist/grouped': (
        [3232, 3232., '3,232', sum(p.numel() for p in nn.Conv2d(16, 32, 5, groups=4).parameters())],
        [12832, 3200, 808, 3231, 3232.9, 3208, 832, (3, 232), 3233]),
    'mnist/grey_kernel': (
        [lambda k: k.sum(0), lambda k: np.sum(k, axis=0), lambda k: torch.tensor(k).sum(dim=0),
         lambda k: np.einsum('chw->hw', k), lambda k: [[sum(v) for v in zip(*rows)] for rows in zip(*k)],
         lambda k: k[0] + k[1] + k[2]],
        [lambda k: np.mean(k, 0), lambda k: np.sum(k, 1), lambda k: k.sum(), lambda k: k[0],
         lambda k: np.sum(k, axis=-1), lambda k: np.sum(k, 0, keepdims=True), lambda k: np.sum(np.abs(k), 0),
         lambda k: k.sum(0).T, lambda k: np.median(k, 0)]),
    'mnist/network': (
        [digits_in_a_loop, digits, lambda n: nn.Sequential(*digits(n)),
         lambda n: digits(n, conv=dict(bias=True, stride=1)),
         lambda n: nn.Sequential(collections.OrderedDict((f'layer{i}', layer) for i, layer in enumerate(digits(n))))],
        [lambda n: digits(n, pool=lambda: nn.MaxPool2d(3, 2, 1)), lambda n: digits(n, pool=lambda: nn.AvgPool2d(2)),
         lambda n: digits(10), lambda n: digits(n, conv=dict(bias=False)), lambda n: digits(n, second=dict(groups=2)),
         lambda n: digits(n)[:-1], lambda n: digits(n, conv=dict(padding_mode='reflect')),
         lambda n: nn.Sequential(*digits(n), nn.Softmax(1)), digits(10),
         lambda n: nn.Sequential(*(digits(n)[i] for i in (0, 2, 1, 3, 4, 5, 6, 7))), lambda n: [*digits(n)],
         lambda: digits(10), lambda n: nn.Sequential(*digits(n)[:6], nn.Flatten(), nn.Linear(32*14*14, n)),
         lambda n: digits(n, conv=dict(padding=0))]),
    'mnist/first_loss': (
        [math.log(10), 2.3, 2.30, '2.303', -np.log(.1), F.cross_entropy(torch.zeros(1, 10), torch.tensor([3])),
         torch.tensor(2.3026, dtype=torch.float16)],
        [2.31, 2, .1, -2.3, 1, 3.32, 10, .9, math.log(9), 'ln 10', 2.2, 23, 'ln(10)', (2, 30), '2,30']),
    'mnist/dead_share': (
        [lambda a: (a == 0).all(dim=0).float().mean(), lambda a: np.mean(np.max(a, axis=0) == 0),
         lambda a: (a.sum(0) == 0).mean(), lambda a: sum(all(v == 0 for v in c) for c in zip(*a))/len(a[0]),
         lambda a: torch.tensor(a).eq(0).all(0).double().mean().item(),
         lambda a: np.count_nonzero(~np.any(a, axis=0))/len(a[0]),
         lambda a: np.float32((torch.tensor(a).sum(0) == 0).float().mean())],
        [lambda a: (np.array(a) == 0).mean(), lambda a: sum(all(v == 0 for v in c) for c in zip(*a)),
         lambda a: np.mean(np.max(a, axis=1) == 0), lambda a: np.mean(np.max(a, axis=0) < .01),
         lambda a: np.mean(np.min(a, axis=0) == 0), lambda a: np.mean(np.max(a, axis=0) > 0),
         lambda a: np.max(a, axis=0) == 0, lambda a: round(np.mean(np.max(a, axis=0) == 0)),
         lambda a: np.mean(np.max(a, axis=0) == 0)*100]),
    'mnist/momentum': (
        ['Peak', 'at the peak', 'the peak of the learning rate', 'max', 'in the middle', 'At its peak',
         'at the peak of the rate'],
        ['start', 'at the beginning', 'end', 'never', 'not at the peak', .85]),
    'mnist/cause': (
        ['Initial Weights', 'initial_weights', 'initialization', 'the initial weights', 'initial-weight',
         'Bad initialization'],
        ['learning rate', 'lr', 'dead unit', 'the data', 'weight decay', 4000]),

    'architectures/multiply_adds': (
        [2230272, 2_230_272., '2,230,272', np.int64(64)*32*9*121, 64*32*3**2*11**2],
        [2230273, 3_115_008, 18432, 18496, 2_230_272.4, 4_460_544, (2, 230, 272), 2.23e6, 69_696, 2_230_272 + 64]),
    'architectures/three_small': (
        [.55, 27/49, '27/49', .551, Fraction(27, 49), .5510204, '55%'],
        [.5, .6, 55, 9/49, 49/27, .56, 1, .45, 27, 1.29, '3·9/49']),
    'architectures/pointwise': (
        [lambda m, w: torch.einsum('oc,chw->ohw', w, m), lambda m, w: F.conv2d(m[None], w[:, :, None, None])[0],
         lambda m, w: np.tensordot(w, m, 1), lambda m, w: (w @ m.reshape(len(m), -1)).reshape(-1, *m.shape[1:]),
         lambda m, w: [[[sum(a*c[i][j] for a, c in zip(o, m)) for j in range(len(m[0][0]))] for i in range(len(m[0]))] for o in w],
         lambda maps, weight: np.moveaxis(np.moveaxis(np.array(maps), 0, -1) @ np.array(weight).T, -1, 0)],
        [lambda m, w: np.einsum('co,chw->ohw', w, m), lambda m, w: F.conv2d(m[None], w[:, :, None, None]),
         lambda m, w: w @ m, lambda m, w: np.tensordot(w, m, 1)/len(m), lambda m, w: np.tensordot(w, m, 1).sum(0),
         lambda m, w: np.tensordot(w, m, 1)[::-1],
         lambda m, w: [sum(w[o][c]*m[c] for c in range(len(m))) for o in range(len(m))],
         lambda m, w: np.tensordot(w, m, 1).transpose(0, 2, 1)]),
    'architectures/average': (
        [245760, 512*48*10, '245,760', 245760.],
        [250880, 5120, 24576, 245761, 245_760.5, 48, 245_750, 490, (245, 760), -245760]),
    'architectures/residual': (
        [Residual, ResidualOfSequential, lambda channels: Residual(channels, bias=True), lambda c: Residual(c),
         ResidualByHand, lambda c: ResidualByHand(c, padding_mode='zeros'), residual_of_copies],
        [ResidualTwice, ResidualTwiceInList, ResidualMinus, ResidualWithNorm, lambda c: Residual(c, bias=False),
         Residual(2), lambda c: Residual(c, groups=c),
         lambda c: nn.Sequential(nn.Conv2d(c, c, 3, padding=1), nn.ReLU(), nn.Conv2d(c, c, 3, padding=1)),
         lambda c: torch.zeros(c), lambda c: Residual, ResidualLeaky, ResidualHalf, ResidualRepeated,
         lambda channels: Residual(2), lambda c: nn.Conv2d(c, c, 3, padding=1)]),
    'architectures/depth': (
        [18, 18., '18', (110 - 2)/6, Fraction(54, 3), np.int32(18)],
        [54, 36, 18.3, 110/6, 19, 17, 55, (54, 54, 54), 'eighteen']),
    'architectures/gradient': (
        ['Grows', 'grow', 'explodes', 'it grows'.split()[1], 'increases'],
        ['vanishes', 'stays', 'stay', 'oscillates', "doesn't grow", 1.2]),
    'architectures/top5_error': (
        [lambda s, y: np.mean([l not in np.argsort(r)[::-1][:5] for r, l in zip(np.array(s), y)]),
         lambda s, y: 1 - (s.topk(5).indices == y[:, None]).any(1).float().mean(),
         lambda s, y: sum(l not in sorted(range(len(r)), key=lambda i: r[i])[-5:] for r, l in zip(s, y))/len(y),
         lambda s, y: np.mean([(np.array(r) > r[l]).sum() >= 5 for r, l in zip(s, y)])],
        [lambda s, y: np.mean([np.argmax(r) != l for r, l in zip(s, y)]),
         lambda s, y: np.mean([l in np.argsort(r)[-5:] for r, l in zip(s, y)]),
         lambda s, y: np.mean([l not in np.argsort(r)[-4:] for r, l in zip(s, y)]),
         lambda s, y: np.mean([l not in np.argsort(r)[:5] for r, l in zip(s, y)]),
         lambda s, y: sum(l not in np.argsort(r)[-5:] for r, l in zip(s, y)),
         lambda s, y: [l not in np.argsort(r)[-5:] for r, l in zip(s, y)],
         lambda s, y: 100*np.mean([l not in np.argsort(r)[-5:] for r, l in zip(s, y)])]),
    'architectures/bottleneck': (
        [102_400, 102400., '102,400', 2*512*64 + 9*64**2, np.int64(102400)],
        [102_401, 69_632, 626_688, 36_864, 69_633, 103_040, 4_718_592, (102, 400), 102_400.5, 65_536]),
    'architectures/through': (
        [lambda s, a: np.prod(np.array(s) + a), lambda s, a: math.prod((1 + v) if a else v for v in s),
         lambda s, a: torch.prod(s + 1. if a else s), lambda slopes, around: np.prod([around + v for v in slopes])],
        [lambda s, a: np.prod(s), lambda s, a: np.prod(np.array(s) + 1), lambda s, a: np.prod(s) + a,
         lambda s, a: sum(s) + a, lambda s, a: sum(v + a for v in s), lambda s, a: np.prod(np.abs(s) + a),
         lambda s, a: np.prod(np.array(s) - a), lambda s, a: [v + a for v in s], lambda s, a: (1 + np.mean(s))**len(s)]),

    'cifar10/chance_loss': (
        [2.3, math.log(10), 2.303, '2.30', np.float32(2.3025851), torch.tensor(.1).log().neg()],
        [2.31, 2.29, 2, .1, -2.303, 1, math.log2(10), .9, 10, 230]),
    'cifar10/normalise': (
        [lambda x, m, s: (x - m.reshape(3, 1, 1))/s.reshape(3, 1, 1),
         lambda x, m, s: (x - m.view(-1, 1, 1)).div(s.view(-1, 1, 1)),
         lambda x, m, s: np.stack([(c - a)/b for c, a, b in zip(x, m, s)]),
         lambda x, m, s: [(x[i] - m[i])/s[i] for i in range(3)],
         lambda x, m, s: x.sub_(m[:, None, None]).div_(s[:, None, None]),
         lambda x, m, s: ((x.transpose(1, 2, 0) - m)/s).transpose(2, 0, 1)],
        [lambda x, m, s: (x - m)/s, lambda x, m, s: (x - x.mean())/x.std(), lambda x, m, s: (x - m[0])/s[0],
         lambda x, m, s: (x - m[:, None, None])/s[:, None, None]**2,
         lambda x, m, s: (x - m[:, None, None])/(s[:, None, None] + .01),
         lambda x, m, s: (x + m[:, None, None])/s[:, None, None],
         lambda x, m, s: (m[:, None, None] - x)/s[:, None, None],
         lambda x, m, s: ((x - m[:, None, None])/s[:, None, None]).transpose(1, 2, 0)]),
    'cifar10/linear_in': (
        [9216, 9216., '9,216', 256*36, (9216,)],
        [1024, 4096, 16384, 9217, 9_216.9, (256, 6, 6), 36, 9216*10, 12544]),
    'cifar10/block': (
        [custom, lambda i, o: custom(i, o, padding='same'),
         lambda i, o: nn.Sequential(custom(i, o)[:3], custom(o, o)[3:]),
         lambda i, o: custom(i, o, pool=lambda: nn.MaxPool2d((2, 2), stride=2))],
        [lambda i, o: custom(i, o, p=.5), lambda i, o: custom(i, o, padding=0),
         lambda i, o: custom(i, o, pool=lambda: nn.AvgPool2d(2)),
         lambda i, o: custom(i, o, pool=lambda: nn.MaxPool2d(3, 2, 1)),
         lambda i, o: custom(i, o, norm=lambda n: nn.Identity()), lambda i, o: custom(i, o)[:-1],
         lambda i, o: custom(o, i), lambda i, o: custom(3, 32), lambda i, o: custom(i, o, bias=False),
         lambda i, o: custom(i, o, padding=2, dilation=2), lambda i, o: [*custom(i, o)]]),
    'cifar10/dropout': (
        [lambda x, k, p: np.where(k, x/(1 - p), 0), lambda x, k, p: torch.where(k > 0, x, torch.zeros(1))/(1 - p),
         lambda x, k, p: [a*b/(1 - p) for a, b in zip(x, k)], lambda x, kept, p: x*(kept/(1 - p)),
         lambda x, k, p: [v/(1 - p) if stays else 0 for v, stays in zip(x, k)]],
        [lambda x, k, p: x*k, lambda x, k, p: x*k/p, lambda x, k, p: x*k*(1 - p), lambda x, k, p: x*k/k.mean(),
         lambda x, k, p: x[k == 1]/(1 - p), lambda x, k, p: np.abs(x*k)/(1 - p), lambda x, k, p: x*k*(1 + p),
         lambda x, k, p: F.dropout(torch.tensor(x), p)]),
    'cifar10/accuracy': (
        [lambda r, s: r.sum()/s.sum(), lambda r, s: np.average(np.array(r)/np.array(s), weights=s),
         lambda right, sizes: torch.tensor(sum(right)/sum(sizes)), lambda r, s: Fraction(sum(r), sum(s)),
         lambda r, s: float(np.sum(r))/np.sum(s)],
        [lambda r, s: np.mean(np.array(r)/np.array(s)), lambda r, s: sum(r)/len(s), lambda r, s: sum(r)/(max(s)*len(s)),
         lambda r, s: 100*sum(r)/sum(s), lambda r, s: sum(r)//sum(s), lambda r, s: round(sum(r)/sum(s), 1),
         lambda r, s: 1 - sum(r)/sum(s), lambda r, s: max(a/b for a, b in zip(r, s)),
         lambda r, s: [a/b for a, b in zip(r, s)], lambda r, s: f'{sum(r)/sum(s):.2f}']),
    'cifar10/macro_f1': (
        [lambda c: np.mean([2*c[i, i]/(c[i].sum() + c[:, i].sum()) for i in range(len(c))]),
         lambda c: (2*c.diag()/(c.sum(0) + c.sum(1))).mean(), lambda c: (2*np.diag(c)/(c.sum(0) + c.sum(1))).mean()],
        [lambda c: np.trace(c)/c.sum(), lambda c: np.mean(np.diag(c)/c.sum(0)), lambda c: np.mean(np.diag(c)/c.sum(1)),
         lambda c: np.average(2*np.diag(c)/(c.sum(0) + c.sum(1)), weights=c.sum(1)),
         lambda c: (np.diag(c)/(c.sum(0) + c.sum(1))).mean(), lambda c: np.sum(2*np.diag(c)/(c.sum(0) + c.sum(1))),
         lambda c: np.median(2*np.diag(c)/(c.sum(0) + c.sum(1)))]),
    'cifar10/choose': (
        ['Validation', 'the validation set', 'valid', 'val', 'validation data'],
        ['test', 'training', 'train', 'both', 'the test set', 50]),
    'cifar10/cam': (
        [lambda m, g: np.maximum((np.array(g).mean((1, 2))[:, None, None]*np.array(m)).sum(0), 0),
         lambda m, g: (g.mean((1, 2), keepdim=True)*m).sum(0).relu(),
         lambda m, g: torch.einsum('k,khw->hw', g.mean((1, 2)), m).clamp(min=0),
         lambda m, g: [[max(0, sum(np.mean(gk)*mk[i][j] for mk, gk in zip(m, g))) for j in range(len(m[0][0]))]
                       for i in range(len(m[0]))]],
        [lambda m, g: (np.array(g).mean((1, 2))[:, None, None]*np.array(m)).sum(0),
         lambda m, g: np.maximum((np.array(g)*np.array(m)).sum(0), 0),
         lambda m, g: np.maximum((np.array(g).sum((1, 2))[:, None, None]*np.array(m)).sum(0), 0),
         lambda m, g: np.maximum((np.array(g).mean((1, 2))[:, None, None]*np.array(m)).mean(0), 0),
         lambda m, g: np.maximum(np.array(m).sum(0), 0), lambda m, g: np.maximum(np.array(g).mean(0), 0),
         lambda m, g: (np.maximum(np.array(g).mean((1, 2)), 0)[:, None, None]*np.array(m)).sum(0),
         lambda m, g: (np.abs(np.array(g).mean((1, 2)))[:, None, None]*np.array(m)).sum(0),
         lambda m, g: np.maximum(np.array(g).mean((1, 2))[:, None, None]*np.array(m), 0)]),

    'planets/red': (
        [0, 0., '0', np.uint8(0), [0]],
        [2, 1, 3, -1, False, 'red', (0, 1, 2), .3, 255]),
    'planets/steps': (
        [35, 35., '35', 2254//64, np.floor(2254/64)],
        [36, 35.2, 35.21875, 34, 2254, (35, 14), 144256, 'about 35']),
    'planets/first_layer': (
        [608, 608., '608', sum(p.numel() for p in nn.Conv2d(3, 8, 5).parameters())],
        [600, 208, 24, 603, 607, 608.5, 609, (600, 8), 83, 128]),
    'planets/sides': (
        [(100, 50, 25, 13, 7), np.array([100, 50, 25, 13, 7]), torch.tensor([100., 50, 25, 13, 7]),
         [100., 50, 25, 13, 7]],
        [[100, 50, 25, 12, 6], [200, 100, 50, 25, 13], [100, 50, 25, 12.5, 6.25], [7, 13, 25, 50, 100],
         [100, 50, 25, 13], 7, [98, 47, 22, 9, 3], [100, 50, 25, 13, 6],
         [[100, 100], [50, 50], [25, 25], [13, 13], [7, 7]]]),
    'planets/interval': (
        [.12, .1176, .118, '0.12', 4*.03, Decimal('.12'), '12%', .1192],
        [.06, .03, .012, .11, .13, 12, .155, 1.2, (.84, .96), .1, -.12]),
    'planets/larger_batches': (
        [85, 85., 17*5, '85'],
        [88, 90, 175, 17, 88.05, 86, 85.1, 84, 17.6]),
    'planets/squeeze': (
        [(4,), [4], torch.zeros(1, 4, 1, 1).squeeze().shape, np.array([4]), (4.,), '(4,)', '[4]'.strip('[]') + ','],
        [4, (1, 4), (1, 4, 1, 1), (4, 1, 1), (4, 1), (), '4', (1,), [[4]], (4, 4), [4, 1, 1]]),
    'planets/block': (
        [halving, lambda i, o: nn.Sequential(nn.Conv2d(i, o, (5, 5), (2, 2), (2, 2)), nn.ReLU(True), nn.BatchNorm2d(o)),
         lambda i, o: nn.Sequential(nn.LazyConv2d(o, 5, 2, 2), nn.ReLU(), nn.LazyBatchNorm2d()),
         lambda i, o: nn.Sequential(*halving(i, o))],
        [lambda i, o: halving(i, o, stride=1), lambda i, o: halving(i, o, padding=0),
         lambda i, o: halving(i, o, kernel=3), lambda i, o: halving(o, i), lambda i, o: halving(i, o, padding=1),
         lambda i, o: halving(i, o, bias=False), lambda i, o: nn.Sequential(*(halving(i, o)[j] for j in (0, 2, 1))),
         lambda i, o: nn.Sequential(*halving(i, o)[:1], nn.LeakyReLU(), nn.BatchNorm2d(o)),
         lambda i, o: halving(i, o)[:2], halving(3, 8), lambda i, o: halving(i, o, padding_mode='circular'),
         lambda i, o: halving(i, 8)]),

    'transfer/steps': (
        [('choose', 'replace', 'freeze', 'train', 'tune'), ['Choose', 'Replace', 'Freeze', 'Train', 'Tune'],
         np.array(['choose', 'replace', 'freeze', 'train', 'tune']),
         ['choose a backbone', 'replace the head', 'freeze the body', 'train the head', 'tune all of it'],
         'choose, replace, freeze, train, tune', 'choose → replace → freeze → train → tune'],
        [['replace', 'choose', 'freeze', 'train', 'tune'], ['choose', 'replace', 'freeze', 'tune', 'train'],
         ['choose', 'replace', 'freeze', 'train'], ['choose', 'replace', 'thaw', 'train', 'tune'],
         {'choose', 'replace', 'freeze', 'train', 'tune'}, 'choose', [1, 2, 3, 4, 5],
         ['tune', 'train', 'freeze', 'replace', 'choose'], 'choose, freeze, replace, train, tune']),
    'transfer/head_parameters': (
        [8967, 8967., '8,967', 1281*7, sum(p.numel() for p in nn.Linear(1280, 7).parameters())],
        [8960, 1281000, 1287, 8966, 8967.5, 10240, 8968, (8, 967), 7, 4_652_008]),
    'transfer/new_head': (
        [new_head, lambda c, n: nn.Sequential(*new_head(c, n)),
         lambda c, n: nn.Sequential(new_head(c, n)[:4], nn.Linear(c, n))],
        [lambda c, n: new_head(c, n, frozen=False), lambda c, n: new_head(c, n).requires_grad_(False),
         lambda c, n: new_head(c, n, padding=1), head_half_frozen, lambda c, n: new_head(c, 10),
         lambda c, n: new_head(n, c), lambda c, n: nn.Sequential(*new_head(c, n), nn.Softmax(1)),
         lambda c, n: new_head(c, n).eval, lambda c, n: new_head(c, n)[4], lambda c, n: new_head(c, n, stride=2)]),
    'transfer/normalise': (
        [1.3, 1.31, 1.307, '1.3', (200/255 - .485)/.229, torch.tensor(1.307)],
        [1.4, 1, 13, 871.2, .784, .3, -1.3, .0685, 3.425, 130, (1, 3), '1,3']),
    'transfer/rates': (
        [lambda lo, hi, n: np.geomspace(lo, hi, n), lambda lo, hi, n: np.logspace(np.log10(lo), np.log10(hi), n),
         lambda lo, hi, n: torch.logspace(math.log10(lo), math.log10(hi), n),
         lambda lo, hi, n: [lo*((hi/lo)**(1/(n - 1)))**k for k in range(n)],
         lambda lo, hi, n: np.exp(np.linspace(np.log(lo), np.log(hi), n))],
        [lambda lo, hi, n: np.linspace(lo, hi, n), lambda lo, hi, n: np.geomspace(hi, lo, n),
         lambda lo, hi, n: np.geomspace(lo, hi, n + 1)[:-1], lambda lo, hi, n: [lo*10**i for i in range(n)],
         lambda lo, hi, n: [lo]*(n - 1) + [hi], lambda lo, hi, n: np.geomspace(lo, hi, n + 1),
         lambda lo, hi, n: slice(lo, hi), lambda lo, hi, n: [hi/2**i for i in range(n)][::-1],
         lambda lo, hi, n: (lo*hi)**.5]),
    'transfer/frozen_norm': (
        ['Averages', 'the averages', 'running averages', 'running statistics', 'average', 'running mean and variance'],
        ['weights', 'nothing', 'gradients', 'weight', 'everything', 'bias', None]),
    'transfer/average': (
        [lambda k, b, m: k + m*(b - k), lambda k, b, m: np.average([k, b], weights=[1 - m, m]),
         lambda k, b, m: torch.lerp(torch.tensor(k), torch.tensor(b), m), lambda k, b, m: k*(1 - m) + b*m, torch.lerp],
        [lambda k, b, m: m*k + (1 - m)*b, lambda k, b, m: k + m*b, lambda k, b, m: (k + b)/2,
         lambda k, b, m: k - m*(b - k), lambda k, b, m: b, lambda k, b, m: k + m*abs(b - k),
         lambda k, b, m: .9*k + .1*b, lambda k, b, m: max(k + m*(b - k), 0), lambda k, b: b]),
    'transfer/last_maps': (
        [7, 7., '7', math.ceil(200/32), np.int64(7)],
        [6, 6.25, 40, 13, 8, 7.5, 4, 25, (7, 7), 32]),
    'transfer/purity': (
        [lambda labels: collections.Counter(labels).most_common(1)[0][1]/len(labels),
         lambda labels: np.unique(labels, return_counts=True)[1].max()/len(labels),
         lambda l: max(sum(a == b for b in l) for a in l)/len(l), lambda l: Fraction(max(map(l.count, l)), len(l))],
        [lambda l: max(map(l.count, l)), lambda l: l.count(l[0])/len(l), lambda l: len(set(l))/len(l),
         lambda l: min(map(l.count, l))/len(l), lambda l: 1/len(set(l)), lambda l: max(set(l), key=l.count),
         lambda l: 1 - max(map(l.count, l))/len(l), lambda l: max(map(l.count, l))/len(set(l)), lambda l: l.count(l[-1])/len(l)]),

    'collection/query': (
        ['Planet Jupiter', 'planet-jupiter', '"planet jupiter"', 'jupiter planet', ' planet  jupiter '],
        ['jupiter', 'jupiter -watch', 'jupiter saturn', 'planets', 'planet', 2, 'planet saturn']),
    'collection/present': (
        [lambda rows: len([r for r in rows if r['status'] in {'kept', 'restored', 'relabelled'}]),
         lambda rows: sum(1 for r in rows if r['status'] not in ('failed', 'duplicate', 'quarantined')),
         lambda rows: float(sum(map(['kept', 'restored', 'relabelled'].count, (r['status'] for r in rows))))],
        [len, lambda rows: sum(r['status'] == 'kept' for r in rows),
         lambda rows: sum(r['status'] != 'quarantined' for r in rows),
         lambda rows: sum(r['status'] in ('kept', 'restored') for r in rows),
         lambda rows: [r for r in rows if r['status'] == 'kept'], lambda rows: any(r['status'] == 'kept' for r in rows),
         lambda rows: sum(r['state'] == 'kept' for r in rows),
         lambda rows: sum(r['status'] in ('kept', 'relabelled') for r in rows),
         lambda rows: collections.Counter(r['status'] for r in rows)['kept']]),
    'collection/licence': (
        [['cc0', 'by 4.0', 'by-nd 4.0'], ('by-nd 4.0', 'cc0', 'by 4.0'), {'cc0', 'by 4.0', 'by-nd 4.0'},
         ['CC0', 'CC BY 4.0', 'CC BY-ND 4.0'], ['by', 'by-nd', 'cc0'], 'cc0, by 4.0, by-nd 4.0',
         ['CC0 1.0', 'CC-BY 4.0', 'CC-BY-ND 4.0']],
        [['cc0', 'by 4.0'], ['cc0', 'by 4.0', 'by-nc 4.0'], ['cc0', 'by 4.0', 'by-nd 4.0', ''], ['by 4.0', 'by-nd 4.0'],
         'cc0', [], ['cc0', 'cc0', 'by 4.0'], ['cc0', 'by 4.0', 'by-nd 4.0', 'by-nc 4.0', ''], ['by-nc 4.0'], 3,
         ('by-nd', 'by')]),
    'collection/leaks': (
        [lambda tr, te, g: [f for f in te if any(g[f] == g[t] for t in tr)],
         lambda tr, te, g: list(filter(lambda f: g[f] in set(map(g.get, tr)), te)),
         lambda train, test, group: tuple(f for f in test if group[f] in [group[t] for t in train])],
        [lambda tr, te, g: {f for f in te if any(g[f] == g[t] for t in tr)},
         lambda tr, te, g: [f for f in te for t in tr if g[f] == g[t]],
         lambda tr, te, g: [b for a, b in zip(tr, te) if g[a] == g[b]], lambda tr, te, g: list(set(tr) & set(te)),
         lambda tr, te, g: [f for f in tr if any(g[f] == g[t] for t in te)],
         lambda tr, te, g: len([f for f in te if any(g[f] == g[t] for t in tr)]),
         lambda tr, te, g: sorted((f for f in te if any(g[f] == g[t] for t in tr)), reverse=True), lambda tr, te, g: te,
         lambda tr, te, g: [g[f] for f in te if any(g[f] == g[t] for t in tr)],
         lambda tr, te, g: any(g[f] == g[t] for t in tr for f in te),
         lambda tr, te, g: filter(lambda f: g[f] in [g[t] for t in tr], te),
         lambda tr, te, g: [f for f in te if collections.Counter(g.values())[g[f]] > 1],
         lambda tr, te, g: dict.fromkeys(f for f in te if any(g[f] == g[t] for t in tr))]),
    'collection/split': (
        [split_with_counter, lambda groups, n: np.array(split_with_counter(groups, n)),
         lambda groups, at_least: tuple(split_with_counter(groups, at_least))],
        [lambda groups, n: list(range(n)), lambda groups, n: split_with_counter(groups, n + 1),
         lambda groups, n: split_with_counter(groups, n)[:n],
         lambda groups, n: [groups[i] for i in split_with_counter(groups, n)],
         lambda groups, n: [i for i, g in enumerate(groups) if g == groups[0]],
         lambda groups, n: split_with_counter(groups, n)[::-1], lambda groups, n: len(split_with_counter(groups, n)),
         lambda groups, n: split_with_counter(sorted(groups), n),
         lambda groups, n: [i for i, g in enumerate(groups) if g in sorted(set(groups), key=groups.count)[-1:]]]),
    'collection/images_needed': (
        [needed_by_search, lambda w, a: math.ceil(a*(1 - a)*(3.92/w)**2), lambda w, a: np.ceil((2*1.96/w)**2*a*(1 - a)),
         lambda width, accuracy: int(4*1.96**2*accuracy*(1 - accuracy)/width**2) + 1],
        [lambda w, a: round(a*(1 - a)*(3.92/w)**2), lambda w, a: a*(1 - a)*(3.92/w)**2,
         lambda w, a: int(a*(1 - a)*(3.92/w)**2), lambda w, a: math.ceil(a*(1 - a)*(4/w)**2),
         lambda w, a: math.ceil(a*(1 - a)*(1.96/w)**2), lambda w, a: math.ceil(a*(3.92/w)**2),
         lambda w, a: math.ceil(a*(1 - a)*(3.92/w)**2) + 1, lambda w, a: math.ceil(math.sqrt(a*(1 - a))*3.92/w),
         lambda w, a: math.ceil(.25*(3.92/w)**2)]),
    'collection/half_as_wide': (
        [4, 4., '4', 2**2, np.float32(4), math.sqrt(16), '4 times as many', '4x', '4×', '4 times'],
        [2, 1.41, 8, .25, 4.001, 16, .5, (4, 1), '8 times', '4 or 5', 'x4y']),
    'collection/none': (
        ['None of these', 'none', 'none of them', 'none_of_these', 'None', 'None of these.'],
        ['the first class', 'first class', 'not sure', 'unsure', 'cat', 0, 'all of these', 1.3, None]),
}
