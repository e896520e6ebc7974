"""Variable-length integers as SPOP and the peers protocol write them.

The encoding is bijective: each 64-bit value has exactly one encoding (every continuation byte
starts where the shorter form ends), so there is no such thing as a longer spelling of a value,
and the raw bytes of an id are as good a key as its value.

Source: SPOE.txt 3.1; HAProxy include/haproxy/intops.h, ``encode_varint`` and ``decode_varint``.
"""

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mypy_extensions import i64  # an int of 64 bits: compiled, a position is then no object; else it is any int

MAX_BYTES: Final = 10  # a 64-bit value never needs more; a longer one would wrap in C
MAX_VALUE: Final = (1 << 64) - 1

INCOMPLETE: Final = -1  # in place of a position: the bytes end inside the integer
BAD: Final = -2  # in place of a position: longer than 10 bytes, or beyond 64 bits


def encode(value: int) -> bytes:
    """Return the encoding of ``value``, 1 to 10 bytes.

    Raises:
        ValueError: ``value`` is not in 0..2^64-1. Negative integers travel as their 64-bit two's complement.
    """
    if not 0 <= value <= MAX_VALUE:
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


def decode(buf: bytes, pos: "i64", end: "i64") -> tuple[int, "i64"]:
    """Return (value, position behind it), or (0, ``INCOMPLETE`` or ``BAD``)."""
    after = skip(buf, pos, end)
    if after < 0:
        return 0, after
    value = buf[pos]
    shift = 4
    for i in range(pos + 1, after):
        value += buf[i] << shift
        shift += 7
    return value, after


def skip(buf: bytes, pos: "i64", end: "i64") -> "i64":
    """Return the position behind the integer at ``pos``, or ``INCOMPLETE`` or ``BAD``."""
    if pos >= end:
        return INCOMPLETE
    if buf[pos] < 240:
        return pos + 1
    cap = pos + MAX_BYTES
    at = pos + 1
    while at < end and at < cap:
        if buf[at] < 128:
            at += 1
            if at == cap and _wraps(buf, pos):
                return BAD
            return at
        at += 1
    if at < cap:
        return INCOMPLETE
    return BAD


def _wraps(buf: bytes, pos: "i64") -> bool:
    """Whether the ten bytes at ``pos`` stand for more than 64 bits (C would wrap, HAProxy commit bd03f0500)."""
    value = buf[pos]
    for i in range(1, MAX_BYTES):
        value += buf[pos + i] << (7 * i - 3)
    return value > MAX_VALUE
