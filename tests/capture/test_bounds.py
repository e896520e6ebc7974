"""Any file is decoded in time and memory that grow no faster than it, up to bounds that are said."""

import json
import struct
import sys
import tracemalloc

import pytest

from spoe_guard.capture.files import cut, model, pcapng_in, read
from spoe_guard.capture.files.model import CaptureError
from spoe_guard.capture.tell import commands
from spoe_guard.capture.tell.script import script
from spoe_guard.core.terms.anomalies import Side
from spoe_guard.core.terms.config import SessionConfig
from spoe_guard.lab import frames
from tests.capture.scenes import ack, notify
from tests.capture.test_read import between, to_agent, to_haproxy

HELLO = frames.haproxy_hello()
NOTIFY = notify(1)


def calls(work):
    """Return how many functions ``work`` calls."""
    count = 0

    def counted(_frame, event, _arg):
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(counted)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def reversed_segments(count):
    segments = [to_agent(0.1, 1 + len(HELLO) + 4 * at, NOTIFY[:4]) for at in range(count)]
    return between(to_agent(0, 1, HELLO), *reversed(segments))


def talk(count):
    """A conversation in which each NOTIFY is answered before the next one is sent."""
    packets, up, down = (
        [to_agent(0, 1, HELLO), to_haproxy(0.1, 1, frames.agent_hello())],
        1 + len(HELLO),
        1 + len(frames.agent_hello()),
    )
    for number in range(count):
        asked = notify(number)
        packets += [to_agent(number + 1, up, asked), to_haproxy(number + 1.5, down, ack(asked))]
        up, down = up + len(asked), down + len(ack(asked))
    return between(*packets)


def out_of_order(count):
    data = reversed_segments(count)
    return lambda: read.parse(data)


def behind_a_gap(count):
    data = NOTIFY * count + b"\xff" * 20  # frames up to the last of them, which is none: so none begins there
    return lambda: cut.first_frame(data)


def timed_script(count):
    [capture] = read.parse(talk(count))
    return lambda: script(capture, Side.HAPROXY)


def untimed_script(count):
    [capture] = read.parse(HELLO + frames.agent_hello() + (NOTIFY + ack(NOTIFY)) * count)
    return lambda: script(capture, Side.AGENT)


WORK = [out_of_order, behind_a_gap, timed_script, untimed_script]


@pytest.mark.parametrize("work", WORK)
def test_twice_as_much_is_no_more_than_twice_the_work(work):
    few, many = (calls(work(count)) for count in (200, 400))
    assert few > 200
    assert many < 2.2 * few


MIB = 1 << 20


@pytest.mark.parametrize(
    "data",
    [b"00" * (MIB // 2), bytes(MIB), b"\n" * MIB + b"{", (HELLO + NOTIFY).hex(" ").encode() * (MIB // 400)],
    ids=["hex", "zeros", "empty lines", "hex with blanks"],
)
def test_reading_takes_a_few_times_the_memory_of_the_file(monkeypatch, data):
    monkeypatch.setattr(read, "MOST_CHUNKS", 1000)
    tracemalloc.start()
    try:
        with pytest.raises(CaptureError):
            read.parse(data)
        assert tracemalloc.get_traced_memory()[1] < 8 * len(data)
    finally:
        tracemalloc.stop()


def record(**more):
    return json.dumps({"from_haproxy": HELLO.hex(), "from_agent": frames.agent_hello().hex()} | more).encode()


def blocks(data):
    """Return the blocks of a pcapng file."""
    found, at = [], 0
    while at < len(data):
        size = struct.unpack_from("<I", data, at + 4)[0]
        found.append(data[at : at + size])
        at += size
    return found


def with_interface_option(code, value):
    """A file whose interface has this option."""
    section, interface, *rest = blocks(between(to_agent(0, 1, HELLO)))
    option = struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4) + bytes(4)
    size = 20 + len(option)
    interface = interface[:4] + struct.pack("<I", size) + interface[8:16] + option + struct.pack("<I", size)
    return section + interface + b"".join(rest)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'{"from_haproxy": ' + b"[" * 100_000, "RecursionError"),
        (with_interface_option(4, b"\1\2\3"), "not a whole pcapng file: packed IP wrong length"),  # if_IPv4addr has 8 bytes
        (with_interface_option(9, b"\xff"), "not a whole pcapng file"),  # if_tsresol, which the library knows and cannot read
    ],
    ids=["deep JSON", "an address of three bytes", "a clock of its own"],
)
def test_what_the_libraries_raise_is_one_line(data, said):
    with pytest.raises(CaptureError) as error:
        read.parse(data)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


BIG = between(to_agent(0, 1, HELLO), to_haproxy(0.1, 1, frames.agent_hello()))  # a section, an interface and two packets
BOUNDS = [
    (read, "MOST_CHUNKS", 2, HELLO + frames.agent_hello(), "more than 1 frames"),
    (read, "MOST_CHUNKS", len(read.parse(record())[0].chunks), record(), "line 1: more than"),
    (read, "MAX_LINE_BYTES", len(record()), record(), "line 1: longer than"),
    (pcapng_in, "MOST_CHUNKS", len(blocks(BIG)), BIG, "more than 3 packets"),
    (pcapng_in, "MOST_BLOCK_BYTES", max(map(len, blocks(BIG))), BIG, "a block of"),
    (pcapng_in, "MOST_INTERFACES", 1, BIG, "more than 0 interfaces"),
]


@pytest.mark.parametrize(("module", "name", "bound", "data", "said"), BOUNDS, ids=[f"{case[1]} {case[4]}" for case in BOUNDS])
def test_a_file_at_its_bound_is_read_and_one_past_is_not(monkeypatch, module, name, bound, data, said):
    monkeypatch.setattr(module, name, bound)
    assert len(read.parse(data)) == 1
    monkeypatch.setattr(module, name, bound - 1)
    with pytest.raises(CaptureError) as error:
        read.parse(data)
    assert said in str(error.value)


@pytest.mark.parametrize("as_json", [False, True])
def test_so_many_lines_are_told_and_then_that_there_are_more(tmp_path, monkeypatch, as_json):
    (tmp_path / "talk").write_bytes(HELLO + frames.agent_hello() + NOTIFY + ack(NOTIFY))
    told = list(commands.decode(str(tmp_path / "talk"), SessionConfig(), as_json=as_json))
    monkeypatch.setattr(commands, "MOST_ROWS", len(told))
    assert list(commands.decode(str(tmp_path / "talk"), SessionConfig(), as_json=as_json)) == told
    monkeypatch.setattr(commands, "MOST_ROWS", len(told) - 1)
    *some, last = commands.decode(str(tmp_path / "talk"), SessionConfig(), as_json=as_json)
    assert some == told[:-1]
    assert f"more than {len(told) - 1} lines; the rest is not told" in last


def test_a_long_write_is_told_as_it_would_be_read():
    """Its rows are not all there at once, and none is lost."""
    many = NOTIFY * 4000
    [capture] = read.parse(HELLO + frames.agent_hello() + NOTIFY)
    capture.chunks[-1].data = many
    told = list(commands._lines([capture], SessionConfig(), as_json=False))
    assert sum(line.split()[:2] == ["haproxy", "NOTIFY"] for line in told) == 4000


def test_the_bound_of_chunks_is_the_same_everywhere():
    assert read.MOST_CHUNKS == pcapng_in.MOST_CHUNKS == model.MOST_CHUNKS
