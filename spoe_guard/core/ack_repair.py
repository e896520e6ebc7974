"""An ACK's payload made to say what the agent meant, where that is certain.

HAProxy stops at the first action it cannot read and tells nobody (``spoe_decode_actions``), so a deny behind a
stray byte is silently lost.
"""

from spoe_guard.core.anomalies import Anomaly
from spoe_guard.wire import actions, typed_data, varint


class Diagnosis:
    """What is wrong with a list of actions: ``anomalies`` in order, and ``payload`` as it reads when repaired.

    Where an action cannot be read the payload is cut in front of it; where nothing is left it says ``NO_EFFECT``.
    """

    __slots__ = ("anomalies", "payload")

    def __init__(self) -> None:
        self.anomalies: list[Anomaly] = []
        self.payload = b""


def diagnose(payload: bytes) -> Diagnosis:
    """Return what is wrong with ``payload`` and how it reads when repaired."""
    found = Diagnosis()
    pos, end = 0, len(payload)
    pieces: list[bytes] = []
    if not payload:
        found.anomalies.append(Anomaly.EMPTY_ACK)
    while pos < end:
        after = actions.skip_action(payload, pos, end)
        if after < 0:
            bad_varint = after in (varint.BAD, varint.INCOMPLETE)
            found.anomalies.append(Anomaly.BAD_VARINT if bad_varint else Anomaly.ACK_MALFORMED)
            break
        pieces.append(_action(payload, pos, after, found))
        if payload[pos] == actions.UNSET_VAR and after < end and payload[after] == typed_data.NULL:
            # No action has type 0: negasus/haproxy-spoe-go writes a NULL value behind every UNSET-VAR.
            found.anomalies.append(Anomaly.ACK_STRAY_NULL)
            after += 1
        pos = after
    found.payload = b"".join(pieces) or actions.NO_EFFECT
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
