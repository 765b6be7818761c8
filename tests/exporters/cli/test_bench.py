"""`prunnet-bench`: order, ratios and refusals. Times themselves are never asserted beyond gross order."""

import itertools
import json
import time
from pathlib import Path

import pytest

from exporters.cli.bench import main
from exporters.pipeline.export import export_bundle
from exporters.timing import interleave, one_core
from prunnet.package.load import load_encoder
from prunnet.profile import load_profile
from tests.exporters.packages import write_package, write_profile


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("bench")
    package = load_encoder(write_package(folder / "tiny"))
    profiles = [write_profile(folder, "whole"), write_profile(folder, "small", budgets="max_mflops: 1.0")]
    return [export_bundle(package, load_profile(path), "onnx", folder / "build").path for path in profiles]


def test_rounds_are_interleaved_and_medians_are_of_all_calls() -> None:
    order: list[str] = []

    def work(name: str, seconds: float) -> None:
        order.append(name)
        time.sleep(seconds)

    quick, slow = interleave([lambda: work("quick", 0.02), lambda: work("slow", 0.06)], rounds=3)
    assert 20 <= quick.low_ms <= quick.median_ms <= quick.high_ms < slow.median_ms
    timed = order[6:]  # after three warm-up calls of each
    changes = sum(before != after for before, after in itertools.pairwise(timed))
    assert changes == 5, "quick, slow, quick, slow, quick, slow"
    assert len(timed) == quick.calls + slow.calls


def test_one_core_is_given_back() -> None:
    import os

    if not hasattr(os, "sched_getaffinity"):
        pytest.skip("this system pins no processes")
    before = os.sched_getaffinity(0)
    with one_core() as pinned:
        assert pinned and len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == before


def test_ratios_are_relative_to_the_first_bundle(bundles, capsys) -> None:
    assert main([*map(str, bundles), "--rounds", "2", "--json"]) == 0
    whole, small = json.loads(capsys.readouterr().out)
    assert (whole["latency_ratio"], whole["mac_ratio"]) == (1.0, 1.0)
    assert small["mac_ratio"] == pytest.approx(small["mflops"] / whole["mflops"])
    assert 0 < small["mac_ratio"] < 0.6
    assert small["latency_ratio"] == pytest.approx(small["median_ms"] / whole["median_ms"])
    assert small["capacity"] < whole["capacity"] == 1.0


def test_what_is_executed_in_python_has_no_ratio(bundles, capsys, monkeypatch) -> None:
    """As bundles for Core ML off macOS; nothing is compared with one, either."""
    monkeypatch.setattr("runtime_py.backends.APPLE_ONLY", ("onnx",))
    monkeypatch.setattr("sys.platform", "linux")
    assert main([*map(str, bundles), "--rounds", "1", "--json"]) == 0
    assert [row["latency_ratio"] for row in json.loads(capsys.readouterr().out)] == [None, None]
    assert main([str(bundles[0]), "--rounds", "1"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[5] == "-"


def test_the_table_names_the_runtime(bundles, capsys) -> None:
    assert main([str(bundles[0]), "--rounds", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(
        title in lines[0] for title in ("bundle", "median ms", "latency ratio", "MAC ratio", "runtime")
    )
    assert "ONNX Runtime" in lines[1]


def test_what_is_no_bundle_is_refused(tmp_path, capsys) -> None:
    assert main([str(tmp_path)]) == 2
    assert str(tmp_path) in capsys.readouterr().err
