"A manifest of a million rows in a small machine, true to a plain dict whatever tears it; and img2dataset's shards"
import io, json, os, random, shlex, subprocess, sys, tarfile, tempfile
from pathlib import Path

import nbformat
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings, strategies as st

import notebooks
from fastcnn.exchange import URL_LIST_FIELDS, read_shards, shard_images, write_url_list
from fastcnn.core import ImageResult, InputError, Manifest
from fastcnn.images import files_on_disk
from faults import ENDINGS, HERE, check_whole, jpeg

PEERS = notebooks.ROOT/'.venv-peers'/'bin'
# Rows as a long run leaves them, 700 bytes each; a script of its own, because a process never gives back its peak
CHILD = '''
import hashlib, json, random, sys, time
from pathlib import Path
from fastcnn.core import ImageResult, Manifest, sidecar
from fastcnn.exchange import export_table
from fastcnn.download import fetch_images
import pandas, pyarrow.parquet, pyarrow.csv # what the libraries take is not the rows'

root, n = Path(sys.argv[1]), int(sys.argv[2])
endings = [('kept', None), ('kept', None), ('kept', None), ('failed', 'http_404'), ('failed', 'http_410'), ('duplicate', None)]
licenses = ['by 4.0', 'by-nc 2.0', None, 'cc0 1.0']

def row(i):
    digest, (status, reason), label = hashlib.sha256(b'%d' % i).hexdigest(), endings[i % 6], ['earth', 'mars', 'jupiter', 'saturn'][i % 4]
    full = dict(url=f'https://live.staticflickr.com/{i % 65535}/{i}_{digest[:10]}_b.jpg', label=label, status=status, reason=reason,
                landing_url=f'https://www.flickr.com/photos/{digest[:9]}/{i}', provider='openverse', query='planet', license=licenses[i % 4],
                title=f'A picture of the planet, number {i}, seen at night', creator=f'Maker {i % 5000}', width=1024, height=768,
                license_url='https://creativecommons.org/licenses/by/4.0/', source_sha256=digest, sha256=digest, attempts=1,
                retrieved_at='2026-11-21T08:30:00Z', bytes=123456, seconds=0.213, phash=digest[:16], group=digest[:8],
                file=f'{label}/{digest[:12]}.jpg' if status == 'kept' else None)
    return {name: value for name, value in full.items() if value is not None}

sidecar(root).mkdir(parents=True)
with open(sidecar(root)/'manifest.jsonl', 'w') as file:
    for i in range(n): file.write(json.dumps(row(i)) + chr(10))

told = {}
peak = lambda: int(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM'))) # KB; getrusage would count the parent's memory too
def step(name, what):
    start = time.perf_counter()
    out = what()
    told[name] = [round(time.perf_counter() - start, 2), peak() // 1024]
    return out

def look_up():
    for i in random.Random(0).sample(range(n), min(n, 10_000)):
        assert manifest.get(row(i)['url'], row(i)['label'])['title'] == row(i)['title']

def resume(): # all of them are settled: nothing may be asked
    known = (ImageResult(row(i)['url'], label=row(i)['label']) for i in range(3, min(n, 60_000), 6))
    fetch_images(known, root, on_row=lambda row: sys.exit(f'asked again: {row}'))

told['start'] = [0, peak() // 1024]
manifest = step('load', lambda: Manifest(root))
step('get 10,000', look_up)
assert step('counts', manifest.counts)['duplicate'] == len(range(5, n, 6))
assert step('filter', lambda: len(manifest.rows('kept'))) == n - len(range(3, n, 6)) - len(range(4, n, 6)) - len(range(5, n, 6))
assert sum(step('licences', lambda: manifest.count_by('license')).values()) == sum(step('classes', lambda: manifest.count_by('label')).values())
step('resume', resume)
step('credits', manifest.write_credits)
step('parquet', lambda: export_table(root, root.with_suffix('.parquet')))
step('csv', lambda: export_table(root, root.with_suffix('.csv')))
assert pyarrow.parquet.read_metadata(root.with_suffix('.parquet')).num_rows == n
step('three columns', lambda: manifest.to_frame(['url', 'label', 'license']))
step('forget a maker', lambda: (manifest.mark_forgotten(creator='maker 7'), manifest.purge()))
assert len(Manifest(root)) == n - len(range(7, n, 5000))
print(json.dumps(told))
'''


def use_manifest(rows, folder):
    "Seconds and peak megabytes after each step, in a process of its own"
    done = subprocess.run([sys.executable, '-c', CHILD, str(folder/'planets'), str(rows)], capture_output=True, text=True)
    assert not done.returncode, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.verify(share=1/4)
def test_fifty_thousand_rows_take_little_memory(tmp_path):
    told = use_manifest(50_000, tmp_path)
    assert told['load'][1] - told['start'][1] < 50_000 * 400 / 2**20, told # MB: far less than the lines, 700 bytes each
    assert max(peak for _, peak in told.values()) - told['start'][1] < 250, told


@pytest.mark.verify
def test_a_million_rows_stay_under_a_gigabyte(tmp_path, record_property):
    told = use_manifest(1_000_000, tmp_path)
    for name, (seconds, peak) in told.items(): record_property(name, f'{seconds} s, peak {peak} MB')
    assert max(peak for _, peak in told.values()) < 1000, told


labels, endings = st.sampled_from('ab'), st.sampled_from([('kept', ''), ('failed', 'timeout'), ('failed', 'http_404'), ('duplicate', '')])


def event(i, label, ending, title):
    row = dict(url=f'http://x/{i}', label=label, status=ending[0], title=title)
    return row | (dict(reason=ending[1]) if ending[1] else {})


events = st.builds(event, st.integers(0, 8), labels, endings, st.text(min_size=1, max_size=9))
tears = st.sampled_from([b'', b'{"url": "http://x/1", "la', b'{}', b'[1]\n', b'\xff\xfe\n', b'\n\n', b'{"url": 1}\n', b'null',
                         b'{"url": "u", "label": "a", "status": []}\n'])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.lists(events, max_size=4), tears, st.booleans()), max_size=8))
def test_manifest_is_a_dict_however_it_is_torn(steps):
    with tempfile.TemporaryDirectory() as tmp:
        here, there, model = Manifest(Path(tmp)/'p'), Manifest(Path(tmp)/'p'), {}
        for rows, tear, by_other in steps:
            (there if by_other else here).append(*rows)
            with open(here.path, 'ab') as file: file.write(tear) # what a crash or a full disk leaves
            for row in rows: model[row['url'], row['label']] = row
        for manifest in (here.refresh(), Manifest(here.root)):
            assert list(manifest) == list(model.values()) and len(manifest) == len(model)
            assert all(manifest.get(*key) == row for key, row in model.items()) and manifest.get('http://x/99', 'a') is None
            assert manifest.rows('failed') == [row for row in model.values() if row['status'] == 'failed']
            assert sum(manifest.counts().values()) == len(model)
            assert manifest.to_frame(['url', 'label', 'title']).values.tolist() == [[row['url'], row['label'], row['title']] for row in model.values()]


def test_half_a_character_is_no_end(root):
    Manifest(root).append(dict(url='http://x/\ud83d', label='a', status='kept', title='half \ud83d', file='a/1.jpg', bytes=10**30))
    assert Manifest(root).get('http://x/\ud83d', 'a')['title'] == 'half \ud83d'
    assert Manifest(root).to_frame(['title', 'bytes']).isna().values.tolist() == [[False, True]]
    assert 'ud83d' in Manifest(root).write_credits().read_text(encoding='utf-8')


def test_rows_from_before_a_takedown_are_told(root):
    manifest, other = Manifest(root), Manifest(root)
    manifest.append(*(dict(url=f'http://x/{i}', label='a', status='kept', creator='AB'[i % 2]) for i in range(9)))
    rows = other.refresh().rows('kept')
    manifest.mark_forgotten(creator='A')
    manifest.purge()
    with pytest.raises(InputError, match='ask again'): list(rows)
    assert [row['creator'] for row in other.rows()] == ['B'] * 4 and other.get('http://x/1', 'a') and other.get('http://x/0', 'a')['status'] == 'forgotten'
    other.append(dict(url='http://x/9', label='a', status='kept'))
    assert len(manifest.refresh()) == len(other) == 5 and manifest.torn == 0


def test_a_log_that_was_replaced_or_removed_is_read_anew(root):
    manifest = Manifest(root)
    manifest.append(dict(url='http://x/1', label='a', status='kept'), dict(url='http://x/2', label='a', status='kept'))
    manifest.path.write_bytes(manifest.path.read_bytes().splitlines(keepends=True)[1])
    assert [row['url'] for row in manifest.refresh()] == ['http://x/2']
    manifest.path.unlink()
    assert len(manifest.refresh()) == 0 and manifest.get('http://x/2', 'a') is None


# ---- img2dataset ----

def write_shard(folder, number, samples, format='webdataset', cut=0):
    "A shard as img2dataset 1.47 writes it: (row, content or None) a sample, in the order in which downloads end"
    table, images = [], {}
    for i, (row, data) in enumerate(samples):
        key = f'{number:05}{i:04}'
        told = dict(key=key, status=row.get('status', 'success'), error_message=row.get('told'))
        unknown = dict(width=None, height=None, original_width=None, original_height=None, sha256=None)
        table.append({name: row.get(name) for name in URL_LIST_FIELDS} | told | unknown)
        if data is not None: images[f'{key}.jpg'] = data; images[f'{key}.json'] = json.dumps(table[-1]).encode()
    folder.mkdir(exist_ok=True)
    texts = [(name, pa.string()) for name in (*URL_LIST_FIELDS, 'key', 'status', 'error_message', 'sha256')]
    sizes = [(name, pa.int32()) for name in ('width', 'height', 'original_width', 'original_height')]
    pq.write_table(pa.Table.from_pylist(table, pa.schema(texts + sizes)), folder/f'{number:05}.parquet')
    (folder/f'{number:05}_stats.json').write_text('{}')
    if format == 'files':
        for name, data in images.items():
            (folder/f'{number:05}').mkdir(exist_ok=True)
            (folder/f'{number:05}'/name).write_bytes(data)
        return
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode='w') as tar:
        for name, data in images.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    (folder/f'{number:05}.tar').write_bytes(buffer.getvalue()[:len(buffer.getvalue()) - cut])


def address(i, **more):
    return dict(url=f'https://example.org/{i}.jpg', label='mars', creator='Ada', license='by 4.0',
                landing_url='https://example.org', provider='p') | more


def refused(i, told): return address(i, status='failed_to_download', told=told), None


@pytest.mark.parametrize('format', ['webdataset', 'files'])
def test_shards_become_the_same_folder_and_manifest(root, tmp_path, format):
    shards = tmp_path/'shards'
    write_shard(shards, 0, [(address(0), jpeg(0)), (address(1), b'<html>'), refused(2, 'HTTP Error 429: Too Many Requests'),
                            (address(3), jpeg(0)), (address(4), jpeg(4)[:-200])], format)
    write_shard(shards, 1, [refused(5, '<urlopen error timed out>'), refused(6, 'Use of image disallowed by X-Robots-Tag directive'),
                            (address(7), jpeg(7, (1, 1))), (address(8), jpeg(8))], format)
    (shards/'00002.parquet').write_bytes(b'PAR1 and then it was killed')
    listed = write_url_list([ImageResult(address(i)['url'], label='mars', creator='Ada') for i in range(11)], tmp_path/'list.csv')
    manifest = read_shards(shards, root, listed)
    assert check_whole(root).counts() == {
        'kept': 2, 'duplicate': 1, 'failed:not_an_image': 1, 'failed:truncated': 1, 'failed:http_429': 1,
        'failed:timeout': 1, 'failed:opted_out': 1, 'failed:too_small': 1, 'failed:connection': 2}
    assert all(row['creator'] == 'Ada' for row in manifest) and manifest.get(address(8)['url'], 'mars')['license'] == 'by 4.0'
    before = manifest.path.read_bytes()
    again = read_shards(shards, root, listed)
    assert again.rows('kept') == manifest.rows('kept') and len(again) == len(manifest) == 11 and before in again.path.read_bytes()


def test_a_label_of_digits_stays_a_label(root, tmp_path):
    write_shard(tmp_path/'s', 0, [(address(0, label='007'), jpeg(0))])
    listed = write_url_list([ImageResult(address(i)['url'], label='007') for i in range(2)], tmp_path/'list.csv')
    assert [row['label'] for row in read_shards(tmp_path/'s', root, listed)] == ['007', '007'] and check_whole(root)


def test_a_shard_that_was_cut_off_gives_what_is_whole(root, tmp_path):
    write_shard(tmp_path/'s', 0, [(address(i), jpeg(i)) for i in range(6)], cut=10_240 + 3000)
    counts = read_shards(tmp_path/'s', root).counts()
    assert counts['kept'] + counts['failed:connection'] == 6 and counts['kept'] >= 1 and counts['failed:connection'] >= 1


def test_damaged_shards_never_stop_us(tmp_path):
    write_shard(tmp_path, 0, [(address(i), jpeg(i)) for i in range(3)])
    whole, rng, ends = (tmp_path/'00000.tar').read_bytes(), random.Random(1), set()
    heads = [i for i in range(0, len(whole), 512) if whole[i + 257:i + 262] == b'ustar']
    for _ in range(300): # sizes and types at random, under a right checksum
        data, head = bytearray(whole), rng.choice(heads)
        data[head + 124:head + 136], data[head + 156] = rng.randbytes(12), rng.choice(b'0123456789SxgLK')
        data[head + 148:head + 156] = b' ' * 8
        data[head + 148:head + 156] = b'%06o\0 ' % sum(data[head:head + 512])
        (tmp_path/'00000.tar').write_bytes(data)
        ends.add(sum(1 for _ in shard_images(tmp_path/'00000.parquet')))
    assert ends == {0, 1, 2, 3}


def test_hostile_shards(root, tmp_path):
    with pytest.raises(InputError, match='no shards'): read_shards(tmp_path, root)
    write_shard(tmp_path/'s', 0, [(address(0, label='../evil'), jpeg(0))])
    with pytest.raises(InputError, match='plain folder name'): read_shards(tmp_path/'s', root)
    write_shard(tmp_path/'t', 0, [(address(0), jpeg(0))])
    with tarfile.open(tmp_path/'t'/'00000.tar', 'a') as tar:
        link = tarfile.TarInfo('../../000000000.jpg')
        link.type, link.linkname = tarfile.SYMTYPE, '/etc/passwd'
        tar.addfile(link)
        for name in ('../../../evil.jpg', '/evil.jpg'): tar.addfile(tarfile.TarInfo(name))
    assert read_shards(tmp_path/'t', root).counts() == {'kept': 1} and files_on_disk(root) and not list(tmp_path.rglob('evil*'))


def test_addresses_that_nobody_should_visit_are_not_listed(tmp_path):
    bad = ['file:///etc/passwd', 'http://127.0.0.1/x.jpg', 'http://169.254.169.254/latest', 'ftp://example.org/1.jpg']
    listed = [ImageResult(url, label='a') for url in bad + ['https://example.org/1.jpg'] * 2]
    with pytest.warns(UserWarning, match='4 addresses'): path = write_url_list(listed, tmp_path/'l.parquet')
    assert pq.read_table(path)['url'].to_pylist() == ['https://example.org/1.jpg']
    assert len(pq.read_table(write_url_list([ImageResult(bad[1], label='a')], tmp_path/'m.parquet', allow_hosts=HERE))) == 1
    with pytest.raises(InputError, match='neither'): write_url_list([], tmp_path/'l.txt')


def recommended_command():
    "The arguments that the notebook tells its reader to use"
    cell = next(c.source for c in nbformat.read(notebooks.NBS/'07_exchange.ipynb', 4).cells if 'img2dataset --url_list' in c.source)
    return shlex.split(cell.split('```')[1].replace('\\\n', ' '))


@pytest.mark.verify
def test_img2dataset_with_spark_ends_in_the_same_manifest(server, root, tmp_path, record_property):
    if not (PEERS/'img2dataset').exists(): pytest.skip('no .venv-peers: make bench builds it')
    faults = ['good'] * 30 + ['missing', 'forbidden', 'html', 'svg', 'empty', 'tiny', 'truncated', 'noai', 'bomb',
                              'short_body', 'reset', 'loop', 'moved', 'down'] + ['good']
    results = server.results(*faults, label='mars')
    listed = write_url_list(results, tmp_path/'list.parquet', allow_hosts=HERE)
    command = recommended_command()
    places = {'/data/list.parquet': str(listed), '/data/shards': str(tmp_path/'shards'), 'img2dataset': str(PEERS/'img2dataset')}
    env = os.environ | dict(PYSPARK_PYTHON=str(PEERS/'python'), SPARK_LOCAL_IP='127.0.0.1', NO_ALBUMENTATIONS_UPDATE='1', no_proxy='127.0.0.1')
    done = subprocess.run([places.get(word, word) for word in command] + ['--number_sample_per_shard', '15', '--processes_count', '2'],
                          env=env, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert len(list((tmp_path/'shards').glob('*.tar'))) == 3, done.stderr[-2000:]
    manifest = read_shards(tmp_path/'shards', root, listed)
    record_property('counts', str(manifest.counts()))
    ours = {fault: None for fault in faults} | {fault: ENDINGS[fault] for fault in faults}
    differ = {fault: row.get('reason') for fault, result in zip(faults, results) if (row := manifest.get(result.url, 'mars')).get('reason') != ours[fault]}
    assert len(check_whole(root)) == len(results) and not differ, differ
