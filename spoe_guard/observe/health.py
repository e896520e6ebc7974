"""Liveness and readiness: whether the guard runs, and whether it could serve HAProxy now."""

from collections.abc import Mapping

from spoe_guard.observe.logs import printable
from spoe_guard.observe.stats import RouteStats

Verdict = tuple[bool, str]  # ready or not, and a line per reason for people


class Health:
    """The code that starts and stops the guard sets ``listening`` and ``draining``."""

    def __init__(self, routes: Mapping[str, RouteStats]) -> None:
        self._routes = routes
        self.listening = False
        self.draining = False

    def ready(self) -> Verdict:
        """Return whether every route listens and the last dial of its agent succeeded. An agent not dialled yet counts as up."""
        if self.draining:
            return False, "draining: the guard is stopping\n"
        if not self.listening:
            return False, "not listening yet\n"
        lines = [self._route(name, stats) for name, stats in self._routes.items()]
        return all(stats.agent_up is not False for stats in self._routes.values()), "".join(lines)

    @staticmethod
    def _route(name: str, stats: RouteStats) -> str:
        if stats.agent_up is None:
            return f"{name}: ready, the agent was not dialled yet\n"
        return f"{name}: ready\n" if stats.agent_up else f"{name}: the agent is unreachable: {printable(stats.agent_detail)}\n"
