"""What is known of a session's NOTIFYs and agent links from the bytes alone; says what went wrong with either.

A NOTIFY waits, is in one agent's hands, or is done: answered, or counted as unanswered for a reason that must hold then.
It learns from the session only which NOTIFYs that is, and compares after every step. Shares no code with ``spoe_guard.core``.
"""

import math
from collections import Counter
from dataclasses import dataclass, field

from tests.properties import spop
from tests.properties.transcript import EPSILON_S

Ids = tuple[int, int]
SUPERSEDED_S = 0.01
DOUBT_S = 0.02  # for so long what a lost link had goes to a link only that was dialled since
RETRY_S = 0.25  # the longest pause between two dials
BLOCKED_S = 30.0  # how long one NOTIFY may block a link where there is no answer_deadline
LINGERING = 16


@dataclass(frozen=True)
class Rules:
    """The settings that say what is due; ``again``: what a lost link had goes to another; ``off``: nothing does."""

    give_up_s: float
    max_links: int
    in_flight: int
    again: bool
    off: bool
    answer_deadline_s: float
    unanswered: str  # of Unanswered
    open_notifies: int
    held_bytes: int
    idle_s: float

    @property
    def answers_for_agents(self) -> bool:
        return self.unanswered in ("set", "empty-ack")


@dataclass
class Notify:
    """``at``: the link whose agent has it, None while it waits. ``given``: to these links, in turn."""

    ids: Ids
    raw: bytes
    turn: int
    since: float
    at: int | None = None
    given: list[int] = field(default_factory=list)
    done: str = ""
    lost_at: float = -math.inf  # when the link was lost that had it
    next_link: int = 0  # the first that was dialled since
    acks: list[bytes] = field(default_factory=list)  # what agents wrote for it

    @property
    def waits(self) -> bool:
        return not self.done and self.at is None


@dataclass
class Link:
    """``hands``: NOTIFYs its agent has and has not answered on this link, with the times they were sent by HAProxy."""

    number: int
    hello: bool = False
    size: int = 0
    bound: float = math.inf
    leaving: bool = False  # its agent said DISCONNECT, or what cannot be read
    spoiled: bool = False  # what cannot be read
    lost: bool = False  # it was told HAPROXY-DISCONNECT, closed, refused, or its peer closed
    over: bool = False
    refused: bool = False
    hands: dict[Ids, float] = field(default_factory=dict)
    given_bytes: int = 0

    @property
    def live(self) -> bool:
        return not self.leaving and not self.lost

    @property
    def running(self) -> bool:
        return self.live and self.hello

    @property
    def ready(self) -> bool:
        return self.running and len(self.hands) < self.bound


@dataclass
class Seen:
    """What one step of the session did. ``waits`` and ``open``: where it has its NOTIFYs behind it."""

    now: float
    to_haproxy: bytes
    to_agent: dict[int, bytes]
    dialled: list[int]
    closed: list[int]
    haproxy_closed: bool
    unanswered: Counter[str]
    waits: list[Ids]
    open: dict[int, list[Ids]]
    deadline: float


@dataclass
class Model:
    rules: Rules
    offered_pipelining: bool
    notifies: dict[Ids, Notify] = field(default_factory=dict)
    links: dict[int, Link] = field(default_factory=dict)
    told_size: int = 0  # 0: HAProxy has no AGENT-HELLO yet
    one_at_a_time: bool = False
    may_end: bool = False  # HAProxy's own doing, or the operator's
    draining: bool = False
    last_turn: int = -1  # of what was given to agents
    ended: bool = False
    away_since: float = math.inf
    heard_at: float = 0.0
    fresh: list[Ids] = field(default_factory=list)  # said by HAProxy in this step
    due: list[tuple[Ids, bytes]] = field(default_factory=list)  # ACKs HAProxy is to get in this step
    lost_now: set[int] = field(default_factory=set)

    # --- what the peers do -----------------------------------------------------------------------------------------

    def haproxy_said(self, whole: list[bytes], now: float) -> None:
        self.heard_at = now
        for raw in whole if not self.ended else ():  # they cross the news
            ids = spop.read_frame(raw).ids
            self.notifies[ids] = Notify(ids, raw, len(self.notifies), now)
            self.fresh.append(ids)

    def agent_said(self, number: int, whole: list[bytes], now: float) -> None:
        self.heard_at = now
        link = self.links[number]
        for raw in whole:
            sent = spop.read_frame(raw)
            if sent.type == spop.AGENT_HELLO and not link.lost:
                keys = spop.pairs(sent.payload)
                size, named = keys[b"max-frame-size"][1], keys[b"capabilities"][1]
                assert isinstance(size, int)
                link.hello, link.size = True, min(size, self.told_size or size)
                self._bound(link, parallel=named == b"pipelining")
            elif sent.type == spop.AGENT_DISCONNECT:
                self.may_end = self.may_end or not (self.told_size or link.lost or link.hello)  # it refuses
                link.leaving = True
            elif sent.type == spop.ACK:
                if not link.spoiled:  # there it may be found, and need not
                    link.hands.pop(sent.ids, None)
                notify = self.notifies.get(sent.ids)
                if notify is not None and notify.given and not notify.done and link.hello and not self.ended:
                    notify.acks.append(raw)
                    if notify.at is not None and not (link.lost or link.spoiled):  # it answers once, on any link
                        self.links[notify.at].hands.pop(notify.ids, None)
                    if not link.spoiled and not [ids for ids, _ in self.due if ids == sent.ids]:
                        self.due.append((sent.ids, raw))

    def _bound(self, link: Link, *, parallel: bool) -> None:
        if not self.told_size:
            self.one_at_a_time = not parallel and not (self.rules.in_flight and self.offered_pipelining)
        serial = not parallel and not self.one_at_a_time
        link.bound = 1 if serial else min(self.rules.in_flight, self.rules.open_notifies) or math.inf

    def spoiled(self, number: int) -> None:
        """Its agent said what cannot be read, or half a frame for too long."""
        self.links[number].leaving = self.links[number].spoiled = True

    def gone(self, number: int) -> None:
        """The agent closed the connection, or could not be dialled."""
        link = self.links[number]
        link.over = True
        self._lose(link)

    def _lose(self, link: Link) -> None:
        if not link.lost:
            link.lost = True
            self.lost_now.add(link.number)

    # --- what the session made of it ---------------------------------------------------------------------------------

    def check(self, seen: Seen) -> None:
        before = {ids for ids, one in self.notifies.items() if not one.done} - set(self.fresh)
        for number in seen.dialled:
            assert number not in self.links, f"link {number} is dialled twice"
            self.links[number] = Link(number)
        self._haproxy_got(seen)
        self._agents_got(seen)
        assert not self.due or self.ended, f"H5: ACKs {[ids for ids, _ in self.due]} were written and not delivered"
        self._compare(seen, before)
        self._links(seen)
        if not self.ended:
            self._nobody_is_forgotten(seen)
        self.fresh.clear()
        self.lost_now.clear()
        self.due.clear()

    def _haproxy_got(self, seen: Seen) -> None:
        frames, rest = spop.cut(seen.to_haproxy)
        assert not rest, "HAProxy gets half a frame"
        for raw in frames:
            got = spop.read_frame(raw)
            if got.type == spop.AGENT_HELLO:
                assert not self.told_size, "AGENT-HELLO twice"
                size = spop.pairs(got.payload)[b"max-frame-size"][1]
                assert isinstance(size, int)
                self.told_size = size
            elif got.type == spop.AGENT_DISCONNECT:
                self._end(seen)
            else:
                self._answered(got, raw, seen)
        if seen.haproxy_closed and not self.ended:
            self._end(seen)

    def _answered(self, got: spop.Frame, raw: bytes, seen: Seen) -> None:
        notify = self.notifies[got.ids]
        assert notify.done != "answered", f"H3: {got.ids} is answered twice"
        if raw in notify.acks:
            assert not notify.done, f"H3: {got.ids} was {notify.done}"
            notify.done = "answered"
            self.due = [one for one in self.due if one[0] != got.ids]
        else:
            assert self.rules.answers_for_agents, f"nobody wrote {raw.hex()}"
            assert not [ids for ids, _ in self.due if ids == got.ids], f"H5: {got.ids} is answered in its agent's place"
            assert seen.unanswered.total(), f"{got.ids} is answered in its agent's place and not counted"
            # whether it may be is seen in _compare; a further answer would be one too many
            assert notify.done != "given up and answered", f"H3: {got.ids} is answered twice"
            notify.acks.clear()

    def _end(self, seen: Seen) -> None:
        rules = self.rules
        away = seen.now >= self.away_since + rules.give_up_s - EPSILON_S
        idle = seen.now >= self.heard_at + rules.idle_s - EPSILON_S
        assert self.may_end or self.draining or away or idle, f"HAProxy is closed, the agent is away since {self.away_since}"
        self.ended = True

    def _agents_got(self, seen: Seen) -> None:
        told = {number: [(raw, spop.read_frame(raw)) for raw in spop.cut(data)[0]] for number, data in seen.to_agent.items()}
        for number in [number for number, frames in told.items() if frames[-1][1].type == spop.HAPROXY_DISCONNECT]:
            self._lose(self.links[number])
        for number in seen.closed:
            self.links[number].over = True
            self._lose(self.links[number])
        for number, frames in told.items():
            for raw, got in frames:
                if got.type == spop.NOTIFY:
                    self._given(self.notifies[got.ids], self.links[number], raw)

    def _given(self, notify: Notify, link: Link, raw: bytes) -> None:
        assert raw == notify.raw, f"{notify.ids} was changed"
        assert not notify.done, f"{notify.ids}, {notify.done}, goes to link {link.number}"
        assert link.running, f"{notify.ids} goes to link {link.number}: {link}"
        assert len(raw) - 4 <= link.size, f"{notify.ids} is too long for link {link.number}"
        if notify.given:
            [first] = notify.given  # or it goes to a third
            assert self.rules.again, f"{notify.ids} goes to link {link.number}, it was given to {notify.given}"
            assert self.links[first].lost, f"{notify.ids} goes to link {link.number}, and link {first} has it"
        else:
            self.last_turn = max(self.last_turn, notify.turn)
        notify.given.append(link.number)
        notify.at = link.number
        link.hands[notify.ids] = notify.since
        link.given_bytes += len(raw)

    def _compare(self, seen: Seen, before: set[Ids]) -> None:
        """Where the session has its NOTIFYs is where they are; those it has no more are done for a reason."""
        there = {ids: number for number, some in seen.open.items() for ids in some}
        done = []
        for notify in self.notifies.values():
            if notify.done:
                assert notify.ids not in there, f"{notify.ids}, {notify.done}, is open"
                assert notify.ids not in seen.waits, f"{notify.ids}, {notify.done}, waits"
            elif notify.ids in seen.waits:
                lost = notify.at is not None and self.links[notify.at].lost
                assert notify.at is None or lost, f"{notify.ids} waits, and link {notify.at} has it"
                assert not notify.given or (self.rules.again and len(notify.given) == 1), f"{notify.ids} waits again"
                if lost:
                    notify.lost_at, notify.next_link = seen.now, min(seen.dialled, default=max(self.links) + 1)
                notify.at = None
            elif notify.ids in there:
                assert notify.at == there[notify.ids], f"{notify.ids} is open on {there[notify.ids]}, link {notify.at} has it"
            else:
                done.append(notify)
        assert seen.unanswered.total() == len(done), f"{seen.unanswered} for {[one.ids for one in done]}"
        for notify in done:
            reasons = [reason for reason in seen.unanswered if self._holds(reason, notify, seen, before)]
            assert reasons, f"{notify} is given up for {dict(seen.unanswered)}"
            notify.done = "given up"
        passed_over = [one.ids for one in self.notifies.values() if one.waits and not one.given and one.turn < self.last_turn]
        for link in self.links.values():
            assert link.over or len(link.hands) <= link.bound, f"link {link.number} has more than {link.bound}: {link.hands}"
        assert not passed_over, f"a later one goes before {passed_over}"
        if self.rules.answers_for_agents:
            sent = [spop.read_frame(raw) for raw in spop.cut(seen.to_haproxy)[0]]
            acked = [got.ids for got in sent if got.type == spop.ACK]
            for notify in done:
                if notify.ids in acked:
                    notify.done = "given up and answered"

    def _holds(self, reason: str, notify: Notify, seen: Seen, before: set[Ids]) -> bool:
        """Whether ``notify`` may count as unanswered for that reason."""
        rules = self.rules
        patience = min(rules.give_up_s, rules.answer_deadline_s)
        waited = seen.now - notify.since + EPSILON_S
        if reason == "haproxy_gone":
            return self.ended
        if reason == "deadline":
            link = self.links[notify.at] if notify.at is not None else None
            blocked = min(rules.answer_deadline_s, BLOCKED_S) if link is None or link.bound < math.inf else math.inf
            return waited >= (patience if link is None else min(rules.answer_deadline_s, blocked))
        if reason == "limit":
            held = sum(len(one.raw) for one in self.notifies.values() if one.waits)
            return len(before) + len(self.fresh) > rules.open_notifies or held > rules.held_bytes
        if reason == "superseded":
            later = [ids for ids in self.fresh if self.notifies[ids].turn > notify.turn]
            return self.one_at_a_time and bool(later) and waited >= SUPERSEDED_S
        if reason == "notify_dropped":
            sizes = [link.size for link in self.links.values() if link.hello and (not link.lost or link.number in self.lost_now)]
            return len(notify.raw) - 4 > min(sizes, default=math.inf)
        assert reason == "agent_gone", reason
        if self.ended or (self.draining and notify.ids in self.fresh):
            return True
        if notify.at is None:
            return rules.off and bool(self.lost_now)
        if waited >= patience:  # it could not wait an instant
            return notify.at in self.lost_now
        return notify.at in self.lost_now and not self._can_wait(notify)

    def _can_wait(self, notify: Notify) -> bool:
        """Whether there is room for it to wait for another agent."""
        link = self.links[notify.given[-1]]
        full = link.given_bytes + sum(len(one.raw) for one in self.notifies.values() if one.waits) > self.rules.held_bytes
        crowd = sum(not one.done for one in self.notifies.values()) >= self.rules.open_notifies
        return self.rules.again and len(notify.given) == 1 and not full and not crowd

    def _links(self, seen: Seen) -> None:
        live = [link.number for link in self.links.values() if link.live]
        there = [link.number for link in self.links.values() if not link.over]
        assert len(live) <= self.rules.max_links, f"links {live} at a time"
        assert len(there) <= self.rules.max_links + LINGERING, f"{len(there)} links are there"
        wanted = not self.told_size or bool(seen.waits)
        if not self.told_size and seen.now >= self.away_since + self.rules.give_up_s - EPSILON_S:
            self.may_end = True  # HAProxy is refused, a little later
        if any(link.running for link in self.links.values()):
            self.away_since = math.inf
        elif wanted and self.links:
            self.away_since = min(self.away_since, seen.now)

    def _nobody_is_forgotten(self, seen: Seen) -> None:
        rules = self.rules
        assert len(seen.waits) <= rules.open_notifies, f"{len(seen.waits)} NOTIFYs wait"
        assert sum(len(self.notifies[ids].raw) for ids in seen.waits) <= rules.held_bytes, "too many bytes wait"
        assert sum(map(len, (seen.waits, *seen.open.values()))) <= rules.open_notifies, "too many NOTIFYs are open"
        if not seen.waits:
            return
        # An agent that dies loses all its links, one after the other: a moment of doubt. Who waits behind such a one waits too.
        doubt = max(self.notifies[ids].lost_at for ids in seen.waits)
        ready = [link for link in self.links.values() if link.ready]
        since = max(self.notifies[ids].next_link for ids in seen.waits)
        sure = [link.number for link in ready if link.number >= since or seen.now >= doubt + DOUBT_S]
        assert not sure, f"{seen.waits} wait, and links {sure} are ready"
        assert not ready or seen.deadline <= doubt + DOUBT_S + EPSILON_S, f"{seen.waits} wait, and nobody looks for a link"
        patience = min(rules.give_up_s, rules.answer_deadline_s)
        oldest = min(self.notifies[ids].since for ids in seen.waits)
        if self.away_since < math.inf:  # what waits while no agent is there is given up with the session
            oldest = max(oldest, self.away_since)
        assert seen.deadline <= max(oldest + patience, seen.now) + EPSILON_S, f"{seen.waits} wait for ever"
        if not any(link.live for link in self.links.values()):
            assert seen.deadline <= seen.now + RETRY_S + EPSILON_S, f"{seen.waits} wait, and nobody dials"

    def check_time(self, now: float) -> None:
        """The session was ticked until ``now``: nothing is left of what was due before."""
        rules = self.rules
        for notify in self.notifies.values():
            patience = rules.answer_deadline_s if notify.at is not None else min(rules.give_up_s, rules.answer_deadline_s)
            if not notify.done and not self.ended:
                since = notify.since if notify.at is not None or self.away_since == math.inf else self.away_since
                assert now < max(since, notify.since) + patience + EPSILON_S, f"{notify} is kept for ever"
                waited_for = any(one.waits for one in self.notifies.values())
                if waited_for and notify.at is not None and self.links[notify.at].bound < math.inf:
                    assert now < notify.since + BLOCKED_S + EPSILON_S, f"{notify} blocks link {notify.at}"
