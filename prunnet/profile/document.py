"""Reads a YAML 1.2 file into plain values and remembers the line of every field."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prunnet.errors import ProfileError

FieldPath = tuple[str | int, ...]
_KEY_TAGS = frozenset({"tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"})


@dataclass(frozen=True)
class Document:
    """The values of one YAML file."""

    path: Path
    values: dict[str, Any]
    lines: dict[FieldPath, int]
    """1-based line of every field, by its path."""

    def line_of(self, field: FieldPath) -> int | None:
        """Return the line of a field, or of the nearest field around it."""
        while field and field not in self.lines:
            field = field[:-1]
        return self.lines.get(field)

    def value_at(self, field: FieldPath) -> object:
        """Return the value of a field, None if there is none."""
        value: Any = self.values
        for key in field:
            items = dict(enumerate(value)) if isinstance(value, list) else value
            if not isinstance(items, dict) or key not in items:
                return None
            value = items[key]
        return value


def read_document(path: Path) -> Document:
    """Return the YAML file's values.

    Args:
        path: A UTF-8 file that holds one mapping.

    Raises:
        ProfileError: The file can not be read, is not UTF-8, not YAML 1.2, empty, no mapping, or has a key
            twice.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.constructor import DuplicateKeyError
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ProfileError(path, f"not UTF-8 (byte {error.start})", allowed="a UTF-8 text file") from error
    except OSError as error:
        raise ProfileError(
            path, f"can not be read: {error.strerror}", allowed="a readable YAML file"
        ) from error
    yaml = YAML(typ="safe", pure=True)
    try:
        node = yaml.compose(text)
        values = yaml.constructor.construct_document(node) if node else None
    except DuplicateKeyError as error:
        problem = (error.problem or "a key is given twice").split(" with value")[0]
        raise ProfileError(path, problem, line=_line(error), allowed="each key once") from error
    except MarkedYAMLError as error:
        problem = f"not YAML 1.2: {error.problem or error.context}"
        if "\\t" in problem:
            problem = "a tab where YAML allows only spaces"
        raise ProfileError(
            path, problem, line=_line(error), allowed="YAML 1.2, indented with spaces"
        ) from error
    except RecursionError as error:
        raise ProfileError(path, "is nested too deeply", allowed="a few levels") from error
    except (YAMLError, ValueError) as error:
        raise ProfileError(path, f"not YAML 1.2: {error}", allowed="YAML 1.2") from error
    if values is None:
        raise ProfileError(path, "the file is empty", allowed="a mapping that starts with schema_version: 1")
    if not isinstance(values, dict):
        raise ProfileError(
            path, f"holds a {type(values).__name__}", line=1, allowed="a mapping: `key: value` lines"
        )
    lines: dict[FieldPath, int] = {}
    _collect(path, node, (), lines, frozenset())
    return Document(path, values, lines)


def _line(error: Any) -> int | None:
    mark = error.problem_mark or error.context_mark
    return mark.line + 1 if mark else None


def _collect(
    path: Path, node: Any, at: FieldPath, lines: dict[FieldPath, int], around: frozenset[int]
) -> None:
    """Note the line of every field below `node`; `around` holds the nodes that contain it."""
    line = node.start_mark.line + 1
    if id(node) in around:
        raise ProfileError(
            path, "an alias that contains itself", line=line, allowed="aliases of other fields"
        )
    if node.id == "mapping":
        for key, value in node.value:
            if key.tag not in _KEY_TAGS:
                problem, line = "a key that is no text", key.start_mark.line + 1
                raise ProfileError(path, problem, line=line, given=key.value, allowed="names of fields")
            lines[(*at, key.value)] = key.start_mark.line + 1
            _collect(path, value, (*at, key.value), lines, around | {id(node)})
    elif node.id == "sequence":
        for index, value in enumerate(node.value):
            lines[(*at, index)] = value.start_mark.line + 1
            _collect(path, value, (*at, index), lines, around | {id(node)})
