"""Functions that a file spells out in several ops, as one op that a kernel may take along (see passes/composites.py, which names them)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qlint.graph import Op, Tensor, Use

if TYPE_CHECKING:
    from qlint.judge.prepare import Prepared

PARTS = "-parts"  # behind the name of the function: `swish-parts` is a swish in several ops, `swish` one of its own


@dataclass(eq=False, repr=False)
class Spelled(Op):
    """The whole of its parts; the last one gives its result."""

    parts: tuple[Op, ...] = ()


def spelled_out(tensor: Tensor, prepared: Prepared) -> Spelled | None:
    """The function that all readers of a tensor are part of, if nothing inside is quantized or seen from outside."""
    uses = prepared.uses(tensor)
    readers = [use.op for use in uses if use.op is not None]
    if len(readers) < 2 or len(readers) < len(uses) or any(prepared.of(use) != prepared.of(uses[0]) for use in uses[1:]):
        return None
    groups = set(readers[0].groups).intersection(*(op.groups for op in readers[1:]))
    return next((whole for group in sorted(groups) if (whole := _whole(group, uses, readers, prepared)) is not None), None)


def _whole(group: str, uses: list[Use], readers: list[Op], prepared: Prepared) -> Spelled | None:
    parts, roots = list(dict.fromkeys(readers)), list[Op]()
    for op in parts:
        behind = [(use, use.op) for out in op.outputs for use in prepared.uses(out)]
        inside = [reader for use, reader in behind if reader is not None and group in reader.groups and not prepared.of(use)]
        if len(inside) < len(behind) or not behind:
            roots.append(op)
        parts += [reader for reader in inside if reader not in parts]
    made = {id(out) for op in parts for out in op.outputs}
    given = [use for op in parts for use in op.uses.values() if use not in uses and id(use.tensor) not in made]
    if len(roots) != 1 or any(not use.tensor.constant or prepared.of(use) for use in given) or any(group in (use.op.groups if use.op else ()) for out in roots[0].outputs for use in out.uses):
        return None
    root = roots[0]
    kind = group.partition(":")[0] + PARTS
    return Spelled(root.index, root.name, kind, root.native, {}, {"x": uses[0]}, root.outputs, root.domain, root.opset, parts=(*(op for op in parts if op is not root), root))
