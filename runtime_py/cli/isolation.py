"""Checks bundles in another process: an artifact that kills its runtime, or never ends, ends no command."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime_py.children import kill_group, python_command
from runtime_py.cli.outcome import Outcome
from runtime_py.errors import BundleError, CrashError, PrunnetError

if TYPE_CHECKING:
    from pydantic import TypeAdapter


def check_bundles(
    bundles: Iterable[Path | BundleError],
    server: str | Path | None = None,
    *,
    timeout: float,
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
            outcome = checker.check(bundle, server, timeout, exhibits)
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
    if outcome.error is not None:
        message |= {"kind": type(outcome.error).__name__, "message": str(outcome.error)}
    return message


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
    kinds = {kind.__name__: kind for kind in _kinds(PrunnetError)}
    kind = kinds.get(str(message.get("kind")), PrunnetError)
    # Not through the constructor: the words are known, and what they were made of is not.
    return Outcome(bundle, error=kind.__new__(kind, str(message.get("message"))), **parts)


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


def _kinds(kind: type[PrunnetError]) -> Iterator[type[PrunnetError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _kinds(below)


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

    def check(self, bundle: Path, server: str | Path | None, timeout: float, exhibits: bool) -> Outcome:
        assert self._process.stdin is not None and self._process.stdout is not None
        request = {
            "bundle": str(bundle),
            "server": None if server is None else str(server),
            "exhibits": exhibits,
        }
        killer = threading.Timer(timeout, kill_group, (self._process.pid,))
        killer.start()
        try:
            with suppress(BrokenPipeError):  # it is gone: there will be no answer either
                self._process.stdin.write(json.dumps(request) + "\n")
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
