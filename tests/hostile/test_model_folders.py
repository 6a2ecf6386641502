"""Model folders, sites and answers from strangers, on full disks, and stopped at the worst moment. What is yours stays; what
was there stays until what replaces it is whole; and whoever comes next puts right what a crash has left."""
import contextlib, html, json, os, shutil, signal
from pathlib import Path

import graphs
import numpy as np
import pytest
from faults import jpeg, mounted_disk
from hostile_models import drawn, everything, learner, run, run_anew, started

from fastcnn.deploy import export_model

QUICK = '--force', '--plan', 'scratch', '--mirror', 'yes', '--size', 32, '--epochs', 1, '--bs', 8


@pytest.fixture(scope='module')
def pictures(tmp_path_factory): return drawn(tmp_path_factory.mktemp('pictures')/'set')


@pytest.fixture(scope='module')
def trained(pictures, tmp_path_factory):
    "A model as the command makes it"
    path = tmp_path_factory.mktemp('trained')/'model'
    assert run('train', pictures, '--out', path, *QUICK)[0] == 0
    return path


@pytest.fixture(scope='module')
def learn(pictures): return learner(pictures)


@pytest.fixture
def model(trained, tmp_path): return Path(shutil.copytree(trained, tmp_path/'model'))


# What is yours

def note(model): (model/'NOTES.md').write_text('precious')
def repository(model): (model/'.git').mkdir(); (model/'.git'/'HEAD').write_text('ref: refs/heads/main\n')
def card(model): (model/'README.md').write_text('# All that I know of it\n')
def graph(model): (model/'model.onnx').write_bytes(b'mine')
def link(model): (model/'more').symlink_to(model.parent)
def linked_card(model): (model/'README.md').unlink(); (model/'README.md').symlink_to(model.parent/'card.md')
def pipe(model): os.mkfifo(model/'pipe')
def settings(model): (model/'config.json').write_text('{"name": "my web project"}')


@pytest.mark.parametrize('add', [note, repository, card, graph, link, linked_card, pipe, settings])
def test_what_you_have_added_to_a_model_stays(add, model, pictures):
    add(model)
    before = everything(model)
    status, found, _ = run('train', pictures, '--out', model, *QUICK)
    assert status == 2 and everything(model) == before and 'another' in found['error'], found


@pytest.mark.parametrize('name', ['work', 'private', '.bashrc', 'missing/../work'])
def test_what_is_no_model_stays(name, outside, pictures):
    status, found, _ = run('train', pictures, '--out', outside/name, *QUICK)
    assert status == 2 and 'choose another' in found['error']


def test_a_link_is_no_place_for_a_model(model, pictures, tmp_path):
    (tmp_path/'link').symlink_to(model)
    before = everything(tmp_path)
    status, found, _ = run('train', pictures, '--out', tmp_path/'link', *QUICK)
    assert status == 2 and 'is a link' in found['error'] and everything(tmp_path) == before


def test_what_comes_while_it_trains_stays(model, pictures, monkeypatch):
    "Looked at before the training, and again when the folder is replaced"
    from fastai.learner import Learner
    fit = Learner.fit
    monkeypatch.setattr(Learner, 'fit', lambda *args, **more: (fit(*args, **more), note(model)))
    status, found, _ = run('train', pictures, '--out', model, *QUICK)
    assert status == 2 and (model/'NOTES.md').read_text() == 'precious' and 'NOTES.md' in found['error']
    assert [p.name for p in model.parent.iterdir() if 'training' not in p.name] == ['model']


def test_a_model_takes_the_place_of_a_model(model, pictures):
    "Of a file manager's litter nobody says a word; what an older fastcnn has written counts too"
    (model/'.DS_Store').write_bytes(b'where the icons are')
    config = json.loads((model/'config.json').read_text())
    (model/'config.json').write_text(json.dumps({k: v for k, v in config.items() if k not in ('files', 'sha256')} | dict(format=1)))
    assert run('train', pictures, '--out', model, *QUICK)[0] == 0
    assert sorted(p.name for p in model.iterdir()) == ['README.md', 'config.json', 'model.onnx', 'model.safetensors']
    assert [p.name for p in model.parent.iterdir()] == ['model']


# Stopped at the worst moment

def stopping(monkeypatch, at, error, done=False):
    "The renaming of that number is stopped, before or after it is done; those that follow are not"
    rename, calls = Path.rename, []
    def stopped(self, target):
        calls.append(target)
        if len(calls) != at or done: rename(self, target)
        if len(calls) == at: raise error
    monkeypatch.setattr(Path, 'rename', stopped)


@pytest.mark.parametrize('at, error, done', [(2, KeyboardInterrupt(), False), (1, KeyboardInterrupt(), True), (2, OSError(28, 'No space left'), False)])
def test_an_export_stopped_between_its_renames(at, error, done, model, learn, monkeypatch):
    before = everything(model)
    stopping(monkeypatch, at, error, done)
    with pytest.raises(type(error)): export_model(learn, model)
    assert everything(model) == before and [p.name for p in model.parent.iterdir()] == ['model']


KILLED = '''
import os, signal, sys
from pathlib import Path
from hostile_models import learner
from fastcnn.deploy import export_model
rename, calls = Path.rename, []
def stopped(self, target):
    calls.append(target)
    if len(calls) == 2: os.kill(os.getpid(), signal.SIGKILL)
    return rename(self, target)
Path.rename = stopped
export_model(learner(Path(sys.argv[1])), Path(sys.argv[2]))
'''


def test_an_export_killed_between_its_renames(model, trained, pictures, tmp_path):
    "The next run that looks for the model finds the old one, says so, and clears away the rest; what is not ours stays"
    (tmp_path/'.model-mine').mkdir()
    assert run_anew('-c', KILLED, pictures, model).returncode == -signal.SIGKILL
    again = Path(shutil.copytree(tmp_path, tmp_path.parent/f'{tmp_path.name}-again'))
    for path, argv in (model, ['predict', model, pictures]), (again/'model', ['train', pictures, '--out', again/'model', *QUICK]):
        status, found, errors = run(*argv)
        assert status == 0 and 'the earlier one is back' in errors
        assert sorted(p.name for p in path.parent.iterdir()) == ['.model-mine', 'model']
    assert everything(model) == everything(trained)


def test_what_another_process_prepares_stays(model, learn):
    "Two exports to one place: each has a folder of its own, and neither clears away the other's"
    from fastcnn.folders import MODEL, replace_folder
    with replace_folder(model, MODEL) as folder:
        (folder/'half').write_text('still being written')
        export_model(learn, model)
        assert (folder/'half').exists()
        (folder/'half').unlink()
        for file in model.iterdir(): shutil.copy(file, folder)
    assert [p.name for p in model.parent.iterdir()] == ['model'] and len(list(model.iterdir())) == 4


# A folder of its own

WHERE = '''
import os, stat, sys
from pathlib import Path
from hostile_models import learner
top = Path(os.environ['TMPDIR'])
kept = learner(Path(sys.argv[1])).save('kept').resolve()
print(kept.is_relative_to(top) and oct(stat.S_IMODE((top/kept.relative_to(top).parts[0]).stat().st_mode)))
'''


def test_nothing_shared_in_the_temporary_folder(pictures, outside, tmp_path):
    "Another user may have put there what they like, under any name that can be guessed; and what is kept there goes at the end"
    shared = tmp_path.resolve()/'tmp'
    shared.mkdir()
    (shared/'fastcnn-models').symlink_to(outside)
    done = run_anew('-c', WHERE, pictures, TMPDIR=str(shared))
    assert done.stdout.split() == ['0o700'], done
    assert [p.name for p in shared.iterdir() if 'fastcnn' in p.name] == ['fastcnn-models']


# Answers

@pytest.mark.parametrize('name', ['t.csv.part', 't.jsonl.part'])
def test_a_file_of_yours_that_is_called_part(name, model, pictures, tmp_path):
    (tmp_path/name).write_text('precious')
    assert run('predict', model, pictures, '--out', tmp_path/name.removesuffix('.part'))[0] == 0
    assert (tmp_path/name).read_text() == 'precious'


def test_answers_follow_no_link(model, pictures, outside, tmp_path):
    (tmp_path/'t.csv.part').symlink_to(outside/'.bashrc')
    assert run('predict', model, pictures, '--out', tmp_path/'t.csv')[0] == 0
    assert (tmp_path/'t.csv.part').is_symlink() and not (tmp_path/'t.csv').is_symlink()
    (tmp_path/'u.csv').symlink_to(outside/'.bashrc')
    status, found, _ = run('predict', model, pictures, '--out', tmp_path/'u.csv')
    assert status == 2 and 'is a link' in found['error'] and (tmp_path/'u.csv').is_symlink()


@pytest.mark.parametrize('verb', ['predict', 'train', 'evaluate'])
def test_what_is_no_file_is_not_written_to(verb, model, pictures, tmp_path):
    os.mkfifo(tmp_path/'pipe.csv')
    argv = dict(predict=['predict', model, pictures, '--out'], evaluate=['evaluate', model, pictures, '--report'],
                train=['train', pictures, *QUICK, '--out', tmp_path/'new', '--report'])[verb]
    done = started(*argv, tmp_path/'pipe.csv', timeout=60)
    assert done.returncode == 2 and 'no ordinary file' in done.stderr and (tmp_path/'pipe.csv').is_fifo()
    assert not (tmp_path/'new').exists()


MANY = '''
import itertools, os, signal, sys
from pathlib import Path
from fastcnn import pipeline
file = next(Path(sys.argv[2]).rglob('*.png'))
def some():
    for i in itertools.count():
        if i == 400 and sys.argv[4] == 'killed': os.kill(os.getpid(), signal.SIGKILL)
        if i == 400: raise KeyboardInterrupt
        yield file
try: pipeline.write_predictions(Path(sys.argv[1]), some(), Path(sys.argv[3]))
except KeyboardInterrupt as stop: print(stop)
'''


def test_answers_that_were_stopped(model, pictures, tmp_path):
    "They stay, and are told, and go when the table is complete; a name that is taken stays"
    table = tmp_path/'answers'/'t.csv'
    for mine in (False, True):
        done = run_anew('-c', MANY, model, pictures, table, 'interrupted')
        kept = Path(done.stdout.strip().partition('the answers so far are in ')[2])
        assert len(kept.read_text().splitlines()) > 1 and not table.exists(), done
        assert run('predict', model, pictures, '--out', table)[0] == 0
        assert {p.name for p in table.parent.iterdir()} == {'t.csv'} | ({'t.csv.part'} if mine else set())
        if mine: assert (table.parent/'t.csv.part').read_text() == 'precious'
        (table.parent/'t.csv.part').write_text('precious')
        table.unlink()


def test_answers_whose_process_was_killed(model, pictures, tmp_path):
    table = tmp_path/'answers'/'t.csv'
    table.parent.mkdir()
    table.write_text('old')
    assert run_anew('-c', MANY, model, pictures, table, 'killed').returncode == -signal.SIGKILL
    assert table.read_text() == 'old'
    assert run('predict', model, pictures, '--out', table)[0] == 0 and [p.name for p in table.parent.iterdir()] == ['t.csv']


# Graphs

INTERRUPTED = '''
import signal, sys
from fastcnn.cli import main
import onnxruntime
signal.signal(signal.SIGALRM, signal.default_int_handler)
signal.setitimer(signal.ITIMER_REAL, 2)
sys.exit(main(['predict', *sys.argv[1:]]))
'''


@pytest.mark.parametrize('make', [graphs.products, graphs.one_long_product])
def test_ctrl_c_is_heard(make, model, pictures, tmp_path):
    "What is constant is not computed while the graph is loaded; an operator that takes minutes is left to itself"
    hostile = graphs.with_graph(model, tmp_path/'hostile', make())
    done = run_anew('-c', INTERRUPTED, hostile, pictures/'red'/'0.png', timeout=40)
    assert done.returncode == 130 and 'Traceback' not in done.stderr, done


LATE = '''
import sys, time
from fastcnn.core import InputError
from fastcnn.exported import open_exported, predict
start = time.time()
try: predict(open_exported(sys.argv[1], seconds=1), sys.argv[2:])
except InputError as error: print(time.time() - start < 40, 'cannot be run' in str(error))
'''


def test_time_is_over_at_its_end(model, pictures, tmp_path):
    hostile = graphs.with_graph(model, tmp_path/'hostile', graphs.one_long_product())
    assert run_anew('-c', LATE, hostile, pictures/'red'/'0.png', timeout=100).stdout.split() == ['True', 'True']


REFUSING = '''
import sys, time
from fastcnn.cli import main
from hostile_models import peak
for path in sys.argv[2:]:
    start = time.time()
    status = main(['predict', path, sys.argv[1]])
    print(path, status, round(time.time() - start, 1), peak())
'''


def test_graphs_that_are_refused(model, pictures, tmp_path):
    "Each in a moment, in one line, in less than a gigabyte"
    made = {build.__name__: build() for build in graphs.REFUSED} | dict(endless=graphs.endless_list(60_000))
    folders = [graphs.with_graph(model, tmp_path/name, data) for name, data in made.items()]
    done = run_anew('-c', REFUSING, pictures/'red'/'0.png', *folders, timeout=240)
    rows = [line.split() for line in done.stdout.splitlines()]
    assert len(rows) == len(folders) and 'Traceback' not in done.stderr, done.stderr
    assert all(status == '2' and float(seconds) < 25 and int(megabytes) < 1000 for _, status, seconds, megabytes in rows), rows
    assert len([line for line in done.stderr.splitlines() if line.startswith('fastcnn: ')]) == len(folders)


@pytest.mark.parametrize('where', ['initializer', 'attribute', 'sparse'])
@pytest.mark.parametrize('place', ['secret', '../secret', 'ABSOLUTE', './model.onnx', 'model.safetensors', '*/_ORT_MEM_ADDR_/*'])
def test_weights_come_from_the_graph_alone(where, place, model, pictures, tmp_path):
    "Not even from the folder of the model, nor from memory"
    for secret in (model/'secret', tmp_path/'secret'): secret.write_bytes(np.array([.5, .5], np.float32).tobytes())
    place = tmp_path/'secret' if place == 'ABSOLUTE' else place
    hostile = graphs.with_graph(model, tmp_path/'hostile', graphs.elsewhere(place, where))
    (hostile/'secret').write_bytes(np.array([.5, .5], np.float32).tobytes())
    status, found, _ = run('predict', hostile, pictures/'red'/'0.png')
    assert status == 2 and '\n' not in found['error'], found


# Settings and weights

@pytest.mark.parametrize('change', [
    lambda text: '['*900 + ']'*900, lambda text: '['*10**5, lambda text: text.replace('"red"', '"\\ud800"'),
    lambda text: text.replace('"red"', '"'*0 + '["red"]'), lambda text: text.replace('"size": 32', '"size": 1e400'),
    lambda text: text.replace('"size": 32', '"size": 9' + '9'*400), lambda text: text.replace('"size": 32', '"size": 2000000'),
    lambda text: text.replace('"accuracy_interval": [', '"accuracy_interval": [1' + '0'*400 + ','),
    lambda text: text.replace('"classes": [', '"classes": [' + ','.join(f'"c{i}"' for i in range(10**6)) + ','),
    lambda text: text.replace('"classes": [', '"classes": ["red", '), lambda text: text.replace('"version": "', '"version": "' + 'x'*1000),
    lambda text: text.replace('"method": "crop"', '"method": {"a": []}'), lambda text: text*2, lambda text: ''],
    ids=range(14))
@pytest.mark.parametrize('verb', ['predict', 'publish'])
def test_settings_that_mean_harm(verb, change, model, pictures, tmp_path):
    text = (model/'config.json').read_text()
    (model/'config.json').write_text(change(text))
    with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError): graphs.seal(model)
    argv = [pictures/'red'/'0.png'] if verb == 'predict' else ['--out', tmp_path/'site']
    status, found, errors = run(verb, model, *argv)
    assert status == 2 and '\n' not in found['error'] and 'Traceback' not in errors and not (tmp_path/'site').exists()


@pytest.mark.parametrize('depth', range(100, 1000, 50))
def test_brackets_in_brackets(depth, model, pictures):
    "Read, or refused in one line"
    text = (model/'config.json').read_text()
    (model/'config.json').write_text('{"more": ' + '['*depth + ']'*depth + ', ' + text[1:])
    with contextlib.suppress(RecursionError): graphs.seal(model)
    status, found, errors = run('predict', model, pictures/'red'/'0.png')
    assert status in (0, 2) and 'Traceback' not in errors and '\n' not in found.get('error', '')


BUILT = '''
import sys
from fastcnn.core import InputError
from hostile_models import peak
try: from fastcnn.exported import load_exported
except ImportError: from fastcnn.deploy import load_exported
load_exported(sys.argv[1])
before = peak()
for path in sys.argv[2:]:
    try: load_exported(path)
    except InputError as error: print(path, str(error).count('\\n'))
print(peak() - before)
'''


def test_networks_that_ask_for_all_memory(model, tmp_path):
    told, folders = json.loads((model/'config.json').read_text())['architecture'], []
    for change in (dict(channels=[99_999]*8), dict(size=10**9), dict(in_channels=10**9), dict(name='mlp', hidden=[99_999]*60),
                   dict(name='vgg16', hidden=99_999), dict(more=[[[[1]]]])):
        folders.append(Path(shutil.copytree(model, tmp_path/f'{len(folders)}')))
        graphs.seal(folders[-1], architecture={k: v for k, v in told.items() if 'name' not in change or k in ('n_classes', 'size')} | change)
    head = json.dumps({f'w{i}': dict(dtype='F32', shape=[0], data_offsets=[0, 0]) for i in range(300_000)}).encode()
    folders.append(Path(shutil.copytree(model, tmp_path/'long')))
    (folders[-1]/'model.safetensors').write_bytes(len(head).to_bytes(8, 'little') + head)
    graphs.seal(folders[-1])
    done = run_anew('-c', BUILT, model, *folders, timeout=200)
    *refused, megabytes = done.stdout.splitlines()
    assert [line.split() for line in refused] == [[str(folder), '0'] for folder in folders], done.stderr
    assert int(megabytes) < 500


# Pipes in the place of files

@pytest.mark.parametrize('name', ['config.json', 'model.onnx', 'model.safetensors', 'README.md'])
@pytest.mark.parametrize('verb', ['predict', 'evaluate', 'publish', 'train'])
def test_pipes_are_not_waited_for(verb, name, model, pictures, tmp_path):
    (model/name).unlink()
    os.mkfifo(model/name)
    argv = dict(predict=[model, pictures], evaluate=[model, pictures], publish=[model, '--out', tmp_path/'site'],
                train=[pictures, '--out', model, *QUICK])[verb]
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.alarm(120)
    try: status, found, _ = run(verb, *argv)
    finally: signal.alarm(0)
    if 'npm' in found.get('error', ''): pytest.skip(found['error'])
    harmless = name == 'README.md' and verb in ('predict', 'evaluate')
    assert status == (0 if harmless else 2), found


@pytest.mark.parametrize('verb', ['predict', 'evaluate', 'publish', 'train'])
def test_a_pipe_is_no_model_and_no_picture(verb, model, pictures, tmp_path):
    os.mkfifo(tmp_path/'pipe')
    pipe = tmp_path/'pipe'
    for argv in dict(predict=[[pipe, pictures], [model, pipe], [model, '/dev/zero']], evaluate=[[pipe, pictures]],
                     publish=[[pipe, '--out', tmp_path/'site'], [model, '--out', pipe], [model, '--out', tmp_path/'site', '--credits', pipe]],
                     train=[[pictures, '--out', pipe, *QUICK], [pictures, '--out', pipe/'model', *QUICK]])[verb]:
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.alarm(120)
        try: status, found, _ = run(verb, *argv)
        finally: signal.alarm(0)
        assert status == 2 and pipe.is_fifo(), found


# Pages

def published(model, site, *more):
    "A page; skipped where the runtime cannot be had"
    status, found, errors = run('publish', model, '--out', site, *more)
    if 'npm' in found.get('error', ''): pytest.skip(found['error'])
    return status, found


def test_a_page_takes_the_place_of_a_page(model, tmp_path):
    site = tmp_path/'site'
    for _ in range(2): assert published(model, site)[0] == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ['model', 'site']
    for change in (lambda: (site/'index.html').write_text('my own words'), lambda: (site/'CNAME').write_text('planets.example'),
                   lambda: (site/'more').symlink_to(tmp_path),
                   lambda: (site/'runtime'/'mine.js').write_text('mine')):
        change()
        before = everything(site)
        status, found = published(model, site)
        assert status == 2 and 'choose another' in found['error'] and everything(site) == before
        shutil.rmtree(site)
        assert published(model, site)[0] == 0


def test_a_page_shows_nothing_that_lies_elsewhere(model, outside, tmp_path):
    "The card of a stranger's model is a link to a key"
    (outside/'work'/'data.md').write_text('## Data\n\na secret of mine\n')
    secret = everything(outside)
    (model/'README.md').unlink()
    (model/'README.md').symlink_to(outside/'work'/'data.md')
    assert published(model, tmp_path/'site')[0] == 2 and not (tmp_path/'site').exists()
    assert everything(outside) == secret
    (outside/'work'/'data.md').unlink()


# The card

HARM = ['](javascript:alert(1))', '<script>alert(2)<', '---', '# head', '![x](http:a.example)', 'a|b', '`code', '*bold*', '&lt;b>',
        'http:a.example', '\u202egpj']


def test_a_card_shows_names_as_they_are(tmp_path, pictures):
    "Rendered as Markdown with HTML, nothing but our own words, and no link, picture, heading or tag of theirs"
    from markdown_it import MarkdownIt
    root, model = tmp_path/'set', tmp_path/'model'
    for i, name in enumerate(HARM):
        (root/name).mkdir(parents=True)
        for k in range(6): (root/name/f'{k}.png').write_bytes(jpeg(100*i + k, (32, 32), 'PNG'))
    assert run('train', root, '--out', model, *QUICK)[0] == 0
    text = (model/'README.md').read_text()
    _, head, body = text.split('---\n', 2)
    for line in head.splitlines(): json.loads(line.partition(': ')[2])
    blocks = MarkdownIt('commonmark', dict(html=True)).enable('table').parse(body)
    tokens = [token for block in blocks for token in [block, *(block.children or [])]]
    kinds = [token.type for token in tokens]
    assert not {'html_inline', 'html_block', 'image', 'link_open', 'hr', 'em_open'} & set(kinds)
    assert kinds.count('strong_open') == 3 and kinds.count('heading_open') == 6 and kinds.count('table_open') == 1 and kinds.count('tr_open') == len(HARM) + 1
    words = ' '.join(token.content for token in tokens if token.type == 'text')
    for name in HARM[:-1]: assert name in words, name
    assert '\u202e' not in text


def test_a_link_is_not_uploaded(model, outside):
    from fastcnn.deploy import push_to_hub
    (model/'README.md').unlink()
    (model/'README.md').symlink_to(outside/'.ssh'/'id_rsa')
    with pytest.raises(ValueError, match='no ordinary file'): push_to_hub(model, 'me/model', token='none')


@pytest.mark.parametrize('name', ['$x_1', '<b>&amp;'])
def test_a_report_shows_names_as_they_are(name, tmp_path):
    from fastcnn.evaluation import evaluate
    from fastcnn.report import evaluation_report
    found = evaluate(np.array([[.9, .1], [.2, .8], [.6, .4], [.3, .7]]), [name, 'b', 'b', name], [name, 'b'])
    page = evaluation_report(tmp_path/'page.html', found).read_text()
    assert '<b>&' not in page and html.escape(name) in page


# A full disk

def test_a_full_disk_leaves_what_was_there(trained, pictures, tmp_path):
    "`train`, `predict --out` and `publish`: one line, status 1, and the old one is whole"
    with mounted_disk(tmp_path/'disk', '6m', lazy=True) as full:
        shutil.copytree(trained, full/'model')
        (full/'t.csv').write_text('old')
        (full/'fill').write_bytes(bytes(500_000))
        before = everything(full)
        for argv in (['train', pictures, '--out', full/'model', *QUICK], ['publish', full/'model', '--out', full/'site']):
            status, found, errors = run(*argv)
            if 'npm' in found.get('error', ''): continue
            assert status == 1 and everything(full) == before, (argv, found, errors, sorted(everything(full)))
            assert '\n' not in found['error'] and str(full) in found['error'] and 'Traceback' not in errors
        free = shutil.disk_usage(full).free
        (full/'more').write_bytes(bytes(free - 8192))
        before = everything(full)
        status, found, _ = run('predict', full/'model', *[pictures]*20, '--out', full/'t.csv')
        assert status == 1 and 'the answers so far are in' in found['error'] and (full/'t.csv').read_text() == 'old'
        assert everything(full).keys() >= before.keys()


# A demo

@pytest.mark.parametrize('mine', ['planets/earth/mine.jpg', 'model/NOTES.md', 'notes.txt', 'model/config.json'])
def test_what_you_have_added_to_a_demo_stays(mine, tmp_path):
    "Told before anything is made anew; the mark that a demo leaves says nothing of what came later"
    out = tmp_path/'demo'
    for name in ('planets/earth/1.jpg', 'model/config.json', 'report.html'):
        (out/name).parent.mkdir(parents=True, exist_ok=True)
        (out/name).write_text(name)
    (out/'.fastcnn-demo').touch()
    with contextlib.suppress(ImportError):
        from fastcnn.folders import seal_folder
        seal_folder(out, '.fastcnn-demo')
    (out/mine).write_text('precious')
    before = everything(out)
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.alarm(20)
    try: status, found, _ = run('demo', '--quick', '--out', out)
    finally: signal.alarm(0)
    assert status == 2 and everything(out) == before and mine in found['error'], found
