"""Try many families of backbones, each in a process of its own, and write the second table of the page.

python -m benchmarks.backbone_trials              try what has no result yet, then write docs/reference/backbones.md
python -m benchmarks.backbone_trials --page       write the page from the results that there are
python -m benchmarks.backbone_trials --stages cut train      leave the exports out
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks import backbone_trial
from benchmarks.backbones import PAGE
from benchmarks.own_modules import KINDS
from benchmarks.page import put

RESULTS = Path(__file__).parent / "results" / "backbones.json"
COMMAND = "python -m benchmarks.backbone_trials --page"
STAGES = ("cut", "train", "onnx", "tflite")
LIMIT = 240
"""Seconds that a process may take, start and exports included."""
FAMILIES = {
    "MobileNetV4": "mobilenetv4_conv_small mobilenetv4_conv_medium mobilenetv4_conv_blur_medium "
    "mobilenetv4_hybrid_medium",
    "MobileViT": "mobilevit_xxs mobilevitv2_050",
    "FastViT": "fastvit_t8 fastvit_sa12",
    "MobileOne": "mobileone_s0",
    "GhostNet": "ghostnet_050 ghostnetv2_100",
    "RepViT": "repvit_m0_9",
    "EdgeNeXt": "edgenext_xx_small",
    "EfficientFormer": "efficientformer_l1 efficientformerv2_s0",
    "LeViT": "levit_128s",
    "TinyViT": "tiny_vit_5m_224",
    "MobileNet": "mobilenetv2_100 mobilenetv3_small_100 mobilenet_edgetpu_v2_xs lcnet_050 fbnetc_100 spnasnet_100",
    "EfficientNet": "efficientnet_b0 efficientnet_lite0 tf_efficientnetv2_b0 mixnet_s tinynet_e mnasnet_small",
    "ResNet": "resnet18 resnet50 seresnet50 resnetv2_50 res2net50_14w_8s skresnet18 resnext50_32x4d",
    "CSP": "cspresnet50",
    "RegNet": "regnetx_002 regnety_002",
    "DenseNet": "densenet121",
    "DLA": "dla34",
    "Inception": "inception_v3 inception_next_atto xception41",
    "VovNet": "ese_vovnet19b_dw vovnet39a",
    "HRNet": "hrnet_w18_small",
    "HGNet": "hgnetv2_b0",
    "DPN": "dpn48b",
    "SelecSLS": "selecsls42b",
    "RepVGG": "repvgg_a0 repghostnet_050",
    "VGG": "vgg11_bn",
    "NFNet": "nf_resnet50 nfnet_l0",
    "BotNet, HaloNet": "botnet26t_256 halonet26t",
    "RexNet": "rexnet_100",
    "ConvNeXt": "convnext_atto convnextv2_atto",
    "ConvMixer": "convmixer_768_32",
    "FasterNet": "fasternet_t0",
    "StarNet": "starnet_s1",
    "MambaOut": "mambaout_femto",
    "SHViT": "shvit_s1",
    "EfficientViT": "efficientvit_b0 efficientvit_m0",
    "SwiftFormer": "swiftformer_xs",
    "ViT": "vit_tiny_patch16_224 deit_tiny_patch16_224 eva02_tiny_patch14_224 beit_base_patch16_224",
    "Swin": "swin_tiny_patch4_window7_224 swinv2_tiny_window8_256",
    "MLP": "mixer_s16_224 resmlp_12_224",
    "PVT, Twins": "pvt_v2_b0 twins_pcpvt_small",
    "CoAT, CaiT, CrossViT": "coat_lite_tiny cait_xxs24_224 crossvit_tiny_240",
    "XCiT": "xcit_nano_12_p8_224",
    "MetaFormer": "poolformer_s12 caformer_s18",
    "MaxViT": "maxvit_rmlp_pico_rw_256",
    "PiT, Visformer, NesT": "pit_ti_224 visformer_tiny nest_tiny",
    "DaViT, FocalNet, GC ViT": "davit_tiny focalnet_tiny_srf gcvit_xxtiny",
    "MViT, Hiera, VOLO": "mvitv2_tiny hiera_tiny_224 volo_d1_224",
    "Sequencer": "sequencer2d_s",
    "own module": " ".join(KINDS),
}


def attempt(name: str, stages: list[str]) -> dict[str, Any]:
    """Run one backbone in a process; what it did not come to within the limit is said to be so.

    The process is a copy of this one, so that torch is imported once.
    """
    with tempfile.TemporaryFile("w+") as out:
        child = os.fork()
        if not child:
            with Path(os.devnull).open("w") as nothing:
                os.dup2(out.fileno(), 1)
                os.dup2(nothing.fileno(), 2)
            backbone_trial.attempt(name, stages[1:])
            os._exit(0)
        ended, deadline = "", time.monotonic() + LIMIT
        while not ended:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                ended = f"the process ended with {status}"
            elif time.monotonic() > deadline:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                ended = f"no answer within {LIMIT} s"
            else:
                time.sleep(0.05)
        out.seek(0)
        lines = out.read().splitlines()
    said: dict[str, Any] = {}
    for line in lines:
        if line.startswith("STAGE "):
            said |= json.loads(line.removeprefix("STAGE "))
    if "refused" not in said.get("cut", {}):
        for stage in stages:
            said.setdefault(stage, {"raw": ended})
    return said


def table(results: dict[str, Any]) -> str:
    header = (
        "family",
        "backbone",
        "parameters",
        "cut",
        "smallest",
        "slice - zeros",
        "step",
        "ONNX",
        "TFLite",
        "what stays",
    )
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for family, names in FAMILIES.items():
        lines += [_row(family, name, results[name]) for name in names.split() if name in results]
    return "\n".join(lines) + "\n"


def _row(family: str, name: str, said: dict[str, Any]) -> str:
    shown = f"`{name}`: {KINDS[name].__doc__}" if name in KINDS else f"`{name}`"
    cut = said["cut"]
    if "share" not in cut:
        problem = cut.get("refused") or f"FAILED: {cut['raw']}"
        return f"| {family} | {shown} | | refused | | | | | | {_escaped(problem)[:300]} |"
    stays = "; ".join(f"{count} x {_escaped(why)[:110]}" for why, count in cut["fixed"][:3]) or "nothing"
    cells = (
        family,
        shown,
        f"{cut['parameters'] / 1e6:.2f} M",
        f"{100 * cut['share']:.0f} %, {cut['groups']} groups, {cut['seconds']:.1f} s",
        f"{cut['smallest']:.3g}",
        f"{cut['differs']:.0e}",
        _outcome(said.get("train"), lambda t: "finite" if t["finite"] else "not finite"),
        *(_outcome(said.get(t), lambda e: f"{e['bytes'] / 2**20:.1f} MiB") for t in STAGES[2:]),
        stays,
    )
    return "| " + " | ".join(cells) + " |"


def _outcome(said: dict[str, Any] | None, show: Any) -> str:
    if said is None:
        return "not tried"
    if "refused" in said:
        return f"refused: {_escaped(said['refused'])[:120]}"
    return f"FAILED: {_escaped(said['raw'])[:120]}" if "raw" in said else show(said)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("backbone.", "")


def write(results: dict[str, Any]) -> None:
    put(PAGE, COMMAND, table(results))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--page", action="store_true", help="try nothing, write the page")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES), help="in this order")
    parser.add_argument("--only", nargs="+", help="names to try, again if they have a result")
    given = parser.parse_args()
    stages = [s for s in STAGES if s in {"cut", *given.stages}]
    names = given.only or [name for family in FAMILIES.values() for name in family.split()]
    if not given.page:
        torch.set_num_threads(1)  # a pool of threads does not survive a fork
        _, prunable, images = backbone_trial.cut(next(iter(KINDS)))
        backbone_trial.train(prunable, images)  # imports what it needs, once for all
    for name in () if given.page else names:
        results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        old = results.get(name, {})
        if not given.only and ("refused" in old.get("cut", {}) or all(s in old for s in stages)):
            continue
        new = attempt(name, stages)
        results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        results[name] = new if "refused" in new["cut"] else {**old, **new}
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
        print(name, json.dumps(new)[:300], flush=True)
    write(json.loads(RESULTS.read_text()))


if __name__ == "__main__":
    main()
