"The lessons hold what they promise: numbers that code bears out, exercises, questions, time, and the way in from elsewhere."
import os, re, subprocess, sys

import nbformat
import pytest

import glossary, prose
from fastcnn.exercises import EXERCISES
from fastcnn.lessons import LESSONS
from notebooks import NBS, ROOT, fold, notebooks, texts
from web import needs_lesson_images

PAGES = {name: NBS/f'tutorials/{name}.ipynb' for name in LESSONS}
SECONDS = dict(lesson=180, all=15*60) # on two cores, as `tools/notebooks.py save` has measured them; all: two at a time
each_lesson = pytest.mark.parametrize('name', LESSONS)
TUTORIALS = [path for path in notebooks() if path.parent.name == 'tutorials']
each_tutorial = pytest.mark.parametrize('path', TUTORIALS, ids=lambda path: path.stem)


def read(name): return nbformat.read(PAGES[name], 4)


@each_tutorial
def test_numbers_in_prose_are_borne_out(path):
    nb = nbformat.read(path, 4)
    beside = lambda number: nb.cells[number.cell].source[max(0, number.start - 40):number.end + 20]
    found = [f'{number.text!r} in {beside(number)!r}' for number in prose.unsupported(nb)]
    assert not found, 'compute it or assert it beside the text (tools/prose.py): ' + '; '.join(found)


def bearable():
    "Numbers of two and more digits in the lessons: (lesson, number); small ones are found around most cells, whatever they count"
    for name in LESSONS:
        nb = read(name)
        for at, cell in enumerate(nb.cells):
            if cell.cell_type != 'markdown': continue
            for place in prose.numbers(cell.source):
                if sum(map(str.isdigit, place[2])) > 1: yield name, prose.Number(at, *place)


def changed(text): return text[:-1] + str((int(text[-1]) + 7) % 10)


def test_a_changed_number_is_found():
    "Each number of three and more digits, changed in its last one, and nine in ten of all: a short number may stand beside another one by chance"
    known = list(bearable())
    missed = [(name, number.text) for name, number in known if not caught(name, number)]
    assert not [text for _, text in missed if sum(map(str.isdigit, text)) > 2]
    assert len(known) > 100 and len(missed) < .1*len(known), missed


def caught(name, number):
    nb = read(name)
    cell = nb.cells[number.cell]
    cell.source = cell.source[:number.start] + changed(number.text) + cell.source[number.end:]
    return any(found.start == number.start for found in prose.unsupported_in(nb, number.cell))


@pytest.mark.parametrize('source,expected', [
    ('Eight maps of 25 × 25: 1,600 numbers, .5 of them, 90%.', ['Eight', '25', '25', '1,600', '.5', '90']),
    ('# 4. MNIST\nIn 1998 `f(3)` for CIFAR-10 and 2-D [x](y5.ipynb), $x^2$.', []),
    ('- **2.5** and 0.003, conv3, x2', ['2.5', '0.003']),
])
def test_what_is_a_number(source, expected): assert [text for *_, text in prose.numbers(source)] == expected


@pytest.mark.parametrize('text,percent,found,right', [
    ('49,152', False, {49_152}, True), ('0.61', False, {.6119}, True), ('0.62', False, {.6119}, False), ('90', True, {.9}, True),
    ('91', True, {.9}, False), ('three', False, {3}, True), ('25', False, {25.4}, False), ('61.2', True, {.6119}, True)])
def test_what_bears_a_number_out(text, percent, found, right): assert prose.borne_out(text, percent, found) == right


WHAT_IF = re.compile(r'^(.+?) = (.+?) # what if: (.+)$', re.M) # a cell for the reader to change: what it says now, and what else it could


def suggestions(source):
    "The cell with each of the values that it suggests in place of its own"
    found = WHAT_IF.search(source)
    return [source[:found.start(2)] + value + source[found.end(2):] for value in found[3].split('; ')] if found else []


@each_tutorial
def test_each_what_if_is_a_cell_to_change(path):
    "It stands below its question, suggests something else than what it says, and asserts nothing"
    cells = nbformat.read(path, 4).cells
    asked = [at + 1 for at, cell in enumerate(cells) if cell.cell_type == 'markdown' and '**What if**' in cell.source]
    assert asked == [at for at, cell in enumerate(cells) if cell.cell_type == 'code' and '# what if:' in cell.source]
    for at in asked:
        variants = suggestions(cells[at].source)
        assert variants and cells[at].source not in variants
        for code in variants: compile(code, path.stem, 'exec')
        assert 'assert' not in cells[at].source and 'test_eq' not in cells[at].source


def run_copy(path, nb, verb):
    "What `tools/notebooks.py` makes of another version of a notebook, which lies beside it: notebooks read files of the repository"
    copied = path.with_name(f'.{path.stem}.{os.getpid()}.ipynb')
    nbformat.write(nb, copied)
    try:
        done = subprocess.run([sys.executable, ROOT/'tools/notebooks.py', verb, copied], capture_output=True, text=True)
        if done.returncode: pytest.fail(done.stdout + done.stderr[-2000:], pytrace=False)
        return nbformat.read(copied, 4)
    finally: copied.unlink()


def perform(path):
    "Run a lesson as a reader does who follows each suggestion, and goes on"
    needs_lesson_images(path)
    nb = nbformat.read(path, 4)
    nb.cells = [each for cell in nb.cells for each in (*(nbformat.v4.new_code_cell(code) for code in suggestions(cell.source)), cell)]
    run_copy(path, nb, 'test')


EXPERIMENTS = [path for path in TUTORIALS if '# what if: ' in path.read_text(encoding='utf-8')]


@pytest.mark.verify
@pytest.mark.parametrize('path', EXPERIMENTS, ids=lambda p: p.stem)
def test_every_suggestion_works(path): perform(path)


@each_tutorial
def test_what_need_not_be_read_is_folded(path):
    "The set-up, how pictures are drawn, and checks: nothing of it stands before the first section"
    nb = nbformat.read(path, 4)
    marked = [cell.metadata.get('jupyter') for cell in nb.cells]
    fold(nb)
    assert marked == [cell.metadata.get('jupyter') for cell in nb.cells]
    first = next(at for at, cell in enumerate(nb.cells) if cell.source.startswith('## '))
    assert all(cell.metadata.get('jupyter') for cell in nb.cells[:first] if cell.cell_type == 'code')
    assert not any(cell.metadata.get('jupyter') for cell in nb.cells if '# what if: ' in cell.source or 'check(' in cell.source)


def test_the_glossary_is_one():
    "Each word once, in order, with one or two sentences"
    source = '\n'.join(cell.source for cell in nbformat.read(glossary.PAGE, 4).cells[1:])
    found = list(glossary.ENTRY.finditer(source))
    assert len(found) == source.count('\n- ') >= 60
    words = [entry['term'].lower() for entry in found]
    assert words == sorted(words) and len({entry['id'] for entry in found}) == len(found)
    spoken = [word for entry in found for word in (entry['term'], *re.split(', ', entry['also'] or entry['term']))]
    assert len(glossary.entries()) == len({word.lower() for word in spoken})
    assert [e['term'] for e in found if not e['told'].rstrip().endswith(('.', '?', '.)')) or len(e['told'].split()) > 45] == []


def test_the_first_use_of_a_word_is_linked():
    "In running text only; once a page; plurals and capitals too"
    cell = lambda source: nbformat.v4.new_markdown_cell(source)
    cells = cell('# Kernels\n\n`kernel` and [a kernel](x.ipynb), $kernel$. Kernels slide; a kernel stays.'), cell('A kernel, a mini-kernel, a leak.')
    nb = nbformat.v4.new_notebook(cells=[*cells])
    glossary.link_terms(nb, '../', dict(kernel=('kernel', 'A small "table".'), leak=('leak', 'A drip.')))
    first = '[Kernels](../glossary.ipynb#kernel){.term data-told="A small &quot;table&quot;."}'
    assert nb.cells[0].source == f'# Kernels\n\n`kernel` and [a kernel](x.ipynb), $kernel$. {first} slide; a kernel stays.'
    assert nb.cells[1].source == 'A kernel, a mini-kernel, a [leak](../glossary.ipynb#leak){.term data-told="A drip."}.'


@each_lesson
def test_lesson_is_whole(name):
    "Installs itself elsewhere; every exercise is asked, in its lesson; progress, questions, and where next"
    nb = read(name)
    code = [c.source for c in nb.cells if c.cell_type == 'code']
    text = '\n'.join(c.source for c in nb.cells if c.cell_type == 'markdown')
    install = r"find_spec\('fastcnn'\) is None:.*\n\s+%pip install --quiet ('fastcnn\[\w+\] @ )?git\+https://github.com/fastcnn/fastcnn'?$"
    assert re.search(install, code[0]), 'the first cell installs what is missing'
    assert any('lesson_images' in c for c in code) <= ('[hub' in code[0])
    asked = {exercise for c in code for exercise in re.findall(r"check\('([^']+)'", c)}
    assert asked == {e for e in EXERCISES if e.startswith(f'{name}/')} and len(asked) >= 5
    said = re.search(r'^(\w+) exercises\.', text, re.M)
    assert said is None or prose.WORDS[said[1].lower()] == len(asked)
    progress = next(c.outputs[0].data['text/plain'] for c in nb.cells if f"show_progress('{name}')" in c.source)
    assert progress.endswith(f': 0 of {len(asked)}'), 'nobody has solved it yet'
    assert not re.search(r'<summary>[^<\n]*(?:\*|`|\]\()', text), 'inside a tag, Markdown is not read'
    assert text.count('<details><summary>') >= 4 and '## Questions' in text and '## Where next' in text
    assert text.startswith(f'# {list(LESSONS).index(name)}. ')


def seconds(path): return nbformat.read(path, 4).metadata['fastcnn']['seconds']


def test_lessons_are_in_time():
    "As measured when their outputs were made"
    took = {path.stem: seconds(path) for path in TUTORIALS}
    assert {name: took[name] for name in LESSONS if took[name] >= SECONDS['lesson']} == {}
    assert sum(took[name] for name in LESSONS) < SECONDS['all']


def run_twice(path):
    "The texts of two fresh executions, cell by cell where they differ"
    needs_lesson_images(path)
    found = [list(texts(run_copy(path, nbformat.read(path, 4), 'save'))) for turn in range(2)]
    return [(a[0][:200], a[1], b[1]) for a, b in zip(*found, strict=True) if a != b]


@pytest.mark.verify
@pytest.mark.parametrize('path', notebooks(), ids=lambda p: p.stem)
def test_two_runs_say_the_same(path): assert run_twice(path) == []
