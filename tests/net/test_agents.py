"""Which of several addresses of an agent is dialled first, and who is told what came of it."""

import errno
import socket

import pytest

from spoe_guard.address import Address
from spoe_guard.core.terms.config import SessionConfig
from spoe_guard.core.terms.events import AgentReady, AgentUnreachable, DialFailure
from spoe_guard.lab import frames
from spoe_guard.lab.agent import ScriptedAgent
from spoe_guard.net import agents as of_agents
from spoe_guard.net import dial as dialling
from spoe_guard.net.agents import LONGEST_S, SHORTEST_S, Agents
from spoe_guard.net.dial import DialError
from spoe_guard.wire import frame
from tests.net.conversation import Guarded, frame_of
from tests.net.doubles import Recorder


class Clock:
    """Monotonic seconds that pass when a test says so; no pause is shortened."""

    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr(of_agents, "monotonic", lambda: self.now)
        monkeypatch.setattr(of_agents.random, "random", lambda: 0.0)


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


class Places:
    """Addresses of Unix sockets, each of which listens when a test says so."""

    def __init__(self, folder):
        self._folder = folder
        self._listening = {}

    def __call__(self, *names):
        return tuple(Address(path=str(self._folder / name)) for name in names)

    def up(self, *names):
        for name in names:
            self._listening[name] = sock = socket.socket(socket.AF_UNIX)
            sock.bind(str(self._folder / name))
            sock.listen()

    def down(self, *names):
        for name in names:
            self._listening.pop(name).close()
            (self._folder / name).unlink()


@pytest.fixture
def places(tmp_path):
    made = Places(tmp_path)
    yield made
    made.down(*made._listening.copy())


class Dialling:
    """Agents of a route, and the addresses that were dialled, by name and result, since somebody asked last."""

    def __init__(self):
        self.recorder = Recorder()
        self.agents = Agents("default", self.recorder)

    async def reach(self, addresses):
        """Dial; return each address that was tried, those that failed with a minus before them."""
        try:
            dialled = await self.agents.reach(addresses, 1.0)
        except DialError:
            pass
        else:
            dialled.sock.close()
            assert str(dialled.address) == self.recorder.dials[-1][0]
        tried = [f"{'-' if reason else ''}{agent.rpartition('/')[2]}" for agent, reason in self.recorder.dials]
        self.recorder.dials.clear()
        return tried


@pytest.fixture
def dialling_():
    return Dialling()


async def test_an_address_that_failed_is_passed_over_until_its_pause_is_over(clock, places, dialling_):
    places.up("b")
    addresses = places("a", "b")
    assert await dialling_.reach(addresses) == ["-a", "b"]
    clock.now += SHORTEST_S - 0.001
    assert await dialling_.reach(addresses) == ["b"]
    clock.now += 0.001
    assert await dialling_.reach(addresses) == ["-a", "b"]
    places.up("a")
    assert await dialling_.reach(addresses) == ["b"]
    clock.now += SHORTEST_S
    assert await dialling_.reach(addresses) == ["a"]


@pytest.mark.parametrize(
    ("failing_s", "pause_s"), [(0.0, SHORTEST_S), (4.0, SHORTEST_S), (16.0, 1.0), (80.0, LONGEST_S), (1000.0, LONGEST_S)]
)
async def test_the_longer_an_address_fails_the_longer_its_pause(clock, places, dialling_, failing_s, pause_s):
    places.up("b")
    addresses = places("a", "b")
    await dialling_.reach(addresses)
    clock.now += failing_s
    dialling_.agents.failed(addresses[0])
    clock.now += pause_s - 0.001
    assert await dialling_.reach(addresses) == ["b"]
    clock.now += 0.002
    assert await dialling_.reach(addresses) == ["-a", "b"]


async def test_the_pauses_of_several_guards_are_not_in_step(clock, places, dialling_, monkeypatch):
    places.up("b")
    monkeypatch.setattr(of_agents.random, "random", lambda: 1.0)
    assert await dialling_.reach(places("a", "b")) == ["-a", "b"]
    clock.now += SHORTEST_S * 3 / 4
    assert await dialling_.reach(places("a", "b")) == ["-a", "b"]


async def test_one_address_alone_is_always_tried(clock, places, dialling_):
    for _ in range(3):
        assert await dialling_.reach(places("a")) == ["-a"]
    places.up("a")
    assert await dialling_.reach(places("a")) == ["a"]


async def test_where_all_have_failed_all_are_tried_in_their_order(clock, places, dialling_):
    addresses = places("a", "b", "c")
    for _ in range(3):
        assert await dialling_.reach(addresses) == ["-a", "-b", "-c"]
    places.up("b")
    assert await dialling_.reach(addresses) == ["-a", "b"]


async def test_those_that_failed_are_still_tried_behind_the_others(clock, places, dialling_):
    places.up("b", "c")
    addresses = places("a", "b", "c")
    assert await dialling_.reach(addresses) == ["-a", "b"]
    places.down("b", "c")
    assert await dialling_.reach(addresses) == ["-b", "-c", "-a"]


async def test_an_agent_that_connects_and_says_no_hello_is_passed_over(clock, places, dialling_):
    places.up("a", "b")
    addresses = places("a", "b")
    assert await dialling_.reach(addresses) == ["a"]
    dialling_.agents.failed(addresses[0])
    assert await dialling_.reach(addresses) == ["b"]
    dialling_.agents.answered(addresses[0])  # another session's, that was already under way
    assert await dialling_.reach(addresses) == ["a"]


async def test_a_connection_alone_is_no_answer(clock, places, dialling_):
    """Otherwise a mute agent would be first again as soon as it was dialled behind the others."""
    places.up("a")
    addresses = places("a", "b")
    dialling_.agents.failed(addresses[0])
    assert await dialling_.reach(addresses) == ["-b", "a"]
    places.up("b")
    clock.now += SHORTEST_S
    dialling_.agents.failed(addresses[0])
    assert await dialling_.reach(addresses) == ["b"]


async def test_what_the_guard_lacks_itself_passes_over_nobody(clock, places, dialling_, monkeypatch):
    places.up("a", "b")
    addresses = places("a", "b")
    outcome = dialling._outcome

    async def lacks(sock, where):
        return errno.ENOBUFS if where == addresses[0].path else await outcome(sock, where)

    monkeypatch.setattr(dialling, "_outcome", lacks)
    assert await dialling_.reach(addresses) == ["-a", "b"]
    monkeypatch.setattr(dialling, "_outcome", outcome)
    assert await dialling_.reach(addresses) == ["a"]


async def test_what_is_known_of_an_address_ends_with_it(clock, places, dialling_):
    places.up("b")
    await dialling_.reach(places("a", "b"))
    await dialling_.reach(places("b"))
    places.up("a")
    assert await dialling_.reach(places("a", "b")) == ["a"]


async def test_the_sessions_of_a_route_know_which_address_is_mute(tmp_path):
    """The first one finds out; the next one dials the other at once, and every event names its address."""
    agent = ScriptedAgent()
    mute, there = (Address(path=str(tmp_path / name)) for name in ("mute", "there"))
    config = SessionConfig(agent_hello_s=0.05, give_up_s=5.0)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(mute.path))
        listening.listen()
        await agent.listen_unix(str(there.path))
        async with Guarded(agent=there, config=config) as stage:
            for addresses in ((there,), (mute, there), (mute, there)):
                object.__setattr__(stage.route, "agent", addresses)
                haproxy = await stage.haproxy()
                await haproxy.send(frames.haproxy_hello())
                assert (await frame_of(haproxy)).type == frame.AGENT_HELLO
                await haproxy.send(frames.notify(1, 1, b"/path"))
                assert (await frame_of(haproxy)).type == frame.ACK
                haproxy.close()
            await stage.over(3)
            failed = [(event.agent, event.reason) for event in stage.events(AgentUnreachable)]
            assert failed == [(str(mute), DialFailure.HELLO_TIMEOUT)]
            assert [event.agent for event in stage.events(AgentReady)] == [str(there)] * 3
            tried = [str(there), str(mute), str(there), str(there)]
            assert stage.recorder.dials == [(address, None) for address in tried]
            assert [entry[1] for entry in stage.recorder.log if entry[0] == "link opened"] == tried
        await agent.stop()
