"One picture everywhere: every encoding, every reader; and what is made to be slow or to fill the memory."
import io, os, random, struct, subprocess, sys, tempfile, threading, time, zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image, ImageFile, PngImagePlugin

from fastcnn.images import IMAGE_SUFFIXES, UnreadableImage, files_on_disk, left_out_files, list_images, read_header, read_image
from fastcnn.tables import image_table
from pictures import ENCODINGS, HEIGHT, RGB, WIDTH, differs, exif, lying, saved, seen

each_encoding = pytest.mark.parametrize('name', ENCODINGS)


def reason(source):
    try: read_image(source)
    except UnreadableImage as error: return error.reason


def test_there_are_many_encodings(): assert len(ENCODINGS) >= 60


@each_encoding
def test_every_encoding_gives_the_picture(name, tmp_path):
    encoding = ENCODINGS[name]
    (tmp_path/'picture').write_bytes(encoding.data)
    for source in (encoding.data, tmp_path/'picture', str(tmp_path/'picture'), Image.open(io.BytesIO(encoding.data))):
        pixels = read_image(source)
        assert pixels.shape == (HEIGHT, WIDTH, 3) and pixels.dtype == np.uint8 and pixels.flags.writeable
        assert differs(pixels, encoding) <= 2, type(source)


@each_encoding
def test_the_header_knows_the_upright_size(name):
    header = read_header(ENCODINGS[name].data)
    assert (header.width, header.height) == (WIDTH, HEIGHT)
    assert header.format in (ENCODINGS[name].format, 'MPO')


@each_encoding
def test_plain_files_are_those_that_every_loader_sees_alike(name):
    data = ENCODINGS[name].data
    if not read_header(data).plain: return
    with Image.open(io.BytesIO(data)) as image: naive = np.asarray(image.convert('RGB'))
    np.testing.assert_array_equal(naive, read_image(data))


@each_encoding
def test_a_smaller_scale_is_the_same_picture(name):
    pixels = read_image(ENCODINGS[name].data, side=20)
    assert min(pixels.shape[:2]) >= 20 and differs(pixels, ENCODINGS[name]) <= 2


def test_heic_is_read_with_the_extra():
    pillow_heif = pytest.importorskip('pillow_heif')
    for orientation in (1, 6):
        file = io.BytesIO()
        pillow_heif.from_pillow(lying(RGB, orientation)).save(file, quality=95, exif=exif(orientation).tobytes())
        pixels = read_image(file.getvalue())
        assert pixels.shape == ((HEIGHT, WIDTH, 3) if orientation == 1 else pixels.shape)
        assert differs(pixels, ENCODINGS['jpeg_plain']) <= 4


@given(st.integers(1, 150), st.integers(1, 150), st.integers(1, 8), st.sampled_from(['RGB', 'L']), st.integers(1, 80), st.booleans())
@settings(max_examples=60, deadline=None)
def test_the_fast_way_gives_pillows_numbers(width, height, orientation, mode, side, progressive):
    "Plain JPEG files of any size, at full size and reduced, by simplejpeg and by Pillow"
    pixels = np.random.default_rng(width*height).integers(0, 255, (height, width, 3), np.uint8)
    data = saved(Image.fromarray(pixels).convert(mode), 'JPEG', exif=exif(orientation), progressive=progressive)
    for wanted in (None, side):
        with Image.open(io.BytesIO(data)) as image:
            if wanted and max(width, height) >= 64: image.draft(None, (wanted, wanted))
            image.load() # else its file would be read as any other
            slow = read_image(image)
        np.testing.assert_array_equal(read_image(data, wanted), slow)
        if wanted: assert min(slow.shape[:2]) >= min(wanted, width, height)


# --- what others have in their files

def tiff(values, bits, photometric=1):
    "A grey TIFF, uncompressed, little-endian"
    values = np.asarray(values, np.uint16)
    height, width = values.shape
    if bits == 12: # two values in three bytes
        packed = ''.join(f'{v:012b}' for v in values.ravel())
        data = int(packed, 2).to_bytes(len(packed)//8, 'big')
    else: data = values.astype('<u2').tobytes()
    tags = [(256, 3, width), (257, 3, height), (258, 3, bits), (259, 3, 1), (262, 3, photometric), (273, 4, 8), (277, 3, 1),
            (278, 3, height), (279, 4, len(data))]
    entries = b''.join(struct.pack('<HHII', tag, kind, 1, value) for tag, kind, value in tags)
    return b'II*\0' + struct.pack('<I', 8 + len(data)) + data + struct.pack('<H', len(tags)) + entries + bytes(4)


def grey_png(value, bits, clear):
    "A grey PNG of one value, which is transparent"
    row = bytes([0]) + int((f'{value:0{bits}b}')*8, 2).to_bytes(bits, 'big')
    header = struct.pack('>IIBBBBB', 8, 8, bits, 0, 0, 0, 0)
    return (b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'tRNS', struct.pack('>H', clear)) +
            chunk(b'IDAT', zlib.compress(row*8)) + chunk(b'IEND', b''))


@pytest.mark.parametrize('bits, value', [(1, 0), (2, 2), (4, 8), (8, 80), (16, 0), (16, 12_345)])
def test_a_colour_that_is_transparent_is_white_at_any_depth(bits, value):
    assert (read_image(grey_png(value, bits, value)) == 255).all()
    assert (read_image(grey_png(value, bits, value ^ 1)) != 255).any()


def test_twelve_bits_and_negatives():
    ramp = [[0, 2047, 4095, 1000]]*2
    np.testing.assert_allclose(read_image(tiff(ramp, 12))[0, :, 0], [0, 127, 255, 62], atol=1)
    np.testing.assert_allclose(read_image(tiff([[0, 65_535]]*2, 16, photometric=0))[0, :, 0], [255, 0])


def test_a_float_a_little_above_white_is_white():
    for white in (1, 255): # as a resize leaves it
        values = np.array([[0, white/2, white*1.11]], np.float32)
        np.testing.assert_allclose(read_image(saved(Image.fromarray(values), 'TIFF'))[0, :, 0], [0, 127, 255], atol=1)


def test_much_text_in_a_png_is_no_damage():
    from PIL.PngImagePlugin import PngInfo
    about = PngInfo()
    about.add_text('prompt', 'x'*3_000_000, zip=True)
    assert differs(read_image(saved(RGB, 'PNG', pnginfo=about)), ENCODINGS['png_rgb']) <= 2


def test_orientation_survives_pillows_own_limit(monkeypatch):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', WIDTH*HEIGHT*2//3)
    assert differs(read_image(ENCODINGS['jpeg_orientation_6'].data), ENCODINGS['jpeg_orientation_6']) <= 2


def test_arrays_and_buffers_are_images_too():
    pixels = np.asarray(RGB)
    np.testing.assert_array_equal(read_image(pixels), pixels)
    np.testing.assert_array_equal(read_image(bytearray(ENCODINGS['png_rgb'].data)), pixels)
    for wrong in (None, 3, io.BytesIO(b'x'), np.zeros((2, 2, 2, 2)), Image.new('RGB', (0, 0))):
        with pytest.raises(UnreadableImage): read_image(wrong)


def test_what_is_whole_and_not_read_is_not_called_truncated():
    assert reason(b'RIFF\x24\0\0\0WAVEfmt ' + bytes(60)) == 'not_an_image'
    with pytest.raises(UnreadableImage, match='too large') as error: read_image(_sparse())
    assert error.value.reason == 'too_large' and str(error.value).count('cannot be read') == 1


def _sparse():
    path = Path(tempfile.mkdtemp())/'big.jpg'
    with open(path, 'wb') as file: file.truncate(2**30 + 5)
    return path


def test_the_header_of_a_png_needs_no_pixels():
    data = bytearray(saved(Image.new('RGB', (64, 64)), 'PNG'))
    data[data.index(b'IDAT') + 6] ^= 255 # the pixels are damaged
    assert read_header(bytes(data)).width == 64


# --- what is made to block a computer

def chunk(kind, data): return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))


def many_scans(n=20_000, size=(64, 64)):
    data = saved(Image.new('RGB', size, 'orange'), 'JPEG', progressive=True)
    start = data.rfind(b'\xff\xc4', 0, data.rfind(b'\xff\xda'))
    return data[:-2] + data[start:-2]*n + data[-2:]


def many_chunks(n=800_000):
    data = saved(RGB, 'PNG')
    return data[:33] + chunk(b'teXt', b'')*n + data[33:]


def many_extensions(n=1_500_000):
    data = saved(RGB.quantize(4), 'GIF')
    start = data.index(b',', 13 + 3*2**(1 + (data[10] & 7)))
    return data[:start] + b'!\xfe\1x\0'*n + data[start:]


def many_segments(n=1_000_000):
    data = saved(RGB, 'JPEG')
    return data[:2] + b'\xff\xe9\0\2'*n + data[2:]


def exif_segments(n=3_000_000):
    data = saved(lying(RGB, 6), 'JPEG', exif=exif(6))
    return data[:2] + data[2:4 + int.from_bytes(data[4:6], 'big')] + b'\xff\xfe\0\2'*n + data[2:]


BOMBS = dict(exif_segments=exif_segments(), scans=many_scans(), scans_of_a_large_picture=many_scans(60, (6000, 6000)), scans_of_a_small_one=many_scans(501),
             chunks=many_chunks(), extensions=many_extensions(), segments=many_segments())


@pytest.mark.parametrize('name', BOMBS)
def test_what_is_made_to_be_slow_costs_little(name):
    "It is refused, or it is read after all; in either case within a few seconds of processor time"
    start = time.thread_time()
    found = reason(BOMBS[name])
    spent = time.thread_time() - start
    assert found in ('too_slow', 'damaged', 'truncated', 'not_an_image') or 'scans' not in name
    assert spent < 6, f'{spent:.1f} s of processor time'


def test_an_image_that_pillow_has_only_opened_is_read_as_its_file_is():
    with Image.open(io.BytesIO(many_scans(501))) as image: assert reason(image) == reason(many_scans(501)) == 'too_slow'
    with Image.open(io.BytesIO(saved(RGB, 'JPEG'))) as image:
        np.testing.assert_array_equal(read_image(image), read_image(saved(RGB, 'JPEG')))
        image.load() # it can still be read
    for large in (RGB, np.asarray(RGB)):
        with pytest.raises(UnreadableImage, match='too'): read_image(large, max_pixels=10)


@pytest.mark.parametrize('progressive', [False, True])
def test_a_download_that_was_not_finished_is_truncated(progressive):
    "Its second half is missing, or the zeros of space that was reserved"
    data = saved(RGB, 'JPEG', progressive=progressive, exif=exif(6))
    half = len(data)//2
    for rest in (b'', bytes(half), bytes(10**6)): assert reason(data[:half] + rest) == 'truncated'
    for rest in (b'', bytes(half), b'\xff\xda'*9): assert reason(data + rest) is None


def test_a_few_bytes_of_a_huge_picture_are_refused():
    data = saved(Image.new('1', (13_000, 13_000)), 'PNG')
    assert len(data) < 50_000 and reason(data) == 'too_slow'


def test_strips_that_all_lie_in_one_place_are_refused():
    data = saved(Image.effect_noise((9000, 9000), 100), 'TIFF', compression='packbits')
    starts = Image.open(io.BytesIO(data)).tag_v2[273]
    assert reason(data) is None and len(starts) > 9
    listed = struct.pack(f'<{len(starts)}L', *starts)
    assert data.count(listed) == 1 and reason(data.replace(listed, listed[:4]*len(starts))) == 'too_slow'


def test_a_film_behind_the_picture_is_none_of_its_scans():
    "As telephones write it: random bytes hold what looks like a scan, once in 65,536"
    picture, film = saved(Image.new('RGB', (4032, 3024), 'teal'), 'JPEG'), random.Random(1).randbytes(10**6)
    assert film.count(b'\xff\xda') > 10
    for data in (picture + film*9, picture + b'\xff\xd8\xff\xda'*1000): assert reason(data) is None


def test_a_sheet_that_is_nearly_white_is_read():
    sheet = Image.new('1', (9921, 7016), 1) # A3 at 600 dots an inch
    sheet.paste(0, (500, 500, 3000, 520))
    for format, options in (('PNG', {}), ('TIFF', dict(compression='group4'))): assert reason(saved(sheet, format, **options)) is None


def test_usual_progressive_files_are_read():
    assert read_image(many_scans(10)).shape == (64, 64, 3)
    assert read_image(saved(Image.new('RGB', (5000, 4000), 'navy'), 'JPEG', progressive=True)).shape == (4000, 5000, 3)


@pytest.mark.parametrize('format', ['PNG', 'GIF', 'TIFF', 'BMP', 'WEBP'])
def test_too_many_pixels_are_refused_before_they_are_decoded(format):
    data = saved(Image.new('L', (3000, 2000)), format)
    with pytest.raises(UnreadableImage, match='3000 × 2000 pixels'): read_image(data, max_pixels=10**6)
    with pytest.raises(UnreadableImage, match='3000 × 2000 pixels'): read_header(data, max_pixels=10**6)


@pytest.mark.parametrize('name', ['jpeg_plain', 'jpeg_orientation_6', 'png_rgba', 'gif', 'webp', 'avif', 'tiff_lzw', 'bmp'])
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_damaged_files_give_a_picture_or_a_reason(name, data):
    whole = ENCODINGS[name].data
    damaged = bytearray(whole[:data.draw(st.integers(1, len(whole)))])
    for _ in range(data.draw(st.integers(0, 4))): damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    found = reason(bytes(damaged))
    assert found in (None, 'not_an_image', 'truncated', 'damaged', 'too_large', 'too_slow')


@pytest.mark.parametrize('name', ['jpeg_plain', 'png_rgb', 'webp_lossless', 'gif', 'avif', 'tiff_raw'])
def test_half_a_file_is_no_picture(name):
    whole = ENCODINGS[name].data
    assert reason(whole[:len(whole)//2]) in ('truncated', 'damaged', 'not_an_image')


def raw_profile(orientation):
    "EXIF in a PNG as ImageMagick writes it"
    content = exif(orientation).tobytes()
    return b'Raw profile type exif\0\0' + zlib.compress(b'\nexif\n%8d\n%s\n' % (len(content), content.hex().encode()))


XMP = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description {}/></x:xmpmeta>'


def packed_xmp(orientation):
    return b'XML:com.adobe.xmp\0\1\0\0\0' + zlib.compress(XMP.format(f'tiff:Orientation="{orientation}"').encode())


@pytest.mark.parametrize('kind, content', [(b'zTXt', raw_profile), (b'iTXt', packed_xmp)], ids=['EXIF', 'XMP'])
def test_what_a_png_says_in_packed_words_is_heard(kind, content):
    data = saved(lying(RGB, 6), 'PNG')
    data = data[:33] + chunk(kind, content(6)) + data[33:]
    header = read_header(data)
    assert (header.width, header.height, header.orientation, header.plain) == (WIDTH, HEIGHT, 6, False)
    assert differs(read_image(data), ENCODINGS['png_rgb']) == 0


@pytest.mark.parametrize('format', ['JPEG', 'PNG', 'WEBP'])
@pytest.mark.parametrize('told', ['tiff:Orientation="6"', "tiff:Orientation='6'", 'tiff:Orientation = "6"'])
def test_xmp_is_xml_however_it_is_written(format, told):
    lies, about = lying(RGB, 6), XMP.format(told)
    info = PngImagePlugin.PngInfo()
    info.add_itxt('XML:com.adobe.xmp', about)
    data = saved(lies, format, **dict(pnginfo=info) if format == 'PNG' else dict(xmp=about.encode(), quality=95))
    assert read_header(data).orientation == 6 and differs(read_image(data), ENCODINGS['png_rgb']) <= 3


def test_signed_greys_are_as_bright_as_others():
    values = np.array([[0, 1/2], [1/4, 1]]).repeat(32, 0).repeat(48, 1)
    for bits, white in ((16, 2**15 - 1), (32, 2**31 - 1)):
        data = bytearray(saved(Image.fromarray((values*white).astype(f'<u{bits//8}')), 'TIFF', tiffinfo={339: 1}))
        at = data.index(struct.pack('<HHL', 339, 3, 1)) # the sample format
        data[at + 8:at + 10] = struct.pack('<H', 2)
        assert np.abs(seen(read_image(bytes(data)))[..., 0] - [[0, 127], [64, 255]]).max() <= 1


def test_a_first_frame_that_does_not_fill_its_animation_lies_on_white():
    data = bytearray(saved(RGB.crop((0, 0, 48, 32)).quantize(16), 'GIF'))
    data[6:10] = struct.pack('<HH', WIDTH, HEIGHT)
    for source in (bytes(data), Image.open(io.BytesIO(data))):
        pixels = read_image(source)
        assert pixels.shape == (HEIGHT, WIDTH, 3) and (pixels[32:] == 255).all() and (pixels[:, 48:] == 255).all() and (pixels[:30, :40] != 255).any()


def test_a_folder_may_hold_anything(tmp_path):
    "Links to themselves and back, names of any bytes, folders without end: told, and the images are found"
    for label in 'ab':
        (tmp_path/label).mkdir()
        RGB.save(tmp_path/label/'1.png')
    (tmp_path/'a'/'loop.jpg').symlink_to('loop.jpg')
    (tmp_path/'again').symlink_to(tmp_path/'a')
    (tmp_path/'thumbs.db').mkdir()
    RGB.save(tmp_path/'thumbs.db'/'1.png')
    open(os.fsencode(tmp_path/'b') + b'/\xff.png', 'wb').write(saved(RGB, 'PNG'))
    deep = [f'{tmp_path}/b' + '/x'*i for i in range(1, 1200)]
    for folder in deep: os.mkdir(folder)
    files, left_out = list_images(tmp_path, follow_links=True)
    assert {file.name for file in files} == {'1.png', '\udcff.png'} and left_out == dict(no_file=['a/loop.jpg'], hidden=['thumbs.db'], link=['again'])
    assert files_on_disk(tmp_path) == ['a/1.png', 'b/1.png'] and left_out_files(tmp_path)['bad_name'] == [r'b/\xff.png']
    with pytest.warns(UserWarning, match='not UTF-8'): assert list(image_table(tmp_path).name) == ['a/1.png', 'b/1.png']
    for folder in reversed(deep): os.rmdir(folder) # shutil.rmtree cannot


def test_pipes_and_devices_are_no_files(tmp_path):
    os.mkfifo(tmp_path/'pipe.jpg')
    assert reason(tmp_path/'pipe.jpg') == reason('/dev/zero') == reason(tmp_path) == reason('null\0byte.jpg') == 'unreadable'


def test_strictness_is_undone_however_many_threads_decode():
    half = ENCODINGS['tiff_jpeg'].data[:200]
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        threads = [threading.Thread(target=lambda: [reason(random.choice([half, ENCODINGS['png_rgba'].data])) for _ in range(50)]) for _ in range(8)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        assert ImageFile.LOAD_TRUNCATED_IMAGES is True
    finally: ImageFile.LOAD_TRUNCATED_IMAGES = False


def test_a_picture_of_pillows_is_left_as_it_was():
    with Image.open(io.BytesIO(ENCODINGS['jpeg_orientation_6'].data)) as image:
        read_image(image, side=10)
        assert image.size == (HEIGHT, WIDTH) and image.getexif()[0x0112] == 6


# --- folders

FOLDERS, NAMES = ['', 'a', 'a/b', '.git', '__MACOSX'], ['x.jpg', 'y.JFIF', 'z.txt', '.hidden.png', 'Thumbs.db']


@given(st.lists(st.tuples(st.sampled_from(FOLDERS), st.sampled_from(NAMES)), max_size=12))
@settings(max_examples=40, deadline=None)
def test_every_file_is_listed_or_left_out(names):
    with tempfile.TemporaryDirectory() as root:
        for folder, name in names:
            (Path(root)/folder).mkdir(parents=True, exist_ok=True)
            (Path(root)/folder/name).write_bytes(b'x')
        files, left_out = list_images(root)
        told = [path for paths in left_out.values() for path in paths]
        for folder, name in names:
            path = os.path.join(folder, name)
            assert Path(root)/path in files or any(path == t or path.startswith(f'{t}/') for t in told)
        assert all(f.suffix.lower() in IMAGE_SUFFIXES for f in files)


def test_images_loads_neither_torch_nor_pandas():
    code = 'import fastcnn.images, sys; print({"torch", "fastai", "pandas", "pillow_heif"} & set(sys.modules))'
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.strip() == 'set()'
