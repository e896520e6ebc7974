"""After a DISCONNECT: which frames still pass, and how soon both sides are closed (promises H4, A3)."""

import pytest

from spoe_guard.core.conversation.route_state import RouteState
from spoe_guard.core.conversation.to_haproxy import FIN_S, LINGERS_AFTER
from spoe_guard.core.terms.anomalies import Side
from spoe_guard.core.terms.output import Close
from spoe_guard.wire import frame
from tests.core import frames
from tests.core.script import Talk, play, running

pytestmark = pytest.mark.usefixtures("both_speeds")


def test_behind_the_held_disconnect_only_acks_have_a_place() -> None:
    running().play(
        """
        haproxy NOTIFY 1.1         -> ok
        agent   AGENT_DISCONNECT 0 -> held, reorder disconnect_before_ack
        agent   ACK 7.1            -> drop unmatched_ack
        agent   AGENT_HELLO        -> drop hello_repeated
        agent   AGENT_DISCONNECT 0 -> drop disconnect_repeated
        agent   NOTIFY 1.1         -> drop wrong_side_frame
        agent   <new>              -> drop unknown_frame_type
        agent   ACK 1.1            -> reorder ack_after_disconnect, to_agent HAPROXY_DISCONNECT 0, \
                to_haproxy ACK 1.1, to_haproxy AGENT_DISCONNECT 0
        """,
        new=frame.encode(104),
    )


def test_nothing_passes_behind_a_disconnect() -> None:
    running().play(
        """
        haproxy NOTIFY 1.1         -> ok
        agent   ACK 1.1            -> ok
        agent   AGENT_DISCONNECT 0 -> to_agent HAPROXY_DISCONNECT 0, ok
        agent   ACK 1.1 + ACK 3.1  -> drop duplicate_ack, drop unmatched_ack
        agent   AGENT_DISCONNECT 0 -> drop disconnect_repeated
        agent   AGENT_HELLO        -> drop frame_after_disconnect
        agent   NOTIFY 1.1 + <new> -> drop frame_after_disconnect, drop frame_after_disconnect
        haproxy NOTIFY 3.1         -> nothing
        haproxy HAPROXY_DISCONNECT 0 -> close haproxy
        agent   fin                -> close agent, end agent disconnect
        """,
        new=frame.encode(104),
    )


def test_both_sides_are_closed_at_close_timeout() -> None:
    play(
        """
        agent AGENT_DISCONNECT 0 -> to_agent HAPROXY_DISCONNECT 0, ok
        guard waits 2.999        -> nothing
        guard waits 0.001        -> close haproxy, close agent, end agent disconnect
        """,
        close_s=3.0,
    )


def lingering(route_state: RouteState, *, times: int) -> None:
    """Let so many HAProxys of the route go on using a connection behind AGENT-DISCONNECT."""
    for _ in range(times):
        ended = running(route_state=route_state).play("agent AGENT_DISCONNECT 0 -> to_agent HAPROXY_DISCONNECT 0, ok")
        ended.play(f"guard waits {FIN_S} -> nothing")
        assert "to_haproxy" in ended._shut


def test_fin_follows_disconnect_where_haproxy_has_not_closed() -> None:
    """HAProxy 3.1.0 to 3.1.7 sends NOTIFYs on that connection until FIN comes. A reset could come before what it is to read."""
    talk = running().play(
        """
        agent   AGENT_DISCONNECT 0 -> to_agent HAPROXY_DISCONNECT 0, ok
        guard   waits 0.0049       -> nothing
        haproxy NOTIFY 3.1         -> nothing
        """
    )
    assert "to_haproxy" not in talk._shut
    talk.play("guard waits 0.0001 -> nothing")
    assert "to_haproxy" in talk._shut
    talk.play(
        """
        haproxy NOTIFY 5.1 -> nothing
        guard   waits 0.99 -> nothing
        guard   waits 0.01 -> close haproxy, close agent, end agent disconnect
        """
    )


def test_no_fin_comes_before_haproxy_has_read_disconnect() -> None:
    """A HAProxy that does not run for a moment would read both at once, and leave its request to the timeout (E3)."""
    read = 0
    talk = running(route_state=RouteState(read=lambda: read))
    talk.play("agent AGENT_DISCONNECT 0 -> to_agent HAPROXY_DISCONNECT 0, ok")
    waits = []
    for _ in range(3):
        waits.append(talk.session.deadline - talk.now)
        talk.play(f"guard waits {waits[-1]} -> nothing")
    assert waits == pytest.approx([FIN_S, 2 * FIN_S, 4 * FIN_S])
    assert "to_haproxy" not in talk._shut
    read = len(talk.written["to_haproxy"])
    talk.play(f"guard waits {talk.session.deadline - talk.now} -> nothing")
    assert "to_haproxy" in talk._shut


def test_fin_comes_at_once_where_haproxys_are_known_to_wait_for_it() -> None:
    route_state = RouteState()
    lingering(route_state, times=LINGERS_AFTER - 1)
    assert not route_state.lingering.known
    lingering(route_state, times=1)
    assert route_state.lingering.known
    talk = running(route_state=route_state).play("agent AGENT_DISCONNECT 0 -> to_agent HAPROXY_DISCONNECT 0, ok")
    assert "to_haproxy" in talk._shut


@pytest.mark.parametrize("end", ["fin", "rst", "HAPROXY_DISCONNECT 0"])
def test_a_haproxy_that_closes_itself_gets_no_fin_before(end: str) -> None:
    route_state = RouteState()
    lingering(route_state, times=LINGERS_AFTER - 1)
    running(route_state=route_state).play(
        f"""
        agent   AGENT_DISCONNECT 0 -> to_agent HAPROXY_DISCONNECT 0, ok
        haproxy {end}              -> close haproxy
        guard   waits 0.999        -> nothing
        guard   waits 0.001        -> close agent, end agent disconnect
        """
    )
    lingering(route_state, times=LINGERS_AFTER - 1)
    assert not route_state.lingering.known


def test_nothing_is_learned_of_what_haproxy_reads_where_that_is_unknown() -> None:
    route_state = RouteState(read=lambda: None)
    lingering(route_state, times=LINGERS_AFTER)
    assert not route_state.lingering.known


def test_an_applet_gets_fin_too_and_nothing_is_learned() -> None:
    route_state = RouteState()
    for _ in range(LINGERS_AFTER):
        talk = Talk(route_state=route_state).play(
            """
            haproxy HAPROXY_HELLO applet -> held, dial
            agent   up                   -> to_agent HAPROXY_HELLO
            agent   AGENT_HELLO          -> to_haproxy AGENT_HELLO
            agent   AGENT_DISCONNECT 0   -> to_agent HAPROXY_DISCONNECT 0, ok
            guard   waits 0.005          -> nothing
            """
        )
        assert "to_haproxy" in talk._shut
    assert not route_state.lingering.known


def test_fin_waits_for_what_haproxy_cannot_take_yet() -> None:
    """100 ACKs of 900 bytes take their time; AGENT-DISCONNECT and FIN come last all the same."""
    ids = [f"{2 * number + 1}.1" for number in range(100)]
    read = 0
    talk = running(route_state=RouteState(read=lambda: read))
    talk.play("haproxy <sent> -> ok", sent=b"".join(map(frames.notify, ids)))
    hello = len(talk.written["to_haproxy"])
    burst = b"".join(frames.sized(frame.ACK, 896, at) for at in ids) + frames.agent_disconnect(0)
    out = talk.session.receive(Side.AGENT, burst, talk.now)
    written = out.to_haproxy
    while out.left:
        read = hello + len(written)
        out = talk.session.receive(Side.AGENT, burst[-out.left :], talk.now)
        written += out.to_haproxy
    assert out.close_haproxy is Close.KEEP
    began = talk.now
    while out.close_haproxy is Close.KEEP:
        assert talk.now < began + 1
        read = hello + len(written)
        talk.now = max(talk.now, talk.session.deadline)
        out = talk.session.tick(talk.now)
        written += out.to_haproxy
    assert (out.close_haproxy, written) == (Close.HALF, burst)


def test_a_side_that_closed_in_time_is_not_closed_again() -> None:
    play(
        """
        agent   AGENT_DISCONNECT 0 -> to_agent HAPROXY_DISCONNECT 0, ok
        haproxy rst                -> close haproxy
        haproxy fin                -> nothing
        guard   waits 1            -> close agent, end agent disconnect
        agent   fin                -> nothing
        """
    )


def test_an_agent_silent_on_haproxys_disconnect_is_closed_at_close_timeout() -> None:
    play(
        """
        haproxy rst         -> to_agent HAPROXY_DISCONNECT 0, close haproxy
        guard   waits 0.999 -> nothing
        guard   waits 0.001 -> close agent, end haproxy reset
        """
    )


def test_a_disconnect_passes_with_the_last_answer_and_nothing_behind_it() -> None:
    play(
        """
        haproxy NOTIFY 1.1 -> ok
        agent   AGENT_DISCONNECT 7 + ACK 1.1 + ACK 1.1 + NOTIFY 1.1 -> reorder disconnect_before_ack, \
                reorder ack_after_disconnect, drop duplicate_ack, drop frame_after_disconnect, \
                to_agent HAPROXY_DISCONNECT 0, to_haproxy ACK 1.1, to_haproxy AGENT_DISCONNECT 7
        """
    )
