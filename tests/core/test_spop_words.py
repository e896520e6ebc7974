"""What of a HELLO or DISCONNECT is SPOP's own words, and so may be shown where payloads are not."""

import pytest

from spoe_guard.core.payloads.spop_words import KEYS, is_spops
from spoe_guard.wire import typed_data


@pytest.mark.parametrize(
    ("key", "value", "may"),
    [
        (b"version", b"2.0", True),
        (b"version", b"99.99", True),
        (b"version", b"100.0", True),
        (b"version", b"100.00", False),
        (b"version", b"2", False),
        (b"version", b"2.x", False),
        (b"version", b".0", False),
        (b"version", 2, False),
        (b"supported-versions", b"1.0, 2.0,", True),
        (b"supported-versions", b"2.0,secret", False),
        (b"capabilities", b"", True),
        (b"capabilities", b"pipelining , async,fragmentation", True),
        (b"capabilities", b"pipelining,secret", False),
        (b"capabilities", b"\xff", False),
        (b"max-frame-size", 16380, True),
        (b"max-frame-size", b"secret", False),
        (b"healthcheck", True, True),
        (b"status-code", 4, True),
        (b"message", b"normal", False),
        (b"engine-id", b"e1", False),
        (b"cookie", b"2.0", False),
        (b"cookie", 5, False),
    ],
)
def test_words_and_numbers_of_spop_may_be_shown_and_nothing_else(key: bytes, value: typed_data.Value, may: bool) -> None:
    assert is_spops(key, value) == may
    assert (key in KEYS) == (key != b"cookie")
