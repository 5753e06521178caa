"""How far the integer kernels that Inductor chose are off: each one alone, on codes that drive its sums to the extremes.

The kernel gets the integers of the file as the passes hand them over: scales as those of output channels, no zero points of
weights. What it should give is computed from the dequantizers of the file, in doubles.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812

from qlint.oracles.torch_saturation import STEPS, pairs

_WEIGHTED = {"aten::linear": 0, "aten::conv1d": 1, "aten::conv2d": 2}  # operator → dimensions of its images
_POOL = "aten::max_pool2d"


class Numbers:
    """Errors of the calls of an exported program."""

    def __init__(self, program: Any) -> None:
        signature = program.graph_signature
        stored = {**program.constants, **program.state_dict}
        lifted = {**signature.inputs_to_parameters, **signature.inputs_to_buffers, **signature.inputs_to_lifted_tensor_constants}
        self.values = {name: stored[target] for name, target in lifted.items()}

    def off(self, call: Any) -> float:
        """How many steps of the output (two-hundredths of the sum, of a layer with weights) the kernel is off."""
        name = call.target._schema.name
        try:
            if name == _POOL:
                return self._pool(call)
            return self._weighted(call, _WEIGHTED[name]) if name in _WEIGHTED else 0.0
        except (RuntimeError, KeyError, AttributeError, ValueError):  # no such kernel, or not a form that is known here
            return 0.0

    def _pool(self, call: Any) -> float:
        """The integers go through; the quantizer behind may be another one."""
        (behind,) = call.users
        (scale, zero, low, high), (scale_y, zero_y) = call.args[0].args[1:5], behind.args[1:3]
        codes = torch.arange(low, high + 1, dtype=torch.float64)
        wanted = (((codes - zero) * scale / scale_y).round() + zero_y).clamp(*behind.args[3:5])
        return float((codes - wanted).abs().max())

    def _weighted(self, call: Any, dims: int) -> float:
        args = [*call.args, *[None] * (7 - len(call.args))]
        _, x_scale, x_zero, _, high = args[0].args[:5]
        w, scales, zeros, axis = (self.values[one.name] if isinstance(one, torch.fx.Node) else one for one in args[1].args[:4])
        along = [-1 if n == axis else 1 for n in range(w.dim())]
        real = (w.double() - zeros.double().reshape(along)) * scales.double().reshape(along)
        dilation = list(args[5] or [1] * dims) if dims else []
        groups = int(args[6] or 1) if dims else 1
        rows = w.long().movedim(1, -1).reshape(len(w), -1)
        worst = 0.0
        for row, column in [*pairs(rows), (0, None)]:
            window = torch.full((rows.shape[1],), high if column is None else x_zero)
            if column is not None:
                window[column : column + 2] = high
            codes = window.reshape(*w.shape[2:], w.shape[1]).movedim(-1, 0)[None] if dims else window[None]
            codes = _spread(codes.repeat(1, groups, *[1] * dims), dilation, x_zero)
            floats = (codes.double() - x_zero) * x_scale
            exact = _convolved(floats, real, dilation, groups) if dims else floats @ real.T
            got = _kernel(codes.to(args[0].args[5]), w, x_scale, x_zero, scales, zeros, dilation, groups)
            size = float(exact.flatten()[row].abs())
            if size:
                worst = max(worst, float((got.double() - exact).flatten()[row].abs()) / (size / STEPS))
        return worst


def _spread(codes: torch.Tensor, dilation: list[int], between: int) -> torch.Tensor:
    """A window with the gaps of a dilated conv."""
    if not dilation:
        return codes
    size = [d * (k - 1) + 1 for d, k in zip(dilation, codes.shape[2:], strict=True)]
    spread = torch.full((*codes.shape[:2], *size), between)
    spread[(slice(None), slice(None), *(slice(None, None, d) for d in dilation))] = codes
    return spread


def _convolved(x: torch.Tensor, w: torch.Tensor, dilation: list[int], groups: int) -> torch.Tensor:
    return (F.conv1d if len(dilation) == 1 else F.conv2d)(x, w, None, 1, 0, dilation, groups)


def _kernel(x: torch.Tensor, w: torch.Tensor, x_scale: float, x_zero: int, scales: torch.Tensor, zeros: torch.Tensor, dilation: list[int], groups: int) -> torch.Tensor:
    """The operator that the passes put in place of a dequantize and a conv or linear layer."""
    end: tuple[Any, ...] = (1.0, 0, torch.float32, "none", [], "")
    onednn: Any = torch.ops.onednn
    made: torch.Tensor
    if not dilation:
        made = onednn.qlinear_pointwise(x, x_scale, x_zero, onednn.qlinear_prepack(w, list(x.shape)), scales, zeros, None, *end)
        return made
    dims = len(dilation)
    stride, padding = [1] * dims, [0] * dims
    packed = onednn.qconv_prepack(w, scales, x_scale, x_zero, stride, padding, dilation, groups, list(x.shape))
    made = onednn.qconv_pointwise(x, x_scale, x_zero, packed, scales, zeros, None, stride, padding, dilation, groups, *end)
    return made
