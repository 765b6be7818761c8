"""The installed emulator, and a device that needs none."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from runtime_py.devices import check
from runtime_py.devices.install import COMMAND, emulator_folder, is_installed


@pytest.fixture(scope="session")
def emulator() -> Path:
    """The folder of the installed emulator. It is not installed from here: that is a step of its own."""
    folder = emulator_folder()
    if not is_installed(folder):
        problem = f"no emulated device in {folder}: {COMMAND}"
        if os.environ.get(check.REQUIRE) == "1":
            pytest.fail(problem)
        pytest.skip(problem)
    return folder


@dataclass(frozen=True)
class ThisMachine:
    """A device by the same protocol: the guest in a fresh process, from the pushed source alone."""

    name: str = "this machine"

    def run(self, job: Path) -> str:
        command = [sys.executable, "-P", "-m", "runtime_py.devices.guest", "."]
        environment = {**os.environ, "PYTHONPATH": str(job / "code")}
        subprocess.run(command, env=environment, check=True, cwd=job)
        return (job / "answer.json").read_text()


@pytest.fixture
def this_machine(monkeypatch: pytest.MonkeyPatch) -> ThisMachine:
    device = ThisMachine()
    monkeypatch.setattr(check, "open_device", lambda name, profile: device)
    return device
