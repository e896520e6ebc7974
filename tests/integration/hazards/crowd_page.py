"""The part of docs/hazards.md about real agents: one table for each kind of scene."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tests.agents.catalogue import CATALOGUE
from tests.integration import generations
from tests.integration.hazards import results
from tests.integration.hazards.crowd import AWAY_S, CLIENTS, CROWD, DELAY_MS, IDLE_DELAY_MS, IDLE_MS, KINDS, STAY_S, kinds
from tests.integration.hazards.results import MissingError, line

BUSY: Final = 0.05  # of a core; less is not worth a word
CHAPTER: Final = f"""
## The agents people run, while clients ask

{CLIENTS} clients, unless said otherwise, each request on a connection of its own; an answer takes {DELAY_MS[0]} to
{DELAY_MS[1]} ms. With the guard the agent's profile is set, where there is one (`hello.profile`). What the clients saw, the
slowest of them, and what the guard counted. `lost`: answers that the agent had written to the last byte, and the client did not
get; `written in vain`: so many more, but HAProxy had given up (st=1), as they were late or behind bytes that it could not read.
HAProxy's CPU, while no agent was there and when all was over, is named from {100 * BUSY:.0f} % of a core on. Nothing is asserted
of the half without the guard. With it no client got another's answer, none of the answers written was lost, and HAProxy lived
and was idle afterwards.
"""
AWAY: Final = (
    f"Under load; its successor comes {AWAY_S} s later. How many requests fail in that time depends on how soon each does."
)
TITLES: Final = {
    "load": f"""### Load

{{requests}} requests from {CROWD} clients, to an agent that answers at once: so several answers are written at the same time.
Where an agent does not pipeline, HAProxy up to 3.0 leaves some NOTIFYs unsent (st=1), in two or three rounds of ten, with the
guard and without it.""",
    "idle": f"""### The agent's idle timeout

{{requests}} requests at an agent with an idle timeout of {IDLE_MS} ms, whose answers take {IDLE_DELAY_MS[0]} to
{IDLE_DELAY_MS[1]} ms: it takes its leave with work to do. An answer that it has not begun to write by then it drops, or, where
HAProxy and agent have agreed on `async`, gives on another connection. The guard removes `async`, so on 2.2 to 3.0 fewer are
answered with it. On 2.6, of 1,000 requests to criteo-1.0.8 in five rounds: 987 without the guard (142 to 189 of 200 answers
came on another connection), 912 without the guard and with `no option async`, 886 with the guard, 917 with both. What the
agent wrote arrived.""",
    "SIGTERM": f"### The agent is told to stop (SIGTERM)\n\n{AWAY}",
    "SIGKILL": f"### The agent is killed (SIGKILL)\n\n{AWAY}",
    "reload": f"""### HAProxy is reloaded

Under load a second HAProxy takes over with `-sf` and the same listening socket; `timeout idle` is {STAY_S} s. Where nothing is
said of it, the old process was gone within a second, and no request to the new one failed.""",
}
HEAD: Final = "\n\n| agent | HAProxy | without the guard | with the guard | anomalies |\n|---|---|---|---|---|\n"


def tables(where: Path) -> Iterator[str]:
    """Return the chapter.

    Raises:
        MissingError: a scene was not played.
    """
    yield CHAPTER
    for kind in KINDS:
        seen = {(each["id"], each["generation"], each["guarded"]): each for each in results.read(kind, where)}
        if not seen:
            raise MissingError(f"no agent was played: {kind}")
        yield "\n" + TITLES[kind].format(requests=next(iter(seen.values()))["requests"]) + HEAD
        for name in CATALOGUE:
            if kind in kinds(name):
                yield from _agent(name, kind, seen)


def _agent(name: str, kind: str, seen: dict[tuple[str, str, bool], dict[str, Any]]) -> Iterator[str]:
    """One line for each group of HAProxys with the same to see."""
    groups: dict[tuple[str, str, str], list[tuple[str, dict[str, Any], dict[str, Any]]]] = {}
    for generation in generations.RELEASES:
        try:
            without, guarded = seen[name, generation, False], seen[name, generation, True]
        except KeyError:
            raise MissingError(f"{name} was not played at HAProxy {generation}: {kind}") from None
        counted = ", ".join(f"`{anomaly}`" for anomaly in sorted(guarded["anomalies"]))
        groups.setdefault((_what(without), _what(guarded), counted), []).append((generation, without, guarded))
    for i, ((without_, guarded_, counted), members) in enumerate(groups.items()):
        at = ", ".join(generation for generation, _, _ in members)
        cells = [
            f"{what}; slowest {max(each[side]['slowest'] for each in members):.2f} s"
            for side, what in ((1, without_), (2, guarded_))
        ]
        yield line("" if i else name, at, *cells, counted)


def _what(result: dict[str, Any]) -> str:
    """Say what was seen, but for the times."""
    seen = dict(result["seen"])
    text = [f"{seen.pop('answered', 0)} answered", *(f"{count} {what}" for what, count in sorted(seen.items()))]
    if result["lost"] > result["late"]:
        text.append(f"**{result['lost'] - result['late']} lost**")
    if result["unsent"] and result["away_cpu"] is None:
        text.append(f"{result['unsent']} were never sent by HAProxy")
    if result["late"]:
        text.append(f"{result['late']} of them written in vain")
    parts = [", ".join(text)]
    parts += [] if result["agent_lives"] else ["**the agent ends**"]
    parts += [] if result["haproxy_lives"] else ["**HAProxy dies**"]
    for what, share in (("while no agent was there", result["away_cpu"]), ("afterwards", result["rest_cpu"])):
        if share is not None and share >= BUSY:
            parts.append(f"HAProxy at {100 * share:.0f} % CPU {what}")
    if result["gone_s"] is not None and result["gone_s"] >= 1:
        parts.append(f"**the old process stays {'more than ' * result['stays']}{result['gone_s']:.0f} s**")
    if result["new_failed"]:
        parts.append(f"{result['new_failed']} of them at the new process")
    return "; ".join(parts)
