"""Guards with every fault that an alert covers, one route for each, with traffic and a Prometheus that scrapes them."""

import re
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from spoe_guard.lab.agent import Script, ScriptedAgent
from spoe_guard.lab.misbehaviour import MISBEHAVIOURS, Misbehaviour
from spoe_guard.wire import frame
from tests.alerts import traffic
from tests.alerts.prometheus import Prometheus
from tests.alerts.traffic import Flow, Traffic
from tests.integration.agent import AgentThread
from tests.integration.guard import Guard
from tests.integration.haproxy import free
from tests.lab.program import agent as lab_agent
from tests.peers import ROOT, need

NEVER_S = 3600.0
SCRAPE_S = 1.0  # a minute, the longest interval that the rules are made for
DESCRIPTORS = 64  # of the guard that is short of them
NO_ACTION = bytes((9, 0))  # an action of a type that does not exist

# What takes a guard 15 s or a minute to see, or to forget, takes this one a tenth of it.
HURRIED = """\
from spoe_guard.observe.live import status
status.STEP_S /= 10
from spoe_guard.cli import main
main()
"""

# A bug that ends every session, whatever it is asked.
PLANTED = (
    """\
from spoe_guard.net.relay import Relay
def broken(self, out):
    raise RuntimeError("planted")
Relay.act = broken
"""
    + HURRIED
)


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


# What no request in order gets: so many anomalies for one NOTIFY.
FLOOD = Misbehaviour("flood", "sends many frames of a type that does not exist", lambda _: [frame.encode(42, 1, 1) * 50], 1)

ENFORCE = {
    "healthy": Watched(Script(), traffic.steadily),
    "mended": Watched(_wrong("disconnect_then_acks"), traffic.quickly),  # every answer is saved, and nobody is to be told
    "dead": Watched(None, traffic.slowly, _alerts("AgentDown"), {"LINKS__GIVE_UP": "0"}),
    "halved": Watched(None, traffic.slowly, _alerts("AgentOfSeveralDown", "Degraded"), second=Script()),
    "mute": Watched(Script(hello=b""), traffic.slowly, _alerts("AgentDown"), {"TIMEOUTS__HELLO": "1s"}),
    "deadly": Watched(_wrong("zero_length_frame"), traffic.slowly, _alerts("HaproxySpared", "Degraded")),
    "unreadable": Watched(Script(answer=lambda _: NO_ACTION), traffic.steadily, _alerts("AnswersLost", "Unanswered", "Degraded")),
    "hung": Watched(Script(delay_s=NEVER_S), traffic.steadily, _alerts("Unanswered", "Degraded")),
    "left": Watched(Script(delay_s=NEVER_S), traffic.impatiently, _alerts("Unanswered", "Degraded")),
    "told": Watched(
        Script(delay_s=NEVER_S),
        traffic.steadily,
        _alerts("Unanswered", "Degraded"),
        {"HAPROXY__TIMEOUT_PROCESSING": "100ms", "HAPROXY__SET_ON_ERROR": "error"},
    ),
    "unchecked": Watched(
        Script(delay_s=NEVER_S),
        traffic.slowly,
        _alerts("Unchecked", "Degraded"),
        {"UNANSWERED": "empty-ack", "ANSWER_DEADLINE": "100ms"},
    ),
    "belated": Watched(
        Script(delay_s=0.1),
        traffic.steadily,
        _alerts("LateAcks", "Degraded"),
        {"HAPROXY__TIMEOUT_PROCESSING": "50ms", "ANSWER_DEADLINE": "10s"},
    ),
    "slow": Watched(Script(delay_s=0.6), traffic.steadily, _alerts("Slow", "Degraded")),
    "leaving": Watched(_wrong("disconnect_left_open"), traffic.quickly, _alerts("HoldingTooLong", "Degraded")),
    "busy": Watched(
        Script(delay_s=NEVER_S), traffic.now_and_then, _alerts("NotifiesWaiting", "Degraded"), {"LINKS__IN_FLIGHT": "1"}
    ),
    "crowded": Watched(Script(), traffic.side_by_side, _alerts("LimitReached", "Degraded"), {"LIMITS__CONNECTIONS": "1"}),
    "flooded": Watched(Script(FLOOD), traffic.slowly, _alerts("GlitchFlood", "Degraded"), {"LIMITS__GLITCHES": "20/m"}),
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
    "late": Watched(_wrong("disconnect_then_acks"), traffic.quickly, _alerts("AnswersLost", "Unanswered", "Degraded")),
}
SHORT = {"short": Watched(Script(), traffic.all_at_once, _alerts("OwnLimit", "Degraded"))}
BROKEN = {"broken": Watched(Script(), traffic.slowly, _alerts("InternalError", "Degraded"))}

EXPECTED = {
    (alert, route)
    for routes in (ENFORCE, SHORT, OBSERVE, BROKEN)
    for route, watched in routes.items()
    for alert in watched.alerts
}


@dataclass
class Scene:
    """``several`` has two workers. ``file``: of the settings."""

    prometheus: Prometheus
    several: Guard
    broken: Guard
    file: Path
    mend: Callable[[], None]  # every agent, and no more traffic
    start_again: Callable[[], Guard]  # the guard that was broken, mended, where it was


class _Agents:
    """The agents of all routes, and what mends each of them."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._cures: list[Callable[[], object]] = []

    def mend(self) -> None:
        for cure in self._cures:
            cure()

    def start(self, watched: Watched) -> str:
        """Start those of a route; return where the guard finds them."""
        if watched.options:
            process, address = self._stack.enter_context(lab_agent(*watched.options))
            self._cures += [process.kill, process.wait, lambda: self._stand_in(address)]
            return address
        first = self._scripted(watched.script)
        return f"{first},{self._scripted(watched.second)}" if watched.second else first

    def _scripted(self, script: Script | None) -> str:
        if script is None:
            bound = self._stack.enter_context(free())  # ours, and nobody listens
            address = f"127.0.0.1:{bound.getsockname()[1]}"
            self._cures.append(lambda: self._stand_in(address))
            return address
        thread = AgentThread(script)
        if script.misbehaviour is not None:
            thread.agent = AlwaysWrong(script)
        self._cures.append(lambda: setattr(thread.agent, "script", Script()))
        return self._stack.enter_context(thread).address

    def _stand_in(self, address: str) -> None:
        self._stack.enter_context(AgentThread(port=int(address.rpartition(":")[2])))


def scene(folder: Path) -> Iterator[Scene]:
    """Start everything, and stop it behind the ``yield``."""
    need("prometheus")  # before anything is started
    with ExitStack() as stack:
        flows: dict[int, Flow] = {}
        guards = []
        file = folder / "guard.yaml"
        file.touch()
        all_agents = _Agents(stack)
        for name, routes in (("enforce", ENFORCE), ("short", SHORT), ("observe", OBSERVE), ("broken", BROKEN)):
            (folder / name).mkdir()
            agents = {route: all_agents.start(watched) for route, watched in routes.items()}
            settings = {
                f"ROUTES__{at}__{key}": value for at, of in enumerate(routes.values()) for key, value in of.settings.items()
            }
            if routes is OBSERVE:
                settings["WORKERS"] = "2"
            mode = "observe" if routes is OBSERVE else "enforce"
            program = [sys.executable, "-c", PLANTED if routes is BROKEN else HURRIED]
            guard = Guard(folder / name, agents, mode=mode, settings=settings, program=program, config=file)
            guards.append(guard)
            if routes is SHORT:
                resource.prlimit(guard.process.pid, resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
            if routes is BROKEN:  # its books are not in order
                stack.callback(guard.kill)
            else:
                stack.enter_context(guard)
            flows |= {int(guard.addresses[route].rpartition(":")[2]): watched.flow for route, watched in routes.items()}
        several, broken = guards[-2:]
        where_broken = agents

        def start_again() -> Guard:
            program = [sys.executable, "-c", HURRIED]
            guard = Guard(folder / "broken", where_broken, admin=broken.admin, program=program, config=file)
            stack.callback(guard.kill)
            return guard

        all_traffic = stack.enter_context(Traffic(flows))

        def mend() -> None:
            all_traffic.end()
            all_agents.mend()

        prometheus = stack.enter_context(Prometheus(folder, [guard.admin for guard in guards], SCRAPE_S))
        yield Scene(prometheus, several, broken, file, mend, start_again)
