"""Errors of the whole project, as far as a device can meet them.

PrunnetError
├ UnknownNameError(LookupError)     given, known names, nearest            exit 2
├ MissingExtraError(ImportError)    the pip command                        exit 2
├ BundleError(ValueError)           file, what is wrong with it            exit 2
│ └ UnsupportedProgramError         operations nobody here can execute     exit 2
├ PictureError(ValueError)          file, what is wrong with it            exit 2
├ DeviceError(RuntimeError)         an attached device: what, remedy       exit 2
│ └ RequiredDeviceError             the same, where CI demands the device    exit 5
├ InferenceError(RuntimeError)      what failed while it ran               exit 5
├ CrashError(RuntimeError)          how the process of a check ended       exit 5
└ IncompatibleError(RuntimeError)   figure, value, tolerance, worst probe  exit 5

`prunnet.errors` and `exporters.errors` add their own branches.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

import runtime_py.no_triton  # noqa: F401 - all that works has errors; merely installed, we touch no import


class PrunnetError(Exception):
    """Base of every error a user can meet; `exit_code` is what the commands return for it."""

    exit_code = 2


MOST_NAMES = 20
"""Known names that an error lists whole; of more (timm has over a thousand) it lists the nearest."""


class UnknownNameError(PrunnetError, LookupError):
    """A name that is in no registry; lists the known ones and the nearest.

    Args:
        kind: What was looked up, e.g. "target".
        given: The name as given.
        known: Every name that would have been accepted.
    """

    def __init__(self, kind: str, given: str, known: Iterable[str]) -> None:
        self.kind, self.given, self.known = kind, given, sorted(known)
        near = difflib.get_close_matches(given, self.known, n=MOST_NAMES // 4)
        self.nearest = near[0] if near else None
        hint = f" Did you mean {self.nearest!r}?" if self.nearest else ""
        listed = ", ".join(self.known)
        if len(self.known) > MOST_NAMES:
            listed = f"{len(self.known)} names, among them {', '.join(near or self.known[:MOST_NAMES])}"
        super().__init__(f"unknown {kind} {given!r}.{hint} Known: {listed}")


class MissingExtraError(PrunnetError, ImportError):
    """A package that an optional extra would bring, or that is there and does not load; names the pip command.

    Args:
        package: The package.
        extra: The extra that brings it.
        needed_for: What needs it.
        cause: What its import raised. Unless it says that there is no such module, the message has its words.
    """

    def __init__(self, package: str, extra: str, needed_for: str, cause: BaseException | None = None) -> None:
        self.package, self.extra = package, extra
        remedy = f"pip install 'prunnet[{extra}]'"
        if cause is not None and not isinstance(cause, ModuleNotFoundError):
            fault = f"it is installed, and this machine cannot load it ({type(cause).__name__}: {cause})"
            remedy = f"{fault}; mend what that names, or once more {remedy}"
        super().__init__(f"{needed_for} needs the package {package!r}: {remedy}")


class BundleError(PrunnetError, ValueError):
    """A bundle that must not be used.

    Args:
        file: The file at fault.
        problem: What is wrong with it.
        remedy: What to do about it.
    """

    def __init__(
        self, file: str | Path, problem: str, remedy: str = "copy the bundle again, or export it again"
    ) -> None:
        self.file, self.problem, self.remedy = Path(file), problem, remedy
        super().__init__(f"{file}: {problem}; {remedy}")


class UnsupportedProgramError(BundleError):
    """A sound program that cannot be executed here, because it uses operations that are not known.

    Args:
        file: The file with the program.
        operations: The operations that are not known.
        known: Every operation that is.
    """

    def __init__(self, file: str | Path, operations: Iterable[str], known: Iterable[str]) -> None:
        self.operations, self.known = sorted(operations), sorted(known)
        super().__init__(
            file,
            f"uses operations that are not known here: {', '.join(self.operations)}. "
            f"Known: {', '.join(self.known)}",
            "verify it on a machine with the target's own runtime",
        )


class PictureError(PrunnetError, ValueError):
    """A file that cannot be read as a picture.

    Args:
        file: The file.
        kind: Why, in a word or two that many files can share: "damaged", "empty", "too large", "HEIC".
        problem: What is wrong with this one.
        remedy: What helps.
    """

    def __init__(
        self, file: str | Path, kind: str, problem: str, remedy: str = "replace or remove it"
    ) -> None:
        self.file, self.kind, self.problem = Path(file), kind, problem
        super().__init__(f"{file} is not a readable picture: {problem}; {remedy}")


class DeviceError(PrunnetError, RuntimeError):
    """An attached or emulated device that is absent, out of reach or gives no answer; says what to do.

    A check that meets it is not a pass.
    """


class RequiredDeviceError(DeviceError):
    """A device that is not there although PRUNNET_REQUIRE_DEVICE=1 demands it: a failure, not a check left out."""

    exit_code = 5


class InferenceError(PrunnetError, RuntimeError):
    """A sound artifact that failed while it ran; a check that meets it is not a pass.

    Args:
        what: The runtime or the server that ran.
        cause: What it said.
    """

    exit_code = 5

    def __init__(self, what: str, cause: BaseException) -> None:
        self.what = what
        super().__init__(f"{what} failed while it embedded: {type(cause).__name__}: {cause}")


class ClosedError(PrunnetError, RuntimeError):
    """An encoder that was used after it was closed, or that a forked process cannot use.

    Args:
        bundle: Encoder and target, in words.
        state: What became of it.
    """

    def __init__(self, bundle: str, state: str = "is closed") -> None:
        super().__init__(f"the encoder {bundle} {state}; load its bundle again")


class CrashError(PrunnetError, RuntimeError):
    """An artifact whose check ended its process or its time; that is no pass.

    Args:
        bundle: The bundle that was checked.
        end: How the process ended, in words.
    """

    exit_code = 5

    def __init__(self, bundle: str | Path, end: str) -> None:
        self.bundle, self.end = Path(bundle), end
        super().__init__(f"{bundle}: the process that checked it {end}; do not use it, export it again")


class IncompatibleError(PrunnetError, RuntimeError):
    """Embeddings that must not meet the server's gallery.

    Args:
        message: What does not fit, in words.
        figure: Name of the figure at fault, e.g. "parity.min_cosine"; None if no figure was compared.
        value: The figure as measured.
        tolerance: What it may be at worst.
        worst_probe: Index of the probe with the smallest cosine.
    """

    exit_code = 5

    def __init__(
        self,
        message: str,
        *,
        figure: str | None = None,
        value: float | None = None,
        tolerance: float | None = None,
        worst_probe: int | None = None,
    ) -> None:
        self.figure, self.value, self.tolerance, self.worst_probe = figure, value, tolerance, worst_probe
        super().__init__(message)
