"""The emulated processors give this machine's verdict, and see what is wrong. Skipped without the emulator."""

import json
import os
import subprocess
from pathlib import Path

import pytest

import runtime_py
from runtime_py import load
from runtime_py.bundle.manifest import BudgetCheck
from runtime_py.devices.attached import open_device
from runtime_py.devices.check import check_on
from runtime_py.devices.emulator import CPUS, Emulator, guest_environment
from runtime_py.errors import BundleError, ClosedError

pytestmark = pytest.mark.emulated

RUNTIMES = ("tflite", "onnx", "executorch")
PRECISIONS = ("fp32", "int8")
EACH_COMMIT = ("cortex-a53", "cortex-a76")
PROBES = 40
"""Of 312: enough that no gate passes by chance, and seconds to embed."""
CLOSE = {"fp32": 1e-5, "int8": 1e-6}
"""Largest difference to this machine's numbers. int8: its last layer's division by the length is float32."""
ISA = {
    "cortex-a53": ("neon",),
    "cortex-a55": ("neon", "fp16", "dotprod"),
    "cortex-a72": ("neon",),
    "cortex-a76": ("neon", "fp16", "dotprod"),
    "cortex-a710": ("neon", "fp16", "dotprod", "i8mm", "sve2", "sve"),
}


@pytest.mark.parametrize(
    "cpu", [cpu if cpu in EACH_COMMIT else pytest.param(cpu, marks=pytest.mark.slow) for cpu in CPUS]
)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("target", RUNTIMES)
def test_the_verdict_and_the_numbers_are_the_hosts(emulator, built_in, target, precision, cpu):
    bundle = built_in.bundle(target, precision)
    report = check_on(bundle, f"emulate:{cpu}", PROBES)
    assert report.verdict == load(bundle).check().verdict == "compatible", report.reasons
    assert report.device.cpu.lower() == cpu
    assert report.device.isa == ISA[cpu]
    assert "aarch64" in report.runtime
    assert report.device.probes == PROBES
    assert report.device.host_difference <= CLOSE[precision]
    size = next(bundle.glob("encoder.*")).stat().st_size
    assert size < report.device.memory_bytes < 3 * size + 12 * 2**20


@pytest.mark.parametrize("cpu", CPUS)
def test_each_cpu_has_its_instructions(emulator, cpu):
    script = "from runtime_py.devices.processor import processor; import json; print(json.dumps(processor()))"
    command = Emulator.find(cpu).command(Path(runtime_py.__file__).parents[1])
    done = subprocess.run(
        [*command, "-c", script],
        env=guest_environment(dict(os.environ)),
        check=True,
        capture_output=True,
        text=True,
    )
    name, isa = json.loads(done.stdout)
    assert (name.lower(), tuple(isa)) == (cpu, ISA[cpu])


CAUGHT_BY = {"fp32": "parity.min_cosine", "int8": "recorded.mean_cosine"}
"""The built-in encoder hardly looks at colours: a swap moves int8 by as much as rounding in other kernels. The same
release of a runtime rounds alike on every processor, so that it is seen."""
OTHER_RELEASE = {("executorch", "int8"): ("video", "recorded.min_cosine")}
"""The emulated device's ExecuTorch is not the release that exports: a larger fault is injected."""


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(
    "target", ["onnx", *(pytest.param(target, marks=pytest.mark.slow) for target in ("tflite", "executorch"))]
)
def test_a_faulty_artifact_is_caught_there(emulator, built_in, target, precision):
    """The artifact of a faulty exporter, with hashes and seal made right."""
    fault, gate = OTHER_RELEASE.get((target, precision), ("swapped", CAUGHT_BY[precision]))
    report = check_on(built_in.bundle(target, precision, fault=fault), "emulate:cortex-a76", PROBES)
    assert report.verdict == "incompatible"
    failed = {each.name for each in report.gates if not each.passed}
    assert gate in failed, failed


def test_a_damaged_artifact_is_a_bundle_error_there(emulator, make_bundle):
    bundle = make_bundle("tflite")
    artifact = next(bundle.glob("encoder.*"))
    artifact.write_bytes(artifact.read_bytes()[:-1])
    with pytest.raises(BundleError, match="sha256 differs"):
        check_on(bundle, "emulate:cortex-a53", None)


def test_over_its_memory_it_fails_there(emulator, built_in):
    budget = BudgetCheck(budget="max_peak_memory", unit="bytes", limit=2**20, predicted=1)
    report = check_on(built_in.bundle("onnx", "fp32", budgets=(budget,)), "emulate:cortex-a53", PROBES)
    assert report.verdict == "incompatible"
    assert [gate.name for gate in report.gates if not gate.passed] == ["budget.max_peak_memory"]


def test_the_runner_ends_with_its_encoder(emulator, make_bundle, monkeypatch):
    from runtime_py.backends import executorch_runner

    monkeypatch.setenv(executorch_runner.RUNNER, json.dumps(Emulator.find("cortex-a76").runner))
    encoder = load(make_bundle("executorch"))
    assert "C++ runtime" in encoder.runtime
    images = encoder.probes.images[:2]
    assert encoder.embed(images).shape == (2, encoder.probes.dimension)
    process = encoder._backend._process
    assert process.poll() is None
    encoder.close()
    assert process.poll() is not None
    encoder.close()
    with pytest.raises(ClosedError):
        encoder.embed(images)


def test_the_profile_names_the_cpu(emulator):
    assert open_device("emulate:", "raspberry_pi5").emulator.cpu == "cortex-a76"
    assert open_device("emulate:low_end_android", "raspberry_pi5").emulator.cpu == "cortex-a53"
