"""The size of bursts to HAProxy: what the SPOP mux of 3.1 and later can take (hazard A1)."""

from tests.properties import spop
from tests.properties.haproxys_view import notify_ids
from tests.properties.hellos import first_offer
from tests.properties.transcript import EPSILON_S, Did, Transcript

MOST_BYTES = 8192
WITHIN_S = 0.001
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
    """Runs of more than 8 KiB within a millisecond towards what may be a mux, unless one whole frame alone."""
    sent = b""
    lately: list[tuple[float, int]] = []  # when each frame was written, and its size
    for step in transcript:
        if step.did is Did.HAPROXY_SAID:
            sent += step.data
            if shown_to_be_applet(sent):
                return []
        elif step.did is Did.HAPROXY_GOT:
            lately = [(at, size) for at, size in lately if step.at - at < WITHIN_S - EPSILON_S]
            lately += [(step.at, len(raw)) for raw in spop.cut(step.data)[0]]
            total = sum(size for _, size in lately)
            if total > MOST_BYTES and len(lately) > 1:
                return [f"bursts: {total} bytes in {len(lately)} frames within a millisecond at {step.at:.4f}"]
    return []
