"""The rooms of the library and who imports whom, as the code says it: images/rooms.svg

    python tools/rooms.py    draw it (tests/test_repo.py holds that it is up to date)
"""
import ast, functools, os, re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT/'images'/'rooms.svg'

BASE = 'texts', 'core' # every room may import these, and the second the first
ROOMS = { # what each may import beside them: the design, which tests/test_repo.py holds
    'texts': '', 'core': '', 'collection': '', 'images': '', 'displays': 'images', 'layouts': '', 'archives': '', 'convolution': '', 'planets': 'images',
    'planet_server': 'images planets', 'services': '', 'search': 'archives services displays', 'providers': 'services',
    'catalogues': 'services', 'metadata': '', 'addresses': '',
    'intake': 'images collection displays', 'download': 'images collection intake metadata addresses',
    'collect': 'services search download intake displays', 'doctor': 'services search',
    'origins': 'archives',
    'exchange': 'images collection intake download layouts metadata archives addresses origins', 'quarantine': 'collection',
    'duplicates': 'images', 'clean': 'images collection duplicates quarantine displays', 'marks': '',
    'cleaner': 'images collection duplicates clean quarantine marks', 'tables': 'images layouts archives', 'splits': 'images', 'pixels': '',
    'data': 'images tables splits pixels',
    'models': 'convolution', 'drawings': 'models', 'training': 'models', 'fast': 'models training', 'transfer': 'models training data',
    'distributed': 'training', 'activations': 'displays', 'findings': 'displays', 'diagnosis': 'duplicates models training activations findings',
    'scores': 'displays', 'evaluation': 'displays scores',
    'plans': 'models training fast transfer data activations evaluation', 'novelty': 'training', 'folders': '', 'graphs': '',
    'deploy': 'images models training novelty folders graphs', 'taught': 'folders', 'exported': 'images models folders graphs taught',
    'runtime': '', 'weights': 'exported', 'single': '', 'hosting': '', 'publish': 'exported folders runtime weights single hosting',
    'report': 'evaluation images',
    'pages': '', 'lessons': 'convolution pages', 'exercises': 'convolution lessons', 'networks': 'pages',
}
COMPOSERS = 'pipeline', 'demo', 'cli', 'all', '__main__' # may import all
FOR_COMPOSERS = 'lessons', 'exercises', 'networks', 'report', 'plans', *COMPOSERS # no other room imports these


def imported_modules(tree):
    "The fastcnn modules that a piece of code imports, anywhere in it"
    for node in ast.walk(tree):
        if isinstance(node, ast.Import): names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = 'fastcnn.'*bool(node.level) + (node.module or '')
            whole = base.strip('.') == 'fastcnn' # from fastcnn import search
            names = [f'{base.rstrip(".")}.{alias.name}' for alias in node.names] if whole else [base]
        else: continue
        yield from (name.split('.')[1] for name in names if name.startswith('fastcnn.'))


def library():
    "The modules of the package: name → file"
    files = sorted((ROOT/'fastcnn').glob('*.py'))
    return {path.stem: path for path in files if path.stem not in ('__init__', '_modidx')}


@functools.cache
def arrows():
    "Every import of one room by another, as the code has it; `__version__` is no room"
    rooms = library()
    found = {(name, other) for name, path in rooms.items() for other in imported_modules(ast.parse(path.read_text()))}
    return {(a, b) for a, b in found if a != b and b in rooms}


def drawn(edges):
    "The arrows that the picture shows: the base and the composers are bars, which stand for theirs"
    return {(a, b) for a, b in edges if b not in BASE and a not in COMPOSERS}


def in_picture(path=PICTURE):
    "The rooms and the arrows that a picture shows"
    ids = re.findall(r'<g id="(room|arrow):([^"]+)"', path.read_text()) if path.exists() else []
    arrows = {tuple(name.split('.')) for kind, name in ids if kind == 'arrow'}
    return {name for kind, name in ids if kind == 'room'}, arrows


def levels(rooms, edges):
    "Each room one level above the highest that it imports"
    level = dict.fromkeys(rooms, 0)
    for _ in rooms:
        for a, b in edges: level[a] = max(level[a], level[b] + 1)
    return level


def places(rooms, edges):
    "(x, y) of each room: its level, and beside what it is connected to; how many lie in the longest row"
    level = levels(rooms, edges)
    rows = [[name for name in rooms if level[name] == y] for y in range(max(level.values()) + 1)]
    x = {name: i - len(row)/2 for row in rows for i, name in enumerate(row)}
    near = {name: [b if a == name else a for a, b in edges if name in (a, b)] for name in rooms}
    for _ in range(40):
        for row in rows:
            row.sort(key=lambda name: sum(x[other] for other in near[name])/len(near[name])
                                      if near[name] else len(rooms))
            x |= {name: (i + .5)*10/len(row) for i, name in enumerate(row)}
    return {name: (x[name], level[name]) for name in rooms}, max(map(len, rows))


def draw(rooms, edges, path=PICTURE):
    "The picture, the same bytes for the same imports"
    import matplotlib
    matplotlib.use('svg')
    matplotlib.rcParams.update({'svg.hashsalt': 'rooms', 'font.size': 9})
    from matplotlib import pyplot as plt
    inner = [name for name in rooms if name not in (*BASE, *COMPOSERS)]
    edges = drawn(edges)
    at, widest = places(inner, edges)
    top = max(y for _, y in at.values()) + 1
    figure, axes = plt.subplots(figsize=(1.1*max(10, widest), 1.3*(top + 2)), layout='constrained')
    for name in inner: draw_box(axes, name, *at[name], half=min(.43, 4.6/widest))
    draw_box(axes, 'core', 3.3, -1, half=3.3, text='core: every room may import it')
    draw_box(axes, 'texts', 8.4, -1, half=1.6, text='texts: core and every room')
    composers = [name for name in rooms if name in COMPOSERS]
    for i, name in enumerate(composers): draw_box(axes, name, (i + .5)*10/len(composers), top, half=4.6/len(composers))
    for a, b in sorted(edges): draw_arrow(axes, a, b, at[a], at[b])
    axes.set(xlim=(-.1, 10.1), ylim=(-1.4, top + .75))
    axes.text(5, top + .45, 'these may import all below', ha='center')
    axes.axis('off')
    figure.savefig(path, metadata={'Date': None, 'Title': 'The rooms of fastcnn and what each imports'})
    plt.close(figure)


def draw_box(axes, name, x, y, half, text=None):
    "A room"
    from matplotlib.patches import FancyBboxPatch
    style = dict(boxstyle='round,pad=.02', facecolor='#eef4fb', edgecolor='#33669a')
    axes.add_patch(FancyBboxPatch((x - half, y - .17), 2*half, .34, gid=f'room:{name}', **style))
    axes.text(x, y, text or name, ha='center', va='center')


def draw_arrow(axes, a, b, start, end):
    "From the room that imports to the one below that is imported"
    from matplotlib.patches import FancyArrowPatch
    color = f'C{sum(map(ord, a)) % 10}' # the arrows of a room have one colour
    ends = (start[0], start[1] - .19), (end[0], end[1] + .19)
    axes.add_patch(FancyArrowPatch(*ends, arrowstyle='-|>', mutation_scale=9, color=color, shrinkA=0, shrinkB=0,
                                   zorder=0, gid=f'arrow:{a}.{b}'))


if __name__ == '__main__':
    draw(list(library()), arrows())
    print(os.path.relpath(PICTURE))
