"""How a session ends: the last word to each side, what it waits for, and when it is over."""

import enum
import math

from spoe_guard.core.conversation.agent_link import AgentLink
from spoe_guard.core.conversation.exchange import Exchange
from spoe_guard.core.conversation.pacing import Pace
from spoe_guard.core.conversation.place import Place
from spoe_guard.core.payloads import disconnect as goodbye
from spoe_guard.core.payloads.disconnect import Goodbye
from spoe_guard.core.payloads.family import Family
from spoe_guard.core.terms.anomalies import Action, Anomaly, Side
from spoe_guard.core.terms.config import SessionConfig
from spoe_guard.core.terms.events import AuthoredReason, DisconnectHeld, EndedBy, EndReason, SessionEnded, UnansweredReason
from spoe_guard.core.terms.output import Close
from spoe_guard.core.terms.states import ENDING, LinkState, SessionState
from spoe_guard.core.terms.tally import Tally
from spoe_guard.wire import frame


@enum.unique
class LastWord(enum.Enum):
    """How HAProxy learns that the session is over."""

    SAY = "say"  # AGENT-DISCONNECT, then HAProxy closes
    ANSWER = "answer"  # AGENT-DISCONNECT in answer to HAProxy's own, then close at once
    NONE = "none"  # nothing is said, HAProxy closes: the end of a health check
    CLOSE = "close"  # nothing is said, close at once


class Conversation(Exchange):
    """State and means of one session, and its end."""

    def __init__(self, config: SessionConfig, tally: Tally, place: Place) -> None:
        super().__init__(config, tally)
        self.place = place
        self.engine = b""  # its id, where async was negotiated
        self._leaving_as = (EndedBy.AGENT, EndReason.DISCONNECT, goodbye.STATUS_NORMAL, "")
        self._ended = (EndedBy.GUARD, EndReason.CLOSED)

    def dial(self, link: AgentLink, now: float) -> None:
        """Ask for the connection of ``link``."""
        link.enter(LinkState.DIALLING)
        link.done = False
        link.dial = link.stirs = True
        link.connect_by = now + self.config.connect_s

    def hold(self, link: AgentLink, said: Goodbye | None, now: float, by: EndedBy, reason: EndReason, status: int) -> None:
        """Hold back the agent's last word, or the guard's in its place, until open NOTIFYs are answered."""
        self.enter(SessionState.LEAVING)
        link.enter(LinkState.LEAVING)
        self.held = said
        link.held_since = now
        self.hold_by = now + self.config.disconnect_hold_s
        self._leaving_as = (by, reason, status, "")

    def refuse(self, now: float, by: EndedBy, reason: EndReason, status: int, message: str) -> None:
        """Hold back the news that there is no agent to talk to."""
        self.enter(SessionState.REFUSING)
        for link in self.links.values():
            link.connect_by = link.hello_by = math.inf
        self.hold_by = self.place.refusals.hold(now, patient=self.offer is not None and self.offer.family is Family.APPLET)
        self._leaving_as = (by, reason, status or goodbye.STATUS_RESOURCES, message)

    def join(self, engine: bytes) -> None:
        """The agent may answer this session's NOTIFYs on the link of another session of ``engine``, and the other way round."""
        self.engine = engine
        self.place.engines.join(engine, self.place.number, self)

    def depart(self) -> None:
        """Have no part any more in what the sessions of the route share."""
        self.place.engines.leave(self.engine, self.place.number)
        if self.state is SessionState.REFUSING:
            self.place.refusals.let_go()

    def hold_over(self, now: float) -> None:
        """What was held back, a last word or the end of a drain, has waited long enough."""
        if self.state is SessionState.RUNNING:
            self.finish(now, EndedBy.GUARD, EndReason.DRAIN)
        elif self.draining and self.state in (SessionState.DIALLING, SessionState.AGENT_HELLO):
            self.finish(now, EndedBy.GUARD, EndReason.DRAIN, status=goodbye.STATUS_RESOURCES)
        else:
            self.leave(now)

    def leave(self, now: float) -> None:
        """Let the held last word go: everything is answered, or will not be any more."""
        by, reason, status, message = self._leaving_as
        self.finish(now, by, reason, status=status, message=message)

    def finish(
        self,
        now: float,
        by: EndedBy,
        reason: EndReason,
        *,
        status: int = goodbye.STATUS_NORMAL,
        message: str = "",
        word: LastWord = LastWord.SAY,
    ) -> None:
        """End the session the clean way: open NOTIFYs, the last word to each side, then wait for them to close.

        ``status`` and ``message`` are what HAProxy is told where the agent's own DISCONNECT is not at hand.
        """
        if self.state in ENDING:
            return
        gone = UnansweredReason.HAPROXY_GONE if by is EndedBy.HAPROXY else UnansweredReason.AGENT_GONE
        self.abandon(now, gone)
        self.depart()
        if word in (LastWord.SAY, LastWord.ANSWER) and not self.haproxy_done:
            self._say(status, message, now, AuthoredReason.ANSWERED if word is LastWord.ANSWER else AuthoredReason.LAST_WORD)
        elif self.held is not None:
            self.to_haproxy.drop(len(self.held.frame.raw))
        self.held = None
        self.to_haproxy.seal()
        if word in (LastWord.ANSWER, LastWord.CLOSE):
            self.close_haproxy()
        if self.hello_raw:
            self.agent_books.dropped += len(self.hello_raw)
            self.hello_raw = b""
        for link in self.links.values():
            self._dismiss(link, now, status, message)
        self.enter(SessionState.CLOSING)
        self.hello_by = self.hold_by = math.inf
        self.close_by = now + self.config.close_s
        self._ended = (by, reason)

    def _say(self, status: int, message: str, now: float, reason: AuthoredReason) -> None:
        """Tell HAProxy goodbye: the agent's own word if one is held, else one authored."""
        lost = self.history.lost(now)
        said = self.held
        if said is None:
            if lost and status == goodbye.STATUS_NORMAL and reason is AuthoredReason.LAST_WORD:
                status = goodbye.STATUS_RESOURCES
            self.tell_haproxy(goodbye.encode(frame.AGENT_DISCONNECT, status, message), reason)
            return
        raw = said.frame.raw
        status = goodbye.clamp(said.status)
        wrong = status != said.status or (lost > 0 and status == goodbye.STATUS_NORMAL)
        if said.status is not None and wrong:
            detail = f"status {said.status}, unanswered NOTIFYs: {lost}"
            action = self.judge(Side.AGENT, Anomaly.DISCONNECT_STATUS, raw, 0, parsed=said.frame, detail=detail)
            wrong = action is Action.REPAIR
        if said.fit and not wrong:
            self.to_haproxy.forward(raw)
            return
        if wrong and status == goodbye.STATUS_NORMAL:
            status = goodbye.STATUS_RESOURCES
        self.to_haproxy.drop(len(raw))
        self.tell_haproxy(goodbye.encode(frame.AGENT_DISCONNECT, status, said.message), AuthoredReason.REPAIRED)

    def _dismiss(self, link: AgentLink, now: float, status: int = goodbye.STATUS_NORMAL, message: str = "") -> None:
        """Tell an agent goodbye, if it was ever told hello (promise A3), or give up the dial."""
        if link.state is LinkState.LEAVING:
            self.events.append(DisconnectHeld(now - link.held_since))
        link.enter(LinkState.CLOSING)
        link.connect_by = link.hello_by = math.inf
        if link.done:
            return
        if link.hello_given:
            if status == goodbye.STATUS_RESOURCES:  # that is how HAProxy learns of the agent's end, which is no news to it
                status = goodbye.STATUS_NORMAL
            said = goodbye.encode(frame.HAPROXY_DISCONNECT, goodbye.clamp(status), message)
            self.tell_agent(link, said, AuthoredReason.LAST_WORD)
            link.way.seal()
        else:
            link.shut(Close.ABORT)

    def spread(self, pace: Pace, now: float) -> None:
        """Write to HAProxy what it can take now, and queue the rest; a close waits for it. Too long a queue ends the session."""
        out = self.out
        out.to_haproxy = pace.through(out.to_haproxy, now)
        if len(pace.queue) > self.config.held_bytes and self.state not in ENDING:
            self.finish(now, EndedBy.GUARD, EndReason.LIMIT, status=goodbye.STATUS_RESOURCES)
            out.to_haproxy += pace.through(self.to_haproxy.take(), now)
        self.pace_by = pace.due
        if not pace.queue:
            self.drop_queue()  # a close need not wait any more
        elif out.close_haproxy is Close.FLUSH:
            self.close_waits = True
            out.close_haproxy = Close.KEEP

    def conclude(self) -> None:
        """Report the end, once, when all connections are and nothing is left to write."""
        over = self.haproxy_done and all(link.done for link in self.links.values())
        if self.state is SessionState.CLOSING and over and not self.queued:
            self.enter(SessionState.CLOSED)
            self.close_by = math.inf
            self.events.append(SessionEnded(*self._ended))
