"""The HAProxy examples in config/ with a real HAProxy: a lost guard costs nothing else."""

import http.client
import socket
import subprocess
from contextlib import ExitStack, closing

import pytest

from tests.integration.agent import AgentThread
from tests.integration.app import App
from tests.integration.generations import find
from tests.integration.haproxy import wait_until
from tests.peers import ROOT
from tests.running import samples

CONNECTIONS = [f"haproxy_server_{each}" for each in ("current_sessions", "idle_connections_current", "used_connections_current")]


def bound_socket(stack: ExitStack) -> socket.socket:
    """A port of the kernel's choice that is ours and refuses connections, until someone listens on it."""
    bound = stack.enter_context(closing(socket.socket()))
    bound.bind(("127.0.0.1", 0))
    return bound


def status(port: int) -> int:
    """The status of one HTTP request, 0 if there is no HTTP response."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        try:
            connection.request("GET", "/")
            return connection.getresponse().status
        except OSError:
            return 0


@pytest.fixture
def stack():
    with ExitStack() as stack:
        yield stack


@pytest.fixture(params=["2.6", "3.0", "3.2"])  # the examples say default-path, which came with 2.5
def example(request):
    """A folder of config/haproxy and an HAProxy it is for."""
    generation = find(request.param)
    return "from-3.1" if generation.mode == "spop" else "up-to-3.0", generation.program


def connections(metrics: str) -> float:
    """How many connections HAProxy has to the guard: up to 3.0 they are sessions, from 3.1 on idle ones between requests."""
    found = samples(metrics, 10)
    return sum(sample.value for sample in found if sample.name in CONNECTIONS and sample.labels["server"] == "guard")


def start(stack, tmp_path, example, *, guard, agent):
    """Run the example with its fixed addresses exchanged for ours; return the port of its frontend and where its metrics are."""
    app = stack.enter_context(App())
    www, metrics = bound_socket(stack), bound_socket(stack)
    exchanged = {
        "bind :8080": f"bind fd@{www.fileno()}",
        "bind 127.0.0.1:8405": f"bind fd@{metrics.fileno()}",
        "127.0.0.1:12345": guard,
        "127.0.0.1:9000": agent,
        "127.0.0.1:8000": app.address,
        "txn.guarded.allowed) -m bool }": "txn.guarded.verdict) -m found }",  # what the scripted agent sets
    }
    folder, program = example
    shipped = ROOT / "config/haproxy" / folder
    text = (shipped / "haproxy.cfg").read_text()
    for theirs, ours in exchanged.items():
        assert theirs in text
        text = text.replace(theirs, ours)
    (tmp_path / "haproxy.cfg").write_text(text)
    (tmp_path / "spoe.conf").write_text((shipped / "spoe.conf").read_text())
    command = [program, "-db", "-f", tmp_path / "haproxy.cfg"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, pass_fds=[www.fileno(), metrics.fileno()])
    stack.callback(process.wait, 10)
    stack.callback(process.kill)
    port = metrics.getsockname()[1]
    wait_until(lambda: status(port), "HAProxy serves", 10)
    return www.getsockname()[1], f"127.0.0.1:{port}"


def test_requests_go_on_without_a_stumble_when_the_guard_is_lost(stack, tmp_path, example):
    agent = stack.enter_context(AgentThread())
    with AgentThread() as guard:  # in its place; it is about HAProxy here
        port, metrics = start(stack, tmp_path, example, guard=guard.address, agent=agent.address)
        assert [status(port) for _ in range(3)] == [200] * 3
        wait_until(lambda: connections(metrics) > 0, "a connection to the guard", 10)
    # What is given to a connection before HAProxy has seen that it is gone is lost with it, with a guard or without one.
    wait_until(lambda: connections(metrics) == 0, "HAProxy has seen it", 10)
    assert [status(port) for _ in range(5)] == [200] * 5, (tmp_path / "log").read_text()


def test_requests_are_denied_while_nobody_answers(stack, tmp_path, example):
    nobody = f"127.0.0.1:{bound_socket(stack).getsockname()[1]}"
    port, _ = start(stack, tmp_path, example, guard=nobody, agent=nobody)
    assert status(port) == 403
