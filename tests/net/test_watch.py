"""``health: listen``: a plain connect is refused while the agent is away; and an agent that failed is asked until it answers."""

import asyncio
import contextlib
import errno
import socket
import time
from dataclasses import replace
from pathlib import Path

import pytest

from spoe_guard.address import Address
from spoe_guard.core.conversation.agent_state import SILENT_AFTER
from spoe_guard.core.terms.config import SessionConfig, Unanswered
from spoe_guard.core.terms.events import AgentReady, AgentUnreachable, DialFailure
from spoe_guard.lab import frames
from spoe_guard.lab.agent import Script, ScriptedAgent
from spoe_guard.lab.streams import stop_listening
from spoe_guard.net import watch as watching
from spoe_guard.net.listener import Listener, Pause
from spoe_guard.net.watch import EVERY_S, LEAST_HELLO_S
from spoe_guard.wire import frame
from tests.net.conversation import Guarded, frame_of
from tests.net.peers import Peer
from tests.net.stage import DEADLINE_S, until

GIVE_UP_S = 0.3
CONFIG = SessionConfig(give_up_s=GIVE_UP_S, unanswered=Unanswered.SET, error_name=b"error")
SLACK_S = 2.0  # what is promised: within so long of its return, and of its end and give_up


class Watched(Guarded):
    """A guard with ``health: listen``, and an agent on a Unix socket that comes and goes."""

    def __init__(self, folder, config=CONFIG, **route):
        self.path = str(folder / "comes-and-goes")
        super().__init__(agent=Address(path=self.path), listen_while_away=False, config=config, **route)
        self._agents = []

    async def agent_comes(self, script=None):
        self._agents.append(ScriptedAgent(script))
        await self._agents[-1].listen_unix(self.path)

    async def agent_goes(self):
        agent = self._agents.pop()
        await agent.stop()
        Path(self.path).unlink(missing_ok=True)  # noqa: ASYNC240  a socket in a folder of the test

    async def connects(self):
        """Connect plainly, as HAProxy's `check` does, and hang up; return whether that worked."""
        with socket.socket() as sock:
            sock.setblocking(False)
            try:
                await asyncio.get_running_loop().sock_connect(sock, (self.address.host, self.address.port))
            except ConnectionRefusedError:
                return False
        return True

    async def until_it(self, connects):
        """Wait until a plain connect works, or is refused; return how long that took, in seconds."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while await self.connects() is not connects:
            assert loop.time() - began < DEADLINE_S
            await asyncio.sleep(0.01)
        return loop.time() - began

    @property
    def listener(self):
        [listener] = self.guard._listeners
        return listener

    async def __aexit__(self, kind, *rest):
        for agent in self._agents:
            await agent.stop()
        await super().__aexit__(kind, *rest)


async def test_a_plain_connect_tells_whether_the_agent_is_there(tmp_path, monkeypatch):
    """At the port that the kernel chose, and with not one connection of HAProxy's to the agent."""
    monkeypatch.setattr(watching, "EVERY_S", 0.05)
    async with Watched(tmp_path) as stage:
        await stage.agent_comes()
        assert await stage.connects()
        await until(lambda: stage.events(AgentReady))
        for _ in range(2):
            await stage.agent_goes()
            await stage.until_it(connects=False)
            assert not await stage.connects()
            await stage.agent_comes()
            await stage.until_it(connects=True)
        checks = [got for connection in stage._agents[0].received for got in connection]
        assert {got.type for got in checks} <= {frame.HAPROXY_HELLO}


@pytest.mark.measure
async def test_that_it_is_there_or_not_is_told_in_time(tmp_path):
    async with Watched(tmp_path) as stage:
        await stage.agent_comes()
        await until(lambda: stage.events(AgentReady))
        for _ in range(2):
            await stage.agent_goes()
            assert await stage.until_it(connects=False) < GIVE_UP_S + SLACK_S
            await stage.agent_comes()
            assert await stage.until_it(connects=True) < SLACK_S


async def test_an_agent_that_goes_is_waited_for_as_long_as_give_up(tmp_path, monkeypatch):
    """Two failed tries: the first one is the sign, and the next one is later than give_up; then one that works."""
    monkeypatch.setattr(watching.random, "random", lambda: 0.0)
    monkeypatch.setattr(watching, "EVERY_S", 2 * GIVE_UP_S)
    async with Watched(tmp_path) as stage:
        await stage.agent_comes()
        await until(lambda: stage.events(AgentReady))
        await stage.agent_goes()
        stage.recorder.dials.clear()
        await stage.until_it(connects=False)
        assert [reason for _, reason in stage.recorder.dials] == [DialFailure.NO_SOCKET] * 2
        await stage.agent_comes()
        stage.recorder.dials.clear()
        await stage.until_it(connects=True)
        assert [reason for _, reason in stage.recorder.dials] == [None]


async def test_an_agent_that_was_never_there_is_away(tmp_path):
    async with Watched(tmp_path) as stage:
        await stage.until_it(connects=False)
        [event] = stage.events(AgentUnreachable)
        assert event.reason is DialFailure.NO_SOCKET
        assert {agent for agent, _ in stage.recorder.dials} == {f"unix:{stage.path}"}


async def test_a_session_that_is_open_goes_on(tmp_path):
    async with Watched(tmp_path) as stage:
        await stage.agent_comes()
        haproxy = await stage.haproxy()
        await haproxy.send(frames.haproxy_hello())
        assert (await frame_of(haproxy)).type == frame.AGENT_HELLO

        async def ask(stream_id):
            await haproxy.send(frames.notify(stream_id, 1, b"/path"))
            return await frame_of(haproxy)

        assert b"verdict" in (await ask(1)).raw
        await stage.agent_goes()
        await stage.until_it(connects=False)
        failed = await ask(3)
        assert (failed.type, b"error" in failed.raw) == (frame.ACK, True)
        await stage.agent_comes()
        await stage.until_it(connects=True)
        assert b"verdict" in (await ask(5)).raw
        haproxy.close()


NO_HELLO = DialFailure.HELLO_TIMEOUT, "no AGENT-HELLO within 0.2 s"


@pytest.mark.parametrize(
    ("hello", "told"),
    [
        (frames.agent_hello(), None),
        (b"", NO_HELLO),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", NO_HELLO),
        (frames.disconnect(frame.AGENT_DISCONNECT, 4), (DialFailure.HELLO_REFUSED, "it refused HELLO: status 4")),
        (frames.notify(1, 1, b"/path"), NO_HELLO),
        (b"\xff\xff\xff\xff", NO_HELLO),
        (b"\x00\x00\x00\x00", NO_HELLO),
    ],
    ids=["hello", "mute", "http", "disconnect", "notify", "too long", "too short"],
)
async def test_only_a_hello_that_haproxy_would_take_is_an_answer(tmp_path, hello, told):
    config = SessionConfig(give_up_s=0.0, agent_hello_s=0.2)
    async with Watched(tmp_path, config) as stage:
        await stage.agent_comes(Script(hello=hello))
        if told is None:
            await until(lambda: stage.events(AgentReady))
            assert await stage.connects()
        else:
            await stage.until_it(connects=False)
            event = stage.events(AgentUnreachable)[0]
            assert event.agent == f"unix:{stage.path}"
            assert (event.reason, event.detail) == (told[0], f"{told[1]} in answer to the guard's own health check")


async def test_an_agent_that_hangs_up_says_no_hello(tmp_path):
    async def hang_up(_reader, writer):
        writer.close()

    async with Watched(tmp_path, SessionConfig(give_up_s=0.0)) as stage:
        server = await asyncio.start_unix_server(hang_up, stage.path)
        await stage.until_it(connects=False)
        assert stage.events(AgentUnreachable)[-1].reason is DialFailure.HELLO_TIMEOUT
        await stop_listening(server)


async def test_an_agent_that_refuses_is_asked_and_haproxy_has_its_word(tmp_path, monkeypatch):
    monkeypatch.setattr(watching, "EVERY_S", 0.02)
    agent = ScriptedAgent(Script(hello=frames.disconnect(frame.AGENT_DISCONNECT, 4)))
    await agent.listen_unix(str(tmp_path / "agent"))
    async with Guarded(agent=Address(path=str(tmp_path / "agent")), config=TELL) as stage:
        for tries in (3, 6):  # HAProxy's own, and the guard's behind it
            assert await asks(stage) == [frame.AGENT_DISCONNECT]
            await until(lambda: len(stage.events(AgentUnreachable)) >= tries)  # noqa: B023  in this turn
        assert {event.reason for event in stage.events(AgentUnreachable)} == {DialFailure.HELLO_REFUSED}
        agent.script = Script()
        await until(lambda: stage.events(AgentReady) and not stage.guard._asking)
        assert await asks(stage) == [frame.AGENT_HELLO, frame.ACK]
        await stage.over(3)
    await agent.stop()


async def test_each_try_is_told_while_it_fails_behind_the_connection(tmp_path, monkeypatch):
    """Failures that stop growing would look as if nobody asked any more."""
    monkeypatch.setattr(watching, "EVERY_S", 0.01)
    async with Watched(tmp_path, SessionConfig(give_up_s=0.0, agent_hello_s=0.05)) as stage:
        await stage.agent_comes(Script(hello=b""))
        await until(lambda: len(stage.events(AgentUnreachable)) >= 3)


async def test_a_dial_that_fails_again_is_counted_but_not_said_again(tmp_path, monkeypatch):
    monkeypatch.setattr(watching, "EVERY_S", 0.01)
    async with Watched(tmp_path) as stage:
        await until(lambda: len(stage.recorder.dials) >= 5)
        assert len(stage.events(AgentUnreachable)) == 1


async def test_that_it_is_there_is_told_at_each_try(tmp_path, monkeypatch):
    """A session may have seen it fail meanwhile."""
    monkeypatch.setattr(watching, "EVERY_S", 0.01)
    async with Watched(tmp_path) as stage:
        await stage.agent_comes()
        await until(lambda: len(stage.events(AgentReady)) >= 3)
        assert stage.events(AgentReady)[-1].healthcheck


async def test_a_guard_stops_while_it_does_not_listen(tmp_path):
    async with Watched(tmp_path) as stage:
        await stage.until_it(connects=False)
        listener = stage.listener
        await stage.guard.drain(None)
        assert not listener.listening


async def test_a_port_that_somebody_took_meanwhile_is_asked_for_again(tmp_path, monkeypatch):
    """The kernel gives a port that it chose itself to the next one; the guard does not listen on another instead."""
    monkeypatch.setattr(watching, "EVERY_S", 0.01)
    async with Watched(tmp_path) as stage:
        await stage.until_it(connects=False)
        with socket.socket() as taken:
            taken.bind((stage.address.host, stage.address.port))
            tried = []
            resume = Listener.resume

            def watched(self, why):
                try:
                    resume(self, why)
                except OSError as error:
                    tried.append(error.errno)
                    raise

            monkeypatch.setattr(Listener, "resume", watched)
            await stage.agent_comes()
            await until(lambda: len(tried) >= 2)
            assert set(tried) == {errno.EADDRINUSE}
            assert not stage.listener.listening
        await stage.until_it(connects=True)


async def test_who_connected_before_the_pause_is_served(tmp_path):
    """Connections in the kernel's queue would be reset with the socket that has them."""
    async with Watched(tmp_path) as stage:
        await stage.agent_comes()
        await until(lambda: stage.events(AgentReady))
        peers = []
        for _ in range(3):
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex((stage.address.host, stage.address.port))
            peers.append(Peer(sock))
        stage.listener.pause(Pause.AWAY)  # in the same turn: the loop has not seen them
        for peer in peers:
            await peer.send(frames.haproxy_hello())
            assert (await frame_of(peer)).type == frame.AGENT_HELLO
            peer.close()
        stage.listener.resume(Pause.AWAY)
        await stage.over(3)


async def test_by_default_it_listens_and_asks_nobody(tmp_path):
    assert EVERY_S == 1.0
    async with Guarded(agent=Address(path=str(tmp_path / "none")), config=CONFIG) as stage:
        assert stage.guard._watching == {}
        haproxy = await stage.haproxy()
        haproxy.close()
        await stage.over()
        assert stage.recorder.dials == []


# --- an agent that failed -------------------------------------------------------------------------------------------------

TELL = SessionConfig(give_up_s=GIVE_UP_S, unanswered=Unanswered.TELL)
PATIENT = replace(TELL, give_up_s=600.0)  # HAProxy leaves before the guard answers HELLO itself, on a busy machine, too
SLOW_S = 0.1  # to answer HELLO: longer than a NOTIFY waits while the agent is away


class Slow(ScriptedAgent):
    """It answers HELLO after a while, ``hello_s`` seconds; None: never."""

    def __init__(self, hello_s=SLOW_S, script=None):
        super().__init__(script)
        self.asked = 0  # connections that brought HELLO
        self.most = 0  # of them at a time
        self._now = 0
        self.hello_s = hello_s

    async def _accepted(self, reader, writer):
        self._now += 1
        self.asked += 1
        self.most = max(self.most, self._now)
        try:
            if self.hello_s is None:
                await reader.read()
                writer.close()
            else:
                await asyncio.sleep(self.hello_s)  # it is slow
                await super()._accepted(reader, writer)
        finally:
            self._now -= 1


async def asks(stage):
    """Connect as HAProxy does, ask once, and return the types of the frames that came."""
    haproxy = await stage.haproxy()
    found = []
    await haproxy.send(frames.haproxy_hello())
    with contextlib.suppress(OSError):
        while got := await frame_of(haproxy):
            found.append(got.type)
            if got.type == frame.AGENT_HELLO:
                await haproxy.send(frames.notify(1, 1, b"/path"))
            if got.type in (frame.ACK, frame.AGENT_DISCONNECT):
                break
    haproxy.close()
    return found


class Busy(Guarded):
    """A guard before ``late``, an agent that is slow to say HELLO."""

    def __init__(self, folder, agent, config=TELL):
        self.path = str(folder / "late")
        self.late = agent
        super().__init__(agent=Address(path=self.path), config=config)

    async def __aenter__(self):
        await super().__aenter__()
        await self.before()
        await self.late.listen_unix(self.path)
        return self

    async def before(self):
        """What happens before the agent listens."""

    async def __aexit__(self, kind, *rest):
        await self.late.stop()
        await super().__aexit__(kind, *rest)

    async def gives_up(self):
        """Connect as HAProxy does, and leave when the agent has got HELLO, which it does not answer yet."""
        haproxy = await self.haproxy()
        before = self.late.asked
        await haproxy.send(frames.haproxy_hello())
        await until(lambda: self.late.asked > before)
        haproxy.close()

    def failures(self):
        return [(event.reason, event.detail) for event in self.events(AgentUnreachable)]


class Away(Busy):
    """A guard that has found no agent at its address before one comes."""

    async def before(self):
        assert await asks(self) == [frame.AGENT_HELLO, frame.AGENT_DISCONNECT]


@pytest.fixture
def soon(monkeypatch):
    """The guard does not wait for a second before it asks."""
    monkeypatch.setattr(watching, "EVERY_S", 0.05)


@pytest.mark.usefixtures("soon")
async def test_an_agent_slower_than_sessions_wait_is_found_back(tmp_path):
    """Each session ends in milliseconds, before HELLO comes; without a probe none would ever have an agent again."""
    async with Away(tmp_path, Slow()) as stage:
        tries = 0
        while await asks(stage) != [frame.AGENT_HELLO, frame.ACK]:
            tries += 1
            assert tries < 1000
        assert stage.events(AgentReady)[0].agent == f"unix:{stage.path}"
        assert stage.late.asked > 1


@pytest.mark.usefixtures("soon")
async def test_an_agent_that_was_refused_is_found_back_without_a_request(tmp_path):
    """Readiness says no meanwhile, and who asks only a guard that is ready would never ask this one again."""
    async with Away(tmp_path, Slow(0.0)) as stage:
        await until(lambda: stage.events(AgentReady))
        [event] = stage.events(AgentReady)
        assert (event.agent, event.healthcheck) == (f"unix:{stage.path}", True)
        assert (await asks(stage))[-1] == frame.ACK


@pytest.mark.usefixtures("soon")
async def test_an_agent_slow_for_a_moment_is_found_back_without_a_request(tmp_path):
    """A burst of connections that HAProxy did not wait for, and then it opens no more: it has those that work."""
    async with Busy(tmp_path, Slow(0.0), SessionConfig(give_up_s=600.0)) as stage:
        assert (await asks(stage))[-1] == frame.ACK
        stage.late.hello_s = None
        await stage.gives_up()
        await until(stage.failures)
        stage.late.hello_s = 0.0
        await until(lambda: len(stage.events(AgentReady)) > 1)
        assert [event.healthcheck for event in stage.events(AgentReady)] == [False, True]
        assert stage.failures()[0][0] is DialFailure.HAPROXY_GAVE_UP
        await until(lambda: not stage.guard._asking)


async def one_notify_each(stage, sessions):
    """Connect as HAProxy does, and send one NOTIFY over each connection; return the connections."""
    connections = [await stage.haproxy() for _ in range(sessions)]
    for haproxy in connections:
        await haproxy.send(frames.haproxy_hello())
        assert (await frame_of(haproxy)).type == frame.AGENT_HELLO
    stage.late.hello_s = stage.then_s
    for haproxy in connections:
        await haproxy.send(frames.notify(1, 1, b"/path"))
        assert (await frame_of(haproxy)).type == frame.ACK
    return connections


class Silent(Busy):
    """An agent that has said HELLO and answers no NOTIFY; HELLO of connections to come takes it ``then_s``, None: for ever."""

    def __init__(self, folder, then_s):
        self.then_s = then_s
        config = SessionConfig(give_up_s=600.0, unanswered=Unanswered.SET, error_name=b"error", answer_deadline_s=0.05)
        super().__init__(folder, Slow(0.0, Script(delay_s=600.0)), config)


@pytest.mark.usefixtures("soon")
async def test_an_agent_silent_on_many_links_is_asked_whether_it_lives(tmp_path, monkeypatch):
    """No link misses enough to be replaced, so nobody dials."""
    monkeypatch.setattr(watching, "HELLO_S", 0.05)
    async with Silent(tmp_path, None) as stage:
        await one_notify_each(stage, SILENT_AFTER)
        await until(stage.failures)
        assert stage.failures()[0][0] is DialFailure.HELLO_TIMEOUT
        assert stage.late.asked > SILENT_AFTER
        stage.late.hello_s = 0.0
        await until(lambda: stage.events(AgentReady)[-1].healthcheck)
        await until(lambda: not stage.guard._asking)


@pytest.mark.usefixtures("soon")
async def test_an_agent_that_misses_few_notifys_is_not_asked(tmp_path):
    async with Silent(tmp_path, 0.0) as stage:
        await one_notify_each(stage, SILENT_AFTER - 1)
        assert not stage.guard._asking
        assert stage.late.asked == SILENT_AFTER - 1


@pytest.mark.usefixtures("soon")
async def test_a_silent_agent_that_answers_hello_is_not_told_away(tmp_path):
    async with Silent(tmp_path, 0.0) as stage:
        await one_notify_each(stage, SILENT_AFTER)
        await until(lambda: stage.events(AgentReady)[-1].healthcheck)
        await until(lambda: not stage.guard._asking)
        assert stage.failures() == []


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("waits_s", [0.0, LEAST_HELLO_S + 0.05])
async def test_an_agent_slower_than_haproxy_waits_stays_down(tmp_path, waits_s):
    async with Busy(tmp_path, Slow(None), PATIENT) as stage:
        haproxy = await stage.haproxy()
        began = time.monotonic()
        await haproxy.send(frames.haproxy_hello())
        await until(lambda: time.monotonic() - began > waits_s)
        haproxy.close()
        await until(lambda: len(stage.failures()) >= 3)
        [(_, waited), *asked] = stage.failures()
        waited_s = float(waited.split()[2])  # "HAProxy waited 0.0123 s for AGENT-HELLO"
        detail = f"no AGENT-HELLO within {max(waited_s, LEAST_HELLO_S):.3g} s in answer to the guard's own health check"
        assert set(asked) == {(DialFailure.HELLO_TIMEOUT, detail)}
        assert stage.events(AgentReady) == []


@pytest.mark.usefixtures("soon")
async def test_an_agent_that_answers_a_session_meanwhile_is_not_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(watching, "EVERY_S", 3.0)  # the session is first, on a busy machine, too
    async with Busy(tmp_path, Slow(None), PATIENT) as stage:
        await stage.gives_up()
        await until(lambda: stage.guard._asking)
        stage.late.hello_s = 0.0
        assert (await asks(stage))[-1] == frame.ACK
        await until(lambda: not stage.guard._asking)
        assert [event.healthcheck for event in stage.events(AgentReady)] == [False]


@pytest.mark.usefixtures("soon")
async def test_a_mute_agent_is_told_of_though_every_session_ends_before(tmp_path, monkeypatch):
    monkeypatch.setattr(watching, "HELLO_S", 0.05)
    async with Away(tmp_path, Slow(None)) as stage:

        def mute():
            found = stage.events(AgentUnreachable)
            return [event for event in found if event.detail.endswith("in answer to the guard's own health check")]

        while len(mute()) < 3:
            assert await asks(stage) == [frame.AGENT_HELLO, frame.AGENT_DISCONNECT]
        assert {(event.agent, event.reason) for event in mute()} == {(f"unix:{stage.path}", DialFailure.HELLO_TIMEOUT)}
        waits = [event.detail.split()[3] for event in mute()]
        assert waits[:3] == ["0.05", "0.1", "0.2"]  # twice as long each time


@pytest.mark.usefixtures("soon")
async def test_the_guard_asks_one_question_at_a_time(tmp_path):
    async with Away(tmp_path, Slow(None)) as stage:
        while not stage.guard._asking:
            await asks(stage)
        [asking] = stage.guard._asking.values()
        closed = stage.recorder.count("link closed")
        while stage.recorder.count("link closed") < closed + 3:
            await asks(stage)
            assert asking.done() or list(stage.guard._asking.values()) == [asking]


async def test_a_guard_that_stops_asks_no_more(tmp_path):
    async with Away(tmp_path, Slow(None)) as stage:
        while not stage.guard._asking:
            await asks(stage)
        await stage.guard.drain(None)
        assert stage.guard._asking == {}


async def test_in_observe_mode_the_guard_asks_nobody(tmp_path):
    config = SessionConfig(observe=True)
    async with Guarded(config=config) as stage:
        haproxy, agent = await stage.both()
        stage.guard._shared["default"][-1].failed(0.0, 0.0, 0.0)
        haproxy.close()
        agent.close()
        await stage.over()
        assert stage.guard._asking == {}
