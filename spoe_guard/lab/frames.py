"""The frames of each side of SPOP, as bytes.

Source: SPOE.txt 3.2.4 (HAPROXY-HELLO) to 3.2.9 (AGENT-DISCONNECT); the key order and types are HAProxy's own
(``spoe_prepare_hahello_frame`` up to 3.0, ``mux_spop.c`` ``spop_conn_send_hello`` from 3.1 on).
"""

import enum
from typing import Final

from spoe_guard.wire import actions, frame, kv, messages, typed_data, walk

STATUS_NORMAL: Final = 0

# The DISCONNECT of every criteo/haproxy-spoe-go: its status-code is an INT64, and its header (11 bytes) and payload
# are two writes into a buffer that the goroutine writing ACKs uses as well, without a lock.
CRITEO_DISCONNECT: Final = frame.encode(
    frame.AGENT_DISCONNECT,
    payload=kv.encode(
        [
            kv.Pair(b"status-code", typed_data.INT64, STATUS_NORMAL),
            kv.Pair(b"message", typed_data.STR, b"normal"),
        ]
    ),
)
CRITEO_HEADER_BYTES: Final = 11


@enum.unique
class Family(enum.Enum):
    """The two implementations of SPOP in HAProxy, and the capabilities they offer in HAPROXY-HELLO."""

    APPLET = b"pipelining,async"  # up to 3.0, flt_spoe.c
    MUX = b"pipelining"  # 3.1 and later, mux_spop.c


def haproxy_hello(
    family: Family = Family.APPLET,
    *,
    max_frame_size: int = frame.DEFAULT_MAX_FRAME_SIZE,
    engine_id: bytes = b"5c4b9a7e-0f3d-4c26-8a5b-1d2e3f405162",
) -> bytes:
    """Return HAPROXY-HELLO as that family of HAProxy writes it. ``max_frame_size`` in bytes."""
    pairs = _offer(max_frame_size, family.value)
    return frame.encode(frame.HAPROXY_HELLO, payload=kv.encode([*pairs, kv.Pair(b"engine-id", typed_data.STR, engine_id)]))


def healthcheck_hello(max_frame_size: int = frame.DEFAULT_MAX_FRAME_SIZE) -> bytes:
    """Return the HAPROXY-HELLO of ``option spop-check``: no capability, no engine-id, healthcheck."""
    pairs = _offer(max_frame_size, b"")
    return frame.encode(frame.HAPROXY_HELLO, payload=kv.encode([*pairs, kv.Pair(b"healthcheck", typed_data.BOOL, True)]))  # noqa: FBT003


def _offer(max_frame_size: int, capabilities: bytes) -> list[kv.Pair]:
    return [
        kv.Pair(b"supported-versions", typed_data.STR, b"2.0"),
        kv.Pair(b"max-frame-size", typed_data.UINT32, max_frame_size),
        kv.Pair(b"capabilities", typed_data.STR, capabilities),
    ]


def agent_hello(
    max_frame_size: int = frame.DEFAULT_MAX_FRAME_SIZE, capabilities: bytes = b"pipelining", version: bytes = b"2.0"
) -> bytes:
    """Return AGENT-HELLO. ``max_frame_size`` in bytes."""
    pairs = [
        kv.Pair(b"version", typed_data.STR, version),
        kv.Pair(b"max-frame-size", typed_data.UINT32, max_frame_size),
        kv.Pair(b"capabilities", typed_data.STR, capabilities),
    ]
    return frame.encode(frame.AGENT_HELLO, payload=kv.encode(pairs))


def notify(stream_id: int, frame_id: int, path: bytes) -> bytes:
    """Return a NOTIFY with one message ``check`` and one argument ``path``."""
    return frame.encode(frame.NOTIFY, stream_id, frame_id, check(path))


def check(path: bytes) -> bytes:
    """Return the payload of a NOTIFY: one message ``check`` with one argument ``path``."""
    return messages.encode([messages.Message(b"check", [kv.Pair(b"path", typed_data.STR, path)])])


def ack(to: frame.Frame, payload: bytes) -> bytes:
    """Return the ACK that answers the NOTIFY ``to`` with the action list ``payload``."""
    return frame.encode(frame.ACK, to.stream_id, to.frame_id, payload)


def disconnect(type_: int, status: int = STATUS_NORMAL, message: bytes = b"normal") -> bytes:
    """Return a DISCONNECT: ``type_`` is HAPROXY_DISCONNECT or AGENT_DISCONNECT."""
    pairs = [kv.Pair(b"status-code", typed_data.UINT32, status), kv.Pair(b"message", typed_data.STR, message)]
    return frame.encode(type_, payload=kv.encode(pairs))


def text_verdict(name: bytes, text: bytes) -> bytes:
    """Return an action list that sets the transaction's variable ``name`` to ``text``."""
    return actions.set_var(walk.SCOPE_TXN, name, typed_data.STR, text)


def first_argument(of: frame.Frame) -> bytes:
    """Return the first argument of a NOTIFY's first message if it is text, else empty bytes."""
    found = messages.parse(of.payload)
    value = found[0].args[0].value if found and found[0].args else None
    return value if isinstance(value, bytes) else b""
