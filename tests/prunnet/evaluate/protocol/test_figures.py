from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prunnet.data.official import Rules
from prunnet.evaluate.protocol.figures import score_figures
from tests.oracles import protocols as oracle

# Few values, so that ties are the rule; both signs, both zeros.
SCORES = st.sampled_from([-1.0, -0.5, -0.25, -0.0, 0.0, 0.25, 0.5, 1.0])
RULES = st.sampled_from(
    [
        Rules(recall_at=(1, 2, 5)),
        Rules("trapezoid", precision_at=(1, 5, 10)),
        Rules("trapezoid", recall_at=(3,), precision_at=(2,)),
        Rules("first", cutoff=1),
        Rules("first", cutoff=3, recall_at=(1, 6)),
        Rules("first", cutoff=100),
        Rules("first", cutoff=2, precision_at=(4,)),
    ]
)


@st.composite
def judged(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    queries, gallery = draw(st.integers(1, 4)), draw(st.integers(1, 12))
    count = queries * gallery
    scores = draw(st.lists(SCORES, min_size=count, max_size=count))
    kinds = draw(st.lists(st.sampled_from("rrjnnnb"), min_size=count, max_size=count))
    grid = np.array(kinds).reshape(queries, gallery)
    junk = (grid == "j") | (grid == "b")  # "b": right and junk at once, which junk decides
    ignored = junk if draw(st.booleans()) else None
    return np.array(scores, np.float32).reshape(queries, gallery), (grid == "r") | (grid == "b"), ignored


def expected(
    scores: list[float], relevant: list[bool], ignored: list[bool], rules: Rules
) -> dict[str, float]:
    junk = {i for i, out in enumerate(ignored) if out}
    right = {i for i, good in enumerate(relevant) if good} - junk
    order = oracle.ranked(scores, junk)
    name = f"mAP@{rules.cutoff}" if rules.cutoff else "mAP"
    names = [name, *(f"Recall@{k}" for k in rules.recall_at), *(f"mP@{k}" for k in rules.precision_at)]
    if not right:
        return dict.fromkeys(names, float("nan"))
    average = {
        "steps": lambda: oracle.step_precision(order, right),
        "trapezoid": lambda: oracle.trapezoid_precision(order, right),
        "first": lambda: oracle.first_precision(order, right, rules.cutoff or 0),
    }[rules.average]()
    values = [average, *(oracle.recall(order, right, k) for k in rules.recall_at)]
    values += [oracle.precision(order, right, k) for k in rules.precision_at]
    return dict(zip(names, values, strict=True))


@settings(max_examples=400, deadline=None)
@given(case=judged(), rules=RULES)
def test_figures_are_those_of_the_oracle(case: tuple, rules: Rules) -> None:
    scores, relevant, ignored = case
    found = score_figures(scores, relevant, ignored, rules)
    out = np.zeros_like(relevant) if ignored is None else ignored
    for row in range(len(scores)):
        wanted = expected(scores[row].tolist(), relevant[row].tolist(), out[row].tolist(), rules)
        assert list(wanted) == list(found)
        for name, value in wanted.items():
            assert found[name][row] == pytest.approx(value, abs=1e-12, nan_ok=True), name


@settings(max_examples=100, deadline=None)
@given(case=judged(), rules=RULES)
def test_figures_are_fractions_and_judge_the_same_queries(case: tuple, rules: Rules) -> None:
    figures = score_figures(*case, rules)
    absent = [np.isnan(values).tolist() for values in figures.values()]
    assert all(missing == absent[0] for missing in absent)
    for values in figures.values():
        known = values[~np.isnan(values)]
        assert ((known >= 0) & (known <= 1)).all()


@settings(max_examples=100, deadline=None)
@given(case=judged(), rules=RULES, seed=st.integers(0, 99))
def test_junk_might_as_well_not_be_in_the_gallery(case: tuple, rules: Rules, seed: int) -> None:
    scores, relevant, _ = case
    junk = np.zeros_like(relevant)
    junk[:, np.random.default_rng(seed).random(relevant.shape[1]) < 0.4] = True
    kept = ~junk[0]
    if not kept.any():
        return
    with_junk = score_figures(scores, relevant, junk, rules)
    without = score_figures(scores[:, kept], relevant[:, kept], None, rules)
    for name, values in without.items():
        np.testing.assert_array_equal(with_junk[name], values)


def test_by_hand() -> None:
    """Ranks 1, 3 and 4 of five are right, as the protocol's formulas have them, worked out on paper."""
    scores = np.array([[0.9, 0.5, 0.0, -0.2, -0.9]], np.float32)
    relevant = np.array([[True, False, True, True, False]])

    def value(rules: Rules, name: str) -> float:
        return float(score_figures(scores, relevant, None, rules)[name][0])

    assert value(Rules(), "mAP") == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    assert value(Rules("trapezoid"), "mAP") == pytest.approx(
        (1 + (1 / 2 + 2 / 3) / 2 + (2 / 3 + 3 / 4) / 2) / 3
    )
    assert value(Rules("first", cutoff=2), "mAP@2") == pytest.approx(1 / 2)
    assert value(Rules("first", cutoff=100), "mAP@100") == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    # The last right item is at rank 4, so ten items are never counted.
    assert value(Rules(precision_at=(10,)), "mP@10") == pytest.approx(3 / 4)
    assert value(Rules(precision_at=(2,)), "mP@2") == pytest.approx(1 / 2)


def test_more_relevant_items_than_the_cutoff_still_allow_a_perfect_score() -> None:
    scores = np.linspace(1, -1, 150, dtype=np.float32)[None]
    relevant = np.arange(150)[None] < 120
    assert score_figures(scores, relevant, None, Rules("first", cutoff=100))["mAP@100"][0] == 1.0
