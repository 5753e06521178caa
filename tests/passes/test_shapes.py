"""Shapes and types against `onnx.shape_inference`: equal, or more specific."""

from pathlib import Path

import onnx
import pytest

from qlint.passes import canonical
from qlint.readers import read
from qlint.readers.data import DTYPES

ZOO = sorted((Path(__file__).parents[1] / "zoo").rglob("*.onnx"))


@pytest.mark.parametrize("path", ZOO, ids=lambda p: p.stem)
def test_zoo(path):
    try:
        theirs = onnx.shape_inference.infer_shapes(onnx.load(path), data_prop=True)
    except onnx.shape_inference.InferenceError:
        pytest.skip("onnx cannot infer this one")
    raw = read(path)
    canonical(raw)
    for info in theirs.graph.value_info:
        kind = info.type.tensor_type
        mine = raw.tensors[info.name]
        assert mine.dtype in (DTYPES[kind.elem_type], "") or mine.producer.kind == "custom"
        if not kind.HasField("shape"):
            continue
        dims = [d.dim_value if d.HasField("dim_value") and d.dim_value >= 0 else None for d in kind.shape.dim]
        assert mine.shape is not None and len(mine.shape) == len(dims), info.name
        assert all(d is None or d == m for d, m in zip(dims, mine.shape, strict=True)), (info.name, dims, mine.shape)
