"The six services of `fastcnn.catalogues`: pages, refusals, licences, keys that nobody is shown, and anything at all as a reply"
import configparser, contextlib, importlib, json, logging, re, threading, traceback
from http.server import ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlsplit

import pytest
import requests
from hypothesis import HealthCheck, given, settings, strategies

from catalogue import REFUSALS, SIZES, Catalogue, recorded, row, whole
from fastcnn import catalogues
from fastcnn.core import InputError
from fastcnn.search import (LICENSE_TYPES, BlockedError, NoResultsError, RateLimitError, SearchError,
                            ServiceChangedError, search_images)
from fastcnn.services import PROVIDERS, SearchService

SERVICES = tuple(SIZES)
KEYS = dict(smithsonian='SMITHSONIAN_API_KEY', pexels='PEXELS_API_KEY', pixabay='PIXABAY_API_KEY', flickr='FLICKR_API_KEY')
OWN_TERMS = 'pexels', 'pixabay'
STAND_IN, SECRET = 'http://127.0.0.1:9', 'top+secret/key'
each_service = pytest.mark.parametrize('service', SERVICES)
each_key = pytest.mark.parametrize('service', KEYS)
PATIENT = dict(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    "No keys, no contact, no limits of earlier searches"
    monkeypatch.setenv('FASTCNN_CACHE', str(tmp_path / 'cache'))
    for name in ('FASTCNN_PROVIDER', 'FASTCNN_CONTACT', *KEYS.values()): monkeypatch.delenv(name, raising=False)


@contextlib.contextmanager
def playing(service, total=0, first=(), slow=0):
    "A server that plays a service which has so many rows"
    server = ThreadingHTTPServer(('127.0.0.1', 0), Catalogue)
    server.service, server.total, server.first, server.slow, server.asked = service, total, list(first), slow, []
    server.url = f'http://127.0.0.1:{server.server_port}'
    threading.Thread(target=server.serve_forever, kwargs=dict(poll_interval=0.02), daemon=True).start()
    try: yield server
    finally: server.shutdown(); server.server_close()


@pytest.fixture
def wire(monkeypatch):
    "Instead of the network: the replies (status, headers, body) in this list; `wire.asked` holds the questions; logs as urllib3 does"
    class Wire(list): asked = []
    wire = Wire()
    wire.asked = []
    def send(self, request, **options):
        wire.asked.append(request)
        logging.getLogger('urllib3.connectionpool').debug('%s "GET %s"', 'host', request.url)
        status, headers, body = wire.pop(0) if wire else (500, {}, b'')
        if status is None: raise requests.ConnectionError(f'Max retries exceeded with url: {request.url}')
        reply = requests.Response()
        reply.status_code, reply._content, reply.encoding = status, body, 'utf-8'
        reply.headers.update(headers)
        reply.url, reply.request, reply._content_consumed = request.url, request, True
        return reply
    monkeypatch.setattr(requests.adapters.HTTPAdapter, 'send', send)
    return wire


def ask(service, n=50, license='all', **options): return search_images('fox', n, service, license, **{'base_url': STAND_IN} | options)
def question(request): return dict(parse_qsl(urlsplit(request.url).query))
def reply(content): return 200, {'Content-Type': 'application/json'}, json.dumps(content).encode()


# What documented replies bring

RECORDED = { # service → licences, creators, widths of the results
    'inaturalist': (['by-nc', 'by', '', 'cc0'], ['Ada', 'Ada', 'Bo', 'Cy'], [1024, 1024, 1024, None]),
    'artic': (['cc0 1.0', ''], ['Ada Painter', 'Bo Sculptor'], [843, None]),
    'smithsonian': (['cc0 1.0', '', 'cc0 1.0'], ['Ada & Co.'] * 3, [None] * 3),
    'pexels': (['Pexels License'] * 2, ['Ada'] * 2, [1880] * 2),
    'pixabay': (['Pixabay Content License'] * 2, ['Ada'] * 2, [1280] * 2),
    'flickr': (['by 2.0', 'all rights reserved', 'by-nc-nd 4.0', 'cc0 1.0', 'no known copyright restrictions'], ['Ada'] * 5,
               [1024, 1024, 1024, 800, 1024])}


@each_service
def test_documented_replies(wire, service):
    wire[:] = [(200, {}, recorded(f'{service}.json'))]
    found = ask(service)
    licenses, creators, widths = RECORDED[service]
    assert [result.license for result in found] == licenses and [result.creator for result in found] == creators
    assert [result.width for result in found] == widths and len(wire.asked) == 1 # all are there: no second question
    assert all(result.landing_url.startswith(('https://', 'http://n2t.net/')) and result.provider == service for result in found)
    assert len({result.url for result in found}) == len(found) and 'square' not in str(found)


def test_sizes_choose_among_the_copies(wire):
    copies = {'inaturalist': ('/large.', '/original.'), 'pexels': ('dpr=2', '.jpeg')}
    for service, ends in copies.items():
        for size, end in zip(('Large', 'Wallpaper'), ends):
            wire[:] = [(200, {}, recorded(f'{service}.json'))]
            found = ask(service, filters={'size': size})
            assert end in found[0].url, (service, size)
    assert found[0].width == 3760


def test_a_species_is_asked_for_by_its_own_name(wire):
    wire[:] = [(200, {}, recorded('inaturalist.json'))]
    assert [result.query for result in ask('inaturalist', filters={'species': 'Vulpes vulpes'})] == ['fox'] * 4
    assert question(wire.asked[0])['taxon_name'] == 'Vulpes vulpes'


def test_inaturalist_answers_to_names_only(wire):
    taxa = [{'name': f'Species {i}', 'iconic_taxon_name': group} for i, group in enumerate(('Mammalia', 'Plantae', 'Aves'))]
    rows = [row('inaturalist', i) | {'taxon': taxon} for i, taxon in enumerate(taxa)]
    wire[:] = [reply(whole('inaturalist', rows, 10**8))]
    with pytest.raises(NoResultsError): search_images('planet jupiter', 1, 'inaturalist', base_url=STAND_IN)
    assert len(wire.asked) == 1


# Pages

@each_service
@pytest.mark.parametrize('pages', [1, 1.5, 2])
def test_n_images_cost_as_few_questions_as_can_be(service, pages):
    size = PROVIDERS[service].info.page
    wanted, total = int(pages*size), 3*size
    if PROVIDERS[service].info.depth: total = min(total, PROVIDERS[service].info.depth)
    with playing(service, total) as server:
        assert len(ask(service, wanted, base_url=server.url)) == wanted
        assert len(server.asked) == -(-wanted // size)
        assert {int(asked[SIZES[service][0]]) for asked, _ in server.asked} == {size}


@each_service
def test_what_there_is_is_asked_for_once(service):
    size = PROVIDERS[service].info.page
    for total in (1, size, size + 1):
        with playing(service, total) as server:
            assert len(ask(service, 10*size, base_url=server.url)) == total
            assert len(server.asked) == -(-total // size), total


@each_service
def test_nothing_found_costs_one_question(service):
    with playing(service) as server:
        with pytest.raises(NoResultsError, match='found nothing'): ask(service, base_url=server.url)
        assert len(server.asked) == 1


@pytest.mark.parametrize('service', [name for name in SERVICES if PROVIDERS[name].info.depth])
def test_nobody_is_asked_for_more_than_it_gives(wire, service):
    info = PROVIDERS[service].info
    pages = -(-info.depth // info.page)
    rows = [[row(service, page*info.page + i) for i in range(2)] for page in range(pages + 1)]
    wire[:] = [reply(whole(service, each, 10**7)) for each in rows]
    assert len(ask(service, 10**6)) == 2*pages and len(wire.asked) == pages


def test_larger_pages_would_be_refused():
    for service, status in (('artic', 403), ('pixabay', 400)):
        name, largest = SIZES[service]
        with playing(service, 500) as server:
            path = {'artic': '/api/v1/artworks/search', 'pixabay': '/api/'}[service]
            assert requests.get(server.url + path, {name: largest + 1, 'page': 1}, timeout=5).status_code == status
            assert requests.get(server.url + path, {name: largest, 'page': 1}, timeout=5).status_code == 200


def test_a_refused_page_is_told(wire):
    wire[:] = [(403, {}, recorded('artic_403.json'))]
    with pytest.raises(BlockedError, match='set a smaller limit'): ask('artic')


# Trouble

@each_service
def test_limits_are_waited_out_or_told(service, monkeypatch):
    monkeypatch.setattr('time.sleep', lambda seconds: None)
    with playing(service, 1, first=[(429, {'Retry-After': '3'})]) as server:
        assert len(ask(service, base_url=server.url)) == 1 and len(server.asked) == 2
    with playing(service, 1, first=[(429, {'Retry-After': '3600'})]) as server:
        with pytest.raises(RateLimitError) as caught: ask(service, base_url=server.url)
        assert caught.value.wait == 3600 and len(server.asked) == 1


@each_service
def test_a_slow_service_costs_its_deadline(service, monkeypatch):
    monkeypatch.setattr(SearchService, 'deadline', .2)
    with playing(service, 1, slow=.5) as server:
        with pytest.raises(SearchError, match='did not finish its answer'): ask(service, base_url=server.url)


@each_service
@pytest.mark.parametrize('status, kind', [(403, BlockedError), (202, BlockedError), (500, SearchError), (404, ServiceChangedError)])
def test_each_status_has_its_kind(wire, service, status, kind):
    wire[:] = [(status, {}, b'<h1>no</h1>')]
    with pytest.raises(SearchError) as caught: ask(service)
    assert type(caught.value) is kind and caught.value.provider == service


@each_service
def test_another_shape_is_told(wire, service):
    renamed = json.loads(json.dumps(whole(service, [row(service, 1)], 1)).replace('images.example', '').replace('image_id', 'picture_id'))
    for body in ({'gone': []}, [], renamed):
        wire[:] = [reply(body)]
        with pytest.raises(ServiceChangedError): ask(service)


def test_flickr_fails_with_status_200(wire):
    for code, kind in ((100, BlockedError), (105, SearchError), (3, ServiceChangedError), (None, ServiceChangedError)):
        wire[:] = [reply({'stat': 'fail', 'code': code, 'message': 'Not now'})]
        with pytest.raises(SearchError) as caught: ask('flickr')
        assert type(caught.value) is kind and (code == 100 or 'says "Not now"' in str(caught.value))


def test_pixabays_other_refusals_are_no_bad_keys(wire):
    wire[:] = [(400, {}, b'[ERROR 400] "page" is out of valid range.')]
    with pytest.raises(ServiceChangedError): ask('pixabay')


# Keys

@each_key
def test_a_key_is_sent_to_the_service_alone(wire, monkeypatch, service):
    monkeypatch.setenv(KEYS[service], SECRET)
    for base_url, sent in ((None, True), (STAND_IN, False)):
        wire[:] = [(200, {}, recorded(f'{service}.json'))]
        assert ask(service, base_url=base_url)
        request = wire.asked[-1]
        told = [*question(request).values(), request.headers.get('Authorization')]
        assert (SECRET in told) == sent and ('127.0.0.1' in request.url) != sent and request.url.startswith('https') == sent


@each_key
def test_a_missing_key_is_no_matter_to_what_stands_in(wire, service):
    wire[:] = [(200, {}, recorded(f'{service}.json'))]
    assert ask(service)
    if service == 'smithsonian': return
    with pytest.raises(InputError, match=f'{KEYS[service]} is not set: a key costs nothing at https://'): ask(service, base_url=None)
    assert len(wire.asked) == 1


def test_the_smithsonian_is_asked_without_a_key_too(wire):
    wire[:] = [(200, {}, recorded('smithsonian.json'))] * 40
    for _ in range(30): ask('smithsonian', base_url=None)
    assert question(wire.asked[0])['api_key'] == 'DEMO_KEY'
    with pytest.raises(RateLimitError, match='allows no more questions now'): ask('smithsonian', base_url=None)
    assert len(wire.asked) == 30


def test_a_key_brings_more_of_the_smithsonian(wire, monkeypatch):
    test_the_smithsonian_is_asked_without_a_key_too(wire)
    monkeypatch.setenv('SMITHSONIAN_API_KEY', SECRET)
    assert ask('smithsonian', base_url=None) # counted apart


@each_key
def test_a_bad_key_is_one_clear_line(wire, monkeypatch, service):
    monkeypatch.setenv(KEYS[service], SECRET)
    status, name = REFUSALS[service]
    wire[:] = [(status, {}, recorded(name))]
    with pytest.raises(BlockedError) as caught: ask(service, base_url=None)
    line = f'{service}: does not accept the key in {KEYS[service]} \\(HTTP {status}\\): check it, or get another at https://'
    assert re.match(line, str(caught.value)) and '\n' not in str(caught.value) and len(wire.asked) == 1


ECHO = f'no such key: {SECRET}, that is {quote(SECRET, safe="")}'
LOUD = [(None, {}, b''), (403, {}, json.dumps({'detail': ECHO}).encode()), (500, {}, json.dumps({'error': ECHO}).encode()),
        (302, {'Location': f'https://other.example/?key={quote(SECRET, safe="")}'}, b''), (200, {'Content-Type': ECHO}, b'no JSON'),
        (400, {}, json.dumps({'message': ECHO}).encode()), (429, {'Retry-After': '3600'}, json.dumps({'detail': ECHO}).encode())]


@each_key
@pytest.mark.parametrize('loud', LOUD, ids=lambda loud: str(loud[0]))
def test_no_error_and_no_log_tells_a_key(wire, monkeypatch, caplog, service, loud):
    monkeypatch.setenv(KEYS[service], SECRET)
    caplog.set_level(logging.DEBUG)
    wire[:] = [loud]
    with pytest.raises(SearchError) as caught: ask(service, base_url=None)
    error = caught.value
    told = [str(error), repr(error), str(vars(error)), *traceback.format_exception(error), caplog.text]
    assert not [text for text in told if 'secret' in text] and 'GET' in caplog.text and error.__context__ is None


@each_key
def test_no_result_tells_a_key(wire, monkeypatch, service):
    monkeypatch.setenv(KEYS[service], SECRET)
    body = recorded(f'{service}.json').replace(b'.jpg', b'.jpg?key=' + SECRET.encode(), 1).replace(b'.jpeg"', b'.jpeg?' + SECRET.encode() + b'"')
    wire[:] = [(200, {}, body)]
    with contextlib.suppress(NoResultsError): assert 'secret' not in str(ask(service, base_url=None))


def test_strange_keys_are_told(monkeypatch):
    for service in KEYS:
        monkeypatch.setenv(KEYS[service], 'two words')
        with pytest.raises(InputError, match='is no key: copy it anew at https://') as caught: ask(service, base_url=None)
        assert 'two words' not in str(caught.value)


# Licences

def with_license(service, value):
    "A row that states this licence, or none where `value` is `...`"
    each, (place, key) = row(service, 1), {'inaturalist': ('photo', 'license_code'), 'artic': ('row', 'is_public_domain'),
                                           'smithsonian': ('media', 'usage'), 'flickr': ('row', 'license')}.get(service, ('row', 'license'))
    if place == 'photo': home = each['photos'][0]
    elif place == 'media': home = each['content']['descriptiveNonRepeating']['online_media']['media'][0]
    else: home = each
    if service == 'inaturalist': each['license_code'] = 'cc0' # the observation's, which says nothing about the photo
    home.pop(key, None)
    if value is not ...: home[key] = {'access': value} if service == 'smithsonian' and isinstance(value, str) else value
    return each


WORDS = ['cc0', 'cc-by', 'cc-by-nc', 'cc-by-nc-nd', 'CC0', 'cc-by-sa', 'pd', 'gfdl', 'all rights reserved', 'Usage conditions apply', '']
VALUES = strategies.one_of(strategies.sampled_from([..., *WORDS]), strategies.none(), strategies.booleans(), strategies.integers(-1, 20),
                           strategies.integers(0, 17).map(str), strategies.floats(), strategies.text(max_size=5),
                           strategies.lists(strategies.sampled_from(WORDS), max_size=2))
FREE = {'inaturalist': {'cc0', 'CC0', 'cc-by', 'cc-by-sa', 'cc-by-nd', 'pd'}, 'artic': {True}, 'smithsonian': {'CC0'},
        'flickr': {'4', '5', '6', '9', '10', '11', '12', '13'}, 'pexels': set(), 'pixabay': set()}


@settings(max_examples=180, **PATIENT)
@given(service=strategies.sampled_from(SERVICES), value=VALUES)
def test_nothing_unlicensed_is_commercial(wire, service, value):
    wire[:] = [reply(whole(service, [with_license(service, value)], 1))]
    try: found = ask(service, license='commercial')
    except NoResultsError: return
    stated = str(value) if service == 'flickr' and type(value) is int else value
    known = service == 'inaturalist' and re.fullmatch(r'(cc-)?by(-sa|-nd)?|cc0|pdm?|sampling\+', str(value).strip().lower())
    assert known or type(stated) in (str, bool) and stated in FREE[service], (service, value)
    assert found[0].license.split(' ')[0] in LICENSE_TYPES['commercial']


@each_service
def test_a_search_for_a_licence_asks_for_it(wire, service):
    if service in OWN_TERMS:
        with pytest.raises(NoResultsError, match='has terms of its own'): ask(service, license='commercial')
        assert not wire.asked
        return
    wire[:] = [reply(whole(service, [row(service, 1)], 1))] * 2
    assert ask(service) and ask(service, license='commercial')
    free, only = (question(asked) for asked in wire.asked)
    said = {'inaturalist': ('photo_license', 'cc0,cc-by,cc-by-sa,cc-by-nd'), 'artic': ('query[term][is_public_domain]', 'true'),
            'smithsonian': ('q', 'fox AND online_media_type:Images AND media_usage:CC0'), 'flickr': ('license', '4,5,6,9,10,11,12,13')}
    name, words = said[service]
    assert sorted(only[name].split(',')) == sorted(words.split(',')) and free.get(name) in (None, 'fox AND online_media_type:Images')


def test_a_licence_that_is_never_stated_is_not_asked_for(wire):
    for service, license in (('artic', 'by'), ('smithsonian', 'by-nc,by'), ('inaturalist', 'sampling+'), ('flickr', 'nc-sampling+')):
        with pytest.raises(NoResultsError, match='has no images under'): ask(service, license=license)
    for service in SERVICES:
        with pytest.raises(InputError, match='unknown licence'): ask(service, license='free')
    assert not wire.asked


# Anything at all

NAMES = ['url', 'results', 'photos', 'photo', 'license_code', 'license', 'data', 'image_id', 'config', 'iiif_url', 'response', 'rows', 'content',
         'media', 'hits', 'src', 'total', 'total_results', 'taxon', 'original_dimensions', 'attribution', 'stat', 'code', 'owner', 'id']
LEAVES = [strategies.none(), strategies.booleans(), strategies.integers(), strategies.floats(), strategies.text(max_size=9),
          strategies.sampled_from(['https://a.org/square.jpg', 'http://[', 'fail', 'Images', 'CC0', '4'])]
def lists_and_dicts(inner): return strategies.lists(inner, max_size=3) | strategies.dictionaries(strategies.sampled_from(NAMES), inner, max_size=4)
ANYTHING = strategies.recursive(strategies.one_of(LEAVES), lists_and_dicts, max_leaves=8)


def break_somewhere(value, path, wrong):
    "The same with `wrong` in the place that the numbers of `path` lead to"
    if not path or not isinstance(value, (list, dict)) or not value: return wrong
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    key = keys[path[0] % len(keys)]
    value[key] = break_somewhere(value[key], path[1:], wrong)
    return value


@settings(max_examples=300, **PATIENT)
@given(service=strategies.sampled_from(SERVICES), anything=ANYTHING, path=strategies.lists(strategies.integers(0, 9), max_size=8))
@pytest.mark.filterwarnings('ignore::UserWarning')
def test_any_reply_is_results_or_a_search_error(wire, service, anything, path):
    broken = break_somewhere(json.loads(recorded(f'{service}.json')), path, anything)
    for content in (anything, broken, whole(service, anything, anything), whole(service, [anything, row(service, 1)], 1)):
        wire[:] = [reply(content)]
        try: found = ask(service, 9)
        except SearchError: continue
        for result in found:
            assert result.url.startswith(('http://', 'https://')) and ' ' not in result.url
            for name, value in vars(result).items():
                if name in ('width', 'height'): assert value is None or type(value) is int and value > 0
                else: assert type(value) is str and value.isprintable() and len(value) < 4100


# How they are found

def test_they_are_registered_and_found():
    config = configparser.ConfigParser()
    config.read(Path(__file__).parent.parent / 'settings.ini')
    points = dict(line.split('=') for line in config['DEFAULT']['provider_plugins'].split())
    for service in SERVICES:
        module, name = points[service].split(':')
        provider = getattr(importlib.import_module(module), name)
        assert provider is PROVIDERS[service] and provider.is_provider and module == catalogues.__name__


@each_service
def test_what_a_plan_knows_of_each(service):
    info = PROVIDERS[service].info
    assert info.good_for and info.terms.startswith('https://') and info.limits and 0 < info.page <= SIZES[service][1]
    assert info.license == ('own' if service in OWN_TERMS else 'each')
    assert info.keys == (() if service not in KEYS or service == 'smithsonian' else (KEYS[service],))
    assert bool(info.keys or info.optional) == info.keys_at.startswith('https://')
    assert info.auto == dict(artic=False, smithsonian=False, inaturalist='known').get(service, True)
