"""One HAProxy with many agents, each behind a filter of its own: the first part of a path says which one a request concerns."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.integration.haproxy import MAIN, SPOE, Haproxy, Options
from tests.integration.oncall.incident import Incident

_FILTER: Final = "    filter spoe engine guarded config {folder}/spoe.conf\n"
_FRONTEND, _BACKEND = MAIN.split("backend agents\n")
_EVENT: Final = "event on-frontend-http-request if !{{ path /ready }}"
assert _FILTER in _FRONTEND
assert _EVENT in SPOE


class ManyAgents(Haproxy):
    """``agents``: the address of each, by the name of its incident. Their engines, backends and paths begin with it."""

    def __init__(self, folder: Path, agents: Mapping[str, str], options: Options, incidents: Mapping[str, Incident]) -> None:
        filters = "".join(_FILTER.replace("engine guarded", f"engine {name}") for name in agents)
        backends = [f"backend {name}\n{_BACKEND.replace('{agent}', address, 1)}" for name, address in agents.items()]
        self.main = _FRONTEND.replace(_FILTER, filters) + "".join(backends)
        self.spoe = "".join(map(_section, incidents.values()))
        super().__init__(folder, "", options)


def _section(incident: Incident) -> str:
    """Return what spoe.conf says of one engine."""
    name = incident.name
    text = SPOE.replace("[guarded]", f"[{name}]").replace("spoe-agent guarded", f"spoe-agent {name}")
    text = text.replace("use-backend agents", f"use-backend {name}").replace("{processing}", incident.processing)
    text = text.replace("{idle}", incident.idle)
    text = text.replace("{options}", "\n    ".join(incident.spoe))
    return text.replace(_EVENT, f"event on-frontend-http-request if {{{{ path_beg /{name}/ }}}}")
