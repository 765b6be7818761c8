"""What a gate says: as few digits as tell the figure from its tolerance, and never the other way round."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime_py.check.gates import at_least, at_most


@pytest.mark.parametrize(
    ("value", "tolerance", "says"),
    [
        (0.0031893343, 0.034168766234, "g is 0.00319, at most 0.0342 is demanded"),
        (0.96, 0.9999999, "g is 0.96, at most 0.9999999 is demanded"),
        (0.99999985, 0.9999999, "g is 0.99999985, at most 0.9999999 is demanded"),
        (5_242_881.0, 5_242_880.0, "g is 5242881, at most 5242880 is demanded"),
        (float("nan"), 0.5, "g is nan, at most 0.5 is demanded"),
    ],
)
def test_the_sentence(value: float, tolerance: float, says: str) -> None:
    assert str(at_most("g", value, tolerance)) == says


@given(st.floats(-1, 1), st.floats(-1, 1))
def test_what_is_shown_fails_or_passes_as_the_figures_do(value: float, tolerance: float) -> None:
    shown = re.fullmatch("g is (.*), at least (.*) is demanded", str(at_least("g", value, tolerance)))
    assert shown is not None
    below = float(shown[1]) < float(shown[2])
    assert below == (value < tolerance) or float(shown[1]) == float(shown[2]) == pytest.approx(value)
