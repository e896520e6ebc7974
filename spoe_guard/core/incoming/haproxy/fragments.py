"""Takes a NOTIFY that HAProxy sends in fragments (SPOE.txt 3.2).

HAProxy up to 3.0 sends a NOTIFY that is too long for one frame in fragments (``option send-frag-payload``, on by default) if
AGENT-HELLO announced that this may be. An agent that announced it gets them as they come. For any other they are put together,
which helps where the agent takes longer frames than HAProxy uses, and where HAProxy splits what would have fit. What does not fit
is dropped, and HAProxy learns of it at the last fragment: until then it takes no ACK.

HAProxy sends the fragments one after another and nothing between them, so there is one such NOTIFY at a time on a connection.
Source: ``spoe_handle_sending_frame_appctx``, ``spoe_prepare_hafrag_frame`` in flt_spoe.c.
"""

import math
from typing import Final

from spoe_guard.core.conversation.agent_link import AgentLink
from spoe_guard.core.conversation.conversation import Conversation
from spoe_guard.core.conversation.ledger import LOSS_MATTERS_S
from spoe_guard.core.conversation.notifies import Arriving
from spoe_guard.core.incoming.fragmented import MOST_FRAGMENTS, Fragmented
from spoe_guard.core.incoming.walker import Walker
from spoe_guard.core.terms.anomalies import Action, Anomaly
from spoe_guard.core.terms.events import AuthoredReason, UnansweredReason
from spoe_guard.core.terms.states import LinkState
from spoe_guard.counted import counted
from spoe_guard.wire import frame as frames

# Bytes of payload. HAProxy fills each fragment but the last, in frames of at least 256 bytes; what leaves room in one is an
# argument's name and type, or an address, that it does not divide.
SHORTEST: Final = 64
_ABORTED = frames.FLAG_FIN | frames.FLAG_ABRT


class Fragments:
    """Passes on, puts together or drops the fragments of at most one NOTIFY.

    ``walker``, of each method: whose stream it is. It is not kept, or the two would refer to one another: see ``Session``.
    """

    __slots__ = ("_conv", "_parts")

    def __init__(self, conversation: Conversation) -> None:
        self._conv = conversation
        self._parts: Fragmented | None = None  # those that are put together

    @property
    def held(self) -> int:
        """Bytes kept."""
        return self._parts.held if self._parts is not None else 0

    @property
    def by(self) -> float:
        """When the NOTIFY is given up, monotonic seconds; infinity if none is coming, or another deadline ends it."""
        arriving, deadline_s = self._conv.notifies.arriving, self._conv.config.answer_deadline_s
        if arriving is None or arriving.settled or (arriving.link is not None and deadline_s is not None):
            return math.inf  # open with an agent it has the deadline of any other
        return arriving.since + (deadline_s or LOSS_MATTERS_S)

    def take(self, walker: Walker, frame: frames.Frame, now: float) -> Fragmented | None:
        """Take a NOTIFY without FIN, or an UNSET; return all of them where they make a whole NOTIFY for the agent."""
        arriving = walker.conv.notifies.arriving
        if frame.type == frames.NOTIFY:
            self._first(walker, arriving, frame, now)
        elif arriving is None or frame.ids != arriving.ids:
            self._refuse(walker, frame, "it continues no NOTIFY", now)
        elif frame.flags & frames.FLAG_ABRT:
            self._aborted(walker, arriving, frame, now)
        else:
            return self._more(walker, arriving, frame, now)
        return None

    def too_late(self, walker: Walker, frame: frames.Frame, now: float) -> None:
        """Note a fragment that no agent gets any more, because the session is about to end."""
        notifies = walker.conv.notifies
        arriving = notifies.arriving
        if frame.type == frames.NOTIFY:
            if arriving is not None:
                self.discard(walker)
                notifies.end_arriving(arriving, now, UnansweredReason.AGENT_GONE)
            arriving = notifies.arrives(frame.ids, now)
        if arriving is not None and frame.ids == arriving.ids:
            self._lose(walker, arriving, now, UnansweredReason.AGENT_GONE)
            if frame.flags & _ABORTED:
                notifies.arrived(arriving, now)

    def overdue(self, walker: Walker, now: float) -> None:
        """The last fragment did not come in time; drop what is kept, and what still comes."""
        arriving = walker.conv.notifies.arriving
        if arriving is None:  # pragma: no cover - it is overdue
            return
        self.discard(walker)
        walker.conv.notifies.end_arriving(arriving, now, UnansweredReason.DEADLINE)

    def release(self) -> bytes:
        """Return what is kept, as received, and keep nothing."""
        parts, self._parts = self._parts, None
        return parts.raw if parts is not None else b""

    def discard(self, walker: Walker) -> None:
        """Drop what is kept."""
        walker.outlet.drop(len(self.release()))

    # --- one fragment ----------------------------------------------------------------------------------------------------

    def _first(self, walker: Walker, before: Arriving | None, frame: frames.Frame, now: float) -> None:
        notifies = walker.conv.notifies
        if before is not None:
            action = walker.judge(Anomaly.FRAGMENT_REFUSED, frame, "the NOTIFY before it lacks its last fragment")
            walker.close_on(action, now)
            if action is Action.CLOSE:
                walker.outlet.drop(len(frame.raw))
                return
            self._abort(before)
            self.discard(walker)
            notifies.end_arriving(before, now, UnansweredReason.NOTIFY_DROPPED)
        arriving = notifies.arrives(frame.ids, now)
        if frame.flags & frames.FLAG_ABRT:
            self._aborted(walker, arriving, frame, now)
            return
        link = notifies.stream(arriving, len(frame.raw) - frames.LENGTH_BYTES, now)
        if link is not None:
            link.outlet.forward(frame.raw)
        else:
            self._parts = Fragmented(frame, now)
            self._bound(walker, arriving, self._parts, now)

    def _more(self, walker: Walker, arriving: Arriving, frame: frames.Frame, now: float) -> Fragmented | None:
        notifies, parts, complete = walker.conv.notifies, self._parts, None
        if parts is not None:
            parts.add(frame)
            self._bound(walker, arriving, parts, now)
            if frame.fin and self._parts is not None:
                self.discard(walker)
                complete = parts
        elif arriving.link is not None:
            self._pass_on(walker, arriving, arriving.link, frame, now)
        elif not frame.fin and (length := len(frame.raw) - frame.payload_at) < SHORTEST:
            self._refuse(
                walker, frame, f"one of {counted(length, 'byte')}, which is not the last, of a NOTIFY that was dropped", now
            )
        else:
            walker.outlet.drop(len(frame.raw))
        if frame.fin:
            notifies.arrived(arriving, now)
        return complete

    def _pass_on(self, walker: Walker, arriving: Arriving, link: AgentLink, frame: frames.Frame, now: float) -> None:
        """Forward a fragment to the agent that has the ones before it."""
        length = len(frame.raw) - frames.LENGTH_BYTES
        if link.state is LinkState.RUNNING and length <= link.size:
            link.outlet.forward(frame.raw)
            return
        walker.outlet.drop(len(frame.raw))
        if link.state is LinkState.RUNNING:
            self._too_long(walker, arriving, frame, f"a fragment of {length} bytes, the agent takes {link.size}", now)
        else:
            self._lose(walker, arriving, now, UnansweredReason.AGENT_GONE)

    def _bound(self, walker: Walker, arriving: Arriving, parts: Fragmented, now: float) -> None:
        """Drop what is kept once it is certain that the whole does not fit, or that it has too many fragments."""
        size = walker.conv.notifies.longest
        if parts.length > size or parts.held > walker.conv.config.held_bytes:
            self.discard(walker)
            detail = f"{parts.length} bytes and more of it in fragments of {parts.held}, the agent takes {size}"
            self._too_long(walker, arriving, parts.first, detail, now)
        elif parts.count > MOST_FRAGMENTS:
            self.discard(walker)
            self._too_long(walker, arriving, parts.first, f"it has more than {MOST_FRAGMENTS} fragments", now)

    def _too_long(self, walker: Walker, arriving: Arriving, frame: frames.Frame, detail: str, now: float) -> None:
        walker.close_on(walker.judge(Anomaly.NOTIFY_OVERSIZE, frame, detail), now)
        self._lose(walker, arriving, now, UnansweredReason.NOTIFY_DROPPED)

    def _aborted(self, walker: Walker, arriving: Arriving, frame: frames.Frame, now: float) -> None:
        """HAProxy gave the NOTIFY up."""
        link = arriving.link
        self.discard(walker)
        if link is not None and link.state is LinkState.RUNNING:
            link.outlet.forward(frame.raw)
        else:
            walker.outlet.drop(len(frame.raw))
        walker.conv.notifies.end_arriving(arriving, now, UnansweredReason.HAPROXY_GONE)

    def _lose(self, walker: Walker, arriving: Arriving, now: float, reason: UnansweredReason) -> None:
        """Drop what is kept; the agent that has a part learns that no more comes, HAProxy at its last fragment."""
        self.discard(walker)
        self._abort(arriving)
        walker.conv.notifies.lose_arriving(arriving, now, reason)

    def _abort(self, arriving: Arriving) -> None:
        """Tell the agent that has the first fragments that no more of them come."""
        link = arriving.link
        if link is not None and link.state is LinkState.RUNNING:
            head = bytes((frames.UNSET,)) + _ABORTED.to_bytes(4, "big") + arriving.ids
            link.author(len(head).to_bytes(frames.LENGTH_BYTES, "big") + head, AuthoredReason.REPAIRED)

    def _refuse(self, walker: Walker, frame: frames.Frame, why: str, now: float) -> None:
        walker.outlet.drop(len(frame.raw))
        walker.close_on(walker.judge(Anomaly.FRAGMENT_REFUSED, frame, why), now)
