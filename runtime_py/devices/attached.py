"""Which devices there are, and how each one takes a folder and gives a JSON."""

from __future__ import annotations

import ctypes
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from runtime_py.devices.adb import SCHEME as ADB
from runtime_py.devices.adb import AdbDevice
from runtime_py.devices.emulator import CPUS, Emulator, cpu_of_profile, guest_environment, profiles_with_a_cpu
from runtime_py.devices.guest import ANSWER
from runtime_py.devices.ssh import SCHEME as SSH
from runtime_py.devices.ssh import SshDevice
from runtime_py.errors import CrashError, UnknownNameError

EMULATE = "emulate:"
GUEST = "runtime_py.devices.guest"
_THP_DISABLE = 41
"""PR_SET_THP_DISABLE of Linux' prctl; a process hands it down."""


class Device(Protocol):
    """A device that can run the guest's side of a check."""

    @property
    def name(self) -> str:
        """What it is, for people."""

    def run(self, job: Path) -> str:
        """Push the folder, run the guest, and return the text of its answer.

        Raises:
            CrashError: The guest ended without an answer.
            DeviceError: The device cannot be reached.
        """


@dataclass(frozen=True)
class EmulatedDevice:
    """An emulated Arm processor on this machine; nothing has to be copied to it.

    Attributes:
        emulator: The installed emulator.
        stands_for: What of the profile's device its CPU stands for; empty if the user named the CPU.
    """

    emulator: Emulator
    stands_for: str = ""

    @property
    def name(self) -> str:
        """The CPU, and what it stands for."""
        return f"emulated {self.emulator.cpu}" + (f" for {self.stands_for}" if self.stands_for else "")

    def run(self, job: Path) -> str:
        """Run the guest in the folder itself; see `Device`."""
        from runtime_py.backends.executorch_runner import RUNNER

        environment = guest_environment(dict(os.environ)) | {RUNNER: json.dumps(self.emulator.runner)}
        command = [*self.emulator.command(job / "code"), "-m", GUEST, "."]
        return _run_here(command, environment, job, self.name, before=_without_huge_pages)


@dataclass(frozen=True)
class NativeDevice:
    """This machine, where it is an Arm one: its own kernels run, and nothing has to be installed.

    Attributes:
        asked: The CPU or profile that an emulator would have stood for.
    """

    asked: str

    @property
    def name(self) -> str:
        """What it is, and what was asked for."""
        return f"this Arm machine, not emulated ({self.asked} was asked for)"

    def run(self, job: Path) -> str:
        """Run the guest in the folder itself, in a process of this Python; see `Device`."""
        environment = {**os.environ, "PYTHONPATH": str(job / "code")}
        return _run_here([sys.executable, "-P", "-m", GUEST, "."], environment, job, self.name)


def _run_here(
    command: list[str],
    environment: dict[str, str],
    job: Path,
    name: str,
    before: Callable[[], None] | None = None,
) -> str:
    done = subprocess.run(
        command,
        env=environment,
        cwd=job,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        preexec_fn=before,
    )
    answer = job / ANSWER
    if done.returncode or not answer.exists():
        said = done.stderr.strip().splitlines()[-1:] or ["without a word"]
        how = (
            f"was killed by signal {-done.returncode}"
            if done.returncode < 0
            else f"ended with {done.returncode}"
        )
        raise CrashError(job.name, f"on {name} {how} ({said[0]})")
    return answer.read_text()


def _without_huge_pages() -> None:
    """Let memory come in pages of 4 KiB: the emulator's come in 2 MiB, more than some artifacts take."""
    ctypes.CDLL(None).prctl(_THP_DISABLE, 1, 0, 0, 0)


def _is_arm_linux() -> bool:
    return platform.system() == "Linux" and platform.machine() == "aarch64"


def open_device(device: str, profile: str) -> Device:
    """Return a device.

    Args:
        device: "emulate:", then a CPU, the name of a shipped profile, or nothing, which means `profile`;
            "ssh://user@host:port"; or "adb:SERIAL".
        profile: Name of the bundle's profile.

    Raises:
        UnknownNameError: No such device.
        DeviceError: It is not installed, the profile has no CPU that can be emulated, or the address is none.
    """
    if device.startswith(SSH):
        return SshDevice.at(device)
    if device.startswith(ADB):
        return AdbDevice.at(device)
    if not device.startswith(EMULATE):
        raise UnknownNameError("device", device, (EMULATE, SSH, ADB))
    wanted = device.removeprefix(EMULATE)
    if _is_arm_linux():
        if wanted and wanted not in CPUS:
            _cpu_of_named(wanted)  # a name that is neither is refused here too
        return NativeDevice(wanted or profile)
    if wanted in CPUS:
        return EmulatedDevice(Emulator.find(wanted))
    cpu, stands_for = _cpu_of_named(wanted) if wanted else cpu_of_profile(profile)
    return EmulatedDevice(Emulator.find(cpu), stands_for)


def _cpu_of_named(profile: str) -> tuple[str, str]:
    """Return `cpu_of_profile` of a name that the user typed: one that is not known is a mistake in the command."""
    known = profiles_with_a_cpu()
    if profile not in known:
        raise UnknownNameError("CPU or profile with a CPU", profile, (*CPUS, *known))
    return cpu_of_profile(profile)
