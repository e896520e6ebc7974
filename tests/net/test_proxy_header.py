"""``proxy_protocol: accept``: the header is taken off before the session, in pieces or whole, and names the peer."""

import time
from functools import partial

import pytest

from spoe_guard.core.terms.anomalies import Anomaly, Side
from spoe_guard.core.terms.config import SessionConfig
from spoe_guard.core.terms.events import EndedBy, EndReason
from spoe_guard.lab import frames
from spoe_guard.wire import frame
from tests.net.conversation import Guarded, ack_of, frame_of
from tests.net.doubles import FakeSession
from tests.net.stage import Stage, unix_in, until
from tests.net.test_handover import LASTING, Next, leaves, met
from tests.net.test_witness import Witnesses, sent

V1 = b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n"
V2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\2\1\xc0\0\2\2\xdc\4\1\xbb"
LOCAL = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"
HELLO = frames.haproxy_hello(frames.Family.MUX)
HEADERS = pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])


def named(stage):
    return [entry[2] for entry in stage.recorder.log if entry[0] == "named"]


def header_is(stage, so_far):
    """Whether the guard has read so much of it."""
    [relay] = stage.guard._relays.values() or [None]
    return relay is not None and (relay._header == so_far or named(stage))


async def answered(stage, haproxy):
    """Shake hands behind the header, and have one NOTIFY answered."""
    agent = await stage.agent()
    assert (await frame_of(agent)).type == frame.HAPROXY_HELLO
    await agent.send(frames.agent_hello())
    assert (await frame_of(haproxy)).type == frame.AGENT_HELLO
    asked = frames.notify(1, 1, b"/path")
    await haproxy.send(asked)
    assert await agent.read(len(asked)) == asked
    await agent.send(ack_of(asked))
    assert (await frame_of(haproxy)).type == frame.ACK


@HEADERS
async def test_a_header_is_taken_off_and_names_the_peer(header, family, tmp_path):
    async with Guarded(proxy_header=True, unix_in=unix_in(family, tmp_path)) as stage:
        haproxy = await stage.haproxy()
        await haproxy.send(header + HELLO)
        await answered(stage, haproxy)
        assert named(stage) == ["192.0.2.1:56324"]
        assert stage.anomalies() == []


@HEADERS
async def test_a_header_may_come_byte_by_byte(header):
    async with Guarded(proxy_header=True) as stage:
        haproxy = await stage.haproxy()
        for at in range(len(header)):
            await haproxy.send(header[at : at + 1])
            await until(partial(header_is, stage, header[: at + 1]))
        await haproxy.send(HELLO)
        await answered(stage, haproxy)
        assert named(stage) == ["192.0.2.1:56324"]


@pytest.mark.parametrize("header", [LOCAL, b"PROXY UNKNOWN\r\n"], ids=["local", "unknown"])
async def test_who_holds_the_connection_stays_the_peer_of_a_health_check(header):
    async with Guarded(proxy_header=True) as stage:
        haproxy = await stage.haproxy()
        await haproxy.send(header + HELLO)
        await answered(stage, haproxy)
        assert named(stage) == []


BAD = [HELLO, b"GET / HTTP/1.1\r\n\r\n", b"PROXY TCP4 nonsense\r\n" + HELLO, LOCAL[:12] + b"\x11\0\0\0"]


@pytest.mark.parametrize("first", BAD, ids=["none", "HTTP", "malformed v1", "malformed v2"])
async def test_who_comes_without_a_good_header_is_refused(first):
    async with Guarded(proxy_header=True) as stage:
        haproxy = await stage.haproxy()
        began = time.monotonic()
        await haproxy.send(first)
        assert await haproxy.rest() == b""
        assert time.monotonic() - began > 0.24
        await stage.over()
        assert stage.anomalies() == [Anomaly.NOT_SPOP]
        assert stage.recorder.count("link opened") == 0
        assert stage.recorder.ends() == [(EndedBy.GUARD, EndReason.ANOMALY)]


async def test_a_header_without_end_is_waited_for_as_long_as_hello():
    async with Guarded(proxy_header=True, config=SessionConfig(hello_s=0.1)) as stage:
        haproxy = await stage.haproxy()
        await haproxy.send(V1[:-1])
        assert await haproxy.rest() == b""
        assert stage.recorder.ends() == [(EndedBy.HAPROXY, EndReason.HELLO_TIMEOUT)]


async def test_a_check_that_connects_and_hangs_up_is_no_anomaly():
    async with Guarded(proxy_header=True) as stage:
        for said in (b"", LOCAL, V1[:7]):
            haproxy = await stage.haproxy()
            if said:
                await haproxy.send(said)
            haproxy.fin()
        await stage.over(3)
        assert stage.anomalies() == []
        assert set(stage.recorder.ends()) == {(EndedBy.HAPROXY, EndReason.CLOSED)}


@HEADERS
async def test_in_observe_mode_the_agent_gets_no_header_either(header):
    async with Guarded(proxy_header=True, config=SessionConfig(observe=True)) as stage:
        haproxy = await stage.haproxy()
        agent = await stage.agent()
        await haproxy.send(header[:9])
        await haproxy.send(header[9:] + HELLO)
        assert await agent.read(len(HELLO)) == HELLO
        assert named(stage) == ["192.0.2.1:56324"]
        assert stage.anomalies() == []


async def test_in_observe_mode_what_comes_without_a_header_passes():
    async with Guarded(proxy_header=True, config=SessionConfig(observe=True)) as stage:
        haproxy, agent = await stage.both()
        await haproxy.send(HELLO)
        assert await agent.read(len(HELLO)) == HELLO
        assert stage.anomalies() == [Anomaly.NOT_SPOP]


async def test_without_the_setting_a_header_is_bytes_like_any_others():
    async with Stage() as stage:
        haproxy, agent = await stage.both()
        await haproxy.send(V1 + b"more")
        assert await agent.read(len(V1) + 4) == V1 + b"more"


async def test_a_session_that_a_bug_turned_into_a_proxy_gets_no_header():
    class Broken(FakeSession):
        def start(self, now):
            super().start(now)
            raise RuntimeError("planted")

    async with Stage(Broken, proxy_header=True, splice_on_error=True) as stage:
        haproxy = await stage.haproxy()
        agent = await stage.agent()
        await haproxy.send(V1 + b"more")
        assert await agent.read(4) == b"more"
        haproxy.fin()
        agent.fin()
        await stage.over()


async def test_a_capture_begins_with_hello_and_has_no_header():
    witness = Witnesses()
    async with Guarded(proxy_header=True, witness=witness) as stage:
        haproxy = await stage.haproxy()
        await haproxy.send(V2[:5])
        await haproxy.send(V2[5:] + HELLO)
        await answered(stage, haproxy)
        await haproxy.send(bytes(4))
        await until(lambda: stage.anomalies() == [Anomaly.RUNT_FRAME])
    [take] = witness.takes
    assert sent(take, Side.HAPROXY).startswith(HELLO)


async def test_a_capture_has_all_that_came_in_place_of_a_header():
    witness = Witnesses()
    async with Guarded(proxy_header=True, witness=witness) as stage:
        haproxy = await stage.haproxy()
        await haproxy.send(b"PROX")
        await until(lambda: stage.guard._relays and stage.relay._header == b"PROX")
        await haproxy.send(b"IMITY")
        assert await haproxy.rest() == b""
    [take] = witness.takes
    assert sent(take, Side.HAPROXY) == b"PROXIMITY"


async def test_a_session_that_is_handed_over_has_its_header_behind_it():
    async with Guarded(proxy_header=True, shared=True, config=LASTING) as stage:
        haproxy = await stage.haproxy()
        await haproxy.send(V1 + HELLO)
        await answered(stage, haproxy)
        async with Next(stage) as successor:
            await stage.guard.drain()
            asked = frames.notify(3, 1, b"/path")
            await haproxy.send(asked)
            agent = await stage.agent()
            await met(agent)
            assert await agent.read(len(asked)) == asked
            await agent.send(ack_of(asked))
            assert (await frame_of(haproxy)).type == frame.ACK
            await leaves(haproxy, successor)
