"""Measure how many megabytes each extra of pyproject.toml installs, from the environment that runs this.

    python -m benchmarks.extras_size            prints the table
    python -m benchmarks.extras_size --write    ... and writes it into docs/reference/extras.md

An extra is followed to everything it needs on this system. A package's size is what the files that its RECORD lists
take on disk, compiled bytecode included. Nothing is installed or downloaded.
"""

from __future__ import annotations

import argparse
import platform
import sys
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchmarks.page import DOCS, put

PROJECT = "prunnet"
PAGE = DOCS / "reference" / "extras.md"
COMMAND = "python -m benchmarks.extras_size --write"
DEVELOPER = {"dev"}
"""Extras that the table leaves out: they are for working on this project."""


def declared() -> dict[str, list[str]]:
    """Return the project's requirements by extra, those without an extra under an empty name."""
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {"": project["dependencies"], **project["optional-dependencies"]}


def needed(extra: str) -> dict[str, metadata.Distribution]:
    """Return every package that an extra of this project needs here, by its name.

    Args:
        extra: Name of the extra, empty for none.
    """
    own = declared()
    found: dict[str, metadata.Distribution] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(PROJECT, "")] + ([(PROJECT, extra)] if extra else [])
    while waiting:
        name, of_extra = waiting.pop()
        if (name, of_extra) in seen:
            continue
        seen.add((name, of_extra))
        if name == PROJECT:
            lines = own[of_extra]
        else:
            found[name] = installed(name)
            lines = found[name].requires or []
        for requirement in map(Requirement, lines):
            if requirement.marker is None or requirement.marker.evaluate({"extra": of_extra}):
                wanted = canonicalize_name(requirement.name)
                waiting += [(wanted, each) for each in ("", *requirement.extras)]
    return found


def installed(name: str) -> metadata.Distribution:
    """Return a package of this environment; ends the program without it."""
    try:
        return metadata.distribution(name)
    except metadata.PackageNotFoundError:
        sys.exit(f"{name} is not installed here; run this where '.[all]' is (make test sets it up in .venv)")


def size_of(package: metadata.Distribution) -> int:
    """Return the bytes that a package's files take."""
    paths = (Path(str(package.locate_file(file))) for file in package.files or ())
    return sum(path.stat().st_size for path in paths if path.is_file())


def table() -> str:
    """Return the Markdown table of all extras, and what it was measured on."""
    lines = ["| extra | MB | packages | the three largest |", "|---|---|---|---|"]
    for extra in declared():
        if extra in DEVELOPER:
            continue
        sizes = {name: size_of(package) / 1e6 for name, package in needed(extra).items()}
        largest = sorted(sizes, key=lambda name: -sizes[name])[:3]
        listed = ", ".join(f"{name} {sizes[name]:,.0f}" for name in largest)
        name = f"`{extra}`" if extra else "none"
        lines.append(f"| {name} | {sum(sizes.values()):,.0f} | {len(sizes)} | {listed} |")
    torch = metadata.version("torch")
    system = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}, torch {torch}"
    return "\n".join([f"Measured on {system}:", "", *lines])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="write it into docs/reference/extras.md too")
    write = parser.parse_args().write
    text = table()
    if write:
        put(PAGE, COMMAND, text)
    print(text)


if __name__ == "__main__":
    main()
