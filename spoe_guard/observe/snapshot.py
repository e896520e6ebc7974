"""The numbers of a route as plain JSON values, and their sum over several processes."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from spoe_guard.core.terms.tally import Tally
from spoe_guard.observe.stats import AgentStats, Labels, RouteStats

Taken = dict[str, Any]

# The kind of each number: every slot of RouteStats and of Tally is in one of these.
COUNTS: Final = ("captures_written", "connections", "suppressed", "internal_errors", "hold_seconds", "unchecked")
NOW: Final = ("open",)  # current state, not a count: it ends with its process
BY_LABELS: Final = (
    "accept_failures",
    "closed",
    "anomalies",
    "captures_dropped",
    "consequences",
    "families",
    "authored",
    "disconnects",
    "gave_way",
    "unanswered",
    "links_opened",
    "redispatched",
)
BUCKETS: Final = ("hold_buckets",)
OTHERS: Final = ("agents", "given_to", "oldest", "open_on", "peer", "peer_at")  # each in its own way
TALLY_COUNTS: Final = ("bytes_to_agent", "bytes_to_haproxy", "ack_count", "ack_seconds", "late_acks")
TALLY_NOW: Final = ("open_notifies", "held_bytes", "parked_notifies", "arriving_notifies")
TALLY_BUCKETS: Final = ("ack_buckets", "frames_to_agent", "frames_to_haproxy")


def take(stats: RouteStats) -> Taken:
    """Return ``stats`` as values that JSON can carry."""
    plain = {name: getattr(stats, name) for name in (*COUNTS, *NOW, *BUCKETS)}
    plain |= {"oldest": stats.oldest(), "peer": stats.peer, "peer_at": stats.peer_at}
    plain["open_on"] = dict(stats.open_on())
    given = stats.notifies_by_agent()
    plain["agents"] = {
        address: {
            "up": agent.up,
            "detail": agent.detail,
            "tried_at": agent.tried_at,
            "dials": agent.dials,
            "notifies": given[address],
            "failed_notifies": agent.failed_notifies,
            "links": agent.links,
            "failures": _counted(agent.failures),
        }
        for address, agent in stats.agents.items()
    }
    labelled = {name: _counted(getattr(stats, name)) for name in BY_LABELS}
    tally = {name: getattr(stats.tally, name) for name in (*TALLY_COUNTS, *TALLY_NOW)}
    arrays = {name: list(getattr(stats.tally, name)) for name in TALLY_BUCKETS}
    return {**plain, **labelled, "tally": {**tally, **arrays}}


def _counted(counter: Counter[Labels]) -> list[tuple[Labels, int]]:
    """Return what was counted. Most is 0, where nothing goes wrong, and a sum has its zeros from the start."""
    return [(labels, count) for labels, count in counter.items() if count]


def add(stats: RouteStats, taken: Mapping[str, Any], *, alive: bool = True) -> None:
    """Add the numbers of another process to ``stats``; if it is not ``alive``, only its counters.

    The last try of all processes decides whether the agent is up, or that it is not known any more, as in one process. If any
    failure decided, a worker whose dial once failed would report the agent as down until it has a reason to dial again.
    """
    _sum(stats, taken, (*COUNTS, *(NOW if alive else ())), BUCKETS)
    for name in BY_LABELS:
        counter = getattr(stats, name)
        for labels, count in taken[name]:
            counter[tuple(labels)] += count
    _sum(stats.tally, taken["tally"], (*TALLY_COUNTS, *(TALLY_NOW if alive else ())), TALLY_BUCKETS)
    for address, numbers in taken["agents"].items():
        agent = stats.agents.setdefault(address, AgentStats())
        agent.dials += numbers["dials"]
        agent.notifies += numbers["notifies"]
        agent.failed_notifies += numbers["failed_notifies"]
        agent.links += numbers["links"] if alive else 0
        for labels, count in numbers["failures"]:
            agent.failures[tuple(labels)] += count
        if numbers["tried_at"] and numbers["tried_at"] >= agent.tried_at:  # 0: never tried
            agent.tried(numbers["tried_at"], up=numbers["up"], detail=numbers["detail"])
    if taken["peer_at"] > stats.peer_at:
        stats.peer, stats.peer_at = taken["peer"], taken["peer_at"]
    if alive:
        before, now = stats.oldest(), taken["oldest"]
        stats.oldest = lambda: max(before, now)
        open_on = Counter(stats.open_on())
        open_on.update(taken["open_on"])
        stats.open_on = lambda: open_on


def _sum(into: RouteStats | Tally, taken: Mapping[str, Any], numbers: tuple[str, ...], buckets: tuple[str, ...]) -> None:
    for name in numbers:
        setattr(into, name, getattr(into, name) + taken[name])
    for name in buckets:
        counts = getattr(into, name)
        for at, other in enumerate(taken[name]):
            counts[at] += other
