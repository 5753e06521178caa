"""What would these models cost on each backend? A table of a whole folder, as tab-separated values.

    python examples/audit.py tests/zoo qnn-htp@v73 ort-cpu@arm
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import qlint


def rows(folder: Path, backends: list[str]) -> Iterator[tuple[object, ...]]:
    """(model, backend, outcome, ops, ops in integer, share of MACs in integer, the commonest rules)."""
    yield "model", "backend", "outcome", "ops", "integer", "integer_macs", "rules"
    report = qlint.check(sorted(folder.rglob("*.onnx")), backend=backends)
    for result in report.results:
        summary = result.summary
        rules = Counter(finding.rule for finding in result.findings)
        macs = "" if summary.integer_macs is None else f"{summary.integer_macs:.2f}"
        yield result.model, result.target, result.outcome, summary.ops, summary.integer, macs, " ".join(rule for rule, _ in rules.most_common(3))
    for error in report.errors:
        yield error.model, "", "not checked", "", "", "", error.message


if __name__ == "__main__":
    for row in rows(Path(sys.argv[1]), sys.argv[2:]):
        print(*row, sep="\t")
