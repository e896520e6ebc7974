"""An incident in words: each kind has its name, its sentence as in docs/logs.md, and an entry of the runbook that is there."""

import itertools
import re

import pytest

from spoe_guard.core.terms.anomalies import Action, Anomaly, Side
from spoe_guard.core.terms.events import DialFailure, EndedBy, EndReason, GaveWay, LinkLoss, UnansweredReason
from spoe_guard.observe.incidents import KINDS, LEVELS, Incidents
from spoe_guard.observe.live.incident import LEVEL_MARKS, kind, name, told
from spoe_guard.observe.live.runbook import Runbook
from tests.peers import ROOT

VALUES = {
    ("anomaly", "side"): Side, ("anomaly", "anomaly"): Anomaly, ("anomaly", "action"): Action,
    ("notifies_unanswered", "reason"): UnansweredReason, ("agent_unreachable", "reason"): DialFailure,
    ("agent_link_lost", "reason"): LinkLoss, ("session_closed", "by"): EndedBy, ("session_closed", "reason"): EndReason,
    ("session_gave_way", "reason"): GaveWay,
}  # fmt: skip
OPEN = {"applied": ["true", "false"], "agent": ["10.0.3.7:9000"], "doing": ["accept", "dial"], "error": ["KeyError"]}


def shown(*of: str) -> dict:
    incidents = Incidents(lambda: 10.0)
    incidents.happened("default", of)
    return told(next(incidents.take()), 12.5, lambda at: f"UTC {at}")


@pytest.mark.parametrize("what", KINDS)
def test_each_kind_has_a_sentence_and_an_entry_that_is_there(what):
    entries, page = Runbook().entries, (ROOT / "docs/logs.md").read_text()
    sentences = set()
    for values in itertools.product(*(OPEN.get(label) or [each.value for each in VALUES[what, label]] for label in KINDS[what])):
        incident = shown(what, *values)
        assert incident["runbook"] in entries or (what == "session_closed" and incident["runbook"] == "")
        assert incident["sentence"]
        assert (name(incident), kind(incident)) != ("", "")
        sentences.add(incident["sentence"])
    if what not in ("anomaly", "notifies_unanswered"):
        (sentence,) = sentences
        (row,) = re.findall(rf"^\| `{what}` \|.*\| (.*) \|$", page, re.MULTILINE)
        assert row.startswith(sentence.partition(";")[0])


def test_it_says_when_and_for_how_long():
    incidents, times = Incidents(lambda: times[0]), [10.0]
    incidents.happened("default", ("own_limit", "accept"))
    times[0] = 13.25
    incidents.happened("default", ("own_limit", "accept"))
    incident = told(next(incidents.take()), 20.0, lambda at: f"UTC {at}")
    assert (incident["first_at"], incident["last_at"]) == ("UTC 10.0", "UTC 13.25")
    assert (incident["seconds"], incident["ago_s"]) == (3.25, 6.75)


def test_kinds_are_told_apart_in_words():
    assert kind(shown("anomaly", "haproxy", "not_spop", "close", "false")) == "from HAProxy, close (not applied)"
    assert kind(shown("session_closed", "guard", "limit")) == "by guard, limit"
    assert name(shown("anomaly", "haproxy", "not_spop", "close", "false")) == "not_spop"
    assert name(shown("own_limit", "dial")) == "own_limit"


def test_each_level_has_a_shape_of_its_own():
    assert LEVEL_MARKS.keys() == set(LEVELS)
    assert len(set(LEVEL_MARKS.values())) == len(LEVELS)
