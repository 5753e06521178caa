"""How often qlint is right: its placements against the answers of the real backends in the ledger.

    python tests/conformance/score.py [--backend B@T] [--corpus C] [--wrong N] [--markdown]

An op counts as right if qlint's placement is the oracle's; `absorbed` and `integer` are one class, and
`unknown` is always wrong. A model that only one side refuses counts wrong with all its ops; one that
both refuse has nothing to compare and counts in the outcomes alone. `recall` is over the ops that a defect
moved: those whose placement, by the name of the node, is another one than in the clean twin; there a model
that both refuse counts too, as it is the defect that made them rejected. `wrong found` is the share of the ops
with wrong numbers that qlint says so of, `false wrong` the share of the others of which it says so, too.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import ledger
import probes
from regenerate import BACKENDS, form

from qlint.graph import Model, Op
from qlint.judge import Verdict, judge
from qlint.passes import canonical
from qlint.profile import Profile, load
from qlint.readers import read

CLASS = {"i": "integer", "w": "integer", "a": "integer", "f": "float", "c": "cpu", "r": "rejected", "x": "cpu|rejected"}
OURS = {"integer": "integer", "absorbed": "integer", "float": "float", "cpu": "cpu", "rejected": "rejected", "unknown": "unknown"}
NOT_SCORED = ("quantize", "dequantize", "constant")
FEW = 3  # answers that contradict a claim; fewer are a gap in what it says, and counted in the agreement


Placed = dict[str, str]  # node → where the backend ran it


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
    compares_numbers: bool = False  # whether the oracle was asked about numbers, not about places alone
    off: int = 0  # ops in integer with wrong numbers
    off_found: int = 0
    off_false: int = 0
    claims: dict[str, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0]))  # of the profile: answers that agree, and that do not
    stale: int = 0  # probes without an answer, or with one about other bytes
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

    def numbers(self, off: bool, said: bool, where: str) -> None:
        """Add one op that runs: whether its numbers are wrong, and whether qlint says so."""
        self.off += off
        self.off_found += off and said
        self.off_false += said and not off
        if off != said:
            self.wrong.append(f"{where}: {'nothing' if off else 'wrong numbers'}, the backend {'is off' if off else 'is right'}")

    def claim(self, name: str, agrees: bool) -> None:
        """Add an answer to what one claim of the profile says."""
        self.claims[name][not agrees] += 1

    @property
    def contradicted(self) -> dict[str, list[int]]:
        """Claims that the ledger contradicts: more than a tenth of at least a few answers are others."""
        return {name: counts for name, counts in self.claims.items() if counts[1] >= FEW and counts[1] > sum(counts) / 10}

    @property
    def macro(self) -> float:
        """Mean over op kinds and factors of the share that is right."""
        return 100 * sum(r / n for r, n in self.groups.values()) / max(1, len(self.groups))


def placements(data: bytes, profile: Profile, cache: Path) -> tuple[Model, Verdict]:
    """qlint's verdict on a serialized model."""
    path = cache / "probe"
    path.write_bytes(data)
    model = canonical(read(path))
    return model, judge(model, profile)


@lru_cache(8)
def generated(corpus: str, seed: int) -> tuple[probes.Probe, ...]:
    """The probes of a corpus, which every backend is asked about."""
    return tuple(probes.probes(corpus, seed))


def score(corpus: str, backend: str, target: str, seed: int = 0, every: int = 1) -> Score:
    """qlint against the stored answers for one corpus; `every` third probe or the like gives a hint of it, without the recall."""
    result = Score()
    profile = load(f"{backend}@{target}")
    answers = ledger.read(f"{corpus}-{seed}" if seed else corpus, backend, target)
    result.compares_numbers = any("w" in row.placements for row in answers.values())
    twins: dict[str, Placed] = {}
    with tempfile.TemporaryDirectory() as folder:
        for probe in generated(corpus, seed)[::every]:
            row = answers.get(probe.id)
            if row is None or row.sha != ledger.digest(probe.model):
                result.stale += 1
            elif row.outcome != "crashed":
                placed = _one(result, probe, row, twins.get(probe.clean or "", {}), profile, Path(folder))
                if probe.clean is None:
                    twins[probe.id] = placed
    return result


def _one(result: Score, probe: probes.Probe, row: ledger.Row, twin: Placed, profile: Profile, folder: Path) -> Placed:
    """Count one probe; returns where the backend ran its nodes."""
    model, verdict = placements(probe.model, profile, folder)
    result.models += 1
    result.outcomes += verdict.outcome == row.outcome
    if verdict.outcome != row.outcome:
        because = verdict.refusals[0].claim if verdict.refusals else next((f"{p.op.label} has no kernel" for p in verdict.placements.values() if p.where == "rejected"), "")
        result.wrong.append(f"{probe.id}: the model {verdict.outcome} {because}, the backend says {row.outcome}; {row.reason}")
    for refusal in verdict.refusals:
        result.claim(f"refusal {refusal.claim}", row.outcome == "refused")
    both_refuse = verdict.outcome == row.outcome == "refused"
    canonical_ops = {op.index: op for op in model.ops}
    ours = {op.index: verdict.of(op).where for op in model.ops}
    wrong = {m.op.index for m in verdict.mismatches if m.consequence == "wrong"}
    nodes = [node for node in model.nodes if node.kind not in NOT_SCORED]
    dimensions = tuple(f"{key}={value}" for key, value in probe.factors.items())
    placed: Placed = {}
    for number, (node, letter) in enumerate(zip(nodes, row.placements, strict=True)):
        if letter == "s":
            continue
        name = node.label if model.format == "onnx" else f"{node.native}:{number}"  # a TFLite file numbers the Q and DQ, too
        theirs = placed[name] = "rejected" if row.outcome == "refused" else CLASS[letter]
        right = both_refuse
        if not both_refuse:
            if row.outcome == verdict.outcome == "runs":
                result.numbers(letter == "w", node.index in wrong, f"{probe.id} {node.label} ({node.kind}; {row.reason})")
            mine = "rejected" if verdict.outcome == "refused" else OURS[ours.get(node.index, "unknown")]
            why = verdict.refusals[0].claim if verdict.refusals else verdict.of_index(node.index)
            if row.outcome == verdict.outcome == "runs" and node.index in canonical_ops:
                told = node.index in wrong and result.compares_numbers
                result.claim(_claim(verdict, canonical_ops[node.index], told), OURS[ours[node.index]] in theirs.split("|") and (letter == "w" or not told))
            right = result.count((f"kind {node.kind}", *dimensions), mine, theirs, f"{probe.id} {node.label} ({node.kind}, {why}; {row.reason})")
        if not set(twin.get(name, theirs).split("|")) & set(theirs.split("|")):
            result.changed += 1
            result.recalled += right
    return placed


def _claim(verdict: Verdict, op: Op, wrong: bool) -> str:
    """What places an op: a kernel, a check of one that fails, a kernel whose numbers are said to be wrong, or the fallback."""
    kernel = verdict.of(op).kernel
    if wrong:
        return f"kernel {kernel}, wrong numbers"
    failed = any(m.op is op and m.kernel == kernel and kernel for m in verdict.mismatches)
    return f"kernel {kernel}, a check" if failed else f"kernel {kernel}" if kernel else "fallback"


def backends() -> list[tuple[str, str]]:
    return [(name, target) for name, _, target in (each.partition("@") for each in BACKENDS)]


def rows(corpora: list[str] | None, chosen: list[tuple[str, str]], seed: int = 0) -> Iterator[tuple[str, str, Score]]:
    for backend, target in chosen:
        for corpus in corpora or probes.corpora(seed > 0, form(backend)):
            found = score(corpus, backend, target, seed)
            if found.models or not seed:  # not every backend was asked about the fresh seed
                yield f"{backend}@{target}", corpus, found


HEADER = "| backend | corpus | models | outcome | ops | agreement | always-integer | false integer | false alarms | recall | wrong found | false wrong | macro |"


def line(name: str, corpus: str, s: Score) -> str:
    """One row of the table; shares in percent."""

    def share(part: int, whole: int) -> str:
        return f"{100 * part / whole:.2f}" if whole else "–"

    return (
        f"| {name} | {corpus} | {s.models} | {share(s.outcomes, s.models)} | {s.ops} | {share(s.right, s.ops)} "
        f"| {share(s.always_integer, s.ops)} | {share(s.false_integer, s.ops)} | {share(s.false_alarm, s.ops)} "
        f"| {share(s.recalled, s.changed)} | {share(s.off_found, s.off)} | {share(s.off_false, s.ops)} | {s.macro:.2f} |"
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
    seeds = [options.seed] if options.seed or options.corpus else [0, *probes.FRESH]
    for seed in seeds:
        for name, corpus, result in rows(options.corpus, chosen, seed):  # type: ignore[arg-type]
            print(line(name, f"{corpus}, seed {seed}" if seed else corpus, result), flush=True)
            if result.stale:
                print(f"    {result.stale} probes without an answer to them: run `make oracles`")
            for claim, (agree, differ) in result.contradicted.items():
                print(f"    {claim}: contradicted by {differ} of {agree + differ} answers")
            for wrong in result.wrong[: options.wrong]:
                print("   ", wrong)


if __name__ == "__main__":
    main()
