"""One HAProxy connection and the agent link that serves it: bytes and times in, one ``Output`` per step.

No clock, no socket, no log: the shell (``net/``) calls, writes, closes and reports.
"""

import math
from typing import Final

from spoe_guard.core import foreign, goodbye
from spoe_guard.core.agent_link import AgentLink
from spoe_guard.core.anomalies import Action, Anomaly, Side
from spoe_guard.core.config import SessionConfig
from spoe_guard.core.continuity import Continuity
from spoe_guard.core.conversation import ENDING, LastWord
from spoe_guard.core.events import AgentUnreachable, AuthoredReason, DialFailure, EndedBy, EndReason, LinkLoss
from spoe_guard.core.from_agent import FromAgent
from spoe_guard.core.from_haproxy import FromHAProxy
from spoe_guard.core.output import Close, LinkOutput, Output
from spoe_guard.core.place import Place
from spoe_guard.core.refusal import SHORTEST_S
from spoe_guard.core.states import State
from spoe_guard.core.tally import Tally

_AGENT: Final = Side.AGENT


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
        self._active = now
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
    def state(self) -> State:
        """Where the session stands."""
        return self._conv.state

    # --- what the shell calls --------------------------------------------------------------------------------------

    def start(self, now: float) -> Output:
        """HAProxy's connection was accepted."""
        return self._step(now)

    def receive(self, side: Side, data: bytes, now: float, link: int = 0) -> Output:
        """Bytes came from ``side``; from the agent on the link of that number."""
        self._active = now
        if side is _AGENT:
            agent = self._agents.get(link)
            if agent is None:  # it was told goodbye, and is gone
                self._conv.tally.bytes_to_haproxy += len(data)
                self._conv.to_haproxy.drop(len(data))
                return self._step(now)
            agent.link.heard = now
            agent.receive(data, now)
            self._keeps = agent.held > 0
        else:
            self._from_haproxy.receive(data, now)
            self._keeps = self._from_haproxy.inlet.held > 0
        return self._step(now)

    def take_foreign(self, raw: bytes, now: float) -> Output:
        """``raw``, an ACK for a NOTIFY of this session, came on the link of another one: its ``Output.foreign``."""
        self._active = now
        foreign.take_in(self._agents[self._conv.link.number], raw, now)
        return self._step(now)

    def agent_connected(self, now: float, link: int = 0) -> Output:
        """The agent link that ``Output.dial`` asked for is up."""
        agent = self._agents.get(link)
        if agent is not None and agent.link.state is State.DIALLING:
            self._greet(agent, now)
        return self._step(now)

    def agent_failed(self, reason: DialFailure, detail: str, now: float, link: int = 0) -> Output:
        """The agent could not be dialled."""
        agent = self._agents.get(link)
        if agent is not None and agent.link.state is State.DIALLING:
            self._not_reached(agent.link, reason, detail, now)
            agent.link.done = True
        return self._step(now)

    def closed(self, side: Side, now: float, *, reset: bool, link: int = 0) -> Output:
        """``side`` sent FIN, or its connection broke (``reset``): it will send no more."""
        if side is not _AGENT:
            self._from_haproxy.ended(now, reset=reset)
        elif link in self._agents:
            self._agents[link].ended(now, reset=reset)
        return self._step(now)

    def drain(self, now: float) -> Output:
        """The guard is stopping: take no new NOTIFY, let open ones be answered, then end."""
        conv = self._conv
        if conv.state is State.HAPROXY_HELLO:
            conv.finish(now, EndedBy.GUARD, EndReason.DRAIN, word=LastWord.CLOSE)
        elif conv.state in (State.DIALLING, State.AGENT_HELLO):
            conv.finish(now, EndedBy.GUARD, EndReason.DRAIN, status=goodbye.STATUS_RESOURCES)
        elif conv.state is State.REFUSING:
            conv.hold_by = min(conv.hold_by, now + SHORTEST_S)
            self.deadline = min(self.deadline, conv.hold_by)
        elif conv.state is State.RUNNING and not conv.draining:
            conv.draining = True
            conv.hold_by = now + conv.config.disconnect_hold_s
            self.deadline = min(self.deadline, conv.hold_by)
        return self._step(now)

    def tick(self, now: float) -> Output:
        """Time has passed."""
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
            self._overdue(now)
        return self._step(now)

    def release(self) -> tuple[bytes, bytes]:
        """Return the raw bytes held back (to_agent, to_haproxy), for a shell that goes on without the session.

        Takes the session out of the route's gauges; it must not be used afterwards.
        """
        conv = self._conv
        conv.tally.held_bytes -= self._held
        conv.tally.open_notifies -= conv.open_notifies
        for link in conv.links.values():
            link.ledger.open.clear()
        conv.tally.parked_notifies -= len(conv.parking)
        self._held = 0
        conv.depart()
        conv.state = State.CLOSED
        self.deadline = math.inf
        said = conv.held.frame.raw if conv.held else b""
        agent = self._agents.get(conv.link.number)
        to_haproxy = conv.take_queue() + conv.to_haproxy.take() + said
        to_haproxy += agent.fragments.release() + agent.inlet.release() if agent else b""
        parked = b"".join(waits.raw for waits in conv.parking if not waits.ours)
        return conv.link.way.take() + conv.hello_raw + parked + self._from_haproxy.inlet.release(), to_haproxy

    # --- time --------------------------------------------------------------------------------------------------------

    def _not_reached(self, link: AgentLink, reason: DialFailure, detail: str, now: float) -> None:
        """A dial or a HELLO came to nothing: another is tried, or that was it."""
        conv = self._conv
        if conv.lasts:
            conv.failed(link, now, reason, detail)
        else:
            conv.events.append(AgentUnreachable(reason, detail))
            self._unreachable(detail, now)

    def _unreachable(self, detail: str, now: float) -> None:
        """There is no agent: HAProxy is told, slowly where it has no AGENT-HELLO yet."""
        conv = self._conv
        action = conv.judge(_AGENT, Anomaly.AGENT_UNREACHABLE, b"", 0, detail=detail)
        if action is not Action.ANSWER:
            conv.finish(now, EndedBy.AGENT, EndReason.UNREACHABLE, word=LastWord.CLOSE)
        elif conv.state is State.RUNNING:
            conv.finish(now, EndedBy.AGENT, EndReason.UNREACHABLE, status=goodbye.STATUS_RESOURCES)
        else:
            conv.refuse(now, EndedBy.AGENT, EndReason.UNREACHABLE, goodbye.STATUS_RESOURCES, "the agent is unreachable")

    def _overdue(self, now: float) -> None:
        """A dial or HELLO that takes too long, frames that stand still, NOTIFYs past their deadline, nothing at all."""
        conv, config = self._conv, self._conv.config
        for agent in self._agents.values():
            if self._link_overdue(agent, now):
                return
        if now >= self._from_haproxy.inlet.since + config.frame_s:
            self._from_haproxy.truncated(self._stuck)
            conv.finish(now, EndedBy.HAPROXY, EndReason.FRAME_TIMEOUT, status=goodbye.STATUS_TIMEOUT)
        elif now >= self._active + config.idle_s:
            conv.finish(now, EndedBy.GUARD, EndReason.IDLE_TIMEOUT, status=goodbye.STATUS_TIMEOUT)
        elif now >= conv.away_since + config.give_up_s:
            self._unreachable(f"no agent for {config.give_up_s:g} s; the last try: {conv.last_failure}", now)
        else:
            conv.lose_patience(now)

    def _link_overdue(self, agent: FromAgent, now: float) -> bool:
        """Deal with what takes too long on one link; False when nothing does."""
        conv, config, link = self._conv, self._conv.config, agent.link
        if now >= link.connect_by:
            link.shut(Close.ABORT)
            self._not_reached(link, DialFailure.TIMEOUT, f"no connection within {config.connect_s:g} s", now)
        elif now >= link.hello_by:
            self._not_reached(link, DialFailure.HELLO_TIMEOUT, f"no AGENT-HELLO within {config.hello_s:g} s", now)
        elif now >= agent.inlet.since + config.frame_s and link.state is not State.CLOSING:
            agent.truncated(self._stuck)
            if conv.lasts:
                conv.lose(link, now, LinkLoss.FRAME_TIMEOUT)
            else:
                conv.finish(now, EndedBy.AGENT, EndReason.FRAME_TIMEOUT, status=goodbye.STATUS_TIMEOUT)
        elif now >= agent.fragments.by:
            agent.fragments.over(now, self._stuck)
        elif now >= link.leave_by:
            conv.lose(link, now, link.leaving_as)
        elif now >= link.close_by:
            link.shut()
        elif now >= conv.idle_until(link):
            conv.lose(link, now, LinkLoss.RETIRED)
        elif now >= conv.blocked_until(link):
            conv.unblock(link, now)
        else:
            return False
        return True

    @property
    def _stuck(self) -> str:
        return f"no more of it within {self._conv.config.frame_s:g} s"

    def _greet(self, agent: FromAgent, now: float) -> None:
        """Give the agent HAPROXY-HELLO, and hear what it may have said before."""
        conv, link, offer = self._conv, agent.link, self._conv.offer
        if offer is None:  # pragma: no cover - nothing is dialled before there is one
            return
        link.hello_given = True
        if offer.raw is conv.hello_raw:
            link.way.forward(offer.raw)
        elif conv.hello_raw:
            link.way.drop(len(conv.hello_raw))
            conv.tell_agent(link, offer.raw, AuthoredReason.HELLO_NORMALISED)
        else:
            negotiated = offer.replayed(conv.told_size) if conv.state is State.RUNNING else offer.raw
            conv.tell_agent(link, negotiated, AuthoredReason.REPLAYED)
        conv.hello_raw = b""
        link.size = offer.max_frame_size
        link.state = State.AGENT_HELLO
        if conv.state is State.DIALLING:
            conv.state = State.AGENT_HELLO
        link.connect_by = math.inf
        link.hello_by = now + conv.config.hello_s
        agent.release_early(now)

    # --- the end of every step -----------------------------------------------------------------------------------------

    def _step(self, now: float) -> Output:
        conv = self._conv
        stirred = bool(conv.events or self._held or self._keeps or conv.parking.bytes or conv.hello_raw)
        if stirred or now >= self.deadline:
            conv.pump(now)
            self._take_in()
        if conv.state is State.LEAVING:
            if not conv.open_notifies:
                conv.leave(now)
        elif conv.draining and conv.state is State.RUNNING and not conv.open_notifies and not conv.parking:
            conv.finish(now, EndedBy.GUARD, EndReason.DRAIN)
        conv.out.to_haproxy = said = conv.to_haproxy.take()
        pace = conv.pace
        paced = False
        if pace is not None and (said or pace.queue) and not pace.passes(len(said), now):
            paced = True
            conv.spread(pace, now)
        ending = conv.state in ENDING
        if ending:
            self._let_go()
            conv.conclude()
            if conv.state is State.CLOSED:
                self._forget()
        if ending or paced or stirred or conv.events:
            self._settle_up()
        elif now >= self.deadline:
            self.deadline = self._next_deadline()
        elif conv.config.answer_deadline_s is not None and conv.link.ledger.open:
            self.deadline = min(self.deadline, now + conv.config.answer_deadline_s)
        return self._collect()

    def _collect(self) -> Output:
        """Return what this step writes, dials and closes."""
        conv = self._conv
        out = conv.out
        conv.out = Output()
        link = conv.link
        _order(out, link)
        if len(conv.links) > 1:
            out.more = [_order(LinkOutput(other.number), other) for other in conv.links.values() if other is not link]
        return out

    def _take_in(self) -> None:
        """Hear links that were opened, and hear no more of those that are gone."""
        conv = self._conv
        for number, link in list(conv.links.items()):
            if number not in self._agents:
                self._agents[number] = FromAgent(conv, link, fast=self._fast)
            elif link.done and link.state is State.CLOSING and conv.lasts and not link.stirs:
                self._agents.pop(number).forget()
                del conv.links[number]
        if conv.link.number not in conv.links:
            conv.link = next(iter(conv.links.values()), conv.link)

    def _let_go(self) -> None:
        """Drop what agents began and nothing will come of any more."""
        for agent in self._agents.values():
            agent.torn.release()
            agent.fragments.drop()

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
        if conv.events:
            conv.out.events = conv.events
            conv.events = []
        self.deadline = self._next_deadline()

    def _next_deadline(self) -> float:
        conv, config = self._conv, self._conv.config
        if conv.state is State.CLOSED:
            return math.inf
        if conv.state is State.CLOSING:
            return min(conv.close_by, conv.pace_by)
        by = min(conv.hello_by, conv.hold_by, conv.pace_by, conv.patience_ends(), conv.may_open_at())
        by = min(by, self._from_haproxy.inlet.since + config.frame_s, self._active + config.idle_s)
        for agent in self._agents.values():
            by = min(by, self._link_deadline(agent))
        return by

    def _link_deadline(self, agent: FromAgent) -> float:
        conv, config, link = self._conv, self._conv.config, agent.link
        by = min(link.connect_by, link.hello_by, link.leave_by, link.close_by, conv.idle_until(link), conv.blocked_until(link))
        if link.state is not State.CLOSING:
            by = min(by, agent.inlet.since + config.frame_s, agent.fragments.by)
        if config.answer_deadline_s is not None:
            by = min(by, link.ledger.since() + config.answer_deadline_s)
        return by


def _order(order: LinkOutput, link: AgentLink) -> LinkOutput:
    """Put into ``order`` what ``link`` is to do, and return it."""
    order.link = link.number
    order.to_agent = link.way.take()
    if link.stirs:
        order.dial, order.close_agent = link.dial, link.close
        link.dial, link.close, link.stirs = False, Close.KEEP, False
    return order
