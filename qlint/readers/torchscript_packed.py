"""Packed parameters: the weights and biases of quantized and prepacked operators, from what was packed or from what was saved.

Saved states: ATen/native/quantized/cpu/conv_serialization.h (versions 1 to 3), quantized/cpu/fbgemm_utils.cpp (linear),
ATen/native/RNN.cpp (cells), ATen/native/xnnpack (contexts of mobile-optimised models).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from qlint.errors import ReadError
from qlint.readers.torch_archive import Archive, Strided
from qlint.readers.unpickle import Instance, TensorRecord

MAX_SMALL = 4096  # elements of a tensor whose numbers the reader itself looks at


@dataclass(slots=True, eq=False)
class Packed:
    """What `conv2d_prepack` and the like make: the arguments that they were given."""

    native: str
    args: dict[str, Any]


_NAMES = {"W": "weight", "B": "bias", "w": "weight", "b": "bias"}


def pack(native: str, bound: dict[str, Any]) -> Packed:
    """The result of a prepacking operator."""
    return Packed(native, {_NAMES.get(name, name): value for name, value in bound.items()})


def unpack(saved: Instance, archive: Archive | None = None) -> Packed | None:
    """The packed parameters that an object of PyTorch's own was saved as; None if it is of another kind."""
    name = saved.cls.rpartition(".")[2]
    state = saved.state if saved.state is not None else saved.args
    try:
        if name.startswith("Conv") and name.endswith("PackedParamsBase"):
            return Packed(saved.cls, _conv(state, archive, name))
        if name == "LinearPackedParamsBase":
            return Packed(saved.cls, dict(zip(("weight", "bias"), state, strict=False)))
        if name == "CellParamsBase":
            return _cell(saved.cls, state, archive)
        if name == "EmbeddingPackedParamsBase":
            return Packed(saved.cls, {"weight": next(t for t in _tensors(state) if t.grid is not None or len(t.shape) == 2)})
        if name in _CONTEXTS:
            return Packed(saved.cls, dict(zip(_CONTEXTS[name], state, strict=False)))
    except (LookupError, TypeError, ValueError, StopIteration) as error:
        raise ReadError(f"has packed parameters, {saved.cls}, in a form that qlint does not know", hint="export the network again") from error
    return None


_CONTEXTS = {
    "LinearOpContext": ("weight", "bias", "output_min", "output_max"),
    "Conv2dOpContext": ("weight", "bias", "stride", "padding", "dilation", "groups", "output_min", "output_max"),
    "TransposeConv2dOpContext": ("weight", "bias", "output_padding", "stride", "padding", "dilation", "groups", "output_min", "output_max"),
}


def _tensors(state: Any) -> list[TensorRecord]:
    """The tensors in a saved state, in order."""
    if isinstance(state, TensorRecord):
        return [state]
    return [tensor for part in state for tensor in _tensors(part)] if isinstance(state, (tuple, list)) else []


def _conv(state: Any, archive: Archive | None, name: str) -> dict[str, Any]:
    version = int(state[0]) if isinstance(state[0], (str, int)) else 1
    tensors = _tensors(state)
    if version == 1:  # weight, bias, then numbers as tensors
        weight, bias, stride, padding, dilation, groups = state[:6]
        numbers = [[number_in(archive, t) for t in part] for part in (stride, padding, dilation)]
        return {"weight": weight, "bias": bias, **dict(zip(("stride", "padding", "dilation"), numbers, strict=True)), "groups": number_in(archive, groups)}
    config: Any
    if version == 2:
        config = _values(archive, tensors.pop(0))
    else:
        config = list(state[1])
    dims = config[0]
    stride, padding, dilation, output_padding = ([int(n) for n in config[1 + i * dims : 1 + (i + 1) * dims]] for i in range(4))
    groups, flags = int(config[1 + 4 * dims]), int(config[2 + 4 * dims])
    weight = next(t for t in tensors if t.grid is not None)
    bias = next((t for t in tensors if t.grid is None), None)
    found = {"weight": weight, "bias": bias, "stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return {**found, "output_padding": output_padding, "transposed": True} if flags & 1 else found


def _cell(cls: str, state: Any, archive: Archive | None) -> Packed:
    """A cell of a quantized LSTM or GRU: the parameters of the input and of the hidden state."""
    packed = [unpack(part, archive) for part in _instances(state)]
    parts: list[Any] = [part.args for part in packed if part is not None]
    if len(parts) < 2:
        tensors = _tensors(state)
        parts = [{"weight": w, "bias": None} for w in [t for t in tensors if len(t.shape) == 2][:2]]
    return Packed(cls, {"w": parts[0]["weight"], "r": parts[1]["weight"], "b_ih": parts[0].get("bias"), "b_hh": parts[1].get("bias")})


def _instances(state: Any) -> list[Instance]:
    if isinstance(state, Instance):
        return [state]
    return [found for part in state for found in _instances(part)] if isinstance(state, (tuple, list)) else []


def view(archive: Archive, tensor: TensorRecord) -> Strided:
    """A tensor of the archive as lazy data."""
    key = member = tensor.storage.key
    if key not in archive:
        names = (f"{key}.storage", key.partition("/")[2], f"{key.partition('/')[2]}.storage")
        member = next((name for name in names if name in archive), key)
    return Strided(tensor.dtype, tensor.shape, tensor.strides, tensor.offset, archive, member, tensor.path or f"the tensor in {member!r}")


def number_in(archive: Archive | None, tensor: Any) -> Any:
    """The number in a tensor of one element; None if it has more."""
    if isinstance(tensor, (int, float)):
        return tensor
    if archive is None or not isinstance(tensor, TensorRecord) or math.prod(tensor.shape) != 1:
        return None
    return _values(archive, tensor)[0]


def _values(archive: Archive | None, tensor: TensorRecord) -> tuple[Any, ...]:
    if archive is None or math.prod(tensor.shape) > MAX_SMALL:
        raise ValueError
    return view(archive, tensor).values()
