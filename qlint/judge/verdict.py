"""What the judge says: which kernel took which ops, where each op runs, and why not in integer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from qlint.graph import Model, Op, Tensor
from qlint.profile.schema import EVIDENCE_STRENGTH, Evidence, Profile

Where = Literal["integer", "absorbed", "float", "cpu", "unknown", "rejected"]
Consequence = Literal["refused", "wrong", "cpu", "float", "unknown", "slow", "note"]
# Worst first, for sorting and for an op whose parts differ.
WORST: tuple[Where, ...] = ("rejected", "cpu", "float", "unknown", "integer", "absorbed")
SEVERITY: dict[Consequence, Literal["error", "warning", "info"]] = {
    "refused": "error", "wrong": "error", "cpu": "warning", "float": "warning",
    "unknown": "info", "slow": "info", "note": "info",
}  # fmt: skip


ELSEWHERE = "another operator"  # wanted by a kernel that takes a kind in every other spelling


class Miss(NamedTuple):
    """One requirement that a port, or a relation between ports, does not meet."""

    port: str
    dimension: str
    found: Any
    wanted: Any
    weight: int
    role: str = ""  # the op's role behind the port, where they differ
    op: Op | None = None  # the op of the chain it is about; the anchor if None
    tensor: Tensor | None = None
    readers: tuple[str, ...] = ()  # of a missing output quantizer: who reads the tensor without one
    beside: Tensor | None = None  # of a relation: what the tensor was compared with


class Mismatch(NamedTuple):
    """Why a better kernel did not take an op, or which check failed on the one that did."""

    kernel: str
    anchor: Op
    op: Op
    port: str
    tensor: Tensor | None
    dimension: str
    found: Any
    wanted: Any
    consequence: Consequence
    evidence: tuple[Evidence, ...] = ()
    trace: tuple[str, ...] = ()
    readers: tuple[str, ...] = ()
    chain: tuple[Op, ...] = ()


class Placement(NamedTuple):
    """Where one op runs. `kernel` is empty if none covers it; `basis` is the weakest evidence it rests on."""

    op: Op
    where: Where
    kernel: str = ""
    basis: str = ""
    note: str = ""
    chain: tuple[Op, ...] = ()


@dataclass(frozen=True, slots=True)
class RefusalReason:
    """A claim of the profile that makes the backend refuse the whole model, and the first node that meets it."""

    claim: str
    because: str
    op: Op | None
    found: str
    evidence: tuple[Evidence, ...]


@dataclass(eq=False)
class Verdict:
    """The cover of one model by one backend's kernels."""

    model: Model
    profile: Profile
    placements: dict[int, Placement] = field(default_factory=dict)  # by id() of the canonical op
    mismatches: list[Mismatch] = field(default_factory=list)
    refusals: list[RefusalReason] = field(default_factory=list)

    @property
    def outcome(self) -> Literal["runs", "refused"]:
        refused = self.refusals or any(p.where == "rejected" for p in self.placements.values())
        return "refused" if refused else "runs"

    def of(self, op: Op) -> Placement:
        """The placement of a canonical op."""
        return self.placements[id(op)]

    def of_index(self, index: int) -> str:
        """The kernel that took the op with this index in the file, for messages."""
        return next((p.kernel for p in self.placements.values() if p.op.index == index), "")

    def where(self, op: Op) -> Where:
        return self.placements[id(op)].where


def weakest(evidence: tuple[Evidence, ...]) -> str:
    """The kind of the weakest piece of evidence, or 'none'."""
    kinds = [e.kind for e in evidence]
    return max(kinds, key=EVIDENCE_STRENGTH.index) if kinds else "none"
