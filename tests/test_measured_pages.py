"""What the pages say was measured is what the committed results hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import (
    backbone_trials,
    drift_faults,
    drift_honest,
    emulated,
    int8_methods,
    precision_matrix,
    raw_input,
    resize_faults,
    sparse_formats,
)
from benchmarks.drift_table import Row, as_page, read_rows
from benchmarks.page import kept, placed, put
from prunnet.cost.memory import FRAMES

RESULTS = Path(backbone_trials.RESULTS).parent


def test_the_table_of_faults_is_that_of_the_committed_rows() -> None:
    rows = read_rows([RESULTS / "drift_faults.json"])
    assert placed(drift_faults.PAGE, drift_faults.COMMAND) == as_page(rows).strip(), drift_faults.COMMAND
    assert not [row for row in rows if row.wrong]


def test_the_honest_exports_are_the_committed_ones() -> None:
    rows = [drift_honest.Honest(**row) for row in json.loads(drift_honest.RESULTS.read_text())]
    assert placed(drift_honest.PAGE, drift_honest.COMMAND) == drift_honest.summary(rows).strip()


def test_the_page_of_precisions_is_what_was_measured() -> None:
    cells = precision_matrix.read()
    assert {cell.encoder for cell in cells if not cell.error} >= {precision_matrix.BUILT_IN}
    wanted = precision_matrix.as_page(cells).strip()
    assert placed(precision_matrix.PAGE, precision_matrix.COMMAND) == wanted, precision_matrix.COMMAND


def test_the_methods_of_int8_are_the_committed_ones() -> None:
    assert (
        placed(int8_methods.PAGE, int8_methods.COMMAND) == int8_methods.as_page(int8_methods.read()).strip()
    )


@pytest.mark.parametrize("part", list(emulated.PARTS))
def test_what_emulated_processors_computed_is_committed(part: str) -> None:
    _, table = emulated.PARTS[part]
    assert placed(emulated.PAGE, f"{emulated.COMMAND} {part}") == table(emulated.read()[part])


@pytest.mark.parametrize("benchmark", [raw_input, sparse_formats])
def test_what_was_decided_is_as_measured(benchmark) -> None:
    assert placed(benchmark.PAGE, benchmark.COMMAND) == benchmark.as_page(kept(benchmark.RESULTS))


def test_plans_count_the_frames_that_were_measured() -> None:
    for row in kept(raw_input.RESULTS)["memory"]:
        assert 0.95 <= raw_input.frames_held(row) / FRAMES[row["target"]] <= 1.01, row


def test_the_wrong_resizes_are_the_committed_ones() -> None:
    rows = resize_faults.read()
    assert placed(resize_faults.PAGE, resize_faults.COMMAND) == resize_faults.as_page(rows).strip()


def test_the_tried_backbones_are_the_committed_ones() -> None:
    table = backbone_trials.table(json.loads(backbone_trials.RESULTS.read_text()))
    assert placed(backbone_trials.PAGE, backbone_trials.COMMAND) == table.strip(), backbone_trials.COMMAND


def test_a_fault_that_passed_stands_out() -> None:
    rows = [
        Row("none", "converted", "onnx", "fp32", 1.0, "compatible", ()),
        Row("grey", "converted", "onnx", "fp32", 1.0, "compatible", ()),
        Row("grey", "converted", "tflite", "fp32", 0.2, "incompatible", ("parity.min_cosine",)),
    ]
    text = as_page(rows)
    assert text.startswith("2 faults, 1 caught; 1 honest artifacts, 0 false alarms.\n")
    assert "| grey | **passes at 1** | parity |" in text and rows[1].wrong


def test_a_text_is_put_into_its_own_place_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- one -->\nold\n<!-- end -->\nb\n<!-- two -->\n<!-- end -->\n")
    put(page, "one", "new")
    put(page, "two", "other")
    assert (placed(page, "one"), placed(page, "two")) == ("new", "other")
    with pytest.raises(ValueError, match="no place for three"):
        put(page, "three", "lost")
