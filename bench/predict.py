"""`fastcnn predict` beside fastai's exported learner: one image from a cold start, many images, the network alone, and memory.

    python bench/predict.py [--repeats 5] [--images 2000] [--seed 2026] [--scale] [--only network]     writes bench/results/predict.json

One `conv_stack` on 200 pixels, untrained, in fastai's own DataLoaders, exported both ways. `cold`: a new process for
one image, `fastcnn predict MODEL FILE --json` against a script that calls `load_learner` and `predict`; wall clock
and processor time (user and system, all threads). `many`: images/s of `predict` on built-in planets against
`learn.get_preds(dl=learn.dls.test_dl(files))` with 0 and with 2 workers, of which the better is compared; a process
each, its start not counted. `network`: torch against ONNX Runtime on one batch that lies in memory, one thread each,
and nothing else; `written`: seconds until the network is written in ONNX, traced or by torch.export. `memory`: the
peak (VmHWM) of `fastcnn predict MODEL FOLDER --out TABLE` over more and more images, which are hard links to the same
planets; `--scale` adds 100,000. Tools take turns in random order; ratios are taken within a turn.
"""
import argparse, json, os, random, subprocess, sys, tempfile, time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent/'tools'))
from machine import machine, spread

SIZE = 200
NETWORKS = (('conv_stack', 64), ('conv_stack', 200), ('resnet20', 32), ('torchvision/resnet18', 200), ('torchvision/mobilenet_v2', 200),
            ('lite/efficientnet_lite0', 288))
SCRIPT = 'import sys\nfrom fastai.vision.all import *\nprint(load_learner(sys.argv[1]).predict(sys.argv[2]))'
ENV = {k: v for k, v in os.environ.items() if k != 'OMP_NUM_THREADS'} | dict(TQDM_DISABLE='1') # each uses the cores as it does for its users


def make(folder, images):
    "Planets, and one network exported by fastai and by fastcnn"
    from fastai.vision.all import CrossEntropyLossFlat, ImageDataLoaders, Learner, Normalize, Resize, set_seed
    from fastcnn.deploy import export_model
    from fastcnn.models import conv_stack
    from fastcnn.planets import planet_collection
    planet_collection(folder/'planets', n=-(-images//4), seed=2026, nuisances=0, duplicates=0, broken=0)
    set_seed(42)
    dls = ImageDataLoaders.from_folder(folder/'planets', valid_pct=.2, seed=42, item_tfms=Resize(SIZE),
                                       batch_tfms=Normalize.from_stats(*[[.5]*3]*2), bs=64, num_workers=0)
    learn = Learner(dls, conv_stack(4, SIZE), loss_func=CrossEntropyLossFlat())
    export_model(learn, folder/'model')
    learn.export(folder/'learner.pkl')


def many(tool, folder, images):
    "Seconds for all planets, of a tool that is warm"
    files = sorted((folder/'planets').rglob('*.jpg'))[:images]
    if tool == 'fastcnn':
        from fastcnn.exported import predict
        run = lambda files: predict(folder/'model', files)
    else:
        from fastai.vision.all import load_learner
        learn, workers = load_learner(folder/'learner.pkl'), int(tool[-1])
        def run(files):
            with learn.no_bar(): learn.get_preds(dl=learn.dls.test_dl(files, num_workers=workers))
    run(files[:16])
    start = time.perf_counter()
    run(files)
    return time.perf_counter() - start


def network(name, size, repeats):
    "Milliseconds an image of torch and of ONNX Runtime, by images in the batch"
    import onnxruntime as ort
    import torch
    from fastcnn.deploy import export_onnx
    from fastcnn.models import build_model
    torch.manual_seed(0)
    torch.set_num_threads(1)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    model, found = build_model(name, n_classes=10, size=size).eval(), {}
    graph = export_onnx(torch.nn.Sequential(model, torch.nn.Softmax(dim=1)).eval(), size, ['normalised'], ['probabilities'])
    session = ort.InferenceSession(graph.SerializeToString(), options, providers=['CPUExecutionProvider'])
    for batch in (1, 32):
        x = torch.randn(batch, 3, size, size)
        tools = dict(torch=lambda: model(x).softmax(1).numpy(), onnxruntime=lambda: session.run(None, {'normalised': x.numpy()})[0])
        with torch.inference_mode():
            assert abs(tools['torch']() - tools['onnxruntime']()).max() < 1e-4
            times = [{tool: clocked(tools[tool])/batch for tool in random.sample(list(tools), 2)} for _ in range(repeats)]
        found[batch] = dict({f'{tool}_ms': spread([t[tool]*1e3 for t in times]) for tool in tools},
                            torch_over_onnxruntime=spread([t['torch']/t['onnxruntime'] for t in times]))
    return found


def written(name, size, repeats):
    "Seconds until a network is an ONNX graph"
    import torch
    from fastcnn.deploy import export_onnx
    from fastcnn.models import build_model
    torch.set_num_threads(1)
    model = torch.nn.Sequential(build_model(name, n_classes=10, size=size), torch.nn.Softmax(dim=1)).eval()
    ways = dict(traced=True, torch_export=False)
    run = lambda way: export_onnx(model, size, ['normalised'], ['probabilities'], ways[way])
    for way in ways: run(way) # what it imports
    times = [{way: clocked(lambda: run(way), 0) for way in random.sample(list(ways), 2)} for _ in range(repeats)]
    return dict({way: spread([t[way] for t in times]) for way in ways}, torch_export_over_traced=spread([t['torch_export']/t['traced'] for t in times]))


def clocked(run, least=.5):
    "Seconds of one run, on average over half a second"
    start, n = time.perf_counter(), 0
    while not n or time.perf_counter() - start < least: run(); n += 1
    return (time.perf_counter() - start)/n


def memory(folder, count):
    "MB at the peak of a process that predicts `count` images, and its seconds"
    from fastcnn.cli import main
    files, root = sorted((folder/'planets').rglob('*.jpg')), folder/f'{count}'
    for i in range(count):
        if not i % 1000: (root/f'{i//1000:03}').mkdir(parents=True)
        os.link(files[i % len(files)], root/f'{i//1000:03}'/f'{i}.jpg')
    start = time.perf_counter()
    assert main(['predict', str(folder/'model'), str(root), '--out', str(folder/f'{count}.csv')]) == 0
    status = dict(line.split(':') for line in Path('/proc/self/status').read_text().splitlines())
    return dict(peak_mb=round(int(status['VmHWM'].split()[0])/1024), seconds=round(time.perf_counter() - start, 1))


def child(*job):
    "One job in a process of its own"
    done = subprocess.run([sys.executable, __file__, '--job', json.dumps(job, default=str)], capture_output=True, text=True, env=ENV)
    if done.returncode: sys.exit(f'bench: {job} failed:\n{done.stderr[-2000:]}')
    return json.loads(done.stdout.splitlines()[-1])


def cold(tool, folder, file):
    "Wall clock and processor seconds of one image in a new process"
    command = dict(fastcnn=['-m', 'fastcnn', 'predict', folder/'model', file, '--json'], fastai=['-c', SCRIPT, folder/'learner.pkl', file])[tool]
    start = time.perf_counter()
    running = subprocess.Popen([sys.executable, *map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENV)
    _, status, used = os.wait4(running.pid, 0)
    if status: sys.exit(f'bench: {tool} failed on {file}')
    return dict(wall=time.perf_counter() - start, cpu=used.ru_utime + used.ru_stime)


def rounds(tools, repeats, run, what):
    "What `run` finds of each tool, by turns"
    found = []
    for number in range(repeats):
        found.append({tool: run(tool) for tool in random.sample(tools, len(tools))})
        print(f'{what}, turn {number + 1}: {found[-1]}', file=sys.stderr, flush=True)
    return found


def all_cold(folder, repeats):
    file = sorted((folder/'planets').rglob('*.jpg'))[0]
    for tool in ('fastcnn', 'fastai'): cold(tool, folder, file) # from here on all files are in the disk cache
    turns = rounds(['fastcnn', 'fastai'], repeats, lambda tool: cold(tool, folder, file), 'cold')
    return {clock: dict({tool: spread([t[tool][clock] for t in turns]) for tool in turns[0]},
                        fastcnn_over_fastai=spread([t['fastcnn'][clock]/t['fastai'][clock] for t in turns]))
            for clock in ('wall', 'cpu')}


def all_networks(repeats):
    found = {f'{name} {size}': child('network', name, size, repeats) | dict(written=child('written', name, size, repeats)) for name, size in NETWORKS}
    return dict(about=machine('torch', 'onnx', 'onnxruntime'), networks=found)


def all_many(folder, repeats, images):
    tools = ['fastcnn', 'fastai_workers_0', 'fastai_workers_2']
    turns = rounds(tools, repeats, lambda tool: images/child('many', tool, folder, images), 'many, images/s')
    return dict(images=images, images_per_second={tool: spread([t[tool] for t in turns]) for tool in tools},
                fastcnn_over_best_fastai=spread([t['fastcnn']/max(t['fastai_workers_0'], t['fastai_workers_2']) for t in turns]))


def measured(args):
    "All of it"
    with tempfile.TemporaryDirectory() as tmp:
        folder = Path(tmp)
        child('make', folder, args.images)
        return dict(about=machine('fastcnn', 'fastai', 'torch', 'onnxruntime', 'pillow'), seed=args.seed,
                    repeats=args.repeats, size=SIZE, cold=all_cold(folder, args.repeats),
                    many=all_many(folder, args.repeats, args.images), network=all_networks(args.repeats),
                    memory={n: child('memory', folder, n) for n in args.counts + [100_000]*args.scale})


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--images', type=int, default=2000)
    parser.add_argument('--counts', type=int, nargs='*', default=[1000, 10_000], help='images over which the memory is looked at')
    parser.add_argument('--scale', action='store_true', help='100,000 images too: a quarter of an hour')
    parser.add_argument('--only', choices=['network'], help='this part anew; the others stay')
    parser.add_argument('--seed', type=int, default=2026, help='in which order the tools run')
    parser.add_argument('--job', type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.job:
        name, *rest = args.job
        print(json.dumps(globals()[name](*(Path(v) if isinstance(v, str) and v.startswith('/') else v for v in rest))))
        sys.exit()
    random.seed(args.seed)
    results = HERE/'results'/'predict.json'
    if args.only: result = json.loads(results.read_text()) | dict(network=all_networks(args.repeats))
    else: result = measured(args)
    print(json.dumps(result, indent=1))
    results.write_text(json.dumps(result, indent=1) + '\n')
