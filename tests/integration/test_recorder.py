"""The flight recorder with a real HAProxy: each misbehaving agent leaves one file that shows its fault and can replay it."""

import json
import re
import stat
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from spoe_guard.capture.files.model import Capture
from spoe_guard.capture.files.read import read
from spoe_guard.core.terms.anomalies import Side
from spoe_guard.lab.misbehaviour import MISBEHAVIOURS
from tests.integration.haproxy import Haproxy, need_2_6, wait_until
from tests.integration.scene import PATHS, WARM_UP, misbehave
from tests.integration.stage import Stage
from tests.peers import ROOT, need
from tests.running import environment, spoe_guard

DISSECTOR = ROOT / "config/wireshark/spop.lua"
DEAD_WITHIN_S = 15.0  # where the burst comes on two connections, what is played waits 5 s for the rest of it
TSHARK_S = 25.0

# The agents of the project's beginning, and what decode says of each, in this order.
STORIES = {
    "zero_length_frame": ["runt_frame", "disconnect_missing", "notify_unanswered"],
    "one_byte_frame": ["runt_frame", "disconnect_missing", "notify_unanswered"],
    "disconnect_then_acks": ["disconnect_before_ack", *["ack_after_disconnect"] * 3],
    "acks_inside_disconnect": ["interleaved_frames"],
    "ack_cut_in_half": ["truncated_frame", "disconnect_missing", "notify_unanswered"],
    "stray_ack": ["unmatched_ack"],
    "ack_without_fin": ["missing_fin"] * 3,
    "close_without_a_word": ["disconnect_missing", "notify_unanswered"],
    "reset_without_a_word": ["disconnect_missing", "notify_unanswered"],
}


def captured(folder: Path, name: str, **settings: str) -> Path:
    """Play the scene, and return the one file that is left of it."""
    kept = folder / "captures"
    kept.mkdir()
    with Stage(folder) as stage:
        guard = misbehave(stage, name, guarded=True, settings={"CAPTURE__DIR": str(kept), **settings}).guard
        wait_until(lambda: guard.metric("spoe_guard_captures_written_total") >= 1, "a capture was written")
        assert guard.metric("spoe_guard_captures_dropped_total") == 0
    return max(kept.iterdir())  # of an attempt that was not the scene there may be one before


def play(haproxy: Haproxy) -> None:
    for i in range(WARM_UP):
        haproxy.get(f"/warm-up/{i}")
    haproxy.get_all(PATHS)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Each agent's file; made when it is asked for first."""
    made: dict[str, Path] = {}

    def file(name: str) -> Path:
        if name not in made:
            made[name] = captured(tmp_path_factory.mktemp(name), name, CAPTURE__PAYLOAD="full")
        return made[name]

    return file


def tshark(file: Path, *options: str) -> list[str]:
    command = [need("tshark"), "-o", "tcp.try_heuristic_first:TRUE", "-X", f"lua_script:{DISSECTOR}", "-r", str(file), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TSHARK_S, check=False)
    assert done.returncode == 0, done.stderr
    assert "spop.lua" not in done.stderr, done.stderr
    return done.stdout.splitlines()


def fields(file: Path, *names: str) -> list[list[str]]:
    """One row per packet with SPOP in it."""
    options = [part for name in names for part in ("-e", name)]
    return [line.split("\t") for line in tshark(file, "-Y", "spop", "-T", "fields", *options)]


@pytest.mark.parametrize("name", STORIES)
def test_each_agent_leaves_one_file_that_tells_its_story(files, name):
    file = files(name)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    done = spoe_guard("decode", "--json", str(file), settings={"SPOE_GUARD_ROUTES__0__LINKS__GIVE_UP": "0"})
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["what"] for row in rows if row["kind"] == "anomaly"] == STORIES[name]
    notifies = [row["text"] for row in rows if row["what"] == "NOTIFY" and row["who"] == "haproxy"]
    assert len(notifies) == WARM_UP + len(PATHS)
    assert sorted(re.findall(r'path="(/[0-9])"', " ".join(notifies))) == sorted(PATHS)
    assert STORIES[name][0] in file.name


@pytest.mark.parametrize("name", STORIES)
def test_wireshark_reads_each_file_without_a_malformed_packet(files, name):
    file = files(name)
    assert tshark(file, "-Y", "_ws.malformed || _ws.lua.error || tcp.analysis.lost_segment || tcp.analysis.retransmission") == []
    comments = " ".join(tshark(file, "-T", "fields", "-e", "frame.comment"))
    assert all(f"{anomaly}: agent: " in comments for anomaly in STORIES[name])
    rows = fields(file, "frame.interface_name", "spop.type")
    legs = {
        name: [type_ for leg, types in rows if leg == name for type_ in types.split(",") if type_]
        for name in ("haproxy", "agent 0")
    }
    assert legs["haproxy"].count("3") == legs["agent 0"].count("3") == WARM_UP + len(PATHS)
    assert legs["haproxy"].count("1") == legs["agent 0"].count("1") == 1
    assert legs["haproxy"].count("103") == WARM_UP + len(PATHS) - MISBEHAVIOURS[name].unanswered


def test_wireshark_shows_what_frames_say(files):
    rows = fields(
        files("stray_ack"),
        "spop.type", "spop.stream_id", "spop.message", "spop.kv.name", "spop.kv.string", "spop.kv.ipv4", "spop.action.name",
    )  # fmt: skip
    hello, notify, ack = rows[0], next(row for row in rows if row[0] == "3"), next(row for row in rows if row[0] == "103")
    assert hello[3] == "supported-versions,max-frame-size,capabilities,engine-id"
    assert notify[2:6] == ["check", "path,src", "/warm-up/0", "127.0.0.1"]
    assert ack[1] == notify[1]
    assert (ack[4], ack[6]) == ("/warm-up/0", "verdict")


@pytest.mark.parametrize("payload", [{}, {"CAPTURE__PAYLOAD": "off"}])
def test_names_and_values_are_left_out_unless_they_are_asked_for(tmp_path, payload):
    file = captured(tmp_path, "stray_ack", **payload)
    data = file.read_bytes()
    assert b"/warm-up/" not in data
    assert b"verdict" not in data
    assert b"unmatched_ack" in data
    assert tshark(file, "-Y", "_ws.malformed || _ws.lua.error || spop.rest") == []
    if not payload:  # how frames are built is left, and what was wrong
        rows = fields(file, "spop.type", "spop.message", "spop.kv.name", "spop.kv.string", "spop.action.name")
        assert ["3", "xxxxx", "xxxx,xxx", "x" * len("/warm-up/0"), ""] in rows
        assert ["103", "", "", "x" * len("/warm-up/0"), "xxxxxxx"] in rows
        told = spoe_guard("decode", "--json", str(file), settings={"SPOE_GUARD_ROUTES__0__LINKS__GIVE_UP": "0"}).stdout
        rows = [json.loads(line) for line in told.splitlines()]
        assert [row["what"] for row in rows if row["kind"] == "anomaly"] == STORIES["stray_ack"]


@pytest.fixture
def replayed(tmp_path):
    """``spoe-guard replay`` as a process, and where it listens."""
    with ExitStack() as at_end:

        def start(file: Path) -> tuple[subprocess.Popen[str], str]:
            command = [sys.executable, "-m", "spoe_guard", "replay", str(file), "127.0.0.1:0", "--to", "haproxy"]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment())
            at_end.callback(process.wait)
            at_end.callback(process.kill)
            at_end.callback(process.stdout.close)
            return process, re.search(r"waiting for HAProxy on (\S+)", process.stdout.readline())[1]

        yield start


def test_the_zero_length_capture_kills_an_unguarded_haproxy_2_6_again(files, replayed, tmp_path):
    need_2_6("later ones live")
    _, address = replayed(files("zero_length_frame"))
    with Haproxy(tmp_path, address) as haproxy:
        play(haproxy)
        assert haproxy.wait_dead(DEAD_WITHIN_S) < 0
        assert "is spinning at" in haproxy.log()


def test_played_to_haproxy_answers_are_for_what_it_asks(files, replayed, tmp_path):
    process, address = replayed(files("close_without_a_word"))
    with Haproxy(tmp_path, address) as haproxy:
        assert [haproxy.get(f"/warm-up/{i}").verdict for i in range(WARM_UP)] == [f"/warm-up/{i}" for i in range(WARM_UP)]
        haproxy.get_all(PATHS)
        assert process.wait(DEAD_WITHIN_S) == 0


def test_what_was_read_back_is_what_both_sides_wrote(files):
    [capture] = read(str(files("zero_length_frame")))
    assert isinstance(capture, Capture)
    agents = b"".join(chunk.data for chunk in capture.heard() if chunk.side is Side.AGENT)
    assert agents.endswith(bytes(4))
    assert set(capture.sockets) == {(Side.HAPROXY, 0), (Side.AGENT, 0)}
    assert all(
        host == "127.0.0.1" and port for ends in capture.sockets.values() for host, port in ((e.host, e.port) for e in ends)
    )
