"""A suppression meets no finding.

## What it does

Reports suppressions that accepted nothing, in a configuration or in the file `MODEL.qlint.toml`. One is judged
only if every rule that it names has run, on a backend that it is about, and if every model that it is about was
checked: neither `--select` nor a run over a part of the models makes it look unused.

## Why it matters on hardware

What it accepted has been mended, or moved where it no longer applies. It would hide the next defect of this
kind in the same place.

## Example

    [[suppress]]
    rules = ["unfolded-batchnorm"]     # the batch norms have been folded since
    reason = "the first export had them"

## Instead

Remove it.

## Fix and its safety

Removing it changes no verdict.

## References

- ruff, rule unused-noqa (RUF100): the same for suppressions in source code
- golangci-lint, nolintlint: `allow-unused`
"""

from collections.abc import Iterator

from qlint.graph import Model
from qlint.lint.policy import Audit, Policy, Scope, Suppression
from qlint.lint.rule import Issue, Rule
from qlint.lint.testing import Graph, s8, u8

rule = Rule(
    name="unused-suppression",
    code="QL902",
    since="0.1.0",
    what="suppression {number} in {source} accepts {found}, which was not found",
    why="it would hide the next defect of that kind",
    fix="remove it",
    severity="warning",
)


@rule.audit
def idle(seen: Audit) -> Iterator[Issue]:
    """Every suppression that could have accepted something and did not."""
    for one in seen.idle:
        yield Issue(found=str(one), facts={"number": str(one.number), "source": one.source})


def _under(**scope: tuple[str, ...]) -> Suppression:
    return Suppression(("missing-output-quantizer",), Scope(**scope), reason="the next layer is in float anyway", source="model.onnx.qlint.toml")


def _missing_output() -> Model:
    g = Graph()
    return g.model(g.op("softmax", g.input() | u8(), name="softmax"))


@rule.bad(
    says="suppression 1 in model.onnx.qlint.toml accepts missing-output-quantizer (head), which was not found",
    policy=lambda known: Policy(known, suppressions=[_under(nodes=("head",))]),
)
def nothing_there() -> Model:
    return _missing_output()


@rule.good(policy=lambda known: Policy(known, suppressions=[_under(nodes=("soft*",), ops=("softmax",))]))
def it_accepts_something() -> Model:
    return _missing_output()


@rule.good(policy=lambda known: Policy(known, suppressions=[_under(backends=("another",))]))
def near_miss_about_a_backend_that_was_not_asked() -> Model:
    return _missing_output()


@rule.good(policy=lambda known: Policy([one for one in known if one.name != "missing-output-quantizer"], suppressions=[Suppression(("QL3",), reason="later")]))
def near_miss_accepts_what_other_rules_find() -> Model:
    g = Graph()
    return g.model(g.op("add", g.input() | u8(), g.conv(g.input("other") | u8(), w=s8())) | u8())
