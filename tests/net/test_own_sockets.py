"""The guard knows its own listening sockets, and dials none of them where that would lead back to the same route."""

import asyncio
import os
import socket

import pytest

from spoe_guard.address import Address
from spoe_guard.core.terms.events import DialFailure
from spoe_guard.net import dial as dialling
from spoe_guard.net import guard as guarding
from spoe_guard.net.bind import Bound, bind
from spoe_guard.net.dial import ends
from spoe_guard.net.guard import Guard
from spoe_guard.net.own_sockets import OwnSockets
from spoe_guard.net.route import Route
from tests.net.doubles import FakeSession, Recorder
from tests.net.peers import Peer
from tests.net.stage import LOCALHOST, Stage, until

ELSEWHERE = "192.0.2.77"


def own_address():
    """An address of this machine that is no loopback's."""
    found = ends(socket.AF_INET, ("198.51.100.1", 9))
    if found is None:
        pytest.skip("no address but the loopback's here: give the machine a default route")
    return found[0][0]


class Listening:
    """``with Listening("127.0.0.1") as (own, port)``: the sockets of a guard whose one route, a, listens there."""

    def __init__(self, host, *, v6only=False):
        self._family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._host, self._v6only = host, v6only

    def __enter__(self):
        self._sock = socket.socket(self._family)
        if self._family == socket.AF_INET6:
            self._sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, self._v6only)
        self._sock.bind((self._host, 0))
        self._sock.listen()
        port = self._sock.getsockname()[1]
        return OwnSockets([Bound(Route("a", Address(self._host, port), ()), self._sock)]), port

    def __exit__(self, *_):
        self._sock.close()


def is_own(own, host, port):
    where = (host, port, 0, 0) if ":" in host else (host, port)
    found = own.at(socket.AF_INET6 if ":" in host else socket.AF_INET, where)
    assert found is None or found[0] == "a"
    return found is not None


@pytest.mark.parametrize(
    ("listen", "reached", "not_reached"),
    [
        ("127.0.0.1", ["127.0.0.1", "0.0.0.0", "::ffff:127.0.0.1"], ["127.0.0.2", "::1", ELSEWHERE]),
        ("0.0.0.0", ["127.0.0.1", "127.0.0.2", "0.0.0.0"], ["::1", ELSEWHERE]),
        ("::1", ["::1"], ["127.0.0.1"]),
        ("::", ["::1", "127.0.0.1", "127.0.0.3", "::ffff:127.0.0.1"], [ELSEWHERE]),
    ],
)
def test_what_a_connection_would_reach_is_known_without_one(listen, reached, not_reached):
    with Listening(listen) as (own, port):
        for host in reached:
            assert is_own(own, host, port), host
            assert not is_own(own, host, port - 1), host
        for host in not_reached:
            assert not is_own(own, host, port), host


def test_a_wildcard_stands_for_every_address_of_this_machine():
    with Listening("0.0.0.0") as (own, port):
        assert is_own(own, own_address(), port)
    with Listening("127.0.0.1") as (own, port):
        assert not is_own(own, own_address(), port)


def test_a_wildcard_of_ipv6_alone_takes_no_ipv4():
    with Listening("::", v6only=True) as (own, port):
        assert is_own(own, "::1", port)
        assert not is_own(own, "127.0.0.1", port)


async def test_a_unix_socket_is_known_by_its_file(tmp_path):
    path = tmp_path / "guard"
    bound = await bind(Route("a", Address(path=str(path)), ()))
    own = OwnSockets([bound])
    (tmp_path / "folder").symlink_to(tmp_path)
    (tmp_path / "link").symlink_to(path)
    os.link(path, tmp_path / "other-name")
    for name in ("guard", "folder/guard", "link", "other-name"):
        assert own.at(socket.AF_UNIX, str(tmp_path / name)) == ("a", Address(path=str(path))), name
    assert own.at(socket.AF_UNIX, str(tmp_path / "none")) is None
    path.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        assert own.at(socket.AF_UNIX, str(path)) is None
    bound.close()


def routes_and_places(own_ports, **agents):
    """Return routes that listen at ``own_ports``, by name, each with its agents' ports, and where those are."""
    routes = {name: Route(name, LOCALHOST, tuple(Address("agent", port) for port in agents[name])) for name in own_ports}
    places = {address: [(socket.AF_INET, ("127.0.0.1", address.port))] for each in routes.values() for address in each.agent}
    return routes, places


async def test_a_circle_is_told_step_by_step_and_a_chain_is_none():
    bound = {name: await bind(Route(name, LOCALHOST, ())) for name in "abc"}
    own = OwnSockets(bound.values())
    a, b, c = (bound[name].address.port for name in "abc")

    def way(start, goal, **agents):
        routes, places = routes_and_places("abc", **agents)
        steps = own.way(routes[start], goal, routes, places)
        return [(step.name, step.agent.port, step.leads_to, step.listen) for step in steps]

    at_a, at_b, at_c = (bound[name].address for name in "abc")
    assert way("a", "a", a=[a], b=[9], c=[9]) == [("a", a, "a", at_a)]
    assert way("a", "a", a=[9, b], b=[a], c=[9]) == [("a", b, "b", at_b), ("b", a, "a", at_a)]
    assert way("c", "c", a=[b], b=[c], c=[9, a]) == [("c", a, "a", at_a), ("a", b, "b", at_b), ("b", c, "c", at_c)]
    assert way("a", "a", a=[b], b=[c], c=[9]) == []
    assert way("a", "a", a=[b], b=[c], c=[b]) == []  # a circle, but a is not on it
    for each in bound.values():
        each.close()


async def test_a_route_that_would_dial_itself_has_no_agent(monkeypatch, family, tmp_path):
    """Its name stood for somebody else when the guard started."""
    async with Stage(unix_in=tmp_path if family == "unix" else None, agent=Address("agent", 9)) as stage:

        async def resolve(*_):
            where = stage.address.path or (stage.address.host, stage.address.port)
            return [(socket.AF_UNIX if family == "unix" else socket.AF_INET, where)]

        monkeypatch.setattr(dialling, "resolve", resolve)
        haproxy = await stage.haproxy()
        assert await haproxy.rest() == b""
        await stage.over()
        [(_, reason, detail)] = [call for call in stage.session.calls if call[0] == "agent_failed"]
        assert reason is DialFailure.OURSELVES
        expected = f"route default listens there ({stage.address}), so the guard would dial itself; give the agent's own address"
        assert detail == f"{stage.address}: {expected}"


async def test_another_address_of_the_agent_is_dialled_instead(monkeypatch):
    async with Stage() as stage:
        there = stage.route.agent
        object.__setattr__(stage.route, "agent", (stage.address, *there))
        haproxy, agent = await stage.both()
        await haproxy.send(b"!")
        assert await agent.read(1) == b"!"
        assert stage.recorder.count("opened") == 1


@pytest.mark.parametrize("circle", [False, True])
async def test_one_route_may_lead_to_another_but_not_back(monkeypatch, circle):
    """The name of a third one hangs, which is no reason for these to wait."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        where = {}

        async def resolve(address, *_):
            if address.host == "agent-of-c":
                await asyncio.Event().wait()
            return [(socket.AF_INET, where[address.host])]

        monkeypatch.setattr(dialling, "resolve", resolve)
        monkeypatch.setattr(guarding, "resolve", resolve)
        recorder, sessions = Recorder(), []

        def make(*given):
            sessions.append(FakeSession(*given))
            return sessions[-1]

        routes = [Route(name, LOCALHOST, (Address(f"agent-of-{name}", 9),)) for name in "abc"]
        guard = Guard(routes, recorder, make)
        await guard.start()
        at_a, at_b = ((each.host, each.port) for each in (guard.addresses["a"], guard.addresses["b"]))
        where.update({"agent-of-a": at_b, "agent-of-b": at_a if circle else listening.getsockname()})
        peer = Peer(socket.create_connection(at_a))
        peer.sock.setblocking(False)
        if circle:
            assert await peer.rest() == b""
            await until(lambda: recorder.count("closed") == recorder.count("opened"), "the end of all sessions")
            assert recorder.count("opened") == 1
            assert [call[1] for each in sessions for call in each.calls if call[0] == "agent_failed"] == [DialFailure.OURSELVES]
        else:
            await peer.send(b"!")
            sock, _ = await peer.loop.sock_accept(listening)
            assert await peer.loop.sock_recv(sock, 1) == b"!"
            sock.close()
            assert recorder.count("opened") == 2
        peer.close()
        await guard.drain()
