"""Every kind of operator that a reader makes."""

from __future__ import annotations

from functools import cache

from qlint.graph.kinds import CLASSES


@cache
def kinds() -> frozenset[str]:
    """The vocabulary of patterns: canonical kinds over all formats."""
    from qlint.readers import onnx_ops, openvino_ops, tflite_ops, torch_ops

    onnx = {onnx_ops.kind_of(name, domain) for domain, table in onnx_ops._table().items() for name in table}
    tflite = {*tflite_ops.KINDS.values(), *(name.lower() for name in tflite_ops.ROLES)}
    torch = {rule.kind for rule in torch_ops.OPS.values()}
    return frozenset().union(onnx, onnx_ops.MICROSOFT_KINDS.values(), tflite, torch, openvino_ops.KINDS.values(), *CLASSES.values())
