"""An ACK without FIN is a whole answer or a first fragment: the next frame decides, or a timeout."""

import pytest

from spoe_guard.core.terms.anomalies import Action, Anomaly
from tests.core.frames import ABRT, ack, unset
from tests.core.test_session_fragments import BAD_BOOL, FIRST, HALF, LOST, asked

pytestmark = pytest.mark.usefixtures("both_speeds")


def test_a_whole_looking_ack_without_fin_passes_when_nothing_follows() -> None:
    talk = asked().play(
        """
        agent <first>      -> held
        guard waits 0.0099 -> nothing
        guard waits 0.0001 -> repair missing_fin, to_haproxy ACK 1.1
        """,
        first=FIRST,
    )
    assert talk.written["to_haproxy"].endswith(ack())


def test_the_next_frame_tells_at_once_that_nothing_follows() -> None:
    asked().play(
        """
        agent <first> + ACK 3.1  -> repair missing_fin, to_haproxy ACK 1.1, to_haproxy ACK 3.1
        """,
        first=FIRST,
    )


def test_an_agent_that_does_not_set_fin_is_waited_for_once() -> None:
    asked().play(
        """
        agent <first>      -> held
        guard waits 0.01   -> repair missing_fin, to_haproxy ACK 1.1
        agent <next>       -> repair missing_fin, repair ack_bad_bool, to_haproxy ACK 3.1
        agent <cut>        -> held
        """,
        first=FIRST,
        next=ack("3.1", payload=BAD_BOOL, flags=0),
        cut=ack("5.1", payload=HALF, flags=0),
    )


def test_after_a_late_continuation_fin_alone_decides_when_an_ack_ends() -> None:
    asked(frame_s=2.0).play(
        f"""
        agent <first>      -> held
        guard waits 0.01   -> repair missing_fin, to_haproxy ACK 1.1
        agent <late>       -> drop unknown_frame_type
        agent <next>       -> held
        guard waits 1.999  -> nothing
        guard waits 0.001  -> {LOST}
        agent <last> + <rest> -> repair fragmented_ack, to_haproxy ACK 5.1
        """,
        first=FIRST,
        late=unset(),
        next=ack("3.1", flags=0),
        last=ack("5.1", flags=0),
        rest=unset("5.1"),
    )


def test_a_continuation_of_nothing_says_nothing_of_fin() -> None:
    asked().play(
        """
        agent <stray>      -> drop unknown_frame_type
        agent <first>      -> held
        guard waits 0.01   -> repair missing_fin, to_haproxy ACK 1.1
        """,
        stray=unset("9.1"),
        first=FIRST,
    )


def test_an_abort_on_the_ack_itself_begins_no_fragments() -> None:
    asked().play("agent <odd> -> repair missing_fin, repair reserved_flags, to_haproxy ACK 1.1", odd=ack(flags=ABRT))


def test_behind_a_close_by_policy_nothing_of_the_same_read_passes() -> None:
    asked({Anomaly.MISSING_FIN: Action.CLOSE}).play(
        """
        agent <first> + ACK 3.1 -> close missing_fin, pass notify_unanswered, unanswered agent_gone 3, drop late_ack, \
                to_agent HAPROXY_DISCONNECT 4, to_haproxy AGENT_DISCONNECT 4
        """,
        first=FIRST,
    )


def test_from_an_agent_that_sent_fragments_fin_alone_ends_an_ack() -> None:
    asked(frame_s=2.0).play(
        f"""
        agent <first> + <rest>    -> repair fragmented_ack, to_haproxy ACK 1.1
        agent <next>              -> held
        guard waits 1.999         -> nothing
        guard waits 0.001         -> {LOST}
        """,
        first=FIRST,
        rest=unset(),
        next=ack("3.1", flags=0),
    )
