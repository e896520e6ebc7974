"""Asks the kernel how much of what was written to a peer on this machine it has not read yet.

Of a TCP connection whose other end is in the same network namespace, the kernel tells about that socket to anybody (sock_diag(7)
over netlink); of a Unix socket it tells at our own end. A question takes about 10 us, and asks for no privilege.
"""

import fcntl
import socket
import struct
import sys
import termios
from typing import Final, NamedTuple

# From linux/netlink.h, linux/sock_diag.h, linux/inet_diag.h, linux/tcp.h.
_SOCK_DIAG: Final = 4  # NETLINK_SOCK_DIAG
_BY_FAMILY: Final = 20  # SOCK_DIAG_BY_FAMILY
_REQUEST: Final = 1  # NLM_F_REQUEST
_TCP_INFO: Final = 2  # INET_DIAG_INFO
_ALL_STATES: Final = 0xFFFFFFFF
_OTHER_STATES: Final = frozenset((0, 6, 7, 10, 12))  # of sockets without a receive queue: TIME_WAIT, CLOSE, LISTEN, NEW_SYN_RECV
_HEADER: Final = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_WHAT: Final = struct.Struct("=BBBxI")  # inet_diag_req_v2: family, protocol, extensions, states; then inet_diag_sockid:
_ENDS: Final = struct.Struct("!HH16s16s")  # both ports and both addresses, the socket's own first;
_INTERFACE: Final = struct.Struct("=I")
_ANY_COOKIE: Final = b"\xff" * 8
# The answer, inet_diag_msg: behind the header family, state, timer, retransmissions; the sockid; expires, receive queue, ...
_STATE_AT: Final = _HEADER.size + 1
_ENDS_AT: Final = _HEADER.size + 4
_UNREAD: Final = struct.Struct("=I")
_UNREAD_AT: Final = _ENDS_AT + _ENDS.size + _INTERFACE.size + len(_ANY_COOKIE) + 4
_ATTRIBUTES_AT: Final = _UNREAD_AT + 16  # ... send queue, user, inode
_ATTRIBUTE: Final = struct.Struct("=HH")  # length, type
_COUNT: Final = struct.Struct("=Q")
_ACKED_AT: Final = 120  # tcp_info: bytes of ours that the peer acknowledged,
_RECEIVED_AT: Final = 128  # and bytes that were received
_INFO_BYTES: Final = 136
_ANSWER_BYTES: Final = 4096
_MOST_ANSWERS: Final = 8  # to one question: that and those that came late
_SCOPE: Final = 3  # where in the name of an IPv6 socket its interface is
_MAPPED: Final = bytes(10) + b"\xff\xff"  # IPv4 in IPv6


class Kernel:
    """One netlink socket, opened when it is needed first. No question waits, and none fails: what cannot be known is None."""

    def __init__(self) -> None:
        self._netlink: socket.socket | None = None
        self._number = 0

    def close(self) -> None:
        """Close the socket; another question opens it again."""
        if self._netlink is not None:
            self._netlink.close()
            self._netlink = None

    def ask(self, question: bytes) -> "Answer | None":
        """Return what the kernel answers about a socket of this machine; None if it does not.

        Raises:
            OSError: it cannot be asked here.
        """
        if self._netlink is None:
            kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
            self._netlink = socket.socket(socket.AF_NETLINK, kind, _SOCK_DIAG)
        self._number = self._number % 0xFFFFFFFF + 1
        self._netlink.send(_HEADER.pack(_HEADER.size + len(question), _BY_FAMILY, _REQUEST, self._number, 0) + question)
        for _ in range(_MOST_ANSWERS):
            answer = self._netlink.recv(_ANSWER_BYTES)
            _, kind, _, number, _ = _HEADER.unpack_from(answer)
            if number == self._number:
                return _answer(answer, question) if kind == _BY_FAMILY else None
        return None


class Unread:
    """What the peer of ``sock``, a connection, has not read."""

    __slots__ = ("_kernel", "_question", "_sock")

    def __init__(self, kernel: Kernel, sock: socket.socket) -> None:
        self._kernel = kernel
        self._sock = sock
        self._question = b""

    def count(self) -> int | None:
        """Return how many bytes the kernel took and the peer has not read: never too few. None if that cannot be known.

        Of TCP it is exact while nothing is on its way. Of a Unix socket the kernel tells how much memory the bytes take, which is
        more: only 0 is exact.
        """
        try:
            return _unsent(self._sock) if self._sock.family == socket.AF_UNIX else self._count_tcp()
        except (OSError, struct.error, ValueError):  # it broke, or the kernel does not tell, or not here
            return None

    def _count_tcp(self) -> int | None:
        unsent = _unsent(self._sock)
        question = self._question = self._question or _question(self._sock)
        if not unsent:
            answer = self._kernel.ask(question)
            return answer.unread if answer is not None else None
        # What the peer read it may acknowledge only later. So count: what was sent, less what it received, is on its way. What it
        # received is from a first answer and what it did not read from a second one: the other way round a byte that comes
        # between the two would count as read.
        sent = unsent + _info(self._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES), _ACKED_AT)
        first, second = self._kernel.ask(question), self._kernel.ask(question)
        return sent - first.received + second.unread if first is not None and second is not None else None


class Answer(NamedTuple):
    """Of one end of a connection: how many bytes it ``received``, and how many of them nobody read, a moment before that."""

    received: int
    unread: int


def _question(sock: socket.socket) -> bytes:
    """Return what asks about the other end of ``sock``."""
    own, peer = sock.getsockname(), sock.getpeername()
    family, ends = sock.family, [socket.inet_pton(sock.family, end[0].partition("%")[0]) for end in (peer, own)]
    if all(end.startswith(_MAPPED) for end in ends):
        family, ends = socket.AF_INET, [end.removeprefix(_MAPPED) for end in ends]
    interface = peer[3] if len(peer) > _SCOPE else 0
    what = _WHAT.pack(family, socket.IPPROTO_TCP, 1 << (_TCP_INFO - 1), _ALL_STATES)
    return what + _ENDS.pack(peer[1], own[1], *ends) + _INTERFACE.pack(interface) + _ANY_COOKIE


def _answer(raw: bytes, question: bytes) -> Answer | None:
    """Return what ``raw`` says; None if it is about another socket, such as one that listens there."""
    ends = slice(_WHAT.size, _WHAT.size + _ENDS.size)
    if raw[_ENDS_AT : _ENDS_AT + _ENDS.size] != question[ends] or raw[_STATE_AT] in _OTHER_STATES:
        return None
    at = _ATTRIBUTES_AT
    while at < len(raw):
        size, kind = _ATTRIBUTE.unpack_from(raw, at)
        if kind == _TCP_INFO:
            received = _info(raw[at + _ATTRIBUTE.size : at + size], _RECEIVED_AT)
            return Answer(received, _UNREAD.unpack_from(raw, _UNREAD_AT)[0])
        at += max(-(-size // 4) * 4, _ATTRIBUTE.size)
    return None


def _info(raw: bytes, at: int) -> int:
    count: int = _COUNT.unpack_from(raw, at)[0]
    return count


def _unsent(sock: socket.socket) -> int:
    """Return the bytes that were not acknowledged; of a Unix socket, the memory of those that were not read."""
    return int.from_bytes(fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)), sys.byteorder)
