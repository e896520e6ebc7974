"""The chapter of docs/hazards.md on what hurts HAProxy though no agent errs: long requests, moments it stands still, refusals."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tests.integration.hazards import results
from tests.integration.hazards.evidence import linked
from tests.integration.hazards.results import MissingError, line

CHAPTER: Final = """
## Where no agent errs

Long requests: one client sends a path of 8,300 bytes, or a body of 20 kB, each half second for three seconds; a neighbour asks 50
times a second; the agent takes no fragments; the guard has `haproxy.set_on_error`. Moments: HAProxy 3.2 is stopped and goes on,
again and again, in the middle of bursts of ACKs; without the guard until the first request is lost. Refusals: 16 requests wait,
and HAProxy has four threads; without the guard the agent closes each connection.

| hazard | HAProxy | without the guard | with the guard | evidence |
|---|---|---|---|---|
"""
LONG: Final = {"path": "N4 a long path", "body": "N4 a long body"}
REFUSED: Final = {
    "send-proxy": "N5 `send-proxy` on the server line",
    "send-proxy-v2": "N5 `send-proxy-v2` on the server line",
    "ssl": "N5 `ssl` on the server line",
    "limit": "N5 more connections than `limits.connections`",
}


def tables(where: Path) -> Iterator[str]:
    """Return the chapter.

    Raises:
        MissingError: a scene was not played.
    """
    yield CHAPTER
    for kind, (title, what, evidence) in KINDS.items():
        seen: dict[tuple[str, str], dict[bool, dict[str, Any]]] = {}
        for each in results.read(kind, where):
            seen.setdefault((each["id"], each.get("generation", "3.2")), {})[each["guarded"]] = each
        if not seen:
            raise MissingError(f"nothing was played: {kind}")
        for (name, at), pair in seen.items():
            if True not in pair:
                raise MissingError(f"{name} was not played at HAProxy {at} with the guard: {kind}")
            cells = [what(pair[guarded]) if guarded in pair else "" for guarded in (False, True)]
            yield line(title.get(name, f"N2, N3 {name}"), at, *cells, linked(evidence))


def _long(seen: dict[str, Any]) -> str:
    told = ", ".join(f"st={code}" if code else "nothing set" for code in seen["told"])
    text = f"the neighbour gets {seen['answered']} of {seen['asked']} answers; connections: {seen['connections']:,}"
    return f"{text}; the long ones {told} in {1000 * seen['slowest_s']:.0f} ms at most" if told else text


def _stopped(seen: dict[str, Any]) -> str:
    if not seen["during"] and not seen["after"]:
        return f"none of {seen['asked']:,} lost"
    return f"{seen['during']} lost at once, and {seen['after']} of 40 when it runs again"


def _refused(seen: dict[str, Any]) -> str:
    return f"{seen['rate']:,.{0 if seen['rate'] >= 10 else 1}f} connections a second"


KINDS: Final = {
    "oversize": (LONG, _long, "F3, HELLO"),
    "stops": ({}, _stopped, "A1"),
    "refused": (REFUSED, _refused, "B6"),
}
