"""The rate limit for repeated log lines."""

from spoe_guard.observe.limit import SUMMARY_S, RateLimit


def test_the_rate_passes_at_once_and_refills_one_by_one(clock):
    limit: RateLimit[str] = RateLimit(10, 1.0, clock)
    assert [limit.allows("a") for _ in range(11)] == [True] * 10 + [False]
    clock.now += 0.125
    assert [limit.allows("a") for _ in range(2)] == [True, False]
    clock.now += 3600
    assert [limit.allows("a") for _ in range(11)] == [True] * 10 + [False]


def test_a_rate_per_minute_refills_per_minute(clock):
    limit: RateLimit[str] = RateLimit(2, 60.0, clock)
    assert [limit.allows("a") for _ in range(3)] == [True, True, False]
    clock.now += 29
    assert not limit.allows("a")
    clock.now += 2
    assert limit.allows("a")


def test_to_ask_for_a_token_takes_none(clock):
    limit: RateLimit[str] = RateLimit(1, 1.0, clock)
    assert [limit.has("a"), limit.has("a"), limit.allows("a"), limit.has("a")] == [True, True, True, False]
    clock.now += 0.999
    assert not limit.has("a")
    clock.now += 0.001
    assert limit.has("a")


def test_keys_have_buckets_of_their_own(clock):
    limit: RateLimit[str] = RateLimit(1, 1.0, clock)
    assert [limit.allows(key) for key in ("a", "b", "a", "b")] == [True, True, False, False]


def test_what_is_left_out_is_summed_up_once_when_due(clock):
    limit: RateLimit[str] = RateLimit(1, 1.0, clock)
    for _ in range(5):
        limit.allows("a")
    limit.allows("b")
    clock.now += SUMMARY_S - 0.1
    assert list(limit.summaries()) == []
    clock.now += 0.1
    assert list(limit.summaries()) == [("a", 4, SUMMARY_S)]
    assert list(limit.summaries()) == []


def test_a_new_rate_holds_at_once_and_keeps_suppressed_counts(clock):
    limit: RateLimit[str] = RateLimit(1, 1.0, clock)
    assert [limit.allows("a") for _ in range(2)] == [True, False]
    limit.set(4, 2.0)
    clock.now += 0.5
    assert [limit.allows("a") for _ in range(2)] == [True, False]
    assert [limit.allows("b") for _ in range(5)] == [True] * 4 + [False]
    assert [(key, count) for key, count, _ in limit.summaries(all_of_them=True)] == [("a", 2), ("b", 1)]


def test_at_the_end_everything_is_summed_up(clock):
    limit: RateLimit[str] = RateLimit(1, 1.0, clock)
    for _ in range(3):
        limit.allows("a")
    limit.leave_out("b", 7)
    clock.now += 0.5
    assert list(limit.summaries(all_of_them=True)) == [("a", 2, 0.5), ("b", 7, 0.5)]
