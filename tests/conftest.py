"""What this computer cannot do is skipped, by its reason; interrupts reach tests that run in the background."""

import signal
import subprocess
from contextlib import suppress
from importlib import import_module

import pytest

from exporters.errors import UnsupportedHostError
from exporters.targets.registry import TARGETS, host

_ROWS = [(set(row.imports), row.hosts and host() not in row.hosts) for row in TARGETS.values()]
UNBUILT = {name for names, unbuilt in _ROWS if unbuilt for name in names} - {
    name for names, unbuilt in _ROWS if not unbuilt for name in names
}
"""Packages of converters that are not built for this computer. A test may import them itself."""
WORDS = ("its converter is not built for", "BlobWriter not loaded")
"""Of `UnsupportedHostError`, and of coremltools without its writer, where a test sees a process's text alone."""


def pytest_configure():
    # A shell that runs pytest in the background lets it ignore interrupts, and so would all that it starts.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    with suppress(ImportError):
        # Before TensorFlow, which coremltools loads: in the other order the process ends.
        import_module("triton")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_setup():
    outcome = yield
    _skip_what_is_not_built(outcome)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call():
    outcome = yield
    _skip_what_is_not_built(outcome)


def _skip_what_is_not_built(outcome):
    error = outcome.excinfo[1] if UNBUILT and outcome.excinfo else None
    while error is not None:
        if _is_of_this_computer(error):
            outcome.force_exception(pytest.skip.Exception(f"not on this computer: {error}"))
            return
        error = error.__cause__ or error.__context__


def _is_of_this_computer(error):
    if isinstance(error, ImportError) and (error.name or "").split(".")[0] in UNBUILT:
        return True
    said = [error]
    if isinstance(error, subprocess.CalledProcessError):
        said += [error.stdout, error.stderr]
    return isinstance(error, UnsupportedHostError) or any(
        word in str(each) for word in WORDS for each in said
    )
