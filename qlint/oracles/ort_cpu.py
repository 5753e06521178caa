"""ONNX Runtime's CPU provider as a judge: what its graph optimizer made of each node.

The nodes are renamed to `op0`, `op1` ... in a copy of the model; the optimizer keeps the name of a node when
it replaces it by an integer kernel. The optimized graph (ORT_ENABLE_EXTENDED, because ENABLE_ALL adds nodes
that depend on the CPU) is saved, and each original node looked up in it.

A node that is still there under its name, perhaps as another kernel, is
  `integer`   if that is a QLinear*, QGemm, MatMulInteger* ... kernel, or the same operator whose data input is an
              integer tensor now (MaxPool on uint8, Reshape on int8: data movement is integer if it moves integers).
              MatMulNBits counts where it quantizes its input on the fly (accuracy level 4, the default when the
              optimizer makes it; measured to hold for 4 and 8 bits, and for 2 bits in blocks of 32 to 128);
  `float`     if its data are floats;
  `skip`      if they are neither: indices, shapes, booleans.
A node that is gone is looked for in the regions (see regions.py) that cover it:
  `integer`   if the region is this node alone and all its kernels are integer (an inlined function);
  `absorbed`  if integer kernels took it in, or if nothing is left of it between a DequantizeLinear and a
              QuantizeLinear (an Identity); a Relu or Clip that is gone (the quantizer's range does its work) if
              what feeds it is integer or a DequantizeLinear;
  `float`     if a float kernel took it in; a Relu or Clip that is gone if what feeds it is float or a graph input
              (nothing integer runs in its place);
  `skip`      if regions disagree, mix integer and float kernels, or cannot be told; for data movement between a
              float tensor and a quantizer; for all that is computed from constants, from shapes or from dynamic
              scales alone, and for DynamicQuantizeLinear, which is a quantizer.

The session is run once on zeros, since some kernels refuse only then; the node in the message is `rejected`.
With symbolic dimensions a failure counts only if the unoptimized model runs on the same input.
"""

from __future__ import annotations

import os
import re
import signal
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import onnx
import onnxruntime as ort

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
    symbolic,
    tensor_types,
    trace,
    zeros,
)
from qlint.oracles.regions import Region, regions

ort.set_default_logger_severity(4)
VERSIONS = {"onnxruntime": ort.__version__}
_INTEGER = frozenset({
    "QGemm", "ConvInteger", "MatMulInteger", "MatMulInteger16", "MatMulIntegerToFloat", "DynamicQuantizeMatMul",
    "DynamicQuantizeLSTM", "QAttention",
})  # fmt: skip
# They take integers and compute in float.
_FLOAT = frozenset({"QEmbedLayerNormalization", "MatMulBnb4", "QMoE"})
# No arithmetic on data, or not to be told from outside.
_UNSCORED = frozenset({"Shape", "Size", "ConstantOfShape", "Range", "NonZero", "DynamicQuantizeLinear", "If", "Loop", "Scan"})
_CLAMPS = frozenset({"Relu", "Clip"})
_DATA_INPUT = {"Where": 1}
_SIZES = (1, 8, 32, 224)  # tried in turn for symbolic dimensions
DIED = "the run died of signal"


def answer(path: str, backend: str, target: str) -> dict[str, Any]:
    """The verdict on the model at `path`, as the fields of an `Answer`."""
    traced = trace(path)
    base: dict[str, Any] = {"backend": f"{backend}@{target}", "versions": VERSIONS, "reasons": []}
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder) / "optimized.onnx"
        try:
            session = _session(traced, target, saved)
        except Exception as error:
            placements = dict.fromkeys(traced.keys.values(), "rejected")
            return {**base, "outcome": "refused", "reasons": [traced.readable(str(error))], "placements": placements}
        optimized = onnx.load(saved, load_external_data=False)
    placed = placements_of(traced, optimized)
    failure = _run(session, traced, target)
    if failure:
        named = re.search(r"Name:'(op\d+)\b", failure)
        if named and named[1] in placed:
            placed[named[1]] = "rejected"
        elif named is None:
            placed = dict.fromkeys(placed, "rejected")
        base["reasons"] = [traced.readable(failure)]
    placements = {traced.keys[name]: where for name, where in placed.items()}
    outcome = "crashed" if failure.startswith(DIED) else "refused" if failure else "runs"
    return {**base, "outcome": outcome, "placements": placements}


def _session(traced: Traced, target: str, save_to: Path | None) -> ort.InferenceSession:
    levels = ort.GraphOptimizationLevel
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.graph_optimization_level = levels.ORT_ENABLE_EXTENDED if save_to else levels.ORT_DISABLE_ALL
    if save_to:
        options.optimized_model_filepath = str(save_to)
    options.add_session_config_entry("session.qdqisint8allowed", "1" if target == "arm" else "0")
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", traced.folder)
    return ort.InferenceSession(traced.model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def placements_of(traced: Traced, optimized: onnx.ModelProto) -> dict[str, str]:
    """Placement of each traced node, by its traced name."""
    versions = opsets(traced.model)
    constant = constants(traced.model.graph)
    aside = no_data(traced.model.graph, constant)
    before = tensor_types(traced.model.graph, versions)
    lookup = _Lookup(traced.model.graph, optimized.graph, before, tensor_types(optimized.graph, opsets(optimized)), constant)
    for node in traced.model.graph.node:
        if node.name not in traced.keys:
            continue
        unscored = node.op_type in _UNSCORED or all(o in constant or o in aside for o in node.output if o)
        lookup.placed[node.name] = "skip" if unscored else lookup.place(node)
    return lookup.placed


class _Lookup:
    """Finds original nodes in the optimized graph."""

    def __init__(
        self, original: onnx.GraphProto, optimized: onnx.GraphProto, before: dict[str, int], after: dict[str, int], constant: set[str]
    ) -> None:
        self.before, self.after = before, after
        self.named: dict[str, onnx.NodeProto] = {}
        for node in optimized.node:
            if (own := re.match(r"op\d+(?=$|[/_])(?!.*_(bias|weight)_[a-z])", node.name)) and (node.name == own[0] or own[0] not in self.named):
                self.named[own[0]] = node
        self.producer = {name: node for node in optimized.node for name in node.output}
        self.feeding = {name: node for node in original.node for name in node.output}
        self.between = between_quantizers(original)
        self.placed: dict[str, str] = {}
        self.covering: dict[str, list[Region]] = defaultdict(list)
        for region in regions(original, optimized, constant):
            for node in region.original:
                self.covering[node.name].append(region)

    def place(self, node: onnx.NodeProto) -> str:
        now = self.named.get(node.name)
        if now is not None and now.op_type not in QUANTIZERS:
            return self.arithmetic(now)
        kind = next((self.before.get(o, 0) for o in node.output if o), 0)
        if kind not in FLOATS and kind not in GRIDS and kind:
            return "skip"
        if node.op_type in _CLAMPS and (host := self._host(node)):
            return host
        said = {self._covered(node, region) for region in self.covering[node.name]}
        return said.pop() if len(said) == 1 else "skip"

    def _host(self, clamp: onnx.NodeProto) -> str:
        """Where a Relu or Clip that is gone runs: with what feeds it, in its kernel or in the quantizer behind it."""
        before = self.feeding.get(clamp.input[0])
        if before is None:
            return "float"
        if before.op_type == "DequantizeLinear":
            return "absorbed"
        host = self.placed.get(before.name, "skip")
        return {"integer": "absorbed", "skip": ""}.get(host, host)

    def arithmetic(self, now: onnx.NodeProto) -> str:
        """What a node of the optimized graph computes in: integer, float or skip."""
        kind = now.op_type
        if kind in _UNSCORED:
            return "skip"
        if kind.startswith("QLinear") or kind in _INTEGER:
            return "integer"
        if kind == "MatMulNBits":
            return _matmul_nbits(now)
        if kind in _FLOAT:
            return "float"
        slot = _DATA_INPUT.get(kind, 0)
        data = self.after.get(now.input[slot], 0) if len(now.input) > slot else 0
        return "integer" if data in GRIDS else "float" if data in FLOATS else "skip"

    def _covered(self, node: onnx.NodeProto, region: Region) -> str:
        """Where a node that is gone went, as far as one region tells."""
        kernels = {self.arithmetic(now) for now in region.optimized if now.op_type not in QUANTIZERS} - {"skip"}
        if len(kernels) > 1:
            alone = [n for n in region.original if n.op_type not in QUANTIZERS] == [node]
            return "float" if alone else "skip"
        if kernels == {"float"}:
            return "float"
        if kernels == {"integer"}:
            alone = [n for n in region.original if n.op_type not in QUANTIZERS] == [node]
            return "integer" if alone and node.op_type not in MOVES else "absorbed"
        return self._between_quantizers(node, region)

    def _between_quantizers(self, node: onnx.NodeProto, region: Region) -> str:
        """For a region that only quantizers are left of."""
        requantized = any(now.op_type == "QuantizeLinear" for now in region.optimized)
        integers = any(now.op_type == "DequantizeLinear" for now in region.optimized)
        for source in region.sources:
            producer = self.producer.get(source)
            if producer is not None and (producer.op_type == "DequantizeLinear" or self.arithmetic(producer) == "integer"):
                integers = True
            if self.after.get(source, 0) in GRIDS:
                integers = True
        if node.op_type in MOVES:
            return "absorbed" if integers and node.name in self.between else "skip"
        if requantized or not region.optimized:
            return "absorbed" if integers else "float"
        return "skip"


def _matmul_nbits(node: onnx.NodeProto) -> str:
    attributes = {a.name: a.i for a in node.attribute}
    on_the_fly = attributes.get("accuracy_level", 0) == 4
    bits = attributes.get("bits", 4)
    return "integer" if on_the_fly and (bits in (4, 8) or attributes.get("block_size") in (32, 64, 128)) else "float"


def _run(session: ort.InferenceSession, traced: Traced, target: str) -> str:
    """Run once on zeros. Returns the error, or nothing if it ran or if the input is to blame."""
    inputs = session.get_inputs()
    if not symbolic(inputs):
        feeds = zeros(inputs)
        return "" if feeds is None else failure_of(session, feeds)
    for size in _SIZES:
        feeds = zeros(inputs, size)
        if feeds is None:
            return ""
        failure = failure_of(session, feeds)
        if not failure or failure.startswith(DIED):
            return ""
        try:
            plain = _session(traced, target, None)
        except Exception:
            return ""
        if not failure_of(plain, feeds):
            return failure
    return ""


def failure_of(session: ort.InferenceSession, feeds: dict[str, Any]) -> str:
    """The error of one run, or nothing.

    It happens in a fork: ORT's kernels do not all check shapes, and one that writes past its buffer would
    falsify or kill what is judged next in this process (seen: Inverse on a matrix that is not square).
    """
    read, write = os.pipe()
    child = os.fork()
    if not child:
        signal.alarm(60)
        try:
            session.run(None, feeds)
        except BaseException as error:
            os.write(write, str(error).encode()[:4000])
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        message = pipe.read().decode(errors="replace")
    _, status = os.waitpid(child, 0)
    return f"{DIED} {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else message
