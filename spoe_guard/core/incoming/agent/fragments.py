"""Reassembles ACKs that an agent sends in fragments into the one frame that HAProxy takes (SPOE.txt 3.2.1).

The first fragment is an ACK without FIN, the others are UNSET frames with the same ids, the last one has FIN. No other fragments
may lie between them (status 11 in SPOE.txt), so only one ACK at a time is reassembled.

Some agents also leave FIN out of whole frames. If fragmentation was negotiated, FIN alone decides. If not, an ACK without FIN
whose actions end with the frame may be the whole answer, or the first part of one that was cut between two actions. Passing only
that part would silently lose the others, perhaps a deny (promise H6). Only the next frame tells, so the ACK waits for it, for at
most ``CONTINUED_S``. An agent that sends no continuation in that time is assumed not to set FIN, and its ACKs no longer wait on
this connection, until it sends a continuation after all.
"""

import math
from typing import Final

from spoe_guard.core.incoming.agent.ack import judge_ack, lose_ack
from spoe_guard.core.incoming.agent.agent_stream import AgentStream
from spoe_guard.core.incoming.fragmented import MOST_FRAGMENTS, Fragmented
from spoe_guard.core.terms.anomalies import Action, Anomaly
from spoe_guard.wire import actions
from spoe_guard.wire import frame as frames

# What an agent writes at once arrives well within this time, and no `timeout processing` in use is so short.
CONTINUED_S: Final = 0.01


class Fragments:
    """Reassembles at most one ACK. ``by``: when the wait ends, infinity while nothing waits.

    ``fast``: whether ordinary frames may take the fast path. ``walker``, of each method: whose stream it is. It is not kept, or
    the two would refer to one another: see ``Session``.
    """

    __slots__ = ("_at", "_fast", "_last", "_parts", "_says_fin", "_whole", "by")

    def __init__(self, *, fast: bool) -> None:
        self._fast = fast
        self._parts: Fragmented | None = None  # of the waiting ACK
        self._at = 0  # where it began, in bytes from the start of the stream
        self._whole = False  # what has come may be the whole ACK
        self._last = b""  # ids of the last ACK that was assumed to be whole
        self._says_fin: bool | None = None  # whether this agent marks the end of its frames; None: not known yet
        self.by = math.inf

    @property
    def held(self) -> int:
        """Bytes kept."""
        return self._parts.held if self._parts is not None else 0

    def begin(self, walker: AgentStream, frame: frames.Frame, now: float) -> bool:
        """Keep ``frame``, an ACK, if it is or may be the first fragment of one; False if it is not."""
        link = walker.link
        if frame.fin or frame.flags & frames.FLAG_ABRT or frame.ids not in link.ledger:
            return False
        certain = link.fragments or self._says_fin is True
        readable = actions.reads(frame.raw, frame.payload_at, len(frame.raw))
        if readable and not certain and self._says_fin is False:
            return False
        self._parts = Fragmented(frame, now)
        self._at = walker.inlet.offset
        self._whole = readable and not certain
        self.by = now + (CONTINUED_S if self._whole else walker.conv.config.frame_s)
        walker.go(fast=False)  # every frame has to come through here
        return True

    def take(self, walker: AgentStream, frame: frames.Frame, now: float) -> bool:
        """Take ``frame`` if it continues the waiting ACK. Any other frame ends the wait if it shows that nothing follows."""
        parts = self._parts
        if parts is None:
            if frame.type == frames.UNSET and frame.ids == self._last:
                self._says_fin = True  # the ACK was a first fragment after all, but it is too late
            return False
        first = parts.first
        if frame.type == frames.UNSET and frame.ids == first.ids:
            self._more(walker, parts, frame, now)
            return True
        if self._whole:
            self._settle(walker, first, now)
        elif frame.type == frames.ACK and frame.ids == first.ids:
            self._lose(walker, first, now, "another ACK for the same NOTIFY came before its last fragment", answered=True)
        elif frame.type == frames.ACK and not frame.fin:
            self._lose(walker, first, now, "the fragments of another ACK came before its last")
        return False

    def over(self, walker: AgentStream, now: float, why: str) -> None:
        """End the wait: take the ACK as whole if it may be, otherwise drop it."""
        if self._parts is None:
            return
        if self._whole:
            self._says_fin = False
            self._settle(walker, self._parts.first, now)
        else:
            self._lose(walker, self._parts.first, now, why)

    def release(self, walker: AgentStream) -> bytes:
        """Return the fragments as received, and keep nothing."""
        raw = self._parts.raw if self._parts is not None else b""
        self._parts = None
        self.by = math.inf
        walker.go(fast=self._fast)
        return raw

    def discard(self, walker: AgentStream) -> None:
        """Drop the waiting fragments; the session is ending."""
        if self._parts is not None:
            anomaly = Anomaly.MISSING_FIN if self._whole else Anomaly.FRAGMENTED_ACK
            first, detail = self._parts.first, "the session ended before more of it came"
            judge = walker.conv.report.judge  # the walker would say where its stream is by now, which the read decides
            judge(walker.side, anomaly, first.raw, self._at, parsed=first, detail=detail, action=Action.DROP)
        walker.outlet.drop(len(self.release(walker)))

    def _more(self, walker: AgentStream, parts: Fragmented, frame: frames.Frame, now: float) -> None:
        first = parts.first
        self._says_fin = True
        self._whole = False
        self.by = parts.began + walker.conv.config.frame_s
        parts.add(frame)
        if frame.flags & frames.FLAG_ABRT:
            self._lose(walker, first, now, "the agent aborted it")
        elif parts.length > walker.limit() or parts.held > walker.conv.config.held_bytes:
            self._lose(walker, first, now, f"its fragments have {parts.held} bytes; together they may have {walker.limit()}")
        elif parts.count > MOST_FRAGMENTS:
            self._lose(walker, first, now, f"it has more than {MOST_FRAGMENTS} fragments")
        elif frame.fin:
            self._complete(walker, parts, now)

    def _complete(self, walker: AgentStream, parts: Fragmented, now: float) -> None:
        raw, first = parts.joined().raw, parts.first
        walker.outlet.drop(len(self.release(walker)) - len(first.raw))
        if walker.judge(Anomaly.FRAGMENTED_ACK, first, f"put together, {len(raw)} bytes") is Action.REPAIR:
            judge_ack(walker, first, now, raw)
        else:
            lose_ack(walker, first, now)

    def _settle(self, walker: AgentStream, first: frames.Frame, now: float) -> None:
        """Handle the first frame as the whole answer, without FIN."""
        self._last = first.ids
        self.release(walker)
        judge_ack(walker, first, now)

    def _lose(self, walker: AgentStream, first: frames.Frame, now: float, why: str, *, answered: bool = False) -> None:
        """Drop the fragments. ``answered``: the NOTIFY stays open, because another ACK for it follows."""
        walker.outlet.drop(len(self.release(walker)) - len(first.raw))
        walker.judge(Anomaly.FRAGMENTED_ACK, first, why, Action.DROP)
        if answered:
            walker.pass_on(first, None)
        else:
            lose_ack(walker, first, now)
