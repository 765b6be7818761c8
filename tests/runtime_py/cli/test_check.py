from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from runtime_py.bundle.tolerances import TABLE
from runtime_py.check.report import DriftReport
from runtime_py.cli.check import main
from runtime_py.cli.outcome import Outcome, exit_code
from runtime_py.errors import BundleError, IncompatibleError, MissingExtraError, UnsupportedProgramError
from tests.runtime_py import tiny

COMMAND = Path(sys.executable).with_name("prunnet-check")


@pytest.fixture
def drifting(make_bundle, probes):
    """A bundle whose probes were embedded by another subnetwork."""
    from dataclasses import replace

    others = replace(probes, subnetwork=tiny.embed(tiny.tiny_encoder(seed=1), probes.images))
    return make_bundle("onnx", out="drifting", own_probes=others)


def test_compatible_bundles_are_found_below_a_folder(make_bundle, tmp_path, capsys):
    make_bundle("onnx", out="fleet/a/onnx")
    make_bundle("tflite", out="fleet/a/tflite")
    capsys.readouterr()  # the converters print
    assert main([str(tmp_path / "fleet"), str(tmp_path / "fleet/a/onnx")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4  # header, rule, and each bundle once
    assert "ONNX Runtime" in lines[2]
    assert "LiteRT" in lines[3]


def test_an_incompatible_bundle_returns_5_and_says_why(drifting, capsys):
    assert main([str(drifting)]) == 5
    out = capsys.readouterr().out
    assert "incompatible" in out
    assert "parity.min_cosine" in out
    assert "worst probe" in out


def test_a_bad_bundle_does_not_hide_the_others(make_bundle, drifting, tmp_path, capsys):
    good, bad = make_bundle("onnx", out="good"), make_bundle("onnx", out="bad")
    (bad / "extra").write_text("x")
    assert main([str(bad), str(good)]) == 2
    assert main([str(bad), str(good), str(drifting), "--json", "--junit", str(tmp_path / "d/drift.xml")]) == 5
    printed = capsys.readouterr().out
    outcomes = json.loads(printed[printed.index("\n[\n") :])
    assert [outcome["verdict"] for outcome in outcomes] == ["error", "compatible", "incompatible"]
    assert outcomes[1]["report"]["figures"]["probes"] == 50
    root = ElementTree.parse(tmp_path / "d/drift.xml").getroot()
    suites = {Path(suite.get("name")).name: suite for suite in root}
    assert suites["good"].attrib.items() >= {"tests": "17", "failures": "0", "errors": "0"}.items()
    assert suites["bad"].attrib.items() >= {"tests": "1", "failures": "0", "errors": "1"}.items()
    assert int(suites["drifting"].get("failures")) == len(suites["drifting"].findall("testcase/failure")) > 0
    assert int(root.get("tests")) == 35


def test_no_bundle_is_an_error_and_not_a_pass(make_bundle, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main([str(tmp_path / "empty")]) == 2
    assert "holds no bundle" in capsys.readouterr().out
    assert main([str(tmp_path / "absent"), str(make_bundle("onnx"))]) == 2
    shown = capsys.readouterr().out
    assert "does not exist" in shown and "compatible" in shown
    with pytest.raises(SystemExit) as raised:
        main([])
    assert raised.value.code == 2


def test_a_server_is_passed_on(make_bundle, probes, tmp_path, capsys):
    bundle = make_bundle("onnx")
    arrays = {"embeddings": probes.dense, "labels": probes.labels}
    np.savez(tmp_path / "own.npz", space_id=np.array("space-of-tiny"), **arrays)
    np.savez(tmp_path / "foreign.npz", space_id=np.array("foreign-space"), **arrays)
    np.savez(tmp_path / "anonymous.npz", **arrays)
    assert main([str(bundle), "--server", str(tmp_path / "own.npz")]) == 0
    assert main([str(bundle), "--server", str(tmp_path / "foreign.npz")]) == 5
    assert "foreign-space" in capsys.readouterr().out
    junit = tmp_path / "drift.xml"
    assert main([str(bundle), "--server", str(tmp_path / "anonymous.npz"), "--junit", str(junit)]) == 5
    assert "not verified" in capsys.readouterr().out
    assert ElementTree.parse(junit).getroot()[0].get("skipped") == "1"
    assert main([str(bundle), "--server", str(tmp_path / "absent.npz")]) == 2


def test_a_report_that_can_not_be_written_is_an_error(make_bundle, tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    assert main([str(make_bundle("onnx")), "--junit", str(tmp_path / "file" / "drift.xml")]) == 2
    assert "cannot be written" in capsys.readouterr().err


def report(verdict="compatible", reasons=()):
    return DriftReport(verdict, reasons, None, TABLE["fp32"], "test")


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        ([Outcome(Path("a"), report())], 0),
        ([Outcome(Path("a"), report("not verified"))], 5),
        ([Outcome(Path("a"), error=IncompatibleError("no"))], 5),
        ([Outcome(Path("a"), error=MissingExtraError("torch", "runtime-executorch", "x"))], 5),
        ([Outcome(Path("a"), error=UnsupportedProgramError("f", ["x"], ["y"]))], 5),
        ([Outcome(Path("a"), error=BundleError("f", "p"))], 2),
        ([Outcome(Path("a"), report()), Outcome(Path("a"), error=BundleError("f", "p"))], 2),
        ([], 2),
    ],
)
def test_exit_codes(outcomes, code):
    assert exit_code(outcomes) == code


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from runtime_py.cli.check import main\ntry: main(['-h'])\nfinally: print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "exit codes" in done.stdout
    assert not {"numpy", "pydantic", "torch"} & set(done.stdout.splitlines()[-1].split())


@pytest.mark.skipif(sys.platform == "win32", reason="no file has such a name there")
def test_a_name_cannot_write_a_line_of_the_table(make_bundle, tmp_path, capsys):
    forged = tmp_path / "x\nbuild  compatible\x1b[31m"
    make_bundle("onnx").rename(forged)
    assert main([str(forged)]) == 0
    (forged / "encoder.onnx").write_bytes(b"")
    assert main([str(forged)]) == 2
    printed = capsys.readouterr().out
    assert r"x\nbuild  compatible\x1b[31m" in printed
    assert "\x1b" not in printed
    assert not any(line.startswith("build") for line in printed.splitlines())


def test_a_closed_pipe_does_not_change_the_exit_code(make_bundle):
    bundle = make_bundle("onnx")
    command = f"{COMMAND} {bundle} --json | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
