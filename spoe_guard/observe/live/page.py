"""The live page: ``/api/status`` for a person. The template escapes everything, so text from a peer stays text."""

from collections.abc import Mapping
from importlib.resources import files
from itertools import groupby
from typing import Any, Final

from jinja2 import DictLoader, Environment, StrictUndefined

from spoe_guard.observe.incidents import MOST
from spoe_guard.observe.live import incident, words
from spoe_guard.observe.live.states import MARKS, WORST_FIRST, share
from spoe_guard.observe.live.status import Status
from spoe_guard.slices import Slices

# In every answer: a browser loads from here alone, in no frame, and no script or style but ours.
POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

HEIGHT: Final = 24  # of a sparkline, in SVG units; one unit of width per sample, scaled to the room on the page

# The figures of a route: label, key of the history, formatter
FIGURES: Final = (
    ("NOTIFYs", "notifies_per_s", words.per_s),
    ("Open NOTIFYs", "open_notifies", words.count),
    ("ACK latency, p99", "ack_p99_s", words.seconds),
    ("Sessions", "sessions", words.count),
    ("Anomalies", "anomalies", words.count),
    ("Unanswered", "unanswered", words.count),
)

_MARKS: Final = {state.value: mark for state, mark in MARKS.items()}
_WORST_FIRST: Final = [state.value for state in WORST_FIRST]

_FOLDER: Final = files(__package__)
ASSETS: Final = {
    f"/{name}": (content_type, (_FOLDER / name).read_bytes())
    for name, content_type in (
        ("live.css", "text/css; charset=utf-8"),
        ("live.js", "text/javascript; charset=utf-8"),
        ("icon.svg", "image/svg+xml"),
    )
}


class Page:
    """Compiles its template once, which takes a while: create it before there is traffic."""

    def __init__(self) -> None:
        loader = DictLoader({"page.html": (_FOLDER / "page.html").read_text("utf-8")})
        # Not `select_autoescape`, which decides by file extension: here every page is escaped.
        environment = Environment(autoescape=True, loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
        for write in (words.count, words.per_s, words.seconds, words.size, words.ago, words.clock, words.pairs):
            environment.filters[write.__name__] = write
        environment.globals.update(figures=figures, marks=_MARKS, height=HEIGHT, share=share)
        environment.globals.update(
            would_have=words.would_have, level_marks=incident.LEVEL_MARKS, name=incident.name, kind=incident.kind, told_of=told_of
        )
        self._template = environment.get_template("page.html")

    async def render(self, status: Status) -> bytes:
        """Return the page in HTML, the worst routes first, made in slices: with many it takes a while."""
        routes = [{**route, "index": at} for at, route in enumerate(status["routes"])]
        status = {**status, "routes": sorted(routes, key=lambda route: _WORST_FIRST.index(route["state"]))}
        parts: list[str] = []
        slices = Slices()
        for part in self._template.generate(status):
            parts.append(part)
            await slices.pause()
        return "".join(parts).encode()


def told_of(incidents: list[Mapping[str, Any]]) -> str:
    """Return how many incidents there are, in words."""
    going = sum(not each["over"] for each in incidents)
    worst = "the worst " if len(incidents) == MOST else ""
    how_many = "over" if not going else "going on" if going == len(incidents) else f"{going} going on"
    return f"{worst}{len(incidents)}, {how_many}" if incidents else "none"


def figures(route: Mapping[str, Any], points: int, step_s: float) -> list[dict[str, Any]]:
    """Return each figure of a route: its label, its value and its sparkline as text, and the SVG paths."""
    shown = []
    for label, key, write in FIGURES:
        history = route["history"][key]
        last = history[-1] if history else None
        value = route["window"].get(key, route["now"].get(key, last))
        recent = key in route["window"]
        most = write(max((point for point in history if point is not None), default=None)) if history else ""
        told = f"the last {words.ago(step_s * len(history))}: at most {most}" if history else "nothing sampled yet"
        shown.append(
            {
                "label": label,
                "text": write(value),
                "told": told,
                "paths": paths(history, points),
                "recent": recent,
                "most": "" if recent else most,
                "wrong": recent and bool(value),
            }
        )
    return shown


def paths(history: list[float | None], points: int) -> list[str]:
    """Return SVG path data, a line per stretch without gaps, the newest of at most ``points`` at the right edge."""
    top = max((point for point in history if point is not None), default=0) or 1
    drawn = []
    for gap, stretch in groupby(enumerate(history, points - len(history)), key=lambda point: point[1] is None):
        if not gap:
            line = [(at, f"{HEIGHT - 1 - (value or 0) / top * (HEIGHT - 2):.1f}") for at, value in stretch]
            line = [(line[0][0] - 1, line[0][1]), *line] if len(line) == 1 else line  # a line of one point would be invisible
            drawn.append("M" + "L".join(f"{x} {y}" for x, y in _corners(line)))
    return drawn


def _corners(line: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """Leave out points between two of the same height: most lines are flat most of the time."""
    inner = zip(line, line[1:-1], line[2:], strict=False)
    return [line[0], *(at for before, at, after in inner if not before[1] == at[1] == after[1]), line[-1]]
