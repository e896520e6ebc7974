import pytest

from spoe_guard.core.payloads import disconnect as disconnects
from spoe_guard.core.payloads.disconnect import MOST_KEYS, Disconnect
from spoe_guard.wire import frame, kv, typed_data
from spoe_guard.wire.frame import FrameType
from tests.core import frames
from tests.core.frames import agent_disconnect, pairs


def bye(payload: bytes) -> Disconnect:
    sent = frame.parse(frame.encode(FrameType.AGENT_DISCONNECT, payload=payload))
    assert sent is not None
    return Disconnect(sent)


def keys(*named: tuple[bytes, int, typed_data.Value]) -> bytes:
    return kv.encode([kv.Pair(name, kind, value) for name, kind, value in named])


def status(value: int, kind: int = typed_data.UINT32) -> bytes:
    return keys((b"status-code", kind, value), (b"message", typed_data.STR, b"m"))


CASES = [
    # name                            payload                                               readable fit   status  text
    ("as it should be",               pairs(status_code=4, message=b"broken"),               True,  True,  4,      "broken"),
    ("any integer type",              status(5, typed_data.INT64),                           True,  True,  5,      "m"),
    ("a key nobody asked for",        pairs(status_code=4, message=b"m", note=b"n"),         True,  True,  4,      "m"),
    ("the longest message",           pairs(status_code=4, message=b"x" * 200),              True,  True,  4,      "x" * 200),
    ("one byte longer",               pairs(status_code=4, message=b"x" * 201),              True,  False, 4,      "x" * 200),
    ("the highest status",            status(99),                                            True,  True,  99,     "m"),
    ("a higher one is not its fault", status(100),                                           True,  True,  100,    "m"),
    ("below zero",                    status(-1, typed_data.INT32),                          True,  True,  -1,     "m"),
    ("no status",                     pairs(message=b"m"),                                   True,  False, None,   "m"),
    ("no message",                    pairs(status_code=4),                                  True,  False, 4,      ""),
    ("nothing",                       b"",                                                   True,  False, None,   ""),
    ("status as text",                pairs(status_code=b"4", message=b"m"),                 True,  False, None,   "m"),
    ("status as boolean",             pairs(status_code=True, message=b"m"),                 True,  False, None,   "m"),
    ("message as binary",             keys((b"status-code", 3, 4), (b"message", 9, b"m")),   True,  False, 4,      ""),
    ("status twice",                  status(4) + pairs(status_code=5),                      True,  False, 5,      "m"),
    ("message twice",                 status(4) + pairs(message=b"n"),                       True,  False, 4,      "n"),
    ("a key HAProxy mistakes",        status(4) + pairs(message_id=b"n"),                    True,  False, 4,      "m"),
    ("another one",                   status(4) + pairs(status_codes=5),                     True,  False, 4,      "m"),
    ("cut short",                     status(4)[:-1],                                        False, False, 4,      ""),
    ("rubbish behind",                status(4) + b"\xff",                                   False, False, 4,      "m"),
    ("the head of an ACK",            frames.ack()[:9],                                      False, False, None,   ""),
    ("an endless length",             frames.ENDLESS,                                        False, False, None,   ""),
    ("not text", pairs(status_code=4, message=b"\xff\xfe"),             True,  True,  4,      "\ufffd\ufffd"),
]  # fmt: skip


@pytest.mark.parametrize(("payload", "readable", "fit", "code", "text"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_what_a_disconnect_says(payload: bytes, readable: bool, fit: bool, code: int | None, text: str) -> None:
    sent = bye(payload)
    assert (sent.readable, sent.fit, sent.status, sent.message) == (readable, fit, code, text)


@pytest.mark.parametrize(
    ("raw", "passable"),
    [
        (agent_disconnect(), True),
        (agent_disconnect(at="1.0"), False),
        (agent_disconnect(at="0.1"), False),
        (agent_disconnect(flags=0), False),
        (agent_disconnect(flags=3), False),
        (agent_disconnect(message=b"x" * 201), False),
    ],
)
def test_a_disconnect_is_passable_only_with_valid_payload_flags_and_ids(raw: bytes, passable: bool) -> None:
    sent = frame.parse(raw)
    assert sent is not None
    assert Disconnect(sent).passable is passable


def test_a_disconnect_is_plain_without_keys_of_its_own() -> None:
    assert bye(pairs(status_code=4, message=b"m")).plain
    assert bye(pairs(status_code=4)).plain
    assert not bye(pairs(status_code=4, message=b"m", note=b"n")).plain


@pytest.mark.parametrize(("sent", "told"), [(0, 0), (13, 13), (99, 99), (100, 99), (2**63, 99), (-1, 99), (None, 99)])
def test_a_status_haproxy_cannot_stand_becomes_unknown(sent: int | None, told: int) -> None:
    assert disconnects.clamp(sent) == told


@pytest.mark.parametrize("type_", [FrameType.AGENT_DISCONNECT, FrameType.HAPROXY_DISCONNECT])
@pytest.mark.parametrize("code", [0, 2, 3, 4, 8, 13, 42, 99])
def test_what_is_authored_is_passable(type_: int, code: int) -> None:
    sent = frame.parse(disconnects.encode(type_, code))
    assert sent is not None
    word = Disconnect(sent)
    assert (sent.type, word.status, word.passable) == (type_, code, True)
    assert word.message == disconnects.MEANINGS.get(code, "unknown error")


@pytest.mark.parametrize("message", ["x" * 200, "x" * 201, "\ufffd" * 200, "\u00e9" * 150])
def test_an_authored_message_is_never_longer_than_haproxy_takes(message: str) -> None:
    sent = frame.parse(disconnects.encode(FrameType.AGENT_DISCONNECT, 1, message))
    assert sent is not None
    assert Disconnect(sent).fit


def many(count: int) -> bytes:
    """A payload of so many keys: the two of SPOE.txt, and others behind them."""
    return status(4) + pairs(note=b"n") * (count - 2)


def test_a_disconnect_with_as_many_keys_as_are_read_is_passable() -> None:
    sent = bye(many(MOST_KEYS))
    assert (sent.readable, sent.longer, sent.passable, sent.status) == (True, False, True, 4)


@pytest.mark.parametrize("behind", [b"", b"\xff", pairs(status_code=5)])
def test_a_disconnect_with_one_key_more_is_written_anew(behind: bytes) -> None:
    sent = bye(many(MOST_KEYS) + pairs(note=b"n") + behind)
    assert (sent.readable, sent.longer, sent.passable, sent.status, sent.message) == (True, True, False, 4, "m")
    assert sent.oddity == f"it has more than {MOST_KEYS} keys"


def test_keys_without_a_name_are_no_list_however_many() -> None:
    assert not bye(bytes(2 * MOST_KEYS + 2)).readable
