from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from prunnet.encoder.encoder import Encoder
from prunnet.errors import EncoderError, UnknownNameError
from prunnet.pruning.channel import score_key
from prunnet.pruning.prunable import PrunableEncoder
from prunnet.pruning.ranking import Ranked, Remembered, by_size, ranks
from prunnet.pruning.rule import CutRule
from tests.oracles.masking import masked_encoder


def _pixels(encoder: Encoder, images: torch.Tensor, count: int = 3) -> torch.Tensor:
    pixels = images[:count].permute(0, 3, 1, 2).float()
    return nn.functional.interpolate(pixels, encoder.image_size, mode="bilinear")


@pytest.mark.parametrize("granularity", ["channel", "weight"])
@pytest.mark.parametrize("capacity", [0.35, 0.6, 1.0])
def test_sliced_equals_masked(
    any_encoder: Encoder, glyph_images: torch.Tensor, granularity: str, capacity: float
) -> None:
    torch.manual_seed(0)
    prunable = PrunableEncoder(copy.deepcopy(any_encoder), CutRule(granularity, channel_multiple=4))
    pixels = _pixels(any_encoder, glyph_images)
    with torch.no_grad():
        sliced = prunable.at(capacity).extract()(pixels)
        masked = masked_encoder(prunable, capacity)(pixels)
        dense = any_encoder(pixels)
    torch.testing.assert_close(sliced, masked, atol=2e-6, rtol=0)
    if capacity < 1:
        assert (sliced - dense).abs().max() > 1e-3, "the cut changed nothing, so equality would prove nothing"


def test_extraction_is_plain_smaller_and_leaves_the_dense_encoder_alone(any_encoder: Encoder) -> None:
    prunable = PrunableEncoder(copy.deepcopy(any_encoder), CutRule("channel", channel_multiple=4))
    before = {name: t.clone() for name, t in prunable.state_dict().items()}
    module = prunable.at(0.4).extract()
    for name, tensor in prunable.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert type(module) is Encoder
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in module.modules())
    kinds = {type(m) for m in any_encoder.modules()}
    assert {type(m) for m in module.modules()} <= kinds
    counted = {n: p.numel() for n, p in module.named_parameters()}
    assert sum(counted.values()) < sum(p.numel() for p in any_encoder.parameters())
    for m in module.modules():  # attributes tell the truth about the tensors
        if isinstance(m, nn.Conv2d):
            assert m.weight.shape[:2] == (m.out_channels, m.in_channels // m.groups)
        if isinstance(m, nn.Linear):
            assert m.weight.shape == (m.out_features, m.in_features)


def test_extracting_twice_gives_the_same(small_encoder: Encoder) -> None:
    prunable = PrunableEncoder(small_encoder, CutRule("channel"))
    first, second = prunable.at(0.5).extract().state_dict(), prunable.at(0.5).extract().state_dict()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[n], second[n]) for n in first)


@settings(max_examples=60, deadline=None)
@given(asked=st.floats(0.02, 1.0), multiple=st.sampled_from([1, 2, 4, 8]))
def test_reached_capacity_never_exceeds_the_asked_one(small_prunable, asked: float, multiple: int) -> None:
    try:
        achieved = small_prunable.at(asked, multiple).achieved
    except EncoderError:
        assert asked < small_prunable.capacities(multiple)[0]
        return
    assert achieved <= asked + 1e-9
    larger = [c for c in small_prunable.capacities(multiple) if achieved < c <= asked]
    assert not larger, "a larger configuration fits as well"
    assert small_prunable.at(achieved, multiple).achieved == achieved


def test_capacity_counts_the_parameters_that_are_left(small_prunable) -> None:
    def prunable_parameters(module: nn.Module) -> int:
        return sum(p.numel() for n, p in module.named_parameters() if not n.startswith("head."))

    # The stem reads colours and so on: every backbone parameter of this network belongs to some group.
    dense = prunable_parameters(small_prunable.at(1.0).extract())
    for capacity in (0.2, 0.5, 0.8):
        left = prunable_parameters(small_prunable.at(capacity).extract())
        assert left / dense == pytest.approx(small_prunable.at(capacity).achieved, abs=1e-12)


def test_widths_are_multiples(small_prunable) -> None:
    for capacity in small_prunable.capacities(8):
        cut = small_prunable.at(capacity, 8)
        for group, width in zip(small_prunable.cutter.groups, cut.widths, strict=True):
            assert width % 8 == 0 or width == group.units


@settings(max_examples=40, deadline=None)
@given(low=st.floats(0.05, 1.0), high=st.floats(0.05, 1.0), seed=st.integers(0, 99))
def test_subnetworks_are_nested(small_prunable, low: float, high: float, seed: int) -> None:
    low, high = sorted((low, high))
    generator = torch.Generator().manual_seed(seed)
    scores = {
        k: torch.randint(-3, 4, s.shape, generator=generator).float()
        for k, s in small_prunable.scores.items()
    }
    small = small_prunable.cutter.kept(small_prunable.at(low, 4).widths, scores)
    large = small_prunable.cutter.kept(small_prunable.at(high, 4).widths, scores)
    for inner, outer in zip(small, large, strict=True):
        assert set(inner.tolist()) <= set(outer.tolist())


def test_weight_masks_keep_the_top_by_absolute_score(small_encoder: Encoder) -> None:
    prunable = PrunableEncoder(small_encoder, CutRule("weight"))
    small, large = prunable.at(0.3).kept(), prunable.at(0.6).kept()
    for scores, mask, wider in zip(prunable.scores.values(), small, large, strict=True):
        score = scores.detach().abs()
        assert int(mask.sum()) == max(1, int(0.3 * score.numel() + 1e-6))
        assert score[mask].min() >= score[~mask].max()
        assert bool((mask <= wider).all())


def test_dense_extraction_is_the_dense_encoder(any_encoder: Encoder, glyph_images: torch.Tensor) -> None:
    pixels = _pixels(any_encoder, glyph_images)
    for granularity in ("channel", "weight"):
        dense = PrunableEncoder(copy.deepcopy(any_encoder), CutRule(granularity)).at(1.0).extract()
        with torch.no_grad():
            assert torch.equal(dense(pixels), any_encoder(pixels))


def test_skeleton_has_the_shapes_of_the_extraction(any_encoder: Encoder) -> None:
    prunable = PrunableEncoder(copy.deepcopy(any_encoder), CutRule("channel"))
    skeleton, module = prunable.at(0.5).skeleton(), prunable.at(0.5).extract()
    assert all(p.is_meta for p in skeleton.parameters())
    shapes = {n: t.shape for n, t in skeleton.state_dict().items()}
    assert shapes == {n: t.shape for n, t in module.state_dict().items()}


def test_what_keeps_full_width_has_a_reason(any_encoder: Encoder) -> None:
    fixed = PrunableEncoder(copy.deepcopy(any_encoder), CutRule("channel")).fixed
    assert fixed["head.project"] == "the embedding's dimension is the gallery's"
    if any(isinstance(m, nn.LayerNorm) for m in any_encoder.modules()):
        assert any("normalised over the channel axis" in why for why in fixed.values())


@pytest.mark.parametrize("capacity", [0.0, -0.1, 1.1, float("nan")])
def test_a_capacity_out_of_range_is_refused(small_prunable, capacity: float) -> None:
    with pytest.raises(EncoderError, match=r"not in \(0, 1\]"):
        small_prunable.at(capacity).extract()


def test_a_capacity_too_small_names_the_smallest(small_prunable) -> None:
    smallest = small_prunable.capacities(8)[0]
    with pytest.raises(EncoderError, match=f"{smallest:.4g}"):
        small_prunable.at(smallest / 2, 8).extract()


def test_unknown_granularity_and_score_start(small_encoder: Encoder) -> None:
    with pytest.raises(UnknownNameError, match="channel, weight"):
        PrunableEncoder(small_encoder, CutRule("filter"))
    with pytest.raises(UnknownNameError, match="magnitude, prefix, random"):
        PrunableEncoder(small_encoder).reset_scores("zero")
    with pytest.raises(UnknownNameError, match="magnitude, random"):
        PrunableEncoder(small_encoder, CutRule("weight")).reset_scores("prefix")


def test_score_gradients_are_those_of_gates(small_encoder: Encoder, glyph_images: torch.Tensor) -> None:
    """Independent reference: multiply each unit's reading weights by a real gate and let autograd differentiate."""
    encoder = copy.deepcopy(small_encoder)
    prunable = PrunableEncoder(encoder, CutRule("channel"))
    pixels = _pixels(encoder, glyph_images)
    target = torch.randn(3, 32, generator=torch.Generator().manual_seed(1))
    named = dict(encoder.named_parameters())
    gradients = torch.autograd.grad((encoder(pixels) * target).sum(), list(named.values()))
    found = prunable.cutter.score_gradients(named, dict(zip(named, gradients, strict=True)))
    for group in prunable.cutter.groups:
        gate = torch.ones(group.units, requires_grad=True)
        gated = dict(named)
        for s in group.slices:
            if s.consumer:
                assert s.table.shape[1] == 1
                order = torch.empty_like(s.table[:, 0])
                order[s.table[:, 0]] = torch.arange(group.units)
                shape = [1] * gated[s.name].ndim
                shape[s.dim] = -1
                gated[s.name] = gated[s.name] * gate[order].view(shape)
        out = torch.func.functional_call(encoder, gated, (pixels,))
        (wanted,) = torch.autograd.grad((out * target).sum(), gate)
        torch.testing.assert_close(found[score_key(group)], wanted, atol=1e-5, rtol=1e-4)


def test_training_pass_equals_the_extraction_on_batch_statistics(
    small_encoder: Encoder, glyph_images: torch.Tensor
) -> None:
    for granularity, adapters in (("channel", "smooth"), ("channel", "full"), ("weight", "full")):
        prunable = PrunableEncoder(copy.deepcopy(small_encoder), CutRule(granularity, adapters=adapters))
        for correction in prunable.adapters.parameters():
            nn.init.uniform_(correction, -0.1, 0.1)
        before = {n: b.clone() for n, b in prunable.encoder.named_buffers()}
        pixels = _pixels(small_encoder, glyph_images, 8)
        with torch.no_grad():
            trained = prunable.features_at(0.4, pixels, dict(prunable.encoder.named_parameters()))
            module = prunable.at(0.4).extract().train()
            extracted = module.features(pixels)
        torch.testing.assert_close(trained, extracted, atol=1e-5, rtol=1e-5)
        assert all(torch.equal(b, before[n]) for n, b in prunable.encoder.named_buffers()), (
            "statistics touched"
        )


def test_adapters_leave_the_dense_encoder_alone(small_encoder: Encoder) -> None:
    prunable = PrunableEncoder(copy.deepcopy(small_encoder), CutRule("channel", adapters="smooth"))
    plain = prunable.at(0.5).extract().state_dict()
    for correction in prunable.adapters.parameters():
        nn.init.constant_(correction, 0.5)
    dense = prunable.at(1.0).extract().state_dict()
    assert all(torch.equal(t, prunable.encoder.state_dict()[n]) for n, t in dense.items())
    changed = prunable.at(0.5).extract().state_dict()
    achieved = prunable.at(0.5).achieved
    shift = 0.5 * ((1 - achieved) + (1 - achieved) ** 2)
    torch.testing.assert_close(changed["head.project.weight"], plain["head.project.weight"] + shift)


def test_full_adapters_correct_every_parameter_and_fade_towards_dense(small_encoder: Encoder) -> None:
    prunable = PrunableEncoder(copy.deepcopy(small_encoder), CutRule("channel", adapters="full"))
    for correction in prunable.adapters.parameters():
        nn.init.constant_(correction, 0.5)
    dense = dict(prunable.encoder.named_parameters())
    norms = {
        f"{name}.{tensor}"
        for name, module in prunable.encoder.named_modules()
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d)
        for tensor in ("weight", "bias")
    }
    for asked in (0.2, 0.9):
        cut = prunable.at(asked)
        adapted, achieved = cut.adapted(dense), cut.achieved
        for name, tensor in dense.items():
            square = name in norms or name == "head.project.weight"  # these have a quadratic term too
            shift = 0.5 * ((1 - achieved) + square * (1 - achieved) ** 2)
            torch.testing.assert_close(adapted[name], tensor + shift)
    assert prunable.at(1.0).adapted(dense) is dense


@pytest.fixture(scope="session")
def small_prunable(small_encoder: Encoder) -> PrunableEncoder:
    torch.manual_seed(0)
    return PrunableEncoder(copy.deepcopy(small_encoder), CutRule("channel"))


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=40), st.data())
def test_ranks_keep_what_thresholds_keep(values: list[int], data: st.DataObject) -> None:
    """A GPU masks by rank, the CPU by threshold; ties abound."""
    score, ranked = torch.tensor(values, dtype=torch.float32), Ranked()
    count = data.draw(st.integers(1, len(values)))
    assert torch.equal(ranks(score) < count, ranked.mask("s", score, count))


def test_a_changed_score_is_ranked_anew() -> None:
    remembered, score = Remembered(), torch.tensor([1.0, 3.0, 2.0])
    assert remembered.of("s", score, by_size).tolist() == [1, 2, 0]
    with torch.no_grad():
        score[0] = 9
    assert remembered.of("s", score, by_size).tolist() == [0, 1, 2]
    other = torch.tensor([0.0, 1.0, 5.0])
    assert remembered.of("s", other, by_size).tolist() == [2, 1, 0]


def test_a_copy_remembers_nothing() -> None:
    """A copied tensor counts its changes from the start, so an old ranking would seem to be of today."""
    remembered, scores = Remembered(), {"s": nn.Parameter(torch.tensor([1.0, 3.0, 2.0]))}
    with torch.no_grad():
        scores["s"].mul_(1)
    remembered.of("s", scores["s"], by_size)
    again, copied = copy.deepcopy((remembered, scores))
    with torch.no_grad():
        copied["s"].copy_(torch.tensor([5.0, 0.0, 1.0]))
    assert again.of("s", copied["s"], by_size).tolist() == [0, 2, 1]
