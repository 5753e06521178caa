"""Pickles without Python's unpickler: an interpreter of the opcodes that PyTorch writes, which builds inert records only.

No name is ever imported and nothing is called: a name becomes a :class:`Global`, an object an :class:`Instance`, a
tensor a :class:`TensorRecord`. A name that is not on the short list of those that models need is refused.
Opcodes: Lib/pickletools.py; what PyTorch writes: torch/csrc/jit/serialization/pickler.cpp.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from qlint.errors import ReadError

MAX_OPCODES = 20_000_000
_AGAIN = "export or download it again"

# torch dtype, or the prefix of a storage class, in small letters → dtype name.
DTYPES: dict[str, str] = {
    "float": "float32", "double": "float64", "half": "float16", "bfloat16": "bfloat16", "byte": "uint8", "char": "int8", "short": "int16",
    "int": "int32", "long": "int64", "bool": "bool", "complexfloat": "complex64", "complexdouble": "complex128", "qint8": "int8", "quint8": "uint8",
    "qint32": "int32", "quint4x2": "uint4", "quint2x4": "uint2", "float16": "float16", "float32": "float32", "float64": "float64", "uint8": "uint8",
    "int8": "int8", "int16": "int16", "int32": "int32", "int64": "int64", "uint16": "uint16", "uint32": "uint32", "uint64": "uint64",
    "complex64": "complex64", "complex128": "complex128", "float8_e4m3fn": "float8e4m3fn", "float8_e4m3fnuz": "float8e4m3fnuz",
    "float8_e5m2": "float8e5m2", "float8_e5m2fnuz": "float8e5m2fnuz", "float8_e8m0fnu": "float8e8m0",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Global:
    """A name that the pickle refers to."""

    name: str


@dataclass(slots=True, eq=False)
class Instance:
    """An object: the name of its class, what it was built from, and its attributes."""

    cls: str
    args: tuple[Any, ...] = ()
    state: Any = None
    attrs: dict[str, Any] = field(default_factory=dict)
    path: str = ""  # where it hangs in the module tree


@dataclass(slots=True, eq=False)
class Storage:
    """The bytes that tensors look into: `key` names the member of the archive."""

    dtype: str
    key: str
    size: int


@dataclass(slots=True, eq=False)
class Affine:
    """The grid of a quantized tensor; `axis` is None per tensor. Scales are numbers, or tensors per channel."""

    scale: Any
    zero_point: Any
    axis: int | None


@dataclass(slots=True, eq=False)
class TensorRecord:
    """A tensor in a storage. `grid` is that of a quantized one; `path` is where it hangs in the module tree; `now` is what was written into it."""

    dtype: str
    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    grid: Affine | None = None
    path: str = ""
    now: Any = None


_Make = Callable[[tuple[Any, ...]], Any]


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, dtype: str = "", grid: Affine | None = None) -> TensorRecord:
    if not isinstance(storage, Storage) or not isinstance(offset, int) or not _integers(shape) or not _integers(strides) or len(shape) != len(strides):
        raise ReadError("has a tensor that is described in a way PyTorch does not use", hint=_AGAIN)
    return TensorRecord(dtype or storage.dtype, storage, offset, tuple(shape), tuple(strides), grid)


def _integers(value: Any) -> bool:
    if not isinstance(value, (tuple, list)) or len(value) > 64:
        return False
    for n in value:  # noqa: SIM110 (a generator takes longer, and there are many)
        if type(n) is not int or n >= 1 << 62:
            return False
    return True


def _quantized(args: tuple[Any, ...]) -> TensorRecord:
    scheme, *rest = args[4]
    per_tensor = isinstance(scheme, Global) and "per_tensor" in scheme.name
    grid = Affine(rest[0], rest[1], None if per_tensor else rest[2])
    storage, offset, shape, strides = args[:4]
    return _tensor(storage, offset, shape, strides, grid=grid)


def _typed(args: tuple[Any, ...]) -> TensorRecord:
    storage, offset, shape, strides = args[:4]
    return _tensor(storage, offset, shape, strides, dtype_of(args[6]))


def dtype_of(value: Any) -> str:
    """The dtype that `torch.float16`, `torch.FloatStorage` or the like means; '' if it is none."""
    return _dtype_named(value.name) if isinstance(value, Global) else ""


@lru_cache(maxsize=256)
def _dtype_named(name: str) -> str:
    return DTYPES.get(name.rpartition(".")[2].removesuffix("Storage").lower(), "")


# What may stand for a call: the record that the call would have given.
_MAKERS: dict[str, _Make] = {
    "torch._utils._rebuild_tensor": lambda args: _tensor(*args[:4]),
    "torch._utils._rebuild_tensor_v2": lambda args: _tensor(*args[:4]),
    "torch._utils._rebuild_tensor_v3": _typed,
    "torch._utils._rebuild_qtensor": _quantized,
    "torch._utils._rebuild_parameter": lambda args: args[0],
    "torch._utils._rebuild_parameter_with_state": lambda args: args[0],
    "collections.OrderedDict": lambda args: dict(args[0]) if args and _pairs(args[0]) else {},
    "torch.device": lambda args: args[0],
    "torch.Size": lambda args: tuple(args[0]),
    "torch.jit._pickle.restore_type_tag": lambda args: args[0],
    **dict.fromkeys((f"torch.jit._pickle.build_{kind}list" for kind in ("int", "double", "bool", "tensor")), lambda args: args[0]),
    "torch.jit._pickle.build_tensor_from_id": lambda args: Instance("tensor", args),
}
# Names beside those of the file's own classes (`__torch__`), of dtypes and of storages.
_REBUILD, _HOOKS = "torch._utils._rebuild_tensor_v2", "collections.OrderedDict"
_NAMES = frozenset(_MAKERS) | {"torch.storage.UntypedStorage", "torch.storage.TypedStorage", "torch.Tensor", "torch.nn.parameter.Parameter"}
_SCHEMES = frozenset(f"torch.per_{kind}" for kind in ("tensor_affine", "tensor_symmetric", "channel_affine", "channel_symmetric", "channel_affine_float_qparams"))


def _pairs(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(pair, (list, tuple)) and len(pair) == 2 and type(pair[0]) in _KEYS for pair in value)


_KEYS = frozenset((type(None), str, int, float, bool))


def allowed(name: str) -> bool:
    """Whether a model may refer to this name; what it would do is never looked at."""
    return name.startswith("__torch__.") or name in _NAMES or name in _SCHEMES or bool(dtype_of(Global(name)) and name.startswith("torch."))


def loads(raw: bytes, what: str, folder: str = "data") -> Any:
    """The records of a pickle; the storages of its tensors lie in `folder`.

    Raises:
        ReadError: it is damaged, uses what PyTorch does not write, or refers to a name that no model needs.
    """
    try:
        return _run(raw, what, folder)
    except ReadError:
        raise
    except (LookupError, TypeError, ValueError, struct.error, AttributeError, StopIteration, EOFError) as error:
        raise ReadError(f"has a damaged pickle, {what}", hint=_AGAIN) from error


# A tensor as PyTorch writes it (torch/csrc/jit/serialization/pickler.cpp, pushLiteralTensor), after the name that rebuilds it: its storage, offset,
# shape, strides and two arguments more. Nearly all steps of a pickle are those of its tensors, so that these are taken in one.
_INT, _PUT = rb"(?:K.|M..|J....)", rb"(?:q.|r....)?"
_TENSOR = re.compile(
    rb"\(\(h(.)h(.)X(.)\0\0\0([0-9]+)(%b)h(.)(%b)tQ(%b)(%b)\((%b*)t\((%b*)t[\x88\x89]h(.)\)RtR" % (_PUT, _INT, _PUT, _INT, _INT, _INT), re.DOTALL
)  # fmt: skip


def _run(raw: bytes, what: str, folder: str) -> Any:
    stack: list[Any] = []  # since the last mark
    before: list[list[Any]] = []  # and since each of the marks before it
    memo: dict[int, Any] = {}
    at = 0
    for _ in range(MAX_OPCODES):
        code = raw[at]
        at += 1
        if code == 0x68:  # BINGET; the commonest first
            value = memo[raw[at]]
            at += 1
            if value.__class__ is Global and value.name == _REBUILD:
                found = _TENSOR.match(raw, at)
                tensor = _at_once(found, memo, folder) if found is not None else None
                if found is not None and tensor is not None:
                    value, at = tensor, found.end()
            stack.append(value)
        elif code == 0x4B:  # BININT1
            stack.append(raw[at])
            at += 1
        elif code in _VALUES:
            stack.append(_VALUES[code])
        elif code == 0x72:  # LONG_BINPUT
            memo[_LONG(raw, at)[0]] = stack[-1]
            at += 4
        elif code == 0x28:  # MARK
            before.append(stack)
            stack = []
        elif code == 0x74:  # TUPLE
            made = tuple(stack)
            stack = before.pop()
            stack.append(made)
        elif code == 0x52 or code == 0x81:  # REDUCE, NEWOBJ
            args = stack.pop()
            stack[-1] = _made(stack[-1], args)
        elif code == 0x71:  # BINPUT
            memo[raw[at]] = stack[-1]
            at += 1
        elif code in _TEXTS:
            width = _TEXTS[code]
            start = at + width
            at = start + int.from_bytes(raw[at:start], "little")
            if at > len(raw):
                raise ReadError(f"has a truncated pickle, {what}", hint=_AGAIN)
            stack.append(raw[start:at].decode("utf-8", "replace"))
        elif code == 0x51:  # BINPERSID
            stack[-1] = _storage(stack[-1], folder)
        elif code == 0x6A:  # LONG_BINGET
            stack.append(memo[_LONG(raw, at)[0]])
            at += 4
        elif code in _NUMBERS:
            form, width = _NUMBERS[code]
            stack.append(struct.unpack_from(form, raw, at)[0])
            at += width
        elif code == 0x75:  # SETITEMS
            items, stack = stack, before.pop()
            _set(stack[-1], items[::2], items[1::2])
        elif code == 0x73:  # SETITEM
            value, key = stack.pop(), stack.pop()
            _set(stack[-1], [key], [value])
        elif code == 0x62:  # BUILD
            state = stack.pop()
            _build(stack[-1], state)
        elif code == 0x94:  # MEMOIZE
            memo[len(memo)] = stack[-1]
        elif 0x85 <= code <= 0x87:  # TUPLE1, TUPLE2, TUPLE3
            count = code - 0x84
            items = stack[-count:]
            if len(items) < count:
                raise IndexError
            stack[-count:] = [tuple(items)]
        elif code == 0x5D:  # EMPTY_LIST
            stack.append([])
        elif code == 0x7D:  # EMPTY_DICT
            stack.append({})
        elif code == 0x65:  # APPENDS
            items, stack = stack, before.pop()
            _list(stack[-1]).extend(items)
        elif code == 0x61:  # APPEND
            item = stack.pop()
            _list(stack[-1]).append(item)
        elif code == 0x63:  # GLOBAL
            middle = raw.index(b"\n", at)
            end = raw.index(b"\n", middle + 1)
            stack.append(_named(f"{raw[at:middle].decode('utf-8', 'replace')}.{raw[middle + 1 : end].decode('utf-8', 'replace')}", what))
            at = end + 1
        elif code == 0x93:  # STACK_GLOBAL
            name, module = stack.pop(), stack.pop()
            stack.append(_named(f"{module}.{name}", what))
        elif code in (0x8A, 0x8B):  # LONG1, LONG4
            start = at + (1 if code == 0x8A else 4)
            size = int.from_bytes(raw[at:start], "little")
            if size > 8:
                raise ReadError(f"has an integer of {size} bytes in its pickle, {what}", hint="it is no sensible model")
            at = start + size
            stack.append(int.from_bytes(raw[start:at], "little", signed=True))
        elif code == 0x80:  # PROTO
            at += 1
        elif code == 0x95:  # FRAME
            at += 8
        elif code == 0x30:  # POP
            stack.pop()
        elif code == 0x2E:  # STOP
            return stack.pop()
        else:
            raise ReadError(f"has a pickle, {what}, with the opcode 0x{code:02x} at byte {at - 1}, which PyTorch does not write", hint=_AGAIN)
    raise ReadError(f"has a pickle, {what}, of more than {MAX_OPCODES} steps", hint="it is no sensible model")


def _at_once(found: re.Match[bytes], memo: dict[int, Any], folder: str) -> TensorRecord | None:
    """The tensor that a match of `_TENSOR` is; None if something in it does not stand for what it does elsewhere."""
    kind, cls, length, key, key_put, _, size, storage_put, offset, shape, strides, hooks = found.groups()
    element, hook = memo[cls[0]], memo[hooks[0]]
    if memo[kind[0]] != "storage" or element.__class__ is not Global or hook.__class__ is not Global or hook.name != _HOOKS or len(key) != length[0]:
        return None
    name = key.decode()
    storage = Storage(_dtype_named(element.name) or "uint8", f"{folder}/{name}", _integers_of(size)[0])
    if key_put:
        memo[int.from_bytes(key_put[1:], "little")] = name
    if storage_put:
        memo[int.from_bytes(storage_put[1:], "little")] = storage
    return TensorRecord(storage.dtype, storage, _integers_of(offset)[0], _integers_of(shape), _integers_of(strides))


@lru_cache(maxsize=4096)
def _integers_of(raw: bytes) -> tuple[int, ...]:
    """The numbers that BININT1, BININT2 and BININT push."""
    return tuple(int.from_bytes(one[1:], "little", signed=one[0] == 0x4A) for one in _EACH.findall(raw))


_EACH = re.compile(_INT, re.DOTALL)
_LONG = struct.Struct("<I").unpack_from
_TEXTS = {0x58: 4, 0x8C: 1, 0x8D: 8, 0x55: 1, 0x54: 4, 0x43: 1, 0x42: 4}  # BINUNICODE, SHORT_BINUNICODE, BINUNICODE8, *BINSTRING, *BINBYTES
_NUMBERS = {0x4D: ("<H", 2), 0x4A: ("<i", 4), 0x47: (">d", 8)}  # BININT2, BININT, BINFLOAT
_VALUES: dict[int, Any] = {0x4E: None, 0x88: True, 0x89: False, 0x29: ()}


def _named(name: str, what: str) -> Global:
    if not allowed(name):
        raise ReadError(
            f"refers to {name!r} in its pickle, {what}, which no TorchScript model does; it was not executed",
            hint="do not load this file with PyTorch unless you trust where it came from",
        )
    return Global(name)


def _set(target: Any, keys: list[Any], values: list[Any]) -> None:
    if not isinstance(target, dict) or not set(map(type, keys)) <= _KEYS:
        raise TypeError
    target.update(zip(keys, values, strict=True))


def _list(target: Any) -> list[Any]:
    if not isinstance(target, list):
        raise TypeError
    return target


def _made(made: Any, args: Any) -> Any:
    if not isinstance(made, Global) or not isinstance(args, tuple):
        raise TypeError
    maker = _MAKERS.get(made.name)
    return maker(args) if maker is not None else Instance(made.name, args)


def _build(target: Any, state: Any) -> None:
    if isinstance(target, Instance):
        target.state = state
        if isinstance(state, dict) and set(map(type, state)) <= {str}:
            target.attrs.update(state)
    elif not isinstance(target, (dict, TensorRecord)):  # a dictionary or a tensor may carry attributes that say nothing here
        raise TypeError


def _storage(pid: Any, folder: str) -> Storage:
    """`("storage", class, key, device, elements)`."""
    kind, cls, key, _, size = pid[:5]
    if kind != "storage" or not isinstance(key, str) or not isinstance(size, int):
        raise ValueError
    return Storage(dtype_of(cls) or "uint8", f"{folder}/{key}", size)


def names_in(raw: bytes) -> Iterator[str]:
    """The names that a pickle refers to, in order, without building anything; stops where it is damaged."""
    import pickletools

    texts: list[str] = []
    try:
        for code, argument, _ in pickletools.genops(raw):
            if code.name == "GLOBAL":
                yield str(argument).replace(" ", ".", 1)
            elif code.name == "STACK_GLOBAL" and len(texts) > 1:
                yield ".".join(texts[-2:])
            elif isinstance(argument, str):
                texts.append(argument)
    except (ValueError, IndexError, UnicodeError):
        return
