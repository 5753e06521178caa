"""A state is written on one grid and read back on another.

## What it does

Pairs outputs and inputs of the model that are one state, such as present.0.key and past.0.key of a key-value cache
or hidden_out and hidden_in of a recurrent network, and compares their grids where both carry integers.

## Why it matters on hardware

The application hands the integers of the output back as the input of the next step, and rescales nothing. If the
scales differ, all that the network remembers is too large or too small by the same factor, again at each step;
nothing fails. Calibration of each tensor by itself produces this as a matter of course.

## Example

    present.0.key: int8, scale 0.05      past.0.key: int8, scale 0.04

## Instead

    both: int8, scale 0.05

## Fix and its safety

Use one quantizer for both, that with the larger range. Unsafe: the numbers change, to what was meant.

## References

- Hugging Face Optimum, exporters for ONNX: past_key_values.N.key and present.N.key
- LiteRT 8-bit quantization specification, LSTM: input and output state share scale and zero point
"""

import re
from collections.abc import Iterator

from qlint.graph import Model, Quantizer, Use
from qlint.lint.rule import Issue, Rule
from qlint.lint.sweep import same_grid
from qlint.lint.testing import Graph, Wire, u8

# How a name says that it is the state behind a step, and what the one in front is called then.
NAMES = ((r"present", ("past", "past_key_values")), (r"(?<![a-z])new(?![a-z])", ("old", "")), (r"(?<![a-z])out(put)?(?![a-z])", ("in", "input")), (r"(?<![a-z])next(?![a-z])", ("prev", "")))

rule = Rule(
    name="state-grid-mismatch",
    code="QL610",
    since="0.1.0",
    what="the state {state} is written as {found} and read back as {wanted}",
    why="the integers are handed over as they are, and mean something else at every step",
    fix="use one quantizer for the state in front of a step and behind it",
    consequence="wrong",
)


@rule.check
def states(model: Model) -> Iterator[Issue]:
    """Outputs that come back as inputs, both integers, on different grids."""
    inputs = {tensor.name: tensor for tensor in model.inputs}
    for output in model.outputs:
        name = next((n for n in _inputs_for(output.name or output.tensor.name) if n in inputs), None)
        use = next((use for use in inputs[name].uses if use.quantizers), None) if name is not None else None
        read, wrote = None if use is None else _read(use), _written(output)
        if read is not None and wrote is not None and not same_grid(read, wrote):
            yield Issue(output.tensor.producer, "y", output.tensor, str(wrote), str(read), "state", facts={"state": output.name or output.tensor.name})


def _inputs_for(name: str) -> Iterator[str]:
    for pattern, others in NAMES:
        for other in others:
            changed = re.sub(pattern, other, name)
            if changed != name:
                yield changed


def _read(use: Use) -> Quantizer | None:
    """The grid on which integers come in."""
    q = use.quantizers[0]
    return q if q.quantize is None and q.constant and q.origin in ("qdq", "qoperator") else None


def _written(output: Use) -> Quantizer | None:
    """The grid on which integers leave."""
    q = output.quantizers[-1] if output.quantizers else None
    return q if q is not None and q.dequantize is None and q.constant and q.origin in ("qdq", "qoperator") else None


def _cache(before: float, behind: float, name: str = "past.0.key") -> Model:
    g = Graph()
    past = g.input(name) | u8(before, origin="qoperator")
    y: Wire = g.op("concat", past, g.input("k") | u8(behind, origin="qoperator"))
    model = g.model(y | u8(behind, origin="qoperator"))
    model.outputs[0].name = "present.0.key"
    return model


@rule.bad(says="the state present.0.key is written as uint8, scale 0.05, zero point 0 and read back as uint8, scale 0.04, zero point 0; the integers")
def key_value_cache() -> Model:
    return _cache(0.04, 0.05)


@rule.good
def one_grid() -> Model:
    return _cache(0.05, 0.05)


@rule.good
def near_miss_another_input() -> Model:
    return _cache(0.04, 0.05, "mask")
