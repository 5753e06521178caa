"""What is written as TOML is read back as the same data."""

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from qlint.profile import toml

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
SCALAR = st.one_of(TEXT, st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False))
NESTED = st.recursive(SCALAR, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)), max_leaves=8)


@given(st.dictionaries(TEXT, NESTED, max_size=5))
def test_round_trip(data):
    mixed = {key: value for key, value in data.items() if not _mixed(value)}
    assert tomllib.loads(toml.dumps(mixed)) == mixed


def _mixed(value):
    """A list of tables and of something else is none that profiles have."""
    return isinstance(value, list) and any(isinstance(one, dict) for one in value) and not all(isinstance(one, dict) for one in value)
