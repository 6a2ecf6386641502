"Collections: until there are enough, packed and unpacked, from hostile zips"
import zipfile

import pytest

from fastcnn.collect import collect_images, collection_counts, duckduckgo_search, pack_images, unpack_images
from fastcnn.core import InputError, Manifest, image_files, sidecar
from fastcnn.download import fetch_images
from faults import HERE, jpeg


def test_collect_until_there_are_enough(server, root):
    server.mix = ['good', 'missing', 'html']
    (root / 'mars').mkdir(parents=True)
    (root / 'mars' / 'mine.png').write_bytes(jpeg(999, format='PNG'))
    manifest = collect_images('mars', 'mars', root, 12, base_url=server.url)
    assert len(image_files(root)) == 12 and len(manifest.rows('kept')) == 11
    counts = collection_counts(manifest, 'mars')
    assert counts['requested'] == counts['saved'] + sum(counts['failed'].values())
    collect_images('mars', 'mars', root, 15, base_url=server.url)
    assert len(image_files(root)) == 15


def test_shortfall_is_told(server, root):
    server.mix = ['good', 'missing', 'tiny']
    with pytest.warns(UserWarning, match=r'20 of 30 images .* \(20 http_404, 20 too_small\)'):
        manifest = collect_images('mars', 'mars', root, 30, base_url=server.url)
    assert collection_counts(manifest, 'mars') == dict(requested=60, saved=20, duplicate=0, quarantined=0, failed={'http_404': 20, 'too_small': 20})


def test_the_articles_own_call(monkeypatch, tmp_path):
    monkeypatch.setenv('FASTCNN_PROVIDER', 'planets')
    files = duckduckgo_search(tmp_path / 'p', 'neptune', 'planet neptune', max_results=5)
    assert files and set(files) == set(image_files(tmp_path / 'p'))


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
