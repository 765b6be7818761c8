from __future__ import annotations

import doctest
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prunnet.errors import EvaluationError
from prunnet.evaluate.comparison import UpgradeScores, advbct, compare, equal_size, p_comp, p_up, tax
from tests.oracles import comparison as oracle

POINTS = st.integers(1, 100)
SETS = st.lists(st.tuples(POINTS, POINTS, POINTS, POINTS), min_size=1, max_size=4)
# The unconstrained encoder is better than the old one.
UPGRADES = st.lists(
    st.tuples(POINTS, POINTS, POINTS, POINTS).map(lambda s: (*s[:3], s[2] + s[3])), min_size=1, max_size=4
)
MEASURED = st.lists(st.tuples(st.integers(1, 20), st.integers(0, 100)), min_size=1, max_size=6)


def _points(pairs: list[tuple[int, int]]) -> list[dict[str, float]]:
    return [{"macs": x, "cross_map": y, "self_map": y} for x, y in pairs]


def test_worked_examples() -> None:
    for module in (advbct, equal_size):
        assert doctest.testmod(module).attempted > 0
        assert doctest.testmod(module).failed == 0


@given(SETS, UPGRADES)
def test_advbct_figures_are_the_oracles(sets: list, upgrades: list) -> None:
    assert p_up([UpgradeScores(*each) for each in sets]) == pytest.approx(oracle.p_up(sets), rel=1e-12)
    scores, sets = [UpgradeScores(*each) for each in upgrades], upgrades
    assert p_comp(scores) == pytest.approx(oracle.p_comp(sets), rel=1e-12)


@given(UPGRADES, st.sampled_from([0.01, 0.5, 3.0]))
def test_advbct_figures_do_not_depend_on_the_scale(
    sets: list[tuple[int, int, int, int]], scale: float
) -> None:
    plain = [UpgradeScores(*each) for each in sets]
    scaled = [UpgradeScores(*(scale * value for value in each)) for each in sets]
    assert p_up(scaled) == pytest.approx(p_up(plain))
    assert p_comp(scaled) == pytest.approx(p_comp(plain))


def test_advbct_landmarks() -> None:
    """No loss is 50; the whole gain is sigma(1); a huge loss does not overflow."""
    assert p_up([UpgradeScores(60, 0, 50, 60)]) == 50
    assert p_comp([UpgradeScores(60, 50, 50, 60)]) == 50
    assert p_comp([UpgradeScores(60, 60, 50, 60)]) == pytest.approx(73.1058578)
    assert 0 <= p_comp([UpgradeScores(1, 0, 0.999, 0.999000001)]) < 1e-9


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ((-1, 1, 1, 1), "new_new is -1"),
        ((1, float("nan"), 1, 1), "new_old is nan"),
        ((1, 1, float("inf"), 1), "old_old is inf"),
        ((1, 1, 1, 0), "finds nothing"),
    ],
)
def test_impossible_scores_are_refused(scores: tuple[float, ...], said: str) -> None:
    with pytest.raises(EvaluationError, match=said):
        UpgradeScores(*scores)


def test_what_has_no_meaning_is_refused() -> None:
    with pytest.raises(EvaluationError, match="not above the old"):
        p_comp([UpgradeScores(60, 55, 50, 60), UpgradeScores(60, 55, 60, 60)])
    for figure in (p_up, p_comp):
        with pytest.raises(EvaluationError, match="no data set"):
            figure([])


@given(MEASURED, st.integers(0, 21), st.randoms())
def test_readings_are_the_oracles(pairs: list[tuple[int, int]], size: int, random) -> None:
    shuffled = list(pairs)
    random.shuffle(shuffled)
    (reading,) = compare({"one": _points(shuffled)}, "macs", [size]).readings["one"]
    expected = oracle.on_the_line(pairs, size)
    if expected is None:
        assert reading.value is None and "only" in str(reading.why)
    else:
        assert reading.value == pytest.approx(float(expected)) and reading.why is None


@given(MEASURED, MEASURED)
def test_the_tax_is_the_difference_of_two_readings(
    joint: list[tuple[int, int]], alone: list[tuple[int, int]]
) -> None:
    found = tax(_points(joint), _points(alone), "macs")
    assert [reading.size for reading in found] == sorted({float(x) for x, _ in joint})
    for reading in found:
        there = oracle.on_the_line(alone, int(reading.size))
        if there is None:
            assert reading.value is None and reading.why
        else:
            here = oracle.on_the_line(joint, int(reading.size))
            assert reading.value == pytest.approx(float(there - here))
    assert all(reading.value == 0 for reading in tax(_points(joint), _points(joint), "macs"))


def test_equal_parameters_and_equal_macs_can_disagree() -> None:
    """Masks keep the MACs of dense: at equal parameters they lead, at few MACs they are not there at all."""
    masks = [
        {"achieved": 0.2, "macs": 100, "cross_map": 70.0},
        {"achieved": 1.0, "macs": 100, "cross_map": 75.0},
    ]
    slices = [
        {"achieved": 0.2, "macs": 20, "cross_map": 68.0},
        {"achieved": 1.0, "macs": 100, "cross_map": 75.0},
    ]
    methods = {"weight": masks, "channel": slices}
    by_parameters = compare(methods, "achieved", [0.2, 0.6])
    assert [r.value for r in by_parameters.readings["weight"]] == [70.0, pytest.approx(72.5)]
    by_macs = compare(methods, "macs", [20, 100])
    assert [r.value for r in by_macs.readings["weight"]] == [None, 75.0]
    assert [r.value for r in by_macs.readings["channel"]] == [68.0, 75.0]
    text = by_macs.table()
    assert "- weight: measured between 100 and 100 macs only" in text and "68.00" in text
    assert json.loads(json.dumps(by_macs.as_dict()))["readings"]["weight"][0]["value"] is None


@pytest.mark.parametrize(
    ("methods", "sizes", "said"),
    [
        ({}, [1], "at least one method"),
        ({"a": _points([(1, 1)])}, [], "at least one method"),
        ({"a": []}, [1], "a has no measured point"),
        ({"a": [{"macs": 1}]}, [1], "no 'cross_map'; it has 'macs'"),
        ({"a": [{"macs": 1, "cross_map": float("nan")}]}, [1], "cross_map of a is nan"),
        ({"a": [{"macs": None, "cross_map": 1}]}, [1], "macs of a is None"),
    ],
)
def test_points_that_can_not_be_compared(methods: dict, sizes: list[float], said: str) -> None:
    with pytest.raises(EvaluationError, match=said):
        compare(methods, "macs", sizes)
