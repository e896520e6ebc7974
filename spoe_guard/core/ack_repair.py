"""An ACK's payload made to say what the agent meant, where that is certain.

HAProxy stops at the first action it cannot read and tells nobody (``spoe_decode_actions``), so a deny behind a
stray byte is silently lost.
"""

from collections.abc import Container
from typing import Final

from spoe_guard.core.anomalies import Anomaly
from spoe_guard.wire import actions, typed_data, varint

_CUT: Final = frozenset((Anomaly.BAD_VARINT, Anomaly.ACK_MALFORMED))  # from here on nothing can be read


class Diagnosis:
    """What is wrong with a list of actions: ``anomalies`` in order."""

    __slots__ = ("_mended", "_rest", "_said", "anomalies")

    def __init__(self) -> None:
        self.anomalies: list[Anomaly] = []
        self._said: list[bytes] = []  # the actions as they came
        self._mended: list[bytes] = []
        self._rest = b""  # what cannot be read

    def take(self, said: bytes, mended: bytes) -> None:
        """Note an action, and how it reads when repaired."""
        self._said.append(said)
        self._mended.append(mended)

    def give_up(self, anomaly: Anomaly, rest: bytes) -> None:
        """Note that ``rest`` cannot be read."""
        self.anomalies.append(anomaly)
        self._rest = rest

    def repaired(self, repair: Container[Anomaly]) -> bytes:
        """Return the payload with what is in ``repair`` put right, and no stray byte.

        Where an action cannot be read it is cut in front of it; where nothing is left it says ``NO_EFFECT``.
        """
        known = b"".join(self._mended if Anomaly.ACK_BAD_BOOL in repair else self._said)
        cut = any(anomaly in repair for anomaly in _CUT)
        return (known if cut else known + self._rest) or actions.NO_EFFECT


def diagnose(payload: bytes) -> Diagnosis:
    """Return what is wrong with ``payload``."""
    found = Diagnosis()
    pos, end = 0, len(payload)
    if not payload:
        found.anomalies.append(Anomaly.EMPTY_ACK)
    while pos < end:
        after = actions.skip_action(payload, pos, end)
        if after < 0:
            bad_varint = after in (varint.BAD, varint.INCOMPLETE)
            found.give_up(Anomaly.BAD_VARINT if bad_varint else Anomaly.ACK_MALFORMED, payload[pos:])
            break
        found.take(payload[pos:after], _action(payload, pos, after, found))
        if payload[pos] == actions.UNSET_VAR and after < end and payload[after] == typed_data.NULL:
            # No action has type 0: negasus/haproxy-spoe-go writes a NULL value behind every UNSET-VAR.
            found.anomalies.append(Anomaly.ACK_STRAY_NULL)
            after += 1
        pos = after
    return found


def _action(payload: bytes, pos: int, after: int, found: Diagnosis) -> bytes:
    """Return the action at ``pos`` with its boolean, if it is a bad one, written as HAProxy reads it: false."""
    if payload[pos] != actions.SET_VAR:
        return payload[pos:after]
    at = actions.bad_bool_at(payload, pos, after)
    if at < 0:
        return payload[pos:after]
    found.anomalies.append(Anomaly.ACK_BAD_BOOL)
    return payload[pos:at] + bytes((typed_data.BOOL,))
