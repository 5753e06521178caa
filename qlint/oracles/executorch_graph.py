"""What ExecuTorch's lowering makes of an exported program, and what it hands to XNNPACK (see executorch_xnnpack.py)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_QUANTIZERS = ("quantized_decomposed", "torchao")


@contextmanager
def captured() -> Iterator[list[Any]]:
    """The graphs for XNNPACK (serialization/xnnpack_graph_schema.py) that are made meanwhile, before they become bytes."""
    from executorch.backends.xnnpack import xnnpack_preprocess

    graphs: list[Any] = []
    serialize = xnnpack_preprocess.serialize_xnnpack_binary

    def keep(graph: Any, data: Any) -> Any:
        graphs.append(graph)
        return serialize(graph, data)

    xnnpack_preprocess.serialize_xnnpack_binary = keep
    try:
        yield graphs
    finally:
        xnnpack_preprocess.serialize_xnnpack_binary = serialize


def placed(edge: Any, graphs: list[Any]) -> dict[str, str]:
    """Where each node of the program that was lowered runs, by its name there; nodes of which nothing is left are not in it."""
    quantized = {node.debug_handle: _quantized(graph, node) for graph in graphs for node in graph.xnodes}
    where: dict[str, str] = {}

    def say(name: str, place: str) -> None:
        known = where.get(name, "absorbed")
        where[name] = known if place == "absorbed" else place if known in (place, "absorbed") else "float"

    parts = [module.original_module.graph for name, module in edge.graph_module.named_children() if name.startswith("lowered_module")]
    for part in parts:
        for node in part.nodes:
            if node.op != "call_function":
                continue
            source, taken = node, None
            while source is not None and taken is None and not any(word in str(source.target) for word in _QUANTIZERS):  # fused into what is in front of it
                taken = quantized.get(source.meta.get("debug_handle"))
                source = next((one for one in source.all_input_nodes if one.op == "call_function"), None)
            if taken is None and "batch_norm" in str(node.target):  # spelled out as a convolution, on floats
                taken = False
            say(root(node), "absorbed" if taken is None else "integer" if taken else "float")
    for node in edge.graph.nodes:
        if node.op == "call_function" and not any(word in str(node.target) for word in ("executorch_call_delegate", "getitem")):  # which hands on what was delegated
            say(root(node), "float")
    return where


def root(node: Any) -> str:
    """The node of the program before the lowering that a node was made from."""
    sources = node.meta.get("from_node")
    name = node.name
    while sources:
        name, sources = sources[-1].name, sources[-1].from_node
    return str(name)


def _quantized(graph: Any, node: Any) -> bool:
    """Whether all data that a node of a graph for XNNPACK reads are quantized tensors; its kernel computes on integers then."""
    from executorch.backends.xnnpack.serialization.xnnpack_graph_schema import XNNQuantizedTensorValue

    tensors = {}
    for value in graph.xvalues:
        held = value.xvalue_union
        tensors[getattr(held, "tensor_value", held).id_out] = isinstance(held, XNNQuantizedTensorValue)
    inputs = [number for name, number in vars(node.xnode_union).items() if name.startswith("input") and name.endswith("_id")]
    return all(tensors[number] for number in inputs if number in tensors)
