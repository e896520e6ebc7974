import pytest
from hypothesis import given
from hypothesis import strategies as st

from spoe_guard.wire import frame, varint, walk
from tests.wire.walking import assert_walks

U64 = (1 << 64) - 1

FRAMES = [
    # name, type, stream-id, frame-id, payload, flags, bytes
    ("ack without action", frame.ACK, 1, 1, b"", 1, "00000007 67 00000001 01 01"),
    ("notify", frame.NOTIFY, 1007, 1, b"\x01m\x00", 1, "0000000b 03 00000001 ff2f 01 016d00"),
    ("disconnect", frame.AGENT_DISCONNECT, 0, 0, b"", 1, "00000007 66 00000001 00 00"),
    ("fragment", frame.UNSET, 2, 3, b"zz", 0, "00000009 00 00000000 02 03 7a7a"),
    ("all flags", frame.ACK, 239, 240, b"", 0xFFFFFFFF, "00000008 67 ffffffff ef f000"),
    ("widest ids", frame.ACK, U64, U64, b"", 1, "00000019 67 00000001" + "fff0fefefefefefefe0e" * 2),
]
IDS = [row[0] for row in FRAMES]


@pytest.mark.parametrize(("type_", "stream_id", "frame_id", "payload", "flags", "hexed"), [r[1:] for r in FRAMES], ids=IDS)
def test_a_frame_is_written_and_read_as_the_spec_says(type_, stream_id, frame_id, payload, flags, hexed):
    raw = bytes.fromhex(hexed)
    assert frame.encode(type_, stream_id, frame_id, payload, flags) == raw
    sent = frame.parse(raw)
    assert sent is not None
    assert (sent.type, sent.stream_id, sent.frame_id, sent.payload, sent.flags) == (type_, stream_id, frame_id, payload, flags)
    assert sent.raw is raw, "the original bytes are kept"
    assert sent.ids == varint.encode(stream_id) + varint.encode(frame_id)
    assert sent.fin is bool(flags & 1)
    assert walk.length_at(raw, 0) == len(raw) - frame.LENGTH_BYTES
    assert walk.length_at(b"\x01" + raw, 1) == len(raw) - frame.LENGTH_BYTES


@pytest.mark.parametrize("hexed", [row[-1] for row in FRAMES], ids=IDS)
def test_ids_are_walked_over(hexed):
    raw = bytes.fromhex(hexed)
    sent = frame.parse(raw)
    assert sent is not None
    assert_walks(walk.ids_end, sent.ids)


BAD_IDS = [
    ("stream-id without end", "f0 80 80 80 80"),
    ("frame-id without end", "01 f0 80"),
    ("no frame-id", "f0 80 00"),
    ("stream-id beyond 64 bits", "ff ff ff ff ff ff ff ff ff 7f 01"),
    ("frame-id beyond 64 bits", "01 f0 80 80 80 80 80 80 80 80 80"),
]


@pytest.mark.parametrize("hexed", [row[1] for row in BAD_IDS], ids=[row[0] for row in BAD_IDS])
def test_a_frame_whose_ids_do_not_parse_is_none(hexed):
    ids = bytes.fromhex(hexed)
    raw = (5 + len(ids)).to_bytes(4, "big") + b"\x67\0\0\0\1" + ids
    assert frame.parse(raw) is None
    assert walk.ids_end(raw, frame.IDS_AT, len(raw)) < 0


@pytest.mark.parametrize("flags", [0, 1, 2, 0xFFFFFFFF])
def test_flags_are_replaced_and_nothing_else(flags):
    raw = frame.encode(frame.ACK, 7, 8, b"payload", flags=0x01020304)
    assert frame.with_flags(raw, flags) == frame.encode(frame.ACK, 7, 8, b"payload", flags=flags)


@pytest.mark.parametrize("payload", [b"", b"x", b"y" * 300])
def test_a_payload_is_replaced_and_the_length_made_to_fit(payload):
    sent = frame.parse(frame.encode(frame.ACK, 700, 8, b"payload", flags=3))
    assert sent is not None
    assert frame.with_payload(sent, payload) == frame.encode(frame.ACK, 700, 8, payload, flags=3)


def test_a_frame_shows_its_type_by_name_or_number():
    known = frame.parse(frame.encode(frame.ACK, 7, 1, b"abc"))
    unknown = frame.parse(frame.encode(42, 7, 1))
    assert repr(known) == "<Frame ACK 7.1 flags=0x1 payload=3>"
    assert repr(unknown) == "<Frame 42 7.1 flags=0x1 payload=0>"


def test_the_plain_numbers_are_those_of_the_enum():
    assert {getattr(frame, member.name): member.name for member in frame.FrameType} == frame.TYPE_NAMES
    assert frame.HAPROXY_TYPES.isdisjoint(frame.AGENT_TYPES)
    assert frame.TYPE_NAMES.keys() == frame.HAPROXY_TYPES | frame.AGENT_TYPES


def test_the_shortest_frame_is_seven_bytes_long():
    assert walk.length_at(frame.encode(frame.ACK, 0, 0), 0) == frame.MIN_LENGTH


@given(st.integers(0, 255), st.integers(0, U64), st.integers(0, U64), st.binary(max_size=60), st.integers(0, 0xFFFFFFFF))
def test_whatever_is_written_is_read_back(type_, stream_id, frame_id, payload, flags):
    sent = frame.parse(frame.encode(type_, stream_id, frame_id, payload, flags))
    assert sent is not None
    assert (sent.type, sent.stream_id, sent.frame_id, sent.payload, sent.flags) == (type_, stream_id, frame_id, payload, flags)


@given(st.binary(min_size=7, max_size=40))
def test_no_body_makes_the_parser_raise_and_what_it_reads_writes_back(body):
    raw = len(body).to_bytes(4, "big") + body
    sent = frame.parse(raw)
    if sent is not None:
        assert frame.encode(sent.type, sent.stream_id, sent.frame_id, sent.payload, sent.flags) == raw
    else:
        assert walk.ids_end(raw, frame.IDS_AT, len(raw)) < 0
