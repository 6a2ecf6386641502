"What a stored picture tells besides itself: nothing, whatever wrote it into the file, and however the file came in"
import io, os, random, struct, zlib
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from faults import FAST, HERE, jpeg
from PIL import Image, ImageCms

from fastcnn.cli import main
from fastcnn.core import ImageResult, Manifest
from fastcnn.download import fetch_images
from fastcnn.exchange import add_images, unpack_images
from fastcnn.images import files_on_disk, image_files, read_image

MARK = b'Dresden 50.93N serial 4711'
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description aux:SerialNumber="4711" photoshop:City="Dresden"'
XMP += b' Iptc4xmpCore:Location="' + MARK + b'"/></rdf:RDF></x:xmpmeta>'
PIECES = dict(
    exif=lambda: (0xe1, b'Exif\0\0' + exif()), xmp=lambda: (0xe1, b'http://ns.adobe.com/xap/1.0/\0' + XMP),
    long_xmp=lambda: (0xe1, b'http://ns.adobe.com/xmp/extension/\0' + MARK*900), iptc=lambda: (0xed, b'Photoshop 3.0\0' + iptc()),
    comment=lambda: (0xfe, MARK), flir=lambda: (0xe1, b'FLIR\0' + MARK), ducky=lambda: (0xec, b'Ducky' + MARK),
    thumbnail=lambda: (0xe0, b'JFXX\0\x10' + jpeg(9, (16, 16)) + MARK), jumbf=lambda: (0xeb, b'JP' + MARK), mpf=lambda: (0xe2, b'MPF\0' + MARK),
    fpxr=lambda: (0xe2, b'FPXR\0' + MARK), other=lambda: (0xe5, MARK), adobe=lambda: (0xee, b'AROT' + MARK), short=lambda: (0xe0, MARK[:3]))
CHUNKS = dict(
    eXIf=lambda: exif(), tEXt=lambda: b'Comment\0' + MARK, zTXt=lambda: b'Raw profile type iptc\0\0' + zlib.compress(MARK),
    iTXt=lambda: b'XML:com.adobe.xmp\0\0\0\0\0' + XMP, tIME=lambda: b'\x07\xea\1\1\1\1\1', sPLT=lambda: b'Dresden\0\x08' + bytes(6), prVt=lambda: MARK)
PACKED = b'iTXt', b'XML:com.adobe.xmp\0\1\0\0\0' + zlib.compress(XMP)


def exif():
    "Place, owner, serial numbers of camera and lens, a maker's note, a comment, a second small picture"
    found = Image.Exif()
    found[0x8825], found[0x010e], found[0x013b] = {1: 'N', 2: (50.0, 56.0, 0.0)}, MARK.decode(), 'Ada'
    found.get_ifd(0x8769).update({0xa430: 'Ada', 0xa431: MARK.decode(), 0xa435: MARK.decode(), 0x927c: MARK, 0x9286: MARK})
    return found.tobytes()[6:]


def iptc(): return b'8BIM\x04\x04\0\0' + struct.pack('>I', len(MARK) + 5) + b'\x1c\x02\x5a' + struct.pack('>H', len(MARK)) + MARK

def segment(kind, body): return bytes([0xff, kind]) + struct.pack('>H', len(body) + 2) + body

def chunk(kind, body): return struct.pack('>I', len(body)) + kind + body + struct.pack('>I', zlib.crc32(kind + body))


def marked(rng, format, **options):
    "A picture with some pieces of metadata at random places, and the same without them"
    plain = jpeg(rng.getrandbits(32), (64, 48), format, **options)
    if format == 'JPEG':
        told = b''.join(segment(*PIECES[name]()) for name in rng.choices([*PIECES], k=rng.randint(1, 6)))
        at = rng.choice([2, plain.index(b'\xff\xdb'), plain.index(b'\xff\xda')]) # before, among and behind the tables
        return plain[:at] + b'\xff'*rng.randint(0, 3) + told + plain[at:] + rng.choice([b'', MARK, jpeg(3) + MARK]), plain
    told = [chunk(name.encode(), CHUNKS[name]()) for name in rng.choices([*CHUNKS], k=rng.randint(1, 5))] + [chunk(*PACKED)]
    at = rng.choice([33, plain.index(b'IDAT') - 4, len(plain) - 12])
    return plain[:at] + b''.join(told) + plain[at:] + rng.choice([b'', MARK, jpeg(3)]), plain


KINDS = [('JPEG', {}), ('JPEG', dict(progressive=True)), ('JPEG', dict(restart_marker_blocks=1)), ('JPEG', dict(subsampling=0)), ('PNG', {})]


def is_silent(data):
    words = b'Dresden', b'4711', b'Exif', b'eXIf', b'8BIM', b'adobe:ns', b'Ada', b'MPF', b'JFXX'
    image = Image.open(io.BytesIO(data))
    return not any(word in data for word in words) and not image.getexif() and set(image.info) <= {
        'jfif', 'jfif_version', 'jfif_unit', 'jfif_density', 'progressive', 'progression', 'dpi', 'icc_profile', 'gamma', 'adobe', 'adobe_transform'}


@pytest.mark.parametrize('way', ['add', 'search'])
@pytest.mark.parametrize('format, options', KINDS, ids=str)
def test_only_the_picture_is_stored(format, options, way, root, server, tmp_path):
    rng = random.Random(f'{format} {options}')
    files = dict((f'{i}.jpg', marked(rng, format, **options)) for i in range(25))
    for name, (data, _) in files.items():
        (tmp_path/'mine'/'a').mkdir(parents=True, exist_ok=True)
        (tmp_path/'mine'/'a'/name).write_bytes(data)
    if way == 'add': assert main(['add', str(tmp_path/'mine'), '--out', str(root)]) == 0
    else:
        server.site.update({f'/site/{name}': data for name, (data, _) in files.items()})
        fetch_images([ImageResult(f'{server.url}/site/{name}', label='a') for name in files], root, HERE, **FAST)
    stored = {file.read_bytes() for file in image_files(root)}
    assert stored == {plain for _, plain in files.values()} and all(map(is_silent, stored))


CODED_ANEW = dict(turned=('JPEG', 'RGB', dict(exif=b'Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0')), TIFF=('TIFF', 'RGB', {}),
                  WebP=('WEBP', 'RGB', {}), transparent=('PNG', 'RGBA', {}), palette=('PNG', 'P', {}), grey=('TIFF', 'L', {}), print=('JPEG', 'CMYK', {}))


@pytest.mark.parametrize('kind', CODED_ANEW)
def test_what_is_coded_anew_keeps_the_profile_of_its_colours(kind, root, tmp_path):
    "Where they were red, green and blue: the numbers of grey and of inks are others afterwards"
    format, mode, options = CODED_ANEW[kind]
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes())
    if mode in ('L', 'CMYK'): profile[16:20] = {'L': b'GRAY', 'CMYK': b'CMYK'}[mode]
    image = Image.open(io.BytesIO(jpeg(1, (64, 48)))).convert(mode)
    image.save(tmp_path/'mine', format, icc_profile=bytes(profile), **options)
    row, = add_images(tmp_path/'mine', root, label='a')
    stored = Image.open(root/row['file'])
    assert stored.format == 'JPEG' and stored.info.get('icc_profile') == (None if mode in ('L', 'CMYK') else bytes(profile))
    np.testing.assert_allclose(read_image(root/row['file']).mean((0, 1)), read_image(tmp_path/'mine').mean((0, 1)), atol=2)


def test_what_a_viewer_needs_stays(root, tmp_path):
    "The colour profile, and how colours are coded"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
    for format in ('JPEG', 'PNG'):
        data = jpeg(1, (64, 48), format, icc_profile=profile, exif=exif(), dpi=(300, 300))
        (tmp_path/f'1.{format.lower()}').write_bytes(data)
        row, = add_images(tmp_path/f'1.{format.lower()}', root, label='a')
        stored = Image.open(root/row['file'])
        assert stored.info['icc_profile'] == profile and round(stored.info['dpi'][0]) == 300 and is_silent((root/row['file']).read_bytes())
    buffer = io.BytesIO()
    Image.open(io.BytesIO(jpeg(2))).save(buffer, 'JPEG', keep_rgb=True, comment=MARK) # RGB in a JPEG, which the Adobe segment says
    (tmp_path/'rgb.jpg').write_bytes(buffer.getvalue())
    row, = add_images(tmp_path/'rgb.jpg', root, label='a')
    assert (read_image(root/row['file']) == read_image(tmp_path/'rgb.jpg')).all() and is_silent((root/row['file']).read_bytes())


def test_other_formats_and_turned_photographs_tell_nothing_either(root, tmp_path):
    for i, (format, options) in enumerate([('WEBP', {}), ('AVIF', {}), ('GIF', dict(comment=MARK)), ('TIFF', {}), ('JPEG', {})]):
        told = Image.Exif()
        told.load(exif())
        told[0x0112] = 6
        (tmp_path/f'{i}.jpg').write_bytes(jpeg(i, (64, 48), format, **options | ({} if format == 'GIF' else dict(exif=told))))
        row, = add_images(tmp_path/f'{i}.jpg', root, label='a')
        assert is_silent((root/row['file']).read_bytes()), format


def test_a_picture_known_is_known_whatever_it_tells(root, server, tmp_path):
    "Added twice, found on the web, in a collection of an older version, laid into the folder by hand"
    old = Image.Exif()
    old[0x010f] = 'Maker'
    whole = jpeg(5, (64, 48), exif=exif())
    (tmp_path/'mine.jpg').write_bytes(whole)
    server.site['/site/5.jpg'] = whole
    found = [ImageResult(f'{server.url}/site/5.jpg', label='a')]
    def add(): return add_images(tmp_path/'mine.jpg', root, label='a')[0]['status']
    assert [add(), add()] == ['kept', 'duplicate'] and len(Manifest(root)) == 1
    assert fetch_images(found, root, HERE, **FAST).get(found[0].url, 'a')['status'] == 'duplicate' and add() == 'duplicate'
    for data in (jpeg(5, (64, 48), exif=old), whole): # an older version took out the place; or there is no row
        for file in image_files(root): file.unlink()
        Manifest(root).path.unlink()
        (root/'a'/'old.jpg').write_bytes(data)
        digest = sha256(data).hexdigest()
        row = dict(url=f'own:{digest}', label='a', status='kept', provider='own', file='a/old.jpg', width=64, height=48, sha256=digest, source_sha256=digest)
        if data != whole: Manifest(root).append(row)
        else: Manifest(root).append(row | dict(url='own:x', status='failed', reason='timeout', file=''))
        assert add() == 'duplicate' and files_on_disk(root) == ['a/old.jpg']


def test_nobody_can_try_out_places_by_a_hash(root, tmp_path):
    "The manifest may be published: the hash of the file as it was would be a riddle whose answers can be counted"
    whole = jpeg(5, (64, 48), exif=exif())
    (tmp_path/'mine.jpg').write_bytes(whole)
    add_images(tmp_path/'mine.jpg', root, label='a')
    assert sha256(whole).hexdigest() not in Manifest(root).path.read_text()


def test_real_photographs_keep_every_pixel(root, tmp_path):
    photos = Path(os.environ.get('FASTCNN_DATA', 'nowhere'))/'photos.zip'
    if not photos.exists(): pytest.skip('no photos.zip in the folder that FASTCNN_DATA names')
    theirs = unpack_images(photos, tmp_path/'photos')
    some = image_files(theirs)[::12]
    for i, file in enumerate(some):
        row, = add_images(file, root/f'{i}', label='a')
        stored = root/f'{i}'/row['file']
        if stored.stat().st_size < file.stat().st_size: assert is_silent(stored.read_bytes())
        np.testing.assert_array_equal(read_image(stored), read_image(file))
