"""A suppression does not say why.

## What it does

Reports suppressions without a `reason`. Such a suppression accepts nothing: its findings still count.

## Why it matters on hardware

Whether a layer may run in float, or give other numbers, is a decision. Who meets the model a year later has to
know that somebody made it, and on what grounds.

## Example

    [[suppress]]
    rules = ["unquantized-output"]

## Instead

    [[suppress]]
    rules = ["unquantized-output"]
    reason = "the post-processing on the host wants float"

## Fix and its safety

Write the reason. No verdict changes.

## References

- golangci-lint, nolintlint: `require-explanation`
"""

from collections.abc import Iterator

from qlint.graph import Model
from qlint.lint.policy import Audit, Policy, Suppression
from qlint.lint.rule import Issue, Rule
from qlint.lint.testing import Graph, u8

rule = Rule(
    name="suppression-without-reason",
    code="QL903",
    since="0.1.0",
    what="suppression {number} in {source}, of {found}, has no reason",
    why="it accepts nothing until it has one",
    fix='add reason = "…"',
    severity="warning",
)


@rule.audit
def unreasoned(seen: Audit) -> Iterator[Issue]:
    """Every suppression that does not say why."""
    for one in seen.without_reason:
        yield Issue(found=str(one), facts={"number": str(one.number), "source": one.source})


def _softmax() -> Model:
    g = Graph()
    return g.model(g.op("softmax", g.input() | u8()))


@rule.bad(
    says="suppression 2 in qlint.toml, of QL304, has no reason; it accepts nothing until it has one",
    policy=lambda known: Policy(known, suppressions=[Suppression(("QL304",), source="qlint.toml", number=2)]),
)
def no_reason() -> Model:
    return _softmax()


@rule.good(policy=lambda known: Policy(known, suppressions=[Suppression(("QL304",), reason="the host wants float", source="qlint.toml")]))
def a_reason() -> Model:
    return _softmax()
