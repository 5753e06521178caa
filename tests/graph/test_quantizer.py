"""Facts of a quantizer, derived exactly."""

from hypothesis import given
from hypothesis import strategies as st

from qlint.graph import INTEGER_RANGES, Quantizer
from qlint.judge.prepare import shifted

STORAGE = st.sampled_from(["uint8", "int8", "uint16", "int16", "uint4", "int4"])


@st.composite
def quantizers(draw):
    storage = draw(STORAGE)
    low, high = INTEGER_RANGES[storage]
    scale = draw(st.floats(1e-6, 1e3))
    return Quantizer(storage, (scale,), (draw(st.integers(low, high)),), qmin=low, qmax=high)


@given(quantizers())
def test_range_contains_zero_and_all_levels(q):
    low, high = q.range
    assert low <= 0 <= high
    assert abs((high - low) / q.scale[0] - (q.levels - 1)) < 1e-3
    assert q.bits == {"uint8": 8, "int8": 8, "uint16": 16, "int16": 16, "uint4": 4, "int4": 4}[q.storage]


@given(st.integers(-128, 127), st.floats(1e-6, 1e3))
def test_moving_between_containers_keeps_the_grid(zp, scale):
    q = Quantizer("int8", (scale,), (zp,), qmin=-128, qmax=127)
    moved = shifted(q, "uint8", 128)
    assert moved.range == q.range and moved.symmetric == q.symmetric and moved.zero_point == (zp + 128,)
    assert shifted(moved, "int8", -128) == q


@given(st.integers(-30, 30))
def test_powers_of_two(exponent):
    assert Quantizer("int8", (2.0**exponent,), (0,)).power_of_two
    assert not Quantizer("int8", (2.0**exponent * 1.1,), (0,)).power_of_two
