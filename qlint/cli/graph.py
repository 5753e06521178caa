"""`qlint graph`: the canonical graph as qlint sees it."""

from __future__ import annotations

from typing import Annotated

import typer


def graph(model: Annotated[str, typer.Argument(help="model file")]) -> int:
    """List the ops with their inputs and the quantizers on them."""
    from qlint.api import load

    loaded = load(model)
    print(loaded)
    for note in loaded.notes:
        print(f"note: {note}")
    for op in loaded.walk():
        shape = op.outputs[0].shape if op.outputs else None
        print(f"{op.label} · {op.kind}" + (f" ({op.role})" if op.role != "data" else "") + f" → {list(shape) if shape is not None else '?'}")
        for role, use in op.uses.items():
            source = use.tensor.producer.label if use.tensor.producer is not None else use.tensor.name
            print(f"    {role}: {source}" + "".join(f" → {q}" for q in use.quantizers))
    for use in loaded.outputs:
        print(f"output {use.name}" + "".join(f" → {q}" for q in use.quantizers))
    return 0
