"""Where the guard's settings and HAProxy's files contradict each other, and what to do about it."""

import ipaddress
from collections.abc import Iterator, Sequence
from typing import Final

from spoe_guard.address import Address
from spoe_guard.haproxy_config.haproxy_cfg import Server
from spoe_guard.placement.findings import Engine, Value
from spoe_guard.placement.plan import PROXY_HEADERS
from spoe_guard.settings import Route, Settings, units
from spoe_guard.wire.frame import LENGTH_BYTES

_WILDCARDS: Final = frozenset(("0.0.0.0", "::", "*"))  # noqa: S104 compared with, not bound

Line = tuple[Engine, Server]


def contradictions(settings: Settings, engines: Sequence[Engine]) -> list[str]:
    """Return a line for each contradiction, in the form of ``settings.warnings``. Addresses are compared, nothing is resolved."""
    found: list[str] = []
    for index, route in enumerate(settings.routes):
        lines = [(engine, server) for engine in engines for server in engine.servers if leads_to(engine, server, route)]
        notes = [*_about_lines(route, lines, engines), *_about_balance(route, lines, settings)]
        for engine in dict.fromkeys(id(engine) for engine, _ in lines):
            of_engine = [line for line in lines if id(line[0]) == engine]
            notes += [*_about_agent(route, of_engine[0][0]), *_about_servers(route, of_engine)]
        found += [f"routes[{index}].{note}" for note in notes]
    return found


def leads_to(engine: Engine, server: Server, route: Route) -> bool:
    """Whether a server line names the guard's address. A host name may be that of any machine, so its port decides."""
    named, where = _address(engine, server), route.listen
    if named is None or named in route.agent or named.path is not None or where.path is not None:
        return named == where
    same_host = where.host in _WILDCARDS or not _is_ip(named.host) or not _is_ip(where.host) or named.host == where.host
    return same_host and named.port == where.port


def _address(engine: Engine, server: Server) -> Address | None:
    try:
        return engine.address(server)
    except ValueError:
        return None


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _about_lines(route: Route, lines: Sequence[Line], engines: Sequence[Engine]) -> Iterator[str]:
    """Yield what is wrong with which server lines lead to the guard."""
    past = [
        server
        for engine in engines
        for server in engine.servers
        if "backup" not in server.options and _address(engine, server) in route.agent
    ]
    for server in past:
        yield f"agent: server {server.name} ({server.place}) goes to the agent past the guard; put {route.listen} there"
    if not lines and not past:
        yield f"listen: no server line of an SPOE backend names {route.listen}; put it where the agent's address is"
    for name in dict.fromkeys(engine.name for engine, _ in lines):
        same = [server for engine, server in lines if engine.name == name and not server.count]
        if len(same) > 1:
            places = ", ".join(str(server.place) for server in same)
            yield (
                f"listen: {len(same)} server lines name it ({places}), so HAProxy can neither balance nor check agents apart; "
                "give each agent a route and a server line of its own"
            )


def _about_balance(route: Route, lines: Sequence[Line], settings: Settings) -> Iterator[str]:
    """Yield whether HAProxy would balance among agents, some of which have no route of which they are the first address."""
    first = {each.agent[0] for each in settings.routes}
    behind = [str(agent) for agent in route.agent if agent not in first]
    balance = next((found for engine, _ in lines if (found := engine.backend.inherited("balance"))), None)
    if behind and balance is not None and route.balance == "first":
        yield (
            f"agent: {', '.join(behind)} gets NOTIFYs only while the addresses before it cannot be reached, and `balance` "
            f"({balance.place}) chooses among server lines alone; give each agent a route and a server line of its own, "
            "or set balance here"
        )


def _about_agent(route: Route, engine: Engine) -> Iterator[str]:
    """Yield where the route contradicts the spoe-agent section."""
    yield from _about_processing(route, engine)
    if not engine.from_3_1:
        yield from _about_hello(route, engine)
        yield from _about_idle(route, engine)
    yield from _about_set_on_error(route, engine)
    yield from _about_frames(route, engine)


def _about_processing(route: Route, engine: Engine) -> Iterator[str]:
    said, told = engine.timeout("processing"), route.haproxy.timeout_processing
    if said.why:
        yield _not_compared("haproxy.timeout_processing", "timeout processing", said)
    elif said.value is None:
        place = said.place or engine.agent.heading.place
        yield f"haproxy.timeout_processing: {place} sets no `timeout processing`, so a request may wait without end; set one"
    elif told != said.value:
        line = f"`timeout processing {units.duration_text(said.value)}` ({said.place})"
        yield f"haproxy.timeout_processing: {_written(told)}, and HAProxy has {line}; write the same in both"
        if said.value <= route.disconnect_hold:  # else `settings.warnings` says it
            yield f"disconnect_hold: {_written(route.disconnect_hold)}, HAProxy gives up before that: {line}; raise that one"
        if route.answer_deadline is not None and route.answer_deadline >= said.value:
            yield f"answer_deadline: {_written(route.answer_deadline)}, not below {line}, so HAProxy gives up first; lower it"


def _about_hello(route: Route, engine: Engine) -> Iterator[str]:
    said, told = engine.timeout("hello"), route.haproxy.timeout_hello
    if said.why:
        yield _not_compared("haproxy.timeout_hello", "timeout hello", said)
    if said.value is None:
        return
    line = f"`timeout hello {units.duration_text(said.value)}` ({said.place})"
    if told != said.value:
        yield f"haproxy.timeout_hello: {_written(told)}, and HAProxy has {line}; write the same in both"
        if said.value <= route.timeouts.connect:  # else `settings.warnings` says it
            yield f"timeouts.connect: {_written(route.timeouts.connect)}, not below {line}; lower it, or raise that one"
    if route.timeouts.hello is not None and said.value <= route.timeouts.hello:
        yield f"timeouts.hello: {_written(route.timeouts.hello)}, not below {line}; lower it, or raise that one"


def _about_idle(route: Route, engine: Engine) -> Iterator[str]:
    said = engine.timeout("idle")
    if said.why:
        yield _not_compared("timeouts.idle", "timeout idle", said)
    elif said.value is not None and said.value >= route.timeouts.idle:
        line = f"`timeout idle {units.duration_text(said.value)}` ({said.place})"
        yield f"timeouts.idle: {_written(route.timeouts.idle)}, not above {line}, so the guard ends connections first; raise it"


def _about_set_on_error(route: Route, engine: Engine) -> Iterator[str]:
    said, told, sets = engine.named_option("set-on-error"), route.haproxy.set_on_error, route.unanswered.name
    agent, name = f"the spoe-agent at {engine.agent.heading.place}", sets or told
    if said.why:
        yield _not_compared("haproxy.set_on_error", "option set-on-error", said)
    elif said.value is None and name:
        yield f"unanswered: HAProxy may not know the variable {name}; add `option set-on-error {name}` to {agent}"
    elif said.value is not None and told != said.value:
        line = f"`option set-on-error {said.value}` ({said.place})"
        yield f"haproxy.set_on_error: {told or 'null'}, and HAProxy has {line}; write the same in both"
    events = {event.text(1) for event in engine.conf.events()}
    if sets and len(events) > 1 and engine.agent.last("option", "continue-on-error") is None:
        yield (
            "unanswered: to HAProxy an ACK of the guard's own is no error, so it goes on to the next event of the request; "
            f"add `option continue-on-error` to {agent}, so that it always does, or set tell"
        )


def _about_frames(route: Route, engine: Engine) -> Iterator[str]:
    said = engine.max_frame_size()
    if said.value is None:
        yield _not_compared("hello.max_frame_size", "tune.bufsize", said)
        return
    where = f" ({said.place})" if said.place else ""
    most = route.limits.held_bytes - LENGTH_BYTES
    if said.value > most:
        yield f"limits.held_bytes: {route.limits.held_bytes}, and HAProxy offers frames of {said.value} bytes{where}; raise it"
    if route.hello.max_frame_size is not None and route.hello.max_frame_size < said.value:
        yield (
            f"hello.max_frame_size: {route.hello.max_frame_size}, and HAProxy would send frames of {said.value} bytes{where}; "
            "longer messages than the guard lets pass fail, so make the two equal where the agent allows it"
        )


def _about_servers(route: Route, lines: Sequence[Line]) -> Iterator[str]:
    """Yield what is wrong with the options of the server lines that lead to the guard."""
    for engine, server in lines:
        who = f"server {server.name} ({server.place})"
        for name in ("ssl", "check-ssl"):
            if name in server.options:
                yield f"listen: {who} has `{name}`, and the guard speaks no TLS; take it out"
        headers = [name for name in PROXY_HEADERS if name in server.options]
        if headers and route.proxy_protocol == "refuse":
            yield f"proxy_protocol: refuse, and {who} has `{headers[0]}`; take it out there, or set accept"
        if not headers and route.proxy_protocol == "accept":
            yield f"proxy_protocol: accept, and {who} has no `send-proxy`, so all of its connections are refused; set refuse"
        if "check-send-proxy" in server.options and not headers:
            yield f"proxy_protocol: {who} has `check-send-proxy` and no `send-proxy`; the guard takes the header from all or none"
        yield from _about_check(route, engine, server, who)


def _about_check(route: Route, engine: Engine, server: Server, who: str) -> Iterator[str]:
    if "check" not in server.options:
        return
    elsewhere = next((server.options[name] for name in ("addr", "port") if name in server.options), None)
    if elsewhere is not None:
        yield f"health: {who} is checked elsewhere (`{elsewhere}`), so its checks see nothing of the guard; take that out"
        return
    option = engine.backend.check_option()
    if option is None:
        if route.health == "check":
            yield f"health: check, and a plain check of {who} sees the guard alone; add `option spop-check`, or set listen"
    elif option.condition is not None:
        yield f"health: not compared with `option {option.text(1)}` ({option.place}): depends on the `.if` at {option.condition}"
    elif option.text(1) != "spop-check":
        yield f"health: {who} is checked by `option {option.text(1)}` ({option.place}), which is no SPOP; use `option spop-check`"


def _not_compared(key: str, what: str, said: Value[float] | Value[str] | Value[int]) -> str:
    return f"{key}: not compared with `{what}` ({said.place}): {said.why}"


def _written(seconds: float | None) -> str:
    return "null" if seconds is None else units.duration_text(seconds)
