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
