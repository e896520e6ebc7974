"""Detects which family of HAProxy is at the other end of a connection, from what it sends.

What is safe for the mux is safe for both, so nothing waits for the result.
"""

from collections.abc import Iterable
from typing import Final

from spoe_guard.core.terms.family import Family

JUDGED: Final = 8  # NOTIFYs: if they have not shown the family by then, it stays unknown
_MUX_OPENS: Final = 3  # NOTIFYs 1.1, 3.1, 5.1: an applet uses HAProxy's own stream numbers, over all connections


def offering(capabilities: Iterable[str]) -> Family:
    """Return what the capabilities of HAPROXY-HELLO show: the mux does not have async."""
    return Family.APPLET if "async" in capabilities else Family.UNKNOWN


class Newcomer:
    """Detects the family from HELLO and the first NOTIFYs. ``decided``: nothing more can be learned."""

    __slots__ = ("_seen", "_steady", "decided", "family")

    def __init__(self, family: Family) -> None:
        self.family = family
        self.decided = family is not Family.UNKNOWN
        self._seen = 0
        self._steady = True  # all so far were 1.1, 3.1, 5.1 ...

    def notified(self, stream_id: int, frame_id: int) -> None:
        """Take the ids of the next NOTIFY."""
        self._seen += 1
        self._steady = self._steady and (stream_id, frame_id) == (2 * self._seen - 1, 1)
        if stream_id % 2 == 0 or frame_id != 1:  # the mux has odd stream-ids, as HTTP/2 does, and one NOTIFY for each
            self.family = Family.APPLET
        elif self._steady and self._seen == _MUX_OPENS:
            self.family = Family.MUX
        self.decided = self.family is not Family.UNKNOWN or self._seen == JUDGED
