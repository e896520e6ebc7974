"""Parses durations, sizes, rates and names of variables as in HAProxy's configuration, and formats them.

Every parser takes any value that YAML, an environment variable or a flag may hold, and raises ValueError for one that is not
allowed; the text is for people and does not repeat the value.
"""

import re
from typing import Final, NamedTuple

DAY_S: Final = 86400.0
MAX_DURATION_S: Final = 24 * DAY_S  # HAProxy's timers end there, too: 2^31 ms

_DURATION_US: Final = {"us": 1, "ms": 1000, "s": 10**6, "m": 60 * 10**6, "h": 3600 * 10**6, "d": 86400 * 10**6}
_SIZES: Final = {"": 1, "k": 1024, "m": 1024 * 1024}
_PERIODS_S: Final = {"s": 1.0, "m": 60.0, "h": 3600.0}

_NUMBER = re.compile(r"([0-9]{1,18})\s*([A-Za-z]*)", re.ASCII)
_RATE = re.compile(r"([0-9]{1,9})\s*/\s*([a-z])", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z0-9_.]{1,48}", re.ASCII)  # HAProxy has room for 63 with scope, prefix and dots

DURATION_FORM: Final = "a whole number and a unit, us, ms, s, m, h or d, such as 500ms (no unit: milliseconds, as in HAProxy)"
SIZE_FORM: Final = "a whole number of bytes, or one with k or m behind it, such as 64k"
RATE_FORM: Final = "a whole number of lines per s, m or h, such as 10/s"
_ARGUMENT = re.compile(r"[A-Za-z0-9_.:-]{1,64}", re.ASCII)
ARGUMENT_FORM: Final = "the name of an argument, as in `args`: 1 to 64 letters, digits, _ . : or -"
VARIABLE_FORM: Final = "1 to 48 letters, digits, _ or ."


def variable(value: object) -> str:
    """Return the name of a variable, as `option set-on-error` takes it.

    Raises:
        ValueError: not of that form.
    """
    if not isinstance(value, str) or not _VARIABLE.fullmatch(value):
        raise ValueError(f"expected {VARIABLE_FORM}, as in `option set-on-error`")
    return value


def argument(value: object) -> str:
    """Return the name of an argument, as `args` of a spoe-message takes it.

    Raises:
        ValueError: not of that form.
    """
    if not isinstance(value, str) or not _ARGUMENT.fullmatch(value):
        raise ValueError(f"expected {ARGUMENT_FORM}")
    return value


def duration(value: object) -> float:
    """Return seconds. A bare number is milliseconds, as in HAProxy's own timeouts.

    Raises:
        ValueError: not of that form, or above 24d.
    """
    number, unit = _split(value, DURATION_FORM)
    factor = _DURATION_US.get(unit or "ms")
    if factor is None:
        raise ValueError(f"expected {DURATION_FORM}")
    seconds = number * factor / 10**6
    if seconds > MAX_DURATION_S:
        raise ValueError("expected at most 24d")
    return seconds


def timeout(value: object) -> float:
    """Return seconds, more than 0: every wait of the guard needs a bound.

    Raises:
        ValueError: as ``duration``, or it is 0.
    """
    seconds = duration(value)
    if not seconds:
        raise ValueError("expected more than 0")
    return seconds


def size(value: object) -> int:
    """Return bytes.

    Raises:
        ValueError: not of that form.
    """
    number, unit = _split(value, SIZE_FORM)
    factor = _SIZES.get(unit.lower())
    if factor is None:
        raise ValueError(f"expected {SIZE_FORM}")
    return number * factor


class Rate(NamedTuple):
    """``lines`` per ``period_s`` seconds; that many may come at once."""

    lines: int
    period_s: float

    def __str__(self) -> str:
        unit = next(unit for unit, period in _PERIODS_S.items() if period == self.period_s)
        return f"{self.lines}/{unit}"


def rate(value: object) -> Rate:
    """Return the rate for a text like ``10/s``.

    Raises:
        ValueError: not of that form, or a rate of 0.
    """
    match = _RATE.fullmatch(value.strip()) if isinstance(value, str) else None
    period = _PERIODS_S.get(match[2]) if match else None
    if match is None or period is None:
        raise ValueError(f"expected {RATE_FORM}")
    if int(match[1]) == 0:
        raise ValueError("expected at least 1; log.level: error silences them all")
    return Rate(int(match[1]), period)


def duration_text(seconds: float) -> str:
    """Return the shortest text that ``duration`` reads as ``seconds``: 0.5 is ``500ms``."""
    microseconds = round(seconds * 10**6)
    if not microseconds:
        return "0ms"
    unit, factor = max(
        ((unit, factor) for unit, factor in _DURATION_US.items() if microseconds % factor == 0), key=lambda pair: pair[1]
    )
    return f"{microseconds // factor}{unit}"


def _split(value: object, form: str) -> tuple[int, str]:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value, ""
    match = _NUMBER.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"expected {form}")
    return int(match[1]), match[2]
