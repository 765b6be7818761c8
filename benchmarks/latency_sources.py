"""Which rows of `latency_rows.csv` each fit is made from, and how to build the measured nets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn


def _timm(name: str, **options: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import timm

        model: nn.Module = timm.create_model(name, **options)
        return model

    return build


def _torchvision(name: str, **options: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import torchvision

        model: nn.Module = torchvision.models.get_model(name, **options)
        return model

    return build


NETS: dict[str, Callable[[], nn.Module]] = {
    "alexnet": _torchvision("alexnet"),
    "convnext_small": _timm("convnext_small"),
    "deit_tiny": _timm("deit_tiny_patch16_224"),
    "densenet121": _timm("densenet121"),
    "efficientnet_v2_b0": _timm("tf_efficientnetv2_b0"),
    "ghostnet_x1_0": _timm("ghostnet_100"),
    "googlenet": _torchvision("googlenet", aux_logits=False, init_weights=False),
    "mnasnet": _timm("mnasnet_100"),
    "mobilenet_v1_1.0": _timm("mobilenetv1_100"),
    "mobilenet_v2_0.5": _timm("mobilenetv2_050"),
    "mobilenet_v2_1.0": _timm("mobilenetv2_100"),
    "mobilenet_v2_1.5": _torchvision("mobilenet_v2", width_mult=1.5),
    "mobilenet_v2_2.0": _torchvision("mobilenet_v2", width_mult=2.0),
    "mobilenet_v3_large_0.75": _timm("mobilenetv3_large_075"),
    "mobilenet_v3_small_0.5": _timm("mobilenetv3_small_050"),
    "mobilenet_v3_small_0.75": _timm("mobilenetv3_small_075"),
    "mobilenet_v4_conv_medium": _timm("mobilenetv4_conv_medium"),
    "mobilenet_v4_conv_large": _timm("mobilenetv4_conv_large"),
    "mobilevit_v2_1.0": _timm("mobilevitv2_100"),
    "resnet18": _timm("resnet18"),
    "resnext50": _timm("resnext50_32x4d"),
    "resnext101": _timm("resnext101_32x8d"),
    "shufflenet_v2_0.5": _torchvision("shufflenet_v2_x0_5"),
    "shufflenet_v2_1.0": _torchvision("shufflenet_v2_x1_0"),
    "shufflenet_v2_1.5": _torchvision("shufflenet_v2_x1_5"),
    "squeezenet1_1": _torchvision("squeezenet1_1"),
    "swin_tiny": _timm("swin_tiny_patch4_window7_224"),
    "swin_base": _timm("swin_base_patch4_window7_224"),
    "vgg16": _torchvision("vgg16"),
    "vit": _timm("vit_base_patch16_224"),
    "vit_b16_384": _timm("vit_base_patch16_384"),
}
"""The measurements' name of a net -> a builder. Rows of other nets are left out."""


@dataclass(frozen=True)
class Rows:
    """A choice of rows: column -> the value that it must have."""

    where: dict[str, str]
    weight: float = 1.0


@dataclass(frozen=True)
class Fit:
    """One file of `device_profiles/latency`.

    Args:
        name: Name of the file.
        precision: Precision that the coefficients are for.
        rows: Rows to fit to.
        soc: The chip of the device, if it was itself measured with the target's runtime; else empty.
        factor: The coefficients are for the measured milliseconds times this.
        runs_on: Runtime and unit that the figures stand for.
        source: How the rows were chosen.
        core: Another fit, of the same core: what the rows do not determine is as there.
    """

    name: str
    precision: str
    rows: tuple[Rows, ...]
    soc: str
    factor: float
    runs_on: str
    source: str
    core: str = ""


_NCNN_FP16 = {
    "runtime": "ncnn",
    "primary_compute_unit": "CPU",
    "precision": "fp16 (ncnn fp16 storage+arithmetic)",
}
_NCNN_INT8 = {"runtime": "ncnn", "primary_compute_unit": "CPU", "precision": "int8", "threads": "4"}
_S24_INT8 = {"profile": "galaxy_s24", "profile_match": "exact", "precision": "w8a8"}
_PI5_INT8 = {"profile": "raspberry_pi5", "profile_match": "exact", "precision": "int8"}
_EXACT_PI5 = {"profile": "raspberry_pi5", "profile_match": "exact", "precision": "fp32"}
_SD855 = {"profile_match": "same_core(A76 2.84/2.42 vs 2.4 GHz)", "threads": "4"}
_ANCHOR = "; the proxy rows are of the same core, the Raspberry Pi 5's own rows weigh three times"

FITS = (
    Fit(
        "cortex_x3_fp32",
        "fp32",
        (Rows({"profile_match": "same_core(X3; 3.2 vs 2.91 GHz)", "threads": "4", **_NCNN_FP16}),),
        "",
        2.2,
        "CPU, 4 threads, XNNPACK",
        "No public Pixel 8 CPU table. ncnn fp16 on a Snapdragon 8 Gen 2 (Cortex-X3 3.2 GHz), times 2.2: "
        "1.1 for the Pixel's 2.91 GHz, 2 because an fp32 vector holds half as many lanes",
    ),
    Fit(
        "edge_tpu_tensor_g3_int8",
        "int8",
        (Rows({"profile": "pixel8", "profile_match": "exact", "precision": "int8"}),),
        "Google Tensor G3",
        1.0,
        "Edge TPU delegate",
        "TFLite int8 on a Pixel 8's Edge TPU",
    ),
    Fit(
        "hexagon_v75_tflite",
        "fp32",
        (
            Rows(
                {"profile": "galaxy_s24", "profile_match": "exact", "runtime": "tflite", "precision": "float"}
            ),
        ),
        "Snapdragon 8 Gen 3 for Galaxy",
        1.0,
        "QNN delegate (Hexagon HTP, computes in fp16)",
        "TFLite float models on a Galaxy S24 with the QNN delegate",
    ),
    Fit(
        "hexagon_v75_onnx",
        "fp32",
        (Rows({"profile": "galaxy_s24", "profile_match": "exact", "runtime": "onnx", "precision": "float"}),),
        "Snapdragon 8 Gen 3 for Galaxy",
        1.0,
        "ONNX Runtime QNN execution provider (Hexagon HTP, computes in fp16)",
        "ONNX Runtime float models on a Galaxy S24 with the QNN execution provider",
    ),
    Fit(
        "cortex_x4_fp32",
        "fp32",
        (Rows({"profile_match": "same_core(X4 3.25 GHz)", "threads": "4", **_NCNN_FP16}),),
        "",
        2.0,
        "CPU, 4 threads, XNNPACK",
        "ncnn fp16 on a Dimensity 9300 (Cortex-X4 3.25 GHz), times 2: an fp32 vector holds half the lanes",
    ),
    Fit(
        "neural_engine_a16_fp16",
        "fp16",
        (
            Rows({"profile": "iphone15", "profile_match": "proxy(next gen A17 Pro)", "precision": "fp16"}),
            Rows({"profile": "iphone15", "profile_match": "same_soc", "precision": "fp16"}, 3.0),
        ),
        "",
        1.0,
        "Core ML, Neural Engine",
        "Core ML fp16 on the A17 Pro (next generation); "
        "of the iPhone 15's own A16 (in an iPhone 14 Pro) two nets were measured, which weigh three times",
    ),
    Fit(
        "cortex_a76_fp32",
        "fp32",
        (
            Rows(_SD855),
            Rows({"runtime": "ExecuTorch", **_EXACT_PI5}, 3.0),
            Rows({"runtime": "ExecuTorch XNNPACK", **_EXACT_PI5}, 3.0),
        ),
        "Broadcom BCM2712",
        1.0,
        "CPU, 4 threads, XNNPACK",
        "ExecuTorch XNNPACK fp32 on a Raspberry Pi 5, Paddle-Lite fp32 on a Snapdragon 855 for small nets"
        + _ANCHOR,
    ),
    Fit(
        "cortex_a53_fp32",
        "fp32",
        (
            Rows(
                {
                    "profile_match": "same_core(A53 2.0 GHz, 2-4 GB)",
                    "runtime": "ncnn",
                    "precision": "fp32",
                    "threads": "4",
                }
            ),
        ),
        "",
        1.11,
        "CPU, 4 threads, XNNPACK",
        "A class of devices, not one: ncnn fp32 on four Cortex-A53 at 2.0 GHz, times 1.11 for 1.8 GHz",
    ),
    Fit(
        "cortex_x3_int8",
        "int8",
        (
            Rows(
                {
                    "profile_match": "same_core(X3; 3.36 vs 2.91 GHz)",
                    "runtime": "TFLite",
                    "precision": "int8",
                }
            ),
        ),
        "",
        1.155,
        "CPU, 1 thread, XNNPACK",
        "TFLite int8 on one Cortex-X3 at 3.36 GHz of a Galaxy S23, times 1.155 for the Pixel's 2.91 GHz; more "
        "threads are faster; what seven nets do not determine is as in the fp32 fit",
        core="cortex_x3_fp32",
    ),
    Fit(
        "hexagon_v75_tflite_int8",
        "int8",
        (Rows({"runtime": "tflite", **_S24_INT8}),),
        "Snapdragon 8 Gen 3 for Galaxy",
        1.0,
        "QNN delegate (Hexagon HTP)",
        "TFLite models in int8 on a Galaxy S24 with the QNN delegate",
    ),
    Fit(
        "hexagon_v75_onnx_int8",
        "int8",
        (Rows({"runtime": "onnx", "quality": "A", **_S24_INT8}),),
        "Snapdragon 8 Gen 3 for Galaxy",
        1.0,
        "ONNX Runtime QNN execution provider (Hexagon HTP)",
        "ONNX Runtime models in int8 on a Galaxy S24 with the QNN execution provider; not those of which parts fell "
        "back to the CPU",
    ),
    Fit(
        "cortex_x4_int8",
        "int8",
        (Rows({"profile_match": "same_core(X4 3.25 GHz)", **_NCNN_INT8}),),
        "",
        1.0,
        "CPU, 4 threads",
        "ncnn int8 on a Dimensity 9300 (Cortex-X4 3.25 GHz); what five nets do not determine is as in the fp32 fit",
        core="cortex_x4_fp32",
    ),
    Fit(
        "cortex_a76_int8",
        "int8",
        (
            Rows({"runtime": "ExecuTorch", **_PI5_INT8}),
            Rows({"runtime": "ExecuTorch XNNPACK", **_PI5_INT8}),
        ),
        "Broadcom BCM2712",
        1.0,
        "CPU, 4 threads, XNNPACK",
        "ExecuTorch XNNPACK int8 on a Raspberry Pi 5; what five nets do not determine is as in the fp32 fit",
        core="cortex_a76_fp32",
    ),
    Fit(
        "cortex_a53_int8",
        "int8",
        (Rows({"profile_match": "same_core(A53 2.0 GHz, 2-4 GB)", **_NCNN_INT8}),),
        "",
        1.11,
        "CPU, 4 threads",
        "A class of devices, not one: ncnn int8 on four Cortex-A53 at 2.0 GHz, times 1.11 for 1.8 GHz; what five nets "
        "do not determine is as in the fp32 fit",
        core="cortex_a53_fp32",
    ),
)
