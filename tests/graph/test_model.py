"""The graph of a model as notebooks see it, and the order of its data."""

import gc
import weakref
from pathlib import Path

import networkx
import pytest

import qlint
from qlint.graph.order import data_flow
from qlint.passes import canonical
from qlint.readers import read

ZOO = sorted((Path(__file__).parents[1] / "zoo").rglob("*.onnx"))


@pytest.mark.parametrize("path", ZOO, ids=lambda p: p.stem)
def test_nx_has_every_op_and_every_edge(path):
    model = canonical(read(path))
    graph = model.nx
    assert {n for n, kind in graph.nodes(data="kind") if kind not in ("input", "output")} == {op.index for op in model.ops}
    assert networkx.is_directed_acyclic_graph(graph)
    for op in model.ops:
        made = [use for use in op.uses.values() if use.tensor.producer is not None or use.tensor in model.inputs]
        edges = {key: data for _, _, key, data in graph.in_edges(op.index, keys=True, data=True)}
        assert sorted(edges) == sorted((op.index, use.slot) for use in made)
        assert all(edges[op.index, use.slot]["use"] is use and edges[op.index, use.slot]["quantizers"] == use.quantizers for use in made)
    assert graph.number_of_edges() == sum(data["kind"] != "input" and graph.in_degree(n) for n, data in graph.nodes(data=True))


@pytest.mark.parametrize("path", ZOO, ids=lambda p: p.stem)
def test_data_flow_is_an_order_whatever_the_file_s(path):
    ops = read(path).nodes
    backwards = list(data_flow(ops[::-1]))
    assert len(backwards) == len(ops) and set(map(id, backwards)) == set(map(id, ops))
    place = {id(op): i for i, op in enumerate(backwards)}
    assert all(use.tensor.producer is None or place[id(use.tensor.producer)] < place[id(op)] for op in ops for use in op.uses.values())


def test_a_model_that_nobody_holds_is_gone():
    """An audit of a folder in one process must not keep every graph that it has seen."""
    path = Path(__file__).parents[1] / "zoo/tiny_results_v1.3/resnet.onnx"
    seen = weakref.ref(qlint.check(path, backend="ort-cpu").results[0].canonical)
    gc.collect()
    assert seen() is None
