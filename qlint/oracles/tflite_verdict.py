"""What an interpreter of TFLite files does with each operator, and whether it computes what the file's grids say.

A model that cannot be loaded, prepared or run once on zeros is refused; the node that the message names is `rejected`.
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

import json
import os
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from qlint.oracles.tflite_graph import FLOATS, GRIDS, QUANTIZERS, Array, Graph, Op, Tensor

# Loads a model, runs it on these inputs (zeros if there are none) and returns the outputs; raises what the interpreter says.
Run = Callable[[bytes, list[Array] | None], list[Array]]
# What a correct kernel may be off by, in steps of the output: rounding, fixed-point multipliers, tables.
TOLERANCE = {"int8": 3.0, "uint8": 3.0, "int16": 64.0}
HYBRID = 1e-5  # relative; float kernels differ by less, quantizing to 8 bits by more
# Nothing to compare: state, control flow; a product that is rounded at every factor.
_NOT_COMPARED = frozenset({
    "REDUCE_PROD", "UNIDIRECTIONAL_SEQUENCE_LSTM", "UNIDIRECTIONAL_SEQUENCE_RNN", "BIDIRECTIONAL_SEQUENCE_LSTM", "SVDF", "LSTM", "RNN", "IF", "WHILE", "CUSTOM",
})  # fmt: skip
FAILURES = (RuntimeError, ValueError, TypeError)
_NODE = re.compile(r"[Nn]ode (?:number |\w+ \(number )(\d+)")


def verdict(path: str, run: Run, floating: Run) -> dict[str, Any]:
    """The fields of an `Answer` on the model at `path`. `floating` runs the operators in floats."""
    graph = Graph.read(path)
    placements, errors, reasons = dict.fromkeys((op.key for op in graph.ops), "skip"), dict[str, float](), list[str]()
    with open(path, "rb") as file:
        model = file.read()
    failure = apart(lambda: _failure(model, run))
    if failure:
        named = _NODE.search(failure)
        if named and int(named[1]) < len(graph.ops):
            placements[graph.ops[int(named[1])].key] = "rejected"
        reasons.append(failure)
    else:
        for number, op in enumerate(graph.ops):
            placements[op.key], off = _placed(graph, number, op, run, floating)
            if off:
                errors[op.key] = off
                reasons.append(f"{op.key} is off by {off:g} steps")
    return {"outcome": "refused" if failure else "runs", "reasons": reasons, "placements": placements, "errors": errors}


def _failure(model: bytes, run: Run) -> str:
    try:
        run(model, None)
    except FAILURES as error:
        return " ".join(str(error).split()) or type(error).__name__
    return ""


def apart(ask: Callable[[], Any]) -> Any:
    """The answer of `ask` in a process of its own, since kernels abort on what they do not expect."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        with os.fdopen(writing, "w") as out:
            json.dump(ask(), out)
            out.flush()
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as said:
        text = said.read()
    _, status = os.waitpid(child, 0)
    return json.loads(text) if text else f"the process died with code {os.waitstatus_to_exitcode(status)}"


def _placed(graph: Graph, number: int, op: Op, run: Run, floating: Run) -> tuple[str, float]:
    """Where a node of a running model computes, and by how many steps its result is wrong."""
    data = graph.data(op)
    if op.kind in QUANTIZERS or op.kind in ("SHAPE", "RANK") or not data:
        return "skip", 0.0
    types = {tensor.type for tensor in data}
    if types & FLOATS:
        if not any(tensor.quantized for tensor in graph.weights(op)):
            return "float", 0.0
        off = _difference(graph, number, op, run, floating)
        return ("integer" if off is not None and off > HYBRID else "float"), 0.0
    grids = [tensor for tensor in data if tensor.quantized]
    if not grids and not (types & {"int4", "int8", "uint8", "int16"}):
        return "skip", 0.0
    off = _difference(graph, number, op, run, floating)
    results = [graph.tensors[i] for i in op.outputs]
    if any(tensor.type in FLOATS for tensor in results):
        return "integer", 0.0
    tolerance = max((TOLERANCE.get(tensor.type, np.inf) for tensor in results), default=np.inf)
    return "integer", round(off, 1) if off is not None and off > tolerance else 0.0


def _difference(graph: Graph, number: int, op: Op, run: Run, floating: Run) -> float | None:
    """How far the operator alone is from the same one in floats: steps of a quantized output, relative for a float one."""
    if op.kind in _NOT_COMPARED:
        return None
    off = apart(lambda: _measured(graph, number, op, run, floating))
    return off if isinstance(off, float) else None


def _measured(graph: Graph, number: int, op: Op, run: Run, floating: Run) -> float | None:
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
        if tensor.quantized and len(tensor.scales) == 1 and tensor.type in TOLERANCE:
            defined = np.isfinite(theirs)  # not so the logarithm of a negative number
            worst = max(worst, float(np.abs(mine.astype(np.int64) - tensor.stored(theirs))[defined].max(initial=0)))
        elif tensor.type == "float32":
            worst = max(worst, float(np.abs(mine - theirs).max() / max(float(np.abs(theirs).max()), 1e-9)))
    return worst


def _given(tensor: Tensor) -> Array:
    """Numbers for an input: most of a grid's range, but not its ends; zeros for what is on no grid."""
    random = np.random.RandomState(7)
    if tensor.type == "float32":
        return random.uniform(-1.5, 1.5, tensor.shape).astype(np.float32)
    if tensor.type not in GRIDS or not tensor.scales or tensor.type in ("int32", "int64", "int4"):
        return np.zeros(tensor.shape, {"int4": "int8", "resource": "int32", "bfloat16": "float32"}.get(tensor.type, tensor.type))
    low, high = {"int8": (-120, 120), "uint8": (8, 248), "int16": (-30000, 30000)}[tensor.type]
    return random.randint(low, high, tensor.shape).astype(tensor.type)
