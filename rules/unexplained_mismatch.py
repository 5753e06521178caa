"""A kernel does not match for a reason that no other rule puts into words.

## What it does

Explains every mismatch that no other rule claims, in the words of the backend's profile.

## Why it matters on hardware

As with any other mismatch, the operator does not run in integer, or not as it should.

## Example

    x1: presence is absent

## Instead

    x1: presence is present

## Fix and its safety

Change what was found to what is wanted. If you meet this rule, please report the sentence: it should have
a rule of its own.

## References

- `qlint backend NAME` lists the kernels of a backend with their requirements
"""

from qlint.graph import Model
from qlint.lint.rule import Rule
from qlint.lint.testing import Graph, s8, u8

rule = Rule(
    name="unexplained-mismatch",
    code="QL901",
    since="0.1.0",
    what=lambda f: f"{'' if f.port == 'op' else f.port + ': '}{f.dimension.replace('_', ' ')} is {f.found}",
    why="{backend} wants {wanted}",
)
rule.explains()


@rule.bad(says="input rhs: zero point is 5; toy wants qmin")
def requirement_without_a_rule() -> Model:
    g = Graph()
    return g.model(g.op("pow", g.input("a") | u8(), g.input("b") | u8(zp=5)) | u8())


@rule.good
def nothing_to_explain() -> Model:
    g = Graph()
    return g.model(g.conv(g.input() | u8(), w=s8()) | u8())


@rule.good
def near_miss_another_rule_explains_it() -> Model:
    g = Graph()
    return g.model(g.op("softmax", g.input() | u8()) | u8(1 / 256, zp=10))
