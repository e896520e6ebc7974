"""The first bytes: a client without a valid HAPROXY-HELLO never reaches an agent (promise A1)."""

import pytest

from spoe_guard.core.payloads.hello import MAX_HELLO
from spoe_guard.wire import frame
from tests.core import frames
from tests.core.frames import ack, notify, raw, unset
from tests.core.script import Talk

pytestmark = pytest.mark.usefixtures("both_speeds")


TEXT = "looks like HTTP or text"
TLS = "looks like TLS"
NO_HELLO = "no HAPROXY-HELLO"

NOISE = [
    # name                               the first bytes                          reported               looks
    ("HTTP",                             b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",    "not_spop",            TEXT),
    ("one byte of HTTP",                 b"G",                                    "not_spop",            TEXT),
    ("TLS 1.3",                          b"\x16\x03\x01\x02\x00\x01\x00",         "not_spop",            TLS),
    ("one byte of TLS",                  b"\x16",                                 "not_spop",            TLS),
    ("SSL 2",                            b"\x80\x80\x01\x03\x01",                 "not_spop",            TLS),
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
        f"haproxy <first> -> close {anomaly}, close haproxy, end guard anomaly\nhaproxy <first> -> nothing", first=first
    )
    assert talk.anomalies[0].detail == looks
    assert talk.anomalies[0].sample == first


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
