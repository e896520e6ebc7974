"""HAProxy in front of a guard that is changed by hand under load: it notices nothing, but for a route that is drained."""

from typing import Any

import pytest

from spoe_guard.control import client
from spoe_guard.lab.agent import Script
from spoe_guard.lab.frames import first_argument
from tests.integration import generations
from tests.integration.haproxy import Options, wait_until
from tests.integration.load import Load

CLIENTS = 8
ANSWER_S = 20.0
ONE_AT_A_TIME = ("no option pipelining", "no option async")  # with several there may always be one open
NOBODY_LISTENS = {"1", "257"}  # HAProxy's words for it: it waited until it gave up, up to 3.0, or failed at once
PEERS = pytest.mark.parametrize("at", ["2.6", "3.2"])


def ask(path: str, command: str, **given: Any) -> Any:
    *_items, (_last, answer) = client.ask(path, {"do": command, **given}, ANSWER_S)
    return answer


@PEERS
def test_a_mode_switched_under_load_costs_haproxy_nothing(stage, tmp_path, at):
    agent = stage.agent(Script(delay_s=0.005))
    control = str(tmp_path / "control")
    guard = stage.guard(agent.address, settings={"ADMIN__CONTROL": f"unix:{control}"})
    haproxy = stage.haproxy(guard.address, Options(program=generations.find(at).program))
    with Load(haproxy, CLIENTS) as load:
        for turn in range(10):
            so_far = len(load.seen)
            wait_until(lambda: len(load.seen) > so_far + 4 * CLIENTS, "requests are answered")  # noqa: B023  at once
            mode = ("observe", "enforce")[turn % 2]
            assert ask(control, "mode", route="default", mode=mode)["changed"]
    assert {seen.status for seen in load.seen.values()} == {200}
    assert [path for path, seen in load.seen.items() if seen.verdict != path] == []
    assert haproxy.alive()
    assert guard.anomalies() == {}
    assert guard.metric("spoe_guard_connections_closed_total", by="guard") == 0
    assert guard.metric("spoe_guard_unanswered_notifies_total") == 0


@PEERS
def test_a_route_drained_under_load_loses_no_answer(stage, tmp_path, at):
    agent = stage.agent(Script(delay_s=0.02))
    control = str(tmp_path / "control")
    guard = stage.guard(agent.address, settings={"ADMIN__CONTROL": f"unix:{control}"})
    haproxy = stage.haproxy(guard.address, Options(program=generations.find(at).program, spoe=ONE_AT_A_TIME))
    with Load(haproxy, CLIENTS) as load:
        wait_until(lambda: len(load.seen) > 4 * CLIENTS, "requests are answered")
        assert ask(control, "drain", route="default")["reset"] == 0
        assert ask(control, "sessions")["sessions"] == []
        assert ask(control, "resume", route="default") == {"route": "default", "silent": []}
        wait_until(
            lambda: len(load.seen) > 20 and all(seen.verdict == path for path, seen in [*load.seen.items()][-CLIENTS:]),
            "HAProxy is served again",
        )
    assert {seen.status for seen in load.seen.values()} == {200}
    assert haproxy.alive()
    answered = {first_argument(notify).decode() for notify in agent.agent.answered}
    assert {path for path in answered if load.seen[path].verdict != path} == set()
    assert {seen.error for path, seen in load.seen.items() if seen.verdict != path} <= NOBODY_LISTENS
