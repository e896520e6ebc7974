"""Frames that are too short, too long, truncated or of unknown type; and streams without any frame (promises H1, A2)."""

import pytest

from spoe_guard.core.terms.anomalies import Action, Anomaly
from spoe_guard.wire import frame
from tests.core import frames
from tests.core.frames import ack, raw
from tests.core.script import Talk, play, running

pytestmark = pytest.mark.usefixtures("both_speeds")

BOTH_TOLD = "to_agent HAPROXY_DISCONNECT {0}, to_haproxy AGENT_DISCONNECT {0}"
HAPROXY_RUNT = raw(b"\3\0\0\0\1\1")
AGENT_RUNT = raw(b"\x67\0\0\0\1\1")


@pytest.mark.parametrize("length", range(7))
def test_a_runt_is_dropped_and_costs_nothing_else(length: int) -> None:
    """A length of 0 and a close make HAProxy before 3.0-dev6 spin until its watchdog aborts it (haproxy #2490)."""
    running().play(
        """
        haproxy NOTIFY 1.1           -> ok
        agent   <runt>               -> drop runt_frame
        agent   <runt> + ACK 1.1     -> drop runt_frame, to_haproxy ACK 1.1
        haproxy <short>              -> drop runt_frame
        haproxy <short> + NOTIFY 3.1 -> drop runt_frame, to_agent NOTIFY 3.1
        """,
        runt=raw(AGENT_RUNT[4:][:length]),
        short=raw(HAPROXY_RUNT[4:][:length]),
    )


def test_a_frame_of_seven_bytes_is_none() -> None:
    running().play(
        """
        haproxy <notify> -> answer notify_empty, to_haproxy ACK 1.1
        haproxy NOTIFY 1.1 -> ok
        agent   <ack>    -> repair empty_ack, to_haproxy ACK 1.1
        """,
        notify=frames.notify(payload=b""),
        ack=ack(payload=b""),
    )
    assert len(frames.notify(payload=b"")) == 4 + 7


def test_a_runt_is_judged_before_its_body_comes() -> None:
    running().play(
        "agent <runt>[:4] -> drop runt_frame\nagent <runt>[4:] -> nothing\nagent ACK 1.1 -> drop unmatched_ack", runt=AGENT_RUNT
    )


@pytest.mark.parametrize("type_", [0, 4, 100, 104, 255])
def test_a_type_nobody_may_send_is_dropped(type_: int) -> None:
    running().play(
        """
        haproxy NOTIFY 1.1     -> ok
        agent   <new> + ACK 1.1 -> drop unknown_frame_type, to_haproxy ACK 1.1
        """,
        new=frame.encode(type_),
    )


def test_types_of_the_other_side_are_dropped() -> None:
    running().play(
        """
        haproxy NOTIFY 1.1                  -> ok
        agent   NOTIFY 1.1 + HAPROXY_HELLO + HAPROXY_DISCONNECT 0 -> drop wrong_side_frame, drop wrong_side_frame, \
                drop wrong_side_frame
        haproxy ACK 1.1 + AGENT_HELLO + AGENT_DISCONNECT 0        -> drop wrong_side_frame, drop wrong_side_frame, \
                drop wrong_side_frame
        haproxy <new>                       -> drop unknown_frame_type
        agent   ACK 1.1                     -> ok
        """,
        new=frame.encode(104),
    )


def test_an_unknown_type_may_pass_only_between_hello_and_disconnect() -> None:
    talk = Talk({Anomaly.UNKNOWN_FRAME_TYPE: Action.PASS})
    talk.play(
        """
        haproxy HAPROXY_HELLO     -> held, dial
        haproxy <new>             -> drop unknown_frame_type
        agent   up                -> to_agent HAPROXY_HELLO
        haproxy <new>             -> drop unknown_frame_type
        agent   <new>             -> drop unknown_frame_type
        agent   AGENT_HELLO       -> to_haproxy AGENT_HELLO
        agent   <new>             -> pass unknown_frame_type, ok
        haproxy <new>             -> drop unknown_frame_type
        haproxy NOTIFY 1.1        -> ok
        agent   AGENT_DISCONNECT 0 -> held, reorder disconnect_before_ack
        agent   <new>             -> pass unknown_frame_type, ok
        agent   ACK 1.1           -> reorder ack_after_disconnect, to_agent HAPROXY_DISCONNECT 0, \
                to_haproxy ACK 1.1, to_haproxy AGENT_DISCONNECT 0
        agent   <new>             -> drop frame_after_disconnect
        haproxy <new>             -> drop unknown_frame_type
        """,
        new=frame.encode(104, 1, 1),
    )


# --- too long ----------------------------------------


def test_a_frame_that_is_too_long_is_skipped_in_any_segmentation() -> None:
    over = frames.sized(103, frames.SIZE + 1)
    for at in (4, 28, 29, 1000, len(over) - 1):
        first = "held" if at < 29 else "drop oversize_frame, pass notify_unanswered, unanswered ack_dropped 1"
        behind = "" if at >= 29 else "drop oversize_frame, pass notify_unanswered, unanswered ack_dropped 1, "
        running().play(
            f"""
            haproxy NOTIFY 1.1 + NOTIFY 3.1 -> ok
            agent   <over>[:{at}]           -> {first}
            agent   <over>[{at}:] + ACK 3.1 -> {behind}to_haproxy ACK 3.1
            """,
            over=over,
        )


def test_no_more_of_a_long_frame_is_held_than_its_header() -> None:
    talk = running()
    talk.play("agent <over>[:28] -> held", over=frames.sized(103, frames.SIZE + 1))
    assert talk.session.held == 28
    talk.play("agent <over>[28:] -> drop oversize_frame")
    assert talk.session.held == 0


def test_a_long_frame_is_believed_up_to_held_bytes() -> None:
    sizes = {"held_bytes": 20000}
    running(**sizes).play(
        "agent <most> -> drop oversize_frame\nagent <skip> -> drop oversize_frame",
        most=frames.sized(103, 20000),
        skip=frames.sized(103, frames.SIZE + 1),
    )
    running(**sizes).play(f"agent <more> -> repair garbled_stream, {BOTH_TOLD.format(4)}", more=frames.sized(103, 20001))
    running(**sizes).play(
        """
        haproxy <most> -> drop oversize_frame, pass notify_unanswered, unanswered notify_dropped 1
        haproxy NOTIFY 3.1 -> ok
        """,
        most=frames.sized(3, 20000),
    )
    running(**sizes).play(f"haproxy <more> -> close garbled_stream, {BOTH_TOLD.format(4)}", more=frames.sized(3, 20001))


def test_closing_over_a_long_frame_says_too_big() -> None:
    policy = {Anomaly.OVERSIZE_FRAME: Action.CLOSE}
    running(policy).play(f"agent <over> -> close oversize_frame, {BOTH_TOLD.format(3)}", over=frames.sized(103, 16381))
    running(policy).play(f"haproxy <over> -> close oversize_frame, {BOTH_TOLD.format(3)}", over=frames.sized(3, 16381))


# --- cut off ----------------------------------------


def test_a_frame_that_stands_still_ends_it_at_frame_timeout() -> None:
    play(
        f"""
        haproxy NOTIFY 1.1     -> ok
        agent   ACK 1.1[:9]    -> held
        guard   waits 2        -> nothing
        agent   ACK 1.1[9:10]  -> held
        guard   waits 0.999    -> nothing
        guard   waits 0.001    -> drop truncated_frame, pass notify_unanswered, unanswered agent_gone 1, {BOTH_TOLD.format(2)}
        agent   ACK 1.1[10:]   -> nothing
        haproxy rst            -> close haproxy
        agent   fin            -> close agent, end agent frame_timeout
        """,
        frame_s=3.0,
    )


def test_the_same_from_haproxy() -> None:
    play(
        f"""
        haproxy NOTIFY 1.1[:9] -> held
        guard   waits 2.999    -> nothing
        guard   waits 0.001    -> drop truncated_frame, {BOTH_TOLD.format(2)}
        haproxy NOTIFY 1.1[9:] -> nothing
        haproxy rst            -> close haproxy
        agent   fin            -> close agent, end haproxy frame_timeout
        """,
        frame_s=3.0,
    )


def test_a_frame_that_is_skipped_has_no_more_time_than_any_other() -> None:
    running().play(
        f"""
        agent <over>[:10]      -> held
        agent <over>[10:29]    -> drop oversize_frame
        guard waits 1.999      -> nothing
        agent <over>[29:9999]  -> nothing
        guard waits 0.001      -> drop truncated_frame, {BOTH_TOLD.format(2)}
        """,
        over=frames.sized(103, 16381),
    )


def test_each_frame_has_its_own_time() -> None:
    play(
        """
        haproxy NOTIFY 1.1 + NOTIFY 3.1 + NOTIFY 5.1 -> ok
        agent   ACK 1.1[:9]                 -> held
        guard   waits 1.5                   -> nothing
        agent   ACK 1.1[9:] + ACK 3.1[:9]   -> to_haproxy ACK 1.1
        guard   waits 1.5                   -> nothing
        agent   ACK 3.1[9:]                 -> to_haproxy ACK 3.1
        guard   waits 100                   -> nothing
        agent   ACK 5.1                     -> ok
        """
    )


@pytest.mark.parametrize("side", ["agent", "haproxy"])
def test_a_close_inside_a_frame_discards_the_part(side: str) -> None:
    told = "answer disconnect_missing, to_agent HAPROXY_DISCONNECT 0, to_haproxy AGENT_DISCONNECT 13, close agent"
    outcome = told if side == "agent" else "to_agent HAPROXY_DISCONNECT 0, close haproxy"
    sent = "ACK 1.1[:9]" if side == "agent" else "NOTIFY 1.1[:9]"
    play(f"{side} {sent} -> held\n{side} fin -> drop truncated_frame, {outcome}")


def test_a_reset_inside_a_frame_is_not_called_truncation() -> None:
    talk = play(
        """
        haproxy NOTIFY 1.1[:9] -> held
        haproxy rst            -> to_agent HAPROXY_DISCONNECT 0, close haproxy
        agent   ACK 1.1[:9]    -> held
        agent   fin            -> close agent, end haproxy reset
        """
    )
    assert not talk.anomalies
    assert talk.tally.held_bytes == 0
