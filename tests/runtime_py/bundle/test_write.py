from __future__ import annotations

import itertools
import os
import resource
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from runtime_py import BundleError, load
from runtime_py.bundle.probes import Probes
from runtime_py.bundle.write import expect_place, write_bundle
from runtime_py.disk import folders, scratch
from runtime_py.disk.scratch import UNFINISHED
from runtime_py.loading import read_manifest
from tests.runtime_py import bundles

REPOSITORY = Path(__file__).parents[3]

CRASH_EVERYWHERE = """
import os, signal, sys
from pathlib import Path
from runtime_py.bundle.write import write_bundle
from runtime_py.bundle.manifest import Manifest
from runtime_py.bundle.probes import Probes
from runtime_py import BundleError, load
from runtime_py.disk.scratch import UNFINISHED

artifact, folder, stored, draft = map(Path, sys.argv[1:])
out = folder / "bundle"
probes, draft = Probes.load(stored), Manifest.model_validate_json(draft.read_text())
write_bundle(draft.model_copy(update={"profile": "0"}), artifact, probes, out)
load(out)
finished, crashes, unfinished = False, 0, 0
while not finished:
    crashes += 1
    child = os.fork()
    if child == 0:
        left = crashes
        def crash(event, arguments):
            global left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(crash)
        write_bundle(draft.model_copy(update={"profile": str(crashes)}), artifact, probes, out)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    finished = os.WIFEXITED(status)
    print(crashes, load(out).manifest.profile)
    for path in folder.iterdir():
        if UNFINISHED in path.name:
            unfinished += 1
            try:
                load(path)
            except BundleError:
                pass
            else:
                sys.exit(f"{path} loads")
print("unfinished", unfinished, "left", [p.name for p in folder.iterdir() if UNFINISHED in p.name])
"""
"""Kills a writer at its first, second, ... audited operation (open, rename, ...) until one gets through."""


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if UNFINISHED in path.name]


def test_a_bundle_replaces_an_older_one_and_leaves_nothing_else(make_bundle, tmp_path):
    make_bundle("onnx", profile="first")
    bundle = make_bundle("onnx", profile="second")
    assert load(bundle).manifest.profile == "second"
    assert leftovers(tmp_path) == []


def test_a_folder_artifact_is_copied_and_every_file_listed(probes, tmp_path):
    package = tmp_path / "encoder.mlpackage"
    (package / "Data" / "weights").mkdir(parents=True)
    (package / "Manifest.json").write_text("{}")
    (package / "Data" / "weights" / "weight.bin").write_bytes(b"w" * 100)
    draft = bundles.manifest("onnx", probes, artifact="encoder.mlpackage")

    bundle = write_bundle(draft, package, probes, tmp_path / "bundle")

    assert set(read_manifest(bundle).files) == {
        "encoder.mlpackage/Manifest.json",
        "encoder.mlpackage/Data/weights/weight.bin",
        "probes.npz",
    }
    (bundle / "encoder.mlpackage/Data/weights/weight.bin").write_bytes(b"v" * 100)
    with pytest.raises(BundleError, match=r"weight\.bin"):
        load(bundle)


def test_a_folder_that_is_no_bundle_is_never_replaced(make_bundle, tmp_path):
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "thesis.txt").write_text("precious")
    with pytest.raises(BundleError, match="not replaced"):
        make_bundle("onnx")
    assert (tmp_path / "bundle" / "thesis.txt").read_text() == "precious"


@pytest.mark.parametrize("changes", [{"artifact": "../evil.onnx"}, {"probes": "manifest.json"}])
def test_a_name_outside_the_bundle_is_not_written(make_bundle, tmp_path, changes):
    with pytest.raises(BundleError, match="not a name"):
        make_bundle("onnx", **changes)
    assert list(tmp_path.iterdir()) == []


def test_an_unfinished_folder_never_loads(make_bundle, tmp_path):
    bundle = make_bundle("onnx")
    unfinished = bundle.rename(tmp_path / f".bundle{UNFINISHED}host-1-aa")
    with pytest.raises(BundleError, match="not finished"):
        load(unfinished)


def test_leftovers_of_dead_processes_go_and_those_of_live_ones_stay(make_bundle, tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    names = {pid: f".bundle{UNFINISHED}{scratch.host()}-{pid}-aa" for pid in (dead.pid, os.getppid())}
    other_bundle = f".other{UNFINISHED}{scratch.host()}-{dead.pid}-aa"
    for name in (*names.values(), other_bundle):
        (tmp_path / name).mkdir()
    make_bundle("onnx")
    assert sorted(leftovers(tmp_path)) == sorted([names[os.getppid()], other_bundle])


def test_the_fallback_without_an_atomic_exchange_replaces_too(make_bundle, monkeypatch, tmp_path):
    make_bundle("onnx", profile="first")
    monkeypatch.setattr(folders, "_exchange", lambda one, other: False)
    assert load(make_bundle("onnx", profile="second")).manifest.profile == "second"
    assert leftovers(tmp_path) == []


def test_a_replacement_that_fails_half_way_leaves_the_old_folder(monkeypatch, tmp_path):
    """Without an atomic exchange: the second of the two renames is refused."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "old").touch()
    rename = Path.rename

    def refuse(self, target):
        if self.name.startswith(".out") and not self.name.endswith("-old"):
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(folders, "_exchange", lambda one, other: False)
    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OSError, match="Input/output"), folders.replaced_folder(out) as scratch:
        (scratch / "new").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "old"]


def test_only_our_own_folders_are_replaceable(tmp_path):
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "encoder.json").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "absent")
    verdicts = {
        name: folders.is_replaceable(tmp_path / name, "encoder.json")
        for name in ("ours", "empty", "absent", "file", "link", ".")
    }
    assert verdicts == {
        "ours": True, "empty": True, "absent": True, "file": False, "link": False, ".": False
    }  # fmt: skip


def test_a_full_disk_is_a_clear_error_and_leaves_the_old_bundle(make_bundle, probes, tmp_path):
    """The kernel itself refuses: a limit on the size of files stands in for the disk's end."""
    bundle = make_bundle("onnx", profile="old")
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, probes.images.shape, np.uint8)  # does not compress
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(BundleError, match="make room"):
            make_bundle("onnx", own_probes=replace(probes, images=noise))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, previous)
    assert leftovers(tmp_path) == []
    assert load(bundle).manifest.profile == "old"


def test_a_folder_without_permission_is_a_clear_error(probes, artifact):
    draft = bundles.manifest("onnx", probes)
    with pytest.raises(BundleError, match=r"cannot be written .*choose a folder that you may write to"):
        write_bundle(draft, artifact("onnx"), probes, Path("/proc/bundle"))


def test_what_forbids_a_bundle_is_known_before_the_work(make_bundle, tmp_path):
    bundle = make_bundle("onnx")
    (tmp_path / "file").touch()
    before = sorted(tmp_path.rglob("*"))
    for free in (bundle, tmp_path / "a" / "b" / "c"):
        expect_place(free)
    for taken, said in (
        (tmp_path, "is not replaced"),
        (Path("/proc/b/c"), "cannot be written"),
        (tmp_path / "file" / "b", "cannot be written"),
    ):
        with pytest.raises(BundleError, match=said):
            expect_place(taken)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_end_in_between_leaves_no_empty_folders(probes, artifact, monkeypatch, tmp_path):
    monkeypatch.setattr(Probes, "save", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    (tmp_path / "mine").mkdir()
    with pytest.raises(KeyboardInterrupt):
        write_bundle(
            bundles.manifest("onnx", probes), artifact("onnx"), probes, tmp_path / "mine" / "new" / "onnx"
        )
    assert list((tmp_path / "mine").iterdir()) == []


def test_kill_9_at_any_operation_leaves_the_old_bundle_or_the_new(artifact, probes, tmp_path):
    (tmp_path / "manifest").write_text(bundles.manifest("onnx", probes).model_dump_json())
    probes.save(tmp_path / "stored.npz")
    (tmp_path / "folder").mkdir()
    command = [sys.executable, "-c", CRASH_EVERYWHERE, str(artifact("onnx")), str(tmp_path / "folder")]
    command += [str(tmp_path / "stored.npz"), str(tmp_path / "manifest")]

    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    *crashes, summary = [line.split() for line in done.stdout.splitlines()]
    assert len(crashes) > 20
    profiles = [0, *(int(profile) for _, profile in crashes)]
    for crash, (before, after) in enumerate(itertools.pairwise(profiles), start=1):
        assert after in (before, crash)
    assert 0 < profiles[-2] < len(crashes)  # some died after the exchange, and one before
    assert int(summary[1]) > 10
    assert summary[3:] == ["[]"]
