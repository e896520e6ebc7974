"""Repairs an ACK's payload so that HAProxy reads what the agent meant, if that is certain.

HAProxy stops at the first action it cannot read and reports nothing (``spoe_decode_actions``), so a deny behind a stray byte is
silently lost.

Of a list that is not in order ``MOST_ACTIONS`` actions are read. An agent writes a handful; a frame of 1 MiB holds 260,000, and
to read them all would take longer than others should wait. A list with more, and anything wrong in it, is malformed; as is one of
more than ``actions.MOST``, whatever is in it.
"""

from collections.abc import Set as AbstractSet
from typing import Final

from spoe_guard.core.terms.anomalies import Anomaly
from spoe_guard.wire import actions, typed_data, walk

MOST_ACTIONS: Final = 1024

_FALSE: Final = bytes((typed_data.BOOL,))
_UNSET: Final = bytes((walk.UNSET_VAR, 2))  # type and number of arguments; scope and name follow
_LONG_NAME: Final = Anomaly.ACK_LONG_NAME
_PROC: Final = Anomaly.ACK_PROC_SCOPE
_CUT: Final = frozenset((Anomaly.BAD_VARINT, Anomaly.ACK_MALFORMED))  # nothing after this can be read
# Actions that are legal but harmful: the action DROP for one of these leaves out that action and passes the others.
UNWELCOME: Final = frozenset((_LONG_NAME, _PROC))


class Diagnosis:
    """What is wrong with a list of actions: ``anomalies``, each once, in order. ``longer``: it has more than are read.

    It keeps nothing of the single actions: a hostile ACK has one in four bytes. Where something is repaired they are read again.
    """

    __slots__ = ("_payload", "anomalies", "longer")

    def __init__(self, payload: bytes) -> None:
        self.anomalies: list[Anomaly] = []
        self.longer = False
        self._payload = payload

    def note(self, anomaly: Anomaly) -> None:
        """Note such a fault, once."""
        if anomaly not in self.anomalies:
            self.anomalies.append(anomaly)

    def goes_on(self) -> None:
        """Note that there are more actions than are read."""
        self.longer = True
        self.note(Anomaly.ACK_MALFORMED)

    def detail(self, anomaly: Anomaly) -> str:
        """Return what is to be told about such a fault beside its name."""
        return f"it has more than {MOST_ACTIONS} actions" if self.longer and anomaly is Anomaly.ACK_MALFORMED else ""

    def repaired(self, repair: AbstractSet[Anomaly]) -> bytes:
        """Return the payload with the faults in ``repair`` corrected, and without stray bytes.

        An action that is ``UNWELCOME`` for one of them is left out. If an action cannot be read, or is one too many, the list is
        cut before it; if nothing is left, the payload is ``NO_EFFECT``.
        """
        payload, left = self._payload, bytearray()
        copied = pos = count = 0  # what comes before ``copied`` is in ``left``, as far as it stays
        end = len(payload)
        while pos < end:
            after = walk.action_end(payload, pos, end) if count < MOST_ACTIONS else walk.MALFORMED
            count += 1
            if after < 0:
                end = pos if _CUT & repair else end
                break
            bad = _bad_value_at(payload, pos, after)
            if (_has_long_name(payload, pos) and _LONG_NAME in repair) or (_is_process_wide(payload, pos) and _PROC in repair):
                left += payload[copied:pos]
                copied = after
            elif bad >= 0 and payload[bad] == typed_data.NULL and Anomaly.ACK_NULL_VALUE in repair:
                left += payload[copied:pos] + _UNSET + payload[pos + 2 : bad]
                copied = after
            elif bad >= 0 and payload[bad] != typed_data.NULL and Anomaly.ACK_BAD_BOOL in repair:
                left += payload[copied:bad] + _FALSE
                copied = after
            if _stray_null_at(payload, pos, after):
                left += payload[copied:after]
                after += 1
                copied = after
            pos = after
        left += payload[copied:end]
        return bytes(left) or actions.NO_EFFECT


def diagnose(payload: bytes) -> Diagnosis:
    """Return what is wrong with ``payload``."""
    found = Diagnosis(payload)
    pos = count = 0
    end = len(payload)
    if not payload:
        found.note(Anomaly.EMPTY_ACK)
    while pos < end:
        if count == MOST_ACTIONS:
            found.goes_on()
            break
        after = walk.action_end(payload, pos, end)
        count += 1
        if after < 0:
            found.note(Anomaly.BAD_VARINT if after in (walk.BAD, walk.INCOMPLETE) else Anomaly.ACK_MALFORMED)
            break
        bad = _bad_value_at(payload, pos, after)
        if bad >= 0:
            found.note(Anomaly.ACK_NULL_VALUE if payload[bad] == typed_data.NULL else Anomaly.ACK_BAD_BOOL)
        if _has_long_name(payload, pos):
            found.note(_LONG_NAME)
        if _is_process_wide(payload, pos):
            found.note(_PROC)
        if _stray_null_at(payload, pos, after):
            found.note(Anomaly.ACK_STRAY_NULL)
            after += 1
        pos = after
    return found


def _bad_value_at(payload: bytes, pos: int, after: int) -> int:
    """Return where the bad value of the action at ``pos`` is, -1 if it has none.

    A bad boolean becomes the value HAProxy reads: false. SET-VAR with NULL becomes UNSET-VAR, which is what HAProxy makes of it
    since 2469eba20; before, ``spoe_set_var`` stored a variable without a value.
    """
    return walk.bad_value_at(payload, pos, after) if payload[pos] == walk.SET_VAR else -1


def _has_long_name(payload: bytes, pos: int) -> bool:
    """Whether the name of the action at ``pos`` is longer than HAProxy takes.

    The byte is the length, or the first byte of a length beyond 239, which is too long as well. For HAProxy a name ends at its
    first NUL; whether the part before it would fit is not checked.
    """
    return payload[pos + 3] > walk.LONGEST_NAMES[payload[pos + 2]]


def _is_process_wide(payload: bytes, pos: int) -> bool:
    return payload[pos + 2] == walk.SCOPE_PROC


def _stray_null_at(payload: bytes, pos: int, after: int) -> bool:
    """Whether a NULL value follows an UNSET-VAR, as negasus/haproxy-spoe-go writes it: no action has type 0."""
    return payload[pos] == walk.UNSET_VAR and after < len(payload) and payload[after] == typed_data.NULL
