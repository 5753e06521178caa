"""OpenVINO's CPU plugin as a judge: which kernel of the compiled model does the work of each node.

The nodes are renamed to `op0`, `op1` ... in a copy of the model. The importer makes several operators of some
nodes, names only the last of them, and that by its output where this is one of the graph; all get the name of
their node, so that every operator can be followed. Then the model is compiled for `INFERENCE_PRECISION_HINT` f32, run once on zeros if
its shapes are static, and its runtime model read: for each kernel its type, its implementation
(`primitiveType`) and the operators that it is made of (`originalLayersNames`).

What a kernel computes in is told from the kernel, never from the precision of its tensors alone:
* convolution, deconvolution, FullyConnected, MatMul and pooling are `integer` if the implementation is one for
  `I8` (uint8) or `i8`; an implementation for `f32` may well read an int8 tensor;
* data movement is `integer` if it moves integers;
* from AVX-512 on a Subgraph may hold the products of attention. They multiply what the passes gave them:
  sums beyond 2**24 come out exactly. In what is shown by the kernels of the model compiled without Subgraphs;
* every other kernel (element-wise chains called Subgraph or Eltwise, Reduce, MVN, Interpolate but for nearest,
  Softmax, FakeQuantize ...) loads integers into float registers and computes there: `float`
  (src/plugins/intel_cpu/src/nodes and src/common/snippets of the OpenVINO repository).
A node that kernels of both sorts are made of is what its multiplications are, else `float`; one that is part of
another node's integer kernel is `absorbed`.

A node that no kernel is made of went into a neighbour: a batch-norm or a constant operand into the kernel in
front of it, or behind a quantizer into the next one, a clamp into the quantizer behind it, a convolution into what
took its name. It has the placement of that kernel. Data movement that is gone is `absorbed` between two quantizers
and integer kernels, else `skip`.

A model that cannot be imported, compiled or run is refused. Which kernels there are depends on the instruction
set of the machine that judges; a target names it, and `answer` refuses to speak for another one. (ONEDNN_MAX_CPU_ISA
does not make a machine of another: only half of the plugin heeds it, and models fail that run on AVX2.)
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import openvino as ov

from qlint.oracles.onnx_graph import (
    FLOATS,
    GRIDS,
    MOVES,
    QUANTIZERS,
    Traced,
    between_quantizers,
    constants,
    no_data,
    opsets,
    tensor_types,
    trace,
)

VERSIONS = {"openvino": ov.__version__.split("-")[0]}
# What tells the targets apart, in /proc/cpuinfo: a target is the widest instruction set that the machine has.
_FLAGS = {"amx": "amx_int8", "avx512-vnni": "avx512_vnni", "avx2": "avx2"}
# With one thread alone, AVX-512 gets rows of small linear layers in one Subgraph, and some of these fail ("Not enough gp registers").
_SETTINGS = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 2, "NUM_STREAMS": 1}
_NAMED = re.compile(r"(op\d+)(?=$|[/_.])")

_MULTIPLY = frozenset({"Convolution", "Deconvolution", "FullyConnected", "MatMul"})
_ACCUMULATE = _MULTIPLY | {"Pooling"}
_MOVE = frozenset({
    "Reshape", "Transpose", "Concatenation", "Split", "StridedSlice", "Slice", "Gather", "GatherElements", "GatherND", "Pad",
    "Broadcast", "Tile", "DepthToSpace", "SpaceToDepth", "ShuffleChannels", "ReverseSequence", "ScatterUpdate",
    "ScatterElementsUpdate", "ScatterNDUpdate", "BatchToSpace", "SpaceToBatch", "Identity",
})  # fmt: skip
_NOTHING = frozenset({"Const", "Input", "Output", "Reorder"})
_INTEGER = ("_i8", "_u8", "_i4", "_u4")  # lower case: uint8 is called I8 in the runtime model
_UNSCORED = frozenset({"Shape", "Size", "ConstantOfShape", "Range", "NonZero", "DynamicQuantizeLinear", "If", "Loop", "Scan", "EyeLike"})
_MOVING = MOVES | {"Resize", "GatherElements", "GatherND", "ScatterElements", "ScatterND", "ReverseSequence"}
_WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "FusedConv", "FusedMatMul"})
_ACCUMULATING = _WEIGHTED | {"MaxPool", "AveragePool"}
_FOLDED = frozenset({"BatchNormalization", "Add", "Mul", "Sub", "Div"})
_CLAMPS = frozenset({"Relu", "Clip"})


@dataclass(frozen=True)
class Kernel:
    """One node of the runtime model. `parts`: the names of the operators that it is made of."""

    name: str
    layer: str
    implementation: str
    parts: tuple[str, ...]
    reads: tuple[str, ...]  # element types of its inputs
    nearest: bool = False  # an Interpolate that only copies

    @property
    def nodes(self) -> set[str]:
        """The nodes of the file that are in it."""
        return {found[1] for part in (*self.parts, self.name) if (found := _NAMED.match(part))}

    @property
    def computes_in(self) -> str:
        """`integer` or `float`; empty if it does no work on data."""
        low = self.implementation.lower()
        if self.layer in _NOTHING:
            return ""
        if self.layer in _ACCUMULATE:
            # Shapes unknown at compile time leave the implementation of a product open, but not its types.
            both = self.layer in _MULTIPLY and low.startswith("undef") and all(read in ("u8", "i8") for read in self.reads[:2])
            return "integer" if low.endswith(_INTEGER) and (both or not low.startswith("undef")) else "float"
        if self.layer in _MOVE or self.nearest:
            return "integer" if low.endswith(_INTEGER) else "float" if low.endswith(("f32", "f16")) else ""
        return "" if low.endswith(("i32", "boolean")) else "float"


def answer(path: str, _backend: str, target: str) -> dict[str, Any]:
    """The verdict on the model at `path`, as the fields of an `Answer`."""
    if target != (here := instruction_set()):
        raise RuntimeError(f"this machine's instruction set is {here}, and the answers would be those of {here}")
    traced = trace(path)
    base: dict[str, Any] = {"backend": f"openvino@{target}", "versions": VERSIONS, "reasons": []}
    try:
        kernels = compiled(traced)
    except Exception as error:
        placements = dict.fromkeys(traced.keys.values(), "rejected")
        return {**base, "outcome": "refused", "reasons": [traced.readable(last_words(str(error)))], "placements": placements}
    placements = {traced.keys[name]: where for name, where in placements_of(traced, kernels).items()}
    return {**base, "outcome": "runs", "placements": placements}


def instruction_set() -> str:
    """The target that this machine can speak for, or `unknown`."""
    file = Path("/proc/cpuinfo")
    flags = set(re.findall(r"^flags\s*:(.*)$", file.read_text(), re.M)[0].split()) if file.exists() else set()
    return next((name for name, flag in _FLAGS.items() if flag in flags), "unknown")


def last_words(message: str) -> str:
    """What the innermost of a chain of messages says."""
    lines = [line.strip() for line in message.splitlines() if line.strip() and not line.strip().startswith(("Check '", "Exception from", "--", "Summary:"))]
    told = [line for line in lines if "Conversion is failed" in line or "unsupported" in line.lower()]
    return (told or lines or [message])[-1]


def compiled(traced: Traced) -> list[Kernel]:
    """The kernels of the compiled model, in execution order."""
    onnx.external_data_helper.load_external_data_for_model(traced.model, traced.folder)
    core = ov.Core()
    model = core.read_model(traced.model.SerializeToString())
    nearest = name_parts(model, traced)
    runnable = core.compile_model(model, "CPU", _SETTINGS)
    weighted = {node.name for node in traced.model.graph.node if node.op_type in _WEIGHTED}
    if all(value.get_partial_shape().is_static for value in runnable.inputs):
        feeds = [np.zeros(list(value.get_shape()), value.get_element_type().to_dtype()) for value in runnable.inputs]
        runnable.create_infer_request().infer(feeds)
    kernels = [_kernel(op, nearest) for op in runnable.get_runtime_model().get_ordered_ops()]
    if any(kernel.layer == "Subgraph" and weighted & kernel.nodes for kernel in kernels):
        apart = core.compile_model(model, "CPU", {**_SETTINGS, "SNIPPETS_MODE": "DISABLE"})
        kernels = [_kernel(op, nearest) for op in apart.get_runtime_model().get_ordered_ops()]
    return kernels


def name_parts(model: Any, traced: Traced) -> set[str]:
    """Give every operator without a name of the file the name of the node whose operators read it; a new name each.

    Returns the names of the Interpolates that only copy.
    """
    outputs = {name: node.name for node in traced.model.graph.node for name in node.output}
    owners: dict[str, str] = {}
    nearest: set[str] = set()
    for number, op in enumerate(reversed(model.get_ordered_ops())):
        name = op.get_friendly_name()
        found = _NAMED.match(name)
        owner = found[1] if found and found[1] in traced.everything else outputs.get(name, "")
        if not found and op.get_type_name() not in ("Constant", "Parameter", "Result"):
            readers = {owners.get(reader.get_node().get_friendly_name(), "") for value in op.outputs() for reader in value.get_target_inputs()}
            owner = owner or (readers.pop() if len(readers) == 1 else "")
            if owner:
                name = f"{owner}/part{number}"
                op.set_friendly_name(name)
        owners[name] = owner
        if op.get_type_name() == "Interpolate" and op.get_attributes().get("mode") == "nearest":
            nearest.add(name)
    return nearest


def _kernel(op: Any, nearest: set[str]) -> Kernel:
    said = op.get_rt_info()
    layer, implementation, parts = (said[key].astype(str) for key in ("layerType", "primitiveType", "originalLayersNames"))
    names = tuple(name for name in parts.split(",") if name)
    reads = tuple(value.get_element_type().get_type_name() for value in op.inputs())
    copies = layer == "Interpolate" and bool(nearest & {*names, op.get_friendly_name()})
    return Kernel(op.get_friendly_name(), layer, implementation, names, reads, copies)


def placements_of(traced: Traced, kernels: Iterable[Kernel]) -> dict[str, str]:
    """Placement of each traced node, by its traced name."""
    graph = traced.model.graph
    lookup = _Lookup(graph, [k for k in kernels if k.computes_in or k.layer not in _NOTHING])
    constant = constants(graph)
    aside = no_data(graph, constant)
    types = tensor_types(graph, opsets(traced.model))
    result: dict[str, str] = {}
    for node in graph.node:
        if node.name not in traced.keys:
            continue
        data = next((kind for name in node.output if name and (kind := types.get(name, 0))), 0)
        unscored = node.op_type in _UNSCORED or all(o in constant or o in aside for o in node.output if o)
        unscored = unscored or (data not in FLOATS and data not in GRIDS and bool(data))
        result[node.name] = "skip" if unscored else lookup.place(node)
    return result


class _Lookup:
    """Finds the nodes of the file in the kernels."""

    def __init__(self, graph: onnx.GraphProto, kernels: list[Kernel]) -> None:
        self.made_of: dict[str, list[Kernel]] = defaultdict(list)
        for kernel in kernels:
            for name in kernel.nodes:
                self.made_of[name].append(kernel)
        self.producer = {name: node for node in graph.node for name in node.output if name}
        self.readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in graph.node:
            for name in node.input:
                self.readers[name].append(node)
        self.between = between_quantizers(graph)
        self.constant = constants(graph)

    def place(self, node: onnx.NodeProto) -> str:
        made_of = [kernel for kernel in self.made_of[node.name] if kernel.computes_in]
        return self._told(node, made_of) if made_of else self._gone(node)

    def _told(self, node: onnx.NodeProto, kernels: list[Kernel]) -> str:
        # What follows may be there under its name as well: the way back to real numbers, constants that move.
        products = [k for k in kernels if k.layer in _ACCUMULATE]
        renamed = [k for k in kernels if any(part.startswith(node.name) and part.endswith("_original") for part in (*k.parts, k.name))]
        alike = [k for k in kernels if (k.layer in _MOVE or k.nearest) == (node.op_type in _MOVING)]
        said = {k.computes_in for k in products or renamed or alike or kernels}
        if said != {"integer"}:
            return "float"
        own = node.op_type in _ACCUMULATING or not products
        return "integer" if own else "absorbed"

    def _gone(self, node: onnx.NodeProto) -> str:
        """Where a node went that no kernel names."""
        before, behind = self._kernels(node, back=True), self._kernels(node, back=False)
        if node.op_type in _MOVING:
            if named := [k for k in self._quantizers_behind(node) if k.layer in _MOVE]:
                return named[0].computes_in
            low = {k.computes_in for k in [*before, *behind]} == {"integer"}
            return "absorbed" if low and node.name in self.between else "skip"
        hosts = [k for k in before if k in behind]
        if not hosts and node.op_type in _ACCUMULATING:
            hosts = [k for k in behind if k.layer in _ACCUMULATE]
        elif not hosts and node.op_type in _CLAMPS:
            hosts = behind
        elif not hosts and node.op_type in _FOLDED:
            hosts = behind if self._dequantized(node) else [k for k in before if k.layer in _MULTIPLY]
        said = {k.computes_in for k in hosts or [*before, *behind]}
        if said == {"float"}:
            return "float"
        return ("integer" if node.op_type in _ACCUMULATING else "absorbed") if said == {"integer"} and hosts else "skip"

    def _quantizers_behind(self, node: onnx.NodeProto) -> list[Kernel]:
        """Kernels under the name of the quantizers that follow: one whose quantizer was removed has taken its name."""
        near = [reader for name in node.output for reader in self.readers[name] if reader.op_type in QUANTIZERS]
        near += [reader for q in near for name in q.output for reader in self.readers[name] if reader.op_type in QUANTIZERS]
        return [kernel for quantizer in near for kernel in self.made_of[quantizer.name]]

    def _dequantized(self, node: onnx.NodeProto) -> bool:
        """Whether what a node computes with comes from a quantizer."""
        producers = [self.producer[name] for name in node.input if name in self.producer and name not in self.constant]
        return any(producer.op_type == "DequantizeLinear" for producer in producers)

    def _kernels(self, node: onnx.NodeProto, back: bool) -> list[Kernel]:
        """The nearest kernels in front of a node or behind it, through nodes that are gone too."""
        found: list[Kernel] = []
        seen: set[str] = set()
        todo = [node]
        while todo:
            near = todo.pop()
            if back:
                others = [self.producer[name] for name in near.input if name in self.producer and name not in self.constant]
            else:
                others = [reader for name in near.output for reader in self.readers[name]]
            for other in others:
                if other.name in seen:
                    continue
                seen.add(other.name)
                kernels = [k for k in self.made_of[other.name] if k.computes_in]
                found += [k for k in kernels if k not in found]
                if not kernels:
                    todo.append(other)
        return found
