"""Both inputs of an add are quantized, and the backend wants one of them as it comes out of the convolution.

## What it does

Finds the quantizer between a convolution and the add behind it, on backends that compute the two in one kernel: the
convolution's sum of 32 bits stays in its accumulator, and the skip connection is added to it there.

## Why it matters on hardware

Networks that are trained for backends whose add reads two tensors (graph 3 of the MQBench paper) have one quantizer
more in each residual block than graph 2 has. The compiler obeys it: the sum is rounded to 8 bits, written out and read
again by an add of its own, which costs the fusion in every block and rounds once more than necessary. In the paper's
measurements with 4 bits the additional quantizer costs 0.4 to 0.9 points.

## Example

    conv2 ─ Q ─ DQ ─► add ─► relu ─ Q ─►
    x ───── Q ─ DQ ───┘

## Instead

    conv2 ──────────► add ─► relu ─ Q ─►       # one kernel
    x ───── Q ─ DQ ───┘

## Fix and its safety

Remove the quantizer behind the convolution that nobody else reads, and keep that of the skip connection. Unsafe: the
numbers change (one rounding less). Train or calibrate with it removed, if the network is trained.

## References

- MQBench (arXiv 2111.03759), Figure 4: graph 2 quantizes one input of the add, graph 3 both; Table 6: what the graphs cost
- NVIDIA TensorRT documentation, Q/DQ Layer-Placement Recommendations; NVIDIA/TensorRT#1992, #3270
"""

from qlint.graph import Model
from qlint.lint.rule import Rule
from qlint.lint.testing import Graph, s8, u8
from qlint.lint.where import in_float, of_weights, slow, unwanted, wrong

rule = Rule(
    name="redundant-add-quantizer",
    code="QL312",
    since="0.1.0",
    what="{port}{origin} {has} a quantizer",
    why="{backend} adds inside {producer} what is left in float, and has none there",
    fix="remove the quantizer at {port} of the {kind}",
)
rule.explains("quantizer", kinds="add", roles="lhs|rhs", where=(unwanted, slow), why="{backend} adds inside {producer} only what is left in float")
rule.explains(
    "quantizer", kinds="add", roles="lhs|rhs", where=(unwanted, in_float, of_weights),
    why="{backend} adds inside {producer} what is left in float, and has no kernel for a sum by itself",
)  # fmt: skip
rule.explains("quantizer", kinds="add", roles="lhs|rhs", where=(unwanted, wrong))


def _block(skip: bool, branch: bool) -> Model:
    g = Graph()
    x = g.input() | u8()
    y = g.conv(x, w=s8(), kind="conv_transpose", name="up")
    return g.model(g.op("add", y | u8() if branch else y, x if skip else g.input("z"), name="add") | u8())


@rule.bad(says="add: input lhs (from up) has a quantizer; toy adds inside up only what is left in float")
def graph_3() -> Model:
    return _block(skip=True, branch=True)


@rule.good
def graph_2() -> Model:
    return _block(skip=True, branch=False)


@rule.good
def near_miss_the_skip_is_in_float() -> Model:
    """There is no fusion to be lost."""
    return _block(skip=False, branch=True)
