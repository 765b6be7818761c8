"""What an artifact says about itself survives its text, and what is no identity is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime_py.bundle.identity import Identity

ONE = Identity("små-nät", "0123456789abcdef", 0.2871093, 32, "0.1.0")


@given(st.floats(min_value=1e-6, max_value=1), st.integers(1, 10**6), st.text())
def test_the_entries_give_the_identity_back(capacity, dimension, name):
    identity = replace(ONE, capacity=capacity, dimension=dimension, name=name)
    assert Identity.of({**identity.entries(), "else": "x"}) == identity


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("capacity", "half"),
        ("dimension", "-3"),
        ("dimension", "3.0"),
        ("dimension", "\uff19"),
        ("dimension", "9" * 5000),
    ],
)
def test_what_is_no_number_is_refused(key, value):
    with pytest.raises(ValueError, match=rf"says prunnet\.{key} = "):
        Identity.of({**ONE.entries(), f"prunnet.{key}": value})


def test_each_missing_entry_is_named():
    with pytest.raises(ValueError, match=r"missing prunnet\.capacity, prunnet\.dimension, prunnet\.version"):
        Identity.of({"prunnet.name": "a", "prunnet.space_id": "b"})


def test_every_difference_is_said_and_rounding_is_none():
    assert ONE.differences(replace(ONE, capacity=ONE.capacity * (1 + 1e-12))) == []
    assert ONE.differences(replace(ONE, capacity=float("nan")))
    said = ONE.differences(replace(ONE, name="other", dimension=16))
    assert said == [
        "says prunnet.name = 'små-nät', its manifest says 'other'",
        "says prunnet.dimension = '32', its manifest says '16'",
    ]
