"""Values that a setting may have and that whoever acts on it names, too: here, below both, each is written once."""

from typing import Literal

LogFormat = Literal["json", "console"]
LogLevel = Literal["debug", "info", "warning", "error"]  # from the least on
# How much is shown of what the peers wrote: everything, frame headers and names without values, nothing.
Payload = Literal["full", "headers", "off"]
