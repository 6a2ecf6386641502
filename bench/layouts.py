"""What each tool makes of the layouts of tests/layouts.py: the classes, counts and parts it finds, what it sees, what it loses.

    python bench/layouts.py [--tools fastcnn …] [--only competition]     writes bench/results/layouts.json

Each tool runs in a process of its own (loaders.py says with which calls), in .venv-peers, fastcnn in this Python. `--tools` runs some of them and keeps the
others' results. AutoGluon needs other versions of torch and Pillow than the rest: what stands for it was read in its source, and is marked as read.
"""
import argparse, json, subprocess, sys, tempfile
from collections import Counter
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent/'tools'), str(HERE.parent/'tests')]
from layouts import LAYOUTS
from machine import machine
from pictures import seen
from realdata import peers

RESULTS = HERE/'results'/'layouts.json'
TOOLS = ('fastcnn', 'fastai', 'torchvision', 'datasets', 'ultralytics')
TO_BE_TOLD = ('no_label', 'no_image', 'not_there', 'empty_class') # what is left out of one's pictures; not what file managers leave behind
NEAR = 16 # of 255: a quarter of a picture that differs by more is another colour
BY_CHOICE = ('rows dropped', 'train=', 'each part', '{part: glob}') # in a call: its writer left the rest out, not the tool
FILES = dict(versions={'autogluon.multimodal': '1.6.3'}, date='2026-11-28',
             files=['data/process_image.py', 'data/infer_types.py', 'data/utils.py', 'learners/base.py', 'common/loaders/load_pd.py'])
READ = {
    'phone': 'sees the file as it lies: Image.open(…).convert("RGB")',
    'grey16': 'what Pillow\'s convert("RGB") makes of it',
    'cutout': 'sees what is hidden: convert("RGB") drops transparency',
    'green': 'right: the constants of the pretrained network normalise',
    'film': 'random, stratified split: frames on both sides, untold',
    'rare': 'right: keeps an image of each class in training',
    'many': 'right, from a table; no folders',
    'competition': 'no folders: tables train_data and tuning_data by hand',
    'labelled': 'reads commas in UTF-8, tabs in .tsv; absolute paths by hand; a missing file becomes a black image, with a warning',
    'prefixed': 'no folders: a table by hand',
    'odd_files': 'no folders: a table by hand',
    'parquets': 'reads a column of bytes; a struct, and numbers for names, by hand',
}


def wrong_pixels(layout, rows):
    "How many pictures a tool does not see as a person does"
    def differs(row): return np.abs(np.array(row['seen']) - seen(layout.truth(Path(row['name']).stem))).max() > NEAR
    return sum(map(differs, rows)) if layout.truth else 0


def difference(right, found):
    "In words, how counts of classes or of parts differ; '' where they do not"
    right, found = Counter(right), Counter(found)
    lost, more = sum((right - found).values()), sum((found - right).values())
    moved, total = min(lost, more), sum(right.values())
    told = [(moved, f'{moved} of {total} under another name'), (lost - moved, f'loses {lost - moved} of {total}'), (more - moved, f'{more - moved} too many')]
    return ', '.join(words for n, words in told if n)


def judged(layout, found):
    "One call's result in words, and whether it is right"
    if 'error' in found: return dict(right=layout.classes is None, words=f'stops: {found["error"]}')
    rows = found['rows']
    labelled = [row for row in rows if row['label'] is not None]
    if layout.classes is None:
        if any(isinstance(row['label'], list) for row in labelled): return dict(right=True, words='learns both labels')
        classes = sorted({row['label'] for row in labelled})
        return dict(right=not classes, words='images without labels' if not classes else f'makes the classes {", ".join(classes)}')
    if rows and not labelled: return dict(right=False, words='images without labels')
    wrong = difference(layout.classes, Counter(row['label'] for row in labelled))
    if not wrong and layout.parts: wrong = 'parts: '*bool(d := difference(layout.parts, Counter(row['part'] for row in labelled))) + d
    blind = wrong_pixels(layout, rows)
    if not wrong and blind: wrong = f'sees {blind} of {len(rows)} wrongly'
    due = sum(n for why, n in layout.left_out.items() if why in TO_BE_TOLD)
    chosen = any(words in found['call'] for words in BY_CHOICE)
    silent = 0 if found['told'] or chosen or len(rows) - len(labelled) >= due else due
    return dict(right=not wrong, words=wrong or 'right', silent=silent)


def scene(label, stem): return (label, stem[0]) if len(stem) == 4 else None


def of_splits(layout, splits):
    "A tool's own splits: is there an image of each class to train on, and of no film one on both sides"
    stopped = [split['error'] for split in splits if 'error' in split]
    if stopped: return dict(right=True, words=f'its split refuses: {stopped[0]}')
    untrained, torn = 0, 0
    for split in splits:
        sides = {part: [(label, stem) for label, stem, of in split['rows'] if of == part] for part in ('train', 'valid')}
        untrained += not set(layout.classes) <= {label for label, _ in sides['train']}
        scenes = [{scene(*file) for file in side} - {None} for side in sides.values()]
        torn += bool(scenes[0] & scenes[1]) and not any('relatives' in line for line in split['told'])
    told = [(untrained, f'a class without training images in {untrained} of {len(splits)} splits'),
            (torn, f'a scene on both sides, untold, in {torn} of {len(splits)} splits')]
    return dict(right=not untrained + torn, words=', '.join(words for n, words in told if n) or 'right')


def summary(layout, result):
    "What is kept of a tool's answers to one layout"
    tries = [dict(call=found['call'], told=found['told'][:3], **judged(layout, found)) for found in result['tries']]
    best = next((found for found in tries if found['right']), None)
    kept = dict(right=best is not None, tries=tries)
    if result['splits'] and best:
        kept['split'] = of_splits(layout, result['splits'])
        kept['right'] = kept['split']['right']
    return kept


def refusals_of_those_who_read(layouts):
    "To refuse what is wrong is right for a tool that reads the others of its kind; where it reads none, it says nothing"
    reads = {name.split('/')[0] for name, kept in layouts.items() if kept['right'] and LAYOUTS[name].classes is not None}
    for name, kept in layouts.items(): kept['right'] &= LAYOUTS[name].classes is not None or name.split('/')[0] in reads
    return layouts


def run(tool, jobs):
    "One tool on all layouts: versions, and name → what it made of it"
    python = sys.executable if tool == 'fastcnn' else peers()
    done = subprocess.run([python, HERE/'loaders.py', tool], input=json.dumps(jobs), capture_output=True, text=True)
    if done.returncode: sys.exit(f'bench: {tool} failed:\n{done.stderr[-2000:]}')
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{')]
    return lines[0], refusals_of_those_who_read({result['name']: summary(LAYOUTS[result['name']], result) for result in lines[1:]})


def made(folder, only):
    "The layouts, made anew: jobs for loaders.py"
    jobs = []
    for number, (name, layout) in enumerate(LAYOUTS.items()):
        if not name.startswith(only): continue
        (there := Path(folder)/str(number)/'pictures').mkdir(parents=True)
        jobs.append(dict(name=name, source=str(layout.make(there)), options=layout.options))
    return jobs


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--tools', nargs='+', default=TOOLS, choices=TOOLS, help='the others keep the results they have')
    parser.add_argument('--only', default='', help='layouts whose name begins so: printed, not written')
    args = parser.parse_args()
    kept = json.loads(RESULTS.read_text())['tools'] if RESULTS.exists() else {}
    for tool in args.tools:
        with tempfile.TemporaryDirectory() as folder: # of each tool its own: some write beside what they read
            versions, layouts = run(tool, made(folder, args.only))
        kept[tool] = dict(about=machine() | versions, layouts=layouts)
        print(f'{tool}: {sum(of["right"] for of in layouts.values())} of {len(layouts)} right', file=sys.stderr)
    found = dict(tools={tool: kept[tool] for tool in TOOLS if tool in kept}, read=dict(autogluon=dict(FILES, kinds=READ)))
    if args.only: print(json.dumps({tool: kept[tool]['layouts'] for tool in args.tools}, indent=1, ensure_ascii=False))
    else: RESULTS.write_text(json.dumps(found, indent=1, ensure_ascii=False) + '\n')
