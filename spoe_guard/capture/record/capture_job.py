"""The job that the recorder hands to the writer, and its conversion into a capture."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from spoe_guard.capture.files.blank import blank
from spoe_guard.capture.files.model import Capture, Chunk, Socket
from spoe_guard.capture.record.entry import Entry, Extra
from spoe_guard.core.terms.anomalies import CATALOGUE, Side
from spoe_guard.core.terms.events import AnomalySeen
from spoe_guard.counted import counted
from spoe_guard.options import Payload

ASKED: Final = "asked"  # in the place of an anomaly's name
_NOTHING: Final = Extra()


@dataclass(frozen=True, slots=True)
class CaptureJob:
    """The last bytes of a session, because of ``anomaly``; None: somebody asked for them.

    ``wall_s`` plus an entry's time is seconds of the epoch.
    """

    route: str
    session: int
    anomaly: AnomalySeen | None
    entries: list[tuple[Side, Entry]]
    sockets: dict[tuple[Side, int], tuple[Socket, Socket]]
    wall_s: float

    @property
    def why(self) -> str:
        """The name of the anomaly, or ``ASKED``."""
        return ASKED if self.anomaly is None else self.anomaly.anomaly.value

    def seen(self) -> Iterator[tuple[AnomalySeen, float]]:
        """Yield the anomalies whose frames it has, each with its monotonic time."""
        for _side, entry in self.entries:
            for seen in entry.extra.seen if entry.extra is not None else ():
                yield seen, entry.now

    @property
    def made_at(self) -> float:
        """The time of its last entry, in seconds of the epoch."""
        return self.wall_s + (self.entries[-1][1].now if self.entries else 0.0)

    def capture(self, payload: Payload) -> Capture:
        """Return the chunks of both legs, with the payloads reduced as ``payload`` demands."""
        chunks = [chunk for side, entry in self.entries for chunk in _chunks(side, entry, self.wall_s, payload)]
        if payload == "headers":
            _blank(chunks)
        elif payload == "off":
            for chunk in chunks:
                chunk.size, chunk.data = len(chunk.data), b""
        note = f"spoe-guard: route {self.route}, session {self.session}: {self.why}"
        return Capture(chunks, self.sockets, note if payload == "full" else f"{note}; payload: {payload}")


def _chunks(side: Side, entry: Entry, wall_s: float, payload: Payload) -> Iterator[Chunk]:
    """Yield what was read, then what was written."""
    at = entry.now + wall_s
    extra = entry.extra or _NOTHING
    notes = tuple(about(seen, payload) for seen in extra.seen)
    if extra.left_out:
        notes += (f"and {counted(extra.left_out, 'anomaly', 'anomalies')} more",)
    if entry.data or extra.end is not None or notes:
        yield Chunk(at, side, entry.link_id, inward=True, data=entry.data, lost=entry.lost, end=extra.end, notes=notes)
    if entry.to_haproxy:
        yield Chunk(at, Side.HAPROXY, 0, inward=False, data=entry.to_haproxy)
    if entry.to_agent:
        yield Chunk(at, Side.AGENT, entry.out_link, inward=False, data=entry.to_agent)
    for order in extra.more:
        if order.to_agent:
            yield Chunk(at, Side.AGENT, order.link_id, inward=False, data=order.to_agent)
    for is_haproxys, link_id, end in extra.closed:
        yield Chunk(at, Side.HAPROXY if is_haproxys else Side.AGENT, link_id, inward=False, end=end)


def about(seen: AnomalySeen, payload: Payload) -> str:
    """Return the comment for an anomaly."""
    done = seen.action.value if seen.applied else f"{seen.action.value} (observe mode: not done)"
    detail = "" if payload == "off" else seen.explanation(quotes=payload == "full")
    comment = f"{seen.anomaly.value}: {seen.side.value}: {done}: {CATALOGUE[seen.anomaly].sentence}"
    return f"{comment} ({detail})" if detail else comment


def _blank(chunks: list[Chunk]) -> None:
    """Blank the values in all chunks, also in frames that span several chunks."""
    ways: dict[tuple[Side, int, bool], list[Chunk]] = defaultdict(list)
    for chunk in chunks:
        if chunk.data:
            ways[chunk.side, chunk.link_id, chunk.inward].append(chunk)
    for way in ways.values():
        blanked = blank([(chunk.data, chunk.lost > 0) for chunk in way])
        for chunk, data in zip(way, blanked, strict=True):
            chunk.data = data
