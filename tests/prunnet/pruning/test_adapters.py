"""Corrections of the subnetworks' own: what is trained with them is what is extracted."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from benchmarks.own_modules import layer
from prunnet.encoder.encoder import Encoder
from prunnet.pruning.prunable import PrunableEncoder
from prunnet.pruning.rule import CutRule
from prunnet.train.recipe.method import MethodSpec
from prunnet.train.step.step import Classifier, JointStep


class _Shared(nn.Module):
    """Uses a block, the weight of a convolution, or a BatchNorm a second time, under another name."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.stem, self.first, self.second = layer(3, 16, 3, 2), layer(16, 16), layer(16, 16)
        if what == "block":
            self.second = self.first
        elif what == "weight":
            self.second[0].weight = self.first[0].weight
        else:
            self.second[1] = self.first[1]

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.second(self.first(self.stem(x)))
        return out


@pytest.mark.parametrize("kind", ["full", "smooth", "switched"])
@pytest.mark.parametrize("granularity", ["channel", "weight"])
@pytest.mark.parametrize("what", ["block", "weight", "norm"])
def test_what_modules_share_is_corrected_under_each_name(what: str, granularity: str, kind: str) -> None:
    torch.manual_seed(0)
    encoder = Encoder.from_module(_Shared(what), dimension=8, image_size=(16, 16))
    prunable = PrunableEncoder(encoder, CutRule(granularity, 1, adapters=kind, trained=(0.5,)))
    for correction in prunable.adapters.parameters():
        nn.init.uniform_(correction, 0.1, 0.3)
    normal, cut = torch.randn(8, 3, 16, 16), prunable.at(0.5)
    with torch.no_grad():
        trained = prunable.features_of(0.5, normal, dict(encoder.named_parameters()))
        plain = cut.of(dict(encoder.named_parameters()))
        module = cut.extract()
        assert not torch.equal(module.backbone.first[1].weight, plain["backbone.first.1.weight"])
        torch.testing.assert_close(trained, module.train().features_of(normal), atol=1e-5, rtol=1e-5)


def _switched(trained: tuple[float, ...]) -> PrunableEncoder:
    options = {"channels": [16, 32, 64, 128], "layers": [1, 1, 1, 1]}
    torch.manual_seed(0)
    encoder = Encoder.from_timm("resnet18", dimension=8, image_size=(32, 32), options=options)
    return PrunableEncoder(encoder, CutRule(adapters="switched", trained=trained))


def _used(prunable: PrunableEncoder, achieved: float) -> int:
    """Return which correction a subnetwork takes."""
    (name, correction), *_ = prunable.adapters.corrections.items()
    with torch.no_grad():
        for k, term in enumerate(correction):
            term.fill_(k)
        name = name.replace("/", ".")
        return round(prunable.adapters({name: torch.zeros_like(correction[0])}, achieved)[name][0].item())


def test_each_trained_subnetwork_has_a_correction_of_its_own() -> None:
    trained = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6)
    prunable = _switched(trained)
    achieved = [prunable.at(capacity).achieved for capacity in trained]
    assert any(
        min(trained, key=lambda c: abs(c - a)) != own for a, own in zip(achieved, trained, strict=True)
    )
    first = [achieved.index(a) for a in achieved]
    assert [_used(prunable, a) for a in achieved] == first
    between = (2 * achieved[-2] + achieved[-1]) / 3
    assert _used(prunable, between) == first[-2]


def test_trained_capacities_of_one_subnetwork_share_one_correction() -> None:
    prunable = _switched((0.5, 0.5000001))
    assert prunable.at(0.5).achieved == prunable.at(0.5000001).achieved
    assert _used(prunable, prunable.at(0.5).achieved) == 0


def test_a_switch_that_never_learned_takes_over_the_nearest_that_did() -> None:
    prunable = _switched((0.2, 0.25, 0.6))
    corrections = list(prunable.adapters.parameters())
    prunable.adapters.round()
    assert not any(c.any() for c in corrections), "there is none to take over"
    with torch.no_grad():
        for correction in corrections:
            correction[0], correction[2] = 0.1, 0.5
    prunable.adapters.round()
    for correction in corrections:
        assert torch.equal(correction[1], correction[0])
        assert (correction[0] == torch.tensor(0.1).half()).all() and (correction[2] == 0.5).all()


def test_switches_follow_the_groups_that_were_trained() -> None:
    prunable = _switched((0.02, 0.6))
    before = prunable.at(0.6).achieved
    prunable.restrict([f"scores.{name}" for name in prunable.scores if "layer4" in name])
    after = prunable.at(0.6).achieved
    assert after != before
    assert prunable.capacities()[0] > 0.02, "it cannot be cut any more"
    assert prunable.adapters.switches == (0.02, after)


def test_every_switch_learns() -> None:
    method = MethodSpec(name="switchnet", capacities=(0.2, 0.25, 0.5))
    options = {"channels": [16, 32, 64, 128]}
    torch.manual_seed(0)
    encoder = Encoder.from_timm("resnet18", dimension=8, image_size=(32, 32), options=options)
    prunable = PrunableEncoder(encoder, method.cut_rule).train()
    prunable.reset_scores("prefix")
    step = JointStep(prunable, Classifier(8, 4, None), method)
    step(255 * torch.rand(8, 3, 32, 32), torch.arange(8) % 4, method.capacities)
    for k in range(len(method.capacities)):
        assert any(c.grad is not None and c.grad[k].any() for c in prunable.adapters.parameters()), k
