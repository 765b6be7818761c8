"""Turns pydantic's complaints about a document into one error that lists them all, each precise."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from prunnet.errors import DocumentError
from prunnet.yaml.document import Document, FieldPath, first_problems

Model = TypeVar("Model", bound=BaseModel)

_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "dict": "a mapping",
    "list": "a list",
    "tuple": "a list",
}
_KINDS = {**_WORDS, "string": _WORDS["str"], "model": _WORDS["dict"]}
"""Types as pydantic's complaints call them."""
_OWN_KINDS = ("value_error", "assertion_error")
"""Complaints whose words are those of our own checks."""
_CONTAINERS = (dict, tuple, list)
_BOUNDS = {"gt": "above", "ge": "of at least", "lt": "below", "le": "of at most"}


def validate(document: Document, schema: type[Model], others: Iterable[DocumentError] = ()) -> Model:
    """Return the document as a model.

    Args:
        document: Values of a YAML file.
        schema: What they must be.
        others: Problems that the schema cannot see; they join its list.

    Raises:
        DocumentError: Every complaint, up to `MOST_LISTED`, each with file, line, field, what was given and what is
            allowed.
    """
    try:
        model = schema.model_validate(document.values)
    except ValidationError as error:
        raise document.error_class.of(problems_of(document, schema, error, others)) from error
    problems = first_problems(document.path, iter(others), document.error_class)
    if problems:
        raise document.error_class.of(problems)
    return model


def problems_of(
    document: Document, schema: type[BaseModel], error: ValidationError, others: Iterable[DocumentError] = ()
) -> list[DocumentError]:
    """Return the first `MOST_LISTED` of pydantic's complaints as errors of the document; at least one.

    Unknown keys come first: they explain missing ones. If there are more, the last entry says so.
    """
    problems = chain(_problems(document, schema, error), others)
    return first_problems(document.path, problems, document.error_class)


def _problems(document: Document, schema: type[BaseModel], error: ValidationError) -> Iterator[DocumentError]:
    complaints = error.errors(include_url=False)
    for complaint in sorted(complaints, key=lambda each: each["type"] != "extra_forbidden"):
        if _counts_only_sound_entries(document, complaint):
            continue
        # A check of several fields has a line for each problem.
        for message in complaint["msg"].removeprefix("Value error, ").splitlines() or [""]:
            yield _explain(document, schema, complaint, message)


def _counts_only_sound_entries(document: Document, complaint: ErrorDetails) -> bool:
    """Return whether "too short" comes from entries that are wrong, each of which has a complaint of its own."""
    given = document.value_at(complaint["loc"])
    enough: int = complaint.get("ctx", {}).get("min_length", 0)
    return complaint["type"] == "too_short" and isinstance(given, dict | list) and len(given) >= enough


def _explain(
    document: Document, schema: type[BaseModel], complaint: ErrorDetails, message: str
) -> DocumentError:
    field: FieldPath = tuple(part for part in complaint["loc"] if part != "[key]")
    if field and isinstance(field[-1], int) and not isinstance(document.value_at(field[:-1]), list | dict):
        field = field[:-1]  # one value, given where a list may stand
    message, _, allowed = message.partition("; allowed: ")
    kind = complaint["type"]
    if kind not in _OWN_KINDS:
        message = _in_our_words(message, kind)
    if kind == "value_error":
        field, message = _field_named_in(document, field, message)
    given: object = document.value_at(field)
    if kind == "extra_forbidden":
        known = _keys_at(schema, field[:-1])
        message = "unknown key" + _did_you_mean(field[-1], known)
        given, allowed = field[-1], ", ".join(known)
    elif kind == "missing":
        message, given, allowed = "the key is missing", None, _describe(schema, field)
    elif kind == "literal_error":
        allowed = complaint["ctx"]["expected"]
        given = field[-1] if "[key]" in complaint["loc"] else given
        message = "not one of the known values" + _did_you_mean(given, re.findall(r"'([^']*)'", allowed))
    elif kind == "string_pattern_mismatch":
        message, allowed = (
            "does not match the rule for names",
            f"text that matches {complaint['ctx']['pattern']}",
        )
    elif kind == "too_short":
        message, allowed = "too few entries", f"at least {complaint['ctx']['min_length']}"
    elif kind == "too_long":
        message, allowed = "too many entries", f"at most {complaint['ctx']['max_length']}"
    if isinstance(given, dict | list) and not kind.endswith("_type"):
        given = None
    return document.error_class(
        document.path,
        message,
        line=document.line_of(field),
        field=".".join(map(str, field)) or None,
        given=given,
        allowed=allowed or _describe(schema, field),
    )


def _did_you_mean(given: object, known: Iterable[str]) -> str:
    nearest = difflib.get_close_matches(str(given), list(known), n=1)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""


def _in_our_words(message: str, kind: str) -> str:
    """Return what pydantic says of a value without pydantic's words for it: "must be a list", "must be above 0"."""
    wanted = kind.removesuffix("_type").removesuffix("_attributes").removesuffix("_parsing")
    if wanted in _KINDS and wanted != kind:
        return f"must be {_KINDS[wanted]}"
    return re.sub(r"^\w+ should (?=be |have |match )", "must ", message)


def _field_named_in(document: Document, field: FieldPath, message: str) -> tuple[FieldPath, str]:
    """Return the field that a message of our own names at its start, relative to `field`, and the rest of it."""
    named = re.match(r"([\w.\[\]-]+): ", message)
    if named is None:
        return field, message
    inner: FieldPath = tuple(named[1].split("."))
    if field and document.value_at((*field, inner[0])) is None:
        return field, message
    return (*field, *inner), message[named.end() :]


def _describe(schema: type[BaseModel], field: FieldPath) -> str:
    if not field:
        return "a mapping"
    annotation, metadata = _declared_at(schema, field)
    if annotation is None:
        return "see docs/reference/recipe.md and docs/reference/profile.md"
    if get_origin(annotation) is Literal:
        return " or ".join(map(repr, get_args(annotation)))
    named = [_WORDS.get(name, name) for name in _type_names(annotation)]
    name = "a mapping" if _model_of(annotation) else " or ".join(dict.fromkeys(named)) or "another value"
    bounds = [
        f"{word} {_figure(getattr(each, attribute))}"
        for each in _constraints(annotation, metadata)
        for attribute, word in _BOUNDS.items()
        if getattr(each, attribute, None) is not None
    ]
    return " ".join([name, *([", ".join(bounds)] if bounds else [])])


def _figure(bound: Any) -> str:
    return str(bound) if isinstance(bound, int) else f"{bound:g}"


def _constraints(annotation: Any, metadata: Iterable[Any]) -> Iterator[Any]:
    """Yield what bounds a value itself: not its items, but each member of a union."""
    for each in metadata:
        yield from each.metadata if isinstance(each, FieldInfo) else (each,)
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *further = get_args(annotation)
        yield from _constraints(inner, further)
    elif origin not in _CONTAINERS:
        for inner in get_args(annotation):
            yield from _constraints(inner, ())


def _type_names(annotation: Any) -> list[str]:
    if annotation is type(None):
        return []
    inner = get_args(annotation)
    if get_origin(annotation) is Annotated:
        return _type_names(inner[0])
    if not inner or get_origin(annotation) in _CONTAINERS:
        origin = get_origin(annotation) or annotation
        return [origin.__name__] if isinstance(origin, type) else []
    return [name for each in inner for name in _type_names(each)]


def _keys_at(schema: type[BaseModel], field: FieldPath) -> list[str]:
    model = _model_at(schema, field)
    return list(model.model_fields) if model else []


def _model_at(schema: type[BaseModel], field: FieldPath) -> type[BaseModel] | None:
    return _model_of(_declared_at(schema, field)[0]) if field else schema


def _declared_at(schema: type[BaseModel], field: FieldPath) -> tuple[Any, tuple[Any, ...]]:
    """Return the type of a field or an item, and what else is declared of it; None where nothing is."""
    annotation, metadata = cast(Any, schema), ()
    for part in field:
        model = _model_of(annotation)
        if model is not None and part in model.model_fields:
            info = model.model_fields[str(part)]
            annotation, metadata = info.annotation, tuple(info.metadata)
        else:
            annotation, metadata = _item_of(annotation, part), ()
    return annotation, metadata


def _item_of(annotation: Any, part: str | int) -> Any:
    """Return the type of an item of a mapping or a list, None if that is neither."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is dict:
        return inner[1]
    if origin in (tuple, list) and isinstance(part, int):
        fixed = len(inner) > 1 and inner[1] is not Ellipsis
        return inner[part] if fixed and part < len(inner) else inner[0]
    members = inner[:1] if origin is Annotated else inner if origin in (Union, UnionType) else ()
    return next((found for each in members if (found := _item_of(each, part)) is not None), None)


def _model_of(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in _CONTAINERS:
        return None
    return next((model for each in get_args(annotation) if (model := _model_of(each))), None)
