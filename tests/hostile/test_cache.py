"The cache of decoded images: damaged, in a folder of the user's, on a full disk, or deleted"
import json, os, random, resource, shutil, struct, warnings
from hashlib import sha256

import lmdb
import numpy as np
import pytest
from faults import jpeg

import forked
from fastcnn.cli import main
from fastcnn.core import InputError
from fastcnn.data import PixelCache

SIZE = 40


@pytest.fixture
def photos(tmp_path):
    files = [tmp_path/'photos'/f'{i % 2}'/f'{i}.jpg' for i in range(40)]
    for i, file in enumerate(files):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(jpeg(i, (80, 60)))
    return files


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('FASTCNN_PIXELS', str(tmp_path/'pixels'))
    return tmp_path/'pixels'


def content(file): return sha256(file.read_bytes()).hexdigest()


def decode(files):
    "Bring the images into the cache, read them from it as training does, and compare them with what the files hold"
    pixels = PixelCache(SIZE)
    assert pixels.fill([content(file) for file in files], files) == [None]*len(files)
    with pixels.reader() as read:
        for file in files: np.testing.assert_array_equal(read(content(file), file), read(None, file))


def in_a_process(files, limit=None):
    "The same; what is told is printed"
    if limit: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    warnings.simplefilter('always')
    warnings.showwarning = lambda message, *about: print('told:', message)
    decode(files)


def run(files, limit=None):
    "(exit status, what it told)"
    status, out = forked.run(in_a_process, files, limit, timeout=120)
    assert 'Traceback' not in out, out
    return status, [line for line in out.splitlines() if line.startswith('told:')]


def meta(data, field, value):
    "Both heads of an LMDB with another value at an offset"
    for start in (0, 4096): struct.pack_into('<Q' if field else '<I', data, start + (field or 20), value)
    return data

# the offsets: version, last page, root of the main database, pages that hold keys
DAMAGE = dict(empty=lambda data: b'', cut=lambda data: data[:len(data)//2], a_page=lambda data: data[:4096], head=lambda data: data[:100],
              garbage=lambda data: random.Random(1).randbytes(len(data)), text=lambda data: b'not a database'*999,
              version=lambda data: meta(data, None, 77), last=lambda data: meta(data, 144, 2**50), root=lambda data: meta(data, 136, 9999),
              no_metas=lambda data: bytes(8192) + data[8192:], zeros=lambda data: bytes(len(data)), twice=lambda data: data[4096:] + data)


@pytest.mark.parametrize('kind', DAMAGE)
def test_a_damaged_cache_is_told_in_a_line_and_made_anew(kind, photos, cache):
    assert run(photos) == (0, [])
    whole = bytearray((cache/'data.mdb').read_bytes())
    (cache/'data.mdb').write_bytes(DAMAGE[kind](whole))
    status, told = run(photos)
    assert status == 0 and len(told) == 1 and 'damaged' in told[0]
    assert run(photos) == (0, [])


def test_turned_bits_are_found_wherever_they_are(photos, cache):
    "In the pixels, in the pages of the keys, in the lists of free pages: 60 places"
    assert run(photos) == (0, [])
    rng, whole, found = random.Random(7), (cache/'data.mdb').read_bytes(), 0
    for _ in range(3):
        data = bytearray(whole)
        for at in rng.sample(range(8192, len(data)), 20): data[at] ^= 1 << rng.randrange(8)
        (cache/'data.mdb').write_bytes(data)
        status, told = run(photos)
        assert status == 0 and len(told) <= 2
        found += bool(told)
    assert found == 3


def damage_on_the_way(files, cache):
    "In a process of its own, which would end where the damage is not found"
    decode(files)
    with open(cache/'data.mdb', 'r+b') as file: file.truncate(8192)
    with pytest.warns(UserWarning, match='damaged'): decode(files)
    shutil.rmtree(cache)
    decode(files)
    assert cache.exists()


def test_damage_is_found_between_two_trainings_of_a_notebook(photos, cache):
    status, out = forked.run(damage_on_the_way, photos, cache, timeout=120)
    assert status == 0, out


def test_one_wrong_byte_changes_no_pixel(photos, cache):
    decode(photos)
    with PixelCache(SIZE).reader() as read: row = read(content(photos[5]), photos[5]).tobytes()
    data = (cache/'data.mdb').read_bytes()
    assert data.count(row) == 1
    with open(cache/'data.mdb', 'r+b') as file: file.seek(data.index(row) + 1234), file.write(bytes([row[1234] ^ 255]))
    with pytest.warns(UserWarning, match='damaged') as told: decode(photos)
    assert len(told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        decode(photos)


@pytest.mark.parametrize('verb', ['forget', 'cache'])
def test_only_what_the_cache_wrote_is_deleted(verb, photos, outside, monkeypatch, capsys):
    monkeypatch.setenv('FASTCNN_PIXELS', str(outside))
    decode(photos)
    assert (outside/'data.mdb').exists()
    argv = ['cache', '--purge'] if verb == 'cache' else ['forget', str(photos[0].parent.parent), '--creator', 'Nobody']
    assert main([*argv, '--json']) == 0 and (outside/'.ssh'/'id_rsa').exists() # and `outside` looks at the rest
    assert json.loads(capsys.readouterr().out.splitlines()[-1])


def test_a_folder_of_its_own_goes_and_a_link_to_it_stays(photos, cache, tmp_path):
    decode(photos)
    assert main(['cache', '--purge']) == 0 and not cache.exists()
    (tmp_path/'large disk').mkdir()
    cache.symlink_to(tmp_path/'large disk')
    decode(photos)
    assert main(['cache', '--purge']) == 0 and cache.is_symlink() and not any((tmp_path/'large disk').iterdir())


def test_databases_of_others_are_left_alone(photos, cache, outside, capsys):
    with lmdb.open(str(cache), map_size=2**24) as theirs, theirs.begin(write=True) as transaction: transaction.put(b'a', b'b')
    before = {path.name: path.read_bytes() for path in cache.iterdir()}
    with pytest.raises(InputError, match='FASTCNN_PIXELS'): decode(photos)
    assert main(['cache', '--purge']) == 2 and main(['forget', str(photos[0].parent.parent), '--creator', 'Nobody']) == 0
    assert {path.name: path.read_bytes() for path in cache.iterdir()} == before
    for name in ('data.mdb', 'lock.mdb', 'pixels.stamp', 'pixels.lock'):
        shutil.rmtree(cache)
        cache.mkdir()
        (cache/name).symlink_to(outside/'.bashrc')
        with pytest.raises(InputError, match='is a link'): decode(photos)
    assert len(capsys.readouterr().err.splitlines()) == 2 # an error, and a warning of `forget`


@pytest.mark.skipif(os.name == 'nt', reason='limits of POSIX')
@pytest.mark.parametrize('limit', [2_000, 5_000, 60_000, 200_000])
def test_a_full_disk_costs_the_cache_and_not_the_training(limit, photos):
    status, told = run(photos, limit)
    assert status == 0 and len(told) == 1 and ('no cache' in told[0] or 'no more images' in told[0])
    assert run(photos) == (0, [])


def test_a_folder_that_cannot_be_made_costs_the_cache_only(photos, cache):
    cache.write_text('a file')
    status, told = run(photos)
    assert status == 0 and len(told) == 1 and 'FASTCNN_PIXELS' in told[0] and cache.read_text() == 'a file'


def test_processes_that_find_the_damage_at_once(photos, cache):
    "One makes it anew, the others wait"
    for _ in range(2):
        assert run(photos)[0] == 0
        with open(cache/'data.mdb', 'r+b') as file: file.truncate(50_000)
        together = [forked.start(in_a_process, photos) for _ in range(4)]
        for process in together: process.join(120)
        assert [process.exitcode for process in together] == [0]*4
    assert run(photos) == (0, [])
