"""haproxy.cfg: what a proxy inherits, its servers and their options, the filters, and where their files are."""

import subprocess
from pathlib import Path

import pytest

from spoe_guard.haproxy_config.haproxy_cfg import HaproxyCfg, Server, read
from spoe_guard.haproxy_config.source import Source, Sources
from tests.integration import generations


def config(*texts: str, started_in: Path = Path(), **environ: str) -> HaproxyCfg:
    """Return what is read from files a.cfg, b.cfg and so on with these texts."""
    paths = [Path(f"{name}.cfg") for name, _ in zip("abcdef", texts, strict=False)]
    sources = {path: Source(path, tuple(text.splitlines(keepends=True))) for path, text in zip(paths, texts, strict=True)}
    return read(paths, Sources(sources), environ, started_in)


def servers(text: str, **environ: str) -> list[Server]:
    found = config(text, **environ)
    [backend] = found.backends("b")
    return list(backend.servers(found.variables))


def options(text: str) -> list[str]:
    """Return the options of the last server, but for those that take another away."""
    return [str(each) for each in servers(text)[-1].options.values() if not each.name.startswith("no-")]


# --- what is inherited -------------------------------------------------------------------------------------


def test_a_proxy_begins_with_the_defaults_above_it():
    found = config("backend a\ndefaults\n mode tcp\nbackend b\ndefaults\n mode http\nbackend c\n mode tcp\n")
    a, b, c = found.proxies
    assert a.inherited("mode") is None
    assert [each.inherited("mode").place.line for each in (b, c)] == [3, 8]


def test_a_proxy_may_name_its_defaults_and_these_may_name_others():
    text = (
        "defaults x\n mode tcp\n balance first\ndefaults y from x\n balance leastconn\ndefaults z\n mode http\nbackend b from y\n"
    )
    [backend] = config(text).proxies
    assert (backend.inherited("mode").place.line, backend.inherited("balance").text(1)) == (2, "leastconn")


def test_defaults_without_from_begin_anew():
    [backend] = config("defaults\n mode tcp\ndefaults\n log global\nbackend b\n").proxies
    assert backend.inherited("mode") is None


def test_defaults_hold_in_the_files_behind_theirs():
    found = config("defaults\n mode tcp\n", "backend b\n")
    assert str(found.proxies[0].inherited("mode").place) == "a.cfg:2"


def test_defaults_that_are_not_there_are_named():
    assert list(map(str, config("backend b from x\n").notes)) == ["a.cfg:1: `from x`: there is no `defaults x` above"]


@pytest.mark.parametrize(
    ("text", "check"),
    [
        ("backend b\n", ""),
        ("defaults\n option httpchk\nbackend b\n", "httpchk"),
        ("defaults\n option httpchk\nbackend b\n option spop-check\n", "spop-check"),
        ("backend b\n option spop-check\n option tcp-check\n", "tcp-check"),
        ("defaults\n option httpchk\nbackend b\n no option httpchk\n", ""),
        ("backend b\n option redispatch\n", ""),
    ],
)
def test_the_last_option_says_how_servers_are_checked(text, check):
    found = config(text).proxies[-1].check_option()
    assert (found.text(1) if found else "") == check


# --- servers -----------------------------------------------------------------------------------------------


def test_a_server_has_its_own_options_and_those_of_default_server_above():
    text = "defaults\n default-server check inter 3s\nbackend b\n default-server maxconn 5 ssl\n server a h:1 no-ssl inter 1s\n"
    assert options(text) == ["check", "inter 1s", "maxconn 5"]
    assert options("backend b\n server a h:1\n default-server check\n") == []


def test_a_value_is_not_taken_for_an_option():
    assert options("backend b\n server a h:1 cookie ssl id 3 check\n") == ["cookie ssl", "id 3", "check"]


def test_a_default_server_of_another_proxy_is_not_its_own():
    assert options("backend a\n default-server ssl\nbackend b\n server s h:1\n") == []


def test_a_server_line_of_defaults_is_no_server_of_a_proxy():
    assert [server.name for server in servers("defaults\n server d h:1\nbackend b\n server a h:2\n")] == [
        "a"
    ]  # HAProxy refuses it


def test_an_option_knows_its_line_and_the_condition_it_depends_on():
    [server] = servers("backend b\n.if x\n default-server ssl\n.endif\n server a h:1 check\n")
    assert (server.options["ssl"].place.line, server.options["ssl"].condition.line) == (3, 2)
    assert (server.options["check"].place.line, server.options["check"].condition) == (5, None)


def test_an_option_that_may_be_taken_away_is_still_there():
    text = "backend b\n default-server ssl\n.if x\n default-server no-ssl\n.endif\n server a h:1\n"
    assert "ssl" in servers(text)[0].options


def test_the_address_has_its_variables_replaced_with_quotes_and_without():
    text = 'global\n setenv PORT 9\nbackend b\n server a "$HOST:${PORT}"\n server b ${HOST}:$NONE\n'
    first, second = servers(text, HOST="h")
    assert (first.address, first.unset, first.used) == ("h:9", (), ("HOST", "PORT"))
    assert (second.address, second.unset, second.used) == ("h:", ("NONE",), ("HOST", "NONE"))


def test_a_template_names_how_many_servers_it_makes():
    [server] = servers("backend b\n server-template agent 1-3 h:1 check\n")
    assert (server.name, server.count, server.address, list(server.options)) == ("agent", "1-3", "h:1", ["check"])


def test_a_server_line_without_an_address_has_an_empty_one():
    assert [server.address for server in servers("backend b\n server a\n server-template t 3\n")] == ["", ""]


def test_servers_of_peers_and_rings_are_no_agents():
    found = config("backend b\n server a h:1\npeers p\n server x h:2\nring r\n server y h:3\n")
    assert [server.name for server in found.backends("b")[0].servers(found.variables)] == ["a"]


# --- filters and their files -------------------------------------------------------------------------------


def test_filters_are_found_in_every_kind_of_proxy():
    text = (
        "frontend f\n filter spoe engine e config c\nbackend b\n filter spoe config d engine e\nlisten l\n filter spoe config c\n"
    )
    filters = config(text).filters
    assert [(each.engine, each.config, each.proxy.name) for each in filters] == [
        ("e", "c", "f"),
        ("e", "d", "b"),
        (None, "c", "l"),
    ]


def test_other_filters_are_passed_over_and_one_without_a_file_is_named():
    found = config("frontend f\n filter compression\n filter spoe engine e\n")
    assert found.filters == []
    assert list(map(str, found.notes)) == ["a.cfg:3: `filter spoe` without a file: expected `config FILE`"]


def test_a_variable_is_looked_for_in_every_rule():
    found = config("frontend f\n http-request deny if { var(txn.e.error) -m found }\n")
    assert found.looks_at("txn.e.error")
    assert not found.looks_at("txn.e.other")


def test_what_global_says_under_a_condition_is_named_and_not_used():
    found = config('global\n.if x\n setenv A 1\n default-path config\n.endif\nbackend b\n server s "$A:1"\n')
    assert [str(note) for note in found.notes if not note.everyday] == [
        "a.cfg:3: `setenv` depends on the `.if` at a.cfg:2; it is not used",
        "a.cfg:4: `default-path` depends on the `.if` at a.cfg:2; it is not used",
    ]
    assert next(found.backends("b")[0].servers(found.variables)).unset == ("A",)


# Below the folder HAProxy is started in: the file it is given, its `default-path`, and where it looks for `config spoe.conf`.
PATHS = [
    ("haproxy.cfg", "", ["spoe.conf", "spoe.conf"]),
    ("etc/haproxy.cfg", "", ["spoe.conf", "spoe.conf"]),
    ("etc/haproxy.cfg", "default-path current", ["spoe.conf", "spoe.conf"]),
    # As HAProxy begins to read the first spoe.conf, whose path has no folder, it goes back to where it was started.
    ("etc/haproxy.cfg", "default-path config", ["etc/spoe.conf", "spoe.conf"]),
    ("etc/more/haproxy.cfg", "default-path parent", ["etc/spoe.conf", "../spoe.conf"]),
    ("haproxy.cfg", "default-path origin etc", ["etc/spoe.conf", "etc/spoe.conf"]),
]
TWICE = """\
global
    log stdout format raw local0
    {policy}
defaults
    mode http
    timeout client 1s
    timeout server 1s
    timeout connect 1s
frontend f
    bind 127.0.0.1:8080
    filter spoe engine one config spoe.conf
    filter spoe engine two config spoe.conf
    default_backend agents-http
backend agents-http
    server s 127.0.0.1:8000
backend agents
    mode tcp
    server a 127.0.0.1:9000
"""
ENGINE = """\
[{name}]
spoe-agent {name}
    messages m-{name}
    timeout hello 1s
    timeout idle 1s
    timeout processing 1s
    use-backend agents
spoe-message m-{name}
    event on-client-session
"""


@pytest.mark.parametrize(("file", "policy", "expected"), PATHS)
def test_haproxy_finds_spoe_conf_where_the_reader_does(tmp_path, monkeypatch, file, policy, expected):
    started_in = tmp_path / "start"
    (started_in / file).parent.mkdir(parents=True)
    (started_in / "etc").mkdir(exist_ok=True)
    (started_in / file).write_text(TWICE.format(policy=policy))
    monkeypatch.chdir(started_in)
    found = [each.path for each in read([Path(file)], Sources(), {}, Path()).filters]
    assert [path.resolve() for path in found] == [(started_in / path).resolve() for path in expected]
    for path, name in zip(found, ("one", "two"), strict=True):
        with path.open("a") as spoe:
            spoe.write(ENGINE.format(name=name))
    command = [generations.find("3.2").program, "-c", "-f", file]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr
    found[0].unlink()  # only there does HAProxy look for it
    assert subprocess.run(command, capture_output=True, timeout=20, check=False).returncode != 0


def test_an_absolute_path_is_taken_as_it_is():
    assert config("frontend f\n filter spoe config /etc/spoe.conf\n", started_in=Path("/run")).filters[0].path == Path(
        "/etc/spoe.conf"
    )
