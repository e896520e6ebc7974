"""Agent links come and go in any way: each NOTIFY is answered at most once, none is forgotten, every promise holds, bounds too.

A state machine plays both sides and the time; ``links_model`` says after every step whether what the session did may be.
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from spoe_guard.core.conversation.route_state import RouteState
from spoe_guard.core.session import Session
from spoe_guard.core.terms.anomalies import Side
from spoe_guard.core.terms.config import Redispatch, SessionConfig, Unanswered
from spoe_guard.core.terms.events import DialFailure, NotifiesUnanswered
from spoe_guard.core.terms.output import Output
from spoe_guard.core.terms.tally import Tally
from tests.properties import spop
from tests.properties.checker import broken_promises
from tests.properties.conversations import HAPROXY, agent
from tests.properties.driver import Dial, Play, terms_of
from tests.properties.effort import marks, stateful
from tests.properties.links_model import Link, Model, Notify, Rules, Seen
from tests.properties.route_model import AgentSeen
from tests.properties.transcript import Did, Step

pytestmark = marks

GARBAGE = b"\xff" * 24
LONG_MESSAGE = bytes.fromhex("016d 01 0161 08") + spop.text(b"y" * 300)  # does not fit where 256 are taken
JUST = 1e-4

configs = st.builds(
    SessionConfig,
    give_up_s=st.sampled_from([5.0, 5.0, 0.4]),
    max_links=st.sampled_from([1, 1, 2, 3, 20]),
    in_flight=st.sampled_from([0, 0, 1, 1, 2]),
    retire_s=st.sampled_from([None, None, 1.0]),
    redispatch=st.sampled_from([Redispatch.UNSENT, Redispatch.UNANSWERED, Redispatch.UNANSWERED, Redispatch.OFF]),
    answer_deadline_s=st.sampled_from([None, None, 0.3, 7.0]),
    park_s=st.sampled_from([None, None, 0.2, 6.0]),
    agent_hello_s=st.sampled_from([None, None, 0.1, 6.0]),
    unanswered=st.sampled_from(Unanswered),
    error_name=st.just(b"error"),
    open_notifies=st.sampled_from([65536, 65536, 3, 1]),
    held_bytes=st.sampled_from([1048576, 1048576, 900]),
    disconnect_hold_s=st.sampled_from([0.5, 0.0, 6.0]),
)


OFFERED = 16368  # the max-frame-size that agents are offered for HAProxy's 16380


def rules_of(config: SessionConfig, *, pipelining: bool) -> Rules:
    return Rules(
        give_up_s=config.give_up_s,
        max_links=config.max_links,
        in_flight=config.in_flight,
        again=config.redispatch is Redispatch.UNANSWERED,
        off=config.redispatch is Redispatch.OFF,
        answer_deadline_s=config.answer_deadline_s or math.inf,
        park_s=config.park_s or math.inf,
        agent_hello_s=config.agent_hello_s or math.inf,
        hello_s=config.agent_hello_s or config.hello_s,  # this HAProxy may be one that keeps a mute connection for good
        connect_s=config.connect_s,
        frame_s=config.frame_s,
        hold_s=config.disconnect_hold_s,
        retire_s=config.retire_s or math.inf,
        unanswered=config.unanswered.value,
        error_name=config.error_name,
        offered_size=min(OFFERED, config.held_bytes - 4),
        offers_pipelining=pipelining,
        open_notifies=config.open_notifies,
        held_bytes=config.held_bytes,
        idle_s=config.idle_s,
    )


def ids_of(raw: bytes) -> tuple[int, int]:
    cursor = spop.Cursor(raw)
    return cursor.integer(), cursor.integer()


class Watched(Play):
    """A play whose every step the model sees. ``sound``: whether nothing was found so far."""

    sound = True

    def __init__(self, config: SessionConfig, model: Model, route_state: RouteState, *, now: float, fast: bool) -> None:
        self.model = model
        super().__init__(config, dial=Dial.NEVER, fast=fast, now=now, route_state=route_state)

    def take(self, out: Output, came: tuple[str, bytes] | None = None) -> None:
        self.sound = False
        super().take(out, came)
        assert isinstance(self.session, Session)
        stands = self.session.snapshot()
        orders = (out, *out.more)
        unanswered: Counter[str] = Counter()
        unchecked = 0
        for event in out.events:
            if isinstance(event, NotifiesUnanswered):
                unanswered[event.reason.value] += event.count
                unchecked += event.unchecked
        seen = Seen(
            now=self.now,
            to_haproxy=out.to_haproxy,
            to_agent={order.link_id: order.to_agent for order in orders if order.to_agent},
            dialled=[order.link_id for order in orders if order.dial],
            closed=[order.link_id for order in orders if self.wires[agent(order.link_id)].closed.value != "keep"],
            haproxy_closed=self.wires[HAPROXY].closed.value != "keep",
            unanswered=unanswered,
            unchecked=unchecked,
            waits=[ids_of(ids) for ids in stands.parked],
            open={number: [ids_of(ids) for ids in link.open] for number, link in stands.links.items()},
            deadline=self.session.deadline,
        )
        self.model.check(seen)
        assert self.tally.parked_notifies == len(seen.waits)
        assert self.tally.open_notifies == sum(map(len, seen.open.values()))
        self.sound = True

    def until(self, until: float) -> None:
        super().until(until)
        self.sound = False
        self.model.check_time(self.now)
        self.sound = True


class Another:
    """Another session of the route, which meets the agent in its own way and is over in an instant.

    ``how``: the agent is not reached, HAProxy does not wait for its AGENT-HELLO (``impatient``), or it says one: as it should
    (``good``), with a small size, without pipelining (``serial``), or closes behind it (``closes``).
    """

    def __init__(self, config: SessionConfig, hello: bytes, *, pipelining: bool) -> None:
        self._config = config
        self._hello = hello
        self._pipelining = pipelining

    def meets(self, how: str, route_state: RouteState, seen: AgentSeen, now: float) -> None:
        session = Session(self._config, Tally(), now, RouteState(2, agent=route_state.agent))
        session.start(now)
        out = session.receive(Side.HAPROXY, self._hello, now)
        dialled = any(order.dial for order in (out, *out.more))
        assert dialled == (now >= seen.retry_at), f"another session {'dials' if dialled else 'does not dial'} at {now}: {seen}"
        if dialled:
            seen.dialled(now)
            self._reaches(how, session, seen, now)
        session.closed(Side.HAPROXY, now, reset=True)

    def _reaches(self, how: str, session: Session, seen: AgentSeen, now: float) -> None:
        if how in ("refused", "impatient"):
            seen.not_reached(now, now, another_runs=False)
        if how == "refused":
            session.agent_failed(DialFailure.REFUSED, "refused", now)
            return
        session.agent_connected(now)
        if how == "impatient":
            return
        size = min(256 if how == "small" else 16000, self._config.held_bytes - 4)
        pipelining = self._pipelining and how != "serial"
        session.receive(Side.AGENT, spop.agent_hello(size, b"pipelining" if pipelining else b""), now)
        seen.said_hello(size, pipelining=pipelining)
        if how == "closes":
            session.closed(Side.AGENT, now, reset=False)
            seen.ended_last_link(now)


MEETINGS = st.sampled_from(["refused", "refused", "refused", "impatient", "good", "small", "serial", "closes"])


class Links(RuleBasedStateMachine):
    """HAProxy, its agents, and the time. Choices are numbers, taken modulo what there is."""

    @initialize(
        config=configs,
        pipelining=st.sampled_from([True, True, True, False]),
        fast=st.booleans(),
        up=st.booleans(),
        earlier=st.lists(MEETINGS, max_size=2),
        ago=st.sampled_from([0.0, 0.004, 0.1, 20.0]),
    )
    def haproxy_connects(
        self, config: SessionConfig, pipelining: bool, fast: bool, up: bool, earlier: Sequence[str] = (), ago: float = 0.0
    ) -> None:
        hello = spop.haproxy_hello(capabilities=b"pipelining" if pipelining else b"")
        self.seen = AgentSeen()
        self.route_state = RouteState()
        self.another = Another(config, hello, pipelining=pipelining)
        now = 1000.0
        for how in earlier:
            self.another.meets(how, self.route_state, self.seen, now)
            now += ago
        self.model = Model(rules_of(config, pipelining=pipelining), self.seen)
        self.playing = Watched(config, self.model, self.route_state, now=now, fast=fast)
        self.tails: dict[int, tuple[bytes, bytes]] = {}  # an ACK that is begun on a link, and what is left of it
        self.sent = 0
        if self.seen.was_there:
            self.playing.transcript.append(Step(now, Did.AGENT_ELSEWHERE))
        self.model.offered(now)
        self.playing.say(HAPROXY, hello)
        if up and self.playing.dialling:
            self.greeted(0, 16000, parallel=True)

    # --- HAProxy -----------------------------------------------------------------------------------------------------

    def haproxy(self, data: bytes, whole: list[bytes]) -> None:
        if self.playing.wires[HAPROXY].speaks:
            self.model.haproxy_said(whole, self.playing.now)
            self.playing.say(HAPROXY, data)

    @precondition(lambda self: self.speaking() and self.model.told_size)
    @rule(count=st.sampled_from([1, 1, 1, 2, 4]), long=st.sampled_from([False, False, True]), cut=st.sampled_from([0, 0, 3, 20]))
    def haproxy_asks(self, count: int, long: bool, cut: int) -> None:
        notifies = []
        for _ in range(count):
            payload = LONG_MESSAGE if long and self.model.told_size > 400 else spop.ONE_MESSAGE
            notifies.append(spop.frame(spop.NOTIFY, (2 * self.sent + 1, 1), payload))
            self.sent += 1
        if cut:
            self.haproxy(notifies[0][:cut], [])
            self.haproxy(notifies[0][cut:], notifies[:1])
            notifies = notifies[1:]
        if notifies:
            self.haproxy(b"".join(notifies), notifies)

    @precondition(lambda self: self.speaking())
    @rule(how=st.integers(0, 30))
    def haproxy_leaves_or_the_guard_is_stopped(self, how: int) -> None:
        if how < 3:
            self.model.may_end = True
        if how == 0:
            self.playing.say(HAPROXY, spop.disconnect(spop.HAPROXY_DISCONNECT))
        elif how < 3:
            self.playing.leave(HAPROXY, reset=how == 1)
        elif how < 5:
            self.model.drained()
            self.playing.drain()

    # --- the agent ---------------------------------------------------------------------------------------------------

    def links(self, *, hello: bool | None = None) -> list[Link]:
        """Those on which an agent may speak."""
        found = [link for number, link in self.model.links.items() if self.playing.wires[agent(number)].speaks]
        return [link for link in found if hello is None or link.hello is hello]

    def agents(self, number: int, data: bytes, whole: list[bytes], *, rest: str = "") -> None:
        """``rest``: what ``data`` ends in, where that is no whole frame."""
        if self.playing.wires[agent(number)].speaks:
            self.model.agent_said(number, whole, self.playing.now)
            if rest == "half":
                self.model.half(number, self.playing.now)
            elif rest:
                self.model.spoiled(number, self.playing.now)
            self.playing.say(agent(number), data)

    def connects(self, number: int) -> None:
        self.model.connected(number, self.playing.now)
        self.playing.connected(number)

    def greeted(self, number: int, size: int, *, parallel: bool) -> None:
        self.connects(number)
        self.hello(number, size, parallel=parallel)

    def hello(self, number: int, size: int, *, parallel: bool) -> None:
        size = min(size, self.model.told_size or 16000, self.playing.config.held_bytes - 4)
        got = spop.agent_hello(size, b"pipelining" if parallel and self.model.rules.offers_pipelining else b"")
        self.agents(number, got, [got])

    @precondition(lambda self: self.speaking() and self.playing.dialling)
    @rule(which=st.integers(0, 2), how=st.sampled_from(["good", "good", "good", "small", "serial", "silent", "fails"]))
    def an_agent_is_reached_or_not(self, which: int, how: str) -> None:
        number = self.playing.dialling[which % len(self.playing.dialling)]
        if how == "fails":
            self.model.gone(number, self.playing.now)
            self.playing.failed(number)
        elif how == "silent":
            self.connects(number)
        else:
            self.greeted(number, 256 if how == "small" else 16000, parallel=how != "serial")

    @precondition(lambda self: self.links(hello=False))
    @rule(which=st.integers(0, 2), how=st.sampled_from(["hello", "hello", "refusal"]))
    def an_agent_says_hello_after_all(self, which: int, how: str) -> None:
        silent = self.links(hello=False)
        number = silent[which % len(silent)].number
        if how == "hello":
            self.hello(number, 16000, parallel=True)
        else:
            got = spop.disconnect(spop.AGENT_DISCONNECT, 4)
            self.agents(number, got, [got])

    @precondition(lambda self: any(link.hands and link.number not in self.tails for link in self.links(hello=True)))
    @rule(
        which=st.integers(0, 3),
        picks=st.lists(st.integers(0, 5), min_size=1, max_size=3),
        then=st.sampled_from(["", "", "", "", "again", "disconnect", "garbage", "half"]),
        disconnect_first=st.sampled_from([False, False, False, True]),
    )
    def an_agent_answers(self, which: int, picks: list[int], then: str, disconnect_first: bool) -> None:
        links = [link for link in self.links(hello=True) if link.hands and link.number not in self.tails]
        link = links[which % len(links)]
        acks = list(dict.fromkeys(self.ack(list(link.hands)[pick % len(link.hands)]) for pick in picks))
        its_disconnect = spop.disconnect(spop.AGENT_DISCONNECT)
        got = [its_disconnect, *acks] if disconnect_first else acks
        got += {"again": acks[:1], "disconnect": [its_disconnect]}.get(then, [])
        ends_in = {"garbage": GARBAGE, "half": acks[0][:12]}.get(then, b"")
        if then == "half":
            self.tails[link.number] = acks[0], acks[0][12:]
        self.agents(link.number, b"".join(got) + ends_in, got, rest=then if ends_in else "")

    @staticmethod
    def ack(ids: tuple[int, int]) -> bytes:
        return spop.frame(spop.ACK, ids, spop.ALLOWED)

    @precondition(lambda self: self.model.notifies and any(link.number not in self.tails for link in self.links(hello=True)))
    @rule(which=st.integers(0, 3), pick=st.integers(0, 7))
    def an_agent_answers_what_another_has_or_what_is_done_or_waits(self, which: int, pick: int) -> None:
        links = [link for link in self.links(hello=True) if link.number not in self.tails]
        got = self.ack(self.recent(pick).ids)
        self.agents(links[which % len(links)].number, got, [got])

    def recent(self, pick: int) -> Notify:
        return list(self.model.notifies.values())[-1 - pick % min(8, len(self.model.notifies))]

    @precondition(lambda self: self.tails)
    @rule()
    def the_rest_of_an_answer_comes(self) -> None:
        number, (ack, rest) = self.tails.popitem()
        if self.model.links[number].lost:  # it came too late
            self.model.spoiled(number, self.playing.now)
        self.agents(number, rest, [ack])

    @precondition(lambda self: self.links())
    @rule(which=st.integers(0, 5), how=st.sampled_from(["fin", "fin", "rst", "rst", "disconnect", "garbage"]))
    def an_agent_goes(self, which: int, how: str) -> None:
        link = self.links()[which % len(self.links())]
        if how in ("fin", "rst"):
            self.tails.pop(link.number, None)
            self.model.gone(link.number, self.playing.now)
            self.playing.leave(agent(link.number), reset=how == "rst")
        elif link.hello and link.number not in self.tails:
            if how == "disconnect":
                got = spop.disconnect(spop.AGENT_DISCONNECT)
                self.agents(link.number, got, [got])
            else:
                self.agents(link.number, GARBAGE, [], rest="garbage")

    @precondition(lambda self: self.speaking() and not self.model.ended)
    @rule(how=MEETINGS)
    def another_session_of_the_route_meets_the_agent(self, how: str) -> None:
        self.another.meets(how, self.route_state, self.seen, self.playing.now)
        if self.seen.failing_at == math.inf:
            self.playing.transcript.append(Step(self.playing.now, Did.AGENT_ELSEWHERE))

    # --- time --------------------------------------------------------------------------------------------------------

    def speaking(self) -> bool:
        return self.playing.wires[HAPROXY].speaks

    @rule(to=st.sampled_from(["before", "due", "due", "after", "0.004", "0.02", "0.1", "0.5", "1", "5", "31"]))
    def time_passes(self, to: str) -> None:
        playing = self.playing
        deadline = playing.session.deadline
        until = {"before": deadline - JUST, "due": deadline, "after": deadline + JUST}.get(to)
        if until is None:
            until = playing.now + float(to)
        if playing.now <= until < math.inf and until - playing.now < 60:
            playing.until(until)

    def teardown(self) -> None:
        if hasattr(self, "playing") and self.playing.sound:
            self.playing.finish()
            broken = broken_promises(self.playing.transcript, terms_of(self.playing.config))
            assert not broken, "\n".join(broken)


Links.TestCase.settings = stateful
TestLinks: Any = Links.TestCase
