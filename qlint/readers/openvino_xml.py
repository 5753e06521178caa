"""The XML half of an OpenVINO IR, read with expat: no document type, no entities, bounded in size and depth.

A file that starts well but is hostile costs no more than its own length: text counts only inside `dim`, attributes are
kept as they stand, and what the IR does not define is kept out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn
from xml.parsers import expat

from qlint.errors import ReadError

MAX_BYTES = 1 << 30  # of the .xml; the largest networks have some hundred megabytes
MAX_DEPTH = 64  # of elements: bodies in bodies
MAX_ELEMENTS = 20_000_000
_CHUNK = 1 << 20
_DIGITS = 20  # of a dimension


@dataclass(slots=True)
class Port:
    """An input or output of a layer. `dims` has None where the size is not known; `names` are those of the tensor."""

    id: str
    precision: str
    names: str
    dims: list[int | None] = field(default_factory=list)
    ranked: bool = True  # a port of unknown rank has the attribute `rank="dynamic"` or no type of shape at all


@dataclass(slots=True)
class Layer:
    """One layer. `data`: the attributes of its `data` element. `nets`: bodies by element name. `maps`: how ports meet bodies."""

    id: str
    name: str
    type: str
    version: str
    data: dict[str, str] = field(default_factory=dict)
    inputs: list[Port] = field(default_factory=list)
    outputs: list[Port] = field(default_factory=list)
    nets: dict[str, Net] = field(default_factory=dict)
    maps: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    info: dict[str, dict[str, str]] = field(default_factory=dict)


@dataclass(slots=True)
class Net:
    """A network or a body: its layers, and its edges (from layer, from port, to layer, to port)."""

    attributes: dict[str, str] = field(default_factory=dict)
    layers: list[Layer] = field(default_factory=list)
    edges: list[tuple[str, str, str, str]] = field(default_factory=list)
    info: dict[str, str] = field(default_factory=dict)


def parse(path: Path) -> Net:
    """The network that an IR's .xml describes.

    Raises:
        ReadError: it is no well-formed XML, no IR, or larger and deeper than any network is.
    """
    if path.stat().st_size > MAX_BYTES:
        raise ReadError(f"is larger than {MAX_BYTES >> 20} MB, which no network's .xml is")
    builder = _Builder()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = builder.start, builder.end, builder.text
    parser.StartDoctypeDeclHandler = _refuse
    parser.EntityDeclHandler = _refuse
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                parser.Parse(chunk, False)
            parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise ReadError(f"is not well-formed XML: {expat.ErrorString(error.code)} in line {error.lineno}") from error
    if builder.root is None:
        raise ReadError("is XML, and no OpenVINO IR: it has no element `net`")
    return builder.root


def _refuse(*_: object) -> NoReturn:
    raise ReadError("declares a document type or an entity, which no IR does and qlint does not follow", hint="it may be hostile; export the model again")


class _Builder:
    """Handlers of expat. The stack holds, per open element, its name and the object that its children belong to."""

    def __init__(self) -> None:
        self.root: Net | None = None
        self.stack: list[tuple[str, object]] = []
        self.count = 0
        self.digits = ""

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self.count += 1
        if len(self.stack) >= MAX_DEPTH:
            raise ReadError(f"has elements nested more than {MAX_DEPTH} deep")
        if self.count > MAX_ELEMENTS:
            raise ReadError(f"has more than {MAX_ELEMENTS} elements")
        owner = self.stack[-1][1] if self.stack else None
        self.stack.append((tag, self._child(tag, attributes, owner)))

    def _child(self, tag: str, attributes: dict[str, str], owner: object) -> object:
        """What an element is about: a net, a layer, a port; or its parent, for those that only group."""
        get = attributes.get
        if owner is None:
            if tag != "net":
                raise ReadError(f"is XML, and no OpenVINO IR: it starts with the element {tag[:40]!r}")
            self.root = Net(attributes)
            return self.root
        if isinstance(owner, Net):
            if tag == "layer":
                layer = Layer(get("id", ""), get("name", ""), get("type", ""), get("version", ""))
                owner.layers.append(layer)
                return layer
            if tag == "edge":
                owner.edges.append((get("from-layer", ""), get("from-port", ""), get("to-layer", ""), get("to-port", "")))
            elif "value" in attributes:
                owner.info[tag if tag != "info" else get("name", tag)] = get("value", "")
            return owner
        if isinstance(owner, Layer):
            return self._in_layer(tag, attributes, owner)
        return owner

    def _in_layer(self, tag: str, attributes: dict[str, str], layer: Layer) -> object:
        if tag == "data":
            layer.data = attributes
        elif tag == "port" and self._within("input", "output"):
            port = Port(attributes.get("id", ""), attributes.get("precision", ""), attributes.get("names", ""), ranked=attributes.get("rank") != "dynamic")
            (layer.inputs if self._within("input") else layer.outputs).append(port)
            return port
        elif tag.endswith("body"):
            layer.nets[tag] = Net(attributes)
            return layer.nets[tag]
        elif tag == "attribute":
            layer.info[attributes.get("name", "")] = attributes
        elif any("map" in name or name == "back_edges" for name, _ in self.stack):
            layer.maps.append((tag, attributes))
        return layer

    def _within(self, *tags: str) -> bool:
        return bool(self.stack) and self.stack[-1][0] in tags

    def end(self, tag: str) -> None:
        _, owner = self.stack.pop()
        if tag == "dim":
            if isinstance(owner, Port):
                owner.dims.append(dimension(self.digits))
            self.digits = ""

    def text(self, text: str) -> None:
        if self.stack and self.stack[-1][0] == "dim" and len(self.digits) <= _DIGITS:
            self.digits += text


def dimension(text: str) -> int | None:
    """`3`; None for `-1`, `?` and ranges, which are sizes that are not known."""
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else None


def numbers(text: str) -> Iterator[str]:
    """The parts of a list as attributes write it: `1, 3, 224`."""
    return (part.strip() for part in text.split(",") if part.strip())
