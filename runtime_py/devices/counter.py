"""Counts the instructions that an embedding takes on an emulated CPU."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from runtime_py.arrays import Floats, Pixels
from runtime_py.backends.executorch_runner import RUNNER as RUNNER_COMMAND
from runtime_py.devices.counted import COUNTER, COUNTS, PICTURE, Counted
from runtime_py.devices.counter_install import PLUGIN, counter_folder, emulator, is_counter_installed
from runtime_py.devices.emulator import Emulator, guest_environment
from runtime_py.devices.install import COMMAND, RUNNER, run_or_refuse
from runtime_py.errors import DeviceError

MODELS = {"cortex-a55": "cortex-a76", "cortex-a710": "max,sme=off,sve-max-vq=1"}
"""What QEMU 7.2 has instead of CPUs that it does not know: the same instruction sets, vectors of the same length.

Runtimes choose kernels by these (the kernel's HWCAP) and by the core that /proc/cpuinfo names, which is the CPU's own.
"""
MAX_DIFFERENCE = 1e-5
"""Of a picture's embedding from the one in the check, in any number. In int8 it was 0 on A55, A76 and A710."""
TIMEOUT_SECONDS = 600
_GUEST = "runtime_py.devices.counted"
_FIRST_PROCESSOR = "print(open('/proc/cpuinfo').read().split('\\n\\n')[0], end='\\n\\n')"


@dataclass(frozen=True)
class Counter:
    """An emulated device with the emulator that counts.

    Attributes:
        folder: Where that emulator is installed.
        emulator: The device.
    """

    folder: Path
    emulator: Emulator

    @classmethod
    def find(cls, emulator: Emulator) -> Counter:
        """Return the counter for a device.

        Raises:
            DeviceError: It is not installed.
        """
        folder = counter_folder()
        if not is_counter_installed(folder):
            raise DeviceError(f"no counter is installed in {folder}: {COMMAND}")
        return cls(folder, emulator)

    def count(self, job: Path, target: str, picture: Pixels, embedding: Floats) -> int:
        """Return how many instructions one embedding of one image takes, on one thread.

        Args:
            job: The pushed folder; see `runtime_py.devices.guest`.
            target: Of its bundle.
            picture: uint8 [H, W, 3], that was embedded in the check.
            embedding: float32 [D], which it got there. This emulator must compute the same one.

        Raises:
            DeviceError: It could not be counted, or what was counted did not compute this embedding.
        """
        np.save(job / PICTURE, picture[None])
        (job / COUNTER).write_bytes(bytes(8))
        model = MODELS.get(self.emulator.cpu, self.emulator.cpu)
        plain = [*emulator(self.folder), "-cpu", model, "-L", str(self._root(job))]
        # In the options of a plugin a comma is written twice.
        plugin, file = (str(path).replace(",", ",,") for path in (self.folder / PLUGIN, job / COUNTER))
        counting = [*plain, "-plugin", f"{plugin},counter={file}"]
        # The process that holds the runtime is counted: for ExecuTorch that is the runner, without Python.
        python = plain if target == "executorch" else counting
        command = [*python, *self.emulator.python(job / "code"), "-m", _GUEST, "."]
        runner = json.dumps([*counting, str(self.emulator.folder / RUNNER)])
        self._run(command, job, {RUNNER_COMMAND: runner})
        try:
            answer: Counted = json.loads((job / COUNTS).read_text())
        except (OSError, ValueError) as error:
            raise DeviceError(f"the guest that counts left no counts ({error})") from error
        difference = np.abs(np.array(answer["embedding"], np.float32) - embedding).max()
        if not difference <= MAX_DIFFERENCE:
            raise DeviceError(
                f"the emulator that counts computed another embedding than the check (they differ by {difference:.2g}, "
                f"at most {MAX_DIFFERENCE:g} is allowed)"
            )
        return round(median(answer["counts"]))

    def _root(self, job: Path) -> Path:
        """Make the guest's root folder: the device's, and the files in which Linux describes its processor.

        QEMU 7.2 would show this machine's /proc/cpuinfo; LiteRT and ONNX Runtime crash on an x86 processor's. There is
        one processor, so that no runtime starts a thread for another.
        """
        root = job / "root"
        processors = root / "sys/devices/system/cpu"
        processors.mkdir(parents=True)
        for name in ("possible", "present", "online"):
            (processors / name).write_text("0\n")
        (root / "proc").mkdir()
        command = [*self.emulator.command(job / "code"), "-c", _FIRST_PROCESSOR]
        (root / "proc/cpuinfo").write_text(self._run(command, job, {}))
        for entry in (self.emulator.folder / "root").iterdir():
            (root / entry.name).symlink_to(entry)
        return root

    def _run(self, command: list[str], job: Path, variables: dict[str, str]) -> str:
        environment = guest_environment(dict(os.environ)) | variables
        return run_or_refuse(command, "the emulator that counts failed", environment, job, TIMEOUT_SECONDS)
