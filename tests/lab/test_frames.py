"""The lab's frames match those of real peers: against bytes or lengths recorded elsewhere."""

import pytest

from spoe_guard.lab import frames
from spoe_guard.wire import frame, kv

# 36 characters, as every engine-id of HAProxy has: the lengths of the HELLOs below depend on it.
ENGINE_ID = b"01234567-89ab-cdef-0123-456789abcdef"


def test_the_disconnect_of_criteo_is_the_one_its_agents_send():
    # 41 bytes as recorded from a running criteo/haproxy-spoe-go, in two writes of 11 and 30.
    assert frames.CRITEO_DISCONNECT.hex() == (
        "0000002566000000010000" + "0b7374617475732d636f6465" + "0400" + "076d657373616765" + "08066e6f726d616c"
    )
    assert frames.CRITEO_DISCONNECT[frames.CRITEO_HEADER_BYTES :].startswith(b"\x0bstatus-code")


@pytest.mark.parametrize(
    ("hello", "announced"),
    [
        (frames.haproxy_hello(frames.Family.APPLET, engine_id=ENGINE_ID), 129),
        (frames.haproxy_hello(frames.Family.MUX, engine_id=ENGINE_ID), 123),
        (frames.healthcheck_hello(), 78),
    ],
    ids=["applet", "mux", "healthcheck"],
)
def test_a_haproxy_hello_is_as_long_as_haproxys_own(hello, announced):
    assert int.from_bytes(hello[:4], "big") == announced == len(hello) - 4


def test_the_keys_of_haproxy_hello_come_in_haproxys_order():
    def keys(raw):
        hello = frame.parse(raw)
        pairs, end = kv.parse(hello.raw, hello.payload_at, len(hello.raw))
        assert end == len(hello.raw)
        return [pair.name for pair in pairs]

    common = [b"supported-versions", b"max-frame-size", b"capabilities"]
    assert keys(frames.haproxy_hello()) == [*common, b"engine-id"]
    assert keys(frames.healthcheck_hello()) == [*common, b"healthcheck"]


def test_an_ack_carries_the_ids_of_the_notify_it_answers():
    notify = frame.parse(frames.notify(70_000, 3, b"/x"))
    ack = frame.parse(frames.ack(notify, b"payload"))
    assert (ack.type, ack.stream_id, ack.frame_id, ack.payload) == (frame.ACK, 70_000, 3, b"payload")


@pytest.mark.parametrize(
    ("path", "payload"), [(b"/x", None), (b"", b""), (b"", b"\x05check\x00"), (b"", b"\x05check\x01\x01i\x02\x07")]
)
def test_the_first_argument_is_found_or_empty(path, payload):
    raw = frames.notify(1, 1, path) if payload is None else frame.encode(frame.NOTIFY, 1, 1, payload)
    assert frames.first_argument(frame.parse(raw)) == path
