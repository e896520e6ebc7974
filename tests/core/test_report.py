"""What a session reports of an anomaly, and what it does not when the shell only counts it."""

import pytest

from spoe_guard.core.conversation.route_state import RouteState
from spoe_guard.core.terms.anomalies import Action, Anomaly, Side
from spoe_guard.wire import frame
from tests.core import frames
from tests.core.observed import RUNNING
from tests.core.scenes import ASYNC, SHARED, elsewhere
from tests.core.script import HANDSHAKE, Talk

pytestmark = pytest.mark.usefixtures("both_speeds")

RUNT = frames.raw(b"")


class Counter:
    """A shell that counts, and wants to be told nothing."""

    def __init__(self) -> None:
        self.counted: list[tuple[Side, Anomaly, Action]] = []

    def __call__(self, side: Side, anomaly: Anomaly, action: Action) -> bool:
        self.counted.append((side, anomaly, action))
        return True


@pytest.mark.parametrize("observe", [False, True])
def test_what_the_shell_only_counts_makes_no_event(observe: bool) -> None:
    counter = Counter()
    spoken = Talk(route_state=RouteState(count_only=counter), observe=observe)
    spoken.play(RUNNING if observe else HANDSHAKE)
    spoken.play("haproxy NOTIFY 1.1 -> ok")
    spoken.play("agent <runt> + ACK 9.1 -> " + ("ok" if observe else "nothing"), runt=RUNT)
    assert spoken.anomalies == []
    assert counter.counted == [
        (Side.AGENT, Anomaly.RUNT_FRAME, Action.DROP),
        (Side.AGENT, Anomaly.UNMATCHED_ACK, Action.DROP),
    ]


def test_what_is_only_counted_is_repaired_all_the_same() -> None:
    spoken = Talk(route_state=RouteState(count_only=Counter())).play(HANDSHAKE + "haproxy NOTIFY 1.1 -> ok")
    spoken.play("agent <odd> -> to_haproxy ACK 1.1", odd=frames.ack(flags=frame.FLAG_FIN | frame.FLAG_ABRT))


def test_what_ends_behind_no_read_is_told() -> None:
    counter = Counter()
    spoken = Talk(route_state=RouteState(count_only=counter)).play(HANDSHAKE)
    spoken.play(
        "agent fin -> answer disconnect_missing, to_agent HAPROXY_DISCONNECT 0, to_haproxy AGENT_DISCONNECT 13, close agent"
    )
    assert counter.counted == []


def test_a_flood_is_told_though_its_anomalies_are_only_counted() -> None:
    spoken = Talk(route_state=RouteState(count_only=Counter()), glitches=3).play(HANDSHAKE)
    spoken.play(
        "agent <runts> -> close glitch_flood, to_agent HAPROXY_DISCONNECT 4, to_haproxy AGENT_DISCONNECT 4", runts=RUNT * 4
    )


def test_a_foreign_ack_is_told_each_time() -> None:
    route_state = elsewhere("9.1")
    counter = Counter()
    shared = RouteState(1, engines=route_state.engines, count_only=counter)
    Talk(capabilities=ASYNC, route_state=shared).play(SHARED + "agent ACK 9.1 -> reorder foreign_ack, for 2")
    assert counter.counted == []


def test_a_deadline_that_a_counted_anomaly_changes_is_kept() -> None:
    """A step without an event may still be one that changes what the session waits for."""
    spoken = Talk(route_state=RouteState(count_only=Counter())).play(HANDSHAKE)
    spoken.play("agent <cut> -> nothing", cut=frames.sized(103, frames.SIZE + 100)[:40])
    assert spoken.session.deadline <= spoken.now + spoken.config.frame_s
