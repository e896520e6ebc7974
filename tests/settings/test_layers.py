"""The sources of settings, their precedence, and the message for a source that cannot be read."""

import os
import socket
from pathlib import Path

import pytest

from spoe_guard.address import Address
from spoe_guard.core.terms.anomalies import Action, Anomaly
from spoe_guard.settings import ConfigError, load
from spoe_guard.settings.layers import ENVIRONMENT_PREFIX, FLAGS
from spoe_guard.settings.model import Settings
from spoe_guard.settings.problems import dotted


def told_without_a_file(environ: dict[str, str] | None = None, flags: dict[str, object] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as error:
        load(None, environ, flags)
    return [str(problem) for problem in error.value.problems]


def test_flags_beat_the_environment_which_beats_the_file_and_defaults(from_yaml):
    text = "mode: observe\nlog: {level: error, format: console}\nadmin: {listen: 127.0.0.1:1}"
    environ = {"SPOE_GUARD_LOG__LEVEL": "warning", "SPOE_GUARD_ADMIN__LISTEN": "127.0.0.1:2", "PATH": "/bin"}
    loaded = from_yaml(text, environ, {"--admin": "127.0.0.1:3", "--mode": None})
    origins = {key: (value, origin.rpartition("/")[2]) for key, value, origin in loaded.rows()}
    assert origins["workers"] == ("1", "default")
    assert origins["mode"] == ("observe", "guard.yaml:1")
    assert origins["log.format"] == ("console", "guard.yaml:2")
    assert origins["log.level"] == ("warning", "environment SPOE_GUARD_LOG__LEVEL")
    assert origins["admin.listen"] == ("127.0.0.1:3", "flag --admin")


def test_layers_meet_inside_one_route(from_yaml):
    text = "routes:\n- name: a\n  timeouts: {hello: 7s}\n- name: b\n  listen: 127.0.0.1:7"
    environ = {"SPOE_GUARD_ROUTES__0__TIMEOUTS__IDLE": "8s", "SPOE_GUARD_ROUTES__1__AGENT": "[::1]:9"}
    first, second = from_yaml(text, environ).settings.routes
    assert (first.name, first.timeouts.hello, first.timeouts.idle, first.timeouts.close) == ("a", 7.0, 8.0, 1.0)
    assert (second.name, second.listen, second.agent) == ("b", Address("127.0.0.1", 7), (Address("::1", 9),))


def test_routes_can_be_given_by_the_environment_alone():
    environ = {
        "SPOE_GUARD_ROUTES__0__LISTEN": "127.0.0.1:1",
        "SPOE_GUARD_ROUTES__1__LISTEN": "unix@/run/guard.sock",
        "SPOE_GUARD_ROUTES__1__NAME": "second",
        "SPOE_GUARD_ROUTES__1__HELLO__CAPABILITIES": "pipelining, async",
        "SPOE_GUARD_ROUTES__1__POLICY__UNMATCHED_ACK": "close",
    }
    first, second = load(None, environ).settings.routes
    assert (first.name, first.listen) == ("default", Address("127.0.0.1", 1))
    assert (second.name, second.listen) == ("second", Address(path="/run/guard.sock"))
    assert second.hello.capabilities == ("pipelining", "async")
    assert second.choices() == {Anomaly.UNMATCHED_ACK: Action.CLOSE}


def test_every_key_can_be_given_by_the_environment():
    """Each with its default: what is no key is refused, so all of these are."""
    default = load()
    environ = {}
    for key, value, _origin in default.rows():
        name = ENVIRONMENT_PREFIX + key.replace("[", ".").replace("].", ".").replace(".", "__").upper()
        if value != "{}":
            environ[name] = value  # `[]` too: without the brackets it would be as good as not said
    loaded = load(None, environ)
    assert loaded.settings == default.settings
    assert {key for key, _value, origin in loaded.rows() if origin == "default"} == {"routes[0].policy"}


def test_every_flag_sets_its_key():
    values = {
        "--listen": "127.0.0.1:1",
        "--agent": "127.0.0.1:2",
        "--admin": "127.0.0.1:3",
        "--mode": "observe",
        "--workers": "1",
        "--log-format": "console",
        "--log-level": "debug",
    }
    assert values.keys() == FLAGS.keys()
    rows = {key: (value, origin) for key, value, origin in load(None, {}, values).rows()}
    assert {flag: rows[dotted(key)] for flag, key in FLAGS.items()} == {
        flag: (value, f"flag {flag}") for flag, value in values.items()
    }


def test_null_in_the_environment_is_null_and_an_empty_variable_is_none(from_yaml):
    text = "admin: {listen: 127.0.0.1:1}\nroutes: [{answer_deadline: 5s}]"
    environ = {"SPOE_GUARD_ADMIN__LISTEN": "null", "SPOE_GUARD_ROUTES__0__ANSWER_DEADLINE": ""}
    settings = from_yaml(text, environ).settings
    assert settings.admin.listen is None
    assert settings.routes[0].answer_deadline == 5.0


def test_what_kubernetes_says_of_a_service_is_no_setting():
    """A Service called spoe-guard puts these into every container of its namespace, the guard's own too."""
    environ = {
        "SPOE_GUARD_SERVICE_HOST": "10.0.0.1",
        "SPOE_GUARD_SERVICE_PORT": "12345",
        "SPOE_GUARD_SERVICE_PORT_SPOP": "12345",
        "SPOE_GUARD_PORT": "tcp://10.0.0.1:12345",
        "SPOE_GUARD_PORT_12345_TCP": "tcp://10.0.0.1:12345",
        "SPOE_GUARD_PORT_12345_TCP_ADDR": "10.0.0.1",
        "SPOE_GUARD_PORT_12345_TCP_PORT": "12345",
        "SPOE_GUARD_PORT_12345_TCP_PROTO": "tcp",
        "SPOE_GUARD_ADMIN_SERVICE_HOST": "10.0.0.2",
        "SPOE_GUARD_ADMIN_PORT_9464_TCP": "tcp://10.0.0.2:9464",
    }
    assert load(None, environ).settings == load().settings


def test_an_empty_file_and_empty_sections_are_the_defaults(from_yaml):
    assert from_yaml("").settings == from_yaml("# nothing\n").settings == load().settings
    assert from_yaml("log:\nadmin:\nroutes:\n - timeouts:\n   policy:\n").settings == load().settings


def test_a_truth_word_of_old_yaml_stays_a_word(from_yaml):
    assert from_yaml("routes: [{redispatch: off, name: on}]").settings.routes[0].redispatch == "off"


ALIASES = "x0: &x0 [a, a]\n" + "".join(f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 10)}]\n" for n in range(1, 12))


@pytest.mark.parametrize(
    ("text", "where", "name"),
    [
        ("routes:\n- {name: a, timeouts: &t {hello: 9s}}\n- {name: b, timeouts: *t}", "3:23", "t"),
        ("log: &log {level: error}\nadmin: {<<: *log}", "2:13", "log"),
        ("log: &log [*log]", "1:12", "log"),
        (ALIASES, "2:10", "x0"),  # 10^11 values, if they were written out
    ],
    ids=["alias", "merge key", "of itself", "of aliases"],
)
def test_an_alias_is_refused_in_one_line(problems, text, where, name):
    assert problems(text) == [f"--config: 'FILE:{where}': *{name} is an alias; write the value out"]


def test_an_anchor_without_an_alias_is_harmless(from_yaml):
    assert from_yaml("log: &log {level: error}").settings.log.level == "error"


def test_a_file_that_cannot_be_read_is_told_with_the_systems_word(tmp_path):
    for path, word in ((tmp_path / "no.yaml", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(ConfigError) as error:
            load(path)
        assert [str(problem) for problem in error.value.problems] == [f"--config: {str(path)!r}: cannot be read: {word}"]


def test_what_is_no_regular_file_is_told_and_never_opened(tmp_path):
    """A pipe without a writer would hang there for ever, and a device may do anything."""
    pipe, at = tmp_path / "pipe", tmp_path / "socket"
    os.mkfifo(pipe)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(at))
        for path, kind in ((pipe, "a pipe"), (at, "a socket"), (Path(os.devnull), "a device")):
            with pytest.raises(ConfigError) as error:
                load(path)
            fault = f"--config: {str(path)!r}: cannot be read: it is {kind}, not a regular file"
            assert [str(problem) for problem in error.value.problems] == [fault]


def test_a_file_one_may_not_read_is_told(tmp_path):
    file = tmp_path / "secret.yaml"
    file.touch(mode=0)
    was = os.geteuid()
    if was == 0:  # root may read everything: be nobody for a moment
        os.seteuid(65534)
    try:
        with pytest.raises(ConfigError) as error:
            load(file)
    finally:
        os.seteuid(was)
    assert [str(problem) for problem in error.value.problems] == [f"--config: {str(file)!r}: cannot be read: Permission denied"]


def test_a_gap_in_the_routes_is_told():
    told = told_without_a_file({"SPOE_GUARD_ROUTES__2__LISTEN": "a:1"})
    assert len(told) == 1
    assert told[0].endswith("routes[0] is missing: they are numbered from 0 without a gap")


def test_a_variable_that_is_no_setting_is_told():
    assert told_without_a_file({"SPOE_GUARD_PORTS": "1"}) == [
        f"ports: '1' (environment SPOE_GUARD_PORTS): unknown key; allowed: {', '.join(Settings.model_fields)}"
    ]


def test_a_variable_for_a_section_and_for_its_key_is_reported():
    assert told_without_a_file({"SPOE_GUARD_LOG": "debug", "SPOE_GUARD_LOG__LEVEL": "debug"}) == [
        "log: 'debug' (environment SPOE_GUARD_LOG): expected keys below it, since there is environment SPOE_GUARD_LOG__LEVEL"
    ]
    assert told_without_a_file({"SPOE_GUARD_LOG": "debug"}) == [
        "log: 'debug' (environment SPOE_GUARD_LOG): expected keys below it: format, level, payload, rate, unique_id"
    ]


@pytest.mark.parametrize("flag", ["--listen", "--agent"])
def test_a_flag_that_could_mean_several_routes_is_refused(problems, flag):
    text = "routes: [{name: a, listen: a:1}, {name: b, listen: a:2}]"
    assert problems(text, {}, {flag: "a:3"}) == [f"{flag}: 'a:3': there are 2 routes; set theirs in the file"]
