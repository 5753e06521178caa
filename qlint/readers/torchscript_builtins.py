"""What TorchScript code may call beside operators on tensors: casts, containers, questions about a value."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qlint.readers.torchscript_packed import Packed, unpack
from qlint.readers.torchscript_values import NOTHING, Value, is_open, latest
from qlint.readers.unpickle import Instance, TensorRecord

if TYPE_CHECKING:
    from qlint.readers.torchscript_emit import Emitter

# c10::ScalarType, as TorchScript writes it.
SCALAR_TYPES = ("uint8 int8 int16 int32 int64 float16 float32 float64 complex32 complex64 complex128 bool qint8 quint8 qint32 bfloat16 quint4x2 quint2x4 "
                "bits1x8 bits2x4 bits4x2 bits8 bits16 float8e5m2 float8e4m3fn float8e5m2fnuz float8e4m3fnuz uint16 uint32 uint64").split()  # fmt: skip
STORED = {"qint8": "int8", "quint8": "uint8", "qint32": "int32", "quint4x2": "uint4", "quint2x4": "uint2"}

Env = dict[str, Any]


# -- calls by name --------------------------------------------------------------------------------------


def _second(run: Emitter, tree: ast.Call, env: Env) -> Any:
    """`annotate(T, value)` and the like."""
    return run.eval(tree.args[1], env)


def _cast(native: str) -> Callable[[Emitter, ast.Call, Env], Any]:
    def call(run: Emitter, tree: ast.Call, env: Env) -> Any:
        return run.operator(native, [run.eval(tree.args[0], env)], {}, tree)

    return call


def _get_attribute(run: Emitter, tree: ast.Call, env: Env) -> Any:
    target = run.eval(tree.args[0], env)
    name = run.eval(tree.args[1], env)
    return run.attribute(target, name, tree)


def _is_instance(run: Emitter, tree: ast.Call, env: Env) -> Any:
    value = latest(run.eval(tree.args[0], env))
    names = ast.unparse(tree.args[1])
    checks: tuple[tuple[str, bool], ...] = (
        ("Tensor", isinstance(value, TensorRecord) or (isinstance(value, Value) and value.kind in ("T", "?"))), ("NoneType", value is None),
        ("str", isinstance(value, str)), ("bool", isinstance(value, bool)), ("int", (isinstance(value, int) and not isinstance(value, bool)) or (isinstance(value, Value) and value.kind == "i")),
        ("float", isinstance(value, float)), ("List", isinstance(value, list)), ("list", isinstance(value, list)),
        ("Tuple", isinstance(value, tuple)), ("tuple", isinstance(value, tuple)), ("Dict", isinstance(value, dict)),
    )  # fmt: skip
    return any(holds for name, holds in checks if names.strip("()[], ").startswith(name) or f" {name}" in names)


def _counter(run: Emitter, tree: ast.Call, env: Env) -> Any:
    """The number of a round: the first input of a loop's body."""
    inputs = run.blocks[-1].inputs
    return inputs[0] if inputs else Value("i")


CALLS: dict[str, Callable[[Emitter, ast.Call, Env], Any]] = {
    "annotate": _second, "unchecked_cast": _second, "uninitialized": lambda run, tree, env: NOTHING, "int": _cast("aten::Int"), "float": _cast("aten::Float"),
    "bool": _cast("aten::Bool"), "str": _cast("aten::str"), "getattr": _get_attribute, "isinstance": _is_instance, "__counter__": _counter,
}  # fmt: skip


# -- operators ------------------------------------------------------------------------------------------
# Each gives a result, or NotImplemented: then it is an operator like any other.


def _same(run: Emitter, args: list[Any]) -> Any:
    return args[0]


def _constant(value: Any) -> Callable[[Emitter, list[Any]], Any]:
    return lambda run, args: value


def _identical(negated: bool) -> Callable[[Emitter, list[Any]], Any]:
    def compare(run: Emitter, args: list[Any]) -> Any:
        a, b = args
        same = a is b if a is None or b is None or isinstance(a, (Value, TensorRecord, Instance)) else a == b
        return same != negated

    return compare


def _device(run: Emitter, args: list[Any]) -> Any:
    return "cpu"


def _append(run: Emitter, args: list[Any]) -> Any:
    if not isinstance(args[0], list):
        return NotImplemented
    run.put_items(args[0], [*args[0], args[1]] if len(args[0]) < 100_000 else [Value("T[]")])
    return args[0]


def _extend(run: Emitter, args: list[Any]) -> Any:
    if not isinstance(args[0], list):
        return NotImplemented
    more = args[1] if isinstance(args[1], list) else [args[1]]
    run.put_items(args[0], [*args[0], *more] if len(args[0]) + len(more) < 100_000 else [Value("T[]")])
    return None


def _insert(run: Emitter, args: list[Any]) -> Any:
    if not isinstance(args[0], list) or not isinstance(args[1], int):
        return NotImplemented
    changed = list(args[0])
    changed.insert(args[1], args[2])
    run.put_items(args[0], changed)
    return None


def _pop(run: Emitter, args: list[Any]) -> Any:
    items, at = args[0], args[1] if len(args) > 1 else -1
    if not isinstance(items, list) or not isinstance(at, int) or not -len(items) <= at < len(items) or any(map(is_open, items)):
        return NotImplemented
    changed = list(items)
    found = changed.pop(at)
    run.put_items(items, changed)
    return found


def _clear(run: Emitter, args: list[Any]) -> Any:
    if not isinstance(args[0], list):
        return NotImplemented
    run.put_items(args[0], [])
    return None


def _reverse(run: Emitter, args: list[Any]) -> Any:
    if not isinstance(args[0], list):
        return NotImplemented
    run.put_items(args[0], args[0][::-1])
    return None


def _set_item(run: Emitter, args: list[Any]) -> Any:
    if not isinstance(args[0], (list, dict)):
        return NotImplemented
    run.put_item(*args)
    return args[0]


def _joined(run: Emitter, args: list[Any]) -> Any:
    """Lists one behind the other."""
    if len(args) == 2 and all(isinstance(arg, list) for arg in args) and len(args[0]) + len(args[1]) < 100_000:
        return args[0] + args[1]
    return NotImplemented


def _repeated(run: Emitter, args: list[Any]) -> Any:
    if len(args) == 2 and isinstance(args[0], list) and isinstance(args[1], int) and len(args[0]) * max(0, args[1]) < 100_000:
        return args[0] * args[1]
    return NotImplemented


def _contains(run: Emitter, args: list[Any]) -> Any:
    if isinstance(args[0], dict) and isinstance(args[1], (str, int, float)):
        return args[1] in args[0]
    return NotImplemented


def _getitem(run: Emitter, args: list[Any]) -> Any:
    items, key = args
    if isinstance(items, dict) and isinstance(key, (str, int, float)) and key in items:
        return items[key]
    return NotImplemented


def _of_constant(function: Callable[[TensorRecord], Any]) -> Callable[[Emitter, list[Any]], Any]:
    """A question about a tensor that the file holds."""
    return lambda run, args: function(args[0]) if len(args) == 1 and isinstance(args[0], TensorRecord) else NotImplemented


def _size(run: Emitter, args: list[Any]) -> Any:
    if not isinstance(args[0], TensorRecord):
        return NotImplemented
    shape = args[0].shape
    if len(args) == 1:
        return list(shape)
    return shape[args[1]] if isinstance(args[1], int) and -len(shape) <= args[1] < len(shape) else NotImplemented


def _select(run: Emitter, args: list[Any]) -> Any:
    """`enabled[0]` of a buffer of one element."""
    if isinstance(args[0], TensorRecord) and math.prod(args[0].shape) == 1 and len(args[0].shape) == 1:
        one = args[0]
        return TensorRecord(one.dtype, one.storage, one.offset, (), (), one.grid, one.path)
    return NotImplemented


def _compared(function: Callable[[Any, Any], bool]) -> Callable[[Emitter, list[Any]], Any]:
    """A buffer of one element (`fake_quant_enabled`) against a number."""

    def compare(run: Emitter, args: list[Any]) -> Any:
        if len(args) == 2 and any(isinstance(arg, TensorRecord) for arg in args):
            a, b = map(run.number, args)
            if isinstance(a, (int, float)) and isinstance(b, (int, float)):
                return function(a, b)
        return NotImplemented

    return compare


def _scalar(cast: Callable[[Any], Any]) -> Callable[[Emitter, list[Any]], Any]:
    """The number in a buffer of one element."""

    def convert(run: Emitter, args: list[Any]) -> Any:
        value = run.number(args[0])
        return cast(value) if isinstance(args[0], TensorRecord) and isinstance(value, (int, float)) else NotImplemented

    return convert


def _dtype(run: Emitter, args: list[Any]) -> Any:
    if isinstance(args[0], TensorRecord) and args[0].grid is None and args[0].dtype in SCALAR_TYPES:
        return SCALAR_TYPES.index(args[0].dtype)
    return NotImplemented


def _unpack(run: Emitter, args: list[Any]) -> Any:
    packed = args[0]
    if isinstance(packed, Instance):
        packed = unpack(packed, run.code.archive)
    return (packed.args.get("weight"), packed.args.get("bias")) if isinstance(packed, Packed) else NotImplemented


OPERATORS: dict[str, Callable[[Emitter, list[Any]], Any]] = {
    "aten::__is__": _identical(False), "aten::__isnot__": _identical(True),
    **dict.fromkeys(("prim::data", "prim::unchecked_unwrap_optional", "aten::_unwrap_optional", "prim::unchecked_cast", "aten::FloatImplicit",
                     "aten::IntImplicit", "aten::ScalarImplicit", "prim::dictcopy"), _same),
    "prim::device": _device, "aten::device": _device, "prim::type": _device, "prim::layout": _constant(None),
    **dict.fromkeys(("prim::is_cuda", "prim::is_xpu", "prim::is_mkldnn", "prim::is_sparse", "prim::is_meta", "prim::is_mps", "prim::is_nested",
                     "prim::requires_grad", "aten::is_autocast_enabled", "aten::is_autocast_cpu_enabled", "aten::is_grad_enabled"), _constant(False)),
    "aten::append": _append, "aten::extend": _extend, "aten::insert": _insert, "aten::pop": _pop, "aten::clear": _clear, "aten::reverse": _reverse,
    "aten::_set_item": _set_item, "aten::add": _joined, "aten::add_": _extend, "aten::mul": _repeated, "aten::dict": lambda run, args: dict(args[0]) if args and isinstance(args[0], dict) else {},
    "aten::__contains__": _contains, "aten::__getitem__": _getitem, "aten::size": _size, "aten::select": _select,
    "aten::dim": _of_constant(lambda t: len(t.shape)), "aten::len": _of_constant(lambda t: t.shape[0] if t.shape else NotImplemented),
    "aten::numel": _of_constant(lambda t: math.prod(t.shape)), "prim::ndim": _of_constant(lambda t: len(t.shape)), "prim::dtype": _dtype,
    "aten::is_floating_point": _of_constant(lambda t: t.dtype.startswith(("float", "bfloat"))),
    "aten::eq": _compared(lambda a, b: a == b), "aten::ne": _compared(lambda a, b: a != b), "aten::gt": _compared(lambda a, b: a > b),
    "aten::lt": _compared(lambda a, b: a < b), "aten::ge": _compared(lambda a, b: a >= b), "aten::le": _compared(lambda a, b: a <= b),
    "aten::Bool": _scalar(bool), "aten::Int": _scalar(int), "aten::Float": _scalar(float), "aten::item": _scalar(lambda v: v),
    **{f"quantized::{kind}_unpack": _unpack for kind in ("linear", "conv1d", "conv2d", "conv3d", "conv_transpose2d")},
}  # fmt: skip
