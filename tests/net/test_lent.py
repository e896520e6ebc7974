"""Listening on sockets that several processes share."""

import asyncio
import contextlib
import select
import socket
import time
from dataclasses import replace

from spoe_guard.address import Address
from spoe_guard.net.bind import bind
from spoe_guard.net.guard import Guard
from tests.net.doubles import FakeSession, Recorder
from tests.net.stage import LOCALHOST, Stage, until

WITHIN_S = 10.0
EARLY_S = 0.01  # uvloop's clock counts whole milliseconds, and its timers may ring early


async def test_a_burst_on_a_shared_socket_is_accepted_one_at_a_time(monkeypatch, tmp_path):
    monkeypatch.setattr("spoe_guard.net.listener._TURN_S", 0.2)
    async with Stage() as stage:
        with socket.socket(socket.AF_UNIX) as shared:
            shared.bind(str(tmp_path / "shared.sock"))
            shared.listen(8)
            shared.setblocking(False)
            route = replace(stage.guard.route("default"), listen=Address(path=str(tmp_path / "shared.sock")))
            guard = Guard([route], Recorder(), FakeSession, lent={route.name: [shared.dup()]})
            await guard.start()
            began = time.monotonic()
            waiting = [socket.socket(socket.AF_UNIX) for _ in range(3)]
            for each in waiting:
                each.connect(str(tmp_path / "shared.sock"))
            await until(lambda: guard.sessions == 2)
            assert time.monotonic() - began >= 0.2 - EARLY_S
            shared.accept()[0].close()  # the third is another's, in the meantime
            guard.abort_all()
            await guard.drain()
            for each in waiting:
                each.close()


def queue(sock):
    """Connect to ``sock``, and return when it is there to be accepted, with no turn of the loop."""
    connected = socket.create_connection(sock.getsockname())
    assert select.select([sock], [], [], WITHIN_S)[0]
    return connected


@contextlib.asynccontextmanager
async def with_anothers_socket():
    """Yield a guard that has another process's socket, too, and that one."""
    async with Stage() as stage:
        route = replace(stage.guard.route("default"), listen=LOCALHOST)
        own, anothers = [(await bind(route, reserve=1)).sock for _ in range(2)]
        guard = Guard([route], Recorder(), FakeSession, lent={route.name: [own, anothers.dup()]})
        await guard.start()
        assert guard.addresses[route.name].port == own.getsockname()[1]
        with anothers:
            yield guard, anothers
        guard.abort_all()
        await guard.drain()


async def test_what_another_process_leaves_on_its_socket_is_taken_after_a_while(monkeypatch):
    monkeypatch.setattr("spoe_guard.net.listener._PATIENCE_S", 0.2)
    async with with_anothers_socket() as (guard, anothers):
        began = time.monotonic()
        waiting = [queue(anothers) for _ in range(3)]
        anothers.accept()[0].close()
        await until(lambda: guard.sessions == 2)
        assert time.monotonic() - began >= 0.2 - EARLY_S
        for each in waiting:
            each.close()


async def test_what_is_queued_for_another_process_is_served_where_all_stop():
    async with with_anothers_socket() as (guard, anothers):
        waiting = queue(anothers)
        draining = asyncio.get_running_loop().create_task(guard.drain())
        await until(lambda: guard.sessions == 1)
        waiting.close()
        await draining
