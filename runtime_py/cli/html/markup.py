"""The few pieces that every part of the page is made of. Whatever comes from a bundle goes through `text`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from runtime_py.cli.plain import plain


def text(value: object) -> str:
    """Spell a value so that it is text in an element and in a quoted attribute, whatever it holds."""
    return escape(plain(str(value)), quote=True)


def table(header: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """Make a table that scrolls sideways on a narrow screen.

    Args:
        header: Plain text, one for each column.
        rows: Plain text of each cell; "passed" and "failed" get their colours.
        numbers: Columns that are aligned to the right.
    """
    head = "".join(
        f"<th{' class=number' if column in numbers else ''}>{text(cell)}</th>"
        for column, cell in enumerate(header)
    )
    body = "".join(
        f"<tr>{''.join(_cell(cell, column in numbers) for column, cell in enumerate(row))}</tr>"
        for row in rows
    )
    return f"<div class='wide'><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


def _cell(cell: str, number: bool) -> str:
    kind = "number" if number else cell if cell in ("passed", "failed") else ""
    return f"<td{f' class={kind}' if kind else ''}>{text(cell)}</td>"
