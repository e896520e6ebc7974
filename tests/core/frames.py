"""Frames for the tests, written by hand from SPOE.txt: action lists, HELLOs, DISCONNECTs, and malformed ones."""

from collections.abc import Iterator

from spoe_guard.wire import frame, kv, typed_data
from spoe_guard.wire.frame import FLAG_ABRT, FLAG_FIN, FrameType

SET_VAR = bytes((1, 3, 2)) + b"\x07allowed" + b"\x11"  # set-var txn "allowed" true
UNSET_VAR = bytes((2, 2, 2)) + b"\x04gone"  # unset-var txn "gone"
NOP = bytes((2, 2, 2)) + b"\x0espoe_guard_nop"  # what the guard says where it has to answer
LONG_NAME = bytes((2, 2, 2, 58)) + b"n" * 58  # unset-var: txn.p.nnn... has 64 bytes
PROC = bytes((1, 3, 0)) + b"\x04deny" + b"\x11"  # set-var proc "deny" true
MESSAGE = b"\x05check\x01\x02ip\x06\x7f\x00\x00\x01"  # message "check" with ip=127.0.0.1
SIZE = 16380
SHOWN = 16368  # of it the agent is offered: 16 bytes of HAProxy's buffer stay free

ENDLESS = b"\xf0" + b"\x80" * 12  # an integer that does not end


def ids(text: str) -> tuple[int, int]:
    """Return (stream-id, frame-id) of "7.1"."""
    stream_id, _, frame_id = text.partition(".")
    return int(stream_id), int(frame_id)


def notify(at: str = "1.1", payload: bytes = MESSAGE, flags: int = FLAG_FIN) -> bytes:
    return frame.encode(FrameType.NOTIFY, *ids(at), payload, flags)


def unset(at: str = "1.1", payload: bytes = b"", flags: int = FLAG_FIN) -> bytes:
    return frame.encode(FrameType.UNSET, *ids(at), payload, flags)


def ack(at: str = "1.1", payload: bytes = SET_VAR, flags: int = FLAG_FIN) -> bytes:
    return frame.encode(FrameType.ACK, *ids(at), payload, flags)


def pairs(**named: bytes | int | bool | None) -> bytes:
    """Return a list of keys: bytes become STR, int UINT32, bool BOOL, None NULL. ``max_frame_size`` names max-frame-size."""
    kinds = {bytes: typed_data.STR, int: typed_data.UINT32, bool: typed_data.BOOL, type(None): typed_data.NULL}
    return kv.encode([kv.Pair(name.replace("_", "-").encode(), kinds[type(value)], value) for name, value in named.items()])


def haproxy_hello(**changes: bytes | int | bool | None) -> bytes:
    """HAPROXY-HELLO as HAProxy 3.x says it; ``changes`` lay other values over it."""
    keys = {"supported_versions": b"2.0", "max_frame_size": SIZE, "capabilities": b"pipelining", "engine_id": b"e1"}
    return frame.encode(FrameType.HAPROXY_HELLO, payload=pairs(**{**keys, **changes}))


def bare_check(capabilities: bytes = b"", more: bytes = b"") -> bytes:
    """HAPROXY-HELLO of a health check as HAProxy says it, without an engine-id; ``more`` is raw payload behind the keys."""
    keys = pairs(supported_versions=b"2.0", max_frame_size=SIZE, capabilities=capabilities, healthcheck=True)
    return frame.encode(FrameType.HAPROXY_HELLO, payload=keys + more)


def agent_hello(*, without: str = "", more: bytes = b"", flags: int = FLAG_FIN, at: str = "0.0", **changes: bytes | int) -> bytes:
    """AGENT-HELLO; ``without`` leaves a key out, ``more`` is raw payload behind the keys."""
    keys: dict[str, bytes | int] = {"version": b"2.0", "max_frame_size": SHOWN, "capabilities": b"pipelining"}
    kept = {name: value for name, value in {**keys, **changes}.items() if name != without}
    return frame.encode(FrameType.AGENT_HELLO, *ids(at), pairs(**kept) + more, flags)


def shown_hello(capabilities: bytes = b"pipelining", **changes: bytes | int) -> bytes:
    """AGENT-HELLO as HAProxy gets it: the guard takes fragments, whatever the agent can do."""
    return agent_hello(capabilities=b",".join(filter(None, (capabilities, b"fragmentation"))), **changes)


def disconnect(type_: int, status: int | None = 0, message: bytes = b"normal", at: str = "0.0", flags: int = FLAG_FIN) -> bytes:
    keys: dict[str, bytes | int] = {} if status is None else {"status_code": status}
    return frame.encode(type_, *ids(at), pairs(**keys, message=message), flags)


def agent_disconnect(status: int | None = 0, message: bytes = b"normal", at: str = "0.0", flags: int = FLAG_FIN) -> bytes:
    return disconnect(FrameType.AGENT_DISCONNECT, status, message, at, flags)


def haproxy_disconnect(status: int | None = 0, message: bytes = b"normal", at: str = "0.0", flags: int = FLAG_FIN) -> bytes:
    return disconnect(FrameType.HAPROXY_DISCONNECT, status, message, at, flags)


def sized(type_: int, length: int, at: str = "1.1") -> bytes:
    """Return a well-formed NOTIFY or ACK of exactly ``length`` bytes behind the prefix."""
    head = MESSAGE[:6] + b"\x01\x03pad" if type_ == FrameType.NOTIFY else bytes((1, 3, 2)) + b"\x03pad"
    empty = frame.encode(type_, *ids(at), head + bytes((typed_data.STR,)))
    room = length + frame.LENGTH_BYTES - len(empty)
    text = next(room - prefix for prefix in (1, 2, 3) if len(typed_data.encode_string(b"x" * (room - prefix))) == room)
    whole = frame.encode(type_, *ids(at), head + typed_data.encode_value(typed_data.STR, b"x" * text))
    assert len(whole) == frame.LENGTH_BYTES + length
    return whole


def raw(body: bytes) -> bytes:
    """Return ``body`` behind its length."""
    return len(body).to_bytes(4, "big") + body


def cut(stream: bytes) -> Iterator[frame.Frame]:
    """Return the frames of ``stream``, which must be whole, of legal length, and with ids that parse."""
    pos = 0
    while pos < len(stream):
        length = int.from_bytes(stream[pos : pos + 4], "big")
        assert length >= 7, f"a runt frame was written: {stream[pos:].hex()}"
        assert pos + 4 + length <= len(stream), f"half a frame was written: {stream[pos:].hex()}"
        sent = frame.parse(stream[pos : pos + 4 + length])
        assert sent is not None, f"a frame with bad ids was written: {stream[pos:].hex()}"
        yield sent
        pos += 4 + length


ABRT = FLAG_ABRT
FIN = FLAG_FIN


def _with_status(type_: int, text: str) -> bytes:
    return disconnect(type_, int(text or 0))


# How a script names frames: the type, and what stands behind it.
HELLOS: dict[str, dict[str, bytes | bool]] = {
    "": {},
    "check": {"healthcheck": True, "capabilities": b""},
    "applet": {"capabilities": b"pipelining,async"},  # HAProxy up to 3.0
}
AGENT_HELLOS: dict[str, dict[str, bytes]] = {
    "": {},
    "check": {"capabilities": b""},
    "async": {"capabilities": b"pipelining,async"},
}
NAMED = {
    "HAPROXY_HELLO": lambda text: haproxy_hello(**HELLOS[text]),
    "AGENT_HELLO": lambda text: agent_hello(**AGENT_HELLOS[text]),
    "NOTIFY": notify,
    "ACK": ack,
    "UNSET": unset,
    "HAPROXY_DISCONNECT": lambda text: _with_status(FrameType.HAPROXY_DISCONNECT, text),
    "AGENT_DISCONNECT": lambda text: _with_status(FrameType.AGENT_DISCONNECT, text),
}
