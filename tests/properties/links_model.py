"""What is known of a session's NOTIFYs and agent links from the bytes alone; says what went wrong with either.

A NOTIFY waits, is in one agent's hands, or is done: answered, or counted as unanswered for a reason that must hold then.
It learns from the session only which NOTIFYs that is, and compares after every step. Shares no code with ``spoe_guard.core``.
"""

import math
from collections import Counter
from dataclasses import dataclass, field

from tests.properties import spop
from tests.properties.route_model import AgentSeen
from tests.properties.transcript import EPSILON_S

Ids = tuple[int, int]
SUPERSEDED_S = 0.01
DOUBT_S = 1.0  # for so long what a lost link had goes to a link only that was dialled since
AWAY_S = 0.02  # for so long a dial may keep HAProxy waiting while the agent is away
RETRY_S = 0.25  # the longest pause between two dials
BLOCKED_S = 30.0  # how long one NOTIFY may block a link where there is no answer_deadline
LOSS_S = 30.0  # what was open for longer, where there is no answer_deadline, goes to no other agent
IDLE_S = 10.0  # for so long a link may be idle beside another, where there is no retire_s
MUTE = 3  # NOTIFYs in a row past their deadline
LONGEST_HELLO_S = 30.0
LINGERING = 16

# What ``option set-on-error`` gets, by the reason.
CODES = {"deadline": 1, "agent_gone": 257, "agent_away": 257, "ack_dropped": 260, "notify_dropped": 259, "limit": 269}


@dataclass(frozen=True)
class Rules:
    """The settings that say what is due; ``again``: what a lost link had goes to another; ``off``: nothing does.

    ``unanswered`` as in the settings, with the variable ``error_name``. ``offered_size``: the max-frame-size that agents are
    offered. ``hello_s``: how long a connected agent may take to send AGENT-HELLO while HAProxy waits for it.
    """

    give_up_s: float
    max_links: int
    in_flight: int
    again: bool
    off: bool
    answer_deadline_s: float
    park_s: float
    agent_hello_s: float
    hello_s: float
    connect_s: float
    frame_s: float
    hold_s: float
    retire_s: float
    unanswered: str
    error_name: bytes
    offered_size: int
    offers_pipelining: bool
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
    """``hands``: NOTIFYs its agent has and has not answered on this link, with the times they were sent by HAProxy.

    ``heard_at``: when its agent last said something; ``missed``: NOTIFYs that came and passed their deadline since.
    """

    number: int
    dialled_at: float
    hello_by: float = math.inf  # once it is connected
    hello: bool = False
    size: int = 0
    bound: float = math.inf
    heard_at: float = -math.inf
    missed: int = 0
    half_at: float = math.inf  # when the frame was begun that is not whole yet
    leaving: bool = False  # its agent said DISCONNECT, or what cannot be read
    leaving_at: float = math.inf
    disconnected: bool = False  # it said DISCONNECT first
    spoiled: bool = False  # what cannot be read
    lost: bool = False  # it was told HAPROXY-DISCONNECT, closed, refused, or its peer closed
    over: bool = False
    hands: dict[Ids, float] = field(default_factory=dict)
    given_bytes: int = 0

    def up_by(self, rules: Rules) -> float:
        """Until when it is waited for."""
        return self.hello_by if self.hello_by < math.inf else self.dialled_at + rules.connect_s

    @property
    def live(self) -> bool:
        return not self.leaving and not self.lost

    @property
    def making(self) -> bool:
        return self.live and not self.hello

    @property
    def running(self) -> bool:
        return self.live and self.hello

    @property
    def ready(self) -> bool:
        return self.running and len(self.hands) < self.bound


@dataclass
class Seen:
    """What one step of the session did. ``waits`` and ``open``: where it has its NOTIFYs behind it.

    ``unanswered`` and ``unchecked``: NOTIFYs it counted as such, by the reason, and in all.
    """

    now: float
    to_haproxy: bytes
    to_agent: dict[int, bytes]
    dialled: list[int]
    closed: list[int]
    haproxy_closed: bool
    unanswered: Counter[str]
    unchecked: int
    waits: list[Ids]
    open: dict[int, list[Ids]]
    deadline: float


@dataclass
class Model:
    rules: Rules
    agent: AgentSeen
    notifies: dict[Ids, Notify] = field(default_factory=dict)
    links: dict[int, Link] = field(default_factory=dict)
    offered_at: float = math.inf  # when HAPROXY-HELLO came
    told_size: int = 0  # 0: HAProxy has no AGENT-HELLO yet
    one_at_a_time: bool = False
    refused: bool = False  # an agent said DISCONNECT in place of the AGENT-HELLO that HAProxy waits for
    may_end: bool = False  # HAProxy's own doing, or the operator's
    draining: bool = False
    last_turn: int = -1  # of what was given to agents
    ended: bool = False
    abandons: bool = False  # the end may leave NOTIFYs behind
    tell_by: float = math.inf  # by then HAProxy learns of a NOTIFY without an answer by the end of its connection
    away_since: float = math.inf  # since when a link is wanted and none runs
    heard_at: float = 0.0
    hello_came: bool = False  # in this step, for HAProxy
    dial_failed: bool = False  # in this step
    running: list[int] = field(default_factory=list)  # the links that ran when this step's own ends began; the same of making
    making: list[int] = field(default_factory=list)
    before: set[Ids] = field(default_factory=set)  # what was not done before this step
    oldest: float = math.inf  # since when one of those waits
    fresh: list[Ids] = field(default_factory=list)  # said by HAProxy in this step
    due: list[tuple[Ids, bytes]] = field(default_factory=list)  # ACKs HAProxy is to get in this step
    authored: dict[Ids, bytes] = field(default_factory=dict)  # payloads of the guard's own ACKs in this step
    lost_now: set[int] = field(default_factory=set)  # in this step, and not with the session

    # --- what the peers do -----------------------------------------------------------------------------------------

    def offered(self, now: float) -> None:
        """HAProxy said HAPROXY-HELLO."""
        self.offered_at = self.heard_at = now

    def haproxy_said(self, whole: list[bytes], now: float) -> None:
        self.heard_at = now
        for raw in whole if not self.ended else ():  # they cross the news
            ids = spop.read_frame(raw).ids
            self.notifies[ids] = Notify(ids, raw, len(self.notifies), now)
            self.fresh.append(ids)

    def drained(self) -> None:
        """The guard is told to stop: the session ends for that, and soon enough."""
        self.draining = True
        self.tell_by = math.inf

    def connected(self, number: int, now: float) -> None:
        rules, wait_s = self.rules, self.rules.hello_s
        if self.told_size:  # HAProxy does not notice: who is slow has twice as long each time
            wait_s = min(rules.agent_hello_s, rules.hello_s * 2**self.agent.missed, LONGEST_HELLO_S)
        self.links[number].hello_by = now + wait_s

    def agent_said(self, number: int, whole: list[bytes], now: float) -> None:
        self.heard_at = now
        link = self.links[number]
        link.heard_at, link.missed, link.half_at = now, 0, math.inf
        for raw in whole:
            sent = spop.read_frame(raw)
            if sent.type == spop.AGENT_HELLO and link.making:
                keys = spop.pairs(sent.payload)
                size, named = keys[b"max-frame-size"][1], keys[b"capabilities"][1]
                assert isinstance(size, int)
                link.hello, link.size = True, min(size, self.told_size or size)
                self.hello_came = not self.told_size
                self._bound(link, parallel=named == b"pipelining")
                self.agent.said_hello(size, pipelining=named == b"pipelining")
            elif sent.type == spop.AGENT_DISCONNECT:
                if not (link.hello or link.lost):
                    self._refused(link, now)
                link.disconnected = link.disconnected or not link.leaving
                self._leaves(link, now)
            elif sent.type == spop.ACK:
                self._answers(link, sent, raw)

    def _answers(self, link: Link, sent: spop.Frame, raw: bytes) -> None:
        if not link.spoiled:  # there it may be found, and need not
            link.hands.pop(sent.ids, None)
        notify = self.notifies.get(sent.ids)
        if notify is not None and notify.given and not notify.done and link.hello and not self.ended:
            notify.acks.append(raw)
            if notify.at is not None and not (link.lost or link.spoiled):  # it answers once, on any link
                self.links[notify.at].hands.pop(notify.ids, None)
            if not link.spoiled and not [ids for ids, _ in self.due if ids == sent.ids]:
                self.due.append((sent.ids, raw))

    def _refused(self, link: Link, now: float) -> None:
        if self.told_size:
            self._not_reached(link, now)
        else:
            self.refused = self.may_end = True

    def _bound(self, link: Link, *, parallel: bool) -> None:
        if not self.told_size:
            self.one_at_a_time = not parallel and not (self.rules.in_flight and self.rules.offers_pipelining)
        serial = not parallel and not self.one_at_a_time
        link.bound = 1 if serial else min(self.rules.in_flight, self.rules.open_notifies) or math.inf

    def half(self, number: int, now: float) -> None:
        """Its agent began a frame; another call of ``agent_said`` brings the rest."""
        self.links[number].half_at = now

    def spoiled(self, number: int, now: float) -> None:
        """Its agent said what cannot be read, or half a frame for too long."""
        self.links[number].spoiled = True
        self._leaves(self.links[number], now)

    @staticmethod
    def _leaves(link: Link, now: float) -> None:
        link.leaving = True
        link.leaving_at = min(link.leaving_at, now)

    def gone(self, number: int, now: float) -> None:
        """The agent closed the connection, or could not be dialled."""
        link = self.links[number]
        if link.making:
            self._not_reached(link, now)
        self._lose(link, now, by_agent=True)
        link.over = True

    def _not_reached(self, link: Link, now: float) -> None:
        another_runs = any(other.running for other in self.links.values() if other is not link)
        self.agent.not_reached(now, self.away_since, another_runs=another_runs)
        self.dial_failed = True

    def _lose(self, link: Link, now: float, *, by_agent: bool = False) -> None:
        if link.lost:
            return
        by_agent = link.disconnected if link.leaving else by_agent
        link.lost = True
        self.lost_now.add(link.number)
        if by_agent and link.hello and not self.ended and not any(other.running for other in self.links.values()):
            self.agent.ended_last_link(now)

    # --- what the session made of it ---------------------------------------------------------------------------------

    def check(self, seen: Seen) -> None:
        self.before = {ids for ids, one in self.notifies.items() if not one.done} - set(self.fresh)
        self.oldest = min((one.since for one in self.notifies.values() if one.waits), default=math.inf)
        stays = [link for link in self.links.values() if link.live and not self._ends(link, seen)]
        self.running = [link.number for link in stays if link.hello]
        self.making = [link.number for link in stays if not link.hello]
        frames, rest = spop.cut(seen.to_haproxy)
        assert not rest, "HAProxy gets half a frame"
        got = [(spop.read_frame(raw), raw) for raw in frames]
        ends = not self.ended and (seen.haproxy_closed or any(each.type == spop.AGENT_DISCONNECT for each, _ in got))
        self.ended = self.ended or ends
        for each, raw in got:
            if each.type == spop.ACK:
                self._answered(each, raw, seen)
        self._links_went(seen)
        self._links_came(seen)
        for each, _ in got:
            if each.type == spop.AGENT_HELLO:
                self._hello(each, seen)
        if ends:
            self.abandons = self._may_abandon(seen)
        self._notifies_went(seen)
        assert not self.due or self.ended, f"H5: ACKs {[ids for ids, _ in self.due]} were written and not delivered"
        self._compare(seen)
        self._links(seen)
        if not self.ended:
            self._haproxy_is_told(seen)
            self._nobody_is_forgotten(seen)
        self.fresh.clear()
        self.lost_now.clear()
        self.due.clear()
        self.authored.clear()
        self.hello_came = self.dial_failed = False

    def _hello(self, got: spop.Frame, seen: Seen) -> None:
        assert not self.told_size, "AGENT-HELLO twice"
        keys = spop.pairs(got.payload)
        size, named = keys[b"max-frame-size"][1], keys[b"capabilities"][1]
        assert isinstance(size, int)
        self.told_size = size
        if self.hello_came:
            return
        rules, agreed = self.rules, self.agent.agreed
        assert seen.now >= self._stands_in_at() - EPSILON_S, "an AGENT-HELLO that no agent said, and one may come"
        assert size == min(rules.offered_size, agreed[0] if agreed else rules.offered_size), f"AGENT-HELLO promises {size} bytes"
        pipelines = rules.offers_pipelining and (rules.in_flight > 0 or (agreed is not None and agreed[1]))
        wanted = b"pipelining,fragmentation" if pipelines else b"fragmentation"  # the guard takes fragments, whoever comes
        assert named == wanted, f"AGENT-HELLO promises {named!r}"
        self.one_at_a_time = not pipelines

    def _stands_in_at(self) -> float:
        """From when on HAProxy need not wait for an agent's AGENT-HELLO."""
        rules, away_at = self.rules, self._away_at()
        if self.making and not self.dial_failed:
            away_at = max(away_at, self.offered_at + AWAY_S)
        elif self.agent.agreed is not None:
            return -math.inf
        return min(self.offered_at + min(rules.give_up_s, rules.agent_hello_s), away_at)

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
            assert got.ids not in self.authored, f"H3: {got.ids} is answered twice"
            # whether it may be is seen in _compare; a further answer would be one too many
            assert notify.done != "given up and answered", f"H3: {got.ids} is answered twice"
            self.authored[got.ids] = got.payload
            notify.acks.clear()

    def _may_abandon(self, seen: Seen) -> bool:
        """Whether the end of the session may leave NOTIFYs without an answer that could still get one."""
        idle = seen.now >= self.heard_at + self.rules.idle_s - EPSILON_S
        if self.may_end or self.draining or idle or seen.now >= self.tell_by - EPSILON_S:
            return True
        if self.rules.unanswered in ("tell", "leave") and self.told_size and self._nobody_there(seen):
            return True
        told = self.rules.unanswered == "tell" and (self.tell_by < math.inf or bool(self._untold(seen)))
        assert told, f"HAProxy is closed, the agent is away since {self.away_since}"
        return False

    def _links_went(self, seen: Seen) -> None:
        """Those that the session ended in this step; an end of its own has a reason."""
        told = {number: spop.read_frame(spop.cut(data)[0][-1]).type for number, data in seen.to_agent.items()}
        over = [number for number, type_ in told.items() if type_ == spop.HAPROXY_DISCONNECT]
        for link in (self.links[number] for number in dict.fromkeys((*over, *seen.closed)) if number in self.links):
            ends = link.lost or self._ends(link, seen)
            assert ends or self.ended, f"link {link.number} is ended: {link}"
            if link.making and ends:
                self._not_reached(link, seen.now)
                if link.hello_by < math.inf:
                    self.agent.missed_hello()
            if ends:
                self._lose(link, seen.now)
            link.lost = True  # at the latest with the session
            link.over = link.over or link.number in seen.closed

    def _ends(self, link: Link, seen: Seen) -> bool:
        """Whether the session may end ``link`` and live on."""
        rules, at = self.rules, seen.now + EPSILON_S
        has = [one for one in self.notifies.values() if one.at == link.number and not one.done]
        longest = min(rules.answer_deadline_s, BLOCKED_S)
        blocked = link.bound < math.inf and at >= min(link.hands.values(), default=math.inf) + longest
        if blocked or at >= link.half_at + rules.frame_s:
            return True
        if link.leaving:  # and may still answer
            others = seen.unanswered.keys() - {"agent_gone"}
            answers = [one for one in has if not any(self._holds(reason, one, seen) for reason in others)]
            return not answers or not link.hello or at >= link.leaving_at + rules.hold_s
        if not link.hello:
            return at >= link.up_by(rules)
        alone = sum(other.running for other in self.links.values()) < 2
        retired = not has and at >= link.heard_at + min(rules.retire_s, math.inf if alone else IDLE_S)
        mute = link.missed + sum(self._misses(one, link, at) for one in has) >= MUTE
        return retired or mute

    def _misses(self, notify: Notify, link: Link, at: float) -> bool:
        return notify.since > link.heard_at and at >= notify.since + self.rules.answer_deadline_s

    def _links_came(self, seen: Seen) -> None:
        for number in seen.dialled:
            assert number not in self.links, f"link {number} is dialled twice"
            assert seen.now >= self.agent.retry_at - EPSILON_S, f"link {number} is dialled within the pause of its route"
            self.links[number] = Link(number, seen.now)
            self.making.append(number)
            self.agent.dialled(seen.now)

    def _notifies_went(self, seen: Seen) -> None:
        for number, data in seen.to_agent.items():
            for raw in spop.cut(data)[0]:
                got = spop.read_frame(raw)
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

    def _compare(self, seen: Seen) -> None:
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
        why = [[reason for reason in seen.unanswered if self._holds(reason, notify, seen)] for notify in done]
        for notify, reasons in zip(done, why, strict=True):
            assert reasons, f"{notify} is given up for {dict(seen.unanswered)}"
            self._given_up(notify, reasons, seen)
        wrong = self.authored.keys() - {one.ids for one in done}
        assert not wrong, f"{wrong} are answered in their agent's place"
        passed_over = [one.ids for one in self.notifies.values() if one.waits and not one.given and one.turn < self.last_turn]
        for link in self.links.values():
            assert link.over or len(link.hands) <= link.bound, f"link {link.number} has more than {link.bound}: {link.hands}"
        assert not passed_over, f"a later one goes before {passed_over}"
        empty = len(self.authored) if self.rules.unanswered == "empty-ack" else 0
        assert seen.unchecked == empty, f"{seen.unchecked} count as unchecked, {empty} are"

    def _given_up(self, notify: Notify, reasons: list[str], seen: Seen) -> None:
        link = self.links[notify.at] if notify.at is not None else None
        if link is not None and "deadline" in reasons:
            link.missed += self._misses(notify, link, seen.now + EPSILON_S)
        notify.done = "given up"
        codes = {CODES[reason] for reason in reasons if reason in CODES}
        if not self.rules.answers_for_agents or len(codes) < len({CODES.get(reason) for reason in reasons}):
            return  # HAProxy does not wait for it any more, or may not
        assert notify.ids in self.authored, f"{notify.ids} gets no answer for {reasons}"
        notify.done = "given up and answered"
        actions = spop.actions(self.authored[notify.ids])
        if self.rules.unanswered == "empty-ack":
            assert [action.value for action in actions] == [None], f"{notify.ids} gets {actions} for an empty ACK"
        else:
            wanted = [[spop.Action("txn", self.rules.error_name, (spop.INT32, code))] for code in codes]
            assert actions in wanted, f"{notify.ids} gets {actions} for {reasons}"

    def _holds(self, reason: str, notify: Notify, seen: Seen) -> bool:
        """Whether ``notify`` may count as unanswered for that reason."""
        rules = self.rules
        waited = seen.now - notify.since + EPSILON_S
        waits = notify.at is None or notify.at in self.lost_now
        if reason == "haproxy_gone":
            return self.ended
        if reason == "deadline":
            link = self.links[notify.at] if notify.at is not None else None
            if link is None:
                return seen.now >= self._patience_ends(notify) - EPSILON_S
            return waited >= min(rules.answer_deadline_s, BLOCKED_S if link.bound < math.inf else math.inf)
        if reason == "limit":
            held = sum(len(one.raw) for one in self.notifies.values() if one.waits)
            return len(self.before) + len(self.fresh) > rules.open_notifies or held > rules.held_bytes
        if reason == "superseded":
            later = [ids for ids in self.fresh if self.notifies[ids].turn > notify.turn]
            return self.one_at_a_time and bool(later) and waited >= SUPERSEDED_S
        if reason == "notify_dropped":
            sizes = [self.links[number].size for number in {*self.running, *self.lost_now} if self.links[number].hello]
            return waits and len(notify.raw) - 4 > min(sizes, default=math.inf)
        if reason == "agent_away":
            return waits and self._nobody_there(seen)
        assert reason == "agent_gone", reason
        if (self.ended and self.abandons) or (self.draining and notify.ids in self.fresh):
            return True
        if notify.at is None:
            return rules.off and bool(self.lost_now) and not self.running
        if waited >= min(rules.answer_deadline_s, LOSS_S):  # another agent's answer would come too late
            return notify.at in self.lost_now
        return notify.at in self.lost_now and not self._can_wait(notify)

    @property
    def _waits_for_hello(self) -> bool:
        return self.offered_at < math.inf and not self.told_size and not self.refused

    def _patience_ends(self, notify: Notify) -> float:
        """For one NOTIFY without a link; while none runs, the wait for one ends apart from that."""
        rules = self.rules
        room = rules.give_up_s if self.away_since == math.inf else math.inf
        return min(notify.since + min(rules.answer_deadline_s, rules.park_s), max(notify.since, notify.lost_at) + room)

    def _nobody_there(self, seen: Seen) -> bool:
        """Whether NOTIFYs, and HAProxy with them, need not wait for a link any longer."""
        if self.running:
            return False
        by = self.away_since + self.rules.give_up_s  # in this session
        if self.making and not self.dial_failed:
            return seen.now >= min(by, max(self._away_at(), self.oldest + AWAY_S)) - EPSILON_S
        return seen.now >= min(by, self._away_at()) - EPSILON_S

    def _away_at(self) -> float:
        return self.agent.away_at(self.rules.give_up_s)

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
        wanted = not self.ended and (bool(seen.waits) if self.told_size else self._waits_for_hello)
        if wanted and not any(link.running for link in self.links.values()):
            self.away_since = min(self.away_since, seen.now)
        else:
            self.away_since = math.inf

    def _untold(self, seen: Seen) -> set[str]:
        """Why NOTIFYs got no answer in this step that HAProxy may still wait for."""
        return seen.unanswered.keys() & CODES.keys()

    def _haproxy_is_told(self, seen: Seen) -> None:
        """Of what it may wait for in vain, where the end of its connection is to tell it."""
        rules, reasons = self.rules, self._untold(seen)
        idle = not seen.waits and not any(seen.open.values())
        if rules.unanswered == "tell" and reasons and not self.draining and self.told_size:
            if reasons != {"deadline"}:  # where it is only that, its own timeout is as near
                self.tell_by = min(self.tell_by, seen.now + rules.hold_s)
            assert not idle, f"HAProxy is not told of what got no answer: {reasons}"
        assert self.tell_by == math.inf or not idle, "HAProxy is not told of what got no answer, and nothing else is open"
        assert seen.deadline <= max(self.tell_by, seen.now) + EPSILON_S, "HAProxy is never told of what got no answer"

    def _nobody_is_forgotten(self, seen: Seen) -> None:
        rules = self.rules
        assert len(seen.waits) <= rules.open_notifies, f"{len(seen.waits)} NOTIFYs wait"
        assert sum(len(self.notifies[ids].raw) for ids in seen.waits) <= rules.held_bytes, "too many bytes wait"
        assert sum(map(len, (seen.waits, *seen.open.values()))) <= rules.open_notifies, "too many NOTIFYs are open"
        for link in self.links.values():
            assert not (link.running and link.missed >= MUTE) or seen.deadline <= seen.now, f"link {link.number} is mute: {link}"
        if self._waits_for_hello:
            self._haproxy_has_hello_in_time(seen)
        if seen.waits:
            self._nobody_waits_in_vain(seen)

    def _haproxy_has_hello_in_time(self, seen: Seen) -> None:
        by = self._stands_in_at()
        assert seen.now < by + EPSILON_S, f"HAProxy waits for AGENT-HELLO since {self.offered_at}, it was to have one by {by}"
        assert seen.deadline <= by + EPSILON_S, f"HAProxy waits for AGENT-HELLO and is to have one by {by}: {seen.deadline}"
        if not any(link.live for link in self.links.values()):
            assert seen.deadline <= seen.now + RETRY_S + EPSILON_S, "HAProxy waits for AGENT-HELLO, and nobody dials"

    def _nobody_waits_in_vain(self, seen: Seen) -> None:
        rules = self.rules
        # An agent that dies loses all its links, one after the other. Who waits behind such a one waits too.
        doubt = max(self.notifies[ids].lost_at for ids in seen.waits)
        ready = [link for link in self.links.values() if link.ready]
        since = max(self.notifies[ids].next_link for ids in seen.waits)
        doubt_ends = doubt + DOUBT_S
        sure = [link.number for link in ready if link.number >= since or seen.now >= doubt_ends]
        assert not sure, f"{seen.waits} wait, and links {sure} are ready"
        assert not ready or seen.deadline <= doubt_ends + EPSILON_S, f"{seen.waits} wait, and nobody looks for a link"
        oldest = min(self.notifies[ids].since for ids in seen.waits)
        by = min(self._patience_ends(self.notifies[ids]) for ids in seen.waits)
        if self.away_since < math.inf:
            making = any(link.making for link in self.links.values())
            assert making or seen.now < self._away_at(), f"{seen.waits} wait while the agent is away, and nobody dials"
            away_at = max(self._away_at(), oldest + AWAY_S) if making else self._away_at()
            by = min(by, away_at, self.away_since + rules.give_up_s)
        assert seen.deadline <= max(by, seen.now) + EPSILON_S, f"{seen.waits} wait for ever: until {by}"
        if not any(link.live for link in self.links.values()):
            assert seen.deadline <= seen.now + RETRY_S + EPSILON_S, f"{seen.waits} wait, and nobody dials"

    def check_time(self, now: float) -> None:
        """The session was ticked until ``now``: nothing is left of what was due before."""
        rules = self.rules
        if self.ended:
            return
        at = now - EPSILON_S
        assert at < self.tell_by, "HAProxy is not told of what got no answer"
        patience = min(rules.give_up_s, rules.agent_hello_s)
        assert not self._waits_for_hello or at < self.offered_at + patience, "HAProxy waits for AGENT-HELLO for ever"
        waited_for = any(one.waits for one in self.notifies.values())
        for notify in self.notifies.values():
            if notify.done:
                continue
            link = self.links[notify.at] if notify.at is not None else None
            if link is None:
                assert at < self._patience_ends(notify), f"{notify} is kept for ever"
                assert at < self.away_since + rules.give_up_s, f"{notify} is kept for ever, and no link runs"
                continue
            assert at < notify.since + rules.answer_deadline_s, f"{notify} is kept for ever"
            if waited_for and link.bound < math.inf:
                assert at < notify.since + BLOCKED_S, f"{notify} blocks link {notify.at}"
        for link in self.links.values():
            by = link.up_by(rules)
            assert not link.making or at < by, f"link {link.number} was to be up by {by}, and nobody minds"
