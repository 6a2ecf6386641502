"A real browser that knows no other machine, a static host and a JupyterLab on the loopback address."
import base64, contextlib, functools, hashlib, http.server, json, os, shutil, socket, subprocess, sys, tarfile, threading, time
from contextlib import contextmanager
from urllib.parse import urlsplit

import nbformat
import pytest

from fastcnn.core import cache_folder

AXE, AXE_SHA512 = 'axe-core@4.14.1', 'FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=='
TOKEN = 'only-for-this-test'
FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync',
         '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1', '--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream']


def missing(what):
    "Skip on a user's machine; fail where everything must run"
    (pytest.fail if os.environ.get('CI') else pytest.skip)(f'{what} is missing: this needs it')


def needs_lesson_images(path):
    "For a notebook that shows MNIST or CIFAR-10"
    if 'lesson_images(' in path.read_text() and not os.environ.get('FASTCNN_DATA'):
        missing('FASTCNN_DATA (MNIST and CIFAR-10; `lesson_images` would fetch them from the web)')


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


def wait_for(what, seconds=20):
    "Until something is so"
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, 'it did not come about'
        time.sleep(.1)
    return found


@contextmanager
def jupyterlab(home):
    "A JupyterLab that shows the folder `work` in `home`: its address"
    pytest.importorskip('jupyterlab') if not os.environ.get('CI') else __import__('jupyterlab')
    env = {k: v for k, v in os.environ.items() if not k.startswith(('JUPYTER', 'IPYTHON'))} | dict(
        HOME=str(home), JUPYTER_CONFIG_DIR=f'{home}/config', JUPYTER_DATA_DIR=f'{home}/data', JUPYTER_RUNTIME_DIR=f'{home}/run', IPYTHONDIR=f'{home}/ipython',
        JUPYTERLAB_SETTINGS_DIR=f'{home}/settings', JUPYTERLAB_WORKSPACES_DIR=f'{home}/spaces', TQDM_DISABLE='1', OMP_NUM_THREADS='1', PYTHONWARNINGS='ignore')
    quiet_settings(home/'settings')
    command = [sys.executable, '-m', 'jupyterlab', '--no-browser', '--ip=127.0.0.1', '--port=0',
               '--ServerApp.port_retries=0', f'--IdentityProvider.token={TOKEN}',
               f'--ServerApp.root_dir={home}/work', '--allow-root', '--LabApp.extension_manager=readonly', '--LabApp.news_url=']
    with open(home/'log', 'wb') as log: server = subprocess.Popen(command, env=env, cwd=home/'work', stdout=log, stderr=log)
    try:
        yield wait_for(lambda: address(home, server), 60)
    finally:
        server.terminate()
        server.wait(20)


def address(home, server):
    "Where the server listens, once it does"
    if server.poll() is not None: pytest.fail((home/'log').read_text()[-3000:], pytrace=False)
    for file in (home/'run').glob('jpserver-*.json'):
        with contextlib.suppress(json.JSONDecodeError, OSError): # it is being written; nobody listens yet
            url = json.loads(file.read_text())['url']
            with socket.create_connection(('127.0.0.1', urlsplit(url).port), 1): return url


def quiet_settings(folder):
    "No news, no questions"
    notes = folder/'@jupyterlab'/'apputils-extension'/'notification.jupyterlab-settings'
    notes.parent.mkdir(parents=True)
    notes.write_text(json.dumps(dict(fetchNews='false', checkForUpdates=False, doNotDisturbMode=True)))


def write_notebook(path, *codes):
    "A notebook with these code cells"
    kernel = dict(name='python3', display_name='Python 3', language='python')
    cells = [nbformat.v4.new_code_cell(code) for code in codes]
    nb = nbformat.v4.new_notebook(cells=cells, metadata=dict(kernelspec=kernel))
    nbformat.write(nb, path)


def open_notebook(page, url, name):
    "In JupyterLab, with its kernel running: sooner, JupyterLab would ask for one"
    page.goto(f'{url}lab/tree/{name}?token={TOKEN}&reset')
    page.get_by_text('Python 3 (ipykernel) | Idle').wait_for(timeout=60_000)


@contextmanager
def run_in_jupyterlab(browser, home, *codes):
    "A page on which a real JupyterLab has run these cells; what it asks elsewhere, and errors in it, fail the test"
    (home/'work').mkdir()
    write_notebook(home/'work'/'cells.ipynb', *codes)
    page, trouble = browser.new_page(viewport=dict(width=1330, height=1500)), []
    with jupyterlab(home) as url:
        own = (url, url.replace('http', 'ws'), 'data:', 'blob:', 'about:')
        page.on('request', lambda r: r.url.startswith(own) or trouble.append(f'asked for {r.url}'))
        page.on('pageerror', lambda e: trouble.append(str(e)))
        open_notebook(page, url, 'cells.ipynb')
        page.locator('.jp-CodeCell .cm-content').first.click()
        for _ in codes: page.keyboard.press('Shift+Enter')
        yield page
        page.close()
    assert not trouble
