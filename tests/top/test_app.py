"""``spoe-guard top`` with its library's test pilot: the status's numbers, keys, and a guard that disappears and returns."""

import asyncio
import threading

import pytest
from textual.widgets import DataTable, Static

from spoe_guard.core.terms.anomalies import Action, Anomaly
from spoe_guard.observe.frame_text import name_text
from spoe_guard.observe.live.incident import name as name_of
from spoe_guard.observe.live.page import figures
from spoe_guard.top.app import Top
from spoe_guard.top.ask import NoAnswerError
from tests.observe.conftest import Lines
from tests.observe.live.scenes import ALL, HOSTILE, Scene


class Guard:
    """What answers."""

    def __init__(self, name: str) -> None:
        self.scene: Scene = ALL[name](Lines().log(level="error"))
        self.asked = 0
        self.gone = False

    def __call__(self) -> dict:
        self.asked += 1
        if self.gone:
            raise NoAnswerError("127.0.0.1:9464 cannot be reached: Connection refused")
        return asyncio.run(self.scene.live.status())


def on_top(guard: Guard, talk, size: tuple[int, int] = (140, 44)) -> None:
    first = guard()

    async def main() -> None:
        async with Top(guard, first).run_test(size=size) as pilot:
            await pilot.pause()
            await talk(pilot)

    asyncio.run(main())


def rows(pilot, table: str) -> list[list[str]]:
    shown = pilot.app.query_one(f"#{table}", DataTable)
    return [[str(cell) for cell in shown.get_row_at(at)] for at in range(shown.row_count)]


def text(pilot, name: str) -> str:
    return pilot.app.query_one(f"#{name}", Static).render().plain


@pytest.mark.parametrize("name", ALL)
def test_every_state_is_shown_with_the_pages_own_numbers(name):
    guard = Guard(name)
    status = guard()

    async def talk(pilot) -> None:
        assert status["sentence"] in text(pilot, "verdict")
        for route, row in zip(status["routes"], rows(pilot, "routes"), strict=True):
            page = {figure["label"]: figure["text"] for figure in figures(route, status["points"], status["step_s"])}
            assert row[1] == route["name"]
            assert [row[2], row[3], row[5], *row[6:9]] == [
                page["NOTIFYs"], page["Open NOTIFYs"], page["ACK latency, p99"], page["Sessions"], page["Anomalies"],
                page["Unanswered"],
            ]  # fmt: skip
        assert [[row[1], row[3], row[4], row[7]] for row in rows(pilot, "incidents")] == [
            [name_of(each), each["route"], f"{each['count']:,}", "over" if each["over"] else "goes on"]
            for each in status["incidents"]
        ]
        observes = "observe mode: nothing is changed, enforce would have saved 1 answer" in text(pilot, "note")
        assert observes == (name == "observe")

    on_top(guard, talk)


# rows of a terminal of 100 columns, where each route's line takes two; how many routes are down, and are named
ROOM = [(24, 0, 0), (24, 3, 3), (24, 4, 3), (24, 9, 3), (39, 9, 3), (40, 9, 4), (59, 9, 8), (60, 9, 9), (56, 8, 8)]


@pytest.mark.parametrize(("rows", "down", "named"), ROOM)
def test_what_is_wrong_is_said_first_as_far_as_there_is_room(rows, down, named):
    guard = Guard("healthy")
    guard.scene = Scene(Lines().log(level="error"), *(f"route-{at}" for at in range(9)))
    for at in range(down):
        guard.scene.refuses(f"route-{at}")

    async def talk(pilot) -> None:
        _verdict, *message = text(pilot, "verdict").split("\n")
        assert all(100 < len(line) < 200 for line in message[:named])
        assert all(line.startswith(f"  ■ route-{at}: The agent is unreachable") for at, line in enumerate(message[:named]))
        assert message[named:] == ([f"  and {down - named} more"] if down > named else [])

    on_top(guard, talk, size=(100, rows))


def test_a_terminal_that_grows_has_room_for_more():
    guard = Guard("healthy")
    guard.scene = Scene(Lines().log(level="error"), *(f"route-{at}" for at in range(9)))
    for at in range(9):
        guard.scene.refuses(f"route-{at}")

    async def talk(pilot) -> None:
        assert "  and 6 more" in text(pilot, "verdict")
        await pilot.resize_terminal(100, 60)
        await pilot.pause()
        assert "more" not in text(pilot, "verdict")

    on_top(guard, talk, size=(100, 24))


def test_the_chosen_anomaly_is_shown_whole_without_markup_from_peers():
    async def talk(pilot) -> None:
        pilot.app.query_one("#incidents").focus()
        told = [text(pilot, "words")]
        for _ in range(18):
            await pilot.press("down")
            await pilot.pause()
            told.append(text(pilot, "words"))
        for each in HOSTILE:
            assert any(f"message {name_text(each.encode())}," in one for one in told)
        assert any("idle timeout" in one for one in told)

    on_top(Guard("anomalies"), talk)


def test_a_route_may_be_named_like_markup():
    guard = Guard("healthy")
    guard.scene = Scene(Lines().log(level="error"), "[red]x[/]", "[/nothing]")

    async def talk(pilot) -> None:
        assert [row[1] for row in rows(pilot, "routes")] == ["[red]x[/]", "[/nothing]"]

    on_top(guard, talk)


def test_s_sorts_the_largest_first_and_comes_round_to_the_configured_order():
    guard = Guard("many-routes")
    status = guard()
    names = [route["name"] for route in status["routes"]]
    rate = {route["name"]: route["history"]["notifies_per_s"][-1] for route in status["routes"]}

    async def talk(pilot) -> None:
        async def sort() -> list[str]:
            await pilot.press("s")
            return [row[1] for row in rows(pilot, "routes")]

        assert await sort() == sorted(names, key=lambda name: -rate[name])
        assert "by NOTIFYs" in text(pilot, "note")
        orders = [await sort() for _ in range(6)]
        assert orders[3][0] == "team-05-bot-detection"  # the one with an anomaly
        assert orders[5] == names
        assert " by " not in text(pilot, "note")

    on_top(guard, talk)


async def until(pilot, condition) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await pilot.pause(0.01)


def test_it_asks_again_by_itself_but_not_while_paused(monkeypatch):
    monkeypatch.setattr("spoe_guard.top.app.EVERY_S", 0.02)
    guard = Guard("healthy")

    async def talk(pilot) -> None:
        await until(pilot, lambda: guard.asked >= 3)
        await pilot.press("p")
        assert "PAUSED" in text(pilot, "note")
        await until(pilot, lambda: not pilot.app._asking)
        asked = guard.asked
        await pilot.pause(0.2)  # ten times
        assert guard.asked == asked
        guard.scene.anomaly("login", 2, Anomaly.RUNT_FRAME, Action.DROP)
        await pilot.press("r")  # now, all the same
        await until(pilot, lambda: len(rows(pilot, "incidents")) == 1)
        await pilot.press("space")
        await until(pilot, lambda: guard.asked > asked + 1)

    on_top(guard, talk)


def test_a_guard_with_a_name_has_it_in_front():
    guard = Guard("healthy")

    async def talk(pilot) -> None:
        assert text(pilot, "note").startswith("spoe-guard 0.1.0 on ")
        guard.scene.live.name = "edge-1"
        await pilot.press("r")
        await until(pilot, lambda: text(pilot, "note").startswith("edge-1, spoe-guard 0.1.0 on "))

    on_top(guard, talk)


def test_a_guard_that_is_gone_is_said_and_its_return_is_seen():
    guard = Guard("healthy")

    async def talk(pilot) -> None:
        guard.gone = True
        await pilot.press("r")
        await until(pilot, lambda: "cannot be reached" in text(pilot, "verdict"))
        assert len(rows(pilot, "routes")) == 2
        guard.gone = False
        await pilot.press("r")
        await until(pilot, lambda: text(pilot, "verdict") == "● All is well.")  # and no trouble below

    on_top(guard, talk)


def test_the_cursor_stays_on_its_anomaly_when_newer_ones_come():
    guard = Guard("anomalies")

    async def talk(pilot) -> None:
        table = pilot.app.query_one("#incidents", DataTable)
        table.focus()
        await pilot.press("down", "down")
        chosen = list(table.rows)[table.cursor_row].value
        before = table.row_count
        guard.scene.anomaly("login", 2, Anomaly.RUNT_FRAME, Action.DROP)
        await pilot.press("r")
        await until(pilot, lambda: table.row_count == before + 1)
        await pilot.pause()
        assert (list(table.rows)[table.cursor_row].value, table.cursor_row) == (chosen, 3)
        assert "runt" in text(pilot, "words") or "RUNNING" in text(pilot, "words")

    on_top(guard, talk)


def test_an_answer_that_comes_when_it_is_closed_is_no_traceback():
    guard = Guard("anomalies")
    answer = threading.Event()
    status = guard()

    def slow() -> dict:
        answer.wait(10)
        return status

    async def main() -> None:
        app = Top(slow, status)
        async with app.run_test() as pilot:
            asking = asyncio.get_running_loop().create_task(app.action_refresh())
            await pilot.pause()
            await pilot.press("q")
        answer.set()
        await asking

    asyncio.run(main())


def test_q_quits():
    async def talk(pilot) -> None:
        await pilot.press("q")
        assert pilot.app._exit

    on_top(Guard("healthy"), talk)


def test_it_fits_eighty_by_twentyfour():
    async def talk(pilot) -> None:
        for name in ("verdict", "routes", "incidents", "frame"):
            region = pilot.app.query_one(f"#{name}").region
            assert region.height >= (4 if name == "incidents" else 1)
            assert region.bottom <= 24

    on_top(Guard("many-routes"), talk, size=(80, 24))


def test_a_terminal_of_no_room_at_all_is_no_error():
    async def talk(pilot) -> None:
        assert text(pilot, "verdict").startswith("■ 1 of 2 routes has no agent.")

    on_top(Guard("agent-down"), talk, size=(4, 2))
