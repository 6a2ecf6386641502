"Every image service on a port of its own of 127.0.0.1, as each documents itself, with pictures to download; and the library led there"
import html, io, json, random, re, threading, time
from contextlib import ExitStack, contextmanager
from http.server import ThreadingHTTPServer
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from PIL import Image

from catalogue import PATHS, Catalogue
from fastcnn.services import SearchService

GENERAL = 'openverse', 'commons', 'nasa', 'duckduckgo', 'bing'
ALL = (*GENERAL, *PATHS)
KEYS = ('FASTCNN_CONTACT', 'OPENVERSE_CLIENT_ID', 'OPENVERSE_CLIENT_SECRET', 'SMITHSONIAN_API_KEY', 'PEXELS_API_KEY', 'PIXABAY_API_KEY',
        'FLICKR_API_KEY')
LARGEST = dict(openverse=20, commons=50, nasa=100, duckduckgo=100, bing=35)
BLOCKED = { # how each turns us away
    'openverse': (403, {'cf-mitigated': 'challenge'}, b'<title>Just a moment...</title>'), 'commons': (403, {}, b'Please set a user-agent'),
    'nasa': (503, {}, b''), 'duckduckgo': (202, {}, b'<div class="anomaly-modal"></div>'), 'bing': (200, {}, b'<h1>Please solve the captcha</h1>')}


def refusal(name): return BLOCKED.get(name, (429, {'Retry-After': '3600'}, b''))


def picture(service, number):
    "A JPEG that no other address has"
    noise = random.Random(f'{service} {number}').randbytes(16*16*3)
    out = io.BytesIO()
    Image.frombytes('RGB', (16, 16), noise).resize((96, 96), Image.NEAREST).save(out, 'JPEG')
    return out.getvalue()


class Service(Catalogue):
    "Catalogue's attributes, and `refuses`: (status, headers, body), whatever is asked"
    def do_GET(self):
        parts = urlsplit(self.path)
        if parts.path.startswith('/picture/'): return self.show(parts.path)
        if parts.path.startswith(('/robots.txt', '/.well-known/')): return self.reply(404)
        if self.server.refuses:
            self.server.asked.append((dict(parse_qsl(parts.query)), dict(self.headers)))
            return self.reply(*self.server.refuses)
        if self.server.service in PATHS: return super().do_GET()
        question = dict(parse_qsl(parts.query))
        self.server.asked.append((question, dict(self.headers)))
        self.reply(*getattr(self, self.server.service)(parts.path, question))

    def do_POST(self): self.reply(404)

    def show(self, path):
        if self.server.latency: time.sleep(self.server.latency)
        number = path.split('/')[2] # the rest is what a service adds to its addresses
        self.reply(200, {'Content-Type': 'image/jpeg'}, picture(self.server.service, number))

    def reply(self, status, headers=(), body=b''):
        pictures = self.server.url.encode() + b'/picture'
        body = re.sub(rb'https://images[.]example/\w+', pictures, body.replace(b'https://www.artic.edu/iiif/2', pictures))
        super().reply(status, dict(headers) | {'Content-Length': str(len(body))}, body)

    def address(self, number): return f'{self.server.url}/picture/{number}/{quote(self.server.service)}.jpg'
    def numbers(self, start, size): return range(start + 1, min(start + size, self.server.total) + 1)
    def json(self, content, status=200): return status, {'Content-Type': 'application/json'}, json.dumps(content).encode()

    def openverse(self, path, question):
        size, page = int(question['page_size']), int(question['page'])
        if size > LARGEST['openverse']: return self.json({'detail': 'page_size may not exceed 20 for anonymous requests'}, 401)
        if page*size > 240: return self.json({'detail': 'page is too deep'}, 400)
        rows = [dict(url=self.address(n), foreign_landing_url=f'https://photos.example/{n}', title=f'no. {n}', creator='Ada', license='by',
                     license_version='4.0', mature=False) for n in self.numbers((page - 1)*size, size)]
        return self.json(dict(result_count=self.server.total, page_count=min(12, -(-self.server.total//size)), results=rows))

    def commons(self, path, question):
        size, start = int(question['gsrlimit']), int(question.get('gsroffset', 0))
        assert size <= LARGEST['commons'] and 'example.org' in self.headers['User-Agent']
        about = dict(Artist={'value': '<a href="#">Ada</a>'}, LicenseShortName={'value': 'CC BY 4.0'})
        pages = [dict(title=f'File:No {n}.jpg', index=n, imageinfo=[dict(url=self.address(n), mime='image/jpeg', width=96, height=96, extmetadata=about,
                 descriptionurl=f'https://commons.example/{n}')]) for n in self.numbers(start, size)]
        reply = dict(batchcomplete=True) | (dict(query=dict(pages=pages)) if pages else {})
        if start + size < self.server.total: reply['continue'] = {'gsroffset': start + size, 'continue': 'gsroffset||'}
        return self.json(reply)

    def nasa(self, path, question):
        size, page = int(question['page_size']), int(question['page'])
        rows = [dict(data=[dict(title=f'{question["q"]} {n}', nasa_id=str(n), media_type='image', keywords=[], center='JPL')],
                     links=[dict(href=self.address(n), rel='preview')]) for n in self.numbers((page - 1)*size, size)]
        more = urlencode(question | {'page': page + 1})
        links = [dict(rel='next', href=f'http://images-api.nasa.gov/search?{more}')] if page*size < self.server.total else []
        return self.json({'collection': {'items': rows, 'links': links, 'metadata': {'total_hits': self.server.total}}})

    def duckduckgo(self, path, question):
        if path == '/': return 200, {'Content-Type': 'text/html'}, b'<script>vqd="4-1";</script>'
        start = int(question.get('s', 0))
        rows = [dict(image=self.address(n), url=f'https://web.example/{n}', title=f'no. {n}', width=96, height=96) for n in self.numbers(start, 100)]
        return self.json(dict(results=rows, next=f'i.js?s={start + 100}' if start + 100 < self.server.total else None))

    def bing(self, path, question):
        start = int(question.get('first', 1)) - 1
        tile = lambda n: html.escape(json.dumps(dict(purl=f'https://web.example/{n}', murl=self.address(n), t=f'no. {n}')))
        items = [f'<li><a class="iusc" m="{tile(n)}"></a></li>' for n in self.numbers(start, 35)]
        return 200, {'Content-Type': 'text/html'}, f'<ul>{"".join(items) or "There are no results"}</ul>'.encode()


@contextmanager
def running(service, total=1000, refuses=None, latency=0):
    "One service"
    server = ThreadingHTTPServer(('127.0.0.1', 0), Service)
    server.service, server.total, server.refuses, server.latency, server.asked, server.first, server.slow = service, total, refuses, latency, [], [], 0
    server.url = f'http://127.0.0.1:{server.server_port}'
    threading.Thread(target=server.serve_forever, kwargs=dict(poll_interval=.02), daemon=True).start()
    try: yield server
    finally: server.shutdown(); server.server_close()


@contextmanager
def all_services(monkeypatch, refusing=(), total=1000, latency=0):
    "The servers by name; each service of the library is one of them, with the limits that it keeps"
    usual = SearchService.__init__
    with ExitStack() as stack:
        servers = {name: stack.enter_context(running(name, total, refusal(name) if name in refusing else None, latency)) for name in ALL}
        def led(self, name, home, *options, **further):
            usual(self, name, servers[name].url, *options, **further)
            self.session.trust_env = False
        monkeypatch.setattr(SearchService, '__init__', led)
        yield servers
