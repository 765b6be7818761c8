"""Which devices there are, and how each one takes a folder and gives a JSON."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from runtime_py.devices.emulator import CPUS, Emulator, cpu_of_profile, guest_environment
from runtime_py.devices.guest import ANSWER
from runtime_py.devices.ssh import SCHEME, SshDevice
from runtime_py.errors import CrashError, UnknownNameError

EMULATE = "emulate:"
GUEST = "runtime_py.devices.guest"


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
        done = subprocess.run(
            command,
            env=environment,
            cwd=job,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        answer = job / ANSWER
        if done.returncode or not answer.exists():
            said = done.stderr.strip().splitlines()[-1:] or ["without a word"]
            how = (
                f"was killed by signal {-done.returncode}"
                if done.returncode < 0
                else f"ended with {done.returncode}"
            )
            raise CrashError(job.name, f"on {self.name} {how} ({said[0]})")
        return answer.read_text()


def open_device(device: str, profile: str) -> Device:
    """Return a device.

    Args:
        device: "emulate:", then a CPU, the name of a shipped profile, or nothing, which means `profile`; or "ssh://user@host:port".
        profile: Name of the bundle's profile.

    Raises:
        UnknownNameError: No such device.
        DeviceError: It is not installed, the profile has no CPU that can be emulated, or the address is none.
    """
    if device.startswith(SCHEME):
        return SshDevice.at(device)
    if not device.startswith(EMULATE):
        raise UnknownNameError("device", device, (EMULATE, SCHEME))
    wanted = device.removeprefix(EMULATE)
    if wanted in CPUS:
        return EmulatedDevice(Emulator.find(wanted))
    cpu, stands_for = cpu_of_profile(wanted or profile)
    return EmulatedDevice(Emulator.find(cpu), stands_for)
