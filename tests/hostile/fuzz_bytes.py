"""Mutations of what comes from strangers: archives, lists and tables through `image_table` and `fastcnn info`, and the replies of search services

    python fuzz_bytes.py WHAT FROM TO FOLDER    mutations FROM to TO in this process; what is not right is printed, a line of JSON each
"""
import io, json, os, random, resource, struct, sys, tarfile, time, warnings, zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from bombs import picture

REPLIES = Path(__file__).parent.parent/'replies'
NUMBERS = [0, 1, -1, 2**31 - 1, -2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1, 255, 65535]
TEXTS = ['', '\0', '../../x', '/etc/passwd', 'C:\\x', '\u202e', '\ud800', 'nan', 'inf', '1e999', '"', 'a'*5000, '\n', '=1+1', '{', 'http://[', '=', ',', ';']
VALUES = [None, True, -1, 2**70, float('nan'), float('inf'), [], {}, [[]], 'x', '', '\ud800', '9'*400, {'bytes': 'x'}, ['a']*3, 1e308]


def small_zip(rng):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w', rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as archive:
        for i in range(4): archive.writestr(f'{"ab"[i % 2]}/{i}.png', picture((i, 0, 0)))
        archive.writestr('list.csv', 'file,label\n' + ''.join(f'{i}.png,{"ab"[i % 2]}\n' for i in range(4)))
    return buffer.getvalue()


def small_tar(rng):
    buffer = io.BytesIO()
    kind = rng.choice([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
    with tarfile.open(fileobj=buffer, mode='w:' + rng.choice(['', '', '', 'gz', 'bz2', 'xz']), format=kind) as archive:
        for i in range(4):
            member = tarfile.TarInfo(f'{"ab"[i % 2]}/{"long "*rng.choice([0, 0, 15]).__int__()}{i}.png')
            data = picture((i, 0, 0))
            member.size, member.pax_headers = len(data), {'comment': 'é'} if kind == tarfile.PAX_FORMAT else {}
            archive.addfile(member, io.BytesIO(data))
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            link = tarfile.TarInfo(f'a/{kind[0]}.png')
            link.type, link.linkname = kind, rng.choice(['a/0.png', '0.png', '../b/1.png', 'a/49.png', '/etc/passwd', '../../x'])
            archive.addfile(link)
    return buffer.getvalue()


def small_parquet(rng):
    cells = [picture((i, 0, 0)) for i in range(6)]
    image = rng.choice([cells, [dict(bytes=c, path='x') for c in cells], pa.array(cells).dictionary_encode()])
    label = rng.choice([['a', 'b']*3, [0, 1]*3, [0.5, 1]*3, [True, False]*3, [['a']]*6])
    about = dict(info=dict(features=dict(image=dict(_type='Image'), label=dict(_type='ClassLabel', names=['a', 'b'])))) if rng.random() < .4 else {}
    if rng.random() < .3: about = mutated_value(rng, about)
    table = pa.table(dict(image=image, label=label, split=['train', 'test']*3)).replace_schema_metadata(dict(huggingface=json.dumps(about)))
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression=rng.choice(['none', 'snappy', 'zstd', 'gzip']), use_dictionary=rng.random() < .7,
                   data_page_version=rng.choice(['1.0', '2.0']), store_schema=rng.random() < .5)
    return buffer.getvalue()


def small_csv(rng):
    separator, quote = rng.choice(',;\t|'), rng.choice(['', '"'])
    rows = [['file', 'label', 'split'], *([f'{i}.png', 'ab'[i % 2], 'train'] for i in range(6))]
    for _ in range(rng.randrange(3)): rng.choice(rows)[rng.randrange(3)] = rng.choice(TEXTS)
    text = '\n'.join(separator.join(f'{quote}{cell}{quote}' for cell in row) for row in rows)
    return text.encode(rng.choice(['utf-8', 'utf-16', 'utf-8-sig', 'utf-32']), errors='replace')


def mutated_value(rng, value):
    "One of the values in a piece of JSON becomes another"
    if isinstance(value, dict) and value and rng.random() < .85:
        key = rng.choice(list(value))
        return value | {key: mutated_value(rng, value[key])}
    if isinstance(value, list) and value and rng.random() < .85:
        at = rng.randrange(len(value))
        return [*value[:at], mutated_value(rng, value[at]), *value[at + 1:]]
    return rng.choice(VALUES)


def mutated(rng, data):
    "Bytes flipped, cut, put in, swapped, repeated; numbers as large as they go"
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 5, 20])):
        at, n = rng.randrange(len(data) + 1), rng.choice([1, 2, 4, 8, 64, 512])
        what = rng.randrange(7)
        if what == 0 and at < len(data): data[at] ^= 1 << rng.randrange(8)
        elif what == 1: del data[at:at + n]
        elif what == 2: data[at:at] = rng.randbytes(n)
        elif what == 3: data[at:at + n], = [rng.choice([b'\xff', b'\0', b'\x7f', b'9', b'"', b'\n'])*n]
        elif what == 4: data[at:at + 4] = struct.pack(rng.choice('<>') + 'I', rng.choice(NUMBERS) & 0xffffffff)
        elif what == 5: data[at:at] = data[max(0, at - n):at]*rng.choice([1, 1, 50])
        elif rng.random() < .3: data = data[:at]
    return bytes(data)


def misled_zip(rng, data):
    "A zip with other numbers in its list, or at its end"
    data = bytearray(data)
    places = [at for mark in (b'PK\1\2', b'PK\5\6', b'PK\3\4') for at in range(len(data)) if data[at:at + 4] == mark]
    for _ in range(rng.choice([1, 1, 3])):
        at = rng.choice(places) + rng.choice([4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 38, 42])
        data[at:at + 4] = struct.pack(rng.choice('<>') + 'I', (rng.choice(NUMBERS) + rng.randrange(-2, 3)) & 0xffffffff)
    return bytes(data)


def mended_tar(rng, data):
    "A head of a plain tar with another size, kind or name, under a right checksum"
    data = bytearray(data)
    heads = [at for at in range(0, len(data) - 511, 512) if data[at + 257:at + 262] == b'ustar']
    if not heads: return bytes(data)
    at, (start, end) = rng.choice(heads), rng.choice([(124, 136), (156, 157), (0, 100), (345, 500), (157, 257)])
    data[at + start:at + end] = rng.choice([rng.randbytes(end - start), rng.choice(b'0123456789SxgLK').to_bytes(1, 'big')*(end - start)])
    data[at + 148:at + 156] = b' ' * 8
    data[at + 148:at + 156] = b'%06o\0 ' % sum(data[at:at + 512])
    return bytes(data)


MAKERS = dict(zip=small_zip, tar=small_tar, parquet=small_parquet, csv=small_csv)


def fuzz_archive(what, seed, folder):
    "One mutated file through `image_table` and `info`; a word where it ends as it should"
    from fastcnn.core import InputError
    from fastcnn.pipeline import collection_facts
    rng = random.Random(f'{what} {seed}')
    data = MAKERS[what](rng)
    data = dict(tar=mended_tar, zip=misled_zip).get(what, mutated)(rng, data) if rng.random() < .5 else mutated(rng, data)
    path = folder/f'a.{what}'
    path.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        try: json.dumps(collection_facts(path)).encode()
        except InputError as error: assert str(error) and '\n' not in str(error), repr(str(error))


def replies(rng):
    "A service and the replies of one search, one of them mutated"
    service = rng.choice(['openverse', 'commons', 'nasa', 'duckduckgo', 'bing'])
    names = dict(duckduckgo=['duckduckgo.html', 'duckduckgo.json'], bing=['bing.html']).get(service, [f'{service}.json'])
    found = [(REPLIES/name).read_bytes() for name in names]
    at = rng.randrange(len(found))
    is_json = names[at].endswith('json') and rng.random() < .6
    value = json.loads(found[at]) if is_json else None
    for _ in range(rng.choice([1, 1, 3])): value = mutated_value(rng, value)
    found[at] = json.dumps(value).encode(errors='replace') if is_json else mutated(rng, found[at])
    kinds = ['application/json' if name.endswith('json') else 'text/html; charset=utf-8' for name in names]
    head = dict(rng.choice([(), (), (('Retry-After', rng.choice(TEXTS).encode('latin-1', 'replace').decode('latin-1').replace('\n', '').replace('\0', '')),)]))
    status = rng.choice([200]*12 + [202, 301, 400, 401, 403, 404, 418, 429, 500, 503])
    return service, [(status if i == at else 200, head | {'Content-Type': kind}, body) for i, (kind, body) in enumerate(zip(kinds, found))]


def fuzz_reply(what, seed, folder):
    "One search whose service answers strangely"
    import requests
    from fastcnn.core import ImageResult
    from fastcnn.search import SearchError, search_images
    rng = random.Random(f'reply {seed}')
    service, waiting = replies(rng)
    def send(self, request, **options):
        reply = requests.Response()
        reply.status_code, headers, reply._content = waiting.pop(0) if waiting else (404, {}, b'')
        reply.headers.update(headers)
        reply.encoding = requests.utils.get_encoding_from_headers(reply.headers)
        reply.url, reply.request, reply._content_consumed = request.url, request, True
        return reply
    requests.adapters.HTTPAdapter.send, time.sleep = send, lambda seconds: None
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        try: found = search_images('mars', 30, provider=service, base_url='http://127.0.0.1:9')
        except SearchError as error: assert str(error) and '\n' not in str(error), repr(str(error))
        else: assert all(isinstance(result, ImageResult) and result.url.startswith(('http://', 'https://')) for result in found)


FUZZ = dict.fromkeys(MAKERS, fuzz_archive) | dict(reply=fuzz_reply)


def main(what, first, last, folder):
    resource.setrlimit(resource.RLIMIT_AS, (5 * 2**30,) * 2)
    os.environ.update(TQDM_DISABLE='1', FASTCNN_CACHE=folder, FASTCNN_PROVIDER='')
    for seed in range(int(first), int(last)):
        start, trouble = time.monotonic(), ''
        try: FUZZ[what](what, seed, Path(folder))
        except Exception as error: # whatever comes through is what we look for
            at = error.__traceback__
            while at.tb_next: at = at.tb_next
            trouble = f'{type(error).__name__}: {error}'[:200] + f' ({at.tb_frame.f_code.co_filename}:{at.tb_lineno})'
        seconds = time.monotonic() - start
        if trouble or seconds > 30: print(json.dumps(dict(what=what, seed=seed, trouble=trouble, seconds=seconds)), flush=True)
    print(json.dumps(dict(done=int(last), mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)), flush=True)


if __name__ == '__main__': main(*sys.argv[1:])
