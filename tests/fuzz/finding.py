"""Minimizes what the fuzzer found and prints it as the conversation for a regression test."""

import re
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace

from tests.fuzz.case import HEADER, KNOBS, Case
from tests.fuzz.judge import judge
from tests.properties import spop
from tests.properties.conversations import Move, Say, Wait, link_of

BUDGET = 20_000  # plays


def fault(case: Case) -> str:
    """What is wrong with it, "" where nothing is."""
    try:
        judge(case)
    except Exception as error:  # noqa: BLE001 whatever the session raises is a finding
        sent = str(error) or traceback.extract_tb(error.__traceback__)[-1].line
        return f"{type(error).__name__}: {sent}"
    return ""


def _kind(sent: str) -> str:
    """The fault without what differs from one play to the next."""
    return re.sub(r"[0-9a-f]*[0-9][0-9a-f]*", "#", sent.partition("\n")[0])[:40]


def shrunk(case: Case, fault: Callable[[Case], str] = fault) -> Case:
    """The smallest case found that shows the same fault."""
    kind = _kind(fault(case))
    left = BUDGET
    smaller = True
    while smaller:
        smaller = False
        for tried in _smaller(case):
            left -= 1
            if left < 0:
                return case
            if _kind(fault(tried)) == kind:
                case, smaller = tried, True
                break
    return case


def _smaller(case: Case) -> Iterator[Case]:
    moves = case.moves
    for size in (len(moves) // 2, 1):
        for at in range(len(moves) - size, -1, -1) if size else ():
            yield replace(case, moves=moves[:at] + moves[at + size :])
    for at in range(HEADER):
        if case.knobs[at]:
            yield replace(case, knobs=case.knobs[:at] + b"\0" + case.knobs[at + 1 :])
    for at, move in enumerate(moves):
        for fewer in _less(move):
            yield replace(case, moves=[*moves[:at], fewer, *moves[at + 1 :]])


def _less(move: Move) -> Iterator[Move]:
    if not isinstance(move, Say):
        return
    frames, rest = spop.cut(move.data)
    for which in range(len(frames)):
        yield replace(move, data=b"".join(frames[:which] + frames[which + 1 :]) + rest)
    size = len(move.data) // 2
    while size:
        for at in range(0, len(move.data), size):
            if cut := move.data[:at] + move.data[at + size :]:
                yield replace(move, data=cut)
        size //= 2


def shown(case: Case) -> str:
    """The case as the lines of a test."""
    knobs = {name: case.knob(name) for name, choices in KNOBS.items() if case.knob(name) != choices[0]}
    lines = [f"knobs = {knobs!r}"]
    if case.choices:
        lines.append(f"policy = {case.choices!r}")
    for move in case.moves:
        if isinstance(move, Say):
            lines.append(f"Say({_named(move.side)}, bytes.fromhex({move.data.hex()!r})),")
            lines += [f"    # {_read(raw)}" for raw in spop.cut(move.data)[0]]
        else:
            lines.append(f"Wait({move.seconds})," if isinstance(move, Wait) else f"{move},")
    return "\n".join(lines)


def _named(side: str) -> str:
    return f"agent({link})" if (link := link_of(side)) else side.upper()


def _read(raw: bytes) -> str:
    try:
        return str(spop.read_frame(raw))
    except spop.UnreadableError as why:
        return f"no frame: {why}"
