"""Input on HAProxy's side, from HAProxy or another client: noise, NOTIFYs, fragments, DISCONNECT (promises A1 to A3)."""

import pytest

from spoe_guard.core.payloads.disconnect import MOST_KEYS
from spoe_guard.core.terms.anomalies import Action, Anomaly
from spoe_guard.core.terms.events import DisconnectSeen
from spoe_guard.wire import frame
from spoe_guard.wire.frame import FrameType
from tests.core import frames
from tests.core.frames import ABRT, ENDLESS, FIN, MESSAGE, NOP, ack, notify, raw, unset
from tests.core.script import Talk, play, running

pytestmark = pytest.mark.usefixtures("both_speeds")


# --- NOTIFYs ----------------------------------------

UNPASSED = "pass notify_unanswered, unanswered notify_dropped 1"

MENDED = "repair reserved_flags, to_agent NOTIFY 1.1"

NOTIFIES = [
    # name                          as it came                                        outcome
    ("no message",                  notify(payload=b""),                              "answer notify_empty, to_haproxy ACK 1.1"),
    ("cut short",                   notify(payload=MESSAGE[:-1]),                     f"drop notify_malformed, {UNPASSED}"),
    ("no number of arguments",      notify(payload=b"\5check"),                       f"drop notify_malformed, {UNPASSED}"),
    ("an unknown type of value",    notify(payload=b"\5check\1\1a\x0f"),              f"drop notify_malformed, {UNPASSED}"),
    ("rubbish behind",              notify(payload=MESSAGE + b"\x05"),                f"drop bad_varint, {UNPASSED}"),
    ("a length that does not end",  notify(payload=ENDLESS),                          f"drop bad_varint, {UNPASSED}"),
    ("aborted",                     notify(flags=FIN | ABRT),                         MENDED),
    ("a flag from the future",      notify(flags=FIN | 0x100),                        MENDED),
    ("the rest of one",             unset(),                                          "drop fragment_refused"),
    ("ids that do not end",         raw(b"\3\0\0\0\1" + ENDLESS),                     "drop bad_varint"),
]  # fmt: skip


@pytest.mark.parametrize(("odd", "outcome"), [c[1:] for c in NOTIFIES], ids=[c[0] for c in NOTIFIES])
def test_only_well_formed_notifies_reach_the_agent(odd: bytes, outcome: str) -> None:
    talk = running()
    handshake = len(talk.written["to_agent"])
    talk.play(f"haproxy <odd> -> {outcome}\nhaproxy NOTIFY 3.1 -> ok", odd=odd)
    sent = talk.written["to_agent"][handshake:]
    assert sent == (notify() if "to_agent" in outcome else b"") + notify("3.1")


def test_the_answer_to_an_empty_notify_has_no_effect() -> None:
    talk = running()
    handshake = len(talk.written["to_haproxy"])
    talk.play("haproxy <empty> -> answer notify_empty, to_haproxy ACK 7.1", empty=notify("7.1", b""))
    assert talk.written["to_haproxy"][handshake:] == ack("7.1", NOP)
    assert talk.session.open_notifies == 0


def test_a_notify_passes_up_to_exactly_the_agents_size() -> None:
    running(answer=frames.agent_hello(max_frame_size=1000)).play(
        f"""
        haproxy <fits>      -> ok
        haproxy <more>      -> drop notify_oversize, {UNPASSED}
        haproxy <haproxys>  -> drop notify_oversize, {UNPASSED}
        haproxy <nobodys>   -> drop oversize_frame, {UNPASSED}
        """,
        fits=frames.sized(3, 1000),
        more=frames.sized(3, 1001, "3.1"),
        haproxys=frames.sized(3, 16380, "5.1"),
        nobodys=frames.sized(3, 16381, "7.1"),
    )


def test_the_same_ids_twice_are_one_open_notify() -> None:
    talk = play(
        """
        haproxy NOTIFY 1.1 + NOTIFY 1.1 -> pass notify_duplicate, ok
        haproxy NOTIFY 1.1              -> pass notify_duplicate, ok
        agent   ACK 1.1                 -> ok
        agent   ACK 1.1                 -> drop duplicate_ack
        """
    )
    assert talk.tally.ack_count == 1


def test_a_duplicate_that_cannot_pass_leaves_the_open_notify_alone() -> None:
    running({Anomaly.NOTIFY_DUPLICATE: Action.DROP}).play(
        """
        haproxy NOTIFY 1.1   -> ok
        haproxy NOTIFY 1.1   -> drop notify_duplicate
        haproxy <malformed>  -> drop notify_malformed
        haproxy <empty>      -> answer notify_empty
        haproxy <over>       -> drop oversize_frame
        haproxy <fragment>   -> held
        haproxy UNSET 1.1    -> drop notify_duplicate
        agent   ACK 1.1      -> ok
        """,
        malformed=notify(payload=MESSAGE[:-1]),
        empty=notify(payload=b""),
        over=frames.sized(3, 16381),
        fragment=notify(flags=0),
    )


def test_the_oldest_notify_gives_way_when_too_many_are_open() -> None:
    talk = play(
        """
        haproxy NOTIFY 1.1 + NOTIFY 3.1 -> ok
        haproxy NOTIFY 5.1              -> pass notify_unanswered, unanswered limit 1, ok
        agent   ACK 1.1                 -> drop late_ack
        agent   ACK 3.1 + ACK 5.1       -> ok
        haproxy NOTIFY 7.1 + NOTIFY 9.1 + NOTIFY 11.1 -> pass notify_unanswered, unanswered limit 1, ok
        """,
        open_notifies=2,
    )
    assert talk.session.open_notifies == 2


# --- HAProxy's DISCONNECT ----------------------------------------


def test_haproxys_disconnect_is_answered_at_once_and_passed_on() -> None:
    talk = play(
        """
        haproxy NOTIFY 1.1 + NOTIFY 3.1 -> ok
        agent   ACK 1.1                 -> ok
        haproxy HAPROXY_DISCONNECT 2    -> unanswered haproxy_gone 1, ok, to_haproxy AGENT_DISCONNECT 2, close haproxy
        agent   ACK 3.1                 -> drop late_ack
        agent   AGENT_DISCONNECT 0      -> nothing
        agent   fin                     -> close agent, end haproxy disconnect
        """
    )
    assert [seen.anomaly for seen in talk.anomalies] == [Anomaly.LATE_ACK]
    assert [seen.open_notifies for seen in talk.events if isinstance(seen, DisconnectSeen)] == [1, 0]


def test_frames_behind_haproxys_disconnect_are_dropped() -> None:
    play(
        """
        haproxy HAPROXY_DISCONNECT 0 + NOTIFY 1.1 -> drop frame_after_disconnect, to_agent HAPROXY_DISCONNECT 0, \
                to_haproxy AGENT_DISCONNECT 0, close haproxy
        """
    )


def test_frames_behind_a_disconnect_before_the_agent_is_up_are_dropped_silently() -> None:
    Talk().play(
        """
        haproxy HAPROXY_HELLO                     -> held, dial
        haproxy HAPROXY_DISCONNECT 0 + NOTIFY 1.1 -> unreachable haproxy_gave_up, to_haproxy AGENT_DISCONNECT 0, \
                close haproxy, abort agent, end haproxy disconnect
        """
    )


def test_a_disconnect_for_an_agent_that_is_gone_is_only_answered() -> None:
    Talk().play(
        """
        haproxy HAPROXY_HELLO      -> held, dial
        agent   up                 -> to_agent HAPROXY_HELLO
        agent   AGENT_DISCONNECT 5 -> answer hello_refused, unreachable hello_refused
        agent   fin                -> close agent
        haproxy <odd>              -> repair disconnect_malformed, to_haproxy AGENT_DISCONNECT 2, close haproxy, \
                end haproxy disconnect
        """,
        odd=frames.haproxy_disconnect(2, flags=0),
    )


@pytest.mark.parametrize(
    ("odd", "told"),
    [
        (frames.haproxy_disconnect(2, flags=0), 2),
        (frames.haproxy_disconnect(2, at="1.1"), 2),
        (frames.haproxy_disconnect(None), 99),
        (frames.haproxy_disconnect(2, b"x" * 201), 2),
        (frame.encode(FrameType.HAPROXY_DISCONNECT), 99),
        (frame.encode(FrameType.HAPROXY_DISCONNECT, payload=frames.pairs(status_code=2, message=b"m", healthcheck=b"x")), 2),
        (frame.encode(FrameType.HAPROXY_DISCONNECT, payload=frames.pairs(status_code=2) * (MOST_KEYS + 1)), 2),
        (frame.encode(FrameType.HAPROXY_DISCONNECT, payload=b"\x0bstatus"), 99),
    ],
)
def test_a_disconnect_an_agent_might_not_take_is_written_anew(odd: bytes, told: int) -> None:
    running().play(
        f"""
        haproxy <odd> -> repair disconnect_malformed, to_agent HAPROXY_DISCONNECT {told}, \
                to_haproxy AGENT_DISCONNECT {told}, close haproxy
        """,
        odd=odd,
    )


@pytest.mark.parametrize("how", ["fin", "rst"])
def test_a_close_by_haproxy_is_ordinary_and_the_agent_gets_disconnect(how: str) -> None:
    """HAProxy 3.1 and later drops connections with RST and no DISCONNECT as a matter of course."""
    talk = play(
        f"""
        haproxy NOTIFY 1.1         -> ok
        haproxy {how}              -> unanswered haproxy_gone 1, to_agent HAPROXY_DISCONNECT 0, close haproxy
        agent   AGENT_DISCONNECT 0 -> nothing
        agent   fin                -> close agent, end haproxy {"closed" if how == "fin" else "reset"}
        """
    )
    assert not talk.anomalies
