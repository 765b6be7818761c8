"""Outcomes as a JUnit report: a test suite for each bundle, a test case for each gate.

JUnit itself states no format. This keeps to what Jenkins' xUnit plugin validates reports against (`junit-10.xsd` of
jenkinsci/xunit-plugin), and to what GitLab's parser reads: of a verdict its text, not its message; of two test cases
with the same names the first alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from xml.etree import ElementTree

from runtime_py.cli.outcome import Outcome
from runtime_py.cli.plain import plain
from runtime_py.errors import CrashError, RequiredDeviceError

_KINDS = {"incompatible": "failure", "not verified": "skipped", "error": "error"}


def junit_xml(outcomes: Sequence[Outcome]) -> bytes:
    """Render outcomes as JUnit XML, UTF-8.

    A gate that failed is a `failure`. A bundle that is not compatible though no gate failed gets a test case
    "check": `error` if the bundle is bad, `failure` if its space is another one, `skipped` if it could not be
    verified.
    """
    root = ElementTree.Element("testsuites", name="prunnet-check")
    seen: Counter[tuple[str, str]] = Counter()
    for outcome in outcomes:
        _suite(root, outcome, seen)
    for count in ("tests", "failures", "errors"):  # Jenkins' schema has no "skipped" here
        root.set(count, str(sum(int(suite.get(count, "0")) for suite in root)))
    ElementTree.indent(root)
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def _suite(root: ElementTree.Element, outcome: Outcome, seen: Counter[tuple[str, str]]) -> None:
    name = plain(str(outcome.bundle))
    suite = ElementTree.SubElement(root, "testsuite", name=name)
    for gate in outcome.gates:
        case = _case(suite, name, plain(gate.name), seen)
        if not gate.passed:
            _verdict(case, "failure", str(gate), outcome)
    if outcome.verdict != "compatible" and all(gate.passed for gate in outcome.gates):
        case = _case(suite, name, "check", seen)
        # What ends its process, or lacks the device that CI demands, was not left out: it failed.
        tag = (
            "error"
            if isinstance(outcome.error, (CrashError, RequiredDeviceError))
            else _KINDS[outcome.verdict]
        )
        _verdict(case, tag, "; ".join(outcome.reasons), outcome)
    suite.set("tests", str(len(suite)))
    for count, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(count, str(len(suite.findall(f"./testcase/{tag}"))))


def _case(
    suite: ElementTree.Element, classname: str, name: str, seen: Counter[tuple[str, str]]
) -> ElementTree.Element:
    """Append a test case; of two with the same names GitLab would show the first alone."""
    seen[classname, name] += 1
    number = seen[classname, name]
    unique = name if number == 1 else f"{name} {number}"
    return ElementTree.SubElement(suite, "testcase", classname=classname, name=unique)


def _verdict(case: ElementTree.Element, tag: str, message: str, outcome: Outcome) -> None:
    element = ElementTree.SubElement(case, tag, message=plain(message))
    if tag != "skipped":
        element.set("type", outcome.verdict)
    where = f"[{outcome.report.runtime}]" if outcome.report else ""
    element.text = plain("\n".join((*outcome.reasons, where)).strip())
