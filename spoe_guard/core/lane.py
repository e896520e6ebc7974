"""The hot lane: what an ordinary frame of a session touches, and nothing else.

The readable path (``Session``) is the truth. At the end of each of its steps it says what may go by here until the next one
(``Session._offer_lane``), and its next step begins with taking over what has passed since (``Session._hand_back``): there is no
other door. In between whoever carries the bytes asks ``up`` and ``down`` how far a read is ordinary, writes so much of it to
the peer, and gives the rest to ``Session.receive``.

Ordinary is a whole NOTIFY (or ACK) within the negotiated size, with FIN and no other flag, ids and payload that parse to the
last byte, a NOTIFY that is not open yet and may be (or the ACK of one that is). What stands behind the first thing that is
not is judged from scratch by the readable path, which walks over runs of ordinary frames with the same two functions.

Compiled by Cython, see the .pxd. A read costs no object, a frame costs none either.
"""

import math

from spoe_guard.core.conversation.ledger import KEY, NOT_OPEN, Ledger
from spoe_guard.core.conversation.pacing import Pace
from spoe_guard.core.terms.tally import Tally
from spoe_guard.wire import frame as frames
from spoe_guard.wire import walk

_NOT_OPEN = NOT_OPEN  # numbers in C, see the .pxd
_IDS_AT = frames.IDS_AT
_NOTIFY = frames.NOTIFY
_ACK = frames.ACK
_KEY = KEY


def walk_notifies(ledger: Ledger, tally: Tally, buf: bytes, pos: int, end: int, most: int, now: float) -> int:
    """Open every ordinary NOTIFY from ``pos`` on, at most ``most`` open at a time; return where it stopped."""
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
        if not ledger.open(packed >> _KEY, now, copy):  # it is open already
            break
        count += 1
        pos = after
    if count:
        tally._to_agent[_NOTIFY] += count  # noqa: SLF001  C cannot see that it is the same as frames_to_agent
    return pos


def walk_acks(ledger: Ledger, tally: Tally, buf: bytes, pos: int, end: int, now: float) -> int:
    """Settle every ordinary ACK from ``pos`` on; return where it stopped."""
    count = 0
    while pos < end:
        after = walk.whole_end(buf, pos, end, _ACK, ledger.size)
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
    """What the session lets pass without being asked.

    ``plain``: anything at all; the session sets it at the end of a step and takes it back at the beginning of the next.
    ``ledger``: of the link that had the last NOTIFY; ``ledgers``: of all links, on which ``most`` NOTIFYs may be open.
    ``deadline``: the session's, as it was told; what passes here may ask for one ``soonest_s`` from now and none before.
    ``active``: when anything last came, monotonic seconds. ``passed``: bytes that went to agents since the session was told.
    ``pace``: how fast HAProxy may be written to, None where it does not matter.
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
        """Pass ordinary NOTIFYs of a read of HAProxy's from ``pos`` on; return where they end: for ``ledger``'s agent."""
        if not self.plain or now >= self.deadline or now + self.soonest_s < self.deadline:
            return pos
        ledger = self._choose(data, pos) if self.several else self.ledger
        if ledger is None or not ledger.takes:
            return pos
        most = min(ledger.most, self.most)
        if self.several:
            most = ledger.count + ledger.large + 1  # the next one may have to go to another
        stop = walk_notifies(ledger, self.tally, data, pos, len(data), most, now)
        if stop > pos:
            self.ledger = ledger
            self.active = now
            self.passed += stop - pos
            self.tally.bytes_to_agent += stop - pos
        return stop

    def down(self, ledger: Ledger, data: bytes, now: float) -> int:
        """Pass the ordinary ACKs that a read of ``ledger``'s agent begins with; return where they end."""
        if not self.plain or not ledger.answers or now >= self.deadline or now + self.soonest_s < self.deadline:
            return 0
        pace = self.pace
        end = len(data)
        if pace is not None and not pace.has_room(end, now):
            return 0
        stop = walk_acks(ledger, self.tally, data, 0, end, now)
        if stop > 0:
            if pace is not None:
                pace.passes(stop, now)
            self.active = now
            ledger.heard = now
            ledger.passed += stop
            self.tally.bytes_to_haproxy += stop
        return stop

    def _choose(self, data: bytes, pos: int) -> Ledger | None:
        """Return the ledger of the link for the NOTIFY at ``pos``: the last one's where it may have it, else the first that may.

        None where no link may, where its ids are open on another one, or where it has none.
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
