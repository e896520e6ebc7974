"""What the sessions of a route know of its agent: whether it is there, what it agreed to, and when it may be dialled again."""

import math
from typing import Final, NamedTuple

from spoe_guard.core.conversation.backoff import pause_s

MOST_MISSED: Final = 4
SILENT_AFTER: Final = 3  # NOTIFYs past their deadline, over all links: from then on the guard asks the agent itself
LONGEST_HELLO_S: Final = 30.0  # for AGENT-HELLO, where HAProxy does not wait for it or ends the wait itself


class Agreed(NamedTuple):
    """What an agent accepted in AGENT-HELLO. ``max_frame_size``: bytes; ``capabilities``: those it announced."""

    max_frame_size: int
    capabilities: tuple[str, ...]


class AgentState:
    """The agent of one route, over all its sessions. Times in seconds, ``now`` monotonic.

    ``agreed``: from its last AGENT-HELLO, None before the first. ``retry_at``: when it may be dialled again; while dials fail,
    one session dials at a time, and the others find out from it. ``hellos_missed``: HELLOs in a row without an answer in time, at
    most ``MOST_MISSED``. ``unanswered``: NOTIFYs past their deadline since AGENT-HELLO last came, each on a link whose agent had
    sent nothing since the NOTIFY came, at most ``SILENT_AFTER``. ``refuses``: AGENT-DISCONNECT was its last answer to HELLO, of
    which HAProxy was told. ``haproxy_waited_s``: how long HAProxy waited for AGENT-HELLO
    when it last gave up, infinity if never.
    """

    __slots__ = (
        "_away_since",
        "_failing_since",
        "_was_there",
        "agreed",
        "haproxy_waited_s",
        "hellos_missed",
        "refuses",
        "retry_at",
        "unanswered",
    )

    def __init__(self) -> None:
        self.agreed: Agreed | None = None
        self.retry_at = -math.inf
        self.hellos_missed = 0
        self.unanswered = 0
        self.refuses = False
        self.haproxy_waited_s = math.inf
        self._away_since = math.inf  # the first sign that the agent is away: a link was lost, or a dial failed
        self._was_there = False  # it has answered HELLO, here or to the previous guard
        self._failing_since = math.inf  # the first dial that failed, of those since AGENT-HELLO last came

    @property
    def failing(self) -> bool:
        """Whether a dial, or the HELLO behind it, has failed since AGENT-HELLO last came."""
        return self._failing_since < math.inf

    @property
    def in_doubt(self) -> bool:
        """Whether the guard should ask the agent itself: a dial has failed, its links are silent, or it refuses HELLO."""
        return self.failing or self.refuses or self.unanswered >= SILENT_AFTER

    def is_away(self, now: float, give_up_s: float) -> bool:
        """Whether nobody should wait for the agent: it went away ``give_up_s`` ago, or was never there."""
        return now >= self.away_at(give_up_s)

    def away_at(self, give_up_s: float) -> float:
        """Return from when on the agent counts as away; infinity while no dial has failed."""
        if not self.failing:
            return math.inf
        return self._away_since + (give_up_s if self._was_there else 0.0)

    def was_there(self) -> None:
        """The previous guard had a session with it."""
        self._was_there = True

    def answered(self, agreed: Agreed | None) -> None:
        """AGENT-HELLO came: the agent is there. ``agreed``: None if it does not tell what a session may expect."""
        self.agreed = agreed or self.agreed
        self._was_there = True
        self.hellos_missed = 0
        self.unanswered = 0
        self.refuses = False
        self.retry_at = -math.inf
        self._away_since = self._failing_since = math.inf

    def another_is_well(self) -> None:
        """What failed is one of several agents, and another is well: that one may be dialled at once, and is not away."""
        self.refuses = False
        self.retry_at = -math.inf
        self._away_since = self._failing_since = math.inf

    def forget(self) -> None:
        """The route has another agent from now on."""
        self.answered(None)
        self.agreed = None
        self._was_there = False

    def link_lost(self, now: float) -> None:
        """An agent ended the last link of a session: it may be gone.

        Only a failed dial will tell, and none from before, when it was there.
        """
        if self._away_since == math.inf:
            self._failing_since = math.inf
        self._away_since = min(self._away_since, now)

    def refused(self) -> None:
        """It answered HELLO with AGENT-DISCONNECT: it is there, and takes no session."""
        self.refuses = True

    def hello_missed(self) -> None:
        """AGENT-HELLO did not come in time."""
        self.hellos_missed = min(self.hellos_missed + 1, MOST_MISSED)

    def left_unanswered(self, count: int) -> None:
        """So many NOTIFYs passed their deadline on links that were silent meanwhile."""
        self.unanswered = min(self.unanswered + count, SILENT_AFTER)

    def haproxy_gave_up(self, waited_s: float) -> None:
        """HAProxy was gone after ``waited_s``, before AGENT-HELLO came."""
        self.haproxy_waited_s = waited_s

    def hello_wait_s(self, first_s: float) -> float:
        """Return how long to wait for AGENT-HELLO: ``first_s``, twice as long after each that was missed."""
        return float(min(first_s * 2**self.hellos_missed, LONGEST_HELLO_S))

    def dialled(self, now: float, spread: float) -> None:
        """A session dials. While dials fail, the others wait for the result; ``spread`` as for ``pause_s``."""
        if self.failing:
            self._pause(now, spread)

    def failed(self, now: float, spread: float, since: float) -> None:
        """A dial, or the HELLO behind it, failed.

        ``since``: from when on that session has wanted a link; infinity if it wanted only one more, as the agent is there then.
        """
        self._away_since = min(self._away_since, since)
        self._failing_since = min(self._failing_since, since, now)
        self._pause(now, spread)

    def _pause(self, now: float, spread: float) -> None:
        self.retry_at = now + pause_s(now - self._failing_since, spread)
