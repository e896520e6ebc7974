"""Guards with every fault that an alert covers, one route for each, with traffic and a Prometheus that scrapes them."""

import re
import resource
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from spoe_guard.lab.agent import Script, ScriptedAgent
from spoe_guard.lab.misbehaviour import MISBEHAVIOURS
from tests.alerts import traffic
from tests.alerts.prometheus import Prometheus
from tests.alerts.traffic import Flow, Traffic
from tests.integration.agent import AgentThread
from tests.integration.guard import Guard
from tests.integration.haproxy import free
from tests.lab.program import agent as lab_agent
from tests.peers import ROOT, need

NEVER_S = 3600.0
DESCRIPTORS = 64  # of the guard that is short of them
NO_ACTION = bytes((9, 0))  # an action of a type that does not exist

# A bug that ends every session, whatever it is asked.
PLANTED = """\
from spoe_guard.net.relay import Relay
def broken(self, out):
    raise RuntimeError("planted")
Relay.act = broken
from spoe_guard.cli import main
main()
"""


class AlwaysWrong(ScriptedAgent):
    """Goes wrong on every NOTIFY, not on one alone."""

    def its_turn(self) -> bool:
        return True


@dataclass(frozen=True)
class Watched:
    """One route: what its agent does (None: there is none), what is sent to it, and the alerts that must fire for it.

    ``second``: what the agent at a second address does (None: there is no such address). ``options``: of `spoe-guard lab agent`,
    which is the agent in place of a script.
    """

    script: Script | None
    flow: Flow
    alerts: frozenset[str] = frozenset()
    settings: dict[str, str] = field(default_factory=dict)
    second: Script | None = None
    options: tuple[str, ...] = ()


def _alerts(*names: str) -> frozenset[str]:
    return frozenset(f"SpoeGuard{name}" for name in names)


def _wrong(name: str) -> Script:
    return Script(MISBEHAVIOURS[name])


ENFORCE = {
    "healthy": Watched(Script(), traffic.steadily),
    "dead": Watched(None, traffic.slowly, _alerts("AgentDown"), {"LINKS__GIVE_UP": "0"}),
    "halved": Watched(None, traffic.slowly, _alerts("AgentOfSeveralDown"), second=Script()),
    "mute": Watched(Script(hello=b""), traffic.slowly, _alerts("AgentDown"), {"TIMEOUTS__HELLO": "1s"}),
    "deadly": Watched(_wrong("zero_length_frame"), traffic.slowly, _alerts("HaproxySpared")),
    "unreadable": Watched(
        Script(answer=lambda _: NO_ACTION), traffic.steadily, _alerts("AnswersLost", "Unanswered", "UnansweredRising")
    ),
    "hung": Watched(Script(delay_s=NEVER_S), traffic.steadily, _alerts("Unanswered", "UnansweredRising", "OldestNotify")),
    "told": Watched(
        Script(delay_s=NEVER_S),
        traffic.steadily,
        _alerts("Unanswered", "UnansweredRising"),
        {"HAPROXY__TIMEOUT_PROCESSING": "100ms", "HAPROXY__SET_ON_ERROR": "error"},
    ),
    "unchecked": Watched(
        Script(delay_s=NEVER_S), traffic.slowly, _alerts("Unchecked"), {"UNANSWERED": "empty-ack", "ANSWER_DEADLINE": "100ms"}
    ),
    "belated": Watched(
        Script(delay_s=0.1),
        traffic.steadily,
        _alerts("LateAcks"),
        {"HAPROXY__TIMEOUT_PROCESSING": "50ms", "ANSWER_DEADLINE": "10s"},
    ),
    "slow": Watched(Script(delay_s=0.6), traffic.steadily, _alerts("Slow")),
    "leaving": Watched(_wrong("disconnect_left_open"), traffic.quickly, _alerts("HoldingTooLong")),
    "busy": Watched(
        Script(delay_s=NEVER_S), traffic.now_and_then, _alerts("NotifiesWaiting", "OldestNotify"), {"LINKS__IN_FLIGHT": "1"}
    ),
    "crowded": Watched(Script(), traffic.side_by_side, _alerts("LimitReached"), {"LIMITS__CONNECTIONS": "1"}),
}


def _lab(*, observe: bool) -> dict[str, Watched]:
    """Return the rows of docs/lab.md, of `mode: observe` or the others: the agents it names fire the alerts it names."""
    table = (ROOT / "docs/lab.md").read_text().split("\n## Your alerts\n")[1].split("\n## ")[0]
    found = {}
    for names, command, text in re.findall(
        r"^\| (SpoeGuard[\w, ]+) \| `spoe-guard lab agent (.+?)` \| (.*?) ?\|$", table, re.MULTILINE
    ):
        settings = yaml.safe_load(text.strip("` ")) or {}
        if (settings.pop("mode", "enforce") == "observe") is observe:
            keys = {f"HAPROXY__{key.upper()}": value for key, value in settings.get("haproxy", {}).items()}
            route = "lab-" + re.sub(r"[^\w.]+", "-", command).strip("-")
            alerts = frozenset(names.split(", "))
            found[route] = Watched(None, traffic.steadily, alerts, keys, options=tuple(command.split()))
    assert found
    return found


ENFORCE |= _lab(observe=False)
OBSERVE = {
    **_lab(observe=True),
    "bare": Watched(_wrong("zero_length_frame"), traffic.slowly, _alerts("HaproxyInDanger")),
    "late": Watched(_wrong("disconnect_then_acks"), traffic.quickly, _alerts("AnswersLost")),
}
SHORT = {"short": Watched(Script(), traffic.all_at_once, _alerts("OwnLimit"))}
BROKEN = {"broken": Watched(Script(), traffic.slowly, _alerts("InternalError"))}

EXPECTED = {
    (alert, route)
    for routes in (ENFORCE, SHORT, OBSERVE, BROKEN)
    for route, watched in routes.items()
    for alert in watched.alerts
}


@dataclass
class Scene:
    prometheus: Prometheus
    several: Guard  # it has two workers
    broken: Guard
    file: Path  # of its settings


def _agent(stack: ExitStack, script: Script | None) -> str:
    if script is None:
        bound = stack.enter_context(free())  # ours, and nobody listens
        return f"127.0.0.1:{bound.getsockname()[1]}"
    thread = AgentThread(script)
    if script.misbehaviour is not None:
        thread.agent = AlwaysWrong(script)
    return stack.enter_context(thread).address


def _agents(stack: ExitStack, watched: Watched) -> str:
    if watched.options:
        return stack.enter_context(lab_agent(*watched.options))[1]
    first = _agent(stack, watched.script)
    return f"{first},{_agent(stack, watched.second)}" if watched.second else first


def scene(folder: Path) -> Iterator[Scene]:
    """Start everything, and stop it behind the ``yield``."""
    need("prometheus")  # before anything is started
    with ExitStack() as stack:
        flows: dict[int, Flow] = {}
        guards = []
        file = folder / "guard.yaml"
        file.touch()
        for name, routes in (("enforce", ENFORCE), ("short", SHORT), ("observe", OBSERVE), ("broken", BROKEN)):
            (folder / name).mkdir()
            agents = {route: _agents(stack, watched) for route, watched in routes.items()}
            settings = {
                f"ROUTES__{at}__{key}": value for at, of in enumerate(routes.values()) for key, value in of.settings.items()
            }
            if routes is OBSERVE:
                settings["WORKERS"] = "2"
            mode = "observe" if routes is OBSERVE else "enforce"
            program = [sys.executable, "-c", PLANTED] if routes is BROKEN else None
            guard = Guard(folder / name, agents, mode=mode, settings=settings, program=program, config=file)
            guards.append(guard)
            if routes is SHORT:
                resource.prlimit(guard.process.pid, resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
            if routes is BROKEN:  # its books are not in order
                stack.callback(guard.kill)
            else:
                stack.enter_context(guard)
            flows |= {int(guard.addresses[route].rpartition(":")[2]): watched.flow for route, watched in routes.items()}
        stack.enter_context(Traffic(flows))
        yield Scene(stack.enter_context(Prometheus(folder, [guard.admin for guard in guards])), *guards[-2:], file)
