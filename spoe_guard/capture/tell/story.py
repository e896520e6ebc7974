"""A capture frame by frame, with the guard's verdicts: a real ``Session`` is fed the bytes of both peers."""

import math
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from spoe_guard.capture.files.cut import Cut, Cutter, first_frame
from spoe_guard.capture.files.model import SHOWN_BYTES, Capture, Chunk, End
from spoe_guard.core.session import Session
from spoe_guard.core.terms.anomalies import CATALOGUE, Side
from spoe_guard.core.terms.config import SessionConfig
from spoe_guard.core.terms.events import (
    AgentUnreachable,
    AnomalySeen,
    Event,
    LinkLost,
    NotifiesRedispatched,
    NotifiesUnanswered,
    SessionEnded,
)
from spoe_guard.core.terms.output import LinkOutput, Output
from spoe_guard.core.terms.tally import Tally
from spoe_guard.counted import counted
from spoe_guard.observe.frame_text import describe, type_name
from spoe_guard.wire import frame

READ_BYTES: Final = 64 * 1024
_MOST_TICKS: Final = 1000  # between two chunks; a session needs a few
_AFTERWARDS_S: Final = 15.0  # how long to let time pass after the last chunk


@dataclass(slots=True)
class Row:
    """One line of the output. ``kind``: frame, bytes, end, lost, anomaly, guard, event or note.

    ``at``: seconds since the beginning. ``who``: haproxy, agent, agent N, or guard. ``what``: the frame's or anomaly's name.
    ``more``: additional fields for programs.
    """

    at: float
    kind: str
    who: str
    what: str
    text: str = ""
    ids: str = ""
    size: int | None = None
    more: dict[str, object] = field(default_factory=dict)


def tell(capture: Capture, config: SessionConfig) -> Iterator[Row]:
    """Yield the rows of ``capture`` in time order; ``config`` holds the settings that the guard judges by."""
    heard = capture.heard()
    if capture.note:
        yield Row(0.0, "note", "", "", capture.note)
    why_not = _not_judged(heard)
    if why_not:
        yield Row(0.0, "note", "", "", why_not)
    start = capture.chunks[0].at if capture.chunks else 0.0
    links = {chunk.link_id for chunk in heard if chunk.side is Side.AGENT}
    guard = None if why_not else _Guard(config, links)
    cutters: dict[tuple[Side, int], Cutter] = defaultdict(Cutter)
    at = 0.0
    for chunk in heard:
        at = chunk.at - start
        yield from _told(chunk, at, cutters[chunk.side, chunk.link_id], guard)
    for (side, link_id), cutter in cutters.items():
        yield from (_cut_row(at, _who(side, link_id), cut) for cut in cutter.finish())
    if guard is not None and any(chunk.end for chunk in heard):
        yield from guard.until(at + _AFTERWARDS_S)


def _not_judged(heard: Iterable[Chunk]) -> str:
    """Return why the guard cannot judge the capture; empty if it can."""
    first = next((chunk for chunk in heard if chunk.data and chunk.side is Side.HAPROXY), None)
    if first is None:
        return "HAProxy's side is missing from the capture, so the guard's verdict is unknown"
    if first.lost or first.data[frame.LENGTH_BYTES : frame.LENGTH_BYTES + 1] != bytes((frame.HAPROXY_HELLO,)):
        return "the capture does not start with HAPROXY-HELLO, so the guard's verdict is unknown"
    if any(0 <= len(chunk.data) < chunk.size for chunk in heard):
        return "bytes are missing from the capture, so the guard's verdict is unknown"
    return ""


def _told(chunk: Chunk, at: float, cutter: Cutter, guard: "_Guard | None") -> Iterator[Row]:
    who = _who(chunk.side, chunk.link_id)
    if guard is not None:
        yield from guard.until(at)
    data = chunk.data
    rows: list[tuple[int, Row]] = []
    if chunk.lost:
        rows += [(cut.offset, _cut_row(at, who, cut)) for cut in cutter.finish()]
        skipped = first_frame(data)
        data = data[skipped:]
        text = f"{counted(chunk.lost + skipped, 'byte is', 'bytes are')} missing here; later findings about ACKs may be wrong"
        rows.append((cutter.offset, Row(at, "lost", who, "", text, size=chunk.lost + skipped)))
    while len(data) > READ_BYTES:  # as the guard reads: of a longer write, not all rows are there at once
        read, data = data[:READ_BYTES], data[READ_BYTES:]
        cuts = cutter.feed(read)
        rows += [(cut.offset, _cut_row(at, who, cut)) for cut in cuts]
        yield from _in_order(rows, guard.hear(chunk, read, None, at, cuts) if guard is not None else [])
        rows = []
    cuts = cutter.feed(data)
    rows += [(cut.offset, _cut_row(at, who, cut)) for cut in cuts]
    if chunk.size > len(chunk.data):
        left_out = counted(chunk.size - len(chunk.data), "byte")
        rows.append((cutter.offset, Row(at, "bytes", who, "", f"{left_out}, left out", size=chunk.size)))
    if chunk.end is not None:
        rows += [(cut.offset, _cut_row(at, who, cut)) for cut in cutter.finish()]
        what = "closes its connection (FIN)" if chunk.end is End.FIN else "resets its connection (RST)"
        rows.append((cutter.offset, Row(at, "end", who, what, more={"end": chunk.end.value})))
    yield from _in_order(rows, guard.hear(chunk, data, chunk.end, at, cuts) if guard is not None else [])


def _in_order(rows: list[tuple[int, Row]], judged: list[Row]) -> Iterator[Row]:
    """Put each anomaly after the last row that starts no later than the anomaly's bytes; those without a position come last."""
    placed = deque(row for row in judged if row.kind == "anomaly")
    for index, (_, row) in enumerate(rows):
        yield row
        beyond = rows[index + 1][0] if index + 1 < len(rows) else math.inf
        while placed and _offset(placed[0]) < beyond:
            yield placed.popleft()
    yield from placed
    yield from (row for row in judged if row.kind != "anomaly")


def _offset(row: Row) -> int:
    offset = row.more["offset"]
    return offset if isinstance(offset, int) else 0


def _cut_row(at: float, who: str, cut: Cut) -> Row:
    more: dict[str, object] = {"offset": cut.offset, "hex": cut.raw.hex()}
    if cut.frame is None:
        shown = cut.raw[:SHOWN_BYTES].hex() + ("..." if len(cut.raw) > SHOWN_BYTES else "")
        return Row(at, "bytes", who, "", f"{cut.why}: {shown}", size=len(cut.raw), more=more)
    found = cut.frame
    more |= {"type": found.type, "flags": found.flags, "stream_id": found.stream_id, "frame_id": found.frame_id}
    ids = f"{found.stream_id}.{found.frame_id}" if found.stream_id or found.frame_id else ""
    return Row(at, "frame", who, type_name(found.type), describe(found), ids, len(cut.raw), more)


def _who(side: Side, link_id: int) -> str:
    return f"{side.value} {link_id}" if link_id else side.value


class _Guard:
    """A session that is fed the captured bytes, and its reactions."""

    def __init__(self, config: SessionConfig, links: set[int]) -> None:
        self._session = Session(config, Tally(), 0.0)
        self._links = links | {0}
        self._came: dict[bytes, int] = {}  # the step in which a frame came, by its bytes
        self._step = 0
        self._over = False
        self._session.start(0.0)

    def hear(self, chunk: Chunk, data: bytes, end: End | None, now: float, cuts: list[Cut]) -> list[Row]:
        """Return the guard's reactions to ``data``, readable bytes of a chunk, and to the ``end`` behind them."""
        self._step += 1
        for cut in cuts:
            self._came[cut.raw] = self._step
        rows: list[Row] = []
        while data:
            out = self._session.receive(chunk.side, data, now, chunk.link_id)
            rows += self._seen(out, now)
            data = data[-out.left :] if out.left else b""
        if end is not None:
            reset = end is End.RESET
            rows += self._seen(self._session.closed(chunk.side, now, reset=reset, link_id=chunk.link_id), now)
        return rows

    def until(self, now: float) -> list[Row]:
        """Let time pass until ``now``, and return what the guard would do by itself."""
        rows: list[Row] = []
        for _ in range(_MOST_TICKS):
            due = self._session.deadline
            if self._over or due > now or due == math.inf:
                break
            self._step += 1
            rows += self._seen(self._session.tick(due), due)
        return rows

    def _seen(self, out: Output, now: float) -> list[Row]:
        rows = [row for event in out.events for row in _event_rows(event, now)]
        self._over = self._over or any(isinstance(event, SessionEnded) for event in out.events)
        rows += self._wrote(out.to_haproxy, "to haproxy", now)
        orders: list[LinkOutput] = [out, *out.more]
        for order in orders:
            rows += self._wrote(order.to_agent, f"to {_who(Side.AGENT, order.link_id)}", now)
        for order in orders:
            if order.dial and order.link_id in self._links:
                rows += self._seen(self._session.agent_connected(now, order.link_id), now)
            elif order.dial:
                rows.append(Row(now, "guard", "guard", "dials the agent anew"))
        return rows

    def _wrote(self, data: bytes, where: str, now: float) -> list[Row]:
        """Return the frames that go out differently: changed, later, or written by the guard."""
        rows = []
        cutter = Cutter()
        for cut in cutter.feed(data) + cutter.finish():
            came = self._came.get(cut.raw)
            if came == self._step:
                continue
            row = _cut_row(now, "guard", cut)
            row.kind, row.what = "guard", f"{where}: {row.what}"
            row.more |= {"to": where.removeprefix("to "), "authored": came is None}
            row.text += " (as it came before)" if came is not None else " (written by the guard)"
            rows.append(row)
        return rows


def _event_rows(event: Event, now: float) -> Iterator[Row]:
    match event:
        case AnomalySeen():
            sentence = CATALOGUE[event.anomaly].sentence
            more: dict[str, object] = {"action": event.action.value, "state": event.state, "offset": event.offset}
            more |= {"stream_id": event.stream_id, "frame_id": event.frame_id, "open_notifies": event.open_notifies}
            detail = event.explanation(quotes=True)
            text = f"{event.action.value}: {sentence}" + (f" ({detail})" if detail else "")
            ids = "" if event.stream_id is None else f"{event.stream_id}.{event.frame_id}"
            yield Row(now, "anomaly", event.side.value, event.anomaly.value, text, ids, event.length, more)
        case NotifiesUnanswered():
            yield Row(now, "event", "guard", "unanswered", f"{counted(event.count, 'NOTIFY')} ({event.reason.value})")
        case AgentUnreachable():
            yield Row(now, "event", "guard", "agent unreachable", f"{event.reason.value}: {event.detail}")
        case LinkLost():
            in_hand = counted(event.open_notifies, "NOTIFY")
            yield Row(now, "event", "guard", "agent link lost", f"{event.reason.value}, {in_hand} in hand")
        case NotifiesRedispatched():
            yield Row(now, "event", "guard", "sent again", f"{counted(event.count, 'NOTIFY')} ({event.kind.value})")
        case SessionEnded():
            yield Row(now, "event", "guard", "session over", f"by {event.by.value}: {event.reason.value}")
        case _:
            return  # the frames already show it
