"""The scripted agent and the engine, against each other: a healthy conversation, each way of ending, and the deadlines."""

import asyncio
import socket
import sys

import pytest

from spoe_guard.lab import frames, streams
from spoe_guard.lab.agent import Script, ScriptedAgent
from spoe_guard.lab.engine import Engine
from spoe_guard.lab.misbehaviour import MISBEHAVIOURS
from spoe_guard.wire import frame, kv
from tests.lab.loop import on_a_loop


class Serving:
    """``async with Serving(script) as (agent, port)``."""

    def __init__(self, script=None):
        self.agent = ScriptedAgent(script)

    async def __aenter__(self):
        return self.agent, await self.agent.listen_tcp()

    async def __aexit__(self, *_):
        await self.agent.stop()


def ids(frames_):
    return [(each.type, each.stream_id, each.frame_id) for each in frames_]


def pairs(hello):
    return {pair.name: pair.value for pair in kv.parse(hello.raw, hello.payload_at, len(hello.raw))[0]}


@pytest.mark.parametrize(("family", "second"), [(frames.Family.APPLET, 2), (frames.Family.MUX, 3)])
@on_a_loop
async def test_a_healthy_conversation(family, second):
    async with Serving() as (agent, port), await Engine.tcp(port, family) as engine:
        hello = await engine.hello()
        assert pairs(hello) == {b"version": b"2.0", b"max-frame-size": 16380, b"capabilities": b"pipelining"}
        sent = [await engine.notify(b"/a"), await engine.notify(b"/b")]
        assert ids(sent) == [(frame.NOTIFY, 1, 1), (frame.NOTIFY, second, 1)]
        acks = [await engine.read(), await engine.read()]
        assert [ack.payload for ack in acks] == [frames.text_verdict(b"verdict", path) for path in (b"/a", b"/b")]
        assert [ack.ids for ack in acks] == [notify.ids for notify in sent]
        assert ids(await engine.disconnect()) == [(frame.AGENT_DISCONNECT, 0, 0)]
        assert [notify.raw for notify in agent.answered] == [notify.raw for notify in sent]
        assert [each.type for each in agent.received[0]] == [1, 3, 3, 2]


@on_a_loop
async def test_a_health_check_gets_a_hello_without_capabilities():
    async with Serving() as (_, port), await Engine.tcp(port) as engine:
        assert pairs(await engine.hello(frames.healthcheck_hello(max_frame_size=4096))) == {
            b"version": b"2.0",
            b"max-frame-size": 4096,
            b"capabilities": b"",
        }


@on_a_loop
async def test_it_misbehaves_once_on_the_nth_notify_of_all_connections():
    script = Script(MISBEHAVIOURS["ack_twice"], on_notify=3, hold=2)
    async with Serving(script) as (agent, port):
        async with await Engine.tcp(port) as first:
            await first.hello()
            await first.notify(b"/1")
            await first.notify(b"/2")
            assert ids([await first.read(), await first.read()]) == [(frame.ACK, 1, 1), (frame.ACK, 2, 1)]
        async with await Engine.tcp(port) as second:
            await second.hello()
            await second.notify(b"/3")
            await second.notify(b"/4")
            assert [(await second.read()).stream_id for _ in range(4)] == [1, 1, 2, 2]
            assert agent.played
            await second.notify(b"/5")
            assert ids([await second.read()]) == [(frame.ACK, 3, 1)]
        assert [frames.first_argument(each) for each in agent.answered] == [b"/1", b"/2", b"/3", b"/4", b"/5"]


@on_a_loop
async def test_while_it_holds_answers_nothing_is_said():
    async with (
        Serving(Script(MISBEHAVIOURS["ack_twice"], hold=2)) as (agent, port),
        await Engine.tcp(port, deadline_s=0.2) as engine,
    ):
        await engine.hello()
        await engine.notify(b"/1")
        with pytest.raises(TimeoutError):
            await engine.read()
        assert (agent.notifies, agent.answered) == (1, [])


@pytest.mark.parametrize("name", ["close_without_a_word", "reset_without_a_word", "ack_cut_in_half", "zero_length_frame"])
@on_a_loop
async def test_the_connection_ends_and_the_last_notify_stays_open(name):
    async with Serving(Script(MISBEHAVIOURS[name], hold=2)) as (agent, port), await Engine.tcp(port) as engine:
        await engine.hello()
        await engine.notify(b"/1")
        await engine.notify(b"/2")
        assert ids(await engine.rest()) == [(frame.ACK, 1, 1)]
        assert [frames.first_argument(each) for each in agent.answered] == [b"/1"]


@on_a_loop
async def test_a_reset_is_a_reset_and_a_close_is_none():
    for name, expected in (("reset_without_a_word", ConnectionResetError), ("close_without_a_word", None)):
        async with Serving(Script(MISBEHAVIOURS[name])) as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(frames.haproxy_hello())
            await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big"))
            writer.write(frames.notify(1, 1, b"/1"))
            if expected is None:
                assert await reader.read() == b""
            else:
                with pytest.raises(expected):
                    await reader.read()
            writer.close()


@on_a_loop
async def test_a_lingering_agent_stays_when_haproxy_closes():
    async with Serving(Script(MISBEHAVIOURS["disconnect_left_open"])) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(frames.haproxy_hello() + frames.notify(1, 1, b"/1"))
        its_disconnect = await reader.readuntil(b"normal")
        assert its_disconnect.endswith(frames.disconnect(frame.AGENT_DISCONNECT))
        writer.write_eof()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.2)
        writer.close()


@on_a_loop
async def test_a_delayed_answer_comes_after_its_delay_and_not_behind_a_disconnect():
    async with Serving(Script(delay_s=0.2)) as (agent, port), await Engine.tcp(port) as engine:
        loop = asyncio.get_running_loop()
        await engine.hello()
        began = loop.time()
        await engine.notify(b"/1")
        assert (await engine.read()).type == frame.ACK
        assert loop.time() - began >= 0.2
        await engine.notify(b"/2")
        assert await engine.disconnect() != []
    assert (agent.notifies, len(agent.answered)) == (2, 1)


@on_a_loop
async def test_another_hello_and_another_answer_can_be_scripted():
    script = Script(hello=frames.agent_hello(300, b"", b"1.0"), answer=lambda _: b"no action list")
    async with Serving(script) as (_, port), await Engine.tcp(port) as engine:
        assert pairs(await engine.hello())[b"version"] == b"1.0"
        await engine.notify(b"/1")
        assert (await engine.read()).payload == b"no action list"


@on_a_loop
async def test_unix_sockets(tmp_path):
    agent = ScriptedAgent()
    await agent.listen_unix(str(tmp_path / "agent.sock"))
    async with await Engine.unix(str(tmp_path / "agent.sock")) as engine:
        assert (await engine.hello()).type == frame.AGENT_HELLO
    await agent.stop()


@on_a_loop
async def test_the_engine_can_reset_and_the_agent_sees_the_end():
    async with Serving() as (agent, port):
        engine = await Engine.tcp(port)
        await engine.hello()
        engine.reset()
        await engine.close()
        async with await Engine.tcp(port) as next_one:
            assert (await next_one.hello()).type == frame.AGENT_HELLO
        assert [len(each) for each in agent.received] == [1, 1]


@on_a_loop
async def test_bytes_that_are_no_frame_end_what_is_read():
    async def garbage(_, writer):
        writer.write(frames.agent_hello() + b"\0\0\0\5junk!" + frames.agent_hello())
        writer.close()

    server = await asyncio.start_server(garbage, "127.0.0.1", 0)
    async with await Engine.tcp(server.sockets[0].getsockname()[1]) as engine:
        assert len(await engine.rest()) == 1
    server.close()


@on_a_loop
async def test_a_connection_accepted_in_the_turn_before_listening_stops_is_served():
    served = asyncio.Event()

    async def serve(_, writer):
        served.set()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    with socket.create_connection(server.sockets[0].getsockname()[:2]):
        await asyncio.sleep(0)  # the loop finds it
        await asyncio.sleep(0)  # and accepts it
        await streams.stop_listening(server)
        await served.wait()


@on_a_loop
async def test_as_a_program_it_says_where_it_listens_and_what_it_answered():
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "spoe_guard.lab", "ack_twice", "--on-notify", "2", stdout=asyncio.subprocess.PIPE
    )
    try:
        port = int((await program.stdout.readline()).removeprefix(b"listening 127.0.0.1:"))
        async with await Engine.tcp(port) as engine:
            await engine.hello()
            await engine.notify(b"/1")
            await engine.notify(b"/2")
            assert [(await engine.read()).stream_id for _ in range(3)] == [1, 2, 2]
    finally:
        program.terminate()
    assert await program.stdout.read() == b"answered /1\nanswered /2\n"
    assert await program.wait() == 0


@on_a_loop
async def test_a_notify_in_fragments_is_answered_once_it_is_whole():
    async with Serving() as (agent, port), await Engine.tcp(port) as engine:
        await engine.hello()
        whole = frame.parse(frames.notify(1, 1, b"/in-fragments"))
        parts = [whole.payload[:4], whole.payload[4:9], whole.payload[9:]]
        await engine.send(frame.encode(frame.NOTIFY, 3, 1, parts[0], flags=0))
        await engine.send(frame.encode(frame.UNSET, 3, 1, flags=frame.FLAG_FIN | frame.FLAG_ABRT))
        await engine.send(frame.encode(frame.NOTIFY, 1, 1, parts[0], flags=0))
        await engine.send(frame.encode(frame.UNSET, 1, 1, parts[1], flags=0) + frame.encode(frame.UNSET, 1, 1, parts[2]))
        ack = await engine.read()
        assert (ack.ids, ack.payload) == (whole.ids, frames.text_verdict(b"verdict", b"/in-fragments"))
        assert [each.raw for each in agent.answered] == [whole.raw]


@pytest.mark.parametrize(("more", "is_read"), [(0, True), (1, False)])
@on_a_loop
async def test_a_frame_is_read_up_to_a_megabyte_and_no_further(more, is_read):
    reader = asyncio.StreamReader()
    empty = len(frame.encode(frame.NOTIFY, 1, 1)) - frame.LENGTH_BYTES
    raw = frame.encode(frame.NOTIFY, 1, 1, bytes(streams.MOST_FRAME_BYTES - empty + more))
    reader.feed_data(raw)
    got = await streams.read_frame(reader)
    assert (got is not None and got.raw == raw) == is_read


@pytest.mark.parametrize(("more", "answered"), [(0, [1, 3]), (1, [3])])
def test_fragments_are_put_together_up_to_a_bound(monkeypatch, more, answered):
    monkeypatch.setattr(streams, "MOST_FRAME_BYTES", 200)

    @on_a_loop
    async def play():
        async with Serving() as (_, port), await Engine.tcp(port) as engine:
            await engine.hello()
            await engine.send(frame.encode(frame.NOTIFY, 1, 1, bytes(100), flags=0))
            await engine.send(frame.encode(frame.UNSET, 1, 1, bytes(100 + more)))
            await engine.send(frames.notify(3, 1, b"/3"))
            assert [(await engine.read()).stream_id for _ in answered] == answered

    play()


def test_beyond_a_bound_an_answer_that_is_not_due_comes_at_once(monkeypatch):
    monkeypatch.setattr("spoe_guard.lab.agent.LATE_AT_ONCE", 1)

    @on_a_loop
    async def play():
        async with Serving(Script(delay_s=0.2)) as (_, port), await Engine.tcp(port) as engine:
            await engine.hello()
            await engine.notify(b"/1")
            await engine.notify(b"/2")
            assert [(await engine.read()).stream_id for _ in range(2)] == [2, 1]

    play()


@pytest.mark.parametrize("most", [1, 2])
@on_a_loop
async def test_a_connection_more_than_the_agent_has_is_closed_at_once(most):
    agent = ScriptedAgent(connections=most)
    port = await agent.listen_tcp()
    engines = [await Engine.tcp(port) for _ in range(most + 1)]
    found = [await engine.hello() for engine in engines]
    assert [hello is not None for hello in found] == [True] * most + [False]
    assert (agent.accepted, agent.refused, agent.connected) == (most, 1, most)
    for engine in engines:
        await engine.close()
    await agent.stop()


@on_a_loop
async def test_an_agent_that_keeps_nothing_still_counts():
    agent = ScriptedAgent(keep=False)
    async with await Engine.tcp(await agent.listen_tcp()) as engine:
        await engine.hello()
        await engine.notify(b"/1")
        assert (await engine.read()).type == frame.ACK
    await agent.stop()
    assert (agent.received, agent.answered, agent.notifies, agent.accepted) == ([], [], 1, 1)
