"""The bounds of integer sums are the worst cases: found again by trying all codes that an input can have."""

from itertools import product
from math import prod

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qlint.lint.layers import layers, windows
from qlint.lint.testing import Graph, quantizer, s8

FEW = st.integers(-3, 3)


def enumerated(run, shape, least, most):
    """The smallest and largest result of each channel over all inputs of extreme codes; a sum is largest at the ends of its terms."""
    low = high = None
    for codes in product((least, most), repeat=prod(shape)):
        out = run(torch.tensor(codes, dtype=torch.float64).reshape(shape))
        one = out.movedim(1, 0).reshape(out.shape[1], -1)
        lo, hi = one.min(dim=1).values, one.max(dim=1).values
        low, high = (lo, hi) if low is None else (torch.minimum(low, lo), torch.maximum(high, hi))
    return low.numpy(), high.numpy()


def layer_of(kind, weight, x, shape, out, zero, **attrs):
    g = Graph()
    w = g.constant(*weight.shape, values=weight.flatten().tolist(), dtype="int8") | s8(0.5, zp=zero)
    model = g.model(g.op(kind, g.input(shape=shape) | x, w, shape=out, attrs=attrs))
    (layer,) = layers(model)
    return layer


def drawn(data, shape):
    return np.array(data.draw(st.lists(FEW, min_size=prod(shape), max_size=prod(shape)))).reshape(shape)


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_of_a_convolution(data):
    size, kernel, channels = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 3)), data.draw(st.integers(1, 2))
    stride, dilation, pad = data.draw(st.integers(1, 2)), data.draw(st.integers(1, 2)), data.draw(st.integers(0, 2))
    if size + 2 * pad < (kernel - 1) * dilation + 1:
        return
    group = data.draw(st.sampled_from([1, channels]))
    zero, point, bits = data.draw(st.integers(-2, 2)), data.draw(st.integers(0, 3)), data.draw(st.integers(1, 3))
    w = drawn(data, (2 * group, channels // group, kernel))
    top = 2**bits - 1
    point = min(point, top)

    def run(x):
        return torch.nn.functional.conv1d(x, torch.tensor(w - zero, dtype=torch.float64), None, stride, pad, dilation, group)

    shape = (1, channels, size)
    layer = layer_of(
        "conv", w, quantizer("uint8", 0.1, point, qmax=top), shape, tuple(run(torch.zeros(shape, dtype=torch.float64)).shape), zero,
        strides=[stride], dilations=[dilation], pads=[pad, pad], group=group,
    )  # fmt: skip
    low, high = enumerated(run, shape, -point, top - point)
    least, most = layer.sums()
    assert least.tolist() == low.tolist() and most.tolist() == high.tolist()
    assert max(abs(least).max(), abs(most).max()) <= layer.bound


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_of_a_transposed_convolution(data):
    size, kernel, channels, stride = (data.draw(st.integers(1, 3)) for _ in range(4))
    pad, extra, dilation = data.draw(st.integers(0, 1)), data.draw(st.integers(0, max(0, stride - 1))), data.draw(st.integers(1, 2))
    group = data.draw(st.sampled_from([1, channels]))
    w = drawn(data, (channels, 2, kernel))
    if (size - 1) * stride - 2 * pad + dilation * (kernel - 1) + extra + 1 < 1:
        return

    def run(x):
        return torch.nn.functional.conv_transpose1d(x, torch.tensor(w, dtype=torch.float64), None, stride, pad, extra, group, dilation)

    shape = (1, channels, size)
    out = tuple(run(torch.zeros(shape, dtype=torch.float64)).shape)
    layer = layer_of(
        "conv_transpose", w, quantizer("int8", 0.1, 1, qmin=-1, qmax=2), shape, out, 0,
        strides=[stride], dilations=[dilation], pads=[pad, pad], group=group,
    )  # fmt: skip
    low, high = enumerated(run, shape, -2, 1)
    least, most = layer.sums()
    # An output position that no tap reaches has the sum zero, which the bounds hold anyway.
    assert least.tolist() == low.tolist() and most.tolist() == high.tolist()


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_of_a_product(data):
    inner, columns, transposed = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 3)), data.draw(st.booleans())
    w = drawn(data, (columns, inner) if transposed else (inner, columns))
    codes = torch.tensor(w if transposed else w.T, dtype=torch.float64)
    layer = layer_of("linear", w, quantizer("int8", 0.1, 0, qmin=-2, qmax=1), (1, inner), (1, columns), 0, transB=int(transposed))
    low, high = enumerated(lambda x: torch.nn.functional.linear(x, codes), (1, inner), -2, 1)
    least, most = layer.sums()
    assert least.tolist() == low.tolist() and most.tolist() == high.tolist()


def test_of_a_stack_of_matrices_each_is_a_product_of_its_own():
    w = np.arange(12).reshape(2, 3, 2)
    layer = layer_of("matmul", w, quantizer("uint8", 0.1, 0, qmax=1), (2, 1, 3), (2, 1, 2), 0)
    assert layer.products == 3
    assert layer.sums()[1].tolist() == w.sum(axis=1).flatten().tolist()


@pytest.mark.parametrize("auto", ["SAME_UPPER", "SAME_LOWER"])
def test_padding_that_is_not_written_out(auto):
    w = np.array([[[1, 10, 100, 1000]]])
    layer = layer_of("conv", w, quantizer("uint8", 0.1, 0, qmax=1), (1, 1, 2), (1, 1, 2), 0, strides=[1], auto_pad=auto)
    taps = {"SAME_UPPER": [[1, 2], [0, 1]], "SAME_LOWER": [[2, 3], [1, 2]]}[auto]
    found = windows(layer.op, layer.weight)
    assert sorted(list(one[0]) for one in found) == sorted(taps)
