"Small files that claim, or unpack to, far more than a machine has; made from a few megabytes"
import bz2, gzip, io, json, lzma, struct, tarfile, zipfile, zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ZEROS = bytes(2**25)
HF = dict(info=dict(features=dict(image=dict(_type='Image'), label=dict(dtype='string', _type='Value')))) # what Hugging Face notes


def raw_zip(path, entries):
    """A zip with what it likes in its list: name, bytes as they lie there, and what is claimed of them (method, size, crc, flags; `at`: where
    they begin; `copy`: beside what lies there already)"""
    body, listed = bytearray(), bytearray()
    for name, data, about in entries:
        name, at = name.encode(), about.get('at', len(body))
        facts = (20, about.get('flags', 0), about.get('method', 8), 0, 33, about.get('crc', 0), about.get('packed', len(data)),
                 about['size'], len(name), 0)
        body += struct.pack('<4s5H3L2H', b'PK\3\4', *facts) + name + data
        listed += struct.pack('<4s6H3L5H2L', b'PK\1\2', 20, *facts, 0, 0, 0, 0, at) + name
    end = struct.pack('<4s4H2LH', b'PK\5\6', 0, 0, len(entries), len(entries), len(listed), len(body), 0)
    path.write_bytes(bytes(body + listed + end))


def deflated(data):
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def zip_bomb(path): # 3 MB → 3 GB
    packed, crc = deflated(ZEROS), zlib.crc32(ZEROS)
    raw_zip(path, [(f'{"ab"[i % 2]}/{i}.png', packed, dict(size=len(ZEROS), crc=crc)) for i in range(96)])


def zip_overlapping(path): # each file quotes the head of the next, and then shares its bytes
    inner = b'picture'
    listed = []
    names = [f'{"ab"[i % 2]}/{i}.png' for i in range(6)]
    data, contents = deflated(inner), inner
    for name in reversed(names):
        facts = (20, 0, 8, 0, 33, zlib.crc32(contents), len(data), len(contents), len(name), 0)
        head = struct.pack('<4s5H3L2H', b'PK\3\4', *facts) + name.encode()
        listed.insert(0, (facts, name, len(head) + len(data)))
        data, contents = struct.pack('<BHH', 0, len(head), len(head) ^ 0xffff) + head + data, head + contents
    body = data[5:]
    central = b''.join(struct.pack('<4s6H3L5H2L', b'PK\1\2', 20, *facts, 0, 0, 0, 0, len(body) - left) + name.encode() for facts, name, left in listed)
    end = struct.pack('<4s4H2LH', b'PK\5\6', 0, 0, len(listed), len(listed), len(central), len(body), 0)
    path.write_bytes(body + central + end)


def zip_lying(path): # four gigabytes in seven bytes; and seven bytes that are a megabyte
    raw_zip(path, [('a/1.png', deflated(b'picture'), dict(size=2**32 - 2)), ('b/2.png', deflated(bytes(2**20)), dict(size=7))])


def zip_locked(path): raw_zip(path, [(f'{c}/1.png', b'x'*20, dict(size=8, flags=1, method=0)) for c in 'ab'])


def zip_other_method(path): raw_zip(path, [(f'{c}/1.png', b'x'*20, dict(size=8, method=96)) for c in 'ab']) # a JPEG, coded again


def zip_bz2(path): # zipfile unpacks all of its two gigabytes from the first two kilobytes
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_BZIP2) as archive, archive.open('a/1.png', 'w', force_zip64=True) as file:
        for _ in range(64): file.write(ZEROS)


def zip_deep(path): # a name of 60 kB with a list beside it
    with zipfile.ZipFile(path, 'w') as archive:
        for c in 'xy': archive.writestr('a/' * 30_000 + f'{c}.png', b'x')
        archive.writestr('list.csv', 'file,label\nx.png,a\ny.png,b\n')


def zip_list(path): # a list of a million columns and a million rows
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('list.csv', 'a,' * 500_000 + 'b\n' + 'c,d\n' * 500_000)
        archive.writestr('1.png', b'x')


def tar_start(name='a/1.png', size=2**36, kind=b'0'):
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member.tobuf(tarfile.GNU_FORMAT)


def tar_gz(path): path.write_bytes(gzip.compress(tar_start()) + gzip.compress(ZEROS) * 128) # 4 MB → 4 GB
def tar_bz2(path): path.write_bytes(bz2.compress(tar_start()) + bz2.compress(ZEROS) * 128)
def tar_xz(path): path.write_bytes(lzma.compress(tar_start()) + lzma.compress(ZEROS, preset=0) * 128)
def tar_name(path): path.write_bytes(gzip.compress(tar_start('PaxHeader', 2**33, b'x')) + gzip.compress(ZEROS) * 128)


def tar_digits(path): # `tarfile` looks at each start of a number of 300,000 digits: a quarter of an hour
    path.write_bytes(tar_start('PaxHeader', 300_032, b'x') + b'1' * 300_032 + tar_start('a/1.png', 0))


def tar_sparse(path): # four gigabytes of nothing
    head = bytearray(tar_start('a/1.png', 0, b'S'))
    head[386:386 + 24] = b'%011o\0%011o\0' % (2**32, 0)
    head[483:495] = b'%011o\0' % 2**32
    head[148:156] = b' ' * 8
    head[148:156] = b'%06o\0 ' % sum(head)
    path.write_bytes(bytes(head) + bytes(1024))


def tar_links(path): # one picture of a megabyte, said 5,000 times
    with tarfile.open(path, 'w:gz') as archive:
        member = tarfile.TarInfo('a/1.png')
        member.size = 2**20
        archive.addfile(member, io.BytesIO(bytes(2**20)))
        for i in range(5000):
            link = tarfile.TarInfo(f'b/{i}.png')
            link.type, link.linkname = tarfile.LNKTYPE, 'a/1.png'
            archive.addfile(link)


def tar_devices(path):
    with tarfile.open(path, 'w') as archive:
        for i, kind in enumerate((tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE)):
            device = tarfile.TarInfo(f'{"ab"[i % 2]}/{i}.png')
            device.type, device.devmajor, device.devminor = kind, 1, 5
            archive.addfile(device)


def write_parquet(path, rows, metadata=None, times=1, **options):
    table = pa.table(rows)
    if metadata: table = table.replace_schema_metadata(dict(huggingface=json.dumps(metadata)))
    with pq.ParquetWriter(path, table.schema, store_schema=bool(metadata), **options) as writer:
        for _ in range(times): writer.write_table(table)


def said_again(value, number): return pa.DictionaryArray.from_arrays(pa.array(np.zeros(number, np.int32)), pa.array([value]))


def parquet_rows(path): # 30 million rows
    write_parquet(path, dict(image=said_again(b'x', 10**6), label=said_again('a', 10**6)), times=30)


def parquet_dictionary(path): # 32 MB, said 2,000 times
    write_parquet(path, dict(image=said_again(ZEROS, 2000), label=said_again('a', 2000)), compression='zstd', dictionary_pagesize_limit=2**30)


def parquet_page(path): # one value of a quarter of a gigabyte
    ends, content = np.array([0, 2**28], np.int64), np.zeros(2**28, np.uint8)
    values = pa.LargeBinaryArray.from_buffers(pa.large_binary(), 1, [None, pa.py_buffer(ends), pa.py_buffer(content)])
    write_parquet(path, dict(image=values, label=['a']), compression='zstd', use_dictionary=False, write_statistics=False)


def parquet_lists(path): # a list of 30 million labels
    lists = pa.ListArray.from_arrays(pa.array([0, 30_000_000], pa.int32()), pa.array(np.zeros(30_000_000, np.int8)))
    write_parquet(path, dict(image=[b'x'], label=lists))


def parquet_unread(path): # a column that nobody asked for
    write_parquet(path, dict(image=[picture()]*2, label=['a', 'b'], more=[ZEROS]*2), times=24, compression='zstd', write_statistics=False)


def parquet_wide(path): # no label at all, of half a gigabyte each
    write_parquet(path, dict(image=[b'x']*3, label=pa.nulls(3, pa.binary(2**29))))


BOMBS = {f'{make.__name__}{suffix}': make for suffix, makers in {
    '.zip': (zip_bomb, zip_overlapping, zip_lying, zip_locked, zip_other_method, zip_bz2, zip_deep, zip_list),
    '.tar': (tar_gz, tar_bz2, tar_xz, tar_name, tar_digits, tar_sparse, tar_links, tar_devices),
    '.parquet': (parquet_rows, parquet_dictionary, parquet_page, parquet_lists, parquet_wide)}.items() for make in makers}


def picture(colour=(9, 9, 9)):
    from PIL import Image
    buffer = io.BytesIO()
    Image.new('RGB', (32, 32), colour).save(buffer, 'PNG')
    return buffer.getvalue()


def zip_million(path, number=10**6): # names and nothing else
    body, listed = bytearray(), bytearray()
    for i in range(number):
        name, at = b'%c/%d.png' % (b'ab'[i % 2], i), len(body)
        facts = (20, 0, 0, 0, 33, 0, 0, 0, len(name), 0)
        body += struct.pack('<4s5H3L2H', b'PK\3\4', *facts) + name
        listed += struct.pack('<4s6H3L5H2L', b'PK\1\2', 20, *facts, 0, 0, 0, 0, at) + name
    end = struct.pack('<4sQ2H2L4Q', b'PK\6\6', 44, 45, 45, 0, 0, number, number, len(listed), len(body))
    end += struct.pack('<4sLQL', b'PK\6\7', 0, len(body) + len(listed), 1) + struct.pack('<4s4H2LH', b'PK\5\6', 0, 0, 0xffff, 0xffff, 0xffffffff, 0xffffffff, 0)
    path.write_bytes(bytes(body + listed + end))
