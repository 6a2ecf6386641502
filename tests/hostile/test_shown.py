"Names from strangers in every verb: a terminal obeys none of them, a spreadsheet runs none, and their true form is found again"
import contextlib, csv, io, json, os, re

import pytest
from faults import jpeg

from fastcnn.cli import main
from fastcnn.core import ImageResult, Manifest
from fastcnn.search import save_search, search_images

EVIL = '\x1b]0;owned\x07\x9b31m\u202egpj\u200b\u2066\u3164'
CLASSES = ['=cmd|calc' + EVIL, 'c$x_{`]|<b>' + EVIL, '@d$', '-2+3']
FILES = ['=1{}$_{{`|' + EVIL + '.jpg', '{}' + os.fsdecode(b'\xe9\x1b[2J') + '.jpg', '{}\nfastcnn: all is well' + EVIL + '.jpg']


def fill(root):
    for number, label in enumerate(CLASSES):
        (root/label).mkdir(parents=True)
        for i in range(15): (root/label/FILES[i % 3].format(i)).write_bytes(jpeg(100*number + i, (48, 40)))
        (root/label/f'broken\n{EVIL}.jpg').write_bytes(jpeg(number)[:200])
        (root/label/f'note\n{EVIL}.txt').write_text('no image')
    (root/os.fsdecode(b'b\xe9\x1b[2J')).mkdir()
    (root/os.fsdecode(b'b\xe9\x1b[2J')/'1.jpg').write_bytes(jpeg(7))
    return root


@pytest.fixture(scope='module')
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp('home')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('FASTCNN_PIXELS', str(folder/'pixels'))
        fill(folder/f'set{EVIL}')
        yield folder


def run(*argv):
    "(exit status, output, errors); what is written obeys nobody, and every line of it is ours"
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err): status = main([str(arg) for arg in argv])
    out, err = out.getvalue(), err.getvalue()
    assert all(c.isprintable() or c in '\n\r' for c in (out + err).replace('\x1b[A', '')) and '\u3164' not in out + err # tqdm moves up
    assert not any(line.startswith('fastcnn: all is well') for line in (out + err).splitlines()) and 'Traceback' not in err
    return status, out, err


def root(home): return home/f'set{EVIL}'

def model(home): return home/f'model{EVIL}'


@pytest.mark.parametrize('argv, status', [
    (['info'], 0), (['clean'], 0), (['restore', '--all'], 0), (['export', f't{EVIL}.csv'], 0), (['export', f't{EVIL}.zip'], 0), (['export', f'hf{EVIL}'], 0),
    (['forget', '--creator', EVIL], 0), (['info', '--image-col', EVIL], 2), (['info', '--label-regex', f'({EVIL}'], 2), ([EVIL], 2)], ids=str)
def test_verbs_of_a_collection(argv, status, home):
    verb, *rest = argv
    rest = [home/arg if arg.startswith(('t', 'hf')) else arg for arg in rest]
    assert run(verb, root(home), *rest)[0] == status
    if verb == 'export': rest = [rest[0].with_name('again' + rest[0].name)]
    done = run(verb, root(home), *rest, '--json')
    assert done[0] == status and len(done[1].splitlines()) == 1 and json.loads(done[1])


def test_add(home, tmp_path):
    assert run('add', root(home), '--out', tmp_path/f'a{EVIL}', '--creator', EVIL, '--license', EVIL)[0] == 0
    credits = (tmp_path/f'a{EVIL}.fastcnn'/'CREDITS.md').read_text()
    assert all(c.isprintable() or c == '\n' for c in credits)
    for label in (os.fsdecode(b'\xe9'), '\ud800'): # no tracebacks for names that are no text
        assert run('add', root(home)/'@d$', '--out', tmp_path/'b', '--label', label)[0] == 2
        assert run('search', label, '--label', label, '--out', tmp_path/'b', '--provider', 'planets')[0] == 2
    assert run('add', home/f'none{EVIL}', '--out', tmp_path/'b', '--label', 'x')[0] == 2


def test_train_and_what_follows(home):
    train = 'train', root(home), '--out', model(home), '--plan', 'scratch', '--epochs', '1', '--size', '32', '--report', home/f'r{EVIL}.html'
    assert run(*train)[0] == 0
    assert run('evaluate', model(home), root(home), '--report', home/'e.html')[0] == 0
    assert run('predict', model(home), root(home))[0] == 0
    assert run('predict', model(home), root(home)/'@d$'/f'broken\n{EVIL}.jpg', home/f'none{EVIL}')[0] == 2
    assert run('publish', model(home), '--out', home/'site', '--runtime', f'none{EVIL}')[0] == 2
    for page in (home/f'r{EVIL}.html', home/'e.html', home/f'set{EVIL}.fastcnn'/'cleaning.html'):
        if page.exists(): assert not re.search('[\x07\x1b\x9b\u202e\u2066\u200b]|<b>', page.read_text())
    answers = home/'answers.csv'
    assert run('predict', model(home), root(home), '--out', answers)[0] == 0
    with open(answers, newline='', encoding='utf-8') as file: head, *rows = csv.reader(file)
    assert len(rows) >= 60 and not any(cell.startswith(('=', '@', '+', '\t', '\r')) for row in [head, *rows] for cell in row)
    shown = json.loads(run('predict', model(home), root(home), '--json')[1])['predictions'] # JSON has the true names
    assert {row['file'] for row in shown} >= {str(root(home)/'@d$'/FILES[1].format(1))}


FORMULAS = ['=HYPERLINK("http://evil","x")', '+1', '-2+3', '@SUM(A1)', '\tx', '\rx', '＝1', "'=1", "''+2", "it's", '-', 'a;=1', '=', 'plain']


def is_harmless(cell): return not re.match(r'[=+\-@\t\r\n＝＋－＠]', cell)


def test_export_writes_no_formula_and_is_read_back(tmp_path):
    "Cells and names of columns; the exported table labels the images that lie beside it"
    root, labels = tmp_path/'set', ['=a', '-b', '@c']
    for number, label in enumerate(labels):
        (root/label).mkdir(parents=True)
        for i in range(8): (root/label/f'{i}.jpg').write_bytes(jpeg(10*number + i))
    manifest = Manifest(root)
    manifest.append(*({'url': f'http://a/{label}{i}', 'label': label, 'status': 'kept', 'file': f'{label}/{i}.jpg', 'title': FORMULAS[i],
                       'width': -1, '=cmd|x!A1': '+1'} for label in labels for i in range(8)))
    assert run('export', root, root/'list.csv')[0] == 0
    with open(root/'list.csv', newline='') as file: head, *rows = csv.reader(file)
    assert all(map(is_harmless, head)) and len(rows) == 24 and len(set(head)) == len(head)
    assert all(is_harmless(cell) for row in rows for name, cell in zip(head, row) if name != 'width')
    assert {row[head.index('width')] for row in rows} == {'-1'} # a number stays one
    from fastcnn.tables import image_table
    table = image_table(root/'list.csv', label_col='label')
    assert dict(zip(table.name, table.label)) == {f'{label}/{i}.jpg': label for label in labels for i in range(8)}


def test_a_saved_search_is_read_back(tmp_path):
    results = [ImageResult(f'http://a/{i}.jpg', label='x', title=text, creator=text) for i, text in enumerate(FORMULAS)]
    path = save_search(results, tmp_path/'a.csv')
    with open(path, newline='') as file: assert all(is_harmless(cell) for row in csv.reader(file) for cell in row)
    found = search_images('x', 99, provider=str(path))
    assert [result.title for result in found] == [' '.join(text.split()) for text in FORMULAS]


def test_a_list_of_addresses(tmp_path):
    from fastcnn.exchange import write_url_list
    labels = [text for text in FORMULAS if text.isprintable() and '/' not in text]
    path = write_url_list([ImageResult(f'http://a/{i}.jpg', label=label) for i, label in enumerate(labels)], tmp_path/'a.csv', allow_hosts=('a',))
    with open(path, newline='') as file: rows = list(csv.DictReader(file))
    assert len(rows) == len(labels) and all(is_harmless(cell) for row in rows for cell in row.values())


def test_credits_hold_what_names_try(tmp_path):
    root = tmp_path/'set'
    names = ['`<img src=x onerror=alert(1)>`', '``](javascript:alert(1))', 'a|b', 'c\n# Heading', 'd\u202e']
    for name in names:
        (root/name).mkdir(parents=True)
        (root/name/'1.jpg').write_bytes(jpeg(names.index(name)))
    Manifest(root).append(*(dict(url=f'http://a/{i}', label=name, status='kept', file=f'{name}/1.jpg', title=name, license=name, creator=name)
                            for i, name in enumerate(names)))
    text = Manifest(root).write_credits().read_text()
    from markdown_it import MarkdownIt
    page = MarkdownIt('commonmark', dict(html=True)).render(text)
    assert '<img' not in page and 'javascript:' not in re.sub('<code>.*?</code>', '', page).replace('(javascript:alert(1))', '')
    assert '<h1>Heading' not in page and page.count('<li>') == len(names) and '\u202e' not in page
