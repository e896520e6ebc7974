"""The command line as a user runs it: a real process, its output, its exit code."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from spoe_guard import __version__
from spoe_guard.lab.frames import haproxy_hello
from tests.builds import EXPECTED
from tests.running import FREE, RUN_S, environment, spoe_guard


def told(done: subprocess.CompletedProcess[str], code: int) -> str:
    """Return the one line on stderr of a process that did nothing else."""
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert "Traceback" not in done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("spoe-guard: ")
    return lines[0].removeprefix("spoe-guard: ")


# --- bad use ----------------------------------------------------------------------------------------------


# What typer says differs from version to version; that it names the culprit, in one line, does not.
WRONG_WORDS = [
    (("walk",), "walk"),
    (("lab", "walk"), "walk"),
    (("run", "--listn", "a:1"), "--listn"),
    (("run", "--agent"), "--agent"),
    (("run", "a:1"), "a:1"),
    (("version", "--verbose"), "--verbose"),
]


UNIT = "expected a whole number and a unit, us, ms, s, m, h or d, such as 500ms (no unit: milliseconds, as in HAProxy)"
WRONG_SETTINGS = [
    ("run --config no.yaml", "--config: 'no.yaml': cannot be read: No such file or directory"),
    ("check --config unknown.yaml", "routes[0].timeout: {} (unknown.yaml:2): unknown key; did you mean timeouts?"),
    ("run --config unit.yaml", f"routes[0].disconnect_hold: '5sec' (unit.yaml:1): {UNIT}"),
    ("run --config action.yaml", "routes[0].policy.duplicate_ack: 'pass' (action.yaml:1): allowed: drop"),
    ("run --agent localhost", "routes[0].agent: 'localhost' (flag --agent): expected HOST:PORT, [v6]:PORT or unix:/path"),
    ("run --mode watch", "mode: 'watch' (flag --mode): allowed: enforce, observe"),
    ("run --workers 1025", "workers: '1025' (flag --workers): expected a whole number from 0 to 1024"),
    ("run --workers two", "workers: 'two' (flag --workers): expected a whole number from 0 to 1024"),
    (
        "check --config nobody.yaml",
        "routes[0].socket.owner: 'nobody-here' (nobody.yaml:1): expected a user of this machine, or a number",
    ),
    ("decode --route 1 --config one.yaml hello.hex", "--route: 1: there is 1 route, counted from 0"),
    ("decode --route 2 --config two.yaml hello.hex", "--route: 2: there are 2 routes, counted from 0"),
    ("check --log-level loud", "log.level: 'loud' (flag --log-level): allowed: debug, info, warning, error"),
]

FILES = {
    "unknown.yaml": "routes:\n- timeout: {}\n",
    "unit.yaml": "routes: [{disconnect_hold: 5sec}]\n",
    "nobody.yaml": "routes: [{listen: 'unix:/run/x', socket: {owner: nobody-here}}]\n",
    "one.yaml": "routes: [{name: waf}]\n",
    "two.yaml": "routes: [{name: waf}, {name: bot, listen: '127.0.0.1:1'}]\n",
    "action.yaml": "routes: [{policy: {duplicate_ack: pass}}]\n",
}


@pytest.mark.parametrize(("arguments", "culprit"), WRONG_WORDS, ids=[" ".join(case[0]) for case in WRONG_WORDS])
def test_wrong_words_are_one_line_and_exit_code_2(arguments, culprit):
    line = told(spoe_guard(*arguments), 2)
    assert culprit in line
    assert line.endswith("; see spoe-guard --help")


@pytest.mark.parametrize(("command", "line"), WRONG_SETTINGS, ids=[case[0] for case in WRONG_SETTINGS])
def test_wrong_settings_are_one_line_and_exit_code_2(tmp_path, command, line):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    assert told(spoe_guard(*command.split(), cwd=tmp_path), 2) == line


def test_a_wrong_variable_is_one_line_and_exit_code_2():
    done = spoe_guard("check", settings={"SPOE_GUARD_ROUTES__0__LIMITS__CONNECTIONS": "none"})
    assert told(done, 2) == (
        "routes[0].limits.connections: 'none' (environment SPOE_GUARD_ROUTES__0__LIMITS__CONNECTIONS): "
        "expected a whole number from 1 to 1000000"
    )


@pytest.fixture
def taken():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield f"127.0.0.1:{sock.getsockname()[1]}"


def test_a_port_that_is_taken_is_one_line_and_exit_code_1(taken):
    done = spoe_guard("run", "--listen", taken, "--agent", "127.0.0.1:9", "--admin", FREE)
    expected = f"route default: cannot listen on {taken}: something listens there already; stop it, or choose another address"
    assert told(done, 1) == expected


def test_a_taken_admin_port_is_one_line_and_exit_code_1(taken):
    done = spoe_guard("run", "--listen", FREE, "--agent", "127.0.0.1:9", "--admin", taken)
    expected = f"admin.listen: cannot listen on {taken}: something listens there already; stop it, or choose another address"
    assert told(done, 1) == expected


def test_all_that_is_wrong_with_a_configuration_is_told_line_by_line(tmp_path):
    (tmp_path / "bad.yaml").write_text("mode: watch\nlog: {level: loud}")
    done = spoe_guard("check", "--config", "bad.yaml", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        "spoe-guard: mode: 'watch' (bad.yaml:1): allowed: enforce, observe",
        "spoe-guard: log.level: 'loud' (bad.yaml:2): allowed: debug, info, warning, error",
    ]


@pytest.mark.parametrize("arguments", [("check",), ("--help",), ("version",), ("decode", "hello.hex")], ids=" ".join)
def test_output_that_cannot_be_written_is_one_line_and_exit_code_1(tmp_path, arguments):
    (tmp_path / "hello.hex").write_text(haproxy_hello().hex())
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "spoe_guard", *arguments],
            stdout=full, stderr=subprocess.PIPE, text=True, env=environment(), cwd=tmp_path, timeout=RUN_S, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "spoe-guard: standard output cannot be written: No space left on device\n")


# What would be paid for at every start, and at every key of a completion. typer itself reads the values of options with pydantic.
HEAVY = {"asyncio", "jinja2", "pydantic", "rich", "spoe_guard.core", "spoe_guard.lab", "spoe_guard.settings", "structlog", "yaml"}


@pytest.mark.parametrize(
    ("arguments", "heavy"),
    [
        (["--version"], HEAVY),
        (["--help"], HEAVY),
        (["lab", "haproxy", "--help"], HEAVY - {"pydantic"}),
        (["example", "config"], HEAVY - {"pydantic"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_needs_no_settings_loads_none_of_the_heavy_modules(arguments, heavy):
    code = f"import sys; sys.argv[1:] = {arguments}; from spoe_guard.cli import main\ntry: main()\nfinally: print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(), timeout=RUN_S, check=True
    )
    assert [name for name in done.stdout.splitlines()[-1].split() if name in heavy] == []


# --- check, version, help ----------------------------------------------------------------------------------


def test_check_prints_what_is_in_effect_and_where_it_comes_from(tmp_path):
    (tmp_path / "guard.yaml").write_text("routes:\n- name: waf\n  links: {max: 2}\n")
    arguments = ("check", "--config", "guard.yaml", "--agent", "agent.invalid:9000")
    done = spoe_guard(*arguments, settings={"SPOE_GUARD_LOG__LEVEL": "debug"}, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    rows = {line.split()[0]: line.split(maxsplit=1)[1] for line in done.stdout.splitlines() if "  " in line.strip()}
    assert rows["mode"].split() == ["enforce", "default"]
    assert rows["routes[0].name"].split() == ["waf", "guard.yaml:2"]
    assert rows["routes[0].agent"].split() == ["agent.invalid:9000", "flag", "--agent"]  # checked without a network
    assert rows["log.level"].split() == ["debug", "environment", "SPOE_GUARD_LOG__LEVEL"]
    assert "routes[0].links.max: no effect, with links.in_flight 0 one link takes every NOTIFY" in done.stdout
    assert "routes[0] (waf): what is changed in the HELLOs of a healthy pair\n  capabilities: only pipelining kept" in done.stdout
    assert done.stdout.endswith("OK. Addresses were checked for syntax only.\n")


@pytest.mark.parametrize("arguments", [("check",), ("decode", "hello.hex")], ids=" ".join)
def test_whoever_reads_only_the_beginning_of_the_output_is_told_nothing(tmp_path, arguments):
    (tmp_path / "hello.hex").write_text(haproxy_hello().hex())
    reader, writer = os.pipe()
    os.close(reader)  # as `spoe-guard check | head -0` does
    done = subprocess.run(
        [sys.executable, "-m", "spoe_guard", *arguments],
        env=environment(), cwd=tmp_path, stdout=writer, stderr=subprocess.PIPE, timeout=RUN_S, check=False,
    )  # fmt: skip
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_version_names_what_runs():
    done = spoe_guard("version")
    assert (done.returncode, done.stderr) == (0, "")
    version, python, loop, build = (line.split()[-1] for line in done.stdout.splitlines())
    assert (version, python, build) == (__version__, sys.version.split()[0], EXPECTED)
    assert loop == "uvloop"
    asyncio_only = spoe_guard("version", settings={"SPOE_GUARD_LOOP": "asyncio"})
    assert "event loop asyncio" in asyncio_only.stdout


SETTINGS_FLAGS = {
    "--config", "--listen", "--agent", "--admin", "--mode", "--workers", "--log-format", "--log-level", "--help",
}  # fmt: skip


OF_HAPROXY = {"--haproxy", "--spoe", "--engine", "--haproxy-version"}


@pytest.mark.parametrize(("command", "own"), [("run", set()), ("check", OF_HAPROXY | {"--diff", "--json", "--strict"})])
def test_help_names_every_flag(command, own):
    done = spoe_guard(command, "--help")
    assert done.returncode == 0
    flags = {word for word in done.stdout.split() if word.startswith("--")}
    assert flags == SETTINGS_FLAGS | own
    assert spoe_guard(command, "-h").stdout == done.stdout


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_the_version_alone_is_one_line(option):
    done = spoe_guard(option)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"spoe-guard {__version__}\n", "")


@pytest.mark.parametrize("group", [(), ("lab",)], ids=["spoe-guard", "lab"])
def test_without_a_command_the_help_goes_to_standard_error(group):
    done, asked = spoe_guard(*group), spoe_guard(*group, "--help")
    assert (done.returncode, done.stdout) == (2, "")
    assert asked.returncode == 0
    assert done.stderr == asked.stdout
    assert asked.stdout.startswith(f"Usage: {' '.join(['spoe-guard', *group])} ")


def test_the_exit_codes_stand_in_the_help():
    text = " ".join(spoe_guard("--help").stdout.split())
    assert "Exit status: 0, done" in text
    assert "2, wrong use" in text


def test_each_command_fits_on_its_line_of_the_help():
    assert "..." not in spoe_guard("--help").stdout.partition("Commands:")[2]


def test_help_names_every_command():
    done = spoe_guard("--help")
    assert done.returncode == 0
    listed = done.stdout.partition("Commands:\n")[2].partition("\n\n")[0]
    commands = [line.split()[0] for line in listed.splitlines()]
    assert commands == [
        "run", "check", "init", "example", "decode", "replay", "demo", "top", "version", "completion", "ctl", "lab"
    ]  # fmt: skip
