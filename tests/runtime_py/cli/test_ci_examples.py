"""The steps of examples/ci are run, one after the other, as GitHub and GitLab run them.

Installing is replaced by the environment of the tests: a `pip` that notes what it was asked for.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pytest
from ruamel.yaml import YAML

from runtime_py.cli.check import main

ROOT = Path(__file__).parents[3]
GITHUB, GITLAB = (
    YAML(typ="safe").load(ROOT / "examples" / "ci" / f"{name}.yml") for name in ("github", "gitlab")
)
BASH = ["bash", "--noprofile", "--norc", "-eo", "pipefail"]
"""What GitHub runs for `shell: bash`."""


@dataclass
class Checkout:
    """A repository with two bundles and their baseline."""

    folder: Path
    environment: dict[str, str]

    def run(self, script: str, shell: list[str], **variables: str) -> int:
        file = self.folder.parent / "step.sh"
        file.write_text(script)
        environment = {**self.environment, **variables}
        done = subprocess.run(
            [*shell, str(file)], cwd=self.folder, env=environment, capture_output=True, text=True
        )
        assert "not found" not in done.stderr, done.stderr
        return done.returncode

    @property
    def installed(self) -> str:
        return (self.folder.parent / "pip.txt").read_text()


@pytest.fixture
def checkout(make_bundle, tmp_path) -> Checkout:
    folder, programs = tmp_path / "repository", tmp_path / "bin"
    make_bundle("onnx", out="repository/build/one/onnx")
    make_bundle("tflite", out="repository/build/one/tflite")
    baseline = str(folder / "drift.json")
    assert main([str(folder / "build"), "--baseline", baseline, "--update-baseline"]) == 0
    programs.mkdir()
    (programs / "pip").write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/pip.txt\n')
    (programs / "pip").chmod(0o755)
    path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]])
    return Checkout(folder, {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)})


def github(checkout: Checkout, **given: object) -> list[int]:
    """Run the workflow's steps; returns their exit codes. After one failed, only steps with `if: always()` run."""
    inputs = {
        name: about.get("default") for name, about in GITHUB["on"]["workflow_call"]["inputs"].items()
    } | given
    job = GITHUB["jobs"]["check"]
    assert job["defaults"]["run"]["shell"] == "bash"
    variables = {
        name: str(inputs[re.fullmatch(r"\${{ inputs\.(\w+) }}", v)[1]]) for name, v in job["env"].items()
    }
    codes: list[int] = []
    for step in job["steps"]:
        if "run" in step and (not any(codes) or step.get("if") == "always()"):
            summary = str(checkout.folder.parent / "summary.md")
            codes.append(checkout.run(step["run"], BASH, **variables, GITHUB_STEP_SUMMARY=summary))
    return codes


def gitlab(checkout: Checkout, **given: str) -> int:
    """Run the job's script; GitLab stops at the first line that fails."""
    job = GITLAB["prunnet-drift"]
    for line in job["script"]:
        code = checkout.run(line, ["bash", "-e"], **job["variables"], **given)
        if code:
            return code
    return 0


def _reports_are_there(checkout: Checkout) -> None:
    kept = next(
        step for step in GITHUB["jobs"]["check"]["steps"] if step.get("uses", "").startswith("actions/upload")
    )
    for name in kept["with"]["path"].split():
        assert (checkout.folder / name).stat().st_size, name


def test_github_passes_and_keeps_its_reports(checkout):
    assert github(checkout, expect=2) == [0, 0, 0]
    _reports_are_there(checkout)
    summary = (checkout.folder.parent / "summary.md").read_text()
    assert summary.count("compatible") == 2 and summary.count("```") == 2


def test_github_fails_where_a_bundle_is_missing_and_still_keeps_its_reports(checkout):
    assert github(checkout, expect=3) == [0, 2, 0]
    _reports_are_there(checkout)
    assert "3 are expected" in (checkout.folder.parent / "summary.md").read_text()


def test_gitlab_passes_and_fails(checkout):
    assert gitlab(checkout, EXPECT="2") == 0
    suites = ElementTree.parse(
        checkout.folder / GITLAB["prunnet-drift"]["artifacts"]["reports"]["junit"]
    ).getroot()
    assert len(suites) == 2
    assert (checkout.folder / GITLAB["prunnet-drift"]["artifacts"]["paths"][0]).stat().st_size
    assert gitlab(checkout, EXPECT="3") == 2


@pytest.mark.parametrize("runs", [lambda at: github(at, expect=2), lambda at: gitlab(at, EXPECT="2")])
def test_a_move_from_the_baseline_fails_the_build(checkout, runs):
    file = checkout.folder / "drift.json"
    file.write_text(re.sub(r'"map": (0\.[1-9]\d*|1\.0),\n\s+"mean', '"map": 0.5,\n"mean', file.read_text()))
    code = runs(checkout)
    assert code == 5 or code == [0, 5, 0]
    assert "baseline.map" in (checkout.folder / "drift.xml").read_text()


def test_what_is_installed_exists(checkout):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for run in (lambda: github(checkout, expect=2), lambda: gitlab(checkout, EXPECT="2")):
        run()
        listed = re.fullmatch(r"install\nprunnet\[([\w,-]+)\]\n", checkout.installed)
        assert listed and set(listed[1].split(",")) <= extras.keys()


def test_an_input_never_becomes_part_of_a_script(checkout):
    """Inputs reach a script as variables: a folder with a strange name runs nothing."""
    for step in GITHUB["jobs"]["check"]["steps"]:
        assert "${{" not in step.get("run", "")
    assert github(checkout, expect=2, bundles='build/$(touch "owned")') == [0, 2, 0]
    assert not (checkout.folder / "owned").exists()
