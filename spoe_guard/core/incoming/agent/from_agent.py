"""What an agent sends, on its way to HAProxy."""

from spoe_guard.core.conversation.agent_link import AgentLink
from spoe_guard.core.conversation.conversation import Conversation
from spoe_guard.core.conversation.ending import Tell
from spoe_guard.core.incoming.agent.ack import judge_ack
from spoe_guard.core.incoming.agent.agent_disconnect import behind_disconnect, judge_disconnect
from spoe_guard.core.incoming.agent.agent_hello import judge_hello, judge_refusal, judge_trailing
from spoe_guard.core.incoming.agent.agent_stream import AgentStream
from spoe_guard.core.incoming.agent.foreign_ack import send_to_its_session
from spoe_guard.core.incoming.agent.fragments import Fragments
from spoe_guard.core.incoming.agent.torn import TAKEN_AT_ONCE, TornStream, looks_torn
from spoe_guard.core.lane import walk_acks
from spoe_guard.core.terms.anomalies import Action, Anomaly
from spoe_guard.core.terms.events import (
    AgentUnreachable,
    DialFailure,
    EndedBy,
    EndReason,
    LinkLoss,
    UnansweredReason,
)
from spoe_guard.core.terms.states import BEFORE_DIAL, ENDING, LinkState, SessionState, fault_of_agent
from spoe_guard.wire import frame as frames
from spoe_guard.wire import walk


class FromAgent(AgentStream):
    """Walks the bytes of one agent link."""

    def __init__(self, conversation: Conversation, link: AgentLink, *, fast: bool) -> None:
        super().__init__(conversation, link, fast=fast)
        self.torn = TornStream(link.ledger)
        self.fragments = Fragments(fast=fast)

    @property
    def held(self) -> int:
        """Bytes buffered here."""
        return self.inlet.held + self.torn.held + self.fragments.held

    def scan(self, buf: bytes, pos: int, end: int, now: float) -> int:
        """Pass ordinary ACKs."""
        link, progress = self.link, self.conv.progress
        if link.state is not LinkState.RUNNING or progress.is_check:  # no frame may follow the HELLO of a check
            return pos
        return walk_acks(link.ledger, self.conv.tally, buf, pos, end, now)

    def stopped(self) -> bool:
        """Whether the stream is broken, HAProxy is being refused, or the link is over."""
        return self.broken or self.torn.open or self.conv.progress.state is SessionState.REFUSING or self.link.done

    @property
    def paused(self) -> bool:
        """Whether a torn stream takes another turn."""
        return self.torn.paused

    def unwanted(self) -> bool:
        """Whether the session, or this link, is ending."""
        return self.link.state is LinkState.CLOSING or self.conv.progress.state in ENDING

    def receive(self, data: bytes, now: float) -> int:
        """Take bytes as received; return how many are left."""
        self.conv.tally.bytes_to_haproxy += len(data)
        if self.link.state is not LinkState.RUNNING and self.link.state in BEFORE_DIAL:
            self._hold_early(data, now)
            return 0
        left = super().receive(data, now)
        self.conv.tally.bytes_to_haproxy -= left
        return left

    def whole(self, frame: frames.Frame, now: float) -> None:
        """Handle a whole frame."""
        conv = self.conv
        if self.link.state is not LinkState.CLOSING and self.fragments.take(self, frame, now):
            return
        state = self.link.state
        anomaly = fault_of_agent(state, frame.type)
        check = conv.progress.is_check and frame.ids not in self.link.ledger
        if state is LinkState.CLOSING:
            behind_disconnect(self, frame, now)
        elif check and state is LinkState.RUNNING:
            judge_trailing(self, frame, now)
        elif frame.type == frames.ACK and self.fragments.begin(self, frame, now):
            return
        elif anomaly is not None:
            self.unasked(anomaly, frame, now)
        elif frame.type == frames.ACK:
            if not send_to_its_session(self, frame):
                judge_ack(self, frame, now)
        elif frame.type == frames.AGENT_HELLO and conv.progress.offer is not None:
            judge_hello(self, frame, conv.progress.offer, now)
        elif state is LinkState.AGENT_HELLO:
            judge_refusal(self, frame, now)
        else:
            self._disconnect(frame, now)

    def one(self, buf: bytes, pos: int, end: int, now: float) -> int:
        """Check first whether an apparent frame is pieces of several; then end a leaving link after its last open answer."""
        used = self._torn_one(buf, pos, end, now) or super().one(buf, pos, end, now)
        self.leave_if_answered(now)
        return used

    def frame(self, raw: bytes, now: float) -> int:
        """Do the same as any walker; the search for what AGENT-DISCONNECT holds may take another turn, for its last byte."""
        used = super().frame(raw, now)
        if not self.paused:
            return used
        self.inlet.rewind(1)
        return used - 1

    def _torn_one(self, buf: bytes, pos: int, end: int, now: float) -> int:
        """Return the bytes used of pieces that look like one frame, 0 if there is no whole frame or it is a real one."""
        if not self.link.awaited or end - pos <= frames.LENGTH_BYTES:
            return 0
        length = walk.length_at(buf, pos)
        after = pos + frames.LENGTH_BYTES + length
        if not frames.MIN_LENGTH <= length <= self.limit() or after > end:
            return 0
        raw = buf[pos:after]
        return self.torn.put_together(self, raw, now) if looks_torn(raw) else 0

    def too_long(self, buf: bytes, pos: int, end: int, length: int, now: float) -> int:
        """Skip a frame with a credible header; otherwise the stream is broken."""
        head = buf[pos + frames.LENGTH_BYTES : pos + frames.IDS_AT]
        if length > self.conv.config.held_bytes or head[0] not in frames.AGENT_TYPES or head[1:4] != b"\0\0\0":
            return end - pos - self._break(b"", buf[pos:end], f"length {length}", now)
        ids_end = walk.ids_end(buf, pos + frames.IDS_AT, end)
        ids = buf[pos + frames.IDS_AT : ids_end] if ids_end > 0 else b""
        used = self.skip_over(Anomaly.OVERSIZE_FRAME, buf, pos, end, length, now)
        if head[0] == frames.ACK and ids in self.link.ledger:
            self.conv.notifies.give_up(ids, now, UnansweredReason.ACK_DROPPED)
        return used

    # --- the end of the link -----------------------------------------------------------------------------------------

    def ended(self, now: float, *, reset: bool) -> None:
        """The agent will send no more."""
        conv, link = self.conv, self.link
        if link.done:
            return
        reason = EndReason.RESET if reset else EndReason.CLOSED
        self.fragments.over(self, now, "the agent closed before its last fragment")
        if reset:
            link.close()  # no peer is left for HAPROXY-DISCONNECT
        if (self.inlet.inside_frame or self.torn.mid_frame) and link.state is not LinkState.CLOSING:
            self.truncated("the agent closed inside a frame")
        if link.state is LinkState.LEAVING:
            self.conv.ending.link_answered(self.link, now)
        elif link.state is LinkState.RUNNING and conv.progress.is_check:
            conv.ending.finish(now, EndedBy.AGENT, reason, tell=Tell.NOTHING)
        elif link.state in (LinkState.AGENT_HELLO, LinkState.RUNNING) and conv.progress.state is not SessionState.REFUSING:
            self._ended_without_disconnect(reason, now)
        link.close()

    def _ended_without_disconnect(self, reason: EndReason, now: float) -> None:
        """Handle the end of a link without DISCONNECT."""
        conv = self.conv
        early = self.link.state is LinkState.AGENT_HELLO
        detail = f"the agent's connection was {reason.value}" + (" before AGENT-HELLO" if early else "")
        action = conv.report.judge(self.side, Anomaly.DISCONNECT_MISSING, b"", self.inlet.offset, detail=detail)
        if action is Action.ANSWER and early:
            conv.ending.link_over_early(self.link, reason, detail, now)
        elif action is Action.ANSWER:
            conv.ending.link_over(self.link, LinkLoss.RESET if reason is EndReason.RESET else LinkLoss.CLOSED, now)
        else:
            if early:
                conv.report.add(AgentUnreachable(DialFailure.OTHER, detail, self.link.number))
            conv.ending.finish(now, EndedBy.AGENT, reason, tell=Tell.CLOSE)

    # --- a stream that can no longer be cut into frames ----------------------------------------------------------------

    def _hold_early(self, data: bytes, now: float) -> None:
        """Buffer what an agent sends before it got HAPROXY-HELLO (B4); only an observing guard dials that early."""
        room = self.conv.config.held_bytes - self.inlet.held
        self.inlet.keep(data[:room], self.conv.config.held_bytes + 1, now)
        self.outlet.drop(max(0, len(data) - room))

    def discard_begun(self) -> None:
        """Drop frames that are incomplete: the rest will not come."""
        self.torn.discard(self)
        self.fragments.discard(self)

    def discard_kept(self) -> None:
        """Drop everything still buffered; the link is gone."""
        self.discard_begun()
        super().discard_kept()

    def release_early(self, now: float) -> None:
        """Walk what the agent sent before it got HAPROXY-HELLO. Leave nothing for later: no agent sends so much then."""
        early = self.inlet.release()
        left = super().receive(early, now) if early else 0
        if left:
            self.torn.discard(self)
            self.break_off()
            self.judge_bytes(Anomaly.GARBLED_STREAM, early[-left:], "too many frames before HAPROXY-HELLO", Action.CLOSE)
            self.fail(now)
            self.discard(left)

    def _break(self, strange: bytes, more: bytes, detail: str, now: float) -> int:
        """Search the rest of a broken stream for ACKs, then end; return how many bytes of ``more`` come again.

        ``strange``: those before ``more`` that were taken already.
        """
        conv = self.conv
        self.break_off()
        action = self.judge_bytes(Anomaly.GARBLED_STREAM, strange + more, detail, None if self.link.awaited else Action.CLOSE)
        self.close_on(action, now)
        if action is Action.CLOSE:
            self.discard(len(strange) + len(more))
            return 0
        if self.link.state is LinkState.RUNNING:
            conv.ending.link_leaving(self.link, LinkLoss.ANOMALY, now)
        first = more[:TAKEN_AT_ONCE]
        return len(more) - len(first) + self.torn.search(self, strange + first, now)

    def _disconnect(self, frame: frames.Frame, now: float) -> None:
        """Handle AGENT-DISCONNECT; one whose payload is not a list may contain other frames."""
        if judge_disconnect(self, frame, now):
            return
        self.break_off()
        self.outlet.drop(frame.payload_at)
        self.inlet.consumed(frame.payload_at)
        self.inlet.rewind(len(frame.raw) - self.torn.search(self, frame.payload, now))  # the caller counts the whole frame

    def behind(self, buf: bytes, pos: int, end: int, now: float) -> int:
        """Handle bytes of a torn stream; after the end of a link, discard them."""
        if not self.torn.open or not self.link.awaited:
            self.torn.discard(self)
            self.discard(end - pos)
            return end - pos
        used, strange = self.torn.take(self, buf, pos, end, now)
        if strange is None:
            return used
        return end - pos - self._break(strange, buf[pos + used : end], "no piece of any frame", now)

    def truncated(self, detail: str) -> None:
        """Discard frames that will not be completed."""
        self.torn.discard(self)
        super().truncated(detail)
