"""Variable-length integers of SPOP and the peers protocol.

The encoding is bijective: each 64-bit value has exactly one encoding (every continuation byte starts where the shorter form
ends). No value has a longer second encoding, so the raw bytes of an id are as good a key as its value.

Source: SPOE.txt 3.1; HAProxy include/haproxy/intops.h, ``encode_varint`` and ``decode_varint``.
"""

from spoe_guard.wire import walk


def encode(value: int) -> bytes:
    """Return the encoding of ``value``, 1 to 10 bytes.

    Raises:
        ValueError: ``value`` is not in 0..2^64-1. Negative integers travel as their 64-bit two's complement.
    """
    if not 0 <= value <= walk.MAX_VALUE:
        raise ValueError(f"varint out of range: {value}")
    if value < 240:
        return bytes((value,))
    out = bytearray((0xF0 | (value & 0x0F),))
    rest = (value - 240) >> 4
    while rest >= 128:
        out.append(0x80 | (rest & 0x7F))
        rest = (rest - 128) >> 7
    out.append(rest)
    return bytes(out)


def decode(buf: bytes, pos: int, end: int) -> tuple[int, int]:
    """Return (value, position behind it), or (0, ``walk.INCOMPLETE`` or ``walk.BAD``)."""
    after = walk.varint_end(buf, pos, end)
    if after < 0:
        return 0, after
    value = buf[pos]
    shift = 4
    for at in range(pos + 1, after):
        value += buf[at] << shift
        shift += 7
    return value, after
