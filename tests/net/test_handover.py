"""A guard stops while another listens on its address: HAProxy's connections move to the new one."""

import asyncio
import contextlib
import errno
import os
import resource
import socket
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from spoe_guard.address import Address
from spoe_guard.core.handed import Handed, NotTakenError
from spoe_guard.core.observed import open_session
from spoe_guard.core.terms.config import SessionConfig
from spoe_guard.core.terms.events import EndedBy, EndReason
from spoe_guard.core.terms.family import Family
from spoe_guard.lab import frames
from spoe_guard.net import handover, handover_dir, own_limits
from spoe_guard.net.guard import Guard
from spoe_guard.net.handover import MAX_GIVERS, MAX_MESSAGE, NextGuard, Taker, next_guards
from spoe_guard.net.route import Route
from spoe_guard.wire import frame
from tests.net.conversation import Guarded, ack_of, frame_of, types_until_closing
from tests.net.doubles import Recorder
from tests.net.stage import LOCALHOST, until

LASTING = SessionConfig(give_up_s=5.0, disconnect_hold_s=0.2, close_s=0.1)
HERE = "127.0.0.1:1"
TURNS = 50  # of the loop
HANDED = Handed(b"hello", 1024, one_at_a_time=False, family=Family.UNKNOWN, rest=b"")
ASKED = frames.notify(1, 1, b"/1")
LONGEST_PATH = 107  # unix(7): sun_path, and a zero byte


class Next:
    """``async with Next(stage) as successor``: a guard that takes the place of the stage's, with ``route`` otherwise.

    The kernel deals out what connects from then on.
    """

    def __init__(self, stage, **route):
        self.recorder = Recorder()
        self.guard = Guard(
            [replace(stage.route, **{"listen": stage.address, **route})],
            self.recorder,
            open_session,
            reuse_port=True,
            handover=stage.handover,
        )

    async def __aenter__(self):
        await self.guard.start()
        return self

    async def __aexit__(self, kind, *_):
        await self.guard.drain(0.0 if kind else None)
        assert self.recorder.errors == []


async def answered(haproxy, agent, stream_id):
    asked = frames.notify(stream_id, 1, b"/path")
    await haproxy.send(asked)
    assert await agent.read(len(asked)) == asked
    await agent.send(ack_of(asked))
    assert await haproxy.read(len(ack_of(asked))) == ack_of(asked)


async def met(agent):
    """The agent is told hello, and answers."""
    assert (await frame_of(agent)).type == frame.HAPROXY_HELLO
    await agent.send(frames.agent_hello())


def leaves(haproxy, successor):
    """HAProxy goes, and so does what the next guard has."""
    haproxy.close()
    return until(lambda: not successor.guard.sessions, "the end of the session")


async def test_haproxy_goes_on_with_the_next_guard_on_the_same_connection():
    async with Guarded(shared=True, config=LASTING) as stage:
        haproxy, agent = await stage.talking()
        async with Next(stage) as successor:
            await answered(haproxy, agent, 1)
            await stage.guard.drain()
            assert (await frame_of(agent)).type == frame.HAPROXY_DISCONNECT
            assert stage.recorder.ends() == [(EndedBy.GUARD, EndReason.HANDED_OVER)]
            asked = frames.notify(3, 1, b"/3")
            await haproxy.send(asked)
            agent = await stage.agent()
            await met(agent)
            assert await agent.read(len(asked)) == asked
            await agent.send(ack_of(asked))
            assert await haproxy.read(len(ack_of(asked))) == ack_of(asked)
            await leaves(haproxy, successor)


async def test_open_notifies_are_answered_first_and_later_ones_by_the_successor():
    async with Guarded(shared=True, config=LASTING) as stage:
        haproxy, agent = await stage.talking()
        async with Next(stage) as successor:
            await haproxy.send(ASKED)
            assert await agent.read(len(ASKED)) == ASKED
            drain = asyncio.ensure_future(stage.guard.drain())
            await until(lambda: stage.relay.haproxy._paused, "the pause")
            later = frames.notify(3, 1, b"/3")
            await haproxy.send(later[:7])  # also what is cut where it should not be
            await agent.send(ack_of(ASKED))
            assert await haproxy.read(len(ack_of(ASKED))) == ack_of(ASKED)
            await drain
            await haproxy.send(later[7:])
            agent = await stage.agent()
            await met(agent)
            assert await agent.read(len(later)) == later
            await leaves(haproxy, successor)


async def test_the_part_of_a_frame_that_was_read_goes_over():
    async with Guarded(shared=True, config=LASTING) as stage:
        haproxy, _ = await stage.talking()
        async with Next(stage) as successor:
            await haproxy.send(ASKED[:9])
            await until(lambda: stage.session.held, "the part")
            await stage.guard.drain()
            await haproxy.send(ASKED[9:])
            agent = await stage.agent()
            await met(agent)
            assert await agent.read(len(ASKED)) == ASKED
            await leaves(haproxy, successor)


async def disconnected(stage, haproxy):
    """The session ends as it would without another guard."""
    drain = asyncio.ensure_future(stage.guard.drain())
    assert (await types_until_closing(haproxy))[-1] == frame.AGENT_DISCONNECT
    await drain
    assert stage.recorder.ends() == [(EndedBy.GUARD, EndReason.DRAIN)]


async def test_what_stays_open_too_long_ends_here():
    async with Guarded(shared=True, config=LASTING) as stage:
        haproxy, agent = await stage.talking()
        async with Next(stage) as successor:
            await haproxy.send(ASKED)
            assert await agent.read(len(ASKED)) == ASKED
            await disconnected(stage, haproxy)
            assert successor.recorder.count("opened") == 0


async def test_a_guard_that_listens_elsewhere_takes_nothing():
    async with Guarded(shared=True, config=LASTING) as stage:
        haproxy, _ = await stage.talking()
        async with Next(stage, listen=LOCALHOST):
            await disconnected(stage, haproxy)


async def test_a_guard_that_has_all_the_connections_it_may_takes_no_more():
    async with Guarded(shared=True, config=LASTING) as stage:
        first, _ = await stage.talking()
        second = await stage.haproxy()
        await second.send(frames.haproxy_hello(frames.Family.MUX))
        await met(await stage.agent())
        assert (await frame_of(second)).type == frame.AGENT_HELLO
        async with Next(stage, connections=1) as successor:
            drain = asyncio.ensure_future(stage.guard.drain())
            ends = stage.recorder.ends
            await until(lambda: successor.guard.sessions == 1, "one of them")
            hearing = {asyncio.ensure_future(frame_of(haproxy)): haproxy for haproxy in (first, second)}
            [heard], [other] = await asyncio.wait(hearing, return_when=asyncio.FIRST_COMPLETED)
            assert heard.result().type == frame.AGENT_DISCONNECT
            hearing[heard].fin()
            other.cancel()
            await drain
            assert sorted(reason.value for _, reason in ends()) == ["drain", "handed_over"]
            first.close()
            second.close()
            await until(lambda: not successor.guard.sessions, "the end of the session")


async def test_a_guard_that_stops_too_takes_nothing():
    async with Guarded(shared=True, config=LASTING) as stage:
        haproxy, _ = await stage.talking()
        async with Next(stage) as other:
            await other.guard.drain()
            await disconnected(stage, haproxy)


async def test_a_session_that_ends_with_its_link_is_not_handed_over():
    async with Guarded(shared=True, config=replace(LASTING, give_up_s=0.0)) as stage:
        haproxy, _ = await stage.talking()
        async with Next(stage) as successor:
            await disconnected(stage, haproxy)
            assert successor.recorder.count("opened") == 0


async def test_a_connection_without_hello_may_still_say_it_and_goes_over_then():
    async with Guarded(shared=True, config=LASTING) as stage:
        haproxy = await stage.haproxy()
        await until(lambda: stage.guard.sessions, "the session")
        async with Next(stage) as successor:
            drain = asyncio.ensure_future(stage.guard.drain())
            await haproxy.send(frames.haproxy_hello(frames.Family.MUX))
            await met(await stage.agent())
            assert (await frame_of(haproxy)).type == frame.AGENT_HELLO
            await drain
            assert successor.guard.sessions == 1
            await leaves(haproxy, successor)


async def test_a_unix_socket_as_long_as_may_be_is_listened_on(tmp_path):
    path = str(tmp_path / "guard").ljust(LONGEST_PATH, "x")
    guard = Guard([Route("default", Address(path=path), (LOCALHOST,))], Recorder(), open_session, reuse_port=True)
    await guard.start()
    assert Path(path).is_socket()  # noqa: ASYNC240  nothing else runs here
    await guard.drain()


# --- the messages -----------------------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path):
    """Where they find each other."""
    handover_dir.prepare(tmp_path / "handover")
    return tmp_path / "handover"


@pytest.fixture
def taker(place):
    return partial(_taker, place)


@contextlib.asynccontextmanager
async def _taker(place, take=lambda *_: None):
    """A taker and a guard that hands over to it."""
    taker = Taker(place, HERE, take)
    try:
        [giver] = next_guards(place, HERE)
        yield giver
        giver.close()
    finally:
        taker.close()


async def test_a_handover_message_is_sent_up_to_the_longest_size(taker):
    taken = []
    room = MAX_MESSAGE - len(HANDED.encode())
    near, over = replace(HANDED, rest=bytes(room // 2)), replace(HANDED, rest=bytes(room // 2 + 1))
    async with taker(lambda handed, sock: taken.append((handed, sock.close()))) as giver:
        with socket.socket() as sock:
            assert await giver.takes(near, sock.fileno())
            assert not await giver.takes(over, sock.fileno())
            assert await giver.takes(HANDED, sock.fileno())
    assert taken == [(near, None), (HANDED, None)]


async def test_what_is_not_taken_is_closed_and_said(taker):
    def never(*_):
        raise NotTakenError("no")

    async with taker(never) as giver:
        ours, theirs = socket.socketpair()
        with ours:
            assert not await giver.takes(HANDED, theirs.fileno())
            theirs.close()
            assert ours.recv(1) == b""


async def test_what_is_no_message_is_answered_with_no(taker):
    async with taker() as giver:
        loop = asyncio.get_running_loop()
        for junk in (b"{}", b"\xff", HANDED.encode()):  # the last: without a connection
            giver._sock.send(junk)
            assert await loop.sock_recv(giver._sock, 1) == b"n"


async def test_one_that_does_not_answer_in_time_is_not_asked_again(monkeypatch):
    monkeypatch.setattr(handover, "ANSWER_S", 0.05)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    with theirs, socket.socket() as sock:
        giver = NextGuard(ours)
        assert not await giver.takes(HANDED, sock.fileno())
        assert ours.fileno() == -1
        assert not await giver.takes(HANDED, sock.fileno())


async def test_so_many_may_hand_over_at_a_time_and_no_more(place):
    held = Taker(place, HERE, lambda *_: None)
    givers = []
    try:
        for count in range(1, MAX_GIVERS + 2):
            givers += next_guards(place, HERE)
            await until(lambda count=count: len(held._givers) == min(count, MAX_GIVERS), "being heard")
        assert await asyncio.get_running_loop().sock_recv(givers[-1]._sock, 1) == b""
        givers[0].close()
        await until(lambda: len(held._givers) == MAX_GIVERS - 1, "its end")
    finally:
        held.close()
        for giver in givers:
            giver.close()


class As:
    """``os`` for a guard of another user, but for files."""

    geteuid = staticmethod(lambda: 12345)


async def test_of_another_user_nothing_is_taken_and_to_one_nothing_is_given(place, monkeypatch):
    held = Taker(place, HERE, lambda *_: None)
    try:
        [giver] = next_guards(place, HERE)
        await until(lambda: held._givers, "being heard")
        giver.close()
        monkeypatch.setattr(handover, "os", As)
        assert next_guards(place, HERE) == []
        monkeypatch.undo()
        await until(lambda: not held._givers, "its end")
        [giver] = next_guards(place, HERE)
        monkeypatch.setattr(handover, "os", As)
        assert await asyncio.get_running_loop().sock_recv(giver._sock, 1) == b""
        giver.close()
    finally:
        held.close()


async def test_of_a_user_that_may_be_anyone_nothing_is_taken(place, monkeypatch):
    """In a user namespace a user without a number there reads as 65534, so that one may be any other."""
    held = Taker(place, HERE, lambda *_: None)
    try:
        [giver] = next_guards(place, HERE)
        await until(lambda: held._givers, "being heard")
        giver.close()
        await until(lambda: not held._givers, "its end")
        [giver] = next_guards(place, HERE)
        monkeypatch.setattr(handover_dir, "overflow_user", os.geteuid)
        assert await asyncio.get_running_loop().sock_recv(giver._sock, 1) == b""
        giver.close()
        assert next_guards(place, HERE) == []
    finally:
        held.close()


async def test_a_path_as_long_as_may_be_can_be_handed_over(place):
    listen = "/" + "x" * 106  # unix(7): 108 bytes, the zero behind it included
    taker = Taker(place, listen, lambda _handed, _sock: None)
    try:
        [found] = next_guards(place, listen)
        found.close()
        assert next_guards(place, listen[:-1]) == []
    finally:
        taker.close()
    assert list(place.iterdir()) == []


async def test_without_a_descriptor_the_taker_pauses_says_so_and_goes_on(place, monkeypatch):
    monkeypatch.setattr(own_limits, "PAUSE_S", 60.0)
    said = []
    held = Taker(place, HERE, lambda *_: None, said.append)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        [giver] = next_guards(place, HERE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (giver._sock.fileno() + 1, hard))
        with contextlib.ExitStack() as taken:
            with contextlib.suppress(OSError):
                while True:
                    taken.enter_context(socket.socket())
            await until(lambda: said, "the lack")
            for _ in range(TURNS):
                await asyncio.sleep(0)
            assert len(said) == 1  # a reader that stays would spin
            assert "RLIMIT_NOFILE" in said[0]
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        held._listen()  # as behind the pause
        await until(lambda: held._givers, "being heard")
        giver.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        held.close()


async def test_a_taker_that_closes_in_its_pause_listens_no_more(place, monkeypatch):
    monkeypatch.setattr(own_limits, "PAUSE_S", 0.0)
    held = Taker(place, HERE, lambda *_: None)

    class Full:
        fileno, close = staticmethod(held._listening.fileno), staticmethod(held._listening.close)

        def accept(self):
            raise OSError(errno.EMFILE, "full")

    listening, held._listening = held._listening, Full()
    held._loop.remove_reader(listening)
    held._accept()
    assert held._pause is not None
    held.close()
    for _ in range(TURNS):
        await asyncio.sleep(0)
    assert held._pause is None


async def test_a_lack_is_told_as_one_of_the_guards_own():
    async with Guarded(shared=True, config=LASTING) as stage:
        stage.guard._takers["default"]._failed("none left")
        assert [entry[1:] for entry in stage.recorder.log if entry[0] == "accept failed"] == [("default", "none left")]


async def test_a_guard_without_a_place_serves_and_ends_its_sessions_itself(tmp_path):
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o755)
    async with Guarded(config=LASTING) as stage:
        route = replace(stage.route, listen=LOCALHOST)
        guard = Guard([route], Recorder(), open_session, reuse_port=True, handover=open_to_all)
        await guard.start()
        assert guard.no_handover == f"{open_to_all}: others may use it: its mode is 0755, expected 0700"
        assert guard.addresses["default"].port
        await guard.drain()
