"""`prunnet-export` as a user runs it: exit codes, tables, JSON, logs, fleets."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from exporters.cli.export import main
from exporters.fleet.fleet import worst
from runtime_py.loading import load
from tests.exporters.packages import write_package, write_profile


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_package(tmp_path_factory.mktemp("encoder") / "tiny")


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from exporters.cli.export import main\ntry: main(['-h'])\nfinally: print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "exit codes: 0 ok, 1 bug, 2 usage" in done.stdout
    modules = set(done.stdout.splitlines()[-1].split())
    assert not modules & {"torch", "numpy", "pydantic", "onnx", "tensorflow", "coremltools", "litert_torch"}


def test_another_precision_is_planned_exported_and_recorded(encoder, tmp_path, capfd) -> None:
    profile = write_profile(tmp_path, targets="onnx, coreml", budgets="max_artifact: 2MiB")
    start = ["--profile", str(profile), "--encoder", str(encoder), "--out", str(tmp_path / "build")]
    assert main([*start, "--target", "onnx", "--precision", "fp16"]) == 0
    assert load(next((tmp_path / "build").glob("*/onnx"))).manifest.precision == "fp16"
    assert main([*start, "--precision", "int8", "--dry-run"]) == 2
    assert "precision.coreml: int8 is not offered; leave the target out" in capfd.readouterr().err
    assert main([*start, "--precision", "int4"]) == 2
    assert "unknown precision 'int4'" in capfd.readouterr().err


def test_a_dry_run_prints_the_plan_and_writes_nothing(encoder, tmp_path, capfd) -> None:
    profile = write_profile(
        tmp_path, targets="onnx, executorch", budgets="max_artifact: 200KiB, max_mflops: 50"
    )
    out = tmp_path / "build"
    assert main(["--profile", str(profile), "--encoder", str(encoder), "--out", str(out), "--dry-run"]) == 0
    shown = capfd.readouterr()
    assert "max_artifact (binding)  200.0 KiB" in shown.out
    assert "why not larger: the next larger capacity" in shown.out
    assert shown.out.count("dry run: nothing was exported") == 2
    assert "bench/executorch: plan" in shown.err
    assert not out.exists()


def test_json_is_all_that_stdout_gets(encoder, tmp_path) -> None:
    profile = write_profile(tmp_path)
    command = [
        sys.executable,
        "-m",
        "exporters.cli.export",
        "--profile",
        str(profile),
        "--encoder",
        str(encoder),
    ]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "build"), "--json"], capture_output=True, text=True, check=True
    )
    (record,) = json.loads(done.stdout)
    assert (record["target"], record["capacity"], record["exit_code"]) == ("onnx", 1.0, 0)
    assert record["drift"]["verdict"] == "compatible"
    assert record["measured"]["artifact_bytes"] == Path(record["bundle"], "encoder.onnx").stat().st_size
    assert [line for line in done.stderr.splitlines() if not line.startswith("[")] == []


def test_a_fleet_exports_what_it_can_and_returns_the_worst(encoder, tmp_path, capsys) -> None:
    write_profile(tmp_path, "good", targets="onnx, executorch")
    write_profile(tmp_path, "tight", budgets="max_artifact: 2KiB")
    write_profile(
        tmp_path,
        "fussy",
        compatibility="min_cosine: 1.0, max_recall_drop: 0.0, max_map_drop: 0.0",
        budgets="max_mflops: 1",
    )
    out = tmp_path / "build"
    fleet = ["--profile", f"{tmp_path}/*.yaml", "--encoder", str(encoder), "--out", str(out), "--jobs", "2"]
    code, shown = main(fleet), capsys.readouterr().out
    assert code == 5, shown
    assert "tight/onnx: FAILED (exit 3)" in shown and "max_artifact" in shown
    assert "fussy/onnx: FAILED (exit 5)" in shown
    assert "2 of 4 succeeded; failed: fussy/onnx, tight/onnx" in shown
    for target in ("onnx", "executorch"):
        assert load(out / "good" / target).embed(load(out / "good" / target).probes.images[:2]).shape == (
            2,
            32,
        )
    assert sorted(path.relative_to(out).as_posix() for path in out.glob("*/*")) == [
        "fussy/onnx.log",
        "good/executorch",
        "good/onnx",
    ]
    assert "IncompatibleError" in (out / "fussy" / "onnx.log").read_text()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="children are found in /proc")
def test_a_worker_that_dies_costs_no_other_export(encoder, tmp_path) -> None:
    write_profile(tmp_path, "one")
    write_profile(tmp_path, "two")
    command = [sys.executable, "-m", "exporters.cli.export", "--profile", f"{tmp_path}/*.yaml", "--jobs", "2"]
    command += ["--encoder", str(encoder), "--out", str(tmp_path / "build")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stderr is not None
    next(line for line in process.stderr if "convert" in line)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    workers = [pid for pid in children if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()]
    os.kill(int(workers[0]), signal.SIGKILL)
    shown, said = process.communicate()
    assert process.returncode == 0, shown
    assert "a worker died, start again" in said
    for name in ("one", "two"):
        load(tmp_path / "build" / name / "onnx")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--profile", "nokia3310"], "nokia3310"),
        (["--profile", "no/such/*.yaml"], "no profile matches"),
        (["--profile", "PROFILE", "--target", "onyx"], "unknown target 'onyx'. Did you mean 'onnx'?"),
        (["--profile", "PROFILE", "--encoder", "no/such/folder"], "no/such/folder"),
    ],
)
def test_usage_errors_return_2_and_say_what_is_wrong(arguments, message, tmp_path, capsys) -> None:
    profile = str(write_profile(tmp_path))
    assert main([profile if word == "PROFILE" else word for word in arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("codes", "expected"), [([], 0), ([0, 0], 0), ([0, 3, 2], 3), ([5, 0, 4], 5), ([5, 1], 1)]
)
def test_the_worst_exit_code(codes, expected) -> None:
    assert worst(codes) == expected
