"The fast data path: the same pictures as fastai's own, from a cache that outlives two processes, kills and changed files."
import gc, hashlib, os, random, shutil, signal, time, zipfile
from collections import deque
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from fastai.data.block import CategoryBlock, DataBlock
from fastai.data.transforms import IntToFloatTensor, Normalize, RandomSplitter, get_image_files, parent_label
from fasttransform import Transform
from fastai.interpret import ClassificationInterpretation
from fastai.learner import load_learner
from fastai.torch_core import TensorCategory, TensorImage, set_seed
from fastai.vision.augment import RandomErasing, Resize, Saturation, aug_transforms
from fastai.vision.data import ImageBlock
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo, putchunk
from scipy.stats import ks_2samp, kstest
from torchvision.transforms.functional import center_crop, pil_to_tensor, resize

import forked
from fastcnn.core import InputError
from fastcnn.data import MARGIN, ImageDL, PixelCache, image_dataloaders, resident_dataloaders
from fastcnn.images import UnreadableImage
from fastcnn.deploy import export_model
from fastcnn.exported import predict
from fastcnn.training import scratch_learner, with_batch_size
from fastcnn.transfer import transfer_learner, with_normalization
from test_clean import picture

TFMS = dict(article=dict(max_rotate=20, max_zoom=1.2), defaults={}, dihedral=dict(flip_vert=True, max_lighting=0.4),
            no_warp=dict(max_warp=0., max_rotate=45.), strong=dict(mult=1.5, min_zoom=0.7))


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    "Two classes of 24 pictures, broad and tall ones"
    root = tmp_path_factory.mktemp('photos')/'set'
    for label in 'ab':
        (root/label).mkdir(parents=True)
        for i in range(24): picture(i + 100*(label == 'b'), (420, 300) if i % 2 else (300, 380)).save(root/label/f'{i}.jpg', quality=95)
    return root


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('FASTCNN_PIXELS', str(tmp_path/'pixels'))
    return tmp_path/'pixels'


# the same pictures

def copies(image, number):
    "A table of PNGs that show the same and have each a content of its own, in two classes"
    file = BytesIO()
    image.save(file, 'PNG')
    def noted(name):
        again = BytesIO()
        again.write(file.getvalue()[:-12]) # all but IEND
        putchunk(again, b'tEXt', b'comment\0' + name.encode())
        putchunk(again, b'IEND', b'')
        return again.getvalue()
    names = [str(i) for i in range(number)]
    return pd.DataFrame(dict(name=names, image=[noted(name) for name in names], label=['a', 'b']*(number//2)))


@pytest.mark.parametrize('options', TFMS.values(), ids=TFMS)
def test_one_step_shows_what_fastai_shows_with_the_same_draws(options):
    tfms, square = aug_transforms(size=118, **options), picture(1, (420, 300)).crop((0, 0, 170, 170))
    dl = image_dataloaders(copies(square, 30), size=118, batch_size=24, batch_tfms=tfms, normalize=False).train
    assert len(dl.fused) == len(tfms) and dl.bs == 24
    set_seed(5)
    ours = dl.after_batch(next(dl.create_batches(list(range(24)))))[0].as_subclass(torch.Tensor).cpu() # `iter` would draw a number of its own
    set_seed(5)
    theirs = TensorImage(torch.tensor(np.asarray(square)).permute(2, 0, 1).expand(24, 3, 170, 170)/255)
    for tfm in tfms: theirs = tfm(theirs, split_idx=0)
    assert len(torch.unique(ours.flatten(1), dim=0)) > 12
    for one, expected in zip(ours, theirs.as_subclass(torch.Tensor)):
        difference = (one - expected).abs()*255
        assert difference.mean() < 1 and np.quantile(difference, .999) < 8


@pytest.mark.parametrize('edges', [(300, 200), (200, 301), (1700, 1203), (60, 44)])
@pytest.mark.parametrize('size', [48, 100])
def test_validation_sees_the_middle_as_pillow_and_torchvision_resize_it(edges, size):
    image = picture(3, edges)
    image = image if edges[0] < 1000 else image.resize(edges)
    pixels = image_dataloaders(copies(image, 10), size=size, batch_size=4, normalize=False).valid.one_batch()[0][0]
    scale = size/min(edges)
    left, top = ((int(scale*edge + .5) - size)//2 for edge in edges)
    box = [edge/scale for edge in (left, top, left + size, top + size)]
    expected = np.asarray(image.resize((size, size), Image.BILINEAR, box)).transpose(2, 0, 1)
    assert np.abs(255*pixels.numpy() - expected).max() <= 1.01
    if max(edges)*size % min(edges) == 0: # where the longer side needs no rounding, torchvision does the same
        theirs = center_crop(resize(pil_to_tensor(image), size, antialias=True), [size, size])
        assert np.abs(255*pixels.numpy() - theirs.numpy()).max() <= 2.01


@pytest.mark.parametrize('edges', [(2000, 1501), (1203, 1703)])
def test_a_large_jpeg_is_validated_as_if_it_were_decoded_whole(edges):
    file = BytesIO()
    picture(5, edges).save(file, 'JPEG', quality=92)
    with PixelCache(100).reader() as read:
        fast, whole = read(None, file.getvalue()), read(None, Image.open(file))
    difference = np.abs(fast.astype(int) - whole)
    assert difference.mean() < 1 and np.quantile(difference, .999) <= 8


def detail(images): return (images[..., 1:, :] - images[..., :-1, :]).abs().mean((1, 2, 3)) # how sharp


def test_batches_have_the_distribution_of_the_articles_recipe(photos):
    "A thousand draws of each: brightness, contrast, sharpness, and which part is seen"
    block = DataBlock((ImageBlock, CategoryBlock), get_items=get_image_files, get_y=parent_label, splitter=RandomSplitter(seed=1),
                      item_tfms=Resize(460), batch_tfms=aug_transforms(size=200, max_rotate=20, max_zoom=1.2))
    set_seed(7)
    theirs = block.dataloaders(photos, bs=19, num_workers=0).train
    ours = image_dataloaders(photos, size=200, batch_size=19, normalize=False).train
    pictures = lambda dl: torch.cat([x.as_subclass(torch.Tensor).cpu() for _ in range(14) for x, _ in dl])
    a, b = pictures(theirs), pictures(ours)
    assert len(a) > 500 and len(b) > 500
    for name, measure in dict(brightness=lambda x: x.mean((1, 2, 3)), contrast=lambda x: x.std((1, 2, 3)), red=lambda x: x[:, 0].mean((1, 2)),
                              left=lambda x: x[..., :60].mean((1, 2, 3)), corner=lambda x: x[..., :40, :40].mean((1, 2, 3))).items():
        assert ks_2samp(measure(a), measure(b)).pvalue > .001, name
    assert detail(b).mean() == pytest.approx(detail(a).mean().item(), rel=.1)


def test_each_part_of_a_broad_image_is_seen_as_often(tmp_path):
    "From left to right it becomes brighter: the mean tells which part was seen"
    ramp = Image.fromarray(np.tile(np.linspace(0, 255, 300).astype(np.uint8)[None, :, None], (100, 1, 3)))
    dl = image_dataloaders(copies(ramp, 500), size=50, batch_size=50, batch_tfms=[], normalize=False).train
    means = torch.cat([x.mean((1, 2, 3)) for x, _ in dl])*3 - .5 # the square is a third of it
    assert kstest(means.numpy(), 'uniform', (0, 2)).pvalue > .01


def decoded(image, size, margin=True):
    "What a cache of batches of this size makes of an image"
    with PixelCache(size).reader() as read: return read(None, image, margin)


@pytest.mark.parametrize('size', [(420, 300), (64, 64), (50, 900), (33, 47)])
@pytest.mark.parametrize('format', ['JPEG', 'PNG', 'WEBP', 'GIF'])
def test_decoded_is_the_image_made_small(tmp_path, size, format):
    image = picture(2, size)
    image.save(tmp_path/'x', format)
    pixels, side = decoded(tmp_path/'x', 50), round(MARGIN*50)
    assert side == 72 and min(pixels.shape[:2]) == min(side, *size)
    assert pixels.shape[1]/pixels.shape[0] == pytest.approx(size[0]/size[1], rel=.02)
    with Image.open(tmp_path/'x') as opened: expected = opened.convert('RGB')
    if side < min(size): expected = expected.resize(pixels.shape[1::-1], Image.BOX)
    assert np.abs(pixels.astype(float) - np.asarray(expected)).mean() < (3 if side < min(size) else .01)


LYING = b'Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0' # orientation 6


@pytest.mark.parametrize('mode', ['RGB', 'L', 'CMYK'])
@pytest.mark.parametrize('options', [{}, dict(progressive=True), dict(subsampling=0), dict(quality=20), dict(exif=LYING)],
                         ids=['plain', 'progressive', 'full_colour', 'coarse', 'turned'])
@pytest.mark.parametrize('part', [1, 2, 4, 8])
def test_jpegs_have_pillows_numbers(mode, options, part):
    "Whole, and at the parts of its size that the format offers; turned ones stand upright"
    if mode == 'CMYK' and part > 1: return # decoded whole by Pillow
    file, sides = BytesIO(), {1: 576, 2: 288, 4: 144, 8: 72} # the shorter sides of what batches of 400, 200, 100 and 50 need
    picture(4, (672, 576)).convert(mode).save(file, 'JPEG', **options)
    with Image.open(file) as opened:
        opened.draft(mode, [edge//part for edge in opened.size])
        expected = np.asarray(ImageOps.exif_transpose(opened.convert('RGB')))
    assert min(expected.shape[:2]) == sides[part] == round(MARGIN*400/part)
    np.testing.assert_array_equal(decoded(file.getvalue(), 400//part), expected)


@pytest.mark.parametrize('margin', [True, False])
def test_half_a_jpeg_is_broken(margin):
    file = BytesIO()
    picture(4, (420, 300)).save(file, 'JPEG')
    for share in (.1, .5, .9):
        with pytest.raises(UnreadableImage, match='end is missing'): decoded(file.getvalue()[:int(share*file.tell())], 50, margin)


# the exported model

@pytest.fixture(scope='module')
def real_photos(tmp_path_factory):
    "Ants and bees to learn from, and other photographs, all in full size"
    data, root = Path(os.environ.get('FASTCNN_DATA', 'nowhere')), tmp_path_factory.mktemp('real')
    if not (data/'ants_bees.zip').exists(): pytest.skip('no ants_bees.zip in the folder that FASTCNN_DATA names')
    for name in ('ants_bees', 'photos'):
        with zipfile.ZipFile(data/f'{name}.zip') as archive: archive.extractall(root/name)
    for label in ('ants', 'bees'):
        (root/'set'/label).mkdir(parents=True)
        for file in sorted((root/'ants_bees'/'train'/label).glob('*.jpg'))[:60]: shutil.copy(file, root/'set'/label)
    return root/'set', sorted((root/'photos').rglob('*.jpg'))[:80] + sorted((root/'ants_bees'/'valid').rglob('*.jpg'))[::3]


@pytest.mark.parametrize('arch, size', [('conv_stack', 128), ('lite/efficientnet_lite0', 224)])
def test_validation_and_the_exported_model_give_the_same_answers(real_photos, tmp_path, record_property, arch, size):
    "Both round to 8 bits once; what is left is where a value lies on the border between two levels"
    root, files = real_photos
    if arch != 'conv_stack': files = files[:40] # a pretrained network takes a second for ten
    set_seed(1)
    dls = image_dataloaders(root, size=size, batch_size=16)
    learn = scratch_learner(dls) if arch == 'conv_stack' else transfer_learner(dls, arch)
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(3 if arch == 'conv_stack' else 1, 3e-3)
    files = files + [Path(file) for file in dls.valid.items.image]
    probabilities = learn.get_preds(dl=learn.dls.test_dl(files))[0].numpy()
    answers = predict(export_model(learn, tmp_path/'model'), files)
    exported = answers[[f'p_{label}' for label in dls.vocab]].to_numpy()
    difference = np.abs(probabilities - exported).max(1)
    record_property('largest difference of a probability', round(float(difference.max()), 4))
    assert probabilities.std(0).max() > .05, 'answers that are all alike would hide a difference'
    assert difference.max() <= .02 and difference.mean() < .002
    sure = np.abs(probabilities[:, 0] - .5) > .002 # of two classes at .5 rounding decides
    assert (probabilities.argmax(1) == exported.argmax(1))[sure].all()


# as people have them

@pytest.mark.parametrize('kind', ['lying', 'transparent', 'deep'])
def test_every_part_sees_the_picture_as_a_person_does(kind):
    "Photographs that lie in the file, transparency over black, 16-bit grey"
    upright = picture(7, (160, 160))
    files = [odd_file(kind, upright, i) for i in range(10)]
    expected = np.asarray(upright.convert('L').convert('RGB') if kind == 'deep' else upright)/255
    if kind == 'transparent': expected[:80] = 1
    table = pd.DataFrame(dict(name=map(str, range(10)), image=files, label=['a', 'b']*5))
    dls = image_dataloaders(table, size=111, batch_size=4, batch_tfms=[], normalize=False)
    for dl in [*dls, resident_dataloaders(dls).valid, dls.test_dl(files)]:
        seen = dl.one_batch()[0][0].as_subclass(torch.Tensor).permute(1, 2, 0).numpy()
        for part, rows in dict(above=slice(0, 50), below=slice(60, 111)).items():
            larger = slice(rows.start*160//111, rows.stop*160//111)
            assert np.abs(seen[rows].mean((0, 1)) - expected[larger].mean((0, 1))).max() < .03, part
    item = Image.fromarray(np.asarray(dls.train_ds[0][0]))
    assert np.abs(np.asarray(item)/255 - expected).mean() < .02


def odd_file(kind, upright, number):
    "The picture in a file that does not show it plainly"
    file, info = BytesIO(), PngInfo()
    info.add_text('number', str(number))
    if kind == 'lying':
        exif = Image.Exif()
        exif[0x0112] = 6 # turned by 90 degrees
        upright.transpose(Image.ROTATE_90).save(file, 'JPEG', quality=95, exif=exif, comment=str(number))
        return file.getvalue()
    if kind == 'transparent':
        pixels = np.dstack([np.asarray(upright), np.full((160, 160), 255, np.uint8)])
        pixels[:80] = 0 # hidden black
        image = Image.fromarray(pixels)
    else: image = Image.fromarray(np.asarray(upright.convert('L')).astype(np.uint16)*257)
    image.save(file, 'PNG', pnginfo=info)
    return file.getvalue()


# fastai's DataLoaders

def test_fastai_works_with_them(photos, tmp_path):
    set_seed(1)
    dls = image_dataloaders(photos, size=48, batch_size=8, test_pct=.2)
    assert all(isinstance(dl, ImageDL) for dl in dls) and dls.vocab == ['a', 'b'] and dls.c == 2
    x, y = dls.one_batch()
    assert (type(x), type(y), x.shape, x.dtype, y.shape) == (TensorImage, TensorCategory, (8, 3, 48, 48), torch.float32, (8,))
    assert x.is_contiguous(memory_format=torch.channels_last)
    learn = scratch_learner(dls)
    learn.path = tmp_path
    learn.lr_find(num_it=12, show_plot=False)
    learn.fit_one_cycle(1, 1e-3)
    probabilities, targets = learn.get_preds()
    assert targets.tolist() == [dls.vocab.o2i[label] for label in dls.valid.items.label]
    files = [Path(f) for f in dls.valid.items.image]
    again, _ = learn.get_preds(dl=learn.dls.test_dl(files)) # files in place of a table: decoded anew, the same pictures
    torch.testing.assert_close(again, probabilities, atol=.02, rtol=0)
    assert [learn.predict(f)[0] for f in files[:3]] == [dls.vocab[i] for i in probabilities.argmax(1)[:3]]
    assert len(ClassificationInterpretation.from_learner(learn).losses) == len(files)
    learn.export('learner.pkl')
    torch.testing.assert_close(load_learner(tmp_path/'learner.pkl').get_preds(dl=dls.valid)[0], probabilities)
    for dl in dls: dl.show_batch(max_n=2, unique=dl is dls[0])


def test_batches_can_be_made_anew(photos):
    dls = image_dataloaders(photos, size=48, batch_size=8)
    assert with_batch_size(dls, 5).train.one_batch()[0].shape == (5, 3, 48, 48)
    plain = with_normalization(dls, [0, 0, 0], [1, 1, 1]).valid.one_batch()[0]
    assert 0 <= plain.min() and plain.max() <= 1
    shown = dls.valid.decode((dls.valid.one_batch()[0],))[0].as_subclass(torch.Tensor)/255
    torch.testing.assert_close(shown, plain.as_subclass(torch.Tensor), atol=1.01/255, rtol=0)


def test_what_is_not_fused_is_done_by_fastai(photos):
    erasing, saturation = RandomErasing(p=1., sl=.3, sh=.3, max_count=1), Saturation(max_lighting=.5, p=1.)
    dls = image_dataloaders(photos, size=48, batch_size=8, batch_tfms=[*aug_transforms(size=48), erasing, saturation])
    assert erasing in dls.train.after_batch.fs and saturation in dls.train.after_batch.fs and len(dls.train.fused) == 2
    with_all, plain = dls.train.one_batch()[0], dls.valid.one_batch()[0]
    assert abs(float(with_all.mean())) < 1 and plain.shape == (8, 3, 48, 48)
    untouched = image_dataloaders(photos, size=48, batch_size=8, batch_tfms=[], normalize=False).train.one_batch()[0]
    assert 0 <= untouched.min() and untouched.max() <= 1


def test_the_tables_do_what_fastai_does_with_the_bytes(photos):
    dl = image_dataloaders(photos, size=40, batch_size=8).valid
    for after in ([IntToFloatTensor()], [IntToFloatTensor(div=1)], [IntToFloatTensor(), *[Normalize.from_stats([.2, .4, .6], [.1, .2, .3], cuda=False)]*2]):
        here, there = dl.new(after_batch=after), dl.new(after_batch=[*after, DoNothing()]) # whose kind is not known: nothing is folded
        torch.testing.assert_close(here.one_batch()[0], there.one_batch()[0], rtol=1e-5, atol=1e-5)


class DoNothing(Transform):
    order = 200
    def encodes(self, x:TensorImage): return x


def test_the_seed_decides_and_the_threads_do_not(photos):
    def batches(threads, seed):
        set_seed(seed)
        return torch.cat([x for x, _ in image_dataloaders(photos, size=40, batch_size=8, num_workers=threads).train])
    assert torch.equal(batches(1, 3), batches(4, 3)) and not torch.equal(batches(1, 3), batches(1, 4))


def test_each_epoch_draws_anew(photos):
    dl = image_dataloaders(photos, size=40, batch_size=8).train
    assert not torch.equal(torch.cat([x for x, _ in dl]), torch.cat([x for x, _ in dl]))


def test_half_an_epoch_leaves_no_thread(photos):
    import threading
    dl, before = image_dataloaders(photos, size=40, batch_size=2).train, threading.active_count()
    for _ in range(5):
        for _ in dl: break
    assert threading.active_count() == before


@pytest.mark.parametrize('made', [lambda dls: dls, resident_dataloaders], ids=['cached', 'resident'])
def test_batches_go_when_nobody_holds_them(photos, made):
    "Without the garbage collector: a batch of large images is a hundred megabytes, and it comes by when it likes"
    dls = made(image_dataloaders(photos, size=32, batch_size=8, test_pct=.2))
    batches = lambda: sum(isinstance(o, torch.Tensor) and o.shape[1:] == (3, 32, 32) and len(o) <= 8 for o in gc.get_objects())
    for dl in [*dls, dls.test_dl(list(photos.rglob('*.jpg')))]:
        for _ in dl: pass # what the first pass keeps for later
        gc.collect()
        gc.disable()
        try:
            before = batches()
            last = deque(dl, maxlen=1)
            held = batches()
            last.clear()
            assert batches() == before < held <= before + 3
        finally: gc.enable()


def test_unknown_label_is_named(photos):
    dls = image_dataloaders(photos, size=40, batch_size=8)
    with pytest.raises(KeyError, match='nobody'): dls.test_dl(dls.valid.items.assign(label='nobody'), with_labels=True).one_batch()


# the cache

def content(file): return hashlib.sha256(Path(file).read_bytes()).hexdigest()


def test_a_changed_file_is_read_anew(photos, tmp_path):
    root = tmp_path/'set'
    shutil.copytree(photos, root)
    image_dataloaders(root, size=40)
    file = root/'a'/'1.jpg'
    status = file.stat()
    data = file.read_bytes()
    picture(999, (420, 300)).save(file, quality=50)
    file.write_bytes(file.read_bytes()[:len(data)].ljust(len(data), b'\0'))
    os.utime(file, (status.st_atime, status.st_mtime)) # same length, same time: only the content tells
    dls = image_dataloaders(root, size=40)
    row = next(r for dl in dls for r in dl.items.itertuples() if r.name == 'a/1.jpg')
    margin = row.name in set(dls.train.items.name)
    with dls.train.pixels.reader() as read:
        np.testing.assert_array_equal(read(row.content, None, margin), decoded(file, 40, margin))


def test_after_reading_the_files_are_not_needed(photos, tmp_path):
    root = tmp_path/'set'
    shutil.copytree(photos, root)
    dls = image_dataloaders(root, size=40, batch_size=8)
    shutil.rmtree(root)
    assert sum(len(x) for dl in dls for x, _ in dl) > 40


def test_copies_are_kept_once(photos, tmp_path):
    cache, files = PixelCache(40), get_image_files(photos)
    cache.fill([content(f) for f in files], files)
    once = cache.bytes
    cache.fill([content(f) for f in files]*5, [*files]*5)
    assert cache.bytes == once


def test_the_limit_holds_and_what_has_no_room_is_decoded(photos):
    files = get_image_files(photos)
    contents = [content(f) for f in files]
    small = PixelCache(100, limit=400_000)
    assert small.fill(contents, files) == [None]*len(files) and 100_000 < small.bytes <= 400_000
    with small.reader() as read:
        for c, f in zip(contents, files): np.testing.assert_array_equal(read(c, f), decoded(f, 100, False))
    other = PixelCache(60, limit=400_000) # makes room: what it does not need goes
    other.fill(contents[:4], files[:4])
    with other.reader() as read: read(contents[0], 'kept')
    assert other.bytes <= 400_000


def test_broken_images_are_named_and_the_rest_is_kept(photos, tmp_path):
    half = tmp_path/'half.jpg'
    half.write_bytes((photos/'a'/'0.jpg').read_bytes()[:3000])
    files = [photos/'a'/'1.jpg', half, b'', tmp_path/'none.jpg', photos/'b'/'1.jpg']
    said = PixelCache(40).fill(list('abcde'), files)
    assert said[0] is None and said[4] is None and all(said[1:4]) and 'end is missing' in said[1]


def test_what_is_no_cache_is_told(cache):
    cache.mkdir()
    (cache/'data.mdb').write_bytes(b'not a database'*999)
    with pytest.raises(InputError, match='FASTCNN_PIXELS'): PixelCache(40)


def fill(root, sides):
    "In another process"
    files = sorted(root.glob('*/*.jpg'))
    print('begins', flush=True)
    for side in range(40, 40 + sides): assert not any(PixelCache(side).fill([content(file) for file in files], files))


def test_two_processes_fill_it_at_once(photos):
    processes = [forked.start(fill, photos, 4) for _ in range(2)]
    for process in processes: process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    check_filled(photos, 4)


def test_a_kill_leaves_it_whole(photos, tmp_path):
    "At a random moment, three times; the last run is let through"
    rng = random.Random(3)
    for i in range(3):
        said = tmp_path/f'{i}.txt'
        process = forked.start(fill, photos, 40, output=said)
        while process.is_alive() and not (said.exists() and said.read_text()): time.sleep(.01)
        time.sleep(rng.uniform(0, .5))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    assert forked.run(fill, photos, 4) == (0, 'begins\n')
    check_filled(photos, 4)


def check_filled(photos, sides):
    for side in range(40, 40 + sides):
        with PixelCache(side).reader() as read:
            for file in get_image_files(photos): np.testing.assert_array_equal(read(content(file), 'kept'), decoded(file, side, False))


@pytest.mark.parametrize('method', ['crop', 'squish', 'pad'])
def test_a_batch_and_the_exported_graph_make_the_same_square(method, tmp_path):
    "Whatever the shape of the image: wide, high, odd, small"
    import onnxruntime as ort
    from fastcnn.deploy import crop_graph
    shapes = [(97, 141), (300, 80), (33, 50), (64, 64), (201, 64), (640, 481)]
    images = [np.random.default_rng(i).integers(0, 256, (h//8 + 1, w//8 + 1, 3), np.uint8).repeat(8, 0).repeat(8, 1)[:h, :w] for i, (h, w) in enumerate(shapes)]
    for i, image in enumerate(images*2): Image.fromarray(image).save(tmp_path/f'{i}.png')
    table = pd.DataFrame(dict(image=[tmp_path/f'{i}.png' for i in range(12)], label=['a', 'b']*6, part=['train']*6 + ['valid']*6))
    dls = image_dataloaders(table, 64, 6, normalize=False, num_workers=0, method=method)
    session = ort.InferenceSession(crop_graph(64, method).SerializeToString())
    for image, batch in zip(images, dls.valid.one_batch()[0]):
        graph = session.run(None, {'image': image[None]})[0][0]
        assert np.abs(255*np.asarray(batch) - graph).max() <= 2, image.shape
