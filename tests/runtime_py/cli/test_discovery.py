"""Which folders count as bundles: whatever looks like one, or cannot be looked at."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from runtime_py.cli.check import main
from runtime_py.cli.discovery import find_bundles
from runtime_py.disk.scratch import UNFINISHED, host
from runtime_py.errors import BundleError


def make(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def found(*paths: Path, **options) -> list[str]:
    """What is found, relative to the first path: a bundle as its path, an error with its first words."""
    top = paths[0]
    return [
        f"{os.path.relpath(entry.file, top)}: {' '.join(entry.problem.split()[:3])}"
        if isinstance(entry, BundleError)
        else os.path.relpath(entry, top)
        for entry in find_bundles(paths, **options)
    ]


def test_each_kind_of_thing_below_a_folder(tmp_path):
    top = tmp_path / "top"
    make(top / "good", "manifest.json", "encoder.onnx", "probes.npz")
    make(top / "good" / "inner", "manifest.json")  # a bundle holds no bundles
    make(top / "torn", "encoder.tflite", "probes.npz")
    make(top / "artifact-alone", "model.pte")
    make(top / "probes-alone", "probes.npz")
    make(top / "apple" / "encoder.mlpackage" / "Data", "x.onnx")
    make(top / "encoder", "encoder.json", "probes.npz", "model.safetensors")
    make(top / "notes", "readme.txt")
    make(
        top / "boards" / "old.tflite" / "pi", "manifest.json"
    )  # a folder is no TFLite file, whatever its name
    make(tmp_path / "store" / "bad", "manifest.json")
    (top / "link").symlink_to(tmp_path / "store")
    (top / "loop").symlink_to(top)
    (top / "self").symlink_to("self")
    (top / "gone").symlink_to("/no/such/place")
    (top / "again").symlink_to(top / "good")
    make(top / f".x{UNFINISHED}{host()}-{os.getppid()}-aa", "probes.npz")  # being written right now
    make(top / f".y{UNFINISHED}elsewhere-1-aa", "probes.npz")
    (top / f".drift.xml{UNFINISHED}elsewhere-1-aa").touch()
    assert found(top) == [
        f".y{UNFINISHED}elsewhere-1-aa: is an export",
        "gone: is a link",
        "self: cannot be looked",
        "again",
        "apple: has no manifest.json",
        "artifact-alone: has no manifest.json",
        "boards/old.tflite/pi",
        "link/bad",
        "probes-alone: has no manifest.json",
        "torn: has no manifest.json",
    ]


def test_bundles_are_found_once_and_given_paths_without_one_are_errors(tmp_path):
    make(tmp_path / "a" / "b", "manifest.json")
    make(tmp_path / "empty")
    make(tmp_path, "file")
    assert found(tmp_path / "a", tmp_path / "a" / "b", tmp_path / "a") == ["b"]
    assert found(tmp_path / "a", tmp_path / "empty", tmp_path / "file", tmp_path / "absent") == [
        "b",
        "../empty: holds no bundle",
        "../file: is not a",
        "../absent: does not exist",
    ]


def test_the_servers_model_is_no_bundle(tmp_path):
    make(tmp_path / "b", "manifest.json")
    make(tmp_path, "dense.onnx")
    assert found(tmp_path) == [".: has no manifest.json", "b"]
    assert found(tmp_path, apart=tmp_path / "dense.onnx") == ["b"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything; the next test drops that right")
def test_what_cannot_be_read_counts(tmp_path):
    make(tmp_path / "closed", "manifest.json").chmod(0)
    assert found(tmp_path) == ["closed: cannot be looked"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a right up")
def test_what_cannot_be_read_counts_for_root_without_its_rights(tmp_path):
    make(tmp_path / "good", "manifest.json")
    make(tmp_path / "closed", "manifest.json").chmod(0)
    code = (
        "import sys; from runtime_py.cli.discovery import find_bundles; "
        "print(*find_bundles(sys.argv[1:]), sep='\\n')"
    )
    done = subprocess.run(
        ["setpriv", "--bounding-set=-dac_override,-dac_read_search", sys.executable, "-c", code, tmp_path],
        capture_output=True,
        text=True,
        check=True,
    )
    closed, good = done.stdout.splitlines()
    assert "closed: cannot be looked at (Permission denied)" in closed and good.endswith("good")


def test_deep_trees_end(tmp_path):
    deep = tmp_path / "/".join(["d"] * 900)
    make(deep, "manifest.json")
    assert len(find_bundles([tmp_path])) == 1


def test_the_number_that_is_expected(make_bundle, tmp_path, capsys):
    make_bundle("onnx", out="fleet/a")
    capsys.readouterr()
    assert main([str(tmp_path / "fleet"), "--expect", "1"]) == 0
    assert main([str(tmp_path / "fleet"), "--expect", "2", "--json", "--junit", str(tmp_path / "r.xml")]) == 2
    printed = capsys.readouterr().out
    outcomes = json.loads(printed[printed.index("\n[\n") :])
    assert [outcome["verdict"] for outcome in outcomes] == ["compatible", "error"]
    assert "1 bundles were found, 2 are expected" in outcomes[1]["reasons"][0]
    assert 'errors="1"' in (tmp_path / "r.xml").read_text()
