"""Whether a session kept the promises of docs/architecture.md, told from the bytes on the wire alone.

Written from SPOE.txt and the tables of promises; shares no code with the package. It is given a transcript, in order
and with times, of what each peer said and got, and returns the promises that were broken, each with a reason.
"""

from tests.properties import spop
from tests.properties.agents_view import broken_to_agent
from tests.properties.answers import broken_answers
from tests.properties.bursts import broken_bursts
from tests.properties.haproxys_view import broken_to_haproxy, ordinary_notify
from tests.properties.hellos import first_offer
from tests.properties.links_view import broken_links
from tests.properties.settling import REFUSAL_HOLD_S, broken_settling
from tests.properties.stream_ids import broken_stream_ids
from tests.properties.transcript import EPSILON_S, Did, Terms, Transcript


def broken_ends(transcript: Transcript, terms: Terms) -> list[str]:
    """Whether the end was said (H7): AGENT-DISCONNECT and FIN, within bounded time behind what ended the session."""
    broken: list[str] = []
    sent = got = b""
    stream = tail = b""  # what the agent, or HAProxy, said and is no whole frame yet
    over_by: float | None = None  # by then HAProxy must be closed
    frame_by: float | None = None  # and by then, unless the frame that was begun is complete before the frame timeout
    healthcheck = left = torn = False
    agent_said_hello = stands_in = False  # the guard said AGENT-HELLO: a session that ends with its link goes on without one
    lasts = terms.give_up_s > 0  # what ends an agent link does not end the session: see links_model.py
    for step in transcript:
        due = min((by for by in (over_by, frame_by) if by is not None and not left), default=step.at)
        if step.at > due + EPSILON_S:
            broken.append(f"H7: not closed by {due:.3f}; it is {step.at:.3f} at `{step.did.value}`")
            break
        if step.did is Did.HAPROXY_SAID:
            sent += step.data
            offer = first_offer(sent)
            healthcheck = offer is not None and offer.healthcheck
            lasts = terms.give_up_s > 0 and not healthcheck
            frames, tail = spop.cut(tail + step.data)
            if stands_in and not lasts and any(map(ordinary_notify, frames)):
                over_by = step.at + terms.close_s  # no link will come for it
        elif step.did is Did.HAPROXY_GOT:
            got += step.data
            if any(raw[4] == spop.AGENT_HELLO for raw in spop.cut(step.data)[0]) and not agent_said_hello:
                stands_in, frame_by = True, None
        elif step.did is Did.AGENT_SAID and (lasts or not stands_in):
            frames, stream = spop.cut(stream + step.data)
            agent_said_hello = agent_said_hello or any(raw[4:5] == bytes((spop.AGENT_HELLO,)) for raw in frames)
            torn = torn or lasts or any(map(spop.torn, frames))
            begun_now = len(stream) <= len(step.data)
            slack = REFUSAL_HOLD_S + terms.close_s + terms.hold_s
            if not stream or torn:  # of a shuffle only who puts it together knows whether a frame is incomplete
                frame_by = None
            elif frame_by is None or begun_now:
                frame_by = step.at + terms.frame_s + slack
        elif step.did in (Did.AGENT_LEFT, Did.AGENT_FAILED) and not lasts and not stands_in:
            ends = healthcheck or step.did is Did.AGENT_LEFT
            over_by = step.at + REFUSAL_HOLD_S + terms.close_s if ends else None
        elif step.did is Did.HAPROXY_LEFT:
            left = True
        elif step.did is Did.HAPROXY_CLOSED:
            frames, _ = spop.cut(got)
            last = frames[-1][4] if frames else None
            if first_offer(sent) and not healthcheck and not left and last != spop.AGENT_DISCONNECT:
                broken.append(f"H7: closed without AGENT-DISCONNECT; the last frame was {last}")
            left = True
        elif step.did is Did.OVER and not left:
            broken.append("H7: never closed")
    return broken


def broken_promises(transcript: Transcript, terms: Terms, *, answers: bool = True) -> list[str]:
    """Every promise that was broken, each with a reason. ``answers`` False leaves out H5, where a policy gives it away."""
    broken = broken_to_haproxy(transcript, terms) + broken_ends(transcript, terms) + broken_to_agent(transcript, terms)
    broken += (
        broken_stream_ids(transcript)
        + broken_bursts(transcript)
        + broken_links(transcript, terms)
        + broken_settling(transcript, terms)
    )
    return broken + (broken_answers(transcript, terms) if answers and not broken else [])
