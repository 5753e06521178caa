"""JUnit XML, as Jenkins' xUnit plugin (junit-10.xsd), GitLab and others read it.

A suite is one model on one backend. Each finding is a test case: errors and warnings are failures, notes pass and keep
their text as output, and what a suppression or the baseline accepts is skipped. A model without findings is one test that passes, and a file that cannot be read is an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree.ElementTree import Element, indent, tostring

from qlint.lint.finding import Finding
from qlint.report.place import backend, path
from qlint.report.result import Failure, Report, Result
from qlint.report.text import accepted, dragged, notes, placed

PASSES = ("info",)  # severities


def render(report: Report) -> str:
    """An XML document."""
    root = Element("testsuites", name="qlint")
    root.extend([*(_suite(result) for result in report.results), *map(_failure, report.errors)])
    _count(root)
    indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{tostring(root, encoding="unicode")}\n'


def _suite(result: Result) -> Element:
    name = f"{path(result.model)} · {backend(result)}"
    suite = _element("testsuite", name=name)
    facts = _element("properties")
    facts.extend(_element("property", name=key, value=value) for key, value in _facts(result))
    suite.append(facts)
    suite.extend(_case(name, finding) for finding in (*result.findings, *result.suppressed))
    if not result.findings:
        suite.append(_element("testcase", classname=name, name="no findings"))
    _count(suite)
    return suite


def _facts(result: Result) -> Iterator[tuple[str, str]]:
    yield "quantization", result.summary.quantization
    if result.outcome is not None:
        yield "outcome", result.outcome
        yield "placement", placed(result.summary)
    yield from (("reason", reason) for reason in result.reasons)


def _case(suite: str, finding: Finding) -> Element:
    case = _element("testcase", classname=suite, name=f"{finding.rule} {finding.code} · {finding.subject}")
    told = "\n".join(part for part in (finding.message, dragged(finding) if finding.drags else "", *notes(finding)) if part)
    if finding.suppressed is not None:
        case.append(_element("skipped", told, message=accepted(finding.suppressed)))
    elif finding.severity in PASSES:
        case.append(_element("system-out", told))
    else:
        case.append(_element("failure", told, type=finding.severity, message=finding.clauses[0]))
    return case


def _failure(failure: Failure) -> Element:
    name = path(failure.model) if failure.model else "qlint"
    suite = _element("testsuite", name=name)
    case = _element("testcase", classname=name, name="not checked")
    case.append(_element("error", failure.hint, type="not-checked", message=failure.message))
    suite.append(case)
    _count(suite)
    return suite


def _count(element: Element) -> None:
    element.set("tests", str(len(element.findall(".//testcase"))))
    element.set("failures", str(len(element.findall(".//failure"))))
    if element.tag == "testsuite":
        element.set("skipped", str(len(element.findall(".//skipped"))))
    element.set("errors", str(len(element.findall(".//error"))))


def _element(tag: str, text: str = "", /, **attributes: str) -> Element:
    made = Element(tag, {key: _legal(value) for key, value in attributes.items()})
    made.text = _legal(text) or None
    return made


def _legal(text: str) -> str:
    """Text without the characters that XML 1.0 (section 2.2) has no way to write."""
    return "".join(c if c in "\t\n" or " " <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd" or c >= "\U00010000" else f"\\x{ord(c):02x}" for c in text)
