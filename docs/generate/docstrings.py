"""The docstrings under the attributes of a class, which Python itself throws away."""

from __future__ import annotations

import ast
import inspect
import textwrap

from pydantic import BaseModel


def attribute_docs(cls: type[BaseModel]) -> dict[str, str]:
    """Return the docstring of each attribute of a class, inherited ones included, as one line."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if issubclass(base, BaseModel) and base is not BaseModel:
            found |= _own(base)
    return found


def first_paragraph(documented: type) -> str:
    """Return the first paragraph of a class's docstring, as one line."""
    return " ".join((inspect.getdoc(documented) or "").partition("\n\n")[0].split())


def _own(cls: type) -> dict[str, str]:
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for statement, text in zip(definition.body, definition.body[1:], strict=False):
        if (
            isinstance(statement, ast.AnnAssign)
            and isinstance(statement.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
            and isinstance(text.value.value, str)
        ):
            found[statement.target.id] = " ".join(text.value.value.split())
    return found
