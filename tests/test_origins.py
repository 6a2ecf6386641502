"A collection that comes in again, as a folder or packed, keeps its makers and licences; what was to be forgotten stays out"
import contextlib, io, json, os, tarfile, zipfile

import pytest
from faults import jpeg

from fastcnn.cli import main
from fastcnn.core import Manifest, SidecarFile, sidecar
from fastcnn.exchange import add_images, forget_images, pack_images
from fastcnn.images import files_on_disk
from fastcnn.tables import image_table

TEXTS = 'creator', 'license', 'license_url', 'title', 'landing_url'


def run(*argv):
    "(status, JSON, what was told) of a command"
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as told: status = main([*map(str, argv), '--json'])
    return status, json.loads(out.getvalue().splitlines()[-1]), told.getvalue()


def about(i): return dict(creator=f'Maker {i}', license='by 4.0', license_url='https://example.org/by', title=f'No. {i}', landing_url=f'https://example.org/{i}')


@pytest.fixture
def old(tmp_path):
    "Six pictures of six makers in two classes"
    for i in range(6):
        (tmp_path/'own.jpg').write_bytes(jpeg(i))
        add_images(tmp_path/'own.jpg', tmp_path/'theirs'/'planets', label='earth' if i % 2 else 'mars', **about(i))
    return tmp_path/'theirs'/'planets'


def packed(old, kind):
    "The collection as it travels"
    if kind == 'folder': return old
    if kind == 'zip': return pack_images(old)
    with tarfile.open(old.parent/'planets.tgz', 'w:gz') as archive:
        for folder in (old, sidecar(old)): archive.add(folder, folder.name)
    return old.parent/'planets.tgz'


def facts(root): return sorted(tuple(row.get(name, '') for name in TEXTS) for row in Manifest(root).present())


def credits(root): return (sidecar(root)/SidecarFile.CREDITS).read_text()


@pytest.mark.parametrize('kind', ['folder', 'zip', 'tgz'])
def test_makers_and_licences_come_along(old, root, kind):
    status, found, told = run('add', packed(old, kind), '--out', root, '--creator', 'Nobody')
    assert status == 0 and found['saved'] == 6 and 'carried' not in told
    assert facts(root) == facts(old) == sorted(tuple(about(i)[name] for name in TEXTS) for i in range(6))
    assert all(about(i)['creator'] in credits(root) for i in range(6)) and 'Nobody' not in credits(root)
    assert {row['provider'] for row in Manifest(root)} == {'own'}


def test_a_folder_of_the_collection_and_one_picture(old, root):
    add_images(old/'earth', root, label='earth')
    add_images(old/files_on_disk(old)[-1], root, label='moon')
    assert len(facts(root)) == 4 and set(facts(root)) <= set(facts(old))
    assert add_images(old, root.parent/'again') and facts(root.parent/'again') == facts(old)


@pytest.mark.parametrize('kind', ['folder', 'zip', 'tgz'])
def test_a_picture_is_known_by_its_content_not_by_its_name(old, root, kind):
    first, second, *_ = files_on_disk(old)
    creator = next(row['creator'] for row in Manifest(old).present() if row['file'] == first)
    os.replace(old/first, old/'mars'/'renamed.jpg')
    (old/second).write_bytes(jpeg(77)) # another picture under a known name
    status, found, told = run('add', packed(old, kind), '--out', root)
    assert found['saved'] == 6 and 'does not know 1 of them' in told
    makers = {row['file'].split('/')[0] + ' ' + row.get('creator', '') for row in Manifest(root).present()}
    assert f'mars {creator}' in makers and 'earth ' in makers and len(facts(root)) == 6
    assert '1 of them with an unknown licence' in credits(root)


@pytest.mark.parametrize('kind', ['folder', 'zip', 'tgz'])
@pytest.mark.parametrize('by', ['creator', 'landing_url', 'url', 'content'])
def test_what_the_target_forgot_stays_out(old, root, kind, by):
    gone = about(3)['creator']
    if by == 'url': # of pictures that once came from the web
        rows = [row | dict(url=f'https://example.org/{i}.jpg') for i, row in enumerate(Manifest(old).present())]
        Manifest(old).path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
        forget_images(root, url=next(row['url'] for row in rows if row['creator'] == gone))
    elif by == 'content':
        add_images(old.parent.parent/'own.jpg', root, label='x', creator='Another')
        forget_images(root, creator='Another')
        gone = about(5)['creator']
    else: forget_images(root, **{by: about(3)[by]})
    status, found, told = run('add', packed(old, kind), '--out', root)
    assert (found['saved'], found['failed']) == (5, {'opted_out': 1})
    assert gone not in credits(root) + Manifest(root).path.read_text()


@pytest.mark.parametrize('kind', ['folder', 'zip', 'tgz'])
def test_what_the_source_forgot_stays_out(old, root, kind):
    kept = {file: (old/file).read_bytes() for file in files_on_disk(old)}
    forget_images(old, creator=about(2)['creator'])
    for file, data in kept.items(): (old/file).write_bytes(data) # as after a restore from a backup
    status, found, told = run('add', packed(old, kind), '--out', root)
    assert (found['saved'], found['failed']) == (5, {'opted_out': 1}) and about(2)['creator'] not in credits(root)


@pytest.mark.parametrize('kind', ['folder', 'zip', 'tgz'])
def test_a_manifest_that_lies_is_read_as_any_other(old, root, kind):
    with open(Manifest(old).path, 'ab') as log:
        row = json.loads(Manifest(old).path.read_bytes().splitlines()[0])
        log.write(json.dumps(row | dict(creator=['a', 'list'])).encode() + b'\n') # of a wrong type
        log.write(json.dumps(row | dict(file='../../.ssh/id_rsa', url='own:2')).encode() + b'\nno row\n')
    status, found, told = run('add', packed(old, kind), '--out', root)
    assert status == 0 and found['saved'] == 6 and facts(root) == facts(old) and 'rows that fastcnn does not write' in told


def test_a_manifest_that_cannot_be_read_is_told(old, root, tmp_path):
    (tmp_path/'elsewhere').write_bytes(Manifest(old).path.read_bytes())
    Manifest(old).path.unlink()
    (sidecar(old)/SidecarFile.MANIFEST).symlink_to(tmp_path/'elsewhere')
    with pytest.warns(UserWarning, match='not carried over: .*is a link'): rows = add_images(old/'earth', root, label='earth')
    assert len(rows) == 3 and {text for row in facts(root) for text in row} == {''}


def test_where_a_page_is_unknown_the_address_stands_for_it(old, root):
    rows = [row | dict(url=f'https://example.org/{i}.jpg', landing_url='') for i, row in enumerate(Manifest(old).present())]
    Manifest(old).path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
    add_images(old, root)
    assert {row['landing_url'] for row in Manifest(root).present()} == {row['url'] for row in rows}
    assert forget_images(root, landing_url=rows[0]['url'])['files']


def test_two_collections_in_one_zip(old, root, tmp_path):
    other = tmp_path/'theirs'/'moons'
    (tmp_path/'own.jpg').write_bytes(jpeg(50))
    add_images(tmp_path/'own.jpg', other, label='io', creator='Galileo')
    with zipfile.ZipFile(tmp_path/'both.zip', 'w') as archive:
        for path in sorted((tmp_path/'theirs').rglob('*')): archive.write(path, path.relative_to(tmp_path/'theirs').as_posix())
    assert add_images(image_table(tmp_path/'both.zip'), root, collection=tmp_path/'both.zip')
    assert len(facts(root)) == 7 and {row[0] for row in facts(root)} == {'Galileo', *(about(i)['creator'] for i in range(6))}


def test_what_a_list_says_comes_before_the_manifest(old, root):
    file = files_on_disk(old)[0]
    (old/'list.csv').write_text(f'file,label,creator,license\n{file},x,Ada,\n')
    add_images(old/'list.csv', root)
    row, = Manifest(root).present()
    assert (row['creator'], row['license']) == ('Ada', 'by 4.0')
