"""Checks one bundle on a device: pushes the folder, reads the answer, holds it against the budget and this host."""

from __future__ import annotations

import base64
import binascii
import json
import os
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from runtime_py.arrays import Floats
from runtime_py.backends import APPLE_ONLY
from runtime_py.bundle.manifest import Manifest
from runtime_py.bundle.probes import Probes
from runtime_py.bundle.share import share_of
from runtime_py.check.frames import as_frames
from runtime_py.check.gates import at_most, describe
from runtime_py.check.report import DeviceRecord, DriftReport
from runtime_py.devices.attached import Device, EmulatedDevice, open_device
from runtime_py.devices.counter import Counter
from runtime_py.devices.guest import COPY, REQUEST
from runtime_py.errors import CrashError, DeviceError, PrunnetError, RequiredDeviceError
from runtime_py.loading import load, read_manifest
from runtime_py.messages import from_message, to_message

REQUIRE = "PRUNNET_REQUIRE_DEVICE"
"""Environment variable: set to 1, a device that is not there is a failure instead of a check left out."""


@dataclass(frozen=True)
class Seen:
    """What the device made of which probes.

    Attributes:
        probes: Those that were used.
        embeddings: float32 [P, D], the device's.
    """

    probes: Probes
    embeddings: Floats


def check_on(bundle: Path, device: str, probes: int | None, instructions: bool = False) -> DriftReport:
    """Check a bundle on a device; see `examine_on`."""
    return examine_on(bundle, device, probes, instructions)[0]


def examine_on(
    bundle: Path, device: str, probes: int | None, instructions: bool = False
) -> tuple[DriftReport, Seen | None]:
    """Check a bundle on a device, and return also what the device made of the probes, if it did.

    Args:
        bundle: Its folder.
        device: See `open_device`.
        probes: How many of the probes, or None for all.
        instructions: Whether to count also the instructions of an embedding, if the device is emulated.

    Raises:
        PrunnetError: As `load` raises it, from there; DeviceError without the device, CrashError if the check ended.
    """
    manifest = read_manifest(bundle)
    if manifest.target in APPLE_ONLY:
        raise DeviceError(
            "Core ML runs on Apple's devices alone: run prunnet-check on a Mac, or judge what your app embedded "
            "(--write-originals, then --embeddings)"
        )
    try:
        opened = open_device(device, manifest.profile)
    except DeviceError as error:
        raise _as_required(error) from error
    with tempfile.TemporaryDirectory(prefix="prunnet-job-") as folder:
        job = Path(folder)
        _pack(job, bundle, probes)
        try:
            text = opened.run(job)
        except CrashError as error:
            raise CrashError(bundle, error.end) from error
        except DeviceError as error:
            raise _as_required(error) from error
        return _judge(bundle, manifest, opened, text, job if instructions else None)


def _as_required(error: DeviceError) -> DeviceError:
    """Return the error of an absent device; it is a failure if devices are required."""
    if os.environ.get(REQUIRE) != "1":
        return error
    return RequiredDeviceError(f"{error} ({REQUIRE}=1: a failure, not a check left out)")


def _pack(job: Path, bundle: Path, probes: int | None) -> None:
    """Fill the folder that is pushed."""
    shutil.copytree(bundle, job / COPY)
    source = Path(__file__).parents[1]
    shutil.copytree(
        source,
        job / "code" / source.name,
        ignore=shutil.ignore_patterns("__pycache__", "*.cpp", "*.c", "packages.json", "counter.json"),
    )
    (job / REQUEST).write_text(json.dumps({"probes": probes}))


def _judge(
    bundle: Path, manifest: Manifest, device: Device, text: str, counted: Path | None
) -> tuple[DriftReport, Seen | None]:
    """Make the report of an answer; `counted` is the pushed folder if instructions are to be counted."""
    try:
        answer: dict[str, Any] = json.loads(text)
        found = from_message(answer["message"])
        if isinstance(found, PrunnetError):
            raise _named_here(found, bundle)
        rows = np.array(answer["rows"], np.int64)
        record = DeviceRecord(
            name=device.name,
            cpu=answer["cpu"],
            isa=tuple(answer["isa"]),
            runtimes={**answer["runtimes"], "on": found.runtime},
            memory_bytes=answer["memory_bytes"],
            probes=len(rows),
            of_probes=answer["of_probes"],
        )
        embeddings = _embeddings(answer, len(rows))
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        if isinstance(error, PrunnetError):
            raise
        raise CrashError(bundle, f"on {device.name} gave an answer that cannot be read ({error})") from error
    seen = None
    if embeddings is not None:
        seen = Seen(share_of(Probes.load(bundle / manifest.probes), rows), embeddings)
        record = _beside_host(record, bundle, seen)
    if counted is not None:
        record = _with_instructions(record, device, counted, manifest, seen)
    report = replace(found, device=record, notes=(*found.notes, *record.sentences()))
    return _with_budget(report, manifest), seen


def _named_here(error: PrunnetError, bundle: Path) -> PrunnetError:
    """Let an error from the device name the bundle, not its copy there."""
    message = to_message(error)
    if message["message"].startswith(COPY):
        message["message"] = f"{bundle}{message['message'].removeprefix(COPY)}"
    renamed = from_message(message)
    assert isinstance(renamed, PrunnetError)
    return renamed


def _embeddings(answer: dict[str, Any], count: int) -> Floats | None:
    if "embeddings" not in answer:
        return None
    flat = np.frombuffer(base64.b64decode(answer["embeddings"], validate=True), "<f4")
    return flat.reshape(count, -1).astype(np.float32)


def _beside_host(record: DeviceRecord, bundle: Path, seen: Seen) -> DeviceRecord:
    """Add how far this machine's own embeddings are from the device's, where it has the runtime."""
    try:
        with load(bundle) as host:
            ours = host.embed_probes(seen.probes.images)
    except PrunnetError:
        return record
    if ours.shape != seen.embeddings.shape:
        return record
    difference = float(np.abs(ours - seen.embeddings).max(initial=0.0))
    return replace(record, host=host.runtime, host_difference=difference)


def _with_instructions(
    record: DeviceRecord, device: Device, job: Path, manifest: Manifest, seen: Seen | None
) -> DeviceRecord:
    """Add how many instructions an embedding takes, or why that is not known: it decides nothing."""
    if not isinstance(device, EmulatedDevice):
        return replace(record, not_counted="the device is not an emulated one")
    if seen is None:
        return replace(record, not_counted="nothing was embedded there")
    picture, embedding = as_frames(seen.probes.images[:1], manifest.takes.size)[0], seen.embeddings[0]
    try:
        counted = Counter.find(device.emulator).count(job, manifest.target, picture, embedding)
    except DeviceError as error:
        return replace(record, not_counted=str(error))
    return replace(record, instructions=counted)


def _with_budget(report: DriftReport, manifest: Manifest) -> DriftReport:
    """Hold the device's peak against the budget of the profile, if both are known."""
    assert report.device is not None
    limit = next((row.limit for row in manifest.budgets if row.budget == "max_peak_memory"), None)
    used = report.device.memory_bytes
    if limit is None:
        return report
    if used is None:
        note = "the memory that it takes there could not be measured; max_peak_memory was not judged"
        return replace(report, notes=(*report.notes, note))
    gate = at_most("budget.max_peak_memory", float(used), limit, f"bytes on {report.device.name}")
    reasons = (*report.reasons, *describe((gate,)))
    verdict = report.verdict if gate.passed else "incompatible"
    return replace(report, verdict=verdict, reasons=reasons, gates=(*report.gates, gate))
