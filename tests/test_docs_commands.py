"""Every command on a page exists and takes the options that it is shown with. Nothing is run."""

from __future__ import annotations

import re
import shlex
import tomllib
from argparse import ArgumentParser
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import pytest

from docs.generate.commands import scripts
from tests.pages import PAGES, ROOT, blocks, prose

STARTS = ("prunnet-", "python ", "torchrun ", "make ", "pip ")
SHELL = {"|", "||", "&&", ";", ">", ">>", "<"}
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def _lines() -> Iterator[tuple[str, str]]:
    """Yield page and command of every line of shell."""
    for block in blocks():
        lines = block.text.replace("\\\n", " ").splitlines() if block.language == "sh" else ()
        if block.language == "yaml":
            lines = re.findall(r"run: (.+)", block.text)
        for line in lines:
            yield block.page, re.sub(r"^(?:[A-Z_]+=\S+ +)+", "", line.strip().removeprefix("$ "))


def _written_out() -> list[tuple[str, str]]:
    """Return page and command of every command that a reader can copy, up to what the shell does with its output."""
    found = []
    for page, line in _lines():
        if line.startswith(STARTS):
            lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
            lexer.whitespace_split = True
            words = list(lexer)
            end = next((number for number, word in enumerate(words) if word in SHELL), len(words))
            found.append((page, shlex.join(words[:end])))
    return sorted(set(found))


def _mentioned() -> list[tuple[str, str]]:
    """Return page and command of every command that a sentence mentions."""
    found = {
        (str(page.relative_to(ROOT)), code)
        for page in PAGES
        for code in re.findall(r"`([^`\n]+)`", prose(page))
        if code.startswith(STARTS) and " " in code  # a word alone may be the name of a method
    }
    return sorted(found)


@pytest.mark.parametrize(("page", "command"), _written_out())
def test_a_command_can_be_copied(page: str, command: str) -> None:
    words = shlex.split(command)
    name = next((number for number, word in enumerate(words) if word.startswith("prunnet-")), None)
    if words[0] == "pip":
        _installs(words)
    elif name is not None:
        arguments = words[name + 1 :]
        assert {"--help", "--version"} & set(arguments) or _parser(words[name]).parse_args(arguments)
    else:
        _exists(words)


@pytest.mark.parametrize(("page", "command"), _mentioned())
def test_a_command_that_is_mentioned_exists(page: str, command: str) -> None:
    words = command.split()
    if words[0] == "pip":
        _installs(shlex.split(command))
    elif words[0].startswith("prunnet-"):
        known = {*_parser(words[0])._option_string_actions, "--version"}
        assert {word for word in words if word.startswith("--")} <= known
    else:
        _exists(words)


def _parser(name: str) -> ArgumentParser:
    parser: ArgumentParser = import_module(scripts(ROOT)[name].partition(":")[0])._parser()
    return parser


def _exists(words: list[str]) -> None:
    if words[0] == "make":
        targets = re.findall(r"^([\w.-]+):", (ROOT / "Makefile").read_text(), re.M)
        assert {word for word in words[1:] if "=" not in word} <= set(targets)
    elif words[:2] == ["python", "-m"]:
        spec = find_spec(words[2])
        assert spec is not None and spec.origin, f"there is no module {words[2]}"
        if Path(spec.origin).is_relative_to(ROOT):
            source = Path(spec.origin).read_text()
            options = [word for word in words if word.startswith("--")]
            assert all(f'"{option}"' in source for option in options), (
                f"{words[2]} takes not all of {options}"
            )


def _installs(words: list[str]) -> None:
    for word in words:
        for listed in re.findall(r"^(?:prunnet|\.)\[([\w,-]+)\]", word):
            unknown = set(listed.split(",")) - EXTRAS.keys()
            assert not unknown or listed.isupper(), (
                f"no such extra in {word}"
            )  # capitals: for the reader to replace
    for option, file in pairwise(words):
        assert option not in ("-c", "-r", "--constraint") or (ROOT / file).exists(), f"no file {file}"
