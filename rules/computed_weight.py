"""A quantized weight is computed in the graph, from another constant.

## What it does

Finds weights of quantized operators that the graph transforms before it quantizes them: DoReFa's tanh and
normalization, QIL's interval, weight normalization, a batch-norm's factor. What only scales to the grid and
back belongs to the quantizer, and what only moves numbers (transpose, reshape) is looked through.

## Why it matters on hardware

Importers look for a constant in front of the quantizer. TensorRT's and SNPE's parsers do not fold what is in
between, and MQBench's deployment takes any weight that is no initializer for DoReFa's and puts its root through
tanh once more. Runtimes that fold constants (ONNX Runtime) are not bothered.

## Example

    weight ─► Tanh ─► Div(max|tanh|) ─ Q ─ DQ ─► conv

## Instead

    tanh(weight) / max|tanh(weight)| ─ Q ─ DQ ─► conv       # one constant

## Fix and its safety

Compute the weight once and store the result: safe, exact up to float rounding, and `--fix` does it. Most exporters do it if they are asked
(`do_constant_folding`, onnxsim), unless an operator such as Tanh is not on their list.

## References

- Zhou et al., DoReFa-Net, arXiv 1606.06160, equation 9
- MQBench, deploy/common.py: `weight_preprocess`
"""

from collections.abc import Iterator

from qlint.graph import Model, Use
from qlint.graph.kinds import CLASSES
from qlint.lint.rule import Issue, Rule
from qlint.lint.sweep import graphs
from qlint.lint.testing import Graph, s8, u8
from qlint.lint.training import sources
from qlint.lint.words import few

LOOKED_THROUGH = CLASSES["move"] | {"cast", "constant"}

rule = Rule(
    name="computed-weight",
    code="QL707",
    since="0.1.0",
    what="{port}{origin} is computed in the graph by {found}",
    why="parsers that want a constant in front of the quantizer do not find one",
    fix="compute it once, and store the result as the weight",
    cure="store",
    applicability="safe",
    per_kind=False,
)


@rule.check
def from_constants(model: Model) -> Iterator[Issue]:
    """Each quantized weight that is not what the file stores."""
    for graph in graphs(model):
        for op in graph.ops:
            use = op.uses.get("w") if op.kind in CLASSES["weighted"] else None
            if use is not None and use.quantizers and (kinds := _computes(use)):
                yield Issue.at(use, few(kinds), None, "computed")


def _computes(use: Use) -> list[str]:
    """What the weight goes through before it is quantized."""
    return [op.native for op in sources(use) if op.kind not in LOOKED_THROUGH and not any(group.startswith("decomposed_quantizer") for group in op.groups)]


def _transformed(kind: str) -> Model:
    g = Graph()
    weight = g.op(kind, g.constant(8, 8, 3, 3), name="transform")
    model = g.model(g.conv(g.input() | u8(), w=weight | s8()) | u8())
    model.ops[0].role = "constant"
    return model


@rule.bad(says="the weight (from transform) is computed in the graph by Tanh; parsers that want a constant")
def tanh_of_dorefa() -> Model:
    return _transformed("tanh")


@rule.good
def stored() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(), w=s8()) | u8())


@rule.good
def near_miss_a_transpose() -> Model:
    return _transformed("transpose")
