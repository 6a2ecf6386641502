"A server that misbehaves as the web does, on 127.0.0.1: each address names its fault; and the fixtures that go with it"
import collections, contextlib, email.utils, functools, io, json, socket, struct, subprocess, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from PIL import Image

from fastcnn.core import ImageResult, Manifest

HERE = ('127.0.0.1',)
FAST = dict(deadline=2, connect=1, read=0.7, attempts=3) # for those who do not answer
PATIENT = dict(deadline=20, connect=10, read=10, attempts=3) # for those who do, on a busy machine later


def jpeg(seed, size=(48, 40), format='JPEG', **options):
    "A picture that is like no other"
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1] // 8 + 1, size[0] // 8 + 1, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(buffer, format, **options)
    return buffer.getvalue()


@contextlib.contextmanager
def mounted_disk(folder, size, lazy=False):
    "A file system of so many bytes, where this user may mount one; `lazy`: something may still have a file there open at the end"
    folder.mkdir()
    mounted = subprocess.run(['mount', '-t', 'tmpfs', '-o', f'size={size}', 'tmpfs', str(folder)], capture_output=True)
    if mounted.returncode: pytest.skip('a small disk needs the right to mount a tmpfs')
    try: yield folder
    finally: subprocess.run(['umount', *['-l']*lazy, str(folder)], check=True)


@functools.cache
def bomb(format='PNG'):
    "A small file that would unpack to 400 million pixels"
    buffer, side = io.BytesIO(), 20_000
    Image.new('1', (side, side) if format == 'PNG' else (8, 8)).save(buffer, format)
    body = buffer.getvalue()
    return body if format == 'PNG' else body[:6] + struct.pack('<HH', side, side) + body[10:] # a GIF's frame may be small


class Faults(BaseHTTPRequestHandler):
    "`/FAULT/SEED?…` answers with that fault; how often each address was asked is counted"
    protocol_version, disable_nagle_algorithm = 'HTTP/1.1', True

    def do_GET(self):
        with contextlib.ExitStack() as self.counted:
            self.counted.enter_context(self.server.counting())
            self.answer()

    def answer(self):
        if self.path in self.server.site: return self.site_file()
        self.server.asked[self.path] += 1
        browser = 'Referer' in self.headers and 'Mozilla' in self.headers['User-Agent']
        if self.path.startswith('/i.js') and not browser: return self.reply(403) # as DuckDuckGo does
        if self.server.replies: return self.canned(*self.server.replies.pop(0))
        self.tries = self.server.asked[self.path]
        parts = urlsplit(self.path)
        fault, _, seed = parts.path.strip('/').partition('/')
        if fault == 'v1': return self.search(parse_qs(parts.query))
        try: getattr(self, fault)(int(seed or 0), parse_qs(parts.query))
        except (BrokenPipeError, ConnectionResetError): self.close_connection = True

    def site_file(self):
        "robots.txt or tdmrep.json: what a test has put there; how often each was asked is counted apart"
        self.server.site_asked[self.path] += 1
        wish = self.server.site[self.path]
        if isinstance(wish, bytes): return self.reply(body=wish, Content_Type='text/plain')
        try: self.reply(wish) if isinstance(wish, int) else getattr(self, wish)(0, {})
        except (BrokenPipeError, ConnectionResetError): self.close_connection = True

    def reply(self, status=200, body=b'', **headers):
        self.send_response(status)
        headers = {'Content_Length': len(body), 'Content_Type': 'image/jpeg', **headers}
        for name, value in headers.items(): self.send_header(name.replace('_', '-'), str(value))
        self.counted.close() # before the client can have it all: its next question may come before this method ends
        self.end_headers()
        self.wfile.write(body)

    def cut(self):
        self.wfile.flush()
        self.close_connection = True

    def good(self, seed, query):
        time.sleep(self.server.latency)
        self.reply(body=jpeg(seed))

    def webp(self, seed, query): self.reply(body=jpeg(seed, format='WEBP'))
    def missing(self, seed, query): self.reply(404)
    def forbidden(self, seed, query): self.reply(403)
    def limited(self, seed, query): self.reply(429, Retry_After=1) if self.tries == 1 else self.good(seed, query)
    def limited_date(self, seed, query):
        soon = email.utils.formatdate(time.time() + 1, usegmt=True)
        self.reply(429, Retry_After=soon) if self.tries == 1 else self.good(seed, query)
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
    def elsewhere(self, seed, query): self.reply(302, Location=f'{self.server.elsewhere}/good/{seed}')
    def heavy(self, seed, query): self.reply(body=self.server.heavy)
    def slow_missing(self, seed, query): time.sleep(self.server.latency); self.reply(404)
    def closed(self, seed, query): self.reply(body=b'User-agent: *\nDisallow: /good/')
    def moved_robots(self, seed, query): self.reply(301, Location='/closed/0')
    def healing_robots(self, seed, query): self.reply(503) if self.server.site_asked[self.path] == 1 else self.closed(seed, query)
    def endless_robots(self, seed, query):
        self.reply(body=b'User-agent: *\nDisallow: /\n', Content_Length=10**9)
        while not self.server.stop.is_set(): self.wfile.write(b'# and so on\n' * 5_000)

    def noai(self, seed, query): self.reply(body=jpeg(seed), X_Robots_Tag='noai, noimageai')
    def noai_others(self, seed, query): self.reply(body=jpeg(seed), X_Robots_Tag='otherbot: noai, noimageai')
    def tdm_header(self, seed, query): self.reply(body=jpeg(seed), tdm_reservation=1)
    def disallowed(self, seed, query): self.good(seed, query) # robots.txt forbids these
    def reserved(self, seed, query): self.good(seed, query) # tdmrep.json reserves these
    def moved_to_disallowed(self, seed, query): self.reply(302, Location=f'/disallowed/{seed}')
    def to_nowhere(self, seed, query): self.reply(302, Location='http://[oops')
    def bomb(self, seed, query): self.reply(body=bomb('PNG'))
    def gif_bomb(self, seed, query): self.reply(body=bomb('GIF'))
    def huge(self, seed, query): self.reply(body=b'\xff\xd8\xff' + bytes(3 * 2**20))
    def query(self, seed, query): self.reply(body=jpeg(seed)) if query['id'] == ['a/b=='] else self.reply(404)

    def drip(self, seed, query):
        body = jpeg(seed)
        self.reply(Content_Length=len(body))
        for byte in body:
            if self.server.stop.wait(0.2): return
            self.wfile.write(bytes([byte]))
            self.wfile.flush()

    def slow_headers(self, seed, query):
        self.wfile.write(b'HTTP/1.1 200 OK\r\nX-Slow: ')
        while not self.server.stop.wait(0.2): self.wfile.write(b'x')

    def too_short(self, seed, query):
        "The Content-Length is less than what follows"
        body = jpeg(seed)
        self.reply(200, body, Content_Length=len(body) - 300)

    def too_long(self, seed, query):
        "The Content-Length is more than what ever comes, and the connection stays open"
        body = jpeg(seed)
        self.reply(200, body, Content_Length=len(body) + 300)
        self.server.stop.wait(20)

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
               noai='opted_out', noai_others=None, tdm_header='opted_out', disallowed='opted_out', reserved='opted_out',
               moved_to_disallowed='opted_out', to_nowhere='refused_address', bomb='too_large', gif_bomb='too_large', huge='too_large',
               drip='timeout', slow_headers='timeout', short_body='truncated', too_short='truncated', too_long='timeout', reset='connection')
SLOW = {'hang', 'drip', 'slow_headers', 'too_long', 'limited', 'limited_date', 'bomb', 'gif_bomb', 'huge'} # a second and more


class FaultServer(ThreadingHTTPServer):
    daemon_threads, request_queue_size = True, 128

    def __init__(self, host='127.0.0.1'):
        super().__init__((host, 0), Faults)
        self.asked, self.site_asked, self.stop, self.latency = collections.Counter(), collections.Counter(), threading.Event(), 0
        self.url = f'http://{host}:{self.server_port}'
        self.replies, self.mix, self.soon = [], ['good'], False
        self.site = {'/robots.txt': b'User-agent: *\nDisallow: /disallowed/', # bytes, a status, or the name of a fault
                     '/.well-known/tdmrep.json': b'[{"location": "/reserved/", "tdm-reservation": 1}]'}
        self.busy, self.most, self.lock = 0, 0, threading.Lock()

    @contextlib.contextmanager
    def counting(self):
        "How many requests are answered at a time: `most` is the largest number"
        with self.lock:
            self.busy += 1
            self.most = max(self.most, self.busy)
        try: yield
        finally:
            with self.lock: self.busy -= 1

    def __enter__(self):
        for format in ('PNG', 'GIF'): bomb(format)
        threading.Thread(target=self.serve_forever, kwargs=dict(poll_interval=0.05), daemon=True).start()
        return self

    def __exit__(self, *error):
        self.stop.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address): pass

    def results(self, *faults, label='x'):
        "One result per address: its fault and its number"
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
