"""How many anomalies a side may make (``limits.glitches``), and what ends a session that makes more."""

import pytest

from spoe_guard.core.conversation.glitches import PER_NOTIFY, Glitches
from spoe_guard.core.terms.anomalies import Action, Anomaly, Side
from spoe_guard.core.terms.states import SessionState
from tests.core import frames
from tests.core.observed import RUNNING, everything_passed
from tests.core.script import HANDSHAKE, UP, Talk

pytestmark = pytest.mark.usefixtures("both_speeds")

MOST = 6
PERIOD_S = 60.0
RUNT = frames.raw(b"")
ENDED = "to_agent HAPROXY_DISCONNECT 4, to_haproxy AGENT_DISCONNECT 4"


def talk(script: str = HANDSHAKE, **config: object) -> Talk:
    return Talk(glitches=MOST, glitches_s=PERIOD_S, **config).play(script)


def runts(count: int, *and_then: str) -> tuple[str, bytes]:
    return "<runts> -> " + ", ".join([*["drop runt_frame"] * count, *and_then]), RUNT * count


def throws(spoken: Talk, side: Side, count: int, *and_then: str) -> None:
    line, said = runts(count, *and_then)
    spoken.play(f"{side.value} {line}", runts=said)


@pytest.mark.parametrize("side", list(Side))
def test_a_side_may_make_so_many_anomalies_and_no_more(side: Side) -> None:
    spoken = talk()
    throws(spoken, side, MOST)
    throws(spoken, side, 1, "close glitch_flood", ENDED)
    assert spoken.anomalies[-1].side is side
    assert spoken.anomalies[-1].detail == "7 anomalies within 60 s, beside 0 NOTIFYs"
    spoken.play("haproxy fin -> close haproxy\nagent fin -> close agent, end guard glitches")


def test_each_side_has_its_own_count() -> None:
    spoken = talk()
    throws(spoken, Side.AGENT, MOST)
    throws(spoken, Side.HAPROXY, MOST)
    throws(spoken, Side.HAPROXY, 1, "close glitch_flood", ENDED)


def test_a_period_that_is_over_counts_no_more() -> None:
    spoken = talk()
    throws(spoken, Side.AGENT, MOST)
    spoken.now += PERIOD_S
    throws(spoken, Side.AGENT, MOST)
    spoken.now += PERIOD_S - 0.001
    throws(spoken, Side.AGENT, 1, "close glitch_flood", ENDED)


def test_an_agent_may_make_four_anomalies_for_each_notify() -> None:
    spoken = talk()
    notifies = [f"{number}.1" for number in range(1, 11)]
    for at in notifies:
        spoken.play(f"haproxy NOTIFY {at} -> ok")
        throws(spoken, Side.AGENT, PER_NOTIFY)
    throws(spoken, Side.AGENT, 1, "close glitch_flood", "pass notify_unanswered", "unanswered agent_gone 10", ENDED)


def test_an_agent_that_answers_all_late_is_no_flood() -> None:
    """It stood still for longer than a period; each NOTIFY was given up meanwhile."""
    spoken = talk(answer_deadline_s=1.0)
    asked = [f"{number}.1" for number in range(1, 31)]
    spoken.play("haproxy <all> -> ok", all=b"".join(map(frames.notify, asked)))
    spoken.play("guard waits 1 -> " + ", ".join(["pass notify_unanswered, unanswered deadline 1"] * 30))
    spoken.now += 2 * PERIOD_S
    spoken.play("agent <all> -> " + ", ".join(["drop late_ack"] * 30), all=b"".join(map(frames.ack, asked)))
    throws(spoken, Side.AGENT, (PER_NOTIFY - 1) * 30)
    throws(spoken, Side.AGENT, 1, "close glitch_flood", ENDED)


def test_what_a_haproxy_without_fault_may_do_is_not_counted() -> None:
    spoken = talk()
    for number in range(2 * MOST):
        at = f"{number + 1}.1"
        spoken.play(f"haproxy <empty> -> answer notify_empty, to_haproxy ACK {at}", empty=frames.notify(at, b""))


def test_a_flood_that_may_pass_is_told_once_in_a_period() -> None:
    spoken = Talk({Anomaly.GLITCH_FLOOD: Action.PASS}, glitches=MOST).play(HANDSHAKE)
    throws(spoken, Side.AGENT, MOST + 1, "pass glitch_flood")
    throws(spoken, Side.AGENT, MOST + 1)
    spoken.now += 60.0
    throws(spoken, Side.AGENT, MOST + 1, "pass glitch_flood")


def test_notifies_that_a_link_had_which_is_gone_count_too() -> None:
    spoken = talk(give_up_s=5.0)
    spoken.play("""
        haproxy NOTIFY 1.1 + NOTIFY 3.1 -> ok
        agent   ACK 1.1 + ACK 3.1  -> ok
        agent   AGENT_DISCONNECT 0 -> lost disconnect 0/0, to_agent HAPROXY_DISCONNECT 0
        agent   fin                -> close agent
        haproxy NOTIFY 5.1         -> held, dial 1
        agent1  up                 -> to_agent1 HAPROXY_HELLO
        agent1  AGENT_HELLO        -> replacement up, redispatched unsent 1, to_agent1 NOTIFY 5.1
        agent1  ACK 5.1            -> ok
    """)
    throws(spoken, Side.HAPROXY, 3 * PER_NOTIFY)
    throws(spoken, Side.HAPROXY, 1, "close glitch_flood", ENDED.replace("to_agent", "to_agent1"))
    assert spoken.anomalies[-1].detail == "13 anomalies within 60 s, beside 3 NOTIFYs"


# An ACK that waits for its payload, and one of no NOTIFY in it.
TORN = frames.ack("1.1")[:11] + frames.ack("9.1", b"\1\3\2\6reason\x08\4late")


@pytest.mark.parametrize("more", [0, 1, 30])
def test_anomalies_among_pieces_count_one_by_one(more: int) -> None:
    """Behind the bound nothing is judged, also of the same read."""
    spoken = talk()
    ended = [*["drop unmatched_ack"] * (more > 0), "close glitch_flood", ENDED] if more else []
    told = ["repair interleaved_frames", *["drop unmatched_ack"] * (MOST - 1), *ended]
    torn = TORN[:11] + TORN[11:] * (MOST - 1 + more)
    spoken.play(f"agent <torn> -> {', '.join(told)}" if more else f"agent <torn> -> held, {', '.join(told)}", torn=torn)
    if not more:
        spoken.play(f"agent <torn> -> drop unmatched_ack, close glitch_flood, {ENDED}", torn=TORN[11:])


def test_anomalies_behind_a_break_count_one_by_one() -> None:
    """Each ACK that is found there is one; here of NOTIFYs that came long before."""
    spoken = talk()
    asked = [f"{number}.1" for number in range(1, 31, 2)]
    spoken.play("haproxy <all> -> ok", all=b"".join(map(frames.notify, asked)))
    spoken.play("agent <runt> -> drop runt_frame", runt=RUNT)
    spoken.now += PERIOD_S
    found = b"".join(map(frames.ack, asked))
    spoken.play(
        "agent <broken> -> repair garbled_stream, "
        + "repair interleaved_frames, " * MOST
        + "close glitch_flood, pass notify_unanswered, unanswered agent_gone 9, to_agent HAPROXY_DISCONNECT 4, "
        + "".join(f"to_haproxy ACK {at}, " for at in asked[:MOST])
        + "to_haproxy AGENT_DISCONNECT 4",
        broken=b"\xff" * 8 + found,
    )


@pytest.mark.parametrize("side", list(Side))
def test_behind_the_end_nothing_of_the_flood_is_judged(side: Side) -> None:
    spoken = talk()
    throws(spoken, side, MOST + 1, "close glitch_flood", ENDED)
    spoken.play(f"{side.value} <runts> -> nothing", runts=RUNT * 1000)
    assert spoken.session.state is SessionState.CLOSING


def test_a_flood_of_an_ending_link_does_not_end_the_session() -> None:
    spoken = talk(give_up_s=5.0)
    spoken.play("agent AGENT_DISCONNECT 0 -> lost disconnect 0/0, to_agent HAPROXY_DISCONNECT 0")
    throws(spoken, Side.AGENT, MOST + 1)
    spoken.play("agent <runts> -> nothing", runts=RUNT * 1000)
    assert spoken.session.state is SessionState.RUNNING


def test_a_flood_behind_haproxys_disconnect_is_told_up_to_the_bound() -> None:
    spoken = talk()
    spoken.play("haproxy HAPROXY_DISCONNECT 0 -> ok, to_haproxy AGENT_DISCONNECT 0, close haproxy")
    for _ in range(MOST + 1):
        spoken.play("haproxy <runt> -> drop frame_after_disconnect", runt=RUNT)
    spoken.play("haproxy <runt> -> nothing")


def test_a_flood_before_agent_hello_is_a_refusal() -> None:
    """HAProxy up to 3.0 would connect again at once; its news waits as for any agent that refuses."""
    spoken = talk(UP)
    throws(spoken, Side.AGENT, MOST + 1, "close glitch_flood")
    spoken.play("guard waits 0.249 -> nothing")
    spoken.play(f"guard waits 0.001 -> {ENDED}")


@pytest.mark.parametrize("side", list(Side))
def test_an_observed_flood_passes_and_its_end_is_only_told(side: Side) -> None:
    spoken = Talk(observe=True, glitches=MOST).play(RUNNING)
    throws(spoken, side, MOST + 1, "close glitch_flood", "ok")
    for _ in range(3):
        spoken.play(f"{side.value} <runts> -> ok", runts=RUNT * (MOST + 1))
    assert everything_passed(spoken)
    assert not spoken.anomalies[-1].applied


def test_the_bound_is_met_exactly_whatever_the_notifies() -> None:
    glitches = Glitches(3, 10.0)
    glitches.new = 3
    assert glitches.flood(0.0, 0) == ""
    glitches.new = 1
    assert glitches.flood(0.0, 1) == ""  # four, for one NOTIFY
    glitches.new = 1
    assert glitches.flood(9.9, 1) == "5 anomalies within 10 s, beside 1 NOTIFY"
    glitches.new = 100
    assert glitches.flood(9.9, 1) == ""  # told already
    glitches.new = 4
    assert glitches.flood(10.0, 1) == "4 anomalies within 10 s, beside 0 NOTIFYs"
