"""The agents of test_hazards_without_guard.py behind the guard: HAProxy stays up, and every answer counts.

The scenes are played side by side, since each one ends with five seconds in which HAProxy, and the guard, must be at rest.
"""

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Semaphore

import pytest

from spoe_guard.lab.agent import Script
from spoe_guard.lab.misbehaviour import MISBEHAVIOURS
from tests.integration.haproxy import BOGUS_APPCTX, Seen
from tests.integration.scene import PATHS, SYNC, misbehave
from tests.integration.stage import Stage

AT_ONCE = 2  # scenes being set; the rest of their time they only watch
REST_S = 5.0
AT_REST = 0.05  # of one core

GONE = "269"  # 256 + 13 (out of resources): the guard's word for an agent that is gone, and said at once
ONE_UNANSWERED = {"notify_unanswered": 1}
EXPECTED: dict[str, dict[str, int]] = {
    "zero_length_frame": {"runt_frame": 1, "disconnect_missing": 1, **ONE_UNANSWERED},
    "one_byte_frame": {"runt_frame": 1, "disconnect_missing": 1, **ONE_UNANSWERED},
    "disconnect_then_acks": {"disconnect_before_ack": 1, "ack_after_disconnect": 3},
    "acks_inside_disconnect": {"interleaved_frames": 1},
    "ack_cut_in_half": {"truncated_frame": 1, "disconnect_missing": 1, **ONE_UNANSWERED},
    "stray_ack": {"unmatched_ack": 1},
    "ack_without_fin": {"missing_fin": 3},
    "close_without_a_word": {"disconnect_missing": 1, **ONE_UNANSWERED},
    "reset_without_a_word": {"disconnect_missing": 1, **ONE_UNANSWERED},
    "ack_twice": {"duplicate_ack": 3},
    "disconnect_left_open": {"disconnect_before_ack": 1, "disconnect_status": 1, **ONE_UNANSWERED},
    "notify_from_agent": {"wrong_side_frame": 1},
    "unknown_type": {"unknown_frame_type": 1},
    "second_hello": {"hello_repeated": 1},
    "wrapping_length": {"bad_varint": 1, **ONE_UNANSWERED},
}
# What the client of the one NOTIFY that was not answered sees.
UNANSWERED: dict[str, set[str]] = {
    "zero_length_frame": {GONE},
    "one_byte_frame": {GONE},
    "ack_cut_in_half": {GONE},
    "close_without_a_word": {GONE},
    "reset_without_a_word": {GONE},
    "disconnect_left_open": {GONE},
    "wrapping_length": {"269"},  # the agent lives, and HAProxy is told
}


@dataclass
class Watched:
    """What was seen of one scene, after five seconds at rest."""

    seen: list[Seen]
    answered: set[str]
    after: Seen
    anomalies: Counter[str]
    alive: bool
    haproxy_share: float
    guard_share: float
    output: str = ""


def watch(folder: Path, name: str, settling: Semaphore, give_up: str = "0", settings: dict[str, str] | None = None) -> Watched:
    """Set the scene, rest, and take down what there is to see."""
    with Stage(folder) as stage:
        with settling:
            scene = misbehave(stage, name, guarded=True, give_up=give_up, settings=settings)
        began, haproxy_s, guard_s = time.monotonic(), scene.haproxy.cpu_s(), scene.guard.cpu_s()
        time.sleep(REST_S)  # this is the measurement
        seconds = time.monotonic() - began
        watched = Watched(
            seen=scene.seen,
            answered=scene.answered(),
            after=scene.haproxy.get("/after"),
            anomalies=scene.guard.anomalies(),
            alive=scene.haproxy.alive(),
            haproxy_share=(scene.haproxy.cpu_s() - haproxy_s) / seconds,
            guard_share=(scene.guard.cpu_s() - guard_s) / seconds,
        )
    watched.output = stage.output
    return watched


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Watched]]]:
    """Every scene of ``EXPECTED``. Its own test says what went wrong with it, also what its books say at the end."""
    settling = Semaphore(AT_ONCE)
    with ThreadPoolExecutor(len(EXPECTED)) as pool:
        yield {name: pool.submit(watch, tmp_path_factory.mktemp(name), name, settling) for name in EXPECTED}


@pytest.mark.timeout(90)  # the first one waits for its place among all of them
@pytest.mark.parametrize("name", EXPECTED)
def test_haproxy_lives_and_every_answer_counts(scenes, name):
    scene = scenes[name].result()
    print(scene.output)
    assert scene.alive
    assert BOGUS_APPCTX not in scene.output
    assert scene.haproxy_share < AT_REST
    assert scene.guard_share < AT_REST
    answered = [path for path in PATHS if path in scene.answered]
    assert len(answered) == len(PATHS) - MISBEHAVIOURS[name].unanswered
    assert [each.verdict for each in scene.seen] == [path if path in answered else "" for path in PATHS]
    assert {each.error for each in scene.seen if not each.verdict} == UNANSWERED.get(name, set())
    assert scene.after.verdict == "/after"
    assert scene.anomalies == EXPECTED[name]


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory, scenes: object) -> Iterator[dict[str, Future[Watched]]]:
    """The same, behind the others, where agent links are replaced, and a NOTIFY without an answer fails alone."""
    settings = {"ROUTES__0__HAPROXY__SET_ON_ERROR": "error"}
    settling = Semaphore(AT_ONCE)
    with ThreadPoolExecutor(len(EXPECTED)) as pool:
        yield {name: pool.submit(watch, tmp_path_factory.mktemp(name), name, settling, "5s", settings) for name in EXPECTED}


@pytest.mark.timeout(90)
@pytest.mark.parametrize("name", EXPECTED)
def test_where_the_agents_link_is_replaced_haproxy_keeps_its_own(lasting, name):
    scene = lasting[name].result()
    print(scene.output)
    assert scene.alive
    assert BOGUS_APPCTX not in scene.output
    assert scene.haproxy_share < AT_REST
    assert scene.guard_share < AT_REST
    assert [each.verdict for each in scene.seen] == [path if path in scene.answered else "" for path in PATHS]
    assert {each.error for each in scene.seen if not each.verdict} <= {"257", "260"}  # set by an ACK of the guard
    assert scene.after.verdict == "/after"


def test_in_sync_mode_the_answer_behind_a_stray_ack_counts(stage):
    scene = misbehave(stage, "stray_ack", guarded=True, paths=PATHS[:1], options=SYNC)
    assert [each.verdict for each in scene.seen] == ["/0"]
    assert scene.haproxy.get("/after").verdict == "/after"
    assert scene.guard.anomalies() == {"unmatched_ack": 1}
    assert len(scene.agent.received) == 1  # HAProxy saw no reason to connect anew


def test_with_a_deadline_a_request_does_not_wait_for_a_hanging_agent(stage):
    agent = stage.agent(Script(MISBEHAVIOURS["hang"], on_notify=2))
    settings = {"ROUTES__0__ANSWER_DEADLINE": "200ms", "ROUTES__0__UNANSWERED": "empty-ack"}
    guard = stage.guard(agent.address, settings=settings)
    haproxy = stage.haproxy(guard.address)
    assert haproxy.get("/before").verdict == "/before"
    hung = haproxy.get("/hangs")
    # An ACK that sets nothing: the end of `timeout processing` would be an error.
    assert (hung.status, hung.verdict, hung.error) == (200, "", "")
    assert guard.metric("spoe_guard_unanswered_notifies_total", reason="deadline") == 1
    assert guard.metric("spoe_guard_synthesized_frames_total", type="ack", reason="answered") == 1
