"""The source code in a TorchScript archive: Python syntax, printed from the graph, and only ever parsed.

A class may have many methods of which a network reaches few: text is split at `class` and `def` lines, and what is
asked for is parsed, once for all classes that print the same. Most lines take an attribute or call a method; those are
read without Python's parser, which takes twenty times as long.
"""

from __future__ import annotations

import ast
import re
import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from qlint.errors import ReadError
from qlint.readers.torch_archive import Archive

MAX_SOURCE = 16 << 20  # bytes of one source file
_BLOCK = re.compile(r"\n(class|def) (\w+)(?:\((\w+)\))?")
_METHOD = "\n  def "
_FIELD = re.compile(r"^  (\w+) : (.+)$", re.MULTILINE)
_SELF = re.compile(r"\((\w+): __torch__[\w.]*")
_NAME = r"(?!(?:CONSTANTS|__torch__|torch|ops|None|True|False)\b)[A-Za-z_]\w*"  # of a variable
_LINE = re.compile(rf' {{4}}({_NAME}) = (?:({_NAME})\.(\w+)|getattr\(({_NAME}), "(\w+)"\)|\(({_NAME})\)\.(\w+)\(((?:{_NAME}, )*)\))')


class Line(NamedTuple):
    """`name = owner.attribute`, or `name = (owner).attribute(arguments)`; the latter if `arguments` is no None."""

    name: str
    owner: str
    attribute: str
    arguments: list[str] | None
    lineno: int


@dataclass(slots=True, eq=False)
class Function:
    """A function or method: its syntax, its statements, and the file and line at which it starts."""

    tree: ast.FunctionDef  # without the lines that were read already
    body: list[ast.stmt | Line]
    file: str
    line: int
    parameters: list[str]
    defaults: dict[str, ast.expr]


@dataclass
class Class:
    """A class of the archive: its text, of which little is ever looked at, and where that starts."""

    name: str
    base: str
    text: str
    file: str
    line: int

    @cached_property
    def fields(self) -> dict[str, str]:
        """Types of its fields, in the order in which objects are built from them."""
        return dict(_FIELD.findall(self.text.partition(_METHOD)[0]))

    def method(self, name: str) -> tuple[str, int]:
        """A method as text, and the line of the file at which it starts; '' if there is none of that name."""
        start = self.text.find(f"{_METHOD}{name}(")
        if start < 0:
            return "", 0
        end = self.text.find(_METHOD, start + 1)
        return self.text[start + 1 : end + 1 if end >= 0 else None], self.line + self.text.count("\n", 0, start + 1)


class Code:
    """Classes and functions of the archive by their full names (`__torch__.a.b.C`)."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self._files: dict[str, dict[str, tuple[str, str, int]]] = {}
        self._classes: dict[str, Class | None] = {}
        self._parsed: dict[str, tuple[ast.FunctionDef, list[ast.stmt | Line]]] = {}
        self._functions: dict[tuple[str, str], Function | None] = {}

    def has_code(self) -> bool:
        return any(name.startswith("code/") for name in self.archive.members)

    def class_of(self, full: str) -> Class | None:
        """The class of this name; None if it is a function, or not there."""
        if full not in self._classes:
            self._classes[full] = self._class(full)
        return self._classes[full]

    def method(self, full: str, name: str) -> Function | None:
        """A method of the class of this name; None if it has none of that name."""
        key = (full, name)
        if key not in self._functions:
            found = self.class_of(full)
            text, line = found.method(name) if found is not None else ("", 0)
            self._functions[key] = _function(self._parse("class _:\n" + text, f"{full}.{name}"), found.file, line - 1) if text and found is not None else None
        return self._functions[key]

    def function(self, full: str) -> Function | None:
        """The function of this name; None if it is a class, or not there."""
        key = (full, "")
        if key not in self._functions:
            module, _, name = full.rpartition(".")
            kind, text, line = self._file(module).get(name, ("", "", 0))
            self._functions[key] = _function(self._parse(text, full), _path(module), line) if kind == "def" else None
        return self._functions[key]

    def _class(self, full: str) -> Class | None:
        module, _, name = full.rpartition(".")
        kind, text, line = self._file(module).get(name, ("", "", 0))
        return None if not kind or kind == "def" else Class(full, kind, text, _path(module), line)

    def _file(self, module: str) -> dict[str, tuple[str, str, int]]:
        """What a file defines: `def`, or the base of a class, its text, and its line."""
        if module not in self._files:
            member = self.archive.members.get(_path(module))
            if member is not None and member.size > MAX_SOURCE:
                raise ReadError(f"has a source file of {member.size >> 20} MiB, {_path(module)!r}", hint="it is no sensible model")
            text = "\n" + self.archive.text(_path(module))
            starts = list(_BLOCK.finditer(text))
            ends = [m.start() for m in starts[1:]] + [len(text)] * bool(starts)
            line, last, blocks = 0, 0, {}
            for found, end in zip(starts, ends, strict=True):
                line += text.count("\n", last, found.start() + 1)
                last = found.start() + 1
                blocks[found.group(2)] = ("def" if found.group(1) == "def" else found.group(3) or "", text[last : end + 1], line)
            self._files[module] = blocks
        return self._files[module]

    def _parse(self, text: str, what: str) -> tuple[ast.FunctionDef, list[ast.stmt | Line]]:
        """The syntax of a function, and its statements."""
        text = _SELF.sub(r"(\1", text, count=1)
        if text not in self._parsed:
            lines, rest = _lines(text)
            try:
                with warnings.catch_warnings():  # about the file's code, which nobody here wrote
                    warnings.simplefilter("ignore")
                    tree: ast.stmt = ast.parse(rest).body[0]
            except (SyntaxError, ValueError, RecursionError, MemoryError, IndexError) as error:
                raise ReadError(f"has source code that cannot be parsed, of {what}: {error}", hint="export or download it again") from error
            found = tree.body[0] if isinstance(tree, ast.ClassDef) else tree
            if not isinstance(found, ast.FunctionDef):
                raise ReadError(f"has source code that is no function, of {what}", hint="export or download it again")
            self._parsed[text] = found, sorted([*found.body, *lines], key=lambda statement: statement.lineno)
        return self._parsed[text]


def _lines(text: str) -> tuple[list[Line], str]:
    """The statements of a method that are lines of the usual forms, and the text with blank lines in their places."""
    lines, rest = [], text.rstrip().split("\n")
    for number, line in enumerate(rest[:-1]):  # something has to be left of the body
        found = _LINE.fullmatch(line)
        if found is not None:
            name, owner, attribute, object_, field, callee, method, arguments = found.groups()
            names = None if arguments is None else arguments.replace(",", "").split()
            lines.append(Line(name, owner or object_ or callee, attribute or field or method, names, number + 1))
            rest[number] = ""
    return lines, "\n".join(rest)


def _function(parsed: tuple[ast.FunctionDef, list[ast.stmt | Line]], file: str, line: int) -> Function:
    tree, body = parsed
    parameters = [parameter.arg for parameter in tree.args.args]
    return Function(tree, body, file, line, parameters, dict(zip(reversed(parameters), reversed(tree.args.defaults), strict=False)))


def _path(module: str) -> str:
    return f"code/{module.replace('.', '/')}.py"
