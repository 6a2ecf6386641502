"""fastcnn's downloader beside five others: the same 600 files from the same server in one run, in random order, repeated.

    python bench/download.py [--repeats 5]     writes bench/results/download.json

The files come from photos.zip of FASTCNN_DATA, or what stands for it (tools/realdata.py): three cuts of each photograph. Ratios are taken within
a round, so that a busy moment of the machine weighs on both sides.
"""
import argparse, io, json, random, statistics, subprocess, sys, tempfile, urllib.request, zipfile
from pathlib import Path

from fetchers import TOOLS
from server import HOSTS

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent/'tools'))
from machine import machine, spread
from realdata import need, peers

ELSEWHERE = ('icrawler', 'img2dataset', 'img2dataset_raw') # in the peers' environment


def make_files(folder):
    "Three cuts of each of 200 photographs, each another file; (files, bytes, median bytes)"
    from PIL import Image, ImageOps
    with zipfile.ZipFile(need('photos.zip')) as photos:
        for name in (name for name in photos.namelist() if name.lower().endswith(('.jpg', '.jpeg', '.png'))):
            image = ImageOps.exif_transpose(Image.open(io.BytesIO(photos.read(name)))).convert('RGB')
            for cut in range(3): image.crop((cut, cut, image.width, image.height)).save(folder/f'{len(list(folder.iterdir()))}.jpg', quality=96)
    sizes = [file.stat().st_size for file in folder.iterdir()]
    return dict(files=len(sizes), megabytes=round(sum(sizes)/1e6, 1), median_kilobytes=round(statistics.median(sizes)/1e3))


def whole(folder):
    "How many files of a folder decode to the end"
    from PIL import Image
    def opens(file):
        try: Image.open(file).load()
        except OSError: return False
        return True
    return sum(opens(file) for file in folder.rglob('*') if file.suffix == '.jpg')


def run(tool, urls, stats):
    "One run of one tool in a process of its own: seconds, whole files, most connections that a host saw"
    with tempfile.TemporaryDirectory() as tmp:
        listed, folder = Path(tmp)/'urls', Path(tmp)/'files'
        folder.mkdir()
        listed.write_text('\n'.join(urls))
        urllib.request.urlopen(stats).read()
        python = peers() if tool in ELSEWHERE else sys.executable
        done = subprocess.run([python, HERE/'fetchers.py', tool, listed, folder], capture_output=True, text=True, cwd=tmp)
        if done.returncode: sys.exit(f'bench: {tool} failed:\n{done.stderr[-2000:]}')
        most = json.load(urllib.request.urlopen(stats))
        return dict(seconds=float(done.stdout.split()[-1]), whole=whole(folder), connections=most)


def summary(rounds):
    "By tool: seconds, how many times fastcnn's, whole files, connections"
    return {tool: dict(seconds=spread([r[tool]['seconds'] for r in rounds]), times_fastcnn=spread([r[tool]['seconds']/r['fastcnn']['seconds'] for r in rounds]),
                       whole=min(r[tool]['whole'] for r in rounds), connections=max(r[tool]['connections'] for r in rounds)) for tool in rounds[0]}


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--tools', nargs='+', default=[tool.__name__ for tool in TOOLS], help='only these; nothing is kept then')
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as tmp:
        data = make_files(Path(tmp))
        server = subprocess.Popen([sys.executable, HERE/'server.py', tmp], stdout=subprocess.PIPE, text=True)
        try:
            port, rounds = int(server.stdout.readline()), []
            urls = [f'http://{HOSTS[i % len(HOSTS)]}:{port}/{i}.jpg' for i in range(data['files'])]
            for number in range(args.repeats):
                rounds.append({tool: run(tool, urls, f'http://127.0.0.1:{port}/stats') for tool in random.sample(args.tools, len(args.tools))})
                print(f'round {number + 1}:', {tool: round(found['seconds'], 2) for tool, found in rounds[-1].items()}, file=sys.stderr, flush=True)
        finally: server.kill()
    found = dict(about=machine('fastcnn', 'aiohttp', 'fastai', 'pillow'), data=data | dict(hosts=len(HOSTS), latency_ms=50),
                 repeats=args.repeats, tools=summary(rounds))
    print(json.dumps(found, indent=1))
    if len(args.tools) == len(TOOLS): (HERE/'results'/'download.json').write_text(json.dumps(found, indent=1) + '\n')
