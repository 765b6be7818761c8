"""Checks bundles in another process: an artifact that kills its runtime, or never ends, ends no command."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from runtime_py import messages
from runtime_py.children import kill_group, python_command
from runtime_py.cli.outcome import Outcome
from runtime_py.errors import BundleError, CrashError, PrunnetError

if TYPE_CHECKING:
    from pydantic import TypeAdapter


class Request(NamedTuple):
    """What one check is asked to do; see `check_bundles`."""

    bundle: str
    server: str | None = None
    device: str | None = None
    probes: int | None = None
    exhibits: bool = False
    instructions: bool = False


def check_bundles(
    bundles: Iterable[Path | BundleError],
    server: str | Path | None = None,
    *,
    timeout: float,
    device: str | None = None,
    probes: int | None = None,
    instructions: bool = False,
    exhibits: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> Iterator[Outcome]:
    """Check one bundle after the other, each in a process that may die of it.

    A process goes on to the next bundle only after a `compatible` one: whatever else an artifact did to it stays
    without consequences.

    Args:
        bundles: From `find_bundles`; an error is its own outcome.
        server: See `QueryEncoder.check`.
        timeout: Seconds for each bundle, until its process is killed.
        exhibits: Whether the outcomes carry what a page shows.
        device: Where to check, see `runtime_py.devices.attached.open_device`; None for this machine.
        probes: How many probes to use on a device; None for all.
        instructions: Whether to count the instructions of an embedding on an emulated device.
        say: Takes a line before each bundle.
    """
    checker: _Checker | None = None
    try:
        for bundle in bundles:
            if isinstance(bundle, BundleError):
                yield Outcome(bundle.file, error=bundle)
                continue
            say(f"checking {bundle} ...")
            checker = checker or _Checker()
            against = None if server is None else str(server)
            request = Request(str(bundle), against, device, probes, exhibits, instructions)
            outcome = checker.check(bundle, request, timeout)
            if outcome.verdict != "compatible":
                checker.close()
                checker = None
            yield outcome
    finally:
        if checker is not None:
            checker.close()


def to_message(outcome: Outcome) -> dict[str, Any]:
    """Return what `from_message` makes the outcome of again, as plain JSON types."""
    message = {
        name: adapter.dump_python(getattr(outcome, name), mode="json")
        for name, adapter in _parts().items()
        if getattr(outcome, name) is not None
    }
    return message if outcome.error is None else message | messages.to_message(outcome.error)


def from_message(bundle: Path, message: dict[str, Any]) -> Outcome:
    """Return the outcome; an error has its class and its words, and no other attributes.

    Raises:
        ValueError: It is no such message.
    """
    parts = {
        name: adapter.validate_python(message[name]) for name, adapter in _parts().items() if name in message
    }
    if "report" in parts:
        return Outcome(bundle, **parts)
    error = messages.from_message(message)
    assert isinstance(error, PrunnetError)
    return Outcome(bundle, error=error, **parts)


def _parts() -> dict[str, TypeAdapter[Any]]:
    """Return the parts of an outcome that travel as they are."""
    from pydantic import TypeAdapter

    from runtime_py.check.report import DriftReport
    from runtime_py.cli.about import About
    from runtime_py.cli.exhibits import Exhibits

    return {
        "report": TypeAdapter(DriftReport),
        "about": TypeAdapter(About),
        "exhibits": TypeAdapter(Exhibits),
    }


class _Checker:
    """A process of `runtime_py.cli.checker`."""

    def __init__(self) -> None:
        command, environment = python_command("runtime_py.cli.checker")
        self._process = subprocess.Popen(
            [*command, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
            encoding="ascii",
            errors="replace",
        )

    def check(self, bundle: Path, request: Request, timeout: float) -> Outcome:
        assert self._process.stdin is not None and self._process.stdout is not None
        killer = threading.Timer(timeout, kill_group, (self._process.pid,))
        killer.start()
        try:
            with suppress(BrokenPipeError):  # it is gone: there will be no answer either
                self._process.stdin.write(json.dumps(request._asdict()) + "\n")
                self._process.stdin.flush()
            answer = self._process.stdout.readline()
        finally:
            in_time = killer.is_alive()
            killer.cancel()
        try:
            return from_message(bundle, json.loads(answer))
        except (ValueError, AttributeError):
            return Outcome(bundle, error=CrashError(bundle, self._end(in_time, timeout)))

    def _end(self, in_time: bool, timeout: float) -> str:
        if not in_time:
            return f"was stopped after {timeout:g} s (--timeout)"
        with suppress(subprocess.TimeoutExpired):
            code = self._process.wait(timeout=5)
            return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return "gave no answer that can be read"

    def close(self) -> None:
        """End it, whatever it is doing."""
        kill_group(self._process.pid)
        self._process.kill()
        self._process.communicate()
