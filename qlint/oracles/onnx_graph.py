"""What the ONNX oracles share: how nodes are called, traceable copies of a model, tensor types, dummy inputs."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto

# Not operators of the network: answers have no placement for them.
QUANTIZERS = frozenset({"QuantizeLinear", "DequantizeLinear", "Constant"})
FLOATS = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16})
GRIDS = frozenset({TensorProto.INT8, TensorProto.UINT8, TensorProto.INT16, TensorProto.UINT16,
                   TensorProto.INT4, TensorProto.UINT4, TensorProto.INT2, TensorProto.UINT2})  # fmt: skip
MOVES = frozenset({
    "Identity", "Dropout", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Expand",
    "Pad", "Concat", "Split", "Gather", "Tile", "DepthToSpace", "SpaceToDepth", "Optional", "OptionalGetElement",
})  # fmt: skip
_OF_SHAPES = frozenset({"Shape", "Size"})
_DTYPES: dict[str, Any] = {
    "float": np.float32, "float16": np.float16, "double": np.float64, "bfloat16": ml_dtypes.bfloat16,
    "int64": np.int64, "int32": np.int32, "int16": np.int16, "int8": np.int8,
    "uint64": np.uint64, "uint32": np.uint32, "uint16": np.uint16, "uint8": np.uint8, "bool": np.bool_,
}  # fmt: skip


@dataclass(frozen=True)
class Traced:
    """A copy of a model whose main graph's nodes are called `op0`, `op1` ... so that they can be followed."""

    model: onnx.ModelProto  # weights in external files are left there
    folder: str  # where those files are
    keys: dict[str, str]  # `op7` → what answers call it, for every node that is no quantizer or constant
    everything: dict[str, str]  # the same for every node

    def readable(self, message: str) -> str:
        """The first line of a backend's message: the file's own names, no paths, no addresses."""
        text = message.strip().split("\n")[0]
        text = re.sub(r"\bop\d+\b", lambda found: self.everything.get(found[0], found[0]), text)
        text = re.sub(r"(?<![\w.])(?:/[\w.+-]+){2,}/?", "<path>", re.sub(r"0x[0-9a-fA-F]+", "<address>", text))
        return text.replace("\t", " ")[:300]


def trace(path: str) -> Traced:
    model = onnx.load(path, load_external_data=False)
    keys = node_keys(model.graph)
    everything: dict[str, str] = {}
    judged: dict[str, str] = {}
    for index, node in enumerate(model.graph.node):
        node.name = f"op{index}"
        everything[node.name] = keys[index]
        if node.op_type not in QUANTIZERS:
            judged[node.name] = keys[index]
    return Traced(model, str(Path(path).resolve().parent), judged, everything)


def node_keys(graph: onnx.GraphProto) -> list[str]:
    """What answers call each node: its name, or its first output if the name is missing or not unique."""
    count = Counter(node.name for node in graph.node)
    return [
        node.name if node.name and count[node.name] == 1 else next((o for o in node.output if o), "") for node in graph.node
    ]


def opsets(model: onnx.ModelProto) -> dict[str, int]:
    return {"" if o.domain == "ai.onnx" else o.domain: o.version for o in model.opset_import}


def constants(graph: onnx.GraphProto) -> set[str]:
    """Tensors that do not depend on the graph's inputs."""
    known = {i.name for i in graph.initializer} | {i.values.name for i in graph.sparse_initializer}
    for node in graph.node:
        if not _captures(node) and all(name in known for name in node.input if name) and not node.op_type.startswith("Random"):
            known.update(node.output)
    return known


def no_data(graph: onnx.GraphProto, constant: set[str]) -> set[str]:
    """Tensors computed from shapes alone, or from the scale and zero point that a dynamic quantizer chose."""
    known: set[str] = set()
    for node in graph.node:
        if node.op_type == "DynamicQuantizeLinear":
            known.update(node.output[1:])
            continue
        moving = [name for name in node.input if name and name not in constant]
        if node.op_type in _OF_SHAPES or (moving and all(name in known for name in moving)):
            known.update(node.output)
    return known


def between_quantizers(graph: onnx.GraphProto) -> set[str]:
    """Names of the data movement that nothing but data movement separates from a DequantizeLinear and a QuantizeLinear."""
    producer = {name: node for node in graph.node for name in node.output if name}
    readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            readers[name].append(node)
    behind: set[str] = set()
    for node in graph.node:
        before = producer.get(node.input[0]) if node.input else None
        if node.op_type in MOVES and before is not None and (before.op_type == "DequantizeLinear" or before.name in behind):
            behind.add(node.name)
    outputs = {value.name for value in graph.output}
    found: set[str] = set()
    for node in reversed(graph.node):
        after = [reader for name in node.output for reader in readers[name]]
        inner = node.name in behind and after and not outputs & set(node.output)
        if inner and all(reader.op_type == "QuantizeLinear" or reader.name in found for reader in after):
            found.add(node.name)
    return found


def _captures(node: onnx.NodeProto) -> bool:
    """Whether a node has subgraphs, which read tensors that are not among its inputs."""
    return any(a.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for a in node.attribute)


def tensor_types(graph: onnx.GraphProto, versions: dict[str, int], known: dict[str, int] | None = None) -> dict[str, int]:
    """Element type of every tensor (0 if it cannot be told): as the file says, else from the operators' schemas."""
    types = dict(known or {})
    for value in (*graph.input, *graph.output, *graph.value_info):
        if kind := value.type.tensor_type.elem_type:
            types[value.name] = kind
    types |= {i.name: i.data_type for i in graph.initializer}
    for node in graph.node:
        for position, name in enumerate(node.output):
            if name and not types.get(name):
                types[name] = _output_type(node, position, types, versions)
    return types


def _output_type(node: onnx.NodeProto, position: int, types: dict[str, int], versions: dict[str, int]) -> int:
    attributes = {a.name: a for a in node.attribute}

    def of(slot: int) -> int:
        return types.get(node.input[slot], 0) if slot < len(node.input) else 0

    kind = node.op_type
    if kind == "Constant":
        return int(attributes["value"].t.data_type) if "value" in attributes else 0
    if kind == "ConstantOfShape":
        return int(attributes["value"].t.data_type) if "value" in attributes else TensorProto.FLOAT
    if kind == "QuantizeLinear":
        said = int(attributes["output_dtype"].i) if "output_dtype" in attributes else 0
        return of(2) or said or TensorProto.UINT8
    if kind == "DequantizeLinear":
        return of(1) or TensorProto.FLOAT
    for name in ("to", "dtype"):
        if name in attributes and attributes[name].type == onnx.AttributeProto.INT:
            return int(attributes[name].i)
    if kind == "QGemm":
        return of(8) or TensorProto.FLOAT
    if kind == "QLinearConcat":
        return of(1)
    if kind in ("QLinearConv", "QLinearMatMul"):
        return of(7)
    if kind in ("QLinearWhere", "Where"):
        return of(1)
    if kind in ("MatMulIntegerToFloat", "DynamicQuantizeMatMul", "QAttention", "DynamicQuantizeLSTM"):
        return TensorProto.FLOAT
    domain = "" if node.domain == "ai.onnx" else node.domain
    try:
        schema = onnx.defs.get_schema(kind, versions.get(domain, 1), domain)
    except onnx.defs.SchemaError:
        return of(0)
    if not schema.outputs:
        return 0
    formal = schema.outputs[min(position, len(schema.outputs) - 1)].type_str
    for slot, name in enumerate(node.input):
        if name and schema.inputs and schema.inputs[min(slot, len(schema.inputs) - 1)].type_str == formal and of(slot):
            return of(slot)
    if formal.startswith("tensor("):
        return int(TensorProto.DataType.Value(formal[7:-1].upper()))
    return 0


def zeros(inputs: Iterable[Any], size: int = 1) -> dict[str, Any] | None:
    """An all-zero value for each input of a session; symbolic dimensions get `size`, a symbolic batch 1.

    None if an input is of a type that numpy does not have (a sequence, a string, a 4-bit tensor).
    """
    feeds: dict[str, Any] = {}
    for value in inputs:
        dtype = _DTYPES.get(value.type.removeprefix("tensor(").removesuffix(")"))
        if dtype is None:
            return None
        dims = [d if isinstance(d, int) and d >= 0 else 1 if at == 0 else size for at, d in enumerate(value.shape)]
        feeds[value.name] = np.zeros(dims, dtype)
    return feeds


def symbolic(inputs: Iterable[Any]) -> bool:
    return any(not isinstance(d, int) or d < 0 for value in inputs for d in value.shape)
