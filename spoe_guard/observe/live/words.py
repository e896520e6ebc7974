"""Formats numbers for people, on the page and in the terminal."""

from typing import Final

from spoe_guard.counted import counted

NOTHING: Final = "\N{EN DASH}"  # for a number that is not known (yet)


def count(value: float | None) -> str:
    """Return a number in few digits: 0.25, 9.5, 950, 12.3k, 3.4M."""
    if value is None:
        return NOTHING
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= limit:
            return f"{value / (1e3 if unit == 'k' else limit):.3g}{unit}"
    return _short(value)


def per_s(value: float | None) -> str:
    """Return a rate: 9.5/s, 12.3k/s."""
    return NOTHING if value is None else f"{count(value)}/s"


def size(value: float) -> str:
    """Return bytes: 950 B, 1.2 MB."""
    for limit, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= limit:
            return f"{value / limit:.3g} {unit}"
    return f"{value:g} B"


def seconds(value: float | None) -> str:
    """Return a short time: 0.82 ms, 42 ms, 1.2 s."""
    if value is None:
        return NOTHING
    return f"{_short(value)} s" if value >= 1 else f"{_short(value * 1000)} ms"


def _short(value: float) -> str:
    digits = 0 if value >= 10 else 1 if value >= 1 else 2  # noqa: PLR2004
    return f"{value:.{digits}f}".removesuffix(".0").removesuffix(".00")


def ago(value: float) -> str:
    """Return an elapsed time in its largest unit: 12 s, 3 min, 2 h, 5 d."""
    for limit, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if value >= limit:
            return f"{value // limit:.0f} {unit}"
    return f"{max(value, 0):.0f} s"


def would_have(saved: int, spared: int, mended: int) -> str:
    """Return what ``enforce`` would have done; "" for nothing. ``mended``: all anomalies that it would have dealt with."""
    good = [counted(saved, "answer")] if saved else []
    good += [f"HAProxy {'once' if spared == 1 else f'{spared:,} times'}"] if spared else []
    if good:
        return f"enforce would have saved {' and '.join(good)}"
    return f"enforce would have mended {counted(mended, 'anomaly', 'anomalies')}, none of which cost an answer" if mended else ""


def clock(utc: str, now: str) -> str:
    """Return the time of day of a UTC time in ISO 8601, with its date unless that is today's: 03:14:07, 11-30 03:14:07."""
    return utc[11:19] if utc[:10] == now[:10] else f"{utc[5:10]} {utc[11:19]}"


def pairs(hexes: str) -> str:
    """Return hex digits with a space between bytes, so that a line can break there."""
    return " ".join(hexes[at : at + 2] for at in range(0, len(hexes), 2))
