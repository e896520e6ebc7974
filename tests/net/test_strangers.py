"""Connections without HELLO: never more than a bound of them, and the first to go where there is no room."""

import socket

import pytest

from spoe_guard.core.terms.events import EndedBy, EndReason, GaveWay
from spoe_guard.net import guard as guards
from tests.builds import puts_in_place
from tests.net.conversation import Guarded
from tests.net.peers import Peer
from tests.net.stage import files_left, until

LIMIT = (EndedBy.GUARD, EndReason.LIMIT)


def sent_away(stage):
    return [entry[1] for entry in stage.recorder.log if entry[0] == "gave way" and entry[2] is GaveWay.NO_HELLO]


async def silent(stage, count):
    """Connect so often and say nothing, until HAProxy would have said HELLO."""
    there = sum(entry[0] == "opened" for entry in stage.recorder.log)
    peers = [await stage.haproxy() for _ in range(count)]
    await until(lambda: stage.recorder.count("opened") == there + count)
    newest = max(stage.guard._unmet["default"].values(), default=0.0)
    await until(lambda: guards.monotonic() >= newest + guards.SILENT_S)
    return peers


async def test_haproxy_gets_the_place_of_whoever_has_been_silent_longest():
    async with Guarded(connections=3) as stage:
        first, _ = await stage.talking()
        one, two = await silent(stage, 2)
        haproxy, _ = await stage.talking()
        assert await one.was_reset()
        assert sent_away(stage) == [2]
        assert stage.recorder.ends() == [LIMIT]
        third, _ = await stage.talking()
        assert await two.was_reset()
        assert sent_away(stage) == [2, 3]
        fourth = await stage.haproxy()  # three have said HELLO: it waits, and nobody gives way
        await until(lambda: len(stage.guard._beyond["default"]._waiting) == 1)
        assert sent_away(stage) == [2, 3]
        for peer in (first, haproxy, third, fourth):
            peer.close()


async def test_strangers_cannot_keep_haproxy_out():
    async with Guarded(connections=8) as stage:
        await silent(stage, 12)
        for _ in range(3):
            await stage.talking()
            await silent(stage, 4)
        assert stage.guard.sessions <= 8 + 2 * len(sent_away(stage))
        await until(lambda: stage.guard.sessions <= 8)


@puts_in_place
async def test_who_may_be_about_to_say_hello_is_not_sent_away(monkeypatch):
    monkeypatch.setattr(guards, "SILENT_S", 60.0)
    async with Guarded(connections=1) as stage:
        await stage.haproxy()
        await until(lambda: stage.guard.sessions == 1)
        await stage.haproxy()
        await until(lambda: len(stage.guard._beyond["default"]._waiting) == 1)
        assert sent_away(stage) == []


@puts_in_place
@pytest.mark.parametrize("there", [2, 3])
async def test_one_more_without_hello_than_the_bound_sends_the_oldest_away(monkeypatch, there):
    monkeypatch.setattr(guards, "MOST_WITHOUT_HELLO", 3)
    async with Guarded() as stage:
        await silent(stage, there)
        await stage.haproxy()
        await until(lambda: stage.recorder.count("opened") == there + 1)
        assert sent_away(stage) == [1] * (there == 3)
        assert len(stage.guard._unmet["default"]) == 3


async def test_who_has_spoken_while_the_loop_was_busy_stays():
    async with Guarded(connections=1) as stage:
        [peer] = await silent(stage, 1)
        [relay] = stage.guard._relays.values()
        peer.sock.send(b"!")
        assert not stage.guard._send_stranger_away("default")  # its byte is unread: no await since
        assert relay is stage.guard._relays[1]
        del relay


async def test_short_of_descriptors_strangers_give_theirs_up():
    async with Guarded() as stage:
        strangers = [Peer(socket.socket()) for _ in range(40)]
        haproxy = Peer(socket.socket())
        haproxy.sock.setblocking(False)
        with files_left(30):
            for peer in strangers:
                peer.sock.setblocking(False)
                peer.sock.connect_ex((stage.address.host, stage.address.port))
            await until(lambda: stage.recorder.count("accept failed") >= 1)
            haproxy.sock.connect_ex((stage.address.host, stage.address.port))
            await until(lambda: len(sent_away(stage)) > 0)
            await until(lambda: stage.recorder.count("opened") == 41, "everybody's turn")
            for peer in strangers:
                peer.close()
        await stage.over(40)
        haproxy.close()
