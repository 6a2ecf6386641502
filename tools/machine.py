"What figures were measured on."
import os, platform, time
from importlib.metadata import version
from pathlib import Path


def machine(*packages):
    "Date, processor, Python, and the versions of `packages`"
    info = Path('/proc/cpuinfo')
    names = [line.split(':')[1].strip() for line in info.read_text().splitlines() if line.startswith('model name')] if info.exists() else []
    return dict(date=time.strftime('%Y-%m-%d'), cpu=names[0] if names else platform.processor(), cores=os.cpu_count(), python=platform.python_version(),
                **{name: version(name) for name in packages})
