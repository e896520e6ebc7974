"""HAProxy's side by hand: what is sent, what is said of each answer, and what is counted."""

import asyncio
import re

import pytest

from spoe_guard.address import Address
from spoe_guard.lab import ask, frames
from spoe_guard.lab.agent import Script, ScriptedAgent
from spoe_guard.lab.faults import FAULTS
from spoe_guard.lab.misbehaviour import MISBEHAVIOURS
from spoe_guard.wire import actions, frame, kv, messages, typed_data, walk
from tests.lab.loop import on_a_loop

QUICK = {"rate": 1000.0, "timeout_s": 5.0}
IN_VAIN_S = 0.1  # for what nobody answers


def plan(**changes):
    given = {"message": "check", "arguments": ["path=/lab"], "up_to_3_0": False, "count": 3, "connections": 1, "check": False}
    return ask.plan(**{**given, **QUICK, **changes})


async def played(asked, script=None, **how):
    """Return the agent, the lines without their times, and the result."""
    agent = ScriptedAgent(script, **how)
    where = Address("127.0.0.1", await agent.listen_tcp())
    lines, result = [], ask.Result()
    try:
        await ask.ask(where, asked, result, lines.append)
    finally:
        await agent.stop()
    return agent, [re.sub(r"[\d.]+ ms", "TIME", line) for line in lines], result


def notifies(agent):
    return [each for received in agent.received for each in received if each.type == frame.NOTIFY]


@on_a_loop
async def test_each_ack_is_told_with_its_actions_and_time():
    agent, lines, result = await played(plan())
    assert lines == [f'ACK {stream}.1: set txn.verdict = "/lab", after TIME' for stream in (1, 3, 5)]
    assert (len(result.seconds), result.failed, result.strays) == (3, 0, 0)
    [message] = messages.parse(notifies(agent)[0].payload)
    assert (message.name, [(pair.name, pair.value) for pair in message.args]) == (b"check", [(b"path", b"/lab")])
    assert agent.received[0][-1].type == frame.HAPROXY_DISCONNECT  # it takes leave as HAProxy does


@on_a_loop
async def test_as_an_older_haproxy_it_numbers_and_offers_as_that_does():
    agent, lines, _ = await played(plan(up_to_3_0=True, count=2))
    assert [line.partition(":")[0] for line in lines] == ["ACK 1.1", "ACK 2.1"]
    offered, _ = kv.parse(agent.received[0][0].raw, agent.received[0][0].payload_at, len(agent.received[0][0].raw))
    assert b"async" in {pair.name: pair.value for pair in offered}[b"capabilities"]


@on_a_loop
async def test_the_connections_take_turns():
    agent, _, _ = await played(plan(count=5, connections=2))
    assert sorted(sum(each.type == frame.NOTIFY for each in received) for received in agent.received) == [2, 3]


@on_a_loop
async def test_an_agent_that_does_not_pipeline_gets_one_at_a_time():
    open_ = []
    script = Script(hello=frames.agent_hello(capabilities=b""), delay_s=0.02)
    agent = ScriptedAgent(script, lambda _: open_.append(len(notifies(agent)) - len(agent.answered) + 1))
    result = ask.Result()
    await ask.ask(Address("127.0.0.1", await agent.listen_tcp()), plan(count=3), result, lambda _: None)
    await agent.stop()
    assert (len(result.seconds), open_) == (3, [1, 1, 1])
    assert len(agent.received) == 1


@pytest.mark.parametrize("most", [1, 2])
def test_no_more_is_open_at_a_time_than_there_is_room_for(monkeypatch, most):
    monkeypatch.setattr(ask, "MOST_OPEN", most)
    open_ = []

    @on_a_loop
    async def play():
        agent = ScriptedAgent(Script(delay_s=0.02), lambda _: open_.append(len(notifies(agent)) - len(agent.answered) + 1))
        where = Address("127.0.0.1", await agent.listen_tcp())
        await ask.ask(where, plan(count=5), result := ask.Result(), lambda _: None)
        await agent.stop()
        assert len(result.seconds) == 5

    play()
    assert max(open_) == most


@on_a_loop
async def test_a_notify_without_an_answer_is_told_after_the_timeout():
    _, lines, result = await played(plan(count=1, timeout_s=IN_VAIN_S), Script(MISBEHAVIOURS["mute"]))
    assert lines == ["no answer within 0.1 s"]
    assert (result.seconds, result.failed) == ([], 1)


@on_a_loop
async def test_nobody_there_is_told_with_the_reason():
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    lines, result = [], ask.Result()
    await ask.ask(Address("127.0.0.1", port), plan(count=1), result, lines.append)
    [line] = lines
    assert line.startswith(f"no answer: cannot connect to 127.0.0.1:{port}: ")
    assert result.failed == 1


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("disconnect_before_ack", 'no answer: AGENT-DISCONNECT, status 0, "normal", after TIME'),
        ("hello_refused", 'no answer: AGENT-DISCONNECT, status 99, "refused", after TIME'),
        ("agent_unreachable", "no answer: the connection was closed, or what came is no frame, after TIME"),
        ("runt_frame", "no answer: the connection was closed, or what came is no frame, after TIME"),
    ],
)
@on_a_loop
async def test_the_end_of_a_connection_is_told_and_the_next_one_made(fault, told):
    one_at_a_time = frames.agent_hello(capabilities=b"")  # so the second NOTIFY waits for the end of the first one's connection
    script = Script(hello=one_at_a_time, fault=FAULTS[fault], turn=lambda: True)
    agent, lines, result = await played(plan(count=2), script)
    assert lines == [told, told]
    assert result.failed == 2
    assert agent.accepted == 2


@on_a_loop
async def test_frames_that_answer_nothing_are_counted_and_ten_of_them_told():
    _, lines, result = await played(plan(count=12), Script(fault=FAULTS["duplicate_ack"], turn=lambda: True))
    strays = [line for line in lines if line.endswith("answers no NOTIFY that is open")]
    assert strays[0] == "ACK 1.1 answers no NOTIFY that is open"
    assert len(strays) == ask.MOST_STRAYS
    assert result.strays == 12


@on_a_loop
async def test_a_health_check_is_told_with_what_the_agent_says():
    agent, lines, result = await played(plan(check=True, count=2))
    assert lines == ['AGENT-HELLO: version "2.0", max-frame-size 16380, capabilities "", after TIME'] * 2
    assert len(result.seconds) == 2
    assert len(agent.received) == 2


@on_a_loop
async def test_on_a_unix_socket_it_is_the_same(tmp_path):
    agent = ScriptedAgent()
    await agent.listen_unix(str(tmp_path / "agent.sock"))
    result = ask.Result()
    await ask.ask(Address(path=str(tmp_path / "agent.sock")), plan(count=1), result, lambda _: None)
    await agent.stop()
    assert len(result.seconds) == 1


@on_a_loop
async def test_a_notify_that_the_agent_has_no_room_for_is_not_sent():
    fits = "x" * (256 - len(frames.notify(1, 1, b"")) + frame.LENGTH_BYTES)
    script = Script(hello=frames.agent_hello(256))
    agent, _, _ = await played(plan(arguments=[f"path={fits}"], count=1), script)
    assert len(notifies(agent)[0].raw) == 256 + frame.LENGTH_BYTES
    with pytest.raises(ValueError, match=r"^--arg: the NOTIFY has 257 bytes, and the agent takes 256$"):
        await played(plan(arguments=[f"path={fits}x"], count=1), script)


def test_a_message_has_at_most_255_arguments():
    assert len(plan(arguments=["a=1"] * 255).arguments) == 255
    with pytest.raises(ValueError, match=r"^--arg: a message has at most 255 arguments$"):
        plan(arguments=["a=1"] * 256)


def test_a_message_has_a_name():
    with pytest.raises(ValueError, match=r"^--message: expected a name$"):
        plan(message="")


@pytest.mark.parametrize(
    ("payload", "told"),
    [
        (b"", "no action"),
        (actions.set_var(walk.SCOPE_SESS, b"ok", typed_data.BOOL, True), "set sess.ok = true"),
        (actions.set_var(walk.SCOPE_TXN, b"n", typed_data.NULL, None), "set txn.n = null"),
        (actions.set_var(walk.SCOPE_REQ, b"n", typed_data.INT64, -1), "set req.n = -1"),
        (actions.unset_var(walk.SCOPE_PROC, b"n") + b"\x07\x07", "unset proc.n, 2 bytes that cannot be read"),
        (actions.set_var(walk.SCOPE_TXN, b"a\x1b", typed_data.STR, b"\x1b[31m\n"), r'set txn.a\x1b = "\x1b[31m\n"'),
        (actions.set_var(walk.SCOPE_TXN, b"a", typed_data.STR, b"x" * 65), f'set txn.a = "{"x" * 64}..."'),
    ],
)
@on_a_loop
async def test_actions_are_told_without_what_a_terminal_would_act_upon(payload, told):
    _, lines, _ = await played(plan(count=1), Script(answer=lambda _: payload))
    assert lines == [f"ACK 1.1: {told}, after TIME"]


@pytest.mark.parametrize(
    ("result", "check", "line"),
    [
        (ask.Result(), False, "0 NOTIFYs, 0 ACKs, 0 without"),
        (ask.Result([0.001]), False, "1 NOTIFY, 1 ACK, 0 without; least 1.00 ms, median 1.00 ms, most 1.00 ms"),
        (
            ask.Result([0.001, 0.002, 0.006], 1, 2),
            False,
            "4 NOTIFYs, 3 ACKs, 1 without, 2 frames that answered nothing; least 1.00 ms, median 2.00 ms, most 6.00 ms",
        ),
        (ask.Result([], 2), True, "2 health checks, 0 AGENT-HELLOs, 2 without"),
    ],
)
def test_the_summary_counts_and_has_least_median_and_most(result, check, line):
    assert result.summary(plan(check=check)) == line
