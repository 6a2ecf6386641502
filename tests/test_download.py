"Downloads from a server that misbehaves as the web does: faults, kills, full disks, random mixes"
import errno, io, os, random, signal, socket, subprocess, sys, tempfile, threading, time, tracemalloc
from collections import Counter
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, build_opener

import pytest
from hypothesis import HealthCheck, example, given, settings, strategies
from PIL import Image

from fastcnn import addresses, download
from fastcnn.core import ImageResult, InputError, Manifest, sidecar
from fastcnn.download import DownloadError, fetch_images, prepare_image
from fastcnn.images import UnreadableImage, image_files
from faults import ENDINGS, FAST, HERE, PATIENT, SLOW, FaultServer, bomb, check_whole, jpeg, mounted_disk
from slow import interrupted_while_decoding, slow_jpeg


def test_every_fault_ends_in_one_state(server, root):
    bomb('PNG') # made once, before the clock runs
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
    urls = [f'http://{host}:{port}/good/1' for host in (
        '127.0.0.1', 'localhost', 'localhost.', '[::1]', '2130706433', '0x7f.1', '127.1', '0177.0.0.1', '127.0.0.1.', '0.0.0.0', '[::ffff:127.0.0.1]',
        '127。0。0。1', '①②⑦.0.0.1', 'ｌocalhost', '[::127.0.0.1]', '[::1%25lo]')]
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
    assert max(most) <= 4 and server.most == 4


def test_the_cap_is_by_name_whatever_the_port_and_the_way_there(root):
    "Two servers of one name count as one host, and so does a host to which others redirect"
    with FaultServer() as one, FaultServer() as two, FaultServer('127.0.0.2') as other:
        one.latency = two.latency = 0.05
        two.counting = one.counting
        results = [ImageResult(f'{server.url}/good/{i}', label='x') for i in range(12) for server in (one, two)]
        fetch_images(results, root, allow_hosts=HERE)
        assert one.most == 4
        other.elsewhere, one.most = one.url, 0
        results = [ImageResult(f'{other.url}/elsewhere/{i}', label='y') for i in range(50, 74)]
        assert fetch_images(results, root, allow_hosts=(*HERE, '127.0.0.2')).counts() == {'kept': 36, 'duplicate': 12}
        assert one.most == 4


GROUP = 'localhost', '127.0.0.1' # the two hosts of a group


@pytest.fixture
def group(monkeypatch):
    "Make one group of both hosts, with these caps"
    def make(**caps): monkeypatch.setattr(addresses, 'HOST_CAPS', (addresses.HostCap(GROUP, 'both: slowly', **caps),))
    return make


def over_both(server, *paths, label='x'):
    "Results on the two hosts in turn, both of which are this server"
    return [ImageResult(f'http://{GROUP[i % 2]}:{server.server_port}{path}', label=label) for i, path in enumerate(paths)]


class Times(Counter):
    "Counts what is asked for, and notes when"
    def __init__(self): self.times = []
    def __setitem__(self, path, number):
        self.times.append(time.monotonic())
        super().__setitem__(path, number)


def test_what_services_ask_of_those_who_fetch_their_media():
    caps = [addresses.host_cap(host) for host in ('upload.wikimedia.org', 'thumb.wikimedia.org', 'static.inaturalist.org',
                                                 'inaturalist-open-data.s3.amazonaws.com', 'a.example')]
    assert caps[0] == caps[1] and caps[2] == caps[3] and len(set(caps)) == 3
    assert [(cap.connections, cap.seconds, cap.bytes_per_second*8) for cap in caps[1:4:2]] == [(2, 0, 25e6), (1000, 1, float('inf'))]


def test_two_at_a_time_over_both_hosts(server, root, group):
    group(connections=2)
    server.latency = 0.05
    assert fetch_images(over_both(server, *(f'/good/{i}' for i in range(12))), root, allow_hosts=GROUP).counts() == {'kept': 12}
    assert server.most == 2


def test_an_interval_over_both_hosts_and_from_run_to_run(server, root, group):
    group(seconds=.15)
    server.asked = asked = Times()
    results = over_both(server, *(f'/good/{i}' for i in range(10)))
    for some in (results[:7], results[7:]): fetch_images(some, root, allow_hosts=GROUP)
    assert len(check_whole(root).rows('kept')) == 10 == len(asked.times)
    gaps = [later - sooner for sooner, later in zip(asked.times, asked.times[1:])]
    assert min(gaps) > .1 and .14 < sum(gaps[:6])/6 < .2, gaps


def test_a_bandwidth_over_both_hosts(server, root, group):
    group(bytes_per_second=800_000, connections=2)
    images = {f'/site/{i}.jpg': jpeg(i) + bytes(100_000) for i in range(20)}
    server.site |= images
    start = time.monotonic()
    fetch_images(over_both(server, *images), root, allow_hosts=GROUP)
    rate = sum(map(len, images.values()))/(time.monotonic() - start)
    assert len(check_whole(root).rows('kept')) == 20 and .85*800_000 < rate < 1.15*800_000


def test_holding_back_does_not_count_against_a_deadline(server, root, group):
    group(bytes_per_second=1_000_000)
    server.site['/site/1.jpg'] = jpeg(1) + bytes(3_000_000)
    start = time.monotonic()
    row, = fetch_images(over_both(server, '/site/1.jpg'), root, allow_hosts=GROUP, deadline=.6).rows()
    assert (row['status'], row['attempts']) == ('kept', 1) and time.monotonic() - start > .9


def test_other_hosts_are_as_fast_as_ever(server, root, group):
    group(seconds=.4)
    with FaultServer('127.0.0.2') as other:
        results = [*over_both(server, *(f'/good/{i}' for i in range(50, 55))), *other.results(*['good']*20, label='y')]
        start, ends = time.monotonic(), {'x': [], 'y': []}
        note = lambda row: ends[row['label']].append(time.monotonic() - start)
        fetch_images(results, root, allow_hosts=(*GROUP, '127.0.0.2'), on_row=note)
    assert len(ends['y']) == 20 and max(ends['y']) < 1.2 < 1.6 < max(ends['x'])


def test_the_progress_bar_says_why_it_is_slow(server, root, group, monkeypatch):
    said = []
    class Bar(download.tqdm):
        def set_postfix_str(self, text, refresh=True): said.append(text)
    monkeypatch.setattr(download, 'tqdm', Bar)
    fetch_images(server.results('good', 'good'), root, allow_hosts=HERE)
    assert said == []
    group(seconds=.3)
    fetch_images(over_both(server, '/good/3', '/good/4', '/good/5'), root, allow_hosts=GROUP)
    assert said[0] == 'both: slowly'


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


def test_a_known_original_is_not_asked_for(server, root):
    "As Wikimedia Commons tells it: the same SHA-1, other addresses, other sizes"
    asked = lambda: sum(server.asked.values())
    copies = [ImageResult(f'{server.url}/good/{i}', label='x', sha1='a' * 40) for i in range(6)]
    assert fetch_images(copies, root, allow_hosts=HERE).counts() == {'kept': 1, 'duplicate': 5} and asked() == 1
    assert fetch_images([replace(copies[0], url=f'{server.url}/good/9')], root, allow_hosts=HERE).counts() == {'kept': 1, 'duplicate': 6} and asked() == 1
    assert Manifest(root).rows('kept')[0]['sha1'] == 'a' * 40


def test_a_copy_is_asked_for_where_the_first_one_failed(server, root):
    results = [ImageResult(f'{server.url}/{fault}/3', label='x', sha1='b' * 40) for fault in ('missing', 'truncated', 'good', 'tiny')]
    assert fetch_images(results, root, allow_hosts=HERE).counts() == {'failed:http_404': 1, 'failed:truncated': 1, 'kept': 1, 'duplicate': 1}


def test_a_file_without_a_row_is_adopted_and_is_not_new(server, root):
    "As a torn row leaves it: it lies in the folder, so it must not count towards the images that are still wanted"
    results = server.results(*['good'] * 8)
    fetch_images(results[:3], root, allow_hosts=HERE)
    manifest = Manifest(root)
    files = {row['file'] for row in manifest.rows('kept')}
    manifest.path.unlink()
    manifest = fetch_images(results, root, allow_hosts=HERE, enough=2, per_host=1) # in order: the three that lie there first
    assert len(manifest.rows('kept')) == len(image_files(root)) == 5 and files <= {row['file'] for row in manifest.rows('kept')}
    check_whole(root)


def test_little_more_is_asked_than_is_wanted(server, root, monkeypatch):
    "Even where decoding is slower than the network"
    prepare = download.prepare_image
    monkeypatch.setattr(download, 'prepare_image', lambda *args: time.sleep(0.05) or prepare(*args))
    assert fetch_images(server.results(*['good'] * 90), root, allow_hosts=HERE, enough=5).counts() == {'kept': 5}
    assert len(server.asked) <= 5 + 4


def peak_memory(function):
    "What a function returns, and the bytes that Python took for it at most"
    tracemalloc.start()
    try: return function(), tracemalloc.get_traced_memory()[1]
    finally: tracemalloc.stop()


def test_memory_does_not_grow_with_the_file(server, root):
    "24 MB that are no image: they stream to disk"
    server.heavy = memoryview(b'<html>' + bytes(24 * 2**20))
    manifest, peak = peak_memory(lambda: fetch_images(server.results('heavy'), root, allow_hosts=HERE))
    assert manifest.counts() == {'failed:not_an_image': 1} and peak < 6 * 2**20


def test_memory_does_not_grow_with_the_number_of_files(server, root, monkeypatch):
    "JPEGs with 24 MB of zeros after their end, eight at a time: only the one that is decoded is in memory"
    monkeypatch.setattr(os, 'cpu_count', lambda: 1)
    server.heavy = memoryview(jpeg(1) + bytes(24 * 2**20))
    manifest, peak = peak_memory(lambda: fetch_images(server.results(*['heavy'] * 8), root, allow_hosts=HERE, per_host=8))
    assert manifest.counts() == {'kept': 1, 'duplicate': 7} and peak < (24 + 6) * 2**20
    assert image_files(root)[0].stat().st_size == len(jpeg(1)) # they are no part of the picture


def changed(data, rng):
    "Cut, or with a few bytes changed, removed or doubled"
    data, at = bytearray(data), rng.randrange(20, len(data))
    how = rng.randrange(4)
    if how == 0: del data[at:]
    elif how == 1: del data[at:at + rng.randrange(1, 40)]
    elif how == 2: data[at:at] = data[at:at + rng.randrange(1, 40)]
    else:
        for _ in range(rng.randrange(1, 6)): data[rng.randrange(20, len(data))] = rng.randrange(256)
    return bytes(data)


@pytest.mark.parametrize('options', [
    {}, dict(progressive=True), dict(subsampling=0, optimize=True), dict(restart_marker_blocks=2), dict(mode='L')], ids=str)
def test_what_is_accepted_at_an_eighth_loads_in_full(options, tmp_path):
    "The quick look at a JPEG must accept nothing that a loader refuses, and refuse nothing that loads"
    rng, file, ends = random.Random(str(options)), tmp_path / 'x.jpg', {True: 0, False: 0}
    options = dict(options)
    picture = Image.open(io.BytesIO(jpeg(1, (160, 120)))).convert(options.pop('mode', 'RGB'))
    picture.save(file, 'JPEG', **options)
    whole = file.read_bytes()
    for _ in range(250):
        file.write_bytes(changed(whole, rng))
        try: kept = prepare_image(file)[2] is None
        except DownloadError: kept = False
        try: loads = bool(Image.open(file, formats=['JPEG']).load())
        except (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError): loads = False
        assert loads or not kept
        ends[kept] += 1
    assert min(ends.values()) > 20, ends # both were tried


@pytest.mark.filterwarnings('ignore') # Pillow's, about damaged EXIF
@pytest.mark.parametrize('format, options', [
    ('PNG', {}), ('GIF', {}), ('WEBP', {}), ('BMP', {}), ('TIFF', dict(compression='tiff_lzw')), ('AVIF', {})], ids=str)
def test_damaged_files_of_every_format_end_in_a_state(format, options, tmp_path):
    "Whatever a decoder raises is a reason, not the end of the run; what is kept loads"
    rng, file, endings = random.Random(format), tmp_path / 'x', set()
    whole = jpeg(1, (96, 80), format, **options)
    for _ in range(200):
        file.write_bytes(changed(whole, rng))
        try:
            stored = prepare_image(file)[2]
            Image.open(file if stored is None else io.BytesIO(stored)).load()
            endings.add('kept')
        except DownloadError as error: endings.add(error.reason)
    assert {'truncated'} <= endings <= {'kept', 'truncated', 'not_an_image', 'too_large', 'too_small'}


BOTH = (*HERE, '127.0.0.2')


@pytest.fixture
def other():
    "A second host"
    with FaultServer('127.0.0.2') as other: yield other


one_fault = strategies.tuples(strategies.sampled_from(sorted(set(ENDINGS) - SLOW)), strategies.booleans(), strategies.sampled_from(['', 'a', 'b']))


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(faults=strategies.lists(one_fault, max_size=12), copies=strategies.integers(0, 3), enough=strategies.none() | strategies.integers(0, 6),
       robots=strategies.sampled_from([b'', 404, 503, 'reset']))
@example(faults=[(fault, False, '') for fault in sorted(set(ENDINGS) - SLOW)], copies=2, enough=None, robots=404)
@example(faults=[(fault, True, 'a') for fault in ('html', 'good', 'good', 'missing')], copies=0, enough=None, robots=503)
def test_requested_is_kept_plus_failed_plus_duplicate(server, other, faults, copies, enough, robots):
    "Random faults on two hosts, some with one original, one of the hosts with trouble in its robots.txt"
    other.site['/robots.txt'] = robots
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / 'planets'
        address = lambda seed, fault, elsewhere: f'{(server, other)[elsewhere].url}/{fault}/{seed}'
        results = [ImageResult(address(seed, fault, elsewhere), label='x', sha1=sha1) for seed, (fault, elsewhere, sha1) in enumerate(faults)]
        results += [ImageResult(f'{server.url}/good/0?copy={i}', label='x') for i in range(copies)]
        rows = []
        manifest = fetch_images(results * 2, root, allow_hosts=BOTH, enough=enough, on_row=rows.append, **FAST)
        check_whole(root)
        kept, failed, duplicate = (len(manifest.rows(status)) for status in ('kept', 'failed', 'duplicate'))
        assert kept + failed + duplicate == len(manifest) == len(rows)
        assert (len(manifest) == len({result.url for result in results})) if enough is None else kept <= enough


# Opt-outs: what a site asks of machines

ROBOTS, TDMREP = '/robots.txt', '/.well-known/tdmrep.json'


@pytest.mark.parametrize('robots, ending', [
    (b'User-agent: *\nDisallow: /', 'failed:opted_out'), (b'\xef\xbb\xbfUser-Agent: FastCNN\nDisallow: /go*/$\nDisallow: /good', 'failed:opted_out'),
    (b'User-agent: otherbot\nDisallow: /', 'kept'), (b'User-agent: *\nDisallow: /\n\nUser-agent: fastcnn\nDisallow:', 'kept'),
    (b'# ' + b'x' * 600_000 + b'\nUser-agent: *\nDisallow: /', 'kept'), # beyond the part that is read
    (b'<!doctype html><title>Welcome</title>', 'kept'), (404, 'kept'), (403, 'kept'), ('reset', 'kept'), ('hang', 'kept'), ('loop', 'kept'),
    ('endless_robots', 'failed:opted_out'), ('metadata', 'kept'), (500, 'failed:http_500'), (503, 'failed:http_503'), (520, 'failed:http_520'), 
    ('limited_long', 'failed:http_429')], ids=lambda value: str(value)[:30])
def test_robots_txt(server, root, robots, ending):
    server.site[ROBOTS] = robots
    assert fetch_images(server.results('good', 'good'), root, allow_hosts=HERE, **FAST).counts() == {ending: 2}
    assert bool(server.asked) == (ending == 'kept')


def test_a_site_that_could_not_be_heard_is_asked_in_the_next_run(server, root):
    server.site[ROBOTS] = 503
    results = server.results(*['good'] * 5)
    fetch_images(results, root, allow_hosts=HERE, **FAST)
    assert server.site_asked[ROBOTS] == FAST['attempts'] and not server.asked
    server.site[ROBOTS] = 404
    assert fetch_images(results, root, allow_hosts=HERE, **PATIENT).counts() == {'kept': 5}


def test_a_robots_txt_that_heals_or_has_moved_is_heard(server, root):
    for robots in ('healing_robots', 'moved_robots'):
        server.site[ROBOTS] = robots
        result = ImageResult(f'{server.url}/good/1?{robots}', label='x')
        assert fetch_images([result], root, allow_hosts=HERE, **PATIENT).rows()[-1]['reason'] == 'opted_out'
    assert not [path for path in server.asked if path.startswith('/good')]


def test_both_policy_files_are_asked_for_once_and_at_the_same_time(server, root):
    server.latency, server.site = 0.5, {ROBOTS: 'slow_missing', TDMREP: 'slow_missing'}
    assert fetch_images(server.results('good'), root, allow_hosts=HERE).counts() == {'kept': 1}
    assert server.most == 2 # at a time: the image comes after them
    assert fetch_images(server.results(*['good'] * 4), root, allow_hosts=HERE).counts() == {'kept': 4}
    assert server.site_asked == {ROBOTS: 2, TDMREP: 2} # once a call


def test_each_port_and_each_hop_has_its_own_policy(server, other, root):
    other.site[ROBOTS], server.elsewhere = b'User-agent: *\nDisallow: /good', other.url
    manifest = fetch_images([ImageResult(f'{server.url}/{path}', label='x') for path in ('good/1', 'elsewhere/2')], root, allow_hosts=BOTH, **PATIENT)
    assert manifest.counts() == {'kept': 1, 'failed:opted_out': 1} and not other.asked


def test_an_opt_out_is_final(server, root):
    for _ in range(2): fetch_images(server.results('noai', 'tdm_header', 'disallowed', 'reserved'), root, allow_hosts=HERE)
    assert Manifest(root).counts() == {'failed:opted_out': 4} and sum(server.asked.values()) == 2
    assert not [name for name in download.Limits.__dataclass_fields__ if 'opt' in name or 'robot' in name]


def test_mutations_of_a_sites_policy_never_raise():
    rng = random.Random(0)
    robots = b'User-agent: *\nDisallow: /private/*.jpg$\nAllow: /\nCrawl-delay: 3\n\n'
    robots += b'User-agent: otherbot\nDisallow: /%C3%A9\nSitemap: https://a.org/s.xml\n'
    tdmrep = b'[{"location": "/private/*", "tdm-reservation": 1, "tdm-policy": "https://a.org/p.json"}, {"location": "*.png$", "tdm-reservation": 0}]'
    odd = [b'', b'null', b'1', b'"x"', b'{}', b'[[]]', b'[null, 1, "tdm-reservation", ["tdm-reservation"]]']
    odd += [b'[' * 100_000, b'{"a":' * 9_999, b'1' * 9_999, b'\xff\xfe[\0]\0', b'[{"location": null, "tdm-reservation": [1]}]']
    answers = []
    for at in range(500):
        policy = download.SitePolicy(changed(robots, rng), odd[at] if at < len(odd) else changed(tdmrep, rng))
        answers += [policy.forbids(f'https://a.org/{path}') for path in ('private/1.jpg', 'a.png', 'é', '%', '?', 'a?b=%2F', 'private/..')]
    assert {type(answer) for answer in answers} == {bool} and set(answers) == {True, False}


def test_a_location_cannot_pass_for_another_rule():
    tdmrep = b'[{"location": "/a\\nDisallow: /c", "tdm-reservation": 1}, {"location": "/b", "tdm-reservation": 1}]'
    assert [download.SitePolicy(tdmrep=tdmrep).forbids(f'https://a.org/{path}') for path in 'abc'] == [False, True, False]


def test_a_hostile_policy_costs_little_time():
    start = time.monotonic()
    rules = b'User-agent: *\n' + b'Disallow: /*a*a*a*a*a*a*a*a*a*b\n' * 12_000
    entries = b'[' + b'{"location":"*a*a*a*a*a*b","tdm-reservation":1},' * 10_000 + b'{}]'
    policy = download.SitePolicy(rules[:500_000], entries)
    policy.forbids('https://a.org/' + 'a' * 2_000)
    assert time.monotonic() - start < 4 and len(policy.reserved) == 1_000


# Addresses that are never visited

@pytest.fixture
def lookup(monkeypatch):
    "Names and the addresses to which they resolve"
    names, original = {}, socket.getaddrinfo
    def getaddrinfo(host, port, *args, **kwargs):
        addresses = names.get(host)
        if addresses is None: return original(host, port, *args, **kwargs)
        family = lambda address: socket.AF_INET6 if ':' in address else socket.AF_INET
        return [(family(address), socket.SOCK_STREAM, 6, '', (address, port, 0, 0)[:4 if ':' in address else 2]) for address in addresses]
    monkeypatch.setattr(socket, 'getaddrinfo', getaddrinfo)
    return names


@pytest.mark.parametrize('addresses', [
    ['93.184.216.34', '127.0.0.1'], ['127.0.0.1', '93.184.216.34'], ['::ffff:127.0.0.1'], ['64:ff9b::7f00:1'], ['2002:7f00:1::'],
    ['fec0::1'], ['169.254.169.254'], ['fe80::1']], ids=str)
def test_a_name_is_refused_if_one_of_its_addresses_is_private(server, root, lookup, addresses):
    lookup['images.example'] = addresses
    result = ImageResult(f'http://images.example:{server.server_port}/good/1', label='x')
    assert fetch_images([result], root, allow_hosts=('images.example.org',), **FAST).counts() == {'failed:refused_address': 1}
    assert not server.asked and not server.site_asked


def test_an_allowed_host_does_not_open_the_way_to_others(server, other, root, lookup):
    lookup['inner.example'] = ['127.0.0.1']
    for at, host in enumerate(('127.0.0.2', 'localhost', 'inner.example', '[::ffff:127.0.0.2]')):
        server.elsewhere = target = f'http://{host}:{other.server_port}'
        result = ImageResult(f'{server.url}/elsewhere/{at}', label='x')
        row = fetch_images([result], root, allow_hosts=HERE, **FAST).get(result.url, 'x')
        assert row['reason'] == 'refused_address', target
    assert not other.asked and not other.site_asked


def test_addresses_that_are_none_end_in_a_state(server, root):
    port = server.server_port
    hosts = ['a' * 70 + '.org', '.', 'x..y', '-', '[', 'a b', '日本.invalid']
    urls = [f'http://{host}:{port}/good/1' for host in hosts]
    urls += ['', 'x', 'http:', 'http://', '//a', 'http://[', 'data:image/png;base64,', 'javascript:1']
    urls += [f'http://127.0.0.1:{port}/go od/1', f'http://127.0.0.1:{port}/good/\r\nHost: x', f'HTTP://127.0.0.1:{port}/good/2#part']
    results = [ImageResult(url, label='x') for url in urls]
    counts = fetch_images(results, root, allow_hosts=HERE, **FAST | dict(attempts=1)).counts()
    assert sum(counts.values()) == len(urls) and set(counts) == {'failed:refused_address', 'failed:connection', 'kept'} and counts['kept'] == 1, counts
    assert set(server.asked) == {'/go%20od/1', '/good/2', '/good/Host:%20x'} # a line break adds no header


class Proxy(BaseHTTPRequestHandler):
    "Fetches whatever it is asked for"
    def do_GET(self):
        self.server.asked.append(self.path)
        with build_opener(ProxyHandler({})).open(self.path.replace('http://pictures.example', self.server.real)) as reply: body = reply.read()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args): pass


@pytest.fixture
def proxy(server, monkeypatch, lookup):
    "A proxy in the private network, named by the environment; it knows pictures.example and whatever else it is asked for"
    proxy = ThreadingHTTPServer(('127.0.0.1', 0), Proxy)
    proxy.asked, proxy.real, server.site[TDMREP], server.site[ROBOTS] = [], server.url, b'', b''
    threading.Thread(target=proxy.serve_forever, kwargs=dict(poll_interval=0.05), daemon=True).start()
    lookup['proxy.example'] = ['127.0.0.1']
    monkeypatch.setenv('http_proxy', f'http://proxy.example:{proxy.server_port}')
    monkeypatch.delenv('no_proxy', raising=False)
    yield proxy
    proxy.shutdown()
    proxy.server_close()


def test_a_private_proxy_is_used_and_hides_nothing_private(server, root, proxy, lookup):
    lookup['inner.example'], lookup['pictures.example'] = ['10.0.0.7'], ['93.184.216.34']
    urls = ['http://pictures.example/good/1', 'http://inner.example/good/2', 'http://10.0.0.7/good/4']
    urls.insert(2, f'http://proxy.example:{proxy.server_port}/good/3')
    manifest = fetch_images([ImageResult(url, label='x') for url in urls], root, **FAST)
    assert [manifest.get(url, 'x').get('reason') for url in urls] == [None] + ['refused_address'] * 3
    assert sorted(proxy.asked) == sorted(f'http://pictures.example{path}' for path in (TDMREP, '/good/1', ROBOTS))


def test_allowed_hosts_are_visited_without_the_proxy(server, root, proxy):
    assert fetch_images(server.results('good'), root, allow_hosts=HERE, **PATIENT).counts() == {'kept': 1} and not proxy.asked


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


# Decoding that takes long

def test_a_file_made_to_be_slow_is_refused_at_once(server, root):
    server.heavy = slow_jpeg()
    start = time.monotonic()
    counts = fetch_images(server.results('heavy', 'good', 'heavy'), root, allow_hosts=HERE, deadline=5).counts()
    assert counts == {'failed:too_large': 2, 'kept': 1} and time.monotonic() - start < 5


def test_decoding_ends_with_the_deadline_whatever_a_file_holds(server, root, monkeypatch):
    "A decoder that never ends, as one may be found tomorrow; others are decoded meanwhile"
    stuck, read = threading.Event(), download.read_image
    server.heavy = jpeg(1, (200, 200))
    monkeypatch.setattr(os, 'cpu_count', lambda: 3)
    slowly = lambda source, **options: stuck.wait(30) if Image.open(source).size == (200, 200) else read(source, **options)
    monkeypatch.setattr(download, 'read_image', slowly)
    start = time.monotonic()
    manifest = fetch_images(server.results('heavy', *['good'] * 9, 'heavy'), root, allow_hosts=HERE, deadline=1.5)
    seconds = time.monotonic() - start
    stuck.set()
    assert manifest.counts() == {'failed:timeout': 2, 'kept': 9} and seconds < 5 and check_whole(root)


SLOW_PROGRAM = PROGRAM.replace('/good/', '/heavy/').replace('url, root', '''import os
from fastcnn import download
from PIL import Image
download.read_image = lambda source, **options: os.write(1, b'decoding\\n') and Image.open(source).load()
url, root''', 1)


def test_ctrl_c_is_heard_while_files_are_decoded(server, root):
    server.heavy = slow_jpeg()
    command = [sys.executable, '-c', SLOW_PROGRAM, server.url, str(root), '4']
    errors = interrupted_while_decoding(command)
    assert 'never retrieved' not in errors
    check_whole(root)


def test_heic_without_its_package_names_the_extra(server, root, monkeypatch):
    def refuse(source, **options): raise UnreadableImage(source, 'no_heif')
    monkeypatch.setattr(download, 'read_header', refuse)
    with pytest.warns(UserWarning, match=r"pip install pillow-heif"):
        manifest = fetch_images(server.results('good', 'good'), root, allow_hosts=HERE)
    assert manifest.counts() == {'failed:not_an_image': 2}


def test_nothing_is_written_through_a_link(server, root, tmp_path):
    (tmp_path / 'outside').mkdir()
    root.mkdir()
    (root / 'x').symlink_to(tmp_path / 'outside')
    with pytest.raises(InputError, match='is a link'): fetch_images(server.results('good'), root, allow_hosts=HERE)
    assert not list((tmp_path / 'outside').iterdir())


FULL_DISK = PROGRAM.replace('import json, sys', '''
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))''')


@pytest.fixture
def small_disk(tmp_path):
    with mounted_disk(tmp_path / 'disk', '256k') as disk: yield disk


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


def test_two_that_fetch_the_same_lose_no_maker(server, root):
    "Each address is kept once, and is no copy of itself, whoever was first"
    results = [replace(result, creator='Ada', license='by 4.0') for result in server.results(*['good']*30)]
    fetching = [threading.Thread(target=fetch_images, args=(order, root, HERE)) for order in (results, results[::-1], results)]
    for each in fetching: each.start()
    for each in fetching: each.join()
    manifest = Manifest(root)
    assert manifest.counts() == {'kept': 30} and all(row['license'] and row['creator'] for row in manifest)
    assert len(image_files(root)) == 30
