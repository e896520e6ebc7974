"""What `init` plans: which servers, where the guard listens, the routes' names, and which lines change."""

import pytest

from spoe_guard.address import Address, parse
from spoe_guard.placement import plan
from spoe_guard.placement.findings import PlacementError
from spoe_guard.placement.guard_yaml import read_back, text
from tests.placement.files import HAPROXY, SPOE, USUAL_AGENT, found, sources

IN_THE_WAY = [
    ("ssl", "`ssl` (haproxy.cfg:9): HAProxy speaks TLS to this agent, and the guard speaks none"),
    ("check-ssl", "`check-ssl` (haproxy.cfg:9): HAProxy's health checks speak TLS"),
    ("socks4 127.0.0.1:1080", "`socks4 127.0.0.1:1080` (haproxy.cfg:9): HAProxy reaches this agent through a SOCKS proxy"),
    ("namespace blue", "`namespace blue` (haproxy.cfg:9): HAProxy reaches this agent from another network namespace"),
    ("source 0.0.0.0 interface eth1", "`interface eth1` (haproxy.cfg:9): HAProxy reaches this agent by one network interface"),
    ("check-send-proxy", "`check-send-proxy` (haproxy.cfg:9): health checks alone begin with a PROXY header"),
    ("proto h2", "`proto h2` (haproxy.cfg:9): HAProxy speaks another protocol to this agent"),
]


@pytest.mark.parametrize(("option", "why"), IN_THE_WAY, ids=[option for option, _ in IN_THE_WAY])
def test_a_server_that_would_not_find_the_guard_is_refused_by_name(option, why):
    taken, refused = plan.servers_to_guard(found(sources(servers=f"server a 10.0.0.1:9 {option}\n server b 10.0.0.1:9")))
    assert [server.name for server, _ in taken] == ["b"]
    assert [str(each)[: len(f"haproxy.cfg:9: server a: {why}")] for each in refused] == [f"haproxy.cfg:9: server a: {why}"]


@pytest.mark.parametrize("option", ["proto spop", "send-proxy check-send-proxy", "no-ssl", "maxconn 5 weight 3 check backup"])
def test_other_options_are_not_in_the_way(option):
    assert plan.servers_to_guard(found(sources(servers=f"server a 10.0.0.1:9 {option}")))[1] == []


def test_an_option_that_may_not_hold_counts_as_if_it_did():
    backend = ".if x\n default-server {}\n.endif"
    assert "HAProxy speaks TLS" in str(plan.servers_to_guard(found(sources(backend=backend.format("ssl"))))[1][0])
    assert "depends on the `.if`" in str(plan.servers_to_guard(found(sources(backend=backend.format("send-proxy"))))[1][0])


def test_an_address_out_of_a_list_of_words_is_refused():
    engine = found(sources(servers='server "${A[*]}"'), environ={"A": "a 10.0.0.1:9"})
    assert [each.why for each in plan.servers_to_guard(engine)[1]] == [
        "its address is one of several words of a variable; write it out"
    ]


# --- where the guard listens -------------------------------------------------------------------------------


def listens(first: str | None, count: int, **changed: str) -> list[str]:
    engine = found(sources(**{"servers": "server a 10.0.0.1:9000"} | changed))
    return [str(each) for each in plan.listen_addresses(parse(first) if first else None, count, engine)]


def test_further_routes_listen_on_the_next_ports_that_nobody_names():
    assert listens(None, 2) == ["127.0.0.1:12345", "127.0.0.1:12346"]
    taken = "server a 10.0.0.1:12345\n server b 10.0.0.1:12347\n server-template c 2 h:12349"
    assert listens(None, 3, servers=taken) == ["127.0.0.1:12346", "127.0.0.1:12348", "127.0.0.1:12350"]
    assert listens("10.0.0.9:9462", 3, rules="bind :9463") == [
        "10.0.0.9:9462",
        "10.0.0.9:9465",
        "10.0.0.9:9466",
    ]  # 9464: admin.listen
    assert listens("[::1]:1000", 2, rules="bind 127.0.0.1:1001-1003,:::1005") == ["[::1]:1000", "[::1]:1004"]


def test_a_port_that_is_given_and_taken_is_refused():
    for listen, by in (("127.0.0.1:9000", "haproxy.cfg:9"), ("127.0.0.1:9464", "admin.listen of the guard")):
        with pytest.raises(PlacementError) as error:
            listens(listen, 1)
        assert str(error.value) == f"--listen: '{listen}': the port is taken by {by}; choose another one"


def test_the_last_port_is_used_and_none_behind_it():
    assert listens("127.0.0.1:65534", 2) == ["127.0.0.1:65534", "127.0.0.1:65535"]
    with pytest.raises(PlacementError) as error:
        listens("127.0.0.1:65534", 3)
    assert str(error.value) == "--listen: '127.0.0.1:65534': there are not 3 free ports from here on; choose a lower one"


def test_unix_sockets_are_numbered_and_have_to_be_in_haproxys_reach():
    assert listens("unix:/run/g.sock", 2) == ["unix:/run/g.sock", "unix:/run/g.sock.2"]
    with pytest.raises(PlacementError, match=r"--listen: 'unix:/run/g\.sock': HAProxy runs in a chroot"):
        listens("unix:/run/g.sock", 1, globals_="chroot /jail")


# --- routes ------------------------------------------------------------------------------------------------


def routes(profile: str = "none", **changed: str) -> list[plan.PlannedRoute]:
    engine = found(sources(**changed))
    servers = [(server, Address("10.0.0.1", 9000)) for server in engine.servers]
    return plan.routes(engine, servers, [Address("127.0.0.1", 1000 + at) for at, _ in enumerate(servers)], profile)


def test_one_server_has_the_engines_name_and_several_have_their_own_too():
    assert [route.name for route in routes()] == ["check"]
    assert [route.name for route in routes(servers="server a h:1\n server b h:2")] == ["check-a", "check-b"]


def test_a_name_that_the_guard_would_refuse_is_made_another():
    long = "x" * 80
    names = [route.name for route in routes(servers=f"server a/b h:1\n server {long}1 h:2\n server {long}2 h:3")]
    assert names == ["check-a-b", f"check-{'x' * 58}", f"check-{'x' * 52}-3"]
    assert all(len(name) <= 64 for name in names)


@pytest.mark.parametrize(
    ("changed", "health"),
    [
        ({"servers": "server a h:1 check"}, "listen"),
        ({"servers": "server a h:1"}, None),
        ({"servers": "server a h:1 check", "backend": "option spop-check"}, None),
        ({"servers": "server a h:1 check", "backend": "option tcp-check"}, None),
    ],
)
def test_a_plain_check_goes_on_telling_whether_the_agent_is_there(changed, health):
    assert [route.settings.get("health") for route in routes(**changed)] == [health]


def test_on_a_unix_socket_the_guard_cannot_stop_to_listen():
    engine = found(sources(servers="server a h:1 check"))
    [route] = plan.routes(engine, [(engine.servers[0], Address("h", 1))], [Address(path="/run/g.sock")], "none")
    assert "health" not in route.settings


@pytest.mark.parametrize(("bufsize", "held_bytes"), [(1048576, None), (1048577, {"held_bytes": 2097154})])
def test_frames_beyond_the_usual_bound_raise_it(bufsize, held_bytes):
    assert [route.settings.get("limits") for route in routes(globals_=f"tune.bufsize {bufsize}")] == [held_bytes]


def test_the_guard_is_told_what_spoe_conf_says():
    told = {"timeout_processing": "1s", "timeout_hello": "3s", "set_on_error": "error"}
    assert routes()[0].settings == {"haproxy": told}
    assert routes(backend="mode spop")[0].settings == {"haproxy": {"timeout_processing": "1s", "set_on_error": "error"}}
    assert routes(agent="timeout idle 1s")[0].settings == {}


# --- lines that change -------------------------------------------------------------------------------------

CHANGES = [
    ("processing at disconnect_hold", USUAL_AGENT.replace("processing 1s", "processing 500ms"), ["timeout processing 1s"]),
    ("processing one past it", USUAL_AGENT.replace("processing 1s", "processing 501ms"), []),
    ("hello at timeouts.connect", USUAL_AGENT.replace("hello 3s", "hello 1s"), ["timeout hello 3s"]),
    ("hello one past it", USUAL_AGENT.replace("hello 3s", "hello 1001ms"), []),
    ("no processing", "option set-on-error error\n timeout hello 3s", ["timeout processing 1s"]),
    ("processing without end", USUAL_AGENT.replace("processing 1s", "processing 0"), ["timeout processing 1s"]),
    ("no hello", "option set-on-error error\n timeout processing 1s", []),
    ("no set-on-error", "timeout processing 1s", ["option set-on-error error"]),
]


def changed_lines(profile: str = "none", version: tuple[int, int] | None = None, **changed: str) -> list[str]:
    """Return what is put in, but for server lines, without its indentation."""
    read = sources(**changed)
    engine = found(read, version=version)
    servers = [(server, Address("10.0.0.1", 9000)) for server in engine.servers]
    planned = plan.routes(engine, servers, [Address("127.0.0.1", 12346)], profile)
    made, _ = plan.changes(engine, planned, read_back(text(planned, [])).settings, profile)
    before = {line for path in (HAPROXY, SPOE) for line in read.get(path).lines}
    after = [line.strip() for source in made.changed(read).values() for line in source.lines if line not in before]
    return [line for line in after if not line.startswith("server")]


@pytest.mark.parametrize(("section", "lines"), [case[1:] for case in CHANGES], ids=[case[0] for case in CHANGES])
def test_what_contradicts_the_guard_in_spoe_conf_changes(section, lines):
    assert changed_lines(agent=section) == lines


def test_a_product_that_is_slow_to_start_has_more_time():
    assert changed_lines("coraza", agent=USUAL_AGENT.replace("processing 1s", "processing 500ms")) == ["timeout processing 5s"]


def test_timeout_hello_stays_where_it_means_nothing():
    section = USUAL_AGENT.replace("hello 3s", "hello 1ms")
    assert changed_lines(agent=section, backend="mode spop") == []
    assert changed_lines(agent=section, version=(3, 0)) == ["timeout hello 3s"]


def test_the_mode_changes_only_where_haproxys_version_is_given():
    assert changed_lines() == []
    assert changed_lines(version=(3, 0)) == []
    assert changed_lines(version=(3, 1)) == ["mode spop"]
    assert changed_lines(version=(3, 1), backend="mode spop") == []
