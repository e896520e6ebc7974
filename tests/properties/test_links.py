"""Agent links come and go in any way: each NOTIFY is answered at most once, none is forgotten, every promise holds, bounds too.

A state machine plays both sides and the time; ``links_model`` says after every step whether what the session did may be.
"""

import math
from collections import Counter
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from spoe_guard.core.session import Session
from spoe_guard.core.terms.config import Redispatch, SessionConfig, Unanswered
from spoe_guard.core.terms.events import NotifiesUnanswered
from spoe_guard.core.terms.output import Output
from tests.properties import spop
from tests.properties.checker import broken_promises
from tests.properties.conversations import HAPROXY, agent
from tests.properties.driver import Dial, Play, terms_of
from tests.properties.effort import marks, stateful
from tests.properties.links_model import Link, Model, Notify, Rules, Seen

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
    unanswered=st.sampled_from(Unanswered),
    error_name=st.just(b"error"),
    open_notifies=st.sampled_from([65536, 65536, 3, 1]),
    held_bytes=st.sampled_from([1048576, 1048576, 900]),
    disconnect_hold_s=st.sampled_from([0.5, 0.0, 6.0]),
)


def rules_of(config: SessionConfig) -> Rules:
    return Rules(
        give_up_s=config.give_up_s,
        max_links=config.max_links,
        in_flight=config.in_flight,
        again=config.redispatch is Redispatch.UNANSWERED,
        off=config.redispatch is Redispatch.OFF,
        answer_deadline_s=config.answer_deadline_s or math.inf,
        unanswered=config.unanswered.value,
        open_notifies=config.open_notifies,
        held_bytes=config.held_bytes,
        idle_s=config.idle_s,
    )


def ids_of(raw: bytes) -> tuple[int, int]:
    cursor = spop.Cursor(raw)
    return cursor.integer(), cursor.integer()


class Watched(Play):
    """A play whose every step the model sees."""

    def __init__(self, config: SessionConfig, model: Model, *, fast: bool) -> None:
        self.model = model
        super().__init__(config, dial=Dial.NEVER, fast=fast)

    def take(self, out: Output, came: tuple[str, bytes] | None = None) -> None:
        super().take(out, came)
        assert isinstance(self.session, Session)
        stands = self.session.snapshot()
        orders = (out, *out.more)
        unanswered: Counter[str] = Counter()
        for event in out.events:
            if isinstance(event, NotifiesUnanswered):
                unanswered[event.reason.value] += event.count
        seen = Seen(
            now=self.now,
            to_haproxy=out.to_haproxy,
            to_agent={order.link_id: order.to_agent for order in orders if order.to_agent},
            dialled=[order.link_id for order in orders if order.dial],
            closed=[order.link_id for order in orders if self.wires[agent(order.link_id)].closed.value != "keep"],
            haproxy_closed=self.wires[HAPROXY].closed.value != "keep",
            unanswered=unanswered,
            waits=[ids_of(ids) for ids in stands.parked],
            open={number: [ids_of(ids) for ids in link.open] for number, link in stands.links.items()},
            deadline=self.session.deadline,
        )
        self.model.check(seen)
        assert self.tally.parked_notifies == len(seen.waits)
        assert self.tally.open_notifies == sum(map(len, seen.open.values()))


class Links(RuleBasedStateMachine):
    """HAProxy, its agents, and the time. Choices are numbers, taken modulo what there is."""

    @initialize(config=configs, pipelining=st.sampled_from([True, True, True, False]), fast=st.booleans(), up=st.booleans())
    def haproxy_connects(self, config: SessionConfig, pipelining: bool, fast: bool, up: bool) -> None:
        self.model = Model(rules_of(config), offered_pipelining=pipelining)
        self.playing = Watched(config, self.model, fast=fast)
        self.tails: dict[int, tuple[bytes, bytes]] = {}  # an ACK that is begun on a link, and what is left of it
        self.sent = 0
        self.playing.say(HAPROXY, spop.haproxy_hello(capabilities=b"pipelining" if pipelining else b""))
        if up:
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
            self.model.draining = True
            self.playing.drain()

    # --- the agent ---------------------------------------------------------------------------------------------------

    def links(self, *, hello: bool | None = None) -> list[Link]:
        """Those on which an agent may speak."""
        found = [link for number, link in self.model.links.items() if self.playing.wires[agent(number)].speaks]
        return [link for link in found if hello is None or link.hello is hello]

    def agents(self, number: int, data: bytes, whole: list[bytes], *, spoiled: bool = False) -> None:
        if self.playing.wires[agent(number)].speaks:
            self.model.agent_said(number, whole, self.playing.now)
            if spoiled:
                self.model.spoiled(number)
            self.playing.say(agent(number), data)

    def greeted(self, number: int, size: int, *, parallel: bool) -> None:
        self.playing.connected(number)
        self.hello(number, size, parallel=parallel)

    def hello(self, number: int, size: int, *, parallel: bool) -> None:
        size = min(size, self.model.told_size or 16000, self.playing.config.held_bytes - 4)
        got = spop.agent_hello(size, b"pipelining" if parallel and self.model.offered_pipelining else b"")
        self.agents(number, got, [got])

    @precondition(lambda self: self.speaking() and self.playing.dialling)
    @rule(which=st.integers(0, 2), how=st.sampled_from(["good", "good", "good", "small", "serial", "silent", "fails"]))
    def an_agent_is_reached_or_not(self, which: int, how: str) -> None:
        number = self.playing.dialling[which % len(self.playing.dialling)]
        if how == "fails":
            self.model.gone(number)
            self.playing.failed(number)
        elif how == "silent":
            self.playing.connected(number)
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
        rest = {"garbage": GARBAGE, "half": acks[0][:12]}.get(then, b"")
        if rest and rest != GARBAGE:
            self.tails[link.number] = acks[0], acks[0][12:]
        self.agents(link.number, b"".join(got) + rest, got, spoiled=rest == GARBAGE)

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
            self.model.spoiled(number)
        self.agents(number, rest, [ack])

    @precondition(lambda self: self.links())
    @rule(which=st.integers(0, 5), how=st.sampled_from(["fin", "fin", "rst", "rst", "disconnect", "garbage"]))
    def an_agent_goes(self, which: int, how: str) -> None:
        link = self.links()[which % len(self.links())]
        if how in ("fin", "rst"):
            self.tails.pop(link.number, None)
            self.model.gone(link.number)
            self.playing.leave(agent(link.number), reset=how == "rst")
        elif link.hello and link.number not in self.tails:
            if how == "disconnect":
                got = spop.disconnect(spop.AGENT_DISCONNECT)
                self.agents(link.number, got, [got])
            else:
                self.agents(link.number, GARBAGE, [], spoiled=True)

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
            self.model.check_time(playing.now)

    def teardown(self) -> None:
        if hasattr(self, "playing"):
            self.playing.finish()
            assert broken_promises(self.playing.transcript, terms_of(self.playing.config)) == []


Links.TestCase.settings = stateful
TestLinks: Any = Links.TestCase
