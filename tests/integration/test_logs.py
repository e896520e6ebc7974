"""The guard's log beside HAProxy's own, with the lines of docs/logs.md in HAProxy's configuration: incidents and requests."""

import re
from collections.abc import Sequence

import pytest

from spoe_guard.lab.agent import Script
from spoe_guard.lab.faults import FAULTS, Due, Fault, Step
from tests.integration.generations import Generation
from tests.integration.haproxy import MAIN, SPOE, SPOP_MODE_FROM, Haproxy, Options, wait_until
from tests.integration.stage import Stage
from tests.peers import ROOT

PAGE = (ROOT / "docs/logs.md").read_text()
TOLD = {"HAPROXY__TIMEOUT_PROCESSING": "500ms", "HAPROXY__SET_ON_ERROR": "error", "REDISPATCH": "unanswered"}
SETTINGS = {"LOG__UNIQUE_ID": "id"} | {f"ROUTES__0__{key}": value for key, value in TOLD.items()}
MUTE = 3  # requests that get no answer


def of_page(words: str) -> str:
    """Return the line of the page's example that begins with those words."""
    [line] = re.findall(rf"^ +({words} .*)$", PAGE, re.MULTILINE)
    return line.replace("txn.waf.", "txn.guarded.").replace("{", "{{").replace("}", "}}")


class Named(Haproxy):
    """HAProxy gives each request a name, and both logs tell it."""

    main = MAIN.replace("    filter spoe", f"    {of_page('unique-id-format')}\n    {of_page('log-format')}\n    filter spoe")
    spoe = SPOE.replace("    args path=path src=src", f"    {of_page('args').partition('#')[0].rstrip()}")


class Doing:
    """A fault that the agent can change: ``name`` of the catalogue, "" for none."""

    def __init__(self) -> None:
        self.name = ""

    def script(self) -> Script:
        return Script(fault=Fault("changing", "as it is told", self._play), turn=lambda: bool(self.name))

    def _play(self, due: Due) -> Sequence[Step]:
        return FAULTS[self.name].play(due)


def as_told_by_haproxy(web: Haproxy) -> list[tuple[int, str, str]]:
    """Return number, name and error of each request that HAProxy logged."""
    found = re.findall(r"sid=(\d+) id=(\S+) verdict=\S+ error=(\S+)", web.log())
    return [(int(sid), name, error) for sid, name, error in found]


@pytest.mark.timeout(90)
def test_an_incident_is_told_whole_and_names_haproxys_request(stage: Stage, generation: Generation) -> None:
    doing = Doing()
    guard = stage.guard(stage.agent(doing.script()).address, settings=SETTINGS)
    web = stage.enter(Named(stage.folder(), guard.address, Options(processing="1s", program=generation.program)))
    assert web.get("/1").status == 200

    doing.name = "runt_frame"  # which would end HAProxy up to 2.9
    for _ in range(MUTE):
        assert web.get("/runt").error == ""
    doing.name = "notify_unanswered"
    for _ in range(MUTE):
        assert web.get("/mute").error == "1"
    wait_until(lambda: [error for *_, error in as_told_by_haproxy(web)].count("1") == MUTE, "HAProxy has logged them")

    [mended], [lost] = guard.lines("anomaly"), guard.lines("notifies_unanswered")
    assert (mended["anomaly"], mended["level"]) == ("runt_frame", "info")
    assert (lost["reason"], lost["level"], lost["type"]) == ("deadline", "warning", "notify")
    sid, name, _ = next(told for told in as_told_by_haproxy(web) if told[2] == "1")
    assert lost["unique_id"] == name
    sids = [int(number) for number in re.findall(r"SPOE: \[guarded\] <EVENT:on-frontend-http-request> sid=(\d+) ", web.log())]
    assert sid in sids
    if generation.version < SPOP_MODE_FROM:
        assert lost["stream_id"] == sid
    else:
        assert lost["stream_id"] % 2 == 1  # 1, 3, 5, ... of the connection to the agent

    unanswered = guard.metric("spoe_guard_unanswered_notifies_total", reason="deadline")
    guard.terminate()
    guard.wait_stopped()
    over = {line["incident"]: line for line in guard.lines("incident_over")}
    assert (over[mended["incident"]]["count"], over[mended["incident"]]["because"]) == (MUTE, "stop")
    assert (over[lost["incident"]]["count"], over[lost["incident"]]["what"]) == (unanswered, "notifies_unanswered")
    assert unanswered == MUTE
