"""The page: what is in the file, how the graph is laid out, and in a real browser what it does when it is used."""

import json
import re
import sys
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import browser
import large
import pytest

import qlint
from qlint.errors import QlintError
from qlint.report import html
from qlint.report.drawing import FOLD, WIDTH, Group, fold, lay_out, nodes

pytest.importorskip("igraph")
ROOT = Path(__file__).parents[2]
RESNET = ROOT / "tests/zoo/tiny_results_v1.3/resnet.onnx"
HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=document.title='owned'>\x00\u2028${1}\\"


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.scripts, self._open = [], [], None

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self._open = tag

    def handle_data(self, text):
        if self._open == "script":
            self.scripts.append(text)

    def handle_endtag(self, tag):
        self._open = None


@pytest.fixture(scope="module")
def report():
    return qlint.check(RESNET, backend=["qnn-htp", "ort-cpu"])


@pytest.fixture(scope="module")
def hostile():
    model = qlint.load(RESNET)
    model.name = HOSTILE
    for op in model.walk():
        op.name = f"{HOSTILE}{op.index}"
    for tensor in model.tensors.values():
        tensor.name = f"{HOSTILE}{tensor.name}"
    return qlint.check(model, backend="qnn-htp")


def data(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])


# -- the file ---------------------------------------------------------------------------------------------------


def test_the_page_is_one_file_that_loads_nothing(report, hostile):
    for one in (report, hostile):
        page = Tags()
        page.feed(one.to_html())
        assert [tag for tag, _ in page.tags] == ["html", "head", "meta", "meta", "meta", "title", "style", "body", "noscript", "div", "script", "script"]
        assert not [attributes for _, attributes in page.tags if {"src", "href"} & set(attributes)]
        _, script = page.scripts
        policy = page.tags[3][1]["content"]
        assert f"script-src 'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'" in policy and "default-src 'none'" in policy


def test_the_page_has_what_the_report_has(report):
    (model,) = data(html.render(report))["models"]
    for shown, result in zip(model["results"], report.results, strict=True):
        names = [node["name"] for node in model["nodes"]]
        placed = {name: told[0] for name, told in zip(names, shown["placed"], strict=True) if told}
        canonical = {op.label for op in result.canonical.ops}
        assert placed == {op.name: op.placement for op in result.ops if op.name in canonical}
        assert [(one["rule"], one["fingerprint"]) for one in shown["findings"]] == [(finding.rule, finding.fingerprint) for finding in result.findings]
        for one, finding in zip(shown["findings"], result.findings, strict=True):
            assert [names[site["node"]] for site in one["sites"]] == [site.op for site in finding.sites]


def test_names_survive_unchanged(hostile):
    (model,) = data(html.render(hostile))["models"]
    assert model["name"] == HOSTILE and any(node["name"].startswith(HOSTILE) for node in model["nodes"])


def test_without_igraph_it_says_what_to_install(report, monkeypatch):
    monkeypatch.setitem(sys.modules, "igraph", None)
    with pytest.raises(QlintError, match="igraph") as caught:
        report.to_html()
    assert "qlint-nn[html]" in caught.value.hint


def test_a_report_from_json_has_no_graph(report):
    with pytest.raises(QlintError, match="graph"):
        qlint.Report.model_validate_json(report.to_json()).to_html()


# -- the layout -------------------------------------------------------------------------------------------------


def groups(group):
    yield group
    for child in group.children:
        if isinstance(child, Group):
            yield from groups(child)


@pytest.fixture(scope="module")
def big(tmp_path_factory):
    return large.write(tmp_path_factory.mktemp("big") / "encoder.onnx", 60)


@pytest.mark.parametrize("named", [True, False])
def test_thousands_of_operators_fold_into_groups_that_can_be_read(tmp_path, named):
    drawn = nodes(qlint.load(large.write(tmp_path / "encoder.onnx", 60, named=named)))
    tree = fold(drawn)
    assert len(drawn) == 3002
    assert sorted(tree.nodes()) == list(range(len(drawn)))  # each once
    assert all(len(group.children) <= FOLD for group in groups(tree))
    lay_out(tree, drawn)
    for group in groups(tree):
        assert len(group.places) == len(group.children) == len(set(group.places))
        by_row = {}
        for x, y in group.places:
            by_row.setdefault(y, []).append(x)
        for row in by_row.values():
            assert all(b - a >= WIDTH for a, b in zip(sorted(row), sorted(row)[1:], strict=False))
        for a, b, bends in group.edges:
            ends = [group.places[end] if end >= 0 else group.doors[end] for end in (a, b)]
            down = [y for _, y in (ends[0], *bends, ends[1])]
            assert down == sorted(set(down)), "data flows downwards"
    if named:
        names = {group.name for group in groups(tree)}
        assert {"encoder", "layer.0", "layer.59"} <= names


def test_every_tensor_between_operators_is_an_edge():
    model = qlint.load(RESNET)
    drawn = nodes(model)
    tree = fold(drawn)
    lay_out(tree, drawn)
    number = {node.name: place for place, node in enumerate(drawn)}
    wanted = {(number[use.tensor.producer.label], number[op.label]) for op in model.ops for use in op.uses.values() if use.tensor.producer is not None}
    assert wanted <= {(tree.children[a], tree.children[b]) for a, b, _ in tree.edges}


# -- in a browser -----------------------------------------------------------------------------------------------

real = pytest.mark.skipif(browser.found() is None, reason=f"no browser here ({', '.join(browser.NAMES)})")


@pytest.fixture
def opened(tmp_path):
    """Open a report in the browser; at the end nothing must have gone wrong."""
    with_browser = []

    def open_(report, **how):
        page = tmp_path / "report.html"
        page.write_text(report.to_html(), encoding="utf-8")
        with_browser.append(browser.Browser(page, **how))
        return with_browser[-1]

    yield open_
    for one in with_browser:
        with one:
            assert one.trouble == []


@real
def test_findings_lead_to_operators_and_back(opened, report):
    page = opened(report)
    assert page.js("document.querySelectorAll('.node').length") == len(report.results[0].canonical.ops) + 2
    assert page.js("document.querySelectorAll('.finding').length") == 1
    page.click("[data-backend='1']")
    assert page.js("document.querySelectorAll('.finding').length") == 3
    assert page.js("document.querySelectorAll('.node.float').length") == 9
    page.click(".finding:last-of-type")
    assert page.js("document.querySelectorAll('.ring:not(.drag)').length") == 3
    assert "a quantizer of its own" in page.js("document.querySelector('.finding[aria-current=true] .more').textContent")
    page.press("Escape", "0")
    page.click(".node.float:has(.badge) .box")
    assert not page.js("document.getElementById('details').hidden")
    assert page.js("document.querySelector('#details .tag').textContent") == "float"
    page.click("#details .feed b")
    assert page.js("document.querySelectorAll('.finding[aria-current=true]').length") == 1


@real
def test_what_is_accepted_is_out_of_the_way(opened, tmp_path):
    model = tmp_path / "resnet.onnx"
    model.write_bytes(RESNET.read_bytes())
    text = '[[suppress]]\nrules = ["missing-output-quantizer"]\nnodes = ["*"]\nreason = "the head stays in float"\n'
    (tmp_path / "resnet.onnx.qlint.toml").write_text(text, encoding="utf-8")
    page = opened(qlint.check(model, backend="ort-cpu"))
    assert page.js("document.querySelectorAll('.finding').length") == 2 and page.js("document.querySelectorAll('.finding.accepted').length") == 0
    page.click(".filters .chip[aria-pressed=false]")
    assert "the head stays in float" in page.js("document.querySelector('.finding.accepted').textContent")


@real
def test_search_and_filters_narrow_the_list(opened, report):
    page = opened(report)
    page.press("b", "/", *"softmax")
    assert page.js("document.querySelectorAll('.finding').length") == 1
    assert page.js("document.querySelector('.row .mono').textContent") == "model/dense/Softmax"
    page.click(".row")
    assert page.js("document.querySelector('#details h1').textContent") == "model/dense/Softmax"
    page.js("(input => { input.value = ''; input.dispatchEvent(new Event('input')); })(document.querySelector('input'))")
    page.js("(one => { one.value = 'shared-readers'; one.dispatchEvent(new Event('change')); })(document.querySelector('.filters select'))")
    assert page.js("[...document.querySelectorAll('.finding b')].map((one) => one.textContent)") == ["shared-readers"]
    page.click(".filters .chip")
    assert page.js("document.querySelectorAll('.finding').length") == 0
    page.click("[data-place='float']")
    assert page.js("document.querySelectorAll('.node.lit').length") == 9


@real
def test_keys_walk_through_findings_and_the_graph(opened, report):
    page = opened(report, dark=True)
    assert page.js("document.documentElement.dataset.theme") == "dark"
    page.press("d", "b", "j", "j")
    assert page.js("document.documentElement.dataset.theme") == "light"
    assert page.js("document.querySelector('.finding[aria-current=true]').dataset.finding") == "1"
    page.press("Escape", "ArrowDown", "ArrowDown")
    assert page.js("document.querySelector('#details h1').textContent") == report.results[0].canonical.ops[0].label
    page.press("ArrowUp")
    assert page.js("document.querySelector('#details h1').textContent") == "input_1"
    before = page.js("document.querySelector('main svg > g').getAttribute('transform')")
    page.wheel(900, 500, -300)
    page.press("+")
    assert page.js("document.querySelector('main svg > g').getAttribute('transform')") != before


@real
def test_scales_and_ranges_are_plotted(opened, report):
    page = opened(report)
    page.click("[role=tab]:nth-child(2)")
    scales, ranges = page.js("[...document.querySelectorAll('.plot')].map((one) => one.querySelectorAll('circle, .span').length)")
    assert scales > ranges > 10
    page.click(".scroll .row:nth-of-type(3)")
    assert page.js("document.querySelectorAll('.plot .chosen').length") > 0
    assert page.js("document.querySelectorAll('#details .grid svg').length") > 0


@real
def test_names_from_the_model_are_text(opened, hostile):
    page = opened(hostile)
    page.press("j", "Escape", "ArrowDown", "ArrowDown")
    page.click("[role=tab]:nth-child(2)")
    assert page.js("document.title").startswith("qlint · ") and page.js("document.images.length") == 0
    assert page.js("document.scripts.length") == 2
    assert HOSTILE.replace("\x00", "\ufffd") in page.js("document.querySelector('#details h1').textContent").replace("\x00", "\ufffd")


@real
def test_a_large_model_unfolds_where_it_is_clicked(opened, big):
    page = opened(qlint.check(big, backend="ort-cpu"))
    layers = page.js("document.querySelectorAll('.folded').length")
    assert layers == 60 and page.js("document.querySelectorAll('.node').length") == 2
    page.click(".folded .box")
    assert page.js("document.querySelectorAll('.folded').length") == 59 and page.js("document.querySelectorAll('.node').length") > 45
    page.js("document.querySelectorAll('.group')[1].querySelector('.title').dispatchEvent(new MouseEvent('click', {bubbles: true}))")
    assert page.js("document.querySelectorAll('.folded').length") == 60
    page.press("j")
    assert page.js("document.querySelectorAll('.ring').length") > 0
