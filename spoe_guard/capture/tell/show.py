"""Formats the rows: a table for people, one JSON object per row for programs."""

import json
from collections.abc import Iterable, Iterator
from typing import Final

from spoe_guard.capture.tell.story import Row
from spoe_guard.core.terms.anomalies import Side
from spoe_guard.observe.logs import printable

_MARKS: Final = {"anomaly": "!", "guard": ">", "event": ">", "note": "#", "lost": "#"}


def table(rows: Iterable[Row], *, timed: bool) -> Iterator[str]:
    """Yield a line per row: mark (! anomaly, > the guard would, # about the capture), time, who, what, ids, bytes, text."""
    for row in rows:
        mark = _MARKS.get(row.kind, " ")
        if row.kind == "note":
            yield f"{mark} {printable(row.text)}"
            continue
        at = f"{row.at:+12.6f}" if timed else ""
        size = "" if row.size is None else str(row.size)
        what = " ".join(filter(None, (row.what, row.ids)))
        yield f"{mark}{at} {row.who:<9}{what:<28}{size:>6}  {printable(row.text)}".rstrip()


def who(side: Side, link_id: int) -> str:
    """Return the text for a connection."""
    return f"{side.value} {link_id}" if link_id else side.value


def lines(rows: Iterable[Row], conversation: int) -> Iterator[str]:
    """Yield a JSON object per row; ``conversation`` counts from 0 within the file."""
    for row in rows:
        line: dict[str, object] = {"conversation": conversation, "at": round(row.at, 6), "kind": row.kind, "who": row.who}
        line |= {"what": row.what, "text": row.text, "size": row.size}
        yield json.dumps(line | row.more)
