"""The live page and the runbook's pages as axe-core judges them: WCAG 2.2, A and AA, and what is good practice beside it.

Rules can prove what is wrong, not that a person can use it; what the keyboard reaches is asked in test_browser.py.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from spoe_guard.observe.live.runbook import Runbook
from tests.observe.live.conftest import OPEN_ALL
from tests.observe.live.scenes import ALL

pytestmark = pytest.mark.timeout(120)  # a browser starts, and axe-core looks at each element of 40 routes

AXE = Axe()
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
OPTIONS = {"runOnly": {"type": "tag", "values": RULES}, "resultTypes": ["violations", "incomplete"]}
LEAST = 15  # rules that find something to judge, on the shortest page of the runbook
# "Element content contains only non-text characters": a mark such as ■ may be no text. contrast.js judges it as if it were.
A_MARK = "nonBmp"

WIDE, PHONE = (1180, 800), (390, 844)
VIEWS = [("light", WIDE), ("dark", WIDE), ("light", PHONE)]


def faults(page) -> str:
    """Return what axe-core finds, and what it cannot decide: rule and help, where to read on, the element, what is wrong."""
    found = AXE.run(page, options=OPTIONS).response
    assert len(found["passes"]) >= LEAST
    return "\n".join([*_told(found["violations"]), *(f"not decided: {each}" for each in _told(found["incomplete"]))])


def _told(rules: list[dict[str, Any]]) -> Iterator[str]:
    for rule in rules:
        for node in rule["nodes"]:
            checks = [*node["any"], *node["all"], *node["none"]]
            if not all((check["data"] or {}).get("messageKey") == A_MARK for check in checks):
                said = "; ".join(check["message"] for check in checks)
                yield f"{rule['id']}: {rule['help']} ({rule['helpUrl']})\n    {node['html']}\n    {said}"


def look(page, scheme: str, size: tuple[int, int]) -> None:
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size(dict(zip(("width", "height"), size, strict=True)))


@pytest.mark.parametrize(("scheme", "size"), VIEWS, ids=["light", "dark", "phone"])
@pytest.mark.parametrize("scene", ALL)
def test_axe_finds_no_fault_in_any_state(show, served, page, scene, scheme, size):
    scene_ = show(scene)
    look(page, scheme, size)
    page.goto(served.url)
    if len(scene_.observer.routes) < 10:  # of many the rest looks like that of two, and takes five seconds
        page.evaluate(OPEN_ALL)
    found = faults(page)
    assert not found, found


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("query", ["words=runt_frame+the+last&state=", "words=nothing+has+this&state=down"])
def test_axe_finds_no_fault_where_a_filter_hides_a_part_or_all(show, served, page, query, scheme):
    show("incidents")
    look(page, scheme, PHONE)
    page.goto(f"{served.url}/?{query}")
    assert page.locator("#left-out").inner_text().startswith("Hidden: ")
    found = faults(page)
    assert not found, found


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_fault_in_a_paused_page_whose_guard_is_gone(show, served, page, scheme):
    show("agent-down").live.name = "edge-1"
    look(page, scheme, WIDE)
    page.goto(served.url)
    page.route(served.url + "/", lambda route: route.abort())
    page.evaluate("refresh()")
    page.get_by_role("button", name="Pause").click()
    assert page.locator("#lost").is_visible()
    found = faults(page)
    assert not found, found
    page.complaints.clear()


@pytest.mark.timeout(240)
def test_axe_finds_no_fault_in_the_pages_of_the_runbook(show, served, page):
    show("healthy")
    found = {}
    for name in list(Runbook().entries)[::6]:  # all are made the same way, and each takes a third of a second
        page.goto(f"{served.url}/runbook/{name}")
        found[name] = faults(page)
    look(page, "dark", PHONE)
    found["the last, in the dark"] = faults(page)
    told = "\n".join(f"{name}: {wrong}" for name, wrong in found.items() if wrong)
    assert not told, told
