"""The generated pages: for each its title, what it says first, and where the rest comes from."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import prunnet
from docs.generate.commands import commands
from docs.generate.errors import errors
from docs.generate.fields import tables
from prunnet.package.metadata import EncoderMetadata
from prunnet.train.recipe.method import METHODS
from runtime_py.bundle.manifest import Manifest
from runtime_py.bundle.tolerances import StatedTolerances, Tolerances

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "reference"
NOTE = "<!-- Written by `python -m docs.generate`. Change the code, not this page. -->"


def _recipe() -> Iterator[str]:
    yield from (
        "# Recipe",
        "",
        "A recipe is a YAML 1.2 file that describes one training run. `prunnet-train --recipe` takes its path, or",
        "the name of a shipped recipe. Every key is obeyed or refused: an unknown key, a value out of range or an",
        "option without effect is an error. One error lists everything that is wrong with the file.",
        "",
        "[Your own photos](../guide/photos.md) writes one step by step. The shipped ones are in",
        "[prunnet/shipped/recipes](../../prunnet/shipped/recipes/glyphs.yaml).",
        "",
    )
    yield from tables(prunnet.Recipe, {})
    yield from (
        "## Methods",
        "",
        "`method.name` sets these options. A recipe may change any of them; the others keep the defaults above.",
        "[Methods side by side](../research/results.md) compares them.",
        "",
        "| name | sets |",
        "|---|---|",
    )
    for name, options in METHODS.items():
        listed = ", ".join(f"`{key}: {_yaml(value)}`" for key, value in options.items())
        yield f"| `{name}` | {listed} |"


def _profile() -> Iterator[str]:
    yield from (
        "# Device profile",
        "",
        "A profile is a YAML 1.2 file: the facts of one device, and what your application may spend there on one",
        "query. `prunnet-export --profile` takes the name of a shipped profile, a path or a quoted glob. One error",
        "lists everything that is wrong with a file, each with its line, what was given and what is allowed.",
        "",
        "[Your own board](../guide/board.md) writes one step by step. The shipped ones are in",
        "[device_profiles](../../device_profiles/pixel8.yaml).",
        "",
    )
    yield from tables(prunnet.DeviceProfile, {StatedTolerances: Tolerances})


def _manifest() -> Iterator[str]:
    yield from (
        "# Bundle manifest",
        "",
        "A bundle is a folder with an artifact, its probes and `manifest.json`. The manifest lists the sha256 of every",
        "other file, and seals itself. `runtime_py.load` refuses a bundle if a single byte changed, or if the manifest",
        "has a key or a schema version that it does not know.",
        "",
    )
    yield from tables(Manifest, {})


def _encoder() -> Iterator[str]:
    yield from (
        "# Encoder package",
        "",
        "`prunnet-train` writes a folder with `encoder.json`, `model.safetensors` (weights and scores), `probes.npz`",
        "(pictures and labels) and a model card. There is no pickle in it. These are the keys of `encoder.json`.",
        "",
    )
    yield from tables(EncoderMetadata, {})


def _commands() -> Iterator[str]:
    yield from (
        "# Commands",
        "",
        "Each command does what one public function does. Results go to standard output, progress to standard error.",
        "[Exit codes](errors.md#exit-codes) are the same for all.",
        "",
    )
    yield from commands(ROOT)


def _errors() -> Iterator[str]:
    yield from (
        "# Errors and exit codes",
        "",
        "Every error that you can meet is a `PrunnetError`. A command prints it and ends with its exit code.",
        "",
    )
    yield from errors()


PAGES: dict[str, Callable[[], Iterator[str]]] = {
    "recipe.md": _recipe,
    "profile.md": _profile,
    "manifest.md": _manifest,
    "encoder.md": _encoder,
    "commands.md": _commands,
    "errors.md": _errors,
}


def page(name: str) -> str:
    """Return a page as the code says it now.

    Args:
        name: A key of `PAGES`.
    """
    title, *rest = PAGES[name]()
    return _joined((title, "", NOTE, *rest))


def _joined(lines: Iterable[str]) -> str:
    return "\n".join(lines).rstrip() + "\n"


def _yaml(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
