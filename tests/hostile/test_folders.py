"A collection from a stranger, two at once, a full disk: nothing outside is touched, nothing is lost, nothing false is left"
import contextlib, json, os, shutil, signal, subprocess, sys, threading
from pathlib import Path

import pytest
from conftest import everything, holds_secret
from faults import HERE, jpeg, mounted_disk

from fastcnn.cli import main
from fastcnn.clean import clean_images
from fastcnn.core import ImageResult, InputError, Manifest, check_file, sidecar
from fastcnn.download import fetch_images
from fastcnn.exchange import add_images, forget_images, pack_images, unpack_images
from fastcnn.quarantine import restore_images, set_aside

MAKER = 'Ada Lovelace'


@pytest.fixture(autouse=True)
def in_time():
    "Nothing waits for ever: a pipe would make it"
    signal.signal(signal.SIGALRM, lambda *_: pytest.fail('it still waits'))
    signal.alarm(120)
    yield
    signal.alarm(0)


def row(file, **facts): return dict(url=f'http://a.org/{file}', label=file.split('/')[0], status='kept', file=file) | facts


def write_rows(root, *rows):
    with open(sidecar(root)/'manifest.jsonl', 'a') as log: log.writelines(json.dumps(row) + '\n' for row in rows)


@pytest.fixture
def shared(tmp_path):
    "A collection as it comes in a tar: six pictures in two classes, one of them in the quarantine"
    root = tmp_path/'box'/'planets'
    aside = sidecar(root)/'quarantine'
    for folder in (root/'earth', root/'mars', aside/'mars'): folder.mkdir(parents=True)
    files = [f'{label}/{i}.jpg' for i, label in enumerate(['earth']*3 + ['mars']*3)]
    for i, file in enumerate(files): (root/file).write_bytes(jpeg(i, (64, 48)))
    (root/files[5]).rename(aside/files[5])
    write_rows(root, *map(row, files[:4]), row(files[4], creator=MAKER), row(files[5], status='quarantined', reason='by_hand'))
    return root


@pytest.fixture
def mine(tmp_path):
    "A photograph of one's own"
    (tmp_path/'mine').mkdir()
    (tmp_path/'mine'/'venus.jpg').write_bytes(jpeg(99, (64, 48)))
    return tmp_path/'mine'/'venus.jpg'


@pytest.fixture
def verbs(shared, mine, tmp_path, server):
    "What writes, moves, deletes or carries off: name → arguments"
    search = ['search', 'planet mars', '--label', 'mars', '--out', shared, '-n', '9', '--base-url', server.url, '--provider', 'openverse']
    return dict(add=['add', mine, '--label', 'earth', '--out', shared], search=search, clean=['clean', shared],
                look=['clean', shared, '--dry-run'], restore=['restore', shared, '--all'], forget=['forget', shared, '--creator', MAKER],
                pack=['export', shared, tmp_path/'out'/'a.zip'], export=['export', shared, tmp_path/'out'/'a'])


def run(capsys, *argv):
    "Exit status and the lines on standard error; a traceback would raise"
    capsys.readouterr()
    status = main([*map(str, argv), '--json'])
    out, errors = capsys.readouterr()
    assert 'Traceback' not in errors and (not out or json.loads(out.splitlines()[-1]) is not None)
    return status, [line for line in errors.replace('\r', '\n').splitlines() if line.startswith('fastcnn: ')]


def all_fine(root):
    "No row is false: what it says is here, is here, and what it says is aside, is not here"
    manifest = Manifest(root)
    for row in manifest.present(): assert (root/row['file']).is_file(), row
    for row in manifest.rows('quarantined'): assert not (root/row['file']).exists(), row
    return manifest


# ---- links, pipes and folders where files belong

LINKS = {'ROOT/keys': '.ssh', 'ROOT/earth/x.jpg': 'private/picture.jpg', 'ROOT/earth/notes.txt': '.bashrc', 'ROOT/nowhere': 'nothing',
         'SIDE': 'work', 'SIDE/quarantine': '.ssh', 'SIDE/quarantine/keys': '.ssh', 'SIDE/quarantine/mars/x.jpg': 'private/picture.jpg',
         'SIDE/tmp': 'work', 'SIDE/tmp/tmpabcd1234': 'work', 'SIDE/mine': '.ssh'}
LINKS |= {f'SIDE/{name}': '.bashrc' for name in ('manifest.jsonl', 'forgotten.txt', 'CREDITS.md', 'manifest.lock', 'cleaned.json',
                                                'cleaner.json', 'cleaning.html')}
DANGLING = {f'SIDE/{name}': 'new' for name in ('manifest.jsonl', 'manifest.lock', 'CREDITS.md', 'tmp', 'quarantine')}


def place_of(name, root):
    beside = sidecar(root)
    return beside/name[5:] if name.startswith('SIDE') else root/name[5:]


def make_way(place, root):
    "What lies there goes"
    place.parent.mkdir(parents=True, exist_ok=True)
    if place == sidecar(root): shutil.rmtree(place)
    elif place.is_dir(): shutil.rmtree(place)
    else: place.unlink(missing_ok=True)


@pytest.mark.parametrize('name,target', [*LINKS.items(), *DANGLING.items()])
def test_a_link_is_refused_by_all_that_write(shared, verbs, outside, capsys, tmp_path, name, target):
    place = place_of(name, shared)
    make_way(place, shared)
    place.symlink_to(outside/target)
    before = everything(tmp_path/'box')
    for verb, argv in verbs.items():
        status, told = run(capsys, *argv)
        assert status == 2 and len(told) == 1 and 'is a link' in told[0], (verb, status, told)
        assert everything(tmp_path/'box') == before, verb
    assert not holds_secret(tmp_path/'box') and not (tmp_path/'out').exists()


FILES = 'manifest.jsonl', 'forgotten.txt', 'CREDITS.md', 'manifest.lock', 'cleaned.json', 'cleaner.json', 'cleaning.html'
STRANGE = [(name, kind) for name in FILES for kind in ('pipe', 'folder')] + [('quarantine', 'file'), ('tmp', 'file'), ('', 'file')]


@pytest.mark.parametrize('name,kind', STRANGE)
def test_what_is_no_file_of_ours_is_refused_and_not_waited_for(shared, verbs, capsys, name, kind):
    place = sidecar(shared)/name
    make_way(place, shared)
    dict(pipe=os.mkfifo, folder=os.mkdir, file=Path.touch)[kind](place)
    for verb, argv in verbs.items():
        status, told = run(capsys, *argv)
        assert status == 2 and len(told) == 1 and 'move it away' in told[0], (verb, status, told)
    status, told = run(capsys, 'info', shared) # reads, and may not need it
    assert status in (0, 2) and len(told) <= 4


def test_a_key_is_not_moved_into_the_quarantine(shared, outside, capsys, tmp_path):
    (shared/'keys').symlink_to(outside/'.ssh')
    write_rows(shared, row('keys/id_rsa', status='quarantined', reason='broken'))
    assert run(capsys, 'clean', shared)[0] == 2
    assert run(capsys, 'export', shared, tmp_path/'out.zip')[0] == 2
    assert not holds_secret(tmp_path/'box') and not (tmp_path/'out.zip').exists()


def test_nothing_is_restored_into_a_home(shared, outside, capsys):
    (shared/'keys').symlink_to(outside/'.ssh')
    (sidecar(shared)/'quarantine'/'keys').mkdir()
    (sidecar(shared)/'quarantine'/'keys'/'authorized_keys').write_text('ssh-ed25519 of a stranger')
    write_rows(shared, row('keys/authorized_keys', status='restored'))
    for argv in (['clean', shared], ['restore', shared, '--all'], ['forget', shared, '--creator', MAKER]):
        assert run(capsys, *argv)[0] == 2


def test_no_title_reaches_a_shell(shared, outside, mine):
    (sidecar(shared)/'manifest.jsonl').unlink()
    (sidecar(shared)/'manifest.jsonl').symlink_to(outside/'.bashrc')
    with pytest.raises(InputError, match='is a link'): add_images(mine, shared, label='earth', title='\n$(touch /tmp/owned)\n')


def test_nothing_of_others_in_the_scratch_folder_goes(shared, mine, capsys):
    tmp = sidecar(shared)/'tmp'
    for folder, file in (('tmpabcd1234', 'lock'), ('tmpabcd1235', 'my notes.txt'), ('mine', '1')):
        (tmp/folder).mkdir(parents=True)
        (tmp/folder/file).touch()
    (tmp/'.DS_Store').touch()
    assert run(capsys, 'add', mine, '--label', 'earth', '--out', shared)[0] == 0
    assert sorted(path.name for path in tmp.iterdir()) == ['.DS_Store', 'mine', 'tmpabcd1235']


def test_the_image_folder_itself_may_be_a_link(shared, mine, tmp_path, capsys):
    "Its user made it, and named it"
    (tmp_path/'link').symlink_to(shared)
    shutil.move(sidecar(shared), tmp_path/'link.fastcnn')
    assert run(capsys, 'restore', tmp_path/'link', '--all')[0] == 0 and (shared/'mars'/'5.jpg').exists()
    assert run(capsys, 'add', mine, '--label', 'earth', '--out', tmp_path/'link')[0] == 0 and len(list((shared/'earth').iterdir())) == 4


# ---- what rows say

LEADS_OUT = ['../outside/.bashrc', '/etc/passwd', 'earth/../../outside/.bashrc', '..', 'earth', 'earth/', 'earth/..', '.ssh/id_rsa',
             'earth/.bashrc', 'a/b/c.jpg', 'earth/a\0b', 'earth/\ud800.jpg', '']


@pytest.mark.parametrize('file', LEADS_OUT)
@pytest.mark.parametrize('field', ['file', 'moved_from'])
def test_no_path_in_a_row_is_believed(shared, outside, capsys, tmp_path, file, field):
    for status in ('kept', 'restored', 'quarantined', 'relabelled'):
        write_rows(shared, row(f'earth/{status}.jpg', status=status, reason='broken') | {field: file})
    for argv in (['clean', shared], ['restore', shared, '--all'], ['info', shared], ['export', shared, tmp_path/'out'/'a.zip'],
                 ['forget', shared, '--url', 'http://a.org/earth/kept.jpg']):
        assert run(capsys, *argv)[0] == 0, argv
    assert not holds_secret(tmp_path/'box') and not holds_secret(tmp_path/'out')


WRONG = [dict(file=7), dict(label=['earth']), dict(label=None), dict(url=None), dict(url=7), dict(sha256={'a': 1}), dict(phash=1.5), dict(group=['g']),
         dict(width='wide'), dict(reason=3), dict(status=None), dict(status=['kept']), dict(title={'en': 'Mars'}), dict(license=False),
         dict(moved_from=[1]), dict(creator=[]), dict(retrieved_at=10**400), dict(bytes={}), dict(attempts=True)]


@pytest.mark.parametrize('wrong', WRONG, ids=str)
def test_rows_of_wrong_types_are_told_and_ignored(shared, mine, capsys, tmp_path, wrong):
    write_rows(shared, row('earth/0.jpg', url='http://odd') | wrong, row('mars/5.jpg', url='http://odder', status='quarantined') | wrong)
    with open(sidecar(shared)/'manifest.jsonl', 'a') as log: log.write('[1]\n7\n"text"\nnull\n' + '['*9999 + '\n{"url": NaN}\n' + '9'*9999 + '\n')
    told = []
    for argv in (['info', shared], ['export', shared, tmp_path/'t.csv'], ['export', shared, tmp_path/'t.parquet'], ['export', shared, tmp_path/'t'],
                 ['add', mine, '--label', 'earth', '--out', shared], ['clean', shared], ['restore', shared, '--all'],
                 ['forget', shared, '--creator', MAKER], ['info', shared]):
        status, lines = run(capsys, *argv)
        assert status == 0, (argv, lines)
        told += [line for line in lines if 'ignored' in line]
    assert told and all('rows that fastcnn does not write' in line for line in told)
    assert len(list(shared.glob('*/*.jpg'))) == 6 # all six, without the maker's, with one's own


def test_what_a_newer_version_wrote_is_told_and_stays(shared, capsys):
    newer = [row('earth/0.jpg', url='http://new/1', status='archived', shelf=[1, {'a': None}]),
             row('earth/1.jpg', url='http://new/2', status='kept', creator=dict(name='Grace', born=1906)),
             row('earth/2.jpg', url='http://new/3', status='archived', makers=[MAKER])]
    write_rows(shared, *newer)
    status, told = run(capsys, 'info', shared)
    assert status == 0 and any('newer version (2)' in line for line in told)
    for argv in (['clean', shared], ['forget', shared, '--creator', 'Grace'], ['restore', shared, '--all']): assert run(capsys, *argv)[0] == 0
    left = (sidecar(shared)/'manifest.jsonl').read_text()
    assert 'http://new/1' in left and '"shelf"' in left and 'http://new/2' not in left and 'Grace' not in left
    run(capsys, 'forget', shared, '--creator', MAKER)
    assert 'http://new/1' in (sidecar(shared)/'manifest.jsonl').read_text()


def test_stray_files_beside_a_collection_stop_nothing(shared, verbs, capsys):
    beside = sidecar(shared)
    for name in ('.DS_Store', 'Thumbs.db', 'quarantine/.DS_Store', 'quarantine/mars/Thumbs.db', 'notes/a.txt', '.tmp-old'):
        (beside/name).parent.mkdir(exist_ok=True)
        (beside/name).write_bytes(b'\xff\xfe')
    (beside/'quarantine'/'empty').mkdir()
    (beside/'.tmp-folder').mkdir()
    (beside/'forgotten.txt').write_bytes(b'\xff\xfe no hash \n')
    (beside/'cleaned.json').write_text('{"kept": "many"}')
    (beside/'cleaner.json').write_bytes(b'\xff')
    for verb, argv in verbs.items(): assert run(capsys, *argv)[0] == 0, verb
    all_fine(shared)


def test_a_line_that_fills_the_memory_is_passed_over(shared, capsys):
    with open(sidecar(shared)/'manifest.jsonl', 'ab') as log: log.truncate(3*2**30) # a line of 3 GB of zeros, that takes no room on the disk
    with open(sidecar(shared)/'manifest.jsonl', 'ab') as log: log.write(b'\n')
    write_rows(shared, row('mars/3.jpg', title='after it'))
    code = f'import resource; resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))\nfrom fastcnn.core import Manifest\nprint(len(Manifest({str(shared)!r})))'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, env=os.environ | dict(OMP_NUM_THREADS='1'))
    assert done.stdout == '6\n', done.stderr


# ---- a list reads below its own folder

@pytest.mark.parametrize('name', ['../outside/private/picture.jpg', 'ABSOLUTE', 'linked/picture.jpg', 'link.jpg'])
@pytest.mark.parametrize('columns', ['file,label', 'path,class'])
def test_a_list_takes_no_private_picture(outside, tmp_path, capsys, name, columns):
    (tmp_path/'list').mkdir()
    (tmp_path/'list'/'own.jpg').write_bytes(jpeg(1))
    (tmp_path/'list'/'linked').symlink_to(outside/'private')
    (tmp_path/'list'/'link.jpg').symlink_to(outside/'private'/'picture.jpg')
    name = str(outside/'private'/'picture.jpg') if name == 'ABSOLUTE' else name
    (tmp_path/'list'/'l.csv').write_text(f'{columns}\nown.jpg,earth\n{name},mars\n')
    status, told = run(capsys, 'add', tmp_path/'list'/'l.csv', '--out', tmp_path/'set')
    taken = [path.read_bytes() for path in (tmp_path/'set').glob('*/*')] if (tmp_path/'set').exists() else []
    assert (outside/'private'/'picture.jpg').read_bytes() not in taken
    if status: assert status == 2 and '--anywhere' in told[-1]


def test_a_list_reads_elsewhere_if_asked(outside, tmp_path, capsys):
    (tmp_path/'l').mkdir()
    (tmp_path/'l'/'l.csv').write_text('file,label\n../outside/private/picture.jpg,mars\n')
    assert run(capsys, 'add', tmp_path/'l'/'l.csv', '--out', tmp_path/'set', '--anywhere')[0] == 0
    assert len(list((tmp_path/'set').glob('mars/*'))) == 1


# ---- what killed runs left

def test_left_over_folders_are_swept(shared, tmp_path, capsys):
    pack_images(shared, tmp_path/'in'/'a.zip')
    left = dict(packing='all.zip', unpacking='root', exporting='whole')
    for kind, inside in left.items(): (tmp_path/'in'/f'.{kind}-abc12345').mkdir(); (tmp_path/'in'/f'.{kind}-abc12345'/inside).mkdir()
    (tmp_path/'in'/'.packing-list').mkdir()
    (tmp_path/'in'/'.packing-list'/'socks.txt').touch()
    (tmp_path/'in'/'.packing-link').symlink_to(shared)
    assert run(capsys, 'export', shared, tmp_path/'in'/'b.zip')[0] == 0
    assert run(capsys, 'export', shared, tmp_path/'in'/'b')[0] == 0
    unpack_images(tmp_path/'in'/'a.zip', tmp_path/'in'/'c')
    names = ['.packing-link', '.packing-list', 'a.zip', 'b', 'b.zip', 'c', 'c.fastcnn']
    assert sorted(path.name for path in (tmp_path/'in').iterdir()) == names and len(list(shared.glob('*/*'))) == 5


STOPPED = '''
import os, sys
from fastcnn.exchange import unpack_images
replace, left, (packed, new, moves, how) = os.replace, [], sys.argv[1:]
def stop(*args, **options):
    if len(left) == int(moves):
        os.replace = replace
        if how == 'killed': os._exit(9)
        raise KeyboardInterrupt
    left.append(replace(*args, **options))
os.replace = stop
unpack_images(packed, new)
'''


@pytest.mark.parametrize('how', ['killed', 'interrupted'])
@pytest.mark.parametrize('moves', [0, 1])
def test_an_unpacking_that_stops_half_way_leaves_nothing(shared, tmp_path, moves, how):
    packed = pack_images(shared, tmp_path/'a.zip')
    done = subprocess.run([sys.executable, '-c', STOPPED, packed, tmp_path/'in'/'new', str(moves), how], stderr=subprocess.DEVNULL)
    assert done.returncode != 0 and not (tmp_path/'in'/'new').exists()
    if how == 'interrupted': assert not list((tmp_path/'in').iterdir())
    assert unpack_images(packed, tmp_path/'in'/'new').is_dir() and len(Manifest(tmp_path/'in'/'new')) == 6
    assert sorted(path.name for path in (tmp_path/'in').iterdir()) == ['new', 'new.fastcnn']


# ---- two at once

def makers(root): return {row.get('creator') for row in Manifest(root)}


def by(maker, results): return [ImageResult(result.url, label='x', creator=maker) for result in results]


def test_forgetting_holds_while_a_search_runs(server, root):
    results, heard = by(MAKER, server.results(*['good']*30)), []
    def forget(row):
        if not heard: heard.append(forget_images(root, creator=MAKER))
    fetch_images(results, root, allow_hosts=HERE, on_row=forget)
    assert heard and MAKER not in makers(root) and not list(root.glob('*/*'))
    fetch_images(results, root, allow_hosts=HERE)
    assert MAKER not in (sidecar(root)/'manifest.jsonl').read_text() + (sidecar(root)/'CREDITS.md').read_text()


@pytest.mark.parametrize('how', ['creator', 'url'])
def test_forgetting_holds_while_one_adds(shared, mine, monkeypatch, how):
    from fastcnn import exchange
    prepare, seen = exchange.prepare_image, []
    (mine.parent/'ceres.jpg').write_bytes(jpeg(98, (64, 48)))
    def forget_meanwhile(data, limits):
        if not seen: seen.append(forget_images(shared, creator='Bob') if how == 'creator' else forget_images(shared, url='http://bob'))
        return prepare(data, limits)
    (mine.parent/'l.csv').write_text('file,label,creator,landing_url\nvenus.jpg,earth,Bob,\nceres.jpg,earth,Eve,\n')
    monkeypatch.setattr(exchange, 'prepare_image', forget_meanwhile)
    taken = add_images(mine.parent/'l.csv', shared)
    if how == 'creator': assert [row['reason'] for row in taken] == ['opted_out', ''] and makers(shared) >= {'Eve'} and 'Bob' not in makers(shared)
    assert len(list(shared.glob('earth/*'))) == (4 if how == 'creator' else 5)
    all_fine(shared)


def meanwhile(monkeypatch, act):
    "Something that happens while `clean` reads the pictures, if it may; it is waited for at the end"
    from fastcnn import clean
    read, threads = clean.read_images, []
    def reading(*args, **options):
        facts = read(*args, **options)
        if not threads:
            threads.append(threading.Thread(target=act))
            threads[0].start()
            threads[0].join(1)
        return facts
    monkeypatch.setattr(clean, 'read_images', reading)
    return lambda: threads[0].join()


def test_forgetting_holds_while_one_cleans(shared, monkeypatch):
    (shared/'mars'/'copy.jpg').write_bytes((shared/'mars'/'4.jpg').read_bytes())
    write_rows(shared, row('mars/copy.jpg', creator=MAKER))
    end = meanwhile(monkeypatch, lambda: forget_images(shared, creator=MAKER))
    clean_images(shared, max_share=1)
    end()
    assert MAKER not in makers(shared) and not list(sidecar(shared).glob('quarantine/*/copy.jpg')) and not list(shared.glob('mars/[4c]*'))
    all_fine(shared)


@pytest.mark.parametrize('act', ['restore', 'set_aside', 'forget all'])
def test_no_row_is_false_after_two_at_once(shared, monkeypatch, act):
    (shared/'mars'/'copy.jpg').write_bytes((shared/'mars'/'3.jpg').read_bytes())
    acts = dict(restore=lambda: restore_images(shared), set_aside=lambda: set_aside(shared, ['mars/3.jpg', 'mars/copy.jpg']))
    end = meanwhile(monkeypatch, acts.get(act, lambda: [forget_images(shared, url=f'http://a.org/mars/{i}.jpg') for i in (3, 4)]))
    with contextlib.suppress(OSError): clean_images(shared, max_share=1)
    end()
    monkeypatch.undo()
    clean_images(shared)
    all_fine(shared)


def test_clean_heals_what_it_finds_false(shared, capsys):
    (shared/'earth'/'0.jpg').unlink()
    write_rows(shared, row('earth/never.jpg'), row('mars/never.jpg', status='restored'))
    assert run(capsys, 'clean', shared)[0] == 0
    manifest = all_fine(shared)
    assert sorted(row['file'] for row in manifest.rows('failed')) == ['earth/0.jpg', 'earth/never.jpg', 'mars/never.jpg']
    (shared/'earth'/'0.jpg').write_bytes(jpeg(0, (64, 48))) # its user has changed his mind
    assert run(capsys, 'clean', shared)[0] == 0
    assert 'earth/0.jpg' in {row['file'] for row in all_fine(shared).present()}


def test_one_picture_for_two_classes_at_once_is_a_conflict(server, root, monkeypatch):
    from fastcnn import download
    prepare, seen = download.prepare_image, []
    def meanwhile(source, limits):
        if not seen:
            seen.append(1)
            fetch_images([ImageResult(f'{server.url}/good/1?other', label='mars')], root, allow_hosts=HERE)
        return prepare(source, limits)
    monkeypatch.setattr(download, 'prepare_image', meanwhile)
    with pytest.warns(UserWarning, match='conflict'):
        fetch_images([ImageResult(f'{server.url}/good/1', label='earth')], root, allow_hosts=HERE)
    assert len(list(root.glob('*/*'))) == 1
    assert {row['status'] for row in all_fine(root)} == {'kept', 'duplicate'}


def test_a_search_goes_on_while_somebody_holds_the_collection(server, root):
    with Manifest(root).lock() if hasattr(Manifest, 'lock') else Manifest(root)._lock():
        done = threading.Thread(target=fetch_images, args=(server.results(*['good']*8), root), kwargs=dict(allow_hosts=HERE))
        done.start()
        done.join(2) # it waits to begin, or for its rows
        assert not list(root.glob('*/*'))
    done.join()
    assert len(list(root.glob('*/*'))) == 8


# ---- a full disk

@pytest.fixture
def small_disk(tmp_path):
    with mounted_disk(tmp_path/'disk', '2m') as disk: yield disk


@contextlib.contextmanager
def full(disk):
    "Not a byte is free"
    with open(disk/'filler', 'wb', buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)): pass
    yield
    (disk/'filler').unlink()


def test_a_full_disk_takes_nothing(shared, mine, small_disk, capsys, monkeypatch):
    root = small_disk/'planets'
    for old, new in ((shared, root), (sidecar(shared), sidecar(root))): shutil.copytree(old, new)
    (root/'earth'/'copy.jpg').write_bytes((root/'earth'/'0.jpg').read_bytes())
    packed, log = pack_images(shared, shared.parent/'a.zip'), sidecar(root)/'manifest.jsonl'
    last = json.dumps(row('mars/3.jpg', title=''))
    write_rows(root, row('mars/3.jpg', title='x'*(-(log.stat().st_size + len(last) + 1) % 4096))) # its last page is full
    before = everything(small_disk)
    with full(small_disk):
        for argv in (['add', mine, '--label', 'earth', '--out', root], ['clean', root], ['restore', root, '--all'], ['export', root, small_disk/'b.zip'],
                     ['export', root, small_disk/'b.csv'], ['export', root, small_disk/'b'], ['forget', root, '--creator', MAKER]):
            status, told = run(capsys, *argv)
            assert status == 1 and sum('No space left' in line for line in told) == 1, (argv, told)
            assert any(str(small_disk) in line for line in told), (argv, told) # which disk it is
        with pytest.raises(OSError, match=f'No space left.*{small_disk}'): unpack_images(packed, small_disk/'new')
        kept = {name: what for name, what in everything(small_disk).items() if name in before}
        assert kept == before and not (small_disk/'new').exists() and not (small_disk/'new.fastcnn').exists()
        assert not [path for path in small_disk.glob('.*') if any(path.iterdir())]
    for argv in (['restore', root, '--all'], ['clean', root], ['add', mine, '--label', 'earth', '--out', root], ['forget', root, '--creator', MAKER]):
        assert run(capsys, *argv)[0] == 0
    all_fine(root)


def test_what_comes_and_goes_is_no_odd_file(tmp_path):
    "Another run may make and remove its lock between two looks at it"
    stop = threading.Event()
    def flicker():
        while not stop.is_set():
            (tmp_path/'lock').touch()
            (tmp_path/'lock').unlink()
    other = threading.Thread(target=flicker)
    other.start()
    try:
        for _ in range(20_000): check_file(tmp_path/'lock')
    finally:
        stop.set()
        other.join()
