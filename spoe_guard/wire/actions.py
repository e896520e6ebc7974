"""The payload of an ACK: SET-VAR and UNSET-VAR actions.

Source: SPOE.txt 3.2.7 (ACK), 3.4 (actions); HAProxy ``spoe_decode_action_set_var`` and ``spoe_decode_action_unset_var``.
"""

from typing import Final

from spoe_guard.wire import typed_data, walk

# The payload of an ACK that the guard writes: unset a variable nobody uses. Every HAProxy accepts it, also those on which an
# empty ACK stalls (3.1.0 until 851e52b55).
NO_EFFECT: Final = bytes((walk.UNSET_VAR, 2, walk.SCOPE_TXN)) + typed_data.encode_string(b"spoe_guard_nop")


# So many actions of one list are read. An agent writes a handful; a frame of 1 MiB holds 260,000, and to read them all would take
# longer than others should wait.
MOST: Final = 16384
SHORTEST: Final = 4  # bytes of an action


class Action:
    """One action. ``value`` is None for UNSET-VAR; ``raw``: the bytes as received."""

    __slots__ = ("name", "raw", "scope", "type", "value")

    def __init__(self, type_: int, scope: int, name: bytes, value: typed_data.Value, raw: bytes) -> None:
        self.type = type_
        self.scope = scope
        self.name = name
        self.value = value
        self.raw = raw


def stop(buf: bytes, pos: int, end: int) -> int:
    """Return the position of the first action that cannot be read, or is one too many; ``end`` if there is none."""
    return walk.actions_stop(buf, pos, end, MOST)


def begin_well(buf: bytes, pos: int, end: int, most: int) -> bool:
    """Whether the first ``most`` actions of a list can be read, or all where there are no more."""
    for _ in range(most):
        if pos >= end:
            break
        pos = walk.action_end(buf, pos, end)
        if pos < 0:
            return False
    return True


def reads(buf: bytes, pos: int, end: int) -> bool:
    """Whether a list of actions, which may be empty, can be read to its last byte."""
    return stop(buf, pos, end) == end


def in_order(buf: bytes, pos: int, end: int) -> bool:
    """Whether HAProxy reads a list of actions, which is not empty, to its last byte and as it is meant."""
    few = end - pos <= MOST * SHORTEST or reads(buf, pos, end)
    return few and walk.check_actions(buf, pos, end) == walk.OK


def parse(buf: bytes, pos: int, end: int) -> tuple[list[Action], int]:
    """Return the actions up to ``end`` and the position of the first that cannot be read (``end`` if all can)."""
    actions: list[Action] = []
    while pos < end:
        after = walk.action_end(buf, pos, end)
        if after < 0:
            break
        name, at = typed_data.decode_string(buf, pos + 3, end)
        value = typed_data.decode_value(buf, at, end)[0] if buf[pos] == walk.SET_VAR else None
        actions.append(Action(buf[pos], buf[pos + 2], name, value, buf[pos:after]))
        pos = after
    return actions, pos


def set_var(scope: int, name: bytes, kind: int, value: typed_data.Value) -> bytes:
    """Return a SET-VAR action. ``kind`` and ``value`` as for ``typed_data.encode_value``."""
    return bytes((walk.SET_VAR, 3, scope)) + typed_data.encode_string(name) + typed_data.encode_value(kind, value)


def unset_var(scope: int, name: bytes) -> bytes:
    """Return an UNSET-VAR action."""
    return bytes((walk.UNSET_VAR, 2, scope)) + typed_data.encode_string(name)
