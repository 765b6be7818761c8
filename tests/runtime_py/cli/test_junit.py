"""The JUnit report is what Jenkins' schema allows and what GitLab's parser reads."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from runtime_py.bundle.tolerances import TABLE
from runtime_py.check.gates import Gate, at_least
from runtime_py.check.report import DriftReport
from runtime_py.cli.baseline import Moved
from runtime_py.cli.check import main
from runtime_py.cli.junit import junit_xml
from runtime_py.cli.outcome import Outcome
from runtime_py.errors import BundleError, CrashError, IncompatibleError, RequiredDeviceError

JENKINS = {
    "testsuites": ({"testsuite"}, set(), {"name", "time", "tests", "failures", "errors"}),
    "testsuite": (
        {"testsuite", "properties", "testcase", "system-out", "system-err"},
        {"name", "tests", "failures", "errors"},
        {
            "group",
            "time",
            "skipped",
            "timestamp",
            "hostname",
            "id",
            "package",
            "file",
            "log",
            "url",
            "version",
        },
    ),
    "testcase": (
        {"skipped", "error", "failure", "system-out", "system-err"},
        {"name"},
        {"time", "classname", "group"},
    ),
    "failure": (set(), set(), {"type", "message"}),
    "error": (set(), set(), {"type", "message"}),
    "skipped": (set(), set(), {"type", "message"}),
}
"""Element -> what it may hold, attributes that it needs, attributes that it may have: junit-10.xsd of Jenkins' xUnit
plugin, as of November 2025, but for elements that prunnet has no use for."""


def report(verdict="compatible", reasons=(), gates=()):
    return DriftReport(verdict, reasons, None, TABLE["fp32"], "test", gates=gates)


GATES = (at_least("parity.min_cosine", 0.5, 0.999, "worst probe: 3"), at_least("parity.finite", 1.0, 1.0))
EVERY_KIND = [
    Outcome(Path("a"), report(gates=GATES[1:])),
    Outcome(Path("b"), report("incompatible", ("parity.min_cosine is low",), GATES)),
    Outcome(Path("c"), report("not verified", ("toothless",), GATES[1:])),
    Outcome(Path("d"), report(gates=GATES[1:]), moved=(Moved("parity.min_cosine", 1.0, 0.9, 1e-6),)),
    Outcome(Path("e"), error=BundleError("f", "is broken")),
    Outcome(Path("f"), error=IncompatibleError("another space")),
    Outcome(Path("g"), error=CrashError("g", "ended by SIGSEGV")),
    Outcome(Path("h"), error=RequiredDeviceError("no emulator")),
    Outcome(Path("c"), error=BundleError("c", "1 bundle was found, 2 are expected")),
]


def complaints(element: ElementTree.Element) -> list[str]:
    """Say what Jenkins' schema would say."""
    inside, needed, allowed = JENKINS[element.tag]
    found = set(element.attrib)
    said = [f"{element.tag} lacks {name}" for name in needed - found]
    said += [f"{element.tag} may not have {name}" for name in found - needed - allowed]
    said += [f"{element.tag} may not hold {child.tag}" for child in element if child.tag not in inside]
    if element.tag not in ("failure", "error", "skipped") and (element.text or "").strip():
        said.append(f"{element.tag} may not hold text")
    return [*said, *(problem for child in element if child.tag in inside for problem in complaints(child))]


def test_every_kind_of_outcome_is_what_jenkins_allows():
    assert complaints(ElementTree.fromstring(junit_xml(EVERY_KIND))) == []
    assert complaints(ElementTree.fromstring(junit_xml([]))) == []
    wrong = ElementTree.fromstring('<testsuites skipped="1"><testsuite name="x">y</testsuite></testsuites>')
    assert len(complaints(wrong)) == 5  # so the check can fail


def test_a_real_report_is_what_jenkins_allows(make_bundle, tmp_path):
    file = tmp_path / "drift.xml"
    bundle, broken = make_bundle("onnx", out="good"), make_bundle("onnx", out="bad")
    (broken / "extra").write_text("x")
    assert main([str(bundle), str(broken), "--junit", str(file)]) == 2
    root = ElementTree.parse(file).getroot()
    assert complaints(root) == []
    assert len(root[0]) > 5 and [suite.get("errors") for suite in root] == ["0", "1"]


def test_gitlab_finds_each_case_once_and_a_text_in_each_verdict():
    """Its parser names a case by suite, class and name, drops a second one, and shows a verdict's text alone."""
    root = ElementTree.fromstring(junit_xml(EVERY_KIND))
    names = [(suite.get("name"), case.get("classname"), case.get("name")) for suite in root for case in suite]
    assert len(set(names)) == len(names)
    verdicts = [verdict for suite in root for case in suite for verdict in case]
    assert {verdict.tag for verdict in verdicts} == {"failure", "error", "skipped"}
    assert all((verdict.text or "").strip() for verdict in verdicts)
    assert all(len(case) <= 1 for suite in root for case in suite)


@given(st.text(), st.text())
def test_junit_escapes_anything(name, problem):
    outcomes = [
        Outcome(Path("b\0" + name), error=BundleError("f", problem)),
        Outcome(Path(name), report("not verified", (problem,))),
        Outcome(Path(name), error=IncompatibleError(problem)),
    ]
    root = ElementTree.fromstring(junit_xml(outcomes))
    assert [suite[0][0].tag for suite in root] == ["error", "skipped", "failure"]
    assert {key: root.get(key) for key in ("tests", "failures", "errors")} == {
        "tests": "3",
        "failures": "1",
        "errors": "1",
    }


def test_junit_shows_a_check_that_found_nothing_wrong_and_proves_nothing():
    """Every gate may pass on probes on which no drop could show; CI that reads the file must see it."""
    passed = (Gate("parity.finite", 1.0, 1.0, True),)
    toothless = DriftReport("not verified", ("toothless",), None, TABLE["fp32"], "test", gates=passed)
    (suite,) = ElementTree.fromstring(junit_xml([Outcome(Path("b"), toothless)]))
    assert (suite.get("tests"), suite.get("skipped")) == ("2", "1")
    assert suite[1][0].get("message") == "toothless"


def test_markup_in_a_message_stays_text():
    evil = '</failure><testcase name="x"/>]]>&"\''
    (suite,) = ElementTree.fromstring(junit_xml([Outcome(Path("b"), error=IncompatibleError(evil))]))
    assert suite[0][0].get("message") == evil
    assert len(suite) == 1
