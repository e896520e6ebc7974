"""What was found in HAProxy's files, as a table for a person."""

from collections.abc import Iterator, Sequence
from typing import Final

from spoe_guard.haproxy_config.haproxy_cfg import DEFAULT_BUFSIZE, Server
from spoe_guard.haproxy_config.statements import Statement
from spoe_guard.placement.findings import Engine, Value
from spoe_guard.placement.recognise import TRAITS, Recognised

_TIMEOUTS: Final = ("hello", "idle", "processing")
_SWITCHES: Final = ("continue-on-error", "pipelining", "async", "send-frag-payload", "force-set-var", "dontlog-normal")
_SHOWN_FIRST: Final = ("backup", "disabled", "check", "ssl", "send-proxy", "send-proxy-v2", "maxconn")

Row = tuple[str, str, str]  # what, value, where it stands


def lines(engine: Engine, recognised: Recognised) -> list[str]:
    """Return the table, a line for each row."""
    rows = list(_rows(engine, recognised))
    what, value = (max(len(row[column]) for row in rows) for column in (0, 1))
    return [f"{row[0]:<{what}}  {row[1]:<{value}}  {row[2]}".rstrip() for row in rows]


def _rows(engine: Engine, recognised: Recognised) -> Iterator[Row]:
    for each in engine.filters:
        yield "engine", f"{engine.name}, of {each.proxy.kind} {each.proxy.name}", str(each.statement.place)
    yield "agent", engine.agent.name, str(engine.agent.heading.place)
    yield "product", *_product(recognised)
    yield from _of_agent(engine)
    yield from _of_backend(engine)
    for server in engine.servers:
        what = f"{server.statement.text(0)} {server.name}"
        yield what, " ".join((server.address or server.word.text, *_options(server))), str(server.place)


def _of_agent(engine: Engine) -> Iterator[Row]:
    """Yield what the spoe-agent section says."""
    for statement in engine.agent.body:
        if statement.text(0) in ("messages", "groups"):
            yield statement.text(0), _rest(statement), str(statement.place)
    yield _said("option var-prefix", engine.named_option("var-prefix"), f"{engine.agent.name}, the agent's own name")
    yield _said("option set-on-error", engine.named_option("set-on-error"))
    for name in _TIMEOUTS:
        yield _said(f"timeout {name}", engine.timeout(name))
    for name in _SWITCHES:
        switched = engine.agent.last("option", name)
        if switched is not None:
            yield f"option {name}", "off" if switched.modifier == "no" else "on", _where(switched)
    if engine.agent.last("max-frame-size") is not None:
        yield _said("max-frame-size", engine.max_frame_size())


def _of_backend(engine: Engine) -> Iterator[Row]:
    """Yield what the agent's backend and the global section say."""
    yield "backend", engine.backend.name, str(engine.backend.heading.place)
    yield _said("mode", engine.mode(), "tcp, HAProxy's default")
    balance, checks = engine.backend.inherited("balance"), engine.backend.check_option()
    yield ("balance", _rest(balance), _where(balance)) if balance else ("balance", "roundrobin, HAProxy's default", "")
    yield ("health checks", _rest(checks), _where(checks)) if checks else ("health checks", "a plain connection for `check`", "")
    yield _said("tune.bufsize", engine.bufsize(), f"{DEFAULT_BUFSIZE}, HAProxy's default")
    if engine.chroot().statement is not None:
        yield _said("chroot", engine.chroot())


def _product(recognised: Recognised) -> tuple[str, str]:
    signs = ", ".join(recognised.signs)
    if recognised.profile:
        return TRAITS[recognised.profile].title, f"by {signs}"
    return "not recognised", f"perhaps, by {signs}" if signs else ""


def _said(what: str, said: Value[str] | Value[float] | Value[int], default: str = "not set") -> Row:
    if said.statement is None:
        return what, default, ""
    if said.why:
        return what, said.why, said.place
    return what, said.statement.words[-1].text, said.place


def _rest(statement: Statement) -> str:
    return " ".join(word.text for word in statement.words[1:])


def _where(statement: Statement) -> str:
    return f"{statement.place}" + (f", depends on the `.if` at {statement.condition}" if statement.condition else "")


def _options(server: Server) -> Sequence[str]:
    names = [name for name in _SHOWN_FIRST if name in server.options]
    return [str(server.options[name]) for name in (*names, *(name for name in server.options if name not in _SHOWN_FIRST))]
