"""Passes: small steps that make a model canonical, whatever format it came from."""

from __future__ import annotations

from qlint.graph import Model
from qlint.graph.building import building


def canonical(raw: Model, input_shapes: dict[str, tuple[int, ...]] | None = None) -> Model:
    """The canonical graph of a file's nodes: constants and shapes known, quantizers on uses, patterns named."""
    from qlint.passes.composites import name_composites
    from qlint.passes.quantizers import attach_quantizers
    from qlint.passes.roles import tell_shape_from_data
    from qlint.passes.shapes import propagate
    from qlint.passes.torch_linear import split_linear
    from qlint.passes.trained import name_quantizers

    with building():
        propagate(raw, input_shapes or {})
        split_linear(raw)
        tell_shape_from_data(raw)
        model = attach_quantizers(raw)
        name_composites(model)
        name_quantizers(model)
    return model
