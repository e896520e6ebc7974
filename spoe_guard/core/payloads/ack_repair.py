"""Repairs an ACK's payload so that HAProxy reads what the agent meant, if that is certain.

HAProxy stops at the first action it cannot read and reports nothing (``spoe_decode_actions``), so a deny behind a stray byte is
silently lost.
"""

from collections.abc import Set as AbstractSet
from typing import Final

from spoe_guard.core.terms.anomalies import Anomaly
from spoe_guard.wire import actions, typed_data, walk

_FALSE: Final = bytes((typed_data.BOOL,))
_CUT: Final = frozenset((Anomaly.BAD_VARINT, Anomaly.ACK_MALFORMED))  # nothing after this can be read
# Actions that are legal but harmful: the action DROP for one of these leaves out that action and passes the others.
UNWELCOME: Final = frozenset((Anomaly.ACK_LONG_NAME, Anomaly.ACK_PROC_SCOPE))


# A readable action: as received, as repaired, and why it may be unwelcome. In a hostile ACK one byte in four may begin one, so
# this is a bare tuple.
_Known = tuple[bytes, bytes, tuple[Anomaly, ...]]


class Diagnosis:
    """What is wrong with a list of actions: ``anomalies``, each once, in order."""

    __slots__ = ("_known", "_rest", "anomalies")

    def __init__(self) -> None:
        self.anomalies: list[Anomaly] = []
        self._known: list[_Known] = []
        self._rest = b""  # the part that cannot be read

    def note(self, anomaly: Anomaly) -> None:
        """Note such a fault, once."""
        if anomaly not in self.anomalies:
            self.anomalies.append(anomaly)

    def take(self, action: bytes, mended: bytes, unwelcome: tuple[Anomaly, ...]) -> None:
        """Note an action, its repaired form, and why it should be left out."""
        for anomaly in unwelcome:
            self.note(anomaly)
        self._known.append((action, mended, unwelcome))

    def give_up(self, anomaly: Anomaly, rest: bytes) -> None:
        """Note that ``rest`` cannot be read."""
        self.note(anomaly)
        self._rest = rest

    def repaired(self, repair: AbstractSet[Anomaly]) -> bytes:
        """Return the payload with the faults in ``repair`` corrected, and without stray bytes.

        An action that is ``UNWELCOME`` for one of them is left out. If an action cannot be read, the list is cut before it; if
        nothing is left, the payload is ``NO_EFFECT``.
        """
        put_right = Anomaly.ACK_BAD_BOOL in repair
        left = [mended if put_right else action for action, mended, unwelcome in self._known if repair.isdisjoint(unwelcome)]
        if not _CUT & repair:
            left.append(self._rest)
        return b"".join(left) or actions.NO_EFFECT


def diagnose(payload: bytes) -> Diagnosis:
    """Return what is wrong with ``payload``."""
    found = Diagnosis()
    pos, end = 0, len(payload)
    if not payload:
        found.note(Anomaly.EMPTY_ACK)
    while pos < end:
        after = walk.action_end(payload, pos, end)
        if after < 0:
            bad_varint = after in (walk.BAD, walk.INCOMPLETE)
            found.give_up(Anomaly.BAD_VARINT if bad_varint else Anomaly.ACK_MALFORMED, payload[pos:])
            break
        action = payload[pos:after]
        found.take(action, _mended(action, found), _unwelcome(action))
        if payload[pos] == walk.UNSET_VAR and after < end and payload[after] == typed_data.NULL:
            # No action has type 0: negasus/haproxy-spoe-go writes a NULL value after every UNSET-VAR.
            found.note(Anomaly.ACK_STRAY_NULL)
            after += 1
        pos = after
    return found


def _mended(action: bytes, found: Diagnosis) -> bytes:
    """Return ``action`` with a bad boolean, if it has one, rewritten to the value HAProxy reads: false."""
    if action[0] != walk.SET_VAR:
        return action
    at = walk.bad_bool_at(action, 0, len(action))
    if at < 0:
        return action
    found.note(Anomaly.ACK_BAD_BOOL)
    return action[:at] + _FALSE


def _unwelcome(action: bytes) -> tuple[Anomaly, ...]:
    """Return why ``action`` should be left out.

    For HAProxy a name ends at its first NUL; whether the part before it would fit is not checked.
    """
    scope = action[2]
    found: tuple[Anomaly, ...] = ()
    if action[3] > walk.LONGEST_NAMES[scope]:  # the length, or the first byte of a length beyond 239, which is too long as well
        found = (Anomaly.ACK_LONG_NAME,)
    return (*found, Anomaly.ACK_PROC_SCOPE) if scope == walk.SCOPE_PROC else found
