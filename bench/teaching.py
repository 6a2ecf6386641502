"""What a model is worth after a class was taught on its page, and what it still refuses.

    python bench/teaching.py [--draws 10]     writes bench/results/teaching.json

Two models as the plan `transfer` makes them, EfficientNet-Lite0 at 224 pixels with a fitted head, exported: `ants_bees` from the training part of
PyTorch's tutorial, and `ants_others` from its ants and every second picture of photos.zip. Each is taught a class from a few photographs, drawn anew each
time, and judged on all others, on the tutorial's validation part, and on photographs of other things ("strangers"). All of it goes through the exported files:
the graph, features.safetensors, and the answer as `predict(…, taught=…)` makes it. Told: mean over the draws, and its 95% interval (Student's t).

`accuracy`: of own and taught classes, the mean over classes, before anything is refused. `recognised`: other pictures of the taught class that get it and
are let in, and `said`: what leaving one out promised of them. `refused`: of pictures that belong to the taught class, of the model's own classes, and of
strangers; with `before`, by the model as it was.
"""
import argparse, json, os, sys, tempfile, warnings
from pathlib import Path

os.environ.setdefault('TQDM_DISABLE', '1')
warnings.simplefilter('ignore')
import numpy as np
from fastai.torch_core import set_seed

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent/'tools'))
from machine import machine
from novelty import class_folders, table_of, unpacked

from fastcnn.data import image_dataloaders
from fastcnn.deploy import export_model
from fastcnn.evaluation import mean_interval
from fastcnn.exported import open_exported
from fastcnn.images import read_image
from fastcnn.taught import fit_taught, read_features
from fastcnn.transfer import fit_head, image_features, set_head, transfer_learner

KINDS = dict(
    dogs='afghan_hound staffordshire_bullterrier irish_terrier yorkshire_terrier wire-haired_fox_terrier airedale australian_terrier affenpinscher samoyed '
         'soft-coated_wheaten_terrier brittany_spaniel cocker_spaniel malinois german_shepherd appenzeller tibetan_mastiff newfoundland'.split(),
    birds='cock ostrich junco robin kite peacock quail african_grey macaw sulphur-crested_cockatoo lorikeet coucal red-breasted_merganser flamingo bittern '
          'bustard king_penguin'.split(),
    insects='tiger_beetle ladybug weevil grasshopper walking_stick sulphur_butterfly lycaenid wolf_spider tick isopod'.split())
ALIKE = dict(dogs=['white_wolf']) # neither of the class nor strange to it


def trained(table, folder):
    "A model of the pictures in a table"
    set_seed(42)
    learn = transfer_learner(image_dataloaders(table, 224, 16, seed=42))
    features = [image_features(learn, part.items) for part in (learn.dls.train, learn.dls.valid)]
    labels = [[learn.dls.vocab.o2i[label] for label in part.items.label] for part in (learn.dls.train, learn.dls.valid)]
    set_head(learn, fit_head(np.concatenate(features), sum(labels, [])))
    model = open_exported(export_model(learn, folder, features=features))
    return model, read_features((file := folder/'features.safetensors').read_bytes(), file, len(model.config['classes']))


def answers(model, files):
    "All that the graph says: name → one row per file"
    found = [model.session.run(None, {'image': read_image(file)[None]}) for file in files]
    names = [output.name for output in model.session.get_outputs()]
    return {name: np.concatenate(rows) for name, rows in zip(names, zip(*found))}


def some(found, chosen): return {name: rows[chosen] for name, rows in found.items()}


def share_refused(model, novelty): return float((novelty > model.config['none_of_these']['threshold']).mean())


def share_right(probabilities, truth):
    "Of each class that there is to judge"
    return [float((probabilities[truth == label].argmax(1) == label).mean()) for label in np.unique(truth)]


def draw(model, known, shown, own, truth, more, strangers):
    "One class, taught from the rows of `shown`; judged on the own classes, on more of the taught one, and on strangers"
    taught, classes, threshold = fit_taught(known, dict(taught=shown['features'])), len(model.config['classes']), model.config['none_of_these']['threshold']
    def after(found): return taught.extend(found['probabilities'], found['novelty'], found['features'], threshold)
    (p_own, n_own), (p_more, n_more), (_, n_strange) = map(after, (own, more, strangers))
    right = [*share_right(p_own, truth), *share_right(p_more, np.full(len(p_more), classes))]
    said, of = taught.right['taught']
    let_in = (p_more.argmax(1) == classes) & (n_more <= threshold)
    return dict(accuracy=float(np.mean(right)), taught=right[-1], recognised=float(let_in.mean()), said=said/of, refused_taught=share_refused(model, n_more),
                refused_own=share_refused(model, n_own), refused_strangers=share_refused(model, n_strange))


def mean_of(rows):
    "Figure → mean, and how far its 95% interval reaches"
    found = {name: mean_interval([row[name] for row in rows]) for name in rows[0]}
    return {name: dict(mean=round(mean, 4), plus_minus=round(half, 4)) for name, (mean, half) in found.items()}


def before(model, own, truth, strangers):
    found = dict(accuracy=float(np.mean(share_right(own['probabilities'], truth))), refused_own=share_refused(model, own['novelty']),
                 refused_strangers=share_refused(model, strangers['novelty']))
    return {name: round(value, 4) for name, value in found.items()}


def main(draws):
    results = dict(about=machine('fastcnn', 'torch', 'numpy'), draws=draws)
    with tempfile.TemporaryDirectory() as tmp:
        folder = Path(tmp)
        photos = unpacked(folder)
        names = np.array([file.stem for file in photos])
        train, valid = (class_folders(folder/'ants_bees'/part) for part in ('train', 'valid'))

        model, known = trained(train, folder/'ants_bees_model')
        own, others = answers(model, valid.image), answers(model, photos)
        truth = np.searchsorted(model.config['classes'], valid.label)
        found = results['ants_bees'] = dict(before=before(model, own, truth, others))
        for kind, members in KINDS.items():
            group, strange = np.flatnonzero(np.isin(names, members)), ~np.isin(names, members + ALIKE.get(kind, []))
            for n in (5, 10):
                if n > len(group) - 5: continue
                orders = [np.random.default_rng(seed).permutation(group) for seed in range(draws)]
                rows = [draw(model, known, some(others, order[:n]), own, truth, some(others, order[n:]), some(others, strange)) for order in orders]
                found[f'{kind}_{n}'] = mean_of(rows)
                print(kind, n, found[f'{kind}_{n}'], file=sys.stderr, flush=True)

        ants, bees = (train[train.label == label] for label in ('ants', 'bees'))
        mixed = table_of([*ants.image, *photos[::2]], ['ants']*len(ants) + ['others']*len(photos[::2]))
        model, known = trained(mixed, folder/'ants_others_model')
        own_files = [*valid.image[valid.label == 'ants'], *photos[1::2]]
        truth = np.searchsorted(model.config['classes'], ['ants']*(valid.label == 'ants').sum() + ['others']*len(photos[1::2]))
        own, shown, more = answers(model, own_files), answers(model, bees.image), answers(model, valid.image[valid.label == 'bees'])
        found = results['ants_others'] = dict(before=before(model, own, truth, more))
        for n in (5, 10, 20):
            orders = [np.random.default_rng(seed).permutation(len(bees))[:n] for seed in range(draws)]
            rows = [draw(model, known, some(shown, order), own, truth, more, more) for order in orders]
            for row in rows: del row['refused_strangers'] # there are none: "others" is a class
            found[f'bees_{n}'] = mean_of(rows)
            print('bees', n, found[f'bees_{n}'], file=sys.stderr, flush=True)
    (HERE/'results'/'teaching.json').write_text(json.dumps(results, indent=1) + '\n')
    print(json.dumps(results, indent=1))


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--draws', type=int, default=10)
    main(parser.parse_args().draws)
