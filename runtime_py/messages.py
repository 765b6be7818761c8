"""Reports and errors as plain JSON types: what a process or a device that checked a bundle sends back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from runtime_py.check.report import DriftReport
from runtime_py.errors import PrunnetError


def to_message(answer: DriftReport | PrunnetError) -> dict[str, Any]:
    """Return what `from_message` makes the answer of again."""
    from pydantic import TypeAdapter

    if isinstance(answer, DriftReport):
        return {"report": TypeAdapter(DriftReport).dump_python(answer, mode="json")}
    return {"kind": type(answer).__name__, "message": str(answer)}


def from_message(message: dict[str, Any]) -> DriftReport | PrunnetError:
    """Return the report, or an error with its class and its words, and no other attributes.

    Raises:
        ValueError: It is no such message.
    """
    from pydantic import TypeAdapter

    if "report" in message:
        return TypeAdapter(DriftReport).validate_python(message["report"])
    kinds = {kind.__name__: kind for kind in _kinds(PrunnetError)}
    kind = kinds.get(str(message.get("kind")), PrunnetError)
    # Not through the constructor: the words are known, and what they were made of is not.
    return kind.__new__(kind, str(message.get("message")))


def _kinds(kind: type[PrunnetError]) -> Iterator[type[PrunnetError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _kinds(below)
