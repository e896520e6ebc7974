"""An anomaly's bytes in words: whole, cut anywhere, malformed, or no frame at all."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spoe_guard.observe.live.frames import MAX_LINES, explain
from spoe_guard.wire import actions, frame, kv, messages, typed_data, walk
from spoe_guard.wire.typed_data import BIN, BOOL, INT32, IPV4, NULL, STR, UINT32

NOTIFY = frame.encode(
    frame.NOTIFY,
    7,
    1,
    messages.encode(
        [
            messages.Message(
                b"check", [kv.Pair(b"ip", IPV4, ipaddress.IPv4Address("192.0.2.1")), kv.Pair(b"", BIN, b"\x00\xff")]
            ),
            messages.Message(b"one", [kv.Pair(b"ok", BOOL, True)]),
        ]
    ),
)
ACK = frame.encode(
    frame.ACK,
    7,
    1,
    actions.set_var(walk.SCOPE_TXN, b"score", INT32, -3)
    + actions.set_var(walk.SCOPE_SESS, b"who", STR, b"Zo\xc3\xab\x1b[2J")
    + actions.set_var(walk.SCOPE_REQ, b"none", NULL, None)
    + actions.unset_var(walk.SCOPE_PROC, b"old"),
)
GOODBYE = frame.encode(
    frame.AGENT_DISCONNECT, 0, 0, kv.encode([kv.Pair(b"status-code", UINT32, 3), kv.Pair(b"message", STR, b"too big")])
)

WHOLE = [
    (
        NOTIFY,
        [
            f"NOTIFY stream-id 7 frame-id 1, length {len(NOTIFY) - 4}, FIN",
            '  message "check", 2 arguments',
            '    "ip" = ipv4 192.0.2.1',
            '    "" = bin 00 ff',
            '  message "one", 1 argument',
            '    "ok" = bool true',
        ],
    ),
    (
        ACK,
        [
            f"ACK stream-id 7 frame-id 1, length {len(ACK) - 4}, FIN",
            '  set-var txn."score" = int32 -3',
            '  set-var sess."who" = str "Zoë\\x1b[2J"',
            '  set-var req."none" = null',
            '  unset-var proc."old"',
        ],
    ),
    (
        GOODBYE,
        [
            f"AGENT-DISCONNECT stream-id 0 frame-id 0, length {len(GOODBYE) - 4}, FIN",
            '  "status-code" = uint32 3',
            '  "message" = str "too big"',
        ],
    ),
]


@pytest.mark.parametrize(("raw", "lines"), WHOLE, ids=["notify", "ack", "disconnect"])
def test_a_whole_frame_is_told_to_its_last_byte(raw, lines):
    assert explain(raw) == lines


def test_without_values_names_types_and_lengths_are_left():
    assert explain(NOTIFY, values=False)[1:] == [
        '  message "check", 2 arguments',
        '    "ip" = ipv4',
        '    "" = bin of 2 bytes',
        '  message "one", 1 argument',
        '    "ok" = bool',
    ]
    assert explain(ACK, values=False)[1:3] == ['  set-var txn."score" = int32', '  set-var sess."who" = str of 8 bytes']
    assert explain(b"secret", values=False) == ["no frame can be read from 6 bytes"]
    unread = frame.encode(frame.ACK, 1, 1, b"\x07secret")
    assert explain(unread, values=False)[1:] == ["  7 bytes that cannot be read"]


@pytest.mark.parametrize(
    ("raw", "lines"),
    [
        (b"", ["no bytes of its own"]),
        (b"GET / HTTP/1.1\r\n", ['no frame can be read from 16 bytes: "GET / HTTP/1.1\\r\\n"']),
        (bytes(4), ['no frame can be read from 4 bytes: "\\x00\\x00\\x00\\x00"']),
        (
            frame.encode(42, 1, 1),
            ['no frame can be read from 11 bytes: "' + "\\x00\\x00\\x00\\x07*\\x00\\x00\\x00\\x01\\x01\\x01" + '"'],
        ),
        (frame.encode(frame.ACK, 1, 1, flags=0), ["ACK stream-id 1 frame-id 1, length 7, no FIN"]),
        (frame.encode(frame.ACK, 1, 1, flags=7), ["ACK stream-id 1 frame-id 1, length 7, FIN ABRT flags 0x4"]),
        (
            frame.encode(frame.UNSET, 1, 1, b"ab"),
            ["UNSET stream-id 1 frame-id 1, length 9, FIN", "  2 bytes that cannot be read: 61 62"],
        ),
        (
            frame.encode(frame.ACK, 1, 1, b"\x07"),
            ["ACK stream-id 1 frame-id 1, length 8, FIN", "  1 byte that cannot be read: 07"],
        ),
    ],
)
def test_what_cannot_be_read_is_said(raw, lines):
    assert explain(raw) == lines


@pytest.mark.parametrize("raw", [NOTIFY, ACK, GOODBYE], ids=["notify", "ack", "disconnect"])
def test_a_frame_cut_anywhere_is_told_as_far_as_it_goes(raw):
    whole = explain(raw)
    told = 0
    for end in range(frame.IDS_AT + 2, len(raw)):
        *lines, last = explain(raw[:end])
        missing = len(raw) - end
        assert last == f"  {missing} byte{'s' if missing > 1 else ''} more than kept here"
        assert lines == whole[: len(lines)]
        told = max(told, len(lines))
    assert told >= len(whole) - 1  # all but the last


def test_bytes_behind_the_frame_are_not_its_own():
    assert explain(ACK + b"behind") == explain(ACK)


def ack_of(actions_count: int) -> bytes:
    return frame.encode(frame.ACK, 1, 1, actions.unset_var(walk.SCOPE_TXN, b"x") * actions_count)


def test_lines_are_bounded():
    assert len(explain(ack_of(MAX_LINES - 1))) == MAX_LINES
    assert explain(ack_of(MAX_LINES))[MAX_LINES - 1 :] == ['  unset-var txn."x"', "..."]


@pytest.mark.parametrize(("length", "shown"), [(64, "x" * 64), (65, "x" * 64 + "...")])
def test_one_value_is_bounded(length, shown):
    raw = frame.encode(frame.ACK, 1, 1, actions.set_var(walk.SCOPE_TXN, b"v", typed_data.STR, b"x" * length))
    assert explain(raw)[1] == f'  set-var txn."v" = str "{shown}"'


headers = st.builds(
    frame.encode,
    st.sampled_from([*frame.TYPE_NAMES, 42]),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**64 - 1),
    st.binary(max_size=60) | st.just(NOTIFY[11:]) | st.just(ACK[11:]),
    st.integers(0, 2**32 - 1),
)


@given(headers | st.binary(max_size=80), st.integers(0, 90), st.booleans())
def test_nothing_a_peer_writes_raises_or_moves_a_terminal(raw, end, values):
    lines = explain(raw[:end], values=values)
    assert lines
    assert all(line.isprintable() for line in lines)
