"""Agents that write frames in pieces: the session continues as if they had not, and ends cleanly on ambiguous input."""

import pytest

from spoe_guard.core.incoming.agent.effort import WORK_A_BYTE, WORK_AT_ONCE
from spoe_guard.core.incoming.agent.torn import TAKEN_AT_ONCE
from spoe_guard.core.terms.anomalies import Action, Anomaly
from spoe_guard.wire import frame
from tests.core.frames import SET_VAR, ack, agent_disconnect, sized
from tests.core.observed import RUNNING, everything_passed, observe
from tests.core.script import Talk, running
from tests.core.test_session_broken import BOTH_TOLD, GARBAGE, GONE_BYE

pytestmark = pytest.mark.usefixtures("both_speeds")

TEXT = bytes((1, 3, 2)) + b"\x06reason\x08\x04late"
FALSE = SET_VAR[:-1] + b"\x01"
GONE = "pass notify_unanswered, unanswered agent_gone"
NAMED = {
    "a": ack("1.1"),
    "b": ack("3.1", payload=TEXT),
    "f": ack("5.1", payload=FALSE),  # as long as A
    "d": agent_disconnect(),
    "garbage": GARBAGE["a length out of this world"],
}
OPEN = "haproxy NOTIFY 1.1 + NOTIFY 3.1 + NOTIFY 5.1 -> ok\n"


def torn(script: str, policy: dict[Anomaly, Action] | None = None, **config: object) -> Talk:
    return running(policy, **config).play(OPEN + script, **NAMED)


def test_an_ack_written_inside_another_comes_out_and_so_does_the_other() -> None:
    talk = torn(
        """
        agent <a>[:11] + <b> + <a>[11:] -> repair interleaved_frames, to_haproxy ACK 3.1, to_haproxy ACK 1.1
        agent ACK 5.1                   -> ok
        guard waits 100                 -> nothing
        """
    )
    assert talk.tally.frames_to_haproxy[frame.ACK] == talk.tally.ack_count == 3
    assert talk.written["to_haproxy"].count(NAMED["a"]) == talk.written["to_haproxy"].count(NAMED["b"]) == 1


def test_pieces_may_come_in_many_reads() -> None:
    torn(
        """
        agent <a>[:11] + <b>[:9]        -> held
        agent <b>[9:11]                 -> held
        agent <b>[11:12]                -> held, repair interleaved_frames
        agent <b>[12:17]                -> held
        agent <b>[17:]                  -> to_haproxy ACK 3.1
        agent <a>[11:]                  -> to_haproxy ACK 1.1
        agent ACK 5.1                   -> ok
        """
    )


def test_a_disconnect_in_pieces_waits_for_the_acks_around_it() -> None:
    """criteo/haproxy-spoe-go: header of ACK, header of DISCONNECT, payload of DISCONNECT, payload of ACK."""
    running().play(
        """
        haproxy NOTIFY 1.1              -> ok
        agent <a>[:11] + <d> + <a>[11:] -> repair interleaved_frames, reorder disconnect_before_ack, \
                reorder ack_after_disconnect, to_agent HAPROXY_DISCONNECT 0, to_haproxy ACK 1.1, to_haproxy AGENT_DISCONNECT 0
        agent fin                       -> close agent
        """,
        **NAMED,
    )


def test_acks_with_swappable_payloads_are_lost_and_the_stream_continues() -> None:
    torn(
        f"""
        agent <a>[:11] + <f>[:11] + <f>[11:] + <a>[11:] -> repair interleaved_frames
        agent <b> + ACK 1.1                             -> ok
        agent AGENT_DISCONNECT 0                        -> held, reorder disconnect_before_ack
        agent fin -> {GONE} 1, repair disconnect_status, {GONE_BYE}, close agent
        """
    )


def test_a_disconnect_whole_within_the_length_of_an_ack_waits_for_it() -> None:
    long = ack("1.1", payload=40 * SET_VAR)
    comes = "held, repair interleaved_frames, reorder disconnect_before_ack, reorder ack_after_disconnect, to_haproxy ACK 1.1"
    running().play(f"{OPEN}agent <long>[:11] + <d> + <long>[11:] -> {comes}", long=long, **NAMED)


def test_behind_an_ack_found_in_garbage_that_closes_no_other_is_taken() -> None:
    closing = f"repair garbled_stream, close interleaved_frames, {GONE} 3, {BOTH_TOLD.format(4)}"
    torn(f"agent <garbage> + ACK 1.1 + ACK 3.1 -> {closing}", {Anomaly.INTERLEAVED_FRAMES: Action.CLOSE})


def test_closing_over_pieces_delivers_none_of_them() -> None:
    torn(
        f"""
        agent <a>[:11] + <b> + <a>[11:] -> close interleaved_frames, {GONE} 3, {BOTH_TOLD.format(4)}
        agent <b>                       -> nothing
        """,
        {Anomaly.INTERLEAVED_FRAMES: Action.CLOSE},
    )


def test_behind_garbage_among_pieces_whole_acks_are_looked_for() -> None:
    torn(
        f"""
        agent <a>[:11] + <b> + <garbage> -> held, repair interleaved_frames, repair garbled_stream, to_haproxy ACK 3.1
        agent <a>                        -> repair interleaved_frames, ok
        agent fin                        -> {GONE} 1, {BOTH_TOLD.format(4)}, close agent
        """
    )


def test_garbage_among_pieces_in_a_later_read_is_the_same() -> None:
    talk = torn(
        f"""
        agent <a>[:11] + <b>      -> held, repair interleaved_frames, to_haproxy ACK 3.1
        agent <garbage> + ACK 1.1 -> repair garbled_stream, repair interleaved_frames, to_haproxy ACK 1.1
        guard waits 0.5           -> {GONE} 1, {BOTH_TOLD.format(4)}
        """
    )
    sent = talk.said_by_agent
    places = {seen.anomaly: seen.offset for seen in talk.anomalies}
    assert places[Anomaly.GARBLED_STREAM] == sent.index(NAMED["garbage"])
    assert places[Anomaly.INTERLEAVED_FRAMES] == sent.rindex(NAMED["a"])


def test_garbage_behind_a_disconnect_among_pieces_is_not_heard_any_more() -> None:
    running().play(
        f"""
        agent <d>[:11] + ACK 7.1 + <b>[:11] + <d>[11:] + <garbage> -> repair interleaved_frames, drop unmatched_ack, \
                {BOTH_TOLD.format(0)}
        agent <b> -> nothing
        """,
        **NAMED,
    )


def test_what_follows_the_last_piece_is_cut_into_frames_again() -> None:
    """It need not look like pieces, wherever a read ends."""
    odd = frame.with_flags(ack("5.1", payload=20 * SET_VAR), frame.FLAG_FIN | 2)
    for lines in (
        """
        agent <a>[:11] + <b> + <a>[11:] + <odd> -> repair interleaved_frames, repair reserved_flags, \
                to_haproxy ACK 3.1, to_haproxy ACK 1.1, to_haproxy ACK 5.1
        """,
        """
        agent <a>[:11] + <b> -> held, repair interleaved_frames, to_haproxy ACK 3.1
        agent <a>[11:]       -> to_haproxy ACK 1.1
        agent <odd>          -> repair reserved_flags, to_haproxy ACK 5.1
        """,
    ):
        talk = running().play(OPEN + lines, odd=odd, **NAMED)
        left = talk.session._agents[0].torn._effort._left
        assert left < WORK_AT_ONCE + WORK_A_BYTE * len(NAMED["a"] + NAMED["b"])  # ODD pays for nothing here


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_the_last_piece_may_end_where_a_portion_ends(more: int) -> None:
    running().play(
        OPEN
        + """
        agent <a>[:11] + <long> + <a>[11:] + <odd> -> repair interleaved_frames, repair reserved_flags, \
                to_haproxy ACK 3.1, to_haproxy ACK 1.1, to_haproxy ACK 5.1
        """,
        long=sized(frame.ACK, TAKEN_AT_ONCE + more - frame.LENGTH_BYTES, "3.1"),  # as many as follow the bytes of A's length
        odd=frame.with_flags(ack("5.1"), frame.FLAG_FIN | 2),
        **NAMED,
    )


def test_pieces_that_stand_still_end_the_session_with_what_was_whole() -> None:
    torn(
        f"""
        agent <a>[:11] + <b>  -> held, repair interleaved_frames, to_haproxy ACK 3.1
        guard waits 1.9       -> nothing
        agent <f>[:2]         -> held
        guard waits 0.1       -> drop truncated_frame, {GONE} 2, {BOTH_TOLD.format(2)}
        """
    )


def test_the_time_of_pieces_counts_from_their_first_byte() -> None:
    torn(
        f"""
        agent <a>[:11]        -> held
        guard waits 1.5       -> nothing
        agent <f>[:15]        -> held, repair interleaved_frames
        guard waits 0.5       -> drop truncated_frame, {GONE} 3, {BOTH_TOLD.format(2)}
        """
    )


def test_threads_that_never_pause_are_not_taken_for_pieces_that_stand_still() -> None:
    talk = torn("agent <a>[:11] + <b> -> held, repair interleaved_frames, to_haproxy ACK 3.1")
    for number in range(7, 27, 2):
        talk.play(
            f"""
            haproxy NOTIFY {number}.1    -> ok
            guard   waits 1              -> nothing
            agent   <more> -> ok
            """,
            more=ack(f"{number}.1", payload=TEXT),
        )
    talk.play("agent <a>[11:] -> to_haproxy ACK 1.1")


@pytest.mark.parametrize("end", ["fin", "rst"])
def test_pieces_that_will_not_be_completed_are_dropped_with_the_connection(end: str) -> None:
    told = f"{GONE_BYE}, " if end == "fin" else "to_haproxy AGENT_DISCONNECT 13, "
    torn(
        f"""
        agent <a>[:11] + <b> -> held, repair interleaved_frames, to_haproxy ACK 3.1
        agent {end} -> drop truncated_frame, answer disconnect_missing, {GONE} 2, {told}close agent
        """
    )


def test_pieces_that_wait_are_dropped_when_haproxy_leaves() -> None:
    torn(
        """
        agent   <a>[:11] + <b>       -> held, repair interleaved_frames, to_haproxy ACK 3.1
        haproxy HAPROXY_DISCONNECT 0 -> unanswered haproxy_gone 2, ok, to_haproxy AGENT_DISCONNECT 0, close haproxy
        agent   <a>[11:]             -> nothing
        """
    )


def test_observing_passes_pieces_as_they_came_and_reports_the_shuffle() -> None:
    talk = observe(
        RUNNING
        + OPEN
        + """
        agent <a>[:11] + <b> -> repair interleaved_frames, ok
        agent <a>[11:]       -> ok
        agent ACK 5.1        -> ok
        """,
        **NAMED,
    )
    assert everything_passed(talk)
    assert talk.tally.ack_count == 3
