"""Runs scripts in observe mode."""

from spoe_guard.core.terms.events import FrameAuthored
from tests.core.script import Talk

UP = """
    guard   starts        -> dial
    agent   up            -> nothing
"""
RUNNING = UP + "haproxy HAPROXY_HELLO -> ok\nagent AGENT_HELLO -> ok\n"


def observe(script: str, **named: bytes) -> Talk:
    talk = Talk(observe=True).play(script, **named)
    assert not [seen for seen in talk.anomalies if seen.applied], "nothing is ever applied"
    assert not [event for event in talk.events if isinstance(event, FrameAuthored)], "nothing is ever written"
    return talk


def everything_passed(talk: Talk) -> bool:
    return talk.written == {"to_agent": talk.said_by_haproxy, "to_haproxy": talk.said_by_agent}
