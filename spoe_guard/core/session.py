"""One HAProxy connection and the agent link that serves it: bytes and times in, one ``Output`` per step.

No clock, no socket, no log: the shell (``net/``) calls, writes, closes and reports.
"""

import math
from typing import Final

from spoe_guard.core.conversation.agent_link import AgentLink
from spoe_guard.core.conversation.continuity import Continuity
from spoe_guard.core.conversation.conversation import LastWord
from spoe_guard.core.conversation.ledger import Ledger
from spoe_guard.core.conversation.place import Place
from spoe_guard.core.conversation.refusal import SHORTEST_S
from spoe_guard.core.deadlines import Deadlines
from spoe_guard.core.handed import Handed, NotTakenError
from spoe_guard.core.incoming.agent import foreign_ack as foreign
from spoe_guard.core.incoming.agent.agent_hello import greet
from spoe_guard.core.incoming.agent.from_agent import FromAgent
from spoe_guard.core.incoming.haproxy.from_haproxy import FromHAProxy
from spoe_guard.core.lane import Lane
from spoe_guard.core.payloads.hello import Offer, read_offer
from spoe_guard.core.terms.anomalies import Side
from spoe_guard.core.terms.config import SessionConfig
from spoe_guard.core.terms.events import DialFailure, EndedBy, EndReason
from spoe_guard.core.terms.output import LinkOutput, Output
from spoe_guard.core.terms.states import ENDING, LinkState, SessionState
from spoe_guard.core.terms.tally import Tally
from spoe_guard.wire import frame

QUIET_S: Final = 0.05  # of nothing open and nothing said: the next NOTIFY is not likely to be on its way


class Session:
    """The guard's part in one conversation, in enforce mode (``ObservedSession`` wraps one for observe mode).

    ``deadline``: monotonic seconds; ``tick`` is to be called no later. It is a lower bound: a tick may find
    nothing to do. ``place``: among the sessions of its route. ``fast`` False leaves every frame to the readable path.
    """

    def __init__(self, config: SessionConfig, tally: Tally, now: float, place: Place | None = None, *, fast: bool = True) -> None:
        self._conv = Continuity(config, tally, place or Place())
        self._conv.hello_by = now + config.hello_s
        self._fast = fast
        self._from_haproxy = FromHAProxy(self._conv, fast=fast)
        self._agents = {0: FromAgent(self._conv, self._conv.link, fast=fast)}  # by the number of the link
        self.lane = Lane(tally, self._conv.link.ledger, now)
        self._times = Deadlines(self._conv, self._from_haproxy, self._agents, self.lane)
        self.lane.soonest_s = self._times.soonest_s
        self._held = 0
        self._keeps = False  # the side that was just heard keeps bytes back
        self.deadline = self._conv.hello_by

    @property
    def held(self) -> int:
        """Bytes that came and neither went on nor were dropped yet."""
        return self._held

    @property
    def open_notifies(self) -> int:
        """NOTIFYs the agent has and has not answered."""
        return self._conv.open_notifies

    @property
    def state(self) -> SessionState:
        """Where the session stands."""
        return self._conv.state

    # --- what the shell calls --------------------------------------------------------------------------------------

    def start(self, now: float) -> Output:
        """HAProxy's connection was accepted."""
        return self._step(now)

    def receive(self, side: Side, data: bytes, now: float, link: int = 0) -> Output:
        """Bytes came from ``side``; from the agent on the link of that number. Of many odd frames some are ``Output.left``."""
        self._hand_back()
        self.lane.active = now
        if side is Side.AGENT:
            agent = self._agents.get(link)
            if agent is None:  # it was told goodbye, and is gone
                self._conv.tally.bytes_to_haproxy += len(data)
                self._conv.to_haproxy.drop(len(data))
                return self._step(now)
            agent.link.ledger.heard = now
            if self._conv.draining:
                self._conv.quiet_at = now if self._conv.open_notifies else now + QUIET_S
            self._conv.out.left = agent.receive(data, now)
            self._keeps = agent.held > 0
        else:
            self._conv.out.left = self._from_haproxy.receive(data, now)
            if self._conv.draining:
                self._conv.quiet_at = now + QUIET_S
            self._keeps = self._from_haproxy.inlet.held > 0
        return self._step(now)

    def take_foreign(self, raw: bytes, now: float) -> Output:
        """``raw``, an ACK for a NOTIFY of this session, came on the link of another one: its ``Output.foreign``."""
        conv = self._conv
        self._hand_back()
        self.lane.active = now
        said = frame.parse(raw)
        link = conv.holder(said.ids) if said is not None else None
        agent = self._agents.get((link or conv.link).number)
        if said is None or agent is None or conv.state is SessionState.CLOSED:
            conv.to_haproxy.drop(len(raw))
        else:
            foreign.take_in(agent, said, now)
        return self._step(now)

    def agent_connected(self, now: float, link: int = 0) -> Output:
        """The agent link that ``Output.dial`` asked for is up."""
        self._hand_back()
        agent = self._agents.get(link)
        if agent is not None and agent.link.state is LinkState.DIALLING:
            greet(agent, now)
            agent.release_early(now)
        return self._step(now)

    def agent_failed(self, reason: DialFailure, detail: str, now: float, link: int = 0) -> Output:
        """The agent could not be dialled."""
        self._hand_back()
        agent = self._agents.get(link)
        if agent is not None and agent.link.state is LinkState.DIALLING:
            self._conv.not_reached(agent.link, reason, detail, now)
            agent.link.done = True
        return self._step(now)

    def closed(self, side: Side, now: float, *, reset: bool, link: int = 0) -> Output:
        """``side`` sent FIN, or its connection broke (``reset``): it will send no more."""
        self._hand_back()
        if side is not Side.AGENT:
            self._from_haproxy.ended(now, reset=reset)
        elif link in self._agents:
            self._agents[link].ended(now, reset=reset)
        return self._step(now)

    def to_hand_over(self) -> Handed | None:
        """Return what the next guard needs to go on with this session; None while something is open or on its way.

        What comes from HAProxy until ``handed_over`` would be lost: the shell has stopped to read.
        """
        conv, inlet = self._conv, self._from_haproxy.inlet
        skipping = inlet.inside_frame and not inlet.held
        busy = conv.open_notifies or conv.parking.bytes or conv.queued or skipping
        if conv.state is not SessionState.RUNNING or conv.offer is None or not conv.lasts or busy or self._from_haproxy.stopped():
            return None
        return Handed(conv.offer.said, conv.told_size, conv.one_at_a_time, conv.family, inlet.peek())

    def handed_over(self, now: float) -> Output:
        """The next guard has HAProxy's connection, which is to be closed here without a word."""
        self._hand_back()
        conv = self._conv
        conv.haproxy_done = True
        conv.finish(now, EndedBy.GUARD, EndReason.HANDED_OVER, word=LastWord.NONE)
        return self._step(now)

    def take_over(self, handed: Handed, now: float) -> Output:
        """In place of ``start``: go on with a session of the guard before, as with one that has lost its agent link.

        Raises:
            NotTakenError: not with these settings.
        """
        conv = self._conv
        said = frame.parse(handed.hello)
        offer = read_offer(said, conv.config) if said is not None else None
        if not isinstance(offer, Offer) or offer.healthcheck or not conv.config.give_up_s:
            raise NotTakenError("these settings reject its HELLO, or set links.give_up to 0")
        conv.offer = offer
        conv.told_size, conv.one_at_a_time = handed.size, handed.one_at_a_time
        conv.most_unjudged = 1 if handed.one_at_a_time else conv.config.open_notifies
        conv.hello_by = math.inf
        conv.enter(SessionState.RUNNING)
        conv.link.enter(LinkState.CLOSING)
        conv.stirred = True
        self._from_haproxy.meet(handed.family)
        return self._step(now)

    def drain(self, now: float) -> Output:
        """The guard is stopping: go on for ``disconnect_hold``, and end as soon as it costs HAProxy nothing.

        SPOP has no word for "send no more": a NOTIFY that crosses AGENT-DISCONNECT is lost. So that is said behind the
        last answer, in the same write, or when nothing has come for a while.
        """
        self._hand_back()
        conv = self._conv
        if conv.state is SessionState.HAPROXY_HELLO:
            conv.finish(now, EndedBy.GUARD, EndReason.DRAIN, word=LastWord.CLOSE)
        elif conv.state is SessionState.REFUSING:
            conv.hold_by = min(conv.hold_by, now + SHORTEST_S)
            self.deadline = min(self.deadline, conv.hold_by)
        elif conv.state in (SessionState.DIALLING, SessionState.AGENT_HELLO, SessionState.RUNNING) and not conv.draining:
            conv.draining = True
            conv.hold_by = now + conv.config.disconnect_hold_s
            conv.quiet_at = self.lane.active + QUIET_S
            self.deadline = min(self.deadline, conv.hold_by, math.inf if conv.open_notifies else conv.quiet_at)
        return self._step(now)

    def tick(self, now: float) -> Output:
        """Time has passed."""
        self._hand_back()
        conv = self._conv
        if now >= conv.close_by:
            conv.drop_queue()
            conv.close_haproxy()
            for link in conv.links.values():
                link.shut()
        elif now >= conv.hold_by:
            conv.hold_over(now)
        elif now >= conv.hello_by:
            conv.finish(now, EndedBy.HAPROXY, EndReason.HELLO_TIMEOUT, word=LastWord.CLOSE)
        elif conv.state not in ENDING:
            self._times.overdue(now)
        return self._step(now)

    def release(self) -> tuple[bytes, bytes]:
        """Return the raw bytes held back (to_agent, to_haproxy), for a shell that goes on without the session.

        Those of an agent are of the one link that is not closed, where there are several. Takes the session out of the
        route's gauges; it must not be used afterwards.
        """
        self._hand_back()
        conv = self._conv
        conv.tally.held_bytes -= self._held
        for link in conv.links.values():
            link.ledger.clear()
        conv.tally.parked_notifies -= len(conv.parking)
        self._held = 0
        conv.depart()
        conv.enter(SessionState.CLOSED)
        self.deadline = math.inf
        said = conv.held.frame.raw if conv.held else b""
        link = next((link for link in conv.links.values() if not link.done), conv.link)
        agent = self._agents.get(link.number)
        to_haproxy = conv.take_queue() + conv.to_haproxy.take() + said
        to_haproxy += agent.fragments.release() + agent.inlet.release() if agent else b""
        parked = b"".join(waits.raw for waits in conv.parking if not waits.again)
        return link.way.take() + conv.hello_raw + parked + self._from_haproxy.inlet.release(), to_haproxy

    # --- the door to the hot lane: where every step begins and ends ---------------------------------------------------

    def ledger(self, link: int) -> Ledger | None:
        """Return what the lane knows of the agent link of that number, which is up; None where it is gone."""
        known = self._conv.links.get(link)
        return known.ledger if known is not None else None

    def _hand_back(self) -> None:
        """Take over what passed on the lane since the last step, and let nothing pass until ``_offer_lane``."""
        lane = self.lane
        if not lane.plain:
            return
        lane.plain = False
        conv = self._conv
        if lane.passed:
            self._from_haproxy.inlet.consumed(lane.passed)
            conv.agent_books.forwarded += lane.passed
            lane.passed = 0
            if conv.link.ledger is not lane.ledger:
                conv.link = next(link for link in conv.links.values() if link.ledger is lane.ledger)
        for agent in self._agents.values():
            ledger = agent.link.ledger
            if ledger.passed:
                agent.inlet.consumed(ledger.passed)
                conv.to_haproxy.books.forwarded += ledger.passed
                ledger.passed = 0

    def _offer_lane(self) -> None:
        """Say what may pass without a step, where nothing is under way but open NOTIFYs."""
        conv, lane, haproxy = self._conv, self.lane, self._from_haproxy
        if conv.state is not SessionState.RUNNING or conv.draining or conv.stirred or conv.queued:
            return
        if not haproxy.fast or haproxy.stopped() or haproxy.inlet.inside_frame or conv.offer is None or conv.offer.healthcheck:
            return
        lane.deadline = self.deadline
        lane.pace = conv.pace
        lane.ledger = conv.link.ledger
        lane.ledgers = [link.ledger for link in conv.links.values()]
        lane.several = len(lane.ledgers) > 1
        lane.most = conv.most_unjudged
        for link in conv.links.values():
            ledger, agent = link.ledger, self._agents.get(link.number)
            ledger.takes = link.state is LinkState.RUNNING
            ledger.most = link.most - len(link.owing) if link.limited else conv.most_unjudged
            ledger.answers = ledger.takes and agent is not None and not (agent.stopped() or agent.inlet.inside_frame)
        lane.plain = True

    # --- the end of every step -----------------------------------------------------------------------------------------

    def _step(self, now: float) -> Output:
        conv = self._conv
        stirred = conv.stirred or self._keeps or conv.events or now >= self.deadline
        if stirred:
            conv.pump(now)
            self._take_in()
        if conv.state is not SessionState.RUNNING or conv.draining:
            conv.wind_up(now)
        conv.out.to_haproxy = said = conv.to_haproxy.take()
        pace = conv.pace
        if pace is not None and (said or pace.queue) and not pace.passes(len(said), now):
            stirred = True
            conv.spread(pace, now)
        if conv.state is not SessionState.RUNNING and conv.state in ENDING:
            stirred = True
            self._let_go()
            conv.conclude()
            if conv.state is SessionState.CLOSED:
                self._forget()
        if stirred or conv.events:
            self._settle_up()
        elif now + self.lane.soonest_s < self.deadline:
            self.deadline = now + self.lane.soonest_s
        self._offer_lane()
        out = conv.out
        conv.out = Output()
        link = conv.link
        if link.stirs or len(conv.links) > 1:
            return self._order_all(out, link)
        out.link = link.number
        out.to_agent = link.way.take()
        return out

    def _order_all(self, out: Output, link: AgentLink) -> Output:
        """Put into ``out`` what ``link`` and all the others are to do, and return it."""
        link.give(out)
        out.more = [other.give(LinkOutput()) for other in self._conv.links.values() if other is not link]
        return out

    def _take_in(self) -> None:
        """Hear links that were opened, and hear no more of those that are gone."""
        conv = self._conv
        for number, link in list(conv.links.items()):
            if number not in self._agents:
                self._agents[number] = FromAgent(conv, link, fast=self._fast)
            elif link.done and link.state is LinkState.CLOSING and conv.lasts and not link.stirs:
                self._agents.pop(number).forget()
                del conv.links[number]
        if conv.link.number not in conv.links:
            conv.link = next(iter(conv.links.values()), conv.link)

    def _let_go(self) -> None:
        """Drop what agents began and nothing will come of any more."""
        for agent in self._agents.values():
            agent.let_go()

    def _forget(self) -> None:
        """Drop the parts of frames that are still kept; the session is over."""
        for agent in self._agents.values():
            agent.forget()
        self._from_haproxy.forget()

    def _settle_up(self) -> None:
        """Bring the books and the deadline up to date behind a step that was not ordinary."""
        conv = self._conv
        held = self._from_haproxy.inlet.held + len(conv.hello_raw) + conv.parking.held + conv.queued
        held += sum(agent.held for agent in self._agents.values())
        if conv.held is not None:
            held += len(conv.held.frame.raw)
        conv.tally.held_bytes += held - self._held
        self._held = held
        conv.stirred = held > 0 or conv.parking.bytes > 0
        if conv.events:
            conv.out.events = conv.events
            conv.events = []
        self.deadline = self._times.next()
