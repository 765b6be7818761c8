"""Turns pydantic's complaints about a document into one precise `ProfileError`."""

from __future__ import annotations

import difflib
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from prunnet.errors import ProfileError
from prunnet.profile.document import Document, FieldPath

Model = TypeVar("Model", bound=BaseModel)


def validate(document: Document, schema: type[Model]) -> Model:
    """Return the document as a model.

    Args:
        document: Values of a YAML file.
        schema: What they must be.

    Raises:
        ProfileError: The first complaint, with file, line, field, what was given and what is allowed.
    """
    try:
        return schema.model_validate(document.values)
    except ValidationError as error:
        complaints = error.errors()
        unknown = [each for each in complaints if each["type"] == "extra_forbidden"]
        raise _explain(document, schema, (unknown or complaints)[0], len(complaints)) from error


def _explain(
    document: Document, schema: type[BaseModel], complaint: ErrorDetails, count: int
) -> ProfileError:
    field: FieldPath = tuple(part for part in complaint["loc"] if part != "[key]")
    message, _, allowed = complaint["msg"].removeprefix("Value error, ").partition("; allowed: ")
    given: object = document.value_at(field)
    kind = complaint["type"]
    if kind == "extra_forbidden":
        known = _keys_at(schema, field[:-1])
        nearest = difflib.get_close_matches(str(field[-1]), known, n=1)
        message = "unknown key" + (f"; did you mean {nearest[0]!r}?" if nearest else "")
        given, allowed = field[-1], ", ".join(known)
    elif kind == "missing":
        message, given, allowed = "the key is missing", None, _describe(schema, field)
    elif kind == "value_error" and not field:
        where, _, rest = message.partition(": ")
        field = tuple(where.split("."))
        message, given = rest, document.value_at(field)
    elif kind == "literal_error":
        message, allowed = "not one of the known values", complaint["ctx"]["expected"]
        given = field[-1] if "[key]" in complaint["loc"] else given
    elif kind == "string_pattern_mismatch":
        message, allowed = "not such a name", f"text that matches {complaint['ctx']['pattern']}"
    elif kind == "too_short":
        message, allowed = "too few entries", f"at least {complaint['ctx']['min_length']}"
    if isinstance(given, dict | list):
        given = None
    if count > 1:
        message += f" (and {count - 1} more)"
    return ProfileError(
        document.path,
        message,
        line=document.line_of(field),
        field=".".join(map(str, field)),
        given=given,
        allowed=allowed or _describe(schema, field),
    )


def _describe(schema: type[BaseModel], field: FieldPath) -> str:
    parent = _model_at(schema, field[:-1])
    if parent is None or field[-1] not in parent.model_fields:
        return "see docs/profiles.md"
    info = parent.model_fields[str(field[-1])]
    name = " or ".join(dict.fromkeys(_type_names(info.annotation))) or "value"
    bounds = [str(each) for each in info.metadata if type(each).__name__ in {"Gt", "Ge", "Le", "Lt"}]
    return " ".join(["a", "mapping" if _model_of(info.annotation) else name, *bounds])


def _type_names(annotation: Any) -> list[str]:
    if annotation is type(None):
        return []
    inner = get_args(annotation)
    if not inner or get_origin(annotation) in {dict, tuple, list}:
        origin = get_origin(annotation) or annotation
        return [origin.__name__] if isinstance(origin, type) else []
    return [name for each in inner for name in _type_names(each)]


def _keys_at(schema: type[BaseModel], field: FieldPath) -> list[str]:
    model = _model_at(schema, field)
    return list(model.model_fields) if model else []


def _model_at(schema: type[BaseModel], field: FieldPath) -> type[BaseModel] | None:
    annotation: Any = schema
    for part in field:
        model = _model_of(annotation)
        if model is not None and part in model.model_fields:
            annotation = model.model_fields[str(part)].annotation
        elif get_origin(annotation) in {dict, tuple}:
            annotation = get_args(annotation)[1 if get_origin(annotation) is dict else 0]
        else:
            return None
    return _model_of(annotation)


def _model_of(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in {dict, tuple}:
        return None
    return next((model for each in get_args(annotation) if (model := _model_of(each))), None)
