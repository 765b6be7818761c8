"""The gates catch injected faults and pass honest exports; the whole table is `benchmarks.drift_faults`."""

from __future__ import annotations

import pytest

from benchmarks.drift_faults import campaign
from benchmarks.drift_honest import Encoders, cases, export
from prunnet.package.load import load_encoder


@pytest.mark.campaign
def test_every_fault_is_caught_on_onnx_at_the_capacity_where_colours_matter_least():
    rows = campaign(load_encoder("glyphs"), ["onnx"], [0.2], lambda row: None)
    assert len(rows) > 45
    wrong = [(row.fault, row.how, row.verdict) for row in rows if row.wrong]
    assert not wrong


@pytest.mark.campaign
def test_honest_exports_raise_no_alarm(tmp_path):
    encoders = Encoders()
    for number, case in enumerate([case for case in cases() if case.target == "onnx"][:8]):
        folder = tmp_path / str(number)
        folder.mkdir()
        row = export(case, encoders, folder)
        assert row.verdict == "compatible", row
