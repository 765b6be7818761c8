"""A latency fit is written once and named by the profiles that use it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from prunnet.errors import ProfileError
from prunnet.profile import LatencyModel, load_profile, shipped_profiles

SHIPPED = Path("device_profiles")
PROFILE = """schema_version: 1
name: mine
targets: [tflite, onnx]
hardware: {{soc: a board, threads: 1, ram: 1GiB, isa: []}}
budgets: {{max_latency_ms: 5}}
sources: {{soc: here, threads: here, ram: here, isa: here}}
latency:
  tflite: {{fp32: {name}}}
  onnx:
    fp32: {{fit: {name}, runs_on: another runtime, calibrated: false}}
"""


def written(folder: Path, name: str = "cortex_a76_fp32") -> Path:
    path = folder / "mine.yaml"
    path.write_text(PROFILE.format(name=name))
    return path


def fit(path: Path, target: str = "tflite") -> LatencyModel:
    found = load_profile(path).latency_of(target, "fp32")
    assert found is not None
    return found


def test_a_shipped_fit_by_its_name_and_with_fields_stated_anew(tmp_path: Path) -> None:
    path = written(tmp_path)
    whole, changed = fit(path), fit(path, "onnx")
    shipped = load_profile("raspberry_pi5").latency_of("executorch", "fp32")
    assert shipped is not None and shipped.calibrated
    assert whole == shipped.model_copy(update={"calibrated": False}), "this board was not measured"
    assert changed == whole.model_copy(update={"runs_on": "another runtime"})


def test_a_profile_may_say_that_its_device_was_measured(tmp_path: Path) -> None:
    path = written(tmp_path)
    path.write_text(path.read_text().replace("calibrated: false", "calibrated: true"))
    assert fit(path, "onnx").calibrated and not fit(path).calibrated


def test_a_fit_beside_the_profile_comes_first(tmp_path: Path) -> None:
    (tmp_path / "latency").mkdir()
    own = (SHIPPED / "latency" / "cortex_a76_fp32.yaml").read_text().replace("t0_ms: 0.2282", "t0_ms: 3.5")
    (tmp_path / "latency" / "cortex_a76_fp32.yaml").write_text(own)
    assert fit(written(tmp_path)).t0_ms == 3.5


@pytest.mark.parametrize("name", ["cortex_a75", "../pixel8", "7", "''", "x" * 20_000])
def test_no_such_fit(tmp_path: Path, name: str) -> None:
    with pytest.raises(ProfileError) as raised:
        load_profile(written(tmp_path, name))
    assert raised.value.line in {8, 10}
    assert str(raised.value.field).startswith("latency.")


def test_a_damaged_fit_is_named_itself(tmp_path: Path) -> None:
    shutil.copytree(SHIPPED / "latency", tmp_path / "latency")
    file = tmp_path / "latency" / "cortex_a76_fp32.yaml"
    file.write_text(file.read_text().replace("t0_ms: 0.2282", "t0_ms: -1"))
    with pytest.raises(ProfileError, match=r"cortex_a76_fp32\.yaml:6: t0_ms"):
        load_profile(written(tmp_path))


def test_a_fit_of_another_precision_only_stands_in(tmp_path: Path) -> None:
    path = written(tmp_path, "cortex_a76_int8")
    with pytest.raises(ProfileError, match="measured in int8, not in fp32") as raised:
        load_profile(path)
    assert (raised.value.line, raised.value.field) == (8, "latency.tflite.fp32")
    path.write_text(
        path.read_text().replace("fp32: cortex_a76_int8", "fp32: {fit: cortex_a76_int8, calibrated: false}")
    )
    assert not fit(path).calibrated and not fit(path, "onnx").calibrated


@pytest.mark.parametrize("way", ["written out", "said to be of the other"])
def test_only_that_it_is_not_calibrated_lets_a_fit_stand_in(tmp_path: Path, way: str) -> None:
    path = written(tmp_path)
    fields = YAML(typ="safe").load(SHIPPED / "latency" / "cortex_a76_int8.yaml")
    model = {
        "written out": json.dumps({**fields, "calibrated": True}),
        "said to be of the other": "{fit: cortex_a76_int8, precision: fp32, calibrated: true}",
    }[way]
    path.write_text(path.read_text().replace("tflite: {fp32: cortex_a76_fp32}", f"tflite: {{fp32: {model}}}"))
    with pytest.raises(ProfileError, match="measured in int8, not in fp32"):
        load_profile(path)


def test_all_problems_of_fits_at_once(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match=r"latency\.tflite\.fp32") as raised:
        load_profile(written(tmp_path, "cortex_a75"))
    assert "latency.onnx.fp32" in str(raised.value)


def test_shipped_profiles_are_short() -> None:
    for path in (SHIPPED / f"{name}.yaml" for name in shipped_profiles()):
        assert len(path.read_text().splitlines()) <= 40, path
