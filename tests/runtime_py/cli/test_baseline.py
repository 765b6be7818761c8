from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from runtime_py.check.report import DeviceRecord
from runtime_py.cli.baseline import Baseline, Moved, Moves, compare, read_baseline, update
from runtime_py.cli.check import main
from runtime_py.cli.outcome import Outcome, check_bundle
from runtime_py.errors import BundleError

KEY = "any-linux/onnx/fp32/tiny"


@pytest.fixture
def kept(make_bundle, tmp_path):
    """A bundle with its baseline."""
    bundle, file = make_bundle("onnx"), tmp_path / "drift.json"
    assert main([str(bundle), "--baseline", str(file), "--update-baseline"]) == 0
    return bundle, file


def edit(file: Path, change) -> None:
    body = json.loads(file.read_text())
    change(body)
    file.write_text(json.dumps(body))


def test_a_baseline_lists_figures_by_what_the_bundle_is_and_not_by_where_it_lies(kept, tmp_path):
    bundle, file = kept
    (key,) = json.loads(file.read_text())["bundles"]
    assert key.split("/")[:3] == KEY.split("/")[:3]
    assert str(tmp_path) not in file.read_text()
    elsewhere = bundle.rename(tmp_path / "elsewhere")
    assert main([str(elsewhere), "--baseline", str(file)]) == 0


@pytest.mark.parametrize(("shift", "word"), [(0.01, "fell"), (-0.01, "improved")])
def test_a_figure_that_moved_either_way_fails_though_every_gate_passes(kept, capsys, shift, word):
    bundle, file = kept

    def change(body):
        for figures in body["bundles"].values():
            figures["map"] += shift

    edit(file, change)
    capsys.readouterr()
    assert main([str(bundle), "--baseline", str(file), "--json"]) == 5
    (outcome,) = json.loads(capsys.readouterr().out)
    assert outcome["verdict"] == "moved" and outcome["report"]["verdict"] == "compatible"
    (reason,) = outcome["reasons"]
    assert reason.startswith("baseline.map was") and word in reason and "--update-baseline" in reason
    assert [each["name"] for each in outcome["baseline"] if not each["passed"]] == ["baseline.map"]


def test_updating_accepts_the_figures_and_keeps_the_tolerances(kept):
    bundle, file = kept

    def change(body):
        body["tolerances"]["map"] = 0.002
        for figures in body["bundles"].values():
            figures["map"] -= 0.003

    edit(file, change)
    assert main([str(bundle), "--baseline", str(file)]) == 5
    assert main([str(bundle), "--baseline", str(file), "--update-baseline"]) == 0
    assert main([str(bundle), "--baseline", str(file)]) == 0
    assert read_baseline(file).tolerances == Moves(map=0.002)


def test_bundles_on_one_side_alone_are_listed_all_at_once(kept, make_bundle, capsys):
    bundle, file = kept

    def change(body):
        (figures,) = body["bundles"].values()
        body["bundles"] |= {"a/b/c/gone": figures, "a/b/c/lost": figures}

    edit(file, change)
    other = make_bundle("tflite", out="other")
    capsys.readouterr()
    assert main([str(bundle), str(other), "--baseline", str(file)]) == 2
    said = capsys.readouterr().out
    assert "tflite/fp32" in said and "is not in the baseline" in said
    assert "a/b/c/gone is in the baseline and was not checked" in said and "a/b/c/lost is" in said
    assert "an update drops it: name its folder too if it still ships" in said


def test_two_bundles_that_are_the_same_cannot_have_a_baseline(kept, make_bundle, tmp_path, capsys):
    bundle, file = kept
    twin, before = make_bundle("onnx", out="twin"), file.read_bytes()
    for options in ([], ["--update-baseline"]):
        assert main([str(bundle), str(twin), "--baseline", str(file), *options]) == 2
        assert "2 bundles are any-linux/onnx/fp32" in capsys.readouterr().out
    assert file.read_bytes() == before


def test_a_bad_bundle_leaves_the_baseline_as_it_was(kept, make_bundle, capsys):
    bundle, file = kept
    before = file.read_bytes()
    bad = make_bundle("tflite", out="bad")
    (bad / "extra").write_text("x")
    assert main([str(bundle), str(bad), "--baseline", str(file), "--update-baseline"]) == 2
    assert "was not updated" in capsys.readouterr().out
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", ["is not JSON"]),
        ('{"bundles": {}, "bundles": {}}', ["a key occurs twice: bundles"]),
        ("[]", ["is not a baseline"]),
        ("[" * 100_000, ["is not"]),
        (
            '{"schema_version": 9, "bundles": {"k": {"map": "x"}}}',
            ["schema_version", "bundles.k.map", "min_cosine"],
        ),
        ('{"bundles": {}, "tolerances": {"map": NaN}}', ["tolerances.map"]),
        ('{"bundles": {}, "other": 1}', ["other"]),
    ],
)
def test_a_damaged_baseline_is_refused_before_any_check(make_bundle, tmp_path, capsys, content, words):
    file = tmp_path / "drift.json"
    file.write_text(content)
    bundle = make_bundle("onnx")
    for options in ([], ["--update-baseline"]):
        capsys.readouterr()
        assert main([str(bundle), "--baseline", str(file), *options]) == 2
        shown = capsys.readouterr()
        assert not shown.out and all(word in shown.err for word in words), shown.err


def test_an_absent_baseline_names_the_option_that_makes_it(tmp_path):
    with pytest.raises(BundleError, match="--update-baseline"):
        read_baseline(tmp_path / "drift.json")


def test_updating_needs_a_file(tmp_path, capsys):
    assert main([str(tmp_path), "--update-baseline"]) == 2
    assert "--baseline FILE" in capsys.readouterr().err


def test_a_move_as_large_as_its_tolerance_passes():
    assert Moved("baseline.map", 0.90, 0.85, 0.05).passed
    assert not Moved("baseline.map", 0.90, 0.8499, 0.05).passed


def test_defaults_are_those_of_the_guide():
    text = Path("docs/guide/ci.md").read_text("utf-8")
    for name, tolerance in Baseline(bundles={}).tolerances:
        assert f"| `{name}` | {tolerance:g} |" in text


def emulated(instructions: int | None, cpu: str = "Cortex-A53", **more: str) -> DeviceRecord:
    runtimes = {"python": "3.11", "on": "LiteRT"}
    return DeviceRecord("emulated", cpu, ("neon",), runtimes, None, 40, 40, instructions=instructions, **more)


@pytest.mark.parametrize(
    ("now", "word"), [(107_000, "rose by 7 %"), (93_000, "fell by 7 %"), (104_000, None)]
)
def test_instructions_move_by_shares(make_bundle, tmp_path, now, word):
    file = tmp_path / "drift.json"
    checked = check_bundle(make_bundle("onnx"))

    def outcome(count: int | None) -> Outcome:
        return replace(checked, report=replace(checked.report, device=emulated(count)))

    update(file, Baseline(bundles={}), [outcome(100_000)])
    (judged,) = compare(read_baseline(file), file, [outcome(now)])
    assert judged.verdict == ("moved" if word else "compatible")
    assert [word in reason for reason in judged.reasons] == ([True] if word else [])
    assert judged.to_json()["baseline"][-1]["relative"]
    for uncounted in (outcome(None), checked):
        (judged,) = compare(read_baseline(file), file, [uncounted])
        assert judged.verdict == "compatible"
        assert not any(moved.name == "baseline.instructions" for moved in judged.moved)


def test_instructions_that_cannot_be_compared_are_an_error_and_stay_in_the_baseline(make_bundle, tmp_path):
    file = tmp_path / "drift.json"
    checked = check_bundle(make_bundle("onnx"))

    def outcome(device: DeviceRecord) -> Outcome:
        return replace(checked, report=replace(checked.report, device=device))

    update(file, Baseline(bundles={}), [outcome(emulated(100_000))])
    update(file, read_baseline(file), [checked])
    kept = read_baseline(file)
    assert kept.bundles[checked.about.key].instructions == {"Cortex-A53": 100_000}
    lost = outcome(emulated(None, not_counted="no counter is installed"))
    judged, error = compare(kept, file, [lost])
    assert judged.verdict == "compatible" and error.verdict == "error"
    assert "they were not counted (no counter is installed)" in str(error.error)
    _, error = compare(kept, file, [outcome(emulated(100_000, "Cortex-A72"))])
    assert "has no instructions on Cortex-A72 in the baseline" in str(error.error)
    update(file, Baseline(bundles={}), [checked])
    without = read_baseline(file)
    (never,) = compare(without, file, [lost])
    assert never.verdict == "compatible", "nothing was there to compare; the report has a note"
