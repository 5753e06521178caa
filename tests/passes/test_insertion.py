"""Insertion schemes: the paper's network in each of its graphs, single adds and concats, and what the header says."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "profile"))
from paper import Setting, model

from qlint.api import check, load
from qlint.lint.testing import Graph, s8, u8
from qlint.passes.insertion import scheme, schemes


@pytest.mark.parametrize("batch_norm", ["folded", "unfolded"])
@pytest.mark.parametrize("graph", [1, 2, 3])
def test_the_papers_graphs(graph, batch_norm, tmp_path):
    path = tmp_path / "network.onnx"
    path.write_bytes(model(Setting(graph=graph, batch_norm=batch_norm)))
    found = schemes(load(path))
    assert [one.op.kind for one in found] == ["add", "add", "concat"] and all(graph in one.graphs for one in found)
    assert check(path).results[0].summary.quantization.endswith(f", insertion scheme {graph}")


def add(lhs, rhs, from_conv=True):
    """A block whose main branch ends in a convolution, or in a relu, with these quantizers at its add."""
    g = Graph()
    x = g.input() | u8()
    y = g.conv(x, w=s8())
    y = y if from_conv else g.op("relu", y)
    return g.model(g.op("add", y | lhs, g.op("relu", g.conv(x, w=s8())) | rhs) | u8())


def concat(*quantizers):
    g = Graph()
    x = g.input() | u8()
    return g.model(g.op("concat", *(g.op("relu", g.conv(x, w=s8())) | q for q in quantizers)) | u8())


@pytest.mark.parametrize(
    ("network", "says"),
    [
        (lambda: add(None, None), "insertion scheme 1"), (lambda: add(None, u8()), "insertion scheme 2"), (lambda: add(u8(), u8()), "insertion scheme 3"),
        (lambda: add(u8(), None), ""),  # the convolution's output is quantized, what it is added to is not
        (lambda: add(None, u8(), from_conv=False), ""),  # no convolution that the add could be fused into
        (lambda: concat(None, None), "insertion scheme 1"), (lambda: concat(u8(), u8()), "insertion scheme 2 or 3"),
        (lambda: concat(u8(0.1), u8(0.2)), ""), (lambda: concat(u8(), None), ""),
    ],
)  # fmt: skip
def test_single_ones(network, says):
    assert scheme(network()) == says


def test_adds_and_concats_that_do_not_agree():
    g = Graph()
    x = g.input() | u8()
    y = g.op("add", g.conv(x, w=s8()) | u8(), g.conv(x, w=s8()) | u8())
    assert scheme(g.model(g.op("concat", g.op("relu", y), g.op("relu", y)) | u8())) == "insertion schemes: adds by 3, concats by 1"


def test_nothing_is_said_without_activations_that_are_quantized():
    g = Graph()
    x = g.input()
    assert scheme(g.model(g.op("add", g.conv(x, w=s8()), g.conv(x, w=s8())))) == ""
