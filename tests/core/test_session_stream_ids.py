"""Stream-ids that no HAProxy from 3.1 on can have: only the ACK of an open NOTIFY goes out with one, whatever the policy says.

One that HAProxy did not ask for may end HAProxy 3.1.8 to 3.5-dev5.
"""

import pytest

from spoe_guard.core.terms.anomalies import CATALOGUE, Action, Anomaly
from spoe_guard.core.terms.events import AnomalySeen
from spoe_guard.core.terms.policy import Policy
from spoe_guard.wire import frame
from tests.core import frames
from tests.core.frames import SET_VAR, ack, agent_disconnect, agent_hello, unset
from tests.core.scenes import CHECK
from tests.core.script import HANDSHAKE, Talk, running

pytestmark = pytest.mark.usefixtures("both_speeds")

LARGEST = 2**31 - 1
IMPOSSIBLE = [0, LARGEST + 1, 2**32 - 1, 2**32 + 2**31, 2**64 - 1]
PASSING = {anomaly: Action.PASS for anomaly, row in CATALOGUE.items() if Action.PASS in row.allowed}


def odd_type(stream_id: int) -> bytes:
    return frame.encode(104, stream_id, 1, payload=SET_VAR)


@pytest.mark.parametrize("stream_id", [1, LARGEST])
def test_an_id_that_haproxy_can_have_passes_where_the_policy_says(stream_id: int) -> None:
    running(PASSING).play(
        """
        agent <stray> -> pass unmatched_ack, ok
        agent <odd>   -> pass unknown_frame_type, ok
        """,
        stray=ack(f"{stream_id}.1"),
        odd=odd_type(stream_id),
    )


@pytest.mark.parametrize("stream_id", IMPOSSIBLE)
def test_an_id_that_haproxy_cannot_have_never_passes(stream_id: int) -> None:
    ack_is, type_is = ("impossible_stream_id",) * 2 if stream_id else ("unmatched_ack", "unknown_frame_type")
    running(PASSING).play(
        f"""
        agent   <stray>            -> drop {ack_is}
        agent   <odd>              -> drop {type_is}
        haproxy NOTIFY 1.1         -> ok
        agent   <stray> + ACK 1.1  -> drop {ack_is}, to_haproxy ACK 1.1
        """,
        stray=ack(f"{stream_id}.1"),
        odd=odd_type(stream_id),
    )


@pytest.mark.parametrize("stream_id", IMPOSSIBLE)
def test_haproxys_own_id_passes_once_while_its_notify_is_open(stream_id: int) -> None:
    """HAProxy up to 3.0 numbers its streams from 0 to 2^32 - 1."""
    running(PASSING, answer_deadline_s=5.0).play(
        f"""
        haproxy NOTIFY {stream_id}.1 + NOTIFY {stream_id}.2 -> ok
        agent   <odd>                  -> drop unknown_frame_type
        agent   ACK {stream_id}.1      -> ok
        agent   ACK {stream_id}.1      -> drop duplicate_ack
        guard   waits 5                -> pass notify_unanswered, unanswered deadline 1
        agent   ACK {stream_id}.2      -> drop late_ack
        """,
        odd=odd_type(stream_id),
    )


@pytest.mark.parametrize("stream_id", [0, LARGEST + 1])
def test_behind_a_check_no_frame_has_an_id_that_haproxy_cannot_have(stream_id: int) -> None:
    named = "impossible_stream_id" if stream_id else "hello_trailing"
    for odd in (ack(f"{stream_id}.1"), odd_type(stream_id)):
        Talk(PASSING).play(CHECK + f"agent <odd> -> drop {named}", odd=odd)


@pytest.mark.parametrize("stream_id", IMPOSSIBLE[1:])
def test_behind_a_check_hello_and_disconnect_have_no_stream(stream_id: int) -> None:
    for odd in (agent_hello(at=f"{stream_id}.0"), agent_disconnect(at=f"{stream_id}.0")):
        Talk(PASSING).play(CHECK + "agent <odd> -> drop impossible_stream_id", odd=odd)
    Talk(PASSING).play(CHECK + "agent <bye> -> pass hello_trailing, ok", bye=agent_disconnect())


@pytest.mark.parametrize("stream_id", IMPOSSIBLE[1:])
def test_hello_and_disconnect_are_written_anew_without_their_ids(stream_id: int) -> None:
    talk = Talk(PASSING)
    talk.play(
        HANDSHAKE.partition("agent   AGENT_HELLO")[0]
        + """
        agent <hello> -> pass reserved_flags, repair hello_malformed, to_haproxy AGENT_HELLO
        agent <bye>   -> repair disconnect_bad_ids, to_agent HAPROXY_DISCONNECT 0, to_haproxy AGENT_DISCONNECT 0
        """,
        hello=agent_hello(at=f"{stream_id}.0", flags=frames.FIN | frames.ABRT),
        bye=agent_disconnect(at=f"{stream_id}.0"),
    )
    assert {(sent.stream_id, sent.frame_id) for sent in frames.cut(talk.written["to_haproxy"])} == {(0, 0)}


@pytest.mark.parametrize("stream_id", IMPOSSIBLE[1:])
def test_no_repair_makes_an_ack_of_one_with_such_an_id(stream_id: int) -> None:
    """In fragments, without FIN, and behind bytes that are no frames."""
    at = f"{stream_id}.1"
    running(PASSING).play(
        """
        haproxy NOTIFY 1.1 -> ok
        agent   <cut>      -> drop impossible_stream_id, drop impossible_stream_id
        agent   <bare>     -> drop impossible_stream_id
        agent   <broken> + <stray> + ACK 1.1 -> repair garbled_stream, repair interleaved_frames, \
                to_agent HAPROXY_DISCONNECT 4, to_haproxy ACK 1.1, to_haproxy AGENT_DISCONNECT 4
        """,
        cut=ack(at, flags=0) + unset(at, SET_VAR),
        bare=ack(at, flags=0),
        broken=b"\xff\xff\xff\xff",
        stray=ack(at),
    )


def test_where_haproxy_may_have_such_an_id_it_is_an_unmatched_ack() -> None:
    """It counts as what may end HAProxy only towards one that may be 3.1 or later."""
    Talk(PASSING).play(
        """
        haproxy HAPROXY_HELLO applet -> held, dial
        agent   up                   -> to_agent HAPROXY_HELLO
        agent   AGENT_HELLO          -> to_haproxy AGENT_HELLO
        agent   ACK 2147483648.1     -> drop unmatched_ack
        """
    )


def test_before_haproxy_has_hello_such_a_frame_is_only_too_early() -> None:
    Talk(PASSING).play(HANDSHAKE.partition("agent   AGENT_HELLO")[0] + "agent ACK 2147483648.1 -> drop frame_before_hello")


def test_the_report_says_that_such_a_frame_was_dropped() -> None:
    talk = running({Anomaly.UNMATCHED_ACK: Action.PASS}).play("agent ACK 2147483648.1 -> drop impossible_stream_id")
    assert [(seen.anomaly, seen.action, seen.stream_id) for seen in talk.events if isinstance(seen, AnomalySeen)] == [
        (Anomaly.IMPOSSIBLE_STREAM_ID, Action.DROP, LARGEST + 1)
    ]


def test_a_policy_may_end_the_session_over_it_and_never_pass_it() -> None:
    running({Anomaly.IMPOSSIBLE_STREAM_ID: Action.CLOSE}).play(
        f"agent ACK {LARGEST + 1}.1 -> close impossible_stream_id, to_agent HAPROXY_DISCONNECT 4, to_haproxy AGENT_DISCONNECT 4"
    )
    with pytest.raises(ValueError, match="impossible_stream_id does not allow pass: choose one of close, drop"):
        Policy({Anomaly.IMPOSSIBLE_STREAM_ID: Action.PASS})
