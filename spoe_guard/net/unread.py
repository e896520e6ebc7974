"""Asks the kernel how much of what was written to a peer on this machine it has not read yet.

Of a TCP connection whose other end is in the same network namespace, the kernel tells about that socket to anybody (sock_diag(7)
over netlink); of a Unix socket it tells at our own end. A question takes one to four microseconds, and asks for no privilege.

Towards HAProxy 3.1 and later there is a question to some 200 ACKs, so this is compiled by Cython with the hot lane, see the .pxd.
"""

import socket
import struct
import sys
from collections.abc import Callable
from typing import Final

from spoe_guard.net import calls
from spoe_guard.wire import walk

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
# The answer, inet_diag_msg, behind the same header: the state at 17; of the sockid both ends; the receive queue; the attributes.
_TYPE_AT: Final = 4
_NUMBER_AT: Final = 8  # the sequence: no one but the guard reads it, so its bytes may have any order
_STATE_AT: Final = 17
_ENDS_AT: Final = 20
_UNREAD_AT: Final = 72
_ATTRIBUTES_AT: Final = 88
_TOLD: Final = struct.pack("=H", _BY_FAMILY)
_ATTRIBUTE: Final = struct.Struct("=HH")  # length, type
_COUNT: Final = struct.Struct("=Q")
_ACKED_AT: Final = 120  # tcp_info: bytes of ours that the peer acknowledged,
_RECEIVED_AT: Final = 128  # and bytes that were received
_INFO_BYTES: Final = 136
_MOST_ANSWERS: Final = 8  # to one question: that and those that came late
_SCOPE: Final = 3  # where in the name of an IPv6 socket its interface is
_MAPPED: Final = bytes(10) + b"\xff\xff"  # IPv4 in IPv6
_BIG_ENDIAN: Final = sys.byteorder == "big"


def _netlink() -> socket.socket:
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, _SOCK_DIAG)


class Kernel:
    """One netlink socket, opened when it is needed first, by ``connect`` if that is given. No question waits for its answer."""

    def __init__(self, connect: Callable[[], socket.socket] | None = None) -> None:
        self._connect = connect or _netlink
        self._netlink: socket.socket | None = None
        self._fd = -1
        self._number = 0
        self._answer = b""  # the last one

    def close(self) -> None:
        """Close the socket; another question opens it again."""
        if self._netlink is not None:
            self._netlink.close()
            self._netlink = None
            self._fd = -1

    def unread(self, question: "Question") -> int:
        """Return how many bytes that came to a socket of this machine nobody has read; -1 if the kernel does not tell.

        Raises:
            OSError: it cannot be asked here.
        """
        if self._fd < 0:
            self._netlink = self._connect()
            self._fd = self._netlink.fileno()
        self._number = self._number % 0x7FFFFFFF + 1
        calls.send(self._fd, question.numbered(self._number))
        for _ in range(_MOST_ANSWERS):
            answer = calls.receive(self._fd)
            if answer is None:
                break
            if len(answer) >= _HEADER.size and walk.length_at(answer, _NUMBER_AT) == self._number:
                self._answer = answer
                return question.unread(answer)
        return -1

    def received(self) -> int | None:
        """Return how many bytes had come, a moment after the last question, which asked for that too; None if it is not told.

        Raises:
            struct.error: the answer is cut off.
        """
        answer, at = self._answer, _ATTRIBUTES_AT
        while at < len(answer):
            size, kind = _ATTRIBUTE.unpack_from(answer, at)
            if kind == _TCP_INFO:
                return _info(answer[at + _ATTRIBUTE.size : at + size], _RECEIVED_AT)
            at += max(-(-size // 4) * 4, _ATTRIBUTE.size)
        return None


class Question:
    """What asks about the other end of ``sock``, a TCP connection; also for what it ``received``, if that is wanted.

    Raises:
        OSError: it is not connected.
    """

    def __init__(self, sock: socket.socket, *, received: bool) -> None:
        own, peer = sock.getsockname(), sock.getpeername()
        family, ends = sock.family, [socket.inet_pton(sock.family, end[0].partition("%")[0]) for end in (peer, own)]
        if all(end.startswith(_MAPPED) for end in ends):
            family, ends = socket.AF_INET, [end.removeprefix(_MAPPED) for end in ends]
        interface = peer[3] if len(peer) > _SCOPE else 0
        what = _WHAT.pack(family, socket.IPPROTO_TCP, received << (_TCP_INFO - 1), _ALL_STATES)
        self._ends = _ENDS.pack(peer[1], own[1], *ends)  # which the answer has, too
        text = what + self._ends + _INTERFACE.pack(interface) + _ANY_COOKIE
        self._text = bytearray(_HEADER.pack(_HEADER.size + len(text), _BY_FAMILY, _REQUEST, 0, 0) + text)

    def numbered(self, number: int) -> bytes:
        """Return it as a netlink message with that number, of 31 bits."""
        text = self._text
        text[_NUMBER_AT] = number >> 24
        text[_NUMBER_AT + 1] = number >> 16 & 0xFF
        text[_NUMBER_AT + 2] = number >> 8 & 0xFF
        text[_NUMBER_AT + 3] = number & 0xFF
        return bytes(text)

    def unread(self, answer: bytes) -> int:
        """Return what ``answer`` says that nobody has read; -1 if it does not say that, or not of this connection."""
        if len(answer) < _ATTRIBUTES_AT or answer[_TYPE_AT : _TYPE_AT + 2] != _TOLD:
            return -1
        if answer[_ENDS_AT : _ENDS_AT + len(self._ends)] != self._ends or answer[_STATE_AT] in _OTHER_STATES:
            return -1
        if _BIG_ENDIAN:
            return walk.length_at(answer, _UNREAD_AT)
        first = answer[_UNREAD_AT]  # compiled, an unnamed byte is too small a number to be shifted
        second = answer[_UNREAD_AT + 1]
        third = answer[_UNREAD_AT + 2]
        fourth = answer[_UNREAD_AT + 3]
        return fourth << 24 | third << 16 | second << 8 | first


class Unread:
    """What the peer of ``sock``, a connection, has not read."""

    def __init__(self, kernel: Kernel, sock: socket.socket) -> None:
        self._kernel = kernel
        self._sock = sock
        self._is_unix = sock.family == socket.AF_UNIX
        self._unread: Question | None = None
        self._received: Question | None = None

    def count(self, fd: int) -> int | None:
        """Return how many bytes the kernel took and the peer has not read: never too few. None if that cannot be known.

        ``fd``: the connection's descriptor, -1 once it is gone. Of TCP the count is exact while nothing is on its way. Of a Unix
        socket the kernel tells how much memory the bytes take, which is more: only 0 is exact.
        """
        try:
            unsent = calls.unacknowledged(fd)
            if self._is_unix:
                return unsent
            if self._unread is None:
                self._unread = Question(self._sock, received=False)
            if unsent:
                return self._on_its_way(unsent, self._unread)
            unread = self._kernel.unread(self._unread)
        except (OSError, struct.error, ValueError):  # it broke, or the kernel does not tell, or not here
            return None
        return unread if unread >= 0 else None

    def _on_its_way(self, unsent: int, unread: Question) -> int | None:
        """Return what ``count`` does, of ``unsent`` bytes that were not acknowledged: what was read may be among them.

        What was sent, less what the peer received, is on its way. What it received is from a first answer and what it did not
        read from a second one: the other way round a byte that comes between the two would count as read.
        """
        if self._received is None:
            self._received = Question(self._sock, received=True)
        sent = unsent + _acked(self._sock)
        if self._kernel.unread(self._received) < 0:
            return None
        received, waits = self._kernel.received(), self._kernel.unread(unread)
        return sent - received + waits if received is not None and waits >= 0 else None


def _info(raw: bytes, at: int) -> int:
    count: int = _COUNT.unpack_from(raw, at)[0]
    return count


def _acked(sock: socket.socket) -> int:
    """Return how many bytes the peer acknowledged, ever."""
    return _info(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES), _ACKED_AT)
