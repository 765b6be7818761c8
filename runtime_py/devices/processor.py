"""What the processor of a device calls itself (Linux, /proc/cpuinfo)."""

from __future__ import annotations

from pathlib import Path

_PARTS = {
    "0xd03": "Cortex-A53",
    "0xd05": "Cortex-A55",
    "0xd08": "Cortex-A72",
    "0xd0b": "Cortex-A76",
    "0xd40": "Neoverse V1",
    "0xd47": "Cortex-A710",
    "0xd49": "Neoverse N2",
    "0xd0c": "Neoverse N1",
}
"""Part numbers of Arm's own cores (implementer 0x41), from their technical reference manuals."""

_KERNELS = {
    "asimd": "neon",
    "asimdhp": "fp16",
    "asimddp": "dotprod",
    "i8mm": "i8mm",
    "sve2": "sve2",
    "sve": "sve",
}
"""Name of Linux -> name of a profile's `isa`: what matters to kernels."""


def processor(text: str | None = None) -> tuple[str, tuple[str, ...]]:
    """Return the name of the first core, and those of its instruction sets that matter to kernels.

    Args:
        text: Of /proc/cpuinfo; None reads it.
    """
    if text is None:
        text = Path("/proc/cpuinfo").read_text()
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    part = fields.get("CPU part", "")
    known = _PARTS.get(part) if fields.get("CPU implementer") == "0x41" else None
    name = known or fields.get("model name") or f"part {part or 'unknown'}"
    has = (fields.get("Features") or fields.get("flags") or "").split()
    return name, tuple(isa for feature, isa in _KERNELS.items() if feature in has)
