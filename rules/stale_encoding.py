"""An encoding cannot be about the model: no tensor has its name, or the tensor of that name has other channels or another range.

## What it does

Holds each entry of an encodings file against the model: whether there is a tensor of its name, whether the tensor has
as many channels (or blocks) as the entry, whether a weight comes near the range that the entry gives it, and whether
an activation whose bounds are known can fill it (softmax and sigmoid lie in 0 to 1, tanh in -1 to 1, behind a clip the bounds of
the clip). A weight is read to its end only if it is small, and a range is only reported where it is off by more than calibration
could have meant: four times too large, or a sixteenth of what the weight holds.

## Why it matters on hardware

Encodings go by name. After a new export the names are new, and converters take what they find and say nothing of the rest: these
tensors get a range from somewhere else, if they get one at all. Worse is a file whose names still match but whose network
was trained on, pruned or folded since: every value above the old range is cut off.

## Example

    encodings of conv1.weight: 32 channels        # the model's conv1.weight is 64×3×3×3

## Instead

    export encodings and model together, from the same network

## Fix and its safety

Export both anew. Unsafe: the numbers change, to those of the network that was trained.

## References

- qualcomm/aimet#3989, #4054: encodings that do not take effect
- MQBench (ModelTC/MQBench#254): every tensor has to have a range in the log of the converter
"""

from collections.abc import Iterator

from qlint.graph import Model, Quantizer, Tensor
from qlint.graph.encodings import Encoding, Encodings
from qlint.lint.message import Facts
from qlint.lint.rule import Issue, Rule
from qlint.lint.testing import Graph, s8, told, u8

WIDE, NARROW = 4.0, 1 / 16  # how much larger or smaller than what a weight holds no calibration makes a range
MAX_BYTES = 1 << 20  # of a weight that is read for this
FAR = 2.0  # by how much a range may pass the bounds of an activation (signed grids of tensors without negative values do)
BOUNDS: dict[str, tuple[float, float]] = {"softmax": (0.0, 1.0), "sigmoid": (0.0, 1.0), "hard_sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0)}


def _what(facts: Facts) -> str:
    first = facts.causes[0]
    return {
        "name": f"{facts.extra.get('share')} of {facts.extra.get('file')} name{'s' if len(facts.causes) == 1 else ''} no tensor of the model",
        "channels": f"the encoding in {facts.extra.get('file')} has {facts.found}, and the tensor {facts.wanted}",
        "range": f"the encoding in {facts.extra.get('file')} has the range {facts.found}, and the tensor {facts.wanted}",
    }[first.dimension]


rule = Rule(
    name="stale-encoding",
    code="QL808",
    since="0.1.0",
    what=_what,
    why="{meaning}",
    fix="export the encodings and the model together",
    severity="warning",
    per_kind=False,
)


@rule.check
def misfits(model: Model) -> Iterator[Issue]:
    """Names without a tensor, tensors of another size, ranges of another tensor."""
    told = model.encodings
    if told is None:
        return
    file, names = told.file, {entry.name for entry in told.entries}
    lost = {entry.name: entry for entry in told.unmatched}
    share = f"{len(lost)} of the {len(names)} entries"
    other = len(lost) > len(names) / 2
    meaning = "they are those of another network, or of another export of this one" if other else "the toolchain leaves them out and says nothing"
    for name in lost:
        yield Issue(None, "", Tensor(name), name, None, "name", severity="error" if other else None, facts={"file": file, "share": share, "meaning": meaning})
    unused = "no toolchain can use it for this tensor"
    for misfit in told.misfits:
        yield _at(misfit.tensor, misfit.found, misfit.wanted, "channels", file, unused)
    for entry, tensor in _pairs(told):
        if entry.grid is not None and (seen := _off(entry.grid, tensor)):
            yield _at(tensor, *seen[:2], "range", file, seen[2])


def _at(tensor: Tensor, found: str, wanted: str, dimension: str, file: str, meaning: str) -> Issue:
    use = next((use for use in tensor.uses if use.op is not None), None)
    op, port = (use.op, use.role) if use is not None and tensor.producer is None else (tensor.producer, "y")
    return Issue(op, port, tensor, found, wanted, dimension, facts={"file": file, "meaning": meaning})


def _pairs(told: Encodings) -> Iterator[tuple[Encoding, Tensor]]:
    out = {id(misfit.entry) for misfit in told.misfits}
    for entry in told.entries:
        tensor = told.matched.get(entry.name)
        if tensor is not None and id(entry) not in out and entry.input is None:
            yield entry, tensor


def _off(grid: Quantizer, tensor: Tensor) -> tuple[str, str, str] | None:
    """(range of the entry, what the tensor holds, what that means) if the two are too far apart."""
    span = grid.range
    if span is None or grid.grid != "affine" or grid.bits > 16:  # a bias of 32 bits has room to spare
        return None
    ends = f"{span[0]:.4g} to {span[1]:.4g}"
    if tensor.constant:
        held = _held(tensor)
        if held is None or not held[1] > held[0]:
            return None
        most, reach = max(-held[0], held[1]), max(-span[0], span[1])
        if NARROW * most <= reach <= WIDE * most:
            return None
        meaning = "everything beyond it is cut off" if reach < most else "most of its levels are never used"
        return ends, f"holds {held[0]:.4g} to {held[1]:.4g}", meaning
    bounds = _bounds(tensor)
    if bounds is None:
        return None
    low, high = bounds
    reach, most = max(-span[0], span[1]), max(-low, high)
    if span[1] <= 0 < high:
        return ends, f"has no value below {low:g}", "it has one level for all of them"
    return (ends, f"lies in {low:g} to {high:g}", "most of its levels are never used") if reach > FAR * most else None


def _bounds(tensor: Tensor) -> tuple[float, float] | None:
    """Between which values an activation lies, whatever the weights are."""
    op = tensor.producer
    if op is None:
        return None
    if op.kind == "clip":
        low, high = op.attrs.get("min"), op.attrs.get("max")
        return (low, high) if isinstance(low, (int, float)) and isinstance(high, (int, float)) and low < high else None
    return BOUNDS.get(op.kind)


def _held(tensor: Tensor) -> tuple[float, float] | None:
    """Smallest and largest element of a float constant that is not too large to be read."""
    data = tensor.data
    if data is None or data.nbytes > MAX_BYTES or data.dtype not in ("float32", "float64", "float16", "bfloat16"):
        return None
    values = data.array()
    return (float(values.min()), float(values.max())) if values.size else None


def _net(grid: Quantizer, **values: object) -> Model:
    g = Graph()
    w = g.constant(8, 8, 3, 3, name="w", **values)  # type: ignore[arg-type]
    return told(g.model(g.conv(g.input(), w=w, name="conv")), x=u8(), w=grid)


@rule.bad(says="old: 1 of the 2 entries of net.encodings names no tensor of the model; the toolchain leaves them out and says nothing [stale")
def renamed() -> Model:
    g = Graph()
    return told(g.model(g.conv(g.input())), x=u8(), old=u8())


@rule.bad(sites=3, says="3 of the 4 entries of net.encodings name no tensor of the model; they are those of another network, or of another export of this one")
def another_network() -> Model:
    g = Graph()
    return told(g.model(g.conv(g.input())), x=u8(), a=u8(), b=u8(), c=u8())


@rule.bad(says="conv: the encoding in net.encodings has 4 channels, and the tensor 8 channels (axis 0 of 8×8×3×3)")
def another_width() -> Model:
    return _net(s8([0.1] * 4, axis=None))


@rule.bad(says="conv: the encoding in net.encodings has the range -0.128 to 0.127, and the tensor holds -4 to 4; everything beyond it is cut off")
def trained_on() -> Model:
    return _net(s8(0.001), values=(4.0, -4.0) * 288)


@rule.bad(says="has the range 0 to 12.75, and the tensor lies in 0 to 1; most of its levels are never used")
def logits_of_a_softmax() -> Model:
    g = Graph()
    return told(g.model(g.op("softmax", g.input(), name="sm")), sm_out=u8(0.05))


@rule.good
def one_network() -> Model:
    return _net(s8([0.03] * 8, axis=None), values=(4.0, -4.0) * 288)


@rule.good
def near_miss_clipped_outliers() -> Model:
    return _net(s8(0.01), values=(4.0, -4.0) * 288)


@rule.good
def near_miss_signed_softmax() -> Model:
    g = Graph()
    return told(g.model(g.op("softmax", g.input(), name="sm")), sm_out=s8(1 / 127))


@rule.good
def near_miss_no_encodings() -> Model:
    g = Graph()
    return g.model(g.conv(g.input()))
