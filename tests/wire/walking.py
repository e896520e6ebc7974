"""Feeds a walker of the wire ring: whole frames, with other bytes before and after, and truncated at every byte."""

from collections.abc import Callable

Walker = Callable[[bytes, int, int], int]


def assert_walks(walk: Walker, encoded: bytes) -> None:
    """``walk`` passes over exactly ``encoded``, wherever it stands, and over none of its beginnings."""
    size = len(encoded)
    assert walk(encoded, 0, size) == size
    assert walk(b"\xff" + encoded + b"\xff\xff", 1, size + 3) == size + 1
    for cut in range(size):
        fault = walk(encoded[:cut], 0, cut)
        assert fault < 0, f"{encoded[:cut].hex()} is only the beginning of {encoded.hex()}"
        assert walk(encoded, 0, cut) == fault, "what lies behind the end was read"
