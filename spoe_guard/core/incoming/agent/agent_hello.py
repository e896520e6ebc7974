"""What happens to the agent's answer to HAPROXY-HELLO: it is passed, repaired, or taken as a refusal."""

from spoe_guard.core.conversation.agent_state import Agreed
from spoe_guard.core.incoming.agent.agent_stream import AgentStream
from spoe_guard.core.payloads import disconnect as disconnects
from spoe_guard.core.payloads.hello import AgentHello, Offer
from spoe_guard.core.terms.anomalies import Action, Anomaly
from spoe_guard.core.terms.events import (
    AgentReady,
    AgentUnreachable,
    AuthoredReason,
    DialFailure,
    DisconnectSeen,
    EndedBy,
    EndReason,
)
from spoe_guard.core.terms.states import SessionState
from spoe_guard.wire import frame as frames


def judge_hello(walker: AgentStream, frame: frames.Frame, offer: Offer, now: float) -> None:
    """Pass an AGENT-HELLO that HAProxy will accept (promise H2); the session is running from then on."""
    conv = walker.conv
    raw = walker.mend_flags(frame, now)
    if raw is None:
        walker.pass_on(frame, None)
        return
    hello = AgentHello(frame, offer, pipelining=conv.links.in_flight > 0)
    keep_capabilities = False
    rewrite = False
    for problem in hello.problems:
        action = walker.judge(problem.anomaly, frame, problem.detail, Action.CLOSE if hello.hopeless else None, problem.quoted)
        walker.close_on(action, now)
        if action is Action.CLOSE:
            walker.pass_on(frame, None)
            return
        rewrite = rewrite or action is Action.REPAIR
        keep_capabilities = keep_capabilities or action is Action.PASS
    if conv.progress.state is SessionState.RUNNING:  # HAProxy already got AGENT-HELLO, through an earlier link
        walker.pass_on(frame, None)
    elif rewrite or hello.adapts:
        reason = AuthoredReason.REPAIRED if rewrite or raw is not frame.raw else AuthoredReason.HELLO_NORMALISED
        walker.pass_on(frame, hello.encode(keep_capabilities=keep_capabilities), reason)
    else:
        walker.pass_on(frame, raw)
    link = walker.link
    link.negotiated(fragments="fragmentation" in hello.capabilities)
    told = hello.announced if keep_capabilities else hello.capabilities
    conv.route.refusals.succeeded()
    # A health check may offer less than a session does.
    conv.route.agent.answered(None if offer.healthcheck else Agreed(hello.max_frame_size, tuple(hello.capabilities)))
    if "async" in hello.capabilities:
        conv.notifies.join(offer.engine)
    conv.links.up(link, hello.shown_size, now, told)
    conv.report.add(AgentReady(hello.max_frame_size, ",".join(hello.capabilities), offer.healthcheck, link.number))


def judge_refusal(walker: AgentStream, frame: frames.Frame, now: float) -> None:
    """Handle AGENT-DISCONNECT in place of AGENT-HELLO."""
    conv = walker.conv
    disconnect = note_disconnect(walker, frame)
    detail = f"status {disconnect.status}"
    refused = f"it refused HELLO: {detail}"
    if conv.progress.state is SessionState.RUNNING:
        walker.judge(Anomaly.HELLO_REFUSED, frame, detail, Action.DROP, disconnect.message)
        walker.pass_on(frame, None)
        conv.ending.link_not_reached(walker.link, DialFailure.HELLO_REFUSED, refused, now)
        return
    action = walker.judge(Anomaly.HELLO_REFUSED, frame, detail, quoted=disconnect.message)
    if not conv.progress.is_check:  # criteo up to 1.0.7 refuses each health check, and takes sessions
        conv.route.agent.refused()
        conv.report.add(AgentUnreachable(DialFailure.HELLO_REFUSED, refused, walker.link.number))
    if action is Action.PASS:
        disconnect.fit = disconnect.passable
        conv.ending.refused_by_agent(disconnect, now)
        return
    walker.pass_on(frame, None)
    checked = conv.progress.is_check
    status = disconnects.clamp_for_check(disconnect.status) if checked else disconnects.clamp(disconnect.status)
    conv.ending.refuse(now, EndedBy.AGENT, EndReason.REFUSED, status, disconnect.message)


def judge_trailing(walker: AgentStream, frame: frames.Frame, now: float) -> None:
    """Handle a frame after the AGENT-HELLO of a health check; HAProxy 3.1 and later mark the agent DOWN for it."""
    if frame.type == frames.AGENT_DISCONNECT:
        note_disconnect(walker, frame)
    walker.unasked(Anomaly.HELLO_TRAILING, frame, now)


def note_disconnect(walker: AgentStream, frame: frames.Frame) -> disconnects.Disconnect:
    """Report that the agent sent DISCONNECT, and return it parsed."""
    disconnect = disconnects.Disconnect(frame)
    walker.link.disconnect_came()
    walker.conv.report.add(DisconnectSeen(walker.side, disconnect.status, disconnect.message))
    return disconnect
