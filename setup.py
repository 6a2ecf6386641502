"Reads what settings.ini says of requirements and commands; all static facts stand in pyproject.toml."
from configparser import ConfigParser
from setuptools import setup

settings = ConfigParser(delimiters=['='])
settings.read('settings.ini', encoding='utf-8')
lines = lambda key: settings['DEFAULT'].get(key, '').split('\n')[1:]

setup(
    install_requires=lines('requirements'),
    extras_require={key.removesuffix('_requirements'): lines(key) for key in settings['DEFAULT'] if key.endswith('_requirements')},
    entry_points={
        'console_scripts': lines('console_scripts'),
        'nbdev': ['fastcnn = fastcnn._modidx:d'],
        'fastcnn.providers': lines('provider_plugins'),
    },
)
