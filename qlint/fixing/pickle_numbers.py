"""Numbers in a pickle, by the attribute that they are: where their opcodes stand, and a pickle in which they are others.

Opcodes do not depend on where they stand (Lib/pickletools.py), so that one may be replaced by a longer one. Nothing is
unpickled: names are skipped, objects are told apart by the attributes that they are given.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from qlint.fixing.arithmetic import WriteError

Span = tuple[int, int]
MAX_DEPTH = 64


@dataclass(slots=True, eq=False)
class _Node:
    """Something on the stack: a number with its span, a text, or what holds others by name."""

    text: str = ""
    span: Span | None = None
    held: dict[str, _Node] = field(default_factory=dict)
    items: list[_Node] = field(default_factory=list)  # of a tuple
    number: Any = None


def spans(raw: bytes) -> dict[str, Span]:
    """Where the numbers of a module stand: by path, `layer1.conv.scale`. Numbers that two modules share have one place.

    Those of the grid of a quantized tensor go by its storage and its offset there: `#3@0.scale`.
    """
    grids: dict[str, Span] = {}
    return {**dict(_paths(_tree(raw, grids), "", 0)), **grids}


def _paths(node: _Node, path: str, depth: int) -> Iterator[tuple[str, Span]]:
    if depth > MAX_DEPTH:
        return
    if node.span is not None:
        yield path, node.span
    for name, inner in node.held.items():
        yield from _paths(inner, f"{path}.{name}" if path else name, depth + 1)


def _grid(args: _Node) -> Iterator[tuple[str, Span]]:
    """Scale and zero point among the arguments of `torch._utils._rebuild_qtensor`: storage, offset, shape, strides, (scheme, scale, zero point)."""
    storage, offset, *_ = args.items
    if len(storage.items) < 3 or len(args.items) < 5 or len(args.items[4].items) != 3:
        return
    for name, part in zip(("scale", "zero_point"), args.items[4].items[1:], strict=True):
        if part.span is not None:
            yield f"#{storage.items[2].text}@{offset.number}.{name}", part.span


def _tree(raw: bytes, grids: dict[str, Span]) -> _Node:
    import pickletools

    stack: list[_Node] = []
    marks: list[int] = []
    memo: dict[int, _Node] = {}
    operations = list(pickletools.genops(raw))
    argument: Any
    for (code, argument, at), (_, _, end) in zip(operations, [*operations[1:], (None, None, len(raw))], strict=True):
        name, start = code.name, at or 0
        if name in ("BINFLOAT", "BININT", "BININT1", "BININT2", "LONG1"):
            stack.append(_Node(span=(start, end or 0), number=argument))
        elif name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            memo[len(memo) if name == "MEMOIZE" else argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name == "MARK":
            marks.append(len(stack))
        elif name in ("SETITEM", "SETITEMS"):
            first = marks.pop() if name == "SETITEMS" else len(stack) - 2
            items = stack[first:]
            del stack[first:]
            stack[-1].held.update((key.text, value) for key, value in zip(items[::2], items[1::2], strict=True) if key.text)
        elif name == "BUILD":
            state = stack.pop()
            stack[-1].held.update(state.held)
        elif name in ("TUPLE", "LIST", "DICT", "APPENDS", "FROZENSET", "ADDITEMS"):
            items = stack[(mark := marks.pop()) :]
            del stack[mark:]
            if name in ("TUPLE", "LIST", "DICT"):
                stack.append(_Node(items=items))
        elif name in ("REDUCE", "NEWOBJ", "STACK_GLOBAL"):
            if name == "REDUCE" and stack[-2].text == "torch._utils _rebuild_qtensor":
                grids.update(_grid(stack[-1]))
            del stack[-2:]
            stack.append(_Node())
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            items = stack[-int(name[-1]) :]
            del stack[-int(name[-1]) :]
            stack.append(_Node(items=items))
        elif name == "BINPERSID":
            stack[-1] = _Node(items=stack[-1].items)
        elif name in ("APPEND", "POP"):
            stack.pop()
        elif name not in ("PROTO", "FRAME", "STOP"):
            stack.append(_Node(argument if isinstance(argument, str) else ""))
    return stack[-1] if stack else _Node()


def with_numbers(raw: bytes, numbers: Mapping[str, Any]) -> bytes:
    """A pickle in which the numbers of some attributes are others.

    Raises:
        WriteError: an attribute is not there as a number.
    """
    places = spans(raw)
    parts: dict[Span, bytes] = {}
    for path, number in numbers.items():
        if path not in places:
            raise WriteError(f"{path} is no number that stands in the archive as it is")
        if parts.setdefault(places[path], _encoded(number)) != _encoded(number):
            raise WriteError(f"{path} is shared with another module that would need another number")
    done, at = bytearray(), 0
    for (start, end), part in sorted(parts.items()):
        done += raw[at:start] + part
        at = end
    return bytes(done + raw[at:])


def _encoded(number: Any) -> bytes:
    """BINFLOAT, or BININT."""
    return b"G" + struct.pack(">d", number) if isinstance(number, float) else b"J" + struct.pack("<i", number)
