"""Connects to the agent, or reports why it cannot."""

import asyncio
import errno
import os
import re
import socket
import subprocess
import sys

import pytest

from spoe_guard.address import Address
from spoe_guard.core.terms.config import SessionConfig
from spoe_guard.core.terms.events import DialFailure, EndedBy, EndReason
from spoe_guard.core.terms.output import Close
from spoe_guard.net import dial as dialling
from spoe_guard.net.dial import DialError, dial, met_itself
from tests.net.doubles import FakeSession
from tests.net.peers import hanging_address
from tests.net.stage import Stage, files_left, until
from tests.peers import missing, need


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


async def failure(address):
    with pytest.raises(DialError) as caught:
        await dial([address])
    return caught.value.reason, caught.value.detail


async def test_nobody_listens():
    port = free_port()
    assert await failure(Address("127.0.0.1", port)) == (DialFailure.REFUSED, f"127.0.0.1:{port}: Connection refused")


async def test_a_name_that_cannot_be_one_does_not_resolve():
    name = "x" * 64 + ".example"
    assert await failure(Address(name, 9)) == (DialFailure.UNRESOLVED, f"{name}: Name or service not known")


async def test_a_name_the_resolver_does_not_know(monkeypatch):
    async def unknown(*_):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(dialling, "resolve", unknown)
    assert await failure(Address("agent", 9)) == (DialFailure.UNRESOLVED, "agent: Name or service not known")


async def test_a_name_is_resolved():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        with (await dial([Address("localhost", listening.getsockname()[1])])).sock as sock:
            assert sock.getpeername() == listening.getsockname()
            assert sock.gettimeout() == 0


async def test_a_unix_socket_that_is_not_there(tmp_path):
    path = str(tmp_path / "none")
    assert await failure(Address(path=path)) == (DialFailure.NO_SOCKET, f"unix:{path}: No such file or directory")


async def test_a_file_that_is_no_socket(tmp_path):
    path = tmp_path / "file"
    path.touch()
    assert (await failure(Address(path=str(path))))[0] is DialFailure.REFUSED  # what Linux says of it


async def test_a_unix_socket_nobody_listens_on_any_more(tmp_path):
    path = str(tmp_path / "stale")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
    assert await failure(Address(path=path)) == (DialFailure.REFUSED, f"unix:{path}: Connection refused")


async def test_a_unix_socket_with_a_full_queue_is_waited_for(tmp_path):
    """connect(2) says EAGAIN, which asyncio takes for a connection that is under way."""
    path = str(tmp_path / "full")
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as filler:
        listening.bind(path)
        listening.listen(0)
        filler.connect(path)
        task = asyncio.get_running_loop().create_task(dial([Address(path=path)]))
        await asyncio.sleep(0.05)
        assert not task.done()
        accepted, _ = listening.accept()
        with (await task).sock as sock, accepted:
            assert sock.getpeername() == path


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (errno.EHOSTUNREACH, DialFailure.NO_ROUTE),
        (errno.ENETUNREACH, DialFailure.NO_ROUTE),
        (errno.ETIMEDOUT, DialFailure.TIMEOUT),
        (errno.EACCES, DialFailure.OTHER),
    ],
    ids=errno.errorcode.get,
)
async def test_what_the_kernel_says_is_passed_on(monkeypatch, code, reason):
    async def outcome(_sock, _where):
        return code

    monkeypatch.setattr(dialling, "_outcome", outcome)
    assert await failure(Address("127.0.0.1", 9)) == (reason, f"127.0.0.1:9: {os.strerror(code)}")


@pytest.mark.parametrize(
    ("code", "short"),
    [
        (
            errno.EMFILE,
            r"the guard has no file descriptor left of \d+ \(RLIMIT_NOFILE\); raise LimitNOFILE= of the unit, or ulimit -n",
        ),
        (errno.ENFILE, r"this machine has no file descriptor left of \d+ \(fs.file-max\); raise it"),
        (errno.ENOBUFS, r"the guard has no memory left for a socket \(memory.max: \w+\); raise that, or net.ipv4.tcp_mem"),
        (errno.ENOMEM, r"the guard has no memory left for a socket \(memory.max: \w+\); raise that, or net.ipv4.tcp_mem"),
        (
            errno.EADDRNOTAVAIL,
            r"the guard has no local port left of \d+-\d+ \(net.ipv4.ip_local_port_range\); widen it, or use a Unix socket",
        ),
    ],
    ids=lambda value: errno.errorcode.get(value, ""),
)
async def test_what_the_guard_is_short_of_is_named_as_its_own(monkeypatch, code, short):
    async def outcome(_sock, _where):
        return code

    monkeypatch.setattr(dialling, "_outcome", outcome)
    reason, detail = await failure(Address("127.0.0.1", 9))
    assert reason is DialFailure.OWN_LIMIT
    assert re.fullmatch(rf"127\.0\.0\.1:9: {short}", detail), detail


@pytest.mark.parametrize("left", [0, 1], ids=["none", "reserved"])
async def test_without_a_descriptor_no_agent_is_dialled(agent, left):
    with files_left(left):
        reason, detail = await failure(Address(*agent.getsockname()))
    assert reason is DialFailure.OWN_LIMIT
    assert "no file descriptor left" in detail
    (await dial([Address(*agent.getsockname())])).sock.close()


async def test_a_resolver_without_descriptors_is_no_unknown_name():
    """It cannot read /etc/hosts, and says that there is no such name, or that it should be asked again."""
    with files_left():
        reason, detail = await failure(Address("localhost", 9))
    assert reason is DialFailure.OWN_LIMIT
    assert detail.startswith("localhost: the guard has no file descriptor left of ")


SCARCE = """
import asyncio, fcntl, pathlib, socket, struct
from spoe_guard.address import Address
from spoe_guard.net.dial import DialError, dial

async def main():
    with socket.socket() as sock:
        fcntl.ioctl(sock, 0x8914, struct.pack("16sh22x", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP
    pathlib.Path("/proc/sys/net/ipv6/conf/all/disable_ipv6").write_text("1")
    pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("40000 40003")
    listening = socket.create_server(("127.0.0.1", 9000))
    taken = []
    for address in (*[Address("127.0.0.1", 9000)] * 5, Address("::1", 9000)):
        try:
            taken.append(await dial([address]))
        except DialError as error:
            print(len(taken), error.reason.value, error.detail)
asyncio.run(main())
"""


FOUR_PORTS = "the guard has no local port left of 40000-40003 (net.ipv4.ip_local_port_range); widen it, or use a Unix socket"


def test_a_machine_short_of_ports_differs_from_one_without_ipv6():
    """In a network of its own, which has four ports for those who dial, and no IPv6."""
    command = [need("unshare", "util-linux"), "--map-root-user", "--net", sys.executable, "-c", SCARCE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    if "unshare failed" in done.stderr:
        missing("no network namespaces here", "run as root, or allow user namespaces")
    assert done.stdout.splitlines() == [
        f"4 own_limit 127.0.0.1:9000: {FOUR_PORTS}",
        "4 no_route [::1]:9000: Cannot assign requested address",
    ], done.stderr


async def test_a_unix_socket_that_may_not_be_opened(monkeypatch):
    async def outcome(_sock, _where):
        return errno.EACCES

    monkeypatch.setattr(dialling, "_outcome", outcome)
    assert await failure(Address(path="/agent")) == (DialFailure.NO_SOCKET, "unix:/agent: Permission denied")


async def test_every_address_of_a_name_is_tried_in_turn(monkeypatch):
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()

        async def two(*_):
            return [(socket.AF_INET, ("127.0.0.1", free_port())), (socket.AF_INET, listening.getsockname())]

        monkeypatch.setattr(dialling, "resolve", two)
        with (await dial([Address("agent", 9)])).sock as sock:
            assert sock.getpeername() == listening.getsockname()


async def test_the_last_address_speaks_for_all(monkeypatch, tmp_path):
    async def two(*_):
        return [(socket.AF_UNIX, str(tmp_path / "none")), (socket.AF_INET, ("127.0.0.1", free_port()))]

    monkeypatch.setattr(dialling, "resolve", two)
    assert (await failure(Address("agent", 9)))[0] is DialFailure.REFUSED


async def test_a_connection_with_oneself_is_no_agent(monkeypatch):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.connect(sock.getsockname())
        assert met_itself(sock)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        with (await dial([Address(*listening.getsockname())])).sock as sock:
            assert not met_itself(sock)
        monkeypatch.setattr(dialling, "met_itself", lambda _: True)
        assert (await failure(Address(*listening.getsockname())))[0] is DialFailure.REFUSED


async def test_the_session_is_told_of_a_failed_dial():
    port = free_port()
    async with Stage(agent=Address("127.0.0.1", port)) as stage:
        haproxy = await stage.haproxy()
        assert await haproxy.rest() == b""
        await stage.over()
        detail = f"127.0.0.1:{port}: Connection refused"
        assert stage.session.calls == ["start", ("agent_failed", DialFailure.REFUSED, detail)]
        assert stage.recorder.count("link opened") == 0


class GivesUp(FakeSession):
    """Has a connect timeout."""

    def __init__(self, config, tally, now, route_state):
        super().__init__(config, tally, now, route_state)
        self.deadline = now + 0.05

    def tick(self, now):
        self.calls.append("tick")
        return self.end(Close.ABORT, EndedBy.AGENT, EndReason.UNREACHABLE)


async def test_a_dial_that_hangs_is_cancelled_when_the_session_gives_it_up():
    async with hanging_address() as nowhere, Stage(GivesUp, agent=nowhere) as stage:
        haproxy = await stage.haproxy()
        await until(lambda: stage.recorder.count("opened") == 1)
        assert await haproxy.was_reset()
        await stage.over()
        assert stage.session.calls == ["start", "tick"]


async def test_haproxy_that_leaves_while_the_agent_is_dialled_is_noticed_behind_it():
    """Nobody reads from it meanwhile; the session's own connect timeout bounds that."""
    async with hanging_address() as nowhere, Stage(GivesUp, agent=nowhere) as stage:
        haproxy = await stage.haproxy()
        await until(lambda: stage.recorder.count("opened") == 1)
        haproxy.reset()
        await stage.over()
        assert stage.recorder.count("link opened") == 0


async def test_a_dial_given_up_at_its_last_moment_leaves_nothing():
    """The connection is there, the event loop has it, and the session changes its mind in the same turn."""

    class ChangesItsMind(FakeSession):
        def agent_connected(self, now, link_id=0):
            super().agent_connected(now, link_id)
            return self.end(Close.ABORT, EndedBy.GUARD, EndReason.LIMIT)

    async with Stage(ChangesItsMind) as stage:
        haproxy = await stage.haproxy()
        agent = await stage.agent()
        assert await haproxy.was_reset()
        assert await agent.was_reset()
        await stage.over()


@pytest.fixture
def agent():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening


async def test_the_next_address_is_taken_when_one_fails(agent, tmp_path):
    nowhere = [Address(path=str(tmp_path / "none")), Address("x" * 64 + ".example", 9), Address("127.0.0.1", free_port())]
    with (await dial([*nowhere, Address(*agent.getsockname())])).sock as sock:
        assert sock.getpeername() == agent.getsockname()


async def test_the_first_address_that_answers_is_the_one(agent):
    with (await dial([Address(*agent.getsockname()), Address("127.0.0.1", free_port())])).sock as sock:
        assert sock.getpeername() == agent.getsockname()


async def test_of_several_addresses_each_is_told_and_the_last_gives_the_reason(tmp_path):
    path, port = str(tmp_path / "none"), free_port()
    with pytest.raises(DialError) as caught:
        await dial([Address(path=path), Address("127.0.0.1", port)])
    assert caught.value.reason is DialFailure.REFUSED
    assert caught.value.detail == f"unix:{path}: No such file or directory; 127.0.0.1:{port}: Connection refused"


async def test_an_address_that_swallows_everything_uses_up_its_share_alone(agent):
    loop = asyncio.get_running_loop()
    async with hanging_address() as nowhere:
        began = loop.time()
        with (await dial([nowhere, Address(*agent.getsockname())], 0.4)).sock as sock:
            assert sock.getpeername() == agent.getsockname()
        assert loop.time() - began >= 0.19  # its share; with all of it used up nothing were left for the other
        refused = Address("127.0.0.1", free_port())
        with pytest.raises(DialError) as caught:
            await dial([nowhere, refused], 0.1)
    assert caught.value.detail == f"{nowhere}: no connection within 0.05 s; {refused}: Connection refused"


async def test_an_address_that_swallows_everything_uses_up_only_its_share(agent, monkeypatch):
    async with hanging_address() as nowhere:

        async def two(*_):
            return [(socket.AF_INET, (nowhere.host, nowhere.port)), (socket.AF_INET, agent.getsockname())]

        monkeypatch.setattr(dialling, "resolve", two)
        with (await dial([Address("agent", 9)], 0.4)).sock as sock:
            assert sock.getpeername() == agent.getsockname()


async def test_the_last_address_is_left_to_the_callers_own_timeout():
    async with hanging_address() as nowhere:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await dial([nowhere], 0.01)


async def test_a_resolver_that_hangs_does_not_keep_the_next_address_waiting(agent, monkeypatch):
    real = dialling.resolve

    async def slow(address, *_):
        if address.host == "slow":
            await asyncio.Event().wait()
        return await real(address)

    monkeypatch.setattr(dialling, "resolve", slow)
    with (await dial([Address("slow", 9), Address(*agent.getsockname())], 0.4)).sock as sock:
        assert sock.getpeername() == agent.getsockname()


async def test_names_are_resolved_anew_at_each_dial(agent, monkeypatch):
    asked = []

    async def resolve(address, *_):
        asked.append(address)
        return [(socket.AF_INET, agent.getsockname())]

    monkeypatch.setattr(dialling, "resolve", resolve)
    for _ in range(2):
        (await dial([Address("agent", 9)])).sock.close()
    assert len(asked) == 2


async def test_the_relay_dials_every_address_of_its_route_within_its_connect_timeout():
    async with hanging_address() as nowhere, Stage(config=SessionConfig(connect_s=0.2)) as stage:
        there = stage.route.agent
        object.__setattr__(stage.route, "agent", (nowhere, *there))
        haproxy, agent = await stage.both()
        await haproxy.send(b"!")
        assert await agent.read(1) == b"!"
