"""What HAProxy, or any other client, sends, on its way to the agent."""

from spoe_guard.core.conversation.agent_link import AgentLink
from spoe_guard.core.conversation.conversation import Conversation
from spoe_guard.core.conversation.ending import Tell
from spoe_guard.core.conversation.notifies import no_effect_ack
from spoe_guard.core.conversation.parking import Parked
from spoe_guard.core.incoming.haproxy.first_bytes import is_noise, judge_offer
from spoe_guard.core.incoming.haproxy.notify import judge_notify
from spoe_guard.core.incoming.walker import Walker
from spoe_guard.core.lane import walk_notifies
from spoe_guard.core.payloads import disconnect as disconnects
from spoe_guard.core.payloads import hello
from spoe_guard.core.payloads.family import Family, Newcomer
from spoe_guard.core.terms.anomalies import Action, Anomaly, Side
from spoe_guard.core.terms.events import AuthoredReason, DisconnectSeen, EndedBy, EndReason, UnansweredReason
from spoe_guard.core.terms.states import BEFORE_HELLO, ENDING, LinkState, SessionState, fault_of_haproxy
from spoe_guard.wire import frame as frames
from spoe_guard.wire import walk


class FromHAProxy(Walker):
    """Walks HAProxy's bytes."""

    def __init__(self, conversation: Conversation, *, fast: bool) -> None:
        super().__init__(conversation, Side.HAPROXY, conversation.notifies.link.outlet, fast=False)
        self._fast_then = fast  # once HAProxy's family is known
        self._newcomer = Newcomer(Family.UNKNOWN)
        self._got_disconnect = False
        self._to = conversation.notifies.link  # the agent that has the NOTIFY which HAProxy sent again
        self._fragments_to: AgentLink | None = conversation.notifies.link

    def limit(self) -> int:
        """The size HAProxy announced itself; the smaller size of the agent is for NOTIFYs alone."""
        conv = self.conv
        if conv.progress.state is SessionState.HAPROXY_HELLO:
            return hello.MAX_HELLO
        size = hello.MAX_HELLO if conv.progress.offer is None else conv.progress.offer.haproxy_size
        return min(size, conv.config.held_bytes - frames.LENGTH_BYTES)

    def scan(self, buf: bytes, pos: int, end: int, now: float) -> int:
        """Pass ordinary NOTIFYs."""
        conv, link = self.conv, self.conv.notifies.link
        if conv.notifies.parking.bytes:  # those go first
            return pos
        most = conv.notifies.most_unjudged
        if link.state is not LinkState.RUNNING or link.limited or len(conv.links.by_number) > 1:
            other = conv.notifies.ready()
            if other is None:
                return pos
            link, most = other, conv.notifies.room(other, most)
            if len(conv.links.by_number) > 1:
                if conv.notifies.holder(_first_ids(buf, pos, end)) not in (None, link):
                    return pos  # another agent has this NOTIFY
                most = min(most, len(link.ledger) + 1)
        self.outlet = link.outlet
        stop = walk_notifies(link.ledger, conv.tally, buf, pos, end, most, now)
        if stop > pos:
            conv.notifies.prefer(link)
        return stop

    def stopped(self) -> bool:
        """Whether the stream is broken, or HAProxy's connection is closed."""
        return self.broken or self.conv.to_haproxy.done

    def author(self, data: bytes, reason: AuthoredReason) -> None:
        """Write a whole frame to the agent."""
        self._to.author(data, reason)

    def behind(self, rest: bytes, now: float) -> None:  # noqa: ARG002  a walker's signature
        """Discard the bytes; report them if they follow HAPROXY-DISCONNECT."""
        told = any(not link.done for link in self.conv.links.by_number.values())
        if self._got_disconnect and self.conv.progress.state is SessionState.CLOSING and told:
            self.judge_bytes(Anomaly.FRAME_AFTER_DISCONNECT, rest, "")
        self.discard(len(rest))

    def receive(self, data: bytes, now: float) -> int:
        """Take bytes as received; return how many are left."""
        self.conv.tally.bytes_to_agent += len(data)
        left = super().receive(data, now)
        self.conv.tally.bytes_to_agent -= left
        return left

    def one(self, buf: bytes, pos: int, end: int, now: float) -> int:
        """Judge the very first bytes before anything else."""
        if self.conv.progress.state is SessionState.HAPROXY_HELLO:
            if is_noise(self, buf, pos, end, now):
                return end - pos
            if end - pos <= frames.LENGTH_BYTES:
                self.inlet.keep(buf[pos:end], end - pos + 1, now)  # the next byte may tell
                return 0
        return super().one(buf, pos, end, now)

    def whole(self, frame: frames.Frame, now: float) -> None:
        """Handle a whole frame."""
        anomaly = fault_of_haproxy(self.conv.progress.state, frame.type)
        if frame.type == frames.NOTIFY and not self._newcomer.decided and anomaly is None:
            self._newcomer.notified(frame.stream_id, frame.frame_id)
            self._note_family()
        if anomaly is not None:
            self.misplaced(anomaly, frame, now)
        elif frame.type == frames.HAPROXY_HELLO:
            offer = judge_offer(self, frame, now)
            if offer is not None:
                self.meet(offer.family)
        elif frame.type == frames.HAPROXY_DISCONNECT:
            self._disconnect(frame, now)
        elif self.conv.progress.state is not SessionState.RUNNING:
            self._too_late(frame, now)
        elif frame.type == frames.NOTIFY and frame.fin:
            self._notify(frame, now)
        else:
            self._fragment(frame, now)

    def too_long(self, buf: bytes, pos: int, end: int, length: int, now: float) -> int:
        """Skip a frame with a credible header; otherwise the stream is broken, and the agent gets none of it."""
        kind = buf[pos + frames.LENGTH_BYTES] if length <= self.conv.config.held_bytes else -1
        if kind not in frames.HAPROXY_TYPES or self.conv.progress.state in BEFORE_HELLO:
            self.break_off()
            self.close_on(self.judge_bytes(Anomaly.GARBLED_STREAM, buf[pos:end], f"length {length}"), now)
            self.discard(end - pos)
            return end - pos
        ids_end = walk.ids_end(buf, pos + frames.IDS_AT, end)
        used = self.skip_over(Anomaly.OVERSIZE_FRAME, buf, pos, end, length, now)
        if kind == frames.NOTIFY and ids_end > 0 and self.conv.progress.state not in ENDING:
            self._not_passed(buf[pos + frames.IDS_AT : ids_end], now, UnansweredReason.NOTIFY_DROPPED)
        return used

    def ended(self, now: float, *, reset: bool) -> None:
        """HAProxy will send no more. A reset, or a FIN without DISCONNECT, is ordinary (F5)."""
        conv = self.conv
        if reset:
            conv.to_haproxy.drop_queue()
        if conv.to_haproxy.done:
            return
        if self.inlet.inside_frame and not reset and conv.progress.state not in ENDING:
            self.truncated("HAProxy closed inside a frame")
        conv.to_haproxy.close()
        conv.ending.finish(now, EndedBy.HAPROXY, EndReason.RESET if reset else EndReason.CLOSED)

    def meet(self, family: Family) -> None:
        """Note what HELLO tells about the HAProxy version."""
        self._newcomer = Newcomer(family)
        self._note_family()

    def _note_family(self) -> None:
        """Use the fast path once HAProxy's family is known."""
        if self._newcomer.decided:
            self.conv.to_haproxy.recognise(self._newcomer.family)
            self.fast = self._fast_then

    def _disconnect(self, frame: frames.Frame, now: float) -> None:
        """Handle HAPROXY-DISCONNECT: answer at once, whatever the agent does, and pass it on."""
        conv = self.conv
        disconnect = disconnects.Disconnect(frame)
        self._got_disconnect = True
        conv.report.add(DisconnectSeen(self.side, disconnect.status, disconnect.message))
        if conv.progress.state in ENDING:
            self.outlet.drop(len(frame.raw))
            conv.to_haproxy.close()
            return
        status = disconnects.clamp(disconnect.status)
        conv.notifies.abandon(now, UnansweredReason.HAPROXY_GONE)
        # The frame itself goes to the oldest link; the others get a DISCONNECT that the guard writes.
        links = conv.links.by_number.values()
        link = next((link for link in links if link.state in (LinkState.RUNNING, LinkState.LEAVING)), conv.notifies.link)
        outlet = link.outlet
        if not link.has_hello:
            outlet.drop(len(frame.raw))
        elif disconnect.passable and disconnect.plain:
            outlet.forward(frame.raw)
            outlet.seal()
        else:
            self.judge(
                Anomaly.DISCONNECT_MALFORMED, frame, "" if disconnect.plain else "it has keys that SPOE.txt 3.2.8 does not"
            )
            outlet.drop(len(frame.raw))
            link.author(disconnects.encode(frames.HAPROXY_DISCONNECT, status, disconnect.message), AuthoredReason.REPAIRED)
            outlet.seal()
        conv.ending.finish(now, EndedBy.HAPROXY, EndReason.DISCONNECT, status=status, tell=Tell.ANSWER)

    def _notify(self, frame: frames.Frame, now: float) -> None:
        conv = self.conv
        raw = frame.raw
        verdict = judge_notify(self, frame)
        self.close_on(verdict, now)
        if verdict is Action.PASS or verdict is Action.REPAIR:
            self._hand_over(frame, raw if verdict is Action.PASS else frames.with_flags(raw, frames.FLAG_FIN), now)
            return
        self.outlet.drop(len(raw))
        if verdict is Action.ANSWER and not conv.notifies.waited_for(frame.ids):
            conv.to_haproxy.author(no_effect_ack(frame.ids), AuthoredReason.ANSWERED)
        elif verdict is Action.DROP:
            self._not_passed(frame.ids, now, UnansweredReason.NOTIFY_DROPPED)

    def _too_late(self, frame: frames.Frame, now: float) -> None:
        """Drop a NOTIFY, or part of one, that came too late; after AGENT-DISCONNECT the two frames merely crossed."""
        self.pass_on(frame, None)
        if frame.type == frames.NOTIFY and self.conv.progress.state not in ENDING:
            self._not_passed(frame.ids, now, UnansweredReason.AGENT_GONE)

    def _not_passed(self, ids: bytes, now: float, reason: UnansweredReason) -> None:
        """Count a dropped NOTIFY as unanswered; if one with its ids is open, that one's ACK answers both."""
        if not self.conv.notifies.waited_for(ids):
            self.conv.notifies.give_up(ids, now, reason)

    def _hand_over(self, frame: frames.Frame, raw: bytes, now: float) -> None:
        """Send a NOTIFY to the agent that has one with its ids, otherwise to a ready link, otherwise park it."""
        conv = self.conv
        holder = conv.notifies.holder(frame.ids)
        if holder is not None:
            self.outlet, self._to = holder.outlet, holder
            self.pass_on(frame, raw)
            return
        if frame.ids in conv.notifies.parking:
            self.pass_on(frame, None)
            return
        if conv.notifies.one_at_a_time:
            conv.notifies.supersede(now)
        link = conv.notifies.ready()
        if raw is not frame.raw:
            self.outlet.drop(len(frame.raw))
        waits = Parked(frame.ids, raw, now, ours=raw is not frame.raw)
        if link is None or conv.notifies.parking.bytes:
            conv.notifies.park(waits, now)
            return
        conv.notifies.make_room(now)
        conv.notifies.prefer(link)
        conv.notifies.send(link, waits)

    def _fragment(self, frame: frames.Frame, now: float) -> None:
        """Handle a NOTIFY without FIN, or an UNSET that continues one: one agent gets all of it, or none does."""
        conv = self.conv
        first = frame.type == frames.NOTIFY
        if first:
            self._fragments_to = conv.notifies.ready()
        link = self._fragments_to
        if link is None or link.state is not LinkState.RUNNING:  # they cannot wait: only a whole NOTIFY can be parked
            self.pass_on(frame, None)
            if first:
                self._not_passed(frame.ids, now, UnansweredReason.AGENT_GONE)
            return
        self.outlet = link.outlet
        if link.fragments and len(frame.raw) - frames.LENGTH_BYTES <= link.size:
            if first and not conv.notifies.waited_for(frame.ids):
                conv.notifies.open_fragmented(link, frame.ids, now)
            elif frame.flags & frames.FLAG_ABRT and conv.notifies.holder(frame.ids):
                conv.notifies.give_up(frame.ids, now, UnansweredReason.HAPROXY_GONE)
            self.outlet.forward(frame.raw)
            return
        self.outlet.drop(len(frame.raw))
        action = self.judge(Anomaly.NOTIFY_OVERSIZE if link.fragments else Anomaly.FRAGMENT_REFUSED, frame)
        self.close_on(action, now)
        if first and action is Action.DROP:
            self._not_passed(frame.ids, now, UnansweredReason.NOTIFY_DROPPED)


def _first_ids(buf: bytes, pos: int, end: int) -> bytes:
    """Return the ids of the frame at ``pos``, empty if they cannot be read."""
    after = walk.ids_end(buf, pos + frames.IDS_AT, end)
    return buf[pos + frames.IDS_AT : after] if after > 0 else b""
