"""What `spoe-guard ctl` prints for people; with --json it prints the answers as they are."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from spoe_guard.counted import counted

Answer = Mapping[str, Any]

_SESSION: Final = ("session", "route", "peer", "mode", "seconds", "open_notifies", "oldest_notify_s", "kept_bytes", "links")
_LINK: Final = ("session", "route", "link", "agent", "stage", "open_notifies")
_ROUTE: Final = ("route", "listen", "agent", "mode", "drained", "enforced", "observed")
_STATUS: Final = ("name", "state", "headline")
_NOW: Final = ("sessions", "open_notifies", "parked_notifies", "agent_links")


def lines(command: str, answer: Answer) -> Iterator[str]:
    """Yield the lines that tell ``answer``, the result of ``command``."""
    yield from _TOLD[command](answer)
    if silent := answer.get("silent"):
        yield f"! no answer from worker {', '.join(map(str, silent))}, whose part is missing here"


def item(told: Answer) -> Iterator[str]:
    """Yield the lines that tell of a frame or an anomaly on tap."""
    link = f" link {told['link']}" if told["link"] else ""
    mark = "! " if "anomaly" in told else ""
    first, *rest = told["lines"]
    yield f"{told['at']} session {told['session']} {told['from']}{link}: {mark}{first}"
    yield from (f"    {line}" for line in rest)


def _status(answer: Answer) -> Iterator[str]:
    guard = answer["guard"]
    workers = f", {guard['workers']['well']} of {guard['workers']['count']} workers" if "workers" in guard else ""
    yield f"{answer['state']}: {answer['sentence']} spoe-guard {guard['version']}, up for {guard['up_s']:.0f} s{workers}"
    rows = [{**{key: route[key] for key in _STATUS}, **{key: route["now"][key] for key in _NOW}} for route in answer["routes"]]
    yield from _table(("name", *_NOW, "state", "headline"), rows)


def _sessions(answer: Answer) -> Iterator[str]:
    yield from _listed(_SESSION, answer["sessions"], answer["left_out"])


def _links(answer: Answer) -> Iterator[str]:
    yield from _listed(_LINK, answer["links"], answer["left_out"])


def _listed(columns: Sequence[str], rows: Sequence[Answer], left_out: int) -> Iterator[str]:
    yield from _table(columns, rows)
    if left_out:
        yield f"and {counted(left_out, 'session')} more, which are left out"


def _routes(answer: Answer) -> Iterator[str]:
    yield from _table(_ROUTE, [{**row, "agent": ", ".join(row["agent"])} for row in answer["routes"]])


def _config(answer: Answer) -> Iterator[str]:
    yield from _table(("key", "value", "origin"), answer["settings"])


def _mode(answer: Answer) -> Iterator[str]:
    yield f"route {answer['route']}: mode {answer['mode']}{_unchanged(answer)} for new sessions, until the next reload"
    if left := answer["sessions_in_other_mode"]:
        yield f"as before: {counted(left, 'session')} that {'was' if left == 1 else 'were'} open already"


def _log_level(answer: Answer) -> Iterator[str]:
    yield f"log level {answer['log_level']}{_unchanged(answer)}, until the next reload"


def _unchanged(answer: Answer) -> str:
    return "" if answer["changed"] else ", as it was,"


def _reload(answer: Answer) -> Iterator[str]:
    routes = [f"route {name} {what}" for what in ("added", "removed") for name in answer[what]]
    yield f"reloaded: {', '.join([*routes, *answer['changed']]) or 'nothing has changed'}"


def _drain(answer: Answer) -> Iterator[str]:
    reset = f", {answer['reset']} of them reset" if answer["reset"] else ""
    yield f"route {answer['route']} is drained: {counted(answer['sessions'], 'session')} ended{reset}"


def _resume(answer: Answer) -> Iterator[str]:
    yield f"route {answer['route']} listens"


def _close(answer: Answer) -> Iterator[str]:
    yield f"session {answer['session']} ends"


def _capture(answer: Answer) -> Iterator[str]:
    when = f" in {counted(answer['seconds'], 'second')}" if answer["seconds"] else ""
    of = f"{answer['captures']} of {counted(answer['sessions'], 'session')}"
    yield f"route {answer['route']}: captures of {of} are written{when} to {answer['dir']}; the log names the files"


def _tap(answer: Answer) -> Iterator[str]:
    left_out = f", {answer['left_out']} left out" if answer["left_out"] else ""
    yield f"route {answer['route']}: {answer['shown']} shown{left_out}"


_TOLD: Final[dict[str, Callable[[Answer], Iterator[str]]]] = {
    "status": _status,
    "sessions": _sessions,
    "links": _links,
    "routes": _routes,
    "config": _config,
    "mode": _mode,
    "drain": _drain,
    "resume": _resume,
    "close": _close,
    "log-level": _log_level,
    "reload": _reload,
    "capture": _capture,
    "tap": _tap,
}


def _table(columns: Sequence[str], rows: Sequence[Answer]) -> Iterator[str]:
    """Yield a head and a line for each row, in columns."""
    cells = [list(columns), *([_cell(row[column]) for column in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        yield "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
