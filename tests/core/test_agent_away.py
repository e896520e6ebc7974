"""While no agent is there: HAProxy gets AGENT-HELLO from the guard, and each NOTIFY fails at once."""

# ruff: noqa: E501 - a move and its outcome read best in one line

from typing import Any

import pytest

from spoe_guard.core.conversation.route_state import RouteState
from spoe_guard.core.handed import Handed
from spoe_guard.core.session import Session
from spoe_guard.core.terms.config import Unanswered
from spoe_guard.core.terms.events import AgentUnreachable
from spoe_guard.core.terms.family import Family
from tests.core import frames
from tests.core.script import Talk, running

pytestmark = pytest.mark.usefixtures("all_speeds")

SET: dict[str, Any] = {"unanswered": Unanswered.SET, "error_name": b"error"}
TELL: dict[str, Any] = {"unanswered": Unanswered.TELL}
ANSWERED = "answer notify_unanswered, unanswered agent_away 1, to_haproxy ACK {}"
ENDED = (
    "answer agent_unreachable, unreachable timeout, {} notify_unanswered, unanswered agent_away 1, to_haproxy AGENT_DISCONNECT 13"
)


def fresh(route_state: RouteState | None = None, now: float = 1000.0, **config: Any) -> Talk:
    return Talk(route_state=route_state or there(), now=now, **{"give_up_s": 5.0, **config})


def there() -> RouteState:
    """Return a route whose agent was there before; what it agreed to is not known."""
    route_state = RouteState()
    route_state.agent.was_there()
    return route_state


def away() -> tuple[RouteState, float]:
    """Return a route whose agent has been away since 10 s ago, and the time."""
    route_state = there()
    route_state.agent.failed(990.0, 0.0, 990.0)
    return route_state, 1000.0


# --- HELLO ------------------------------------------------------------------------------------------------------------------


def test_an_agent_that_was_never_there_is_not_waited_for() -> None:
    fresh(RouteState(), **SET).play(f"""
        haproxy HAPROXY_HELLO   -> held, dial
        agent   fail            -> unreachable refused, answer agent_unreachable, to_haproxy AGENT_HELLO, abort agent
        haproxy NOTIFY 1.1      -> {ANSWERED.format("1.1")}
        guard   waits 0.005     -> nothing
        haproxy NOTIFY 3.1      -> held, dial 1
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent1  AGENT_HELLO     -> replacement up, redispatched unsent 1, to_agent1 NOTIFY 3.1
        agent1  ACK 3.1         -> ok
    """)


def test_an_agent_of_the_previous_guard_was_there() -> None:
    route_state = RouteState()
    talk = fresh(route_state)
    hello = frames.haproxy_hello()
    talk.session.take_over(Handed(hello, frames.SHOWN, one_at_a_time=False, family=Family.UNKNOWN, rest=b""), talk.now)
    route_state.agent.failed(talk.now, 0.0, talk.now)
    assert not route_state.agent.is_away(talk.now + 4.9, 5.0)


def test_one_that_went_away_is_waited_for_until_give_up() -> None:
    fresh(give_up_s=0.1).play("""
        haproxy HAPROXY_HELLO   -> held, dial
        agent   fail            -> unreachable refused, abort agent
        guard   waits 0.005     -> dial 1
        agent1  fail            -> unreachable refused, abort agent1
        guard   waits 0.0949    -> dial 2
        guard   waits 0.0002    -> to_haproxy AGENT_HELLO
        agent2  up              -> to_agent2 HAPROXY_HELLO
        agent2  AGENT_HELLO     -> replacement up
        haproxy NOTIFY 1.1      -> to_agent2 NOTIFY 1.1
        agent2  ACK 1.1         -> ok
    """)


def test_haproxy_gets_its_hello_in_time_whatever_the_agent_does() -> None:
    fresh(agent_hello_s=0.195).play("""
        haproxy HAPROXY_HELLO   -> held, dial
        agent   up              -> to_agent HAPROXY_HELLO
        guard   waits 0.1949    -> nothing
        guard   waits 0.0002    -> unreachable hello_timeout, answer agent_unreachable, to_agent HAPROXY_DISCONNECT 0, to_haproxy AGENT_HELLO
    """)


def test_what_the_agent_agreed_to_before_is_promised_at_once() -> None:
    route_state = RouteState()
    small, shown = frames.agent_hello(max_frame_size=1024), frames.shown_hello(max_frame_size=1024)
    fresh(route_state).play("""
        haproxy HAPROXY_HELLO   -> held, dial
        agent   up              -> to_agent HAPROXY_HELLO
        agent   <small>         -> to_haproxy AGENT_HELLO
    """, small=small)  # fmt: skip
    talk = fresh(route_state, **SET).play("""
        haproxy HAPROXY_HELLO   -> held, dial
        agent   fail            -> unreachable refused, to_haproxy AGENT_HELLO, abort agent
        haproxy NOTIFY 1.1      -> held
        guard   waits 0.005     -> dial 1
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent1  <small>         -> replacement up, redispatched unsent 1, to_agent1 NOTIFY 1.1
        agent1  ACK 1.1         -> ok
    """, small=small)  # fmt: skip
    assert talk.written["to_haproxy"].startswith(shown)


def test_the_oldest_notify_is_known_where_there_is_no_link_at_all() -> None:
    route_state = RouteState()
    fresh(route_state).play("""
        haproxy HAPROXY_HELLO   -> held, dial
        agent   up              -> to_agent HAPROXY_HELLO
        agent   AGENT_HELLO     -> to_haproxy AGENT_HELLO
    """)
    talk = fresh(route_state, **SET).play("""
        haproxy HAPROXY_HELLO   -> held, dial
        agent   fail            -> unreachable refused, to_haproxy AGENT_HELLO, abort agent
        haproxy NOTIFY 1.1      -> held
        guard   waits 0.001     -> nothing
    """)
    assert talk.session.oldest_since == talk.now - 0.001


def test_without_pipelining_before_haproxy_is_promised_none() -> None:
    route_state, now = away()
    talk = fresh(route_state, now, **SET).play("""
        haproxy HAPROXY_HELLO   -> held, dial
        agent   fail            -> unreachable refused, answer agent_unreachable, to_haproxy AGENT_HELLO, abort agent
    """)
    assert talk.written["to_haproxy"] == frames.shown_hello(b"")


def test_while_it_is_away_hello_waits_20_ms_for_a_dial() -> None:
    route_state, now = away()
    fresh(route_state, now).play("""
        haproxy HAPROXY_HELLO   -> held, dial
        guard   waits 0.0199    -> nothing
        guard   waits 0.0002    -> to_haproxy AGENT_HELLO
        agent   up              -> to_agent HAPROXY_HELLO
        agent   AGENT_HELLO     -> replacement up
        haproxy NOTIFY 1.1      -> ok
        agent   ACK 1.1         -> ok
    """)


def test_an_agent_that_is_back_answers_hello_itself() -> None:
    route_state, now = away()
    fresh(route_state, now).play("""
        haproxy HAPROXY_HELLO   -> held, dial
        agent   up              -> to_agent HAPROXY_HELLO
        agent   AGENT_HELLO     -> to_haproxy AGENT_HELLO
        haproxy NOTIFY 1.1      -> ok
        agent   ACK 1.1         -> ok
    """)


def test_while_one_session_finds_out_the_others_do_not_dial() -> None:
    route_state, now = away()
    fresh(route_state, now, **SET).play("haproxy HAPROXY_HELLO -> held, dial")
    fresh(route_state, now, **SET).play(f"""
        haproxy HAPROXY_HELLO   -> to_haproxy AGENT_HELLO
        haproxy NOTIFY 1.1      -> {ANSWERED.format("1.1")}
        guard   waits 0.25      -> nothing
        haproxy NOTIFY 3.1      -> held, dial 1
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent1  AGENT_HELLO     -> replacement up, redispatched unsent 1, to_agent1 NOTIFY 3.1
        agent1  ACK 3.1         -> ok
    """)


def test_an_agent_slow_to_answer_hello_has_twice_as_long_each_time() -> None:
    fresh(RouteState(), **SET, connect_s=60.0).play(f"""
        haproxy HAPROXY_HELLO   -> held, dial
        agent   up              -> to_agent HAPROXY_HELLO
        guard   waits 2         -> unreachable hello_timeout, answer agent_unreachable, to_agent HAPROXY_DISCONNECT 0, to_haproxy AGENT_HELLO
        agent   fin             -> close agent
        guard   waits 0.25      -> nothing
        haproxy NOTIFY 1.1      -> held, dial 1
        agent1  up              -> to_agent1 HAPROXY_HELLO
        guard   waits 0.02      -> {ANSWERED.format("1.1")}
        guard   waits 3.97      -> nothing
        agent1  AGENT_HELLO     -> replacement up
        haproxy NOTIFY 3.1      -> to_agent1 NOTIFY 3.1
    """)


def test_a_health_check_is_not_answered_in_place_of_the_agent() -> None:
    route_state, now = away()
    fresh(route_state, now).play("""
        haproxy HAPROXY_HELLO check -> held, dial
        agent   fail            -> unreachable refused, answer agent_unreachable
        guard   waits 0.25      -> to_haproxy AGENT_DISCONNECT 13
    """)


def test_a_haproxy_that_gives_up_between_two_dials_blames_nobody_twice() -> None:
    fresh().play("""
        haproxy HAPROXY_HELLO   -> held, dial
        agent   fail            -> unreachable refused, abort agent
        haproxy rst             -> close haproxy, end haproxy reset
    """)


@pytest.mark.parametrize(("size", "told"), [(65535, False), (65536, True)])
def test_a_large_offer_is_named_as_the_likely_cause_of_silence(size: int, told: bool) -> None:
    talk = fresh(held_bytes=1 << 20)
    talk.play("""
        haproxy <hello>         -> held, dial
        agent   up              -> to_agent HAPROXY_HELLO
        haproxy rst             -> unreachable haproxy_gave_up, to_agent HAPROXY_DISCONNECT 0, close haproxy
    """, hello=frames.haproxy_hello(max_frame_size=size + 12, capabilities=b"pipelining"))  # fmt: skip
    [seen] = [event for event in talk.events if isinstance(event, AgentUnreachable)]
    assert ("hello.profile dropmore" in seen.detail) is told
    assert seen.detail.startswith("HAProxy waited 0 s for AGENT-HELLO")


def test_a_session_in_which_the_guard_stood_in_says_so() -> None:
    route_state, now = away()
    talk = fresh(route_state, now)
    talk.play("haproxy HAPROXY_HELLO -> held, dial")
    assert isinstance(talk.session, Session)
    assert not talk.session.stood_in
    talk.play("agent fail -> unreachable refused, answer agent_unreachable, to_haproxy AGENT_HELLO, abort agent")
    assert talk.session.stood_in


# --- NOTIFY -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "outcome"),
    [
        (SET, ANSWERED.format("1.1")),
        ({"unanswered": Unanswered.EMPTY_ACK}, ANSWERED.format("1.1")),
        (TELL, ENDED.format("answer")),
        ({}, ENDED.format("pass")),
    ],
    ids=["set", "empty-ack", "tell", "leave"],
)
def test_while_it_is_away_a_notify_fails_within_20_ms(config: dict[str, Any], outcome: str) -> None:
    route_state, now = away()
    fresh(route_state, now, **config).play(f"""
        haproxy HAPROXY_HELLO   -> held, dial
        agent   fail            -> unreachable refused, answer agent_unreachable, to_haproxy AGENT_HELLO, abort agent
        guard   waits 0.3       -> nothing
        haproxy NOTIFY 1.1      -> held, dial 1
        guard   waits 0.0199    -> nothing
        guard   waits 0.0002    -> {outcome}{"" if "ACK" in outcome else ", abort agent1"}
    """)


def test_a_mute_agent_counts_where_the_connection_ends_before_its_hello() -> None:
    route_state, now = away()
    fresh(route_state, now, **TELL).play("""
        haproxy HAPROXY_HELLO   -> held, dial
        agent   up              -> to_agent HAPROXY_HELLO
        guard   waits 0.02      -> to_haproxy AGENT_HELLO
        haproxy NOTIFY 1.1      -> held
        guard   waits 0.02      -> answer agent_unreachable, unreachable hello_timeout, answer notify_unanswered, unanswered agent_away 1, to_agent HAPROXY_DISCONNECT 0, to_haproxy AGENT_DISCONNECT 13
    """)


def test_a_dial_that_is_refused_is_not_waited_for() -> None:
    route_state, now = away()
    fresh(route_state, now, **SET).play(f"""
        haproxy HAPROXY_HELLO   -> held, dial
        agent   fail            -> unreachable refused, answer agent_unreachable, to_haproxy AGENT_HELLO, abort agent
        haproxy NOTIFY 1.1      -> {ANSWERED.format("1.1")}
        guard   waits 0.3       -> nothing
        haproxy NOTIFY 3.1      -> held, dial 1
        agent1  fail            -> unreachable refused, {ANSWERED.format("3.1")}, abort agent1
    """)


@pytest.mark.parametrize("known", [False, True])
def test_each_notify_gives_the_dial_its_20_ms(known: bool) -> None:
    """However long ago the session last wanted a link."""
    route_state, now = away()
    if known:
        running(route_state=route_state, now=now)
    hello = "to_haproxy AGENT_HELLO" if known else "answer agent_unreachable, to_haproxy AGENT_HELLO"
    earlier = "" if known else f"haproxy NOTIFY 1.1 -> {ANSWERED.format('1.1')}"
    fresh(route_state, now, **SET).play(f"""
        haproxy HAPROXY_HELLO   -> held, dial
        agent   fail            -> unreachable refused, {hello}, abort agent
        {earlier}
        guard   waits 60        -> nothing
        haproxy NOTIFY 3.1      -> held, dial 1
        guard   waits 0.0199    -> nothing
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent1  AGENT_HELLO     -> replacement up, redispatched unsent 1, to_agent1 NOTIFY 3.1
    """)


def test_a_notify_parked_before_give_up_fails_at_give_up() -> None:
    running(give_up_s=5.0, connect_s=60.0, **SET).play(f"""
        agent   fin             -> answer disconnect_missing, lost closed 0/0, to_agent HAPROXY_DISCONNECT 0, close agent
        haproxy NOTIFY 1.1      -> held
        guard   waits 0.005     -> dial 1
        guard   waits 4.994     -> nothing
        guard   waits 0.001     -> {ANSWERED.format("1.1")}
    """)


def test_an_agent_gone_long_before_the_notify_is_not_waited_for() -> None:
    running(give_up_s=5.0, **SET).play(f"""
        agent   fin             -> answer disconnect_missing, lost closed 0/0, to_agent HAPROXY_DISCONNECT 0, close agent
        guard   waits 60        -> nothing
        haproxy NOTIFY 1.1      -> held, dial 1
        agent1  fail            -> unreachable refused, {ANSWERED.format("1.1")}, abort agent1
    """)


def test_a_dial_that_failed_while_another_link_ran_is_no_sign() -> None:
    """The agent answered all the while; it may have wanted no further connection."""
    running(give_up_s=5.0, max_links=2, in_flight=1, connect_s=60.0, **SET).play(f"""
        haproxy NOTIFY 1.1 + NOTIFY 3.1 -> held, to_agent NOTIFY 1.1, dial 1
        agent1  fail            -> unreachable refused, abort agent1
        agent   ACK 1.1         -> redispatched unsent 1, to_agent NOTIFY 3.1, ok
        agent   ACK 3.1         -> ok
        guard   waits 60        -> nothing
        agent   fin             -> answer disconnect_missing, lost closed 0/0, to_agent HAPROXY_DISCONNECT 0, close agent
        guard   waits 1         -> nothing
        haproxy NOTIFY 5.1      -> held, dial 2
        guard   waits 3         -> nothing
        agent2  fail            -> unreachable refused, abort agent2
        guard   waits 0.19      -> dial 3
        guard   waits 0.8       -> nothing
        guard   waits 0.02      -> {ANSWERED.format("5.1")}
    """)


def test_no_notify_is_parked_for_longer_than_haproxy_waits() -> None:
    running(give_up_s=5.0, park_s=0.49, **SET).play("""
        agent   fin             -> answer disconnect_missing, lost closed 0/0, to_agent HAPROXY_DISCONNECT 0, close agent
        haproxy NOTIFY 1.1      -> held
        guard   waits 0.005     -> dial 1
        guard   waits 0.4849    -> nothing
        guard   waits 0.0002    -> answer notify_unanswered, unanswered deadline 1, to_haproxy ACK 1.1
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent1  AGENT_HELLO     -> replacement up
    """)


def test_with_give_up_0_a_session_ends_with_the_first_notify() -> None:
    fresh(give_up_s=0.0, **SET).play("""
        haproxy HAPROXY_HELLO   -> held, dial
        agent   fail            -> unreachable refused, answer agent_unreachable, to_haproxy AGENT_HELLO, abort agent
        haproxy NOTIFY 1.1      -> answer agent_unreachable, answer notify_unanswered, unanswered agent_away 1, to_haproxy ACK 1.1, to_haproxy AGENT_DISCONNECT 13
        haproxy fin             -> close haproxy, end agent unreachable
    """)


def test_with_give_up_0_one_session_dials_at_a_time() -> None:
    route_state, _ = away()
    before = route_state.agent.retry_at
    fresh(route_state, before - 0.001, give_up_s=0.0, **SET).play("""
        haproxy HAPROXY_HELLO   -> to_haproxy AGENT_HELLO
        haproxy NOTIFY 1.1      -> answer agent_unreachable, answer notify_unanswered, unanswered agent_away 1, to_haproxy ACK 1.1, to_haproxy AGENT_DISCONNECT 13
        haproxy fin             -> close haproxy, end agent unreachable
    """)
    fresh(route_state, before, give_up_s=0.0).play("""
        haproxy HAPROXY_HELLO   -> held, dial
        agent   up              -> to_agent HAPROXY_HELLO
        agent   AGENT_HELLO     -> to_haproxy AGENT_HELLO
    """)


def test_an_agent_that_dies_of_each_notify_is_dialled_for_the_next() -> None:
    talk = running(give_up_s=5.0, **SET).play("haproxy NOTIFY 1.1 -> ok")
    for number in range(1, 6):
        had = f"agent{number - 1}" if number > 1 else "agent"
        talk.play(f"""
            guard   waits 2.0              -> nothing
            {had}   fin                    -> answer disconnect_missing, answer notify_unanswered, unanswered agent_gone 1, lost closed 1/0, to_{had} HAPROXY_DISCONNECT 0, to_haproxy ACK {number}.1, close {had}
            haproxy NOTIFY {number + 1}.1  -> held
            guard   waits 0.0051           -> dial {number}
            agent{number} up               -> to_agent{number} HAPROXY_HELLO
            agent{number} AGENT_HELLO      -> replacement up, redispatched unsent 1, to_agent{number} NOTIFY {number + 1}.1
        """)
