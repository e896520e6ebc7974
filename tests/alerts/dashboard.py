"""The committed Grafana dashboard, and its queries as Grafana would send them."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.peers import ROOT

DASHBOARD: dict[str, Any] = json.loads((ROOT / "config/grafana/spoe-guard.json").read_text())
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
VARIABLES: dict[str, dict[str, Any]] = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}


@dataclass(frozen=True)
class Query:
    panel: str
    expression: str
    instant: bool


def queries() -> Iterator[Query]:
    """Return what every panel asks."""
    for panel in PANELS:
        for target in panel["targets"]:
            yield Query(panel["title"], target["expr"], target["instant"])


def filled_in(expression: str, picked: Mapping[str, Sequence[str]], scrape_s: float, range_s: int) -> str:
    """Return ``expression`` as Grafana sends it to Prometheus.

    ``picked``: the values chosen for the variables; one that is not there stands at All. ``$__rate_interval`` is four scrape
    intervals there as soon as a point of the graph is shorter than that. Raises KeyError for a variable nobody defines.
    """
    values = {"__rate_interval": f"{round(4 * scrape_s)}s", "__range": f"{range_s}s"}
    for name, variable in VARIABLES.items():
        chosen = [re.escape(value).replace("\\", "\\\\") for value in picked.get(name, ())]  # escaped for PromQL's string too
        values[name] = f"({'|'.join(chosen)})" if chosen else variable.get("allValue", "")
    return re.sub(r"\$(\w+)", lambda found: values[found[1]], expression)
