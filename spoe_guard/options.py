"""Values that a setting may have and that whoever acts on it names, too: here, below both, each is written once."""

from typing import Final, Literal

LogFormat = Literal["json", "console"]
LogLevel = Literal["debug", "info", "warning", "error"]  # from the least on
# How much is shown of what the peers wrote: everything; frame headers, how a payload is built, and the words of SPOP itself;
# nothing. docs/privacy.md.
Payload = Literal["full", "headers", "off"]
DEFAULT_PAYLOAD: Final[Payload] = "headers"
# Which of several addresses of an agent a new link goes to: the first that is well; the one with the fewest open NOTIFYs; each in
# its turn. docs/several-agents.md.
Balance = Literal["first", "least-open", "round-robin"]
