"""An export that is stopped, killed, or on a system without shared memory."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import time
from multiprocessing import synchronize
from pathlib import Path

import pytest

from exporters.cli.export import main
from runtime_py.disk.scratch import is_unfinished
from runtime_py.errors import BundleError
from runtime_py.loading import load
from tests.exporters.packages import write_package, write_profile

ROOT = Path(__file__).parents[3]
linux = pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_package(tmp_path_factory.mktemp("encoder") / "tiny")


def start(encoder: Path, folder: Path, jobs: int) -> subprocess.Popen[str]:
    """An export of two bundles into `folder/build`, whose temporary files go to `folder/tmp`."""
    for name in ("one", "two"):
        write_profile(folder, name)
    (folder / "tmp").mkdir(exist_ok=True)
    command = [
        sys.executable,
        "-m",
        "exporters.cli.export",
        "--profile",
        f"{folder}/*.yaml",
        "--jobs",
        str(jobs),
    ]
    return subprocess.Popen(
        [*command, "--encoder", str(encoder), "--out", str(folder / "build")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(folder / "tmp")},
    )


def alive(folder: Path) -> list[str]:
    """Commands of the processes that live on temporary files of ours."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"TMPDIR={folder}/tmp".encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


def gone(folder: Path, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while alive(folder) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not alive(folder)


@linux
@pytest.mark.parametrize(
    ("jobs", "number", "code"),
    [
        (2, signal.SIGTERM, 143),
        pytest.param(2, signal.SIGINT, 130, marks=pytest.mark.slow),
        pytest.param(1, signal.SIGTERM, 143, marks=pytest.mark.slow),
    ],
)
def test_a_stopped_export_leaves_nothing_and_nobody(encoder, tmp_path, jobs, number, code) -> None:
    process = start(encoder, tmp_path, jobs)
    assert process.stderr is not None
    next(line for line in process.stderr if "convert" in line)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == code, said
    assert "Traceback" not in said
    assert gone(tmp_path, 1), alive(tmp_path)
    assert list((tmp_path / "tmp").iterdir()) == []
    assert [path for path in (tmp_path / "build").rglob("*") if is_unfinished(path.name)] == []


@linux
@pytest.mark.campaign
def test_kills_at_25_moments_leave_the_old_bundle_or_the_new(encoder, tmp_path) -> None:
    """Whatever stands at a bundle's place loads; the next export removes what the killed one left."""
    whole = start(encoder, tmp_path, 2)
    began = time.monotonic()
    _, said = whole.communicate()
    assert whole.returncode == 0, said
    lasted = time.monotonic() - began
    moments = random.Random(18)
    bundles = [tmp_path / "build" / name / "onnx" for name in ("one", "two")]
    created = {load(bundle).manifest.seal for bundle in bundles}
    for _ in range(25):
        process = start(encoder, tmp_path, moments.choice((1, 2)))
        time.sleep(moments.uniform(0.1, 1.0) * lasted)
        process.kill()
        process.communicate()
        for bundle in bundles:
            created.add(load(bundle).manifest.seal)
        for path in (tmp_path / "build").glob("*/.*"):
            with pytest.raises(BundleError):
                load(path)
        assert gone(tmp_path, 20), alive(tmp_path)
    last = start(encoder, tmp_path, 2)
    _, said = last.communicate()
    assert last.returncode == 0, said
    assert list((tmp_path / "tmp").iterdir()) == []
    assert sorted(path.name for path in (tmp_path / "build").glob("*/*")) == ["onnx", "onnx"]
    assert len(created) > 2, "no kill came late enough to let a bundle through"


def test_without_shared_memory_one_process_does_all_and_says_so(
    encoder, tmp_path, monkeypatch, capfd
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(synchronize._multiprocessing, "SemLock", refuse)
    for name in ("one", "two"):
        write_profile(tmp_path, name)
    given = ["--profile", f"{tmp_path}/*.yaml", "--encoder", str(encoder), "--out", str(tmp_path / "build")]
    assert main([*given, "--jobs", "2"]) == 0
    assert "no parallel processes on this system ([Errno 30] Read-only" in capfd.readouterr().err
    for name in ("one", "two"):
        load(tmp_path / "build" / name / "onnx")
