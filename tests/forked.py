"""Processes that have torch, fastai and what else is slow to import from their start: copies of one that has only imported.

These imports take a new interpreter 5 s. What a test of ours is to start, kill or interrupt is a process of its own all the same.
"""
import multiprocessing, os, sys, tempfile, traceback

processes = multiprocessing.get_context('forkserver')
processes.set_forkserver_preload(['fastai.vision.all', 'matplotlib.pyplot', 'nbdev.test', 'onnx', 'onnxruntime', 'sklearn.metrics', 'torch.onnx'])


def start(function, *arguments, output=os.devnull, **environment):
    "A process that runs a module's function in this environment and more; what it writes goes into the file `output`"
    process = processes.Process(target=_run, args=(output, os.environ | environment, function, arguments))
    process.start()
    return process


def _run(output, environment, function, arguments):
    "In the new process, whose exit status is what the function returns"
    os.environ.clear()
    os.environ.update(environment)
    sys.stdin = open(os.devnull)
    with open(output, 'w') as file:
        for fd in (1, 2): os.dup2(file.fileno(), fd)
    sys.stdout, sys.stderr = (os.fdopen(fd, 'w', buffering=1, closefd=False) for fd in (1, 2))
    try: status = function(*arguments)
    except Exception: status = traceback.print_exc() or 1
    sys.exit(status)


def run(function, *arguments, timeout=600, **environment):
    "(exit status, what it wrote) of a function in a process of its own; after `timeout` seconds it is killed"
    with tempfile.NamedTemporaryFile('r') as output:
        process = start(function, *arguments, output=output.name, **environment)
        process.join(timeout)
        process.kill()
        process.join()
        return process.exitcode, output.read()
