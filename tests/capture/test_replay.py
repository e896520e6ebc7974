"""Replay of one side of a capture: its writes, their order, their pauses, and the NOTIFYs it answers."""

import asyncio
import time

import pytest

from spoe_guard.address import Address
from spoe_guard.capture.files.model import Capture, CaptureError, Chunk, End
from spoe_guard.capture.tell import replay
from spoe_guard.capture.tell.script import script
from spoe_guard.core.terms.anomalies import Side
from spoe_guard.lab import frames
from spoe_guard.lab.agent import ScriptedAgent
from spoe_guard.lab.engine import Engine
from spoe_guard.wire import frame
from tests.capture.scenes import RUNT, A, H, ack, notify
from tests.running import spoe_guard

PAUSE_S = 0.2
DEADLINE_S = 20.0


def conversation(*, timed=True):
    """HELLOs, two NOTIFYs in one write, their ACKs cut in the middle, a pause, a runt, the end."""
    asked = notify(5) + notify(7)
    answers = ack(notify(5)) + ack(notify(7))
    sent = [
        (H, frames.haproxy_hello()), (A, frames.agent_hello()), (H, asked), (A, answers[:40]), (A, answers[40:]), (A, RUNT),
    ]  # fmt: skip
    at = [0.0, 0.001, 0.002, 0.003, 0.004, 0.004 + PAUSE_S]
    chunks = [Chunk(when if timed else 0.0, side, 0, inward=True, data=data) for when, (side, data) in zip(at, sent, strict=True)]
    chunks.append(Chunk(at[-1] if timed else 0.0, A, 0, inward=True, end=End.FIN))
    return Capture(chunks, timed=timed)


@pytest.mark.parametrize("timed", [True, False])
def test_each_write_waits_for_what_came_before_it(timed):
    steps = script(conversation(timed=timed), A)
    assert [step.after for step in steps] == [1, 3, 3, 3, 3]
    assert [round(step.pause_s, 3) for step in steps] == ([0.001, 0.001, 0.001, PAUSE_S, 0.0] if timed else [0.0] * 5)
    assert steps[-1].end is End.FIN
    steps = script(conversation(timed=timed), H)
    assert [step.after for step in steps] == [0, 1]


def test_answers_take_the_live_ids_and_keep_the_recorded_cuts():
    steps = script(conversation(), A)
    written = [b"".join(part.live([(1000, 1), (2000, 1)]) for part in step.parts) for step in steps]
    sent = frame.parse(ack(notify(5)))
    one = frame.encode(frame.ACK, 1000, 1, sent.payload)
    two = frame.encode(frame.ACK, 2000, 1, frame.parse(ack(notify(7))).payload)
    assert b"".join(written) == frames.agent_hello() + one + two + RUNT
    assert len(written[1]) == len(one) + 40 - len(ack(notify(5)))  # as far into the second ACK as it was recorded
    assert [b"".join(part.live([]) for part in step.parts) for step in steps][1:3] == [
        (ack(notify(5)) + ack(notify(7)))[:40],
        (ack(notify(5)) + ack(notify(7)))[40:],
    ]


def test_what_is_not_all_there_cannot_be_played():
    capture = conversation()
    with pytest.raises(CaptureError, match="nothing in it was written by the agent"):
        script(Capture([chunk for chunk in capture.chunks if chunk.side is H]), A)
    capture.chunks[1].lost = 1
    with pytest.raises(CaptureError, match="not all bytes of that side are in it"):
        script(capture, A)


def run(main):
    async def bounded():
        async with asyncio.timeout(10):
            return await main()

    return asyncio.run(bounded())


def test_an_agents_part_is_played_to_whoever_connects():
    sent = []

    async def main():
        listening = asyncio.Event()
        address = []

        def say(line):
            sent.append(line)
            if "waiting" in line:
                address.append(line.rpartition(":")[2])
                listening.set()

        steps = script(conversation(), A)
        playing = asyncio.get_running_loop().create_task(replay.to_haproxy(steps, Address("127.0.0.1", 0), 1.0, 5.0, say))
        await listening.wait()
        async with await Engine.tcp(int(address[0])) as engine:
            assert (await engine.hello()).type == frame.AGENT_HELLO
            await engine.send(notify(100) + notify(300))
            got = [(await engine.read()) for _ in range(2)]
            assert [each.stream_id for each in got] == [100, 300]
            began = time.monotonic()
            assert await engine.read() is None  # the runt, and the end
            assert time.monotonic() - began > PAUSE_S / 2
        await playing

    run(main)
    assert [line for line in sent if line.startswith("< NOTIFY")] == [
        '< NOTIFY 100.1 check(path="/x")',
        '< NOTIFY 300.1 check(path="/x")',
    ]


def test_haproxys_part_is_played_to_an_agent():
    sent = []

    async def main():
        agent = ScriptedAgent()
        port = await agent.listen_tcp()
        await replay.to_agent(script(conversation(), H), Address("127.0.0.1", port), 0, 1.0, sent.append)
        await agent.stop()
        return agent

    agent = run(main)
    assert [got.type for got in agent.received[0]] == [frame.HAPROXY_HELLO, frame.NOTIFY, frame.NOTIFY]
    assert [got.stream_id for got in agent.answered] == [5, 7]
    assert [line for line in sent if line.startswith("< ACK")] == [
        '< ACK 5.1 set-var txn.verdict="/x"',
        '< ACK 7.1 set-var txn.verdict="/x"',
    ]


def test_who_does_not_answer_is_waited_for_so_long_and_no_longer():
    sent = []

    async def main():
        async def mute(reader, writer):
            await reader.read()
            writer.close()

        server = await asyncio.start_server(mute, "127.0.0.1", 0)
        address = Address("127.0.0.1", server.sockets[0].getsockname()[1])
        await replay.to_agent(script(conversation(), H), address, 0, 0.05, sent.append)
        server.close()

    run(main)
    assert "# going on, though 1 frame of the recording has not come" in sent


def test_speed_divides_the_pauses():
    async def main(speed, pause_s):
        agent = ScriptedAgent()
        port = await agent.listen_tcp()
        capture = conversation()
        capture.chunks[2].at = pause_s
        for chunk in capture.chunks[3:]:
            chunk.at += 2 * pause_s
        began = time.monotonic()
        async with asyncio.timeout(DEADLINE_S):
            await replay.to_agent(script(capture, H), Address("127.0.0.1", port), speed, 1.0, lambda _: None)
        took = time.monotonic() - began
        await agent.stop()
        return took

    assert run(lambda: main(1.0, 0.5)) > 0.45
    run(lambda: main(0, 10 * DEADLINE_S))  # without a pause, or it would not be over in time


def test_the_command_says_what_is_wrong_in_one_line(tmp_path):
    (tmp_path / "both").write_bytes(frames.haproxy_hello())
    for code, arguments in (
        (2, ["x", "127.0.0.1:1", "--to", "nobody"]),
        (2, ["x", "nowhere", "--to", "agent"]),
        (1, [str(tmp_path / "none"), "127.0.0.1:1", "--to", "agent"]),
        (1, [str(tmp_path / "both"), "127.0.0.1:1", "--to", "haproxy"]),
        (1, [str(tmp_path / "both"), "127.0.0.1:1", "--to", "agent", "--conversation", "1"]),
        (1, [str(tmp_path / "both"), f"unix:{tmp_path}/none", "--to", "agent"]),
    ):
        done = spoe_guard("replay", *arguments)
        assert (done.returncode, done.stdout) == (code, ""), arguments
        assert len(done.stderr.splitlines()) == 1
        assert done.stderr.startswith("spoe-guard: ")


def test_a_reset_is_played_as_one():
    sent = []

    async def main():
        address = asyncio.get_running_loop().create_future()
        capture = conversation()
        capture.chunks[-1].end = End.RESET

        def say(line):
            sent.append(line)
            if "waiting" in line:
                address.set_result(int(line.rpartition(":")[2]))

        task = asyncio.get_running_loop().create_task(
            replay.to_haproxy(script(capture, Side.AGENT), Address("127.0.0.1", 0), 0, 1.0, say)
        )
        reader, writer = await asyncio.open_connection("127.0.0.1", await address)
        writer.write(frames.haproxy_hello() + notify(1) + notify(3))
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
        await task

    run(main)
    assert sent[1].startswith("< HAPROXY-HELLO")  # behind "waiting": HAProxy speaks first, as it did then
