"""Outputs before and after a fix, from the same inputs, where ONNX Runtime or LiteRT is installed.

The graphs run as they are written (no optimization, no delegate), so that a difference is one of the models. A runtime that does
not know an operator, or an input of unknown size, leaves the numbers unproven, and the report says why.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qlint.errors import QlintError
from qlint.graph import Model, Tensor
from qlint.report.fixed import Numbers

if TYPE_CHECKING:
    import numpy

    Batch = dict[str, numpy.ndarray[Any, Any]]

RUNS = 3  # of seeded random inputs
SAMPLES = 16  # of calibration data that are compared
SYMBOL = 1  # what stands for a dimension without a number
MAX_BYTES = 512 << 20  # of constants in a model that is run without being asked
MAX_INPUT = 1 << 24  # elements


def compare(before: Path, after: Path, start: Model, end: Model, samples: list[Batch], described: str, *, fuses: bool = False, trust: bool = False) -> tuple[Numbers | None, str]:
    """(the comparison, '') or (None, why there is none).

    Raises:
        Broken: the file before runs, and the one after does not.

    `fuses`: where the graphs as they are written differ, the one after the fix runs optimized too. ONNX Runtime then computes
    operators between quantizers with the kernels of operators on integers, which the file had before.
    """
    if large(start):
        return None, "the model is large"
    if start.format not in _RUNTIMES:
        return None, f"models in the format {start.format} are not run"
    if start.format in EXECUTES and not trust:
        return None, "torch executes what is in the file when it loads it: --trust compares the outputs"
    name, run = _RUNTIMES[start.format]
    try:
        if start.format == "onnx":
            _still_loads(before, after)
        batches = samples[:SAMPLES] or [random_inputs(start, seed) for seed in range(RUNS)]
        first = run(before, batches)
        try:
            second = run(after, batches)
        except Exception as problem:
            raise Broken(f"{name} runs the model, and would not with this change: {str(problem).splitlines()[0][:200]}") from problem
    except Broken:
        raise
    except Unknown as problem:
        if start.format in EXECUTES:  # whether it loads can be told without inputs
            try:
                loaded(after)
            except ImportError:
                pass
            except Exception as refusal:
                raise Broken(f"{name} does not load the result: {str(refusal).splitlines()[0][:200]}") from refusal
        return None, str(problem)
    except ImportError:
        return None, f"{name} is not installed"
    except Exception as problem:  # whatever a runtime raises about a model
        return None, f"{name} does not run it: {str(problem).splitlines()[0][:200]}"
    numbers = _numbers(first, second, end, _version(name), described or f"{RUNS} seeded random inputs")
    if fuses and not numbers.equal and start.format == "onnx":
        fused = _numbers(first, _onnx(after, batches, optimized=True), end, f"{_version(name)}, which fuses the result", numbers.inputs)
        numbers = max((numbers, fused), key=lambda one: (one.equal, one.sqnr or 0.0))
    return numbers, ""


def _still_loads(before: Path, after: Path) -> None:
    """ONNX Runtime, optimizing, takes both files or refuses both.

    Raises:
        Broken: it does not take the one after.
    """
    import onnxruntime

    try:
        session(onnxruntime, after, optimized=True)
    except Exception as problem:
        try:
            session(onnxruntime, before, optimized=True)
        except Exception:
            return
        raise Broken(f"onnxruntime loads the model, and would not with this change: {str(problem).splitlines()[0][:200]}") from problem


def large(model: Model) -> bool:
    """Whether a model is not run unless it is asked for."""
    return sum(tensor.data.nbytes for tensor in model.tensors.values() if tensor.data is not None) > MAX_BYTES


def _numbers(first: list[Any], second: list[Any], end: Model, runtime: str, inputs: str) -> Numbers:
    """How far outputs are from each other."""
    import numpy as np

    equal = all(np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in zip(first, second, strict=True))
    floats = [(a.astype(np.float64), b.astype(np.float64)) for a, b in zip(first, second, strict=True) if a.dtype.kind in "fiu" and a.shape == b.shape]
    largest = max((float(np.max(np.abs(a - b), initial=0.0)) for a, b in floats), default=0.0)
    noise, signal = sum(float(np.sum((a - b) ** 2)) for a, b in floats), sum(float(np.sum(a**2)) for a, _ in floats)
    sqnr = 10 * math.log10(signal / noise) if noise > 0 and signal > 0 else None
    steps = [step for use in end.outputs if use.quantizers and (step := max(use.quantizers[-1].scale or (0.0,))) > 0]
    return Numbers(runtime, inputs, equal, largest, largest / max(steps) if steps else None, sqnr)


class Broken(Exception):
    """What a runtime says of a file that is worse than it was."""


class Unknown(Exception):
    """Why there are no inputs."""


def _version(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:  # under another name: onnxruntime-gpu
        return package


def random_inputs(model: Model, seed: int) -> Batch:
    """Seeded numbers for every input, within the range of its quantizer if it has one; raises Unknown."""
    import numpy as np

    random = np.random.default_rng(seed)
    return {tensor.name: _values(tensor, random) for tensor in model.inputs}


def _values(tensor: Tensor, random: numpy.random.Generator) -> Any:
    import numpy as np

    if tensor.shape is None:
        raise Unknown(f"the shape of the input {tensor.name} is not known")
    shape = tuple(d if isinstance(d, int) else SYMBOL for d in tensor.shape)
    if math.prod(shape) > MAX_INPUT:
        raise Unknown(f"the input {tensor.name} is large")
    ranges = [r for use in tensor.uses for q in use.quantizers[:1] if (r := q.range) is not None]
    if tensor.dtype in ("float32", "float16", "float64"):
        low, high = ranges[0] if ranges else (-3.0, 3.0)
        return np.asarray(low + (high - low) * random.random(shape)).astype(tensor.dtype)
    if tensor.dtype in ("int8", "uint8", "int16", "uint16"):
        info = np.iinfo(tensor.dtype)
        return np.asarray(random.integers(info.min, info.max, shape, dtype=tensor.dtype, endpoint=True))
    if tensor.dtype in ("int32", "int64", "bool"):
        return np.asarray(random.integers(0, 2, shape)).astype(tensor.dtype)
    raise Unknown(f"qlint makes up no input of type {tensor.dtype or 'unknown'} ({tensor.name})")


def session(onnxruntime: Any, path: Path, *, optimized: bool = False) -> Any:
    """An inference session, of the graph as it is written or as ONNX Runtime makes it faster."""
    options, levels = onnxruntime.SessionOptions(), onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimized else levels.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _onnx(path: Path, batches: list[Batch], *, optimized: bool = False) -> list[Any]:
    import numpy as np
    import onnxruntime

    run = session(onnxruntime, path, optimized=optimized)
    wanted = {one.name for one in run.get_inputs()}
    return [np.asarray(out) for batch in batches for out in run.run(None, {name: value for name, value in batch.items() if name in wanted})]


def _tflite(path: Path, batches: list[Batch]) -> list[Any]:
    """Real values: outputs are integers on grids of their own."""
    run, found = interpreter(path), []
    for batch in batches:
        for one in run.get_input_details():
            run.set_tensor(one["index"], batch[one["name"]])
        run.invoke()
        for one in run.get_output_details():
            found.append(dequantized_output(one, run.get_tensor(one["index"])))
    return found


def interpreter(path: Path, **more: Any) -> Any:
    """An interpreter that runs the graph as it is written."""
    from ai_edge_litert import interpreter as litert

    run = litert.Interpreter(str(path), num_threads=1, experimental_op_resolver_type=litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES, **more)
    run.allocate_tensors()
    return run


def dequantized_output(one: Any, value: Any) -> Any:
    """Real values of a tensor, by what its interpreter says of it."""
    import numpy as np

    scale, zero_point = one["quantization"]
    return np.float32(scale) * (value.astype(np.int64) - zero_point).astype(np.float32) if scale else value


def loaded(path: Path) -> Any:
    """The module in a file. Executes what is in the file: only for one that is trusted."""
    import torch
    import torch.ao.quantization.fx._decomposed  # operators that programs call

    with path.open("rb") as file:
        load: Any = torch.jit.load
        return torch.export.load(file).module() if is_program(path) else load(file)


def _torch(path: Path, batches: list[Batch]) -> list[Any]:
    """Outputs, as real values."""
    import torch

    module, found = loaded(path), []
    with torch.no_grad():
        for batch in batches:
            pending = [module(*(torch.from_numpy(value) for value in batch.values()))]
            while pending:
                value = pending.pop(0)
                if isinstance(value, torch.Tensor):
                    found.append(value.dequantize().numpy() if value.is_quantized else value.detach().numpy())
                elif isinstance(value, (tuple, list, dict)):
                    pending[:0] = list(value.values()) if isinstance(value, dict) else list(value)
    return found


def is_program(path: Path) -> bool:
    """Whether an archive of PyTorch holds a program of torch.export."""
    from qlint.readers.torch_archive import Archive

    return any(name.startswith("models/") or name == "serialized_exported_program.json" for name in Archive(path).members)


EXECUTES = frozenset({"pt2", "torchscript"})  # formats whose loader does
# By format: the package that runs it, and how.
_RUNTIMES: dict[str, tuple[str, Callable[[Path, list[Batch]], list[Any]]]] = {"onnx": ("onnxruntime", _onnx), "tflite": ("ai-edge-litert", _tflite), "pt2": ("torch", _torch), "torchscript": ("torch", _torch)}


def samples(path: str, model: Model) -> list[Batch]:
    """Inputs from a .npy (of the model's only input) or .npz file (an array for each input, by name); the first axis counts samples.

    An array of the rank of the input holds samples along its batch dimension, one of a rank more is a list of inputs.

    Raises:
        QlintError: the file does not fit the model.
    """
    import numpy as np

    try:
        loaded = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as problem:
        raise QlintError(f"cannot be read as .npy or .npz ({problem})", subject=path, hint="write it with numpy.savez(FILE, INPUT_NAME=array)") from problem
    arrays = {name: loaded[name] for name in loaded.files} if hasattr(loaded, "files") else {}
    inputs = {tensor.name: tensor for tensor in model.inputs}
    if not arrays:
        if len(inputs) != 1:
            raise QlintError(f"holds one array, the model has the inputs {', '.join(inputs)}", subject=path, hint="numpy.savez(FILE, NAME=array, ...)")
        arrays = {next(iter(inputs)): np.asarray(loaded)}
    if missing := [name for name in inputs if name not in arrays]:
        raise QlintError(f"has no array named {missing[0]!r}", subject=path, hint=f"it has {', '.join(arrays)}; the model's inputs are {', '.join(inputs)}")
    lists = {name: list(_split(_stored(arrays[name], tensor), tensor, path)) for name, tensor in inputs.items()}
    count = min(map(len, lists.values()), default=0)
    if not count:
        raise QlintError("holds no sample", subject=path)
    return [{name: parts[i] for name, parts in lists.items()} for i in range(count)]


def batches(given: Iterable[Any], model: Model) -> list[Batch]:
    """Inputs from an iterable: each a dict by input name, a tuple in the order of the inputs, or what the only input takes; tensors of torch, too.

    Raises:
        QlintError: one does not fit the model.
    """
    import numpy as np

    inputs, found = {tensor.name: tensor for tensor in model.inputs}, []
    for number, one in enumerate(given):
        parts = dict(one) if isinstance(one, Mapping) else dict(zip(inputs, one if isinstance(one, (tuple, list)) else (one,), strict=False))
        if missing := [name for name in inputs if name not in parts]:
            raise QlintError(f"sample {number} has no {missing[0]!r}", subject="calibration", hint=f"the model's inputs are {', '.join(inputs)}: give dicts by name")
        arrays = {name: np.asarray(parts[name].detach().cpu() if hasattr(parts[name], "detach") else parts[name]) for name in inputs}
        found.append({name: _stored(array, inputs[name]).astype(inputs[name].dtype or array.dtype) for name, array in arrays.items()})
    if not found:
        raise QlintError("holds no sample", subject="calibration")
    return found


def _stored(array: Any, tensor: Tensor) -> Any:
    """Real values as the integers that an input takes, where its type is one with a grid."""
    import numpy as np

    q = next((use.quantizers[0] for use in tensor.uses if use.quantizers), None)
    if array.dtype.kind != "f" or not tensor.dtype.startswith(("int", "uint")) or q is None or not q.scale or q.zero_point is None:
        return array
    return np.clip(np.rint(array / q.scale[0]) + q.zero_point[0], q.qmin, q.qmax)


def _split(array: Any, tensor: Tensor, path: str) -> Any:
    rank = tensor.rank
    dtype = tensor.dtype or str(array.dtype)
    if rank is None:
        yield array.astype(dtype)
    elif array.ndim == rank + 1:
        yield from (part.astype(dtype) for part in array)
    elif array.ndim == rank:
        first = tensor.shape[0] if tensor.shape else None
        size = first if isinstance(first, int) else 1
        if not rank:
            yield array.astype(dtype)
        elif array.shape[0] % size:
            raise QlintError(f"has {array.shape[0]} rows for {tensor.name}, whose batch has {size}", subject=path, hint="give a multiple")
        else:
            yield from (array[at : at + size].astype(dtype) for at in range(0, array.shape[0], size))
    else:
        raise QlintError(f"has shape {list(array.shape)} for {tensor.name}, which has shape {list(tensor.shape or ())}", subject=path, hint="one more axis counts samples")
