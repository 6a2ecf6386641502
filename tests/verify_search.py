"500 images of one class from two wordings, from services that keep no key, in the time that politeness takes"
import time

import pytest

from fastcnn.collect import collect_images
from fastcnn.core import Manifest
from fastcnn.download import count_images
from fastcnn.services import PROVIDERS
from services import KEYS, all_services

pytestmark = pytest.mark.verify
LATENCY, CONNECTIONS, WANTED = .05, 4, 500


@pytest.mark.parametrize('license', ['all', 'commercial'])
def test_five_hundred_in_the_time_of_politeness(monkeypatch, tmp_path, record_property, license):
    monkeypatch.setenv('FASTCNN_CACHE', str(tmp_path/'cache'))
    for name in (*KEYS, 'FASTCNN_PROVIDER'): monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('FASTCNN_CONTACT', 'ada@example.org')
    with all_services(monkeypatch, total=300, latency=LATENCY) as servers:
        start = time.monotonic()
        collect_images(['fox', 'red fox'], 'fox', tmp_path/'foxes', WANTED, license=license, allow_hosts=('127.0.0.1',))
        seconds = time.monotonic() - start
        asked = {name: len(server.asked) for name, server in servers.items() if server.asked}
    waits = {name: max((count - 1)//most*every for most, every in PROVIDERS[name].info.limits) for name, count in asked.items()}
    rows = [row for row in Manifest(tmp_path/'foxes') if row['status'] == 'kept']
    before = sum(not waits[row['provider']] for row in rows) # images that come while nobody has to wait for a service
    least = sum(waits.values()) + before*LATENCY/CONNECTIONS
    record_property('questions', asked)
    record_property('seconds', round(seconds, 1))
    record_property('seconds_of_politeness', round(least, 1))
    assert count_images(tmp_path/'foxes', 'fox') == WANTED
    assert len({row['sha256'] for row in rows}) == WANTED and all(row['license'] for row in rows)
    assert seconds <= 1.1*least, (seconds, least, asked)
