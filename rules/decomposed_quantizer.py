"""A quantizer is spelled out in arithmetic: divide, round, clip, multiply.

## What it does

Recognises `x / s ─► Round ─► Clip ─► * s` on activations and weights, with a zero point, an offset or a
straight-through estimator, and says that it is a quantizer to the people who trained it and four float
operators to a backend. What the backend then says of missing quantizers is explained here.

## Why it matters on hardware

Compilers look for QuantizeLinear and DequantizeLinear. They compute the arithmetic in float, and the
convolution behind it too, as if the network had never been quantized; all that training for a grid was for
nothing, and the extra operators cost time.

## Example

    x ─► Div(0.1) ─► Round ─► Clip(-8, 7) ─► Mul(0.1) ─► conv

## Instead

    x ─► QuantizeLinear(0.1) ─► Clip(-8, 7) ─► DequantizeLinear(0.1) ─► conv

## Fix and its safety

Replace the group by a pair of QuantizeLinear and DequantizeLinear with the same scale, and an integer Clip
where the bounds are narrower than the type. Safe: the numbers stay the same, ties included (both round half
to even). A Floor in place of the Round needs half a step more in front: exact too.

## References

- MQBench issue 267: QDrop exports Div, Round, Clip and Mul
- Bengio et al., arXiv 1308.3432: the straight-through estimator
- Zhou et al., DoReFa-Net, arXiv 1606.06160, section 2.3
"""

from collections.abc import Iterator

from qlint.graph import Model, Op
from qlint.judge.verdict import Mismatch
from qlint.lint.rule import Issue, Rule
from qlint.lint.sweep import graphs
from qlint.lint.testing import Graph, Wire, quantizer, s8, u8
from qlint.lint.where import missing

GROUP = "decomposed_quantizer"


rule = Rule(
    name="decomposed-quantizer",
    code="QL104",
    since="0.1.0",
    what="a quantizer is spelled out in arithmetic",
    why=lambda facts: f"{facts.backend or 'a backend'} takes it for float operators",
    fix="export it as QuantizeLinear and DequantizeLinear with the same scale",
    severity="warning",
    per_kind=False,
)


def _group(op: Op | None) -> str | None:
    return next((group for group in op.groups if group.startswith(GROUP)), None) if op is not None else None


def _around(m: Mismatch) -> Op | None:
    """An op of the decomposed quantizer that a mismatch is about: its op is one, or its tensor comes from one or goes into one."""
    near = [m.anchor, *([m.tensor.producer, *(use.op for use in m.tensor.uses)] if m.tensor is not None else [])]
    return next((op for op in near if _group(op) is not None), None)


def _rounding(m: Mismatch) -> Op | None:
    """The op that rounds, which stands for the whole group."""
    op = _around(m)
    name, open_ops, seen = _group(op), [op], set[int]()
    while open_ops:
        op = open_ops.pop()
        if op is None or id(op) in seen or _group(op) != name:
            continue
        seen.add(id(op))
        for use in (use for tensor in op.outputs for use in tensor.uses):
            found = next((q.quantize for q in use.quantizers if q.origin == "decomposed"), None)
            if found is not None and _group(found) == name:
                return found
            open_ops.append(use.op)
    return None


def _any(model: Model) -> bool:
    return any(_group(op) is not None for op in model.walk())


rule.explains("quantizer", where=(missing, lambda m: _around(m) is not None), model=_any, about=_rounding)
rule.explains("kernel|constant", where=lambda m: _group(m.anchor) is not None, model=_any, about=_rounding)


@rule.check
def groups(model: Model) -> Iterator[Issue]:
    """Each group once, at the op that rounds."""
    for graph in graphs(model):
        for tensor in graph.tensors.values():
            for q in dict.fromkeys(q for use in tensor.uses for q in use.quantizers if q.origin == "decomposed"):
                yield Issue(q.quantize, found=str(q), dimension="arithmetic")


def _spelled(g: Graph, x: Wire) -> Wire:
    made = [g.op("div", x)]
    for kind in ("round", "clip", "mul"):
        made.append(g.op(kind, made[-1]))
    ops = [wire.tensor.producer for wire in made]
    for op in ops:
        assert op is not None
        op.groups = (f"{GROUP}:1",)
    return made[-1] | quantizer("int4", 0.1, origin="decomposed", quantize=ops[1], dequantize=ops[-1])


@rule.bad(says="a quantizer is spelled out in arithmetic, in the decomposed quantizer formed by")
def div_round_clip_mul() -> Model:
    g = Graph()
    return g.model(g.conv(_spelled(g, g.input()), w=s8()) | u8())


@rule.good
def a_pair_of_nodes() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(), w=s8()) | u8())


@rule.good
def near_miss_rounding_that_is_no_quantizer() -> Model:
    g = Graph()
    return g.model(g.op("round", g.op("div", g.input(), g.input("y"))))
