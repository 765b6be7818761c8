"""What the pages show is true: code runs, YAML is valid, links lead somewhere, every page is in the site."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from prunnet import DeviceProfile, Recipe, load_profile, load_recipe
from prunnet.errors import DocumentError
from runtime_py.bundle.tolerances import TABLE, Tolerances, as_precision
from tests.pages import PAGES, ROOT, Block, anchors, blocks, prose

SIGNATURES = {"docs/reference/datasets.md"}
"""Pages whose Python needs data sets that nobody may ship."""
UNCHECKED = {"text", "mermaid", "kotlin", "swift", "groovy", "gradle", "toml", "xml", "sh"}
"""Languages that nothing here reads; the commands among them are in test_docs_commands.py."""


def _of(language: str) -> Any:
    found = [block for block in blocks() if block.language == language]
    return pytest.mark.parametrize("block", found, ids=[block.name for block in found])


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that looks like a clone in which `make export` has run."""
    folder = tmp_path_factory.mktemp("clone")
    for each in ROOT.iterdir():
        if each.name not in ("build", "runs") and not each.name.startswith("."):
            (folder / each.name).symlink_to(each)
    export = [sys.executable, "-m", "exporters.cli.export", "--profile", "pixel8", "--target", "tflite"]
    subprocess.run(export, cwd=folder, check=True, capture_output=True)
    return folder


@_of("python")
def test_code_runs(block: Block, clone: Path) -> None:
    followed = block.title != ""  # a file of a guide: test_guides.py runs it where it belongs
    if followed or block.page in SIGNATURES:
        compile(block.text, block.name, "exec")
        return
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", block.text]
    done = subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@_of("json")
def test_json_is_valid(block: Block) -> None:
    json.loads(block.text)


@_of("yaml")
def test_yaml_is_a_recipe_or_a_profile(block: Block, tmp_path: Path) -> None:
    """A whole document is one of ours; a part of one is, put into a shipped document in place of what is there."""
    given = YAML(typ="safe").load(block.text)
    assert isinstance(given, dict), "not a mapping"
    if {
        "jobs",
        "include",
    } & given.keys():  # a workflow of somebody's CI: tests/runtime_py/cli/test_ci_examples.py
        return
    whole = "schema_version" in given
    file = tmp_path / "document.yaml"
    problems = []
    for schema, read, shipped in (
        (Recipe, load_recipe, ROOT / "prunnet" / "shipped" / "recipes" / "glyphs.yaml"),
        (DeviceProfile, load_profile, ROOT / "device_profiles" / "pixel8.yaml"),
    ):
        if not given.keys() <= schema.model_fields.keys():
            continue
        base = YAML(typ="safe").load(shipped.read_text())
        for candidate in [given] if whole else [{**base, **given}, _merged(base, given)]:
            file.write_text(json.dumps(candidate))
            try:
                read(str(file))
            except DocumentError as error:
                problems.append(str(error))
            else:
                return
    pytest.fail("\n".join(problems) or f"neither a recipe nor a profile has all of {', '.join(given)}")


def _merged(base: Any, given: Any) -> Any:
    if not isinstance(base, dict) or not isinstance(given, dict):
        return given
    return {**base, **{key: _merged(base.get(key), value) for key, value in given.items()}}


def test_every_block_says_its_language() -> None:
    known = {"python", "json", "yaml", *UNCHECKED}
    assert not {block.name: block.language for block in blocks() if block.language not in known}


def test_the_code_names_pages_that_exist() -> None:
    """Errors, help texts and docstrings send readers to pages."""
    missing = set()
    for package in ("prunnet", "exporters", "runtime_py", "benchmarks", "tests"):
        for file in (ROOT / package).rglob("*.py"):
            for page in re.findall(r"\bdocs/[\w/-]+\.md\b", file.read_text("utf-8")):
                if not (ROOT / page).exists():
                    missing.add(f"{file.relative_to(ROOT)}: {page}")
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    for link, anchor in re.findall(r"\]\(([^)#:\s]*)(?:#([^)\s]*))?\)", prose(page)):
        target = page.parent / link if link else page
        assert target.exists(), f"links to {link}, which does not exist"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"links to {link}#{anchor}, and there is no such heading"


def test_every_page_is_in_the_site() -> None:
    listed = set(re.findall(r"\S+\.md", (ROOT / "mkdocs.yml").read_text()))
    there = {str(page.relative_to(ROOT / "docs")) for page in PAGES if page.is_relative_to(ROOT / "docs")}
    assert listed == there, "mkdocs.yml: nav"


def test_every_dependency_has_a_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    wanted = {
        re.split(r"[<>=\[ ]", requirement)[0]
        for requirement in [*project["dependencies"], *(r for extra in extras for r in extra)]
    } - {"prunnet"}
    text = (ROOT / "docs" / "decisions" / "dependencies.md").read_text()
    assert not {name for name in wanted if not re.search(rf"^\|.*\b{re.escape(name)}\b.*\|", text, re.M)}


def test_the_page_of_gates_states_the_tolerances_in_force() -> None:
    text = (ROOT / "docs" / "reference" / "gates.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (\S+) \| (\S+) \| (\S+) \|", text, re.M)
    stated = {name: [None if each == "none" else float(each) for each in values] for name, *values in rows}
    in_force = {
        name: [getattr(TABLE[precision], name) for precision in ("fp32", "fp16", "int8")]
        for name in Tolerances.model_fields
    }
    assert stated == in_force
    rows = re.findall(r"^\| Core ML, `(\w+)` \| (\S+) \| (\S+) \| (\S+) \| (\S+) \|", text, re.M)
    assert {name for name, *_ in rows} == {"palette6", "palette4"}
    for precision, *values in rows:
        given = TABLE[as_precision(precision)]
        parity = (
            given.min_cosine,
            given.min_mean_cosine,
            given.min_top1_agreement,
            given.min_synthetic_cosine,
        )
        assert parity == tuple(map(float, values))
