"""What TorchScript code computes with plain numbers, texts and lists: done at once, as the interpreter would."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

MAX_ITEMS = 100_000  # of a list or text that code builds
MAX_INTEGER = 1 << 63


class Unknown(Exception):
    """It cannot be told, or would be too large."""


def _sized(value: Any) -> Any:
    if isinstance(value, int) and abs(value) > MAX_INTEGER:
        raise Unknown
    if isinstance(value, (list, str, tuple)) and len(value) > MAX_ITEMS:
        raise Unknown
    return value


def _mul(a: Any, b: Any) -> Any:
    if isinstance(a, (list, str)) or isinstance(b, (list, str)):
        items, times = (a, b) if isinstance(a, (list, str)) else (b, a)
        if len(items) * max(0, times) > MAX_ITEMS:
            raise Unknown
    return a * b


def _pow(a: Any, b: Any) -> Any:
    if abs(a) > 1e6 or abs(b) > 64:
        raise Unknown
    return a**b


def _div(a: Any, b: Any) -> Any:
    return a / b


def _remainder(a: Any, b: Any) -> Any:
    return a % b


def _round_to_zero(a: int, b: int) -> int:
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def _slice(items: Any, start: Any = None, end: Any = None, step: Any = 1) -> Any:
    return items[slice(start, end, step)]


def _range_length(lo: int, hi: int, step: int) -> int:
    return max(0, len(range(lo, hi, step)))


def _format(text: str, *values: Any) -> str:
    return text  # only ever of messages


def _lowest(a: Any, b: Any = None) -> Any:
    return min(a) if b is None else min(a, b)


def _highest(a: Any, b: Any = None) -> Any:
    return max(a) if b is None else max(a, b)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "aten::add": operator.add, "aten::sub": operator.sub, "aten::mul": _mul, "aten::div": _div, "aten::floordiv": operator.floordiv,
    "aten::remainder": _remainder, "aten::fmod": math.fmod, "aten::pow": _pow, "aten::neg": operator.neg,
    "aten::__round_to_zero_floordiv": _round_to_zero,
    "aten::eq": operator.eq, "aten::ne": operator.ne, "aten::lt": operator.lt, "aten::le": operator.le, "aten::gt": operator.gt, "aten::ge": operator.ge,
    "aten::__not__": operator.not_, "aten::__and__": operator.and_, "aten::__or__": operator.or_, "aten::__xor__": operator.xor,
    "aten::__lshift__": lambda a, b: a << b if 0 <= b < 64 else _sized(MAX_INTEGER + 1), "aten::__rshift__": lambda a, b: a >> min(b, 64),
    "aten::__contains__": lambda items, x: x in items, "aten::__getitem__": lambda items, at: items[at], "aten::len": len,
    "aten::floor": math.floor, "aten::ceil": math.ceil, "aten::sqrt": math.sqrt, "aten::log": math.log, "aten::exp": math.exp, "aten::round": round,
    "aten::abs": abs, "prim::abs": abs, "prim::min": _lowest, "prim::max": _highest, "aten::Int": int, "aten::Float": float, "aten::Bool": bool,
    "aten::ScalarImplicit": lambda v: v, "aten::IntImplicit": lambda v: v, "aten::FloatImplicit": lambda v: v, "aten::sum": sum,
    "aten::slice": _slice, "aten::__range_length": _range_length, "aten::__derive_index": lambda index, start, step: start + index * step,
    "aten::format": _format, "aten::str": str, "aten::list": list, "aten::index": lambda items, x: items.index(x), "aten::copy": list,
    "aten::lower": str.lower, "aten::upper": str.upper, "aten::startswith": lambda text, start: text.startswith(start),
    "aten::endswith": lambda text, end: text.endswith(end), "aten::keys": lambda d: list(d), "aten::values": lambda d: list(d.values()),
    "aten::items": lambda d: list(d.items()), "aten::get": lambda d, key, default=None: d.get(key, default), "prim::rangelist": lambda n: list(range(min(n, MAX_ITEMS))),
    "aten::is_scripting": lambda: True, "aten::is_grad_enabled": lambda: False, "aten::is_autocast_enabled": lambda *_: False,
    "aten::is_autocast_cpu_enabled": lambda: False, "aten::_get_tracing_state": lambda: False, "aten::warn": lambda *_: None, "prim::Print": lambda *_: None,
    "aten::manual_seed": lambda *_: None, "aten::has_torch_function": lambda *_: False, "aten::isfinite": math.isfinite, "aten::isinf": math.isinf, "aten::isnan": math.isnan,
}  # fmt: skip
_ALWAYS = {"aten::warn", "prim::Print", "aten::has_torch_function", "aten::format", "aten::is_autocast_enabled"}  # whatever they are given


def plain(value: Any) -> bool:
    """Whether a value is plain data, without anything that is known only at run time."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return True
    return isinstance(value, (list, tuple)) and all(map(plain, value))


def fold(native: str, args: list[Any]) -> Any:
    """The result of an operator on plain data.

    Raises:
        Unknown: the operator is none of these, something is not plain, or the result would not make sense.
    """
    function = FUNCTIONS.get(native)
    if function is None or not (native in _ALWAYS or _foldable(native, args)):
        raise Unknown
    try:
        return _sized(function(*args))
    except Unknown:
        raise
    except (ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise Unknown from error


def _foldable(native: str, args: list[Any]) -> bool:
    if all(map(plain, args)):
        return True
    # Lists and dictionaries may hold anything, as long as it is not looked at.
    return native in _CONTAINERS and isinstance(args[0], (list, tuple, dict)) and all(map(plain, args[1:])) and not _open(args[0])


_CONTAINERS = {"aten::len", "aten::__getitem__", "aten::slice", "aten::list", "aten::copy", "aten::keys", "aten::values", "aten::items", "aten::get"}


def _open(items: Any) -> bool:
    """Whether a list ends in something of which only a loop knows how long it is."""
    return isinstance(items, list) and any(getattr(item, "kind", "").endswith("[]") for item in items)
