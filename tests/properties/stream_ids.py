"""Stream-ids that HAProxy 3.1 and later cannot have: whatever the policy says, only the ACK of a NOTIFY may reach it with one.

SPOE.txt 3.2.4 to 3.2.9: HELLO and DISCONNECT have the ids 0. HAProxy 3.1 and later numbers its NOTIFYs from 1, in 31 bits.
"""

from collections import Counter

from tests.properties import spop
from tests.properties.haproxys_view import notify_ids
from tests.properties.transcript import Did, Transcript


def broken_stream_ids(transcript: Transcript) -> list[str]:
    """Which frames HAProxy should not have got for the sake of their stream-id. Holds under every policy but in observe mode."""
    broken: list[str] = []
    rest = b""
    asked: Counter[tuple[int, int]] = Counter()
    for step in transcript:
        if step.did is Did.HAPROXY_SAID:
            frames, rest = spop.cut(rest + step.data)
            asked.update(ids for raw in frames for ids in notify_ids(raw))
            for ids in notify_ids(rest):  # one that is too long is answered before its end
                asked[ids] = max(asked[ids], 1)
        elif step.did is Did.HAPROXY_GOT:
            broken += [why for raw in spop.cut(step.data)[0] if (why := _unheard_of(spop.read_frame(raw), asked))]
    return broken


def _unheard_of(got: spop.Frame, asked: Counter[tuple[int, int]]) -> str:
    if 0 < got.stream_id < 1 << 31:
        return ""
    if got.type == spop.ACK and asked[got.ids] > 0:
        asked[got.ids] -= 1
        return ""
    if got.type in (spop.AGENT_HELLO, spop.AGENT_DISCONNECT) and got.stream_id == 0:
        return ""
    return f"H3: type {got.type} with stream-id {got.stream_id}, which HAProxy did not ask for"
