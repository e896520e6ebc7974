"""How long the guard delays a refusal of HAProxy, or of whoever connected in its place.

If HAProxy up to 3.0 is refused while a stream waits, it reconnects at once, thousands of times a second, until the stream's own
timeout, which expires either way. HAProxy 3.1 and later tries once and fails the stream, so there each delay delays the stream.
"""

import math
from typing import Final

from spoe_guard.core.payloads.hello import MAX_HELLO, family_of
from spoe_guard.core.terms.family import Family

SHORTEST_S: Final = 0.25
LONGEST_S: Final = 5.0
MOST_HELD: Final = 256  # refusals delayed for longer than the shortest time; each keeps a connection of HAProxy idle
# Of a peer that said nothing that can be read, TLS for instance: eight refusals a second in all, of up to eight threads. 1 s is
# what HAProxy 3.1 and later itself waits before it tries again to connect to the only server.
APART_S: Final = 0.125
BLIND_S: Final = 1.0
MOST_HEARD: Final = 2 * MAX_HELLO  # bytes of a stranger: room for a PROXY header and HELLO; who sends more is refused at once


class Refusals:
    """The refusals of one kind on one route, over all its sessions. Times in seconds, ``now`` monotonic.

    The delay doubles once per round: refusals during a round share its delay, so ten HAProxy threads refused at once count as
    one refusal. ``most``: how many may be delayed for longer than the shortest time. ``quiet_s``: after so long without a refusal
    the next one starts again with the shortest delay.
    """

    __slots__ = ("_hold_s", "_most", "_quiet_s", "_round_over", "waiting")

    def __init__(self, most: int = MOST_HELD, quiet_s: float = math.inf) -> None:
        self.waiting = 0  # refusals in progress: ``hold`` was called, ``ended`` not yet
        self._most = most
        self._quiet_s = quiet_s
        self._hold_s = 0.0
        self._round_over = 0.0

    @property
    def uncounted(self) -> int:
        """How many of those in progress take no place from others: as many as may be delayed for long."""
        return min(self.waiting, self._most)

    def hold(self, now: float, *, patient: bool | None) -> float:
        """Return when to refuse HAProxy; ``ended`` must follow, once.

        ``patient``: this HAProxy is known to reconnect at once; None: nothing is known of it. Others are refused after the
        shortest time, and so are those beyond ``most``: refused without any delay they would storm.
        """
        self.waiting += 1
        return self.until(now, patient=patient)

    def until(self, now: float, *, patient: bool | None) -> float:
        """Return when to refuse a HAProxy for which ``hold`` was called already, and of which more is known now."""
        if self.waiting > self._most:
            return now + SHORTEST_S
        if patient is None:
            return now + min(max(APART_S * self.waiting, SHORTEST_S), BLIND_S)
        if now >= self._round_over:
            start_again = now >= self._round_over + self._quiet_s
            self._hold_s = SHORTEST_S if start_again else min(2 * self._hold_s, LONGEST_S) or SHORTEST_S
            self._round_over = now + self._hold_s
        return now + (self._hold_s if patient else SHORTEST_S)

    def ended(self) -> None:
        """HAProxy was refused, or is gone."""
        self.waiting -= 1

    def succeeded(self) -> None:
        """The agent sent HELLO: the next refusal starts again with the shortest delay."""
        self._hold_s = self._round_over = 0.0


class Stranger:
    """One connection that is refused whatever it says: it is no HAProxy, cannot be understood, or is one too many.

    ``until``: when to close it, monotonic seconds. ``first``: all it said so far, at most MOST_HEARD bytes and a read.
    """

    __slots__ = ("_known", "_refusals", "first", "until")

    def __init__(self, refusals: Refusals, now: float) -> None:
        self.first = b""
        self.until = refusals.hold(now, patient=None)
        self._refusals = refusals
        self._known = False

    def heard(self, data: bytes, now: float) -> None:
        """It said ``data``. A HELLO in it tells how long it may be delayed; a HAProxy says no more before it is answered."""
        self.first += data
        if len(self.first) > MOST_HEARD:
            self.until = now
        elif not self._known and (family := family_of(self.first)) is not None:
            self._known = True
            self.until = self._refusals.until(now, patient=family is Family.APPLET)

    def over(self) -> None:
        """It was refused, served after all, or is gone."""
        self._refusals.ended()
