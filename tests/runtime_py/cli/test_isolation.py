"""Checks in another process: what an artifact does to its runtime is a verdict."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from runtime_py import load
from runtime_py.bundle.write import manifest_text
from runtime_py.cli import isolation
from runtime_py.cli.check import main
from runtime_py.cli.isolation import check_bundles, from_message, to_message
from runtime_py.cli.outcome import Outcome, check_bundle
from runtime_py.disk.files import sha256
from runtime_py.errors import (
    BundleError,
    CrashError,
    DeviceError,
    IncompatibleError,
    InferenceError,
    MissingExtraError,
    RequiredDeviceError,
)
from runtime_py.loading import read_manifest

ROOT = Path(__file__).parents[3]


def resealed(bundle: Path, content: bytes) -> Path:
    """Give the bundle another artifact, with hash and seal made right, as an attacker or a bad tool would."""
    manifest = read_manifest(bundle)
    artifact = bundle / manifest.artifact
    artifact.write_bytes(content)
    files = {**manifest.files, manifest.artifact: sha256(artifact)}
    sealed = manifest.model_copy(update={"files": files}).sealed()
    (bundle / "manifest.json").write_text(manifest_text(sealed))
    return bundle


@pytest.fixture
def backend_that(monkeypatch, tmp_path):
    """(code) -> the child's ONNX backend runs this code when it opens an artifact that ends with "trap"."""

    def make(code: str) -> None:
        site = tmp_path / "site"
        site.mkdir()
        (site / "sitecustomize.py").write_text(
            "import sys\nif 'runtime_py.cli.checker' in sys.orig_argv:\n"
            "    import ctypes, os, time, runtime_py.backends.onnx as onnx\n"
            "    honest = onnx.open_session\n"
            "    def open_session(path):\n"
            f"        if path.read_bytes().endswith(b'trap'): {code}\n"
            "        return honest(path)\n"
            "    onnx.open_session = open_session\n"
        )
        monkeypatch.setenv("PYTHONPATH", str(site))

    return make


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("ctypes.string_at(0)", "was killed by signal 11"),
        ("os.abort()", "was killed by signal 6"),
        ("os._exit(3)", "ended with exit code 3"),
        ("print('noise', flush=True); time.sleep(300)", "was stopped after 20 s (--timeout)"),
        ("b'x' * 2**50", "MemoryError"),
        ("raise SystemError('from C')", "SystemError: from C"),
    ],
)
def test_what_kills_or_stops_the_runtime_is_a_verdict(backend_that, make_bundle, tmp_path, code, said, capfd):
    good, bad, other = (make_bundle("onnx", out=f"fleet/{name}") for name in ("a", "b", "c"))
    resealed(bad, (bad / "encoder.onnx").read_bytes() + b"trap")
    backend_that(code)
    capfd.readouterr()
    seconds = "20" if "sleep" in code else "300"  # enough for the good ones on a busy machine
    fleet = [str(tmp_path / "fleet"), "--timeout", seconds, "--json", "--junit", str(tmp_path / "drift.xml")]
    worst = main(fleet)
    outcomes = json.loads(capfd.readouterr().out)
    assert [outcome["bundle"] for outcome in outcomes] == [str(good), str(bad), str(other)]
    verdicts = [outcome["verdict"] for outcome in outcomes]
    refused = "Error" in said  # an exception is the binding's way to refuse a file
    assert verdicts == ["compatible", "error" if refused else "not verified", "compatible"]
    assert worst == (2 if refused else 5)
    assert said in outcomes[1]["reasons"][0]
    assert ElementTree.parse(tmp_path / "drift.xml").getroot().get("errors") == "1"


def test_a_batch_is_checked_in_one_process_while_all_is_well(make_bundle, monkeypatch):
    started = []
    honest = isolation.python_command
    monkeypatch.setattr(isolation, "python_command", lambda module: started.append(module) or honest(module))
    good = [make_bundle("onnx", out=name) for name in ("a", "b", "c")]
    (good[1] / "extra").touch()
    verdicts = [outcome.verdict for outcome in check_bundles(good, timeout=60)]
    assert verdicts == ["compatible", "error", "compatible"]
    assert len(started) == 2  # one more after the bundle that was not


def test_the_outcome_is_that_of_a_check_in_this_process(make_bundle, probes, tmp_path):
    bundle = make_bundle("onnx")
    (isolated,) = check_bundles([bundle], timeout=60)
    assert isolated == check_bundle(bundle)
    np.savez(
        tmp_path / "gallery.npz", embeddings=probes.dense, labels=probes.labels, space_id="space-of-tiny"
    )
    (isolated,) = check_bundles([bundle], tmp_path / "gallery.npz", timeout=60)
    assert isolated == check_bundle(bundle, tmp_path / "gallery.npz")


@pytest.mark.parametrize(
    "error",
    [
        BundleError("f", "is bad"),
        MissingExtraError("torch", "runtime-executorch", "x"),
        IncompatibleError("other space"),
        InferenceError("LiteRT", ValueError("x")),
        CrashError("b", "was killed"),
        DeviceError("not there"),
        RequiredDeviceError("not there"),
    ],
)
def test_errors_pass_between_processes_with_class_and_words(error):
    bundle = Path(os.fsdecode(b"b\xfc"))
    outcome = Outcome(bundle, error=error)
    passed = from_message(bundle, json.loads(json.dumps(to_message(outcome))))
    assert type(passed.error) is type(error) and str(passed.error) == str(error)
    assert passed.verdict == outcome.verdict


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_check_that_is_stopped_takes_its_process_along(backend_that, make_bundle, number):
    bundle = make_bundle("onnx")
    resealed(bundle, (bundle / "encoder.onnx").read_bytes() + b"trap")
    backend_that("os.write(2, b'here %d\\n' % os.getpid()); time.sleep(120)")
    process = subprocess.Popen(
        [sys.executable, "-m", "runtime_py.cli.check", str(bundle)],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        cwd=ROOT,
    )
    assert process.stderr is not None
    child = int(next(line for line in process.stderr if line.startswith(b"here")).split()[1])
    process.send_signal(number)
    assert process.wait(10) == {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}[number]
    process.stderr.close()
    deadline = time.monotonic() + 5
    while Path(f"/proc/{child}").exists() and time.monotonic() < deadline:
        if "State:\tZ" in Path(f"/proc/{child}/status").read_text():
            break  # dead, and waiting for whoever adopted it
        time.sleep(0.1)
    else:
        assert not Path(f"/proc/{child}").exists()


@pytest.mark.parametrize("target", ["onnx", "tflite", "executorch"])
def test_a_resealed_stump_is_refused_in_this_process_too(make_bundle, target):
    for content in (b"", b"x" * 100, b"\0" * 5000):
        bundle = resealed(make_bundle(target), content)
        with pytest.raises(BundleError):
            load(bundle)


def test_names_inside_a_tflite_that_are_no_utf_8_are_a_bundle_error(make_bundle):
    bundle = make_bundle("tflite")
    content = (bundle / "encoder.tflite").read_bytes()
    name = load(bundle)._backend._in["name"].encode()
    assert name in content
    resealed(bundle, content.replace(name, b"\xff" * len(name)))
    with pytest.raises(BundleError, match=r"encoder\.tflite"):
        load(bundle)
