"""README.md from nbs/index.ipynb, its pictures into images/.

    python tools/readme.py           write them
    python tools/readme.py --check   exit 1 if they are out of step
"""
import base64, os, re, sys

from fastcore.nbio import read_nb
from nbdev.processors import FilterDefaults, filter_stream_, hide_, hide_line, rm_export, strip_ansi

from notebooks import NBS, ROOT

INDEX = NBS/'index.ipynb'
HUB = 'https://github.com/fastcnn/fastcnn'
BADGES = [ # on GitHub and PyPI only: the site asks nothing of the network
    ('Tests', f'{HUB}/actions/workflows/test.yml/badge.svg', f'{HUB}/actions/workflows/test.yml'),
    ('Documentation', 'https://img.shields.io/badge/docs-fastcnn.github.io-4c6ef5', 'https://fastcnn.github.io/fastcnn/'),
    ('Python 3.11 to 3.14', 'https://img.shields.io/badge/python-3.11_to_3.14-3776ab', f'{HUB}#get-it'),
    ('Licence Apache 2.0', 'https://img.shields.io/badge/licence-Apache_2.0-2f9e44', f'{HUB}/blob/main/LICENSE'),
    ('Open in Colab', 'https://colab.research.google.com/assets/colab-badge.svg',
     'https://colab.research.google.com/github/fastcnn/fastcnn/blob/main/nbs/tutorials/start.ipynb'),
]


class ReadmeFilter(FilterDefaults):
    "nbdev's processing, less what only the site needs: front matter, links of names, API tables"
    def base_procs(self): return [strip_ansi, hide_line, filter_stream_, rm_export, hide_]


def from_root(match):
    "A link of nbs/index.ipynb as a link of README.md"
    target = match[2]
    if re.match(r'[a-z]+:|#|/', target): return match[0]
    return match[1] + os.path.normpath(os.path.join(NBS.relative_to(ROOT), target)) + match[3]


def option(source, name, default=''):
    "The value of a cell's `#| name: value`"
    found = re.search(rf'^#\|\s*{name}:\s*(.+?)\s*$', source, re.M)
    return found[1] if found else default


def output_text(data, alt, pictures):
    "One output as Markdown; a picture is added to `pictures`"
    for kind, suffix in (('image/png', 'png'), ('image/jpeg', 'jpg')):
        if kind in data:
            name = f'images/index-{len(pictures) + 1}.{suffix}'
            pictures[name] = base64.b64decode(''.join(data[kind]))
            return f'![{alt}]({name})'
    if 'text/markdown' in data: return ''.join(data['text/markdown'])
    return '```\n' + ''.join(data['text/plain']).rstrip() + '\n```'


def code_text(cell, pictures):
    "The parts of a code cell that are shown"
    source = cell.source
    if option(source, 'include') == 'false': return
    code = re.sub(r'^#\|.*\n?', '', source, flags=re.M).strip()
    if code and option(source, 'echo') != 'false': yield f'```python\n{code}\n```'
    if option(source, 'output') == 'false': return
    for out in cell.get('outputs', []):
        data = out.get('data') or {'text/plain': out.get('text', '')}
        if out.get('name') != 'stderr': yield output_text(data, option(source, 'fig-alt'), pictures)


def build():
    "Every file that the index makes: name → bytes"
    nb, pictures = read_nb(INDEX), {}
    ReadmeFilter()(nb)
    parts = ['<!-- Made from nbs/index.ipynb by tools/readme.py: edit that. -->']
    for cell in nb.cells:
        if cell.cell_type == 'markdown':
            parts.append(re.sub(r'(\]\()([^)\s]+)(\s*[^)]*\))', from_root, cell.source.strip()))
        elif cell.cell_type == 'code': parts += code_text(cell, pictures)
    parts.insert(2, '\n'.join(f'[![{alt}]({picture})]({link})' for alt, picture, link in BADGES)) # below the title
    return {'README.md': ('\n\n'.join(p for p in parts if p) + '\n').encode()} | pictures


def changed():
    "The files that are not what the index makes"
    return [name for name, data in build().items() if not (ROOT/name).exists() or (ROOT/name).read_bytes() != data]


if __name__ == '__main__':
    if '--check' in sys.argv:
        wrong = changed()
        sys.exit(f'run python tools/readme.py: out of step with {INDEX.name}: {wrong}' if wrong else 0)
    (ROOT/'images').mkdir(exist_ok=True)
    for name in changed(): (ROOT/name).write_bytes(build()[name])
