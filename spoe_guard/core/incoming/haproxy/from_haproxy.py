"""What HAProxy, or any other client, sends, on its way to the agent."""

from typing import Final

from spoe_guard.core.conversation.agent_link import AgentLink
from spoe_guard.core.conversation.conversation import Conversation
from spoe_guard.core.conversation.ending import Tell
from spoe_guard.core.conversation.notifies import no_effect_ack
from spoe_guard.core.conversation.parking import Parked
from spoe_guard.core.incoming.haproxy.first_bytes import is_noise, judge_offer, turn_away
from spoe_guard.core.incoming.haproxy.fragments import Fragments
from spoe_guard.core.incoming.haproxy.notify import judge_notify
from spoe_guard.core.incoming.walker import Walker
from spoe_guard.core.lane import walk_notifies
from spoe_guard.core.payloads import disconnect as disconnects
from spoe_guard.core.payloads import hello, proxy_header
from spoe_guard.core.payloads.family import Newcomer
from spoe_guard.core.terms.anomalies import Action, Anomaly, Side
from spoe_guard.core.terms.events import (
    AuthoredReason,
    DisconnectSeen,
    EndedBy,
    EndReason,
    HaproxyKnown,
    OneAtATime,
    UnansweredReason,
)
from spoe_guard.core.terms.family import Family
from spoe_guard.core.terms.states import BEFORE_HELLO, ENDING, LinkState, SessionState, fault_of_haproxy
from spoe_guard.wire import frame as frames
from spoe_guard.wire import walk

# What HAProxy up to 3.0 says before it connects again at once, with the same NOTIFY in hand.
_CURES: Final = {
    disconnects.STATUS_NO_FRAGMENTS: "it may send no fragments, `no option send-frag-payload` helps; or an ACK had no FIN",
    disconnects.STATUS_TOO_BIG: "a frame was longer than the max-frame-size of AGENT-HELLO, or than its tune.bufsize",
}


class FromHAProxy(Walker):
    """Walks HAProxy's bytes."""

    def __init__(self, conversation: Conversation, *, fast: bool) -> None:
        super().__init__(conversation, Side.HAPROXY, conversation.notifies.link.outlet, fast=False)
        self._fast_then = fast  # once HAProxy's family is known
        self._newcomer = Newcomer(Family.UNKNOWN)
        self._got_disconnect = False
        self._to = conversation.notifies.link  # the agent that has the NOTIFY which HAProxy sent again
        self.fragments = Fragments(conversation)

    @property
    def held(self) -> int:
        """Bytes buffered here."""
        return self.inlet.held + self.fragments.held

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
        if conv.notifies.parking.bytes or conv.notifies.unfinished:  # those go first
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
        """Whether the stream is broken, HAProxy's connection is closed, or its DISCONNECT will be answered."""
        answered_later = self._got_disconnect and self.conv.progress.state is SessionState.REFUSING
        return self.broken or self.conv.to_haproxy.done or answered_later

    def unwanted(self) -> bool:
        """Whether the session is ending."""
        return self.conv.progress.state in ENDING

    def author(self, data: bytes, reason: AuthoredReason) -> None:
        """Write a whole frame to the agent."""
        self._to.author(data, reason)

    def behind(self, buf: bytes, pos: int, end: int, now: float) -> int:
        """Discard the bytes; report them if they follow HAPROXY-DISCONNECT. Who is no HAProxy may tell more about itself."""
        rest = buf[pos:end]
        told = not self.broken and any(not link.done for link in self.conv.links.by_number.values())
        if self._got_disconnect and self.conv.progress.state in (SessionState.CLOSING, SessionState.REFUSING) and told:
            self.judge_bytes(Anomaly.FRAME_AFTER_DISCONNECT, rest, "")
        self.discard(len(rest))
        self.conv.ending.heard_stranger(rest, now)
        return len(rest)

    def receive(self, data: bytes, now: float) -> int:
        """Take bytes as received; return how many are left."""
        self.conv.tally.bytes_to_agent += len(data)
        left = super().receive(data, now)
        self.conv.tally.bytes_to_agent -= left
        return left

    def one(self, buf: bytes, pos: int, end: int, now: float) -> int:
        """Judge the very first bytes before anything else; end a leaving session behind the frame that leaves nothing open."""
        if self.conv.progress.state is SessionState.HAPROXY_HELLO:
            torn = proxy_header.may_become(buf[pos:end])
            if not torn and is_noise(self, buf, pos, end, now):
                return end - pos
            if torn or end - pos <= frames.LENGTH_BYTES:
                self.inlet.keep(buf[pos:end], end - pos + 1, now)  # the next byte may tell
                return 0
        used = super().one(buf, pos, end, now)
        if self.conv.progress.state is SessionState.LEAVING:
            self.conv.ending.end_if_answered(now)  # the rest of the same write comes after the end, as the next one would
        return used

    def whole(self, frame: frames.Frame, now: float) -> None:
        """Handle a whole frame."""
        anomaly = fault_of_haproxy(self.conv.progress.state, frame.type)
        if frame.type == frames.NOTIFY and not self._newcomer.decided and anomaly is None:
            self._newcomer.notified(frame.stream_id, frame.frame_id)
            self._note_family()
        if anomaly is not None:
            self.unasked(anomaly, frame, now)
        elif frame.type == frames.HAPROXY_HELLO:
            offer = judge_offer(self, frame, now)
            if offer is not None:
                self.conv.route.met()
                self.meet(offer, offer.family)
                if self.conv.to_haproxy.blind:
                    self.conv.to_haproxy.asks_one_at_a_time()
                    if offer.do_not_pipeline():
                        self.conv.report.add(OneAtATime())
        elif frame.type == frames.HAPROXY_DISCONNECT:
            self._disconnect(frame, now)
        elif self.conv.progress.state is not SessionState.RUNNING:
            self._too_late(frame, now)
        elif frame.type == frames.NOTIFY and frame.fin:
            self._notify(frame, now, now)
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

    def turn_away(self, first: bytes, detail: str, now: float) -> None:
        """``first`` came in place of a PROXY header, or is one that cannot be used; ``detail`` says why."""
        self.conv.tally.bytes_to_agent += len(first)
        if self.conv.progress.state is SessionState.HAPROXY_HELLO:
            turn_away(self, Anomaly.NOT_SPOP, first, now, detail)
        else:  # it is over already
            self.discard(len(first))

    def meet(self, offer: hello.Offer, family: Family, *, resumed: bool = False) -> None:
        """Note what HELLO tells about the HAProxy version, and its buffer. ``resumed``: the guard before got that HELLO."""
        self._newcomer = Newcomer(family)
        self.conv.to_haproxy.met(offer.haproxy_size + frames.LENGTH_BYTES, resumed=resumed)
        self._note_family()

    def _note_family(self) -> None:
        """Use the fast path once HAProxy's family is known, or no more can be learned of it."""
        if self._newcomer.decided:
            self.conv.to_haproxy.recognise(self._newcomer.family)
            if self._newcomer.family is not Family.UNKNOWN:
                self.conv.report.add(HaproxyKnown(self._newcomer.family))
            self.fast = self._fast_then

    def _disconnect(self, frame: frames.Frame, now: float) -> None:
        """Handle HAPROXY-DISCONNECT: answer at once, whatever the agent does, and pass it on."""
        conv = self.conv
        disconnect = disconnects.Disconnect(frame)
        self._got_disconnect = True
        conv.report.add(DisconnectSeen(self.side, disconnect.status, disconnect.message, conv.notifies.waiting))
        if conv.progress.state in ENDING:
            self.outlet.drop(len(frame.raw))
            conv.to_haproxy.close()
            return
        status = disconnects.clamp(disconnect.status)
        refused = disconnect.status in _CURES
        if refused:
            self.judge(Anomaly.HAPROXY_REFUSED, frame, f"status {status}: {_CURES[status]}")
        conv.notifies.abandon(now, UnansweredReason.HAPROXY_GONE)
        # The frame itself goes to the oldest link; the others get a DISCONNECT that the guard writes.
        links = conv.links.by_number.values()
        link = next((link for link in links if link.awaited), conv.notifies.link)
        outlet = link.outlet
        if not link.has_hello:
            outlet.drop(len(frame.raw))
        elif disconnect.passable and disconnect.plain:
            outlet.forward(frame.raw)
            outlet.seal()
        else:
            self.judge(Anomaly.DISCONNECT_MALFORMED, frame, disconnect.oddity)
            outlet.drop(len(frame.raw))
            link.author(disconnects.encode(frames.HAPROXY_DISCONNECT, status, disconnect.message), AuthoredReason.REPAIRED)
            outlet.seal()
        if refused and self._storms:
            conv.ending.answer_later(now, status)
        else:
            conv.ending.finish(now, EndedBy.HAPROXY, EndReason.DISCONNECT, status=status, tell=Tell.ANSWER)

    @property
    def _storms(self) -> bool:
        """Whether HAProxy may connect again at once if its DISCONNECT is answered at once; in observe mode it is in any case."""
        conv = self.conv
        running = conv.progress.state is SessionState.RUNNING and not conv.ending.draining
        return running and conv.to_haproxy.family is not Family.MUX and not conv.config.observe

    def _notify(self, frame: frames.Frame, now: float, since: float, *, ours: bool = False) -> None:
        """Handle a whole NOTIFY that HAProxy sent at ``since``. ``ours``: its bytes were already counted, as fragments."""
        conv = self.conv
        verdict = judge_notify(self, frame)
        self.close_on(verdict, now)
        if verdict is Action.PASS:
            self._hand_over(Parked(frame.ids, frame.raw, since, ours=ours), now)
            return
        if not ours:
            self.outlet.drop(len(frame.raw))
        if verdict is Action.REPAIR:
            self._hand_over(Parked(frame.ids, frames.with_flags(frame.raw, frames.FLAG_FIN), since, ours=True), now)
        elif verdict is Action.ANSWER and not conv.notifies.waited_for(frame.ids):
            conv.to_haproxy.author(no_effect_ack(frame.ids), AuthoredReason.ANSWERED)
        elif verdict is Action.DROP:
            self._not_passed(frame.ids, now, UnansweredReason.NOTIFY_DROPPED)

    def _fragment(self, frame: frames.Frame, now: float) -> None:
        """Handle a NOTIFY without FIN, or an UNSET that continues one."""
        complete = self.fragments.take(self, frame, now)
        if complete is not None:
            self._notify(complete.joined(), now, complete.began, ours=True)

    def _too_late(self, frame: frames.Frame, now: float) -> None:
        """Drop a NOTIFY, or part of one, that came too late; after AGENT-DISCONNECT the two frames merely crossed."""
        self.pass_on(frame, None)
        if self.conv.progress.state in ENDING:
            return
        if frame.type == frames.NOTIFY and frame.fin:
            self._not_passed(frame.ids, now, UnansweredReason.AGENT_GONE)
        else:
            self.fragments.too_late(self, frame, now)

    def _not_passed(self, ids: bytes, now: float, reason: UnansweredReason) -> None:
        """Count a dropped NOTIFY as unanswered; if one with its ids is open, that one's ACK answers both."""
        if not self.conv.notifies.waited_for(ids):
            self.conv.notifies.give_up(ids, now, reason)

    def _hand_over(self, notify: Parked, now: float) -> None:
        """Send a NOTIFY to the agent that has one with its ids, otherwise to a ready link, otherwise park it."""
        notifies = self.conv.notifies
        holder = notifies.holder(notify.ids)
        if holder is not None:
            self._send_again(holder, notify)
            return
        if notify.ids in notifies.parking:
            self.outlet.drop(notify.held)
            return
        if notifies.one_at_a_time:
            notifies.supersede(notify.since)  # in fragments it may have begun before those that came meanwhile
        link = notifies.ready()
        if link is None or notifies.parking.bytes:
            notifies.park(notify, now)
            return
        notifies.make_room(now)
        notifies.prefer(link)
        notifies.send(link, notify)

    def _send_again(self, holder: AgentLink, notify: Parked) -> None:
        """Send a NOTIFY to the agent that has one with its ids."""
        self.outlet, self._to = holder.outlet, holder
        if notify.ours:
            self.author(notify.raw, AuthoredReason.REPAIRED)
        else:
            self.outlet.forward(notify.raw)


def _first_ids(buf: bytes, pos: int, end: int) -> bytes:
    """Return the ids of the frame at ``pos``, empty if they cannot be read."""
    after = walk.ids_end(buf, pos + frames.IDS_AT, end)
    return buf[pos + frames.IDS_AT : after] if after > 0 else b""
