"""A fake quantizer is switched off and hands on its input as it is.

## What it does

Finds the places where the file has a fake quantizer that is disabled (`fake_quant_enabled` of PyTorch's
FakeQuantize is 0). They count as no quantizers, and what a backend then misses is reported beside this.

## Why it matters on hardware

Training in stages switches quantizers off for the first epochs, or to measure the float accuracy. A file
exported in that state has the ranges in it and uses none: whoever runs it measures the float model, and a
converter that goes by the graph leaves these tensors in float.

## Example

    fused_moving_avg_obs_fake_quant(x, observer_on=1, fake_quant_on=0, …)

## Instead

    fused_moving_avg_obs_fake_quant(x, observer_on=0, fake_quant_on=1, …)

## Fix and its safety

`model.apply(torch.ao.quantization.enable_fake_quant)` before the export. Unsafe: the numbers become those of
the quantized model. If a tensor is meant to stay in float, leave its quantizer out of the configuration.

## References

- PyTorch, torch/ao/quantization/fake_quantize.py: `disable_fake_quant`, `enable_fake_quant`
"""

from collections.abc import Iterator

from qlint.graph import Model
from qlint.lint.rule import Issue, Rule
from qlint.lint.sweep import graphs
from qlint.lint.testing import Graph, s8, u8
from qlint.lint.words import few

rule = Rule(
    name="fake-quant-disabled",
    code="QL702",
    since="0.1.0",
    what="the fake quantizers of {count} are switched off: {names}",
    why="they hand on what they get, and what is measured is the float model",
    fix="model.apply(torch.ao.quantization.enable_fake_quant) before the export",
    severity="warning",
    per_kind=False,
)


@rule.check
def switched_off(model: Model) -> Iterator[Issue]:
    """All of them at once, with the tensors on which they stand."""
    places = [(tensor, name) for graph in graphs(model) for tensor in graph.tensors.values() for name in tensor.disabled]
    tensors = {id(tensor): tensor for tensor, _ in places}
    names = few(dict.fromkeys(name for _, name in places))
    count = f"{len(tensors)} tensor{'s' if len(tensors) > 1 else ''}"
    for tensor in tensors.values():
        use = next((use for use in tensor.uses if use.op is not None), None)
        op, port = (tensor.producer, "y") if use is None else (use.op, use.role)
        yield Issue(op, port, tensor, "disabled", "enabled", "disabled", facts={"count": count, "names": names})


@rule.bad(says="the fake quantizers of 1 tensor are switched off: quant; they hand on what they get")
def handed_on() -> Model:
    g = Graph()
    x = g.input()
    x.tensor.disabled = ("quant",)
    return g.model(g.conv(x, w=s8()) | u8())


@rule.bad(sites=2, says="the fake quantizers of 2 tensors are switched off: a and b")
def all_of_them() -> Model:
    g = Graph()
    x, w = g.input(), g.constant(8, 8, 3, 3)
    x.tensor.disabled, w.tensor.disabled = ("a",), ("b",)
    return g.model(g.conv(x, w=w))


@rule.good
def switched_on() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(origin="fake-quant"), w=s8()) | u8())


@rule.good
def near_miss_no_quantizer() -> Model:
    g = Graph()
    return g.model(g.conv(g.input(), w=s8()) | u8())
