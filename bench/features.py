"""The other tools' way to each feature of nbs/features.ipynb, run where the tool can be installed.

    python -m venv .venv-features && .venv-features/bin/pip install fastai timm gradio lightly transformers datasets evaluate
    .venv-features/bin/python bench/features.py SKY     writes bench/results/features.json

SKY is a folder of class folders: `python -m fastcnn demo` leaves one. The lines of each entry are run as they stand, one after the other in one process; what
the last line gives, or the error, is what came out. What fetches weights or metrics needs the web, and says so here without one.
"""
import argparse, ast, json, os, sys, tempfile, time, traceback, warnings
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent/'tools'))
from machine import machine

os.environ.update(HF_HUB_DISABLE_TELEMETRY='1', GRADIO_ANALYTICS_ENABLED='False', HF_HUB_ETAG_TIMEOUT='3', HF_HUB_DOWNLOAD_TIMEOUT='3',
                  TRANSFORMERS_VERBOSITY='error', TQDM_DISABLE='1')
TOOLS = 'fastai', 'timm', 'gradio', 'lightly', 'transformers', 'datasets', 'evaluate'

BEGIN = """import torch
from fastai.vision.all import *
from PIL import Image as Pillow
files = get_image_files(sky)
good = [f for f in files if f not in set(verify_images(files))]
small = Resize(64)"""

WAYS = { # feature of the page → the tool, and its lines
    'A folder of class folders becomes batches': ('fastai', """dls = ImageDataLoaders.from_path_func(sky, good, parent_label, valid_pct=0.2, seed=1,
                                      item_tfms=small)
f'{len(dls.train_ds)} to learn from, {len(dls.valid_ds)} to judge by'"""),
    'Labels from a CSV': ('fastai', """dfr = pd.DataFrame(dict(image=[str(f.relative_to(sky)) for f in good],
                        label=[f.parent.name for f in good]))
dfr.to_csv(work/'labels.csv', index=False)
len(ImageDataLoaders.from_csv(work, 'labels.csv', folder=sky, item_tfms=small).train_ds)"""),
    'A parquet file with the pictures in it, as the Hub has them': ('datasets', """from datasets import load_dataset
photos = load_dataset('imagefolder', data_files=[str(f) for f in good], split='train')
photos.to_parquet(str(work/'sky.parquet'))
len(load_dataset('parquet', data_files=str(work/'sky.parquet'), split='train'))"""),
    'Hand the collection on to `datasets`': ('datasets', """len(load_dataset('imagefolder', data_dir=str(sky), split='train'))"""),
    'Stream from the web while training': ('datasets', """stream = load_dataset('parquet', data_files=str(work/'sky.parquet'), split='train', streaming=True)
next(iter(stream))['image'].mode"""),
    'Broken files are found': ('fastai', """len(verify_images(files))"""),
    'Wrong labels are found': ('fastai', """model = timm.create_model('resnet10t', num_classes=4)
learn = Learner(dls, model, loss_func=CrossEntropyLossFlat(), metrics=accuracy)
len(ClassificationInterpretation.from_learner(learn).top_losses(9)[1])"""),
    'Clean by hand, in the notebook': ('fastai', """from fastai.vision.widgets import ImageClassifierCleaner
type(ImageClassifierCleaner(learn)).__name__"""),
    'Copies never stand on both sides of a split': ('datasets', """parts = photos.train_test_split(.2, seed=1, stratify_by_column='label')
{part: len(rows) for part, rows in parts.items()}"""),
    'Classes of unequal size': ('fastai', """CrossEntropyLossFlat(weight=torch.tensor([1., 1, 2, 1])).func.weight.tolist()"""),
    'Augmentation': ('timm', """from timm.data import create_transform
len(create_transform(64, is_training=True, auto_augment='rand-m9').transforms)"""),
    'A pretrained network, without asking the web': ('timm', """timm.create_model('resnet10t', pretrained=True)"""),
    "Any of timm's networks by name": ('timm', """model = timm.create_model('resnet10t', num_classes=4)
f'{len(timm.list_models())} networks; {tuple(model(torch.zeros(1, 3, 64, 64)).shape)}'"""),
    'A vision transformer': ('transformers', """from transformers import ViTConfig, ViTForImageClassification
config = ViTConfig(hidden_size=192, num_hidden_layers=2, num_attention_heads=3, num_labels=4)
tiny = ViTForImageClassification(config)
tiny(torch.zeros(1, 3, 224, 224)).logits.shape"""),
    'Features of pictures, to search or to cluster': ('timm', """timm.create_model('resnet10t', num_classes=0)(torch.zeros(2, 3, 64, 64)).shape"""),
    'Learning without labels': ('lightly', """from lightly.loss import NTXentLoss
from lightly.models.modules import SimCLRProjectionHead
body, head = timm.create_model('resnet10t', num_classes=0), SimCLRProjectionHead(512, 512, 128)
one, two = torch.randn(2, 8, 3, 64, 64)
loss = NTXentLoss()(head(body(one)), head(body(two)))
loss.backward()
f'a step, loss {loss:.1f}'"""),
    'A rate to begin with, then one cycle': ('fastai', """learn.lr_find(num_it=30, show_plot=False)
learn.fit_one_cycle(2, 3e-3)
f'{learn.validate()[1]:.0%} after two epochs'"""),
    "fastai's callbacks: early stopping, CSV log": ('fastai', r"""callbacks = [EarlyStoppingCallback(patience=2), CSVLogger(work/'log.csv')]
learn.fit(1, 1e-3, cbs=callbacks)
Path(work/'log.csv').read_text().split('\n')[0]"""),
    'MixUp': ('timm', """from timm.data import Mixup
[x.shape for x in Mixup(mixup_alpha=.4, num_classes=4)(torch.zeros(4, 3, 8, 8), torch.tensor([0, 1, 2, 3]))]"""),
    'Go on after an interruption': ('transformers', """from transformers import Trainer, TrainingArguments
rows = [dict(pixel_values=torch.randn(3, 224, 224), labels=i % 4) for i in range(4)]
options = dict(report_to='none', use_cpu=True)
first = TrainingArguments(str(work/'hf'), num_train_epochs=1, **options)
Trainer(tiny, first, train_dataset=rows).train()
more = TrainingArguments(str(work/'hf'), num_train_epochs=2, **options)
Trainer(tiny, more, train_dataset=rows).train(resume_from_checkpoint=True).global_step"""),
    'Half the bits': ('fastai', """type(learn.to_fp16()).__name__"""),
    'A search over hyperparameters': ('transformers', """search = Trainer(model_init=lambda: tiny, train_dataset=rows, args=first)
search.hyperparameter_search(n_trials=1)"""),
    'Accuracy that says how sure it is': ('evaluate', """import evaluate
evaluate.load('accuracy')"""),
    'A confusion matrix, class by class': ('fastai', """ClassificationInterpretation.from_learner(learn).confusion_matrix().shape"""),
    'A heat map: where the network looks': ('fastai', """with hook_output(learn.model.layer4) as seen: learn.model.eval()(torch.zeros(1, 3, 64, 64))
seen.stored.shape"""),
    'A file that others can run: ONNX': ('torch', """model = learn.model.float().eval()
torch.onnx.export(model, (torch.zeros(1, 3, 64, 64),), work/'model.onnx', verbose=False)
(work/'model.onnx').exists()"""),
    'An answer without torch': ('fastai', """learn.to_fp32().predict(good[0])[0]"""),
    'A demo with a server': ('gradio', """import gradio
app = gradio.Interface(lambda picture: {'earth': 1.}, gradio.Image(), gradio.Label())
type(app).__name__"""),
    'Detection, segmentation, several labels, sound': ('fastai', """block = DataBlock((ImageBlock, MultiCategoryBlock), get_items=lambda _: good,
                  get_y=lambda f: [f.parent.name], item_tfms=small)
type(block.dataloaders(sky).loss_func).__name__"""),
}


def came_out(code, names):
    "What the last line gives, in words, or the first line of the error"
    *lines, last = ast.parse(code).body
    try:
        exec(compile(ast.Module(lines, []), 'features', 'exec'), names)
        return True, str(eval(compile(ast.Expression(last.value), 'features', 'eval'), names))[:160]
    except Exception as error:  # whatever the tool raises is what came out
        traceback.print_exc(limit=1)
        return False, f'{type(error).__name__}: {error}'.split('\n')[0][:160]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('sky', type=Path)
    args = parser.parse_args()
    warnings.simplefilter('ignore')
    found = {}
    with tempfile.TemporaryDirectory() as work:
        names = dict(sky=args.sky.resolve(), work=Path(work))
        exec(BEGIN + '\nimport timm', names)
        for feature, (tool, code) in WAYS.items():
            start = time.perf_counter()
            ran, words = came_out(code, names)
            words, seconds = words.replace(work, 'WORK').replace(os.getcwd(), '.'), round(time.perf_counter() - start, 2)
            found[feature] = dict(tool=tool, code=code, ran=ran, came_out=words, seconds=seconds)
            print(f"{feature}: {found[feature]['came_out']}", flush=True)
    path = HERE/'results'/'features.json'
    path.write_text(json.dumps(dict(machine=machine(*TOOLS), ways=found), indent=1, ensure_ascii=False) + '\n', encoding='utf-8')


if __name__ == '__main__': main()
