"""The state machine detects a guard that loses track of its links or NOTIFYs."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, run_state_machine_as_test

from spoe_guard.core.conversation.agent_link import AgentLink
from spoe_guard.core.conversation.ending import Ending
from spoe_guard.core.conversation.ledger import Fate
from spoe_guard.core.conversation.links import Links as LinksPart
from spoe_guard.core.conversation.notifies import Notifies
from spoe_guard.core.conversation.parking import Parking
from spoe_guard.core.incoming.agent import from_agent
from spoe_guard.core.terms.config import Redispatch, SessionConfig
from spoe_guard.core.terms.events import EndedBy, EndReason
from spoe_guard.core.terms.states import LinkState
from tests.builds import puts_in_place
from tests.properties.effort import marks
from tests.properties.test_links import Links

pytestmark = marks

send, up, judge_ack, may_open_at = (
    Notifies.send,
    LinksPart.up,
    from_agent.judge_ack,
    LinksPart.may_open_at,
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
    return reversed([*self._again.values(), *self._first.values()])


PATIENT = SessionConfig(give_up_s=5.0, redispatch=Redispatch.UNANSWERED, max_links=2)


class Patient(Links):
    """With settings under which a NOTIFY lives long: what goes wrong with the second agent it meets is found much sooner."""

    @initialize(fast=st.booleans())
    def haproxy_connects(self, fast: bool) -> None:
        super().haproxy_connects(PATIENT, pipelining=True, fast=fast, up=True)


LONG_LIVED = ("a NOTIFY goes to a third agent", "a smaller size is not minded")

BREAKAGES: dict[str, tuple[Any, str, Any, str]] = {
    "a NOTIFY goes to a third agent": (Notifies, "send", sent_again_and_again, "goes to link|too many values|waits"),
    "what a lost link had goes to the next one unasked": (LinksPart, "up", up_with(keep), "waits again"),
    "what waits is forgotten": (Notifies, "send_parked", lambda self, now: None, "wait, and links"),
    "in_flight is not counted": (AgentLink, "ready", property(lambda self: self.state is LinkState.RUNNING), "more than"),
    "links are opened without number": (
        LinksPart, "may_open_at", one_link_more, "at a time",
    ),
    "what waits too long is kept": (LinksPart, "patience_ends", lambda self: float("inf"), "wait for ever"),
    "an agent's absence ends nothing": (Ending, "no_agent", lambda self, found, now: None, "ticks"),
    "the session ends with a link": (Ending, "link_over", ends_with_a_link, "HAProxy is closed"),
    "an ACK passes twice": (from_agent, "judge_ack", answered_twice, "H3|is open on"),
    "a lost link is not heard": (
        from_agent, "behind_disconnect", lambda walker, sent, now: walker.pass_on(sent, None), "H5",
    ),
    "a smaller size is not minded": (LinksPart, "up", up_with(swell), "too long|A2"),
    "what waits goes out of order": (Parking, "__iter__", backwards, "goes before"),
    "a lost link's NOTIFYs stay on it": (Notifies, "take_back", lambda self, *_: (0, 0), "HAProxy is closed|kept"),
}  # fmt: skip


@puts_in_place
@pytest.mark.parametrize("how", BREAKAGES)
def test_a_guard_that_is_broken_is_found_out(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    where, name, broken, sent = BREAKAGES[how]
    monkeypatch.setattr(where, name, broken)
    quick = settings(max_examples=2000, stateful_step_count=40, phases=[Phase.generate], report_multiple_bugs=False)
    with pytest.raises(Exception, match=sent):
        run_state_machine_as_test(Patient if how in LONG_LIVED else Links, settings=quick)
