"Search services that block, limit, change or send anything at all: rows, or an error of the right kind"
import collections, contextlib, email.utils, gzip, html, inspect, json, math, random, re, threading, time, uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qs, quote, urlsplit

import pytest
import requests
from hypothesis import HealthCheck, assume, given, settings, strategies
from yarl import URL

from fastcnn.core import ImageResult, InputError, Manifest
from fastcnn.search import (LICENSE_TYPES, BlockedError, NoResultsError, RateLimitError, SearchError,
                            ServiceChangedError, plan_search, save_search, search_images)
from fastcnn.services import PROVIDERS, text_without_mail, wikimedia_file

REPLIES = Path(__file__).parent / 'replies'
SERVICES = ('openverse', 'commons', 'nasa', 'duckduckgo', 'bing')
STAND_IN = 'http://127.0.0.1:9'
KEYS = ('OPENVERSE_CLIENT_ID', 'OPENVERSE_CLIENT_SECRET')
JSON, HTML = {'Content-Type': 'application/json'}, {'Content-Type': 'text/html; charset=utf-8'}


def recorded(name, status=200, **headers):
    "One reply, as (status, headers, body)"
    return status, (JSON if name.endswith('.json') else HTML) | headers, (REPLIES / name).read_bytes()


def talk(service):
    "The replies that a whole search of a service needs"
    before = {'duckduckgo': ['duckduckgo.html'], 'keys': ['openverse_token.json']}.get(service, [])
    page = {'keys': 'openverse.json', 'bing': 'bing.html'}.get(service, f'{service}.json')
    return [recorded(name) for name in (*before, page)]


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    "No keys, no contact, no limits of earlier searches"
    monkeypatch.setenv('FASTCNN_CACHE', str(tmp_path / 'cache'))
    for name in ('FASTCNN_PROVIDER', 'FASTCNN_CONTACT', *KEYS): monkeypatch.delenv(name, raising=False)


def set_keys(monkeypatch):
    "A pair of keys that no search has used before"
    for name, value in zip(KEYS, (uuid.uuid4().hex, 'hidden')): monkeypatch.setenv(name, value)


class Wire(list):
    "Replies, which are given one after the other; `asked` holds the questions"
    def __init__(self): self.asked = []

    def send(self, request, **options):
        "In place of a requests adapter"
        self.asked.append(request)
        reply = requests.Response()
        reply.status_code, headers, reply._content = self.pop(0) if self else (404, {}, b'')
        reply.headers.update(headers)
        reply.encoding = requests.utils.get_encoding_from_headers(reply.headers)
        reply.url, reply.request, reply._content_consumed = request.url, request, True
        return reply

    def browser(self, **options):
        "In place of primp, the client of ddgs"
        def ask(method, url, headers=None, **options):
            reply = self.send(requests.Request(method, url, headers).prepare())
            return SimpleNamespace(status_code=reply.status_code, headers=dict(reply.headers),
                                   iter_bytes=lambda: iter([reply.content]), close=lambda: None)
        return SimpleNamespace(request=ask, headers_update=lambda headers: None, proxy=None)


@pytest.fixture
def wire(monkeypatch):
    "Instead of the network: the replies in this list; `wire.asked` holds the questions"
    wire = Wire()
    monkeypatch.setattr(requests.adapters.HTTPAdapter, 'send', lambda self, request, **options: wire.send(request))
    monkeypatch.setattr('primp.Client', wire.browser)
    monkeypatch.setattr('time.sleep', lambda seconds: None)
    return wire


@pytest.fixture
def canned():
    "A function that starts a server on this machine: it gives these replies, (status, headers, body); a body of None drips"
    class Canned(BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
            status, headers, body = self.server.replies.pop(0)
            self.send_response(status)
            for name, value in headers.items(): self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(OSError):
                if body is not None: self.wfile.write(body)
                while body is None and not self.server.ended.wait(.05): self.wfile.write(b' ')
        def log_message(self, *args): pass
    servers = []
    def start(*replies):
        server = ThreadingHTTPServer(('127.0.0.1', 0), Canned)
        server.replies, server.asked, server.ended = list(replies), [], threading.Event()
        server.url = f'http://127.0.0.1:{server.server_port}'
        threading.Thread(target=server.serve_forever, kwargs=dict(poll_interval=.02), daemon=True).start()
        servers.append(server)
        return server
    yield start
    for server in servers:
        server.ended.set()
        server.shutdown()
        server.server_close()


def failure(wire, *replies, **question):
    "The error with which a search of these replies ends"
    wire[:] = replies
    with pytest.raises(SearchError) as caught: search_images('mars', 5, **{'base_url': STAND_IN} | question)
    return caught.value


# What real replies bring

def test_openverse_rows(wire):
    wire[:] = talk('openverse')
    found = search_images('mars', 9, provider='openverse', base_url=STAND_IN)
    licenses = ['by-sa 2.0', 'by 4.0', 'cc0 1.0', 'pdm 1.0', 'by-nc-nd 2.0'] # the sixth row is mature content
    assert [result.license for result in found] == licenses
    assert found[0] == ImageResult(
        'https://live.example.org/65535/1_b.jpg', query='mars', provider='openverse', title='Mars over the dunes', creator='ada',
        landing_url='https://photos.example.org/ada/1', license='by-sa 2.0', width=1024, height=683,
        license_url='https://creativecommons.org/licenses/by-sa/2.0/')
    wire[:] = talk('openverse')
    assert len(search_images('mars', 9, provider='openverse', base_url=STAND_IN, safe=False)) == 6
    assert 'mature=true' in wire.asked[-1].url


def test_commons_rows(wire):
    wire[:] = talk('commons')
    found = search_images('mars', 9, provider='commons', base_url=STAND_IN)
    titles = ['Mars Valles Marineris', 'Mars from garden', 'OSIRIS Mars true color', 'Mars map 1905', 'Olympus Mons']
    assert [result.title for result in found] == titles # by index, without the drawing
    assert [result.license for result in found] == ['pdm', 'by-sa 4.0', 'by-sa 3.0', 'GFDL', '']
    creators = ['NASA / USGS', 'Ada', 'ESA & MPS for the OSIRIS Team', 'Percival', 'Unknown author']
    assert [result.creator for result in found] == creators
    assert [result.width for result in found] == [960, 700, 960, 960, 960] and found[0].sha1 == f'{12:040x}'
    assert all(re.search('/960px-', result.url) or result.width == 700 for result in found)
    assert len({result.landing_url for result in found}) == 5 and 'iiurlwidth=960' in wire.asked[0].url


def test_nasa_rows(wire):
    wire[:] = talk('nasa')
    found = search_images('mars', 9, provider='nasa', base_url=STAND_IN)
    assert [result.url.rsplit('~')[1] for result in found] == ['large.jpg', 'thumb.jpg', 'thumb.jpg'] and ' ' not in found[1].url
    assert [result.creator for result in found] == ['NASA/JPL/USGS', 'NASA/JPL', 'NASA/Bill Ingalls']
    assert {result.license for result in found} == {''} and found[0].license_url.startswith('https://www.nasa.gov/')


@pytest.mark.parametrize('service', ['duckduckgo', 'bing'])
def test_rows_of_the_whole_web(wire, service):
    wire[:] = talk(service)
    found = search_images('mars', 5, provider=service, base_url=STAND_IN)
    assert len(found) == 5 and found[0].url.startswith('https://www.example1.org/') and 'mars%201.jpg' in found[0].url
    assert found[0].landing_url == 'https://www.example1.org/mars/' and found[0].width > found[0].height > 600
    if service == 'bing': assert found[0].url.endswith('?u=a%2Fb&w=100') # ddgs alone gives ?u=a/b


def test_safe_search_is_on_unless_switched_off(wire):
    for safe, words in ((True, ('p=1', 'adlt=strict')), (False, ('p=-1', 'adlt=off'))):
        for service, word in zip(('duckduckgo', 'bing'), words):
            wire[:] = talk(service)
            search_images('mars', 5, provider=service, base_url=STAND_IN, safe=safe)
            assert word in wire.asked[-1].url.split('?')[1].split('&')


def tile(url, **more): return '<a class="iusc" m="' + html.escape(json.dumps({'murl': url, 't': 'Mars'} | more)) + '"></a>'


def full_page(service, size, number):
    "The reply that holds one whole page, from 0, and says that more follow"
    urls = [f'http://a/{number}/{i}~large.jpg' for i in range(size)]
    more = f'?q=mars&s={100 * number + 100}&page={number + 2}'
    if service == 'bing': return 200, HTML, ''.join(map(tile, urls)).encode()
    items = [{'data': [{}], 'links': [{'href': url}]} for url in urls]
    pages = [{'title': 'File:A.jpg', 'index': place, 'imageinfo': [{'url': url}]} for place, url in enumerate(urls, 1)]
    whole = dict(openverse={'page_count': 10**6, 'results': [{'url': url} for url in urls]},
                 commons={'query': {'pages': pages}, 'continue': {'gsroffset': number}},
                 nasa={'collection': {'items': items, 'links': [{'rel': 'next', 'href': 'http://a/search' + more}]}},
                 duckduckgo={'results': [{'image': url} for url in urls], 'next': 'i.js' + more})
    return 200, JSON, json.dumps(whole[service]).encode()


@pytest.mark.parametrize('service', [*SERVICES, 'keys'])
def test_images_cost_the_fewest_questions(wire, clock, monkeypatch, service):
    monkeypatch.setenv('FASTCNN_CONTACT', 'ada@example.org')
    name, first = 'openverse' if service == 'keys' else service, talk(service)[:-1]
    info = PROVIDERS[name].info
    ends = name == 'openverse' # itself, before the service has to say so
    size, depth = 48 if service == 'keys' else info.page, info.depth if ends else 5 * info.page
    for n in (1, size - 1, size, size + 1, depth, *[depth + 1] * ends):
        if service == 'keys': set_keys(monkeypatch)
        wire[:] = [*first, *(full_page(name, size, number) for number in range(20))]
        wire.asked.clear()
        assert len(search_images('mars', n, provider=name)) == min(n, depth)
        assert len(wire.asked) == len(first) + math.ceil(min(n, depth) / size), n
    sizes = [re.search('(?:page_size|gsrlimit|count)=([0-9]+)', asked.url) for asked in wire.asked[len(first):]]
    assert service == 'duckduckgo' or {found[1] for found in sizes} == {str(size)}


@pytest.mark.parametrize('width, copy', [(2205, 'thumb/b/b1/OSIRIS_Mars_true_color.jpg/960px-OSIRIS_Mars_true_color.jpg'),
                                         (None, 'b/b1/OSIRIS_Mars_true_color.jpg')]) # unsure that it is large, we keep the original
def test_a_file_of_wikimedia_comes_once(wire, monkeypatch, width, copy):
    monkeypatch.setenv('FASTCNN_CONTACT', 'ada@example.org')
    upload = 'https://upload.wikimedia.org/wikipedia/commons/'
    row = {'url': f'{upload}b/b1/OSIRIS_Mars_true_color.jpg', 'source': 'wikimedia', 'width': width, 'license': 'by', 'license_version': '4.0'}
    wire[:] = [(200, JSON, json.dumps({'page_count': 1, 'results': [row]}).encode()), *talk('commons')]
    found = search_images('mars', 9, provider='openverse,commons')
    assert [result.provider for result in found] == ['openverse'] + ['commons'] * 4
    assert (found[0].url, found[0].width) == (upload + copy, width and 960)


def test_openverse_leaves_wikimedia_to_commons_only_where_that_follows(wire, monkeypatch):
    for contact, provider, left in (('ada@example.org', 'openverse,commons', True), ('', 'openverse,commons', False),
                                    ('ada@example.org', 'commons,openverse', False), ('ada@example.org', 'openverse', False)):
        monkeypatch.setenv('FASTCNN_CONTACT', contact)
        wire[:], wire.asked[:] = talk('commons') * (provider[0] == 'c') + talk('openverse'), []
        search_images('mars', 5 + 5 * (provider[0] == 'c'), provider=provider)
        assert ['excluded_source=wikimedia' in asked.url for asked in wire.asked if 'openverse' in asked.url] == [left]


LETTERS = strategies.characters(exclude_categories=['Cs', 'Cc', 'Zs', 'Zl', 'Zp'], exclude_characters='/?#%_')
FILE_NAMES = strategies.text(LETTERS, min_size=1)


@given(name=FILE_NAMES, other=FILE_NAMES, place=strategies.sampled_from(['0/02', 'a/ab']))
def test_each_address_of_a_file_names_that_file(name, other, place):
    upload, told = 'https://upload.wikimedia.org/wikipedia/commons/', quote(name + '.jpg')
    addresses = [f'{upload}{place}/{told}', f'{upload}{place}/{name}.jpg', f'{upload}thumb/{place}/{told}/960px-{told}',
                 f'https://thumb.wikimedia.org/wikipedia/commons/thumb/{place}/{told}/960px-{told}?utm_source=commons&x=/',
                 f'https://thumb.wikimedia.org/wikipedia/commons/{place}/{told}/500px-{told}',
                 f'https://commons.wikimedia.org/wiki/Special:FilePath/{told}?width=300']
    names = {wikimedia_file(url) for url in addresses}
    assert len(names) == 1 and '' not in names
    same = (other[0].upper() + other[1:]) == (name[0].upper() + name[1:])
    assert (wikimedia_file(f'{upload}{place}/{quote(other)}.jpg') in names) == same
    assert not wikimedia_file(f'https://upload.example.org/wikipedia/commons/{place}/{told}')


@pytest.mark.parametrize('service', ['openverse', 'commons', 'nasa'])
def test_credits_hold_no_mail_address(wire, service):
    body = recorded(f'{service}.json')[2].decode()
    maker = {'openverse': '"creator": "ada"', 'commons': '"value": "Percival"', 'nasa': '"photographer": "NASA/Bill Ingalls"'}[service]
    assert maker in body
    wire[:] = [(200, JSON, body.replace(maker, f'{maker[:-1]} (bill.i+x@nasa.example.org)"').encode())]
    found = {result.creator for result in search_images('mars', 9, provider=service, base_url=STAND_IN)}
    wire[:] = talk(service)
    assert found == {result.creator for result in search_images('mars', 9, provider=service, base_url=STAND_IN)}


def test_a_file_of_addresses_credits_no_mail_address(tmp_path):
    told = ImageResult('http://a/1.jpg', title='to ada@a.org', creator='Ada <ada@a.org>', license='ask ada@a.org')
    found = search_images('mars', 5, provider=save_search([told], tmp_path / 'a.csv'))[0]
    assert (found.title, found.creator, found.license) == ('to', 'Ada', 'ask')


@given(before=strategies.text(max_size=9), mail=strategies.emails(), after=strategies.text(max_size=9))
def test_any_mail_address_beside_a_maker_goes(before, mail, after):
    local, host = mail.split('@')
    assume(re.fullmatch(r"[\w.+'-]+", local)) # what people have
    assert mail not in text_without_mail(f'{before} {mail} {after}')
    assert text_without_mail(f'Ada {local} {host}') == f'Ada {local} {host}'.strip()


def test_nasa_counts_among_all_only_where_it_knows_the_words():
    assert [name for name in SERVICES if PROVIDERS[name].info.auto is not True] == ['nasa'] and PROVIDERS['nasa'].info.auto == 'known'


@pytest.mark.parametrize('known, total', [(0, 0), (0, 4), (1, 3), (2, 4), (3, 3)])
def test_half_of_the_first_page_must_hold_the_words(wire, known, total):
    titles = ['Planets, THE MOON'] * known + ['Planets, a rover'] * (total - known)
    rows = [{'data': [{'title': title}], 'links': [{'href': f'http://a/{i}~large.jpg'}]} for i, title in enumerate(titles)]
    reply = 200, JSON, json.dumps({'collection': {'items': rows}}).encode()
    for told, expected in (({'only_known': True}, total if total and 2 * known >= total else 0), ({}, total)):
        wire[:] = [reply]
        assert len(list(PROVIDERS['nasa']('moon planet', 99, 'all', True, STAND_IN, told))) == expected


# Bing, and what ddgs does for us

def test_bing_is_read_where_ddgs_finds_less(wire):
    whole = recorded('bing.html')[2].decode()
    wire[:] = talk('bing')
    known = search_images('mars', 5, provider='bing', base_url=STAND_IN)
    for moved in (whole.replace('infopt', 'infonew'), whole.replace('infopt', 'infonew', 2), whole.replace(' m="{', ' m="', 1)):
        wire[:] = [(200, HTML, moved.encode()), (200, HTML, b'<p></p>')]
        found = search_images('mars', 9, provider='bing', base_url=STAND_IN)
        assert found == known[moved.count(' m="{') < whole.count(' m="{'):] # all, or all but the one that is broken


def test_a_captcha_on_any_page_of_bing_is_told(wire):
    for pages in range(3):
        wire[:] = [*(full_page('bing', 35, number) for number in range(pages)), (200, HTML, b'<form id="captcha-form">')]
        if not pages: assert type(failure(wire, *wire, provider='bing')) is BlockedError
        else:
            with pytest.warns(UserWarning, match=rf'human.*\({35 * pages} results so far\)'):
                assert len(search_images('mars', 200, provider='bing', base_url=STAND_IN)) == 35 * pages
    firsts = [re.search(r'first=(\d+)&count=35&adlt=strict', asked.url)[1] for asked in wire.asked[-3:]]
    assert firsts == ['1', '36', '71']


def test_what_we_use_of_ddgs_is_there():
    from ddgs.engines import ENGINES
    settings_ini = (REPLIES.parents[1] / 'settings.ini').read_text()
    assert re.search(r'^ +ddgs>=9\.16,<10$', settings_ini, re.M) # its internals are none of its promises
    for name in ('duckduckgo', 'bing'):
        engine = ENGINES['images'][name]()
        assert engine.name == name and engine.http_client.client.proxy is None
        taken = inspect.signature(engine.http_client.client.request).parameters
        assert {'headers', 'timeout', 'follow_redirects', 'stream'} <= {*taken} and hasattr(engine.http_client.client, 'headers_update')
        assert {'query', 'safesearch', 'page', 'kwargs'} <= {*inspect.signature(engine.search).parameters}
    engine = ENGINES['images']['bing']()
    assert (engine.search_method, engine.search_url) == ('GET', 'https://www.bing.com/images/async')
    second = engine.build_payload('mars', 'us-en', 'on', None, 2, max_results=35)
    assert second == {'q': 'mars', 'async': '1', 'first': '36', 'count': '35'}


@pytest.mark.parametrize('filters', [{}, {'size': 'Large'}, {'color': 'Red', 'type': 'Photo'}, {'layout': 'Tall', 'size': 'All'}])
def test_duckduckgo_is_asked_as_ddgs_asks(canned, filters):
    from ddgs.engines import ENGINES
    server = canned(*talk('duckduckgo'), (200, {}, b''))
    search_images('mars', 5, provider='duckduckgo', base_url=server.url, filters=filters)
    engine = ENGINES['images']['duckduckgo']()
    engine._get_vqd = lambda query: '4-283746283746283746'
    words = {'type_image' if name == 'type' else name: value for name, value in filters.items() if value != 'All'}
    engine.http_client.request('GET', server.url + '/i.js', params=engine.build_payload('mars', 'us-en', 'on', None, **words))
    (path, ours), (their_path, theirs) = server.asked[1:]
    assert parse_qs(urlsplit(path).query) == parse_qs(urlsplit(their_path).query) and ('&f=' in path) == bool(words)
    kept = {'referer', 'accept', 'accept-language', 'sec-fetch-dest', 'sec-fetch-mode', 'sec-fetch-site', 'sec-gpc', 'priority'}
    assert {name: ours[name] for name in kept} == {name: theirs[name] for name in kept}
    assert 'Mozilla' in ours['user-agent'] and not any('fastcnn' in value or 'python' in value for value in ours.values())


def test_the_browser_keeps_our_rules(canned, monkeypatch):
    monkeypatch.setenv('http_proxy', 'http://127.0.0.1:9') # no proxy to this machine
    monkeypatch.setenv('HTTP_PROXY', 'http://127.0.0.1:9')
    token, page = talk('duckduckgo')
    server = canned((200, {'Set-Cookie': 'seen=yes'}, token[2]), (302, {'Location': '/there'}, b''), page)
    assert len(search_images('mars', 5, provider='duckduckgo', base_url=server.url)) == 5
    assert server.asked[1][1]['cookie'] == 'seen=yes' and server.asked[2][0] == '/there'
    for reply, kind, word in (
            ((200, {'Content-Encoding': 'gzip'}, gzip.compress(bytes(2**25))), ServiceChangedError, 'too large'),
            ((200, {'Content-Encoding': 'gzip'}, b'no gzip'), SearchError, 'could not be reached'),
            ((302, {'Location': 'http://169.254.169.254/'}, b''), ServiceChangedError, '169.254.169.254/, where we do not follow'),
            ((302, {'Location': 'file:///etc/passwd'}, b''), ServiceChangedError, 'where we do not follow'),
            ((200, {'X-Name': '\xff', 'Content-Length': '9999'}, b'cut'), SearchError, 'could not be reached'),
            ((202, {}, b'<p>hello</p>'), BlockedError, 'proof that we are human')):
        server = canned(reply)
        with pytest.raises(kind, match=word): search_images('mars', 5, provider='duckduckgo', base_url=server.url)
        assert len(server.asked) == 1


def test_the_browser_keeps_the_deadline(canned, monkeypatch):
    monkeypatch.setattr('fastcnn.services.SearchService.deadline', .5)
    server = canned((200, {}, None))
    start, ours = time.monotonic(), lambda: {thread for thread in threading.enumerate() if 'process_request' not in thread.name}
    before = ours()
    with pytest.raises(SearchError, match='duckduckgo: did not finish its answer in 0.5 s'):
        search_images('mars', 5, provider='duckduckgo', base_url=server.url)
    while ours() - before: assert time.monotonic() - start < 5 # nobody goes on listening


# How they fail

later = lambda: email.utils.formatdate(time.time() + 3000, usegmt=True) # from when it is asked, not from when the tests were collected
LIMITED = {'429': {}, '429 seconds': {'Retry-After': '2999'}, '429 date': {'Retry-After': later}, '429 nonsense': {'Retry-After': 'soon'}}
FAILURES = {trouble: ((429, JSON | headers, b'{}'), RateLimitError) for trouble, headers in LIMITED.items()} | {
    '403': ((403, HTML, b'<h1>Forbidden</h1>'), BlockedError),
    '202': ((202, HTML, b''), BlockedError),
    'network': (recorded('cloudflare.html', 403), BlockedError),
    'mitigated': ((403, JSON | {'cf-mitigated': 'challenge'}, b'{}'), BlockedError),
    '503 later': ((503, JSON | {'Retry-After': '2999'}, b'{}'), RateLimitError),
    '500': ((500, HTML, b'<h1>oops</h1>'), SearchError),
    'HTML': ((200, HTML, b'<!doctype html><h1>Welcome</h1>'), ServiceChangedError),
    'nothing': ((200, JSON, b''), ServiceChangedError),
    'captcha': ((200, HTML, b'<form id="captcha-form">'), BlockedError),
    'away': ((302, {'Location': 'http://169.254.169.254/'}, b''), ServiceChangedError)}


@pytest.mark.parametrize('service', SERVICES)
@pytest.mark.parametrize('trouble', FAILURES)
def test_each_failure_has_its_kind(wire, service, trouble):
    (status, headers, body), kind = FAILURES[trouble]
    reply = status, {name: value() if callable(value) else value for name, value in headers.items()}, body
    first = talk(service)[:-1]
    error = failure(wire, *first, *[reply] * 3, provider=service)
    assert type(error) is kind and error.provider == service and re.search('choose another|try again', str(error))
    assert ('from another network' in str(error)) == (trouble in ('network', 'mitigated'))
    assert ('proof that we are human' in str(error)) == (trouble in ('202', 'captcha'))
    if trouble in ('429', '429 nonsense'): assert error.wait == 60
    elif '429' in trouble or trouble == '503 later': assert 2900 < error.wait <= 3000
    assert len(wire.asked) == len(first) + 1 and '169.254' not in wire.asked[-1].url


NOTHING = dict(openverse={'result_count': 0, 'page_count': 0, 'results': []}, commons={'batchcomplete': True},
               nasa={'collection': {'items': []}}, duckduckgo={'results': []})
STRANGE = dict(openverse={'detail': 'gone'}, commons={'error': {'code': 'badvalue', 'info': 'Unrecognized value'}},
               nasa={'reason': 'gone'}, duckduckgo={'error': 'gone'})


@pytest.mark.parametrize('service', NOTHING)
def test_nothing_found_is_not_a_strange_answer(wire, service):
    first = talk(service)[:-1]
    for whole, kind in ((NOTHING[service], NoResultsError), (STRANGE[service], ServiceChangedError)):
        assert type(failure(wire, *first, (200, JSON, json.dumps(whole).encode()), provider=service)) is kind


def test_bing_says_that_it_knows_nothing(wire):
    assert type(failure(wire, (200, HTML, b'<p>There are no results for mars</p>'), provider='bing')) is NoResultsError
    unreadable = b'<div><div class="imgpt"><a m="x"></a></div></div>'
    assert type(failure(wire, (200, HTML, unreadable), provider='bing')) is ServiceChangedError


@pytest.mark.parametrize('name, wait', [('commons_maxlag.json', 7), ('commons_ratelimited.json', 60)])
def test_errors_of_commons_come_with_status_200(wire, name, wait):
    error = failure(wire, *[recorded(name, **({'Retry-After': '7'} if wait == 7 else {}))] * 3, provider='commons')
    assert type(error) is RateLimitError and error.wait == wait and 'says "' in str(error)
    assert len(wire.asked) == (3 if wait == 7 else 1) # seven seconds are waited out, a minute is not


def test_refusals_are_quoted(wire):
    assert 'Expected available in 41 seconds' in str(failure(wire, recorded('openverse_429.json', 429), provider='openverse'))
    assert 'may not exceed 20' in str(failure(wire, *[recorded('openverse_401.json', 401)] * 3, provider='openverse'))


def test_limits_are_waited_out_or_told(server):
    page = {'page_count': 1, 'results': [{'url': 'http://a/1.jpg', 'license': 'by', 'license_version': '4.0'}]}
    server.replies = [(429, '')]
    with pytest.raises(RateLimitError) as caught: search_images('mars', 5, provider='openverse', base_url=server.url)
    assert caught.value.wait == 60
    server.replies, server.soon = [(429, ''), (200, page)], True
    assert search_images('mars', 5, base_url=server.url)[0].license == 'by 4.0'


@pytest.mark.parametrize('wait', [31, 6 * 3600 + 1, 86_400])
def test_a_long_wait_is_told_as_it_was_sent_and_never_slept(canned, monkeypatch, wait):
    monkeypatch.setattr('time.sleep', lambda seconds: pytest.fail('slept'))
    for service in SERVICES: # real HTTP, with urllib3 or primp on the way
        server = canned((429, {'Retry-After': str(wait)}, b''))
        with pytest.raises(RateLimitError, match={31: '31 s', 21601: '6 h', 86400: '24 h'}[wait]) as caught:
            search_images('mars', 5, provider=service, base_url=server.url)
        assert caught.value.wait == wait and len(server.asked) == 1


# Limits that we keep ourselves, keys, contact

@pytest.fixture
def clock(wire, monkeypatch):
    "The time as pyrate-limiter sees it, in nanoseconds, in a list of one; waiting moves it"
    now = [time.time_ns()]
    def sleep(seconds): now[0] += int(seconds * 1e9)
    for source in ('buckets.sqlite_bucket.time_ns', 'clocks.monotonic_ns'):
        monkeypatch.setattr(f'pyrate_limiter.{source}', lambda: now[0])
    monkeypatch.setattr('time.sleep', sleep)
    return now


def search_openverse(wire):
    "One question to Openverse, which answers"
    wire[:] = talk('openverse')
    return search_images('mars', 5, provider='openverse')


def test_a_day_is_longer_than_a_process(wire, clock, monkeypatch, tmp_path):
    (tmp_path / 'shared').mkdir()
    start, minutes = clock[0], []
    for number in range(200): # each as a new process begins: the same file, under a name that nobody has opened yet
        monkeypatch.setenv('FASTCNN_CACHE', str(tmp_path / f'process {number}'))
        (tmp_path / f'process {number}').symlink_to(tmp_path / 'shared')
        search_openverse(wire)
        minutes.append((clock[0] - start) / 60e9)
    a_minute_apart = [later - sooner >= 1 for sooner, later in zip(minutes, minutes[20:])]
    assert all(a_minute_apart) and 9 < minutes[-1] < 10 # 20 a minute, no more and no fewer
    wire[:] = talk('duckduckgo')
    with pytest.warns(UserWarning, match='openverse: allows no more questions now: try again in 24 h'):
        found = search_images('mars', 5, provider='openverse,duckduckgo')
    assert {result.provider for result in found} == {'duckduckgo'}
    assert sum('api.openverse.org' in asked.url for asked in wire.asked) == 200
    clock[0] += 86_400 * 10**9
    assert search_openverse(wire)


def test_limits_hold_where_no_file_can_be_written(wire, clock, monkeypatch):
    monkeypatch.setenv('FASTCNN_CACHE', '/dev/null/nowhere')
    for _ in range(200): search_openverse(wire)
    with pytest.raises(RateLimitError) as caught: search_openverse(wire)
    assert 86_000 - 600 < caught.value.wait <= 86_400 and len(wire.asked) == 200


@pytest.mark.parametrize('service', SERVICES)
def test_the_limits_that_are_told_are_kept(wire, clock, monkeypatch, service):
    monkeypatch.setenv('FASTCNN_CONTACT', 'ada@example.org')
    start, (most, seconds) = clock[0], PROVIDERS[service].info.limits[0]
    def search():
        wire[:] = talk(service)
        search_images('mars', 3, provider=service)
    while len(wire.asked) < most: search()
    assert len(wire.asked) == most and clock[0] == start
    search()
    assert seconds - 1 <= (clock[0] - start) / 1e9 <= seconds + 1


def test_keys_are_exchanged_once_and_shown_to_openverse_only(wire, monkeypatch):
    set_keys(monkeypatch)
    wire[:] = [*talk('keys'), recorded('openverse.json')]
    for _ in range(2): assert len(search_images('mars', 400, provider='openverse')) == 5
    token, *pages = wire.asked
    assert token.url == 'https://api.openverse.org/v1/auth_tokens/token/'
    assert 'client_secret=hidden' in token.body and 'grant_type=client_credentials' in token.body
    assert [page.headers['Authorization'] for page in pages] == ['Bearer not-a-real-token'] * 2 and 'page_size=48' in pages[0].url
    wire[:] = talk('openverse')
    search_images('mars', 5, provider='openverse', base_url=STAND_IN)
    assert 'Authorization' not in wire.asked[-1].headers and not any('hidden' in str(asked.url) for asked in wire.asked)


def test_a_token_is_dropped_only_when_it_is_refused(wire, monkeypatch):
    set_keys(monkeypatch)
    wire[:] = [*talk('keys')[:1], recorded('openverse_401_keys.json', 401), *talk('openverse'), *talk('openverse')]
    for _ in range(2): assert search_images('mars', 400, provider='openverse')
    assert ['token' in asked.url for asked in wire.asked] == [True, False, False, False] # too large a page: the token is kept
    assert [re.search(r'page_size=(\d+)', asked.url)[1] for asked in wire.asked[1:]] == ['48', '20', '48']
    revoked = 401, JSON, b'{"detail": "Invalid token."}'
    wire[:] = [revoked, *talk('keys')]
    assert search_images('mars', 400, provider='openverse')
    assert ['token' in asked.url for asked in wire.asked[4:]] == [False, True, False]
    error = failure(wire, revoked, *talk('keys')[:1], revoked, provider='openverse', base_url=None)
    assert type(error) is BlockedError and error.status == 401 and 'Invalid token' in str(error) and not wire # asked anew only once


def test_a_token_that_is_refused_half_way_is_told(wire, monkeypatch):
    set_keys(monkeypatch)
    revoked = 401, JSON, b'{"detail": "Invalid token."}'
    token, pages = talk('keys')[0], [full_page('openverse', 48, number) for number in range(2)]
    wire[:] = [token, pages[0], revoked, token, pages[1], revoked, token, revoked]
    with pytest.warns(UserWarning, match=r'Invalid token.*\(96 results so far\)'):
        assert len(search_images('mars', 240, provider='openverse')) == 96
    assert not wire


def test_wrong_keys_are_told(wire, monkeypatch):
    monkeypatch.setenv('OPENVERSE_CLIENT_ID', 'me')
    with pytest.raises(InputError, match='needs both'): search_images('mars', 5, provider='openverse')
    monkeypatch.setenv('OPENVERSE_CLIENT_SECRET', 'hidden')
    error = failure(wire, (401, JSON, b'{"error": "invalid_client"}'), provider='openverse', base_url=None)
    assert type(error) is BlockedError and 'check them' in str(error) and 'hidden' not in str(error)
    error = failure(wire, recorded('cloudflare.html', 403), provider='openverse', base_url=None)
    assert 'from another network' in str(error) and 'keys' not in str(error)


def test_commons_wants_a_contact(wire, monkeypatch):
    with pytest.raises(InputError, match='set FASTCNN_CONTACT'): search_images('mars', 5, provider='commons')
    wire[:] = [recorded('openverse.json'), *talk('duckduckgo')]
    assert plan_search('mars').missing['commons'] == 'FASTCNN_CONTACT' # told before, and then not again
    found = search_images('mars', 8, 'openverse, commons, duckduckgo')
    assert [result.provider for result in found] == ['openverse'] * 5 + ['duckduckgo'] * 3
    assert not any('wikimedia' in asked.url for asked in wire.asked)
    monkeypatch.setenv('FASTCNN_CONTACT', 'ada@example.org')
    wire[:] = talk('commons')
    search_images('mars', 5, provider='commons')
    assert wire.asked[-1].url.startswith('https://commons.wikimedia.org/w/api.php?')
    assert 'ada@example.org' in wire.asked[-1].headers['User-Agent']


def test_pages_too_deep_and_accounts_too_small(server):
    assert len(search_images('mars', 60, base_url=server.url)) == 60
    found = search_images('mars', 60, license='commercial', base_url=server.url)
    assert {result.license for result in found} == {'by', 'cc0'} and len(found) == 30


def test_a_page_that_repeats_for_ever_ends(wire):
    whole = json.loads(recorded('openverse.json')[2]) | {'page_count': 10**8}
    wire[:] = [(200, JSON, json.dumps(whole).encode())] * 50
    assert len(search_images('mars', 99, provider='openverse', base_url=STAND_IN)) == 5 and len(wire.asked) == 4


# Anything at all

WRONG_VALUES = [
    None, True, -1, 0, 7, 1e308, float('inf'), 10**400, '', 'x', '<b>x</b>', '\ud800', '\x00\x1b[31m', 'http://[', 'https://',
    'http://a:99999/', '//b/1.jpg', 'javascript:alert(1)', 'http://a/\ud800.jpg', 'http://b/2 3.jpg', [], {}, [[]], {'a': 1},
    ['http://a/1.jpg'], [None], 'y' * 5000, 'http://a/' + 'z' * 9000]
WRONG_BODIES = [b'', b'null', b'[]', b'{}', b'0', b'"results"', b'<html><h1>Too many requests</h1>', b'[' * 100_000,
                b'\xff\xfe\x00', b'{"results": [' * 3000]
BAD_STATUS = [(status, {}) for status in (202, 204, 400, 403, 404, 410, 418, 500)] + [
    (301, {'Location': '/elsewhere'}), (302, {'Location': 'http://10.0.0.1/'}), (302, {'Location': '\xff['}),
    (429, {'Retry-After': '3'}), (429, {'Retry-After': '-1'}), (429, {'Retry-After': '9' * 30}),
    (503, {'Retry-After': 'Thu, 01 Jan 1970 00:00:00 GMT'})]


def places(value, path=()):
    "Every place in a JSON value"
    yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in inside: yield from places(inner, (*path, key))


def break_one_place(value, chance):
    "Change one place: another value, gone, wrapped, or doubled"
    path = chance.choice(list(places(value))[1:] or [()])
    if not path: return chance.choice(WRONG_VALUES)
    home = value
    for key in path[:-1]: home = home[key]
    kind, key = chance.choice(['value', 'value', 'value', 'gone', 'wrapped', 'renamed']), path[-1]
    if kind == 'gone' or kind == 'renamed' and isinstance(home, list): del home[key]
    elif kind == 'renamed': home[f'{key}_v2'] = home.pop(key)
    else: home[key] = [home[key]] if kind == 'wrapped' else chance.choice(WRONG_VALUES)
    return value


def scramble(body, chance):
    "Change the bytes: cut, replaced, or some of them wrong"
    kind = chance.choice(['cut', 'other', 'bytes', 'twice'])
    if kind == 'other': return chance.choice(WRONG_BODIES)
    at = chance.randrange(len(body))
    if kind == 'cut': return body[:at]
    if kind == 'twice': return body[:at] + body
    return body[:at] + chance.randbytes(chance.randrange(1, 6)) + body[at + chance.randrange(4):]


def mutate_text(body, chance):
    "Change the JSON in a body, or in the attributes of a page"
    if body[:1] == b'{':
        whole = json.loads(body)
        for _ in range(chance.randrange(1, 4)): whole = break_one_place(whole, chance)
        return json.dumps(whole).encode()
    inside = lambda found: ' m="' + html.escape(json.dumps(break_one_place(json.loads(html.unescape(found[1])), chance))) + '"'
    return re.sub(' m="([^"]*)"', inside, body.decode(), count=chance.randrange(6)).encode('utf-8', 'surrogatepass')


def mutate(reply, chance):
    "A reply as it should not be"
    status, headers, body = reply
    dice = chance.random()
    if dice < 0.08: return *chance.choice(BAD_STATUS), body
    return status, headers, mutate_text(body, chance) if dice < 0.75 else scramble(body, chance)


def check_rows(results):
    "What every result must be"
    for result in results:
        assert result.url.startswith(('http://', 'https://')) and URL(result.url).host and ' ' not in result.url
        for name, value in vars(result).items():
            if name in ('width', 'height'): assert value is None or type(value) is int and value > 0
            elif name in ('title', 'creator', 'license', 'provider'): assert type(value) is str and len(value) < 4100
            else: assert type(value) is str and len(value) < 4100 and value.isprintable()
        json.dumps(vars(result), ensure_ascii=False).encode()


def outcome(provider, **question):
    "How a search ends: rows, or the kind of its error"
    try: results = search_images('mars', 50, provider=provider, **question)
    except SearchError as error: return type(error).__name__
    check_rows(results)
    return 'rows'


@pytest.mark.filterwarnings('ignore::UserWarning')
@pytest.mark.parametrize('service', [*SERVICES, 'keys'])
def test_500_mutations_are_rows_or_a_search_error(wire, clock, monkeypatch, service):
    ends = collections.Counter()
    for seed in range(500):
        if service == 'keys': set_keys(monkeypatch)
        chance = random.Random(f'{service} {seed}')
        wire[:] = talk(service)
        place = chance.randrange(len(wire))
        wire[place] = mutate(wire[place], chance)
        ends[outcome('openverse') if service == 'keys' else outcome(service, base_url=STAND_IN)] += 1
    assert sum(ends.values()) == 500 and ends['rows'] > 150 and ends['ServiceChangedError'] > 50, ends
    assert ends['BlockedError'] and ends['RateLimitError'], ends


@pytest.mark.filterwarnings('ignore::UserWarning')
@pytest.mark.parametrize('service', SERVICES)
def test_mutations_through_real_http(server, monkeypatch, service):
    monkeypatch.setattr('time.sleep', lambda seconds: None)
    for seed in range(20):
        chance = random.Random(f'{service} {seed}')
        server.replies = [(status, body.decode('utf-8', 'replace')) for status, headers, body in talk(service)]
        status, headers, body = mutate(talk(service)[-1], chance)
        server.replies[-1:] = [(status, body.decode('utf-8', 'replace'))] + [(500, '')] * 3
        outcome(service, base_url=server.url)


def addresses(suffix, tmp_path):
    "The recorded addresses as a file of this kind"
    if suffix != '.parquet': return (REPLIES / f'addresses{suffix}').read_bytes()
    known = search_images('mars', 9, provider=str(REPLIES / 'addresses.csv'))
    return save_search(known, tmp_path / 'a.parquet').read_bytes()


@pytest.mark.parametrize('suffix', ['.csv', '.jsonl', '.parquet'])
def test_500_mutations_of_a_file_are_rows_or_an_input_error(tmp_path, suffix):
    whole, path, ends = addresses(suffix, tmp_path), tmp_path / f'b{suffix}', collections.Counter()
    for seed in range(500):
        chance = random.Random(f'{suffix} {seed}')
        body = whole
        if suffix == '.jsonl' and seed % 2:
            lines = whole.decode().splitlines()
            place = chance.randrange(len(lines))
            lines[place] = json.dumps(break_one_place(json.loads(lines[place]), chance))
            body = '\n'.join(lines).encode()
        path.write_bytes(body if body != whole else scramble(whole, chance))
        try: ends[outcome(str(path))] += 1
        except InputError as error:
            assert 'cannot be read as a file of addresses' in str(error) and len(str(error)) < 900
            ends['InputError'] += 1
    assert ends['rows'] > 20 and ends['InputError'] > 20 and set(ends) <= {'rows', 'InputError', 'NoResultsError'}, ends


FIELDS = strategies.sampled_from(['url', 'image', 'results', 'next', 'license', 'query', 'pages', 'collection', 'items'])
LEAVES = [strategies.none(), strategies.booleans(), strategies.integers(), strategies.floats(), strategies.text(max_size=9)]
def lists_and_dicts(inner): return strategies.lists(inner, max_size=3) | strategies.dictionaries(FIELDS, inner, max_size=3)
ANYTHING = strategies.recursive(strategies.one_of(LEAVES), lists_and_dicts, max_leaves=6)
PATIENT = dict(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@settings(max_examples=60, **PATIENT)
@given(reply=ANYTHING, rows=strategies.lists(ANYTHING, max_size=3), service=strategies.sampled_from(SERVICES[:4]))
@pytest.mark.filterwarnings('ignore::UserWarning')
def test_any_reply_is_rows_or_a_search_error(wire, reply, rows, service):
    shapes = dict(openverse={'page_count': reply, 'results': rows}, commons={'query': {'pages': rows}, 'continue': reply},
                  nasa={'collection': {'items': rows, 'links': reply}}, duckduckgo={'next': reply, 'results': rows})
    for body in (reply, shapes[service]):
        wire[:] = [*talk(service)[:-1], (200, JSON, json.dumps(body).encode())]
        outcome(service, base_url=STAND_IN)


TILE_KEYS = ['murl', 'purl', 't', 'mw', 'mh']
PIECES = strategies.sampled_from([
    b'<a class="iusc" m="', b'{&quot;murl&quot;:', b'"', b'&quot;http://a/1.jpg&quot;}', b'vqd="4-1"', b'[', b'{', b'"results":',
    b'captcha', b'null', b'\xff', b'<?xml version="1.0" encoding="utf-7"?>', b'&#0;', b'1'])


@settings(max_examples=60, **PATIENT)
@given(body=strategies.binary(max_size=40) | strategies.lists(PIECES, max_size=9).map(b''.join),
       service=strategies.sampled_from(SERVICES), place=strategies.integers(0, 1), json_or_not=strategies.booleans())
@pytest.mark.filterwarnings('ignore::UserWarning')
def test_any_bytes_are_rows_or_a_search_error(wire, body, service, place, json_or_not):
    first = talk(service)[:-1][:place]
    wire[:] = [*first, (200, JSON if json_or_not else HTML, body)]
    outcome(service, base_url=STAND_IN)


@settings(max_examples=60, **PATIENT)
@given(tiles=strategies.lists(ANYTHING | strategies.dictionaries(strategies.sampled_from(TILE_KEYS), ANYTHING), max_size=3))
@pytest.mark.filterwarnings('ignore::UserWarning')
def test_any_tiles_of_bing_are_rows_or_a_search_error(wire, tiles):
    links = [f'<a class="iusc" m="{html.escape(json.dumps(each))}"></a>' for each in tiles]
    wire[:] = [(200, HTML, ''.join([*links, tile('http://a/1.jpg')]).encode()), (200, HTML, b'')]
    assert outcome('bing', base_url=STAND_IN) == 'rows'


# Licences

def with_license(told, service):
    "A reply of one image whose licence is stated in these words"
    if service == 'openverse':
        return {'page_count': 1, 'results': [{'url': 'http://a/1.jpg', 'license': told, 'license_version': '4.0'}]}
    about = {} if told is None else {'LicenseShortName': {'value': told}}
    info = {'url': 'http://a/1.jpg', 'mime': 'image/jpeg', 'extmetadata': about}
    return {'batchcomplete': True, 'query': {'pages': [{'title': 'File:A.jpg', 'imageinfo': [info]}]}}


WORDS = strategies.lists(strategies.sampled_from([
    'CC', 'BY', 'by', 'SA', 'NC', 'ND', '-', ' ', '4.0', '0', 'public domain', 'GFDL', 'free', 'cc0', 'zero', 'me', 'de', 'pdm',
    'all rights']), max_size=6).map(''.join)
HARMLESS = re.compile(r'(cc[ -]?)?(0|zero)([ -]1\.0| 4\.0)?|pdm( 4\.0)?|public domain|sampling\+.*|'
                      r'(cc[ -])?by(-sa|-nd)*([ -]4\.0([ -](de|me)|([-,]4\.0)+)?)?( 4\.0)?')


@settings(max_examples=300, **PATIENT)
@given(told=WORDS | strategies.none() | strategies.text(max_size=12),
       provider=strategies.sampled_from(['openverse', 'commons', 'file']))
def test_an_unknown_licence_is_never_commercial(wire, tmp_path, told, provider):
    if provider == 'file':
        path = tmp_path / 'a.jsonl'
        if told is None or told.isprintable(): save_search([ImageResult('http://a/1.jpg', license=told or '')], path)
        else: path.write_text('{"url": ""}')
        question = dict(provider=str(path))
    else:
        wire[:] = [(200, JSON, json.dumps(with_license(told, provider)).encode())]
        question = dict(provider=provider, base_url=STAND_IN)
    try: found = search_images('mars', 5, license='commercial', **question)
    except NoResultsError: return
    assert told and HARMLESS.fullmatch(' '.join(re.sub('<[^>]*>', '', told).lower().split())), (told, found)
    assert found[0].license.split(' ')[0] in LICENSE_TYPES['commercial']


@pytest.mark.parametrize('service', ['nasa', 'duckduckgo', 'bing'])
@pytest.mark.parametrize('license', ['commercial', 'by', 'all-cc', 'modification'])
def test_who_tells_no_licence_is_not_asked_for_one(wire, service, license):
    assert type(failure(wire, *talk(service), provider=service, license=license)) is NoResultsError and not wire.asked


# Files, and searches run again

def test_a_search_is_run_again_without_the_web(wire, tmp_path):
    wire[:] = talk('commons')
    first = search_images('mars', 9, provider='commons', base_url=STAND_IN)
    for suffix in ('.csv', '.jsonl', '.parquet'):
        path = save_search(iter(first), tmp_path / f'mars{suffix}')
        assert search_images('Mars ', 9, provider=path) == [ImageResult(**vars(result) | {'query': 'Mars '}) for result in first]
        assert len(search_images('mars', 2, provider=(path,), license='commercial')) == 2
        with pytest.raises(NoResultsError, match="holds no address for 'venus', but for mars"):
            search_images('venus', 9, provider=str(path))
    assert len(wire.asked) == 1 and not list(tmp_path.glob('.tmp*'))


def test_files_of_addresses(tmp_path):
    for suffix in ('.csv', '.jsonl'):
        found = search_images('mars', 9, provider=str(REPLIES / f'addresses{suffix}'))
        assert [result.url[-5:] for result in found] == ['1.jpg', '2.jpg', '3.jpg']
        assert found[0].width == 640 and found[1].title == '„Mars“, again'
    commercial = search_images('venus', 9, provider=str(REPLIES / 'addresses.csv'), license='commercial')
    assert [result.license for result in commercial] == ['cc0 1.0', 'by 2.0']


def test_a_manifest_is_a_search_that_can_be_run_again(tmp_path):
    manifest = Manifest(tmp_path / 'planets')
    row = dict(label='mars', status='failed', reason='timeout', query='planet mars', provider='nasa')
    manifest.append(*(row | {'url': f'http://a/{i}.jpg'} for i in range(3)))
    found = search_images('planet mars', 9, provider=manifest.path)
    assert [(result.provider, result.label) for result in found] == [('nasa', 'mars')] * 3


def test_a_long_file_is_read_as_far_as_needed(tmp_path):
    path = tmp_path / 'long.jsonl'
    path.write_text(''.join(f'{{"url": "http://a/{i}.jpg"}}\n' for i in range(3000)) + 'this is broken')
    assert len(search_images('mars', 2000, provider=str(path))) == 2000
    with pytest.raises(InputError, match='cannot be read'): search_images('mars', 4000, provider=str(path))
    save_search((ImageResult(f'http://a/{i}.jpg') for i in range(25_000)), tmp_path / 'long.parquet')
    assert len(search_images('mars', 30_000, provider=str(tmp_path / 'long.parquet'))) == 25_000


def test_a_save_that_fails_leaves_the_old_file(tmp_path):
    path = save_search([ImageResult('http://a/1.jpg')], tmp_path / 'a.csv')
    before = path.read_bytes()
    def broken():
        yield ImageResult('http://a/2.jpg')
        raise BlockedError('test', 'broke off')
    with pytest.raises(BlockedError): save_search(broken(), path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize('name, line', [
    ('missing.csv', 'there is no file'), ('altavista', 'bing, commons, duckduckgo, .*nasa, openverse, '),
    ('a.txt', 'or a file of addresses'), ('~nobody/x.csv', 'there is no file'), ('x' * 5000, 'unknown provider'),
    ('x' * 5000 + '.csv', 'there is no file'), ('a\0.csv', 'there is no file'), ('', 'unknown provider')])
def test_unknown_providers_are_told_at_once(name, line):
    with pytest.raises(InputError, match=line): search_images('mars', 5, provider=name)


def test_a_file_whose_name_holds_a_comma(tmp_path):
    path = save_search([ImageResult('http://a/1.jpg')], tmp_path / 'mars, venus.csv')
    assert len(search_images('mars', 5, provider=str(path))) == len(search_images('mars', 5, provider=path)) == 1


def test_only_one_provider_where_an_address_stands_in(wire):
    assert type(failure(wire, (403, {}, b''))) is BlockedError and len(wire.asked) == 1
