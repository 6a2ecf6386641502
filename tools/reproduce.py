"""Make the figures of the README again and keep them, with date and machine, in bench/results/.

    python tools/reproduce.py            all of them
    python tools/reproduce.py ladder     article A: the six steps on the built-in planets, 5 seeds (some 15 minutes
                                         on 2 cores)
    python tools/reproduce.py cifar10    train and evaluate on the CIFAR-10 files of FASTCNN_DATA (some 8 minutes)
    python tools/reproduce.py articles   the networks of articles B to E, each with its seeds (some hours;
                                         tools/articles.py makes single rows)
    python tools/reproduce.py transfer   article E's frozen backbone beside networks from scratch of equal training time
                                         (some 8 minutes)
"""
import json, os, subprocess, sys, tempfile, time
from pathlib import Path

from machine import machine

RESULTS = Path(__file__).resolve().parent.parent/'bench'/'results'
SEEDS = range(5)
# As the command does: waiting threads leave the cores to the processes that read images
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')


def ladder():
    "Each step with a fresh network, on the same cleaned collection; another split and another network with each seed"
    import pandas as pd
    from fastcnn.clean import clean_images
    from fastcnn.data import image_dataloaders
    from fastcnn.evaluation import mean_interval
    from fastcnn.planets import planet_collection
    from fastcnn.training import fit_ladder
    start, runs = time.time(), []
    with tempfile.TemporaryDirectory() as tmp:
        root = Path(tmp)/'planets'
        planet_collection(root, n=780, seed=42, nuisances=0.01)
        cleaned = clean_images(root).counts
        for seed in SEEDS:
            dls = image_dataloaders(root, size=128, valid_pct=0.2, seed=seed)
            runs.append(fit_ladder(dls, seed=seed).assign(seed=seed))
            print(runs[-1][['step', 'accuracy', 'seconds']].to_string(), file=sys.stderr, flush=True)
    table, steps = pd.concat(runs), []
    for row in runs[0].itertuples():
        values = table[table.step == row.step].accuracy.tolist()
        mean, half = mean_interval(values)
        steps.append(dict(step=row.step, article=row.article, mean=mean, half_width=half, accuracies=values))
    means = {s['step']: s['mean'] for s in steps}
    rising = means['convolutions only'] < means['+ ReLU'] < means['+ BatchNorm']
    return dict(data='built-in planets, n=780 of each, seed 42, cleaned', images=cleaned['kept'],
                training_images=len(dls.train.dataset), size=128,
                steps=steps, rising=rising, seconds=round(time.time() - start))


def command(*argv):
    "JSON of the command"
    argv = [sys.executable, '-m', 'fastcnn', *map(str, argv), '--json']
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def cifar10():
    "Train on the training parquet, evaluate on the 10,000 images of the test parquet"
    if 'FASTCNN_DATA' not in os.environ:
        sys.exit('cifar10: set FASTCNN_DATA to the folder that holds cifar10/train.parquet and cifar10/test.parquet')
    data = Path(os.environ['FASTCNN_DATA'])/'cifar10'
    with tempfile.TemporaryDirectory() as tmp:
        trained = command('train', data/'train.parquet', '--epochs', 5, '--size', 32, '--out', Path(tmp)/'model')
        judged = command('evaluate', Path(tmp)/'model', data/'test.parquet')
    return dict(epochs=5, size=32, train_seconds=trained['seconds'], held_out_accuracy=trained['accuracy'],
                **{k: judged[k] for k in ('accuracy', 'accuracy_interval', 'f1', 'precision', 'recall', 'images')})


def articles(): run_tool('articles')
def transfer(): run_tool('transfer')

def run_tool(name):
    "A tool that keeps its own results"
    subprocess.run([sys.executable, Path(__file__).with_name(f'{name}.py')], check=True)


if __name__ == '__main__':
    work = dict(ladder=ladder, cifar10=cifar10, articles=articles, transfer=transfer)
    for name in sys.argv[1:] or work:
        if result := work[name]():
            RESULTS.mkdir(parents=True, exist_ok=True)
            kept = machine('fastcnn', 'torch', 'fastai') | result
            (RESULTS/f'{name}.json').write_text(json.dumps(kept, indent=1) + '\n')
        print(RESULTS/f'{name}.json', file=sys.stderr)
