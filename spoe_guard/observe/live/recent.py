"""The last anomalies of all routes, each with its bytes."""

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from spoe_guard.core.terms.anomalies import CATALOGUE
from spoe_guard.core.terms.events import AnomalySeen
from spoe_guard.observe.frame_text import explain
from spoe_guard.observe.logs import MAX_TEXT, printable
from spoe_guard.observe.stats import type_name
from spoe_guard.options import DEFAULT_PAYLOAD, Payload

KEPT: Final = 50

Note = dict[str, Any]


class Recent:
    """Keeps references, and formats them only when somebody asks: there may be ten thousand anomalies a second.

    ``payload``: how much is shown of what the peers wrote.
    """

    def __init__(self, clock: Callable[[], float], payload: Payload = DEFAULT_PAYLOAD) -> None:
        self._clock = clock
        self.payload = payload
        self._count = 0
        self._kept: deque[tuple[int, float, str, int, AnomalySeen]] = deque(maxlen=KEPT)

    def add(self, route: str, session: int, seen: AnomalySeen) -> None:
        """Keep an anomaly, and drop the oldest if there are more than ``KEPT``."""
        self._count += 1
        self._kept.append((self._count, self._clock(), route, session, seen))

    def take(self) -> list[Note]:
        """Return them as JSON values, newest first. ``at``: seconds of the monotonic clock that all processes share."""
        return [self._note(*entry) for entry in reversed(self._kept)]

    def _note(self, number: int, at: float, route: str, session: int, seen: AnomalySeen) -> Note:
        return {"id": str(number), "at": at, "route": route, "session": session, **shown(seen, self.payload)}


def shown(seen: AnomalySeen, payload: Payload) -> Note:
    """Return an anomaly as JSON values; ``payload``: how much of what the peers wrote."""
    row, full = CATALOGUE[seen.anomaly], payload == "full"
    return {
        "side": seen.side.value,
        "anomaly": seen.anomaly.value,
        "action": seen.action.value,
        "applied": seen.applied,
        **placed(seen),
        "sentence": row.sentence,
        "detail": "" if payload == "off" else printable(seen.explanation(quotes=full)[:MAX_TEXT]),
        "frame": [] if payload == "off" else explain(seen.sample, values=full),
        "hex": seen.sample.hex() if full else "",
    }


def placed(seen: AnomalySeen) -> Note:
    """Return as JSON values where an anomaly was seen: in which state, in which frame, and where in the stream."""
    return {
        "state": seen.state,
        "type": None if seen.type is None else type_name(seen.type),
        "stream_id": seen.stream_id,
        "frame_id": seen.frame_id,
        "length": seen.length,
        "offset": seen.offset,
        "open_notifies": seen.open_notifies,
    }


def newest(notes: list[Note]) -> list[Note]:
    """Return the last ``KEPT`` of several processes' notes together, newest first; ids must differ."""
    return sorted(notes, key=lambda note: -note["at"])[:KEPT]
