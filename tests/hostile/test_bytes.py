"Bytes from strangers: archives, lists, what search services answer, addresses, pipes"
import io, json, os, socket, subprocess, sys, tarfile, zipfile
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from bombs import BOMBS, HF, parquet_unread, picture, said_again, write_parquet
from fastcnn.cli import main
from fastcnn.core import InputError
from fastcnn.tables import image_table

HERE = Path(__file__).parent
linux = pytest.mark.skipif(not sys.platform.startswith('linux'), reason='measured in /proc')


def called(calls, seconds=60, **env):
    "What becomes of calls of the command, as child.py tells it; a call that takes the process with it ends the list"
    command = [sys.executable, HERE/'child.py', json.dumps(calls), str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=len(calls)*(seconds + 5), env=os.environ | env)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"status"')]


# Archives

TOO_MUCH = 'would unpack to more than'
SAID = {'zip_overlapping.zip': 'shares its bytes', 'zip_lying.zip': 'Bad CRC', 'zip_locked.zip': 'locked by a password',
        **dict.fromkeys(['zip_other_method.zip', 'zip_bz2.zip'], 'pack it again'), 'zip_deep.zip': 'too deep',
        'zip_list.zip': 'far more than a list of images needs',
        'tar_name.tar': 'a name is too long', 'tar_digits.tar': 'a name is too long', 'tar_sparse.tar': 'sparse',
        'tar_devices.tar': 'no images in class folders', 'parquet_lists.parquet': 'has lists'}


@pytest.fixture(scope='module')
def ends(tmp_path_factory):
    "How `info` ends for each bomb"
    folder = tmp_path_factory.mktemp('bombs')
    for name, make in BOMBS.items(): make(folder/name)
    assert max((folder/name).stat().st_size for name in BOMBS) < 2**23
    return dict(zip(BOMBS, called([['info', str(folder/name)] for name in BOMBS])))


@linux
@pytest.mark.parametrize('name', BOMBS)
def test_a_bomb_is_refused_in_one_line_and_little_memory(name, ends):
    end = ends[name]
    assert end['status'] == 2 and end['said'].count('\n') == 1 and SAID.get(name, TOO_MUCH) in end['said'], end
    assert end['mb'] < 1000 and end['seconds'] < 50, end


@linux
def test_a_column_that_nobody_asked_for_is_not_read(tmp_path):
    parquet_unread(tmp_path/'a.parquet')
    end, = called([['info', str(tmp_path/'a.parquet')]])
    assert end['status'] == 0 and 'a: 24' in end['said'] and end['mb'] < 1000, end


@linux
def test_unpacking_and_shards_have_the_same_limits(tmp_path):
    "One zip, one tar and one table of shards, through the functions of `exchange`, in a process that may have 3 GB"
    BOMBS['zip_bomb.zip'](tmp_path/'bomb.zip')
    (tmp_path/'shards').mkdir()
    BOMBS['tar_gz.tar'](tmp_path/'shards'/'00000.tar')
    row = dict(url='https://a.org/1.jpg', key='1', status='success', label='a', error_message='')
    write_parquet(tmp_path/'shards'/'00000.parquet', {name: [value] for name, value in row.items()})
    (tmp_path/'rows').mkdir()
    write_parquet(tmp_path/'rows'/'00000.parquet', {name: said_again(value, 10**6) for name, value in row.items()})
    done = subprocess.run([sys.executable, '-c', EXCHANGE, tmp_path], cwd=HERE, capture_output=True, text=True, timeout=120)
    assert done.stdout.count(TOO_MUCH) == 3, done
    assert not (tmp_path/'new').exists() and int(done.stdout.splitlines()[-1]) < 1000, done.stdout


EXCHANGE = """
import resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_AS, (3 * 2**30,) * 2)
from child import peak
from fastcnn.exchange import read_shards, unpack_images
folder = Path(sys.argv[1])
for call, source in ((unpack_images, 'bomb.zip'), (read_shards, 'shards'), (read_shards, 'rows')):
    try: call(folder/source, folder/'new')
    except ValueError as error: print(error)
print(peak())
"""


def test_honest_archives_come_in(tmp_path):
    "However well their pictures pack, in every way of packing, with long names and links"
    flat = [picture((i, 0, 0)) for i in range(20)]
    names = [f'{"cat dog".split()[i % 2]}/{"long name "*(i % 3*7)}{i}.png' for i in range(20)]
    with zipfile.ZipFile(tmp_path/'a.zip', 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, data in zip(names, flat): archive.writestr(name, data)
    for packing in ('', 'gz', 'bz2', 'xz'):
        for kind in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
            with tarfile.open(tmp_path/f'{kind}.tar{packing}', f'w:{packing}', format=kind) as archive:
                for name, data in zip(names, flat):
                    member = tarfile.TarInfo(f'./{name}')
                    member.size, member.pax_headers = len(data), dict(comment='é'*99)
                    archive.addfile(member, io.BytesIO(data))
    write_parquet(tmp_path/'a.parquet', dict(image=[dict(bytes=data, path='x') for data in flat], label=['cat', 'dog']*10))
    for path in sorted(tmp_path.iterdir()):
        table = image_table(path)
        assert table.label.value_counts().to_dict() == dict(cat=10, dog=10) and sorted(table.image) == sorted(flat), path


# Texts in a column of images

@pytest.mark.parametrize('kind', ['texts', 'texts as bytes', 'only paths', 'chosen'])
def test_a_text_is_no_image(kind, outside, tmp_path):
    "A parquet file of two kilobytes that names a private picture"
    path, private = tmp_path/'a.parquet', str(outside/'private'/'picture.jpg')
    structs = pa.array([dict(bytes=private, path=private)]*4, pa.struct([('bytes', pa.string()), ('path', pa.string())]))
    paths = pa.array([dict(bytes=None, path=private)]*4, pa.struct([('bytes', pa.binary()), ('path', pa.string())]))
    cells = {'texts': [private]*4, 'texts as bytes': structs, 'only paths': paths, 'chosen': [private]*4}[kind]
    write_parquet(path, dict(image=cells, label=['a', 'b']*2, other=[picture()]*4) if kind == 'chosen' else dict(image=cells, label=['a', 'b']*2), HF)
    for verb in (['info', str(path)], ['add', str(path), '--out', str(tmp_path/'root')]):
        assert main(verb) == 2
    assert not list((tmp_path/'root').rglob('*.jpg'))


def test_a_list_in_an_archive_names_nothing_outside(outside, tmp_path):
    private = outside/'private'/'picture.jpg'
    for name in (str(private), '../outside/private/picture.jpg', 'private/picture.jpg'):
        with zipfile.ZipFile(tmp_path/'a.zip', 'w') as archive:
            archive.writestr('list.csv', f'file,label\n{name},a\n1.png,b\n2.png,a\n3.png,b\n')
            for i in (1, 2, 3): archive.writestr(f'{i}.png', picture((i, i, i)))
        table = image_table(tmp_path/'a.zip')
        assert len(table) == 3 and private.read_bytes() not in set(table.image) and table.attrs['left_out']['not_found'] == 1
    assert main(['add', str(tmp_path/'a.zip'), '--out', str(tmp_path/'root')]) == 0
    assert all(file.read_bytes() != private.read_bytes() for file in (tmp_path/'root').rglob('*.*'))


def test_a_table_from_a_strangers_file_opens_no_path(outside):
    private = str(outside/'private'/'picture.jpg')
    table = pd.DataFrame(dict(image=[dict(bytes=private, path=private)]*4, label=['a', 'b']*2))
    with pytest.raises(InputError, match='not opened'): image_table(table)


# Pipes and devices

@linux
def test_a_pipe_or_a_device_is_refused_and_not_waited_for(tmp_path):
    root = tmp_path/'root'
    for label in 'ab':
        (root/label).mkdir(parents=True)
        (root/label/'1.png').write_bytes(picture())
        os.mkfifo(root/label/'2.png')
    pipes = []
    for name in ('p', 'p.csv', 'p.zip', 'p.tar', 'p.parquet', 'p.png'):
        pipes.append(str(tmp_path/name))
        os.mkfifo(pipes[-1])
    socket.socket(socket.AF_UNIX).bind(str(tmp_path/'s.zip'))
    sources = [*pipes, str(tmp_path/'s.zip'), '/dev/zero', '/dev/stdin']
    out = ['--out', str(tmp_path/'new')]
    calls = [['info', source] for source in sources] + [['add', source, *out] for source in sources]
    calls += [['train', source, *out] for source in (pipes[2], '/dev/zero')]
    calls += [['search', 'x', '--label', 'a', '--provider', pipes[1], *out], ['clean', pipes[0]], ['clean', '/dev/zero']]
    calls += [['add', pipes[1], '--label', 'a', *out]]
    found = called(calls, 60) # to start alone takes twenty seconds on a busy machine
    assert [end['status'] for end in found] == [2]*len(calls), [(call, end) for call, end in zip(calls, found) if end['status'] != 2]
    table, added = called([['info', str(root)], ['add', '/dev/zero', '--label', 'a', *out]], 20)
    assert table['status'] == 0 and '2 no regular files (a/2.png, b/2.png)' in table['said']
    assert added['status'] == 1 and '/dev/zero was not taken' in added['said'] and not list((tmp_path/'new').rglob('*.png'))
