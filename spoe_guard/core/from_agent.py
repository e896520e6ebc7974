"""What the agent sends: judged frame by frame on its way to HAProxy."""

from typing import Final

from spoe_guard.core import goodbye
from spoe_guard.core.ack_repair import diagnose
from spoe_guard.core.anomalies import Action, Anomaly, Side
from spoe_guard.core.conversation import ENDING, Conversation, LastWord
from spoe_guard.core.events import (
    AgentReady,
    AgentUnreachable,
    AuthoredReason,
    DialFailure,
    DisconnectSeen,
    EndedBy,
    EndReason,
    UnansweredReason,
)
from spoe_guard.core.hello import AgentHello
from spoe_guard.core.inlet import Inlet, bytes_needed
from spoe_guard.core.ledger import Fate
from spoe_guard.core.salvage import Salvage
from spoe_guard.core.scanner import scan_acks
from spoe_guard.core.states import State, step
from spoe_guard.core.tally import UNKNOWN_TYPE
from spoe_guard.wire import actions, frame

_SIDE: Final = Side.AGENT
_UNWANTED: Final = {
    Fate.ANSWERED: Anomaly.DUPLICATE_ACK,
    Fate.GIVEN_UP: Anomaly.LATE_ACK,
    Fate.UNKNOWN: Anomaly.UNMATCHED_ACK,
}


class FromAgent:
    """Walks the agent's bytes. ``fast`` False leaves every frame to the readable path (tests compare the two)."""

    def __init__(self, conversation: Conversation, *, fast: bool) -> None:
        self.conv = conversation
        self.inlet = Inlet()
        self._fast = fast
        self._salvage: Salvage | None = None

    @property
    def held(self) -> int:
        """Bytes kept here."""
        return self.inlet.held + (self._salvage.held if self._salvage else 0)

    def receive(self, data: bytes, now: float) -> None:
        """Take bytes as they came off the wire."""
        conv = self.conv
        conv.tally.bytes_to_haproxy += len(data)
        if conv.state is State.HAPROXY_HELLO or conv.state is State.DIALLING:
            self._too_early(data, now)
            return
        buf = self.inlet.take(data)
        pos, end = 0, len(buf)
        if pos < end and self.inlet.inside_frame:
            pos = self.inlet.skipped(end)
            conv.to_haproxy.drop(pos)
        while pos < end:
            if self._salvage is not None or conv.refusing or conv.agent_done:
                self._search(buf[pos:end], now)
                return
            if self._fast and conv.state is State.RUNNING:
                stop = scan_acks(buf, pos, end, conv.agent_size, conv.ledger, conv.tally, now)
                if stop > pos:
                    conv.to_haproxy.forward(buf if stop - pos == end else buf[pos:stop])
                    self.inlet.consumed(stop - pos)
                    pos = stop
                    continue
            used = self._next(buf, pos, end, now)
            if not used:
                return
            pos += used

    def ended(self, now: float, *, reset: bool) -> None:
        """The agent will send no more."""
        conv = self.conv
        if conv.agent_done:
            return
        reason = EndReason.RESET if reset else EndReason.CLOSED
        if self.inlet.inside_frame and conv.state not in ENDING:
            self.truncated("the agent closed inside a frame")
        if conv.state is State.AGENT_HELLO:
            self._left_unsaid(reason, now)
        elif conv.state is State.LEAVING and not conv.refusing:
            conv.leave(now)
        elif conv.state is State.RUNNING and conv.offer is not None and conv.offer.healthcheck:
            conv.finish(now, EndedBy.AGENT, reason, word=LastWord.NONE)
        elif conv.state is State.RUNNING:
            said = conv.judge(_SIDE, Anomaly.DISCONNECT_MISSING, b"", self.inlet.offset, detail=f"the agent {reason.value}")
            word = LastWord.SAY if said is Action.ANSWER else LastWord.CLOSE
            conv.finish(now, EndedBy.AGENT, reason, word=word)
        conv.close_agent()
        conv.conclude()

    def truncated(self, detail: str) -> None:
        """Discard a frame that will not be completed."""
        part = self.inlet.release()
        self.conv.judge(_SIDE, Anomaly.TRUNCATED_FRAME, part, self.inlet.offset, detail=detail)
        self._discard(len(part))

    def release_early(self, now: float) -> None:
        """Walk what the agent said before it was asked."""
        early = self.inlet.release()
        if early:
            self.conv.tally.bytes_to_haproxy -= len(early)
            self.receive(early, now)

    # --- ways a stream goes wrong ----------------------------------------------------------------------------------

    def _too_early(self, data: bytes, now: float) -> None:
        """Hold what an agent says before HAPROXY-HELLO reached it (B4); only an observing guard dials that early."""
        room = self.conv.config.held_bytes - self.inlet.held
        self.inlet.keep(data[:room], self.conv.config.held_bytes + 1, now)
        self.conv.to_haproxy.drop(max(0, len(data) - room))

    def _left_unsaid(self, reason: EndReason, now: float) -> None:
        conv = self.conv
        detail = f"the agent {reason.value} before AGENT-HELLO"
        said = conv.judge(_SIDE, Anomaly.DISCONNECT_MISSING, b"", self.inlet.offset, detail=detail)
        conv.events.append(AgentUnreachable(DialFailure.OTHER, detail))
        if said is Action.ANSWER:
            conv.refuse(now, EndedBy.AGENT, reason, goodbye.STATUS_RESOURCES, "")
        else:
            conv.finish(now, EndedBy.AGENT, reason, word=LastWord.CLOSE)

    def _break(self, rest: bytes, detail: str, now: float) -> None:
        """The stream can no longer be cut into frames: search the rest for ACKs, then end."""
        conv = self.conv
        action = conv.judge(_SIDE, Anomaly.GARBLED_STREAM, rest, self.inlet.offset, detail=detail)
        if action is Action.CLOSE or conv.state is State.AGENT_HELLO:
            self._fail(now)
            self._discard(len(rest))
            return
        if conv.state is State.RUNNING:
            conv.hold(None, now, EndedBy.GUARD, EndReason.ANOMALY, goodbye.STATUS_INVALID)
        self._salvage = Salvage(conv.ledger, conv.agent_size)
        self._search(rest, now)

    def _search(self, data: bytes, now: float) -> None:
        """Look for ACKs in a broken stream; behind the end of a session nothing is looked for."""
        conv = self.conv
        if self._salvage is None or conv.state is not State.LEAVING:
            self._discard(len(data))
            return
        found, junk = self._salvage.feed(data)
        conv.to_haproxy.drop(junk)
        for ack in found:
            if self._judge(Anomaly.INTERLEAVED_FRAMES, ack, now, "found whole") is Action.REPAIR:
                self._open_ack(ack, now)
            else:
                conv.to_haproxy.drop(len(ack.raw))
        self.inlet.consumed(len(data))

    def release_salvage(self) -> None:
        """Drop what the search still keeps; the session is ending."""
        if self._salvage is not None:
            self.conv.to_haproxy.drop(len(self._salvage.release()))

    def _discard(self, count: int) -> None:
        self.conv.to_haproxy.drop(count)
        self.inlet.consumed(count)

    def _fail(self, now: float, status: int = goodbye.STATUS_INVALID) -> None:
        """End the session over something the agent sent."""
        self.conv.finish(now, EndedBy.GUARD, EndReason.ANOMALY, status=status)

    def _judge(self, anomaly: Anomaly, said: frame.Frame, now: float, detail: str = "", action: Action | None = None) -> Action:
        """Report; end the session if that is the action. The rest is left to the caller."""
        action = self.conv.judge(_SIDE, anomaly, said.raw, self.inlet.offset, parsed=said, detail=detail, action=action)
        if action is Action.CLOSE:
            self._fail(now)
        return action

    # --- one frame -----------------------------------------------------------------------------------------------

    def _next(self, buf: bytes, pos: int, end: int, now: float) -> int:
        """Deal with what stands at ``pos``; return the bytes used, 0 when more are needed."""
        conv = self.conv
        need = bytes_needed(buf, pos, end, conv.agent_size, conv.config.held_bytes)
        if end - pos < need:
            self.inlet.keep(buf[pos:end], need, now)
            return 0
        length = frame.length_at(buf, pos)
        if length < frame.MIN_LENGTH or length > conv.agent_size:
            return self._unfit(buf, pos, end, length, now)
        raw = buf[pos : pos + need]
        said = frame.parse(raw)
        if said is None:
            if conv.judge(_SIDE, Anomaly.BAD_VARINT, raw, self.inlet.offset, detail="its ids do not parse") is Action.CLOSE:
                self._fail(now)
            self._discard(need)
            return need
        self._whole(said, now)
        self.inlet.consumed(need)
        return need

    def _unfit(self, buf: bytes, pos: int, end: int, length: int, now: float) -> int:
        """Deal with a frame too short or too long, skipping it where it can be skipped."""
        conv = self.conv
        raw = buf[pos:end]
        if length < frame.MIN_LENGTH:
            action = conv.judge(_SIDE, Anomaly.RUNT_FRAME, raw, self.inlet.offset, detail=f"length {length}")
        elif length <= conv.config.held_bytes and buf[pos + 4] in frame.AGENT_TYPES and buf[pos + 5 : pos + 8] == b"\0\0\0":
            detail = f"length {length}, negotiated {conv.agent_size}"
            action = conv.judge(_SIDE, Anomaly.OVERSIZE_FRAME, raw, self.inlet.offset, detail=detail)
            ids_end = frame.ids_end(buf, pos + frame.IDS_AT, end)
            ids = buf[pos + frame.IDS_AT : ids_end] if ids_end > 0 else b""
            if buf[pos + 4] == frame.ACK and ids in conv.ledger.open:
                conv.give_up(ids, UnansweredReason.ACK_DROPPED)
        else:
            self._break(raw, f"length {length}", now)
            return end - pos
        if action is Action.CLOSE:
            self._fail(now, goodbye.STATUS_TOO_BIG if length > conv.agent_size else goodbye.STATUS_INVALID)
        used = min(frame.LENGTH_BYTES + length, end - pos)
        self._discard(used)
        self.inlet.skip(frame.LENGTH_BYTES + length - used, now)
        return used

    def _whole(self, said: frame.Frame, now: float) -> None:
        conv = self.conv
        counted = said.type if said.type in frame.TYPE_NAMES else UNKNOWN_TYPE
        conv.tally.frames_to_haproxy[counted] += 1
        _, anomaly = step(conv.state, _SIDE, said.type)
        if conv.state is State.CLOSING:
            self._behind(said)
        elif conv.state is State.RUNNING and conv.offer is not None and conv.offer.healthcheck:
            self._trailing(said, now)
        elif anomaly is not None:
            if self._judge(anomaly, said, now) is Action.PASS:
                conv.to_haproxy.forward(said.raw)
            else:
                conv.to_haproxy.drop(len(said.raw))
        elif said.type == frame.ACK:
            self._ack(said, now)
        elif said.type == frame.AGENT_HELLO:
            self._hello(said, now)
        elif conv.state is State.AGENT_HELLO:
            self._refused(said, now)
        else:
            self._disconnect(said, now)

    def _behind(self, said: frame.Frame) -> None:
        """A frame behind the last word to HAProxy: nothing passes any more, and only the expected is no anomaly."""
        conv = self.conv
        conv.to_haproxy.drop(len(said.raw))
        if said.type == frame.AGENT_DISCONNECT and not conv.agent_said_goodbye:
            self._note_goodbye(goodbye.Goodbye(said))
            return
        anomaly = Anomaly.FRAME_AFTER_DISCONNECT
        if said.type == frame.ACK:
            anomaly = _UNWANTED.get(conv.ledger.fate(said.ids), anomaly)
        elif said.type == frame.AGENT_DISCONNECT:
            anomaly = Anomaly.DISCONNECT_REPEATED
        conv.judge(_SIDE, anomaly, said.raw, self.inlet.offset, parsed=said, action=Action.DROP)

    def _trailing(self, said: frame.Frame, now: float) -> None:
        """Anything behind the AGENT-HELLO of a health check; HAProxy >= 3.1 would call the agent DOWN for it."""
        if said.type == frame.AGENT_DISCONNECT:
            self._note_goodbye(goodbye.Goodbye(said))
        if self._judge(Anomaly.HELLO_TRAILING, said, now) is Action.PASS:
            self.conv.to_haproxy.forward(said.raw)
        else:
            self.conv.to_haproxy.drop(len(said.raw))

    def _note_goodbye(self, word: goodbye.Goodbye) -> None:
        self.conv.agent_said_goodbye = True
        self.conv.events.append(DisconnectSeen(_SIDE, word.status, word.message))

    def _mend_flags(self, said: frame.Frame, now: float) -> bytes | None:
        """Return the frame with FIN alone, or None when the policy does not let it pass."""
        raw = said.raw
        if not said.fin:
            if self._judge(Anomaly.MISSING_FIN, said, now, f"flags {said.flags:#010x}") is not Action.REPAIR:
                return None
            raw = frame.with_flags(raw, said.flags | frame.FLAG_FIN)
        if said.flags & ~frame.FLAG_FIN:
            action = self._judge(Anomaly.RESERVED_FLAGS, said, now, f"flags {said.flags:#010x}")
            if action is Action.DROP:
                return None
            if action is Action.REPAIR:
                raw = frame.with_flags(raw, frame.FLAG_FIN)
        return raw

    # --- HELLO ---------------------------------------------------------------------------------------------------

    def _hello(self, said: frame.Frame, now: float) -> None:
        conv = self.conv
        offer = conv.offer
        if offer is None:  # pragma: no cover - AGENT_HELLO comes behind DIALLING, which sets it
            return
        raw = self._mend_flags(said, now)
        if raw is None:
            conv.to_haproxy.drop(len(said.raw))
            return
        hello = AgentHello(said, offer)
        keep_capabilities = False
        rewrite = False
        for problem in hello.problems:
            action = self._judge(problem.anomaly, said, now, problem.detail, Action.CLOSE if hello.hopeless else None)
            if action is Action.CLOSE:
                conv.to_haproxy.drop(len(said.raw))
                return
            rewrite = rewrite or action is Action.REPAIR
            keep_capabilities = keep_capabilities or action is Action.PASS
        if rewrite:
            raw = hello.encode(keep_capabilities=keep_capabilities)
        self._pass(said, raw)
        conv.agent_size = hello.max_frame_size
        conv.fragments = "fragmentation" in hello.capabilities
        conv.state = State.RUNNING
        conv.hello_by = float("inf")
        conv.events.append(AgentReady(hello.max_frame_size, ",".join(hello.capabilities), offer.healthcheck))

    def _pass(self, said: frame.Frame, raw: bytes) -> None:
        """Send ``said`` on: as it came if ``raw`` is still the same bytes, else as repaired."""
        if raw is said.raw:
            self.conv.to_haproxy.forward(raw)
        else:
            self.conv.to_haproxy.drop(len(said.raw))
            self.conv.tell_haproxy(raw, AuthoredReason.REPAIRED)

    def _refused(self, said: frame.Frame, now: float) -> None:
        conv = self.conv
        word = goodbye.Goodbye(said)
        self._note_goodbye(word)
        detail = f"status {word.status}: {word.message}"
        if self._judge(Anomaly.HELLO_REFUSED, said, now, detail) is Action.PASS:
            conv.held = word
            conv.finish(now, EndedBy.AGENT, EndReason.REFUSED)
            return
        conv.to_haproxy.drop(len(said.raw))
        conv.refuse(now, EndedBy.AGENT, EndReason.REFUSED, goodbye.clamp(word.status), word.message)

    # --- ACK -----------------------------------------------------------------------------------------------------

    def _ack(self, said: frame.Frame, now: float) -> None:
        conv = self.conv
        fate = conv.ledger.fate(said.ids)
        if fate is not Fate.OPEN:
            action = self._judge(_UNWANTED[fate], said, now)
            if action is Action.PASS and conv.state is State.RUNNING:
                conv.to_haproxy.forward(said.raw)
            else:
                conv.to_haproxy.drop(len(said.raw))
            return
        if conv.state is State.LEAVING and self._judge(Anomaly.ACK_AFTER_DISCONNECT, said, now) is Action.DROP:
            self._lose(said)
            return
        self._open_ack(said, now)

    def _open_ack(self, said: frame.Frame, now: float) -> None:
        """Pass the ACK of an open NOTIFY, mended where it needs it, and settle the NOTIFY."""
        conv = self.conv
        raw = self._mend_flags(said, now)
        if raw is not None:
            raw = self._mend_payload(said, raw, now)
        if raw is None:
            self._lose(said)
            return
        conv.tally.observe_ack(now - conv.ledger.open.pop(said.ids))
        conv.tally.open_notifies -= 1
        conv.ledger.remember(said.ids, Fate.ANSWERED)
        self._pass(said, raw)

    def _lose(self, said: frame.Frame) -> None:
        """Drop an ACK whose NOTIFY is open."""
        self.conv.to_haproxy.drop(len(said.raw))
        if said.ids in self.conv.ledger.open:
            self.conv.give_up(said.ids, UnansweredReason.ACK_DROPPED)

    def _mend_payload(self, said: frame.Frame, raw: bytes, now: float) -> bytes | None:
        """Return ``raw`` with actions that HAProxy reads as the agent meant them, or None to drop it."""
        if actions.check(raw, said.payload_at, len(raw)) == actions.OK:
            return raw
        found = diagnose(said.payload)
        rewrite = False
        for anomaly in dict.fromkeys(found.anomalies):
            action = self._judge(anomaly, said, now)
            if action is Action.DROP or action is Action.CLOSE:
                return None
            rewrite = rewrite or action is Action.REPAIR
        if not rewrite:
            return raw
        mended = frame.Frame(raw, said.type, said.flags, said.stream_id, said.frame_id, said.payload_at)
        return frame.with_payload(mended, found.payload)

    # --- DISCONNECT ----------------------------------------------------------------------------------------------

    def _disconnect(self, said: frame.Frame, now: float) -> None:
        conv = self.conv
        word = goodbye.Goodbye(said)
        self._note_goodbye(word)
        if not word.readable:
            self._judge(Anomaly.DISCONNECT_MALFORMED, said, now, "its payload does not parse; it may hold other frames")
            conv.hold(None, now, EndedBy.AGENT, EndReason.DISCONNECT, goodbye.clamp(word.status or goodbye.STATUS_NORMAL))
            self._salvage = Salvage(conv.ledger, conv.agent_size)
            conv.to_haproxy.drop(said.payload_at)
            self._search(said.payload, now)
            self.inlet.offset -= len(said.payload)  # the caller counts the whole frame
            return
        if not word.fit:
            self._judge(Anomaly.DISCONNECT_MALFORMED, said, now)
        if said.stream_id or said.frame_id:
            self._judge(Anomaly.DISCONNECT_BAD_IDS, said, now)
            word.fit = False
        if self._mend_flags(said, now) is not said.raw:
            word.fit = False
        if conv.state is not State.RUNNING:  # a policy ended the session over its flags
            conv.to_haproxy.drop(len(said.raw))
        elif conv.ledger.open and self._judge(Anomaly.DISCONNECT_BEFORE_ACK, said, now) is Action.REORDER:
            conv.hold(word, now, EndedBy.AGENT, EndReason.DISCONNECT, goodbye.STATUS_NORMAL)
        else:
            conv.held = word
            conv.finish(now, EndedBy.AGENT, EndReason.DISCONNECT)
