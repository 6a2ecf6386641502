"""Calls of the command in a process of its own, with a bound on its memory and on each call's time; for each a line of JSON: exit status (or
the error that came through), what was said, seconds, and the largest memory since the last call, MB

    python child.py '[["info", "a.zip"], …]' [SECONDS]
"""
import contextlib, io, json, resource, signal, sys, time

from fastcnn.cli import main


class TooLong(BaseException): pass


def ring(*_): raise TooLong('too long')


def peak():
    "MB since the last call, where the system can forget what was before"
    with open('/proc/self/status') as about: found = next(int(line.split()[1]) for line in about if line.startswith('VmHWM'))
    with open('/proc/self/clear_refs', 'w') as forget: forget.write('5')
    return found // 1024


def run(argv, seconds):
    said, start = io.StringIO(), time.monotonic()
    signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said): status = main(argv)
    except BaseException as error: status = f'{type(error).__name__}: {error}'[:300]
    finally: signal.alarm(0)
    return dict(status=status, said=said.getvalue()[-3000:], seconds=round(time.monotonic() - start, 1), mb=peak())


if __name__ == '__main__':
    resource.setrlimit(resource.RLIMIT_AS, (5 * 2**30,) * 2)
    peak()
    for argv in json.loads(sys.argv[1]): print(json.dumps(run(argv, int((sys.argv[2:] or ['60'])[0]))), flush=True)
