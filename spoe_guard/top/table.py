"""The rows and lines of text for the terminal, made from a status. They contain no markup."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from spoe_guard.observe.live import incident as of_incident
from spoe_guard.observe.live import words
from spoe_guard.observe.live.states import MARKS, WORST_FIRST, State

BARS: Final = " ▁▂▃▄▅▆▇█"
BARS_SHOWN: Final = 20
TROUBLES_SHOWN: Final = 3  # where there is little room
LEAST_ROWS: Final = 24  # of a terminal; half of what it has beyond that is for more of them

COLOURS: Final = {
    State.OK: "green",
    State.REPAIRED: "bright_black",
    State.DEGRADED: "yellow",
    State.DANGER: "magenta",
    State.DOWN: "red",
}

LEVEL_COLOURS: Final = {"error": COLOURS[State.DANGER], "warning": COLOURS[State.DEGRADED], "info": COLOURS[State.REPAIRED]}

_Route = Mapping[str, Any]
_Column = tuple[str, Callable[[_Route], float], Callable[[_Route], str]]  # label, sort key, text


def _last(route: _Route, name: str) -> float | None:
    history = route["history"][name]
    return history[-1] if history else None


def _sampled(label: str, name: str, write: Callable[[float | None], str]) -> _Column:
    return label, lambda route: _last(route, name) or 0, lambda route: write(_last(route, name))


def _now(label: str, name: str) -> _Column:
    return label, lambda route: float(route["now"][name]), lambda route: words.count(route["now"][name])


def _recent(label: str, name: str) -> _Column:
    return label, lambda route: float(route["window"][name]), lambda route: words.count(route["window"][name])


# The columns after the route's name. Sorted by one, the table shows the worst, busiest or slowest route first.
COLUMNS: Final[tuple[_Column, ...]] = (
    _sampled("NOTIFYs", "notifies_per_s", words.per_s),
    _now("Open", "open_notifies"),
    _sampled("p50", "ack_p50_s", words.seconds),
    _sampled("p99", "ack_p99_s", words.seconds),
    _now("Sessions", "sessions"),
    _recent("Anomalies", "anomalies"),
    _recent("Unanswered", "unanswered"),
    ("NOTIFYs lately", lambda route: _last(route, "notifies_per_s") or 0, lambda route: bars(route["history"]["notifies_per_s"])),
)
# `s` cycles through these orders: as configured, then by each column
SORTS: Final = ("", "NOTIFYs", "Open", "p99", "Sessions", "Anomalies", "Unanswered")


def bars(history: list[float | None]) -> str:
    """Return the last ``BARS_SHOWN`` samples as characters of different height, the newest at the right."""
    shown = history[-BARS_SHOWN:]
    top = max((value for value in shown if value is not None), default=0) or 1
    return "".join(BARS[round((value or 0) / top * (len(BARS) - 1))] for value in shown).rjust(BARS_SHOWN)


def sorted_by(routes: list[_Route], label: str) -> list[_Route]:
    """Return the routes, largest value of that column first; in configured order if ``label`` is empty."""
    for name, key, _shown in COLUMNS:
        if name == label:
            return sorted(routes, key=key, reverse=True)
    return routes


def troubles(routes: list[_Route], columns: int, rows: int) -> list[tuple[str, State]]:
    """Return a line and its state for each route that is not well, the worst first.

    Of many as many as a terminal of so many ``rows`` has room for, a few at least, and the number of the rest. ``columns``: those
    that a line may have.
    """
    wrong = [
        (f"{MARKS[state]} {route['name']}: {route['headline']}", state)
        for state in WORST_FIRST[:-1]
        for route in routes
        if route["state"] == state.value
    ]
    room, shown = (rows - LEAST_ROWS) // 2, 0
    for line, _state in wrong:
        room -= 1 + len(line) // max(columns, 1)
        if shown >= TROUBLES_SHOWN and room < 0:
            break
        shown += 1
    more = len(wrong) - shown
    return [*wrong[:shown], (f"and {more} more", State.REPAIRED)] if more else wrong


def would_have(routes: list[_Route]) -> str:
    """Return what ``enforce`` would have done at all of them, "" for nothing."""
    each = [route["enforce_would_have"] for route in routes]
    return words.would_have(*(sum(route[key] for route in each) for key in ("saved", "spared", "mended")))


def incident_row(incident: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the mark of its level, name, kind, route, how many, the most in a second, when the last was, and if it goes on."""
    times, going = f"{incident['count']:,}", "over" if incident["over"] else "goes on"
    return (
        of_incident.LEVEL_MARKS[incident["level"]],
        of_incident.name(incident),
        of_incident.kind(incident),
        incident["route"],
        times,
        words.per_s(incident["peak_per_s"]),
        f"{words.ago(incident['ago_s'])} ago",
        going,
    )


def incident_text(incident: Mapping[str, Any]) -> str:
    """Return the full text about an incident: what it is, where the log and the runbook tell more, the first and the last."""
    runbook = f"; runbook: {incident['runbook']}" if incident["runbook"] else ""
    lines = [incident["sentence"], f"{incident['level']}, in the log as {', '.join(incident['ids'])}{runbook}"]
    lines += [f"recorded in {file}" for file in incident["captures"]]
    once = incident["count"] == 1
    for which, title in (("first", "the only one" if once else "the first"), *(() if once else (("last", "the last"),))):
        session, worker = incident[f"{which}_session"], incident.get(f"{which}_worker")
        who = f", {f'worker {worker}, ' if worker else ''}session {session}" if session else ""
        lines.append(f"{title}: {incident[f'{which}_at']}{who}")
        if seen := incident[which]:
            lines += [seen["detail"], *seen["frame"], words.pairs(seen["hex"])]
            lines.append(f"{seen['state']}, byte {seen['offset']} of what the {seen['side']} side sent")
    return "\n".join(line for line in lines if line)
