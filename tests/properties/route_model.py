"""What the sessions of a route have seen of its agent: whether it is there, what it accepted, when it may be dialled again.

Kept by whoever plays its agents, for ``links_model``. Shares no code with ``spoe_guard.core``.
"""

import math
from dataclasses import dataclass

MOST_MISSED = 4
SHORTEST_S, LONGEST_S, SHARE = 0.005, 0.25, 16  # a pause between two dials is this share of the time since the first failed


@dataclass
class AgentSeen:
    """Times in seconds, infinity for what was not seen since the last AGENT-HELLO.

    ``agreed``: the max-frame-size of the last AGENT-HELLO, and whether it named pipelining. ``gone_at``: the first sign that the
    agent is away: it ended the last link of a session, or a session that had none could not get one. ``failing_at``: when
    that began which every dial since has ended in.
    """

    agreed: tuple[int, bool] | None = None
    gone_at: float = math.inf
    failing_at: float = math.inf
    retry_at: float = -math.inf
    was_there: bool = False  # at any time
    missed: int = 0  # HELLOs in a row without an answer in time

    def away_at(self, give_up_s: float) -> float:
        """Return from when on it is away; infinity where no dial has failed since the first sign.

        One that was never there is not waited for.
        """
        return self.gone_at + (give_up_s if self.was_there else 0.0) if self.failing_at < math.inf else math.inf

    def said_hello(self, size: int, *, pipelining: bool) -> None:
        self.agreed = size, pipelining
        self.was_there = True
        self.missed = 0
        self.gone_at = self.failing_at = math.inf
        self.retry_at = -math.inf

    def ended_last_link(self, now: float) -> None:
        if self.gone_at == math.inf:  # what failed before, while it answered elsewhere, is no sign
            self.failing_at = math.inf
        self.gone_at = min(self.gone_at, now)

    def dialled(self, now: float) -> None:
        if self.failing_at < math.inf:  # one dial at a time
            self._pause(now)

    def not_reached(self, now: float, wanted_at: float, *, another_runs: bool) -> None:
        """A dial or HELLO failed in a session that has wanted a link since ``wanted_at``."""
        begun = min(now, wanted_at)
        self.failing_at = min(self.failing_at, begun)
        if not another_runs:
            self.gone_at = min(self.gone_at, begun)
        self._pause(now)

    def missed_hello(self) -> None:
        self.missed = min(self.missed + 1, MOST_MISSED)

    def _pause(self, now: float) -> None:
        self.retry_at = now + min(max((now - self.failing_at) / SHARE, SHORTEST_S), LONGEST_S)
