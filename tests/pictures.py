"""One picture in every encoding that people have: what `read_image` and everything that shows or learns from images must see alike.

The picture is four flat quarters, so that it survives palettes and JPEG; the truth is known from how it is made, not from a decoder.
"""
import io
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

WIDTH, HEIGHT = 96, 64 # of the upright picture
QUARTERS = [(200, 60, 40), (30, 160, 70), (40, 70, 190), (230, 220, 120)] # top left, top right, bottom left, bottom right
ALPHA = [255, 0, 255, 128]
ORIENTATION = 0x0112
BROWSER = ('JPEG', 'PNG', 'GIF', 'WEBP', 'BMP', 'AVIF') # formats that a page can show


class Encoding(NamedTuple):
    "One file"
    data:bytes
    truth:np.ndarray # (2, 2, 3): the colours of the quarters as a person sees them
    format:str # As Pillow calls it


def quarters(values):
    "(H, W) or (H, W, channels) from four values"
    rows, columns = HEIGHT//2, WIDTH//2
    return np.repeat(np.repeat(np.array(values).reshape(2, 2, *np.shape(values)[1:]), rows, 0), columns, 1)


def seen(pixels):
    "(2, 2, 3): the mean colours within the quarters of a picture (H, W, 3) of any size, away from their borders"
    height, width = pixels.shape[:2]
    def middle(length, second): return slice(round(length*(.1 + .5*second)), round(length*(.4 + .5*second)))
    return np.array([[pixels[middle(height, y), middle(width, x)].mean((0, 1)) for x in (0, 1)] for y in (0, 1)])


def differs(pixels, encoding):
    "The largest difference of a mean from the truth, of 255"
    return np.abs(seen(np.asarray(pixels)) - encoding.truth).max()


RGB = Image.fromarray(quarters(QUARTERS).astype(np.uint8))
GREY = RGB.convert('L')
RGBA = Image.fromarray(np.dstack([quarters(QUARTERS), quarters(ALPHA)]).astype(np.uint8))
ON_WHITE = [tuple(round((c*a + 255*(255 - a))/255) for c in colour) for colour, a in zip(QUARTERS, ALPHA)]
LEVELS = [0, 13_107, 39_321, 65_535] # 16 bits of grey: 0, 51, 153, 255


def as_truth(colours):
    "Four colours, or four greys, as (2, 2, 3)"
    colours = np.array(colours, float)
    return (np.repeat(colours[:, None], 3, 1) if colours.ndim == 1 else colours).reshape(2, 2, 3)


def saved(image, format, **options):
    image.save(file := io.BytesIO(), format, **options)
    return file.getvalue()


def lying(image, orientation):
    "The picture as a camera stores it that notes this orientation"
    undo = {2: [Image.Transpose.FLIP_LEFT_RIGHT], 3: [Image.Transpose.ROTATE_180], 4: [Image.Transpose.FLIP_TOP_BOTTOM],
            5: [Image.Transpose.TRANSPOSE], 6: [Image.Transpose.ROTATE_90], 7: [Image.Transpose.TRANSVERSE], 8: [Image.Transpose.ROTATE_270]}
    for step in undo.get(orientation, ()): image = image.transpose(step)
    return image


def exif(orientation):
    found = Image.Exif()
    found[ORIENTATION] = orientation
    return found


def by_opencv(suffix, pixels): return cv2.imencode(suffix, pixels)[1].tobytes()


def _jpegs():
    for name, options in dict(plain={}, full_colour=dict(subsampling=0), progressive=dict(progressive=True),
                              profile=dict(icc_profile=b'x'*36 + b'acsp' + b'x'*460), comment=dict(comment=b'Exif\0\0 tiff:Orientation')).items():
        yield name, saved(RGB, 'JPEG', quality=95, **options), QUARTERS
    for n in range(1, 9): yield f'orientation_{n}', saved(lying(RGB, n), 'JPEG', quality=95, exif=exif(n)), QUARTERS
    yield 'orientation_99', saved(RGB, 'JPEG', quality=95, exif=exif(99)), QUARTERS
    yield 'grey', saved(GREY, 'JPEG', quality=95), seen(np.array(GREY.convert('RGB'))).reshape(4, 3)
    yield 'grey_lying', saved(lying(GREY, 6), 'JPEG', quality=95, exif=exif(6)), seen(np.array(GREY.convert('RGB'))).reshape(4, 3)
    yield 'cmyk', saved(RGB.convert('CMYK'), 'JPEG', quality=98), QUARTERS


def _pngs():
    yield 'rgb', saved(RGB, 'PNG'), QUARTERS
    yield 'lying', saved(lying(RGB, 8), 'PNG', exif=exif(8)), QUARTERS
    yield 'grey', saved(GREY, 'PNG'), seen(np.array(GREY.convert('RGB'))).reshape(4, 3)
    yield 'bilevel', saved(Image.fromarray(quarters([0, 255, 255, 255]).astype(np.uint8)).convert('1'), 'PNG'), [0, 255, 255, 255]
    yield 'palette', saved(RGB.quantize(4), 'PNG'), QUARTERS
    yield 'palette_transparent', saved(_with_transparent_quarter(), 'PNG'), [QUARTERS[0], (255, 255, 255), *QUARTERS[2:]]
    yield 'rgba', saved(RGBA, 'PNG'), ON_WHITE
    yield 'grey_alpha', saved(RGBA.convert('LA'), 'PNG'), [round((g*a + 255*(255 - a))/255) for g, a in zip(_greys(), ALPHA)]
    yield 'rgb_key', saved(RGB, 'PNG', transparency=QUARTERS[1]), [QUARTERS[0], (255, 255, 255), *QUARTERS[2:]]
    yield 'grey_key', saved(GREY, 'PNG', transparency=_greys()[1]), [_greys()[0], 255, *_greys()[2:]]
    yield 'grey_16', saved(Image.fromarray(quarters(LEVELS).astype(np.uint16)), 'PNG'), [0, 51, 153, 255]
    yield 'dark_16', saved(Image.fromarray(quarters([0, 100, 200, 250]).astype(np.uint16)), 'PNG'), [0, 0, 1, 1]
    yield 'rgb_16', by_opencv('.png', (quarters(QUARTERS)*257)[..., ::-1].astype(np.uint16)), QUARTERS
    yield 'rgba_16', by_opencv('.png', np.dstack([(quarters(QUARTERS)*257)[..., ::-1], quarters(ALPHA)*257]).astype(np.uint16)), ON_WHITE
    yield 'animated', saved(RGB, 'PNG', save_all=True, append_images=[Image.new('RGB', RGB.size)]), QUARTERS


def _greys(): return [GREY.getpixel((x, y)) for y in (5, HEIGHT - 5) for x in (5, WIDTH - 5)]


def _with_transparent_quarter():
    "A palette image whose second colour is transparent"
    image = RGB.quantize(4)
    image.info['transparency'] = image.getpixel((WIDTH - 5, 5))
    return image


def _webs():
    yield 'gif', saved(RGB.quantize(4), 'GIF'), QUARTERS
    yield 'gif_transparent', saved(_with_transparent_quarter(), 'GIF'), [QUARTERS[0], (255, 255, 255), *QUARTERS[2:]]
    yield 'gif_animated', saved(RGB.quantize(4), 'GIF', save_all=True, append_images=[Image.new('P', RGB.size)], duration=50), QUARTERS
    yield 'webp', saved(RGB, 'WEBP', quality=95), QUARTERS
    yield 'webp_lossless', saved(RGB, 'WEBP', lossless=True), QUARTERS
    yield 'webp_alpha', saved(RGBA, 'WEBP', lossless=True), ON_WHITE
    yield 'webp_lying', saved(lying(RGB, 6), 'WEBP', lossless=True, exif=exif(6)), QUARTERS
    yield 'webp_animated', saved(RGB, 'WEBP', lossless=True, save_all=True, append_images=[Image.new('RGB', RGB.size)]), QUARTERS
    yield 'bmp', saved(RGB, 'BMP'), QUARTERS
    yield 'bmp_grey', saved(GREY, 'BMP'), _greys()
    yield 'avif', saved(RGB, 'AVIF', quality=95, subsampling='4:4:4'), QUARTERS
    yield 'avif_alpha', saved(RGBA, 'AVIF', quality=100, subsampling='4:4:4'), ON_WHITE
    yield 'avif_lying', saved(lying(RGB, 6), 'AVIF', quality=95, subsampling='4:4:4', exif=exif(6)), QUARTERS


def _tiffs():
    for compression in ('raw', 'tiff_lzw', 'tiff_adobe_deflate'): yield compression, saved(RGB, 'TIFF', compression=compression), QUARTERS
    yield 'tiff_jpeg', saved(RGB, 'TIFF', compression='jpeg', quality=95), QUARTERS
    yield 'tiff_lying', saved(lying(RGB, 6), 'TIFF', tiffinfo={ORIENTATION: 6}), QUARTERS
    yield 'tiff_pages', saved(RGB, 'TIFF', save_all=True, append_images=[Image.new('RGB', RGB.size)]), QUARTERS
    yield 'tiff_rgba', saved(RGBA, 'TIFF'), ON_WHITE
    yield 'tiff_cmyk', saved(RGB.convert('CMYK'), 'TIFF'), QUARTERS
    yield 'tiff_grey_16', saved(Image.fromarray(quarters(LEVELS).astype(np.uint16)), 'TIFF'), [0, 51, 153, 255]
    yield 'tiff_rgb_16', by_opencv('.tiff', (quarters(QUARTERS)*257)[..., ::-1].astype(np.uint16)), QUARTERS
    yield 'tiff_int_32', saved(Image.fromarray(quarters(LEVELS).astype(np.int32)), 'TIFF'), [0, 51, 153, 255]
    yield 'tiff_int_32_low', saved(Image.fromarray(quarters([0, 51, 153, 255]).astype(np.int32)), 'TIFF'), [0, 51, 153, 255]
    yield 'tiff_float_1', saved(Image.fromarray(quarters([0, .2, .6, 1.]).astype(np.float32)), 'TIFF'), [0, 51, 153, 255]
    yield 'tiff_float_255', saved(Image.fromarray(quarters([0, 51., 153., 255.]).astype(np.float32)), 'TIFF'), [0, 51, 153, 255]
    yield 'tiff_float_holes', saved(Image.fromarray(quarters([np.nan, .2, .6, 1.]).astype(np.float32)), 'TIFF'), [0, 51, 153, 255]


def encodings():
    "name → Encoding, for every way to write the picture that this machine's libraries know"
    found = {}
    for kind, make in dict(jpeg=_jpegs, png=_pngs, web=_webs, tiff=_tiffs).items():
        for name, data, colours in make():
            format = dict(jpeg='JPEG', png='PNG', tiff='TIFF').get(kind) or name.split('_')[0].upper()
            found[f'{kind}_{name}' if kind != 'web' and not name.startswith(kind) else name] = Encoding(data, as_truth(colours), format)
    found['mpo'] = Encoding(saved(RGB, 'MPO', quality=95, save_all=True, append_images=[Image.new('RGB', RGB.size)]), as_truth(QUARTERS), 'JPEG')
    return found


ENCODINGS = encodings()
