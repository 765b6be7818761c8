"""Outcomes as a JUnit report: a test suite for each bundle, a test case for each gate."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from runtime_py.cli.outcome import Outcome
from runtime_py.disk.files import write_atomically
from runtime_py.errors import BundleError, CrashError
from runtime_py.shell import readable

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot hold, not even escaped."""

_KINDS = {"incompatible": "failure", "not verified": "skipped", "error": "error"}


def write_junit(outcomes: Sequence[Outcome], path: Path) -> None:
    """Write `junit_xml(outcomes)` to `path`; see `write_atomically`. Raises BundleError if the disk refuses."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, junit_xml(outcomes))
    except OSError as error:
        raise BundleError(path, f"cannot be written ({error.strerror})", "choose another file") from error


def junit_xml(outcomes: Sequence[Outcome]) -> bytes:
    """Render outcomes as JUnit XML, UTF-8.

    A gate that failed is a `failure`. A bundle that is not compatible though no gate failed gets a test case
    "check": `error` if the bundle is bad, `failure` if its space is another one, `skipped` if it could not be
    verified.
    """
    root = ElementTree.Element("testsuites", name="prunnet-check")
    for outcome in outcomes:
        _suite(root, outcome)
    for count in ("tests", "failures", "errors", "skipped"):
        root.set(count, str(sum(int(suite.get(count, "0")) for suite in root)))
    ElementTree.indent(root)
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def _suite(root: ElementTree.Element, outcome: Outcome) -> None:
    name = _text(str(outcome.bundle))
    suite = ElementTree.SubElement(root, "testsuite", name=name)
    gates = outcome.report.gates if outcome.report else ()
    for gate in gates:
        case = ElementTree.SubElement(suite, "testcase", classname=name, name=_text(gate.name))
        if not gate.passed:
            _verdict(case, "failure", str(gate), outcome)
    if outcome.verdict != "compatible" and all(gate.passed for gate in gates):
        case = ElementTree.SubElement(suite, "testcase", classname=name, name="check")
        # What ends its process was not left out: it failed.
        tag = "error" if isinstance(outcome.error, CrashError) else _KINDS[outcome.verdict]
        _verdict(case, tag, "; ".join(outcome.reasons), outcome)
    suite.set("tests", str(len(suite)))
    for count, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(count, str(len(suite.findall(f"./testcase/{tag}"))))


def _verdict(case: ElementTree.Element, tag: str, message: str, outcome: Outcome) -> None:
    element = ElementTree.SubElement(case, tag, message=_text(message))
    if tag != "skipped":
        element.set("type", outcome.verdict)
    where = f"[{outcome.report.runtime}]" if outcome.report else ""
    element.text = _text("\n".join((*outcome.reasons, where)).strip())


def _text(text: str) -> str:
    return _NOT_XML.sub(lambda found: readable(found.group()), text)
