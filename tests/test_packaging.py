"""The extras' ranges take what constraints.txt pins, and agree with each other."""

from __future__ import annotations

import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from benchmarks import extras_size
from benchmarks.page import placed
from exporters.targets.registry import TARGETS

PROJECT = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
TOOLCHAIN = {"litert-torch", "ai-edge-litert", "ai-edge-quantizer", "flatbuffers"}


def pins() -> dict[str, Version]:
    lines = Path("constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = [line.split("==") for line in lines if line and not line.startswith("#")]
    assert len({canonicalize_name(name) for name, _ in pinned}) == len(pinned), "a package is pinned twice"
    return {canonicalize_name(name): Version(version) for name, version in pinned}


def others(extra: str) -> list[Requirement]:
    return [r for r in map(Requirement, EXTRAS[extra]) if r.name != PROJECT["name"]]


@pytest.mark.parametrize("extra", ["", *EXTRAS])
def test_constraints_pin_a_release_that_the_ranges_take(extra: str) -> None:
    pinned = pins()
    for requirement in others(extra) if extra else map(Requirement, PROJECT["dependencies"]):
        version = pinned.get(canonicalize_name(requirement.name))
        assert version is not None, f"constraints.txt does not pin {requirement.name}"
        assert requirement.specifier.contains(version), f"{requirement} does not take {version}"


def test_all_repeats_the_bounds_of_tflite() -> None:
    """Without them pip tries every release of pydantic: it chooses one before it looks into nested extras."""
    bounds = {str(r) for r in others("tflite") if r.name not in TOOLCHAIN}
    assert {str(r) for r in others("all")} == bounds
    assert len(bounds) == 4


def test_all_names_every_extra_that_a_machine_which_exports_needs() -> None:
    (own,) = (r for r in map(Requirement, EXTRAS["all"]) if r.name == PROJECT["name"])
    runtimes = {extra for extra in EXTRAS if extra.startswith("runtime-")}
    assert own.extras == set(EXTRAS) - runtimes - {"all", "dev", "train"}


@pytest.mark.parametrize("host", ["Linux x86_64", "Linux aarch64", "Darwin arm64"])
def test_the_tflite_extra_takes_its_converter_where_it_is_built(host: str) -> None:
    system, machine = host.split()
    environment = {"sys_platform": system.lower(), "platform_machine": machine}
    (converter,) = (r for r in others("tflite") if r.name == "litert-torch")
    assert converter.marker is not None
    assert converter.marker.evaluate(environment) == (host in TARGETS["tflite"].hosts)


def test_an_extra_is_followed_to_everything_it_needs_here_and_nothing_else() -> None:
    core, onnx, train = (extras_size.needed(extra) for extra in ("", "runtime-onnx", "train"))
    assert {"numpy", "pydantic", "pydantic-core", "typing-extensions"} <= set(core) <= set(onnx) & set(train)
    assert {"onnxruntime", "protobuf"} <= set(onnx) and not {"torch", "pillow"} & set(onnx)
    assert {"torch", "timm", "huggingface-hub"} <= set(train) and "pytest" not in train
    assert set(extras_size.needed("tflite")) | set(extras_size.needed("coreml")) <= set(
        extras_size.needed("all")
    )


def test_the_size_of_a_package_is_that_of_its_files(tmp_path: Path) -> None:
    folder = tmp_path / "tiny-1.dist-info"
    folder.mkdir()
    (tmp_path / "tiny.py").write_bytes(b"x" * 1000)
    (folder / "METADATA").write_text("Name: tiny\n")
    (folder / "RECORD").write_text("tiny.py,,\ntiny-1.dist-info/METADATA,,\ngone.py,,7\n")
    assert extras_size.size_of(metadata.Distribution.at(folder)) == 1000 + len("Name: tiny\n")


def test_the_page_has_a_row_for_each_extra() -> None:
    rows = placed(extras_size.PAGE, extras_size.COMMAND).splitlines()
    named = [row.split("|")[1].strip().strip("`") for row in rows if row.startswith("| ") and "MB" not in row]
    assert named == ["none", *(extra for extra in EXTRAS if extra not in extras_size.DEVELOPER)]
