"""Which group keeps how many channels, against a search that goes through the ratios one by one."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prunnet.capacity import Widths, WidthTable
from prunnet.encoder import Encoder
from prunnet.prunable import PrunableEncoder
from tests.prunnet.conftest import make_encoder


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return make_encoder("resnet18")


def _nearest(width: float, units: int, multiple: int) -> int:
    """Return the multiple (or all units) nearest to a width, the larger of two that are as near; at least one."""
    allowed = [*range(min(multiple, units), units, multiple), units]
    return max(allowed, key=lambda k: (-abs(k - width), k))


def _at(table: WidthTable, ratio: float, spare_narrow: float, multiple: int) -> Widths:
    widest = max(group.units for group in table.groups)
    return tuple(
        _nearest(
            min(g.units, ratio * g.units * (widest / g.units) ** spare_narrow),
            g.units,
            multiple,
        )
        for g in table.groups
    )


@settings(max_examples=40, deadline=None)
@given(
    spare_narrow=st.sampled_from([0.0, 0.3, 0.5, 1.0]),
    multiple=st.sampled_from([1, 4, 8]),
    ratio=st.floats(0.01, 1.0),
)
def test_a_ratio_gives_the_widths_of_the_rule(
    encoder: Encoder, spare_narrow: float, multiple: int, ratio: float
) -> None:
    table = PrunableEncoder(encoder, spare_narrow=spare_narrow).cutter.table
    wanted = _at(table, ratio, spare_narrow, multiple)
    configurations = {widths for _, widths in table.configurations(multiple)}
    near = {wanted, *(_at(table, ratio * (1 + e), spare_narrow, multiple) for e in (-1e-9, 1e-9))}
    assert near & configurations


@pytest.mark.parametrize("spare_narrow", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("multiple", [1, 8])
def test_larger_capacities_contain_smaller_ones(encoder: Encoder, spare_narrow: float, multiple: int) -> None:
    table = PrunableEncoder(encoder, spare_narrow=spare_narrow).cutter.table
    configurations = table.configurations(multiple)
    assert [c for c, _ in configurations] == sorted({c for c, _ in configurations})
    for (_, narrow), (_, wide) in itertools.pairwise(configurations):
        assert all(a <= b for a, b in zip(narrow, wide, strict=True))
    assert configurations[-1] == (1.0, table.dense)


def test_the_exponent_runs_from_the_same_ratio_to_the_same_number(encoder: Encoder) -> None:
    same_ratio = PrunableEncoder(encoder).cutter.table.widths(0.3, 1)[1]
    same_number = PrunableEncoder(encoder, spare_narrow=1.0).cutter.table.widths(0.3, 1)[1]
    dense = PrunableEncoder(encoder).cutter.table.dense
    ratios = [kept / units for kept, units in zip(same_ratio, dense, strict=True)]
    assert max(ratios) - min(ratios) <= 1 / min(dense)
    widest = max(same_number)
    assert all(kept == min(units, widest) for kept, units in zip(same_number, dense, strict=True))
