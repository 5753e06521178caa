"""Looking into a weight: the elements that are asked for, of every type, and no other byte."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from qlint.errors import ReadError
from qlint.graph.values import part
from qlint.readers import read

TYPES = ["FLOAT", "FLOAT16", "BFLOAT16", "INT8", "UINT8", "INT32", "INT64", "DOUBLE", "INT4", "UINT4", "INT2", "UINT2", "FLOAT8E4M3FN", "FLOAT4E2M1", "FLOAT6E2M3"]


def weight(path, tensor):
    graph = helper.make_graph([helper.make_node("Identity", ["w"], ["y"])], "g", [], [helper.make_tensor_value_info("y", tensor.data_type, None)], [tensor])
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 28)], ir_version=10).SerializeToString())
    return read(path).tensors["w"].data


@pytest.mark.parametrize("name", [name for name in TYPES if hasattr(TensorProto, name)])
@pytest.mark.parametrize("raw", [False, True])
def test_a_part_is_what_all_of_it_has_there(tmp_path, name, raw):
    values = np.arange(37) % 3 - (0 if name[0] == "U" else 1)
    tensor = helper.make_tensor("w", getattr(TensorProto, name), [37], values.tolist())
    if raw:
        tensor = numpy_helper.from_array(numpy_helper.to_array(tensor), "w")
    data = weight(tmp_path / "m.onnx", tensor)
    whole = data.values()
    for start, count in ((0, 5), (1, 4), (7, 30), (36, 1), (3, 0)):
        assert part(data, start, count) == whole[start : start + count]


def test_a_part_of_external_data_reads_no_more(tmp_path):
    values = np.arange(1000, dtype=np.float32)
    (tmp_path / "w.bin").write_bytes(b"head" + values.tobytes())
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1000], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": "w.bin", "offset": "4", "length": "4000"}.items():
        tensor.external_data.add(key=key, value=value)
    data = weight(tmp_path / "m.onnx", tensor)
    assert part(data, 990, 10) == tuple(values[990:])
    (tmp_path / "w.bin").write_bytes(b"head" + values[:500].tobytes())
    assert part(data, 490, 10) == tuple(values[490:500])
    with pytest.raises(ReadError, match="would lie at"):
        part(data, 495, 10)


def test_what_cannot_be_had_in_parts_is_read_whole_only_if_it_is_small():
    class Opaque:
        nbytes, shape, dtype = 100, (25,), "float32"

        def values(self):
            return tuple(range(25))

    assert part(Opaque(), 3, 4) == (3, 4, 5, 6)
    Opaque.nbytes = 1 << 20
    assert part(Opaque(), 3, 4) is None
