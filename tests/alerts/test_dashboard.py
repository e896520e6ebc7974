"""The Grafana dashboards are consistent; checked without a Grafana."""

import re

import pytest

from spoe_guard.observe.families import HISTOGRAM
from spoe_guard.observe.metrics import OF_ROUTES
from tests.alerts.dashboard import BOARDS, FLEET, ROUTES
from tests.alerts.rules import runbook_anchors
from tests.urls import PAGES

WIDTH = 24  # of Grafana's grid
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
PARTS = {HISTOGRAM: ("_bucket", "_count", "_sum")}
OF_A_ROUTE = {f"{family.name}{part}" for family in OF_ROUTES for part in PARTS.get(family.type, ("",))}
OF_THE_PROCESS = {"spoe_guard_build_info"}

each_board = pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.file)


def named_metrics(expression: str) -> set[str]:
    return set(re.findall(r"\bspoe_guard_\w+", expression))


def test_one_shows_every_metric_and_neither_shows_any_other():
    named = {name for query in ROUTES.queries() for name in named_metrics(query.expression)}
    families = {re.sub(r"_seconds_(bucket|count|sum)$", "_seconds", name) for name in OF_A_ROUTE | OF_THE_PROCESS}
    assert {re.sub(r"_seconds_(bucket|count|sum)$", "_seconds", name) for name in named} == families
    for board in BOARDS:
        assert {name for query in board.queries() for name in named_metrics(query.expression)} <= OF_A_ROUTE | OF_THE_PROCESS


@each_board
def test_every_query_asks_the_chosen_source_for_what_is_chosen(board):
    narrowed = "route" in board.variables
    assert all(panel["datasource"] == SOURCE for panel in board.panels)
    assert all(target["datasource"] == SOURCE for panel in board.panels for target in panel["targets"])
    for query in board.queries():
        named = re.findall(r"\b(spoe_guard_\w+|process_\w+|up|ALERTS)\b(?:\{([^}]*)\})?", query.expression)
        assert named, query
        for name, labels in named:
            assert 'job=~"$job", instance=~"$instance"' in labels, query
            assert ('route=~"$route"' in labels) == (narrowed and name in OF_A_ROUTE), query


@pytest.mark.parametrize(("board", "narrow"), [(ROUTES, ["job", "instance", "route"]), (FLEET, ["job", "instance"])])
def test_the_variables_are_a_source_and_what_can_be_chosen_from_it(board, narrow):
    variables = board.variables
    assert list(variables) == ["datasource", *narrow]
    assert (variables["datasource"]["type"], variables["datasource"]["query"]) == ("datasource", "prometheus")
    for name in narrow:
        assert variables[name]["datasource"] == SOURCE
        assert (variables[name]["includeAll"], variables[name]["multi"], variables[name]["allValue"]) == (True, True, ".*")


@each_board
def test_every_panel_has_its_own_place_title_and_description(board):
    taken: set[tuple[int, int]] = set()
    for panel in board.json["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= WIDTH
        taken |= cells
    assert len({panel["id"] for panel in board.json["panels"]}) == len(board.json["panels"])
    assert len({panel["title"] for panel in board.panels}) == len(board.panels)
    assert all(panel["description"] for panel in board.panels)


def test_every_link_leads_to_the_other_board_the_guard_or_the_runbook():
    assert FLEET.json["uid"] != ROUTES.json["uid"]
    assert list(ROUTES.links()) == [f"/d/{FLEET.json['uid']}/{FLEET.json['uid']}"]
    anchors = {"", *(f"#{anchor}" for anchor in runbook_anchors())}
    kinds = set()
    for url in FLEET.links():
        board, page, runbook = (
            re.fullmatch(rf"/d/{ROUTES.json['uid']}/{ROUTES.json['uid']}(\?.*)?", url),
            url == "http://${__data.fields.instance}/",
            url.startswith(f"{PAGES}/docs/runbook.md"),
        )
        assert board or page or runbook, url
        if board and board[1]:  # Grafana's names: the board's variables, and the time shown
            chosen = set(re.findall(r"\bvar-(\w+)=|\$\{(\w+):queryparam\}", url))
            assert {one or other for one, other in chosen} <= ROUTES.variables.keys()
            assert "${__url_time_range}" in url
        if runbook:
            assert url.removeprefix(f"{PAGES}/docs/runbook.md") in anchors
        kinds.add((bool(board), page, runbook))
    assert len(kinds) == 3


def test_the_cells_that_lead_somewhere_have_the_fields_that_links_name():
    for panel in FLEET.panels:
        for override in panel["fieldConfig"]["overrides"]:
            urls = [link["url"] for given in override["properties"] if given["id"] == "links" for link in given["value"]]
            named = set(re.findall(r"\$\{__data\.fields\.(\w+)\}", " ".join(urls)))
            [organize] = [each["options"] for each in panel.get("transformations", []) if each["id"] == "organize"] or [{}]
            assert named <= set(organize.get("indexByName", ())) - organize.get("excludeByName", {}).keys(), panel["title"]
            assert not named & organize.get("renameByName", {}).keys()


def test_what_is_chosen_is_filled_in_as_grafana_does():
    asked = 'x{route=~"$route", instance=~"$instance"}[$__rate_interval] y[$__range]'
    filled = r'x{route=~"(a\\.b|c)", instance=~".*"}[60s] y[60s]'
    assert ROUTES.filled_in(asked, {"route": ["a.b", "c"]}, 15, 60) == filled
