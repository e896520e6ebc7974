"""HAProxy and a healthy agent: what the guard leaves unchanged, and the ways to connect it."""

import dataclasses

import pytest

from spoe_guard.lab import frames
from spoe_guard.lab.agent import Script
from spoe_guard.lab.misbehaviour import MISBEHAVIOURS, End
from spoe_guard.wire import frame, kv
from tests.integration.haproxy import SPOP_MODE_FROM, Options, wait_until

PATHS = [f"/{i}" for i in range(5)]


def first_frame(stream):
    return frame.parse(bytes(stream[: 4 + int.from_bytes(stream[:4], "big")]))


def without(stream, its_disconnect):
    """Return ``stream`` without the DISCONNECT that must stand at its end."""
    text = frames.disconnect(its_disconnect)
    assert stream.endswith(text)
    return stream[: -len(text)]


def between_taps(stage, script=None, **how):
    """Return the tap in front of an agent, the guard, and the tap in front of that."""
    agent = stage.agent(script)
    inner = stage.tap(agent.address)
    guard = stage.guard(inner.address, **how)
    return inner, guard, stage.tap(guard.address)


def test_behind_the_handshake_a_healthy_pair_is_passed_through_byte_for_byte(stage):
    inner, guard, outer = between_taps(stage)
    haproxy = stage.haproxy(outer.address)
    assert [haproxy.get(path).verdict for path in PATHS] == PATHS
    haproxy.soft_stop()
    assert haproxy.wait_dead(5) == 0
    wait_until(lambda: inner.ended == outer.ended == len(outer.to_agent), "every connection ended")
    to_agent, to_haproxy = inner.to_agent[0], inner.to_haproxy[0]
    if haproxy.version >= SPOP_MODE_FROM:  # it resets, and the DISCONNECTs are between the guard and the agent
        to_agent = without(to_agent, frame.HAPROXY_DISCONNECT)
        to_haproxy = without(to_haproxy, frame.AGENT_DISCONNECT)
    answered, told = first_frame(to_haproxy), first_frame(outer.to_haproxy[0])
    assert outer.to_haproxy[0][len(told.raw) :] == to_haproxy[len(answered.raw) :]
    assert told.raw.replace(b"\x18pipelining,fragmentation", b"\x0apipelining")[4:] == answered.raw[4:]
    offered, passed = first_frame(outer.to_agent[0]), first_frame(inner.to_agent[0])
    assert outer.to_agent[0][len(offered.raw) :] == to_agent[len(passed.raw) :]
    assert offered.raw.replace(b"\x10pipelining,async", b"\x0apipelining")[4:] == passed.raw[4:]  # `capabilities:`
    assert guard.anomalies() == {}
    assert guard.metric("spoe_guard_frames_total", type="notify") == guard.metric("spoe_guard_frames_total", type="ack") == 5


def in_one_write(misbehaviour):
    """Return it with all its bytes in one write: HAProxy could answer the first of two, and what comes then is late."""

    def play(acks):
        steps = misbehaviour.play(acks)
        text = b"".join(step for step in steps if not isinstance(step, End))
        return [text, *(step for step in steps if isinstance(step, End))]

    return dataclasses.replace(misbehaviour, play=play)


@pytest.mark.parametrize(
    ("name", "counted"),
    [
        ("disconnect_then_acks", {"disconnect_before_ack": 1, "ack_after_disconnect": 1}),
        ("stray_ack", {"unmatched_ack": 1}),
        ("ack_without_fin", {"missing_fin": 1}),
        ("ack_cut_in_half", {"truncated_frame": 1, "disconnect_missing": 1, "notify_unanswered": 1}),
    ],
)
def test_observing_changes_no_byte_and_counts_what_it_would_have_done(stage, name, counted):
    inner, guard, outer = between_taps(stage, Script(in_one_write(MISBEHAVIOURS[name]), on_notify=3), mode="observe")
    haproxy = stage.haproxy(outer.address)
    seen = [haproxy.get(path) for path in PATHS]
    haproxy.soft_stop()
    assert haproxy.wait_dead(5) == 0
    wait_until(lambda: inner.ended == outer.ended == len(outer.to_agent), "every connection ended")
    assert inner.to_agent == outer.to_agent
    if haproxy.version < SPOP_MODE_FROM:
        assert inner.to_haproxy == outer.to_haproxy
    else:  # it resets over a DISCONNECT, and what is on its way to it is lost
        assert all(text.startswith(heard) for text, heard in zip(inner.to_haproxy, outer.to_haproxy, strict=True))
    lost = "" if name == "stray_ack" and haproxy.version < SPOP_MODE_FROM else "/2"
    assert [each.verdict for each in seen] == ["" if path == lost else path for path in PATHS]
    if name == "ack_without_fin" and haproxy.version < SPOP_MODE_FROM:
        counted = counted | {"haproxy_refused": 1}  # it takes that for a fragment
    assert guard.anomalies(applied=False) == counted
    assert guard.anomalies(applied=True) == {}


def test_a_health_check_stays_up_and_goes_down_with_the_agent(stage):
    agent = stage.agent_process()
    guard = stage.guard(agent.address)
    haproxy = stage.haproxy(guard.address, Options(check=True))

    def status():
        rows = [row.split(",") for row in haproxy.show("show stat").splitlines()]
        return next(dict(zip(rows[0], row, strict=False)) for row in rows if row[:2] == ["agents", "agent"])

    wait_until(lambda: guard.metric("spoe_guard_connections_total") >= 10, "ten health checks", 5)
    assert (status()["status"], status()["chkdown"]) == ("UP", "0")
    assert guard.anomalies() == {}
    agent.kill()
    wait_until(lambda: status()["status"] == "DOWN", "DOWN without an agent", 5)
    stage.agent_process(port=agent.port)
    wait_until(lambda: status()["status"] == "UP", "UP with the next agent", 5)


def test_the_agent_hears_the_health_check_as_haproxy_says_it(stage):
    agent = stage.agent()
    stage.haproxy(stage.guard(agent.address).address, Options(check=True))
    wait_until(lambda: agent.agent.received and agent.agent.received[0], "a health check came")
    assert agent.agent.received[0][0].raw == frames.healthcheck_hello()


def test_unix_sockets_on_both_sides(stage):
    agent = stage.agent(Script(MISBEHAVIOURS["disconnect_then_acks"], on_notify=3), unix=True)
    guard = stage.guard(agent.address, listen=f"unix:{stage.folder()}/guard.sock")
    assert guard.address.startswith("unix@")
    haproxy = stage.haproxy(guard.address)
    assert [haproxy.get(path).verdict for path in PATHS] == PATHS
    assert guard.anomalies() == {"disconnect_before_ack": 1, "ack_after_disconnect": 1}
    assert len(agent.agent.received) == 2  # one connection before the DISCONNECT, one behind it


def test_the_lab_says_hello_as_this_haproxy_does(stage):
    """Byte for byte, but for the engine-id, which is made anew for every process."""
    agent = stage.agent()
    haproxy = stage.haproxy(agent.address)
    assert haproxy.get("/x").verdict == "/x"
    hello = agent.agent.received[0][0]
    pairs, _ = kv.parse(hello.raw, hello.payload_at, len(hello.raw))
    assert pairs[-1].name == b"engine-id"
    family = frames.Family.MUX if haproxy.version >= SPOP_MODE_FROM else frames.Family.APPLET
    assert hello.raw == frames.haproxy_hello(family, engine_id=pairs[-1].value)


def test_the_lab_says_hello_as_a_health_check_of_this_haproxy_does(stage):
    agent = stage.agent()
    stage.haproxy(agent.address, Options(check=True))
    wait_until(lambda: agent.agent.received and agent.agent.received[0], "a health check came")
    assert agent.agent.received[0][0].raw == frames.healthcheck_hello()
