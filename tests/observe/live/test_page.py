"""The page's paths and figures, and that all text is escaped. test_browser.py tests its appearance."""

import asyncio
import re

import pytest

from spoe_guard.observe.live.page import ASSETS, FIGURES, Page, figures, paths
from spoe_guard.observe.live.runbook import Runbook
from tests.observe.live.scenes import ALL, HOSTILE, Scene


def status(scene: Scene) -> dict:
    return asyncio.run(scene.live.status())


PATHS = [
    # name                  history                       points  paths
    ("nothing", [], 5, []),
    ("gaps alone", [None, None], 5, []),
    ("newest at the right", [0, 22], 5, ["M3 23.0L4 1.0"]),
    ("a lone point is a short line", [7], 5, ["M3 1.0L4 1.0"]),
    ("a gap parts it", [1, None, 1, 1], 4, ["M-1 1.0L0 1.0", "M2 1.0L3 1.0"]),
    ("zero lies on the ground", [0, 0, 0, 0], 4, ["M0 23.0L3 23.0"]),
    ("flat parts are two corners", [0, 0, 0, 2, 2, 2, 0], 7, ["M0 23.0L2 23.0L3 1.0L5 1.0L6 23.0"]),
]


@pytest.mark.parametrize(("history", "points", "drawn"), [case[1:] for case in PATHS], ids=[case[0] for case in PATHS])
def test_a_sparkline(history, points, drawn):
    assert paths(history, points) == drawn


@pytest.mark.parametrize("name", ALL)
def test_every_figure_of_every_state_is_a_short_text(lines, name):
    message = status(ALL[name](lines.log(level="error")))
    for route in message["routes"]:
        shown = figures(route, message["points"], message["step_s"])
        assert [each["label"] for each in shown] == [label for label, _key, _write in FIGURES]
        assert all(0 < len(each["text"]) <= 8 for each in shown)


def test_nothing_a_peer_wrote_is_in_the_page_as_it_wrote_it(lines):
    page = asyncio.run(Page().render(status(ALL["anomalies"](lines.log(level="error"))))).decode()
    for each in HOSTILE[:3]:
        assert each not in page
    assert "&lt;script&gt;window.owned = 1&lt;/script&gt;" in page
    assert "{{ 7 * 7 }}{% raw %}" in page  # text to a browser; a template sees it once, as a value
    assert page.count("<script") == 1
    assert not re.search(r"<[^>]*\s(on\w+|style)=", page)


def test_nothing_is_asked_of_anywhere_else(lines):
    page = asyncio.run(Page().render(status(ALL["anomalies"](lines.log(level="error"))))).decode()
    for text in (page.replace("http://www.w3.org/2000/svg", ""), *(body.decode() for _type, body in ASSETS.values())):
        assert not re.search(r"(https?:)?//[a-z0-9]", text.replace("http://www.w3.org/2000/svg", ""))
    linked = set(re.findall(r'(?:href|src)="(/[^"]*)"', page))
    entries = {link for link in linked if link.startswith("/runbook/")}
    assert linked - entries == {"/api/status", "/metrics", *ASSETS}
    assert {link.removeprefix("/runbook/") for link in entries} <= Runbook().entries.keys()


def test_the_page_of_many_routes_gives_way_to_traffic(lines, monkeypatch):
    monkeypatch.setattr("spoe_guard.slices.SLICE_S", 0.0)
    message = status(ALL["many-routes"](lines.log(level="error")))
    turns = 0

    async def main() -> None:
        nonlocal turns
        rendering = asyncio.get_running_loop().create_task(Page().render(message))
        while not rendering.done():
            turns += 1
            await asyncio.sleep(0)

    asyncio.run(main())
    assert turns > 40
