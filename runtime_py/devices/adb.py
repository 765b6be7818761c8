"""A phone that `adb` reaches."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from runtime_py.devices.remote import exchange, script, words_of
from runtime_py.errors import DeviceError

SCHEME = "adb:"
CLIENT = "PRUNNET_ADB"
"""Environment variable: the client with options of your own, e.g. "adb -P 5038"; "adb" if it is not set."""

_TEMPORARY = "/data/local/tmp"
"""Where Android lets adb's user write and execute."""


@dataclass(frozen=True)
class AdbDevice:
    """A phone with a serial number.

    Attributes:
        serial: As `adb devices` lists it; a phone in the network has host:port. Empty is the only one.
    """

    serial: str

    @classmethod
    def at(cls, address: str) -> AdbDevice:
        """Read "adb:SERIAL", or "adb:" for the only phone.

        Raises:
            DeviceError: It is no serial number.
        """
        serial = address.removeprefix(SCHEME)
        if not re.fullmatch(r"[\w.:\[\]%-]*", serial) or serial.startswith("-"):
            raise DeviceError(f"{address!r} names no phone: adb:SERIAL, as adb devices lists it")
        return cls(serial)

    @property
    def name(self) -> str:
        """The address."""
        return f"{SCHEME}{self.serial}"

    def run(self, job: Path) -> str:
        """Send the folder, run the guest in it, and return its answer; nothing stays on the phone."""
        command = words_of(CLIENT, "adb")
        command += ["-s", self.serial] if self.serial else []
        # Without a terminal, so that the archive arrives byte by byte.
        command += ["shell", "-T", f"sh -c {shlex.quote(script(_TEMPORARY))}"]
        return exchange(command, job, self.name, CLIENT)
