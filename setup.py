"Reads requirements and commands from settings.ini, and PyPI's page from README.md; all static facts stand in pyproject.toml."
import sys
from configparser import ConfigParser
from pathlib import Path
from setuptools import setup

sys.path.insert(0, 'tools')
from notes import absolute_links, package_version

settings = ConfigParser(delimiters=['='])
settings.read('settings.ini', encoding='utf-8')
lines = lambda key: settings['DEFAULT'].get(key, '').split('\n')[1:]

setup(
    long_description=absolute_links(Path('README.md').read_text(encoding='utf-8'), package_version()), # there, no relative link works
    long_description_content_type='text/markdown',
    install_requires=lines('requirements'),
    extras_require={key.removesuffix('_requirements'): lines(key) for key in settings['DEFAULT'] if key.endswith('_requirements')},
    entry_points={
        'console_scripts': lines('console_scripts'),
        'nbdev': ['fastcnn = fastcnn._modidx:d'],
        'fastcnn.providers': lines('provider_plugins'),
    },
)
