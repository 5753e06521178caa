"""What rules prove from integers, against all inputs that a small layer can have."""

from itertools import product

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from qlint.judge import judge
from qlint.lint import registry
from qlint.lint.run import lint
from qlint.lint.testing import Graph, quantizer, s8, s32
from qlint.lint.toy import toy

RULES = {rule.name: rule for rule in registry.load().rules}
INNER, CHANNELS = 3, 2
CODES = st.integers(-127, 127)
MATRIX = st.lists(CODES, min_size=INNER * CHANNELS, max_size=INNER * CHANNELS).map(lambda values: np.array(values).reshape(CHANNELS, INNER))
BIAS = st.lists(st.integers(-60_000, 60_000), min_size=CHANNELS, max_size=CHANNELS).map(np.array)
X, W = 0.05, 0.05


def layer(w, bias, zero, top, y, relu=False):
    """A 1x1 convolution on a grid of `top` + 1 codes, and its results for every input that is made of extreme codes."""
    g = Graph()
    x = g.input(shape=(1, INNER, 1, 1)) | quantizer("uint8", X, zero, qmax=top)
    weight = g.constant(CHANNELS, INNER, 1, 1, values=w.flatten().tolist(), dtype="int8") | s8(W)
    b = g.constant(CHANNELS, values=bias.tolist(), dtype="int32") | s32(X * W)
    out = g.op("conv", x, weight, b, shape=(1, CHANNELS, 1, 1))
    model = g.model((g.op("relu", out) if relu else out) | y)
    sums = np.array([w @ (np.array(codes) - zero) + bias for codes in product((0, top), repeat=INNER)])
    return model, sums


def narrow(bits):
    arithmetic = toy().arithmetic.model_copy(update={"accumulator_bits": bits})
    return toy().model_copy(update={"arithmetic": arithmetic})


@settings(deadline=None, max_examples=150)
@given(MATRIX, BIAS, st.integers(0, 255), st.integers(1, 255), st.integers(10, 19))
def test_an_accumulator_overflows_if_and_only_if_some_input_makes_it(w, bias, zero, top, bits):
    model, sums = layer(w, bias, min(zero, top), top, quantizer("uint8", 200.0, 128))
    verdict = judge(model, narrow(bits))
    found, crashes = lint(verdict, [RULES["accumulator-overflow"]])
    assert not crashes and verdict.where(model.ops[0]) == "integer"
    limit = 2 ** (bits - 1)
    overflows = bool((sums > limit - 1).any() or (sums < -limit).any())
    assert bool(found) == overflows
    assert all(finding.consequence == "wrong" and finding.evidence for finding in found)


@settings(deadline=None, max_examples=150)
@given(MATRIX, BIAS, st.integers(0, 255), st.integers(0, 255), st.floats(0.02, 300), st.booleans())
def test_a_channel_is_stuck_only_if_no_input_moves_it(w, bias, zero, point, scale, relu):
    model, sums = layer(w, bias, zero, 255, quantizer("uint8", scale, point), relu)
    (check,) = RULES["stuck-channels"].checks
    stuck = {i for issue in check(model) for i in issue.facts.get("numbers", range(CHANNELS))}
    real = sums * (X * W)
    codes = np.clip(np.round((np.maximum(real, 0) if relu else real) / scale) + point, 0, 255)
    for i in stuck:
        assert len(set(codes[:, i])) == 1
    low, high = (max(0.0, -point * scale) if relu else -point * scale), (255 - point) * scale
    beyond = {i for i in range(CHANNELS) if w[i].any() and ((real[:, i] <= low).all() or (real[:, i] >= high).all())}
    assert beyond <= stuck


@settings(deadline=None, max_examples=100)
@given(st.lists(st.floats(-1e4, 1e4), min_size=CHANNELS, max_size=CHANNELS), st.floats(1e-9, 1.0))
def test_a_bias_is_beyond_int32_if_and_only_if_its_code_is(values, scale):
    g = Graph()
    w = g.constant(CHANNELS, INNER, 1, 1) | s8(scale)
    model = g.model(g.op("conv", g.input(shape=(1, INNER, 1, 1)) | quantizer("uint8", X), w, g.constant(CHANNELS, values=values)) | quantizer("uint8", X))
    (check,) = RULES["bias-out-of-range"].checks
    codes = [round(v / (X * scale)) for v in values]
    beyond = any(not -(2**31) <= code <= 2**31 - 1 for code in codes)
    assert any(issue.dimension == "beyond" for issue in check(model)) == beyond
