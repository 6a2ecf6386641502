"Reads requirements and commands from settings.ini, and gives the README links that work on PyPI too; all static facts stand in pyproject.toml."
import re
from configparser import ConfigParser
from pathlib import Path
from setuptools import setup

settings = ConfigParser(delimiters=['='])
settings.read('settings.ini', encoding='utf-8')
lines = lambda key: settings['DEFAULT'].get(key, '').split('\n')[1:]
version = re.search(r'__version__ = "(.+)"', Path('fastcnn/__init__.py').read_text(encoding='utf-8'))[1]


def absolute(match):
    "A link or a picture of the README as the address of that file at this version's tag"
    before, target = match.groups()
    if re.match(r'[a-z]+:|#', target): return match[0]
    host = 'https://raw.githubusercontent.com/fastcnn/fastcnn' if target.startswith('images/') else 'https://github.com/fastcnn/fastcnn/blob'
    return f'{before}{host}/v{version}/{target}'


setup(
    long_description=re.sub(r'(\]\(|(?:src|href)=")([^)"\s]+)', absolute, Path('README.md').read_text(encoding='utf-8')),
    long_description_content_type='text/markdown',
    install_requires=lines('requirements'),
    extras_require={key.removesuffix('_requirements'): lines(key) for key in settings['DEFAULT'] if key.endswith('_requirements')},
    entry_points={
        'console_scripts': lines('console_scripts'),
        'nbdev': ['fastcnn = fastcnn._modidx:d'],
        'fastcnn.providers': lines('provider_plugins'),
    },
)
