"""The output of the log: one line per event, and a peer's text cannot break out of its line."""

import json

import pytest

from spoe_guard.observe.logs import MAX_TEXT, MAX_TRACEBACK, Log

EVIL = "first\nsecond\r\x1b[31mred\x1b]0;title\x07 \u202egnp.exe \u2028 \x7f \x9b2J caf\xe9"
TAMED = r"first\nsecond\r\x1b[31mred\x1b]0;title\x07 \u202egnp.exe \u2028 \x7f \x9b2J" + " caf\xe9"


def test_a_json_line_says_when_how_bad_and_what_first(lines):
    lines.log().say("info", "listening", routes={"default": "127.0.0.1:1"}, admin=None)
    (line,) = lines.logged
    assert list(line) == ["timestamp", "level", "event", "routes", "admin"]
    assert line["timestamp"].endswith("Z")
    assert (line["level"], line["event"], line["routes"], line["admin"]) == (
        "info",
        "listening",
        {"default": "127.0.0.1:1"},
        None,
    )


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_levels_below_the_chosen_one_are_left_out(lines, level):
    levels = ["debug", "info", "warning", "error"]
    log = lines.log(level=level)
    for each in levels:
        assert log.say(each, "draining")
    assert [line["level"] for line in lines.logged] == levels[levels.index(level) :]
    assert [each for each in levels if log.enabled(each)] == levels[levels.index(level) :]


def test_one_of_several_workers_says_so_on_every_line(lines):
    Log(lines, "json", "info", worker=3).say("info", "listening", route="default")
    assert lines.logged[0]["worker"] == 3
    lines.log().say("info", "listening")
    assert "worker" not in lines.logged[1]


def test_a_sink_without_room_is_told(lines):
    lines.room = False
    assert not lines.log().say("info", "draining")
    assert lines.log(level="error").say("info", "draining")  # nobody wanted it


@pytest.mark.parametrize("form", ["json", "console"])
def test_what_a_peer_wrote_moves_no_terminal_and_makes_no_line(lines, form):
    lines.log(form).say("info", "session_closed", message=EVIL)
    (line,) = lines.lines
    assert line.isprintable()
    text_ = json.loads(line)["message"] if form == "json" else line.partition(" message=")[2]
    assert text_ == (TAMED if form == "json" else repr(TAMED))


@pytest.mark.parametrize("form", ["json", "console"])
def test_what_a_peer_wrote_is_bounded(lines, form):
    lines.log(form).say("info", "session_closed", message="\x00" * 100_000)
    (line,) = lines.lines
    assert len(line) < 10 * MAX_TEXT


@pytest.mark.parametrize("form", ["json", "console"])
def test_an_error_has_its_traceback_and_its_message_is_tamed(lines, form):
    def inner() -> None:
        raise ValueError(EVIL)

    try:
        inner()
    except ValueError as error:
        lines.log(form).say("error", "internal_error", exc_info=error)
    (line,) = lines.lines
    traceback = json.loads(line)["exception"] if form == "json" else line
    assert "in inner" in traceback
    assert "ValueError: first\nsecond\\r\\x1b[31mred" in traceback
    assert all(each.isprintable() for each in traceback.split("\n"))


def test_a_traceback_is_bounded(lines):
    lines.log().say("error", "internal_error", exc_info=ValueError("x" * 10 * MAX_TRACEBACK))
    assert len(lines.lines[0]) < MAX_TRACEBACK + 500


def test_the_console_is_for_people(lines):
    lines.log("console").say("warning", "anomaly", route="default", sentence="a frame of fewer than 7 bytes")
    (line,) = lines.lines
    assert "[warning  ] anomaly route=default sentence='a frame of fewer than 7 bytes'" in line
    assert "\x1b" not in line
