"""The pytest plugin: a test for each bundle and gate, and the fixture `prunnet_bundle`.

Only pytest imports this module, at the start of every run in an environment that has prunnet: it loads nothing else
until `--prunnet-bundle` is given or the fixture is used.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from runtime_py.bundle.manifest import Manifest
    from runtime_py.cli.outcome import Outcome
    from runtime_py.encoder import QueryEncoder
    from runtime_py.errors import BundleError

    _Found = tuple[Path | BundleError, ...]

VERDICT = "verdict"
"""Name of the test that fails unless the bundle is compatible."""

_found = pytest.StashKey["_Found"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("prunnet", "drift of prunnet bundles")
    group.addoption(
        "--prunnet-bundle",
        action="append",
        default=[],
        metavar="PATH",
        help="check this bundle, or every bundle below this folder: one test for each gate; can be repeated",
    )
    group.addoption(
        "--prunnet-server",
        metavar="PATH",
        help="check against the server's encoder package, ONNX model, TensorFlow SavedModel or stored gallery (.npz)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Name the mark of our tests; refuse a server without bundles."""
    config.addinivalue_line("markers", "prunnet: a gate of a bundle given by --prunnet-bundle")
    if config.getoption("prunnet_server") and not config.getoption("prunnet_bundle"):
        raise pytest.UsageError("--prunnet-server needs bundles: add --prunnet-bundle PATH")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, items: list[pytest.Item]) -> None:
    """Add the tests of each bundle, before `-k` and `-m` choose."""
    for label, bundle in zip(_labels(session.config), _bundles(session.config), strict=True):
        collector = BundleTests.from_parent(session, name=label, nodeid=f"prunnet/{label}", bundle=bundle)
        items.extend(collector.collect())


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that takes `prunnet_bundle` once for each bundle."""
    if "prunnet_bundle" not in metafunc.fixturenames:
        return
    bundles: Iterable[Any] = _bundles(metafunc.config)
    labels = _labels(metafunc.config)
    if not bundles:
        skipped = pytest.mark.skip(reason="no bundle is given: --prunnet-bundle PATH")
        bundles, labels = [pytest.param(None, marks=skipped)], ["none"]
    metafunc.parametrize("prunnet_bundle", bundles, ids=labels, indirect=True, scope="session")


@pytest.fixture(scope="session")
def prunnet_bundle(request: pytest.FixtureRequest) -> Iterator[QueryEncoder]:
    """The loaded encoder of each bundle given by --prunnet-bundle. It runs in the process of the tests."""
    from runtime_py.errors import BundleError
    from runtime_py.loading import load

    if isinstance(request.param, BundleError):
        raise request.param
    with load(request.param) as encoder:
        yield encoder


class BundleTests(pytest.Collector):
    """The tests of one bundle. Its check runs once, in a process of its own, when the first of them does."""

    def __init__(self, *, bundle: Path | BundleError, **known: Any) -> None:
        super().__init__(**known)
        self._bundle = bundle
        self._outcome: Outcome | None = None

    def collect(self) -> list[pytest.Item]:
        """List the verdict, and each gate that the bundle passed at its export."""
        tests = [GateTest.from_parent(self, name=name) for name in (VERDICT, *_gate_names(self._bundle))]
        for test in tests:
            test.add_marker("prunnet")
        return list[pytest.Item](tests)

    def outcome(self) -> Outcome:
        """Check the bundle, once."""
        from runtime_py.cli.check import TIMEOUT_SECONDS
        from runtime_py.cli.isolation import check_bundles

        if self._outcome is None:
            server = self.config.getoption("prunnet_server")
            (self._outcome,) = check_bundles([self._bundle], server, timeout=TIMEOUT_SECONDS)
        return self._outcome


class GateTest(pytest.Item):
    """One gate of one bundle, or its verdict."""

    parent: BundleTests

    def runtest(self) -> None:
        """Fail as the check did.

        The verdict fails for whatever is not `compatible`. A gate that was not held against anything is skipped: the
        verdict says why.
        """
        outcome = self.parent.outcome()
        if self.name == VERDICT:
            if outcome.verdict != "compatible":
                raise DriftError("\n".join((f"{outcome.bundle}: {outcome.verdict}", *outcome.reasons)))
            return
        gate = next((gate for gate in outcome.gates if gate.name == self.name), None)
        if gate is None:
            pytest.skip(f"was not measured: {outcome.bundle} is {outcome.verdict}")
        if not gate.passed:
            raise DriftError(str(gate))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Give the reasons alone: a traceback through the plugin tells nothing about a bundle."""
        if isinstance(excinfo.value, DriftError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Say where the test is from: the bundle."""
        return Path(self.parent.name), None, f"{self.parent.name}: {self.name}"


class DriftError(AssertionError):
    """A gate that failed, or a verdict other than `compatible`."""


def _bundles(config: pytest.Config) -> _Found:
    """Find the bundles, once for each run of pytest."""
    if _found not in config.stash:
        config.stash[_found] = _find(config)
    return config.stash[_found]


def _find(config: pytest.Config) -> _Found:
    paths = config.getoption("prunnet_bundle")
    if not paths:
        return ()
    from runtime_py.cli.discovery import find_bundles

    places = [config.invocation_params.dir / path for path in paths]
    return find_bundles(places, config.getoption("prunnet_server"))


def _labels(config: pytest.Config) -> list[str]:
    """Name each bundle by its path, below the folder in which pytest was started if it is there."""
    return list(_names(config.invocation_params.dir, _bundles(config)))


def _names(start: Path, bundles: _Found) -> Iterator[str]:
    for bundle in bundles:
        path = Path(os.path.normpath(bundle if isinstance(bundle, Path) else bundle.file))
        yield (path.relative_to(start) if path.is_relative_to(start) else path).as_posix()


def _gate_names(bundle: Path | BundleError) -> tuple[str, ...]:
    """Return the gates that the exporter held the bundle against; none if it does not say."""
    from runtime_py.errors import BundleError
    from runtime_py.loading import read_manifest

    if isinstance(bundle, BundleError):
        return ()
    try:
        manifest = read_manifest(bundle)
    except BundleError:
        return ()  # the verdict will say so
    return _gates_of(manifest)


def _gates_of(manifest: Manifest) -> tuple[str, ...]:
    from runtime_py.check.gates import gates, resize_gates

    figures = manifest.drift.figures
    if figures is None:
        return ()
    tolerances = manifest.drift.tolerances
    judged = (*gates(figures, tolerances, figures), *resize_gates(1.0, 1.0, tolerances))
    return tuple(gate.name for gate in judged)
