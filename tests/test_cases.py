"""Kinds of photographs as people have them, through the whole way: trained, exported, asked again.

A telephone's photographs that lie in the file, 16-bit grey, cut-outs over hidden black, pictures with empty channels: the network learns them,
and the exported model gives each file the Learner's own answer.
"""
import numpy as np
import pytest
import torch
from PIL import Image

from fastcnn.data import image_dataloaders
from fastcnn.deploy import export_model
from fastcnn.exchange import add_images
from fastcnn.exported import predict
from fastcnn.images import read_image
from fastcnn.models import conv_stack
from fastcnn.training import scratch_learner
from pictures import exif, lying

SIDE = 64


def stripes(lie, rng):
    "Stripes that lie or stand, as a person sees them: (SIDE, SIDE), 0 to 1"
    wave = np.sin(2*np.pi*np.arange(SIDE)/rng.uniform(8, 20) + rng.uniform(0, 6)) > 0
    plane = np.repeat(wave[:, None], SIDE, 1) if lie else np.repeat(wave[None], SIDE, 0)
    return (.2 + .5*plane + rng.normal(size=(SIDE, SIDE))*.04).clip(0, 1)


def rgb(plane): return Image.fromarray(np.repeat((plane*255).astype(np.uint8)[..., None], 3, -1))


def phone(orientation, suffix):
    def save(label, rng, path):
        picture = lying(rgb(stripes(label, rng)), orientation)
        picture.save(path.with_suffix(suffix), quality=92, exif=exif(orientation))
    return save


def deep(dtype, white, suffix):
    def save(label, rng, path): Image.fromarray((stripes(label, rng)*white).astype(dtype)).save(path.with_suffix(suffix))
    return save


def cutout(suffix, hidden, **options):
    "Bright stripes that fill a disc; around it lies a colour that nobody is to see"
    def save(label, rng, path):
        pixels = np.array(rgb(stripes(label, rng)))
        y, x = np.mgrid[:SIDE, :SIDE]
        outside = np.hypot(x - SIDE/2, y - SIDE/2) > rng.uniform(20, 30)
        pixels[outside] = rng.integers(0, 255, 3) if hidden is None else hidden
        Image.fromarray(np.dstack([pixels, np.where(outside, 0, 255).astype(np.uint8)])).save(path.with_suffix(suffix), **options)
    return save


def channels(*there, rest=0):
    "A picture in some channels; the others have one value everywhere"
    def save(label, rng, path):
        pixels = np.full((SIDE, SIDE, 3), rest, np.uint8)
        for channel in there: pixels[..., channel] = (stripes(label, rng)*255).astype(np.uint8)
        Image.fromarray(pixels).save(path.with_suffix('.png'))
    return save


KINDS = {'phone turned right': phone(6, '.jpg'), 'phone turned left': phone(8, '.jpg'), 'phone, mirrored': phone(5, '.webp'),
         '16-bit PNG': deep(np.uint16, 65_535, '.png'), '16-bit TIFF': deep(np.uint16, 65_535, '.tif'), 'float TIFF': deep(np.float32, 1, '.tiff'),
         '32-bit TIFF': deep(np.int32, 65_535, '.tif'),
         'cut-out over black': cutout('.png', 0), 'cut-out over noise': cutout('.webp', None, lossless=True),
         'green only': channels(1), 'blue and white': channels(2, rest=255)}


def folder(root, save, n):
    rng = np.random.default_rng(0)
    for label in (0, 1):
        (root/'ab'[label]).mkdir(parents=True)
        for i in range(n): save(label, rng, root/'ab'[label]/f'{i:03}')
    return root


def trained(root):
    "A small network after ten epochs"
    torch.manual_seed(0)
    with pytest.warns(UserWarning, match='not cleaned'): dls = image_dataloaders(root, size=SIDE, batch_size=16, batch_tfms=[])
    learn = scratch_learner(dls, conv_stack(2, SIDE, 'bn'))
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(10, 3e-3)
    return learn


TRAINED = ['phone turned right', 'phone, mirrored', '16-bit PNG', 'float TIFF', 'cut-out over noise', 'green only'] # some seconds each


@pytest.mark.parametrize('kind', TRAINED)
def test_the_exported_model_answers_as_the_learner(kind, tmp_path):
    learn = trained(folder(tmp_path/'mine', KINDS[kind], 60))
    dls = learn.dls
    with learn.no_bar(): probabilities, targets = learn.get_preds()
    assert (probabilities.argmax(1) == targets).float().mean() >= .9
    export_model(learn, tmp_path/'model')
    files = list(dls.valid_ds.items.image)
    answers = predict(tmp_path/'model', files)
    given = answers[[f'p_{c}' for c in dls.vocab]].to_numpy()
    assert np.abs(given - probabilities.numpy()).max() <= .02
    assert (given.argmax(1) == probabilities.numpy().argmax(1)).all()


@pytest.mark.parametrize('kind', ['cut-out over black', 'phone turned left', '16-bit TIFF'])
def test_what_add_made_is_the_same_picture(kind, tmp_path):
    "A model that has learnt from the copies in a collection answers the originals as it answers the copies"
    taken = add_images(folder(tmp_path/'theirs', KINDS[kind], 60), tmp_path/'mine')
    export_model(trained(tmp_path/'mine'), tmp_path/'model')
    originals, copies = (predict(tmp_path/'model', files) for files in zip(*[(row['source'], tmp_path/'mine'/row['file']) for row in taken]))
    right = [(answers.label == [row['label'] for row in taken]).mean() for answers in (originals, copies)]
    assert min(right) >= .9 and abs(right[0] - right[1]) <= .01
    assert (originals.p_a - copies.p_a).abs().max() <= .1 # the copies are JPEGs


@pytest.mark.parametrize('kind', KINDS)
def test_the_picture_is_the_one_a_person_sees(kind, tmp_path):
    "The same stripes or disc, drawn again with the same numbers, and decoded from the file"
    rng = np.random.default_rng(5)
    KINDS[kind](1, rng, tmp_path/'x')
    pixels = read_image(next(tmp_path.iterdir()))
    truth = stripes(1, np.random.default_rng(5))*255
    inside = np.hypot(*(np.mgrid[:SIDE, :SIDE] - SIDE/2)) < (18 if 'cut-out' in kind else SIDE)
    channel = 2 if 'blue' in kind else 1
    assert np.abs(pixels[inside][:, channel] - truth[inside]).mean() < 3
    if 'cut-out' in kind: assert (pixels[0, 0] == 255).all()
