"""An operator has an attribute, rank, size or number of inputs that the integer kernel does not cover.

## What it does

Finds operators that the backend has an integer kernel for, but not in this form.

## Why it matters on hardware

Kernels are written for the common cases: four dimensions, nearest-neighbour resizing, no more than so many
channels, a certain opset. Outside of them the operator falls back, although its kind is "supported".

## Example

    Resize(mode="cubic")

## Instead

    Resize(mode="nearest")

## Fix and its safety

Change the operator so that the kernel covers it. Reshaping around it (to get rid of a dimension) is exact,
changing an attribute is not.

## References

- `qlint backend NAME` lists the kernels of a backend with their constraints
"""

from qlint.graph import Model
from qlint.lint.message import Facts
from qlint.lint.rule import Rule
from qlint.lint.testing import Graph, u8

# dimension -> what is said about it
_WHAT = {
    "attribute": "{attribute} is {found}",
    "rank": "{port} has {found} dimensions",
    "dimension": "dimension {attribute} of {port} is {found}",
    "inputs": "there are {found} inputs",
    "input": "input {attribute} is {found}",
    "opset": "the opset is {found}",
    "layout": "{port}{origin} has its {found}",
    "presence": "{port} is {found}",
    "interval": "{port}{origin} spans {found} from its least to its largest number",
    "joined": "{port}{origin} was not concatenated along the {wanted} axis",
    "constant": "{port} is a constant",
    "inherited": "{port} has a quantizer of its own",
}
_WHY = {
    "constant": "{backend} wants it computed at run time",
    "inherited": "{backend} {runs} in integer only if the one in front of the data movement is moved behind it",
    "layout": "{backend} {runs} in integer only with {wanted}, as its convs leave them",
    "presence": "{backend} {runs} in integer only if it is {wanted}",
    "joined": "{backend} {runs} in integer only if it was",
    "input": "{backend} {runs} in integer only if it is {wanted}",
}


def _head(facts: Facts) -> str:
    return facts.dimension.partition(" ")[0]


def _what(facts: Facts) -> str:
    unknown = _head(facts) == "attribute" and facts.found == "absent"
    return ("what {attribute} is cannot be told" if unknown else _WHAT[_head(facts)]).format_map(facts)


rule = Rule(
    name="operator-constraint",
    code="QL603",
    since="0.1.0",
    what=_what,
    why=lambda facts: _WHY.get(_head(facts), "{backend} {runs} in integer only with {wanted}").format_map(facts),
)
rule.explains("|".join(_WHAT))


@rule.bad(says="mode is cubic; toy runs a resize in integer only with nearest")
def attribute() -> Model:
    g = Graph()
    return g.model(g.op("resize", g.input() | u8(), attrs={"mode": "cubic"}) | u8())


@rule.bad(says="input x has 5 dimensions; toy runs a reduce mean in integer only with at most 4")
def rank() -> Model:
    g = Graph()
    return g.model(g.op("reduce_mean", g.input(shape=(1, 2, 3, 4, 5)) | u8()) | u8())


@rule.bad(says="dimension 1 of input x is 128")
def size() -> Model:
    g = Graph()
    return g.model(g.op("reduce_mean", g.input(shape=(1, 128, 7, 7)) | u8()) | u8())


@rule.bad(says="there are 3 inputs; toy runs a reduce mean in integer only with at most 2")
def number_of_inputs() -> Model:
    g = Graph()
    return g.model(g.op("reduce_mean", g.input() | u8(), g.constant(1), g.constant(1)) | u8())


@rule.good
def within_bounds() -> Model:
    g = Graph()
    return g.model(g.op("resize", g.input() | u8(), attrs={"mode": "nearest"}) | u8())


@rule.good
def near_miss_at_the_bounds() -> Model:
    g = Graph()
    return g.model(g.op("reduce_mean", g.input(shape=(1, 64, 7, 7)) | u8(), g.constant(1)) | u8())
