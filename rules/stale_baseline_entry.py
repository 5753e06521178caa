"""The baseline has a finding that is no longer there.

## What it does

Reports entries of the baseline that meet nothing, of rules that ran on the backend of the entry.
`qlint baseline update` takes them out, `qlint baseline check --strict` fails because of them.

## Why it matters on hardware

Somebody mended something. As long as the entry stands, the same defect can come back unseen.

## Example

    {"model": "resnet.onnx", "backend": "qnn-htp", "rule": "missing-add-quantizer", "node": "add_3", …}

of a model whose `add_3` has both quantizers by now.

## Instead

Update the baseline: it only shrinks.

## Fix and its safety

`qlint baseline update` prints what it adds and removes. No verdict changes.

## References

- SwiftLint, issue 6511: a baseline whose entries have been fixed should fail in strict mode
- ESLint, bulk suppressions: `--prune-suppressions`
"""

from collections.abc import Iterator, Sequence

from qlint.graph import Model
from qlint.lint.baseline import Accepted, Entry
from qlint.lint.fingerprint import Surroundings
from qlint.lint.policy import Audit, Policy
from qlint.lint.rule import Issue, Rule
from qlint.lint.testing import Graph, u8
from qlint.lint.words import few

rule = Rule(
    name="stale-baseline-entry",
    code="QL904",
    since="0.1.0",
    what="the baseline {baseline} has {found}, which {are} no longer there",
    why="the defect could come back unseen",
    fix="run `qlint baseline update`",
)


@rule.audit
def gone(seen: Audit) -> Iterator[Issue]:
    """All entries that met nothing."""
    if seen.gone:
        yield Issue(found=few([entry.line for entry in seen.gone]), facts={"baseline": seen.baseline, "are": "is" if len(seen.gone) == 1 else "are"})


def _softmax() -> Model:
    g = Graph()
    return g.model(g.op("softmax", g.input() | u8(), name="softmax"))


def _with(node: str, backend: str, known: Sequence[Rule]) -> Policy:
    model = _softmax()
    fingerprint = Surroundings(model).fingerprint("missing-output-quantizer", model.ops[0], "y")
    entry = Entry("a.onnx", backend, "missing-output-quantizer", node, "y", "softmax", "quantizer", "warning", fingerprint if node else "0" * 12)
    return Policy(known, accepted=Accepted("qlint-baseline.json", (entry,)))


@rule.bad(says="the baseline qlint-baseline.json has a.onnx: toy: missing-output-quantizer, y, which is no longer there", policy=lambda known: _with("", "toy", known))
def mended() -> Model:
    return _softmax()


@rule.good(policy=lambda known: _with("softmax", "toy", known))
def still_there() -> Model:
    return _softmax()


@rule.good(policy=lambda known: _with("", "another", known))
def near_miss_of_a_backend_that_was_not_asked() -> Model:
    return _softmax()
