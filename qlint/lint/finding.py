"""What a rule found: one cause, every site of it, and the ops that it drags along."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from qlint.profile.schema import Evidence

Severity = Literal["error", "warning", "info"]
Applicability = Literal["safe", "unsafe", "display"]
# What `qlint check --fix` can do to files, by format: the names that rules give to their cures (`Rule.cure`).
GRIDS = frozenset({"quantizers", "insert", "single", "read-as-written", "half-range"})  # those that are about quantizers
SEARCHED = frozenset({"quantizers", "insert"})  # those that follow from what a backend misses, over all findings at once
WRITABLE: dict[str, frozenset[str]] = {
    "onnx": GRIDS | {"remove", "rename", "sort", "fold", "opset", "explicit", "store", "equalize"},
    "tflite": SEARCHED | {"remove", "single"},
    "pt2": GRIDS | {"remove", "fold"},
    "torchscript": SEARCHED | {"freeze", "fold", "half-range"},  # operators with --trust only
}
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")  # worst first
SHOWN = 3  # sites that a one-line subject names


@dataclass(frozen=True, slots=True)
class Site:
    """One place where the cause shows. `op` is the op's label; found and wanted are plain data.

    `fingerprint` is the same after a renaming export; baselines compare sites, not findings, so that
    mending one of eight adds does not make the other seven look new.
    """

    op: str
    port: str = ""
    tensor: str = ""
    found: Any = None
    wanted: Any = None
    kind: str = ""
    fingerprint: str = ""
    dimension: str = ""  # of what was found: storage, zero_point …


@dataclass(frozen=True, slots=True)
class Fix:
    """What would cure the finding. `display` is advice only; `safe` and `unsafe` can be applied."""

    applicability: Applicability
    text: str


@dataclass(frozen=True, slots=True)
class Suppressed:
    """Why a finding does not count: a suppression, with its reason and the file it stands in, or the baseline."""

    by: Literal["suppression", "baseline"]
    reason: str
    source: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One cause. `rule` and `code` name the rule; `drags` are other ops that lose integer because of it.

    `message` does not name the sites. It has two clauses, parted by `; `: what was found, and what that
    means here. `subject` names the sites, `line` is subject, message and rule in one sentence.
    """

    rule: str
    code: str
    severity: Severity
    consequence: str  # refused, wrong, cpu, float, unknown, slow, note
    message: str
    sites: tuple[Site, ...]
    drags: tuple[str, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    fix: Fix | None = None
    fingerprint: str = ""
    suppressed: Suppressed | None = None  # of one that counts: None

    def at_least(self, severity: Severity) -> bool:
        """Whether this finding is as severe as `severity`, or more so."""
        return SEVERITIES.index(self.severity) <= SEVERITIES.index(severity)

    @property
    def clauses(self) -> tuple[str, str]:
        """(what was found, what it means here); the second is empty if there is nothing to add."""
        what, _, meaning = self.message.partition("; ")
        return what, meaning

    @property
    def subject(self) -> str:
        """`layer1.0.add`, or `8 adds: layer1.0.add, layer1.1.add, layer2.0.add … (5 more)`."""
        from qlint.lint.words import counted

        kinds = {site.op: site.kind for site in self.sites}  # an op with two bad inputs counts once
        ops = list(kinds)
        if len(ops) < 2:
            return ops[0] if ops else "the model"
        more = f" … ({len(ops) - SHOWN} more)" if len(ops) > SHOWN else ""
        return f"{counted(list(kinds.values()))}: {', '.join(ops[:SHOWN])}{more}"

    @property
    def line(self) -> str:
        """The whole finding as one line."""
        return f"{self.subject}: {self.message} [{self.rule} {self.code}]"
