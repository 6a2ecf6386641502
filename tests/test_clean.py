"Cleaning at a size that a notebook cannot hold: the built-in collection, real photographs, and everything that can go wrong with files."
import hashlib, io, os, random, shutil, subprocess, sys, time, zipfile
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageFont, ImageOps

from fastcnn.clean import class_balance, clean_images, find_broken, find_outliers
from fastcnn.core import InputError, Manifest, SidecarFile, sidecar
from fastcnn.duplicates import ImageFacts, find_conflicts, find_duplicates, read_images
from fastcnn.images import read_image
from fastcnn.planets import PLANETS, planet_collection, planet_image
from fastcnn.quarantine import relabel_images, restore_images, set_aside
from fastcnn.splits import GroupSplitter
from faults import bomb, jpeg


def contents(root):
    "File → hash of its bytes"
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(Path(root).rglob('*')) if p.is_file()}


def everything(root):
    "The hashes of all images, wherever they lie: nothing may ever be lost"
    aside = sidecar(root)/SidecarFile.QUARANTINE
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


@contextmanager
def killed_after(moves, monkeypatch):
    "A run that ends when so many files have been moved"
    move, done = os.replace, []
    def killed(source, target, **options):
        if Path(source).name.startswith('.tmp-'): return move(source, target, **options) # an atomic write of a small file
        if len(done) == moves: raise KeyboardInterrupt
        done.append(move(source, target, **options))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, 'replace', killed)
        yield


@pytest.mark.parametrize('moves', [0, 1, 3])
def test_killed_between_two_moves(root, monkeypatch, moves):
    before = everything(root)
    with killed_after(moves, monkeypatch): clean_images(root)
    assert everything(root) == before
    assert clean_images(root).kept == FOUND['kept']
    assert len(contents(root)) == FOUND['kept'] and everything(root) == before
    with killed_after(moves, monkeypatch): restore_images(root)
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


@pytest.mark.parametrize('name', ['a/link.jpg', 'linked'])
def test_a_folder_with_links_is_refused(root, tmp_path, name):
    outside = tmp_path/'outside'
    outside.mkdir()
    (outside/'empty.jpg').write_bytes(b'')
    (root/name).symlink_to(outside/'empty.jpg' if '/' in name else outside)
    for dry_run in (False, True):
        with pytest.raises(InputError, match='is a link'): clean_images(root, dry_run=dry_run)
    assert (outside/'empty.jpg').exists() and (root/name).is_symlink() and not sidecar(root).exists()


def test_manifest_cannot_lead_out_of_the_folder(root, tmp_path):
    (tmp_path/'precious.jpg').write_bytes(b'mine')
    Manifest(root).append(dict(url='u', label='a', status='quarantined', reason='broken', file='../precious.jpg'))
    clean_images(root)
    with pytest.raises(InputError): restore_images(root, '../precious.jpg')
    assert (tmp_path/'precious.jpg').read_bytes() == b'mine'


FORMATS = ('JPEG', 'PNG', 'WEBP', 'GIF', 'BMP', 'TIFF')


def encoded(kind, **options):
    "A picture as a file of that kind"
    buffer = io.BytesIO()
    picture(0, (64, 48)).save(buffer, kind, **options)
    return buffer.getvalue()


def fuzz(whole, rng):
    "The bytes of a file, cut or not, with some of them changed: often those of its header"
    data = bytearray(whole[:rng.choice([len(whole), len(whole), len(whole)//2, 40])])
    for _ in range(rng.randint(1, 12)): data[rng.randrange(min(len(data), rng.choice([64, len(data)])))] = rng.randrange(256)
    return bytes(data)


@pytest.mark.filterwarnings('ignore:Tag data', 'ignore:Image size')
@pytest.mark.parametrize('kind', FORMATS)
def test_damaged_bytes_never_stop_the_cleaning(tmp_path, kind):
    (tmp_path/'set'/'a').mkdir(parents=True)
    rng, number = random.Random(kind), 200 if kind in ('JPEG', 'PNG', 'WEBP', 'GIF') else 40 # the others are rare on the web
    for i in range(number): (tmp_path/'set'/'a'/f'{i}.jpg').write_bytes(fuzz(encoded(kind), rng))
    before = contents(tmp_path/'set')
    report = clean_images(tmp_path/'set')
    assert report.kept + len(report.rows) == number
    assert len(restore_images(tmp_path/'set')) == len(report.rows) and contents(tmp_path/'set') == before
    for file in set(find_broken(tmp_path/'set').file) ^ set(before): # what is called whole is whole
        with Image.open(tmp_path/'set'/file) as image: image.load()


def broken_zoo():
    "Name → (bytes, what is wrong with them)"
    zoo = {f'{kind} cut at {share:.0%}.jpg': (encoded(kind)[:int(len(encoded(kind))*share)], {'truncated', 'damaged'})
           for kind in FORMATS for share in (0.5, 0.9) if (kind, share) != ('TIFF', 0.9)} # TIFF: its directory, at the end, is lost altogether
    zoo |= {f'{kind} header only.png': (encoded(kind)[:12], {'truncated', 'damaged', 'not_an_image'}) for kind in FORMATS}
    texts = {'html.jpg': b'<!doctype html><title>404</title>', 'svg.png': b'<svg xmlns="http://www.w3.org/2000/svg"/>',
             'json.jpg': b'{"error": 404}', 'pdf.jpg': b'%PDF-1.7 ...', 'ps.jpg': b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n',
             'zeros.jpg': bytes(5000), 'text.gif': b'GIF', 'icon.png': b'\0\0\1\0'}
    zoo |= {name: (data, {'not_an_image'}) for name, data in texts.items()}
    crc = bytearray(encoded('PNG'))
    crc[len(crc)//2] ^= 255
    return zoo | {'empty.jpg': (b'', {'empty'}), 'checksum.png': (bytes(crc), {'damaged', 'truncated'}), 'bomb.png': (bomb('PNG'), {'too_large'}),
                  'dot.png': (jpeg(0, (1, 1), 'PNG'), {'too_small'})}


def whole_zoo():
    "Name → bytes of images that look suspicious and are whole"
    frames = [picture(i, (64, 48)) for i in range(3)]
    animated = {kind: encoded(kind, save_all=True, append_images=frames, duration=90) for kind in ('GIF', 'WEBP')}
    grey16 = io.BytesIO()
    Image.fromarray(np.arange(64*48, dtype=np.uint16).reshape(48, 64)*20).save(grey16, 'PNG')
    cmyk, clear = io.BytesIO(), io.BytesIO()
    picture(5, (64, 48)).convert('CMYK').save(cmyk, 'JPEG')
    picture(6, (64, 48)).convert('RGBA').save(clear, 'PNG')
    return {'png called.jpg': encoded('PNG'), 'jpeg called.png': encoded('JPEG', quality=90),
            'animated.gif': animated['GIF'], 'animated.webp': animated['WEBP'],
            'progressive.jpg': encoded('JPEG', progressive=True), 'more after the end.jpg': encoded('JPEG') + b'<script>', '16 bits.png': grey16.getvalue(),
            'cmyk.jpg': cmyk.getvalue(), 'clear.png': clear.getvalue()}


def test_every_broken_kind_is_found_and_nothing_else(tmp_path):
    folder = tmp_path/'set'/'a'
    folder.mkdir(parents=True)
    broken = broken_zoo()
    for name, data in (whole_zoo() | {name: data for name, (data, _) in broken.items()}).items(): (folder/name).write_bytes(data)
    found = find_broken(tmp_path/'set')
    said = {file.split('/')[1]: problem for file, problem in zip(found.file, found.problem)}
    assert set(said) == set(broken)
    assert not {name: said[name] for name, (_, problems) in broken.items() if said[name] not in problems}


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
    assert (best['status'], best['creator']) == ('kept', 'Galileo')
    assert (twin['status'], twin['reason'], twin['creator']) == ('quarantined', 'exact_duplicate', 'Huygens')
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
    assert restore_images(root, files=[sidecar(root)/SidecarFile.QUARANTINE/'a'/'twin.jpg']) == ['a/twin.jpg']
    assert clean_images(root).counts == dict(FOUND, broken=0, exact_duplicates=0, near_duplicates=0, outliers=0, kept=6)
    for bad in (dict(files=['a/none.jpg']), dict(reasons=['ugly'])):
        with pytest.raises(InputError): restore_images(root, **bad)


def test_relabel_and_back(root):
    Manifest(root).append(dict(url='http://x/2', label='a', status='kept', file='a/2.jpg', creator='Galileo'))
    before = contents(root)
    moved = relabel_images(root, {'a/2.jpg': 'b', root/'a'/'3.jpg': 'b', 'a/1.jpg': 'a'})
    assert moved == {'a/2.jpg': 'b/2.jpg', 'a/3.jpg': 'b/3.jpg'}
    row = Manifest(root).get('http://x/2', 'a')
    assert (row['status'], row['file'], row['creator'], row.get('moved_from')) == ('relabelled', 'b/2.jpg', 'Galileo', None)
    assert relabel_images(root, {new: old for old, new in moved.items()}) == {new: old for old, new in moved.items()}
    assert contents(root) == before and not (root/'b').exists()


@pytest.mark.parametrize('moves', [0, 1, 2])
def test_relabelling_killed_between_two_moves(root, monkeypatch, moves):
    Manifest(root).append(dict(url='http://x/2', label='a', status='kept', file='a/2.jpg', creator='Galileo'))
    before = everything(root)
    with killed_after(moves, monkeypatch): relabel_images(root, {f'a/{i}.jpg': 'b' for i in range(4)})
    assert everything(root) == before
    set_aside(root, []) # any call finishes what was begun
    assert sorted(f for f in contents(root) if f[0] == 'b') == [f'b/{i}.jpg' for i in range(4)] and everything(root) == before
    rows = {r['file']: r for r in Manifest(root)}
    assert rows['b/2.jpg']['creator'] == 'Galileo' and not [r for r in rows.values() if r.get('moved_from')]


def test_relabelled_images_of_one_name_meet(root):
    (root/'b').mkdir()
    (root/'b'/'1.jpg').write_bytes(b'')
    (root/'c').mkdir()
    picture(9).save(root/'c'/'1.jpg')
    before = everything(root)
    assert set(relabel_images(root, {'a/1.jpg': 'b', 'c/1.jpg': 'b'}).values()) == {'b/1-2.jpg', 'b/1-3.jpg'}
    assert everything(root) == before
    picture(10).save(root/'a'/'1.jpg') # a new picture of the old name has a row of its own
    relabel_images(root, {'a/1.jpg': 'd'})
    assert len([r for r in Manifest(root) if r['file'] in ('b/1-2.jpg', 'd/1.jpg')]) == 2


def test_what_was_put_back_stays_when_relabelled(root):
    clean_images(root)
    restore_images(root, 'a/twin.jpg')
    relabel_images(root, {'a/twin.jpg': 'b'})
    assert clean_images(root).counts['exact_duplicates'] == 0 and (root/'b'/'twin.jpg').exists()


def test_set_aside_and_back(root):
    before = contents(root)
    assert set_aside(root, ['a/1.jpg', root/'a'/'2.jpg', 'a/1.jpg']) == ['a/1.jpg', 'a/2.jpg']
    assert {r['file']: r['reason'] for r in Manifest(root).rows('quarantined')} == {'a/1.jpg': 'by_hand', 'a/2.jpg': 'by_hand'}
    assert set_aside(root, []) == [] and set_aside(root, 'a/3.jpg', 'outlier_text') == ['a/3.jpg']
    restore_images(root)
    assert contents(root) == before


@pytest.mark.parametrize('file', ['a/none.jpg', '../secret.jpg', 'a/link.jpg', 'linked/secret.jpg', 'secret.jpg', ''])
def test_only_images_of_the_folder_are_moved(root, tmp_path, file):
    (tmp_path/'outside').mkdir()
    for path in (tmp_path/'secret.jpg', tmp_path/'outside'/'secret.jpg'): path.write_bytes(b'mine')
    link = file.removesuffix('/secret.jpg') if 'link' in file else ''
    if link: (root/link).symlink_to(tmp_path/'secret.jpg' if '.' in link else tmp_path/'outside')
    for call in (lambda: set_aside(root, [file]), lambda: relabel_images(root, {file: 'b'})):
        with pytest.raises(InputError, match='is a link' if link else 'is not in'): call()
    assert (tmp_path/'secret.jpg').exists() and (tmp_path/'outside'/'secret.jpg').exists()


@pytest.mark.parametrize('label', ['..', '../b', '.b', 'b/c/d', '', 'b\n'])
def test_a_label_leads_nowhere_else(root, label):
    before = everything(root)
    with pytest.raises(InputError): relabel_images(root, {'a/1.jpg': label})
    assert everything(root) == before and not (root.parent/'b').exists()


def test_turned_and_mirrored_copies(tmp_path):
    (tmp_path/'set'/'a').mkdir(parents=True)
    for seed in range(3):
        image = picture(seed)
        for orientation in range(8):
            copy = image.crop((10, 2, 238, 179)) if orientation else image # cut more at the sides than above: its shape turns as well
            if orientation & 4: copy = ImageOps.mirror(copy)
            copy.rotate(90*(orientation & 3), expand=True).save(tmp_path/'set'/'a'/f'{seed} {orientation}.jpg', quality=88)
    truth = pd.Series({f'a/{seed} {orientation}.jpg': seed for seed in range(3) for orientation in range(8)})
    assert scores(find_duplicates(tmp_path/'set', transforms=True), truth) == (1, 1)
    assert not len(find_duplicates(tmp_path/'set'))
    assert clean_images(tmp_path/'set', dry_run=True).kept == 24 and clean_images(tmp_path/'set', transforms=True, max_share=1).kept == 3


def test_conflicts_balance_and_suspects_are_reported_and_stay(root):
    (root/'b').mkdir()
    (root/'b'/'other.jpg').write_bytes((root/'a'/'2.jpg').read_bytes())
    draw_page().save(root/'b'/'page.png')
    report = clean_images(root)
    assert set(report.conflicts.file) == {'a/2.jpg', 'a/twin.jpg', 'b/other.jpg'} and len(find_conflicts(find_duplicates(root))) == 0
    assert ('b/page.png', 'text') in set(zip(report.suspects.file, report.suspects.kind)) and (root/'b'/'page.png').exists()
    assert report.balance.images.sum() == report.kept == class_balance(root).images.sum()
    assert '<img alt=' in report._repr_html_() and 'b/page.png' in report._repr_html_()


def photographs(n):
    "Real ones where FASTCNN_DATA has them, and built-in planets"
    archive = Path(os.environ.get('FASTCNN_DATA', 'nowhere'))/'photos.zip'
    if not archive.exists(): return [planet_image(PLANETS[i % 4], 600 + i, (360, 300)) for i in range(n)]
    with zipfile.ZipFile(archive) as z:
        names = sorted(name for name in z.namelist() if name.endswith('.jpg'))[::200//n]
        return [ImageOps.exif_transpose(Image.open(io.BytesIO(z.read(name)))).convert('RGB') for name in names[:n]]


SAME_PICTURE = dict(
    recoded=lambda im: im,
    resized=lambda im: im.resize([side*2//3 for side in im.size]),
    cropped=lambda im: im.crop([int(side*.03) for side in im.size] + [int(side*.98) for side in im.size]),
    brightened=lambda im: ImageEnhance.Brightness(im).enhance(1.15))


@pytest.mark.parametrize('kind', SAME_PICTURE)
def test_a_changed_copy_is_a_copy(tmp_path, kind):
    folder = tmp_path/'set'/'a'
    folder.mkdir(parents=True)
    for i, image in enumerate(photographs(20)):
        image.save(folder/f'{i}.jpg', quality=92)
        SAME_PICTURE[kind](image).save(folder/f'{i} again.jpg', quality=70)
    found = find_duplicates(tmp_path/'set')
    copies = found[found.copy_of != '']
    assert all(file.replace(' again', '') == best.replace(' again', '') for file, best in zip(copies.file, copies.copy_of))
    assert len(copies) >= 19


def ball(colour, x=80, size=(240, 180)):
    "A picture with a ball in it"
    image = picture(5, size)
    ImageDraw.Draw(image).ellipse((x, 60, x + 50, 110), fill=colour)
    return image


def plain(i):
    "A disc or a square of any size, place and colour"
    rng = random.Random(i)
    sheet, radius = Image.new('RGB', (200, 200), rng.choice(['black', 'white', tuple(rng.randbytes(3))])), rng.uniform(10, 90)
    x, y, draw = rng.uniform(radius, 200 - radius), rng.uniform(radius, 200 - radius), ImageDraw.Draw(sheet)
    ink = rng.choice([(rng.randrange(256),)*3, tuple(rng.randbytes(3))])
    rng.choice([draw.ellipse, draw.rectangle])((x - radius, y - radius, x + radius, y + radius), fill=ink)
    return sheet


SERIES = dict(
    film=[ball('gold', 60 + 3*i) for i in range(30)],
    pan=[picture(5, (300, 180)).crop((2*i, 0, 240 + 2*i, 180)) for i in range(20)],
    roll=[picture(5, (300, 240)).rotate(i, Image.BICUBIC).crop((30, 30, 270, 210)) for i in range(30)],
    colours=[ball((150 + 14*i, 150 - 7*i, 60)) for i in range(7)], # all about as bright
    cast=[Image.fromarray((np.asarray(picture(5))*np.array([1 - .06*i, 1, 1])).astype(np.uint8)) for i in range(6)],
    drawings=[plain(i) for i in range(160)])


@pytest.mark.parametrize('name', SERIES)
@pytest.mark.parametrize('suffix', ['jpg', 'png'])
def test_what_is_near_is_no_copy(tmp_path, name, suffix):
    (tmp_path/'set'/name).mkdir(parents=True)
    for i, image in enumerate(SERIES[name]): image.save(tmp_path/'set'/name/f'{i:03}.{suffix}', quality=60 + i % 30)
    report = clean_images(tmp_path/'set')
    assert not report.rows.copy_of.notna().any() and not len(report.left_alone) # a dark drawing may go for that


def test_a_film_is_one_group_and_its_copies_go(tmp_path):
    folder = tmp_path/'set'/'a'
    folder.mkdir(parents=True)
    for i, image in enumerate(SERIES['film']): image.save(folder/f'{i:02}.jpg', quality=88)
    for i in (3, 20): SERIES['film'][i].save(folder/f'{i:02} again.jpg', quality=60)
    report = clean_images(tmp_path/'set')
    assert dict(zip(report.rows.file, report.rows.copy_of)) == {'a/03 again.jpg': 'a/03.jpg', 'a/20 again.jpg': 'a/20.jpg'}
    rows = list(Manifest(tmp_path/'set').present())
    assert len({row['group'] for row in rows}) == 1 and len(rows) >= 30
    for parts in (GroupSplitter([row['group'] for row in rows], ['a']*len(rows), seed=seed)(range(len(rows))) for seed in range(3)):
        assert parts[0] and sorted(parts[0] + parts[1]) == list(range(len(rows))) # cut in one place, for the class has nothing else


def test_a_picture_in_two_classes_is_told_a_relative_is_not(tmp_path):
    for label, images in (('a', [ball('gold', 60), picture(7)]), ('b', [ball('gold', 66), picture(7)])):
        (tmp_path/'set'/label).mkdir(parents=True)
        for i, image in enumerate(images): image.save(tmp_path/'set'/label/f'{i}.png')
    found = find_duplicates(tmp_path/'set')
    assert set(found.file) == {'a/0.png', 'a/1.png', 'b/0.png', 'b/1.png'} and set(find_conflicts(found).file) == {'a/1.png', 'b/1.png'}


@pytest.mark.parametrize('copies, left_alone', [(4, False), (5, True)]) # of 8 images, of 9
def test_a_class_that_is_mostly_copies_is_left_alone(root, copies, left_alone, recwarn):
    (root/'b').mkdir()
    for i in range(4): picture(20 + i).save(root/'b'/f'{i}.png')
    for i in range(copies): picture(20 + i % 4).save(root/'b'/f'{i} again.jpg', quality=60 + i)
    report = clean_images(root, dry_run=True)
    told = [str(warning.message) for warning in recwarn if 'left alone' in str(warning.message)]
    assert report.left_alone.values.tolist() == ([['b', 9, 5]] if left_alone else [])
    assert [text[:50] for text in told] == (["'b' is left alone: 5 of its 9 images are copies of"] if left_alone else [])
    assert {'a'} | (set() if left_alone else {'b'}) == set(report.rows.label), 'the other class is cleaned all the same'
    assert ('mostly copies' in report._repr_html_()) == left_alone
    assert clean_images(root, max_share=1).rows.label.tolist().count('b') == copies


def draw_page():
    page = Image.new('RGB', (300, 200), 'white')
    text = 'The image that you\nasked for is not here\nany more. It may\nhave been removed.'
    ImageDraw.Draw(page).multiline_text((15, 15), text, 'black', ImageFont.load_default(24), spacing=16)
    return page


@pytest.mark.parametrize('kind', ['names', 'paths', 'torch', 'onnx'])
def test_unlike_its_class_by_given_features(tmp_path, kind):
    for number, (label, colour) in enumerate((('red', (200, 30, 30)), ('blue', (30, 30, 200)))):
        (tmp_path/'set'/label).mkdir(parents=True)
        for i in range(12): Image.blend(picture(100*number + i), Image.new('RGB', (240, 180), colour), 0.8).save(tmp_path/'set'/label/f'{i}.jpg')
    Image.blend(picture(77), Image.new('RGB', (240, 180), (30, 30, 200)), 0.8).save(tmp_path/'set'/'red'/'wrong.jpg')
    paths = random.Random(1).sample(sorted(tmp_path.rglob('*.jpg')), 25) # in any order
    batch = np.stack([read_image(path) for path in paths]).transpose(0, 3, 1, 2).astype(np.float32)
    if kind == 'torch': array = pytest.importorskip('torch').nn.AdaptiveAvgPool2d(1)(pytest.importorskip('torch').from_numpy(batch))
    elif kind == 'onnx': array = onnx_mean(batch)
    else: array = batch.mean((2, 3))
    names = paths if kind == 'paths' else [str(path.relative_to(tmp_path/'set')) for path in paths]
    odd = find_outliers(tmp_path/'set', suspects=True, features=(array, names))
    assert odd[(odd.kind == 'unlike') & (odd.label == 'red')][['file', 'like']].values.tolist() == [['red/wrong.jpg', 'blue']]
    with pytest.raises(InputError, match='1 images have no features'): find_outliers(tmp_path/'set', suspects=True, features=(array[1:], names[1:]))


def test_a_backbone_finds_statues_watches_and_cars_among_planets(tmp_path):
    from fastcnn.pipeline import backbone_features
    from fastcnn.planets import planet_collection
    truth = planet_collection(tmp_path/'sky', 24, seed=11, nuisances=.17, duplicates=0, broken=0)
    strange = {row['file'] for row in truth if row['kind'] in ('god', 'watch', 'car')}
    def shown(**options):
        report = clean_images(tmp_path/'sky', dry_run=True, **options)
        return report, set(report.suspects[report.suspects.kind == 'unlike'].file)
    report, by_backbone = shown(features=backbone_features)
    _, by_colour = shown()
    precision, recall = (len(by_backbone & strange)/len(some) for some in (by_backbone, strange))
    assert precision >= .6 and recall >= .6 and recall > len(by_colour & strange)/len(strange), (precision, recall, by_colour)
    assert not set(report.rows.file) & strange # they stay, and a person decides
    one = tmp_path/'one'/'a'
    one.mkdir(parents=True)
    shutil.copy(tmp_path/'sky'/min(strange), one)
    assert clean_images(one.parent, features=backbone_features).kept == 1


def test_a_long_comparison_is_told_before_it_begins():
    class Many(list):
        def __len__(self): return 10**7
    with pytest.warns(UserWarning, match='10,000,000 images are compared .* takes 30.0 hours'): find_duplicates(Path(), Many())


def onnx_mean(batch):
    "The mean colour, (N,3,1,1), as ONNX Runtime gives it"
    import onnx
    import onnxruntime
    value = lambda name, shape: onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
    node = onnx.helper.make_node('GlobalAveragePool', ['image'], ['mean'])
    graph = onnx.helper.make_graph([node], 'mean', [value('image', ['n', 3, 'h', 'w'])], [value('mean', ['n', 3, 1, 1])])
    model = onnx.helper.make_model(graph, ir_version=10, opset_imports=[onnx.helper.make_opsetid('', 17)])
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=['CPUExecutionProvider']).run(None, {'image': batch})[0]


def test_what_is_left_out_is_told_and_stays(root, tmp_path):
    (root/'a'/'series').mkdir()
    for place in ('loose.jpg', 'a/series/1.jpg', 'a/notes.txt', 'a/.hidden.jpg'): picture(20).save(root/place, 'JPEG')
    (root/'a'/'link.jpg').symlink_to(root/'a'/'0.jpg')
    left_out = {'loose.jpg': 'no_class', 'a/series/1.jpg': 'nested', 'a/notes.txt': 'not_an_image', 'a/.hidden.jpg': 'hidden'}
    found = find_broken(root)
    assert dict(zip(found.file, found.problem)) == left_out | {'a/empty.jpg': 'empty', 'a/link.jpg': 'link'}
    (root/'a'/'link.jpg').unlink() # who moves files refuses links
    before = contents(root)
    report = clean_images(root)
    assert report.counts == FOUND and dict(zip(report.left_out.file, report.left_out.problem)) == left_out
    assert left_out.keys() <= contents(root).keys() and len(contents(root)) == len(before) - 4
    assert 'a/notes.txt' in report._repr_html_()


def test_a_heic_photograph_that_cannot_be_read_here_stays(root):
    "In a process without pillow-heif, whether it is installed or not"
    (root/'a'/'phone.heic').write_bytes(b'\0\0\0\x18ftypheic\0\0\0\0mif1heic' + bytes(200))
    code = f"""import sys
sys.modules['pillow_heif'] = None
from fastcnn.clean import clean_images
report = clean_images({str(root)!r})
print(report.counts, dict(zip(report.left_out.file, report.left_out.problem)))"""
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"{dict(FOUND, kept=FOUND['kept'] + 1)} {{'a/phone.heic': 'no_heif'}}"
    assert (root/'a'/'phone.heic').exists()


def test_a_file_made_to_be_slow_is_refused_in_time(root):
    frame = encoded('JPEG', progressive=True)
    start = frame.index(b'\xff\xda')
    length = int.from_bytes(frame[start + 2:start + 4], 'big')
    scan = frame[start:start + 2 + length] # its header, and no data
    (root/'a'/'slow.jpg').write_bytes(frame[:-2] + scan*20_000 + frame[-2:])
    begun = time.perf_counter()
    found = find_broken(root)
    assert dict(zip(found.file, found.problem))['a/slow.jpg'] == 'too_slow' and time.perf_counter() - begun < 6


@pytest.mark.parametrize('orientation', range(2, 9))
def test_a_photograph_and_its_upright_copy_are_one_picture(tmp_path, orientation):
    (tmp_path/'set'/'a').mkdir(parents=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture(1).save(tmp_path/'set'/'a'/'camera.jpg', exif=exif, quality=95)
    ImageOps.exif_transpose(Image.open(tmp_path/'set'/'a'/'camera.jpg')).save(tmp_path/'set'/'a'/'upright.png')
    picture(2).save(tmp_path/'set'/'a'/'other.jpg')
    found = find_duplicates(tmp_path/'set')
    assert sorted(zip(found.file, found.kind)) == [('a/camera.jpg', 'exact_duplicate'), ('a/upright.png', 'best_copy')]
    facts = {f.file: f for f in read_images(tmp_path/'set')}
    assert (facts['a/camera.jpg'].width, facts['a/camera.jpg'].height) == (facts['a/upright.png'].width, facts['a/upright.png'].height)


def test_senseless_input():
    for call in (find_broken, find_duplicates, find_outliers, clean_images, restore_images):
        with pytest.raises(InputError, match='there is no folder'): call('/nowhere/at all')


def test_many_hashes_are_compared_quickly():
    rng = np.random.default_rng(0)
    thumbs = rng.integers(0, 256, (8_000, 64, 64), dtype=np.uint8)
    thumbs[-1] = thumbs[7]
    facts = [ImageFacts(f'a/{n:04}.jpg', '', 'JPEG', 640, 480 + (n == 7_999), 5000, 255, 255, thumb,
                        thumb[::2, ::2, None].repeat(3, 2)) for n, thumb in enumerate(thumbs)]
    assert sorted(find_duplicates('nowhere', facts).file) == ['a/0007.jpg', 'a/7999.jpg']
