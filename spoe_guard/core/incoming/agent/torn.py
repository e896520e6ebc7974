"""The part of an agent's stream that cannot simply be cut into frames: it is reassembled, or searched.

Pieces of frames shuffled by unlocked writers are reassembled, and then the stream continues. Anything else is searched for whole
ACKs until the session ends.
"""

import math

from spoe_guard.core.conversation.ledger import Ledger
from spoe_guard.core.incoming.agent.ack import settle_ack
from spoe_guard.core.incoming.agent.agent_stream import AgentStream
from spoe_guard.core.incoming.agent.pieces import Pieces
from spoe_guard.core.incoming.agent.salvage import Salvage
from spoe_guard.core.payloads.disconnect import Disconnect
from spoe_guard.core.terms.anomalies import Action, Anomaly
from spoe_guard.wire import actions
from spoe_guard.wire import frame as frames


def looks_torn(raw: bytes) -> bool:
    """Whether the bytes that a length prefix claims for one frame may be pieces of several."""
    if raw[frames.LENGTH_BYTES] == frames.UNSET:  # it begins with a zero byte, like a length
        return True
    frame = frames.parse(raw)
    if frame is None or frame.flags != frames.FLAG_FIN:
        return False
    if frame.type == frames.ACK:
        return not actions.reads(raw, frame.payload_at, len(raw))
    return frame.type == frames.AGENT_DISCONNECT and not Disconnect(frame).readable


class TornStream:
    """Takes the agent's bytes while they are not plain frames; ``open`` as long as that lasts."""

    def __init__(self, walker: AgentStream, ledger: Ledger) -> None:
        self._walker = walker
        self._ledger = ledger
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
        pieces = Pieces(walker.limit())
        found, sane = pieces.feed(raw)
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
        self._deliver(pieces, found, len(raw), now)
        return True

    def search(self, rest: bytes, now: float) -> None:
        """Look for whole ACKs from here to the end of the stream."""
        walker = self._walker
        self._salvage = Salvage(self._ledger, walker.limit())
        self._searched_from = walker.inlet.offset
        self.take(rest, now)

    def take(self, rest: bytes, now: float) -> bytes | None:
        """Take more of the stream; return the bytes that belong to no piece, or None."""
        if self._pieces is not None:
            pieces = self._pieces
            found, sane = pieces.feed(rest)
            self._deliver(pieces, found, len(rest), now)
            return None if sane else self._give_up(pieces)
        if self._salvage is not None:  # pragma: no branch - bytes come here while it is open
            acks, junk = self._salvage.feed(rest)
            self._walker.outlet.drop(junk)
            for ack, at in acks:
                self._found(ack, self._searched_from + at, now)
            self._walker.inlet.consumed(len(rest))
        return None

    def discard(self) -> None:
        """Drop what is buffered; the session is ending."""
        self._walker.outlet.drop(self.held)
        if self._pieces is not None:
            self._walker.break_off()
        self._pieces = self._salvage = None

    def _deliver(self, pieces: Pieces, found: list[bytes], used: int, now: float) -> None:
        walker = self._walker
        for raw in found:
            frame = frames.parse(raw)
            if frame is None:  # pragma: no cover - its ids have been read
                continue
            walker.count(frame.type)
            walker.whole(frame, now)
            self._since = now  # each completed frame restarts the timeout: busy writers always have an incomplete one
        walker.outlet.drop(pieces.take_lost())
        walker.inlet.consumed(used)
        if pieces.settled:
            self._pieces = None
        else:
            walker.inlet.began(self._since)

    def _give_up(self, pieces: Pieces) -> bytes:
        """Stop reassembling: count incomplete frames as lost, and return the rest."""
        self._pieces = None
        rest = pieces.release()
        self._walker.outlet.drop(pieces.take_lost())
        self._walker.inlet.rewind(len(rest))
        return rest

    def _found(self, ack: frames.Frame, offset: int, now: float) -> None:
        walker = self._walker
        report = walker.conv.report
        action = report.judge(walker.side, Anomaly.INTERLEAVED_FRAMES, ack.raw, offset, parsed=ack, detail="found whole")
        if action is Action.REPAIR:
            settle_ack(walker, ack, now)
            return
        walker.fail(now)
        walker.pass_on(ack, None)
