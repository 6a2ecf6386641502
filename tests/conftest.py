"One runner for everything: pytest runs the checks, the tests and the notebooks, and the last line counts them."
import json, os, signal, zlib
from itertools import chain

import nbformat
import notebooks
import pytest
from faults import root, server # fixtures
from machine import machine
from web import browser # a fixture
from xdist.scheduler import LoadScopeScheduling

os.environ.update(notebooks.QUIET)
os.environ.pop('PYTHONDONTWRITEBYTECODE', None) # the processes of the tests keep what they compile, as a user's do
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN: signal.signal(signal.SIGINT, signal.default_int_handler) # as a shell starts what runs in the background
VERIFIED = notebooks.ROOT/'bench'/'results'/'verify.json'
SECONDS = 60 # of long checks that `make test` takes along: which, the commit says; those that take longer are left to `make verify`


def pytest_addoption(parser):
    told = 'the long checks, all of them, and only them; how each ended goes into bench/results/verify.json'
    parser.addoption('--verify', action='store_true', help=told)


def pytest_configure(config):
    told = 'a long check: all run with --verify, a minute of them without, or this share of those that say `share`'
    config.addinivalue_line('markers', f'verify(share=None): {told}')


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    "Of the long checks, all (make verify, or named on the command line) or those whose turn it is at this commit"
    items.sort(key=lambda item: -seconds(item)) # two processes end at the same time if the longest come first
    if config.args_source == config.ArgsSource.ARGS and not config.option.verify: return
    long = [item for item in items if item.get_closest_marker('verify')]
    wanted = set(long) if config.option.verify else set(items) - set(long) | set(whose_turn_it_is(long))
    config.hook.pytest_deselected(items=[item for item in items if item not in wanted])
    items[:] = [item for item in items if item in wanted]


def whose_turn_it_is(items):
    """The share of the long checks that say one; of the others what takes a minute together, as `make verify` has measured them:
    one of which nothing is known counts as a minute"""
    commit, measured, left = notebooks.commit_number(), results(), SECONDS
    number = {item: zlib.crc32(f'{commit} {item.nodeid}'.encode()) for item in items}
    for item in sorted(items, key=number.get):
        if share := item.get_closest_marker('verify').kwargs.get('share'):
            if number[item] < share*2**32: yield item
            continue
        known = measured.get(item.nodeid, {})
        takes = known['seconds'] if 'setup' in known else max(SECONDS, known.get('seconds', 0))
        if takes > left: continue
        left -= takes
        yield item


def results(): return json.loads(VERIFIED.read_text()) if VERIFIED.exists() else {}


class Groups(LoadScopeScheduling):
    "What one process runs: a notebook, or a file, whose fixtures are made once (pytest-xdist 3.8's groups pass pytest 9.2 by)"
    def _split_scope(self, nodeid): return nodeid if 'test_notebooks.py' in nodeid else nodeid.partition('::')[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    config.option.loadscopereorder = False # in the order of `pytest_collection_modifyitems`
    return Groups(config, log)


def seconds(item):
    "How long a notebook took when its outputs were made; files of tests, which take longer, come first"
    if item.path.stem != 'test_notebooks': return float('inf')
    return nbformat.read(item.callspec.params['path'], 4).metadata.get('fastcnn', {}).get('seconds', 0)


def counts(config):
    "How many passed, failed and were skipped"
    stats = config.pluginmanager.get_plugin('terminalreporter').stats
    return [sum(len(stats.get(kind, ())) for kind in kinds)
            for kinds in (('passed', 'xpassed'), ('failed', 'error'), ('skipped', 'xfailed'))]


def pytest_sessionfinish(session, exitstatus):
    "A run in which nothing passed has shown nothing"
    if hasattr(session.config, 'workerinput'): return # of two processes, the one that they report to counts
    if not counts(session.config)[0]: session.exitstatus = exitstatus or 1
    if session.config.option.verify: keep_results(session.config)


def keep_results(config):
    "Note how each long check ended, when and on which machine; a check keeps figures with `record_property`"
    stats, about = config.pluginmanager.get_plugin('terminalreporter').stats, machine('fastcnn')
    setups = {report.nodeid: report.duration for report in stats.get('', ()) if report.when == 'setup'}
    new = {}
    for report in chain.from_iterable(stats.get(kind, ()) for kind in ('passed', 'failed', 'error', 'skipped')):
        setup = setups.get(report.nodeid, 0)
        took = dict(outcome=report.outcome, seconds=round(report.duration + setup, 1), setup=round(setup, 1))
        new[report.nodeid] = took | dict(report.user_properties) | about
    VERIFIED.write_text(json.dumps(dict(sorted((results() | new).items())), indent=1) + '\n')


def pytest_unconfigure(config):
    "The closing line, after everything that pytest itself has to say"
    if not config.option.collectonly and not hasattr(config, 'workerinput'): print('{} passed, {} failed, {} skipped'.format(*counts(config)))
