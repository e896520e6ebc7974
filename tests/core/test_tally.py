import pytest

from spoe_guard.core.tally import ACK_BUCKETS, UNKNOWN_TYPE, Tally
from spoe_guard.wire.frame import FrameType

CASES = [(0.0, 0), (0.0005, 0), (0.00051, 1), (0.25, 8), (5.0, 12), (5.0001, 13), (1e9, 13)]


@pytest.mark.parametrize(("seconds", "bucket"), CASES)
def test_an_ack_is_counted_in_the_bucket_whose_bound_it_keeps(seconds: float, bucket: int) -> None:
    tally = Tally()
    tally.observe_ack(seconds)
    assert tally.ack_buckets == [int(at == bucket) for at in range(len(ACK_BUCKETS) + 1)]
    assert (tally.ack_count, tally.ack_seconds) == (1, seconds)


def test_every_type_has_its_counter_and_those_nobody_knows_have_one() -> None:
    tally = Tally()
    assert tally.frames_to_agent == tally.frames_to_haproxy == dict.fromkeys([*map(int, FrameType), UNKNOWN_TYPE], 0)
    assert tally.frames_to_agent is not tally.frames_to_haproxy
