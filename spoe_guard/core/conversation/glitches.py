"""How many anomalies one side may make within a time before they are a flood, which ends the session (``limits.glitches``)."""

import math
from typing import Final

from spoe_guard.core.terms.anomalies import Anomaly
from spoe_guard.counted import counted

# A flood is also more than so many anomalies for each NOTIFY: an agent may make the same mistakes in each ACK, and its ACKs are
# repaired. The streams recorded from agents have at most three, and ten on a connection (tests/captures).
PER_NOTIFY: Final = 4

# What a HAProxy without fault may make of each request, because of its configuration or its version; and what is said of an agent
# that is silent or not there. None of it costs more than an ordinary NOTIFY. And the flood itself.
_EXCUSED: Final = (
    Anomaly.NOTIFY_UNANSWERED,
    Anomaly.NOTIFY_OVERSIZE,
    Anomaly.NOTIFY_EMPTY,
    Anomaly.NOTIFY_DUPLICATE,
    Anomaly.AGENT_UNREACHABLE,
    Anomaly.GLITCH_FLOOD,
)


class Glitches:
    """The anomalies of one side of a session: more than ``most`` in ``period_s`` are too many. ``new``: since ``flood``.

    A period begins with an anomaly. NOTIFYs count from the last anomaly before it, so that an agent is no flood that stood still
    and then answers late all that it was asked meanwhile.
    """

    def __init__(self, most: int, period_s: float) -> None:
        self.new = 0
        self._most = most
        self._period_s = period_s
        self._ends = -math.inf
        self._count = 0
        self._notifies = 0  # of the session, when the last anomaly was seen
        self._before = 0  # when the period began
        self._told = False

    def note(self, anomaly: Anomaly) -> None:
        """Count an anomaly of this side."""
        if anomaly not in _EXCUSED:
            self.new += 1

    def flood(self, now: float, notifies: int) -> str:
        """Return what is wrong if there were too many, once in a period; empty otherwise. ``notifies``: of the session so far."""
        if now >= self._ends:
            self._ends = now + self._period_s
            self._count = 0
            self._before = self._notifies
            self._told = False
        self._count += self.new
        self.new = 0
        self._notifies = notifies
        notifies -= self._before
        if self._told or self._count <= self._most or self._count <= PER_NOTIFY * notifies:
            return ""
        self._told = True
        anomalies = counted(self._count, "anomaly", "anomalies")
        return f"{anomalies} within {self._period_s:g} s, beside {counted(notifies, 'NOTIFY')}"
