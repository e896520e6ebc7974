"""A small haproxy.cfg and its spoe.conf, with what a test wants otherwise, read without a disk."""

from pathlib import Path
from typing import Final

from spoe_guard.haproxy_config.source import Source, Sources
from spoe_guard.placement.findings import Engine, Found, Request, find_all, find_one

HAPROXY: Final = Path("haproxy.cfg")
SPOE: Final = Path("spoe.conf")

MAIN: Final = """\
global
    {globals}
frontend www
    filter spoe engine check config spoe.conf
    {rules}
backend agents
    mode tcp
    {backend}
    {servers}
"""
AGENT: Final = """\
[check]
spoe-agent agent
    messages ask
    option var-prefix check
    {agent}
    use-backend agents
spoe-message ask
    {message}
"""
USUAL_AGENT: Final = "option set-on-error error\n    timeout hello 3s\n    timeout idle 1m\n    timeout processing 1s"


def sources(
    *,
    servers: str = "server a 127.0.0.1:12345",
    backend: str = "",
    agent: str = USUAL_AGENT,
    message: str = "args path=path\n    event on-frontend-http-request",
    globals_: str = "",
    rules: str = "",
) -> Sources:
    """Return both files. Each argument is one line or several."""
    main = MAIN.format(globals=globals_, rules=rules, backend=backend, servers=servers)
    spoe = AGENT.format(agent=agent, message=message)
    return in_memory({HAPROXY: main, SPOE: spoe})


def in_memory(texts: dict[Path, str]) -> Sources:
    return Sources({path: Source(path, tuple(text.splitlines(keepends=True))) for path, text in texts.items()})


def found(read: Sources, *, version: tuple[int, int] | None = None, environ: dict[str, str] | None = None) -> Engine:
    """Return the engine in these files."""
    [engine] = find_one(Request((HAPROXY,), version=version), read, environ or {}).engines
    return engine


def found_all(read: Sources) -> Found:
    return find_all(Request((HAPROXY,)), read, {})
