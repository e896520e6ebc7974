"""Keys, defaults and units: operators rely on them, and the example file and core agree with them."""

import json
import re
from pathlib import Path

import pytest

from spoe_guard.address import Address
from spoe_guard.core.terms.anomalies import CATALOGUE, Action, Anomaly, Side
from spoe_guard.core.terms.config import Redispatch, SessionConfig, Unanswered
from spoe_guard.settings import Settings, load, session_config

EXAMPLE = Path(__file__).parents[2] / "config" / "spoe-guard.yaml"

# Keys and defaults, word for word: a change here is one for operators.
RELIED_ON = """
mode: enforce                  # enforce | observe
on_internal_error: close       # close | splice
workers: 1                     # processes; 0 = one per core
routes:
  - name: default              # metric label
    listen: 127.0.0.1:12345
    agent: 127.0.0.1:9000
    balance: first             # first | least-open | round-robin
    hello:
      max_frame_size: null     # bytes; clamp what HAProxy offers to this agent
      capabilities: [pipelining]   # what may be negotiated; the rest is removed from both HELLOs
      engine_id: null          # sent to the agent when HAProxy names none
    disconnect_hold: 500ms     # how long AGENT-DISCONNECT may wait for ACKs of open NOTIFYs
    unanswered: tell           # tell | {set: NAME} | empty-ack | leave : what HAProxy gets for a NOTIFY without an answer
    answer_deadline: null      # duration; a NOTIFY open longer counts as unanswered (set it under HAProxy's timeout processing)
    timeouts: {connect: 1s, hello: null, frame: 2s, idle: 10m, close: 1s}
    limits: {connections: 4096, open_notifies: 65536, held_bytes: 1048576, glitches: 1000/m}
    links: {max: 1, in_flight: 0, retire: null, park: null, give_up: 5s}   # agent links per session (continuity)
    haproxy: {timeout_processing: null, timeout_hello: null, set_on_error: null}   # what spoe.conf says of this agent
    health: check              # check | listen : a plain TCP check fails while the agent is away
    proxy_protocol: refuse     # refuse | accept
    redispatch: unsent       # off | unsent | unanswered (continuity)
    policy: {}                 # anomaly: action, where it differs from the catalogue's default
admin: {listen: 127.0.0.1:9464}
log: {format: json, level: info, rate: 60/m}
"""


def test_defaults_are_those_that_operators_rely_on(from_yaml):
    assert from_yaml(RELIED_ON).settings == load().settings


CAPTURE = ("dir", "severity", "payload", "rate", "session_bytes", "total_bytes", "files", "files_bytes")
SOCKET = ("mode", "owner", "group")
PROFILE = ("profile", "always_offer", "keys")

# Not among them: agent profiles, the settings they are made of, what is shown of payloads, the flight recorder, Unix sockets,
# and what all routes keep together.
BESIDE = {
    "share_listen",
    "handover_dir",
    "payload",
    "admin.name",
    "admin.hosts",
    "admin.payload",
    "admin.control",
    "routes[0].mode",
    "log.payload",
    "log.unique_id",
    "limits.total_bytes",
    "routes[0].profile",
    *(f"capture.{name}" for name in CAPTURE),
    *(f"routes[0].hello.{name}" for name in PROFILE),
    *(f"routes[0].socket.{name}" for name in SOCKET),
}


def test_the_keys_are_those_operators_rely_on_and_no_others(from_yaml):
    message = {key for key, _value, origin in from_yaml(RELIED_ON).rows() if origin != "default"}
    assert message | BESIDE == {key for key, _value, _origin in load().rows()}
    assert not message & BESIDE


def test_the_example_file_is_exactly_the_defaults_and_says_every_key(from_yaml):
    loaded = from_yaml(EXAMPLE.read_text())
    assert loaded.settings == load().settings
    assert [key for key, _value, origin in loaded.rows() if origin == "default"] == []


def test_every_key_of_the_example_file_has_a_comment():
    keys = [line.strip() for line in EXAMPLE.read_text().splitlines() if re.match(r"\s*(- )?\w+: \S", line)]
    # `policy` is explained by the table above it
    assert [line for line in keys if "#" not in line] == ["policy: {}"]


def test_the_example_file_lists_the_catalogue():
    expected = [f"    #   {'anomaly':<24}{'default':<9}may be"]
    for anomaly, row in CATALOGUE.items():
        also = ", ".join(action.value for action in Action if action in row.allowed and action is not row.default) or "-"
        notes = [f"from HAProxy's side always {row.haproxy_default.value}"] if row.haproxy_default is not row.default else []
        if row.applet_default is not row.default:
            notes.append(f"towards HAProxy up to 3.0 by default {row.applet_default.value}")
        expected.append(f"    #   {anomaly.value:<24}{row.default.value:<9}{also}" + (f" ({'; '.join(notes)})" if notes else ""))
    table = EXAMPLE.read_text().split("These there are:\n    #\n")[1].split("    policy:")[0]
    assert table.splitlines() == expected, "the catalogue has changed: put these lines in:\n" + "\n".join(expected)


def test_defaults_are_the_cores(from_yaml):
    settings = load().settings
    # A session that is told nothing keeps no lost agent's place, and HAProxy out of it; the guard's own default is to do both.
    ours, core = session_config(settings, settings.routes[0]), SessionConfig(give_up_s=5.0, unanswered=Unanswered.TELL)
    names = [name for name in SessionConfig.__slots__ if name != "policy"]
    assert {name: getattr(ours, name) for name in names} == {name: getattr(core, name) for name in names}
    assert all(ours.policy.action(side, anomaly) is core.policy.action(side, anomaly) for side in Side for anomaly in Anomaly)


OF_A_SESSION = """
mode: observe
routes:
  - hello:
      max_frame_size: 4k
      capabilities: [async, fragmentation]
      always_offer: [pipelining]
      engine_id: guard-1
      keys: exact
    disconnect_hold: 250ms
    unanswered: {set: waf.error}
    answer_deadline: 15ms
    timeouts: {connect: 100us, hello: 3s, frame: 4, idle: 1h, close: 2d}
    limits: {connections: 7, open_notifies: 8, held_bytes: 2m, glitches: 5/s}
    links: {max: 9, in_flight: 2, retire: 25s, park: 14ms, give_up: 3500ms}
    redispatch: off
    policy: {unmatched_ack: pass, runt_frame: close}
"""
REST = """
workers: 3
share_listen: true
handover_dir: /run/guards
payload: full
on_internal_error: splice
routes:
  - {name: first, listen: unix:/run/first.sock, agent: [a:1, "unix:/run/a,b.sock"], balance: least-open, mode: observe}
  - {name: second, listen: "*:9", profile: coraza, haproxy: {timeout_processing: 1, timeout_hello: 50us, set_on_error: error}}
  - {name: third, listen: "[::1]:1", socket: {mode: "660", owner: 33, group: root}, proxy_protocol: accept}
limits: {total_bytes: 999m}
admin: {listen: unix:/run/admin.sock, name: here, control: unix:/run/control.sock, hosts: [guard.example]}
log: {format: console, level: debug, rate: 7/h, unique_id: unique-id}
capture: {dir: /var/captures, severity: info, rate: 1/s, session_bytes: 1k, total_bytes: 1m, files: 1, files_bytes: 1m}
"""


@pytest.mark.parametrize("text", [RELIED_ON, OF_A_SESSION, REST])
@pytest.mark.parametrize("without_defaults", [False, True])
def test_what_is_written_of_settings_is_read_as_the_same(from_yaml, text, without_defaults):
    """A worker is told its settings so."""
    settings = from_yaml(text).settings
    written = json.dumps(settings.model_dump(mode="json", exclude_defaults=without_defaults))
    assert Settings.model_validate(json.loads(written)) == settings


def test_every_setting_of_a_session_reaches_it(from_yaml):
    loaded = from_yaml(OF_A_SESSION)
    config = session_config(loaded.settings, loaded.settings.routes[0])
    policy = config.policy
    assert config == SessionConfig(
        observe=True,
        policy=policy,
        max_frame_size=4096,
        capabilities=frozenset(("async", "fragmentation")),
        always_offer=frozenset(("pipelining",)),
        engine_id="guard-1",
        exact_keys=True,
        disconnect_hold_s=0.25,
        unanswered=Unanswered.SET,
        error_name=b"waf.error",
        answer_deadline_s=0.015,
        park_s=0.014,
        connect_s=0.0001,
        hello_s=3.0,
        agent_hello_s=3.0,
        frame_s=0.004,
        idle_s=3600.0,
        close_s=172800.0,
        give_up_s=3.5,
        max_links=9,
        in_flight=2,
        retire_s=25.0,
        redispatch=Redispatch.OFF,
        open_notifies=8,
        held_bytes=2097152,
        glitches=5,
        glitches_s=1.0,
    )
    assert policy.action(Side.AGENT, Anomaly.UNMATCHED_ACK) is Action.PASS
    assert policy.action(Side.AGENT, Anomaly.RUNT_FRAME) is Action.CLOSE
    assert policy.action(Side.AGENT, Anomaly.OVERSIZE_FRAME) is Action.DROP
    assert loaded.settings.routes[0].limits.connections == 7


@pytest.mark.parametrize("written", ["tell", "empty-ack", "leave", "{set: error}"])
def test_what_haproxy_gets_for_a_notify_reaches_the_session(from_yaml, written):
    settings = from_yaml(f"routes: [{{unanswered: {written}}}]").settings
    config = session_config(settings, settings.routes[0])
    assert (config.unanswered.value, config.error_name) == (("set", b"error") if "set" in written else (written, b""))


@pytest.mark.parametrize(("anomaly", "action"), [(anomaly, action) for anomaly in Anomaly for action in Action])
def test_policy_takes_what_the_catalogue_allows_and_nothing_else(tmp_path, problems, anomaly, action):
    text = f"routes: [{{policy: {{{anomaly.value}: {action.value}}}}}]"
    allowed = CATALOGUE[anomaly].allowed
    if action in allowed:
        file = tmp_path / "guard.yaml"
        file.write_text(text)
        assert load(file).settings.routes[0].choices() == {anomaly: action}
    else:
        choices = ", ".join(each.value for each in Action if each in allowed)
        assert problems(text) == [f"routes[0].policy.{anomaly.value}: '{action.value}' (FILE:1): allowed: {choices}"]


@pytest.mark.parametrize("written", ["'a:1, [::1]:2'", "[a:1, '[::1]:2']"])
def test_an_agent_may_be_at_several_addresses(from_yaml, written):
    loaded = from_yaml(f"routes: [{{agent: {written}}}]")
    assert loaded.settings.routes[0].agent == (Address("a", 1), Address("::1", 2))
    assert ("routes[0].agent", "[a:1, [::1]:2]") in [(key, value) for key, value, _ in loaded.rows()]


def test_the_flag_and_the_environment_take_several_with_commas():
    both = (Address("a", 1), Address("b", 2))
    assert load(flags={"--agent": "a:1,b:2"}).settings.routes[0].agent == both
    assert load(environ={"SPOE_GUARD_ROUTES__0__AGENT": "a:1,b:2"}).settings.routes[0].agent == both


def test_a_unix_socket_path_may_have_a_comma_in_a_list(from_yaml):
    assert from_yaml("routes: [{agent: ['unix:/a,b']}]").settings.routes[0].agent == (Address(path="/a,b"),)


@pytest.mark.parametrize("written", ["'0660'", '"660"', "0660"])
def test_a_sockets_mode_is_octal_digits_as_they_are_written(from_yaml, written):
    assert from_yaml(f"routes: [{{socket: {{mode: {written}}}}}]").settings.routes[0].socket.mode == "0660"
    assert load(environ={"SPOE_GUARD_ROUTES__0__SOCKET__MODE": "0660"}).settings.routes[0].socket.mode == "0660"


@pytest.mark.parametrize("written", ["432", "660", "0o660", "'0888'", "'4660'", "'66'", "u=rw", "true", "[0, 6, 6, 0]"])
def test_a_mode_that_a_yaml_reader_may_have_changed_is_refused(problems, written):
    [message] = problems(f"routes: [{{socket: {{mode: {written}}}}}]")
    assert message.startswith("routes[0].socket.mode: ")
    assert message.endswith('(FILE:1): expected three octal digits in quotes, such as "0660"')


def test_a_sockets_owner_and_group_are_names_or_numbers(from_yaml):
    [route] = from_yaml("routes: [{socket: {owner: root, group: 12}}]").settings.routes
    assert (route.socket.owner, route.socket.group) == ("root", 12)
    [route] = load(environ={"SPOE_GUARD_ROUTES__0__SOCKET__OWNER": "4294967294"}).settings.routes
    assert (route.socket.owner, route.socket.group) == (4294967294, None)


@pytest.mark.parametrize("written", ["-1", "4294967295", "''", "'a b'", "a:b", "true", "[root]"])
def test_what_is_no_owner_is_refused(problems, written):
    for key in ("owner", "group"):
        [message] = problems(f"routes: [{{socket: {{{key}: {written}}}}}]")
        assert message.startswith(f"routes[0].socket.{key}: ")
        assert message.endswith("expected a name, or a number from 0 to 4294967294")


def test_links_are_told_to_the_sessions(from_yaml):
    text = "routes: [{links: {max: 20, in_flight: 1, retire: 25s, give_up: 0}, redispatch: unanswered}]"
    settings = from_yaml(text).settings
    config = session_config(settings, settings.routes[0])
    assert (config.max_links, config.in_flight, config.retire_s, config.give_up_s) == (20, 1, 25.0, 0.0)
    assert config.redispatch is Redispatch.UNANSWERED
    settings = load().settings
    config = session_config(settings, settings.routes[0])
    assert (config.max_links, config.in_flight, config.retire_s, config.give_up_s) == (1, 0, None, 5.0)
    assert config.redispatch is Redispatch.UNSENT


@pytest.mark.parametrize(
    ("key", "bounds"),
    [
        ("session_bytes", (1024, 16 * 1024 * 1024)),
        ("total_bytes", (64 * 1024, 2**32 - 1)),
        ("files", (1, 100_000)),
        ("files_bytes", (1024 * 1024, 1 << 40)),
    ],
)
def test_the_recorders_bounds_have_bounds(from_yaml, problems, key, bounds):
    low, high = bounds
    for value in bounds:
        assert getattr(from_yaml(f"capture: {{{key}: {value}}}").settings.capture, key) == value
    for value in (low - 1, high + 1):
        [message] = problems(f"capture: {{{key}: {value}}}")
        assert message.startswith(f"capture.{key}: ")


def test_the_recorders_folder_is_an_absolute_path(from_yaml, problems):
    assert from_yaml("capture: {dir: /var/lib/captures}").settings.capture.dir == "/var/lib/captures"
    for wrong in ("captures", "''", "[a]", "5"):
        [message] = problems(f"capture: {{dir: {wrong}}}")
        assert message.endswith("expected an absolute path")


def test_a_guard_has_a_name_that_a_window_can_show(from_yaml, problems):
    assert load().settings.admin.name is None
    for name in ("edge-1", "x" * 64):
        assert from_yaml(f"admin: {{name: {name}}}").settings.admin.name == name
    for wrong in ("''", "a b", "'<b>'", "x" * 65):
        [problem] = problems(f"admin: {{name: {wrong}}}")
        assert problem.startswith("admin.name: ")


@pytest.mark.parametrize("written", ["[Guard.Example., a_b]", "guard.example, a_b", "'[guard.example,a_b,guard.example]'"])
def test_names_of_the_admin_address_are_a_list_or_one_text(from_yaml, written):
    assert from_yaml(f"admin:\n  hosts: {written}").settings.admin.hosts == ("guard.example", "a_b")


@pytest.mark.parametrize("written", ["[http://guard.example]", "[guard.example:9464]", "['*']", "[a b]", "[.example]"])
def test_what_is_no_name_of_the_admin_address_is_refused(problems, written):
    [problem] = problems(f"admin: {{hosts: {written}}}")
    assert problem.startswith("admin.hosts: ")
    assert "expected a host name without scheme and port, as in guard.example" in problem
