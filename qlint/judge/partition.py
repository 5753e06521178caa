"""Cutting what a backend takes out of a graph that it does not take whole.

ONNX Runtime's providers form partitions in waves (`CreateSupportedPartitionNodeGroups`). A wave takes every node
whose producers are done, and leaves for the next one a node that is not supported and reads from the wave. The
DequantizeLinear of a constant has no producer: where its reader is in no unit, or where it has none, the first wave
takes it by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator

from qlint.graph import Model, Op, Use
from qlint.judge.pattern import Chain
from qlint.judge.ports import Port, Spaces, ports
from qlint.judge.prepare import Prepared
from qlint.profile.schema import Space


def constants_alone(
    ops: list[Op], covered: Callable[[Op], tuple[bool, bool]], wanted: tuple[Space, ...], spaces: Spaces, prepared: Prepared
) -> list[Port]:
    """The dequantized constants that make up the first partition, if nothing that depends on an input is in it.

    `covered`: whether an op is on the device, and whether it is in a unit with its quantizers. `ops` are in data-flow
    order. A partition of one DequantizeLinear is dropped, and the list is empty.
    """
    alone = [port for port in _dead(prepared) if _taken(port, wanted, spaces)]
    later: set[int] = set()  # tensors that are not there before the second wave, by id
    for op in ops:
        if op.role != "data":
            continue
        on_device, in_unit = covered(op)
        lone = [] if in_unit else [port for role in op.uses if _taken(port := ports(Chain((op,)), role, prepared)[0], wanted, spaces)]
        alone += lone
        waits = any(id(use.tensor) in later for use in op.uses.values())
        if not waits and (on_device or (not in_unit and _quantized(op, prepared))):
            return []
        if waits or lone:
            later.update(id(tensor) for tensor in op.outputs)
    return alone if len(alone) > 1 else []


def waves(ops: list[Op], on_device: Container[int], cut: Callable[[Use], bool]) -> dict[int, int]:
    """The number of the partition that each op is in, by id: a later one than that of what it waits for."""
    found: dict[int, int] = {}
    for op in ops:
        before = [use for use in op.uses.values() if id(use.tensor.producer) in found and not use.tensor.constant]  # not those of an outer graph
        waits = (found[id(use.tensor.producer)] + (id(op) in on_device and (id(use.tensor.producer) not in on_device or cut(use))) for use in before)
        found[id(op)] = max(waits, default=0)
    return found


def declared_twice(model: Model, on_device: Container[int], cut: Callable[[Use], bool], prepared: Prepared) -> Iterator[Use]:
    """The float use of each input of the model that a partition reads in float and as integers, which are quantized outside of it."""
    found: dict[int, int] = {}
    for tensor in model.inputs:
        read = [use for use in prepared.uses(tensor) if use.op is not None and use.op.role == "data" and id(use.op) in on_device]
        plain = [use for use in read if not prepared.of(use)]
        if plain and len(plain) < len(read):
            found = found or waves(model.ops, on_device, cut)
            stored = {found.get(id(use.op)) for use in read if prepared.of(use)}
            yield from [use for use in plain if found.get(id(use.op)) in stored][:1]


def _dead(prepared: Prepared) -> Iterator[Port]:
    """Dequantized tensors that nothing reads: bounds of a Clip, say, that a tool took away."""
    for tensor in prepared.model.tensors.values():
        for use in tensor.uses:
            node = prepared.of(use)[-1].dequantize if use.kind == "dead" and prepared.of(use) else None
            if node is not None:
                yield Port("x", "x", node, tensor, prepared.of(use)[-1], "one", (), use)


def _taken(port: Port, wanted: tuple[Space, ...], spaces: Spaces) -> bool:
    return port.quantizer is not None and port.quantizer.dequantize is not None and port.constant and not spaces.misses(wanted, port)


def _quantized(op: Op, prepared: Prepared) -> bool:
    """Whether a quantizer node of fixed shape in front of an op is taken by itself."""
    return any(prepared.of(use) and not use.tensor.constant and not prepared.dynamic(use.tensor) for use in op.uses.values())
