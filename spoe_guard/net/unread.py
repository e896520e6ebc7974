"""Asks the kernel how much of what was written to a peer on this machine it has not read yet.

Of a TCP connection whose other end is in the same network namespace, the kernel tells about that socket to anybody (sock_diag(7)
over netlink); of a Unix socket it tells at our own end. A question takes about 10 us, and asks for no privilege.
"""

import fcntl
import socket
import struct
import sys
import termios
from typing import Final

# From linux/netlink.h, linux/sock_diag.h, linux/inet_diag.h, linux/tcp.h.
_SOCK_DIAG: Final = 4  # NETLINK_SOCK_DIAG
_BY_FAMILY: Final = 20  # SOCK_DIAG_BY_FAMILY
_REQUEST: Final = 1  # NLM_F_REQUEST
_TCP_INFO: Final = 2  # INET_DIAG_INFO
_ALL_STATES: Final = 0xFFFFFFFF
_OTHER_STATES: Final = frozenset((0, 6, 7, 10, 12))  # of sockets without a receive queue: TIME_WAIT, CLOSE, LISTEN, NEW_SYN_RECV
_HEADER: Final = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_NUMBER: Final = struct.Struct("=I")  # the sequence
_NUMBER_AT: Final = 8
_WHAT: Final = struct.Struct("=BBBxI")  # inet_diag_req_v2: family, protocol, extensions, states; then inet_diag_sockid:
_ENDS: Final = struct.Struct("!HH16s16s")  # both ports and both addresses, the socket's own first;
_INTERFACE: Final = struct.Struct("=I")
_ANY_COOKIE: Final = b"\xff" * 8
# The answer, inet_diag_msg: of the header the type and the sequence; the state; of the sockid both ends; the receive queue.
# Behind it the send queue, user, inode, and then the attributes.
_ANSWER: Final = struct.Struct(f"=4xH2xI5xB2x{_ENDS.size}s16xI")
_ATTRIBUTES_AT: Final = _ANSWER.size + 12
_ATTRIBUTE: Final = struct.Struct("=HH")  # length, type
_COUNT: Final = struct.Struct("=Q")
_ACKED_AT: Final = 120  # tcp_info: bytes of ours that the peer acknowledged,
_RECEIVED_AT: Final = 128  # and bytes that were received
_INFO_BYTES: Final = 136
_ANSWER_BYTES: Final = 4096
_MOST_ANSWERS: Final = 8  # to one question: that and those that came late
_SCOPE: Final = 3  # where in the name of an IPv6 socket its interface is
_MAPPED: Final = bytes(10) + b"\xff\xff"  # IPv4 in IPv6
_INT: Final = bytearray(4)  # where ioctl(2) puts one; bytes, which it cannot, cost an exception within fcntl


class Kernel:
    """One netlink socket, opened when it is needed first. No question waits, and none fails: what cannot be known is None."""

    def __init__(self) -> None:
        self._netlink: socket.socket | None = None
        self._number = 0
        self._answer = bytearray(_ANSWER_BYTES)  # the last one
        self._size = 0

    def close(self) -> None:
        """Close the socket; another question opens it again."""
        if self._netlink is not None:
            self._netlink.close()
            self._netlink = None

    def unread(self, question: "Question") -> int | None:
        """Return how many bytes that came to a socket of this machine nobody has read; None if the kernel does not tell.

        Raises:
            OSError: it cannot be asked here.
            struct.error: its answer is cut off.
        """
        if self._netlink is None:
            kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
            self._netlink = socket.socket(socket.AF_NETLINK, kind, _SOCK_DIAG)
        asked = self._number = self._number % 0xFFFFFFFF + 1
        _NUMBER.pack_into(question.text, _NUMBER_AT, asked)
        self._netlink.send(question.text)
        for _ in range(_MOST_ANSWERS):
            self._size = self._netlink.recv_into(self._answer)
            kind, number, state, ends, unread = _ANSWER.unpack_from(self._answer)
            if number == asked:
                told = kind == _BY_FAMILY and self._size >= _ATTRIBUTES_AT
                return unread if told and ends == question.ends and state not in _OTHER_STATES else None
        return None

    def received(self) -> int | None:
        """Return how many bytes had come, a moment after the last question, which asked for that too; None if it is not told."""
        at = _ATTRIBUTES_AT
        while at < self._size:
            size, kind = _ATTRIBUTE.unpack_from(self._answer, at)
            if kind == _TCP_INFO:
                info = self._answer[at + _ATTRIBUTE.size : min(at + size, self._size)]
                return _info(info, _RECEIVED_AT)
            at += max(-(-size // 4) * 4, _ATTRIBUTE.size)
        return None


class Question:
    """What asks about the other end of ``sock``, a TCP connection; also for what it ``received``, if that is wanted.

    ``text``: a netlink message, whose number is not set. ``ends``: what an answer says of the end that it is about.

    Raises:
        OSError: it is not connected.
    """

    __slots__ = ("ends", "text")

    def __init__(self, sock: socket.socket, *, received: bool) -> None:
        own, peer = sock.getsockname(), sock.getpeername()
        family, ends = sock.family, [socket.inet_pton(sock.family, end[0].partition("%")[0]) for end in (peer, own)]
        if all(end.startswith(_MAPPED) for end in ends):
            family, ends = socket.AF_INET, [end.removeprefix(_MAPPED) for end in ends]
        interface = peer[3] if len(peer) > _SCOPE else 0
        what = _WHAT.pack(family, socket.IPPROTO_TCP, received << (_TCP_INFO - 1), _ALL_STATES)
        self.ends = _ENDS.pack(peer[1], own[1], *ends)
        text = what + self.ends + _INTERFACE.pack(interface) + _ANY_COOKIE
        self.text = bytearray(_HEADER.pack(_HEADER.size + len(text), _BY_FAMILY, _REQUEST, 0, 0) + text)


class Unread:
    """What the peer of ``sock``, a connection, has not read."""

    __slots__ = ("_is_unix", "_kernel", "_received", "_sock", "_unread")

    def __init__(self, kernel: Kernel, sock: socket.socket) -> None:
        self._kernel = kernel
        self._sock = sock
        self._is_unix = sock.family == socket.AF_UNIX
        self._unread: Question | None = None
        self._received: Question | None = None

    def count(self) -> int | None:
        """Return how many bytes the kernel took and the peer has not read: never too few. None if that cannot be known.

        Of TCP it is exact while nothing is on its way. Of a Unix socket the kernel tells how much memory the bytes take, which is
        more: only 0 is exact.
        """
        try:
            unsent = _unsent(self._sock)
            if self._is_unix:
                return unsent
            if self._unread is None:
                self._unread = Question(self._sock, received=False)
            return self._kernel.unread(self._unread) if not unsent else self._on_its_way(unsent, self._unread)
        except (OSError, struct.error, ValueError):  # it broke, or the kernel does not tell, or not here
            return None

    def _on_its_way(self, unsent: int, unread: Question) -> int | None:
        """Return what ``count`` does, of ``unsent`` bytes that were not acknowledged: what was read may be among them.

        What was sent, less what the peer received, is on its way. What it received is from a first answer and what it did not
        read from a second one: the other way round a byte that comes between the two would count as read.
        """
        if self._received is None:
            self._received = Question(self._sock, received=True)
        sent = unsent + _acked(self._sock)
        self._kernel.unread(self._received)
        received, waits = self._kernel.received(), self._kernel.unread(unread)
        return sent - received + waits if received is not None and waits is not None else None


def _info(raw: bytes | bytearray, at: int) -> int:
    count: int = _COUNT.unpack_from(raw, at)[0]
    return count


def _acked(sock: socket.socket) -> int:
    """Return how many bytes the peer acknowledged, ever."""
    return _info(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES), _ACKED_AT)


def _unsent(sock: socket.socket) -> int:
    """Return the bytes that were not acknowledged; of a Unix socket, the memory of those that were not read."""
    fcntl.ioctl(sock, termios.TIOCOUTQ, _INT)
    return int.from_bytes(_INT, sys.byteorder)
