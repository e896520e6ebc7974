"""The state machine detects a guard that loses track of its links or NOTIFYs, or of whether its agent is there."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule, run_state_machine_as_test

from spoe_guard.core.conversation import links as links_part
from spoe_guard.core.conversation import notifies as notifies_part
from spoe_guard.core.conversation.agent_link import AgentLink
from spoe_guard.core.conversation.agent_state import AgentState
from spoe_guard.core.conversation.ending import Awaited, Ending, Wait
from spoe_guard.core.conversation.ledger import Fate
from spoe_guard.core.conversation.links import Links as LinksPart
from spoe_guard.core.conversation.notifies import Notifies
from spoe_guard.core.conversation.parking import Parking
from spoe_guard.core.incoming.agent import from_agent
from spoe_guard.core.terms.config import Redispatch, SessionConfig, Unanswered
from spoe_guard.core.terms.events import EndedBy, EndReason, NotifiesUnanswered, UnansweredReason
from spoe_guard.core.terms.states import LinkState
from tests.builds import puts_in_place
from tests.properties.effort import marks
from tests.properties.test_links import Links

pytestmark = marks

send, up, judge_ack, may_open_at, stand_in, stands_in_at, tell, answer = (
    Notifies.send,
    LinksPart.up,
    from_agent.judge_ack,
    LinksPart.may_open_at,
    LinksPart.stand_in,
    LinksPart.stands_in_at,
    Ending.tell,
    Notifies._answer,
)


def sent_again_and_again(self: Any, link: Any, waits: Any) -> None:
    send(self, link, waits)
    if waits.again:
        link.ledger.pop(waits.ids)
        link.ledger.add(waits.ids, waits.since, waits.raw)


def up_with(change: Callable[[Any, Any], None]) -> Callable[..., None]:
    def changed(self: Any, link: Any, *rest: Any) -> None:
        up(self, link, *rest)
        change(self, link)

    return changed


def keep(_: Any, link: Any) -> None:
    link.ledger.most_kept = 1 << 20


def swell(conv: Any, link: Any) -> None:
    link.ledger.size = conv._notifies.told_size


def ends_with_a_link(self: Any, link: Any, loss: Any, now: float, *_rest: Any, **named: Any) -> None:
    self._drop(named.get("pending"))
    self._links.lose(link, now, loss)
    self.finish(now, EndedBy.AGENT, EndReason.CLOSED)


def answered_twice(walker: Any, sent: Any, now: float) -> None:
    if walker.conv.notifies.fate(sent.ids) is Fate.ANSWERED:
        walker.pass_on(sent, sent.raw)
    else:
        judge_ack(walker, sent, now)


def one_link_more(self: Any) -> float:
    self._config = replace(self._config, max_links=self._config.max_links + 1)
    at = may_open_at(self)
    self._config = replace(self._config, max_links=self._config.max_links - 1)
    return at


def backwards(self: Any) -> Any:
    return [*self][-1]


def promises_all(self: Any, now: float) -> Any:
    agreed, self._route.agent.agreed = self._route.agent.agreed, None
    promised = stand_in(self, now)
    self._route.agent.agreed = agreed
    return promised


def wants_still(self: Any, now: float) -> Any:
    since = self.away_since
    promised = stand_in(self, now)
    self.away_since = since
    return promised


def stands_in_at_once(self: Any) -> float:
    return min(stands_in_at(self), -math.inf) if stands_in_at(self) < math.inf else math.inf


def parks_on(self: Any) -> float:
    return self._config.answer_deadline_s or math.inf


def fails_beside_others(self: Any, link: Any, reason: Any, detail: str, now: float) -> None:
    self._last_failure = detail
    self._route.agent.failed(now, self._route.spread, min(self.away_since, now))


def tells_nobody(self: Any, now: float) -> None:
    self._notifies.take_untold()


def tells_at_once(self: Any, now: float) -> None:
    tell(self, now)
    if self.waits is not None and self.waits.what is Awaited.OTHERS:
        self.wait_over(now)


def tells_when_it_suits(self: Any, now: float) -> None:
    tell(self, now)
    if self.waits is not None and self.waits.what is Awaited.OTHERS:
        self.waits = Wait(Awaited.OTHERS, math.inf)


def answers_twice_over(self: Any, ids: bytes, reason: Any) -> bytes:
    raw = answer(self, ids, reason)
    return (len(raw) - 4 + len(raw) - 9 - len(ids)).to_bytes(4, "big") + raw[4:] + raw[9 + len(ids) :]


def all_unchecked(reason: Any, count: int, _unchecked: int, links: Any) -> Any:
    return NotifiesUnanswered(reason, count, count, links)


def under(config: SessionConfig, *, up: bool = True, earlier: tuple[str, ...] = ()) -> type[Links]:
    """Return the state machine with ``config``: under it, or behind that start, what goes wrong is found much sooner."""

    class Under(Links):
        @initialize(fast=st.booleans())
        def haproxy_connects(self, fast: bool) -> None:
            super().haproxy_connects(config, pipelining=True, fast=fast, up=up, earlier=earlier)

    return Under


# A NOTIFY lives long, and may meet a second agent.
patient = under(SessionConfig(give_up_s=5.0, redispatch=Redispatch.UNANSWERED, max_links=2))
# Two links have room for a NOTIFY each, and one that is lost has had its NOTIFY for longer than another waits for room.
crowded = under(SessionConfig(give_up_s=0.4, redispatch=Redispatch.UNANSWERED, max_links=2, in_flight=1))
# An agent is soon away, and each NOTIFY gets an answer.
SETS = SessionConfig(give_up_s=0.4, unanswered=Unanswered.SET, error_name=b"error")
sets = under(SETS)
sets_for_known = under(SETS, up=False, earlier=("small", "refused"))
sets_for_several = under(replace(SETS, give_up_s=5.0, max_links=3, in_flight=1))
sets_in_time = under(replace(SETS, give_up_s=5.0, answer_deadline_s=0.3))
TELLS = SessionConfig(give_up_s=5.0, unanswered=Unanswered.TELL, max_links=3, in_flight=1)
tells = under(TELLS)


class AnswersOnceGone(patient):
    @precondition(lambda self: self.links(hello=True) and self.model.notifies)
    @rule(which=st.integers(0, 5), pick=st.integers(0, 7))
    def an_agent_leaves_and_answers_later(self, which: int, pick: int) -> None:
        self.an_agent_goes(which, "disconnect")
        self.time_passes("due")
        if any(link.number not in self.tails for link in self.links(hello=True)):
            self.an_agent_answers_what_another_has_or_what_is_done_or_waits(which, pick)


MACHINES = {
    "a lost link is not heard": AnswersOnceGone,
    "a NOTIFY goes to a third agent": patient,
    "a smaller size is not minded": patient,
    "AGENT-HELLO promises what the agent does not accept": sets_for_known,
    "what waited for AGENT-HELLO waits on": sets_for_known,
    "a dial that failed beside a link counts": sets_for_several,
    "what a lost link had has no time to wait for room": crowded,
    "a mute agent keeps its link": sets_in_time,
    "NOTIFYs end with others that are told of": tells,
    "HAProxy is told when it suits": tells,
    "an answer has another code": sets,
    "an answer sets it twice": sets,
    "a lost NOTIFY gets no answer": sets,
    "answered for an agent counts as unchecked": sets,
}

BREAKAGES: dict[str, tuple[Any, str, Any, str]] = {
    "a NOTIFY goes to a third agent": (Notifies, "send", sent_again_and_again, "goes to link|too many values|waits"),
    "what a lost link had goes to the next one unasked": (LinksPart, "up", up_with(keep), "waits again"),
    "what waits is forgotten": (Notifies, "send_parked", lambda self, now: None, "wait, and links|ticks"),
    "in_flight is not counted": (AgentLink, "ready", property(lambda self: self.state is LinkState.RUNNING), "more than"),
    "links are opened without number": (
        LinksPart, "may_open_at", one_link_more, "at a time",
    ),
    "what waits too long is kept": (LinksPart, "patience_ends", lambda self: math.inf, "wait for ever|to have one by"),
    "an agent's absence ends nothing": (Ending, "no_agent", lambda self, found, now: None, "ticks|while the agent is away"),
    "the session ends with a link": (Ending, "link_over", ends_with_a_link, "HAProxy is closed"),
    "an ACK passes twice": (from_agent, "judge_ack", answered_twice, "H3|is open on"),
    "a lost link is not heard": (
        from_agent, "behind_disconnect", lambda walker, sent, now: walker.pass_on(sent, None), "H5",
    ),
    "a smaller size is not minded": (LinksPart, "up", up_with(swell), "too long|A2"),
    "what waits goes out of order": (Parking, "first", backwards, "goes before"),
    "a lost link's NOTIFYs stay on it": (
        Notifies, "take_back", lambda self, *_: (0, 0), r"HAProxy is closed|kept|Counter\(.*for",
    ),
    "AGENT-HELLO promises what the agent does not accept": (LinksPart, "stand_in", promises_all, "AGENT-HELLO promises"),
    "AGENT-HELLO is the guard's at once": (LinksPart, "stands_in_at", stands_in_at_once, "that no agent said"),
    "AGENT-HELLO is an agent's alone": (LinksPart, "stands_in_at", lambda self: math.inf, "HAProxy waits for AGENT-HELLO"),
    "what waited for AGENT-HELLO waits on": (LinksPart, "stand_in", wants_still, "given up for {'agent_away'"),
    "a mute link is waited for": (LinksPart, "_hello_wait_s", lambda self: 30.0, "was to be up by"),
    "an agent is never away": (AgentState, "away_at", lambda self, give_up_s: math.inf, "is away|to have one by|for ever"),
    "a dial has no time while the agent is away": (
        links_part, "AWAY_WAIT_S", 0.0, "given up for {'agent_away'|that no agent said",
    ),
    "a dial has all the time while the agent is away": (links_part, "AWAY_WAIT_S", 0.5, "for ever|to have one by"),
    "a dial that failed beside a link counts": (LinksPart, "_failed", fails_beside_others, "agent_away|HAProxy is closed"),
    "dials of a route do not wait for each other": (AgentState, "_pause", lambda self, now, spread: None, "the pause|dials at"),
    "park_s is not minded": (LinksPart, "_longest_wait_s", property(parks_on), "wait for ever"),
    "what a lost link had has no time to wait for room": (Parking, "parked_since", Parking.since, "given up for {'deadline'"),
    "a mute agent keeps its link": (AgentLink, "mute", property(lambda self: False), "is mute"),
    "HAProxy is not told": (Ending, "tell", tells_nobody, "is not told|is never told"),
    "NOTIFYs end with others that are told of": (Ending, "tell", tells_at_once, "given up for {.*'agent_gone'"),
    "HAProxy is told when it suits": (Ending, "tell", tells_when_it_suits, "never told"),
    "an answer has another code": (
        notifies_part, "ERROR_CODES", dict.fromkeys(notifies_part.ERROR_CODES, 1), r"gets \[Action.* for \['agent_",
    ),
    "an answer sets it twice": (Notifies, "_answer", answers_twice_over, r"gets \[Action.*Action"),
    "a lost NOTIFY gets no answer": (
        notifies_part, "_HAPROXY_WAITS", notifies_part._HAPROXY_WAITS - {UnansweredReason.AGENT_GONE}, "gets no answer",
    ),
    "answered for an agent counts as unchecked": (notifies_part, "NotifiesUnanswered", all_unchecked, "count as unchecked"),
}  # fmt: skip


@puts_in_place
@pytest.mark.parametrize("how", BREAKAGES)
def test_a_guard_that_is_broken_is_found_out(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    where, name, broken, sent = BREAKAGES[how]
    monkeypatch.setattr(where, name, broken)
    quick = settings(max_examples=8000, stateful_step_count=40, phases=[Phase.generate], report_multiple_bugs=False)
    with pytest.raises(Exception, match=sent):
        run_state_machine_as_test(MACHINES.get(how, Links), settings=quick)
