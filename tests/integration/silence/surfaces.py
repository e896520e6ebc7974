"""What the guard says of a route, where an operator reads it: page, /readyz, /metrics, log, and alerts of a Prometheus."""

import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from tests.alerts.prometheus import Prometheus
from tests.integration.guard import Guard
from tests.integration.haproxy import wait_until

ASK_S: Final = 5.0
SCRAPED_S: Final = 10.0
PAUSE_S: Final = 0.05
ROUTE: Final = "default"
ADDRESS: Final = re.compile(r"127\.0\.0\.1:\d+")
SAMPLE: Final = re.compile(r'(\w+)((?:\[\w+="[^"]*"\])*) (==|>=) ([\d.]+)')
LABEL: Final = re.compile(r'\[(\w+)="([^"]*)"\]')

# What is told of /metrics, and which labels of it; a zero is left out, but of the first.
TOLD: Final = {
    "agent_up": ("agent",),
    "agent_connect_failures_total": ("reason",),
    "unanswered_notifies_total": ("reason",),
    "oldest_open_notify_seconds": (),
    "late_acks_total": (),
    "unchecked_notifies_total": (),
}

Said = dict[str, tuple[float, str]]  # by surface: after how many seconds, and what


@dataclass(frozen=True)
class Says:
    """What all five have to say.

    ``state`` and ``sentence``: of the route, on the page. ``ready``: the status of /readyz is 200; ``readyz``: its text. Texts
    are regular expressions. ``metrics``: each of them a name without ``spoe_guard_``, labels as ``[reason="refused"]``,
    ``==`` or ``>=``, and a number, the sum of what has those labels. ``log``: the fields of one line, each a regular expression;
    empty: no line. ``alerts``: pending or firing for this route; empty: none is; ``no_alerts``: neither. ``within``: seconds.
    """

    state: str
    ready: bool
    within: float
    sentence: str = ""
    readyz: str = ""
    metrics: tuple[str, ...] = ()
    log: Mapping[str, str] = field(default_factory=dict)
    alerts: frozenset[str] = frozenset()
    no_alerts: frozenset[str] = frozenset()


class Reading:
    """What a guard and its Prometheus say at one moment; each is asked once, when it is first wanted."""

    def __init__(self, guard: Guard, prometheus: Prometheus) -> None:
        self._guard, self._prometheus = guard, prometheus

    @cached_property
    def status(self) -> dict[str, Any]:
        """/api/status."""
        document: dict[str, Any] = json.loads(self._get("/api/status")[1])
        return document

    def route(self, name: str) -> dict[str, Any]:
        """Return what /api/status says of that route."""
        return next(route for route in self.status["routes"] if route["name"] == name)

    @cached_property
    def ready(self) -> tuple[int, str]:
        """The status code and the text of /readyz."""
        return self._get("/readyz")

    @cached_property
    def samples(self) -> list[tuple[str, dict[str, str], float]]:
        """/metrics: names without ``spoe_guard_``, labels, values."""
        return [(name.removeprefix("spoe_guard_"), labels, value) for name, labels, value in self._guard.metrics()]

    @cached_property
    def lines(self) -> list[dict[str, Any]]:
        """The log so far."""
        return [json.loads(line) for line in self._guard.log().rpartition("\n")[0].splitlines()]

    @cached_property
    def alerts(self) -> list[dict[str, Any]]:
        """The alerts that are pending or firing for this guard."""
        alerts = self._prometheus.ask("alerts")["alerts"]
        return [alert for alert in alerts if alert["labels"].get("instance") == self._guard.admin]

    def _get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://{self._guard.admin}{path}", timeout=ASK_S) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()


class Surfaces:
    """Those of one route of ``guard``, once ``prometheus`` has scraped it: alerts look at what has changed since.

    ``slack_s``: so much longer all may take where other things run on this machine.
    """

    def __init__(self, guard: Guard, prometheus: Prometheus, *, route: str = ROUTE, slack_s: float = 0.0) -> None:
        self._guard, self._prometheus, self._route, self._slack_s = guard, prometheus, route, slack_s
        scraped = f'up{{instance="{guard.admin}"}} == 1'
        wait_until(lambda: prometheus.ask("query", query=scraped)["result"], "the guard was scraped", SCRAPED_S)
        self.surfaces: dict[str, Callable[[Reading, Says], tuple[bool, str]]] = {
            "page": self._page,
            "readyz": self._readyz,
            "metrics": self._metrics,
            "log": self._log,
            "alert": self._alert,
        }

    def heard(self, reading: Reading, says: Says) -> dict[str, tuple[bool, str]]:
        """Return of each surface whether it says what it has to, and what it says."""
        return {name: surface(reading, says) for name, surface in self.surfaces.items()}

    def hear(self, one_of: Sequence[Says], since: float) -> Said:
        """Wait until all five say the same at the same time; return when each did so first, in seconds after ``since``.

        ``one_of``: what they may say.

        Raises:
            AssertionError: none of it in time; it tells what each said last.
        """
        first: list[Said] = [{} for _ in one_of]
        while True:
            wrong = []
            for says, said in zip(one_of, first, strict=True):
                read = self.heard(Reading(self._guard, self._prometheus), says)
                after = time.monotonic() - since
                said |= {name: (after, text) for name, (as_wanted, text) in read.items() if as_wanted and name not in said}
                if all(as_wanted for as_wanted, _ in read.values()):
                    return said
                wrong.append({name: text for name, (as_wanted, text) in read.items() if not as_wanted})
            most = max(says.within for says in one_of) + self._slack_s
            assert time.monotonic() - since < most, f"not within {most:g} s: {wrong}; wanted: {one_of}"
            time.sleep(PAUSE_S)

    def _page(self, reading: Reading, says: Says) -> tuple[bool, str]:
        route = reading.route(self._route)
        state, sentence = route["state"], anonymous(route["sentence"])
        return found(f"^({says.state})$", state) and found(says.sentence, sentence), f"{state}: {sentence}"

    def _readyz(self, reading: Reading, says: Says) -> tuple[bool, str]:
        status, text = reading.ready
        text = anonymous(text.strip())
        return (status == 200) == says.ready and found(says.readyz, text), f"{status} {text}"

    def _metrics(self, reading: Reading, says: Says) -> tuple[bool, str]:
        samples = [each for each in reading.samples if each[1].get("route") == self._route]
        as_wanted = True
        for wanted in says.metrics:
            matched = SAMPLE.fullmatch(wanted)
            assert matched, wanted
            name, labelled, operator, number = matched.groups()
            labels = dict(LABEL.findall(labelled))
            have = [value for has, of, value in samples if has == name and labels.items() <= of.items()]
            as_wanted &= bool(have) and (sum(have) == float(number) if operator == "==" else sum(have) >= float(number))
        told = [
            " ".join(
                [name, *(labels[key] for key in TOLD[name] if key in labels), f"{value:.2g}" if value < 1 else f"{value:.0f}"]
            )
            for name, labels, value in samples
            if name in TOLD and (value or name == "agent_up")
        ]
        return as_wanted, anonymous(", ".join(sorted(told, key=lambda text: list(TOLD).index(text.split()[0]))))

    def _log(self, reading: Reading, says: Says) -> tuple[bool, str]:
        if not says.log:
            return True, ""
        for line in reading.lines:
            of_it = line.get("route", self._route) == self._route
            if of_it and all(name in line and found(wanted, str(line[name])) for name, wanted in says.log.items()):
                return True, anonymous(" ".join(str(line[name]) for name in says.log))
        return False, f"{len(reading.lines)} lines, the last {reading.lines[-1:]}"

    def _alert(self, reading: Reading, says: Says) -> tuple[bool, str]:
        told = {
            alert["labels"]["alertname"]: alert["state"]
            for alert in reading.alerts
            if alert["labels"].get("route") == self._route
        }
        none = says.no_alerts if says.no_alerts or says.alerts else told.keys()
        as_wanted = says.alerts <= told.keys() and not none & told.keys()
        return as_wanted, ", ".join(f"{name} {state}" for name, state in sorted(told.items()))


def found(wanted: str, text: str) -> bool:
    """Whether that regular expression is found in it."""
    return re.search(wanted, text) is not None


def anonymous(text: str) -> str:
    """Return it without the ports that the kernel chose."""
    return ADDRESS.sub("AGENT", text)
