"""A route with several addresses in a real guard: where links go when an agent fails, hangs or comes back."""

import asyncio
from collections import Counter
from dataclasses import replace
from time import monotonic

import pytest

from spoe_guard.address import Address
from spoe_guard.core.conversation.agent_link import MUTE_AFTER
from spoe_guard.core.conversation.agent_state import SILENT_AFTER
from spoe_guard.core.terms.config import Redispatch, SessionConfig
from spoe_guard.core.terms.events import AgentReady, DialFailure, LinkFailed, LinkLoss
from spoe_guard.lab import frames
from spoe_guard.lab.agent import Script, ScriptedAgent
from spoe_guard.lab.misbehaviour import MISBEHAVIOURS
from spoe_guard.net import agents, relay, standing
from spoe_guard.net import watch as watching
from spoe_guard.wire import frame
from tests.builds import puts_in_place
from tests.net.conversation import Guarded, frame_of
from tests.net.stage import until

CONFIG = SessionConfig(give_up_s=5.0, redispatch=Redispatch.UNANSWERED)


class Several(Guarded):
    """A guard with one route to the Unix sockets ``names`` in ``folder``, where agents come and go."""

    def __init__(self, folder, *names, config=CONFIG, **route):
        super().__init__(agent=Address(path=str(folder / names[0])), config=config, **route)
        self.places = {name: Address(path=str(folder / name)) for name in names}
        self._route["agent"] = tuple(self.places.values())
        self.agents = {}

    async def comes(self, name, script=None):
        agent = self.agents[name] = ScriptedAgent(script)
        await agent.listen_unix(self.places[name].path)
        return agent

    async def goes(self, name):
        await self.agents.pop(name).stop()

    def name_of(self, text):
        return next(name for name, address in self.places.items() if str(address) == text)

    @property
    def links(self):
        """Where links were opened, in order."""
        return [self.name_of(entry[1]) for entry in self.recorder.log if entry[0] == "link opened"]

    @property
    def moves(self):
        told = [entry[1:] for entry in self.recorder.log if entry[0] == "moved"]
        return [(self.name_of(before), self.name_of(after), why) for before, after, why in told]

    @property
    def known(self):
        return self.guard._agents["default"]

    def is_down(self, name):
        return self.known.is_down(self.places[name])

    async def met(self):
        """Connect as HAProxy, behind the handshake."""
        haproxy = await self.haproxy()
        await haproxy.send(frames.haproxy_hello(frames.Family.MUX))
        assert (await frame_of(haproxy)).type == frame.AGENT_HELLO
        return haproxy

    async def __aexit__(self, kind, *rest):
        await self.guard.drain(5.0)
        for name in list(self.agents):
            await self.goes(name)
        await super().__aexit__(kind, *rest)


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(watching, "EVERY_S", 0.02)


async def asked(haproxy, stream_id):
    await haproxy.send(frames.notify(stream_id, 1, b"/path"))


async def answered(haproxy, stream_id):
    got = await frame_of(haproxy)
    assert (got.type, got.stream_id) == (frame.ACK, stream_id)


NEVER = Script(delay_s=1000.0)  # it answers HELLO alone
REFUSES = Script(hello=frames.disconnect(frame.AGENT_DISCONNECT, 4))


@pytest.mark.parametrize("how", ["close_without_a_word", "reset_without_a_word"])
async def test_what_a_lost_link_had_goes_to_another_address(tmp_path, how):
    """Though the first one is well: it may have ended the link because of that NOTIFY."""
    async with Several(tmp_path, "a", "b") as stage:
        await stage.comes("a", Script(MISBEHAVIOURS[how]))
        await stage.comes("b")
        haproxy = await stage.met()
        await asked(haproxy, 1)
        await answered(haproxy, 1)
        assert stage.links == ["a", "b"]
        [failed] = stage.events(LinkFailed)
        assert stage.name_of(failed.agent) == "a"
        other = await stage.met()
        assert stage.links == ["a", "b", "a"]
        assert stage.moves == []
        for peer in (haproxy, other):
            peer.close()


async def test_it_goes_to_the_same_address_where_no_other_is_well(tmp_path):
    async with Several(tmp_path, "a", "b") as stage:
        await stage.comes("a", Script(MISBEHAVIOURS["close_without_a_word"]))
        stage.known.failed(stage.places["b"], "refused")
        haproxy = await stage.met()
        await asked(haproxy, 1)
        await answered(haproxy, 1)
        assert stage.links == ["a", "a"]
        haproxy.close()


@puts_in_place
async def test_a_session_avoids_an_address_only_for_a_while(tmp_path, monkeypatch):
    monkeypatch.setattr(relay, "AVOID_S", 0.0)
    async with Several(tmp_path, "a", "b") as stage:
        await stage.comes("a", Script(MISBEHAVIOURS["close_without_a_word"]))
        await stage.comes("b")
        haproxy = await stage.met()
        await asked(haproxy, 1)
        await answered(haproxy, 1)
        assert stage.links == ["a", "a"]
        haproxy.close()


async def test_an_address_that_hangs_up_before_hello_is_left(tmp_path):
    """As a proxy does that has nobody behind it."""
    async with Several(tmp_path, "a", "b") as stage:
        stage.agents["a"] = ScriptedAgent(connections=0)
        await stage.agents["a"].listen_unix(stage.places["a"].path)
        await stage.comes("b")
        peers = [await stage.met()]
        assert stage.links == ["a"]
        assert stage.moves == [("a", "b", "other")]
        await asked(peers[0], 1)
        await answered(peers[0], 1)
        assert stage.links == ["a", "b"]
        peers.append(await stage.met())
        assert stage.links == ["a", "b", "b"]
        for peer in peers:
            peer.close()


SILENT = SessionConfig(give_up_s=5.0, redispatch=Redispatch.UNANSWERED, answer_deadline_s=0.05, agent_hello_s=1.0)


async def test_an_address_whose_link_is_silent_is_left(tmp_path, monkeypatch):
    """It answers HELLO all the same; so it is tried again only after a while."""
    config = replace(SILENT, answer_deadline_s=0.25)  # "b" is to answer in time on a busy machine, too
    async with Several(tmp_path, "a", "b", config=config) as stage:
        await stage.comes("a", NEVER)
        await stage.comes("b")
        haproxy = await stage.met()
        for stream_id in range(1, 2 * MUTE_AFTER, 2):
            await asked(haproxy, stream_id)
        await until(lambda: stage.links == ["a", "b"])
        assert [(event.reason, stage.name_of(event.agent)) for event in stage.events(LinkFailed)] == [(LinkLoss.DEADLINE, "a")]
        assert stage.is_down("a")
        assert stage.moves == [("a", "b", "deadline")]
        assert ("silent", str(stage.places["a"])) in stage.recorder.log
        await asked(haproxy, 9)
        await answered(haproxy, 9)
        checks = stage.agents["a"].accepted
        await until(lambda: stage.agents["a"].accepted >= checks + 3)
        assert stage.is_down("a")
        monkeypatch.setattr(agents, "monotonic", lambda: monotonic() + standing.SILENT_S)
        await until(lambda: stage.moves[1:] == [("b", "a", "")])
        haproxy.close()


async def test_an_agent_that_works_on_another_link_is_not_left(tmp_path):
    """One of its threads hangs, and not the agent: the next link of that session alone goes elsewhere."""
    config = replace(SILENT, answer_deadline_s=1.0)  # it must not be this machine that is silent for so long
    async with Several(tmp_path, "a", "b", config=config) as stage:
        agent = await stage.comes("a")
        await stage.comes("b")
        hung = await stage.met()
        [link] = agent._links
        link._script = NEVER
        well = await stage.met()
        for stream_id in range(1, 2 * MUTE_AFTER, 2):
            await asked(hung, stream_id)
        number = 1
        while len(stage.links) < 3:
            await asked(well, number)
            await answered(well, number)
            number += 2
        assert stage.links == ["a", "a", "b"]
        assert not stage.is_down("a")
        for peer in (hung, well):
            peer.close()


class Freezes(ScriptedAgent):
    """From ``frozen`` on it accepts connections and says nothing, as a process that stands still."""

    frozen = False

    async def _accepted(self, reader, writer):
        if not self.frozen:
            await super()._accepted(reader, writer)
            return
        await reader.read()
        writer.close()


async def test_where_many_links_are_silent_together_each_address_is_asked(tmp_path):
    """None of them has enough NOTIFYs to tell."""
    async with Several(tmp_path, "a", "b", config=SILENT, balance="round-robin") as stage:
        await stage.comes("a")
        hangs = stage.agents["b"] = Freezes(NEVER)
        await hangs.listen_unix(stage.places["b"].path)
        peers = [await stage.met() for _ in range(2 * SILENT_AFTER)]
        assert Counter(stage.links) == {"a": SILENT_AFTER, "b": SILENT_AFTER}
        hangs.frozen = True
        for peer in peers:
            await asked(peer, 1)
        await until(lambda: stage.is_down("b"))
        assert not stage.is_down("a")
        assert stage.events(LinkFailed) == []
        for peer in peers:
            peer.close()


async def test_open_notifies_are_counted_by_address(tmp_path):
    async with Several(tmp_path, "a", "b", balance="least-open") as stage:
        for name in ("a", "b"):
            await stage.comes(name, NEVER)
        peers = [await stage.met() for _ in range(4)]
        assert Counter(stage.links) == {"a": 2, "b": 2}
        for stream_id in (1, 3):
            await asked(peers[0], stream_id)
        await asked(peers[1], 1)
        both = [str(stage.places[name]) for name in ("a", "b")]
        await until(lambda: sorted(stage.guard.open_on("default").values()) == [1, 2])
        assert [*stage.guard.open_on("default")] == both
        assert sorted(stage.guard.given_to("default").items()) == sorted(stage.guard.open_on("default").items())
        given = stage.guard.given_to("default")
        for peer in peers:
            peer.close()
        await until(lambda: stage.guard.open_on("default") == dict.fromkeys(both, 0))
        assert stage.guard.given_to("default") == given


async def test_an_address_that_a_reload_dropped_is_asked_no_more(tmp_path):
    async with Several(tmp_path, "a", "b") as stage:
        await stage.comes("b")
        haproxy = await stage.met()
        await until(lambda: stage.guard._asking_address)
        await stage.use([replace(stage.route, agent=(stage.places["b"],))])
        await until(lambda: not stage.guard._asking_address)
        haproxy.close()


async def test_in_observe_mode_nothing_is_asked(tmp_path):
    async with Several(tmp_path, "a", "b", config=SessionConfig(observe=True)) as stage:
        await stage.comes("b")
        haproxy = await stage.met()
        assert stage.is_down("a")
        assert not stage.guard._asking_address
        assert stage.links == ["b"]
        haproxy.close()


@pytest.mark.parametrize(("frozen", "why"), [(True, DialFailure.HELLO_TIMEOUT), (False, DialFailure.OTHER)])
async def test_why_a_check_brought_no_hello_is_told(tmp_path, frozen, why):
    """It says nothing, or hangs up."""
    async with Several(tmp_path, "a", "b", config=SILENT) as stage:
        await stage.comes("b")
        agent = stage.agents["a"] = Freezes(connections=0)
        agent.frozen = frozen
        await agent.listen_unix(stage.places["a"].path)
        stage.known.in_doubt(stage.places["a"])
        await until(lambda: (str(stage.places["a"]), why) in stage.recorder.dials)
        assert stage.moves == [("a", "b", why.value)]


@pytest.mark.parametrize("balance", ["first", "least-open", "round-robin"])
async def test_an_address_that_refuses_hello_is_down_until_it_does_not(tmp_path, balance):
    async with Several(tmp_path, "a", "b", balance=balance) as stage:
        await stage.comes("a", REFUSES)
        await stage.comes("b")
        peers = []
        for _ in range(len(stage.places)):  # which of them is the first is left to chance
            peers.append(await stage.haproxy())
            await peers[-1].send(frames.haproxy_hello(frames.Family.MUX))
            await frame_of(peers[-1])
        assert stage.links.count("a") == 1
        assert stage.is_down("a")
        peers += [await stage.met() for _ in range(4)]
        assert stage.links.count("a") == 1
        asked_itself = (str(stage.places["a"]), DialFailure.HELLO_REFUSED)
        await until(lambda: asked_itself in stage.recorder.dials)
        assert stage.is_down("a")
        await stage.goes("a")
        await stage.comes("a")
        await until(lambda: not stage.is_down("a"))
        peers.append(await stage.met())
        assert stage.links[-1] == "a"
        for peer in peers:
            peer.close()


async def test_a_check_takes_no_longer_than_a_dial_may(tmp_path, monkeypatch):
    async def never(_address, _within_s):
        await asyncio.get_running_loop().create_future()

    async with Several(tmp_path, "a", "b", config=replace(CONFIG, connect_s=0.05)) as stage:
        await stage.comes("b")
        monkeypatch.setattr(stage.known, "check", never)
        haproxy = await stage.met()
        await until(lambda: (str(stage.places["a"]), DialFailure.TIMEOUT) in stage.recorder.dials)
        haproxy.close()


async def test_an_address_that_is_down_is_asked_until_it_answers(tmp_path):
    async with Several(tmp_path, "a", "b") as stage:
        await stage.comes("b")
        peers = [await stage.met()]
        assert stage.moves == [("a", "b", "no_socket")]
        await until(lambda: Counter(agent for agent, reason in stage.recorder.dials if reason)[str(stage.places["a"])] >= 3)
        dials = len(stage.recorder.dials)
        peers.append(await stage.met())
        assert (str(stage.places["b"]), None) in stage.recorder.dials[dials:]
        assert stage.links == ["b", "b"]
        await stage.comes("a")
        await until(lambda: not stage.is_down("a"))
        assert stage.moves[1:] == [("b", "a", "")]
        ready = [event.agent for event in stage.events(AgentReady) if event.healthcheck]
        assert ready == [str(stage.places["a"])]
        peers.append(await stage.met())
        assert stage.links == ["b", "b", "a"]
        await until(lambda: not stage.guard._asking_address)
        for peer in peers:
            peer.close()
