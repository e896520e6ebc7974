"""Binds an address to listen on, or explains in one line why that is not possible."""

import contextlib
import errno
import grp
import os
import pwd
import socket
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Final

from spoe_guard.address import Address
from spoe_guard.net import own_limits
from spoe_guard.net.resolver import Place, resolve
from spoe_guard.net.route import Route

# A reloading HAProxy opens all its connections at once (haproxy #2868). The kernel caps it at net.core.somaxconn.
BACKLOG: Final = 4096

_HIDDEN: Final = ".drained"  # behind the name of a Unix socket's file that is out of the way

_TAKEN: Final = "something listens there already; stop it, or choose another address"
_REMEDIES: Final = {
    errno.EADDRINUSE: _TAKEN,
    errno.EADDRNOTAVAIL: "this machine has no such address; choose one of its own, or 0.0.0.0 for all",
    errno.EAFNOSUPPORT: "this machine does not speak that kind of address",
}


class ListenError(Exception):
    """An address cannot be listened on. The text is one line that names the route, the address and what to do.

    ``reason``: the same without the route.
    """

    def __init__(self, route: Route, what: str, doing: str = "listen on") -> None:
        self.reason = f"cannot {doing} {route.listen}: {what}"
        super().__init__(f"route {route.name}: {self.reason}")


class Turn(Enum):
    """Which process accepts from a socket that several processes have."""

    OWN = "own"
    ALL = "all"
    LAST = "last"  # another process's socket: accept only what that one leaves in the queue


class Bound:
    """A listening socket and its actual ``address``. Close it with ``close``, which removes a Unix socket's file.

    With ``Turn.ALL`` the file stays: another process made it and will remove it. ``socks``: ``sock``, and the sockets that
    ``bind`` reserved at the same address. ``given``: somebody else made the socket, wherever the route says to listen, and
    removes its file.
    """

    def __init__(
        self,
        route: Route,
        sock: socket.socket,
        turn: Turn = Turn.OWN,
        beside: Sequence[socket.socket] = (),
        *,
        given: bool = False,
    ) -> None:
        self.route = route
        self.turn = turn
        self.given = given
        self.socks = (sock, *beside)
        self.sock = sock
        self.address = address_of(sock)
        self._where = sock.getsockname()
        self._made: tuple[int, int] | None = None  # identifies a Unix socket's file, so that somebody else's is not removed
        if route.listen.path is not None and not given:
            self._made = _identity(route.listen.path) if turn is Turn.OWN else None

    def close(self) -> None:
        """Stop listening."""
        for sock in self.socks:
            sock.close()
        path = self.route.listen.path
        for each in (path, path and path + _HIDDEN):
            if each is not None and self._made is not None and _identity(each) == self._made:
                with contextlib.suppress(OSError):
                    Path(each).unlink()
        self._made = None

    def is_at(self, family: int, where: Place) -> bool:
        """Whether it listens at that very place."""
        if family != self.sock.family:
            return False
        return bool(where == self._where if family == socket.AF_UNIX else where[:2] == self._where[:2])

    def share(self) -> None:
        """Let another socket of this user that shares, too, listen at an address of the same port. It is a TCP socket."""
        for sock in self.socks:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)

    def refuse(self) -> None:
        """Have whoever connects refused, until ``admit``. Of a TCP socket that several processes have, its owner does it.

        After a second shutdown its next connections would look as if their peers had sent FIN (inet_shutdown in Linux). A Unix
        socket could never listen again, so its file goes out of the way instead.

        Raises:
            OSError: the directory of a Unix socket cannot be written to.
        """
        path = self.route.listen.path
        if path is None:
            if self.turn is Turn.OWN and self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                self.sock.shutdown(socket.SHUT_RD)
            return
        with contextlib.suppress(FileNotFoundError):
            Path(path).rename(path + _HIDDEN)

    def admit(self) -> None:
        """Listen again; of a TCP socket that several processes have, its owner does it.

        Raises:
            OSError: somebody else took the address: the kernel had chosen its port, or a file has the name of the Unix socket.
        """
        path = self.route.listen.path
        if path is None and self.turn is not Turn.OWN:
            return
        if path is None:
            try:
                self.sock.bind(self._where)
            except OSError as error:
                if error.errno != errno.EINVAL:  # it still has its port, unless the kernel had chosen it
                    raise  # and must not listen now: the kernel would choose another one
            self.sock.listen(BACKLOG)
            return
        hidden = Path(path + _HIDDEN)
        if Path(path).exists() and hidden.exists():
            raise FileExistsError(errno.EADDRINUSE, _TAKEN)
        with contextlib.suppress(FileNotFoundError):  # another process was first
            hidden.rename(path)


async def bind(route: Route, *, reuse_port: bool = False, reserve: int = 0) -> Bound:
    """Listen at the address of ``route``: a name at its first IPv4 address, as HAProxy does, ``[::]`` on IPv4 as well.

    ``reuse_port``: share the address with other processes of this user that set it, too; the kernel distributes the connections.
    It has no effect on a Unix socket. ``reserve``: how many sockets to bind without listening, for as many processes to
    ``borrow``; a Unix address has only one.

    Raises:
        ListenError: the reason, and what to do.
    """
    family, where = await place_of(route)
    if family == socket.AF_UNIX:
        _make_way(route, str(where))
    return _listen(route, family, where, reuse_port=reuse_port, reserve=reserve)


async def place_of(route: Route) -> tuple[int, Place]:
    """Return the address family and the place that ``listen`` of ``route`` stands for.

    Raises:
        ListenError: its name does not resolve.
    """
    try:
        places = await resolve(route.listen)
    except OSError:
        raise ListenError(route, "the name does not resolve; correct it, or use a number") from None
    return min(places, key=lambda place: place[0] == socket.AF_INET6)


def borrow(route: Route, socks: Sequence[socket.socket], *, drained: bool = False) -> list[Bound]:
    """Listen on the sockets another process reserved: this process's own, which comes first, and the others'.

    So if a process dies, only the connections it had accepted are lost: the other processes accept those in its queue.
    ``drained``: none of them is to listen now.

    Raises:
        ListenError: somebody else listens there by now.
    """
    for sock in socks:
        sock.setblocking(False)  # noqa: FBT003  the standard library's own signature
        if not drained or route.listen.path is not None:
            try:
                sock.listen(BACKLOG)
            except OSError as error:
                raise ListenError(route, _remedy(error, route)) from error
    if route.listen.path is not None:
        return [Bound(route, sock, Turn.ALL) for sock in socks]
    return [Bound(route, sock, Turn.LAST if at else Turn.OWN) for at, sock in enumerate(socks)]


def _listen(route: Route, family: int, where: Place, *, reuse_port: bool, reserve: int) -> Bound:
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise ListenError(route, _remedy(error, route)) from error
    try:
        sock.setblocking(False)  # noqa: FBT003  the standard library's own signature
        if family != socket.AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a restart must not wait for TIME-WAIT
            if reuse_port:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(where)
        if route.listen.path is not None:
            _grant(route, route.listen.path)
        if reserve:
            return Bound(route, sock, beside=[] if family == socket.AF_UNIX else _beside(sock, reserve - 1))
        sock.listen(BACKLOG)
        return Bound(route, sock)
    except ListenError:
        sock.close()
        raise
    except OSError as error:
        sock.close()
        raise ListenError(route, _remedy(error, route)) from error


def _grant(route: Route, path: str) -> None:
    """Give the file of a Unix socket its mode, owner and group. Nobody can connect yet: it does not listen.

    Raises:
        ListenError: it cannot have them; the file is removed.
    """
    rights = route.rights
    try:
        if rights.mode is not None:
            Path(path).chmod(rights.mode)
        if rights.owner is not None or rights.group is not None:
            os.chown(path, _user(route), _group(route), follow_symlinks=False)
    except (ListenError, OSError) as error:
        with contextlib.suppress(OSError):
            Path(path).unlink()
        if isinstance(error, ListenError):
            raise
        raise ListenError(route, _no_rights(route, error)) from None


def _user(route: Route) -> int:
    """Return the number for chown(2); -1 changes nothing."""
    owner = route.rights.owner
    try:
        return -1 if owner is None else owner if isinstance(owner, int) else pwd.getpwnam(owner).pw_uid
    except KeyError:
        raise ListenError(route, f"there is no user {owner}; correct socket.owner, or use a number") from None


def _group(route: Route) -> int:
    group = route.rights.group
    try:
        return -1 if group is None else group if isinstance(group, int) else grp.getgrnam(group).gr_gid
    except KeyError:
        raise ListenError(route, f"there is no group {group}; correct socket.group, or use a number") from None


def _no_rights(route: Route, error: OSError) -> str:
    if error.errno != errno.EPERM:
        return f"socket: {error.strerror}"
    asked = (("owner", route.rights.owner), ("group", route.rights.group))
    whose = " and ".join(f"{key} {value}" for key, value in asked if value is not None)
    return f"no permission to give its socket {whose}; grant CAP_CHOWN, or for a group alone make the guard a member of it"


def _beside(sock: socket.socket, count: int) -> list[socket.socket]:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # after bind, which fails if another guard already listens there
    with contextlib.ExitStack() as on_error:
        more = [on_error.enter_context(socket.socket(sock.family, socket.SOCK_STREAM)) for _ in range(count)]
        for each in more:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            each.bind(sock.getsockname())
        on_error.pop_all()
    return more


def _make_way(route: Route, path: str) -> None:
    """Remove the socket file a dead process left; raise if somebody still listens on it."""
    try:
        found = Path(path)
        if not found.exists():
            return
        if not found.is_socket():
            raise ListenError(route, "there is a file of that name which is no socket; remove it, or choose another path")
    except OSError:
        return  # cannot be inspected: bind will report why
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # noqa: FBT003  do not block on a full queue: the address is taken then, too
        if probe.connect_ex(path) != errno.ECONNREFUSED:
            raise ListenError(route, _TAKEN)
    with contextlib.suppress(OSError):  # bind will report why
        Path(path).unlink()


def _remedy(error: OSError, route: Route) -> str:
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return own_limits.shortage(error.errno)
    if route.listen.path is None:
        if error.errno in (errno.EACCES, errno.EPERM):
            return f"port {route.listen.port} needs a privilege; use one above 1023, or grant CAP_NET_BIND_SERVICE"
        return _REMEDIES.get(error.errno or 0, error.strerror or str(error))
    directory = Path(route.listen.path).parent
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return f"the directory {directory} is not there; create it"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"no permission to create a socket in {directory}; grant it, or choose another path"
    return _REMEDIES.get(error.errno or 0, error.strerror or str(error))


def address_of(sock: socket.socket) -> Address:
    """Return the address the socket listens at; an abstract Linux name is shown with a leading @."""
    name = sock.getsockname()
    if sock.family != socket.AF_UNIX:
        return Address(host=name[0], port=name[1])
    return Address(path=name if isinstance(name, str) else os.fsdecode(name).replace("\0", "@", 1))


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
