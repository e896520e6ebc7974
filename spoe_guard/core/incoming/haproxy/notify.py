"""What is wrong with a NOTIFY, if anything."""

from spoe_guard.core.incoming.walker import Walker
from spoe_guard.core.terms.anomalies import Action, Anomaly
from spoe_guard.wire import frame, walk


def judge_notify(walker: Walker, said: frame.Frame) -> Action:
    """Return what becomes of a self-contained NOTIFY: the first thing found that keeps it from passing decides."""
    conv = walker.conv
    link = conv.notifies.ready()
    length, size = len(said.raw) - frame.LENGTH_BYTES, link.size if link is not None else conv.notifies.told_size
    if length > size:
        return walker.judge(Anomaly.NOTIFY_OVERSIZE, said, f"length {length}, the agent takes {size}")
    fault = walk.check_messages(said.raw, said.payload_at, len(said.raw))
    verdict = Action.PASS
    if fault in (walk.BAD, walk.INCOMPLETE):
        return walker.judge(Anomaly.BAD_VARINT, said, "in its payload")
    if fault != walk.OK:
        verdict = walker.judge(Anomaly.NOTIFY_MALFORMED, said)
    elif said.payload_at == len(said.raw):
        verdict = walker.judge(Anomaly.NOTIFY_EMPTY, said)
    if verdict is Action.PASS and conv.notifies.waited_for(said.ids):
        verdict = walker.judge(Anomaly.NOTIFY_DUPLICATE, said)
    if verdict is Action.PASS and said.flags != frame.FLAG_FIN:
        verdict = walker.judge(Anomaly.RESERVED_FLAGS, said, f"flags {said.flags:#010x}")
    return verdict
