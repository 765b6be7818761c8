"""The shell that all commands share: `--version`, streams, signals, and errors as exit codes.

A command never ends in a traceback unless it has a bug. What can happen to it from outside is said in one line:
an error of ours, a file that cannot be written, memory that is not there, a package that is not installed.
SIGTERM and SIGHUP end a command like Ctrl-C: whatever is temporary is removed first. The code is 128 plus the
signal's number, as shells give it.
"""

from __future__ import annotations

import argparse
import codecs
import io
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from types import FrameType
from typing import TextIO

from runtime_py.disk.scratch import remove_all
from runtime_py.errors import MissingExtraError, PrunnetError

USAGE = 2
"""Exit code of what the user can mend, as `PrunnetError` has it."""

_OWN = ("prunnet", "exporters", "runtime_py", "device_profiles")
_ENDING = {
    getattr(signal, name): words
    for name, words in (("SIGINT", "interrupted"), ("SIGTERM", "terminated"), ("SIGHUP", "hung up"))
    if hasattr(signal, name)
}

_unwritten: list[OSError] = []
"""Why standard output could not be written, in this run of a command."""


_NO_MEMORY = re.compile("DefaultCPUAllocator: |CUDA out of memory")
"""How torch says, in a RuntimeError, that it was given no memory."""


class Stopped(KeyboardInterrupt):
    """A signal asks the command to end; whoever tidies up after Ctrl-C tidies up after it."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(signal.Signals(number).name)


def run_command(
    parser: argparse.ArgumentParser,
    body: Callable[[argparse.Namespace], int],
    arguments: Sequence[str] | None,
    *,
    extra: str | Callable[[argparse.Namespace], str] = "all",
    stopped: str = "",
) -> int:
    """Parse, run and return the exit code.

    Args:
        parser: Of the command; gets `--version`.
        body: The command; prints with `show` and `note`.
        arguments: Instead of the process's own.
        extra: Pip extra that brings what is missing when an import fails.
        stopped: What to do after an interruption, e.g. "continue with --resume".

    Raises:
        SystemExit: By argparse, for `--help`, `--version` and usage errors.
    """
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and end")
    mend_streams()
    _unwritten.clear()
    options = argparse.Namespace()
    with _signals():
        try:
            _parse(parser, arguments, options)
            code = body(options)
        except SystemExit as error:
            raise SystemExit(_settle(parser.prog, error.code if isinstance(error.code, int) else 0)) from None
        except KeyboardInterrupt as error:
            code = _end(parser.prog, error, stopped)
        except PrunnetError as error:
            note(f"{parser.prog}: {error}")
            code = error.exit_code
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0]
            if not package or package in _OWN:
                raise
            wanted = extra if isinstance(extra, str) else extra(options)
            note(f"{parser.prog}: {MissingExtraError(package, wanted, parser.prog)}")
            code = MissingExtraError.exit_code
        except OSError as error:
            about = "" if error.filename is None else f"{error.filename}: "
            note(f"{parser.prog}: {about}{error.strerror or error}")
            code = USAGE
        except (MemoryError, RuntimeError) as error:
            if not (isinstance(error, MemoryError) or _NO_MEMORY.search(str(error))):
                raise
            said = next(iter(str(error).strip().splitlines()), "nothing left")
            note(f"{parser.prog}: this machine has too little memory ({said})")
            code = USAGE
    return _settle(parser.prog, code)


def _parse(
    parser: argparse.ArgumentParser, arguments: Sequence[str] | None, options: argparse.Namespace
) -> None:
    """Parse into `options`; argparse itself would ignore that its help cannot be written."""
    help_text = io.StringIO()
    try:
        with redirect_stdout(help_text):
            parser.parse_args(arguments, options)
    finally:
        if help_text.getvalue():
            show(help_text.getvalue().removesuffix("\n"))


def show(text: str) -> None:
    """Print a result to standard output.

    A reader that stopped reading (`| head`) changes nothing. Output that is lost otherwise (a full disk) is said
    when the command ends, and turns exit code 0 into 2.
    """
    try:
        print(text, flush=True)
    except OSError as error:
        _lose(sys.stdout, error)


def note(text: str) -> None:
    """Print a remark to standard error, if anybody can still read it."""
    try:
        print(text, file=sys.stderr, flush=True)
    except (OSError, ValueError):
        _drain(sys.stderr)


def mend_streams() -> None:
    """Make the three streams usable: closed ones lead nowhere, and no text is too odd to be printed.

    A closed descriptor would go to the next file that is opened, and receive what a library prints.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # It takes the lowest number that is free: this one. Children inherit it like any stream.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, os.fdopen(descriptor, "w", closefd=False, errors=READABLE))
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=READABLE)


def readable(character: str) -> str:
    r"""Spell a character that cannot be written: a byte of a file name as \xfc, any other as Python escapes it."""
    if "\udc80" <= character <= "\udcff":  # how Python holds such a byte
        return f"\\x{ord(character) - 0xDC00:02x}"
    return ascii(character)[1:-1]


def _spell(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(readable, error.object[error.start : error.end])), error.end


READABLE = "prunnet-readable"
"""Name of the way in which streams of ours take any text: `open(..., errors=READABLE)`."""

codecs.register_error(READABLE, _spell)


@contextmanager
def _signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise `Stopped`; a signal that is ignored stays so. Afterwards all is as before."""
    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.getsignal(number) for number in _ENDING}
        for number, handler in before.items():
            if number != signal.SIGINT and handler != signal.SIG_IGN:
                signal.signal(number, _stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:  # one that was not set from Python cannot be set again from here
                signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stopped(number)


def _end(prog: str, error: KeyboardInterrupt, remedy: str) -> int:
    """Finish the tidying that the signal may have interrupted; nothing interrupts this."""
    number = error.number if isinstance(error, Stopped) else signal.SIGINT
    for other in _ENDING:
        with suppress(ValueError):  # not in the main thread
            signal.signal(other, signal.SIG_IGN)
    remove_all()
    note(f"{prog}: {_ENDING[signal.Signals(number)]}{'; ' if remedy else ''}{remedy}")
    return 128 + number


def _settle(prog: str, code: int) -> int:
    """Flush, so that the interpreter finds nothing left that it could fail to write; return the exit code."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError) as error:
        _lose(sys.stdout, error)
    if _unwritten:
        note(f"{prog}: the output could not be written ({_unwritten[0].strerror or _unwritten[0]})")
        code = code or USAGE
    try:
        sys.stderr.flush()
    except (OSError, ValueError):
        _drain(sys.stderr)
    return code


def _lose(stream: TextIO, error: Exception) -> None:
    if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
        _unwritten.append(error)
    _drain(stream)


def _drain(stream: TextIO) -> None:
    """Let a stream that cannot be written lead nowhere, with what it still holds."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())  # the copy is inherited
        os.close(nowhere)
        stream.flush()


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib import metadata

        print(f"{parser.prog} {metadata.version('prunnet')}")
        parser.exit()
