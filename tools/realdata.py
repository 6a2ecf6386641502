"""Real images for benches and tools: what FASTCNN_DATA holds, else what the public loaders fetch, else what can be drawn.

What is fetched or drawn lies in the user's cache and is made once. The results of a bench say which of it they were measured on
(`about.data`); where a file can neither be had nor drawn, the bench says so in one line and is skipped.
"""
import io, os, shutil, socket, sys, urllib.request, zipfile
from pathlib import Path

from fastcnn.core import InputError, cache_folder
from machine import USED

OURS = cache_folder()/'bench-data'
ANTS_BEES = 'https://download.pytorch.org/tutorial/hymenoptera_data.zip' # of PyTorch's transfer-learning tutorial
PARTS = dict(train=(122, 122), valid=(83, 70)) # images of each class that PyTorch's tutorial has


def skipped(words):
    "One line, and the end: it is no failure where something that a bench needs is not on this machine"
    print(f'{Path(sys.argv[0]).name}: skipped: {words}', file=sys.stderr)
    sys.exit(0)


def peers():
    "The Python of the tools to compare with"
    python = Path(__file__).resolve().parent.parent/'.venv-peers'/'bin'/'python'
    return python if python.exists() else skipped('the tools to compare with are not installed: run make bench, which does that')


def need(name):
    "A file such as photos.zip or cifar10/train.parquet; without it the bench is skipped"
    return found(name) or skipped(f'{name} is missing here: let FASTCNN_DATA name a folder that holds it')


def found(name):
    "The same; None if it is nowhere"
    given, file, note = os.environ.get('FASTCNN_DATA'), OURS/name, OURS/f'{name}.txt'
    if given and Path(given) != OURS: return file if (file := Path(given)/name).is_file() else None
    os.environ['FASTCNN_DATA'] = str(OURS) # so that processes of this one do not try again
    if name not in USED and not (given and file.is_file()): _make(name, file, note)
    if not file.is_file(): return None
    USED[name] = note.read_text(encoding='utf-8')
    return file


def _make(name, file, note):
    "Fetch or draw a file; one that was drawn is tried to fetch again"
    if file.is_file() and not note.read_text(encoding='utf-8').startswith('drawn'): return
    file.parent.mkdir(parents=True, exist_ok=True)
    for make in MAKERS[name]:
        if file.is_file() and make in DRAWERS: return
        print(f'{name}: {make.__doc__}', file=sys.stderr)
        part = file.with_name(f'{file.name}.{os.getpid()}')
        try: words = make(part)
        except (InputError, OSError, zipfile.BadZipFile) as error: print(f'{name}: {" ".join(str(error).split())[:160]}', file=sys.stderr)
        else:
            note.write_text(words, encoding='utf-8')
            os.replace(part, file)
            return
        finally: part.unlink(missing_ok=True)


def _jpeg(image):
    image.save(out := io.BytesIO(), 'JPEG', quality=92)
    return out.getvalue()


def _draw_photographs(part):
    "drawing pictures in place of photographs (a minute, once)"
    import matplotlib, numpy as np, sklearn
    from fastcnn.planets import NUISANCES, PLANETS, nuisance_image, planet_image
    packaged = [Path(sklearn.__file__).parent/'datasets'/'images'/name for name in ('china.jpg', 'flower.jpg')]
    packaged += [Path(matplotlib.get_data_path())/'sample_data'/'grace_hopper.jpg']
    packaged, rng = [photo for photo in packaged if photo.is_file()], np.random.default_rng(0)
    kinds = [*PLANETS, *NUISANCES]
    with zipfile.ZipFile(part, 'w') as archive:
        for photo in packaged: archive.write(photo, photo.name)
        for i in range(200 - len(packaged)):
            kind, size = kinds[i % len(kinds)], tuple(map(int, rng.integers(300, 900, 2)))
            draw = planet_image if kind in PLANETS else nuisance_image
            archive.writestr(f'{kind}-{i}.jpg', _jpeg(draw(kind, 50_000 + i, size)))
    return f'drawn pictures, and {len(packaged)} photographs that come with scikit-learn and Matplotlib'


def _draw_two_classes(part):
    "drawing pictures of two planets in place of ants and bees"
    from fastcnn.planets import planet_image
    with zipfile.ZipFile(part, 'w') as archive:
        for start, (name, counts) in enumerate(PARTS.items()):
            for kind, count in zip(('jupiter', 'saturn'), counts):
                for i in range(count): archive.writestr(f'{name}/{kind}/{i}.jpg', _jpeg(planet_image(kind, 60_000 + 1000*start + i, (400, 300))))
    return 'drawn pictures of Jupiter and Saturn'


def _fetch_ants_bees(part):
    "fetching PyTorch's ants and bees (47 MB, once)"
    from PIL import Image
    with urllib.request.urlopen(ANTS_BEES, timeout=60) as reply: whole = zipfile.ZipFile(io.BytesIO(reply.read()))
    with zipfile.ZipFile(part, 'w') as archive:
        for name in whole.namelist():
            if not name.endswith('.jpg') or '__MACOSX' in name: continue
            image = Image.open(whole.open(name)).convert('RGB')
            image.thumbnail((400*max(image.size)//min(image.size),)*2) # the shorter side: at most 400
            archive.writestr('/'.join(name.split('/')[-3:]).replace('val/', 'valid/'), _jpeg(image))
    return f'ants and bees from {ANTS_BEES}'


def _reachable(host):
    "Whether there is a way to the web: fetching itself would try for half a minute"
    if urllib.request.getproxies(): return True
    try: socket.create_connection((host, 443), timeout=10).close()
    except OSError: return False
    return True


def _from_hub(name):
    "What fetches a parquet file, as the lessons do"
    def fetch(part):
        "fetching it from the Hugging Face Hub (once)"
        from fastcnn.lessons import lesson_images
        if not _reachable('huggingface.co'): os.environ.setdefault('HF_HUB_OFFLINE', '1') # what it has kept is found all the same
        folder, which = name.removesuffix('.parquet').split('/')
        del os.environ['FASTCNN_DATA'] # where it would be looked for
        try: shutil.copyfile(lesson_images(folder, which), part)
        finally: os.environ['FASTCNN_DATA'] = str(OURS)
        return f'{folder} from the Hugging Face Hub'
    return fetch


DRAWERS = _draw_photographs, _draw_two_classes
MAKERS = {'photos.zip': [_draw_photographs], 'ants_bees.zip': [_fetch_ants_bees, _draw_two_classes]}
MAKERS |= {name: [_from_hub(name)] for folder in ('cifar10', 'mnist') for part in ('train', 'test') for name in [f'{folder}/{part}.parquet']}
