from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prunnet.encoder.encoder import Encoder
from prunnet.pruning.prunable import PrunableEncoder
from prunnet.pruning.rule import CutRule
from prunnet.pruning.slicing import sliced
from tests.prunnet.conftest import make_encoder


@settings(max_examples=60, deadline=None)
@given(
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    seed=st.integers(0, 1000),
    last=st.booleans(),
    data=st.data(),
)
def test_equals_index_select_with_its_gradient(
    shape: list[int], seed: int, last: bool, data: st.DataObject
) -> None:
    torch.manual_seed(seed)
    tensor = torch.randn(shape, dtype=torch.float64)
    if last and tensor.ndim == 4:
        tensor = tensor.contiguous(memory_format=torch.channels_last)
    dims = data.draw(st.sets(st.integers(0, len(shape) - 1), min_size=1))
    indices = {d: torch.randperm(shape[d])[: data.draw(st.integers(1, shape[d]))] for d in dims}
    wanted_of, found_of = tensor.clone().requires_grad_(), tensor.clone().requires_grad_()
    wanted = wanted_of
    for dim, index in indices.items():
        wanted = wanted.index_select(dim, index)
    found = sliced(found_of, indices)
    assert torch.equal(found, wanted)
    weight = torch.randn_like(wanted)
    (wanted * weight).sum().backward()
    (found * weight).sum().backward()
    assert torch.equal(found_of.grad, wanted_of.grad)


def test_nothing_to_slice_is_the_tensor_itself() -> None:
    tensor = torch.randn(3)
    assert sliced(tensor, {}) is tensor


def test_the_order_in_memory_is_kept() -> None:
    tensor = torch.randn(8, 6, 3, 3).contiguous(memory_format=torch.channels_last).requires_grad_()
    part = sliced(tensor, {0: torch.tensor([1, 4]), 1: torch.tensor([0, 2, 5])})
    assert part.is_contiguous(memory_format=torch.channels_last)
    part.sum().backward()
    assert tensor.grad.is_contiguous(memory_format=torch.channels_last)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return make_encoder("resnet18")


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("ties", [False, True])
def test_a_mask_keeps_the_largest_scores_and_of_equal_ones_the_first(
    encoder: Encoder, layout: torch.memory_format, ties: bool
) -> None:
    prunable = PrunableEncoder(encoder, CutRule("weight"))
    torch.manual_seed(2)
    with torch.no_grad():
        for score in prunable.scores.values():
            drawn = torch.randn(score.shape)
            score.data = (drawn.round(decimals=1) if ties else drawn).contiguous(memory_format=layout)
    ranked = {}
    for name in list(prunable.scores)[:4]:
        sizes = prunable.scores[name].abs().flatten().tolist()
        ranked[name] = sorted(range(len(sizes)), key=lambda i, sizes=sizes: (-sizes[i], i))
    for capacity in (0.05, 0.2, 0.5, 0.8, 0.97):
        masks = dict(zip(prunable.scores, prunable.at(capacity).kept(), strict=True))
        for name, order in ranked.items():
            kept = set(order[: max(1, int(capacity * len(order) + 1e-6))])
            found = masks[name].flatten().tolist()
            assert {i for i, keep in enumerate(found) if keep} == kept


def test_ranking_together_changes_nothing_and_is_forgotten_with_the_scores(encoder: Encoder) -> None:
    prunable, plain = PrunableEncoder(encoder, CutRule("weight")), PrunableEncoder(encoder, CutRule("weight"))
    plain.load_state_dict(prunable.state_dict())
    capacities = (0.4, 0.1, 0.8, 0.4)

    def masks(of: PrunableEncoder) -> list[torch.Tensor]:
        return [mask for capacity in capacities for mask in of.at(capacity).kept()]

    prunable.expect((*capacities, 1.0))
    assert all(torch.equal(a, b) for a, b in zip(masks(prunable), masks(plain), strict=True))
    with torch.no_grad():
        for mine, other in zip(prunable.scores.values(), plain.scores.values(), strict=True):
            other.copy_(torch.randn(other.shape))
            mine.copy_(other)
    assert all(torch.equal(a, b) for a, b in zip(masks(prunable), masks(plain), strict=True))
