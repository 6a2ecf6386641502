"A real browser that knows no other machine, and a static host on the loopback address."
import functools, http.server, os, shutil, threading
from contextlib import contextmanager

import pytest

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
