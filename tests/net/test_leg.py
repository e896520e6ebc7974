"""What is written goes straight to the socket where nothing is in front of it, and behind what is where something is."""

import socket

import pytest

from spoe_guard.core.anomalies import Side
from spoe_guard.core.output import Close
from tests.net.stage import Stage, unix_in, until


async def test_what_is_written_stays_in_order_while_some_of_it_waits(family, tmp_path):
    whole = b"".join(number.to_bytes(4, "big") for number in range(1_000_000))
    async with Stage(unix_in=unix_in(family, tmp_path)) as stage:
        haproxy, _agent = await stage.both()
        leg = stage.relay.haproxy
        leg.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        got, waited = bytearray(), 0
        for at in range(0, len(whole), 100_000):
            leg.write(whole[at : at + 100_000])  # as soon as one has gone in part only, the next one may not go first
            waited += leg.unsent > 0
            if at % 300_000 == 0:  # then there is room in the socket, and something that waits
                got += await haproxy.read(50_000)
        got += await haproxy.read(len(whole) - len(got))
        assert waited > 3
        assert bytes(got) == whole
        leg.write(b"behind")
        assert await haproxy.read(6) == b"behind"
        await until(lambda: stage.relay.haproxy.unsent == 0)
        leg.write(b"at once again")
        assert haproxy.sock.recv(100) == b"at once again"
        del leg


@pytest.mark.parametrize("how", [Close.FLUSH, Close.ABORT])
async def test_behind_its_end_nothing_is_written(how):
    async with Stage() as stage:
        haproxy, _agent = await stage.both()
        leg = stage.relay.haproxy
        leg.close(how, 5.0)
        leg.write(b"too late")
        del leg
        if how is Close.FLUSH:
            assert await haproxy.rest() == b""
        else:
            assert await haproxy.was_reset()


async def test_a_write_that_finds_the_connection_broken_ends_the_leg():
    async with Stage() as stage:
        haproxy, _agent = await stage.both()
        leg = stage.relay.haproxy
        leg.transport.pause_reading()  # or it would hear of it by reading
        haproxy.reset()
        for _ in range(2):  # the first may meet the reset, the second the end
            leg.write(b"to nobody")
        del leg
        await until(lambda: ("closed", Side.HAPROXY, True) in stage.session.calls)
        await stage.over()
