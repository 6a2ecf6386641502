"Downloads from a server that misbehaves as the web does: faults, kills, full disks, random mixes"
import errno, os, signal, socket, subprocess, sys, tempfile, time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings, strategies
from PIL import Image

from fastcnn.core import ImageResult, InputError, Manifest, image_files, sidecar
from fastcnn.download import fetch_images
from faults import ENDINGS, FAST, HERE, check_whole, jpeg


def test_every_fault_ends_in_one_state(server, root):
    start = time.monotonic()
    results = server.results(*ENDINGS)
    manifest = fetch_images(results, root, allow_hosts=HERE, max_bytes=2 * 2**20, **FAST)
    assert {fault: manifest.get(result.url, 'x').get('reason') for fault, result in zip(ENDINGS, results)} == ENDINGS
    check_whole(root)
    row = manifest.get(results[0].url, 'x')
    assert {'source_sha256', 'sha256', 'width', 'height', 'bytes', 'seconds', 'attempts', 'retrieved_at', 'file'} <= set(row)
    assert manifest.get(f'{server.url}/limited/3', 'x')['attempts'] == 2
    assert 'CREDITS.md' in os.listdir(manifest.folder)
    assert time.monotonic() - start < 20


def test_drip_ends_within_its_deadline(server, root):
    row = fetch_images(server.results('drip'), root, allow_hosts=HERE, deadline=1.5).rows()[0]
    assert row['reason'] == 'timeout' and row['seconds'] < 2.5


def test_query_strings_are_kept(server, root):
    path = '/query/1?id=a%2Fb%3D%3D&w=9&size=1%2C2%7E'
    assert fetch_images([ImageResult(server.url + path, label='x')], root, allow_hosts=HERE).counts() == {'kept': 1}
    assert list(server.asked) == [path] # to the letter: an address may be signed


def test_private_addresses_are_refused(server, root):
    port = server.server_port
    urls = [f'http://{host}:{port}/good/1' for host in ('127.0.0.1', 'localhost', '[::1]', '2130706433', '0.0.0.0', '[::ffff:127.0.0.1]')]
    manifest = fetch_images([ImageResult(url, label='x') for url in urls], root, **FAST)
    assert manifest.counts() == {'failed:refused_address': len(urls)} and not server.asked


def test_a_name_that_resolves_to_a_private_address_is_refused(server, root):
    name = socket.gethostname()
    try: addresses = {info[4][0] for info in socket.getaddrinfo(name, 80)}
    except socket.gaierror: pytest.skip('this machine does not know its own name')
    if not all(address.startswith(('127.', '10.', '172.', '192.168.', '169.254.')) for address in addresses): pytest.skip('its name is public')
    assert fetch_images([ImageResult(f'http://{name}:{server.server_port}/good/1', label='x')], root, **FAST).counts() == {'failed:refused_address': 1}


def test_at_most_four_connections_a_host(server, root):
    server.latency, most = 0.05, []
    original = server.process_request_thread
    running = set()
    def counted(request, address):
        running.add(address)
        most.append(len(running))
        try: original(request, address)
        finally: running.discard(address)
    server.process_request_thread = counted
    fetch_images(server.results(*['good'] * 30), root, allow_hosts=HERE)
    assert max(most) <= 4


def test_duplicates_on_arrival(server, root):
    results = [ImageResult(f'{server.url}/good/7?copy={i}', label='x') for i in range(4)]
    counts = fetch_images(results, root, allow_hosts=HERE).counts()
    assert counts == {'kept': 1, 'duplicate': 3} and len(image_files(root)) == 1


def test_by_hand_added_and_deleted(server, root):
    (root / 'x').mkdir(parents=True)
    (root / 'x' / 'mine.jpg').write_bytes(jpeg(0))
    results = server.results('good', 'good', 'good')
    manifest = fetch_images(results, root, allow_hosts=HERE)
    assert manifest.counts() == {'duplicate': 1, 'kept': 2}
    (root / manifest.rows('kept')[0]['file']).unlink()
    assert fetch_images(results, root, allow_hosts=HERE).counts() == {'duplicate': 1, 'kept': 2}
    assert len(image_files(root)) == 3


def test_second_run_requests_only_what_may_have_healed(server, root):
    faults = ['good', 'missing', 'truncated', 'down', 'hang', 'tiny']
    fetch_images(server.results(*faults), root, allow_hosts=HERE, **FAST)
    before = dict(server.asked)
    fetch_images(server.results(*faults), root, allow_hosts=HERE, **FAST)
    again = {path.split('/')[1] for path in server.asked if server.asked[path] > before[path]}
    assert again == {'down', 'hang'}


def test_bad_arguments(server, root, tmp_path):
    for label in ('', '../x', 'a/b'):
        with pytest.raises(InputError): fetch_images(server.results('good', label=label), root, allow_hosts=HERE)
    (tmp_path / 'file').write_text('x')
    with pytest.raises(InputError, match='is a file'): fetch_images([], tmp_path / 'file')
    assert not list(root.glob('*/*'))


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(faults=strategies.lists(strategies.sampled_from(sorted(set(ENDINGS) - {'hang', 'drip', 'limited', 'limited_date', 'bomb', 'huge'})), max_size=12),
       copies=strategies.integers(0, 3), enough=strategies.none() | strategies.integers(0, 6))
def test_requested_is_kept_plus_failed_plus_duplicate(server, faults, copies, enough):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / 'planets'
        results = server.results(*faults) + [ImageResult(f'{server.url}/good/0?copy={i}', label='x') for i in range(copies)]
        rows = []
        manifest = fetch_images(results * 2, root, allow_hosts=HERE, enough=enough, on_row=rows.append, **FAST)
        check_whole(root)
        kept, failed, duplicate = (len(manifest.rows(status)) for status in ('kept', 'failed', 'duplicate'))
        assert kept + failed + duplicate == len(manifest) == len(rows)
        assert (len(manifest) == len({result.url for result in results})) if enough is None else kept <= enough


PROGRAM = '''
import json, sys
from fastcnn.core import ImageResult
from fastcnn.download import fetch_images
url, root, n, threads = sys.argv[1], sys.argv[2], int(sys.argv[3]), 4
fetch_images([ImageResult(f'{url}/good/{i}', label='x') for i in range(n)], root, allow_hosts=['127.0.0.1'])
'''


def run_program(server, root, n, **options):
    return subprocess.Popen([sys.executable, '-c', PROGRAM, server.url, str(root), str(n)], stderr=subprocess.PIPE, text=True, **options)


def wait_for_files(root, n):
    deadline = time.monotonic() + 20
    while len(list(root.glob('x/*.jpg'))) < n:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize('how', [signal.SIGINT, signal.SIGKILL])
def test_interrupted_run_is_finished_by_the_next(server, root, how):
    server.latency = 0.1
    process = run_program(server, root, 60)
    wait_for_files(root, 9)
    process.send_signal(how)
    errors = process.communicate(timeout=20)[1]
    assert process.returncode == -how, errors
    assert ('KeyboardInterrupt' in errors) == (how == signal.SIGINT) and 'never retrieved' not in errors
    if how == signal.SIGINT: check_whole(root)
    before, kept = dict(server.asked), Manifest(root).rows('kept')
    assert 5 <= len(kept) < 60 # a kill may fall between a file and its row
    server.latency = 0
    assert run_program(server, root, 60).wait(30) == 0
    assert len(check_whole(root).rows('kept')) == 60
    assert not any(server.asked[urlsplit(row['url']).path] > before[urlsplit(row['url']).path] for row in kept)


FULL_DISK = PROGRAM.replace('import json, sys', '''
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))''')


@pytest.fixture
def small_disk(tmp_path):
    "A file system of 256 KB, where this user may mount one"
    disk = tmp_path / 'disk'
    disk.mkdir()
    mounted = subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', str(disk)], capture_output=True)
    if mounted.returncode: pytest.skip('needs the right to mount a small disk')
    yield disk
    subprocess.run(['umount', str(disk)], check=True)


def test_full_disk_is_one_clear_error(server, small_disk):
    root = small_disk / 'planets'
    with pytest.raises(OSError, match='No space left') as caught:
        fetch_images(server.results(*['good'] * 400), root, allow_hosts=HERE)
    assert caught.value.errno == errno.ENOSPC and '\n' not in str(caught.value)
    files = list(root.glob('x/*'))
    assert files and not list(root.rglob('.tmp*')) and not list((sidecar(root) / 'tmp').iterdir())
    for file in files: Image.open(file).load()


def test_failed_write_is_one_clear_error(server, root):
    errors = subprocess.run([sys.executable, '-c', FULL_DISK, server.url, str(root), '20'], stderr=subprocess.PIPE, text=True)
    assert errors.returncode == 1 and 'run again to go on' in errors.stderr
    assert not list(root.glob('x/*')) and not list((sidecar(root) / 'tmp').iterdir())


def test_inside_a_running_loop(server, root):
    "As in a notebook, where a loop already runs"
    import asyncio
    async def cell(): return fetch_images(server.results('good'), root, allow_hosts=HERE)
    assert asyncio.run(cell()).counts() == {'kept': 1}
