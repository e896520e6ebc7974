"""`check --haproxy`: each contradiction between settings and HAProxy's files is one line that says what to do."""

from pathlib import Path

import pytest

from spoe_guard.placement.compare import contradictions
from spoe_guard.settings import Settings, load
from tests.placement.files import USUAL_AGENT, found, found_all, in_memory, sources


@pytest.fixture
def settings(tmp_path):
    """Read the settings of one route, or of several, from the middle of a YAML file."""

    def read(*routes: str) -> Settings:
        file: Path = tmp_path / "guard.yaml"
        file.write_text("routes:\n" + "".join(f"- {{{route}}}\n" for route in routes))
        return load(file).settings

    return read


TOLD = "haproxy: {timeout_processing: 1s, timeout_hello: 3s, set_on_error: error}"
AT = "listen: 127.0.0.1:12345, agent: 127.0.0.1:9000"


def test_settings_that_agree_with_haproxy_are_not_warned_of(settings):
    assert contradictions(settings(f"{AT}, {TOLD}"), [found(sources())]) == []


# --- server lines ------------------------------------------------------------------------------------------

WHO = "server a (haproxy.cfg:9)"
SERVERS = [
    (
        "server a 127.0.0.1:9999",
        "listen: no server line of an SPOE backend names 127.0.0.1:12345; put it where the agent's address is",
    ),
    ("server a 127.0.0.1:9000", f"agent: {WHO} goes to the agent past the guard; put 127.0.0.1:12345 there"),
    ("server a 127.0.0.1:12345\n    server b 127.0.0.1:9000 backup", ""),
    (
        "server a 127.0.0.1:12345\n    server b 127.0.0.1:9000",
        "agent: server b (haproxy.cfg:10) goes to the agent past the guard; put 127.0.0.1:12345 there",
    ),
    (
        "server a 127.0.0.1:12345\n    server b 127.0.0.1:12345",
        (
            "listen: 2 server lines name it (haproxy.cfg:9, haproxy.cfg:10), so HAProxy can neither balance nor check agents "
            "apart; give each agent a route and a server line of its own"
        ),
    ),
    ("server a localhost:12345", ""),
    ("server a ipv4@127.0.0.1:12345", ""),
    ("server a 127.0.0.1:12345 ssl", f"listen: {WHO} has `ssl`, and the guard speaks no TLS; take it out"),
    (
        "server a 127.0.0.1:12345 check-ssl",
        f"listen: {WHO} has `check-ssl`, and the guard speaks no TLS; take it out",
    ),
    (
        "server a 127.0.0.1:12345 send-proxy-v2",
        f"proxy_protocol: refuse, and {WHO} has `send-proxy-v2`; take it out there, or set accept",
    ),
    (
        "server a 127.0.0.1:12345 check-send-proxy",
        f"proxy_protocol: {WHO} has `check-send-proxy` and no `send-proxy`; the guard takes the header from all or none",
    ),
    (
        "server a 127.0.0.1:12345 check",
        f"health: check, and a plain check of {WHO} sees the guard alone; add `option spop-check`, or set listen",
    ),
    (
        "server a 127.0.0.1:12345 check port 9000",
        f"health: {WHO} is checked elsewhere (`port 9000`), so its checks see nothing of the guard; take that out",
    ),
]


@pytest.mark.parametrize(("servers", "warning"), SERVERS)
def test_a_server_line_that_does_not_fit_is_warned_of(settings, servers, warning):
    expected = [f"routes[0].{warning}"] if warning else []
    assert contradictions(settings(f"{AT}, {TOLD}"), [found(sources(servers=servers))]) == expected


@pytest.mark.parametrize(
    ("listen", "server", "fits"),
    [
        ("0.0.0.0:12345", "server a 10.0.0.1:12345", True),
        ("'[::]:12345'", "server a [fd00::1]:12345", True),
        ("10.0.0.1:12345", "server a guard.example:12345", True),
        ("10.0.0.1:12345", "server a 10.0.0.2:12345", False),
        ("10.0.0.1:12345", "server a 10.0.0.1:12346", False),
        ("'unix:/run/g.sock'", "server a unix@/run/g.sock", True),
        ("'unix:/run/g.sock'", "server a unix@/run/h.sock", False),
        ("'unix:/run/g.sock'", "server a 10.0.0.1:12345", False),
        ("10.0.0.1:12345", "server a abns@x", False),
    ],
)
def test_a_server_line_names_the_guard_by_address_or_by_port(settings, listen, server, fits):
    found_ = contradictions(settings(f"listen: {listen}, agent: 127.0.0.1:9000, {TOLD}"), [found(sources(servers=server))])
    assert (found_ == []) is fits


def test_an_agent_on_the_guards_usual_port_is_no_guard(settings):
    engine = found(sources(servers="server a agent.example:12345 ssl"))  # its options are its own business
    assert contradictions(settings(f"listen: 0.0.0.0:12345, agent: 'agent.example:12345', {TOLD}"), [engine]) == [
        "routes[0].agent: server a (haproxy.cfg:9) goes to the agent past the guard; put 0.0.0.0:12345 there"
    ]


@pytest.mark.parametrize(
    ("option", "warning"),
    [
        ("option spop-check", ""),
        ("option tcp-check", "is checked by `option tcp-check` (haproxy.cfg:8), which is no SPOP; use `option spop-check`"),
        (".if x\n option spop-check\n.endif", "not compared with `option spop-check` (haproxy.cfg:9): depends on the `.if` at"),
    ],
)
def test_health_checks_that_are_no_spop_are_warned_of(settings, option, warning):
    engine = found(sources(backend=option, servers="server a 127.0.0.1:12345 check"))
    assert_one(contradictions(settings(f"{AT}, {TOLD}"), [engine]), warning)


def assert_one(warnings: list[str], part: str) -> None:
    """Check that one warning has that part; none, where it is empty."""
    assert [part in each for each in warnings] == [True] * bool(part), warnings


def test_health_listen_takes_plain_checks_and_a_header_takes_accept(settings):
    engine = found(sources(servers="server a 127.0.0.1:12345 check send-proxy"))
    assert contradictions(settings(f"{AT}, {TOLD}, health: listen, proxy_protocol: accept"), [engine]) == []
    assert contradictions(settings(f"{AT}, {TOLD}, proxy_protocol: accept"), [found(sources())]) == [
        f"routes[0].proxy_protocol: accept, and {WHO} has no `send-proxy`, so all of its connections are refused; set refuse"
    ]


def test_several_agents_of_one_route_are_not_balanced(settings):
    engine = found(sources(backend="balance leastconn"))
    route = f"listen: 127.0.0.1:12345, agent: [127.0.0.1:9000, 127.0.0.1:9001], {TOLD}"
    expected = "127.0.0.1:9001 gets NOTIFYs only while the addresses before it cannot be reached, and `balance` (haproxy.cfg:8)"
    assert_one(contradictions(settings(route), [engine]), f"routes[0].agent: {expected} chooses among server lines alone; give")
    assert contradictions(settings(route), [found(sources())]) == []
    assert contradictions(settings(f"{route}, balance: least-open"), [engine]) == []


def test_the_other_agent_as_a_second_address_is_no_contradiction(settings):
    engine = found(sources(backend="balance roundrobin", servers="server a 127.0.0.1:12345\n server b 127.0.0.1:12346"))
    routes = (
        f"name: one, listen: 127.0.0.1:12345, agent: [127.0.0.1:9000, 127.0.0.1:9001], {TOLD}",
        f"name: two, listen: 127.0.0.1:12346, agent: [127.0.0.1:9001, 127.0.0.1:9000], {TOLD}",
    )
    assert contradictions(settings(*routes), [engine]) == []


def test_each_route_is_compared_with_its_own_line(settings):
    engine = found(sources(servers="server a 127.0.0.1:12345\n    server b 127.0.0.1:12346 ssl"))
    routes = (f"name: one, {AT}, {TOLD}", f"name: two, listen: 127.0.0.1:12346, agent: 127.0.0.1:9001, {TOLD}")
    assert contradictions(settings(*routes), [engine]) == [
        "routes[1].listen: server b (haproxy.cfg:10) has `ssl`, and the guard speaks no TLS; take it out"
    ]


def test_an_engine_that_is_not_guarded_contradicts_nothing(settings):
    text = "frontend f\n filter spoe engine a config one\n filter spoe engine b config one\n"
    backends = "backend x\n server s 127.0.0.1:12345\nbackend y\n server s 127.0.0.1:9999 ssl\n"
    spoe = "[{0}]\nspoe-agent {0}\n option set-on-error error\n timeout hello 3s\n timeout processing 1s\n use-backend {1}\n"
    texts = {Path("haproxy.cfg"): text + backends, Path("one"): spoe.format("a", "x") + spoe.format("b", "y")}
    assert contradictions(settings(f"{AT}, {TOLD}"), found_all(in_memory(texts)).engines) == []


# --- the spoe-agent section --------------------------------------------------------------------------------


def agent(**lines: str) -> str:
    """Return the usual lines of the section with others in their place; empty: without."""
    usual = {"error": "option set-on-error error", "hello": "timeout hello 3s", "processing": "timeout processing 1s"}
    return "\n".join((usual | lines).values())


AGENTS = [
    (
        agent(processing="timeout processing 2s"),
        TOLD,
        ["haproxy.timeout_processing: 1s, and HAProxy has `timeout processing 2s` (spoe.conf:7); write the same in both"],
    ),
    (
        agent(processing="timeout processing 500ms"),
        TOLD,
        [
            "haproxy.timeout_processing: 1s, and HAProxy has `timeout processing 500ms` (spoe.conf:7); write the same in both",
            "disconnect_hold: 500ms, HAProxy gives up before that: `timeout processing 500ms` (spoe.conf:7); raise that one",
            "answer_deadline: 980ms, not below `timeout processing 500ms` (spoe.conf:7), so HAProxy gives up first; lower it",
        ],
    ),
    (
        agent(processing="timeout processing 501ms"),
        "haproxy: {timeout_hello: 3s, set_on_error: error}",
        ["haproxy.timeout_processing: null, and HAProxy has `timeout processing 501ms` (spoe.conf:7); write the same in both"],
    ),
    (
        agent(processing=""),
        TOLD,
        ["haproxy.timeout_processing: spoe.conf:2 sets no `timeout processing`, so a request may wait without end; set one"],
    ),
    (
        agent(processing="timeout processing soon"),
        TOLD,
        ["haproxy.timeout_processing: not compared with `timeout processing` (spoe.conf:7): expected a whole number and a unit"],
    ),
    (
        agent(hello="timeout hello 2s"),
        TOLD,
        [
            "haproxy.timeout_hello: 3s, and HAProxy has `timeout hello 2s` (spoe.conf:6); write the same in both",
            "timeouts.hello: 2940ms, not below `timeout hello 2s` (spoe.conf:6); lower it, or raise that one",
        ],
    ),
    (
        agent(hello="timeout hello 1s"),
        "haproxy: {timeout_processing: 1s, set_on_error: error}",
        [
            "haproxy.timeout_hello: null, and HAProxy has `timeout hello 1s` (spoe.conf:6); write the same in both",
            "timeouts.connect: 1s, not below `timeout hello 1s` (spoe.conf:6); lower it, or raise that one",
        ],
    ),
    (
        agent(hello="timeout hello 1001ms"),
        "haproxy: {timeout_processing: 1s, set_on_error: error}, timeouts: {hello: 1001ms}",
        [
            "haproxy.timeout_hello: null, and HAProxy has `timeout hello 1001ms` (spoe.conf:6); write the same in both",
            "timeouts.hello: 1001ms, not below `timeout hello 1001ms` (spoe.conf:6); lower it, or raise that one",
        ],
    ),
    (agent(hello=""), TOLD, []),
    (f"{agent()}\n timeout idle 599s", TOLD, []),
    (
        f"{agent()}\n timeout idle 10m",
        TOLD,
        ["timeouts.idle: 10m, not above `timeout idle 10m` (spoe.conf:8), so the guard ends connections first; raise it"],
    ),
    (f"{agent()}\n timeout idle x", TOLD, ["timeouts.idle: not compared with `timeout idle` (spoe.conf:8): expected a whole"]),
    (
        agent(hello="timeout hello never"),
        TOLD,
        ["haproxy.timeout_hello: not compared with `timeout hello` (spoe.conf:6): expected a whole number and a unit"],
    ),
    (
        agent(error=""),
        TOLD,
        ["unanswered: HAProxy may not know the variable error; add `option set-on-error error` to the spoe-agent at spoe.conf:"],
    ),
    (
        agent(error="option set-on-error failed"),
        TOLD,
        ["haproxy.set_on_error: error, and HAProxy has `option set-on-error failed` (spoe.conf:5); write the same in both"],
    ),
    (
        agent(),
        "haproxy: {timeout_processing: 1s, timeout_hello: 3s}",
        ["haproxy.set_on_error: null, and HAProxy has `option set-on-error error` (spoe.conf:5); write the same in both"],
    ),
    (agent(error=""), "haproxy: {timeout_processing: 1s, timeout_hello: 3s}", []),
    (
        agent(error='option set-on-error "$NONE"'),
        TOLD,
        ["haproxy.set_on_error: not compared with `option set-on-error` (spoe.conf:5): NONE is not set in this environment"],
    ),
]


@pytest.mark.parametrize(("section", "route", "warnings"), AGENTS)
def test_an_agents_section_that_says_otherwise_is_warned_of(settings, section, route, warnings):
    engine = found(sources(agent=section))
    told = contradictions(settings(f"{AT}, {route}"), [engine])
    assert [line[: len(f"routes[0].{expected}")] for line, expected in zip(told, warnings, strict=True)] == [
        f"routes[0].{expected}" for expected in warnings
    ]


def test_timeout_hello_is_not_compared_from_haproxy_3_1_on(settings):
    section = agent(hello="timeout hello 1ms")
    for engine in (found(sources(agent=section), version=(3, 1)), found(sources(agent=section, backend="mode spop"))):
        assert contradictions(settings(f"{AT}, {TOLD}"), [engine]) == []
    assert contradictions(settings(f"{AT}, {TOLD}"), [found(sources(agent=section), version=(3, 0))]) != []


TWO_EVENTS = "event on-frontend-http-request\nspoe-message other\n event on-http-response"


def test_an_error_that_haproxy_does_not_see_does_not_end_later_events(settings):
    said = contradictions(settings(f"{AT}, {TOLD}"), [found(sources(message=TWO_EVENTS))])
    assert_one(
        said, "unanswered: to HAProxy an ACK of the guard's own is no error, so it goes on to the next event of the request; add"
    )
    section = f"{USUAL_AGENT}\n option continue-on-error"
    assert contradictions(settings(f"{AT}, {TOLD}"), [found(sources(message=TWO_EVENTS, agent=section))]) == []
    assert contradictions(settings(f"{AT}, {TOLD}, unanswered: tell"), [found(sources(message=TWO_EVENTS))]) == []


# --- frames ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bufsize", "route", "warning"),
    [
        (1048576, "limits: {held_bytes: 1048576}", ""),
        (
            1048577,
            "limits: {held_bytes: 1048576}",
            "limits.held_bytes: 1048576, and HAProxy offers frames of 1048573 bytes (haproxy.cfg:2); raise it",
        ),
        (65539, "hello: {max_frame_size: 65535}", ""),
        (
            65540,
            "hello: {max_frame_size: 65535}",
            "hello.max_frame_size: 65535, and HAProxy would send frames of 65536 bytes (haproxy.cfg:2)",
        ),
    ],
)
def test_frames_that_the_guard_does_not_take_are_warned_of(settings, bufsize, route, warning):
    engine = found(sources(globals_=f"tune.bufsize {bufsize}"))
    assert_one(contradictions(settings(f"{AT}, {TOLD}, {route}"), [engine]), warning)


def test_a_buffer_whose_size_is_not_known_is_not_compared(settings):
    engine = found(sources(globals_=".if x\n tune.bufsize 65536\n.endif"))
    assert contradictions(settings(f"{AT}, {TOLD}"), [engine]) == [
        "routes[0].hello.max_frame_size: not compared with `tune.bufsize` (haproxy.cfg:3): depends on the `.if` at haproxy.cfg:2"
    ]
