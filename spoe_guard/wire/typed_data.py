"""Typed values: a byte of type (low nibble) and flags (high nibble), then the value.

Source: SPOE.txt 3.1 (typed data); HAProxy include/haproxy/spoe-t.h, ``spop_data_type``.
"""

import ipaddress
from typing import Final, TypeAlias

from spoe_guard.wire import varint, walk

NULL: Final = 0
BOOL: Final = 1
INT32: Final = 2
UINT32: Final = 3
INT64: Final = 4
UINT64: Final = 5
IPV4: Final = 6
IPV6: Final = 7
STR: Final = 8
BIN: Final = 9

INTEGER_TYPES: Final = frozenset((INT32, UINT32, INT64, UINT64))
TYPE_MASK: Final = 0x0F
FLAG_TRUE: Final = 0x10
TRUE_BYTE: Final = FLAG_TRUE | BOOL  # HAProxy reads true only from exactly this byte

Value: TypeAlias = bool | int | bytes | ipaddress.IPv4Address | ipaddress.IPv6Address | None


def decode_string(buf: bytes, pos: int, end: int) -> tuple[bytes, int]:
    """Return (the string's bytes, position behind it), or (b"", a negative fault)."""
    after = walk.string_end(buf, pos, end)
    if after < 0:
        return b"", after
    _, at = varint.decode(buf, pos, end)
    return buf[at:after], after


def decode_value(buf: bytes, pos: int, end: int) -> tuple[Value, int]:
    """Return (value, position behind it), or (None, a negative fault).

    Signed types come back signed, STR and BIN as bytes, addresses as ``ipaddress`` objects.
    """
    after = walk.value_end(buf, pos, end)
    if after < 0:
        return None, after
    kind = buf[pos] & TYPE_MASK
    if kind == NULL:
        return None, after
    if kind == BOOL:
        return buf[pos] == TRUE_BYTE, after
    if kind <= UINT64:
        number, _ = varint.decode(buf, pos + 1, end)
        if kind in (INT32, INT64) and number >= 1 << 63:
            number -= 1 << 64
        return number, after
    if kind == IPV4:
        return ipaddress.IPv4Address(buf[pos + 1 : after]), after
    if kind == IPV6:
        return ipaddress.IPv6Address(buf[pos + 1 : after]), after
    return decode_string(buf, pos + 1, end)


def encode_string(text: bytes) -> bytes:
    """Return ``text`` with its length in front."""
    return varint.encode(len(text)) + text


def encode_value(kind: int, value: Value = None) -> bytes:
    """Return ``value`` as typed data of ``kind`` (one of the constants above).

    Raises:
        ValueError: ``kind`` is unknown, or ``value`` is of another type than ``kind`` or out of range.
    """
    if kind == NULL and value is None:
        return bytes((NULL,))
    if kind == BOOL and isinstance(value, bool):
        return bytes((TRUE_BYTE if value else BOOL,))
    if kind in INTEGER_TYPES and isinstance(value, int):
        return bytes((kind,)) + varint.encode(value + (1 << 64) if value < 0 and kind in (INT32, INT64) else value)
    if kind == IPV4 and isinstance(value, ipaddress.IPv4Address):
        return bytes((kind,)) + value.packed
    if kind == IPV6 and isinstance(value, ipaddress.IPv6Address):
        return bytes((kind,)) + value.packed
    if kind in (STR, BIN) and isinstance(value, bytes):
        return bytes((kind,)) + encode_string(value)
    raise ValueError(f"no typed data of type {kind} for {value!r}")
