"""What becomes of the agent's answer to HAPROXY-HELLO: passed, mended, or a refusal."""

import math

from spoe_guard.core.incoming.agent.agent_stream import AgentStream
from spoe_guard.core.payloads import disconnect as goodbye
from spoe_guard.core.payloads.hello import AgentHello, Offer
from spoe_guard.core.terms.anomalies import Action, Anomaly
from spoe_guard.core.terms.events import AgentReady, AuthoredReason, DialFailure, DisconnectSeen, EndedBy, EndReason
from spoe_guard.core.terms.states import LinkState, SessionState
from spoe_guard.wire import frame


def greet(walker: AgentStream, now: float) -> None:
    """Give an agent that was reached HAPROXY-HELLO."""
    conv, link, offer = walker.conv, walker.link, walker.conv.offer
    if offer is None:  # pragma: no cover - nothing is dialled before there is one
        return
    link.hello_given = True
    if offer.raw is conv.hello_raw:
        link.way.forward(offer.raw)
    elif conv.hello_raw:
        link.way.drop(len(conv.hello_raw))
        conv.tell_agent(link, offer.raw, AuthoredReason.HELLO_NORMALISED)
    else:
        negotiated = offer.replayed(conv.told_size) if conv.state is SessionState.RUNNING else offer.raw
        conv.tell_agent(link, negotiated, AuthoredReason.REPLAYED)
    conv.hello_raw = b""
    link.ledger.size = offer.max_frame_size
    link.enter(LinkState.AGENT_HELLO)
    if conv.state is SessionState.DIALLING:
        conv.enter(SessionState.AGENT_HELLO)
    link.connect_by = math.inf
    link.hello_by = now + conv.config.hello_s


def judge_hello(walker: AgentStream, said: frame.Frame, offer: Offer, now: float) -> None:
    """Pass an AGENT-HELLO that HAProxy will take (promise H2); the session runs from then on."""
    conv = walker.conv
    raw = walker.mend_flags(said, now)
    if raw is None:
        walker.pass_on(said, None)
        return
    hello = AgentHello(said, offer, pipelining=conv.in_flight > 0)
    keep_capabilities = False
    rewrite = False
    for problem in hello.problems:
        action = walker.judge(problem.anomaly, said, now, problem.detail, Action.CLOSE if hello.hopeless else None)
        if action is Action.CLOSE:
            walker.pass_on(said, None)
            return
        rewrite = rewrite or action is Action.REPAIR
        keep_capabilities = keep_capabilities or action is Action.PASS
    if conv.state is SessionState.RUNNING:  # HAProxy has been told already, by a link before this one
        walker.pass_on(said, None)
    elif rewrite or hello.adapts:
        reason = AuthoredReason.REPAIRED if rewrite or raw is not said.raw else AuthoredReason.HELLO_NORMALISED
        walker.pass_on(said, hello.encode(keep_capabilities=keep_capabilities), reason)
    else:
        walker.pass_on(said, raw)
    link = walker.link
    link.fragments = "fragmentation" in hello.capabilities
    link.said_hello = True
    link.hello_by = math.inf
    told = hello.announced if keep_capabilities else hello.capabilities
    conv.place.refusals.succeeded()
    if "async" in hello.capabilities:
        conv.join(offer.engine)
    conv.up(link, hello.shown_size, now, told)
    conv.events.append(AgentReady(hello.max_frame_size, ",".join(hello.capabilities), offer.healthcheck))


def judge_refusal(walker: AgentStream, said: frame.Frame, now: float) -> None:
    """AGENT-DISCONNECT in place of AGENT-HELLO."""
    conv = walker.conv
    word = note_goodbye(walker, said)
    detail = f"status {word.status}: {word.message}"
    if conv.state is SessionState.RUNNING:
        walker.judge(Anomaly.HELLO_REFUSED, said, now, detail, Action.DROP)
        walker.pass_on(said, None)
        conv.not_reached(walker.link, DialFailure.OTHER, f"it refused HELLO: {detail}", now)
        return
    if walker.judge(Anomaly.HELLO_REFUSED, said, now, detail) is Action.PASS:
        word.fit = word.passable
        conv.held = word
        conv.finish(now, EndedBy.AGENT, EndReason.REFUSED)
        return
    walker.pass_on(said, None)
    checked = conv.offer is not None and conv.offer.healthcheck
    status = goodbye.clamp_for_check(word.status) if checked else goodbye.clamp(word.status)
    conv.refuse(now, EndedBy.AGENT, EndReason.REFUSED, status, word.message)


def judge_trailing(walker: AgentStream, said: frame.Frame, now: float) -> None:
    """Anything behind the AGENT-HELLO of a health check; HAProxy 3.1 and later call the agent DOWN for it."""
    if said.type == frame.AGENT_DISCONNECT:
        note_goodbye(walker, said)
    passes = walker.judge(Anomaly.HELLO_TRAILING, said, now) is Action.PASS
    walker.pass_on(said, said.raw if passes else None)


def note_goodbye(walker: AgentStream, said: frame.Frame) -> goodbye.Goodbye:
    """Report that the agent said DISCONNECT, and return what it said."""
    word = goodbye.Goodbye(said)
    walker.link.said_goodbye = True
    walker.conv.events.append(DisconnectSeen(walker.side, word.status, word.message))
    return word
