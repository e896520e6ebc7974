"""How a session ends: what it waits for, DISCONNECT to each side, and when it is over.

The end of an agent link comes here first: only this file decides whether the session continues without the link.
"""

import enum
import math
from collections.abc import Mapping
from typing import Final, NamedTuple

from spoe_guard.core.conversation.agent_link import AgentLink
from spoe_guard.core.conversation.links import Links, NoAgent
from spoe_guard.core.conversation.notifies import Notifies
from spoe_guard.core.conversation.progress import Progress
from spoe_guard.core.conversation.refusal import SHORTEST_S, Stranger
from spoe_guard.core.conversation.report import Report
from spoe_guard.core.conversation.route_state import RouteState
from spoe_guard.core.conversation.to_haproxy import ToHAProxy
from spoe_guard.core.payloads import disconnect as disconnects
from spoe_guard.core.payloads.disconnect import Disconnect
from spoe_guard.core.terms.anomalies import Action, Anomaly, Side
from spoe_guard.core.terms.config import SessionConfig, Unanswered
from spoe_guard.core.terms.events import (
    AgentUnreachable,
    AuthoredReason,
    DialFailure,
    EndedBy,
    EndReason,
    LinkLoss,
    SessionEnded,
    UnansweredReason,
)
from spoe_guard.core.terms.family import Family
from spoe_guard.core.terms.states import ENDING, MEETING, LinkState, SessionState
from spoe_guard.wire import frame as frames

QUIET_S: Final = 0.05  # without open NOTIFYs or received bytes: the next NOTIFY is then unlikely to be in transit


@enum.unique
class Tell(enum.Enum):
    """How HAProxy learns that the session is over."""

    DISCONNECT = "disconnect"  # AGENT-DISCONNECT, then HAProxy closes
    ANSWER = "answer"  # AGENT-DISCONNECT in answer to HAProxy's own, then close at once
    NOTHING = "nothing"  # HAProxy closes: the end of a health check
    CLOSE = "close"  # close at once, without DISCONNECT


@enum.unique
class Awaited(enum.Enum):
    """What a session waits for before it ends."""

    ANSWERS = "answers"  # to open NOTIFYs; the agent's DISCONNECT, or the guard's in its place, is held back meanwhile
    REFUSAL = "refusal"  # the delay before HAProxy learns that it is refused, or gets the answer to its DISCONNECT
    DRAIN = "drain"  # answers, because the guard is stopping
    OTHERS = "others"  # answers to the other NOTIFYs, because HAProxy is to learn that one got none


class Wait(NamedTuple):
    """What the session waits for, and the latest end of the wait in monotonic seconds."""

    what: Awaited
    until: float


class _End(NamedTuple):
    by: EndedBy
    reason: EndReason
    status: int  # of the DISCONNECT to HAProxy
    message: str = ""
    tell: Tell = Tell.DISCONNECT


# How a session ends that ends with its link. If the agent closed without DISCONNECT, a NOTIFY may be in transit to it, so the
# status is never "normal".
_WITH_LINK: Final[Mapping[LinkLoss, _End]] = {
    LinkLoss.DISCONNECT: _End(EndedBy.AGENT, EndReason.DISCONNECT, disconnects.STATUS_NORMAL),
    LinkLoss.CLOSED: _End(EndedBy.AGENT, EndReason.CLOSED, disconnects.STATUS_RESOURCES),
    LinkLoss.RESET: _End(EndedBy.AGENT, EndReason.RESET, disconnects.STATUS_RESOURCES),
    LinkLoss.FRAME_TIMEOUT: _End(EndedBy.AGENT, EndReason.FRAME_TIMEOUT, disconnects.STATUS_TIMEOUT),
    LinkLoss.ANOMALY: _End(EndedBy.GUARD, EndReason.ANOMALY, disconnects.STATUS_INVALID),
    LinkLoss.DEADLINE: _End(EndedBy.GUARD, EndReason.UNANSWERED, disconnects.STATUS_TIMEOUT),
}

# How a session may go on without an agent.
_GOES_ON: Final = frozenset((Unanswered.SET, Unanswered.EMPTY_ACK))


class Ending:
    """The end of one session.

    ``pending``: the agent's DISCONNECT, held back until it can become the session's own. ``waits``: what the session waits for,
    None for nothing. ``stood_in``: HAProxy got AGENT-HELLO from the guard. ``draining``: the guard is
    stopping; ``quiet_at``: when a draining session may end if nothing is open.
    ``close_by``: when the guard closes the connections itself. Monotonic seconds, infinity when not armed.
    """

    def __init__(  # noqa: PLR0913, PLR0917  the parts below it
        self,
        config: SessionConfig,
        route: RouteState,
        progress: Progress,
        report: Report,
        to_haproxy: ToHAProxy,
        notifies: Notifies,
        links: Links,
    ) -> None:
        self.pending: Disconnect | None = None
        self.waits: Wait | None = None
        self.draining = False
        self.stood_in = False
        self.quiet_at = math.inf
        self.close_by = math.inf
        self._config = config
        self._route = route
        self._progress = progress
        self._report = report
        self._to_haproxy = to_haproxy
        self._notifies = notifies
        self._links = links
        self._stranger: Stranger | None = None  # whoever connected and is refused without a word
        self._as = _WITH_LINK[LinkLoss.DISCONNECT]  # how a session ends that waits for answers or refuses
        self._ended = (EndedBy.GUARD, EndReason.CLOSED)

    @property
    def wait_by(self) -> float:
        """When the current wait expires, infinity if there is none."""
        return self.waits.until if self.waits is not None else math.inf

    # --- a link ends: does the session? ------------------------------------------------------------------------------------

    def link_leaving(
        self, link: AgentLink, loss: LinkLoss, now: float, status: int | None = None, pending: Disconnect | None = None
    ) -> None:
        """The agent of ``link`` takes no more NOTIFYs, but may still answer those it has.

        A session that ends with its link then ends with ``pending``, or with ``status`` if that differs from the usual one.
        """
        if self._progress.outlives_links:  # HAProxy does not notice
            self._drop(pending)
            self._links.leaving(link, now, loss)
            return
        self._progress.enter(SessionState.LEAVING)
        link.leave(loss, now)
        self.pending = pending
        self.waits = Wait(Awaited.ANSWERS, now + self._config.disconnect_hold_s)
        self._as = _WITH_LINK[loss] if status is None else _WITH_LINK[loss]._replace(status=status)

    def link_answered(self, link: AgentLink, now: float) -> None:
        """The agent of ``link``, which is leaving, has sent all its answers."""
        if self._progress.outlives_links:
            self._links.lose(link, now, link.leaving_as)
        else:
            self.wait_over(now)

    def link_over(
        self, link: AgentLink, loss: LinkLoss, now: float, status: int | None = None, pending: Disconnect | None = None
    ) -> None:
        """The agent of ``link`` sends no more answers. ``status`` and ``pending`` as for ``link_leaving``."""
        if self._progress.outlives_links:
            self._drop(pending)
            if link.state is LinkState.CLOSING:  # it got HAPROXY-DISCONNECT already
                link.close()
            else:
                self._links.lose(link, now, loss)
            return
        self.pending = pending or self.pending
        end = _WITH_LINK[loss]
        self.finish(now, end.by, end.reason, status=end.status if status is None else status)

    def link_not_reached(self, link: AgentLink, reason: DialFailure, detail: str, now: float) -> None:
        """Dialling ``link``, or its HELLO, failed."""
        found = self._links.not_reached(link, reason, detail, now)
        if reason is DialFailure.HELLO_TIMEOUT and (found is None or self._goes_on):
            # HAProxy gets AGENT-HELLO from the guard if it waits for one, and NOTIFYs wait for the next dial or are answered; so
            # nobody else counts it. HAProxy 3.1 and later alone keeps a connection to a mute agent for good and does not show it.
            self._report.judge(Side.AGENT, Anomaly.AGENT_UNREACHABLE, b"", 0, detail=detail, action=Action.ANSWER)
        if found is not None:
            self.no_agent(found, now)

    def link_over_early(self, link: AgentLink, reason: EndReason, detail: str, now: float) -> None:
        """The agent closed ``link`` before AGENT-HELLO."""
        if self._progress.outlives_links:
            self.link_not_reached(link, DialFailure.OTHER, detail, now)
            return
        self._report.add(AgentUnreachable(DialFailure.OTHER, detail, link.number))
        self.refuse(now, EndedBy.AGENT, reason, disconnects.STATUS_RESOURCES)

    def no_agent(self, found: NoAgent, now: float) -> None:
        """There is no agent, and HAProxy need not wait for one.

        A HAProxy that waits for AGENT-HELLO gets the guard's. Up to 3.0 it would connect again at once if it were refused, and
        3.1 and later fail the request only when the refusal comes; behind AGENT-HELLO each NOTIFY can be answered at once.
        """
        state, config = self._progress.state, self._config
        if self._goes_on:
            self._notifies.give_up_parked(now, UnansweredReason.AGENT_AWAY)
            return
        action = self._report.judge(Side.AGENT, Anomaly.AGENT_UNREACHABLE, b"", 0, detail=found.detail)
        if action is not Action.ANSWER:
            self.finish(now, EndedBy.AGENT, EndReason.UNREACHABLE, tell=Tell.CLOSE)
        elif state is SessionState.RUNNING:
            self._links.give_up_dials(now)
            self._notifies.abandon_parked(now, UnansweredReason.AGENT_AWAY)
            self.finish(now, EndedBy.AGENT, EndReason.UNREACHABLE, status=disconnects.STATUS_RESOURCES)
        elif self._progress.is_check or config.observe:
            self.refuse(now, EndedBy.AGENT, EndReason.UNREACHABLE, disconnects.STATUS_RESOURCES, "the agent is unreachable")
        else:
            self.stand_in(now)

    def stand_in(self, now: float) -> None:
        """Answer HAPROXY-HELLO in place of the agent: the session runs, and an agent may join it later."""
        raw, size, one_at_a_time = self._links.stand_in(now)
        self._notifies.negotiated(size, one_at_a_time=one_at_a_time)
        self._progress.enter(SessionState.RUNNING)
        self._to_haproxy.author(raw, AuthoredReason.ANSWERED)
        self.stood_in = True

    # --- what a session waits for ------------------------------------------------------------------------------------------

    def refuse(self, now: float, by: EndedBy, reason: EndReason, status: int, message: str = "") -> None:
        """Delay the news that there is no agent."""
        self._progress.enter(SessionState.REFUSING)
        self._links.wait_no_more()
        offer = self._progress.offer
        patient = offer is not None and offer.family is Family.APPLET
        self.waits = Wait(Awaited.REFUSAL, self._route.refusals.hold(now, patient=patient))
        self._as = _End(by, reason, status or disconnects.STATUS_RESOURCES, message)

    def answer_later(self, now: float, status: int) -> None:
        """HAProxy sent DISCONNECT and would connect again for the same reason: delay the answer, for which it waits."""
        self._links.end_all(now, status, "")
        self.refuse(now, EndedBy.HAPROXY, EndReason.DISCONNECT, status)
        self._as = self._as._replace(tell=Tell.ANSWER)

    def turn_away(self, first: bytes, now: float) -> None:
        """Whoever connected does not speak SPOP but ``first``: delay the end, which comes without a word.

        It may be HAProxy, with `send-proxy` or `ssl` on its server line, which connects again as soon as it is refused.
        """
        self._progress.enter(SessionState.REFUSING)
        self._stranger = Stranger(self._route.strangers, now)
        self._as = _End(EndedBy.GUARD, EndReason.ANOMALY, disconnects.STATUS_NORMAL, tell=Tell.CLOSE)
        self.heard_stranger(first, now)

    def heard_stranger(self, data: bytes, now: float) -> None:
        """Whoever is turned away said ``data``; nothing of it goes anywhere."""
        stranger = self._stranger
        if stranger is not None and self._progress.state is SessionState.REFUSING:
            stranger.heard(data, now)
            self.waits = Wait(Awaited.REFUSAL, stranger.until)

    def drain(self, now: float, active: float) -> None:
        """The guard is stopping. ``active``: when bytes last arrived."""
        state = self._progress.state
        if state is SessionState.HAPROXY_HELLO:
            self.finish(now, EndedBy.GUARD, EndReason.DRAIN, tell=Tell.CLOSE)
        elif self._stranger is not None and state is SessionState.REFUSING:
            self.wait_over(now)
        elif state is SessionState.REFUSING:
            self.waits = Wait(Awaited.REFUSAL, min(self.wait_by, now + SHORTEST_S))
        elif (state is SessionState.RUNNING or state in MEETING) and not self.draining:
            self.draining = True
            self.waits = Wait(Awaited.DRAIN, now + self._config.disconnect_hold_s)
            self.quiet_at = active + QUIET_S

    def heard(self, now: float, *, from_haproxy: bool) -> None:
        """Bytes arrived. A draining session ends after the agent's last answer, and waits a moment for HAProxy's next frame."""
        if self.draining:
            self.quiet_at = now if self._notifies.open and not from_haproxy else now + QUIET_S

    def tell(self, now: float) -> None:
        """Let HAProxy learn of NOTIFYs that got no answer by the end of its connection, once the others are answered.

        If a deadline passed, HAProxy's own timeout follows in a moment: then the connection ends only if nothing else is open.
        """
        reasons = self._notifies.take_untold()
        overdue = reasons == {UnansweredReason.DEADLINE}
        if self._progress.state is not SessionState.RUNNING or self.draining or (overdue and not self._notifies.idle):
            return
        if self.waits is None:
            self.waits = Wait(Awaited.OTHERS, now + self._config.disconnect_hold_s)
            status = disconnects.STATUS_TIMEOUT if overdue else disconnects.STATUS_RESOURCES
            self._as = _End(EndedBy.GUARD, EndReason.UNANSWERED, status)

    def wait_over(self, now: float) -> None:
        """End the session: the wait is over or has expired."""
        if self.waits is not None and self.waits.what is Awaited.DRAIN:
            status = disconnects.STATUS_NORMAL if self._progress.state is SessionState.RUNNING else disconnects.STATUS_RESOURCES
            self.finish(now, EndedBy.GUARD, EndReason.DRAIN, status=status)
        else:
            end = self._as
            self.finish(now, end.by, end.reason, status=end.status, message=end.message, tell=end.tell)

    def end_if_answered(self, now: float) -> None:
        """End a session that waits only for open NOTIFYs, once none is open."""
        if not self._notifies.idle:
            return
        state = self._progress.state
        drained = self.draining and state is SessionState.RUNNING and now >= self.quiet_at
        told = self.waits is not None and self.waits.what is Awaited.OTHERS
        if state is SessionState.LEAVING or drained or told:
            self.wait_over(now)

    # --- the end itself -------------------------------------------------------------------------------------------------------

    def finish(
        self,
        now: float,
        by: EndedBy,
        reason: EndReason,
        *,
        status: int = disconnects.STATUS_NORMAL,
        message: str = "",
        tell: Tell = Tell.DISCONNECT,
    ) -> None:
        """End the session cleanly: settle open NOTIFYs, send DISCONNECT to each side, then wait for them to close.

        ``status`` and ``message`` go to HAProxy if there is no DISCONNECT of the agent to pass on.
        """
        if self._progress.state in ENDING:
            return
        if by is EndedBy.HAPROXY and self._progress.state in MEETING:
            self._links.haproxy_gave_up(now)
        gone = UnansweredReason.HAPROXY_GONE if by is EndedBy.HAPROXY else UnansweredReason.AGENT_GONE
        gone = UnansweredReason.LIMIT if reason is EndReason.LIMIT else gone
        self._notifies.abandon(now, gone)
        self._leave_route()
        if tell in (Tell.DISCONNECT, Tell.ANSWER) and not self._to_haproxy.done:
            self._disconnect(status, message, now, AuthoredReason.ANSWERED if tell is Tell.ANSWER else AuthoredReason.DISCONNECT)
            if tell is Tell.DISCONNECT:
                self._to_haproxy.told_end(now)
        else:
            self._drop(self.pending)
        self.pending = None
        self._to_haproxy.outlet.seal()
        if tell in (Tell.ANSWER, Tell.CLOSE):
            self._to_haproxy.close()
        self._links.end_all(now, status, message)
        self._progress.enter(SessionState.CLOSING)
        self.waits = None
        self.close_by = now + self._config.close_s
        self._ended = (by, reason) if self._stranger is None else (self._as.by, self._as.reason)  # whoever hung up

    def refused_by_agent(self, disconnect: Disconnect, now: float) -> None:
        """Pass on an AGENT-DISCONNECT that came in place of AGENT-HELLO, and end."""
        self.pending = disconnect
        self.finish(now, EndedBy.AGENT, EndReason.REFUSED)

    def close_now(self) -> None:
        """Close the connections that the peers did not close in time."""
        self._to_haproxy.drop_queue()
        self._to_haproxy.close()
        self._links.close_all()

    def conclude(self) -> None:
        """Report the end, once, when all connections are closed and nothing is left to write."""
        over = self._to_haproxy.done and self._links.all_done and not self._to_haproxy.queued
        if self._progress.state is SessionState.CLOSING and over:
            self._progress.enter(SessionState.CLOSED)
            self.close_by = math.inf
            self._report.add(SessionEnded(*self._ended))

    def release(self) -> bytes:
        """Return the raw DISCONNECT that is held back; the shell continues without the session."""
        self._leave_route()
        self._progress.enter(SessionState.CLOSED)
        return self.pending.frame.raw if self.pending is not None else b""

    @property
    def held(self) -> int:
        """Bytes of the DISCONNECT that is held back."""
        return len(self.pending.frame.raw) if self.pending is not None else 0

    # --- inside ---------------------------------------------------------------------------------------------------------------

    @property
    def _goes_on(self) -> bool:
        """Whether the session goes on though there is no agent: each NOTIFY is answered at once."""
        running = self._progress.state is SessionState.RUNNING and self._progress.outlives_links
        return running and self._config.unanswered in _GOES_ON

    def _leave_route(self) -> None:
        """Withdraw from what the sessions of the route share."""
        self._notifies.leave_engine()
        if self._progress.state is SessionState.REFUSING:
            if self._stranger is not None:
                self._stranger.over()
            else:
                self._route.refusals.ended()

    def _drop(self, disconnect: Disconnect | None) -> None:
        if disconnect is not None:
            self._to_haproxy.outlet.drop(len(disconnect.frame.raw))

    def _disconnect(self, status: int, message: str, now: float, reason: AuthoredReason) -> None:
        """Send HAProxy AGENT-DISCONNECT: the agent's own if one is held back, otherwise the guard's."""
        lost = self._notifies.lost(now)
        disconnect = self.pending
        if disconnect is None:
            if lost and status == disconnects.STATUS_NORMAL and reason is AuthoredReason.DISCONNECT:
                status = disconnects.STATUS_RESOURCES
            self._to_haproxy.author(disconnects.encode(frames.AGENT_DISCONNECT, status, message), reason)
            return
        raw = disconnect.frame.raw
        status = disconnects.clamp(disconnect.status)
        wrong = status != disconnect.status or (lost > 0 and status == disconnects.STATUS_NORMAL)
        if disconnect.status is not None and wrong:
            detail = f"status {disconnect.status}, unanswered NOTIFYs: {lost}"
            action = self._report.judge(Side.AGENT, Anomaly.DISCONNECT_STATUS, raw, 0, parsed=disconnect.frame, detail=detail)
            wrong = action is Action.REPAIR
        if disconnect.fit and not wrong:
            self._to_haproxy.outlet.forward(raw)
            return
        if wrong and status == disconnects.STATUS_NORMAL:
            status = disconnects.STATUS_RESOURCES
        self._to_haproxy.outlet.drop(len(raw))
        self._to_haproxy.author(disconnects.encode(frames.AGENT_DISCONNECT, status, disconnect.message), AuthoredReason.REPAIRED)
