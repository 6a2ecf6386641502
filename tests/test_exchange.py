"Collections in and out: your own, handed on, forgotten, packed and unpacked, from hostile zips"
import csv, io, json, os, subprocess, sys, tempfile, time, zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image

from fastcnn.clean import clean_images
from fastcnn.cli import main
from fastcnn.collect import Shortfall, collect_images
from fastcnn.core import InputError, Manifest, SidecarFile, sidecar
from fastcnn.download import fetch_images
from fastcnn.exchange import add_images, export_imagefolder, export_table, forget_images, pack_images, unpack_images
from fastcnn.images import files_on_disk, image_files, read_image
from fastcnn.pipeline import add_source
from fastcnn.tables import image_table
from faults import HERE, check_whole, jpeg
from pictures import ENCODINGS, RGB, differs, exif, lying
from slow import interrupted_while_decoding, slow_jpeg


def test_pack_and_unpack(server, root, tmp_path):
    fetch_images(server.results('good', 'good', 'missing'), root, allow_hosts=HERE)
    again = unpack_images(pack_images(root), tmp_path / 'again')
    assert [file.read_bytes() for file in image_files(again)] == [file.read_bytes() for file in image_files(root)]
    assert Manifest(again).counts() == Manifest(root).counts() and (sidecar(again) / 'CREDITS.md').exists()


def zipped(path, name, data=b'x', **attributes):
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('ok/1.jpg', b'1')
        info = zipfile.ZipInfo(name)
        for key, value in attributes.items(): setattr(info, key, value)
        archive.writestr(info, data)
    return path


@pytest.mark.parametrize('name', ['../evil.jpg', '/tmp/evil.jpg', 'a/../../evil.jpg', 'x\\..\\evil.jpg', 'C:/evil.jpg'])
def test_zip_that_leads_out_is_refused(tmp_path, name):
    with pytest.raises(InputError, match='lead out'): unpack_images(zipped(tmp_path / 'a.zip', name), tmp_path / 'in' / 'new')
    assert sorted(path.name for path in tmp_path.rglob('*')) in (['a.zip'], ['a.zip', 'in'])


def test_other_bad_zips_are_refused(tmp_path):
    link = zipped(tmp_path / 'a.zip', 'ok/2.jpg', b'/etc/passwd', create_system=3, external_attr=0o120777 << 16)
    with pytest.raises(InputError, match='link'): unpack_images(link, tmp_path / 'new')
    with pytest.raises(InputError, match='more than'): unpack_images(zipped(tmp_path / 'b.zip', 'ok/2.jpg', bytes(5000)), tmp_path / 'new', max_bytes=4000)
    whole = (tmp_path / 'b.zip').read_bytes()
    for broken in (b'', b'PK', whole[:-30], whole.replace(b'\0' * 100, b'\1' * 100, 1)):
        (tmp_path / 'c.zip').write_bytes(broken)
        with pytest.raises(InputError, match='no whole zip'): unpack_images(tmp_path / 'c.zip', tmp_path / 'new')
    with pytest.raises(InputError, match='no zip file'): unpack_images(tmp_path / 'none.zip', tmp_path / 'new')
    assert sorted(path.name for path in tmp_path.iterdir()) == ['a.zip', 'b.zip', 'c.zip']


FOREIGN = dict(parts=['train/cat/1.jpg', 'test/cat/2.jpg'], flat_parts=['train/1.jpg', 'test/2.jpg'], deep=['set/images/cat/1.jpg', 'set/images/dog/2.jpg'],
               icons=['logos/1.jpg', 'data/all/cat/1.jpg'], loose=['cat/1.jpg', '2.jpg'], two=['cats/tabby/1.jpg', 'dogs/pug/2.jpg'])


@pytest.mark.parametrize('kind', FOREIGN)
def test_a_zip_that_is_no_collection_is_left_to_add(kind, tmp_path):
    with zipfile.ZipFile(tmp_path/'a.zip', 'w') as archive:
        for i, name in enumerate(FOREIGN[kind]): archive.writestr(name, jpeg(i))
    with pytest.raises(InputError, match='no packed collection.*with add'): unpack_images(tmp_path/'a.zip', tmp_path/'new')
    assert os.listdir(tmp_path) == ['a.zip']


@pytest.mark.parametrize('labels', [('train', 'test'), ('train', 'bus'), ('valid',)])
def test_a_collection_of_ours_may_have_any_classes(labels, root, tmp_path):
    for i, label in enumerate(labels):
        (tmp_path/'1.jpg').write_bytes(jpeg(i))
        add_images(tmp_path/'1.jpg', root, label=label)
    assert files_on_disk(unpack_images(pack_images(root), tmp_path/'new')) == files_on_disk(root)


@pytest.mark.parametrize('method', ['bzip2', 'lzma'])
def test_zips_that_are_packed_otherwise_are_refused_by_name(method, tmp_path):
    with zipfile.ZipFile(tmp_path/'a.zip', 'w', getattr(zipfile, f'ZIP_{method.upper()}')) as archive: archive.writestr('a/1.jpg', jpeg(1))
    for read in (image_table, lambda path: unpack_images(path, tmp_path/'new')):
        with pytest.raises(InputError, match=f'packed with {method}, which is not read: pack it again'): read(tmp_path/'a.zip')


# ---- your own photographs ----

@pytest.mark.parametrize('format', ['JPEG2000', 'PPM', 'TGA'])
def test_a_format_that_is_not_read_is_named(format, root, tmp_path):
    Image.open(io.BytesIO(jpeg(1))).save(tmp_path/'1.jpg', format)
    with pytest.warns(UserWarning, match=f"{format.replace('G2', 'G 2')} is a format that is not read"): row, = add_images(tmp_path/'1.jpg', root, label='a')
    assert row['reason'] == 'not_an_image'


@pytest.mark.skipif(os.name == 'nt', reason='a backslash divides folders there')
@pytest.mark.parametrize('way', ['folder', 'command'])
def test_a_class_whose_name_no_folder_may_have_is_left_out(way, root, tmp_path):
    for i, label in enumerate(('earth', 'ma\\rs', 'a' * 201)):
        (tmp_path/'mine'/label).mkdir(parents=True)
        (tmp_path/'mine'/label/'1.jpg').write_bytes(jpeg(i))
    with pytest.warns(UserWarning) as told: add_source(tmp_path/'mine', root) if way == 'command' else add_images(tmp_path/'mine', root)
    told = [str(warning.message) for warning in told]
    assert any(text.startswith("left out: label 'ma\\\\rs'") for text in told) and any('200 bytes' in text for text in told)
    assert [file.split('/')[0] for file in files_on_disk(root)] == ['earth']
    (tmp_path/'mine'/'earth'/'1.jpg').unlink()
    with pytest.raises(InputError, match='plain folder name'): add_images(tmp_path/'mine', root)


def test_an_add_of_which_nothing_came_is_a_failure(root, tmp_path, capsys):
    for name in ('a/1.jpg', 'b/2.jpg'):
        (tmp_path/'mine'/name).parent.mkdir(parents=True)
        (tmp_path/'mine'/name).write_bytes(b'nothing')
    assert main(['add', str(tmp_path/'mine'), '--out', str(root), '--json']) == 1
    assert 'none of 2 images could be added: 2 not_an_image' in json.loads(capsys.readouterr().out.splitlines()[-1])['error']
    (tmp_path/'mine'/'a'/'1.jpg').write_bytes(jpeg(1))
    for _ in range(2): assert main(['add', str(tmp_path/'mine'), '--out', str(root)]) == 0 # then one is a duplicate



contents = st.sampled_from([jpeg(1), jpeg(2), jpeg(2, format='PNG'), jpeg(4, (1, 1)), jpeg(5)[:-200], b'', b'notes', b'<svg/>'])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from('ab'), contents), min_size=1, max_size=12), st.booleans())
def test_each_file_ends_in_one_state(files, as_csv):
    with tempfile.TemporaryDirectory() as tmp:
        mine, root = Path(tmp)/'secret name', Path(tmp)/'planets'
        for i, (label, data) in enumerate(files):
            (mine/label).mkdir(parents=True, exist_ok=True)
            (mine/label/f'private{i}.jpg').write_bytes(data)
        source = mine
        if as_csv:
            source = mine/'labels.csv'
            lines = [(f'{label}/private{i}.jpg', label, 'cc0') for i, (label, _) in enumerate(files)]
            with open(source, 'w', newline='') as file: csv.writer(file).writerows([('file', 'label', 'license'), *lines])
        taken = add_images(source, root)
        ends = Counter(row['status'] for row in taken)
        assert ends.total() == len(files) == ends['kept'] + ends['failed'] + ends['duplicate']
        manifest = check_whole(root)
        assert len(manifest.rows('kept')) == ends['kept'] == len({row['file'] for row in taken if row['file']})
        assert all(bool(row['reason']) == (row['status'] == 'failed') for row in taken)
        texts = manifest.path.read_text() + (sidecar(root)/'CREDITS.md').read_text()
        assert 'private' not in texts and 'secret' not in texts
        before = manifest.path.read_bytes()
        assert 'kept' not in {row['status'] for row in add_images(source, root)} and manifest.path.read_bytes() == before


def test_what_a_csv_says_comes_with_its_images(root, tmp_path):
    for i in (1, 2, 3): (tmp_path/f'{i}.jpg').write_bytes(jpeg(i))
    (tmp_path/'l.csv').write_text('\ufefffile,label,creator,license,license_url,title\n'
                                  '1.jpg,earth,Ada,by 4.0,https://example.org/by,Blue\n2.jpg,earth,,,,\n3.jpg,mars,,,,\n')
    add_images(tmp_path/'l.csv', root, creator='Bob')
    first, second, third = Manifest(root).rows('kept')
    assert (first['creator'], first['license'], first['title'], second['creator'], second.get('license')) == ('Ada', 'by 4.0', 'Blue', 'Bob', None)
    credits = (sidecar(root)/'CREDITS.md').read_text()
    assert '3 images, 2 of them with an unknown licence' in credits and 'own:' not in credits and '[by 4.0](<https://example.org/by>)' in credits


def test_bad_sources_of_your_own_are_told(root, tmp_path):
    bad = [('a.csv', 'name,label\nx,y\n', 'no columns'), ('b.csv', 'file,label\nx.jpg,y\n', '1 of 1 files'),
           ('c.csv', '', 'no columns'), ('d.jpg', '', 'give its label')]
    for name, text, told in bad:
        (tmp_path/name).write_text(text)
        with pytest.raises(InputError, match=told): add_images(tmp_path/name, root)
    (tmp_path/'e.csv').write_text('file,label\nd.jpg,../evil\n')
    with pytest.raises(InputError, match='plain folder name'): add_images(tmp_path/'e.csv', root)
    with pytest.raises(InputError, match='no images'): add_images(tmp_path, root)
    with pytest.raises(InputError, match='is no'): add_images(tmp_path/'none', root)
    add_images(tmp_path/'d.jpg', root, label='a')
    beside = root if root.exists() else sidecar(root)
    with pytest.raises(InputError, match='in the collection already'): add_images(beside, beside)
    (tmp_path/'mine'/'a').mkdir(parents=True); (tmp_path/'mine'/'a'/'1.jpg').write_bytes(jpeg(1)); (tmp_path/'mine'/'stray.jpg').write_bytes(jpeg(2))
    with pytest.warns(UserWarning, match='1 in no class folder'): assert len(add_images(tmp_path/'mine', root)) == 1


def test_an_image_that_a_killed_run_left_gets_its_row(root, tmp_path):
    (tmp_path/'1.jpg').write_bytes(jpeg(1))
    add_images(tmp_path/'1.jpg', root, label='a')
    Manifest(root).path.unlink()
    assert [row['status'] for row in add_images(tmp_path/'1.jpg', root, label='a', license='cc0')] == ['kept']
    assert check_whole(root).count_by('license') == {'cc0': 1}


def test_real_photographs(root, tmp_path):
    photos = Path(os.environ.get('FASTCNN_DATA', 'nowhere'))/'photos.zip'
    if not photos.exists(): pytest.skip('no photos.zip in the folder that FASTCNN_DATA names')
    theirs = unpack_images(photos, tmp_path/'photos')
    taken = add_images(theirs, root)
    assert len(taken) == len(files_on_disk(theirs)) and {row['status'] for row in taken} == {'kept'}
    assert all(0x8825 not in Image.open(file).getexif() for file in image_files(root)) and check_whole(root)


def names_a_place(file):
    "Whether EXIF or XMP of a file say where it was taken"
    data = Path(file).read_bytes()
    return 0x8825 in Image.open(file).getexif() or b'GPS' in data


def place(): # EXIF with a place, and with a maker
    exif = Image.Exif()
    exif[0x8825], exif[0x010f] = {1: 'N', 2: (50.0, 56.0, 0.0)}, 'Maker'
    return exif


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><exif:GPSLatitude>50,56N</exif:GPSLatitude></x:xmpmeta>'


@pytest.mark.parametrize('format, options', [
    ('JPEG', {}), ('JPEG', dict(progressive=True)), ('PNG', {}), ('WEBP', {}), ('AVIF', {}), ('JPEG', dict(xmp=XMP))], ids=str)
def test_no_photograph_tells_where_it_was_taken(root, tmp_path, format, options):
    (tmp_path/'1.jpg').write_bytes(jpeg(1, format=format, exif=place(), **options))
    assert names_a_place(tmp_path/'1.jpg')
    row, = add_images(tmp_path/'1.jpg', root, label='a')
    assert not names_a_place(root/row['file']) and check_whole(root)
    if format in ('JPEG', 'PNG'):
        assert not Image.open(root/row['file']).getexif()
        assert (read_image(root/row['file']) == read_image(tmp_path/'1.jpg')).all() # nothing was decoded for it


@pytest.mark.parametrize('options', [dict(exif=exif(6), xmp=XMP), dict(xmp=XMP.replace(b'<exif', b'<tiff:Orientation>6</tiff:Orientation><exif'))],
                         ids=['orientation in EXIF', 'orientation in XMP'])
def test_a_photograph_without_its_place_stays_upright(root, tmp_path, options):
    lying(RGB, 6).save(tmp_path/'1.jpg', quality=95, **options)
    row, = add_images(tmp_path/'1.jpg', root, label='a')
    assert not names_a_place(root/row['file']) and differs(read_image(root/row['file']), ENCODINGS['png_rgb']) <= 3


def test_a_pipe_among_the_photographs_is_left_out(root, tmp_path):
    (tmp_path/'mine'/'a').mkdir(parents=True)
    (tmp_path/'mine'/'a'/'1.jpg').write_bytes(jpeg(1))
    os.mkfifo(tmp_path/'mine'/'a'/'pipe.jpg')
    with pytest.warns(UserWarning, match=r'1 no regular files \(a/pipe.jpg\)'): row, = add_images(tmp_path/'mine', root)
    assert row['status'] == 'kept'
    row, = add_images(tmp_path/'mine'/'a'/'pipe.jpg', root, label='a')
    assert row['status'] == 'failed'


def test_what_a_phone_writes_behind_the_picture_goes(root, tmp_path):
    (tmp_path/'1.jpg').write_bytes(jpeg(1, exif=place()) + b'a film, with GPS')
    (tmp_path/'2.jpg').write_bytes(jpeg(2) + b'more')
    first, second = (add_images(tmp_path/f'{i}.jpg', root, label='a')[0] for i in (1, 2))
    assert not names_a_place(root/first['file']) and (root/second['file']).read_bytes() == jpeg(2)


@pytest.mark.filterwarnings('ignore') # Pillow's, about damaged EXIF
@settings(max_examples=200, deadline=None)
@given(st.sampled_from(['JPEG', 'PNG']), st.integers(0, 2**32), st.integers(0, 255), st.booleans())
def test_damaged_photographs_end_in_a_state(format, at, byte, cut):
    data = bytearray(jpeg(1, format=format, exif=place()))
    at %= len(data)
    if cut: del data[at:]
    else: data[at] = byte
    with tempfile.TemporaryDirectory() as tmp:
        (Path(tmp)/'1.jpg').write_bytes(data)
        row, = add_images(Path(tmp)/'1.jpg', Path(tmp)/'p', label='a')
        assert row['status'] == ('failed' if row['reason'] else 'kept')
        if row['file']: assert 0x8825 not in Image.open(Path(tmp)/'p'/row['file']).getexif()


def test_what_a_folder_holds_beside_images_is_told(root, tmp_path):
    mine = tmp_path/'mine'/'a'
    (mine/'2024').mkdir(parents=True)
    for i, name in enumerate(('1.JPG', '2.jfif', '2024/3.jpe')): (mine/name).write_bytes(jpeg(i))
    for name in ('notes.txt', 'film.mp4', '.DS_Store'): (mine/name).write_text('x')
    told = r"left out of 'mine': 1 hidden \(a/.DS_Store\), 2 no images of a kind that is read \(a/film.mp4, a/notes.txt\)"
    with pytest.warns(UserWarning, match=told): added = add_images(tmp_path/'mine', root)
    assert [(row['label'], row['status']) for row in added] == [('a', 'kept')] * 3


HEIC = '''
import sys, warnings
sys.modules['pillow_heif'] = None
from fastcnn.exchange import add_images
with warnings.catch_warnings(record=True, action='always') as told: rows = add_images(sys.argv[1], sys.argv[2], label='a')
assert [row['reason'] for row in rows] == ['not_an_image'], rows
assert 'pip install pillow-heif' in str(told[0].message), told
'''


def test_heic_without_its_package_names_the_extra(root, tmp_path):
    (tmp_path/'1.heic').write_bytes(b'\0\0\0\x18ftypheic' + bytes(400))
    subprocess.run([sys.executable, '-c', HEIC, str(tmp_path/'1.heic'), str(root)], check=True)


def test_nothing_is_written_through_a_link(root, tmp_path):
    (tmp_path/'outside').mkdir(); root.mkdir()
    (root/'a').symlink_to(tmp_path/'outside')
    (tmp_path/'1.jpg').write_bytes(jpeg(1))
    with pytest.raises(InputError, match='is a link'): add_images(tmp_path/'1.jpg', root, label='a')
    (root/'a').unlink()
    sidecar(root).mkdir()
    (sidecar(root)/'tmp').symlink_to(tmp_path/'outside')
    with pytest.raises(InputError, match='is a link'): add_images(tmp_path/'1.jpg', root, label='b')
    assert not list((tmp_path/'outside').iterdir())


def test_nothing_is_forgotten_through_a_link(server, root, tmp_path):
    fetch_images(server.results('good'), root, allow_hosts=HERE)
    row = Manifest(root).rows('kept')[0]
    (tmp_path/'outside'/'x').mkdir(parents=True)
    (tmp_path/'outside'/row['file']).write_bytes(b'mine')
    (sidecar(root)/SidecarFile.QUARANTINE).symlink_to(tmp_path/'outside')
    with pytest.raises(InputError, match='is a link'): forget_images(root, url=row['url'])
    assert (tmp_path/'outside'/row['file']).exists() and (root/row['file']).exists()


def test_a_file_made_to_be_slow_is_refused_at_once(root, tmp_path):
    (tmp_path/'1.jpg').write_bytes(slow_jpeg())
    start = time.monotonic()
    assert add_images(tmp_path/'1.jpg', root, label='a')[0]['reason'] == 'too_large' and time.monotonic() - start < 6


ADD_SLOWLY = '''
import io, os, sys
from PIL import Image
from fastcnn import download
from fastcnn.exchange import add_images
download.read_image = lambda source, **options: os.write(1, b'decoding\\n') and Image.open(io.BytesIO(source)).load()
add_images(sys.argv[1], sys.argv[2], label='a')
'''


def test_ctrl_c_is_heard_while_a_file_is_decoded(root, tmp_path):
    (tmp_path/'1.jpg').write_bytes(slow_jpeg())
    command = [sys.executable, '-c', ADD_SLOWLY, str(tmp_path/'1.jpg'), str(root)]
    interrupted_while_decoding(command)
    assert not list((sidecar(root)/'tmp').iterdir()) and not list(root.glob('*/*'))


# ---- takedowns ----

def everything_written(root):
    "All text beside the folder"
    return b''.join(path.read_bytes() for path in sidecar(root).rglob('*') if path.is_file() and path.suffix != '.lock').decode(errors='replace')


makers = st.sampled_from(['Ada Lovelace', 'Bob', 'Zoë', ''])
contents_of_rows = st.integers(10**53, 10**53 * 4).map(lambda c: c // 10**53 * 10**53)


def event(i, label, maker, content, status):
    "A row of a manifest as a download writes it"
    digest = f'{content:064}'
    row = dict(url=f'http://example.org/photo-{i}-', label=label, creator=maker, status=status, landing_url=f'http://example.org/page-of-{maker}-')
    row |= dict(reason='timeout') if status == 'failed' else dict(source_sha256=digest, sha256=digest)
    return row | (dict(file=f'{label}/{digest[:12]}.jpg') if status == 'kept' else {})


rows = st.builds(event, st.integers(0, 9), st.sampled_from('ab'), makers, contents_of_rows, st.sampled_from(['kept', 'kept', 'failed', 'duplicate']))
torn = st.sampled_from([b'', b'{"url": "http://example.org/photo-3-", "creator": "Bob'])


@settings(max_examples=60, deadline=None)
@given(st.lists(rows, max_size=14), st.sampled_from(['url', 'creator', 'landing_url']), st.integers(0, 9),
       st.sampled_from(['Ada Lovelace', 'Bob', 'Zoë']), torn)
def test_forgetting_leaves_no_trace_and_takes_nothing_else(events, field, i, maker, tear):
    with tempfile.TemporaryDirectory() as tmp:
        root = Path(tmp)/'planets'
        manifest = Manifest(root)
        manifest.append(*events)
        with open(manifest.path, 'ab') as file: file.write(tear)
        for row in events:
            if 'file' in row: (root/row['file']).parent.mkdir(parents=True, exist_ok=True); (root/row['file']).write_bytes(b'x')
        manifest.write_credits()
        text = dict(url=f'http://example.org/photo-{i}-', creator=maker, landing_url=f'http://example.org/page-of-{maker}-')[field]
        gone = {id(row) for row in events if row.get(field) == text}
        while True: # the same content, and the same address, are the same image
            known = {row.get(k) for row in events if id(row) in gone for k in ('url', 'sha256')} - {None}
            more = {id(row) for row in events if row['url'] in known or row.get('sha256') in known}
            if more <= gone: break
            gone |= more
        removed = forget_images(root, **{field: text})
        left = [row for row in events if id(row) not in gone]
        assert text not in everything_written(root) and removed['events'] == len(gone)
        assert [json.loads(line) for line in manifest.path.read_text().splitlines()] == [{k: v for k, v in row.items() if v} for row in left]
        assert set(files_on_disk(root)) == {row['file'] for row in left if 'file' in row}
        assert all(manifest.get(row['url'], row['label'])['status'] == 'forgotten' for row in events if id(row) in gone)


def test_a_crash_while_forgetting_is_mended_by_the_next_call(server, root, monkeypatch):
    fetch_images(server.results(*['good'] * 6), root, allow_hosts=HERE)
    Manifest(root).append(*(row | dict(creator='Ada Lovelace' if i < 3 else 'Bob') for i, row in enumerate(list(Manifest(root)))))
    clean_images(root)
    crashes, after = 0, 0
    real = os.replace, Path.unlink, os.fsync
    def fails(n, call):
        def crash(*given, **more):
            nonlocal after
            after += 1
            if after > n: raise KeyboardInterrupt
            return call(*given, **more)
        return crash
    for n in range(12):
        after = 0
        with monkeypatch.context() as patch:
            patch.setattr(os, 'replace', fails(n, real[0])); patch.setattr(Path, 'unlink', fails(n, real[1])); patch.setattr(os, 'fsync', fails(n, real[2]))
            try: forget_images(root, creator='ada lovelace')
            except KeyboardInterrupt: crashes += 1
        theirs = [row for row in Manifest(root) if row.get('creator') == 'Bob']
        assert Manifest(root).torn == 0 and len(theirs) == 3, 'the manifest is the old one or the new one'
    forget_images(root)
    assert crashes >= 3 and 'Ada' not in everything_written(root) and len(check_whole(root).present()) == 3


def test_what_was_forgotten_does_not_come_back(server, root):
    server.mix = ['good']
    collect_images('mars', 'mars', root, 10, base_url=server.url)
    row = Manifest(root).rows('kept')[4]
    assert forget_images(root, url=row['url'])['files'] == [row['file']]
    asked = dict(server.asked)
    collect_images('mars', 'mars', root, 10, base_url=server.url)
    path = row['url'].removeprefix(server.url)
    assert len(image_files(root)) == 10 and server.asked[path] == asked[path] and row['url'] not in everything_written(root)
    (root.parent/'again.jpg').write_bytes(jpeg(int(path.split('/')[-1])))
    assert add_images(root.parent/'again.jpg', root, label='mars')[0]['reason'] == 'opted_out' and check_whole(root)
    forget_images(root, creator='C') # the fault server's only maker
    with pytest.warns(Shortfall, match='60 forgotten'): collect_images('mars', 'mars', root, 10, base_url=server.url)
    with pytest.raises(InputError, match='empty name'): forget_images(root, creator=' ')


def test_what_was_forgotten_does_not_come_back_under_another_address_or_name(server, root):
    first, second = (replace(result, creator='Ada') for result in server.results('good', 'good'))
    fetch_images([first, second], root, allow_hosts=HERE)
    forget_images(root, url=first.url)
    copy = replace(first, url=first.url + '?copy', creator='')
    assert fetch_images([first, copy], root, allow_hosts=HERE).get(copy.url, 'x')['reason'] == 'opted_out'
    forget_images(root, creator='ada')
    manifest, before = fetch_images([replace(second, url=second.url + '?copy')], root, allow_hosts=HERE), sum(server.asked.values())
    assert not files_on_disk(root) and 'Ada' not in manifest.path.read_text()
    fetch_images([replace(second, url=second.url + '?another')], root, allow_hosts=HERE)
    assert sum(server.asked.values()) == before # not even asked for


def test_an_image_in_quarantine_is_forgotten_too(server, root):
    fetch_images(server.results('good', 'good'), root, allow_hosts=HERE)
    row = Manifest(root).rows('kept')[0]
    (sidecar(root)/'quarantine'/'x').mkdir(parents=True)
    (root/row['file']).rename(sidecar(root)/'quarantine'/row['file'])
    Manifest(root).append(row | dict(status='quarantined', reason='by_hand'))
    (sidecar(root)/'cleaning.html').write_text('pictures')
    forget_images(root, url=row['url'])
    assert not list(sidecar(root).rglob('quarantine/*/*')) and not (sidecar(root)/'cleaning.html').exists() and len(check_whole(root)) == 1


# ---- handed on ----

READ = '''
import json, sys
import datasets
datasets.disable_progress_bars()
loaded = datasets.load_dataset(*json.loads(sys.argv[1]), **json.loads(sys.argv[2]))
assert list(loaded) == ['train'], list(loaded)
loaded = loaded['train']
names = loaded.features['label'].names
print(json.dumps(dict(names=names, labels=list(loaded['label']), sizes=[image.size for image in loaded['image']], columns=loaded.column_names,
                      creators=list(loaded['creator']) if 'creator' in loaded.column_names else None)))
'''


def load_dataset(tmp_path, *given, **options):
    "What the `datasets` library sees, without the web, in a process of its own"
    env = os.environ | dict(HF_HUB_OFFLINE='1', HF_HOME=str(tmp_path/'hf'), HF_DATASETS_OFFLINE='1')
    done = subprocess.run([sys.executable, '-c', READ, json.dumps(given), json.dumps(options)], env=env, capture_output=True, text=True)
    assert not done.returncode, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


ODD = ['earth', 'planet mars', 'Zoë & co', '1', 'a[b]*', 'it"s: #1', 'train station', 'null']


@pytest.fixture
def odd(root, tmp_path):
    "A collection with odd class names, one image added by hand, one set aside"
    for i, label in enumerate(ODD):
        (tmp_path/'mine'/label).mkdir(parents=True)
        for j in range(i + 1): (tmp_path/'mine'/label/f'{j}.jpg').write_bytes(jpeg(100*i + j, (40 + j, 32)))
    add_images(tmp_path/'mine', root, license='by 4.0', creator='Ada: "A"')
    (root/'earth'/'by hand.png').write_bytes(jpeg(999, format='PNG'))
    aside = Manifest(root).rows('kept')[-1]
    Manifest(root).append(aside | dict(status='quarantined', reason='by_hand'))
    (sidecar(root)/'quarantine'/aside['label']).mkdir(parents=True)
    (root/aside['file']).rename(sidecar(root)/'quarantine'/aside['file'])
    return root


def test_dataset_for_hugging_face(odd, tmp_path):
    counts = Counter(file.split('/')[0] for file in files_on_disk(odd))
    seen = load_dataset(tmp_path, str(export_imagefolder(odd, tmp_path/'dataset')))
    assert seen['names'] == sorted(ODD) and Counter(seen['names'][i] for i in seen['labels']) == counts
    assert {'title', 'creator', 'license', 'license_url', 'landing_url', 'provider'} < set(seen['columns'])
    assert Counter(seen['creators']) == {'Ada: "A"': len(files_on_disk(odd)) - 1, '': 1}
    import yaml
    front = yaml.safe_load((tmp_path/'dataset'/'README.md').read_text().split('---\n')[1])
    assert list(front['dataset_info']['features'][1]['dtype']['class_label']['names'].values()) == sorted(ODD)
    assert (tmp_path/'dataset'/'CREDITS.md').exists()
    with pytest.raises(InputError, match='exists already'): export_imagefolder(odd, tmp_path/'dataset')


def test_a_dataset_of_images_that_nothing_is_known_of_names_no_makers(tmp_path):
    for label in 'ab':
        (tmp_path/'own'/label).mkdir(parents=True)
        (tmp_path/'own'/label/'1.jpg').write_bytes(jpeg(1))
    folder = export_imagefolder(tmp_path/'own', tmp_path/'dataset')
    assert not (folder/'CREDITS.md').exists() and 'CREDITS' not in (folder/'README.md').read_text()
    assert files_on_disk(tmp_path/'own') == ['a/1.jpg', 'b/1.jpg'] and not sidecar(tmp_path/'own').exists()


@pytest.mark.parametrize('name', ['train', 'Test', 'validation', 'dev'])
def test_class_that_datasets_takes_for_a_part_is_refused(root, tmp_path, name):
    (tmp_path/'1.jpg').write_bytes(jpeg(1))
    add_images(tmp_path/'1.jpg', root, label=name)
    with pytest.raises(InputError, match='rename its folder'): export_imagefolder(root, tmp_path/'dataset')
    assert not (tmp_path/'dataset').exists() and not list(tmp_path.glob('.exporting*'))


@pytest.mark.verify(share=1/4)
def test_every_loader_sees_the_kept_images(odd, tmp_path):
    code = '''
import json, sys
from fastai.vision.all import get_image_files, parent_label
from torchvision.datasets import ImageFolder
root = sys.argv[1]
folder = ImageFolder(root)
torchvision = [f'{folder.classes[i]}/{path.rsplit("/", 1)[1]}' for path, i in folder.samples]
print(json.dumps([torchvision, [f'{parent_label(f)}/{f.name}' for f in get_image_files(root)]]))'''
    command = [sys.executable, '-W', 'ignore', '-c', code, str(odd)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | dict(OMP_NUM_THREADS='1'))
    torchvision, fastai = json.loads(done.stdout)
    assert sorted(torchvision) == sorted(fastai) == files_on_disk(odd)
    (odd/'train station').rename(odd/'station') # the one name that load_dataset, given the bare folder, takes for a part of the data
    seen = load_dataset(tmp_path, 'imagefolder', data_dir=str(odd))
    assert Counter(seen['names'][i] for i in seen['labels']) == Counter(file.split('/')[0] for file in files_on_disk(odd))


def test_tables_hold_every_row(server, root, tmp_path):
    import pandas as pd
    fetch_images(server.results('good', 'missing', 'html', 'good'), root, allow_hosts=HERE)
    Manifest(root).append(dict(url='http://x', label='x', status='duplicate', title='@SUM(1)', mine='a field of your own'))
    paths = export_table(root, tmp_path/'t.csv', tmp_path/'t.parquet')
    for path, title in zip(paths, ["'@SUM(1)", '@SUM(1)']):
        table = getattr(pd, f'read_{path.suffix[1:]}')(path)
        assert table.url.tolist() == [row['url'] for row in Manifest(root)] and table.title.iloc[-1] == title and table.mine.iloc[-1] == 'a field of your own'
    with pytest.raises(InputError, match='neither'): export_table(root, tmp_path/'t.xlsx')
    assert len(pd.read_parquet(export_table(tmp_path/'nothing', tmp_path/'u.parquet')[0])) == 0


def test_packing_takes_all_that_is_known_and_nothing_that_is_half_written(odd, tmp_path):
    forget_images(odd, url='http://x')
    (sidecar(odd)/'.tmp-1').write_text('half'); (sidecar(odd)/'tmp'/'1').mkdir(parents=True); (sidecar(odd)/'tmp'/'1'/'x.jpg').write_text('half')
    names = zipfile.ZipFile(pack_images(odd)).namelist()
    assert {'planets.fastcnn/manifest.jsonl', 'planets.fastcnn/CREDITS.md', 'planets.fastcnn/forgotten.txt'} < set(names)
    assert not [name for name in names if 'tmp' in name or 'lock' in name]
    again = unpack_images(odd.parent/'planets.zip', tmp_path/'again')
    assert Manifest(again).get('http://x', 'any')['status'] == 'forgotten' and len(list(sidecar(again).rglob('quarantine/*/*'))) == 1


def test_a_file_and_a_folder_of_one_name_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path/'a.zip', 'w') as archive:
        for name in ('p/a/1.jpg', 'p.fastcnn/x', 'p.fastcnn/x/y'): archive.writestr(name, b'1')
    with pytest.raises(InputError, match='both'): unpack_images(tmp_path/'a.zip', tmp_path/'new')
    assert [path.name for path in tmp_path.iterdir()] == ['a.zip']
