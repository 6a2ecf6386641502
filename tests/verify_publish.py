"The published page in figures: how soon it answers, and how near it comes to torch, to ONNX Runtime and to `predict`."
import time
from statistics import median

import numpy as np
import pytest
from PIL import Image

from fastcnn.exported import predict
from test_publish import (answers, axe, classified, differences, encoded, load_seconds, model, open_page, page, planets, server, shared, # noqa: F401
                          site, visit) # fixtures are found by name


@pytest.mark.verify
def test_page_agrees_with_torch_and_predict(page, model, planets, record_property):
    tensors, files = differences(page, model, planets), answers(page, model, planets)
    record_property('largest_difference_over_100_tensors', tensors)
    record_property('same_class_of_100_files', files)
    assert max(tensors.values()) < 1e-4 and files['same'] == files['files'] == 100


@pytest.mark.verify
def test_page_is_quick(visit, site, record_property):
    loads = [load_seconds(visit, site) for _ in range(10)]
    seconds = [s for s, _ in loads]
    record_property('seconds_from_address_to_prediction', dict(best=min(seconds), median=median(seconds), worst=max(seconds),
                                                               crowding=median(c for _, c in loads)))
    assert min(s/c for s, c in loads) < 2


@pytest.mark.verify
def test_photographs_of_12_megapixels(page, model, planets, record_property):
    "They are shrunk first: how long one takes, and how far that moves the probabilities"
    found = []
    for file in planets[:8]:
        data = encoded(Image.open(file).convert('RGB').resize((4000, 3000), Image.Resampling.BICUBIC), quality=90)
        start = time.perf_counter()
        here = classified(page, data)['probabilities']
        found.append((time.perf_counter() - start, float(np.abs(here - predict(model, [data]).filter(like='p_').to_numpy()[0]).max())))
    record_property('seconds_a_picture', median(s for s, _ in found))
    record_property('largest_difference', max(d for _, d in found))
    assert max(d for _, d in found) < .05
