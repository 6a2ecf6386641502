"All image services at once, on the loopback address as each documents itself: the whole way from words to a folder, whoever refuses"
import itertools, json, time, warnings

import pytest
import yaml

import notebooks
import states
from fastcnn import catalogues, cli, doctor, providers # noqa: F401 the services register themselves
from fastcnn.collect import Shortfall, collect_images, collection_counts
from fastcnn.core import Manifest
from fastcnn.download import count_images
from fastcnn.search import BlockedError, NoResultsError, SearchError, iter_images, plan_search, provider_table, search_images
from fastcnn.services import PROVIDERS
from services import ALL, KEYS, LARGEST, all_services, refusal

HERE = ('127.0.0.1',)
STATING = [name for name in ALL if PROVIDERS[name].info.license == 'each']


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    "A contact and no keys, no limits of earlier searches"
    monkeypatch.setenv('FASTCNN_CACHE', str(tmp_path/'cache'))
    for name in (*KEYS, 'FASTCNN_PROVIDER'): monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('FASTCNN_CONTACT', 'ada@example.org')


@pytest.fixture
def keys(monkeypatch):
    "Every key but Openverse's, which are exchanged for a token first"
    for name in KEYS:
        if name.endswith('API_KEY'): monkeypatch.setenv(name, 'a-key')


def collected(folder, *question, **options):
    "(images there, the Shortfall if there is one)"
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter('always')
        collect_images(*question[:1], 'fox', folder, *question[1:], allow_hosts=HERE, **options)
    return count_images(folder, 'fox'), next((w.message for w in told if isinstance(w.message, Shortfall)), None)


def test_whoever_refuses_the_others_answer(monkeypatch, keys, tmp_path):
    with all_services(monkeypatch) as servers, warnings.catch_warnings():
        warnings.simplefilter('ignore')
        for refusing in itertools.chain.from_iterable(itertools.combinations(ALL, n) for n in range(3)):
            monkeypatch.setenv('FASTCNN_CACHE', str(tmp_path/'-'.join(('cache', *refusing)))) # as if nobody had asked before
            for name, server in servers.items():
                server.asked.clear()
                server.refuses = refusal(name) if name in refusing else None
            errors = []
            assert len(list(iter_images('fox', 3, errors=errors))) == 3, refusing
            asked = [name for name in ALL if servers[name].asked]
            assert {error.provider for error in errors} == set(asked) & set(refusing), refusing
            assert sum(len(servers[name].asked) for name in asked) <= len(asked) + ('duckduckgo' in asked), refusing


def test_a_folder_is_filled_whoever_refuses(monkeypatch, keys, tmp_path):
    first, second = plan_search('fox').order[:2]
    for number, refusing in enumerate(((), (first,), (first, second))):
        with monkeypatch.context() as patched, all_services(patched, refusing):
            assert collected(tmp_path/f'foxes {number}', 'fox', 3) == (3, None), refusing


@pytest.mark.parametrize('name', ALL)
def test_one_clear_line_where_the_only_one_refuses(monkeypatch, keys, tmp_path, name):
    with all_services(monkeypatch, [name]):
        start = time.monotonic()
        with pytest.raises(SearchError) as caught: collect_images('fox', 'fox', tmp_path/'none', 3, provider=name, allow_hosts=HERE)
        assert time.monotonic() - start < 30 and caught.value.provider == name and '\n' not in str(caught.value)
        assert 'another' in str(caught.value) or 'try again' in str(caught.value), str(caught.value)


@pytest.mark.parametrize('pair', list(itertools.combinations(('openverse', 'commons', 'bing', 'inaturalist', 'flickr'), 2)))
def test_one_line_says_what_each_of_two_says(monkeypatch, keys, pair):
    with all_services(monkeypatch, pair), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        with pytest.raises(SearchError) as caught: search_images('fox', 3, pair)
        assert all(f'{name}: ' in str(caught.value) for name in pair)


def test_who_is_not_ready_is_told_before_and_not_asked(monkeypatch, tmp_path):
    monkeypatch.delenv('FASTCNN_CONTACT')
    with all_services(monkeypatch) as servers:
        assert set(plan_search('fox').missing) == {'commons', 'flickr', 'pexels', 'pixabay'}
        there, shortfall = collected(tmp_path/'foxes', 'fox', 5)
        assert there == 5 and not servers['commons'].asked and not servers['flickr'].asked
        with pytest.raises(SearchError, match='set FASTCNN_CONTACT'): search_images('fox', 5, 'commons')


@pytest.mark.parametrize('name', ALL)
def test_n_images_cost_the_fewest_questions(monkeypatch, keys, name):
    page = PROVIDERS[name].info.page
    assert page == LARGEST.get(name, page)
    for wanted in (1, page, page + 1):
        with monkeypatch.context() as patched, all_services(patched, total=2*page) as servers:
            assert len(search_images('fox', wanted, name)) == wanted
            assert len(servers[name].asked) - (name == 'duckduckgo') == -(-wanted // page), wanted # whose first question is for a token


def test_a_search_that_is_satisfied_asks_no_further_page(monkeypatch, tmp_path):
    with all_services(monkeypatch) as servers:
        assert collected(tmp_path/'foxes', 'fox', 50, provider='commons') == (50, None)
        assert len(servers['commons'].asked) == 1


def test_a_licence_is_asked_of_those_that_state_one(monkeypatch, keys):
    with all_services(monkeypatch, total=3) as servers:
        found = search_images('fox', 10_000, license='commercial')
        assert {result.provider for result in found} <= set(STATING) and all('nc' not in result.license and result.license for result in found)
        assert not any(servers[name].asked for name in ALL if name not in STATING)
        for name in set(ALL) - set(STATING):
            with pytest.raises(NoResultsError): search_images('fox', 3, name, license='commercial')
            assert not servers[name].asked
    assert {row['provider'] for row in provider_table('commercial')} <= {*STATING, 'planets'}


def test_wordings_are_taken_in_turn_and_told(monkeypatch, tmp_path):
    with all_services(monkeypatch, total=30): # both wordings find the same
        there, shortfall = collected(tmp_path/'foxes', ['fox', 'vulpes'], 40, provider=('openverse', 'commons'))
        assert there == 40 and shortfall is None
        there, shortfall = collected(tmp_path/'few', ['fox', 'vulpes'], 400, provider=('openverse', 'commons'))
        assert there == 60 and sum(shortfall.gave.values()) == 60 and min(shortfall.gave.values()) > 20
        assert 'try another wording' in str(shortfall) and "'vulpes' gave" in str(shortfall)


def test_the_command(monkeypatch, keys, tmp_path, capsys):
    monkeypatch.setattr('fastcnn.collect.provider_hosts', lambda *asked: HERE)
    with all_services(monkeypatch, ['openverse', 'flickr']):
        status = cli.main(['search', 'fox', 'red fox', '--label', 'fox', '--out', str(tmp_path/'foxes'), '-n', '20', '--json'])
        out, told = capsys.readouterr()
        found = json.loads(out.splitlines()[-1])
        assert status == 0 and found['saved'] == 20 and sum(found['gave'].values()) == 20 and 'asks ' in told
        assert cli.main(['providers', '--license', 'commercial']) == 0
        listed = capsys.readouterr().out
        assert 'inaturalist' in listed and 'bing' not in listed
        assert cli.main(['doctor', '--out', str(tmp_path/'doctor.txt'), '--json']) == 0
        found = json.loads(capsys.readouterr().out.splitlines()[-1])
        now = {row['provider']: row['state'] for row in found['providers']}
        assert now['openverse'] == 'refuses' and now['commons'] == now['pexels'] == 'works' and now['flickr'] == 'asked too often'
        kept = (tmp_path/'doctor.txt').read_text()
        assert 'a-key' not in kept and 'ada@example.org' not in kept and '== bing: works' in kept


def test_nobody_answers(monkeypatch, keys, tmp_path, capsys):
    with all_services(monkeypatch, ALL):
        assert cli.main(['doctor', 'openverse', 'bing', '--out', str(tmp_path/'doctor.txt')]) == 1
        assert 'no provider answers' in capsys.readouterr().err and (tmp_path/'doctor.txt').exists()
        with pytest.raises(BlockedError): search_images('fox', 3, 'openverse')


def test_what_has_changed_over_night(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    def night(state):
        check = doctor.ProviderCheck('bing', state, 'words', 0, [])
        monkeypatch.setattr(states, 'check_providers', lambda: [check])
        monkeypatch.setenv('GITHUB_OUTPUT', str(tmp_path/'outputs'))
        states.main(tmp_path/'states.txt')
        return (tmp_path/'outputs').read_text().splitlines()[-1]
    assert [night(state) for state in ('works', 'works', 'asked too often', 'works', 'refuses')] == ['changed=false']*4 + ['changed=true']
    assert 'bing: works before, now refuses' in (tmp_path/'changes.md').read_text()


def test_the_nightly_workflow():
    flow = yaml.safe_load((notebooks.ROOT/'.github'/'workflows'/'providers.yml').read_text())
    steps = flow['jobs']['ask']['steps']
    assert any('tools/states.py' in step.get('run', '') for step in steps) and flow['permissions'] == {'contents': 'read', 'issues': 'write'}
    assert set(KEYS) <= set(flow['jobs']['ask']['env']) and steps[-1]['if'] == "steps.ask.outputs.changed == 'true'"


def test_the_manifest_says_which_wording_found_an_image(monkeypatch, tmp_path):
    with all_services(monkeypatch, total=10):
        collected(tmp_path/'foxes', ['fox', 'vulpes'], 10, provider='openverse')
        manifest = Manifest(tmp_path/'foxes')
        assert {row['query'] for row in manifest} == {'fox', 'vulpes'}
        assert collection_counts(manifest, 'fox', ['fox', 'vulpes'])['saved'] == 10


def test_who_refuses_is_not_asked_again_in_other_words(monkeypatch, keys):
    for name in ('openverse', 'pexels', 'commons'):
        with monkeypatch.context() as patched, all_services(patched, [name]) as servers:
            with pytest.raises(SearchError): search_images(['fox', 'red fox', 'vulpes'], 3, name)
            assert len(servers[name].asked) == 1, name


def test_a_species_is_one_question_whatever_the_words(monkeypatch):
    with all_services(monkeypatch, total=150) as servers:
        assert len(search_images(['fox', 'red fox'], 100, filters=dict(species='Vulpes vulpes'))) == 100
        assert [asked['taxon_name'] for asked, _ in servers['inaturalist'].asked] == ['Vulpes vulpes'] and not servers['openverse'].asked


def test_what_a_licence_filter_leaves_out_is_told(monkeypatch):
    with all_services(monkeypatch, total=2000) as servers: # all of them by
        with pytest.raises(NoResultsError, match="500 of its results are not under 'cc0'"): search_images('fox', 3, 'commons', license='cc0')
        assert len(servers['commons'].asked) == 10 # and not all 40 pages


SECRETS = dict(OPENVERSE_CLIENT_ID='who-asks-it', OPENVERSE_CLIENT_SECRET='open/secret+1', PEXELS_API_KEY='pexels-key-12',
               FASTCNN_CONTACT='Ada Lovelace (https://ada.example)')


@pytest.mark.parametrize('name', ALL)
def test_no_message_shows_what_a_service_echoes(monkeypatch, keys, tmp_path, name):
    for key, value in SECRETS.items(): monkeypatch.setenv(key, value)
    with all_services(monkeypatch) as servers:
        echoed = ' '.join([*SECRETS.values(), 'Ada Lovelace https://ada.example'])
        servers[name].refuses = 403, {'Content-Type': 'application/json'}, json.dumps({'detail': echoed}).encode()
        with pytest.raises(SearchError) as caught: search_images('fox', 3, name)
        [check] = doctor.check_providers([name])
        kept = doctor.write_checks([check], tmp_path/'doctor.txt').read_text()
        for text in (str(caught.value), check.said, kept): assert not any(value in text for value in (*SECRETS.values(), 'Ada Lovelace')), text


def test_a_folder_without_any_image_is_a_failure(monkeypatch, tmp_path, capsys):
    with all_services(monkeypatch, total=3) as servers: # whose pictures are refused, as from elsewhere
        assert cli.main(['search', 'fox', '--label', 'fox', '--out', str(tmp_path/'foxes'), '-n', '2', '--provider', 'openverse']) == 1
        assert 'none of the addresses' in capsys.readouterr().err and servers['openverse'].asked


def test_images_under_another_licence_are_told(monkeypatch, tmp_path):
    with all_services(monkeypatch, total=5): # all of them by
        assert collected(tmp_path/'foxes', 'fox', 3, provider='openverse') == (3, None)
        with pytest.warns(UserWarning, match="3 of the 3 images of 'fox' that are there already are not under 'cc0'"):
            collect_images('fox', 'fox', tmp_path/'foxes', 3, license='cc0', allow_hosts=HERE)
