"""One side of a capture as a script for replay: what to write, after which frames of the other side, and when."""

import itertools
from bisect import bisect_left, bisect_right
from dataclasses import dataclass

from spoe_guard.capture.files.cut import Cut, Cutter
from spoe_guard.capture.files.model import Capture, CaptureError, Chunk, End
from spoe_guard.core.terms.anomalies import Side
from spoe_guard.wire import frame


@dataclass(slots=True)
class Part:
    """Some bytes of a frame, or other bytes: ``raw[start:end]``; ``end`` -1 is the frame's end.

    ``notify``: the number, from 0, of the other side's NOTIFY that the ACK answers; -1: none.
    """

    raw: bytes
    start: int
    end: int
    notify: int = -1

    def live(self, ids: list[tuple[int, int]]) -> bytes:
        """Return the bytes with the recorded NOTIFY's ids replaced by those of the NOTIFY that was really sent."""
        raw = self.raw
        if 0 <= self.notify < len(ids):
            found = frame.parse(raw)
            assert found is not None  # noqa: S101  parsed when the script was built
            raw = frame.encode(found.type, *ids[self.notify], found.payload, found.flags)
        return raw[self.start : len(raw) if self.end < 0 else self.end]


@dataclass(slots=True)
class Step:
    """One write, or the end. ``after``: frames of the other side to wait for; ``pause_s``: seconds to wait after them."""

    after: int
    pause_s: float
    parts: list[Part]
    end: End | None = None


def script(capture: Capture, side: Side, link_id: int = 0) -> list[Step]:
    """Return the steps of ``side`` (for agents, of the one on ``link_id``) in ``capture``.

    Raises:
        CaptureError: the side does nothing, or some of its bytes are missing.
    """
    mine = [chunk for chunk in capture.chunks if _is_of(chunk, side, link_id)]
    if not any(chunk.data for chunk in mine):
        raise CaptureError(f"nothing in it was written by {'HAProxy' if side is Side.HAPROXY else 'the agent'}")
    if any(chunk.lost or len(chunk.data) < chunk.size for chunk in mine):
        raise CaptureError("not all bytes of that side are in it")
    others = _others(capture, side, link_id)
    notifies = [cut.frame.ids for _, cut in others if cut.frame is not None and cut.frame.type == frame.NOTIFY]
    parts = _parts(mine, notifies)
    steps = []
    last_at = capture.chunks[0].at
    for chunk, written, after in zip(mine, parts, _heard(capture, mine, others), strict=True):
        reference = max(last_at, others[after - 1][0]) if after else last_at
        steps.append(Step(after, max(0.0, chunk.at - reference), written, chunk.end))
        last_at = chunk.at
    return steps


def _is_of(chunk: Chunk, side: Side, link_id: int) -> bool:
    return chunk.inward and chunk.side is side and chunk.link_id == link_id


def _others(capture: Capture, side: Side, link_id: int) -> list[tuple[float, Cut]]:
    """Return the frames that the side received, with their times: from the guard if there was one, else from the other peer."""
    sent = [chunk for chunk in capture.chunks if not chunk.inward and chunk.side is side and chunk.link_id == link_id]
    if not any(chunk.data for chunk in sent):
        sent = [chunk for chunk in capture.chunks if chunk.inward and chunk.side is not side and chunk.link_id == 0]
    cutter = Cutter()
    return [(chunk.at, cut) for chunk in sent for cut in cutter.feed(chunk.data)]


def _heard(capture: Capture, mine: list[Chunk], others: list[tuple[float, Cut]]) -> list[int]:
    """Return for each chunk of ``mine`` how many frames of the other side came before it, by time, or else by order."""
    if capture.timed:
        times = [at for at, _ in others]
        return [bisect_left(times, chunk.at) for chunk in mine]
    ends = [cut.offset + len(cut.raw) for _, cut in others]
    found: list[int] = []
    size = 0
    for chunk in capture.chunks:
        if len(found) < len(mine) and chunk is mine[len(found)]:
            found.append(bisect_right(ends, size))
        elif chunk.inward and chunk.side is not mine[0].side:
            size += len(chunk.data)
    return found


def _parts(mine: list[Chunk], notifies: list[bytes]) -> list[list[Part]]:
    cutter = Cutter()
    stream = b"".join(chunk.data for chunk in mine)
    cuts = cutter.feed(stream) + cutter.finish()
    numbers = {ids: number for number, ids in reversed(list(enumerate(notifies)))}
    found: list[list[Part]] = []
    start = first = 0
    for chunk in mine:
        end = start + len(chunk.data)
        while first < len(cuts) and cuts[first].offset + len(cuts[first].raw) <= start:
            first += 1
        here = itertools.takewhile(lambda cut: cut.offset < end, itertools.islice(cuts, first, None))  # noqa: B023  used at once
        found.append([_part(cut, start, end, numbers) for cut in here])
        start = end
    return found


def _part(cut: Cut, start: int, end: int, numbers: dict[bytes, int]) -> Part:
    first, last = max(0, start - cut.offset), end - cut.offset
    number = -1
    if cut.frame is not None and cut.frame.type == frame.ACK:
        number = numbers.get(cut.frame.ids, -1)
    return Part(cut.raw, first, -1 if last >= len(cut.raw) else last, number)
