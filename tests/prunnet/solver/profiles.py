"""Profiles for the solver's tests, built in memory."""

from __future__ import annotations

from typing import Any

from prunnet.profile import Budgets, DeviceProfile, load_profile
from runtime_py.bundle.manifest import Target

BASE = load_profile("raspberry_pi5").at_precision("fp32")
TARGETS: tuple[Target, ...] = ("executorch", "tflite", "onnx")


def profile_with(multiple: int = 4, **budgets: Any) -> DeviceProfile:
    """The Raspberry Pi 5 with other budgets; sizes in bytes."""
    sizes = {
        name: f"{value}B" for name, value in budgets.items() if name in ("max_artifact", "max_peak_memory")
    }
    rest = {name: value for name, value in budgets.items() if name not in sizes}
    return BASE.model_copy(update={"budgets": Budgets(**sizes, **rest), "channel_multiple": multiple})
