"""ACKs: matched to an open NOTIFY, repaired where that is unambiguous, forwarded once (promises H1, H3, H6)."""

import pytest

from spoe_guard.core.conversation.ledger import REMEMBERED
from spoe_guard.core.payloads.ack_repair import MOST_ACTIONS
from spoe_guard.core.terms.anomalies import Action, Anomaly
from spoe_guard.core.terms.config import Unanswered
from spoe_guard.wire import actions
from tests.core import frames
from tests.core.frames import ABRT, FIN, NOP, SET_VAR, UNSET_VAR, ack, agent_hello, haproxy_hello
from tests.core.script import Talk, play, running

pytestmark = pytest.mark.usefixtures("both_speeds")


def test_only_the_stray_acks_are_dropped() -> None:
    play(
        """
        haproxy NOTIFY 7.1 + NOTIFY 9.1  -> ok
        agent   ACK 11.1                 -> drop unmatched_ack
        agent   ACK 9.1                  -> ok
        agent   ACK 9.1                  -> drop duplicate_ack
        agent   ACK 7.2                  -> drop unmatched_ack
        agent   ACK 7.1                  -> ok
        """
    )


def test_a_stray_ack_does_not_cost_the_others_of_its_read() -> None:
    play(
        """
        haproxy NOTIFY 1.1 + NOTIFY 3.1 + NOTIFY 5.1 -> ok
        agent   ACK 1.1 + ACK 99.1 + ACK 5.1 + ACK 1.1 + ACK 3.1 -> drop unmatched_ack, drop duplicate_ack, \
                to_haproxy ACK 1.1, to_haproxy ACK 5.1, to_haproxy ACK 3.1
        """
    )


def test_ids_are_compared_in_full_width() -> None:
    play(
        f"""
        haproxy NOTIFY 7.1           -> ok
        agent   ACK {7 + 2**32}.1    -> drop unmatched_ack
        agent   ACK 7.{1 + 2**32}    -> drop unmatched_ack
        haproxy NOTIFY {2**64 - 1}.{2**64 - 1} -> ok
        agent   ACK {2**64 - 1}.{2**64 - 1}    -> ok
        """
    )


def test_ids_may_be_used_again_once_answered() -> None:
    play(
        """
        haproxy NOTIFY 1.1 -> ok
        agent   ACK 1.1    -> ok
        haproxy NOTIFY 1.1 -> ok
        agent   ACK 1.1    -> ok
        agent   ACK 1.1    -> drop duplicate_ack
        """
    )


def test_an_ack_is_told_duplicate_from_unmatched_for_the_last_256_answered() -> None:
    talk = running()
    for number in range(1, 2 * REMEMBERED + 2):
        talk.play(f"haproxy NOTIFY {number}.1 -> ok\nagent ACK {number}.1 -> ok")
    talk.play(
        f"""
        agent ACK {REMEMBERED + 2}.1 -> drop duplicate_ack
        agent ACK 1.1                -> drop unmatched_ack
        """
    )


def test_an_ack_in_any_segmentation_comes_out_whole() -> None:
    whole = ack()
    for at in range(1, len(whole)):
        play(
            f"""
            haproxy NOTIFY 1.1[:{at}] -> held
            haproxy NOTIFY 1.1[{at}:] -> to_agent NOTIFY 1.1
            agent   ACK 1.1[:{at}]    -> held
            agent   ACK 1.1[{at}:]    -> to_haproxy ACK 1.1
            """
        )


STRAY = UNSET_VAR + b"\0" + SET_VAR
FALSE = SET_VAR[:-1] + b"\x01"
FIXED = ack(payload=UNSET_VAR + SET_VAR)
NULL = SET_VAR[:-1] + b"\x00"
UNSET_SAME = ack(payload=b"\2\2" + SET_VAR[2:-1])  # the same scope and name
ODD_FALSE = SET_VAR[:-1] + b"\x10"

MENDED = [
    # name                         as it came                   reported                                     as it goes on
    ("aborted",                    ack(flags=FIN | ABRT),       "repair reserved_flags",                     ack()),
    ("aborted and without FIN",    ack(flags=ABRT),             "repair missing_fin, repair reserved_flags", ack()),
    ("a flag from the future",     ack(flags=0x80000001),       "repair reserved_flags",                     ack()),
    ("zero byte behind unset-var", ack(payload=STRAY),          "repair ack_stray_null",                     FIXED),
    ("NULL for a value",           ack(payload=NULL),           "repair ack_null_value",                     UNSET_SAME),
    ("false written as 0x10",      ack(payload=ODD_FALSE),      "repair ack_bad_bool",                       ack(payload=FALSE)),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "reported", "mended"), [c[1:] for c in MENDED], ids=[c[0] for c in MENDED])
def test_an_ack_is_mended_where_that_is_certain(raw: bytes, reported: str, mended: bytes) -> None:
    talk = running()
    handshake = len(talk.written["to_haproxy"])
    talk.play(
        f"""
        haproxy NOTIFY 1.1 -> ok
        agent   <odd>      -> {reported}, to_haproxy ACK 1.1
        agent   ACK 1.1    -> drop duplicate_ack
        """,
        odd=raw,
    )
    assert talk.written["to_haproxy"][handshake:] == mended


def test_a_bad_boolean_that_passes_survives_a_repair_beside_it() -> None:
    talk = running({Anomaly.ACK_BAD_BOOL: Action.PASS})
    talk.play(
        """
        haproxy NOTIFY 1.1 -> ok
        agent   <odd>      -> repair ack_stray_null, pass ack_bad_bool, to_haproxy ACK 1.1
        """,
        odd=ack(payload=STRAY + ODD_FALSE),
    )
    assert talk.written["to_haproxy"].endswith(ack(payload=UNSET_VAR + SET_VAR + ODD_FALSE))


def test_a_null_that_passes_survives_a_repair_beside_it() -> None:
    talk = running({Anomaly.ACK_NULL_VALUE: Action.PASS})
    talk.play(
        """
        haproxy NOTIFY 1.1 -> ok
        agent   <odd>      -> repair ack_bad_bool, pass ack_null_value, to_haproxy ACK 1.1
        """,
        odd=ack(payload=ODD_FALSE + NULL),
    )
    assert talk.written["to_haproxy"].endswith(ack(payload=FALSE + NULL))


# What shows that HAProxy is 3.0 or older: its HELLO offers async, or its NOTIFYs are numbered across all connections.
KNOWN_AS = [
    ("unknown",              "haproxy HAPROXY_HELLO        -> held, dial", "1.1", "repair empty_ack, to_haproxy ACK 1.1"),
    ("applet by its HELLO",  "haproxy HAPROXY_HELLO applet -> held, dial", "1.1", "pass empty_ack, ok"),
    ("applet by its NOTIFY", "haproxy HAPROXY_HELLO        -> held, dial", "2.1", "pass empty_ack, ok"),
]  # fmt: skip


@pytest.mark.parametrize(("hello", "at", "comes"), [c[1:] for c in KNOWN_AS], ids=[c[0] for c in KNOWN_AS])
def test_an_empty_ack_passes_only_where_no_haproxy_stalls(hello: str, at: str, comes: str) -> None:
    """HAProxy 3.1.0 to 3.1.6 stall over one, and nothing tells them from later ones."""
    Talk().play(
        f"""
        {hello}
        agent   up          -> to_agent HAPROXY_HELLO
        agent   AGENT_HELLO -> to_haproxy AGENT_HELLO
        haproxy NOTIFY {at} -> ok
        agent   <empty>     -> {comes}
        """,
        empty=ack(at, payload=b""),
    )


CHOSEN = [(Action.PASS, "ok"), (Action.REPAIR, "to_haproxy ACK 1.1")]


@pytest.mark.parametrize("hello", ["", " applet"])
@pytest.mark.parametrize(("action", "comes"), CHOSEN)
def test_a_choice_for_empty_acks_holds_for_every_haproxy(hello: str, action: Action, comes: str) -> None:
    Talk({Anomaly.EMPTY_ACK: action}).play(
        f"""
        haproxy HAPROXY_HELLO{hello} -> held, dial
        agent   up          -> to_agent HAPROXY_HELLO
        agent   AGENT_HELLO -> to_haproxy AGENT_HELLO
        haproxy NOTIFY 1.1  -> ok
        agent   <empty>     -> {action.value} empty_ack, {comes}
        """,
        empty=ack(payload=b""),
    )


def test_what_cannot_be_read_stays_where_a_policy_lets_it_pass() -> None:
    talk = running({Anomaly.ACK_MALFORMED: Action.PASS})
    talk.play(
        """
        haproxy NOTIFY 1.1 -> ok
        agent   <odd>      -> repair ack_stray_null, pass ack_malformed, to_haproxy ACK 1.1
        """,
        odd=ack(payload=UNSET_VAR + b"\0\7" + SET_VAR),
    )
    assert talk.written["to_haproxy"].endswith(ack(payload=UNSET_VAR + b"\7" + SET_VAR))


def test_unreadable_bytes_behind_a_passed_bad_boolean_are_cut_off() -> None:
    """A payload rewritten for one fault keeps what the policy says of another."""
    talk = running({Anomaly.ACK_BAD_BOOL: Action.PASS, Anomaly.ACK_MALFORMED: Action.REPAIR})
    talk.play(
        """
        haproxy NOTIFY 1.1 -> ok
        agent   <odd>      -> pass ack_bad_bool, repair ack_malformed, to_haproxy ACK 1.1
        """,
        odd=ack(payload=ODD_FALSE + b"\7"),
    )
    assert talk.written["to_haproxy"].endswith(ack(payload=ODD_FALSE))


def test_flags_a_policy_passes_outlive_the_mending_of_fin() -> None:
    talk = running({Anomaly.RESERVED_FLAGS: Action.PASS})
    talk.play(
        """
        haproxy NOTIFY 1.1 -> ok
        agent   <odd>      -> repair missing_fin, pass reserved_flags, to_haproxy ACK 1.1
        """,
        odd=ack(flags=ABRT),
    )
    assert talk.written["to_haproxy"].endswith(ack(flags=FIN | ABRT))


LOST = [
    # name                                   as it came                                          reported
    ("an action nobody knows",               ack(payload=SET_VAR + b"\x07"),                     "ack_malformed"),
    ("a string cut short",                   ack(payload=SET_VAR[:-3]),                          "bad_varint"),
    ("a length that does not end",           ack(payload=b"\1\3\2" + frames.ENDLESS),            "bad_varint"),
    ("a length that wraps",                  ack(payload=b"\1\3\2" + b"\xff" * 9 + b"\1" + b"x"), "bad_varint"),
    ("a scope nobody knows",                 ack(payload=b"\1\3\5\1a\x11"),                      "ack_malformed"),
    ("longer than was negotiated",           frames.sized(103, frames.SIZE + 1),                 "oversize_frame"),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "anomaly"), [c[1:] for c in LOST], ids=[c[0] for c in LOST])
def test_an_ack_that_cannot_be_mended_leaves_its_notify_unanswered(raw: bytes, anomaly: str) -> None:
    running().play(
        f"""
        haproxy NOTIFY 1.1 + NOTIFY 3.1 -> ok
        agent   <odd>   -> drop {anomaly}, pass notify_unanswered, unanswered ack_dropped 1
        agent   ACK 1.1 -> drop late_ack
        agent   ACK 3.1 -> ok
        """,
        odd=raw,
    )


def test_with_answer_unanswered_haproxy_gets_an_ack_without_effect() -> None:
    talk = running(unanswered=Unanswered.EMPTY_ACK)
    handshake = len(talk.written["to_haproxy"])
    talk.play(
        """
        haproxy NOTIFY 1.1 -> ok
        agent   <odd>      -> drop ack_malformed, answer notify_unanswered, unanswered ack_dropped 1, to_haproxy ACK 1.1
        agent   ACK 1.1    -> drop late_ack
        agent   AGENT_DISCONNECT 0 -> to_agent HAPROXY_DISCONNECT 0, ok
        """,
        odd=ack(payload=b"\x07"),
    )
    assert talk.written["to_haproxy"][handshake:] == ack(payload=NOP) + frames.agent_disconnect(0)


def test_bad_ids_cost_no_more_than_their_own_frame() -> None:
    running().play(
        """
        haproxy NOTIFY 1.1            -> ok
        agent   <odd> + ACK 1.1       -> drop bad_varint, to_haproxy ACK 1.1
        """,
        odd=frames.raw(b"\x67\0\0\0\1" + frames.ENDLESS),
    )


def test_an_ack_passes_up_to_exactly_the_negotiated_size() -> None:
    running(answer=frames.agent_hello(max_frame_size=1000)).play(
        """
        haproxy NOTIFY 1.1 + NOTIFY 3.1 -> ok
        agent   <fits>                  -> ok
        agent   <more>                  -> drop oversize_frame, pass notify_unanswered, unanswered ack_dropped 1
        """,
        fits=frames.sized(103, 1000),
        more=frames.sized(103, 1001, "3.1"),
    )


def test_cutting_an_ack_short_to_nothing_leaves_one_that_every_haproxy_takes() -> None:
    talk = running({Anomaly.ACK_MALFORMED: Action.REPAIR})
    handshake = len(talk.written["to_haproxy"])
    talk.play(
        """
        haproxy NOTIFY 1.1 + NOTIFY 3.1 -> ok
        agent   <none>                  -> repair ack_malformed, to_haproxy ACK 1.1
        agent   <some>                  -> repair ack_malformed, to_haproxy ACK 3.1
        """,
        none=ack(payload=b"\x07"),
        some=ack("3.1", payload=SET_VAR + b"\x07" + SET_VAR),
    )
    assert talk.written["to_haproxy"][handshake:] == ack(payload=NOP) + ack("3.1")


MANY = b"\2\2\2\1a" * (MOST_ACTIONS - 1)


def test_an_ack_in_order_passes_with_more_actions_than_an_odd_one() -> None:
    """Behind AGENT-DISCONNECT too, where no ACK passes on the hot lane."""
    many = ack("1.1", payload=MANY + SET_VAR + UNSET_VAR)
    running().play("haproxy NOTIFY 1.1 -> ok\nagent <many> -> ok", many=many)
    running().play(
        """
        haproxy NOTIFY 1.1         -> ok
        agent   AGENT_DISCONNECT 0 -> held, reorder disconnect_before_ack
        agent   <many>             -> reorder ack_after_disconnect, to_agent HAPROXY_DISCONNECT 0, to_haproxy ACK 1.1, \
                to_haproxy AGENT_DISCONNECT 0
        """,
        many=many,
    )


LARGE = 4 * actions.MOST + 100


@pytest.mark.parametrize(
    ("more", "told"), [(0, "ok"), (1, "drop ack_malformed, pass notify_unanswered, unanswered ack_dropped 1")]
)
def test_an_ack_in_order_has_so_many_actions_and_no_more(more: int, told: str) -> None:
    """To read more of them would take longer than others should wait. It takes a frame of more than 64 KiB."""
    hello = haproxy_hello(max_frame_size=LARGE + 12, capabilities=b"pipelining,async")
    talk = running(hello=hello, answer=agent_hello(max_frame_size=LARGE))
    talk.play(f"haproxy NOTIFY 1.1 -> ok\nagent <many> -> {told}", many=ack("1.1", payload=b"\2\2\2\0" * (actions.MOST + more)))


ODD = SET_VAR[:-1] + b"\x21"


@pytest.mark.parametrize(
    ("payload", "told"),
    [
        (ODD + MANY, "repair ack_bad_bool, to_haproxy ACK 1.1"),
        (ODD + MANY + SET_VAR, "repair ack_bad_bool, drop ack_malformed, pass notify_unanswered, unanswered ack_dropped 1"),
        (MANY + ODD, "repair ack_bad_bool, to_haproxy ACK 1.1"),
        (MANY + SET_VAR + ODD, "drop ack_malformed, pass notify_unanswered, unanswered ack_dropped 1"),
    ],
    ids=["at its beginning", "one action more", "at its end", "one action more at its end"],
)
def test_an_ack_of_too_many_actions_and_one_fault_is_dropped(payload: bytes, told: str) -> None:
    running().play(f"haproxy NOTIFY 1.1 -> ok\nagent <odd> -> {told}", odd=ack("1.1", payload=payload))
