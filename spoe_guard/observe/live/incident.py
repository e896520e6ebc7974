"""An incident as the page, `top` and /api/status tell it: what it is in words, when it was, and what to do about it."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from spoe_guard.core.terms.anomalies import CATALOGUE, Anomaly
from spoe_guard.core.terms.events import EndedBy, EndReason, UnansweredReason
from spoe_guard.observe.incidents import KINDS, Row
from spoe_guard.observe.live.states import CAUSES, MARKS, State

LEVEL_MARKS: Final = {  # a shape beside the colour, as the state has that comes of it
    "error": MARKS[State.DANGER],
    "warning": MARKS[State.DEGRADED],
    "info": MARKS[State.REPAIRED],
}

_SENTENCES: Final = {  # as in docs/logs.md
    "agent_unreachable": "the agent at an address could not be dialled, or said no HELLO",
    "agent_link_lost": "a session lost its connection to the agent and goes on",
    "session_closed": "a session ended in an unusual way",
    "session_gave_way": "a session ended in favour of others",
    "own_limit": "the guard itself is short of descriptors, memory or ports",
    "internal_error": "a bug of the guard; the log has its traceback",
}
_RUNBOOK: Final = {
    "agent_unreachable": "the-agent-is-down",
    "agent_link_lost": "notify_unanswered",
    "session_gave_way": "connections-gave-way-to-others",
    "own_limit": "the-guard-itself-is-short-of-something",
    "internal_error": "spoeguardinternalerror",
}
_OF_AN_END: Final = {
    (EndedBy.HAPROXY, EndReason.DISCONNECT): "haproxy-logs-st256-the-agent-is-well",
    (EndedBy.GUARD, EndReason.LIMIT): "spoeguardlimitreached",
    (EndedBy.GUARD, EndReason.GLITCHES): "glitch_flood",
    (EndedBy.GUARD, EndReason.INTERNAL_ERROR): "spoeguardinternalerror",
    (EndedBy.AGENT, EndReason.UNREACHABLE): "the-agent-is-down",
    (EndedBy.AGENT, EndReason.REFUSED): "hello_refused",
}
_HAPROXY_LEFT: Final = "HAProxy left before the answer came"


def told(row: Row, now: float, utc: Callable[[float], str]) -> dict[str, Any]:
    """Return a row of ``Incidents.take`` as it is in /api/status. ``now``: monotonic seconds; ``utc``: returns such as UTC."""
    first_at, last_at = row["first_at"], row["last_at"]
    sentence, runbook = _meaning(row)
    return {
        **row,
        "sentence": sentence,
        "runbook": runbook,
        "first_at": utc(first_at),
        "last_at": utc(last_at),
        "seconds": round(last_at - first_at, 3),
        "ago_s": round(now - last_at, 3),
    }


def _meaning(row: Row) -> tuple[str, str]:
    """Return what happened, and the entry of the runbook, "" for none."""
    match row["what"]:
        case "anomaly":
            return CATALOGUE[Anomaly(row["anomaly"])].sentence, row["anomaly"]
        case "notifies_unanswered":
            why, _side, runbook = CAUSES.get(UnansweredReason(row["reason"]), (_HAPROXY_LEFT, "", "notify_unanswered"))
            return f"NOTIFYs get no answer: {why}", runbook
        case "session_closed":
            return _SENTENCES["session_closed"], _OF_AN_END.get((EndedBy(row["by"]), EndReason(row["reason"])), "")
        case what:
            return _SENTENCES[what], _RUNBOOK[what]


def name(incident: Mapping[str, Any]) -> str:
    """Return the word for it that the log, the metrics and the runbook have."""
    return str(incident["anomaly"] if incident["what"] == "anomaly" else incident["what"])


def kind(incident: Mapping[str, Any]) -> str:
    """Return what tells it from others of its name."""
    if incident["what"] == "anomaly":
        by = "HAProxy" if incident["side"] == "haproxy" else "the agent"
        return f"from {by}, {incident['action']}{'' if incident['applied'] else ' (not applied)'}"
    labels = {label: str(incident[label]) for label in KINDS[incident["what"]]}
    return ", ".join(f"by {value}" if label == "by" else value for label, value in labels.items())
