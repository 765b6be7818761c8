"""Which group keeps how many channels, and which layer how many weights, against the rule for single ratios."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prunnet.encoder.encoder import Encoder
from prunnet.errors import EncoderError
from prunnet.pruning.capacity import Widths, WidthTable, stretches
from prunnet.pruning.groups import ChannelGroup
from prunnet.pruning.prunable import PrunableEncoder
from prunnet.pruning.rule import CutRule
from tests.prunnet.conftest import make_encoder


@pytest.fixture(scope="module", params=["resnet18", "vit_tiny_patch16_224"])
def encoder(request: pytest.FixtureRequest) -> Encoder:
    return make_encoder(request.param)


@pytest.fixture(scope="module")
def first_group(encoder: Encoder) -> str:
    return _table(encoder, 0).groups[0].name


def _table(encoder: Encoder, spare_narrow: float) -> WidthTable:
    return PrunableEncoder(encoder, CutRule(spare_narrow=spare_narrow)).cutter.table


def _nearest(width: float, units: int, multiple: int) -> int:
    """Return the multiple (or all units) nearest to a width, the larger of two that are as near; at least one."""
    allowed = [*range(min(multiple, units), units, multiple), units]
    return max(allowed, key=lambda k: (-abs(k - width), k))


def _by_rule(
    groups: tuple[ChannelGroup, ...], ratio: float, spare_narrow: float, multiple: int, first: float = 1.0
) -> Widths:
    """Return the units of each group; a unit may be several channels, a head of attention, and is then kept singly.

    The first group keeps so many times what its width says.
    """
    channels = {group: group.units * group.channels_per_unit for group in groups}
    found = []
    for group, own in channels.items():
        factor = first if group is groups[0] else 1.0
        kept = min(own, ratio * factor * own * (max(channels.values()) / own) ** spare_narrow)
        step = multiple if group.channels_per_unit == 1 else 1
        found.append(_nearest(kept / group.channels_per_unit, group.units, step))
    return tuple(found)


@settings(max_examples=40, deadline=None)
@given(
    spare_narrow=st.sampled_from([0.0, 0.3, 0.5, 1.0]),
    multiple=st.sampled_from([1, 4, 8]),
    ratio=st.floats(0.01, 4.0),
    first=st.sampled_from([0.3, 1.0, 2.5]),
)
def test_a_ratio_gives_the_widths_of_the_rule(
    encoder: Encoder, first_group: str, spare_narrow: float, multiple: int, ratio: float, first: float
) -> None:
    keep_factors = {first_group: first} if first != 1 else {}
    table = PrunableEncoder(
        encoder, CutRule(spare_narrow=spare_narrow, keep_factors=keep_factors)
    ).cutter.table
    # A hair beside the ratio as well: where two widths meet, rounding decides.
    wanted = {
        _by_rule(table.groups, ratio * (1 + e), spare_narrow, multiple, first) for e in (-1e-9, 0, 1e-9)
    }
    assert wanted & {widths for _, widths in table.configurations(multiple)}


@pytest.mark.parametrize("spare_narrow", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("multiple", [1, 8])
@pytest.mark.parametrize("first", [0.3, 1.0])
def test_larger_capacities_contain_smaller_ones(
    encoder: Encoder, first_group: str, spare_narrow: float, multiple: int, first: float
) -> None:
    factors = {first_group: first}
    table = PrunableEncoder(encoder, CutRule(spare_narrow=spare_narrow, keep_factors=factors)).cutter.table
    configurations = table.configurations(multiple)
    assert [c for c, _ in configurations] == sorted({c for c, _ in configurations})
    for (_, narrow), (_, wide) in itertools.pairwise(configurations):
        assert all(a <= b for a, b in zip(narrow, wide, strict=True))
    assert configurations[-1] == (1.0, table.dense)


@pytest.mark.parametrize("multiple", [1, 8, 16])
def test_one_keeps_the_same_number_of_channels_everywhere(multiple: int) -> None:
    """On widths whose ratios are no powers of two, where floating point would part groups that belong together."""
    options = {"channels": [16, 32, 96, 160], "layers": [1, 1, 1, 1]}
    encoder = Encoder.from_timm("resnet18", dimension=8, image_size=(32, 32), options=options)
    table = _table(encoder, 1.0)
    for _, widths in table.configurations(multiple):
        cut = [kept for kept, group in zip(widths, table.groups, strict=True) if kept < group.units]
        assert len(set(cut)) <= 1
        assert all(
            kept == group.units for kept, group in zip(widths, table.groups, strict=True) if kept not in cut
        )


def test_zero_keeps_the_same_ratio_everywhere(encoder: Encoder) -> None:
    table = _table(encoder, 0.0)
    _, widths = table.widths(0.5, 1)
    ratios = [kept / group.units for kept, group in zip(widths, table.groups, strict=True)]
    assert max(ratios) - min(ratios) <= 1 / min(group.units for group in table.groups)


@pytest.mark.parametrize("wrong", [-0.1, 1.1, float("nan")])
def test_an_exponent_outside_its_range_is_refused(encoder: Encoder, wrong: float) -> None:
    with pytest.raises(EncoderError, match="spare_narrow"):
        _table(encoder, wrong)


def test_factors_of_all_patterns_that_fit_are_multiplied() -> None:
    sizes = {"a.conv1": 8, "a.conv2": 8, "b.conv1": 8}
    keep_factors = {"a.*": 0.5, "*.conv1": 3.0}
    assert stretches(sizes, 1.0, keep_factors) == [1.5, 0.5, 3.0]


@pytest.mark.parametrize("granularity", ["channel", "weight"])
@pytest.mark.parametrize(
    ("keep_factors", "says"),
    [
        ({"*.layer9.*": 0.5}, "'\\*.layer9.\\*' fits nothing that is cut; there are backbone"),
        ({"*": 0.0}, "must be in"),
        ({"*": float("nan")}, "must be in"),
        ({"*": float("inf")}, "must be in"),
    ],
)
def test_factors_that_do_not_fit_are_refused(
    encoder: Encoder, granularity: str, keep_factors: dict[str, float], says: str
) -> None:
    with pytest.raises(EncoderError, match=says):
        PrunableEncoder(encoder, CutRule(granularity, keep_factors=keep_factors))


@settings(max_examples=40, deadline=None)
@given(
    spare_narrow=st.sampled_from([0.0, 0.3, 0.5, 1.0]),
    capacity=st.floats(0.05, 1.0),
    factor=st.sampled_from([0.3, 1.0, 2.5]),
)
def test_masks_keep_the_weights_of_the_rule(
    encoder: Encoder, spare_narrow: float, capacity: float, factor: float
) -> None:
    keep_factors = {"*1": factor} if factor != 1 else {}
    prunable = PrunableEncoder(
        encoder, CutRule("weight", spare_narrow=spare_narrow, keep_factors=keep_factors)
    )
    factors = {
        name: factor if name.removesuffix(".weight").endswith("1") else 1.0 for name in prunable.cutter.shapes
    }
    sizes = {name: math.prod(shape) for name, shape in prunable.cutter.shapes.items()}
    largest, wanted = max(sizes.values()), capacity * sum(sizes.values())

    def by_rule(ratio: float) -> dict[str, float]:
        return {k: min(n, ratio * factors[k] * n * (largest / n) ** spare_narrow) for k, n in sizes.items()}

    low, high = 0.0, 1 / min(factors.values())
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if sum(by_rule(middle).values()) > wanted else (middle, high)
    cut = prunable.at(capacity)
    kept = dict(zip(sizes, (int(mask.sum()) for mask in cut.kept()), strict=True))
    assert tuple(kept.values()) == cut.widths
    for name, share in by_rule(low).items():
        assert share - 1.001 <= kept[name] <= max(1, share + 1e-3), name
    assert sum(kept.values()) / sum(sizes.values()) == cut.achieved <= capacity + 1e-9
