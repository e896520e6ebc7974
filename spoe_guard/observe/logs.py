"""Log lines: structlog's pipeline into a sink that never blocks."""

import os
import time
import traceback
from collections.abc import Iterator, MutableMapping
from datetime import UTC, datetime
from typing import Any, Final

import structlog

from spoe_guard.observe.sink import Sink
from spoe_guard.options import DEFAULT_PAYLOAD, LogFormat, LogLevel, Payload

LEVELS: Final[dict[str, int]] = {"debug": 10, "info": 20, "warning": 30, "error": 40}
MAX_TEXT: Final = 400  # characters of one value; a peer may have written it
MAX_TRACEBACK: Final = 16384  # characters; the end is kept

Line = MutableMapping[str, Any]


class Log:
    """Writes log lines to one sink at one level. ``worker``: the number of this worker, if any, for every line.

    ``payload``: how much may be told of what the peers wrote. Whoever says a line asks it; errors, which may quote a peer, are
    seen to here.
    """

    def __init__(
        self,
        sink: Sink,
        form: LogFormat,
        level: LogLevel,
        payload: Payload = DEFAULT_PAYLOAD,
        *,
        colors: bool = False,
        worker: int | None = None,
    ) -> None:
        self._sink = sink
        self._colors = colors
        self._worker = {} if worker is None else {"worker": worker}
        self.set(form, level, payload)

    def set(self, form: LogFormat, level: LogLevel, payload: Payload) -> None:
        """Set format and level, and how much is told of what the peers wrote."""
        self.payload: Payload = payload
        self._level = LEVELS[level]
        render = structlog.processors.JSONRenderer() if form == "json" else _console(colors=self._colors)
        self._logger = structlog.wrap_logger(
            _SinkLogger(self._sink),
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.format_exc_info if payload == "full" else _without_message,
                _clean,
                _lead,
                render,
            ],
            wrapper_class=structlog.make_filtering_bound_logger(self._level),
            context_class=dict,
        )

    def enabled(self, level: str) -> bool:
        """Return whether lines of that level are logged."""
        return LEVELS[level] >= self._level

    def error_text(self, error: BaseException) -> str:
        """Return what an error says of itself; its type alone where its message may quote a peer."""
        return repr(error) if self.payload == "full" else type(error).__name__

    def say(self, level: str, event: str, **fields: object) -> bool:
        """Write one line; return False if the sink had no room for it. A line below the level counts as written."""
        return getattr(self._logger, level)(event, **self._worker, **fields) is not False


class _SinkLogger:
    """Passes rendered lines to the sink; structlog calls the method named after the level."""

    def __init__(self, sink: Sink) -> None:
        self.debug = self.info = self.warning = self.error = sink.write


def _without_message(_logger: object, _method: str, line: Line) -> Line:
    """Say where an exception came from, and not what it says: a UnicodeDecodeError has the whole payload in it."""
    error = line.pop("exc_info", None)
    if isinstance(error, BaseException):
        line["exception"] = "".join(_bare_traceback(error)).rstrip("\n")
    return line


def _bare_traceback(error: BaseException) -> Iterator[str]:
    """Yield files, lines, code and types, as a traceback has them, of ``error`` and of what it came from."""
    seen: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and at not in seen:
        seen.append(at)
        at = at.__cause__ or (None if at.__suppress_context__ else at.__context__)
    for each in reversed(seen):
        yield from ("Traceback (most recent call last):\n", *traceback.format_tb(each.__traceback__), f"{type(each).__name__}\n")


def _clean(_logger: object, _method: str, line: Line) -> Line:
    """Shorten every text and escape what controls a terminal: line ends, escapes, direction marks."""
    for key, value in line.items():
        if isinstance(value, str):
            line[key] = _traceback(value) if key == "exception" else printable(value[:MAX_TEXT])
    return line


def _traceback(text: str) -> str:
    """Keep the line ends, and escape each line: an exception's message may quote a peer."""
    return "\n".join(map(printable, text[-MAX_TRACEBACK:].split("\n")))


def printable(text: str) -> str:
    r"""Return ``text`` with everything that is not a visible character or a blank as ``\x1b``, ``\u202e``."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _lead(_logger: object, _method: str, line: Line) -> Line:
    """Put the fields that every line has first."""
    return {"timestamp": line["timestamp"], "level": line["level"], "event": line["event"], **line}


def _console(*, colors: bool) -> structlog.dev.ConsoleRenderer:
    no_padding = 0  # positional: the parameter has had two names
    return structlog.dev.ConsoleRenderer(
        no_padding, colors=colors, sort_keys=False, exception_formatter=structlog.dev.plain_traceback
    )


def utc(ago_s: float) -> str:
    """Return the time of so many seconds ago, as ``timestamp`` has it."""
    wall = time.time()  # noqa: TID251  for people; nothing is measured with it
    return datetime.fromtimestamp(wall - ago_s, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def wants_colors(descriptor: int) -> bool:
    """Return whether the descriptor is a terminal and NO_COLOR is not set."""
    return os.isatty(descriptor) and not os.environ.get("NO_COLOR")
