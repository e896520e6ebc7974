"""The text form of a frame: whole, truncated anywhere, malformed, or not a frame."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spoe_guard.observe.frame_text import MAX_LINES, MAX_VALUE, describe, explain, name_text, quoted, type_name
from spoe_guard.wire import actions, frame, kv, messages, walk
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
DISCONNECT = frame.encode(
    frame.AGENT_DISCONNECT, 0, 0, kv.encode([kv.Pair(b"status-code", UINT32, 3), kv.Pair(b"message", STR, b"too big")])
)

WHOLE = [
    (
        NOTIFY,
        [
            f"NOTIFY stream-id 7 frame-id 1, length {len(NOTIFY) - 4}, FIN",
            "  message check, 2 arguments",
            "    ip = ipv4 192.0.2.1",
            '    "" = bin 0x00ff',
            "  message one, 1 argument",
            "    ok = bool true",
        ],
    ),
    (
        ACK,
        [
            f"ACK stream-id 7 frame-id 1, length {len(ACK) - 4}, FIN",
            "  set-var txn.score = int32 -3",
            '  set-var sess.who = str "Zoë\\x1b[2J"',
            "  set-var req.none = null",
            "  unset-var proc.old",
        ],
    ),
    (
        DISCONNECT,
        [
            f"AGENT-DISCONNECT stream-id 0 frame-id 0, length {len(DISCONNECT) - 4}, FIN",
            "  status-code = uint32 3",
            '  message = str "too big"',
        ],
    ),
]


@pytest.mark.parametrize(("raw", "lines"), WHOLE, ids=["notify", "ack", "disconnect"])
def test_a_whole_frame_is_told_to_its_last_byte(raw, lines):
    assert explain(raw) == lines


def test_without_values_types_lengths_and_counts_are_left():
    assert explain(NOTIFY, values=False)[1:] == [
        "  message, 2 arguments",
        "    name of 2 bytes = ipv4",
        "    name of 0 bytes = bin of 2 bytes",
        "  message, 1 argument",
        "    name of 2 bytes = bool",
    ]
    assert explain(ACK, values=False)[1:] == [
        "  set-var txn of 5 bytes = int32",
        "  set-var sess of 3 bytes = str of 8 bytes",
        "  set-var req of 4 bytes = null",
        "  unset-var proc of 3 bytes",
    ]
    assert explain(DISCONNECT, values=False)[1:] == ["  status-code = uint32 3", "  message = str of 7 bytes"]
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
        (frame.encode(frame.ACK, 1, 1, flags=7), ["ACK stream-id 1 frame-id 1, length 7, FIN ABRT reserved 0x4"]),
        (
            frame.encode(frame.UNSET, 1, 1, b"ab"),
            ["UNSET stream-id 1 frame-id 1, length 9, FIN", "  2 bytes: 0x6162"],
        ),
        (
            frame.encode(frame.ACK, 1, 1, b"\x07"),
            ["ACK stream-id 1 frame-id 1, length 8, FIN", "  1 byte that cannot be read: 0x07"],
        ),
    ],
)
def test_what_cannot_be_read_is_said(raw, lines):
    assert explain(raw) == lines


@pytest.mark.parametrize("raw", [NOTIFY, ACK, DISCONNECT], ids=["notify", "ack", "disconnect"])
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
    assert explain(ack_of(MAX_LINES))[MAX_LINES - 1 :] == ["  unset-var txn.x", "..."]


@pytest.mark.parametrize(
    ("kind", "length", "shown"),
    [
        (STR, MAX_VALUE, f'str "{"x" * MAX_VALUE}"'),
        (STR, MAX_VALUE + 1, f'str "{"x" * MAX_VALUE}"...'),
        (BIN, MAX_VALUE, f"bin 0x{'78' * MAX_VALUE}"),
        (BIN, MAX_VALUE + 1, f"bin 0x{'78' * MAX_VALUE}..."),
    ],
)
def test_one_value_is_bounded(kind, length, shown):
    raw = frame.encode(frame.ACK, 1, 1, actions.set_var(walk.SCOPE_TXN, b"v", kind, b"x" * length))
    assert explain(raw)[1] == f"  set-var txn.v = {shown}"
    assert described(raw) == f"set-var txn.v={shown.split(' ', 1)[1]}"


# --- one line ------------------------------------------------------------------------------------------------------------


def described(raw: bytes) -> str:
    parsed = frame.parse(raw)
    assert parsed is not None
    return describe(parsed)


TWO = messages.encode([messages.Message(b"a", [kv.Pair(b"n", UINT32, 1), kv.Pair(b"t", BOOL, False)])])


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        (NOTIFY, 'check(ip=192.0.2.1 ""=0x00ff); one(ok=true)'),
        (ACK, r'set-var txn.score=-3; set-var sess.who="Zoë\x1b[2J"; set-var req.none=null; unset-var proc.old'),
        (DISCONNECT, 'status-code=3 message="too big"'),
        (frame.encode(frame.NOTIFY, 1, 1), "no message"),
        (frame.encode(frame.ACK, 1, 1), "no action"),
        (frame.encode(frame.HAPROXY_HELLO), ""),
        (frame.encode(frame.ACK, 1, 1, b"\x07"), "1 byte that cannot be read: 0x07"),
        (
            frame.encode(frame.ACK, 1, 1, actions.unset_var(walk.SCOPE_TXN, b"x") + b"\x07\x08"),
            "unset-var txn.x, and 2 bytes that cannot be read: 0x0708",
        ),
        (frame.encode(frame.NOTIFY, 1, 1, b"\x05ab"), "3 bytes that cannot be read: 0x056162"),
        (frame.encode(frame.NOTIFY, 1, 1, TWO[:-3]), "a(n=1) with 1 of 2 arguments"),
        (frame.encode(frame.NOTIFY, 1, 1, TWO[:-1]), "a(n=1) with 1 of 2 arguments, and 2 bytes that cannot be read: 0x0174"),
        (frame.encode(frame.NOTIFY, 1, 1, TWO[:-1], flags=0), "a(n=1) with 1 of 2 arguments, and 2 bytes: 0x0174 [no FIN]"),
        (frame.encode(frame.UNSET, 1, 1, b"ab", flags=3), "2 bytes: 0x6162 [FIN ABRT]"),
        (frame.encode(42, 1, 1, b"ab", flags=5), "2 bytes: 0x6162 [FIN reserved 0x4]"),
        (frame.encode(frame.ACK, 1, 1, flags=2), "no action [ABRT]"),
    ],
)
def test_one_line_tells_the_payload_and_flags_that_are_not_fin_alone(raw, line):
    assert described(raw) == line


def test_types_have_haproxys_names_or_their_numbers():
    assert (type_name(frame.HAPROXY_DISCONNECT), type_name(42)) == ("HAPROXY-DISCONNECT", "type 42")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (b"status-code", "status-code"),
        (b"", '""'),
        (b"a=b c", '"a=b c"'),
        (b'a"\\n', r'"a\"\\n"'),
        (b"\n", r'"\n"'),
        (b"\xff", r'"\xff"'),
        ("\u202e".encode(), r'"\u202e"'),
        (b"x" * MAX_VALUE, "x" * MAX_VALUE),
        (b"x" * (MAX_VALUE + 1), f'"{"x" * MAX_VALUE}"...'),
    ],
)
def test_a_name_that_nobody_would_choose_is_in_quotes_and_escaped(name, text):
    assert name_text(name) == text


@pytest.mark.parametrize(
    ("one", "other"), [(b"\n", rb"\n"), (b"\xff", rb"\xff"), (b'"', rb"\""), ("\u202e".encode(), rb"\u202e")]
)
def test_what_is_escaped_is_told_otherwise_than_a_text_that_looks_so(one, other):
    assert quoted(one) != quoted(other)


# --- both ----------------------------------------------------------------------------------------------------------------


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


@given(headers)
def test_nothing_of_a_whole_frame_raises_or_moves_a_terminal(raw):
    assert described(raw).isprintable()
