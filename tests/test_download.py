"Search, download and collect against a server that misbehaves as the web does: faults, kills, full disks, random mixes"
import collections, email.utils, errno, functools, io, json, os, signal, socket, struct, subprocess, sys, tempfile, threading, time, zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies
from PIL import Image

from fastcnn.collect import collect_images, collection_counts, duckduckgo_search, pack_images, unpack_images
from fastcnn.core import FAILED_REASONS, ImageResult, InputError, Manifest, image_files, sidecar
from fastcnn.download import fetch_images
from fastcnn.search import Blocked, Changed, Empty, RateLimited, SearchError, search_images

HERE = ('127.0.0.1',)
FAST = dict(deadline=2, connect=1, read=0.7, attempts=3)


def jpeg(seed, size=(48, 40), format='JPEG', **options):
    "A picture that is like no other"
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1] // 8 + 1, size[0] // 8 + 1, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(buffer, format, **options)
    return buffer.getvalue()


@functools.cache
def bomb():
    "A small file that would unpack to 400 million pixels"
    buffer = io.BytesIO()
    Image.new('1', (20_000, 20_000)).save(buffer, 'PNG')
    return buffer.getvalue()


class Faults(BaseHTTPRequestHandler):
    "`/FAULT/SEED?…` answers with that fault; how often each address was asked is counted"
    protocol_version = 'HTTP/1.1'

    def do_GET(self):
        self.server.asked[self.path] += 1
        if self.path.startswith('/i.js') and not ('Referer' in self.headers and 'Mozilla' in self.headers['User-Agent']): return self.reply(403) # as DuckDuckGo does
        if self.server.replies: return self.canned(*self.server.replies.pop(0))
        self.tries = self.server.asked[self.path]
        parts = urlsplit(self.path)
        fault, _, seed = parts.path.strip('/').partition('/')
        if fault == 'v1': return self.search(parse_qs(parts.query))
        try: getattr(self, fault)(int(seed or 0), parse_qs(parts.query))
        except (BrokenPipeError, ConnectionResetError): self.close_connection = True

    def reply(self, status=200, body=b'', **headers):
        self.send_response(status)
        for name, value in {'Content_Length': len(body), 'Content_Type': 'image/jpeg', **headers}.items(): self.send_header(name.replace('_', '-'), str(value))
        self.end_headers()
        self.wfile.write(body)

    def cut(self):
        self.wfile.flush()
        self.close_connection = True

    def good(self, seed, query):
        time.sleep(self.server.latency)
        self.reply(body=jpeg(seed))

    def missing(self, seed, query): self.reply(404)
    def forbidden(self, seed, query): self.reply(403)
    def limited(self, seed, query): self.reply(429, Retry_After=1) if self.tries == 1 else self.good(seed, query)
    def limited_date(self, seed, query): self.reply(429, Retry_After=email.utils.formatdate(time.time() + 1, usegmt=True)) if self.tries == 1 else self.good(seed, query)
    def limited_long(self, seed, query): self.reply(429, Retry_After=3600)
    def healing(self, seed, query): self.reply(503) if self.tries == 1 else self.good(seed, query)
    def down(self, seed, query): self.reply(503)
    def hang(self, seed, query): self.server.stop.wait(20)
    def html(self, seed, query): self.reply(body=b'<!doctype html><title>Not here</title>')
    def svg(self, seed, query): self.reply(body=b'<svg xmlns="http://www.w3.org/2000/svg" width="99" height="99"/>')
    def empty(self, seed, query): self.reply()
    def tiny(self, seed, query): self.reply(body=jpeg(seed, (1, 1)))
    def truncated(self, seed, query): self.reply(body=jpeg(seed)[:-200])
    def loop(self, seed, query): self.reply(302, Location=self.path)
    def metadata(self, seed, query): self.reply(302, Location='http://169.254.169.254/latest/meta-data/')
    def to_file(self, seed, query): self.reply(302, Location='file:///etc/passwd')
    def moved(self, seed, query): self.reply(301, Location=f'/good/{seed}')
    def noai(self, seed, query): self.reply(body=jpeg(seed), X_Robots_Tag='noai, noimageai')
    def bomb(self, seed, query): self.reply(body=bomb())
    def huge(self, seed, query): self.reply(body=b'\xff\xd8\xff' + bytes(3 * 2**20))
    def query(self, seed, query): self.reply(body=jpeg(seed)) if query['id'] == ['a/b=='] else self.reply(404)

    def drip(self, seed, query):
        body = jpeg(seed)
        self.reply(Content_Length=len(body))
        for byte in body:
            if self.server.stop.wait(0.2): return
            self.wfile.write(bytes([byte]))
            self.wfile.flush()

    def short_body(self, seed, query):
        self.reply(200, jpeg(seed)[:300], Content_Length=9999)
        self.cut()

    def reset(self, seed, query):
        self.reply(200, jpeg(seed)[:300], Content_Length=9999)
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        self.rfile.close()
        self.connection.close()
        self.close_connection = True

    def search(self, query):
        "Openverse's format: 60 addresses whose faults are `server.mix`, over and over"
        page, size = int(query['page'][0]), int(query['page_size'][0])
        if size > 20: return self.canned(401, {'detail': 'too many'})
        urls = [f'{self.server.url}/{self.server.mix[i % len(self.server.mix)]}/{i}' for i in range(60)]
        rows = [{'url': url, 'title': 'T', 'creator': 'C', 'license': ('by', 'by-nc', '', 'cc0')[i % 4]} for i, url in enumerate(urls)]
        self.canned(200, {'result_count': 60, 'page_count': -(-60 // size), 'page': page, 'results': rows[(page - 1) * size:page * size]})

    def canned(self, status, body):
        self.reply(status, body.encode() if isinstance(body, str) else json.dumps(body).encode(), Content_Type='application/json',
                   **({'Retry_After': 1} if status == 429 and self.server.soon else {}))

    def log_message(self, *args): pass


# Reason with which each fault ends; None: the image is kept
ENDINGS = dict(good=None, missing='http_404', forbidden='http_403', limited=None, limited_date=None, limited_long='http_429', healing=None,
               down='http_503', hang='timeout', html='not_an_image', svg='not_an_image', empty='not_an_image', tiny='too_small',
               truncated='truncated', loop='redirect_loop', metadata='refused_address', to_file='refused_address', moved=None,
               noai='opted_out', bomb='too_large', huge='too_large', drip='timeout', short_body='truncated', reset='connection')


class FaultServer(ThreadingHTTPServer):
    daemon_threads, request_queue_size = True, 128

    def __init__(self):
        super().__init__(('127.0.0.1', 0), Faults)
        self.asked, self.stop, self.latency = collections.Counter(), threading.Event(), 0
        self.url = f'http://127.0.0.1:{self.server_port}'
        self.replies, self.mix, self.soon = [], ['good'], False

    def __enter__(self):
        bomb()
        threading.Thread(target=self.serve_forever, kwargs=dict(poll_interval=0.05), daemon=True).start()
        return self

    def __exit__(self, *error):
        self.stop.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address): pass

    def results(self, *faults, label='x'):
        "A result an address: its fault and its number"
        return [ImageResult(f'{self.url}/{fault}/{seed}', label=label) for seed, fault in enumerate(faults)]


@pytest.fixture
def server():
    with FaultServer() as server: yield server


@pytest.fixture
def root(tmp_path): return tmp_path / 'planets'


def check_whole(root):
    "The collection is whole: every file opens and has its row, no partial file is left"
    manifest = Manifest(root)
    files = {f'{file.parent.name}/{file.name}' for file in root.glob('*/*')}
    assert files == {row['file'] for row in manifest.present()}
    for file in files: Image.open(root / file).load()
    assert not list(root.rglob('.tmp*')) and not list((manifest.folder / 'tmp').iterdir())
    for row in manifest:
        assert row['status'] in ('kept', 'failed', 'duplicate')
        assert (row['status'] == 'failed') == bool(row.get('reason'))
    return manifest


# ---- download

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


# ---- search

def failure(server, *replies, **question):
    "The error with which a search of canned replies ends"
    server.replies = list(replies)
    with pytest.raises(SearchError) as caught: search_images('mars', 5, base_url=server.url, **question)
    return caught.value


TOKEN = (200, '<script>vqd="4-12345-67";</script>')


@pytest.mark.parametrize('reply, kind', [((403, ''), Blocked), ((202, ''), RateLimited), ((429, ''), RateLimited), ((500, ''), SearchError), ((200, '<html>'), Changed),
                                         ((200, {'results': None}), Changed), ((200, {'results': [{'link': 'x'}]}), Changed), ((200, {'results': []}), Empty)])
def test_each_failure_has_its_kind(server, reply, kind):
    assert type(failure(server, reply, provider='openverse')) is kind
    assert type(failure(server, TOKEN, reply, provider='duckduckgo')) is kind


def test_limits_are_waited_out_or_told(server):
    page = {'page_count': 1, 'results': [{'url': 'http://a/1.jpg', 'license': 'by', 'license_version': '4.0'}]}
    assert failure(server, (429, ''), provider='openverse').wait == 60
    server.replies, server.soon = [(429, ''), (200, page)], True
    assert search_images('mars', 5, base_url=server.url)[0].license == 'by 4.0'


def test_small_pages_and_unknown_licences(server):
    assert len(search_images('mars', 60, base_url=server.url)) == 60
    found = search_images('mars', 60, license='commercial', base_url=server.url)
    assert {result.license for result in found} == {'by', 'cc0'} and len(found) == 30


def test_duckduckgo_pages(server):
    rows = [{'image': f'http://a/{i}.jpg', 'thumbnail': f'http://t/{i}', 'url': 'http://a/', 'title': 'x', 'width': 9, 'height': 9} for i in range(3)]
    server.replies = [TOKEN, (200, {'results': rows[:2], 'next': 'i.js?q=mars&o=json&s=100'}), (200, {'results': rows[2:]})]
    assert [result.url for result in search_images('mars', 9, provider='duckduckgo', base_url=server.url)] == [row['image'] for row in rows]
    assert any('vqd=4-12345-67' in path and 's=100' in path for path in server.asked)


ANYTHING = strategies.recursive(strategies.none() | strategies.booleans() | strategies.integers() | strategies.floats() | strategies.text(max_size=9),
                                lambda inner: strategies.lists(inner, max_size=3) | strategies.dictionaries(strategies.sampled_from(['url', 'image', 'results', 'next', 'license']), inner, max_size=3), max_leaves=6)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(reply=ANYTHING, rows=strategies.lists(ANYTHING, max_size=3), provider=strategies.sampled_from(['openverse', 'duckduckgo']))
def test_any_reply_is_results_or_a_search_error(server, reply, rows, provider):
    for body in (reply, {'page_count': reply, 'next': reply, 'results': rows}):
        server.replies = [TOKEN] * (provider == 'duckduckgo') + [(200, body)] + [(500, '')] * 3
        try: assert all(result.url.startswith('http') for result in search_images('mars', 5, provider=provider, base_url=server.url))
        except SearchError: pass


def test_unknown_provider_names_the_known():
    with pytest.raises(InputError, match='duckduckgo, openverse, planets'): search_images('mars', 5, provider='altavista')


# ---- collect

def test_collect_until_there_are_enough(server, root):
    server.mix = ['good', 'missing', 'html']
    (root / 'mars').mkdir(parents=True)
    (root / 'mars' / 'mine.png').write_bytes(jpeg(999, format='PNG'))
    manifest = collect_images('mars', 'mars', root, 12, base_url=server.url)
    assert len(image_files(root)) == 12 and len(manifest.rows('kept')) == 11
    counts = collection_counts(manifest, 'mars')
    assert counts['requested'] == counts['saved'] + sum(counts['failed'].values())
    collect_images('mars', 'mars', root, 15, base_url=server.url)
    assert len(image_files(root)) == 15


def test_shortfall_is_told(server, root):
    server.mix = ['good', 'missing', 'tiny']
    with pytest.warns(UserWarning, match=r'20 of 30 images .* \(20 http_404, 20 too_small\)'):
        manifest = collect_images('mars', 'mars', root, 30, base_url=server.url)
    assert collection_counts(manifest, 'mars') == dict(requested=60, saved=20, duplicate=0, quarantined=0, failed={'http_404': 20, 'too_small': 20})


def test_the_articles_own_call(monkeypatch, tmp_path):
    monkeypatch.setenv('FASTCNN_PROVIDER', 'planets')
    files = duckduckgo_search(tmp_path / 'p', 'neptune', 'planet neptune', max_results=5)
    assert files and set(files) == set(image_files(tmp_path / 'p'))


def test_pack_and_unpack(server, root, tmp_path):
    fetch_images(server.results('good', 'good', 'missing'), root, allow_hosts=HERE)
    again = unpack_images(pack_images(root), tmp_path / 'again')
    assert [file.read_bytes() for file in image_files(again)] == [file.read_bytes() for file in image_files(root)]
    assert Manifest(again).counts() == Manifest(root).counts() and (sidecar(again) / 'CREDITS.md').exists()


def zipped(path, name, data=b'x', **attributes):
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('ok/1.jpg', b'1')
        info = zipfile.ZipInfo(name)
        for key, value in attributes.items(): setattr(info, key, value)
        archive.writestr(info, data)
    return path


@pytest.mark.parametrize('name', ['../evil.jpg', '/tmp/evil.jpg', 'a/../../evil.jpg', 'x\\..\\evil.jpg', 'C:/evil.jpg'])
def test_zip_that_leads_out_is_refused(tmp_path, name):
    with pytest.raises(InputError, match='lead out'): unpack_images(zipped(tmp_path / 'a.zip', name), tmp_path / 'in' / 'new')
    assert sorted(path.name for path in tmp_path.rglob('*')) in (['a.zip'], ['a.zip', 'in'])


def test_other_bad_zips_are_refused(tmp_path):
    link = zipped(tmp_path / 'a.zip', 'ok/2.jpg', b'/etc/passwd', create_system=3, external_attr=0o120777 << 16)
    with pytest.raises(InputError, match='link'): unpack_images(link, tmp_path / 'new')
    with pytest.raises(InputError, match='more than'): unpack_images(zipped(tmp_path / 'b.zip', 'ok/2.jpg', bytes(5000)), tmp_path / 'new', max_bytes=4000)
    whole = (tmp_path / 'b.zip').read_bytes()
    for broken in (b'', b'PK', whole[:-30], whole.replace(b'\0' * 100, b'\1' * 100, 1)):
        (tmp_path / 'c.zip').write_bytes(broken)
        with pytest.raises(InputError, match='no whole zip'): unpack_images(tmp_path / 'c.zip', tmp_path / 'new')
    with pytest.raises(InputError, match='no zip file'): unpack_images(tmp_path / 'none.zip', tmp_path / 'new')
    assert sorted(path.name for path in tmp_path.iterdir()) == ['a.zip', 'b.zip', 'c.zip']
