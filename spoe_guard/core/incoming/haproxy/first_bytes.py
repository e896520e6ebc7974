"""What happens to the first bytes of a connection: a HAPROXY-HELLO, or noise that no agent sees (promise A1)."""

from typing import Final

from spoe_guard.core.incoming.walker import Walker
from spoe_guard.core.payloads import disconnect as disconnects
from spoe_guard.core.payloads import hello
from spoe_guard.core.terms.anomalies import Action, Anomaly
from spoe_guard.core.terms.events import EndedBy, EndReason
from spoe_guard.wire import frame as frames

_GUESSED_BYTES: Final = 12  # as many as tell a PROXY header of version 2


def is_noise(walker: Walker, buf: bytes, pos: int, end: int, now: float) -> bool:
    """Whether the first bytes cannot be a HAPROXY-HELLO; decided from as few bytes as possible (promise A1)."""
    head = buf[pos : min(end, pos + frames.LENGTH_BYTES + 1)]
    padded = int.from_bytes(head[: frames.LENGTH_BYTES].ljust(frames.LENGTH_BYTES, b"\0"), "big")
    if padded > hello.MAX_HELLO or (len(head) >= frames.LENGTH_BYTES and padded < frames.MIN_LENGTH):
        anomaly = Anomaly.NOT_SPOP
    elif len(head) <= frames.LENGTH_BYTES or head[frames.LENGTH_BYTES] == frames.HAPROXY_HELLO:
        return False
    else:
        early = head[frames.LENGTH_BYTES] in (frames.NOTIFY, frames.HAPROXY_DISCONNECT)
        anomaly = Anomaly.FRAME_BEFORE_HELLO if early else Anomaly.NOT_SPOP
    turn_away(walker, anomaly, buf[pos:end], now, hello.guess(buf[pos : min(end, pos + _GUESSED_BYTES)]))
    return True


def turn_away(walker: Walker, anomaly: Anomaly, first: bytes, now: float, detail: str) -> None:
    """Report that ``first`` is no HELLO, hear no more, and close after a while."""
    walker.judge_bytes(anomaly, first, detail, Action.CLOSE)
    walker.break_off()
    walker.discard(len(first))
    walker.conv.ending.turn_away(first, now)


def judge_offer(walker: Walker, frame: frames.Frame, now: float) -> hello.Offer | None:
    """Note and return the offer of a HAPROXY-HELLO, and dial the agent; an invalid one ends the session (None)."""
    conv = walker.conv
    offer = hello.read_offer(frame, conv.config)
    if isinstance(offer, hello.Fault):
        walker.outlet.drop(len(frame.raw))
        conv.report.judge(walker.side, offer.anomaly, frame.raw, walker.inlet.offset, parsed=frame, detail=offer.detail)
        version = offer.anomaly is Anomaly.HELLO_VERSION
        status = disconnects.STATUS_BAD_VERSION if version else disconnects.STATUS_INVALID
        conv.ending.finish(now, EndedBy.GUARD, EndReason.ANOMALY, status=status)
        return None
    if offer.mended:
        walker.judge(Anomaly.HELLO_MALFORMED, frame, f"of the wrong type: {', '.join(offer.mended)}", Action.REPAIR)
    conv.links.offered(offer, frame.raw, now)
    return offer
