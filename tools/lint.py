"""The linters: ruff on Python and notebooks; biome and node's own test runner on fastcnn/web; biome on the site's script too.

    python tools/lint.py [ruff|biome|node …]   default: all; exit 1 if one of them finds something
"""
import os, shutil, subprocess, sys

import npm
from notebooks import NBS, ROOT

WEB = ROOT/'fastcnn'/'web'


class Missing(Exception): "One line: what a linter needs and this machine has not"


def ruff():
    "Python: package, tests, tools, benches, and the notebooks as they are"
    return [sys.executable, '-m', 'ruff', 'check', '--quiet', str(ROOT)]


def biome():
    "JavaScript, CSS and HTML of the package, and the site's script, by the rules in biome.json"
    try: return [str(npm.biome()), 'lint', '--config-path', str(ROOT), '--error-on-warnings', str(WEB), *map(str, NBS.glob('*.js'))]
    except npm.Unavailable as why: raise Missing(f'biome: {why}') from None


def node():
    "What needs no browser: fastcnn/web/**/*.test.js"
    if not shutil.which('node'): raise Missing('node: install Node.js')
    return ['node', '--test', *map(str, sorted(WEB.rglob('*.test.js')))]


LINTERS = dict(ruff=ruff, biome=biome, node=node)


def run(name):
    "(whether it found nothing, what it said); `Missing` on a machine that has not what it needs"
    done = subprocess.run(LINTERS[name](), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return not done.returncode, done.stdout


def main(names):
    "How many linters found something; in CI nothing may be missing"
    wrong = 0
    for name in names:
        try: clean, said = run(name)
        except Missing as why: clean, said = not os.environ.get('CI'), f'{why}\n'
        print(f'{name}: {"clean" if clean else "see below"}\n{"" if clean and name != "ruff" else said}', end='')
        wrong += not clean
    return wrong


if __name__ == '__main__': sys.exit(main(sys.argv[1:] or LINTERS) > 0)
