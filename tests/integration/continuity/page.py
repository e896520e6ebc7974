"""Writes the chapter of docs/hazards.md on agents that come and go: ``python -m tests.integration.continuity.page FOLDER``."""

import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tests.integration.continuity import seen
from tests.integration.continuity.scenes import (
    AWAY_S,
    CLIENTS,
    CROWD,
    DELAY_MS,
    EVERY_S,
    IDLE_DELAY_MS,
    IDLE_MS,
    LONG_DELAY_MS,
    PER_SECOND,
    SCENES,
    WITHOUT,
)
from tests.integration.continuity.stay import PROCESSING_S
from tests.integration.hazards import chapters
from tests.integration.hazards.results import line
from tests.peers import ROOT

PAGE: Final = ROOT / "docs" / "hazards.md"
AT: Final = ("2.6", "3.2")
INTRO: Final = f"""{chapters.COME_AND_GO}
Written by `make continuity`. HAProxy's `timeout processing` is {PROCESSING_S} s; what waits for as long is st=1. With the guard
the agent's profile is set, and `links.give_up` is its default. "In hands": requests whose NOTIFY had reached an agent that was
gone before it answered, so that only `redispatch: unanswered` can save them. HAProxy opens and closes connections as it likes;
those that the agent, or the guard, ended are named where there are any.
"""
TITLES: Final = {
    "killed": f"""### Killed and started again

SIGKILL every {EVERY_S:g} s, {{size}} times, and back {AWAY_S:g} s later, while {PER_SECOND} requests come in a second, each on a
connection of its own; an answer takes {DELAY_MS[0]} to {DELAY_MS[1]} ms. "Away" is the longest that no agent was there.""",
    "idle": f"""### An idle timeout, and NOTIFYs that cross it

{{size}} requests from {CLIENTS} clients to an agent with an idle timeout of {IDLE_MS} ms, whose answers take
{IDLE_DELAY_MS[0]} to {IDLE_DELAY_MS[1]} ms: it says goodbye while NOTIFYs are on their way to it. `links.retire: 8ms`
stands to it as the profile's 25 s stand to the library's own 30 s.""",
    "long": f"""### Work that outlasts the idle timeout

{{size}} requests from {CLIENTS} clients to the same agent, whose answers take {LONG_DELAY_MS[0]} to {LONG_DELAY_MS[1]} ms: it
says goodbye over its own work, whose answer it never writes. On a link with one NOTIFY at a time (the profile's
`links.in_flight: 1`) nothing else comes that would keep it awake: more is lost than without the guard, where HAProxy and
agent also agree on `async`.
`unanswered: empty-ack`, which fails open, keeps it from being waited for. Such an agent needs a longer idle timeout.""",
    "SIGTERM": f"### Told to stop\n\nSIGTERM {{size}} times under load from {CLIENTS} clients, and back {AWAY_S:g} s later.",
    "guard started again": """### The guard, started again

{size} times under load: stopped, and the next one started when it is gone.""",
    "guard handed over": """### The guard, handed over

{size} times under load, with `share_listen: true`: the next one listens before the old one is told to stop, and is given
HAProxy's connections.""",
    "reload": "### HAProxy, reloaded\n\n{size} times under load.",
    "pipelining": f"""### An agent that mixes up its answers

{{size}} requests from {CROWD} clients, `hello.capabilities: [pipelining]`, to an agent that pipelines and then writes its answers
into one another. Without the guard, and with one link per connection; and with one NOTIFY at a time on each of twenty.""",
}
HEAD: Final = "\n\n| agent | way | HAProxy | requests | anomalies |\n|---|---|---|---|---|\n"
AWAY: Final = """
### Away for good

Health checks (`option spop-check`, `timeout check 2s`, every 100 ms) of criteo-1.0.8, with twenty links and `give_up: 5s`; then,
with `give_up: 1s`, an agent that stays away for 2 s under load, `timeout processing` being 5 s. A request that finds
every session given up is one that HAProxy up to 3.0 keeps for as long (st=1); 3.1 and later hear of it after 0.25 s.

| way | HAProxy | DOWN after | what HAProxy's log says | UP after | the agent stays away |
|---|---|---|---|---|---|
"""


def chapter(where: Path) -> str:
    """Return the chapter.

    Raises:
        OSError: a scene was not played.
    """
    parts = [INTRO]
    for name, scene in SCENES.items():
        parts.append("")
        for agent in scene.agents:
            for way in scene.ways:
                for at in AT:
                    told = seen.read(where, name, f"{agent} {way}", at)
                    parts[-1] = parts[-1] or "\n" + TITLES[name].format(size=f"{told['size']:,}") + HEAD
                    counted = ", ".join(f"`{anomaly}` {count}" for anomaly, count in sorted(told["anomalies"].items()))
                    parts.append(line(agent, way, at, "; ".join(_what(told, name, guarded=way != WITHOUT)), counted))
    parts.append(AWAY)
    for way in ("without the guard", "with the guard"):
        for at in AT:
            health = seen.read(where, "health", way, at)
            stays = seen.read(where, "give_up", f"criteo-1.0.8 {way}", at)
            times = [f"{health[key]:.2f} s" if health[key] < math.inf else "never" for key in ("down_s", "up_s")]
            parts.append(line(way, at, times[0], health["why"], times[1], "; ".join(_what(stays, "give_up"))))
    return "".join(parts)


def _what(told: dict[str, Any], name: str, *, guarded: bool = True) -> Iterator[str]:
    counts = dict(told["seen"])
    words = [f"{counts.pop('answered', 0)} answered", *(f"{count} {what}" for what, count in sorted(counts.items()))]
    yield ", ".join(words)
    yield f"slowest {told['slowest']:.2f} s"
    if name == "killed":
        yield f"away {told['away']:.2f} s"
    if name in ("killed", "SIGTERM") and guarded:  # without it 2.6 has agreed on async: an ACK may come on any connection
        yield f"in hands {told['in_hands']}" + (f", and {told['beyond']} others failed" if told["beyond"] else "")
    if told["closed"]:
        yield f"{told['closed']} connections ended"


if __name__ == "__main__":
    try:
        PAGE.write_text(chapters.put(PAGE.read_text(), chapter(Path(sys.argv[1]))))
    except OSError as error:
        sys.exit(f"docs/hazards.md is left as it was: {error}")
