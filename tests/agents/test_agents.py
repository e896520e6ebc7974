"""Each agent behaves as the catalogue describes: the test speaks SPOP to it as HAProxy up to 3.0 would."""

import asyncio
import contextlib
import re
import time

import pytest

from spoe_guard.core.incoming.agent.pieces import Pieces
from spoe_guard.lab import frames
from spoe_guard.lab.engine import Engine
from spoe_guard.wire import actions, frame, kv, walk
from tests.agents.catalogue import CATALOGUE, CROWDSEC, SOURCES, WAF, Language
from tests.agents.real import AgentProcess
from tests.lab.loop import on_a_loop
from tests.pieces import feed_all

WORK_S = 0.6  # how long an answer takes, where it matters which are worked on at the same time
PATIENCE_S = 0.5  # for a frame or a close that is not to come


def capabilities(hello):
    pairs = {pair.name: pair.value for pair in kv.parse(hello.raw, hello.payload_at, len(hello.raw))[0]}
    return pairs[b"capabilities"].decode()


def message(ack):
    """The variables that an ACK sets, by scope and name; its whole payload has to make sense."""
    parsed, end = actions.parse(ack.raw, ack.payload_at, len(ack.raw))
    assert end == len(ack.raw), ack.raw
    return {(action.scope, action.name): action.value for action in parsed}


def answer(path):
    return {(walk.SCOPE_TXN, b"allowed"): True, (walk.SCOPE_TXN, b"echo"): path}


@on_a_loop
async def test_it_says_hello_and_answers_a_notify(agent_kind, start_agent):
    agent = start_agent(agent_kind)
    assert agent.built_on == (agent_kind.library, agent_kind.version)
    async with await Engine.tcp(agent.port) as engine:
        hello = await engine.hello()
        assert hello.type == frame.AGENT_HELLO
        assert capabilities(hello) == agent_kind.announces
        notify = await engine.notify(b"/path")
        ack = await engine.read()
        assert (ack.type, ack.ids) == (frame.ACK, notify.ids)
        assert message(ack) == answer(b"/path")


@pytest.mark.measure
@on_a_loop
async def test_agent_answers_notifies_in_parallel_or_in_turn_as_the_catalogue_says(agent_kind, start_agent):
    work_ms = round(1000 * WORK_S)
    agent = start_agent(agent_kind, delay_ms=(work_ms, work_ms))
    async with await Engine.tcp(agent.port) as engine:
        await engine.hello()
        began = time.monotonic()
        sent = {notify.ids: path for path in (b"/1", b"/two") for notify in [await engine.notify(path)]}
        got = await put_together(engine, len(sent))
        took = time.monotonic() - began
        assert {ack.ids: message(ack) for ack in got} == {ids: answer(path) for ids, path in sent.items()}
        assert (took < 1.9 * WORK_S) == agent_kind.concurrent  # one after the other they take twice as long, and not less


async def put_together(engine, count):
    """Read what two handlers write between one another, as dropmore does; answers of two lengths cannot be swapped."""
    pieces, found = Pieces(frame.DEFAULT_MAX_FRAME_SIZE), []
    async with asyncio.timeout(engine._deadline_s):
        while len(found) < count:
            more, sane = feed_all(pieces, await engine._reader.read(4096))
            assert sane
            found += more
    return [frame.parse(raw) for raw in found]


@on_a_loop
async def test_it_takes_leave_as_the_catalogue_says(agent_kind, start_agent):
    agent = start_agent(agent_kind)
    async with await Engine.tcp(agent.port, deadline_s=5 if agent_kind.closes else PATIENCE_S) as engine:
        await engine.hello()
        await engine.send(frames.disconnect(frame.HAPROXY_DISCONNECT))
        got, closed = [], False
        with contextlib.suppress(TimeoutError):
            while each := await engine.read():
                got.append(each.type)
            closed = True
        assert got == [frame.AGENT_DISCONNECT] * agent_kind.sends_disconnect
        assert closed == agent_kind.closes


@pytest.mark.parametrize("name", [name for name, kind in CATALOGUE.items() if kind.idle_timeout])
@on_a_loop
async def test_it_ends_a_connection_on_which_nothing_comes(name, start_agent):
    agent = start_agent(CATALOGUE[name], idle_ms=200)
    async with await Engine.tcp(agent.port) as engine:
        await engine.hello()
        assert [each.type for each in await engine.rest()] == [frame.AGENT_DISCONNECT]


def test_an_agent_without_an_idle_timeout_is_not_asked_for_one(tmp_path):
    with pytest.raises(AssertionError, match="no idle timeout"):
        AgentProcess(CATALOGUE["spop-0.13.1"], tmp_path, idle_ms=200)


def test_a_failed_start_quotes_what_the_program_wrote(tmp_path):
    with pytest.raises(AssertionError, match="usage:"):
        AgentProcess(CATALOGUE["spop-0.13.1"], tmp_path, delay_ms=(2, 1))


def test_an_agent_that_is_not_built_is_skipped_but_fails_in_ci(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.agents.catalogue.HOME", tmp_path)
    for ci, outcome in (("", pytest.skip.Exception), ("true", pytest.fail.Exception)):
        monkeypatch.setenv("CI", ci)
        with pytest.raises(outcome, match="make agents"):
            AgentProcess(CATALOGUE["criteo-1.0.8"], tmp_path)


def test_each_version_of_a_go_library_is_in_the_catalogue():
    pinned = {path.stem for path in (SOURCES / "go/versions").glob("*.mod")}
    assert pinned == {name for name, kind in CATALOGUE.items() if kind.language is Language.GO} | {WAF.name, CROWDSEC.name}


def test_the_firewall_is_built_on_the_versions_that_are_pinned(start_agent):
    agent = start_agent(WAF)
    pins = (SOURCES / f"go/versions/{WAF.name}.mod").read_text()
    pinned = dict(re.findall(r"^\t(\S+) (\S+)$", pins, re.MULTILINE))  # those without "// indirect"
    assert dict([agent.built_on]) | agent.parts == pinned
    assert agent.built_on == (WAF.library, WAF.version)
