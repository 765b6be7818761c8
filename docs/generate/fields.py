"""A pydantic model as tables: each field with its type, its range, its default and what it does."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from docs.generate.docstrings import attribute_docs, first_paragraph
from docs.generate.words import words

Models = dict[str, type[BaseModel]]
"""Dotted path of a part of a document -> its model; the whole document is at ""."""


def parts_of(model: type[BaseModel], path: str = "") -> Models:
    """Return a model and every model inside it, by dotted path; `*` stands for any key, `[]` for any item."""
    found = {path: model}
    for name, info in model.model_fields.items():
        for suffix, inner in _models_in(info.annotation):
            found |= parts_of(inner, f"{path}.{name}{suffix}".removeprefix("."))
    return found


def tables(model: type[BaseModel], meant_like: Mapping[type[BaseModel], type[BaseModel]]) -> Iterator[str]:
    """Yield the lines of a page that describe a model: a table for it, and one for each model inside it.

    Args:
        model: Of the whole document.
        meant_like: Model -> another one with the same fields that says what they mean.

    Raises:
        ValueError: Fields that no docstring describes; names them all.
    """
    parts = parts_of(model)
    means = {path: attribute_docs(meant_like.get(part, part)) for path, part in parts.items()}
    silent = [
        f"{part.__name__}.{name}"
        for path, part in parts.items()
        for name in part.model_fields
        if name not in means[path]
    ]
    if silent:
        raise ValueError(f"fields without a docstring, which the reference needs: {', '.join(silent)}")
    described: dict[type[BaseModel], str] = {}
    for path, part in parts.items():
        if path:
            yield from (f"## `{path}`", "", cell(first_paragraph(part)), "")
        if part in described:
            yield f"The keys are those of [`{described[part]}`](#{slug(described[part])})."
        else:
            described[part] = path
            yield from _table(path, part, means[path], parts)
        yield ""


def slug(heading: str) -> str:
    """Return the anchor of a heading, as GitHub and the site make it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def cell(text: str) -> str:
    """Return a text that breaks no table, with links to the pages that it names."""
    linked = re.sub(r"`?\bdocs/([\w-]+)/([\w-]+)\.md`?", r"[\2](../\1/\2.md)", text)
    return linked.replace("](../reference/", "](").replace("|", "\\|").replace("<", "&lt;")


def _table(path: str, part: type[BaseModel], means: Mapping[str, str], parts: Models) -> Iterator[str]:
    yield "| key | type and range | default | what it does |"
    yield "|---|---|---|---|"
    properties = part.model_json_schema()["properties"]
    for name, info in part.model_fields.items():
        whole = f"{path}.{name}".removeprefix(".")
        inner = next((p for p in parts if re.fullmatch(re.escape(whole) + r"(\.\*|\[\])*", p)), None)
        said = words(properties[name])
        if inner:
            said = f"[{said}](#{slug(inner)})"
        yield f"| `{name}` | {cell(said)} | {cell(_default(info))} | {cell(means[name])} |"


def _default(info: FieldInfo) -> str:
    value = info.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, BaseModel):
        return "all its defaults"
    if value is None:
        return "none"
    if value in ((), {}, ""):
        return "empty"
    if isinstance(value, str):
        return f"`{value}`"
    return f"`{json.dumps(value)}`"


def _models_in(annotation: Any) -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield the models of an annotation with what stands for the keys or the items on the way to them."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield "", annotation
        return
    mark = {dict: ".*", tuple: "[]", list: "[]"}.get(get_origin(annotation), "")
    for inner in get_args(annotation):
        for suffix, model in _models_in(inner):
            yield mark + suffix, model
