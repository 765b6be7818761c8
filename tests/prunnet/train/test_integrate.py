from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from prunnet.train.step.integrate import Integration, integrate
from tests.oracles.gradients import integrate_slowly

SHAPES = [(6, 3, 3, 3), (5, 7), (9,)]


def _gradients(seed: int, losses: int) -> list[list[Tensor | None]]:
    generator = torch.Generator().manual_seed(seed)
    return [[torch.randn(s, generator=generator) for s in SHAPES] for _ in range(losses)]


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    losses=st.integers(2, 5),
    alpha=st.sampled_from([0.0, 0.5, 2.0]),
    protect=st.booleans(),
)
def test_equals_the_slow_reference(seed: int, losses: int, alpha: float, protect: bool) -> None:
    gradients = _gradients(seed, losses)
    found = integrate(gradients, Integration(alpha=alpha, protect_dense=protect))
    for number in range(len(SHAPES)):
        wanted = integrate_slowly([row[number] for row in gradients], alpha, protect)
        torch.testing.assert_close(found[number], wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("order", [(1, 0), (3, 1, 0, 2), (0, 1, 4, 2, 3)], ids=["2-D", "4-D", "5-D"])
def test_gradients_in_any_order_in_memory(order: tuple[int, ...]) -> None:
    """Dense in memory, but neither contiguous nor channels_last, as gradients of transposed tensors are."""
    rows = [[torch.randn(2, 3, 4, 5, 6)[(0,) * (5 - len(order))].permute(order)] for _ in range(3)]
    (found,) = integrate(rows, Integration(project=False, alpha=0))
    torch.testing.assert_close(found, sum(row[0] for row in rows))


def test_gradients_that_agree_are_summed() -> None:
    gradient = torch.randn(4, 3, 3, 3)
    (found,) = integrate([[gradient], [2 * gradient]], Integration())
    torch.testing.assert_close(found, 3 * gradient)


def test_two_opposed_gradients_end_without_conflict() -> None:
    dense, other = torch.tensor([1.0, 0.0]), torch.tensor([-1.0, 1.0])
    (found,) = integrate([[dense], [other]], Integration(alpha=0))
    # (1, 0) loses its part along (-1, 1): (0.5, 0.5). (-1, 1) loses its part along (1, 0): (0, 1).
    torch.testing.assert_close(found, torch.tensor([0.5, 1.5]))


def test_a_protected_dense_gradient_is_kept_whole() -> None:
    dense, other = torch.tensor([1.0, 0.0]), torch.tensor([-5.0, 1.0])
    (found,) = integrate([[dense], [other]], Integration(alpha=0, protect_dense=True))
    torch.testing.assert_close(found, torch.tensor([1.0, 1.0]))


@given(seed=st.integers(0, 1000), balance=st.floats(0.1, 2.0))
@settings(max_examples=30, deadline=None)
def test_balance_shortens_only_what_is_longer(seed: int, balance: float) -> None:
    dense, *others = _gradients(seed, 3)
    rows = [dense, [8.0 * g for g in others[0]], [0.01 * g for g in others[1]]]
    found = integrate(rows, Integration(project=False, alpha=0, balance=balance))
    for number, g in enumerate(dense):
        long, short = rows[1][number], rows[2][number]
        allowed = balance * g.norm()
        wanted = (
            g
            + long * min(1.0, float(allowed / long.norm()))
            + short * min(1.0, float(allowed / short.norm()))
        )
        torch.testing.assert_close(found[number], wanted, atol=1e-4, rtol=1e-4)


def test_what_one_loss_alone_moves_is_left_as_it_is() -> None:
    dense = [torch.tensor([3.0]), torch.tensor([1.0, 1.0])]
    found = integrate([dense, [None, torch.tensor([0.0, 1.0])], [None, None]], Integration())
    assert torch.equal(found[0], dense[0])
    assert integrate([[None], [None]], Integration()) == [None]


def test_a_zero_gradient_disturbs_nothing() -> None:
    dense = torch.randn(3, 2, 1, 1)
    (found,) = integrate([[dense], [torch.zeros_like(dense)]], Integration(alpha=0.5, balance=1.0))
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found, dense)


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_a_lone_gradient_needs_no_integration(alpha: float) -> None:
    gradient = torch.randn(4)
    assert torch.equal(integrate([[gradient]], Integration(alpha=alpha))[0], gradient)
