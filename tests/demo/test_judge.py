"""When the demo does not go as announced, it names the point that failed."""

from dataclasses import replace

import pytest

from spoe_guard.demo import no_haproxy, story
from spoe_guard.demo.act import OTHERS, Act
from spoe_guard.demo.client import Seen
from spoe_guard.demo.haproxy import Program, Watch
from spoe_guard.demo.no_haproxy import Outcome

PROGRAM = Program("/usr/sbin/haproxy", (2, 6), "HAProxy 2.6.12")
LOST = Seen(403)
NONE = Seen(0, failure="connection lost")
LAST_WORDS = "A bogus APPCTX [0x1] is spinning at 5937742 calls per second and refuses to die, aborting now!"


def allow(path):
    return Seen(200, f"allow {path}")


WITHOUT = Act([allow("/home"), LOST, LOST, NONE], Watch(1.0, 0.98, "SIGSEGV"), 0, NONE)
WITH = Act([allow("/home"), allow("/login"), allow("/cart"), LOST], Watch(5.0, 0.001), OTHERS, allow("/home"))


def test_a_story_that_came_out_as_told_is_not_complained_of():
    assert story.judge(PROGRAM, WITHOUT, LAST_WORDS, WITH) == []


def test_a_haproxy_with_the_bug_fixed_does_not_fail_the_story():
    assert story.judge(PROGRAM, replace(WITHOUT, watch=Watch(5.0, 0.0)), "", WITH) == []


@pytest.mark.parametrize(
    ("without", "message", "complaint"),
    [
        (replace(WITHOUT, watch=Watch(5.0, 0.9)), "", "burns CPU, but did not die"),
        (WITHOUT, "", "not of the bug of this story"),
        (replace(WITHOUT, seen=[NONE, LOST, LOST, NONE]), LAST_WORDS, "not even the healthy request"),
        (replace(WITHOUT, seen=[*WITH.seen[:3], NONE]), LAST_WORDS, "no answer was lost"),
    ],
)
def test_what_went_otherwise_without_the_guard_is_told(without, message, complaint):
    [told] = story.judge(PROGRAM, without, message, WITH)
    assert complaint in told


@pytest.mark.parametrize(
    ("with_it", "complaint"),
    [
        (replace(WITH, watch=Watch(1.0, 0.9, "SIGSEGV")), "HAProxy died"),
        (replace(WITH, watch=Watch(5.0, 0.06)), "burns CPU"),
        (replace(WITH, seen=[*WITH.seen[:2], LOST, LOST]), "an answer was lost"),
        (replace(WITH, seen=[*WITH.seen[:2], allow("/login"), LOST]), "an answer was lost"),  # one of another request
        (replace(WITH, afterwards=NONE), "an answer was lost"),
        (replace(WITH, seen=[*WITH.seen[:3], NONE]), "was not told so"),
        (replace(WITH, others=OTHERS - 1), "other clients were cut off"),
    ],
)
def test_what_went_otherwise_with_the_guard_is_told(with_it, complaint):
    [told] = story.judge(PROGRAM, WITHOUT, LAST_WORDS, with_it)
    assert complaint in told


def test_without_a_haproxy_every_outcome_counts():
    without = [Outcome.ANSWER, Outcome.LOST, Outcome.LOST, Outcome.BROKEN, Outcome.ANSWER]
    with_it = [Outcome.ANSWER, Outcome.ANSWER, Outcome.ANSWER, Outcome.DISCONNECT, Outcome.ANSWER]
    assert no_haproxy.judge(without, with_it) == []
    for at in range(5):
        for other in set(Outcome) - {without[at]}:
            assert len(no_haproxy.judge([*without[:at], other, *without[at + 1 :]], with_it)) == 1
        for other in set(Outcome) - {with_it[at]}:
            assert len(no_haproxy.judge(without, [*with_it[:at], other, *with_it[at + 1 :]])) == 1
