"""Gradients of narrow pointwise convolutions with a stride: right, and no memory damaged, on every instruction set."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from benchmarks.checked_steps import NETWORKS, checked, checker_is_there, environment
from prunnet.errors import TrainingError
from prunnet.torch_fixes import convolution
from prunnet.torch_fixes.convolution import guard_convolutions
from tests.oracles.convolution import pointwise_gradients

ROOT = Path(__file__).parents[3]
CASES = [
    (threads, isa)
    for threads, isa in itertools.product((1, 2), ("AVX2", ""))
    if (threads, isa) != (1, "AVX2")
]


def _gradients(case: dict[str, int], layout: torch.memory_format, dtype: torch.dtype) -> list[Tensor]:
    """Compare a convolution's gradients with float64; returns those that are not right."""
    torch.manual_seed(case["channels"])
    shape = case["batch"], case["channels"], case["size"], case["size"]
    pixels = torch.randn(shape).to(dtype).to(memory_format=layout)
    kernel = torch.randn(case["out"], case["channels"], case["kernel"], case["kernel"]).to(dtype)
    kernel = kernel.to(memory_format=layout)
    found, wanted = [], []
    for width, result in ((dtype, found), (torch.float64, wanted)):
        given = [t.to(width).requires_grad_() for t in (pixels, kernel)]
        out = F.conv2d(*given, stride=case["stride"], padding=case["kernel"] // 2)
        direction = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(dtype).to(width)
        result += [out.detach(), *torch.autograd.grad(out, given, direction)]
    return [
        one for one, other in zip(found, wanted, strict=True)
        if not (one.double() - other).abs().max() <= 1e-4 * other.abs().max()
    ]  # fmt: skip


def sweep(channels: list[int], outs: list[int], batches: list[int]) -> None:
    """Compare every narrow layer of a grid; run in a child process."""
    guard_convolutions()
    layouts = (torch.channels_last, torch.contiguous_format)
    wrong = []
    for cin, cout, kernel, stride, batch, size in itertools.product(
        channels, outs, (1, 3), (1, 2, 3), batches, (5, 8)
    ):
        case = {
            "channels": cin,
            "out": cout,
            "kernel": kernel,
            "stride": stride,
            "batch": batch,
            "size": size,
        }
        wrong += [(case, layout) for layout in layouts if _gradients(case, layout, torch.float32)]
    assert not wrong, wrong[:5]


def _in_child(grid: str, threads: int, isa: str) -> None:
    given = environment(threads) if checker_is_there() else dict(os.environ, OMP_NUM_THREADS=str(threads))
    given = (
        {**given, "ONEDNN_MAX_CPU_ISA": isa} if isa else {k: v for k, v in given.items() if "ONEDNN" not in k}
    )
    script = f"from tests.prunnet.torch_fixes.test_convolution import sweep; sweep({grid})"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=given, capture_output=True, text=True)
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])


def test_narrow_layers_have_the_gradients_of_float64() -> None:
    _in_child("[1, 2, 3, 4, 7, 8, 12, 17], [3, 8, 20], [1, 5, 16]", 1, "AVX2")


@pytest.mark.slow
@pytest.mark.parametrize(("threads", "isa"), CASES)
def test_all_narrow_layers_have_the_gradients_of_float64(threads: int, isa: str) -> None:
    _in_child("list(range(1, 21)), [1, 2, 3, 5, 8, 13, 16, 20], [1, 6]", threads, isa)


@pytest.mark.campaign
@pytest.mark.parametrize("network", NETWORKS)
def test_training_leaves_the_heap_whole(network: str) -> None:
    if not checker_is_there():
        pytest.skip("this C library has no heap checker")
    done = checked(network, 20)
    assert done.returncode == 0, done.stderr[-2000:]


layers = st.fixed_dictionaries(
    {
        "dims": st.integers(1, 3),
        "batch": st.integers(1, 3),
        "inputs": st.integers(1, 5),
        "outputs": st.integers(1, 5),
        "groups": st.integers(1, 3),
        "strides": st.tuples(*[st.integers(1, 4)] * 3),
        "margins": st.tuples(*[st.integers(0, 2)] * 3),
        "sizes": st.tuples(*[st.integers(1, 7)] * 3),
        "last": st.booleans(),
    }
)


@settings(max_examples=60, deadline=None)
@given(layers)
def test_any_pointwise_convolution_has_the_oracles_gradients(layer: dict) -> None:
    dims, groups = layer["dims"], layer["groups"]
    torch.manual_seed(0)
    pixels = torch.randn(
        layer["batch"], groups * layer["inputs"], *layer["sizes"][:dims], dtype=torch.float64
    )
    kernel = torch.randn(groups * layer["outputs"], layer["inputs"], *[1] * dims, dtype=torch.float64)
    if layer["last"]:
        pixels = pixels.movedim(1, -1).contiguous().movedim(-1, 1)
    strides, margins = layer["strides"][:dims], layer["margins"][:dims]
    bias = torch.zeros(len(kernel), dtype=torch.float64, requires_grad=True)
    convolution = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[dims]
    given = [pixels.requires_grad_(), kernel.requires_grad_(), bias]
    out = convolution(*given, stride=strides, padding=margins, groups=groups)
    direction = torch.randn_like(out)
    found = torch.autograd.grad(out, given, direction)
    wanted = pointwise_gradients(pixels.detach(), kernel.detach(), direction, strides, margins, groups)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-9)


def test_second_derivatives_masks_and_layout_are_as_before() -> None:
    torch.manual_seed(0)
    pixels = torch.randn(2, 3, 5, 5, dtype=torch.float64).to(memory_format=torch.channels_last)
    kernel = torch.randn(4, 3, 1, 1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(
        lambda x, w: F.conv2d(x, w, stride=2), (pixels.requires_grad_(), kernel)
    )
    (of_pixels,) = torch.autograd.grad(F.conv2d(pixels, kernel.detach(), stride=2).sum(), pixels)
    assert of_pixels.is_contiguous(memory_format=torch.channels_last)
    (of_kernel,) = torch.autograd.grad(F.conv2d(pixels.detach(), kernel, stride=2).sum(), kernel)
    assert of_kernel.shape == kernel.shape
    guard_convolutions()  # again: nothing is stacked


def test_an_operator_that_torch_does_not_let_us_replace_is_an_error_of_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused() -> None:
        raise RuntimeError("there's already a kernel registered from python")

    monkeypatch.setattr(convolution, "_Guard", refused)
    with pytest.raises(
        TrainingError, match=r"replaced torch's aten::convolution_backward.*process without it"
    ):
        guard_convolutions.__wrapped__()


def test_the_pass_forward_and_what_is_exported_stay() -> None:
    layer = nn.Conv2d(3, 4, 1, stride=2)
    pixels = torch.randn(2, 3, 8, 8)
    program = torch.export.export(layer, (pixels,))
    calls = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert calls == ["aten.conv2d.default"]
    torch.testing.assert_close(layer(pixels), F.conv2d(pixels[:, :, ::2, ::2], layer.weight, layer.bias))


@pytest.mark.parametrize("how", ["module", "functional", "bf16"])
def test_every_way_of_running_a_module_is_guarded(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from prunnet.torch_fixes import convolution

    seen: list[int] = []
    original = convolution._read

    def read(*given) -> Tensor:
        seen.append(given[0].shape[1])
        return original(*given)

    monkeypatch.setattr(convolution, "_read", read)
    module = nn.Sequential(
        nn.Conv2d(3, 4, 1, stride=2), nn.Conv2d(4, 16, 1, stride=2), nn.Conv2d(16, 4, 1, stride=2)
    )
    pixels = torch.randn(2, 3, 16, 16)
    if how == "functional":
        out = torch.func.functional_call(module, dict(module.named_parameters()), pixels)
    else:
        with torch.autocast("cpu", torch.bfloat16, enabled=how == "bf16"):
            out = module(pixels)
    out.float().sum().backward()
    assert sorted(seen) == [3, 4]  # 16 channels fill the widest block
