"""``spoe-guard demo`` as a user runs it: it succeeds, reports what really happened, and leaves nothing behind."""

import os
import pty
import re
import signal
import time

import pytest

from spoe_guard.demo import haproxy
from tests.demo.running import Demo
from tests.integration import generations
from tests.peers import missing, need

pytestmark = pytest.mark.timeout(120)

MOST_S = 40.0
NO_HAPROXY = {"SPOE_GUARD_HAPROXY": "/nonexistent/haproxy"}
ANOMALIES = {  # each once, in this order
    "disconnect_before_ack": "reorder",
    "ack_after_disconnect": "reorder",
    "interleaved_frames": "repair",
    "runt_frame": "drop",
    "disconnect_missing": "answer",
    "notify_unanswered": "answer",
}


def deadly_haproxy():
    """Debian 12's, which dies of a frame of length 0."""
    path = need("haproxy")
    program = haproxy.find()
    assert not isinstance(program, str)
    if program.version != (2, 6):
        missing(f"{program.name} does not die of haproxy #2490", "Debian 12: apt-get install haproxy")
    return path


def figure(pattern, text):
    """The one number that ``pattern`` captures."""
    found = re.findall(pattern, text, re.MULTILINE)
    assert len(found) == 1, (pattern, text)
    return float(found[0])


def table(text):
    """The rows of the table: cells are two blanks apart."""
    rows = re.split(r"without the guard +with the guard\n", text)[1].split("\n\n")[0].splitlines()
    return [re.split(r" {2,}", row.strip()) for row in rows]


def assert_the_guard_told(text):
    done = re.findall(r"^ +guard (\w+) -> (\w+): ", text, re.MULTILINE)
    counted = re.findall(r'^ +spoe_guard_anomalies_total\{anomaly="(\w+)",action="(\w+)"\} 1$', text, re.MULTILINE)
    assert dict(done) == ANOMALIES
    assert list(dict(done)) == list(ANOMALIES)
    assert dict(counted) == ANOMALIES
    assert "spoe_guard_internal_errors_total 0" in text
    assert re.search(r"^ +curl .*/metrics", text, re.MULTILINE)
    assert text.endswith("Nothing is left behind.\n")


def test_the_story_with_a_real_haproxy_comes_out_as_told(tmp_path):
    deadly_haproxy()
    with Demo(tmp_path) as demo:
        code = demo.end()
        took = time.monotonic() - demo.began
    text = demo.printed()
    assert code == 0, text + demo.complained()
    assert demo.complained() == ""
    assert took < MOST_S
    dead_after = figure(r"^  HAProxy +dead after ([\d.]+) s \(SIG(?:SEGV|ABRT|ILL)\)$", text)
    assert 0.5 < dead_after < 5
    assert 5 < figure(r"It spun at (\d+)% of a core", text) <= 110
    assert figure(r"is spinning at (\d+) calls", text) > 100_000
    assert figure(r"^  HAProxy, 5 s after that frame +alive, ([\d.]+)% CPU$", text) < 5
    assert table(text) == [
        ["/home", "answers", "200 allow /home", "200 allow /home"],
        ["/login", "DISCONNECT, then its answer", "403 answer lost", "200 allow /login"],
        ["/cart", "answer inside its DISCONNECT", "403 answer lost", "200 allow /cart"],
        ["/pay", "frame of length 0, closes", "connection lost", "403 no answer"],
        ["/home", "answers", "connection refused", "200 allow /home"],
        ["10 other clients", "10 cut off", "10 served"],
        ["HAProxy 2.6.12", f"dead in {dead_after} s", table(text)[-1][-1]],
    ]
    assert_the_guard_told(text)


def test_an_haproxy_that_lives_without_the_guard_is_said_to_live(tmp_path):
    with Demo(tmp_path, {"SPOE_GUARD_HAPROXY": generations.find("3.2").program}) as demo:
        assert demo.end() == 0, demo.printed() + demo.complained()
    text = re.sub(r"\s+", " ", demo.printed())
    assert re.search(r"HAProxy 3\.2\.\d+ did not die of the frame of length 0: haproxy #2490 is fixed in it", text)
    assert "it still lost 2 of the agent's answers" in text
    assert "dead" not in text
    assert text.count("10 served") == 4, "both times, there and in the table"
    assert text.count("200 allow /cart") == 2, "with the guard alone, there and in the table"


def test_without_a_haproxy_it_says_so_and_plays_the_part_itself(tmp_path):
    with Demo(tmp_path, {**NO_HAPROXY, "SPOE_GUARD_MODE": "observe"}) as demo:  # that setting is for the user's own guard
        assert demo.end() == 0, demo.printed() + demo.complained()
    text = demo.printed()
    assert "No real HAProxy takes part: SPOE_GUARD_HAPROXY=/nonexistent/haproxy is no program." in re.sub(r"\s+", " ", text)
    assert "apt-get install haproxy" in re.sub(r"\s+", " ", text)
    assert table(text) == [
        ["/home", "answers", "answer applied", "answer applied"],
        ["/login", "DISCONNECT, then its answer", "answer lost", "answer applied"],
        ["/cart", "answer inside its DISCONNECT", "answer lost", "answer applied"],
        ["/pay", "frame of length 0, closes", "rubbish, then EOF", "no answer, clean end"],
        ["/home", "answers", "answer applied", "answer applied"],
    ]
    assert_the_guard_told(text)


@pytest.mark.parametrize("moment", ["/cart   answer inside its DISCONNECT       403", "(watching HAProxy for 5 s)"])
@pytest.mark.parametrize("way", ["ctrl_c", "SIGTERM", "SIGHUP", "ctrl_c twice"])
def test_a_signal_in_the_middle_leaves_nothing_behind(tmp_path, moment, way):
    deadly_haproxy()
    with Demo(tmp_path) as demo:
        demo.wait_for(moment)
        groups = {os.getpgid(pid) for pid in demo.processes()}
        assert len(groups) == (3 if "watching" in moment else 2), "the demo, HAProxy, and in the end the guard, each in its own"
        at = time.monotonic()
        if way.startswith("ctrl_c"):
            demo.ctrl_c()
            if way.endswith("twice"):
                demo.ctrl_c()
        else:
            demo.process.send_signal(signal.Signals[way])
        expected = signal.Signals[way] if way.startswith("SIG") else signal.SIGINT
        assert demo.end() == 128 + expected
        assert time.monotonic() - at < 5
    assert demo.printed().endswith(f"\n{expected.name}: stopped. Nothing is left behind.\n")
    assert demo.complained() == ""


def test_an_haproxy_that_does_not_start_is_told_with_its_own_words(tmp_path):
    program = tmp_path / "haproxy"
    program.write_text('#!/bin/sh\n[ "$1" = -v ] && echo "HAProxy version 2.6.12" && exit\necho "no such filter" && exit 1\n')
    program.chmod(0o755)
    with Demo(tmp_path, {"SPOE_GUARD_HAPROXY": str(program)}) as demo:
        assert demo.end() == 1
    assert demo.complained() == "spoe-guard demo: HAProxy does not start: no such filter\n"


def test_a_reader_that_goes_away_ends_it(tmp_path):
    reading, writing = os.pipe()
    with Demo(tmp_path, NO_HAPROXY, stdout=writing) as demo:
        os.close(writing)
        assert os.read(reading, 1)
        os.close(reading)
        assert demo.end() == 0
    assert demo.complained() == ""


@pytest.mark.parametrize(("env", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_colours_are_for_a_persons_terminal_and_lines_for_80_columns(tmp_path, env, coloured):
    ours, theirs = pty.openpty()
    text = b""
    with Demo(tmp_path, {"NO_COLOR": None, "TERM": "xterm", **NO_HAPROXY, **env}, stdout=theirs) as demo:
        os.close(theirs)
        try:
            while got := os.read(ours, 65536):
                text += got
        except OSError:  # Linux's way of saying that nobody has the other end any more
            os.close(ours)
        assert demo.end() == 0
    assert (b"\x1b[" in text) == coloured
    lines = re.sub(r"\x1b\[\d+m", "", text.decode()).splitlines()
    assert [line for line in lines if len(line) > 80] == []
    assert len(lines) > 30
