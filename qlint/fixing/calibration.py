"""Ranges from data: the model runs on samples, and every tensor without a quantizer is looked at on the way."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qlint.fixing.onnx_file import Document
from qlint.fixing.proof import dequantized_output, interpreter, loaded, session
from qlint.graph import Model

if TYPE_CHECKING:
    import numpy

    Batch = dict[str, numpy.ndarray[Any, Any]]
    Array = numpy.ndarray[Any, Any]

Interval = tuple[float, float]
METHODS = ("minmax", "percentile", "mse", "entropy")
BINS = 2048
PERCENTILE = 99.999
LEVELS = 256  # of the grid that `mse` and `entropy` choose a range for
TRIES = 64  # ranges that are compared


class Calibration:
    """Ranges of the tensors of one file, by name. The model runs when the first one is asked for, and again for histograms."""

    def __init__(self, path: Path, model: Model, samples: Sequence[Batch], method: str = "minmax") -> None:
        self.path, self.samples, self.method, self.run = path, samples, method, RUNNERS[model.format]
        self.names = [
            op.outputs[0].name for op in model.ops
            if op.outputs and op.outputs[0].name and op.role == "data" and any(not use.quantizers for use in op.outputs[0].uses)
        ] + [tensor.name for tensor in model.inputs if any(not use.quantizers for use in tensor.uses)]  # fmt: skip
        self._ranges: dict[str, Interval] | None = None

    def __call__(self, name: str) -> Interval | None:
        """(smallest, largest) value that the grid of a tensor should cover; None if the data say nothing of it."""
        if self._ranges is None:
            self._ranges = self._extremes()
            if self.method != "minmax":
                self._ranges = {name: _cut(histogram, self._ranges[name], self.method) for name, histogram in self._histograms(self._ranges).items()}
        return self._ranges.get(name)

    def channels(self, name: str) -> tuple[Array, Array] | None:
        """(smallest, largest) values of each channel (axis 1) of a tensor; None if the data say nothing of it."""
        import numpy as np

        lows, highs = [], []
        for _, array in self._tensors([name]):
            others = tuple(i for i in range(array.ndim) if i != 1)
            if array.ndim > 1:
                lows.append(array.min(axis=others))
                highs.append(array.max(axis=others))
        return (np.min(lows, axis=0), np.max(highs, axis=0)) if lows else None

    def _extremes(self) -> dict[str, Interval]:
        found: dict[str, Interval] = {}
        for name, array in self._tensors():
            low, high = found.get(name, (float("inf"), float("-inf")))
            found[name] = min(low, float(array.min())), max(high, float(array.max()))
        return found

    def _histograms(self, ranges: dict[str, Interval]) -> dict[str, Array]:
        import numpy as np

        found: dict[str, Array] = {}
        for name, array in self._tensors():
            if name in ranges and ranges[name][0] < ranges[name][1]:
                counts = np.histogram(array, bins=BINS, range=ranges[name])[0]
                found[name] = found[name] + counts if name in found else counts
        return found

    def _tensors(self, names: Sequence[str] = ()) -> Any:
        """(name, values) of some tensors, or all, on every sample."""
        import numpy as np

        names = names or self.names
        for values in self.run(self.path, names, self.samples):
            for tensor in names:
                array = values.get(tensor)
                if isinstance(array, np.ndarray) and array.dtype.kind == "f" and array.size and np.all(np.isfinite(array)):
                    yield tensor, array


def _onnx(path: Path, names: Sequence[str], samples: Iterable[Batch]) -> Iterator[Batch]:
    """The tensors of an ONNX file that are floats, sample by sample."""
    with _exposed(path, names) as run:
        outputs = [one.name for one in run.get_outputs()]
        for batch in samples:
            yield dict(zip(outputs, run.run(outputs, batch), strict=True)) | batch


def _tflite(path: Path, names: Sequence[str], samples: Iterable[Batch]) -> Iterator[Batch]:
    """The tensors of a TFLite file, as real values."""
    run = interpreter(path, experimental_preserve_all_tensors=True)
    wanted = set(names)
    tensors = [one for one in run.get_tensor_details() if one["name"] in wanted]
    for batch in samples:
        for one in run.get_input_details():
            run.set_tensor(one["index"], batch[one["name"]])
        run.invoke()
        yield {one["name"]: value for one in tensors if (value := _held(run, one)) is not None}


def _held(run: Any, one: Any) -> Any:
    """The real values of a tensor; None of one that holds none."""
    try:
        return dequantized_output(one, run.get_tensor(one["index"]))
    except ValueError:  # the runtime made no room for it
        return None


def _program(path: Path, names: Sequence[str], samples: Iterable[Batch]) -> Iterator[Batch]:
    """The tensors of a torch.export archive, node by node. Executes what is in the file: only for one that is trusted."""
    import torch

    from qlint.fixing.pt2_file import Document

    called, module, wanted = Document(path).tensor_of, loaded(path), set(names)
    seen: Batch = {}

    class Recorder(torch.fx.Interpreter):
        def run_node(self, n: Any) -> Any:
            value = super().run_node(n)
            name = called.get(n.name, "")
            if name in wanted and isinstance(value, torch.Tensor) and value.dtype.is_floating_point:
                seen[name] = value.detach().float().numpy()
            return value

    for batch in samples:
        seen.clear()
        with torch.no_grad():
            Recorder(module).run(*(torch.from_numpy(value) for value in batch.values()))
        yield {**seen, **batch}


# By format: what runs a file and hands out tensors by name.
RUNNERS: dict[str, Callable[[Path, Sequence[str], Iterable[Any]], Iterator[Any]]] = {"onnx": _onnx, "tflite": _tflite, "pt2": _program}


@contextmanager
def _exposed(path: Path, names: Iterable[str]) -> Iterator[Any]:
    """A session that hands out further tensors of a file."""
    import onnxruntime

    document = Document(path)
    own = {*document.inputs, *document.outputs}
    document.extra_outputs = [name for name in names if name not in own]
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=".qlint.tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as out:
            document.write(out)
        yield session(onnxruntime, Path(name))
    finally:
        Path(name).unlink(missing_ok=True)


def _cut(counts: Array, full: Interval, method: str) -> Interval:
    """The part of a histogram's range that a grid should cover."""
    import numpy as np

    edges = np.linspace(full[0], full[1], counts.size + 1)
    if method == "percentile":
        total = np.cumsum(counts) / counts.sum()
        outside = (1 - PERCENTILE / 100) / 2
        return float(edges[int(np.searchsorted(total, outside))]), float(edges[min(int(np.searchsorted(total, 1 - outside)) + 1, counts.size)])
    centres = (edges[:-1] + edges[1:]) / 2
    tried = [(full[0] * part, full[1] * part) for part in np.linspace(1.0, 0.1, TRIES)]
    losses = [_error(counts, centres, ends) if method == "mse" else _divergence(counts, centres, ends) for ends in tried]
    return tried[int(np.argmin(losses))]


def _error(counts: Array, centres: Array, ends: Interval) -> float:
    """Mean squared error of rounding onto a grid over a range, clipping included."""
    import numpy as np

    low, high = min(ends[0], 0.0), max(ends[1], 0.0)
    step = (high - low) / (LEVELS - 1) or 1.0
    rounded = np.clip(np.rint((centres - low) / step), 0, LEVELS - 1) * step + low
    return float(np.sum(counts * (centres - rounded) ** 2))


def _divergence(counts: Array, centres: Array, ends: Interval) -> float:
    """Kullback-Leibler divergence of the histogram from what a grid over a range makes of it (Migacz, 8-bit Inference with TensorRT, GTC 2017)."""
    import numpy as np

    inside = (centres >= ends[0]) & (centres <= ends[1])
    if inside.sum() < LEVELS:
        return float("inf")
    reference = counts[inside].astype(np.float64)
    reference[0] += counts[centres < ends[0]].sum()
    reference[-1] += counts[centres > ends[1]].sum()
    level = np.arange(reference.size) * LEVELS // reference.size
    filled = counts[inside] > 0
    sums, sizes = np.bincount(level, counts[inside], LEVELS), np.bincount(level, filled, LEVELS)
    spread = np.where(filled, (sums / np.maximum(sizes, 1))[level], 0.0)
    p, q = reference / max(reference.sum(), 1e-12), spread / max(spread.sum(), 1e-12)
    known = p > 0
    return float(np.sum(p[known] * np.log(p[known] / np.maximum(q[known], 1e-12))))
