"""An agent that behaves, goes wrong from one moment on, and behaves again from another."""

from typing import Final

from spoe_guard.lab import frames
from spoe_guard.lab.agent import Script
from spoe_guard.lab.faults import FAULTS, Due, Fault, Later, On, Step
from spoe_guard.lab.misbehaviour import MISBEHAVIOURS, End
from spoe_guard.wire import frame
from tests.integration.agent import AgentThread

BAD_VERSION: Final = 4  # SPOE.txt 3.5: unsupported version
SLOW_S: Final = 0.7  # longer than what the guard calls slow, and no longer than HAProxy waits
LATE_S: Final = 1.3  # longer than HAProxy waits


def _later(due: Due) -> list[Step]:
    return [Later(due.frame.raw)]


def _refuses(_due: Due) -> list[Step]:
    return [frames.disconnect(frame.AGENT_DISCONNECT, BAD_VERSION, b"unsupported version"), End.CLOSE]


LATE: Final = Fault("late", "writes its ACK later than it could", _later)
REFUSES: Final = Fault("refuses", "answers HELLO with AGENT-DISCONNECT: unsupported version", _refuses, On.HELLO)
RUNT: Final = Fault(
    "zero_length_frame",
    "writes a frame of length 0 in place of its ACK, and closes",
    lambda due: MISBEHAVIOURS["zero_length_frame"].play([due.frame]),
)
DISCONNECTS: Final = FAULTS["ack_after_disconnect"]
STRAYS: Final = FAULTS["unmatched_ack"]


class TurningAgent(AgentThread):
    """It commits ``fault`` on each ``every``-th frame on which it could, while it is ``wrong``.

    ``late_s``: how much later than others a late answer comes; ``delay_s``: of all its answers.
    """

    def __init__(self, fault: Fault | None = None, every: int = 1, late_s: float = LATE_S, delay_s: float = 0.0) -> None:
        self.wrong = False
        self._every = every
        self._asked = 0
        super().__init__(Script(fault=fault, turn=self._turn, late_s=late_s, delay_s=delay_s))

    def _turn(self) -> bool:
        self._asked += self.wrong
        return self.wrong and self._asked % self._every == 0

    def drop(self) -> None:
        """Drop every connection, as when it is started again."""
        self._loop.call_soon_threadsafe(self.agent.drop)
