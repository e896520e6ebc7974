"""A payload without its names and values still parses, keeps the type and length of each, and keeps its own length."""

import ipaddress
import random

import pytest

from spoe_guard.capture.files.blank import blank
from spoe_guard.lab import frames
from spoe_guard.wire import actions, frame, kv, messages, typed_data, walk
from tests.capture.scenes import RUNT, ack, notify
from tests.core import frames as core_frames

SECRET = b"S3CR3T"
EVERY_KIND = [
    (typed_data.NULL, None, None), (typed_data.BOOL, True, False), (typed_data.BOOL, False, False),
    (typed_data.INT32, 5, 0), (typed_data.INT32, -5, None), (typed_data.UINT32, 100_000, None), (typed_data.INT64, -1, None),
    (typed_data.UINT64, 2**64 - 1, None), (typed_data.IPV4, ipaddress.IPv4Address("10.9.8.7"), ipaddress.IPv4Address(0)),
    (typed_data.IPV6, ipaddress.IPv6Address("2001:db8::1"), ipaddress.IPv6Address(0)),
    (typed_data.STR, SECRET, b"x" * 6), (typed_data.BIN, SECRET * 100, b"x" * 600), (typed_data.STR, b"", b""),
]  # fmt: skip


def one(raw):
    [got] = blank([(raw, False)])
    assert len(got) == len(raw)
    return got


@pytest.mark.parametrize(("kind", "value", "left"), EVERY_KIND)
def test_a_value_of_each_kind_keeps_its_kind_and_its_length_alone(kind, value, left):
    raw = frame.encode(frame.NOTIFY, 9, 3, messages.encode([messages.Message(b"check", [kv.Pair(b"arg", kind, value)] * 2)]))
    found = messages.parse(frame.parse(one(raw)).payload)
    assert [(each.name, [(arg.name, arg.type) for arg in each.args]) for each in found] == [(b"xxxxx", [(b"xxx", kind)] * 2)]
    if left is not None:
        assert found[0].args[1].value == left
    assert kind == typed_data.NULL or len({arg.value for arg in found[0].args}) == 1
    raw = frame.encode(frame.ACK, 9, 3, actions.set_var(walk.SCOPE_TXN, b"name", kind, value) + actions.unset_var(1, b"other"))
    done = one(raw)
    [first, second], stop = actions.parse(done, frame.parse(done).payload_at, len(done))
    assert (first.name, second.name, stop) == (b"xxxx", b"xxxxx", len(done))


def test_integers_say_the_same_whatever_they_were():
    def blanked(value):
        return one(frame.encode(frame.ACK, 1, 1, actions.set_var(2, b"n", typed_data.UINT32, value)))

    assert blanked(1000) == blanked(2000)
    assert blanked(3) == blanked(200)


def test_hello_keeps_protocol_values_and_disconnect_loses_its_message():
    hello = frames.haproxy_hello(engine_id=SECRET)
    assert one(hello) == hello.replace(SECRET, b"x" * 6)
    its_disconnect = frames.disconnect(frame.AGENT_DISCONNECT, 7, SECRET)
    assert one(its_disconnect) == its_disconnect.replace(SECRET, b"x" * 6)


def test_of_hello_only_the_words_of_spop_stay():
    told = {"supported_versions": b"2.0, 1.9", "capabilities": b"async,pipelining"}
    assert one(core_frames.haproxy_hello(**told, engine_id=b"xx")) == core_frames.haproxy_hello(**told, engine_id=b"xx")
    for wrong in (
        {"supported_versions": b"2.0," + SECRET},
        {"capabilities": SECRET},
        {SECRET.decode(): b"1"},
        {"cookie": SECRET},
    ):
        raw = core_frames.haproxy_hello(**wrong)
        assert SECRET not in one(raw)
        assert frame.parse(one(raw)).ids == frame.parse(raw).ids
    mistaken = kv.encode([kv.Pair(b"version" + SECRET, typed_data.STR, b"2.0")])
    assert b"version" + b"x" * 6 in one(frame.encode(frame.AGENT_HELLO, payload=mistaken))


HEADER = b"\0\0\0\x40\x67\0\0\0\x01"  # of an ACK of 64 bytes


@pytest.mark.parametrize(
    ("raw", "kept"),
    [
        (HEADER + b"\x01\x02" + SECRET, 11),  # part of a frame, with its ids
        (HEADER + b"\x01", 9),  # without
        (HEADER + b"\xff" * 12 + SECRET, 9),
        (HEADER[:9], 9),
        (HEADER[:8], 4),
        (HEADER[:4] + b"\x2a" + HEADER[5:] + SECRET, 4),  # of no known type
        (HEADER[:5] + b"abc" + HEADER[8:] + SECRET, 4),  # with flags that nobody sets
        (b"\0\0\0\x06" + SECRET, 4),  # a runt: where the header would be stands something else
        (b"\0\0\0\x0c" + 2 * SECRET, 4),  # as long as a frame
        (b"\0\0\0\x0c" + SECRET[:5], 4),
        (b"\0\0", 2),
    ],
)
def test_what_is_no_header_is_blanked_from_behind_the_length_on(raw, kept):
    assert one(raw) == raw[:kept] + b"x" * (len(raw) - kept)


@pytest.mark.parametrize("cut", range(1, 44))
def test_a_frame_in_several_reads_is_one(cut):
    raw = notify(1, SECRET * 5)
    parts = blank([(raw[:cut], False), (raw[cut:], False)])
    assert [len(part) for part in parts] == [min(cut, len(raw)), max(0, len(raw) - cut)]
    assert b"".join(parts) == one(raw)
    assert SECRET not in b"".join(parts)


@pytest.mark.parametrize(
    "raw",
    [
        frame.encode(frame.NOTIFY, 1, 1, b"\x05check\x02" + b"\x01a\x08\x7f" + SECRET),  # ends inside a value
        frame.encode(frame.NOTIFY, 1, 1, notify(1, SECRET)[11:], flags=0),  # a fragment
        frame.encode(42, 1, 1, SECRET),
        frame.encode(frame.ACK, 1, 1, b"\x07" + SECRET),
        notify(1, SECRET)[:-1],  # cut off
        (2**31).to_bytes(4, "big") + SECRET,  # no frame
        b"\0\0\0\x06" + SECRET,  # a runt
        frame.encode(frame.AGENT_DISCONNECT, payload=b"\x07message\x08\x7f" + SECRET),
        b"\0\0\0\x14\x67\0\0\0\x01" + b"\xff" * 9 + SECRET + b"\xff",  # ids that do not end
    ],
)
def test_what_cannot_be_read_is_blanked(raw):
    assert SECRET not in one(raw)
    assert one(raw)[:4] == raw[:4] or raw[0]


def test_behind_a_gap_frames_are_found_again():
    parts = blank([(notify(1), False), (SECRET + notify(3, SECRET), True)])
    assert parts[0] == one(notify(1))
    assert parts[1] == b"x" * 6 + one(notify(3, SECRET))


@pytest.mark.parametrize("seed", range(60))
def test_whatever_comes_nothing_of_a_secret_is_left_and_no_byte_moves(seed):
    chance = random.Random(seed)
    sent = [frames.agent_hello(), notify(3, SECRET), ack(notify(4, SECRET)), RUNT, frames.CRITEO_DISCONNECT]
    raw = b"".join(chance.choices(sent, k=6))
    at = chance.randrange(len(raw))
    raw = raw[:at] + chance.randbytes(chance.randint(0, 4)) + raw[at + chance.randint(0, 4) :]
    marks = sorted(chance.choices(range(len(raw)), k=4))
    parts = [raw[start:end] for start, end in zip([0, *marks], [*marks, len(raw)], strict=True)]
    got = blank([(part, False) for part in parts])
    assert [len(part) for part in got] == [len(part) for part in parts]
    assert SECRET not in b"".join(got)
