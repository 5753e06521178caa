"""Readers: from a model file to the file's own nodes, without a framework and without reading a weight."""

from __future__ import annotations

from pathlib import Path

from qlint.graph import Model
from qlint.graph.building import building


def read(path: str | Path) -> Model:
    """The model in a file, as it stands there: every node is an op, nothing is folded.

    Raises:
        ReadError: the file is missing, damaged, or of a format that qlint does not read.
    """
    from qlint.readers.sniff import sniff

    path = Path(path)
    sniff(path)
    from qlint.readers.onnx import read_onnx

    with building():
        return read_onnx(path)
