from __future__ import annotations

import pytest
import torch
from torch import nn

from prunnet.encoder.encoder import Encoder

BACKBONES = {
    "resnet18": ({"channels": [16, 24, 32, 48], "stem_type": "deep", "stem_width": 8}, 32),
    "mobilenetv2_100": ({}, 32),
    "convnext_atto": ({"depths": [1, 1, 2, 1], "dims": [16, 32, 64, 96]}, 32),
    "vit_tiny_patch16_224": ({"depth": 3}, 32),
    "resnext50_32x4d": ({"layers": [1, 1, 1, 1], "cardinality": 8}, 32),
    "swin_tiny_patch4_window7_224": (
        {"depths": (1, 1, 2, 1), "embed_dim": 24, "num_heads": (2, 4, 8, 8)},
        224,
    ),
}


def make_encoder(name: str) -> Encoder:
    """A backbone of timm in small, with weights that make every branch matter and statistics that are not trivial."""
    options, size = BACKBONES[name]
    torch.manual_seed(3)
    encoder = Encoder.from_timm(name, dimension=32, image_size=(size, size), options=options)
    for module in encoder.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)
        if hasattr(module, "gamma") and isinstance(module.gamma, nn.Parameter):
            nn.init.uniform_(module.gamma, 0.5, 1.0)  # ConvNeXt's layer scale starts at 1e-6: nothing to see
    return encoder.eval()


@pytest.fixture(scope="session", params=BACKBONES)
def any_encoder(request: pytest.FixtureRequest) -> Encoder:
    return make_encoder(request.param)


@pytest.fixture(scope="session")
def small_encoder() -> Encoder:
    return make_encoder("resnet18")


@pytest.fixture(scope="session")
def glyph_images() -> torch.Tensor:
    """uint8 [64, 32, 32, 3], real rendered glyphs."""
    from prunnet.data.glyph_set import fixed_views
    from prunnet.data.glyphs import load_glyphs

    pictures = torch.from_numpy(load_glyphs().pictures[::500][:64])
    return torch.from_numpy(fixed_views(pictures, 5, 32))
