"""What is known of one address of several, and the order in which a dial tries them."""

import math
import random
from collections.abc import Container, Mapping, Sequence
from typing import Final, Protocol

from spoe_guard.address import Address
from spoe_guard.core.conversation.backoff import pause_s
from spoe_guard.core.conversation.ledger import Ledger
from spoe_guard.options import Balance

# An address that failed is passed over for a sixteenth of the time it has failed for, where the guard does not ask it itself.
SHORTEST_S: Final = 0.25
LONGEST_S: Final = 5.0
# One that let NOTIFYs pass their deadline may answer HELLO all the same. That counts only after a while, which doubles each time
# it is found silent again soon after it came back.
SILENT_S: Final = 5.0
LONGEST_SILENT_S: Final = 60.0
# One that comes back after an absence gets the next link at once, for there may be few, and they last. From then on its share
# grows over this time, from the least one to that of the others.
SLOW_START_S: Final = 10.0
LEAST_SHARE: Final = 0.1
COUNT_AGAIN_S: Final = 0.02  # open NOTIFYs of thousands of links take a third of a millisecond, and they may all be dialled anew
LATE_S: Final = 0.25  # a dial and its HELLO take so long: others are preferred until it is known what comes of it


class Link(Protocol):
    """One connection to an agent, from its dial on. ``address``: where it goes, which ``Agents`` sets."""

    address: Address


class Standing:
    """One address of a route's agents. Times are monotonic seconds.

    ``links``: the connections there are, with the NOTIFYs that each has open; None where those are not known. ``making``: the
    connections that are dialled or wait for AGENT-HELLO, with the time of the dial, the oldest first. ``retry_at``: until when
    it is passed over where nobody asks it. ``returned``: it came back, and no link was dialled to it since. ``given_before``:
    NOTIFYs that its agent was given on links that are gone.
    """

    __slots__ = (
        "_back_at",
        "_counted",
        "_counted_at",
        "_failing_since",
        "_held_until",
        "_silences",
        "bias",
        "due",
        "given_before",
        "links",
        "making",
        "retry_at",
        "returned",
    )

    def __init__(self) -> None:
        self.links: dict[Link, Ledger | None] = {}
        self.making: dict[Link, float] = {}
        self.retry_at = -math.inf
        self.bias = random.random()  # noqa: S311  no secret: among equals each process has an order of its own
        self.due = self.bias  # how far its turn has come
        self.returned = False
        self.given_before = 0
        self._failing_since = math.inf  # since it last answered
        self._held_until = -math.inf  # until then HELLO alone does not bring it back
        self._back_at = -math.inf
        self._counted = 0  # open NOTIFYs
        self._counted_at = -math.inf
        self._silences = 0  # in a row, each soon after it came back

    @property
    def down(self) -> bool:
        """Whether it has failed since it last answered."""
        return self._failing_since < math.inf

    @property
    def used(self) -> bool:
        """Whether a connection to it is there, or in the making."""
        return bool(self.links or self.making)

    @property
    def open_notifies(self) -> int:
        """How many NOTIFYs its agent has in hand."""
        return sum([len(ledger) for ledger in self.links.values() if ledger is not None])

    @property
    def given(self) -> int:
        """How many NOTIFYs its agent was ever given: each ledger knows its own, so that no frame has to be counted here."""
        return self.given_before + sum([ledger.opened for ledger in self.links.values() if ledger is not None])

    def ended(self, link: Link) -> None:
        """``link`` is no longer dialled, or its connection is gone. May be called again."""
        self.making.pop(link, None)
        ledger = self.links.pop(link, None)
        if ledger is not None:
            self.given_before += ledger.opened

    def failed(self, now: float) -> None:
        """It could not be dialled, or did not answer HELLO."""
        self._failing_since = min(self._failing_since, now)
        spread = random.random()  # noqa: S311  no secret
        self.retry_at = now + pause_s(now - self._failing_since, spread, SHORTEST_S, LONGEST_S)

    def silent(self, now: float) -> None:
        """It let NOTIFYs pass their deadline, and sent nothing meanwhile."""
        again = now - self._back_at < LONGEST_SILENT_S
        self._silences = self._silences + 1 if again else 0
        self.failed(now)
        self._held_until = now + min(SILENT_S * 2.0 ** min(self._silences, 16), LONGEST_SILENT_S)

    def may_return(self, now: float) -> bool:
        """Whether an answer to the guard's own health check brings it back."""
        return now >= self._held_until

    def answered(self, now: float) -> None:
        """AGENT-HELLO came."""
        if self.down:
            self._failing_since = math.inf
            self._held_until = -math.inf
            self._back_at = now
            self.due = self.bias
            self.returned = True

    def heard_since(self, then: float) -> bool:
        """Whether the agent has sent anything on any connection since ``then``."""
        return any(ledger is not None and ledger.heard > then for ledger in self.links.values())

    def share(self, now: float) -> float:
        """Return its share of what an address gets that was never absent: 1, or less for a while."""
        return min(max((now - self._back_at) / SLOW_START_S, LEAST_SHARE), 1.0)

    def is_late(self, now: float) -> bool:
        """Whether a dial, or its HELLO, takes long: nobody knows yet what comes of it."""
        return bool(self.making) and now - next(iter(self.making.values())) > LATE_S

    def load(self, now: float) -> tuple[float, float, float]:
        """Return what `least-open` compares: NOTIFYs, then connections; a connection in the making is to get a NOTIFY.

        NOTIFYs are as of ``COUNT_AGAIN_S`` ago at most.
        """
        if now >= self._counted_at + COUNT_AGAIN_S:
            self._counted, self._counted_at = self.open_notifies, now
        share = self.share(now)
        links = len(self.links) + sum(link not in self.links for link in self.making)
        return (self._counted + len(self.making) + 1) / share, (links + 1) / share, -self.bias


def in_order(
    addresses: Sequence[Address],
    known: Mapping[Address, Standing],
    now: float,
    balance: Balance,
    avoid: Container[Address],
    *,
    asked: bool,
) -> list[Address]:
    """Return the order in which a dial tries ``addresses``; of a round-robin the next one is due then.

    First come those that are well, the one ``balance`` chooses before the others; then those that are late or to be avoided; then
    those that are down. ``asked``: the guard asks those itself, and no dial has to find out whether they are back.
    """

    def rank(address: Address) -> int:
        standing = known[address]
        if standing.down and (asked or now < standing.retry_at):
            return 2
        return int(address in avoid or standing.is_late(now))

    order = sorted(addresses, key=rank)
    equals = [address for address in order if rank(address) == rank(order[0])]
    if balance != "first":
        turn = _by_load if balance == "least-open" else _by_turn
        chosen = turn([address for address in equals if known[address].returned] or equals, known, now)
        known[chosen].returned = False
        order.remove(chosen)
        order.insert(0, chosen)
    return order


def _by_load(equals: Sequence[Address], known: Mapping[Address, Standing], now: float) -> Address:
    return min(equals, key=lambda address: known[address].load(now))


def _by_turn(equals: Sequence[Address], known: Mapping[Address, Standing], now: float) -> Address:
    """Give each its share, and choose the one whose turn has come furthest. It has waited for all the shares of one turn."""
    shares = {address: known[address].share(now) for address in equals}
    for address, share in shares.items():
        known[address].due += share
    chosen = max(equals, key=lambda address: known[address].due)
    known[chosen].due -= sum(shares.values())
    return chosen
