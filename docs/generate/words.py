"""A JSON schema in words: what a field may hold, for a table's cell."""

from __future__ import annotations

from typing import Any

_PLAIN = {
    "integer": "whole number",
    "number": "number",
    "boolean": "`true` or `false`",
}


def words(schema: dict[str, Any]) -> str:
    """Return the type and the range that a node of a JSON schema describes, as Markdown.

    Args:
        schema: The node; references are called "mapping", their fields have a table of their own.
    """
    if "$ref" in schema:
        return "mapping"
    if "anyOf" in schema:
        return " or ".join(words(each) for each in schema["anyOf"] if each != {"type": "null"})
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{each}`" for each in schema["enum"])
    kind = schema.get("type")
    if kind in ("integer", "number"):
        return _PLAIN[kind] + _range(schema)
    if kind == "string":
        return _text(schema)
    if kind == "array":
        return _list(schema)
    if kind == "object":
        return _mapping(schema)
    return _PLAIN[kind] if kind else "any value"


def _range(schema: dict[str, Any]) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if schema["type"] == "integer":
        low, above = (low, None) if above is None else (above + 1, None)
        high, below = (high, None) if below is None else (below - 1, None)
    if low is not None and high is not None:
        return f", {_figure(low)} to {_figure(high)}"
    said = {"above": above, "at least": low, "below": below, "at most": high}
    bounds = [f"{word} {_figure(bound)}" for word, bound in said.items() if bound is not None]
    return f", {', '.join(bounds)}" if bounds else ""


def _figure(bound: float) -> str:
    return f"{int(bound):,}" if bound == int(bound) else f"{bound:g}"


def _text(schema: dict[str, Any]) -> str:
    if "format" in schema:
        return f"{schema['format']}, such as `{schema['examples'][0]}`"
    if "pattern" in schema:
        return f"text that matches `{schema['pattern']}`"
    return "text, not empty" if schema.get("minLength") else "text"


def _list(schema: dict[str, Any]) -> str:
    if "prefixItems" in schema:
        items = [_item(each) for each in schema["prefixItems"]]
        alike = len(set(items)) == 1
        return f"list of {len(items)}{', each ' + items[0] if alike else ': ' + '; '.join(items)}"
    least = " of at least one" if schema.get("minItems") else ""
    return f"list{least}, each {_item(schema['items'])}"


def _mapping(schema: dict[str, Any]) -> str:
    keys, values = schema.get("propertyNames", {}), schema.get("additionalProperties")
    said = f"mapping of {words(keys)}" if "enum" in keys else "mapping"
    return f"{said}, each {_item(values)}" if isinstance(values, dict) else said


def _item(schema: dict[str, Any]) -> str:
    """Return what an item of a list or mapping is, as it follows the word "each"."""
    said = words(schema)
    if "enum" in schema:
        return f"one of {said}"
    return said if said.startswith(("text", "`")) else f"a {said}"
