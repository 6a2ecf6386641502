"""What each step costs against the number of images, and the law that it follows: what a million images would take.

    python bench/beyond.py [STEP …]     writes bench/results/beyond.json

Each point is a process of its own: seconds by the clock, seconds of processor time, all threads together, and memory that the process holds for itself
above what it held after its imports (RssAnon, sampled every 20th of a second). A step that is named is measured anew; the others stay, each with its date. The files are the web photographs at a
shorter side of 128 pixels, each copy with a tail of its own, so that no content is the same twice. They say nothing about finding copies, which come
from drawn thumbnails (`copies`: every hundredth is a copy of the one before). `hashes` compares 800 hashes, in blocks as `find_duplicates` does it, with
all that come after, and counts how many such parts there are. Rows of a manifest have some 700 bytes; up to a million are added through `append`, 100 at
a time; ten million are copies of that log's bytes under other addresses, and are only loaded. The law is processor seconds = a·images^exponent, by
least squares on the logarithms: others may use the machine at the same time, and the clock counts them too.
"""
import argparse, hashlib, io, json, shutil, sys, tempfile, threading, time, zipfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent/'tools'))
from machine import machine, own_process, photo_archive
from scale import held

OUT = HERE/'results'/'beyond.json'
STEPS = {
    'reading': [1_000, 10_000, 100_000], 'copies': [1_000, 10_000, 30_000, 100_000], 'hashes': [100_000, 1_000_000, 10_000_000],
    'append': [10_000, 100_000, 1_000_000], 'load': [10_000, 100_000, 1_000_000, 10_000_000], 'features': [500, 1_000, 2_000],
    'prediction': [1_000, 10_000, 100_000]}
ON_FILES, ROWS = ('reading', 'features', 'prediction'), 1_000_000 # rows that are written through `append`


def photographs(folder, number):
    "Copies with tails, two classes; bytes of a file on average"
    from PIL import Image
    small = []
    with zipfile.ZipFile(photo_archive()) as archive:
        for name in archive.namelist():
            if not name.endswith('.jpg'): continue
            image, out = Image.open(archive.open(name)).convert('RGB'), io.BytesIO()
            scale = 128/min(image.size)
            image.resize([round(scale*side) for side in image.size], Image.LANCZOS).save(out, 'JPEG', quality=95)
            small.append(out.getvalue())
    for label in 'ab': (folder/label).mkdir(parents=True, exist_ok=True)
    for i in range(number): (folder/'ab'[i % 2]/f'{i:06}.jpg').write_bytes(small[i % len(small)] + i.to_bytes(4, 'big'))
    return round(sum(map(len, small))/len(small)) + 4


def files_of(folder, number): return [folder/'ab'[i % 2]/f'{i:06}.jpg' for i in range(number)]


def small_model(folder):
    "An untrained network of 64 pixels, exported"
    from fastcnn.data import image_dataloaders
    from fastcnn.deploy import export_model
    from fastcnn.models import build_model
    from fastcnn.planets import planet_collection
    from fastcnn.training import scratch_learner
    planet_collection(folder/'planets', n=40, seed=42, nuisances=0, duplicates=0, broken=0)
    dls = image_dataloaders(folder/'planets', 64, 64, valid_pct=.2, num_workers=0)
    export_model(scratch_learner(dls, build_model('conv_stack', n_classes=4, size=64)), folder/'model')
    return {}


def drawn_facts(number):
    "What one reading would tell of pictures of 16 × 16 random squares; every hundredth is the one before, a little noisy"
    from fastcnn.duplicates import ImageFacts
    rng, facts = np.random.default_rng(0), []
    for i in range(number):
        is_copy = i % 100 == 99
        if not is_copy: clear = rng.integers(0, 256, (16, 16), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
        thumb = np.clip(clear + rng.normal(0, 2, (64, 64)), 0, 255).astype(np.uint8) if is_copy else clear
        colour = thumb[::2, ::2, None].repeat(3, 2)
        facts.append(ImageFacts(f'a/{i}.jpg', '', 'JPEG', 640, 480 + i % 2, 5000, 255, 255, thumb, colour, 20))
    return facts


def row(i):
    "As a download leaves it"
    digest, label = hashlib.sha256(b'%d' % i).hexdigest(), ['earth', 'mars', 'jupiter', 'saturn'][i % 4]
    return dict(url=f'https://live.staticflickr.com/{i % 65535:05}/{i:08}_{digest[:10]}_b.jpg', label=label, status='kept', provider='openverse',
                landing_url=f'https://www.flickr.com/photos/{digest[:9]}/{i}', query='planet', license='by 4.0', creator=f'Maker {i % 5000}',
                title=f'A picture of the planet, number {i}, seen at night', width=1024, height=768, source_sha256=digest, sha256=digest, attempts=1,
                license_url='https://creativecommons.org/licenses/by/4.0/', retrieved_at='2026-11-21T08:30:00Z', bytes=123456, seconds=0.213,
                phash=digest[:16], group=digest[:8], file=f'{label}/{digest[:12]}.jpg')


def write_log(root, number):
    "The log of `number` rows under `root`, from that of `ROWS` where there are more"
    from fastcnn.core import Manifest, SidecarFile, sidecar
    log, whole = Manifest(root).path, root.parent/f'append-{min(number, ROWS)}'
    source = sidecar(whole)/SidecarFile.MANIFEST
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, 'wb') as out:
        for turn in range(-(-number//ROWS)):
            with open(source, 'rb') as lines:
                while part := lines.read(1 << 24): out.write(part if not turn else part.replace(b'staticflickr.com/', b'staticflickr.com/%d/' % turn))


# ---- one point each: what is done before the clock starts, then what is measured ----

def reading(folder, number):
    from fastcnn.duplicates import read_images
    import pandas as pd
    table = pd.DataFrame(dict(name=[f'{f.parent.name}/{f.name}' for f in files_of(folder, number)], image=files_of(folder, number)))
    table['label'] = table.name.str[0]
    return lambda: dict(problems=sum(bool(f.problem) for f in read_images(table)))


def copies(folder, number):
    from fastcnn.duplicates import find_duplicates
    import pandas as pd
    import scipy.sparse.csgraph
    facts = drawn_facts(number)
    return lambda: dict(copies=int((find_duplicates(folder, facts).copy_of != '').sum()))


def hashes(folder, number, part=800, rows=8):
    every = np.random.default_rng(0).integers(0, 2**64, number, dtype=np.uint64)
    def compare():
        for start in range(0, part, rows): np.flatnonzero(np.bitwise_count(every[start:start + rows, None] ^ every[None, start:]) <= 20)
        return dict(parts=number/part/2) # the later a hash, the fewer come after it
    return compare


def append(folder, number):
    from fastcnn.core import Manifest
    manifest = Manifest(folder/f'append-{number}')
    def add():
        for start in range(0, number, 100): manifest.append(*map(row, range(start, start + 100)))
        return dict(bytes=manifest.path.stat().st_size)
    return add


def load(folder, number):
    from fastcnn.core import Manifest
    root = folder/f'load-{number}'
    write_log(root, number)
    def read():
        manifest = Manifest(root)
        assert len(manifest) == number
        size = manifest.path.stat().st_size
        manifest.path.unlink()
        return dict(bytes=size)
    return read


def features(folder, number):
    from fastcnn.data import image_dataloaders
    from fastcnn.tables import image_table
    from fastcnn.transfer import image_features, transfer_learner
    import pandas as pd
    files = files_of(folder, number)
    table = image_table(pd.DataFrame(dict(name=[f.name for f in files], image=files, label=[f.parent.name for f in files])))
    learn = transfer_learner(image_dataloaders(table[:64], 96, augment=False))
    image_features(learn, learn.dls.valid.items)
    return lambda: dict(bytes=image_features(learn, table).nbytes)


def prediction(folder, number):
    from fastcnn.exported import open_exported, predict_each
    model, files = open_exported(folder/'model'), files_of(folder, number)
    return lambda: dict(answers=sum(1 for _ in predict_each(model, files)))


def job(step, folder, number=None):
    "One point"
    if step == 'photographs': return dict(bytes=photographs(Path(folder), number))
    if step == 'small_model': return small_model(Path(folder))
    run = globals()[step](Path(folder), number)
    before, peak, done = held()[0], [0], threading.Event()
    def watch():
        while not done.wait(.05): peak[0] = max(peak[0], held()[0])
    threading.Thread(target=watch, daemon=True).start()
    clocks = time.perf_counter, time.process_time
    start = [clock() for clock in clocks]
    told = run()
    parts = told.pop('parts', 1)
    seconds, processor = [round((clock() - then)*parts, 3) for clock, then in zip(clocks, start)]
    done.set()
    peak[0] = max(peak[0], held()[0])
    return dict(images=number, seconds=seconds, processor=processor, own_mb=round(peak[0] - before), **told)


def law(points):
    "a and exponent of seconds of processor time = a·images^exponent"
    exponent, log_a = np.polyfit(*np.log([[p[key] for p in points] for key in ('images', 'processor')]), 1)
    return dict(a=float(np.exp(log_a)), exponent=round(float(exponent), 3))


def worker(folder, part):
    "What a worker of a cluster pays before its first answer: seconds with all imports, and megabytes then"
    start = time.perf_counter()
    if part == 'prediction':
        from fastcnn.exported import open_exported, predict_each
        ready = time.perf_counter()
        list(predict_each(open_exported(Path(folder)/'model'), files_of(Path(folder), 1)))
    else:
        import pandas as pd
        from fastcnn.data import image_dataloaders
        from fastcnn.transfer import image_features, transfer_learner
        ready = time.perf_counter()
        files = files_of(Path(folder), 8)
        learn = transfer_learner(image_dataloaders(pd.DataFrame(dict(image=files, label=list('ab'*4))), 96, augment=False))
        image_features(learn, pd.DataFrame(dict(image=files[:1])))
    return dict(imports=round(ready - start, 2), opening=round(time.perf_counter() - ready, 2), own_mb=round(held()[0]))


def main(steps):
    from fastcnn.core import atomic_write, utc_now
    found = json.loads(OUT.read_text()) if OUT.exists() else dict(steps={})
    with tempfile.TemporaryDirectory() as tmp:
        at = lambda *job: own_process(__file__, f'{tmp}/pixels', *job)
        most = max([max(STEPS[step]) for step in steps if step in ON_FILES] + [64])
        found['file_bytes'] = at('photographs', tmp, most)['bytes']
        at('small_model', tmp)
        for step in sorted(steps, key=lambda step: step in ON_FILES):
            points = []
            for number in STEPS[step]:
                points.append(at(step, tmp, number) | dict(date=utc_now()))
                if step in ON_FILES: shutil.rmtree(f'{tmp}/pixels', ignore_errors=True)
                print(step, points[-1], file=sys.stderr, flush=True)
            found['steps'][step] = law(points) | dict(points=points)
        found['workers'] = {part: at('worker', tmp, part) for part in ('prediction', 'features')}
        atomic_write(OUT, json.dumps(dict(about=machine('fastcnn', 'numpy', 'torch', 'onnxruntime', 'pillow')) | found, indent=1) + '\n')


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('steps', nargs='*', help=f'of {", ".join(STEPS)}; default: all')
    parser.add_argument('--job', help=argparse.SUPPRESS)
    args = parser.parse_args()
    if not args.job: main(args.steps or list(STEPS))
    else:
        name, *rest = json.loads(args.job)
        print(json.dumps(worker(*rest) if name == 'worker' else job(name, *rest)))
