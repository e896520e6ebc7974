"""The committed Grafana dashboards, and their queries as Grafana would send them."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tests.peers import ROOT


@dataclass(frozen=True)
class Query:
    panel: str
    expression: str
    instant: bool


class Board:
    """``file``: of config/grafana."""

    def __init__(self, file: str) -> None:
        self.file = file

    @cached_property
    def json(self) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads((ROOT / "config/grafana" / self.file).read_text())
        return loaded

    @property
    def panels(self) -> list[dict[str, Any]]:
        return [panel for panel in self.json["panels"] if panel["type"] != "row"]

    @property
    def variables(self) -> dict[str, dict[str, Any]]:
        return {variable["name"]: variable for variable in self.json["templating"]["list"]}

    def queries(self) -> Iterator[Query]:
        """Return what every panel asks."""
        for panel in self.panels:
            for target in panel["targets"]:
                yield Query(panel["title"], target["expr"], target["instant"])

    def links(self) -> Iterator[str]:
        """Return where its own links and those of its cells lead."""
        for link in self.json["links"]:
            yield link["url"]
        for panel in self.panels:
            for override in panel["fieldConfig"]["overrides"]:
                for given in override["properties"]:
                    if given["id"] == "links":
                        yield from (link["url"] for link in given["value"])

    def filled_in(self, expression: str, picked: Mapping[str, Sequence[str]], scrape_s: float, range_s: int) -> str:
        """Return ``expression`` as Grafana sends it to Prometheus.

        ``picked``: the values chosen for the variables; one that is not there stands at All. ``$__rate_interval`` is four scrape
        intervals there as soon as a point of the graph is shorter than that. Raises KeyError for a variable nobody defines.
        """
        values = {"__rate_interval": f"{round(4 * scrape_s)}s", "__range": f"{range_s}s"}
        for name, variable in self.variables.items():
            chosen = [re.escape(value).replace("\\", "\\\\") for value in picked.get(name, ())]  # escaped for PromQL's string too
            values[name] = f"({'|'.join(chosen)})" if chosen else variable.get("allValue", "")
        return re.sub(r"\$(\w+)", lambda found: values[found[1]], expression)


ROUTES = Board("spoe-guard.json")
FLEET = Board("spoe-guard-fleet.json")
BOARDS = (ROUTES, FLEET)
