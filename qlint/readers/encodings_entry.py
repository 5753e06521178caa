"""One entry of an encodings file: its fields are asked for by name and kind, and what is not as the format has it is an error that says where."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeGuard

from qlint.errors import ReadError
from qlint.graph import Quantizer, container

MAX_BITS = 32
MAX_VALUES = 1 << 22  # scales of one tensor
MAX_NESTING = 8
MAX_INTEGER = 1 << 64
WHOLE = 1e-6


class Entry:
    """The fields of an entry, several spellings of a name in the order in which they are looked for."""

    def __init__(self, fields: object, where: str) -> None:
        self.where = where
        if not isinstance(fields, Mapping):
            raise self.error(f"is {_shown(fields)}", "an object with the fields of an encoding")
        self.fields = fields

    def error(self, found: str, expected: str) -> ReadError:
        return ReadError(f"{self.where} {found}; expected {expected}", hint="export the encodings again, or mend the entry")

    def get(self, *names: str) -> Any:
        return next((self.fields[name] for name in names if self.fields.get(name) is not None), None)

    def has(self, *names: str) -> bool:
        return self.get(*names) is not None

    def text(self, *names: str) -> str:
        """A string; '' if there is none."""
        value = self.get(*names)
        if value is not None and not isinstance(value, str):
            raise self.error(f"has {names[0]} {_shown(value)}", "text")
        return value or ""

    def flag(self, *names: str) -> bool:
        """A truth value, which older versions write as the text "True" or "False"; false if there is none."""
        value = self.get(*names)
        if value is None or isinstance(value, bool):
            return bool(value)
        if isinstance(value, str) and value.lower() in ("true", "false"):
            return value.lower() == "true"
        raise self.error(f"has {names[0]} {_shown(value)}", "true or false")

    def bits(self, *names: str) -> int:
        """A bit width, from 1 to 32.

        Raises:
            ReadError: there is none, or another value.
        """
        value = self.get(*names)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_BITS:
            raise self.error(f"has {names[0]} {_shown(value)}" if value is not None else f"has no {names[0]}", f"a whole number from 1 to {MAX_BITS}")
        return value

    def whole(self, name: str) -> int | None:
        """A whole number; None if there is none."""
        value = self.get(name)
        if value is None or (isinstance(value, int) and not isinstance(value, bool)):
            return value
        raise self.error(f"has {name} {_shown(value)}", "a whole number")

    def number(self, name: str) -> float | None:
        """The one number that a field holds; None if there is none."""
        values = self.numbers(name)
        if len(values) > 1:
            raise self.error(f"has {len(values)} values in {name}", "one")
        return values[0] if values else None

    def numbers(self, *names: str) -> tuple[float, ...]:
        """A number, or a list of them (nested or not), flat; nothing if there is none."""
        return self.array(*names)[0]

    def array(self, *names: str) -> tuple[tuple[float, ...], tuple[int, ...]]:
        """The numbers of a nested list, flat, and its shape: () of one number."""
        value = self.get(*names)
        if value is None:
            return (), ()
        shape = tuple(_shape(value))
        flat = tuple(self._flat(value, names[0], 0))
        if math.prod(shape) != len(flat):
            raise self.error(f"has lists of different lengths in {names[0]}", "a regular array of numbers")
        return flat, shape

    def _flat(self, value: object, name: str, depth: int) -> Iterator[float]:
        if isinstance(value, list) and depth < MAX_NESTING:
            if len(value) > MAX_VALUES:
                raise self.error(f"has {len(value)} values in {name}", f"{MAX_VALUES} at most")
            for item in value:
                yield from self._flat(item, name, depth + 1)
        elif is_number(value):
            yield _whole(value)
        else:
            raise self.error(f"has {name} {_shown(value)}", "a number or a list of numbers")


def uniform(
    scale: Sequence[float], zero_point: Sequence[float], low: float, high: float, *, shape: tuple[int, ...] | None = None, axis: int | None = None,
    block: int = 0, storage: str = "",
) -> Quantizer:  # fmt: skip
    """A grid of an encodings file: codes from `low` to `high`, one scale for the tensor or one for each channel or block."""
    several = len(scale) > 1
    stated = (len(scale),) if shape is None else shape
    return Quantizer(
        storage or container(low, high), tuple(scale), tuple(zero_point), stated if several else (), stated if several else (),
        "block" if block else "channel" if several else "tensor", axis if several or block else None, block, qmin=low, qmax=high, origin="encodings",
    )  # fmt: skip


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value of JSON is a number that a float can hold, infinite ones included; JSON has integers of any length."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and (isinstance(value, float) or abs(value) < MAX_INTEGER)


def _whole(value: float) -> float:
    """Offsets come as floats at times; what is a whole number is one."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1 << 53 else value


def _shape(value: object) -> Iterator[int]:
    depth = 0
    while isinstance(value, list) and depth < MAX_NESTING:
        yield len(value)
        value, depth = value[0] if value else None, depth + 1


def _shown(value: object) -> str:
    """A value as the file has it, cut to a length that fits into a sentence."""
    if value is None:
        return "null"
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."
