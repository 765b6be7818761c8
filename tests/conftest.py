"""What no test can do on this computer is skipped, by its reason."""

import pytest

from exporters.errors import UnsupportedHostError
from exporters.targets.registry import TARGETS, host

_ROWS = [(set(row.imports), row.hosts and host() not in row.hosts) for row in TARGETS.values()]
UNBUILT = {name for names, unbuilt in _ROWS if unbuilt for name in names} - {
    name for names, unbuilt in _ROWS if not unbuilt for name in names
}
"""Packages of converters that are not built for this computer, and of no other's. A test may import them itself."""


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_setup():
    outcome = yield
    _skip_what_is_not_built(outcome)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call():
    outcome = yield
    _skip_what_is_not_built(outcome)


def _skip_what_is_not_built(outcome):
    error = outcome.excinfo and outcome.excinfo[1]
    while error is not None:
        absent = isinstance(error, ImportError) and (error.name or "").split(".")[0] in UNBUILT
        if absent or isinstance(error, UnsupportedHostError):
            outcome.force_exception(pytest.skip.Exception(f"not on this computer: {error}"))
            return
        error = error.__cause__ or error.__context__
