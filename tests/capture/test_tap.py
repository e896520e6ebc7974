"""The tap: frames cut out of whatever a session carries, however TCP cut it, and each of its bounds."""

import random
from typing import Any

import pytest

from spoe_guard.capture.tap import A_SECOND, KEPT_BYTES, WAITING, Tap
from spoe_guard.core.terms.anomalies import Action, Anomaly, Side
from spoe_guard.core.terms.events import AnomalySeen
from spoe_guard.core.terms.output import Output
from spoe_guard.lab import frames
from spoe_guard.net.witness import Track
from spoe_guard.wire import frame

NOTIFYS = [frames.notify(2 * number + 1, 1, b"/" + b"x" * number) for number in range(20)]
SOCK: Any = None


def tapped(*, met: bool = True) -> tuple[Tap, Track]:
    tap, track = Tap(), Track(7, Side.HAPROXY)
    if met:
        tap.met(track, SOCK)
    return tap, track


def raws(tap: Tap) -> list[bytes]:
    return [seen.raw for seen in tap.take()]


@pytest.mark.parametrize("seed", range(10))
def test_frames_come_whole_however_they_were_cut(seed):
    tap, track = tapped()
    chance = random.Random(seed)
    stream = b"".join(NOTIFYS)
    at = 0
    while at < len(stream):
        size = chance.choice((1, 2, 3, 5, 40, 200))
        tap.read(track, stream[at : at + size], 1.0, Output())
        at += size
    seen = tap.take()
    assert [each.raw for each in seen] == NOTIFYS
    assert {(each.number, each.side, each.link_id, each.at) for each in seen} == {(7, Side.HAPROXY, 0, 1.0)}
    assert tap.take() == []


def test_what_passes_on_the_lane_is_whole_and_puts_things_right():
    tap, track = tapped(met=False)
    tap.read(track, NOTIFYS[0][5:], 1.0, Output())  # in the middle of a frame
    assert raws(tap) == []
    tap.passed(track, NOTIFYS[1] + NOTIFYS[2], 1.0, 0)
    tap.read(track, NOTIFYS[3][:9], 1.0, Output())
    tap.read(track, NOTIFYS[3][9:], 1.0, Output())
    assert raws(tap) == NOTIFYS[1:4]


def test_an_open_connection_is_followed_from_a_frame_that_is_whole():
    tap, track = tapped(met=False)
    tap.read(track, NOTIFYS[0] + NOTIFYS[1][:9], 1.0, Output())
    tap.read(track, NOTIFYS[1][9:], 1.0, Output())
    assert raws(tap) == NOTIFYS[:2]


@pytest.mark.parametrize("length", [0, 6, 1 << 30])
def test_what_is_no_frame_is_not_followed(length):
    tap, track = tapped()
    tap.read(track, length.to_bytes(4, "big") + b"rest", 1.0, Output())
    tap.read(track, b"more", 1.0, Output())
    assert raws(tap) == []
    tap.passed(track, NOTIFYS[0], 1.0, 0)
    assert raws(tap) == NOTIFYS[:1]


def test_of_a_long_frame_the_beginning_is_kept():
    tap, track = tapped()
    long = frame.encode(frame.NOTIFY, 1, 1, b"x" * KEPT_BYTES)
    tap.read(track, long[:100], 1.0, Output())
    tap.read(track, long[100:] + NOTIFYS[0], 1.0, Output())
    first, second = tap.take()
    assert (first.length, first.raw, second.raw) == (len(long), long[:KEPT_BYTES], NOTIFYS[0])


def test_only_so_many_a_second_are_kept():
    tap, track = tapped()
    for _ in range(A_SECOND):
        tap.passed(track, NOTIFYS[0], 1.0, 0)
    assert (len(tap.take()), tap.left_out) == (A_SECOND, 0)
    tap.passed(track, NOTIFYS[0], 1.9, 0)
    tap.read(track, NOTIFYS[0], 1.9, Output())
    assert (tap.take(), tap.left_out) == ([], 2)
    tap.passed(track, NOTIFYS[0], 2.0, 0)
    assert len(tap.take()) == 1


def test_only_so_many_wait_until_they_are_taken():
    tap, track = tapped()
    for number in range(WAITING):
        tap.passed(track, NOTIFYS[0], 1.0 + number, 0)
    assert tap.left_out == 0
    tap.passed(track, NOTIFYS[1], 1000.0, 0)
    assert tap.left_out == 1
    seen = tap.take()
    assert (len(seen), seen[0].at, seen[-1].raw) == (WAITING, 2.0, NOTIFYS[1])


def test_anomalies_are_told_and_count_like_frames():
    tap, track = tapped()
    out = Output()
    anomaly = AnomalySeen(Anomaly.UNMATCHED_ACK, Side.AGENT, Action.DROP, "running")
    out.events = [anomaly]
    tap.note(7, Side.AGENT, 3, b"", 1.0, out)
    tap.read(track, b"", 1.0, out)
    assert [(each.number, each.side, each.anomaly) for each in tap.take()] == [(7, Side.AGENT, anomaly)] * 2
    assert not tap.wants(7, Anomaly.UNMATCHED_ACK, Action.DROP)


def test_a_session_that_is_over_is_forgotten():
    tap, _track = tapped()
    agents = Track(7, Side.AGENT, 2)
    tap.met(agents, SOCK)
    tap.lost(agents)
    tap.over(7)
    assert tap._cuts == {}
