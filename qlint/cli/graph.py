"""`qlint graph`: the canonical graph as qlint sees it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qlint.cli.check import ENCODINGS
from qlint.errors import QlintError

if TYPE_CHECKING:
    from qlint.graph import Model, Op, Shape, Use


def graph(
    model: Annotated[str, typer.Argument(help="model file", show_default=False)],
    encodings: Annotated[Path | None, typer.Option(metavar="FILE", help=ENCODINGS)] = None,
    at: Annotated[str | None, typer.Option("--at", metavar="OP", help="only the ops whose name contains this, or of this kind")] = None,
) -> int:
    """List the ops with their inputs and the quantizers on them."""
    from qlint.api import load
    from qlint.report.summary import quantization

    loaded = load(model, encodings=encodings)
    if at is None:
        print(f"{model} · {loaded.format} · {len(loaded.nodes)} nodes, {len(loaded.ops)} ops after quantizers moved onto the edges · {quantization(loaded)}")
        for note in loaded.notes:
            print(f"note: {note}")
        print("\n".join(_block(loaded, "")))
        return 0
    found = [line for op in loaded.walk() if at in op.label or at == op.kind for line in _op(op, "")]
    if not found:
        raise QlintError(f"there is no op called {at!r} and none of that kind", subject=model, hint="qlint graph without --at lists all")
    print("\n".join(found))
    return 0


def _block(model: Model, indent: str) -> Iterator[str]:
    for tensor in model.inputs:
        yield f"{indent}input {tensor.name} {tensor.dtype}{_shape(tensor.shape)}"
    for op in model.ops:
        yield from _op(op, indent)
        for name, body in op.bodies.items():
            yield f"{indent}    {name}:"
            yield from _block(body, indent + " " * 8)
    for use in model.outputs:
        yield f"{indent}output {use.name} ← {_source(use)}"


def _op(op: Op, indent: str) -> Iterator[str]:
    marks = [op.kind, *(op.role,) * (op.role != "data"), *op.groups]
    yield f"{indent}{op.label} · {', '.join(marks)} → {', '.join(_shape(tensor.shape) for tensor in op.outputs)}"
    for role, use in op.uses.items():
        yield f"{indent}    {role:3} ← {_source(use)}"


def _source(use: Use) -> str:
    """Who makes the tensor, and the quantizers on the way."""
    made = use.tensor.producer.label if use.tensor.producer is not None else use.tensor.name
    sort = "constant " if use.tensor.constant else ""
    return f"{sort}{made}" + "".join(f" ─ {quantizer}" for quantizer in use.quantizers)


def _shape(shape: Shape | None) -> str:
    return "[?]" if shape is None else f"[{', '.join('?' if size is None else str(size) for size in shape)}]"
