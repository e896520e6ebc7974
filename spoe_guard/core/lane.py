"""The hot lane: what an ordinary frame of a session touches, and nothing else.

The readable path (``Session``) is authoritative. At the end of each step it sets what may pass here until the next one
(``Session._offer_lane``), and the next step begins by accounting for what passed (``Session._hand_back``); these two are the
only interface between both. In between, whoever carries the bytes asks ``up`` and ``down`` how far a read is ordinary, writes
that part to the peer, and gives the rest to ``Session.receive``.

Ordinary is a whole NOTIFY or ACK within the negotiated size, an ACK within 64 KiB, with only FIN set, whose ids and payload parse
to the last byte; a NOTIFY must not be open yet and must be allowed to open, an ACK must answer an open one. Everything from the
first frame that is not ordinary is judged from scratch by the readable path, which walks runs of ordinary frames with the same
two functions.

Compiled by Cython, see the .pxd. Neither a read nor a frame creates an object.
"""

import math

from spoe_guard.core.conversation.ledger import KEY, NOT_OPEN, Ledger
from spoe_guard.core.conversation.pacing import Pace
from spoe_guard.core.terms.tally import Tally
from spoe_guard.wire import frame as frames
from spoe_guard.wire import walk

_NOT_OPEN = NOT_OPEN  # C numbers, see the .pxd
_IDS_AT = frames.IDS_AT
_NOTIFY = frames.NOTIFY
_ACK = frames.ACK
_KEY = KEY


def walk_notifies(ledger: Ledger, tally: Tally, buf: bytes, pos: int, end: int, most: int, now: float) -> int:
    """Open every ordinary NOTIFY from ``pos`` on, with at most ``most`` open at a time; return the end of the last."""
    count = 0
    most -= ledger.large
    while pos < end and ledger.count < most:
        after = walk.whole_end(buf, pos, end, _NOTIFY, ledger.size)
        if after == 0:
            break
        packed = walk.pack_ids(buf, pos + _IDS_AT, after)
        payload_at = pos + _IDS_AT + (packed & 15)
        if packed >> _KEY == 0 or payload_at == after or walk.check_messages(buf, payload_at, after) != 0:
            break
        copy = None
        if ledger.most_kept:
            copy = buf if pos == 0 and after == len(buf) else buf[pos:after]
        if not ledger.open(packed >> _KEY, now, copy):  # already open
            break
        count += 1
        pos = after
    if count:
        tally._to_agent[_NOTIFY] += count  # noqa: SLF001  C cannot see that it is the same as frames_to_agent
    return pos


def walk_acks(ledger: Ledger, tally: Tally, buf: bytes, pos: int, end: int, now: float) -> int:
    """Settle every ordinary ACK from ``pos`` on; return the end of the last."""
    count = 0
    while pos < end:
        after = walk.whole_end(buf, pos, end, _ACK, ledger.longest_ack)
        if after == 0:
            break
        packed = walk.pack_ids(buf, pos + _IDS_AT, after)
        if packed >> _KEY == 0 or walk.check_actions(buf, pos + _IDS_AT + (packed & 15), after) != 0:
            break
        since = ledger.settle(packed >> _KEY)
        if since == _NOT_OPEN:
            break
        ledger.history.record(packed >> _KEY)
        tally.observe_ack(now - since)
        count += 1
        pos = after
    if count:
        ledger.answered_once = True
        tally._to_haproxy[_ACK] += count  # noqa: SLF001  as above
    return pos


class Lane:
    """What the session lets pass without a step.

    ``plain``: whether anything may pass; the session sets it at the end of a step and clears it at the beginning of the next.
    ``ledger``: of the link that got the last NOTIFY; ``ledgers``: of all links, on which ``most`` NOTIFYs may be open in all.
    ``deadline``: the session's, at its last step; what passes here can only need one ``soonest_s`` from now, not earlier.
    ``active``: when bytes last arrived, monotonic seconds. ``passed``: bytes that went to agents since the session's last step.
    ``pace``: how much HAProxy may be given ahead of its reading, None if that does not matter.
    """

    def __init__(self, tally: Tally, ledger: Ledger, now: float) -> None:
        self.tally = tally
        self.plain = False
        self.ledger = ledger
        self.ledgers: list[Ledger] = []
        self.several = False
        self.most = 0
        self.deadline = math.inf
        self.soonest_s = math.inf
        self.active = now
        self.passed = 0
        self.pace: Pace | None = None

    def up(self, data: bytes, pos: int, now: float) -> int:
        """Pass ordinary NOTIFYs in a read from HAProxy from ``pos`` on to the agent of ``ledger``; return their end."""
        if not self.plain or now >= self.deadline or now + self.soonest_s < self.deadline:
            return pos
        ledger = self._choose(data, pos) if self.several else self.ledger
        if ledger is None or not ledger.takes:
            return pos
        most = min(ledger.most, self.most)
        if self.several:
            most = ledger.count + ledger.large + 1  # the next NOTIFY may have to go to another link
        stop = walk_notifies(ledger, self.tally, data, pos, len(data), most, now)
        if stop > pos:
            self.ledger = ledger
            self.active = now
            self.passed += stop - pos
            self.tally.bytes_to_agent += stop - pos
        return stop

    def down(self, ledger: Ledger, data: bytes, now: float) -> int:
        """Pass the ordinary ACKs at the start of a read from ``ledger``'s agent; return their end."""
        if not self.plain or not ledger.answers or now >= self.deadline or now + self.soonest_s < self.deadline:
            return 0
        pace = self.pace
        end = len(data)
        if pace is not None and not pace.has_room(end, now):
            return 0
        stop = walk_acks(ledger, self.tally, data, 0, end, now)
        if stop > 0:
            if pace is not None:
                pace.wrote(stop)
            self.active = now
            ledger.heard = now
            ledger.passed += stop
            self.tally.bytes_to_haproxy += stop
        return stop

    def _choose(self, data: bytes, pos: int) -> Ledger | None:
        """Return the ledger of the link for the NOTIFY at ``pos``: the last one's if possible, otherwise the first that may.

        None if no link may, if its ids are open on another link, or if they have no key.
        """
        key = walk.pack_ids(data, pos + _IDS_AT, len(data)) >> _KEY
        if key == 0:
            return None
        chosen: Ledger | None = None
        for ledger in self.ledgers:
            if ledger.since_of(key) != _NOT_OPEN:
                return None
            if ledger.takes and ledger.count + ledger.large < ledger.most and (chosen is None or ledger is self.ledger):
                chosen = ledger
        return chosen if self.ledger.history.open < self.most else None
