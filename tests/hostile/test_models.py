"""Model folders, sites and answers from strangers, on full disks, and stopped at the worst moment. What is yours stays; what
was there stays until what replaces it is whole; and whoever comes next puts right what a crash has left."""
import contextlib, io, json, os, resource, shutil, signal, subprocess, sys, time
from pathlib import Path

import graphs
import numpy as np
import pytest
import torch
from faults import jpeg
from PIL import Image
from safetensors.torch import save_file

from fastcnn.cli import main
from hostile_models import drawn, everything, run, run_anew, started

QUICK = '--size', 32, '--epochs', 1, '--bs', 8


@pytest.fixture(scope='module')
def pictures(tmp_path_factory): return drawn(tmp_path_factory.mktemp('pictures')/'set')


@pytest.fixture(scope='module')
def trained(pictures, tmp_path_factory):
    "A model as the command makes it"
    path = tmp_path_factory.mktemp('trained')/'model'
    assert run('train', pictures, '--out', path, *QUICK)[0] == 0
    return path


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

STOPPED = '''
import os, signal, sys
from pathlib import Path
from hostile_models import learner
from fastcnn.deploy import export_model
rename, calls, how = Path.rename, [], sys.argv[3]
def stopped(self, target):
    calls.append(target)
    if len(calls) != int(sys.argv[4]): return rename(self, target)
    if how == 'after': rename(self, target)
    if how == 'killed': os.kill(os.getpid(), signal.SIGKILL)
    raise KeyboardInterrupt if how != 'error' else OSError(28, 'No space left on device')
Path.rename = stopped
try: export_model(learner(Path(sys.argv[1])), Path(sys.argv[2]))
except (KeyboardInterrupt, OSError): sys.exit(7)
'''


def stopped(pictures, model, how, call):
    "An export that is stopped at the first or second renaming; its exit status"
    return run_anew('-c', STOPPED, pictures, model, how, call).returncode


@pytest.mark.parametrize('how, call', [('interrupted', 2), ('after', 1), ('error', 2)])
def test_an_export_stopped_between_its_renames(how, call, model, pictures):
    before = everything(model)
    assert stopped(pictures, model, how, call) == 7
    assert everything(model) == before and [p.name for p in model.parent.iterdir()] == ['model']


def test_an_export_killed_between_its_renames(model, trained, pictures):
    "The next run that looks for the model finds the old one, says so, and clears away the rest"
    assert stopped(pictures, model, 'killed', 2) == -signal.SIGKILL
    status, found, errors = run('predict', model, pictures)
    assert status == 0 and 'the earlier one is back' in errors and len(found['predictions']) == 40
    assert everything(model) == everything(trained) and [p.name for p in model.parent.iterdir()] == ['model']


def test_what_a_killed_export_has_left_goes(model, pictures):
    "What another process is writing at this moment, and folders of yours with such names, stay"
    assert stopped(pictures, model, 'killed', 1) == -signal.SIGKILL
    left = [p for p in model.parent.iterdir() if p != model]
    assert left
    (model.parent/'.model-mine').mkdir()
    assert run('train', pictures, '--out', model, *QUICK)[0] == 0
    assert sorted(p.name for p in model.parent.iterdir()) == ['.model-mine', 'model']


# A folder of its own

def test_nothing_shared_in_the_temporary_folder(pictures, outside, tmp_path):
    "Another user may have put there what they like, under any name that can be guessed"
    shared = tmp_path/'tmp'
    shared.mkdir()
    (shared/'fastcnn-models').symlink_to(outside)
    done = started('train', pictures, '--out', tmp_path/'model', *QUICK, '--lr', 'auto', TMPDIR=str(shared), FASTCNN_PIXELS=str(tmp_path/'pixels'))
    assert done.returncode == 0, done.stderr
    assert [p.name for p in shared.iterdir()] == ['fastcnn-models']


WHERE = '''
import os, stat, sys
from pathlib import Path
from hostile_models import learner
place = learner(Path(sys.argv[1])).save('kept').parent
top = Path(os.environ['TMPDIR'])/place.relative_to(os.environ['TMPDIR']).parts[0]
print(stat.S_IMODE(top.stat().st_mode), top.is_relative_to(os.environ['TMPDIR']))
'''


def test_a_learner_keeps_its_files_from_others(pictures, tmp_path):
    (tmp_path/'tmp').mkdir()
    done = run_anew('-c', WHERE, pictures, TMPDIR=str(tmp_path/'tmp'))
    assert done.stdout.split() == [str(0o700), 'True'], done.stderr
    assert not list((tmp_path/'tmp').iterdir())


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
        if i == 20 and sys.argv[4] == 'killed': os.kill(os.getpid(), signal.SIGKILL)
        if i == 20: raise KeyboardInterrupt
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

def test_loading_hears_ctrl_c(model, pictures, tmp_path):
    "What is constant is not computed while the graph is loaded; what runs for minutes is left to itself"
    for name, made in dict(products=graphs.products(), one=graphs.one_long_product()).items():
        hostile = graphs.with_graph(model, tmp_path/name, made)
        running = subprocess.Popen([sys.executable, '-m', 'fastcnn', 'predict', hostile, pictures/'red'/'0.png'], stderr=subprocess.PIPE, text=True)
        time.sleep(6)
        running.send_signal(signal.SIGINT)
        try: errors = running.communicate(timeout=20)[1]
        finally: running.kill()
        assert running.returncode == 130 and 'Traceback' not in errors, (name, running.returncode, errors)


REFUSING = '''
import resource, sys, time
from fastcnn.cli import main
for path in sys.argv[2:]:
    start = time.time()
    status = main(['predict', path, sys.argv[1]])
    print(path, status, round(time.time() - start, 1), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss//1024)
'''


def test_graphs_that_are_refused(model, pictures, tmp_path):
    "Each in a moment, in one line, in less than a gigabyte"
    made = {build.__name__: build() for build in graphs.REFUSED} | dict(endless=graphs.endless_list(60_000))
    folders = [graphs.with_graph(model, tmp_path/name, data) for name, data in made.items()]
    done = run_anew('-c', REFUSING, pictures/'red'/'0.png', *folders, timeout=240)
    rows = [line.split() for line in done.stdout.splitlines()]
    assert len(rows) == len(folders) and 'Traceback' not in done.stderr, done.stderr
    for path, status, seconds, megabytes in rows: assert status == '2' and float(seconds) < 25 and int(megabytes) < 1000, rows
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

DEEP = '{"more": ' + '['*400 + ']'*400 + ', '


@pytest.mark.parametrize('change', [
    lambda text: text.replace('{', DEEP, 1), lambda text: '['*900 + ']'*900, lambda text: text.replace('"red"', '"\\ud800"'),
    lambda text: text.replace('"red"', '"'*0 + '["red"]'), lambda text: text.replace('"size": 32', '"size": 1e400'),
    lambda text: text.replace('"size": 32', '"size": 9' + '9'*400), lambda text: text.replace('"size": 32', '"size": 2000000'),
    lambda text: text.replace('"accuracy_interval": [', '"accuracy_interval": [1' + '0'*400 + ','),
    lambda text: text.replace('"classes": [', '"classes": [' + ','.join(f'"c{i}"' for i in range(10**6)) + ','),
    lambda text: text.replace('"classes": [', '"classes": ["red", '), lambda text: text.replace('"version": "', '"version": "' + 'x'*1000),
    lambda text: text.replace('"method": "crop"', '"method": {"a": []}'), lambda text: text*2, lambda text: '\ufeff' + text, lambda text: ''],
    ids=range(15))
@pytest.mark.parametrize('verb', ['predict', 'publish'])
def test_settings_that_mean_harm(verb, change, model, pictures, tmp_path):
    text = (model/'config.json').read_text()
    (model/'config.json').write_text(change(text))
    with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError): graphs.seal(model)
    argv = [pictures/'red'/'0.png'] if verb == 'predict' else ['--out', tmp_path/'site']
    status, found, errors = run(verb, model, *argv)
    assert status == 2 and '\n' not in found['error'] and 'Traceback' not in errors and not (tmp_path/'site').exists()


BUILT = '''
import resource, sys, time
from fastcnn.core import InputError
try: from fastcnn.exported import load_exported
except ImportError: from fastcnn.deploy import load_exported
load_exported(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[2:]:
    try: load_exported(path)
    except InputError as error: print(path, str(error).count('\\n'))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)//1024)
'''


def test_networks_that_ask_for_all_memory(model, tmp_path):
    told, folders = json.loads((model/'config.json').read_text())['architecture'], []
    for change in (dict(channels=[99_999]*8), dict(size=10**9), dict(in_channels=10**9), dict(name='mlp', hidden=[99_999]*60),
                   dict(name='torchvision/vit_h_14'), dict(name='vgg16', hidden=99_999), dict(more=[[[[1]]]])):
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
                   lambda: (site/'more').symlink_to(tmp_path), lambda: (site/'runtime'/'mine.js').write_text('mine')):
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

HARM = ['](javascript:alert(1))', '<script>alert(2)<', '---', '# head', '![x](http:a.example)', 'a|b', '`code', '*bold*', '&lt;b>', 'http:a.example', '\u202egpj']


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
    for line in head.splitlines(): json.loads(line.partition(': ')[2]) if line.partition(': ')[2][:1] in '"[{' else None
    tokens = [token for block in MarkdownIt('commonmark', dict(html=True)).enable('table').parse(body) for token in [block, *(block.children or [])]]
    kinds = [token.type for token in tokens]
    assert not {'html_inline', 'html_block', 'image', 'link_open', 'hr', 'em_open', 'strong_open'} & set(kinds)
    assert kinds.count('heading_open') == 6 and kinds.count('table_open') == 1 and kinds.count('tr_open') == len(HARM) + 1
    words = ' '.join(token.content for token in tokens if token.type == 'text')
    for name in HARM[:-1]: assert name in words, name
    assert '\u202e' not in text


# A full disk

def small_disk(folder, size):
    "A disk of so many bytes; skipped where one may not make one"
    folder.mkdir()
    if subprocess.run(['mount', '-t', 'tmpfs', '-o', f'size={size}', 'tmpfs', str(folder)], capture_output=True).returncode:
        pytest.skip('a small disk needs the right to mount a tmpfs')
    return folder


@contextlib.contextmanager
def disk(folder, size):
    small_disk(folder, size)
    try: yield folder
    finally: subprocess.run(['umount', '-l', str(folder)], check=True)


def test_a_full_disk_leaves_what_was_there(trained, pictures, tmp_path):
    "`train`, `predict --out` and `publish`: one line, status 1, and the old one is whole"
    with disk(tmp_path/'disk', '6m') as full:
        shutil.copytree(trained, full/'model')
        (full/'t.csv').write_text('old')
        (full/'fill').write_bytes(bytes(500_000))
        before = everything(full)
        for argv in (['train', pictures, '--out', full/'model', *QUICK], ['publish', full/'model', '--out', full/'site']):
            status, found, errors = run(*argv)
            if 'npm' in found.get('error', ''): continue
            assert status == 1 and everything(full) == before, (argv, found, errors, sorted(everything(full)))
            assert '\n' not in found['error'] and 'Traceback' not in errors
        free = shutil.disk_usage(full).free
        (full/'more').write_bytes(bytes(free - 8192))
        before = everything(full)
        status, found, _ = run('predict', full/'model', *[pictures]*20, '--out', full/'t.csv')
        assert status == 1 and 'the answers so far are in' in found['error'] and (full/'t.csv').read_text() == 'old'
        assert everything(full).keys() >= before.keys()
