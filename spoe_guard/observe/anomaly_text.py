"""An anomaly as JSON values: for the page and /api/status, and where it was seen for the log."""

from typing import Any

from spoe_guard.core.terms.anomalies import CATALOGUE
from spoe_guard.core.terms.events import AnomalySeen
from spoe_guard.observe.frame_text import explain
from spoe_guard.observe.logs import MAX_TEXT, printable
from spoe_guard.observe.stats import type_name
from spoe_guard.options import Payload

Shown = dict[str, Any]


def shown(seen: AnomalySeen, payload: Payload) -> Shown:
    """Return an anomaly as JSON values; ``payload``: how much of what the peers wrote."""
    row, full = CATALOGUE[seen.anomaly], payload == "full"
    return {
        "side": seen.side.value,
        "anomaly": seen.anomaly.value,
        "action": seen.action.value,
        "applied": seen.applied,
        **placed(seen),
        "sentence": row.sentence,
        "detail": "" if payload == "off" else printable(seen.explanation(quotes=full)[:MAX_TEXT]),
        "frame": [] if payload == "off" else explain(seen.sample, values=full),
        "hex": seen.sample.hex() if full else "",
    }


def placed(seen: AnomalySeen) -> Shown:
    """Return as JSON values where an anomaly was seen: in which state, in which frame, and where in the stream."""
    return {
        "state": seen.state,
        "type": None if seen.type is None else type_name(seen.type),
        "stream_id": seen.stream_id,
        "frame_id": seen.frame_id,
        "length": seen.length,
        "offset": seen.offset,
        "open_notifies": seen.open_notifies,
    }
