"""Fake quantizers of a live module, frozen: a copy of the module in which each is one operator of PyTorch with its numbers.

Fake quantizers observe, decide by flags that are tensors and read numbers out of parameters, none of which torch.export or
torch.jit.trace follows. Their grid is in their attributes. Known are the classes that come from torch.ao's FakeQuantizeBase
(MQBench's do) and Brevitas' proxies; other modules with a scale and bounds are frozen only if they compute what the plain
quantizer computes, which is tried on a copy.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

# The names that libraries and papers' code use, in the order in which they are looked for.
SCALES = ("scale", "step_size", "s", "delta")
ZEROS = ("zero_point", "zp", "offset")
LOWS = ("quant_min", "qmin", "q_min", "thd_neg", "Qn", "n_levels_low")
HIGHS = ("quant_max", "qmax", "q_max", "thd_pos", "Qp", "n_levels_high")
BITS = ("bitwidth", "bit_width", "bits", "n_bits", "nbits", "num_bits")
MAX_RANGES = 1 << 16  # channels of one observer
SAMPLES = 257  # numbers on which a module is held against the plain quantizer
EPSILON = 2.0**-23


@dataclass(frozen=True, slots=True)
class Grid:
    """What a fake quantizer rounds to. `scale` and `zero_point` are tensors of one element, or one for each channel of `axis`."""

    scale: Any
    zero_point: Any
    low: int
    high: int
    axis: int | None = None
    learned: bool = False  # scale and zero point are trained, as LSQ+ does
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class Seen:
    """What the observer of a fake quantizer does, and what it has seen: fields of `qlint.graph.Quantizer`."""

    observing: bool = False
    uncalibrated: bool = False
    observed: tuple[tuple[float, float], ...] = ()


@dataclass(slots=True)
class Frozen:
    """The copy, and what was done to it."""

    module: Any = None
    quantizers: list[str] = field(default_factory=list)  # paths of modules
    observers: list[str] = field(default_factory=list)
    transforming: list[str] = field(default_factory=list)  # that compute something else than a plain quantizer on their grid
    unknown: list[str] = field(default_factory=list)  # whose attributes hold no grid; they stay as they are
    seen: dict[str, Seen] = field(default_factory=dict)  # of the observers of fake quantizers, by path of those
    hooks: list[str] = field(default_factory=list)

    def notes(self) -> Iterator[str]:
        """What a reader of the report has to know."""
        if self.quantizers:
            yield f"{len(self.quantizers)} fake quantizers were frozen to plain ones for the export, in a copy"
        if self.transforming:
            yield f"{_few(self.transforming)}: computes something else than a plain quantizer on its grid; the grid was checked, the rest was not"
        if self.hooks:
            yield f"{_few(self.hooks)}: has hooks of its own, which were left out"


def freeze(module: Any) -> Frozen:
    """A copy of a module in eval mode with frozen fake quantizers; parameters and buffers are shared, nothing of the original changes."""
    found = Frozen()
    found.module = _copied(module, "", {}, found)
    return found


def _copied(module: Any, path: str, done: dict[int, Any], found: Frozen) -> Any:
    import torch

    if id(module) in done:
        return done[id(module)]
    if isinstance(module, torch.jit.ScriptModule):
        return module
    stand_in = _stand_in(module, path, found)
    if stand_in is not None:
        done[id(module)] = stand_in
        return stand_in
    twin = done[id(module)] = _twin(module)
    fields = twin.__dict__
    fields["_modules"] = {
        name: None if child is None else _copied(child, f"{path}.{name}" if path else name, done, found) for name, child in module._modules.items()
    }
    for name in ("_forward_hooks", "_forward_pre_hooks"):
        own = {key for key, hook in module.__dict__.get(name, {}).items() if not _of_torch(hook)}
        fields[name] = OrderedDict((key, hook) for key, hook in module.__dict__.get(name, {}).items() if key not in own)
        if own:
            found.hooks.append(path or type(module).__name__)
    for name in ("_backward_hooks", "_backward_pre_hooks"):
        fields[name] = OrderedDict()
    if "return_quant_tensor" in fields:  # of Brevitas' layers: their stand-ins hand on plain tensors
        fields["return_quant_tensor"] = False
    return twin


def _twin(module: Any) -> Any:
    """Another module with the same children, parameters and buffers, in eval mode; what is put into one is not in the other."""
    twin = object.__new__(type(module))
    twin.__dict__.update({name: copy.copy(value) if type(value) in (list, dict, set, OrderedDict) else value for name, value in module.__dict__.items()})
    twin.__dict__["training"] = False
    return twin


def _of_torch(hook: Any) -> bool:
    """Whether a hook is PyTorch's own (weight norm, pruning, the observers of torch.ao), and part of what the module computes."""
    return (getattr(hook, "__module__", None) or type(hook).__module__ or "").partition(".")[0] in ("torch", "torchao")


def _stand_in(module: Any, path: str, found: Frozen) -> Any:
    """What takes the place of a fake quantizer or an observer; None for every other module."""
    kinds = {kind.__name__ for kind in type(module).__mro__ if kind.__module__.startswith(("torch.ao.", "torchao.", "brevitas."))}
    if "ObserverBase" in kinds and "FakeQuantizeBase" not in kinds:
        found.observers.append(path)
        return _in_place_of(module, "identity")
    if "FakeQuantizeBase" in kinds:
        grid, known = _grid(module), True
    elif "QuantProxyFromInjector" in kinds:
        return _of_brevitas(module, kinds, path, found)
    else:
        grid, known = (_grid(module) if not module._modules and "weight" not in module._parameters else None), False
    if grid is None:
        found.unknown += [f"{path} ({type(module).__name__})"] if known else []
        return None
    computed = next((one for one in _readings(grid) if _alike(module, one)), None)
    if computed is None and not known:
        return None
    if computed is None and grid.enabled:
        found.transforming.append(path)
    grid = computed or grid
    found.quantizers.append(path)
    found.seen[path] = _seen(module)
    return _in_place_of(module, "quantizer" if grid.enabled else "disabled", grid)


def _seen(module: Any) -> Seen:
    """From the flag and the buffers of an observer, as torch.ao has them (MQBench's too)."""
    import torch

    flag = getattr(module, "observer_enabled", None)
    ends = [getattr(getattr(module, "activation_post_process", None), name, None) for name in ("min_val", "max_val")]
    low, high = (end.detach().float().reshape(-1).tolist() if isinstance(end, torch.Tensor) and end.numel() <= MAX_RANGES else [] for end in ends)
    ranges = tuple(zip(low, high, strict=True)) if len(low) == len(high) else ()
    empty = isinstance(ends[0], torch.Tensor) and all(value == float("inf") for value in low)
    learned = isinstance(getattr(module, "scale", None), torch.nn.Parameter)  # whatever an observer has seen
    return Seen(isinstance(flag, torch.Tensor) and bool(flag.reshape(-1)[0]), empty and not learned, () if empty else ranges)


def _of_brevitas(proxy: Any, kinds: set[str], path: str, found: Frozen) -> Any:
    """In place of a proxy of Brevitas, which hands on tensors of a class of its own: its activation and its quantizer.

    A bias stays in float: its grid is that of the accumulator. What is not on a plain grid (binary, ternary, float) stays as it is.
    """
    activation = getattr(getattr(proxy, "fused_activation_quant_proxy", None), "activation_impl", None)
    if "BiasQuantProxyFromInjectorBase" in kinds or not getattr(proxy, "is_quant_enabled", False):
        return _in_place_of(proxy, "identity", activation)
    twin = _eval(proxy)
    try:
        scale, zero, bits, signed, narrow = twin.scale(), twin.zero_point(), round(float(twin.bit_width())), bool(twin.is_signed), bool(twin.is_narrow_range)
    except (AttributeError, TypeError, ValueError, RuntimeError):
        return None
    low, high = (-(1 << bits - 1) + narrow, (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1 - narrow)
    axis = next((number for number, size in enumerate(scale.shape) if size > 1), None)
    scales = scale.detach().float().reshape(-1)
    grid = Grid(scales, zero.detach().float().reshape(-1).expand_as(scales).clone(), low, high, axis)
    weights = getattr(twin, "tracked_parameter_list", None)  # from which the proxy computes the scale anew
    if not _same(lambda x: getattr(made := twin(x), "value", made), grid, activation, weights[0].detach() if weights else None):
        return None
    found.quantizers.append(path)
    return _in_place_of(proxy, "quantizer", grid, activation)


def _eval(module: Any) -> Any:
    """A twin all the way down."""
    import torch

    twin = module if isinstance(module, torch.jit.ScriptModule) else _twin(module)
    if twin is not module:
        twin.__dict__["_modules"] = {name: None if child is None else _eval(child) for name, child in module._modules.items()}
    return twin


# -- what the attributes say ----------------------------------------------------------------------------


def _grid(module: Any) -> Grid | None:
    """The grid of a module with a scale and bounds; None if one of them is missing or no number."""
    import torch

    scale, zero = _first(module, SCALES), _first(module, ZEROS)
    bounds = _bounds(module)
    if bounds is None or not isinstance(scale, (torch.Tensor, float)) or isinstance(scale, bool):
        return None
    scales = torch.as_tensor(scale).detach().float().abs().clamp(min=EPSILON).reshape(-1)
    zeros = torch.zeros_like(scales) if zero is None else torch.as_tensor(zero).detach().float().reshape(-1)
    if not scales.numel() or zeros.numel() not in (1, scales.numel()):
        return None
    axis = getattr(module, "ch_axis", None)
    flag = getattr(module, "fake_quant_enabled", None)
    return Grid(
        scales, zeros.expand_as(scales).clone(), *bounds, axis=(axis if isinstance(axis, int) and axis >= 0 else 0) if scales.numel() > 1 else None,
        learned=isinstance(scale, torch.nn.Parameter) and (isinstance(zero, torch.nn.Parameter) or "Learnable" in type(module).__name__), enabled=not isinstance(flag, torch.Tensor) or bool(flag.reshape(-1)[0]),
    )  # fmt: skip


def _readings(grid: Grid) -> Iterator[Grid]:
    """The grid as the attributes have it, then with the power of two that a module may take in place of the scale (TQT the next one)."""
    yield grid
    for how in ("ceil", "round", "floor"):
        yield replace(grid, scale=2.0 ** getattr(grid.scale.log2(), how)())


def _bounds(module: Any) -> tuple[int, int] | None:
    """Lowest and highest code. Thresholds of papers' code may be given without a sign: `Qn` is then how far below zero it goes."""
    low, high = (_first(owner, names) for owner, names in ((module, LOWS), (module, HIGHS)))
    observer = getattr(module, "activation_post_process", None)
    if low is None or high is None:
        low, high = getattr(observer, "quant_min", low), getattr(observer, "quant_max", high)
    if low is None or high is None:
        bits, signed = _first(module, BITS), getattr(module, "signed", None)
        if not isinstance(bits, int) or not isinstance(signed, bool) or not 1 < bits <= 32:
            return None
        low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    try:
        ends = int(low), int(high)
    except (TypeError, ValueError, RuntimeError):
        return None
    return ends if ends[0] < ends[1] else None


def _first(module: Any, names: tuple[str, ...]) -> Any:
    return next((value for name in names if (value := getattr(module, name, None)) is not None and not callable(value)), None)


def _alike(module: Any, grid: Grid) -> bool:
    """Whether a copy of a module, switched on and with its observer off, rounds as the plain quantizer does."""
    import torch

    try:
        twin = copy.deepcopy(module).eval().cpu()
    except Exception:  # what cannot be copied cannot be tried
        return False
    for name, value in (("observer_enabled", 0), ("fake_quant_enabled", 1)):
        if isinstance(getattr(twin, name, None), torch.Tensor):
            getattr(twin, name).fill_(value)
    return _same(twin, grid)


def _same(function: Callable[[Any], Any], grid: Grid, activation: Callable[[Any], Any] | None = None, x: Any = None) -> bool:
    """Whether a function rounds `x`, or numbers over the whole range and beyond, as the plain quantizer does behind an activation."""
    import torch

    plain = replace(grid, scale=grid.scale.cpu(), zero_point=grid.zero_point.cpu())
    step = float(plain.scale.max())
    if x is None:
        x = torch.linspace(1.3 * step * (grid.low - float(plain.zero_point.max())), 1.3 * step * (grid.high - float(plain.zero_point.min())), SAMPLES)
        if grid.axis is not None:
            shape = [2, 2, 2, 2]
            shape[grid.axis] = plain.scale.numel()
            x = x.repeat(-(-plain.scale.numel() * 8 // SAMPLES))[: plain.scale.numel() * 8].reshape(shape)
    try:
        theirs, ours = function(x), _quantize(x.cpu() if activation is None else activation(x).cpu(), *_numbers(plain), plain)
    except Exception:  # whatever it does with numbers that it was not made for
        return False
    if not isinstance(theirs, torch.Tensor) or theirs.shape != ours.shape:
        return False
    apart = (theirs.detach().cpu() - ours).abs()
    return bool(apart.max() <= 1.01 * step) and float((apart > 1e-3 * step).float().mean()) <= 0.02  # ties may be rounded otherwise


# -- what stands in their place -------------------------------------------------------------------------


def _quantize(x: Any, scale: Any, zero_point: Any, grid: Grid) -> Any:
    """The operator of PyTorch; of trained scales the one that torch.ao and MQBench use for them, which takes fractional zero points."""
    import torch

    if grid.learned:
        if grid.axis is None:
            return torch._fake_quantize_learnable_per_tensor_affine(x, scale, zero_point, grid.low, grid.high, 1.0)
        return torch._fake_quantize_learnable_per_channel_affine(x, scale, zero_point, grid.axis, grid.low, grid.high, 1.0)
    if grid.axis is None:
        return torch.fake_quantize_per_tensor_affine(x, scale, zero_point, grid.low, grid.high)
    return torch.fake_quantize_per_channel_affine(x, scale, zero_point, grid.axis, grid.low, grid.high)


def _numbers(grid: Grid) -> tuple[Any, Any]:
    """(scale, zero point) as `_quantize` takes them: tensors, or of a fixed grid for the whole tensor two numbers."""
    zeros = grid.zero_point if grid.learned else grid.zero_point.round().clamp(grid.low, grid.high).int()
    return (grid.scale, zeros) if grid.learned or grid.axis is not None else (float(grid.scale[0]), int(zeros[0]))


def _in_place_of(original: Any, role: str, *given: Any) -> Any:
    kind: Any = type(original)
    return _class(kind, role)(*given)


@cache
def _class(original: Any, role: str) -> Any:
    """A module class with the name of the original, so that an export says what stood there."""
    import torch

    class Identity(torch.nn.Module):
        is_quant_enabled = requires_quant_input = False

        def __init__(self, activation: Any = None) -> None:
            super().__init__()
            self.training, self.activation = False, activation

        def forward(self, x: Any, *_: Any) -> Any:
            return x if self.activation is None else self.activation(x)

    class Quantizer(torch.nn.Module):
        is_quant_enabled, requires_quant_input = True, False  # what Brevitas' layers ask of their proxies

        def __init__(self, grid: Grid, activation: Any = None) -> None:
            super().__init__()
            self.training, self.grid, self.activation = False, grid, activation
            for name, value in zip(("scale", "zero_point"), _numbers(grid), strict=True):
                if isinstance(value, torch.Tensor):
                    self.register_buffer(name, value)
                else:
                    setattr(self, name, value)

        def forward(self, x: Any, *_: Any) -> Any:
            return _quantize(x if self.activation is None else self.activation(x), self.scale, self.zero_point, self.grid)

    class Disabled(torch.nn.Module):
        """The operator of PyTorch that is switched off by an argument, as an export of the original has it."""

        observer_on: torch.Tensor
        fake_quant_on: torch.Tensor
        running_min: torch.Tensor
        running_max: torch.Tensor
        scale: torch.Tensor
        zero_point: torch.Tensor

        def __init__(self, grid: Grid) -> None:
            super().__init__()
            self.training, self.grid = False, grid
            for name, value in {"observer_on": 0, "fake_quant_on": 0}.items():
                self.register_buffer(name, torch.full((1,), value, dtype=torch.long))
            for name in ("running_min", "running_max"):
                self.register_buffer(name, torch.zeros_like(grid.scale))
            self.register_buffer("scale", grid.scale)
            self.register_buffer("zero_point", grid.zero_point.round().int())

        def forward(self, x: Any, *_: Any) -> Any:
            channels = self.grid.axis is not None
            return torch.fused_moving_avg_obs_fake_quant(
                x, self.observer_on, self.fake_quant_on, self.running_min, self.running_max, self.scale, self.zero_point,
                0.01, self.grid.low, self.grid.high, self.grid.axis or 0, channels, False,
            )  # fmt: skip

    made = {"identity": Identity, "quantizer": Quantizer, "disabled": Disabled}[role]
    return type(original.__name__, (made,), {"__module__": original.__module__, "__qualname__": original.__qualname__})


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
