"""The emulated processors give this machine's verdict, and see what is wrong. Skipped without the emulator."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

import runtime_py
from runtime_py import load
from runtime_py.bundle.manifest import BudgetCheck
from runtime_py.devices.attached import open_device
from runtime_py.devices.check import check_on
from runtime_py.devices.emulator import CPUS, Emulator, guest_environment
from runtime_py.errors import BundleError
from tests.runtime_py import bundles

pytestmark = pytest.mark.slow

RUNTIMES = ("tflite", "onnx", "executorch")
ISA = {
    "cortex-a53": ("neon",),
    "cortex-a55": ("neon", "fp16", "dotprod"),
    "cortex-a72": ("neon",),
    "cortex-a76": ("neon", "fp16", "dotprod"),
    "cortex-a710": ("neon", "fp16", "dotprod", "i8mm", "sve2", "sve"),
}


@pytest.mark.parametrize("cpu", ["cortex-a53", "cortex-a76"])
@pytest.mark.parametrize("target", RUNTIMES)
def test_the_verdict_is_the_hosts(emulator, make_bundle, target, cpu):
    bundle = make_bundle(target)
    report = check_on(bundle, f"emulate:{cpu}", None)
    assert report.verdict == load(bundle).check().verdict == "compatible"
    assert report.device.cpu.lower() == cpu
    assert report.device.isa == ISA[cpu]
    assert "aarch64" in report.runtime
    assert report.device.host_difference <= 1e-5
    assert 0 < report.device.memory_bytes < 64 * 2**20


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


@pytest.mark.parametrize("target", RUNTIMES)
def test_a_fault_is_caught_there(emulator, make_bundle, target):
    """References of another encoder: what an artifact with wrong weights looks like."""
    honest = bundles.probes()
    others = np.roll(np.array(honest.subnetwork), 1, axis=1)
    wrong = type(honest)(honest.images, honest.labels, honest.dense, others, honest.parity)
    report = check_on(
        make_bundle(target, own_probes=wrong, drift=drift_of(honest)), "emulate:cortex-a53", None
    )
    assert report.verdict == "incompatible"
    assert "parity.min_cosine" in [gate.name for gate in report.gates if not gate.passed]


@pytest.mark.parametrize("target", RUNTIMES)
def test_a_damaged_artifact_is_a_bundle_error_there(emulator, make_bundle, target):
    bundle = make_bundle(target)
    artifact = next(bundle.glob("encoder.*"))
    artifact.write_bytes(artifact.read_bytes()[:-1])
    with pytest.raises(BundleError, match="sha256 differs"):
        check_on(bundle, "emulate:cortex-a53", None)


def test_over_its_memory_it_fails_there(emulator, make_bundle):
    budget = BudgetCheck(budget="max_peak_memory", unit="bytes", limit=64 * 1024, predicted=1)
    report = check_on(make_bundle("tflite", budgets=(budget,)), "emulate:cortex-a53", None)
    assert report.verdict == "incompatible"
    assert report.gates[-1].name == "budget.max_peak_memory" and not report.gates[-1].passed


def test_the_profile_names_the_cpu(emulator):
    assert open_device("emulate:", "raspberry_pi5").emulator.cpu == "cortex-a76"
    assert open_device("emulate:low_end_android", "raspberry_pi5").emulator.cpu == "cortex-a53"


def drift_of(probes):
    return bundles.manifest("onnx", probes).drift
