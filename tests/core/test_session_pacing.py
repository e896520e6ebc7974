"""A burst of ACKs reaches HAProxy as it reads: less than half of its buffer ahead of that (hazard A1)."""

import math
from typing import Any

import pytest

from spoe_guard.core.conversation.agent_state import Agreed
from spoe_guard.core.conversation.route_state import RouteState
from spoe_guard.core.terms.anomalies import Side
from spoe_guard.core.terms.events import OneAtATime
from spoe_guard.core.terms.states import SessionState
from spoe_guard.wire import kv
from spoe_guard.wire.frame import FrameType
from tests.builds import puts_in_place
from tests.core import frames, script
from tests.core.script import Talk, running

pytestmark = pytest.mark.usefixtures("both_speeds")

MS = 0.001


def ack(number: int, wire_bytes: int) -> bytes:
    return frames.sized(FrameType.ACK, wire_bytes - 4, f"{2 * number + 1}.1")


def asked(count: int, talk: Talk) -> Talk:
    """HAProxy sends so many NOTIFYs, as the mux numbers them."""
    sent = b"".join(frames.notify(f"{2 * number + 1}.1") for number in range(count))
    return talk.play("haproxy <sent> -> ok", sent=sent)


def acks(talk: Talk) -> list[int]:
    """Stream-ids of the ACKs that HAProxy got."""
    return [sent.stream_id for sent in frames.cut(talk.written["to_haproxy"]) if sent.type == FrameType.ACK]


def test_twenty_acks_of_900_bytes_go_nine_a_millisecond() -> None:
    talk = asked(20, running())
    burst = b"".join(ack(number, 900) for number in range(20))
    before = len(talk.written["to_haproxy"])
    talk._obey(talk.session.receive(Side.AGENT, burst, talk.now), b"", "")
    talk.sent[Side.AGENT] += burst
    for acks_written in (9, 18, 20):
        assert len(talk.written["to_haproxy"]) - before == 900 * acks_written
        assert talk.session.held == talk.tally.held_bytes == 900 * (20 - acks_written)
        if acks_written < 20:
            assert talk.session.deadline == talk.now + MS
            talk.now = talk.session.deadline
            talk._obey(talk.session.tick(talk.now), b"", "")
    assert talk.session.deadline > talk.now + 1
    assert acks(talk) == list(range(1, 41, 2))
    talk.play("haproxy HAPROXY_DISCONNECT 0 -> ok, to_haproxy AGENT_DISCONNECT 0, close haproxy")


def test_the_longest_ack_goes_alone() -> None:
    asked(3, running()).play(
        """
        agent <small> + <long> + <last>  -> held, to_haproxy ACK 1.1
        guard waits 0.0009               -> nothing
        guard waits 0.0001               -> to_haproxy ACK 3.1
        guard waits 0.0009               -> nothing
        guard waits 0.0001               -> to_haproxy ACK 5.1
        """,
        small=ack(0, 30),
        long=ack(1, frames.SHOWN + 4),
        last=ack(2, 30),
    )


def test_an_ack_that_fills_haproxys_buffer_is_longer_than_what_was_offered() -> None:
    asked(1, running()).play(
        "agent <ack> -> drop oversize_frame, pass notify_unanswered, unanswered ack_dropped 1", ack=ack(0, frames.SHOWN + 5)
    )


def test_a_trickle_never_waits() -> None:
    talk = running().play("guard waits 0.001 -> nothing")
    for number in range(50):
        talk.play(
            "haproxy <asked> -> ok\nagent <sent> -> ok\nguard waits 0.0001 -> nothing",
            asked=frames.notify(f"{2 * number + 1}.1"),
            sent=ack(number, 350),
        )


@pytest.mark.parametrize("ids", ["2.1", "1.2"])
def test_an_applet_gets_what_waits_as_soon_as_it_is_known(ids: str) -> None:
    talk = asked(2, running()).play(
        """
        agent   <one> + <two>   -> held, to_haproxy ACK 1.1
        haproxy <applet>        -> ok, to_haproxy ACK 3.1
        haproxy <more>          -> ok
        agent   <three> + <one> -> ok
        """,
        one=ack(0, 8000),
        two=ack(1, 8000),
        three=frames.sized(FrameType.ACK, 8000, ids),
        applet=frames.notify(ids),
        more=frames.notify("1.1"),
    )
    assert (talk.session.held, talk.tally.held_bytes) == (0, 0)


def test_an_applet_that_offers_async_is_written_to_at_any_speed() -> None:
    hello = frames.haproxy_hello(capabilities=b"pipelining,async")
    talk = asked(4, running(hello=hello, answer=frames.agent_hello(max_frame_size=frames.SIZE)))
    talk.play("agent <burst> -> ok", burst=b"".join(ack(number, frames.SIZE + 4) for number in range(4)))


def test_a_disconnect_waits_for_the_acks_in_front_of_it() -> None:
    asked(3, running()).play(
        """
        agent   <acks> + AGENT_DISCONNECT 0 -> held, to_agent HAPROXY_DISCONNECT 0, to_haproxy ACK 1.1
        guard   waits 0.001                 -> to_haproxy ACK 3.1
        guard   waits 0.001                 -> to_haproxy ACK 5.1, to_haproxy AGENT_DISCONNECT 0
        agent   fin                         -> close agent
        haproxy fin                         -> close haproxy, end agent disconnect
        """,
        acks=b"".join(ack(number, 8000) for number in range(3)),
    )


def queued(**config: float) -> Talk:
    """Two ACKs are queued for HAProxy."""
    talk = asked(3, running(**config))
    return talk.play("agent <acks> -> held, to_haproxy ACK 1.1", acks=b"".join(ack(number, 8000) for number in range(3)))


def test_a_close_and_the_end_wait_for_the_queue() -> None:
    talk = queued().play(
        """
        haproxy HAPROXY_DISCONNECT 0 -> ok
        agent   AGENT_DISCONNECT 0   -> nothing
        agent   fin                  -> close agent
        guard   waits 0.001          -> to_haproxy ACK 3.1
        guard   waits 0.001          -> to_haproxy ACK 5.1, to_haproxy AGENT_DISCONNECT 0, close haproxy, end haproxy disconnect
        """
    )
    assert talk.session.state is SessionState.CLOSED


def test_behind_haproxys_fin_the_queue_is_still_written() -> None:
    queued().play(
        """
        haproxy fin         -> to_agent HAPROXY_DISCONNECT 0
        guard   waits 0.001 -> to_haproxy ACK 3.1
        guard   waits 0.001 -> to_haproxy ACK 5.1, close haproxy
        agent   fin         -> close agent, end haproxy closed
        """
    )


@pytest.mark.parametrize("sent", ["rst", "HAPROXY_DISCONNECT 0\nhaproxy rst"])
def test_a_reset_of_haproxys_drops_the_queue(sent: str) -> None:
    talk = queued()
    if "\n" in sent:
        talk.play("haproxy HAPROXY_DISCONNECT 0 -> ok\nhaproxy rst -> close haproxy")
    else:
        talk.play("haproxy rst -> to_agent HAPROXY_DISCONNECT 0, close haproxy")
    assert (talk.session.held, talk.tally.held_bytes) == (0, 0)
    assert talk.session.snapshot().to_haproxy.undelivered >= 16000
    talk.play("guard waits 0.1 -> nothing\nagent fin -> close agent, end haproxy " + ("disconnect" if "\n" in sent else "reset"))


def test_what_is_queued_still_at_close_timeout_is_dropped() -> None:
    talk = queued(close_s=0.0015).play("haproxy HAPROXY_DISCONNECT 0 -> ok")
    talk.play("guard waits 0.0015 -> to_haproxy ACK 3.1, close haproxy, close agent, end haproxy disconnect")
    assert talk.session.snapshot().to_haproxy.undelivered > 8000
    assert (talk.session.held, talk.session.deadline) == (0, math.inf)


@pytest.mark.parametrize("spare", [0, -1])
def test_more_than_may_be_held_ends_the_session_behind_what_came(spare: int) -> None:
    talk = asked(4, running(held_bytes=16384 + spare)).play(
        "guard waits 0.001 -> nothing\nagent <all> -> " + ("held, to_haproxy ACK 1.1" if spare == 0 else ENDED),
        all=ack(0, 8192) + ack(1, 8192) + ack(2, 8192),
    )
    talk.play("guard waits 0.001 -> to_haproxy ACK 3.1\nguard waits 0.001 -> to_haproxy ACK 5.1")
    if spare:
        talk.play(
            """
            guard   waits 0.001 -> to_haproxy AGENT_DISCONNECT 13
            agent   ACK 7.1     -> drop late_ack
            agent   fin         -> close agent
            haproxy fin         -> close haproxy, end guard limit
            """
        )
    else:
        talk.play("guard waits 0.001 -> nothing\nagent ACK 7.1 -> ok")


ENDED = "held, pass notify_unanswered, unanswered limit 1, to_agent HAPROXY_DISCONNECT 0, to_haproxy ACK 1.1"


def test_a_shell_that_goes_on_without_the_session_gets_what_is_queued() -> None:
    talk = queued()
    talk.session.receive(Side.AGENT, b"\0\0", talk.now)
    assert talk.session.release() == (b"", ack(1, 8000) + ack(2, 8000) + b"\0\0")
    assert talk.tally.held_bytes == 0


class Stopped:
    """An HAProxy that reads when a test says so. ``read``: bytes, all of what it is written until then; None: nobody knows."""

    def __init__(self, read: int | None = 0) -> None:
        self.read = read
        self.route_state = RouteState(read=lambda: self.read)

    def reads(self, talk: Talk) -> None:
        self.read = len(talk.written["to_haproxy"])


@pytest.mark.parametrize(("offered", "most"), [(16380, 8191), (4092, 2047), (65532, 32767)])
def test_half_of_what_haproxys_hello_offers_is_the_bound(offered: int, most: int) -> None:
    stopped = Stopped()
    hello, answer = frames.haproxy_hello(max_frame_size=offered), frames.agent_hello(max_frame_size=offered - 12)
    talk = asked(9, running(hello=hello, answer=answer, route_state=stopped.route_state))
    stopped.reads(talk)
    talk.play("agent <first> + <second> -> ok", first=ack(0, most - 1000), second=ack(1, 1000))
    talk.play("agent <third> -> held", third=ack(2, 30))
    stopped.reads(talk)
    talk.play("guard waits 0.001 -> to_haproxy ACK 5.1\nagent <fourth> -> held", fourth=ack(3, most - 29))
    stopped.reads(talk)
    talk.play("guard waits 0.1 -> to_haproxy ACK 7.1")


def test_a_stopped_haproxy_is_written_nothing_more_and_then_all_of_it() -> None:
    stopped = Stopped()
    talk = asked(20, running(route_state=stopped.route_state))
    stopped.reads(talk)
    talk.play(
        "agent <some> -> ok\nagent <more> -> held\nguard waits 0.05 -> nothing",
        some=b"".join(ack(number, 900) for number in range(9)),
        more=b"".join(ack(number, 900) for number in range(9, 20)),
    )
    assert talk.session.held == 11 * 900
    stopped.reads(talk)
    talk.play("guard waits 0.008 -> " + ", ".join(f"to_haproxy ACK {2 * number + 1}.1" for number in range(9, 18)))
    stopped.reads(talk)
    talk.play("guard waits 0.001 -> to_haproxy ACK 37.1, to_haproxy ACK 39.1")
    assert talk.session.deadline > talk.now + 1


def test_a_notify_shows_that_haproxy_runs_and_brings_what_waits() -> None:
    stopped = Stopped()
    talk = asked(3, running(route_state=stopped.route_state))
    stopped.reads(talk)
    talk.play("agent <one> -> ok\nagent <two> -> held\nguard waits 0.02 -> nothing", one=ack(0, 8000), two=ack(1, 8000))
    talk.play("haproxy NOTIFY 7.1 -> ok")
    stopped.reads(talk)
    talk.play("haproxy NOTIFY 9.1 -> ok, to_haproxy ACK 3.1")


def test_a_full_connection_counts_until_the_session_is_over() -> None:
    stopped = Stopped()
    crowd = stopped.route_state.crowd
    talk = asked(3, running(route_state=stopped.route_state))
    talk.play("agent <one> + <two> -> held, to_haproxy ACK 1.1", one=ack(0, 8000), two=ack(1, 8000))
    assert crowd.full == 1
    talk.play("haproxy rst -> unanswered haproxy_gone 1, to_agent HAPROXY_DISCONNECT 0, close haproxy")
    assert crowd.full == 0


# --- where nothing is known ---------------------------------------------------------------------------------------------------


BLIND = """
    guard   starts             -> nothing
    haproxy HAPROXY_HELLO      -> held, dial
    agent   up                 -> to_agent HAPROXY_HELLO
    agent   AGENT_HELLO        -> to_haproxy AGENT_HELLO
"""


def blind(**config: Any) -> Talk:
    return Talk(route_state=Stopped(None).route_state, **config)


def told(talk: Talk) -> list[bytes]:
    """The capabilities that HAProxy was told."""
    [hello] = [sent for sent in frames.cut(talk.written["to_haproxy"]) if sent.type == FrameType.AGENT_HELLO]
    return [pair.value for pair in kv.parse(hello.raw, hello.payload_at, len(hello.raw))[0] if pair.name == b"capabilities"]


def test_an_haproxy_of_which_nothing_is_known_may_not_pipeline() -> None:
    talk = blind().play(BLIND)
    assert told(talk) == [b"fragmentation"]
    assert OneAtATime() in talk.events
    assert b"pipelining" in talk.written["to_agent"]
    talk.play(
        """
        haproxy NOTIFY 1.1 -> ok
        agent   <long>     -> ok
        haproxy NOTIFY 3.1 -> ok
        agent   <more>     -> ok
        """,
        long=ack(0, frames.SHOWN + 4),
        more=ack(1, frames.SHOWN + 4),
    )
    assert not talk.anomalies


def test_an_applet_of_which_nothing_is_known_may_pipeline() -> None:
    hello = frames.haproxy_hello(capabilities=b"pipelining,async")
    talk = blind().play(BLIND.replace("HAPROXY_HELLO      -> held", "<hello> -> held"), hello=hello)
    assert told(talk) == [b"pipelining,fragmentation"]


def test_an_haproxy_that_does_not_offer_to_pipeline_is_told_nothing_else() -> None:
    hello = frames.haproxy_hello(capabilities=b"")
    talk = blind(always_offer=frozenset(("pipelining",))).play(
        BLIND.replace("HAPROXY_HELLO      -> held", "<hello> -> held"), hello=hello
    )
    assert told(talk) == [b"fragmentation"]
    assert OneAtATime() not in talk.events


def test_where_the_guard_keeps_notifies_apart_it_is_not_to_pipeline_either() -> None:
    talk = blind(give_up_s=5.0, in_flight=1, max_links=2).play(BLIND)
    assert told(talk) == [b"fragmentation"]


@pytest.mark.parametrize("in_flight", [0, 1])
def test_the_guards_own_hello_does_not_let_it_pipeline(in_flight: int) -> None:
    agreed = Agreed(frames.SHOWN, ("pipelining",))
    talk = blind(give_up_s=5.0, in_flight=in_flight)
    talk.session._conv.route.agent.answered(agreed)
    talk.play(
        """
        guard   starts        -> nothing
        haproxy HAPROXY_HELLO -> held, dial
        guard   waits 5       -> unreachable timeout, to_haproxy AGENT_HELLO, abort agent
        """
    )
    assert talk.session._conv.notifies.one_at_a_time
    assert told(talk) == [b"fragmentation"]


def test_a_session_that_pipelines_already_is_written_half_a_buffer_a_millisecond() -> None:
    known = Stopped()
    talk = asked(3, running(give_up_s=5.0, route_state=known.route_state))
    known.read = None
    talk.play(
        """
        agent <one> -> ok
        agent <two> + <three>   -> held
        guard waits 0.0009      -> nothing
        guard waits 0.0001      -> to_haproxy ACK 3.1
        guard waits 0.001       -> to_haproxy ACK 5.1
        """,
        one=ack(0, 8000),
        two=ack(1, 8000),
        three=ack(2, 8000),
    )


def test_an_observing_guard_holds_nothing_back() -> None:
    talk = Talk(observe=True).play(
        "guard starts -> dial\nagent up -> nothing\nhaproxy HAPROXY_HELLO -> ok\nagent <hello> -> ok",
        hello=frames.agent_hello(max_frame_size=frames.SIZE),
    )
    asked(2, talk).play("agent <acks> -> ok", acks=ack(0, frames.SIZE + 4) + ack(1, frames.SIZE + 4))
    assert not talk.anomalies


# --- the first NOTIFYs ----------------------------------------


@puts_in_place
@pytest.mark.parametrize(
    ("capabilities", "ids", "slow"),
    [
        (b"pipelining", [f"{2 * n + 1}.1" for n in range(12)], 3),
        (b"pipelining", [f"{2 * n + 7}.1" for n in range(12)], 8),
        (b"pipelining", [f"{n + 1}.1" for n in range(12)], 2),
        (b"pipelining,async", [f"{2 * n + 7}.1" for n in range(12)], 0),
    ],
)
def test_only_notifies_that_may_show_the_family_are_read_one_by_one(
    monkeypatch: pytest.MonkeyPatch, capabilities: bytes, ids: list[str], slow: int
) -> None:
    talk = running(hello=frames.haproxy_hello(capabilities=capabilities), answer=frames.agent_hello())
    walker = talk.session._from_haproxy
    read, one = [], walker._notify
    monkeypatch.setattr(walker, "_notify", lambda sent, *at: (read.append(sent.stream_id), one(sent, *at)))
    talk.play("haproxy <sent> -> ok", sent=b"".join(frames.notify(at) for at in ids))
    assert len(read) == (slow if script.FAST else len(ids))
    assert talk.session.open_notifies == len(ids)


def test_an_applet_whose_agent_is_leaving_has_its_next_notify_dropped() -> None:
    hello = frames.haproxy_hello(capabilities=b"pipelining,async")
    running(hello=hello, answer=frames.agent_hello()).play(
        """
        haproxy NOTIFY 1.1         -> ok
        agent   AGENT_DISCONNECT 0 -> held, reorder disconnect_before_ack
        haproxy NOTIFY 3.1         -> pass notify_unanswered, unanswered agent_gone 1
        """
    )
