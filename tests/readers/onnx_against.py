"""Comparing a read model with the `onnx` package's own view of the file, node for node and value for value."""

from pathlib import Path

import numpy as np
import onnx
from onnx import defs, helper, numpy_helper

from qlint.readers.data import DTYPES

TYPES = {number: name.lower() for name, number in onnx.AttributeProto.AttributeType.items()}


def compare(theirs: onnx.ModelProto, ours, folder: Path) -> None:
    """Everything that qlint keeps of a file, for a model without calls of functions."""
    opsets = {"" if o.domain == "ai.onnx" else o.domain: o.version for o in theirs.opset_import}
    assert ours.opsets == (opsets or {"": 1})
    assert {p.key: p.value for p in theirs.metadata_props}.items() <= ours.metadata.items()
    assert ours.metadata["ir_version"] == str(theirs.ir_version)
    compare_graph(theirs.graph, ours, opsets, {}, folder)


def compare_graph(theirs, ours, opsets, outer, folder) -> None:
    """`outer` are the tensors of the graphs around this one, by name."""
    own = {t.name for op in ours.nodes for t in op.outputs} | set(ours.tensors)
    visible = {**outer, **{name: ours.tensors[name] for name in own if name in ours.tensors}}
    nodes = list(theirs.node)
    assert [(n.name, n.op_type, "" if n.domain == "ai.onnx" else n.domain) for n in nodes] == [
        (op.name, op.native.split("::")[-1], op.domain) for op in ours.nodes
    ]
    for node, op in zip(nodes, ours.nodes, strict=True):
        assert [(slot, name) for slot, name in enumerate(node.input) if name] == [(u.slot, u.name) for u in op.uses.values()]
        for use in op.uses.values():
            assert use.tensor is visible[use.name] and use in use.tensor.uses and use.op is op
        outputs = list(node.output)
        while outputs and not outputs[-1]:
            outputs.pop()
        assert outputs == [t.name for t in op.outputs]
        assert all(t.producer is op for t in op.outputs)
        compare_attributes(node, op, opsets, visible, folder)
    for initializer in theirs.initializer:
        compare_data(initializer, ours.tensors[initializer.name], folder)
    for initializer in theirs.sparse_initializer:
        compare_dense(dense(initializer, folder), ours.tensors[initializer.values.name])
    constants = {i.name for i in theirs.initializer} | {i.values.name for i in theirs.sparse_initializer}
    assert [i.name for i in theirs.input if i.name not in constants] == [t.name for t in ours.inputs]
    assert all(t.is_input for t in ours.inputs)
    for info in (*theirs.input, *theirs.value_info, *theirs.output):
        kind = info.type.sparse_tensor_type if info.type.HasField("sparse_tensor_type") else info.type.tensor_type
        tensor = visible[info.name]
        if kind.elem_type:
            assert tensor.dtype == DTYPES[kind.elem_type]
        if kind.HasField("shape") and tensor.data is None:
            assert tensor.shape == tuple(
                d.dim_value if d.HasField("dim_value") and d.dim_value >= 0 else d.dim_param or None for d in kind.shape.dim
            )
    assert [o.name for o in theirs.output] == [u.name for u in ours.outputs]
    assert all(u.kind == "output" and u.tensor is visible[u.name] for u in ours.outputs)


def compare_attributes(node, op, opsets, visible, folder) -> None:
    expected = {}
    try:
        schema = defs.get_schema(node.op_type, opsets.get(op.domain, 0), op.domain)
    except defs.SchemaError:
        assert op.since == 0 and op.unknown_attrs == ()
    else:
        assert op.since == schema.since_version
        expected = {name: helper.get_attribute_value(a.default_value) for name, a in schema.attributes.items() if a.default_value.name}
        assert op.unknown_attrs == tuple(a.name for a in node.attribute if a.name not in schema.attributes)
    graphs = {}
    for attribute in node.attribute:
        value = helper.get_attribute_value(attribute)
        if isinstance(value, onnx.GraphProto):
            graphs[attribute.name] = value
        elif attribute.type == onnx.AttributeProto.GRAPHS:
            graphs |= {f"{attribute.name}[{i}]": graph for i, graph in enumerate(value)}
        elif attribute.type not in (onnx.AttributeProto.TYPE_PROTO, onnx.AttributeProto.TYPE_PROTOS):
            expected[attribute.name] = value
    assert set(op.attrs) - {"type"} == set(expected)
    for name, value in expected.items():
        compare_value(value, op.attrs[name], folder)
    assert list(op.bodies) == list(graphs)
    for name, graph in graphs.items():
        compare_graph(graph, op.bodies[name], opsets, visible, folder)


def compare_value(theirs, ours, folder) -> None:
    if isinstance(theirs, onnx.TensorProto):
        compare_array(theirs, ours, folder)
    elif isinstance(theirs, onnx.SparseTensorProto):
        np.testing.assert_array_equal(dense(theirs, folder), ours.array())
    elif isinstance(theirs, (list, tuple)) or (hasattr(theirs, "__len__") and not isinstance(theirs, (bytes, str))):
        assert len(theirs) == len(ours)
        for one, other in zip(theirs, ours, strict=True):
            compare_value(one, other, folder)
    else:
        mine = theirs.decode("utf-8", "replace") if isinstance(theirs, bytes) else theirs
        assert type(mine) is type(ours) and (mine == ours or (mine != mine and ours != ours))


def compare_data(theirs: onnx.TensorProto, tensor, folder) -> None:
    assert tensor.dtype == tensor.data.dtype == DTYPES[theirs.data_type]
    assert tensor.shape == tensor.data.shape == tuple(theirs.dims)
    compare_array(theirs, tensor.data, folder)


def compare_array(theirs: onnx.TensorProto, data, folder) -> None:
    array = numpy_helper.to_array(theirs, str(folder))
    equal(array, data.array())
    equal(array, np.array(data.values(), dtype=data.array().dtype).reshape(array.shape))


def compare_dense(theirs, tensor) -> None:
    assert tensor.shape == theirs.shape
    np.testing.assert_array_equal(theirs, tensor.data.array())


def equal(theirs, ours) -> None:
    """Same values; the small types of ml_dtypes fit exactly into what qlint holds them in."""
    np.testing.assert_array_equal(theirs if theirs.dtype.kind in "biufcOU" and theirs.dtype.isbuiltin == 1 else theirs.astype(ours.dtype), ours)


def dense(sparse: onnx.SparseTensorProto, folder) -> np.ndarray:
    values, indices = numpy_helper.to_array(sparse.values, str(folder)), numpy_helper.to_array(sparse.indices, str(folder))
    out = np.zeros(tuple(sparse.dims), values.dtype)
    for value, index in zip(values, indices, strict=True):
        out[tuple(index) if indices.ndim == 2 else np.unravel_index(index, out.shape)] = value
    return out
