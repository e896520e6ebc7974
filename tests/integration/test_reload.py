"""SIGHUP every second while HAProxy is under load: no request fails.

An ordinary run takes a few seconds; SPOE_GUARD_RELOAD_SECONDS=60 (``make reloads``) is the long version.
"""

import asyncio
import os
import signal
import time
from contextlib import nullcontext

import pytest

from spoe_guard.lab.engine import Engine
from spoe_guard.wire import frame
from tests.integration import generations
from tests.integration.haproxy import Options, wait_until
from tests.integration.load import Load

ASKED = os.environ.get("SPOE_GUARD_RELOAD_SECONDS")
SECONDS = int(ASKED or 5)
EVERY_S = 1.0
UNDER_WAY = 100  # responses
SLOWEST_S = 0.5  # of a request; `timeout processing` is 1 s

LONG = pytest.mark.timeout(SECONDS + 60)
PEERS = pytest.mark.parametrize("at", ["2.6", "3.2"])

# In turn: two that change much of what a session is told, and one that cannot be used.
FILES = (
    """\
routes: [{disconnect_hold: 100ms, links: {give_up: 1s}, limits: {held_bytes: 64k}, policy: {unmatched_ack: close}}]
log: {level: debug}
""",
    """\
routes: [{hello: {profile: criteo}, redispatch: unanswered, answer_deadline: 900ms, timeouts: {hello: 1s}}]
log: {level: info, rate: 1/s}
""",
    "workres: 2\n",
)


def hang_up_every_second(stage, tmp_path, at, capsys):
    """Return the guard, the load in front of it, and how many seconds the slowest request took."""
    agent = stage.agent_process("--delay", "0.005")
    file = tmp_path / "guard.yaml"
    file.write_text(FILES[1])
    guard = stage.guard(agent.address, config=file)
    haproxy = stage.haproxy(guard.address, Options(program=generations.find(at).program))
    with Load(haproxy) as load:
        wait_until(lambda: len(load.seen) >= UNDER_WAY, "the load is under way", 10)
        began = time.monotonic()
        for count in range(1, SECONDS + 1):
            file.write_text(FILES[count % len(FILES)])
            guard.process.send_signal(signal.SIGHUP)
            wait_until(lambda count=count: reloads(guard) == count, "the reload is over")
            assert asyncio.run(one_notify(guard)) == [frame.AGENT_HELLO, frame.ACK]
            time.sleep(max(0.0, began + count * EVERY_S - time.monotonic()))  # that is how often
        so_far = len(load.seen)
        wait_until(lambda: len(load.seen) >= so_far + UNDER_WAY, "the load goes on", 10)
    slowest = max(seen.seconds for seen in load.seen.values())
    took = [line["seconds"] for line in guard.lines("reloaded")]
    with capsys.disabled() if ASKED else nullcontext():
        print(f"\nHAProxy {at}: {len(load.seen)} requests, the slowest {slowest:.3f} s; a reload took at most {max(took):.3f} s")
    return guard, load, slowest


@LONG
@PEERS
def test_a_hang_up_every_second_under_load_is_felt_by_nobody(stage, tmp_path, at, capsys):
    guard, load, _ = hang_up_every_second(stage, tmp_path, at, capsys)
    assert {path for path, seen in load.seen.items() if (seen.status, seen.verdict) != (200, path)} == set()
    assert guard.metric("spoe_guard_unanswered_notifies_total") == 0
    assert guard.metric("spoe_guard_connections_closed_total", by="guard") == 0
    assert guard.metric("spoe_guard_connections_closed_total", by="agent") == 0
    assert guard.anomalies() == {}
    refused = sum(FILES[count % len(FILES)] == FILES[2] for count in range(1, SECONDS + 1))
    assert guard.metric("spoe_guard_reloads_total", result="failure") == refused
    assert guard.metric("spoe_guard_reloads_total", result="success") == SECONDS - refused


@LONG
@PEERS
@pytest.mark.measure
def test_no_request_waits_long_for_a_reload(stage, tmp_path, at, capsys):
    _guard, _load, slowest = hang_up_every_second(stage, tmp_path, at, capsys)
    assert slowest < SLOWEST_S


def reloads(guard):
    return len(guard.lines("reloaded")) + len(guard.lines("reload_failed"))


async def one_notify(guard):
    """Say a session of today's settings is served too."""
    async with await Engine.tcp(int(guard.address.rpartition(":")[2])) as engine:
        hello = await engine.hello()
        await engine.notify(b"/new")
        ack = await engine.read()
        await engine.disconnect()
        return [each.type for each in (hello, ack) if each]
