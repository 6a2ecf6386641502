"The command as a user meets it: what goes wrong, with which exit status, and that nothing is lost."
import contextlib, csv, io, json, os, signal, subprocess, sys, time, warnings, zipfile

import pytest
from PIL import Image

from fastcnn.cli import command_parser, main
from fastcnn.core import InputError, Manifest, sidecar
from fastcnn.images import image_files, read_image
from fastcnn.planet_server import PlanetServer
from fastcnn.planets import planet_collection

COMMAND = [sys.executable, '-m', 'fastcnn']


def run(*argv):
    "(exit status, JSON, standard error) of the command, started anew"
    done = subprocess.run([*COMMAND, *map(str, argv), '--json'], capture_output=True, text=True, timeout=300)
    assert 'Traceback' not in done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout.splitlines()[-1]), done.stderr


def run_here(*argv):
    "The same in this process, which has torch and fastai already: for what need not start anew"
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors), warnings.catch_warnings():
        status = main([*map(str, argv), '--json'])
    return status, json.loads(out.getvalue().splitlines()[-1]), errors.getvalue()


def refused(*argv, words):
    "The command refuses with status 2 and one line that says why"
    status, found, errors = run_here(*argv)
    assert (status, list(found)) == (2, ['error']) and words in found['error'], (status, found)
    assert [line for line in errors.splitlines() if line.startswith('fastcnn: ')] == [f'fastcnn: {found["error"]}']


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
    (['train', 'FOLDER', '--out', 'OUT', '--stage', 'gelu'], 'unknown stage'),
    (['train', 'FOLDER', '--out', 'OUT', '--epochs', '0'], 'at least 1'),
    (['train', 'FOLDER', '--out', 'OUT', '--lr', 'fast'], 'neither a number nor auto'),
    (['train', 'FOLDER', '--out', 'FOLDER'], 'is no exported model'),
    (['predict', 'FOLDER', 'x.jpg'], 'is no exported model'),
    (['evaluate', 'OUT', 'FOLDER'], 'is no exported model'),
    (['publish', 'FOLDER', '--out', 'OUT'], 'is no exported model'),
    (['train', 'FOLDER', '--out', 'OUT', '--arch', 'resnet18', '--pretrained'], 'resnet18'),
    (['clean', 'OUT'], 'there is no folder'),
    (['restore', 'FOLDER'], '--all'),
    (['dance'], 'invalid choice'),
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
    try: status, found, errors = run_here('train', folder, '--out', tmp_path/'model', '--size', 32, '--epochs', 1, '--bs', 8)
    finally: broken.unlink()
    assert status == 0 and 'earth/half.jpg' in errors and found['images'] == 48
    status, judged, _ = run_here('evaluate', tmp_path/'model', folder)
    assert status == 0 and judged['images'] == 48
    again = run('train', folder, '--out', tmp_path/'model', '--size', 32, '--epochs', 1, '--bs', 8)
    assert again[0] == 0 and again[1]['accuracy'] == found['accuracy'] # the same seed, the same model, in place of the first
    refused('predict', tmp_path/'model', tmp_path/'model'/'README.md', words='cannot be read as an image')


@pytest.fixture(scope='module')
def model(folder, tmp_path_factory):
    path = tmp_path_factory.mktemp('trained')/'model'
    assert run_here('train', folder, '--out', path, '--size', 32, '--epochs', 1, '--bs', 8)[0] == 0
    return path


def test_a_folder_is_predicted(model, folder, tmp_path):
    status, found, errors = run_here('predict', model, folder)
    files = [str(f) for f in image_files(folder)]
    assert status == 0 and [p['file'] for p in found['predictions']] == files and all(set(p) == {'file', 'label', 'probability'} for p in found['predictions'])
    (tmp_path/'empty').mkdir()
    refused('predict', model, tmp_path/'empty', words='holds no images')


@pytest.mark.parametrize('name', ['answers.csv', 'answers.jsonl'])
def test_a_table_of_predictions_holds_every_image(name, model, folder, tmp_path):
    "Odd names come back byte for byte; a broken image has its row, empty but for the reason"
    mine, table = tmp_path/'mine', tmp_path/'new'/name
    mine.mkdir()
    odd = ['a, "b".jpg', 'line\nend.jpg', '木星.jpg', os.fsdecode(b'latin\xe9.jpg')]
    for file, odd_name in zip(image_files(folder), odd): (mine/odd_name).write_bytes(file.read_bytes())
    (mine/'half.jpg').write_bytes(image_files(folder)[0].read_bytes()[:600])
    status, found, errors = run('predict', model, mine, '--out', table)
    assert status == 0 and (found['written'], found['images'], found['unreadable']) == (str(table), 5, 1) and 'half.jpg' in errors
    assert sum(found['labels'].values()) + found['none_of_these'] == 4 and [f.name for f in table.parent.iterdir()] == [name]
    with open(table, encoding='utf-8', errors='surrogateescape', newline='') as file:
        rows = list(csv.DictReader(file)) if name.endswith('csv') else [json.loads(line) for line in file]
    assert {r['file'] for r in rows} == {str(mine/n) for n in [*odd, 'half.jpg']} and len(rows[0]) == 9
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
    training = '--size', 32, '--epochs', 1, '--bs', 8, '--report', tmp_path/'report.html'
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
    disk = tmp_path/'disk'
    disk.mkdir()
    if subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=300k', 'tmpfs', str(disk)], capture_output=True).returncode:
        pytest.skip('a small disk needs the right to mount a tmpfs')
    try:
        status, found, errors = run(*search(server, disk/'planets'))
        assert status == 1 and 'No space left' in found['error'], found
        assert not list((disk/'planets').rglob('.tmp*'))
        subprocess.run(['mount', '-o', 'remount,size=64m', str(disk)], check=True)
        status, found, errors = run(*search(server, disk/'planets'))
        assert status == 0 and len(list((disk/'planets').glob('earth/*'))) == 40, (found, errors)
        for file in (disk/'planets').glob('earth/*'): read_image(file)
    finally: subprocess.run(['umount', str(disk)], check=True)


def test_a_refusal_is_the_same_in_a_process_of_its_own(tmp_path):
    for argv in (['dance'], ['clean', tmp_path/'out'], ['train', tmp_path, '--out', tmp_path/'model', '--lr', 'fast']):
        assert run(*argv) == run_here(*argv)


def test_help_knows_every_argument(capsys):
    "Each parameter of a verb has a comment, which is its help; what must be given is asked for"
    for verb in 'demo search add clean restore info export cache forget train evaluate predict publish'.split():
        with pytest.raises(SystemExit) as stop: command_parser().parse_args([verb, '--help'])
        assert stop.value.code == 0
        lines = capsys.readouterr().out.split('options:')
        assert '--json' in lines[1] and '**' not in lines[0]
    for argv, words in (['search', 'x', '--out', 'y'], '--label'), (['train', 'x'], '--out'), (['predict', 'm'], 'FILE'):
        with pytest.raises(InputError, match=words): command_parser().parse_args(argv)


def test_a_closed_pipe_ends_quietly(folder):
    "As with `fastcnn info … | head -0`"
    running = subprocess.Popen([*COMMAND, 'info', str(folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    running.stdout.close()
    assert running.stderr.read() == '' and running.wait(timeout=60) == 0


def test_no_number_that_json_does_not_know(monkeypatch, capsys):
    "NaN and infinity become null"
    monkeypatch.setattr('fastcnn.cli.collection_facts', lambda root: dict(classes=dict(a=float('nan')), bytes=[float('inf'), 1.5]))
    assert main(['info', 'x', '--json']) == 0
    assert json.loads(capsys.readouterr().out, parse_constant=pytest.fail) == dict(classes=dict(a=None), bytes=[None, 1.5])


def test_json_is_all_there_is_on_standard_output(folder):
    done = subprocess.run([*COMMAND, 'info', str(folder), '--json'], capture_output=True, text=True)
    assert set(json.loads(done.stdout)) == {'classes', 'licenses', 'bytes', 'problems', 'left_out'}
    assert 'classes' in subprocess.run([*COMMAND, 'info', str(folder)], capture_output=True, text=True).stdout


def test_manifest_of_a_search_names_maker_and_licence(tmp_path, server):
    assert run(*search(server, tmp_path/'planets', n=5))[0] == 0
    rows = Manifest(tmp_path/'planets').present()
    assert len(rows) == 5 and all(r['provider'] == 'openverse' and r['license'] and r['landing_url'] for r in rows)
    assert (sidecar(tmp_path/'planets')/'CREDITS.md').read_text().count('earth/') == 5
