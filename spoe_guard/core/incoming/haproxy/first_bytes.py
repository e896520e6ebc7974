"""What becomes of the first bytes of a connection: a HAPROXY-HELLO, or noise that no agent gets to see (promise A1)."""

from spoe_guard.core.conversation.ending import Tell
from spoe_guard.core.incoming.walker import Walker
from spoe_guard.core.payloads import disconnect as goodbye
from spoe_guard.core.payloads import hello
from spoe_guard.core.terms.anomalies import Action, Anomaly
from spoe_guard.core.terms.events import EndedBy, EndReason
from spoe_guard.wire import frame


def is_noise(walker: Walker, buf: bytes, pos: int, end: int, now: float) -> bool:
    """Whether the first bytes cannot be a HAPROXY-HELLO; told from as few of them as possible (promise A1)."""
    head = buf[pos : min(end, pos + frame.LENGTH_BYTES + 1)]
    padded = int.from_bytes(head[: frame.LENGTH_BYTES].ljust(frame.LENGTH_BYTES, b"\0"), "big")
    if padded > hello.MAX_HELLO or (len(head) >= frame.LENGTH_BYTES and padded < frame.MIN_LENGTH):
        anomaly = Anomaly.NOT_SPOP
    elif len(head) <= frame.LENGTH_BYTES or head[frame.LENGTH_BYTES] == frame.HAPROXY_HELLO:
        return False
    else:
        early = head[frame.LENGTH_BYTES] in (frame.NOTIFY, frame.HAPROXY_DISCONNECT)
        anomaly = Anomaly.FRAME_BEFORE_HELLO if early else Anomaly.NOT_SPOP
    walker.judge_bytes(anomaly, buf[pos:end], hello.guess(head), Action.CLOSE)
    walker.discard(end - pos)
    walker.conv.ending.finish(now, EndedBy.GUARD, EndReason.ANOMALY, tell=Tell.CLOSE)
    return True


def judge_offer(walker: Walker, said: frame.Frame, now: float) -> hello.Offer | None:
    """Note and return what a HAPROXY-HELLO offers, and have the agent dialled; what is none ends the session (None)."""
    conv = walker.conv
    offer = hello.read_offer(said, conv.config)
    if isinstance(offer, hello.Fault):
        walker.outlet.drop(len(said.raw))
        conv.report.judge(walker.side, offer.anomaly, said.raw, walker.inlet.offset, parsed=said, detail=offer.detail)
        version = offer.anomaly is Anomaly.HELLO_VERSION
        status = goodbye.STATUS_BAD_VERSION if version else goodbye.STATUS_INVALID
        conv.ending.finish(now, EndedBy.GUARD, EndReason.ANOMALY, status=status)
        return None
    if offer.mended:
        walker.judge(Anomaly.HELLO_MALFORMED, said, f"of the wrong type: {', '.join(offer.mended)}", Action.REPAIR)
    conv.links.offered(offer, said.raw, now)
    return offer
