"""One HAProxy connection and the agent link that serves it: bytes and times in, one ``Output`` per step.

No clock, no socket, no log: the shell (``net/``) calls, writes, closes and reports.
"""

import math
from typing import Final

from spoe_guard.core import foreign, goodbye
from spoe_guard.core.anomalies import Action, Anomaly, Side
from spoe_guard.core.config import SessionConfig
from spoe_guard.core.conversation import ENDING, Conversation, LastWord
from spoe_guard.core.events import AgentUnreachable, AuthoredReason, DialFailure, EndedBy, EndReason, UnansweredReason
from spoe_guard.core.from_agent import FromAgent
from spoe_guard.core.from_haproxy import FromHAProxy
from spoe_guard.core.output import Close, Output
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
        self._conv = Conversation(config, tally, place or Place())
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
            agent = self._agents[link]
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
        agent = self._agents[link]
        if agent.link.state is State.DIALLING:
            self._greet(agent, now)
        return self._step(now)

    def agent_failed(self, reason: DialFailure, detail: str, now: float, link: int = 0) -> Output:
        """The agent could not be dialled."""
        lost = self._agents[link].link
        if lost.state is State.DIALLING:
            self._unreachable(reason, detail, now)
            lost.done = True
        return self._step(now)

    def closed(self, side: Side, now: float, *, reset: bool, link: int = 0) -> Output:
        """``side`` sent FIN, or its connection broke (``reset``): it will send no more."""
        if side is _AGENT:
            self._agents[link].ended(now, reset=reset)
        else:
            self._from_haproxy.ended(now, reset=reset)
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
        self._held = 0
        conv.depart()
        conv.state = State.CLOSED
        self.deadline = math.inf
        said = conv.held.frame.raw if conv.held else b""
        agent = self._agents[conv.link.number]
        to_haproxy = conv.take_queue() + conv.to_haproxy.take() + said + agent.fragments.release() + agent.inlet.release()
        return conv.link.way.take() + conv.hello_raw + self._from_haproxy.inlet.release(), to_haproxy

    # --- time --------------------------------------------------------------------------------------------------------

    def _unreachable(self, reason: DialFailure, detail: str, now: float) -> None:
        conv = self._conv
        conv.events.append(AgentUnreachable(reason, detail))
        action = conv.judge(_AGENT, Anomaly.AGENT_UNREACHABLE, b"", 0, detail=detail)
        if action is Action.ANSWER:
            conv.refuse(now, EndedBy.AGENT, EndReason.UNREACHABLE, goodbye.STATUS_RESOURCES, "the agent is unreachable")
        else:
            conv.finish(now, EndedBy.AGENT, EndReason.UNREACHABLE, word=LastWord.CLOSE)

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
        elif config.answer_deadline_s is not None:
            for link in conv.links.values():
                opened = link.ledger.open
                while opened and now >= opened[link.ledger.oldest()] + config.answer_deadline_s:
                    conv.give_up(link.ledger.oldest(), now, UnansweredReason.DEADLINE)

    def _link_overdue(self, agent: FromAgent, now: float) -> bool:
        """Deal with what takes too long on one link; False when nothing does."""
        conv, config, link = self._conv, self._conv.config, agent.link
        if now >= link.connect_by:
            self._unreachable(DialFailure.TIMEOUT, f"no connection within {config.connect_s:g} s", now)
            link.shut(Close.ABORT)
        elif now >= link.hello_by:
            self._unreachable(DialFailure.HELLO_TIMEOUT, f"no AGENT-HELLO within {config.hello_s:g} s", now)
        elif now >= agent.inlet.since + config.frame_s:
            agent.truncated(self._stuck)
            conv.finish(now, EndedBy.AGENT, EndReason.FRAME_TIMEOUT, status=goodbye.STATUS_TIMEOUT)
        elif now >= agent.fragments.by:
            agent.fragments.over(now, self._stuck)
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
        else:
            link.way.drop(len(conv.hello_raw))
            conv.tell_agent(link, offer.raw, AuthoredReason.HELLO_NORMALISED)
        conv.hello_raw = b""
        link.size = offer.max_frame_size
        conv.state = link.state = State.AGENT_HELLO
        link.connect_by = math.inf
        link.hello_by = now + conv.config.hello_s
        agent.release_early(now)

    # --- the end of every step -----------------------------------------------------------------------------------------

    def _step(self, now: float) -> Output:
        conv = self._conv
        if conv.state is State.LEAVING:
            if not conv.open_notifies:
                conv.leave(now)
        elif conv.draining and conv.state is State.RUNNING and not conv.open_notifies:
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
        if ending or paced or conv.events or self._held or self._keeps or conv.hello_raw:
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
        out.to_agent = link.way.take()
        if link.stirs:
            out.dial, out.close_agent = link.dial, link.close
            link.dial, link.close, link.stirs = False, Close.KEEP, False
        return out

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
        held = self._from_haproxy.inlet.held + len(conv.hello_raw) + sum(agent.held for agent in self._agents.values())
        held += conv.queued
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
        by = min(conv.hello_by, conv.hold_by, conv.pace_by)
        by = min(by, self._from_haproxy.inlet.since + config.frame_s, self._active + config.idle_s)
        for agent in self._agents.values():
            link = agent.link
            by = min(by, link.connect_by, link.hello_by, agent.inlet.since + config.frame_s, agent.fragments.by)
            if config.answer_deadline_s is not None and link.ledger.open:
                by = min(by, link.ledger.open[link.ledger.oldest()] + config.answer_deadline_s)
        return by
