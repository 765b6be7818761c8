"""The emulated device: QEMU in user mode, with the CPU model that a profile's device has."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from runtime_py.devices.install import COMMAND, EMULATOR, HOME, PYTHON, RUNNER, emulator_folder, is_installed
from runtime_py.errors import DeviceError, UnknownNameError

CPUS = ("cortex-a53", "cortex-a55", "cortex-a72", "cortex-a76", "cortex-a710")
"""From plain NEON to dot products (a55, a76) and int8 matrices (a710)."""

_SCRUBBED = ("PYTHON", "LD_", "QEMU_")


@dataclass(frozen=True)
class Emulator:
    """An installed emulated device.

    Attributes:
        folder: Where it is installed.
        cpu: One of `CPUS`.
    """

    folder: Path
    cpu: str

    @classmethod
    def find(cls, cpu: str) -> Emulator:
        """Return the installed device with this CPU.

        Raises:
            UnknownNameError: No such CPU.
            DeviceError: It is not installed, or of other packages than this version of prunnet asks for.
        """
        if cpu not in CPUS:
            raise UnknownNameError("CPU", cpu, CPUS)
        folder = emulator_folder()
        if not is_installed(folder):
            raise DeviceError(f"no emulated device is installed in {folder}: {COMMAND}")
        return cls(folder, cpu)

    @property
    def runner(self) -> list[str]:
        """Command of the runner of ExecuTorch programs; the guest starts it as it was started."""
        return [*self._emulator(), str(self.folder / RUNNER)]

    def command(self, code: Path) -> list[str]:
        """Return the command that runs the guest's Python with the modules of `code`.

        Args:
            code: Folder that holds `runtime_py`.
        """
        return [*self._emulator(), *self.python(code)]

    def python(self, code: Path) -> list[str]:
        """Return the guest's Python, for `command` or for another emulator's command line.

        Raises:
            DeviceError: A path that would be taken for two.
        """
        path = code, self.folder / "site"
        for each in path:
            if {",", ":"} & set(str(each)):
                raise DeviceError(
                    f"the emulator takes no path with a comma or a colon, and this is {each}: choose another TMPDIR, "
                    f"or another {HOME}"
                )
        return [
            "-E",
            f"PYTHONPATH={path[0]}:{path[1]}",
            "-E",
            # Bytecode is not written: many guests share the packages.
            "PYTHONDONTWRITEBYTECODE=1,PYTHONUTF8=1",
            str(self.folder / "root" / PYTHON),
            "-P",
        ]

    def _emulator(self) -> list[str]:
        return [str(self.folder / EMULATOR), "-cpu", self.cpu, "-L", str(self.folder / "root")]


def guest_environment(environment: dict[str, str]) -> dict[str, str]:
    """Return the environment without what is meant for this machine's own Python, loader and emulator."""
    return {name: value for name, value in environment.items() if not name.startswith(_SCRUBBED)}


def cpu_of_profile(profile: str) -> tuple[str, str]:
    """Return the CPU that stands for a profile's device, and what of the device it stands for.

    Args:
        profile: Name of a shipped profile; `device_profiles/cores.json` is the table.

    Raises:
        DeviceError: The profile has no core that can be emulated, or is not in the table.
    """
    table = _cores()
    if profile not in table:
        known = ", ".join(sorted(table)) or "none"
        raise DeviceError(
            f"no CPU is known for profile {profile!r} (known: {known}): name one, e.g. --emulate {CPUS[-2]}; "
            f"there are {', '.join(CPUS)}"
        )
    row = table[profile]
    return row["cpu"], row["stands_for"]


def profiles_with_a_cpu() -> tuple[str, ...]:
    """Return the names that `cpu_of_profile` takes."""
    return tuple(sorted(_cores()))


def _cores() -> dict[str, dict[str, str]]:
    try:
        table: dict[str, dict[str, str]] = json.loads((files("device_profiles") / "cores.json").read_text())
    except (ModuleNotFoundError, FileNotFoundError):
        return {}
    return table
