"""Which images `fastcnn clean` shows as unlike their class: by what a backbone sees, and by colour and texture.

    python bench/suspects.py [--seeds 20 21 22 23 24 25]     writes bench/results/suspects.json

The built-in planets, 40 and 100 of each, with a tenth of gods, watches and cars among them, copies and broken files too. Precision and recall of
the suspects "unlike" among the images that stay, against what was drawn. The limits were chosen on seeds 1 to 8 and are judged on others. For real images, how
many of PyTorch's ants and bees are shown (`train/`, 244 images), of which nobody has counted how many are odd.
"""
import argparse, json, os, sys, tempfile, time, warnings, zipfile
from pathlib import Path

os.environ.setdefault('TQDM_DISABLE', '1')
HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent/'tools'))
from machine import machine, spread
from realdata import need

from fastcnn.clean import clean_images
from fastcnn.core import atomic_write
from fastcnn.pipeline import backbone_features
from fastcnn.planets import planet_collection

WAYS = {'backbone': backbone_features, 'colour and texture': None}


def judged(n, seed):
    "Precision and recall of each way on one collection"
    found = {}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter('ignore')
        strange = {row['file'] for row in planet_collection(Path(folder)/'planets', n, seed) if row['kind'] in ('god', 'watch', 'car')}
        for way, features in WAYS.items():
            start = time.perf_counter()
            report = clean_images(Path(folder)/'planets', dry_run=True, features=features)
            shown = set(report.suspects[report.suspects.kind == 'unlike'].file)
            there = strange - set(report.rows.file)
            found[way] = dict(precision=len(shown & there)/max(1, len(shown)), recall=len(shown & there)/len(there),
                              shown=len(shown), seconds=round(time.perf_counter() - start, 1))
    return found


def ants_and_bees():
    "How many of 244 photographs are shown"
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(need('ants_bees.zip')) as archive:
            for name in archive.namelist():
                if 'train/' not in name or not name.endswith('.jpg'): continue
                file = Path(folder)/'set'/name.split('/')[-2]/name.split('/')[-1]
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(archive.read(name))
        return {way: int((clean_images(Path(folder)/'set', dry_run=True, features=features).suspects.kind == 'unlike').sum()) for way, features in WAYS.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--seeds', nargs='+', type=int, default=[20, 21, 22, 23, 24, 25])
    args = parser.parse_args()
    found = dict(ants_bees=ants_and_bees())
    for n in (40, 100):
        with tempfile.TemporaryDirectory() as pixels:
            os.environ['FASTCNN_PIXELS'] = pixels
            runs = [judged(n, seed) for seed in args.seeds]
        found[f'{n} of each'] = {way: {figure: spread([run[way][figure] for run in runs]) for figure in runs[0][way]} for way in WAYS}
        print(n, json.dumps(found[f'{n} of each']), flush=True)
    atomic_write(HERE/'results'/'suspects.json', json.dumps(found | dict(seeds=args.seeds, machine=machine('torch', 'scikit-learn')), indent=1))


if __name__ == '__main__': main()
