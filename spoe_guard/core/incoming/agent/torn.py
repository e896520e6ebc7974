"""The part of an agent's stream that cannot simply be cut into frames: it is reassembled, or searched.

Pieces of frames shuffled by unlocked writers are reassembled, and then the stream continues. Anything else is searched for whole
ACKs until the session ends, or there is more to look at than the bytes are worth.

Either may take long, so it is done in turns. Where a turn is over before all that was taken is looked at, the last bytes of it
come again (``Walker.paused``).
"""

import math
from collections import deque
from typing import Final

from spoe_guard.core.conversation.ledger import Ledger
from spoe_guard.core.incoming.agent.ack import settle_ack
from spoe_guard.core.incoming.agent.agent_stream import AgentStream
from spoe_guard.core.incoming.agent.effort import FRAME, Effort
from spoe_guard.core.incoming.agent.pieces import Pieces
from spoe_guard.core.incoming.agent.salvage import Salvage
from spoe_guard.core.payloads.ack_repair import MOST_ACTIONS
from spoe_guard.core.payloads.disconnect import Disconnect
from spoe_guard.core.terms.anomalies import Action, Anomaly
from spoe_guard.wire import actions
from spoe_guard.wire import frame as frames

# Bytes that are taken at once. (Where the stream is in order again, the others were not copied in vain.)
TAKEN_AT_ONCE: Final = 4096


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
    """Takes the agent's bytes while they are not plain frames; ``open`` as long as that lasts.

    ``paused``: a turn is over, and there is more to do with the bytes that were taken. At least one of them comes again, and then
    it goes on.

    ``walker``, of each method: whose stream it is. It is not kept, or the two would refer to one another: see ``Session``.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.paused = False
        self._ledger = ledger
        self._effort = Effort()
        self._raw = b""  # what is tried: one frame by its length prefix, or pieces of several
        self._tried: Pieces | None = None
        self._pieces: Pieces | None = None
        self._found: deque[bytes] = deque()  # frames that were put together and are not judged yet
        self._of_found = 0  # bytes of those
        self._salvage: Salvage | None = None
        self._again = 0  # bytes at the end of those taken that come again
        self._searched_from = 0
        self._since = math.inf

    @property
    def open(self) -> bool:
        """Whether the agent's bytes go here."""
        return self._pieces is not None or self._salvage is not None or self._tried is not None

    @property
    def mid_frame(self) -> bool:
        """Whether frames written in pieces are incomplete."""
        return self._pieces is not None

    @property
    def held(self) -> int:
        """Bytes buffered here."""
        if self._tried is not None:
            return len(self._raw) - self._again
        kept = (self._pieces.held if self._pieces else 0) + (self._salvage.held if self._salvage else 0)
        return kept + self._of_found - self._again

    def put_together(self, walker: AgentStream, raw: bytes, now: float) -> int:
        """Take ``raw``, one frame by its length prefix, as pieces of several; return how much of it was taken, 0 if it is not."""
        self._raw = raw
        self._since = min(walker.inlet.since, now)
        self._tried = Pieces(walker.limit(), self._effort)
        return self._try(walker, self._tried, raw, now)

    def search(self, walker: AgentStream, rest: bytes, now: float) -> int:
        """Look for whole ACKs from here to the end of the stream; return how many of the bytes come again."""
        self._salvage = Salvage(self._ledger, walker.limit(), self._effort)
        self._searched_from = walker.inlet.offset
        return self._look(walker, self._salvage, rest, 1, now)  # of the others it is not known in which read they came

    def take(self, walker: AgentStream, buf: bytes, pos: int, end: int, now: float) -> tuple[int, bytes | None]:
        """Take more of the stream; return how many bytes were taken, and of those at their end that belong to no piece, or None.

        What is left comes again: here, or cut into frames.
        """
        came = self._again or min(end - pos, TAKEN_AT_ONCE)
        data = b"" if self._again else buf[pos : pos + came]
        self._again = 0
        self.paused = False
        if self._tried is not None:
            return self._try_on(walker, self._tried, now), None
        if self._pieces is not None:
            return self._put_more_together(walker, self._pieces, data, came, now)
        left = self._look(walker, self._salvage, data, came, now) if self._salvage is not None else 0
        return came - left, None

    def discard(self, walker: AgentStream) -> None:
        """Drop what is buffered; the session is ending."""
        walker.outlet.drop(self.held)
        if self._pieces is not None or self._tried is not None:
            walker.break_off()
        self._raw = b""
        self._tried = self._pieces = self._salvage = None
        self._forget_found()
        self._again = 0
        self.paused = False

    def _find(self, more: list[bytes]) -> None:
        self._found += more
        self._of_found += sum(map(len, more))

    def _forget_found(self) -> None:
        self._found.clear()
        self._of_found = 0

    def _pause(self, walker: AgentStream, again: int) -> int:
        """Leave the rest to the next turn; ``again`` of the bytes that were taken come again, and are returned."""
        self.paused = True
        self._again = again
        walker.inlet.rewind(again)
        return again

    # --- whether a frame is pieces of several ------------------------------------------------------------------------

    def _try(self, walker: AgentStream, pieces: Pieces, data: bytes, now: float) -> int:
        """Go on to find out whether the frame is pieces of several; return how many bytes of it were taken, 0 if it is one."""
        raw = self._raw
        more, sane = pieces.feed(data)
        self._find(more)
        while more and not pieces.paused:
            more, sane = pieces.feed(b"")
            self._find(more)
        if pieces.paused:
            walker.inlet.consumed(len(raw))
            return len(raw) - self._pause(walker, 1)
        self._raw, self._tried = b"", None
        if not sane or pieces.begun == 1:  # a single malformed frame is not a shuffle
            self._forget_found()
            return 0
        action = walker.judge_bytes(Anomaly.INTERLEAVED_FRAMES, raw, "frames written in pieces, between one another")
        walker.close_on(action, now)
        if action is Action.CLOSE:
            self._forget_found()
            walker.break_off()  # see discard
            walker.discard(len(raw))
            return len(raw)
        self._pieces = pieces
        self._deliver(walker, now)
        walker.inlet.consumed(len(raw))
        return len(raw) - self._go_on(walker, pieces, 1)

    def _try_on(self, walker: AgentStream, pieces: Pieces, now: float) -> int:
        """Do the same in another turn, which the last byte of the frame came for again; return 1 if it was taken now."""
        raw = self._raw
        walker.inlet.rewind(len(raw) - 1)
        used = self._try(walker, pieces, b"", now) or walker.frame(raw, now)
        walker.leave_if_answered(now)
        return used - len(raw) + 1

    # --- frames in pieces --------------------------------------------------------------------------------------------

    def _put_more_together(
        self, walker: AgentStream, pieces: Pieces, data: bytes, came: int, now: float
    ) -> tuple[int, bytes | None]:
        sane = True
        self._deliver(walker, now)
        while not (self._found or pieces.settled) and walker.link.awaited:
            more, sane = pieces.feed(data)
            data = b""
            self._find(more)
            self._deliver(walker, now)
            if not more or pieces.paused:
                break
        walker.inlet.consumed(came)
        if not sane:
            return came, self._give_up(walker, pieces)
        return came - self._go_on(walker, pieces, came), None

    def _deliver(self, walker: AgentStream, now: float) -> None:
        """Judge what is complete, as much as in one turn."""
        while self._found and walker.link.awaited:
            raw = self._found.popleft()
            self._of_found -= len(raw)
            frame = frames.parse(raw)
            if frame is None:  # pragma: no cover - its ids have been read
                continue
            walker.count(frame.type)
            walker.whole(frame, now)
            walker.leave_if_answered(now)
            walker.bound_glitches(now)
            self._since = now  # each completed frame restarts the timeout: busy writers always have an incomplete one
            self._effort.take_of_turn(FRAME)
            if self._found and self._effort.turn_over():
                break
        if not walker.link.awaited:  # one of them ended the link
            walker.outlet.drop(self._of_found)
            self._forget_found()

    def _go_on(self, walker: AgentStream, pieces: Pieces, came: int) -> int:
        """Wait for the other pieces, or for the next turn. Return how many of the bytes that ``came`` come again."""
        walker.outlet.drop(pieces.take_lost())
        if pieces.settled and not self._found:
            self._pieces = None
            left = len(pieces.release())
            self._effort.unused(left)
            walker.inlet.rewind(left)
            return left
        if not walker.link.awaited:
            self.discard(walker)
            return 0
        walker.inlet.began(self._since)
        return self._pause(walker, max(1, min(came, pieces.unread))) if self._found or pieces.paused else 0

    def _give_up(self, walker: AgentStream, pieces: Pieces) -> bytes:
        """Stop reassembling: count incomplete frames as lost, and return the rest."""
        self._pieces = None
        rest = pieces.release()
        walker.outlet.drop(pieces.take_lost())
        walker.inlet.rewind(len(rest))
        return rest

    # --- ACKs in what cannot be put together ---------------------------------------------------------------------------

    def _look(self, walker: AgentStream, salvage: Salvage, data: bytes, came: int, now: float) -> int:
        """Look for ACKs; return how many of the bytes that ``came`` come again."""
        acks, junk = salvage.feed(data)
        walker.outlet.drop(junk)
        for ack, at in acks:
            if walker.link.awaited:
                self._take(walker, ack, self._searched_from + at, now)
                walker.leave_if_answered(now)
                walker.bound_glitches(now)
            else:  # one of the others ended the link
                walker.outlet.drop(len(ack.raw))
        walker.inlet.consumed(len(data) or came)
        if not walker.link.awaited:
            return 0
        if salvage.spent:
            self._search_no_more(walker, data, now)
        return self._pause(walker, min(came, salvage.held)) if salvage.paused else 0

    def _search_no_more(self, walker: AgentStream, rest: bytes, now: float) -> None:
        """End the link: what is still in its stream will not be found."""
        self._salvage = None
        walker.judge_bytes(Anomaly.GARBLED_STREAM, rest, "too many frames that begin within one another", Action.CLOSE)
        walker.fail(now)

    def _take(self, walker: AgentStream, ack: frames.Frame, offset: int, now: float) -> None:
        report = walker.conv.report
        action = report.judge(walker.side, Anomaly.INTERLEAVED_FRAMES, ack.raw, offset, parsed=ack, detail="found whole")
        if action is Action.REPAIR:
            settle_ack(walker, ack, now)
            return
        walker.fail(now)
        walker.pass_on(ack, None)
