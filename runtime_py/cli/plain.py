"""Text of bundles and of the system, made fit for a report."""

from __future__ import annotations

import re

from runtime_py.shell import readable

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot hold, not even escaped; HTML would replace them."""


def plain(text: str) -> str:
    r"""Spell what XML and HTML cannot hold, such as a byte of a file name that is not UTF-8: \xfc."""
    return _NOT_XML.sub(lambda found: readable(found.group()), text)
