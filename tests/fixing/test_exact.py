"""What is called exact is exact: quantizer arithmetic over many grids and numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from qlint.fixing.arithmetic import dequantized, packed, quantized, requantized
from qlint.fixing.cures import CURES
from qlint.fixing.edits import exact, rounded, same_grid, storable
from qlint.graph import INTEGER_RANGES, Quantizer
from qlint.judge.edits import rewritten
from qlint.lint import registry
from qlint.lint.finding import SEARCHED, WRITABLE

scales = st.floats(2**-20, 2**10, width=32)


@st.composite
def grids(draw, storages=("int8", "uint8", "int16", "uint16", "int4", "uint4")):
    storage = draw(st.sampled_from(storages))
    """Grids that use all codes of their container, or fewer."""
    low, high = INTEGER_RANGES[storage]
    first, last = draw(st.sampled_from([(low, high), (low + 1, high), (low, high // 2), (low // 2, high // 2)]))
    return Quantizer(storage, (draw(scales),), (draw(st.integers(first, last)),), zero_point_shape=(), qmin=first, qmax=last)


def other_sign(q):
    return rewritten(q, q.storage.removeprefix("u") if q.storage.startswith("u") else f"u{q.storage}")


@settings(deadline=None)
@given(grids(), st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=20))
def test_the_other_container_gives_the_same_numbers(q, values):
    other = storable(other_sign(q))
    assert exact((q,), (other,)) and same_grid(other_sign(other), q)
    array = np.asarray(values, np.float32)
    assert np.array_equal(dequantized(quantized(array, q), q), dequantized(quantized(array, other), other))


@settings(deadline=None)
@given(grids(), st.data())
def test_stored_integers_are_shifted_and_mean_the_same(q, data):
    codes = np.asarray(data.draw(st.lists(st.integers(int(q.qmin), int(q.qmax)), min_size=1, max_size=20)))
    other = storable(other_sign(q))
    moved = requantized(codes, q, other)
    assert moved.min() >= other.qmin and moved.max() <= other.qmax
    assert np.array_equal(dequantized(codes, q), dequantized(moved, other))


@settings(deadline=None)
@given(grids(), scales)
def test_another_scale_is_not_exact(q, scale):
    if rounded(scale) != q.scale[0]:
        assert not exact((q,), (replace(q, scale=(rounded(scale),)),))


@settings(deadline=None)
@given(grids())
def test_one_of_two_equal_quantizers_is_enough(q):
    assert exact((q, q), (q,)) and not exact((q,), ()) and not exact((q, other_sign(q)), (q,))


@settings(deadline=None)
@given(st.sampled_from(["int8", "uint8", "int4", "uint4", "int2", "uint2", "int16", "uint16", "int32"]), st.data())
def test_packed_integers_are_read_back(storage, data):
    from qlint.readers.data import decode

    low, high = INTEGER_RANGES[storage]
    values = data.draw(st.lists(st.integers(low, high), min_size=1, max_size=33))
    assert list(decode(packed(storage, np.asarray(values)) + b"\0", storage, len(values))) == values


def test_every_cure_that_a_rule_names_exists():
    rules = registry.load(plugins=False).rules
    known = {*CURES, *SEARCHED}
    assert {rule.cure for rule in rules if rule.cure} == known == frozenset().union(*WRITABLE.values())
    assert all((rule.applicability == "display") == (not rule.cure) for rule in rules)
    assert all(rule.fix for rule in rules if rule.cure)
