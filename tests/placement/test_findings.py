"""From HAProxy's files to an engine with its agent, backend and servers; and the one error where something is missing."""

from pathlib import Path

import pytest

from spoe_guard.address import Address, parse
from spoe_guard.haproxy_config.source import Sources
from spoe_guard.placement.findings import PlacementError, Request, address_of, find_all, find_one
from tests.placement.files import AGENT, HAPROXY, MAIN, SPOE, found, in_memory, sources


def main(**parts: str) -> str:
    return MAIN.format(**{"globals": "", "rules": "", "backend": "", "servers": "server a 127.0.0.1:9000"} | parts)


def agent(text: str = "timeout processing 1s") -> str:
    return AGENT.format(agent=text, message="event on-client-session")


def refused(texts: dict[Path, str], **asked: object) -> str:
    with pytest.raises(PlacementError) as error:
        find_one(Request(**{"haproxy": (HAPROXY,)} | asked), in_memory(texts), {})
    return str(error.value)


def test_a_file_that_is_missing_is_named(tmp_path):
    with pytest.raises(PlacementError) as error:
        find_one(Request((tmp_path / "no.cfg",)), Sources(), {})
    assert str(error.value) == f"--haproxy: '{tmp_path}/no.cfg': cannot be read: No such file or directory"


def test_without_a_filter_there_is_no_engine():
    expected = "--haproxy: no `filter spoe` in haproxy.cfg; name the file that has it, too"
    assert refused({HAPROXY: "backend b\n"}) == expected


def test_a_missing_spoe_conf_is_named_with_the_line_that_names_it(tmp_path):
    (tmp_path / "haproxy.cfg").write_text("frontend f\n filter spoe engine e config gone.conf\n")
    with pytest.raises(PlacementError) as error:
        find_one(Request((tmp_path / "haproxy.cfg",), started_in=tmp_path), Sources(), {})
    assert str(error.value) == (
        f"{tmp_path}/haproxy.cfg:2: config '{tmp_path}/gone.conf': cannot be read: No such file or directory; "
        "HAProxy looks for it where it is started; name the file with --spoe"
    )
    with pytest.raises(PlacementError) as error:
        find_one(Request((tmp_path / "haproxy.cfg",), spoe=tmp_path / "no.conf"), Sources(), {})
    assert str(error.value) == f"--spoe: '{tmp_path}/no.conf': cannot be read: No such file or directory"


TWO = "frontend f\n filter spoe engine a config one\n filter spoe engine b config one\n"


def test_of_several_engines_one_is_to_be_chosen():
    texts = {HAPROXY: TWO, Path("one"): ""}
    assert refused(texts) == "there are 2 engines, a (haproxy.cfg:2), b (haproxy.cfg:3): choose one with --engine NAME"
    assert refused(texts, engine="c") == "--engine: 'c': the files have a, b"


def test_of_one_name_in_several_files_the_file_is_to_be_chosen():
    text = "frontend f\n filter spoe engine a config one\nfrontend g\n filter spoe engine a config two\n"
    spoe = "[a]\nspoe-agent {0}\n use-backend agents\n"
    texts = {HAPROXY: text + "backend agents\n server s h:1\n", Path("one"): spoe.format("x"), Path("two"): spoe.format("y")}
    assert refused(texts) == "there are 2 engines, a (haproxy.cfg:2), a (haproxy.cfg:4): choose one with --spoe FILE"
    [engine] = find_one(Request((HAPROXY,), spoe=Path("two")), in_memory(texts), {}).engines
    assert engine.agent.name == "y"
    assert [str(each.statement.place) for each in engine.filters] == ["haproxy.cfg:4"]


def test_a_given_spoe_conf_is_read_in_place_of_the_named_one():
    other = Path("elsewhere/spoe.conf")
    [engine] = find_one(Request((HAPROXY,), spoe=other), in_memory({HAPROXY: main(), other: agent()}), {}).engines
    assert str(engine.agent.heading.place) == "elsewhere/spoe.conf:2"


def test_a_given_spoe_conf_tells_the_engine_that_it_holds():
    texts = {HAPROXY: TWO + "backend agents\n server s h:1\n", SPOE: "[b]\nspoe-agent y\n use-backend agents\n"}
    [engine] = find_one(Request((HAPROXY,), spoe=SPOE), in_memory(texts), {}).engines
    assert engine.name == "b"


def test_an_engine_without_an_agent_says_where_it_belongs():
    texts = {HAPROXY: main(), SPOE: "spoe-agent x\n[other]\nspoe-agent y\n"}
    assert refused(texts) == "spoe.conf: engine check has no spoe-agent in [check]; the file has no scope, [other]"
    assert refused({HAPROXY: main(), SPOE: ""}) == "spoe.conf: engine check has no spoe-agent in [check]; the file has nothing"


@pytest.mark.parametrize(
    ("spoe", "error"),
    [
        ("[check]\nspoe-agent a\n", "spoe.conf:2: spoe-agent a: no `use-backend`"),
        (
            '[check]\nspoe-agent a\n use-backend "$NONE"\n',
            "spoe.conf:3: spoe-agent a: NONE is not set in this environment",
        ),
        (
            "[check]\nspoe-agent a\n.if x\n use-backend agents\n.endif\n",
            "spoe.conf:4: spoe-agent a: depends on the `.if` at spoe.conf:3",
        ),
        ("[check]\n.if x\nspoe-agent a\n.endif\n", "spoe.conf:3: spoe-agent a depends on the `.if` at spoe.conf:2"),
        (
            "[check]\nspoe-agent a\n use-backend other\n",
            (
                "spoe.conf:3: use-backend other: there is no such backend in haproxy.cfg; "
                "name the file that has it with --haproxy, too"
            ),
        ),
    ],
)
def test_an_agent_whose_backend_is_not_known_is_refused(spoe, error):
    assert refused({HAPROXY: main(), SPOE: spoe}) == error


def test_a_backend_that_may_be_one_of_two_is_refused():
    twice = main() + ".if x\nbackend other\n server b h:1\n.else\nbackend other\n server c h:1\n.endif\n"
    spoe = "[check]\nspoe-agent a\n use-backend other\n"
    assert refused({HAPROXY: twice, SPOE: spoe}) == (
        "spoe.conf:3: use-backend other: it depends on an `.if` which backend that is: haproxy.cfg:11, haproxy.cfg:14"
    )
    assert refused({HAPROXY: main() + "backend agents\n", SPOE: agent()}) == (
        "spoe.conf:6: use-backend agents: it is there twice: haproxy.cfg:6, haproxy.cfg:10"
    )


def test_all_engines_are_found_and_those_that_cannot_be_followed_are_said():
    text = "frontend f\n filter spoe engine a config one\n filter spoe engine b config one\nbackend agents\n server s h:1\n"
    texts = {HAPROXY: text, Path("one"): "[a]\nspoe-agent x\n use-backend agents\n"}
    every = find_all(Request((HAPROXY,)), in_memory(texts), {})
    assert [engine.name for engine in every.engines] == ["a"]
    assert every.failed == ["one: engine b has no spoe-agent in [b]; the file has [a]"]


# --- values ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "seconds", "why"),
    [
        ("timeout processing 500ms", 0.5, ""),
        ("timeout processing 2000", 2.0, ""),
        ("timeout processing 9s\n timeout processing 1s", 1.0, ""),  # the last one counts
        ("timeout processing 0", None, ""),  # without end
        ("", None, ""),
        ("timeout processing 1.5s", None, "expected a whole number and a unit, us, ms, s, m, h or d"),
        ("timeout processing", None, "expected a whole number and a unit"),
        ('timeout processing "$NONE"', None, "NONE is not set in this environment"),
        (".if x\n timeout processing 1s\n.endif", None, "depends on the `.if` at spoe.conf:5"),
    ],
)
def test_a_timeout_is_what_its_last_line_says(line, seconds, why):
    said = found(sources(agent=line)).timeout("processing")
    assert said.value == seconds
    assert said.why.startswith(why)
    assert bool(said.why) == bool(why)


def test_the_longest_frame_follows_from_the_buffer_or_is_the_agents_own():
    assert found(sources()).max_frame_size().value == 16380
    assert found(sources(globals_="tune.bufsize 65536")).max_frame_size().value == 65532
    assert found(sources(globals_="tune.bufsize 64k")).max_frame_size().value == 65532
    assert found(sources(globals_="tune.bufsize much")).max_frame_size().why.startswith("expected a whole number of bytes")
    assert found(sources(globals_="tune.bufsize 65536", agent="max-frame-size 8192")).max_frame_size().value == 8192


@pytest.mark.parametrize(
    ("mode", "version", "from_3_1"),
    [("mode tcp", None, None), ("mode spop", None, True), ("mode tcp", (3, 1), True), ("mode tcp", (3, 0), False)],
)
def test_mode_spop_or_what_is_given_tells_haproxy_3_1(mode, version, from_3_1):
    assert found(sources(backend=mode), version=version).from_3_1 is from_3_1


# --- addresses ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:9000", "127.0.0.1:9000"),
        ("agent.example:9000", "agent.example:9000"),
        ("ipv4@127.0.0.1:9000", "127.0.0.1:9000"),
        ("tcp6@[::1]:9000", "[::1]:9000"),
        ("stream+ipv6@::1:9000", "[::1]:9000"),
        ("::1:9000", "[::1]:9000"),
        ("mptcp@h:1", "h:1"),
        ("unix@/run/a.sock", "unix:/run/a.sock"),
        ("uxst@/run/a.sock", "unix:/run/a.sock"),
        ("stream+unix@/run/a.sock", "unix:/run/a.sock"),
        ("/run/a.sock", "unix:/run/a.sock"),
    ],
)
def test_an_address_in_haproxys_words_is_the_guards(text, expected):
    assert address_of(text) == parse(expected)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it names no port of its own"),
        ("127.0.0.1", "it names no port of its own"),
        ("[::1]", "it names no port of its own"),
        ("h:", "it names no port of its own"),
        ("h:0", "it names no port of its own"),
        ("h:+1", "it names no port of its own"),
        ("h:-1", "it names no port of its own"),
        ("h:65536", "the port must be a number from 0 to 65535"),
        (":9000", "it names no host"),
        ("*:9000", "it names no host"),
        ("0.0.0.0:9000", "it names no host"),
        ("[::]:9000", "it names no host"),
        ("abns@x", "the guard dials TCP and Unix sockets alone"),
        ("fd@3", "the guard dials TCP and Unix sockets alone"),
        ("rhttp@", "the guard dials TCP and Unix sockets alone"),
        ("quic4@h:1", "the guard dials TCP and Unix sockets alone"),
        ("dgram+unix@/x", "the guard dials TCP and Unix sockets alone"),
        ("unix@run/x", "the path of its Unix socket is relative"),
        ("/" + "x" * 107, "a Unix socket's path has at most 107 bytes"),
    ],
)
def test_an_address_that_the_guard_cannot_dial_is_refused(text, why):
    with pytest.raises(ValueError) as error:
        address_of(text)
    assert str(error.value) == why


def test_haproxys_chroot_is_where_its_unix_sockets_are():
    engine = found(sources(globals_="chroot /var/lib/haproxy/", servers="server a /run/a.sock"))
    assert engine.address(engine.servers[0]) == Address(path="/var/lib/haproxy/run/a.sock")
    assert engine.in_haproxys_words(Address(path="/var/lib/haproxy/run/g.sock")) == "unix@/run/g.sock"
    with pytest.raises(ValueError) as error:
        engine.in_haproxys_words(Address(path="/run/g.sock"))
    assert str(error.value) == "HAProxy runs in a chroot (haproxy.cfg:2) and reaches no Unix socket outside of it"
    assert engine.in_haproxys_words(Address("::1", 9)) == "[::1]:9"


@pytest.mark.parametrize(
    ("chroot", "why"),
    [
        ("chroot auto", "(haproxy.cfg:2): no absolute path"),
        (".if x\n chroot /x\n.endif", "(haproxy.cfg:3): depends on the `.if` at"),
    ],
)
def test_a_chroot_that_is_not_known_hides_unix_sockets_and_nothing_else(chroot, why):
    engine = found(sources(globals_=chroot, servers="server a /run/a.sock\n server b 10.0.0.1:9"))
    with pytest.raises(ValueError, match="its path begins in HAProxy's chroot") as error:
        engine.address(engine.servers[0])
    assert why in str(error.value)
    assert engine.address(engine.servers[1]) == Address("10.0.0.1", 9)
    with pytest.raises(ValueError, match="HAProxy runs in a chroot"):
        engine.in_haproxys_words(Address(path="/run/g.sock"))
