"""The arguments of torch operators by name: which overload a call means, and what it leaves out."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from qlint.readers.unpickle import TensorRecord

Overload = tuple[list[list[Any]], list[str]]  # arguments [name, type] or [name, type, default], and the types of results


@lru_cache(maxsize=1)
def _text() -> str:
    return Path(__file__).with_name("torch_schema.json").read_text(encoding="utf-8")


@lru_cache(maxsize=4096)
def overloads(native: str) -> list[Overload]:
    """The overloads of an operator (`aten::conv2d`), read out of the table without parsing all of it."""
    text, key = _text(), f'"{native}":'
    at = text.find(key)
    found: list[Overload] = [] if at < 0 else json.JSONDecoder().raw_decode(text, at + len(key))[0]
    return found


def bind(native: str, args: list[Any], named: dict[str, Any]) -> tuple[dict[str, Any], list[str] | None]:
    """The arguments of a call by name, defaults filled in, and the types of its results; None if the operator is not known.

    The first overload that takes these arguments is meant, as in PyTorch.
    """
    for parameters, results in overloads(native):
        if len(args) > len(parameters):
            continue
        bound: dict[str, Any] = {}
        left = len(named)
        for at, parameter in enumerate(parameters):
            name = parameter[0]
            if at < len(args):
                value = args[at]
            elif name in named:
                value, left = named[name], left - 1
            elif len(parameter) > 2:
                value = parameter[2]
                bound[name] = value
                continue
            else:
                break
            if parameter[1] not in _TAKEN.get(type(value), ()) and not _fits(value, parameter[1]):  # nearly always the first
                break
            bound[name] = value
        else:
            if not left:
                return bound, results
    return {**{f"x{at}": value for at, value in enumerate(args)}, **named}, None


def _fits(value: Any, kind: str) -> bool:
    """Whether a value may be of a type; of what is only known at run time everything is believed but what it is not."""
    own = getattr(value, "kind", "")
    if own and own == kind:
        return True
    base = kind.removesuffix("?")
    if value is None:
        return base != kind or base in _ANYTHING or kind.startswith("Optional")
    if isinstance(value, bool):
        return base in ("b", "s", "i", "str?") or base in _ANYTHING
    if isinstance(value, int):
        return base in ("i", "s", "f", "i[]", "f[]", "Device") or base in _ANYTHING
    if isinstance(value, float):
        return base in ("f", "s", "f[]") or base in _ANYTHING
    if isinstance(value, str):
        return "str" in kind or "Device" in kind or base in _ANYTHING
    if isinstance(value, list):
        return base.endswith(("[]", "]")) and (base == "T[]" or base == "T?[]") == any(_is_tensor(item) for item in value) if value else base.endswith(("[]", "]")) or base in _ANYTHING
    if own in ("i", "f", "b", "s"):
        return base in (own, "s") or (own == "i" and base == "f") or base in _ANYTHING
    if own in ("i[]", "f[]", "T[]", "b[]"):
        return base == own or base in _ANYTHING or (base.startswith("List") and own != "T[]")
    if _is_tensor(value):
        return base in ("T", "f", "i", "s") if own in ("", "T") else base == "T"
    return True


_TAKEN: dict[type, frozenset[str]] = {bool: frozenset(("b", "s", "i")), int: frozenset(("i", "s", "f")), float: frozenset(("f", "s")), TensorRecord: frozenset("T")}
_ANYTHING = ("t", "t1", "t2", "Any", "AnyListType", "tuple", "object")


def _is_tensor(value: Any) -> bool:
    return getattr(value, "kind", "") in ("T", "?") or hasattr(value, "storage")
