"""Shared by both variants of the demo: the agent's bugs, the guard's anomalies as they happen, its metrics at the end."""

from collections.abc import Sequence
from typing import Final

from prometheus_client.samples import Sample

from spoe_guard.core.terms.anomalies import CATALOGUE
from spoe_guard.demo.guard import Done
from spoe_guard.demo.narration import INDENT, Narrator
from spoe_guard.settings import Settings

_SHOWN: Final = {
    "spoe_guard_anomalies_total": ("anomaly", "action"),
    "spoe_guard_unanswered_notifies_total": ("reason",),
    "spoe_guard_internal_errors_total": (),
}

_BUGS: Final = (
    (
        "It sends DISCONNECT while it still owes answers, and writes them behind its DISCONNECT, or into the middle of it "
        "(criteo/haproxy-spoe-go: two goroutines, one buffer, no lock)."
    ),
    "It sends a frame of length 0, which is four zero bytes, and closes (HAProxy issue #2490).",
)


def tell_bugs(tell: Narrator) -> None:
    """Print what the agent gets wrong."""
    for bug in _BUGS:
        tell.say(bug, indent=INDENT, mark="- ")


def tell_anomalies(anomalies: Sequence[Done], tell: Narrator) -> None:
    """Print the guard's action for each anomaly."""
    for each in anomalies:
        sentence = CATALOGUE[each.anomaly].sentence
        tell.say(f"{each.anomaly.value} -> {each.action.value}: {sentence}", "dim", indent=INDENT * 2, mark="guard ")


def tell_metrics(samples: Sequence[Sample], tell: Narrator) -> None:
    """Print some of the metrics and their address."""
    tell.chapter("The guard counted, read from its /metrics (some labels left out here)")
    for sample in samples:
        names = _SHOWN.get(sample.name)
        if names is None or (sample.value == 0 and names):
            continue
        labels = ",".join(f'{name}="{sample.labels[name]}"' for name in names)
        tell.line(f"{INDENT}{sample.name}{f'{{{labels}}}' if labels else ''} {sample.value:g}")
    tell.line()
    tell.say("The demo's guard is gone. In front of your own agent, metrics stay up:")
    tell.line(f"{INDENT}spoe-guard run --listen 127.0.0.1:12345 --agent 127.0.0.1:9000", "bold")
    tell.line(f"{INDENT}curl -s http://{Settings().admin.listen}/metrics | grep ^spoe_guard_", "bold")
