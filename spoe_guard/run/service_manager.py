"""What systemd passes to a service, and what the service reports to it: sockets, readiness, watchdog pings.

Source: sd_notify(3) and sd_listen_fds(3). Without systemd there are no sockets, and nothing is reported.
"""

import asyncio
import os
import socket
from collections.abc import Iterator, Mapping, MutableMapping
from itertools import islice
from time import monotonic
from typing import Final

from spoe_guard.address import Address
from spoe_guard.net.bind import address_of
from spoe_guard.settings import Settings

FIRST_DESCRIPTOR: Final = 3  # SD_LISTEN_FDS_START
ADMIN: Final = "admin"  # the name of admin.listen's socket, unless a route has that name
ADMIN_LISTEN: Final = ""  # its key among the names of routes, which are never empty
MAX_STATUS: Final = 400  # characters; one line of `systemctl status`
_PINGS: Final = 4  # watchdog pings in each ``watchdog_s``


class NotWantedError(Exception):
    """A socket from the service manager is of no use. The text names the socket, the reason, and what to do."""


class ServiceManager:
    """Reports the state of the service. ``watchdog_s``: after so long without ``WATCHDOG=1`` it counts as dead; None: never."""

    def __init__(self, address: str | None = None, watchdog_s: float | None = None) -> None:
        self._address = "\0" + address[1:] if address is not None and address.startswith("@") else address
        self.watchdog_s = watchdog_s
        self._serving = ""
        self._stopping = False

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "ServiceManager":
        """Return the service manager that started this process; where there is none, one that reports nothing."""
        ours = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        microseconds = environ.get("WATCHDOG_USEC", "")
        watchdog_s = int(microseconds) / 1e6 if ours and microseconds.isdigit() and int(microseconds) else None
        return cls(environ.get("NOTIFY_SOCKET") or None, watchdog_s)

    def ready(self, status: str) -> None:
        """Report that the service is ready."""
        self._serving = status
        self._tell("READY=1", _status(status))

    def serving(self, status: str) -> None:
        """Keep what the service now does, which is reported at the end of a reload."""
        self._serving = status

    def reloading(self) -> None:
        """Report that the settings are read again. ``reloaded`` must follow, whatever the result."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={int(monotonic() * 1e6)}")

    def reloaded(self, fault: str = "") -> None:
        """Report the end of a reload; with a ``fault`` the old settings stay. A service that is stopping reports nothing."""
        if not self._stopping:
            self._tell("READY=1", _status(f"The last reload failed: {fault}. {self._serving}" if fault else self._serving))

    def stopping(self, status: str) -> None:
        """Report that the service stops."""
        self._stopping = True
        self._tell("STOPPING=1", _status(status))

    async def keep(self) -> None:
        """Send watchdog pings until cancelled. They come from the event loop that serves, so that one that hangs sends none."""
        while self.watchdog_s is not None:
            self._tell("WATCHDOG=1")
            await asyncio.sleep(self.watchdog_s / _PINGS)

    def _tell(self, *lines: str) -> None:
        if self._address is None:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.setblocking(False)  # noqa: FBT003  the standard library's own signature
                sock.sendto("\n".join(lines).encode(), self._address)
        except OSError:  # gone, or too busy to read: serve all the same
            pass


def listening_at(addresses: Mapping[str, Address]) -> str:
    """Return the status of a service that listens; ``addresses``: by the name of a route."""
    some = [f"{name} at {address}" for name, address in islice(addresses.items(), MAX_STATUS)]
    return f"Listening: {', '.join(some)}."


def _status(text: str) -> str:
    return f"STATUS={' '.join(text.split())[:MAX_STATUS]}"


def given_sockets(settings: Settings, environ: MutableMapping[str, str]) -> dict[str, socket.socket]:
    """Return the sockets that the service manager opened for this process, and remove its variables from ``environ``.

    They listen already. A socket belongs to the route of its name (``FileDescriptorName``), or else to the one that listens at
    its address. The key is the route's name, or ADMIN_LISTEN.

    Raises:
        NotWantedError: a socket belongs to no route, to one that has a socket, or is no listening stream socket.
    """
    pid, count, names = (environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"))
    if pid != str(os.getpid()) or not count.isdigit():
        return {}
    given: dict[str, socket.socket] = {}
    for descriptor, name in zip(range(FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + int(count)), _padded(names), strict=False):
        sock = _listening(descriptor, name)
        where = address_of(sock)
        whose = _whose(settings, name, where)
        if whose is None:
            raise NotWantedError(
                f"socket {name!a} at {where} of the service manager: no route has this name or listens there; "
                f"say FileDescriptorName= and the name of a route, or {ADMIN}"
            )
        if whose in given:
            raise NotWantedError(f"socket {name!a} at {where} of the service manager: {whose or ADMIN} has one already")
        given[whose] = sock
    return given


def _padded(names: str) -> Iterator[str]:
    yield from names.split(":") if names else ()
    while True:
        yield "unknown"  # as in sd_listen_fds_with_names(3)


def _listening(descriptor: int, name: str) -> socket.socket:
    try:
        os.set_inheritable(descriptor, False)  # noqa: FBT003  the standard library's own signature
        sock = socket.socket(fileno=descriptor)
        sock.setblocking(False)  # noqa: FBT003  the standard library's own signature
        if sock.type == socket.SOCK_STREAM and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return sock
    except OSError:
        pass
    raise NotWantedError(f"descriptor {descriptor} ({name!a}) of the service manager: expected ListenStream= and Accept=no")


def _whose(settings: Settings, name: str, where: Address) -> str | None:
    by_name = {ADMIN: ADMIN_LISTEN} if settings.admin.listen is not None else {}
    by_name |= {route.name: route.name for route in settings.routes}
    by_address = {settings.admin.listen: ADMIN_LISTEN} | {route.listen: route.name for route in settings.routes}
    return by_name.get(name, by_address.get(where))
