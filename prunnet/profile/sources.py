"""The public sources of a folder's profiles and fits: `sources.yaml`, beside the profiles."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from prunnet.errors import ProfileError
from prunnet.yaml.document import Document, FieldPath, read_document
from prunnet.yaml.numbers import NoBoolean
from prunnet.yaml.validation import validate
from runtime_py.record import Record

FILE = "sources.yaml"
"""Name of the file. A folder without one may name its sources in any words."""
ASSUMPTION = "assumption"
"""Stands in a source's place where nothing public says it; a remark gives the reasoning."""

_REFERENCE = re.compile(r"(?P<keys>[a-z0-9_]+(?:, [a-z0-9_]+)*)(?:: (?P<remark>.+))?", re.DOTALL)
_ALLOWED = (
    f"a key of {FILE}, several with commas between them, or '{ASSUMPTION}'; then, after a colon, a remark"
)


class Source(Record):
    """One publication."""

    title: str = Field(min_length=1)
    """What the page, file or paper is called."""
    publisher: str = Field(min_length=1)
    """Who answers for it."""
    addresses: tuple[Annotated[str, Field(pattern=r"^https://\S+$")], ...] = Field(min_length=1)
    """Where it is, of a fixed version where there is one."""
    read: datetime.date
    """Day on which it was read."""
    supports: str = Field(min_length=1)
    """What it says that a profile or a fit relies on."""
    confirmed: bool = Field(strict=True)
    """Whether the text was read and says so."""
    note: str | None = Field(default=None, min_length=1)
    """How the text was read; needed where it is not confirmed."""

    @model_validator(mode="after")
    def _explained(self) -> Source:
        if not self.confirmed and self.note is None:
            raise ValueError(
                "confirmed: false needs a note; allowed: how it is known all the same, in `note`"
            )
        return self


class Sources(Record):
    """A folder's sources by their keys."""

    schema_version: Annotated[Literal[1], NoBoolean]
    """Version of this layout."""
    sources: dict[Annotated[str, Field(pattern=r"^[a-z0-9_]+$")], Source]
    """Key -> publication."""


def load_sources(path: Path) -> Sources:
    """Return the sources in a file.

    Args:
        path: A file named `FILE`.

    Raises:
        ProfileError: It is not what it must be.
    """
    return _loaded(path, path.stat().st_mtime_ns)


@cache
def _loaded(path: Path, _changed: int) -> Sources:
    return validate(read_document(path, ProfileError), Sources)


def keys_of(reference: str) -> tuple[str, ...]:
    """Return the keys that a reference names, `ASSUMPTION` among them; none if it is of another form.

    >>> keys_of("llvm_aarch64, wikipedia_a16: Apple's AMX is not listed")
    ('llvm_aarch64', 'wikipedia_a16')
    >>> keys_of("assumption")
    ()
    """
    matched = _REFERENCE.fullmatch(reference)
    keys = tuple(matched["keys"].split(", ")) if matched else ()
    return () if ASSUMPTION in keys and not (matched and matched["remark"]) else keys


def problems_of_profile(document: Document) -> Iterator[ProfileError]:
    """Yield the hardware facts of a profile whose sources `FILE` beside it does not have.

    Args:
        document: A profile; what is no text in it is left to its schema. Without that file any text is a source.
    """
    named = document.values.get("sources")
    facts = named.items() if isinstance(named, dict) else ()
    return _problems(document, document.path.parent, {("sources", fact): text for fact, text in facts})


def problems_of_fit(document: Document) -> Iterator[ProfileError]:
    """Yield the rows of a fit whose sources `FILE` beside the profiles does not have.

    Args:
        document: A fit, in a folder beside the profiles; see `problems_of_profile`.
    """
    rows = document.values.get("rows")
    named: dict[FieldPath, object] = {
        ("rows", at, "source"): row.get("source")
        for at, row in enumerate(rows if isinstance(rows, list) else ())
        if isinstance(row, dict)
    }
    return _problems(document, document.path.parent.parent, named)


def _problems(
    document: Document, folder: Path, references: Mapping[FieldPath, object]
) -> Iterator[ProfileError]:
    if not (folder / FILE).is_file():
        return
    known = load_sources(folder / FILE).sources.keys() | {ASSUMPTION}
    for field, reference in references.items():
        if not isinstance(reference, str) or not reference:
            continue
        keys = keys_of(reference)
        unknown = ", ".join(key for key in keys if key not in known)
        if unknown or not keys:
            yield ProfileError(
                document.path,
                f"{FILE} has no such source" if unknown else "does not name a source",
                line=document.line_of(field),
                field=".".join(map(str, field)),
                given=unknown or reference,
                allowed=_ALLOWED,
            )
