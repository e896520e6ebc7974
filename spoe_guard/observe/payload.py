"""How much of what the peers wrote is told: all, frame headers and names without values, or nothing of it."""

from typing import Literal

Payload = Literal["full", "headers", "off"]
