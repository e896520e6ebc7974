"""``spoe-guard decode`` and ``spoe-guard replay``: their output, once the command line is parsed."""

import asyncio
import itertools
import json
from collections.abc import Iterator
from typing import Final, TextIO

from spoe_guard.address import Address
from spoe_guard.capture.files.model import Capture, CaptureError
from spoe_guard.capture.files.read import read
from spoe_guard.capture.tell import replay, show
from spoe_guard.capture.tell.script import script
from spoe_guard.capture.tell.story import tell
from spoe_guard.core.terms.anomalies import Side
from spoe_guard.core.terms.config import SessionConfig

MOST_ROWS: Final = 500_000  # a file of runts has one for each four bytes


def decode(source: str, config: SessionConfig, *, as_json: bool) -> Iterator[str]:
    """Yield the output lines for every conversation in ``source``.

    Raises:
        CaptureError: it cannot be read; raised before the first line.
    """
    captures = read(source)
    return _bounded(_lines(captures, config, as_json=as_json), as_json=as_json)


def _bounded(lines: Iterator[str], *, as_json: bool) -> Iterator[str]:
    """Yield the first MOST_ROWS of ``lines``, and say so if there are more."""
    yield from itertools.islice(lines, MOST_ROWS)
    if next(lines, None) is not None:
        why = f"more than {MOST_ROWS} lines; the rest is not told"
        yield json.dumps({"kind": "note", "text": why}) if as_json else f"# {why}"


def _lines(captures: list[Capture], config: SessionConfig, *, as_json: bool) -> Iterator[str]:
    for number, capture in enumerate(captures):
        if as_json:
            yield from show.lines(tell(capture, config), number)
            continue
        if number:
            yield ""
        yield from _heading(capture, number, len(captures))
        yield from show.table(tell(capture, config), timed=capture.timed)


def _heading(capture: Capture, number: int, count: int) -> Iterator[str]:
    if count > 1:
        yield f"# conversation {number}"
    order = sorted(capture.sockets.items(), key=lambda item: (item[0][0] is not Side.HAPROXY, item[0][1]))
    order = sorted(capture.sockets.items(), key=lambda item: (item[0][0] is not Side.HAPROXY, item[0][1]))
    for (side, link_id), (opened, accepted) in order:
        ends = f"{Address(opened.host, opened.port)} to {Address(accepted.host, accepted.port)}"
        yield f"# {show.who(side, link_id)}: {ends}"


def play(source: str, to: Side, address: Address, how: tuple[float, float], conversation: int, out: TextIO) -> None:
    """Replay to the peer ``to`` what its counterpart sent. ``how``: speed, and patience in seconds.

    Raises:
        CaptureError: there is nothing to replay, or no peer to replay it to.
    """
    captures = read(source)
    if not 0 <= conversation < len(captures):
        raise CaptureError(f"{source}: there is no conversation {conversation}; it has {len(captures)}, counted from 0")
    try:
        steps = script(captures[conversation], Side.HAPROXY if to is Side.AGENT else Side.AGENT)
    except CaptureError as error:
        raise CaptureError(f"{source}: {error}") from None

    def say(line: str) -> None:
        print(line, file=out, flush=True)

    act = replay.to_agent if to is Side.AGENT else replay.to_haproxy
    asyncio.run(act(steps, address, *how, say))
