"""Weights that a TorchScript archive stores as integers: other integers in their bytes, and other scales where they stand.

Packed parameters hold tensors that PyTorch rebuilds from a storage and a grid. The scales of channels are a storage of their own;
the scale of a tensor is a number among the arguments in the pickle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qlint.fixing.arithmetic import WriteError, requantized, same_codes
from qlint.graph import Quantizer, Use
from qlint.readers.torchscript_packed import view
from qlint.readers.unpickle import TensorRecord

if TYPE_CHECKING:
    from qlint.fixing.torchscript import Document


def restore(document: Document, use: Use, old: Quantizer, new: Quantizer) -> None:
    """A stored weight on another grid of the same form.

    Raises:
        WriteError: the form would be another one, or something of it is shared or stands elsewhere.
    """
    from qlint.fixing.torchscript import Place

    record = document.records.get(use.tensor.name)
    same = (old.granularity, old.axis, old.storage, old.grid) == (new.granularity, new.axis, new.storage, new.grid)
    if record is None or record.grid is None or not same or new.scale is None or new.zero_point is None or old.read_as is not None:
        raise WriteError(f"qlint does not write {new} in place of the stored {old} into TorchScript files")
    if len(use.tensor.uses) > 1 or document.sharing(record) > 1:
        raise WriteError(f"{use.tensor.name} is shared with other operators")
    if isinstance(record.grid.scale, TensorRecord):
        for part, values in ((record.grid.scale, new.scale), (record.grid.zero_point, new.zero_point)):
            data = view(document.archive, part)
            if not data.contiguous or data.dtype not in ("float64", "float32", "int64", "int32") or len(values) not in (1, data.shape[0]):
                raise WriteError(f"the scales of {use.tensor.name} are in a form that qlint does not write")
            width, number = int(data.dtype[-2:]) // 8, float if data.dtype.startswith("float") else int
            for i, value in enumerate(list(values) * (data.shape[0] if len(values) == 1 else 1)):
                document.set(Place("data", data.member, (data.offset + i) * width, dtype=data.dtype), number(value), use.tensor.name)
    else:
        folder, _, key = record.storage.key.partition("/")
        for part, value in (("scale", float(new.scale[0])), ("zero_point", int(new.zero_point[0]))):
            document.set(Place("pickle", f"#{key}@{record.offset}.{part}", dtype=folder), value, use.tensor.name)
    if not same_codes(old, new):
        _integers(document, use, record, old, new)


def _integers(document: Document, use: Use, record: TensorRecord, old: Quantizer, new: Quantizer) -> None:
    """The integers of a tensor, wherever its strides put them."""
    import numpy as np

    data = view(document.archive, record)
    raw = bytearray(document.archive.read(data.member))
    whole = np.frombuffer(raw, np.dtype(data.dtype))
    placed = np.lib.stride_tricks.as_strided(whole[data.offset :], data.shape, [stride * whole.itemsize for stride in data.strides])
    placed[...] = requantized(placed, old, new).astype(whole.dtype)
    document.code.bytes[data.member] = (0, bytes(raw))
