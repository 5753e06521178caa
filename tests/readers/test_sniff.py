"""What is no readable model is refused in a sentence that says what to do."""

import contextlib
import io
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qlint.errors import ReadError
from qlint.readers import read


def archive(*names):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name in names:
            file.writestr(name, "x")
    return out.getvalue()


CASES = {
    "lfs pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    "empty": (b"", "empty"),
    "tflite": (b"\x1c\0\0\0TFL3" + b"\0" * 64, "TFLite"),
    "torchscript": (archive("m/data.pkl", "m/constants.pkl"), "TorchScript"),
    "pt2": (archive("m/archive_format"), "torch.export"),
    "checkpoint": (archive("m/data.pkl", "m/data/0"), "without a graph"),
    "zip": (archive("readme"), "zip archive"),
    "cut zip": (archive("m/data.pkl")[:20], "truncated"),
    "safetensors": ((64).to_bytes(8, "little") + b'{"a":1}', "safetensors"),
    "gguf": (b"GGUF\3\0\0\0", "GGUF"),
    "html": (b"<!DOCTYPE html><html>", "HTML"),
    "pickle": (b"\x80\x04\x95", "pickle"),
    "text": (b"hello there, this is text", "text"),
    "bytes": (bytes(range(200, 256)), "not know"),
}


@pytest.mark.parametrize("name", CASES)
def test_refusal(tmp_path, name):
    content, says = CASES[name]
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ReadError) as error:
        read(path)
    assert says in str(error.value)
    assert str(path) in str(error.value)


def test_missing_and_folder(tmp_path):
    for path in (tmp_path / "nothing.onnx", tmp_path):
        with pytest.raises(ReadError):
            read(path)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damaged_files_never_crash(tmp_path_factory, data):
    from pathlib import Path

    source = (Path(__file__).parents[1] / "zoo/tract/qtdnn_10x5_101_i32_biases.onnx").read_bytes()
    content = bytearray(source)
    for _ in range(data.draw(st.integers(1, 12))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(1, len(content)))]
    path = tmp_path_factory.mktemp("damaged") / "m.onnx"
    path.write_bytes(bytes(content))
    from qlint.passes import canonical

    with contextlib.suppress(ReadError):
        canonical(read(path))
