"""Instructions of an embedding are counted on emulated processors, or the report says why not."""

import dataclasses

import numpy as np
import pytest

from runtime_py.cli import device as command
from runtime_py.cli.check import main
from runtime_py.devices import check, counter_install
from runtime_py.devices.attached import EmulatedDevice
from runtime_py.devices.check import check_on
from runtime_py.devices.counter import MODELS, Counter
from runtime_py.devices.counter_install import TABLE, install_counter
from runtime_py.devices.emulator import Emulator
from runtime_py.devices.install import HOME
from runtime_py.devices.packages import read_packages
from runtime_py.errors import DeviceError
from runtime_py.loading import load, read_manifest
from tests.runtime_py.devices.test_install import Fetcher

REPEATABLE = 0.01
"""Of a count. Single embeddings of one artifact differed by up to 0.4 %, in one process or in two."""


@pytest.fixture
def count(counter, tmp_path):
    """Count the instructions of one embedding of a bundle."""
    jobs = iter(range(100))

    def counted(bundle, cpu: str, wrong: float = 0.0) -> int:
        job = tmp_path / f"job{next(jobs)}"
        job.mkdir()
        check._pack(job, bundle, None)
        with load(bundle) as here:
            picture = here.probes.images[0]
            embedding = here.embed(picture[None])[0] + np.float32(wrong)
        return Counter.find(Emulator.find(cpu)).count(job, read_manifest(bundle).target, picture, embedding)

    return counted


def test_other_devices_count_nothing_and_say_so(make_bundle, this_machine):
    report = check_on(make_bundle("onnx"), "x", 8, instructions=True)
    assert report.device.instructions is None
    assert "instructions: not counted (the device is not an emulated one)" in report.notes
    assert not any("instructions" in note for note in check_on(make_bundle("onnx"), "x", 8).notes)


@pytest.mark.parametrize(
    ("embedded", "why"), [(True, "prunnet-device install"), (False, "nothing was embedded there")]
)
def test_what_cannot_be_counted_is_said(make_bundle, this_machine, monkeypatch, tmp_path, embedded, why):
    monkeypatch.setenv(HOME, str(tmp_path / "empty"))
    bundle = make_bundle("onnx")
    report, seen = check.examine_on(bundle, "x", 8)
    device = EmulatedDevice(Emulator(tmp_path, "cortex-a53"))
    stated = read_manifest(bundle)
    record = check._with_instructions(report.device, device, tmp_path, stated, seen if embedded else None)
    assert record.instructions is None and why in record.not_counted
    assert any(why in sentence for sentence in record.sentences())


def test_an_emulator_that_fails_is_said(tmp_path):
    with pytest.raises(DeviceError, match="the emulator that counts failed"):
        picture, embedding = np.zeros((8, 8, 3), np.uint8), np.zeros(4, np.float32)
        Counter(tmp_path, Emulator(tmp_path / "nothing", "cortex-a53")).count(
            tmp_path, "onnx", picture, embedding
        )


def test_every_package_of_the_counter_is_pinned():
    packages = read_packages(TABLE)
    assert len({package.file for package in packages}) == len(packages)
    assert all(len(bytes.fromhex(package.sha256)) == 32 and package.bytes > 0 for package in packages)
    assert {package.into for package in packages} == {"counter"}


def test_a_counter_that_does_not_compile_is_not_there(shop, tmp_path):
    folder, packages = shop
    packages = tuple(dataclasses.replace(package, into="counter") for package in packages)
    with pytest.raises(DeviceError, match="the counter of instructions does not compile"):
        install_counter(tmp_path / "home/counter", lambda line: None, packages, Fetcher(folder))
    assert not (tmp_path / "home/counter").exists()


def test_the_emulator_is_installed_without_the_counter_too(tmp_path, monkeypatch, capsys):
    def refuse(*_):
        raise DeviceError("no network")

    monkeypatch.setenv(HOME, str(tmp_path))
    monkeypatch.setattr("runtime_py.devices.install.is_installed", lambda folder: True)
    monkeypatch.setattr(counter_install, "install_counter", refuse)
    monkeypatch.setattr(counter_install, "is_counter_installed", lambda folder: False)
    assert command.main(["install"]) == 0
    said = capsys.readouterr()
    assert f"{tmp_path}/arm64: is installed already" in said.out
    assert "--instructions will count none; all else works (no network)" in said.err
    assert command.main(["list"]) == 0


def test_the_option_needs_an_emulator(tmp_path, capsys):
    assert main([str(tmp_path), "--instructions"]) == 2
    assert "--instructions needs --emulate" in capsys.readouterr().err


@pytest.mark.emulated
def test_counts_repeat_and_show_dot_products(count, built_in):
    bundle = built_in.bundle("tflite", "int8")
    plain, dotprod, again = (
        count(bundle, "cortex-a53"),
        count(bundle, "cortex-a76"),
        count(bundle, "cortex-a76"),
    )
    assert dotprod < 0.6 * plain
    assert again == pytest.approx(dotprod, rel=REPEATABLE)


@pytest.mark.emulated
def test_what_computes_another_embedding_is_not_counted(count, built_in):
    with pytest.raises(
        DeviceError, match=r"computed another embedding than the check \(they differ by 0\.01"
    ):
        count(built_in.bundle("tflite", "int8"), "cortex-a710", wrong=0.01)


@pytest.mark.emulated
@pytest.mark.slow
@pytest.mark.parametrize("target", ["tflite", "onnx", "executorch"])
def test_cpus_that_another_stands_for_are_counted(count, built_in, target):
    bundle = built_in.bundle(target, "int8")
    plain, *newer = (count(bundle, cpu) for cpu in ("cortex-a53", *MODELS))
    assert all(10**6 < number < plain for number in newer)  # dot products, int8 matrices


@pytest.mark.emulated
@pytest.mark.parametrize("target", ["onnx", "executorch"])
def test_a_report_has_the_count(counter, built_in, target):
    report = check_on(built_in.bundle(target, "int8"), "emulate:cortex-a76", 8, instructions=True)
    assert 10**6 < report.device.instructions < 10**7, report.notes
    assert any(f"{report.device.instructions:,}" in note for note in report.notes)


@pytest.fixture(scope="session")
def at_half(tmp_path_factory):
    from tests.runtime_py.devices.built_in import BuiltIn

    return BuiltIn(tmp_path_factory.mktemp("half"), 0.5)


@pytest.mark.emulated
@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "cpu"), [("tflite", "cortex-a72"), ("onnx", "cortex-a53"), ("executorch", "cortex-a76")]
)
def test_a_larger_subnetwork_takes_more(count, built_in, at_half, target, cpu):
    small, large = (bundles.bundle(target, "fp32") for bundles in (built_in, at_half))
    assert count(large, cpu) > 1.3 * count(small, cpu)
