"""ONNX Runtime's CPU provider as a judge: what its graph optimizer made of each node.

The nodes are renamed to `op0`, `op1` ... in a copy of the model; the optimizer keeps the name of a node
when it replaces it by an integer kernel. The optimized graph (ORT_ENABLE_EXTENDED, because ENABLE_ALL
adds nodes that depend on the CPU) is saved and read:

* a node that became QLinear*, QGemm, MatMulInteger* ... is `integer`, and so is one that is still there
  and whose data input is an integer tensor now;
* one that is still there on float data, or that a float fusion swallowed, is `float`;
* a Relu or Clip that is gone is `absorbed` if what feeds it is integer, or nothing but a dequantizer;
* data movement that is gone, and arithmetic on shapes and indices, is `skip`.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

import onnx
import onnxruntime as ort
from onnx import TensorProto

ort.set_default_logger_severity(4)
VERSIONS = {"onnxruntime": ort.__version__}
QUANTIZERS = ("QuantizeLinear", "DequantizeLinear", "Constant")
_INTEGER_OPS = {"QGemm", "ConvInteger", "MatMulInteger", "MatMulInteger16", "MatMulIntegerToFloat", "QAttention",
                "DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "DynamicQuantizeLinear", "NhwcMaxPool", "QEmbedLayerNormalization"}  # fmt: skip
_FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16}
_GRIDS = {TensorProto.INT8, TensorProto.UINT8, TensorProto.INT16, TensorProto.UINT16, TensorProto.INT4, TensorProto.UINT4}
_CLAMPS = ("Relu", "Clip")
# Gone because they only move data, or do nothing: where the data was when they ran cannot be told.
_MOVES = {"Identity", "Dropout", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Expand",
          "Pad", "Concat", "Split", "Gather", "Tile"}  # fmt: skip
_DATA_INPUT = {"Where": 1}


def answer(path: str, target: str) -> dict[str, Any]:
    """The verdict on the model at `path`, as the fields of an `Answer`."""
    model = onnx.load(path)
    keys = node_keys(model.graph)
    nodes = list(model.graph.node)
    for index, node in enumerate(nodes):
        node.name = f"op{index}"
    judged = {f"op{i}": keys[i] for i, node in enumerate(nodes) if node.op_type not in QUANTIZERS}
    base: dict[str, Any] = {"backend": f"ort-cpu@{target}", "versions": VERSIONS, "reasons": []}
    with tempfile.TemporaryDirectory() as folder:
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        options.add_session_config_entry("session.qdqisint8allowed", "1" if target == "arm" else "0")
        renamed = Path(path).with_name(f".qlint-{Path(path).name}")  # beside the model: external data stays valid
        try:
            try:
                onnx.save(model, renamed)
                session = ort.InferenceSession(str(renamed), options, providers=["CPUExecutionProvider"])
            finally:
                renamed.unlink(missing_ok=True)
        except Exception as error:
            placements = dict.fromkeys(judged.values(), "rejected")
            return {**base, "outcome": "refused", "reasons": [_clean(str(error))], "placements": placements}
        optimized = onnx.load(options.optimized_model_filepath, load_external_data=False)
    placements = _placements(model.graph, optimized.graph)
    failed = _run(session)
    if failed:
        named = re.search(r"Name:'(op\d+)", failed)
        if named and named[1] in judged:
            placements[named[1]] = "rejected"
        for name in [n for n in judged if n != (named and named[1])] if not named else []:
            placements[name] = "rejected"
    placements = {key: placements[name] for name, key in judged.items()}
    return {**base, "outcome": "refused" if failed else "runs", "reasons": [_clean(failed)] if failed else [], "placements": placements}


def node_keys(graph: onnx.GraphProto) -> list[str]:
    """How reports call each node: its name, or its first output if the name is missing or not unique."""
    names = [node.name for node in graph.node]
    return [n.name if n.name and names.count(n.name) == 1 else next(iter(n.output), "") for n in graph.node]


def _clean(message: str) -> str:
    first = message.strip().split("\n")[0]
    return re.sub(r"(/[\w.\-+]+){2,}/?", "<path>", re.sub(r"0x[0-9a-f]+", "<address>", first))[:300]


def _placements(graph: onnx.GraphProto, optimized: onnx.GraphProto) -> dict[str, str]:
    types = _types(optimized)
    kept = {node.name: node for node in optimized.node}
    producer = {out: node for node in graph.node for out in node.output}
    original = _types(graph)
    constants = {i.name for i in graph.initializer}
    result: dict[str, str] = {}
    for node in graph.node:  # in order: what feeds a node is judged before it
        if node.op_type in QUANTIZERS:
            if node.op_type == "Constant" or (node.input and node.input[0] in constants):
                constants.update(node.output)
            continue
        if node.input and all(name in constants for name in node.input if name):
            constants.update(node.output)
            result[node.name] = "skip"
            continue
        result[node.name] = _one(node, kept, types, original, producer, result)
    return result


def _one(
    node: onnx.NodeProto, kept: dict[str, onnx.NodeProto], types: dict[str, int], original: dict[str, int],
    producer: dict[str, onnx.NodeProto], result: dict[str, str],
) -> str:  # fmt: skip
    if node.op_type in ("Shape", "Size", "ConstantOfShape", "Range", "NonZero"):
        return "skip"
    slot = _DATA_INPUT.get(node.op_type, 0)
    now = kept.get(node.name) or next((n for name, n in kept.items() if name.startswith(node.name + "/")), None)
    if now is not None:
        if now.op_type.startswith("QLinear") or now.op_type in _INTEGER_OPS:
            return "integer"
        if now.op_type == "MatMulNBits":
            return "integer" if any(a.name == "accuracy_level" and a.i == 4 for a in now.attribute) else "float"
        kind = types.get(now.input[slot], 0) if len(now.input) > slot else 0
        return "integer" if kind in _GRIDS else "float" if kind in _FLOATS else "skip"
    if len(node.input) > slot and original.get(node.input[slot], TensorProto.FLOAT) not in _FLOATS | _GRIDS:
        return "skip"
    before = producer.get(node.input[0]) if node.input else None
    if node.op_type in _CLAMPS:
        if before is None or before.op_type == "DequantizeLinear":
            return "absorbed" if before is not None else "float"
        host = result.get(before.name, "skip")
        return "absorbed" if host in ("integer", "absorbed") else host
    if node.op_type in _MOVES:
        return "skip"
    if node.op_type in ("BatchNormalization", "Add", "Mul") and before is not None and before.name in result:
        host = result[before.name]  # folded into the weights or the bias of what feeds it
        return "absorbed" if host in ("integer", "absorbed") else host
    return "float"


def _types(graph: onnx.GraphProto) -> dict[str, int]:
    """Element type of every tensor: as far as the graph tells, else as it follows from the nodes."""
    types = {v.name: v.type.tensor_type.elem_type for v in [*graph.value_info, *graph.input, *graph.output]}
    types |= {i.name: i.data_type for i in graph.initializer}
    for node in graph.node:
        kind = _type_of(node, types)
        for number, name in enumerate(node.output):
            if not types.get(name):
                types[name] = TensorProto.INT64 if number and node.op_type in ("MaxPool", "TopK") else kind
    return types


def _type_of(node: onnx.NodeProto, types: dict[str, int]) -> int:
    """Element type of a node's first output."""
    attributes = {a.name: a for a in node.attribute}
    inputs = list(node.input)
    if node.op_type == "Constant" and "value" in attributes:
        return int(attributes["value"].t.data_type)
    if node.op_type == "QuantizeLinear":
        if len(inputs) > 2 and inputs[2]:
            return types.get(inputs[2], 0)
        return int(attributes["output_dtype"].i) if "output_dtype" in attributes else TensorProto.UINT8
    if node.op_type == "DequantizeLinear":
        return types.get(inputs[1], TensorProto.FLOAT)
    if node.op_type in ("Cast", "ConstantOfShape") and "to" in attributes:
        return int(attributes["to"].i)
    if node.op_type in ("Shape", "Size", "ArgMax", "ArgMin", "NonZero"):
        return TensorProto.INT64
    if node.op_type in ("Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual", "Not", "And", "Or", "IsNaN"):
        return TensorProto.BOOL
    if node.op_type in ("ConvInteger", "MatMulInteger"):
        return TensorProto.INT32
    if node.op_type == "DynamicQuantizeLinear":
        return TensorProto.UINT8
    if node.op_type in ("MatMulIntegerToFloat", "DynamicQuantizeMatMul"):
        return TensorProto.FLOAT
    if node.op_type == "QGemm" and len(inputs) < 8:
        return TensorProto.FLOAT
    slot = {"QLinearConcat": 2, "Where": 1, "QLinearWhere": 1}.get(node.op_type, 0)
    return types.get(inputs[slot], 0) if len(inputs) > slot else 0


def _run(session: ort.InferenceSession) -> str:
    """Run once on zeros; some operators say no only then. Returns the error, or nothing."""
    import ml_dtypes
    import numpy as np

    dtypes = {"float": np.float32, "float16": np.float16, "double": np.float64, "int64": np.int64, "int32": np.int32,
              "int8": np.int8, "uint8": np.uint8, "int16": np.int16, "uint16": np.uint16, "bool": np.bool_,
              "bfloat16": ml_dtypes.bfloat16}  # fmt: skip
    feeds = {}
    for value in session.get_inputs():
        kind = value.type.removeprefix("tensor(").removesuffix(")")
        if kind not in dtypes:
            return ""
        feeds[value.name] = np.zeros([d if isinstance(d, int) else 1 for d in value.shape], dtypes[kind])
    try:
        session.run(None, feeds)
    except Exception as error:
        return str(error)
    return ""
