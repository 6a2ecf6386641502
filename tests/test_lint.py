"The linters have nothing to say: `make lint` by itself, and a part of `make test`."
import pytest

import lint
from web import missing


@pytest.mark.parametrize('name', lint.LINTERS)
def test_nothing_is_found(name):
    "Without Node.js, or npm's registry, two of them are skipped: never in CI"
    try: clean, said = lint.run(name)
    except lint.Missing as why: missing(str(why))
    if not clean: pytest.fail(said, pytrace=False)
