"""An observer is still on: every run of the model moves a range.

## What it does

Finds fake quantizers whose observer is on, and observers that stand alone. It reads the switch in the file
(`observer_enabled` of PyTorch's FakeQuantize), or sees that the graph writes into the buffers of an observer.

## Why it matters on hardware

What is compiled has the ranges of the moment of the export. A model that goes on observing drifts away from
them with each batch that it sees, evaluation included, because `eval()` leaves observers on: accuracy that
was measured belongs to other ranges than those that were shipped. An observer that stands alone quantizes
nothing at all: the network was prepared for calibration, and never converted.

## Example

    fused_moving_avg_obs_fake_quant(x, observer_on=1, fake_quant_on=1, …)

## Instead

    fused_moving_avg_obs_fake_quant(x, observer_on=0, fake_quant_on=1, …)

## Fix and its safety

`model.apply(torch.ao.quantization.disable_observer)` before the export; in a TorchScript file `--fix` turns the switch.
Unsafe: the ranges stay what they are in the file, and no run moves them before it uses them.
A network that was only prepared has to be converted (`convert_fx`, `convert_pt2e`).

## References

- PyTorch, torch/ao/quantization/fake_quantize.py: `disable_observer`, `FakeQuantize.forward`
- Krishnamoorthi, arXiv 1806.08342, section 3.2.2: ranges are frozen towards the end of training
"""

from collections.abc import Iterator

from qlint.graph import Model
from qlint.lint.rule import Issue, Rule
from qlint.lint.sweep import graphs, grids
from qlint.lint.testing import Graph, s8, u8
from qlint.lint.words import few

rule = Rule(
    name="observer-enabled",
    code="QL701",
    since="0.1.0",
    what="{found}",
    why="{reason}",
    fix="{advice}",
    cure="freeze",
    applicability="unsafe",
    severity="warning",
    per_kind=False,
)


@rule.check
def of_fake_quantizers(model: Model) -> Iterator[Issue]:
    """Fake quantizers that go on observing what they quantize."""
    for grid in grids(model):
        if grid.quantizer.observing:
            yield Issue.at(
                grid.use, "the range is still observed", None, "observing", reason="every run moves it, evaluation included",
                advice="model.apply(torch.ao.quantization.disable_observer) before the export",
            )  # fmt: skip


@rule.check
def that_stand_alone(model: Model) -> Iterator[Issue]:
    """Observers that belong to no quantizer."""
    names = [name for graph in graphs(model) for name in graph.observers]
    if names:
        found = f"{few(names)} {'observes' if len(names) == 1 else 'observe'} and {'quantizes' if len(names) == 1 else 'quantize'} nothing"
        yield Issue(
            found=found, dimension="alone", facts={"reason": "the network was prepared for calibration and not converted", "advice": "convert it, and export what comes out"}
        )


@rule.bad(says="the range is still observed; every run moves it")
def still_observing() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(origin="fake-quant", observing=True), w=s8()) | u8())


@rule.bad(sites=0, says="act_0 and act_1 observe and quantize nothing; the network was prepared for calibration and not converted")
def prepared_only() -> Model:
    g = Graph()
    model = g.model(g.conv(g.input()))
    model.observers = ["act_0", "act_1"]
    return model


@rule.good
def frozen_ranges() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(origin="fake-quant"), w=s8()) | u8())


@rule.good
def near_miss_dynamic() -> Model:
    """A range that is measured anew on each run is meant to be."""
    g = Graph()
    return g.model(g.conv(g.input() | u8(None, dynamic=True), w=s8()))
