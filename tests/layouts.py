"""Small inputs as people have them, of twelve kinds, each with what a person would say is right.

    LAYOUTS['competition/tar'].make(folder) → what there is to read: a folder, an archive, a list of labels or a parquet file

All are drawn with Pillow and NumPy, the same at each call. A picture has four quarters, each of a tint of its own, so that it is seen whether it
lies, and waves in the direction of its class, so that a network can learn it. Other tools are asked the same: `bench/layouts.py`.
"""
import csv, io, json, shutil, tarfile, unicodedata, zipfile
from pathlib import Path
from typing import Callable, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from pictures import exif, lying


class Layout(NamedTuple):
    "One input, and what is right"
    make:Callable # Makes it in an empty folder → path of what there is to read
    classes:dict|None # Class → images with that label, over all parts; None where one clear refusal is right
    parts:dict = {} # 'train', 'valid', 'test' → labelled images, where the input tells them apart
    left_out:dict = {} # Why images or rows are left out, which is to be told → how many
    truth:Callable|None = None # Stem of a file → the picture that a person sees in it, (H, W, 3) from 0 to 255
    options:dict = {} # What else the reader is given

    def read(self, folder): return self.make(Path(folder))


LAYOUTS = {}


def layout(name, classes, parts=(), left_out=(), truth=None, **options):
    "Decorator: this function of a folder, which it fills, makes the layout `name`; without an answer of its own, the folder is what to read"
    def keep(fill):
        LAYOUTS[name] = Layout(lambda folder: fill(folder) or folder, classes, dict(parts), dict(left_out), truth, options)
        return fill
    return keep


def picture(label, i, side=32):
    "(side, side, 3) uint8: the i-th picture of class number `label`, upright"
    rng = np.random.default_rng((label, i))
    y, x = np.mgrid[:side, :side]/side
    wave = np.sin(2*np.pi*(2 + label % 3)*(x*np.cos(label*2.4) + y*np.sin(label*2.4)) + rng.uniform(0, 6))
    tints = rng.uniform(60, 195, (2, 2, 3)).repeat(side//2, 0).repeat(side//2, 1)
    return (tints + 40*wave[..., None]).astype(np.uint8)


def drawn(label, i): return Image.fromarray(picture(label, i))


def write(image, path, *args, **options):
    "Save an image; the folders above it are made"
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, *args, **options)


def class_folders(folder, counts, suffix='.jpg'):
    "`folder/label/00.jpg`, …: so many of each class"
    for label, (name, n) in enumerate(counts.items()):
        for i in range(n): write(drawn(label, i), folder/name/f'{i:02}{suffix}')


def zipped(folder, to):
    "All files of a folder, as a zip of what lies in it"
    with zipfile.ZipFile(to, 'w') as archive:
        for file in sorted(folder.rglob('*')): archive.write(file, file.relative_to(folder))
    return to


# Kinds of pictures: two classes of 8; files are called LABEL_I, so that the truth is drawn again from the name

PAIR = dict(lake=8, tower=8)


def numbers(stem): return list(PAIR).index(stem.split('_')[0]), int(stem.split('_')[1])
def upright(stem): return picture(*numbers(stem)).astype(float)


def pictures(name, save, truth=upright):
    "A layout of PAIR: `save(path without suffix, pixels, i)` writes one picture"
    @layout(name, PAIR, truth=truth)
    def fill(folder):
        for label, (of, n) in enumerate(PAIR.items()):
            (folder/of).mkdir()
            for i in range(n): save(folder/of/f'{of}_{i}', picture(label, i, side=32), i)


def turned(orientation, suffix, **options):
    "Stored as a camera does that was held another way; None: each picture another way"
    def save(path, pixels, i):
        n = orientation or 1 + i % 8
        lying(Image.fromarray(pixels), n).save(path.with_suffix(suffix), exif=exif(n), **options)
    return save


SHARP = dict(quality=95, subsampling=0)
for orientation, turn in {6: 'right', 8: 'left', 3: 'upside down', 7: 'mirrored'}.items():
    pictures(f'phone/{turn}', turned(orientation, '.jpg', **SHARP))
pictures('phone/each its own way', turned(None, '.jpg', **SHARP))
pictures('phone/webp', turned(6, '.webp', lossless=True))
pictures('phone/png', turned(8, '.png'))


def deep_grey(white, dtype, suffix, only=None):
    "Grey of more than 8 bits, whose white is `white`; `only`: one class, the other has 8 bits"
    def save(path, pixels, i):
        grey = pixels[..., 1]/255
        deep = only is None or path.name.startswith(only)
        values = (grey*white).astype(dtype) if deep else np.round(grey*255).astype(np.uint8)
        Image.fromarray(values).save(path.with_suffix(suffix))
    return save


def grey(stem): return upright(stem)[..., 1:2].repeat(3, -1)
def grey_of_12_bits(stem): return grey(stem)/16 # 4,095 of 65,535: dark, as it is stored


pictures('grey16/png', deep_grey(65_535, np.uint16, '.png'), grey)
pictures('grey16/tiff', deep_grey(65_535, np.uint16, '.tif'), grey)
pictures('grey16/one class', deep_grey(65_535, np.uint16, '.png', only='lake'), grey)
pictures('grey16/12 bits', deep_grey(4_095, np.uint16, '.png'), grey_of_12_bits)
pictures('grey16/float tiff', deep_grey(1, np.float32, '.tiff'), grey)


def outside(stem):
    "(32, 32) bool: what is transparent, all around a disc"
    y, x = np.mgrid[:32, :32] - 15.5
    return np.hypot(x, y) > 9 + numbers(stem)[1] % 4


def hidden(colour, suffix, **options):
    "Transparent around a disc; there lies a colour, or noise, that nobody is to see"
    def save(path, pixels, i):
        where = outside(path.name)
        pixels[where] = np.random.default_rng(i).integers(0, 255, (where.sum(), 3)) if colour is None else colour
        alpha = np.where(where, 0, 255).astype(np.uint8)
        Image.fromarray(np.dstack([pixels, alpha])).save(path.with_suffix(suffix), **options)
    return save


def by_palette(path, pixels, i):
    "One colour of the palette is transparent"
    pixels[outside(path.name)] = 0
    image = Image.fromarray(pixels).quantize(64)
    image.save(path.with_suffix('.png'), transparency=image.getpixel((0, 0)))


def grey_and_alpha(path, pixels, i):
    alpha = np.where(outside(path.name), 0, 255)
    Image.fromarray(np.dstack([pixels[..., 1]*(alpha > 0), alpha]).astype(np.uint8)).save(path.with_suffix('.png'))


def on_white(stem): return np.where(outside(stem)[..., None], 255, upright(stem))
def grey_on_white(stem): return np.where(outside(stem)[..., None], 255, grey(stem))


pictures('cutout/over black', hidden(0, '.png'), on_white)
pictures('cutout/over noise', hidden(None, '.png'), on_white)
pictures('cutout/webp', hidden(0, '.webp', lossless=True, exact=True), on_white)
pictures('cutout/palette', by_palette, on_white)
pictures('cutout/grey', grey_and_alpha, grey_on_white)


def channels(*there, rest=0, suffix='.png'):
    "A picture in some channels, (save, truth); the others have one value everywhere"
    def kept(pixels):
        for channel in {0, 1, 2} - set(there): pixels[..., channel] = rest
        return pixels
    return lambda path, pixels, i: Image.fromarray(kept(pixels)).save(path.with_suffix(suffix)), lambda stem: kept(upright(stem))


pictures('green/green', *channels(1))
pictures('green/red and green', *channels(0, 1))
pictures('green/blue on white', *channels(2, rest=255))
pictures('green/red, bmp', *channels(0, suffix='.bmp'))


# Few images, many classes, one scene

def frames(to, label, n, scene=0):
    "A film: one scene, a little brighter in each frame"
    still = picture(label, scene, side=64).astype(float)
    for i in range(n): write(Image.fromarray((still*(.9 + .008*i)).astype(np.uint8)), to/f'{scene}{i:03}.jpg', quality=70 + i)


@layout('film/one class', dict(dog=20, house=20, mug=24))
def film(folder):
    class_folders(folder, dict(dog=20, house=20))
    frames(folder/'mug', 2, 24)


@layout('film/two scenes', dict(dog=20, mug=24))
def two_scenes(folder):
    class_folders(folder, dict(dog=20))
    for scene in (0, 1): frames(folder/'mug', 1, 12, scene)


@layout('film/each class', dict(dog=16, mug=16, pen=16))
def all_films(folder):
    for label, name in enumerate(('dog', 'mug', 'pen')): frames(folder/name, label, 16)


@layout('film/frames among others', dict(dog=20, mug=24))
def frames_among_others(folder):
    class_folders(folder, dict(dog=20, mug=12))
    frames(folder/'mug', 1, 12)


def counted(name, counts, right=None, **more):
    "A folder of class folders with so many images each"
    @layout(name, right or counts, **more)
    def fill(folder):
        class_folders(folder, counts)
        for empty in [label for label, n in counts.items() if not n]: (folder/empty).mkdir()


for n in (3, 2, 1): counted(f'rare/{n}', dict(ant=12, bee=n, cat=12))
counted('rare/1 and 2', dict(ant=12, bee=1, cat=2))
counted('rare/empty', dict(ant=12, bee=0, cat=12), dict(ant=12, cat=12), left_out=dict(empty_class=1))

counted('many/100', {f'kind {i:03}': 5 for i in range(100)})
counted('many/numbers', {str(i): 5 for i in range(100)})
counted('many/accents', {f'Größe №{i}': 5 for i in range(100)})


@layout('many/list', {f'kind {i:03}': 5 for i in range(100)})
def many_listed(folder): return listed(folder, [f'kind {i//5:03}' for i in range(500)])


# Competitions: parts above the classes

PETS = dict(cat=10, dog=10)


def competition(folder, names=('train', 'valid'), test='test', labelled_test=False, sizes=(10, 4, 3)):
    "Parts under these names, each with class folders; `test` with labels, without, or None"
    for number, part in enumerate((*names, *[test]*labelled_test)): # each part has pictures of its own
        for label, name in enumerate(PETS):
            for i in range(sizes[number]): write(drawn(label, 100*number + i), folder/part/name/f'{i:02}.jpg')
    if test and not labelled_test:
        for i in range(6): write(drawn(i % 2, 900 + i), folder/test/f'{i}.jpg')


TWO_PARTS = dict(classes=dict(cat=14, dog=14), parts=dict(train=20, valid=8))
THREE_PARTS = dict(classes=dict(cat=17, dog=17), parts=dict(train=20, valid=8, test=6))
UNLABELLED = TWO_PARTS | dict(left_out=dict(no_label=6))


@layout('competition/unlabelled test', **UNLABELLED)
def unlabelled_test(folder): competition(folder)


@layout('competition/long names', **THREE_PARTS)
def long_names(folder): competition(folder, ('training', 'validation'), 'testing', labelled_test=True)


@layout('competition/capitals', **TWO_PARTS)
def capitals(folder): competition(folder, ('Train', 'Val'), None)


@layout('competition/train and test', dict(cat=14, dog=14), parts=dict(train=20, test=8))
def train_and_test(folder): competition(folder, ('train', 'test'), None)


@layout('competition/wrapped', **UNLABELLED)
def wrapped(folder): competition(folder/'pets'/'images')


@layout('competition/zip', **UNLABELLED)
def competition_zip(folder):
    competition(folder/'pets')
    return zipped(folder/'pets', folder/'pets.zip')


@layout('competition/wrapped zip', **THREE_PARTS)
def wrapped_zip(folder):
    competition(folder/'made'/'pets', ('train', 'val'), labelled_test=True)
    return zipped(folder/'made', folder/'pets.zip')


@layout('competition/tar', **UNLABELLED)
def competition_tar(folder):
    competition(folder/'pets')
    with tarfile.open(folder/'pets.tar.gz', 'w:gz') as archive: archive.add(folder/'pets', 'pets')
    shutil.rmtree(folder/'pets')
    return folder/'pets.tar.gz'


# Labels in a list beside the images

BREEDS = ['beagle', 'café']
EVEN = dict(zip(BREEDS, (10, 10)))


def listed(folder, labels, file='labels.csv', encoding='utf-8', head=('image', 'breed'), cell='images/{}.jpg',
           order=(0, 1), end='\r\n', number='{:04x}', **dialect):
    "20 images, or as many as there are labels, in `images/`, and a list of them; `cell`: how a file is named there → the list"
    known, rows = sorted(set(filter(None, labels))), [(*head, 'note')]
    for i, label in enumerate(labels):
        stem = number.format(i)
        write(drawn(known.index(label) if label else 0, i), folder/'images'/f'{stem}.jpg')
        rows.append((cell.format(stem), label, f'no. {i}, by hand'))
    with open(folder/file, 'w', encoding=encoding, newline='') as to:
        csv.writer(to, lineterminator=end, **dialect).writerows([row[i] for i in order] for row in rows)
    return folder/file


def labelled(name, labels=BREEDS*10, classes=EVEN, left_out=(), **how):
    @layout(f'labelled/{name}', classes, left_out=left_out)
    def fill(folder): return listed(folder, labels, **how)


labelled('csv')
labelled('ids', head=('id', 'breed'), cell='{}')
labelled('ids with zeros', head=('id', 'breed'), cell='{}', number='{:04}')
labelled('semicolons', delimiter=';')
labelled('windows', encoding='cp1252')
labelled('excel', file='labels.txt', encoding='utf-16', delimiter='\t')
labelled('tsv', file='labels.tsv', delimiter='\t', cell='{}.jpg')
labelled('byte order mark', encoding='utf-8-sig', head=('filename', 'class'))
labelled('column order', head=('id', 'breed'), order=(2, 1, 0), cell='{}')
labelled('old mac', end='\r')
labelled('quoted', labels=['beagle, brown', 'café "au lait"']*10, classes={'beagle, brown': 10, 'café "au lait"': 10}, quoting=csv.QUOTE_ALL)
labelled('two labels', labels=['beagle|brown', 'pug|black', 'pug']*6, classes=None, head=('image', 'tags'))
labelled('two labels, spaces', labels=['beagle brown', 'pug black', 'pug']*6, classes=None, head=('image', 'tags'))
labelled('no label', labels=['', *BREEDS*10, ''], left_out=dict(no_label=2))
labelled('two forms', labels=['beagle', unicodedata.normalize('NFC', 'café'), 'beagle', unicodedata.normalize('NFD', 'café')]*5)
labelled('spaces', labels=['beagle', 'café', ' beagle', 'café ']*5)


@layout('labelled/file not there', dict(zip(BREEDS, (9, 8))), left_out=dict(not_there=3))
def not_there(folder):
    labels = listed(folder, BREEDS*10)
    for name in ('0000', '0003', '0005'): (folder/'images'/f'{name}.jpg').unlink()
    return labels


# The class is a part of the name

def prefixed(name, form, regex=None, classes=('great_dane', 'pug')):
    "Files called after their class: `form` of a class and a number; `regex` finds the class in a name, or is not given"
    options = dict(label_regex=regex) if regex else {}
    @layout(f'prefixed/{name}', dict.fromkeys(classes, 10) if regex else None, **options)
    def fill(folder):
        for i in range(20): write(drawn(i % 2, i), folder/form.format(classes[i % 2], i))


prefixed('underscore', '{}_{:03}.jpg', r'^(.+)_\d+\.jpg$')
prefixed('dash', '{}-{}.jpg', r'^([a-z_]+)-\d+\.jpg$')
prefixed('dot', '{}.{}.jpg', r'^(cat|dog)\.', ('cat', 'dog'))
prefixed('at the end', '{1:04}_{0}.png', r'^\d+_(.+)\.png$')
prefixed('in the middle', 'IMG_{1:04}-{0}-small.jpg', r'^IMG_\d+-(.+)-small', ('tabby cat', 'spaniel'))
prefixed('no pattern', '{}_{:03}.jpg')


# Odd names, odd folders, and what file managers leave behind

THREE = dict(cold=8, mild=8, warm=8)


def one_odd(name, fill, left_out=(), classes=THREE):
    "Three classes; `fill(folder of one)` writes its images instead of the usual ones, and more"
    @layout(f'odd_files/{name}', classes, left_out=left_out)
    def make(folder):
        class_folders(folder, dict(cold=8, mild=8))
        (folder/'warm').mkdir()
        fill(folder/'warm')


def suffixes(*some):
    "Eight images with these endings, in turn"
    formats = dict(jfif='JPEG', jpe='JPEG', jpg='JPEG')
    def fill(to):
        for i in range(8): write(drawn(2, i), to/f'{i}{some[i % len(some)]}', formats.get((end := some[i % len(some)].lower()[1:]), end.upper()))
    return fill


def deep(to):
    for i in range(8): write(drawn(2, i), to/('2023' if i % 2 else '2024/may')/f'{i}.jpg')


def litter(to):
    suffixes('.jpg')(to)
    for name in ('.DS_Store', '._0.jpg', 'Thumbs.db', 'desktop.ini'): (to/name).write_bytes(b'\0\0')


def nas(to):
    "A network disk's own thumbnails, a folder for each image"
    suffixes('.jpg')(to)
    for i in range(8): write(drawn(2, i), to/'@eaDir'/f'{i}.jpg'/'SYNOFILE_THUMB_M.jpg')


def text(to):
    suffixes('.jpg')(to)
    for name in ('notes.txt', 'picture.xcf'): (to/name).write_text('drawn in May')


one_odd('jfif', suffixes('.jfif'))
one_odd('capitals', suffixes('.JPE', '.WEBP', '.PNG', '.JPEG'))
one_odd('avif', suffixes('.avif'))
one_odd('deep', deep)
one_odd('litter', litter, dict(hidden=4))
one_odd('network disk', nas, dict(hidden=1)) # the folder
one_odd('texts', text, dict(not_an_image=2))


@layout('odd_files/wrapped', THREE)
def odd_wrapped(folder): class_folders(folder/'photos', THREE)


@layout('odd_files/deep zip', THREE)
def deep_zip(folder):
    LAYOUTS['odd_files/deep'].make(folder/'made'/'photos')
    return zipped(folder/'made', folder/'photos.zip')


@layout('odd_files/mac zip', THREE, left_out=dict(hidden=9))
def mac_zip(folder):
    "As macOS writes it: beside each image one of its own, in __MACOSX"
    class_folders(folder/'made'/'photos', THREE)
    for file in [*(folder/'made'/'photos'/'warm').iterdir()]:
        hidden = folder/'made'/'__MACOSX'/'photos'/'warm'/f'._{file.name}'
        hidden.parent.mkdir(parents=True, exist_ok=True)
        hidden.write_bytes(b'\0\5\x16\7')
    (folder/'made'/'photos'/'.DS_Store').write_bytes(b'\0')
    return zipped(folder/'made', folder/'photos.zip')


@layout('odd_files/two forms', {'café': 16, 'thé': 8})
def two_forms(folder):
    for number, (form, name) in enumerate((('NFC', 'café'), ('NFD', 'café'), ('NFC', 'thé'))):
        for i in range(8): write(drawn(number//2, 8*number + i), folder/unicodedata.normalize(form, name)/f'{form}{i}.jpg')


@layout('odd_files/spaces', dict(cat=16, dog=8))
def spaces(folder):
    for number, name in enumerate((' cat', 'cat', 'dog')):
        for i in range(8): write(drawn(number//2, 8*number + i), folder/name/f'{number}{i}.jpg')


# Parquet files, as Hugging Face's `datasets` writes them

def png(label, i):
    drawn(label, i).save(data := io.BytesIO(), 'PNG')
    return data.getvalue()


def parquet(path, images, labels, names=('cat', 'dog'), columns=('image', 'label')):
    "Two columns of cells, with the metadata that tell them; `names`: of the numbers in `labels`, or None where they are strings"
    kind = dict(_type='ClassLabel', names=names) if names else dict(_type='Value', dtype='string')
    about = json.dumps(dict(info=dict(features={columns[0]: dict(_type='Image'), columns[1]: kind})))
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(dict(zip(columns, (images, labels)))).replace_schema_metadata(dict(huggingface=about)), path)


def rows(n=20, first=0):
    "Images as a struct of bytes and path, and the numbers of their classes"
    return [dict(bytes=png(i % 2, first + i), path=f'{i}.png') for i in range(n)], [i % 2 for i in range(n)]


def one_parquet(name, change, classes, left_out=(), **more):
    "`change(images, labels)` → both as they are written"
    @layout(f'parquets/{name}', classes, left_out=left_out)
    def fill(folder):
        parquet(folder/'pets.parquet', *change(*rows()), **more)
        return folder/'pets.parquet'


TEN = dict(cat=10, dog=10)
one_parquet('plain', lambda images, labels: (images, labels), TEN)
one_parquet('label -1', lambda images, labels: (images, [-1]*4 + labels[4:]), dict(cat=8, dog=8), dict(no_label=4))
one_parquet('label null', lambda images, labels: (images, [None]*4 + labels[4:]), dict(cat=8, dog=8), dict(no_label=4))
one_parquet('image null', lambda images, labels: ([None]*4 + images[4:], labels), dict(cat=8, dog=8), dict(no_image=4))
one_parquet('other columns', lambda images, labels: (images, labels), TEN, columns=('picture', 'kind'))
one_parquet('strings', lambda images, labels: (images, ['cat' if i else 'dog' for i in labels]), TEN, names=None)
one_parquet('bytes', lambda images, labels: ([image['bytes'] for image in images], labels), TEN)


@layout('parquets/shards', TEN)
def shards(folder):
    for part in (0, 1): parquet(folder/f'train-0000{part}-of-00002.parquet', *rows(10, 10*part))


@layout('parquets/parts', dict(cat=15, dog=15), parts=dict(train=20, test=10))
def parquet_parts(folder):
    for part, n in (('train', 20), ('test', 10)): parquet(folder/'data'/f'{part}-00000-of-00001.parquet', *rows(n, len(part)*100))
