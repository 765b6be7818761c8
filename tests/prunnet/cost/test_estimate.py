"""Predictions against real artifacts, recorded and fresh, and against the measurements of the profiles."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks.measure_artifacts import nets
from benchmarks.sparse_weights import network, zeros_of
from prunnet.cost import CostGraph, estimate, trace
from prunnet.cost.latency import latency_ms, op_ms
from prunnet.cost.width import BY_TARGET, WIDTHS, width_of
from prunnet.errors import UnknownNameError
from prunnet.profile import LatencyModel, Rates, load_profile
from tests.prunnet.cost.nets import ConvEncoder, settle

RESULTS = Path(__file__).parents[3] / "benchmarks" / "results"
SHAPE = (3, 48, 48)


@cache
def graphs() -> dict[str, CostGraph]:
    return {name: trace(module, SHAPE) for name, module in nets().items()}


@pytest.mark.parametrize(
    ("target", "memory"),
    [
        ("executorch", (0.91, 1.28)),
        ("tflite", (0.86, 1.12)),
        ("onnx", (0.96, 1.27)),
        ("coreml", None),
        ("executorch-coreml", None),
    ],
)
def test_recorded_artifacts(target: str, memory: tuple[float, float] | None) -> None:
    profile = load_profile("pixel8")
    records = json.loads((RESULTS / f"artifacts_{target.replace('-', '_')}.json").read_text())
    checked = 0
    for record in records:
        cost = estimate(graphs()[record["net"]], profile, target, record["precision"])
        if record["bytes"] > 10**6:
            assert cost.artifact_bytes == pytest.approx(record["bytes"], rel=0.01), record["net"]
            checked += 1
            if memory:
                assert memory[0] < cost.peak_memory_bytes / record["peak_bytes"] < memory[1], record["net"]
    assert checked >= 6


# Target, precision, relative error of a larger net's size, largest of the memory's. The sizes' overheads are those of
# fp32; what a quantised artifact adds for each layer weighs most in depthwise networks.
OTHER = [
    ("executorch", "int8", 0.03, 0.25),
    ("tflite", "fp16", 0.015, 0.12),
    ("tflite", "int8", 0.1, 0.23),
    ("tflite", "int8-dynamic", 0.045, 0.15),
    ("onnx", "fp16", 0.005, 0.18),
    ("onnx", "int8", 0.075, 0.24),
    ("coreml", "int8-weights", 0.01, None),
    ("coreml", "palette6", 0.02, None),
    ("coreml", "palette4", 0.02, None),
    ("tflite", "int8-weights", 0.05, 0.07),
    ("executorch", "int8-dynamic", 0.01, 0.27),
]


@pytest.mark.parametrize(("target", "precision", "size", "memory"), OTHER)
def test_recorded_artifacts_of_other_precisions(
    target: str, precision: str, size: float, memory: float | None
) -> None:
    records = json.loads((RESULTS / f"artifacts_{target}_{precision.replace('-', '_')}.json").read_text())
    large = [
        record["net"] for record in records if record["bytes"] > 10**6 or record["parameters"] > 9 * 10**5
    ]
    assert len(large) >= 5
    for record in records:
        cost = estimate(graphs()[record["net"]], load_profile("pixel8"), target, precision)
        if record["net"] in large:
            assert cost.artifact_bytes == pytest.approx(record["bytes"], rel=size), record["net"]
        if memory is not None:
            assert cost.peak_memory_bytes == pytest.approx(record["peak_bytes"], rel=memory), record["net"]


def test_a_fresh_artifact(tmp_path: Path) -> None:
    module = settle(ConvEncoder((40, 88, 152)))
    path = tmp_path / "model.onnx"
    torch.onnx.export(
        module, (torch.rand(1, *SHAPE),), str(path), dynamo=True, external_data=False, verbose=False
    )
    cost = estimate(trace(module, SHAPE), load_profile("galaxy_s24"), "onnx", "fp32")
    assert path.stat().st_size > 10**6
    assert cost.artifact_bytes == pytest.approx(path.stat().st_size, rel=0.05)


def test_precisions_change_what_they_should() -> None:
    graph, profile = graphs()["conv56"], load_profile("pixel8")
    costs = {
        precision: estimate(graph, profile, "tflite", precision) for precision in ("fp32", "fp16", "int8")
    }
    assert len({cost.mflops for cost in costs.values()}) == 1
    assert len({cost.parameters for cost in costs.values()}) == 1
    sizes = [costs[p].artifact_bytes for p in ("fp32", "fp16", "int8")]
    assert sizes[0] > 1.9 * sizes[1] > 3 * sizes[2]
    assert costs["fp16"].latency_ms is None
    assert not costs["fp16"].latency_calibrated
    assert costs["int8"].latency_calibrated
    assert not costs["fp32"].latency_calibrated


@cache
def masked_graph(net: str, zeros: float) -> CostGraph:
    module = network(net)
    return trace(module, SHAPE, zeros_of(module, zeros))


@pytest.mark.parametrize(("net", "off"), [("conv88", 0.005), ("resnet18", 0.005), ("mobilenetv2_100", 0.025)])
def test_masked_weights_in_core_ml(net: str, off: float) -> None:
    """MobileNetV2's many small layers carry more of the format's constants."""
    every = json.loads((RESULTS / "sparse_weights.json").read_text())["coreml"]
    records = [record for record in every if record["net"] == net]
    assert len(records) == 20
    for record in records:
        graph, precision = masked_graph(net, record["zeros"]), record["precision"]
        cost = estimate(graph, load_profile("iphone15"), "coreml", precision)
        assert cost.artifact_bytes == pytest.approx(record["bytes"], rel=off), record
        assert cost.mflops == estimate(graph, load_profile("pixel8"), "tflite", "fp32").mflops


@pytest.mark.parametrize("target", ["executorch", "tflite", "onnx"])
def test_masked_weights_save_nothing_elsewhere(target: str) -> None:
    profile = load_profile("pixel8")
    dense, masked = (masked_graph("conv88", zeros) for zeros in (0.0, 0.9))
    assert masked != dense
    assert estimate(masked, profile, target, "int8") == estimate(dense, profile, target, "int8")


def test_masks_never_make_a_layer_larger() -> None:
    """Two thresholds guard it; at the edge of both the layer must still win, in every precision of Core ML."""
    for target, precision in (key for key in BY_TARGET if key[0] == "coreml"):
        width, won = width_of(target, precision), 0
        for weights in range(2049, 12_000, 501):
            for zeros in range(0, weights, 101):
                op = replace(graphs()["conv16"].ops[2], weights=weights, zeros=zeros)
                dense = replace(op, zeros=0)
                assert width.of_file(op) <= width.of_file(dense) == width.of_weights(op)
                won += width.of_file(op) < width.of_file(dense)
        assert won > 100, precision


def test_zeros_follow_the_weights_that_they_mask() -> None:
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(288, 4)).eval()
    graph = trace(module, (3, 8, 8), {"0.weight": 100, "3.weight": 7})
    assert [(op.kind, op.zeros) for op in graph.ops if op.weights] == [("conv", 100), ("matmul", 7)]


def test_unknown_names() -> None:
    graph, profile = graphs()["conv16"], load_profile("pixel8")
    with pytest.raises(UnknownNameError, match="tflite"):
        estimate(graph, profile, "tflight", "fp32")  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="int8"):
        estimate(graph, profile, "tflite", "int4")  # type: ignore[arg-type]


def test_the_roofline_by_hand() -> None:
    """A 1x1 convolution of 8x8x8 to 16: 8192 MACs; reads 512, writes 1024, holds 144 elements of 4 bytes."""
    graph = trace(nn.Conv2d(8, 16, 1).eval(), (8, 8, 8))
    (op,) = graph.ops
    rates = Rates(conv=1.0, pointwise=0.001, depthwise=1.0, matmul=1.0)
    model = load_profile("pixel8").latency_of("tflite", "fp32")
    assert model is not None
    model = model.model_copy(
        update={"t0_ms": 2.0, "per_op_ms": 0.5, "gmacs_per_s": rates, "bandwidth_gb_per_s": 0.0001}
    )
    assert op_ms(op, model, WIDTHS["fp32"]) == pytest.approx(
        max(8192 / 1e3, (512 + 1024 + 144) * 4 / 100) + 0.5
    )
    fast = rates.model_copy(update={"pointwise": 1.0})
    bound = model.model_copy(update={"gmacs_per_s": fast})
    assert latency_ms(graph, bound, WIDTHS["fp32"]) == pytest.approx(2.0 + (512 + 1024 + 144) * 4 / 100 + 0.5)


@pytest.mark.parametrize("name", ["galaxy_s24", "raspberry_pi5", "low_end_android"])
def test_the_measured_nets_come_out_as_fitted(name: str) -> None:
    """The coefficients, through the package's own code, give the milliseconds written beside the rows."""
    from benchmarks.fit_latency import graph_of
    from benchmarks.latency_sources import NETS
    from prunnet.torch_fixes import torchvision as _torchvision

    _torchvision.ensure()
    profile = load_profile(name)
    checked = 0
    for by_precision in profile.latency.values():
        for precision, model in by_precision.items():
            for row in model.rows:
                net, resolution = row.model.split()
                if net not in {"resnet18", "mobilenet_v2_1.0"}:
                    continue
                assert net in NETS
                graph = graph_of(net, int(resolution.split("x")[0]))
                assert graph.macs / 1e9 == pytest.approx(row.macs_g, abs=1e-4)
                fitted = latency_ms(graph, model, WIDTHS[precision]) / model.scaled_by
                assert fitted == pytest.approx(row.fitted_ms, rel=1e-3, abs=1e-3)
                checked += 1
    assert checked >= 2


def test_latency_model_needs_rows() -> None:
    model = load_profile("pixel8").latency_of("tflite", "fp32")
    assert model is not None
    with pytest.raises(ValueError, match="rows"):
        LatencyModel.model_validate({**model.model_dump(), "rows": ()})
