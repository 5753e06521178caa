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


def spans(raw: bytes) -> dict[str, Span]:
    """Where the numbers of a module stand: by path, `layer1.conv.scale`. Numbers that two modules share have one place."""
    return dict(_paths(_tree(raw), "", 0))


def _paths(node: _Node, path: str, depth: int) -> Iterator[tuple[str, Span]]:
    if depth > MAX_DEPTH:
        return
    if node.span is not None:
        yield path, node.span
    for name, inner in node.held.items():
        yield from _paths(inner, f"{path}.{name}" if path else name, depth + 1)


def _tree(raw: bytes) -> _Node:
    import pickletools

    stack: list[_Node] = []
    marks: list[int] = []
    memo: dict[int, _Node] = {}
    operations = list(pickletools.genops(raw))
    argument: Any
    for (code, argument, at), (_, _, end) in zip(operations, [*operations[1:], (None, None, len(raw))], strict=True):
        name, start = code.name, at or 0
        if name in ("BINFLOAT", "BININT", "BININT1", "BININT2", "LONG1"):
            stack.append(_Node(span=(start, end or 0)))
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
            del stack[marks.pop() :]
            if name in ("TUPLE", "LIST", "DICT"):
                stack.append(_Node())
        elif name in ("REDUCE", "NEWOBJ", "STACK_GLOBAL"):
            del stack[-2:]
            stack.append(_Node())
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            del stack[-int(name[-1]) :]
            stack.append(_Node())
        elif name == "BINPERSID":
            stack[-1] = _Node()
        elif name in ("APPEND", "POP"):
            stack.pop()
        elif name not in ("PROTO", "FRAME", "STOP"):
            stack.append(_Node(argument if isinstance(argument, str) and name != "GLOBAL" else ""))
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
