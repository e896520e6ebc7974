"""Reads and writes SPOP from SPOE.txt section 3 alone. Shares no code with the package, which it judges."""

from dataclasses import dataclass
from typing import NamedTuple

FIN, ABRT = 1, 2
UNSET, HAPROXY_HELLO, HAPROXY_DISCONNECT, NOTIFY, AGENT_HELLO, AGENT_DISCONNECT, ACK = 0, 1, 2, 3, 101, 102, 103
INT32 = 2  # of typed data
FROM_AGENT = (AGENT_HELLO, AGENT_DISCONNECT, ACK)
FROM_HAPROXY = (UNSET, HAPROXY_HELLO, HAPROXY_DISCONNECT, NOTIFY)


class UnreadableError(Exception):
    """The bytes are not what they should be."""


class Cursor:
    """Reads ``data`` from the front."""

    def __init__(self, data: bytes) -> None:
        self.rest = data

    def take(self, count: int) -> bytes:
        if count > len(self.rest):
            raise UnreadableError(f"{count} bytes wanted, {len(self.rest)} left")
        taken, self.rest = self.rest[:count], self.rest[count:]
        return taken

    def integer(self) -> int:
        """SPOE.txt 3.1: below 240 one byte; else each further byte counts 16, 2048, 262144... until one below 128."""
        number = self.take(1)[0]
        if number < 240:
            return number
        weight, spent = 16, 1
        while True:
            digit = self.take(1)[0]
            number, weight, spent = number + digit * weight, weight * 128, spent + 1
            if spent > 10 or number >= 2**64:
                raise UnreadableError("an integer beyond 64 bits")
            if digit < 128:
                return number

    def text(self) -> bytes:
        return self.take(self.integer())

    def value(self, *, plain: bool = False) -> tuple[int, object]:
        """Typed data as (type, value). ``plain``: what is not a null, false or true without other flags is no boolean."""
        first = self.take(1)[0]
        kind = first & 15
        if kind in (0, 1):
            if plain and first not in (0x00, 0x01, 0x11):
                raise UnreadableError(f"boolean {first:#x}")
            return kind, None if kind == 0 else first == 0x11
        if kind in (2, 3, 4, 5):
            return kind, self.integer()
        if kind == 6:
            return kind, self.take(4)
        if kind == 7:
            return kind, self.take(16)
        if kind in (8, 9):
            return kind, self.text()
        raise UnreadableError(f"type {kind}")


@dataclass(frozen=True)
class Frame:
    type: int
    flags: int
    stream_id: int
    frame_id: int
    payload: bytes
    length: int

    @property
    def ids(self) -> tuple[int, int]:
        return self.stream_id, self.frame_id


def read_frame(raw: bytes) -> Frame:
    """One frame, whole, with its length prefix, and nothing behind it."""
    cursor = Cursor(raw)
    length = int.from_bytes(cursor.take(4), "big")
    if length != len(cursor.rest) or length < 7:
        raise UnreadableError(f"length {length}, {len(cursor.rest)} bytes there")
    type_ = cursor.take(1)[0]
    flags = int.from_bytes(cursor.take(4), "big")
    return Frame(type_, flags, cursor.integer(), cursor.integer(), cursor.rest, length)


def cut(data: bytes) -> tuple[list[bytes], bytes]:
    """The frames that ``data`` is made of by length prefix, and what is left over."""
    frames, at = [], 0
    while len(data) >= at + 4 and len(data) >= (end := at + 4 + int.from_bytes(data[at : at + 4], "big")):
        frames.append(data[at:end])
        at = end
    return frames, data[at:]


def torn(raw: bytes) -> bool:
    """Whether what looks like a frame of an agent may be pieces of several (docs/evidence/agents.md 4): another begins in it."""
    if raw[4:5] == bytes((UNSET,)):
        return True
    try:
        sent = read_frame(raw)
        (actions if sent.type == ACK else pairs)(sent.payload)
    except UnreadableError:
        headers = any(bytes((type_, 0, 0, 0, FIN)) in raw[5:] for type_ in FROM_AGENT)
        # Of the other one there may be no more than its length.
        return headers or any(7 <= int.from_bytes(raw[at : at + 4], "big") < 1 << 24 for at in range(11, len(raw) - 3))
    return False


def pairs(payload: bytes) -> dict[bytes, tuple[int, object]]:
    """A list of keys and typed values; a key given twice is unreadable."""
    found: dict[bytes, tuple[int, object]] = {}
    cursor = Cursor(payload)
    while cursor.rest:
        name = cursor.text()
        if name in found:
            raise UnreadableError(f"key {name!r} twice")
        found[name] = cursor.value()
    return found


SCOPES = ("proc", "sess", "txn", "req", "res")


class Action(NamedTuple):
    """One of an ACK: ``value`` with its type, None where the variable is unset."""

    scope: str
    name: bytes
    value: tuple[int, object] | None


def actions(payload: bytes) -> list[Action]:
    """Each action of a list; SPOE.txt 3.4."""
    cursor, found = Cursor(payload), []
    while cursor.rest:
        kind, arguments, scope = cursor.take(3)
        if (kind, arguments) not in ((1, 3), (2, 2)) or scope > 4:
            raise UnreadableError(f"action {kind} with {arguments} arguments in scope {scope}")
        name = cursor.text()
        found.append(Action(SCOPES[scope], name, cursor.value(plain=True) if kind == 1 else None))
    return found


def messages(payload: bytes) -> int:
    """How many messages a NOTIFY has; SPOE.txt 3.2.6."""
    cursor, count = Cursor(payload), 0
    while cursor.rest:
        cursor.text()
        for _ in range(cursor.take(1)[0]):
            cursor.text()
            cursor.value()
        count += 1
    return count


# --- writing, for the conversations ----------------------------------------------------------------------------


def integer(number: int) -> bytes:
    if number < 240:
        return bytes((number,))
    out, number = [number & 15 | 240], (number - 240) // 16
    while number >= 128:
        out.append(number % 128 + 128)
        number = (number - 128) // 128
    return bytes((*out, number))


def text(data: bytes) -> bytes:
    return integer(len(data)) + data


def frame(type_: int, ids: tuple[int, int] = (0, 0), payload: bytes = b"", flags: int = FIN) -> bytes:
    body = bytes((type_,)) + flags.to_bytes(4, "big") + integer(ids[0]) + integer(ids[1]) + payload
    return len(body).to_bytes(4, "big") + body


def padding(size: int) -> bytes:
    """Return a SET-VAR whose text is of ``size`` bytes."""
    return bytes.fromhex("0103 02 03") + b"pad\x08" + text(b"x" * size)


def haproxy_hello(
    size: int = 16380, capabilities: bytes = b"pipelining", *, healthcheck: bool = False, engine: bytes = b""
) -> bytes:
    payload = text(b"supported-versions") + b"\x08" + text(b"2.0") + text(b"max-frame-size") + b"\x03" + integer(size)
    payload += text(b"capabilities") + b"\x08" + text(capabilities)
    if healthcheck:
        payload += text(b"healthcheck") + b"\x11"
    if engine:
        payload += text(b"engine-id") + b"\x08" + text(engine)
    return frame(HAPROXY_HELLO, payload=payload)


def agent_hello(size: int = 16380, capabilities: bytes = b"pipelining", version: bytes = b"2.0") -> bytes:
    payload = text(b"version") + b"\x08" + text(version) + text(b"max-frame-size") + b"\x03" + integer(size)
    return frame(AGENT_HELLO, payload=payload + text(b"capabilities") + b"\x08" + text(capabilities))


def disconnect(type_: int, status: int = 0, message: bytes = b"bye", ids: tuple[int, int] = (0, 0)) -> bytes:
    payload = text(b"status-code") + b"\x03" + integer(status) + text(b"message") + b"\x08" + text(message)
    return frame(type_, ids, payload)


ALLOWED = bytes.fromhex("0103 02 07616c6c6f776564 11")  # set-var txn allowed = true
ONE_MESSAGE = bytes.fromhex("016d 01 026970 067f000001")  # m(ip=127.0.0.1)
