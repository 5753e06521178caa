"""Live objects: a network in the memory of the caller's process, read by way of the format that its library writes.

Needs the library of the object, which is there if the object is; the extra `torch` for modules. What is handed over stays as it
was: a module is copied first (module by module, the copies share the parameters), the copy is put into eval mode, and fake
quantizers that torch.export cannot follow are frozen to plain ones, see live_freeze.py.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from qlint.errors import ReadError
from qlint.graph import Model

ACCEPTED = (
    "qlint takes paths of model files, a torch.nn.Module or GraphModule with example_inputs=, a torch.export.ExportedProgram, "
    "a torch.jit.ScriptModule, a torch.onnx.ONNXProgram, an onnx.ModelProto, or a model from qlint.load"
)


def is_live(thing: object) -> bool:
    """Whether an object is a network that `read_live` knows; imports nothing."""
    return _reader(thing) is not None


def shown(thing: object) -> str:
    """What reports call a live object: its class."""
    return type(thing).__name__


def read_live(thing: object, example_inputs: object = None) -> Model:
    """The network of a live object, as a file of it would be read; `example_inputs` is for modules, which are run once on paper.

    Raises:
        ReadError: it is no network that qlint knows, or it cannot be exported; the message has the exporter's words.
    """
    import tempfile

    read = _reader(thing)
    if read is None:
        raise ReadError(f"is a {_named(type(thing))}, which is no model", subject=shown(thing), hint=ACCEPTED)
    try:
        with tempfile.TemporaryDirectory(prefix="qlint-", ignore_cleanup_errors=True) as folder, _quiet():
            model = read(thing, example_inputs, Path(folder))
    except ReadError as error:
        error.subject = shown(thing)
        raise
    model.name = shown(thing)
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Exporters warn and log at length about what qlint says in a sentence, or does on purpose."""
    import io
    import logging
    from contextlib import redirect_stderr

    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _reader(thing: object) -> Callable[[Any, object, Path], Model] | None:
    """By the class and those that it comes from: the first that is known."""
    for kind in type(thing).__mro__:
        for package, name, read in _KNOWN:
            if kind.__name__ == name and kind.__module__.partition(".")[0] == package:
                return read
    return None


def _named(kind: type) -> str:
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


# -- one function for each kind of object ---------------------------------------------------------------


def _exported(program: Any, _inputs: object, folder: Path) -> Model:
    import torch

    from qlint.readers.pt2 import read_pt2

    path = folder / "program.pt2"
    try:
        torch.export.save(program, path)
    except Exception as error:
        raise ReadError(f"cannot be saved by torch.export.save: {_first(error)}", hint="run torch.export.export again") from error
    return read_pt2(path)


def _scripted(module: Any, _inputs: object, folder: Path) -> Model:
    import torch

    from qlint.readers.torchscript import read_torchscript

    path = folder / "module.pt"
    try:
        torch.jit.save(module, str(path))
    except Exception as error:
        raise ReadError(f"cannot be saved by torch.jit.save: {_first(error)}", hint="save it to a file and check that") from error
    return read_torchscript(path)


def _module(module: Any, example_inputs: object, folder: Path) -> Model:
    """A copy with frozen quantizers, exported; where torch.export cannot, traced."""
    import torch

    from qlint.readers.live_freeze import freeze

    if example_inputs is None:
        raise ReadError("is a module, and its graph is what it does with inputs", hint="qlint.check(module, example_inputs=(x,), …), with tensors of the right shapes")
    args, kwargs = _arguments(example_inputs)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        frozen = freeze(module)
        try:
            model = _exported(torch.export.export(frozen.module, args, kwargs, strict=False), None, folder)
        except Exception as export:
            try:
                trace_of: Any = torch.jit.trace
                traced = trace_of(frozen.module, args if not kwargs else None, example_kwarg_inputs=kwargs or None, check_trace=False, strict=False)
                model = _scripted(traced, None, folder)
            except Exception as trace:
                raise ReadError(
                    f"can be neither exported nor traced: torch.export says {_first(export)!r}, torch.jit.trace {_first(trace)!r}",
                    hint=f"{', '.join(frozen.unknown[:3])}: on no grid that can be frozen" if frozen.unknown
                    else "check that the module runs with example_inputs, and take control flow over values out of forward",
                ) from trace
    captured = any(kind.__name__ == "GraphModule" for kind in type(module).__mro__)  # with the mode that it was captured in
    if module.training and not captured:
        model.metadata["mode"] = "training"
    model.notes += frozen.notes()
    model.observers += frozen.observers
    for op in model.walk():
        if op.kind == "fake_quantize" and op.module in frozen.seen and op.outputs[0].quantizer is not None:
            op.outputs[0].quantizer = replace(op.outputs[0].quantizer, **asdict(frozen.seen[op.module]))
    return model


def _arguments(example_inputs: object) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(example_inputs, Mapping):
        return (), dict(example_inputs)
    return tuple(example_inputs) if isinstance(example_inputs, (list, tuple)) else (example_inputs,), {}


def _onnx_program(program: Any, _inputs: object, folder: Path) -> Model:
    return _onnx(program.model_proto, None, folder)


def _onnx(proto: Any, _inputs: object, folder: Path) -> Model:
    from qlint.readers.onnx import read_onnx

    path = folder / "model.onnx"
    try:
        path.write_bytes(proto.SerializeToString())
    except Exception as error:  # protobuf's own class, and ValueError beyond 2 GB
        raise ReadError(f"cannot be serialized: {_first(error)}", hint="save it with its weights in a file beside it, and check that file") from error
    return read_onnx(path)


def _first(error: Exception) -> str:
    """The first line of an exporter's message that says something."""
    lines: Iterator[str] = (line.strip() for line in str(error).splitlines())
    return next((line for line in lines if line), type(error).__name__)[:200]


# (package, class, reader): of a ScriptModule, which is a Module too, the first that its classes meet
_KNOWN: tuple[tuple[str, str, Callable[[Any, object, Path], Model]], ...] = (
    ("torch", "ExportedProgram", _exported),
    ("torch", "ScriptModule", _scripted),
    ("torch", "Module", _module),
    ("torch", "ONNXProgram", _onnx_program),
    ("onnx", "ModelProto", _onnx),
)
