"""One tool, many layouts, in a process of its own: python loaders.py TOOL < JOBS → a line of JSON for each job.

A job is a layout of tests/layouts.py: name, source, options. Each function below is what those who know the tool would write, as calls in turn:
the one of its documentation first, then what its users would try next. What they do outside the tool stands in the call, as `by hand:`.
A call gives rows: file, label (None: no label), part; and of the kinds that are about pixels, what the tool sees, as colours of four quarters.
"""
import contextlib, io, json, logging, os, re, shutil, sys, tempfile, warnings
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.append(str(Path(__file__).resolve().parent.parent/'tests'))
from pictures import seen

SPLIT = ('film', 'rare') # kinds that are about the tool's own split
PIXELS = ('phone', 'grey16', 'cutout', 'green')
PARTS = dict(train=('train', 'training', 'Train'), valid=('valid', 'validation', 'val', 'Val'), test=('test', 'testing'))
STOPS = ('no label', 'file not there') # lists that a first try stops at: their users drop those rows
SEEDS = range(20)


class Job:
    "A layout, and what a person sees who looks into it before writing any code"

    def __init__(self, name, source, options):
        self.name, self.source, self.options = name, Path(source), options
        self.kind, self.member = name.split('/')

    def unpacked(self):
        "The folder; an archive is unpacked by hand, and so is a folder around everything"
        folder = self.source
        if folder.suffix in ('.zip', '.gz'):
            folder = folder.parent/'unpacked'
            if not folder.exists(): shutil.unpack_archive(self.source, folder)
        while len(inside := [p for p in folder.iterdir() if p.is_dir() and p.name != '__MACOSX']) == 1: folder = inside[0]
        return folder

    def parts(self):
        "'train', 'valid', 'test' → folder, of those that hold class folders"
        root = self.unpacked()
        found = {part: root/name for part, names in PARTS.items() for name in names if (root/name).is_dir()}
        return {part: folder for part, folder in found.items() if any(p.is_dir() for p in folder.iterdir())}

    def is_archive(self): return self.source.suffix in ('.zip', '.gz')
    def is_list(self): return self.kind == 'labelled' or self.name == 'many/list'
    def hand_inside(self): return 'by hand: the folder inside; '*(self.unpacked() != self.source)

    def complete(self, table):
        "The rows of a list that have a label and a file"
        file, label, before, behind = self.columns()
        there = [(self.source.parent/f'{before}{name}{behind}').exists() for name in table[file]]
        return table[np.array(there) & table[label].notna()]

    def part(self, path):
        "Which part a file lies in"
        return next((part for part, folder in self.parts().items() if folder in Path(path).parents), '')

    def dialect(self):
        "How pandas is to read the list"
        known = dict(semicolons=dict(sep=';'), windows=dict(encoding='cp1252'), excel=dict(sep='\t', encoding='utf-16'), tsv=dict(sep='\t'))
        known |= {'ids with zeros': dict(converters=dict(id=str))}
        return known.get(self.member, {})

    def columns(self):
        "Names of the columns of files and labels; what stands before and behind the name of a file"
        head = {'ids': ('id', 'breed'), 'ids with zeros': ('id', 'breed'), 'column order': ('id', 'breed'), 'byte order mark': ('filename', 'class')}
        ids, tsv = self.member in ('ids', 'ids with zeros', 'column order'), self.member == 'tsv'
        file, label = head.get(self.member, ('image', 'tags' if 'two labels' in self.member else 'breed'))
        return file, label, 'images/' if ids or tsv else '', '.jpg' if ids else ''

    def said_dialect(self): return ''.join(f', {key}={value!r}' for key, value in self.dialect().items()).replace(repr(str), 'str')


def row(job, name, label, part='', image=None):
    "`image`: as the tool gives it, opened; it counts for kinds that are about pixels"
    looked = seen(np.asarray(image)).round(1).tolist() if job.kind in PIXELS else None
    return dict(name=str(name), label=label, part=part, seen=looked)


class Fastai:
    packages = ('fastai', 'torch', 'pandas', 'pillow')
    split_call = 'ImageDataLoaders.from_folder(path, valid_pct=.2, seed=seed)'

    def calls(self, job):
        from fastai.vision.all import ImageDataLoaders, get_image_files
        pattern, hand = job.options.get('label_regex'), 'by hand: unpack; '*job.is_archive()
        if job.kind == 'competition': yield from self._parts(job, hand)
        elif job.is_list(): yield from self._list(job)
        elif pattern:
            call = f'ImageDataLoaders.from_name_re(path, get_image_files(path), {pattern!r})'
            yield call, lambda: self._rows(job, ImageDataLoaders.from_name_re(job.source, get_image_files(job.source), pattern))
        else:
            path = job.unpacked() if job.is_archive() else job.source
            yield f'{hand}ImageDataLoaders.from_folder(path, valid_pct=.2)', lambda: self._rows(job, self._folder(path, 0))
            if job.kind == 'parquets': yield self.parquet_call, lambda: self._rows(job, self._table(job))
            if job.kind != 'odd_files': return
            block = 'DataBlock(…, get_items=those that verify_images lets pass, get_y=lambda file: file.relative_to(path).parts[0])'
            yield hand + block, lambda: self._rows(job, self._outermost(job.unpacked()))

    def _folder(self, path, seed):
        from fastai.vision.all import ImageDataLoaders
        return ImageDataLoaders.from_folder(path, valid_pct=.2, seed=seed)

    def _outermost(self, path):
        from fastai.vision.all import CategoryBlock, DataBlock, ImageBlock, RandomSplitter, get_image_files, verify_images
        files = get_image_files(path)
        broken = set(verify_images(files))
        block = DataBlock((ImageBlock, CategoryBlock), get_items=lambda path: [f for f in files if f not in broken],
                          splitter=RandomSplitter(.2, seed=0), get_y=lambda file: file.relative_to(path).parts[0])
        return block.dataloaders(path)

    parquet_call = 'by hand: pandas.read_parquet(path), names of the numbers, rows dropped; DataBlock(…, get_x=the bytes).dataloaders(rows)'

    def _table(self, job):
        from fastai.vision.all import CategoryBlock, ColSplitter, DataBlock, ImageBlock, RandomSplitter
        files = sorted(job.source.rglob('*.parquet')) if job.source.is_dir() else [job.source]
        table = pd.concat([pd.read_parquet(file).assign(is_valid='test' in file.name) for file in files])
        image, label = table.columns[:2]
        if job.member != 'strings': table[label] = table[label].map({0: 'cat', 1: 'dog'})
        table = table.dropna(subset=[image, label]).reset_index(drop=True)
        splitter = ColSplitter() if job.member == 'parts' else RandomSplitter(.2, seed=0)
        block = DataBlock((ImageBlock, CategoryBlock), splitter=splitter, get_y=lambda cells: cells[label],
                          get_x=lambda cells: cells[image]['bytes'] if isinstance(cells[image], dict) else cells[image])
        return block.dataloaders(table)

    def _parts(self, job, hand):
        from fastai.vision.all import ImageDataLoaders, get_image_files
        parts, root = job.parts(), job.unpacked()
        held = 'valid' if 'valid' in parts else 'test'
        more = held == 'valid' and 'test' in parts
        def read():
            dls = ImageDataLoaders.from_folder(root, train=parts['train'].name, valid=parts[held].name)
            rows = self._rows(job, dls)
            return rows + self._rows(job, [dls.test_dl(get_image_files(parts['test']), with_labels=True)]) if more else rows
        test = '; dls.test_dl(get_image_files(test), with_labels=True)'*more
        yield f'{hand}ImageDataLoaders.from_folder(path, train={parts["train"].name!r}, valid={parts[held].name!r}){test}', read

    def _list(self, job):
        from fastai.vision.all import ImageDataLoaders
        file, label, before, behind = job.columns()
        delimiter = {'two labels': '|', 'two labels, spaces': ' '}.get(job.member)
        how = dict(fn_col=file, label_col=label, folder=before.rstrip('/'), suff=behind, label_delim=delimiter)
        said = ''.join(f', {key}={value!r}' for key, value in how.items() if value)
        read = pd.read_csv(job.source, **job.dialect())
        def rows(table): return self._rows(job, ImageDataLoaders.from_df(table, job.source.parent, valid_pct=.2, seed=0, **how))
        yield f'ImageDataLoaders.from_df(pd.read_csv(path{job.said_dialect()}), folder{said})', lambda: rows(read)
        if job.member in STOPS:
            kept = job.complete(read)
            yield f'by hand: rows dropped; ImageDataLoaders.from_df(rows, folder{said})', lambda: rows(kept.reset_index(drop=True))

    def _rows(self, job, dls):
        "All that the DataLoaders open, as they open it"
        rows = []
        for number, dl in enumerate(dls):
            split = dl.dataset
            table = isinstance(split.items, pd.DataFrame)
            for item, (image, label) in zip(split.items.index if table else split.items, split):
                vocab = split.tls[-1].vocab
                said = [c for c, on in zip(vocab, label) if on] if label.ndim else vocab[int(label)]
                part = job.part(item) if job.kind == 'competition' else ('train', 'test' if job.member == 'parts' else 'valid')[number]
                rows.append(row(job, item, said, part, image))
        return rows

    def split(self, job, seed):
        dls = self._folder(job.source, seed)
        return [(Path(file).parent.name, Path(file).stem, part) for part, dl in zip(('train', 'valid'), dls) for file in dl.items]


class Torchvision:
    packages = ('torchvision', 'torch', 'pillow')
    split_call = 'torch.utils.data.random_split(ImageFolder(path), [.8, .2])'

    def calls(self, job):
        from torchvision.datasets import ImageFolder
        suffixes = ('.jpg', '.jpeg', '.jpe', '.jfif', '.png', '.webp', '.avif')
        any_image = dict(is_valid_file=lambda file: file.lower().endswith(suffixes) and not Path(file).name.startswith('.'))
        hand = 'by hand: unpack; '*job.is_archive()
        if job.kind == 'competition':
            def each(): return [r for part, folder in job.parts().items() for r in self._rows(job, ImageFolder(folder), part)]
            return (yield f'{hand}ImageFolder(path/part) for each part', each)
        path = job.unpacked() if job.is_archive() else job.source
        yield f'{hand}ImageFolder(path)', lambda: self._rows(job, ImageFolder(path))
        if job.kind == 'odd_files':
            yield f'{hand or job.hand_inside()}ImageFolder(path, is_valid_file=…)', lambda: self._rows(job, ImageFolder(job.unpacked(), **any_image))
        if job.kind in ('phone', 'grey16'):
            call = 'ImageFolder(path, loader=…), with decode_image(file, mode="RGB", apply_exif_orientation=True)'
            yield call, lambda: self._rows(job, ImageFolder(path, loader=self._upright))
        if job.member == 'empty': yield 'ImageFolder(path, allow_empty=True)', lambda: self._rows(job, ImageFolder(path, allow_empty=True))

    def _upright(self, file):
        from torchvision.io import decode_image
        return decode_image(file, mode='RGB', apply_exif_orientation=True).permute(1, 2, 0)

    def _rows(self, job, data, part=''):
        return [row(job, file, data.classes[i], part, data[n][0]) for n, (file, i) in enumerate(data.samples)]

    def split(self, job, seed):
        import torch
        from torchvision.datasets import ImageFolder
        data = ImageFolder(job.source, allow_empty=True)
        parts = torch.utils.data.random_split(data, [.8, .2], torch.Generator().manual_seed(seed))
        files = [(data.classes[label], Path(file).stem) for file, label in data.samples]
        return [(*files[i], part) for part, some in zip(('train', 'valid'), parts) for i in some.indices]


class Datasets:
    packages = ('datasets', 'pillow', 'pyarrow')
    split_call = "load_dataset('imagefolder', …).train_test_split(.2, stratify_by_column='label')"

    def _load(self, *args, **kwargs):
        from datasets import load_dataset
        return load_dataset(*args, cache_dir=tempfile.mkdtemp(), **kwargs)

    def calls(self, job):
        path = str(job.source)
        if job.kind == 'parquets':
            how = 'data_dir' if job.source.is_dir() else 'data_files'
            yield f"load_dataset('parquet', {how}=path)", lambda: self._rows(job, self._load('parquet', **{how: path}))
            if job.member == 'bytes': yield "load_dataset('parquet', data_files=path).cast_column('image', Image())", lambda: self._cast(job)
        elif job.is_list():
            load = f"load_dataset('csv', data_files=path{job.said_dialect()}); by hand: .map(paths); .cast_column(Image())"
            yield load, lambda: self._list(job)
            if job.member in STOPS: yield f'{load}; by hand: rows dropped, .filter(…)', lambda: self._list(job, only_complete=True)
        elif job.options:
            yield "load_dataset('imagefolder', data_dir=path, drop_labels=True); by hand: .map(labels by a pattern)", lambda: self._names(job)
        else:
            how = 'data_files' if job.is_archive() else 'data_dir'
            yield f"load_dataset('imagefolder', {how}=path)", lambda: self._rows(job, self._load('imagefolder', **{how: path}))
            hand = 'by hand: unpack; '*job.is_archive()
            if job.kind in ('competition', 'odd_files'): yield self._told(job, hand)
            if job.kind != 'odd_files': return
            call = "load_dataset('imagefolder', data_dir=path, drop_labels=True); by hand: .map(labels by the outermost folder)"
            yield hand + call, lambda: self._outermost(job)

    def _told(self, job, hand):
        "Where folders do not tell enough: which files are of which part, and that folders are labels"
        parts = job.parts() if job.kind == 'competition' else {}
        files = {dict(valid='validation').get(part, part): f'{folder}/**' for part, folder in parts.items()}
        how = dict(data_files=files) if files else dict(data_dir=str(job.unpacked()))
        said = 'data_files={part: glob}' if files else 'data_dir=path'
        return f"{hand}load_dataset('imagefolder', {said}, drop_labels=False)", lambda: self._rows(job, self._load('imagefolder', drop_labels=False, **how))

    def _list(self, job, only_complete=False):
        from datasets import Image
        file, label, before, behind = job.columns()
        data = self._load('csv', data_files=str(job.source), **job.dialect())['train']
        data = data.map(lambda cells: dict(picture=str(job.source.parent/f'{before}{cells[file]}{behind}')))
        if only_complete: data = data.filter(lambda cells: Path(cells['picture']).exists() and cells[label] is not None)
        return [row(job, cells[file], cells[label], image=cells['picture']) for cells in data.cast_column('picture', Image())]

    def _files(self, folder):
        from datasets import Image
        data = self._load('imagefolder', data_dir=str(folder), drop_labels=True)['train'].cast_column('image', Image(decode=False))
        return [Path(cells['image']['path']) for cells in data]

    def _names(self, job):
        return [row(job, file, re.match(job.options['label_regex'], file.name)[1]) for file in self._files(job.source)]

    def _outermost(self, job):
        folder = job.unpacked()
        return [row(job, file, file.relative_to(folder.resolve()).parts[0]) for file in self._files(folder)]

    def _cast(self, job):
        from datasets import Image
        return self._rows(job, self._load('parquet', data_files=str(job.source)).cast_column('image', Image()))

    def _rows(self, job, data):
        "What each split gives, opened; a row without an image or a label keeps its place, without a label"
        from datasets import Image
        rows = []
        for split, some in data.items():
            image = next((name for name, kind in some.features.items() if isinstance(kind, Image)), None)
            label = next((name for name in some.column_names if name not in (image, 'image')), None)
            files = some.cast_column(image, Image(decode=False))[image] if image else [None]*len(some)
            for cells, file in zip(some, files):
                said = cells[label] if label else None
                if isinstance(said, int): said = some.features[label].int2str(said) if said >= 0 else None
                there = image and cells[image] is not None
                part = dict(validation='valid').get(split, split)
                rows.append(row(job, (file or {}).get('path'), said if there else None, part, cells[image].convert('RGB') if there else None))
        return rows

    def split(self, job, seed):
        from datasets import Image
        if seed == 0: self._data = self._load('imagefolder', data_dir=str(job.source))['train'].cast_column('image', Image(decode=False))
        names = self._data.features['label'].names
        parts = self._data.train_test_split(.2, seed=seed, stratify_by_column='label')
        return [(names[cells['label']], Path(cells['image']['path']).stem, part) for part, some in zip(('train', 'valid'), parts.values()) for cells in some]


class Ultralytics:
    packages = ('ultralytics', 'torch', 'opencv-python-headless')
    split_call = 'check_cls_dataset(path)'

    def calls(self, job):
        call = 'check_cls_dataset(path), ClassificationDataset(part)'
        yield call, lambda: self._rows(job, job.source)
        if job.kind not in ('competition', 'odd_files') or job.unpacked() == job.source: return
        yield ('by hand: unpack; ' if job.is_archive() else job.hand_inside()) + call, lambda: self._rows(job, job.unpacked())

    def _found(self, source):
        from ultralytics.data import utils
        utils.DATASETS_DIR = Path(tempfile.mkdtemp())
        return utils.check_cls_dataset(source)

    def _rows(self, job, source):
        from ultralytics.cfg import get_cfg
        from ultralytics.data.dataset import ClassificationDataset
        found, rows = self._found(source), []
        for key, part in dict(train='train', val='valid', test='test').items():
            if not found[key] or not any(p.is_dir() for p in found[key].iterdir()): continue # a test part without labels is for prediction
            data = ClassificationDataset(found[key], get_cfg(), names=found['names'])
            for file, label, *_ in data.samples:
                rows.append(row(job, file, found['names'][label], part, data.imread(file)[..., ::-1]))
        return rows

    def split(self, job, seed):
        found = self._found(job.source)
        files = [(file, part) for key, part in dict(train='train', val='valid').items() for file in found[key].rglob('*.*') if file.is_file()]
        return [(file.parent.name, file.stem, part) for file, part in files]


class Fastcnn:
    packages = ('fastcnn', 'torch', 'pillow')

    def calls(self, job):
        from fastcnn.tables import image_table
        said = ''.join(f', {key}={value!r}' for key, value in job.options.items())
        yield f'image_table(path{said})', lambda: self._rows(job, image_table(job.source, **job.options))

    def _rows(self, job, table):
        from fastcnn.images import read_image
        parts = table.part if 'part' in table else ['']*len(table)
        return [row(job, name, label, part, read_image(image))
                for name, image, label, part in zip(table.name, table.image, table.label, parts)]

    def split(self, job, seed):
        from fastcnn.duplicates import find_duplicates
        from fastcnn.splits import split_table, tell_parts, with_groups
        from fastcnn.tables import image_table
        if seed == 0:
            table = image_table(job.source)
            self._table = with_groups(table, find_duplicates(table))
        parts = split_table(self._table, .2, 0., seed)
        for sentence in tell_parts(self._table, parts): warnings.warn(sentence) # as `image_dataloaders` does
        files = [(label, Path(name).stem) for name, label in zip(self._table.name, self._table.label)]
        return [(*files[i], part) for part, some in zip(('train', 'valid'), parts) for i in some]

    split_call = 'image_dataloaders(path, groups=find_duplicates(path))'


TOOLS = dict(fastai=Fastai, torchvision=Torchvision, datasets=Datasets, ultralytics=Ultralytics, fastcnn=Fastcnn)
USUAL = re.compile(r'(?!.*split=train)(?:.*)(?:warn|ignor|skip|left out|[1-9]\d* corrupt|requires)', re.I) # what lines say that tell of something


def told(stream, caught):
    "What a call said, as warnings and as lines that warn"
    lines = [re.sub(r'\x1b\[[0-9;]*[mK]', '', line).strip() for line in re.split(r'[\r\n]', stream.getvalue())]
    about_code = (DeprecationWarning, FutureWarning, ResourceWarning)
    return [str(w.message) for w in caught if not issubclass(w.category, about_code)] + [line for line in lines if USUAL.match(line)]


def last_line(error):
    "An exception in one line; one of `datasets` that only wraps another gives way to it"
    if type(error).__name__ == 'DatasetGenerationError': error = error.__cause__ or error
    return f'{type(error).__name__}: {str(error).strip().split(chr(10))[0]}'


def attempt(call, read):
    "One call: its rows, or its exception's last line; and what it told"
    stream = io.StringIO()
    handler, loggers = logging.StreamHandler(stream), [logging.getLogger(name) for name in (None, 'ultralytics')]
    with contextlib.redirect_stdout(stream), contextlib.redirect_stderr(stream), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        for logger in loggers: logger.addHandler(handler)
        try: found = dict(rows=read())
        except Exception as error: found = dict(error=last_line(error)) # any: what a tool makes of a layout is what is measured
        for logger in loggers: logger.removeHandler(handler)
    return dict(call=call, told=told(stream, caught), **found)


def without_paths(job, tries):
    "Where the input lies on this machine is of no interest"
    for found in tries:
        def plain(text):
            text = text.replace(str(job.source), 'path').replace(str(job.source.parent), 'folder')
            text = re.sub(r': +\d+% .*', '', text) # a progress bar's speed
            return re.sub(r'(?<![\w.])(/[\w.-]+){2,}/', '…/', text)[:200]
        found['told'] = [plain(text) for text in found['told']][:20]
        if 'error' in found: found['error'] = plain(found['error'])
    return tries


if __name__ == '__main__':
    os.environ |= dict(HF_HUB_OFFLINE='1', HF_DATASETS_DISABLE_PROGRESS_BARS='1', YOLO_CONFIG_DIR=tempfile.mkdtemp(), HF_HOME=tempfile.mkdtemp())
    tool, jobs = TOOLS[sys.argv[1]](), [Job(**job) for job in json.load(sys.stdin)]
    from importlib.metadata import version
    print(json.dumps({name: version(name) for name in tool.packages}), flush=True)
    for job in jobs:
        tries = without_paths(job, [attempt(call, read) for call, read in tool.calls(job)])
        splits = without_paths(job, [attempt(tool.split_call, lambda: tool.split(job, seed)) for seed in SEEDS] if job.kind in SPLIT else [])
        print(json.dumps(dict(name=job.name, tries=tries, splits=splits)), flush=True)
