"""A witness that cuts what sessions carry into frames, for somebody who looks on (`spoe-guard ctl tap`). No text is made here."""

from collections import deque
from typing import Final, NamedTuple

from spoe_guard.core.terms.anomalies import Action, Anomaly, Side
from spoe_guard.core.terms.events import AnomalySeen, Event
from spoe_guard.core.terms.output import Output
from spoe_guard.net.witness import Track, Witness
from spoe_guard.wire import frame

KEPT_BYTES: Final = 1024  # of a frame
WAITING: Final = 200  # frames and anomalies until they are taken; the oldest make room
A_SECOND: Final = 100  # frames and anomalies
_HEAD: Final = frame.LENGTH_BYTES
_LONGEST: Final = 16 * 1024 * 1024  # of what passes for a frame, bytes


class Seen(NamedTuple):
    """A frame as it came, or an anomaly. ``at``: monotonic seconds. ``length``: of the frame; ``raw`` may be its beginning."""

    at: float
    number: int
    side: Side
    link_id: int
    length: int
    raw: bytes
    anomaly: AnomalySeen | None = None


class _Cut:
    """Where one connection is: in front of a frame, or ``missing`` bytes of one are to come."""

    __slots__ = ("head", "length", "missing")

    def __init__(self) -> None:
        self.head = b""
        self.length = 0
        self.missing = 0


class Tap(Witness):
    """Keeps what came since the last ``take``, at most ``WAITING``, and counts what is left out in ``left_out``.

    A connection that is in the middle of something is followed from its next frame on that is certain to begin where it seems to.
    """

    __slots__ = ("_cuts", "_second", "_seen", "_told", "left_out")

    def __init__(self) -> None:
        self.left_out = 0
        self._seen: deque[Seen] = deque()
        self._cuts: dict[tuple[int, Side, int], _Cut] = {}
        self._second = 0.0
        self._told = 0

    def take(self) -> list[Seen]:
        """Return what has come, and forget it."""
        seen = list(self._seen)
        self._seen.clear()
        return seen

    def read(self, track: Track, data: bytes, now: float, out: Output) -> None:
        """Cut what came into frames."""
        key = (track.number, track.side, track.link_id)
        cut = self._cuts.get(key)
        if cut is None and _begins_with_a_frame(data):
            cut = self._cuts[key] = _Cut()
        if cut is not None and not self._feed(cut, key, data, now):
            del self._cuts[key]
        self._tell(track.number, track.link_id, out.events, now)

    def passed(self, track: Track, data: bytes, now: float, link_id: int) -> None:  # noqa: ARG002  a witness's signature
        """Cut what came into frames: they are whole."""
        key = (track.number, track.side, track.link_id)
        self._cuts[key] = cut = _Cut()
        if self._has_room(now):
            self._feed(cut, key, data, now)
        else:
            self.left_out += 1

    def note(  # noqa: PLR0913  as a Witness has them
        self,
        number: int,
        side: Side,  # noqa: ARG002
        link_id: int,
        data: bytes,  # noqa: ARG002
        now: float,
        out: Output,
        *,
        reset: bool | None = None,  # noqa: ARG002
    ) -> None:
        """Keep the anomalies of any other step."""
        self._tell(number, link_id, out.events, now)

    def wants(self, number: int, anomaly: Anomaly, action: Action) -> bool:  # noqa: ARG002
        """Return False: what nobody else wants to know is not told here either."""
        return False

    def missed(self, number: int, anomaly: Anomaly, action: Action) -> None:
        """Do nothing."""

    def met(self, track: Track, sock: object) -> None:  # noqa: ARG002
        """Follow a connection from its first byte."""
        self._cuts[track.number, track.side, track.link_id] = _Cut()

    def lost(self, track: Track) -> None:
        """Forget a connection."""
        self._cuts.pop((track.number, track.side, track.link_id), None)

    def over(self, number: int) -> None:
        """Forget all connections of a session."""
        for key in [key for key in self._cuts if key[0] == number]:
            del self._cuts[key]

    # --- inside ------------------------------------------------------------------------------------------------------

    def _has_room(self, now: float) -> bool:
        if now >= self._second + 1.0:
            self._second, self._told = now, 0
        return self._told < A_SECOND

    def _put(self, seen: Seen) -> None:
        if not self._has_room(seen.at):
            self.left_out += 1
            return
        self._told += 1
        if len(self._seen) >= WAITING:
            self._seen.popleft()
            self.left_out += 1
        self._seen.append(seen)

    def _tell(self, number: int, link_id: int, events: "list[Event] | tuple[Event, ...]", now: float) -> None:
        for event in events:
            if isinstance(event, AnomalySeen):
                self._put(Seen(now, number, event.side, link_id, 0, b"", event))

    def _feed(self, cut: _Cut, key: tuple[int, Side, int], data: bytes, now: float) -> bool:
        """Go on with ``data``; return False where no frame can begin."""
        number, side, link_id = key
        at, end = 0, len(data)
        while at < end:
            if not cut.missing:
                begun = len(cut.head)
                cut.head += data[at : at + _HEAD - begun]
                at += len(cut.head) - begun
                if len(cut.head) < _HEAD:
                    return True
                cut.length = _HEAD + int.from_bytes(cut.head, "big")
                cut.missing = cut.length - _HEAD
                if not frame.MIN_LENGTH <= cut.missing <= _LONGEST:
                    return False
            taken = min(cut.missing, end - at)
            cut.head += data[at : at + min(taken, max(KEPT_BYTES - len(cut.head), 0))]
            cut.missing -= taken
            at += taken
            if not cut.missing:
                self._put(Seen(now, number, side, link_id, cut.length, cut.head))
                cut.head = b""
        return True


def _begins_with_a_frame(data: bytes) -> bool:
    """Return whether a whole frame of a known type stands at the beginning."""
    if len(data) <= _HEAD:
        return False
    length = int.from_bytes(data[:_HEAD], "big")
    return frame.MIN_LENGTH <= length <= len(data) - _HEAD and data[_HEAD] in frame.TYPE_NAMES
