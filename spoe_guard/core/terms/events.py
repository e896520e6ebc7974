"""What a session reports besides bytes: one small object for everything that is not an ordinary frame.

Ordinary frames are never events; they are counted in a ``Tally``.
"""

import enum
from dataclasses import dataclass, field

from spoe_guard.core.terms.anomalies import Action, Anomaly, Side
from spoe_guard.core.terms.config import Redispatch
from spoe_guard.core.terms.family import Family


@enum.unique
class Direction(enum.Enum):
    """Which way bytes travel."""

    TO_AGENT = "to_agent"
    TO_HAPROXY = "to_haproxy"


@enum.unique
class EndedBy(enum.Enum):
    """Who ended a session."""

    HAPROXY = "haproxy"
    AGENT = "agent"
    GUARD = "guard"


@enum.unique
class EndReason(enum.Enum):
    """Why a session ended; label values of ``spoe_guard_connections_closed_total``."""

    DISCONNECT = "disconnect"  # that side sent DISCONNECT
    CLOSED = "closed"  # that side closed its connection (FIN)
    RESET = "reset"  # that side reset it
    HELLO_TIMEOUT = "hello_timeout"
    FRAME_TIMEOUT = "frame_timeout"
    IDLE_TIMEOUT = "idle_timeout"
    UNREACHABLE = "unreachable"  # the agent could not be dialled
    REFUSED = "refused"  # the agent refused the HELLO
    ANOMALY = "anomaly"  # an anomaly whose action ends the session
    GLITCHES = "glitches"  # a side made more anomalies than ``limits.glitches``
    LIMIT = "limit"  # a bound was reached
    DRAIN = "drain"  # the guard is stopping
    HANDED_OVER = "handed_over"  # the next guard continues it on the same connection
    UNANSWERED = "unanswered"  # a NOTIFY got no answer, and HAProxy learns of it by the end of the connection
    INTERNAL_ERROR = "internal_error"


@enum.unique
class GaveWay(enum.Enum):
    """Why a session gave way to others; label values of ``spoe_guard_sessions_gave_way_total``."""

    TOTAL_BYTES = "total_bytes"  # it kept most when all together kept more than ``limits.total_bytes``
    NO_HELLO = "no_hello"  # it had sent no HAPROXY-HELLO, and its place, or its descriptor, was needed


@enum.unique
class UnansweredReason(enum.Enum):
    """Why a NOTIFY stayed without the agent's ACK; label values of ``spoe_guard_unanswered_notifies_total``."""

    DEADLINE = "deadline"  # open longer than ``answer_deadline``
    AGENT_GONE = "agent_gone"  # the agent closed, died, or sent DISCONNECT
    AGENT_AWAY = "agent_away"  # no agent was there to take it
    ACK_DROPPED = "ack_dropped"  # its ACK could not be passed
    NOTIFY_DROPPED = "notify_dropped"  # the NOTIFY could not be passed
    LIMIT = "limit"  # more than ``open_notifies`` at a time: the oldest is given up; or the session ended at a bound on bytes
    SUPERSEDED = "superseded"  # HAProxy, which sends one at a time, sent the next without waiting for it
    HAPROXY_GONE = "haproxy_gone"  # HAProxy ended the connection first


@enum.unique
class AuthoredReason(enum.Enum):
    """Why the guard wrote a frame itself; label values of ``spoe_guard_synthesized_frames_total``."""

    REPAIRED = "repaired"  # in place of a frame that could not be passed
    HELLO_NORMALISED = "hello_normalised"  # a HELLO changed because a setting asks for it
    DISCONNECT = "disconnect"  # a DISCONNECT nobody else sent
    ANSWERED = "answered"  # an ACK or DISCONNECT in place of the agent
    REPLAYED = "replayed"  # HELLO and NOTIFYs for a link that replaces another


@enum.unique
class DialFailure(enum.Enum):
    """Why the agent could not be reached; label values of ``spoe_guard_agent_connect_failures_total``."""

    REFUSED = "refused"
    TIMEOUT = "timeout"
    UNRESOLVED = "unresolved"
    NO_ROUTE = "no_route"
    NO_SOCKET = "no_socket"  # a Unix socket that does not exist, or may not be opened
    HELLO_TIMEOUT = "hello_timeout"  # connected, but then nothing came
    HELLO_REFUSED = "hello_refused"  # connected, and AGENT-DISCONNECT came in place of AGENT-HELLO
    HAPROXY_GAVE_UP = "haproxy_gave_up"  # connected, but HAProxy did not wait long enough for AGENT-HELLO
    OWN_LIMIT = "own_limit"  # the guard itself is short of file descriptors, memory or local ports: no fault of the agent
    OURSELVES = "ourselves"  # the guard would have dialled one of its own listening sockets
    OTHER = "other"


@enum.unique
class LinkReason(enum.Enum):
    """Why an agent link was opened; label values of ``spoe_guard_agent_links_opened_total``."""

    FIRST = "first"  # of its session
    CHECK = "check"  # a health check's own
    REPLACEMENT = "replacement"  # none of the earlier links was left
    PARALLEL = "parallel"  # the other links had as many open NOTIFYs as allowed


@enum.unique
class LinkLoss(enum.Enum):
    """Why an agent link ended while its session continued."""

    DISCONNECT = "disconnect"  # the agent sent DISCONNECT
    CLOSED = "closed"  # the agent closed it (FIN)
    RESET = "reset"
    FRAME_TIMEOUT = "frame_timeout"
    ANOMALY = "anomaly"  # an anomaly whose action ends the link
    DEADLINE = "deadline"  # a NOTIFY that was open for too long blocked it
    RETIRED = "retired"  # idle for ``links.retire``, closed by the guard


SAMPLE_BYTES = 256  # how many bytes of an anomaly its event has at most


@dataclass(slots=True)
class AnomalySeen:
    """A departure from the protocol, in order with the frames around it.

    ``applied`` is False in observe mode. ``state`` is the session's state by name. ``type``, ``stream_id``, ``frame_id`` are
    None if the bytes have none; ``length`` is the announced length (bytes behind the prefix) or the number of bytes concerned;
    ``offset`` counts the bytes that side had sent before these. ``detail`` is a readable sentence in the guard's own words, with
    no more of a peer's than numbers of a frame's header and words of SPOP; ``quoted`` the words of the peer that belong to it;
    ``sample`` the first ``SAMPLE_BYTES`` bytes concerned.
    """

    anomaly: Anomaly
    side: Side
    action: Action
    state: str
    type: int | None = None
    stream_id: int | None = None
    frame_id: int | None = None
    length: int | None = None
    offset: int = 0
    open_notifies: int = 0
    detail: str = ""
    quoted: str = ""
    sample: bytes = b""
    applied: bool = True

    def explanation(self, *, quotes: bool) -> str:
        """Return ``detail``, and behind it the peer's own words if ``quotes``."""
        return f"{self.detail}: {self.quoted}" if quotes and self.quoted else self.detail


@dataclass(slots=True)
class FrameAuthored:
    """The guard wrote a frame of its own, of ``type`` (a wire frame type)."""

    direction: Direction
    type: int
    reason: AuthoredReason


@dataclass(slots=True)
class DisconnectSeen:
    """A side sent DISCONNECT. ``status_code`` is as received, None if it could not be read.

    ``open_notifies``: if HAProxy sent it, how many of its NOTIFYs had no answer yet. With status 0 (normal) that is HAProxy's own
    doing: it gave them up before (its timeout processing), or lost them (hazard F6).
    """

    side: Side
    status_code: int | None
    message: str
    open_notifies: int = 0


@dataclass(slots=True)
class NotifiesUnanswered:
    """``count`` NOTIFYs will get no ACK from the agent; ``unchecked`` of them got one without effect, so their requests go on.

    ``links``: how many of them the agent of which link had in hand, by the link's number; no other was with an agent.
    ``agents``: the same by its address, which the shell adds.
    """

    reason: UnansweredReason
    count: int
    unchecked: int = 0
    links: tuple[tuple[int, int], ...] = field(default=(), compare=False)
    agents: tuple[tuple[str, int], ...] = field(default=(), compare=False)


@dataclass(slots=True)
class DisconnectHeld:
    """The end of an agent link was delayed by ``seconds``, for its open NOTIFYs."""

    seconds: float


@dataclass(slots=True)
class AgentReady:
    """The agent of link ``link_id`` answered with a HELLO. ``agent``: its address, which the shell adds."""

    max_frame_size: int
    capabilities: str
    healthcheck: bool
    link_id: int = 0
    agent: str = ""


@dataclass(slots=True)
class AgentUnreachable:
    """The agent could not be dialled, or did not send HELLO in time. ``detail`` is the system's own text.

    ``link_id``: the link that was dialled. ``agent``: the address that did not answer, which the shell adds; empty if the dial of
    each address failed, and was reported as it did.
    """

    reason: DialFailure
    detail: str
    link_id: int = 0
    agent: str = ""


@dataclass(slots=True)
class OneAtATime:
    """HAProxy is told to send one NOTIFY at a time: how much it has read cannot be known (hazard A1)."""


@dataclass(slots=True)
class HaproxyKnown:
    """The family of this session's HAProxy is known, once it is."""

    family: Family


@dataclass(slots=True)
class LinkUp:
    """An agent link is ready for NOTIFYs. ``away_s``: how long the session had none, 0 for one that joins others."""

    reason: LinkReason
    away_s: float = 0.0


@dataclass(slots=True)
class LinkLost:
    """An agent link ended and the session continues. ``again``: how many of its open NOTIFYs go to another link."""

    reason: LinkLoss
    open_notifies: int = 0
    again: int = 0


@dataclass(slots=True)
class LinkFailed:
    """The link ``link_id`` ended with NOTIFYs open, or its agent let them pass their deadline without a word.

    Reported in the step in which it ends, for the shell to choose where the next link goes; ``LinkLost`` tells what became of the
    NOTIFYs. ``agent``: its address, which the shell adds.
    """

    reason: LinkLoss
    link_id: int
    agent: str = ""


@dataclass(slots=True)
class NotifiesRedispatched:
    """``count`` waiting NOTIFYs were sent; ``kind``: whether another link had them before. Never ``OFF``."""

    kind: Redispatch
    count: int


@dataclass(slots=True)
class SessionEnded:
    """The session is over: exactly one per session, and its last event."""

    by: EndedBy
    reason: EndReason


Event = (
    AnomalySeen
    | FrameAuthored
    | DisconnectSeen
    | NotifiesUnanswered
    | DisconnectHeld
    | AgentReady
    | AgentUnreachable
    | OneAtATime
    | HaproxyKnown
    | LinkUp
    | LinkLost
    | LinkFailed
    | NotifiesRedispatched
    | SessionEnded
)
