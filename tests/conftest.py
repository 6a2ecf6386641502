"One runner for everything: pytest runs the checks, the tests and the notebooks, and the last line counts them."
import os

import notebooks
from faults import root, server # fixtures

os.environ.update(notebooks.QUIET)


def counts(config):
    "How many passed, failed and were skipped"
    stats = config.pluginmanager.get_plugin('terminalreporter').stats
    return [sum(len(stats.get(kind, ())) for kind in kinds)
            for kinds in (('passed', 'xpassed'), ('failed', 'error'), ('skipped', 'xfailed'))]


def pytest_sessionfinish(session, exitstatus):
    "A run in which nothing passed has shown nothing"
    if not counts(session.config)[0]: session.exitstatus = exitstatus or 1


def pytest_unconfigure(config):
    "The closing line, after everything that pytest itself has to say"
    if not config.option.collectonly: print('{} passed, {} failed, {} skipped'.format(*counts(config)))
