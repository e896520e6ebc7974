"""Which of several addresses of an agent is dialled first, and who is told what came of it."""

import asyncio
import errno
import socket
from dataclasses import replace

import pytest

from spoe_guard.address import Address
from spoe_guard.core.conversation.ledger import History, Ledger
from spoe_guard.core.terms.config import SessionConfig
from spoe_guard.core.terms.events import AgentReady, AgentUnreachable, DialFailure
from spoe_guard.lab import frames
from spoe_guard.lab.agent import ScriptedAgent
from spoe_guard.net import agents as of_agents
from spoe_guard.net import dial as dialling
from spoe_guard.net import standing
from spoe_guard.net.agents import Agents
from spoe_guard.net.dial import DialError
from spoe_guard.net.route import Route
from spoe_guard.net.standing import LONGEST_S, SHORTEST_S
from spoe_guard.wire import frame
from tests.net.conversation import Guarded, frame_of
from tests.net.doubles import Recorder
from tests.net.stage import LOCALHOST, until


class Clock:
    """Monotonic seconds that pass when a test says so; no pause is shortened."""

    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr(of_agents, "monotonic", lambda: self.now)
        monkeypatch.setattr(standing.random, "random", lambda: 0.0)


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
        self.route = Route("default", LOCALHOST, (LOCALHOST,))
        self.agents = Agents(self.route, self.recorder)

    async def reach(self, addresses):
        """Dial; return each address that was tried, those that failed with a minus before them."""
        try:
            dialled = await self.agents.reach(replace(self.route, agent=addresses))
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
    dialling_.agents.failed(addresses[0], "refused")
    clock.now += pause_s - 0.001
    assert await dialling_.reach(addresses) == ["b"]
    clock.now += 0.002
    assert await dialling_.reach(addresses) == ["-a", "b"]


async def test_the_pauses_of_several_guards_are_not_in_step(clock, places, dialling_, monkeypatch):
    places.up("b")
    monkeypatch.setattr(standing.random, "random", lambda: 1.0)
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
    dialling_.agents.failed(addresses[0], "refused")
    assert await dialling_.reach(addresses) == ["b"]
    dialling_.agents.answered(addresses[0])  # another session's, that was already under way
    assert await dialling_.reach(addresses) == ["a"]


async def test_a_connection_alone_is_no_answer(clock, places, dialling_):
    """Otherwise a mute agent would be first again as soon as it was dialled behind the others."""
    places.up("a")
    addresses = places("a", "b")
    dialling_.agents.failed(addresses[0], "refused")
    assert await dialling_.reach(addresses) == ["-b", "a"]
    places.up("b")
    clock.now += SHORTEST_S
    dialling_.agents.failed(addresses[0], "refused")
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


async def test_a_reload_that_drops_an_address_forgets_it(clock, places, dialling_):
    places.up("b")
    await dialling_.reach(places("a", "b"))
    for names in ("b", "ab"):
        dialling_.agents.use(replace(dialling_.route, agent=places(*names)))
    places.up("a")
    assert await dialling_.reach(places("a", "b")) == ["a"]


async def test_of_an_address_with_links_it_is_kept_until_they_are_gone(clock, places, dialling_):
    """Those links are still counted, and sessions from before the reload dial there."""
    link, [a, b] = Link(), places("a", "b")
    dialling_.agents.failed(link.address, "refused")
    dialling_.agents.connected(link, None)
    link.address = a
    dialling_.agents.connected(link, None)
    dialling_.agents.failed(a, "refused")
    dialling_.agents.use(replace(dialling_.route, agent=(b,)))
    assert dialling_.agents.is_down(a)
    dialling_.agents.ended(link)
    dialling_.agents.use(replace(dialling_.route, agent=(b,)))
    assert not dialling_.agents.is_down(a)
    dialling_.agents.ended(link)  # of an address that nobody knows any more


class Link:
    address = LOCALHOST


class Several(Dialling):
    """Agents of a route with several addresses, and which of them the guard was to ask, a plus before those at once."""

    def __init__(self, addresses, balance="first", **how):
        super().__init__()
        self.asked = []
        self.route = replace(self.route, agent=addresses, balance=balance, **how)
        self.agents = Agents(self.route, self.recorder, ask=self._ask)

    def _ask(self, address, *, at_once):
        self.asked.append(f"{'+' if at_once else ''}{name_of(address)}")

    async def dials(self, link=None, avoid=()):
        """Dial for ``link``; return the address it is connected to, by name."""
        dialled = await self.agents.reach(self.route, link or Link(), avoid)
        dialled.sock.close()
        return name_of(dialled.address)

    def moves(self):
        """Return the changes of where new links go, since somebody asked last."""
        found = [(name_of(before), name_of(after), why) for what, before, after, why in self.recorder.log if what == "moved"]
        self.recorder.log.clear()
        return found


def name_of(address):
    return str(address).rpartition("/")[2]


async def test_where_the_guard_asks_no_dial_finds_out(clock, places):
    places.up("b")
    several = Several(places("a", "b"))
    assert await several.dials() == "b"
    places.up("a")
    clock.now += 1000.0
    assert await several.dials() == "b"
    assert several.asked == ["a"]
    assert several.agents.answered_check(several.route.agent[0])
    assert await several.dials() == "a"


async def test_in_observe_mode_a_dial_finds_out(clock, places):
    places.up("b")
    several = Several(places("a", "b"), config=SessionConfig(observe=True))
    assert await several.dials() == "b"
    places.up("a")
    clock.now += SHORTEST_S
    assert await several.dials() == "a"


async def test_where_new_links_go_is_told_when_it_changes(clock, places):
    several = Several(places("a", "b", "c"))
    a, b, _c = several.route.agent
    several.agents.failed(b, "refused")
    assert several.moves() == []
    several.agents.failed(a, "timeout")
    several.agents.failed(a, "timeout")
    assert several.moves() == [("a", "c", "timeout")]
    several.agents.answered(b)
    assert several.moves() == [("c", "b", "")]
    several.agents.answered(a)
    assert several.moves() == [("b", "a", "")]
    several.agents.answered(a)
    assert several.moves() == []


async def test_while_all_are_down_new_links_go_nowhere_else(clock, places):
    several = Several(places("a", "b"))
    a, b = several.route.agent
    several.agents.failed(b, "refused")
    several.agents.failed(a, "refused")
    assert several.moves() == []
    several.agents.answered(b)
    assert several.moves() == [("a", "b", "")]


@pytest.mark.parametrize("balance", ["least-open", "round-robin"])
async def test_where_links_are_spread_none_is_the_one_they_go_to(clock, places, balance):
    several = Several(places("a", "b"), balance)
    for address in several.route.agent:
        several.agents.failed(address, "refused")
        several.agents.answered(address)
    assert several.moves() == []


async def test_of_one_address_nothing_is_told_and_nobody_asks_it(clock, places):
    several = Several(places("a"))
    [a] = several.route.agent
    link = Link()
    link.address = a
    several.agents.failed(a, "refused")
    several.agents.answered(a)
    several.agents.in_doubt(a)
    several.agents.silent(link, clock.now, "")
    assert (several.recorder.log, several.asked, several.agents.is_down(a)) == ([], [], False)


def ledger(heard):
    made = Ledger(History())
    made.heard = heard
    return made


async def test_an_address_is_down_that_brought_nothing_on_any_link(clock, places):
    """One of its threads may hang, and another serve."""
    several = Several(places("a", "b"))
    a, _b = several.route.agent
    links = [Link(), Link()]
    for link, heard in zip(links, (clock.now - 9, clock.now - 1), strict=True):
        link.address = a
        several.agents.connected(link, ledger(heard))
    several.agents.silent(links[0], clock.now - 3, "why")
    assert not several.agents.is_down(a)
    clock.now += 5
    several.agents.silent(links[0], clock.now - 3, "why")
    several.agents.silent(links[1], clock.now - 3, "why")
    assert several.agents.is_down(a)
    assert several.asked == ["a"]
    assert several.recorder.log == [("silent", str(a)), ("moved", *map(str, several.route.agent), "deadline")]
    assert not several.agents.answered_check(a)
    assert several.agents.is_down(a)
    clock.now += standing.SILENT_S
    assert several.agents.answered_check(a)
    assert not several.agents.is_down(a)


async def test_an_address_in_doubt_is_asked_at_once(clock, places):
    several = Several(places("a", "b"))
    several.agents.in_doubt(several.route.agent[1])
    assert several.asked == ["+b"]


async def test_a_link_counts_where_it_goes_from_its_dial_to_its_end(clock, places):
    places.up("b")
    several = Several(places("a", "b"), "least-open")
    a, b = several.route.agent
    link = Link()
    assert await several.dials(link) == "b"  # a is down
    assert link.address == b
    several.agents.answered(a)
    places.up("a")
    clock.now += standing.SLOW_START_S
    assert await several.dials() == "a"
    several.agents.connected(link, ledger(0.0))
    assert await several.dials() == "a"
    several.agents.met(link)
    assert await several.dials() == "b"  # b has a link and no NOTIFY, and a the three that were dialled before
    several.agents.ended(link)
    assert several.agents.open_on(b) == 0


async def test_a_dial_that_failed_or_was_given_up_counts_nowhere(clock, places, monkeypatch):
    async def never(_sock, _where):
        await asyncio.get_running_loop().create_future()

    several = Several(places("a", "b"))
    link = Link()
    with pytest.raises(DialError):
        await several.dials(link)
    assert not any(known.used for known in several.agents._known.values())
    monkeypatch.setattr(dialling, "_outcome", never)
    task = asyncio.get_running_loop().create_task(several.dials(link))
    await until(lambda: several.agents._known[several.route.agent[0]].making)
    task.cancel()
    await asyncio.wait((task,))
    assert not any(known.used for known in several.agents._known.values())


async def test_open_notifies_are_those_of_the_links(clock, places):
    several = Several(places("a", "b"))
    a, b = several.route.agent
    link, has = Link(), ledger(0.0)
    has.add(b"\1\1", 0.0)
    link.address = a
    several.agents.connected(link, has)
    assert (several.agents.open_on(a), several.agents.open_on(b)) == (1, 0)


async def test_notifies_given_to_an_address_include_those_of_links_gone(clock, places):
    several = Several(places("a", "b"))
    a, b = several.route.agent
    assert several.agents.given_to(a) == 0
    for given, so_far in ((2, 2), (3, 5)):
        link, has = Link(), ledger(0.0)
        link.address = a
        several.agents.connected(link, has)
        for at in range(given):
            has.add(bytes((1 + at, 1)), 0.0)
            has.pop(bytes((1 + at, 1)))
        assert several.agents.given_to(a) == so_far
        several.agents.ended(link)
        several.agents.ended(link)
        assert several.agents.given_to(a) == so_far
    unknown = Link()
    unknown.address = b
    several.agents.connected(unknown, None)  # of a link whose NOTIFYs nobody knows
    several.agents.ended(unknown)
    assert several.agents.given_to(b) == 0


async def test_health_checks_take_nobodys_turn(clock, places):
    places.up("a", "b")
    several = Several(places("a", "b"), "round-robin")
    turns = []
    for _ in range(4):
        (await several.agents.reach(several.route)).sock.close()
        turns.append(await several.dials())
    assert turns == ["a", "b", "a", "b"]


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
