"What the tests of hostile models share"
import contextlib, io, json, os, subprocess, sys
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).parent


def everything(folder):
    "All that lies in a folder, links unfollowed, nothing opened that is no file"
    def kind(path):
        if path.is_symlink(): return f'link to {path.readlink()}'
        return path.read_bytes() if path.is_file() else 'folder' if path.is_dir() else 'no file'
    return {path.relative_to(folder).as_posix(): kind(path) for path in sorted(folder.rglob('*'))}


def drawn(root, n=20):
    "Small pictures of two colours in class folders"
    rng = np.random.default_rng(0)
    for label, channel in dict(red=0, blue=2).items():
        (root/label).mkdir(parents=True)
        for i in range(n):
            pixels = rng.integers(0, 120, (6, 6, 3), dtype=np.uint8)
            pixels[..., channel] += 120
            Image.fromarray(pixels).resize((40, 36)).save(root/label/f'{i}.png')
    return root


def peak():
    "The most memory that this process has had, in megabytes"
    try: return int(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])//1024
    except OSError: return 0 # not on this system


def learner(root):
    "A Learner that has learnt nothing, on small pictures"
    import warnings
    warnings.simplefilter('ignore')
    from fastcnn.data import image_dataloaders
    from fastcnn.training import scratch_learner
    return scratch_learner(image_dataloaders(root, 32, 8, valid_pct=.2, num_workers=0))


def run(*argv):
    "(exit status, JSON, standard error) of the command, in this process"
    from fastcnn.cli import main
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors): status = main([*map(str, argv), '--json'])
    return status, json.loads(out.getvalue().splitlines()[-1]), errors.getvalue()


def run_anew(*argv, timeout=200, **environment):
    "Python in a process of its own, which finds this module"
    path = os.pathsep.join(filter(None, [os.environ.get('PYTHONPATH'), str(HERE), str(HERE.parent)]))
    return subprocess.run([sys.executable, *map(str, argv)], capture_output=True, text=True, timeout=timeout,
                          env=os.environ | dict(PYTHONPATH=path) | environment)


def started(*argv, timeout=200, **environment): return run_anew('-m', 'fastcnn', *argv, timeout=timeout, **environment)
