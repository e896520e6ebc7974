"""The terminal's screen: routes, incidents, and what is known of the chosen one."""

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar, Final

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import DataTable, Footer, Static

from spoe_guard.observe.live import words
from spoe_guard.observe.live.states import MARKS, State
from spoe_guard.observe.live.status import Status
from spoe_guard.top.ask import NoAnswerError
from spoe_guard.top.table import (
    COLOURS,
    COLUMNS,
    LEVEL_COLOURS,
    SORTS,
    incident_row,
    incident_text,
    sorted_by,
    troubles,
    would_have,
)

EVERY_S: Final = 2.0
_BESIDE: Final = 4  # columns that a line about a route cannot have: the verdict's padding, and what it is set in by

_STYLE: Final = """
Screen { layout: vertical; }
#verdict { padding: 0 1; }
#note { padding: 0 1; color: $text-muted; }
#routes { height: auto; max-height: 33%; margin-top: 1; }
#incidents { height: 1fr; min-height: 4; margin-top: 1; }
#frame { height: auto; max-height: 25%; border-top: solid $foreground-muted; padding: 0 1; }
#frame:focus { border-top: solid $accent; }
"""


class Top(App[None]):
    """``ask`` is called in a thread, every ``EVERY_S`` seconds unless paused; ``first`` is its first answer."""

    CSS = _STYLE
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "Quit"),
        Binding("s", "sort", "Sort"),
        Binding("p,space", "pause", "Pause"),
        Binding("r", "refresh", "Refresh"),
    ]

    def __init__(self, ask: Callable[[], Status], first: Status) -> None:
        super().__init__()
        self._ask = ask
        self._status = first
        self._sort = 0
        self._paused = False
        self._asking = False
        self._lost = ""
        self._incidents: dict[str, Any] = {}

    def compose(self) -> ComposeResult:
        """Build the screen, top to bottom."""
        yield Static(id="verdict", markup=False)
        yield Static(id="note", markup=False)
        routes: DataTable[Text] = DataTable(id="routes", cursor_type="row", zebra_stripes=True)
        routes.add_columns("", "Route", *(label for label, _key, _shown in COLUMNS))
        yield routes
        incidents: DataTable[Text] = DataTable(id="incidents", cursor_type="row")
        incidents.add_columns("", "Incidents", "", "Route", "Times", "At most", "Last", "")
        yield incidents
        with VerticalScroll(id="frame"):
            yield Static(id="words", markup=False)
        yield Footer()

    def on_mount(self) -> None:
        """Show the first status, and start to poll."""
        self._show()
        self.set_interval(EVERY_S, self._tick)

    def on_resize(self) -> None:
        """Use the room that there is now."""
        self.call_after_refresh(self._show)

    async def _tick(self) -> None:
        if not self._paused:
            await self.action_refresh()

    async def action_refresh(self) -> None:
        """Ask now, unless an earlier request still waits for its answer."""
        if self._asking:
            return
        self._asking = True
        try:
            self._status, self._lost = await asyncio.to_thread(self._ask), ""
        except NoAnswerError as error:
            self._lost = str(error)
        finally:
            self._asking = False
        self._show()

    def action_sort(self) -> None:
        """Sort the routes by the next column."""
        self._sort = (self._sort + 1) % len(SORTS)
        self._show()

    def action_pause(self) -> None:
        """Pause or resume polling."""
        self._paused = not self._paused
        self._show()

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        """Show what is known of the incident under the cursor."""
        if event.data_table.id == "incidents" and self._shown:
            incident = self._incidents.get(str(event.row_key.value))
            self.query_one("#words", Static).update(incident_text(incident) if incident else "")

    @property
    def _shown(self) -> bool:
        """Whether the screen exists: an answer may arrive before it is built or while it is torn down."""
        return bool(self.query("#words"))

    def _show(self) -> None:
        if not self._shown:
            return
        status, guard = self._status, self._status["guard"]
        state = State.DOWN if self._lost else State(status["state"])
        headline = f"{MARKS[state]} {f'{self._lost}; what is below is from before' if self._lost else status['sentence']}"
        told = troubles(status["routes"], self.size.width - _BESIDE, self.size.height)
        wrong = [Text(f"  {line}", style=COLOURS[of]) for line, of in told]
        self.query_one("#verdict", Static).update(Text("\n").join([Text(headline, style=f"bold {COLOURS[state]}"), *wrong]))
        would = would_have(status["routes"])
        observing = ["observe mode: nothing is changed", *([would] if would else [])] if guard["mode"] == "observe" else []
        about = [
            *([guard["name"]] if guard["name"] != guard["host"] else []),
            f"spoe-guard {guard['version']} on {guard['host']}",
            f"as of {status['at'][11:19]} UTC",
            f"up {words.ago(guard['up_s'])}",
            *observing,
        ]
        if SORTS[self._sort]:
            about.append(f"by {SORTS[self._sort]}")
        if self._paused:
            about.append("PAUSED")
        self.query_one("#note", Static).update(", ".join(about))
        self._show_routes()
        self._show_incidents()

    def _show_routes(self) -> None:
        rows = []
        for route in sorted_by(self._status["routes"], SORTS[self._sort]):
            state = State(route["state"])
            cells = [Text(shown(route), justify="right") for _label, _key, shown in COLUMNS]
            rows.append((route["name"], [Text(MARKS[state], style=COLOURS[state]), Text(route["name"]), *cells]))
        _fill(self.query_one("#routes", DataTable), rows)

    def _show_incidents(self) -> None:
        self._incidents = {incident["ids"][0]: incident for incident in self._status["incidents"]}
        rows = []
        for id_, incident in self._incidents.items():
            mark, *cells = incident_row(incident)
            rows.append((id_, [Text(mark, style=LEVEL_COLOURS[incident["level"]]), *map(Text, cells)]))
        _fill(self.query_one("#incidents", DataTable), rows)


def _fill(table: DataTable[Text], rows: list[tuple[str, list[Text]]]) -> None:
    """Replace the rows, and keep the cursor on its row."""
    at = table.cursor_row
    chosen = list(table.rows)[at].value if 0 <= at < len(table.rows) else None
    top = table.scroll_y
    table.clear()
    for key, cells in rows:
        table.add_row(*cells, key=key)
    keys = [key for key, _cells in rows]
    if chosen in keys and at:  # a cursor on the first row stays on the first: the worst
        table.move_cursor(row=keys.index(chosen), scroll=False)
        table.scroll_to(y=top + keys.index(chosen) - at, animate=False)
