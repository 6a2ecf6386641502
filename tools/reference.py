"""The API reference: a page per module, made from the package itself and from the notebooks' own cells.

Each public name has its signature, parameters, what it returns and raises, an example with its saved output, and the
way to the notebook's section and to the source. Another page has the command's verbs and options, from its parser.
"""
import argparse, ast, builtins, inspect, re
from dataclasses import dataclass
from enum import EnumType
from functools import cache, cached_property
from importlib import import_module
from pathlib import Path

from fastcore.docments import docments
from fastcore.nbio import mk_cell, new_nb, read_nb
from nbdev.config import get_config
from nbdev.doclinks import NbdevLookup

from fastcnn._modidx import d as INDEX
from fastcnn.cli import command_parser
from notebooks import NBS, ROOT, is_check

CONFIG = get_config(ROOT)
LESSONS = [f'tutorials/{name}' for name in ('start', 'edges', 'shapes', 'planets', 'transfer', 'collection', 'mnist')]
MOST_LINES, MOST_MESSAGES = 16, 6 # of an example; of the errors of one name
DEFINES = ast.FunctionDef, ast.ClassDef


def page_name(path):
    "`nbs/00_core.ipynb` → `core.ipynb`, the name that nbdev gives its page"
    return re.sub(r'\b\d\d_(\w+\.ipynb)', r'\1', str(path.relative_to(NBS)))


@cache
def cells(path):
    "The cells of a notebook; only read"
    return read_nb(path).cells


@dataclass(frozen=True)
class Module:
    "A module of the package with its public names"
    name:str
    notebook:Path
    names:tuple

    @cached_property
    def module(self): return import_module(f'fastcnn.{self.name}')

    @cached_property
    def tree(self): return {name: node for node in ast.parse(inspect.getsource(self.module)).body for name in defined(node)}

    @property
    def about(self): return (self.module.__doc__ or '').strip().split('\n')[0]


def defined(node):
    "The names that a statement of a module defines"
    if isinstance(node, DEFINES): return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)]


def public_names(source):
    "`__all__` of a module's source, as nbdev writes it: `all` works its own out later"
    assigned = [n.value for n in ast.parse(source).body if isinstance(n, ast.Assign) and defined(n) == ['__all__']]
    listed = [ast.literal_eval(value) for value in assigned if isinstance(value, ast.List)]
    return tuple((listed or [[]])[0])


@cache
def modules():
    "Every module with a public name, in the order of its notebooks"
    found = []
    for file in (ROOT/'fastcnn').glob('*.py'):
        source = file.read_text()
        notebook = re.search(r'File to edit: \.\./nbs/(\S+\.ipynb)', source)
        if notebook and (names := public_names(source)): found.append(Module(file.stem, NBS/notebook[1], names))
    return sorted(found, key=lambda m: (m.notebook.name, page_name(m.notebook) != f'{m.name}.ipynb', m.name))


@cache
def book_link(module, name):
    "Where the notebooks define it: `images.html#read_image`; a constant has no entry of its own there"
    found = INDEX['syms'].get(f'fastcnn.{module.name}', {}).get(f'fastcnn.{module.name}.{name}')
    return found[0] if found else page_name(module.notebook).replace('.ipynb', '.html')


@cache
def addresses():
    "Entry in the notebooks → entry in the reference"
    found = {}
    for module in modules():
        for symbol, (link, _) in INDEX['syms'][f'fastcnn.{module.name}'].items():
            owner, _, method = symbol.removeprefix(f'fastcnn.{module.name}.').partition('.')
            name = f'{owner}.{method}' if method and method[0] != '_' else owner
            if owner in module.names: found[link] = f'api/{module.name}.html#{name}'
    return found


def entry_of(page, name):
    "(module, object) of a public name that a notebook defines; None where it is nobody's outside the library"
    found = [m for m in modules() if page_name(m.notebook) == page and name in m.names]
    return (found[0], getattr(found[0].module, name)) if found else None


@cache
def lookup(): return NbdevLookup()


@cache
def linked(text):
    "Prose with its names in backticks as links"
    return lookup().linkify(text) if '`' in text else text


def call(symbol, name=None):
    "The call without types, which the parameters tell"
    name = name or symbol.__name__
    try: signature = inspect.signature(symbol)
    except ValueError: return name # built in, such as the call of an exception
    plain = [p.replace(annotation=p.empty) for p in signature.parameters.values() if p.name != 'self']
    text = f'{name}{signature.replace(parameters=plain, return_annotation=signature.empty)}'
    if len(text) <= 88 or not plain: return text
    parts = re.split(r', (?![^()\[\]{}]*[)\]}])', text[len(name) + 1:-1]) # not within a default
    return f'{name}(\n    ' + ',\n    '.join(parts) + ',\n)'


def arguments(node):
    "What a definition's parameters are in its own words: name → (type, default)"
    if isinstance(node, ast.ClassDef):
        init = next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == '__init__'), None)
        if init: return arguments(init)
        fields = [n for n in node.body if isinstance(n, ast.AnnAssign)]
        return {f.target.id: (ast.unparse(f.annotation), ast.unparse(f.value) if f.value else '') for f in fields}
    spec = node.args
    plain = [*spec.posonlyargs, *spec.args]
    defaults = dict(zip([a.arg for a in plain[len(plain) - len(spec.defaults):]], spec.defaults, strict=True))
    defaults |= {a.arg: value for a, value in zip(spec.kwonlyargs, spec.kw_defaults, strict=True) if value}
    named = [*plain, *spec.kwonlyargs, *filter(None, (spec.vararg, spec.kwarg))]
    text = lambda part: ast.unparse(part) if part else ''
    return {a.arg: (text(a.annotation), text(defaults.get(a.arg))) for a in named}


def typed(text):
    "A type as prose shows it; Markdown reads none of it"
    return re.sub(r'([][*_`$<|])', r'\\\1', re.sub(r'\s*\|\s*', ' | ', text.strip('\'"')))


def parameters(symbol, node):
    "A definition list of the parameters"
    try: signature = inspect.signature(symbol).parameters.values()
    except ValueError: return ''
    told, known, rows = docments(symbol), arguments(node), []
    for p in signature:
        if p.name == 'self': continue
        kind, default = known.get(p.name, ('', ''))
        mark = {p.VAR_POSITIONAL: '*', p.VAR_KEYWORD: '**'}.get(p.kind, '')
        about = ' '.join(filter(None, (kind and f'[{typed(kind)}]{{.param-type}}', default and f'[default `{default}`]{{.param-default}}')))
        rows.append(f'`{mark}{p.name}` {about}\n:   {linked(told.get(p.name) or "–")}')
    return section('Parameters', '\n\n'.join(rows)) if rows else ''


def section(title, text):
    "A titled part of an entry; no heading, of which the table of contents would be full"
    return f'[{title}]{{.part}}\n\n{text}' if text else ''


def returned(symbol, node):
    "What it gives back"
    if isinstance(node, ast.ClassDef): return ''
    kind, told = ast.unparse(node.returns) if node.returns else '', docments(symbol).get('return')
    if kind in ('', 'None') and not told: return ''
    return section('Returns', f'[{typed(kind) or "value"}]{{.param-type}}\n:   {linked(told or "–")}')


def message(node):
    "What an error says, its variable parts in italics"
    if isinstance(node, ast.Constant): return re.sub(r'([][*_`$<])', r'\\\1', str(node.value))
    if isinstance(node, ast.FormattedValue):
        names = [part.id for part in ast.walk(node) if isinstance(part, ast.Name)]
        return f'*{names[0].upper()}*'.replace('_', r'\_') if names else '…'
    if isinstance(node, ast.JoinedStr): return ''.join(map(message, node.values))
    if isinstance(node, ast.BinOp): return message(node.left) + message(node.right)
    return '…'


def raises(module, name, seen=None):
    "The errors of a definition and of the private ones that it uses: (class, message)"
    seen = set() if seen is None else seen
    if name in seen or name not in module.tree: return []
    seen.add(name)
    found = []
    for node in ast.walk(module.tree[name]):
        raised = node.exc if isinstance(node, ast.Raise) else None
        if isinstance(raised, ast.Call) and isinstance(raised.func, ast.Name):
            found.append((raised.func.id, message(raised.args[0]) if raised.args else ''))
        if isinstance(node, ast.Name) and node.id[0] == '_': found += raises(module, node.id, seen)
    return [(kind, said) for kind, said in dict.fromkeys(found) if is_error(module, kind)]


def is_error(module, name):
    "Whether it is an error that a user meets; what is private is caught inside"
    kind = error_class(module, name)
    return name[0] != '_' and inspect.isclass(kind) and issubclass(kind, Exception)


def error_class(module, name): return getattr(module.module, name, getattr(builtins, name, None))


def errors(module, name):
    "The errors by class, with what they say"
    by_class = {}
    for kind, said in raises(module, name): by_class.setdefault(kind, []).append(said)
    rows = []
    for kind, said in by_class.items():
        said = [text for text in said if text.strip('… ')] or [error_class(module, kind).__doc__ or '–']
        more = [f'and {len(said) - MOST_MESSAGES} more'] if said[MOST_MESSAGES:] else []
        rows.append(linked(f'`{kind}`') + '\n' + ('\n'.join(f':   {text}\n' for text in [*said[:MOST_MESSAGES], *more]) or ':   –'))
    return section('Raises', '\n\n'.join(rows))


@dataclass(frozen=True)
class Candidate:
    "A cell that may be an example: what it calls, what else it names"
    cell:object
    calls:frozenset
    names:frozenset
    checks:bool


HIDDEN = re.compile(r'^#\|\s*(export|exporti|exports|hide|default_exp|eval: false|echo: false)\b', re.M)

@cache
def candidates(path):
    "The shown cells of a notebook that are short, with what they use and do not define"
    found = []
    for cell in cells(path):
        if cell.cell_type != 'code' or HIDDEN.search(cell.source) or cell.source.count('\n') >= MOST_LINES: continue
        try: tree = ast.parse(cell.source)
        except SyntaxError: continue # a magic
        own = {name for node in tree.body for name in defined(node)}
        named = lambda nodes, own=own: frozenset(n.id for n in nodes if isinstance(n, ast.Name) and n.id not in own)
        called = [n.func for n in ast.walk(tree) if isinstance(n, ast.Call)]
        found.append(Candidate(cell, named(called), named(ast.walk(tree)), is_check(cell.source)))
    return found


def example(module, name):
    "(notebook, cell): the first that calls it, in its own notebook before others; else one that checks it, else one that names it"
    paths = dict.fromkeys([module.notebook, *(NBS/f'{page}.ipynb' for page in LESSONS), *sorted(NBS.glob('[0-9]*.ipynb'))])
    wanted = (lambda c: name in c.calls and not c.checks), (lambda c: name in c.calls), (lambda c: name in c.names)
    for fits in wanted:
        for path in paths:
            found = next((c.cell for c in candidates(path) if fits(c)), None)
            if found: return path, found
    return None


def example_cells(module, name):
    "The example with its saved output, and where it is from"
    found = example(module, name)
    if not found: return []
    path, cell = found
    source = re.sub(r'^#\|\s*code-fold.*\n', '', cell.source, flags=re.M)
    shown = mk_cell(source, 'code', outputs=cell.get('outputs', []))
    page = page_name(path).replace('.ipynb', '.html')
    title = re.search(r'^# (.+)$', cells(path)[0].source, re.M)[1]
    return [mk_cell(f'[Example]{{.part}} from [{title}](../{page})', 'markdown'), shown]


def methods(module, symbol, name):
    "The public methods of a class, each with an anchor"
    if not inspect.isclass(symbol): return ''
    plain = lambda m: m.__func__ if isinstance(m, classmethod | staticmethod) else m.fget if isinstance(m, property) else m
    told = [(n, m, plain(m)) for n, m in vars(symbol).items() if n[0] != '_']
    rows = []
    for n, member, function in told:
        if not inspect.isfunction(function) or not function.__doc__: continue
        shown = n if isinstance(member, property) else call(function, n).replace('\n    ', ' ').replace(',\n)', ')').replace('( ', '(')
        rows.append(f'`{shown}`{{#{name}.{n}}}\n:   {linked(function.__doc__.strip())}')
    return section('Methods', '\n\n'.join(rows))


def source_link(module, node):
    return f'{CONFIG.git_url}/blob/{CONFIG.branch}/fastcnn/{module.name}.py#L{node.lineno}'


def entry(module, name):
    "The cells of one public name"
    symbol, node = getattr(module.module, name), module.tree.get(name)
    if node is None: return passed_on(name, symbol)
    links = f'[in the book](../{book_link(module, name)}) [source]({source_link(module, node)})'
    head = [f'## {name} {{#{name}}}', f'::: {{.entry-links}}\n{links}\n:::']
    if not isinstance(node, DEFINES):
        value = ast.get_source_segment(inspect.getsource(module.module), node)
        return [mk_cell('\n\n'.join([*head, f'```python\n{value}\n```']), 'markdown'), *example_cells(module, name)]
    told = re.sub(r'\s+', ' ', ast.get_docstring(node) or '')
    parts = [*head, f'```python\n{call(symbol)}\n```', linked(told), parameters(symbol, node), returned(symbol, node),
             errors(module, name), methods(module, symbol, name)]
    return [mk_cell('\n\n'.join(part for part in parts if part), 'markdown'), *example_cells(module, name)]


def passed_on(name, symbol):
    "A class of another package that this one gives too"
    told = f'{inspect.getmodule(symbol).__name__.partition(".")[0]}’s own class'
    members = ', '.join(f'`{member.name}`' for member in symbol) if isinstance(symbol, EnumType) else ''
    return [mk_cell(f'## {name} {{#{name}}}\n\n{told}{": " if members else "."}{members}', 'markdown')]


def one_line(module, name):
    "What a table says of a name"
    node = module.tree.get(name)
    told = ast.get_docstring(node) if isinstance(node, DEFINES) else None
    return re.sub(r'\s+', ' ', told or ('a constant' if node else 'a class of the package below')).replace('|', r'\|')


def names_table(module, page=''):
    rows = [f'| [`{name}`]({page}#{name}) | {one_line(module, name)} |' for name in module.names]
    return '::: {.names}\n' + '\n'.join(['| name | what it is |', '| --- | --- |', *rows]) + '\n:::'


def front(title, told): return mk_cell(f'---\ntitle: "{title}"\ndescription: {told!r}\n---', 'raw')


def module_page(module):
    "All of a module"
    book = page_name(module.notebook)
    title = re.search(r'^# (.+)$', cells(module.notebook)[0].source, re.M)[1]
    head = f'```python\nfrom fastcnn.{module.name} import {module.names[0]}\n```\n\nHow it works, step by step: [{title}](../{book}).'
    table = names_table(module) if module.names[1:] else ''
    parts = [front(module.name, module.about), mk_cell(f'{head}\n\n{table}', 'markdown')]
    return new_nb([*parts, *(cell for name in module.names for cell in entry(module, name))])


def index_page():
    "Every public name"
    told = 'Every public name of fastcnn, module by module. Search finds names first: press /.'
    parts = [f'## [{m.name}]({m.name}.ipynb)\n\n{m.about}\n\n{names_table(m, m.name + ".ipynb")}' for m in modules()]
    head = '`from fastcnn.all import *` brings them all. The words of the terminal: [the command](command.ipynb).'
    return new_nb([front('API reference', told), mk_cell('\n\n'.join([head, *parts]), 'markdown')])


def option_row(verb, action):
    "A row for an argument of a verb"
    formatter = verb._get_formatter() # argparse has no public way to what its --help says
    names = ', '.join(f'`{name}`' for name in action.option_strings) or f'`{formatter._format_args(action, action.dest.upper())}`'
    value = '' if not action.option_strings or action.nargs == 0 else f' `{formatter._format_args(action, action.dest.upper())}`'
    told = formatter._expand_help(action) if action.help else ''
    told = re.sub(r'[;,]?\s*\(?default: [^()]*\)?$', '', told) # which the last column says
    chosen = '' if not action.choices or action.metavar is None else ' One of ' + ', '.join(f'`{c}`' for c in action.choices) + '.'
    default = '' if action.default in (None, False, argparse.SUPPRESS, [], (), '') else f'`{action.default}`'
    return f'| {names}{value} | {told}{chosen} | {default} |'.replace('\n', ' ')


def verb_text(name, verb):
    "A verb: what it does, how it is called, its options"
    rows = [option_row(verb, action) for action in verb._actions if action.help != argparse.SUPPRESS and action.dest != 'help']
    table = '\n'.join(['| argument | what it says | default |', '| --- | --- | --- |', *(row.replace('`|`', '') for row in rows)])
    usage = re.sub(r'^usage: ', '', verb.format_usage()).strip()
    examples = f'```sh\n{verb.epilog.strip()}\n```' if verb.epilog else ''
    parts = [f'## {name} {{#{name}}}', verb.description, f'```text\n{usage}\n```', f'::: {{.options}}\n{table}\n:::', examples]
    return '\n\n'.join(part for part in parts if part)


def command_page():
    "The verbs and their options, from the parser itself"
    verbs = next(a for a in command_parser()._actions if isinstance(a, argparse._SubParsersAction)).choices
    listed = '\n'.join(f'| [`{name}`](#{name}) | {verb.description or ""} |' for name, verb in verbs.items())
    head = '`fastcnn VERB --help` says the same in the terminal.\n\n::: {.names}\n| verb | what it does |\n| --- | --- |\n' + listed + '\n:::'
    text = '\n\n'.join([head, *(verb_text(name, verb) for name, verb in verbs.items())])
    return new_nb([front('The command', 'Every verb of fastcnn in the terminal, with its options.'), mk_cell(text, 'markdown')])


def pages():
    "The pages of the reference: name → notebook"
    return {'index': index_page(), 'command': command_page()} | {m.name: module_page(m) for m in modules()}
