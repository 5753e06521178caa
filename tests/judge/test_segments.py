"""A backend that takes one segment of a model: what is behind its end stays outside, what is in front of it or beside it does not."""

from qlint.judge import judge
from qlint.lint.testing import Graph, s8, u8
from qlint.lint.toy import toy


def places(model, **options):
    verdict = judge(model, toy(), **options)
    return [(op.kind, verdict.where(op)) for op in model.ops if op.role == "data"]


def around(kind):
    g = Graph()
    first = g.conv(g.input() | u8(), w=s8()) | u8()
    last = g.conv(g.op(kind, first) | u8(), w=s8()) | u8()
    return g.model(g.op("mish", last) | u8(), g.conv(first, w=s8()) | u8())


def test_behind_the_end_nothing_comes_back():
    assert places(around("cum_sum")) == [("conv", "integer"), ("cum_sum", "cpu"), ("conv", "cpu"), ("mish", "cpu"), ("conv", "integer")]


def test_behind_what_nobody_knows_nothing_is_known():
    assert [where for _, where in places(around("erf"))] == ["integer", "unknown", "unknown", "unknown", "integer"]


def test_without_fallback_what_leaves_is_rejected():
    assert [where for _, where in places(around("cum_sum"), fallback=False)] == ["integer", "rejected", "rejected", "rejected", "integer"]


def test_the_segment_begins_where_the_first_operator_is_taken():
    g = Graph()
    x = g.op("cum_sum", g.input()) | u8()
    assert places(g.model(g.conv(x, w=s8()) | u8())) == [("cum_sum", "cpu"), ("conv", "integer")]
