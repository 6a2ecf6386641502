"Cleaning at a size that a notebook cannot hold: the built-in collection, real photographs, and everything that can go wrong with files."
import hashlib, os, random, zipfile
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageEnhance

from fastcnn import clean
from fastcnn.clean import clean_images, find_broken, find_duplicates, find_outliers, read_images, restore_images
from fastcnn.core import InputError, Manifest, sidecar
from fastcnn.planets import planet_collection


def contents(root):
    "File → hash of its bytes"
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(Path(root).rglob('*')) if p.is_file()}


def everything(root):
    "The hashes of all images, wherever they lie: nothing may ever be lost"
    aside = sidecar(root)/'quarantine'
    return sorted([*contents(root).values(), *(contents(aside).values() if aside.exists() else ())])


def pairs_of(groups): return {pair for files in groups for pair in combinations(sorted(files), 2)}


def scores(found, truth):
    "Precision and recall, counted in pairs of files that belong together; found: DataFrame, truth: file → picture"
    found = pairs_of(files for _, files in found.groupby('group').file)
    true = pairs_of(files for _, files in pd.Series(truth.index, index=truth.values).groupby(level=0))
    return len(found & true)/max(1, len(found)), len(found & true)/len(true)


def picture(seed, size=(240, 180)):
    "A picture with large and small structure"
    rng = np.random.default_rng(seed)
    layers = [Image.fromarray(rng.integers(0, 256, (n, n, 3), dtype=np.uint8)).resize(size, Image.BICUBIC) for n in (3, 9, 27)]
    return Image.blend(Image.blend(layers[0], layers[1], 0.45), layers[2], 0.3)


@pytest.fixture
def root(tmp_path):
    "A small folder with one of each problem"
    (tmp_path/'set'/'a').mkdir(parents=True)
    for i in range(4): picture(i).save(tmp_path/'set'/'a'/f'{i}.jpg', quality=92)
    picture(1).resize((200, 150)).save(tmp_path/'set'/'a'/'small.jpg')
    (tmp_path/'set'/'a'/'twin.jpg').write_bytes((tmp_path/'set'/'a'/'2.jpg').read_bytes())
    (tmp_path/'set'/'a'/'empty.jpg').write_bytes(b'')
    Image.new('RGB', (90, 90), 'grey').save(tmp_path/'set'/'a'/'flat.png')
    return tmp_path/'set'


FOUND = dict(broken=1, exact_duplicates=1, near_duplicates=1, outliers=1, kept=4)


@pytest.fixture(scope='module')
def planets(tmp_path_factory):
    root = tmp_path_factory.mktemp('collection')/'planets'
    truth = planet_collection(root, 60, seed=2, duplicates=0.5, broken=0.1)
    return root, pd.DataFrame(truth).set_index('file')


def test_planets_against_their_truth(planets):
    root, truth = planets
    facts, whole = read_images(root), truth[truth.kind != 'broken']
    copies = find_duplicates(root, facts)
    precision, recall = scores(copies, whole.group)
    group = dict(zip(copies.file, copies.group))
    near = whole[whole.kind == 'near_duplicate']
    near_recall = np.mean([group.get(f) is not None and group.get(f) == group.get(s) for f, s in zip(near.index, near.source)])
    assert set(find_broken(root, facts).file) == set(truth.index[truth.kind == 'broken'])
    assert all(group.get(f) and group.get(f) == group.get(s) for f, s, k in zip(whole.index, whole.source, whole.kind) if k == 'exact_duplicate')
    assert precision >= 0.99 and recall >= 0.9 and near_recall >= 0.9, (precision, recall, near_recall)
    assert not len(find_outliers(root, facts))


def test_planets_cleaned_and_put_back(planets):
    root, truth = planets
    before = contents(root)
    report = clean_images(root)
    kept = set(contents(root))
    assert set(truth.group[list(kept)]) == set(truth.group[truth.kind != 'broken']), 'a distinct planet was lost to another'
    assert report.counts['broken'] == (truth.kind == 'broken').sum() and report.kept == len(kept)
    log = Manifest(root).path.read_bytes()
    assert clean_images(root).counts == dict(broken=0, exact_duplicates=0, near_duplicates=0, outliers=0, kept=len(kept))
    assert Manifest(root).path.read_bytes() == log, 'a second run changes nothing'
    restore_images(root)
    assert contents(root) == before


ALTERATIONS = dict(
    recode=lambda im, rng: im,
    resize=lambda im, rng: im.resize([max(48, int(s*rng.uniform(0.4, 1.4))) for s in im.size]),
    crop=lambda im, rng: im.crop([int(s*rng.uniform(0, 0.05)) for s in im.size] + [int(s*rng.uniform(0.95, 1)) for s in im.size]),
    recolour=lambda im, rng: ImageEnhance.Color(ImageEnhance.Brightness(im).enhance(rng.uniform(0.75, 1.3))).enhance(rng.uniform(0.4, 1.6)))


def test_real_photographs(tmp_path):
    archive = Path(os.environ.get('FASTCNN_DATA', 'nowhere'))/'photos.zip'
    if not archive.exists(): pytest.skip('no photos.zip in the folder that FASTCNN_DATA names')
    (tmp_path/'set'/'photo').mkdir(parents=True)
    rng, truth = random.Random(0), {}
    with zipfile.ZipFile(archive) as z:
        for name in sorted(n for n in z.namelist() if n.endswith('.jpg')):
            stem, data = Path(name).stem, z.read(name)
            (tmp_path/'set'/'photo'/f'{stem}.jpg').write_bytes(data)
            image = Image.open(tmp_path/'set'/'photo'/f'{stem}.jpg').convert('RGB')
            for kind in rng.sample(sorted(ALTERATIONS), 2):
                ALTERATIONS[kind](image, rng).save(tmp_path/'set'/'photo'/f'{stem} {kind}.jpg', quality=rng.randint(40, 90))
                truth[f'photo/{stem} {kind}.jpg'] = stem
            truth[f'photo/{stem}.jpg'] = stem
    found = find_duplicates(tmp_path/'set')
    precision, recall = scores(found, pd.Series(truth))
    assert precision == 1 and recall >= 0.97, (precision, recall)
    assert not len(find_outliers(tmp_path/'set')) and not len(find_broken(tmp_path/'set'))


@pytest.mark.parametrize('moves', [0, 1, 3])
def test_killed_between_two_moves(root, monkeypatch, moves):
    before, move, done = everything(root), clean._move, []

    def killed(source, target):
        if len(done) == moves: raise KeyboardInterrupt
        done.append(move(source, target))
    with monkeypatch.context() as patch:
        patch.setattr(clean, '_move', killed)
        with pytest.raises(KeyboardInterrupt): clean_images(root)
    assert everything(root) == before
    assert clean_images(root).kept == FOUND['kept']
    assert len(contents(root)) == FOUND['kept'] and everything(root) == before
    with monkeypatch.context() as patch:
        done.clear()
        patch.setattr(clean, '_move', killed)
        with pytest.raises(KeyboardInterrupt): restore_images(root)
    assert everything(root) == before
    restore_images(root)
    clean_images(root) # finishes what was begun, and judges nothing that was put back
    assert len(contents(root)) == len(before) and everything(root) == before


def test_odd_names_and_read_only_files(tmp_path):
    names = ['with space.jpg', "it's \"quoted\".jpg", '🪐 saturn.jpg', 'x'*251 + '.jpg', '#?&%.jpg', '-rf.jpg', 'a\nb.jpg']
    for label in ('gas giant', 'it\'s 🌍'):
        (tmp_path/'set'/label).mkdir(parents=True)
        for name in names: (tmp_path/'set'/label/name).write_bytes(b'no image')
    picture(1).save(tmp_path/'set'/'gas giant'/'good.png')
    for p in tmp_path.rglob('*rf.jpg'): p.chmod(0o400)
    before = contents(tmp_path/'set')
    assert clean_images(tmp_path/'set').counts['broken'] == 2*len(names)
    assert list(contents(tmp_path/'set')) == ['gas giant/good.png']
    restore_images(tmp_path/'set', files=['gas giant/-rf.jpg'])
    restore_images(tmp_path/'set')
    assert contents(tmp_path/'set') == before


def test_links_are_not_followed(root, tmp_path):
    outside = tmp_path/'outside'
    outside.mkdir()
    (outside/'empty.jpg').write_bytes(b'')
    (root/'a'/'link.jpg').symlink_to(outside/'empty.jpg')
    (root/'linked').symlink_to(outside)
    assert clean_images(root).counts == FOUND
    assert (outside/'empty.jpg').exists() and (root/'a'/'link.jpg').is_symlink()


def test_manifest_cannot_lead_out_of_the_folder(root, tmp_path):
    (tmp_path/'precious.jpg').write_bytes(b'mine')
    Manifest(root).append(dict(url='u', label='a', status='quarantined', reason='broken', file='../precious.jpg'))
    clean_images(root)
    with pytest.raises(InputError): restore_images(root, '../precious.jpg')
    assert (tmp_path/'precious.jpg').read_bytes() == b'mine'


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'WEBP', 'GIF', 'TIFF', 'BMP'])
def test_damaged_bytes_never_stop_the_cleaning(tmp_path, kind):
    (tmp_path/'set'/'a').mkdir(parents=True)
    picture(0, (64, 48)).save(tmp_path/'seed', kind)
    rng, whole = random.Random(kind), (tmp_path/'seed').read_bytes()
    for i in range(25):
        data = bytearray(whole[:rng.choice([len(whole), len(whole)//2, 40])])
        for _ in range(rng.randint(1, 12)): data[rng.randrange(min(len(data), rng.choice([64, len(data)])))] = rng.randrange(256)
        (tmp_path/'set'/'a'/f'{i}.jpg').write_bytes(data)
    report = clean_images(tmp_path/'set')
    assert report.kept + len(report.rows) == 25
    assert len(restore_images(tmp_path/'set')) == len(report.rows)


def test_a_newcomer_of_the_same_name_replaces_nothing(root):
    clean_images(root)
    (root/'a'/'empty.jpg').write_bytes(b'again not an image')
    before = everything(root)
    assert clean_images(root).counts['broken'] == 1
    assert everything(root) == before
    assert len(restore_images(root)) == 5 and everything(root) == before
    assert {(root/'a'/'empty.jpg').read_bytes(), (root/'a'/'empty-2.jpg').read_bytes()} == {b'', b'again not an image'}


def test_a_downloaded_row_keeps_what_is_known_of_it(root):
    Manifest(root).append(dict(url='http://x/2', label='a', status='kept', file='a/2.jpg', creator='Galileo', license='cc0'),
                          dict(url='http://x/t', label='a', status='kept', file='a/twin.jpg', creator='Huygens'))
    Manifest(root).write_credits()
    clean_images(root)
    best, twin = (Manifest(root).get(f'http://x/{k}', 'a') for k in '2t')
    assert (best['status'], best['creator'], twin['status'], twin['reason'], twin['creator']) == ('kept', 'Galileo', 'quarantined', 'exact_duplicate', 'Huygens')
    assert best['group'] == twin['group'] and len(best['phash']) == 16
    assert 'Galileo' in (text := (sidecar(root)/'CREDITS.md').read_text()) and 'Huygens' not in text


def test_a_group_keeps_its_name_when_a_copy_joins_later(root):
    clean_images(root)
    group = next(r['group'] for r in Manifest(root).present() if r['file'] == 'a/1.jpg')
    picture(1, (480, 360)).save(root/'a'/'larger.png')
    report = clean_images(root)
    assert report.rows.file.tolist() == ['a/1.jpg']
    assert next(r['group'] for r in Manifest(root).present() if r['file'] == 'a/larger.png') == group


def test_restore_a_choice(root):
    assert clean_images(root).counts == FOUND
    assert restore_images(root, reasons=['outlier']) == ['a/flat.png']
    assert restore_images(root, files=[sidecar(root)/'quarantine'/'a'/'twin.jpg']) == ['a/twin.jpg']
    assert clean_images(root).counts == dict(FOUND, broken=0, exact_duplicates=0, near_duplicates=0, outliers=0, kept=6)
    for bad in (dict(files=['a/none.jpg']), dict(reasons=['ugly'])):
        with pytest.raises(InputError): restore_images(root, **bad)


def test_senseless_input():
    for call in (find_broken, find_duplicates, find_outliers, clean_images, restore_images):
        with pytest.raises(InputError, match='there is no folder'): call('/nowhere/at all')


def test_many_hashes_are_compared_quickly():
    rng = np.random.default_rng(0)
    thumbs = rng.integers(0, 256, (8_000, 64, 64), dtype=np.uint8)
    thumbs[-1] = thumbs[7]
    assert [7, 7_999] in clean._candidates(thumbs, clean.perceptual_hash(thumbs), max_bits=8).tolist()
