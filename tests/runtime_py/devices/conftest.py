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
from runtime_py.devices.remote import PYTHON


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


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Make a client that runs the remote command in a shell here, its temporary files in `tmp_path / "device"`.

    It takes the environment variable that names the client, and what the device's shell says of its own. The words that
    it was called with are beside it, in `client.words`.
    """

    def make(variable: str, says: str = "") -> Path:
        script = tmp_path / "client"
        greeting = f"echo {says}\n" if says else ""
        script.write_text(
            f'#!/bin/sh\nfor last; do :; done\necho "$@" > "$0.words"\n{greeting}exec sh -c "$last"\n'
        )
        script.chmod(0o755)
        monkeypatch.setenv(variable, str(script))
        monkeypatch.setenv(PYTHON, sys.executable)
        monkeypatch.setenv("TMPDIR", str(tmp_path / "device"))
        (tmp_path / "device").mkdir()
        return script

    return make
