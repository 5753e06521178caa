"""Live objects: saved to a file, fixed there, and read back as what they were. The object itself stays as it is."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from qlint.errors import QlintError, ReadError
from qlint.readers.live import ACCEPTED, arguments, first_line, is_live, quiet, shown
from qlint.report.fixed import Fixed, FixedObject

Load = Callable[[Path], Any]


def fix_live(thing: object, example_inputs: object, output: Path | None, fix: Callable[[Path, Path], Fixed]) -> FixedObject:
    """Fix a live object by way of the format that its library writes. `fix` takes a file and where the result is to go.

    The result is an ExportedProgram for an ExportedProgram, a module or a GraphModule, else an object of the same sort.

    Raises:
        ReadError: it is no network that qlint knows, or it cannot be exported or saved.
    """
    if not is_live(thing):
        raise ReadError(f"is a {type(thing).__name__}, which is no model", subject=shown(thing), hint=ACCEPTED)
    with tempfile.TemporaryDirectory(prefix="qlint-", ignore_cleanup_errors=True) as folder:
        try:
            with quiet():
                path, load = _saver(thing)(thing, example_inputs, Path(folder))
        except ReadError as error:
            error.subject = shown(thing)
            raise
        except Exception as error:  # whatever an exporter raises
            raise ReadError(f"cannot be saved: {first_line(error)}", subject=shown(thing), hint="save it to a file, and fix that") from error
        done = fix(path, output or path.with_name(f"fixed{path.suffix}"))
        made = FixedObject(**{**vars_of(done), "model": shown(thing), "output": done.output if output is not None else ""})
        if not done.output:
            made.result = thing
            return made
        with quiet():
            made.result = load(Path(done.output))
        return made


def vars_of(done: Fixed) -> dict[str, Any]:
    """The fields of a report."""
    from dataclasses import fields

    return {one.name: getattr(done, one.name) for one in fields(Fixed)}


def _saver(thing: object) -> Callable[[Any, object, Path], tuple[Path, Load]]:
    for kind in type(thing).__mro__:
        for package, name, save in _KNOWN:
            if kind.__name__ == name and kind.__module__.partition(".")[0] == package:
                return save
    raise QlintError("is nothing that qlint fixes", subject=shown(thing), hint="save it to a file, and fix that")


def _program(program: Any, _inputs: object, folder: Path) -> tuple[Path, Load]:
    import torch

    path = folder / "program.pt2"
    torch.export.save(program, path)
    return path, torch.export.load


def _script(module: Any, _inputs: object, folder: Path) -> tuple[Path, Load]:
    import torch

    path = folder / "module.pt"
    torch.jit.save(module, str(path))
    load: Any = torch.jit.load
    return path, lambda fixed: load(str(fixed))


def _module(module: Any, example_inputs: object, folder: Path) -> tuple[Path, Load]:
    """A copy in eval mode, its fake quantizers frozen, exported."""
    import torch

    from qlint.readers.live_freeze import freeze

    if example_inputs is None:
        raise ReadError("is a module, and its graph is what it does with inputs", hint="qlint.fix(module, example_inputs=(x,), …), with tensors of the right shapes")
    args, kwargs = arguments(example_inputs)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        try:
            program = torch.export.export(freeze(module).module, args, kwargs, strict=False)
        except Exception as error:
            raise ReadError(
                f"cannot be exported, which is how modules are fixed: {first_line(error)}", hint="trace it (torch.jit.trace) and fix what comes out, or fix the ONNX file"
            ) from error
    return _program(program, None, folder)


def _onnx_program(program: Any, _inputs: object, folder: Path) -> tuple[Path, Load]:
    return _onnx(program.model_proto, None, folder)


def _onnx(proto: Any, _inputs: object, folder: Path) -> tuple[Path, Load]:
    import onnx

    path = folder / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    return path, lambda fixed: onnx.load(str(fixed))


_KNOWN: tuple[tuple[str, str, Callable[[Any, object, Path], tuple[Path, Load]]], ...] = (
    ("torch", "ExportedProgram", _program), ("torch", "ScriptModule", _script), ("torch", "Module", _module), ("torch", "ONNXProgram", _onnx_program),
    ("onnx", "ModelProto", _onnx),
)  # fmt: skip
