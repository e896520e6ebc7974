"""Actions on variables that an agent should not touch: the guard removes them and nothing else (promise H6)."""

import pytest

from spoe_guard.core.terms.anomalies import Action, Anomaly
from tests.core.frames import LONG_NAME, NOP, PROC, SET_VAR, ack
from tests.core.script import running

pytestmark = pytest.mark.usefixtures("both_speeds")

PLAIN = bytes((1, 3, 2)) + b"\x04deny" + b"\x11"


@pytest.mark.parametrize(("odd", "name"), [(LONG_NAME, "ack_long_name"), (PROC, "ack_proc_scope")])
def test_one_unwelcome_action_does_not_cost_the_others(odd: bytes, name: str) -> None:
    talk = running({Anomaly.ACK_PROC_SCOPE: Action.DROP})
    handshake = len(talk.written["to_haproxy"])
    talk.play(
        f"""
        haproxy NOTIFY 1.1 + NOTIFY 3.1 -> ok
        agent   <some>  -> drop {name}, to_haproxy ACK 1.1
        agent   <all>   -> drop {name}, to_haproxy ACK 3.1
        agent   ACK 1.1 -> drop duplicate_ack
        """,
        some=ack(payload=SET_VAR + odd + PLAIN),
        all=ack("3.1", payload=odd),
    )
    assert talk.written["to_haproxy"][handshake:] == ack(payload=SET_VAR + PLAIN) + ack("3.1", payload=NOP)


def test_an_ack_with_a_dropping_fault_is_lost_whatever_else_it_holds() -> None:
    running().play(
        """
        haproxy NOTIFY 1.1 -> ok
        agent   <odd>      -> drop ack_long_name, drop ack_malformed, pass notify_unanswered, unanswered ack_dropped 1
        """,
        odd=ack(payload=LONG_NAME + b"\x07"),
    )


def test_a_long_name_that_passes_survives_a_repair_beside_it() -> None:
    talk = running({Anomaly.ACK_LONG_NAME: Action.PASS})
    talk.play(
        """
        haproxy NOTIFY 1.1 -> ok
        agent   <odd>      -> pass ack_long_name, repair ack_stray_null, to_haproxy ACK 1.1
        """,
        odd=ack(payload=LONG_NAME + b"\0" + SET_VAR),
    )
    assert talk.written["to_haproxy"].endswith(ack(payload=LONG_NAME + SET_VAR))


def test_an_ack_with_an_unwelcome_action_is_found_behind_a_break_too() -> None:
    talk = running()
    talk.play(
        """
        haproxy NOTIFY 1.1 + NOTIFY 3.1 -> ok
        agent   <break> + <odd>         -> repair garbled_stream, repair interleaved_frames, drop ack_long_name, \
                to_haproxy ACK 1.1
        """.replace("\\\n", ""),
        **{"break": b"\x7f\xff\xff\xff" + bytes(40)},
        odd=ack(payload=SET_VAR + LONG_NAME),
    )
    assert talk.written["to_haproxy"].endswith(ack())


def test_by_default_a_proc_variable_is_reported_and_passes() -> None:
    running().play(
        """
        haproxy NOTIFY 1.1 -> ok
        agent   <odd>      -> pass ack_proc_scope, ok
        """,
        odd=ack(payload=SET_VAR + PROC),
    )


def test_a_proc_variable_with_a_long_name_is_dropped_for_the_name() -> None:
    talk = running()
    talk.play(
        """
        haproxy NOTIFY 1.1 -> ok
        agent   <odd>      -> pass ack_proc_scope, drop ack_long_name, to_haproxy ACK 1.1
        """,
        odd=ack(payload=PROC + b"\2\2\0\x39" + b"n" * 57),
    )
    assert talk.written["to_haproxy"].endswith(ack(payload=PROC))
