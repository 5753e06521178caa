"""What an interpreter of TFLite files does with each operator, and whether it computes what the file's grids say.

A model that cannot be loaded, prepared or run once (on ones, near enough) is refused; the node that the message names is `rejected`.
Otherwise an operator is
  `integer`   if its data are integers on a grid (fixed point or a table), and for data movement if they are integers; also a
              hybrid one, whose weights are integers and whose floats are quantized on the fly: then its result is
              measurably not that of the dequantized weights;
  `float`     if it computes on floats;
  `skip`      if its data are neither (indices, shapes, booleans, state), and for all that is computed from constants.

What the integers mean is then measured, one operator at a time: the same operator in floats, on the numbers that the
integers stand for, says what the output should be. If it is off by more than rounding explains, the operator is in integer
with *wrong numbers*, and the answer says by how many steps of the output. Whoever copies integers between two grids is off
like that, and no error is raised.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from qlint.oracles.tflite_graph import FLOATS, GRIDS, QUANTIZERS, Array, Graph, Op, Tensor

# Loads a model, runs it on these inputs and returns the outputs; raises what the interpreter says.
Run = Callable[[bytes, list[Array]], list[Array]]
# What a correct kernel may be off by, in steps of the output: rounding, fixed-point multipliers, tables.
TOLERANCE = {"int8": 3.0, "uint8": 3.0, "int16": 64.0}
EXACT = 1.0  # of what only moves or compares integers, or adds up products: they round once, at the end
HYBRID = 1e-5  # relative; float kernels differ by less, quantizing to 8 bits by more
# Nothing to compare: state, control flow; a product that is rounded at every factor.
_NOT_COMPARED = frozenset({
    "REDUCE_PROD", "UNIDIRECTIONAL_SEQUENCE_LSTM", "UNIDIRECTIONAL_SEQUENCE_RNN", "BIDIRECTIONAL_SEQUENCE_LSTM", "SVDF", "LSTM", "RNN", "IF", "WHILE", "CUSTOM",
})  # fmt: skip
_EXACT = frozenset(
    "RESHAPE SQUEEZE EXPAND_DIMS TRANSPOSE PAD PADV2 MIRROR_PAD GATHER GATHER_ND SLICE STRIDED_SLICE SPACE_TO_DEPTH DEPTH_TO_SPACE BATCH_TO_SPACE_ND "
    "SPACE_TO_BATCH_ND RESIZE_NEAREST_NEIGHBOR CONCATENATION PACK UNPACK SPLIT SPLIT_V TILE REVERSE_V2 BROADCAST_TO SELECT_V2 SELECT TOPK_V2 MAX_POOL_2D "
    "REDUCE_MAX REDUCE_MIN CONV_2D DEPTHWISE_CONV_2D TRANSPOSE_CONV FULLY_CONNECTED BATCH_MATMUL MEAN".split()
)
FAILURES = (RuntimeError, ValueError, TypeError)
_NODE = re.compile(r"node #(\d+)|[Nn]ode (?:number |\w+ \(number )(\d+)")


def verdict(path: str, run: Run, floating: Run) -> dict[str, Any]:
    """The fields of an `Answer` on the model at `path`. `floating` runs the operators in floats."""
    graph = Graph.read(path)
    placements, errors, reasons = dict.fromkeys((op.key for op in graph.ops), "skip"), dict[str, float](), list[str]()
    failure, *measured = apart(_asked(graph, Path(path).read_bytes(), run, floating))
    if failure:
        named = _NODE.search(failure)
        number = int(named[1] or named[2]) if named else len(graph.ops)
        if number < len(graph.ops):
            placements[graph.ops[number].key] = "rejected"
        return {"outcome": "refused", "reasons": [failure], "placements": placements}
    _known.update(measured)
    for number, op in enumerate(graph.ops):
        placements[op.key], off = _placed(graph, op, _known.get(_digest(graph, number)))
        if off:
            errors[op.key] = off
            reasons.append(f"{op.key} is off by {off:g} steps")
    return {"outcome": "runs", "reasons": reasons, "placements": placements, "errors": errors}


_known: dict[str, float | None] = {}  # networks are made of the same operators again and again


def _asked(graph: Graph, model: bytes, run: Run, floating: Run) -> Iterator[Any]:
    """The error of the model, or nothing; then what each operator that is new here is off by, by digest."""
    try:
        run(model, [_one(graph.tensors[int(i)]) for i in graph.main.inputs if int(i) >= 0])
    except FAILURES as error:
        yield " ".join(str(error).split()) or type(error).__name__
        return
    yield ""
    for number, op in enumerate(graph.ops):
        if op.kind not in _NOT_COMPARED | QUANTIZERS and graph.data(op) and _digest(graph, number) not in _known:
            yield _digest(graph, number), _difference(graph, number, op, run, floating)


def apart(answers: Iterator[Any]) -> list[Any]:
    """Answers that are found in a process of its own, since kernels abort on what they do not expect."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        with os.fdopen(writing, "w") as out:
            for one in answers:
                print(json.dumps(one), file=out, flush=True)
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as said:
        found = [json.loads(line) for line in said]
    _, status = os.waitpid(child, 0)
    return found or [f"the process died with code {os.waitstatus_to_exitcode(status)}"]


def _digest(graph: Graph, number: int) -> str:
    return hashlib.sha256(graph.alone(number)).hexdigest()


def _placed(graph: Graph, op: Op, off: float | None) -> tuple[str, float]:
    """Where a node of a running model computes, and by how many steps its result is wrong; `off` is what was measured."""
    data = graph.data(op)
    if op.kind in QUANTIZERS or op.kind in ("SHAPE", "RANK") or not data:
        return "skip", 0.0
    types = {tensor.type for tensor in data}
    if types & FLOATS:
        hybrid = off is not None and off > HYBRID and any(tensor.quantized for tensor in graph.weights(op))
        return "integer" if hybrid else "float", 0.0
    if not any(tensor.quantized for tensor in data) and not types & {"int4", "int8", "uint8", "int16"}:
        return "skip", 0.0
    results = [graph.tensors[i] for i in op.outputs]
    if off is None or any(tensor.type in FLOATS for tensor in results):
        return "integer", 0.0
    tolerance = EXACT if op.kind in _EXACT else max((TOLERANCE.get(tensor.type, np.inf) for tensor in results), default=np.inf)
    return "integer", round(off, 1) if off > tolerance else 0.0


def _difference(graph: Graph, number: int, op: Op, run: Run, floating: Run) -> float | None:
    """How far the operator alone is from the same one in floats: steps of a quantized output, relative for a float one."""
    try:
        given = {i: _given(graph.tensors[i]) for i in dict.fromkeys(op.inputs) if i >= 0 and not graph.tensors[i].constant}
        got = run(graph.alone(number), list(given.values()))
        wanted = floating(graph.alone(number, floating=True), [graph.tensors[i].real(v) if graph.tensors[i].quantized else v for i, v in given.items()])
    except FAILURES:
        return None
    worst = 0.0
    for index, mine, theirs in zip(op.outputs, got, wanted, strict=True):
        tensor = graph.tensors[index]
        if mine.shape != theirs.shape or not mine.size:
            return None
        if tensor.quantized and tensor.type in TOLERANCE:
            defined = np.isfinite(theirs)  # not so the logarithm of a negative number
            worst = max(worst, float(np.abs(mine.astype(np.int64) - tensor.stored(theirs))[defined].max(initial=0)))
        elif tensor.type == "float32":
            worst = max(worst, float(np.abs(mine - theirs).max() / max(float(np.abs(theirs).max()), 1e-9)))
    return worst


_HELD = {"int4": "int8", "int2": "int8", "resource": "int32", "bfloat16": "float32", "string": "object"}  # as interpreters take it


def _one(tensor: Tensor) -> Array:
    """Something harmless for an input: a little above zero, so that nothing is divided by it; zeros for what is on no grid."""
    kind = _HELD.get(tensor.type, tensor.type)
    if tensor.type in FLOATS:
        return np.ones(tensor.shape, kind)
    return np.full(tensor.shape, min(tensor.zeros[0] + 10, 120) if tensor.zeros else 0, kind)


def _given(tensor: Tensor) -> Array:
    """Numbers for an input: most of a grid's range, but not its ends; zeros for what is on no grid."""
    random = np.random.RandomState(7)
    if tensor.type == "float32":
        return random.uniform(-1.5, 1.5, tensor.shape).astype(np.float32)
    if tensor.type not in GRIDS or not tensor.scales or tensor.type in ("int32", "int64", "int4"):
        return np.zeros(tensor.shape, _HELD.get(tensor.type, tensor.type))
    low, high = {"int8": (-120, 120), "uint8": (8, 248), "int16": (-30000, 30000)}[tensor.type]
    return random.randint(low, high, tensor.shape).astype(tensor.type)
