"""After a DISCONNECT: which frames still pass, and how soon both sides are closed (promises H4, A3)."""

import pytest

from spoe_guard.wire import frame
from tests.core.script import play, running

pytestmark = pytest.mark.usefixtures("both_speeds")


def test_behind_the_held_disconnect_only_acks_have_a_place() -> None:
    running().play(
        """
        haproxy NOTIFY 1.1         -> ok
        agent   AGENT_DISCONNECT 0 -> held, reorder disconnect_before_ack
        agent   ACK 7.1            -> drop unmatched_ack
        agent   AGENT_HELLO        -> drop hello_repeated
        agent   AGENT_DISCONNECT 0 -> drop disconnect_repeated
        agent   NOTIFY 1.1         -> drop wrong_side_frame
        agent   <new>              -> drop unknown_frame_type
        agent   ACK 1.1            -> reorder ack_after_disconnect, to_agent HAPROXY_DISCONNECT 0, \
                to_haproxy ACK 1.1, to_haproxy AGENT_DISCONNECT 0
        """,
        new=frame.encode(104),
    )


def test_nothing_passes_behind_a_disconnect() -> None:
    running().play(
        """
        haproxy NOTIFY 1.1         -> ok
        agent   ACK 1.1            -> ok
        agent   AGENT_DISCONNECT 0 -> to_agent HAPROXY_DISCONNECT 0, ok
        agent   ACK 1.1 + ACK 3.1  -> drop duplicate_ack, drop unmatched_ack
        agent   AGENT_DISCONNECT 0 -> drop disconnect_repeated
        agent   AGENT_HELLO        -> drop frame_after_disconnect
        agent   NOTIFY 1.1 + <new> -> drop frame_after_disconnect, drop frame_after_disconnect
        haproxy NOTIFY 3.1         -> nothing
        haproxy HAPROXY_DISCONNECT 0 -> close haproxy
        agent   fin                -> close agent, end agent disconnect
        """,
        new=frame.encode(104),
    )


def test_both_sides_are_closed_at_close_timeout() -> None:
    play(
        """
        agent AGENT_DISCONNECT 0 -> to_agent HAPROXY_DISCONNECT 0, ok
        guard waits 2.999        -> nothing
        guard waits 0.001        -> close haproxy, close agent, end agent disconnect
        """,
        close_s=3.0,
    )


def test_a_side_that_closed_in_time_is_not_closed_again() -> None:
    play(
        """
        agent   AGENT_DISCONNECT 0 -> to_agent HAPROXY_DISCONNECT 0, ok
        haproxy rst                -> close haproxy
        haproxy fin                -> nothing
        guard   waits 1            -> close agent, end agent disconnect
        agent   fin                -> nothing
        """
    )


def test_an_agent_silent_on_haproxys_disconnect_is_closed_at_close_timeout() -> None:
    play(
        """
        haproxy rst         -> to_agent HAPROXY_DISCONNECT 0, close haproxy
        guard   waits 0.999 -> nothing
        guard   waits 0.001 -> close agent, end haproxy reset
        """
    )


def test_a_disconnect_passes_with_the_last_answer_and_nothing_behind_it() -> None:
    play(
        """
        haproxy NOTIFY 1.1 -> ok
        agent   AGENT_DISCONNECT 7 + ACK 1.1 + ACK 1.1 + NOTIFY 1.1 -> reorder disconnect_before_ack, \
                reorder ack_after_disconnect, drop duplicate_ack, drop frame_after_disconnect, \
                to_agent HAPROXY_DISCONNECT 0, to_haproxy ACK 1.1, to_haproxy AGENT_DISCONNECT 7
        """
    )
