"""Input to the agents (docs/evidence/agents.md 5): each malformed input, by hand, with and without the guard."""

import asyncio
from dataclasses import dataclass
from typing import Final

from spoe_guard.lab import frames
from spoe_guard.lab.engine import Engine
from spoe_guard.wire import frame, kv, typed_data

SPLIT_S: Final = 0.05
STALL_S: Final = 1.2  # more than criteo waits for the rest of a frame, and less than timeouts.frame
PATIENCE_S: Final = 0.25  # for an answer that may not come
GOOD: Final = frames.haproxy_hello()
NOTIFY: Final = frames.notify(1, 1, b"/bad")
MESSAGE: Final = typed_data.encode_string(b"check")


@dataclass(frozen=True)
class Input:
    """``first`` is sent in place of HAPROXY-HELLO; ``then`` behind a good one and its answer. ``end``: EOF behind it; ``split``:
    a pause behind so many bytes, of ``pause`` seconds.

    ``ends``: the agents whose process it ends with no guard; ``anomalies``: what the guard counts of it, at least;
    ``evidence``: where it is known from.
    """

    id: str
    does: str
    anomalies: str
    first: bytes | None = None
    then: bytes = b""
    end: bool = False
    split: int = 0
    pause: float = SPLIT_S
    ends: str = ""
    evidence: str = "agents 5"


def _notify(payload: bytes) -> bytes:
    return frame.encode(frame.NOTIFY, 1, 1, payload)


def _hello(*changed: kv.Pair) -> bytes:
    """HAPROXY-HELLO with some keys otherwise."""
    pairs = {pair.name: pair for pair in kv.parse(GOOD, 11, len(GOOD))[0]} | {pair.name: pair for pair in changed}
    return frame.encode(frame.HAPROXY_HELLO, payload=kv.encode(list(pairs.values())))


_IPV4: Final = MESSAGE + b"\x01" + typed_data.encode_string(b"path") + bytes((typed_data.IPV4, 127, 0))
_NO_NB_ARGS: Final = MESSAGE
_NAME_ONLY: Final = MESSAGE + b"\x01" + typed_data.encode_string(b"path")
_LONG_STRING: Final = MESSAGE + b"\x01" + typed_data.encode_string(b"path") + bytes((typed_data.STR, 200)) + b"/short"
_ARGUMENT: Final = typed_data.encode_string(b"path") + typed_data.encode_value(typed_data.STR, b"/bad")
_ONE_ARGUMENT: Final = MESSAGE + b"\x01" + _ARGUMENT
_TWO_ARGUMENTS: Final = MESSAGE + b"\x02" + 2 * _ARGUMENT
_TLS: Final = bytes.fromhex("16030100c8010000c40303") + bytes(196)

INPUTS: Final = {
    row.id: row
    for row in (
        Input("I1 length 0", "a frame of length 0 behind HELLO", "runt_frame", then=bytes(4), ends="dropmore-0.0.5"),
        Input(
            "I2 length 1",
            "a frame of length 1 behind HELLO",
            "runt_frame",
            then=bytes((0, 0, 0, 1, frame.NOTIFY)),
            ends="negasus-1.0.5 negasus-1.0.7 dropmore-0.0.5",
        ),
        Input(
            "I3 length above the size",
            "the first five bytes of a frame of 1 MB",
            "",
            then=b"\0\x10\0\0\x03",
            ends="dropmore-0.0.5",
        ),
        Input("I4 HTTP", "GET / HTTP/1.1", "not_spop", first=b"GET / HTTP/1.1\r\nHost: agent\r\n\r\n", ends="dropmore-0.0.5"),
        Input("I5 TLS", "a TLS ClientHello", "not_spop", first=_TLS, ends="dropmore-0.0.5"),
        Input("I6 NOTIFY before HELLO", "a NOTIFY as the first frame", "frame_before_hello", first=NOTIFY),
        Input("I7 second HELLO", "HAPROXY-HELLO again", "hello_repeated", then=GOOD, ends="dropmore-0.0.5"),
        Input("I8 fragment", "a NOTIFY without FIN, and no more of it", "", then=frame.with_flags(NOTIFY, 0)),
        Input("I9 unknown type", "a frame of type 42", "unknown_frame_type", then=frame.encode(42, 1, 1)),
        Input(
            "I10 truncated string",
            "a NOTIFY with a string that says 200 bytes and has 6",
            "bad_varint",
            then=_notify(_LONG_STRING),
        ),
        Input(
            "I11 short IPv4",
            "a NOTIFY with an IPv4 address of two bytes",
            "notify_malformed",
            then=_notify(_IPV4),
            ends="negasus-1.0.5 negasus-1.0.7",
        ),
        Input(
            "I12 name without a value",
            "a NOTIFY whose last argument is a name alone",
            "notify_malformed",
            then=_notify(_NAME_ONLY),
            ends="criteo-1.0.6 criteo-1.0.8",
        ),
        Input(
            "I13 message without NB-ARGS",
            "a NOTIFY that ends behind the message's name",
            "notify_malformed",
            then=_notify(_NO_NB_ARGS),
            ends="criteo-1.0.6 criteo-1.0.8 negasus-1.0.5 negasus-1.0.7 dropmore-0.0.5",
        ),
        Input(
            "I14 endless stream-id",
            "a NOTIFY whose stream-id does not end",
            "bad_varint",
            then=b"\0\0\0\x0c" + bytes((frame.NOTIFY, 0, 0, 0, 1)) + b"\xff" * 7,
            ends="negasus-1.0.5 negasus-1.0.7",
        ),
        Input(
            "I15 mistyped HELLO key",
            "max-frame-size as a string",
            "hello_malformed",
            first=_hello(kv.Pair(b"max-frame-size", typed_data.STR, b"16380")),
            ends="negasus-1.0.5 negasus-1.0.7",
        ),
        Input(
            "I16 mistyped healthcheck",
            "healthcheck as a string",
            "hello_malformed",
            first=_hello(kv.Pair(b"healthcheck", typed_data.STR, b"yes")),
            ends="negasus-1.0.5 negasus-1.0.7",
        ),
        Input(
            "I17 further key in DISCONNECT",
            "HAPROXY-DISCONNECT with a key nobody knows",
            "disconnect_malformed",
            then=frame.encode(
                frame.HAPROXY_DISCONNECT,
                payload=kv.encode(
                    [
                        kv.Pair(b"status-code", typed_data.UINT32, 0),
                        kv.Pair(b"message", typed_data.STR, b"normal"),
                        kv.Pair(b"more", typed_data.BOOL, True),
                    ]
                ),
            ),
            ends="dropmore-0.0.5",
        ),
        Input(
            "I18 EOF inside a frame",
            "half a NOTIFY, and the end of the stream",
            "truncated_frame",
            then=NOTIFY[: len(NOTIFY) // 2],
            end=True,
        ),
        Input(
            "I19 NOTIFY without a message",
            "a NOTIFY with nothing in it",
            "notify_empty",
            then=_notify(b""),
            evidence="F2",
        ),
        Input(
            "I20 NOTIFY above the size",
            "a NOTIFY of 20,000 bytes",
            "oversize_frame",
            then=frames.notify(1, 1, b"/" + b"x" * 20_000),
            evidence="F1",
        ),
        Input(
            "I21 length and body apart",
            "a good NOTIFY in two writes: its length, a pause, the rest",
            "",
            then=NOTIFY,
            split=frame.LENGTH_BYTES,
        ),
        Input(
            "I22 a byte above 0x7F",
            "a good NOTIFY with a string that is not ASCII",
            "",
            then=frames.notify(1, 1, "/caf\u00e9".encode()),
        ),
        Input("I23 the same argument twice", "a good NOTIFY with two arguments of one name", "", then=_notify(_TWO_ARGUMENTS)),
        Input("I24 two messages", "a good NOTIFY with two messages", "", then=_notify(2 * _ONE_ARGUMENT)),
        Input(
            "I25 a stall inside a frame",
            f"a good NOTIFY in two writes with {STALL_S} s between them",
            "",
            then=NOTIFY,
            split=len(NOTIFY) // 2,
            pause=STALL_S,
        ),
        Input(
            "I26 UNSET",
            "a frame of type 0: the rest of fragments of which nothing came before",
            "fragment_refused",
            then=frame.encode(0, 1, 1, _ONE_ARGUMENT),
        ),
    )
}


async def send(row: Input, port: int) -> str:
    """Send it, and say what came back: an answer, the end of the connection, or nothing for a while."""
    async with await Engine.tcp(port, deadline_s=PATIENCE_S) as engine:
        try:
            if row.first is None:
                hello = await engine.hello()
                assert hello is not None
                assert hello.type == frame.AGENT_HELLO
            sent = row.then if row.first is None else row.first
            if row.split:
                await engine.send(sent[: row.split])
                await asyncio.sleep(row.pause)  # the pause is what the row is about
            await engine.send(sent[row.split :])
            if row.end:
                engine._writer.write_eof()
            got = await engine.read()
        except TimeoutError:
            return "no reaction"
        except ConnectionError:
            return "closes"
        return "closes" if got is None else f"says {NAMES.get(got.type, got.type)}"


NAMES: Final = {frame.AGENT_HELLO: "HELLO", frame.AGENT_DISCONNECT: "DISCONNECT", frame.ACK: "ACK"}


async def answers(port: int) -> bool:
    """Whether a healthy connection gets its answer, now."""
    try:
        async with await Engine.tcp(port) as engine:
            hello = await engine.hello()
            await engine.notify(b"/good")
            ack = await engine.read()
            return hello is not None and ack is not None and ack.type == frame.ACK
    except (OSError, TimeoutError):
        return False


def play(row: Input, port: int) -> tuple[str, bool]:
    """Send it; return what came of it and whether the next connection is served."""

    async def both() -> tuple[str, bool]:
        return await send(row, port), await answers(port)

    return asyncio.run(both())
