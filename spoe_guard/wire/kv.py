"""Lists of named typed values: the payload of HELLO and DISCONNECT frames, and a message's arguments.

Source: SPOE.txt 3.1 (KV-LIST), 3.2.4 to 3.2.9.
"""

from spoe_guard.wire import typed_data, walk


class Pair:
    """One name and its value. ``type`` is a constant of ``typed_data``; ``raw``: the bytes of both as received."""

    __slots__ = ("name", "raw", "type", "value")

    def __init__(self, name: bytes, type_: int, value: typed_data.Value, raw: bytes = b"") -> None:
        self.name = name
        self.type = type_
        self.value = value
        self.raw = raw or typed_data.encode_string(name) + typed_data.encode_value(type_, value)

    def __repr__(self) -> str:
        return f"<Pair {self.name!r} {self.type} {self.value!r}>"


def parse(buf: bytes, pos: int, end: int, most: int | None = None) -> tuple[list[Pair], int]:
    """Return the pairs up to ``end`` and the position of the first that cannot be read, or that is not read.

    The position equals ``end`` if the list is well-formed; the pairs before it are returned in any case. ``most``: so many pairs
    are read, None for all.
    """
    pairs: list[Pair] = []
    while pos < end and len(pairs) != most:
        after = walk.pair_end(buf, pos, end)
        if after < 0:
            break
        name, at = typed_data.decode_string(buf, pos, end)
        value, _ = typed_data.decode_value(buf, at, end)
        pairs.append(Pair(name, buf[at] & typed_data.TYPE_MASK, value, buf[pos:after]))
        pos = after
    return pairs, pos


def encode(pairs: list[Pair]) -> bytes:
    """Return the list's bytes; a parsed pair is written as received."""
    return b"".join(pair.raw for pair in pairs)
