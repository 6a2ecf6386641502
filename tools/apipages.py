"What the documentation shows of an exported function or class: its call, its one line, its parameters as a table."
import ast, inspect, json, re
from functools import partial
from importlib import import_module
from pathlib import Path

from execnb.shell import CaptureShell
from fastcore.docments import DocmentTbl
from nbdev.config import get_config
from nbdev.process import Processor
from nbdev.processors import FilterDefaults, exec_show_docs
from nbdev.showdoc import BasicMarkdownRenderer, show_doc

from export import named_modules
from notebooks import ROOT

CONFIG = get_config(ROOT)


def bare(symbol):
    "The call without types, which the table tells"
    try: signature = inspect.signature(symbol)
    except ValueError: return symbol.__name__ # built in, such as the call of an exception
    plain = [p.replace(annotation=p.empty) for p in signature.parameters.values() if p.name != 'self']
    return f'{symbol.__name__}{signature.replace(parameters=plain, return_annotation=signature.empty)}'


class ApiTable(BasicMarkdownRenderer):
    "nbdev's entry for a symbol, with tables in place of comments"
    def _repr_markdown_(self):
        path, line = Path(inspect.getsourcefile(self.sym)).name, inspect.getsourcelines(self.sym)[1]
        source = f'{CONFIG.git_url}/blob/{CONFIG.branch}/fastcnn/{path}#L{line}'
        parts = ['---', f'[source]({source}){{style="float:right; font-size:smaller"}}',
                 f'{"#"*self.title_level} {self.nm}',
                 f'```python\n{bare(self.sym)}\n```', f'*{self.docs}*', str(DocmentTbl(self.sym)), self.methods()]
        return '\n\n'.join(p for p in parts if p)

    def methods(self):
        "The public methods of a class, a line each"
        members = vars(self.sym).items() if inspect.isclass(self.sym) else ()
        told = [m for name, m in members if inspect.isfunction(m) and name[0] != '_' and m.__doc__]
        rows = [f'| `{bare(m)}` | {m.__doc__} |' for m in told]
        return '\n'.join(['| **Method** | **Does** |', '| --- | --- |', *rows]) if rows else ''


def resolve_types(module):
    "Make the imports that a module keeps for type checkers: the tables evaluate its annotations"
    for node in ast.parse(inspect.getsource(module)).body:
        if not isinstance(node, ast.If) or ast.unparse(node.test) != 'TYPE_CHECKING': continue
        exec(compile(ast.Module(node.body, []), module.__file__, 'exec'), vars(module))


class RunShowDoc(Processor):
    "Run the `show_doc` cells with the module's names alone: no other cell of the notebook has to run for them"
    shell = None

    def __call__(self, cell):
        if cell.cell_type != 'code' or not re.search(r'^show_doc\(', cell.source or '', re.M): return
        self.shell = self.shell or self.start()
        shown = re.search(r'^show_doc\((\w+)', cell.source, re.M)
        if shown and shown[1] not in self.shell.user_ns: # a method of a class that is nobody's outside the library
            cell.source = ''
            return
        self.shell.cell(cell)
        if self.shell.exc: raise self.shell.exc

    def start(self):
        shell = CaptureShell()
        page = Path(self.nb.path_)
        named = [name for name, (path, _) in named_modules(ROOT/'nbs').items() if path.name == page.name]
        for name in [page.stem[3:], *named]:
            resolve_types(import_module(f'fastcnn.{name}'))
            shell.run_cell(f'from fastcnn.{name} import *')
        shell.user_ns['show_doc'] = partial(show_doc, renderer=ApiTable)
        return shell


def polish(source):
    "A cell as smalldocs reads it well: alt text quoted (it may hold a colon); short names of folds; imports folded"
    source = re.sub(r'^(#\|\s*fig-alt:\s*)([^"\'\n].*)$', lambda m: m[1] + json.dumps(m[2]), source, flags=re.M)
    source = source.replace('"Exported source"\n#| exports: true', 'Source')
    return re.sub(r'show\n(.*: )Source\n(?=import |from )', r'true\n\1Imports\n', source)


class SiteFilter(FilterDefaults):
    "nbdev's processing of a notebook, with these entries, and the exported code, which is what the page is about"
    def base_procs(self): return [RunShowDoc if p is exec_show_docs else p for p in super().base_procs()]

    def __call__(self, nb):
        "nbdev shows the code of `exports` cells, in a fold below the entry"
        for cell in nb.cells: cell.source = re.sub(r'^#\|\s*export\s*$', '#| exports', cell.source, flags=re.M)
        super().__call__(nb)
        nb.cells = [c for c in nb.cells if c.get('source')]
        for cell in nb.cells: cell.source = polish(cell.source)
