"""At the bound of what all sessions keep, the one that keeps most gives way, and nobody else."""

import asyncio
import itertools

import pytest

from spoe_guard.core.terms.config import SessionConfig
from spoe_guard.core.terms.events import EndedBy, EndReason, GaveWay
from spoe_guard.lab import frames
from spoe_guard.net.guard import GIVE_WAY_AT_ONCE, OPEN_BYTES
from spoe_guard.net.leg import HIGH_WATER
from spoe_guard.wire import frame
from tests.net.conversation import Guarded, ack_of, frame_of, types_until_closing
from tests.net.stage import until
from tests.workers.turns import every_step_is_a_slice, turns_of

LONG = frames.notify(1, 1, b"x" * 9000)
TOTAL = 10_000
LIMIT = (EndedBy.GUARD, EndReason.LIMIT)


async def kept(stage, count):
    await until(lambda: stage.guard._total.held == count, f"{count} bytes kept")


def gave_way(stage):
    return [entry[1:] for entry in stage.recorder.log if entry[0] == "gave way"]


async def test_beyond_the_bound_the_session_that_keeps_most_gives_way():
    async with Guarded(total_bytes=TOTAL) as stage:
        (few, few_agent), (most, most_agent) = [await stage.talking() for _ in range(2)]
        await few.send(LONG[: TOTAL - 6000])
        await most.send(LONG[:6000])
        await kept(stage, TOTAL)
        assert gave_way(stage) == []  # at the bound
        await few.send(LONG[TOTAL - 6000 : TOTAL - 5999])
        assert await types_until_closing(most) == [frame.AGENT_DISCONNECT]
        assert (await frame_of(most_agent)).type == frame.HAPROXY_DISCONNECT
        assert gave_way(stage) == [(2, GaveWay.TOTAL_BYTES, 6000)]
        await few.send(LONG[TOTAL - 5999 :])
        assert (await frame_of(few_agent)).raw == LONG
        await few_agent.send(ack_of(LONG))
        assert (await frame_of(few)).raw == ack_of(LONG)
        await kept(stage, 0)
        most_agent.fin()
        await until(lambda: stage.recorder.ends() == [LIMIT])


async def test_as_many_give_way_as_it_takes_and_no_more():
    async with Guarded(total_bytes=TOTAL) as stage:
        peers = [await stage.talking() for _ in range(5)]
        for count, (haproxy, _) in enumerate(peers, 1):
            await haproxy.send(LONG[: 900 * count])
        await until(lambda: stage.guard._total.held == 900 * (1 + 2 + 3) or gave_way(stage))
        await until(lambda: stage.guard._total.held <= TOTAL and len(gave_way(stage)) >= 1)
        assert {number for number, *_ in gave_way(stage)} <= {3, 4, 5}
        assert [await types_until_closing(peers[number - 1][0]) for number, *_ in gave_way(stage)] == (
            [[frame.AGENT_DISCONNECT]] * len(gave_way(stage))
        )


@pytest.mark.parametrize("more", [0, 1])
async def test_only_so_many_give_way_in_a_turn_of_the_loop(more):
    async with Guarded(total_bytes=1000) as stage:
        peers = [await stage.talking() for _ in range(GIVE_WAY_AT_ONCE + more + 1)]
        for count, (haproxy, _) in enumerate(peers):
            await haproxy.send(LONG[: 5 + count])
        await kept(stage, sum(range(5, 5 + len(peers))))
        await stage.use([stage.route], 5)
        await stage.guard.count_open()
        numbers = range(len(peers), 1, -1)  # all but the one that keeps least, and no more than may be kept
        assert [number for number, *_ in gave_way(stage)] == [*numbers][:GIVE_WAY_AT_ONCE]
        assert stage.guard._total.held == 5 + 6 * more
        await until(lambda: [number for number, *_ in gave_way(stage)] == [*numbers], "the others gave way")
        await kept(stage, 5)
        for haproxy, agent in peers[1:]:
            assert await types_until_closing(haproxy) == [frame.AGENT_DISCONNECT]
            agent.fin()


async def test_a_lower_bound_is_taken_on_by_a_running_guard():
    async with Guarded(total_bytes=TOTAL) as stage:
        haproxy, _ = await stage.talking()
        await haproxy.send(LONG[:500])
        await kept(stage, 500)
        await stage.use([stage.route], 500)
        await haproxy.send(LONG[500:501])
        assert await types_until_closing(haproxy) == [frame.AGENT_DISCONNECT]


async def test_what_is_only_observed_goes_on_unjudged():
    async with Guarded(total_bytes=TOTAL, config=SessionConfig(observe=True)) as stage:
        (one, one_agent), (other, other_agent) = [await stage.talking() for _ in range(2)]
        await one.send(LONG[:6000])
        assert await one_agent.read(6000) == LONG[:6000]
        await other.send(LONG[:4001])
        assert await other_agent.read(4001) == LONG[:4001]
        await until(lambda: gave_way(stage) == [(1, GaveWay.TOTAL_BYTES, 6000)])
        await one.send(LONG[6000:])
        assert await one_agent.read(len(LONG) - 6000) == LONG[6000:]
        await one_agent.send(b"whatever")
        assert await one.read(8) == b"whatever"
        assert stage.guard._total.held == 4001
        for peer in (one, other, one_agent, other_agent):
            peer.fin()
        await stage.over(2)


async def test_what_an_agent_does_not_read_counts_and_gives_way():
    """A connection that is full is reset: who does not read would not read DISCONNECT either."""
    async with Guarded(total_bytes=300_000) as stage:
        haproxy, agent = await stage.talking()
        notifies = b"".join(frames.notify(2 * number + 1, 1, b"x" * 9000) for number in range(100))
        sending = asyncio.get_running_loop().create_task(haproxy.send(notifies * 20))
        await until(lambda: stage.guard._total.held > HIGH_WATER, "a full leg")
        assert stage.guard._total.held < 300_000
        await stage.use([stage.route], stage.guard._total.held)
        assert gave_way(stage) == []
        await stage.talking()  # its HELLO is one too many
        assert await types_until_closing(haproxy) == [frame.AGENT_DISCONNECT]
        assert await agent.was_reset()
        sending.cancel()
        haproxy.close()
        await until(lambda: gave_way(stage)[0][0] == 1)
        await kept(stage, 0)


@pytest.mark.parametrize("end", ["fin", "reset"])
async def test_a_session_that_ended_keeps_nothing(end):
    async with Guarded(total_bytes=TOTAL) as stage:
        haproxy, agent = await stage.talking()
        await haproxy.send(LONG[:500])
        await kept(stage, 500)
        getattr(haproxy, end)()
        agent.fin()
        await stage.over()
        assert stage.guard._total.held == 0


async def test_open_notifies_count_at_the_next_look():
    async with Guarded() as stage:
        (few, few_agent), (most, most_agent) = [await stage.talking() for _ in range(2)]
        asked = [frames.notify(2 * number + 1, 1, b"x") for number in range(2)]
        await few.send(asked[0])
        await most.send(b"".join(asked))
        assert [(await frame_of(peer)).type for peer in (few_agent, most_agent, most_agent)] == [frame.NOTIFY] * 3
        await stage.use([stage.route], 3 * OPEN_BYTES)
        await stage.guard.count_open()
        assert gave_way(stage) == []  # at the bound
        await stage.use([stage.route], 3 * OPEN_BYTES - 1)
        await stage.guard.count_open()
        assert gave_way(stage) == [(2, GaveWay.TOTAL_BYTES, 2 * OPEN_BYTES)]
        assert await types_until_closing(most) == [frame.AGENT_DISCONNECT]
        most_agent.fin()
        await few_agent.send(ack_of(asked[0]))
        assert (await frame_of(few)).raw == ack_of(asked[0])


async def test_sessions_may_give_way_while_open_notifies_are_counted(monkeypatch):
    every_step_is_a_slice(monkeypatch)
    async with Guarded() as stage:
        total, left = stage.guard._total, itertools.count(1)
        turns, _ = await turns_of(stage.guard.count_open(), lambda: total.count_beside(next(left)))
        assert turns > 1
        assert total.beside == turns  # as it was left, and not what was counted before
