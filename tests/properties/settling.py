"""HAProxy does not wait in vain: AGENT-HELLO, and what ``unanswered`` says about each NOTIFY, are there in time.

Followed as far as HAProxy's own stream is ordinary. What only a session knows is left out, so no bound here is below its own.
"""

import math
from dataclasses import dataclass, field

from tests.properties import spop
from tests.properties.haproxys_view import notify_ids, ordinary_notify
from tests.properties.hellos import Offer, agent_terms, burst_bytes, first_offer
from tests.properties.transcript import EPSILON_S, Did, Step, Terms, Transcript

Ids = tuple[int, int]
_FLAGS = (0, spop.FIN, spop.ABRT, spop.FIN | spop.ABRT)
SUPERSEDED_S = 0.01
LOSS_S = 30.0  # for so long the rest of a NOTIFY in fragments is waited for where there is no answer_deadline
AWAY_S = 0.02  # for so long a dial may keep HAProxy waiting while the agent is away
REFUSAL_HOLD_S = 0.25  # slow refusal (hazard B6), the first of its steps
APPLET_HELLO_S = 30.0  # HAProxy up to 3.0 ends the wait for AGENT-HELLO itself
PAUSE_S = 0.001  # in which HAProxy, which reads at once, is written half of its buffer


@dataclass
class Waiting:
    """A NOTIFY of HAProxy's. ``at``: the link that has it; ``lost_at``: when the last of ``given`` was over.

    ``doubtful``: it may be settled already, without a sign of that on the wire. ``fragments``: the first of them came.
    """

    since: float
    size: int = 0  # bytes
    at: int | None = None
    given: int = 0
    lost_at: float = -math.inf
    doubtful: bool = False
    fragments: bool = False


@dataclass
class Settling:
    """What HAProxy waits for, and what is known of the agents it could come from.

    ``up``: links whose agents said something and are not over; ``changed_at``: when these became some, or none.
    ``failing_at``: the first time, since an agent last said something, that one could not be reached while none was up;
    ``was_there``: whether one ever did.
    """

    terms: Terms
    broken: list[str] = field(default_factory=list)
    lasts: bool = False
    hello_by: float = math.inf
    told: int = 0  # the max-frame-size in AGENT-HELLO, 0 before it
    one_at_a_time: bool = False
    waiting: dict[Ids, Waiting] = field(default_factory=dict)
    spared: dict[Ids, str] = field(default_factory=dict)  # until when those waited that are given up without a sign
    settled: list[tuple[float, float]] = field(
        default_factory=list
    )  # since when, and until when, those waited that are not there
    up: set[int] = field(default_factory=set)
    spoke: set[int] = field(default_factory=set)
    over: set[int] = field(default_factory=set)
    changed_at: float = 0.0
    failing_at: float = math.inf
    was_there: bool = False
    drained_at: float = -math.inf
    agents_bytes: int = 0

    # --- HAProxy -----------------------------------------------------------------------------------------------------

    def offered(self, offer: Offer, at: float) -> None:
        terms = self.terms
        self.lasts = terms.give_up_s > 0
        if self.lasts:
            self.hello_by = at + min(terms.give_up_s, terms.agent_hello_s or math.inf)
        else:
            own = APPLET_HELLO_S if "async" in offer.capabilities else terms.hello_s
            self.hello_by = at + terms.connect_s + (terms.agent_hello_s or own)

    def asks(self, raw: bytes, at: float) -> None:
        for ids in notify_ids(raw):
            if ids in self.waiting and not self.waiting[ids].fragments:
                self.waiting[ids].doubtful = True
                return
            for one in self.waiting.values() if self.one_at_a_time else ():  # it no longer waits for what it asked before
                one.doubtful = one.doubtful or at >= one.since + SUPERSEDED_S - EPSILON_S
            again = ids in self.waiting
            self.waiting[ids] = Waiting(at, len(raw))
            self.spared.pop(ids, None)
            full = len(self.waiting) > self.terms.open_notifies or self._bytes > self.terms.held_bytes
            dropped = full or len(raw) - 4 > self.told or not ordinary_notify(raw)
            # When one in fragments is settled is judged in haproxys_view alone: not before the last of them.
            fragment = not raw[8] & spop.FIN
            self.waiting[ids].fragments = fragment
            self.waiting[ids].doubtful = fragment or again or (dropped and not self.terms.answers_for_agents)

    @property
    def _bytes(self) -> int:
        return sum(one.size for one in self.waiting.values())

    def got(self, raw: bytes, at: float) -> None:
        frame = spop.read_frame(raw)
        if frame.type == spop.AGENT_HELLO:
            self.told, named = agent_terms(frame, 1 << 32, {"pipelining", "async", "fragmentation"})
            self.one_at_a_time = not named & {"pipelining", "async"}
        elif frame.type == spop.ACK and not self.waiting.get(frame.ids, Waiting(0.0, doubtful=True)).doubtful:
            self.settled.append((self.waiting.pop(frame.ids).since, at))

    # --- the agents --------------------------------------------------------------------------------------------------

    def agent_said(self, link: int, data: bytes, at: float) -> None:
        self.agents_bytes += len(data)
        self.spoke.add(link)
        self.agent_is_there()
        if not self.told:
            self.hello_by = max(self.hello_by, at + REFUSAL_HOLD_S)  # it may be no HELLO that HAProxy can be given
        if link in self.over:
            return
        if not self.up:
            self.changed_at = at
        self.up.add(link)

    def agent_is_there(self) -> None:
        self.was_there, self.failing_at = True, math.inf

    def agent_got(self, link: int, data: bytes, at: float) -> None:
        for raw in spop.cut(data)[0]:
            frame = spop.read_frame(raw)
            if frame.type == spop.NOTIFY and frame.ids in self.waiting:
                self._given(frame.ids, link, at)
            elif frame.type == spop.NOTIFY and frame.ids in self.spared:
                self.broken.append(f"settling: NOTIFY {frame.ids} goes to link {link}, and it was {self.spared[frame.ids]}")
            elif frame.type == spop.HAPROXY_DISCONNECT:
                self.agent_is_gone(link, at)

    def _given(self, ids: Ids, link: int, at: float) -> None:
        one = self.waiting[ids]
        by = max(one.since + min(self._deadline_s, self.terms.park_s or math.inf), one.lost_at)
        if at > by + EPSILON_S and not one.doubtful:
            self.broken.append(f"settling: NOTIFY {ids} goes to link {link} at {at:.4f}, it was to wait until {by:.4f}")
        one.at, one.given = link, one.given + 1

    def agent_is_gone(self, link: int, at: float) -> None:
        """Its link is over, or nobody was reached on it."""
        if link in self.over:
            return
        self.over.add(link)
        if link not in self.spoke and not self.up:
            self.failing_at = min(self.failing_at, at)
            if self.lasts and not self.was_there:
                self.hello_by = min(self.hello_by, at + AWAY_S)
        if link in self.up:
            self.up.discard(link)
            self.changed_at = at if not self.up else self.changed_at
        for one in self.waiting.values():
            if one.at == link:
                one.at, one.lost_at = None, at
        if not self.told and (link in self.spoke or not self.lasts):
            self.hello_by = max(self.hello_by, at + REFUSAL_HOLD_S)

    # --- time --------------------------------------------------------------------------------------------------------

    @property
    def _deadline_s(self) -> float:
        return self.terms.answer_deadline_s or math.inf

    def expire(self, at: float) -> None:
        """Note what was due before ``at`` and is not there."""
        slack = PAUSE_S * (2 + 2 * self.agents_bytes // burst_bytes(max(self.told, 256))) + EPSILON_S
        if not self.told and at > self.hello_by + EPSILON_S:
            self.broken.append(f"settling: no AGENT-HELLO by {self.hello_by:.3f}")
        for ids, one in list(self.waiting.items()):
            by = self._settled_by(one)
            if at > by + slack and not one.doubtful:
                self.broken.append(f"settling: nothing became of NOTIFY {ids} by {by:.4f}, it came at {one.since:.4f}")
        if self.terms.unanswered in ("tell", "leave"):
            overdue = [(ids, one) for ids, one in self.waiting.items() if at > self._overdue_at(one) + slack]
            for ids, one in overdue:
                self._spare(ids, one)
            for ids, _ in overdue:
                del self.waiting[ids]

    def _overdue_at(self, one: Waiting) -> float:
        if one.fragments and one.at is None:  # its fragments may still come: it is not parked
            return one.since + min(self._deadline_s, LOSS_S)
        park_s = self.terms.park_s or math.inf
        return max(one.since + min(self._deadline_s, park_s if one.at is None else math.inf), one.lost_at)

    def _spare(self, ids: Ids, one: Waiting) -> None:
        """With ``tell`` a deadline ends the connection only if nothing else is open or parked: its timeout tells HAProxy, too."""
        at = self._overdue_at(one)
        others = any(other.since <= at < self._overdue_at(other) or other.doubtful for other in self.waiting.values())
        others = others or any(since <= at <= until + EPSILON_S for since, until in self.settled)
        if not one.doubtful:
            self.spared[ids] = f"to wait until {at:.4f}" if one.at is None else f"open until {at:.4f}"
        if self.terms.unanswered == "tell" and not others and not one.doubtful and self.drained_at == -math.inf:
            self.broken.append(f"settling: HAProxy is not told of NOTIFY {ids}, which was due at {at:.4f}")

    def _settled_by(self, one: Waiting) -> float:
        """Until when it is to be answered, or the connection to end."""
        terms, acks = self.terms, self.terms.answers_for_agents
        by = self._overdue_at(one) if acks else math.inf
        lost_for_good = one.lost_at > -math.inf and one.at is None and not (terms.redispatches and one.given == 1)
        if lost_for_good and terms.unanswered != "leave":
            told_by = max(one.lost_at, self.drained_at) + terms.hold_s
            by = min(by, one.lost_at if acks else told_by)
        if one.at is not None:
            return by
        if not self.lasts:  # there is one link or none, and nothing is parked
            return min(by, max(one.since, one.lost_at)) if acks else by
        absent = self._nobody_there_at(one)
        # Where nothing shows that a NOTIFY was given up, it need not wait any longer behind a deadline, or once a link came.
        waits = one.since >= self.changed_at and absent < one.since + min(
            terms.give_up_s, self._deadline_s, terms.park_s or math.inf
        )
        return min(by, absent) if acks or waits else by

    def _nobody_there_at(self, one: Waiting) -> float:
        """From when on a NOTIFY that waits for a link has waited in vain."""
        since = max(one.since, one.lost_at, self.changed_at)
        if self.up or self.failing_at == math.inf:
            return since + self.terms.give_up_s
        away_at = self.failing_at + (self.terms.give_up_s if self.was_there else 0.0)
        return min(since + self.terms.give_up_s, max(since, away_at) + AWAY_S)


def broken_settling(transcript: Transcript, terms: Terms) -> list[str]:
    """What HAProxy waited for, and was to have or to be told of by then."""
    settling = Settling(terms)
    said = tail = b""
    for step in transcript:
        settling.expire(step.at)
        if settling.broken:
            return settling.broken
        if step.did is Did.HAPROXY_SAID:
            said += step.data
            frames, tail = spop.cut(tail + step.data)
            offer = first_offer(said)
            if offer is None:
                if frames:  # it is no HELLO
                    return []
                continue
            if settling.hello_by == math.inf:
                settling.offered(offer, step.at)
                frames = frames[1:]
            if offer.healthcheck or not _ordinary(frames, tail, min(offer.size, terms.held_bytes - 4)):
                return []
            for raw in frames if settling.told else ():
                settling.asks(raw, step.at)
        elif step.did in (Did.HAPROXY_LEFT, Did.HAPROXY_CLOSED):
            return []
        elif step.did is Did.HAPROXY_GOT:
            for raw in spop.cut(step.data)[0]:
                if raw[4] == spop.AGENT_DISCONNECT:
                    return []
                settling.got(raw, step.at)
        else:
            _of_agents(settling, step)
    return settling.broken


def _of_agents(settling: Settling, step: Step) -> None:
    if step.did is Did.AGENT_SAID:
        settling.agent_said(step.link, step.data, step.at)
    elif step.did is Did.AGENT_GOT:
        settling.agent_got(step.link, step.data, step.at)
    elif step.did in (Did.AGENT_LEFT, Did.AGENT_CLOSED, Did.AGENT_FAILED):
        settling.agent_is_gone(step.link, step.at)
    elif step.did is Did.AGENT_ELSEWHERE:
        settling.agent_is_there()
    elif step.did is Did.DRAIN:
        settling.drained_at = max(settling.drained_at, step.at)


def _ordinary(frames: list[bytes], rest: bytes, most: int) -> bool:
    """Whether HAProxy said nothing but whole frames that it may say, and fragments of NOTIFYs."""
    lengths = [len(raw) - 4 for raw in frames] + ([int.from_bytes(rest[:4], "big")] if len(rest) >= 4 else [])
    if not all(7 <= length <= most for length in lengths):
        return False
    return all(raw[4] in (spop.NOTIFY, spop.UNSET) and raw[5:8] == bytes(3) and raw[8] in _FLAGS for raw in frames)
