"What `image_table` makes of the layouts that people have"
import warnings

import pytest

from fastcnn.core import InputError
from fastcnn.tables import image_table
from layouts import LAYOUTS

WORDS = dict(no_label='unlabelled', not_there='not_found', empty_class='empty_folder') # ours for what the layouts call so


def read(source, **options):
    "(table, what was said)"
    with warnings.catch_warnings(record=True, action='always') as caught: table = image_table(source, **options)
    return table, ' '.join(str(warning.message) for warning in caught)


@pytest.mark.parametrize('name', LAYOUTS)
def test_a_layout_comes_in_right(name, tmp_path):
    layout = LAYOUTS[name]
    source = layout.read(tmp_path)
    if layout.classes is None:
        with pytest.raises(InputError) as refused: image_table(source, **layout.options)
        assert '\n' not in str(refused.value)
        return
    table, said = read(source, **layout.options)
    assert table.label.value_counts().to_dict() == layout.classes
    assert {part: n for part, n in table.part.value_counts().items() if part} == layout.parts
    assert table.attrs['left_out'] == {WORDS.get(reason, reason): n for reason, n in layout.left_out.items()}
    assert not layout.left_out or 'left out' in said
