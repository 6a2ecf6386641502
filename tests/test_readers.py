"All readers of images, each given the same picture in every encoding: orientation equal, means within 2 of 255. The page has its own test (test_publish)."
import base64, io

import numpy as np
import pytest
from PIL import Image

from fastcnn.cleaner import thumbnail
from fastcnn.data import image_dataloaders, resident_dataloaders
from fastcnn.duplicates import read_images
from fastcnn.exchange import add_images
from fastcnn.exported import read_or_reason
from fastcnn.report import contact_sheet
from pictures import ENCODINGS, HEIGHT, WIDTH, differs

SUFFIX = dict(JPEG='.jpg', MPO='.jpg', PNG='.png', GIF='.gif', WEBP='.webp', BMP='.bmp', TIFF='.tif', AVIF='.avif')


@pytest.fixture(scope='module')
def collection(tmp_path_factory):
    "All encodings as files of two classes, and the file of each name"
    root, files = tmp_path_factory.mktemp('encodings')/'mine', {}
    for i, (name, encoding) in enumerate(ENCODINGS.items()):
        files[name] = root/'ab'[i % 2]/(name + SUFFIX[encoding.format])
        files[name].parent.mkdir(parents=True, exist_ok=True)
        files[name].write_bytes(encoding.data)
    return root, files


def batches(dl, names):
    "name → pixels (H, W, 3), 0 to 255, in a DataLoader whose items are these"
    found = [x for batch in dl for x in batch[0].detach().cpu().numpy()]
    return {name: x.transpose(1, 2, 0)*255 for name, x in zip(names, found, strict=True)}


def dataloaders(root):
    return image_dataloaders(root, size=HEIGHT, batch_size=8, batch_tfms=[], normalize=False, valid_pct=.5)


def by_predict(root, files): return {name: read_or_reason(file)[0] for name, file in files.items()}


def by_the_sheet(root, files):
    sheet = np.asarray(contact_sheet(list(files.values()), columns=1, size=WIDTH, gap=0))
    top = (WIDTH - HEIGHT)//2
    return {name: sheet[i*WIDTH + top:i*WIDTH + top + HEIGHT] for i, name in enumerate(files)}


def by_the_cleaner(root, files):
    data = {name: base64.b64decode(thumbnail(file, WIDTH).partition(',')[2]) for name, file in files.items()}
    return {name: np.asarray(Image.open(io.BytesIO(d))) for name, d in data.items()}


def by_cleaning(root, files):
    facts = {fact.file: fact for fact in read_images(root)}
    return {name: facts[f'{file.parent.name}/{file.name}'].colour for name, file in files.items()}


def by_adding(root, files):
    "What `add_images` has stored, as the simplest loader sees it; copies of one picture are stored once"
    kept = root.parent/'kept'
    rows = {row['source']: row for row in add_images(root, kept)}
    stored = {name: rows[str(file)] for name, file in files.items()}
    assert all(row['status'] in ('kept', 'duplicate') for row in stored.values())
    return {name: np.asarray(Image.open(kept/row['file']).convert('RGB')) for name, row in stored.items() if row['status'] == 'kept'}


def by_validation(root, files):
    dl = dataloaders(root).valid
    return batches(dl, [file.rpartition('/')[2].rpartition('.')[0] for file in dl.dataset.items.name])


def by_test_dl(root, files): return batches(dataloaders(root).test_dl(list(files.values())), files)


def by_training(root, files):
    dl = dataloaders(root).train.new(shuffle=False, drop_last=False)
    return batches(dl, [file.rpartition('/')[2].rpartition('.')[0] for file in dl.dataset.items.name])


def by_resident(root, files):
    dl = resident_dataloaders(dataloaders(root)).valid
    return batches(dl, [file.rpartition('/')[2].rpartition('.')[0] for file in dl.dataset.items.name])


def by_items(root, files):
    "The dataset's own items, which fastai shows"
    dataset = dataloaders(root).valid_ds
    return {file.rpartition('/')[2].rpartition('.')[0]: np.asarray(dataset[i][0]) for i, file in enumerate(dataset.items.name)}


def corners(pixels):
    "(2, 2, 3): the mean colours at the corners, which a random cut leaves where they are"
    inset = [slice(2, 10), slice(-10, -2)]
    return np.array([[pixels[y, x].mean((0, 1)) for x in inset] for y in inset])


def distance(reader, pixels, encoding):
    "From the truth, of 255"
    return np.abs(corners(pixels) - encoding.truth).max() if reader is by_training else differs(pixels, encoding)


READERS = [by_predict, by_the_sheet, by_the_cleaner, by_cleaning, by_adding, by_validation, by_test_dl, by_training, by_resident, by_items]


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('reader', READERS, ids=lambda reader: reader.__name__)
def test_every_reader_sees_the_same_picture(collection, reader):
    found = reader(*collection)
    assert len(found) >= 20
    distances = {name: round(float(distance(reader, pixels, ENCODINGS[name])), 1) for name, pixels in found.items()}
    assert not {name: far for name, far in distances.items() if far > 2}
