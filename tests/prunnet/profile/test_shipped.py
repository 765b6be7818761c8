"""The shipped profiles load, name their sources, and their latency rows are what their coefficients say."""

from __future__ import annotations

import doctest
import subprocess
import sys
from pathlib import Path

import pytest

from prunnet.errors import ProfileError
from prunnet.profile import DeviceProfile, load_profile, load_profiles, parse_bytes, shipped_profiles
from prunnet.profile.schema import Hardware

NAMES = ("galaxy_s24", "iphone15", "low_end_android", "pixel8", "raspberry_pi5")


def test_the_shipped_names() -> None:
    assert shipped_profiles() == NAMES


def test_names_suffixes_paths_and_globs_find_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = load_profile("pixel8")
    assert load_profile("pixel8.yaml") == profile
    copy = tmp_path / "mine.yaml"
    copy.write_bytes(Path("device_profiles/pixel8.yaml").read_bytes())
    assert load_profile(copy) == profile
    assert [p.name for p in load_profiles("*")] == list(NAMES)
    assert [p.name for p in load_profiles("pixel*")] == ["pixel8"]
    assert [p.name for p in load_profiles(tmp_path / "*.yaml")] == ["pixel8"]
    assert [p.name for p in load_profiles("device_profiles/*.yaml")] == list(NAMES)
    (tmp_path / ".hidden.yaml").write_text("repos: []")
    assert [p.name for p in load_profiles(tmp_path / "*.yaml")] == ["pixel8"]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pixel8.yaml").write_text(
        copy.read_text().replace("max_artifact: 5MiB", "max_artifact: 1MiB")
    )
    assert load_profile("pixel8.yaml").budgets.max_artifact == parse_bytes("1MiB")
    assert load_profile("pixel8") == profile


@pytest.mark.parametrize("name", NAMES)
def test_every_fact_and_fit_has_a_source(name: str) -> None:
    profile = load_profile(name)
    assert profile.name == name
    assert set(profile.sources) == set(Hardware.model_fields)
    for target, by_precision in profile.latency.items():
        for model in by_precision.values():
            assert target in profile.targets
            assert len(model.rows) >= 4
            near = [row for row in model.rows if row.match.startswith(("exact", "same_soc"))]
            assert bool(len(near) >= 3) >= model.calibrated, "calibrated without measurements of the device"
            errors = sorted(abs(row.fitted_ms / row.measured_ms - 1) for row in model.rows)
            assert errors[-1] == pytest.approx(model.worst_error, abs=2e-3)
            middle = (errors[(len(errors) - 1) // 2] + errors[len(errors) // 2]) / 2
            assert middle == pytest.approx(model.median_error, abs=2e-3)
            assert model.median_error < 0.25


def test_profiles_are_frozen() -> None:
    profile = load_profile("pixel8")
    with pytest.raises(ValueError, match="frozen"):
        profile.name = "other"  # type: ignore[misc]
    assert isinstance(hash(profile.targets), int)
    assert isinstance(profile, DeviceProfile)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1B", 1),
        ("12MiB", 12 * 2**20),
        ("1MB", 10**6),
        ("900KiB", 900 * 1024),
        ("1.5 kB", 1500),
        ("2GiB", 2**31),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize(
    "text", ["", "MiB", "1", "1e3MB", "0B", "0.4B", "-1MB", "1 TB", "1MiBs", "nan MB", "\u0661MB", 12, None]
)
def test_wrong_sizes(text: object) -> None:
    with pytest.raises(ValueError, match="allowed"):
        parse_bytes(text)


def test_the_documented_examples() -> None:
    from prunnet.profile import units

    assert doctest.testmod(units) == doctest.TestResults(failed=0, attempted=4)


def test_reading_plans_and_profiles_needs_no_torch() -> None:
    code = "import sys, prunnet.solver, prunnet.cost, prunnet.profile; print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"


def test_a_glob_that_looks_like_a_name_is_not_about_the_files_that_happen_to_lie_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pixel_site.yml").write_text("site_name: something else\n")
    assert [p.name for p in load_profiles("*")] == list(NAMES)
    assert [p.name for p in load_profiles("pixel*")] == ["pixel8"]
    with pytest.raises(ProfileError, match=r"pixel_site\.yml"):
        load_profiles("./*")
