"""The errors that a user can meet, and the exit codes that they lead to."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

from docs.generate.docstrings import first_paragraph
from docs.generate.fields import cell
from runtime_py.errors import PrunnetError

PACKAGES = ("runtime_py", "prunnet", "exporters")
MEANINGS = {
    0: "The command did what it was asked to do.",
    1: "A bug in prunnet: a traceback. Please report it.",
    2: "Something that you can mend: an option, a profile, a recipe, a picture, a package that is not installed.",
    3: "No capacity fits the budgets of the profile.",
    4: "An export failed, or an artifact is not what was asked for.",
    5: "Embeddings are incompatible with the server's or moved from a baseline, or nothing could verify them.",
}
"""What each exit code means. Several exports end with the highest of their codes."""


def error_classes() -> list[type[PrunnetError]]:
    """Return the errors of the three packages, each parent before its children."""
    found: list[type[PrunnetError]] = []
    for package in PACKAGES:
        module = import_module(f"{package}.errors")
        found += [
            each
            for each in vars(module).values()
            if isinstance(each, type)
            and issubclass(each, PrunnetError)
            and each.__module__ == module.__name__
        ]
    return found


def errors() -> Iterator[str]:
    """Yield the lines of the page of errors."""
    classes = error_classes()
    yield from ("## Exit codes", "", "| code | meaning | errors |", "|---|---|---|")
    for code, meaning in MEANINGS.items():
        names = ", ".join(f"`{each.__name__}`" for each in classes if each.exit_code == code)
        yield f"| {code} | {meaning} | {names} |"
    yield "| 128 + n | Signal n ended the command: 130 for Ctrl-C, 143 for SIGTERM. | |"
    for package in PACKAGES:
        own = [each for each in classes if each.__module__.startswith(f"{package}.")]
        yield from (
            "",
            f"## {package}.errors",
            "",
            "| error | is also a | exit code | what it is |",
            "|---|---|---|---|",
        )
        for each in own:
            also = ", ".join(f"`{base.__name__}`" for base in each.__bases__)
            yield f"| `{each.__name__}` | {also} | {each.exit_code} | {cell(first_paragraph(each))} |"
