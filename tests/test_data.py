"Splits: no group is ever divided, whatever the collection is like."
import random, shutil
from collections import Counter

import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st

from fastcnn.clean import clean_images
from fastcnn.duplicates import find_duplicates
from fastcnn.quarantine import restore_images, set_aside
from fastcnn.data import image_dataloaders
from fastcnn.splits import GroupSplitter, find_leaks, with_groups
from fastcnn.tables import image_table
from test_clean import ALTERATIONS, picture

SHARES = st.sampled_from([(.2, 0.), (.2, .1), (.15, .15), (.5, .3), (0., .2), (.01, .98)])
ITEMS = st.lists(st.tuples(st.sampled_from('abc'), st.one_of(st.none(), st.integers(0, 9)), st.one_of(st.none(), st.integers(0, 9))), min_size=1, max_size=80)
OFTEN = settings(max_examples=200, deadline=None, derandomize=True)


def parts_of(values, parts):
    "Value → the parts in which it stands"
    found = {}
    for number, part in enumerate(parts):
        for i in part: found.setdefault(values[i], set()).add(number)
    return {value: numbers for value, numbers in found.items() if value is not None}


@OFTEN
@given(ITEMS, SHARES, st.integers(0, 1000))
def test_every_class_has_something_to_train_on_and_no_copy_is_parted(items, shares, seed):
    "Whatever the groups are, and across classes"
    labels, groups, copies = zip(*items)
    split = lambda: GroupSplitter(groups, labels, *shares, seed, copies)([f'{label}/{i}' for i, label in enumerate(labels)])
    parts = split()
    assert sorted(i for part in parts for i in part) == list(range(len(items))) and len(parts) == 2 + bool(shares[1])
    assert {labels[i] for i in parts[0]} == set(labels)
    assert all(len(numbers) == 1 for numbers in parts_of(copies, parts).values())
    assert split() == parts, 'the same seed gives the same parts'


@OFTEN
@given(ITEMS, st.sampled_from([(.2, .1), (.15, .15), (.5, .3), (.01, .98)]), st.integers(0, 1000))
def test_a_group_is_cut_only_where_its_class_would_lack_a_part(items, shares, seed):
    "And no class lacks one that has images to spare"
    labels = [label for label, *_ in items]
    groups = [None if group is None else f'{label}{group}' for label, group, _ in items]
    parts = GroupSplitter(groups, labels, *shares, seed)([f'{label}/{i}' for i, label in enumerate(labels)])
    where = parts_of(groups, parts)
    for label, total in Counter(labels).items():
        own = {group or i for i, group in enumerate(groups) if labels[i] == label}
        filled = [any(labels[i] == label for i in part) for part in parts]
        assert filled[0] and sum(filled) == min(total, 3)
        if len(own) >= 3: assert all(len(where[group]) == 1 for group in own if group in where)


@OFTEN
@given(st.lists(st.sampled_from('ab'), min_size=6, max_size=120), SHARES, st.integers(0, 1000))
def test_without_groups_each_class_gives_its_share(labels, shares, seed):
    parts = GroupSplitter(None, labels, *shares, seed)([f'{label}/{i}' for i, label in enumerate(labels)])
    for label, total in Counter(labels).items():
        if total < 3: continue
        for part, share in zip(parts[1:], shares): assert abs(sum(labels[i] == label for i in part) - share*total) <= 2


@pytest.mark.parametrize('groups, copies', [(['g']*24, None), (['g']*20 + [None]*4, None), ([None]*24, ['c']*20 + [None]*4)])
def test_what_once_went_whole_to_the_test_part(groups, copies):
    for seed in range(20):
        parts = GroupSplitter(groups, ['x']*24, .15, .15, seed, copies)([f'x/{i:02}' for i in range(24)])
        assert len(parts[0]) >= 16 and all(parts)


def test_groups_hardly_change_the_shares():
    rng = random.Random(0)
    labels, groups = zip(*[(rng.choice('ab'), rng.randrange(400)) for _ in range(1000)])
    for seed in range(20):
        train, valid, test = GroupSplitter(groups, labels, 0.2, 0.1, seed)(labels)
        for part, share in ((valid, 0.2), (test, 0.1)): assert len(part) == pytest.approx(1000*share, abs=10)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.sampled_from('ab'), st.booleans(), st.booleans()), min_size=40, max_size=80), st.integers(0, 1000))
def test_cleaning_the_other_parts_brings_nothing_new_into_the_test_part(collection, seed):
    "Pictures and pairs of them; those that do not stay are thrown out, where they are not of the test part"
    pairs = [(label, pair if paired else None, stays) for pair, (label, paired, stays) in enumerate(collection) for _ in range(1 + paired)]
    names = [f'{label}/{sum(p[0] == label for p in pairs[:i])}.jpg' for i, (label, *_) in enumerate(pairs)] # the same names in both classes
    def test_part(places):
        splitter = GroupSplitter([pairs[i][1] for i in places], [pairs[i][0] for i in places], 0.2, 0.2, seed)
        return {places[i] for i in splitter([names[i] for i in places])[2]}
    before = test_part(range(len(pairs)))
    assert test_part([i for i, (*_, stays) in enumerate(pairs) if stays or i in before]) <= before


@pytest.fixture(scope='module')
def copies(tmp_path_factory):
    "Two classes of 24 pictures, each in a second version"
    root, rng = tmp_path_factory.mktemp('copies')/'set', random.Random(1)
    for label in 'ab':
        (root/label).mkdir(parents=True)
        for i in range(24):
            image = picture(i + 100*(label == 'b'), (96, 72))
            image.save(root/label/f'{i}.jpg', quality=92)
            ALTERATIONS[rng.choice(sorted(ALTERATIONS))](image, rng).save(root/label/f'{i} copy.jpg', quality=80)
    return root


def family(name): return name.replace(' copy', '')


@pytest.mark.parametrize('seed', range(3))
def test_dataloaders_keep_copies_together(copies, seed):
    groups = find_duplicates(copies)
    dls = image_dataloaders(copies, 32, 8, test_pct=0.2, seed=seed, num_workers=0, groups=groups)
    where = {}
    for number, part in enumerate(dls.loaders):
        for name in part.dataset.items.name: where.setdefault(family(name), set()).add(number)
    assert len(where) == 48 and all(len(found) == 1 for found in where.values())
    assert not len(find_leaks(dls, groups))


def test_leaks_of_a_random_split_are_found(copies):
    groups, files = find_duplicates(copies), image_table(copies).image.tolist()
    random.Random(0).shuffle(files)
    parts = files[:64], files[64:]
    leaks = find_leaks(parts, groups)
    name = lambda f: f'{f.parent.name}/{f.name}'
    crossing = {family(name(f)) for f in parts[0]} & {family(name(f)) for f in parts[1]}
    assert {family(n) for n in leaks.name} == crossing and set(leaks.kind) == {'near_duplicate'}
    assert not len(find_leaks(parts)), 'without the groups only files with the same pixels can be told'


def test_only_a_folder_that_was_not_cleaned_gets_a_warning(copies, tmp_path, recwarn):
    root = shutil.copytree(copies, tmp_path/'set')
    told = lambda: [str(warning.message) for warning in recwarn if 'not cleaned' in str(warning.message)]
    load = lambda **options: image_dataloaders(root, 32, 8, num_workers=0, **options)
    load(groups=find_duplicates(root)) # the groups are known: nothing to warn of
    clean_images(root)
    load()
    restore_images(root)
    load()
    set_aside(root, 'a/1.jpg')
    restore_images(root)
    load()
    assert not told()
    picture(999).save(root/'a'/'new.jpg')
    load()
    assert [text[:8] for text in told()] == ['1 of the']


def test_the_same_pixels_in_another_format_leak(tmp_path):
    for name in ('a.png', 'b.bmp', 'c.png'): picture(1 if name < 'c' else 2).save(tmp_path/name)
    assert find_leaks([[tmp_path/'a.png'], [tmp_path/'b.bmp', tmp_path/'c.png']]).kind.tolist() == ['same_pixels']*2


def test_the_same_bytes_share_a_group():
    table = pd.DataFrame(dict(name=list('abcde'), image=[b'1', b'1', b'2', b'3', b'3'], label='x'))
    groups = with_groups(table).group
    assert groups[0] == groups[1] and groups[3] == groups[4] and groups[2] is None and groups[0] != groups[3]
    for seed in range(10):
        parts = GroupSplitter(groups.tolist(), ['x']*5, 0.4, seed=seed)(table)
        assert all(({0, 1} <= set(p) or not {0, 1} & set(p)) for p in parts)
