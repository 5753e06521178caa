"""An encodings file merged into a model: by tensor name, as quantizers on the uses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from qlint.graph import Model, Op, Quantizer, Tensor, Use
from qlint.graph.axes import channel_axes
from qlint.graph.encodings import Encoding, Encodings, Misfit
from qlint.graph.kinds import QUANTIZER_KINDS


def merge(model: Model, told: Encodings) -> Model:
    """Put what `told` says on a canonical model, which is changed and returned; what does not fit stays in `told` for the rules.

    Every reader of a tensor gets its quantizer, graph outputs included. Where the model has one of its own on another grid,
    the file wins if its format overrides models, and the difference is kept.
    """
    model.encodings = told
    tensors = _names(model, told)
    given: dict[int, Quantizer] = {}
    for entry in told.entries:
        for tensor, uses in _meant(entry, tensors, model):
            told.matched.setdefault(entry.name, tensor)
            if entry.grid is None:
                continue
            fitting = _fitted(entry.grid, tensor)
            if isinstance(fitting, tuple):
                told.misfits.append(Misfit(entry, tensor, *fitting))
                continue
            earlier = given.setdefault(id(tensor), fitting)
            if entry.input is None and earlier is not fitting:
                if not _same(earlier, fitting):
                    told.contradicted.append((entry, tensor, earlier))
                continue
            _put(fitting, entry, tensor, uses, told)
    model.notes.append(f"{len(given)} tensor{'s have their quantizers' if len(given) != 1 else ' has its quantizer'} from {told.file} ({told.format.title})")
    return model


def _names(model: Model, told: Encodings) -> dict[str, Tensor]:
    """The tensor of the canonical graph for every name that a tensor has in the file, on either side of a quantizer."""
    found: dict[str, Tensor] = {}
    for graph in model.graphs():
        for name, tensor in graph.tensors.items():
            found.setdefault(name, tensor)
        for node in graph.nodes:
            if node.kind in QUANTIZER_KINDS and "x" in node.uses and node.outputs:
                behind = found.get(node.uses["x"].tensor.name)
                if behind is not None:
                    found.setdefault(node.outputs[0].name, behind)
        for use in graph.outputs:
            found.setdefault(use.name, use.tensor)
        for op in graph.ops:
            if told.format.suffixed:
                found.update({f"{tensor.name}_{op.native}": tensor for tensor in op.outputs})
            if told.format.family == "stpu" and "w" in op.uses:
                found[f"{op.name}_weights"] = op.uses["w"].tensor
    return found


def _meant(entry: Encoding, tensors: dict[str, Tensor], model: Model) -> Iterator[tuple[Tensor, list[Use]]]:
    """The tensor that an entry is about, with the uses that it holds for."""
    if entry.input is None:
        tensor = tensors.get(entry.name)
        if tensor is not None:
            yield tensor, [use for use in tensor.uses if use.kind != "dead"]
        return
    for op in model.walk():
        if op.name == entry.name:
            read = [use for use in op.uses.values() if not use.tensor.constant]
            if entry.input < len(read):
                yield read[entry.input].tensor, [read[entry.input]]


def _fitted(grid: Quantizer, tensor: Tensor) -> Quantizer | tuple[str, str]:
    """The grid with the axis of its channels, or (what it has, what the tensor has) if they cannot belong together."""
    if grid.granularity == "tensor" or grid.scale is None or tensor.shape is None:
        return grid
    shape, count = tensor.shape, len(grid.scale)
    out, into = next((axes for use in tensor.uses if use.op is not None and (axes := channel_axes(use.op, use.role))[0] is not None), (0, 1))
    axis = grid.axis if grid.axis is not None else into if grid.granularity == "block" else out
    if axis is None or not -len(shape) <= axis < len(shape):
        return f"an axis {axis}", f"{len(shape)} dimensions"
    axis %= len(shape)
    size = shape[axis]
    if not isinstance(size, int):
        return replace(grid, axis=axis)
    if grid.granularity == "channel":
        return replace(grid, axis=axis) if count == size else (_channels(count), f"{_channels(size)} (axis {axis} of {_shape(shape)})")
    blocks = -(-size // grid.block_size) if grid.block_size else 0
    channels = shape[out or 0]
    counts = [total * blocks for total in (tensor.size and tensor.size // size, channels) if isinstance(total, int)]
    if not blocks or count not in counts:
        return f"{count} blocks of {grid.block_size}", f"{size} elements along axis {axis} of {_shape(shape)}"
    return replace(grid, axis=axis)


def _channels(count: int) -> str:
    return f"{count} channel{'s' if count != 1 else ''}"


def _shape(shape: tuple[object, ...]) -> str:
    return "×".join(str(size) for size in shape)


def _put(grid: Quantizer, entry: Encoding, tensor: Tensor, uses: list[Use], told: Encodings) -> None:
    """The quantizer on each use. Its node is none of the file: it stands for what the toolchain puts there."""
    node = Op(-1, f"{told.file}: {entry.where}", "fake_quantize", "", source=told.file)
    node.uses["x"] = Use(tensor, node, "x", 0, name=tensor.name)
    placed = grid.placed(quantize=node, dequantize=node, readers=len(uses))
    for use in uses:
        own = use.quantizers[-1] if use.quantizers else None
        if own is not None and own.origin != "encodings":
            if _same(own, grid):
                continue
            if not any(said is entry for said, *_ in told.contradicted):
                told.contradicted.append((entry, tensor, own))
            if not told.format.overrides:
                continue
        use.quantizers = (placed,)


def _same(one: Quantizer, other: Quantizer) -> bool:
    """Whether two quantizers have the same levels at the same real values, to what float32 keeps of a scale; the container does not matter."""
    mine, theirs = list(one.pairs()), list(other.pairs())
    if len(mine) != len(theirs) or one.levels != other.levels:
        return False
    shift = one.qmin - other.qmin
    return all(abs(s - t) <= 1e-5 * abs(t) and z - y == shift for (s, z), (t, y) in zip(mine, theirs, strict=True))
