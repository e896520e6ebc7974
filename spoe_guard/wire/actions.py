"""The payload of an ACK: SET-VAR and UNSET-VAR actions.

Source: SPOE.txt 3.2.7 (ACK), 3.4 (actions); HAProxy ``spoe_decode_action_set_var`` and ``spoe_decode_action_unset_var``.
"""

from typing import TYPE_CHECKING, Final

from spoe_guard.wire import typed_data

if TYPE_CHECKING:
    from mypy_extensions import i64

SET_VAR: Final = 1
UNSET_VAR: Final = 2

SCOPE_PROC: Final = 0
SCOPE_SESS: Final = 1
SCOPE_TXN: Final = 2
SCOPE_REQ: Final = 3
SCOPE_RES: Final = 4

OK: Final = 0
EMPTY: Final = -4  # no action at all
BAD_BOOL: Final = -5  # a boolean whose type byte HAProxy reads as something else
SPECIAL: Final = -6  # an action that can be read, on a variable that is better not touched: SCOPE_PROC, longest_name

# HAProxy writes "scope.prefix.name" into varname[64] with snprintf and went on, until 23a2811b6, with the length it would have
# had, beyond the end of it (spoe_set_var, spoe_unset_var, the same in flt_spoe.c of every version); since then the action is
# ignored. The prefix is the agent's id or `option var-prefix`, not known here, and at least one byte.
VAR_NAME_BYTES: Final = 63
_LONGEST: Final = tuple(VAR_NAME_BYTES - len(f"{scope}.p.") for scope in ("proc", "sess", "txn", "req", "res"))
# By scope: the longest name of an action that needs no second look. In the process-wide scope every one does.
_ORDINARY: Final = (-1, *_LONGEST[SCOPE_SESS:])

# What an ACK that has to be authored says: unset a variable nobody uses. Every HAProxy takes it,
# also those on which an empty ACK stalls (3.1.0 until 851e52b55).
NO_EFFECT: Final = bytes((UNSET_VAR, 2, SCOPE_TXN)) + typed_data.encode_string(b"spoe_guard_nop")


class Action:
    """One action. ``value`` is None for UNSET-VAR; ``raw`` the bytes as they came."""

    __slots__ = ("name", "raw", "scope", "type", "value")

    def __init__(self, type_: int, scope: int, name: bytes, value: typed_data.Value, raw: bytes) -> None:
        self.type = type_
        self.scope = scope
        self.name = name
        self.value = value
        self.raw = raw


def skip_action(buf: bytes, pos: "i64", end: "i64") -> "i64":
    """Return the position behind the action at ``pos``, or a negative fault (a bad boolean is not one here)."""
    if end - pos < 4:
        return typed_data.MALFORMED
    kind = buf[pos]
    if kind == SET_VAR:
        if buf[pos + 1] != 3 or buf[pos + 2] > SCOPE_RES:
            return typed_data.MALFORMED
        after = typed_data.skip_string(buf, pos + 3, end)
        return after if after < 0 else typed_data.skip_value(buf, after, end)
    if kind == UNSET_VAR:
        if buf[pos + 1] != 2 or buf[pos + 2] > SCOPE_RES:
            return typed_data.MALFORMED
        return typed_data.skip_string(buf, pos + 3, end)
    return typed_data.MALFORMED


def longest_name(scope: int) -> int:
    """Return how many bytes a variable's name in ``scope`` may have: one more and no prefix is short enough."""
    return _LONGEST[scope]


def check(buf: bytes, pos: "i64", end: "i64") -> "i64":
    """Return ``OK`` for a list of one or more actions that HAProxy reads to the last byte as meant, else the negative fault.

    With more than one fault it is the first; ``reads`` tells whether the list can be read to its end all the same.
    """
    if pos >= end:
        return EMPTY
    while pos < end:
        after = skip_action(buf, pos, end)
        if after < 0:
            return after
        if buf[pos + 3] > _ORDINARY[buf[pos + 2]]:  # the length of the name, or the first byte of one beyond 239
            return SPECIAL
        if buf[pos] == SET_VAR and bad_bool_at(buf, pos, after) >= 0:
            return BAD_BOOL
        pos = after
    return OK


def reads(buf: bytes, pos: int, end: int) -> bool:
    """Whether a list of actions, which may be empty, can be read to its last byte."""
    while 0 <= pos < end:
        pos = skip_action(buf, pos, end)
    return pos >= 0


def bad_bool_at(buf: bytes, pos: "i64", after: "i64") -> "i64":
    """Return where the SET-VAR at ``pos`` has a mis-written boolean, or -1.

    A value of one byte can only be NULL or BOOL; anything but a plain NULL, false or true is a boolean
    that some agent wrote with its flag in the wrong place (negasus before 1.0.6 wrote 0x10 for false).
    """
    last = buf[after - 1]
    if last in (typed_data.NULL, typed_data.BOOL, typed_data.TRUE_BYTE):
        return -1
    if typed_data.skip_string(buf, pos + 3, after) != after - 1:
        return -1
    return after - 1


def parse(buf: bytes, pos: int, end: int) -> tuple[list[Action], int]:
    """Return the actions up to ``end`` and the position where they stop making sense (``end`` if they never do)."""
    actions: list[Action] = []
    while pos < end:
        after = skip_action(buf, pos, end)
        if after < 0:
            break
        name, at = typed_data.decode_string(buf, pos + 3, end)
        value = typed_data.decode_value(buf, at, end)[0] if buf[pos] == SET_VAR else None
        actions.append(Action(buf[pos], buf[pos + 2], name, value, buf[pos:after]))
        pos = after
    return actions, pos


def set_var(scope: int, name: bytes, kind: int, value: typed_data.Value) -> bytes:
    """Return a SET-VAR action. ``kind`` and ``value`` as for ``typed_data.encode_value``."""
    return bytes((SET_VAR, 3, scope)) + typed_data.encode_string(name) + typed_data.encode_value(kind, value)


def unset_var(scope: int, name: bytes) -> bytes:
    """Return an UNSET-VAR action."""
    return bytes((UNSET_VAR, 2, scope)) + typed_data.encode_string(name)
