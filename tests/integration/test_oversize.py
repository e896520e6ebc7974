"""One client's long requests cost nobody else an answer: HAProxy's fragments are taken whatever the agent can do.

HAProxy up to 3.0 sends what is too long for a frame in fragments, unless `no option send-frag-payload` says otherwise. With an
agent that takes none it says DISCONNECT (status 10), connects again, and so on until the request is over, while all others wait.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from spoe_guard.lab.agent import Script
from tests.integration.generations import Generation, find
from tests.integration.haproxy import SPOP_MODE_FROM, Options
from tests.integration.hazards import results
from tests.integration.load import Load
from tests.integration.oversize import BODYS_PATH, EVERY_S, LONG_PATH, TAKES_FRAGMENTS, TAKES_NONE, Crowdsec, Told, TooLong
from tests.integration.stage import Stage

PLAY_S: Final = 3.0
PER_SECOND: Final = 50  # of the neighbour, who asks one after another
LONG_ONES: Final = 3
SHARE: Final = 0.98
TOLD_S: Final = 0.02
CONNECTIONS_A_MINUTE: Final = 2
IDLE: Final = "2m"  # so HAProxy does not close a connection in between for want of NOTIFYs, and open it again
STORM: Final = 500  # connections; measured without the guard: 3,000 to 5,600 in four seconds
ITSELF: Final = ("no option send-frag-payload",)  # HAProxy fails the request itself: st=3
FRAGMENTED: Final = ("2.2", "2.6", "3.0")
WHOLE: Final = results.folder() is not None  # `make hazards`
BARE: Final = [(name, body) for name in FRAGMENTED for body in (False, True)] if WHOLE else [("2.6", False), ("3.0", False)]
SETS: Final = {"ROUTES__0__HAPROXY__SET_ON_ERROR": "error"}
TELLS: Final = {"ROUTES__0__UNANSWERED": "tell"}

pytestmark = pytest.mark.timeout(90)


class Played(NamedTuple):
    """``asked`` and ``answered``: the neighbour's requests, and ``made``: those that there was CPU for.

    ``connections``: to the agent; ``anomalies``: the guard's.
    """

    asked: int
    made: int
    answered: int
    told: list[Told]
    connections: int
    anomalies: dict[str, int]


def play(
    folder: Path,
    generation: Generation,
    *,
    body: bool,
    settings: dict[str, str] | None = None,
    spoe: tuple[str, ...] = (),
    script: Script = TAKES_NONE,
    seconds: float = PLAY_S,
) -> Played:
    """Play the long requests beside the neighbour, behind the guard if it has ``settings``; ``spoe``: lines of spoe-agent."""
    with Stage(folder) as stage:
        agent = stage.agent(script)
        guard = stage.guard(agent.address, settings=settings) if settings is not None else None
        options = Options(program=generation.program, spoe=spoe, idle=IDLE)
        haproxy = stage.enter(Crowdsec(stage.folder(), guard.address if guard else agent.address, options))
        with Load(haproxy, clients=1, per_second=PER_SECOND) as load, TooLong(haproxy, body=body) as long:
            time.sleep(seconds)  # this is the measurement
        answered = sum(bool(seen.verdict) for seen in load.seen.values())
        anomalies = dict(guard.anomalies()) if guard else {}
        return Played(int(seconds * PER_SECOND), load.asked(), answered, long.told, len(agent.agent.received), anomalies)


def keep(name: str, played: Played, *, body: bool, guarded: bool) -> None:
    """Write what came of it for the page."""
    slowest = max((each.seconds for each in played.told), default=0.0)
    results.keep(
        "oversize",
        id="body" if body else "path",
        generation=name,
        guarded=guarded,
        asked=played.asked,
        answered=played.answered,
        connections=played.connections,
        told=sorted({each.error for each in played.told}),
        slowest_s=slowest,
        anomalies=sorted(played.anomalies),
    )


@pytest.mark.parametrize("body", [False, True], ids=["path", "body"])
def test_a_neighbour_of_long_requests_loses_nothing(generation: Generation, body: bool, tmp_path: Path) -> None:
    (tmp_path / "itself").mkdir()
    with ThreadPoolExecutor(1) as beside:
        without = beside.submit(play, tmp_path / "itself", generation, body=body, spoe=ITSELF)
        guarded = play(tmp_path, generation, body=body, settings=SETS)
    keep(generation.name, guarded, body=body, guarded=True)
    alone = without.result()
    assert guarded.answered / guarded.made >= SHARE * alone.answered / alone.made
    assert guarded.made > guarded.asked / 2
    assert guarded.connections <= CONNECTIONS_A_MINUTE
    assert len(guarded.told) >= PLAY_S / EVERY_S - 2
    own = generation.version >= SPOP_MODE_FROM  # it fails such a request itself
    assert {(each.verdict, each.error) for each in guarded.told} == {("", "3" if own else "259")}
    wanted = {} if own else dict.fromkeys(("notify_oversize", "notify_unanswered"), len(guarded.told))
    assert guarded.anomalies == wanted


@pytest.mark.measure
@pytest.mark.timeout(240)  # it plays two minutes
@pytest.mark.parametrize("body", [False, True], ids=["path", "body"])
@pytest.mark.parametrize("name", FRAGMENTED)
def test_in_a_minute_of_long_requests_each_is_told_in_20_ms(name: str, body: bool, tmp_path: Path) -> None:
    seconds = 60.0
    (tmp_path / "itself").mkdir()
    without = play(tmp_path / "itself", find(name), body=body, spoe=ITSELF, seconds=seconds)
    guarded = play(tmp_path, find(name), body=body, settings=SETS, seconds=seconds)
    print(f"{without.answered} without, {guarded.answered} with, slowest {max(each.seconds for each in guarded.told)}")
    assert guarded.answered >= SHARE * without.answered
    assert guarded.connections <= CONNECTIONS_A_MINUTE
    assert max(each.seconds for each in guarded.told) < TOLD_S


@pytest.mark.parametrize(("name", "body"), BARE)
def test_without_the_guard_the_neighbour_loses_most(name: str, body: bool, tmp_path: Path) -> None:
    played = play(tmp_path, find(name), body=body)
    keep(name, played, body=body, guarded=False)
    storms = name != "2.2"  # which fails the long request and goes on
    assert (played.answered < played.asked / 2) is storms
    assert (played.connections > STORM) is storms


@pytest.mark.parametrize("body", [False, True], ids=["path", "body"])
@pytest.mark.parametrize("name", FRAGMENTED)
def test_an_agent_that_takes_fragments_gets_all_of_a_long_request(name: str, body: bool, tmp_path: Path) -> None:
    played = play(tmp_path, find(name), body=body, settings=SETS, script=TAKES_FRAGMENTS, seconds=1.4)
    path = len(BODYS_PATH if body else LONG_PATH)
    assert [each.error for each in played.told] == [""] * len(played.told) != []
    assert all(each.verdict.startswith(f"{path}+") and (each.verdict.endswith("+0") is not body) for each in played.told)
    assert played.anomalies == {}


@pytest.mark.parametrize("name", FRAGMENTED)
def test_to_tell_haproxy_costs_its_connection_and_what_crosses_that(name: str, tmp_path: Path) -> None:
    """HAProxy has no other way to learn that one request failed: an ACK is a success to it.

    But for an ACK with ABRT before the last fragment, and behind that it counts one NOTIFY less than it has open; with none open
    it never uses the connection again.
    """
    with Stage(tmp_path) as stage:
        agent = stage.agent(TAKES_NONE)
        guard = stage.guard(agent.address, settings=TELLS)
        haproxy = stage.enter(Crowdsec(stage.folder(), guard.address, Options(program=find(name).program)))
        with Load(haproxy, clients=1, per_second=PER_SECOND) as load:
            for number in range(1, LONG_ONES + 1):
                seen = haproxy.get(LONG_PATH)
                assert (seen.verdict, seen.error) == ("", "269")
                # It opens one more where the neighbour asks in the meantime.
                assert len(agent.agent.received) <= 2 + 2 * number
        # A NOTIFY that crosses AGENT-DISCONNECT on its way is lost with the connection, as without the guard.
        assert sum(not each.verdict for each in load.seen.values()) <= LONG_ONES
