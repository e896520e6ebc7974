"""What HAProxy 2.6 makes of an agent that gets one thing wrong, and no guard in between.

Each test shows a symptom that test_haproxy_survives.py then shows the guard to take away: without these, those would
prove nothing. All of them were measured on Debian 12's HAProxy 2.6.12; it is the word on them.
"""

import pytest

from spoe_guard.wire import frame, kv
from tests.integration.haproxy import BOGUS_APPCTX, need_2_6
from tests.integration.scene import PATHS, SYNC, misbehave

DEAD_WITHIN_S = 5.0


@pytest.fixture(autouse=True)
def _symptoms_of_2_6():
    need_2_6("these are its symptoms")


@pytest.mark.parametrize("name", ["zero_length_frame", "one_byte_frame"])
def test_a_runt_and_a_close_end_the_whole_process(stage, name):
    """haproxy #2490: the applet spins until HAProxy's own watchdog aborts the process."""
    scene = misbehave(stage, name, guarded=False)
    assert scene.haproxy.wait_dead(DEAD_WITHIN_S) < 0
    assert BOGUS_APPCTX in scene.haproxy.log()
    assert "is spinning at" in scene.haproxy.log()
    assert sum(not each.verdict for each in scene.seen) == 1  # two were answered in front of the runt
    assert scene.haproxy.get("/after").status == 0


def test_a_length_that_wraps_ends_the_whole_process_at_once(stage):
    """haproxy bd03f0500: SIGSEGV while parsing the ACK, in 2.6.12-1+deb12u4 too; its clients get no response at all."""
    scene = misbehave(stage, "wrapping_length", guarded=False)
    assert scene.haproxy.wait_dead(DEAD_WITHIN_S) < 0
    assert [each.status for each in scene.seen].count(0) >= 1
    assert BOGUS_APPCTX not in scene.haproxy.log()


@pytest.mark.parametrize(
    ("name", "error"), [("disconnect_then_acks", "256"), ("acks_inside_disconnect", "259"), ("ack_without_fin", "256")]
)
def test_every_answer_that_the_agent_gave_is_lost(stage, name, error):
    """256: the agent's own status 0. 259: the bytes behind the DISCONNECT's header are taken for a length, too big."""
    scene = misbehave(stage, name, guarded=False)
    assert [(each.verdict, each.error) for each in scene.seen] == [("", error)] * len(PATHS)
    assert scene.haproxy.get("/after").verdict == "/after"


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("ack_cut_in_half", "257"),
        ("close_without_a_word", "257"),
        ("reset_without_a_word", "257"),
        ("disconnect_left_open", "256"),
        ("mute", "1"),
    ],
)
def test_only_what_was_not_answered_is_without_an_answer(stage, name, error):
    """Here HAProxy gets the good answers out in front of the fault; what is left to the guard is to keep it so."""
    scene = misbehave(stage, name, guarded=False)
    assert [each.error for each in scene.seen if not each.verdict] == [error]
    assert [each.verdict for each in scene.seen if each.verdict] == [
        path for path, each in zip(PATHS, scene.seen, strict=True) if each.verdict
    ]
    assert scene.haproxy.get("/after").verdict == "/after"


def test_behind_a_hanging_agent_the_next_request_stalls_too(stage):
    scene = misbehave(stage, "hang", guarded=False)
    assert [each.error for each in scene.seen if not each.verdict] == ["1"]
    after = scene.haproxy.get("/after")
    assert (after.verdict, after.error) == ("", "1")
    assert after.seconds >= 0.9  # all of `timeout processing`


def test_in_sync_mode_a_stray_ack_costs_the_answer_behind_it(stage):
    """HAProxy says DISCONNECT (12, frame-id not found); 256 is the status of the agent's reply to it."""
    scene = misbehave(stage, "stray_ack", guarded=False, paths=PATHS[:1], options=SYNC)
    assert [(each.verdict, each.error) for each in scene.seen] == [("", "256")]
    text = [got for got in scene.agent.received[0] if got.type == frame.HAPROXY_DISCONNECT]
    pairs, _ = kv.parse(text[0].raw, text[0].payload_at, len(text[0].raw))
    assert [pair.value for pair in pairs if pair.name == b"status-code"] == [12]
    assert scene.haproxy.get("/after").verdict == "/after"


@pytest.mark.parametrize("name", ["stray_ack", "ack_twice", "notify_from_agent", "unknown_type", "second_hello"])
def test_with_pipelining_haproxy_2_6_shrugs(stage, name):
    """Not every fault is a hazard on every HAProxy: 3.1 and later lose the answers behind some of these."""
    scene = misbehave(stage, name, guarded=False)
    assert [each.verdict for each in scene.seen] == list(PATHS)
    assert scene.haproxy.get("/after").verdict == "/after"
