"""What a release says of itself, from CHANGELOG.md, with links that work anywhere

    python tools/notes.py v0.2.0     the notes of that tag; exit 1 unless it is the package's version and has a date

It needs nothing but Python: setup.py, which makes PyPI's page of README.md, takes `absolute_links` from here.
"""
import re, sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILES, PICTURES = 'https://github.com/fastcnn/fastcnn/blob', 'https://raw.githubusercontent.com/fastcnn/fastcnn'


def package_version():
    "As fastcnn/__init__.py says it, which is not imported"
    return re.search(r'__version__ = "(.+)"', (ROOT/'fastcnn'/'__init__.py').read_text(encoding='utf-8'))[1]


def absolute_links(text, version):
    "The same Markdown, whose links and pictures lead to the repository at the tag of `version`"
    def absolute(match):
        before, target = match.groups()
        if re.match(r'[a-z]+:|#', target): return match[0]
        return f'{before}{PICTURES if target.startswith("images/") else FILES}/v{version}/{target}'
    return re.sub(r'(\]\(|\b(?:src|srcset|href)=")([^)"\s]+)', absolute, text)


def notes(changes, tag, version):
    "The part of `changes` on the version of `tag`; it has a date, and is the package's"
    if tag != f'v{version}': sys.exit(f'the tag is {tag}, and fastcnn/__init__.py says {version}')
    found = re.search(rf'^## {re.escape(version)}, (.+)\n([\s\S]*?)(?=^## |\Z)', changes, re.M)
    if not found: sys.exit(f'CHANGELOG.md has no heading "## {version}, DATE"')
    if not re.fullmatch(r'\d{4}-\d\d-\d\d', found[1]): sys.exit(f'CHANGELOG.md says "{version}, {found[1]}": write the date, such as 2027-01-31')
    if not found[2].strip(): sys.exit(f'CHANGELOG.md says nothing of {version}')
    return absolute_links(found[2].strip(), version) + '\n'


if __name__ == '__main__': print(notes((ROOT/'CHANGELOG.md').read_text(encoding='utf-8'), sys.argv[1], package_version()), end='')
