"""How much HAProxy has to read at a time: less than half of what the SPOP mux of 3.1 and later can take (hazard A1)."""

from tests.properties import spop
from tests.properties.haproxys_view import notify_ids
from tests.properties.hellos import first_offer
from tests.properties.transcript import Did, Transcript

LENGTH_BYTES = 4  # HAProxy offers so much less than its buffer has
FIRST_NOTIFIES = 8  # an applet is known from one of these, or not at all


def shown_to_be_applet(sent: bytes) -> bool:
    """Whether what HAProxy said so far is nothing the mux would say: async, a second frame-id, an even stream-id."""
    offer = first_offer(sent)
    if offer is None:
        return False
    frames, rest = spop.cut(sent)
    first = [ids for raw in (*frames, rest) for ids in notify_ids(raw)][:FIRST_NOTIFIES]
    return "async" in offer.capabilities or any(stream_id % 2 == 0 or frame_id != 1 for stream_id, frame_id in first)


def broken_bursts(transcript: Transcript) -> list[str]:
    """Half of the buffer of what may be a mux, or more, written to it before it can read, unless it is one whole frame.

    The HAProxy of ``driver`` reads everything as soon as time passes, and nothing before.
    """
    sent = b""
    unread: list[int] = []  # the sizes of frames
    since = -1.0
    for step in transcript:
        if step.did is Did.HAPROXY_SAID:
            sent += step.data
            if shown_to_be_applet(sent):
                return []
        elif step.did is Did.HAPROXY_GOT:
            offer = first_offer(sent)
            if step.at > since:
                unread = []
            since = step.at
            unread += [len(raw) for raw in spop.cut(step.data)[0]]
            if offer is not None and 2 * sum(unread) >= offer.size + LENGTH_BYTES and len(unread) > 1:
                return [f"bursts: {sum(unread)} bytes in {len(unread)} frames are unread at {step.at:.4f}"]
    return []
