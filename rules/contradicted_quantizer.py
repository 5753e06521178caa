"""The encodings file and the model have different quantizers for the same tensor.

## What it does

Compares the grid of each encoding with the quantizer that the model itself has on that tensor: scale, zero point and levels, to
what float32 keeps. Which of the two was judged depends on the format, as the toolchain has it: encodings and overrides
win over the model, a TensorRT calibration cache does not count where the model has quantizers.

## Why it matters on hardware

Somebody trained or simulated one of the two. The other one runs.

## Example

    conv1_out: scale 0.02 in the model, 0.04 in the file

## Instead

    export the file and the model together, or a model without quantizers

## Fix and its safety

Take the quantizers out of the model, or the entry out of the file. Unsafe: it decides which numbers are computed.

## References

- Qualcomm, QAIRT converter: --quantization_overrides win over the encodings of the model
- NVIDIA TensorRT, Developer Guide: a network with Q/DQ layers is not calibrated
"""

from collections.abc import Iterator

from qlint.graph import Model
from qlint.lint.rule import Issue, Rule
from qlint.lint.testing import Graph, s8, told, u8

rule = Rule(
    name="contradicted-quantizer",
    code="QL812",
    since="0.1.0",
    what="the model has {found}, and {file} {wanted}",
    why="{meaning}",
    fix="leave one of the two out",
    severity="warning",
    per_kind=False,
)


@rule.check
def differences(model: Model) -> Iterator[Issue]:
    """Tensors with a quantizer of the model that the file does not agree with."""
    told = model.encodings
    if told is None:
        return
    meaning = "the toolchain takes the file" if told.format.overrides else "the toolchain takes the model, and the file does not count"
    for entry, tensor, own in told.contradicted:
        if own.origin != "encodings":
            use = next((use for use in tensor.uses if use.op is not None), None)
            op, port = (use.op, use.role) if use is not None else (tensor.producer, "y")
            yield Issue(op, port, tensor, str(own), str(entry.grid), "grid", facts={"file": told.file, "meaning": meaning})


@rule.bad(says="conv: the model has uint8, scale 0.05, zero point 0, and net.encodings uint8, scale 0.04, zero point 0; the toolchain takes the file")
def another_scale() -> Model:
    g = Graph()
    return told(g.model(g.conv(g.input() | u8(0.05), w=s8(), name="conv")), x=u8(0.04))


@rule.good
def same() -> Model:
    g = Graph()
    return told(g.model(g.conv(g.input() | u8(0.05), w=s8(), name="conv")), x=u8(0.05))


@rule.good
def near_miss_another_container() -> Model:
    g = Graph()
    return told(g.model(g.conv(g.input() | u8(0.05, zp=128), w=s8(), name="conv")), x=s8(0.05))
