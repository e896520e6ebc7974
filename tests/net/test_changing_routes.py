"""Other routes than before, while the guard serves: what is opened first, what is kept, and what is given up."""

import socket
from dataclasses import replace

import pytest

from spoe_guard.address import Address
from spoe_guard.net.bind import ListenError
from spoe_guard.net.guard import Guard
from spoe_guard.net.route import Route
from spoe_guard.wire import frame
from tests.net.conversation import Guarded, ack_of, types_until_closing
from tests.net.doubles import FakeSession, Recorder
from tests.net.stage import LOCALHOST, open_sockets, until
from tests.net.test_drained_route import HASTY, connects
from tests.net.test_handover import ASKED, LASTING


def route(name: str, listen: Address = LOCALHOST) -> Route:
    return Route(name, listen, (LOCALHOST,))


class Serving:
    """``async with Serving(*routes) as serving``: a guard that serves them, and whose sockets are all closed in the end."""

    def __init__(self, *routes: Route, **how) -> None:
        self.guard = Guard(routes, Recorder(), FakeSession, **how)
        self.ended = []

    async def __aenter__(self):
        self._before = open_sockets()
        await self.guard.start()
        return self

    async def change(self, *routes: Route) -> None:
        await self.guard.change(routes, await self.guard.prepare(routes), gone=self.ended.append)

    async def __aexit__(self, kind, *_):
        self.guard.abort_all()
        await self.guard.drain(0.0)
        if kind is None:
            await until(lambda: open_sockets() == self._before, "the end of all sockets")


async def test_what_is_prepared_and_given_up_leaves_nothing(tmp_path):
    async with Serving(route("a")) as serving:
        before, at = open_sockets(), dict(serving.guard.addresses)
        path = tmp_path / "guard"
        opening = await serving.guard.prepare([route("b"), route("c", Address(path=str(path))), route("a", at["a"])])
        assert path.exists()
        opening.close()
        assert (open_sockets(), [*tmp_path.iterdir()], serving.guard.addresses) == (before, [], at)
        assert connects(at["a"])


async def test_one_that_cannot_listen_closes_those_before_it():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        async with Serving(route("a")) as serving:
            before = open_sockets()
            with pytest.raises(ListenError, match="route c: cannot listen on 127"):
                await serving.guard.prepare([route("a"), route("b"), route("c", Address(*taken.getsockname()))])
            assert open_sockets() == before


async def test_what_is_kept_of_a_route_goes_with_its_last_session():
    async with Guarded(config=LASTING) as stage:
        guard, ended = stage.guard, []
        haproxy, agent = await stage.asked(ASKED)
        await guard.change([route("other")], await guard.prepare([route("other")]), gone=ended.append)
        assert [*guard.addresses] == ["other"]
        assert not connects(stage.address)
        assert guard.knows("default")
        await agent.send(ack_of(ASKED))
        assert await types_until_closing(haproxy) == [frame.ACK, frame.AGENT_DISCONNECT]
        await until(lambda: ended, "the end of the route")
        assert [(each.name, each.listen, each.sessions, each.reset) for each in ended] == [("default", stage.address, 1, 0)]
        assert not guard.knows("default")
        assert connects(guard.addresses["other"])


async def test_sessions_of_a_route_that_is_gone_are_reset_after_a_while():
    async with Guarded(config=HASTY) as stage:
        haproxy, _ = await stage.asked(ASKED)
        ended = []
        await stage.guard.change([route("other")], await stage.guard.prepare([route("other")]), gone=ended.append)
        await until(lambda: ended, "the end of the route")
        assert not stage.guard.knows("default")
        haproxy.close()


async def test_a_name_that_comes_back_while_its_sessions_end_is_kept():
    async with Guarded(config=LASTING) as stage:
        guard, ended = stage.guard, []
        haproxy, agent = await stage.asked(ASKED)
        for routes in ([route("other")], [stage.route], [route("other")], [stage.route]):
            await guard.change(routes, await guard.prepare(routes), gone=ended.append)
        await agent.send(ack_of(ASKED))
        assert await types_until_closing(haproxy) == [frame.ACK, frame.AGENT_DISCONNECT]
        await until(lambda: len(ended) == 4, "the end of each")
        assert guard.knows("default")
        assert connects(guard.addresses["default"])


async def test_a_drained_routes_socket_listens_for_another_name(tmp_path):
    listens = {"tcp": LOCALHOST, "unix": Address(path=str(tmp_path / "guard"))}
    async with Serving(*(route(name, listen) for name, listen in listens.items())) as serving:
        at = dict(serving.guard.addresses)
        for name in listens:
            await serving.guard.drain_route(name)
        assert not any(connects(each) for each in at.values())
        opening = await serving.guard.prepare([route(f"{name}2", at[name]) for name in listens])
        opening.close()
        assert not any(connects(each) for each in at.values())
        await serving.change(*(route(f"{name}2", at[name]) for name in listens))
        assert all(connects(each) for each in at.values())
        assert not serving.guard.is_drained("tcp2")
    assert [*tmp_path.iterdir()] == []


async def test_a_drained_route_that_listens_elsewhere_stays_drained(tmp_path):
    async with Serving(route("a")) as serving:
        await serving.guard.drain_route("a")
        await serving.change(route("a", Address(path=str(tmp_path / "guard"))))
        assert not connects(Address(path=str(tmp_path / "guard")))
        serving.guard.resume_route("a")
        assert connects(Address(path=str(tmp_path / "guard")))


async def test_a_name_that_resolves_to_the_address_is_the_same_socket():
    async with Serving(route("a")) as serving:
        at = serving.guard.addresses["a"]
        await serving.change(route("b", Address("localhost", at.port)))
        assert serving.guard.addresses == {"b": at}
        assert connects(at)


async def test_once_it_stops_nothing_is_changed_any_more():
    async with Serving(route("a")) as serving:
        opening = await serving.guard.prepare([route("b")])
        await serving.guard.drain()
        await serving.guard.change([route("b")], opening)
        assert serving.guard.addresses.keys() == {"a"}


async def test_settings_alone_open_and_close_nothing():
    async with Serving(route("a"), route("b")) as serving:
        before, at = open_sockets(), dict(serving.guard.addresses)
        opening = await serving.guard.prepare([replace(route("b"), connections=1), route("a")])
        assert not opening.is_needed
        await serving.guard.change([replace(route("b"), connections=1), route("a")], opening, gone=serving.ended.append)
        assert (open_sockets(), serving.guard.addresses, serving.ended) == (before, at, [])
        assert serving.guard.route("b").connections == 1
