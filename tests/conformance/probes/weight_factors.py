"""What is varied around the clean form of an operator's weight, bias and constant operands."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import numpy as np

from .builder import MICROSOFT
from .factors import Act, Factor
from .quant import STORAGE, Quant, Series, of_range, of_weights
from .style import weight_axis
from .subject import Skip, Subject


def weigh(s: Subject, dtype: str = "", axis: int | None = None, zero: int | None = None, block: int = 0) -> None:
    """Quantize the weight anew; what is not said stays as it is."""
    now, values = s.quant(s.w), s.net.consts[s.w]
    if block and (axis is None or values.shape[axis] % block):
        raise Skip
    s.put(s.w, of_weights(values, dtype or now.dtype, axis, block, zero).but(domain=now.domain))


def out_axis(s: Subject) -> int:
    return weight_axis(s.node, s.net.consts[s.w].ndim)


def in_axis(s: Subject) -> int:
    """The axis that a tool takes by mistake: the one beside the output channels."""
    if s.net.consts[s.w].ndim < 2:
        raise Skip
    return {0: 1, 1: 0}.get(out_axis(s), out_axis(s) - 1)


def same_axis(s: Subject) -> int | None:
    return s.quant(s.w).axis


def retype(s: Subject, dtype: str) -> None:
    if s.quant(s.w).dtype == dtype:
        raise Skip
    weigh(s, dtype, same_axis(s))


def granularity(s: Subject, channel: bool) -> None:
    if (same_axis(s) is None) != channel:
        raise Skip
    weigh(s, axis=out_axis(s) if channel else None)


def asymmetric(s: Subject, channel: bool) -> None:
    """Zero points away from the middle of the grid; another one for each channel."""
    weigh(s, axis=out_axis(s) if channel else None)
    quant = s.quant(s.w)
    zeros = tuple(quant.storage.mid + 3 + i % 4 for i in range(quant.scales().size))
    s.put(s.w, quant.but(zero=zeros if channel else zeros[0]))


def float_bias(s: Subject) -> None:
    s.biases[s.b] = Series()


def stored_bias(s: Subject, dtype: str) -> None:
    """A bias quantized by its own range, as tools do that see a bias as one more constant."""
    values = s.net.consts[s.b]
    top = STORAGE[dtype].qmax - STORAGE[dtype].mid
    quant = Quant(dtype, float(np.abs(values).max()) / top, STORAGE[dtype].mid, domain=s.style.domain)
    if quant.since > s.net.opset:
        raise Skip
    s.biases[s.b] = Series((quant,), folded=True)


def no_bias(s: Subject) -> None:
    del s.node.inputs[s.slots("b")[0] if s.slots("b") else _none() :]


def _none() -> int:
    raise Skip


def operands(s: Subject) -> list[str]:
    return [s.node.inputs[slot] for slot in s.slots("c")] or [str(_none())]


def all_weights(s: Subject, act: Act) -> None:
    """The same at every operator with a weight."""
    focus, done = s.node, False
    for node in s.net.nodes:
        s.node = node
        with suppress(Skip):
            act(s)
            done = True
    s.node = focus
    if not done:
        raise Skip


def _factors() -> Iterator[Factor]:
    yield Factor("w", "float", lambda s: s.put(s.w))
    for dtype in ("s8", "u8", "s4", "u4", "s16", "s2", "f8e4"):
        yield Factor("w", dtype, lambda s, d=dtype: retype(s, d))  # type: ignore[misc]
    yield Factor("w", "per-tensor", lambda s: granularity(s, False))
    yield Factor("w", "per-channel", lambda s: granularity(s, True))
    yield Factor("w", "wrong-axis", lambda s: weigh(s, axis=in_axis(s)))
    yield Factor("w", "asymmetric", lambda s: asymmetric(s, False))
    yield Factor("w", "asymmetric-channels", lambda s: asymmetric(s, True))
    yield Factor("w", "blocks", lambda s: weigh(s, axis=in_axis(s), block=2))
    yield Factor("w", "vector", lambda s: s.change([s.w], lambda q: q.vector))
    yield Factor("w", "zero-point-omitted", lambda s: s.change([s.w], lambda q: q.but(zero=None)))
    yield Factor("w", "power-of-two", lambda s: s.change([s.w], lambda q: q.but(scale=2.0**-10, shape=(), axis=None, zero=q.storage.mid)))
    yield Factor("w", "microsoft", lambda s: s.change([s.w], lambda q: q.but(domain=MICROSOFT)))
    yield Factor("w", "float-then-q", lambda s: s.options([s.w], folded=not s.plan.series[s.w].folded))
    yield Factor("w", "identity", lambda s: s.options([s.w], via="Identity"))
    yield Factor("w", "twice", lambda s: s.put(s.w, s.quant(s.w), s.quant(s.w)))
    for dtype in ("u8", "s4", "s16"):
        yield Factor("weights", dtype, lambda s, d=dtype: all_weights(s, lambda t: retype(t, d)))  # type: ignore[misc]
    yield Factor("weights", "per-tensor", lambda s: all_weights(s, lambda t: granularity(t, False)))
    yield Factor("weights", "asymmetric", lambda s: all_weights(s, lambda t: asymmetric(t, False)))
    yield Factor("b", "float", float_bias)
    for factor in (2.0, 1.3, 1.00001):
        yield Factor("b", f"scale-x{factor:g}", lambda s, f=factor: s.biases.__setitem__(s.b, f))  # type: ignore[misc]
    for dtype in ("s8", "u8", "s16"):
        yield Factor("b", dtype, lambda s, d=dtype: stored_bias(s, d))  # type: ignore[misc]
    yield Factor("b", "none", no_bias)
    yield Factor("b", "float-w-float", lambda s: (float_bias(s), s.put(s.w)))
    yield Factor("c", "float", lambda s: [s.put(c) for c in operands(s)])
    for dtype in ("u8", "s8", "u16", "s16"):
        yield Factor("c", dtype, lambda s, d=dtype: [s.put(c, of_range(d, *_span(s, c)).but(domain=s.style.domain)) for c in operands(s)])  # type: ignore[misc]
    yield Factor("c", "vector", lambda s: s.change(operands(s), lambda q: q.vector))


def _span(s: Subject, constant: str) -> tuple[float, float]:
    values = s.net.consts[constant]
    return float(values.min()), float(values.max())


WEIGHT_FACTORS = list(_factors())
