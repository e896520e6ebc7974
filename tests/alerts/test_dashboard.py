"""The Grafana dashboard is consistent; checked without a Grafana."""

import re

from spoe_guard.observe.metrics import COUNTERS, GAUGES
from tests.alerts.dashboard import DASHBOARD, PANELS, VARIABLES, filled_in, queries

WIDTH = 24  # of Grafana's grid
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
OF_A_ROUTE = {f"spoe_guard_{row[0]}" for row in (*COUNTERS, *GAUGES, ("state",), ("failed_ratio",), ("route_info",))} | {
    f"spoe_guard_{name}_seconds_{part}" for name in ("notify_ack", "disconnect_hold") for part in ("bucket", "count", "sum")
}
OF_THE_PROCESS = {"spoe_guard_build_info"}


def named_metrics(expression: str) -> set[str]:
    return set(re.findall(r"\bspoe_guard_\w+", expression))


def test_it_shows_every_metric_of_the_guard_and_no_other():
    named = {name for query in queries() for name in named_metrics(query.expression)}
    assert named <= OF_A_ROUTE | OF_THE_PROCESS
    families = {re.sub(r"_seconds_(bucket|count|sum)$", "_seconds", name) for name in OF_A_ROUTE | OF_THE_PROCESS}
    assert {re.sub(r"_seconds_(bucket|count|sum)$", "_seconds", name) for name in named} == families


def test_every_query_asks_the_chosen_source_for_the_chosen_guards_and_routes():
    assert all(panel["datasource"] == SOURCE for panel in PANELS)
    assert all(target["datasource"] == SOURCE for panel in PANELS for target in panel["targets"])
    for query in queries():
        named = re.findall(r"\b(spoe_guard_\w+|process_\w+|up)\b(?:\{([^}]*)\})?", query.expression)
        assert named, query
        for name, labels in named:
            assert 'job=~"$job", instance=~"$instance"' in labels, query
            assert ('route=~"$route"' in labels) == (name in OF_A_ROUTE), query


def test_the_variables_are_a_source_and_what_can_be_chosen_from_it():
    assert list(VARIABLES) == ["datasource", "job", "instance", "route"]
    assert (VARIABLES["datasource"]["type"], VARIABLES["datasource"]["query"]) == ("datasource", "prometheus")
    for name in ("job", "instance", "route"):
        assert VARIABLES[name]["datasource"] == SOURCE
        assert (VARIABLES[name]["includeAll"], VARIABLES[name]["multi"], VARIABLES[name]["allValue"]) == (True, True, ".*")


def test_every_panel_has_its_own_place_title_and_description():
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= WIDTH
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    assert len({panel["title"] for panel in PANELS}) == len(PANELS)
    assert all(panel["description"] for panel in PANELS)


def test_what_is_chosen_is_filled_in_as_grafana_does():
    asked = 'x{route=~"$route", instance=~"$instance"}[$__rate_interval] y[$__range]'
    assert filled_in(asked, {"route": ["a.b", "c"]}, 15, 60) == r'x{route=~"(a\\.b|c)", instance=~".*"}[60s] y[60s]'
