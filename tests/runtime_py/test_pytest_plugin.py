"""pytest in a process of its own, with the plugin as an installed prunnet brings it.

Not by the fixture `pytester`: it forgets every module that a test imports, and torch cannot be imported twice.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from tests.runtime_py import tiny

ROOT = Path(__file__).parents[2]
ALONE = ("-p", "prunnet", "-p", "no:cacheprovider")
"""No other plugin than ours, by its entry point: others take seconds to load, and load numpy."""
GATES = 16
"""Of a bundle of the tiny encoder, whose figures of the export are those of torch on the probes alone."""


def write(project: Path, code: str) -> None:
    (project / "test_own.py").write_text(textwrap.dedent(code))


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


@pytest.fixture
def run(project, tmp_path):
    """Run pytest with options in the project; the plugin is found through an entry point, like that of a wheel."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(tmp_path / "site")])
    if not any(each.name == "prunnet" for each in metadata.entry_points(group="pytest11")):
        about = tmp_path / "site" / "installed-0.dist-info"
        about.mkdir(parents=True)
        declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["pytest11"]
        lines = ["[pytest11]", *(f"{name} = {module}" for name, module in declared.items())]
        (about / "entry_points.txt").write_text("\n".join(lines))
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: installed\nVersion: 0\n")

    def start(*options: object) -> pytest.RunResult:
        command = [sys.executable, "-m", "pytest", *ALONE, *map(str, options)]
        done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
        return pytest.RunResult(done.returncode, done.stdout.splitlines(), done.stderr.splitlines(), 0.0)

    return start


@pytest.fixture
def drifting(make_bundle, probes):
    from dataclasses import replace

    others = replace(probes, subnetwork=tiny.embed(tiny.tiny_encoder(seed=1), probes.images))
    return make_bundle("onnx", out="fleet/drifting", own_probes=others)


def test_each_gate_of_each_bundle_is_a_test(run, make_bundle, tmp_path):
    make_bundle("onnx", out="fleet/a")
    make_bundle("tflite", out="fleet/b")
    result = run("-v", "--prunnet-bundle", tmp_path / "fleet")
    result.assert_outcomes(passed=2 * (GATES + 1))
    result.stdout.fnmatch_lines(["*fleet/a::verdict PASSED*", "*fleet/b::parity.min_cosine PASSED*"])


def test_a_failed_gate_says_its_figures_and_hides_no_other(run, make_bundle, drifting, tmp_path):
    good = make_bundle("onnx", out="good")
    result = run("--prunnet-bundle", good, "--prunnet-bundle", drifting, "--junit-xml", tmp_path / "x.xml")
    assert result.ret == 1
    counts = result.parseoutcomes()
    assert counts["failed"] >= 3 and counts["passed"] > GATES
    result.stdout.fnmatch_lines(["parity.min_cosine is *, at least * is demanded (worst probe: *"])
    assert "runtime_py/pytest_plugin.py" not in result.stdout.str()
    assert "parity.min_cosine" in (tmp_path / "x.xml").read_text()


def test_a_bad_bundle_fails_once_and_says_why(run, make_bundle, tmp_path):
    bundle = make_bundle("onnx", out="bad")
    (bundle / "manifest.json").write_text("{")
    result = run("--prunnet-bundle", tmp_path / "bad", "--prunnet-bundle", tmp_path / "absent")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["*is not JSON*", "*does not exist*"])


def test_a_check_that_cannot_run_is_no_pass(run, make_bundle, monkeypatch):
    bundle = make_bundle("onnx")
    (bundle / "extra").write_text("x")
    run("--prunnet-bundle", bundle).assert_outcomes(failed=1, skipped=GATES)


def test_a_server_is_passed_on(run, make_bundle, probes, tmp_path):
    import numpy as np

    bundle = make_bundle("onnx")
    for space in ("space-of-tiny", "foreign"):
        np.savez(
            tmp_path / f"{space}.npz", space_id=np.array(space), embeddings=probes.dense, labels=probes.labels
        )
    run("--prunnet-bundle", bundle, "--prunnet-server", tmp_path / "space-of-tiny.npz").assert_outcomes(
        passed=GATES + 1
    )
    foreign = run("--prunnet-bundle", bundle, "--prunnet-server", tmp_path / "foreign.npz")
    foreign.assert_outcomes(failed=1, skipped=GATES)
    alone = run("--prunnet-server", tmp_path / "foreign.npz")
    assert alone.ret == pytest.ExitCode.USAGE_ERROR
    alone.stderr.fnmatch_lines(["*add --prunnet-bundle PATH*"])


def test_keywords_and_the_mark_choose_among_the_gates(run, make_bundle, project):
    bundle = make_bundle("onnx")
    run("--prunnet-bundle", bundle, "-k", "verdict").assert_outcomes(passed=1, deselected=GATES)
    write(project, "def test_own(): pass")
    marked = run("--prunnet-bundle", bundle, "-m", "prunnet", "--strict-markers", "--collect-only", "-q")
    assert marked.ret == 0 and "test_own" not in marked.stdout.str()


def test_workers_share_the_tests(run, make_bundle):
    run("--prunnet-bundle", make_bundle("onnx"), "-p", "xdist", "-n", "2").assert_outcomes(passed=GATES + 1)


def test_the_fixture_gives_each_bundle_to_the_users_own_test(run, make_bundle, project):
    write(
        project,
        """
        import numpy as np

        def test_own(prunnet_bundle):
            image = np.zeros((1, 32, 32, 3), np.uint8)
            assert prunnet_bundle.embed(image).shape == (1, 16)
        """,
    )
    run("-k", "test_own").assert_outcomes(skipped=1)
    one, two = make_bundle("onnx", out="one"), make_bundle("tflite", out="two")
    options = ["--prunnet-bundle", one, "--prunnet-bundle", two, "-k", "test_own"]
    run(*options).assert_outcomes(passed=2, deselected=2 * (GATES + 1))


def test_a_run_that_does_not_use_it_loads_nothing(run, project):
    write(
        project,
        """
        import sys

        def test_nothing_is_loaded():
            ours = {name for name in sys.modules if name.startswith("runtime_py")}
            assert ours == {"runtime_py", "runtime_py.pytest_plugin"}
            assert not {"numpy", "pydantic"} & set(sys.modules)
        """,
    )
    result = run()
    result.assert_outcomes(passed=1)


def test_pytest_is_no_dependency_of_the_runtime():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    needed = [
        *project["dependencies"],
        *(each for name in extras if name.startswith("runtime-") for each in extras[name]),
    ]
    assert not [each for each in needed if each.startswith("pytest")]
    for module in (ROOT / "runtime_py").rglob("*.py"):
        assert module.name == "pytest_plugin.py" or "pytest" not in module.read_text(), module
