"""The message for invalid settings: one line with the key, the value, its place and what is allowed."""

import pytest

TOP = "mode, on_internal_error, workers, share_listen, handover_dir, payload, routes, limits, admin, log, capture"
DURATION = "expected a whole number and a unit, us, ms, s, m, h or d, such as 500ms (no unit: milliseconds, as in HAProxy)"

# name, file, key and value as they are told, what is said of them
BAD: list[tuple[str, str | bytes, str, str]] = [
    ("unknown key", "mod: observe", "mod: 'observe' (FILE:1)", "unknown key; did you mean mode?"),
    (
        "unknown key in a section",
        "admin:\n  lisen: 127.0.0.1:1",
        "admin.lisen: '127.0.0.1:1' (FILE:2)",
        "unknown key; did you mean listen?",
    ),
    (
        "unknown key like no other",
        "xyzzy: 1",
        "xyzzy: 1 (FILE:1)",
        f"unknown key; allowed: {TOP}",
    ),
    ("not a choice", "mode: enforced", "mode: 'enforced' (FILE:1)", "allowed: enforce, observe"),
    ("null where there is none", "mode: null", "mode: null (FILE:1)", "allowed: enforce, observe"),
    ("wrong unit", "routes:\n- timeouts: {hello: 5sec}", "routes[0].timeouts.hello: '5sec' (FILE:2)", DURATION),
    ("part of a unit", "routes: [{disconnect_hold: 1.5s}]", "routes[0].disconnect_hold: '1.5s' (FILE:1)", DURATION),
    ("truth for a time", "routes: [{disconnect_hold: true}]", "routes[0].disconnect_hold: True (FILE:1)", DURATION),
    ("below nothing", "routes: [{disconnect_hold: -1}]", "routes[0].disconnect_hold: '-1' (FILE:1)", DURATION),
    ("no time at all", "routes: [{timeouts: {idle: 0}}]", "routes[0].timeouts.idle: 0 (FILE:1)", "expected more than 0"),
    ("too long", "routes: [{timeouts: {idle: 25d}}]", "routes[0].timeouts.idle: '25d' (FILE:1)", "expected at most 24d"),
    (
        "wrong size unit",
        "routes: [{limits: {held_bytes: 1g}}]",
        "routes[0].limits.held_bytes: '1g' (FILE:1)",
        "expected a whole number of bytes, or one with k or m behind it, such as 64k",
    ),
    (
        "frame too small",
        "routes: [{hello: {max_frame_size: 255}}]",
        "routes[0].hello.max_frame_size: 255 (FILE:1)",
        "expected 256 to 4294967295 bytes",
    ),
    (
        "no room for a frame",
        "routes: [{limits: {held_bytes: 16383}}]",
        "routes[0].limits.held_bytes: 16383 (FILE:1)",
        "expected room for one frame: at least 16384",
    ),
    (
        "no room for this route's frame",
        "routes: [{hello: {max_frame_size: 64k}, limits: {held_bytes: 64k}}]",
        "routes[0].limits.held_bytes: 65536 (FILE:1)",
        "expected room for one frame: at least 65540",
    ),
    (
        "no room for one frame in all",
        "limits: {total_bytes: 16383}",
        "limits.total_bytes: 16383 (FILE:1)",
        "expected room for one frame: at least 16384",
    ),
    (
        "no room for one frame in each worker",
        "{workers: 2, limits: {total_bytes: 32767}}",
        "limits.total_bytes: 32767 (FILE:1)",
        "expected room for one frame in each of 2 workers: at least 32768",
    ),
    (
        "no connection",
        "routes: [{limits: {connections: 0}}]",
        "routes[0].limits.connections: 0 (FILE:1)",
        "expected a whole number from 1 to 1000000",
    ),
    *(
        (
            f"glitches: {glitches}",
            f"routes: [{{limits: {{glitches: {glitches}}}}}]",
            f"routes[0].limits.glitches: {told} (FILE:1)",
            "expected a whole number of anomalies per s, m or h, 1 or more, such as 1000/m",
        )
        for glitches, told in (("1000", "1000"), ("0/m", "'0/m'"), ("5/d", "'5/d'"))
    ),
    (
        "rate",
        "log: {rate: 10}",
        "log.rate: 10 (FILE:1)",
        "expected a whole number of lines per s, m or h, such as 10/s",
    ),
    (
        "rate of none",
        "log: {rate: 0/s}",
        "log.rate: '0/s' (FILE:1)",
        "expected at least 1; log.level: error silences them all",
    ),
    (
        "address",
        "routes: [{listen: localhost}]",
        "routes[0].listen: 'localhost' (FILE:1)",
        "expected HOST:PORT, [v6]:PORT or unix:/path",
    ),
    ("port", "routes: [{agent: a:65536}]", "routes[0].agent: 'a:65536' (FILE:1)", "the port must be a number from 0 to 65535"),
    ("port 0 of an agent", "routes: [{agent: a:0}]", "routes[0].agent: 'a:0' (FILE:1)", "port 0 cannot be dialled"),
    (
        "a number for an address",
        "routes: [{listen: 12345}]",
        "routes[0].listen: 12345 (FILE:1)",
        "expected HOST:PORT, [v6]:PORT or unix:/path",
    ),
    (
        "capability",
        "routes: [{hello: {capabilities: [pipelinig]}}]",
        "routes[0].hello.capabilities: ['pipelinig'] (FILE:1)",
        "expected a list of some, or none, of async, fragmentation, pipelining",
    ),
    (
        "engine",
        "routes: [{hello: {engine_id: ''}}]",
        "routes[0].hello.engine_id: '' (FILE:1)",
        "expected 1 to 128 printable ASCII characters without a blank",
    ),
    ("name", "routes: [{name: a b}]", "routes[0].name: 'a b' (FILE:1)", "expected 1 to 64 letters, digits or one of _ . : -"),
    (
        "unknown anomaly",
        "routes: [{policy: {unmatched_acks: drop}}]",
        "routes[0].policy.unmatched_acks: 'drop' (FILE:1)",
        "unknown key; did you mean unmatched_ack?",
    ),
    (
        "action the anomaly does not allow",
        "routes:\n- policy:\n    duplicate_ack: pass",
        "routes[0].policy.duplicate_ack: 'pass' (FILE:3)",
        "allowed: drop",
    ),
    (
        "a value for a section",
        "routes: [{limits: 5}]",
        "routes[0].limits: 5 (FILE:1)",
        "expected keys below it: connections, open_notifies, held_bytes, glitches",
    ),
    (
        "a mapping for routes",
        "routes: {listen: a:1}",
        "routes: {'listen': 'a:1'} (FILE:1)",
        "expected a list of routes, each with its listen and agent",
    ),
    ("a word for routes", "routes: none", "routes: 'none' (FILE:1)", "expected a list of routes, each with its listen and agent"),
    ("no route", "routes: []", "routes: {} (FILE:1)", "expected at least one route"),
    (
        "two of a name",
        "routes: [{listen: a:1},\n {listen: a:2}]",
        "routes[1].name: 'default' (FILE:2)",
        "expected a name of its own: routes[0] has this one",
    ),
    (
        "two on one address",
        "routes: [{name: a, listen: a:1},\n {name: b, listen: a:1}]",
        "routes[1].listen: 'a:1' (FILE:2)",
        "expected an address of its own: routes[0].listen has this one",
    ),
    (
        "admin on a route's address",
        "routes: [{listen: a:1}]\nadmin: {listen: a:1}",
        "admin.listen: 'a:1' (FILE:2)",
        "expected an address of its own: routes[0].listen has this one",
    ),
    (
        "itself as agent",
        "routes: [{listen: a:1, agent: a:1}]",
        "routes[0].agent: 'a:1' (FILE:1)",
        "expected the agent's address: a:1 is routes[0].listen",
    ),
    (
        "itself as agent, by another name",
        "routes: [{listen: 0.0.0.0:1, agent: localhost:1}]",
        "routes[0].agent: 'localhost:1' (FILE:1)",
        "expected the agent's address: 0.0.0.0:1 is routes[0].listen",
    ),
    ("fewer than no process", "workers: -1", "workers: '-1' (FILE:1)", "expected a whole number from 0 to 1024"),
    ("more processes than may be", "workers: 1025", "workers: 1025 (FILE:1)", "expected a whole number from 0 to 1024"),
    (
        "itself as the second of its agents",
        "routes: [{listen: 0.0.0.0:1, agent: 'b:1, localhost:1'}]",
        "routes[0].agent: 'localhost:1' (FILE:1)",
        "expected the agent's address: 0.0.0.0:1 is routes[0].listen",
    ),
    ("an agent twice", "routes: [{agent: [a:1, a:1]}]", "routes[0].agent: ['a:1', 'a:1'] (FILE:1)", "expected each address once"),
    ("no agent", "routes: [{agent: []}]", "routes[0].agent: [] (FILE:1)", "expected 1 to 16 addresses"),
    (
        "one agent too many",
        f"routes: [{{agent: '{','.join(f'a:{port}' for port in range(1, 18))}'}}]",
        f"routes[0].agent: '{','.join(f'a:{port}' for port in range(1, 18))}' (FILE:1)",
        "expected 1 to 16 addresses",
    ),
    (
        "a link that retires at once",
        "routes: [{links: {retire: 0}}]",
        "routes[0].links.retire: 0 (FILE:1)",
        "expected more than 0",
    ),
    (
        "no link at all",
        "routes: [{links: {max: 0}}]",
        "routes[0].links.max: 0 (FILE:1)",
        "expected a whole number from 1 to 1000000",
    ),
    ("a key twice", "mode: observe\nmode: enforce", "--config: 'FILE:2:1'", "mode stands here twice"),
    (
        "a key twice, deeper",
        "routes:\n- timeouts:\n    idle: 1s\n    idle: 2s",
        "--config: 'FILE:4:5'",
        "routes[0].timeouts.idle stands here twice",
    ),
    ("no mapping", "- mode", "--config: 'FILE:1:1'", "expected keys and values, as in `mode: enforce`"),
    ("a list as key", "? [a]\n: b", "--config: 'FILE:1:3'", "expected a plain word as key"),
    (
        "no YAML",
        "mode: [observe",
        "--config: 'FILE:1:15'",
        "not YAML: while parsing a flow sequence expected ',' or ']', but got '<stream end>'",
    ),
    (
        "a tab",
        "log:\n\tlevel: info",
        "--config: 'FILE:2:1'",
        "not YAML: while scanning for the next token found character '\\t' that cannot start any token",
    ),
    (
        "a second document",
        "mode: observe\n---\nmode: enforce",
        "--config: 'FILE:2:1'",
        "not YAML: expected a single document in the stream but found another document",
    ),
    ("a knot", "log: &a {level: *a}", "--config: 'FILE:1:17'", "*a is an alias; write the value out"),
    ("not UTF-8", b"mode: \xff", "--config: 'FILE'", "cannot be read: not UTF-8 at byte 6"),
    (
        "not text",
        b"mode: \x00",
        "--config: 'FILE'",
        'not YAML: unacceptable character #x0000: special characters are not allowed in "<unicode string>", position 6',
    ),
    ("endless", b"#" * (1024 * 1024 + 1), "--config: 'FILE'", "cannot be read: it is larger than 1048576 bytes"),
]


@pytest.mark.parametrize(("text", "message", "allowed"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_a_bad_file_is_told_in_one_line(problems, text, message, allowed):
    assert problems(text) == [f"{message}: {allowed}"]


def test_all_that_is_wrong_is_told_in_the_order_of_the_keys(problems):
    told = problems("log: {level: loud}\nroutes: [{agent: x, timeouts: {hello: 5 s s}}]\nworkers: many")
    assert [line.split(":")[0] for line in told] == ["workers", "routes[0].agent", "routes[0].timeouts.hello", "log.level"]
