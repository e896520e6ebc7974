"""Messages between parent and worker: whole, bounded, and in parts between which others have their turn."""

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable

import pytest

from spoe_guard.net.bind import Bound
from spoe_guard.net.route import Route
from spoe_guard.run.workers import channel
from spoe_guard.run.workers.channel import PART, Channel, decoded, encoded
from spoe_guard.run.workers.telling import Told, heard, told
from spoe_guard.settings import Settings
from tests.workers.turns import every_step_is_a_slice, turns_of

MANY = 30


def between(talk: Callable[[Channel, Channel], Awaitable[None]]) -> None:
    """Let two ends of a channel talk."""

    async def main() -> None:
        ends = [await Channel.on(sock) for sock in socket.socketpair()]
        try:
            await asyncio.wait_for(talk(*ends), 10.0)
        finally:
            for end in ends:
                end.close()

    asyncio.run(main())


@pytest.mark.parametrize("count", [0, 1, MANY])
def test_a_message_comes_with_its_own_parts_in_their_order(count):
    values = [{"number": number, "text": "+\n"} for number in range(count)]

    async def talk(here: Channel, there: Channel) -> None:
        here.send({"first": True})
        here.send({"second": ["+"], "parts": await encoded(values)})
        here.send({"third": 3})
        assert await there.receive() == {"first": True}
        second = await there.receive()
        assert second is not None
        assert await decoded(second.pop("parts", ())) == values
        assert second == {"second": ["+"]}
        assert await there.receive() == {"third": 3}
        here.close()
        assert await there.receive() is None

    between(talk)


def test_a_line_may_be_longer_than_what_is_read_together():
    long = "+" * (3 * channel.PIECE)

    async def talk(here: Channel, there: Channel) -> None:
        for message in ({"parts": await encoded([long, "short", long]), "rest": long}, {"second": long}):
            here.send(message)
            assert await there.receive() == message

    between(talk)


@pytest.mark.parametrize(("parts", "spare"), [(1, 0), (3, 0), (1, -1), (3, -1), (0, 0), (0, -1)])
def test_what_a_message_holds_is_bounded_with_all_its_parts(monkeypatch, parts, spare):
    message = {"parts": [b'"123456789"'] * parts, "rest": "0123456789"}
    size = parts * len(b'+"123456789"\n') + len(b'{"rest": "0123456789"}\n')
    monkeypatch.setattr(channel, "MAX_BYTES", size + spare)

    async def talk(here: Channel, there: Channel) -> None:
        here.send(message)
        got = await there.receive()
        assert (got is None) == (spare < 0)

    between(talk)


@pytest.mark.parametrize("line", [b"{", b"+{}\n+[", b"+{}\n", b"\xff\n"])
def test_half_a_message_is_none(line):
    async def main() -> None:
        ours, its = socket.socketpair()
        end = await Channel.on(ours)
        its.sendall(line)
        its.close()
        assert await end.receive() is None
        end.close()

    asyncio.run(main())


def test_a_message_of_many_parts_leaves_turns_for_others(monkeypatch):
    every_step_is_a_slice(monkeypatch)
    values = [{"number": number} for number in range(MANY)]

    async def talk(here: Channel, there: Channel) -> None:
        making, parts = await turns_of(encoded(values))
        here.send({"parts": parts})
        receiving, message = await turns_of(there.receive())
        assert message is not None
        reading, got = await turns_of(decoded(message["parts"]))
        assert got == values
        assert min(making, receiving, reading) > MANY

    between(talk)


def test_settings_are_told_and_heard_a_route_at_a_time(monkeypatch):
    every_step_is_a_slice(monkeypatch)
    rows = [{"name": f"r{number}", "listen": "127.0.0.1:0", "agent": "127.0.0.1:9"} for number in range(MANY)]
    settings = Settings.model_validate({"routes": rows, "mode": "observe", "admin": {"name": "here"}})

    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as sock:
            of_routes = [Route(name=route.name, listen=route.listen, agent=route.agent) for route in settings.routes]
            bounds = {route.name: Bound(route, sock) for route in of_routes}
            telling, said = await turns_of(told(settings, bounds, None))
            assert isinstance(said, Told)
            assert len(said.parts) == MANY
            assert "routes" not in said.settings
            hearing, got = await turns_of(heard(json.loads(json.dumps(said.settings)), said.parts))
        where = bounds["r0"].address
        assert min(telling, hearing) > MANY
        assert [route.name for route in got.routes] == [route.name for route in settings.routes]
        assert {route.listen for route in got.routes} == {where}
        assert [route.model_copy(update={"listen": where}) for route in settings.routes] == got.routes
        assert got.model_copy(update={"routes": settings.routes}) == settings

    asyncio.run(main())


def test_the_mark_of_a_part_begins_no_json():
    with pytest.raises(ValueError, match="Expecting value"):
        json.loads(PART)
