"""Log lines: structlog's pipeline into a sink that never blocks."""

import os
from collections.abc import MutableMapping
from typing import Any, Final

import structlog

from spoe_guard.observe.sink import Sink
from spoe_guard.options import LogFormat, LogLevel

LEVELS: Final[dict[str, int]] = {"debug": 10, "info": 20, "warning": 30, "error": 40}
MAX_TEXT: Final = 400  # characters of one value; a peer may have written it
MAX_TRACEBACK: Final = 16384  # characters; the end is kept

Line = MutableMapping[str, Any]


class Log:
    """Writes log lines to one sink at one level. ``worker``: the number of this worker, if any, for every line."""

    def __init__(self, sink: Sink, form: LogFormat, level: LogLevel, *, colors: bool = False, worker: int | None = None) -> None:
        self._sink = sink
        self._colors = colors
        self._worker = {} if worker is None else {"worker": worker}
        self.set(form, level)

    def set(self, form: LogFormat, level: LogLevel) -> None:
        """Set format and level."""
        self._level = LEVELS[level]
        render = structlog.processors.JSONRenderer() if form == "json" else _console(colors=self._colors)
        self._logger = structlog.wrap_logger(
            _SinkLogger(self._sink),
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.format_exc_info,
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

    def say(self, level: str, event: str, **fields: object) -> bool:
        """Write one line; return False if the sink had no room for it. A line below the level counts as written."""
        return getattr(self._logger, level)(event, **self._worker, **fields) is not False


class _SinkLogger:
    """Passes rendered lines to the sink; structlog calls the method named after the level."""

    def __init__(self, sink: Sink) -> None:
        self.debug = self.info = self.warning = self.error = sink.write


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


def wants_colors(descriptor: int) -> bool:
    """Return whether the descriptor is a terminal and NO_COLOR is not set."""
    return os.isatty(descriptor) and not os.environ.get("NO_COLOR")
