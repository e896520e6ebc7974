"""Numbers formatted for people."""

import pytest

from spoe_guard.observe.live import words

CASES = [
    (words.count, None, "\N{EN DASH}"),
    (words.count, 0, "0"),
    (words.count, 0.25, "0.25"),
    (words.count, 7.0, "7"),
    (words.count, 9.54, "9.5"),
    (words.count, 10.4, "10"),
    (words.count, 9999, "9999"),
    (words.count, 10_000, "10k"),
    (words.count, 12_345, "12.3k"),
    (words.count, 3_400_000, "3.4M"),
    (words.count, 2e9, "2G"),
    (words.per_s, 1.5, "1.5/s"),
    (words.per_s, None, "\N{EN DASH}"),
    (words.seconds, None, "\N{EN DASH}"),
    (words.seconds, 0.00082, "0.82 ms"),
    (words.seconds, 0.0418, "42 ms"),
    (words.seconds, 0.9999, "1000 ms"),
    (words.seconds, 1.24, "1.2 s"),
    (words.size, 999, "999 B"),
    (words.size, 1000, "1 kB"),
    (words.size, 2_790_000, "2.79 MB"),
    (words.size, 5e9, "5 GB"),
    (words.ago, -0.4, "0 s"),
    (words.ago, 59.4, "59 s"),
    (words.ago, 60, "1 min"),
    (words.ago, 7199, "1 h"),
    (words.ago, 86400 * 3, "3 d"),
    (words.pairs, "00ff1a", "00 ff 1a"),
    (words.pairs, "", ""),
]


@pytest.mark.parametrize(("write", "value", "text"), CASES, ids=[f"{case[0].__name__} {case[1]}" for case in CASES])
def test_words(write, value, text):
    assert write(value) == text


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ((0, 0, 0), ""),
        ((1, 0, 1), "enforce would have saved 1 answer"),
        ((214, 3, 300), "enforce would have saved 214 answers and HAProxy 3 times"),
        ((0, 1, 1), "enforce would have saved HAProxy once"),
        ((0, 0, 2), "enforce would have mended 2 anomalies, none of which cost an answer"),
    ],
)
def test_what_enforce_would_have_done(numbers, text):
    assert words.would_have(*numbers) == text


@pytest.mark.parametrize(
    ("utc", "text"), [("2026-03-01T03:14:07.120Z", "03:14:07"), ("2026-02-28T23:59:59.999Z", "02-28 23:59:59")]
)
def test_a_time_of_another_day_has_its_date(utc, text):
    assert words.clock(utc, "2026-03-01T10:00:00.000Z") == text
