"""Answers come before DISCONNECT: promise H5."""

import contextlib
import math
from dataclasses import dataclass, field

from tests.properties import spop
from tests.properties.haproxys_view import notify_ids, ordinary_notify
from tests.properties.hellos import agent_terms, burst_bytes, first_offer
from tests.properties.spop import UnreadableError
from tests.properties.transcript import EPSILON_S, Did, Terms, Transcript

SUPERSEDED_S = 0.01
BLOCKED_S = 30.0  # for so long one NOTIFY may block a link where there is no deadline
MUTE = 3  # NOTIFYs in a row past their deadline, and nothing from that agent since
PAUSE_S = 0.001  # in which HAProxy, which reads at once, is written half of its buffer
AUTHORED_BYTES = 1024  # what of the guard's own may wait among the agent's


@dataclass
class Due:
    """An ACK that the agent wrote: ``size`` bytes, to be delivered by then."""

    ids: tuple[int, int]
    size: int
    by: float


@dataclass
class Stream:
    """What the agent says on one link. ``intact``: it can be cut into frames so far; ``missed``: deadlines since ``heard_at``."""

    size: int = 256
    hello: bool = False
    got: bytes = b""
    intact: bool = True
    disconnect_at: float | None = None
    tail_at: float | None = None
    heard_at: float = 0.0
    missed: int = 0


@dataclass
class Asked:
    """A NOTIFY in the agent's hands, on that link. ``owed``: surely still, and so its answer."""

    since: float
    link: int
    owed: bool = True


@dataclass
class Answers:
    """Follows the NOTIFYs the agent got and the ACKs it wrote for them, as far as its streams can be cut into frames."""

    terms: Terms
    size: int = 256  # what HAProxy was told
    lasts: bool = False  # the session outlives its agent links
    told: bool = False  # HAProxy has AGENT-HELLO
    one_at_a_time: bool = False  # HAProxy was told neither of pipelining nor of async
    streams: dict[int, Stream] = field(default_factory=lambda: {0: Stream()})
    sent: dict[tuple[int, int], float] = field(default_factory=dict)  # by HAProxy, first since it was last answered
    begun: dict[tuple[int, int], float] = field(default_factory=dict)  # those of them in fragments, which began then
    repeated: dict[tuple[int, int], float] = field(default_factory=dict)  # when it last did so while an agent had it
    dropped_at: float = math.inf  # when one was first sent that no agent may get, or may have got, or an ACK that may be lost
    asked: dict[tuple[int, int], Asked] = field(default_factory=dict)
    due: list[Due] = field(default_factory=list)

    def negotiated(self, size: int, *, one_at_a_time: bool) -> None:
        """HAProxy got AGENT-HELLO."""
        self.told, self.size, self.one_at_a_time = True, size, one_at_a_time
        for stream in self.streams.values():
            stream.size = size

    def haproxy_said(self, raw: bytes, ids: tuple[int, int], at: float) -> None:
        self.sent.setdefault(ids, at)
        if not raw[8] & spop.FIN:
            self.begun[ids] = at
        else:
            self.begun.pop(ids, None)
        if ids in self.asked:
            self.repeated[ids] = at
        if not ordinary_notify(raw) or len(raw) - 4 > self.size:
            self.dropped_at = min(self.dropped_at, at)
        if self.lasts and self.one_at_a_time and ids not in self.asked:  # it may have to wait until it gets to an agent
            # What no agent has may have been given up before, and HAProxy is still to be told of it.
            earlier = (since for other, since in self.sent.items() if other not in self.asked and since < at)
            self.dropped_at = min(self.dropped_at, min(earlier, default=math.inf))
            self._superseded(at)
            # One that was repeated just before goes to the agent that had it, and is given up with the first.
            mark = at - SUPERSEDED_S + EPSILON_S
            self.sent = {ids: since for ids, since in self.sent.items() if since > mark or self.repeated.get(ids) == at}

    def _superseded(self, at: float) -> None:
        """HAProxy has given up what it asked before."""
        mark = at - SUPERSEDED_S + EPSILON_S
        self.asked = {ids: one for ids, one in self.asked.items() if one.since > mark}

    def agent_got(self, data: bytes, at: float, link: int) -> None:
        for raw in spop.cut(data)[0]:  # whole frames each time, or A2 is broken
            told = spop.read_frame(raw)
            if told.type == spop.HAPROXY_DISCONNECT and self.lasts:
                self.lost(link)
            elif told.type == spop.NOTIFY and told.flags & spop.FIN and told.ids not in self.asked:
                if self.one_at_a_time:
                    self._superseded(at)
                if len(self.asked) >= self.terms.open_notifies:
                    self._one_gives_way()
                since = min(at, self.sent.get(told.ids, at)) if self.lasts else self.begun.get(told.ids, at)
                self.asked[told.ids] = Asked(since, link)
            elif told.type in (spop.NOTIFY, spop.UNSET) and told.flags != spop.FIN:
                self.stream(link).intact = False  # fragments: when one counts as asked is not followed here

    def _one_gives_way(self) -> None:
        """One of the oldest, of several that are as old it is not known which."""
        first = min(one.since for one in self.asked.values())
        oldest = [ids for ids, one in self.asked.items() if one.since == first]
        for ids in oldest:
            self.asked[ids].owed = False
        del self.asked[oldest[0]]

    def stream(self, link: int) -> Stream:
        return self.streams.setdefault(link, Stream(self.size))

    def lost(self, link: int) -> None:
        """Of what that link's agent has nothing is owed; given to another one it is again."""
        self.asked = {ids: one for ids, one in self.asked.items() if one.link != link}

    def agent_said(self, data: bytes, at: float, link: int) -> None:
        stream = self.stream(link)
        stream.heard_at, stream.missed = at, 0
        if self._stuck(stream, at):
            stream.intact = False  # what comes is not followed any more, though it may go on where that frame stopped
        stream.got += data
        while stream.intact and len(stream.got) >= 4:
            got = stream.got
            length = int.from_bytes(got[:4], "big")
            if length > stream.size and (len(got) < 8 or not self._skippable(length, got)):
                stream.intact = len(got) < 8 and length <= self.terms.held_bytes
                break
            if length > stream.size and got[4] == spop.ACK:
                self._give_up(got[9:])
            if len(got) < 4 + length:
                break
            raw, stream.got = got[: 4 + length], got[4 + length :]
            if length >= 7:
                self._whole(raw, at, stream)
        stream.tail_at = (stream.tail_at if stream.tail_at is not None else at) if stream.got else None

    def _skippable(self, length: int, got: bytes) -> bool:
        return length <= self.terms.held_bytes and got[4] in spop.FROM_AGENT and got[5:8] == b"\0\0\0"

    def _give_up(self, ids: bytes) -> None:
        """An ACK that is too long cannot be passed: nothing is owed for its NOTIFY."""
        cursor = spop.Cursor(ids)
        with contextlib.suppress(UnreadableError):
            self.asked.pop((cursor.integer(), cursor.integer()), None)

    def _whole(self, raw: bytes, at: float, stream: Stream) -> None:
        if spop.torn(raw):
            stream.intact = False  # what can be told from a shuffle is judged by tests/captures
            return
        try:
            got = spop.read_frame(raw)
        except UnreadableError:
            return
        if got.type == spop.AGENT_HELLO and not stream.hello:
            stream.hello = True
            if not self.told:  # HAProxy gets this one
                return
            try:
                stream.size = min(agent_terms(got, self.size, {"pipelining", "async", "fragmentation"})[0], self.size)
            except UnreadableError:
                stream.intact = False  # refused, or mended: nothing is owed
        elif got.type == spop.AGENT_DISCONNECT and len(raw) - 4 <= stream.size:
            stream.disconnect_at = at if stream.disconnect_at is None else stream.disconnect_at
            try:
                spop.pairs(got.payload)
            except UnreadableError:
                stream.intact = False
        elif got.type == spop.ACK and got.ids in self.asked and stream.hello:
            try:
                spop.actions(got.payload)
                sound = got.flags == spop.FIN
            except UnreadableError:
                sound = False
            one = self.asked.pop(got.ids)
            if not sound:  # it may be lost, of which HAProxy is told, also if it asks once more with these ids
                self.dropped_at = min(self.dropped_at, at)
            # Else it is mended or given up, as the policy has it, or what its own link brought was, which is not followed.
            if sound and one.owed and self.stream(one.link).intact:
                waiting = self.waiting() + len(raw)
                # Of two bursts in a row the first was too full for the second's first frame: together they are more than one.
                pauses = 2 + 2 * waiting // burst_bytes(self.size)
                self.due.append(Due(got.ids, len(raw), at + pauses * PAUSE_S))

    def waiting(self) -> int:
        """Bytes of ACKs that are not delivered yet."""
        return sum(ack.size for ack in self.due)

    def overrun(self) -> bool:
        """Whether more may be waiting than a session may hold: it ends behind that then, and what is written later is lost."""
        return bool(self.due) and self.waiting() + AUTHORED_BYTES > self.terms.held_bytes

    def delivered(self, ids: tuple[int, int]) -> None:
        """HAProxy got an ACK, the agent's or one in its place."""
        ack = next((ack for ack in self.due if ack.ids == ids), None)
        if ack is not None:
            self.due.remove(ack)
        else:
            self.asked.pop(ids, None)
        self.sent.pop(ids, None)

    def expire(self, at: float) -> None:
        limit = self.terms.answer_deadline_s or (BLOCKED_S if self.lasts else math.inf)
        late = {ids: one for ids, one in self.asked.items() if at >= one.since + limit - EPSILON_S}
        for ids, one in late.items():
            self.asked.pop(ids, None)
            stream = self.stream(one.link)
            stream.missed += one.since > stream.heard_at
            if self.lasts and self.terms.in_flight:  # it blocks its link, which is ended for that
                self.lost(one.link)

    def may_end(self, at: float, drained_at: float | None, quiet_since: float) -> bool:
        """Whether AGENT-DISCONNECT may be said at ``at`` though NOTIFYs are open."""
        terms = self.terms
        drained = drained_at is not None and at >= drained_at + terms.hold_s - EPSILON_S
        idle = at >= quiet_since + terms.idle_s - EPSILON_S
        owed = (self.stream(one.link) for one in self.asked.values() if one.owed)
        return drained or idle or self._tells(at) or all(self._need_not_wait(stream, at) for stream in owed)

    def _tells(self, at: float) -> bool:
        """Whether HAProxy may be told of a NOTIFY without an answer by the end, though others are open: they had their time."""
        unanswered = min((since for ids, since in self.sent.items() if ids not in self.asked), default=math.inf)
        since = min(unanswered, self.dropped_at)
        return self.terms.unanswered == "tell" and at >= since + self.terms.hold_s - EPSILON_S

    def _need_not_wait(self, stream: Stream, at: float) -> bool:
        """Whether the agent need not be waited for on that link."""
        terms = self.terms
        held = stream.disconnect_at is not None and (self.lasts or at >= stream.disconnect_at + terms.hold_s - EPSILON_S)
        return held or self._stuck(stream, at) or not stream.intact or stream.missed >= MUTE

    def _stuck(self, stream: Stream, at: float) -> bool:
        """Whether the agent has not gone on with a frame for so long that it is given up."""
        return stream.tail_at is not None and at >= stream.tail_at + self.terms.frame_s - EPSILON_S


def broken_answers(transcript: Transcript, terms: Terms) -> list[str]:
    """Whether the ACKs the agent wrote in whole frames were delivered before the DISCONNECT (H5)."""
    broken: list[str] = []
    answers = Answers(terms)
    haproxy_said = tail = b""
    negotiated = False
    free = False  # HAProxy's own doings: the session may end at any time
    drained_at: float | None = None
    quiet_since = haproxy_tail_at = 0.0
    for step in transcript:
        answers.expire(step.at)
        free = free or (step.did is not Did.HAPROXY_GOT and answers.overrun())
        late = [ack for ack in answers.due if step.at > ack.by + EPSILON_S]
        if answers.due and (late or step.did in (Did.HAPROXY_CLOSED, Did.OVER)):
            broken.append(f"H5: ACK {answers.due[0]} was written and not delivered at {step.at:.4f} `{step.did.value}`")
            break
        if answers.lasts and step.did in (Did.AGENT_LEFT, Did.AGENT_CLOSED):
            answers.lost(step.link)
        elif step.did in (Did.HAPROXY_LEFT, Did.AGENT_LEFT, Did.HAPROXY_CLOSED, Did.AGENT_CLOSED):
            free = True
            if step.did is Did.HAPROXY_LEFT:
                answers.due.clear()  # nobody is there to deliver them to
        elif step.did is Did.DRAIN:
            drained_at = step.at if drained_at is None else drained_at
        elif step.did is Did.HAPROXY_SAID:
            quiet_since = step.at
            haproxy_said += step.data
            frames, rest = spop.cut(tail + step.data)
            haproxy_tail_at = step.at if not tail or len(rest) <= len(step.data) else haproxy_tail_at
            tail = rest
            ends = any(len(raw) > 4 and raw[4] == spop.HAPROXY_DISCONNECT for raw in frames)
            offer = first_offer(haproxy_said)
            most = min(terms.held_bytes, offer.size if offer else 256, answers.size if negotiated else terms.held_bytes)
            # Behind the HELLO of a health check nothing is answered.
            free = free or ends or _may_break(frames, rest, most) or (offer is not None and offer.healthcheck)
            answers.lasts = terms.give_up_s > 0 and not (offer is not None and offer.healthcheck)
            for raw in frames:
                for ids in notify_ids(raw):
                    answers.haproxy_said(raw, ids, step.at)
            if rest and len(rest) > len(step.data):
                free = free or step.at >= haproxy_tail_at + terms.frame_s - EPSILON_S
        elif step.did is Did.AGENT_GOT:
            answers.agent_got(step.data, step.at, step.link)
        elif step.did is Did.AGENT_SAID and not free:
            quiet_since = step.at
            answers.agent_said(step.data, step.at, step.link)
        elif step.did is Did.HAPROXY_GOT:
            for raw in spop.cut(step.data)[0]:
                told = spop.read_frame(raw)
                if told.type == spop.AGENT_HELLO:
                    negotiated = True
                    size, named = agent_terms(told, 1 << 32, {"pipelining", "async", "fragmentation"})
                    answers.negotiated(size, one_at_a_time=not named & {"pipelining", "async"})
                elif told.type == spop.ACK:
                    answers.delivered(told.ids)
                elif told.type == spop.AGENT_DISCONNECT:
                    stuck = bool(tail) and step.at >= haproxy_tail_at + terms.frame_s - EPSILON_S
                    may_end = free or stuck or answers.may_end(step.at, drained_at, quiet_since)
                    if answers.due or (answers.asked and not may_end):
                        broken.append(f"H5: AGENT-DISCONNECT at {step.at:.3f} while {list(answers.asked)} are open")
                    return broken
            free = free or answers.overrun()
    return broken


def _may_break(frames: list[bytes], rest: bytes, most: int) -> bool:
    """Whether HAProxy's own stream gives a reason to end: anything in it that is not an ordinary whole frame."""
    lengths = [len(raw) - 4 for raw in frames] + ([int.from_bytes(rest[:4], "big")] if len(rest) >= 4 else [])
    return any(length < 7 or length > most for length in lengths)
