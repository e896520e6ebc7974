"""Test doubles for the rings around net/: an observer that keeps everything, a session that passes everything."""

from spoe_guard.core.terms.anomalies import Side
from spoe_guard.core.terms.events import EndedBy, EndReason, SessionEnded
from spoe_guard.core.terms.output import Close, Output
from spoe_guard.core.terms.tally import Tally


class Recorder:
    """An observer that keeps everything."""

    def __init__(self):
        self.tallies = {}
        self.log = []
        self.errors = []
        self.dials = []

    def tally(self, route):
        return self.tallies.setdefault(route, Tally())

    def session_opened(self, route, session, peer):
        self.log.append(("opened", session, peer))

    def peer_named(self, route, session, peer):
        self.log.append(("named", session, peer))

    def seen(self, route, session, events):
        self.log += [("seen", session, event) for event in events]

    def wants(self, route, anomaly):
        return True

    def counted(self, route, side, anomaly, action, *, applied):
        raise AssertionError("everything is wanted")

    def session_closed(self, route, session):
        self.log.append(("closed", session))

    def agent_dialled(self, route, agent, reason, detail):
        self.dials.append((agent, reason))

    def agent_silent(self, route, agent, detail):
        self.log.append(("silent", agent))

    def agent_moved(self, route, before, after, why):
        self.log.append(("moved", before, after, why))

    def link_opened(self, route, agent):
        self.log.append(("link opened", agent))

    def link_closed(self, route, agent):
        self.log.append(("link closed", agent))

    def accept_failed(self, route, why):
        self.log.append(("accept failed", route, why))

    def gave_way(self, route, session, reason, kept):
        self.log.append(("gave way", session, reason, kept))

    def internal_error(self, route, session, error):
        self.errors.append(error.with_traceback(None))  # whose frames would keep the session alive

    def count(self, what):
        return sum(entry[0] == what for entry in self.log)

    def ends(self):
        """Return how the sessions ended, in order."""
        ended = [entry[2] for entry in self.log if entry[0] == "seen" and isinstance(entry[2], SessionEnded)]
        return [(event.by, event.reason) for event in ended]


class FakeSession:
    """Passes everything; a test overrides what it is about. ``calls`` is what it was told, ``asked`` what it answered."""

    deadline = float("inf")
    lane = None
    in_memory = open_notifies = 0

    def __init__(self, config, tally, now, route_state):
        self.config = config
        self.met = route_state.met
        self.calls = []
        self.connected = self.over = False
        self.early = b""

    def start(self, now):
        self.met()  # it takes whoever connects for HAProxy
        self.calls.append("start")
        out = Output()
        out.dial = True
        return out

    def receive(self, side, data, now, link_id=0):
        out = Output()
        if side is Side.AGENT:
            out.to_haproxy = data
        elif self.connected:
            out.to_agent = data
        else:
            self.early += data
        return out

    def agent_connected(self, now, link_id=0):
        self.calls.append("agent_connected")
        self.connected = True
        out = Output()
        out.to_agent, self.early = self.early, b""
        return out

    def agent_failed(self, reason, detail, now, link_id=0):
        self.calls.append(("agent_failed", reason, detail))
        return self.end(Close.FLUSH, EndedBy.AGENT, EndReason.UNREACHABLE)

    def closed(self, side, now, *, reset, link_id=0):
        self.calls.append(("closed", side, reset))
        by = EndedBy.HAPROXY if side is Side.HAPROXY else EndedBy.AGENT
        return self.end(Close.ABORT if reset else Close.FLUSH, by, EndReason.RESET if reset else EndReason.CLOSED)

    def tick(self, now):
        self.calls.append("tick")
        return Output()

    def drain(self, now):
        self.calls.append("drain")
        return self.end(Close.FLUSH, EndedBy.GUARD, EndReason.DRAIN)

    def ledger(self, link_id):
        return None

    def release(self):
        self.calls.append("release")
        return self.early, b""

    def end(self, how, by, reason):
        out = Output()
        self.deadline = float("inf")
        out.close_haproxy = out.close_agent = how
        if not self.over:  # told once, as a session does
            out.events = [SessionEnded(by, reason)]
        self.over = True
        return out
