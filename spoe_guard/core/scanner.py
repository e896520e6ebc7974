"""The fast path: walk a buffer over ordinary frames without building an object per frame.

Each function walks as long as what it meets is ordinary: a whole NOTIFY (or ACK) within the negotiated size,
FIN set and nothing else, ids and payload that parse to the last byte, a NOTIFY not open yet (or an ACK for one
that is). It stops in front of the first thing that is not, which the readable path then judges from scratch.
What was walked over may be forwarded as one slice.
"""

from typing import TYPE_CHECKING, Any, Final

from spoe_guard.core.ledger import Fate, Ledger
from spoe_guard.core.tally import Tally
from spoe_guard.wire import actions, frame, messages

if TYPE_CHECKING:
    from mypy_extensions import i64

_ANSWERED: Final = Fate.ANSWERED
_NOTIFY_HEAD: Final = frame.NOTIFY_HEAD
_ACK_HEAD: Final = frame.ACK_HEAD


def scan_notifies(
    buf: bytes, pos: "i64", end: "i64", max_length: "i64", most: int, ledger: Ledger, tally: Tally, now: float
) -> "i64":
    """Open every ordinary NOTIFY from ``pos`` on, at most ``most`` open at a time; return where it stopped."""
    opened = ledger.open
    before = size = len(opened)
    since: Any = now  # one object for all of them
    while end - pos > frame.IDS_AT + 1:
        length = frame.length_at(buf, pos)
        after = pos + frame.LENGTH_BYTES + length
        ids_at = pos + frame.IDS_AT
        if length > max_length or length < frame.MIN_LENGTH or after > end:
            break
        if buf[pos + frame.LENGTH_BYTES : ids_at] != _NOTIFY_HEAD:
            break
        payload_at = frame.ids_end(buf, ids_at, after)
        if payload_at < 0 or payload_at >= after or size >= most:
            break
        ids = buf[ids_at:payload_at]
        if messages.check(buf, payload_at, after) != messages.OK:
            break
        opened.setdefault(ids, since)
        if len(opened) == size:  # it is open already
            break
        size += 1
        pos = after
    count = size - before
    if count:
        tally.frames_to_agent[frame.NOTIFY] += count
        tally.open_notifies += count
    return pos


def scan_acks(buf: bytes, pos: "i64", end: "i64", max_length: "i64", ledger: Ledger, tally: Tally, now: float) -> "i64":
    """Settle every ordinary ACK from ``pos`` on; return where it stopped."""
    opened = ledger.open
    past = ledger.past
    before = len(opened)
    while end - pos > frame.IDS_AT + 1:
        length = frame.length_at(buf, pos)
        after = pos + frame.LENGTH_BYTES + length
        ids_at = pos + frame.IDS_AT
        if length > max_length or length < frame.MIN_LENGTH or after > end:
            break
        if buf[pos + frame.LENGTH_BYTES : ids_at] != _ACK_HEAD:
            break
        payload_at = frame.ids_end(buf, ids_at, after)
        if payload_at < 0:
            break
        ids = buf[ids_at:payload_at]
        since = opened.get(ids)
        if since is None or actions.check(buf, payload_at, after) != actions.OK:
            break
        del opened[ids]
        past.remember(ids, _ANSWERED)
        tally.observe_ack(now - since)
        pos = after
    count = before - len(opened)
    if count:
        ledger.useful = True
        tally.frames_to_haproxy[frame.ACK] += count
        tally.open_notifies -= count
    return pos
