"""Plays all incidents at once: an HAProxy of each kind, a guard with a route for each, and one for what all would feel."""

import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Browser, Page

from spoe_guard import address
from tests.alerts.prometheus import Prometheus
from tests.hosts import Hosts
from tests.integration import generations
from tests.integration.guard import Guard
from tests.integration.haproxy import Options, wait_until
from tests.integration.oncall.causes import NAME
from tests.integration.oncall.haproxy import ManyAgents
from tests.integration.oncall.incident import AGREED_S, OVER_S, Agent, Cast, Incident
from tests.integration.oncall.screen import Screen
from tests.integration.oncall.voices import OnCall, Voices, wall
from tests.integration.silence.surfaces import PAUSE_S, Says
from tests.integration.stage import Stage

WELL_S: Final = 30.0  # also where this machine was busy at first: so long a state may look back
CLOSED_S: Final = 40.0  # from the cure on, to the last line of an incident: 30 s of quiet, and this machine's
HAPROXY: Final = Options()
ENDS: Final = "incident_over"


@dataclass
class Seen:
    """What came of one incident, in seconds behind its cause or, of ``over`` and ``closed``, its cure; ``unsaid``: what did not.

    ``said``: of each voice, when it first said what it has to; ``before``: what it said last before that; ``agreed``: when all
    did at the same time.
    """

    said: dict[str, tuple[float, str]] = field(default_factory=dict)
    before: dict[str, str] = field(default_factory=dict)
    agreed: float | None = None
    over: dict[str, float] = field(default_factory=dict)
    closed: float | None = None
    unsaid: dict[str, str] = field(default_factory=dict)


class Played:
    """``seen`` by incident. ``left_out``: why one could not be played here."""

    def __init__(self, folder: Path, browser: Browser, incidents: Mapping[str, Incident]) -> None:
        self.seen = {name: Seen() for name in incidents}
        self.left_out: dict[str, str] = {}
        self._incidents = dict(incidents)
        self._browser = browser
        self._casts: dict[str, Cast] = {}
        self._guards: dict[bool, Guard] = {}
        self._pages: dict[bool, Page] = {}
        self._screens: dict[bool, Screen] = {}
        with Stage(folder) as stage:
            self._set_up(stage)
            with ExitStack() as loads:
                for cast in self._casts.values():
                    loads.enter_context(cast.load())
                    loads.callback(cast.crowd_leaves)
                self._play()
        self.output = stage.output

    def _set_up(self, stage: Stage) -> None:
        hosts = self._hosts(stage)
        agents: dict[bool, dict[str, str]] = {False: {}, True: {}}
        for name, incident in self._incidents.items():
            agent: Agent = stage.enter(incident.agent())
            self._casts[name] = Cast(name, agent, hosts)
            agents[incident.alone][name] = agent.address.replace("127.0.0.1", NAME) if incident.named else agent.address
        for alone, of_it in agents.items():
            self._guards[alone] = self._guard(stage, of_it, () if alone or hosts is None else hosts.by)
        self._prometheus = stage.enter(Prometheus(stage.folder(), [guard.admin for guard in self._guards.values()]))
        for at in {incident.at for incident in self._incidents.values()}:
            self._haproxy(stage, at)
        for alone, guard in self._guards.items():
            page = self._pages[alone] = self._browser.new_page()
            page.goto(f"http://{guard.admin}/")
            stage.enter(closing(page))
            self._screens[alone] = stage.enter(Screen(address.parse(guard.admin)))

    def _hosts(self, stage: Stage) -> Hosts | None:
        """Return the names that the guard knows; None where a guard cannot have names of its own."""
        try:
            hosts = Hosts(stage.folder())
        except pytest.skip.Exception as why:
            named = [name for name, incident in self._incidents.items() if incident.named]
            self.left_out = {name: str(why) for name in named}
            for name in named:
                del self._incidents[name]
            return None
        hosts.know(NAME)
        return hosts

    def _guard(self, stage: Stage, agents: dict[str, str], by: tuple[str, ...]) -> Guard:
        settings = {}
        for at, name in enumerate(agents):
            incident = self._incidents[name]
            told = {
                "HAPROXY__TIMEOUT_PROCESSING": incident.processing,
                "HAPROXY__TIMEOUT_HELLO": HAPROXY.hello,
                "HAPROXY__SET_ON_ERROR": "error",
                **incident.settings,
            }
            settings |= {f"ROUTES__{at}__{key}": value for key, value in told.items()}
        guard = stage.guard(agents, settings=settings, program=[*by, sys.executable, "-m", "spoe_guard"])
        for name in agents:
            self._casts[name].guard = guard
        return guard

    def _haproxy(self, stage: Stage, at: str) -> None:
        there = {name: incident for name, incident in self._incidents.items() if incident.at == at}
        agents = {name: self._guards[incident.alone].addresses[name] for name, incident in there.items()}
        options = replace(HAPROXY, program=generations.find(at).program)
        haproxy = stage.enter(ManyAgents(stage.folder(), agents, options, there))
        for name in there:
            self._casts[name].haproxy = haproxy

    def _play(self) -> None:
        voices = {
            name: Voices(self._guards[incident.alone], self._prometheus, incident) for name, incident in self._incidents.items()
        }
        wait_until(lambda: self._all_well(voices), "all is well at first", WELL_S)
        began: dict[str, float] = {}
        for name, incident in self._incidents.items():
            voices[name].caused_at, began[name] = wall(), time.monotonic()
            incident.cause(self._casts[name])
        self._listen(voices, began)
        cured = {}
        for name, incident in self._incidents.items():
            incident.cure(self._casts[name])
            cured[name] = time.monotonic()
        self._wait_until_over(voices, cured)
        self._wait_for_last_lines(cured)

    def _read(self) -> dict[bool, OnCall]:
        return {
            alone: OnCall(guard, self._prometheus, self._pages[alone], self._screens[alone])
            for alone, guard in self._guards.items()
        }

    def _all_well(self, voices: Mapping[str, Voices]) -> bool:
        read = self._read()
        routes = [route for each in read.values() for route in each.status["routes"]]
        served = all(route["last_minute"]["asked"] and route["sentence"] == "Served" for route in routes)
        return served and all(all(of.is_over(read[of.incident.alone]).values()) for of in voices.values())

    def _listen(self, voices: Mapping[str, Voices], began: Mapping[str, float]) -> None:
        """Until all voices of all incidents agree, or the time is over."""
        says: dict[str, Says] = {name: incident.says() for name, incident in self._incidents.items()}
        while True:
            read = self._read()
            for name, seen in self.seen.items():
                if name in self.left_out or seen.agreed is not None:
                    continue
                heard = voices[name].heard(read[self._incidents[name].alone], says[name])
                after = time.monotonic() - began[name]
                seen.said |= {voice: (after, text) for voice, (well, text) in heard.items() if well and voice not in seen.said}
                seen.unsaid = {voice: text for voice, (well, text) in heard.items() if not well}
                seen.before |= {voice: text for voice, text in seen.unsaid.items() if voice not in seen.said}
                if not seen.unsaid:
                    seen.agreed = after
            waiting = [name for name in self._incidents if self.seen[name].agreed is None]
            if not waiting or time.monotonic() - min(began[name] for name in waiting) > AGREED_S:
                return
            time.sleep(PAUSE_S)

    def _wait_until_over(self, voices: Mapping[str, Voices], cured: Mapping[str, float]) -> None:
        while True:
            read = self._read()
            for name in self._incidents:
                over = voices[name].is_over(read[self._incidents[name].alone])
                after = time.monotonic() - cured[name]
                seen = self.seen[name].over
                for voice, is_well in over.items():
                    if not is_well:
                        seen.pop(voice, None)
                    else:
                        seen.setdefault(voice, after)
            waiting = [name for name in self._incidents if len(self.seen[name].over) < len(over)]
            if not waiting or time.monotonic() - min(cured[name] for name in waiting) > OVER_S:
                return
            time.sleep(PAUSE_S)

    def _wait_for_last_lines(self, cured: Mapping[str, float]) -> None:
        """Note when each incident of the log got its last line."""
        while True:
            read = self._read()
            for name, incident in self._incidents.items():
                if self.seen[name].closed is None and _all_closed(read[incident.alone], name):
                    self.seen[name].closed = time.monotonic() - cured[name]
            waiting = [name for name in self._incidents if self.seen[name].closed is None]
            if not waiting or time.monotonic() - min(cured[name] for name in waiting) > CLOSED_S:
                return
            time.sleep(PAUSE_S)


def _all_closed(reading: OnCall, route: str) -> bool:
    """Whether each incident that the log began of that route has its last line."""
    lines = [line for line in reading.lines if line.get("route") == route and "incident" in line]
    return {line["incident"] for line in lines} == {line["incident"] for line in lines if line["event"] == ENDS}
