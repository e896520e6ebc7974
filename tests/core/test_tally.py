import pytest

from spoe_guard.core.terms.tally import ACK_BUCKETS, UNKNOWN_TYPE, Tally, by_type
from spoe_guard.wire.frame import FrameType

CASES = [(0.0, 0), (0.00025, 0), (0.00026, 1), (0.0005, 1), (0.25, 9), (5.0, 13), (10.0, 14), (10.1, 15), (1e9, 15)]


@pytest.mark.parametrize(("seconds", "bucket"), CASES)
def test_an_ack_is_counted_in_the_bucket_whose_bound_it_keeps(seconds: float, bucket: int) -> None:
    tally = Tally()
    tally.observe_ack(seconds)
    assert list(tally.ack_buckets) == [int(at == bucket) for at in range(len(ACK_BUCKETS) + 1)]
    assert (tally.ack_count, tally.ack_seconds) == (1, seconds)


def test_every_type_has_its_counter_and_those_nobody_knows_have_one() -> None:
    tally = Tally()
    counts = dict.fromkeys([*map(int, FrameType), UNKNOWN_TYPE], 0)
    assert dict(by_type(tally.frames_to_agent)) == dict(by_type(tally.frames_to_haproxy)) == counts
    for number, type_ in enumerate(counts, 1):
        tally.frames_to_agent[type_] = counts[type_] = number
    assert dict(by_type(tally.frames_to_agent)) == counts
    assert tally.frames_to_agent is not tally.frames_to_haproxy


def test_an_ack_is_late_when_haproxy_no_longer_waited_for_it() -> None:
    tally = Tally()
    tally.observe_ack(1000.0)  # it is not known how long HAProxy waits
    tally.late_after = 0.5
    tally.observe_ack(0.5)
    assert tally.late_acks == 0
    tally.observe_ack(0.5001)
    assert tally.late_acks == 1
