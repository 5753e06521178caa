"""The messages of an ONNX file as records, each from its span of bytes; nothing is resolved, no weight is touched.

Field numbers are those of onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from qlint.errors import ReadError
from qlint.graph import Data, Dim, Shape
from qlint.readers.data import DTYPES, External, File, Literal, Sparse, Stored, bits, codes, from_bfloat16, size_of
from qlint.readers.protobuf import FIXED32, FIXED64, VARINT, Buffer, Damaged, Span, fields, floats, key, signed, text, varints

if TYPE_CHECKING:
    import numpy

# AttributeProto.AttributeType → the name that messages use.
ATTRIBUTE_TYPES = dict(
    enumerate(
        "float int string tensor graph floats ints strings tensors graphs sparse_tensor sparse_tensors type_proto type_protos".split(), 1
    )
)
MAX_RANK = 64
# A writer may leave out what is zero: the value of an attribute that has a type and no value.
_EMPTY: dict[str, Any] = {"float": 0.0, "int": 0, "string": ""}


# -- small messages -------------------------------------------------------------------------------------

_KEY, _VALUE = key(1), key(2)
_DOMAIN, _VERSION = key(1), key(2, VARINT)


def pair(buffer: Buffer, span: Span) -> tuple[str, str]:
    """A StringStringEntryProto."""
    name = value = ""
    for found, a, b in fields(buffer, *span):
        if found == _KEY:
            name = text(buffer, a, b)
        elif found == _VALUE:
            value = text(buffer, a, b)
    return name, value


def opset(buffer: Buffer, span: Span) -> tuple[str, int]:
    """An OperatorSetIdProto: (domain, version)."""
    domain, version = "", 0
    for found, a, b in fields(buffer, *span):
        if found == _DOMAIN:
            domain = text(buffer, a, b)
        elif found == _VERSION:
            version = signed(a)
    return domain_of(domain), version


def domain_of(domain: str) -> str:
    """The default domain has two spellings."""
    return "" if domain == "ai.onnx" else domain


def annotation(buffer: Buffer, span: Span) -> tuple[str, dict[str, str]]:
    """A TensorAnnotation: the tensor, and the facts by key (`SCALE_TENSOR` and `ZERO_POINT_TENSOR` name tensors)."""
    name, pairs = "", []
    for found, a, b in fields(buffer, *span):
        if found == key(1):
            name = text(buffer, a, b)
        elif found == key(2):
            pairs.append(pair(buffer, (a, b)))
    return name, dict(pairs)


# -- types ----------------------------------------------------------------------------------------------

_INFO_NAME, _INFO_TYPE = key(1), key(2)
_TENSOR_TYPES = (key(1), key(8))  # dense and sparse tensors; sequences, maps and optionals have no shape
_ELEM_TYPE, _SHAPE = key(1, VARINT), key(2)
_DIM = key(1)
_DIM_VALUE, _DIM_PARAM = key(1, VARINT), key(2)


def value_info(buffer: Buffer, span: Span) -> tuple[str, str, Shape | None]:
    """A ValueInfoProto: (name, dtype, shape)."""
    name, dtype = "", ""
    shape: Shape | None = None
    for found, a, b in fields(buffer, *span):
        if found == _INFO_NAME:
            name = text(buffer, a, b)
        elif found == _INFO_TYPE:
            for kind, c, d in fields(buffer, a, b):
                if kind in _TENSOR_TYPES:
                    dtype, shape = _tensor_type(buffer, c, d)
    return name, dtype, shape


def _tensor_type(buffer: Buffer, start: int, end: int) -> tuple[str, Shape | None]:
    dtype = ""
    shape: Shape | None = None
    for found, a, b in fields(buffer, start, end):
        if found == _ELEM_TYPE:
            dtype = DTYPES.get(a, "")
        elif found == _SHAPE:
            shape = tuple(islice((_dim(buffer, c, d) for kind, c, d in fields(buffer, a, b) if kind == _DIM), MAX_RANK + 1))
            if len(shape) > MAX_RANK:
                raise Damaged(f"is damaged: a tensor type at offset {start} has more than {MAX_RANK} dimensions")
    return dtype, shape


def _dim(buffer: Buffer, start: int, end: int) -> Dim:
    dim: Dim = None
    for found, a, b in fields(buffer, start, end):
        if found == _DIM_VALUE:
            dim = signed(a) if signed(a) >= 0 else None
        elif found == _DIM_PARAM:
            dim = text(buffer, a, b) or None
    return dim


# -- tensors --------------------------------------------------------------------------------------------

_DIMS, _DIMS_ONE, _TYPE, _TENSOR_NAME, _RAW = key(1), key(1, VARINT), key(2, VARINT), key(8), key(9)
_EXTERNAL, _LOCATION = key(13), key(14, VARINT)
_FLOATS, _DOUBLES, _STRINGS = (key(4), key(4, FIXED32)), (key(10), key(10, FIXED64)), (key(6),)
_INT32, _INT64, _UINT64 = (key(5), key(5, VARINT)), (key(7), key(7, VARINT)), (key(11), key(11, VARINT))
_TYPED = frozenset((*_FLOATS, *_DOUBLES, *_STRINGS, *_INT32, *_INT64, *_UINT64))
_SPARSE_VALUES, _SPARSE_INDICES, _SPARSE_DIMS, _SPARSE_DIM = key(1), key(2), key(3), key(3, VARINT)


def tensor(file: File, span: Span) -> tuple[str, Data]:
    """A TensorProto: (name, lazy data)."""
    buffer = file.buffer
    dims: list[int] = []
    dtype, name, location = 0, "", 0
    raw: Span | None = None
    typed: list[tuple[int, int, int]] = []
    elsewhere: dict[str, str] = {}
    for found, a, b in fields(buffer, *span):
        if found == _DIMS_ONE:
            dims.append(signed(a))
        elif found == _TYPE:
            dtype = a
        elif found == _TENSOR_NAME:
            name = text(buffer, a, b)
        elif found == _RAW:
            raw = (a, b)
        elif found == _DIMS:
            dims += map(signed, varints(buffer, a, b))
        elif found in _TYPED:
            typed.append((found, a, b))
        elif found == _EXTERNAL:
            entry, value = pair(buffer, (a, b))
            elsewhere[entry] = value
        elif found == _LOCATION:
            location = a
    kind, shape, where = DTYPES.get(dtype) or f"type {dtype}", _checked(dims, name), f"the constant {name!r}"
    if location == 1:
        return name, _external(file, kind, shape, elsewhere, where)
    if typed or kind == "string":  # the values of strings are never raw
        return name, Typed(kind, shape, file, tuple(typed), where)
    start, end = raw or (0, 0)
    needed = size_of(kind, shape)
    if end - start < needed:
        raise Damaged(f"is damaged: {where} of shape {list(shape)} and type {kind} needs {needed} bytes and has {end - start}")
    return name, Stored(kind, shape, file, start, end, where)


def _checked(dims: list[int], name: str) -> tuple[int, ...]:
    if len(dims) > MAX_RANK or min(dims, default=0) < 0:
        raise Damaged(f"is damaged: the constant {name!r} has the shape {dims[:8]}{' ...' if len(dims) > 8 else ''}")
    return tuple(dims)


def _external(file: File, dtype: str, shape: tuple[int, ...], entry: dict[str, str], where: str) -> Data:
    try:
        offset, length = int(entry.get("offset") or 0), int(entry.get("length") or size_of(dtype, shape))
    except ValueError as error:
        raise Damaged(f"is damaged: the external data of {where} has no valid offset or length") from error
    return External(dtype, shape, file, entry.get("location", ""), offset, length, where)


def sparse(file: File, span: Span) -> tuple[str, Data]:
    """A SparseTensorProto: (name, lazy data); its values carry the name, its dims the dense shape."""
    dims: list[int] = []
    values: tuple[str, Data] | None = None
    indices: Data | None = None
    for found, a, b in fields(file.buffer, *span):
        if found == _SPARSE_VALUES:
            values = tensor(file, (a, b))
        elif found == _SPARSE_INDICES:
            indices = tensor(file, (a, b))[1]
        elif found == _SPARSE_DIM:
            dims.append(signed(a))
        elif found == _SPARSE_DIMS:
            dims += map(signed, varints(file.buffer, a, b))
    if values is None or indices is None:
        raise Damaged("is damaged: a sparse constant lacks values or indices")
    name, stored = values
    return name, Sparse(stored.dtype, _checked(dims, name), stored, indices, repr(name))


@dataclass(slots=True, eq=False)
class Typed:
    """A constant in the typed fields of a TensorProto (`float_data`, `int32_data` ...)."""

    dtype: str
    shape: tuple[int, ...]
    file: File
    spans: tuple[tuple[int, int, int], ...]
    where: str

    @property
    def nbytes(self) -> int:
        return sum(b - a for _, a, b in self.spans if b)

    def values(self) -> tuple[Any, ...]:
        wanted = math.prod(self.shape)
        if wanted > 8 * (self.nbytes + len(self.spans)):  # not even two bits for each
            raise self._short(wanted, "too few")
        try:
            found = tuple(islice(self._numbers(wanted), wanted))
        except Damaged as error:
            error.subject = str(self.file.path)
            raise
        if len(found) < wanted:
            raise self._short(wanted, str(len(found)))
        return found

    def array(self) -> numpy.ndarray[Any, Any]:
        return Literal(self.dtype, self.shape, self.values()).array()

    def _short(self, wanted: int, found: str) -> ReadError:
        return Damaged(f"is damaged: {self.where} of shape {list(self.shape)} needs {wanted} values and has {found}", subject=str(self.file.path))

    def _numbers(self, wanted: int) -> Iterator[Any]:
        buffer = self.file.buffer
        for found, a, b in self.spans:
            if found in _FLOATS or found in _DOUBLES:
                parts = floats(buffer, a, min(b, a + 16 * wanted), "f" if found in _FLOATS else "d")
                yield from map(complex, parts[::2], parts[1::2]) if self.dtype.startswith("complex") else parts
            elif found in _STRINGS:
                yield text(buffer, a, b)
            elif found in _INT32:
                yield from _int32_data(varints(buffer, a, b) if found == _INT32[0] else iter((a,)), self.dtype)
            else:
                numbers = varints(buffer, a, b) if found in (_INT64[0], _UINT64[0]) else iter((a,))
                yield from numbers if found in _UINT64 else map(signed, numbers)


def _int32_data(numbers: Iterator[int], dtype: str) -> Iterator[Any]:
    """int32_data also holds the smaller types: integers, bits of halves, or bytes of codes."""
    if dtype == "bool":
        yield from map(bool, numbers)
    elif dtype in ("float16", "bfloat16"):
        for number in numbers:
            yield from_bfloat16(number & 0xFFFF) if dtype == "bfloat16" else _half(number & 0xFFFF)
    elif bits(dtype) >= 8 and not dtype.startswith("float"):
        yield from map(signed, numbers)
    elif bits(dtype):
        width, table = bits(dtype), codes(dtype)
        per_byte = 1 if width in (6, 8) else 8 // width
        for number in numbers:
            for at in range(per_byte):
                yield table[number >> at * width & (1 << width) - 1]


def _half(code: int) -> float:
    number: float = struct.unpack("<e", struct.pack("<H", code))[0]
    return number


# -- nodes ----------------------------------------------------------------------------------------------

_INPUT, _OUTPUT, _NODE_NAME, _OP_TYPE, _ATTRIBUTE, _NODE_DOMAIN, _OVERLOAD, _PROPERTY = (key(n) for n in (1, 2, 3, 4, 5, 7, 8, 9))
_GRAPH_NODE = key(1)
MAX_NESTING = 32
# Where exporters write which module and which line an operator came from.
_SCOPES, _CLASSES = "pkg.torch.onnx.name_scopes", "pkg.torch.onnx.class_hierarchy"
_SOURCES = ("pkg.torch.onnx.stack_trace", "namespace", _SCOPES)
_ITEM = re.compile(r"""'([^']*)'|"([^"]*)\"""")


IGNORE = "qlint.ignore"  # the key of a property by which a file accepts findings: qlint.ignore/RULE, or of every rule without one


def ignoring(key: str) -> str:
    """The rule that the key of a property is about; empty if it is another key."""
    start, slash, rule = key.partition("/")
    return "" if start != IGNORE or (slash and not rule) else rule or "ALL"


class Node(NamedTuple):
    """A NodeProto: names, and the spans of its attributes."""

    op_type: str
    name: str
    domain: str
    overload: str
    inputs: list[str]
    outputs: list[str]
    attributes: list[Span]
    source: str
    ignored: tuple[tuple[str, str], ...]  # (rule, reason) of the properties that say so
    scopes: str  # of torch.onnx with dynamo: the paths of the modules around it, the outermost first, and its own name at the end
    classes: str  # the same with classes, and its operator at the end

    def calls(self) -> Iterator[tuple[str, str]]:
        """(path, class) of each module that it is called by, the network itself first."""
        paths, classes = (["".join(found) for found in _ITEM.findall(said)] for said in (self.scopes, self.classes))
        yield from zip(paths[:-1], classes[:-1], strict=True) if len(paths) == len(classes) else ()


def node(buffer: Buffer, start: int, end: int) -> Node:
    """A NodeProto."""
    op_type = name = domain = overload = source = scopes = classes = ""
    inputs: list[str] = []
    outputs: list[str] = []
    attributes: list[Span] = []
    ignored: tuple[tuple[str, str], ...] = ()
    for found, a, b in fields(buffer, start, end):
        if found == _INPUT:
            inputs.append(text(buffer, a, b))
        elif found == _OUTPUT:
            outputs.append(text(buffer, a, b))
        elif found == _NODE_NAME:
            name = text(buffer, a, b)
        elif found == _OP_TYPE:
            op_type = text(buffer, a, b)
        elif found == _ATTRIBUTE:
            attributes.append((a, b))
        elif found == _NODE_DOMAIN:
            domain = domain_of(text(buffer, a, b))
        elif found == _OVERLOAD:
            overload = text(buffer, a, b)
        elif found == _PROPERTY:
            entry, value = pair(buffer, (a, b))
            if entry in _SOURCES:
                source = source or value
            if entry == _SCOPES:
                scopes = value
            elif entry == _CLASSES:
                classes = value
            if entry.startswith(IGNORE) and (rule := ignoring(entry)):
                ignored = (*ignored, (rule, value))
    if not op_type:
        raise Damaged(f"is damaged: a node at offset {start} has no operator")
    return Node(op_type, name, domain, overload, inputs, outputs, attributes, source, ignored, scopes, classes)


@dataclass(slots=True)
class Attribute:
    """An AttributeProto; graphs stay spans. `reference` names an attribute of the function around it."""

    name: str = ""
    type: str = ""
    value: Any = None
    graphs: list[Span] = field(default_factory=list)
    reference: str = ""


_A_NAME, _A_F, _A_I, _A_S, _A_T, _A_G = key(1), key(2, FIXED32), key(3, VARINT), key(4), key(5), key(6)
_A_FLOATS, _A_INTS, _A_STRINGS, _A_TENSORS, _A_GRAPHS = (key(7), key(7, FIXED32)), (key(8), key(8, VARINT)), key(9), key(10), key(11)
_A_TYPE, _A_REFERENCE, _A_SPARSE, _A_SPARSES = key(20, VARINT), key(21), key(22), key(23)


def attribute(file: File, span: Span) -> Attribute:
    """An AttributeProto."""
    buffer, one = file.buffer, Attribute()
    many: list[Any] = []
    for found, a, b in fields(buffer, *span):
        if found == _A_NAME:
            one.name = text(buffer, a, b)
        elif found == _A_TYPE:
            one.type = ATTRIBUTE_TYPES.get(a, "")
        elif found == _A_I:
            one.value, one.type = signed(a), one.type or "int"
        elif found in _A_INTS:
            many += [signed(a)] if found == _A_INTS[1] else map(signed, varints(buffer, a, b))
            one.type = one.type or "ints"
        elif found == _A_F:
            one.value, one.type = floats(buffer, a, b)[0], one.type or "float"
        elif found == _A_S:
            one.value, one.type = text(buffer, a, b), one.type or "string"
        elif found == _A_T:
            one.value, one.type = tensor(file, (a, b))[1], one.type or "tensor"
        elif found in (_A_G, _A_GRAPHS):
            one.graphs.append((a, b))
            one.type = one.type or ("graph" if found == _A_G else "graphs")
        elif found in _A_FLOATS:
            many += floats(buffer, a, b)
            one.type = one.type or "floats"
        elif found == _A_STRINGS:
            many.append(text(buffer, a, b))
            one.type = one.type or "strings"
        elif found == _A_TENSORS:
            many.append(tensor(file, (a, b))[1])
            one.type = one.type or "tensors"
        elif found == _A_SPARSE:
            one.value, one.type = sparse(file, (a, b))[1], one.type or "sparse_tensor"
        elif found == _A_SPARSES:
            many.append(sparse(file, (a, b))[1])
        elif found == _A_REFERENCE:
            one.reference = text(buffer, a, b)
    if many or one.type in ("floats", "ints", "strings", "tensors", "sparse_tensors"):
        one.value = many
    elif one.value is None:
        one.value = _EMPTY.get(one.type)
    return one


def operators(file: File, one: Node, depth: int = 0) -> Iterator[tuple[str, str, str]]:
    """(domain, operator, overload) of a node and of those in its graphs, without building them."""
    yield one.domain, one.op_type, one.overload
    for span in one.attributes if depth < MAX_NESTING else ():
        for start, end in attribute(file, span).graphs:
            for found, a, b in fields(file.buffer, start, end):
                if found == _GRAPH_NODE:
                    yield from operators(file, node(file.buffer, a, b), depth + 1)


# -- functions ------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Function:
    """A FunctionProto: its nodes in full, the defaults of its attributes."""

    name: str = ""
    domain: str = ""
    overload: str = ""
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    defaults: list[Span] = field(default_factory=list)
    opsets: dict[str, int] = field(default_factory=dict)
    infos: list[Span] = field(default_factory=list)


_F_NAME, _F_INPUT, _F_OUTPUT, _F_NODE, _F_OPSET, _F_DOMAIN, _F_DEFAULT, _F_INFO, _F_OVERLOAD = (key(n) for n in (1, 4, 5, 7, 9, 10, 11, 12, 13))


def function(buffer: Buffer, span: Span) -> Function:
    """A FunctionProto."""
    one = Function()
    for found, a, b in fields(buffer, *span):
        if found == _F_NODE:
            one.nodes.append(node(buffer, a, b))
        elif found == _F_NAME:
            one.name = text(buffer, a, b)
        elif found == _F_INPUT:
            one.inputs.append(text(buffer, a, b))
        elif found == _F_OUTPUT:
            one.outputs.append(text(buffer, a, b))
        elif found == _F_OPSET:
            domain, version = opset(buffer, (a, b))
            one.opsets[domain] = version
        elif found == _F_DOMAIN:
            one.domain = domain_of(text(buffer, a, b))
        elif found == _F_DEFAULT:
            one.defaults.append((a, b))
        elif found == _F_INFO:
            one.infos.append((a, b))
        elif found == _F_OVERLOAD:
            one.overload = text(buffer, a, b)
    return one
