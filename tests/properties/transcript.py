"""The events on the wires of one session, and the settings that decide what was due."""

import enum
from dataclasses import dataclass

EPSILON_S = 1e-6


class Did(enum.Enum):
    HAPROXY_SAID = "haproxy said"
    HAPROXY_GOT = "haproxy got"  # one write
    HAPROXY_LEFT = "haproxy left"  # FIN or RST of its own
    HAPROXY_GOT_FIN = "haproxy got fin"  # the guard still reads what it says
    HAPROXY_CLOSED = "haproxy was closed"  # by the guard
    AGENT_SAID = "agent said"
    AGENT_GOT = "agent got"
    AGENT_LEFT = "agent left"
    AGENT_CLOSED = "agent was closed"
    AGENT_DIALLED = "agent is dialled"  # a link of its own each time
    AGENT_FAILED = "agent could not be dialled"
    AGENT_ELSEWHERE = "agent is there"  # it said AGENT-HELLO to another session of the route
    DRAIN = "drain"
    OVER = "over"  # the transcript ends here


@dataclass(frozen=True)
class Step:
    at: float
    did: Did
    data: bytes = b""
    link: int = 0  # of the agent's


Transcript = list[Step]


@dataclass(frozen=True)
class Terms:
    """The settings that decide what is due, in seconds and counts; as SessionConfig's defaults."""

    hold_s: float = 0.5
    connect_s: float = 1.0
    hello_s: float = 2.0
    frame_s: float = 2.0
    idle_s: float = 600.0
    close_s: float = 1.0
    answer_deadline_s: float | None = None
    park_s: float | None = None
    agent_hello_s: float | None = None
    open_notifies: int = 65536
    held_bytes: int = 1048576
    capabilities: frozenset[str] = frozenset(("pipelining",))
    always_offer: frozenset[str] = frozenset()
    unanswered: str = "leave"  # as in the settings
    error_name: bytes = b""  # the variable of ``unanswered: set``
    max_frame_size: int | None = None
    engine_id: str | None = None
    exact_keys: bool = False
    give_up_s: float = 0.0
    in_flight: int = 0  # NOTIFYs on one link, 0: any number
    redispatches: bool = False  # what a lost link had and did not answer, once

    @property
    def answers_for_agents(self) -> bool:
        return self.unanswered in ("set", "empty-ack")
