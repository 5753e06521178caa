"""What TorchScript code works on while it is evaluated: values of the network, the nodes that make them, and plain data."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from qlint.graph import Shape
from qlint.readers.torchscript_packed import Packed
from qlint.readers.unpickle import Global, Instance, TensorRecord


@dataclass(slots=True, eq=False)
class Value:
    """Something that is known only when the network runs; `kind` is its type as in the table of operators."""

    kind: str
    node: Node | None = None
    name: str = ""  # of an input
    size: bool = False  # only ever says how something is shaped
    items: dict[int, Value] = field(default_factory=dict)  # of a list that an operator makes: its elements, as far as asked for
    now: Any = None  # what it is after an operator has written into it
    shape: Shape | None = None  # where the file tells


@dataclass(slots=True, eq=False)
class Node:
    """An operator: its arguments by name (values, and plain data), its results, and where it stands."""

    native: str
    args: dict[str, Any]
    outputs: list[Value]
    path: str  # of the module
    source: str
    blocks: tuple[Block, ...] = ()


@dataclass(slots=True, eq=False)
class Block:
    """The nodes of the network, or of a branch or loop body."""

    nodes: list[Node] = field(default_factory=list)
    inputs: list[Value] = field(default_factory=list)
    outputs: list[Any] = field(default_factory=list)
    shared: dict[Any, Any] = field(default_factory=dict)  # results of shape arithmetic, by operator and arguments


_WRITTEN = frozenset((Value, TensorRecord))  # what operators write into


class Raised(Exception):
    """The code that is followed always ends in an error."""


KINDS = {"Tensor": "T", "int": "i", "float": "f", "bool": "b", "List[Tensor]": "T[]", "List[int]": "i[]", "List[float]": "f[]", "str": "str", "number": "s"}
ELEMENTS = {"i[]": "i", "f[]": "f", "b[]": "b", "T[]": "T"}
# Buffers and attributes that keep book of training and calibration: networks are judged with their present values.
STATISTICS = {"min_val", "max_val", "running_mean", "running_var", "num_batches_tracked", "histogram", "scale", "zero_point", "eps"}
NOTHING = object()  # `uninitialized(T)`
Place = tuple[str, Any, Any]  # what was written: how (attribute, items, entries, now), into what, under which name


def latest(value: Any) -> Any:
    """A value as it is now, after everything that was written into it."""
    while type(value) in _WRITTEN and value.now is not None:
        value = value.now
    return value


def is_open(item: Any) -> bool:
    """A list of which only the running network knows how long it is."""
    return isinstance(item, Value) and item.kind.endswith("[]")


def kind_of(value: Any) -> str:
    if isinstance(value, Value):
        return value.kind
    if isinstance(value, bool):
        return "b"
    if isinstance(value, (int, float)):
        return "i" if isinstance(value, int) else "f"
    if isinstance(value, list):
        return "i[]" if value and all(isinstance(item, int) or kind_of(item) == "i" for item in value) else "T[]"
    return "str" if isinstance(value, str) else "T"


def identity(value: Any) -> Any:
    """Something that is equal for the same argument."""
    if isinstance(value, (list, tuple)):
        return tuple(map(identity, value))
    return (type(value), value) if value is None or isinstance(value, (int, float, str)) else id(value)


def leaves(value: Any) -> Iterator[Any]:
    """The values in nested tuples; modules and the like are none."""
    value = latest(value)
    if isinstance(value, tuple):
        for part in value:
            yield from leaves(part)
    elif not isinstance(value, (Instance, Packed, Global)):
        yield value


def rebuilt(value: Any, parts: Iterator[Any]) -> Any:
    """The same nested tuples with other leaves."""
    value = latest(value)
    if isinstance(value, tuple):
        return tuple(rebuilt(part, parts) for part in value)
    return value if isinstance(value, (Instance, Packed, Global)) else next(parts)


def key_of(place: Place) -> tuple[str, int, Any]:
    how, target, name = place
    return how, id(target), name


def held(place: Place) -> Any:
    """What a place holds."""
    how, target, name = place
    if how == "attribute":
        return target.attrs.get(name, NOTHING)
    if how == "now":
        return target.now
    return list(target) if how == "items" else dict(target)


def put(place: Place, value: Any) -> None:
    how, target, name = place
    if how == "attribute" and value is NOTHING:
        target.attrs.pop(name, None)
    elif how == "attribute":
        target.attrs[name] = value
    elif how == "now":
        target.now = value
    elif how == "items":
        target[:] = value
    else:
        target.clear()
        target.update(value)


def dotted(tree: ast.expr) -> str:
    """`a.b.c`; '' if it is anything else."""
    parts: list[str] = []
    while isinstance(tree, ast.Attribute):
        parts.append(tree.attr)
        tree = tree.value
    return ".".join(reversed([*parts, tree.id])) if isinstance(tree, ast.Name) else ""
