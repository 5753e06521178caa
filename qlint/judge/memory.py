"""Which memory tensors are in, for backends whose compiler plans that before it picks float kernels.

Such an accelerator computes on tightly coupled memory (TCM), its reference kernels for float on main memory. The
compiler first plans a memory for each tensor and puts a move wherever plan meets other plan; then it picks the
kernels. A float kernel that only writes to main memory, where the plan says TCM, leaves its tensor *misplaced*: the
move behind it, or a kernel that reads TCM only, does not find what it wants and the graph cannot be compiled.

The plan: operators with one memory have it, and so does everything in integer (TCM). Q/DQ between two float operators
becomes a clamp, which changes nothing here. The others
1. follow their last input into TCM, unless another one is from an operator that is fixed in main memory; those that prefer TCM are there from the start;
2. of the latter, those with main memory on all sides come back;
3. the rest goes to TCM if any reader is there, and then what reads only such tensors.

Few kernels read one input from each memory. Which do, depends on the layout too: behind a spatial operator in integer
tensors are *tiled* until something moves data about; elsewhere they are flat. In front of an operator that wants tiles
one with a constant works on tiles as well, as the constant is laid out anew for nothing.

Each partition is compiled by itself. An edge whose quantizer the device does not take is cut.

A stack of products is taken apart into slices. Of a signed factor that comes into the partition as it is there is no
slice in the memory that is planned for it, if the other one comes in like that too. In an attention (product,
softmax, product) none of the three factors may.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Literal, NamedTuple

from qlint.graph import Op, Use
from qlint.graph.kinds import expand
from qlint.judge.partition import waves
from qlint.profile.schema import Memory

_RETILED_IN_MAIN = ("add", "sub")
_BROADCAST = ("add", "sub", "mul")  # on flat tensors they read a single number of 16 bits as a tensor
_LAYOUT_KEPT = expand("act|binary|concat|slice|split")
Mixed = Literal["any", "second", "none"]  # of inputs from both memories, which may be in main memory


class Habit(NamedTuple):
    """Where a kernel reads and writes.

    `either`, `prefers`: the plan decides. `any`: no move in front of it. `sliced`: main memory, but behind a slice
    or a padding of its own, which prefers TCM.
    """

    reads: Literal["tcm", "main", "sliced", "either", "prefers", "any"]
    writes: Literal["tcm", "main", "same"] = "same"  # same: as it finds its inputs
    strict: bool = False  # cannot read what is misplaced
    flat: Mixed = "any"
    tiled: Mixed = "any"
    tiles: bool = False  # writes tiles
    wants_tiles: bool = False
    slices: bool = False  # takes a stack of matrices apart


HABITS: dict[Memory, Habit] = {
    "either": Habit("either"),
    "alike": Habit("either", flat="none", tiled="none"),
    "alike-tiled": Habit("either", tiled="none"),
    "second": Habit("either", flat="second", tiled="none"),
    "second-tiled": Habit("either", tiled="second"),
    "either-to-main": Habit("either", "main"),
    "prefers-tcm": Habit("prefers"),
    "prefers-tcm-to-main": Habit("prefers", "main"),
    "tcm": Habit("tcm", "tcm"),
    "strict-tcm": Habit("tcm", "tcm", strict=True),
    "tiled": Habit("either", wants_tiles=True),
    "strict-tiled": Habit("tcm", "tcm", strict=True, wants_tiles=True),
    "stacked": Habit("tcm", "tcm", strict=True, wants_tiles=True, slices=True),
    "tiles": Habit("tcm", "tcm", strict=True, tiles=True, wants_tiles=True),
    "main": Habit("main", "main", strict=True),
    "main-sliced": Habit("sliced", "main", strict=True),
    "main-to-tcm": Habit("main", "tcm", strict=True),
    "any-to-main": Habit("any", "main"),
    "any-to-tcm": Habit("any", "tcm"),
}


def habits_of(ops: list[Op], memory: Callable[[Op], tuple[Memory, bool] | None]) -> dict[int, Habit]:
    """The habits of ops on the device, by id. `memory`: of the kernel that an op runs in, and whether that is an integer
    kernel; None if the op is not on the device."""
    kernels = ((op, memory(op)) for op in ops)
    return {id(op): _habit(*kernel) for op, kernel in kernels if kernel is not None}


def conflicts(ops: list[Op], habits: dict[int, Habit], cut: Callable[[Use], bool] = lambda _: False) -> Iterator[tuple[Op, Use, Op]]:
    """(op, input, the op that left it in main memory) for each op that does not find an input where it was planned.

    `cut`: whether an edge leaves the device on its way. `ops` are in data-flow order.
    """
    if all(habit.writes != "main" for habit in habits.values()):
        return  # nothing can be misplaced
    plan = _Plan(ops, habits, cut)
    plan.run()
    misplaced: dict[int, Op] = {}  # id of a tensor → the op that left it in main memory
    tiled: set[int] = set()  # ids of tensors
    behind_tiles: set[int] = set()  # the same, in float as well
    for op in plan.ops:
        habit = habits[id(op)]
        inputs = plan.inputs(op)
        astray = [use for use in inputs if id(use.tensor) in misplaced]
        culprit = misplaced[id(astray[0].tensor)] if astray else op
        moved = habit.reads != "any" and not plan.reads_tcm(op)
        tiles = any(id(use.tensor) in tiled for use in inputs)
        mixed = habit.tiled if tiles else habit.flat
        retiled = bool(astray) and _beside_wide(op, astray) and plan.wanted_in_tiles(op)
        if astray and (moved or habit.strict or not _mixes(mixed, op, astray) or (retiled and op.kind not in _RETILED_IN_MAIN)):
            yield op, astray[0], culprit
        if habit.tiles or (tiles and habit.reads == "tcm" and op.kind in _LAYOUT_KEPT):
            tiled.update(id(tensor) for tensor in op.outputs if tensor.rank in (None, 4))
        kept = any(id(use.tensor) in behind_tiles for use in inputs) and op.kind in _LAYOUT_KEPT
        if habit.tiles or kept:
            behind_tiles.update(id(tensor) for tensor in op.outputs if tensor.rank in (None, 4))
        flat = bool(astray) and not kept and op.kind in _BROADCAST and not plan.wanted_in_tiles(op)
        if plan.writes_tcm(op) and (habit.writes == "main" or (habit.writes == "same" and astray and (retiled or not _written_to_tcm(op, habit, astray, flat)))):
            misplaced |= dict.fromkeys((id(tensor) for tensor in op.outputs), op if habit.writes == "main" else culprit)


def unsliced(ops: list[Op], habits: dict[int, Habit], cut: Callable[[Use], bool] = lambda _: False) -> Iterator[tuple[Op, Use]]:
    """(product, factor) for each factor that the compiler has to slice, and cannot where it comes in."""
    if not any(habit.slices for habit in habits.values()):
        return
    plan = _Plan(ops, habits, cut)
    for op in plan.ops:
        left, right = op.uses.get("lhs"), op.uses.get("rhs")
        if not habits[id(op)].slices or left is None or right is None or not (_stacked(left) and _stacked(right)):
            continue
        scores = plan.scores(left)
        factors = [right, left] if scores is None else [right, *scores.uses.values()]
        alone = [factor for factor in factors if plan.arrives(factor)]
        if len(alone) == 2 or (scores is not None and alone):
            yield alone[0].op or op, alone[0]


def _stacked(use: Use) -> bool:
    """Whether this is more than one matrix."""
    return any(size != 1 for size in (use.tensor.shape or ())[:-2])


@cache
def _habit(memory: Memory, integer: bool) -> Habit:
    return HABITS[memory]._replace(reads="tcm") if integer else HABITS[memory]


def _mixes(mixed: Mixed, op: Op, astray: list[Use]) -> bool:
    """Whether a kernel reads its inputs, of which these are in main memory; what comes from another partition is in TCM."""
    inputs = [use for use in op.uses.values() if not use.tensor.constant]
    return len(astray) == len(inputs) or mixed == "any" or (mixed == "second" and astray[0] is not inputs[0])


def _written_to_tcm(op: Op, habit: Habit, astray: list[Use], flat: bool) -> bool:
    """An integer kernel writes to TCM if it reads anything from there; constants of 16 bits are there, of 8 bits not."""
    return habit.reads == "tcm" and len(astray) < sum(not use.tensor.constant or (_16_bits(use) if flat else _wide(use)) for use in op.uses.values())


def _beside_wide(op: Op, astray: list[Use]) -> bool:
    """Whether an element-wise op takes a tensor and a wide constant; where it may stay in main memory, that is a vector and behind what is added to it."""
    others = [use for role, use in op.uses.items() if role in ("lhs", "rhs") and use is not astray[0] and use.tensor.constant and _wide(use)]
    return any(op.kind not in _RETILED_IN_MAIN or ((op.kind == "sub" or use.role == "rhs") and sum(size != 1 for size in use.tensor.shape or ()) == 1) for use in others)


def _wide(use: Use) -> bool:
    """16 bits, and not a single number, which becomes a parameter of the kernel on tiled tensors."""
    single = use.tensor.constant and use.tensor.shape is not None and all(size == 1 for size in use.tensor.shape)
    return not single and _16_bits(use)


def _16_bits(use: Use) -> bool:
    return any(quantizer.storage in ("uint16", "int16") for quantizer in use.quantizers)


class _Plan:
    """The memory planned for the operators that have no fixed one."""

    def __init__(self, ops: list[Op], habits: dict[int, Habit], cut: Callable[[Use], bool]) -> None:
        self.habits, self.cut, self.waves = habits, cut, waves(ops, habits, cut)
        self.ops = [op for op in ops if id(op) in habits]
        self.free = [op for op in self.ops if habits[id(op)].reads in ("either", "prefers")]
        self.tcm = {id(op) for op in self.free if habits[id(op)].reads == "prefers"}
        self._inputs: dict[int, list[Use]] = {}

    def run(self) -> None:
        self._follow()
        for op in self.free:
            if self.habits[id(op)].reads == "prefers" and not any(map(self._from_tcm, self.inputs(op))) and self._only_main_reads(op):
                self.tcm.discard(id(op))
        size = -1
        while size != len(self.tcm):
            size = len(self.tcm)
            self.tcm |= {id(op) for op in reversed(self.free) if self.habits[id(op)].reads == "either" and self._read_in_tcm(op)}
            self._follow()

    def _follow(self) -> None:
        for op in self.free:
            if id(op) in self.tcm or self.habits[id(op)].reads != "either":
                continue
            inputs = self.inputs(op)
            if not any(map(self._from_main, inputs)) and all(map(self._from_tcm, inputs[-1:])):
                self.tcm.add(id(op))

    def inputs(self, op: Op) -> list[Use]:
        found = self._inputs.get(id(op))
        if found is None:
            found = self._inputs[id(op)] = [use for use in op.uses.values() if not use.tensor.constant and not self.apart(use)]
        return found

    def apart(self, use: Use) -> bool:
        """Whether the producer is in another partition than the reader."""
        producer = use.tensor.producer
        return self.cut(use) or (producer is not None and use.op is not None and self.waves.get(id(producer)) != self.waves.get(id(use.op)))

    def arrives(self, use: Use) -> bool:
        """Whether a tensor comes into the partition as the op reads it."""
        return use.tensor.producer is None or self.apart(use)

    def scores(self, use: Use) -> Op | None:
        """The stack of products whose softmax a factor is, perhaps times a constant."""
        softmax = use.tensor.producer
        if softmax is None or softmax.kind != "softmax" or id(softmax) not in self.habits or self.apart(use):
            return None
        found = softmax.uses["x"].tensor.producer
        if found is not None and found.kind == "mul" and len(self.inputs(found)) == 1:
            found = self.inputs(found)[0].tensor.producer
        return found if found is not None and id(found) in self.habits and self.habits[id(found)].slices else None

    def reads_tcm(self, op: Op) -> bool:
        return self.habits[id(op)].reads == "tcm" or id(op) in self.tcm

    def writes_tcm(self, op: Op) -> bool:
        habit = self.habits[id(op)]
        return habit.writes == "tcm" or self.reads_tcm(op)

    def wanted_in_tiles(self, op: Op) -> bool:
        """Whether what an op in integer writes is read as tiles, there or behind others that keep the layout."""
        seen, rest = set[int](), [op]
        while rest:
            for use in (use for tensor in rest.pop().outputs for use in tensor.uses):
                reader = use.op
                if reader is None or id(reader) in seen or id(reader) not in self.habits or self.apart(use) or self.habits[id(reader)].reads != "tcm":
                    continue
                seen.add(id(reader))
                if self.habits[id(reader)].wants_tiles and use.role != "rhs":
                    return True
                if reader.kind in _LAYOUT_KEPT and len(self.inputs(reader)) == 1:
                    rest.append(reader)
        return False

    def _from_tcm(self, use: Use) -> bool:
        producer = use.tensor.producer
        return producer is None or id(producer) not in self.habits or self.writes_tcm(producer)

    def _from_main(self, use: Use) -> bool:
        """Whether the producer writes to main memory, whatever is planned for others."""
        producer = use.tensor.producer
        return not self._from_tcm(use) and producer is not None and self.habits[id(producer)].reads not in ("either", "prefers")

    def _read_in_tcm(self, op: Op) -> bool:
        return any(self._reads_in_tcm(use) for tensor in op.outputs for use in tensor.uses)

    def _reads_in_tcm(self, use: Use) -> bool:
        if self.cut(use):
            return False
        if use.op is None or id(use.op) not in self.habits or self.apart(use):
            return bool(use.quantizers)
        return self.reads_tcm(use.op)

    def _only_main_reads(self, op: Op) -> bool:
        uses = [use for tensor in op.outputs for use in tensor.uses]
        return bool(uses) and all(
            not self.apart(use) and not use.quantizers and use.op is not None and id(use.op) in self.habits and self.habits[id(use.op)].reads == "main" for use in uses
        )
