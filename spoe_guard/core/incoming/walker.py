"""Walks one side's bytes: runs of ordinary frames on the fast path, everything else frame by frame.

``FromHAProxy`` and ``FromAgent`` decide what a frame of their side means; cutting bytes into frames is the same for both and is
done here.
"""

from abc import ABC, abstractmethod
from typing import Final

from spoe_guard.core.conversation.conversation import Conversation
from spoe_guard.core.conversation.outlet import Outlet
from spoe_guard.core.conversation.report import Numbers
from spoe_guard.core.incoming.inlet import Inlet, bytes_needed
from spoe_guard.core.payloads import disconnect as disconnects
from spoe_guard.core.terms.anomalies import Action, Anomaly, Side
from spoe_guard.core.terms.events import SAMPLE_BYTES, AuthoredReason, EndedBy, EndReason
from spoe_guard.core.terms.states import SessionState
from spoe_guard.core.terms.tally import UNKNOWN_TYPE
from spoe_guard.wire import frame as frames
from spoe_guard.wire import walk

# Of one read, what the readable path handles before other sessions get their turn: so many frames, and so many bytes of frames
# with an anomaly, but one frame in any case. What is ordinary does not count. Well below 1 ms, compiled.
FRAMES_A_TURN: Final = 64
BYTES_A_TURN: Final = 4096


class Walker(ABC):
    """One side's bytes on their way to the other. ``fast`` False leaves every frame to the readable path."""

    def __init__(self, conversation: Conversation, side: Side, outlet: Outlet, *, fast: bool) -> None:
        self.conv = conversation
        self.side = side
        self.outlet = outlet
        self.inlet = Inlet()
        tally = conversation.tally
        self._frames = tally.frames_to_haproxy if side is Side.AGENT else tally.frames_to_agent
        self.fast = fast
        self.glitches = conversation.report.of_agent if side is Side.AGENT else conversation.report.of_haproxy
        self.broken = False  # what arrives can no longer be cut into frames

    # --- what each side decides ------------------------------------------------------------------------------------

    @abstractmethod
    def limit(self) -> int:
        """Return the longest frame this side may send, bytes behind the length prefix."""

    @abstractmethod
    def scan(self, buf: bytes, pos: int, end: int, now: float) -> int:
        """Return how far the fast path goes from ``pos``."""

    @abstractmethod
    def stopped(self) -> bool:
        """Whether this side's bytes are no longer cut into frames."""

    @abstractmethod
    def behind(self, buf: bytes, pos: int, end: int, now: float) -> int:
        """Handle bytes that arrive while ``stopped``; return how many: what follows may be frames again."""

    @property
    def paused(self) -> bool:
        """Whether what was taken needs another turn. Its last bytes come again for that: at least one."""
        return False

    @abstractmethod
    def whole(self, frame: frames.Frame, now: float) -> None:
        """Handle a whole frame."""

    @abstractmethod
    def author(self, data: bytes, reason: AuthoredReason) -> None:
        """Write a whole frame of the guard's own to the peer of this side."""

    @abstractmethod
    def unwanted(self) -> bool:
        """Whether nobody waits for what this side sends any more, though it is still cut into frames."""

    @abstractmethod
    def too_long(self, buf: bytes, pos: int, end: int, length: int, now: float) -> int:
        """Handle a frame longer than ``limit``; return the bytes used."""

    # --- bytes to frames -------------------------------------------------------------------------------------------

    def receive(self, data: bytes, now: float) -> int:
        """Take bytes as received; return how many at their end have to wait for the next turn."""
        inlet = self.inlet
        buf = inlet.take(data)
        before = inlet.offset
        try:
            return self._walk(buf, now)
        except Exception:  # our own bug: keep what was not reached, for Session.release
            inlet.keep(buf[max(0, inlet.offset - before) :], 1, now)
            raise

    def _walk(self, buf: bytes, now: float) -> int:
        inlet = self.inlet
        pos, end = 0, len(buf)
        frames, wrong = 0, 0
        report = self.conv.report
        if pos < end and inlet.inside_frame:
            pos = inlet.skipped(end)
            self.outlet.drop(pos)
        while pos < end:
            stopped = self.stopped()
            stop = self.scan(buf, pos, end, now) if self.fast and wrong < BYTES_A_TURN and not stopped else pos
            if stop > pos:
                self.outlet.forward(buf if stop - pos == end else buf[pos:stop])
                inlet.consumed(stop - pos)
                pos = stop
                continue
            if frames == FRAMES_A_TURN or wrong >= BYTES_A_TURN:
                return end - pos  # never bytes kept from before: they are part of the first frame
            frames += 1
            judged = report.judged
            used = self.behind(buf, pos, end, now) if stopped else self.one(buf, pos, end, now)
            if stopped or report.judged > judged:
                wrong += used
            self.bound_glitches(now)
            pos += used
            if self.paused:
                return end - pos
            if not used and not stopped:
                return 0  # it is kept until there is more of it
        return 0

    def bound_glitches(self, now: float) -> None:
        """End the session if the policy says so and this side made too many anomalies."""
        detail = self.glitches.flood(now, self.conv.notifies.given) if self.glitches.new else ""
        if not detail:
            return
        if self.unwanted():  # it only has to be read until it is closed
            self.break_off()
        elif self.judge_bytes(Anomaly.GLITCH_FLOOD, b"", detail) is Action.CLOSE:
            self.break_off()
            self.end_flood(now)

    def end_flood(self, now: float) -> None:
        """End the session: this side made too many anomalies."""
        self.conv.ending.finish(now, EndedBy.GUARD, EndReason.GLITCHES, status=disconnects.STATUS_INVALID)

    def one(self, buf: bytes, pos: int, end: int, now: float) -> int:
        """Handle the frame at ``pos``; return the bytes used, 0 if more are needed."""
        limit = self.limit()
        need = bytes_needed(buf, pos, end, limit, self.conv.config.held_bytes)
        if end - pos < need:
            self.inlet.keep(buf[pos:end], need, now)
            return 0
        length = walk.length_at(buf, pos)
        if length > limit:
            return self.too_long(buf, pos, end, length, now)
        if length < frames.MIN_LENGTH:
            return self.skip_over(Anomaly.RUNT_FRAME, buf, pos, end, length, now)
        return self.frame(buf[pos : pos + need], now)

    def frame(self, raw: bytes, now: float) -> int:
        """Handle ``raw``, a whole frame by its length prefix; return the bytes used."""
        frame = frames.parse(raw)
        if frame is None:
            action = self.judge_bytes(Anomaly.BAD_VARINT, raw, "its ids do not parse")
            self.close_on(action, now)
            self.discard(len(raw))
            return len(raw)
        self.count(frame.type)
        self.whole(frame, now)
        self.inlet.consumed(len(raw))
        return len(raw)

    def skip_over(self, anomaly: Anomaly, buf: bytes, pos: int, end: int, length: int, now: float) -> int:
        """Report a frame that cannot pass but can be skipped; return how many of its bytes have arrived."""
        sample = buf[pos : min(end, pos + SAMPLE_BYTES)]
        action = self.judge_bytes(anomaly, sample, "length {}, at most {} negotiated", numbers=(length, self.limit()))
        self.close_on(
            action, now, disconnects.STATUS_TOO_BIG if anomaly is Anomaly.OVERSIZE_FRAME else disconnects.STATUS_INVALID
        )
        whole = frames.LENGTH_BYTES + length
        used = min(whole, end - pos)
        began = min(self.inlet.since, now)
        self.discard(used)
        self.inlet.skip(whole - used, began)
        return used

    def count(self, type_: int) -> None:
        """Count a whole frame."""
        self._frames[type_ if type_ in frames.TYPE_NAMES else UNKNOWN_TYPE] += 1

    def break_off(self) -> None:
        """Cut no more bytes into frames: the position of the next frame is unknown."""
        self.broken = True

    def go(self, *, fast: bool) -> None:
        """Use the fast path for ordinary frames, or give every frame to the readable one."""
        self.fast = fast

    def truncated(self, detail: str) -> None:
        """Discard a frame that will not be completed."""
        self.break_off()
        part = self.inlet.release()
        self.conv.report.judge(self.side, Anomaly.TRUNCATED_FRAME, part, self.inlet.offset, detail=detail)
        self.discard(len(part))

    def discard_kept(self) -> None:
        """Drop the buffered part of a frame; the session is over."""
        self.discard(self.inlet.held)
        self.inlet.release()

    # --- what may be done with a frame -----------------------------------------------------------------------------

    def discard(self, count: int) -> None:
        """Drop ``count`` bytes."""
        self.outlet.drop(count)
        self.inlet.consumed(count)

    def fail(self, now: float, status: int = disconnects.STATUS_INVALID) -> None:
        """End the session because of something this side sent."""
        self.conv.ending.finish(now, EndedBy.GUARD, EndReason.ANOMALY, status=status)

    def action(self, _anomaly: Anomaly) -> Action | None:
        """Return what to do about an anomaly of a frame; None: what the policy says for any HAProxy."""
        return None

    def judge(
        self,
        anomaly: Anomaly,
        frame: frames.Frame,
        detail: str = "",
        action: Action | None = None,
        quoted: str = "",
        numbers: Numbers = (),
    ) -> Action:
        """Report what is wrong with ``frame`` and return what to do about it; see ``close_on``.

        ``quoted``: the peer's own words, which ``detail`` must not have. ``numbers``: for ``detail``.
        """
        return self.conv.report.judge(
            self.side,
            anomaly,
            frame.raw,
            self.inlet.offset,
            parsed=frame,
            detail=detail,
            quoted=quoted,
            action=self.action(anomaly) if action is None else action,
            numbers=numbers,
        )

    def judge_bytes(
        self, anomaly: Anomaly, raw: bytes, detail: str, action: Action | None = None, numbers: Numbers = ()
    ) -> Action:
        """Do the same as ``judge`` for bytes that are not a frame."""
        return self.conv.report.judge(self.side, anomaly, raw, self.inlet.offset, detail=detail, action=action, numbers=numbers)

    def close_on(self, action: Action, now: float, status: int = disconnects.STATUS_INVALID) -> None:
        """End the session, or its agent link, if ``action`` is CLOSE."""
        if action is Action.CLOSE:
            self.fail(now, status)

    def unasked(self, anomaly: Anomaly, frame: frames.Frame, now: float, whole: bytes | None = None) -> None:
        """Handle a frame that the other side does not wait for: the policy may pass it, if ``can_take`` says so.

        ``whole``: the frame to pass if ``frame`` is only its first fragment.
        """
        action = self.conv.report.policy.action(self.side, anomaly)
        if action is Action.PASS and not self.can_take(frame):
            action = Action.DROP
        self.judge(anomaly, frame, action=action)
        self.close_on(action, now)
        self.pass_on(frame, (whole or frame.raw) if action is Action.PASS else None)

    def can_take(self, frame: frames.Frame) -> bool:  # noqa: ARG002  a side may look at it
        """Whether the other side survives ``frame`` unasked: it must be between HELLO and DISCONNECT."""
        return self.conv.progress.state in (SessionState.RUNNING, SessionState.LEAVING)

    def pass_on(self, frame: frames.Frame, raw: bytes | None, reason: AuthoredReason = AuthoredReason.REPAIRED) -> None:
        """Forward ``frame`` as received if ``raw`` is its own bytes, otherwise send ``raw`` for ``reason``; None drops it."""
        if raw is frame.raw:
            self.outlet.forward(raw)
            return
        self.outlet.drop(len(frame.raw))
        if raw is not None:
            self.author(raw, reason)

    def mend_flags(self, frame: frames.Frame, now: float) -> bytes | None:
        """Return the frame with only FIN set, or None if the policy does not let it pass."""
        raw = frame.raw
        detail, flags = "flags {:#010x}", (frame.flags,)
        if not frame.fin:
            action = self.judge(Anomaly.MISSING_FIN, frame, detail, numbers=flags)
            self.close_on(action, now)
            if action is not Action.REPAIR:
                return None
            raw = frames.with_flags(raw, frame.flags | frames.FLAG_FIN)
        if frame.flags & ~frames.FLAG_FIN:
            action = self.judge(Anomaly.RESERVED_FLAGS, frame, detail, numbers=flags)
            if action is Action.DROP:
                return None
            if action is Action.REPAIR:
                raw = frames.with_flags(raw, frames.FLAG_FIN)
        return raw
