"""The promises of docs/architecture.md, one readable example each; tests/properties tests them with generated input."""

import pytest

from spoe_guard.core.terms.anomalies import Side
from spoe_guard.core.terms.states import SessionState
from spoe_guard.wire import frame
from tests.core import frames
from tests.core.frames import SET_VAR, ack, agent_disconnect
from tests.core.script import Talk, running

pytestmark = pytest.mark.usefixtures("both_speeds")


def to_haproxy(talk: Talk) -> list[frame.Frame]:
    return list(frames.cut(talk.written["to_haproxy"]))


def to_agent(talk: Talk) -> list[frame.Frame]:
    return list(frames.cut(talk.written["to_agent"]))


def test_h1_every_frame_arrives_whole_with_a_legal_header() -> None:
    talk = running(answer=frames.agent_hello(max_frame_size=1000)).play(
        """
        haproxy NOTIFY 1.1 + NOTIFY 3.1   -> ok
        agent   <runt> + <long> + ACK 1.1[:9] -> held, drop runt_frame, drop oversize_frame
        agent   ACK 1.1[9:]               -> to_haproxy ACK 1.1
        agent   <odd>                     -> held
        guard   waits 0.01                -> repair missing_fin, to_haproxy ACK 3.1
        """,
        runt=frames.raw(b""),
        long=frames.sized(103, 1001, "9.1"),
        odd=ack("3.1", flags=0),
    )
    for sent in to_haproxy(talk):
        assert 7 <= len(sent.raw) - 4 <= 1000
        assert sent.type in frame.AGENT_TYPES
        assert sent.flags == frames.FIN


def test_h2_the_first_frame_is_a_valid_agent_hello_or_disconnect() -> None:
    talk = Talk().play(
        """
        haproxy HAPROXY_HELLO                  -> held, dial
        agent   up                             -> to_agent HAPROXY_HELLO
        agent   ACK 1.1 + <odd>[:20]           -> held, drop frame_before_hello
        agent   <odd>[20:]                     -> repair hello_malformed, repair hello_version, repair hello_size, \
                repair hello_capability, to_haproxy AGENT_HELLO
        """,
        odd=frames.agent_hello(version=b"2", max_frame_size=99999, capabilities=b"pipelining,async", at="1.1"),
    )
    assert talk.written["to_haproxy"] == frames.shown_hello()


def test_h3_an_ack_passes_once_and_only_for_an_open_notify() -> None:
    talk = running().play(
        """
        agent   ACK 1.1                       -> drop unmatched_ack
        haproxy NOTIFY 1.1                    -> ok
        agent   ACK 1.1 + ACK 1.1 + ACK 3.1   -> drop duplicate_ack, drop unmatched_ack, to_haproxy ACK 1.1
        """
    )
    assert [sent.ids for sent in to_haproxy(talk)[1:]] == [b"\1\1"]


def test_h4_agent_disconnect_is_last_with_ids_0_and_a_valid_list() -> None:
    talk = running().play(
        """
        haproxy NOTIFY 1.1 -> ok
        agent   <odd>      -> held, repair disconnect_malformed, repair disconnect_bad_ids, reorder disconnect_before_ack
        agent   ACK 1.1    -> reorder ack_after_disconnect, to_agent HAPROXY_DISCONNECT 0, \
                to_haproxy ACK 1.1, to_haproxy AGENT_DISCONNECT 99
        agent   ACK 1.1 + AGENT_DISCONNECT 0 + NOTIFY 1.1 -> drop duplicate_ack, drop disconnect_repeated, \
                drop frame_after_disconnect
        """,
        odd=agent_disconnect(None, b"enough", at="5.1"),
    )
    assert talk.written["to_haproxy"].endswith(agent_disconnect(99, b"enough"))


def test_h5_acks_before_inside_and_behind_the_agents_disconnect_come_before_it() -> None:
    inside = frames.raw(b"\x66\0\0\0\1\0\0\x0bstatus-code" + ack("3.1") + b"\x03\0\x07message\x08\3bye")
    talk = running().play(
        """
        haproxy NOTIFY 1.1 + NOTIFY 3.1 + NOTIFY 5.1 -> ok
        agent   ACK 1.1 + <inside>                   -> held, repair disconnect_malformed, repair interleaved_frames, \
                to_haproxy ACK 1.1, to_haproxy ACK 3.1
        agent   ACK 5.1                              -> repair interleaved_frames, to_agent HAPROXY_DISCONNECT 0, \
                to_haproxy ACK 5.1, to_haproxy AGENT_DISCONNECT 0
        """,
        inside=inside,
    )
    assert [sent.type for sent in to_haproxy(talk)] == [101, 103, 103, 103, 102]
    assert all(sent.payload == SET_VAR for sent in to_haproxy(talk)[1:4])


def test_h7_the_end_is_always_said_in_bounded_time() -> None:
    for silence in ("fin", "rst"):
        talk = running().play(f"agent {silence} -> {ended_by(silence)}")
        assert to_haproxy(talk)[-1].type == frame.AGENT_DISCONNECT
    talk = running().play(
        """
        haproxy NOTIFY 1.1  -> ok
        agent   ACK 1.1[:9] -> held
        guard   waits 2     -> drop truncated_frame, pass notify_unanswered, unanswered agent_gone 1, \
                to_agent HAPROXY_DISCONNECT 2, to_haproxy AGENT_DISCONNECT 2
        guard   waits 1     -> close haproxy, close agent, end agent frame_timeout
        """
    )
    assert to_haproxy(talk)[-1].type == frame.AGENT_DISCONNECT


def ended_by(silence: str) -> str:
    told = "to_agent HAPROXY_DISCONNECT 0, " if silence == "fin" else ""
    return f"answer disconnect_missing, {told}to_haproxy AGENT_DISCONNECT 13, close agent"


def test_a1_no_byte_reaches_the_agent_before_a_valid_hello() -> None:
    http, tls = b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00"
    for noise in (http, tls, bytes(50), frames.notify(), frames.haproxy_hello(max_frame_size=b"")):
        talk = Talk()
        out = talk.session.receive(Side.HAPROXY, noise, talk.now)
        assert not out.dial
        assert talk.session.state in (SessionState.REFUSING, SessionState.CLOSING)
        assert out.to_agent == b""


def test_a2_only_whole_well_formed_frames_of_a_size_it_negotiated() -> None:
    talk = running(answer=frames.agent_hello(max_frame_size=1000)).play(
        """
        haproxy NOTIFY 1.1[:9]                                -> held
        haproxy NOTIFY 1.1[9:] + <runt> + <long> + <odd>[:-1] -> held, drop runt_frame, drop notify_oversize, \
                pass notify_unanswered, unanswered notify_dropped 1, to_agent NOTIFY 1.1
        haproxy <odd>[-1:] + NOTIFY 5.1 -> drop bad_varint, pass notify_unanswered, unanswered notify_dropped 1, \
                to_agent NOTIFY 5.1
        """,
        runt=frames.raw(b"\3"),
        long=frames.sized(3, 1001, "3.1"),
        odd=frames.notify("7.1", b"\5check\2\1a\0"),
    )
    assert [sent.raw for sent in to_agent(talk)[1:]] == [frames.notify("1.1"), frames.notify("5.1")]


def test_a3_haproxy_disconnect_is_the_agents_last_frame_even_after_a_reset() -> None:
    for end in ("rst", "fin", "HAPROXY_DISCONNECT 0 + NOTIFY 1.1"):
        talk = running()
        talk._line("haproxy", end)
        assert [sent.type for sent in to_agent(talk)] == [frame.HAPROXY_HELLO, frame.HAPROXY_DISCONNECT]


def test_a4_hello_is_normalised_to_what_this_agent_can_stand() -> None:
    offered = frames.pairs(supported_versions=b"2.0", max_frame_size=16380, capabilities=b"pipelining,async")
    talk = Talk(max_frame_size=8192, capabilities=frozenset(), engine_id="guard").play(
        "haproxy <hello> -> held, dial\nagent up -> to_agent HAPROXY_HELLO",
        hello=frame.encode(1, payload=offered),
    )
    shown = frames.pairs(supported_versions=b"2.0", max_frame_size=8192, capabilities=b"", engine_id=b"guard")
    assert talk.written["to_agent"] == frame.encode(1, payload=shown)
