"""The first bytes: a client without a valid HAPROXY-HELLO never reaches an agent (promise A1)."""

import pytest

from spoe_guard.core.conversation.refusal import MOST_HEARD
from spoe_guard.core.conversation.route_state import RouteState
from spoe_guard.core.payloads.hello import MAX_HELLO
from spoe_guard.core.terms.anomalies import Action, Anomaly, Side
from spoe_guard.core.terms.output import Close, Output
from spoe_guard.wire import frame
from tests.core import frames
from tests.core.frames import ack, notify, raw, unset
from tests.core.script import Talk

pytestmark = pytest.mark.usefixtures("both_speeds")


TEXT = "looks like HTTP or text"
TLS = "looks like TLS: take `ssl` off HAProxy's server line"
PROXY = "looks like the PROXY protocol, version {}: take `{}` off HAProxy's server line, or set proxy_protocol: accept"
V1, V2 = PROXY.format(1, "send-proxy"), PROXY.format(2, "send-proxy-v2")
NO_HELLO = "no HAPROXY-HELLO"
SIGN = b"\r\n\r\n\0\r\nQUIT\n"

NOISE = [
    # name                               the first bytes                          reported               looks
    ("HTTP",                             b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",    "not_spop",            TEXT),
    ("one byte of HTTP",                 b"G",                                    "not_spop",            TEXT),
    ("TLS 1.3",                          b"\x16\x03\x01\x02\x00\x01\x00",         "not_spop",            TLS),
    ("one byte of TLS",                  b"\x16",                                 "not_spop",            TLS),
    ("SSL 2",                            b"\x80\x80\x01\x03\x01",                 "not_spop",            TLS),
    ("PROXY 1",                          b"PROXY TCP4 192.0.2.1 192.0.2.2 5 6\r\n", "not_spop",          V1),
    ("the name of PROXY 1",              b"PROXY ",                               "not_spop",            V1),
    ("PROXY 2",                          SIGN + b"\x20\0\0\0",                    "not_spop",            V2),
    ("the sign of PROXY 2",              SIGN,                                    "not_spop",            V2),
    ("what is not quite PROXY 1",        b"PROXX ",                               "not_spop",            TEXT),
    ("what is not quite PROXY 2",        SIGN[:-1] + b"!",                        "not_spop",            NO_HELLO),
    ("a length beyond any HELLO",        (MAX_HELLO + 1).to_bytes(4, "big"),      "not_spop",            NO_HELLO),
    ("a runt",                           raw(b"\1\0\0\0\1\0"),                    "not_spop",            NO_HELLO),
    ("AGENT-HELLO",                      frames.agent_hello(),                    "not_spop",            NO_HELLO),
    ("an ACK",                           ack(),                                   "not_spop",            NO_HELLO),
    ("a fragment",                       unset(),                                 "not_spop",            NO_HELLO),
    ("a type from the future",           frame.encode(104),                       "not_spop",            NO_HELLO),
    ("NOTIFY",                           notify(),                                "frame_before_hello",  NO_HELLO),
    ("the head of a NOTIFY",             notify()[:5],                            "frame_before_hello",  NO_HELLO),
    ("HAPROXY-DISCONNECT",               frames.haproxy_disconnect(),             "frame_before_hello",  NO_HELLO),
]  # fmt: skip


@pytest.mark.parametrize(("first", "anomaly", "looks"), [c[1:] for c in NOISE], ids=[c[0] for c in NOISE])
def test_whatever_is_not_a_hello_is_closed_and_no_agent_dialled(first: bytes, anomaly: str, looks: str) -> None:
    talk = Talk().play(
        f"""
        haproxy <first>      -> close {anomaly}
        haproxy <first>      -> nothing
        guard   waits 0.249  -> nothing
        guard   waits 0.0011 -> close haproxy, end guard anomaly
        haproxy <first>      -> nothing
        """,
        first=first,
    )
    assert talk.anomalies[0].detail == looks
    assert talk.anomalies[0].sample == first


@pytest.mark.parametrize("sign", [b"PROXY ", SIGN])
def test_a_proxy_header_in_single_bytes_is_named_all_the_same(sign: bytes) -> None:
    talk = Talk()
    for at in range(len(sign) - 1):
        talk.play("haproxy <byte> -> held", byte=sign[at : at + 1])
    talk.play("haproxy <byte> -> close not_spop", byte=sign[-1:])
    assert talk.anomalies[0].detail in (V1, V2)


@pytest.mark.parametrize("end", ["fin", "rst"])
def test_who_is_turned_away_and_hangs_up_is_done_with_at_once(end: str) -> None:
    """A port scan, or a health check that speaks something else."""
    route_state = RouteState()
    talk = Talk(route_state=route_state).play("haproxy <first> -> close not_spop", first=b"GET / HTTP/1.0\r\n\r\n")
    assert route_state.strangers.waiting == 1
    talk.play(f"haproxy {end} -> close haproxy, end guard anomaly")
    assert route_state.strangers.waiting == 0
    assert route_state.refusals.waiting == 0


def test_who_is_turned_away_and_says_too_much_is_closed_at_once() -> None:
    Talk().play(
        """
        haproxy <first>      -> close not_spop
        haproxy <most>       -> nothing
        guard   waits 0.2    -> nothing
        haproxy <one>        -> nothing
        guard   waits 0      -> close haproxy, end guard anomaly
        """,
        first=b"GET ",
        most=bytes(MOST_HEARD - 4),
        one=b"!",
    )


def test_a_guard_that_stops_turns_away_at_once() -> None:
    Talk().play("haproxy <first> -> close not_spop\nguard drains -> close haproxy, end guard anomaly", first=b"GET ")


def test_a_turned_away_session_that_a_bug_broke_is_no_longer_counted() -> None:
    route_state = RouteState()
    Talk(route_state=route_state).play("haproxy <first> -> close not_spop", first=b"GET ").session.release()
    assert route_state.strangers.waiting == 0


def without_its_header(talk: Talk, first: bytes) -> Output:
    """Have the shell say that ``first`` is no PROXY header, where one is due."""
    talk.sent[Side.HAPROXY] += first
    out = talk.session.turn_away(first, "no header", talk.now)
    talk._obey(out, first, "to_agent")
    return out


def test_who_comes_without_its_proxy_header_is_turned_away() -> None:
    """Also a HAPROXY-HELLO is, whose family says how long it may wait."""
    talk = Talk()
    out = without_its_header(talk, FROM_APPLET)
    assert [(seen.anomaly, seen.detail, seen.action) for seen in talk.anomalies] == [
        (Anomaly.NOT_SPOP, "no header", Action.CLOSE)
    ]
    assert not out.dial
    talk.play("haproxy NOTIFY 1.1 -> nothing\nguard waits 0.25 -> close haproxy, end guard anomaly")


def test_who_comes_too_late_without_its_proxy_header_is_not_judged() -> None:
    talk = Talk().play("guard waits 2 -> close haproxy, end haproxy hello_timeout")
    assert without_its_header(talk, b"GET ").events == ()
    talk.play("guard waits 1 -> nothing")


@pytest.mark.parametrize("late", [False, True])
def test_in_observe_mode_what_comes_without_its_proxy_header_passes(late: bool) -> None:
    talk = Talk(observe=True)
    talk._obey(talk.session.start(talk.now), b"", "")
    if not late:
        talk.play("agent up -> nothing")
    without_its_header(talk, b"GET ")
    if late:
        talk.play("agent up -> to_agent 4 bytes")
    talk.play("haproxy <more> -> ok", more=b"/ HTTP/1.1")
    assert talk.got["to_agent"] == b"GET / HTTP/1.1"
    assert [(seen.anomaly, seen.applied) for seen in talk.anomalies] == [(Anomaly.NOT_SPOP, False)]


def held_s(route_state: RouteState, now: float, *said: bytes) -> float:
    """Turn whoever says that away, to the end; return how long that took behind the last word."""
    talk = Talk(now=now, route_state=route_state)
    for words in said:
        talk.session.receive(Side.HAPROXY, words, now)
    by = talk.session.deadline
    assert talk.session.tick(by).close_haproxy is Close.FLUSH
    return round(by - now, 3)


HEADER = b"PROXY TCP4 192.0.2.1 192.0.2.2 5 6\r\n"
FROM_APPLET = frames.haproxy_hello(capabilities=b"pipelining,async")
SAID = {
    # what is said: in pieces, or at once; how long it is held each time
    "an applet's HELLO": ((HEADER + FROM_APPLET,), [0.25, 0.5, 1, 2, 4, 5, 5]),
    "an applet's HELLO, later": ((HEADER, FROM_APPLET), [0.25, 0.5, 1, 2, 4, 5, 5]),
    "an applet's HELLO in pieces": ((HEADER + FROM_APPLET[:20], FROM_APPLET[20:]), [0.25, 0.5, 1, 2, 4, 5, 5]),
    "the mux's HELLO": ((HEADER + frames.haproxy_hello(),), [0.25] * 7),
    "a health check": ((HEADER + frames.bare_check(),), [0.25] * 7),
    "TLS": ((b"\x16\x03\x01",), [0.25] * 7),
    "no HELLO": ((HEADER + frames.notify(),), [0.25] * 7),
}


@pytest.mark.parametrize("what", SAID)
def test_an_applet_with_a_proxy_header_waits_longer_each_time(what: str) -> None:
    """HAProxy up to 3.0 connects again at once; it is known by HELLO behind the header."""
    said, held = SAID[what]
    route_state, now, seen = RouteState(), 1000.0, []
    for _ in held:
        seen.append(held_s(route_state, now, *said))
        now += seen[-1]
    assert seen == held


def test_after_5_s_of_quiet_an_applet_waits_the_shortest_time_again() -> None:
    route_state = RouteState()
    assert [held_s(route_state, now, HEADER + FROM_APPLET) for now in (100.0, 101.0, 106.499, 112.499)] == [0.25, 0.5, 1, 0.25]


def test_those_that_say_nothing_readable_are_turned_away_eight_a_second() -> None:
    """Four threads of HAProxy with `ssl`: each is held for 500 ms. Of more threads each is held for 1 s at most."""
    route_state = RouteState()
    talks = [Talk(route_state=route_state) for _ in range(12)]
    for talk in talks:
        talk.play("haproxy <first> -> close not_spop", first=b"\x16\x03\x01")
    assert [talk.session.deadline - 1000.0 for talk in talks] == [
        *(max(0.25, 0.125 * count) for count in range(1, 9)),
        1,
        1,
        1,
        1,
    ]


@pytest.mark.parametrize("there", [1, 4, 5])
def test_what_may_still_become_a_hello_is_waited_for(there: int) -> None:
    Talk().play("haproxy <first> -> held", first=(MAX_HELLO.to_bytes(4, "big") + b"\1")[:there])


def test_a_hello_of_4096_bytes_is_taken() -> None:
    room = MAX_HELLO + 4 - len(frames.haproxy_hello(note=b"")) - 2  # a length of 3 bytes in place of 1
    hello = frames.haproxy_hello(note=b"x" * room)
    assert len(hello) == 4 + MAX_HELLO
    talk = Talk().play(
        "haproxy <hello>[:4099] -> held\nhaproxy <hello>[4099:] -> held, dial\nagent up -> to_agent HAPROXY_HELLO", hello=hello
    )
    assert talk.written["to_agent"] == frames.haproxy_hello(note=b"x" * room, max_frame_size=frames.SHOWN)


BAD_HELLOS = [
    (
        "a key missing",
        frame.encode(1, payload=frames.pairs(supported_versions=b"2.0", max_frame_size=16380)),
        "hello_malformed",
        4,
    ),
    ("a key mistyped", frames.haproxy_hello(max_frame_size=b"16380"), "hello_malformed", 4),
    ("another version", frames.haproxy_hello(supported_versions=b"1.0"), "hello_version", 8),
]


@pytest.mark.parametrize(("hello", "anomaly", "status"), [c[1:] for c in BAD_HELLOS], ids=[c[0] for c in BAD_HELLOS])
def test_a_hello_no_agent_could_take_is_refused_without_dialling(hello: bytes, anomaly: str, status: int) -> None:
    Talk().play(
        f"""
        haproxy <hello>              -> close {anomaly}, to_haproxy AGENT_DISCONNECT {status}
        haproxy NOTIFY 1.1           -> nothing
        haproxy HAPROXY_DISCONNECT 0 -> close haproxy, end guard anomaly
        """,
        hello=hello,
    )
