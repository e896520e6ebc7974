"""One session with its connections: does what the session asks, in order, and tells it what happened."""

import asyncio
import contextlib
import math
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Final, ParamSpec

from spoe_guard.core.anomalies import Side
from spoe_guard.core.events import DialFailure, EndedBy, EndReason, Event, SessionEnded
from spoe_guard.core.observer import Observer
from spoe_guard.core.output import Close, Output
from spoe_guard.core.place import Place
from spoe_guard.net.any_session import AnySession, SessionFactory
from spoe_guard.net.home import Home
from spoe_guard.net.leg import DIALLING, OTHER_IS_FULL, Leg
from spoe_guard.net.link import Link
from spoe_guard.net.route import Route
from spoe_guard.net.splice import Splice

P = ParamSpec("P")

_KEEP: Final = Close.KEEP
# uvloop's timers count whole milliseconds and may ring early: a shorter one would ring again and again.
_SHORTEST_TIMER_S: Final = 0.001


class Relay:
    """A session, HAProxy's leg, the agent leg that serves it now, and the one timer of them all.

    ``home`` is told once, when the last connection is gone. The agent leg is made by a dial and may be replaced; legs that
    still flush stay in ``_legs`` until they are gone.
    """

    __slots__ = (
        "__weakref__", "_agent", "_armed", "_ended", "_home", "_legs", "_link", "_loop", "_observer", "_tally", "_timer",
         "haproxy", "number", "route", "session",
    )  # fmt: skip

    def __init__(self, route: Route, place: Place, observer: Observer, make_session: SessionFactory, home: Home) -> None:
        self.route = route
        self.number = place.number
        self.haproxy = Leg(self, Side.HAPROXY)
        self._link: Link | None = None
        self._agent: Leg | None = None  # the link's leg, one step nearer for the hot path
        self._observer = observer
        self._home: Home | None = home
        self._loop = asyncio.get_running_loop()
        self._legs: set[Leg] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._armed = math.inf  # when the timer rings
        self._ended = False  # the observer has SessionEnded
        self._tally = observer.tally(route.name)
        self.session: AnySession = make_session(route.config, self._tally, monotonic(), place)

    # What the session asks for

    def act(self, out: Output) -> None:
        """Do what one step of the session asks: write, dial, close, set the timer, report."""
        if out.to_haproxy:
            self.haproxy.write(out.to_haproxy)
        if out.to_agent and self._agent is not None:
            self._agent.write(out.to_agent)
        if out.dial:
            self._dial()
        if out.close_haproxy is not _KEEP:
            self._close(self.haproxy, out.close_haproxy)
        if out.close_agent is not _KEEP:
            self._close_agent(out.close_agent)
        if self.session.deadline < self._armed:
            self._arm()
        if out.events:
            self._report(out.events)
            if out.foreign and self._home is not None:
                for number, raw in out.foreign:
                    self._home.hand_over(number, raw)

    def step(self, ask: Callable[P, Output], *args: P.args, **named: P.kwargs) -> None:
        """Ask the session something that is not bytes, and act on the answer."""
        try:
            self.act(ask(*args, **named))
        except Exception as error:  # noqa: BLE001  our own bug, as in Leg.data_received
            self.broke(error)

    def broke(self, error: Exception) -> None:
        """Count a bug of ours; then end the session, or make it a plain TCP proxy if the route prefers that."""
        self._observer.internal_error(self.route.name, self.number, error)
        if self.route.splice_on_error and self._may_splice():
            try:
                self._splice()
            except Exception as again:  # noqa: BLE001  a broken session may break in release() too
                self._observer.internal_error(self.route.name, self.number, again)
            else:
                return
        self.abort(EndedBy.GUARD, EndReason.INTERNAL_ERROR)

    def drain(self) -> None:
        """The guard is stopping: the session ends when what is open has been answered."""
        self.step(self.session.drain, monotonic())
        self._check_gone()

    def abort(self, by: EndedBy, reason: EndReason) -> None:
        """Reset every connection at once; ``by`` and ``reason`` are reported unless the session ended by itself."""
        with contextlib.suppress(Exception):  # for its gauges; a session that is broken may break here too
            self.session.release()
        self._forget_link()
        self.haproxy.abort()
        for leg in tuple(self._legs):
            leg.abort()
        if not self._ended:
            self._report([SessionEnded(by, reason)])
        self._check_gone()

    # What the legs report

    def made(self, leg: Leg) -> None:
        """A connection is there."""
        self._legs.add(leg)
        if leg is self.haproxy:
            self.step(self.session.start, monotonic())
            return
        if self._link is not None:
            self._link.is_made()
        self._observer.link_opened(self.route.name)
        self.haproxy.let_go(DIALLING)
        if self.haproxy.full:
            leg.hold(OTHER_IS_FULL)
        self.step(self.session.agent_connected, monotonic())

    def said_fin(self, leg: Leg) -> None:
        """The peer will send nothing more."""
        if not leg.closing and self._is_current(leg):
            self.step(self.session.closed, leg.side, monotonic(), reset=False)

    def lost(self, leg: Leg, *, reset: bool) -> None:
        """A connection is gone, because it was closed or because it broke."""
        self._legs.discard(leg)
        if leg is not self.haproxy:
            self._observer.link_closed(self.route.name)
        self.let_go_other(leg)
        if not leg.closing and self._is_current(leg):
            leg.closing = True
            self.step(self.session.closed, leg.side, monotonic(), reset=reset)
        self._check_gone()

    def unreachable(self, reason: DialFailure, detail: str) -> None:
        """The agent could not be dialled."""
        self._link = self._agent = None
        self.haproxy.let_go(DIALLING)
        self.step(self.session.agent_failed, reason, detail, monotonic())
        self._check_gone()

    def hold_other(self, leg: Leg) -> None:
        """Stop reading what would be written to ``leg``."""
        other = self._other(leg)
        if other is not None:
            other.hold(OTHER_IS_FULL)

    def let_go_other(self, leg: Leg) -> None:
        """Read again what is written to ``leg``."""
        other = self._other(leg)
        if other is not None:
            other.let_go(OTHER_IS_FULL)

    # Inside

    def _is_current(self, leg: Leg) -> bool:
        return leg is self.haproxy or leg is self._agent

    def _other(self, leg: Leg) -> Leg | None:
        if leg is self.haproxy:
            return self._agent
        return self.haproxy if leg is self._agent else None  # a leg that was replaced holds nobody

    def _dial(self) -> None:
        self.haproxy.let_go(OTHER_IS_FULL)
        self.haproxy.hold(DIALLING)
        self._link = Link(self, self._loop)
        self._agent = self._link.leg

    def _close(self, leg: Leg, how: Close) -> None:
        leg.close(how, self.route.config.close_s)
        if leg.close_by < self._armed:
            self._arm()

    def _close_agent(self, how: Close) -> None:
        if self._link is None:
            return
        if self._link.dialling:
            self._forget_link()  # nothing to flush on a connection that is not there
        else:
            self._close(self._link.leg, how)

    def _forget_link(self) -> None:
        if self._link is not None and self._link.dialling:
            self._link.give_up()
            self.haproxy.let_go(DIALLING)
            self._link = self._agent = None

    def _may_splice(self) -> bool:
        """Whether there are two ends to join: HAProxy is there, and the agent is, is dialled, or can be dialled."""
        if isinstance(self.session, Splice) or self.haproxy.closing or self.haproxy not in self._legs:
            return False
        return self._agent is None or not self._agent.closing

    def _splice(self) -> None:
        held = self.session.release()
        connected = self._agent is not None and self._agent in self._legs
        dialling = self._link is not None and self._link.dialling
        splice = Splice(self.route.config, self._tally, monotonic(), connected=connected, dialling=dialling)
        self.session = splice
        self.act(splice.resume(held, tuple(leg.side for leg in self._legs if leg.eof)))

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._armed = min((self.session.deadline, *(leg.close_by for leg in self._legs)))
        if self._armed != math.inf:
            self._timer = self._loop.call_later(max(self._armed - monotonic(), _SHORTEST_TIMER_S), self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._armed = math.inf
        now = monotonic()
        for leg in tuple(self._legs):
            if leg.close_by <= now:
                leg.abort()
        if self.session.deadline <= now:
            self.step(self.session.tick, now)
        if self._home is not None:
            self._arm()
        self._check_gone()

    def _report(self, events: Sequence[Event]) -> None:
        self._ended = self._ended or isinstance(events[-1], SessionEnded)
        self._observer.seen(self.route.name, self.number, events)

    def _check_gone(self) -> None:
        home = self._home
        if self._legs or home is None or (self._link is not None and self._link.dialling):
            return
        self._home = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._link = self._agent = None
        self._observer.session_closed(self.route.name, self.number)
        home.gone(self)
