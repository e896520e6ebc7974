"""Peers that throw bad frames at a guard as fast as it takes them: one that connects as HAProxy, and one in the agent's place."""

import contextlib
import itertools
import socket
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Final, Self

from spoe_guard.lab import frames
from spoe_guard.wire import actions, frame, typed_data, walk
from tests.cost.shapes import lengths_and_heads, nearly

CHUNK: Final = 65536  # bytes of a write, about
ENOUGH: Final = 1_000_000  # bytes of one kind on one connection
ASKED: Final = range(1, 201)  # NOTIFYs that HAProxy's side opens, for the agent to answer
TRY_S: Final = 0.2  # for a handshake, a read or a write
SILENT_S: Final = 1.0  # who hears nothing for so long connects anew

_RUNT: Final = bytes(4)


def _raw(body: bytes) -> bytes:
    return len(body).to_bytes(frame.LENGTH_BYTES, "big") + body


def _many(one: bytes) -> bytes:
    return one * (CHUNK // len(one) + 1)


def _numbered(type_: int, payload: bytes, first: int) -> bytes:
    size = len(frame.encode(type_, first, 1, payload))
    return b"".join(frame.encode(type_, number, 1, payload) for number in range(first, first + CHUNK // size + 1))


def _bad_bools(number: int) -> bytes:
    """Return an ACK of some 8 kB in which each boolean has a bit that HAProxy reads as something else."""
    one = actions.set_var(walk.SCOPE_TXN, b"ok", typed_data.BOOL, True)
    return frame.encode(frame.ACK, number, 1, (one[:-1] + bytes((one[-1] | 0x20,))) * 1000)


def _in_empty_fragments(type_: int) -> bytes:
    """Return the first fragment of a NOTIFY or ACK, and empty ones behind it, as many as are enough (S2)."""
    empty = frame.encode(frame.UNSET, ASKED[0], 1, flags=0)
    return frame.encode(type_, ASKED[0], 1, b"\5", flags=0) + empty * (ENOUGH // len(empty))


_UNREADABLE: Final = {  # of either side
    "runt_frame": _many(_RUNT),
    "bad_varint": _many(_raw(b"\x67\0\0\0\x01" + b"\xff" * 12)),
    "unknown_frame_type": _many(_raw(b"\x2a\0\0\0\x01\0\0")),
}
FROM_HAPROXY: Final[Mapping[str, bytes]] = _UNREADABLE | {
    "wrong_side_frame": _many(frame.encode(frame.ACK, 1, 1)),
    "hello_repeated": _many(frames.haproxy_hello()),
    "notify_empty": _numbered(frame.NOTIFY, b"", 1),
    "notify_malformed": _numbered(frame.NOTIFY, b"\x05check\x7f\x02ip", 1),
    "fragment_refused": _many(frame.encode(frame.UNSET, 7, 1, b"x" * 20)),
    "empty fragments": _in_empty_fragments(frame.NOTIFY),
    "oversize_frame": _many(_raw(b"\x03\0\0\0\x01\x07\x01" + bytes(17000))),
}
FROM_AGENT: Final[Mapping[str, bytes]] = _UNREADABLE | {
    "wrong_side_frame": _many(frame.encode(frame.NOTIFY, 1, 1, b"x")),
    "hello_repeated": _many(frames.agent_hello()),
    "unmatched_ack": _numbered(frame.ACK, frames.text_verdict(b"verdict", b"x"), 100_000),
    "ack_bad_bool": b"".join(map(_bad_bools, ASKED)),
    "fragmented_ack": _in_empty_fragments(frame.ACK),
    "interleaved_frames": _raw(bytes(7))[: frame.LENGTH_BYTES] + lengths_and_heads(CHUNK),  # S3
    "garbled_stream": nearly(16_000) * (CHUNK // 16_000 + 1),  # S14; as long as one frame may be
    "oversize_frame": _many(_raw(b"\x67\0\0\0\x01\x07\x01" + bytes(17000))),
}


class Flood:
    """``with Flood(kinds, by_agent=...) as flood``: throws one kind of frame after the other, each on a new connection.

    It is both sides of a route: the agent at ``address``, and HAProxy, as soon as ``haproxy_at`` says where the guard listens.
    One of the two throws, the other says HELLO and reads; HAProxy's side asks as well. ``thrown``: bytes, by kind.
    """

    def __init__(self, kinds: Mapping[str, bytes], *, by_agent: bool) -> None:
        self.thrown = dict.fromkeys(kinds, 0)
        self._kinds = kinds
        self._next = itertools.cycle(kinds)
        self._by_agent = by_agent
        self._stop = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.settimeout(TRY_S)
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._agent)]
        self._threads[0].start()

    def haproxy_at(self, guard: str) -> None:
        """Begin: the guard listens there."""
        self._threads.append(threading.Thread(target=self._haproxy, args=(guard,)))
        self._threads[-1].start()

    def _throw(self, sock: socket.socket) -> None:
        """Send the kind whose turn it is, until it is enough or the guard ends the connection."""
        kind = next(self._next)
        rest, enough = memoryview(self._kinds[kind]), self.thrown[kind] + ENOUGH
        while not self._stop.is_set() and self.thrown[kind] < enough:
            with contextlib.suppress(TimeoutError):
                sent = sock.send(rest)
                self.thrown[kind] += sent
                rest = rest[sent:] or memoryview(self._kinds[kind])
            _drain(sock)

    def _read(self, sock: socket.socket) -> None:
        """Read until the connection ends, or nothing comes for a while: its agent's may have ended with nothing open."""
        heard = time.monotonic()
        while not self._stop.is_set() and time.monotonic() < heard + SILENT_S:
            with contextlib.suppress(TimeoutError):
                if not sock.recv(CHUNK):
                    return
                heard = time.monotonic()

    def _haproxy(self, guard: str) -> None:
        host, _, port = guard.rpartition(":")
        while not self._stop.is_set():
            with contextlib.suppress(OSError), socket.create_connection((host, int(port)), TRY_S) as sock:
                sock.sendall(frames.haproxy_hello())
                _frame(sock)
                if self._by_agent:
                    sock.sendall(b"".join(frames.notify(number, 1, b"/path") for number in ASKED))
                (self._read if self._by_agent else self._throw)(sock)

    def _agent(self) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(OSError), self._listening.accept()[0] as sock:
                sock.settimeout(TRY_S)
                _frame(sock)
                sock.sendall(frames.agent_hello())
                if self._by_agent:
                    with contextlib.suppress(TimeoutError):
                        _frame(sock)  # a NOTIFY: from then on they are open; or nobody asks here any more
                (self._throw if self._by_agent else self._read)(sock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._listening.close()


def _frame(sock: socket.socket) -> None:
    """Read one frame.

    Raises:
        OSError: the connection ended first.
    """
    head = sock.recv(frame.LENGTH_BYTES, socket.MSG_WAITALL)
    if len(head) < frame.LENGTH_BYTES or not sock.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL):
        raise ConnectionResetError


def _drain(sock: socket.socket) -> None:
    """Read what is there.

    Raises:
        OSError: the connection ended.
    """
    sock.settimeout(0)
    try:
        if not sock.recv(CHUNK):
            raise ConnectionResetError
    except BlockingIOError:
        pass
    finally:
        sock.settimeout(TRY_S)
