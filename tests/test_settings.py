"""Settings: what may be said, where, and what a person is told who said something else."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spoe_guard.core.address import Address
from spoe_guard.core.anomalies import CATALOGUE, Action, Anomaly, Side
from spoe_guard.core.config import SessionConfig
from spoe_guard.settings import Loaded, hello_changes, load, session_config, units, warnings
from spoe_guard.settings.layers import ENVIRONMENT_PREFIX, FLAGS
from spoe_guard.settings.problems import dotted

EXAMPLE = Path(__file__).parent.parent / "config" / "spoe-guard.yaml"

# design.md, "Settings (YAML)", word for word
DESIGN = """
mode: enforce                  # enforce | observe
on_internal_error: close       # close | splice
workers: 1                     # processes; 0 = one per core
routes:
  - name: default              # metric label
    listen: 127.0.0.1:12345
    agent: 127.0.0.1:9000
    hello:
      max_frame_size: null     # bytes; clamp what HAProxy offers to this agent
      capabilities: [pipelining]   # what may be negotiated; the rest is removed from both HELLOs
      engine_id: null          # sent to the agent when HAProxy names none
    disconnect_hold: 500ms     # how long AGENT-DISCONNECT may wait for ACKs of open NOTIFYs
    unanswered: leave          # leave | empty-ack : what HAProxy gets for a NOTIFY the agent will never answer
    answer_deadline: null      # duration; a NOTIFY open longer counts as unanswered (set it under HAProxy's timeout processing)
    timeouts: {connect: 1s, hello: 2s, frame: 2s, idle: 10m, close: 1s}
    limits: {connections: 4096, open_notifies: 65536, held_bytes: 1048576}
    links: {max: 1, in_flight: 0, retire: null, give_up: 5s}   # agent links per session (continuity)
    redispatch: unsent       # off | unsent | unanswered (continuity)
    policy: {}                 # anomaly: action, where it differs from the catalogue's default
admin: {listen: 127.0.0.1:9464}
log: {format: json, level: info, anomaly_rate: 10/s}
"""


@pytest.fixture
def from_yaml(tmp_path):
    def read(text: str, environ: dict[str, str] | None = None, flags: dict[str, object] | None = None) -> Loaded:
        file = tmp_path / "guard.yaml"
        file.write_text(text)
        return load(file, environ, flags)

    return read


# --- keys and defaults -----------------------------------------------------------------------------


def test_defaults_are_designs(from_yaml):
    assert from_yaml(DESIGN).settings == load().settings


def test_every_key_of_design_is_a_key_and_there_are_no_others(from_yaml):
    said = {key for key, _value, origin in from_yaml(DESIGN).rows() if origin != "default"}
    assert said == {key for key, _value, _origin in load().rows()}


def test_the_example_file_is_exactly_the_defaults_and_says_every_key(from_yaml):
    loaded = from_yaml(EXAMPLE.read_text())
    assert loaded.settings == load().settings
    assert [key for key, _value, origin in loaded.rows() if origin == "default"] == []


def test_every_key_of_the_example_file_has_a_comment():
    keys = [line.strip() for line in EXAMPLE.read_text().splitlines() if re.match(r"\s*(- )?\w+: \S", line)]
    # `links` is explained as a whole, `policy` by the table above it
    assert [line for line in keys if "#" not in line] == ["max: 1", "give_up: 5s", "policy: {}"]


def test_the_example_file_lists_the_catalogue():
    expected = [f"    #   {'anomaly':<24}{'default':<9}may be"]
    for anomaly, row in CATALOGUE.items():
        also = ", ".join(action.value for action in Action if action in row.allowed and action is not row.default) or "-"
        notes = [f"from HAProxy's side always {row.haproxy_default.value}"] if row.haproxy_default is not row.default else []
        notes += [] if row.detected else ["not looked for in this version"]
        expected.append(f"    #   {anomaly.value:<24}{row.default.value:<9}{also}" + (f" ({'; '.join(notes)})" if notes else ""))
    table = EXAMPLE.read_text().split("These there are:\n    #\n")[1].split("    policy:")[0]
    assert table.splitlines() == expected, "the catalogue has changed: put these lines in:\n" + "\n".join(expected)


def test_defaults_are_the_cores(from_yaml):
    settings = load().settings
    ours, core = session_config(settings, settings.routes[0]), SessionConfig()
    names = [name for name in SessionConfig.__slots__ if name != "policy"]
    assert {name: getattr(ours, name) for name in names} == {name: getattr(core, name) for name in names}
    assert all(ours.policy.action(side, anomaly) is core.policy.action(side, anomaly) for side in Side for anomaly in Anomaly)


def test_every_setting_of_a_session_reaches_it(from_yaml):
    loaded = from_yaml(
        """
        mode: observe
        routes:
          - hello: {max_frame_size: 4k, capabilities: [async, fragmentation], engine_id: guard-1}
            disconnect_hold: 250ms
            unanswered: empty-ack
            answer_deadline: 15ms
            timeouts: {connect: 100us, hello: 3s, frame: 4, idle: 1h, close: 2d}
            limits: {connections: 7, open_notifies: 8, held_bytes: 2m}
            policy: {unmatched_ack: pass, runt_frame: close}
        """
    )
    config = session_config(loaded.settings, loaded.settings.routes[0])
    policy = config.policy
    assert config == SessionConfig(
        observe=True,
        policy=policy,
        max_frame_size=4096,
        capabilities=frozenset(("async", "fragmentation")),
        engine_id="guard-1",
        disconnect_hold_s=0.25,
        answer_unanswered=True,
        answer_deadline_s=0.015,
        connect_s=0.0001,
        hello_s=3.0,
        frame_s=0.004,
        idle_s=3600.0,
        close_s=172800.0,
        open_notifies=8,
        held_bytes=2097152,
    )
    assert policy.action(Side.AGENT, Anomaly.UNMATCHED_ACK) is Action.PASS
    assert policy.action(Side.AGENT, Anomaly.RUNT_FRAME) is Action.CLOSE
    assert policy.action(Side.AGENT, Anomaly.OVERSIZE_FRAME) is Action.DROP
    assert loaded.settings.routes[0].limits.connections == 7


# --- layers --------------------------------------------------------------------------------------------


def test_flags_win_over_the_environment_it_over_the_file_and_it_over_defaults(from_yaml):
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
    assert (second.name, second.listen, second.agent) == ("b", Address("127.0.0.1", 7), Address("::1", 9))


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
            environ[name] = value.strip("[]")
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


def test_a_word_that_old_yaml_takes_for_a_truth_value_is_a_word(from_yaml):
    assert from_yaml("routes: [{redispatch: off, name: on}]").settings.routes[0].redispatch == "off"


def test_anchors_save_typing(from_yaml):
    text = "routes:\n- {name: a, listen: 127.0.0.1:1, timeouts: &t {hello: 9s}}\n- {name: b, listen: 127.0.0.1:2, timeouts: *t}"
    assert [route.timeouts.hello for route in from_yaml(text).settings.routes] == [9.0, 9.0]


# --- units -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1us", 1e-6),
        ("500ms", 0.5),
        ("2s", 2),
        ("10m", 600),
        ("1h", 3600),
        ("24d", 24 * 86400),
        ("250", 0.25),
        (250, 0.25),
        ("0", 0),
    ],
)
def test_durations_are_haproxys(text, seconds):
    assert units.duration(text) == pytest.approx(seconds, rel=1e-12)


@pytest.mark.parametrize(("text", "size"), [("256", 256), (256, 256), ("64k", 65536), ("64K", 65536), ("1m", 1048576)])
def test_sizes_are_haproxys(text, size):
    assert units.size(text) == size


@given(st.integers(0, 24 * 86400 * 10**6))
def test_a_duration_is_written_as_it_is_read(microseconds):
    seconds = microseconds / 10**6
    assert units.duration(units.duration_text(seconds)) == pytest.approx(seconds, abs=1e-7)


@given(st.integers(1, 10**9 - 1), st.sampled_from("smh"))
def test_a_rate_is_written_as_it_is_read(lines, unit):
    assert str(units.rate(f"{lines}/{unit}")) == f"{lines}/{unit}"


# --- what check says beside --------------------------------------------------------------------------------


def test_changes_of_hello_are_said(from_yaml):
    default = load().settings
    assert hello_changes(default, default.routes[0]) == [
        "capabilities: all but pipelining removed from both HELLOs",
        "max-frame-size: 1048572 in HAPROXY-HELLO where HAProxy offers more",
    ]
    text = "routes: [{hello: {capabilities: [], max_frame_size: 8k, engine_id: e}}]"
    settings = from_yaml(text).settings
    assert hello_changes(settings, settings.routes[0]) == [
        "capabilities: all removed from both HELLOs",
        "max-frame-size: 8192 in HAPROXY-HELLO where HAProxy offers more",
        "engine-id: e in HAPROXY-HELLO where HAProxy names none",
    ]
    observing = from_yaml("mode: observe").settings
    assert hello_changes(observing, observing.routes[0]) == ["none: in observe mode not a byte is changed"]


def test_what_has_no_effect_is_said(from_yaml):
    unseen = next(anomaly for anomaly, row in CATALOGUE.items() if not row.detected)
    action = next(iter(CATALOGUE[unseen].allowed)).value
    policy = f"{{{unseen.value}: {action}, runt_frame: close}}"
    text = f"routes: [{{redispatch: off, hello: {{capabilities: [async]}}, policy: {policy}}}]"
    assert warnings(from_yaml(text).settings) == [
        f"routes[0].policy.{unseen.value}: no effect, this version does not look for it",
        "routes[0].hello.capabilities: async: an ACK on another connection than its NOTIFY's is dropped",
    ]
    assert warnings(load().settings) == ["routes[0].redispatch: no effect, this version has one agent link per session"]
