"From what people have to a model: nothing vanishes, and nothing is lost once it has been learnt"
import json, os, shutil, warnings
from unittest import mock

import pytest

import fastcnn.diagnosis, fastcnn.evaluation, fastcnn.report
from fastcnn.core import InputError
from fastcnn.exchange import add_images
from fastcnn.exported import predict, read_config
from fastcnn.pipeline import add_source, collection_facts, train_classifier
from layouts import LAYOUTS

FAST = dict(plan='scratch', mirror='yes', epochs=1, size=24, batch_size=16)


def strict(text): return json.loads(text, parse_constant=lambda word: pytest.fail(f'{word} is no JSON'))


def told(call, *args, **options):
    "(what it gives, its warnings as one text)"
    with warnings.catch_warnings(record=True, action='always') as caught: found = call(*args, **options)
    return found, '\n'.join(str(warning.message) for warning in caught)


@pytest.mark.parametrize('name', ['film/one class', 'rare/1 and 2', 'many/100', 'competition/wrapped zip', 'labelled/windows', 'prefixed/at the end',
                                  'odd_files/deep zip', 'parquets/label null', 'green/red and green'])
def test_what_people_have_becomes_a_model(name, tmp_path):
    layout = LAYOUTS[name]
    source = layout.read(tmp_path)
    trained, said = told(train_classifier, source, tmp_path/'model', **FAST, **layout.options)
    summary, learn = trained.summary(), trained.learn
    assert summary['classes'] == sorted(layout.classes) and set(learn.dls.train.items.label) == set(layout.classes)
    assert set(read_config(tmp_path/'model')['classes']) == set(layout.classes)
    strict((tmp_path/'model'/'config.json').read_text())
    assert len(predict(tmp_path/'model', learn.dls[2].items.image.tolist())) == summary['test_images'] > 0
    if name == 'film/one class': assert 'all 24 images of mug are frames or copies of 1 scene' in said # its validation images have relatives in training
    if name == 'rare/1 and 2': assert '1 image of bee: too few' in said
    if name.startswith('competition'): assert (summary['images'], summary['test_images']) == (34, 6) # the parts that are given


@pytest.mark.parametrize('name', ['competition/unlabelled test', 'competition/zip', 'labelled/semicolons', 'prefixed/dash'])
def test_add_takes_what_train_reads(name, tmp_path):
    layout = LAYOUTS[name]
    (tmp_path/'theirs').mkdir()
    rows, said = told(add_source, layout.read(tmp_path/'theirs'), tmp_path/'mine', **layout.options)
    assert {row['status'] for row in rows} == {'kept'}
    assert collection_facts(tmp_path/'mine')['classes'] == layout.classes
    assert not layout.left_out or 'without a label' in said


def test_add_says_the_same_of_a_folder_and_of_its_names(tmp_path):
    source = LAYOUTS['odd_files/two forms'].read(tmp_path/'theirs'/'x' if (tmp_path/'theirs'/'x').mkdir(parents=True) is None else None)
    add_images(source, tmp_path/'mine')
    assert collection_facts(tmp_path/'mine')['classes'] == LAYOUTS['odd_files/two forms'].classes


@pytest.fixture(scope='module')
def plain(tmp_path_factory): return LAYOUTS['odd_files/wrapped'].read(tmp_path_factory.mktemp('plain'))


def broken(*args, **options): raise ValueError('a fault\nof ours')


@pytest.mark.parametrize('module, name, word', [(fastcnn.diagnosis, 'diagnose', 'diagnosed'), (fastcnn.evaluation, 'evaluate', 'evaluated'),
                                                (fastcnn.report, 'evaluation_report', 'reported')])
def test_what_fails_after_training_leaves_the_model(module, name, word, plain, tmp_path):
    with mock.patch.object(module, name, broken):
        trained, said = told(train_classifier, plain, tmp_path/'model', report=tmp_path/'report.html', **FAST)
    assert f'the model is kept, but could not be {word}: ValueError: a fault of ours' in said
    assert predict(tmp_path/'model', [trained.learn.dls[2].items.image.iloc[0]]).probability.notna().all()
    strict(json.dumps(trained.summary(), allow_nan=False))
    assert (trained.summary()['accuracy'] is None) == (word == 'evaluated')


@pytest.mark.parametrize('place, told', [
    ('fastcnn.evaluation.evaluate', 'it was not tested: evaluate it'), ('fastcnn.diagnosis.diagnose', 'need another training'),
    ('fastcnn.pipeline._label_errors', 'need another training'), ('fastcnn.report.evaluation_report', 'need another training')])
def test_ctrl_c_after_training_says_what_is_there(place, told, plain, tmp_path):
    with mock.patch(place, side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt, match=f'the model is complete in .*{told}'):
        train_classifier(plain, tmp_path/'model', report=tmp_path/'report.html', **FAST)
    assert (read_config(tmp_path/'model')['accuracy'] is None) == ('not tested' in told)


def test_an_old_model_goes_only_when_the_new_one_is_whole(plain, tmp_path):
    train_classifier(plain, tmp_path/'model', **FAST)
    before = {file.name: file.read_bytes() for file in (tmp_path/'model').iterdir()}
    with mock.patch('onnxruntime.InferenceSession', broken), pytest.raises(ValueError, match='a fault'):
        told(train_classifier, plain, tmp_path/'model', **FAST | dict(seed=1, force=True))
    assert {file.name: file.read_bytes() for file in (tmp_path/'model').iterdir()} == before
    assert os.listdir(tmp_path) == ['model'] or sorted(name[:6] for name in os.listdir(tmp_path)) == ['.model', 'model'] # what was learnt


@pytest.mark.parametrize('out', ['a file/model', 'a file'])
def test_a_target_that_cannot_be_written_is_refused_before_training(out, plain, tmp_path):
    (tmp_path/'a file').write_text('')
    with mock.patch('fastcnn.data.image_dataloaders', broken), pytest.raises(InputError, match='cannot be written|is no exported model'):
        told(train_classifier, plain, tmp_path/out, **FAST)


def stop_after_two_epochs(callback):
    if callback.epoch == 1: raise KeyboardInterrupt


def test_an_interrupted_training_goes_on_where_it_was(plain, tmp_path):
    from fastcnn.diagnosis import ActivationStats
    options = FAST | dict(epochs=3)
    whole = told(train_classifier, plain, tmp_path/'whole', **options)[0].summary()
    with mock.patch.object(ActivationStats, 'after_epoch', stop_after_two_epochs, create=True), pytest.raises(KeyboardInterrupt, match='`resume` goes on'):
        told(train_classifier, plain, tmp_path/'model', **options)
    assert not (tmp_path/'model').exists()
    with pytest.raises(InputError, match='with these settings'): told(train_classifier, plain, tmp_path/'model', resume=True, **options | dict(seed=1))
    resumed = told(train_classifier, plain, tmp_path/'model', resume=True, **options)[0].summary()
    assert resumed['accuracy'] == whole['accuracy']
    assert sorted(os.listdir(tmp_path)) == ['model', 'whole'] # the checkpoint has gone
    with mock.patch.object(ActivationStats, 'after_epoch', stop_after_two_epochs, create=True), pytest.raises(KeyboardInterrupt):
        told(train_classifier, plain, tmp_path/'model', force=True, **options)
    lines = told(train_classifier, plain, tmp_path/'model', force=True, **options)[1].splitlines()
    assert sum('had kept is removed: only `resume`' in line for line in lines) == 1, lines
    assert 'is removed' not in told(train_classifier, plain, tmp_path/'model', force=True, **options)[1]
    shutil.rmtree(tmp_path/'model')
