"""Which action is taken for which anomaly on one route."""

from collections.abc import Mapping

from spoe_guard.core.terms.anomalies import CATALOGUE, Action, Anomaly, Side


class Policy:
    """The catalogue's defaults, overridden by a route's own choices.

    Raises:
        ValueError: a choice the anomaly does not allow; the message names what is allowed.
    """

    __slots__ = ("_agent", "_applet", "_haproxy")

    def __init__(self, choices: Mapping[Anomaly, Action] | None = None) -> None:
        self._agent = {anomaly: row.default for anomaly, row in CATALOGUE.items()}
        self._applet = {anomaly: row.applet_default for anomaly, row in CATALOGUE.items()}
        self._haproxy = {anomaly: row.haproxy_default for anomaly, row in CATALOGUE.items()}
        for anomaly, action in (choices or {}).items():
            row = CATALOGUE[anomaly]
            if action not in row.allowed:
                allowed = ", ".join(sorted(a.value for a in row.allowed))
                raise ValueError(f"{anomaly.value} does not allow {action.value}: choose one of {allowed}")
            self._agent[anomaly] = self._applet[anomaly] = action
            if action in row.haproxy_allowed:
                self._haproxy[anomaly] = action

    def action(self, side: Side, anomaly: Anomaly, *, applet: bool = False) -> Action:
        """Return what to do about ``anomaly`` in what ``side`` wrote; ``applet``: HAProxy is known to be 3.0 or older."""
        if side is Side.HAPROXY:
            return self._haproxy[anomaly]
        return self._applet[anomaly] if applet else self._agent[anomaly]
