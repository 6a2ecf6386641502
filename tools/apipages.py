"What a library notebook shows on its page: the story, each exported name with its call and its one line, the code beneath."
import json, re
from pathlib import Path

from nbdev.process import Processor
from nbdev.processors import FilterDefaults, clean_magics, exec_show_docs

from reference import call, entry_of, page_name
from notebooks import NBS

MAGICS = re.compile(r'^\s*%(load_ext|autoreload|reload_ext|matplotlib|config)\b.*', re.M)


class ShowEntry(Processor):
    "In place of nbdev's `show_doc`: nothing has to run for it; parameters, errors and examples are in the reference"
    def __call__(self, cell):
        shown = re.search(r'^show_doc\(([\w.]+)', cell.source or '', re.M) if cell.cell_type == 'code' else None
        if not shown: return
        page = page_name(NBS/Path(self.nb.path_).name)
        found = entry_of(page, shown[1])
        cell.cell_type = 'markdown'
        cell.source = self.entry(*found, page) if found else '' # nobody's outside the library
        cell.pop('outputs', None)

    def entry(self, module, symbol, page):
        name = symbol.__name__
        told = re.sub(r'\s+', ' ', symbol.__doc__ or '')
        link = f'[reference](api/{module.name}.ipynb#{name}){{.reference}}'
        return f'### {name}\n\n```python\n{call(symbol)}\n```\n\n{told} {link}'


def drop_magics(cell):
    "nbdev's `clean_magics`, which reads the settings of the project anew for each cell"
    if cell.cell_type == 'code': cell.source = MAGICS.sub('', cell.source).strip()


def polish(source):
    "A cell as smalldocs reads it well: alt text quoted (it may hold a colon); short names of folds; imports folded"
    source = re.sub(r'^(#\|\s*fig-alt:\s*)([^"\'\n].*)$', lambda m: m[1] + json.dumps(m[2]), source, flags=re.M)
    source = source.replace('"Exported source"\n#| exports: true', 'Source')
    return re.sub(r'show\n(.*: )Source\n(?=import |from )', r'true\n\1Imports\n', source)


class SiteFilter(FilterDefaults):
    "nbdev's processing of a notebook, with these entries, and the exported code, which is what the page is about"
    def base_procs(self):
        own = {exec_show_docs: ShowEntry, clean_magics: drop_magics}
        return [own.get(p, p) for p in super().base_procs()]

    def __call__(self, nb):
        "nbdev shows the code of `exports` cells, in a fold below the entry"
        for cell in nb.cells: cell.source = re.sub(r'^#\|\s*export\s*$', '#| exports', cell.source, flags=re.M)
        super().__call__(nb)
        nb.cells = [c for c in nb.cells if c.get('source')]
        for cell in nb.cells: cell.source = polish(cell.source)
