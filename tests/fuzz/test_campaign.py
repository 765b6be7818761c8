"""A small campaign at every slow run; `python -m tests.fuzz.campaign` is the large one."""

import sys

import pytest

from tests.fuzz import subjects
from tests.fuzz.campaign import campaign, table


@pytest.mark.campaign
@pytest.mark.skipif(sys.platform != "linux", reason="memory is capped and read as Linux does it")
def test_damaged_files_raise_errors_of_ours_and_nothing_else(tmp_path) -> None:
    subjects.prepare(tmp_path)
    found = campaign(tmp_path, 250, seed=1)
    faults = [fault for tally in found.values() for fault in tally.faults]
    assert not faults, "\n".join(faults)
    print(table(found))
    for name, tally in found.items():
        assert tally.counts["refused"] > tally.counts.total() / 4, name
        assert tally.slowest < 20 and tally.peak_mib < 2048, name
