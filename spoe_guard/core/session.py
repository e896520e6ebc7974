"""One HAProxy connection and the agent link that serves it: bytes and times in, one ``Output`` per step.

No clock, no socket, no log: the shell (``net/``) calls, writes, closes and reports.
"""

import math
from typing import Final

from spoe_guard.core import goodbye
from spoe_guard.core.anomalies import Action, Anomaly, Side
from spoe_guard.core.config import SessionConfig
from spoe_guard.core.conversation import ENDING, Conversation, LastWord
from spoe_guard.core.events import AgentUnreachable, AuthoredReason, DialFailure, EndedBy, EndReason, UnansweredReason
from spoe_guard.core.from_agent import FromAgent
from spoe_guard.core.from_haproxy import FromHAProxy
from spoe_guard.core.output import Close, Output
from spoe_guard.core.states import State
from spoe_guard.core.tally import Tally

_AGENT: Final = Side.AGENT


class Session:
    """The guard's part in one conversation, in enforce mode (``ObservedSession`` wraps one for observe mode).

    ``deadline``: monotonic seconds; ``tick`` is to be called no later. It is a lower bound: a tick may find
    nothing to do. ``fast`` False leaves every frame to the readable path.
    """

    def __init__(self, config: SessionConfig, tally: Tally, now: float, *, fast: bool = True) -> None:
        self._conv = Conversation(config, tally)
        self._conv.hello_by = now + config.hello_s
        self._from_haproxy = FromHAProxy(self._conv, fast=fast)
        self._from_agent = FromAgent(self._conv, fast=fast)
        self._active = now
        self._held = 0
        self.deadline = self._conv.hello_by

    @property
    def held(self) -> int:
        """Bytes that came and neither went on nor were dropped yet."""
        return self._held

    @property
    def open_notifies(self) -> int:
        """NOTIFYs the agent has and has not answered."""
        return len(self._conv.ledger.open)

    @property
    def state(self) -> State:
        """Where the session stands."""
        return self._conv.state

    # --- what the shell calls --------------------------------------------------------------------------------------

    def start(self, now: float) -> Output:
        """HAProxy's connection was accepted."""
        return self._step(now)

    def receive(self, side: Side, data: bytes, now: float) -> Output:
        """Bytes came from ``side``."""
        self._active = now
        if side is _AGENT:
            self._from_agent.receive(data, now)
        else:
            self._from_haproxy.receive(data, now)
        return self._step(now)

    def agent_connected(self, now: float) -> Output:
        """The agent link that ``Output.dial`` asked for is up."""
        conv = self._conv
        if conv.state is State.DIALLING and conv.offer is not None:
            conv.hello_given = True
            if conv.offer.raw is conv.hello_raw:
                conv.to_agent.forward(conv.offer.raw)
            else:
                conv.to_agent.drop(len(conv.hello_raw))
                conv.tell_agent(conv.offer.raw, AuthoredReason.HELLO_NORMALISED)
            conv.hello_raw = b""
            conv.agent_size = conv.offer.max_frame_size
            conv.state = State.AGENT_HELLO
            conv.connect_by = math.inf
            conv.hello_by = now + conv.config.hello_s
            self._from_agent.release_early(now)
        return self._step(now)

    def agent_failed(self, reason: DialFailure, detail: str, now: float) -> Output:
        """The agent could not be dialled."""
        if self._conv.state is State.DIALLING:
            self._unreachable(reason, detail, now)
            self._conv.agent_done = True
        return self._step(now)

    def closed(self, side: Side, now: float, *, reset: bool) -> Output:
        """``side`` sent FIN, or its connection broke (``reset``): it will send no more."""
        if side is _AGENT:
            self._from_agent.ended(now, reset=reset)
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
        elif conv.state is State.RUNNING and not conv.draining:
            conv.draining = True
            conv.hold_by = now + conv.config.disconnect_hold_s
            self.deadline = min(self.deadline, conv.hold_by)
        return self._step(now)

    def tick(self, now: float) -> Output:
        """Time has passed."""
        conv = self._conv
        if now >= conv.close_by:
            conv.close_haproxy()
            conv.close_agent()
            conv.conclude()
        elif now >= conv.hold_by:
            self._hold_over(now)
        elif now >= conv.connect_by:
            self._unreachable(DialFailure.TIMEOUT, f"no connection within {conv.config.connect_s:g} s", now)
            conv.close_agent(Close.ABORT)
        elif now >= conv.hello_by:
            self._no_hello(now)
        elif conv.state not in ENDING:
            self._stalled(now)
        return self._step(now)

    def release(self) -> tuple[bytes, bytes]:
        """Return the raw bytes held back (to_agent, to_haproxy), for a shell that goes on without the session.

        Takes the session out of the route's gauges; it must not be used afterwards.
        """
        conv = self._conv
        conv.tally.held_bytes -= self._held
        conv.tally.open_notifies -= len(conv.ledger.open)
        conv.ledger.open.clear()
        self._held = 0
        conv.state = State.CLOSED
        self.deadline = math.inf
        said = conv.held.frame.raw if conv.held else b""
        to_haproxy = conv.to_haproxy.take() + said + self._from_agent.inlet.release()
        return conv.to_agent.take() + conv.hello_raw + self._from_haproxy.inlet.release(), to_haproxy

    # --- time --------------------------------------------------------------------------------------------------------

    def _unreachable(self, reason: DialFailure, detail: str, now: float) -> None:
        conv = self._conv
        conv.events.append(AgentUnreachable(reason, detail))
        action = conv.judge(_AGENT, Anomaly.AGENT_UNREACHABLE, b"", 0, detail=detail)
        if action is Action.ANSWER:
            conv.refuse(now, EndedBy.AGENT, EndReason.UNREACHABLE, goodbye.STATUS_RESOURCES, "the agent is unreachable")
        else:
            conv.finish(now, EndedBy.AGENT, EndReason.UNREACHABLE, word=LastWord.CLOSE)

    def _hold_over(self, now: float) -> None:
        conv = self._conv
        if conv.state is State.RUNNING:
            conv.finish(now, EndedBy.GUARD, EndReason.DRAIN)
        else:
            conv.leave(now)

    def _no_hello(self, now: float) -> None:
        conv = self._conv
        if conv.state is State.HAPROXY_HELLO:
            conv.finish(now, EndedBy.HAPROXY, EndReason.HELLO_TIMEOUT, word=LastWord.CLOSE)
        else:
            self._unreachable(DialFailure.HELLO_TIMEOUT, f"no AGENT-HELLO within {conv.config.hello_s:g} s", now)

    def _stalled(self, now: float) -> None:
        """Frames that stand still, NOTIFYs past their deadline, a connection with nothing to say."""
        conv, config = self._conv, self._conv.config
        stuck = f"no more of it within {config.frame_s:g} s"
        if now >= self._from_agent.inlet.since + config.frame_s:
            self._from_agent.truncated(stuck)
            conv.finish(now, EndedBy.AGENT, EndReason.FRAME_TIMEOUT, status=goodbye.STATUS_TIMEOUT)
        elif now >= self._from_haproxy.inlet.since + config.frame_s:
            self._from_haproxy.truncated(stuck)
            conv.finish(now, EndedBy.HAPROXY, EndReason.FRAME_TIMEOUT, status=goodbye.STATUS_TIMEOUT)
        elif now >= self._active + config.idle_s:
            conv.finish(now, EndedBy.GUARD, EndReason.IDLE_TIMEOUT, status=goodbye.STATUS_TIMEOUT)
        elif config.answer_deadline_s is not None:
            opened = conv.ledger.open
            while opened and now >= opened[conv.ledger.oldest()] + config.answer_deadline_s:
                conv.give_up(conv.ledger.oldest(), now, UnansweredReason.DEADLINE)

    # --- the end of every step -----------------------------------------------------------------------------------------

    def _step(self, now: float) -> Output:
        conv = self._conv
        if not conv.ledger.open:
            if conv.state is State.LEAVING:
                conv.leave(now)
            elif conv.draining and conv.state is State.RUNNING:
                conv.finish(now, EndedBy.GUARD, EndReason.DRAIN)
        out = conv.out
        ending = conv.state in ENDING
        if ending:
            self._from_agent.torn.release()
            if conv.state is State.CLOSED:
                self._from_agent.forget()
                self._from_haproxy.forget()
        if ending or conv.events or self._held or self._from_agent.held or self._from_haproxy.inlet.held or conv.hello_raw:
            self._settle_up()
        elif now >= self.deadline:
            self.deadline = self._next_deadline()
        elif conv.config.answer_deadline_s is not None and conv.ledger.open:
            self.deadline = min(self.deadline, now + conv.config.answer_deadline_s)
        out.to_agent = conv.to_agent.take()
        out.to_haproxy = conv.to_haproxy.take()
        conv.out = Output()
        return out

    def _settle_up(self) -> None:
        """Bring the books and the deadline up to date behind a step that was not ordinary."""
        conv = self._conv
        held = self._from_agent.held + self._from_haproxy.inlet.held + len(conv.hello_raw)
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
            return conv.close_by
        frame_by = min(self._from_agent.inlet.since, self._from_haproxy.inlet.since) + config.frame_s
        answer_by = math.inf
        if config.answer_deadline_s is not None and conv.ledger.open:
            answer_by = conv.ledger.open[conv.ledger.oldest()] + config.answer_deadline_s
        return min(conv.connect_by, conv.hello_by, conv.hold_by, frame_by, answer_by, self._active + config.idle_s)
