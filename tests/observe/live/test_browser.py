"""The live page in a real browser: numbers, peers' text, keys, width, colours, and a reader's place across updates.

A picture of every scene, among them each of the five states, is kept to be looked at: in .cache/pictures, or SPOE_GUARD_PICTURES.
"""

import itertools
import os
import re
from pathlib import Path

import pytest
from playwright.sync_api import expect
from prometheus_client.parser import text_string_to_metric_families

from spoe_guard.core.terms.anomalies import Action, Anomaly
from spoe_guard.observe.frame_text import name_text, quoted
from spoe_guard.observe.incidents import KEPT, QUIET_S
from spoe_guard.observe.live.history import POINTS, STEP_S
from spoe_guard.observe.live.states import MARKS, State
from spoe_guard.observe.live.status import HOST
from tests.observe.live.conftest import OPEN_ALL
from tests.observe.live.scenes import ALL, HOSTILE, STATES
from tests.peers import CACHE

pytestmark = pytest.mark.timeout(120)  # a browser starts

CONTRAST = (Path(__file__).parent / "contrast.js").read_text()
PICTURES = Path(os.environ.get("SPOE_GUARD_PICTURES") or CACHE / "pictures")

# class of the number on the page: its metric, and the labels that must be so; what is left is summed up
METRICS = {
    "sessions": ("spoe_guard_connections_total", {}),
    "notifies": ("spoe_guard_frames_total", {"direction": "to_agent", "type": "notify"}),
    "acks": ("spoe_guard_frames_total", {"direction": "to_haproxy", "type": "ack"}),
    "anomalies": ("spoe_guard_anomalies_total", {}),
    "unanswered": ("spoe_guard_unanswered_notifies_total", {}),
    "late_acks": ("spoe_guard_late_acks_total", {}),
    "unchecked": ("spoe_guard_unchecked_notifies_total", {}),
    "internal_errors": ("spoe_guard_internal_errors_total", {}),
    "bytes_to_agent": ("spoe_guard_bytes_total", {"direction": "to_agent"}),
    "bytes_to_haproxy": ("spoe_guard_bytes_total", {"direction": "to_haproxy"}),
    "now_sessions": ("spoe_guard_connections_active", {}),
    "now_agent_links": ("spoe_guard_agent_links", {}),
    "now_open_notifies": ("spoe_guard_open_notifies", {}),
    "now_parked_notifies": ("spoe_guard_parked_notifies", {}),
    "now_held_bytes": ("spoe_guard_held_bytes", {}),
}


def metric(samples: list, route: str, name: str, labels: dict[str, str]) -> float:
    wanted = {"route": route, **labels}
    return sum(each.value for each in samples if each.name == name and wanted.items() <= each.labels.items())


@pytest.mark.parametrize("scene", ["just-started", "agent-down", "one-of-several", "anomalies"])
def test_every_number_is_the_metrics_own(show, served, page, scene):
    routes = show(scene).observer.routes
    page.goto(served.url)
    samples = [each for family in text_string_to_metric_families(served.ask("/metrics")) for each in family.samples]
    for index, route in enumerate(routes):
        for name, (text_, labels) in METRICS.items():
            shown = page.locator(f"#route-{index} data.{name}").get_attribute("value")
            assert float(shown) == metric(samples, route, text_, labels), name
        kinds = page.locator(f"#route-{index} data.kind").evaluate_all("(all) => all.map((each) => Number(each.value))")
        assert sum(kinds) == metric(samples, route, "spoe_guard_anomalies_total", {})
        reasons = page.locator(f"#route-{index} data.reason").evaluate_all("(all) => all.map((each) => Number(each.value))")
        assert sum(reasons) == metric(samples, route, "spoe_guard_unanswered_notifies_total", {})


@pytest.mark.parametrize("width", [360, 390, 1000, 1180])
def test_each_line_says_from_when_to_when_it_goes(show, served, page, width):
    show("healthy")
    page.set_viewport_size({"width": width, "height": 844})
    page.goto(served.url)
    figures = page.locator(".figure").all()
    assert len(figures) == 12
    for figure in figures:
        begin, end = figure.locator(".axis .from"), figure.locator(".axis .to")
        assert (begin.inner_text(), end.inner_text()) == ("\N{MINUS SIGN}10 min", "now")
        line, first, last = (each.bounding_box() for each in (figure.locator("svg"), begin, end))
        assert first["x"] == pytest.approx(line["x"], abs=1)
        assert last["x"] + last["width"] == pytest.approx(line["x"] + line["width"], abs=1)
        parts = [each.bounding_box() for each in figure.locator(".axis span").all()]
        assert all(left["x"] + left["width"] < right["x"] for left, right in itertools.pairwise(parts))
        assert first["y"] == pytest.approx(last["y"], abs=1)
        assert 0 <= first["y"] - line["y"] - line["height"] < 6
    assert "the last 10 min" in page.locator("svg").first.get_attribute("aria-label")  # what a screen reader has in its place


def test_a_guard_with_a_name_has_it_in_title_and_head(show, served, page):
    scene = show("healthy")
    scene.live.name = "edge-1"
    page.goto(served.url)
    assert page.title() == f"● All is well. edge-1, spoe-guard on {HOST}"
    assert said(page.locator(".brand")) == f"edge-1 · spoe-guard 0.1.0 on {HOST}"
    assert (served.status()["guard"]["name"], served.status()["guard"]["host"]) == ("edge-1", HOST)
    page.route(served.url + "/", lambda route: route.abort())
    page.evaluate("refresh()")
    assert page.title() == f"■ No answer: edge-1, spoe-guard on {HOST}"
    page.complaints.clear()
    scene.live.name = None
    page.unroute(served.url + "/")
    page.reload()
    assert (page.title(), said(page.locator(".brand"))) == (f"● All is well. spoe-guard on {HOST}", f"spoe-guard 0.1.0 on {HOST}")
    assert served.status()["guard"]["name"] == HOST


def test_what_enforce_would_have_saved_is_said_where_it_only_observes(show, served, page):
    scene = show("observe")
    page.goto(served.url)
    assert said(page.locator("#mode")).endswith("what enforce would do. Since the start, enforce would have saved 1 answer.")
    for _ in range(3):
        scene.anomaly("default", 1, Anomaly.RUNT_FRAME, Action.DROP, bytes(4), applied=False)
    page.evaluate("refresh()")
    told = "enforce would have saved 1 answer and HAProxy 3 times"
    assert told in said(page.locator("#mode"))
    scene.live.mode = "enforce"  # and one route of the guard still observes
    page.evaluate("refresh()")
    assert page.locator("#mode").count() == 0
    assert f"only observes: {told}" in said(page.locator("#route-0 .head"))


def test_every_address_of_an_agent_is_shown_with_its_state(show, served, page):
    show("one-of-several")
    page.goto(served.url)
    page.evaluate(OPEN_ALL)
    told = page.locator("#route-0 .agent").evaluate_all("(all) => all.map((each) => each.innerText.replace(/\\s+/g, ' '))")
    assert told == [
        "10.0.3.7:9000 0 links, 1 dial, 0 NOTIFYs open, none of 17 failed down",
        "unix:/run/a-folder-with-a-long-name/agent.sock 0 links, 0 dials, 0 NOTIFYs open not dialled yet",
        "10.0.3.9:9000 1 link, 1 dial, 3 NOTIFYs open, 0.04 % of 7,520 failed up",
    ]
    assert "Oldest NOTIFY 2.2 s" in page.locator("#route-0 .totals").inner_text().replace("\n", " ")


def test_what_a_peer_wrote_stays_text(show, served, page):
    show("anomalies")
    page.goto(served.url)
    page.evaluate(OPEN_ALL)
    page.evaluate("refresh()")  # once more by way of the script
    text = page.locator("#incidents").inner_text()
    for each in HOSTILE:
        name, value = name_text(each.encode()), quoted(each.encode())
        assert text.count(f"message {name},") == 1
        assert text.count(f"set-var txn.{name} = str {value}") == 1
        assert f"\n{each}\n" in text
    assert page.evaluate("window.owned") is None
    assert page.locator("img, iframe, object, style, [onerror], [style]").count() == 0
    assert page.locator("script").evaluate_all("(all) => all.map((each) => each.getAttribute('src'))") == ["/live.js"]
    assert page.locator("h1").count() == 1


def row(page, name: str):
    """The incident of that name."""
    return page.locator("#incidents > li").filter(has=page.locator("summary code", has_text=name))


def said(element) -> str:
    return " ".join(element.inner_text().split())


def test_an_incident_is_one_row_with_its_frames_behind_it(show, served, page):
    scene = show("incidents")
    page.goto(served.url)
    assert said(page.locator("#incidents-head")) == "Incidents 7, 5 going on"
    rows = [said(each) for each in page.locator("#incidents > li summary").all()]
    assert [each.split()[1] for each in rows] == ["error", *["warning"] * 4, "info", "info"]
    assert all("goes on" in each for each in rows[:4])
    assert all(" over " in each for each in (rows[4], rows[6]))
    lost = row(page, "notifies_unanswered").first
    assert re.fullmatch(
        r"▲ warning notifies_unanswered deadline checkout 1,522 times goes on "
        r"(\d\d-\d\d )?\d\d:\d\d:\d\d to (\d\d-\d\d )?\d\d:\d\d:\d\d UTC, the last 2 s ago, at most 761/s",
        said(lost.locator("summary")),
    )
    runt = row(page, "runt_frame").first
    assert not runt.locator("article").is_visible()
    runt.locator("summary").focus()
    page.keyboard.press("Enter")
    opened = said(runt.locator("article"))
    ids = {incident["ids"][0] for incident in served.status()["incidents"]}
    assert runt.locator("article code").first.inner_text() in ids
    assert "The first in session 1 the first" in opened
    assert "The last in session 1 the last" in opened
    assert runt.locator("pre").all_inner_texts() == ['no frame can be read from 4 bytes: "\\x00\\x00\\x00\\x00"'] * 2
    assert "Recorded in /var/lib/spoe-guard/spoe-guard-20260301T031407.120403Z-checkout-1-runt_frame-2214.pcapng and " in opened
    link = runt.get_by_role("link", name="What to do")
    assert link.get_attribute("href") == "/runbook/runt_frame"
    page.keyboard.press("Enter")
    assert not runt.locator("article").is_visible()
    runt.locator("summary").click()
    link.click()
    assert page.get_by_role("heading", level=1).inner_text() == "runt_frame"
    assert len(scene.observer.incidents._open["checkout"]) == 5


def shown_routes(page) -> list[str]:
    return page.locator(".route:not([hidden]) h3").all_inner_texts()


def test_the_worst_routes_come_first_and_keep_the_focus_when_moved(show, served, page):
    scene = show("healthy")
    page.goto(served.url)
    assert shown_routes(page) == ["checkout", "login"]
    page.locator("#route-1 summary").focus()
    scene.refuses("login")
    page.evaluate("refresh()")
    assert shown_routes(page) == ["login", "checkout"]
    assert page.evaluate("document.activeElement.closest('.route').id") == "route-1"


def test_a_filter_by_keyboard_lasts_and_says_what_it_hides(show, served, page):
    scene = show("incidents")
    page.goto(served.url)
    told = page.locator("#left-out")
    assert told.inner_text() == ""
    page.get_by_label("Show only").focus()
    page.keyboard.type("runt_frame the LAST")
    assert shown_routes(page) == ["checkout"]
    assert told.inner_text() == "Hidden: 1 of 2 routes, 6 of 7 incidents"
    scene.anomaly("login", 2, Anomaly.RUNT_FRAME, Action.DROP, bytes(4), detail="the last")
    page.evaluate("refresh()")  # what comes meets it too
    assert told.inner_text() == "Hidden: 0 of 2 routes, 6 of 8 incidents"
    assert page.evaluate("document.activeElement.id") == "words"
    with page.expect_event("load"):
        page.get_by_role("link", name="Reload").click()
    expect(page.locator("#words")).to_have_value("runt_frame the LAST")
    expect(told).to_have_text("Hidden: 0 of 2 routes, 6 of 8 incidents")
    page.get_by_label("Show only").focus()
    page.keyboard.press("Escape")
    assert told.inner_text() == ""
    page.keyboard.press("Tab")
    page.keyboard.type("down")
    assert (page.get_by_label("in state").input_value(), shown_routes(page)) == ("down", ["checkout"])
    assert page.locator("#troubles > li:not([hidden])").count() == 1
    assert told.inner_text() == "Hidden: 1 of 2 routes, 3 of 8 incidents"
    page.goto(f"{served.url}/?words=login&state=down")
    assert told.inner_text() == "Hidden: 2 of 2 routes, 8 of 8 incidents"
    page.goto(f"{served.url}/?words=login+repaired&state=nothing")
    assert (page.get_by_label("in state").input_value(), shown_routes(page)) == ("", ["login"])
    assert page.locator("#incidents > li:not([hidden])").count() == 3


def test_the_policy_blocks_what_escaping_would_have_missed(show, served, page):
    show("just-started")
    page.goto(served.url)
    blocked = page.evaluate(
        """async () => {
            const seen = [];
            document.addEventListener("securitypolicyviolation", (event) => seen.push(event.effectiveDirective));
            document.body.insertAdjacentHTML("beforeend", '<img src="https://192.0.2.1/x.png" onerror="window.owned = 1">');
            document.body.insertAdjacentHTML("beforeend", '<p style="color: red">x</p>');
            const script = document.createElement("script");
            script.textContent = "window.owned = 2";
            document.body.append(script);
            for (let turn = 0; seen.length < 4 && turn < 200; turn++) await new Promise((done) => setTimeout(done, 10));
            return seen.sort();
        }"""
    )
    assert blocked == ["img-src", "script-src-attr", "script-src-elem", "style-src-attr"]
    assert page.evaluate("window.owned") is None
    assert len(page.complaints) == 4
    page.complaints.clear()


@pytest.mark.parametrize(("state", "scene"), STATES.items(), ids=lambda each: getattr(each, "value", None))
def test_each_of_the_five_states_has_a_word_and_a_shape(show, served, page, state, scene):
    """Colour is never all that tells them apart: in forced colours there is none."""
    show(scene)
    page.emulate_media(forced_colors="active")
    page.goto(served.url)
    mark = MARKS[state]
    assert page.title().startswith(f"{mark} ")
    assert page.locator("#verdict .mark").inner_text() == mark
    first = said(page.locator(".route .state").first)
    if state is State.OK:
        assert first == f"{mark} Served"
        assert page.locator("#troubles li").count() == 0
    else:
        assert first == f"{mark} {state.value}"
        assert said(page.locator("#troubles li").first).startswith(f"{mark} {state.value} login: ")
    heading = page.get_by_role("heading", level=1)
    assert heading.locator("[role=status]").inner_text() == served.status()["sentence"]  # a heading, whose change is said
    assert len({*MARKS.values()}) == len(State)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("scene", ALL)
def test_every_state_fits_a_phone_and_can_be_read(show, served, page, scene, scheme):
    show(scene)
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto(served.url)
    picture(page, f"{scene}-{scheme}-phone")
    page.evaluate(OPEN_ALL)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    page.evaluate("document.getElementById('lost').hidden = false; document.getElementById('lost').textContent = 'lost'")
    checked = page.evaluate(CONTRAST)
    assert checked["texts"] > 20
    assert checked["faint"] == []
    page.set_viewport_size({"width": 1180, "height": 800})
    page.reload()
    assert page.evaluate("document.documentElement.scrollWidth") == 1180
    picture(page, f"{scene}-{scheme}")


def picture(page, name: str) -> None:
    page.screenshot(path=PICTURES / f"{name}.png", full_page=True)


@pytest.mark.parametrize("scene", ["one-of-several", "incidents"])
def test_lists_of_terms_and_headings_are_what_screen_readers_expect(show, served, page, scene):
    show(scene)
    page.goto(served.url)
    page.evaluate(OPEN_ALL)
    wrong = """() => [...document.querySelectorAll("dl > *")].filter(
        (each) => each.nodeName !== "DIV" || [...each.children].map((child) => child.nodeName).join() !== "DT,DD"
    ).map((each) => each.outerHTML)"""
    assert page.evaluate(wrong) == []
    levels = page.locator("h1, h2, h3, h4").evaluate_all("(all) => all.map((each) => Number(each.nodeName[1]))")
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert page.locator("summary a, summary button, summary input").count() == 0  # nothing to press within what is pressed


def test_the_keyboard_reaches_everything(show, served, page):
    show("anomalies")
    page.goto(served.url)
    page.evaluate(OPEN_ALL)
    reachable = "a[href], button, input, select, summary, pre"
    wanted = page.locator(reachable).count()
    page.evaluate(f"document.querySelectorAll({reachable!r}).forEach((each, at) => {{ each.dataset.at = at; }})")
    reached = []
    for _ in range(wanted):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.dataset.at"))
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid", "the focus has to be seen"
    assert reached == [str(at) for at in range(wanted)]
    assert wanted > 40
    first = page.locator("#incidents summary").first
    first.focus()
    page.keyboard.press("Enter")
    assert first.evaluate("(each) => each.parentNode.open") is False


def test_a_refresh_keeps_the_page_as_the_reader_left_it(show, served, page):
    scene = show("anomalies")
    page.clock.install()
    page.goto(served.url)
    third = page.locator("#incidents > li").nth(3)
    name = third.get_attribute("id")
    third.locator("summary").click()
    page.locator("#route-1 summary").click()
    third.locator("summary").focus()
    third.evaluate("(each) => each.scrollIntoView({block: 'center'})")
    page.evaluate("getSelection().selectAllChildren(document.querySelector('#incidents > li:nth-child(4) pre'))")
    selected = page.evaluate("getSelection().toString()")
    before = page.locator(f"#{name}").evaluate("(each) => each.getBoundingClientRect().top")

    for worse in (Anomaly.RUNT_FRAME, Anomaly.OVERSIZE_FRAME, Anomaly.GARBLED_STREAM):
        scene.anomaly("login", 2, worse, Action.PASS, bytes(4))
    scene.acks("login", 7, 0.001)
    page.clock.run_for(STEP_S * 1000)
    page.locator("#incidents > li").nth(6).and_(page.locator(f"#{name}")).wait_for()  # three places further down
    assert page.locator("#route-1 data.anomalies").get_attribute("value") == "4"
    assert page.locator("#incidents > li").first.locator("code").first.inner_text() in {
        "runt_frame",
        "oversize_frame",
        "garbled_stream",
    }

    assert page.locator("details[open]").count() == 2
    assert page.locator(f"#{name} details").evaluate("(each) => each.open")
    assert page.evaluate("document.activeElement.closest('li').id") == name
    assert page.evaluate("getSelection().toString()") == selected != ""
    assert page.locator(f"#{name}").evaluate("(each) => each.getBoundingClientRect().top") == pytest.approx(before, abs=2)


def test_what_is_brought_up_to_date_is_what_a_reload_would_show(show, served, page):
    scene = show("anomalies")
    page.goto(served.url)

    def same_as_reloaded() -> None:
        page.evaluate("refresh()")
        content = "document.body.innerText.replace(/[0-9]+:[0-9]+:[0-9]+/g, '')"
        refreshed = page.evaluate(content)
        page.reload()
        assert refreshed == page.evaluate(content)

    scene.traffic(3)
    for at in range(KEPT):  # so that old ones go, too
        scene.anomaly("login", 2, Anomaly.RUNT_FRAME, Action.DROP, bytes(4), offset=at)
        scene.clock.now += QUIET_S
        scene.observer.journal.sum_up()
    scene.refuses("checkout")
    same_as_reloaded()
    assert page.title() == f"■ 1 of 2 routes has no agent. spoe-guard on {HOST}"
    scene.answers("checkout")
    scene.step(POINTS + 1)
    same_as_reloaded()
    assert page.title() == f"● All is well. spoe-guard on {HOST}"


def test_pausing_keeps_it_as_it_is_and_asks_for_nothing(show, served, page):
    scene = show("anomalies")
    page.goto(served.url)
    pause = page.get_by_role("button", name="Pause")
    pause.click()
    scene.anomaly("login", 2, Anomaly.RUNT_FRAME, Action.DROP, bytes(4))
    asked = []
    page.on("request", lambda request: asked.append(request))  # noqa: PLW0108 it marks what it is given, which a list takes badly
    page.evaluate("refresh()")
    assert page.locator("#route-1 data.anomalies").get_attribute("value") == "1"
    assert asked == []
    page.get_by_role("button", name="Resume").click()
    page.locator("#route-1 data.anomalies[value='2']").wait_for(state="attached")
    assert pause.is_visible()


def test_what_was_asked_for_before_a_pause_changes_nothing_in_it(show, served, page):
    scene = show("anomalies")
    page.goto(served.url)
    scene.anomaly("login", 2, Anomaly.RUNT_FRAME, Action.DROP, bytes(4))
    page.evaluate("(() => { const asked = refresh(); document.getElementById('pause').click(); return asked; })()")
    assert page.locator("#route-1 data.anomalies").get_attribute("value") == "1"


def test_a_guard_that_is_gone_is_said_and_its_return_is_seen(show, served, page):
    show("healthy")
    page.goto(served.url)
    page.route(served.url + "/", lambda route: route.abort())
    page.evaluate("refresh()")
    assert page.locator("#lost").inner_text().startswith("■ No answer from the guard since ")
    assert page.title() == f"■ No answer: spoe-guard on {HOST}"
    page.unroute(served.url + "/")
    page.evaluate("refresh()")
    assert page.locator("#lost").is_hidden()
    assert page.title() == f"● All is well. spoe-guard on {HOST}"
    assert all("ERR_FAILED" in text for text in page.complaints)
    page.complaints.clear()


def test_without_script_it_is_a_page_that_can_be_reloaded(show, served, browser):
    scene = show("anomalies")
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(served.url)
    assert page.locator("#pause").is_hidden()
    scene.anomaly("login", 2, Anomaly.RUNT_FRAME, Action.DROP, bytes(4))
    page.get_by_role("link", name="Reload").click()
    page.locator("#route-1 data.anomalies[value='2']").wait_for(state="attached")
    page.locator("#incidents summary").first.click()
    assert page.locator("#incidents pre").first.is_visible()
    context.close()
