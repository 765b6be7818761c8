"""The installed emulator, and a device that needs none."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from runtime_py.devices import check
from runtime_py.devices.counter_install import counter_folder, is_counter_installed
from runtime_py.devices.install import COMMAND, emulator_folder, is_installed
from runtime_py.devices.packages import Package
from runtime_py.devices.remote import PYTHON

if TYPE_CHECKING:
    from tests.runtime_py.devices.built_in import BuiltIn


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


@pytest.fixture(scope="session")
def counter(emulator: Path) -> Path:
    """The folder of what counts instructions. It may be missing beside an emulator, as no verdict needs it."""
    folder = counter_folder()
    if not is_counter_installed(folder):
        pytest.skip(f"instructions are not counted: no counter in {folder}: {COMMAND}")
    return folder


@pytest.fixture(scope="session")
def built_in(tmp_path_factory: pytest.TempPathFactory) -> BuiltIn:
    """Bundles of the built-in encoder at capacity 0.2."""
    from tests.runtime_py.devices.built_in import BuiltIn

    warnings.simplefilter("ignore")  # the converters' own deprecations
    return BuiltIn(tmp_path_factory.mktemp("built-in"))


@pytest.fixture
def shop(tmp_path):
    """A folder with two wheels, and the packages that pin them."""
    folder = tmp_path / "shop"
    folder.mkdir()
    packages = []
    for name in ("one", "two"):
        file = folder / f"{name}-1.0-py3-none-any.whl"
        with zipfile.ZipFile(file, "w") as wheel:
            wheel.writestr(f"{name}/__init__.py", f"NAME = {name!r}\n")
        content = file.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        packages.append(Package(name, "1.0", "pip", "site", file.name, len(content), digest))
    return folder, tuple(packages)


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
