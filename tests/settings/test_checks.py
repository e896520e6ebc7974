"""The warnings about settings that are allowed."""

import os

import pytest

from spoe_guard.settings import FAILS_OPEN, exposed, hello_changes, load, usable_cores, warnings
from tests.peers import need_root

NO_PIPELINING = (
    "capabilities: no pipelining in AGENT-HELLO for an HAProxy where sock_diag is not allowed, unless it offers async: "
    "what it has not read cannot be known"
)


def test_changes_of_hello_are_said(from_yaml):
    default = load().settings
    assert hello_changes(default, default.routes[0]) == [
        "capabilities: only pipelining kept in both HELLOs",
        "max-frame-size: 1048572 in HAPROXY-HELLO where HAProxy offers more",
        "max-frame-size: 12 less than HAProxy offers in both HELLOs, unless it offers async",
        NO_PIPELINING,
        "capabilities: fragmentation in AGENT-HELLO, the guard takes fragments of NOTIFYs itself where the agent does not",
        "keys: unknown ones removed from AGENT-HELLO",
        "max-frame-size: 256 in the AGENT-HELLO of a health check",
    ]
    text = "routes: [{hello: {capabilities: [], max_frame_size: 8k, always_offer: [pipelining], engine_id: e, keys: exact}}]"
    settings = from_yaml(text).settings
    assert hello_changes(settings, settings.routes[0]) == [
        "capabilities: none kept in both HELLOs",
        "max-frame-size: 8192 in HAPROXY-HELLO where HAProxy offers more",
        "max-frame-size: 12 less than HAProxy offers in both HELLOs, unless it offers async",
        "capabilities: pipelining added to HAPROXY-HELLO where HAProxy does not offer it",
        "engine-id: e in HAPROXY-HELLO where HAProxy names none",
        "keys: unknown ones removed from HAPROXY-HELLO, mistyped ones retyped",
        "capabilities: fragmentation in AGENT-HELLO, the guard takes fragments of NOTIFYs itself where the agent does not",
        "keys: unknown ones removed from AGENT-HELLO",
        "max-frame-size: 256 in the AGENT-HELLO of a health check",
    ]
    observing = from_yaml("mode: observe").settings
    assert hello_changes(observing, observing.routes[0]) == ["none: in observe mode not a byte is changed"]


@pytest.mark.parametrize(
    ("listen", "where"),
    [
        ("unix:/run/guard", ""),
        ("127.0.0.1:1", "where sock_diag is not allowed"),
        ("0.0.0.0:1", "on another machine or in another network namespace"),
        ("10.0.0.1:1", "on another machine or in another network namespace"),
    ],
)
def test_where_haproxy_may_not_pipeline_is_said(from_yaml, listen, where):
    settings = from_yaml(f"routes: [{{listen: '{listen}'}}]").settings
    told = [change for change in hello_changes(settings, settings.routes[0]) if change.startswith("capabilities: no pipelining")]
    rest = "unless it offers async: what it has not read cannot be known"
    assert told == ([f"capabilities: no pipelining in AGENT-HELLO for an HAProxy {where}, {rest}"] if where else [])


def test_what_has_no_effect_is_said(from_yaml):
    text = "routes: [{redispatch: off, hello: {capabilities: [async]}, policy: {runt_frame: close}, links: {max: 2}}]"
    assert warnings(from_yaml(text).settings) == [
        "routes[0].links.max: no effect, with links.in_flight 0 one link takes every NOTIFY and no second one is opened",
    ]
    assert warnings(load().settings) == []


@pytest.mark.parametrize("balance", ["first", "least-open", "round-robin"])
def test_one_address_cannot_be_balanced(from_yaml, balance):
    why = "no effect, agent names one address; name each of them, as in [a:9000, b:9000]"
    told = warnings(from_yaml(f"routes: [{{balance: {balance}}}]").settings)
    assert told == ([] if balance == "first" else [f"routes[0].balance: {why}"])
    assert warnings(from_yaml(f"routes: [{{agent: [a:1, b:1], balance: {balance}}}]").settings) == []


OPEN = "admin.payload: full, and whoever reaches admin.listen reads what NOTIFYs and ACKs with an anomaly carry"


@pytest.mark.parametrize(
    ("admin", "message"),
    [
        ("listen: 0.0.0.0:9464", []),
        ("listen: 10.0.0.1:9464, payload: full", [OPEN]),
        ("listen: 0.0.0.0:9464, payload: headers", []),
        ("listen: 0.0.0.0:9464, payload: off", []),
        ("listen: localhost:9464", []),
        ("listen: unix:/run/admin", []),
        ("listen: null", []),
    ],
)
def test_that_payloads_can_be_read_from_elsewhere_is_said(from_yaml, admin, message):
    assert warnings(from_yaml(f"admin: {{{admin}}}").settings) == message


WITHOUT_DEADLINE = (
    "redispatch: unanswered without answer_deadline may send a NOTIFY again that HAProxy waits for no longer; "
    "haproxy.timeout_processing sets both"
)


@pytest.mark.parametrize(
    ("route", "message"),
    [
        (
            "links: {max: 2}",
            ["links.max: no effect, with links.in_flight 0 one link takes every NOTIFY and no second one is opened"],
        ),
        ("links: {max: 2, in_flight: 1}", []),
        ("links: {retire: 10m}", ["links.retire: no effect, timeouts.idle ends the whole session before"]),
        ("links: {retire: 599s}", []),
        (
            "redispatch: unanswered, answer_deadline: 1s, links: {give_up: 0}",
            ["redispatch: no effect, with links.give_up 0 a session ends with its agent link"],
        ),
        (
            "redispatch: unanswered",
            [WITHOUT_DEADLINE],
        ),
        ("redispatch: unanswered, haproxy: {timeout_processing: 1s}", []),
        ("redispatch: unanswered, answer_deadline: 1s", []),
        ("links: {give_up: 0}", []),
    ],
)
def test_what_links_cannot_do_is_said(from_yaml, route, message):
    assert warnings(from_yaml(f"routes: [{{{route}}}]").settings) == [f"routes[0].{each}" for each in message]


HOLD = (
    "disconnect_hold: 500ms, HAProxy gives up before that (timeout processing {}); "
    "raise that in spoe.conf, or lower disconnect_hold"
)
CONNECT = "timeouts.connect: 1s, and HAProxy waits for HELLO for {} only: a dial may take longer than that"
TWO_ACKS = "policy.late_ack: pass, and with unanswered {} HAProxy gets two ACKs for one NOTIFY"


@pytest.mark.parametrize(
    ("route", "message"),
    [
        ("haproxy: {timeout_processing: 501ms}", []),
        ("haproxy: {timeout_processing: 500ms}", [HOLD.format("500ms")]),
        ("haproxy: {timeout_processing: 100ms}", [HOLD.format("100ms")]),
        ("haproxy: {timeout_processing: 100ms}, disconnect_hold: 50ms", []),
        ("haproxy: {timeout_hello: 1001ms}", []),
        ("haproxy: {timeout_hello: 1s}", [CONNECT.format("1s")]),
        ("haproxy: {timeout_hello: 100ms}, timeouts: {connect: 50ms}", []),
        ("haproxy: {timeout_processing: 1s}, answer_deadline: 999ms", []),
        (
            "haproxy: {timeout_processing: 1s}, answer_deadline: 1s",
            ["answer_deadline: not below haproxy.timeout_processing, so HAProxy gives up first"],
        ),
        ("haproxy: {timeout_processing: 1s}, answer_deadline: null", []),
        ("unanswered: tell", []),
        ("unanswered: leave", []),
        ("unanswered: {set: error}", []),
        ("unanswered: empty-ack", [f"unanswered: {FAILS_OPEN}"]),
        (
            "unanswered: empty-ack, haproxy: {set_on_error: fail}",
            [f"unanswered: {FAILS_OPEN}; HAProxy has `option set-on-error`: use {{set: fail}}"],
        ),
        ("unanswered: {set: error}, haproxy: {set_on_error: error}", []),
        (
            "unanswered: {set: error}, haproxy: {set_on_error: fail}",
            ["unanswered: sets error, and haproxy.set_on_error is fail: rules see one of them alone"],
        ),
        ("unanswered: {set: error}, policy: {late_ack: pass}", [TWO_ACKS.format("{set: error}")]),
        ("haproxy: {set_on_error: error}, policy: {late_ack: pass}", [TWO_ACKS.format("{set: error}")]),
        ("unanswered: tell, policy: {late_ack: pass}", []),
        ("unanswered: empty-ack, policy: {late_ack: pass}", [f"unanswered: {FAILS_OPEN}", TWO_ACKS.format("empty-ack")]),
    ],
)
def test_what_contradicts_haproxys_own_settings_is_said(from_yaml, route, message):
    assert warnings(from_yaml(f"routes: [{{{route}}}]").settings) == [f"routes[0].{each}" for each in message]


@pytest.mark.parametrize(
    ("before", "listen", "taken"),
    [
        ("", "127.0.0.1:1", True),
        ("workers: 1", "127.0.0.1:1", True),
        ("workers: 2", "127.0.0.1:1", False),
        ("workers: 0", "127.0.0.1:1", False),
        ("", "unix:/run/guard", False),
    ],
)
def test_only_one_process_at_a_tcp_address_can_stop_to_listen(from_yaml, problems, before, listen, taken):
    def text(health):
        return f"{before}\nroutes: [{{listen: '{listen}', health: {health}}}]"

    assert from_yaml(text("check")).settings.routes[0].health == "check"
    if taken:
        assert from_yaml(text("listen")).settings.routes[0].health == "listen"
    else:
        [message] = problems(text("listen"))
        assert message.startswith(
            "routes[0].health: 'listen' (FILE:2): expected check: with several workers, or on a Unix socket"
        )


@pytest.mark.parametrize("value", ["listening", "true", "null", "[check]"])
def test_health_is_one_of_two_words(problems, value):
    [message] = problems(f"routes: [{{health: {value}}}]")
    assert message.startswith("routes[0].health: ")
    assert message.endswith("allowed: check, listen")


@pytest.mark.parametrize("route", ["links: {max: 2}", "links: {give_up: 0}", "redispatch: unanswered"])
def test_links_are_haproxys_own_in_observe_mode(from_yaml, route):
    text = f"mode: observe\nroutes: [{{{route}}}]"
    assert warnings(from_yaml(text).settings) == [
        "routes[0].links: no effect in observe mode, where the agent's connection is HAProxy's own"
    ]
    assert warnings(from_yaml("mode: observe").settings) == []


def test_a_guard_that_keeps_notifys_apart_says_that_haproxy_may_pipeline(from_yaml):
    settings = from_yaml("routes: [{links: {in_flight: 1}}]").settings
    told = "capabilities: pipelining in AGENT-HELLO where HAProxy offers it, the guard keeps NOTIFYs apart itself"
    assert told in hello_changes(settings, settings.routes[0])


def test_a_unix_socket_that_cannot_be_shared_is_said(from_yaml):
    text = "routes: [{listen: unix:/a}, {name: b}]"
    assert warnings(from_yaml(f"share_listen: true\n{text}").settings) == [
        "routes[0].listen: share_listen has no effect on a Unix socket"
    ]
    assert warnings(from_yaml(text).settings) == []


def test_an_owner_or_group_that_is_not_there_is_a_fault(problems):
    assert problems("routes: [{listen: 'unix:/a', socket: {owner: nobody-here, group: nor-there}}]") == [
        "routes[0].socket.owner: 'nobody-here' (FILE:1): expected a user of this machine, or a number",
        "routes[0].socket.group: 'nor-there' (FILE:1): expected a group of this machine, or a number",
    ]


@pytest.mark.parametrize(
    ("route", "message"),
    [
        ("socket: {mode: '0660'}", ["socket: no effect, listen names no Unix socket"]),
        ("socket: {group: 0}", ["socket: no effect, listen names no Unix socket"]),
        ("listen: 'unix:/a', socket: {mode: '0660', group: 0}", []),
        ("listen: 'unix:/a', socket: {mode: '0602'}", []),
        ("listen: 'unix:/a', socket: {mode: '0600', owner: 0}", []),
        (
            "listen: 'unix:/a', socket: {mode: '0644'}",
            ["socket.mode: 0644 lets only the guard's own user connect, which takes the permission to write"],
        ),
    ],
)
def test_what_the_rights_of_a_socket_cannot_do_is_said(from_yaml, route, message):
    assert warnings(from_yaml(f"routes: [{{{route}}}]").settings) == [f"routes[0].{each}" for each in message]


@pytest.mark.parametrize("value", ["1", "yes", "[]", "'True'"])
def test_a_switch_is_true_or_false(problems, value):
    [message] = problems(f"share_listen: {value}")
    assert message.startswith("share_listen: ")
    assert message.endswith("expected true or false")


@pytest.mark.parametrize("workers", [0, 2, 1024])
def test_async_is_for_one_worker_alone(from_yaml, problems, workers):
    route = "routes: [{hello: {capabilities: [pipelining, async]}}]"
    assert from_yaml(f"workers: 1\n{route}").settings.workers == 1
    [message] = problems(f"workers: {workers}\n{route}")
    assert message.startswith("routes[0].hello.capabilities: 'pipelining, async' (FILE:2): expected no async unless workers is 1")
    assert from_yaml(f"workers: {workers}").settings.workers == workers


def test_what_holds_for_each_worker_alone_is_said(from_yaml):
    each = "workers: limits.connections, log.rate and capture.rate hold for each worker"
    assert warnings(from_yaml("workers: 2").settings) == [each]
    observed = warnings(from_yaml("workers: 2\nmode: observe").settings)
    assert observed[0] == each
    assert "unmatched_ack" in observed[1]
    assert warnings(from_yaml("workers: 0").settings) == [f"workers: {usable_cores()} here, one for each core it may use", each]


@pytest.mark.parametrize(("workers", "about"), [(1, "262144 "), (4, "1048576 (262144 for each of 4 workers) ")])
def test_a_recorder_without_room_for_one_session_is_said(from_yaml, workers, about):
    def told(session_bytes, folder="/captures"):
        capture = f"capture: {{dir: {folder}, total_bytes: {workers * 262144}, session_bytes: {session_bytes}}}"
        found = warnings(from_yaml(f"workers: {workers}\n{capture}").settings)
        return [warning for warning in found if warning.startswith("capture.total")]

    assert told(65536) == []
    assert told(65537, "null") == []
    [message] = told(65537)
    assert message.startswith(f"capture.total_bytes: {about}is less than the {4 * 65537} that one session may take")


@pytest.mark.parametrize(("mode", "told"), [(0o700, False), (0o755, False), (0o770, True), (0o702, True)])
def test_a_folder_of_captures_that_others_may_write_to_is_warned_of(from_yaml, tmp_path, mode, told):
    folder = tmp_path / "captures"
    folder.mkdir()
    folder.chmod(mode)
    found = warnings(from_yaml(f"capture: {{dir: {folder}}}").settings)
    why = f"the folder has mode {mode:04o}, so that others may put files there or remove captures; use chmod 0700"
    assert found == ([f"capture.dir: {folder}: {why}"] if told else [])


def test_a_folder_of_captures_that_is_not_there_is_warned_of(from_yaml, tmp_path):
    def told(folder):
        return warnings(from_yaml(f"capture: {{dir: {folder}}}").settings)

    (tmp_path / "file").touch()
    why = "there is no such folder, and nothing is captured until there is; create it with mode 0700, for the guard's user"
    assert told(tmp_path / "none") == [f"capture.dir: {tmp_path}/none: {why}"]
    assert told(tmp_path / "file") == [f"capture.dir: {tmp_path}/file: this is no folder, so nothing can be captured there"]
    [inside] = told(tmp_path / "file/below")
    assert inside.startswith(f"capture.dir: {tmp_path}/file/below: it cannot be looked at: Not a directory; ")
    tmp_path.chmod(0o700)
    assert told(tmp_path) == []


def test_a_folder_of_captures_that_is_somebody_elses_is_warned_of(tmp_path):
    need_root("give a folder away")
    os.chown(tmp_path, 4711, -1)
    assert exposed(str(tmp_path), 4711) == exposed(str(tmp_path), None) == exposed(str(tmp_path / "none"), 1) == ""
    assert exposed(str(tmp_path), 4712).startswith("the folder belongs to uid 4711, who may remove captures")
    os.chown(tmp_path, 0, -1)
    assert exposed(str(tmp_path), 4712) == ""  # root may do it anyway


def test_room_for_one_frame_in_each_worker_is_enough(from_yaml):
    assert from_yaml("limits: {total_bytes: 16384}").settings.limits.total_bytes == 16384
    assert from_yaml("{workers: 2, limits: {total_bytes: 32768}}").settings.limits.total_bytes == 32768
