"""Every supported form of a capture is read; any other input gives one clear error."""

import json
import random
import struct
import subprocess
import sys

import pytest

from spoe_guard.capture.files import pcapng, read, tcp
from spoe_guard.capture.files.model import Capture, CaptureError, Chunk, End, Socket
from spoe_guard.capture.tell.show import lines, table
from spoe_guard.capture.tell.story import Row, tell
from spoe_guard.core.incoming.walker import FRAMES_A_TURN
from spoe_guard.core.terms.anomalies import Side
from spoe_guard.core.terms.config import SessionConfig
from spoe_guard.lab import frames
from spoe_guard.wire import frame
from tests.capture.scenes import RUNT, A, H, ack, notify
from tests.running import RUN_S, environment, spoe_guard

BOTH = frames.haproxy_hello() + frames.agent_hello() + notify(1) + ack(notify(1)) + RUNT
T = 1_770_000_000.0


def story(capture, config=None):
    return list(tell(capture, config or SessionConfig()))


def kinds(capture):
    return [(row.kind, row.who, row.what) for row in story(capture)]


SAID = [
    ("frame", "haproxy", "HAPROXY-HELLO"),
    ("guard", "guard", "to agent: HAPROXY-HELLO"),
    ("frame", "agent", "AGENT-HELLO"),
    ("guard", "guard", "to haproxy: AGENT-HELLO"),
    ("frame", "haproxy", "NOTIFY"),
    ("frame", "agent", "ACK"),
    ("bytes", "agent", ""),
    ("anomaly", "agent", "runt_frame"),
]


@pytest.mark.parametrize(
    "written",
    [
        BOTH,
        BOTH.hex().encode(),
        BOTH.hex(" ").upper().encode() + b"\n",
        b"0x" + BOTH.hex(":").encode(),
        "".join(f"\\x{byte:02x}" for byte in BOTH).encode(),
    ],
    ids=["raw", "hex", "hex with blanks", "hex with colons", "hex as in C"],
)
def test_bytes_and_hex_are_told_the_same(written):
    [capture] = read.parse(written)
    assert [sent for sent in kinds(capture) if sent[0] != "note"] == SAID


def test_recorded_streams_are_one_conversation_a_line():
    record = {
        "id": "a", "from_haproxy": (frames.haproxy_hello() + notify(1)).hex(),
        "from_agent": (frames.agent_hello() + ack(notify(1)) + RUNT).hex(), "segments": [len(frames.agent_hello()) + 3, 0],
    }  # fmt: skip
    record["segments"][1] = len(bytes.fromhex(record["from_agent"])) - record["segments"][0]
    one, two = read.parse("\n".join([json.dumps(record), "", json.dumps(record | {"segments": None})]).encode())
    assert [sent for sent in kinds(one) if sent[0] != "note"][: len(SAID)] == SAID
    assert [sent for sent in kinds(two) if sent[0] != "note"][: len(SAID)] == SAID


def between(*packets):
    """A pcapng as of tcpdump between HAProxy and its agent: no name of ours, and whatever order the segments came in."""
    wires = Capture([Chunk(T, H, 0, inward=True, data=b"x")])
    shell = pcapng.dump(wires)
    end = 0
    blocks = []
    while end < len(shell):
        size = struct.unpack_from("<I", shell, end + 4)[0]
        blocks.append(shell[end : end + size])
        end += size
    head = blocks[0] + blocks[1].replace(b"haproxy", b"eth0\0\0\0")
    body = b""
    for at, packet in packets:
        padded = packet + bytes(-len(packet) % 4)
        micros = round((T + at) * 1e6)
        inner = struct.pack("<IIIII", 0, micros >> 32, micros & 0xFFFFFFFF, len(packet), len(packet)) + padded
        body += struct.pack("<II", 6, len(inner) + 12) + inner + struct.pack("<I", len(inner) + 12)
    return head + body


HA, AG = ("10.0.0.1", 40000), ("10.0.0.2", 9000)


def to_agent(at, seq, data, flags=tcp.ACK):
    return at, tcp.build((HA, AG), (seq, 1), flags, data)


def to_haproxy(at, seq, data, flags=tcp.ACK):
    return at, tcp.build((AG, HA), (seq, 1), flags, data)


def test_a_tcpdump_capture_with_reordered_and_repeated_segments_is_understood():
    hello, answer, asked = frames.haproxy_hello(), frames.agent_hello(), notify(1)
    top = 2**32 - 50  # sequence numbers wrap
    half = 40
    data = between(
        to_agent(0, top, b"", tcp.SYN),
        to_agent(0.1, top + 1, hello[:half]),
        to_agent(0.1, top + 1, hello[:half]),
        to_haproxy(0.3, 500, answer),
        to_agent(0.25, top + 1 + half, hello[half:]),
        to_agent(0.5, top + 1 + len(hello) + 5, asked[5:]),
        to_agent(0.6, top + 1 + len(hello), asked[:5]),
        to_haproxy(0.7, 500 + len(answer), ack(asked) + RUNT),
        to_haproxy(0.8, 500 + len(answer) + len(ack(asked)) + 4, b"", tcp.FIN | tcp.ACK),
    )
    [capture] = read.parse(data)
    assert kinds(capture)[: len(SAID)] == SAID
    assert capture.sockets == {(H, 0): (Socket(*HA), Socket(*AG))}
    assert capture.chunks[-1].end is End.FIN


def test_a_gap_is_said_and_frames_are_found_again_behind_it():
    hello, answer, asked = frames.haproxy_hello(), frames.agent_hello(), notify(7)
    data = between(
        to_agent(0, 1, hello), to_haproxy(0.1, 1, answer), to_agent(0.2, 1 + len(hello) + 1000, b"rest" + asked),
        to_haproxy(0.3, 1 + len(answer), ack(asked)),
    )  # fmt: skip
    [capture] = read.parse(data)
    rows = story(capture)
    [gap] = [row for row in rows if row.kind == "lost"]
    assert gap.size == 1004
    assert [row.ids for row in rows if row.what in ("NOTIFY", "ACK")] == ["7.1", "7.1"]
    assert not [row for row in rows if row.kind == "anomaly"]


def test_a_conversation_whose_beginning_is_not_there_is_told_and_not_judged():
    [capture] = read.parse(between(to_agent(0, 1, notify(1)), to_haproxy(0.1, 1, ack(notify(1)) + RUNT)))
    assert [row.kind for row in story(capture)] == ["note", "frame", "frame", "bytes"]


@pytest.mark.parametrize(
    ("data", "sent"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"hello there", "neither pcapng, hex nor JSON, and no SPOP frame at its beginning"),
        (b"abc", "hex with an odd number of digits"),
        (b"00000000", "neither pcapng, hex nor JSON"),
        (b"\xd4\xc3\xb2\xa1rest", "an old pcap file; `editcap -F pcapng`"),
        (b"{}", "line 1: expected from_haproxy and from_agent in hex (KeyError: 'from_haproxy')"),
        (b'{"from_haproxy": "zz", "from_agent": ""}', "line 1: expected from_haproxy and from_agent in hex"),
        (b'{"from_haproxy": "", "from_agent": "00", "segments": [2]}', "segments that do not add up to from_agent"),
        (b"\x0a\x0d\x0d\x0arubbish", "not a whole pcapng file"),
        (between()[:-1], "not a whole pcapng file"),
        (between(), "no TCP connection in it looks like SPOP"),
        (between(to_agent(0, 1, b"GET / HTTP/1.0\r\n\r\n")), "no TCP connection in it looks like SPOP"),
    ],
)
def test_what_cannot_be_read_is_one_clear_error(data, sent):
    with pytest.raises(CaptureError) as error:
        read.parse(data)
    assert sent in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_is_read_up_to_the_size_bound_and_no_larger(monkeypatch):
    monkeypatch.setattr(read, "MAX_FILE_BYTES", len(BOTH))
    assert len(read.parse(BOTH)) == 1
    with pytest.raises(CaptureError, match="larger than"):
        read.parse(BOTH + b"\0")


@pytest.mark.parametrize("seed", range(150))
def test_no_damage_to_a_file_is_more_than_an_error(seed):
    chance = random.Random(seed)
    whole = [BOTH, between(to_agent(0, 1, frames.haproxy_hello()), to_haproxy(1, 1, BOTH)), BOTH.hex().encode()][seed % 3]
    broken = bytearray(whole)
    for _ in range(chance.randint(1, 6)):
        broken[chance.randrange(len(broken))] = chance.randrange(256)
    if chance.random() < 0.3:
        del broken[chance.randrange(len(broken)) :]
    try:
        captures = read.parse(bytes(broken))
    except CaptureError:
        return
    for capture in captures:
        assert all(line.isprintable() for line in table(story(capture), timed=True))
        assert all(json.loads(line)["kind"] for line in lines(story(capture), 0))


def test_nothing_that_a_peer_wrote_reaches_the_terminal_as_it_is():
    nasty = b"\x1b[2J\r\n\xff"
    asked = frame.encode(frame.NOTIFY, 1, 1, notify(1, nasty)[frame.parse(notify(1)).payload_at :])
    its_disconnect = frames.disconnect(frame.AGENT_DISCONNECT, message=nasty)
    [capture] = read.parse(frames.haproxy_hello() + frames.agent_hello() + asked + its_disconnect)
    told = list(table(story(capture), timed=False))
    assert all(line.isprintable() for line in told)
    assert any(r"\x1b[2J\r\n\xff" in line for line in told)


def test_the_table_leaves_nothing_that_a_terminal_would_obey():
    [line] = table([Row(0.0, "frame", "agent", "ACK", "\x1b[2J")], timed=True)
    assert line.endswith(r"\x1b[2J")


def test_a_delayed_frame_is_shown_at_the_time_it_is_passed():
    its_disconnect = frames.disconnect(frame.AGENT_DISCONNECT, 9, b"bye")
    capture = Capture([
        Chunk(0.0, H, 0, inward=True, data=frames.haproxy_hello()), Chunk(0.1, A, 0, inward=True, data=frames.agent_hello()),
        Chunk(0.2, H, 0, inward=True, data=notify(1)), Chunk(0.3, A, 0, inward=True, data=its_disconnect),
        Chunk(0.4, A, 0, inward=True, data=ack(notify(1))),
    ])  # fmt: skip
    rows = story(capture)
    [late] = [row for row in rows if row.what == "to haproxy: AGENT-DISCONNECT"]
    assert late.at == 0.4
    assert late.text == 'status-code=9 message="bye" (as it came before)'
    assert not [row for row in rows if row.what == "to haproxy: ACK"]  # that is passed as it comes


def test_of_a_flood_every_frame_is_judged():
    [capture] = read.parse(BOTH)
    capture.chunks.append(Chunk(9.0, A, 0, inward=True, data=RUNT * 2 * FRAMES_A_TURN))
    assert [sent for sent in kinds(capture) if sent[0] == "anomaly"] == [SAID[-1]] * (2 * FRAMES_A_TURN + 1)


@pytest.mark.parametrize(("encoding", "sent"), [("utf-8", 'message="\xeb\u4e2d"'), ("latin-1", 'message="\xeb\\u4e2d"')])
def test_the_command_escapes_what_the_terminal_has_no_character_for(tmp_path, encoding, sent):
    its_disconnect = frames.disconnect(frame.AGENT_DISCONNECT, message="\xeb\u4e2d".encode())
    (tmp_path / "capture").write_bytes(frames.haproxy_hello() + frames.agent_hello() + its_disconnect)
    command = [sys.executable, "-m", "spoe_guard", "decode", str(tmp_path / "capture")]
    told = subprocess.run(
        command, env=environment({"PYTHONIOENCODING": encoding}), capture_output=True, timeout=RUN_S, check=True
    )
    assert sent in told.stdout.decode(encoding)


def test_the_command_says_what_is_wrong_in_one_line(tmp_path):
    (tmp_path / "f").write_bytes(b"nothing")
    for arguments in (
        ["decode", str(tmp_path / "f")],
        ["decode", str(tmp_path / "none")],
        ["decode", "--route", "1", str(tmp_path / "f")],
    ):
        done = spoe_guard(*arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert len(done.stderr.splitlines()) == 1
        assert done.stderr.startswith("spoe-guard: ")


def test_the_command_judges_by_the_settings_it_is_given(tmp_path):
    (tmp_path / "capture").write_bytes(BOTH)
    (tmp_path / "guard.yaml").write_text("routes: [{}, {name: b, listen: 'h:1', policy: {runt_frame: close}}]")
    ends = {}
    for route in ("0", "1"):
        done = spoe_guard("decode", "--config", str(tmp_path / "guard.yaml"), "--route", route, str(tmp_path / "capture"))
        assert done.returncode == 0, done.stderr
        [ends[route]] = [line.split("  ")[-1] for line in done.stdout.splitlines() if "runt_frame" in line]
    assert ends["0"].startswith("drop: ")
    assert ends["1"].startswith("close: ")


def test_the_guards_own_output_is_no_part_of_what_the_peers_sent():
    capture = Capture([Chunk(T, H, 0, inward=True, data=BOTH[:9]), Chunk(T, Side.AGENT, 0, inward=False, data=BOTH)])
    assert [chunk.inward for chunk in capture.heard()] == [True]
