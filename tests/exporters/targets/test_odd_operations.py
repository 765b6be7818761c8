"""Operations that a target's toolchain takes and gets wrong: each converts and computes the same, or is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from exporters.errors import ExportError
from exporters.pipeline.verification import verify
from exporters.targets.adaptive_pool import with_fixed_windows
from exporters.targets.explained import explained, operations_of
from exporters.targets.registry import get_exporter
from exporters.targets.spec import ExportSpec
from exporters.targets.tflite.broadcast import without_expansions
from prunnet.encoder.batchnorm import reestimate
from prunnet.encoder.embedding import embed
from prunnet.encoder.encoder import Encoder
from prunnet.package.metadata import preprocessing_of
from runtime_py.backends import open_backend
from runtime_py.bundle.identity import Identity
from runtime_py.bundle.probes import Probes
from runtime_py.bundle.tolerances import TABLE

SIDE = 32
IMAGES = np.random.default_rng(0).integers(0, 255, (8, SIDE, SIDE, 3)).astype(np.uint8)


class Pooled(nn.Module):
    def __init__(self, pool: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.pool = pool

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.pool(self.body(x))


class Excite(nn.Module):
    """A gate on channels, spelled with an expansion, before a convolution."""

    def __init__(self, gate: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.squeeze, self.after, self.gate = nn.Conv2d(16, 16, 1), nn.Conv2d(16, 24, 3, 1, 1), gate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weights = self.squeeze(F.adaptive_avg_pool2d(x, 1)).sigmoid()
        return self.after(self.gate(x, weights)).mean((2, 3))


GATES: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "expand_as": lambda x, w: x * w.expand_as(x),
    "expand_as first": lambda x, w: w.expand_as(x) * x,
    "expand": lambda x, w: x * w.expand(-1, -1, *x.shape[2:]),
    "repeat": lambda x, w: x * w.repeat(1, 1, *x.shape[2:]),
    "plus one": lambda x, w: x * (w.expand_as(x) + 1),
    "concatenated": lambda x, w: torch.cat([x[:, :8], w.expand_as(x)[:, 8:]], 1),
    "one channel": lambda x, w: x * w.mean(1, keepdim=True).expand_as(x),
    "one channel concatenated": lambda x, w: torch.cat([x[:, :8], w[:, :1].expand_as(x)[:, 8:]], 1),
}


def pooled(pool: Callable[[torch.Tensor], torch.Tensor]) -> Encoder:
    torch.manual_seed(0)
    encoder = Encoder.from_module(Pooled(pool), dimension=16, image_size=(SIDE, SIDE))
    reestimate(encoder, torch.from_numpy(IMAGES))
    return encoder.eval()


def distance(target: str, encoder: Encoder, folder: Path) -> tuple[float, tuple[str, ...]]:
    """Convert, run, and return the largest difference from torch, with the exporter's notes."""
    spec = ExportSpec(Identity("x", "0" * 32, 1.0, 16, "0"), preprocessing_of(encoder), "fp32", IMAGES)
    artifact = get_exporter(target).convert(encoder, spec, folder)
    found = open_backend(target, artifact.path, artifact.input, artifact.output).run(IMAGES)
    return float(np.abs(found - embed(encoder, IMAGES)).max()), artifact.notes


@pytest.mark.parametrize("gate", GATES.values(), ids=GATES)
def test_an_expansion_is_rewritten_without_a_difference(gate: Callable) -> None:
    encoder = pooled(Excite(gate))
    example = torch.rand(1, 3, SIDE, SIDE) * 255
    plain = without_expansions(encoder, example)
    assert plain is not encoder
    with torch.no_grad():
        assert torch.equal(plain(example), encoder(example))
    shapes = [n.meta["val"].ndim for n in plain.graph.nodes if "expand" in n.name or "repeat" in n.name]
    assert 4 not in shapes


def test_a_network_without_expansions_is_left_alone() -> None:
    encoder = pooled(lambda x: x.mean((2, 3)))
    assert without_expansions(encoder, torch.zeros(1, 3, SIDE, SIDE)) is encoder


@pytest.mark.parametrize(
    "name", ["expand_as", *(pytest.param(n, marks=pytest.mark.slow) for n in GATES if n != "expand_as")]
)
def test_tflite_computes_an_expansion_before_a_convolution(name: str, tmp_path: Path) -> None:
    assert distance("tflite", pooled(Excite(GATES[name])), tmp_path)[0] < 1e-4


POSITIVE: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "gem": lambda x: x.clamp(min=1e-6).pow(3.0).mean((2, 3)).pow(1 / 3),
    "clamp": lambda x: x.clamp(min=0.5).mean((2, 3)),
    "both ends": lambda x: x.clamp(0.25, 3).mean((2, 3)),
    "hardtanh": lambda x: F.hardtanh(x, 0.1, 4.0).mean((2, 3)),
    "sum": lambda x: (x + x.flip(2)).clamp(min=1e-2).mean((2, 3)),
    "below zero": lambda x: x.clamp(-2, 2).mean((2, 3)),
}


@pytest.mark.parametrize(
    "name", ["gem", *(pytest.param(n, marks=pytest.mark.slow) for n in POSITIVE if n != "gem")]
)
def test_executorch_clamps_above_zero(name: str, tmp_path: Path) -> None:
    apart, notes = distance("executorch", pooled(POSITIVE[name]), tmp_path)
    assert apart < 1e-4
    if name == "gem":
        assert any("clamp runs in ExecuTorch's own kernels" in note and "error 0x1" in note for note in notes)


class Windows(nn.Module):
    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.adaptive_max_pool2d(x, self.size).flatten(1)


class Bicubic(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.interpolate(x, size=(24, 24), mode="bicubic").mean((2, 3))


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 5), (7, 1)])
def test_an_adaptive_maximum_has_fixed_windows(size: tuple[int, int]) -> None:
    encoder, example = pooled(Windows(size)), torch.rand(1, 3, SIDE, SIDE) * 255
    plain = with_fixed_windows(encoder, example)
    assert not any("adaptive_max" in node.name for node in plain.graph.nodes)
    with torch.no_grad():
        assert torch.equal(plain(example), encoder(example))


@pytest.mark.parametrize(
    "target", ["onnx", *(pytest.param(t, marks=pytest.mark.slow) for t in ("executorch", "tflite"))]
)
def test_a_target_pools_adaptively(target: str, tmp_path: Path) -> None:
    assert distance(target, pooled(Windows((3, 5))), tmp_path)[0] < 1e-4


def test_a_conversion_that_fails_names_operation_module_and_remedy(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"upsample_bicubic2d in backbone\.pool") as caught:
        distance("coreml", pooled(Bicubic()), tmp_path)
    assert caught.value.stage == "convert" and "interpolate bilinearly" in str(caught.value)


def test_faults_are_explained_from_the_message() -> None:
    encoder, example = pooled(lambda x: x.mean((2, 3))), torch.zeros(1, 3, SIDE, SIDE)
    said = explained("boom", ValueError("no lowering for aten.conv2d.default"), encoder, example)
    assert said.startswith("boom. At fault: conv2d in backbone.body.0 (replace it in the backbone")
    said = explained("boom", ValueError("something else"), encoder, example)
    assert "names no operation" in said and "batch_norm" in said
    graph = ValueError("the graph: conv2d batch_norm relu mean linear")
    graph.__cause__ = ValueError("no function for aten.mean.dim")
    assert "At fault: mean in backbone" in explained("boom", graph, encoder, example)
    graph.__cause__ = None
    assert "names no operation" in explained("boom", graph, encoder, example)
    places = operations_of(torch.export.export(encoder, (example,)))
    assert places["relu"] == ["backbone.body.2"] and places["linear"] == ["head.project"]


def test_what_torch_can_not_trace_is_said_so() -> None:
    class Branching(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if float(x.sum()) > 0 else -x

    said = explained("boom", None, Branching(), torch.ones(1, 3, SIDE, SIDE))
    assert "must not branch on values" in said


def test_an_operation_without_a_kernel_is_named_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("executorch")
    from exporters.targets.executorch import delegate

    tried = []
    lowered = delegate._lowered
    monkeypatch.setattr(delegate, "_lowered", lambda *given: tried.append(given[2]) or lowered(*given))
    encoder = pooled(lambda x: x.flatten(2).sort(-1).values[..., -3:].mean(-1))
    with pytest.raises(ExportError, match=r"no kernel for the operation sort\.values \(pool with a mean"):
        distance("executorch", encoder, tmp_path)
    assert tried == [frozenset()]


def test_what_the_runtime_does_not_open_names_the_operation_and_no_copy(tmp_path: Path) -> None:
    module = Encoder.from_module(
        Pooled(lambda x: x.flatten(2).topk(5, -1).values.mean(-1)), dimension=8, image_size=(SIDE, SIDE)
    ).eval()
    spec = ExportSpec(Identity("x", "0" * 64, 1.0, 8, "0"), preprocessing_of(module), "fp32", IMAGES)
    artifact = get_exporter("tflite").convert(module, spec, tmp_path)
    probes = Probes(IMAGES, np.arange(len(IMAGES)) // 2, *[embed(module, IMAGES)] * 2)
    with pytest.raises(ExportError, match=r"(?s)STABLEHLO_SORT.* take tflite out of the profile") as caught:
        verify("tflite", artifact, spec, probes, TABLE["fp32"])
    assert (caught.value.stage, "copy the bundle" in str(caught.value)) == ("verify", False)
