"The layouts that people have: made twice, they are the same, and they hold what they say."
import io
import tarfile
import zipfile
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from layouts import LAYOUTS
from pictures import seen

KINDS = Counter(name.split('/')[0] for name in LAYOUTS)


def contents(folder, layout):
    "File → bytes; of an archive its members, whose times differ"
    source = layout.make(folder)
    files = {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob('*') if file.is_file() and file.suffix not in ('.zip', '.gz')}
    if source.suffix == '.zip':
        with zipfile.ZipFile(source) as archive: files |= {f'zip:{name}': archive.read(name) for name in archive.namelist()}
    if source.suffix == '.gz':
        with tarfile.open(source) as archive: files |= {file.name: archive.extractfile(file).read() for file in archive if file.isfile()}
    return files


def test_there_are_twelve_kinds_with_further_members():
    assert len(KINDS) == 12 and min(KINDS.values()) >= 4


@pytest.mark.parametrize('name', LAYOUTS)
def test_a_layout_is_the_same_each_time_and_small(name, tmp_path):
    made = []
    for again in ('a', 'b'):
        (tmp_path/again/'x').mkdir(parents=True)
        made.append(contents(tmp_path/again/'x', LAYOUTS[name]))
    assert made[0] and made[0] == made[1]
    assert sum(map(len, made[0].values())) < 1e6


@pytest.mark.parametrize('name', [name for name, layout in LAYOUTS.items() if layout.truth and not name.startswith('grey16')])
def test_the_truth_is_what_the_file_shows(name, tmp_path):
    "Undone by hand, with Pillow: turned as EXIF says, laid on white"
    layout = LAYOUTS[name]
    turns = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_270, 8: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
             2: Image.Transpose.FLIP_LEFT_RIGHT, 4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE}
    plain = [] # how far a file is from the truth to those who undo nothing
    for file in layout.make(tmp_path).rglob('*.*'):
        image = Image.open(io.BytesIO(file.read_bytes()))
        turn = turns.get(image.getexif().get(0x0112))
        upright = image.transpose(turn) if turn is not None else image
        plain.append(np.abs(seen(np.asarray(image.convert('RGB'))) - seen(layout.truth(file.stem))).max())
        white = Image.alpha_composite(Image.new('RGBA', upright.size, 'white'), upright.convert('RGBA')).convert('RGB')
        assert np.abs(seen(np.asarray(white)) - seen(layout.truth(file.stem))).max() < 10
    assert (max(plain) > 30) == (not name.startswith('green'))


@pytest.mark.parametrize('name', [name for name in LAYOUTS if name.split('/')[0] in ('film', 'rare', 'many')])
def test_the_counts_are_those_of_the_folders(name, tmp_path):
    source = LAYOUTS[name].make(tmp_path)
    if not source.is_dir(): return
    assert Counter(file.parent.name for file in source.rglob('*.jpg')) == LAYOUTS[name].classes
