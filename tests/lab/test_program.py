"""`spoe-guard lab agent` and `spoe-guard lab haproxy` as a user starts them: output, exit code, signals."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys

import pytest

from spoe_guard.cli import main
from spoe_guard.lab.faults import FAULTS
from spoe_guard.lab.frames import haproxy_hello
from tests.lab.program import agent
from tests.running import FREE, RUN_S, Running, end_all, environment, samples, spoe_guard, until


def ended(process, number=signal.SIGTERM):
    """Stop it; return its exit code and the rest of what it printed."""
    process.send_signal(number)
    out, err = process.communicate(timeout=RUN_S)
    assert err == ""
    return process.returncode, out.splitlines()


@pytest.fixture
def refused(monkeypatch, capsys):
    """Return the one line on standard error of a command that cannot be carried out as it is given, in this process."""

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["spoe-guard", "lab", *arguments])
        monkeypatch.setattr("spoe_guard.cli._Output.instead_of", lambda stdout: stdout)  # it would take pytest's own away
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        assert (end.value.code, out) == (2, "")
        [line] = err.splitlines()
        return line.removeprefix("spoe-guard: ")

    return run


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_agent_that_behaves_answers_and_says_so_at_the_end(number):
    with agent() as (process, where):
        done = spoe_guard("lab", "haproxy", where, "--count", "2", "--rate", "100")
        assert (done.returncode, done.stderr) == (0, "")
        first, second, summary = done.stdout.splitlines()
        assert re.fullmatch(r'ACK 1\.1: set txn\.verdict = "/lab", after \d+\.\d\d ms', first)
        assert second.startswith("ACK 3.1: ")
        assert summary.startswith("2 NOTIFYs, 2 ACKs, 0 without; least ")
        code, lines = ended(process, number)
    assert code == 0
    assert lines[-1] == "0 connections of 1, 2 NOTIFYs, 2 answered in order, 0 faults"


def test_it_goes_wrong_on_every_second_notify_as_often_as_asked():
    with agent("--fault", "ack_malformed", "--every", "2", "--count", "2") as (process, where):
        done = spoe_guard("lab", "haproxy", where, "--count", "7", "--rate", "100")
        assert [line.endswith(" ms") and "1 byte that cannot be read" in line for line in done.stdout.splitlines()[:-1]] == [
            False, True, False, True, False, False, False,
        ]  # fmt: skip
        _, lines = ended(process)
    assert lines[-1] == "0 connections of 1, 7 NOTIFYs, 5 answered in order, 2 faults, 1 left out by --rate or --count"


def test_chance_can_be_repeated_by_the_seed_that_is_printed():
    def odd(*options):
        with agent("--fault", "ack_malformed", "--probability", "0.5", *options) as (process, where):
            seed = process.stdout.readline().removeprefix("seed ").strip()
            done = spoe_guard("lab", "haproxy", where, "--count", "30", "--rate", "1000")
            return seed, ["cannot be read" in line for line in done.stdout.splitlines()]

    seed, first = odd()
    assert odd("--seed", seed) == (seed, first)
    assert True in first
    assert False in first


def test_a_connection_too_many_is_closed_at_once():
    with agent("--connections", "1") as (process, where):
        host, _, port = where.rpartition(":")
        with socket.create_connection((host, int(port))) as first, socket.create_connection((host, int(port))) as second:
            with contextlib.suppress(ConnectionResetError):
                assert second.recv(1) == b""
            first.sendall(haproxy_hello())
            assert first.recv(1) != b""
        _, lines = ended(process)
    assert lines[-1].endswith("1 connection refused by --connections")


def test_what_it_answers_with_can_be_chosen():
    with agent("--set", "allowed:bool=true", "--set", "sess.score:int=-3") as (_, where):
        done = spoe_guard("lab", "haproxy", where, "--count", "1")
    assert "set txn.allowed = true, set sess.score = -3, after " in done.stdout


def test_a_unix_socket_will_do_and_its_file_goes_at_the_end(tmp_path):
    with agent(listen=f"unix:{tmp_path}/agent") as (process, where):
        assert spoe_guard("lab", "haproxy", where, "--count", "1").returncode == 0
        assert ended(process)[0] == 0
    assert not (tmp_path / "agent").exists()


def test_a_port_that_is_taken_is_one_line_and_exit_code_1():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        done = spoe_guard("lab", "agent", "--listen", where)
    assert (done.returncode, done.stdout) == (1, "")
    reason = "something listens there already; stop it, or choose another address"
    assert done.stderr == f"spoe-guard: lab agent: cannot listen on {where}: {reason}\n"


def test_it_listens_on_this_machine_alone_unless_told_otherwise():
    text = spoe_guard("lab", "agent", "--help").stdout
    assert "--listen ADDR" in text
    assert "[default: 127.0.0.1:9000]" in " ".join(text.split())


def test_an_unknown_fault_is_refused_with_the_list(refused):
    line = refused("agent", "--fault", "runt")
    assert line == f"--fault: 'runt': there is no such fault; there are {', '.join(FAULTS)}"
    assert refused("agent", "--fault", "notify_empty").startswith("--fault: 'notify_empty': there is no such fault; ")


def test_the_help_lists_each_fault_with_what_it_does():
    text = " ".join(spoe_guard("lab", "agent", "--help").stdout.split())
    assert all(f" {fault.name} {fault.told()}" in text for fault in FAULTS.values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--every 2", "--every: without --fault it goes wrong on nothing; say --fault NAME, too"),
        ("--fault mute --every 2", None),
        (
            "--fault late_ack --every 2 --probability 0.5",
            "--every and --probability: it is one or the other; leave one of them out",
        ),
        ("--fault late_ack --seed 1", "--seed: without --probability there is no chance; say --probability P, too"),
        ("--set a:float=1", "--set: 'a:float=1': the type is one of str, bin, bool, int, ipv4, ipv6"),
        ("--listen localhost", "--listen: 'localhost': expected HOST:PORT, [v6]:PORT or unix:/path"),
    ],
)
def test_options_of_the_agent_that_contradict_are_one_line(refused, options, message):
    line = refused("agent", *options.split())
    assert line == message or (message is None and line.startswith("--fault: 'mute': "))


@pytest.mark.parametrize(
    ("option", "within", "beyond"),
    [("--rate", "1000", "1001"), ("--connections", "4096", "4097"), ("--delay", "60", "60.1"), ("--probability", "1", "1.1")],
)
def test_each_bound_of_the_agent_holds_one_past_it(refused, option, within, beyond):
    assert refused("agent", option, within, "--set", "stop").startswith(("--set", "--probability"))
    assert option in refused("agent", option, beyond, "--set", "stop")


@pytest.mark.parametrize(
    ("option", "within", "beyond"),
    [("--rate", "1000", "1001"), ("--connections", "256", "257"), ("--count", "1000000", "1000001"), ("--timeout", "600", "601")],
)
def test_each_bound_of_haproxys_side_holds_one_past_it(refused, option, within, beyond):
    assert refused("haproxy", option, within, "--arg", "stop").startswith("--arg")
    assert option in refused("haproxy", option, beyond, "--arg", "stop")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("localhost", "ADDR: 'localhost': expected HOST:PORT, [v6]:PORT or unix:/path"),
        ("--generation 3.0", "--generation: '3.0': allowed: up-to-3.0, from-3.1"),
        ("--arg path", "--arg: 'path': expected NAME=VALUE or NAME:TYPE=VALUE"),
    ],
)
def test_options_of_haproxys_side_that_are_wrong_are_one_line(refused, options, message):
    assert refused("haproxy", *options.split()) == message


def test_haproxys_side_ends_with_1_where_an_answer_is_missing():
    with agent("--fault", "notify_unanswered", "--every", "2") as (_, where):
        done = spoe_guard("lab", "haproxy", where, "--count", "2", "--rate", "1000", "--timeout", "1")
    assert (done.returncode, done.stderr) == (1, "")
    assert "no answer within 1 s\n2 NOTIFYs, 1 ACK, 1 without; least " in done.stdout


def test_haproxys_side_that_is_interrupted_still_sums_up():
    with agent() as (_, where):
        command = [sys.executable, "-m", "spoe_guard", "lab", "haproxy", where, "--count", "1000", "--rate", "10"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()) as process:
            assert process.stdout.readline().startswith("ACK 1.1: ")
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=RUN_S)
    assert (process.returncode, err) == (0, "")
    assert re.match(r"\d+ NOTIFYs?, \d+ ACKs?, 0 without; least", out.splitlines()[-1])


@pytest.mark.parametrize("command", ["agent", "haproxy"])
def test_whoever_reads_only_the_beginning_of_the_output_is_told_nothing(command):
    reader, writer = os.pipe()
    os.close(reader)  # as `spoe-guard lab haproxy | head -0` does
    with agent() as (_, where):
        options = ["--listen", FREE] if command == "agent" else [where, "--connections", "2", "--rate", "1000"]
        done = subprocess.run(
            [sys.executable, "-m", "spoe_guard", "lab", command, *options],
            env=environment(), stdout=writer, stderr=subprocess.PIPE, timeout=RUN_S, check=False,
        )  # fmt: skip
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_behind_a_guard_the_anomaly_is_counted_and_the_answer_comes(tmp_path):
    with agent("--fault", "runt_frame") as (_, where):
        guard = Running(tmp_path, where)
        try:
            listening = guard.wait_for("listening")
            done = spoe_guard("lab", "haproxy", listening["routes"]["default"], "--count", "3", "--rate", "100")
            assert done.returncode == 0, done.stdout

            def runts():
                found = [each for each in samples(listening["admin"], RUN_S) if each.name == "spoe_guard_anomalies_total"]
                return sum(each.value for each in found if each.labels["anomaly"] == "runt_frame")

            until(lambda: runts() == 3)
        finally:
            end_all([guard])
