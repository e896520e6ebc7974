"""A route that accepts nothing for a while, at an operator's wish, and what else may have stopped it from listening."""

import socket
from dataclasses import replace

import pytest

from spoe_guard.address import Address
from spoe_guard.core.terms.config import SessionConfig
from spoe_guard.net import bind as binding
from spoe_guard.net.bind import bind
from spoe_guard.net.guard import Guard
from spoe_guard.net.listener import Listener, Pause
from spoe_guard.net.route import Route
from spoe_guard.wire import frame
from tests.net.conversation import Guarded, ack_of, types_until_closing
from tests.net.doubles import FakeSession, Recorder
from tests.net.stage import LOCALHOST, until
from tests.net.test_handover import ASKED, LASTING, Next, answered, disconnected

HASTY = SessionConfig(give_up_s=5.0, disconnect_hold_s=0.05, close_s=0.05)


def connects(address: Address) -> bool:
    kind, where = (socket.AF_INET, (address.host, address.port)) if address.path is None else (socket.AF_UNIX, str(address.path))
    with socket.socket(kind) as sock:
        return sock.connect_ex(where) == 0


async def test_other_routes_go_on(tmp_path):
    listens = {"tcp": LOCALHOST, "unix": Address(path=str(tmp_path / "guard"))}
    guard = Guard([Route(name, listen, (LOCALHOST,)) for name, listen in listens.items()], Recorder(), FakeSession)
    await guard.start()
    at = guard.addresses
    for name, other in (("tcp", "unix"), ("unix", "tcp")):
        assert await guard.drain_route(name) == 0
        assert [connects(at[name]), connects(at[other])] == [False, True]
        assert guard.is_drained(name)
        guard.resume_route(name)
        assert connects(at[name])
    await guard.drain_route("unix")
    assert [each.name for each in tmp_path.iterdir()] == ["guard.drained"]
    guard.abort_all()
    await guard.drain(0.0)
    assert list(tmp_path.iterdir()) == []


async def test_open_notifies_are_answered_before_the_end():
    async with Guarded(config=LASTING) as stage:
        haproxy, agent = await stage.asked(ASKED)
        drain, again = stage.guard.drain_route("default"), stage.guard.drain_route("default")
        assert drain is again
        await agent.send(ack_of(ASKED))
        assert await types_until_closing(haproxy) == [frame.ACK, frame.AGENT_DISCONNECT]
        assert await drain == 0
        assert not connects(stage.address)


async def test_who_answers_nothing_is_ended_all_the_same():
    async with Guarded(config=HASTY) as stage:
        haproxy, _ = await stage.asked(ASKED)
        await stage.guard.drain_route("default")
        assert stage.guard.sessions == 0
        haproxy.close()


async def test_one_session_is_ended_and_others_go_on():
    async with Guarded(config=LASTING) as stage:
        haproxy, agent = await stage.talking()
        number = stage.relay.number
        other, others_agent = await stage.talking()
        assert stage.guard.end_session(number)
        assert (await types_until_closing(haproxy))[-1] == frame.AGENT_DISCONNECT
        await until(lambda: stage.guard.sessions == 1, "the end of one")
        assert not stage.guard.end_session(number)
        await answered(other, others_agent, 1)
        agent.close()
        other.close()


async def test_nothing_is_taken_over_there():
    async with Guarded(shared=True, config=LASTING) as stage:
        haproxy, _ = await stage.talking()
        async with Next(stage) as successor:
            await successor.guard.drain_route("default")
            await disconnected(stage, haproxy)


async def test_a_socket_of_somebody_else_is_left_alone():
    with socket.socket() as given:
        given.bind(("127.0.0.1", 0))
        given.listen()
        given.setblocking(False)
        guard = Guard([Route("default", LOCALHOST, (LOCALHOST,))], Recorder(), FakeSession, given={"default": given})
        await guard.start()
        with pytest.raises(OSError, match="systemd opened its socket; stop the socket unit, and then the guard"):
            guard.drain_route("default")
        assert not guard.is_drained("default")
        assert connects(guard.addresses["default"])
        guard.abort_all()
        await guard.drain(0.0)


async def test_it_listens_again_when_no_reason_is_left(family, tmp_path):
    listen = LOCALHOST if family == "tcp" else Address(path=str(tmp_path / "guard"))
    bound = await bind(Route("default", listen, ()))
    listener = Listener(bound, lambda sock, _peer: sock.close())
    for first, last in ((Pause.AWAY, Pause.DRAINED), (Pause.DRAINED, Pause.AWAY)):
        listener.pause(first)
        listener.pause(last)
        listener.pause(last)
        assert not connects(bound.address)
        listener.resume(first)
        assert not listener.listening
        assert not connects(bound.address)
        listener.resume(last)
        listener.resume(last)
        assert listener.listening
        assert connects(bound.address)
    listener.close()


async def test_a_file_that_took_the_name_meanwhile_stays(tmp_path):
    path = tmp_path / "guard"
    bound = await bind(Route("default", Address(path=str(path)), ()))
    listener = Listener(bound, lambda sock, _peer: sock.close())
    listener.pause(Pause.DRAINED)
    path.write_text("somebody else's")
    with pytest.raises(OSError, match="something listens there already"):
        listener.resume(Pause.DRAINED)
    assert path.read_text() == "somebody else's"
    path.unlink()
    listener.resume(Pause.DRAINED)
    assert connects(bound.address)
    listener.close()
    assert list(tmp_path.iterdir()) == []


async def test_of_a_socket_of_several_processes_its_owner_alone_stops_it():
    """A second shutdown of a socket would end the connections that it accepts later."""
    owner = await bind(replace(Route("default", LOCALHOST, ())))
    other = binding.Bound(owner.route, owner.sock.dup(), binding.Turn.LAST)
    other.refuse()
    assert connects(owner.address)
    owner.refuse()
    owner.refuse()
    assert not connects(owner.address)
    other.admit()
    assert not connects(owner.address)
    owner.admit()
    with socket.create_connection((owner.address.host, owner.address.port)) as peer:
        await until(lambda: _is_there(owner.sock), "a connection")
        accepted, _ = owner.sock.accept()
        with accepted:
            accepted.setblocking(False)
            with pytest.raises(BlockingIOError):  # it has not ended
                accepted.recv(1)
            assert peer.getpeername()
    other.close()
    owner.close()


def _is_there(listening: socket.socket) -> bool:
    import select

    return bool(select.select([listening], [], [], 0)[0])
