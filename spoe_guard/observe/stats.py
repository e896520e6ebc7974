"""The numbers of one route, as plain integers. They are turned into metrics only when somebody asks."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Final

from spoe_guard.core.terms.anomalies import Action, Anomaly, Side
from spoe_guard.core.terms.config import Redispatch
from spoe_guard.core.terms.events import AuthoredReason, DialFailure, Direction, GaveWay, LinkReason, UnansweredReason
from spoe_guard.core.terms.family import Family
from spoe_guard.core.terms.tally import Tally, by_type
from spoe_guard.observe.consequence import Consequence, consequence
from spoe_guard.wire.frame import TYPE_NAMES

# Upper bounds in seconds of spoe_guard_disconnect_hold_seconds.
HOLD_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

_STATUS_CODES: Final = frozenset((*range(14), 99))  # SPOE.txt 3.5

_NONE_CAME: Final[dict["Labels", int]] = {(each.value,): 0 for each in Consequence if each is not Consequence.NONE}

# Why an anomaly of the chosen severity has no capture: the rate limit, no room for more, the disk, a bug of ours.
CAPTURE_DROPS: Final = ("rate", "busy", "disk", "error")

Labels = tuple[str, ...]


def _none_yet(values: Iterable[str]) -> Counter[Labels]:
    """Return a counter that has a zero for each value of its label."""
    return Counter({(value,): 0 for value in values})


# What there is to count from the start. A counter of a route is a copy, so that all routes have the same keys: who looks at a
# thousand of them finds the labels of each sample where those of the route before were.
_ACCEPT_FAILURES: Final = _none_yet([DialFailure.OWN_LIMIT.value])
_DIAL_FAILURES: Final = _none_yet(reason.value for reason in DialFailure)
_GAVE_WAY: Final = _none_yet(reason.value for reason in GaveWay)
_FAMILIES: Final = _none_yet(family.value for family in (Family.APPLET, Family.MUX))
_UNANSWERED: Final = _none_yet(reason.value for reason in UnansweredReason)
_LINKS_OPENED: Final = _none_yet(reason.value for reason in LinkReason)
_REDISPATCHED: Final = _none_yet(kind.value for kind in Redispatch if kind is not Redispatch.OFF)
_CAPTURES_DROPPED: Final = _none_yet(CAPTURE_DROPS)

IMPATIENT: Final = 3  # HELLOs in a row that HAProxy did not wait for: from then on the agent counts as down


class AgentStats:
    """One address of a route's agent. ``up``: whether it answered the last try, None until there was one.

    ``tried_at``: time of the last try, in seconds of the monotonic clock that all processes of a machine share. ``detail``: of
    the last failure, for people. ``impatient``: HELLOs in a row that HAProxy did not wait for. ``notifies``: those that the agent
    there was given by other processes. ``failed_notifies``: those that it had in hand when they failed, which is for any reason
    but that HAProxy left.
    """

    __slots__ = ("detail", "dials", "failed_notifies", "failures", "impatient", "links", "notifies", "tried_at", "up")

    def __init__(self) -> None:
        self.up: bool | None = None
        self.detail = ""
        self.tried_at = 0.0
        self.impatient = 0
        self.dials = 0
        self.notifies = 0
        self.failed_notifies = 0
        self.links = 0
        self.failures = _DIAL_FAILURES.copy()

    def answered(self, now: float) -> None:
        """Note that AGENT-HELLO came."""
        self.up, self.detail, self.tried_at, self.impatient = True, "", now, 0

    def failed(self, now: float, reason: DialFailure, detail: str) -> None:
        """Note that a dial failed, or the HELLO behind it. What is the guard's own fault says nothing of the agent."""
        self.failures[reason.value,] += 1
        if reason is DialFailure.OWN_LIMIT:
            return
        self.impatient = self.impatient + 1 if reason is DialFailure.HAPROXY_GAVE_UP else 0
        if reason is not DialFailure.HAPROXY_GAVE_UP or self.impatient >= IMPATIENT:
            self.tried(now, up=False, detail=f"{reason.value}: {detail}")

    def tried(self, now: float, *, up: bool | None, detail: str = "") -> None:
        """Note the result of the last try; None: it says nothing of the agent."""
        self.up, self.detail, self.tried_at = up, detail, now


class RouteStats:
    """Counters by label values, all from closed sets. ``agents``: by address, as in the settings.

    ``families``: sessions by the family of their HAProxy, once it is known. ``peer``: who connected last, ``peer_at`` when,
    monotonic seconds.
    ``oldest``: returns for how many seconds the oldest NOTIFY has been open or parked. ``open_on``: returns how many NOTIFYs the
    agent has in hand, by address; ``given_to``: how many it was given, by this process.
    """

    __slots__ = (
        "accept_failures",
        "agents",
        "anomalies",
        "authored",
        "captures_dropped",
        "captures_written",
        "closed",
        "connections",
        "consequences",
        "disconnects",
        "families",
        "gave_way",
        "given_to",
        "hold_buckets",
        "hold_seconds",
        "internal_errors",
        "links_opened",
        "oldest",
        "open",
        "open_on",
        "peer",
        "peer_at",
        "redispatched",
        "suppressed",
        "tally",
        "unanswered",
        "unchecked",
    )

    def __init__(self) -> None:
        self.tally = Tally()
        self.connections = 0
        self.accept_failures = _ACCEPT_FAILURES.copy()
        self.gave_way = _GAVE_WAY.copy()
        self.open = 0
        self.closed: Counter[Labels] = Counter()  # by, reason
        self.anomalies: Counter[Labels] = Counter()  # side, anomaly, action, applied
        self.consequences: Counter[Labels] = Counter()  # anomaly, consequence
        self.families = _FAMILIES.copy()
        self.peer = ""
        self.peer_at = 0.0
        self.authored: Counter[Labels] = Counter()  # direction, type, reason
        self.disconnects: Counter[Labels] = Counter()  # side, status_code
        self.unanswered = _UNANSWERED.copy()
        self.unchecked = 0
        self.hold_buckets = [0] * (len(HOLD_BUCKETS) + 1)
        self.hold_seconds = 0.0
        self.agents: dict[str, AgentStats] = {}
        self.oldest: Callable[[], float] = lambda: 0.0
        self.open_on: Callable[[], Mapping[str, int]] = dict
        self.given_to: Callable[[], Mapping[str, int]] = dict
        self.links_opened = _LINKS_OPENED.copy()
        self.redispatched = _REDISPATCHED.copy()
        self.suppressed = 0
        self.captures_written = 0
        self.captures_dropped = _CAPTURES_DROPPED.copy()
        self.internal_errors = 0

    def serve(self, agents: Iterable[str]) -> None:
        """Set the addresses of the agent, in their order; what is known of one that stays is kept."""
        self.agents = {agent: self.agents.get(agent) or AgentStats() for agent in agents}

    def agent(self, address: str) -> AgentStats:
        """Return what is known of an address; one that is in the settings no more is of interest to nobody."""
        return self.agents.get(address) or AgentStats()

    def notifies_by_agent(self) -> dict[str, int]:
        """Return how many NOTIFYs the agent at each address was given, by all processes."""
        given = self.given_to()
        return {address: agent.notifies + given.get(address, 0) for address, agent in self.agents.items()}

    @property
    def agent_up(self) -> bool | None:
        """Whether the agent is there, at one address at least; None until it was tried."""
        states = [agent.up for agent in self.agents.values()]
        return True if True in states else False if False in states else None

    @property
    def agent_detail(self) -> str:
        """What is wrong with the addresses that are down, for people."""
        down = [(address, agent.detail) for address, agent in self.agents.items() if agent.up is False]
        return down[0][1] if len(self.agents) == 1 and down else "; ".join(f"{address} {detail}" for address, detail in down)

    def family_names(self) -> list[str]:
        """Return the families of HAProxy that have connected, as far as they were recognised, as they are told, in one order."""
        return [name for (name,), count in self.families.items() if count]

    def known_families(self) -> frozenset[Family]:
        """Return the same as ``Family``."""
        return frozenset(map(Family, self.family_names()))

    def came_of_anomalies(self) -> dict[Labels, int]:
        """Return how often each consequence came of an anomaly."""
        counts = _NONE_CAME.copy()
        for (_anomaly, came_of_it), count in self.consequences.items():
            counts[came_of_it,] += count
        return counts

    def enforce_would_have(self) -> Counter[Consequence]:
        """Return what would have come of the anomalies that were only observed, had the guard done what it reports of them.

        Of which families of HAProxy connect, what is known by now counts.
        """
        counts: Counter[Consequence] = Counter()
        for (side, anomaly, action, applied), count in self.anomalies.items():
            if applied == "false":
                families = self.known_families()
                counts[consequence(Side(side), Anomaly(anomaly), Action(action), applied=True, families=families)] += count
        return counts

    def hellos(self) -> int:
        """Return how many connections of HAProxy got AGENT-HELLO, without health checks."""
        own = self.authored[Direction.TO_HAPROXY.value, "agent_hello", AuthoredReason.ANSWERED.value]
        return self.links_opened[LinkReason.FIRST.value,] + own

    def failures(self, reason: DialFailure) -> int:
        """Return how many dials of the agent, at any address, failed for that reason."""
        labels = (reason.value,)
        return sum([agent.failures[labels] for agent in self.agents.values()])

    @property
    def links(self) -> int:
        """How many connections to the agent are open."""
        return sum(agent.links for agent in self.agents.values())

    def unresolved(self, now: float, faults: Mapping[str, str]) -> None:
        """Note that none of the agent's names resolves, and why, by address. That counts as a try that failed."""
        for address, why in faults.items():
            self.agent(address).failed(now, DialFailure.UNRESOLVED, why)

    def resolved(self) -> None:
        """Note that a name of the agent resolves; whether the agent is there is not known yet.

        That is no try: what another process has found out since the last one counts.
        """
        for agent in self.agents.values():
            if agent.up is False and agent.detail.startswith(DialFailure.UNRESOLVED.value):
                agent.tried(agent.tried_at, up=None)

    def observe_hold(self, seconds: float) -> None:
        """Count one AGENT-DISCONNECT that was held for ``seconds``."""
        self.hold_buckets[bisect_left(HOLD_BUCKETS, seconds)] += 1
        self.hold_seconds += seconds

    def frames(self) -> list[tuple[Labels, int]]:
        """Return the number of frames received, by direction and type."""
        counts = _of_each_type(self.tally.frames_to_agent) + _of_each_type(self.tally.frames_to_haproxy)
        return list(zip(FRAMES, counts, strict=True))


def type_name(type_: int) -> str:
    """Return the label value for a frame type: ``notify``, ``ack``, ... or ``unknown``."""
    return TYPE_NAMES[type_].lower() if type_ in TYPE_NAMES else "unknown"


# Both directions have the same types.
_TYPES: Final = tuple(type_ for type_, _count in by_type(Tally().frames_to_agent))
_of_each_type: Final[Callable[[Sequence[int]], tuple[int, ...]]] = itemgetter(*_TYPES)
FRAMES: Final = tuple(
    (direction.value, type_name(type_)) for direction in (Direction.TO_AGENT, Direction.TO_HAPROXY) for type_ in _TYPES
)


def status_label(status_code: int | None) -> str:
    """Return the label value for a DISCONNECT's status: 0-13, 99, or ``other``, so that a peer cannot invent label values."""
    return str(status_code) if status_code in _STATUS_CODES else "other"
