"""Code in the documents runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# The architecture page lists signatures, not programs; benchmarks need data sets that nobody may ship.
NOT_PROGRAMS = {"architecture.md", "datasets.md"}


def _programs() -> list[tuple[str, str]]:
    found = []
    for document in DOCUMENTS:
        if document.name not in NOT_PROGRAMS:
            blocks = re.findall(r"^```python\n(.*?)^```", document.read_text(), re.M | re.S)
            found += [(f"{document.name}-{number}", block) for number, block in enumerate(blocks)]
    return found


@pytest.mark.parametrize(("name", "code"), _programs(), ids=[name for name, _ in _programs()])
def test_code_in_documents_runs(name: str, code: str, tmp_path: Path) -> None:
    if name.startswith("README"):
        export = [sys.executable, "-m", "exporters.cli", "--profile", "pixel8", "--target", "tflite"]
        subprocess.run([*export, "--out", str(tmp_path / "build")], cwd=ROOT, check=True, capture_output=True)
    where = tmp_path if name.startswith("README") else ROOT
    done = subprocess.run([sys.executable, "-c", code], cwd=where, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_links_between_documents_lead_somewhere() -> None:
    for document in DOCUMENTS:
        for link in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            assert (document.parent / link).exists(), f"{document.name} links to {link}"


def test_every_dependency_has_a_reason() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    wanted = {
        re.split(r"[<>=\[ ]", requirement)[0]
        for requirement in [*project["dependencies"], *(r for extra in extras for r in extra)]
    } - {"prunnet"}
    text = (ROOT / "docs" / "decisions" / "dependencies.md").read_text()
    assert not {name for name in wanted if not re.search(rf"^\|.*\b{re.escape(name)}\b.*\|", text, re.M)}
