"""The model keeps values from one inference to the next.

## What it does

Counts the variables that a model reads and writes: what a streaming network remembers of the sounds or pictures
before (TFLite's VAR_HANDLE, READ_VARIABLE and ASSIGN_VARIABLE).

## Why it matters on hardware

What comes out depends on every input since the start. Calibration and comparison with random single inputs see a
network that has just been reset, so ranges come out too small. Accelerators compute functions without memory: the
variables stay with the CPU, which copies each state there and back in every inference.

## Example

    READ_VARIABLE ─► CONCATENATION(x) ─► CONV_2D ─►
                       └► STRIDED_SLICE ─► ASSIGN_VARIABLE

## Instead

    state_in (input) ─► CONCATENATION(x) ─► CONV_2D ─►
                          └► STRIDED_SLICE ─► state_out (output)

## Fix and its safety

Nothing is wrong on a runtime with variables: calibrate and measure with sequences. For an accelerator export the
non-streaming model, or make the states inputs and outputs, which the caller carries over. Exact.

## References

- Rybakov et al., arXiv 2005.06720: streaming keyword spotting, states inside and outside of the model
- TensorFlow Lite schema: VAR_HANDLE, READ_VARIABLE, ASSIGN_VARIABLE
"""

from collections.abc import Iterator

from qlint.graph import Model
from qlint.lint.message import Facts
from qlint.lint.rule import Issue, Rule
from qlint.lint.testing import Graph, s8


def _what(facts: Facts) -> str:
    number = len(facts.causes)
    return f"{number} variable{'s keep' if number > 1 else ' keeps'} values from one inference to the next"


rule = Rule(
    name="stateful-model",
    code="QL611",
    since="0.1.0",
    what=_what,
    why="what comes out depends on the inputs before, and so do the ranges of activations",
    fix="calibrate and compare with sequences of inputs; for an accelerator make the states inputs and outputs",
)


@rule.check
def variables(model: Model) -> Iterator[Issue]:
    """Variables that are read, one issue each."""
    for op in model.walk():
        if op.kind == "read_variable":
            yield Issue(op)


@rule.bad(says="1 variable keeps values from one inference to the next")
def reads_what_it_wrote() -> Model:
    g = Graph()
    state = g.op("read_variable", g.op("var_handle", attrs={"shared_name": "states"}))
    return g.model(g.conv(g.op("add", state, g.input() | s8()), w=s8()))


@rule.good
def near_miss_state_as_an_input() -> Model:
    g = Graph()
    return g.model(g.conv(g.op("add", g.input(), g.input() | s8()), w=s8()))
