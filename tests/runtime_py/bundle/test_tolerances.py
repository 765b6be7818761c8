"""A profile may state every tolerance that there is, and no other."""

from runtime_py.bundle.tolerances import TABLE, StatedTolerances, Tolerances


def test_a_profile_may_state_each_tolerance() -> None:
    assert list(StatedTolerances.model_fields) == list(Tolerances.model_fields)


def test_what_is_not_stated_is_the_precisions() -> None:
    for precision, tolerances in TABLE.items():
        assert StatedTolerances().of(precision) == tolerances
        stated = StatedTolerances(max_map_drop=0.5).of(precision)
        assert stated == tolerances.model_copy(update={"max_map_drop": 0.5})
