"What figures were measured on, and how they are told."
import json, os, platform, statistics, subprocess, sys, time
from importlib.metadata import version
from pathlib import Path

USED = {} # file of FASTCNN_DATA → in words, what stands for it in this process: tools/realdata.py notes it


def machine(*packages):
    "Date, processor, Python, and the versions of `packages`; and what stood for the files of FASTCNN_DATA"
    info = Path('/proc/cpuinfo')
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(':')[1].strip() for line in lines if line.startswith('model name')]
    return dict(date=time.strftime('%Y-%m-%d'), cpu=names[0] if names else platform.processor(), cores=os.cpu_count(),
                python=platform.python_version(), **{name: version(name) for name in packages}, **(dict(data=dict(USED)) if USED else {}))


def own_process(script, pixels, *job):
    "What a bench prints last for `--job`, in a process of its own with a cache of its own"
    env = os.environ | dict(FASTCNN_PIXELS=str(pixels), PYTHONWARNINGS='ignore', TQDM_DISABLE='1')
    done = subprocess.run([sys.executable, script, '--job', json.dumps(job)], stdout=subprocess.PIPE, check=True,
                          text=True, env=env)
    return json.loads(done.stdout.splitlines()[-1])


def spread(values, digits=4):
    "Smallest, median and largest"
    return dict(min=round(min(values), digits), median=round(statistics.median(values), digits),
                max=round(max(values), digits))
