"""A profile in the making: what a configuration says, and what of it found no place."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from qlint.errors import ProfileError
from qlint.graph.kinds import CLASSES
from qlint.profile import toml
from qlint.profile.load import from_data

MAX_BYTES = 16 << 20  # of a configuration
LARGEST = 2000  # operators or patterns in one
_WEIGHTED = ("conv", "conv_transpose", "linear")
_VARIADIC = ("concat", "stack", "sum", "mean")
_PAIRS = CLASSES["binary"] | frozenset("mod equal greater less greater_or_equal less_or_equal and or xor".split())
# What gives back the integers that it gets, or some of them.
MOVES = CLASSES["move"] | CLASSES["view"] | frozenset({"max_pool", "dropout"})

Space = dict[str, Any]
Wanted = str | Space | Sequence[str | Space]


@dataclass(slots=True)
class Draft:
    """A profile as plain TOML data. `left` are sentences about what could not be carried over.

    `others` is what the file says of operators that it does not name; it stands in the profile as a kernel that is
    commented out, because no list of operators means no claim that the target runs them.
    """

    tool: str
    source: str
    id: str
    title: str
    toolchain: str = ""
    vendor: str = ""
    reference: str = ""  # what in the tool's documentation the file is
    spaces: dict[str, Any] = field(default_factory=dict)
    prepare: list[dict[str, Any]] = field(default_factory=list)
    kernels: list[dict[str, Any]] = field(default_factory=list)
    others: str = ""
    left: list[str] = field(default_factory=list)

    def kernel(self, ident: str, match: str, ports: dict[str, Wanted], *, guards: Sequence[Space] = (), title: str = "") -> None:
        """Add an integer kernel; one that says the same as an earlier one is left out."""
        said = {"match": match, "ports": ports, **({"guards": list(guards)} if guards else {})}
        if any(all(kernel.get(key) == value for key, value in said.items()) and ("guards" in kernel) == bool(guards) for kernel in self.kernels):
            return
        taken = {kernel["id"] for kernel in self.kernels}
        unique = next(name for name in (ident, *(f"{ident}-{n}" for n in range(2, LARGEST))) if name not in taken)
        self.kernels.append({"id": unique, **({"title": title} if title else {}), **said, "runs": "integer", "evidence": "import"})

    def operator(
        self, kind: str, x: Wanted, w: Wanted, y: Wanted, *, behind: Sequence[str] = (), guards: Sequence[Space] = (), title: str = "", prefix: str = ""
    ) -> None:
        """Add the kernels of one kind of operator, with the kinds of operators that run together with it `behind` it."""
        match, named = " ".join((kind, *behind)), "-".join((kind, *behind)).replace("_", "-").replace("|", "-or-")
        ident = prefix + (named if len(named) <= 60 else f"{kind.replace('_', '-').replace('|', '-or-')[:40]}-and-others")
        if kind == "linear":  # in a graph it may be a MatMul by a constant
            self.kernel(ident, " ".join(("linear|matmul", *behind)), _given(x=x, w=w, y=y), guards=guards, title=title)
        elif kind == "matmul":
            self.kernel(ident, match, _given(x=x, w=x if w == "any" else w, y=y), guards=guards, title=title)
            self.kernel(f"{ident}-activations", match, _given(lhs=x, rhs=x, y=y), guards=guards, title=title)
        else:
            self.kernel(ident, match, _given(**roles(kind, x, w), y=y), guards=guards, title=title)

    def look_through(self, kinds: Iterable[str]) -> None:
        """The quantizer in front of these operators also stands behind them."""
        named = sorted(set(kinds))
        if named:
            because = "the quantizer in front of data movement holds behind it as well"
            self.prepare.append(
                {"id": "propagate", "step": "transparent", "kinds": "|".join(named), "forward": True, "because": because, "evidence": "import"}
            )

    def leave(self, what: str, names: Iterable[object] = ()) -> None:
        """Note something that could not be carried over."""
        listed = list(dict.fromkeys(map(str, names)))
        more = f" … ({len(listed) - 12} more)" if len(listed) > 12 else ""
        self.left.append(f"{what}: {', '.join(listed[:12])}{more}" if listed else what)

    def data(self) -> dict[str, Any]:
        """The profile as TOML data."""
        notes = [f"Imported from {self.tool}: what is quantized as that file says runs in integer here, everything else is unknown."]
        return {
            "id": self.id, "title": self.title, **({"vendor": self.vendor} if self.vendor else {}),
            "ingests": ["onnx", "tflite", "torchscript", "pt2", "openvino"], "toolchain": self.toolchain, "fallback": "float", "world": "open", "notes": notes,
            "evidence": {"import": {"kind": "inferred", "ref": f"{Path(self.source).name}, {self.reference}", "version": self.toolchain, "date": date.today().isoformat()}},
            "spaces": self._used(), **({"prepare": self.prepare} if self.prepare else {}), "kernels": list(_merged(self.kernels)),
        }  # fmt: skip

    def _used(self) -> dict[str, Any]:
        """The spaces that some port names."""
        named = {one for kernel in self.kernels for wanted in kernel["ports"].values() for one in _list(wanted) if isinstance(one, str)} | {self.others}
        return {name: space for name, space in self.spaces.items() if name in named}

    def validate(self) -> None:
        """Raises:
        ProfileError: what was made of the source is no valid profile.
        """
        if not self.kernels:
            raise ProfileError("names no operator that could be carried over", subject=self.source, hint=f"is it a configuration for {self.tool}?")
        from_data(tomllib.loads(self.to_toml()), self.source)

    def to_toml(self) -> str:
        """The profile's file, with what was left in its head."""
        left = [f"#   {_comment(sentence)}" for sentence in self.left] or ["#   nothing"]
        head = ["#:schema ./profile.schema.json", f"# Imported from {self.tool}: {_comment(Path(self.source).name)}.", "# Not carried over:", *left, ""]
        tail = []
        if self.others:
            kernel = {"id": "others", "match": "*", "ports": {"y": self.others}, "runs": "integer", "evidence": "import"}
            tail = ["", "# The file says the same of every operator that it does not name, but not that the target runs them. If it does:"]
            tail += [f"# {line}" for line in toml.dumps({"kernels": [kernel]}).strip().splitlines()]
        return "\n".join(head) + "\n" + toml.dumps(self.data()) + "\n".join(tail) + ("\n" if tail else "")


def _merged(kernels: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Kernels, with those as one that differ in one port alone, or in the last kind of their pattern."""
    found = [{**kernel, "ports": {port: _list(wanted) for port, wanted in kernel["ports"].items()}} for kernel in kernels]
    for part in ("w", "x", "y", ""):
        found = _unite(found, part)
    taken: set[str] = set()
    for kernel in found:
        ident = next(name for name in (kernel["id"], *(f"{kernel['id']}-{n}" for n in range(2, LARGEST))) if name not in taken)
        taken.add(ident)
        yield {**kernel, "id": ident, "ports": {port: wanted[0] if len(wanted) == 1 else wanted for port, wanted in kernel["ports"].items()}}


def _unite(kernels: list[dict[str, Any]], part: str) -> list[dict[str, Any]]:
    """Kernels that are equal but for one part, as one that has the alternatives of all; '' is the last kind of the pattern."""

    def look(kernel: dict[str, Any]) -> list[Any]:
        found: list[Any] = kernel["ports"].get(part, []) if part else kernel["match"].split()[-1].split("|")
        return found

    def replaced(kernel: dict[str, Any], by: list[Any]) -> dict[str, Any]:
        if part:
            return {**kernel, "ports": {**kernel["ports"], part: by}}
        return {**kernel, "match": " ".join([*kernel["match"].split()[:-1], "|".join(by)])}

    groups: dict[str, dict[str, Any]] = {}
    for kernel in kernels:
        rest = {key: value for key, value in replaced(kernel, []).items() if key not in ("id", "title")}
        key = json.dumps([len(kernel["match"].split()), rest, not look(kernel)], sort_keys=True)
        first = groups.get(key)
        groups[key] = kernel if first is None else replaced(first, [*look(first), *(one for one in look(kernel) if one not in look(first))])
    return list(groups.values())


def _list(wanted: Wanted) -> list[Any]:
    return [wanted] if isinstance(wanted, (str, dict)) else list(wanted)


def roles(kind: str, x: Wanted, w: Wanted) -> dict[str, Wanted]:
    """The input ports of a kind, or of alternatives that have the same ones."""
    names = set(kind.split("|"))
    if names <= set(_WEIGHTED):
        return {"x": x, "w": w}
    if names <= set(_VARIADIC):
        return {"x*": x}
    if names <= _PAIRS:
        return {"lhs": x, "rhs": x}
    return {"x": x}


def _given(**ports: Wanted) -> dict[str, Wanted]:
    """Ports that want something; `x*` is written as such."""
    return {port: wanted for port, wanted in ports.items() if wanted != "any"}


def storages(bits: int, signed: bool | None) -> str:
    """`int8|uint8`: the containers of so many bits; empty for float."""
    names = [f"int{bits}", f"uint{bits}"] if bits in (2, 4, 8, 16, 32) else []
    return "|".join(names[:1] if signed else names[1:] if signed is False else names)


def load_json(source: str, tool: str) -> Any:
    """The JSON in a file.

    Raises:
        ProfileError: it cannot be read, or holds no JSON object.
    """
    path = Path(source)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ProfileError(f"is larger than {MAX_BYTES >> 20} MB", subject=source, hint=f"a configuration for {tool} is a small file")
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ProfileError(f"cannot be read ({error.strerror})", subject=source, hint="the path of a JSON file") from error
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ProfileError(f"is not JSON: {error}", subject=source, hint=f"a configuration for {tool} is a JSON file") from error
    if not isinstance(data, dict):
        raise ProfileError(f"holds no JSON object but a {type(data).__name__}", subject=source, hint=f"is it a configuration for {tool}?")
    return data


def table(value: Any, what: str, source: str) -> dict[str, Any]:
    """A JSON object where one has to be.

    Raises:
        ProfileError: something else is there.
    """
    if not isinstance(value, dict):
        raise ProfileError(f"{what} is {value!r:.60}, expected an object", subject=source, hint="compare with the tool's own files")
    return value


def rows(value: Any, what: str, source: str) -> list[Any]:
    """A JSON list of a bearable length where one has to be.

    Raises:
        ProfileError: something else is there, or too much.
    """
    if not isinstance(value, list) or len(value) > LARGEST:
        raise ProfileError(f"{what} is {value!r:.60}, expected a list of at most {LARGEST}", subject=source, hint="compare with the tool's own files")
    return value


def slug(text: str) -> str:
    """An id for a profile."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "imported"


def _comment(text: str) -> str:
    return " ".join(text.split())
