"""Readers: from a model file to the file's own nodes, without a framework and without reading a weight."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from qlint.errors import ReadError
from qlint.graph import Model
from qlint.graph.building import building

# format, as `sniff` tells it → (module, function); a module is imported only for a file of its format
READERS: dict[str, tuple[str, str]] = {
    "onnx": ("qlint.readers.onnx", "read_onnx"),
    "tflite": ("qlint.readers.tflite", "read_tflite"),
    "torchscript": ("qlint.readers.torchscript", "read_torchscript"),
    "pt2": ("qlint.readers.pt2", "read_pt2"),
    "openvino": ("qlint.readers.openvino", "read_openvino"),
}


def read(path: str | Path) -> Model:
    """The model in a file, as it stands there: every node is an op, nothing is folded.

    Raises:
        ReadError: the file is missing, damaged, or of a format that qlint does not read.
    """
    from qlint.readers.sniff import sniff

    path = Path(path)
    form, source = sniff(path)
    module, function = READERS[form]
    reader = getattr(import_module(module), function)
    try:
        with building():
            model: Model = reader(source)
    except ReadError as error:
        error.subject = error.subject or str(path)
        error.hint = error.hint or "export or download it again"
        raise
    except OSError as error:
        raise ReadError(f"cannot be read: {error.strerror}", subject=str(path)) from error
    return model
