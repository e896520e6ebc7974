"""Load shapes: number of connections, open NOTIFYs on each, bytes of each NOTIFY."""

from dataclasses import dataclass
from typing import Final

USUAL_BYTES: Final = 128  # of a NOTIFY with an address, a path and a few headers


@dataclass(frozen=True)
class Shape:
    """``size``: bytes of a NOTIFY on the wire, about."""

    connections: int
    in_flight: int
    size: int = USUAL_BYTES

    @property
    def name(self) -> str:
        """As people say it: 16x1, or 16x1-8k."""
        return f"{self.connections}x{self.in_flight}" + (f"-{self.size // 1024}k" if self.size >= 1024 else "")

    @property
    def flags(self) -> list[str]:
        """For the load generator."""
        return [f"-connections={self.connections}", f"-in-flight={self.in_flight}", f"-size={self.size}"]


SHAPES: Final = {
    shape.name: shape
    for shape in (
        Shape(1, 1),
        Shape(16, 1),
        Shape(64, 1),
        Shape(256, 1),
        Shape(1024, 1),
        Shape(16, 1, 8192),
        Shape(4, 16),
        Shape(2, 64),
    )
}
