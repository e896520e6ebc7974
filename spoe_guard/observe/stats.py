"""The numbers of one route, as plain integers. They are turned into metrics only when somebody asks."""

from bisect import bisect_left
from collections import Counter
from typing import Final

from spoe_guard.core.terms.config import Redispatch
from spoe_guard.core.terms.events import DialFailure, Direction, LinkReason, UnansweredReason
from spoe_guard.core.terms.tally import Tally, by_type
from spoe_guard.wire.frame import TYPE_NAMES

# Upper bounds in seconds of spoe_guard_disconnect_hold_seconds.
HOLD_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

_STATUS_CODES: Final = frozenset((*range(14), 99))  # SPOE.txt 3.5

# Why an anomaly of the chosen severity has no capture: the rate limit, no room for more, the disk, a bug of ours.
CAPTURE_DROPS: Final = ("rate", "busy", "disk", "error")

Labels = tuple[str, ...]


class RouteStats:
    """Counters by label values, all from closed sets. ``agent_up`` is None until the agent was dialled.

    ``agent_tried_at``: time of the last try, in seconds of the monotonic clock that all processes of a machine share.
    """

    __slots__ = (
        "agent_detail",
        "agent_tried_at",
        "agent_up",
        "anomalies",
        "authored",
        "captures_dropped",
        "captures_written",
        "closed",
        "connect_failures",
        "connections",
        "disconnects",
        "hold_buckets",
        "hold_seconds",
        "internal_errors",
        "links",
        "links_opened",
        "open",
        "redispatched",
        "suppressed",
        "tally",
        "unanswered",
    )

    def __init__(self) -> None:
        self.tally = Tally()
        self.connections = 0
        self.open = 0
        self.closed: Counter[Labels] = Counter()  # by, reason
        self.anomalies: Counter[Labels] = Counter()  # side, anomaly, action, applied
        self.authored: Counter[Labels] = Counter()  # direction, type, reason
        self.disconnects: Counter[Labels] = Counter()  # side, status_code
        self.unanswered: Counter[Labels] = Counter({(reason.value,): 0 for reason in UnansweredReason})
        self.connect_failures: Counter[Labels] = Counter({(reason.value,): 0 for reason in DialFailure})
        self.hold_buckets = [0] * (len(HOLD_BUCKETS) + 1)
        self.hold_seconds = 0.0
        self.agent_up: bool | None = None
        self.agent_detail = ""  # of the last failure, for people
        self.agent_tried_at = 0.0
        self.links = 0
        self.links_opened: Counter[Labels] = Counter({(reason.value,): 0 for reason in LinkReason})
        kinds = [kind for kind in Redispatch if kind is not Redispatch.OFF]
        self.redispatched: Counter[Labels] = Counter({(kind.value,): 0 for kind in kinds})
        self.suppressed = 0
        self.captures_written = 0
        self.captures_dropped: Counter[Labels] = Counter({(reason,): 0 for reason in CAPTURE_DROPS})
        self.internal_errors = 0

    def agent_tried(self, now: float, *, up: bool, detail: str = "") -> None:
        """Note the result of the last try to reach the agent."""
        self.agent_up, self.agent_detail, self.agent_tried_at = up, detail, now

    def forget_agent(self, now: float) -> None:
        """Reset the state of the agent: the route has a new one, not dialled yet."""
        self.agent_up, self.agent_detail, self.agent_tried_at = None, "", now

    def observe_hold(self, seconds: float) -> None:
        """Count one AGENT-DISCONNECT that was held for ``seconds``."""
        self.hold_buckets[bisect_left(HOLD_BUCKETS, seconds)] += 1
        self.hold_seconds += seconds

    def frames(self) -> list[tuple[Labels, int]]:
        """Return the number of frames received, by direction and type; types that share a name are added up."""
        counts: Counter[Labels] = Counter()
        for direction, frames in (
            (Direction.TO_AGENT, self.tally.frames_to_agent),
            (Direction.TO_HAPROXY, self.tally.frames_to_haproxy),
        ):
            for type_, count in by_type(frames):
                counts[direction.value, type_name(type_)] += count
        return list(counts.items())


def type_name(type_: int) -> str:
    """Return the label value for a frame type: ``notify``, ``ack``, ... or ``unknown``."""
    return TYPE_NAMES[type_].lower() if type_ in TYPE_NAMES else "unknown"


def status_label(status_code: int | None) -> str:
    """Return the label value for a DISCONNECT's status: 0-13, 99, or ``other``, so that a peer cannot invent label values."""
    return str(status_code) if status_code in _STATUS_CODES else "other"
