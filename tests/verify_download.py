"A download of 600 files is killed at a random moment: nothing is lost, nothing is fetched twice, nothing half is left"
import json, random, signal, subprocess, sys, time
from contextlib import ExitStack

import pytest
from PIL import Image

from fastcnn.core import ImageResult, sidecar
from fastcnn.download import fetch_images
from fastcnn.images import files_on_disk
from faults import FaultServer, check_whole

HOSTS = [f'127.0.0.{i}' for i in range(1, 5)]
ADDRESSES = 600
COUNTS = {'kept': 540, 'failed:http_404': 30, 'duplicate': 30}
PROGRAM = '''
import json, sys
from fastcnn.core import ImageResult
from fastcnn.download import fetch_images
urls, root, hosts = json.load(sys.stdin)
fetch_images([ImageResult(url, label='x') for url in urls], root, allow_hosts=hosts)
'''


def addresses(servers):
    "Of twenty one is missing, one is a copy of the one before it, and one must be turned into JPEG"
    path = {7: 'missing/{0}', 11: 'good/{1}?copy', 13: 'webp/{0}'}
    return [f'{servers[i // 20 % len(servers)].url}/' + path.get(i % 20, 'good/{0}').format(i, i - 1) for i in range(ADDRESSES)]


def start(urls, root):
    "The same download in a process of its own"
    process = subprocess.Popen([sys.executable, '-c', PROGRAM], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    json.dump([urls, str(root), HOSTS], process.stdin)
    process.stdin.close()
    return process


def asked(servers):
    "How often each address was asked for"
    return {server.url + path: count for server in servers for path, count in server.asked.items()}


def kill_after(process, servers, requests, seconds):
    "Kill it when so many addresses were asked for, and so many seconds later"
    deadline = time.monotonic() + 30
    while sum(sum(server.asked.values()) for server in servers) < requests:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.002)
    time.sleep(seconds)
    process.kill()
    return process.wait()


def rows_of(root):
    "The rows that a killed run has left, read without the library; the last line may be torn"
    path = sidecar(root) / 'manifest.jsonl'
    lines = path.read_bytes().split(b'\n')[:-1] if path.exists() else []
    return [json.loads(line) for line in lines]


def killed_then_finished(root, seed):
    "Kill a run at a random moment, check what it left, finish it, check that; how many images the first run had kept"
    rng = random.Random(seed)
    with ExitStack() as stack:
        servers = [stack.enter_context(FaultServer(host)) for host in HOSTS]
        urls = addresses(servers)
        status = kill_after(start(urls, root), servers, rng.randrange(1, ADDRESSES - 20), rng.uniform(0, 0.03))
        assert status == -signal.SIGKILL
        lying, before = set(files_on_disk(root)), asked(servers)
        for file in lying: Image.open(root / file).load()
        kept = {row['url'] for row in rows_of(root) if row.get('file') in lying}
        assert len(kept) == len(lying) # each file that lies there has its row
        manifest = fetch_images([ImageResult(url, label='x') for url in urls], root, allow_hosts=HOSTS)
        again = {url for url, count in asked(servers).items() if count > before.get(url, 0)}
    assert not again & kept and len(again) <= ADDRESSES - len(kept)
    assert manifest.counts() == COUNTS and lying <= set(files_on_disk(root))
    check_whole(root)
    assert len({(root / file).read_bytes() for file in files_on_disk(root)}) == COUNTS['kept']
    return len(kept)


@pytest.mark.verify
@pytest.mark.parametrize('seed', range(20))
def test_killed_at_a_random_moment(tmp_path, seed): killed_then_finished(tmp_path / 'planets', seed)
