"""What HAProxy, or whoever connected, sends: judged frame by frame on its way to the agent."""

import math
from typing import Final

from spoe_guard.core import goodbye, hello
from spoe_guard.core.anomalies import Action, Anomaly, Side
from spoe_guard.core.conversation import ENDING, Conversation, LastWord, no_effect_ack
from spoe_guard.core.events import AuthoredReason, DisconnectSeen, EndedBy, EndReason, UnansweredReason
from spoe_guard.core.inlet import Inlet, bytes_needed
from spoe_guard.core.scanner import scan_notifies
from spoe_guard.core.states import State, step
from spoe_guard.core.tally import UNKNOWN_TYPE
from spoe_guard.wire import frame, messages, varint

_SIDE: Final = Side.HAPROXY


class FromHAProxy:
    """Walks HAProxy's bytes. ``fast`` False leaves every frame to the readable path (tests compare the two)."""

    def __init__(self, conversation: Conversation, *, fast: bool) -> None:
        self.conv = conversation
        self.inlet = Inlet()
        self._fast = fast

    def receive(self, data: bytes, now: float) -> None:
        """Take bytes as they came off the wire."""
        conv = self.conv
        conv.tally.bytes_to_agent += len(data)
        buf = self.inlet.take(data)
        pos, end = 0, len(buf)
        if pos < end and self.inlet.inside_frame:
            pos = self.inlet.skipped(end)
            conv.to_agent.drop(pos)
        while pos < end:
            if conv.haproxy_done:
                self._discard(end - pos)
                return
            if self._fast and conv.state is State.RUNNING and not conv.draining:
                stop = scan_notifies(buf, pos, end, conv.agent_size, conv.config.open_notifies, conv.ledger, conv.tally, now)
                if stop > pos:
                    conv.to_agent.forward(buf if stop - pos == end else buf[pos:stop])
                    self.inlet.consumed(stop - pos)
                    pos = stop
                    continue
            used = self._next(buf, pos, end, now)
            if not used:
                return
            pos += used

    def ended(self, now: float, *, reset: bool) -> None:
        """HAProxy will send no more. A reset, or a FIN without DISCONNECT, is ordinary (F5)."""
        conv = self.conv
        if conv.haproxy_done:
            return
        if self.inlet.inside_frame and not reset and conv.state not in ENDING:
            self.truncated("HAProxy closed inside a frame")
        if conv.state in ENDING:
            conv.close_haproxy()
            conv.conclude()
            return
        conv.close_haproxy()
        conv.finish(now, EndedBy.HAPROXY, EndReason.RESET if reset else EndReason.CLOSED)

    def truncated(self, detail: str) -> None:
        """Discard a frame that will not be completed."""
        part = self.inlet.release()
        self.conv.judge(_SIDE, Anomaly.TRUNCATED_FRAME, part, self.inlet.offset, detail=detail)
        self._discard(len(part))

    # --- one frame -----------------------------------------------------------------------------------------------

    def _next(self, buf: bytes, pos: int, end: int, now: float) -> int:
        """Deal with what stands at ``pos``; return the bytes used, 0 when more are needed."""
        conv = self.conv
        if conv.state is State.HAPROXY_HELLO and self._is_noise(buf, pos, end, now):
            return end - pos
        limit = self._limit()
        need = bytes_needed(buf, pos, end, limit, conv.config.held_bytes)
        if end - pos < need:
            self.inlet.keep(buf[pos:end], need, now)
            return 0
        length = frame.length_at(buf, pos)
        if length < frame.MIN_LENGTH or length > limit:
            return self._unfit(buf, pos, end, length, now)
        raw = buf[pos : pos + need]
        said = frame.parse(raw)
        if said is None:
            first = conv.state is State.HAPROXY_HELLO
            anomaly = Anomaly.HELLO_MALFORMED if first else Anomaly.BAD_VARINT
            if conv.judge(_SIDE, anomaly, raw, self.inlet.offset, detail="its ids do not parse") is Action.CLOSE:
                self._fail(now)
            self._discard(need)
            return need
        self._whole(said, now)
        self.inlet.consumed(need)
        return need

    def _limit(self) -> int:
        """Most bytes behind the length prefix. HAProxy's own size counts here; the agent's is for NOTIFYs."""
        offer = self.conv.offer
        return hello.MAX_HELLO if offer is None else min(offer.haproxy_size, self.conv.config.held_bytes - frame.LENGTH_BYTES)

    def _is_noise(self, buf: bytes, pos: int, end: int, now: float) -> bool:
        """Whether the first bytes cannot be a HAPROXY-HELLO; told from as few of them as possible (promise A1)."""
        head = buf[pos : min(end, pos + frame.LENGTH_BYTES + 1)]
        padded = int.from_bytes(head[:4].ljust(4, b"\0"), "big")
        whole_prefix = len(head) >= frame.LENGTH_BYTES
        if padded > hello.MAX_HELLO or (whole_prefix and padded < frame.MIN_LENGTH):
            anomaly = Anomaly.NOT_SPOP
        elif len(head) <= frame.LENGTH_BYTES or head[4] == frame.HAPROXY_HELLO:
            return False
        else:
            early = head[4] in (frame.NOTIFY, frame.HAPROXY_DISCONNECT)
            anomaly = Anomaly.FRAME_BEFORE_HELLO if early else Anomaly.NOT_SPOP
        self.conv.judge(_SIDE, anomaly, buf[pos:end], self.inlet.offset, detail=_guess(head))
        self._discard(end - pos)
        self.conv.finish(now, EndedBy.GUARD, EndReason.ANOMALY, word=LastWord.CLOSE)
        return True

    def _unfit(self, buf: bytes, pos: int, end: int, length: int, now: float) -> int:
        """Deal with a frame too short or too long, skipping it where it can be skipped."""
        conv = self.conv
        raw = buf[pos:end]
        if length < frame.MIN_LENGTH:
            action = conv.judge(_SIDE, Anomaly.RUNT_FRAME, raw, self.inlet.offset, detail=f"length {length}")
        elif length <= conv.config.held_bytes and buf[pos + 4] in frame.HAPROXY_TYPES:
            detail = f"length {length}, negotiated {self._limit()}"
            action = conv.judge(_SIDE, Anomaly.OVERSIZE_FRAME, raw, self.inlet.offset, detail=detail)
            self._give_up_in(buf, pos, end)
        else:
            conv.judge(_SIDE, Anomaly.GARBLED_STREAM, raw, self.inlet.offset, detail=f"length {length}")
            self._discard(end - pos)
            self._fail(now)
            return end - pos
        if action is Action.CLOSE:
            self._fail(now)
        return self._skip(frame.LENGTH_BYTES + length, end - pos, now)

    def _skip(self, whole: int, available: int, now: float) -> int:
        used = min(whole, available)
        self._discard(used)
        self.inlet.skip(whole - used, now)
        return used

    def _give_up_in(self, buf: bytes, pos: int, end: int) -> None:
        """Count a NOTIFY that is skipped as unanswered; its header is there."""
        if buf[pos + 4] == frame.NOTIFY:
            ids_end = frame.ids_end(buf, pos + frame.IDS_AT, end)
            if ids_end > 0:
                self.conv.give_up(buf[pos + frame.IDS_AT : ids_end], UnansweredReason.NOTIFY_DROPPED)

    def _discard(self, count: int) -> None:
        self.conv.to_agent.drop(count)
        self.inlet.consumed(count)

    def _fail(self, now: float) -> None:
        """End the session over something HAProxy sent."""
        self.conv.finish(now, EndedBy.GUARD, EndReason.ANOMALY, status=goodbye.STATUS_INVALID)

    def _judge(self, anomaly: Anomaly, said: frame.Frame, now: float, detail: str = "") -> Action:
        """Report; end the session if that is the action. ``PASS`` and ``REPAIR`` are left to the caller."""
        action = self.conv.judge(_SIDE, anomaly, said.raw, self.inlet.offset, parsed=said, detail=detail)
        if action is Action.CLOSE:
            self._fail(now)
        return action

    def _whole(self, said: frame.Frame, now: float) -> None:
        conv = self.conv
        counted = said.type if said.type in frame.TYPE_NAMES else UNKNOWN_TYPE
        conv.tally.frames_to_agent[counted] += 1
        _, anomaly = step(conv.state, _SIDE, said.type)
        if anomaly is not None:
            if self._judge(anomaly, said, now) is Action.PASS and not conv.agent_done:
                conv.to_agent.forward(said.raw)
            else:
                conv.to_agent.drop(len(said.raw))
        elif said.type == frame.HAPROXY_HELLO:
            self._hello(said, now)
        elif said.type == frame.HAPROXY_DISCONNECT:
            self._disconnect(said, now)
        elif said.type == frame.NOTIFY and said.fin:
            self._notify(said, now)
        else:
            self._fragment(said, now)

    def _hello(self, said: frame.Frame, now: float) -> None:
        conv = self.conv
        offer = hello.read_offer(said, conv.config)
        if isinstance(offer, hello.Fault):
            conv.to_agent.drop(len(said.raw))
            conv.judge(_SIDE, offer.anomaly, said.raw, self.inlet.offset, parsed=said, detail=offer.detail)
            version = offer.anomaly is Anomaly.HELLO_VERSION
            status = goodbye.STATUS_BAD_VERSION if version else goodbye.STATUS_INVALID
            conv.finish(now, EndedBy.GUARD, EndReason.ANOMALY, status=status)
            return
        conv.offer = offer
        conv.state = State.DIALLING
        conv.hello_by = math.inf
        conv.connect_by = now + conv.config.connect_s
        conv.agent_done = False
        conv.out.dial = True
        conv.hello_raw = said.raw

    def _disconnect(self, said: frame.Frame, now: float) -> None:
        """HAProxy's last word: answered at once, whatever the agent does, and passed on."""
        conv = self.conv
        word = goodbye.Goodbye(said)
        conv.events.append(DisconnectSeen(_SIDE, word.status, word.message))
        if conv.state in ENDING:
            conv.to_agent.drop(len(said.raw))
            conv.close_haproxy()
            conv.conclude()
            return
        status = goodbye.clamp(word.status)
        conv.abandon(UnansweredReason.HAPROXY_GONE)
        if not conv.hello_given:
            conv.to_agent.drop(len(said.raw))
        elif word.fit and said.flags == frame.FLAG_FIN and not said.stream_id and not said.frame_id:
            conv.to_agent.forward(said.raw)
            conv.to_agent.seal()
        else:
            self._judge(Anomaly.DISCONNECT_MALFORMED, said, now)
            conv.to_agent.drop(len(said.raw))
            conv.tell_agent(goodbye.encode(frame.HAPROXY_DISCONNECT, status, word.message), AuthoredReason.REPAIRED)
            conv.to_agent.seal()
        conv.finish(now, EndedBy.HAPROXY, EndReason.DISCONNECT, status=status, word=LastWord.ANSWER)

    def _notify(self, said: frame.Frame, now: float) -> None:
        conv = self.conv
        raw = said.raw
        if conv.state is not State.RUNNING or conv.draining:
            if conv.state not in ENDING:  # behind the last word a NOTIFY merely crosses it
                conv.give_up(said.ids, UnansweredReason.AGENT_GONE)
            conv.to_agent.drop(len(raw))
            return
        verdict = self._notify_verdict(said, now)
        if verdict is Action.PASS or verdict is Action.REPAIR:
            self._open(said.ids, now)
            if verdict is Action.PASS:
                conv.to_agent.forward(raw)
            else:
                conv.to_agent.drop(len(raw))
                conv.tell_agent(frame.with_flags(raw, frame.FLAG_FIN), AuthoredReason.REPAIRED)
            return
        conv.to_agent.drop(len(raw))
        if verdict is Action.ANSWER:
            conv.tell_haproxy(no_effect_ack(said.ids), AuthoredReason.ANSWERED)
        elif verdict is Action.DROP and said.ids not in conv.ledger.open:
            conv.give_up(said.ids, UnansweredReason.NOTIFY_DROPPED)

    def _notify_verdict(self, said: frame.Frame, now: float) -> Action:
        """Return what becomes of a self-contained NOTIFY: the first thing found that keeps it from passing decides."""
        conv = self.conv
        length = len(said.raw) - frame.LENGTH_BYTES
        if length > conv.agent_size:
            return self._judge(Anomaly.NOTIFY_OVERSIZE, said, now, f"length {length}, the agent takes {conv.agent_size}")
        fault = messages.check(said.raw, said.payload_at, len(said.raw))
        verdict = Action.PASS
        if fault in (varint.BAD, varint.INCOMPLETE):
            return self._judge(Anomaly.BAD_VARINT, said, now, "in its payload")
        if fault != messages.OK:
            verdict = self._judge(Anomaly.NOTIFY_MALFORMED, said, now)
        elif said.payload_at == len(said.raw):
            verdict = self._judge(Anomaly.NOTIFY_EMPTY, said, now)
        if verdict is Action.PASS and said.ids in conv.ledger.open:
            verdict = self._judge(Anomaly.NOTIFY_DUPLICATE, said, now)
        if verdict is Action.PASS and said.flags != frame.FLAG_FIN:
            verdict = self._judge(Anomaly.RESERVED_FLAGS, said, now, f"flags {said.flags:#010x}")
        return verdict

    def _open(self, ids: bytes, now: float) -> None:
        conv = self.conv
        if ids in conv.ledger.open:
            return
        if len(conv.ledger.open) >= conv.config.open_notifies:
            conv.give_up(conv.ledger.oldest(), UnansweredReason.LIMIT)
        conv.ledger.open[ids] = now
        conv.tally.open_notifies += 1

    def _fragment(self, said: frame.Frame, now: float) -> None:
        """A NOTIFY without FIN, or an UNSET that continues one."""
        conv = self.conv
        first = said.type == frame.NOTIFY
        fits = len(said.raw) - frame.LENGTH_BYTES <= conv.agent_size
        if conv.state is State.RUNNING and not conv.draining and conv.fragments and fits:
            if first:
                self._open(said.ids, now)
            elif said.flags & frame.FLAG_ABRT and said.ids in conv.ledger.open:
                conv.give_up(said.ids, UnansweredReason.HAPROXY_GONE)
            conv.to_agent.forward(said.raw)
            return
        conv.to_agent.drop(len(said.raw))
        if conv.state in ENDING:
            return
        action = self._judge(Anomaly.FRAGMENT_REFUSED, said, now)
        if first and action is Action.DROP:
            conv.give_up(said.ids, UnansweredReason.NOTIFY_DROPPED)


def _guess(head: bytes) -> str:
    """Say what the first bytes look like."""
    if head[:1] == b"\x16" or head[:2] == b"\x80\x80":
        return "looks like TLS"
    if head[:1].isalpha() and head.isascii():
        return "looks like HTTP or text"
    return "no HAPROXY-HELLO"
