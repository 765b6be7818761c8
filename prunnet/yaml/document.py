"""Reads a YAML 1.2 file into plain values and remembers the line of every field."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from prunnet.errors import DocumentError
from runtime_py.shell import readable

FieldPath = tuple[str | int, ...]
_STEERING = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode's general categories: control characters, halves of pairs, separators of lines and of paragraphs."""
_TURNING = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})
"""Unicode's bidirectional classes of characters that turn the text after them."""
_KEY_TAGS = frozenset({"tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"})


@dataclass(frozen=True)
class Document:
    """The values of one YAML file."""

    path: Path
    values: dict[str, Any]
    lines: dict[FieldPath, int]
    """1-based line of every field, by its path."""
    error_class: type[DocumentError] = DocumentError
    """What is raised where a value is wrong."""

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


MOST_BYTES = 2**18
"""Of a file; the longest shipped profile has ten thousand."""

MOST_VALUES = 20_000
"""Values of a file once its aliases are written out."""

DEEPEST = 40
"""Levels of a file; a profile has six."""

MOST_LISTED = 50
"""Problems that one error lists; a file of another kind has one for every key."""


def read_document(path: Path, error_class: type[DocumentError] = DocumentError) -> Document:
    """Return the YAML file's values.

    Args:
        path: A UTF-8 file that holds one mapping.
        error_class: What is raised.

    Raises:
        DocumentError: The file cannot be read, is too long, is not UTF-8, not YAML 1.2, empty, no mapping, nested too
            deeply, unfolds through aliases to more than a file may hold, has a key twice, or holds characters that
            would steer a terminal instead of being shown.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.constructor import DuplicateKeyError
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    text = _text(path, error_class)
    yaml = YAML(typ="safe", pure=True)
    try:
        node = yaml.compose(text)
        if node:
            _check_shape(path, node, error_class)
        values = yaml.constructor.construct_document(node) if node else None
    except DuplicateKeyError as error:
        problem = (error.problem or "a key is given twice").split(" with value")[0]
        raise error_class(path, problem, line=_line(error), allowed="each key once") from error
    except MarkedYAMLError as error:
        problem = f"not YAML 1.2: {error.problem or error.context}"
        if "\\t" in problem:
            problem = "a tab where YAML allows only spaces"
        raise error_class(
            path, problem, line=_line(error), allowed="YAML 1.2, indented with spaces"
        ) from error
    except RecursionError as error:
        raise error_class(path, "is nested too deeply", allowed="a few levels") from error
    except (YAMLError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        # ruamel hands what a tag does not fit ("!!int x", "!!bool x") to Python, which complains in many ways.
        said = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise error_class(path, f"not YAML 1.2: {said}", allowed="YAML 1.2") from error
    if values is None:
        raise error_class(path, "the file is empty", allowed="a mapping that starts with schema_version: 1")
    if not isinstance(values, dict):
        raise error_class(
            path, f"holds a {type(values).__name__}", line=1, allowed="a mapping: `key: value` lines"
        )
    lines: dict[FieldPath, int] = {}
    _collect(path, node, (), lines, error_class)
    unprintable = first_problems(path, _unprintable(path, node, (), error_class), error_class)
    if unprintable:
        raise error_class.of(unprintable)
    return Document(path, values, lines, error_class)


def first_problems(
    path: Path, problems: Iterator[DocumentError], error_class: type[DocumentError]
) -> list[DocumentError]:
    """Return the first `MOST_LISTED` problems of a file; if there are more, the last entry says so."""
    listed = list(islice(problems, MOST_LISTED))
    if next(problems, None) is not None:
        listed.append(error_class(path, "there are more problems than these"))
    return listed


def _text(path: Path, error_class: type[DocumentError]) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise error_class(path, "is too long", allowed=f"at most {MOST_BYTES // 1024} KiB")
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise error_class(path, f"not UTF-8 (byte {error.start})", allowed="a UTF-8 text file") from error
    except OSError as error:
        raise error_class(
            path, f"cannot be read: {error.strerror}", allowed="a readable YAML file"
        ) from error


def _line(error: Any) -> int | None:
    mark = error.problem_mark or error.context_mark
    return mark.line + 1 if mark else None


def _check_shape(path: Path, root: Any, error_class: type[DocumentError]) -> None:
    """Refuse what is too deep, too much, or contains itself, before anything is written out.

    Every node is visited once, however often aliases name it.
    """
    values: dict[int, int] = {}
    around: set[int] = set()

    def measure(node: Any, level: int) -> int:
        line = node.start_mark.line + 1
        if id(node) in around:
            raise error_class(
                path, "an alias that contains itself", line=line, allowed="aliases of other fields"
            )
        if level > DEEPEST:
            raise error_class(path, "is nested too deeply", line=line, allowed=f"{DEEPEST} levels")
        if id(node) not in values:
            around.add(id(node))
            values[id(node)] = 1 + sum(measure(child, level + 1) for child in _children(node))
            around.discard(id(node))
        if values[id(node)] > MOST_VALUES:
            raise error_class(
                path,
                f"holds {values[id(node)]:,} values or more, its aliases written out",
                line=line,
                allowed=f"at most {MOST_VALUES:,}; write out what the aliases stand for",
            )
        return values[id(node)]

    measure(root, 0)


def _children(node: Any) -> list[Any]:
    if node.id == "mapping":
        return [part for pair in node.value for part in pair]
    return list(node.value) if node.id == "sequence" else []


def _collect(
    path: Path, node: Any, at: FieldPath, lines: dict[FieldPath, int], error_class: type[DocumentError]
) -> None:
    """Note the line of every field below `node`, whose shape has been checked."""
    if node.id == "mapping":
        for key, value in node.value:
            if key.tag not in _KEY_TAGS:
                problem, line = "a key that is no text", key.start_mark.line + 1
                raise error_class(path, problem, line=line, given=key.value, allowed="names of fields")
            lines[(*at, key.value)] = key.start_mark.line + 1
            _collect(path, value, (*at, key.value), lines, error_class)
    elif node.id == "sequence":
        for index, value in enumerate(node.value):
            lines[(*at, index)] = value.start_mark.line + 1
            _collect(path, value, (*at, index), lines, error_class)


def _unprintable(
    path: Path, node: Any, at: FieldPath, error_class: type[DocumentError]
) -> Iterator[DocumentError]:
    """Yield every key and text below `node` that cannot be printed as it is; `node`'s shape has been checked."""
    if node.id == "mapping":
        for key, value in node.value:
            here = (*at, "".join(readable(each) if _steers(each) else each for each in key.value))
            if here[-1] != key.value:
                yield _steering(path, key, here, error_class)
            yield from _unprintable(path, value, here, error_class)
    elif node.id == "sequence":
        for index, value in enumerate(node.value):
            yield from _unprintable(path, value, (*at, index), error_class)
    elif any(map(_steers, node.value)):
        yield _steering(path, node, at, error_class)


def _steering(path: Path, node: Any, at: FieldPath, error_class: type[DocumentError]) -> DocumentError:
    found = sorted({ascii(each)[1:-1] for each in node.value if _steers(each)})
    return error_class(
        path,
        f"holds characters that a terminal would obey or hide ({', '.join(found)})",
        line=node.start_mark.line + 1,
        field=".".join(map(str, at)),
        given=node.value,
        allowed="text of characters that can be printed, and line breaks",
    )


def _steers(character: str) -> bool:
    """Return whether a character moves the cursor, turns the direction of writing, or is half of a pair."""
    if character.isprintable() or character in "\n\t":
        return False
    return unicodedata.category(character) in _STEERING or unicodedata.bidirectional(character) in _TURNING
