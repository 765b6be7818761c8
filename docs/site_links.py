"""Links from pages to files outside docs/, which the site does not hold: checked, and pointed at the repository.

mkdocs calls `on_page_markdown` for each page (mkdocs.yml, hooks). Without a `repo_url` there, such a link becomes its
text.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"\[([^\]]*)\]\((\.\.?/[^)\s#]*)(#[^)\s]*)?\)")


def on_page_markdown(markdown: str, /, *, page: Any, config: Any, files: Any) -> str:
    """Return a page in which no link leaves the site without a target.

    Raises:
        PluginError: A link to a file that the repository does not hold.
    """
    folder = posixpath.join("docs", posixpath.dirname(page.file.src_uri))

    def mended(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, link[2]))
        if target.startswith("docs/"):
            return link[0]
        if not (ROOT / target).exists():
            raise PluginError(f"docs/{page.file.src_uri} links to {target}, which does not exist")
        home = config["repo_url"]
        return f"[{link[1]}]({home.rstrip('/')}/blob/main/{target}{link[3] or ''})" if home else link[1]

    return LINK.sub(mended, markdown)
