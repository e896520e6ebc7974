"""The agents people run, behind each HAProxy, while clients ask: load, their idle timeout, their stop, and HAProxy's reload.

SPOE_GUARD_HAZARD_REQUESTS is how many requests under load (``make hazards REQUESTS=2000``). Without the guard nothing is
asserted: it is a measurement. With it no client gets another's answer or none without an error, no answer that the agent wrote
is lost, and HAProxy lives, is idle afterwards, and goes when it is told to. An ordinary run plays one agent of each library,
with the guard.
"""

import os
from collections.abc import Callable, Iterator

import pytest

from tests.agents.catalogue import CATALOGUE
from tests.integration import generations
from tests.integration.hazards import results
from tests.integration.hazards.crowd import AROUND, Cast, as_json, kinds

WHOLE = results.folder() is not None
REQUESTS = int(os.environ.get("SPOE_GUARD_HAZARD_REQUESTS", "200" if WHOLE else "60"))
ORDINARY = ("criteo-1.0.8", "negasus-1.0.7", "dropmore-0.0.6", "haproxyspoa-0.0.1", "spop-0.13.1")
AT = ("2.6", "3.2")
IDLE_SHARE = 0.2  # of a core
GONE_S = 2.0  # for an old process behind the guard; without it some stay for all of `timeout idle`

GetCast = Callable[[str], Cast]


def scenes() -> list[tuple[str, str, str]]:
    """Return agent, kind and HAProxy of each scene; in an ordinary run each kind at one HAProxy, turn by turn.

    But for the reload: from 3.1 on the old process waits for no agent.
    """
    if WHOLE:
        return [(name, kind, generation) for name in CATALOGUE for kind in kinds(name) for generation in generations.names()]
    turns = [(name, kind, (i + j) % 2) for i, name in enumerate(ORDINARY) for j, kind in enumerate(kinds(name))]
    return [(name, kind, AT[0 if kind == "reload" else turn]) for name, kind, turn in turns]


@pytest.fixture(scope="module")
def get_cast(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GetCast]:
    """The guard in front of an agent plays all scenes of a module with it."""
    casts: dict[str, Cast] = {}

    def get(name: str) -> Cast:
        return casts.get(name) or casts.setdefault(name, Cast(name, tmp_path_factory.mktemp(name)))

    yield get
    for cast in casts.values():
        cast.close()


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("name", "kind", "at"), scenes())
def test_no_client_gets_anothers_answer_none_is_lost_and_haproxy_lives(name, kind, at, get_cast):
    generation = generations.find(at)
    for guarded in (False, True) if WHOLE else (True,):
        result = get_cast(name).play(kind, generation, guarded=guarded, requests=REQUESTS)
        results.keep(kind, id=name, generation=at, guarded=guarded, requests=REQUESTS, **as_json(result))
    # The idle timeout of an agent that waits for the machine takes answers before they are written: how many is its own luck.
    assert result.seen["answered"] >= (REQUESTS / 10 if kind == "idle" else min(AROUND, REQUESTS / 2))
    assert not result.seen["another's answer"]
    assert not result.seen["nothing set, no error"]
    assert not result.seen["no HTTP response"]
    assert result.lost == (result.late if "SIG" in kind else 0)  # while no agent was there HAProxy gave up on some
    assert result.haproxy_lives
    assert result.agent_lives
    assert result.rest_cpu < IDLE_SHARE
    if kind == "reload":
        assert not result.stays
        assert result.gone_s < GONE_S
        assert result.new_failed <= result.unsent  # what HAProxy up to 3.0 never sent, the guard cannot answer
    if kind in ("load", "reload"):
        assert result.seen.total() - result.seen["answered"] == result.unsent
