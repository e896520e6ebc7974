"""Hooks of MkDocs: the addresses of pyproject.toml; and links out of docs/, which work on GitHub and lead nowhere in a site."""

import logging
import os.path
import re
import tomllib
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.pages import Page

# Fenced blocks and code come first, so that a link in them is not seen.
LINK = re.compile(r"^```.*?^```$|`[^`]+`|(?<!!)\[(?P<text>[^\[\]]+)\]\((?P<target>\.\.?/[^()\s]*)\)", re.MULTILINE | re.DOTALL)

log = logging.getLogger("mkdocs.hooks.site")  # a warning fails a strict build


# By this Material's script knows where to ask GitHub for the number of stars: whoever reads the site would be told of to others.
ASKS_GITHUB = ' data-md-component="source"'


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the addresses in that pyproject.toml gives: where the site is, and where its source is."""
    project = Path(config.config_file_path).with_name("pyproject.toml")
    urls = tomllib.loads(project.read_text())["project"]["urls"]
    config.site_url, config.repo_url = urls["Documentation"], urls["Source"]
    config.repo_name = "/".join(config.repo_url.split("/")[-2:])
    return config


def on_post_page(output: str, **_: object) -> str:
    """Return the page with a link to the repository that is a link and nothing more."""
    return output.replace(ASKS_GITHUB, "")


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
