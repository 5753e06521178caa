"""Our reading of a TFLite file against LiteRT's object API, down to the last field."""

import re

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from qlint.graph.values import Numbers
from qlint.readers import tflite_ops
from qlint.readers.data import File
from qlint.readers.flatbuffer import Flatbuffer, Span, tflite_schema

DEPRECATED = {"new_height", "new_width", "deprecated_tag"}  # slots that LiteRT no longer reads
OURS = tflite_schema()
NUMBERS = {name: {member: value for value, member in members.items()} for name, members in OURS.enums.items()}


def loaded(raw):
    return schema.ModelT.InitFromPackedBuf(raw, 0)


def camel(field):
    """The name of a field in the object API."""
    first, *rest = field.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in rest)


def compare_tables(path):
    """Every table that the root leads to."""
    raw = path.read_bytes()
    ours = Flatbuffer(File(path, raw), OURS)
    same_table(ours, ours.root("Model"), loaded(raw), "Model")
    return ours


def same_table(flat, ours, theirs, name):
    assert (ours is None) == (theirs is None), name
    for field, kind, *_ in OURS.tables[name] if ours is not None else ():
        if field in DEPRECATED:
            continue
        a, b = ours[field], getattr(theirs, camel(field))
        where = f"{name}.{field}"
        if kind in OURS.unions:
            same_table(flat, a, b, OURS.unions[kind][ours[f"{field}_type"]] if a is not None else name)
        elif kind in OURS.tables:
            same_table(flat, a, b, kind)
        elif kind[0] == "[" and kind[1:-1] in OURS.tables:
            assert (a is None) == (b is None), where
            for one, other in zip(a or (), b or (), strict=True):
                same_table(flat, one, other, kind[1:-1])
        else:
            same_value(flat, a, b, kind, where)


def same_value(flat, a, b, kind, where):
    one = kind.strip("[]")
    number = NUMBERS.get(one, {})
    if a is None or b is None:
        assert a is None and b is None, (where, a, b)
    elif isinstance(a, Span):
        assert flat.buffer[a.start : a.end] == np.asarray(b, np.uint8).tobytes(), where
    elif isinstance(a, (tuple, Numbers)):
        assert [number.get(v, v) for v in a] == np.asarray(b).tolist(), where
    elif kind == "string":
        assert a.encode() == b, where
    else:
        assert number.get(a, a) == b, (where, a, b)


# -- the model -------------------------------------------------------------------------------------------


def compare_model(model, raw):
    """Operators, tensors, constants, quantizers: everything of the main subgraph, and of the bodies that it calls."""
    theirs = loaded(raw)
    compare_graph(model, theirs.subgraphs[0], theirs)


def compare_graph(model, graph, theirs):
    tensors = list(graph.tensors or ())
    by_index = [t for t in model.tensors.values() if t.name not in {op.name for op in model.nodes}]
    assert len(by_index) == len(tensors)
    for ours, one in zip(by_index, tensors, strict=True):
        compare_tensor(ours, one, theirs, tensors)
    place = {id(t): i for i, t in enumerate(by_index)}
    assert [place[id(t)] for t in model.inputs] == np.asarray(graph.inputs if graph.inputs is not None else []).tolist()
    assert [place[id(u.tensor)] for u in model.outputs] == np.asarray(graph.outputs if graph.outputs is not None else []).tolist()
    assert len(model.nodes) == len(graph.operators or ())
    acts = [op for op in model.ops if op.fused]
    assert [op for op in model.ops if not op.fused] == model.nodes
    for index, (op, one) in enumerate(zip(model.nodes, graph.operators or (), strict=True)):
        code = theirs.operatorCodes[one.opcodeIndex]
        number = max(code.builtinCode, code.deprecatedBuiltinCode)
        native = code.customCode.decode() if number == schema.BuiltinOperator.CUSTOM else next(n for n, v in vars(schema.BuiltinOperator).items() if v == number)
        assert op.native == native and re.fullmatch(rf"(.*/)?{re.escape(native)}:{index}", op.name) and op.opset == code.version
        wanted = {slot: t for slot, t in enumerate(one.inputs if one.inputs is not None else []) if t != -1}
        assert {use.slot: place[id(use.tensor)] for use in op.uses.values()} == wanted
        assert all(use.tensor.uses.count(use) == 1 for use in op.uses.values())
        act = next((a for a in acts if a.name.startswith(f"{op.name}/")), None)
        assert [place[id(t)] for t in (op.outputs if act is None else act.outputs + op.outputs[1:])] == list(one.outputs if one.outputs is not None else [])
        compare_options(op, one, act)
        for label, body in op.bodies.items():
            field = next(o for o in vars(one.builtinOptions or one.builtinOptions2) if o.lower() in (label.replace("_", "") + "subgraphindex", label))
            compare_graph(body, theirs.subgraphs[getattr(one.builtinOptions or one.builtinOptions2, field)], theirs)


def compare_options(op, one, act):
    for options in (one.builtinOptions, one.builtinOptions2):
        if options is None:
            continue
        name = type(options).__name__.removesuffix("T")
        for field, kind, *_ in OURS.tables[name]:
            if field in DEPRECATED or field in ("mode",):
                continue
            ours, value = op.attrs[field], getattr(options, camel(field))
            if kind == "[ubyte]":
                assert (None if ours is None else ours.array().tolist()) == (None if value is None else np.asarray(value).tolist())
            else:
                same_value(None, ours, value, kind, f"{op.name}.{field}")
        fused = getattr(options, "fusedActivationFunction", 0) if op.native in tflite_ops.FUSING else 0
        assert (act is not None) == bool(fused)
        if act is not None:
            assert act.native == OURS.enums["ActivationFunctionType"][fused] and not op.outputs[0].uses[0].quantizers


def compare_tensor(ours, one, theirs, tensors):
    assert ours.name == (one.name or b"").decode() or re.search(r":\d+$", ours.name)
    name = OURS.enums["TensorType"][one.type]
    assert ours.dtype == {"FLOAT8_E4M3FN": "float8e4m3fn", "FLOAT8_E5M2": "float8e5m2"}.get(name, name.lower())
    shape = [] if one.shape is None else np.asarray(one.shape).tolist()
    if ours.shape is not None:
        assert [-1 if d is None else d for d in ours.shape] == shape
    assert ours.variable == one.isVariable
    data = theirs.buffers[one.buffer].data
    if data is not None and len(data) and not one.isVariable and one.sparsity is None and name in ("FLOAT32", "INT8", "UINT8", "INT32", "INT16", "INT64", "BOOL", "FLOAT16"):
        wanted = np.asarray(data, np.uint8).view(ours.dtype).reshape(shape)
        assert np.array_equal(ours.data.array(), wanted, equal_nan=ours.dtype.startswith("float"))
        if wanted.size < 5000 and not (wanted != wanted).any():
            assert np.array_equal(np.array(ours.data.values()).reshape(shape), wanted)
    q, p = ours.quantizer, one.quantization
    if q is None:
        assert p is None or p.scale is None or not len(p.scale) or name.startswith(("FLOAT", "BOOL")) or p.detailsType
    elif p is None:  # where a tensor has no grid, what quantizes it may still say one
        assert ours.producer is not None and ours.producer.kind == "fake_quantize"
    elif not p.detailsType:
        assert list(q.scale) == np.asarray(p.scale).tolist() and (p.zeroPoint is None or list(q.zero_point) == np.asarray(p.zeroPoint).tolist())
        assert (q.axis, q.granularity) == ((p.quantizedDimension, "channel") if len(p.scale) > 1 else (None, "tensor"))
        assert q.storage == ours.dtype
