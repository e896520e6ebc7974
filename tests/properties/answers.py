"""Answers come before the last word: promise H5."""

import contextlib
from dataclasses import dataclass, field

from tests.properties import spop
from tests.properties.hellos import agent_terms, first_offer
from tests.properties.spop import UnreadableError
from tests.properties.transcript import EPSILON_S, Did, Terms, Transcript


@dataclass
class Answers:
    """Follows the NOTIFYs the agent got and the ACKs it wrote for them, as far as its stream can be cut into frames."""

    terms: Terms
    size: int = 256
    stream: bytes = b""
    intact: bool = True  # the agent's stream can be cut into frames so far
    asked: dict[tuple[int, int], float] = field(default_factory=dict)
    due: list[tuple[int, int]] = field(default_factory=list)  # ACKs that must come out in this step
    goodbye_at: float | None = None
    tail_at: float | None = None

    def agent_got(self, data: bytes, at: float) -> None:
        for raw in spop.cut(data)[0]:  # whole frames each time, or A2 is broken
            told = spop.read_frame(raw)
            if told.type == spop.NOTIFY and told.flags & spop.FIN and told.ids not in self.asked:
                if len(self.asked) >= self.terms.open_notifies:
                    del self.asked[next(iter(self.asked))]
                self.asked[told.ids] = at
            elif told.type in (spop.NOTIFY, spop.UNSET) and told.flags != spop.FIN:
                self.intact = False  # fragments: when one counts as asked is not followed here

    def agent_said(self, data: bytes, at: float) -> None:
        self.stream += data
        while self.intact and len(self.stream) >= 4:
            length = int.from_bytes(self.stream[:4], "big")
            if length > self.size and (len(self.stream) < 8 or not self._skippable(length)):
                self.intact = len(self.stream) < 8 and length <= self.terms.held_bytes
                break
            if length > self.size and self.stream[4] == spop.ACK:
                self._give_up(self.stream[9:])
            if len(self.stream) < 4 + length:
                break
            raw, self.stream = self.stream[: 4 + length], self.stream[4 + length :]
            if length >= 7:
                self._whole(raw, at)
        self.tail_at = (self.tail_at if self.tail_at is not None else at) if self.stream else None

    def _skippable(self, length: int) -> bool:
        return length <= self.terms.held_bytes and self.stream[4] in spop.FROM_AGENT and self.stream[5:8] == b"\0\0\0"

    def _give_up(self, ids: bytes) -> None:
        """An ACK that is too long cannot be passed: nothing is owed for its NOTIFY."""
        cursor = spop.Cursor(ids)
        with contextlib.suppress(UnreadableError):
            self.asked.pop((cursor.integer(), cursor.integer()), None)

    def _whole(self, raw: bytes, at: float) -> None:
        if spop.torn(raw):
            self.intact = False  # what can be told from a shuffle is judged by tests/captures
            return
        try:
            said = spop.read_frame(raw)
        except UnreadableError:
            return
        if said.type == spop.AGENT_DISCONNECT and len(raw) - 4 <= self.size:
            self.goodbye_at = at if self.goodbye_at is None else self.goodbye_at
            try:
                spop.pairs(said.payload)
            except UnreadableError:
                self.intact = False
        elif said.type == spop.ACK and said.ids in self.asked:
            try:
                spop.actions(said.payload)
                sound = said.flags == spop.FIN
            except UnreadableError:
                sound = False
            if sound:
                self.due.append(said.ids)
            else:
                del self.asked[said.ids]  # mended or given up, as the policy has it: nothing is owed

    def expire(self, at: float) -> None:
        limit = self.terms.answer_deadline_s
        if limit is not None:
            self.asked = {ids: since for ids, since in self.asked.items() if at < since + limit - EPSILON_S}

    def may_end(self, at: float, drained_at: float | None, quiet_since: float) -> bool:
        """Whether AGENT-DISCONNECT may be said at ``at`` though NOTIFYs are open."""
        terms = self.terms
        held = self.goodbye_at is not None and at >= self.goodbye_at + terms.hold_s - EPSILON_S
        drained = drained_at is not None and at >= drained_at + terms.hold_s - EPSILON_S
        stuck = self.tail_at is not None and at >= self.tail_at + terms.frame_s - EPSILON_S
        idle = at >= quiet_since + terms.idle_s - EPSILON_S
        return held or drained or stuck or idle or not self.intact


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
        if step.did is not Did.HAPROXY_GOT and answers.due:
            broken.append(f"H5: ACK {answers.due[0]} was written and not delivered")
            break
        if step.did in (Did.HAPROXY_LEFT, Did.AGENT_LEFT, Did.HAPROXY_CLOSED, Did.AGENT_CLOSED):
            free = True
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
            if rest and len(rest) > len(step.data):
                free = free or step.at >= haproxy_tail_at + terms.frame_s - EPSILON_S
        elif step.did is Did.AGENT_GOT:
            answers.agent_got(step.data, step.at)
        elif step.did is Did.AGENT_SAID and not free:
            quiet_since = step.at
            answers.agent_said(step.data, step.at)
        elif step.did is Did.HAPROXY_GOT and not free:
            for raw in spop.cut(step.data)[0]:
                told = spop.read_frame(raw)
                if told.type == spop.AGENT_HELLO:
                    negotiated = True
                    answers.size = agent_terms(told, 1 << 32, {"pipelining", "async", "fragmentation"})[0]
                elif told.type == spop.ACK:
                    answers.asked.pop(told.ids, None)
                    answers.due = [ids for ids in answers.due if ids != told.ids]
                elif told.type == spop.AGENT_DISCONNECT:
                    stuck = bool(tail) and step.at >= haproxy_tail_at + terms.frame_s - EPSILON_S
                    if answers.due or (answers.asked and not stuck and not answers.may_end(step.at, drained_at, quiet_since)):
                        broken.append(f"H5: AGENT-DISCONNECT at {step.at:.3f} while {list(answers.asked)} are open")
                    return broken
    return broken


def _may_break(frames: list[bytes], rest: bytes, most: int) -> bool:
    """Whether HAProxy's own stream gives a reason to end: anything in it that is not an ordinary whole frame."""
    lengths = [len(raw) - 4 for raw in frames] + ([int.from_bytes(rest[:4], "big")] if len(rest) >= 4 else [])
    return any(length < 7 or length > most for length in lengths)
