"""One session with its connections: carries out the session's orders, in order, and reports events back to it."""

import asyncio
import contextlib
import math
import socket
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import replace
from time import monotonic
from typing import Final, ParamSpec, Protocol

from spoe_guard.address import Address
from spoe_guard.core.conversation.ledger import LOSS_MATTERS_S
from spoe_guard.core.conversation.route_state import RouteState
from spoe_guard.core.handed import Handed, NotTakenError
from spoe_guard.core.payloads import proxy_header
from spoe_guard.core.terms.anomalies import Action, Anomaly, Side
from spoe_guard.core.terms.events import (
    AgentReady,
    AgentUnreachable,
    DialFailure,
    EndedBy,
    EndReason,
    Event,
    LinkFailed,
    LinkLoss,
    NotifiesUnanswered,
    SessionEnded,
)
from spoe_guard.core.terms.output import Close, LinkOutput, Output
from spoe_guard.net.agent_connection import AgentConnection
from spoe_guard.net.agents import Agents
from spoe_guard.net.any_session import AnySession, Lasting, SessionFactory
from spoe_guard.net.leg import DIALLING, OTHER_IS_FULL, Leg
from spoe_guard.net.loop import SHORTEST_TIMER_S
from spoe_guard.net.observer import Observer
from spoe_guard.net.route import Route
from spoe_guard.net.splice import Splice
from spoe_guard.net.turns import Turns
from spoe_guard.net.unread import Unread
from spoe_guard.net.witness import Both, Track, Witness

P = ParamSpec("P")

# A session whose link ended with NOTIFYs open prefers other addresses for so long: as long as those NOTIFYs wait for a new link.
AVOID_S: Final = 1.0


class RelayOwner(Protocol):
    """What creates relays and is notified when they end. ``turns``: of all its relays."""

    turns: Turns

    def witness(self, route: str, number: int) -> Witness | None:
        """Return the witness for the session ``number``, which begins, if it has one."""

    def reported(self, relay: "Relay") -> None:
        """A step of ``relay`` had something to report."""

    def linked(self, relay: "Relay") -> None:
        """``relay`` got an agent link."""

    def queued(self, count: int) -> None:
        """``count`` bytes more are queued on legs that are full; fewer where it is negative."""

    def ask_agent(self, route: str) -> None:
        """A dial of the agent of ``route`` has failed, or ended before AGENT-HELLO came."""

    def unread(self, sock: socket.socket) -> Unread:
        """Return what tells how much the peer of ``sock`` has not read."""

    def gone(self, relay: "Relay") -> None:
        """The last connection of ``relay`` is gone; called once."""

    def hand_over(self, number: int, raw: bytes) -> None:
        """Pass ``raw``, an ACK, to the session ``number`` of the same route."""


class _Asked:
    """What a session asks of its relay in the middle of a step, see RouteState. ``relay``: None before and after.

    If the session referred to the relay itself, both would stay until Python's garbage collector finds them.
    """

    __slots__ = ("relay",)

    def __init__(self) -> None:
        self.relay: Relay | None = None

    def read(self) -> int | None:
        """See ``Relay.read``."""
        return self.relay.read() if self.relay is not None else None

    def count_only(self, side: Side, anomaly: Anomaly, action: Action) -> bool:
        """See ``Relay.count_only``."""
        return self.relay is not None and self.relay.count_only(side, anomaly, action)


class Relay:
    """A session, HAProxy's leg, the agent links that serve it, and one timer for all of them.

    ``owner`` is notified once, when the last connection is gone and none is being dialled. A link keeps its number from its dial
    until it is gone. When it is over, nothing that it refers to refers to it: no garbage collector has to find it.
    """

    __slots__ = (
        "__weakref__",
        "_agent_state",
        "_armed",
        "_asked",
        "_avoided",
        "_drain_at",
        "_ended",
        "_first",
        "_forgotten",
        "_handed",
        "_header",
        "_legs",
        "_linked",
        "_links",
        "_loop",
        "_observer",
        "_owner",
        "_queued",
        "_recorder",
        "_tally",
        "_tap",
        "_timer",
        "_turns",
        "_unread",
        "_witness",
        "agents",
        "haproxy",
        "number",
        "route",
        "session",
    )  # fmt: skip

    def __init__(
        self,
        route: Route,
        route_state: RouteState,
        agents: Agents,
        observer: Observer,
        make_session: SessionFactory,
        owner: RelayOwner,
    ) -> None:
        self.route = route
        self.agents = agents
        self.number = route_state.number
        self._avoided: dict[Address, float] = {}  # until then, monotonic seconds
        self._links: dict[int, AgentConnection] = {}  # being dialled, or with a leg in _legs
        self._forgotten: dict[int, Address] = {}  # of the last link that is gone, whose NOTIFYs may still be settled
        self._linked = False  # an agent link was connected at some time
        self._observer = observer
        self._agent_state = route_state.agent
        self._owner: RelayOwner | None = owner
        self._loop = asyncio.get_running_loop()
        self._legs: set[Leg] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._armed = math.inf  # when the timer fires
        self._drain_at = math.inf
        self._ended = False  # the observer has SessionEnded
        self._recorder: Witness | None = None  # set as soon as HAProxy is connected
        self._tap: Witness | None = None
        self._witness: Witness | None = None  # both of them, or the one that there is
        self._first = b""  # what was read from HAProxy's connection already
        self._header: bytes | None = b"" if route.proxy_header else None  # what came of the PROXY header; None: none is due
        self._handed: tuple[Output, Handed] | None = None  # what the previous guard handed over, and the first step
        self._tally = observer.tally(route.name)
        self._queued: dict[Leg, int] = {}  # of legs that are full: bytes, when they became so
        self._turns = owner.turns
        self._unread: Unread | None = None  # of HAProxy's connection, once it was asked for
        self._asked = asked = _Asked()
        route_state = replace(route_state, read=asked.read, count_only=asked.count_only)
        self.session: AnySession = make_session(route.config, self._tally, monotonic(), route_state)
        # From here on they refer to one another, until it is over: see _check_gone.
        self.haproxy = Leg(self, Side.HAPROXY)
        asked.relay = self

    # What the session asks for

    def take(self, leg: Leg, data: bytes, now: float, ahead: bytes) -> int:
        """Pass what came on ``leg`` to the session and carry out its output; return how many bytes are left for next turn.

        ``ahead``: what HAProxy gets in front of that, in one write.
        """
        if self._header is not None and leg is self.haproxy:
            self._take_header(leg, self._header + data, now)
            return 0
        try:
            out = self.session.receive(leg.side, data, now, leg.link_id)
        except Exception:
            if ahead:
                self.haproxy.write(ahead)
            raise
        if self.session.deadline < self._armed:
            self._arm()
        self._carry_out(out, ahead)
        if self._witness is not None and leg.track is not None:
            taken = data[: -out.left] if out.left else data
            if taken:
                self._witness.read(leg.track, taken, now, out)
            else:  # the session went on with what it has from earlier reads
                self._noted(leg.side, leg.link_id, b"", out)
        return out.left

    def _take_header(self, leg: Leg, first: bytes, now: float) -> None:
        """Take the PROXY header off ``first``, all that HAProxy sent so far; the session gets what follows."""
        found = proxy_header.read(first)
        self._header = first if found is None else None
        if isinstance(found, str):
            out = self.session.turn_away(first, found, now)
            self.act(out)
            self._noted(leg.side, 0, first, out)
        elif found is not None:
            if found.source:
                self._observer.peer_named(self.route.name, self.number, found.source)
            if len(first) > found.size:
                leg.take(first[found.size :])

    def passed(self, leg: Leg, data: bytes, now: float, link_id: int) -> None:
        """``data`` of ``leg`` passed on the lane, to or from the agent of that ``link``, without a step of the session."""
        if self._witness is not None and leg.track is not None:
            self._witness.passed(leg.track, data, now, link_id)

    def act(self, out: Output) -> None:
        """Carry out one step of the session: set the timer, write, dial, close, report."""
        if self.session.deadline < self._armed:
            self._arm()
        self._carry_out(out)

    def _carry_out(self, out: Output, ahead: bytes = b"") -> None:
        if out.events:
            self._name_agents(out.events)
        if ahead or out.to_haproxy:
            self.haproxy.write(ahead + out.to_haproxy)
        if out.to_agent:
            link = self._links.get(out.link_id)
            if link is not None:
                link.leg.write(out.to_agent)
        if out.dial:
            self._dial(out.link_id)
        if out.close_haproxy is not Close.KEEP:
            self._close(self.haproxy, out.close_haproxy)
        if out.close_agent is not Close.KEEP:
            self._close_agent(out.link_id, out.close_agent)
        if out.more:
            self._act_on_links(out.more)
        if out.events:
            self._report(out.events, out.foreign)

    def step(self, ask: Callable[P, Output], *args: P.args, **named: P.kwargs) -> None:
        """Call a method of the session that takes no bytes, and carry out its output."""
        try:
            out = ask(*args, **named)
            self.act(out)
            self._noted(Side.AGENT, 0, b"", out)
        except Exception as error:  # noqa: BLE001  our own bug, as in Leg.take
            self.broke(error)

    def _end_of(self, leg: Leg, *, reset: bool) -> None:
        """Notify the session that the peer of ``leg`` will send nothing more, and carry out its output."""
        if leg is not self.haproxy and not (link := self._links[leg.link_id]).answered:
            self._avoid(link.address)
        try:
            out = self.session.closed(leg.side, monotonic(), reset=reset, link_id=leg.link_id)
            self.act(out)
            self._noted(leg.side, leg.link_id, b"", out, reset=reset)
        except Exception as error:  # noqa: BLE001  our own bug, as in Leg.take
            self.broke(error)

    def _noted(self, side: Side, link_id: int, data: bytes, out: Output, *, reset: bool | None = None) -> None:
        if self._witness is not None:
            self._witness.note(self.number, side, link_id, data, monotonic(), out, reset=reset)

    def broke(self, error: Exception, side: Side = Side.HAPROXY, rest: bytes = b"") -> None:
        """Count a bug of ours; then end the session, or turn it into a plain TCP proxy if the route is set to.

        ``rest``: what ``side`` sent and nobody has handled.
        """
        self._observer.internal_error(self.route.name, self.number, error)
        if self.route.splice_on_error and self._may_splice():
            try:
                self._splice(side, rest)
            except Exception as again:  # noqa: BLE001  a broken session may break in release() too
                self._observer.internal_error(self.route.name, self.number, again)
            else:
                return
        self.abort(EndedBy.GUARD, EndReason.INTERNAL_ERROR)

    def drain(self) -> None:
        """The guard is stopping: end the session when its open NOTIFYs are answered.

        A session that was just accepted would end before HAProxy's first NOTIFY was read: it gets ``disconnect_hold`` to begin.
        """
        if self._linked:
            self.step(self.session.drain, monotonic())
            self._check_gone()
        else:
            self._drain_at = monotonic() + self.route.config.disconnect_hold_s
            self._arm()

    def has_said(self, first: bytes) -> None:
        """``first`` was read from HAProxy's connection before the session begins."""
        self._first = first

    def links(self) -> list[tuple[int, str, str, int]]:
        """Return each agent link: its number, the agent's address, how far it is, and how many NOTIFYs it has in hand."""
        found = []
        for number, link in self._links.items():
            ledger = self.session.ledger(number)
            stage = "closing" if link.leg.closing else "open" if link.answered else "dialling" if link.dialling else "hello"
            found.append((number, str(link.address), stage, 0 if ledger is None else len(ledger)))
        return found

    def tap(self, tap: Witness | None) -> None:
        """Tell ``tap``, too, what the connections carry from now on; None: nobody beside the recorder."""
        recorder = self._recorder
        self._tap = tap
        self._witness = tap if recorder is None else recorder if tap is None else Both(recorder, tap)
        for leg in self._legs:
            if self._witness is None:
                leg.track = None
            elif leg.track is None and leg.sock is not None:
                leg.track = Track(self.number, leg.side, leg.link_id)

    @property
    def is_spliced(self) -> bool:
        """Whether a plain TCP proxy has taken the session's place."""
        return isinstance(self.session, Splice)

    # From guard to guard

    @property
    def begins(self) -> bool:
        """Whether no agent link was connected yet: HAProxy has just connected."""
        return not self._linked

    def take_over(self, handed: Handed) -> None:
        """Prepare to get a connection that the previous guard has served.

        Raises:
            NotTakenError: this session cannot be resumed.
        """
        if not isinstance(self.session, Lasting):
            raise NotTakenError("an observed session cannot be handed over")
        self._handed = self.session.take_over(handed, monotonic()), handed
        self._header = None  # the previous guard took it
        self._linked = True

    def to_hand_over(self) -> Handed | None:
        """Return what the next guard needs to resume the session, once nothing of it is in progress here."""
        gone = self.haproxy.unsent or self.haproxy.unheard or self.haproxy.descriptor < 0
        return self.session.to_hand_over() if isinstance(self.session, Lasting) and not gone else None

    def handed_over(self) -> None:
        """The next guard has HAProxy's connection."""
        self.haproxy.leave()
        if isinstance(self.session, Lasting):
            self.step(self.session.handed_over, monotonic())
        self._check_gone()

    def abort(self, by: EndedBy, reason: EndReason) -> None:
        """Reset every connection at once; ``by`` and ``reason`` are reported unless the session has already ended."""
        with contextlib.suppress(Exception):  # releases its gauges; a broken session may raise here too
            self.session.release()
        self._tell_no_more()
        for number, link in tuple(self._links.items()):
            if link.leg not in self._legs:
                self._give_up(number)
        self.haproxy.abort()
        for leg in tuple(self._legs):
            leg.abort()
        if not self._ended:
            self._report([SessionEnded(by, reason)])
        self._check_gone()

    # What the legs report

    def crowded(self) -> bool:
        """Whether other connections of the guard wait for their turn."""
        return self._turns.busy

    def wait(self, leg: Leg) -> None:
        """Let ``leg`` handle more of its last read when it is its turn."""
        self._turns.wait(self.route.name, leg)

    def made(self, leg: Leg) -> None:
        """Handle a new connection."""
        self._legs.add(leg)
        if leg is self.haproxy and self._owner is not None:
            self._recorder = self._owner.witness(self.route.name, self.number)
            self.tap(self._tap)
        if self._witness is not None and leg.sock is not None:
            leg.track = Track(self.number, leg.side, leg.link_id)
            self._witness.met(leg.track, leg.sock)
        if leg is self.haproxy:
            if self._handed is None:
                self.step(self.session.start, monotonic())
                if self._first:
                    leg.take(self._first)
                return
            first, handed = self._handed
            self.act(first)
            self._noted(leg.side, 0, handed.hello, first)
            leg.take(handed.rest)
            return
        self._linked = True
        if self._owner is not None:
            self._owner.linked(self)
        lane = self.session.lane
        if lane is not None:
            leg.use(lane, self.session.ledger(leg.link_id), self.haproxy)
            self.haproxy.use(lane)
        if self._is_known(leg):
            self.agents.connected(self._links[leg.link_id], self.session.ledger(leg.link_id))
        self._observer.link_opened(self.route.name, self._address(leg.link_id))
        self.haproxy.resume_reading(DIALLING)
        if self.haproxy.full:
            leg.pause_reading(OTHER_IS_FULL)
        self.step(self.session.agent_connected, monotonic(), leg.link_id)

    def got_fin(self, leg: Leg) -> None:
        """Handle a FIN: the peer will send nothing more."""
        if not leg.closing and self._is_known(leg):
            self._end_of(leg, reset=False)

    def lost(self, leg: Leg, *, reset: bool) -> None:
        """Handle the end of a connection, because it was closed or because it broke."""
        self._legs.discard(leg)
        if leg is not self.haproxy:
            self._observer.link_closed(self.route.name, self._address(leg.link_id))
        told = not leg.closing and self._is_known(leg)
        leg.closing = True
        self.emptied(leg)
        if told:
            self._end_of(leg, reset=reset)
        if leg is not self.haproxy and self._is_known(leg):
            link = self._links[leg.link_id]
            self.agents.ended(link)
            if not link.answered:
                self._ask_agent()
        if self._witness is not None and leg.track is not None:
            self._witness.lost(leg.track)
        self._forget(leg)
        self._check_gone()

    def unreachable(self, link: AgentConnection, reason: DialFailure, detail: str) -> None:
        """Handle a failed dial of an agent."""
        self._forget(link.leg)
        self.haproxy.resume_reading(DIALLING)
        self.step(self.session.agent_failed, reason, detail, monotonic(), link.leg.link_id)
        self._ask_agent()
        self._check_gone()

    def filled(self, leg: Leg) -> None:
        """Stop reading what would be written to ``leg``: for an agent's leg, everything from HAProxy."""
        self._count_queue(leg, leg.unsent)
        if leg is self.haproxy:
            for link in self._links.values():
                link.leg.pause_reading(OTHER_IS_FULL)
        elif not leg.closing:  # a closing leg only sends its queue and gets nothing more
            self.haproxy.pause_reading(OTHER_IS_FULL)

    def emptied(self, leg: Leg) -> None:
        """Resume reading bytes for ``leg``, which has room again, or takes no more."""
        if leg in self._queued:  # one that is closing may still have to send it
            self._count_queue(leg, leg.unsent if leg.full else 0)
        if leg is self.haproxy:
            for link in self._links.values():
                link.leg.resume_reading(OTHER_IS_FULL)
        elif not any(link.leg.full and not link.leg.closing for link in self._links.values()):
            self.haproxy.resume_reading(OTHER_IS_FULL)

    # When the guard holds back too much

    @property
    def kept(self) -> int:
        """Bytes of its peers that the session keeps, or that wait on legs that are full."""
        return self.session.in_memory + sum(self._queued.values())

    def give_way(self) -> None:
        """Keep nothing: end the session; a session that is only observed goes on unjudged."""
        if isinstance(self.session, Lasting):
            self.step(self.session.give_way, monotonic())
        elif self._may_splice():
            try:
                self._splice(Side.HAPROXY, b"")
            except Exception as error:  # noqa: BLE001  our own bug, as in Leg.take
                self.broke(error)
        else:
            self.abort(EndedBy.GUARD, EndReason.LIMIT)
        for leg in tuple(self._queued):  # its peer does not read, and would not read DISCONNECT either
            leg.abort()
            self._end_of(leg, reset=True)

    def _count_queue(self, leg: Leg, count: int) -> None:
        before = self._queued.pop(leg, 0)
        if count:
            self._queued[leg] = count
        if self._owner is not None:
            self._owner.queued(count - before)

    # What the session asks in the middle of a step

    def read(self) -> int | None:
        """Return how many of the bytes written to HAProxy it has read, as far as this can be known: see RouteState."""
        leg = self.haproxy
        if self._unread is None and self._owner is not None and leg.sock is not None:
            self._unread = self._owner.unread(leg.sock)
        unread = self._unread.count(leg.descriptor) if self._unread is not None else None
        return leg.sent - unread if unread is not None else None

    def count_only(self, side: Side, anomaly: Anomaly, action: Action) -> bool:
        """Count an anomaly, and return True, if neither log nor recorder wants more: see RouteState."""
        name, witness = self.route.name, self._witness
        if self._observer.wants(name, anomaly) or (witness is not None and witness.wants(self.number, anomaly, action)):
            return False
        self._observer.counted(name, side, anomaly, action, applied=not self.route.config.observe)
        if witness is not None:
            witness.missed(self.number, anomaly, action)
        return True

    # Inside

    def _is_known(self, leg: Leg) -> bool:
        return leg is self.haproxy or (leg.link_id in self._links and self._links[leg.link_id].leg is leg)

    def _act_on_links(self, orders: Sequence[LinkOutput]) -> None:
        """Carry out the orders for the other links, each in its turn."""
        for order in orders:
            link = self._links.get(order.link_id)
            if order.to_agent and link is not None:
                link.leg.write(order.to_agent)
            if order.dial:
                self._dial(order.link_id)
            if order.close_agent is not Close.KEEP:
                self._close_agent(order.link_id, order.close_agent)

    def _dial(self, number: int) -> None:
        if number == 0 and not isinstance(self.session, Lasting):  # it cannot buffer HAProxy's bytes within bounds
            self.haproxy.pause_reading(DIALLING)
        if (before := self._links.get(number)) is not None:  # it is still being flushed, and nobody's any more
            self.agents.ended(before)
        self._links[number] = AgentConnection(self, number, self._loop)

    def _close(self, leg: Leg, how: Close) -> None:
        leg.close(how, self.route.config.close_s)
        if leg.close_by < self._armed:
            self._arm()

    def _close_agent(self, number: int, how: Close) -> None:
        link = self._links.get(number)
        if link is None:
            return
        if link.dialling:
            self._give_up(number)  # no connection to flush yet
            return
        self._close(link.leg, how)
        self.emptied(link.leg)

    def _give_up(self, number: int) -> None:
        """Cancel a dial; the session is not notified."""
        link = self._links.pop(number)
        link.give_up()
        self.agents.ended(link)
        self.haproxy.resume_reading(DIALLING)
        self._ask_agent()

    def _ask_agent(self) -> None:
        """A dial of the agent has failed, a link ended before AGENT-HELLO came, or a deadline passed."""
        if self._owner is not None:
            self._owner.ask_agent(self.route.name)

    def _tell_no_more(self) -> None:
        if self._witness is not None:
            self._witness.over(self.number)
            self._witness = self._recorder = self._tap = None

    def _forget(self, leg: Leg) -> None:
        if leg is not self.haproxy and self._is_known(leg):
            self._forgotten = {leg.link_id: self._links.pop(leg.link_id).address}

    def _may_splice(self) -> bool:
        """Whether there are two ends to join: HAProxy, and one agent link that is connected, being dialled, or can be dialled."""
        if isinstance(self.session, Splice) or self.haproxy.closing or self.haproxy not in self._legs:
            return False
        alive = self._alive()
        if len(alive) == 1 and not alive[0].dialling:
            return True
        # The next agent would get no HELLO, unless HAProxy's is still here.
        stood_in = isinstance(self.session, Lasting) and self.session.stood_in
        return len(alive) < 2 and not self._linked and not stood_in  # noqa: PLR2004  one, or none

    def _alive(self) -> list[AgentConnection]:
        return [link for link in self._links.values() if not link.leg.closing]

    def _splice(self, side: Side, rest: bytes) -> None:
        to_agent, to_haproxy = self.session.release()
        held = (to_agent, to_haproxy + rest) if side is Side.AGENT else (to_agent + rest, to_haproxy)
        for leg in self._legs:
            leg.use(None)
        self._tell_no_more()
        alive = self._alive()
        for link in alive:  # whether HELLO comes is not seen any more
            self.agents.met(link)
        legs = [link.leg for link in alive]
        splice = Splice(
            self.route.config,
            self._tally,
            monotonic(),
            legs[0].link_id if legs else 0,
            connected=not self._legs.isdisjoint(legs),
            dialling=any(link.dialling for link in alive),
        )
        self.session = splice
        self.act(splice.resume(held, tuple(leg.side for leg in (self.haproxy, *legs) if leg.eof)))

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._armed = min((self.session.deadline, self._drain_at, *(leg.close_by for leg in self._legs)))
        if self._armed != math.inf:
            self._timer = self._loop.call_later(max(self._armed - monotonic(), SHORTEST_TIMER_S), self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._armed = math.inf
        now = monotonic()
        for leg in tuple(self._legs):
            if leg.close_by <= now:
                leg.abort()
        if self.session.deadline <= now:
            for leg in tuple(self._legs):
                if leg.unheard:  # an ACK in there is not late; but a flood may not put the deadline off
                    leg.hear_more()
        if self.session.deadline <= now:
            self.step(self.session.tick, now)
            self._ask_agent()
        if self._drain_at <= now:
            self._drain_at = math.inf
            self.step(self.session.drain, now)
        if self._owner is not None:
            self._arm()
        self._check_gone()

    def _report(self, events: Sequence[Event], foreign: Sequence[tuple[int, bytes]] = ()) -> None:
        self._ended = self._ended or isinstance(events[-1], SessionEnded)
        self._observer.seen(self.route.name, self.number, events)
        if self._owner is not None:
            for number, raw in foreign:
                self._owner.hand_over(number, raw)
            self._owner.reported(self)

    def _name_agents(self, events: Sequence[Event]) -> None:
        """Add the agent's address to events about it, and let other sessions know whether it answers."""
        for event in events:
            if isinstance(event, NotifiesUnanswered):
                event.agents = tuple(self._in_hand(event.links))
            if not isinstance(event, AgentReady | AgentUnreachable | LinkFailed) or event.link_id not in self._links:
                continue  # a failed dial has no link any more; it was reported for each address
            link = self._links[event.link_id]
            address = link.address
            event.agent = str(address)
            if isinstance(event, AgentReady):
                link.answered = True
                self.agents.met(link)
                self.agents.answered(address)
            elif isinstance(event, AgentUnreachable):
                self.agents.failed(address, event.reason.value)
                if self.agents.any_well(self.route):
                    self._agent_state.another_is_well()
            else:
                self._avoid(address)
                if event.reason is LinkLoss.DEADLINE:
                    deadline_s = self.route.config.answer_deadline_s or LOSS_MATTERS_S
                    detail = f"no word within {deadline_s:g} s of its NOTIFYs"
                    self.agents.silent(link, monotonic() - deadline_s, detail)

    def _in_hand(self, links: Sequence[tuple[int, int]]) -> Iterator[tuple[str, int]]:
        """Yield the agent's address of each link that is known, with what was counted for it."""
        for number, count in links:
            link = self._links.get(number)
            address = link.address if link is not None else self._forgotten.get(number)
            if address is not None:
                yield str(address), count

    def to_avoid(self) -> Container[Address]:
        """Return the addresses whose links ended a moment ago with NOTIFYs that go to another."""
        if self._avoided:
            now = monotonic()
            self._avoided = {address: until for address, until in self._avoided.items() if now < until}
        return self._avoided

    def _avoid(self, address: Address) -> None:
        """A link to ``address`` ended with NOTIFYs open, or before HELLO: let the next one go elsewhere, if anything is there."""
        if len(self.route.agent) > 1:
            self._avoided[address] = monotonic() + AVOID_S
            self.agents.in_doubt(address)

    def _address(self, link_id: int) -> str:
        link = self._links.get(link_id)
        return str(link.address if link is not None else self.route.agent[0])

    def _check_gone(self) -> None:
        owner = self._owner
        if self._legs or self._links or owner is None:
            return
        self._owner = None
        self._tell_no_more()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._observer.session_closed(self.route.name, self.number)
        owner.gone(self)
        self.haproxy.let_go()
        self._asked.relay = None
