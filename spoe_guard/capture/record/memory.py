"""Writes a read into allocated memory."""

from struct import Struct
from typing import Final

HEAD: Final = Struct("=dqIi")  # time, mark, length of the data, link


def write(into: bytearray, at: int, now: float, link_id: int, mark: int, data: bytes) -> None:
    """Write a head and then ``data`` at ``at``; the caller has checked that ``into`` is long enough."""
    HEAD.pack_into(into, at, now, mark, len(data), link_id)
    at += HEAD.size
    into[at : at + len(data)] = data
