"""How often qlint is right: its placements against the answers of the real backends in the ledger.

    python tests/conformance/score.py [--backend B@T] [--corpus C] [--wrong N] [--markdown]

An op counts as right if qlint's placement is the oracle's; `absorbed` and `integer` are one class, and
`unknown` is always wrong. A model that only one side refuses counts wrong with all its ops; one that
both refuse has nothing to compare and counts in the outcomes alone.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import ledger
import probes

from qlint.graph import Model
from qlint.judge import Verdict, judge
from qlint.passes import canonical
from qlint.profile import Profile, load
from qlint.readers import read

CLASS = {"i": "integer", "a": "integer", "f": "float", "c": "cpu", "r": "rejected", "x": "cpu|rejected"}
OURS = {"integer": "integer", "absorbed": "integer", "float": "float", "cpu": "cpu", "rejected": "rejected", "unknown": "unknown"}
NOT_SCORED = ("quantize", "dequantize", "constant")
NETWORKS = ("defect", "random", "mutated", "tools")


@dataclass
class Score:
    """Counts over scored ops and models, and what was wrong."""

    ops: int = 0
    right: int = 0
    always_integer: int = 0
    false_integer: int = 0
    false_alarm: int = 0
    unknown: int = 0
    models: int = 0
    outcomes: int = 0  # models whose outcome is right
    changed: int = 0  # ops whose placement the defect changed against the clean twin
    recalled: int = 0
    groups: dict[str, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0]))
    wrong: list[str] = field(default_factory=list)

    def count(self, group: tuple[str, ...], ours: str, theirs: str, where: str) -> bool:
        """Add one op; returns whether it is right."""
        right = ours in theirs.split("|")
        self.ops += 1
        self.right += right
        self.always_integer += theirs == "integer"
        self.unknown += ours == "unknown"
        self.false_integer += not right and ours == "integer"
        self.false_alarm += not right and theirs == "integer"
        for name in group:
            self.groups[name][0] += right
            self.groups[name][1] += 1
        if not right:
            self.wrong.append(f"{where}: {ours}, the backend says {theirs}")
        return right

    @property
    def macro(self) -> float:
        """Mean over op kinds and factors of the share that is right."""
        return 100 * sum(r / n for r, n in self.groups.values()) / max(1, len(self.groups))


def placements(data: bytes, profile: Profile, cache: Path) -> tuple[Model, Verdict]:
    """qlint's verdict on a serialized model."""
    path = cache / "probe.onnx"
    path.write_bytes(data)
    model = canonical(read(path))
    return model, judge(model, profile)


def score(corpus: str, backend: str, target: str, seed: int = 0) -> Score:
    """qlint against the stored answers for one corpus."""
    result = Score()
    profile = load(f"{backend}@{target}")
    answers = ledger.read(corpus, backend, target) if not seed else ledger.read(f"{corpus}-{seed}", backend, target)
    with tempfile.TemporaryDirectory() as folder:
        for probe in probes.probes(corpus, seed):
            row = answers.get(probe.id)
            if row is None or row.outcome == "crashed":
                continue
            _one(result, probe, row, answers.get(probe.clean or ""), profile, Path(folder))
    return result


def _one(result: Score, probe: probes.Probe, row: ledger.Row, clean: ledger.Row | None, profile: Profile, folder: Path) -> None:
    model, verdict = placements(probe.model, profile, folder)
    result.models += 1
    result.outcomes += verdict.outcome == row.outcome
    if verdict.outcome == row.outcome == "refused":
        return
    ours = {op.index: verdict.of(op).where for op in model.ops}
    nodes = [node for node in model.nodes if node.kind not in NOT_SCORED]
    twin = clean.placements if clean is not None and len(clean.placements) == len(nodes) else None
    dimensions = tuple(f"{key}={value}" for key, value in probe.factors.items())
    for at, (node, letter) in enumerate(zip(nodes, row.placements, strict=True)):
        if letter == "s":
            continue
        theirs = "rejected" if row.outcome == "refused" else CLASS[letter]
        mine = "rejected" if verdict.outcome == "refused" else OURS[ours.get(node.index, "unknown")]
        why = verdict.refusals[0].claim if verdict.refusals else verdict.of_index(node.index)
        right = result.count((f"kind {node.kind}", *dimensions), mine, theirs, f"{probe.id} {node.label} ({node.kind}, {why}; {row.reason})")
        if twin is not None and twin[at] != "s" and CLASS[twin[at]] != theirs:
            result.changed += 1
            result.recalled += right


def backends() -> list[tuple[str, str]]:
    return [("ort-cpu", "x86"), ("ort-cpu", "arm"), ("qnn-htp", "v73")]


def rows(corpora: list[str], chosen: list[tuple[str, str]], seed: int = 0) -> Iterator[tuple[str, str, Score]]:
    for backend, target in chosen:
        for corpus in corpora:
            yield f"{backend}@{target}", corpus, score(corpus, backend, target, seed)


HEADER = "| backend | corpus | models | outcome | ops | agreement | always-integer | false integer | false alarms | recall | macro |"


def line(name: str, corpus: str, s: Score) -> str:
    """One row of the table; shares in percent."""

    def share(part: int, whole: int) -> str:
        return f"{100 * part / whole:.2f}" if whole else "–"

    return (
        f"| {name} | {corpus} | {s.models} | {share(s.outcomes, s.models)} | {s.ops} | {share(s.right, s.ops)} "
        f"| {share(s.always_integer, s.ops)} | {share(s.false_integer, s.ops)} | {share(s.false_alarm, s.ops)} "
        f"| {share(s.recalled, s.changed)} | {s.macro:.2f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", action="append", help="NAME@TARGET")
    parser.add_argument("--corpus", action="append")
    parser.add_argument("--seed", type=int, default=0, help="a fresh corpus, answered with regenerate.py --fresh SEED")
    parser.add_argument("--wrong", type=int, default=0, help="print this many wrong ops per row")
    options = parser.parse_args()
    chosen = [tuple(b.split("@")) for b in options.backend] if options.backend else backends()
    print(HEADER)
    print("|" + "---|" * (HEADER.count("|") - 1))
    for name, corpus, result in rows(options.corpus or probes.corpora(), chosen, options.seed):  # type: ignore[arg-type]
        print(line(name, corpus, result), flush=True)
        for wrong in result.wrong[: options.wrong]:
            print("   ", wrong)


if __name__ == "__main__":
    main()
