"""What the hot lane forwards, what it must refuse, and what the session knows of it afterwards."""

# ruff: noqa: E501 - a move and its outcome read best in one line

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from spoe_guard.core.conversation.agent_link import LONGEST_ACK
from spoe_guard.core.conversation.route_state import RouteState
from spoe_guard.core.terms.anomalies import Side
from spoe_guard.core.terms.config import Redispatch, Unanswered
from spoe_guard.core.terms.states import SessionState
from spoe_guard.wire.frame import FrameType
from tests.carrier import Watched, passed
from tests.core import frames
from tests.core.frames import ack, notify
from tests.core.observed import RUNNING as OBSERVED
from tests.core.script import HANDSHAKE, Talk, running
from tests.core.test_session_foreign_acks import Route

APPLET = b"pipelining,async"  # HAProxy up to 3.0: its HELLO tells which it is, so its first NOTIFY is ordinary
SYNC: dict[str, Any] = {"hello": frames.haproxy_hello(capabilities=b""), "answer": frames.agent_hello(capabilities=b"")}
LASTS: dict[str, Any] = {"give_up_s": 5.0}
LINKS: dict[str, Any] = {"give_up_s": 5.0, "max_links": 2, "in_flight": 1}

JUNK = b"\xff\xff\xff\xff\x67\0\0\0\1aaaa"  # no frame has that length
LARGE = "4328786160.1"  # ids that have no key


def watched(talk: Talk) -> Talk:
    talk.session = Watched(talk.session)  # type: ignore[assignment]
    return talk


def stepped(talk: Talk) -> list[bytes]:
    """Return what the session was asked about so far, and forget it."""
    found = talk.session.stepped
    talk.session.stepped = []
    return found


def fresh(**config: Any) -> Talk:
    return watched(Talk(**config))


def ready(**config: Any) -> Talk:
    """Return a talk in which the next NOTIFY is ordinary, as far as it is up to HAProxy."""
    return watched(running(**{"hello": frames.haproxy_hello(capabilities=APPLET), "answer": frames.agent_hello(), **config}))


def check() -> Talk:
    hello = frames.haproxy_hello(capabilities=APPLET, healthcheck=True)
    return watched(running(hello=hello, answer=frames.agent_hello(capabilities=b"")))


def observed() -> Talk:
    script = OBSERVED.replace("HAPROXY_HELLO", "HAPROXY_HELLO applet")
    return watched(Talk(observe=True).play(script))


MUX = """
    haproxy NOTIFY 1.1      -> ok
    haproxy NOTIFY 3.1      -> ok
    haproxy NOTIFY 5.1      -> ok
"""  # behind these it is known


def mux(**config: Any) -> Talk:
    """HAProxy from 3.1 on, of which it is known; 1.1, 3.1 and 5.1 are open."""
    return watched(running(**config).play(MUX))


def one_at_a_time(**config: Any) -> Talk:
    """HAProxy sends one NOTIFY at a time; it is known, and none is open."""
    talk = running(**SYNC, **config)
    for number in (1, 3, 5):
        talk.play(f"haproxy NOTIFY {number}.1 -> ok\nagent ACK {number}.1 -> ok")
    return watched(talk)


def two(in_flight: int = 1, **config: Any) -> Talk:
    """Two links: the second one got the last NOTIFY, 5.1, and the first one has ``in_flight`` of them: 3.1, and 1.1."""
    first = " + ".join(["NOTIFY 1.1", "NOTIFY 3.1"][-in_flight:])
    return watched(running(**{**LINKS, "in_flight": in_flight, "hello": frames.haproxy_hello(capabilities=APPLET), **config}).play(f"""
        haproxy {first}         -> ok
        haproxy NOTIFY 5.1      -> held, dial 1
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent1  AGENT_HELLO     -> parallel up, redispatched unsent 1, to_agent1 NOTIFY 5.1
    """))  # fmt: skip


def large(**config: Any) -> Talk:
    """Frames of more than 64 KiB were agreed on; 1.1 is open."""
    hello = frames.haproxy_hello(max_frame_size=2 * LONGEST_ACK, capabilities=APPLET)
    return ready(hello=hello, answer=frames.agent_hello(max_frame_size=2 * LONGEST_ACK - 12), **config)


# --- what must not go by it -----------------------------------------------------------------------------------------------


@dataclass
class Row:
    """``line``: of a read that looks ordinary, with what comes of it; ``later``: seconds it comes after ``before``, unheard."""

    talk: Callable[[], Talk]
    before: str
    line: str
    named: dict[str, bytes] = field(default_factory=dict)
    later: float = 0.0


OPEN = "haproxy NOTIFY 1.1 + NOTIFY 3.1 -> ok\n"
LONG_ACK, LONG_NOTIFY = (frames.sized(kind, frames.SIZE + 100, "9.9") for kind in (FrameType.ACK, FrameType.NOTIFY))
SKIPPED = {"long_ack": LONG_ACK, "long_notify": LONG_NOTIFY}
PAUSED = {"one": frames.sized(FrameType.ACK, 7996, "1.1"), "two": frames.sized(FrameType.ACK, 7996, "3.1")}
LEAVES = "agent AGENT_DISCONNECT 0 -> reorder disconnect_before_ack\n"
GIVEN_UP = "pass notify_unanswered, unanswered"

NOT_BY_THE_LANE = {
    "an ACK of more than 64 KiB": Row(large, "haproxy NOTIFY 1.1 -> ok\n", "agent <long> -> ok",
        {"long": frames.sized(FrameType.ACK, LONGEST_ACK + 1, "1.1")}),
    # --- the session does not stand where anything is ordinary
    "a NOTIFY before HELLO": Row(fresh, "", "haproxy NOTIFY 1.1 -> close frame_before_hello"),
    "an ACK before HELLO": Row(fresh, HANDSHAKE.rsplit("\n", 2)[0], "agent ACK 1.1 -> drop frame_before_hello"),
    "a NOTIFY in a health check": Row(check, "", "haproxy NOTIFY 1.1 -> ok"),
    "an ACK in a health check": Row(check, "haproxy NOTIFY 1.1 -> ok\n", "agent ACK 1.1 -> ok"),
    "a NOTIFY while it drains": Row(ready, OPEN + "guard drains -> nothing\n", "haproxy NOTIFY 5.1 -> ok"),
    "an ACK while it drains": Row(ready, OPEN + "guard drains -> nothing\n", "agent ACK 1.1 -> ok"),
    "the last ACK while it drains": Row(ready, OPEN + "agent ACK 1.1 -> ok\nguard drains -> nothing\n",
        "agent ACK 3.1 -> to_agent HAPROXY_DISCONNECT 0, to_haproxy ACK 3.1, to_haproxy AGENT_DISCONNECT 0"),
    "a NOTIFY behind HAPROXY-DISCONNECT": Row(ready,
        OPEN + "haproxy HAPROXY_DISCONNECT 0 -> unanswered haproxy_gone 2, ok, to_haproxy AGENT_DISCONNECT 0, close haproxy\n",
        "haproxy NOTIFY 5.1 -> drop frame_after_disconnect"),
    "an ACK behind HAPROXY-DISCONNECT": Row(ready,
        OPEN + "haproxy HAPROXY_DISCONNECT 0 -> unanswered haproxy_gone 2, ok, to_haproxy AGENT_DISCONNECT 0, close haproxy\n",
        "agent ACK 1.1 -> drop late_ack"),
    "an ACK behind HAProxy's FIN": Row(ready,
        OPEN + "haproxy fin -> unanswered haproxy_gone 2, to_agent HAPROXY_DISCONNECT 0, close haproxy\n",
        "agent ACK 1.1 -> drop late_ack"),
    "an ACK behind HAProxy's reset": Row(ready,
        OPEN + "haproxy rst -> unanswered haproxy_gone 2, to_agent HAPROXY_DISCONNECT 0, close haproxy\n",
        "agent ACK 1.1 -> drop late_ack"),
    "a NOTIFY behind the agent's FIN": Row(ready, OPEN + f"agent fin -> answer disconnect_missing, {GIVEN_UP} agent_gone 2, "
        "to_agent HAPROXY_DISCONNECT 0, to_haproxy AGENT_DISCONNECT 13, close agent\n", "haproxy NOTIFY 5.1 -> nothing"),
    # --- something waits, or is kept back
    "an ACK while a NOTIFY waits": Row(lambda: ready(**LASTS, in_flight=1), "haproxy NOTIFY 1.1 -> ok\nhaproxy NOTIFY 3.1 -> held\n",
        "agent ACK 1.1 -> redispatched unsent 1, to_agent NOTIFY 3.1, ok"),
    "a NOTIFY while another one waits": Row(lambda: ready(**LASTS, in_flight=1), "haproxy NOTIFY 1.1 -> ok\nhaproxy NOTIFY 3.1 -> held\n",
        "haproxy NOTIFY 5.1 -> held"),
    "a NOTIFY behind part of one": Row(ready, OPEN + "haproxy NOTIFY 5.1[:9] -> held\n",
        "haproxy NOTIFY 5.1[9:] + NOTIFY 7.1 -> to_agent NOTIFY 5.1, to_agent NOTIFY 7.1"),
    "an ACK while HAProxy is inside a frame": Row(ready, OPEN + "haproxy NOTIFY 5.1[:9] -> held\n", "agent ACK 1.1 -> ok"),
    "an ACK behind part of one": Row(ready, OPEN + "agent ACK 1.1[:9] -> held\n",
        "agent ACK 1.1[9:] + ACK 3.1 -> to_haproxy ACK 1.1, to_haproxy ACK 3.1"),
    "a NOTIFY while the agent is inside a frame": Row(ready, OPEN + "agent ACK 1.1[:9] -> held\n", "haproxy NOTIFY 5.1 -> ok"),
    "what looks like a NOTIFY inside a frame that is skipped": Row(ready,
        OPEN + f"haproxy <long_notify>[:9000] -> drop oversize_frame, {GIVEN_UP} notify_dropped 1\n",
        "haproxy NOTIFY 5.1 -> nothing", SKIPPED),
    "what looks like an ACK inside a frame that is skipped": Row(ready,
        OPEN + "agent <long_ack>[:9000] -> drop oversize_frame\n", "agent ACK 1.1 -> nothing", SKIPPED),
    "an ACK behind a DISCONNECT that is held": Row(ready, OPEN + "agent AGENT_DISCONNECT 0 -> held, reorder disconnect_before_ack\n",
        "agent ACK 1.1 -> reorder ack_after_disconnect, ok"),
    "a NOTIFY behind a DISCONNECT that is held": Row(ready, OPEN + "agent AGENT_DISCONNECT 0 -> held, reorder disconnect_before_ack\n",
        f"haproxy NOTIFY 5.1 -> {GIVEN_UP} agent_gone 1"),
    "an ACK of a torn stream": Row(ready, OPEN + "agent <junk> -> held, repair garbled_stream\n",
        "agent ACK 1.1 -> repair interleaved_frames, ok", {"junk": JUNK}),
    "an ACK of a torn stream of which nothing is held": Row(lambda: ready(**LASTS),
        OPEN + "agent <junk> -> held, repair garbled_stream\nagent ACK 1.1 -> repair interleaved_frames, ok\n",
        "agent ACK 3.1 -> repair interleaved_frames, lost anomaly 0/0, to_agent HAPROXY_DISCONNECT 0, ok", {"junk": JUNK}),
    "an ACK among pieces of others": Row(ready, OPEN + "agent ACK 1.1[:11] + ACK 3.1 -> held, repair interleaved_frames\n",
        "agent ACK 1.1[11:] -> to_haproxy ACK 3.1"),
    "an ACK behind others that wait": Row(mux,
        "agent <one> -> ok\nagent <two> -> held\n", "agent ACK 5.1 -> held", PAUSED),
    "a NOTIFY while ACKs wait": Row(mux, "agent <one> -> ok\nagent <two> -> held\n", "haproxy NOTIFY 7.1 -> ok", PAUSED),
    "an ACK more than HAProxy can take": Row(mux, "agent <one> -> ok\n", "agent <two> -> held", PAUSED),
    # --- time
    "a NOTIFY when the deadline has come": Row(lambda: ready(idle_s=5.0), OPEN, "haproxy NOTIFY 5.1 -> ok", later=5.0),
    "an ACK when the deadline has come": Row(lambda: ready(idle_s=5.0), OPEN, "agent ACK 1.1 -> ok", later=5.0),
    "a NOTIFY of which a sooner deadline comes": Row(lambda: ready(answer_deadline_s=5.0), "", "haproxy NOTIFY 1.1 -> ok"),
    "an ACK of which a sooner deadline comes": Row(two, "", "agent ACK 3.1 -> ok"),
    # --- it is not HAProxy's, or the agent's, turn
    "a first NOTIFY, of nobody knows which HAProxy": Row(lambda: watched(running()), "", "haproxy NOTIFY 1.1 -> ok"),
    "the third one, which tells": Row(lambda: watched(running()), "haproxy NOTIFY 1.1 -> ok\nhaproxy NOTIFY 3.1 -> ok\n", "haproxy NOTIFY 5.1 -> ok"),
    "a NOTIFY beside the only one that may be open": Row(one_at_a_time, "haproxy NOTIFY 7.1 -> ok\n", "haproxy NOTIFY 9.1 -> ok"),
    "a NOTIFY beside the only one, on a link that may have two": Row(lambda: one_at_a_time(**LASTS, in_flight=2),
        "haproxy NOTIFY 7.1 -> ok\nagent ACK 7.1 -> ok\nhaproxy NOTIFY 9.1 -> ok\n",
        f"haproxy NOTIFY 11.1 -> {GIVEN_UP} superseded 1, ok", later=0.02),
    "a NOTIFY after the only one that may be open": Row(one_at_a_time, "haproxy NOTIFY 7.1 -> ok\n",
        f"haproxy NOTIFY 9.1 -> {GIVEN_UP} superseded 1, ok", later=0.02),
    "a NOTIFY for a link that has its one": Row(lambda: ready(**LASTS, in_flight=1), "haproxy NOTIFY 1.1 -> ok\n", "haproxy NOTIFY 3.1 -> held"),
    "a NOTIFY for which there may be another link": Row(lambda: ready(**LINKS), "haproxy NOTIFY 1.1 -> ok\n", "haproxy NOTIFY 3.1 -> held, dial 1"),
    "a NOTIFY when each link has its one": Row(two, "", "haproxy NOTIFY 7.1 -> held"),
    "a NOTIFY more than may be open": Row(lambda: ready(open_notifies=2), OPEN, f"haproxy NOTIFY 5.1 -> {GIVEN_UP} limit 1, ok"),
    "a NOTIFY more than may be open on all links": Row(lambda: two(2, open_notifies=3), "",
        f"haproxy NOTIFY 7.1 -> {GIVEN_UP} limit 1, to_agent1 NOTIFY 7.1"),
    "a NOTIFY that is open": Row(ready, OPEN, "haproxy NOTIFY 3.1 -> pass notify_duplicate, ok"),
    "a NOTIFY that is open on another link": Row(lambda: two(2), "", "haproxy NOTIFY 3.1 -> pass notify_duplicate, ok"),
    "an ACK of a NOTIFY that is open on another link": Row(lambda: two(2), "", "agent1 ACK 3.1 -> ok"),
    "a NOTIFY without a key where there are several links": Row(lambda: two(2), "", f"haproxy NOTIFY {LARGE} -> to_agent1 NOTIFY {LARGE}"),
    "half a head where there are several links": Row(lambda: two(2), "", "haproxy NOTIFY 7.1[:9] -> held"),
    "a NOTIFY for a link that is left": Row(lambda: ready(**LASTS), OPEN + LEAVES, "haproxy NOTIFY 5.1 -> held, dial 1"),
    "an ACK on a link that is left": Row(lambda: ready(**LASTS), OPEN + LEAVES, "agent ACK 1.1 -> reorder ack_after_disconnect, ok"),
    "an ACK on a link that is closed": Row(two, "agent1 AGENT_DISCONNECT 0 + ACK 5.1 -> reorder disconnect_before_ack, "
        "reorder ack_after_disconnect, lost disconnect 0/0, to_agent1 HAPROXY_DISCONNECT 0, to_haproxy ACK 5.1\n",
        "agent1 ACK 3.1 -> ok"),
    "an observed session's NOTIFY that is open": Row(observed, OPEN, "haproxy NOTIFY 3.1 -> pass notify_duplicate, ok"),
    "an observed session's ACK of nobody's": Row(observed, OPEN, "agent ACK 9.1 -> drop unmatched_ack, ok"),
}  # fmt: skip


@pytest.mark.usefixtures("both_speeds")
@pytest.mark.parametrize("row", NOT_BY_THE_LANE.values(), ids=NOT_BY_THE_LANE)
def test_what_is_not_ordinary_is_asked_about_in_full(row: Row) -> None:
    talk = row.talk()
    talk.play(row.before, **row.named)
    talk.now += row.later
    stepped(talk)
    talk.play(row.line)
    who, _, sent = row.line.partition(" -> ")[0].partition(" ")
    assert stepped(talk) == [talk._encode(sent)], who


# --- what goes by it ------------------------------------------------------------------------------------------------------


def test_an_ack_of_64_kib_is_not_asked_about() -> None:
    talk = large()
    talk.play("haproxy NOTIFY 1.1 -> ok")
    stepped(talk)
    talk.play("agent <long> -> ok", long=frames.sized(FrameType.ACK, LONGEST_ACK, "1.1"))
    assert stepped(talk) == []


def test_what_is_ordinary_is_not_asked_about() -> None:
    talk = ready().play("""
        haproxy NOTIFY 1.1 + NOTIFY 3.1 -> ok
        haproxy NOTIFY 5.1      -> ok
        agent   ACK 5.1         -> ok
        agent   ACK 1.1 + ACK 3.1 -> ok
    """)
    assert stepped(talk) == []
    assert (talk.session.open_notifies, talk.tally.open_notifies, talk.tally.ack_count) == (0, 0, 3)
    assert talk.tally.frames_to_agent[FrameType.NOTIFY] == talk.tally.frames_to_haproxy[FrameType.ACK] == 3


KINDS: dict[str, Callable[[], Talk]] = {
    "HAProxy up to 3.0": ready,
    "HAProxy from 3.1 on, which is written to at a pace": mux,
    "one NOTIFY at a time": one_at_a_time,
    "a session that outlives its link": lambda: ready(**LASTS),
    "copies are kept": lambda: ready(**LASTS, redispatch=Redispatch.UNANSWERED),
    "one NOTIFY at a time on one link": lambda: ready(**LASTS, in_flight=1),
    "an answer deadline": lambda: ready(answer_deadline_s=2.0),
    "links are retired": lambda: ready(**LASTS, retire_s=2.0),
    "observed": observed,
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_hundred_round_trips_are_not_asked_about(kind: Callable[[], Talk]) -> None:
    talk = kind()
    for number in range(101, 303, 2):
        talk.now += 0.01
        talk.play(f"haproxy NOTIFY {number}.1 -> ok")
        talk.now += 0.002
        talk.play(f"agent ACK {number}.1 -> ok")
        if number == 101:
            stepped(talk)  # whatever deadline it brings
    assert stepped(talk) == []


def test_a_link_with_a_keyless_notify_in_hand_is_given_no_other() -> None:
    two().play(f"""
        agent   ACK 3.1        -> ok
        agent1  ACK 5.1        -> ok
        haproxy NOTIFY {LARGE} -> ok
        haproxy NOTIFY 7.1     -> to_agent1 NOTIFY 7.1
        agent   ACK {LARGE}    -> ok
        agent1  ACK 7.1        -> ok
    """)


def test_notifies_spread_over_twenty_links_do_not_ask_the_session() -> None:
    count = 20
    config = {**LINKS, "max_links": count, "hello": frames.haproxy_hello(capabilities=APPLET)}
    talk = watched(running(**config))
    run = " + ".join(f"NOTIFY {number}.1" for number in range(1, 2 * count, 2))
    talk._line("haproxy", run)
    for link in range(1, count):
        talk._line(f"agent{link}", "up")
        talk._line(f"agent{link}", "AGENT_HELLO")
    everywhere = ["", *range(1, count)]

    def in_hand() -> dict[Any, int]:
        """Return the stream-id of the last that each agent got."""
        return {name: list(frames.cut(talk.got[f"to_agent{name}"]))[-1].stream_id for name in everywhere}

    has = in_hand()
    assert sorted(has.values()) == list(range(1, 2 * count, 2))
    for turn in range(1, 102):
        talk.now += 0.002
        for name in everywhere:
            assert talk._line(f"agent{name}", f"ACK {has[name]}.1") == "ok"
        if turn == 1:
            stepped(talk)  # a link that is idle brings a deadline
        talk.now += 0.002
        first = turn * 2 * count + 1
        talk._line("haproxy", " + ".join(f"NOTIFY {number}.1" for number in range(first, first + 2 * count, 2)))
        has = in_hand()
        assert sorted(has.values()) == list(range(first, first + 2 * count, 2))
    assert stepped(talk) == []
    talk._check_books()


def test_a_link_that_is_left_does_not_keep_the_others_off_it() -> None:
    talk = ready(**LASTS).play(
        OPEN
        + LEAVES
        + """
        haproxy NOTIFY 5.1      -> held, dial 1
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent1  AGENT_HELLO     -> replacement up, redispatched unsent 1, to_agent1 NOTIFY 5.1
    """
    )
    stepped(talk)
    talk.play("haproxy NOTIFY 7.1 -> to_agent1 NOTIFY 7.1\nagent1 ACK 5.1 -> ok")
    assert stepped(talk) == []


def test_behind_a_link_that_was_lost_it_goes_to_the_next_one() -> None:
    talk = ready(**LASTS).play("""
        haproxy NOTIFY 1.1      -> ok
        agent   ACK 1.1         -> ok
        agent   rst             -> answer disconnect_missing, lost reset 0/0, close agent
        haproxy NOTIFY 3.1      -> held, dial 1
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent1  AGENT_HELLO     -> replacement up, redispatched unsent 1, to_agent1 NOTIFY 3.1
        agent1  ACK 3.1         -> ok
    """)
    stepped(talk)
    talk.play("haproxy NOTIFY 5.1 -> to_agent1 NOTIFY 5.1\nagent1 ACK 5.1 -> ok")
    assert stepped(talk) == []
    assert talk.got["to_agent1"].endswith(notify("5.1"))


def test_no_notify_goes_to_a_link_lost_while_others_waited() -> None:
    talk = ready(**LASTS, in_flight=1, answer_deadline_s=0.1, idle_s=0.15, unanswered=Unanswered.EMPTY_ACK).play("""
        haproxy NOTIFY 1.1 + NOTIFY 3.1 -> held, to_agent NOTIFY 1.1
        guard   waits 0.099     -> nothing
        agent   rst             -> answer disconnect_missing, answer notify_unanswered, unanswered agent_gone 1, lost reset 1/0, to_haproxy ACK 1.1, close agent
        guard   waits 0.001     -> answer notify_unanswered, unanswered deadline 1, to_haproxy ACK 3.1
        haproxy NOTIFY 5.1      -> held
    """)
    assert not talk.session.snapshot().links
    assert talk.session.snapshot().parked == [b"\5\1"]


def test_the_lane_continues_with_the_link_last_used_by_a_step() -> None:
    talk = two(2).play(f"haproxy NOTIFY {LARGE} -> to_agent1 NOTIFY {LARGE}\nagent ACK 1.1 + ACK 3.1 -> ok\nagent1 ACK 5.1 -> ok")
    stepped(talk)
    talk.play("haproxy NOTIFY 7.1 -> to_agent1 NOTIFY 7.1")
    assert len(talk.session.snapshot().links) == 2


def test_up_to_what_may_be_open_it_is_ordinary() -> None:
    talk = ready(open_notifies=2).play(f"haproxy NOTIFY 1.1 + NOTIFY 3.1 + NOTIFY 5.1 -> {GIVEN_UP} limit 1, ok")
    assert stepped(talk) == [notify("5.1")]
    talk = two(2, open_notifies=3).play("agent1 ACK 5.1 -> ok")
    stepped(talk)
    talk.play(f"haproxy NOTIFY 7.1 + NOTIFY 9.1 -> {GIVEN_UP} limit 1, to_agent1 NOTIFY 7.1, to_agent1 NOTIFY 9.1")
    assert stepped(talk) == [notify("9.1")]


def test_each_notify_of_a_read_goes_where_it_may() -> None:
    talk = two().play("agent ACK 3.1 -> ok\nagent1 ACK 5.1 -> ok")
    stepped(talk)
    talk.play("haproxy NOTIFY 7.1 + NOTIFY 9.1 -> to_agent1 NOTIFY 9.1, to_agent NOTIFY 7.1")
    assert stepped(talk) == []
    talk.play("agent ACK 7.1 -> ok\nhaproxy NOTIFY 11.1 + NOTIFY 13.1 -> held, to_agent NOTIFY 11.1")
    assert stepped(talk) == [notify("13.1")]


def test_a_notify_that_another_agent_has_in_hand_asks_the_session() -> None:
    talk = two(2).play("agent1 ACK 5.1 -> ok")
    stepped(talk)
    talk.play("haproxy NOTIFY 7.1 + NOTIFY 3.1 -> pass notify_duplicate, to_agent1 NOTIFY 7.1, to_agent NOTIFY 3.1")
    assert stepped(talk) == [notify("3.1")]


def test_notifies_given_up_still_take_room_at_their_agent() -> None:
    talk = two(2, open_notifies=3).play(f"""
        haproxy NOTIFY 7.1      -> {GIVEN_UP} limit 1, to_agent1 NOTIFY 7.1
        agent   ACK 3.1         -> ok
        haproxy NOTIFY 9.1      -> ok
        agent1  ACK 5.1         -> ok
    """)
    stepped(talk)
    talk.play("haproxy NOTIFY 11.1 -> to_agent1 NOTIFY 11.1")  # the first one has two in hand: 1.1 as well
    assert stepped(talk) == []


@pytest.mark.parametrize("side", list(Side))
def test_an_odd_frame_and_all_behind_it_ask_the_session(side: Side) -> None:
    name, other, encode = ("NOTIFY", "agent", notify) if side is Side.HAPROXY else ("ACK", "haproxy", ack)
    talk = ready().play(OPEN * (side is Side.AGENT))
    talk.play(f"{side.value} {name} 1.1 + <odd> + {name} 3.1 -> drop runt_frame, to_{other} {name} 1.1, to_{other} {name} 3.1",
        odd=frames.raw(b""))  # fmt: skip
    assert stepped(talk) == [frames.raw(b"") + encode("3.1")]


def test_an_observed_session_passes_it_as_it_came() -> None:
    talk = observed().play("haproxy NOTIFY 1.1 + NOTIFY 3.1 -> ok\nagent ACK 3.1 -> ok")
    assert stepped(talk) == []
    talk.play("agent ACK 1.1 + <odd> -> drop runt_frame, ok\nhaproxy NOTIFY 5.1 -> ok", odd=frames.raw(b""))
    assert stepped(talk) == [frames.raw(b"")]
    assert talk.written == {"to_agent": talk.said_by_haproxy, "to_haproxy": talk.said_by_agent}
    assert talk.tally.ack_count == 2


# --- what HAProxy can take --------------------------------------------------------------------------------------------------


def big(at: str, size: int) -> bytes:
    return frames.sized(FrameType.ACK, size - 4, at)


STOPPED = RouteState(read=lambda: 0)  # HAProxy does not read
LEFT = (frames.SIZE + 4) // 2 - 1 - len(frames.shown_hello())  # bytes behind AGENT-HELLO that it may get


def test_what_went_by_the_lane_counts_towards_what_haproxy_can_take() -> None:
    one, two_, three = big("1.1", 4000), big("3.1", LEFT - 4000), big("5.1", 30)
    talk = mux(route_state=STOPPED)
    stepped(talk)
    talk.play("agent <one> -> ok\nagent <two> -> ok", one=one, two=two_)
    assert stepped(talk) == []
    talk.play("agent <three> -> held", three=three)
    assert stepped(talk) == [three]
    talk.play("guard waits 0.1 -> nothing")


def test_what_went_by_a_step_counts_towards_what_the_lane_may_pass() -> None:
    odd, more = frames.raw(b"") + big("1.1", 4000), big("3.1", LEFT - 3999)
    talk = mux(route_state=STOPPED)
    talk.play("agent <odd> -> drop runt_frame, to_haproxy ACK 1.1", odd=odd)
    stepped(talk)
    talk.play("agent <more> -> held", more=more)
    assert stepped(talk) == [more]


def test_what_haproxy_has_read_makes_room_on_the_lane() -> None:
    reads = {"read": 0}
    talk = mux(route_state=RouteState(read=lambda: reads["read"]))
    talk.play("agent <one> -> ok", one=big("1.1", 8000))
    stepped(talk)
    reads["read"] = len(talk.written["to_haproxy"])
    talk.play("agent <two> -> ok", two=big("3.1", 8000))
    assert stepped(talk) == []
    reads["read"] = len(talk.written["to_haproxy"]) - 1
    talk.play("agent <three> -> held", three=big("5.1", 8000))
    reads["read"] += 1
    talk.play("guard waits 0.001 -> to_haproxy ACK 5.1")


# --- what the session knows of it afterwards ----------------------------------------------------------------------------------


def test_offsets_count_what_went_by_the_lane() -> None:
    talk = ready().play("haproxy NOTIFY 1.1 + NOTIFY 3.1 -> ok\nhaproxy NOTIFY 5.1 -> ok\nagent ACK 3.1 -> ok")
    assert stepped(talk) == []
    at = {side: len(talk.sent[side]) for side in Side}
    runt = frames.raw(b"")
    talk.play("haproxy <runt> -> drop runt_frame\nagent ACK 1.1 + <runt> -> drop runt_frame, to_haproxy ACK 1.1", runt=runt)
    assert [seen.offset for seen in talk.anomalies] == [at[Side.HAPROXY], at[Side.AGENT] + len(ack("1.1"))]
    assert [seen.open_notifies for seen in talk.anomalies] == [2, 1]
    talk.play("haproxy NOTIFY 7.1 + <runt> -> drop runt_frame, to_agent NOTIFY 7.1\nagent <runt> -> drop runt_frame")
    assert [seen.offset for seen in talk.anomalies[2:]] == [
        at[Side.HAPROXY] + len(runt) + len(notify("7.1")),
        at[Side.AGENT] + len(ack("1.1")) + len(runt),
    ]


def test_each_link_has_its_own_offset() -> None:
    talk = two().play("agent ACK 3.1 -> ok")
    stepped(talk)
    talk.play(
        "agent1 ACK 5.1 -> ok\nhaproxy NOTIFY 7.1 + NOTIFY 9.1 -> to_agent1 NOTIFY 9.1, to_agent NOTIFY 7.1\nagent1 ACK 9.1 -> ok"
    )
    assert stepped(talk) == []
    talk.play("agent <runt> -> drop runt_frame\nagent1 <runt> -> drop runt_frame", runt=frames.raw(b""))
    hello = len(frames.agent_hello())
    assert [seen.offset for seen in talk.anomalies] == [hello + len(ack("3.1")), hello + len(ack("5.1")) + len(ack("9.1"))]


def carried(**config: Any) -> Talk:
    """Return a talk of two links of which the session does not know yet what passed: 7.1 and 9.1 are open on the second one."""
    talk = two(2, **config).play("agent1 ACK 5.1 -> ok")
    stepped(talk)
    talk.play("""
        haproxy NOTIFY 7.1 + NOTIFY 11.1 -> to_agent1 NOTIFY 7.1, to_agent1 NOTIFY 11.1
        agent1  ACK 11.1        -> ok
        agent   ACK 1.1 + ACK 3.1 -> ok
        haproxy NOTIFY 9.1      -> to_agent1 NOTIFY 9.1
    """)
    assert stepped(talk) == []
    asked, answers = map(b"".join, (map(notify, ("7.1", "9.1", "11.1")), map(ack, ("1.1", "3.1", "11.1"))))
    assert passed(talk.session) == (len(asked), len(answers))
    return talk


LOST = f"answer disconnect_missing, {GIVEN_UP} agent_gone 2, lost closed 2/0, to_agent1 HAPROXY_DISCONNECT 0, close agent1"
STEPS = {
    "bytes of HAProxy": "haproxy NOTIFY 11.1[:9] -> held",
    "bytes of an agent": "agent ACK 9.1[:9] -> held",
    "bytes of the other agent": "agent1 ACK 9.1[:9] -> held",
    "HAProxy's FIN": "haproxy fin -> unanswered haproxy_gone 2, to_agent1 HAPROXY_DISCONNECT 0, to_agent HAPROXY_DISCONNECT 0, close haproxy",
    "HAProxy's reset": "haproxy rst -> unanswered haproxy_gone 2, to_agent1 HAPROXY_DISCONNECT 0, to_agent HAPROXY_DISCONNECT 0, close haproxy",
    "an agent's FIN": f"agent1 fin -> {LOST}",
    "the end of the guard": "guard drains -> nothing",
}


def check_told(talk: Talk) -> None:
    assert passed(talk.session) == (0, 0)
    talk._check_books()


@pytest.mark.parametrize("line", STEPS.values(), ids=STEPS)
def test_the_next_step_of_any_kind_brings_the_books_up_to_date(line: str) -> None:
    check_told(carried().play(line))


def test_so_does_a_tick() -> None:
    talk = carried()
    talk._obey(talk.session.tick(talk.now), b"", "")
    check_told(talk)


def test_so_does_an_ack_that_another_session_hands_over() -> None:
    talk = carried()
    assert talk.take(ack("9.1")) == "ok"
    assert talk.take(ack("5.1")) == "drop duplicate_ack"
    assert talk.session.open_notifies == 1
    check_told(talk)


@pytest.mark.parametrize(("news", "comes"), [("up", "to_agent2 HAPROXY_HELLO"), ("fail", "unreachable refused, abort agent2")])
def test_so_does_news_of_a_third_link(news: str, comes: str) -> None:
    talk = two(max_links=3).play("""
        haproxy NOTIFY 7.1      -> held, dial 2
        agent   ACK 3.1         -> redispatched unsent 1, to_agent NOTIFY 7.1, ok
        agent1  ACK 5.1         -> ok
    """)
    stepped(talk)
    talk.play("haproxy NOTIFY 9.1 -> to_agent1 NOTIFY 9.1\nagent ACK 7.1 -> ok")
    assert stepped(talk) == []
    assert passed(talk.session) == (len(notify("9.1")), len(ack("5.1") + ack("7.1")))
    check_told(talk.play(f"agent2 {news} -> {comes}"))


def test_so_does_the_next_guard_which_goes_on_with_the_session() -> None:
    talk = ready(**LASTS).play("haproxy NOTIFY 1.1 -> ok\nagent ACK 1.1 -> ok")
    stepped(talk)
    talk.play("haproxy NOTIFY 3.1 -> ok")
    assert stepped(talk) == []
    assert talk.session.to_hand_over() is None
    talk.play("agent ACK 3.1 -> ok")
    assert talk.session.to_hand_over() is not None
    talk._obey(talk.session.handed_over(talk.now), b"", "")
    check_told(talk)


def test_release_clears_the_open_gauges_and_stops_the_lane() -> None:
    talk = carried()
    lane, ledger = talk.session.lane, talk.session.ledger(1)
    assert talk.session.release() == (b"", b"")
    assert passed(talk.session) == (0, 0)
    assert (talk.tally.open_notifies, talk.session.open_notifies, talk.tally.held_bytes) == (0, 0, 0)
    assert lane.up(notify("11.1"), 0, talk.now) == 0
    assert ledger is not None
    assert lane.down(ledger, ack("9.1"), talk.now) == 0


def test_behind_the_end_nothing_passes_either() -> None:
    talk = ready().play(OPEN)
    lane, ledger = talk.session.lane, talk.session.ledger(0)
    talk.play(
        "haproxy rst -> unanswered haproxy_gone 2, to_agent HAPROXY_DISCONNECT 0, close haproxy\nagent fin -> close agent, end haproxy reset"
    )
    assert talk.session.state is SessionState.CLOSED
    assert lane.up(notify("5.1"), 0, talk.now) == lane.down(ledger, ack("1.1"), talk.now) == 0


def test_an_agent_that_is_lost_has_not_answered_what_it_has_not() -> None:
    carried(redispatch=Redispatch.UNANSWERED).play("""
        agent1  rst             -> answer disconnect_missing, lost reset 2/2, dial 2, close agent1
        guard   waits 1         -> unreachable timeout, redispatched unanswered 2, to_agent NOTIFY 7.1, to_agent NOTIFY 9.1, abort agent2
        agent   ACK 7.1 + ACK 9.1 -> ok
    """)


def test_copies_of_what_went_by_the_lane_are_sent_once_more() -> None:
    talk = ready(**LASTS, redispatch=Redispatch.UNANSWERED).play("haproxy NOTIFY 1.1 -> ok\nagent ACK 1.1 -> ok")
    stepped(talk)
    asked = {
        name: notify(at, frames.MESSAGE * copies)
        for copies, (name, at) in enumerate([("a", "3.1"), ("b", "5.1"), ("c", "7.1")], 1)
    }
    talk.play("haproxy <a> -> ok\nhaproxy <b> + <c> -> ok", **asked)
    assert stepped(talk) == []
    talk.play("""
        agent   ACK 5.1         -> ok
        agent   rst             -> answer disconnect_missing, lost reset 2/2, dial 1, close agent
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent1  AGENT_HELLO     -> replacement up, redispatched unanswered 2, to_agent1 NOTIFY 3.1, to_agent1 NOTIFY 7.1
        agent1  ACK 3.1 + ACK 7.1 -> ok
    """)
    assert talk.got["to_agent1"].endswith(asked["a"] + asked["c"])


def test_an_agent_that_answered_by_the_lane_is_dialled_again_at_once() -> None:
    talk = ready(**LASTS).play("haproxy NOTIFY 1.1 + NOTIFY 3.1 -> ok")
    stepped(talk)
    talk.play("agent ACK 1.1 -> ok")
    assert stepped(talk) == []
    talk.play(
        f"agent rst -> answer disconnect_missing, {GIVEN_UP} agent_gone 1, lost reset 1/0, close agent\nhaproxy NOTIFY 5.1 -> held, dial 1"
    )


def test_what_was_answered_by_the_lane_is_remembered() -> None:
    talk = ready().play(OPEN + "agent ACK 1.1 -> ok")
    assert stepped(talk) == []
    talk.play("agent ACK 1.1 -> drop duplicate_ack\nagent ACK 5.1 -> drop unmatched_ack\nagent ACK 3.1 -> ok")


def test_a_step_prefers_the_link_last_used_by_the_lane() -> None:
    talk = carried().play("agent1 ACK 9.1 -> ok")
    assert stepped(talk) == []
    big_ids = "haproxy NOTIFY 4328786160.1 -> to_agent1 NOTIFY 4328786160.1"
    talk.play(big_ids)
    assert len(stepped(talk)) == 1


def test_a_session_is_idle_since_what_went_by_the_lane() -> None:
    for heard in ("haproxy NOTIFY 5.1", "agent ACK 1.1"):
        talk = ready(idle_s=5.0).play(f"{OPEN}guard waits 4 -> nothing\n{heard} -> ok\nguard waits 4.9 -> nothing")
        assert stepped(talk) == []
        talk._line("guard", "waits 0.1")
        assert talk.session.state is SessionState.CLOSING
        assert talk.session.lane.active == talk.now - 5.0


def test_a_link_is_retired_since_its_last_answer_by_the_lane() -> None:
    talk = ready(**LASTS, retire_s=2.0).play("haproxy NOTIFY 1.1 -> ok\nguard waits 1 -> nothing")
    stepped(talk)
    talk.play("agent ACK 1.1 -> ok")
    assert stepped(talk) == []
    talk.play("guard waits 1.999 -> nothing\nguard waits 0.001 -> lost retired 0/0, to_agent HAPROXY_DISCONNECT 0")


@pytest.mark.parametrize("ago", [0.0, 0.03, 0.06])
def test_a_drain_waits_since_what_went_by_the_lane(ago: float) -> None:
    talk = ready().play("guard waits 5 -> nothing\nhaproxy NOTIFY 1.1 -> ok\nagent ACK 1.1 -> ok")
    assert stepped(talk) == []
    talk.now += ago
    bye = "to_agent HAPROXY_DISCONNECT 0, to_haproxy AGENT_DISCONNECT 0"
    if ago > 0.05:
        talk.play(f"guard drains -> {bye}")
    else:
        talk.play(f"guard drains -> nothing\nguard waits {0.049 - ago:.3f} -> nothing\nguard waits 0.002 -> {bye}")


def test_a_notify_that_went_by_the_lane_has_its_own_answer_deadline() -> None:
    talk = ready(answer_deadline_s=5.0).play("haproxy NOTIFY 1.1 -> ok\nguard waits 3 -> nothing")
    stepped(talk)
    talk.play("agent ACK 1.1 -> ok\nhaproxy NOTIFY 3.1 -> ok")
    assert stepped(talk) == []
    talk.play(f"guard waits 4.999 -> nothing\nguard waits 0.001 -> {GIVEN_UP} deadline 1\nagent ACK 3.1 -> drop late_ack")


# --- several sessions of one engine -------------------------------------------------------------------------------------------


def engine() -> Route:
    route = Route()
    for talk in route.talks.values():
        watched(talk)
    return route


def test_an_ack_on_another_sessions_link_answers_a_notify_of_the_lane() -> None:
    route = engine()
    route[1].play("haproxy NOTIFY 7.1 + NOTIFY 11.1 -> ok")
    route[2].play("haproxy NOTIFY 9.1 -> ok")
    assert stepped(route[1]) == stepped(route[2]) == []
    route[2].play("agent ACK 9.1 + ACK 7.1 -> reorder foreign_ack, to_haproxy ACK 9.1, for 1")
    assert stepped(route[2]) == [ack("7.1")]
    assert route.deliver(of=2) == ["ok"]
    route[1].play("agent ACK 11.1 -> ok")
    assert stepped(route[1]) == []
    route[1].play("agent ACK 7.1 -> drop duplicate_ack")
    route[1].play("haproxy NOTIFY 13.1 -> ok\nagent ACK 13.1 -> ok")
    assert stepped(route[1]) == [ack("7.1")]


def test_one_that_was_answered_by_the_lane_is_nobodys_any_more() -> None:
    route = engine()
    route[1].play("haproxy NOTIFY 7.1 -> ok\nagent ACK 7.1 -> ok")
    assert stepped(route[1]) == []
    route[2].play("agent ACK 7.1 -> drop unmatched_ack")
    assert not route[2].foreign


def test_the_session_that_took_one_in_lets_what_is_ordinary_pass_again() -> None:
    route = engine()
    route[1].play("haproxy NOTIFY 7.1 + NOTIFY 9.1 -> ok\nagent ACK 9.1 -> ok")
    route[2].play("agent ACK 7.1 -> reorder foreign_ack, for 1")
    assert route.deliver(of=2) == ["ok"]
    check_told(route[1])
    for talk in route.talks.values():
        stepped(talk)
        talk.play("haproxy NOTIFY 21.1 -> ok\nagent ACK 21.1 -> ok")
        assert stepped(talk) == []
