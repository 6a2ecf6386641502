"What `image_table` makes of the layouts that people have"
import io, shlex, stat, tarfile, warnings, zipfile

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fastcnn.core import InputError
from fastcnn.tables import image_table
from layouts import LAYOUTS

WORDS = dict(no_label='unlabelled', not_there='not_found', empty_class='empty_folder') # ours for what the layouts call so


def read(source, **options):
    "(table, what was said)"
    with warnings.catch_warnings(record=True, action='always') as caught: table = image_table(source, **options)
    return table, ' '.join(str(warning.message) for warning in caught)


@pytest.mark.parametrize('name', LAYOUTS)
def test_a_layout_comes_in_right(name, tmp_path):
    layout = LAYOUTS[name]
    source = layout.read(tmp_path)
    if layout.classes is None:
        with pytest.raises(InputError) as refused: image_table(source, **layout.options)
        assert '\n' not in str(refused.value)
        return
    table, said = read(source, **layout.options)
    assert table.label.value_counts().to_dict() == layout.classes
    assert {part: n for part, n in table.part.value_counts().items() if part} == layout.parts
    assert table.attrs['left_out'] == {WORDS.get(reason, reason): n for reason, n in layout.left_out.items()}
    assert not layout.left_out or 'left out' in said


def test_a_class_without_training_images_is_told_as_such(tmp_path):
    pictures(tmp_path/'set', *[f'{part}/{label}/{i}.png' for part, labels in (('train', 'ab'), ('valid', 'abc')) for label in labels for i in range(3)])
    table, said = read(tmp_path/'set')
    assert set(table.label) == {'a', 'b'} and table.attrs['left_out'] == {'untrained': 3}
    assert '3 of classes without training images (valid/c/0.png' in said


@pytest.mark.parametrize('names', [['cat.1.png', 'cat.2.png', 'dog.1.png', 'dog.2.png'], ["Ann's cat_1.png", "Ann's cat_2.png", 'dog$_1.png', 'dog$_2.png']])
def test_the_pattern_that_is_offered_works_as_a_shell_takes_it(names, tmp_path):
    pictures(tmp_path/'flat', *names)
    with pytest.raises(InputError) as refused: image_table(tmp_path/'flat')
    words = shlex.split(str(refused.value).split('such as ')[1])
    assert words[0] == '--label-regex'
    assert image_table(tmp_path/'flat', words[1]).label.value_counts().tolist() == [2, 2]


def pictures(root, *names):
    for i, name in enumerate(names):
        path = root/name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), i*9 % 250, np.uint8)).save(path)
    return root


def listed(folder, *lines, name='l.csv'):
    (folder/name).write_text('\n'.join(lines))
    return folder/name


PETS = [f'{label}/{i}.png' for label in ('cat', 'dog') for i in range(3)]
FLAT = [f'{i}.png' for i in range(6)]
ROWS = [f'{i}.png,{"cat" if i % 2 else "dog"}' for i in range(6)]


def test_links_in_archives_are_followed_or_told(tmp_path):
    pictures(tmp_path/'a', *PETS)
    with tarfile.open(tmp_path/'a.tar', 'w') as archive:
        archive.add(tmp_path/'a', 'a')
        for i in range(3):
            for kind, to, at in ((tarfile.LNKTYPE, f'a/dog/{i}.png', 'hard'), (tarfile.SYMTYPE, f'../cat/{i}.png', 'soft'),
                                 (tarfile.SYMTYPE, '../../etc/x', 'lost')):
                link = tarfile.TarInfo(f'a/{at}/{i}.png')
                link.type, link.linkname = kind, to
                archive.addfile(link)
    table, said = read(tmp_path/'a.tar')
    assert table.label.value_counts().to_dict() == dict(cat=3, dog=3, hard=3, soft=3) and '3 links' in said
    with zipfile.ZipFile(tmp_path/'a.zip', 'w') as archive:
        for name in PETS: archive.write(tmp_path/'a'/name, name)
        link = zipfile.ZipInfo('fox/0.png')
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, '../cat/0.png')
    table, said = read(tmp_path/'a.zip')
    assert set(table.label) == {'cat', 'dog'} and '1 links (fox/0.png)' in said


def test_an_archive_with_a_name_twice_is_refused(tmp_path):
    with pytest.warns(UserWarning, match='Duplicate name'), zipfile.ZipFile(tmp_path/'a.zip', 'w') as archive:
        for data in (b'1', b'2'): archive.writestr('a/0.png', data)
    with pytest.raises(InputError, match='two files of the name'): image_table(tmp_path/'a.zip')


@pytest.mark.parametrize('column, cells, parts, left_out', [
    ('split', ['train', 'train', 'val', 'unused', 'test', 'test'], dict(train=2, valid=1, test=2), 1),
    ('Usage', ['Training']*4 + ['PublicTest', 'PrivateTest'], dict(train=4, valid=1, test=1), 0),
    ('set', ['tr', 'tr', 'tr', 'tr', 'va', 'te'], dict(train=4, valid=1, test=1), 0),
    ('is_train', ['1', '1', '1', '1', '0', '0'], dict(train=4, test=2), 0),
    ('part', ['train', 'train', 'train', 'train', 'tset', 'test'], dict(train=4, test=1), 1),
    ('is_valid', ['False']*4 + ['True']*2, dict(train=4, valid=2), 0)])
def test_a_column_of_parts(column, cells, parts, left_out, tmp_path):
    "No image slips into training because its part has an unknown name"
    pictures(tmp_path, *FLAT)
    file = listed(tmp_path, f'file,label,{column}', *(f'{row},{cell}' for row, cell in zip(ROWS, cells)))
    frame = pd.DataFrame(dict(image=[tmp_path/name for name in FLAT], label=[row.split(',')[1] for row in ROWS]) | {column: cells})
    for source in (file, frame):
        table, said = read(source)
        assert {part: n for part, n in table.part.value_counts().items() if part} == parts
        assert table.attrs['left_out'].get('no_part', 0) == left_out and (not left_out or '1 in none of the parts' in said)


@pytest.mark.parametrize('column, cells, parts, told', [
    ('split', ['0', '0', '0', '0', '1', '2'], {}, None), # which number is the test, nobody can know
    ('split', ['', '', '', '', 'test', 'test'], dict(train=4, test=2), "4 rows have nothing in the column 'split'"),
    ('split', ['train', '', 'train', 'train', 'valid', 'test'], dict(train=4, valid=1, test=1), '1 rows have nothing'),
    ('split', ['a', 'a', 'a', 'a', 'test', 'test'], {}, "the column 'split' (a, test) does not say")])
def test_what_a_column_of_parts_leaves_open_is_told(column, cells, parts, told, tmp_path):
    pictures(tmp_path, *FLAT)
    file = listed(tmp_path, f'file,label,{column}', *(f'{row},{cell}' for row, cell in zip(ROWS, cells)))
    table, said = read(file)
    assert {part: n for part, n in table.part.value_counts().items() if part} == parts
    assert (told or "the column 'split'") in said


def test_a_part_may_write_its_classes_with_other_capitals(tmp_path):
    "train/Ants and valid/ants are one class; where one part has both, they stay two"
    names = [f'{part}/{label}/{i}.png' for part, label in (('train', 'Ants'), ('train', 'Bees'), ('valid', 'ants'), ('valid', 'Bees')) for i in range(2)]
    pictures(tmp_path, *names)
    table, said = read(tmp_path)
    assert len(table) == 8 and set(table.label) == {'Ants', 'Bees'} and "'ants'" in said and 'left out' not in said


@pytest.mark.parametrize('lines, said', [
    ([*ROWS, '0.png,cat'], 'two labels'), ([*(f'{row},train' for row in ROWS), '0.png,dog,test'], 'two parts'),
    (['file,label', '0.png,"cat', *ROWS[1:]], 'quote not closed'),
    (['file,label,note', *(f'{row},' for row in ROWS[1:]), '0.png,cat,black,old'], 'put labels with a separator'),
    (['file,label'], 'no rows'), ([], 'is empty'),
    (['file,label', *(f'x{row}' for row in ROWS)], 'no column names images'), (['only', *FLAT], 'one column')])
def test_a_list_that_contradicts_itself_is_refused(lines, said, tmp_path):
    pictures(tmp_path, *FLAT)
    if lines and lines[0].endswith('train'): lines = ['file,label,split', *lines]
    with pytest.raises(InputError, match=said) as refused: image_table(listed(tmp_path, *lines))
    assert '\n' not in str(refused.value)


@pytest.mark.parametrize('other', ['holdout/cat/9.png', 'unlabeled/9.png', 'Evaluation/dog/9.png', 'test (1)/9.png', '02_test/cat/9.png'])
def test_train_beside_a_folder_of_another_name(other, tmp_path):
    table, _ = read(pictures(tmp_path, *(f'train/{name}' for name in PETS), other))
    assert set(table.label) == {'cat', 'dog'}


def test_folders_that_might_be_parts_are_named(tmp_path):
    table, said = read(pictures(tmp_path, *(f'train/{name}' for name in PETS), 'query/cat/9.png'))
    assert set(table.label) == {'train', 'query'} and 'train' in said and 'taken for classes, not for parts' in said


@pytest.mark.parametrize('litter', ['#recycle', '$RECYCLE.BIN', 'System Volume Information', 'lost+found', '.Trashes', '__MACOSX'])
def test_what_systems_leave_is_no_class(litter, tmp_path):
    assert set(read(pictures(tmp_path, *PETS, f'{litter}/9.png'))[0].label) == {'cat', 'dog'}


def frames(tmp_path):
    good = dict(image=[pictures(tmp_path, *FLAT)/name for name in FLAT], label=['cat', 'dog']*3)
    table = pd.DataFrame(good)
    return dict(contradiction=(pd.concat([table, table.assign(label='emu')]), 'two labels'), empty=(table[:0], 'no rows'),
                arrays=(table.assign(image=[np.zeros((8, 8, 3))]*6), 'give paths'), lists=(table.assign(label=[['cat']]*6), 'one class here'),
                twice=(pd.concat([table, table.label], axis=1), 'twice'), missing=(table.drop(columns='label'), 'no column label'))


@pytest.mark.parametrize('name', ['contradiction', 'empty', 'arrays', 'lists', 'twice', 'missing'])
def test_a_table_that_cannot_be_meant_is_refused(name, tmp_path):
    table, said = frames(tmp_path)[name]
    with pytest.raises(InputError, match=said): image_table(table)


def test_a_table_as_pandas_reads_it_from_parquet(tmp_path):
    data = io.BytesIO()
    Image.new('RGB', (8, 8)).save(data, 'PNG')
    table = pd.DataFrame(dict(image=[dict(bytes=data.getvalue(), path=None)]*4, label=[b'cat', 'dog']*2))
    assert image_table(table).label.tolist() == ['cat', 'dog']*2
    files = pictures(tmp_path, *FLAT)
    twice = pd.DataFrame(dict(image=[files/'0.png', files/'1.png']*2, label=['cat', 'dog']*2))
    assert len(image_table(twice)) == 2


@pytest.mark.parametrize('source', ['', None, [], 7])
def test_what_is_no_source(source):
    with pytest.raises(InputError, match='no source of images'): image_table(source)
