"""Numbers in the prose of the lessons: each must be computed or asserted by code beside it.

    python tools/prose.py [NOTEBOOK…]   list the numbers that no cell beside them bears out; exit 1 if there are any

A number bears on what the reader sees next to it. It counts as borne out if one of the code cells around its paragraph
holds it: as a literal, as the value of constant arithmetic such as `64*3*5*5 + 64`, as the length of a list that is
written out, or in its output. Around means three before and three after, within the same `##` section, and always the
nearest one; what stands before the first code cell speaks of the whole page. Output may have more digits than the
prose, and shares count as percentages. Number words from two on are numbers too. What needs no proof is listed in
`EXCEPTIONS`, each with its reason.
"""
import argparse, ast, html, math, re, sys
from dataclasses import dataclass

import nbformat

from notebooks import NBS

SMALL = ('zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen '
         'seventeen eighteen nineteen twenty').split()
WORDS = {word: n for n, word in enumerate(SMALL) if n > 1}
TENS = dict(twenty=20, thirty=30, forty=40, fifty=50, sixty=60, seventy=70, eighty=80, ninety=90)
WORDS |= {f'{ten}-{one}': TENS[ten] + n for ten in TENS for n, one in enumerate(SMALL[1:10], 1)}
WORDS |= TENS | dict(hundred=100, thousand=1000, million=10**6)
REACH = 3 # code cells on each side; those that only define are not counted

EXCEPTIONS = { # pattern → why it needs no proof
    r'(?s)^## Play.*': 'a task, not a claim',
    r'(?i)\b[12]-?D\b': 'a name: one-dimensional, two-dimensional',
    r'(?i)\bCIFAR-10\b|\bResNet-?\d+\b|\bVGG-?\d+\b|\bInception-v3\b|\befficientnet-lite0\b|\bLeNet-5\b': 'a name',
    r'(?i)\bL2\b|\bF1\b|\bfloat32\b|\buint8\b|\bint8\b': 'a name',
    r'(?i)(python|torch|pytorch|fastai) \d[\d.]*': 'a version',
    r'^#+ .*$': 'a heading: the numbers of lessons and sections',
    r'\b(19|20)\d\d\b': 'a year',
    r'(?i)[^.]*\bto read\b[^.]*\.': 'reading time; how long a lesson may run is held by tests/test_course.py',
    r'(?m)^\w+ exercises\. Put your answer in place of the three dots': 'counted by tests/test_course.py',
    r'(?s)<summary>.*?</details>': 'questions repeat what the lesson has shown',
    r'!\[[^\]]*\]\([^)]*\)|\]\([^)]*\)': 'targets of links, pictures',
    r'\b95% interval': 'a name: the confidence that `accuracy_interval` and `mean_interval` have by default',
    r'\*\*What if\*\*.*(\n(?!\n).*)*': 'a task, not a claim',
    r'(?s)\$\$.*?\$\$|\$[^$\n]*\$': 'a formula: the code beside it carries it out',
}


@dataclass(frozen=True)
class Number:
    "A number in the prose of a notebook"
    cell:int # Index of the Markdown cell
    start:int # Where it begins and ends in the cell's source
    end:int
    text:str


def numbers(source):
    "The numbers of a Markdown cell, exceptions and code left out: (start, end, text)"
    blank = lambda m: ' '*len(m[0])
    for pattern in (r'(?s)```.*?```', r'`[^`]*`', *EXCEPTIONS): source = re.sub(pattern, blank, source, flags=re.M)
    words = '|'.join(sorted(WORDS, key=len, reverse=True))
    for match in re.finditer(rf'(?<![\w.#])(\d[\d,_]*\d|\d)?(\.\d+)?(?=(\s?%)?(?!\w))|\b(?:{words})\b', source, re.I):
        if match[0]: yield match.start(), match.end(), match[0]


def value(text):
    "What a number says, and how exactly: (value, half of its last digit)"
    if text.lower() in WORDS: return WORDS[text.lower()], 0
    plain = text.replace(',', '').replace('_', '')
    return float(plain), .5000001*10**-len(plain.partition('.')[2]) if '.' in plain else 0


def constants(node):
    "The numbers of a piece of code: literals, constant arithmetic, lengths of what is written out"
    for part in told(node):
        found = constant_value(part)
        if isinstance(found, (int, float)) and not isinstance(found, bool): yield found
        if isinstance(found, str): yield from written(found)
        if isinstance(part, (ast.List, ast.Tuple, ast.Set)): yield len(part.elts)
        if isinstance(part, ast.Dict): yield len(part.keys)


def constant_value(node):
    "What a literal or constant arithmetic is worth, if it is one"
    if isinstance(node, ast.Constant): return node.value
    try: return eval(compile(ast.Expression(node), '', 'eval'), {'__builtins__': {}}) if arithmetic(node) else None
    except (ArithmeticError, ValueError, MemoryError): return None


def told(node):
    "The parts of a piece of code, without indices, which say where and not how many"
    if isinstance(node, ast.Subscript): return (yield from told(node.value))
    yield node
    for child in ast.iter_child_nodes(node): yield from told(child)


def arithmetic(node):
    "Whether it is made of numbers and operators alone"
    if isinstance(node, ast.Constant): return isinstance(node.value, (int, float))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        return isinstance(node.right, ast.Constant) and abs(node.right.value) < 20 and arithmetic(node.left)
    if isinstance(node, ast.BinOp):
        return not isinstance(node.op, ast.LShift) and arithmetic(node.left) and arithmetic(node.right)
    return isinstance(node, ast.UnaryOp) and arithmetic(node.operand)


def written(text):
    "The numbers in a text"
    for found in re.findall(r'-?(?:\d[\d,_]*\d|\d)?(?:\.\d+)?(?:[eE][-+]?\d+)?', text):
        try: yield abs(float(found.replace(',', '').replace('_', '')))
        except ValueError: continue


def evidence(cell):
    "The numbers that a code cell holds, in its code and in its outputs"
    if '#| fig-alt' in cell.source: return set() # how a picture is drawn says nothing about what it shows
    code = re.sub(r'^(\s*)[%!].*', r'\1pass', cell.source, flags=re.M)
    found = set(constants(ast.parse(code)))
    for output in cell.get('outputs', []):
        data = output.get('data', {})
        text = output.get('text', '') + ' ' + data.get('text/plain', '')
        page = data.get('text/html', '')
        if len(page) < 100_000: text += ' ' + html.unescape(re.sub(r'<style.*?</style>|<[^>]*>', ' ', page, flags=re.S))
        found |= set(written(text))
    return found


def borne_out(text, percent, found):
    "Whether one of the numbers found says the same"
    wanted, slack = value(text)
    def same(number, scale):
        if math.isclose(abs(number), wanted*scale, rel_tol=1e-9, abs_tol=slack*scale): return True
        return percent and abs(abs(number) - wanted*scale) < .5000001*scale*(2*slack or 1)
    return any(same(number, scale) for number in found for scale in ((1, .01) if percent else (1,)))


def only_defines(source):
    "Whether a cell holds functions and classes alone: nothing that a text tells of"
    try: return all(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in ast.parse(source).body)
    except SyntaxError: return False # a magic


def around(nb, at):
    "The code cells beside a Markdown cell"
    if all(cell.cell_type == 'markdown' for cell in nb.cells[:at]):
        return (yield from (cell for cell in nb.cells if cell.cell_type == 'code'))
    level = lambda cell: cell.cell_type == 'markdown' and re.search(r'^##? ', cell.source, re.M)
    for step in (-1, 1):
        seen, i = 0, at + step
        while 0 <= i < len(nb.cells):
            cell, i = nb.cells[i], i + step
            if cell.cell_type == 'code':
                seen += not only_defines(cell.source)
                if seen > REACH: break
                yield cell
            elif level(cell) and seen: break


def unsupported_in(nb, at):
    "The numbers in one Markdown cell that nothing beside it bears out"
    source, found = nb.cells[at].source, set().union(*map(evidence, around(nb, at)))
    for start, end, text in numbers(source):
        if not borne_out(text, source[end:end + 2].strip().startswith('%'), found): yield Number(at, start, end, text)


def unsupported(nb):
    "Those of a whole notebook"
    for at, cell in enumerate(nb.cells):
        if cell.cell_type == 'markdown': yield from unsupported_in(nb, at)


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('notebook', nargs='*')
    wrong = 0
    for path in parser.parse_args().notebook or sorted(NBS.glob('tutorials/*.ipynb')):
        nb = nbformat.read(path, 4)
        for number in unsupported(nb):
            source = nb.cells[number.cell].source
            print(f'{path}: {number.text!r} in …{source[max(0, number.start - 50):number.end + 30]!r}')
            wrong += 1
    sys.exit(wrong > 0)
