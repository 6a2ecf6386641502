"Collections: words → enough images, with the article's own call"
import subprocess, sys

import pytest

from fastcnn.collect import Shortfall, collect_images, collection_counts, duckduckgo_search
from fastcnn.core import Manifest
from fastcnn.images import image_files
from fastcnn.search import PROVIDERS, BlockedError
from faults import HERE, check_whole, jpeg


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


def test_shortfall_can_be_read_by_a_program(server, root):
    server.mix = ['good', 'missing']
    with pytest.warns(Shortfall) as told: collect_images('mars', 'mars', root, 40, base_url=server.url)
    short = next(w.message for w in told if isinstance(w.message, Shortfall))
    assert (short.label, short.wanted, short.found, short.requested, short.reasons, short.errors) == ('mars', 40, 30, 60, {'http_404': 30}, [])


def test_duplicates_are_not_counted_as_images(server, root):
    server.mix = ['good/999?copy=', 'good', 'good/999?copy=']
    with pytest.warns(Shortfall, match='39 duplicate'): manifest = collect_images('mars', 'mars', root, 30, base_url=server.url)
    assert len(image_files(root)) == 21 == len(manifest.rows('kept')) and check_whole(root)


def test_a_file_of_addresses_is_a_provider(server, root, tmp_path):
    lines = [f'{result.url},Ada,by 4.0\n' for result in server.results('good', 'missing', 'good')]
    (tmp_path/'list.csv').write_text('url,creator,license\n' + ''.join(lines))
    with pytest.warns(Shortfall, match='2 of 5'): manifest = collect_images('any', 'mars', root, 5, provider=tmp_path/'list.csv', allow_hosts=HERE)
    assert manifest.count_by('creator') == {'Ada': 2} and collection_counts(manifest, 'mars')['failed'] == {'http_404': 1}


def test_what_providers_answered_is_in_the_shortfall(server, root, monkeypatch):
    found = {'one': [], 'two': server.results('good', 'good')}
    def provide(name):
        def brought(*question):
            yield from found[name]
            if name == 'one': raise BlockedError('one', 'refuses to answer (403)', 403)
        return brought
    for name in found: monkeypatch.setitem(PROVIDERS, name, provide(name))
    gather = lambda n: collect_images('mars', 'mars', root, n, provider='one,two', allow_hosts=HERE)
    with pytest.warns(Shortfall, match='2 of 5.*refuses to answer') as told: gather(5)
    shortfall, = [warning.message for warning in told if isinstance(warning.message, Shortfall)]
    assert shortfall.errors == [dict(provider='one', kind='BlockedError', status=403, wait=None, message='one: refuses to answer (403)')]
    others = [str(warning.message) for warning in told if not isinstance(warning.message, Shortfall)]
    assert any('one: refuses' in text for text in others) # replaced by the next, and said so
    found |= {'one': server.results('missing'), 'two': []} # a provider that fails after it has begun
    with pytest.warns(Shortfall, match='1 http_404.*refuses to answer'): gather(5)
    found['one'] = []
    with pytest.raises(BlockedError): collect_images('mars', 'mars', root, 5, provider='one', allow_hosts=HERE)


def test_the_articles_own_call(monkeypatch, tmp_path):
    monkeypatch.setenv('FASTCNN_PROVIDER', 'planets')
    files = duckduckgo_search(tmp_path / 'p', 'neptune', 'planet neptune', max_results=5)
    assert files and set(files) == set(image_files(tmp_path / 'p'))


LAZY = '''
import sys
import fastcnn.collect as collect
assert 'jmd_imagescraper' not in sys.modules and 'pandas' not in sys.modules
from fastcnn.collect import ImgSize, ImgLayout, ImgType, ImgColor
import jmd_imagescraper.core as jmd
assert (ImgSize, ImgLayout, ImgType, ImgColor) == (jmd.ImgSize, jmd.ImgLayout, jmd.ImgType, jmd.ImgColor)
assert not hasattr(collect, 'ImgOdour')
names = {}
exec('from fastcnn.collect import *', names)
assert names['ImgSize'] is jmd.ImgSize
'''


def test_the_articles_choices_are_its_own_and_imported_when_asked_for(): subprocess.run([sys.executable, '-c', LAZY], check=True)


def test_the_articles_choices_reach_the_search(monkeypatch, tmp_path):
    from fastcnn.collect import ImgColor, ImgSize
    asked = []
    monkeypatch.setattr('fastcnn.collect.iter_images', lambda *question, filters: asked.append(filters) or ())
    duckduckgo_search(tmp_path/'p', 'mars', 'mars', img_size=ImgSize.Large, img_type='Clipart', img_color=ImgColor.Red)
    duckduckgo_search(tmp_path/'p', 'mars', 'mars')
    assert asked == [dict(size='Large', type='Clipart', layout='Square', color='Red'),
                     dict(size='Cached', type='Photo', layout='Square', color='All')]


def test_a_manifest_from_elsewhere_leads_nowhere(monkeypatch, server, tmp_path):
    "Its rows may say that an image is kept in a file of yours"
    (tmp_path/'p'/'mars').mkdir(parents=True)
    (tmp_path/'secret.jpg').write_bytes(jpeg(5))
    result = server.results('good', label='mars')[0]
    monkeypatch.setattr('fastcnn.collect.iter_images', lambda *question, filters: [result])
    monkeypatch.setattr('fastcnn.collect.provider_hosts', lambda provider: HERE)
    for file in ('../secret.jpg', str(tmp_path/'secret.jpg'), '../../secret.jpg'):
        Manifest(tmp_path/'p').append(dict(url=result.url, label='mars', status='kept', file=file))
        assert [path.parent for path in duckduckgo_search(tmp_path/'p', 'mars', 'mars')] == [tmp_path/'p'/'mars']
        for path in (tmp_path/'p'/'mars').iterdir(): path.unlink()
