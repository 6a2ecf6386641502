"A real browser that knows no other machine, and a static host on the loopback address."
import base64, functools, hashlib, http.server, os, shutil, subprocess, tarfile, threading
from contextlib import contextmanager

import pytest

from fastcnn.core import cache_folder

AXE, AXE_SHA512 = 'axe-core@4.14.1', 'FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=='
FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync',
         '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1', '--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream']


def missing(what):
    "Skip on a user's machine; fail where everything must run"
    (pytest.fail if os.environ.get('CI') else pytest.skip)(f'{what} is missing: this needs it')


@pytest.fixture(scope='module') # not longer: while Playwright runs, asyncio.run cannot
def browser():
    "Headless Chromium, the system's or the one that Playwright has installed, with a camera that shows a test picture"
    from playwright.sync_api import Error, sync_playwright
    with sync_playwright() as playwright:
        try: chromium = playwright.chromium.launch(executable_path=shutil.which('chromium'), args=FLAGS)
        except Error: missing('chromium (apt-get install chromium, or playwright install chromium)')
        yield chromium
        chromium.close()


@contextmanager
def served(folder):
    "The address at which a static host gives out the files of `folder`"
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args): pass
    host = http.server.ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Quiet, directory=folder))
    threading.Thread(target=host.serve_forever, daemon=True).start()
    try: yield f'http://127.0.0.1:{host.server_port}/'
    finally: host.shutdown()


@pytest.fixture(scope='module')
def axe():
    "axe-core, fetched once with npm at a pinned version and checked"
    file = cache_folder()/AXE.replace('@', '-')/'axe-core.tgz'
    if not file.exists():
        if not shutil.which('npm'): missing('npm')
        file.parent.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(['npm', 'pack', '--silent', '--ignore-scripts', AXE], cwd=file.parent, capture_output=True, text=True)
        if done.returncode: missing('axe-core (npm could not fetch it)')
        os.replace(next(file.parent.glob('axe-core-*.tgz')), file)
    assert base64.b64encode(hashlib.sha512(file.read_bytes()).digest()).decode() == AXE_SHA512, f'{file} is damaged: remove it'
    with tarfile.open(file) as tar: return tar.extractfile('package/axe.min.js').read().decode()


def violations(page, axe):
    "What axe finds wrong at the levels A and AA"
    page.evaluate(axe + '; 0')
    found = page.evaluate("axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']})")
    assert found['passes']
    return [(v['id'], [n['html'] for n in v['nodes']]) for v in found['violations']]
