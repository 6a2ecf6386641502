"""The published page on a telephone's network: what it loads, and when it can be used.

    python bench/page.py [--repeats 3]     writes bench/results/page.json

EfficientNet-Lite0 with a new head (`transfer_learner`) on drawn planets, published with weights of 32, 16 and 8 bits.
A host on the loopback address packs text as GitHub Pages does; Chromium limits the network as Lighthouse names it
(`4g`: 9 Mbit/s down, 170 ms; `slow_4g`: 1.6 Mbit/s, 150 ms) and slows the page's main thread down to a quarter.
`bytes_needed` have left the host when a picture can be answered, `bytes` when the first answer is shown: by then the page
keeps itself for a visit without a network. `interactive`: the page has its scripts, and a picture can be
chosen. `loaded`: runtime and model have come. `answer`: the first example's class is shown; the model runs in a thread
of its own, which Chromium cannot slow down, so `answer_slow` counts the time since `loaded` four times. Medians, seconds.
"""
import argparse, functools, gzip, http.server, json, shutil, statistics, sys, tempfile, threading
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent/'tools'))
from machine import machine

NETWORKS = {'4g': (9, 170), 'slow_4g': (1.6, 150)} # Mbit/s, milliseconds
TEXT = ('.html', '.js', '.mjs', '.css', '.svg', '.json', '.webmanifest')


def make(folder):
    "A model as the plan `transfer` trains it, and pictures to try"
    from fastai.torch_core import set_seed
    from fastcnn.data import image_dataloaders
    from fastcnn.deploy import export_model
    from fastcnn.images import image_files
    from fastcnn.planets import planet_collection
    from fastcnn.transfer import transfer_learner
    planet_collection(folder/'planets', n=20, seed=2026, nuisances=0, duplicates=0, broken=0)
    set_seed(42)
    learn = transfer_learner(image_dataloaders(folder/'planets', size=192, batch_size=16, num_workers=0))
    return export_model(learn, folder/'model'), image_files(folder/'planets')[::20]


class Host(http.server.SimpleHTTPRequestHandler):
    "Packs text, and counts the bytes that it gives out"
    sent = 0

    def do_GET(self):
        file = Path(self.translate_path(self.path))
        file = file/'index.html' if file.is_dir() else file
        if not file.is_file(): return self.send_error(404)
        data, packed = file.read_bytes(), file.suffix in TEXT
        if packed: data = gzip.compress(data, 6)
        self.send_response(200)
        self.send_header('Content-Type', self.guess_type(str(file)))
        if packed: self.send_header('Content-Encoding', 'gzip')
        self.send_header('Content-Length', str(len(data)))
        self.send_header('Cache-Control', 'max-age=600')
        self.end_headers()
        self.wfile.write(data)
        Host.sent += len(data)

    def log_message(self, *args): pass


MARKS = """() => { const at = name => performance.getEntriesByName(name)[0].startTime/1000
  return {interactive: performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd/1000, loaded: at('loaded'), answer: at('shown')} }"""


def visit(browser, address, network):
    "One first visit"
    context = browser.new_context(viewport=dict(width=390, height=844))
    page, Host.sent = context.new_page(), 0
    developer = context.new_cdp_session(page)
    mbit, latency = NETWORKS[network]
    developer.send('Network.enable')
    developer.send('Network.emulateNetworkConditions', dict(offline=False, latency=latency, downloadThroughput=mbit*125_000, uploadThroughput=93_750))
    developer.send('Emulation.setCPUThrottlingRate', dict(rate=4))
    page.goto(address, wait_until='commit')
    while not page.evaluate("performance.getEntriesByName('loaded').length"): page.wait_for_timeout(20)
    needed = Host.sent
    page.locator('#headline').wait_for(timeout=180_000)
    found = page.evaluate(MARKS) | dict(bytes_needed=needed, bytes=Host.sent)
    context.close()
    return found | dict(answer_slow=found['loaded'] + 4*(found['answer'] - found['loaded']))


def measure(browser, site, repeats):
    "A site's files, and medians over some visits on each network"
    host = http.server.ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Host, directory=site))
    threading.Thread(target=host.serve_forever, daemon=True).start()
    packed = {name: next(site.rglob(f'*{name}')).stat().st_size for name in ('.wasm.xz', '.onnx.xz')}
    found = dict(runtime_bytes=packed['.wasm.xz'], model_bytes=packed['.onnx.xz'])
    for network in NETWORKS:
        visits = [visit(browser, f'http://127.0.0.1:{host.server_port}/', network) for _ in range(repeats)]
        found[network] = {key: round(statistics.median(v[key] for v in visits), 2) for key in visits[0]}
    host.shutdown()
    return found


def main(repeats):
    from fastcnn.publish import publish
    from playwright.sync_api import sync_playwright
    folder, results = Path(tempfile.mkdtemp()), dict(about=machine('fastcnn', 'onnxruntime', 'playwright'), repeats=repeats)
    try:
        model, examples = make(folder)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which('chromium'), args=['--no-sandbox', '--disable-gpu'])
            results['about']['chromium'] = browser.version
            for weights in ('float32', 'float16', 'int8'):
                publish(model, folder/weights, examples=examples, weights=weights)
                results[weights] = measure(browser, folder/weights, repeats)
            browser.close()
    finally: shutil.rmtree(folder)
    (HERE/'results'/'page.json').write_text(json.dumps(results, indent=1) + '\n')
    print(json.dumps(results, indent=1))


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--repeats', type=int, default=3)
    main(parser.parse_args().repeats)
