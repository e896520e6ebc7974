"""Sessions for the recorder: HELLOs done, NOTIFYs answered, and an agent that goes wrong."""

from spoe_guard.capture.recorder import Recorder
from spoe_guard.core.anomalies import Side
from spoe_guard.core.config import SessionConfig
from spoe_guard.core.place import Place
from spoe_guard.lab import frames
from spoe_guard.observe.stats import RouteStats
from spoe_guard.wire import frame

H, A = Side.HAPROXY, Side.AGENT
RUNT = bytes(4)


def notify(number, path=b"/x"):
    return frames.notify(number, 1, path)


def ack(to):
    said = frame.parse(to)
    return frames.ack(said, frames.text_verdict(b"verdict", frames.first_argument(said)))


class Recorded:
    """A recorder with one route, what it handed over, and sessions on a clock of its own."""

    def __init__(self, *, room=True, **how):
        self.stats = {"default": RouteStats()}
        self.takes = []
        self.room = room
        self.now = 0.0
        how = {"session_bytes": 16384, "total_bytes": 64 << 20, "clock": lambda: self.now} | how
        self.recorder = Recorder(self.stats, self._submit, **how)
        self._number = 0

    def _submit(self, take):
        self.takes.append(take)
        return self.room

    def dropped(self):
        return {reason: count for (reason,), count in self.stats["default"].captures_dropped.items() if count}

    def session(self, config=None):
        """A session that has the HELLOs behind it."""
        self._number += 1
        made = self.recorder.make_session(config or SessionConfig(), self.stats["default"].tally, self.now, Place(self._number))
        made.start(self.now)
        made.receive(H, frames.haproxy_hello(), self.now)
        made.agent_connected(self.now)
        made.receive(A, frames.agent_hello(), self.now)
        return made

    def round_trips(self, session, count, first=1, size=2):
        for number in range(first, first + count):
            self.now += 0.001
            asked = notify(number, b"/" * size)
            assert session.receive(H, asked, self.now).to_agent == asked
            assert session.receive(A, ack(asked), self.now).to_haproxy == ack(asked)

    def go_wrong(self, session):
        self.now += 0.001
        return session.receive(A, RUNT, self.now)


def end(session, now):
    session.closed(H, now, reset=True)
    session.tick(now + 10)
