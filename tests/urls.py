"""The project's addresses, all of which follow from Source in pyproject.toml: ``python -m tests.urls`` (``make urls``)."""

import re
import tomllib
from typing import Final

from tests.peers import ROOT
from tests.texts import texts

_PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NAME: Final[str] = _PROJECT["name"]
URLS: Final[dict[str, str]] = _PROJECT["urls"]
REPOSITORY: Final = URLS["Source"]
OWNER: Final = REPOSITORY.split("/")[-2]
SITE: Final = f"https://{OWNER.lower()}.github.io/{NAME}/"
REGISTRY: Final = f"ghcr.io/{OWNER.lower()}"  # a registry takes no capital letters
IMAGE: Final = f"{REGISTRY}/{NAME}"
CHARTS: Final = f"{REGISTRY}/charts"  # the chart is an image of that folder
PAGES: Final = f"{REPOSITORY}/blob/main"  # a file of the repository, as a reader sees it

# The owner, behind what stands in the group.
_REPEATED: Final = (
    re.compile(rf"(\bhttps://github\.com/)[\w-]+(?=/{NAME}\b)"),
    re.compile(r"(\bgh attestation verify \S+ --owner )[\w-]+"),
)
_REPEATED_SMALL: Final = (  # in small letters
    re.compile(rf"(\bghcr\.io/)[\w-]+(?=/{NAME}\b|/charts/{NAME}\b)"),
    re.compile(rf"(\bhttps://)[\w-]+(?=\.github\.io/{NAME}\b)"),
)


def owned_by(owner: str, text: str) -> str:
    """Return a text in which every address of the project is one of that owner."""
    for patterns, name in ((_REPEATED, owner), (_REPEATED_SMALL, owner.lower())):
        for pattern in patterns:
            text = pattern.sub(rf"\g<1>{name}", text)
    return text


def main() -> None:
    """Write the owner into every file that names another one."""
    for path, text in texts().items():
        if (told := owned_by(OWNER, text)) != text:
            (ROOT / path).write_text(told)
            print(path)


if __name__ == "__main__":
    main()
