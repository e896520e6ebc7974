"""A guard between a peer that poses as HAProxy and one that poses as the agent; its end checks that nothing is left."""

import asyncio
import contextlib
import errno
import gc
import socket
import struct
from dataclasses import replace
from pathlib import Path

from spoe_guard.core.address import Address
from spoe_guard.core.anomalies import Side
from spoe_guard.core.events import EndedBy, EndReason, SessionEnded
from spoe_guard.core.output import Close, Output
from spoe_guard.core.tally import Tally
from spoe_guard.net.dial import dial
from spoe_guard.net.guard import Guard
from spoe_guard.net.leg import Leg
from spoe_guard.net.link import Link
from spoe_guard.net.relay import Relay
from spoe_guard.net.route import Route

DEADLINE_S = 5.0
LOCALHOST = Address("127.0.0.1", 0)


async def until(condition, what="the condition"):
    """Wait until ``condition()`` holds."""
    loop = asyncio.get_running_loop()
    end = loop.time() + DEADLINE_S
    while not condition():
        assert loop.time() < end, f"{what} did not come about"
        await asyncio.sleep(0.002)


class Recorder:
    """An observer that keeps everything."""

    def __init__(self):
        self.tallies = {}
        self.log = []
        self.errors = []

    def tally(self, route):
        return self.tallies.setdefault(route, Tally())

    def session_opened(self, route, session, peer):
        self.log.append(("opened", session, peer))

    def seen(self, route, session, events):
        self.log += [("seen", session, event) for event in events]

    def session_closed(self, route, session):
        self.log.append(("closed", session))

    def link_opened(self, route):
        self.log.append(("link opened",))

    def link_closed(self, route):
        self.log.append(("link closed",))

    def internal_error(self, route, session, error):
        self.errors.append(error.with_traceback(None))  # whose frames would keep the session alive

    def count(self, what):
        return sum(entry[0] == what for entry in self.log)

    def ends(self):
        """Return how the sessions ended, in order."""
        ended = [entry[2] for entry in self.log if entry[0] == "seen" and isinstance(entry[2], SessionEnded)]
        return [(event.by, event.reason) for event in ended]


class FakeSession:
    """Passes everything; a test overrides what it is about. ``calls`` is what it was told, ``asked`` what it answered."""

    deadline = float("inf")

    def __init__(self, config, tally, now):
        self.config = config
        self.calls = []
        self.connected = False
        self.early = b""

    def start(self, now):
        self.calls.append("start")
        out = Output()
        out.dial = True
        return out

    def receive(self, side, data, now):
        out = Output()
        if side is Side.AGENT:
            out.to_haproxy = data
        elif self.connected:
            out.to_agent = data
        else:
            self.early += data
        return out

    def agent_connected(self, now):
        self.calls.append("agent_connected")
        self.connected = True
        out = Output()
        out.to_agent, self.early = self.early, b""
        return out

    def agent_failed(self, reason, detail, now):
        self.calls.append(("agent_failed", reason, detail))
        return self.end(Close.FLUSH, EndedBy.AGENT, EndReason.UNREACHABLE)

    def closed(self, side, now, *, reset):
        self.calls.append(("closed", side, reset))
        by = EndedBy.HAPROXY if side is Side.HAPROXY else EndedBy.AGENT
        return self.end(Close.ABORT if reset else Close.FLUSH, by, EndReason.RESET if reset else EndReason.CLOSED)

    def tick(self, now):
        self.calls.append("tick")
        return Output()

    def drain(self, now):
        self.calls.append("drain")
        return self.end(Close.FLUSH, EndedBy.GUARD, EndReason.DRAIN)

    def release(self):
        self.calls.append("release")
        return self.early, b""

    def end(self, how, by, reason):
        out = Output()
        self.deadline = float("inf")
        out.close_haproxy = out.close_agent = how
        out.events = [SessionEnded(by, reason)]
        return out


class Peer:
    """One end of a connection, driven by the test."""

    def __init__(self, sock):
        self.sock = sock
        self.loop = asyncio.get_running_loop()

    async def send(self, data):
        await self.loop.sock_sendall(self.sock, data)

    async def read(self, count):
        """Return exactly ``count`` bytes, or fewer when the connection ended."""
        got = bytearray()
        while len(got) < count and (more := await self.loop.sock_recv(self.sock, count - len(got))):
            got += more
        return bytes(got)

    async def rest(self):
        """Return everything up to FIN; ``ConnectionResetError`` when it is a reset instead."""
        got = bytearray()
        while more := await self.loop.sock_recv(self.sock, 65536):
            got += more
        return bytes(got)

    def send_now(self, data):
        """Send what goes without waiting; return how many bytes that was."""
        sent = 0
        with contextlib.suppress(BlockingIOError):
            while sent < len(data):
                sent += self.sock.send(data[sent : sent + 65536])
        return sent

    def fin(self):
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self):
        self.sock.close()

    async def was_reset(self):
        """Whether the connection ends with a reset, after whatever came before it."""
        try:
            await self.rest()
        except OSError as error:
            return error.errno in (errno.ECONNRESET, errno.EPIPE)
        return False


class Stage:
    """``async with Stage(FakeSession) as stage``: a guard with one route, an agent's listening socket, and the books."""

    def __init__(self, make_session=FakeSession, *, agent=None, unix_in=None, drained=True, **route):
        self.recorder = Recorder()
        self.sessions = []
        self._make = make_session
        self._agent_address = agent
        self._unix_in = unix_in
        self._route = route
        self._peers = []
        self._drained = drained  # False: the test drains the guard itself
        self._sockets = 0

    async def __aenter__(self):
        self._sockets = open_sockets()
        family = socket.AF_INET if self._unix_in is None else socket.AF_UNIX
        self._listening = socket.socket(family, socket.SOCK_STREAM)
        self._listening.setblocking(False)
        self._listening.bind(("127.0.0.1", 0) if self._unix_in is None else str(self._unix_in / "agent"))
        self._listening.listen(64)
        where = self._listening.getsockname()
        there = Address(path=where) if self._unix_in else Address(*where)
        listen = LOCALHOST if self._unix_in is None else Address(path=str(self._unix_in / "guard"))
        self.route = replace(Route("default", listen, self._agent_address or there), **self._route)
        self.guard = Guard([self.route], self.recorder, self._new_session)
        await self.guard.start()
        self.address = self.guard.addresses["default"]
        return self

    def _new_session(self, config, tally, now):
        session = self._make(config, tally, now)
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
        [relay] = self.guard._relays
        return relay

    async def haproxy(self):
        """Connect as HAProxy."""
        peer = Peer(await dial(self.address))
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
        if kind is None:
            self.sessions.clear()
            await until(lambda: open_sockets() == self._sockets, f"{self._sockets} open sockets (now {open_sockets()})")
            self.check_books()

    def check_books(self):
        """Nothing is left, and everything that began has ended once."""
        count = self.recorder.count
        assert self.guard.sessions == 0
        assert count("opened") == count("closed") == len(self.recorder.ends())
        assert count("link opened") == count("link closed")
        assert {task for task in asyncio.all_tasks() if task is not asyncio.current_task()} == set()
        gc.collect()
        assert [o for o in gc.get_objects() if isinstance(o, (Relay, Leg, Link, FakeSession))] == []


def open_sockets():
    """Count this process's sockets; a loop keeps other files for itself."""
    count = 0
    for each in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            count += str(each.readlink()).startswith("socket:")
    return count


def unix_in(family, tmp_path) -> Path | None:
    return tmp_path if family == "unix" else None


@contextlib.asynccontextmanager
async def hanging_address():
    """An address on which a dial neither works nor fails: its accept queue is full, so SYNs are ignored."""
    with socket.socket() as listening, socket.socket() as one, socket.socket() as two:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for filler in (one, two):
            filler.setblocking(False)
            filler.connect_ex(listening.getsockname())
        yield Address(*listening.getsockname())
