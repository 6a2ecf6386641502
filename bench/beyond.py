"""What each step costs against the number of images, and the law that it follows.

    python bench/beyond.py [STEP …]     writes bench/results/beyond.json

Each point is a process of its own: seconds by the clock, seconds of processor time, all threads together, and memory that the
process holds for itself above what it held before the step (RssAnon, sampled every 20th of a second). A step that is named is
measured anew; the others stay, each with its date. The files are the web photographs at a shorter side of 128 pixels, each copy
with a tail of its own, so that no content is the same twice. They say nothing about finding copies, for which thumbnails are
drawn, every hundredth a copy of the one before. `hashes` compares 800 hashes with all others, in blocks as `find_duplicates` does
it, and counts how many such parts there are. A million rows of a manifest are added through `append`, 100 at a time; ten million
are copies of that log under other addresses, and are only loaded. The law is processor seconds = a·images^exponent, by least
squares on the logarithms: others may use the machine at the same time, and the clock counts them too.
"""
import argparse, hashlib, io, json, pickle, shutil, sys, tempfile, threading, time, zipfile
from itertools import islice
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent/'tools'))
from machine import machine, own_process
from realdata import need
from scale import held, small_photographs

from fastcnn.core import atomic_write, utc_now

OUT = HERE/'results'/'beyond.json'
STEPS = {
    'reading': [1_000, 10_000, 100_000], 'copies': [1_000, 10_000, 30_000, 100_000], 'hashes': [100_000, 1_000_000, 10_000_000],
    'append': [10_000, 100_000, 1_000_000], 'load': [10_000, 100_000, 1_000_000, 10_000_000], 'features': [500, 1_000, 2_000],
    'prediction': [1_000, 10_000, 100_000]}
ON_FILES, ROWS, LIMIT = ('reading', 'features', 'prediction'), 1_000_000, 180 # seconds that a point on files may take


def photographs(folder, number):
    "Copies with tails, two classes; bytes of a file on average"
    from PIL import Image
    small = small_photographs(128, 95, Image.LANCZOS)
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


def write_log(log, number):
    "Rows as `append` would have written them; beyond a million, the same under other addresses"
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, 'w') as out:
        for i in range(min(number, ROWS)): out.write(json.dumps(row(i)) + '\n')
    with open(log, 'rb') as lines, open(log, 'ab') as out:
        for turn in range(1, -(-number//ROWS)):
            lines.seek(0)
            for line in islice(lines, ROWS): out.write(line.replace(b'staticflickr.com/', b'staticflickr.com/%d/' % turn, 1))


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
    write_log(Manifest(root).path, number)
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
    if step in ('small_model', 'learner'): return globals()[step](Path(folder))
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
    "a and exponent of processor seconds = a·images^exponent; and the exponent between the two largest points"
    images, seconds = np.log([[p[key] for p in points] for key in ('images', 'processor')])
    exponent, log_a = np.polyfit(images, seconds, 1)
    last = (seconds[-1] - seconds[-2])/(images[-1] - images[-2])
    return dict(a=float(np.exp(log_a)), exponent=round(float(exponent), 3), last_exponent=round(float(last), 3))


def learner(folder):
    "A frozen body on few images, pickled as Spark does it"
    from fastcnn.data import image_dataloaders
    from fastcnn.transfer import transfer_learner
    import pandas as pd
    files = files_of(folder, 64)
    table = pd.DataFrame(dict(image=files, label=[f.parent.name for f in files]))
    (folder/'learner.pkl').write_bytes(pickle.dumps(transfer_learner(image_dataloaders(table, 96, augment=False))))
    return dict(bytes=(folder/'learner.pkl').stat().st_size)


def worker(folder, part):
    "What a worker of a cluster pays before its first answer: seconds for imports, then to open the model and for one image; and megabytes then"
    start, (file,) = time.perf_counter(), files_of(Path(folder), 1)
    if part == 'prediction':
        from fastcnn.exported import open_exported, predict_each
        import onnxruntime, pandas
        ready = time.perf_counter()
        list(predict_each(open_exported(Path(folder)/'model'), [file]))
    else:
        import pandas
        from fastcnn.tables import readable_images
        from fastcnn.transfer import image_features
        ready = time.perf_counter()
        image_features(pickle.loads((Path(folder)/'learner.pkl').read_bytes()), pandas.DataFrame(dict(image=[file])))
    return dict(imports=round(ready - start, 2), opening=round(time.perf_counter() - ready, 2), own_mb=round(held()[0]))


def measured(step, at, pixels):
    "The points of a step; those on files as far as they take three minutes at most"
    points = []
    for number in STEPS[step]:
        if step in ON_FILES and points and points[-1]['seconds']*number/points[-1]['images'] > LIMIT: break
        points.append(at(step, number) | dict(date=utc_now()))
        shutil.rmtree(pixels, ignore_errors=True)
        print(step, points[-1], file=sys.stderr, flush=True)
    return law(points) | dict(points=points)


def main(steps):
    need('photos.zip') # before the processes of their own, which take it from here
    found = json.loads(OUT.read_text()) if OUT.exists() else dict(steps={})
    with tempfile.TemporaryDirectory() as tmp:
        at = lambda job, *more: own_process(__file__, f'{tmp}/pixels', job, tmp, *more)
        most = max([max(STEPS[step]) for step in steps if step in ON_FILES] + [64])
        found['file_bytes'] = at('photographs', most)['bytes']
        at('small_model')
        found['learner_mb'] = round(at('learner')['bytes']/1e6, 1)
        found['workers'] = {part: at('worker', part) for part in ('prediction', 'features')}
        for step in steps:
            found['steps'][step] = measured(step, at, f'{tmp}/pixels')
            about = machine('fastcnn', 'numpy', 'torch', 'onnxruntime', 'pillow')
            atomic_write(OUT, json.dumps(dict(about=about) | {k: found[k] for k in ('file_bytes', 'learner_mb', 'workers', 'steps')}, indent=1) + '\n')


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('steps', nargs='*', help=f'of {", ".join(STEPS)}; default: all')
    parser.add_argument('--job', help=argparse.SUPPRESS)
    args = parser.parse_args()
    if not args.job: main(args.steps or list(STEPS))
    else:
        name, *rest = json.loads(args.job)
        print(json.dumps(worker(*rest) if name == 'worker' else job(name, *rest)))
