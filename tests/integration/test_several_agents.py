"""One route with several agents before real HAProxys: how links are spread, and what an agent that dies or hangs costs."""

import signal

import pytest

from spoe_guard.core.conversation.agent_link import MUTE_AFTER
from tests.integration import generations
from tests.integration.haproxy import NEVER_SENT, Options, wait_until
from tests.integration.load import Load

AT = ("2.6", "3.2")
CLIENTS = 12  # each keeps a connection of HAProxy busy, and so a link
DELAY = ("--delay", "0.02")  # of each answer, so that NOTIFYs are open at any time
UNDER_WAY = 10 * CLIENTS
PATIENCE_S = 30.0
ALONE = ("no option pipelining", "no option async")
AGAIN = {"ROUTES__0__REDISPATCH": "unanswered", "ROUTES__0__HAPROXY__TIMEOUT_PROCESSING": "4s"}
BACK_S = 10.0  # of a hung agent: 5 s, the pause of its check, and this machine's


class Cast:
    """HAProxy, a guard and ``count`` agents behind its only route."""

    def __init__(self, stage, at, count, balance, settings=None, processing="4s"):
        self.stage = stage
        self.agents = [stage.agent_process(*DELAY) for _ in range(count)]
        told = {"ROUTES__0__BALANCE": balance, "LOG__LEVEL": "info", **(settings or {})}
        self.guard = stage.guard(",".join(agent.address for agent in self.agents), settings=told)
        program = generations.find(at).program
        self.haproxy = stage.haproxy(self.guard.address, Options(program=program, spoe=ALONE, processing=processing))

    def of_each(self, metric):
        """Return that metric by agent, in the order of the settings."""
        found = {labels["agent"]: value for name, labels, value in self.guard.metrics() if name == f"spoe_guard_{metric}"}
        return [found[agent.address] for agent in self.agents]

    def asked(self):
        """Return how many NOTIFYs came from HAProxy."""
        notify = {"direction": "to_agent", "type": "notify"}
        return sum(
            value
            for name, labels, value in self.guard.metrics()
            if name == "spoe_guard_frames_total" and notify.items() <= labels.items()
        )

    def unanswered(self, *loads):
        """Return how many requests got no answer, without those that HAProxy never sent."""
        lost = sum(seen.verdict != path for load in loads for path, seen in list(load.seen.items()))
        return lost - len(NEVER_SENT.findall(self.haproxy.log()))

    def moves(self):
        """Return each change of where new links go, by the place of the agents, and why."""
        at = {agent.address: place for place, agent in enumerate(self.agents)}
        return [(at[line["from"]], at[line["to"]], line["why"]) for line in self.guard.lines("agent_failover")]


def under_way(load, count=UNDER_WAY):
    so_far = len(load.seen)
    wait_until(lambda: len(load.seen) >= so_far + count, "the load is under way", PATIENCE_S)


@pytest.mark.parametrize("at", AT)
def test_with_first_one_agent_has_every_link(stage, at):
    cast = Cast(stage, at, 3, "first")
    with Load(cast.haproxy, CLIENTS) as load:
        under_way(load)
        links = cast.of_each("agent_links")
        assert links[0] >= CLIENTS / 2
        assert links[1:] == [0, 0]
        wait_until(lambda: cast.of_each("agent_open_notifies")[0] > 0, "NOTIFYs are open", PATIENCE_S)
    assert cast.unanswered(load) == 0
    assert cast.moves() == []


@pytest.mark.parametrize("at", AT)
def test_in_turn_each_agent_is_dialled_as_often(stage, at):
    cast = Cast(stage, at, 3, "round-robin")
    with Load(cast.haproxy, CLIENTS) as load:
        under_way(load)
    dials = cast.of_each("agent_dials_total")
    assert sum(dials) >= CLIENTS / 2
    assert max(dials) - min(dials) <= 1
    assert min(cast.of_each("agent_notifies_total")) > 0
    assert sum(cast.of_each("agent_notifies_total")) == cast.asked()
    assert cast.unanswered(load) == 0
    assert all(agent.answered() for agent in cast.agents)


@pytest.mark.parametrize("at", AT)
def test_with_least_open_links_are_spread_evenly(stage, at):
    cast = Cast(stage, at, 3, "least-open")
    with Load(cast.haproxy, CLIENTS) as load:
        under_way(load)
        links = cast.of_each("agent_links")
        assert sum(links) >= CLIENTS / 2
        assert max(links) - min(links) <= 2
        assert min(cast.of_each("agent_links")) > 0
    assert cast.unanswered(load) == 0


@pytest.mark.timeout(120)
@pytest.mark.parametrize("balance", ["first", "least-open", "round-robin"])
@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("at", AT)
def test_an_agent_killed_under_load_costs_nothing_and_is_used_again(stage, at, workers, balance):
    cast = Cast(stage, at, 2, balance, AGAIN | {"WORKERS": workers})
    first, second = cast.agents
    with Load(cast.haproxy, CLIENTS) as load:
        under_way(load)
        first.kill()
        under_way(load)
        wait_until(lambda: cast.of_each("agent_up") == [0, 1], "the guard knows", PATIENCE_S)
        assert second.answered()
        back = stage.agent_process(*DELAY, port=first.port)
        wait_until(lambda: cast.of_each("agent_up") == [1, 1], "the guard asks", PATIENCE_S)
        with Load(cast.haproxy, CLIENTS, request=lambda number: (f"/more/{number}", {})) as more:  # HAProxy opens connections
            wait_until(back.answered, "it is used again", PATIENCE_S)
            under_way(more)
    assert cast.unanswered(load, more) == 0
    moves = cast.moves()
    if balance != "first":
        assert moves == []
    else:
        assert moves.count((1, 0, "answers again")) == len(moves) / 2 > 0
        # The kernel may still accept for a process that dies, and resets the connection then.
        assert {move for move in moves if move[0] == 0} <= {(0, 1, "refused"), (0, 1, "other")}
    assert cast.guard.lines("agent_reachable")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("at", AT)
def test_an_agent_that_hangs_is_left_after_its_deadlines(stage, at, workers):
    """Each of its links costs the NOTIFYs that show that it is silent, and then the other agent serves."""
    settings = AGAIN | {"ROUTES__0__HAPROXY__TIMEOUT_PROCESSING": "500ms", "WORKERS": workers}
    cast = Cast(stage, at, 2, "first", settings, processing="500ms")
    first, second = cast.agents
    with Load(cast.haproxy, CLIENTS) as load:
        under_way(load)
        links = cast.of_each("agent_links")[0]
        first.process.send_signal(signal.SIGSTOP)
        try:
            wait_until(lambda: cast.of_each("agent_links")[0] == 0, "its links are gone", PATIENCE_S)
            before = load.asked()
            lost = cast.unanswered(load)
            assert second.answered()
            under_way(load)
            wait_until(lambda: len(load.seen) >= before, "those asked before are over", PATIENCE_S)
            after = cast.unanswered(load)
            under_way(load)
            assert cast.unanswered(load) == after
        finally:
            first.process.send_signal(signal.SIGCONT)
        wait_until(lambda: cast.of_each("agent_up") == [1, 1], "it answers again", BACK_S + PATIENCE_S)
    assert 0 < lost <= after <= (MUTE_AFTER + 1) * (links + CLIENTS)
    given, failed = cast.of_each("agent_notifies_total"), cast.of_each("agent_failed_notifies_total")
    assert 0 < failed[0] < given[0]
    assert failed[1] / given[1] < failed[0] / given[0]  # one that HAProxy gave up meanwhile was in the hand of the second
    moves = cast.moves()
    assert {(before, to) for before, to, _why in moves} == {(0, 1), (1, 0)}
