"""Families of timm: what can be cut of them, that the slice is right, and that groups keep their names."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks.backbone_trial import cut
from benchmarks.backbone_trials import FAMILIES
from prunnet.encoder.encoder import Encoder
from prunnet.errors import EncoderError
from prunnet.package.load import load_encoder
from prunnet.pruning.grouping.find import find_groups

SHARES = {
    "mobilenetv4_conv_small": 0.99,
    "mobilenetv4_hybrid_medium": 0.99,
    "mobilevit_xxs": 0.99,
    "mobilevitv2_050": 0.99,
    "fastvit_t8": 0.99,
    "mobileone_s0": 0.99,
    "ghostnet_050": 0.99,
    "repvit_m0_9": 0.99,
    "edgenext_xx_small": 0.75,
    "efficientformerv2_s0": 0.97,
    "levit_128s": 0.99,
    "tiny_vit_5m_224": 0.99,
}
"""Families for phones, and the share of parameters that is cut at least."""
REFUSED = ("nf_resnet50", "convnextv2_atto")
OTHERS = [
    names.split()[0]
    for family, names in FAMILIES.items()
    if family != "own module" and names.split()[0] not in {*SHARES, *REFUSED}
]


def _is_right(found: dict[str, Any]) -> bool:
    return found["differs"] < 1e-5 and found["spread"] > 1e-3


@pytest.mark.parametrize("name", SHARES)
def test_what_runs_on_phones_is_cut(name: str) -> None:
    found, prunable, _ = cut(name)
    assert _is_right(found)
    assert found["share"] >= SHARES[name]
    assert prunable.capacities()[0] < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_other_families_are_cut_right(name: str) -> None:
    found, _, _ = cut(name)
    assert _is_right(found)


@pytest.mark.slow
@pytest.mark.parametrize("name", REFUSED)
def test_a_network_of_which_nothing_can_be_cut_is_refused(name: str) -> None:
    with pytest.raises(EncoderError, match="no channel of this backbone can be cut"):
        cut(name)


NAMES: dict[tuple[str, str], str] = {
    ("resnet18", "{}"): "c4a46182541cc82d",
    ("resnet50", "{}"): "bb17014fe2c47ee4",
    ("resnext50_32x4d", "{}"): "3246d5acf0f79203",
    ("mobilenetv2_100", "{}"): "b3473e738f396c71",
    ("convnext_atto", "{}"): "6acd63cd7ffa2fa2",
    ("convnext_tiny", "{}"): "0a51100877b6abcb",
    ("vit_tiny_patch16_224", "{}"): "dea6fdff81942249",
    ("vit_small_patch16_224", "{}"): "d2a1c4125a265295",
    ("swin_tiny_patch4_window7_224", "{}"): "7870c03000275cbf",
    ("efficientnet_b0", "{}"): "61aa525b7c0f3b2c",
    ("mobilenetv3_small_100", "{}"): "94fe60205a2d9d84",
    ("regnety_002", "{}"): "de6a08747c35f977",
    ("mobilenetv4_conv_small", "{}"): "489d5946799deb58",
    ("hrnet_w18_small", "{}"): "7100a85df3b12c1e",
    ("seresnet50", "{}"): "4c9fe90823192f43",
    ("repvgg_a0", "{}"): "0de21b1e3d7421a4",
    ("vgg11_bn", "{}"): "e7b736a4b5970dd1",
    ("lcnet_050", "{}"): "48b424c6b5f4683f",
    ("tinynet_e", "{}"): "aab2e923b1fa69b9",
    ("deit_tiny_patch16_224", "{}"): "dea6fdff81942249",
    ("glyphs", "{}"): "95108551d24c6f72",
}
"""Digests of groups as Torch-Pruning's dependency graph gave them. Packages store scores by these names and units."""
LIGHT = ("resnet18", "mobilenetv2_100", "regnety_002", "lcnet_050", "glyphs", "vit_tiny_patch16_224")


@pytest.mark.parametrize(
    ("name", "options"),
    [pytest.param(*k, marks=[] if k[0] in LIGHT else [pytest.mark.slow]) for k in NAMES],
)
def test_groups_keep_their_names_units_and_tables(name: str, options: str) -> None:
    if name == "glyphs":
        encoder = load_encoder(name).prunable.encoder
    else:
        encoder = Encoder.from_timm(name, dimension=32, image_size=(64, 64), options=json.loads(options))
    said = [
        (
            g.name,
            g.units,
            g.channels_per_unit,
            sorted([s.module, s.tensor, s.dim, s.table.tolist(), s.consumer] for s in g.slices),
        )
        for g in find_groups(encoder).groups
    ]
    assert hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16] == NAMES[name, options]


def test_finding_groups_leaves_the_encoder_as_it_was() -> None:
    torch.manual_seed(0)
    encoder = Encoder.from_timm("efficientformerv2_s0", dimension=8, image_size=(64, 64)).train()
    encoder.backbone.stem.eval()
    before = {n: t.clone() for n, t in encoder.state_dict().items()}
    modes = {n: m.training for n, m in encoder.named_modules()}
    find_groups(encoder)
    assert all(torch.equal(t, before[n]) for n, t in encoder.state_dict().items())
    assert {n: m.training for n, m in encoder.named_modules()} == modes
    caches = [m.attention_bias_cache for m in encoder.modules() if hasattr(m, "attention_bias_cache")]
    assert caches and not any(caches), "a bias that was looked up before training would stay what it was"
    assert not any(
        m._forward_hooks or m._forward_pre_hooks for m in encoder.modules() if type(m) is not nn.Module
    )
