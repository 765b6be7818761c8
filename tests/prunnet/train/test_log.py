from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from prunnet.train import run as run_module
from prunnet.train.recipe.recipe import load_recipe
from prunnet.train.watch import log as log_module
from prunnet.train.watch.log import EVERY, StepRecord, TrainingLog

event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


def _record(step: int, shift: float = 0.0) -> StepRecord:
    return StepRecord({"dense": step + shift, "0.5": 2.0 * step}, 0.1 / step, 3.0 * step, 16)


def _run(folder: Path, first: int, last: int, per_epoch: int, shift: float = 0.0) -> None:
    log = TrainingLog(folder, first, writes=True)
    for step in range(first + 1, last + 1):
        log.add(step, _record(step, shift))
        if step % per_epoch == 0:
            log.close_epoch(step)


def _curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    found = event_accumulator.EventAccumulator(str(folder))
    found.Reload()
    return {tag: [(e.step, e.value) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def test_tensorboard_reads_every_curve(tmp_path: Path) -> None:
    _run(tmp_path, 0, 24, 12)
    curves = _curves(tmp_path)
    steps = [EVERY, 12, 12 + EVERY, 24]
    assert set(curves) == {"loss/dense", "loss/0.5", "learning_rate", "gradient_norm", "images_per_second"}
    assert [s for s, _ in curves["loss/dense"]] == steps
    spans = [range(1, 11), range(11, 13), range(13, 23), range(23, 25)]
    for tag, value in {
        "loss/dense": float,
        "gradient_norm": lambda s: 3.0 * s,
        "learning_rate": lambda s: 0.1 / s,
    }.items():
        wanted = [sum(map(value, span)) / len(span) for span in spans]
        assert [v for _, v in curves[tag]] == pytest.approx(wanted, rel=1e-6)
    assert all(v > 0 for _, v in curves["images_per_second"])


def test_a_resumed_run_has_no_step_twice(tmp_path: Path) -> None:
    _run(tmp_path, 0, 33, 10)  # killed after step 33; the last checkpoint is of step 30
    _run(tmp_path, 30, 50, 10, shift=0.25)
    curve = _curves(tmp_path)["loss/dense"]
    assert [s for s, _ in curve] == [10, 20, 30, 40, 50]
    assert [v % 1 for _, v in curve] == [0.5, 0.5, 0.5, 0.75, 0.75]
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [10, 20, 30, 40, 50]


def test_points_that_a_killed_run_wrote_past_its_checkpoint_are_forgotten(tmp_path: Path) -> None:
    _run(tmp_path, 0, 40, 20)
    _run(tmp_path, 20, 40, 20, shift=0.25)
    curve = _curves(tmp_path)["loss/dense"]
    assert [s for s, _ in curve] == [10, 20, 30, 40]
    assert [v % 1 for _, v in curve] == [0.5, 0.5, 0.75, 0.75]


def test_a_run_started_over_forgets_the_one_before(tmp_path: Path) -> None:
    _run(tmp_path, 0, 5, 5)
    _run(tmp_path, 0, 3, 3)
    assert [s for s, _ in _curves(tmp_path)["loss/dense"]] == [3]


def test_only_the_first_process_writes(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path, 0, writes=False)
    log.add(1, _record(1))
    log.close_epoch(1)
    assert not list(tmp_path.iterdir())


def test_without_tensorboard_the_json_lines_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_module, "find_spec", lambda name: None)
    _run(tmp_path, 0, 4, 2)
    assert [f.name for f in tmp_path.iterdir()] == ["log.jsonl"]


@pytest.mark.parametrize(("rank", "times"), [("0", 1), ("1", 0)])
def test_the_command_says_once_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rank: str, times: int
) -> None:
    class StopError(Exception):
        pass

    def stop(*_, **__):
        raise StopError

    monkeypatch.setattr(log_module, "find_spec", lambda name: None)
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setattr(run_module, "train", stop)
    said: list[str] = []
    with pytest.raises(StopError):
        run_module.train_package(load_recipe("glyphs-tiny"), tmp_path, control=True, say=said.append)
    assert sum("pip install 'prunnet[logs]'" in text for text in said) == times


def test_writing_events_does_not_import_tensorflow(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from prunnet.train.watch.log import StepRecord, TrainingLog\n"
        "log = TrainingLog(Path(sys.argv[1]), 0, True)\n"
        "log.add(1, StepRecord({'dense': 1.0}, 0.1, 1.0, 2)); log.close_epoch(1)\n"
        "assert 'tensorboard' in sys.modules and 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, cwd=Path(__file__).parents[3])
