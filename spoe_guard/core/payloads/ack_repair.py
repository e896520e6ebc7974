"""An ACK's payload made to say what the agent meant, where that is certain.

HAProxy stops at the first action it cannot read and tells nobody (``spoe_decode_actions``), so a deny behind a
stray byte is silently lost.
"""

from collections.abc import Set as AbstractSet
from typing import Final

from spoe_guard.core.terms.anomalies import Anomaly
from spoe_guard.wire import actions, typed_data, walk

_FALSE: Final = bytes((typed_data.BOOL,))
_CUT: Final = frozenset((Anomaly.BAD_VARINT, Anomaly.ACK_MALFORMED))  # from here on nothing can be read
# What an action may touch and better does not: to drop one of these is to leave out that action, and to pass the others.
UNWELCOME: Final = frozenset((Anomaly.ACK_LONG_NAME, Anomaly.ACK_PROC_SCOPE))


# An action that can be read: as it came, how it reads when repaired, and why it may be unwelcome. One byte of a hostile ACK in
# four may begin one, so this is a bare tuple.
_Known = tuple[bytes, bytes, tuple[Anomaly, ...]]


class Diagnosis:
    """What is wrong with a list of actions: ``anomalies``, each once, in order."""

    __slots__ = ("_known", "_rest", "anomalies")

    def __init__(self) -> None:
        self.anomalies: list[Anomaly] = []
        self._known: list[_Known] = []
        self._rest = b""  # what cannot be read

    def note(self, anomaly: Anomaly) -> None:
        """Note that there is such a fault."""
        if anomaly not in self.anomalies:
            self.anomalies.append(anomaly)

    def take(self, action: bytes, mended: bytes, unwelcome: tuple[Anomaly, ...]) -> None:
        """Note an action, how it reads when repaired, and why it is better left out."""
        for anomaly in unwelcome:
            self.note(anomaly)
        self._known.append((action, mended, unwelcome))

    def give_up(self, anomaly: Anomaly, rest: bytes) -> None:
        """Note that ``rest`` cannot be read."""
        self.note(anomaly)
        self._rest = rest

    def repaired(self, repair: AbstractSet[Anomaly]) -> bytes:
        """Return the payload with what is in ``repair`` put right, and no stray byte.

        An action that is ``UNWELCOME`` for one of them is left out. Where an action cannot be read the list is cut in
        front of it; where nothing is left it says ``NO_EFFECT``.
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
            # No action has type 0: negasus/haproxy-spoe-go writes a NULL value behind every UNSET-VAR.
            found.note(Anomaly.ACK_STRAY_NULL)
            after += 1
        pos = after
    return found


def _mended(action: bytes, found: Diagnosis) -> bytes:
    """Return ``action`` with its boolean, if it is a bad one, written as HAProxy reads it: false."""
    if action[0] != walk.SET_VAR:
        return action
    at = walk.bad_bool_at(action, 0, len(action))
    if at < 0:
        return action
    found.note(Anomaly.ACK_BAD_BOOL)
    return action[:at] + _FALSE


def _unwelcome(action: bytes) -> tuple[Anomaly, ...]:
    """Return why ``action`` is better left out.

    A name that holds a NUL ends there for HAProxy; whether what is in front of it would fit is not asked.
    """
    scope = action[2]
    found: tuple[Anomaly, ...] = ()
    if action[3] > walk.LONGEST_NAMES[scope]:  # its length, or the first byte of one beyond 239, which is too long, too
        found = (Anomaly.ACK_LONG_NAME,)
    return (*found, Anomaly.ACK_PROC_SCOPE) if scope == walk.SCOPE_PROC else found
