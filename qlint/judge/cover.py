"""Judging: cover the graph with the backend's kernels, then say where each op runs and why not in integer."""

from __future__ import annotations

from collections.abc import Iterator

from qlint.graph import Model, Op, Tensor, Use
from qlint.graph.building import building
from qlint.judge.explain import explain
from qlint.judge.groups import uncut
from qlint.judge.kernels import Kernels, Ready
from qlint.judge.memory import conflicts, habits_of, unsliced
from qlint.judge.partition import constants_alone, declared_twice
from qlint.judge.pattern import Chain
from qlint.judge.ports import ports
from qlint.judge.prepare import Prepared, prepare
from qlint.judge.refusals import Nodes, refusals
from qlint.judge.segments import behind
from qlint.judge.situations import Candidate, Settled, Situations
from qlint.judge.spelled import Spelled
from qlint.judge.verdict import Consequence, Mismatch, Miss, Placement, RefusalReason, Verdict, Where, weakest
from qlint.profile.schema import Check, Evidence, Kernel, Memory, Partition, Profile

# Where an op runs when a check fails; None: the check does not move it.
_PLACE: dict[str, Where | None] = {
    "cpu": "cpu", "float": "float", "rejected": "rejected", "refused": "rejected", "unknown": "unknown",
    "wrong": None, "slow": None, "note": None,
}  # fmt: skip
# Why a step of the backend's own leaves an invalid model behind.
_BROKEN = {
    "storage": "also in a pair that was inserted: the type in its attributes no longer fits",
    "strip": "and what gives the tensor cannot take over the name of a graph output",
}
_RELATIONS = {"bias_scale", "same", "same_storage"}
CONSEQUENCE: dict[Where, Consequence] = {"cpu": "cpu", "float": "float", "unknown": "unknown", "rejected": "refused"}


def judge(model: Model, profile: Profile, *, fallback: bool = True, settled: Settled | None = None) -> Verdict:
    """Hold a canonical model against a backend. `fallback=False`: what would leave the backend is rejected.

    `settled` is what judging with this profile has settled before; it saves time where a model is judged again and again.
    """
    verdict = Verdict(model, profile)
    settled = settled or Settled(Kernels(profile))
    with building():
        for graph, around in _graphs(model):
            judged = _Judge(graph, settled, verdict, fallback)
            if around is not None and profile.bodies == "left":
                judged.leave(around)
            else:
                judged.run()
    return verdict


def _graphs(model: Model, around: Op | None = None) -> Iterator[tuple[Model, Op | None]]:
    """The graph and the bodies of control flow in it, each with the outermost op that holds it."""
    yield model, around
    for op in model.ops:
        for body in op.bodies.values():
            yield from _graphs(body, around or op)


def _meant(kernel: Kernel, op: Op) -> bool:
    """Whether an op has a native name that a kernel is for."""
    return all(not guard.native or op.native in guard.native for guard in kernel.guards)


def _of_shapes(op: Op, where: Where) -> bool:
    """Whether an op only computes shapes, which is no arithmetic of the network."""
    return op.role == "shape" and where in ("float", "integer", "unknown")


class _Judge:
    def __init__(self, model: Model, settled: Settled, verdict: Verdict, fallback: bool) -> None:
        self.model, self.kernels, self.verdict, self.fallback = model, settled.kernels, verdict, fallback
        self.profile = self.kernels.profile
        self.prepared: Prepared = prepare(model, self.profile)
        self.situations = Situations(settled, self.prepared)
        self.nodes = Nodes(model, self.situations)
        self.spared: dict[str, bool] = {}  # kernels that the rest of the graph keeps from being selected, or does not
        self.taken: dict[int, tuple[Ready, Chain]] = {}
        self.failed: dict[int, tuple[Check, list[Miss]]] = {}
        self.conflicting: dict[int, Mismatch] = {}

    def run(self) -> None:
        if self.prepared.converted and self.profile.conversion == "unknown":
            self._leave_open()
            return
        self.verdict.refusals += refusals(self.nodes, self.profile)
        for step, op in self.prepared.broken[:1]:
            because = f"{step.because or step.id}, {_BROKEN[step.step]}"
            self.verdict.refusals.append(RefusalReason(step.id, because, op, f"opset {op.opset}" if op else "", self.kernels.evidence(step.evidence)))
        for op in self.model.ops:
            if id(op) not in self.taken and id(op) not in self.prepared.removed:
                self._cover(op)
        for op in self.model.ops:
            if id(op) in self.prepared.removed:
                self._place_removed(op)
            elif id(op) not in self.verdict.placements:
                self._place_uncovered(op)
        self._partition()
        if self.profile.misplaced_evidence:
            self._memory()
        if self.profile.segments == "one":
            self._segments()
        for op in self.model.ops:
            self._explain(op)

    def leave(self, around: Op) -> None:
        """A body of control flow that the backend does not look into: all of it stays outside, with the op that holds it."""
        if self.prepared.converted and self.profile.conversion == "unknown":
            self._leave_open()
            return
        evidence = self.kernels.evidence(self.profile.bodies_evidence)
        for op in self.model.ops:
            if op.role == "constant":
                self._cover(op)
                continue
            self._place_uncovered(op)
            where = self.verdict.where(op)
            self.verdict.placements[id(op)] = self.verdict.placements[id(op)]._replace(basis=weakest(evidence))
            if op.role == "data" and not op.bodies:
                self.verdict.mismatches.append(
                    Mismatch("", op, op, "", None, "body", around.label, "no control flow around", CONSEQUENCE[where], evidence, (), (), (op,))
                )

    def _leave_open(self) -> None:
        """A file of another format, of which the profile's claims tell nothing."""
        for op in self.model.ops:
            where: Where = "absorbed" if op.role == "constant" else "unknown"
            self.verdict.placements[id(op)] = Placement(op, where, basis="none", chain=(op,))

    # -- cover ---------------------------------------------------------------------------------

    def _cover(self, op: Op) -> None:
        if op.role == "constant":
            self.verdict.placements[id(op)] = Placement(op, "absorbed", note="computed once from constants")
            return
        run = self.situations.run(op)
        for one in self.situations.candidates(run):
            chain = run.chain(one.length)
            if one.length > 1 and any(id(member) in self.taken for member in chain.members[1:]):
                continue
            if one.left.hold(chain, self.prepared) and not self._spared(one.ready.kernel):
                self._take(one, chain)
                return

    def _spared(self, kernel: Kernel) -> bool:
        if not kernel.unless:
            return False
        if kernel.id not in self.spared:
            self.spared[kernel.id] = self.nodes.some(kernel.unless)
        return self.spared[kernel.id]

    def _take(self, one: Candidate, chain: Chain) -> None:
        ready = one.ready
        for member in chain.members:
            self.taken[id(member)] = (ready, chain)
        where: Where = "rejected" if ready.kernel.runs == "refused" else ready.kernel.runs
        refused, count = ready.kernel.runs == "refused", len(ready.checks)
        for number, left in one.checks:
            check, wanted = ready.checks[number]
            if (left is None or not left.hold(chain, self.prepared)) and (misses := list(wanted.misses(chain, self.prepared))):
                self.failed[id(chain.anchor)] = (check, misses)
                refused = check.otherwise == "refused" or (refused and _PLACE[check.otherwise] is None)
                where, count = _PLACE[check.otherwise] or where, number + 1
                break
        evidence = ready.cited[count]
        if refused:
            self.verdict.refusals.append(
                RefusalReason(ready.kernel.id, ready.kernel.title or ready.kernel.id, chain.anchor, "", self.kernels.evidence(evidence))
            )
        basis = self.kernels.basis(evidence + self._prepared_evidence(chain))
        for member in chain.members:
            self._place(member, where, ready, chain, basis)

    def _place(self, op: Op, where: Where, ready: Ready, chain: Chain, basis: str) -> None:
        if (where == "integer" and op is not chain.anchor) or _of_shapes(op, where):
            where = "absorbed"
        if where == "cpu" and not self.fallback:
            where = "rejected"
        self.verdict.placements[id(op)] = Placement(
            op, where, ready.kernel.id, basis, ready.kernel.note, chain.members
        )

    def _prepared_evidence(self, chain: Chain) -> tuple[str, ...]:
        if not self.prepared.steps:
            return ()
        tensors: list[Tensor] = [use.tensor for op in chain.ops for use in op.uses.values()]
        tensors += [tensor for op in chain.ops for tensor in op.outputs]
        steps = {step.id: step for tensor in tensors for step in self.prepared.trace(tensor)}
        return tuple(name for step in steps.values() for name in step.evidence)

    def _place_removed(self, op: Op) -> None:
        """What was removed is where the float tensor is that it passed on; it is nowhere if that is quantized."""
        quantized = all(self.prepared.of(use) for use in self.prepared.uses(op.outputs[0]))
        before = None if quantized else self.verdict.placements.get(id(op.uses["x"].tensor.producer))
        where: Where = "absorbed" if before is None or before.where == "integer" else before.where
        steps = [step for step in self.profile.prepare if step.step == "remove"]
        basis = weakest(tuple(e for step in steps for e in self.kernels.evidence(step.evidence)))
        self.verdict.placements[id(op)] = Placement(op, where, basis=basis, note="removed", chain=(op,))

    def _place_uncovered(self, op: Op) -> None:
        where: Where = "rejected" if self.profile.fallback == "none" else self.profile.fallback
        if where == "cpu" and not self.fallback:
            where = "rejected"
        basis = weakest(self.kernels.evidence(self.profile.fallback_evidence))
        if self.profile.world == "open":
            where, basis = "unknown", "none"
        if _of_shapes(op, where):
            where = "absorbed"
        self.verdict.placements[id(op)] = Placement(op, where, basis=basis, chain=(op,))

    def _partition(self) -> None:
        """What the backend takes cannot be cut out of the graph: it refuses the model."""
        cut = self.profile.partition
        if cut is None:
            return
        if cut.how == "groups":
            if not self.prepared.converted:  # a converter writes dequantizes anew
                self._groups(cut)
            return

        def covered(op: Op) -> tuple[bool, bool]:
            ready, _ = self.taken.get(id(op), (None, None))
            return ready is not None and self.verdict.where(op) in ("float", "integer", "absorbed"), ready is not None and ready.unit

        if alone := constants_alone(self.model.ops, covered, self.kernels.lone_constants, self.kernels.spaces, self.prepared):
            names = ", ".join(port.tensor.name for port in alone if port.tensor is not None)
            self.verdict.refusals.append(RefusalReason("partition", cut.because, alone[0].op, names, self.kernels.evidence(cut.evidence)))

    def _groups(self, cut: Partition) -> None:
        chains: dict[bool, dict[int, Chain]] = {True: {}, False: {}}  # units and others
        for ready, chain in self.taken.values():
            chains[ready.unit][id(chain.anchor)] = chain
        found = uncut(self.model, chains[True].values(), chains[False].values())
        if found is not None:
            self.verdict.refusals.append(RefusalReason("partition", cut.because, found.outside, found.dequantize.label, self.kernels.evidence(cut.evidence)))

    def _memory(self) -> None:
        """Ops that do not find their inputs in the memory that the compiler planned: it refuses the model."""

        def memory(op: Op) -> tuple[Memory, bool] | None:
            ready, chain = self.taken.get(id(op), (None, None))
            where = self.verdict.where(op)
            if id(op) in self.prepared.removed and where in ("float", "absorbed"):
                return "either", where == "absorbed"
            if ready is None or chain is None or where not in ("float", "integer", "absorbed"):
                return None
            return ready.kernel.memory if op is chain.anchor else "either", where != "float"

        units = {number for number, (ready, _) in self.taken.items() if ready.unit}
        known: dict[int, bool] = {}

        def cut(use: Use) -> bool:
            found = known.get(id(use))
            if found is None:
                found = known[id(use)] = taken_apart(use)
            return found

        def taken_apart(use: Use) -> bool:
            """The quantizer of this edge is not taken by itself, and not on both sides with a unit."""
            if use.op is None or not self.prepared.of(use) or (id(use.op) in units and id(use.tensor.producer) in units):
                return False
            port = ports(Chain((use.op,)), use.role, self.prepared)[0]
            return bool(self.kernels.spaces.misses(self.kernels.lone_constants, port))

        habits = habits_of(self.model.ops, memory)
        if self.profile.partition is not None and (once := self.profile.partition.inputs) is not None:
            for use in declared_twice(self.model, habits, cut, self.prepared):
                self.verdict.refusals.append(RefusalReason("inputs", once.because, use.op, use.tensor.name, self.kernels.evidence(once.evidence)))
        for op, use in list(unsliced(self.model.ops, habits, cut)):
            habits.pop(id(op), None)
            placed = self.verdict.placements[id(op)]
            evidence = self.kernels.evidence(self.taken[id(op)][0].kernel.evidence)
            found, wanted = "outside of its graph", "an operator of its own"
            self._reject(op, use, "produced_by", found, wanted, evidence, ())
            self.verdict.refusals.append(RefusalReason(placed.kernel, f"{use.tensor.name} comes in from {found} and has to be sliced", op, found, evidence))
        if self.profile.misplaced == "refused":
            evidence = self.kernels.evidence(self.profile.misplaced_evidence)
            for op, use, culprit in list(conflicts(self.model.ops, habits, cut)):
                found, wanted = "main memory", "tightly coupled memory"
                self._reject(op, use, "memory", found, wanted, evidence, (culprit.label,))
                because = f"{culprit.label} leaves a tensor in {found} that the compiler planned in {wanted}"
                self.verdict.refusals.append(RefusalReason("memory", because, op, found, evidence))

    def _reject(self, op: Op, use: Use, dimension: str, found: str, wanted: str, evidence: tuple[Evidence, ...], readers: tuple[str, ...]) -> None:
        """The compiler has no kernel for an op where an input of it is."""
        placed = self.verdict.placements[id(op)]
        self.verdict.placements[id(op)] = placed._replace(where="rejected", basis=weakest(evidence))
        self.conflicting[id(op)] = Mismatch(placed.kernel, op, op, use.role, use.tensor, dimension, found, wanted, "refused", evidence, (), readers, (op,))

    def _segments(self) -> None:
        """Ops behind one that left the accelerator stay outside with it."""
        evidence = self.kernels.evidence(self.profile.segments_evidence)
        for op, culprit, certain in list(behind(self.model.ops, self.verdict.where)):
            if op.role != "data":
                continue
            placed = self.verdict.placements[id(op)]
            where: Where = "unknown" if not certain else "cpu" if self.fallback else "rejected"
            self.verdict.placements[id(op)] = placed._replace(where=where, basis=weakest(evidence))
            self.conflicting[id(op)] = Mismatch(
                placed.kernel, placed.chain[0], op, "", None, "segment", culprit.label, "no such operator in front", CONSEQUENCE[where], evidence,
                (), (), placed.chain,
            )

    # -- explain -------------------------------------------------------------------------------

    def _explain(self, op: Op) -> None:
        placement = self.verdict.placements[id(op)]
        if id(op) in self.conflicting:
            self.verdict.mismatches.append(self.conflicting[id(op)])
            return
        ready, chain = self.taken.get(id(op)) or (None, Chain((op,)))
        check, misses = self.failed.get(id(chain.anchor), (None, []))
        if ready is not None and check is not None:
            consequence: Consequence = "refused" if check.otherwise == "rejected" else check.otherwise
            if (op is chain.anchor or placement.where != "absorbed") and (op.role == "data" or consequence == "refused"):
                names = check.evidence or ready.kernel.evidence
                self._report(op, ready, chain, misses, consequence, names)
            return
        branches = bool(op.bodies) and placement.where == "float"  # the host decides which way to go; what is in the bodies is explained there
        if placement.where in ("integer", "absorbed") or op.role != "data" or branches:
            return
        nearest = explain(op, self.situations, self.verdict)
        if nearest is not None:
            kernel, nearest_chain, misses = nearest
            self._report(op, kernel, nearest_chain, misses, CONSEQUENCE[placement.where], kernel.kernel.evidence)
            return
        names = ready.kernel.evidence if ready is not None else self.profile.fallback_evidence
        first = chain.anchor  # what a kernel takes along has no kernel of its own there either, and is where it is for that reason
        self.verdict.mismatches.append(
            Mismatch(
                ready.kernel.id if ready is not None else "", first, op, "", first.outputs[0] if first.outputs else None,
                "kernel", *self._lacking(first, placement.where), CONSEQUENCE[placement.where], self.kernels.evidence(names), (), (), chain.members,
            )
        )  # fmt: skip

    def _lacking(self, op: Op, where: Where) -> tuple[str, str | None]:
        """What there is no integer kernel for, and what would be wanted, if that is not simply one for this kind."""
        if not any(one.kernel.runs == "integer" and one.kernel.advise for one in self.kernels.all):
            return "any operator", "not established" if where == "unknown" else "another backend"
        unsettled = any(one.kernel.runs == "unknown" and _meant(one.kernel, op) for one in self.kernels.starting_with(op.kind))
        return op.kind, "not established" if unsettled else None

    def _report(
        self, op: Op, ready: Ready, chain: Chain, misses: list[Miss], consequence: Consequence, evidence: tuple[str, ...]
    ) -> None:
        for miss in misses:
            related = [miss.tensor]
            if miss.dimension in _RELATIONS:  # a step on any of the ports that are compared may be why
                related += [use.tensor for use in chain.anchor.uses.values()]
            steps = {step.id: step.because or step.id for tensor in related for step in self.prepared.trace(tensor)}
            trace = tuple(steps.values())
            self.verdict.mismatches.append(
                Mismatch(
                    ready.kernel.id, miss.op.parts[-1] if isinstance(miss.op, Spelled) else miss.op or chain.anchor, op, miss.role or miss.port, miss.tensor, miss.dimension,
                    miss.found, miss.wanted, consequence, self.kernels.evidence(evidence), trace, miss.readers, chain.members,
                )
            )  # fmt: skip
