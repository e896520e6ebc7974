"""What the guard says of a route, wherever it is read: the page in Chromium, `top`, /api/status, metrics, log, alerts."""

import re
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Final

from playwright.sync_api import Page

from spoe_guard.observe.live.states import MARKS, State
from tests.alerts.prometheus import Prometheus
from tests.integration.guard import Guard
from tests.integration.oncall.incident import SEEN_S, Incident
from tests.integration.oncall.screen import Screen
from tests.integration.silence.surfaces import Reading, Says, Surfaces, anonymous, found

# What the page lists, by route: its state, and the whole text.
LISTED: Final = """() => [...document.querySelectorAll("#troubles > li")].map((each) => [
    each.querySelector("a").textContent, each.className, each.innerText])"""
SHARE: Final = re.compile(r"(?:([\d.]+) %|none) of \d+ NOTIFYs?\b")
SINCE: Final = re.compile(r", since (\d\d:\d\d:\d\d) UTC \(")


class OnCall(Reading):
    """Also what the page of that guard shows in ``page``, and what `spoe-guard top` has drawn on ``screen``."""

    def __init__(self, guard: Guard, prometheus: Prometheus, page: Page, screen: Screen) -> None:
        super().__init__(guard, prometheus)
        self._page = page
        self._screen = screen

    @cached_property
    def listed(self) -> dict[str, tuple[str, str]]:
        """What is wrong, on the page: state and text by the name of the route."""
        return {name: (state, text) for name, state, text in self._page.evaluate(LISTED)}

    @cached_property
    def top(self) -> dict[str, tuple[str, str]]:
        """The same of `top`."""
        return self._screen.troubles()


class Voices(Surfaces):
    """Those of the route of one incident. ``caused_at``: since when there is something to say."""

    def __init__(self, guard: Guard, prometheus: Prometheus, incident: Incident) -> None:
        super().__init__(guard, prometheus, route=incident.name)
        self.incident = incident
        self.caused_at = wall()
        # One of many routes says nothing of /readyz; what /api/status says is there in its own name.
        self.surfaces = {
            "headline": self._headline,
            "top": self._top,
            "status": self._status,
            "metrics": self._all_metrics,
            "log": self._log,
            "alert": self._alert_and_severity,
        }

    def is_over(self, reading: OnCall) -> dict[str, bool]:
        """Return of page, status and metrics whether they say that all is well again."""
        name = self.incident.name
        well = [(State.OK.value, 1.0)] + [(state.value, 0.0) for state in State if state is not State.OK]
        states = {labels["state"]: value for of, labels, value in reading.samples if of == "state" and labels["route"] == name}
        return {
            "page": name not in reading.listed,
            "status": reading.route(name)["state"] == State.OK.value,
            "metrics": states == dict(well),
        }

    def _headline(self, reading: Reading, says: Says) -> tuple[bool, str]:
        assert isinstance(reading, OnCall)
        return self._names_it_all(*reading.listed.get(self.incident.name, ("ok", "")), says)

    def _top(self, reading: Reading, says: Says) -> tuple[bool, str]:
        assert isinstance(reading, OnCall)
        return self._names_it_all(*reading.top.get(self.incident.name, ("ok", "")), says)

    def _names_it_all(self, state: str, text: str, says: Says) -> tuple[bool, str]:
        """Whether that line names the route, the state, the cause, the share, and since when."""
        shares, since = SHARE.search(text), SINCE.search(text)
        named = (
            found(f"^({says.state})$", state)
            and text.startswith(MARKS[State(state)])
            and self.incident.name in text
            and found(f"(?i){says.sentence}", text)
            and shares is not None
            and self._is_its_share(float(shares[1] or 0) / 100)
            and since is not None
            and self._is_since_then(since[1])
        )
        return named, anonymous(text)

    def _status(self, reading: Reading, says: Says) -> tuple[bool, str]:
        route: dict[str, Any] = reading.route(self.incident.name)
        as_wanted, text = self._page(reading, says)
        as_wanted &= found(f"^({self.incident.side})$", route["side"]) and found(f"^({self.incident.runbook})$", route["runbook"])
        as_wanted &= self._is_its_share(route["last_minute"]["failed_share"]) and self._is_since_then(route["since"][11:19])
        return as_wanted, f"{text}; {route['side']}, {route['runbook']}, {route['last_minute']}, since {route['since']}"

    def _all_metrics(self, reading: Reading, says: Says) -> tuple[bool, str]:
        as_wanted, text = self._metrics(reading, says)
        of_it = [(name, labels, value) for name, labels, value in reading.samples if labels.get("route") == self.incident.name]
        [share] = [value for name, _, value in of_it if name == "failed_ratio"]
        [state] = [labels["state"] for name, labels, value in of_it if name == "state" and value]
        return as_wanted and found(f"^({says.state})$", state) and self._is_its_share(share), f"{state}, {share:.3g} fail, {text}"

    def _alert_and_severity(self, reading: Reading, says: Says) -> tuple[bool, str]:
        as_wanted, text = self._alert(reading, says)
        of_it = {each["labels"]["severity"] for each in reading.alerts if each["labels"].get("route") == self.incident.name}
        worst = next((each for each in ("critical", "warning") if each in of_it), "")
        return as_wanted and worst == self.incident.severity, text

    def _is_its_share(self, share: float) -> bool:
        least, most = self.incident.share
        return least <= share <= most

    def _is_since_then(self, clock: str) -> bool:
        """Whether a time of day, HH:MM:SS in UTC, is that of the cause or soon behind it."""
        seconds = round(SEEN_S) + 1
        return clock in {f"{self.caused_at + timedelta(seconds=each):%H:%M:%S}" for each in range(-1, seconds)}


def wall() -> datetime:
    """Return the time of day, as the guard tells it; nothing is measured with it."""
    return datetime.now(UTC)  # noqa: TID251
