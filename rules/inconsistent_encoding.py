"""An encoding says two things that cannot both hold.

## What it does

Finds entries of an encodings file whose scale, offset and bit width make another range than the `min` and `max` beside them, whose min
is above the max, whose range leaves out zero, whose offset does not fit the bit width or the symmetry that is claimed, and
whose lists are of different lengths; and tensors with two entries that differ. An end of the range may be off by one step,
which is what rounding the zero point does.

## Why it matters on hardware

Each tool reads other fields: one takes the scale and the offset, another min and max. What was simulated and what runs are then
two networks, and no message says so. Zero has to be on the grid, as padding is zero: converters move such a range, and its numbers.

## Example

    {"bitwidth": 4, "min": -1.0, "max": 0.992, "scale": 0.0078, "offset": -128}      # the scale is that of 8 bits

## Instead

    {"bitwidth": 8, "min": -1.0, "max": 0.992, "scale": 0.0078, "offset": -128}

## Fix and its safety

Export the encodings again; do not edit single fields. Unsafe: the numbers change where the wrong field was used.

## References

- AIMET, Encoding Format Specification
- Qualcomm, SNPE, Quantized vs Non-Quantized Models: min and max are adjusted so that zero is exactly representable
- MQBench at 00f477d, deploy_linear.py: an unsigned zero point wraps around in `quant_min - zero_point`, and min is above max;
  `bit` is the floor of log2 of the levels, 7 for [-127, 127] (ModelTC/MQBench#137)
"""

from collections.abc import Iterator

from qlint.graph import Model, Tensor
from qlint.lint.rule import Issue, Rule
from qlint.lint.testing import Graph, s8, told, u8

rule = Rule(
    name="inconsistent-encoding",
    code="QL810",
    since="0.1.0",
    what="the encoding in {file} has {found}, where there should be {wanted}",
    why="tools that read other fields compute other numbers",
    fix="export the encodings again",
    severity="warning",
    per_kind=False,
)


@rule.check
def contradictions(model: Model) -> Iterator[Issue]:
    """Entries against themselves, and against another entry of the same tensor."""
    told = model.encodings
    for entry in told.entries if told is not None else ():
        if told is not None and entry.contradiction is not None:
            tensor = told.matched.get(entry.name)
            use = next((use for use in tensor.uses if use.op is not None), None) if tensor is not None else None
            port = use.role if use is not None and tensor is not None and tensor.producer is None else "y"
            op = use.op if use is not None and port != "y" else tensor.producer if tensor is not None else None
            found, wanted = entry.contradiction
            yield Issue(op, port if op is not None else "", tensor or Tensor(entry.name), found, wanted, "entry", facts={"file": told.file})
    for entry, tensor, other in told.contradicted if told is not None else ():
        if told is not None and other.origin == "encodings":
            yield Issue(tensor.producer, "y" if tensor.producer else "", tensor, f"a second entry, {entry.grid}", f"{other}, as in the first", "twice", facts={"file": told.file})


@rule.bad(says="conv: the encoding in net.encodings has min 3 and max 2, where there should be a min below the max; tools that read other fields")
def wrapped_around() -> Model:
    g = Graph()
    return told(g.model(g.conv(g.input(), name="conv")), contradictions={"x": ("min 3 and max 2", "a min below the max")}, x=u8())


@rule.bad(says="y: the encoding in net.encodings has offset 5")
def of_no_tensor() -> Model:
    g = Graph()
    return told(g.model(g.conv(g.input(), name="conv")), contradictions={"y": ("offset 5", "one from -255 to 0")}, x=u8(), y=u8())


@rule.good
def consistent() -> Model:
    g = Graph()
    return told(g.model(g.conv(g.input(), w=s8(), name="conv")), x=u8())


@rule.good
def near_miss_no_encodings() -> Model:
    g = Graph()
    return g.model(g.conv(g.input()))
