"""Sessions for the recorder: HELLOs exchanged, NOTIFYs answered, and an agent that misbehaves."""

import math

from spoe_guard.capture.record.recorder import Recorder
from spoe_guard.core.conversation.route_state import RouteState
from spoe_guard.core.observed import open_session
from spoe_guard.core.terms.anomalies import Side
from spoe_guard.core.terms.config import SessionConfig
from spoe_guard.lab import frames
from spoe_guard.net.witness import Track
from spoe_guard.observe.stats import RouteStats
from spoe_guard.wire import frame

H, A = Side.HAPROXY, Side.AGENT
RUNT = bytes(4)


def notify(number, path=b"/x"):
    return frames.notify(number, 1, path)


def ack(to):
    sent = frame.parse(to)
    return frames.ack(sent, frames.text_verdict(b"verdict", frames.first_argument(sent)))


def notify_of(number):
    """As ``Recorded.round_trips`` sends it."""
    return notify(number, b"//")


class Ends:
    """What the recorder asks the socket of a connection between the two ports."""

    def __init__(self, here, there):
        self._here, self._there = ("127.0.0.1", here), ("127.0.0.1", there)

    def getsockname(self):
        return self._here

    def getpeername(self):
        return self._there


class Timer:
    """What is to be done at a time of the scene's clock."""

    def __init__(self, at, do):
        self.at = at
        self.do = do

    def cancel(self):
        self.at = math.inf


class Told:
    """A session whose steps the recorder is told of, as by a relay."""

    def __init__(self, scene, session, number):
        self._scene = scene
        self._session = session
        self._recorder = scene.recorder
        self.number = number
        self.tracks = {}
        self.met(H)

    @property
    def recording(self):
        return self._recorder._recordings.get(self.number)

    def met(self, side, link_id=0, here=1, there=2):
        track = self.tracks[side, link_id] = Track(self.number, side, link_id)
        self._recorder.met(track, Ends(here, there))
        return track

    def receive(self, side, data, now, link_id=0):
        out = self._session.receive(side, data, now, link_id)
        self._recorder.read(self.tracks[side, link_id], data, now, out)
        return out

    def agent_connected(self, now, link_id=0):
        self.met(A, link_id)
        return self._told(now, self._session.agent_connected(now, link_id))

    def closed(self, side, now, *, reset, link_id=0):
        out = self._session.closed(side, now, reset=reset, link_id=link_id)
        self._recorder.note(self.number, side, link_id, b"", now, out, reset=reset)
        return out

    def take_over(self, handed, now):
        out = self._session.take_over(handed, now)
        self._recorder.note(self.number, H, 0, handed.hello, now, out)
        return out

    def tick(self, now):
        self._scene.ring(now)
        return self._told(now, self._session.tick(now))

    def start(self, now):
        return self._told(now, self._session.start(now))

    def handed_over(self, now):
        return self._told(now, self._session.handed_over(now))

    def to_hand_over(self):
        return self._session.to_hand_over()

    def release(self):
        self._session.release()
        self._recorder.over(self.number)

    def entries(self):
        return self.recording.entries() if self.recording is not None else []

    def _told(self, now, out):
        self._recorder.note(self.number, A, 0, b"", now, out)
        return out


class Recorded:
    """A recorder with one route, what it handed over, and sessions on a clock of its own."""

    def __init__(self, *, room=True, **how):
        self.stats = {"default": RouteStats()}
        self.takes = []
        self.room = room
        self.now = 0.0
        self.timers = []
        how = {"session_bytes": 16384, "total_bytes": 64 << 20, "clock": lambda: self.now} | how
        self.recorder = Recorder(self.stats, self._submit, self._later, **how)
        self._number = 0

    def _submit(self, take):
        self.takes.append(take)
        return self.room

    def _later(self, seconds, do):
        self.timers.append(Timer(self.now + seconds, do))
        return self.timers[-1]

    def ring(self, now):
        due = [timer for timer in self.timers if timer.at <= now]
        for timer in due:
            self.timers.remove(timer)
            timer.do()

    def dropped(self):
        return {reason: count for (reason,), count in self.stats["default"].captures_dropped.items() if count}

    def begin(self, config=None):
        """A session that HAProxy has just connected to; whether it is recorded says ``recording``."""
        self._number += 1
        self.recorder.begin("default", self._number)
        plain = open_session(config or SessionConfig(), self.stats["default"].tally, self.now, RouteState(self._number))
        return Told(self, plain, self._number)

    def session(self, config=None):
        """A session that has the HELLOs behind it."""
        made = self.begin(config)
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
