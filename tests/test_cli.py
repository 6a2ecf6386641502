"The command as a user meets it: what goes wrong, with which exit status, and that nothing is lost."
import ast, contextlib, csv, ctypes, functools, io, json, logging, math, os, pty, re, shlex, signal, socket, struct
import subprocess, sys, termios, time, unicodedata, warnings, zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from faults import mounted_disk
from PIL import Image
from sklearn.exceptions import UndefinedMetricWarning

import fastcnn.cli
from fastcnn.cli import command_parser, in_options, main
from fastcnn.core import InputError, Manifest, sidecar
from fastcnn.exported import predict
from fastcnn.images import image_files, read_image
from fastcnn.planet_server import PlanetServer
from fastcnn.planets import planet_collection

COMMAND = [sys.executable, '-m', 'fastcnn']
BUFFERED = {name: value for name, value in os.environ.items() if name != 'PYTHONUNBUFFERED'} # as a user has it


def run(*argv):
    "(exit status, JSON, standard error) of the command, started anew"
    done = subprocess.run([*COMMAND, *map(str, argv), '--json'], capture_output=True, text=True, timeout=300)
    assert 'Traceback' not in done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout.splitlines()[-1]), done.stderr


def run_here(*argv):
    "The same in this process, which has torch and fastai already: for what need not start anew"
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors): status = main([*map(str, argv), '--json'])
    return status, strict(out.getvalue().splitlines()[-1]), errors.getvalue()


def strict(text): return json.loads(text, parse_constant=lambda name: pytest.fail(f'{name} in {text}'))
def told(errors): return [line for line in errors.replace('\r', '\n').splitlines() if line.startswith('fastcnn: ')]


def shown(*argv):
    "(exit status, what a person sees, standard error), in this process"
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as errors:
        status = main([*map(str, argv)])
    return status, out.getvalue(), errors.getvalue()


def refused(*argv, words):
    "The command refuses with status 2 and one line that says why"
    status, found, errors = run_here(*argv)
    assert (status, list(found)) == (2, ['error']) and words in found['error'], (status, found)
    assert told(errors) == [f'fastcnn: {found["error"]}']


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp('cli')/'planets'
    planet_collection(root, n=12, seed=9, nuisances=0, duplicates=0, broken=0)
    for file in image_files(root):
        with Image.open(file) as image: small = image.resize((48, 48))
        small.save(file)
    return root


@pytest.fixture(scope='module')
def server():
    with PlanetServer(n=60, seed=11, faults=None) as running: yield running


def search(server, root, n=40):
    return 'search', 'planet earth', '--label', 'earth', '--out', root, '-n', n, '--provider', 'openverse', '--base-url', server.base_url


def zipped(path, names):
    with zipfile.ZipFile(path, 'w') as archive:
        for name in names: archive.writestr(name, b'x')
    return path


def test_folders_that_cannot_be_learnt_from(tmp_path, folder):
    (tmp_path/'empty').mkdir()
    (tmp_path/'one'/'earth').mkdir(parents=True)
    for file in image_files(folder)[:9]: (tmp_path/'one'/'earth'/file.name).write_bytes(file.read_bytes())
    for root, words in [('missing', 'there is no'), ('empty', 'holds no images'), ('one', 'at least 2 classes')]:
        refused('train', tmp_path/root, '--out', tmp_path/'model', words=words)
    assert not (tmp_path/'model').exists() and len(image_files(tmp_path/'one')) == 9


def test_archives_that_cannot_be_trusted(tmp_path):
    (tmp_path/'garbage.zip').write_bytes(b'PK\x03\x04 garbage')
    (tmp_path/'garbage.parquet').write_bytes(b'PAR1 garbage')
    hostile = zipped(tmp_path/'hostile.zip', ['earth/a.jpg', '../../evil.jpg'])
    told = {'garbage.zip': 'cannot be read as a zip', 'garbage.parquet': 'cannot be read as parquet', hostile.name: 'leads out of the archive'}
    for path, words in told.items():
        refused('train', tmp_path/path, '--out', tmp_path/'model', words=words)
    assert sorted(p.name for p in tmp_path.iterdir()) == ['garbage.parquet', 'garbage.zip', 'hostile.zip']


@pytest.mark.parametrize('argv, words', [
    (['search', 'x', '--label', 'a/b', '--out', 'OUT'], 'holds a slash'),
    (['search', 'x', '--label', 'a', '--out', 'OUT', '--provider', 'altavista'], 'altavista'),
    (['search', 'x', '--label', 'a', '--out', 'OUT', '-n', '0'], 'no number above 0'),
    (['train', 'FOLDER', '--out', 'OUT', '--arch', 'alexandria'], 'unknown architecture'),
    (['train', 'FOLDER', '--out', 'OUT', '--stage', 'gelu'], "'gelu' is none of conv, relu, bn"),
    (['train', 'FOLDER', '--out', 'OUT', '--epochs', '0'], 'at least 1'),
    (['train', 'FOLDER', '--out', 'OUT', '--lr', 'fast'], 'neither a number nor auto'),
    (['train', 'FOLDER', '--out', 'FOLDER'], 'is no exported model'),
    (['predict', 'FOLDER', 'x.jpg'], 'is no exported model'),
    (['evaluate', 'OUT', 'FOLDER'], 'is no exported model'),
    (['publish', 'FOLDER', '--out', 'OUT'], 'is no exported model'),
    (['train', 'FOLDER', '--out', 'OUT', '--arch', 'resnet18', '--pretrained'], 'resnet18'),
    (['clean', 'OUT'], 'there is no folder'),
    (['restore', 'FOLDER'], '--all'),
    (['search', 'x', '--label', 'a', '--out', ''], 'an empty name'),
    (['search', 'x', '--label', 'a', '--out', '/'], 'nothing can lie beside it'),
    (['search', 'x', '--label', 'a', '--out', 'OUT', '--base-url', 'http://a.example/?key=1'], 'no web address'),
    (['info', ''], 'an empty name'),
    (['train', 'FOLDER', '--out', ' '], 'an empty name'),
    (['predict', 'FOLDER', ''], 'an empty name'),
    (['dance'], 'there is no verb'),
])
def test_arguments_that_cannot_work(argv, words, tmp_path, folder):
    before = [f.read_bytes() for f in image_files(folder)]
    refused(*[{'OUT': tmp_path/'out', 'FOLDER': folder}.get(a, a) for a in argv], words=words)
    assert [f.read_bytes() for f in image_files(folder)] == before and not (tmp_path/'out').exists()


@pytest.mark.parametrize('name', ['model', 'unseen', 'planets.fastcnn', 'first-look', 'report.html'])
def test_a_demo_deletes_nothing_of_yours(name, tmp_path):
    mine = tmp_path/name if name.endswith('.html') else tmp_path/name/'mine.txt'
    mine.parent.mkdir(exist_ok=True)
    mine.write_text('precious')
    refused('demo', '--quick', '--out', tmp_path, words='is not of a demo')
    assert mine.read_text() == 'precious' and len(list(tmp_path.iterdir())) == 1


def test_a_broken_image_is_left_out_by_name(tmp_path, folder):
    broken = folder/'earth'/'half.jpg'
    broken.write_bytes(image_files(folder)[0].read_bytes()[:700])
    try: status, found, errors = run_here('train', folder, '--out', tmp_path/'model', '--plan', 'scratch', '--size', 32, '--epochs', 1, '--bs', 8)
    finally: broken.unlink()
    assert status == 0 and 'earth/half.jpg' in errors and found['images'] == 48
    status, judged, _ = run_here('evaluate', tmp_path/'model', folder)
    assert status == 0 and (judged['images'], judged['seen']) == (found['test_images'], 48 - found['test_images'])
    assert judged['accuracy'] == found['accuracy'] # the rest was learnt from
    again = 'train', folder, '--out', tmp_path/'model', '--plan', 'scratch', '--size', 32, '--epochs', 1, '--bs', 8
    refused(*again, words=f"holds a model with an accuracy of {found['accuracy']:.3f}: choose another name, or replace it with --force")
    status, same, _ = run(*again, '--force')
    assert status == 0 and same['accuracy'] == found['accuracy'] # the same seed, the same model, in place of the first
    assert any('it replaces a model' in reason for reason in same['reasons'])
    refused('predict', tmp_path/'model', tmp_path/'model'/'README.md', words='cannot be read as an image')


@pytest.fixture(scope='module')
def model(folder, tmp_path_factory):
    path = tmp_path_factory.mktemp('trained')/'model'
    assert run_here('train', folder, '--out', path, '--plan', 'scratch', '--size', 32, '--epochs', 1, '--bs', 8)[0] == 0
    return path


def test_a_folder_is_predicted(model, folder, tmp_path):
    status, found, errors = run_here('predict', model, folder)
    files = [str(f) for f in image_files(folder)]
    assert status == 0 and [p['file'] for p in found['predictions']] == files and all(set(p) == {'file', 'label', 'probability'} for p in found['predictions'])
    (tmp_path/'empty').mkdir()
    refused('predict', model, tmp_path/'empty', words='holds no images')


@pytest.mark.parametrize('name', ['answers.csv', 'answers.jsonl'])
def test_a_table_of_predictions_holds_every_image(name, model, folder, tmp_path):
    "Odd names come back, and what is no Unicode is told so that any reader gets through; a broken image has its row, empty but for the reason"
    mine, table = tmp_path/'mine', tmp_path/'new'/name
    mine.mkdir()
    odd = ['a, "b".jpg', 'line\nend.jpg', '木星.jpg', os.fsdecode(b'latin\xe9.jpg')]
    for file, odd_name in zip(image_files(folder), odd): (mine/odd_name).write_bytes(file.read_bytes())
    (mine/'half.jpg').write_bytes(image_files(folder)[0].read_bytes()[:600])
    status, found, errors = run('predict', model, mine, '--out', table)
    assert status == 0 and (found['written'], found['images'], found['unreadable']) == (str(table), 5, 1) and 'half.jpg' in errors
    assert sum(found['labels'].values()) + found['none_of_these'] == 4 and [f.name for f in table.parent.iterdir()] == [name]
    with open(table, encoding='utf-8', newline='') as file:
        rows = list(csv.DictReader(file)) if name.endswith('csv') else [json.loads(line) for line in file]
    assert {r['file'] for r in rows} == {str(mine/n) for n in [*odd[:-1], r'latin\udce9.jpg', 'half.jpg']} and len(rows[0]) == 9
    for row in rows:
        broken = row['file'].endswith('half.jpg')
        assert bool(row['error']) == broken == (row['probability'] in (None, ''))
        if not broken: assert abs(float(row['probability']) - max(float(v) for k, v in row.items() if k.startswith('p_'))) < 1e-6


def test_a_table_that_cannot_be_written(model, folder, tmp_path):
    (tmp_path/'answers.csv').write_text('precious')
    (tmp_path/'half.jpg').write_bytes(b'no image')
    refused('predict', model, folder, '--out', tmp_path/'answers.txt', words='.csv or .jsonl')
    refused('predict', model, tmp_path/'half.jpg', '--out', tmp_path/'answers.csv', words='cannot be read as an image')
    refused('predict', tmp_path, folder, '--out', tmp_path/'answers.csv', words='is no exported model')
    assert (tmp_path/'answers.csv').read_text() == 'precious' and len(list(tmp_path.iterdir())) == 2


def test_interrupted_predictions_stay(model, folder, tmp_path):
    "What was finished is in TABLE.part, whole rows only; TABLE is what it was"
    files, table = image_files(folder), tmp_path/'answers.jsonl'
    table.write_text('old')
    (tmp_path/'many').mkdir()
    for i in range(60_000): os.link(files[i % len(files)], tmp_path/'many'/f'{i:05}.jpg')
    command = [*COMMAND, 'predict', str(model), str(tmp_path/'many'), '--out', str(table), '--json']
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    part = tmp_path/'answers.jsonl.part'
    for _ in range(3000):
        if part.exists() and part.stat().st_size > 50_000: break
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    out, errors = running.communicate(timeout=60)
    assert running.returncode == 130, (running.returncode, out, errors)
    rows = [json.loads(line) for line in part.read_text().splitlines()]
    assert 'Traceback' not in errors and table.read_text() == 'old'
    assert 100 < len(rows) < 60_000 and [r['file'] for r in rows] == [str(tmp_path/'many'/f'{i:05}.jpg') for i in range(len(rows))]
    assert json.loads(out.splitlines()[-1])['error'] == f'interrupted: the answers so far are in {part}'


def test_from_a_model_to_a_page(tmp_path, folder):
    training = '--plan', 'scratch', '--size', 32, '--epochs', 1, '--bs', 8, '--report', tmp_path/'report.html'
    status, found, _ = run_here('train', folder, '--out', tmp_path/'model', *training)
    assert status == 0 and found['report'] == str(tmp_path/'report.html') and 'Where did it look?' in (tmp_path/'report.html').read_text()
    assert 0 <= found['refused'] <= 1
    refused('publish', tmp_path/'model', '--out', tmp_path/'site', '--runtime', tmp_path/'model', words='holds no ort')
    refused('publish', tmp_path/'model', '--out', tmp_path/'site', '--credits', tmp_path/'CREDITS.md', words='CREDITS.md')
    assert not (tmp_path/'site').exists()
    status, told, _ = run('publish', tmp_path/'model', '--out', tmp_path/'site', '--title', 'Which planet?', '--example', image_files(folder)[0])
    if status and not os.environ.get('CI'): pytest.skip(told['error']) # neither npm nor the network: the page's own tests say more
    assert status == 0 and told['site'] == str(tmp_path/'site') and 'Which planet?' in (tmp_path/'site'/'index.html').read_text()
    assert told['bytes'] == sum(f.stat().st_size for f in (tmp_path/'site').rglob('*') if f.is_file())


def test_interrupted_then_finished(tmp_path, server):
    root, server.latency = tmp_path/'planets', 0.3 # seconds: without it all is there before the signal
    running = subprocess.Popen([*COMMAND, *map(str, search(server, root))], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    for _ in range(600):
        if list(root.glob('earth/*')): break
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    errors = running.communicate(timeout=60)[1]
    server.latency = 0
    assert running.returncode == 130 and 'Traceback' not in errors, errors
    assert not list(sidecar(root).glob('tmp/*'))
    kept = {f.name for f in root.glob('earth/*')}
    status, found, _ = run(*search(server, root))
    files = list(root.glob('earth/*'))
    assert status == 0 and len(files) == 40 and kept <= {f.name for f in files}
    assert found['requested'] == found['saved'] + found['duplicate'] + found['quarantined'] + sum(found['failed'].values())


def test_a_full_disk_exits_1_and_a_second_run_finishes(tmp_path, server):
    with mounted_disk(tmp_path/'disk', '300k') as disk:
        status, found, errors = run(*search(server, disk/'planets'))
        assert status == 1 and 'No space left' in found['error'], found
        assert not list((disk/'planets').rglob('.tmp*'))
        subprocess.run(['mount', '-o', 'remount,size=64m', str(disk)], check=True)
        status, found, errors = run(*search(server, disk/'planets'))
        assert status == 0 and len(list((disk/'planets').glob('earth/*'))) == 40, (found, errors)
        for file in (disk/'planets').glob('earth/*'): read_image(file)


def test_a_refusal_is_the_same_in_a_process_of_its_own(tmp_path):
    for argv in (['dance'], ['clean', tmp_path/'out'], ['train', tmp_path, '--out', tmp_path/'model', '--lr', 'fast']):
        assert run(*argv) == run_here(*argv)


VERBS = 'demo search providers doctor add clean restore info export cache forget train evaluate predict publish'.split()

def options_of(verb):
    "The parser of a verb"
    return next(action for action in command_parser()._actions if action.dest == 'verb').choices[verb]


@pytest.mark.parametrize('verb', VERBS)
def test_help_knows_every_argument_its_default_and_two_examples(verb, capsys):
    "Each parameter of a verb has a comment, which is its help; the examples are ones that the parser takes"
    with pytest.raises(SystemExit) as stop: command_parser().parse_args([verb, '--help'])
    shown = capsys.readouterr().out
    assert stop.value.code == 0 and '--json' in shown.split('options:')[1] and '**' not in shown
    for action in options_of(verb)._actions:
        flag = action.nargs == 0 or isinstance(action.default, list)
        assert action.help and (flag or not action.option_strings or 'default: ' in action.help or action.required and 'required' in action.help), action
    examples = [shlex.split(line)[1:] for line in shown.split('examples:')[1].splitlines() if line.strip()]
    assert len(examples) == 2 and all(command_parser().parse_args(words).verb == verb for words in examples)


def test_the_help_shows_the_way_and_what_must_be_given_is_asked_for(capsys):
    with pytest.raises(SystemExit): command_parser().parse_args(['--help'])
    shown = capsys.readouterr().out
    steps = [shown.index(f'\n{step}:') for step in ('Collect', 'Clean', 'Learn', 'Hand on')]
    assert steps == sorted(steps) and all(re.search(rf'^  {verb} ', shown, re.M) for verb in VERBS) and max(map(len, shown.splitlines())) < 120
    assert options_of('train')._option_string_actions['--plan'].choices == ('auto', 'transfer', 'scratch', 'fast')
    for argv, words in (['search', 'x', '--out', 'y'], '--label'), (['train', 'x'], '--out'), (['predict', 'm'], 'FILE'):
        with pytest.raises(InputError, match=words): command_parser().parse_args(argv)


@pytest.mark.parametrize('argv, status', [(['info'], 0), (['info', '--json'], 0), (['--help'], 0), (['predict', '--help'], 0),
                                          (['clean', 'nowhere', '--json'], 2)])
def test_a_closed_pipe_ends_quietly(argv, status, folder):
    "As with `fastcnn info … | head -0`, and with `2>&1 | head -0`"
    argv = [*argv[:1], *[str(folder)]*(argv[0] == 'info'), *argv[1:]]
    for errors in (subprocess.PIPE, subprocess.STDOUT):
        running = subprocess.Popen([*COMMAND, *argv], stdout=subprocess.PIPE, stderr=errors, text=True, env=BUFFERED)
        running.stdout.close()
        assert not running.stderr or len(running.stderr.read().splitlines()) == bool(status)
        assert running.wait(timeout=60) == status


def test_many_answers_into_a_closed_pipe(model, folder):
    running = subprocess.Popen([*COMMAND, 'predict', str(model), *[str(folder)]*40], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert running.stdout.readline() == 'predictions\n'
    running.stdout.close()
    assert not told(running.stderr.read()) and running.wait(timeout=60) == 0


PLANTED = """import sys, warnings
import fastcnn.cli
def library(source, **options): warnings.warn('of a library', stacklevel=2); return {}
fastcnn.cli.collection_facts = library
sys.exit(fastcnn.cli.main(['info', 'x']))"""

BAR = PLANTED.replace("warnings.warn('of a library', stacklevel=2)", "[print('bar', file=sys.stderr, flush=True) for _ in range(3)]")

def test_a_progress_bar_into_a_closed_pipe():
    "As with `fastcnn predict … 2>&1 | head -1`: the work goes on"
    running = subprocess.Popen([sys.executable, '-c', BAR], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=BUFFERED)
    running.stderr.close()
    assert running.stdout.read() == b'' and running.wait(timeout=60) == 0
    closed = ['exec 2>&-; exec "$0" -c "$1"', sys.executable, PLANTED.replace("'info', 'x'", "'info'")]
    done = subprocess.run(['sh', '-c', *closed], stdout=subprocess.PIPE, env=BUFFERED)
    assert (done.returncode, done.stdout) == (2, b'') # nor does a line for standard error go to standard output


def test_a_result_that_cannot_be_printed(folder):
    if not os.path.exists('/dev/full'): pytest.skip('no device that is always full')
    with open('/dev/full', 'w') as full:
        done = subprocess.run([*COMMAND, 'info', str(folder)], stdout=full, stderr=subprocess.PIPE, text=True, env=BUFFERED)
    assert done.returncode == 1 and done.stderr == 'fastcnn: the result cannot be printed: No space left on device\n'


def test_no_number_that_json_does_not_know(monkeypatch, capsys):
    "NaN and infinity become null"
    monkeypatch.setattr('fastcnn.cli.collection_facts', lambda source, **options: dict(classes=dict(a=float('nan')), bytes=[float('inf'), 1.5]))
    assert main(['info', 'x', '--json']) == 0
    assert json.loads(capsys.readouterr().out, parse_constant=pytest.fail) == dict(classes=dict(a=None), bytes=[None, 1.5])


@pytest.fixture(scope='module')
def rare(tmp_path_factory):
    "A class of two images, which one of three parts must lack"
    root, rng = tmp_path_factory.mktemp('rare')/'rare', np.random.default_rng(0)
    for label, n in dict(a=14, b=2, c=14).items():
        (root/label).mkdir(parents=True)
        for i in range(n): Image.fromarray(rng.integers(0, 255, (24, 24, 3), np.uint8)).save(root/label/f'{i:02}.png')
    return root


def test_strict_json_where_a_class_is_missing(rare, model, server, tmp_path):
    "Every verb and every file of figures: what is missing is null, never NaN"
    two = tmp_path/'two'
    for name in 'earth', 'saturn': (two/name).mkdir(parents=True)
    images = [tmp_path/'two'/label/f'{i}.png' for label in ('earth', 'saturn') for i in range(4)]
    for i, file in enumerate(images): Image.new('RGB', (48, 48), (30*i, 90, 0)).save(file)
    status, judged, _ = run_here('evaluate', model, two, '--report', tmp_path/'page.html')
    assert status == 0 and judged['per_class_f1']['jupiter'] is None and judged['related_images'] is None
    new = tmp_path/'model' # a refusal is strict JSON too
    status, trained, _ = run_here('train', rare, '--out', new, '--plan', 'scratch', '--size', 24, '--epochs', 1, '--bs', 8)
    if not status: assert None in strict((new/'config.json').read_text())['per_class_f1'].values()
    for argv in (['predict', model, two], ['predict', model, two, '--out', tmp_path/'out.jsonl'], ['info', two], ['clean', two],
                 ['restore', two, '--all'], ['export', two, tmp_path/'two.csv'], ['add', rare, '--out', tmp_path/'added'],
                 ['forget', two, '--creator', 'Ada'], ['cache'], search(server, tmp_path/'found', n=2)):
        status, found, errors = run_here(*argv)
        assert status == 0, (argv, errors)
    for line in (tmp_path/'out.jsonl').read_text().splitlines(): strict(line)
    for argv in (['publish', model, '--out', tmp_path/'site', '--runtime', two], ['demo', '--out', images[0]]): assert run_here(*argv)[0] == 2


def test_a_model_says_nothing_that_json_does_not_know(tmp_path):
    "Whatever was measured, its configuration is strict JSON and can be read"
    from fastcnn.deploy import MODEL_FILES, write_config
    from fastcnn.exported import read_config
    for name in MODEL_FILES: (tmp_path/name).write_bytes(b'x')
    figures = dict(accuracy=.5, f1=math.nan, per_class_f1=dict(a=np.float32(math.nan), b=np.int64(1)), log_loss=math.inf)
    write_config(tmp_path, dict(format=2, classes=['a', 'b'], size=8, mean=[0.]*3, std=[1.]*3) | figures)
    kept = strict((tmp_path/'config.json').read_text())
    assert read_config(tmp_path) == kept
    assert [kept[name] for name in figures] == [.5, None, dict(a=None, b=1), None]


def test_json_is_all_there_is_on_standard_output(folder):
    done = subprocess.run([*COMMAND, 'info', str(folder), '--json'], capture_output=True, text=True)
    assert set(json.loads(done.stdout)) == {'classes', 'parts', 'licenses', 'bytes', 'problems', 'left_out'}
    assert 'classes' in subprocess.run([*COMMAND, 'info', str(folder)], capture_output=True, text=True).stdout


def test_manifest_of_a_search_names_maker_and_licence(tmp_path, server):
    assert run(*search(server, tmp_path/'planets', n=5))[0] == 0
    rows = Manifest(tmp_path/'planets').present()
    assert len(rows) == 5 and all(r['provider'] == 'openverse' and r['license'] and r['landing_url'] for r in rows)
    assert (sidecar(tmp_path/'planets')/'CREDITS.md').read_text().count('earth/') == 5


@pytest.mark.parametrize('argv, words', [
    (['trian', 'x', '--out', 'y'], "no verb 'trian': did you mean train? See `fastcnn --help`"),
    (['search', 'x', '--lable', 'a', '--out', 'y'], 'no option --lable: did you mean --label? See `fastcnn search --help`'),
    (['train', 'x', '--out', 'y', '--epoch=3', '--mirrored', 'no'], 'no option --mirrored: did you mean --mirror?'),
    (['train', 'x', '--out', 'y', '--plan', 'tranfer'], "'tranfer' is none of auto, transfer, scratch, fast: did you mean transfer?"),
    (['info', 'x', '--xyzzy'], 'no option --xyzzy; see'), (['xyzzy'], "no verb 'xyzzy'; see"),
    (['--verson'], 'no option --verson: did you mean --version?'),
])
def test_did_you_mean(argv, words): refused(*argv, words=words)


def test_words_after_two_dashes_are_no_options(capsys):
    assert main(['info', '--', '--odd-name']) == 2 and "there is no '--odd-name'" in capsys.readouterr().err


NO_VERB_CALLS = {'activations', 'cleaner', 'convolution', 'distributed', 'drawings', 'exercises', 'lessons', 'networks', 'planets', # modules, and functions:
    'data.resident_dataloaders', 'deploy.push_to_hub', 'publish.demo_app', 'evaluation._flags', 'evaluation._training_curves', 'fast._check_fast',
    'models._check_plan', 'models._check_positive', 'models._set_head_dropout', 'models.load_pretrained', 'models.whitened_stack', 'splits.__init__',
    'transfer.with_normalization', 'transfer._network_for', 'transfer._known_stats', 'exchange.write_url_list', 'exchange._check_shard_columns',
    'quarantine._checked_reasons', 'clean._check_features', 'diagnosis.diagnose', 'exported._check_interface', 'exported._opened',
    'evaluation.evaluate', 'evaluation._evaluate_learner', 'evaluation._part_of'}
PYTHON_WORDS = re.compile(r'\b[a-z_]+=(?!=)|\b[a-z_.]+\((?!s\))|`[a-z]+`|(?<![\w\'"/])(?!fine_tuned)[a-z]+_[a-z_]+\b')

def words_of(node):
    "The text of a message, with 'x' for what is filled in"
    if isinstance(node, ast.Constant): return str(node.value)
    if isinstance(node, ast.JoinedStr): return ''.join(map(words_of, node.values))
    if isinstance(node, ast.BinOp): return words_of(node.left) + words_of(node.right)
    return "'x'"

def messages():
    "(module.function, text) of what a function says that raises, warns or gives reasons"
    for path in sorted(Path(fastcnn.cli.__file__).parent.glob('*.py')):
        for function in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)):
            place, inside = f'{path.stem}.{function.name}', list(ast.walk(function))
            if {place, path.stem} & NO_VERB_CALLS or path.stem in ('cli', '_modidx'): continue
            called = {ast.unparse(node.func) for node in inside if isinstance(node, ast.Call)}
            if not called & {'InputError', 'RuntimeError', 'warnings.warn', 'self.reasons.append', 'carried.reasons.append'}: continue
            held = {id(part) for node in inside if isinstance(node, ast.JoinedStr) for part in ast.walk(node) if part is not node}
            yield from ((place, words_of(node)) for node in inside if isinstance(node, (ast.Constant, ast.JoinedStr)) and id(node) not in held
                        and ' ' in words_of(node) and words_of(node) != ast.get_docstring(function, clean=False))


def test_advice_at_the_terminal_is_in_options():
    "Every message of the library, after it has gone through the command, names options and verbs, no arguments or functions of Python"
    found = dict.fromkeys(messages())
    assert len(found) > 300 and any('max_share=1' in text for _, text in found)
    verbs = [options_of(verb).get_default('run') for verb in VERBS]
    said = [(place, functools.reduce(in_options, verbs, text)) for place, text in found]
    assert not [pair for pair in said if PYTHON_WORDS.search(pair[1])]


def test_a_verb_speaks_in_its_options(folder, tmp_path):
    (tmp_path/'list.csv').write_text('a,b\nx.jpg,y.jpg\n')
    for file in 'xy': (tmp_path/f'{file}.jpg').write_bytes(image_files(folder)[0].read_bytes())
    refused('info', tmp_path/'list.csv', words='--image-col')
    refused('train', folder, '--out', tmp_path/'model', '--resume', words='train without --resume')


# At a terminal

def in_terminal(*argv, stop_at=None, program=COMMAND, **environment):
    "(exit status, what was written) of the command in a terminal of 100 columns, interrupted once there is a text that matches"
    pid, terminal = pty.fork()
    if not pid:
        try:
            termios.tcsetwinsize(0, (40, 100))
            os.execvpe(program[0], [*program, *map(str, argv)], BARS | environment)
        finally: os._exit(99)
    seen = ''
    with contextlib.suppress(OSError): # Linux tells the end of a terminal as an error
        while data := os.read(terminal, 4096):
            seen += data.decode(errors='replace')
            if stop_at and re.search(stop_at, seen):
                os.write(terminal, b'\x03')
                stop_at = None
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), seen


def screen(text):
    "The lines that are left on a screen: what carriage returns and steps up and down have written over"
    lines, row, column = [''], 0, 0
    for part in re.findall(r'\x1b\[[\d;?]*[A-Za-z]|[\r\n]|[^\x1b\r\n]+', text):
        if part == '\r': column = 0
        elif part == '\n': row += 1
        elif part == '\x1b[A': row -= 1
        elif part[0] != '\x1b':
            lines += ['']*(row + 1 - len(lines))
            lines[row] = (lines[row].ljust(column)[:column] + part + lines[row][column + len(part):])
            column += len(part)
    return [line.rstrip() for line in lines if line.strip()]


PROGRESS = """import logging, sys, time, warnings
import fastcnn.cli
from tqdm.auto import tqdm
stages = logging.getLogger('fastcnn.stages')
def slow(source, **options):
    stages.info('reading')
    for i in tqdm(range(14), 'images', delay=1):
        time.sleep(.15)
        if i == 10: warnings.warn('a broken image')
    stages.info('testing')
    return dict(classes=dict(a=2, b=1))
fastcnn.cli.collection_facts = slow
sys.exit(fastcnn.cli.main(sys.argv[1:]))"""
BARS = {name: value for name, value in os.environ.items() if name not in ('TQDM_DISABLE', 'PYTHONWARNINGS')}

def slow_command(folder):
    "A program that is the command, with an `info` that takes two seconds and warns in between, as a part of fastcnn"
    (folder/'slow.py').write_text(f"exec({PROGRESS!r}, dict(__name__='fastcnn.slow'))")
    return [sys.executable, str(folder/'slow.py')]

@pytest.mark.parametrize('argv, environment', [(['info', 'x'], {}), (['info', 'x', '--json'], {}), (['info', 'x'], dict(TQDM_DISABLE='1'))])
def test_stages_and_bars_at_a_terminal(argv, environment, tmp_path):
    "A bar after a second, gone in the end; a warning on a line of its own; the last line says what is next, but for programs"
    status, seen = in_terminal(*argv, program=slow_command(tmp_path), **environment)
    left = screen(seen)
    assert status == 0 and 'fastcnn: a broken image' in left and 'testing' in left and any(line.startswith('reading') for line in left), left
    assert ('images:' in seen) == (not environment) and not any('images:' in line for line in left), left
    assert ('Next: ' in seen) == ('--json' not in argv), left
    if '--json' in argv: assert strict(left[-1]) == dict(classes=dict(a=2, b=1))
    else: assert left[-1].startswith('3 images in 2 classes. Next: fastcnn train x'), left


def test_a_pipe_gets_the_stages_alone(tmp_path):
    done = subprocess.run([*slow_command(tmp_path), 'info', 'x', '--json'], capture_output=True, text=True, env=BARS)
    assert done.stderr == 'reading\nfastcnn: a broken image\ntesting\n' and strict(done.stdout) == dict(classes=dict(a=2, b=1))


def test_ctrl_c_at_a_terminal_says_what_is_kept(tmp_path, server):
    root, server.latency = tmp_path/'planets', .3
    try: status, seen = in_terminal(*search(server, root), stop_at='downloading: ')
    finally: server.latency = 0
    left = screen(seen)
    assert status == 130 and left[-1] == 'fastcnn: interrupted: the images that are there stay, and the same command goes on', left
    assert not any('downloading' in line or 'Traceback' in line for line in left), left


def test_a_training_that_is_interrupted_goes_on_with_resume(folder, tmp_path):
    options = '--plan', 'scratch', '--size', 32, '--bs', 8, '--mirror', 'yes', '--epochs', 1000, '--out', tmp_path/'model'
    status, seen = in_terminal('train', folder, *options, stop_at=r'epoch \d\d+ of 1000')
    left = screen(seen)
    assert status == 130 and left[-1] == 'fastcnn: interrupted: the finished epochs are kept, and --resume goes on with them', left
    assert 'epoch_' not in seen and 'train_loss' not in seen and 'Traceback' not in seen # fastai's table
    assert len(list(tmp_path.glob('.model.training-*/*.pt'))) == 1


def hang_up(port, path, after):
    "Ask for a file, and reset the connection after some bytes of the answer"
    with socket.create_connection(('127.0.0.1', port)) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        client.sendall(f'GET {path} HTTP/1.1\r\nHost: x\r\n\r\n'.encode())
        if after: client.recv(after)


@pytest.mark.parametrize('fault', ['cut', 'drip'])
def test_a_client_that_hangs_up_leaves_no_traceback(fault, caplog, capfd):
    with PlanetServer(n=3, seed=1, faults={fault: 1.}, nuisances=0, duplicates=0, workers=1) as running:
        paths = [row['url'].removeprefix(running.base_url) for row in running.truth()]
        for i in range(30): hang_up(running.port, paths[i % len(paths)], [10, 200, 0][i % 3])
        for _ in range(200):
            if all(row['status'] for row in running.requests): break
            time.sleep(.05)
        assert {row['status'] for row in running.requests} <= {200, 499} and len(running.requests) > 20
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING] and 'Traceback' not in capfd.readouterr().err


# Noise of the libraries

def warn_as(category, **options): return lambda source, **given: warnings.warn('of a library', category, **options) or {}

PYTHON = [warn_as(category, stacklevel=level) for category in (UserWarning, FutureWarning, RuntimeWarning, UndefinedMetricWarning)
          for level in (1, 2, 3)] # 2 and 3 blame fastcnn

@pytest.mark.parametrize('library', PYTHON)
def test_what_a_library_warns_of_is_not_shown(library, monkeypatch):
    monkeypatch.setattr('fastcnn.cli.collection_facts', library)
    monkeypatch.setattr(sys, 'warnoptions', [])
    status, _, errors = shown('info', 'x')
    assert (status, errors) == (0, '')


def test_c_code_that_fastcnn_calls_is_a_library_too(monkeypatch):
    "Its warning is raised in a frame of fastcnn's"
    words = ctypes.py_object(UserWarning), ctypes.c_char_p(b'of a library'), ctypes.c_ssize_t(1)
    monkeypatch.setattr('fastcnn.cli.pixel_cache', lambda purge: dict(bytes=ctypes.pythonapi.PyErr_WarnEx(*words)))
    monkeypatch.setattr(sys, 'warnoptions', [])
    assert run_here('cache') == (0, dict(bytes=0), '')


def test_who_asks_python_sees_what_libraries_warn_of():
    def errors(*options, **environment):
        done = subprocess.run([sys.executable, *options, '-c', PLANTED], env=os.environ | environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stderr
    assert errors(PYTHONWARNINGS='') == ''
    for found in (errors(PYTHONWARNINGS='default'), errors('-W', 'default', PYTHONWARNINGS='')):
        assert 'UserWarning: of a library' in found and 'fastcnn: of' not in found


@pytest.mark.parametrize('n', [dict(a=14, b=3, c=14), {f'class {i:02}': 5 for i in range(12)}], ids=['rare', 'many'])
def test_tiny_collections_make_no_noise(n, tmp_path, monkeypatch):
    "Of classes with an image or two the libraries have much to say; fastcnn has one thing: what the model will not do"
    monkeypatch.setattr(sys, 'warnoptions', [])
    rng = np.random.default_rng(0)
    for label, images in n.items():
        (tmp_path/'set'/label).mkdir(parents=True)
        for i in range(images): Image.fromarray(rng.integers(0, 255, (24, 24, 3), np.uint8)).save(tmp_path/'set'/label/f'{i}.png')
    status, found, errors = run_here('train', tmp_path/'set', '--out', tmp_path/'model', '--plan', 'scratch', '--size', 24, '--epochs', 1, '--bs', 8)
    lines = told(errors)
    assert all('none of these' in line or 'not cleaned' in line or line == f'fastcnn: {found.get("error")}' for line in lines), lines
    assert 'Warning' not in errors


# What people give

ODD = ['plain.png', 'back\\slash.png', 'two\nlines.png', 'return\r.png', 'tab\t.png', 'esc\x1b[31m.png', 'right\u202eto left.png',
       'line\u2028separator.png', os.fsdecode(b'latin\xe9.png'), 'caf\u00e9.png', 'cafe\u0301.png', '-dash.png', "quote'.png", '木星.png', '🪐.png']

@pytest.fixture(scope='module')
def odd(folder, tmp_path_factory):
    root = tmp_path_factory.mktemp('odd')/'names'
    root.mkdir()
    picture = image_files(folder)[0].read_bytes()
    for name in ODD: (root/name).write_bytes(picture)
    (root/'broken\n.png').write_bytes(picture[:300])
    (root/'notes\x1b\n.txt').write_text('mine')
    return root


def test_one_line_for_each_answer_whatever_it_is_called(odd, model):
    for argv in ([odd], sorted(map(str, odd.glob('*.png')))):
        status, out, errors = shown('predict', model, *argv)
        lines = out.splitlines()
        assert status == 0 and len(lines) == len(ODD) + 2 and all(line.isprintable() for line in lines), out
        assert all(line.isprintable() for line in errors.splitlines()) and len(told(errors)) == (2 if argv == [odd] else 1)
        assert sum(line.strip().startswith(str(odd)) for line in lines) == sum(name.isprintable() for name in ODD)
        status, found, _ = run_here('predict', model, *argv)
        assert {p['file'] for p in found['predictions']} == {str(odd/name) for name in [*ODD, 'broken\n.png']}
        labels = {(p['label'], p['probability']) for p in found['predictions'] if 'error' not in p}
        assert status == 0 and len(labels) == 1


def test_a_name_that_the_terminal_cannot_write(odd, model):
    done = subprocess.run([*COMMAND, 'predict', model, odd], env=os.environ | dict(PYTHONIOENCODING='ascii'), capture_output=True, text=True)
    assert done.returncode == 0 and len(done.stdout.splitlines()) == len(ODD) + 2, done.stderr


def test_a_name_in_the_other_form(folder, model, tmp_path):
    "é is one character or two: a list has one form, the disk the other"
    forms = [unicodedata.normalize(form, 'café') for form in ('NFC', 'NFD')]
    for on_disk, asked in (forms, forms[::-1]):
        root = tmp_path/f'{len(on_disk)}'
        (root/on_disk).mkdir(parents=True)
        (root/on_disk/f'{on_disk}.png').write_bytes(image_files(folder)[0].read_bytes())
        (root/f'{on_disk}.png').write_bytes(image_files(folder)[0].read_bytes())
        status, found, _ = run_here('predict', model, root/f'{asked}.png', root/asked)
        assert status == 0 and [p['file'] for p in found['predictions']] == [str(root/f'{asked}.png'), str(root/on_disk/f'{on_disk}.png')]


def test_odd_names_of_classes_and_models(folder, model, tmp_path):
    root = tmp_path/'set'
    for name in 'two\nlines', 'plain':
        (root/name).mkdir(parents=True)
        for file in image_files(folder)[:4]: (root/name/file.name).write_bytes(file.read_bytes())
    status, out, _ = shown('info', root)
    assert status == 0 and 'two lines: 4' in out and all(line.isprintable() for line in out.splitlines())
    status, out, errors = shown('evaluate', model, root)
    assert status == 2 and all(line.isprintable() for line in errors.splitlines())
    assert [line.split(': ')[0] for line in errors.splitlines()] == ['fastcnn', 'reading 8 images', 'fastcnn'] # how it is read, a stage, the error
    copy = tmp_path/os.fsdecode(b'mod\xe9l')
    copy.mkdir()
    for file in model.iterdir(): (copy/file.name).write_bytes(file.read_bytes())
    asked = image_files(folder)[0]
    assert run_here('predict', copy, asked) == run_here('predict', model, asked)


def test_what_predict_is_given(model, folder, tmp_path):
    "Answered as the file is, or refused in one clear line"
    file = image_files(folder)[0]
    pixels, data = read_image(file), file.read_bytes()
    with Image.open(file) as image: image.load()
    answer = predict(model, file).filter(like='p_').to_numpy()[0]
    one = (file, str(file), np.str_(file), data, bytearray(data), memoryview(data), image, pixels, pixels[None], [pixels], (str(file),),
           {str(file)}, pd.Series([file], index=[7]), np.array([str(file)]), iter([file]), dict.fromkeys([file]).keys())
    for given in one: np.testing.assert_allclose(predict(model, given).filter(like='p_'), answer[None], atol=1e-6)
    for nothing in ([], (), iter(()), np.empty((0, 48, 48, 3), np.uint8)): assert len(predict(model, nothing)) == 0
    (tmp_path/'notes').mkdir()
    (tmp_path/'notes'/'a.txt').write_text('mine')
    import torch
    for given, words in (('https://example.org/a.jpg', 'is an address'), ('HTTP://x/a', 'is an address'), (tmp_path/'notes', 'a.txt'),
                         ('data:image/png;base64,AA', 'is an address'), ('s3://x/a.jpg', 'is an address'), (None, 'type NoneType is no image'),
                         (3, 'type int is no image'), (dict(a=file), 'type dict is no image'), (pd.DataFrame(dict(image=[file])), 'the column'),
                         (torch.zeros(3, 8, 8), 'a Tensor is no path'), ([[file]], 'a list is no path'), ('', 'cannot be opened'),
                         (np.zeros((3, 8, 8)), 'give (height, width, 3) of uint8'), (b'', 'holds no bytes'), ('C:\\a.jpg', 'cannot be opened')):
        with pytest.raises(InputError) as error: predict(model, given)
        assert words in str(error.value) and '\n' not in str(error.value), error.value
    refused('predict', model, 'https://example.org/a.jpg', words='save the picture as a file and give its path')
