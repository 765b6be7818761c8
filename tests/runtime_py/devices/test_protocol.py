"""A folder is pushed, one JSON comes back: on this machine, which needs no emulator."""

import json
import platform
from xml.etree import ElementTree

import numpy as np
import pytest

from runtime_py import load
from runtime_py.bundle.manifest import BudgetCheck
from runtime_py.bundle.write import manifest_text
from runtime_py.cli.check import main
from runtime_py.devices import check, guest
from runtime_py.devices.check import check_on
from runtime_py.devices.emulator import CPUS, Emulator, cpu_of_profile, guest_environment
from runtime_py.devices.processor import processor
from runtime_py.errors import BundleError, CrashError, DeviceError, InferenceError, UnknownNameError
from runtime_py.loading import read_manifest
from runtime_py.messages import from_message

A76 = """processor\t: 0
model name\t: ARMv8 Processor rev 1 (v8l)
Features\t: fp asimd fphp asimdhp asimddp
CPU implementer\t: 0x41
CPU part\t: 0xd0b

processor\t: 1
CPU part\t: 0xd03
"""


def test_the_verdict_and_figures_are_the_hosts(make_bundle, this_machine):
    bundle = make_bundle("onnx")
    report, here = check_on(bundle, "x", None), load(bundle).check()
    assert (report.verdict, report.figures) == (here.verdict, here.figures)
    assert report.device.host_difference == 0.0
    assert report.device.probes == report.device.of_probes == len(load(bundle).probes)
    assert report.device.runtimes["numpy"] == np.__version__
    assert report.device.memory_bytes > 0


@pytest.mark.parametrize(("found", "said"), [([0, 4_000_000], 4_000_000), ([0, 0, 0], None)])
def test_less_than_the_artifact_is_no_measurement(make_bundle, this_machine, monkeypatch, found, said):
    """An emulator may give back more than the artifact takes; then 0 bytes would meet any budget."""
    left = iter(found)
    monkeypatch.setattr(guest, "_measured", lambda manifest, artifact: next(left))
    bundle = make_bundle("onnx")
    assert guest.answer_to(bundle, 8)["memory_bytes"] == said
    assert not list(left)


def test_a_share_is_said(make_bundle, this_machine):
    report = check_on(make_bundle("onnx"), "x", 8)
    assert report.figures.probes == report.device.probes == 8
    assert any("8 of" in note for note in report.notes)


def test_a_bundle_over_its_memory_fails(make_bundle, this_machine):
    budget = BudgetCheck(budget="max_peak_memory", unit="bytes", limit=1024, predicted=512)
    report = check_on(make_bundle("onnx", budgets=(budget,)), "x", None)
    assert report.verdict == "incompatible"
    assert [gate.name for gate in report.gates if not gate.passed] == ["budget.max_peak_memory"]
    assert "budget.max_peak_memory" in report.reasons[0]


def test_a_bundle_within_its_memory_passes(make_bundle, this_machine):
    budget = BudgetCheck(budget="max_peak_memory", unit="bytes", limit=2**30, predicted=512)
    report = check_on(make_bundle("onnx", budgets=(budget,)), "x", None)
    assert report.verdict == "compatible"
    assert report.gates[-1].name == "budget.max_peak_memory"


def test_a_runtime_that_fails_there_on_the_originals_verifies_nothing(make_bundle, this_machine, monkeypatch):
    def fails(*given):
        raise InferenceError("a runtime", RuntimeError("out of memory"))

    monkeypatch.setattr(guest, "with_preprocessing", fails)
    answer = guest.answer_to(make_bundle("onnx"), None)
    report = from_message(answer["message"])
    assert report.verdict == "not verified" and "out of memory" in report.reasons[0]
    assert "embeddings" not in answer


def test_errors_come_back_with_their_class(make_bundle, this_machine):
    bundle = make_bundle("onnx")
    with (bundle / "encoder.onnx").open("ab") as file:
        file.write(b"x")
    with pytest.raises(BundleError, match="its sha256 differs") as raised:
        check_on(bundle, "x", None)
    assert str(raised.value).startswith(f"{bundle}/encoder.onnx: ")


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"message": {"report": 1}}', '{"message": 1}'])
def test_an_answer_that_cannot_be_read_is_a_crash(make_bundle, this_machine, monkeypatch, text):
    monkeypatch.setattr(type(this_machine), "run", lambda self, job: text)
    with pytest.raises(CrashError, match="cannot be read"):
        check_on(make_bundle("onnx"), "x", None)


@pytest.mark.parametrize("field", ["rows", "embeddings", "cpu"])
def test_an_answer_without_a_part_of_it_is_a_crash(make_bundle, this_machine, monkeypatch, field):
    run = type(this_machine).run

    def damaged(self, job):
        answer = json.loads(run(self, job))
        answer[field] = "?" if field == "embeddings" else None
        return json.dumps({key: value for key, value in answer.items() if value is not None})

    monkeypatch.setattr(type(this_machine), "run", damaged)
    with pytest.raises(CrashError, match="cannot be read"):
        check_on(make_bundle("onnx"), "x", None)


def test_without_the_emulator_nothing_is_verified(make_bundle, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")  # an Arm machine emulates nothing
    monkeypatch.setenv("PRUNNET_DEVICE_HOME", str(tmp_path / "empty"))
    report = tmp_path / "junit.xml"
    command = [str(make_bundle("onnx")), "--emulate", "cortex-a53", "--junit", str(report)]
    assert main(command) == 5
    assert "not verified" in (out := capsys.readouterr().out)
    assert "prunnet-device install" in out
    assert ElementTree.parse(report).getroot()[0].get("skipped") == "1"
    monkeypatch.setenv(check.REQUIRE, "1")
    assert main(command) == 5
    assert "PRUNNET_REQUIRE_DEVICE=1" in capsys.readouterr().out
    assert ElementTree.parse(report).getroot().get("errors") == "1"


def test_core_ml_is_not_emulated(make_bundle, this_machine):
    bundle = make_bundle("onnx")
    manifest = read_manifest(bundle).model_copy(update={"target": "coreml"}).sealed()
    (bundle / "manifest.json").write_text(manifest_text(manifest))
    with pytest.raises(DeviceError, match="Apple"):
        check_on(bundle, "x", None)


@pytest.mark.parametrize(
    ("words", "problem"),
    [(["--probes", "8"], "needs --emulate"), (["--emulate", "--server", "x"], "leave it out with --emulate")],
)
def test_options_that_do_not_go_together(tmp_path, capsys, words, problem):
    assert main([str(tmp_path), *words]) == 2
    assert problem in capsys.readouterr().err


def test_a_bundle_that_stands_where_the_cpu_belongs_is_explained(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["--emulate", str(tmp_path)])
    assert "required: BUNDLE (before --emulate" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([])
    assert "--emulate," not in capsys.readouterr().err


@pytest.mark.parametrize("arm", [False, True])
def test_a_mistyped_cpu_is_a_mistake_in_the_command_and_no_missing_device(monkeypatch, arm):
    from runtime_py.devices import attached

    monkeypatch.setattr(attached, "_is_arm_linux", lambda: arm)
    with pytest.raises(UnknownNameError, match="Did you mean 'cortex-a76'") as raised:
        attached.open_device("emulate:cortex-a67", "pixel8")
    assert "raspberry_pi5" in str(raised.value)


def test_one_probe_is_no_share(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main([str(tmp_path), "--emulate", "--probes", "1"])
    assert "at least 2 probes" in capsys.readouterr().err


def test_a_cpu_of_a_profile():
    assert cpu_of_profile("raspberry_pi5")[0] == "cortex-a76"
    assert cpu_of_profile("low_end_android")[0] == "cortex-a53"
    with pytest.raises(DeviceError, match="no CPU is known for profile 'my_board'"):
        cpu_of_profile("my_board")


def test_profiles_with_a_cpu_are_shipped():
    from importlib.resources import files

    folder = files("device_profiles")
    for name, row in json.loads((folder / "cores.json").read_text()).items():
        assert (folder / f"{name}.yaml").is_file()
        assert row["cpu"] in CPUS


def test_the_guest_sees_nothing_of_this_python():
    given = {"PYTHONPATH": "x", "LD_PRELOAD": "x", "QEMU_CPU": "x", "HOME": "/root"}
    assert guest_environment(given) == {"HOME": "/root"}


@pytest.mark.parametrize("path", ["a,b", "a:b"])
def test_a_path_that_the_emulator_would_take_for_two_is_refused(tmp_path, path):
    for code, folder in ((tmp_path / path, tmp_path), (tmp_path, tmp_path / path)):
        with pytest.raises(DeviceError, match=rf"no path with a comma or a colon, and this is .*/{path}"):
            Emulator(folder, "cortex-a53").python(code)


def test_a_processor_is_named_by_its_part():
    assert processor(A76) == ("Cortex-A76", ("neon", "fp16", "dotprod"))
    assert processor(A76.replace("0xd0b", "0xfff"))[0] == "ARMv8 Processor rev 1 (v8l)"
    assert processor("")[0] == "part unknown"


def test_no_such_device():
    from runtime_py.devices.attached import open_device

    with pytest.raises(UnknownNameError):
        open_device("telepathy://x", "pixel8")


def test_a_page_shows_the_devices_neighbours(make_bundle, this_machine):
    from runtime_py.cli.outcome import check_bundle

    shown = check_bundle(make_bundle("onnx"), device="x", probes=20, exhibits=True).exhibits
    assert shown.worst and shown.searches and shown.pictures
    assert max(probe.index for probe in shown.worst) < 20


def test_on_an_arm_machine_nothing_is_emulated(make_bundle, monkeypatch, tmp_path):
    """The way of the code on such a machine, taken on this one; no Arm machine was there."""
    from runtime_py.devices import attached

    monkeypatch.setattr(attached.platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(attached.platform, "system", lambda: "Linux")
    monkeypatch.setenv("PRUNNET_DEVICE_HOME", str(tmp_path / "empty"))
    report = check_on(make_bundle("onnx"), "emulate:cortex-a53", None)
    assert report.verdict == "compatible"
    assert report.device.name == "this Arm machine, not emulated (cortex-a53 was asked for)"
    assert report.device.host_difference == 0.0
