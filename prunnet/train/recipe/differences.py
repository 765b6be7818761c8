"""What sets two recipes apart, field by field."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any, get_args

from pydantic import BaseModel

from prunnet.train.recipe.recipe import Recipe

_BEFORE = {"method.spare_narrow": 0.0}
"""Options with a value, before they were fields, that is not today's default."""
_ABSENT = object()


def differences(written: str, recipe: Recipe) -> list[str]:
    """Compare a recipe that was written by this or an older version with one of today.

    Args:
        written: JSON of `Recipe.model_dump_json`; a field that is missing has the value that it had before it existed.
        recipe: The other.

    Returns:
        One phrase for each field that differs, with both values; empty where both are the same run.
    """
    try:
        stored = _flat(json.loads(written))
    except (ValueError, TypeError, AttributeError):
        stored = {}
    wanted = _flat(recipe.model_dump(mode="json"))
    phrases = []
    for field in sorted({*stored, *wanted}):
        there, here = (values.get(field, _usual(field)) for values in (stored, wanted))
        if there != here:
            phrases.append(f"{field} is {_said(there)} there and {_said(here)} here")
    return phrases


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value
    return found


def _usual(field: str) -> Any:
    """Return the value of a field that a recipe does not have."""
    if field in _BEFORE:
        return _BEFORE[field]
    prefix, dot, name = field.rpartition(".")
    part = _parts(Recipe).get(prefix + dot)
    known = None if part is None else part.model_fields.get(name)
    if known is None or known.is_required():
        return _ABSENT
    default = known.get_default(call_default_factory=True)
    return [*default] if isinstance(default, tuple) else default


@cache
def _parts(model: type[BaseModel], prefix: str = "") -> dict[str, type[BaseModel]]:
    """Return the model and all models inside it, by the prefix of their fields."""
    found = {prefix: model}
    for name, field in model.model_fields.items():
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                found |= _parts(kind, f"{prefix}{name}.")
    return found


def _said(value: Any) -> str:
    return "not given" if value is _ABSENT else json.dumps(value)
