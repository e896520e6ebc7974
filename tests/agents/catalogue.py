"""The real agents that the tests run: the library each one is built on, and its known behaviour."""

import enum
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.peers import CACHE

HOME: Final = CACHE / "agents"
SOURCES: Final = Path(__file__).parent


@enum.unique
class Language(enum.Enum):
    """What a program is written in, which is also the name of the folder with its source."""

    GO = "go"
    PYTHON = "python"
    RUST = "rust"


LIBRARIES: Final = {
    "criteo": ("github.com/criteo/haproxy-spoe-go", Language.GO),
    "negasus": ("github.com/negasus/haproxy-spoe-go", Language.GO),
    "dropmore": ("github.com/dropmorepackets/haproxy-go", Language.GO),
    "haproxyspoa": ("haproxyspoa", Language.PYTHON),
    "spop": ("spop", Language.RUST),
}
PRODUCTS: Final = {
    "waf": ("github.com/corazawaf/coraza/v3", Language.GO),
    "crowdsec": ("github.com/dropmorepackets/haproxy-go", Language.GO),  # which 0.3.0 of the bouncer is built on
}


@dataclass(frozen=True)
class RealAgent:
    """A program built on one release of a library.

    ``announces``: the capabilities in its AGENT-HELLO, when HAProxy offers ``pipelining,async``. ``concurrent``: it works on
    several NOTIFYs of a connection at the same time (dropmore: on as many as there are CPUs). ``sends_disconnect``: it answers
    HAPROXY-DISCONNECT with AGENT-DISCONNECT; ``closes``: it closes then, and does not wait for HAProxy to do so.
    ``idle_timeout``: it closes a connection on which nothing comes for ``--idle-ms``.
    """

    family: str  # a key of LIBRARIES, or of PRODUCTS
    release: str
    announces: str
    concurrent: bool = True
    sends_disconnect: bool = True
    closes: bool = True
    idle_timeout: bool = False

    @property
    def name(self) -> str:
        return f"{self.family}-{self.release}"

    @property
    def library(self) -> str:
        return (LIBRARIES | PRODUCTS)[self.family][0]

    @property
    def language(self) -> Language:
        return (LIBRARIES | PRODUCTS)[self.family][1]

    @property
    def version(self) -> str:
        """The release as the program itself says it."""
        return f"v{self.release}" if self.language is Language.GO else self.release

    @property
    def program(self) -> Path:
        """The file that building it makes."""
        return HOME / self.name / "bin" / ("python" if self.language is Language.PYTHON else "agent")

    @property
    def command(self) -> list[str]:
        """How it is started; what may follow is ``--listen ADDRESS``, ``--delay-ms MIN:MAX`` and ``--idle-ms``."""
        script = [str(SOURCES / "python/agent.py")] if self.language is Language.PYTHON else []
        return [str(self.program), *script]


CATALOGUE: Final = {
    row.name: row
    for row in (
        RealAgent("criteo", "1.0.6", "pipelining,async", idle_timeout=True),
        RealAgent("criteo", "1.0.8", "pipelining,async", idle_timeout=True),
        RealAgent("negasus", "1.0.5", "pipelining,async"),
        RealAgent("negasus", "1.0.7", "pipelining,async"),
        RealAgent("dropmore", "0.0.5", "pipelining,async", sends_disconnect=False, closes=False),
        RealAgent("dropmore", "0.0.6", "pipelining,async", sends_disconnect=False, closes=False),
        RealAgent("dropmore", "0.0.7", "", sends_disconnect=False, closes=False),
        RealAgent("dropmore", "0.1.1", "", sends_disconnect=False, closes=False),
        RealAgent("haproxyspoa", "0.0.1", "", concurrent=False, closes=False),
        RealAgent("spop", "0.13.1", "pipelining", concurrent=False),
    )
}

# Those that do work of their own instead of an echo, and so are in no test of each agent. Coraza with the Core Rule Set, and what
# decides by address as CrowdSec's bouncer does, both on dropmore.
WAF: Final = RealAgent("waf", "3.3.3", "", sends_disconnect=False, closes=False)
CROWDSEC: Final = RealAgent("crowdsec", "0.0.7", "", sends_disconnect=False, closes=False)
