"Every verb on collections killed at random moments, two at once, and files from strangers mutated: `make verify`"
import contextlib, hashlib, io, json, multiprocessing, os, random, shutil, signal, subprocess, sys, time, warnings
from pathlib import Path

import pytest
from conftest import everything
from faults import HERE, FaultServer, jpeg

from fastcnn.clean import clean_images
from fastcnn.cli import main
from fastcnn.core import ImageResult, InputError, Manifest, sidecar
from fastcnn.download import fetch_images
from fastcnn.exchange import add_images, export_imagefolder, forget_images, pack_images, unpack_images
from fastcnn.images import files_on_disk
from fastcnn.quarantine import relabel_images, restore_images, set_aside

pytestmark = pytest.mark.verify
FORK = multiprocessing.get_context('fork') # a process that has imported everything


# ---- what is done over and over, until it is killed; `box` holds planets, mine, packed.zip

def search(box, url, maker='Eve'):
    start = random.Random(os.getpid()).randrange(10**6)
    for n in range(start, 10**9, 8):
        found = [ImageResult(f'{url}/good/{n + i}', label='jupiter', creator=maker) for i in range(8)]
        fetch_images(found, box/'planets', allow_hosts=HERE)


def search_for(label):
    def over_and_over(box, url): # always the same pictures, asked for in one order and the other
        for n in range(0, 10**9, 4):
            found = [ImageResult(f'{url}/good/{n + i}?{label}', label=label) for i in range(4)]
            fetch_images(found, box/'planets', allow_hosts=HERE)
    return over_and_over


def add(box, url):
    for n in range(10**9):
        (box/'mine'/'own.jpg').write_bytes(jpeg(10**6 + n))
        add_images(box/'mine', box/'planets', label='saturn', creator='Me')


def clean(box, url):
    while True:
        clean_images(box/'planets', max_share=1)
        restore_images(box/'planets')


def restore(box, url):
    while True:
        set_aside(box/'planets', files_on_disk(box/'planets')[::2])
        restore_images(box/'planets')


def relabel(box, url):
    while True:
        moved = relabel_images(box/'planets', {name: 'other' for name in files_on_disk(box/'planets')[::3]})
        relabel_images(box/'planets', {new: old for old, new in moved.items()})


def export(box, url):
    while True:
        pack_images(box/'planets', box/'out'/'a.zip')
        export_imagefolder(box/'planets', box/'out'/'a')
        shutil.rmtree(box/'out'/'a')


def unpack(box, url):
    for n in range(10**9): unpack_images(box/'packed.zip', box/'out'/f'{n} {os.getpid()}')


def forget(box, url):
    for n in range(30):
        forget_images(box/'planets', creator=f'Maker {n}')
        time.sleep(.01)


def forget_eve(box, url):
    while True: forget_images(box/'planets', creator='Eve')


def lenient(verb):
    "What meets another process half way may be refused, in one line: then it is asked again"
    def over_and_over(box, url):
        while True:
            with contextlib.suppress(InputError, FileNotFoundError): verb(box, url)
    return over_and_over


# ---- the collection, and how it must look afterwards

@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    "Forty pictures of thirty makers in two classes, some of them copies, six in the quarantine"
    box = tmp_path_factory.mktemp('whole')/'box'
    (box/'mine').mkdir(parents=True)
    for n in range(40):
        (box/'mine'/'own.jpg').write_bytes(jpeg(n, (64, 48)))
        add_images(box/'mine', box/'planets', label='earth' if n % 2 else 'mars', creator=f'Maker {n}', title=f'{n}')
    for file in files_on_disk(box/'planets')[:5]: shutil.copy(box/'planets'/file, box/'planets'/f'{file[:-4]} again.jpg')
    set_aside(box/'planets', files_on_disk(box/'planets')[10:16])
    pack_images(box/'planets', box/'packed.zip')
    return box


def pictures(box):
    "The hashes of all pictures in the collection, wherever they lie"
    found = [*(box/'planets').glob('*/*'), *sidecar(box/'planets').glob('quarantine/*/*')]
    return {hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def check_true(box, before, gone=()):
    "Nothing is lost, no row is false, nothing half is left, and what was forgotten is nowhere"
    root = box/'planets'
    manifest, beside = Manifest(root), sidecar(root)
    rows, here = list(manifest), set(files_on_disk(root))
    lost = before - pictures(box) - gone
    assert not lost, f'{len(lost)} pictures are lost'
    for row in rows:
        if row['status'] in ('kept', 'restored', 'relabelled'): assert row['file'] in here, row
        if row['status'] == 'quarantined': assert row['file'] not in here and (beside/'quarantine'/row['file']).exists(), row
        assert not row.get('moved_from')
    assert not [path for path in beside.glob('tmp/*') if any(path.iterdir())]
    left = [path for path in (box/'out').glob('.*') if any(path.iterdir())] if (box/'out').exists() else []
    assert not left


def start(verb, box, url):
    def quietly():
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        with warnings.catch_warnings(): warnings.simplefilter('ignore'); verb(box, url)
    process = FORK.Process(target=quietly, daemon=True)
    process.start()
    return process


def stop(process, sign):
    for _ in range(10): # the first may come where Python cannot raise, as in a finaliser: then one presses again
        with contextlib.suppress(ProcessLookupError): os.kill(process.pid, sign)
        process.join(3)
        if not process.is_alive(): return
    process.kill()
    pytest.fail('it does not hear Ctrl-C')


NEXT = dict(search=lambda box: fetch_images([], box/'planets'), clean=lambda box: clean_images(box/'planets', max_share=1),
            add=lambda box: add_images(box/'mine', box/'planets', label='saturn'), restore=lambda box: restore_images(box/'planets'),
            relabel=lambda box: relabel_images(box/'planets', {}), forget=lambda box: forget_images(box/'planets'))


def export_again(box):
    pack_images(box/'planets', box/'out'/'a.zip')
    shutil.rmtree(box/'out'/'a', ignore_errors=True)
    export_imagefolder(box/'planets', box/'out'/'a')


def unpack_again(box):
    unpack_images(box/'packed.zip', box/'out'/'new')
    for folder in [path for path in (box/'out').iterdir() if path.suffix != '.fastcnn' and path.name[0] != '.']:
        assert len(files_on_disk(folder)) == len(files_on_disk(box/'planets')) and sidecar(folder).is_dir()
    shutil.rmtree(box/'out')


NEXT |= dict(export=export_again, unpack=unpack_again)


@pytest.fixture
def box(whole, tmp_path): return shutil.copytree(whole, tmp_path/'box')


@pytest.mark.parametrize('verb', [search, add, clean, restore, relabel, export, unpack, forget], ids=lambda verb: verb.__name__)
@pytest.mark.parametrize('sign', [signal.SIGKILL, signal.SIGINT], ids=['killed', 'interrupted'])
def test_killed_at_twenty_random_moments(box, server, verb, sign):
    rng, before = random.Random(verb.__name__), pictures(box)
    files = {row['creator']: row['sha256'] for row in Manifest(box/'planets') if row.get('creator')}
    for _ in range(20):
        process = start(verb, box, server.url)
        time.sleep(rng.uniform(0.02, .4))
        stop(process, sign)
        warnings.simplefilter('ignore')
        NEXT[verb.__name__](box)
        forgotten = set(files) - {row.get('creator') for row in Manifest(box/'planets')} if verb is forget else ()
        check_true(box, before, {files[maker] for maker in forgotten})
        assert not {files[maker] for maker in forgotten} & pictures(box)
    if verb is unpack: return
    log = Manifest(box/'planets').path.read_bytes()
    NEXT[verb.__name__](box)
    assert Manifest(box/'planets').path.read_bytes() == log, 'a second run finds nothing to mend'


PAIRS = dict(search_forget=(search, forget_eve), add_clean=(add, lenient(clean)), clean_forget=(lenient(clean), forget),
             search_search=(search_for('io'), search_for('europa')), clean_restore=(lenient(clean), lenient(restore)),
             relabel_forget=(lenient(relabel), forget), export_clean=(lenient(export), lenient(clean)), search_clean=(search, lenient(clean)))


@pytest.mark.parametrize('pair', PAIRS)
@pytest.mark.parametrize('seed', range(5))
def test_two_at_once(box, server, pair, seed):
    rng, before = random.Random(seed), pictures(box)
    files = {row['creator']: row['sha256'] for row in Manifest(box/'planets') if row.get('creator')}
    both = [start(verb, box, server.url) for verb in PAIRS[pair]]
    time.sleep(rng.uniform(.3, 1.5))
    ended = [process.exitcode for process in both]
    for process in both: stop(process, rng.choice([signal.SIGKILL, signal.SIGINT]))
    assert set(ended) <= {None, 0}, 'one could not work beside the other'
    warnings.simplefilter('ignore')
    forget_images(box/'planets') # finishes what was begun
    clean_images(box/'planets', max_share=1)
    fetch_images([], box/'planets')
    shutil.rmtree(box/'out', ignore_errors=True)
    makers = {row.get('creator') for row in Manifest(box/'planets')}
    gone = {files[maker] for maker in set(files) - makers} if 'forget' in pair else set()
    check_true(box, before, gone)
    assert not gone & pictures(box)
    if pair == 'search_forget': assert 'Eve' not in makers and not list((box/'planets').glob('jupiter/*'))
    present = [row['sha256'] for row in Manifest(box/'planets').present() if row.get('sha256')]
    if pair == 'search_search': assert len(present) == len(set(present)), 'one picture lies in two classes'


# ---- files from strangers

ODD = [None, True, False, 0, -1, 7, 2**63, 10**300, 1e308, float('nan'), float('inf'), '', ' ', '\0', '..', '/', '/etc/passwd', '../../outside/.bashrc',
       'earth/../../outside/.ssh/id_rsa', '.ssh/id_rsa', 'C:\\x\\y', 'a\\..\\b', 'earth/0.jpg', 'mars/5.jpg', 'keys/id_rsa', 'earth', 'earth/',
       'kept', 'quarantined', 'restored', 'relabelled', 'failed', 'duplicate', 'gone', 'archived', 'http_99999999999', 'http_x', '\ud800', '\u202e\x1b[2J',
       'x'*100_000, [], ['earth'], {}, {'a': {'b': [1]}}, [[[[]]]], 'javascript:alert(1)', '=cmd()', 'http://[', '\n# row']
FIELDS = ('url', 'label', 'status', 'reason', 'file', 'moved_from', 'sha256', 'source_sha256', 'sha1', 'phash', 'group', 'picture', 'width', 'height', 'bytes',
          'attempts', 'seconds', 'title', 'creator', 'license', 'license_url', 'landing_url', 'provider', 'query', 'retrieved_at', 'new')


def mutated_bytes(rng, data):
    "A byte flipped, a piece cut out, doubled, moved, or a number made long"
    data, at = bytearray(data), rng.randrange(len(data) or 1)
    end = min(len(data), at + rng.randrange(1, 20))
    match rng.randrange(6):
        case 0: data[at:at + 1] = bytes([rng.randrange(256)])
        case 1: del data[at:end]
        case 2: data[at:at] = data[at:end]*rng.choice([1, 3, 5000])
        case 3: data = data[end:] + data[:end]
        case 4: data[at:at] = rng.choice([b'[', b'{"a":', b'9', b'-', b'"', b'\xff', b'\0', b'\n'])*rng.choice([1, 400, 99_999])
        case 5: del data[at:]
    return bytes(data)


def mutated_row(rng, row):
    "A line of a manifest with some fields that hold something else"
    row = dict(row)
    for field in rng.sample(FIELDS, rng.choice([1, 1, 2, 4])): row[field] = rng.choice(ODD)
    if rng.random() < .2: row.pop(rng.choice(list(row)))
    line = json.dumps(row, ensure_ascii=rng.random() < .5).encode(errors='surrogatepass')
    return (mutated_bytes(rng, line) if rng.random() < .3 else line) + b'\n'


def small_collection(folder):
    "Six pictures, one of them in the quarantine; and what lies outside"
    shutil.rmtree(folder, ignore_errors=True)
    root, files = folder/'box'/'planets', [f'{label}/{i}.jpg' for i, label in enumerate(['earth']*3 + ['mars']*3)]
    for place in (root/'earth', root/'mars', sidecar(root)/'quarantine'/'mars', folder/'outside'/'.ssh'): place.mkdir(parents=True)
    for i, file in enumerate(files): (root/file).write_bytes(jpeg(i, (32, 24)))
    (root/files[5]).rename(sidecar(root)/'quarantine'/files[5])
    (folder/'outside'/'.ssh'/'id_rsa').write_text('a secret')
    (folder/'outside'/'.bashrc').write_text('export EDITOR=vi\n')
    (folder/'own.jpg').write_bytes(jpeg(99, (32, 24)))
    rows = [dict(url=f'http://a.org/{file}', label=file.split('/')[0], status='kept', file=file, title='T', creator='C', license='by 4.0',
                 sha256=hashlib.sha256(file.encode()).hexdigest(), width=32, height=24, attempts=1, seconds=.5) for file in files]
    rows[5] |= dict(status='quarantined', reason='by_hand')
    return root, rows


def all_verbs(root, folder, which=slice(None)):
    "Each verb once: status 0 or 2, nothing else; nothing outside is changed, no picture is lost"
    outside, before = everything(folder/'outside'), pictures(folder/'box')
    shutil.rmtree(folder/'out', ignore_errors=True)
    for argv in (['info', root], ['clean', root], ['export', root, folder/'out'/'t.csv'], ['export', root, folder/'out'/'t.parquet'],
                 ['restore', root, '--all'], ['add', folder/'own.jpg', '--label', 'earth', '--out', root], ['export', root, folder/'out'/'a.zip'],
                 ['export', root, folder/'out'/'a'], ['forget', root, '--url', 'http://nobody.org/'], ['clean', root, '--dry-run'])[which]:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()): status = main([*map(str, argv), '--json'])
        assert status in (0, 2), argv
    assert everything(folder/'outside') == outside and before <= pictures(folder/'box')
    assert not any(b'a secret' in path.read_bytes() for place in ('box', 'out') for path in (folder/place).rglob('*') if path.is_file())


def fuzz_manifest(seed, folder):
    "Twenty mutated rows among whole ones"
    rng = random.Random(seed)
    root, rows = small_collection(folder)
    lines = [json.dumps(row).encode() + b'\n' for row in rows] + [mutated_row(rng, rng.choice(rows)) for _ in range(20)]
    (sidecar(root)/'manifest.jsonl').write_bytes(b''.join(lines))
    all_verbs(root, folder)


def fuzz_beside(seed, folder):
    "The other files beside a collection, each mutated"
    from fastcnn.cleaner import Review
    rng = random.Random(seed)
    root, rows = small_collection(folder)
    (sidecar(root)/'manifest.jsonl').write_text(''.join(json.dumps(row) + '\n' for row in rows))
    marks = dict(to={'earth/1.jpg': 'mars', 'earth/2.jpg': ''}, done=[{'earth/1.jpg': [None, 'mars']}], undone=[], applied=[
        dict(to={'mars/3.jpg': 'earth'}, moved={'mars/3.jpg': 'earth/3.jpg'}, back={})])
    whole = {'forgotten.txt': b'0123456789abcdef01234567\n'*3, 'cleaned.json': b'{"kept": 5}', 'cleaner.json': json.dumps(marks).encode(),
             'CREDITS.md': b'# Credits\n', 'cleaning.html': b'<html>'}
    for name, data in whole.items():
        for _ in range(2): data = mutated_bytes(rng, data)
        (sidecar(root)/name).write_bytes(data)
    review = Review(root)
    review.view(), review.marks.undo(), review.marks.redo()
    with contextlib.suppress(InputError): review.apply(), review.undo_apply()
    all_verbs(root, folder, slice(seed % 4, None, 4))


def fuzz_list(seed, folder):
    "Twenty lists of one's own pictures, mutated"
    rng = random.Random(seed)
    root, _ = small_collection(folder)
    outside = everything(folder/'outside')
    for _ in range(20):
        rows = ['file,label,creator,license', 'own.jpg,earth,Ada,by 4.0', 'own.jpg,mars,"B, C",'] + [
            f'{rng.choice([*map(str, ODD[12:28]), "own.jpg"])},{rng.choice(["earth", "../x", ".", "", "a/b", "x"*300])},,' for _ in range(rng.randrange(2))]
        data = '\n'.join(rows).encode(errors='replace')
        for _ in range(rng.randrange(3)): data = mutated_bytes(rng, data)
        (folder/'l.csv').write_bytes(data)
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            assert main(['add', str(folder/'l.csv'), '--out', str(root), '--json']) in (0, 2), data[:300]
    assert everything(folder/'outside') == outside


CHILD = '''
import resource, sys, traceback
sys.path[:0] = sys.argv[4:]
import verify_folders
from pathlib import Path
resource.setrlimit(resource.RLIMIT_AS, (6*2**30, 6*2**30))
first, last = map(int, sys.argv[2:4])
for seed in range(first, last):
    try: getattr(verify_folders, sys.argv[1])(seed, Path('fuzzed').resolve())
    except BaseException: print(f'seed {seed}'); traceback.print_exc(); sys.exit(1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
'''


@pytest.mark.parametrize('name,seeds', [('fuzz_manifest', 100), ('fuzz_beside', 200), ('fuzz_list', 100)]) # 20, 10 and 20 mutations each
def test_mutations(name, seeds, tmp_path, record_property):
    here = Path(__file__).parent
    command = [sys.executable, '-W', 'ignore', '-c', CHILD, name]
    for first in range(0, seeds, 50):
        done = subprocess.run([*command, str(first), str(first + 50), str(here), str(here.parent), str(here.parents[1]/'tools')], cwd=tmp_path,
                              capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, f'{done.stdout[-300:]} {done.stderr[-3000:]}'
        assert int(done.stdout.split()[-1]) < 2*2**20, 'more than 2 GB' # kilobytes
