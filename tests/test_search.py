"Search services that block, limit, change or send anything at all: rows, or an error of the right kind"
import pytest
from hypothesis import HealthCheck, given, settings, strategies

from fastcnn.core import InputError
from fastcnn.search import Blocked, Changed, Empty, RateLimited, SearchError, search_images


def failure(server, *replies, **question):
    "The error with which a search of canned replies ends"
    server.replies = list(replies)
    with pytest.raises(SearchError) as caught: search_images('mars', 5, base_url=server.url, **question)
    return caught.value


TOKEN = (200, '<script>vqd="4-12345-67";</script>')


@pytest.mark.parametrize('reply, kind', [((403, ''), Blocked), ((202, ''), RateLimited), ((429, ''), RateLimited), ((500, ''), SearchError), ((200, '<html>'), Changed),
                                         ((200, {'results': None}), Changed), ((200, {'results': [{'link': 'x'}]}), Changed), ((200, {'results': []}), Empty)])
def test_each_failure_has_its_kind(server, reply, kind):
    assert type(failure(server, reply, provider='openverse')) is kind
    assert type(failure(server, TOKEN, reply, provider='duckduckgo')) is kind


def test_limits_are_waited_out_or_told(server):
    page = {'page_count': 1, 'results': [{'url': 'http://a/1.jpg', 'license': 'by', 'license_version': '4.0'}]}
    assert failure(server, (429, ''), provider='openverse').wait == 60
    server.replies, server.soon = [(429, ''), (200, page)], True
    assert search_images('mars', 5, base_url=server.url)[0].license == 'by 4.0'


def test_small_pages_and_unknown_licences(server):
    assert len(search_images('mars', 60, base_url=server.url)) == 60
    found = search_images('mars', 60, license='commercial', base_url=server.url)
    assert {result.license for result in found} == {'by', 'cc0'} and len(found) == 30


def test_duckduckgo_pages(server):
    rows = [{'image': f'http://a/{i}.jpg', 'thumbnail': f'http://t/{i}', 'url': 'http://a/', 'title': 'x', 'width': 9, 'height': 9} for i in range(3)]
    server.replies = [TOKEN, (200, {'results': rows[:2], 'next': 'i.js?q=mars&o=json&s=100'}), (200, {'results': rows[2:]})]
    assert [result.url for result in search_images('mars', 9, provider='duckduckgo', base_url=server.url)] == [row['image'] for row in rows]
    assert any('vqd=4-12345-67' in path and 's=100' in path for path in server.asked)


ANYTHING = strategies.recursive(strategies.none() | strategies.booleans() | strategies.integers() | strategies.floats() | strategies.text(max_size=9),
                                lambda inner: strategies.lists(inner, max_size=3) | strategies.dictionaries(strategies.sampled_from(['url', 'image', 'results', 'next', 'license']), inner, max_size=3), max_leaves=6)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(reply=ANYTHING, rows=strategies.lists(ANYTHING, max_size=3), provider=strategies.sampled_from(['openverse', 'duckduckgo']))
def test_any_reply_is_results_or_a_search_error(server, reply, rows, provider):
    for body in (reply, {'page_count': reply, 'next': reply, 'results': rows}):
        server.replies = [TOKEN] * (provider == 'duckduckgo') + [(200, body)] + [(500, '')] * 3
        try: assert all(result.url.startswith('http') for result in search_images('mars', 5, provider=provider, base_url=server.url))
        except SearchError: pass


def test_unknown_provider_names_the_known():
    with pytest.raises(InputError, match='duckduckgo, openverse, planets'): search_images('mars', 5, provider='altavista')
