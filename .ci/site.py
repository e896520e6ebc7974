"""A hook of MkDocs: a link out of docs/ works on GitHub and leads nowhere in a site, so there it becomes the path as code."""

import logging
import os.path
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.pages import Page

# Fenced blocks and code come first, so that a link in them is not seen.
LINK = re.compile(r"^```.*?^```$|`[^`]+`|(?<!!)\[(?P<text>[^\[\]]+)\]\((?P<target>\.\.?/[^()\s]*)\)", re.MULTILINE | re.DOTALL)

log = logging.getLogger("mkdocs.hooks.site")  # a warning fails a strict build


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, **_: object) -> str:
    """Return the page with the path, as code, in the place of each link that leads out of docs/."""
    docs = Path(config.docs_dir)
    folder = (docs / page.file.src_uri).parent

    def without_link(found: re.Match[str]) -> str:
        if found["target"] is None:
            return found[0]
        target = Path(os.path.normpath(folder / found["target"].partition("#")[0]))
        if target.is_relative_to(docs):
            return found[0]
        if not target.exists():
            log.warning("%s: a link leads to '%s', which is not there", page.file.src_uri, found["target"])
        path = target.relative_to(docs.parent).as_posix()
        text = found["text"].strip("`")
        return f"`{path}`" if path.endswith(text) else f"{found['text']} (`{path}`)"

    return LINK.sub(without_link, markdown)
