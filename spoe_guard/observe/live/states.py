"""The state of a route: five, from one definition, for the page, `top`, /api/status, the metrics, the alerts and the log.

A state looks at the last ``QUIET_S`` seconds, so it clears soon after the cure; shares and counts are those of the last
``MINUTE_S``.
"""

import enum
import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, NamedTuple

from spoe_guard.core.terms.events import UnansweredReason
from spoe_guard.counted import counted
from spoe_guard.observe.consequence import Consequence
from spoe_guard.observe.live.history import SLOW_S, STEP_S, RouteHistory, Totals
from spoe_guard.observe.logs import printable
from spoe_guard.observe.stats import RouteStats
from spoe_guard.wire import frame


@enum.unique
class State(enum.Enum):
    """In the order of how bad it is; label values of ``spoe_guard_state``."""

    OK = "ok"  # NOTIFYs are answered, or there are none
    REPAIRED = "repaired"  # the guard mended what came, and no request felt it
    DEGRADED = "degraded"  # a share of the NOTIFYs fails, or is about to
    DANGER = "danger"  # HAProxy got what ends it, or one of its connections
    DOWN = "down"  # the agent cannot be reached


WORST_FIRST: Final = tuple(reversed(State))
MARKS: Final = {  # a shape beside the colour
    State.OK: "●",
    State.REPAIRED: "○",
    State.DEGRADED: "▲",
    State.DANGER: "◆",
    State.DOWN: "■",
}

QUIET_S: Final = 15.0
MINUTE_S: Final = 60.0
_QUIET: Final = round(QUIET_S / STEP_S)  # in steps
_MINUTE: Final = round(MINUTE_S / STEP_S)

MANY_FAIL: Final = 0.01  # of the NOTIFYs; as in the alert SpoeGuardDegraded
MANY_ACKS: Final = 20
MANY_SLOW: Final = 0.05  # of the ACKs; with that number as in the alert SpoeGuardSlow
LONG_S: Final = 1.0  # for a NOTIFY to be open, where it is not known how long HAProxy waits for its ACK
MANY_HELLOS: Final = 3
NEVER_A_NOTIFY: Final = (
    "HAProxy has opened {count} connections and sent no NOTIFY; its log says why: st=3, the messages do not fit into the agent's "
    "max-frame-size; st=1, its timeouts are over before the connection is up"
)
ONLY_CHECKS: Final = (
    "Only health checks, and no NOTIFY yet; if there were requests: is `filter spoe` in the frontend, and an `event` in each "
    "spoe-message?"
)

AGENT: Final = "agent"
HAPROXY: Final = "haproxy"
GUARD: Final = "guard"


class Verdict(NamedTuple):
    """What a route's state is, and why.

    ``sentence``: in words, without the route's name. ``side``: who can change it: agent, haproxy, guard, or nobody. ``runbook``:
    the place in docs/runbook.md that says what to do, "" for none. ``asked``: the NOTIFYs of the last minute that were answered
    or failed; ``failed``: those that failed. ``waits_s``: for how long the oldest NOTIFY has been open or parked.
    """

    state: State
    sentence: str
    side: str = ""
    runbook: str = ""
    asked: int = 0
    failed: int = 0
    waits_s: float = 0.0

    @property
    def failed_share(self) -> float:
        """Of the NOTIFYs of the last minute, 0 to 1."""
        return self.failed / self.asked if self.asked else 0.0


_Found = tuple[str, str, str]  # what is wrong, who can change it, the place in the runbook

CAUSES: Final[dict[UnansweredReason, _Found]] = {
    UnansweredReason.DEADLINE: ("the agent answers too late", AGENT, "answers-come-late"),
    UnansweredReason.SUPERSEDED: ("the agent answers too late", AGENT, "answers-come-late"),
    UnansweredReason.AGENT_GONE: ("the agent ends its connections with NOTIFYs in hand", AGENT, "notify_unanswered"),
    UnansweredReason.AGENT_AWAY: ("the agent is away", AGENT, "the-agent-is-down"),
    UnansweredReason.ACK_DROPPED: ("the agent's answers cannot be used", AGENT, "notify_unanswered"),
    UnansweredReason.NOTIFY_DROPPED: ("they are too large for the agent, or cannot be read", HAPROXY, "notify_oversize"),
    UnansweredReason.LIMIT: ("a limit of the guard is reached", GUARD, "spoeguardlimitreached"),
}
_LOST: Final = ("HAProxy gets the agent's answers in a form that it does not take", AGENT, "spoeguardanswerslost")
_SILENT: Final = ("the agent does not answer", AGENT, "the-agent-hangs")


def judged(stats: RouteStats, history: RouteHistory, now: Totals) -> Verdict:
    """Return the state of a route. ``now``: its ``totals``."""
    lately, minute_ago = history.lately(now, _QUIET), history.before(_MINUTE).totals
    failed = now.failed - minute_ago.failed
    asked = now.answered - minute_ago.answered + failed
    waits_s = stats.oldest()  # once: it asks every session
    minute = partial(now.since, minute_ago)  # all counts of the last minute, which most routes need not

    def verdict(state: State, found: _Found) -> Verdict:
        sentence, side, runbook = found
        return Verdict(state, sentence[0].upper() + sentence[1:], side, runbook, asked, failed, waits_s)

    def beside(found: _Found) -> _Found:
        """Add how many NOTIFYs fail to what is no cause of that; also that none does."""
        return f"{found[0]}{_share_beside(asked, failed)}", *found[1:]

    if stats.agent_up is False:
        why = f"the agent is unreachable: {printable(stats.agent_detail)}"
        return verdict(State.DOWN, (_with_share(why, asked, failed), AGENT, "the-agent-is-down"))
    if lately.in_danger:
        return verdict(State.DANGER, beside(_danger(stats, history, minute().in_danger)))
    if lately.failed and failed >= MANY_FAIL * asked:
        why, side, runbook = _cause(stats, history, minute(), lately)
        return verdict(State.DEGRADED, (_with_share(why, asked, failed), side, runbook))
    if found := next(_what_is_wrong(stats, waits_s, minute, lately), None):
        return verdict(State.DEGRADED, beside(found))
    if lately.mended:
        return verdict(State.REPAIRED, beside(_mended(stats, history, minute())))
    if stats.tally.frames_to_agent[frame.NOTIFY]:
        return verdict(State.OK, (_with_share("served", asked, failed) if failed else _served(stats), "", ""))
    if stats.links_opened["check",] >= MANY_HELLOS:
        return verdict(State.OK, (ONLY_CHECKS, HAPROXY, "haproxy-connects-and-never-sends-a-notify"))
    return verdict(State.OK, (_served(stats), "", ""))


def _served(stats: RouteStats) -> str:
    if stats.open:
        return "served"
    return "HAProxy is not connected" if stats.connections else "HAProxy has not connected yet"


def _with_share(why: str, asked: int, failed: int) -> str:
    """Return of which share of the NOTIFYs that is the cause."""
    if not failed:
        return f"{why}{_share_beside(asked, failed)}"
    return f"{share(failed, asked)} of {counted(asked, 'NOTIFY')} in the last minute failed: {why}"


def _share_beside(asked: int, failed: int) -> str:
    if not asked:
        return ""
    return f"; {share(failed, asked) if failed else 'none'} of {counted(asked, 'NOTIFY')} failed"


def share(part: int, whole: int) -> str:
    """Return a share as a percentage; one that is not 0 or 1 does not look like that."""
    percent = 100 * part / whole
    if part < whole and percent > 99:  # noqa: PLR2004
        return f"{min(percent, 99.9):.1f} %"
    return f"{percent:.0f} %" if percent >= 1 else f"{percent:.1g} %"


def _cause(stats: RouteStats, history: RouteHistory, minute: Totals, lately: Totals) -> _Found:
    """Return why NOTIFYs fail: the most frequent reason of the last ``QUIET_S``; and what the agent did that ends HAProxy."""
    reasons = {name: count for (name,), count in (stats.unanswered - history.before(_QUIET).unanswered).items()}
    reasons.pop(UnansweredReason.HAPROXY_GONE.value, None)
    lost = _lately(stats, history, _QUIET, Consequence.ANSWER_LOST)
    if sum(lost.values()) > max(reasons.values(), default=0):
        return _LOST
    reason = UnansweredReason(max(reasons, key=lambda name: reasons[name]))
    if reason is UnansweredReason.AGENT_AWAY and lately.own_limits:
        return _own_limits(minute)  # the guard has not reached the agent, which may well be there
    if not lately.answered and reason in (UnansweredReason.DEADLINE, UnansweredReason.SUPERSEDED):
        return _SILENT
    why, side, runbook = CAUSES[reason]
    if minute.spared:
        anomaly = _most(stats, history, Consequence.HAPROXY_SPARED)
        kept = f"{counted(minute.spared, 'frame')} kept away that {'end' if minute.spared != 1 else 'ends'} {_whom(stats)}"
        why = f"{why}; {kept} ({anomaly})"
    return why, side, runbook


def _danger(stats: RouteStats, history: RouteHistory, count: int) -> _Found:
    anomaly = _most(stats, history, Consequence.HAPROXY_IN_DANGER)
    what = f"{counted(count, 'frame')} in the last minute that {'end' if count != 1 else 'ends'} {_whom(stats)}"
    return f"HAProxy got {what}, as the agent sent {'them' if count != 1 else 'it'} ({anomaly})", AGENT, anomaly


def _whom(stats: RouteStats) -> str:
    """Return which HAProxys would end, as far as the route has seen which connect."""
    known = stats.family_names()
    return FAMILIES[known[0]] if len(known) == 1 else "HAProxy"


FAMILIES: Final = {"applet": "HAProxy up to 3.0", "mux": "HAProxy 3.1 or later"}


def _mended(stats: RouteStats, history: RouteHistory, minute: Totals) -> _Found:
    anomaly = _most(stats, history, *_MENDED)
    parts = [
        (minute.saved, "answer saved", "answers saved"),
        (minute.spared, "frame kept away that ends HAProxy", "frames kept away that end HAProxy"),
        (minute.mended - minute.saved - minute.spared, "anomaly mended", "anomalies mended"),
    ]
    told = ", ".join(f"{count} {one if count == 1 else many}" for count, one, many in parts if count)
    return f"{told} in the last minute ({anomaly})", AGENT, anomaly


_MENDED: Final = (Consequence.MENDED, Consequence.ANSWER_SAVED, Consequence.HAPROXY_SPARED)


def _most(stats: RouteStats, history: RouteHistory, *consequences: Consequence) -> str:
    """Return the name of the anomaly that led to one of ``consequences`` most often, in the last minute."""
    counts = _lately(stats, history, _MINUTE, *consequences)
    return max(counts, key=lambda name: counts[name])


def _lately(stats: RouteStats, history: RouteHistory, steps: int, *consequences: Consequence) -> dict[str, int]:
    """Return how often which anomaly led to one of ``consequences``, in the last ``steps``."""
    grew = stats.consequences - history.before(steps).consequences
    names = {each.value for each in consequences}
    return {anomaly: count for (anomaly, came_of_it), count in grew.items() if came_of_it in names}


def _what_is_wrong(stats: RouteStats, waits_s: float, minute: Callable[[], Totals], lately: Totals) -> Iterator[_Found]:
    """Yield what needs a look although an agent serves, the worst first."""
    haproxys = stats.tally.late_after
    if waits_s > (haproxys if haproxys < math.inf else LONG_S):
        known = f"a NOTIFY has waited for {waits_s:.1f} s"
        yield (known, AGENT, "answers-come-late") if lately.answered else (f"the agent does not answer: {known}", *_SILENT[1:])
    if lately.unchecked:
        went = f"{counted(minute().unchecked, 'request')} went on unchecked in the last minute"
        yield went, AGENT, "requests-went-on-unchecked"
    if lately.answered >= MANY_ACKS and lately.slow_acks > MANY_SLOW * lately.answered:
        slow = share(minute().slow_acks, minute().answered)
        yield f"{slow} of the ACKs in the last minute took longer than {SLOW_S:g} s", AGENT, "answers-come-late"
    if lately.late_acks:
        yield f"{counted(minute().late_acks, 'late ACK')} in the last minute", AGENT, "answers-come-late"
    yield from _guards_own(minute, lately)
    if stats.agent_detail:
        yield f"served, but not by every agent: {printable(stats.agent_detail)}", AGENT, "spoeguardagentofseveraldown"
    if not stats.tally.frames_to_agent[frame.NOTIFY] and stats.hellos() >= MANY_HELLOS:
        yield NEVER_A_NOTIFY.format(count=stats.hellos()), HAPROXY, "haproxy-connects-and-never-sends-a-notify"


def _guards_own(minute: Callable[[], Totals], lately: Totals) -> Iterator[_Found]:
    if lately.own_limits:
        yield _own_limits(minute())
    if lately.gave_way:
        gave = f"{counted(minute().gave_way, 'connection')} gave way to others in the last minute"
        yield gave, GUARD, "connections-gave-way-to-others"
    if lately.refused:
        refused = f"{counted(minute().refused, 'connection')} ended at a limit of the guard in the last minute"
        yield refused, GUARD, "spoeguardlimitreached"
    if lately.internal_errors:
        yield f"{counted(minute().internal_errors, 'internal error')} in the last minute", GUARD, "spoeguardinternalerror"


def _own_limits(minute: Totals) -> _Found:
    short = f"the guard itself was short of descriptors, memory or ports {counted(minute.own_limits, 'time')}"
    return f"{short} in the last minute", GUARD, "the-guard-itself-is-short-of-something"
