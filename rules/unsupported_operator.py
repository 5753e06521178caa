"""The backend has no integer kernel for an operator.

## What it does

Finds operators that no integer kernel of the backend covers, whatever quantizers they have.

## Why it matters on hardware

The operator runs in float or on the CPU. The integers in front of it are dequantized and those behind it
quantized again; on an accelerator the data travels to the host and back. One such operator in the middle
of a network can cost more than all convolutions together.

## Example

    conv ─► mish ─► conv

## Instead

    conv ─► relu ─► conv

## Fix and its safety

Replace the operator by one that the backend has, and train again. Unsafe. At the ends of the network it is
usually best left alone.

## References

- MQBench (arXiv 2111.03759), section 4.2: swish and squeeze-and-excite on integer hardware
- `qlint backend NAME` lists the kernels of a backend
"""

from qlint.graph import Model
from qlint.judge.verdict import ELSEWHERE, Mismatch
from qlint.lint.message import Facts
from qlint.lint.rule import Rule
from qlint.lint.testing import Graph, s8, u8
from qlint.lint.where import unestablished


def _nowhere(m: Mismatch) -> bool:
    """The backend has no integer kernel for any operator that is told to be quantized by the nodes around it, as far as is known."""
    return bool(m.found == "any operator")


def _alike(facts: Facts) -> bool:
    return len({cause.op.kind for cause in facts.causes if cause.op is not None}) == 1


def _why(facts: Facts) -> str:
    return f"{facts.backend} cannot run {facts.a_kind if _alike(facts) else 'them'} in integer"


def _not_established(facts: Facts) -> str:
    return f"whether {facts.backend} has {'one' if _alike(facts) else 'them'} is not established"


def _another(facts: Facts) -> str:
    """Of an operator that has an integer kernel where it is spelled otherwise."""
    return f"{facts.backend} {facts.runs} in integer only {'in another form' if facts.wanted == ELSEWHERE else f'as {facts.wanted}'}"


def _fix(facts: Facts) -> str:
    kind, it = (f"the {facts.kind}", "it") if _alike(facts) else ("them", "them")
    otherwise = f"leave {it} out of the quantized part of the network"
    if all(cause.wanted == "another backend" for cause in facts.causes):
        return "compile the float model, or choose a backend that has integer kernels"
    if all(cause.found == "any operator" for cause in facts.causes):
        return "try the model on the device, or ask its vendor"
    if facts.dimension == "native" and facts.wanted != ELSEWHERE:
        return f"write {it} as {facts.wanted}, or {otherwise}"
    if all(cause.consequence == "unknown" or cause.wanted == "not established" for cause in facts.causes):
        return f"try {kind} on the device, or {otherwise}"
    return f"replace {kind}, or {otherwise}"


rule = Rule(
    name="unsupported-operator",
    code="QL601",
    since="0.1.0",
    what="there is no integer kernel for {native}",
    why=_why,
    fix=_fix,
    per_kind=False,
)
rule.explains("kernel")
rule.explains("kernel", where=unestablished, what="no integer kernel is known for {native}", why=_not_established)
rule.explains(
    "kernel", where=_nowhere, model=lambda _: True, about=lambda _: "the backend",
    what="{backend} has no integer kernel for {found}", why="it rounds at quantizers and computes in float between them",
)
rule.explains(
    "kernel", where=(_nowhere, unestablished), model=lambda _: True, about=lambda _: "the backend",
    what="no integer kernel of {backend} is known for {found}", why="what it does with the quantizers of a model is not established",
)
rule.explains("native", why=_another)


@rule.bad(says="there is no integer kernel for Mish; toy cannot run a mish in integer, here the mish runs in float")
def mish() -> Model:
    g = Graph()
    return g.model(g.op("mish", g.input() | u8()) | u8())


@rule.bad(sites=2, says="2 mishes")
def one_finding_for_all() -> Model:
    g = Graph()
    y = g.conv(g.op("mish", g.input() | u8()) | u8(), w=s8()) | u8()
    return g.model(g.op("mish", y) | u8())


@rule.bad(says="no integer kernel is known for Erf; whether toy has one is not established, here it is not known how the erf runs")
def nobody_has_looked() -> Model:
    g = Graph()
    return g.model(g.op("erf", g.input() | u8()) | u8())


@rule.good
def supported() -> Model:
    g = Graph()
    return g.model(g.op("leaky_relu", g.input() | u8()) | u8())


@rule.good
def near_miss_not_even_a_known_operator() -> Model:
    g = Graph()
    return g.model(g.op("custom", g.input() | u8(), native="MyOp") | u8())
