"""Finds the ends of the parts of a frame: used for every frame, and the only definition of a readable one.

Each function takes a buffer, a position and the end of what may be read, and returns the position behind the part that begins
there, or a negative fault. None creates an object. The other modules of this package decode values.

Compiled by Cython, see the .pxd: a position is a C number, and all of this is one piece of machine code.

Source: SPOE.txt 3.1 (varint, typed data, lists), 3.2 (frame), 3.2.6 (NOTIFY), 3.2.7 and 3.4 (ACK, actions); HAProxy
``decode_varint`` (intops.h), ``spoe_decode_action_set_var`` and ``spoe_decode_action_unset_var``.
"""

from typing import Final

OK: Final = 0
INCOMPLETE: Final = -1  # the bytes end inside an integer
BAD: Final = -2  # an integer longer than 10 bytes, or beyond 64 bits; a string longer than the remaining bytes
MALFORMED: Final = -3  # an undefined type, or a value beyond the end
EMPTY: Final = -4  # no action at all
BAD_VALUE: Final = -5  # a NULL, or a boolean whose type byte HAProxy reads as something else
SPECIAL: Final = -6  # a readable action on a variable it should not touch: a process-wide one, or one with a long name

MAX_VARINT: Final = 10  # bytes; a 64-bit value never needs more, and a longer one would wrap in C
MAX_VALUE: Final = (1 << 64) - 1

SET_VAR: Final = 1
UNSET_VAR: Final = 2

SCOPE_PROC: Final = 0
SCOPE_SESS: Final = 1
SCOPE_TXN: Final = 2
SCOPE_REQ: Final = 3
SCOPE_RES: Final = 4

# HAProxy writes "scope.prefix.name" into varname[64] with snprintf. Until 23a2811b6 it then used the untruncated length, beyond
# the end of the buffer (spoe_set_var, spoe_unset_var, the same in flt_spoe.c of every version); since then it ignores the action.
# The prefix is the agent's id or `option var-prefix`, not known here, and at least one byte.
VAR_NAME_BYTES: Final = 63
LONGEST_NAMES: Final = tuple(VAR_NAME_BYTES - len(f"{scope}.p.") for scope in ("proc", "sess", "txn", "req", "res"))

# The same as C numbers: compiled, a public name is an object.
_MAX_VARINT = MAX_VARINT
_SET_VAR = SET_VAR
_UNSET_VAR = UNSET_VAR
_SCOPE_PROC = SCOPE_PROC
_SCOPE_SESS = SCOPE_SESS
_SCOPE_RES = SCOPE_RES
_LONGEST_SESS = LONGEST_NAMES[SCOPE_SESS]
_LONGEST = LONGEST_NAMES[SCOPE_TXN]  # the names of the other scopes have the same length
_OK = OK
_INCOMPLETE = INCOMPLETE
_BAD = BAD
_MALFORMED = MALFORMED
_EMPTY = EMPTY
_BAD_VALUE = BAD_VALUE
_SPECIAL = SPECIAL


# --- the frame's head -------------------------------------------------------------------------------------------------


def length_at(buf: bytes, pos: int) -> int:
    """Return the announced length at ``pos``; four bytes must be there."""
    first = buf[pos]  # compiled, an unnamed byte is too small a number to be shifted
    second = buf[pos + 1]
    third = buf[pos + 2]
    return first << 24 | second << 16 | third << 8 | buf[pos + 3]


def whole_end(buf: bytes, pos: int, end: int, kind: int, size: int) -> int:
    """Return the position behind the frame at ``pos`` if it has that type, is complete, and has at most ``size`` bytes.

    ``size`` excludes the length prefix. 0 for any other frame, without FIN, or with another flag.
    """
    if end - pos < 11 or buf[pos + 4] != kind or buf[pos + 8] != 1 or buf[pos + 7] != 0:
        return 0
    if buf[pos + 5] != 0 or buf[pos + 6] != 0:
        return 0
    length = length_at(buf, pos)
    after = pos + 4 + length
    return after if 7 <= length <= size and after <= end else 0


def ids_end(buf: bytes, pos: int, end: int) -> int:
    """Return the offset behind the stream-id and frame-id that start at ``pos``."""
    after = varint_end(buf, pos, end)
    return after if after < 0 else varint_end(buf, after, end)


def pack_ids(buf: bytes, pos: int, end: int) -> int:
    """Return the stream-id and frame-id at ``pos`` and their length as one number: 33, 26 and 4 bits of it.

    0 if they do not end before ``end``, or if the first has more than 5 bytes or the second more than 4: HAProxy's are never
    that long. Different ids give different numbers.
    """
    if pos >= end:
        return 0
    stream_id = buf[pos]
    at = pos + 1
    if stream_id >= 240:
        shift = 4
        digit = 128
        while digit >= 128:
            if at >= end or shift > 25:
                return 0
            digit = buf[at]
            stream_id += digit << shift
            shift += 7
            at += 1
    if at >= end:
        return 0
    frame_id = buf[at]
    at += 1
    if frame_id >= 240:
        shift = 4
        digit = 128
        while digit >= 128:
            if at >= end or shift > 18:
                return 0
            digit = buf[at]
            frame_id += digit << shift
            shift += 7
            at += 1
    return stream_id << 30 | frame_id << 4 | (at - pos)


# --- values -----------------------------------------------------------------------------------------------------------


def varint_end(buf: bytes, pos: int, end: int) -> int:
    """Return the position behind the integer at ``pos``, or ``INCOMPLETE`` or ``BAD``."""
    if pos >= end:
        return _INCOMPLETE
    if buf[pos] < 240:
        return pos + 1
    cap = pos + _MAX_VARINT
    at = pos + 1
    while at < end and at < cap:
        if buf[at] < 128:
            at += 1
            if at == cap and _wraps(buf, pos):
                return _BAD
            return at
        at += 1
    return _INCOMPLETE if at < cap else _BAD


def _wraps(buf: bytes, pos: int) -> bool:
    """Whether the ten bytes at ``pos`` encode more than 64 bits (C would wrap, HAProxy commit bd03f0500)."""
    value = int(buf[pos])  # unbounded: compiled, a C number would also lose the bits beyond 64
    for at in range(1, MAX_VARINT):
        value += int(buf[pos + at]) << (7 * at - 3)
    return value > MAX_VALUE


def string_end(buf: bytes, pos: int, end: int) -> int:
    """Return the position behind the length-prefixed string at ``pos``.

    The fault is the varint's own, or ``BAD`` for a length beyond what is left (the wrap that crashes HAProxy before bd03f0500
    is a special case of it).
    """
    if pos >= end:
        return _INCOMPLETE
    length = buf[pos]
    after = pos + 1
    if length >= 240:
        after = varint_end(buf, pos, end)
        if after < 0:
            return after
        if after - pos > 5:  # more than 2^32: no buffer is that large
            return _BAD
        shift = 4
        for at in range(pos + 1, after):
            digit = buf[at]
            length += digit << shift
            shift += 7
    return after + length if length <= end - after else _BAD


def value_end(buf: bytes, pos: int, end: int) -> int:
    """Return the position behind the typed value at ``pos``."""
    if pos >= end:
        return _MALFORMED
    kind = buf[pos] & 0x0F
    if kind <= 1:  # NULL, BOOL
        return pos + 1
    if kind >= 8:  # STR, BIN
        return string_end(buf, pos + 1, end) if kind <= 9 else _MALFORMED
    if kind <= 5:  # the four kinds of number
        return varint_end(buf, pos + 1, end)
    after = pos + (5 if kind == 6 else 17)  # IPV4, IPV6
    return after if after <= end else _MALFORMED


# --- lists ------------------------------------------------------------------------------------------------------------


def pair_end(buf: bytes, pos: int, end: int) -> int:
    """Return the position behind the name and value at ``pos``."""
    after = string_end(buf, pos, end)
    return after if after < 0 else value_end(buf, after, end)


def message_end(buf: bytes, pos: int, end: int) -> int:
    """Return the position behind the message at ``pos``: a name, a number of arguments, and the arguments."""
    pos = string_end(buf, pos, end)
    if pos < 0:
        return pos
    if pos >= end:
        return _MALFORMED
    count = buf[pos]
    pos += 1
    while count > 0:
        pos = pair_end(buf, pos, end)
        if pos < 0:
            return pos
        count -= 1
    return pos


def check_messages(buf: bytes, pos: int, end: int) -> int:
    """Return ``OK`` if the messages parse to the last byte, otherwise the fault. No message at all is OK."""
    while pos < end:
        pos = message_end(buf, pos, end)
        if pos < 0:
            return pos
    return _OK


def action_end(buf: bytes, pos: int, end: int) -> int:
    """Return the position behind the action at ``pos`` (a bad value is not a fault here)."""
    if end - pos < 4 or buf[pos + 2] > _SCOPE_RES:
        return _MALFORMED
    kind = buf[pos]
    if kind == _SET_VAR and buf[pos + 1] == 3:
        return pair_end(buf, pos + 3, end)
    if kind == _UNSET_VAR and buf[pos + 1] == 2:
        return string_end(buf, pos + 3, end)
    return _MALFORMED


def actions_stop(buf: bytes, pos: int, end: int, most: int) -> int:
    """Return the position of the first action that cannot be read, or behind ``most`` of them; ``end`` if there is none."""
    while pos < end and most > 0:
        after = action_end(buf, pos, end)
        if after < 0:
            break
        pos = after
        most -= 1
    return pos


def check_actions(buf: bytes, pos: int, end: int) -> int:
    """Return ``OK`` for one or more actions that HAProxy reads to the last byte as meant, otherwise the first fault.

    ``actions.reads`` tells whether the list can be read to its end in spite of faults.
    """
    if pos >= end:
        return _EMPTY
    while pos < end:
        after = action_end(buf, pos, end)
        if after < 0:
            return after
        if buf[pos + 3] > _longest_plain_name(buf[pos + 2]):  # the length, or the first byte of a length beyond 239
            return _SPECIAL
        if buf[pos] == _SET_VAR and bad_value_at(buf, pos, after) >= 0:
            return _BAD_VALUE
        pos = after
    return _OK


def _longest_plain_name(scope: int) -> int:
    """Return the longest action name that needs no second look. In the process-wide scope every name needs one."""
    if scope == _SCOPE_PROC:
        return -1
    return _LONGEST_SESS if scope == _SCOPE_SESS else _LONGEST


def bad_value_at(buf: bytes, pos: int, after: int) -> int:
    """Return the position of a NULL, or of a badly written boolean, in the SET-VAR at ``pos``, or -1.

    A value of one byte can only be NULL or BOOL; anything but a plain NULL, false or true is a boolean that some agent wrote
    with its flag in the wrong place (negasus before 1.0.6 wrote 0x10 for false).
    """
    last = buf[after - 1]
    if last == 1 or last == 0x11:  # noqa: PLR1714  BOOL, TRUE_BYTE: numbers of C
        return -1
    return after - 1 if string_end(buf, pos + 3, after) == after - 1 else -1
