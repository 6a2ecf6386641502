"""fastcnn's duplicates beside imagededup's and cleanvision's: the same folders in one run, in random order, repeated.

    python bench/duplicates.py [--repeats 5] [--seed 2026] [--alone]     writes bench/results/duplicates.json

Two folders are compared. `pairs`: 600 images, 60 originals in nine versions each (60*36 = 2,160 near-duplicate pairs) and 60 that are single; two
thirds photographs from FASTCNN_DATA/photos.zip, a third planets. `planets`: the built-in collection with all its accidents but the broken files, on
which cleanvision stops. The thresholds of `find_duplicates` were chosen on other seeds and on the other half of the photographs.
Ratios are taken within a round, so that a busy moment of the machine weighs on both sides.

And what `clean` would set aside (`set_aside`, without the peers, and all that --alone measures): a pair counts if one file is called a copy
of the other. Beside the two folders there are `frames`, films of planets that turn and move, in which a few frames are re-encoded,
and `drawings`, 160 plain discs and squares: of both only what is re-encoded is a copy.
"""
import argparse, io, json, random, shutil, subprocess, sys, tempfile, zipfile
from itertools import combinations
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent/'tools'))
from machine import machine, spread
from realdata import need, peers

TOOLS = ('fastcnn', 'imagededup_phash', 'imagededup_dhash', 'cleanvision')
GROUPS, SINGLES, DISCS = 60, 60, 1/3


def photographs(half):
    "The 100 photographs of one half: 0 for tuning, 1 for measuring"
    with zipfile.ZipFile(need('photos.zip')) as photos:
        names = sorted(name for name in photos.namelist() if name.lower().endswith('.jpg'))[half::2]
        return [ImageOps.exif_transpose(Image.open(io.BytesIO(photos.read(name)))).convert('RGB') for name in names]


def resized(image, rng):
    scale = rng.uniform(0.4, 1.4)
    return image.resize([max(48, round(side*scale)) for side in image.size])


def cropped(image, rng): return image.crop([int(side*rng.uniform(0, 0.05)) for side in image.size] + [int(side*rng.uniform(0.95, 1)) for side in image.size])
def recoloured(image, rng): return ImageEnhance.Color(ImageEnhance.Brightness(image).enhance(rng.uniform(0.75, 1.3))).enhance(rng.uniform(0.4, 1.6))


def versions(image, rng):
    "The image itself, and each change twice: re-encoded, resized, cropped by up to 5 % at each side, recoloured; with JPEG qualities"
    yield image, 92
    for change in (lambda image, rng: image, resized, cropped, recoloured):
        for _ in range(2): yield change(image, rng), rng.randint(40, 90)


def make_pairs(folder, seed, half):
    "600 images in 120 families, in one class; file → family"
    from fastcnn.planets import PLANETS, planet_image
    rng, truth = random.Random(seed), {}
    discs = round((GROUPS + SINGLES)*DISCS)
    images = rng.sample(photographs(half), GROUPS + SINGLES - discs) + [planet_image(rng.choice(PLANETS), 10_000 + 1000*seed + i) for i in range(discs)]
    grouped = set(range(0, len(images), 2)) # every other one, of photographs and planets alike
    (folder/'a').mkdir()
    for family, image in enumerate(images):
        for version, quality in versions(image, rng) if family in grouped else [(image, 92)]:
            name = f'{rng.getrandbits(48):012x}.jpg'
            version.save(folder/'a'/name, quality=quality)
            truth[name] = family
    return truth


def make_planets(folder, seed, half):
    "The built-in collection in one folder, as the others want it; file → family"
    from fastcnn.planets import planet_collection
    with tempfile.TemporaryDirectory() as tmp:
        truth = planet_collection(tmp, 60, seed=seed, nuisances=0.1, duplicates=0.5, broken=0)
        (folder/'a').mkdir()
        for row in truth: shutil.copy(Path(tmp)/row['file'], folder/'a') # names are unique over all classes
    return {row['file'].split('/')[1]: row['group'] for row in truth}


def globe(texture, angle, size=320):
    "A ball before a black sky, wrapped in a picture and its mirror image, and turned by an angle, radians"
    y, x = np.mgrid[-1.2:1.2:size*1j, -1.2:1.2:size*1j]
    inside = x*x + y*y < 1
    depth = np.sqrt(np.where(inside, 1 - x*x - y*y, 0))
    turn = (np.arctan2(x, depth) + angle)/np.pi % 2 # 0 to 1 the picture, 1 to 2 its mirror image
    column = (np.where(turn < 1, turn, 2 - turn)*(texture.shape[1] - 1)).astype(int)
    row = ((y.clip(-1, 1) + 1)/2*(texture.shape[0] - 1)).astype(int)
    return Image.fromarray((texture[row, column]*(inside*(0.3 + 0.7*depth))[..., None]).astype(np.uint8))


def films(seed):
    "Name → 40 frames: of each planet a ball that turns by 3 degrees, and a picture that rolls by one and moves by a pixel"
    from fastcnn.planets import PLANETS, planet_image
    for planet in PLANETS:
        for number in range(2):
            texture = np.asarray(planet_image(planet, 20_000 + 1000*seed + number, (400, 400)).crop((100, 100, 300, 300)))
            yield f'{planet} turns {number}', [globe(texture, np.pi/60*i) for i in range(40)]
        scene = planet_image(planet, 30_000 + 1000*seed, (420, 420))
        yield f'{planet} rolls', [scene.rotate(i, Image.Resampling.BICUBIC, translate=(i, 0)).crop((60, 60, 360, 360)) for i in range(40)]


def make_frames(folder, seed, half):
    "480 frames, and of every 60th a copy of lower quality; file → family, of which a frame alone is one"
    (folder/'a').mkdir()
    truth, frames = {}, [(f'{name} {i:02}', frame) for name, film in films(seed) for i, frame in enumerate(film)]
    for number, (name, frame) in enumerate(frames):
        for version, quality in (('', 88), (' again', 60)) if number % 60 == 30 else (('', 88),):
            frame.save(folder/'a'/f'{name}{version}.jpg', quality=quality)
            truth[f'{name}{version}.jpg'] = name
    return truth


def make_drawings(folder, seed, half):
    "160 discs and squares of any size, place and colour, a quarter each before black, white or grey, grey on black, and any colour"
    rng, names = random.Random(seed), [f'{i:03}.jpg' for i in range(160)]
    (folder/'a').mkdir()
    def any_colour(): return tuple(rng.randrange(256) for _ in range(3))
    for i, name in enumerate(names):
        grey = (rng.randrange(256),)*3
        paper, ink = [((0, 0, 0), any_colour()), (rng.choice([(255,)*3, grey]), any_colour()), ((0, 0, 0), grey), (any_colour(), any_colour())][i % 4]
        radius, sheet = rng.uniform(10, 90), Image.new('RGB', (200, 200), paper)
        x, y = rng.uniform(radius, 200 - radius), rng.uniform(radius, 200 - radius)
        draw = ImageDraw.Draw(sheet)
        rng.choice([draw.ellipse, draw.rectangle])((x - radius, y - radius, x + radius, y + radius), fill=ink)
        sheet.save(folder/'a'/name, quality=90)
    return {name: name for name in names}


def set_aside(folder, truth):
    "How many images are called copies, how many of them rightly, and how many are"
    from fastcnn.duplicates import find_duplicates
    found = find_duplicates(folder)
    name = lambda file: file.split('/')[1]
    right = sum(truth[name(file)] == truth[name(best)] for file, best in zip(found.file, found.copy_of) if best)
    aside, copies = int((found.copy_of != '').sum()), len(truth) - len(set(truth.values()))
    return dict(images=len(truth), copies=copies, set_aside=aside, right=right, groups=int(found.group.nunique()),
                precision=round(right/max(1, aside), 4), recall=round(right/max(1, copies), 4))


def pairs_of(groups): return {pair for files in groups for pair in combinations(sorted(files), 2)}


def true_pairs(truth):
    families = {}
    for file, family in truth.items(): families.setdefault(family, []).append(file)
    return pairs_of(families.values())


def run(tool, folder, true):
    "One run of one tool in a process of its own: seconds, and how its pairs agree with the truth"
    python = sys.executable if tool == 'fastcnn' else peers()
    done = subprocess.run([python, HERE/'finders.py', tool, folder], capture_output=True, text=True)
    if done.returncode: sys.exit(f'bench: {tool} failed:\n{done.stderr[-2000:]}')
    said = json.loads(done.stdout.splitlines()[-1])
    found = {tuple(pair) for pair in said['pairs']}
    return dict(seconds=said['seconds'], precision=len(found & true)/max(1, len(found)), recall=len(found & true)/len(true))


def summary(rounds):
    "By tool: seconds, how many times fastcnn's, precision and recall, which are the same in each round"
    return {tool: dict(seconds=spread([r[tool]['seconds'] for r in rounds]), times_fastcnn=spread([r[tool]['seconds']/r['fastcnn']['seconds'] for r in rounds]),
                       **{kind: round(min(r[tool][kind] for r in rounds), 4) for kind in ('precision', 'recall')}) for tool in TOOLS}


def beside_peers(args):
    "Each tool on both folders, and what is known of the machine"
    kept = {}
    for name, make in (('pairs', make_pairs), ('planets', make_planets)):
        with tempfile.TemporaryDirectory() as tmp:
            truth, rounds = make(Path(tmp), args.seed, half=1), []
            true = true_pairs(truth)
            for number in range(args.repeats):
                rounds.append({tool: run(tool, tmp, true) for tool in random.sample(TOOLS, len(TOOLS))})
                print(f'{name}, round {number + 1}:', {tool: round(found['seconds'], 2) for tool, found in rounds[-1].items()}, file=sys.stderr, flush=True)
            kept[name] = dict(images=len(truth), pairs=len(true), tools=summary(rounds))
    ask = 'from importlib.metadata import version as v; print(v("imagededup"), v("cleanvision"))'
    asked = subprocess.run([peers(), '-c', ask], capture_output=True, text=True, check=True)
    versions = dict(zip(('imagededup', 'cleanvision'), asked.stdout.split()))
    return dict(about=machine('fastcnn', 'pillow', 'numpy') | versions, seed=args.seed, repeats=args.repeats, **kept)


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--seed', type=int, default=2026, help='which collections; thresholds were chosen on 1, 2 and 3')
    parser.add_argument('--alone', action='store_true', help='without the peers: only what would be set aside')
    args, results = parser.parse_args(), HERE/'results'/'duplicates.json'
    found = json.loads(results.read_text()) if args.alone else beside_peers(args)
    found['set_aside'] = dict(seed=args.seed)
    for make in (make_pairs, make_planets, make_frames, make_drawings):
        with tempfile.TemporaryDirectory() as tmp:
            found['set_aside'][make.__name__.removeprefix('make_')] = set_aside(tmp, make(Path(tmp), args.seed, half=1))
    print(json.dumps(found, indent=1))
    results.write_text(json.dumps(found, indent=1) + '\n')
