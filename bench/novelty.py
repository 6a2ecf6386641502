"""Ways to tell that a picture is none of the classes, side by side on the same features.

    python bench/novelty.py [--seeds 3]     writes bench/results/novelty.json

The scores: the distance to the nearest neighbours (Sun and others, 2022; the first and the fifth), Mahalanobis distance with Ledoit and Wolf's
shrinkage (fastcnn's, of 64 directions; scikit-learn's to the nearest class; and that less the distance to all, "relative"),
the energy and the highest probability of the classifier, and fastcnn's border of colours and textures, which looks at no network.

The sets: `ants_bees`, PyTorch's tutorial, learnt from `train`, judged by `valid` and by photographs of other things (all of photos.zip but its bee);
`ants_bees_20`, with 20 images of each class; `cifar10`, 1,000 images without two of the classes, judged by other images, by the two classes ("near")
and by the photographs made as small; `planets`, judged by gods, watches, cars and photographs. Networks: EfficientNet-Lite0 with its body `frozen`
or `tuned`, and a `fresh` conv_stack. All are judged by 60 made-up images too: whether a network finds those strange decides in fastcnn
whether its features are believed. Each seed takes its own three quarters of the images to learn from, for CIFAR-10 its own two classes.
Told: the area under the ROC curve, and the share refused where 5% of the true images are: smallest, median and largest over the seeds.

`exported` is the whole way: a frozen body, its head fitted, exported; what `predict` refuses, by the threshold that came from the training images
alone. `detail`: the body sees ants and bees of 32 pixels; refused are images of 32 pixels, and of full size with and without fastcnn's filter
(three quarters of the detail).
"""
import argparse, io, json, os, sys, tempfile, time, warnings, zipfile
from pathlib import Path

os.environ.setdefault('TQDM_DISABLE', '1')
warnings.simplefilter('ignore')
import numpy as np
import pandas as pd
import torch
from fastai.data.transforms import Normalize
from fastai.torch_core import set_seed
from PIL import Image, ImageOps
from sklearn.covariance import LedoitWolf

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent/'tools'))
from machine import machine, spread
from realdata import found as found_file, need

from fastcnn.data import image_dataloaders
from fastcnn.deploy import export_model
from fastcnn.exported import predict, read_config
from fastcnn.images import read_image
from fastcnn.novelty import FeatureNetwork, PictureFeatures, detail_filter, feature_function, fit_distance, fit_svm, made_up_features, made_up_images
from fastcnn.novelty import rejection_threshold, unseen_scores
from fastcnn.planets import planet_collection
from fastcnn.training import in_bfloat16, scratch_learner
from fastcnn.transfer import fit_head, image_features, set_head, transfer_learner

FALSE = .05
PAIRS = (('airplane', 'automobile'), ('cat', 'truck'), ('dog', 'horse'), ('bird', 'ship'), ('deer', 'frog'))


# the sets

def unpacked(folder):
    "Ants and bees, and photographs of other things"
    for name in ('ants_bees', 'photos'):
        with zipfile.ZipFile(need(f'{name}.zip')) as archive: archive.extractall(folder/name)
    return sorted(file for file in (folder/'photos').rglob('*.jpg') if file.stem != 'bee')


def small(image, side=32):
    "An image whose shorter side has so many pixels, as a PNG"
    image, file = Image.fromarray(read_image(image)), io.BytesIO()
    scale = side/min(image.size)
    image.resize([max(side, round(edge*scale)) for edge in image.size], Image.Resampling.BILINEAR).save(file, 'PNG')
    return file.getvalue()


def table_of(images, labels): return pd.DataFrame(dict(name=[str(i) for i in range(len(images))], image=images, label=labels, group=None))


def class_folders(root):
    "The images below class folders"
    files = sorted(root.glob('*/*.jpg'))
    return table_of(files, [file.parent.name for file in files])


def cifar(part, n, seed):
    table = pd.read_parquet(need(f'cifar10/{part}.parquet')).sample(n, random_state=seed)
    names = 'airplane automobile bird cat deer dog frog horse ship truck'.split()
    return table_of([row['bytes'] for row in table.img], [names[label] for label in table.label])


def cifar_collection(photos, seed):
    "The collection without two of the classes"
    train, test, out = cifar('train', 1250, seed), cifar('test', 800, seed), PAIRS[seed % len(PAIRS)]
    known = test.label.isin(out)
    kinds = dict(true=test.image[~known], near=test.image[known], photographs=[small(photo) for photo in photos])
    return train[~train.label.isin(out)], 224, 32, kinds


def collections(folder, photos, seed):
    "Name → (table to learn from, size for a body, size for a fresh network, name of the true ones → tables of images to judge)"
    few = np.random.default_rng(seed)
    ants = class_folders(folder/'ants_bees'/'train')
    kinds = dict(true=class_folders(folder/'ants_bees'/'valid').image, photographs=photos)
    yield 'ants_bees', ants.sample(frac=.75, random_state=seed), 224, 128, kinds
    twenty = ants.groupby('label', group_keys=False)[list(ants)].apply(lambda part: part.sample(20, random_state=few.integers(99)))
    yield 'ants_bees_20', twenty, 224, None, kinds
    if not all(found_file(f'cifar10/{part}.parquet') for part in ('train', 'test')): print('cifar10: left out, its files are missing', file=sys.stderr)
    else: yield 'cifar10', *cifar_collection(photos, seed)
    planet_collection(folder/f'planets{seed}', n=60, seed=100 + seed, nuisances=0, duplicates=0, broken=0)
    truth = planet_collection(folder/f'others{seed}', n=30, seed=200 + seed, nuisances=1, duplicates=0, broken=0)
    kinds = {kind: [folder/f'others{seed}'/row['file'] for row in truth if row['kind'] == kind] for kind in ('planet', 'god', 'watch', 'car')}
    yield 'planets', class_folders(folder/f'planets{seed}'), 128, 64, dict(true=kinds.pop('planet'), **kinds, photographs=photos)


# the scores

def unit(x): return x/np.linalg.norm(x, axis=1, keepdims=True).clip(1e-12)


def scores(layer, values):
    with torch.inference_mode(): return layer(torch.as_tensor(values, dtype=torch.float32)).numpy()


def neighbours(bank, k):
    bank = unit(bank)
    return lambda seen: np.sort(1 - unit(seen['features']) @ bank.T, 1)[:, min(k, len(bank)) - 1]


def log_sum(logits): return np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1)) + logits.max(1)


def mahalanobis(features, labels):
    "Distance to all, fastcnn's; to the nearest class; and the second less scikit-learn's distance to all"
    whole, both = fit_distance(features), LedoitWolf().fit(unit(features))
    means = {label: unit(features[labels == label]).mean(0) for label in np.unique(labels)}
    within = LedoitWolf(assume_centered=True).fit(unit(features) - np.stack([means[label] for label in labels]))
    def nearest(seen): return np.min([within.mahalanobis(unit(seen['features']) - mean) for mean in means.values()], 0)
    return dict(mahalanobis=lambda seen: scores(whole, seen['features']), mahalanobis_of_classes=nearest,
                relative=lambda seen: nearest(seen) - both.mahalanobis(unit(seen['features'])))


def methods(learnt, labels, size):
    border = fit_svm(learnt['numbers'], made_up_features(size))
    return dict(neighbour_1=neighbours(learnt['features'], 1), neighbour_5=neighbours(learnt['features'], 5),
                **mahalanobis(learnt['features'], labels), energy=lambda seen: -log_sum(seen['logits']),
                highest_probability=lambda seen: log_sum(seen['logits']) - seen['logits'].max(1), pixels=lambda seen: scores(border, seen['numbers']))


def judged(found):
    "Area under the curve and share refused at 5% false refusals, of each kind of stranger"
    own = found.pop('true')
    border = np.quantile(own, 1 - FALSE)
    return {kind: dict(auroc=float((own[:, None] < these).mean() + (own[:, None] == these).mean()/2), refused=float((these > border).mean()))
            for kind, these in found.items()}


# the networks

def squares(images, size):
    return torch.tensor(np.stack([np.asarray(ImageOps.fit(Image.fromarray(read_image(image)), (size, size), Image.Resampling.BILINEAR))
                                  for image in images])).permute(0, 3, 1, 2).float()


def normalization(dls):
    "Mean and standard deviation that the batches were brought to"
    found = next(t for t in dls.after_batch.fs if isinstance(t, Normalize))
    return found.mean.flatten().tolist(), found.std.flatten().tolist()


def seen(learn, images, size, head=None):
    "All that the scores look at"
    network, measure, found = FeatureNetwork(learn.model.eval(), *normalization(learn.dls)), PictureFeatures(size), []
    images = list(images)
    for start in range(0, len(images), 16):
        x = squares(images[start:start + 16], size)
        with torch.inference_mode(), in_bfloat16(network.network): logits, features = network(x.to(memory_format=torch.channels_last))
        found.append((features.float().numpy(), logits.float().numpy(), measure(x).numpy()))
    features, logits, numbers = map(np.concatenate, zip(*found))
    return dict(features=features, logits=features @ head.weight.T + head.bias if head else logits, numbers=numbers)


def train(kind, table, size, seed):
    "A Learner, and a head where that is fitted to features"
    set_seed(seed)
    dls = image_dataloaders(table, size, 32, valid_pct=.2, seed=seed)
    if kind == 'fresh':
        learn = scratch_learner(dls)
        with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(8, 3e-3)
        return learn, None
    learn = transfer_learner(dls)
    if kind == 'tuned':
        with learn.no_bar(), learn.no_logging(): learn.fine_tune(3, 3e-3)
        return learn, None
    items = learn.dls.train.items
    return learn, fit_head(image_features(learn, items), [learn.dls.vocab.o2i[label] for label in items.label])


def compare(kind, table, size, kinds, seed):
    "Method → kind of stranger → figures"
    learn, head = train(kind, table, size, seed)
    items = learn.dls.train.items
    learnt = seen(learn, items.image, size, head)
    made_up = [Image.fromarray(image) for image in made_up_images(60, max(size, 128), 1000 + seed)]
    strangers = {name: seen(learn, images, size, head) for name, images in dict(kinds, made_up=made_up).items()}
    return {method: judged({name: score(found) for name, found in strangers.items()})
            for method, score in methods(learnt, items.label.to_numpy(), size).items()}


def exported(folder, photos, seed):
    "What the exported model refuses, and how much larger it is for it"
    set_seed(seed)
    learn = transfer_learner(image_dataloaders(folder/'ants_bees'/'train', 224, 16, seed=seed))
    features = [image_features(learn, part.items) for part in (learn.dls.train, learn.dls.valid)]
    labels = [[learn.dls.vocab.o2i[label] for label in part.items.label] for part in (learn.dls.train, learn.dls.valid)]
    set_head(learn, fit_head(np.concatenate(features), sum(labels, [])))
    start = time.time()
    model = export_model(learn, folder/f'model{seed}', features=features)
    seconds, own = time.time() - start, sorted((folder/'ants_bees'/'valid').rglob('*.jpg'))
    true, strange = predict(model, own), predict(model, photos)
    right = true.filter(like='p_').to_numpy().argmax(1) == [learn.dls.vocab.o2i[file.parent.name] for file in own]
    more = (model/'model.onnx').stat().st_size - (model/'model.safetensors').stat().st_size
    return dict(accuracy=float(right.mean()), true_refused=float(true.label.isna().mean()), photographs_refused=float(strange.label.isna().mean()),
                seconds=seconds, graph_larger_by_mb=more/1e6, threshold=read_config(model)['none_of_these']['threshold'])


def detail(folder, photos):
    "Learnt from ants and bees of 32 pixels: what is refused at 32 pixels, and at full size, as it is and through the filter"
    small_ones = {part: [small(file) for file in sorted((folder/'ants_bees'/part).rglob('*.jpg'))] for part in ('train', 'valid')}
    labels = np.resize(['a', 'b'], len(small_ones['train'])) # the body is what counts
    learn = transfer_learner(image_dataloaders(table_of(small_ones['train'], labels), 224, 16))
    network = FeatureNetwork(learn.model.eval(), *normalization(learn.dls))
    see = feature_function(network, 224)
    def looked(images, matrix=None):
        return np.concatenate([see(squares(images[i:i + 16], 224), matrix) for i in range(0, len(images), 16)])
    learnt, matrix = looked(small_ones['train']), detail_filter(224, 24)
    distance = fit_distance(learnt)
    def fit(rows):
        part = fit_distance(learnt[rows])
        return lambda asked: scores(part, learnt[asked])
    threshold, _ = rejection_threshold(unseen_scores(fit, np.ones(len(learnt), bool), range(len(learnt))))
    own = sorted((folder/'ants_bees'/'valid').rglob('*.jpg'))
    cases = dict(true_at_32=(small_ones['valid'], None), true_full_size=(own, None), true_filtered=(own, matrix), photographs_filtered=(photos, matrix))
    return {name: round(float((scores(distance, looked(*case)) > threshold).mean()), 4) for name, case in cases.items()}


def over_seeds(found):
    "The same nest of dictionaries with the spread of its numbers"
    if not isinstance(found[0], dict): return spread(found, 3)
    return {key: over_seeds([one[key] for one in found]) for key in found[0]}


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--seeds', type=int, default=3)
    args, found, wholes = parser.parse_args(), {}, []
    with tempfile.TemporaryDirectory() as tmp:
        folder = Path(tmp)
        photos = unpacked(folder)
        for seed in range(args.seeds):
            for name, table, size, fresh_size, kinds in collections(folder, photos, seed):
                runs = dict(frozen=size, tuned=128 if name == 'ants_bees' else None, fresh=fresh_size)
                for kind, side in runs.items():
                    if side is None: continue
                    found.setdefault(name, {}).setdefault(kind, []).append(compare(kind, table, side, kinds, seed))
                    told = {method: {k: round(v['auroc'], 3) for k, v in f.items()} for method, f in found[name][kind][-1].items()}
                    print(seed, name, kind, told, file=sys.stderr, flush=True)
            wholes.append(exported(folder, photos, seed))
            print(seed, wholes[-1], file=sys.stderr, flush=True)
        told = dict(about=machine('fastcnn', 'torch', 'scikit-learn', 'numpy'), seeds=args.seeds,
                    **{name: {kind: over_seeds(runs) for kind, runs in kinds.items()} for name, kinds in found.items()},
                    exported=over_seeds(wholes), detail=detail(folder, photos))
    print(json.dumps(told, indent=1))
    (HERE/'results'/'novelty.json').write_text(json.dumps(told, indent=1) + '\n')
