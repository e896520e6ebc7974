"""The hot lane accepts only frames that the readable path forwards unchanged, and stops before any other."""

import pytest

from spoe_guard.core.conversation.ledger import Fate, History, Ledger
from spoe_guard.core.lane import walk_acks, walk_notifies
from spoe_guard.core.terms.tally import Tally
from spoe_guard.wire.frame import FrameType
from tests.core import frames
from tests.core.frames import MESSAGE, SET_VAR, UNSET_VAR, ack, notify, raw

SIZE = 1000
MOST = 3


class Fast:
    """One buffer under the walks."""

    def __init__(self, *opened: str) -> None:
        self.tally = Tally()
        self.ledger = Ledger(History(self.tally))
        self.ledger.size = SIZE
        self.ledger.longest_ack = SIZE - 100
        for at in opened:
            self.ledger.add(ids(at), 1.0)

    def notifies(self, buf: bytes, pos: int = 0, end: int | None = None) -> int:
        return walk_notifies(self.ledger, self.tally, buf, pos, len(buf) if end is None else end, MOST, 3.0)

    def acks(self, buf: bytes, pos: int = 0, end: int | None = None) -> int:
        return walk_acks(self.ledger, self.tally, buf, pos, len(buf) if end is None else end, 3.0)


def ids(at: str) -> bytes:
    return next(frames.cut(ack(at))).ids


NOT_ORDINARY_NOTIFIES = {
    "nothing": b"",
    "cut off": notify()[:-1],
    "only a header": notify()[:10],
    "a runt": raw(b"\3\0\0\0\1\1"),
    "one byte too long": frames.sized(3, SIZE + 1),
    "no message": notify(payload=b""),
    "without FIN": notify(flags=0),
    "aborted": notify(flags=3),
    "a message cut short": notify(payload=MESSAGE[:-1]),
    "rubbish behind": notify(payload=MESSAGE + b"\1"),
    "ids that do not end": raw(b"\3\0\0\0\1" + frames.ENDLESS),
    "ids beyond the frame": raw(b"\3\0\0\0\1\1\xff") + b"\1" * 20,
    "HAPROXY-HELLO": frames.haproxy_hello(),
    "HAPROXY-DISCONNECT": frames.haproxy_disconnect(),
    "an ACK": ack(),
}

NOT_ORDINARY_ACKS = {
    "nothing": b"",
    "cut off": ack()[:-1],
    "only a header": ack()[:10],
    "a runt": raw(b"\x67\0\0\0\1\1"),
    "one byte too long": frames.sized(103, SIZE - 100 + 1),
    "no action": ack(payload=b""),
    "without FIN": ack(flags=0),
    "aborted": ack(flags=3),
    "an action cut short": ack(payload=SET_VAR[:-1]),
    "rubbish behind": ack(payload=SET_VAR + b"\1"),
    "a zero byte behind unset-var": ack(payload=UNSET_VAR + b"\0" + SET_VAR),
    "a long name": ack(payload=SET_VAR + frames.LONG_NAME),
    "a process-wide variable": ack(payload=SET_VAR + frames.PROC),
    "a bad boolean": ack(payload=SET_VAR[:-1] + b"\x10"),
    "ids that do not end": raw(b"\x67\0\0\0\1" + frames.ENDLESS),
    "nobody's": ack("9.9"),
    "AGENT-HELLO": frames.agent_hello(),
    "AGENT-DISCONNECT": frames.agent_disconnect(),
    "a NOTIFY": notify(),
}


@pytest.mark.parametrize("odd", NOT_ORDINARY_NOTIFIES.values(), ids=NOT_ORDINARY_NOTIFIES)
def test_it_stops_in_front_of_a_notify_that_is_not_ordinary(odd: bytes) -> None:
    good = notify("7.1")
    fast = Fast()
    assert fast.notifies(good + odd) == len(good)
    assert list(fast.ledger) == [ids("7.1")]
    assert (fast.tally.frames_to_agent[FrameType.NOTIFY], fast.tally.open_notifies) == (1, 1)
    assert Fast().notifies(odd) == 0


@pytest.mark.parametrize("odd", NOT_ORDINARY_ACKS.values(), ids=NOT_ORDINARY_ACKS)
def test_it_stops_in_front_of_an_ack_that_is_not_ordinary(odd: bytes) -> None:
    good = ack("7.1")
    fast = Fast("1.1", "7.1")
    assert fast.acks(good + odd) == len(good)
    assert list(fast.ledger) == [ids("1.1")]
    assert fast.ledger.history.fate(ids("7.1")) is Fate.ANSWERED
    assert (fast.tally.frames_to_haproxy[FrameType.ACK], fast.tally.open_notifies) == (1, 1)
    assert (fast.tally.ack_count, fast.tally.ack_seconds) == (1, 2.0)
    assert Fast("1.1", "7.1").acks(odd) == 0


def test_a_frame_of_exactly_the_greatest_size_is_ordinary() -> None:
    assert Fast().notifies(frames.sized(3, SIZE)) == SIZE + 4
    assert Fast("1.1").acks(frames.sized(103, SIZE - 100)) == SIZE - 100 + 4


def test_it_opens_no_more_than_may_be_open() -> None:
    run = [notify(f"{number}.1") for number in range(1, MOST + 2)]
    fast = Fast()
    assert fast.notifies(b"".join(run)) == sum(map(len, run[:MOST]))
    assert len(fast.ledger) == MOST
    assert fast.notifies(run[-1]) == 0


@pytest.mark.parametrize("large", [1, 2])
def test_those_whose_ids_are_too_large_for_a_key_count_as_open(large: int) -> None:
    run = b"".join(notify(f"{number}.1") for number in range(1, 2 * MOST))
    fast = Fast(*(f"{(1 << 63) + number}.1" for number in range(large)))
    assert fast.notifies(run) == len(b"".join(notify(f"{number}.1") for number in range(1, MOST + 1 - large)))
    assert len(fast.ledger) == MOST
    fast.ledger.pop(ids(f"{1 << 63}.1"))
    assert fast.notifies(notify("999.1")) == len(notify("999.1"))


def test_it_stops_in_front_of_a_second_notify_with_the_same_ids() -> None:
    one = notify("1.1")
    assert Fast().notifies(one + one) == len(one)


def test_it_stops_in_front_of_a_second_ack() -> None:
    one = ack("1.1")
    assert Fast("1.1").acks(one + one) == len(one)


@pytest.mark.parametrize("spare", [0, 1, 11])
def test_it_reads_nothing_behind_the_end(spare: int) -> None:
    one, two = notify("1.1"), notify("3.1")
    buf = b"\xff" + one + two
    assert Fast().notifies(buf, 1, 1 + len(one) + spare) == 1 + len(one)
    one, two = ack("1.1"), ack("3.1")
    buf = b"\xff" + one + two
    assert Fast("1.1", "3.1").acks(buf, 1, 1 + len(one) + spare) == 1 + len(one)


LARGEST = "4328786159.33818863"  # the largest numbers of 5 and 4 bytes


def test_a_run_of_acks_with_keys_is_walked_in_one_go() -> None:
    many = [f"{number}.{frame_id}" for number in (0, 239, 240, 2**32, 4328786159) for frame_id in (1, 240, 33818863)]
    assert LARGEST in many
    fast = Fast(*many)
    run = b"".join(map(ack, many))
    assert fast.acks(run) == len(run)
    assert fast.tally.ack_count == len(many)
    assert not fast.ledger


@pytest.mark.parametrize("at", ["4328786160.1", "1.33818864", f"{2**64 - 1}.{2**64 - 1}", "0.0"])
def test_ids_too_large_for_a_key_are_left_to_the_readable_path(at: str) -> None:
    assert Fast(at).acks(ack(at)) == 0
    assert Fast().notifies(notify(at)) == 0
    assert Fast(at).ledger.oldest() == ids(at)
