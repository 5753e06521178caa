"""Whether the accumulator of a conv or linear kernel saturates: the kernel itself on codes that drive it to the extremes.

Pairs of neighbouring weights of one sign are multiplied by the largest code, everything else by the zero point, and the
result is compared with the exact sum. Which weights are neighbours is the kernel's affair, so that those next to each other in
the order of memory (taps, then input channels) are tried, the largest ones first.
"""

from __future__ import annotations

from typing import Any

import torch

PAIRS = 8  # of each parity
STEPS = 200  # of the result, so that a saturation by one product is seen


def saturation(name: str, args: Any) -> float:
    """How many two-hundredths of the exact sum the kernel is off, at most; 0 where nothing saturates or nothing can be told."""
    base = name.partition("::")[2].removesuffix("_relu")
    packed = next((a for a in args if isinstance(a, torch.ScriptObject)), None)
    if packed is None or base not in _KERNELS or not isinstance(args[0], torch.Tensor):
        return 0.0
    try:
        return _KERNELS[base](base, args[0], packed)
    except RuntimeError:  # no kernel for such an input
        return 0.0


def pairs(weights: torch.Tensor) -> list[tuple[int, int]]:
    """(row, column) of the pairs with the largest sums, of weights (rows, columns)."""
    both = weights[:, :-1] + weights[:, 1:]
    same = weights[:, :-1] * weights[:, 1:] > 0
    sums = torch.where(same, both.abs(), torch.zeros_like(both))
    found: list[tuple[int, int]] = []
    for parity in (0, 1):
        part = sums[:, parity::2]
        for flat in part.reshape(-1).argsort(descending=True)[:PAIRS].tolist() if part.numel() else ():
            found.append((flat // part.shape[1], 2 * (flat % part.shape[1]) + parity))
    return found


def _scales(weight: torch.Tensor) -> torch.Tensor:
    if weight.qscheme() in (torch.per_channel_affine, torch.per_channel_symmetric):
        return weight.q_per_channel_scales()
    return torch.full((weight.shape[0],), weight.q_scale(), dtype=torch.float64)


def _from_zero(weight: torch.Tensor) -> torch.Tensor:
    """The integers of a weight, counted from its zero points."""
    codes = weight.int_repr().to(torch.int64)
    if weight.qscheme() in (torch.per_channel_affine, torch.per_channel_symmetric):
        zeros = weight.q_per_channel_zero_points().to(torch.int64)
        return codes - zeros.reshape([-1] + [1] * (codes.dim() - 1)) if weight.q_per_channel_axis() == 0 else codes
    return codes - weight.q_zero_point()


def _grid(x: torch.Tensor) -> tuple[int, int]:
    """(least, largest) code of the input."""
    held: tuple[int, int] = x.__dict__.get("grid", (0, 255) if x.dtype == torch.quint8 else (-128, 127))
    return held


def _off(got: float, exact: float) -> float:
    return abs(got - exact) / (abs(exact) / STEPS)


def _linear(base: str, x: torch.Tensor, packed: Any) -> float:
    weight, _bias = torch.ops.quantized.linear_unpack(packed)
    codes, shifted, scales = weight.int_repr().to(torch.int64), _from_zero(weight), _scales(weight)
    zero, most = x.q_zero_point(), _grid(x)[1]
    worst = 0.0
    for row, column in pairs(codes):
        filled = torch.full((1, codes.shape[1]), zero)
        filled[0, column : column + 2] = most
        exact = float((shifted[row] * (filled[0] - zero)).sum() * scales[row] * x.q_scale())
        if exact:
            given = torch._make_per_tensor_quantized_tensor(filled.to(x.int_repr().dtype), x.q_scale(), zero)
            alone = torch.ops.quantized.linear_prepack(weight, None)  # each time: qnnpack keeps the scale of the first result
            got = torch.ops.quantized.linear(given, alone, abs(exact) / STEPS, _end(x, exact))
            worst = max(worst, _off(float(got.dequantize()[0, row]), exact))
    return worst


def _end(x: torch.Tensor, exact: float) -> int:
    """The zero point that leaves room for a result of this sign."""
    low = 0 if x.dtype == torch.quint8 else -128
    return low + 20 if exact > 0 else low + 235


def _conv(base: str, x: torch.Tensor, packed: Any) -> float:
    weight, _bias = getattr(torch.ops.quantized, f"{base}_unpack")(packed)
    dims = weight.dim() - 2  # the packed parameters of one dimension are those of two
    stride, padding, dilation, groups = packed.stride()[-dims:], packed.padding()[-dims:], packed.dilation()[-dims:], packed.groups()
    codes, scales = weight.int_repr().to(torch.int64), _scales(weight)
    shifted = _from_zero(weight).movedim(1, -1).reshape(len(codes), -1)
    out, inner, *kernel = codes.shape
    zero, (_, most) = x.q_zero_point(), _grid(x)
    rows = codes.movedim(1, -1).reshape(out, -1)  # taps, then channels
    at = [-(-p // s) for p, s in zip(padding, stride, strict=True)]  # the output whose window begins inside
    start = [o * s - p for o, s, p in zip(at, stride, padding, strict=True)]
    size = [b + d * (k - 1) + 1 for b, d, k in zip(start, dilation, kernel, strict=True)]
    worst = 0.0
    for row, column in pairs(rows):
        window = torch.full((rows.shape[1],), zero)
        window[column : column + 2] = most
        exact = float((shifted[row] * (window - zero)).sum() * scales[row] * x.q_scale())
        if not exact:
            continue
        filled = torch.full((1, inner * groups, *size), zero)
        group = row // (out // groups)
        places = tuple(slice(b, None, d) for b, d in zip(start, dilation, strict=True))
        where: Any = (0, slice(group * inner, (group + 1) * inner), *places)
        filled[where] = window.reshape(*kernel, inner).movedim(-1, 0)
        given = torch._make_per_tensor_quantized_tensor(filled.to(x.int_repr().dtype), x.q_scale(), zero)
        alone = getattr(torch.ops.quantized, f"{base}_prepack")(weight, None, stride, padding, dilation, groups)
        got = getattr(torch.ops.quantized, base)(given, alone, abs(exact) / STEPS, _end(x, exact))
        worst = max(worst, _off(float(got.dequantize()[(0, row, *at)]), exact))
    return worst


def _deconv(base: str, x: torch.Tensor, packed: Any) -> float:
    """One pixel of the input, whose products with each tap make a pixel of the output."""
    weight, _bias = getattr(torch.ops.quantized, f"{base}_unpack")(packed)
    dims = weight.dim() - 2
    stride, padding, extra, dilation = (value[-dims:] for value in (packed.stride(), packed.padding(), packed.output_padding(), packed.dilation()))
    groups = packed.groups()
    codes, shifted, scale = weight.int_repr().to(torch.int64), _from_zero(weight), float(_scales(weight)[0])
    inner, out, *kernel = codes.shape
    zero, (_, most) = x.q_zero_point(), _grid(x)
    places = torch.cartesian_prod(*(torch.arange(k) for k in kernel)).reshape(-1, dims).tolist()
    worst = 0.0
    for group in range(groups):
        part = slice(group * inner // groups, (group + 1) * inner // groups)
        rows = codes[part].movedim(0, -1).reshape(-1, inner // groups)  # (out, taps), channels
        for row, column in pairs(rows):
            channel, tap = divmod(row, len(places))
            at = [s * 3 + d * t - p for s, d, t, p in zip(stride, dilation, places[tap], padding, strict=True)]  # of pixel 3 in each direction
            given = torch.full((1, inner, *[7] * dims), zero)
            where: Any = (0, slice(part.start + column, part.start + column + 2), *[3] * dims)
            given[where] = most
            exact = float((shifted[part][(slice(None), channel, *places[tap])][column : column + 2] * (most - zero)).sum()) * scale * x.q_scale()
            if exact:
                held = torch._make_per_tensor_quantized_tensor(given.to(x.int_repr().dtype), x.q_scale(), zero)
                alone = getattr(torch.ops.quantized, f"{base}_prepack")(weight, None, stride, padding, extra, dilation, groups)
                got = getattr(torch.ops.quantized, base)(held, alone, abs(exact) / STEPS, _end(x, exact))
                worst = max(worst, _off(float(got.dequantize()[(0, group * out + channel, *at)]), exact))
    return worst


_KERNELS = {"linear": _linear, "conv1d": _conv, "conv2d": _conv, "conv3d": _conv, "conv_transpose1d": _deconv, "conv_transpose2d": _deconv}
