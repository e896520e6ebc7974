"""How a read is written into memory that is there already."""

from struct import Struct
from typing import Final

HEAD: Final = Struct("=dqIi")  # when, the mark, how many bytes there are behind it, the link


def write(into: bytearray, at: int, now: float, link: int, mark: int, data: bytes) -> None:
    """Write a head and ``data`` behind each other, from ``at`` on: the caller has seen that ``into`` is so long."""
    HEAD.pack_into(into, at, now, mark, len(data), link)
    at += HEAD.size
    into[at : at + len(data)] = data
