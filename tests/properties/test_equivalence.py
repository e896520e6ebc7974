"""Equal results: on the fast path and on the readable one, and for any segmentation of the same bytes."""

from dataclasses import replace

from hypothesis import assume, given

from spoe_guard.core.terms.anomalies import Anomaly, Side
from spoe_guard.core.terms.events import AnomalySeen, EndReason
from tests.properties.books import COUNTERS
from tests.properties.configs import any_policy, configs
from tests.properties.conversations import AGENT, HAPROXY, against_both, segmentations, standing_still
from tests.properties.driver import Dial, Play
from tests.properties.effort import marks, thoroughly
from tests.properties.test_promises import dials

pytestmark = marks


def counted(tally):
    return {name: getattr(tally, name) for name in COUNTERS}


def written(played):
    return played.wires[HAPROXY].got, played.wires[AGENT].got


@thoroughly
@given(against_both, configs(any_policy), segmentations, dials)
def test_the_fast_path_and_the_readable_one_agree(moves, config, sizes, dial):
    fast, readable = (Play(config, dial=dial, sizes=sizes, fast=fast).play(moves).finish() for fast in (True, False))
    assert written(fast) == written(readable)
    assert fast.events == readable.events
    assert counted(fast.tally) == counted(readable.tally)
    assert fast.transcript == readable.transcript


def told(played):
    """What was reported, comparable for two segmentations.

    Of bytes that are no frame an event shows those that were there when they could be judged. Bytes behind a close come
    with the write they are part of and are reported; had they been written later nobody would have read them.
    """
    events = []
    torn = False
    for event in played.events:
        anomaly = event.anomaly if isinstance(event, AnomalySeen) else None
        torn = torn or anomaly is Anomaly.INTERLEAVED_FRAMES
        changes = {}
        if anomaly is not None and torn and event.side is Side.AGENT:
            changes = {"offset": 0}  # what was put together from pieces stood at no one place
        if anomaly is not None and event.stream_id is None:
            if anomaly is Anomaly.FRAME_AFTER_DISCONNECT:
                continue
            changes |= {"sample": b"", "type": None, "length": None, "detail": ""}
        events.append(replace(event, **changes))
    return events


def too_much_waited(played):
    """Whether more waited for HAProxy than may be held: that is measured behind a read, of which all that is found goes out."""
    return played.session._conv.ending._ended[1] is EndReason.LIMIT


def counted_but_bytes(tally):
    """Bytes behind a close still come when they are part of the same write, and not when they would come later."""
    return {name: count for name, count in counted(tally).items() if name not in ("bytes_to_agent", "bytes_to_haproxy")}


@thoroughly
# With ``lasts`` what waits is sent at the end of a read. With ``tells`` the session ends behind a read that leaves nothing open:
# what follows in the same read is still judged, and what comes in the next is too late. So it is with ``floods``.
@given(standing_still, configs(any_policy, lasts=False, tells=False, floods=False), segmentations)
def test_segmentation_changes_neither_bytes_nor_events(moves, config, sizes):
    # The dial is no part of HAProxy's write: it does not come up in the middle of one here.
    whole, cut = (Play(config, dial=Dial.NEXT, sizes=into).play(moves) for into in ([], sizes))
    assume(not too_much_waited(whole) and not too_much_waited(cut))
    assert written(whole) == written(cut)
    assert told(whole) == told(cut)
    assert counted_but_bytes(whole.tally) == counted_but_bytes(cut.tally)
