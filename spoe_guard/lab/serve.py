"""The lab's agent as a program: serves until it is told to stop, and says once a second what it has done."""

import asyncio
import contextlib
import secrets
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from spoe_guard.counted import counted
from spoe_guard.lab import values
from spoe_guard.lab.agent import Script, ScriptedAgent
from spoe_guard.lab.faults import FAULTS
from spoe_guard.lab.turns import Turns

EVERY_S: Final = 1.0  # a line, where there is something new to say
_SEEDS: Final = 1_000_000
STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the agent does, and when it goes wrong; ``seed`` is the one of chance, None where there is none."""

    script: Script
    turns: Turns
    seed: int | None


def wishes(fault: str | None, turns: Mapping[str, Any], variables: Sequence[str], *, delay_s: float, late_s: float) -> Wishes:
    """Return what somebody asked for; ``turns`` as for ``Turns``, None where nothing was said; ``variables`` as they are written.

    Raises:
        ValueError: it cannot be had; the text is for a person.
    """
    given = {name: value for name, value in turns.items() if value is not None}
    if fault is not None and fault not in FAULTS:
        raise ValueError(f"--fault: {fault!a}: there is no such fault; there are {', '.join(FAULTS)}")
    for name in ("every", "probability", "seed", "count"):
        if fault is None and name in given:
            raise ValueError(f"--{name}: without --fault it goes wrong on nothing; say --fault NAME, too")
    if "every" in given and "probability" in given:
        raise ValueError("--every and --probability: it is one or the other; leave one of them out")
    if "seed" in given and "probability" not in given:
        raise ValueError("--seed: without --probability there is no chance; say --probability P, too")
    if "probability" in given:
        given.setdefault("seed", secrets.randbelow(_SEEDS))
    when = Turns(time.monotonic, **given)
    answer = b"".join(values.read("--set", each, values.set_var) for each in variables)
    script = Script(delay_s=delay_s, late_s=late_s, fault=FAULTS[fault] if fault else None, turn=when)
    if answer:
        script = replace(script, answer=lambda _: answer)
    return Wishes(script, when, given.get("seed"))


async def serve(sock: socket.socket, where: str, wishes: Wishes, connections: int, say: Say) -> None:
    """Be an agent on ``sock``, which listens at ``where``, until SIGINT or SIGTERM.

    ``connections``: how many it has at a time. ``say`` gets a line of totals when they have changed, and one at the end.
    """
    script, turns = wishes.script, wishes.turns
    answered = 0

    def on_answered(_: object) -> None:
        nonlocal answered
        answered += 1

    agent = ScriptedAgent(script, on_answered, connections=connections, keep=False)
    stopped = asyncio.Event()
    for number in STOP_SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await agent.listen_on(sock)
    say(f"listening {where}")
    if wishes.seed is not None:
        say(f"seed {wishes.seed}")
    told = ""
    while not stopped.is_set():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(EVERY_S):
                await stopped.wait()
        if (line := _totals(agent, answered, turns)) != told:
            say(line)
            told = line
    await agent.stop()


def _totals(agent: ScriptedAgent, answered: int, turns: Turns) -> str:
    parts = [
        f"{counted(agent.connected, 'connection')} of {agent.accepted}",
        counted(agent.notifies, "NOTIFY"),
        f"{answered} answered in order",
        counted(turns.taken, "fault"),
    ]
    if turns.left_out:
        parts.append(f"{turns.left_out} left out by --rate or --count")
    if agent.refused:
        parts.append(f"{counted(agent.refused, 'connection')} refused by --connections")
    return ", ".join(parts)
