"""The guard joins the fragments of an ACK into the one frame that HAProxy accepts."""

import pytest

from spoe_guard.core.incoming.fragmented import MOST_FRAGMENTS
from spoe_guard.core.terms.anomalies import Action, Anomaly, Side
from tests.core import frames
from tests.core.frames import ABRT, FIN, SET_VAR, UNSET_VAR, ack, unset
from tests.core.script import Talk, running

pytestmark = pytest.mark.usefixtures("both_speeds")

HALF = SET_VAR[:5]
FIRST = ack(payload=SET_VAR, flags=0)  # its actions end with it
CUT = ack(payload=HALF, flags=0)  # they do not
BAD_BOOL = SET_VAR[:-1] + b"\x10"
LOST = "drop fragmented_ack, pass notify_unanswered, unanswered ack_dropped 1"
AGREED = {
    "hello": frames.haproxy_hello(capabilities=b"fragmentation,pipelining"),
    "answer": frames.agent_hello(capabilities=b"fragmentation"),
    "capabilities": frozenset(("fragmentation", "pipelining")),
}


def asked(policy: dict[Anomaly, Action] | None = None, **how: object) -> Talk:
    return running(policy, **how).play("haproxy NOTIFY 1.1 + NOTIFY 3.1 + NOTIFY 5.1 -> ok")


@pytest.mark.parametrize("agreed", [{}, AGREED], ids=["not negotiated", "negotiated"])
@pytest.mark.parametrize("at", range(len(SET_VAR + UNSET_VAR) + 1))
def test_fragments_are_put_together_wherever_they_were_cut(at: int, agreed: dict[str, object]) -> None:
    whole = SET_VAR + UNSET_VAR
    for parts in ((whole[:at], whole[at:]), (whole[:at], b"", whole[at : at + 3], whole[at + 3 :])):
        first, *middle, last = parts
        sent = ack(payload=first, flags=0) + b"".join(unset(payload=part, flags=0) for part in middle) + unset(payload=last)
        for pieces in ([sent], [sent[index : index + 1] for index in range(len(sent))]):
            talk = asked(**agreed)
            handshake = len(talk.written["to_haproxy"])
            for number, piece in enumerate(pieces):
                outcome = "repair fragmented_ack, to_haproxy ACK 1.1" if number == len(pieces) - 1 else "held"
                talk.play(f"agent <piece> -> {outcome}", piece=piece)
            assert talk.written["to_haproxy"][handshake:] == ack(payload=whole)
            talk.play("agent ACK 1.1 -> drop duplicate_ack")


def test_what_was_put_together_is_mended_like_any_other() -> None:
    talk = asked().play(
        """
        agent <first> + <rest> -> repair fragmented_ack, repair ack_bad_bool, to_haproxy ACK 1.1
        """,
        first=FIRST,
        rest=unset(payload=BAD_BOOL),
    )
    assert talk.written["to_haproxy"].endswith(ack(payload=SET_VAR + SET_VAR[:-1] + b"\x01"))


def test_what_does_not_parse_when_put_together_is_lost() -> None:
    asked().play(
        """
        agent <first> + <rest> -> repair fragmented_ack, drop ack_malformed, pass notify_unanswered, unanswered ack_dropped 1
        """,
        first=FIRST,
        rest=unset(payload=b"\x07"),
    )


def test_where_fragments_were_negotiated_an_ack_without_fin_is_never_whole() -> None:
    asked(**AGREED).play(
        f"""
        agent <first>             -> held
        agent ACK 3.1             -> ok
        guard waits 2             -> {LOST}
        agent <rest>              -> drop unknown_frame_type
        """,
        first=FIRST,
        rest=unset(),
    )


ENDS = [
    # name                      what comes behind the first fragment     comes
    ("aborted",                 unset(flags=ABRT),                       LOST),
    ("aborted with FIN",        unset(flags=FIN | ABRT, payload=UNSET_VAR), LOST),
    ("another's fragments",     ack("3.1", payload=HALF, flags=0),       f"held, {LOST}"),
    ("another ACK for the same", ack(),                                  "drop fragmented_ack, to_haproxy ACK 1.1"),
]  # fmt: skip


@pytest.mark.parametrize(("behind", "comes"), [case[1:] for case in ENDS], ids=[case[0] for case in ENDS])
def test_fragments_that_are_not_completed_are_lost(behind: bytes, comes: str) -> None:
    asked().play(f"agent <cut> + <behind> -> {comes}", cut=CUT, behind=behind)


def test_other_frames_may_stand_between_fragments() -> None:
    asked().play(
        """
        agent <cut>             -> held
        agent ACK 3.1           -> ok
        agent AGENT_DISCONNECT 0 -> held, reorder disconnect_before_ack
        agent ACK 5.1           -> reorder ack_after_disconnect, ok
        agent <rest>            -> repair fragmented_ack, reorder ack_after_disconnect, to_agent HAPROXY_DISCONNECT 0, \
                to_haproxy ACK 1.1, to_haproxy AGENT_DISCONNECT 0
        """,
        cut=CUT,
        rest=unset(payload=SET_VAR[5:]),
    )


def test_together_they_have_the_negotiated_size_and_not_a_byte_more() -> None:
    whole = frames.sized(103, 1000)[11:]
    talk = asked(answer=frames.agent_hello(max_frame_size=1000))
    talk.play(
        f"""
        agent <fits> + <fill>   -> repair fragmented_ack, to_haproxy ACK 1.1
        agent <next> + <more>   -> {LOST}
        agent <more>            -> drop unknown_frame_type
        """,
        fits=ack(payload=whole[:900], flags=0),
        fill=unset(payload=whole[900:]),
        next=ack("3.1", payload=whole[:900], flags=0),
        more=unset("3.1", payload=whole[900:] + b"x"),
    )


def test_no_more_is_held_than_held_bytes_however_small_the_fragments() -> None:
    nothing = unset(flags=0)
    most = unset(payload=bytes(8000), flags=0)
    most += unset(payload=bytes(16384 - len(CUT) - len(most) - len(unset())), flags=0)
    talk = asked(held_bytes=16384, max_frame_size=16380)
    talk.play("agent <cut> + <most> -> held", cut=CUT, most=most)
    assert talk.session.held == 16384
    talk.play(f"agent <one> -> {LOST}", one=nothing)
    assert talk.session.held == 0


def test_an_ack_has_as_many_fragments_as_may_be_and_no_more() -> None:
    nothing, last = unset(flags=0), unset(payload=SET_VAR[5:])
    many = nothing * (MOST_FRAGMENTS - 2)
    asked().play("agent <cut> + <many> + <last> -> repair fragmented_ack, to_haproxy ACK 1.1", cut=CUT, many=many, last=last)
    talk = asked().play("agent <cut> + <many> + <one> -> held", cut=CUT, many=many, one=nothing)
    talk.play(f"agent <one> -> {LOST}", one=nothing)
    assert talk.session.held == 0


def test_a_policy_may_drop_them() -> None:
    asked({Anomaly.FRAGMENTED_ACK: Action.DROP}).play(
        f"""
        agent <cut>     -> held
        agent <rest>    -> {LOST}
        agent ACK 1.1   -> drop late_ack
        """,
        cut=CUT,
        rest=unset(payload=SET_VAR[5:]),
    )


def test_a_notify_given_up_meanwhile_makes_them_late() -> None:
    asked(answer_deadline_s=0.5).play(
        """
        agent <cut>             -> held
        guard waits 0.5         -> pass notify_unanswered, unanswered deadline 1, pass notify_unanswered, \
                unanswered deadline 1, pass notify_unanswered, unanswered deadline 1
        agent <rest>            -> repair fragmented_ack, drop late_ack
        """,
        cut=CUT,
        rest=unset(payload=SET_VAR[5:]),
    )


def test_a_late_ack_passes_whole_where_a_policy_lets_it() -> None:
    talk = asked({Anomaly.LATE_ACK: Action.PASS}, answer_deadline_s=0.5).play("agent <cut> -> held", cut=CUT)
    talk.play("guard waits 0.5 -> " + ", ".join(["pass notify_unanswered, unanswered deadline 1"] * 3))
    talk.play("agent <rest> -> repair fragmented_ack, pass late_ack, to_haproxy ACK 1.1", rest=unset(payload=SET_VAR[5:]))
    assert talk.written["to_haproxy"].endswith(ack())


def test_an_ack_nobody_waits_for_begins_no_fragments() -> None:
    asked().play("agent <odd> -> drop unmatched_ack", odd=ack("9.1", flags=0))


GONE = "unanswered agent_gone {}, to_agent HAPROXY_DISCONNECT 0"
MISSING = "answer disconnect_missing, pass notify_unanswered, " + GONE


@pytest.mark.parametrize(
    ("sent", "comes"),
    [
        (FIRST, f"repair missing_fin, {MISSING.format(2)}, to_haproxy ACK 1.1"),
        (CUT, f"{LOST}, {MISSING.format(2)}"),
    ],
    ids=["may be all", "is not all"],
)
def test_an_agent_that_closes_sends_no_more_fragments(sent: bytes, comes: str) -> None:
    asked().play(f"agent <sent> -> held\nagent fin -> {comes}, to_haproxy AGENT_DISCONNECT 13, close agent", sent=sent)


def test_fragments_are_dropped_with_the_session() -> None:
    talk = asked().play(
        """
        agent   <cut>                -> held
        haproxy HAPROXY_DISCONNECT 0 -> unanswered haproxy_gone 3, drop fragmented_ack, ok, to_haproxy AGENT_DISCONNECT 0, \
                close haproxy
        agent   <rest>               -> drop frame_after_disconnect
        """,
        cut=CUT,
        rest=unset(payload=SET_VAR[5:]),
    )
    assert talk.session.held == 0


def test_fragments_go_on_as_they_came_when_the_session_is_released() -> None:
    talk = asked().play("agent <cut> + <more> + ACK 3.1[:5] -> held", cut=CUT, more=unset(flags=0))
    assert talk.session.release() == (b"", CUT + unset(flags=0) + ack("3.1")[:5])
    assert talk.tally.held_bytes == 0


def test_the_fast_path_is_taken_again_behind_fragments() -> None:
    talk = asked()
    fast = talk.session.snapshot().links[0].fast
    talk.session.receive(Side.AGENT, CUT, talk.now)
    assert not talk.session.snapshot().links[0].fast
    talk.session.receive(Side.AGENT, unset(payload=SET_VAR[5:]), talk.now)
    assert talk.session.snapshot().links[0].fast is fast


def test_the_frame_timeout_counts_from_the_first_fragment() -> None:
    asked(frame_s=2.0).play(
        f"""
        agent <cut>       -> held
        guard waits 1.5   -> nothing
        agent <more>      -> held
        guard waits 0.499 -> nothing
        guard waits 0.001 -> {LOST}
        """,
        cut=CUT,
        more=unset(flags=0),
    )


def test_fragments_behind_a_disconnect_in_the_same_read_are_not_joined() -> None:
    asked({Anomaly.DISCONNECT_BEFORE_ACK: Action.PASS}).play(
        """
        agent <cut> + AGENT_DISCONNECT 7 + <rest> -> pass disconnect_before_ack, pass notify_unanswered, \
                unanswered agent_gone 3, drop frame_after_disconnect, drop fragmented_ack, to_agent HAPROXY_DISCONNECT 0, \
                to_haproxy AGENT_DISCONNECT 7
        """,
        cut=CUT,
        rest=unset(payload=SET_VAR[5:]),
    )
