"""What `fastcnn doctor` says of each provider, beside what it said last time: for the nightly workflow

    python tools/states.py states.txt    writes fastcnn-doctor.txt, the new states, and changes.md where there are any
"""
import os, sys
from pathlib import Path

from fastcnn.core import atomic_write
from fastcnn.doctor import check_providers, write_checks


def read_states(path):
    "Provider → state; empty where nobody has asked before"
    lines = path.read_text(encoding='utf-8').splitlines() if path.exists() else []
    return dict(line.split(': ', 1) for line in lines)


def changed(before, now):
    "A line for each provider whose state is another one than before"
    return [f'- {name}: {before[name]} before, now {state}' for name, state in now.items() if before.get(name, state) != state]


def main(path):
    checks = check_providers()
    report = write_checks(checks, 'fastcnn-doctor.txt').read_text(encoding='utf-8')
    before = read_states(path)
    now = {check.provider: check.state for check in checks}
    now |= {name: before[name] for name in before if now.get(name) == 'asked too often'} # which says nothing of the service
    lines = changed(before, now)
    atomic_write(path, ''.join(f'{name}: {state}\n' for name, state in now.items()))
    for name, state in now.items(): print(f'{name:12} {state}')
    if lines: atomic_write(Path('changes.md'), '\n'.join([*lines, '', '```', report[:50_000].replace('```', "'''"), '```']))
    if os.environ.get('GITHUB_OUTPUT'):
        with open(os.environ['GITHUB_OUTPUT'], 'a') as outputs: outputs.write(f'changed={str(bool(lines)).lower()}\n')


if __name__ == '__main__': main(Path(sys.argv[1]))
