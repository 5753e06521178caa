"""Value numbers: which tensors of a graph hold the same, as equal operators compute them from equal inputs.

Some compilers merge what is computed twice before they select kernels (common subexpression elimination).
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from qlint.graph import Op, Tensor

if TYPE_CHECKING:
    from qlint.judge.prepare import Prepared

MAX_BYTES = 256  # of a constant that is compared by its numbers; larger ones are their own equals only


class Values:
    """The tensors of one graph by what they hold. Linear in its size; equal constants are one."""

    def __init__(self, prepared: Prepared) -> None:
        self.prepared = prepared
        self._numbers: dict[object, int] = {}
        self._of: dict[int, int] = {}
        self._holding: dict[int, list[Tensor]] = defaultdict(list)
        for op in prepared.model.ops:
            key = (op.native, op.domain, *sorted((name, repr(value)) for name, value in op.attrs.items()), *self._operands(op))
            for place, tensor in enumerate(op.outputs):
                self._of[id(tensor)] = number = self._number((key, place) if not op.bodies else id(tensor))
                self._holding[number].append(tensor)

    def equals(self, tensor: Tensor) -> list[Tensor]:
        """All tensors that are computed to the same, the tensor itself included."""
        return self._holding.get(self._of.get(id(tensor), -1), [tensor])

    def _operands(self, op: Op) -> list[object]:
        return [(role, self._value(use.tensor), self.prepared.of(use)) for role, use in op.uses.items()]

    def _value(self, tensor: Tensor) -> int:
        found = self._of.get(id(tensor))
        if found is None:
            data = tensor.data
            small = data is not None and data.nbytes <= MAX_BYTES
            found = self._of[id(tensor)] = self._number((data.dtype, tuple(data.shape), tuple(data.values())) if small and data is not None else id(tensor))
        return found

    def _number(self, key: object) -> int:
        return self._numbers.setdefault(key, len(self._numbers))
