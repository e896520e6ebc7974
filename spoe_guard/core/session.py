"""One HAProxy connection and the agent link that serves it: bytes and times in, one ``Output`` per step.

No clock, no socket, no log: the shell (``net/``) calls, writes, closes and reports.
"""

import math

from spoe_guard.core.conversation.conversation import Conversation
from spoe_guard.core.conversation.ending import Tell
from spoe_guard.core.conversation.ledger import Ledger
from spoe_guard.core.conversation.route_state import RouteState
from spoe_guard.core.deadlines import Deadlines
from spoe_guard.core.handed import Handed, NotTakenError
from spoe_guard.core.incoming.agent import foreign_ack as foreign
from spoe_guard.core.incoming.agent.from_agent import FromAgent
from spoe_guard.core.incoming.haproxy.from_haproxy import FromHAProxy
from spoe_guard.core.lane import Lane
from spoe_guard.core.payloads.disconnect import STATUS_RESOURCES
from spoe_guard.core.payloads.hello import Offer, read_offer
from spoe_guard.core.snapshot import LinkSnapshot, Snapshot
from spoe_guard.core.terms.anomalies import Side
from spoe_guard.core.terms.config import SessionConfig
from spoe_guard.core.terms.events import DialFailure, EndedBy, EndReason
from spoe_guard.core.terms.output import Output
from spoe_guard.core.terms.states import ENDING, LinkState, SessionState
from spoe_guard.core.terms.tally import Tally
from spoe_guard.wire import frame as frames


class Session:
    """The guard's side of one HAProxy connection in enforce mode (``ObservedSession`` wraps one for observe mode).

    ``deadline``: monotonic seconds; ``tick`` is to be called no later. It is a lower bound: a tick may find
    nothing to do. ``route_state``: what the sessions of its route share. ``fast`` False leaves every frame to the
    readable path.

    No part of it refers to one that refers to it: it is gone with the last reference to it, and Python's garbage collector, which
    stops everything while it looks, has nothing to do for it.
    """

    def __init__(
        self, config: SessionConfig, tally: Tally, now: float, route_state: RouteState | None = None, *, fast: bool = True
    ) -> None:
        self._conv = conv = Conversation(config, tally, route_state or RouteState(), now)
        self._fast = fast
        self._from_haproxy = FromHAProxy(conv, fast=fast)
        self._agents = {0: FromAgent(conv, conv.notifies.link, fast=fast)}  # by the number of the link
        self.lane = Lane(tally, conv.notifies.link.ledger, now)
        self._times = Deadlines(conv, self._from_haproxy, self._agents, self.lane)
        self.lane.soonest_s = self._times.soonest_s
        self._held = 0
        self._in_memory = 0
        self._judged = 0  # anomalies until the end of the last step
        self._dirty = False  # bytes are buffered or NOTIFYs wait, so the next step is not an ordinary one
        self.deadline = conv.progress.hello_by

    @property
    def held(self) -> int:
        """Bytes received that were neither forwarded nor dropped yet."""
        return self._held

    @property
    def in_memory(self) -> int:
        """Bytes kept of the peers, as of the last step that was not ordinary: those that are ``held``, and copies of NOTIFYs."""
        return self._in_memory

    @property
    def open_notifies(self) -> int:
        """NOTIFYs that an agent has received and not yet answered."""
        return self._conv.notifies.open

    @property
    def oldest_since(self) -> float:
        """When HAProxy sent the oldest NOTIFY that is arriving, open or parked; infinity if there is none."""
        return self._conv.notifies.oldest_since

    @property
    def stood_in(self) -> bool:
        """Whether HAProxy got AGENT-HELLO from the guard: the next agent needs HELLO, too."""
        return self._conv.ending.stood_in

    @property
    def state(self) -> SessionState:
        """The state of the session."""
        return self._conv.progress.state

    # --- what the shell calls --------------------------------------------------------------------------------------

    def start(self, now: float) -> Output:
        """HAProxy's connection was accepted."""
        return self._step(now)

    def receive(self, side: Side, data: bytes, now: float, link_id: int = 0) -> Output:
        """``side`` sent bytes; ``link``: the agent link they came on. After many odd frames ``Output.left`` counts the rest."""
        self._hand_back()
        self.lane.active = now
        conv = self._conv
        conv.report.begin_read()
        if side is Side.AGENT:
            agent = self._agents.get(link_id)
            if agent is None:  # it got HAPROXY-DISCONNECT and was removed
                conv.tally.bytes_to_haproxy += len(data)
                conv.to_haproxy.outlet.drop(len(data))
                conv.report.end_read()
                return self._step(now)
            agent.link.ledger.heard = now
            conv.ending.heard(now, from_haproxy=False)
            left = agent.receive(data, now)
            self._dirty = self._dirty or agent.held > 0
        else:
            if conv.to_haproxy.pace is not None:
                conv.to_haproxy.pace.hurry(now)
            left = self._from_haproxy.receive(data, now)
            conv.ending.heard(now, from_haproxy=True)
            self._dirty = self._dirty or self._from_haproxy.held > 0 or conv.notifies.arriving is not None
        conv.report.end_read()
        out = self._step(now)
        out.left = left
        return out

    def turn_away(self, first: bytes, detail: str, now: float) -> Output:
        """Use instead of ``receive``: ``first`` came where the route expects a PROXY header; ``detail`` says what is wrong."""
        self._hand_back()
        self.lane.active = now
        self._from_haproxy.turn_away(first, detail, now)
        return self._step(now)

    def take_foreign(self, raw: bytes, now: float) -> Output:
        """``raw``, an ACK for a NOTIFY of this session, came on the link of another one: its ``Output.foreign``."""
        conv = self._conv
        self._hand_back()
        self.lane.active = now
        ack = frames.parse(raw)
        link = conv.notifies.holder(ack.ids) if ack is not None else None
        agent = self._agents.get((link or conv.notifies.link).number)
        if ack is None or agent is None or conv.progress.state is SessionState.CLOSED:
            conv.to_haproxy.outlet.drop(len(raw))
        else:
            foreign.take_from_other(agent, ack, now)
        return self._step(now)

    def agent_connected(self, now: float, link_id: int = 0) -> Output:
        """The agent link that ``Output.dial`` asked for is up."""
        self._hand_back()
        agent = self._agents.get(link_id)
        if agent is not None and agent.link.state is LinkState.DIALLING:
            self._conv.links.connected(agent.link, now)
            agent.release_early(now)
        return self._step(now)

    def agent_failed(self, reason: DialFailure, detail: str, now: float, link_id: int = 0) -> Output:
        """The agent could not be dialled."""
        self._hand_back()
        agent = self._agents.get(link_id)
        if agent is not None and agent.link.state is LinkState.DIALLING:
            self._conv.ending.link_not_reached(agent.link, reason, detail, now)
            agent.link.not_dialled()
        return self._step(now)

    def closed(self, side: Side, now: float, *, reset: bool, link_id: int = 0) -> Output:
        """``side`` sent FIN, or its connection broke (``reset``): no more bytes follow."""
        self._hand_back()
        if side is not Side.AGENT:
            self._from_haproxy.ended(now, reset=reset)
        elif link_id in self._agents:
            self._agents[link_id].ended(now, reset=reset)
        return self._step(now)

    def to_hand_over(self) -> Handed | None:
        """Return what the next guard needs to resume this session; None while a NOTIFY is open or bytes are in transit.

        The shell must have stopped reading from HAProxy: bytes that arrive before ``handed_over`` would be lost.
        """
        conv, inlet, progress = self._conv, self._from_haproxy.inlet, self._conv.progress
        skipping = inlet.inside_frame and not inlet.held
        busy = (
            not conv.notifies.idle
            or conv.notifies.arriving is not None
            or conv.to_haproxy.queued
            or skipping
            or self._from_haproxy.stopped()
        )
        if progress.state is not SessionState.RUNNING or progress.offer is None or not progress.outlives_links or busy:
            return None
        notifies = conv.notifies
        return Handed(progress.offer.received, notifies.told_size, notifies.one_at_a_time, conv.to_haproxy.family, inlet.peek())

    def handed_over(self, now: float) -> Output:
        """The next guard has HAProxy's connection: close it here without DISCONNECT."""
        self._hand_back()
        self._conv.to_haproxy.handed_over()
        self._conv.ending.finish(now, EndedBy.GUARD, EndReason.HANDED_OVER, tell=Tell.NOTHING)
        return self._step(now)

    def take_over(self, handed: Handed, now: float) -> Output:
        """Use instead of ``start``: resume a session of the previous guard, as if it had lost its agent link.

        Raises:
            NotTakenError: these settings do not allow it.
        """
        conv = self._conv
        hello = frames.parse(handed.hello)
        offer = read_offer(hello, conv.config) if hello is not None else None
        if not isinstance(offer, Offer) or offer.healthcheck or not conv.config.give_up_s:
            raise NotTakenError("these settings reject its HELLO, or set links.give_up to 0")
        conv.links.resumed(offer, handed.size, one_at_a_time=handed.one_at_a_time)
        self._dirty = True
        self._from_haproxy.meet(offer, handed.family, resumed=True)
        if handed.one_at_a_time:
            conv.to_haproxy.asks_one_at_a_time()
        return self._step(now)

    def drain(self, now: float) -> Output:
        """The guard is stopping: continue for at most ``disconnect_hold``, and end as soon as HAProxy loses nothing.

        SPOP has no frame for "send no more": a NOTIFY that crosses AGENT-DISCONNECT is lost. So AGENT-DISCONNECT follows the
        last answer in the same write, or goes out after a while in which nothing arrived.
        """
        self._hand_back()
        self._conv.ending.drain(now, self.lane.active)
        self._dirty = True  # the deadline changed
        return self._step(now)

    def tick(self, now: float) -> Output:
        """Time has passed."""
        self._hand_back()
        conv, ending = self._conv, self._conv.ending
        if now >= ending.close_by:
            ending.close_now()
        elif now >= conv.to_haproxy.fin_by:
            conv.to_haproxy.send_fin(now)
        elif now >= ending.wait_by:
            ending.wait_over(now)
        elif now >= conv.progress.hello_by:
            ending.finish(now, EndedBy.HAPROXY, EndReason.HELLO_TIMEOUT, tell=Tell.CLOSE)
        elif conv.progress.state not in ENDING:
            self._times.overdue(now)
        return self._step(now)

    def give_way(self, now: float) -> Output:
        """End, and keep nothing: all sessions together hold back too much. What either side still sends is dropped."""
        self._hand_back()
        self._conv.ending.finish(now, EndedBy.GUARD, EndReason.LIMIT, status=STATUS_RESOURCES)
        self._conv.to_haproxy.drop_queue()
        for walker in (self._from_haproxy, *self._agents.values()):
            walker.break_off()
            walker.discard_kept()
        self._dirty = True
        return self._step(now)

    def release(self) -> tuple[bytes, bytes]:
        """Return the raw buffered bytes (to_agent, to_haproxy), for a shell that continues without the session.

        With several agent links, the agent's bytes are those of the one link that is not closed. This takes the session out of
        the route's gauges; it must not be used afterwards.
        """
        self._hand_back()
        conv = self._conv
        self._keeps(0, 0)
        self.deadline = math.inf
        parked = conv.notifies.release()
        to_haproxy = conv.to_haproxy.release() + conv.ending.release()
        link = next((link for link in conv.links.by_number.values() if not link.done), conv.notifies.link)
        agent = self._agents.get(link.number)
        to_haproxy += agent.fragments.release(agent) + agent.inlet.release() if agent else b""
        kept = self._from_haproxy.fragments.release() + self._from_haproxy.inlet.release()
        return link.outlet.take() + conv.links.hello + parked + kept, to_haproxy

    def snapshot(self) -> Snapshot:
        """Return the state of the session, for tests; not called while frames are served."""
        conv = self._conv
        links = {
            number: LinkSnapshot(link.state, list(link.ledger), link.connect_by, self._agents[number].fast)
            for number, link in conv.links.by_number.items()
        }
        return Snapshot(
            state=conv.progress.state,
            family=conv.to_haproxy.family,
            parked=[notify.ids for notify in conv.notifies.parking],
            queued=conv.to_haproxy.queued,
            links=links,
            to_haproxy=conv.to_haproxy.outlet.books,
            to_agent=conv.links.books,
            next_deadline=self._times.next(),
            fast=self._from_haproxy.fast,
        )

    # --- the door to the hot lane: where every step begins and ends ---------------------------------------------------

    def ledger(self, link_id: int) -> Ledger | None:
        """Return the ledger of the agent link with that number; None if the link is gone."""
        known = self._conv.links.by_number.get(link_id)
        return known.ledger if known is not None else None

    def _hand_back(self) -> None:
        """Account for what passed on the lane since the last step, and close the lane until ``_offer_lane``."""
        lane = self.lane
        if not lane.plain:
            return
        lane.plain = False
        conv = self._conv
        if lane.passed:
            self._from_haproxy.inlet.consumed(lane.passed)
            conv.links.books.forward(lane.passed)
            lane.passed = 0
            if conv.notifies.link.ledger is not lane.ledger:
                conv.notifies.prefer(next(link for link in conv.links.by_number.values() if link.ledger is lane.ledger))
        for agent in self._agents.values():
            ledger = agent.link.ledger
            if ledger.passed:
                agent.inlet.consumed(ledger.passed)
                conv.to_haproxy.outlet.books.forward(ledger.passed)
                ledger.passed = 0

    def _offer_lane(self) -> None:
        """Open the lane for ordinary frames if nothing but open NOTIFYs is in progress."""
        conv, lane, haproxy = self._conv, self.lane, self._from_haproxy
        progress, notifies = conv.progress, conv.notifies
        if progress.state is not SessionState.RUNNING or conv.ending.waits is not None or self._dirty or conv.to_haproxy.queued:
            return
        if (
            notifies.unfinished
            or not haproxy.fast
            or haproxy.stopped()
            or haproxy.inlet.inside_frame
            or progress.offer is None
            or progress.is_check
        ):
            return
        lane.deadline = self.deadline
        lane.pace = conv.to_haproxy.pace
        lane.ledger = notifies.link.ledger
        lane.ledgers = [link.ledger for link in conv.links.by_number.values()]
        lane.several = len(lane.ledgers) > 1
        lane.most = notifies.most_unjudged
        for link in conv.links.by_number.values():
            ledger, agent = link.ledger, self._agents.get(link.number)
            ledger.takes = link.state is LinkState.RUNNING
            ledger.most = link.most - len(link.owing) if link.limited else notifies.most_unjudged
            ledger.answers = ledger.takes and agent is not None and not (agent.stopped() or agent.inlet.inside_frame)
        lane.plain = True

    # --- the end of every step -----------------------------------------------------------------------------------------

    def _step(self, now: float) -> Output:
        conv, progress, to_haproxy = self._conv, self._conv.progress, self._conv.to_haproxy
        dirty = self._dirty or len(conv.report.events) > 0 or len(conv.notifies.parking) > 0
        dirty = dirty or conv.report.judged > self._judged
        self._judged = conv.report.judged
        dirty = dirty or now >= self.deadline or progress.state is not SessionState.RUNNING
        if dirty:
            self._see_to_links(now)
        if progress.state is not SessionState.RUNNING or conv.ending.draining or conv.ending.waits is not None:
            conv.ending.end_if_answered(now)
        out = Output()
        out.to_haproxy = to_haproxy.write(now)
        if to_haproxy.queued:
            dirty = True
            if to_haproxy.queued > conv.config.held_bytes and progress.state not in ENDING:
                conv.ending.finish(now, EndedBy.GUARD, EndReason.LIMIT, status=STATUS_RESOURCES)
                out.to_haproxy += to_haproxy.write(now)
        if progress.state is not SessionState.RUNNING and progress.state in ENDING:
            dirty = True
            self._conclude()
        out.close_haproxy = to_haproxy.take_close()
        if dirty or conv.report.events:
            self._settle_up(out)
        elif now + self.lane.soonest_s < self.deadline:
            self.deadline = now + self.lane.soonest_s
        self._offer_lane()
        link = conv.notifies.link
        if link.has_orders or len(conv.links.by_number) > 1:
            out.more = conv.links.orders(out, link)
        else:
            out.link_id = link.number
            out.to_agent = link.outlet.take()
        return out

    def _see_to_links(self, now: float) -> None:
        """Open links that are wanted, and do without one where it is not there in time."""
        conv = self._conv
        no_agent = conv.links.pump(now)
        if no_agent is not None:
            conv.ending.no_agent(no_agent, now)
        if now >= conv.links.stands_in_at() < math.inf:
            conv.ending.stand_in(now)
        self._take_in()
        if conv.notifies.untold:
            conv.ending.tell(now)

    def _take_in(self) -> None:
        """Start to read links that were opened, and stop reading those that are gone."""
        conv = self._conv
        for number, link in conv.links.by_number.items():
            if number not in self._agents:
                self._agents[number] = FromAgent(conv, link, fast=self._fast)
        for number in conv.links.remove_gone():
            self._agents.pop(number).discard_kept()

    def _conclude(self) -> None:
        """Drop incomplete frames; once everything is closed, drop every buffered byte."""
        for agent in self._agents.values():
            agent.discard_begun()
        self._from_haproxy.fragments.discard(self._from_haproxy)
        self._conv.ending.conclude()
        if self._conv.progress.state is SessionState.CLOSED:
            for agent in self._agents.values():
                agent.discard_kept()
            self._from_haproxy.discard_kept()

    def _settle_up(self, out: Output) -> None:
        """Update the counters and the deadline after a step that was not ordinary, and report its events."""
        conv = self._conv
        held = self._from_haproxy.held + len(conv.links.hello) + conv.notifies.parking.held + conv.to_haproxy.queued
        held += sum(agent.held for agent in self._agents.values()) + conv.ending.held
        self._keeps(held, held + conv.notifies.copies)
        self._dirty = held > 0 or conv.notifies.parking.bytes > 0
        if conv.report.events:
            out.events = conv.report.take()
            out.foreign = conv.notifies.take_foreign()
        self.deadline = self._times.next()

    def _keeps(self, held: int, in_memory: int) -> None:
        """Count what the session holds back now, and what it keeps."""
        conv = self._conv
        conv.tally.held_bytes += held - self._held
        self._held = held
        before, self._in_memory = self._in_memory, in_memory
        conv.route.total.add(in_memory - before)
