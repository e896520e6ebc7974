"""A guard between a test HAProxy and a test agent; its teardown checks that nothing is left."""

import asyncio
import contextlib
import gc
import math
import os
import resource
import socket
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from spoe_guard.address import Address
from spoe_guard.net import own_limits
from spoe_guard.net.agent_connection import AgentConnection
from spoe_guard.net.dial import dial
from spoe_guard.net.guard import Guard
from spoe_guard.net.leg import Leg
from spoe_guard.net.relay import Relay
from spoe_guard.net.route import Route
from tests.garbage import nothing_for_the_collector
from tests.net.doubles import FakeSession, Recorder
from tests.net.peers import Peer

DEADLINE_S = 20.0
LOCALHOST = Address("127.0.0.1", 0)
FILES_RESERVED = 4


async def until(condition, what="the condition"):
    """Wait until ``condition()`` holds."""
    loop = asyncio.get_running_loop()
    end = loop.time() + DEADLINE_S
    while not condition():
        assert loop.time() < end, f"{what} did not come about"
        await asyncio.sleep(0.002)


def nobody(_route, _number):
    """Who is told what sessions carry, as a rule."""
    return


class Stage:
    """``async with Stage(FakeSession) as stage``: a guard with one route, an agent's listening socket, and the books."""

    def __init__(self, make_session=FakeSession, *, agent=None, unix_in=None, drained=True, shared=False, witness=nobody, **how):
        self.recorder = Recorder()
        self.sessions = []
        self._make = make_session
        self._agent_address = agent
        self._unix_in = unix_in
        self._total_bytes = how.pop("total_bytes", math.inf)
        self._route = how
        self._peers = []
        self._shared = shared  # another guard may listen on the same address
        self.handover = None  # where they find each other
        self._witness = witness
        self._drained = drained  # False: the test drains the guard itself
        self._sockets = 0

    async def __aenter__(self):
        self._collector = nothing_for_the_collector()
        self._collector.__enter__()
        self._sockets = open_sockets()
        family = socket.AF_INET if self._unix_in is None else socket.AF_UNIX
        self._listening = socket.socket(family, socket.SOCK_STREAM)
        self._listening.setblocking(False)
        self._listening.bind(("127.0.0.1", 0) if self._unix_in is None else str(self._unix_in / "agent"))
        self._listening.listen(64)
        where = self._listening.getsockname()
        there = Address(path=where) if self._unix_in else Address(*where)
        listen = LOCALHOST if self._unix_in is None else Address(path=str(self._unix_in / "guard"))
        self.route = replace(Route("default", listen, (self._agent_address or there,)), **self._route)
        if self._shared:
            self.handover = Path(tempfile.mkdtemp(prefix="spoe-guard-stage-"))
        self.guard = Guard(
            [self.route],
            self.recorder,
            self._new_session,
            witness=self._witness,
            reuse_port=self._shared,
            total_bytes=self._total_bytes,
            handover=self.handover,
        )
        await self.guard.start()
        self.address = self.guard.addresses["default"]
        return self

    def _new_session(self, config, tally, now, route_state):
        session = self._make(config, tally, now, route_state)
        self.sessions.append(session)
        return session

    @property
    def session(self):
        """The one session there is."""
        [session] = self.sessions
        return session

    @property
    def relay(self):
        """The one relay there is; a test must not keep it, its end is checked."""
        [relay] = self.guard._relays.values()
        return relay

    async def use(self, routes, total_bytes=math.inf):
        """Have the guard serve these routes."""
        await self.guard.change(routes, await self.guard.prepare(routes), total_bytes)

    async def haproxy(self):
        """Connect as HAProxy."""
        peer = Peer((await dial([self.address])).sock)
        self._peers.append(peer)
        return peer

    async def agent(self):
        """Accept as the agent."""
        sock, _ = await asyncio.get_running_loop().sock_accept(self._listening)
        sock.setblocking(False)
        peer = Peer(sock)
        self._peers.append(peer)
        return peer

    async def both(self):
        """Connect as HAProxy, and accept what the guard then dials."""
        haproxy = await self.haproxy()
        agent = await self.agent()
        await until(lambda: self.recorder.count("link opened") >= 1, "the agent link")
        return haproxy, agent

    async def over(self, sessions=1):
        """Wait until that many sessions are gone."""
        await until(lambda: self.recorder.count("closed") >= sessions and not self.guard.sessions, "the end of the session")

    async def __aexit__(self, kind, *_):
        if self._drained:
            await self.guard.drain(0.0 if kind else None)
        for peer in self._peers:
            peer.close()
        self._listening.close()
        if self.handover is not None:
            self.handover.rmdir()  # which nobody has left anything in
        if kind is None:
            self.sessions.clear()
            await until(lambda: open_sockets() == self._sockets, f"{self._sockets} open sockets (now {open_sockets()})")
            self.check_books()
        self._collector.__exit__(kind, *_)

    def check_books(self):
        """Nothing is left, and everything that began has ended once."""
        count = self.recorder.count
        assert self.guard.sessions == 0
        assert count("opened") == count("closed") == len(self.recorder.ends())
        assert count("link opened") == count("link closed")
        assert {task for task in asyncio.all_tasks() if task is not asyncio.current_task()} == set()
        assert [o for o in gc.get_objects() if isinstance(o, (Relay, Leg, AgentConnection, FakeSession))] == []


def open_sockets():
    """Count this process's sockets; a loop keeps other files for itself."""
    count = 0
    for each in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            count += str(each.readlink()).startswith("socket:")
    return count


@contextlib.contextmanager
def files_left(count=0):
    """Let this process open so many more files, whatever an earlier test left behind: none is free below one that is open.

    How many of them the guard reserves depends on the limit, and so on what is open: here it reserves FILES_RESERVED.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(each.name) for each in Path("/proc/self/fd").iterdir())
    filling = [os.dup(0)]
    while filling[-1] < highest:
        filling.append(os.dup(0))
    os.close(lowest := filling.pop())
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + count, hard))
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(own_limits, "RESERVED", FILES_RESERVED)
            yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for each in filling:
            os.close(each)


def unix_in(family, tmp_path) -> Path | None:
    return tmp_path if family == "unix" else None
