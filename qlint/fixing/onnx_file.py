"""An ONNX file that can be changed without being understood: whatever no edit touches is copied byte by byte.

The nodes and initializers of the main graph are found by their spans. What is new is encoded here; unknown fields,
documentation, metadata, functions and external data stay as they are. Field numbers are those of onnx.proto.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from qlint.fixing.arithmetic import WriteError, packed
from qlint.graph import Data
from qlint.readers import onnx_proto as proto
from qlint.readers.data import TYPE_CODES, File
from qlint.readers.protobuf import FIXED32, FIXED64, LENGTH, VARINT, Span, fields, key, signed, text

MAX_BYTES = (1 << 31) - 1  # of a message: protocol buffers
# The version of the file format that came with an opset (ONNX, Versioning).
IR_OF_OPSET = {10: 5, 11: 6, 12: 7, 13: 7, 14: 7, 15: 8, 16: 8, 17: 8, 18: 8, 19: 9, 20: 9, 21: 10, 22: 10, 23: 11}
_IR_VERSION, _GRAPH, _OPSET, _FUNCTION = key(1, VARINT), key(7), key(8), key(25)
_NODE, _INITIALIZER, _INPUT, _OUTPUT, _VALUE_INFO = key(1), key(5), key(11), key(12), key(13)
_N_INPUT, _N_OUTPUT, _N_NAME, _N_ATTRIBUTE = key(1), key(2), key(3), key(5)
Piece = bytes | Span  # new bytes, or bytes of the file


def varint(value: int) -> bytes:
    """A number on the wire; negative ones as 64 bits of two's complement."""
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def encoded(found: int, payload: bytes | int) -> bytes:
    """A field: its key, and a number or bytes."""
    if isinstance(payload, int):
        return varint(found) + varint(payload)
    return varint(found) + (varint(len(payload)) if found & 7 == LENGTH else b"") + payload


@dataclass(eq=False)
class Node:
    """A node of the main graph. `piece` is its message, until something of it changes."""

    piece: Piece
    op_type: str
    name: str
    inputs: list[str]
    outputs: list[str]
    domain: str = ""
    attributes: dict[str, bytes | None] = field(default_factory=dict)  # set anew, by name; None: left out
    changed: bool = False

    @classmethod
    def new(cls, op_type: str, name: str, inputs: list[str], outputs: list[str], domain: str = "", **integers: int) -> Node:
        """A node that is not in the file; its attributes are integers."""
        head = encoded(key(4), op_type.encode()) + (encoded(key(7), domain.encode()) if domain else b"")
        attributes: dict[str, bytes | None] = {each: integer_attribute(each, value) for each, value in integers.items()}
        return cls(head, op_type, name, inputs, outputs, domain, attributes, changed=True)


def integer_attribute(name: str, value: int) -> bytes:
    """An AttributeProto of an integer."""
    return encoded(key(1), name.encode()) + encoded(key(3, VARINT), value) + encoded(key(20, VARINT), 2)


def value_info(name: str, dtype: str, shape: Sequence[int]) -> bytes:
    """A ValueInfoProto of a tensor."""
    dims = b"".join(encoded(key(1), encoded(key(1, VARINT), d)) for d in shape)
    tensor = encoded(key(1, VARINT), TYPE_CODES[dtype]) + encoded(key(2), dims)
    return encoded(key(1), name.encode()) + encoded(key(2), encoded(key(1), tensor))


class Document:
    """A file, its nodes and constants by name, and what becomes of them."""

    def __init__(self, path: Path) -> None:
        self.file = File.of(path)
        buffer = self.buffer = self.file.buffer
        self.head: list[tuple[int, int, int]] = list(fields(buffer, 0, len(buffer)))
        self.graph: list[tuple[int, int, int]] = []
        self.nodes: list[Node] = []
        self.initializers: dict[str, Piece] = {}
        self.infos: dict[str, Span] = {}
        self.names: set[str] = set()
        self.functions = any(found == _FUNCTION for found, _, _ in self.head)
        self.opset: int | None = None  # of the default domain, where it changes
        self.ir_version = next((signed(a) for found, a, _ in self.head if found == _IR_VERSION), 0)
        self.made: dict[str, tuple[str, Sequence[int]]] = {}  # types and shapes of new initializers
        self.extra_outputs: list[str] = []  # tensors that the file is to hand out too
        self._made: dict[tuple[Any, ...], str] = {}
        for found, a, b in self.head:
            if found == _GRAPH:
                self.graph = list(fields(buffer, a, b))
        for found, a, b in self.graph:
            if found == _NODE:
                node = proto.node(buffer, a, b)
                self.nodes.append(Node((a, b), node.op_type, node.name, node.inputs, node.outputs, node.domain))
                self.names.update((node.name, *node.inputs, *node.outputs))
            elif found == _INITIALIZER:
                self.initializers[proto.tensor(self.file, (a, b))[0]] = (a, b)
            elif found in (_INPUT, _OUTPUT, _VALUE_INFO):
                name = proto.value_info(buffer, (a, b))[0]
                self.names.add(name)
                if found == _VALUE_INFO:
                    self.infos[name] = (a, b)
        self.names.update(self.initializers)
        self.constants_before = frozenset(self.initializers)
        self.outputs = {proto.value_info(buffer, (a, b))[0] for found, a, b in self.graph if found == _OUTPUT}
        self.inputs = {proto.value_info(buffer, (a, b))[0] for found, a, b in self.graph if found == _INPUT}
        self.before = list(self.nodes)
        self.read_before = {name for node in self.nodes for name in node.inputs}

    def recast(self, node: Node, op_type: str, inputs: list[str], outputs: list[str], attributes: Iterable[str] = ()) -> Node:
        """A node with some attributes of another one, as an operator of the default domain, under the same name."""
        piece = Node.new(op_type, node.name, inputs, outputs).piece
        assert isinstance(piece, bytes)
        old = bytes(self.buffer[slice(*node.piece)]) if isinstance(node.piece, tuple) else node.piece
        kept = b"".join(
            encoded(found, old[a:b]) for found, a, b in fields(old, 0, len(old)) if found == _N_ATTRIBUTE and _attribute_name(old, a, b) in set(attributes)
        )
        return Node(piece + kept, op_type, node.name, inputs, outputs, changed=True)

    # -- names and constants ----------------------------------------------------------------------

    def fresh(self, wish: str) -> str:
        """A name that nothing in the graph has, as near to the wish as can be."""
        name, number = wish, 0
        while name in self.names:
            number += 1
            name = f"{wish}_{number}"
        self.names.add(name)
        return name

    def constant(self, wish: str, dtype: str, shape: Sequence[int], values: Sequence[float]) -> str:
        """The name of a new initializer with these values; equal ones made here are one."""
        identity = (dtype, tuple(shape), tuple(values))
        if identity not in self._made:
            self._made[identity] = self.array(wish, dtype, shape, packed(dtype, values))
        return self._made[identity]

    def array(self, wish: str, dtype: str, shape: Sequence[int], raw: bytes) -> str:
        """The name of a new initializer, from its little-endian bytes."""
        name = self.fresh(wish)
        self.made[name] = dtype, shape
        dims = b"".join(encoded(key(1, VARINT), d) for d in shape)
        self.initializers[name] = dims + encoded(key(2, VARINT), TYPE_CODES[dtype]) + encoded(key(8), name.encode()) + encoded(key(9), raw)
        return name

    def data(self, name: str) -> Data | None:
        """The constant of this name, as it stands in the file."""
        piece = self.initializers.get(name)
        return proto.tensor(self.file, piece)[1] if isinstance(piece, tuple) else None

    def prune(self, nodes: Iterable[Node]) -> None:
        """Drop those of some nodes whose results nobody reads any more, then constants that lost their last reader."""
        bodies = self._names_in_bodies()
        left = [*nodes, *(node for node in self.nodes if node.op_type == "Constant" and self.read_before.issuperset(node.outputs))]
        while True:
            read = {name for node in self.nodes for name in node.inputs} | self.outputs | bodies
            dead = {id(node) for node in left if not any(out in read for out in node.outputs)}
            if not dead:
                break
            self.nodes = [node for node in self.nodes if id(node) not in dead]
            left = [node for node in left if id(node) not in dead]
        for name, piece in list(self.initializers.items()):
            if name not in read and (name in self.read_before or (isinstance(piece, bytes) and name not in self.inputs)):
                del self.initializers[name]
                self.inputs.discard(name)  # a default that nobody reads is no input any more

    def _names_in_bodies(self) -> set[str]:
        """Every name that bodies of control flow read."""
        found: set[str] = set()

        def nodes(a: int, b: int, depth: int) -> None:
            one = proto.node(self.buffer, a, b)
            if depth:
                found.update(one.inputs)
            for span in one.attributes if depth < proto.MAX_NESTING else ():
                for start, end in proto.attribute(self.file, span).graphs:
                    for kind, c, d in fields(self.buffer, start, end):
                        if kind == _NODE:
                            nodes(c, d, depth + 1)
                        elif kind == _OUTPUT:
                            found.add(proto.value_info(self.buffer, (c, d))[0])

        for node in self.nodes:
            if isinstance(node.piece, tuple) and node.op_type in ("If", "Loop", "Scan", "SequenceMap"):
                nodes(*node.piece, 0)
        return found

    def lines(self) -> Iterable[str]:
        """The nodes, for people to compare."""
        for node in self.nodes:
            yield f"{node.name or node.op_type}: {node.op_type}({', '.join(node.inputs)}) → {', '.join(node.outputs)}"

    # -- writing ------------------------------------------------------------------------------------

    def write(self, out: IO[bytes]) -> None:
        """The file with its changes."""
        inner = list(self._graph())
        size = sum(_length(piece) for piece in inner)
        if size > MAX_BYTES:
            raise WriteError(f"would be {size} bytes long, more than a protocol buffer may be", hint="store the weights as external data")
        graph_at = max((i for i, (found, _, _) in enumerate(self.head) if found == _GRAPH), default=-1)
        for i, (found, a, b) in enumerate(self.head):
            if i == graph_at:
                self._put(out, [varint(_GRAPH) + varint(size), *inner])
            elif found == _IR_VERSION and self.opset is not None:
                self._put(out, [encoded(_IR_VERSION, max(self.ir_version, IR_OF_OPSET.get(self.opset, 0)))])
            elif found == _OPSET and self.opset is not None and proto.opset(self.buffer, (a, b))[0] == "":
                version = encoded(key(1), b"") + encoded(key(2, VARINT), self.opset)
                self._put(out, [encoded(_OPSET, version)])
            else:
                self._put(out, self._copied(found, a, b))

    def _graph(self) -> Iterable[Piece]:
        nodes_left, known, old = True, set(), self.ir_version < 4
        for found, a, b in self.graph:
            if found == _NODE:
                if nodes_left:
                    yield from self._nodes()
                nodes_left = False
            elif found == _INITIALIZER:
                name = proto.tensor(self.file, (a, b))[0]
                known.add(name)
                if self.initializers.get(name) == (a, b):
                    yield from self._copied(found, a, b)
                elif name in self.initializers:
                    yield from self._message(_INITIALIZER, self.initializers[name])
            elif found == _VALUE_INFO and proto.value_info(self.buffer, (a, b))[0] not in self.infos:
                continue
            elif found == _INPUT and (name := proto.value_info(self.buffer, (a, b))[0]) in self.constants_before:
                if name in self.inputs and not (old and self.opset is not None):  # with a newer version of the format these would no longer be constants
                    yield from self._copied(found, a, b)
            else:
                yield from self._copied(found, a, b)
        for name, piece in self.initializers.items():
            if name not in known:
                yield from self._message(_INITIALIZER, piece)
        for name, (dtype, shape) in self.made.items() if old and self.opset is None else ():  # then initializers have to be inputs too
            if name in self.initializers:
                yield from self._message(_INPUT, value_info(name, dtype, shape))
        for name in self.extra_outputs:
            yield from self._message(_OUTPUT, encoded(key(1), name.encode()))

    def _nodes(self) -> Iterable[Piece]:
        for node in self.nodes:
            yield from self._message(_NODE, self._rebuilt(node) if node.changed else node.piece)

    def _rebuilt(self, node: Node) -> bytes:
        """A node's message with its present names and attributes, and all else that was in it."""
        old = bytes(self.buffer[slice(*node.piece)]) if isinstance(node.piece, tuple) else node.piece
        out = bytearray()
        for name in node.inputs:
            out += encoded(_N_INPUT, name.encode())
        for name in node.outputs:
            out += encoded(_N_OUTPUT, name.encode())
        if node.name:
            out += encoded(_N_NAME, node.name.encode())
        for found, a, b in fields(old, 0, len(old)):
            if found in (_N_INPUT, _N_OUTPUT, _N_NAME):
                continue
            if found == _N_ATTRIBUTE and _attribute_name(old, a, b) in node.attributes:
                continue
            out += encoded(found, a if found & 7 == VARINT else old[a:b])
        for attribute in node.attributes.values():
            if attribute is not None:
                out += encoded(_N_ATTRIBUTE, attribute)
        return bytes(out)

    def _message(self, found: int, piece: Piece) -> Iterable[Piece]:
        yield varint(found) + varint(_length(piece))
        yield piece

    def _copied(self, found: int, a: int, b: int) -> Iterable[Piece]:
        """A field as it was."""
        wire = found & 7
        if wire == VARINT:
            yield varint(found) + varint(a)
        elif wire in (FIXED32, FIXED64):
            yield varint(found) + bytes(self.buffer[a:b])
        else:
            yield from self._message(found, (a, b))

    def _put(self, out: IO[bytes], pieces: Iterable[Piece]) -> None:
        view = memoryview(self.buffer)
        for piece in pieces:
            out.write(piece if isinstance(piece, bytes) else view[slice(*piece)])


def _attribute_name(message: bytes, a: int, b: int) -> str:
    return next((text(message, c, d) for found, c, d in fields(message, a, b) if found == key(1)), "")


def _length(piece: Piece) -> int:
    return len(piece) if isinstance(piece, bytes) else piece[1] - piece[0]
