"""The order in which data flows through ops."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator

from qlint.graph.model import Op, Tensor


def data_flow(ops: list[Op]) -> Iterable[Op]:
    """Each op after those that it reads from: file order where that is so (the usual case), cycles last.

    What the bodies of an op read from the graph around them counts as read by the op.
    """
    position = {id(tensor): i for i, op in enumerate(ops) for tensor in op.outputs}
    return ops if _in_order(ops, position) else _sorted(ops, position)


def _in_order(ops: list[Op], position: dict[int, int]) -> bool:
    find = position.get
    for i, op in enumerate(ops):
        for use in op.uses.values():
            if find(id(use.tensor), -1) > i:
                return False
        if op.bodies and any(find(id(tensor), -1) > i for tensor in reads(op)):
            return False
    return True


def _sorted(ops: list[Op], position: dict[int, int]) -> Iterator[Op]:
    done = bytearray(len(ops))
    missing: dict[int, int] = {}  # how many of its sources an op still waits for
    waiting: dict[int, list[int]] = {}  # the ops that wait for one
    for i, op in enumerate(ops):
        needed = {n for tensor in reads(op) if (n := position.get(id(tensor), i)) != i and not done[n]}
        if needed:
            missing[i] = len(needed)
            for n in needed:
                waiting.setdefault(n, []).append(i)
            continue
        ready = deque((i,))
        while ready:
            current = ready.popleft()
            done[current] = 1
            yield ops[current]
            for reader in waiting.pop(current, ()):
                missing[reader] -= 1
                if not missing[reader]:
                    ready.append(reader)
    yield from (op for i, op in enumerate(ops) if not done[i])


def reads(op: Op) -> Iterator[Tensor]:
    """The tensors that an op reads, those that its bodies read included."""
    for use in op.uses.values():
        yield use.tensor
    for body in op.bodies.values():
        for inner in body.walk():
            for use in inner.uses.values():
                yield use.tensor
        for use in body.outputs:
            yield use.tensor


def upstream(op: Op, sources: Callable[[Op], Iterable[Tensor]], known: Container[int]) -> Iterator[Op]:
    """An op and the ops that it depends on through `sources`, each behind its own; none whose id is known.

    Who asks makes each of them known before taking the next one: so a graph is walked once, however often one asks.
    """
    waiting, entered = [op], set[int]()
    while waiting:
        op = waiting[-1]
        if id(op) in entered or id(op) in known:
            waiting.pop()
            if id(op) not in known:
                yield op
        else:
            entered.add(id(op))
            waiting += [tensor.producer for tensor in sources(op) if tensor.producer is not None and id(tensor.producer) not in entered]
