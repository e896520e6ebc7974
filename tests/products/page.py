"""A page of docs/agents, cut into what a reader copies from it: files, changes of files, and commands."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from spoe_guard.settings import load, warnings
from tests.peers import ROOT

FOLDER: Final = ROOT / "docs/agents"
NAMES: Final = ("coraza", "crowdsec", "modsecurity", "own-agent")
_FENCED: Final = re.compile(r"^```(\w+)(?: title=\"([^\"\n]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_EXPECTED: Final = re.compile(r"^(.*?\S) +# prints (.+)$")


@dataclass(frozen=True)
class Block:
    """A block of code. ``title``: the file that it is, or is a change of; of commands what they do."""

    language: str
    title: str
    text: str


@dataclass(frozen=True)
class Command:
    """A line for a shell. ``prints``: what the page says that it prints, None if it does not say so."""

    line: str
    prints: str | None


class Page:
    """One page. ``blocks``: every block of code, in the order of the page."""

    def __init__(self, name: str) -> None:
        self.text = (FOLDER / f"{name}.md").read_text()
        self.blocks = [Block(*found) for found in _FENCED.findall(self.text)]

    def block(self, language: str, title: str) -> str:
        """Return the text of the only block with that language and title."""
        [text] = [block.text for block in self.blocks if (block.language, block.title) == (language, title)]
        return text

    def warnings(self, folder: Path) -> list[str]:
        """Return what `spoe-guard check` warns of in any of the page's settings. ``folder``: for files."""
        found: list[str] = []
        for block in self.blocks:
            if block.language == "yaml":
                (folder / "spoe-guard.yaml").write_text(block.text)
                found += warnings(load(folder / "spoe-guard.yaml").settings)
        return found

    def commands(self, title: str) -> list[Command]:
        """Return the commands of a block of the language ``sh``, without its comments; one may go on behind a backslash."""
        lines = re.sub(r"\\\n\s*", "", self.block("sh", title)).splitlines()
        return [_command(line) for line in lines if line.strip() and not line.startswith("#")]


def _command(line: str) -> Command:
    if found := _EXPECTED.fullmatch(line):
        return Command(found[1], found[2])
    return Command(line.partition("  # ")[0].strip(), None)
