"Thousands of mutations of what the pictures' metadata, our CSVs and the cache are read from: no traceback, no wrong pixel, nothing kept"
import random, resource, shutil, warnings
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from faults import jpeg
from PIL import Image

import forked
from fastcnn.data import PixelCache
from fastcnn.exchange import add_images
from fastcnn.images import read_image

COUNT = 2000


def changed(data, rng):
    "Flipped, cut, doubled, swapped or overlong somewhere"
    data, at = bytearray(data), rng.randrange(len(data))
    length = min(rng.choice([1, 2, 4, 40, 400]), len(data) - at)
    kind = rng.randrange(6)
    if kind == 0: data[at] ^= 1 << rng.randrange(8)
    elif kind == 1: del data[at:at + length]
    elif kind == 2: data[at:at] = data[at:at + length]*rng.choice([1, 2, 50])
    elif kind == 3: data[at:at + length] = rng.randbytes(length)
    elif kind == 4: data[at:at + 2] = b'\xff\xff'
    else: del data[at:]
    return bytes(data)


def fuzz_metadata(seed, folder, count=COUNT):
    "Photographs with damaged metadata: they are refused, or what is stored shows what the file shows, and has no metadata"
    rng, root = random.Random(seed), Path(folder)/'root'
    exif = Image.Exif()
    exif[0x8825], exif[0x010e] = {1: 'N', 2: (50.0, 56.0, 0.0)}, 'Dresden '*20
    wholes = [jpeg(i, (48, 40), format, exif=exif, **more) for i in range(3) for format, more in
              [('JPEG', dict(comment=b'Dresden', xmp=b'<x>Dresden</x>')), ('JPEG', dict(progressive=True)), ('PNG', {})]]
    (Path(folder)/'mine').mkdir()
    for i in range(count): (Path(folder)/'mine'/f'{i}.jpg').write_bytes(changed(rng.choice(wholes), rng))
    rows, kept = add_images(Path(folder)/'mine', root, label='a'), 0
    for row in (row for row in rows if row['file']):
        kept += 1
        image = Image.open(root/row['file'])
        assert not image.getexif() and 'comment' not in image.info and 'xmp' not in image.info, row
        if Path(row['source']).exists(): difference(read_image(row['source']), read_image(root/row['file']))
    assert len(rows) == count and kept > count/50


def difference(a, b):
    assert a.shape == b.shape and np.abs(a.astype(int) - b).mean() < 4 # coded anew where the file is not what its markers say


def fuzz_cells(seed, folder, count=COUNT):
    "Titles, labels and columns of any characters: no cell is a formula, and each is read back"
    from fastcnn.texts import csv_line, csv_text, one_line, printable, read_csv_text
    rng, alphabet = random.Random(seed), "=+-@'\t\r\n\"; ,a＝\x1b\u202e\udce9\u3164\x85\u2028💥"
    for _ in range(count):
        text = ''.join(rng.choices(alphabet, k=rng.randrange(9)))
        assert read_csv_text(csv_text(text)) == text and csv_text(text)[:1] not in tuple('=+-@\t\r\n＝')
        assert printable(text).isprintable() and printable(printable(text)) == printable(text) and one_line(text).isprintable()
        assert csv_line([text, 1]).startswith('"')


def fuzz_cache(seed, folder, count=COUNT//10):
    "A damaged database: decoded as if there were none, in as many lines as it takes to say so"
    rng, files, folder = random.Random(seed), [], Path(folder)
    for i in range(12):
        files.append(folder/f'{i}.jpg')
        files[-1].write_bytes(jpeg(i, (50, 40)))
    contents = [sha256(file.read_bytes()).hexdigest() for file in files]
    def check():
        cache = PixelCache(24, folder/'pixels')
        assert cache.fill(contents, files) == [None]*len(files)
        with cache.reader() as read:
            for content, file in zip(contents, files): np.testing.assert_array_equal(read(content, file), read(None, file))
    warnings.simplefilter('ignore')
    check()
    whole = (folder/'pixels'/'data.mdb').read_bytes()
    for _ in range(count):
        shutil.copyfile(folder/'pixels'/'data.mdb', folder/'spare') # another file takes its place, as after a restore from a copy
        (folder/'spare').write_bytes(changed(whole, rng) if rng.random() < .8 else changed(changed(whole[:8192], rng) + whole[8192:], rng))
        (folder/'spare').replace(folder/'pixels'/'data.mdb')
        check()


def in_a_child(fuzz, seed, folder):
    if hasattr(resource, 'RLIMIT_DATA'): resource.setrlimit(resource.RLIMIT_DATA, (2*2**30, 2*2**30))
    warnings.simplefilter('ignore')
    fuzz(seed, folder)


@pytest.mark.verify
@pytest.mark.parametrize('fuzz, seeds', [(fuzz_metadata, 1), (fuzz_cells, 1), (fuzz_cache, 10)], ids=lambda value: getattr(value, '__name__', ''))
def test_fuzz(fuzz, seeds, tmp_path):
    for seed in range(seeds):
        (tmp_path/f'{seed}').mkdir()
        status, out = forked.run(in_a_child, fuzz, seed, tmp_path/f'{seed}', timeout=600)
        assert status == 0, out[-3000:]
        shutil.rmtree(tmp_path/f'{seed}')
