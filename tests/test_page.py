"What a visitor does on the published page: many pictures, the camera, and teaching it a class."
import csv, json, os, re

import numpy as np
import pytest
from PIL import Image

from fastcnn.core import InputError
from fastcnn.deploy import export_model
from fastcnn.exported import predict
from fastcnn.pipeline import write_predictions
from fastcnn.planets import planet_image
from fastcnn.publish import publish
from test_publish import axe, draw, open_page, put, server, shown, visit  # noqa: F401 (fixtures are found by name)
from web import violations


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    "A pretrained body, which has features, and a head that has not learnt: what it says is always the same"
    from fastai.torch_core import set_seed
    from fastcnn.data import image_dataloaders
    from fastcnn.transfer import transfer_learner
    folder = tmp_path_factory.mktemp('seeing')
    draw(folder/'planets', 20, 0, lambda i: (64, 64))
    set_seed(42)
    return export_model(transfer_learner(image_dataloaders(folder/'planets', 64, 16, num_workers=0, augment=False)), folder/'model')


@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
    "Planets, and flags of three bars, which are none: name → file"
    folder, rng = tmp_path_factory.mktemp('pictures'), np.random.default_rng(0)
    planets = draw(folder, 3, 500, lambda i: (90, 70))

    bars = [np.repeat(rng.integers(0, 256, (3, 3), dtype=np.uint8), 30, 0)[:, None].repeat(90, 1) for _ in range(12)]
    for i, flag in enumerate(bars): Image.fromarray(flag).save(folder/f'flag {i}.png')
    return dict(planets=planets, flags=[folder/f'flag {i}.png' for i in range(12)])


@pytest.fixture(scope='module')
def site(server, model): return put(server, model, 'taught', weights='float32') # to the last digits as `predict`


@pytest.fixture
def page(visit, site):
    page = visit(site)
    page.locator('#status', has_text='The model is ready').wait_for(timeout=30_000)
    return page


def fill(page, files, n):
    "Give some files at once, and wait until the table holds all answers"
    page.locator('#file').set_input_files(files)
    page.locator('#rows tr').nth(n - 1).wait_for(timeout=60_000)
    page.locator('#halt').wait_for(state='hidden')


def saved(page, button):
    "The file that a button saves"
    with page.expect_download() as download: page.locator(button).click()
    return download.value.path()


def numbers(rows): return np.array([[float(v) if v else np.nan for k, v in row.items() if k not in ('file', 'label', 'error')] for row in rows])


def test_many_pictures_become_the_table_that_predict_writes(page, model, pictures, tmp_path):
    broken, odd = tmp_path/'broken.jpg', tmp_path/'=1+1, "odd".png'
    broken.write_bytes(b'no picture')
    odd.write_bytes(pictures['flags'][0].read_bytes())
    files = [*pictures['planets'][:4], odd, broken]
    fill(page, files, 6)
    here = list(csv.DictReader(saved(page, '#save').read_text().splitlines()))
    write_predictions(model, files, tmp_path/'table.csv')
    there = list(csv.DictReader((tmp_path/'table.csv').read_text().splitlines()))
    assert list(here[0]) == list(there[0]) and [row['label'] for row in here] == [row['label'] for row in there]
    np.testing.assert_allclose(numbers(here), numbers(there), rtol=1e-3, atol=1e-3)
    assert here[4]['file'] == "'=1+1, \"odd\".png" and here[5]['error'] and not here[5]['probability']
    assert page.locator('#rows tr.broken').inner_text().split('\t')[1:3] == ['broken.jpg', 'It is damaged, or of a kind that your browser does not know']
    page.locator('#kind').select_option('broken')
    assert page.locator('#rows tr').count() == 1
    page.locator('#kind').select_option('all')
    page.get_by_role('button', name='Probability').click()
    shares = sorted((row['probability'] for row in here[:5] if row['label']), key=float) # of none of these there is none to show
    assert page.locator('#rows tr .sure').all_inner_texts()[0].strip() == f'{float(shares[0]):.1%}'
    assert page.locator('th[aria-sort=ascending]').inner_text().startswith('Probability')
    none = sum(not row['label'] for row in here[:5])
    assert none and page.locator('#rows tr.none').count() == none and '%' not in page.locator('#rows tr.none').first.inner_text()
    said = page.locator('#status').text_content()
    assert sum(map(int, re.findall(r'(\d+) (?!pictures|of these answers)', said))) == len(files), said


COUNT = """let live = 0; const [make, drop] = [URL.createObjectURL, URL.revokeObjectURL], there = new Set()
URL.createObjectURL = what => { const url = make.call(URL, what); there.add(url); return url }
URL.revokeObjectURL = url => { there.delete(url); drop.call(URL, url) }
window.live = () => there.size"""

def test_small_pictures_are_let_go(visit, site, pictures):
    page = visit('about:blank')
    page.add_init_script(COUNT)
    page.goto(site)
    page.locator('#status', has_text='The model is ready').wait_for(timeout=30_000)
    fill(page, pictures['flags'], 12)
    assert page.evaluate('live()') == 12
    page.locator('#clear').click()
    assert page.evaluate('live()') == 0 and page.locator('#many').is_hidden()


def test_the_camera_answers_and_stops_when_the_page_is_left(page):
    page.locator('#open').click()
    page.locator('#headline').wait_for(timeout=20_000)
    page.locator('#rate', has_text='times a second').wait_for(timeout=20_000)
    assert page.locator('#stage').is_hidden() and page.locator('#look').is_hidden()
    page.evaluate("Object.defineProperty(document, 'hidden', {value: true}); document.dispatchEvent(new Event('visibilitychange'))")
    page.locator('#camera').wait_for(state='hidden')
    assert page.evaluate("document.querySelector('#video').srcObject.getTracks().every(track => track.readyState === 'ended')")


def teach(page, name, files):
    "Add a class with pictures"
    page.locator('#new-name').fill(name)
    page.get_by_role('button', name='Add a class').click()
    page.get_by_label(f'Choose pictures of {name}').set_input_files(files)
    page.locator('article', has_text=name).locator('.verdict', has_text=f'{len(files)}').wait_for(timeout=60_000)


def test_a_class_is_taught_saved_and_read(page, visit, site, model, pictures, tmp_path):
    flags, planets = pictures['flags'], pictures['planets'][:4]
    fill(page, [flags[-1], *planets], 5)
    before = page.locator('#rows tr').all_inner_texts()
    teach(page, 'flags', flags[:8])
    said = page.locator('.verdict').inner_text()
    page.locator('#rows tr', has_text='flags').wait_for(timeout=60_000) # all are judged again
    assert 'flags' in page.locator('#rows tr').first.inner_text() and before != page.locator('#rows tr').all_inner_texts()
    here = list(csv.DictReader(saved(page, '#save').read_text().splitlines()))
    file = tmp_path/'taught.json'
    file.write_bytes(saved(page, '#keep').read_bytes())
    there = predict(model, [flags[-1], *planets], taught=file)
    assert [row['label'] or None for row in here] == there.label.where(there.label.notna(), None).tolist() and there.label[0] == 'flags'
    np.testing.assert_allclose(numbers(here), there.drop(columns=['file', 'label', 'error']).to_numpy(float), rtol=1e-3, atol=1e-3)
    other = visit(site)
    other.locator('#teach').wait_for(timeout=30_000)
    other.locator('#load').set_input_files(file)
    other.locator('.verdict', has_text=said).wait_for(timeout=60_000)
    found = json.loads(file.read_text())
    file.write_text(json.dumps(found | dict(model='0'*64)))
    other.locator('#load').set_input_files(file)
    other.locator('#told', has_text='it was taught to another model').wait_for()
    with pytest.raises(InputError, match='another model'): predict(model, planets[:1], taught=file)


def test_what_is_too_little_is_called_that(page, pictures):
    teach(page, 'flags', pictures['flags'][:3])
    assert 'too few' in page.locator('.verdict').inner_text()
    page.get_by_label('Choose pictures of flags').set_input_files(pictures['flags'][:1])
    page.locator('#told', has_text='flag 0.png is there already').wait_for(timeout=20_000)
    page.locator('#new-name').fill('flags')
    page.get_by_role('button', name='Add a class').click()
    page.locator('#told', has_text='There is a class flags already').wait_for()
    page.get_by_role('button', name='Remove the class flags').click()
    page.locator('article').wait_for(state='detached')


@pytest.mark.parametrize('scheme, width', [('light', 390), ('dark', 768), ('light', 1280), ('dark', 390)])
def test_every_part_looks_right(page, axe, pictures, scheme, width):
    page.set_viewport_size(dict(width=width, height=900))
    page.emulate_media(color_scheme=scheme)
    assert violations(page, axe) == [] # empty
    fill(page, [*pictures['planets'][:2], pictures['flags'][0]], 3)
    teach(page, 'flags', pictures['flags'][:5])
    page.get_by_role('button', name='Look closely at flag 0.png').click()
    shown(page, 'flag 0.png')
    page.locator('#look').click()
    page.locator('#meaning').wait_for(timeout=60_000)
    assert page.locator('#meaning').inner_text().count('odds of') == 1
    page.locator('#which').select_option(label='flags')
    assert 'odds of flags' in page.locator('#meaning').inner_text()
    assert page.evaluate('document.documentElement.scrollWidth') <= width
    assert violations(page, axe) == []
    page.locator('#open').click()
    page.locator('#rate', has_text='times a second').wait_for(timeout=20_000)
    assert violations(page, axe) == [] and page.evaluate('document.documentElement.scrollWidth') <= width


def test_a_model_without_features_says_why_it_cannot_be_taught(visit, server, model, tmp_path):
    import shutil
    from fastcnn.deploy import write_config
    from fastcnn.exported import read_config
    shutil.copytree(model, tmp_path/'plain')
    (tmp_path/'plain'/'features.safetensors').unlink()
    write_config(tmp_path/'plain', read_config(model))
    page = visit(put(server, tmp_path/'plain', 'plain'))
    page.locator('#teach-why', has_text='cannot be taught').wait_for(timeout=30_000)
    assert page.locator('#teach-tools').is_hidden()
    with pytest.raises(InputError, match='holds no features'): predict(tmp_path/'plain', [planet_image('earth', 1, (64, 64))], taught=tmp_path/'x.json')


@pytest.mark.parametrize('spoil,told', [
    (lambda file: None, 'is missing'), (os.mkfifo, 'is no ordinary file'), (lambda file: file.write_bytes(b'x'), 'is not the file')])
def test_features_are_read_once_and_are_those_of_the_export(model, tmp_path, spoil, told):
    import shutil
    shutil.copytree(model, tmp_path/'spoilt')
    (tmp_path/'spoilt'/'features.safetensors').unlink()
    spoil(tmp_path/'spoilt'/'features.safetensors')
    with pytest.raises(InputError, match=told): publish(tmp_path/'spoilt', tmp_path/'site')
    with pytest.raises(InputError, match=told): predict(tmp_path/'spoilt', [planet_image('earth', 1, (64, 64))], taught=tmp_path/'x.json')
