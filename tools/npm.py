"Packages from npm at a pinned version, fetched once, checked, and kept in the user's cache."
import base64, hashlib, os, platform, shutil, subprocess, sys, tarfile, tempfile
from pathlib import Path

CACHE = Path(os.environ.get('XDG_CACHE_HOME') or Path.home()/'.cache')/'fastcnn'
KATEX = 'katex@0.16.11', 'RQrI8rlHY92OLf3rho/Ts8i/XvjgguEjOkO1BEXcU3N8BqPpSzBNwV/G0Ukr+P/l3ivvJUE/Fa/CwbS6HesGNQ=='
MINISEARCH = 'minisearch@7.2.0', 'dqT2XBYUOZOiC5t2HRnwADjhNS2cecp9u+TJRiJ1Qp/f5qjkeT5APcGPjHw+bz89Ms8Jp+cG4AlE+QZ/QnDglg=='
BIOME = { # its program, for each kind of machine
    ('Linux', 'x86_64'): ('@biomejs/cli-linux-x64@2.6.8',
                          'XIk3pLQT56I6Tti+u0DF8FtSNXjCMTPbxVTzfJ9cS2t1ImVKvrqV5b52GuEaJg6/wuiXvz0sjfb5saB4TPRjzA=='),
    ('Linux', 'aarch64'): ('@biomejs/cli-linux-arm64@2.6.8',
                           '0Bjim8lKwnrvXUHoI4k3Tb51BjoiLEwDnovCI8nSzkk6wj3dShiuAjrx6+X0Hjf4ejR1sRZgTQiSDHlpy9vB7w=='),
    ('Darwin', 'arm64'): ('@biomejs/cli-darwin-arm64@2.6.8',
                          'DHyj+JnRHcn4YdvpiqgTFZMYKSPELMCfFpNNlEuu1L8DKTGXhzW7raIwdsbo2Ie9nCljQLAQkVWQk/mwM0ueiA=='),
    ('Darwin', 'x86_64'): ('@biomejs/cli-darwin-x64@2.6.8',
                           'QWWUPjlA0RnkkgYnFLUHZu+RrDc0FdK0A+wEPA+dENQJwsuSHMH89lspnAw2QUWWc9VHyfluGx1Xmp6Y2GZi8Q=='),
}


class Unavailable(Exception): "One line that says why a package cannot be had"


def fetched(package, sha512):
    "The folder of a package's files; whole, since it appears in one step"
    folder = CACHE/package.replace('/', '+')
    if folder.exists(): return folder
    if not shutil.which('npm'): raise Unavailable('npm is missing: install Node.js')
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as tmp:
        command = ['npm', 'pack', '--silent', '--cache', f'{tmp}/npm', package]
        done = subprocess.run(command, cwd=tmp, capture_output=True, text=True, timeout=300)
        if done.returncode: raise Unavailable(f'npm could not fetch {package}')
        archive = next(Path(tmp).glob('*.tgz'))
        found = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        if found != sha512: sys.exit(f'{package} is not the file that it should be')
        with tarfile.open(archive) as files: files.extractall(tmp, filter='data')
        try: (Path(tmp)/'package').rename(folder)
        except OSError: # another process was faster
            if not folder.exists(): raise
    return folder


def katex():
    "KaTeX: its folder `dist` holds what a page needs"
    return fetched(*KATEX)


def minisearch():
    "MiniSearch: `dist/umd/index.js` is the full-text search of the site"
    return fetched(*MINISEARCH)


def biome():
    "The program that checks JavaScript, CSS and HTML"
    kind = platform.system(), platform.machine()
    if kind not in BIOME: raise Unavailable(f'biome is not known for {" ".join(kind)}')
    program = fetched(*BIOME[kind])/'biome'
    program.chmod(0o755)
    return program
