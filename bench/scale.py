"""Cost against size: images a second and peak memory of `image_dataloaders`, from 1,000 to 100,000 photographs, from 128 to 460 pixels.

    python bench/scale.py [--images 1000 10000 100000] [--sizes 128 224 460]     writes bench/results/scale.json

A point takes the place of the one that stood there before; the others stay, each with its date. Some 10 GB of files are written, and up to 20 GB of cache.

The files are the 200 web photographs at a shorter side of 500 pixels, each copy with a tail of its own, so that no
content is the same twice. Each point is a process of its own with an empty cache: `first` begins when the DataLoaders
are made, `later` is the epoch after it. Memory is what the process holds for itself (RssAnon, sampled every 20th of a
second), above what it held after its imports; pages of the cache's memory-mapped file are the system's to take back and
are told apart (RssFile).
"""
import argparse, io, json, shutil, sys, tempfile, threading, time, zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent/'tools'))
from machine import machine, own_process
from realdata import need


def small_photographs(shorter, quality, resample=None):
    "The web photographs as JPEG files of another size"
    from PIL import Image
    small = []
    with zipfile.ZipFile(need('photos.zip')) as archive:
        for name in archive.namelist():
            if not name.endswith('.jpg'): continue
            image, out = Image.open(archive.open(name)).convert('RGB'), io.BytesIO()
            scale = shorter/min(image.size)
            image.resize([round(scale*side) for side in image.size], resample).save(out, 'JPEG', quality=quality)
            small.append(out.getvalue())
    return small


def photographs(folder, number):
    "Copies with tails; decoders stop in front of them"
    small = small_photographs(500, 90)
    for i in range(number):
        file = folder/f'{i % 2}'/f'{i//1000}'/f'{i}.jpg'
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(small[i % len(small)] + i.to_bytes(4, 'big'))


def held():
    "Megabytes of this process: its own, and pages of files"
    lines = dict(line.split(':', 1) for line in Path('/proc/self/status').read_text().splitlines())
    return [int(lines[key].split()[0])/1024 for key in ('RssAnon', 'RssFile')]


def job(root, number, size):
    "One point"
    import pandas as pd
    from fastcnn.data import PixelCache, image_dataloaders
    files = sorted(Path(root).glob('*/*/*.jpg'), key=lambda f: int(f.stem))[:number]
    before, peak, done = held()[0], [0, 0], threading.Event()
    def watch():
        while not done.wait(.05): peak[:] = map(max, peak, held())
    threading.Thread(target=watch, daemon=True).start()
    start, seconds = time.perf_counter(), []
    table = pd.DataFrame(dict(name=[f.name for f in files], image=files, label=[f.parts[-3] for f in files]))
    dls = image_dataloaders(table, size=size)
    for _ in range(2):
        images = sum(len(x) for dl in dls for x, _ in dl)
        seconds.append(time.perf_counter() - start)
        start = time.perf_counter()
    done.set()
    return dict(images=number, size=size, first=round(images/seconds[0], 1), later=round(images/seconds[1], 1),
                seconds=[round(s, 1) for s in seconds], own_mb=round(peak[0] - before), file_mb=round(peak[1]),
                cache_mb=round(PixelCache(size).bytes/1e6))


def main(args):
    from fastcnn.core import atomic_write, utc_now
    known = {(p['images'], p['size']): p for p in json.loads(args.out.read_text())['points']} if args.out.exists() else {}
    with tempfile.TemporaryDirectory() as tmp:
        photographs(Path(tmp)/'images', max(args.images))
        for size in args.sizes:
            for number in sorted(args.images):
                known[number, size] = own_process(__file__, f'{tmp}/pixels', f'{tmp}/images', number, size) | dict(date=utc_now())
                shutil.rmtree(f'{tmp}/pixels')
                print(known[number, size], file=sys.stderr, flush=True)
                about = machine('fastcnn', 'torch', 'opencv-python-headless', 'lmdb')
                points = dict(points=[known[at] for at in sorted(known)])
                atomic_write(args.out, json.dumps(about | points, indent=1) + '\n')


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--images', type=int, nargs='+', default=[1_000, 10_000, 100_000])
    parser.add_argument('--sizes', type=int, nargs='+', default=[128, 224, 460])
    parser.add_argument('--out', type=Path, default=HERE/'results'/'scale.json')
    parser.add_argument('--job', help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.job: print(json.dumps(job(*json.loads(args.job))))
    else: main(args)
