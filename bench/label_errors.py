"""fastcnn's `find_label_errors` beside cleanlab: which labels are wrong, by the same out-of-sample probabilities.

    python bench/label_errors.py [--seeds 42 43 44]     writes bench/results/label_errors.json

Five and ten of a hundred labels of ants and bees (`train/`) and of 2,000 images of CIFAR-10 are replaced by another class drawn at random. A head of a frozen
backbone's features is fitted to the wrong labels as `train` does it, and gives each image probabilities from images that it was not learnt from. All images are
then ranked by how likely their label is wrong: by cleanlab (in .venv-peers) with each of its three scores, and by fastcnn, whose suspects come first and are
ranked by the probability of their label, as the others are behind them. Average precision is over all images; precision and recall are those of the
suspects that are shown.
"""
import argparse, json, subprocess, sys, tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent/'tools'))
from machine import machine, spread
from plans import has, table_of
from realdata import peers

CLEANLAB = '''
import json, sys, numpy as np
from importlib.metadata import version
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
given = np.load(sys.argv[1])
labels, probabilities = given['labels'], given['probabilities']
scores = {method: get_label_quality_scores(labels, probabilities, method=method).tolist()
          for method in ('self_confidence', 'normalized_margin', 'confidence_weighted_entropy')}
print(json.dumps(dict(version=version('cleanlab'), scores=scores, suspects=find_label_issues(labels, probabilities).tolist())))
'''


def cleanlab(labels, probabilities):
    "What cleanlab says, in its own environment"
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder)/'given.npz', labels=labels, probabilities=probabilities)
        done = subprocess.run([peers(), '-c', CLEANLAB, Path(folder)/'given.npz'], stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def figures(wrong, order, suspects):
    "Average precision of an order, the likeliest error first; precision and recall of the suspects"
    scores = np.empty(len(wrong))
    scores[order] = np.arange(len(wrong), 0, -1)
    hits = wrong[suspects].sum()
    return dict(average_precision=float(average_precision_score(wrong, scores)), precision=float(hits/max(len(suspects), 1)), recall=float(hits/wrong.sum()))


def planted(labels, share, seed):
    "Labels of which some are another class"
    rng, found = np.random.default_rng(seed), labels.copy()
    which = rng.choice(len(labels), round(share*len(labels)), replace=False)
    classes = labels.max() + 1
    found[which] = (labels[which] + rng.integers(1, classes, len(which))) % classes
    return found, found != labels


def compare(features, labels, groups, vocab, share, seed):
    "One row for each tool"
    from fastcnn.evaluation import find_label_errors
    from fastcnn.transfer import fit_head
    given, wrong = planted(labels, share, seed)
    probabilities = fit_head(features, given, groups, seed).probabilities
    found = find_label_errors(probabilities, given, vocab, range(len(given)))
    own = probabilities[np.arange(len(given)), given]
    suspects = found.image.to_numpy(int)
    behind = [i for i in np.argsort(own, kind='stable') if i not in set(suspects)]
    peer = cleanlab(given, probabilities)
    rows = dict(fastcnn=figures(wrong, [*suspects, *behind], suspects))
    for method, scores in peer['scores'].items():
        rows[f'cleanlab {method}'] = figures(wrong, np.argsort(scores, kind='stable'), np.flatnonzero(peer['suspects']))
    return rows, peer['version']


def features_of(which, seed):
    from fastcnn.plans import frozen_learner
    from fastcnn.transfer import image_features
    learn = frozen_learner(table_of(which, seed), 'lite/efficientnet_lite0')
    items = pd.concat([learn.dls.train.items, learn.dls.valid.items], ignore_index=True)
    labels = np.array([learn.dls.vocab.o2i[label] for label in items.label])
    return image_features(learn, items), labels, [str(label) for label in learn.dls.vocab]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--seeds', nargs='+', type=int, default=[42, 43, 44])
    args = parser.parse_args()
    peers() # cleanlab is there
    from fastcnn.core import atomic_write
    found, told = {}, ''
    for which in filter(has, ('ants', 'cifar10')):
        for share in (.05, .1):
            runs = []
            for seed in args.seeds:
                features, labels, vocab = features_of(which, seed)
                rows, told = compare(features, labels, None, vocab, share, seed)
                runs.append(rows)
                print(which, share, seed, {name: round(row['average_precision'], 3) for name, row in rows.items()}, flush=True)
            found[f'{which}, {share:.0%}'] = {tool: {figure: spread([run[tool][figure] for run in runs]) for figure in runs[0][tool]} for tool in runs[0]}
    found['machine'] = machine('torch', 'scikit-learn') | dict(cleanlab=told)
    atomic_write(HERE/'results'/'label_errors.json', json.dumps(found, indent=1))


if __name__ == '__main__': main()
