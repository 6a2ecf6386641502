"What search services and image hosts answer: too much, too slowly, with waits that nobody can mean; and addresses that are not theirs to name"
import gzip, ipaddress, json, os, socket, subprocess, sys, threading, zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fastcnn.core import ImageResult
from fastcnn.download import fetch_images
from fastcnn.search import RateLimitError, search_images

HERE = Path(__file__).parent
linux = pytest.mark.skipif(not sys.platform.startswith('linux'), reason='measured in /proc')
PAGE = json.dumps(dict(result_count=1, page_count=1, results=[dict(url='https://a.org/1.jpg', license='by', license_version='4.0')])).encode()


class Rude(BaseHTTPRequestHandler):
    "The beginning of a path says how it answers: /bomb/v1/images"
    protocol_version = 'HTTP/1.1'

    def do_GET(self):
        self.server.asked.append(self.path)
        try: getattr(self, self.path.split('/')[1], self.missing)()
        except OSError: pass
        self.close_connection = True

    def reply(self, body=b'', status=200, **headers):
        self.send_response(status)
        known = dict(Content_Type='application/json', Content_Length=len(body), Connection='close')
        for name, value in (known | headers).items(): self.send_header(name.replace('_', '-'), str(value))
        self.end_headers()
        self.wfile.write(body)

    def missing(self): self.reply(status=404)
    def fine(self): self.reply(PAGE)
    def fine_gzip(self): self.reply(gzip.compress(PAGE), Content_Encoding='gzip')
    def fine_deflate(self): self.reply(zlib.compress(PAGE), Content_Encoding='deflate')
    def fine_raw_deflate(self): self.reply(zlib.compress(PAGE)[2:-4], Content_Encoding='deflate')
    def bomb(self): self.reply(self.server.bomb, Content_Encoding='gzip')
    def bomb_twice(self): self.reply(gzip.compress(self.server.bomb), Content_Encoding='gzip, gzip')
    def bomb_deflate(self): self.reply(self.server.deflated, Content_Encoding='deflate')
    def bomb_br(self): self.reply(b'\x1b\xff\xff\xff' + bytes(2**20), Content_Encoding='br')
    def bomb_zstd(self): self.reply(b'\x28\xb5\x2f\xfd' + bytes(2**20), Content_Encoding='zstd')
    def bomb_refusal(self): self.reply(self.server.bomb, 429, Content_Encoding='gzip')
    def bomb_redirect(self): self.reply(self.server.bomb, 302, Content_Encoding='gzip', Location='/fine')

    def endless(self):
        self.reply(Content_Length=10**12)
        while True: self.wfile.write(bytes(2**16))

    def endless_chunks(self):
        self.send_response(200)
        self.send_header('Transfer-Encoding', 'chunked')
        self.end_headers()
        while True: self.wfile.write(b'10000\r\n' + bytes(2**16) + b'\r\n')

    def drip(self):
        self.reply(Content_Length=10**6)
        while not self.server.stop.wait(.1): self.wfile.write(b' ')

    def drip_head(self):
        self.wfile.write(b'HTTP/1.1 200 OK\r\nX-Slow: ')
        while not self.server.stop.wait(.1): self.wfile.write(b'x')

    def go_on(self): # says "100 Continue" for ever
        while not self.server.stop.wait(.01): self.wfile.write(b'HTTP/1.1 100 Continue\r\n\r\n')

    def drip_redirects(self):
        self.server.stop.wait(.5)
        self.reply(status=302, Location=f'/drip_redirects/{len(self.server.asked)}')

    def silent(self): self.server.stop.wait(30)
    def log_message(self, *args): pass


@pytest.fixture(scope='module')
def rude():
    server = ThreadingHTTPServer(('127.0.0.1', 0), Rude)
    server.asked, server.stop, server.daemon_threads = [], threading.Event(), True
    server.url = f'http://127.0.0.1:{server.server_port}'
    piece, packer = bytes(2**25), zlib.compressobj() # three megabytes that unpack to three thousand, in both ways
    block = (packer.compress(piece) + packer.flush(zlib.Z_FULL_FLUSH))[2:]
    server.bomb, server.deflated = gzip.compress(piece) * 96, b'\x78\x9c' + block * 96
    threading.Thread(target=server.serve_forever, kwargs=dict(poll_interval=.02), daemon=True).start()
    yield server
    server.stop.set()
    server.shutdown()
    server.server_close()


ASK = """
import json, resource, sys, threading, time
resource.setrlimit(resource.RLIMIT_AS, (2 * 2**30,) * 2)
from child import peak
from fastcnn import search
search.SearchService.deadline = 2
for how in sys.argv[2:]:
    start = time.monotonic()
    try: said = search.search_images('mars', 5, provider='openverse', base_url=f'{sys.argv[1]}/{how}')[0].license
    except Exception as error: said = f'{type(error).__name__}: {error}'
    seconds, waits = time.monotonic() - start, 0
    while (left := sum(thread.name == 'fastcnn-left' for thread in threading.enumerate())) and waits < 30: time.sleep(.1); waits += 1
    print(json.dumps(dict(said=said, seconds=seconds, mb=peak(), left=left)), flush=True)
"""
LARGE = ['bomb', 'bomb_twice', 'bomb_deflate', 'bomb_br', 'bomb_zstd', 'bomb_refusal', 'bomb_redirect', 'endless', 'endless_chunks']
SLOW = ['drip', 'drip_head', 'drip_redirects', 'go_on', 'silent']
USUAL = ['fine', 'fine_gzip', 'fine_deflate', 'fine_raw_deflate']


@pytest.fixture(scope='module')
def answers(rude, tmp_path_factory):
    "What a search makes of each kind of answer, in a process that may have 2 GB; a kind that takes it with it ends the list"
    kinds, env = [*USUAL, *LARGE, *SLOW], os.environ | dict(FASTCNN_CACHE=str(tmp_path_factory.mktemp('cache')), FASTCNN_PROVIDER='')
    asking = subprocess.Popen([sys.executable, '-c', ASK, rude.url, *kinds], cwd=HERE, env=env, stdout=subprocess.PIPE, text=True)
    try: said, _ = asking.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        asking.kill()
        said, _ = asking.communicate()
    return dict(zip(kinds, map(json.loads, said.splitlines())))


@linux
@pytest.mark.parametrize('how', LARGE)
def test_a_reply_that_is_too_large_costs_little(how, answers):
    end = answers[how]
    assert end['said'].startswith('ServiceChangedError: openverse: sends more than any search needs') and '\n' not in end['said']
    assert end['mb'] < 400 and end['seconds'] < 15


@linux
@pytest.mark.parametrize('how', SLOW)
def test_a_reply_that_never_ends_has_a_deadline(how, answers):
    end = answers[how]
    assert end['said'].startswith('SearchError: openverse: did not finish its answer in 2 s') or how == 'drip_redirects' and 'TooManyRedirects' in end['said']
    assert 1 < end['seconds'] < 15 and not end['left'], 'nobody goes on to listen'


@linux
@pytest.mark.parametrize('how', USUAL)
def test_usual_replies_are_read(how, answers): assert answers[how]['said'] == 'by 4.0'


# Waits

@pytest.mark.parametrize('wait, longest', [
    ('9' * 400, 86_400), ('9' * 9999, 86_400), ('31536000', 86_400), ('Fri, 31 Dec 9999 23:59:59 GMT', 86_400), ('-5', 60), ('nan', 60),
    ('1e9', 60), ('inf', 60), ('Mon, 01 Jan 99999999999 00:00:00 GMT', 60), ('Sun, 06 Nov 1994 08:49:37 GMT', 60), ('\xb2', 60)],
    ids=lambda value: str(value)[:20])
def test_no_wait_is_longer_than_a_day(wait, longest, rude, monkeypatch, tmp_path):
    monkeypatch.setenv('FASTCNN_CACHE', str(tmp_path))
    monkeypatch.setattr(Rude, 'wait', lambda self: self.reply(b'{}', 429, Retry_After=wait), raising=False)
    with pytest.raises(RateLimitError) as caught: search_images('mars', 5, provider='openverse', base_url=f'{rude.url}/wait')
    assert caught.value.wait <= longest and str(caught.value).count('try again in') == 1


AHEAD = """
import sys, time
now, time.time_ns = time.time_ns, lambda: now() + {ahead} * 10**9
import requests
from fastcnn.search import search_images
def send(self, request, **options):
    reply = requests.Response()
    reply.status_code, reply._content, reply._content_consumed, reply.url, reply.request = 200, {page!r}, True, request.url, request
    return reply
requests.adapters.HTTPAdapter.send = send
for _ in range({questions}): print(len(search_images('mars', 1, provider='openverse')))
"""


def test_a_clock_that_was_ahead_locks_nobody_out(tmp_path):
    "Ten questions in next year; then one now"
    env = os.environ | dict(FASTCNN_CACHE=str(tmp_path), FASTCNN_PROVIDER='')
    for ahead, questions in ((365 * 86_400, 10), (0, 1)):
        code = AHEAD.format(ahead=ahead, page=PAGE, questions=questions)
        done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=60, env=env)
        assert done.stdout.split() == ['1']*questions, done.stderr[-500:]


# Addresses

# IANA's registries of special-purpose addresses, IPv4 and IPv6, as of 2025-10-09: prefix and "Globally Reachable" (N/A counts as no)
REGISTRY = """
0.0.0.0/8 no, 0.0.0.0/32 no, 10.0.0.0/8 no, 100.64.0.0/10 no, 127.0.0.0/8 no, 169.254.0.0/16 no, 172.16.0.0/12 no, 192.0.0.0/24 no,
192.0.0.0/29 no, 192.0.0.8/32 no, 192.0.0.9/32 yes, 192.0.0.10/32 yes, 192.0.0.170/32 no, 192.0.0.171/32 no, 192.0.2.0/24 no, 192.31.196.0/24 yes,
192.52.193.0/24 yes, 192.88.99.0/24 no, 192.88.99.2/32 no, 192.168.0.0/16 no, 192.175.48.0/24 yes, 198.18.0.0/15 no, 198.51.100.0/24 no,
203.0.113.0/24 no, 240.0.0.0/4 no, 255.255.255.255/32 no,
::1/128 no, ::/128 no, ::ffff:0:0/96 no, 64:ff9b:1::/48 no, 100::/64 no, 100:0:0:1::/64 no, 2001::/23 no, 2001::/32 no, 2001:1::1/128 yes,
2001:1::2/128 yes, 2001:1::3/128 yes, 2001:2::/48 no, 2001:3::/32 yes, 2001:4:112::/48 yes, 2001:10::/28 no, 2001:20::/28 yes, 2001:30::/28 yes,
2001:db8::/32 no, 2002::/16 no, 2620:4f:8000::/48 yes, 3fff::/20 no, 5f00::/16 no, fc00::/7 no, fe80::/10 no"""
ROWS = dict(row.split() for row in REGISTRY.replace('\n', ' ').split(', '))
BEYOND = { # multicast, what was given back, what nobody has been given; and IPv4 in IPv6
    '224.0.0.0/4': 'no', 'ff00::/8': 'no', 'fec0::/10': 'no', '4000::/3': 'no', '::/96': 'no', '200::/7': 'no', '8000::/1': 'no',
    '64:ff9b::a00:0/104': 'no', '64:ff9b::7f00:0/104': 'no', '64:ff9b::a9fe:0/112': 'no', '64:ff9b::e000:0/100': 'no', '64:ff9b::808:0/112': 'yes',
    '2002:7f00::/24': 'no', '::ffff:127.0.0.0/104': 'no', '8.8.8.0/24': 'yes', '2606:4700::/32': 'yes', '2a00::/12': 'yes'}


def is_visited(address):
    from fastcnn.download import DownloadError, check_url # here and not above: the rest of this file runs on older versions too
    host = f'[{address}]' if address.version == 6 else address
    try: return bool(check_url(f'http://{host}/'))
    except DownloadError: return False


@pytest.mark.parametrize('row', [*ROWS, *BEYOND])
def test_each_row_of_the_registries(row):
    "The first, the last and the middle address of a row, unless a narrower row knows better"
    network = ipaddress.ip_network(row)
    for address in {network[0], network[-1], network[network.num_addresses//2]}:
        rows = ((prefix, told) for prefix, told in (ROWS | BEYOND).items() if address in ipaddress.ip_network(prefix))
        told = max(rows, key=lambda found: ipaddress.ip_network(found[0]).prefixlen)[1]
        assert is_visited(address) == (told == 'yes'), address


def ways(number):
    "Ways to write one private IPv4 address, as browsers and C libraries have read it, and inside IPv6"
    a, b, c, d = number.packed
    whole, tail, half = int(number), (b << 16) + (c << 8) + d, (c << 8) + d
    for base in ('{}', '0x{:x}', '0X{:X}', '0{:o}'):
        yield from (base.format(whole), f'{a}.' + base.format(tail), f'{a}.{b}.' + base.format(half), '.'.join(base.format(n) for n in number.packed))
    yield from (f'{number}.', f'{a:03}.{b:03}.{c:03}.{d:03}', f'0x{a:02x}.{b}.0{c:o}.{d}', f'{whole + 2**32}', f'{a}.{b}.{c}.{d + 256}')
    text = str(number)
    for digits in ('\uff10', '\u0660', '\U0001d7ce', '\u2070'): yield ''.join(chr(ord(digits) + int(c)) if c.isdigit() else c for c in text)
    yield ''.join(chr(0x245f + int(c)) if c.isdigit() and c != '0' else c for c in text)
    yield from (text.replace('.', dot) for dot in '\u3002\uff0e\uff61')
    yield from (text.replace('1', '%31'), text.replace('.', '%2e'), f'a.org@{text}', f'a:b@{text}', f'{text}%00.a.org', f'{text}#@a.org', f'{text}?@a.org')
    hexed = f'{whole >> 16:x}:{whole & 0xffff:x}'
    yield from (f'[::ffff:{number}]', f'[::ffff:{hexed}]', f'[0:0:0:0:0:ffff:{number}]', f'[::{number}]', f'[::{hexed}]', f'[64:ff9b::{number}]',
                f'[64:ff9b::{hexed}]', f'[64:ff9b:1::{number}]', f'[2002:{hexed}::]', f'[2001:0:{hexed}::]', f'[::ffff:0:{number}]', f'[::ffff:{number}%25lo]')


def test_no_way_of_writing_leads_into_the_own_network(server, root):
    "Some 200 ways to write this machine, a router and a cloud's keys, and names for it"
    named = ['localhost', 'LOCALHOST', 'localhost.', 'ip6-localhost', 'a.localhost', '\uff4cocalhost', 'localhost%2e', '0', '[::1]', '[::]',
             '[0::1]', '[fe80::1]', '[::1%25lo]']
    hosts = [*named, *(way for ip in ('127.0.0.1', '0.0.0.0', '192.168.1.1', '169.254.169.254') for way in ways(ipaddress.ip_address(ip)))]
    urls = list(dict.fromkeys(f'http://{host}:{server.server_port}/good/{i}' for i, host in enumerate(hosts)))
    limits = dict(deadline=2, connect=1, attempts=1)
    counts = fetch_images([ImageResult(url, label='x') for url in urls], root, **limits).counts()
    assert sum(counts.values()) == len(urls) > 150 and not server.asked and not server.site_asked
    assert set(counts) <= {'failed:refused_address', 'failed:connection', 'failed:timeout'}, counts


def test_an_allowed_host_may_name_its_port(server, root):
    from faults import FaultServer
    with FaultServer() as other:
        results = [*server.results('good'), *other.results('good'), ImageResult(f'{server.url}/elsewhere/7', label='x')]
        server.elsewhere = other.url
        manifest = fetch_images(results, root, allow_hosts=(f'127.0.0.1:{server.server_port}',))
        assert [manifest.get(result.url, 'x').get('reason') for result in results] == [None, 'refused_address', 'refused_address']
        assert not other.asked and not other.site_asked
        assert fetch_images(other.results('good'), root, allow_hosts=('127.0.0.1',)).counts()['kept'] == 1


def test_a_search_service_opens_no_other_port(server, rude, root):
    "Whoever names http://127.0.0.1:8000 names that port, and not the database beside it"
    from fastcnn.collect import collect_images
    rows = [dict(url=f'{server.url}/good/1', license='by', license_version='4.0'), dict(url=f'{rude.url}/bomb/1.jpg', license='by')]
    Rude.rows = lambda self: self.reply(json.dumps(dict(result_count=2, page_count=1, results=rows)).encode())
    with pytest.warns(UserWarning): manifest = collect_images('mars', 'x', root, 2, base_url=f'{rude.url}/rows')
    assert manifest.get(f'{server.url}/good/1', 'x')['reason'] == 'refused_address' and not server.asked


@pytest.fixture
def proxy(monkeypatch):
    "A proxy that would fetch whatever it is asked for; what it was asked for"
    asked = []
    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(404)
            self.end_headers()
        def log_message(self, *args): pass
    proxy = ThreadingHTTPServer(('127.0.0.1', 0), Proxy)
    threading.Thread(target=proxy.serve_forever, kwargs=dict(poll_interval=.02), daemon=True).start()
    monkeypatch.setenv('http_proxy', f'http://127.0.0.1:{proxy.server_port}')
    monkeypatch.delenv('no_proxy', raising=False)
    yield asked
    proxy.shutdown()
    proxy.server_close()


NAMES = dict(public='93.184.216.34', private='10.0.0.7', metadata='169.254.169.254', doc='3fff::7', both='93.184.216.34 192.168.0.1')


def test_a_proxy_is_asked_for_public_names_only(proxy, root, monkeypatch):
    original = socket.getaddrinfo
    def lookup(host, port, *args, **options):
        name = str(host).removesuffix('.example')
        if not str(host).endswith('.example'): return original(host, port, *args, **options)
        if name not in NAMES: raise socket.gaierror(socket.EAI_NONAME, 'Name or service not known')
        kinds = [(socket.AF_INET6 if ':' in a else socket.AF_INET, a) for a in NAMES[name].split()]
        return [(kind, socket.SOCK_STREAM, 6, '', (a, port, 0, 0)[:4 if ':' in a else 2]) for kind, a in kinds]
    monkeypatch.setattr(socket, 'getaddrinfo', lookup)
    urls = [f'http://{name}.example/1.jpg' for name in (*NAMES, 'intranet')] + ['http://10.0.0.7/1.jpg', 'http://localhost/1.jpg', 'http://[fd00::1]/1.jpg']
    with pytest.warns(UserWarning, match='cannot look up'): manifest = fetch_images([ImageResult(url, label='x') for url in urls], root)
    assert [manifest.get(url, 'x')['reason'] for url in urls] == ['http_404'] + ['refused_address']*(len(urls) - 1)
    assert {path.split('/')[2] for path in proxy} == {'public.example'}
    proxy.clear()
    fetch_images([ImageResult('http://intranet.example/2.jpg', label='x')], root, allow_hosts=('intranet.example',))
    assert 'http://intranet.example/2.jpg' in proxy


# Images and what sites ask of machines

def test_packed_images_cost_little(rude, root, tmp_path):
    done = subprocess.run([sys.executable, '-c', FETCH, rude.url, root], cwd=HERE, capture_output=True, text=True, timeout=60)
    said, mb = done.stdout.strip().split('\n')
    assert 'failed' in said and float(mb) < 500, done


FETCH = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (2 * 2**30,) * 2)
from child import peak
from fastcnn.core import ImageResult
from fastcnn.download import fetch_images
print(fetch_images([ImageResult(f'{sys.argv[1]}/bomb/{i}', label='x') for i in range(3)], sys.argv[2], allow_hosts=('127.0.0.1',), attempts=1).counts())
print(peak())
"""
