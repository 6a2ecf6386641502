"Exercises: what they say to right and wrong answers. The explorer in a real browser: arithmetic, keys, size and looks."
import base64, copy, dataclasses, http.server, inspect, io, json, math, multiprocessing, os, random, re, subprocess, sys, threading, types
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import requests
import torch
from hypothesis import given, settings, strategies as st
from PIL import Image
from torch.nn import functional as F

from answers import ANSWERS
from fastcnn import lessons
from fastcnn.convolution import avg_pool2d, conv2d, conv_output_size, lp_pool2d, max_pool2d
from fastcnn.core import InputError
from fastcnn.exercises import EXERCISES
from fastcnn.lessons import check, explore_convolution, explore_descent, lesson_results, show_progress, show_solution
from notebooks import ROOT
from web import axe, browser, run_in_jupyterlab, served, violations, wait_for


@pytest.fixture(autouse=True)
def progress(tmp_path, monkeypatch):
    monkeypatch.setenv('FASTCNN_PROGRESS', str(tmp_path/'a folder'/'progress.json'))
    return tmp_path/'a folder'/'progress.json'


# Exercises

@pytest.mark.parametrize('name', EXERCISES)
def test_exercise(name):
    "The solution passes; each listed wrong answer meets its own hint"
    exercise = EXERCISES[name]
    assert check(name).right is None and exercise.question in check(name).message
    assert check(name, exercise.solution).right is True
    for wrong, hint in exercise.wrong:
        assert is_right(name, wrong) is False and reply(name, wrong) == hint
    assert len({hint for _, hint in exercise.wrong}) >= 2
    if callable(exercise.solution): assert inspect.getsource(exercise.solution).strip() in show_solution(name).message
    total = sum(e.lesson == exercise.lesson for e in EXERCISES.values())
    assert f'{total} of this lesson' in check(name, exercise.solution).message


def offer(name): return f" (`show_solution('{name}')` shows how.)"

def is_right(name, answer): return check(name, answer).right

def reply(name, answer): return check(name, answer).message.removesuffix(offer(name))

def misjudged(name):
    "Answers of people that are judged wrongly: pairs of the answer and whether it is right"
    for answers, known in zip(ANSWERS[name], (True, False)):
        yield from ((answer, known) for answer in answers if is_right(name, answer) is not known)


@pytest.mark.parametrize('name', EXERCISES)
def test_answers_of_people(name, recwarn, capfd):
    "Right in each of the ways in which people write it, wrong however near; and NumPy's warnings stay off the screen"
    right, wrong = ANSWERS[name]
    assert len(right) >= 3 and len(wrong) >= 4
    assert list(misjudged(name)) == []
    assert not recwarn.list and 'Warning' not in ''.join(capfd.readouterr())


def test_how_many_answers_are_judged():
    assert set(ANSWERS) == set(EXERCISES) and sum(len(group) for groups in ANSWERS.values() for group in groups) >= 900


@pytest.mark.parametrize('name', EXERCISES)
def test_another_solution_would_be_found(name, monkeypatch):
    "With any of its wrong answers for a solution, an exercise misjudges what people answer"
    for wrong, _ in EXERCISES[name].wrong:
        with monkeypatch.context() as changed:
            changed.setitem(EXERCISES, name, dataclasses.replace(EXERCISES[name], solution=wrong))
            assert any(misjudged(name))


def close(answer, right, isclose=math.isclose, **tolerance): return isclose(answer, right, rel_tol=1e-3, abs_tol=1e-3)

MUTANTS = { # what is changed → the fields of every exercise, and what the judging uses
    'the first arguments alone': (lambda exercise: dict(inputs=exercise.inputs[:1]), ()),
    'no synonyms': (lambda exercise: dict(also={}), ()),
    'order always counts': (lambda exercise: dict(ordered=True), ()),
    'order never counts': (lambda exercise: dict(ordered=False), ()),
    'a decimal more': (lambda exercise: dict(decimals=exercise.decimals and exercise.decimals + 1), ()),
    'a decimal less': (lambda exercise: dict(decimals=exercise.decimals and exercise.decimals - 1), ()),
    'all of a result, not what counts': (lambda exercise: dict(read=lambda result, *_: result), ()),
    'counts within .1%': (lambda exercise: {}, [(math, 'isclose', close)]),
    'arguments are not copied': (lambda exercise: {}, [(copy, 'deepcopy', lambda value: value)]),
    'no tensors': (lambda exercise: {}, [(lessons, 'torch', types.SimpleNamespace(tensor=np.array))]),
}

@pytest.mark.parametrize('fields,names', MUTANTS.values(), ids=MUTANTS)
def test_a_mutant_of_the_judging_is_found(fields, names, monkeypatch):
    for name, exercise in EXERCISES.items(): # a mutant may change the arguments
        monkeypatch.setitem(EXERCISES, name, dataclasses.replace(exercise, **dict(inputs=copy.deepcopy(exercise.inputs)) | fields(exercise)))
    for owner, name, changed in names: monkeypatch.setattr(owner, name, changed)
    assert any(any(misjudged(name)) for name in EXERCISES)


VALUES = [name for name, exercise in EXERCISES.items() if not exercise.inputs]
FUNCTIONS = [name for name, exercise in EXERCISES.items() if exercise.inputs]
NUMBERS = [name for name in VALUES if isinstance(EXERCISES[name].solution, (int, float))]
ARRAYS = [np.array, torch.tensor, lambda value: torch.tensor(value, dtype=torch.float64, requires_grad=True)]


@pytest.mark.parametrize('name', VALUES)
def test_a_value_is_right_in_each_form(name):
    "Arrays and tensors of each kind, tuples, text, capitals; and a truth value is not a number"
    solution = EXERCISES[name].solution
    if isinstance(solution, str):
        forms = [solution.upper(), f' {solution}. ', solution.replace(' ', '_'), np.str_(solution), (solution,)]
    elif isinstance(np.ravel(solution)[0], str): forms = [tuple(solution), np.array(solution), ', '.join(solution)]
    else: forms = [form(solution) for form in ARRAYS] + [tuple(solution) if isinstance(solution, list) else str(solution)]
    assert all(is_right(name, form) for form in (solution, *forms))
    assert not any(is_right(name, other) for other in (True, False, None, {}, [], (), object(), math.nan, 'something else'))


@pytest.mark.parametrize('name', NUMBERS)
def test_a_number_is_as_exact_as_the_question_says(name):
    solution, decimals = EXERCISES[name].solution, EXERCISES[name].decimals
    right, wrong = [float(solution)], [solution + d for d in (1, -1, .5, -1e-3, 1e-3)]
    if decimals:
        right = [round(solution, decimals), f'{solution:.{decimals}f}', solution + .2*10**-decimals]
        wrong = [solution + .6*10**-decimals, solution - .6*10**-decimals]
        assert f'(To {decimals} decimal' in check(name).message
    assert all(is_right(name, answer) for answer in right) and not any(is_right(name, answer) for answer in wrong)


def test_a_number_with_more_decimals_is_held_to_them():
    "It may not hide behind rounding: ten per cent off is off"
    assert is_right('learning/loss', .4) and not is_right('learning/loss', .44) and not is_right('start/share', .924)


@pytest.mark.parametrize('name', FUNCTIONS)
def test_a_function_may_not_ignore_its_arguments(name):
    "A result that was written down for the first arguments is wrong, and so is no result at all"
    exercise = EXERCISES[name]
    known = exercise.solution(*exercise.inputs[0])
    assert not is_right(name, lambda *_: known) and not is_right(name, lambda *_: None)
    assert not is_right(name, lambda *arguments: arguments[0]) and not is_right(name, known)


@pytest.mark.parametrize('name', FUNCTIONS)
def test_a_result_is_right_in_each_form_and_wrong_when_changed(name):
    solution = EXERCISES[name].solution
    first = solution(*EXERCISES[name].inputs[0])
    if not isinstance(first, torch.nn.Module) and np.array(first).dtype.kind in 'if':
        assert all(is_right(name, lambda *given: form(np.array(solution(*given)).tolist())) for form in ARRAYS)
        for change in (lambda a: -a - 1e-3, lambda a: a*1.01 + .01, lambda a: a[None], lambda a: np.stack([a, a]), lambda a: a > 0):
            assert not is_right(name, lambda *given: change(np.array(solution(*given))))
    assert not is_right(name, lambda *given: [solution(*given)]) and not is_right(name, lambda *given: str(solution(*given)))


@pytest.mark.parametrize('name', NUMBERS)
def test_a_reply_to_a_number_is_near_and_not_the_answer(name):
    "Whatever the number, the reply says how it lies to the right one, and never says the right one"
    solution = EXERCISES[name].solution
    hints = [hint for _, hint in EXERCISES[name].wrong]
    for answer in (solution + 1, 3*solution - 7, -solution, solution*1.004, solution/100, 1e9, math.nan, -math.inf, None, 'x', [1, 2]):
        said = reply(name, answer)
        if said in hints or is_right(name, answer): continue # 0 is its own negative
        said = re.sub('^Not `.*?`', '', said)
        assert re.search('large|small|sign|rounded|nan|inf|number', said), said
        assert not solution or not re.search(rf'(?<![\w.]){re.escape(str(solution))}(?![\w.])', said), said


def test_the_first_difference():
    "At which place, for which arguments, what came and what should"
    found = reply('edges/slide', lambda x, kernel: [*EXERCISES['edges/slide'].solution(x, kernel)[:-1], 9])
    assert found == ('For x = `[2.0, 2.0, 5.0, 5.0, 1.0]`, kernel = `[-1.0, 1.0]`, your function returns `[0.0, 3.0, 0.0, 9]`. '
                     'The fourth number should be `-4.0`, not `9`.')
    assert reply('edges/derivative', [0, 4, 0, -4]) == 'Not `[0, 4, 0, -4]`. Look again at the second number.'
    assert 'should be 3 rows of 3; you gave 2 rows of 3' in reply('edges/sobel', [[1, 2, 3]]*2)
    assert 'write `49_152`' in reply('sharing/flat_weights', (491, 520))
    assert 'Each item should be a word' in reply('transfer/steps', ['choose', 2, 'freeze', 'train', 'tune'])
    assert 'Its third layer should be `MaxPool2d 2 × 2 (16, 14, 14)`' in reply('mnist/network', ANSWERS['mnist/network'][1][1])


@pytest.mark.parametrize('naive', [
    lambda x: [math.exp(v)/sum(map(math.exp, x)) for v in x], lambda x: torch.exp(x)/torch.exp(x).sum(),
    lambda x: (e := torch.exp(torch.tensor(x)))/e.sum()])
def test_nan_is_the_point_of_the_softmax(naive):
    assert 'that is the point of this exercise' in check('shapes/softmax', naive).message


def test_the_solution_is_offered_after_two_wrong_answers(progress):
    replies = [check('edges/flat', answer).message.endswith(offer('edges/flat')) for answer in (3, 4, 0, 5)]
    assert replies == [False, True, False, True]
    assert json.loads(progress.read_text())['edges/flat']['wrong'] == 3


@pytest.mark.parametrize('path', sorted((ROOT/'nbs'/'tutorials').glob('*.ipynb')), ids=lambda path: path.stem)
def test_what_is_offered_is_imported(path):
    "A lesson that imports `check` imports `show_solution` too"
    names = re.search(r'from fastcnn\.lessons import ([\w, ]+)', path.read_text(encoding='utf-8'))[1].split(', ')
    assert ('check' in names) == ('show_solution' in names)


PLAIN = st.none() | st.booleans() | st.floats() | st.integers() | st.text()
ODD = st.just(torch.zeros(2, requires_grad=True)) | st.just(object()) | st.functions(like=lambda *a: ..., returns=st.integers())
NESTED = lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
ANY_ANSWER = st.recursive(PLAIN | ODD, NESTED, max_leaves=6)


@given(st.sampled_from(list(EXERCISES)), ANY_ANSWER)
@settings(max_examples=300, deadline=None)
def test_any_answer_is_answered(name, answer):
    "Whatever a learner hands over, `check` says something, and nothing else happens"
    verdict = check(name, answer)
    assert verdict.right in (True, False) and verdict.message


def test_a_learners_function_that_breaks_things():
    "Arguments that are changed in place do not change the next try; an endless message is cut"
    def careless(x, kernel):
        x.clear()
        return []
    assert check('edges/slide', careless).right is False
    assert check('edges/slide', EXERCISES['edges/slide'].solution).right
    assert 'stops with KeyError' in check('edges/slide', lambda x, kernel: {}['a']).message
    assert len(check('edges/flat', list(range(10_000))).message) < 500


# Pictures

class Hub(http.server.BaseHTTPRequestHandler):
    "The Hugging Face Hub as `huggingface_hub` asks it for a file; the first download breaks off in the middle"
    content, asked = b'', []

    def do_HEAD(self): self.answer(b'')
    def do_GET(self):
        again = ('GET', self.path) in self.asked
        self.answer(self.content if again else self.content[:len(self.content)//2])

    def answer(self, body):
        self.asked.append((self.command, self.path))
        self.send_response(200)
        headers = {'Content-Length': len(self.content), 'ETag': '"abc"', 'X-Repo-Commit': 'f'*40}
        for name, value in headers.items(): self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, *args): pass


@pytest.mark.verify(share=1/4)
def test_lesson_images_from_the_hub(tmp_path):
    "Tried again where the connection broke, and fetched once"
    pytest.importorskip('huggingface_hub')
    pixel = io.BytesIO()
    Image.new('L', (28, 28), 7).save(pixel, 'PNG')
    table = pa.table(dict(image=[dict(bytes=pixel.getvalue(), path=None)]*3000, label=[0, 1, 9]*1000))
    pq.write_table(table, tmp_path/'digits.parquet', compression='none', use_dictionary=False)
    hub = type('Hub', (Hub,), dict(content=(tmp_path/'digits.parquet').read_bytes(), asked=[]))
    host = http.server.ThreadingHTTPServer(('127.0.0.1', 0), hub)
    threading.Thread(target=host.serve_forever, daemon=True).start()
    environment = {k: v for k, v in os.environ.items() if k != 'FASTCNN_DATA'}
    environment |= dict(HF_ENDPOINT=f'http://127.0.0.1:{host.server_port}', HF_HOME=str(tmp_path/'hub'))
    code = ('from pyarrow.parquet import read_table; from fastcnn.lessons import lesson_images; '
            "t = read_table(lesson_images('mnist', 'test')); print(len(t), sorted(set(t['label'].to_pylist())))")
    options = dict(env=environment, capture_output=True, text=True, timeout=120)
    run = lambda: subprocess.run([sys.executable, '-c', code], **options)
    assert run().stdout.strip() == '3000 [0, 1, 9]', run().stderr[-2000:]
    file = '/datasets/ylecun/mnist/resolve/main/mnist/test-00000-of-00001.parquet'
    assert hub.asked.count(('GET', file)) == 2
    host.shutdown(); host.server_close()
    assert run().stdout.strip() == '3000 [0, 1, 9]' # kept
    environment['HF_HOME'] = str(tmp_path/'empty')
    assert 'InputError: mnist could not be fetched from the Hugging Face Hub' in run().stderr


def test_lesson_results_elsewhere(tmp_path, monkeypatch):
    "Without the repository around it a lesson asks where the results are published"
    (tmp_path/'near.json').write_text('{"runs": [1]}')
    monkeypatch.chdir(tmp_path)
    with served(tmp_path) as address:
        get = requests.get
        monkeypatch.setattr(requests, 'get', lambda url, **options: get(address + url.rpartition('/')[2], **options))
        assert lesson_results('near') == dict(runs=[1])
        with pytest.raises(InputError, match='could not be fetched: 404'): lesson_results('far')
    monkeypatch.chdir(ROOT/'nbs'/'tutorials')
    assert lesson_results('articles')['mnist_cnn']['runs']


def solve(names):
    for name in names: check(name, EXERCISES[name].solution)


def test_progress_of_two_notebooks_at_once(progress):
    names = list(EXERCISES)
    context = multiprocessing.get_context('spawn')
    running = [context.Process(target=solve, args=(names[i::2],)) for i in range(2)]
    for process in running: process.start()
    for process in running: process.join()
    assert [process.exitcode for process in running] == [0, 0]
    assert set(json.loads(progress.read_text())) == set(names)
    assert all(solved == total for solved, total in show_progress().counts.values())


# The explorer

@contextmanager
def opened(browser, folder, html):
    "A page on a static host; an error in its console, or a question to anybody else, fails whatever is being tested"
    trouble = []
    (folder/'index.html').write_text(html)
    with served(folder) as address:
        page = browser.new_page(viewport=dict(width=1280, height=900))
        def only_this_page(route):
            if route.request.url in (address, f'{address}favicon.ico'): return route.continue_()
            trouble.append(route.request.url)
            route.abort()
        def note(message):
            if message.type in ('error', 'warning') and 'favicon' not in message.location['url']: trouble.append(message.text)
        page.route('**/*', only_this_page)
        page.on('console', note)
        page.on('pageerror', lambda e: trouble.append(str(e)))
        page.goto(address)
        yield page
        page.close()
    assert trouble == []


@pytest.fixture(scope='module')
def page(browser, tmp_path_factory):
    with opened(browser, tmp_path_factory.mktemp('explorer'), explore_convolution().html) as page: yield page


def anything(rng):
    "Settings of the explorer, possible ones and others"
    height, width, side = rng.randint(3, 12), rng.randint(3, 12), rng.randint(1, 5)
    number = lambda: round(rng.uniform(-2, 2), 3)
    rows = lambda h, w: [[number() for _ in range(w)] for _ in range(h)]
    return dict(
        image=rows(height, width), kernel=rows(side, side), flipped=rng.random() < .3, relu=rng.random() < .3,
        stride=rng.randint(1, 4), padding=rng.choice([0, 0, 1, 2, 3, 5]), dilation=rng.choice([1, 1, 2, 3]),
        mode=rng.choice(['zeros', 'reflect', 'replicate', 'circular']),
        pool=rng.choice([None, 'max', 'avg', 'l2']), pool_size=rng.randint(1, 4), pool_stride=rng.randint(1, 4))


def expected(given):
    "What the library gives: (after the convolution, after the pooling), None where there is nothing"
    x, weight = [torch.tensor(given[name])[None, None].double() for name in ('image', 'kernel')]
    if given['flipped']: weight = weight.flip(2, 3)
    sliding = {name: given[name] for name in ('stride', 'padding', 'dilation')} | dict(padding_mode=given['mode'])
    try: out = conv2d(x, weight, **sliding)
    except ValueError: return None, None
    if given['relu']: out = F.relu(out)
    if not given['pool']: return out[0, 0], None
    if given['pool_size'] > min(out.shape[2:]): return None, None
    run = dict(max=max_pool2d, avg=avg_pool2d, l2=lambda x, size, stride: lp_pool2d(x, 2, size, stride))[given['pool']]
    return out[0, 0], run(out, given['pool_size'], given['pool_stride'])[0, 0]


def test_explorer_equals_the_library(page):
    rng, impossible = random.Random(2026), 0
    for _ in range(200):
        given = anything(rng)
        out, pooled, message = page.evaluate(
            'given => { begin(given); return [state.out, state.pooled, $("message").textContent] }', given)
        right, right_pooled = expected(given)
        for found, wanted in ((out, right), (pooled, right_pooled)):
            assert (found is None) == (wanted is None), (given, message)
            if not found: continue
            values = torch.tensor(found['values']).double().view(found['rows'], found['columns'])
            torch.testing.assert_close(values, wanted, rtol=1e-4, atol=1e-5)
        assert bool(message) == (right is None), (given, message)
        impossible += right is None
    assert 10 < impossible < 120 # both kinds were seen


BEGINNING = dict(picture='a bar', kernel=[[-1, 0, 1]]*3, size=9, stride=1, padding=0, mode='zeros', dilation=1,
                 flipped=False, relu=False, pool=None)

def fresh(page, **given): page.evaluate('given => begin(given)', BEGINNING | given)


def test_sizes_follow_the_formula_with_floor(page):
    fresh(page)
    for n in range(3, 13):
        for stride in range(1, 5):
            page.locator('#size').fill(str(n)); page.locator('#size').dispatch_event('change')
            page.locator('#stride').fill(str(stride))
            size = conv_output_size(n, 3, stride)
            assert f'{size} × {size}' in page.locator('#out_title').text_content()
            assert page.locator('#formula').text_content().endswith(f'= {size}')


def test_explorer_by_keys(page):
    "Everything can be reached and done without a mouse"
    fresh(page)
    page.locator('#in').focus()
    for key in ('ArrowDown', 'ArrowRight', ' '): page.keyboard.press(key)
    assert page.evaluate('state.image.values[10]') == 1 and page.locator('#picture').input_value() == 'drawn'
    page.keyboard.press('Tab')
    assert page.evaluate('document.activeElement.id') == 'out'
    for key in ('ArrowDown', 'ArrowRight'): page.keyboard.press(key)
    said = page.locator('#sum').text_content()
    assert said.startswith('Row 1, column 1: 1·(−1) + 0·0 + 1·1 + ') and said.endswith(' = 2')
    reached = set()
    for _ in range(60):
        page.keyboard.press('Tab')
        reached.add(page.evaluate('document.activeElement.id'))
    assert {'first', 'on', 'play', 'picture', 'size', 'file', 'clear', 'kind', 'stride', 'padding', 'mode', 'dilation',
            'flipped', 'relu', 'pool', 'pool_size', 'pool_stride'} <= reached
    page.locator('#first').press('Enter')
    assert page.locator('#sum').text_content().startswith('Row 0, column 0') and page.locator('#back').is_disabled()
    page.locator('#last').press('Enter')
    assert page.locator('#sum').text_content().startswith('Row 6, column 6') and page.locator('#on').is_disabled()
    page.locator('#play').press('Enter') # begins anew
    page.wait_for_function("$('sum').textContent.startsWith('Row 0, column 2')")
    page.locator('#play').press('Enter')
    assert page.locator('#play').text_content() == 'Play'


def test_explorer_by_hand(page):
    "Drawing, a kernel of one's own, a file, and what cannot be"
    fresh(page)
    page.locator('#clear').click()
    box = page.locator('#in').bounding_box()
    x, y, cell = box['x'], box['y'] + box['height']/18, box['width']/9
    page.mouse.move(x + cell/2, y)
    page.mouse.down(); page.mouse.move(x + cell*2.5, y, steps=8); page.mouse.up()
    assert page.evaluate('state.image.values.slice(0, 4)') == [1, 1, 1, 0]
    weight = page.get_by_label('Weight in row 0, column 0')
    weight.fill('2.5')
    assert page.evaluate('state.kernel[0]') == 2.5 and page.locator('#kind').input_value() == 'your own'
    weight.fill('x')
    assert weight.get_attribute('aria-invalid') == 'true' and page.evaluate('state.kernel[0]') == 2.5
    page.locator('#side').select_option('5'); page.locator('#dilation').fill('6')
    assert 'covers 25 pixels, more than the 9' in page.locator('#message').text_content()
    assert page.locator('#play').is_disabled()
    page.locator('#dilation').fill('1')
    assert page.locator('#message').text_content() == ''
    page.locator('#file').set_input_files(dict(name='no.png', mimeType='image/png', buffer=b'nothing'))
    page.wait_for_function("$('message').textContent.includes('no.png cannot be read')")


def settings_of(page): return page.evaluate('settings()')

def pixels(page, name):
    "A canvas as it is drawn: (H, W, 3)"
    data = page.evaluate('name => $(name).toDataURL()', name)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data.partition(',')[2]))).convert('RGB')).astype(int)


def test_explorer_keeps_its_settings_in_the_address(page):
    "Restored when the page is loaded, and when the address changes; nonsense in it changes nothing"
    fresh(page)
    page.locator('#stride').fill('2'); page.locator('#kind').select_option('sharpen'); page.locator('#picture').select_option('a disc')
    page.wait_for_function("location.hash.includes('stride=2') && location.hash.includes('disc')")
    before = settings_of(page)
    page.reload()
    assert settings_of(page) == before and page.locator('#kind').input_value() == 'sharpen'
    page.locator('#in').click() # now it is drawn
    page.wait_for_function("location.hash.includes('image=')")
    drawn = settings_of(page)
    page.reload()
    again = settings_of(page)
    np.testing.assert_allclose(again.pop('image').pop('values'), drawn.pop('image').pop('values'), atol=1e-5)
    assert again == drawn and drawn['picture'] == 'drawn'
    page.evaluate("location.hash = 'padding=2&mode=reflect'")
    page.wait_for_function("$('padding').value === '2'")
    assert settings_of(page) | dict(padding=0, mode='zeros') == page.evaluate('DEFAULTS')
    page.evaluate("location.hash = 'size=4000&kernel=1,2&mode=none&picture=nothing'")
    page.wait_for_function("$('padding').value === '0'")
    assert settings_of(page) == page.evaluate('DEFAULTS')
    assert page.locator('#keep').is_hidden()


def test_explorer_in_a_frame_gives_the_call(browser, tmp_path):
    "A frame has no address: the call in Python is copied, begins with the same settings, and nothing else is kept"
    (tmp_path/'index.html').write_text(f"<title>A notebook</title>{explore_convolution(picture='a disc', padding=1)._repr_html_()}")
    with served(tmp_path) as address:
        context = browser.new_context(permissions=['clipboard-read', 'clipboard-write'])
        page = context.new_page()
        page.goto(address)
        frame = page.frames[1]
        frame.locator('#stride').fill('2'); frame.locator('#kind').select_option('mean'); frame.locator('#pool').select_option('max')
        frame.locator('#copy').click()
        wait_for(lambda: frame.locator('#copied').text_content().startswith('Copied'))
        call = page.evaluate('navigator.clipboard.readText()')
        assert call.endswith("picture='a disc', stride=2, padding=1, pool='max')") and frame.url == 'about:srcdoc' and page.url == address
        before = settings_of(frame)
        (tmp_path/'index.html').write_text(f'<title>Pasted</title>{eval(call)._repr_html_()}')
        page.goto(f'{address}?again')
        assert settings_of(page.frames[1]) == before and page.frames[1].locator('#kind').input_value() == 'mean'
        page.frames[1].evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('not allowed')) }")
        page.frames[1].locator('#copy').click()
        wait_for(lambda: page.frames[1].locator('#copied').text_content().startswith('Selected'))
        assert page.frames[1].evaluate("$('call').value.slice($('call').selectionStart, $('call').selectionEnd)") == call
        context.close()


def test_explorer_shows_the_padding(page):
    "Around the image, hatched, with the values that each mode puts there; the window is framed where it stands"
    image = np.arange(1, 13).reshape(3, 4)
    page.evaluate("""() => { window.written = []; const write = CanvasRenderingContext2D.prototype.fillText
        CanvasRenderingContext2D.prototype.fillText = function (text, ...rest) {
          if (this.canvas.id === 'in') written.push(Number(text)); write.call(this, text, ...rest) } }""")
    for mode, name in dict(zeros='constant', reflect='reflect', replicate='edge', circular='wrap').items():
        page.evaluate('written = []')
        fresh(page, image=image.tolist(), padding=1, mode=mode)
        shown = page.evaluate('written')[-30:]
        assert shown == np.pad(image, 1, name).ravel().tolist()
    drawn, side = pixels(page, 'in'), 832/6
    cell = lambda row, column: drawn[round(row*side):round((row + 1)*side), round(column*side):round((column + 1)*side)]
    orange = lambda cell: (cell[..., 0] > cell[..., 2] + 40).mean()
    assert orange(cell(0, 3)) > .5 > .2 > orange(cell(3, 3))
    assert page.locator('#padding_note').is_visible()
    fresh(page, image=image.tolist(), padding=1, mode='reflect')
    assert page.locator('#sum').text_content().startswith('Row 0, column 0: 6°·(−1) + 5°·0')
    fresh(page)
    assert not page.locator('#padding_note').is_visible()


def test_the_disc_has_a_soft_rim(page):
    "Its rim pixels are covered in part; it is round, and its area is that of a circle"
    fresh(page, picture='a disc', size=24)
    disc = np.array(page.evaluate('state.image.values')).reshape(24, 24)
    assert disc.min() == 0 and disc.max() == 1 and ((disc > 0) & (disc < 1)).sum() > 20
    assert np.allclose(disc, disc.T) and np.allclose(disc, disc[::-1]) and abs(disc.sum()/(math.pi*8**2) - 1) < .02


def test_colours_of_signs_are_told(page):
    "Blue is plus and red is minus, as in the lessons; a bar below each map says what its ends stand for"
    fresh(page)
    drawn, values = pixels(page, 'out'), page.evaluate('state.out.values.slice(0, 7)')
    plus, minus = [drawn[20, round(values.index(value)*832/7) + 20] for value in (3, -3)]
    assert plus[2] > plus[0] + 50 and minus[0] > minus[2] + 50
    assert page.locator('#out_scale').get_attribute('aria-label').startswith('Colours from −3 to 3: red for minus')
    assert page.locator('#in_scale').get_attribute('aria-label').startswith('Colours from 0 to 1: black')


@pytest.mark.parametrize('width', [390, 1280])
@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_explorer_looks(page, axe, width, scheme):
    page.set_viewport_size(dict(width=width, height=900))
    page.emulate_media(color_scheme=scheme)
    fresh(page, pool='max', relu=True, padding=1)
    page.evaluate("$('keep').hidden = false") # as in a frame
    assert page.evaluate('document.documentElement.scrollWidth') <= width
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert (max(paper) < 60) == (scheme == 'dark')
    assert violations(page, axe) == []


# Gradient descent

@pytest.fixture(scope='module')
def hill(browser, tmp_path_factory):
    with opened(browser, tmp_path_factory.mktemp('descent'), explore_descent().html) as page: yield page


DRAWN = {'thermometer': (-1, 4.6), 'two valleys': (-2.4, 2.6)} # curve → weights from, to
SLOPES = {'thermometer': lambda w: sum(2*(w*x - 1.8*x)*x for x in (1, 2, 5))/3,
          'two valleys': lambda w: 12*(w + 1.5)*(w + .25)*(w - 1.75)}

def walked(slope, rate, momentum, start, steps):
    "The weights of gradient descent with a rolling mean of the slopes"
    weights, mean = [start], 0
    for _ in range(steps):
        mean = momentum*mean + (1 - momentum)*slope(weights[-1])
        weights.append(weights[-1] - rate*mean)
    return weights


@pytest.mark.parametrize('curve', SLOPES)
def test_a_walk_is_gradient_descent(hill, curve):
    "Whatever the sliders say; and what is said of the end is true"
    rng, said = random.Random(2026), set()
    least, most = DRAWN[curve]
    for _ in range(40):
        given = dict(rate=rng.randint(1, 120)/1000, momentum=rng.choice([0, 0, .5, .9]), start=rng.randint(round(10*least), round(10*most))/10)
        weights = walked(SLOPES[curve], steps=30, **given)
        n = next((n for n, w in enumerate(weights) if not least <= w <= most), 30)
        found, message, stopped = hill.evaluate(
            """([given, n]) => { begin(given); for (let i = 0; i < n; i++) takeStep()
               return [state.walk.map(s => s.w), $('message').textContent, $('step').disabled] }""", [given | dict(curve=curve), n])
        np.testing.assert_allclose(found, weights[:n + 1], rtol=1e-9, atol=1e-9)
        lost = not least <= weights[n] <= most
        assert stopped == lost == message.startswith('Out of the picture')
        if message.endswith('the lowest point.'): assert abs(weights[n] - dict(zip(SLOPES, (1.8, 1.75)))[curve]) < .01
        said.add(message.partition(' ')[0])
    assert {'', 'Out'} <= said


@pytest.mark.parametrize('curve', SLOPES)
def test_the_sliders_reach_as_far_as_the_function_allows(hill, curve):
    hill.evaluate('curve => begin({curve})', curve)
    limits = {name: tuple(float(hill.locator(f'#{name}').get_attribute(end)) for end in ('min', 'max')) for name in ('rate', 'momentum', 'start')}
    assert limits == dict(rate=(.001, .12), momentum=(0, .99), start=DRAWN[curve])
    for name, (least, most) in limits.items():
        for value in (least, most): assert explore_descent(curve, **{name: value})
        for value in (least - .001, most + .001):
            with pytest.raises(InputError, match=f'{name}=.* must be a number from'): explore_descent(curve, **{name: value})


def test_a_walk_by_keys(hill):
    "Each control is reached and used without a mouse, and the numbers are those of the lesson"
    hill.evaluate("begin({curve: 'thermometer', rate: .02, momentum: 0})")
    hill.locator('#curve').focus()
    reached = []
    for _ in range(6):
        hill.keyboard.press('Tab')
        reached.append(hill.evaluate('document.activeElement.id'))
    assert reached == ['rate', 'momentum', 'start', 'step', 'run', 'reset']
    hill.locator('#rate').press('ArrowRight')
    assert hill.locator('#rate_shown').text_content() == '0.021'
    hill.locator('#rate').press('ArrowLeft')
    hill.locator('#step').press('Enter')
    assert 'w = 0.72' in hill.locator('#hill').get_attribute('aria-label')
    assert hill.locator('#walked tr').last.inner_text().split() == ['1', '0.72', '11.7', '−21.6']
    assert hill.locator('#next').text_content() == 'slope at w = 0.72: −21.6\nw ← 0.72 − 0.02 · (−21.6) = 1.152'
    hill.locator('#run').press('Enter')
    assert hill.locator('#run').text_content() == 'Stop'
    hill.wait_for_function("$('message').textContent.endsWith('the lowest point.')")
    assert hill.locator('#run').text_content() == 'Run' and hill.locator('#run').is_disabled()
    hill.locator('#reset').press('Enter')
    assert hill.locator('#walked tr').count() == 1 and hill.locator('#run').is_enabled()


def test_momentum_gets_over_the_hill(hill):
    "As the page's second curve is there to show"
    for momentum, end in ((0, 'a lower point is elsewhere: this valley holds the ball.'), (.9, 'the lowest point.')):
        hill.locator('#curve').select_option('two valleys')
        hill.locator('#momentum').fill(str(momentum))
        hill.evaluate('for (let i = 0; i < 600; i++) takeStep()')
        assert hill.locator('#message').text_content().endswith(end)


@pytest.mark.parametrize('width', [390, 1280])
@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_the_hill_looks(hill, axe, width, scheme):
    hill.set_viewport_size(dict(width=width, height=900))
    hill.emulate_media(color_scheme=scheme)
    hill.evaluate("begin({curve: 'thermometer', rate: .11, momentum: .5}); for (let i = 0; i < 8; i++) takeStep()")
    assert hill.evaluate('document.documentElement.scrollWidth') <= width
    assert violations(hill, axe) == []
    assert hill.evaluate("$('hill').toDataURL().length") > 5000 # an empty picture has a fraction of that


def test_in_jupyterlab(browser, tmp_path):
    "An exercise answers, and the explorer steps, in a notebook of a real JupyterLab that asks nobody else"
    first = ("import os; os.environ['FASTCNN_PROGRESS'] = 'progress.json'\n"
             "from fastcnn.lessons import *\ncheck('edges/orientation', 'horizontal')")
    cells = first, "check('edges/orientation', 'vertical')", 'show_progress()', 'explore_convolution(padding=1)'
    with run_in_jupyterlab(browser, tmp_path, *cells) as page:
        explorer = page.frame_locator('.jp-OutputArea iframe')
        explorer.locator('#formula').wait_for(timeout=60_000)
        texts = page.locator('.jp-RenderedMarkdown').all_inner_texts()
        wrong = dict(EXERCISES['edges/orientation'].wrong)['horizontal']
        assert wrong.replace('*', '').replace('`', '')[:40] in texts[0] and texts[1].startswith('✅')
        assert page.locator('.jp-RenderedHTMLCommon progress[aria-label="Edges"]').get_attribute('value') == '1'
        before = explorer.locator('#sum').inner_text()
        explorer.locator('#on').click()
        wait_for(lambda: explorer.locator('#sum').inner_text() != before)
