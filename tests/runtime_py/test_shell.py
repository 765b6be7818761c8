"""What all commands share: version, streams, odd names, signals, packages that are missing."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from exporters.targets.registry import TARGETS
from runtime_py.errors import BundleError
from runtime_py.shell import Stopped, note, run_command, show

ROOT = Path(__file__).parents[2]
SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
MODULES = {name: entry.partition(":")[0] for name, entry in SCRIPTS.items()}


def run(name: str, *arguments: str, redirect: str = "", before: str = "") -> subprocess.CompletedProcess[str]:
    """A command as a module, in a shell that may redirect its streams."""
    words = " ".join(f'"${{{number}}}"' for number in range(1, len(arguments) + 1))
    script = f"{before} exec {sys.executable} -m {MODULES[name]} {words} {redirect}"
    return subprocess.run(
        ["bash", "-c", script, "bash", *arguments],
        capture_output=True,
        text=True,
        errors="surrogateescape",
        check=False,
        cwd=ROOT,
    )


@pytest.mark.parametrize("name", MODULES)
def test_every_command_runs_as_a_module_and_says_its_version(name):
    done = run(name, "--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{name} ") and done.stdout.split()[1][0].isdigit()


@pytest.mark.parametrize("unbuffered", ["", "PYTHONUNBUFFERED=1"])
@pytest.mark.parametrize("name", MODULES)
def test_every_command_survives_any_stream(name, unbuffered):
    for arguments, redirect, code in (
        (["--help"], ">/dev/full", 2),
        (["--help"], ">&-", 0),
        (["--help"], "2>&-", 0),
        (["--nonsense"], "2>&-", 2),
        (["--nonsense"], "2>/dev/full", 2),
    ):
        done = run(name, *arguments, redirect=redirect, before=f"unset PYTHONUNBUFFERED; {unbuffered}")
        assert (redirect, done.returncode) == (redirect, code)
        assert "Traceback" not in done.stderr and "Exception" not in done.stderr
        assert ("could not be written (No space left" in done.stderr) == (redirect == ">/dev/full")


@pytest.mark.parametrize("target", ["onnx", "tflite"])
@pytest.mark.parametrize(
    ("redirect", "code", "said"),
    [
        (">/dev/full", 2, "output could not be written"),
        (">&-", 0, ""),
        ("2>&-", 0, ""),
        ("<&- >&- 2>&-", 0, ""),
        ("2>/dev/full", 0, ""),
    ],
)
def test_a_check_has_its_own_exit_code_on_any_stream(make_bundle, target, redirect, code, said):
    done = run("prunnet-check", str(make_bundle(target)), redirect=redirect)
    assert done.returncode == code
    assert said in done.stderr and "Traceback" not in done.stderr


def test_a_verdict_weighs_more_than_output_that_is_lost(make_bundle, probes):
    from tests.runtime_py import tiny

    others = replace(probes, subnetwork=tiny.embed(tiny.tiny_encoder(1), probes.images))
    bundle = make_bundle("onnx", own_probes=others)
    assert run("prunnet-check", str(bundle), redirect=">/dev/full").returncode == 5


@pytest.mark.parametrize("target", ["onnx", "tflite", "executorch"])
def test_a_name_that_is_no_utf_8_is_a_name(make_bundle, tmp_path, target):
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/latin_\xfc")
    shutil.copytree(make_bundle(target), odd)
    junit = os.fsdecode(os.fsencode(tmp_path) + b"/drift_\xfc.xml")
    done = run("prunnet-check", odd, "--junit", junit)
    assert done.returncode == 0, done.stdout
    assert r"/latin_\xfc " in done.stdout
    (suite,) = ElementTree.parse(junit).getroot()
    assert suite.get("name") == rf"{tmp_path}/latin_\xfc"  # as on the terminal
    (outcome,) = json.loads(run("prunnet-check", odd, "--json").stdout)
    assert outcome["bundle"] == odd


def test_a_model_whose_own_name_is_odd_opens(artifact, tmp_path):
    from runtime_py.backends.onnx import open_session

    odd = os.fsdecode(os.fsencode(tmp_path) + b"/mod\xe8le.onnx")
    shutil.copyfile(artifact("onnx"), odd)
    assert open_session(Path(odd)).get_inputs()[0].name == "image"


def test_a_terminal_that_knows_ascii_only_is_written_to(make_bundle, tmp_path):
    bundle = make_bundle("onnx").rename(tmp_path / "bündel")
    done = run("prunnet-check", str(bundle), before="PYTHONIOENCODING=ascii")
    assert done.returncode == 0 and r"/b\xfcndel " in done.stdout


@pytest.mark.parametrize(
    ("name", "arguments", "package", "extra"),
    [
        ("prunnet-export", ["--profile", "pixel8"], "torch", ",".join(TARGETS)),
        ("prunnet-export", ["--profile", "pixel8", "--target", "onnx"], "ruamel", "onnx"),
        ("prunnet-export", ["--profile", "pixel8", "--target", "tflite"], "timm", "tflite"),
        ("prunnet-train", ["--recipe", "glyphs", "--out", "OUT"], "ruamel", "train"),
        ("prunnet-train", ["--recipe", "glyphs", "--out", "OUT"], "torch", "train"),
        ("prunnet-eval", ["glyphs"], "safetensors", "train"),
        ("prunnet-eval", ["glyphs"], "torch", "train"),
    ],
)
def test_a_missing_package_names_the_extra(name, arguments, package, extra, tmp_path):
    script = (
        "import sys; from importlib import import_module\n"
        f"class Absent:\n  def find_spec(self, name, path=None, target=None):\n"
        f"    if name.partition('.')[0] == {package!r}: raise ModuleNotFoundError(f'No module {{name}}', name=name)\n"
        f"sys.meta_path.insert(0, Absent())\n"
        f"sys.exit(import_module({MODULES[name]!r}).main(sys.argv[1:]))"
    )
    words = [str(tmp_path) if word == "OUT" else word for word in arguments]
    done = subprocess.run(
        [sys.executable, "-c", script, *words], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 2, done.stderr
    assert f"pip install 'prunnet[{extra}]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_ends_a_command_and_leaves_nothing(number, code, tmp_path):
    script = (
        "import argparse, sys, time\nfrom pathlib import Path\n"
        "from runtime_py.disk.scratch import scratch_path, workspace\nfrom runtime_py.shell import run_command\n"
        "def body(options):\n"
        "    with workspace() as folder, scratch_path(Path.cwd(), 'out') as out:\n"
        "        (folder / 'file').touch(); out.mkdir(); print('ready', flush=True)\n"
        "        time.sleep(60)\n"
        "sys.exit(run_command(argparse.ArgumentParser('prunnet-x'), body, [], stopped='go on'))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)},
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # `nohup pytest` lets all ignore a hang-up
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.send_signal(number)
    _, said = process.communicate(timeout=20)
    assert process.returncode == code, said
    assert "go on" in said and "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (BundleError("f", "is bad"), 2, "prunnet-x: f: is bad"),
        (PermissionError(13, "Permission denied", "place"), 2, "prunnet-x: place: Permission denied"),
        (MemoryError(), 2, "too little memory"),
        (
            RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
            2,
            "too little memory (CUDA out of memory",
        ),
        (KeyboardInterrupt(), 130, "interrupted"),
        (Stopped(signal.SIGTERM), 143, "terminated"),
    ],
)
def test_what_happens_to_a_command_becomes_its_code(error, code, said, capsys):
    def body(options: argparse.Namespace) -> int:
        raise error

    assert run_command(argparse.ArgumentParser("prunnet-x"), body, []) == code
    assert said in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler


def test_torchs_own_way_to_say_that_there_is_no_memory(capsys):
    def body(options: argparse.Namespace) -> int:
        import torch

        return len(torch.empty(2**50, dtype=torch.uint8))

    assert run_command(argparse.ArgumentParser("prunnet-x"), body, []) == 2
    assert "this machine has too little memory" in capsys.readouterr().err


@pytest.mark.parametrize("error", [KeyError("no such key"), RuntimeError("shapes differ")])
def test_a_bug_stays_a_bug(error):
    def body(options: argparse.Namespace) -> int:
        show("so far")
        note("so good")
        raise error

    with pytest.raises(type(error)):
        run_command(argparse.ArgumentParser("prunnet-x"), body, [])
