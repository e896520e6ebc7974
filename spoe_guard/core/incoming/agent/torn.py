"""The part of an agent's stream that cannot simply be cut into frames: it is reassembled, or searched.

Pieces of frames shuffled by unlocked writers are reassembled, and then the stream continues. Anything else is searched for whole
ACKs until the session ends, or there is more to look at than the bytes are worth.
"""

import math
from typing import Final

from spoe_guard.core.conversation.ledger import Ledger
from spoe_guard.core.incoming.agent.ack import settle_ack
from spoe_guard.core.incoming.agent.agent_stream import AgentStream
from spoe_guard.core.incoming.agent.effort import Effort
from spoe_guard.core.incoming.agent.pieces import Pieces
from spoe_guard.core.incoming.agent.salvage import Salvage
from spoe_guard.core.payloads.ack_repair import MOST_ACTIONS
from spoe_guard.core.payloads.disconnect import Disconnect
from spoe_guard.core.terms.anomalies import Action, Anomaly
from spoe_guard.wire import actions
from spoe_guard.wire import frame as frames

# Bytes of pieces that are taken at once: where the stream is in order again, the others were not copied in vain.
PIECES_AT_ONCE: Final = 4096


def looks_torn(raw: bytes) -> bool:
    """Whether the bytes that a length prefix claims for one frame may be pieces of several."""
    if raw[frames.LENGTH_BYTES] == frames.UNSET:  # it begins with a zero byte, like a length
        return True
    frame = frames.parse(raw)
    if frame is None or frame.flags != frames.FLAG_FIN:
        return False
    if frame.type == frames.ACK:
        return not actions.begin_well(raw, frame.payload_at, len(raw), MOST_ACTIONS)
    return frame.type == frames.AGENT_DISCONNECT and not Disconnect(frame).readable


class TornStream:
    """Takes the agent's bytes while they are not plain frames; ``open`` as long as that lasts."""

    def __init__(self, walker: AgentStream, ledger: Ledger) -> None:
        self._walker = walker
        self._ledger = ledger
        self._effort = Effort()
        self._pieces: Pieces | None = None
        self._salvage: Salvage | None = None
        self._searched_from = 0
        self._since = math.inf

    @property
    def open(self) -> bool:
        """Whether the agent's bytes go here."""
        return self._pieces is not None or self._salvage is not None

    @property
    def mid_frame(self) -> bool:
        """Whether frames written in pieces are incomplete."""
        return self._pieces is not None

    @property
    def held(self) -> int:
        """Bytes buffered here."""
        return (self._pieces.held if self._pieces else 0) + (self._salvage.held if self._salvage else 0)

    def put_together(self, raw: bytes, now: float) -> bool:
        """Take ``raw``, one frame by its length prefix, as pieces of several; False if it is not."""
        walker = self._walker
        pieces = Pieces(walker.limit(), self._effort)
        more, sane = pieces.feed(raw)
        found = list(more)
        while more:
            more, sane = pieces.feed(b"")
            found += more
        if not sane or pieces.begun == 1:  # a single malformed frame is not a shuffle
            return False
        detail = "frames written in pieces, between one another"
        action = walker.judge_bytes(Anomaly.INTERLEAVED_FRAMES, raw, detail)
        walker.close_on(action, now)
        if action is Action.CLOSE:
            walker.break_off()  # see discard
            walker.discard(len(raw))
            return True
        self._pieces = pieces
        self._since = min(walker.inlet.since, now)
        self._deliver(found, now)
        walker.inlet.consumed(len(raw))
        self._go_on(pieces)
        return True

    def search(self, rest: bytes, now: float) -> None:
        """Look for whole ACKs from here to the end of the stream."""
        walker = self._walker
        self._salvage = Salvage(self._ledger, walker.limit(), self._effort)
        self._searched_from = walker.inlet.offset
        self._look(self._salvage, rest, now)

    def take(self, buf: bytes, pos: int, end: int, now: float) -> tuple[int, bytes | None]:
        """Take more of the stream; return how many bytes were taken, and of those at their end that belong to no piece, or None.

        What is left comes again: here, or cut into frames.
        """
        if self._pieces is not None:
            return self._put_more_together(self._pieces, buf[pos : min(end, pos + PIECES_AT_ONCE)], now)
        if self._salvage is not None:  # pragma: no branch - bytes come here while it is open
            self._look(self._salvage, buf[pos:end], now)
        return end - pos, None

    def discard(self) -> None:
        """Drop what is buffered; the session is ending."""
        self._walker.outlet.drop(self.held)
        if self._pieces is not None:
            self._walker.break_off()
        self._pieces = self._salvage = None

    def _put_more_together(self, pieces: Pieces, data: bytes, now: float) -> tuple[int, bytes | None]:
        walker = self._walker
        found, sane = pieces.feed(data)
        while found:
            self._deliver(found, now)
            if not walker.link.awaited or pieces.settled:
                break
            found, sane = pieces.feed(b"")
        walker.inlet.consumed(len(data))
        if not sane:
            return len(data), self._give_up(pieces)
        return len(data) - self._go_on(pieces), None

    def _deliver(self, found: list[bytes], now: float) -> None:
        walker = self._walker
        for raw in found:
            frame = frames.parse(raw)
            if frame is None:  # pragma: no cover - its ids have been read
                continue
            walker.count(frame.type)
            walker.whole(frame, now)
            walker.leave_if_answered(now)
            self._since = now  # each completed frame restarts the timeout: busy writers always have an incomplete one

    def _go_on(self, pieces: Pieces) -> int:
        """Wait for the other pieces. If there are none, return how many bytes were not looked at."""
        walker = self._walker
        walker.outlet.drop(pieces.take_lost())
        if pieces.settled:
            self._pieces = None
            left = len(pieces.release())
            self._effort.unused(left)
            walker.inlet.rewind(left)
            return left
        if walker.link.awaited:
            walker.inlet.began(self._since)
        else:
            self.discard()
        return 0

    def _give_up(self, pieces: Pieces) -> bytes:
        """Stop reassembling: count incomplete frames as lost, and return the rest."""
        self._pieces = None
        rest = pieces.release()
        self._walker.outlet.drop(pieces.take_lost())
        self._walker.inlet.rewind(len(rest))
        return rest

    def _look(self, salvage: Salvage, rest: bytes, now: float) -> None:
        walker = self._walker
        acks, junk = salvage.feed(rest)
        walker.outlet.drop(junk)
        for ack, at in acks:
            if walker.link.awaited:
                self._found(ack, self._searched_from + at, now)
            else:  # one of the others ended the link
                walker.outlet.drop(len(ack.raw))
        walker.inlet.consumed(len(rest))
        if salvage.spent and walker.link.awaited:
            self._search_no_more(rest, now)

    def _search_no_more(self, rest: bytes, now: float) -> None:
        """End the link: what is still in its stream will not be found."""
        walker = self._walker
        self._salvage = None
        walker.judge_bytes(Anomaly.GARBLED_STREAM, rest, "too many frames that begin within one another", Action.CLOSE)
        walker.fail(now)

    def _found(self, ack: frames.Frame, offset: int, now: float) -> None:
        walker = self._walker
        report = walker.conv.report
        action = report.judge(walker.side, Anomaly.INTERLEAVED_FRAMES, ack.raw, offset, parsed=ack, detail="found whole")
        if action is Action.REPAIR:
            settle_ack(walker, ack, now)
            return
        walker.fail(now)
        walker.pass_on(ack, None)
