"""What is wrong with a NOTIFY, if anything."""

from spoe_guard.core.incoming.walker import Walker
from spoe_guard.core.terms.anomalies import Action, Anomaly
from spoe_guard.wire import frame as frames
from spoe_guard.wire import walk


def judge_notify(walker: Walker, frame: frames.Frame) -> Action:
    """Return what to do with a self-contained NOTIFY: the first fault that keeps it from passing decides."""
    conv = walker.conv
    length, size = len(frame.raw) - frames.LENGTH_BYTES, conv.notifies.longest
    if length > size:
        return walker.judge(Anomaly.NOTIFY_OVERSIZE, frame, "length {}, the agent takes {}", numbers=(length, size))
    fault = walk.check_messages(frame.raw, frame.payload_at, len(frame.raw))
    verdict = Action.PASS
    if fault in (walk.BAD, walk.INCOMPLETE):
        return walker.judge(Anomaly.BAD_VARINT, frame, "in its payload")
    if fault != walk.OK:
        verdict = walker.judge(Anomaly.NOTIFY_MALFORMED, frame)
    elif frame.payload_at == len(frame.raw):
        verdict = walker.judge(Anomaly.NOTIFY_EMPTY, frame)
    if verdict is Action.PASS and conv.notifies.waited_for(frame.ids):
        verdict = walker.judge(Anomaly.NOTIFY_DUPLICATE, frame)
    if verdict is Action.PASS and frame.flags != frames.FLAG_FIN:
        verdict = walker.judge(Anomaly.RESERVED_FLAGS, frame, "flags {:#010x}", numbers=(frame.flags,))
    return verdict
